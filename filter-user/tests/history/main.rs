//! The history against an oracle that keeps every interval in a plain list and scans it. Must not share a line of code
//! with what it tests, but the types.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bounds;
mod crash;
mod oracle;
mod random;
mod spans;
mod standing;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use filter_common::decide::Direction;
use weir::account::{Account, Hooked, Interval, Standing};
use weir::config::{HistoryConfig, Keep, Resolutions};
use weir::history::{HISTORY, History};
use weir::ruleset::RuleAction;
use weir::tally::Tally;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
/// Midnight UTC.
const T0: i64 = 1_763_942_400;

/// A directory of this test; deleted when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("weir-history-{}-{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn history(&self) -> PathBuf {
        self.0.join(HISTORY)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn keep() -> HistoryConfig {
    HistoryConfig {
        keep: Keep::Disk,
        days: Resolutions { minute: 2, hour: 35, day: 730 },
        clients: 100,
        max_bytes: 64 << 20,
    }
}

fn open(path: &Path, keep: &HistoryConfig) -> History {
    let opened = History::open(path, keep).unwrap();
    assert_eq!(opened.notice, None);
    opened.history
}

fn account(action: RuleAction, rules: &[&str], direction: Direction, client: Option<IpAddr>) -> Account {
    let rules = rules.iter().map(|&rule| rule.to_owned()).collect();
    Account { action, rules, direction, device: "lan0".into(), client }
}

fn dropped(rule: &str, client: u8) -> Account {
    account(RuleAction::Block, &[rule], Direction::Out, Some(IpAddr::from([192, 0, 2, client])))
}

fn tally(packets: u64, bytes: u64) -> Tally {
    Tally { packets, bytes }
}

/// Ten seconds that end at `end`.
fn interval<const N: usize>(end: i64, accounts: [(Account, Tally); N], seen: Tally) -> Interval {
    Interval { begin: end - 10, end, accounts: BTreeMap::from(accounts), seen: BTreeMap::from([("lan0".into(), seen)]) }
}

/// All is well on `lan0`.
fn well() -> Standing {
    let hooked = Hooked { attach: "tcx".into(), state: "live".into(), egress: false };
    Standing {
        version: "0.1.0".into(),
        started: T0 - 5,
        generation: 1,
        paused: false,
        config: None,
        devices: BTreeMap::from([("lan0".into(), hooked)]),
        lists: Vec::new(),
        degraded: Vec::new(),
    }
}
