//! Rules by the clock: off, on, and switched by a running daemon at the second their window says.

use std::time::{SystemTime, UNIX_EPOCH};

use weir_tests::echo::tcp_echo;
use weir_tests::lab::{CONTROL_V4, CONTROL_V6, DEADLINE, LISTED_V4, LISTED_V6, PROBE};
use weir_tests::weir::Output;
use weir_tests::{require_root, wait_until};

use crate::watch::Router;

/// Seconds from the start of a test to the end of its window: enough for a daemon and three probes.
const LEAD: u64 = 12;

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A time of day, as the file has it.
fn clock(minute: u64) -> String {
    format!("{:02}:{:02}", minute / 60 % 24, minute % 60)
}

/// From minute `from` to minute `to` of the day in `zone`, every day; minutes run over at midnight.
fn window(from: u64, to: u64, zone: &str) -> String {
    format!("schedule = {{ from = \"{}\", to = \"{}\", zone = \"{zone}\" }}", clock(from), clock(to))
}

fn rule(name: &str, prefix: &str, schedule: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\naction = \"block\"\nprefixes = [\"{prefix}\"]\n{schedule}\n")
}

/// The line of a rule in the table for people.
fn line(status: &Output, rule: &str) -> String {
    status.stdout.lines().find(|line| line.split(' ').next() == Some(rule)).unwrap_or_default().to_owned()
}

#[test]
fn a_rule_is_off_outside_its_window_and_on_within_and_both_are_told() {
    require_root();
    let mut router = Router::new();
    for address in [LISTED_V4.into(), LISTED_V6.into(), CONTROL_V4.into()] {
        wait_until(DEADLINE, "it passes before", || tcp_echo(&router.path.lan, address, PROBE));
    }
    // Two hours around now, and two that begin in an hour; the same by the clock of a zone that is 5 h 30 min ahead.
    let minute = unix_now() / 60 % (24 * 60) + 24 * 60;
    let ahead = minute + 5 * 60 + 30;
    router.config(
        &[
            rule("on", "71.18.0.0/16", &window(minute - 60, minute + 60, "UTC")),
            rule("off", "2605:340::/32", &window(minute + 60, minute + 180, "UTC")),
            rule("ahead-on", "198.51.100.0/24", &window(ahead - 60, ahead + 60, "<LAB>-5:30")),
            rule("ahead-off", "2001:db8:100::/48", &window(minute - 60, minute + 60, "IST-5:30")),
        ]
        .concat(),
    );
    router.start();
    let passes = [LISTED_V4.into(), LISTED_V6.into(), CONTROL_V4.into(), CONTROL_V6.into()].map(|at| router.passes(at));
    assert_eq!(passes, [false, true, false, true], "{}", router.weir().stderr());
    assert_eq!(router.status()["resting"], serde_json::json!(["ahead-off", "off"]));
    let status = router.weir().verb(&["status"]);
    for (name, off) in [("on", false), ("off", true), ("ahead-on", false), ("ahead-off", true)] {
        assert_eq!(line(&status, name).ends_with("  (off by schedule)"), off, "{name}: {status:?}");
    }
    // A rule that rests is no fault.
    assert_eq!(status.code, 0, "{status:?}");
}

#[test]
fn windows_switch_a_running_daemon_by_themselves_and_the_counters_stay() {
    require_root();
    let mut router = Router::new();
    // A zone whose next minute begins in so many seconds: long enough to see what is before, short enough to wait.
    let now = unix_now();
    let seconds = (2 * 60 - LEAD - now % 60) % 60;
    let zone = format!("<LAB>-0:00:{seconds:02}");
    let edge = (now + seconds) / 60 % (24 * 60) + 24 * 60 + 1;
    router.config(
        &[
            rule("ends", "71.18.0.0/16", &window(edge - 60, edge, &zone)),
            rule("begins", "198.51.100.0/24", &window(edge, edge + 60, &zone)),
            rule("stays", "2605:340::/32", ""),
        ]
        .concat(),
    );
    router.start();
    let out = |rule: &str| router.weir().rule(rule, "out").packets;
    assert!(!router.passes(LISTED_V4.into()) && !router.passes(LISTED_V6.into()), "{}", router.weir().stderr());
    assert!(router.passes(CONTROL_V4.into()));
    let before = router.status();
    assert_eq!(before["resting"], serde_json::json!(["begins"]), "the test took longer than its window");
    let counted = (out("ends"), out("stays"));
    assert!(counted.0 > 0 && counted.1 > 0 && out("begins") == 0, "{before}");

    wait_until(DEADLINE, "the window ends", || router.status()["resting"] == serde_json::json!(["ends"]));
    // Once a second the daemon looks at the clock.
    let late = unix_now().checked_sub(now + LEAD).unwrap();
    assert!(late <= 3, "switched {late} s after the window's end");
    assert!(tcp_echo(&router.path.lan, LISTED_V4.into(), PROBE), "it passes at once");
    assert!(!router.passes(CONTROL_V4.into()), "and what begins blocks");
    assert!(!router.passes(LISTED_V6.into()), "what has no window goes on");
    assert_eq!(out("ends"), counted.0, "what was counted stays");
    assert!(out("stays") > counted.1 && out("begins") > 0);
    let after = router.status();
    assert_eq!((&after["pid"], after["generation"].as_u64()), (&before["pid"], Some(2)), "by one publish, no restart");
    let status = router.weir().verb(&["status"]);
    assert!(line(&status, "ends").ends_with("  (off by schedule)"), "{status:?}");
}
