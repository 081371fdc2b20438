//! A routing registry is asked to compare, and for nothing else: what it says is told, what it does blocks and unblocks
//! nothing.

use weir_tests::feed::{Answer, Feed};
use weir_tests::irrd::{Irrd, Manner};
use weir_tests::lab::{DEADLINE, LISTED};
use weir_tests::weir::Output;
use weir_tests::{require_root, wait_until};

use crate::watch::Router;

/// AS7 has the lab's listed addresses, AS8 something else.
const TABLE: &str = "71.18.0.0,71.18.255.255,7,Seven\n203.0.113.0,203.0.113.255,8,Eight\n\
                     2605:340::,2605:340:ffff:ffff:ffff:ffff:ffff:ffff,7,Seven\n";

fn config(asns: &[u32], refresh: &str, feed: &Feed, registry: Option<&Irrd>) -> String {
    let of_registry = registry.map_or_else(String::new, |registry| {
        format!(
            "irr = \"reg\"\n[[source]]\nname = \"reg\"\nirr = \"{}\"\nrefresh = \"{refresh}\"\nmax_bytes = 1000000\n",
            registry.address()
        )
    });
    format!(
        "[[rule]]\nname = \"seven\"\naction = \"block\"\nasns = {asns:?}\n[fetch]\nretry = \"1s\"\ntimeout = \"2s\"\n\
         [[source]]\nname = \"table\"\nurl = \"{}\"\n[asn]\nsources = [\"table\"]\n{of_registry}",
        feed.url("/table"),
    )
}

/// A router, its table, and a registry that has registered less than is announced.
fn parts() -> (Router, Feed, Irrd) {
    require_root();
    let router = Router::new();
    let feed = Feed::start(&router.path.router, 0);
    feed.set("/table", Answer::ok(TABLE));
    let registry = Irrd::start(&router.path.router);
    registry.register(7, "71.18.1.0/24", "2605:340::/32 2001:db8::/32");
    registry.register(8, "203.0.113.0/24", "");
    (router, feed, registry)
}

/// What weir says where AS7 is not registered as it is announced.
const WARNING: &str = "rule \"seven\": AS7: reg does not register 65280 IPv4 addresses and 0 IPv6 prefixes that are listed, \
                       71.18.0.0/24 first";

fn check(router: &Router) -> Output {
    let (config, state) = (router.scratch.path().join("weir.toml"), router.state_dir());
    router.offline(&["check", "-c", config.to_str().unwrap(), "--state-dir", state.to_str().unwrap(), "--json"])
}

fn warnings(router: &Router) -> Vec<String> {
    let warnings = check(router).json()["warnings"].clone();
    warnings.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// What is blocked, in figures: rules, tables and sets.
fn blocked(router: &Router) -> String {
    let check = check(router).json();
    format!("{} {} {} {}", check["rules"], check["sets"], check["table_bytes"], router.status()["table_bytes"])
}

#[test]
fn what_a_registry_does_not_hold_is_told_and_blocks_and_unblocks_nothing() {
    let (mut router, feed, registry) = parts();
    router.config(&config(&[7, 8], "2s", &feed, None));
    router.start();
    router.wait_for_state("table", "good");
    router.wait_until_blocked("without a registry");
    let without = blocked(&router);
    assert_eq!(warnings(&router), Vec::<String>::new());

    router.config(&config(&[7, 8], "2s", &feed, Some(&registry)));
    assert_eq!(router.weir().verb(&["apply"]).code, 0);
    wait_until(DEADLINE, "the log tells", || router.weir().stderr().contains(WARNING));
    wait_until(DEADLINE, "check tells", || warnings(&router) == [WARNING]);
    assert!(!router.weir().stderr().contains("AS8: reg does not register"), "{}", router.weir().stderr());
    router.assert_blocked("with a registry");
    assert_eq!(blocked(&router), without);
    assert_eq!(router.weir().verb(&["status"]).code, 0, "a difference is no fault");
    assert_eq!(router.weir().stderr().matches(WARNING).count(), 1, "told once");
    for session in registry.sessions() {
        let asn = if session.contains(&"!gAS7".into()) { 7 } else { 8 };
        assert_eq!(session, ["!!", "!nweir", &format!("!gAS{asn}"), &format!("!6AS{asn}"), "!q"]);
    }
    assert_eq!(registry.at_once(), 1);

    // Registered in full, and more than that: nothing to say. What is registered and not announced is not blocked.
    registry.register(7, "71.18.0.0/16 198.51.100.0/24", "2605:340::/32 2001:db8::/32");
    assert_eq!(router.weir().verb(&["update", "--accept", "reg"]).code, 0);
    wait_until(DEADLINE, "nothing differs any more", || warnings(&router).is_empty());
    router.assert_blocked("with all registered");
    assert_eq!(blocked(&router), without);
}

#[test]
fn an_as_that_nobody_registered_is_a_difference_and_no_failure() {
    let (mut router, feed, registry) = parts();
    registry.register(8, "", "");
    router.config(&config(&[7, 8], "2s", &feed, Some(&registry)));
    router.start();
    let expected = "rule \"seven\": AS8: reg does not register 256 IPv4 addresses and 0 IPv6 prefixes that are listed, \
                    203.0.113.0/24 first";
    wait_until(DEADLINE, &format!("the log tells: {}", router.weir().stderr()), || {
        router.weir().stderr().contains(expected)
    });
    assert!(!router.weir().stderr().contains("refused"), "{}", router.weir().stderr());
    router.wait_for_state("reg", "good");
}

#[test]
fn whatever_a_registry_sends_the_blocked_stays_blocked() {
    let (mut router, feed, registry) = parts();
    router.config(&config(&[7], "1s", &feed, Some(&registry)));
    router.start();
    for source in ["table", "reg"] {
        router.wait_for_state(source, "good");
    }
    router.wait_until_blocked("at first");
    wait_until(DEADLINE, "the log tells", || router.weir().stderr().contains(WARNING));
    let before = blocked(&router);
    for (manner, problem) in [
        (Manner::Garbage, "where an answer starts; check that the server speaks the protocol of IRRd"),
        (Manner::Hang, "not done within 2 s ([fetch] timeout)"),
        (Manner::Reset, "Connection reset by peer"),
        (Manner::Flood(100 << 20), "has more than 1000000 bytes (max_bytes)"),
    ] {
        registry.set(manner);
        router.wait_for_problem("reg", problem);
        let list = router.list("reg");
        println!("{}", list["problem"]);
        assert_eq!(list["problem"].as_str().unwrap().lines().count(), 1, "{list}");
        assert_eq!(list["ranges"], 3, "the copy before stays: {list}");
        assert!(LISTED.into_iter().all(|address| !router.passes(address)), "{manner:?}");
        assert_eq!(blocked(&router), before, "{manner:?}");
        assert_eq!(warnings(&router), [WARNING], "{manner:?}");
        registry.set(Manner::Right);
        router.wait_for_state("reg", "good");
    }
    assert_eq!(registry.at_once(), 1, "a registry is asked one thing at a time");
    drop(registry);
    router.wait_for_problem("reg", "Connection refused");
    router.assert_blocked("without a registry");
}
