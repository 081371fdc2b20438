//! What a history takes: never more bytes than it may, rows no longer than their days, and what it does about damage.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use filter_common::decide::Direction;
use rusqlite::Connection;
use weir::account::Interval;
use weir::config::{HistoryConfig, Resolutions};
use weir::history::{History, HistoryError, Reader, ReportQuery};
use weir::ruleset::RuleAction;

use crate::oracle::Oracle;
use crate::{DAY, HOUR, MINUTE, Scratch, T0, account, dropped, interval, keep, open, tally, well};

/// Bytes of the file and its log.
fn size(path: &Path) -> u64 {
    let of = |suffix: &str| fs::metadata(format!("{}{suffix}", path.display())).map_or(0, |file| file.len());
    of("") + of("-wal")
}

fn count(path: &Path, table: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {table}");
    Connection::open(path).unwrap().query_row(&query, [], |row| row.get(0)).unwrap()
}

/// A generator that is the same each time.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn four_hundred_clients_fifty_rules_and_three_days_of_minutes_stay_in_their_bytes() {
    let scratch = Scratch::new();
    let keep = HistoryConfig { clients: 400, max_bytes: 5 << 20, ..keep() };
    let mut history = open(&scratch.history(), &keep);
    let names: Vec<String> = (0..50).map(|rule| format!("rule-{rule}")).collect();
    let (mut state, mut most) = (0x9e37_79b9_7f4a_7c15, 0);
    let mut oracle = Oracle::default();
    for minute in 1..=3 * DAY / MINUTE {
        let end = T0 + minute * MINUTE;
        let mut interval = Interval { begin: end - MINUTE, end, ..Interval::default() };
        for _ in 0..100 {
            let random = next(&mut state);
            let client = IpAddr::from([10, 0, (random % 400 / 256) as u8, (random % 400 % 256) as u8]);
            let rule = names[(random >> 32) as usize % 50].as_str();
            let account = account(RuleAction::Block, &[rule], Direction::Out, Some(client));
            *interval.accounts.entry(account).or_default() += tally(1, 60 + random % 1400);
        }
        history.record(&interval, &well(), b"").unwrap();
        oracle.0.push(interval);
        most = most.max(size(&scratch.history()));
    }
    assert!(most <= keep.max_bytes, "{most} of {}", keep.max_bytes);
    assert!(most > keep.max_bytes / 2, "{most}: room was there, and is used");
    let reader = Reader::open(&scratch.history()).unwrap();
    let report = reader.report(&ReportQuery::default(), "h", T0 + 3 * DAY).unwrap();
    oracle.agrees(&report, &(i64::MIN..i64::MAX));
    assert_eq!(report.clients.len(), 400);
    println!(
        "at most {most} bytes; {} minute rows, {} hour rows, {} day rows, {} subjects",
        count(&scratch.history(), "minute"),
        count(&scratch.history(), "hour"),
        count(&scratch.history(), "day"),
        count(&scratch.history(), "account"),
    );
}

#[test]
fn where_nothing_is_left_to_delete_clients_are_folded_and_no_packet_is_lost() {
    let scratch = Scratch::new();
    let keep = HistoryConfig { clients: 10_000, max_bytes: 1 << 20, ..keep() };
    let mut history = open(&scratch.history(), &keep);
    let mut oracle = Oracle::default();
    for minute in 1..=200_u32 {
        let end = T0 + i64::from(minute) * MINUTE;
        let mut interval = Interval { begin: end - 10, end, ..Interval::default() };
        for client in 0..500_u32 {
            // Addresses that change all the time.
            let client = IpAddr::from(((0x2001_0db8_u128 << 96) + u128::from(minute * 1000 + client)).to_be_bytes());
            let account = account(RuleAction::Block, &["r"], Direction::Out, Some(client));
            interval.accounts.insert(account, tally(1, 100));
        }
        history.record(&interval, &well(), b"").unwrap();
        oracle.0.push(interval);
        assert!(size(&scratch.history()) <= keep.max_bytes, "{} at {minute}", size(&scratch.history()));
    }
    let reader = Reader::open(&scratch.history()).unwrap();
    let mut report = reader.report(&ReportQuery::default(), "h", T0 + DAY).unwrap();
    assert!(report.clients.iter().any(|row| row.client.is_none() && row.dropped.packets > 1000));
    report.clients.clear();
    oracle.agrees(&report, &(i64::MIN..i64::MAX));
    for (since, until) in [(30, 90), (60, 120), (90, 170), (119, 200), (150, 181), (180, 201)] {
        let query = ReportQuery { since: Some(T0 + since * MINUTE), until: Some(T0 + until * MINUTE) };
        let mut report = reader.report(&query, "h", T0 + 2 * DAY).unwrap();
        report.clients.clear();
        oracle.agrees(&report, &(report.since..report.until));
    }
    // The next days are as good as the first.
    for day in 1..4 {
        let end = T0 + day * DAY + HOUR;
        history.record(&interval(end, [(dropped("r", 1), tally(1, 1))], tally(1, 1)), &well(), b"").unwrap();
    }
    let query = ReportQuery { since: Some(T0 + 2 * DAY), until: None };
    let report = Reader::open(&scratch.history()).unwrap().report(&query, "h", T0 + 4 * DAY).unwrap();
    assert_eq!(report.clients[0].client, Some(IpAddr::from([192, 0, 2, 1])));
}

#[test]
fn one_interval_that_is_larger_than_the_file_may_be_is_folded_into_it() {
    let scratch = Scratch::new();
    let keep = HistoryConfig { clients: 10_000, max_bytes: 1 << 20, ..keep() };
    let mut history = open(&scratch.history(), &keep);
    let mut interval = Interval { begin: T0, end: T0 + 10, ..Interval::default() };
    for client in 0..20_000_u32 {
        let client = IpAddr::from((0x0a00_0000 + client).to_be_bytes());
        interval.accounts.insert(account(RuleAction::Block, &["r"], Direction::In, Some(client)), tally(1, 100));
    }
    history.record(&interval, &well(), b"").unwrap();
    let report = Reader::open(&scratch.history()).unwrap().report(&ReportQuery::default(), "h", T0 + 20).unwrap();
    assert_eq!((report.totals.dropped, report.balance.equal), (tally(20_000, 2_000_000), true));
    assert!(report.clients.len() > 100 && size(&scratch.history()) <= keep.max_bytes);
}

#[test]
fn rows_go_when_their_days_are_over_and_the_coarser_ones_stay() {
    let scratch = Scratch::new();
    let keep = HistoryConfig { days: Resolutions { minute: 1, hour: 3, day: 10 }, ..keep() };
    let mut history = open(&scratch.history(), &keep);
    let mut oracle = Oracle::default();
    for step in 1..=20 * 24 * 6_u16 {
        let end = T0 + i64::from(step) * 10 * MINUTE;
        let interval = interval(end, [(dropped("r", (step % 7) as u8), tally(1, 100))], tally(2, 200));
        history.record(&interval, &well(), b"").unwrap();
        oracle.0.push(interval);
    }
    let oldest = |table: &str| {
        let query = format!("SELECT min(time) FROM {table}");
        let connection = Connection::open(scratch.history()).unwrap();
        connection.query_row(&query, [], |row| row.get::<_, i64>(0)).unwrap() - T0
    };
    assert_eq!([oldest("minute"), oldest("hour"), oldest("day")], [19 * DAY, 17 * DAY, 10 * DAY]);
    let reader = Reader::open(&scratch.history()).unwrap();
    let now = T0 + 20 * DAY;
    let query = ReportQuery { since: Some(T0 + 12 * DAY + HOUR), until: Some(T0 + 18 * DAY + 90) };
    let report = reader.report(&query, "h", now).unwrap();
    assert_eq!((report.since, report.until), (T0 + 12 * DAY, T0 + 18 * DAY + HOUR));
    assert!(report.notes.iter().any(|note| note.starts_with("Minutes are no longer kept")), "{:?}", report.notes);
    oracle.agrees(&report, &(report.since..report.until));
    let days = report.hours.iter().take_while(|row| row.secs == DAY).count();
    assert_eq!((days, report.hours.len()), (5, 5 + 25));
}

#[test]
fn a_damaged_or_foreign_file_is_moved_aside_and_said_so() {
    let scratch = Scratch::new();
    let path = scratch.history();
    let mut history = open(&path, &keep());
    for end in 1..500_u16 {
        let accounts = [(dropped("r", (end % 250) as u8), tally(1, 100))];
        history.record(&interval(T0 + i64::from(end) * 60, accounts, tally(2, 200)), &well(), b"x").unwrap();
    }
    drop(history);
    let good = fs::read(&path).unwrap();
    assert!(good.len() > 8 * 4096);
    let foreign = {
        let other = scratch.0.join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1);").unwrap();
        fs::read(other).unwrap()
    };
    let marked = {
        let other = scratch.0.join("marked.db");
        let marks = "CREATE TABLE t (x); PRAGMA application_id = 0x77656972; PRAGMA user_version = 1;";
        Connection::open(&other).unwrap().execute_batch(marks).unwrap();
        fs::read(other).unwrap()
    };
    let mut smashed = good.clone();
    smashed[4096..8 * 4096].fill(0xa5);
    let mut zeroed = good.clone();
    zeroed[4096..].fill(0);
    let cases: [(&str, &[u8]); 9] = [
        ("cut in the middle of a page", &good[..good.len() / 2 + 100]),
        ("cut after a page", &good[..3 * 4096]),
        ("cut in its header", &good[..50]),
        ("zeros", &[0; 8192]),
        ("zeros behind its header", &zeroed),
        ("overwritten in part", &smashed),
        ("text", b"this is no database, and long enough to be looked at as if it were one: 0123456789 0123456789"),
        ("the database of another program", &foreign),
        ("a database with weir's mark and other tables", &marked),
    ];
    let aside = scratch.0.join("history.db.damaged");
    for (what, bytes) in cases {
        fs::write(&path, bytes).unwrap();
        assert!(
            Reader::open(&path).is_err() || what.starts_with("cut") || what.contains("over") || what.contains("behind")
        );
        let opened = History::open(&path, &keep()).unwrap();
        let notice = opened.notice.unwrap_or_else(|| panic!("{what} was taken as a history"));
        assert!(notice.contains("history.db.damaged, and a new one begins"), "{what}: {notice}");
        assert!(!notice.contains('\n'), "{notice}");
        assert!(fs::read(&aside).unwrap() == bytes, "{what}: nothing of it is lost");
        let mut history = opened.history;
        history.record(&interval(T0, [(dropped("r", 1), tally(1, 100))], tally(1, 100)), &well(), b"new").unwrap();
        assert_eq!(history.checkpoint().unwrap().unwrap(), b"new", "{what}");
        drop(history);
        assert_eq!(open(&path, &keep()).checkpoint().unwrap().unwrap(), b"new", "{what}");
        println!("{what}: {notice}");
    }
    fs::write(&path, b"").unwrap();
    assert_eq!(open(&path, &keep()).checkpoint().unwrap(), None, "an empty file is a new history");
}

#[test]
fn a_history_of_a_later_version_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.history();
    drop(open(&path, &keep()));
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let before = fs::read(&path).unwrap();
    let refusals = [History::open(&path, &keep()).unwrap_err(), Reader::open(&path).unwrap_err()];
    for refusal in refusals {
        assert!(matches!(refusal, HistoryError::Newer { found: 7, .. }), "{refusal}");
        assert!(refusal.to_string().contains("is of version 7, this weir reads up to 1; run the weir"), "{refusal}");
    }
    assert!(fs::read(&path).unwrap() == before, "not a byte of it changes");
}

#[test]
fn only_its_owner_can_read_a_history() {
    let scratch = Scratch::new();
    let path = scratch.0.join("a/b/history.db");
    let mut history = open(&path, &keep());
    history.record(&interval(T0, [(dropped("r", 1), tally(1, 100))], tally(1, 100)), &well(), b"").unwrap();
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
    let missing = Reader::open(&scratch.0.join("none.db")).unwrap_err();
    assert!(missing.to_string().starts_with("cannot open history "), "{missing}");
}
