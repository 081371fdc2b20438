//! What a report says about enforcement: gaps, pauses, lists in force.

use weir::account::{Interval, ListVersion, Standing};
use weir::config::{HistoryConfig, Resolutions};
use weir::history::{History, Reader, Report, ReportQuery};

use crate::{DAY, HOUR, Scratch, T0, interval, keep, open, tally, well};

/// Records every ten seconds from `from` to `to`.
fn run(history: &mut History, from: i64, to: i64, standing: &Standing) {
    for end in (from + 10..=to).step_by(10) {
        let interval = Interval { begin: end - 10, end, ..Interval::default() };
        history.record(&interval, standing, b"").unwrap();
    }
}

fn report(scratch: &Scratch, since: Option<i64>, until: Option<i64>, now: i64) -> Report {
    Reader::open(&scratch.history()).unwrap().report(&ReportQuery { since, until }, "h", now).unwrap()
}

fn gaps(report: &Report) -> Vec<(i64, i64, Option<&str>, &str)> {
    let gaps = report.enforcement.gaps.iter();
    gaps.map(|gap| (gap.begin - T0, gap.end - T0, gap.device.as_deref(), gap.why.as_str())).collect()
}

#[test]
fn a_run_without_trouble_has_one_period_and_no_gap() {
    let scratch = Scratch::new();
    let mut history = open(&scratch.history(), &keep());
    run(&mut history, T0, T0 + 600, &well());
    let report = report(&scratch, None, None, T0 + 629);
    assert_eq!(gaps(&report), []);
    let enforcement = &report.enforcement;
    assert_eq!((enforcement.covered_secs, enforcement.gap_secs, enforcement.paused_secs), (629, 0, 0));
    assert_eq!(enforcement.periods.len(), 1);
    assert_eq!((enforcement.periods[0].begin, enforcement.periods[0].end), (T0, T0 + 600));
}

#[test]
fn silence_a_restart_and_what_is_before_and_after_are_gaps() {
    let scratch = Scratch::new();
    let mut history = open(&scratch.history(), &keep());
    run(&mut history, T0, T0 + 100, &well());
    // Half a minute is a busy router, more is a gap.
    run(&mut history, T0 + 120, T0 + 200, &well());
    run(&mut history, T0 + 231, T0 + 301, &well());
    let again = Standing { started: T0 + 395, ..well() };
    run(&mut history, T0 + 395, T0 + 505, &again);
    // Back within a second, and still a gap: what was between is not known.
    run(&mut history, T0 + 505, T0 + 605, &Standing { started: T0 + 505, ..well() });
    let report = report(&scratch, Some(T0 - 60), None, T0 + 700);
    assert_eq!(
        gaps(&report),
        [
            (-60, 0, None, "nothing was recorded"),
            (200, 231, None, "nothing was recorded"),
            (301, 395, None, "weir was not running"),
            (505, 505, None, "weir was not running"),
            (605, 700, None, "nothing was recorded"),
        ]
    );
    assert_eq!(report.enforcement.gap_secs, 60 + 31 + 94 + 95);
    assert_eq!(report.enforcement.covered_secs + report.enforcement.gap_secs, 760);
    // Cut at the ends of what is asked.
    let part = self::report(&scratch, Some(T0 + 240), Some(T0 + 360), T0 + 700);
    assert_eq!((gaps(&part).len(), part.enforcement.gap_secs, part.enforcement.covered_secs), (1, 59, 61));
}

#[test]
fn what_is_not_enforced_is_a_gap_of_its_device() {
    let scratch = Scratch::new();
    let mut history = open(&scratch.history(), &keep());
    let mut standing = well();
    standing.devices.insert("wan0".into(), standing.devices["lan0"].clone());
    run(&mut history, T0, T0 + 100, &standing);
    let mut dead = standing.clone();
    dead.devices.get_mut("wan0").unwrap().state = "dead".into();
    run(&mut history, T0 + 100, T0 + 200, &dead);
    // Something else changes: the gap goes on.
    dead.generation = 2;
    run(&mut history, T0 + 200, T0 + 300, &dead);
    let mut detached = standing.clone();
    detached.devices.get_mut("lan0").unwrap().attach = "none".into();
    run(&mut history, T0 + 300, T0 + 400, &detached);
    run(&mut history, T0 + 400, T0 + 500, &Standing { generation: 0, ..standing.clone() });
    run(&mut history, T0 + 500, T0 + 600, &Standing { devices: [].into(), ..standing.clone() });
    run(&mut history, T0 + 600, T0 + 700, &Standing { paused: true, ..standing });
    let report = report(&scratch, None, None, T0 + 700);
    assert_eq!(
        gaps(&report),
        [
            (100, 300, Some("wan0"), "packets arrived and the program did not see them"),
            (300, 400, Some("lan0"), "not attached"),
            (400, 500, None, "no ruleset was live"),
            (500, 600, None, "no device was filtered"),
        ]
    );
    let enforcement = &report.enforcement;
    assert_eq!((enforcement.covered_secs, enforcement.gap_secs, enforcement.paused_secs), (200, 500, 100));
    assert_eq!(enforcement.periods.len(), 7);
}

#[test]
fn a_list_is_in_force_from_the_record_it_came_with_to_the_last_one_it_was_in() {
    let scratch = Scratch::new();
    let mut history = open(&scratch.history(), &keep());
    let list = |sha: &str, asn| ListVersion {
        source: "drop".into(),
        asn,
        sha256: sha.into(),
        ranges: 7,
        changed: Some(T0 - 9),
    };
    let with = |lists: &[ListVersion], generation| Standing { lists: lists.to_vec(), generation, ..well() };
    run(&mut history, T0, T0 + 100, &with(&[list("a", None), list("b", Some(64496))], 1));
    run(&mut history, T0 + 100, T0 + 200, &with(&[list("c", None), list("b", Some(64496))], 2));
    run(&mut history, T0 + 200, T0 + 300, &with(&[list("a", None), list("b", Some(64496))], 3));
    let rows = |since, until| -> Vec<(String, i64, Option<i64>)> {
        let report = report(&scratch, since, until, T0 + 300);
        report.lists.iter().map(|list| (list.sha256.clone(), list.from - T0, list.until.map(|at| at - T0))).collect()
    };
    let row = |sha: &str, from, until| (String::from(sha), from, until);
    assert_eq!(
        rows(None, None),
        [row("a", 0, Some(100)), row("c", 100, Some(200)), row("a", 200, None), row("b", 0, None)]
    );
    assert_eq!(rows(Some(T0 + 120), Some(T0 + 180)), [row("c", 100, Some(200)), row("b", 0, None)]);
}

#[test]
fn a_clock_that_jumps_neither_stops_nor_empties_the_history() {
    let scratch = Scratch::new();
    let mut history = open(&scratch.history(), &keep());
    for end in (T0 + 10..=T0 + 600).step_by(10) {
        history.record(&interval(end, [], tally(1, 60)), &well(), b"").unwrap();
    }
    // A minute in the year 2099, then back, an hour before the truth, then right.
    run(&mut history, T0 + 70 * 365 * DAY, T0 + 70 * 365 * DAY + 60, &well());
    run(&mut history, T0 - HOUR, T0 - HOUR + 60, &well());
    run(&mut history, T0 + 700, T0 + 800, &well());
    for end in [i64::MIN, -1, 0, 1, i64::MAX] {
        history.record(&Interval { begin: end, end, ..Interval::default() }, &well(), b"").unwrap();
    }
    run(&mut history, T0 + 800, T0 + 900, &well());
    let report = report(&scratch, Some(T0), None, T0 + 900);
    assert_eq!(report.totals.seen.packets, 60, "what was counted before the jump is still there");
    assert!(gaps(&report).contains(&(600, 700, None, "nothing was recorded")), "{:?}", gaps(&report));
    assert!(report.enforcement.covered_secs >= 800, "{:?}", report.enforcement);
    assert!(report.enforcement.periods.iter().all(|period| period.end - period.begin < DAY));
}

#[test]
fn standings_that_change_all_the_time_stay_bounded() {
    let scratch = Scratch::new();
    let keep = HistoryConfig { max_bytes: 1 << 20, days: Resolutions { minute: 1, hour: 1, day: 30 }, ..keep() };
    let mut history = open(&scratch.history(), &keep);
    for number in 0..3000_u32 {
        let lists = (0..20).map(|list| ListVersion {
            source: format!("source-{list}"),
            asn: None,
            sha256: format!("{:064x}", u64::from(number) * 100 + list),
            ranges: 1,
            changed: None,
        });
        let degraded = (0..40).map(|line| format!("source {line} has no copy yet, for the time {number}"));
        let standing =
            Standing { generation: number.into(), lists: lists.collect(), degraded: degraded.collect(), ..well() };
        let end = T0 + i64::from(number) * 60;
        history.record(&Interval { begin: end - 10, end, ..Interval::default() }, &standing, b"").unwrap();
    }
    let report = report(&scratch, None, None, T0 + 3000 * 60);
    assert!((10..500).contains(&report.enforcement.periods.len()), "{}", report.enforcement.periods.len());
    let last = report.enforcement.periods.last().unwrap();
    assert_eq!((last.standing.generation, last.standing.degraded.len()), (2999, 17));
    assert_eq!(last.standing.degraded[16], "and 24 more");
    assert_eq!(report.lists.iter().filter(|list| list.until.is_none()).count(), 20, "what is in force stays");
    assert!(std::fs::metadata(scratch.history()).unwrap().len() <= 1 << 20);
}
