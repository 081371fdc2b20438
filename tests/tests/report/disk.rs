//! A history on a disk that fills up, and is emptied again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir::config::HistoryConfig;
use weir::history::{HISTORY, History, HistoryError, Reader, ReportQuery};
use weir_tests::require_root;
use weir_tests::weir::Scratch;

use crate::{interval, standing};

/// A file system of one MiB; unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Self {
        fs::create_dir(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "weir-test"]).arg(at).status();
        assert!(mounted.unwrap().success());
        Self(at.into())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_costs_no_packet_that_was_acknowledged_and_the_history_goes_on_after_it() {
    require_root();
    let scratch = Scratch::new();
    let small = Small::mount(&scratch.path().join("small"));
    let path = small.0.join(HISTORY);
    let start = 1_763_942_400;
    let mut history = History::open(&path, &HistoryConfig::default()).unwrap().history;
    let mut number: i64 = 0;
    let (mut recorded, mut pending) = (0, interval(start, 0));
    let mut record = |history: &mut History, number: i64| {
        // What could not be stored is handed over again, with what came since.
        let next = interval(start + number * 10, u8::try_from(number % 200).unwrap());
        pending.end = next.end;
        for (account, tally) in next.accounts {
            *pending.accounts.entry(account).or_default() += tally;
        }
        let stored = history.record(&pending, &standing(start), &number.to_be_bytes());
        if stored.is_ok() {
            recorded += pending.accounts.values().map(|tally| tally.packets).sum::<u64>();
            pending.accounts.clear();
        }
        (stored, recorded)
    };
    let checkpoint = |history: &History| i64::from_be_bytes(history.checkpoint().unwrap().unwrap().try_into().unwrap());
    let sum = || {
        let report = Reader::open(&path).unwrap().report(&ReportQuery::default(), "h", start + 10_000_000).unwrap();
        assert!(report.balance.equal);
        report.totals.dropped.packets + report.totals.monitored.packets
    };
    for _ in 0..20 {
        number += 1;
        record(&mut history, number).0.unwrap();
    }
    // Others fill what is left.
    let ballast = small.0.join("ballast");
    let _ = fs::write(&ballast, vec![1; 2 << 20]);
    let mut stored = number;
    let refusal = loop {
        number += 1;
        match record(&mut history, number).0 {
            Ok(()) => stored = number,
            Err(refusal) => break refusal,
        }
        assert!(number < 100_000, "the disk never was full");
    };
    assert!(matches!(refusal, HistoryError::Full { .. }), "{refusal:?}");
    assert!(refusal.to_string().contains("the disk is full"), "{refusal}");
    assert_eq!(checkpoint(&history), stored);
    for _ in 0..10 {
        number += 1;
        assert!(record(&mut history, number).0.is_err());
    }
    fs::remove_file(&ballast).unwrap();
    number += 1;
    let (after, recorded) = record(&mut history, number);
    after.unwrap();
    assert_eq!((checkpoint(&history), sum()), (number, recorded));
    assert_eq!(recorded, 3 * number.unsigned_abs() + 3, "nothing was lost, nothing counted twice");
    drop(history);
    let opened = History::open(&path, &HistoryConfig::default()).unwrap();
    assert_eq!((opened.notice.as_deref(), sum()), (None, recorded));
}
