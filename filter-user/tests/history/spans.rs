//! What a series and a report say, by hand-made intervals whose sums can be seen.

use filter_common::decide::Direction;
use weir::history::{Reader, ReportQuery, SeriesBy, SeriesQuery};
use weir::ruleset::RuleAction;

use crate::{DAY, HOUR, MINUTE, Scratch, T0, account, dropped, interval, keep, open, tally, well};

#[test]
fn a_report_says_what_was_counted_by_rule_client_device_and_hour() {
    let scratch = Scratch::new();
    let mut history = open(&scratch.history(), &keep());
    assert_eq!(history.checkpoint().unwrap(), None);
    let both = account(RuleAction::Block, &["apps", "tiktok"], Direction::In, Some([192, 0, 2, 1].into()));
    let watched = account(RuleAction::Monitor, &["games"], Direction::Out, None);
    history
        .record(
            &interval(T0 + 10, [(dropped("tiktok", 1), tally(2, 200)), (both, tally(3, 3000))], tally(50, 50_000)),
            &well(),
            b"one",
        )
        .unwrap();
    history
        .record(&interval(T0 + 20, [(dropped("tiktok", 2), tally(1, 9000))], tally(1, 9000)), &well(), b"two")
        .unwrap();
    let later = interval(T0 + HOUR + 30, [(watched, tally(7, 70))], tally(9, 90));
    history.record(&later, &well(), b"three").unwrap();
    assert_eq!(history.checkpoint().unwrap().unwrap(), b"three");

    let reader = Reader::open(&scratch.history()).unwrap();
    let report = reader.report(&ReportQuery::default(), "router", T0 + HOUR + 35).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    let sum = |packets: u64, bytes: u64| serde_json::json!({ "packets": packets, "bytes": bytes });
    assert_eq!((json["version"].as_u64(), json["host"].as_str()), (Some(1), Some("router")));
    assert_eq!((report.created, report.since, report.until), (T0 + HOUR + 35, T0, T0 + HOUR + 35));
    assert_eq!(json["totals"]["dropped"], sum(6, 12_200));
    assert_eq!(json["totals"]["monitored"], sum(7, 70));
    assert_eq!(json["totals"]["allowed"], sum(0, 0));
    assert_eq!(json["totals"]["seen"], sum(60, 59_090));
    assert_eq!(
        json["rules"],
        serde_json::json!([
            { "name": "tiktok", "action": "block", "out": sum(3, 9200), "in": sum(3, 3000) },
            { "name": "apps", "action": "block", "out": sum(0, 0), "in": sum(3, 3000) },
            { "name": "games", "action": "monitor", "out": sum(7, 70), "in": sum(0, 0) },
        ])
    );
    let client = |client: Option<&str>, dropped, monitored| serde_json::json!({ "client": client, "dropped": dropped, "monitored": monitored, "allowed": sum(0, 0) });
    assert_eq!(
        json["clients"],
        serde_json::json!([
            client(Some("192.0.2.2"), sum(1, 9000), sum(0, 0)),
            client(Some("192.0.2.1"), sum(5, 3200), sum(0, 0)),
            client(None, sum(0, 0), sum(7, 70)),
        ])
    );
    assert_eq!(json["devices"].as_array().unwrap().len(), 1);
    assert_eq!((&json["devices"][0]["name"], &json["devices"][0]["seen"]), (&"lan0".into(), &sum(60, 59_090)));
    let hours: Vec<_> = report.hours.iter().map(|hour| (hour.begin, hour.secs, hour.counted.dropped.bytes)).collect();
    assert_eq!(hours, [(T0, HOUR, 12_200), (T0 + HOUR, MINUTE, 0)]);
    assert!(report.balance.equal);
    assert_eq!(report.balance.accounts, tally(13, 12_270));
    assert!(report.notes[0].contains("attempted"), "{:?}", report.notes);
    assert!(report.notes[1].starts_with("3 packets (3000 bytes) matched several rules"), "{:?}", report.notes);
    assert!(report.notes[2].starts_with("A client without an address"), "{:?}", report.notes);
    assert_eq!((report.serial, report.previous), (None, None));
}

#[test]
fn a_series_has_no_holes_and_takes_the_finest_step_that_is_not_too_many() {
    let scratch = Scratch::new();
    let mut history = open(&scratch.history(), &keep());
    for end in [T0 + 10, T0 + 20, T0 + 200] {
        history.record(&interval(end, [(dropped("tiktok", 1), tally(1, 100))], tally(2, 300)), &well(), b"").unwrap();
    }
    let reader = Reader::open(&scratch.history()).unwrap();
    let ask = |since, until, by| reader.series(&SeriesQuery { since, until, by }).unwrap();
    let series = ask(T0 + 5, T0 + 241, SeriesBy::Rule);
    assert_eq!((series.step, series.times), (60, (0..5).map(|minute| T0 + minute * 60).collect()));
    assert_eq!(series.lines.len(), 1);
    assert_eq!((series.lines[0].name.as_str(), series.lines[0].action), ("tiktok", RuleAction::Block));
    assert_eq!(series.lines[0].bytes, [200, 0, 0, 100, 0]);
    assert_eq!(series.lines[0].packets, [2, 0, 0, 1, 0]);
    assert_eq!(series.seen_bytes, [600, 0, 0, 300, 0]);
    assert_eq!(series.gaps.len(), 2, "before the silence and after the last record: {:?}", series.gaps);
    for (length, step, count) in
        [(1000 * MINUTE, 60, 1000), (1001 * MINUTE, 3600, 17), (1000 * HOUR, 3600, 1000), (1001 * HOUR, 86_400, 42)]
    {
        let series = ask(T0, T0 + length, SeriesBy::Direction);
        assert_eq!((series.step, series.times.len()), (step, count), "{length}");
        assert_eq!((series.lines[0].name.as_str(), series.lines[0].bytes.iter().sum::<u64>()), ("out", 300));
    }
    let devices = ask(T0, T0 + DAY, SeriesBy::Device);
    assert_eq!(devices.lines[0].name, "lan0");
    let ages = ask(i64::MIN, i64::MAX, SeriesBy::Device);
    assert!(ages.times.len() <= 36_602, "{}", ages.times.len());
    assert!(ask(T0, T0, SeriesBy::Rule).times.is_empty() && ask(T0, T0 - 1, SeriesBy::Rule).lines.is_empty());
}
