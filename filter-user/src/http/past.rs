//! What the history says, read beside the loop by a reader of its own. Writes nothing, and sums nothing up itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use tokio::task::spawn_blocking;

use super::Site;
use super::problem::Problem;
use super::route::Span;
use crate::history::query::Gap;
use crate::history::{HISTORY, HistoryError, Reader, Report, ReportQuery, Series, SeriesBy, SeriesQuery};
use crate::network;

/// What a series goes back where nothing is said, in seconds.
const DAY: i64 = 24 * 60 * 60;

impl Site {
    /// Figures over time. Where no history is kept, they are one gap.
    pub(super) async fn series(&self, span: Span, by: SeriesBy) -> Result<Series, Problem> {
        let (since, until) = bounds(span, now());
        let until = until.unwrap_or_else(now);
        let query = SeriesQuery { since: since.unwrap_or(until.saturating_sub(DAY)), until, by };
        let Some(path) = self.history() else { return Ok(nothing(&query)) };
        self.read(path, move |reader| reader.series(&query)).await
    }

    /// The report.
    pub(super) async fn report(&self, span: Span) -> Result<Report, Problem> {
        let now = now();
        let (since, until) = bounds(span, now);
        let Some(path) = self.history() else {
            return Err(Problem::absent(
                "nothing is recorded; see [history] keep, and the log where that is not \"off\"",
            ));
        };
        let host = network::host_name().unwrap_or_else(|_| "localhost".into());
        self.read(path, move |reader| reader.report(&ReportQuery { since, until }, &host, now)).await
    }

    /// Reads the history in a thread, a few at once.
    async fn read<T: Send + 'static>(
        &self,
        path: PathBuf,
        question: impl FnOnce(&Reader) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, Problem> {
        // It moves into the thread: a client that goes away does not make room for another reader before this one ends.
        let turn = Arc::clone(&self.reading).acquire_owned().await;
        let read = spawn_blocking(move || {
            let _turn = turn;
            Reader::open(&path).and_then(|reader| question(&reader))
        });
        let refused = |problem: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, problem);
        read.await.map_err(|error| refused(error.to_string()))?.map_err(|error| refused(error.to_string()))
    }

    /// Where the history is: in memory, else on disk.
    fn history(&self) -> Option<PathBuf> {
        let at = |directory: &Path| Some(directory.join(HISTORY)).filter(|path| path.exists());
        at(&self.run_dir).or_else(|| at(&self.state_dir))
    }
}

/// From when to when, Unix seconds.
fn bounds(span: Span, now: i64) -> (Option<i64>, Option<i64>) {
    match span {
        Span::Last(span) => {
            let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
            (Some(now.saturating_sub(seconds)), Some(now))
        }
        Span::Between { since, until } => (since, until),
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn nothing(query: &SeriesQuery) -> Series {
    let gap = Gap { begin: query.since, end: query.until, device: None, why: "no history is kept".into() };
    Series { step: 60, times: Vec::new(), lines: Vec::new(), seen_bytes: Vec::new(), gaps: vec![gap] }
}
