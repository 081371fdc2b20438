//! Questions to a history that another thread or process goes on writing. Changes nothing, and reads no clock.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::query::{Report, ReportQuery, Series, SeriesQuery};
use super::rows::{self, Subject};
use super::span::{Floors, Resolution};
use super::sum::{self, Bucket};
use super::{HistoryError, coverage, file, retain, standing};
use crate::tally::Tally;

/// A history that is read.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    connection: Connection,
}

/// Times that a series has at most, as long as days are enough for that.
const MOST_TIMES: i64 = 1000;
/// Days that a series goes back at most: what the configuration lets a history keep.
const MOST_DAYS: i64 = 36_600;

impl Reader {
    /// Opens the history at `path`.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        Ok(Self { path: path.into(), connection: file::open_to_read(path)? })
    }

    /// What was counted over time.
    pub fn series(&self, query: &SeriesQuery) -> Result<Series, HistoryError> {
        self.at_once(|| {
            let floors = rows::floors(&self.connection)?;
            let since = query.since.max(query.until.saturating_sub(MOST_DAYS * Resolution::Day.seconds()));
            let span = since..query.until.max(since);
            let is_enough = |resolution: &Resolution| {
                let times = resolution.end(span.end - 1).saturating_sub(resolution.begin(span.start));
                times / resolution.seconds() <= MOST_TIMES && floors.keeps(*resolution, resolution.begin(span.start))
            };
            let step = Resolution::ALL.into_iter().find(is_enough).unwrap_or(Resolution::Day);
            let (begin, end) = if span.is_empty() {
                (span.start, span.start)
            } else {
                (step.begin(span.start), step.end(span.end - 1))
            };
            let Some(subjects) = self.subjects()? else { return Ok(None) };
            let mut buckets: BTreeMap<(i64, i64), Tally> = BTreeMap::new();
            rows::each(&self.connection, &[(step, begin..end)], |_, time, account, tally| {
                buckets.insert((time, account), tally);
            })?;
            let periods = standing::periods_in(&self.connection, &span)?;
            let mut series = sum::series(&subjects, &buckets, begin..end, step, query.by);
            series.gaps = coverage::gaps(&periods, &span);
            Ok(Some(series))
        })
    }

    /// Everything that was counted in a span, and how weir stood, at the moment `now` on the host of this name.
    pub fn report(&self, query: &ReportQuery, host: &str, now: i64) -> Result<Report, HistoryError> {
        self.at_once(|| {
            let floors = rows::floors(&self.connection)?;
            let asked = self.asked(query, now)?;
            let (figures, known) = spans(query, &asked, floors, now);
            let Some(subjects) = self.subjects()? else { return Ok(None) };
            let sums = rows::sums(&self.connection, &floors.rows(&figures, Resolution::Day))?;
            let mut buckets: BTreeMap<i64, Bucket> = BTreeMap::new();
            let by_hour = floors.rows(&figures, Resolution::Hour);
            rows::each(&self.connection, &by_hour, |resolution, time, account, tally| {
                let length = resolution.max(Resolution::Hour);
                let begin = length.begin(time).max(figures.start);
                let bucket = buckets.entry(begin).or_default();
                bucket.end = length.end(time).min(figures.end);
                bucket.add(subjects.get(&account), tally);
            })?;
            let mut report = sum::report(&subjects, &sums, buckets);
            report.host = host.into();
            report.created = now;
            (report.since, report.until) = (known.start, known.end);
            let periods = standing::periods_in(&self.connection, &known)?;
            report.enforcement = coverage::enforcement(periods, &known);
            report.lists = standing::lists_in(&self.connection, &known)?;
            report.notes.extend(widened(query, &figures));
            Ok(Some(report))
        })
    }

    /// The span that was asked for; all there is, where nothing was.
    fn asked(&self, query: &ReportQuery, now: i64) -> rusqlite::Result<Range<i64>> {
        let until = query.until.unwrap_or(i64::MAX).min(now);
        if let Some(since) = query.since {
            return Ok(since.min(until)..until);
        }
        let day = retain::oldest(&self.connection, Resolution::Day)?;
        let since = match (standing::first(&self.connection)?, day) {
            // Rows of days that nothing else is known of any more.
            (Some(first), Some(day)) if Resolution::Day.end(day) <= first => day,
            (Some(first), _) => first,
            (None, Some(day)) => day,
            (None, None) => until,
        };
        Ok(since.min(until)..until)
    }

    /// Answers from one state of the database, though its writer goes on.
    fn at_once<T>(&self, answer: impl FnOnce() -> rusqlite::Result<Option<T>>) -> Result<T, HistoryError> {
        let of = |source| HistoryError::of(&self.path, source);
        let transaction = self.connection.unchecked_transaction().map_err(of)?;
        let answer = answer().map_err(of)?;
        drop(transaction);
        answer.ok_or_else(|| HistoryError::Damaged {
            path: self.path.clone(),
            what: "holds what weir never wrote".into(),
        })
    }

    /// What is counted, by number; `None` where one of them cannot be read.
    fn subjects(&self) -> rusqlite::Result<Option<BTreeMap<i64, Subject>>> {
        rows::subjects(&self.connection)
    }
}

/// The span of the figures, in whole rows, and the span of which the report speaks: not of times before the first record
/// nor after now.
fn spans(query: &ReportQuery, asked: &Range<i64>, floors: Floors, now: i64) -> (Range<i64>, Range<i64>) {
    // What was recorded in this very second belongs to what there is until now.
    let last = if query.until.is_some() { asked.end } else { asked.end.saturating_add(1) };
    let figures = floors.widen(&(asked.start..last));
    let since = if query.since.is_some() { figures.start } else { asked.start };
    let until = if query.until.is_some() { figures.end.min(now) } else { asked.end };
    (figures, since..until.max(since))
}

/// What a reader must know where less is kept than was asked for.
fn widened(query: &ReportQuery, figures: &Range<i64>) -> Option<String> {
    let before = query.since.map_or(0, |since| since.saturating_sub(figures.start));
    let after = query.until.map_or(0, |until| figures.end.saturating_sub(until));
    (before >= Resolution::Minute.seconds() || after >= Resolution::Minute.seconds()).then(|| {
        "Minutes are no longer kept of the begin or the end: the figures are of the whole hours or days there.".into()
    })
}
