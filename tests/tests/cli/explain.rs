//! What `explain` answers, for every reason there is and every source a rule can have.

use std::path::Path;

use serde_json::{Value, json};

use crate::documents::keys;
use crate::{data, rule, run, succeeds};

const RULES: &str = r#"
[[rule]]
name = "block"
action = "block"
prefixes = ["203.0.113.0/24", "2001:db8::/32"]
[[rule]]
name = "office"
action = "allow"
prefixes = ["203.0.113.7"]
[[rule]]
name = "watch"
action = "monitor"
prefixes = ["203.0.113.8", "198.51.100.0/24"]
[[rule]]
name = "uploads"
action = "block"
direction = "out"
prefixes = ["192.0.2.0/25"]
[[rule]]
name = "downloads"
action = "block"
direction = "in"
prefixes = ["192.0.2.128/25"]
[[rule]]
name = "feed"
action = "block"
files = ["feed"]
[never_block]
prefixes = ["203.0.113.99/32"]
"#;
const FEED: &[u8] = b"10.0.0.0/8\n198.18.0.3-198.18.0.12\n";

fn explain(arguments: &[&str]) -> Value {
    let files: &[(&str, &[u8])] = &[("weir.toml", RULES.as_bytes()), ("feed", FEED)];
    let output = succeeds(run(files, &[&["explain", "-c", "weir.toml", "--json"], arguments].concat()));
    assert_eq!(output.stderr, "", "{arguments:?}");
    output.json()
}

/// A rule's name, action, direction, prefix and list.
type Listing<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

fn listed(listings: &[Listing<'_>]) -> Value {
    let rule = |&(name, action, direction, prefix, list): &Listing<'_>| {
        json!({
            "name": name, "action": action, "direction": direction,
            "prefix": prefix, "asn": null, "list": list,
            "source": if list == "prefixes" { "the configuration" } else { list },
            "fetched": null, "since": null, "scope": null
        })
    };
    Value::Array(listings.iter().map(rule).collect())
}

#[test]
fn every_reason_has_its_answer() {
    let block = ("block", "block", "both", "203.0.113.0/24", "prefixes");
    let guarded = "the address is in the never-block set (this host, its gateways and resolvers, private and special \
                   networks, never_block): no rule takes effect on it";
    let allowed = "an allow rule names it, which beats every block";
    let blocked = "a block rule names it";
    let unlisted = "no rule lists this address";
    let monitored = "only monitor rules name it: it is counted and passes";
    let cases = [
        ("blocked", "203.0.113.1", "drop", "drop", blocked, vec![block]),
        (
            "blocked, IPv6",
            "2001:db8::1",
            "drop",
            "drop",
            blocked,
            vec![("block", "block", "both", "2001:db8::/32", "prefixes")],
        ),
        (
            "allowed",
            "203.0.113.7",
            "pass",
            "pass",
            allowed,
            vec![block, ("office", "allow", "both", "203.0.113.7/32", "prefixes")],
        ),
        (
            "monitored",
            "198.51.100.1",
            "pass",
            "pass",
            monitored,
            vec![("watch", "monitor", "both", "198.51.100.0/24", "prefixes")],
        ),
        (
            "monitored and blocked",
            "203.0.113.8",
            "drop",
            "drop",
            blocked,
            vec![block, ("watch", "monitor", "both", "203.0.113.8/32", "prefixes")],
        ),
        (
            "out only",
            "192.0.2.1",
            "drop",
            "pass",
            blocked,
            vec![("uploads", "block", "out", "192.0.2.0/25", "prefixes")],
        ),
        (
            "in only",
            "192.0.2.129",
            "pass",
            "drop",
            blocked,
            vec![("downloads", "block", "in", "192.0.2.128/25", "prefixes")],
        ),
        ("never_block", "203.0.113.99", "pass", "pass", guarded, vec![block]),
        (
            "private, from a feed",
            "10.1.2.3",
            "pass",
            "pass",
            guarded,
            vec![("feed", "block", "both", "10.0.0.0/8", "feed")],
        ),
        (
            "a range in a list",
            "198.18.0.9",
            "drop",
            "drop",
            blocked,
            vec![("feed", "block", "both", "198.18.0.8/30", "feed")],
        ),
        (
            "the last of a range",
            "198.18.0.12",
            "drop",
            "drop",
            blocked,
            vec![("feed", "block", "both", "198.18.0.12/32", "feed")],
        ),
        ("behind a range", "198.18.0.13", "pass", "pass", unlisted, vec![]),
        ("unlisted", "198.19.0.1", "pass", "pass", unlisted, vec![]),
        ("unlisted, IPv6", "2001:db9::1", "pass", "pass", unlisted, vec![]),
    ];
    for (what, address, out, in_, why, rules) in &cases {
        let expected = json!({
            "address": address, "verdict_out": out, "verdict_in": in_, "rules": listed(rules), "why": why
        });
        assert_eq!(explain(&[address]), expected, "{what}");
    }
    // As programs log the peer of a socket for both families; a packet carries the IPv4 address.
    assert_eq!(explain(&["::ffff:203.0.113.1"]), explain(&["203.0.113.1"]));
    // Nothing is dropped with --monitor.
    let monitored = explain(&["--monitor", "203.0.113.1"]);
    assert_eq!((&monitored["verdict_out"], &monitored["rules"][0]["action"]), (&json!("pass"), &json!("monitor")));
}

#[test]
fn explain_gives_programs_exactly_the_documented_keys() {
    for address in ["203.0.113.1", "198.19.0.1"] {
        let report = explain(&[address]);
        assert_eq!(keys(&report), ["address", "rules", "verdict_in", "verdict_out", "why"]);
        for rule in report["rules"].as_array().unwrap() {
            assert_eq!(
                keys(rule),
                ["action", "asn", "direction", "fetched", "list", "name", "prefix", "scope", "since", "source"]
            );
        }
    }
}

#[test]
fn explain_gives_people_the_verdicts_the_reason_and_every_list() {
    let output = succeeds(run(&[], &["explain", "--service", "tiktok", "--asn", "396986", "71.18.1.1"]));
    let text = "71.18.1.1\n  \
                to it:   drop\n  \
                from it: drop\n  \
                why:     a block rule names it\n  \
                rule \"tiktok\" (block, both): 71.18.1.0/24 (AS396986) in list \"service tiktok\"; embedded snapshot of 2026-11-22\n  \
                rule \"AS396986\" (block, both): 71.18.1.0/24 (AS396986) in list \"AS396986\"; embedded snapshot of 2026-11-22\n";
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), (text, ""));
    let output = succeeds(run(&[], &["explain", "--service", "tiktok", "198.51.100.10"]));
    assert!(output.stdout.ends_with("  why:     no rule lists this address\n"), "{output:?}");
}

fn from_table(tables: &[&Path], asn: u32, address: &str) -> Value {
    let toml = rule(&format!("allow_bogon = true\nasns = [{asn}]\n[asn]\ntables = {tables:?}"));
    succeeds(run(&[("weir.toml", &toml)], &["explain", "-c", "weir.toml", "--json", address])).json()
}

#[test]
fn an_address_is_explained_from_every_kind_of_real_table() {
    let Some(data) = data("an_address_is_explained_from_every_kind_of_real_table") else { return };
    let [small, v4, v6] =
        ["asn-small.csv", "asn-ipv4.csv.gz", "asn-ipv6.csv.gz"].map(|name| data.join("asn").join(name));
    let mmdb = data.join("mmdb/GeoLite2-ASN-Test.mmdb");
    let cases: &[(&str, &[&Path], u32, &str, &str)] = &[
        // Row 71.18.0.0,71.18.5.255: not one CIDR.
        ("a small table", &[&small], 396_986, "71.18.5.255", "71.18.4.0/23"),
        // Row 103.138.210.0,103.138.210.255.
        ("the highest AS number there is", &[&v4, &v6], 4_294_967_294, "103.138.210.9", "103.138.210.0/24"),
        // Row 138.117.96.0,138.117.99.255.
        ("an AS number of four bytes", &[&v4], 262_146, "138.117.99.1", "138.117.96.0/22"),
        // Row 2605:340::,2605:340:1:ffff:ffff:ffff:ffff:ffff.
        ("IPv6, from the second of two tables", &[&v4, &v6], 396_986, "2605:340:1::1", "2605:340::/47"),
        // "1.128.0.0/11" in GeoLite2-ASN-Test.json.
        ("a MaxMind database", &[&mmdb], 1221, "1.130.0.1", "1.128.0.0/11"),
    ];
    for &(what, tables, asn, address, prefix) in cases {
        let place = usize::from(address.contains(':') && tables.len() == 2);
        let rules = json!([{
            "name": "r", "action": "block", "direction": "both",
            "prefix": prefix, "asn": asn, "list": format!("AS{asn}"),
            "source": tables[place].to_str().unwrap(), "fetched": null, "since": null, "scope": null
        }]);
        let report = from_table(tables, asn, address);
        assert_eq!((&report["rules"], &report["verdict_out"]), (&rules, &json!("drop")), "{what}");
    }
    // The next address belongs to another AS (71.18.6.0: AS11983).
    assert_eq!(from_table(&[&small], 396_986, "71.18.6.0")["rules"], json!([]));
}
