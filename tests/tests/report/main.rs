//! What an operator hands on as evidence: `weir report` by the real binary, checked by the real minisign, and a history on
//! a disk that fills up. Looks at no packet: intervals are written as the daemon writes them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod disk;
mod formats;
mod sealed;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use filter_common::decide::Direction;
use weir::account::{Account, Hooked, Interval, ListVersion, Standing};
use weir::config::HistoryConfig;
use weir::history::{HISTORY, History};
use weir::ruleset::RuleAction;
use weir::tally::Tally;
use weir_tests::weir::{Output, Scratch, binary};

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

/// All is well.
fn standing(started: i64) -> Standing {
    let hooked = Hooked { attach: "xdp-generic".into(), state: "live".into(), egress: false };
    let list = ListVersion {
        source: "spamhaus-drop".into(),
        asn: None,
        sha256: "5".repeat(64),
        ranges: 1300,
        changed: Some(started),
    };
    Standing {
        version: "0.1.0".into(),
        started,
        generation: 1,
        paused: false,
        config: Some("c".repeat(64)),
        devices: BTreeMap::from([("lan0".into(), hooked)]),
        lists: vec![list],
        degraded: Vec::new(),
    }
}

fn interval(end: i64, client: u8) -> Interval {
    let account = |action, rules: &[&str]| Account {
        action,
        rules: rules.iter().map(|&rule| rule.into()).collect(),
        direction: Direction::Out,
        device: "lan0".into(),
        client: Some(IpAddr::from([192, 0, 2, client])),
    };
    Interval {
        begin: end - 10,
        end,
        accounts: BTreeMap::from([
            (account(RuleAction::Block, &["apps", "tiktok"]), Tally { packets: 2, bytes: 200 }),
            (account(RuleAction::Monitor, &["games, <b>"]), Tally { packets: 1, bytes: 50 }),
        ]),
        seen: BTreeMap::from([("lan0".into(), Tally { packets: 10, bytes: 1000 })]),
    }
}

/// Two hours of traffic until now, in the state directory, with a restart of five minutes in between.
fn two_hours(state: &Path) {
    let mut history = History::open(&state.join(HISTORY), &HistoryConfig::default()).unwrap().history;
    let until = now();
    for (index, end) in (until - 7200 + 10..=until).step_by(10).enumerate() {
        if (300..330).contains(&index) {
            continue;
        }
        let started = if index < 300 { until - 7200 } else { until - 7200 + 3300 };
        history.record(&interval(end, (index % 9) as u8), &standing(started), b"").unwrap();
    }
}

/// Runs `weir report` on the state directory of this test.
fn report(scratch: &Scratch, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("report").args(arguments).arg("--state-dir").arg(scratch.path().join("state"));
    if arguments.first() != Some(&"verify") {
        command.arg("--run-dir").arg(scratch.path().join("run"));
    }
    finish(command.current_dir(scratch.path()))
}

fn finish(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
