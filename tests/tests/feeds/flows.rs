//! What a plan says of live flows: those that the change would cut, and no other.

use std::process::Command;

use serde_json::{Value, json};
use weir_tests::echo::TcpProbe;
use weir_tests::lab::{DEADLINE, LISTED_V4, LISTED_V6};
use weir_tests::{require_root, skipped};

use crate::watch::Router;

/// Connection tracking listens in a namespace once a rule there asks for a flow's state. Flows of the router itself, such
/// as weir's own, are not forwarded.
const TRACK: &str = "add table inet lab; add chain inet lab forward { type filter hook forward priority 0; }; \
                     add rule inet lab forward ct state new counter";

/// The same configuration but for one rule.
fn plan(router: &Router, rules: &str) -> (Value, String) {
    let config = router.config(rules);
    let state = router.state_dir();
    let arguments = ["plan", "-c", config.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
    let text = router.offline(&arguments);
    assert_eq!(text.code, 0, "{text:?}");
    (router.offline(&[&arguments[..], &["--json"]].concat()).json()["flows"].clone(), text.stdout)
}

fn rule(prefixes: &str, more: &str) -> String {
    format!("[[rule]]\nname = \"list\"\naction = \"block\"\nprefixes = [{prefixes}]\n{more}\n")
}

#[test]
fn a_plan_counts_the_live_flows_that_it_would_cut_and_no_other() {
    const NAME: &str = "a_plan_counts_the_live_flows_that_it_would_cut_and_no_other";
    const LISTED: &str = "\"71.18.0.0/16\"";
    require_root();
    let mut router = Router::new();
    match router.path.router.command("nft").arg("list ruleset").output() {
        Ok(listed) if listed.status.success() => {}
        Ok(refused) => return skipped(NAME, &String::from_utf8_lossy(&refused.stderr)),
        Err(error) => return skipped(NAME, &format!("nft: {error}")),
    }
    let output = router.path.router.run(Command::new("nft").arg(TRACK));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if plan(&router, &rule(LISTED, "")).0.is_null() {
        return skipped(NAME, "this kernel lists no flows (CONFIG_NF_CONNTRACK_PROCFS)");
    }
    router.path.router.sysctl("net/netfilter/nf_conntrack_acct", 1);
    let (_, text) = plan(&router, &rule(LISTED, ""));
    assert!(text.contains("\nlive flows: 0 of 0 would be cut"), "{text}");

    let mut probes = [LISTED_V4.into(), LISTED_V6.into()]
        .map(|address| TcpProbe::connect(&router.path.lan, address, DEADLINE).unwrap());
    assert!(probes.iter_mut().all(|probe| probe.echo(DEADLINE)));
    let (flows, text) = plan(&router, &rule(LISTED, ""));
    assert_eq!((&flows["live"], &flows["cut"], &flows["offloaded"]), (&json!(2), &json!(1), &json!(0)), "{text}");
    let row = &flows["rows"][0];
    let told = [&row["client"], &row["server"], &row["protocol"], &row["rule"]];
    assert_eq!(told, [&json!("10.66.0.2"), &json!("71.18.1.1"), &json!("tcp"), &json!("list")], "{text}");
    // SYN, SYN-ACK and ACK; a question of four bytes and its answer, each acknowledged or not yet.
    let bytes = row["bytes"].as_u64().unwrap();
    assert!((3 * 52 + 2 * 4..1000).contains(&bytes) && flows["cut_bytes"] == bytes, "{flows}");
    assert!(text.contains("\nlive flows: 1 of 2 would be cut, "), "{text}");
    let line = text.lines().find(|line| line.starts_with("  10.66.0.2 ")).unwrap_or_default();
    assert!(line.contains(" tcp   71.18.1.1 ") && line.ends_with("  rule \"list\""), "{text}");

    // Rules, and how many of the two they would cut.
    let allow = "[[rule]]\nname = \"friend\"\naction = \"allow\"\nprefixes = [\"71.18.1.0/24\"]";
    let cases = [
        (rule("\"203.0.113.0/24\"", ""), 0),
        (rule("\"71.18.0.0/16\", \"2605:340::/32\"", ""), 2),
        (rule(LISTED, "").replace("block", "monitor"), 0),
        (rule(LISTED, allow), 0),
        (rule(LISTED, "direction = \"in\""), 1),
        // Limited to who the client is, and to who it is not.
        (rule(LISTED, "clients = [\"10.66.0.0/24\"]"), 1),
        (rule(LISTED, "clients = [\"10.66.0.3\"]"), 0),
        (rule(LISTED, &format!("{allow}\nclients = [\"10.66.0.3\"]")), 1),
        (rule(LISTED, &format!("{allow}\nclients = [\"10.66.0.2\"]")), 0),
        // Connection tracking knows no device: it may be this flow's.
        (rule(LISTED, "devices = [\"lan0\"]"), 1),
        (rule(LISTED, &format!("{allow}\ndevices = [\"lan0\"]")), 1),
    ];
    for (rules, cut) in cases {
        let (flows, text) = plan(&router, &rules);
        assert_eq!((&flows["live"], &flows["cut"]), (&json!(2), &json!(cut)), "{rules}\n{text}");
        assert_eq!(flows["rows"].as_array().unwrap().len(), cut, "{rules}");
    }

    // Against what is in force: what is blocked already is not cut once more, and a wider scope cuts.
    router.config(&rule(LISTED, "clients = [\"10.66.0.3\"]"));
    router.start();
    assert!(probes[0].echo(DEADLINE));
    for (more, cut) in [("clients = [\"10.66.0.3\"]", 0), ("clients = [\"10.66.0.2/31\"]", 1), ("", 1)] {
        let (flows, text) = plan(&router, &rule(LISTED, more));
        assert_eq!(flows["cut"], json!(cut), "{more}\n{text}");
    }
    router.config(&rule(LISTED, ""));
    assert_eq!(router.weir().verb(&["apply"]).code, 0);
    assert!(!probes[0].echo(std::time::Duration::from_millis(500)), "the live flow is cut, as the plan said");
    assert_eq!(plan(&router, &rule(LISTED, "")).0["cut"], json!(0));
}
