//! Weeks of random intervals, with retention, clocks that jump and histories that are closed and opened again.

use std::net::IpAddr;

use filter_common::decide::Direction;
use proptest::prelude::*;
use rusqlite::Connection;
use weir::account::{Account, Interval};
use weir::config::{HistoryConfig, Resolutions};
use weir::history::{Reader, ReportQuery, SeriesBy, SeriesQuery};
use weir::ruleset::RuleAction;
use weir::tally::Tally;

use crate::oracle::Oracle;
use crate::{DAY, HOUR, MINUTE, Scratch, T0, keep, open, well};

fn accounts() -> impl Strategy<Value = Vec<(Account, Tally)>> {
    let action = prop_oneof![Just(RuleAction::Block), Just(RuleAction::Monitor), Just(RuleAction::Allow)];
    let rules = prop::sample::subsequence(vec!["a", "b\",\"", "ü\n"], 1..=3);
    let direction = prop_oneof![Just(Direction::Out), Just(Direction::In)];
    let client = prop::option::of(prop_oneof![
        (0..4_u8).prop_map(|last| IpAddr::from([192, 0, 2, last])),
        (0..4_u16).prop_map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])),
    ]);
    let device = prop_oneof![Just("lan0"), Just("wan0")];
    let account = (action, rules, direction, client, device).prop_map(|(action, rules, direction, client, device)| {
        let rules = rules.into_iter().map(String::from).collect();
        Account { action, rules, direction, device: device.into(), client }
    });
    let tally = (1..1000_u64, 60..100_000_u64).prop_map(|(packets, bytes)| Tally { packets, bytes });
    prop::collection::vec((account, tally), 0..6)
}

#[derive(Clone, Debug)]
struct Step {
    /// Seconds since the interval before; negative where the clock was set back.
    after: i64,
    accounts: Vec<(Account, Tally)>,
    seen: u64,
    reopen: bool,
}

fn step() -> impl Strategy<Value = Step> {
    // Most runs last for weeks, so that rows of minutes and of hours are deleted while others are asked for.
    let after = prop_oneof![
        8 => Just(10_i64),
        4 => 1..90_i64,
        6 => 1..2 * HOUR,
        6 => HOUR..DAY,
        1 => -2 * HOUR..0_i64,
        1 => -3 * DAY..2 * DAY,
    ];
    (after, accounts(), 0..5_u64, prop::bool::weighted(0.05)).prop_map(|(after, accounts, seen, reopen)| Step {
        after,
        accounts,
        seen,
        reopen,
    })
}

/// Sums of a table's rows from `since` on.
fn rows(connection: &Connection, table: &str, since: i64) -> Vec<(i64, i64, i64)> {
    let query = format!("SELECT account, sum(packets), sum(bytes) FROM {table} WHERE time >= ? GROUP BY account");
    let mut statement = connection.prepare(&query).unwrap();
    let rows = statement.query_map([since], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn check(steps: Vec<Step>, spans: &[(f64, f64)]) {
    let keep = HistoryConfig { days: Resolutions { minute: 1, hour: 4, day: 730 }, ..keep() };
    let scratch = Scratch::new();
    let mut history = open(&scratch.history(), &keep);
    let mut oracle = Oracle::default();
    let (mut at, mut latest) = (T0 + 10, T0);
    for (number, step) in steps.into_iter().enumerate() {
        at += step.after;
        latest = latest.max(at);
        let mut interval = Interval { begin: at - 10, end: at, ..Interval::default() };
        for (account, tally) in step.accounts {
            *interval.accounts.entry(account).or_default() += tally;
        }
        if step.seen > 0 {
            interval.seen.insert("wan0".into(), Tally { packets: step.seen, bytes: step.seen * 99 });
        }
        if step.reopen {
            drop(history);
            history = open(&scratch.history(), &keep);
        }
        history.record(&interval, &well(), &number.to_be_bytes()).unwrap();
        assert_eq!(history.checkpoint().unwrap().unwrap(), number.to_be_bytes());
        oracle.0.push(interval);
    }
    let connection = Connection::open(scratch.history()).unwrap();
    let floor = |table: &str| {
        let query = "SELECT coalesce((SELECT value FROM meta WHERE key = ?), -1)";
        connection.query_row(query, [table], |row| row.get::<_, i64>(0)).unwrap()
    };
    // From whole days on that are complete in all, the tables agree.
    let minutes = (floor("minute") + DAY - 1).div_euclid(DAY) * DAY;
    assert_eq!(rows(&connection, "minute", minutes), rows(&connection, "hour", minutes));
    assert_eq!(rows(&connection, "hour", minutes), rows(&connection, "day", minutes));
    let hours = (floor("hour") + DAY - 1).div_euclid(DAY) * DAY;
    assert_eq!(rows(&connection, "hour", hours), rows(&connection, "day", hours));

    for table in ["minute", "hour"] {
        let query = format!("SELECT count(*) FROM {table} WHERE time < ?");
        let below = connection.query_row(&query, [floor(table)], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(below, 0, "no {table} is kept that nobody can read");
    }

    let reader = Reader::open(&scratch.history()).unwrap();
    let now = latest + 1;
    let all = reader.report(&ReportQuery::default(), "h", now).unwrap();
    oracle.agrees(&all, &(i64::MIN..i64::MAX));
    let first = oracle.0.iter().map(|interval| interval.end).min().unwrap();
    let place = |part: f64| first + ((now - first) as f64 * part) as i64;
    let near = |floor: i64, part: f64| floor.max(first) + ((part - 0.5) * 3.0 * HOUR as f64) as i64;
    for (index, &(from, to)) in spans.iter().enumerate() {
        // Where one resolution ends and the next begins, rows are easily lost or taken twice.
        let (one, other) = match index % 4 {
            0 => (place(from), near(floor("minute"), to)),
            1 => (near(floor("minute"), from), near(floor("minute"), to)),
            2 => (near(floor("hour"), from), place(to)),
            _ => (place(from), place(to)),
        };
        let (since, until) = (one.min(other), one.max(other).min(now));
        let query = ReportQuery { since: Some(since), until: Some(until) };
        let report = reader.report(&query, "h", now).unwrap();
        if since < until {
            assert!(report.since <= since && since - report.since < DAY && report.until >= until);
            assert!(report.until - until < DAY);
            if report.since >= floor("minute") {
                assert!(since - report.since < MINUTE, "as fine as it is kept");
            }
            oracle.agrees(&report, &(report.since..report.until));
        }
        let series = reader.series(&SeriesQuery { since, until, by: SeriesBy::Device }).unwrap();
        for (index, &begin) in series.times.iter().enumerate() {
            let span = begin..begin + i64::from(series.step);
            assert_eq!(series.seen_bytes[index], oracle.seen(&span, None).1);
            for line in &series.lines {
                let of = |account: &Account| account.device == line.name && account.action == line.action;
                assert_eq!((line.packets[index], line.bytes[index]), oracle.counted(&span, of));
            }
        }
        assert!(series.times.len() <= 1001);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_are_those_of_a_plain_list_whatever_is_asked(
        steps in prop::collection::vec(step(), 1..160),
        spans in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 8),
    ) {
        check(steps, &spans);
    }

    #[test]
    fn folded_clients_change_no_sum(
        steps in prop::collection::vec(accounts(), 1..20),
        clients in 0..3_u32,
    ) {
        let scratch = Scratch::new();
        let mut history = open(&scratch.history(), &HistoryConfig { clients, ..keep() });
        let mut oracle = Oracle::default();
        for (number, accounts) in (1..).zip(steps) {
            let end = T0 + number * 10;
            let mut interval = Interval { begin: end - 10, end, ..Interval::default() };
            for (account, tally) in accounts {
                *interval.accounts.entry(account).or_default() += tally;
            }
            history.record(&interval, &well(), b"").unwrap();
            oracle.0.push(interval);
        }
        let mut report = Reader::open(&scratch.history()).unwrap().report(&ReportQuery::default(), "h", T0 + DAY).unwrap();
        report.clients.clear();
        oracle.agrees(&report, &(i64::MIN..i64::MAX));
    }
}
