//! The limits of a rule, from the keys of the file to the packets. What each means on frames of every kind is tested in
//! `forwarding/scopes.rs`.

use weir_tests::lab::{CONTROL, DEADLINE, LISTED, Path};
use weir_tests::netns::veth;
use weir_tests::tagged::Encapsulation;
use weir_tests::{require_root, wait_until};

use crate::watch::Router;

/// A rule for the listed addresses, limited by `scope`, and the router's devices.
fn config(name: &str, scope: &str) -> String {
    format!(
        "[[interface]]\nname = \"spare0\"\n[[rule]]\nname = \"{name}\"\naction = \"block\"\n\
         prefixes = [\"71.18.0.0/16\", \"2605:340::/32\"]\n{scope}\n"
    )
}

/// A router with a second device to filter on, over which nothing comes.
fn router() -> Router {
    require_root();
    let router = Router::new();
    let netns = &router.path.router;
    veth((netns, "spare0", [2, 0, 0, 0, 3, 1]), (netns, "spare1", [2, 0, 0, 0, 3, 2]));
    router
}

/// The keys of a rule's scope, whether the listed IPv4 and IPv6 address are blocked for the client, and how `explain` says
/// the scope.
const CASES: [(&str, [bool; 2], &str); 14] = [
    ("", [true, true], ""),
    ("clients = [\"10.66.0.2\", \"fd66::2\"]", [true, true], ", only clients 10.66.0.2/32 fd66::2/128"),
    ("clients = [\"10.66.0.0/24\", \"fd66::/64\"]", [true, true], ", only clients 10.66.0.0/24 fd66::/64"),
    ("clients = [\"10.66.0.2\"]", [true, false], ", only clients 10.66.0.2/32"),
    ("clients = [\"10.66.0.3\", \"fd66::3\"]", [false, false], ", only clients 10.66.0.3/32 fd66::3/128"),
    ("macs = [\"02:00:00:00:01:01\"]", [true, true], ", only macs 02:00:00:00:01:01"),
    ("macs = [\"02-00-00-00-01-03\"]", [false, false], ", only macs 02:00:00:00:01:03"),
    ("devices = [\"lan0\"]", [true, true], ", only devices lan0"),
    ("devices = [\"spare0\"]", [false, false], ", only devices spare0"),
    ("vlans = [0]", [true, true], ", only vlans untagged"),
    ("vlans = [20]", [false, false], ", only vlans 20"),
    (
        "clients = [\"fd66::/64\"]\nmacs = [\"02:00:00:00:01:01\"]\nvlans = [0, 20]\ndevices = [\"spare0\", \"lan0\"]",
        [false, true],
        ", only clients fd66::/64, vlans untagged 20, devices spare0 lan0, macs 02:00:00:00:01:01",
    ),
    (
        "clients = [\"10.66.0.2\", \"fd66::2\"]\nmacs = [\"02:00:00:00:01:03\"]",
        [false, false],
        ", only clients 10.66.0.2/32 fd66::2/128, macs 02:00:00:00:01:03",
    ),
    (
        "clients = [\"10.66.0.2\", \"fd66::2\"]\ndevices = [\"spare0\"]",
        [false, false],
        ", only clients 10.66.0.2/32 fd66::2/128, devices spare0",
    ),
];

#[test]
fn each_key_of_a_scope_limits_its_rule_to_those_it_names() {
    let mut router = router();
    router.config(&config("all", ""));
    router.start();
    for (number, (scope, blocked, said)) in CASES.iter().enumerate() {
        let name = format!("rule{number}");
        let file = router.config(&config(&name, scope));
        let applied = router.weir().verb(&["apply"]);
        assert_eq!(applied.code, 0, "{scope}: {applied:?}");
        for (address, blocked) in LISTED.into_iter().zip(blocked) {
            assert_ne!(router.passes(address), *blocked, "{scope}: {address}\n{}", router.weir().stderr());
        }
        for address in CONTROL {
            assert!(router.passes(address), "{scope}: {address}");
        }
        let counted = router.weir().rule(&name, "out").packets;
        assert_eq!(counted > 0, blocked.contains(&true), "{scope}: {counted} packets");
        let state = router.state_dir();
        let arguments = ["explain", "-c", file.to_str().unwrap(), "--state-dir", state.to_str().unwrap(), "71.18.1.1"];
        let explained = router.offline(&arguments);
        let line = format!("  rule \"{name}\" (block, both{said}): 71.18.0.0/16 in list \"prefixes\"\n");
        assert!(explained.stdout.contains(&line), "{scope}: {explained:?}");
        // What weir cannot know without a packet, it does not promise.
        let limited = explained.stdout.contains("; so for packets in the scope of every rule");
        assert_eq!(limited, !scope.is_empty(), "{scope}: {explained:?}");
    }
}

#[test]
fn a_rule_for_a_vlan_speaks_where_the_frames_have_its_tag_and_nowhere_else() {
    require_root();
    let mut router = Router::over(Path::encapsulated(&Encapsulation::plain().vlan(20).vlan(30)));
    let config = |name: &str, vlans: &str| {
        format!(
            "[[interface]]\nname = \"wan0\"\n[[rule]]\nname = \"{name}\"\naction = \"block\"\n\
             prefixes = [\"71.18.0.0/16\", \"2605:340::/32\"]\nvlans = {vlans}\n"
        )
    };
    router.assert_open("before");
    router.config(&config("none", "[4094]"));
    router.start();
    // The LAN has no tag; at the WAN the outermost is 20. Whether the question is dropped at the LAN, or the answer at the
    // WAN.
    for (vlans, of_question, of_answer) in [
        ("[20]", false, true),
        ("[30]", false, false),
        ("[21, 4094]", false, false),
        ("[0]", true, false),
        ("[0, 20]", true, false),
    ] {
        let name = vlans.replace(['[', ']'], "");
        router.config(&config(&name, vlans));
        assert_eq!(router.weir().verb(&["apply"]).code, 0);
        for address in LISTED {
            assert_ne!(router.passes(address), of_question || of_answer, "vlans = {vlans}: {address}");
        }
        let counted = ["out", "in"].map(|direction| router.weir().rule(&name, direction).packets > 0);
        assert_eq!(counted, [of_question, of_answer], "vlans = {vlans}");
        assert!(CONTROL.into_iter().all(|address| router.passes(address)), "vlans = {vlans}");
    }
}

#[test]
fn a_device_that_went_away_is_accepted_in_a_scope_and_the_rule_speaks_again_when_it_is_back() {
    let mut router = router();
    router.config(&config("lan", "devices = [\"lan0\"]"));
    router.start();
    router.assert_blocked("at first");
    let before = router.path.router.index("lan0");

    router.path.router.ip("link delete lan0");
    wait_until(DEADLINE, "the daemon notices", || router.status()["devices"][0]["state"] == "dead");
    assert_eq!(router.weir().verb(&["status"]).code, 3);
    // A change meanwhile must not be refused.
    router.config(&config("again", "devices = [\"lan0\"]"));
    let applied = router.weir().verb(&["apply"]);
    assert_eq!((applied.code, applied.stdout.as_str()), (0, "applied\n"), "{applied:?}");

    router.path.plug_lan();
    assert_ne!(router.path.router.index("lan0"), before, "the kernel gives a new index");
    router.wait_until_blocked("once the device is back");
    assert!(router.weir().rule("again", "out").packets > 0);
    assert_eq!(router.weir().verb(&["status"]).code, 0);
}

#[test]
fn a_scope_for_a_device_that_weir_does_not_filter_on_is_refused_and_what_is_live_stays() {
    let mut router = router();
    router.config(&config("lan", "devices = [\"lan0\"]"));
    router.start();
    router.config(&config("lan", "devices = [\"wan0\"]"));
    let refused = router.weir().verb(&["apply"]);
    let expected =
        "rule \"lan\": devices: weir does not filter on \"wan0\"; accepted: the [[interface]] names lan0, spare0";
    assert!(refused.code == 1 && refused.stderr.contains(expected), "{refused:?}");
    // One that weir shall filter on must be there when that begins.
    router.config(&config("lan", "devices = [\"ppp0\"]\n[[interface]]\nname = \"ppp0\""));
    let refused = router.weir().verb(&["apply"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("interface \"ppp0\" does not exist; devices here: "),
        "{refused:?}"
    );
    router.assert_blocked("by what was live before");
}
