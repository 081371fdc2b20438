//! What `catalog list` and `catalog show` print, for people and for programs: their key sets are a promise
//! (docs/json.md).

use serde_json::{Value, json};

use crate::documents::keys;
use crate::{Case, refused, run, succeeds};

const OWN: &[u8] = br#"
[[service]]
id = "intranet"
name = "Our own"
category = "software"
checked = "2026-11-24"
asns = [{ asn = 64500, name = "Example" }, { asn = 64501, name = "Example", dormant = true }]
domains = ["example.com", "full:www.example.net"]
domains_source = "us"
note = "the rest stays"

[[service]]
id = "tiktok"
remove = true
"#;

fn json(arguments: &[&str]) -> Value {
    let output = succeeds(run(&[("own.toml", OWN)], &[&["catalog"], arguments, &["--json"]].concat()));
    assert_eq!(output.stderr, "");
    output.json()
}

fn text(arguments: &[&str]) -> String {
    let output = succeeds(run(&[("own.toml", OWN)], &[&["catalog"], arguments].concat()));
    assert_eq!(output.stderr, "");
    output.stdout
}

/// The ids of a list of services.
fn ids(services: &Value) -> Vec<&str> {
    services.as_array().unwrap().iter().map(|service| service["id"].as_str().unwrap()).collect()
}

#[test]
fn list_gives_programs_exactly_the_documented_keys() {
    let report = json(&["list"]);
    assert_eq!(keys(&report), ["services"]);
    for service in report["services"].as_array().unwrap() {
        assert_eq!(keys(service), ["category", "domains", "id", "lists", "name", "networks", "shared"]);
    }
    let ids = ids(&report["services"]);
    assert!(ids.len() >= 45, "{}", ids.len());
    assert!(["tiktok", "telegram", "cloudflare", "spamhaus-drop"].iter().all(|id| ids.contains(id)), "{ids:?}");
}

#[test]
fn list_of_a_category_is_the_list_without_the_others() {
    let all = json(&["list"]);
    let mut together = Vec::new();
    for category in
        "social-media messenger streaming gaming ai shopping dating gambling privacy-vpn cdn cloud software threat"
            .split(' ')
    {
        let services = json(&["list", "--category", category])["services"].as_array().unwrap().clone();
        assert!(!services.is_empty() && services.iter().all(|service| service["category"] == category), "{category}");
        together.extend(services);
    }
    assert_eq!(json!(together), all["services"]);
}

#[test]
fn show_gives_programs_exactly_the_documented_keys() {
    let service = json(&["show", "tiktok"]);
    let expected = [
        "category",
        "checked",
        "domains",
        "domains_source",
        "id",
        "kind",
        "lists",
        "name",
        "networks",
        "note",
        "shared",
    ];
    assert_eq!(keys(&service), expected);
    assert_eq!(keys(&service["networks"][0]), ["asn", "dormant", "name"]);
    assert_eq!(service["networks"].as_array().unwrap().len(), 3);
    let category = json(&["show", "ai"]);
    assert_eq!(keys(&category), ["id", "kind", "name", "services"]);
    assert_eq!(
        (&category["kind"], &category["services"]),
        (&json!("category"), &json(&["list", "--category", "ai"])["services"])
    );
}

#[test]
fn an_operators_file_adds_and_removes() {
    let own = ["--catalog", "own.toml"];
    assert_eq!(
        json(&[&["show", "intranet"], &own[..]].concat()),
        json!({
            "kind": "service",
            "id": "intranet",
            "name": "Our own",
            "category": "software",
            "networks": [
                { "asn": 64500, "name": "Example", "dormant": false },
                { "asn": 64501, "name": "Example", "dormant": true },
            ],
            "lists": [],
            "domains": ["example.com", "full:www.example.net"],
            "domains_source": "us",
            "checked": "2026-11-24",
            "shared": false,
            "note": "the rest stays",
        })
    );
    let list = json(&[&["list"], &own[..]].concat());
    let row = list["services"].as_array().unwrap().iter().find(|service| service["id"] == "intranet").unwrap();
    // A dormant network blocks nothing.
    assert_eq!((&row["networks"], &row["domains"]), (&json!(1), &json!(2)));
    assert!(!ids(&list["services"]).contains(&"tiktok"));
    let file: &[(&str, &[u8])] = &[("own.toml", OWN)];
    let says = "\"tiktok\" is no service and no category of the catalog; `weir catalog list` shows all";
    let arguments = ["catalog", "show", "tiktok", "--catalog", "own.toml"];
    refused(&Case { what: "a removed service", files: file, arguments: &arguments, code: 2, says });
}

#[test]
fn people_see_what_a_block_leaves() {
    let tiktok = text(&["show", "tiktok"]);
    for line in ["tiktok: TikTok", "AS138699 TIKTOK PTE. LTD.", "AS396986 Bytedance Inc.", "AS11983 Tiktok U.S. Data"] {
        assert!(tiktok.contains(line), "{line} is not in\n{tiktok}");
    }
    assert!(tiktok.contains("the domains are not blocked by address") && tiktok.contains("Akamai, Fastly"), "{tiktok}");
    let discord = text(&["show", "discord"]);
    assert!(
        discord.contains("none of its own") && discord.contains("nothing of it can be blocked by address"),
        "{discord}"
    );
    let cloud = text(&["show", "volcengine"]);
    assert!(cloud.contains("a rule must say allow_shared = true"), "{cloud}");
    let own = text(&["show", "intranet", "--catalog", "own.toml"]);
    assert!(own.contains("AS64501 Example (announces nothing)"), "{own}");
    let threat = text(&["show", "spamhaus-drop"]);
    assert!(threat.contains("spamhaus-drop spamhaus-drop-v6") && threat.contains("what the lists name"), "{threat}");
    for id in ids(&json(&["list"])["services"]) {
        let shown = text(&["show", id]);
        assert!(shown.lines().all(|line| line.chars().count() <= 120), "{shown}");
    }
}

#[test]
fn people_get_a_row_for_each_service() {
    let rows = text(&["list", "--category", "threat"]);
    let words: Vec<Vec<&str>> = rows.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["service", "name", "category", "networks", "lists", "domains", "shared"]);
    assert_eq!(words[1], ["spamhaus-drop", "Spamhaus", "DROP", "threat", "0", "2", "0", "no"]);
    assert_eq!(words.len(), 2);
    assert!(text(&["list"]).lines().any(|row| row.starts_with("cloudflare ") && row.ends_with(" yes")));
    assert!(text(&["show", "threat"]).ends_with(&rows));
}

#[test]
fn what_is_not_in_the_catalog_is_refused_with_what_is() {
    let categories = "social-media, messenger, streaming, gaming, ai, shopping, dating, gambling, privacy-vpn, cdn, \
                      cloud, software, threat";
    let cases: &[(&str, &[&str], &str)] = &[
        (
            "a misspelt service",
            &["show", "tiktak"],
            "\"tiktak\" is no service and no category of the catalog; did you mean tiktok? `weir catalog list` shows all",
        ),
        (
            "a misspelt category",
            &["show", "gamblign"],
            "\"gamblign\" is no service and no category of the catalog; did you mean gambling? `weir catalog list` shows all",
        ),
        (
            "nothing like it",
            &["show", "qqqqqqqqqq"],
            "\"qqqqqqqqqq\" is no service and no category of the catalog; `weir catalog list` shows all",
        ),
        (
            "a terminal escape",
            &["show", "\u{1b}[2Jqqqqqq"],
            "\"\\u{1b}[2Jqqqqqq\" is no service and no category of the catalog; `weir catalog list` shows all",
        ),
        (
            "an unknown category",
            &["list", "--category", "games"],
            &format!("category \"games\" is not in the catalog; accepted: {categories}"),
        ),
        (
            "a file that is not there",
            &["list", "--catalog", "none.toml"],
            "cannot read catalog none.toml: no such file; check the path, relative ones count from the configuration file",
        ),
        (
            "a file with a misspelt key",
            &["list", "--catalog", "bad.toml"],
            "bad.toml:3: unknown field `asn`, expected one of `id`, `name`, `category`, `checked`, `asns`, `lists`, \
             `domains`, `domains_source`, `note`, `shared`, `remove`",
        ),
        (
            "somebody else's cloud",
            &["show", "x", "--catalog", "cloud.toml"],
            "cloud.toml:6: service \"x\": AS13335 is shared by many (Cloudflare): leave it out, or set shared = true",
        ),
    ];
    let cloud = b"[[service]]\nid = \"x\"\nname = \"X\"\ncategory = \"ai\"\nchecked = \"2026-11-24\"\n\
                  asns = [{ asn = 13335, name = \"Cloudflare, Inc.\" }]\n";
    let files: &[(&str, &[u8])] = &[("bad.toml", b"[[service]]\nid = \"x\"\nasn = 1\n"), ("cloud.toml", cloud)];
    for &(what, arguments, says) in cases {
        let code = if what == "a file that is not there" { 1 } else { 2 };
        refused(&Case { what, files, arguments: &[&["catalog"], arguments].concat(), code, says });
    }
}

#[test]
fn a_service_without_networks_is_named_and_never_blocks_in_silence() {
    let arguments = &["check", "--service", "discord"];
    let says =
        "rule \"discord\" lists no address: service discord has no networks of its own (`weir catalog show discord`)";
    refused(&Case { what: "a service on networks of others", files: &[], arguments, code: 2, says });
    let arguments = &["check", "--service", "douyin"];
    refused(&Case {
        what: "a dormant network",
        files: &[],
        arguments,
        code: 2,
        says: &says.replace("discord", "douyin"),
    });
    let toml = crate::rule("services = [\"tiktok\", \"discord\"]");
    let report = succeeds(run(&[("weir.toml", &toml)], &["check", "-c", "weir.toml", "--json"])).json();
    assert_eq!(
        report["warnings"],
        json!([
            "rule \"r\": service discord has no networks of its own; `weir catalog show discord` says what carries it"
        ])
    );
    let arguments = &["check", "--service", "gaming"];
    let output = run(&[], arguments);
    assert!(
        output.stderr.starts_with("weir: \"gaming\" is a category, not a service; write categories = [\"gaming\"]"),
        "{output:?}"
    );
    assert_eq!(output.code, 2);
}

#[test]
fn the_manual_has_the_verbs_below_catalog() {
    let page = succeeds(run(&[], &["man"])).stdout;
    for heading in [".SH WEIR CATALOG\n", ".SH WEIR CATALOG LIST\n", ".SH WEIR CATALOG SHOW\n"] {
        assert!(page.contains(heading), "{heading}");
    }
}
