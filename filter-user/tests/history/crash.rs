//! A writer that is killed in the middle of its work, and readers beside one that goes on.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use weir::history::{Reader, ReportQuery, SeriesBy, SeriesQuery};

use crate::{Scratch, T0, dropped, interval, keep, open, tally, well};

/// Names the history that the child writes.
const CHILD: &str = "WEIR_HISTORY_CHILD";

/// Not a test by itself: what the child of the test below does until it is killed.
#[test]
fn record_until_killed() {
    let Some(path) = env::var_os(CHILD) else { return };
    let mut history = open(Path::new(&path), &keep());
    let stored = |bytes: Option<Vec<u8>>| bytes.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    let first = stored(history.checkpoint().unwrap()) + 1;
    for number in first.. {
        let accounts = [(dropped("a", 1), tally(1, number)), (dropped("b", (number % 50) as u8), tally(1, number))];
        let end = T0 + number.cast_signed() * 10;
        history.record(&interval(end, accounts, tally(2, number)), &well(), &number.to_be_bytes()).unwrap();
        let mut out = std::io::stdout();
        writeln!(out, "recorded {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_nothing_is_half_there() {
    let scratch = Scratch::new();
    let mut acknowledged = 0;
    for round in 1..=8_u32 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::record_until_killed", "--nocapture"])
            .env(CHILD, scratch.history())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let number = |line: String| line.rsplit_once("recorded ").and_then(|(_, number)| number.parse::<u64>().ok());
        for _ in 0..37 * round {
            acknowledged = lines.by_ref().find_map(number).unwrap();
        }
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        // What it wrote before it died and nobody has read yet.
        acknowledged = lines.filter_map(number).last().unwrap_or(acknowledged);

        let history = open(&scratch.history(), &keep());
        let stored = u64::from_be_bytes(history.checkpoint().unwrap().unwrap().try_into().unwrap());
        assert!((acknowledged..=acknowledged + 1).contains(&stored), "{stored} of {acknowledged}");
        let reader = Reader::open(&scratch.history()).unwrap();
        let now = T0 + stored.cast_signed() * 10;
        let report = reader.report(&ReportQuery::default(), "h", now + 1).unwrap();
        let sum = stored * (stored + 1) / 2;
        assert_eq!(report.totals.dropped, tally(2 * stored, 2 * sum));
        assert_eq!(report.totals.seen, tally(2 * stored, sum));
        assert!(report.balance.equal);
        assert_eq!(report.enforcement.gap_secs, 0);
    }
}

#[test]
fn two_readers_see_whole_intervals_while_the_writer_goes_on() {
    let scratch = Scratch::new();
    let path = scratch.history();
    let mut history = open(&path, &keep());
    let record = |history: &mut weir::history::History, number: i64| {
        let accounts = [(dropped("a", 1), tally(1, 100)), (dropped("b", 2), tally(1, 100))];
        history.record(&interval(T0 + number * 10, accounts, tally(1, 100)), &well(), b"").unwrap();
    };
    record(&mut history, 1);
    let ended = AtomicBool::new(false);
    let reads = thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let reader = Reader::open(&path).unwrap();
                    let (mut reads, mut before) = (0, 0);
                    while !ended.load(Ordering::Relaxed) || reads == 0 {
                        let report = reader.report(&ReportQuery::default(), "h", T0 + 100_000).unwrap();
                        let packets = report.totals.dropped.packets;
                        assert_eq!((report.totals.seen.packets * 2, report.balance.equal), (packets, true));
                        assert!(packets >= before, "{packets} after {before}");
                        let query = SeriesQuery { since: T0, until: T0 + 60_000, by: SeriesBy::Rule };
                        let series = reader.series(&query).unwrap();
                        assert_eq!(series.lines[0].packets, series.lines[1].packets);
                        before = packets;
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for number in 2..=2000 {
            record(&mut history, number);
        }
        ended.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u64>()
    });
    assert!(reads > 20, "{reads} reads");
    let report = Reader::open(&path).unwrap().report(&ReportQuery::default(), "h", T0 + 100_000).unwrap();
    assert_eq!(report.totals.dropped, tally(4000, 400_000));
}
