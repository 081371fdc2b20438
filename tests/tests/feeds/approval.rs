//! Plan, apply, confirm: a change is shown before it is made, and goes back by itself unless confirmed.

use std::time::Duration;

use weir_tests::echo::udp_echo;
use weir_tests::lab::{CONTROL_V4, DEADLINE, LISTED_V4, PROBE};
use weir_tests::weir::Signal;
use weir_tests::{require_root, wait_until};

use crate::watch::Router;

const TIKTOK: &str = "[[rule]]\nname = \"tiktok\"\naction = \"block\"\nservices = [\"tiktok\"]\n";

fn with_control() -> String {
    format!("{TIKTOK}[[rule]]\nname = \"more\"\naction = \"block\"\nprefixes = [\"198.51.100.0/24\"]\n")
}

/// The control address is blocked by the change only.
fn changed(router: &Router) -> bool {
    !udp_echo(&router.path.lan, CONTROL_V4.into(), PROBE)
}

fn running() -> Router {
    require_root();
    let mut router = Router::new();
    router.config(TIKTOK);
    router.start();
    assert!(!udp_echo(&router.path.lan, LISTED_V4.into(), PROBE) && !changed(&router));
    router
}

#[test]
fn a_change_goes_back_by_itself_and_is_not_started_again() {
    let mut router = running();
    router.config(&with_control());
    let output = router.weir().verb(&["apply", "--confirm", "3s"]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "applied; it goes back in 3 s unless you run: weir confirm\n"),
        "{output:?}"
    );
    assert!(changed(&router));
    assert!(router.status()["unconfirmed_secs"].as_u64().unwrap() <= 3);
    wait_until(DEADLINE, "it goes back", || !changed(&router));
    assert_eq!(router.status()["unconfirmed_secs"], serde_json::Value::Null);
    assert!(
        router.weir().stderr().contains("rolling back: it was not confirmed in time"),
        "{}",
        router.weir().stderr()
    );
    // The file still holds the change: a restart must not bring it back.
    router.start();
    assert!(!changed(&router), "{}", router.weir().stderr());
    assert!(router.status()["rejected"].is_string());
    assert!(router.weir().stderr().contains("the configuration file holds a change that was rolled back"));
    // Applied again and confirmed, it stays.
    assert_eq!(router.weir().verb(&["apply", "--confirm", "60s"]).code, 0);
    let output = router.weir().verb(&["confirm"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "confirmed\n"));
    router.start();
    assert!(changed(&router));
    assert_eq!(router.status()["rejected"], serde_json::Value::Null);
}

#[test]
fn the_wait_goes_on_over_a_power_cut() {
    let mut router = running();
    router.config(&with_control());
    assert_eq!(router.weir().verb(&["apply", "--confirm", "8s"]).code, 0);
    router.start();
    let left = router.status()["unconfirmed_secs"].as_u64().unwrap();
    assert!(changed(&router) && left <= 8, "{left}");
    wait_until(DEADLINE, "it goes back", || !changed(&router));
    // And once more: the time is up while nobody is there.
    assert_eq!(router.weir().verb(&["apply", "--confirm", "1s"]).code, 0);
    router.weir().signal(Signal::SIGKILL);
    std::thread::sleep(Duration::from_millis(2100));
    router.start();
    assert!(!changed(&router), "{}", router.weir().stderr());
}

#[test]
fn a_broken_change_is_refused_and_an_operator_can_go_back_at_once() {
    let mut router = running();
    router.config("[[rule]]\nname = \"x\"\naction = \"drop\"\n");
    let output = router.weir().verb(&["apply", "--confirm", "60s"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("weir.toml:5: action: unknown variant `drop`"), "{output:?}");
    assert_eq!(router.status()["unconfirmed_secs"], serde_json::Value::Null);
    for verb in ["confirm", "rollback"] {
        let output = router.weir().verb(&[verb]);
        assert!(output.code == 1 && output.stderr.contains("nothing waits for a confirmation"), "{output:?}");
    }
    router.config(&with_control());
    assert_eq!(router.weir().verb(&["apply", "--confirm", "60s"]).code, 0);
    assert!(changed(&router));
    assert_eq!(router.weir().verb(&["rollback"]).stdout, "rolled back\n");
    assert!(!changed(&router));
    let output = router.weir().verb(&["apply", "--confirm", "0s"]);
    assert!(output.code == 2 && output.stderr.contains("--confirm 0s would go back at once"), "{output:?}");
    let output = router.weir().verb(&["apply", "--confirm", "soon"]);
    assert!(
        output.code == 2 && output.stderr.contains("\"soon\" is no time span; accepted: such as 90s"),
        "{output:?}"
    );
    assert_eq!(router.weir().verb(&["apply"]).stdout, "applied\n");
    assert!(changed(&router));
    router.weir.take();
}

#[test]
fn a_plan_shows_what_would_change_and_changes_nothing() {
    let router = running();
    let state = router.state_dir();
    let state = state.to_str().unwrap();
    let config = router.config(&with_control());
    let config = config.to_str().unwrap();
    let plan = router.offline(&["plan", "-c", config, "--state-dir", state]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(plan.stdout.starts_with("= rule \"tiktok\" (block, both): "), "{plan:?}");
    let added = "+ rule \"more\" (block, both): 1 IPv4 prefixes (256 addresses), 0 IPv6 prefixes\n  \
                 + 1 IPv4 prefixes (256 addresses), 0 IPv6 prefixes: 198.51.100.0/24\n";
    assert!(plan.stdout.contains(added), "{plan:?}");
    assert!(!changed(&router), "a plan changes nothing");
    let json = router.offline(&["plan", "-c", config, "--state-dir", state, "--json"]).json();
    assert_eq!((&json["changes"], &json["rules"][1]["fate"]), (&true.into(), &"added".into()));
    assert_eq!(json["rules"][1]["added"]["count"]["ipv4_addresses"], 256);
    assert_eq!(router.weir().verb(&["apply"]).code, 0);
    let plan = router.offline(&["plan", "-c", config, "--state-dir", state]);
    assert!(plan.stdout.contains("\nno change\n"), "{plan:?}");
    // What goes is shown, too.
    router.config("[[rule]]\nname = \"tiktok\"\naction = \"monitor\"\nprefixes = [\"71.18.1.0/24\"]\n");
    let plan = router.offline(&["plan", "-c", config, "--state-dir", state]);
    assert!(plan.stdout.contains("~ rule \"tiktok\" (monitor, both): 1 IPv4 prefixes (256 addresses)"), "{plan:?}");
    assert!(plan.stdout.contains("- rule \"more\""), "{plan:?}");
    assert!(plan.stdout.contains("! nothing is listed any more for AS11983, AS138699, AS396986"), "{plan:?}");
}
