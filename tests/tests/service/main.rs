//! weir as a service: the units of `packaging/systemd`, under a real systemd. What filters outlives a daemon that fails, and what
//! somebody ended stays ended.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod systemd;

use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use weir_tests::lab::{DEADLINE, Path};
use weir_tests::traffic::{passes, under_traffic};
use weir_tests::{skipped, wait_until};

use systemd::{Systemd, units};

const CONFIG: &str = "[[interface]]\nname = \"lan0\"\n\
    [[rule]]\nname = \"peer\"\naction = \"block\"\nprefixes = [\"71.18.1.0/24\"]\n";

/// Shorter than in the unit, so that a test need not wait as long.
const HURRIED: &str = "WatchdogSec=3s\nRestartSec=1s\n";
/// Longer than systemd waits, then, before it starts a service again.
const RESTART: Duration = Duration::from_secs(4);

/// A path whose router's systemd runs weir; says that `test` was not run where there is no systemd.
fn serviced(test: &str) -> Option<(Path, Systemd)> {
    if !std::path::Path::new("/lib/systemd/systemd").exists() {
        skipped(test, "systemd is not installed");
        return None;
    }
    let path = Path::new();
    let systemd = Systemd::start(&path.router, CONFIG, HURRIED);
    Some((path, systemd))
}

fn status(systemd: &Systemd) -> Value {
    serde_json::from_str(&systemd.succeed(&["weir", "status", "--json"])).unwrap()
}

fn wait_for(systemd: &Systemd, property: &str, value: &str) {
    wait_until(DEADLINE, &format!("{property} is {value}"), || systemd.property(property) == value);
}

#[test]
fn a_daemon_that_is_killed_or_hangs_is_started_again_and_no_packet_notices() {
    const TEST: &str = "a_daemon_that_is_killed_or_hangs_is_started_again_and_no_packet_notices";
    let Some((path, systemd)) = serviced(TEST) else { return };
    let sent = under_traffic(&path, || {
        for (restarts, signal) in [("1", "KILL"), ("2", "STOP")] {
            systemd.signal(signal);
            wait_for(&systemd, "NRestarts", restarts);
            wait_for(&systemd, "ActiveState", "active");
        }
        systemd.succeed(&["systemctl", "reload", "weir"]);
        wait_until(DEADLINE, "it is reloaded", || status(&systemd)["generation"] == 2);
    });
    assert_eq!(status(&systemd)["dropped"]["packets"], sent.packets, "{}", systemd.log());
}

#[test]
fn what_somebody_ended_stays_ended_until_it_is_started() {
    const TEST: &str = "what_somebody_ended_stays_ended_until_it_is_started";
    let Some((path, systemd)) = serviced(TEST) else { return };
    let endings: [(&[&[&str]], bool); 4] = [
        (&[&["weir", "stop"]], true),
        (&[&["weir", "panic"]], true),
        (&[&["pkill", "-STOP", "-x", "weir"], &["weir", "panic"]], true),
        (&[&["weir", "stop", "--keep"]], false),
    ];
    for (words, freed) in endings {
        assert!(!passes(&path), "it filters before {words:?}");
        for words in words {
            systemd.succeed(words);
        }
        wait_for(&systemd, "MainPID", "0");
        thread::sleep(RESTART);
        assert_eq!((systemd.property("MainPID").as_str(), passes(&path)), ("0", freed), "{words:?}\n{}", systemd.log());
        systemd.succeed(&["systemctl", "start", "weir"]);
    }
    assert!(!passes(&path));
    systemd.succeed(&["systemctl", "stop", "weir"]);
    assert_eq!((systemd.property("ActiveState").as_str(), passes(&path)), ("inactive", true));
    let left = systemd.succeed(&["find", "/run/weir", "-type", "f", "-not", "-name", "*.debug"]);
    assert_eq!(left, "", "nothing is pinned");
}

#[test]
fn systemd_finds_no_fault_in_the_units_and_calls_the_service_safe() {
    const TEST: &str = "systemd_finds_no_fault_in_the_units_and_calls_the_service_safe";
    let Some((_path, systemd)) = serviced(TEST) else { return };
    let mut security = Command::new("systemd-analyze");
    // In tenths: 2.5 of 10.
    security.args(["security", "--no-pager", "--offline=yes", "--threshold=25"]).arg(units().join("weir.service"));
    let output = security.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let verified = systemd.run(&["systemd-analyze", "verify", "--man=no", "weir.service", "run-weir-bpf.mount"]);
    assert_eq!((verified.code, verified.stderr.as_str()), (0, ""), "{verified:?}");
}
