//! What `weir report` prints, and what it says where it cannot.

use serde_json::Value;
use weir_tests::weir::Scratch;

use crate::{report, two_hours};

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap_or_else(|| panic!("no object: {object}")).keys().map(String::as_str).collect()
}

#[test]
fn json_has_exactly_the_documented_keys() {
    let scratch = Scratch::new();
    two_hours(&scratch.path().join("state"));
    let output = report(&scratch, &["--format", "json"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let json = output.json();
    let top = [
        "balance",
        "clients",
        "created",
        "devices",
        "enforcement",
        "host",
        "hours",
        "lists",
        "notes",
        "previous",
        "rules",
        "serial",
        "since",
        "totals",
        "until",
        "version",
        "weir",
    ];
    assert_eq!(keys(&json), top);
    assert_eq!(keys(&json["totals"]), ["allowed", "dropped", "monitored", "seen"]);
    assert_eq!(keys(&json["rules"][0]), ["action", "in", "name", "out"]);
    assert_eq!(keys(&json["clients"][0]), ["allowed", "client", "dropped", "monitored"]);
    assert_eq!(keys(&json["devices"][0]), ["allowed", "dropped", "monitored", "name", "seen"]);
    assert_eq!(keys(&json["hours"][0]), ["allowed", "begin", "dropped", "monitored", "secs", "seen"]);
    let enforcement = &json["enforcement"];
    assert_eq!(keys(enforcement), ["covered_secs", "gap_secs", "gaps", "paused_secs", "periods"]);
    assert_eq!(keys(&enforcement["gaps"][0]), ["begin", "device", "end", "why"]);
    assert_eq!(keys(&enforcement["periods"][0]), ["begin", "end", "standing"]);
    let standing = ["config", "degraded", "devices", "generation", "paused", "started", "version"];
    assert_eq!(keys(&enforcement["periods"][0]["standing"]), standing);
    assert_eq!(keys(&json["lists"][0]), ["asn", "changed", "from", "ranges", "sha256", "source", "until"]);
    assert_eq!(keys(&json["balance"]), ["accounts", "clients", "devices", "equal", "hours"]);
    assert_eq!(json["totals"]["dropped"]["packets"], 2 * 690);
    assert_eq!((&json["serial"], &json["previous"]), (&Value::Null, &Value::Null));
    assert_eq!(enforcement["gap_secs"], 300);
    assert_eq!(enforcement["gaps"].as_array().unwrap().len(), 1);
}

#[test]
fn people_and_spreadsheets_are_told_the_same() {
    let scratch = Scratch::new();
    two_hours(&scratch.path().join("state"));
    let text = report(&scratch, &[]).stdout;
    for says in
        ["dropped", "GAP", "weir was not running", "attempted", "xdp-generic (live)", "192.0.2.1", "spamhaus-drop"]
    {
        assert!(text.contains(says), "{says}:\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let table = report(&scratch, &["--format", "csv", "--by", "rule"]).stdout;
    assert_eq!(
        table,
        "rule,action,out_packets,out_bytes,in_packets,in_bytes\r\n\
         apps,block,1380,138000,0,0\r\ntiktok,block,1380,138000,0,0\r\n\"games, <b>\",monitor,690,34500,0,0\r\n"
    );
    let page = report(&scratch, &["--format", "html"]).stdout;
    assert!(page.contains("games, &lt;b&gt;") && !page.contains("<b>games"), "{page}");
    let part = report(&scratch, &["--since", "30m", "--format", "json"]).json();
    let packets = part["totals"]["dropped"]["packets"].as_u64().unwrap();
    assert!((360..=374).contains(&packets), "half an hour and the begun minute: {packets}");
}

#[test]
fn what_cannot_be_meant_is_refused_in_one_line() {
    let scratch = Scratch::new();
    let says = |arguments: &[&str], code, words: &str| {
        let output = report(&scratch, arguments);
        assert_eq!((output.code, output.stdout.as_str()), (code, ""), "{arguments:?}: {output:?}");
        assert!(output.stderr.contains(words), "{arguments:?}: {output:?}");
        output.stderr
    };
    let none = says(&[], 1, "there is no history in ");
    assert_eq!(none.lines().count(), 1, "{none}");
    says(&["--since", "yesterday"], 2, "--since \"yesterday\" is no time; accepted: such as 2026-11-24");
    says(&["--since", "1h", "--until", "2h"], 2, "--since is not before --until");
    says(&["--by", "rules"], 2, "accepted: rule, client, device, hour");
    says(&["--format", "pdf"], 2, "accepted: text, json, csv, html");
    std::fs::create_dir_all(scratch.path().join("state")).unwrap();
    scratch.file("state/history.db", vec![b'x'; 5000]);
    says(&[], 1, "history.db is no database; weir moves it aside and begins a new one when it starts next");
    std::fs::remove_file(scratch.path().join("state/history.db")).unwrap();
    two_hours(&scratch.path().join("state"));
    says(&["--output", "none/r.txt"], 1, "cannot write report none/r.txt: No such file or directory");
}
