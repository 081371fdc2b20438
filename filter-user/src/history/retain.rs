//! What is forgotten: rows past their days, and the oldest where there is no room. Adds nothing.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::file::PAGE;
use super::rows::{floors, set_floors};
use super::span::Resolution;
use crate::config::HistoryConfig;

const DAY: i64 = Resolution::Day.seconds();

/// Whether everything fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    /// Nothing is left to delete but today.
    Crowded,
}

/// Bytes that an account takes at most: itself, its place in the index, a row in each table, in pages that are partly empty.
const ACCOUNT: u64 = 512;

/// Accounts that one interval may bring: more would not fit, however much is deleted before.
pub(super) fn most_accounts(keep: &HistoryConfig) -> usize {
    usize::try_from(most_pages(keep) / 4 * PAGE / ACCOUNT).unwrap_or(usize::MAX)
}

/// Pages that the file may have. The log beside it takes its part of the bytes.
fn most_pages(keep: &HistoryConfig) -> u64 {
    (keep.max_bytes - keep.max_bytes / 4) / PAGE
}

/// Sets the limits that hold whatever else goes wrong.
pub(super) fn limit(connection: &Connection, keep: &HistoryConfig) -> rusqlite::Result<()> {
    let pages = most_pages(keep).cast_signed();
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    // The log is emptied once it has this many pages, and cut back if a reader held that up.
    let log = (pages / 12).clamp(16, 1000);
    connection.query_row(&format!("PRAGMA wal_autocheckpoint = {log}"), [], |_| Ok(()))?;
    connection.query_row(&format!("PRAGMA journal_size_limit = {}", log * PAGE.cast_signed()), [], |_| Ok(()))
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map(|pages| pages.max(0).cast_unsigned())
}

/// Pages that hold something.
fn used_pages(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(number(connection, "page_count")?.saturating_sub(number(connection, "freelist_count")?))
}

/// How many days each resolution is kept: a coarser one at least as long as a finer one, so that no time is left out.
fn days(keep: &HistoryConfig) -> [(Resolution, i64); 3] {
    let minute = i64::from(keep.days.minute);
    let hour = minute.max(keep.days.hour.into());
    let day = hour.max(keep.days.day.into());
    [(Resolution::Minute, minute), (Resolution::Hour, hour), (Resolution::Day, day)]
}

/// Begin of the oldest row.
pub(super) fn oldest(connection: &Connection, resolution: Resolution) -> rusqlite::Result<Option<i64>> {
    connection.query_row(&format!("SELECT min(time) FROM {}", resolution.table()), [], |row| row.get(0))
}

/// Deletes rows past their days: of each resolution at most one day at a time, which bounds the work.
pub(super) fn expire(transaction: &Transaction<'_>, keep: &HistoryConfig, now: i64) -> rusqlite::Result<()> {
    let mut deleted = 0;
    for (resolution, days) in days(keep) {
        let Some(oldest) = oldest(transaction, resolution)? else { continue };
        let until = now.saturating_sub(days * DAY).min(oldest.saturating_add(DAY));
        deleted += forget(transaction, resolution, until)?;
    }
    if deleted > 0 {
        forget_subjects(transaction)?;
    }
    let most = i64::try_from(keep.max_bytes / 16).unwrap_or(i64::MAX);
    let [.., (_, days)] = days(keep);
    let until = now.saturating_sub(days * DAY);
    transaction.execute("DELETE FROM period WHERE end < ? AND id < (SELECT max(id) FROM period)", [until])?;
    transaction.execute("DELETE FROM list WHERE end < ?", [until])?;
    // A device or a source that comes and goes must not fill the file.
    thin(transaction, "period", "length(standing) + 32", "id < (SELECT max(id) FROM period)", most)?;
    thin(transaction, "list", "length(source) + 128", "end IS NOT NULL", most)
}

/// Deletes the oldest quarter of what may go, where all together take more than `most` bytes.
fn thin(transaction: &Transaction<'_>, table: &str, bytes: &str, may_go: &str, most: i64) -> rusqlite::Result<()> {
    let taken: i64 =
        transaction.query_row(&format!("SELECT coalesce(sum({bytes}), 0) FROM {table}"), [], |row| row.get(0))?;
    if taken > most {
        let oldest = format!(
            "SELECT id FROM {table} WHERE {may_go} ORDER BY id LIMIT (SELECT 1 + count(*) / 4 FROM {table} WHERE {may_go})"
        );
        transaction.execute(&format!("DELETE FROM {table} WHERE id IN ({oldest})"), [])?;
    }
    Ok(())
}

/// Deletes the rows of a resolution before `until`, or a little less: floors lie on whole rows of the next resolution.
fn forget(transaction: &Transaction<'_>, resolution: Resolution, until: i64) -> rusqlite::Result<usize> {
    let mut floors = floors(transaction)?;
    let until = match resolution {
        Resolution::Minute => Resolution::Hour.begin(until),
        Resolution::Hour | Resolution::Day => Resolution::Day.begin(until),
    };
    match resolution {
        Resolution::Minute => floors.minute = floors.minute.max(until),
        Resolution::Hour => {
            floors.hour = floors.hour.max(until);
            floors.minute = floors.minute.max(floors.hour);
            delete(transaction, Resolution::Minute, floors.minute)?;
        }
        Resolution::Day => {}
    }
    let deleted = delete(transaction, resolution, until)?;
    set_floors(transaction, floors)?;
    Ok(deleted)
}

fn delete(transaction: &Transaction<'_>, resolution: Resolution, until: i64) -> rusqlite::Result<usize> {
    transaction.execute(&format!("DELETE FROM {} WHERE time < ?", resolution.table()), [until])
}

/// Deletes subjects that were last counted before the oldest row that is left.
fn forget_subjects(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut left = i64::MAX;
    for resolution in Resolution::ALL {
        left = left.min(oldest(transaction, resolution)?.unwrap_or(i64::MAX));
    }
    transaction.execute("DELETE FROM account WHERE used < ?", [Resolution::Day.begin(left)]).map(drop)
}

/// Makes room for an interval of so many accounts: the resolution that reaches back furthest, measured by the days that
/// it is to be kept, loses its oldest rows. So a file that is too small holds less of all three, in proportion.
pub(super) fn make_room(
    connection: &mut Connection,
    keep: &HistoryConfig,
    now: i64,
    accounts: usize,
) -> rusqlite::Result<Room> {
    let most = most_pages(keep);
    let reserve = (accounts as u64 * ACCOUNT / PAGE + 16).min(most / 4);
    if used_pages(connection)? <= most - reserve {
        return Ok(Room::Enough);
    }
    // Once at it, more than needed: else every interval would begin with a deletion.
    while used_pages(connection)? > most - most / 8 - reserve {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut longest: Option<(Resolution, i64, f64)> = None;
        for (resolution, days) in days(keep) {
            let Some(oldest) = oldest(&transaction, resolution)? else { continue };
            if resolution == Resolution::Day && oldest >= Resolution::Day.begin(now) {
                continue;
            }
            let part = now.saturating_sub(oldest).max(0) as f64 / (days * DAY) as f64;
            if longest.is_none_or(|(.., longest)| part > longest) {
                longest = Some((resolution, oldest, part));
            }
        }
        let Some((resolution, oldest, _)) = longest else { return Ok(Room::Crowded) };
        let until = if resolution == Resolution::Minute { Resolution::Hour } else { Resolution::Day }.end(oldest);
        forget(&transaction, resolution, until)?;
        forget_subjects(&transaction)?;
        transaction.commit()?;
    }
    Ok(Room::Enough)
}

/// Gives pages that hold nothing back to the file system, some at a time; a quarter stays for what comes next.
pub(super) fn shrink(connection: &Connection) -> rusqlite::Result<()> {
    let (all, free) = (number(connection, "page_count")?, number(connection, "freelist_count")?);
    if free > 64 && free > all / 4 {
        let mut statement =
            connection.prepare(&format!("PRAGMA incremental_vacuum({})", (free - all / 4).min(1024)))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::super::rows::{Subject, insert};
    use super::*;
    use crate::tally::Tally;

    #[test]
    fn minutes_go_with_the_hours_that_they_are_part_of() {
        let path = std::env::temp_dir().join(format!("weir-retain-{}.db", std::process::id()));
        let (mut connection, _) = file::open(&path).unwrap();
        let transaction = connection.transaction().unwrap();
        let subject = Subject::Seen { device: "lan0".into() };
        let tally = Tally { packets: 1, bytes: 60 };
        for at in [DAY + 60, 2 * DAY - 60, 2 * DAY] {
            insert(&transaction, at, std::iter::once((&subject, tally))).unwrap();
        }
        assert_eq!(forget(&transaction, Resolution::Hour, 2 * DAY).unwrap(), 2);
        let floors = floors(&transaction).unwrap();
        assert_eq!((floors.minute, floors.hour), (2 * DAY, 2 * DAY));
        assert_eq!(oldest(&transaction, Resolution::Minute).unwrap(), Some(2 * DAY));
        assert_eq!(oldest(&transaction, Resolution::Day).unwrap(), Some(DAY), "the coarser row is there");
        // A clock that was set back: what is added there is read from the days.
        insert(&transaction, DAY + 120, std::iter::once((&subject, tally))).unwrap();
        assert_eq!(oldest(&transaction, Resolution::Minute).unwrap(), Some(2 * DAY));
        drop(transaction);
        drop(connection);
        std::fs::remove_file(path).unwrap();
    }
}
