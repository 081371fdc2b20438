//! What `check` prints, for people and for programs: its key set is a promise (docs/json.md).

use serde_json::{Value, json};
use weir_tests::weir::Output;

use crate::{data, rule, run, succeeds};

/// The keys of an object, sorted.
pub(crate) fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap_or_else(|| panic!("no object: {object}")).keys().map(String::as_str).collect()
}

const TWO_RULES: &str = r#"
[[rule]]
name = "video"
action = "monitor"
direction = "out"
prefixes = ["203.0.113.0/24", "203.0.113.128/25", "2001:db8::/126"]
[[rule]]
name = "office"
action = "allow"
prefixes = ["203.0.113.7/32"]
"#;

fn check(arguments: &[&str]) -> Output {
    let output =
        succeeds(run(&[("weir.toml", TWO_RULES.as_bytes())], &[&["check", "-c", "weir.toml"], arguments].concat()));
    assert_eq!(output.stderr, "");
    output
}

#[test]
fn check_gives_programs_exactly_the_documented_keys() {
    let report = check(&["--json"]).json();
    assert_eq!(keys(&report), ["rules", "sets", "table_bytes", "warnings"]);
    assert_eq!(keys(&report["rules"][0]), ["action", "addresses", "direction", "name", "prefixes"]);
    assert_eq!(
        report["rules"],
        json!([
            {
                "name": "video", "action": "monitor", "direction": "out",
                "prefixes": { "ipv4": 1, "ipv6": 1 }, "addresses": { "ipv4": 256, "ipv6": 4 }
            },
            {
                "name": "office", "action": "allow", "direction": "both",
                "prefixes": { "ipv4": 1, "ipv6": 0 }, "addresses": { "ipv4": 1, "ipv6": 0 }
            },
        ])
    );
    // Nothing, video alone, both. Office is inside video.
    assert_eq!(report["sets"], 3);
    assert_eq!(report["warnings"], json!([]));
    assert!(report["table_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn check_gives_people_a_row_for_each_rule() {
    let text = check(&[]).stdout;
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["rule", "action", "dir", "v4"]);
    assert_eq!(rows[1], ["video", "monitor", "out", "1", "256", "1", "4"]);
    assert_eq!(rows[2], ["office", "allow", "both", "1", "1", "0", "0"]);
    assert!(text.ends_with("KiB in the kernel\n"), "{text}");
}

#[test]
fn check_warns_of_addresses_that_stay_reachable() {
    let toml = rule("files = [\"list\"]");
    let list = b"10.0.0.0/8\n192.0.2.0/24\nfe80::/64\n";
    let report = succeeds(run(&[("weir.toml", &toml), ("list", list)], &["check", "-c", "weir.toml", "--json"])).json();
    let warning = "rule \"r\": 16777216 IPv4 and 18446744073709551616 IPv6 addresses are in the never-block set and \
                   stay reachable, 10.0.0.0/8 first";
    assert_eq!(report["warnings"], json!([warning]));
    // A private prefix that the rule itself writes out is meant.
    let toml = rule("prefixes = [\"10.99.0.0/16\"]");
    let report = succeeds(run(&[("weir.toml", &toml)], &["check", "-c", "weir.toml", "--json"])).json();
    assert_eq!(report["warnings"], json!([]));
    // So is nothing of what the operator keeps out of every rule.
    let toml = rule("prefixes = [\"192.0.2.0/24\"]\n[never_block]\nprefixes = [\"192.0.2.7\"]");
    let text = succeeds(run(&[("weir.toml", &toml)], &["check", "-c", "weir.toml"])).stdout;
    let warning = "warning: rule \"r\": 1 IPv4 and 0 IPv6 addresses are in the never-block set and stay reachable, \
                   192.0.2.7/32 first\n";
    assert!(text.ends_with(warning), "{text}");
}

#[test]
fn the_figures_of_a_real_table_are_those_of_its_readme() {
    let Some(data) = data("the_figures_of_a_real_table_are_those_of_its_readme") else { return };
    let table = data.join("asn/asn-small.csv");
    let toml = rule(&format!("asns = [396986]\n[asn]\ntables = [{:?}]", table.to_str().unwrap()));
    let output = succeeds(run(&[("weir.toml", &toml)], &["check", "-c", "weir.toml", "--json"]));
    // As data/asn/README.md has them, computed with Python's ipaddress. As text: this JSON reader has no such integers.
    let text: String = output.stdout.split_whitespace().collect();
    let addresses = r#""addresses":{"ipv4":76288,"ipv6":4956595860419979616295321600}"#;
    assert!(text.contains(addresses), "{text}");
}
