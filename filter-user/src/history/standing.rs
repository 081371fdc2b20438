//! How weir stood, and which lists were in force: periods from change to change. Judges no gap; `coverage` does.

use std::collections::BTreeSet;
use std::ops::Range;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::query::{ListInForce, Period};
use crate::account::{ListVersion, Standing};

/// Seconds without a record after which nothing is claimed about what was between.
pub(super) const SILENCE: i64 = 30;

struct Last {
    id: i64,
    end: i64,
    text: String,
    started: Option<i64>,
}

/// Lines about what is not in force that a period keeps: a source with hundreds of documents may fail as a whole.
const DEGRADED: usize = 16;

/// What a period keeps: not the lists, which have rows of their own.
fn kept(standing: &Standing) -> Standing {
    let mut degraded: Vec<String> = standing.degraded.iter().take(DEGRADED).cloned().collect();
    if standing.degraded.len() > DEGRADED {
        degraded.push(format!("and {} more", standing.degraded.len() - DEGRADED));
    }
    Standing { degraded, lists: Vec::new(), ..standing.clone() }
}

/// Writes down how weir stands at the end of an interval.
pub(super) fn stand(transaction: &Transaction<'_>, interval: &Range<i64>, standing: &Standing) -> rusqlite::Result<()> {
    // Text and numbers always have a JSON form.
    let text = serde_json::to_string(&kept(standing)).unwrap_or_default();
    let Range { start, end } = *interval;
    let (ended, begin) = match last(transaction)? {
        Some(last) if last.started == Some(standing.started) && (end - last.end).abs() <= SILENCE => {
            if last.text == text {
                transaction.execute("UPDATE period SET end = max(end, ?) WHERE id = ?", [end, last.id])?;
                return lists(transaction, &standing.lists, last.end, last.end);
            }
            // It changed somewhere in between.
            (last.end, last.end.min(end))
        }
        // A record came late, or the clock was set.
        Some(last) if last.started == Some(standing.started) => (last.end, if start > last.end { start } else { end }),
        Some(last) => (last.end, start.max(standing.started)),
        None => (start, start),
    };
    let begin = begin.min(end);
    transaction.execute("INSERT INTO period (begin, end, standing) VALUES (?, ?, ?)", params![begin, end, text])?;
    lists(transaction, &standing.lists, ended, begin)
}

fn last(connection: &Connection) -> rusqlite::Result<Option<Last>> {
    let query = "SELECT id, end, standing FROM period ORDER BY id DESC LIMIT 1";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?));
    Ok(connection.query_row(query, [], row).optional()?.map(|(id, end, text)| {
        let started = serde_json::from_str::<Standing>(&text).ok().map(|stood| stood.started);
        Last { id, end, text, started }
    }))
}

/// Ends the lists that are no longer in force, and begins the new ones.
fn lists(transaction: &Transaction<'_>, lists: &[ListVersion], ended: i64, begun: i64) -> rusqlite::Result<()> {
    let mut new: BTreeSet<&ListVersion> = lists.iter().collect();
    let mut gone = Vec::new();
    let mut statement = transaction.prepare(&format!("{LISTS} WHERE end IS NULL"))?;
    for row in statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, list(row)?)))? {
        let (id, list) = row?;
        if !new.remove(&version(list)) {
            gone.push(id);
        }
    }
    for id in gone {
        transaction.execute("UPDATE list SET end = max(begin, ?) WHERE id = ?", [ended, id])?;
    }
    for list in new {
        transaction.execute(
            "INSERT INTO list (source, asn, sha256, ranges, changed, begin) VALUES (?, ?, ?, ?, ?, ?)",
            params![list.source, list.asn, list.sha256, ranges(list.ranges), list.changed, begun],
        )?;
    }
    Ok(())
}

fn ranges(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn version(list: ListInForce) -> ListVersion {
    let ListInForce { source, asn, sha256, ranges, changed, .. } = list;
    ListVersion { source, asn, sha256, ranges, changed }
}

const LISTS: &str = "SELECT id, source, asn, sha256, ranges, changed, begin, end FROM list";

fn list(row: &Row<'_>) -> rusqlite::Result<ListInForce> {
    Ok(ListInForce {
        source: row.get(1)?,
        asn: row.get(2)?,
        sha256: row.get(3)?,
        ranges: row.get::<_, i64>(4)?.max(0).cast_unsigned(),
        changed: row.get(5)?,
        from: row.get(6)?,
        until: row.get(7)?,
    })
}

/// The lists that were in force at some time of the span.
pub(super) fn lists_in(connection: &Connection, span: &Range<i64>) -> rusqlite::Result<Vec<ListInForce>> {
    let query = format!("{LISTS} WHERE begin < ? AND (end IS NULL OR end > ?) ORDER BY source, asn, begin, id");
    let mut statement = connection.prepare(&query)?;
    statement.query_map([span.end, span.start], list)?.collect()
}

/// The last period that ended before the span, and those that touch it, by their begin. A period that cannot be read is
/// left out, and so shows as a gap.
pub(super) fn periods_in(connection: &Connection, span: &Range<i64>) -> rusqlite::Result<Vec<Period>> {
    let before = "SELECT begin, end, standing FROM period WHERE end < ? ORDER BY end DESC, id DESC LIMIT 1";
    let within = "SELECT begin, end, standing FROM period WHERE begin < ? AND end >= ? ORDER BY begin, id";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?));
    let (mut before, mut within) = (connection.prepare(before)?, connection.prepare(within)?);
    let mut periods = Vec::new();
    for row in before.query_map([span.start], row)?.chain(within.query_map([span.end, span.start], row)?) {
        let (begin, end, text) = row?;
        periods.extend(serde_json::from_str(&text).ok().map(|standing| Period { begin, end, standing }));
    }
    Ok(periods)
}

/// When weir was first seen to run.
pub(super) fn first(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT min(begin) FROM period", [], |row| row.get(0))
}
