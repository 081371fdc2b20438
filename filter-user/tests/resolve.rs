//! What rules come to: configurations and copies in, addresses, gaps and warnings out. The expected addresses are written by
//! hand beside the documents that list them. Fetches nothing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use weir::catalog::{self, Catalog};
use weir::config::{Config, Location};
use weir::ruleset::delta::{Addresses, Fate, deltas};
use weir::ruleset::parts::{Copies, PartId, parts};
use weir::ruleset::resolve::{Gap, ResolvedRule};
use weir::ruleset::{Resolved, resolve};
use weir::source::copy::{Copy, WantedAsns};
use weir::source::{Need, read};

/// When every copy was fetched.
const FETCHED: i64 = 1_767_614_400;

fn parse(text: &str, catalog: Arc<Catalog>) -> Config {
    Config::parse(Path::new("weir.toml"), text.as_bytes(), catalog).unwrap()
}

fn config(text: &str) -> Config {
    parse(text, Catalog::embedded())
}

/// The embedded catalog with `more`.
fn config_with(more: &str, text: &str) -> Config {
    let own = Catalog::parse(Path::new("own.toml"), more.as_bytes()).unwrap();
    parse(text, Arc::new(Catalog::embedded().with(&own)))
}

/// Two sources that are tables, and two that have a document for each AS.
const SOURCES: &str = r#"
[[source]]
name = "one"
url = "http://127.0.0.1/one"
[[source]]
name = "two"
url = "http://127.0.0.1/two"
[[source]]
name = "each"
url = "http://127.0.0.1/AS{asn}.json"
[[source]]
name = "payloads"
url = "http://127.0.0.1/vrps"
[[source]]
name = "registry"
irr = "127.0.0.1:43"
"#;

/// A rule with `keys`, and `[asn]` with `asn`.
fn with(keys: &str, asn: &str) -> Config {
    config(&format!("{}[asn]\n{asn}\n{SOURCES}", rule("x", keys)))
}

fn rule(name: &str, keys: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\naction = \"block\"\n{keys}\n")
}

/// A copy of `document` as the controller keeps it.
fn copy(need: &Need, document: &str) -> Arc<Copy> {
    let mut copy = Copy::of(read(document.as_bytes(), need).unwrap(), "somewhere", FETCHED);
    if let Need::Origins(wanted) = need {
        copy.provenance.wanted = Some(wanted.clone());
    }
    Arc::new(copy)
}

/// Copies of the parts of `config` that `documents` has by name.
fn copies(config: &Config, documents: &[(&str, &str)]) -> Copies {
    let needed = parts(config);
    let one = |(name, document): &(&str, &str)| {
        let part =
            needed.values().find(|part| part.id.to_string() == *name).unwrap_or_else(|| panic!("no part {name}"));
        (part.id.clone(), copy(&part.need, document))
    };
    documents.iter().map(one).collect()
}

fn resolved(config: &Config, documents: &[(&str, &str)]) -> Resolved {
    resolve(config, &copies(config, documents)).unwrap()
}

fn refused(config: &Config, documents: &[(&str, &str)]) -> String {
    resolve(config, &copies(config, documents)).unwrap_err().to_string()
}

/// What a rule lists, in the fewest prefixes.
fn listed(rule: &ResolvedRule) -> Vec<String> {
    Addresses::of_rule(rule).prefixes().map(|net| net.to_string()).collect()
}

fn only(resolved: &Resolved) -> Vec<String> {
    assert_eq!(resolved.rules.len(), 1);
    listed(&resolved.rules[0])
}

fn source(name: &str) -> PartId {
    PartId::Source(name.into(), None)
}

fn gap(part: PartId) -> Gap {
    Gap { rule: "x".into(), part, snapshot: false }
}

const TABLE_ONE: &str =
    "12.0.0.0,12.0.0.255,1000,One Ltd.\n12.0.1.0,12.0.1.255,1000,One Ltd.\n12.9.0.0,12.9.0.255,1001,Two\n";
const TABLE_TWO: &str = "12.0.1.0,12.0.2.255,1000,One\n2a00::,2a00:0:ffff:ffff:ffff:ffff:ffff:ffff,1000,One\n";

#[test]
fn the_union_of_two_sources_is_what_either_lists() {
    let config = with("asns = [1000]", "sources = [\"one\", \"two\"]");
    let resolved = resolved(&config, &[("one", TABLE_ONE), ("two", TABLE_TWO)]);
    assert_eq!(only(&resolved), ["12.0.0.0/23", "12.0.2.0/24", "2a00::/32"]);
    assert_eq!((resolved.gaps, resolved.warnings), (vec![], Vec::<String>::new()));
}

const TABLE_FILE: &str = "12.0.0.0,12.0.0.127,1000,One\n12.0.2.0,12.0.2.255,1000,One\n12.0.3.0,12.0.3.255,1000,One\n";

#[test]
fn a_quorum_of_two_of_three_is_what_at_least_two_list() {
    let config = with("asns = [1000]", "tables = [\"t.csv\"]\nsources = [\"one\", \"two\"]\nquorum = 2");
    let documents = [("t.csv", TABLE_FILE), ("one", TABLE_ONE), ("two", TABLE_TWO)];
    // The first half of 12.0.0.0/24: file and one. 12.0.1.0/24: one and two. 12.0.2.0/24: file and two.
    assert_eq!(only(&resolved(&config, &documents)), ["12.0.0.0/25", "12.0.1.0/24", "12.0.2.0/24"]);
    // With all three asked for, nothing is listed by all.
    let all = with(
        "asns = [1000]\nprefixes = [\"9.9.9.9\"]",
        "tables = [\"t.csv\"]\nsources = [\"one\", \"two\"]\nquorum = 3",
    );
    assert_eq!(only(&resolved(&all, &documents)), ["9.9.9.9/32"]);
}

#[test]
fn a_quorum_that_cannot_be_met_yet_is_that_of_the_answers_there_are() {
    let config = with("asns = [1000]", "tables = [\"t.csv\"]\nsources = [\"one\", \"two\"]\nquorum = 2");
    let alone = resolved(&config, &[("one", TABLE_ONE)]);
    assert_eq!(only(&alone), ["12.0.0.0/23"]);
    assert_eq!(alone.gaps, [gap(PartId::Table("t.csv".into())), gap(source("two"))]);
    let two = resolved(&config, &[("one", TABLE_ONE), ("two", TABLE_TWO)]);
    assert_eq!(only(&two), ["12.0.1.0/24"]);
}

fn ipverse(asn: u32, v4: &str, v6: &str) -> String {
    format!(
        r#"{{"asn":{asn},"metadata":{{"handle":"X","description":"Example","countryCode":"ZZ"}},"prefixes":{{"ipv4":[{v4}],"ipv6":[{v6}]}}}}"#
    )
}

#[test]
fn documents_for_one_as_and_tables_for_all_are_taken_together() {
    let config = with("asns = [1000, 1001]", "sources = [\"each\", \"one\"]");
    let document = ipverse(1000, "\"13.0.0.0/24\"", "\"2a01::/32\"");
    let resolved = resolved(&config, &[("each (AS1000)", &document), ("one", TABLE_ONE)]);
    assert_eq!(only(&resolved), ["12.0.0.0/23", "12.9.0.0/24", "13.0.0.0/24", "2a01::/32"]);
    assert_eq!(resolved.gaps, [gap(PartId::Source("each".into(), Some(1001)))]);
    let lists: Vec<_> = resolved.rules[0].lists.iter().map(|list| (list.name.as_str(), list.source.as_str())).collect();
    assert_eq!(lists, [("AS1000", "each"), ("AS1000", "one"), ("AS1001", "one")]);
}

#[test]
fn the_embedded_snapshot_stands_in_for_tiktok_and_for_nobody_else() {
    let config = with("asns = [138699, 1000]", "sources = [\"each\"]");
    let none = resolved(&config, &[]);
    let gaps: Vec<_> = none.gaps.iter().map(|gap| (gap.part.to_string(), gap.snapshot)).collect();
    assert_eq!(gaps, [("each (AS138699)".into(), true), ("each (AS1000)".into(), false)]);
    // The nine IPv4 prefixes of the publisher's file of AS138699 hold 103.136.220.0/24.
    assert_eq!(none.matches("103.136.220.9".parse().unwrap()).len(), 1);
    let snapshot = &none.rules[0].lists[0];
    assert_eq!((snapshot.source.as_str(), snapshot.fetched), ("embedded snapshot of 2026-11-22", 0));
    assert_eq!(catalog::snapshot().date, "2026-11-22");
    // Once the source answers, the snapshot is silent.
    let answered = resolved(&config, &[("each (AS138699)", &ipverse(138_699, "\"13.0.0.0/24\"", ""))]);
    assert_eq!(only(&answered), ["13.0.0.0/24"]);
    // Without any source or table, there is nothing to wait for.
    let alone = resolved(&self::config(&rule("x", "services = [\"tiktok\"]")), &[]);
    assert_eq!(alone.gaps, []);
    assert!(alone.matches("103.136.220.9".parse().unwrap()).len() == 1);
    let error = refused(&self::config(&rule("x", "asns = [1000]")), &[]);
    assert_eq!(
        error,
        "rule \"x\": AS1000 is not in the embedded snapshot, which holds AS11983, AS138699, AS396986; name an ASN table in \
         [asn] tables, or a source: [asn] sources = [\"ipverse\"]"
    );
}

#[test]
fn a_table_that_was_read_for_others_is_no_answer_for_a_new_as() {
    let before = with("asns = [1000]", "sources = [\"one\"]");
    let copies = copies(&before, &[("one", TABLE_ONE)]);
    let after = with("asns = [1000, 1001]", "sources = [\"one\"]");
    let resolved = resolve(&after, &copies).unwrap();
    assert_eq!((only(&resolved), resolved.gaps.as_slice()), (vec!["12.0.0.0/23".into()], &[gap(source("one"))][..]));
    assert_eq!(resolved.warnings, Vec::<String>::new(), "it is not known yet that AS1001 originates nothing");
}

fn vrps(rows: &[(u32, &str)]) -> String {
    let row = |(asn, prefix): &(u32, &str)| {
        let most = prefix.split_once('/').unwrap().1;
        format!(r#"{{"asn":{asn},"prefix":"{prefix}","maxLength":{most},"ta":"ripe"}}"#)
    };
    format!(r#"{{"roas":[{}]}}"#, rows.iter().map(row).collect::<Vec<_>>().join(","))
}

#[test]
fn addresses_that_another_as_holds_by_rpki_are_left_out() {
    let config = with("asns = [1000]", "sources = [\"one\"]\nrpki = \"payloads\"");
    let table = "12.0.0.0,12.0.3.255,1000,One\n12.8.0.0,12.8.0.255,1000,One\n12.9.0.0,12.9.0.255,1000,One\n2a00::,2a00::ff,1000,One\n";
    let payloads = vrps(&[
        (1000, "12.0.0.0/24"), // its own
        (77, "12.0.1.0/24"),   // another's
        (77, "12.0.2.0/24"),   // two hold it, one of them is AS1000
        (1000, "12.0.2.0/24"),
        (0, "12.8.0.0/25"), // nobody's
        (77, "2a00::/124"), // 16 addresses
    ]);
    let documents = [("one", table), ("payloads", payloads.as_str())];
    let found = resolved(&config, &documents);
    // 12.0.3.0/24 and 12.9.0.0/24 are covered by no payload.
    let left = ["12.0.0.0/24", "12.0.2.0/23", "12.8.0.128/25", "12.9.0.0/24"];
    let left_v6 = ["2a00::10/124", "2a00::20/123", "2a00::40/122", "2a00::80/121"];
    assert_eq!(only(&found), [&left[..], &left_v6[..]].concat());
    assert_eq!(found.warnings, ["rule \"x\": AS1000: 400 addresses are another AS's by RPKI and left out"]);
    let untouched = resolved(&config, &documents[..1]);
    assert_eq!(only(&untouched).len(), 4, "without payloads nothing is left out");
}

#[test]
fn an_as_found_by_its_name_keeps_what_rpki_says_is_its_own() {
    let config = with("organisations = [\"acme\"]", "sources = [\"one\"]\nrpki = \"payloads\"");
    let table = "12.0.0.0,12.0.1.255,1000,ACME Inc.\n";
    let payloads = vrps(&[(1000, "12.0.0.0/24"), (77, "12.0.1.0/24")]);
    assert_eq!(only(&resolved(&config, &[("one", table), ("payloads", &payloads)])), ["12.0.0.0/24"]);
}

#[test]
fn a_registry_that_disagrees_is_told_and_changes_nothing() {
    let config = with("asns = [1000]", "sources = [\"one\"]\nirr = \"registry\"");
    let registered = "C\nA13\n12.0.0.0/24\nC\nD\n";
    let table = "12.0.0.0,12.0.1.255,1000,One\n2a00::,2a00:0:ffff:ffff:ffff:ffff:ffff:ffff,1000,One\n";
    let resolved = resolved(&config, &[("one", table), ("registry (AS1000)", &registered.replace("A13", "A12"))]);
    assert_eq!(only(&resolved), ["12.0.0.0/23", "2a00::/32"]);
    assert_eq!(
        resolved.warnings,
        [
            "rule \"x\": AS1000: registry does not register 256 IPv4 addresses and 1 IPv6 prefixes that are listed, 12.0.1.0/24 first"
        ]
    );
    assert_eq!(resolved.gaps, []);
}

#[test]
fn shared_networks_are_refused_by_number_and_as_a_service() {
    let cloudflare = "is a shared network (Cloudflare), which carries strangers' services, too: leave it out, or set \
                      allow_shared = true in the rule";
    let asn = with("asns = [13335]", "sources = [\"one\"]");
    assert_eq!(refused(&asn, &[]), format!("rule \"x\": AS13335 {cloudflare}"));
    let service = with("services = [\"cloudflare\"]", "sources = [\"one\"]");
    assert_eq!(refused(&service, &[]), format!("rule \"x\": service \"cloudflare\" {cloudflare}"));
    let table = "12.0.0.0,12.0.0.255,13335,Cloudflare\n";
    let allowed = with("asns = [13335]\nallow_shared = true", "sources = [\"one\"]");
    assert_eq!(only(&resolved(&allowed, &[("one", table)])), ["12.0.0.0/24"]);
    let allowed = with("services = [\"cloudflare\"]\nallow_shared = true", "sources = [\"one\"]");
    assert!(only(&resolved(&allowed, &[("one", table)])).contains(&"12.0.0.0/24".into()));
}

#[test]
fn an_operators_own_shared_entry_refuses_a_service_that_lives_there() {
    let own = "[[shared]]\nasn = 138699\nname = \"TIKTOK PTE. LTD.\"\noperator = \"Campus cloud\"\n";
    let tiktok = |keys: &str| config_with(own, &rule("x", &format!("services = [\"tiktok\"]\n{keys}")));
    assert!(
        refused(&tiktok(""), &[])
            .starts_with("rule \"x\": AS138699 of service tiktok is a shared network (Campus cloud), which carries")
    );
    assert!(!only(&resolved(&tiktok("allow_shared = true"), &[])).is_empty());
}

/// A category with a service of its own network, one on shared ones, one that is nowhere, and one with a list.
const CAMPUS: &str = r#"
[[category]]
id = "campus"
name = "Campus"
[[service]]
id = "own"
name = "Own"
category = "campus"
checked = "2026-11-24"
asns = [{ asn = 1000, name = "One Ltd." }, { asn = 1002, name = "Asleep", dormant = true }]
[[service]]
id = "rented"
name = "Rented"
category = "campus"
checked = "2026-11-24"
shared = true
lists = ["two"]
asns = [{ asn = 1001, name = "Two" }]
[[service]]
id = "nowhere"
name = "Nowhere"
category = "campus"
checked = "2026-11-24"
domains = ["nowhere.example"]
[[service]]
id = "feed"
name = "Feed"
category = "campus"
checked = "2026-11-24"
lists = ["list"]
"#;

fn campus(keys: &str) -> Config {
    let list = "[[source]]\nname = \"list\"\nurl = \"http://127.0.0.1/list\"\n";
    config_with(CAMPUS, &format!("{}[asn]\nsources = [\"one\"]\n{SOURCES}{list}", rule("x", keys)))
}

#[test]
fn a_category_is_the_networks_and_lists_of_its_services_but_those_that_are_shared() {
    let config = campus("categories = [\"campus\"]");
    let found = resolved(&config, &[("one", TABLE_ONE), ("list", "14.0.0.0/24\n")]);
    assert_eq!(only(&found), ["12.0.0.0/23", "14.0.0.0/24"]);
    assert_eq!(found.gaps, []);
    assert_eq!(
        found.warnings,
        [
            "rule \"x\": category \"campus\": shared networks are left out (rented); allow_shared = true takes them in",
            "rule \"x\": category \"campus\": services without networks of their own are not blocked by address: nowhere",
        ]
    );
    let config = campus("categories = [\"campus\"]\nallow_shared = true");
    let found = resolved(&config, &[("one", TABLE_ONE), ("list", "14.0.0.0/24\n"), ("two", "15.0.0.0/24\n")]);
    assert_eq!(only(&found), ["12.0.0.0/23", "12.9.0.0/24", "14.0.0.0/24", "15.0.0.0/24"]);
    let lists: Vec<_> = found.rules[0].lists.iter().map(|list| (list.name.as_str(), list.source.as_str())).collect();
    assert_eq!(lists, [("service own", "one"), ("service rented", "one"), ("list", "list"), ("two", "two")]);
}

#[test]
fn the_threat_category_is_the_lists_of_spamhaus() {
    let config = config(&rule("x", "categories = [\"threat\"]"));
    let row = r#"{"cidr":"14.0.0.0/24","sblid":"SBL1","rir":"apnic"}"#;
    let found = resolved(&config, &[("spamhaus-drop", row)]);
    assert_eq!(only(&found), ["14.0.0.0/24"]);
    assert_eq!(found.gaps, [gap(source("spamhaus-drop-v6"))], "a source without a copy is named");
}

#[test]
fn a_service_without_networks_of_its_own_is_named() {
    let config = campus("services = [\"nowhere\"]");
    assert_eq!(
        refused(&config, &[]),
        "rule \"x\" lists no address: service nowhere has no networks of its own (`weir catalog show nowhere`)"
    );
    let config = campus("services = [\"nowhere\", \"feed\"]");
    let found = resolved(&config, &[("list", "14.0.0.0/24")]);
    assert_eq!(only(&found), ["14.0.0.0/24"]);
    assert_eq!(
        found.warnings,
        ["rule \"x\": service nowhere has no networks of its own; `weir catalog show nowhere` says what carries it"]
    );
}

#[test]
fn a_network_that_changed_its_name_is_told() {
    let config = campus("services = [\"own\"]");
    let renamed = TABLE_ONE.replace("One Ltd.", "Quite Another GmbH");
    assert_eq!(
        resolved(&config, &[("one", &renamed)]).warnings,
        [
            "rule \"x\": service \"own\": AS1000 is \"Quite Another GmbH\" by now, \"One Ltd.\" was expected (checked 2026-11-24): is it the service's still?"
        ]
    );
    let same = TABLE_ONE.replace("One Ltd.", "ONE LIMITED");
    assert_eq!(resolved(&config, &[("one", &same)]).warnings, Vec::<String>::new());
}

#[test]
fn reserved_numbers_are_refused_unless_the_rule_allows_them() {
    let config = with("asns = [64512]", "sources = [\"one\"]");
    let error = "rule \"x\": AS64512 is for private use (RFC 6996): correct it, or set allow_bogon = true in the rule";
    assert_eq!(refused(&config, &[]), error);
    let config = with("asns = [64512]\nallow_bogon = true", "sources = [\"one\"]");
    assert_eq!(only(&resolved(&config, &[("one", "12.0.0.0,12.0.0.255,64512,Lab\n")])), ["12.0.0.0/24"]);
}

const NAMES: &str = "12.0.0.0,12.0.0.255,1000,ACME Inc.\n12.0.1.0,12.0.1.255,1001,\"Example, an Acme company\"\n\
                     12.0.2.0,12.0.2.255,1002,Acmeistic\n12.0.3.0,12.0.3.255,13335,Acme Cloud\n\
                     12.0.4.0,12.0.4.255,64512,Acme Lab\n";

#[test]
fn organisations_are_found_by_whole_words_and_shown() {
    let config = with("organisations = [\"acme\"]", "sources = [\"one\"]");
    let found = resolved(&config, &[("one", NAMES)]);
    assert_eq!(only(&found), ["12.0.0.0/23"]);
    assert_eq!(
        found.warnings,
        [
            "rule \"x\": organisation \"acme\": shared networks are left out (AS13335); allow_shared = true takes them in",
            "rule \"x\": organisation \"acme\" is AS1000 ACME Inc., AS1001 Example, an Acme company",
        ]
    );
    assert_eq!(found.rules[0].lists[0].name, "organisation acme");
    let config = with("organisations = [\"acme\"]\nallow_shared = true", "sources = [\"one\"]");
    assert_eq!(only(&resolved(&config, &[("one", NAMES)])), ["12.0.0.0/23", "12.0.3.0/24"]);
}

#[test]
fn an_organisation_that_no_table_names_leaves_the_rule_empty() {
    let config = with("organisations = [\"nobody\"]", "sources = [\"one\"]");
    assert_eq!(
        refused(&config, &[("one", NAMES)]),
        "rule \"x\" lists no address: no ASN table that is at hand names an AS \"nobody\"; remove the rule or give it a list"
    );
    let config = self::config(&rule("x", "organisations = [\"nobody\"]"));
    assert!(refused(&config, &[]).starts_with("rule \"x\" lists no address: no ASN table that is at hand names"));
}

#[test]
fn an_organisation_waits_for_the_tables_that_were_not_read_for_it_yet() {
    let config = with("organisations = [\"acme\"]", "tables = [\"t.csv\"]\nsources = [\"one\", \"each\"]");
    let none = resolved(&config, &[]);
    assert_eq!(
        (only(&none), none.gaps.as_slice()),
        (vec![], &[gap(PartId::Table("t.csv".into())), gap(source("one"))][..])
    );
    let half = resolved(&config, &[("t.csv", "13.0.0.0,13.0.0.255,1000,Acme\n")]);
    assert_eq!((only(&half), half.gaps.as_slice()), (vec!["13.0.0.0/24".into()], &[gap(source("one"))][..]));
    // A copy that was read before the rule named the organisation.
    let before = with("asns = [1000]", "sources = [\"one\"]");
    let old = resolve(&config, &copies(&before, &[("one", NAMES)])).unwrap();
    assert_eq!(old.gaps, [gap(PartId::Table("t.csv".into())), gap(source("one"))]);
}

#[test]
fn documents_that_nobody_asks_for_are_no_gap_of_an_organisation() {
    let config = with("organisations = [\"acme\"]", "sources = [\"one\", \"each\"]");
    let found = resolved(&config, &[("one", NAMES)]);
    assert_eq!((only(&found), found.gaps), (vec!["12.0.0.0/23".into()], vec![]));
    assert!(parts(&config).keys().all(|id| id.source() != Some("each")));
}

#[test]
fn a_prefix_that_holds_much_of_the_internet_is_refused_unless_the_rule_allows_it() {
    let config = with("prefixes = [\"12.0.0.0/7\"]", "");
    assert_eq!(
        refused(&config, &[]),
        "rule \"x\": list \"prefixes\" holds 12.0.0.0/7, shorter than /8: remove it, or set allow_wide = true in the rule"
    );
    assert_eq!(only(&resolved(&with("prefixes = [\"12.0.0.0/7\"]\nallow_wide = true", ""), &[])), ["12.0.0.0/7"]);
    assert_eq!(
        only(&resolved(&with("prefixes = [\"12.0.0.0/8\", \"2000::/19\"]", ""), &[])),
        ["12.0.0.0/8", "2000::/19"]
    );
    let file = with("files = [\"f\"]", "");
    let error =
        "rule \"x\": list \"f\" holds 2000::/18, shorter than /19: remove it, or set allow_wide = true in the rule";
    assert_eq!(refused(&file, &[("f", "2000::/18\n")]), error);
}

#[test]
fn a_rule_that_lists_nothing_says_why() {
    let config = with("asns = [1000]\nfiles = [\"f\"]", "sources = [\"one\"]");
    let documents = [("one", "13.0.0.0,13.0.0.255,7,Other\n"), ("f", "# nothing\n")];
    assert_eq!(
        refused(&config, &documents),
        "rule \"x\" lists no address: f lists nothing; no ASN table lists AS1000; check the numbers and the tables"
    );
    // One rule's gap does not excuse another.
    let two = format!(
        "{}{}[asn]\nsources = [\"one\", \"each\"]\n{SOURCES}",
        rule("x", "asns = [1000]"),
        rule("y", "files = [\"f\"]")
    );
    assert!(refused(&self::config(&two), &documents).starts_with("rule \"y\" lists no address: f lists nothing;"));
    // What is on its way is no reason to refuse.
    let waits = resolved(&config, &[("f", "# nothing\n")]);
    assert_eq!((only(&waits), waits.gaps), (vec![], vec![gap(source("one"))]));
}

#[test]
fn warnings_of_files_name_file_and_line() {
    let config = with("files = [\"f\"]", "");
    let found = resolved(&config, &[("f", "# two\n192.0.2.1/24\n")]);
    assert!(found.warnings[0].starts_with("f:2: "), "{:?}", found.warnings);
}

#[test]
fn a_match_says_which_list_and_source_and_since_when() {
    let config = with("asns = [1000]\nprefixes = [\"12.0.0.128/25\"]", "sources = [\"one\"]");
    let part = &parts(&config)[&source("one")];
    let content = |text: &str| read(text.as_bytes(), &part.need).unwrap();
    let first = Copy::renew(
        None,
        content("12.0.0.0,12.0.2.255,1000,One\n"),
        copy(&part.need, TABLE_ONE).provenance.clone(),
        100,
    );
    let provenance = weir::source::copy::Provenance { fetched: 300, ..first.provenance.clone() };
    let second = Copy::renew(
        Some(&first),
        content("12.0.0.0,12.0.2.255,1000,One\n12.0.7.0,12.0.7.255,1000,One\n"),
        provenance,
        200,
    );
    let resolved = resolve(&config, &Copies::from([(source("one"), Arc::new(second))])).unwrap();
    let found = |address: &str| -> Vec<(String, String, String, u32, i64, i64)> {
        let matches = resolved.matches(address.parse::<IpAddr>().unwrap());
        let row = |found: &resolve::Match<'_>| {
            let list = found.list;
            (list.name.clone(), list.source.clone(), found.prefix.to_string(), found.asn, list.fetched, found.since)
        };
        matches.iter().map(row).collect()
    };
    let one = |prefix: &str, since| ("AS1000".into(), "one".into(), prefix.into(), 1000, 300, since);
    assert_eq!(
        found("12.0.0.200"),
        [one("12.0.0.0/23", 100), ("prefixes".into(), "the configuration".into(), "12.0.0.128/25".into(), 0, 0, 0)]
    );
    assert_eq!(found("12.0.2.0"), [one("12.0.2.0/24", 100)]);
    assert_eq!(found("12.0.7.255"), [one("12.0.7.0/24", 200)]);
    assert_eq!(found("12.0.8.0"), []);
    assert_eq!(found("2a00::"), []);
}

#[test]
fn deltas_say_what_each_rule_and_source_adds_and_loses() {
    let text = |rules: &[(&str, &str)]| -> Config {
        let rules: String = rules.iter().map(|(name, keys)| rule(name, keys)).collect();
        config(&format!("{rules}[asn]\nsources = [\"one\", \"two\"]\n{SOURCES}"))
    };
    let before = text(&[
        ("gone", "prefixes = [\"9.9.9.9\"]"),
        ("same", "prefixes = [\"9.9.9.8\"]"),
        ("asns", "asns = [1000, 1001]"),
        ("turned", "prefixes = [\"9.9.9.7\"]"),
    ]);
    let after = text(&[
        ("asns", "asns = [1000, 1001]"),
        ("same", "prefixes = [\"9.9.9.8\"]"),
        ("new", "prefixes = [\"9.9.9.6\", \"2a00::7\"]"),
        ("turned", "prefixes = [\"9.9.9.7\"]\ndirection = \"out\""),
    ]);
    let old = resolved(&before, &[("one", TABLE_ONE), ("two", TABLE_TWO)]);
    // One loses 12.0.0.0/24 and all of AS1001; two gets 12.0.3.0/24 and loses its IPv6.
    let new = resolved(&after, &[("one", "12.0.1.0,12.0.1.255,1000,One\n"), ("two", "12.0.1.0,12.0.3.255,1000,One\n")]);
    let nets = |addresses: &Addresses| addresses.prefixes().map(|net| net.to_string()).collect::<Vec<_>>().join(" ");
    let shown: Vec<_> = deltas(&old, &new)
        .iter()
        .map(|delta| {
            let name = &delta.new.or(delta.old).unwrap().identity.name;
            format!("{name}: {:?} +{} -{} lost {:?}", delta.fate, nets(&delta.added), nets(&delta.removed), delta.lost)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "asns: Changed +12.0.3.0/24 -12.0.0.0/24 12.9.0.0/24 2a00::/32 lost {1001}",
            "same: Same + - lost {}",
            "new: Added +9.9.9.6/32 2a00::7/128 - lost {}",
            "turned: Changed + - lost {}",
            "gone: Removed + -9.9.9.9/32 lost {}",
        ]
    );
    let all = deltas(&old, &new);
    let sources: Vec<_> = all[0]
        .sources
        .iter()
        .map(|delta| format!("{} {}: +{} -{}", delta.list, delta.source, nets(&delta.added), nets(&delta.removed)))
        .collect();
    assert_eq!(
        sources,
        ["AS1000 one: + -12.0.0.0/24", "AS1000 two: +12.0.3.0/24 -2a00::/32", "AS1001 one: + -12.9.0.0/24"]
    );
    let count = all[2].added.count();
    assert_eq!((count.ipv4_prefixes, count.ipv4_addresses, count.ipv6_prefixes, count.ipv6_addresses), (1, 1, 1, 1));
    assert!(all[2].added.contains("2a00::7".parse().unwrap()) && !all[2].added.contains("2a00::8".parse().unwrap()));
    assert!(deltas(&old, &old).iter().all(|delta| delta.fate == Fate::Same && delta.sources.is_empty()));
}

#[test]
fn exactly_the_documents_that_are_used_are_needed() {
    let text = format!(
        "{}{}{}[asn]\ntables = [\"t.csv\"]\nsources = [\"one\", \"each\", \"disk\"]\nrpki = \"payloads\"\nirr = \"registry\"\n{SOURCES}\
         [[source]]\nname = \"disk\"\nfile = \"as/{{asn}}.json\"\n\
         [[source]]\nname = \"list\"\nurl = \"http://127.0.0.1/list\"\nmay_be_empty = true\nrefresh = \"2h\"\nmax_bytes = 77\n",
        rule("x", "asns = [1000]\nlists = [\"list\"]\nfiles = [\"f\"]"),
        rule("y", "services = [\"own\"]\nlists = [\"list\"]\norganisations = [\"acme\"]\nfiles = [\"f\", \"g\"]"),
        rule("z", "asns = [1003]"),
    );
    let config = config_with(CAMPUS, &text);
    let asns: BTreeSet<u32> = [1000, 1003].into();
    let all = WantedAsns { asns: asns.clone(), organisations: ["acme".into()].into() };
    let of = |asn: u32| Need::Origins(WantedAsns { asns: [asn].into(), organisations: BTreeSet::new() });
    let url = |path: &str| Location::Url(format!("http://127.0.0.1/{path}"));
    let file = |path: &str| Location::File(path.into());
    let per = |name: &str, asn| PartId::Source(name.into(), Some(asn));
    let mut expected = vec![
        (source("one"), url("one"), Need::Origins(all.clone())),
        (source("list"), url("list"), Need::List),
        (source("payloads"), url("vrps"), Need::Payloads),
        (PartId::List("f".into()), file("f"), Need::List),
        (PartId::List("g".into()), file("g"), Need::List),
        (PartId::Table("t.csv".into()), file("t.csv"), Need::Origins(all)),
    ];
    for asn in asns {
        expected.push((per("each", asn), url(&format!("AS{asn}.json")), of(asn)));
        expected.push((per("disk", asn), file(&format!("as/{asn}.json")), of(asn)));
        expected.push((per("registry", asn), Location::Irr("127.0.0.1:43".into()), Need::Registered(asn)));
    }
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    let found = parts(&config);
    let shown: Vec<_> =
        found.values().map(|part| (part.id.clone(), part.location.clone(), part.need.clone())).collect();
    assert_eq!(shown, expected);
    let list = &found[&source("list")];
    assert_eq!((list.limits.may_be_empty, list.refresh.as_secs(), list.max_bytes), (true, 7200, 77));

    let names: BTreeSet<String> = found.keys().map(PartId::file_name).collect();
    assert_eq!(names.len(), found.len(), "each has a file of its own");
    let safe = |name: &String| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)) && !name.starts_with('.')
    };
    assert!(names.iter().all(safe), "{names:?}");
    assert_ne!(PartId::List("f".into()).file_name(), PartId::Table("f".into()).file_name());
    assert_eq!(per("each", 1000).file_name(), "each.AS1000.copy");
    // A dormant network is not asked for, and without any AS no table is.
    assert!(parts(&with("prefixes = [\"9.9.9.9\"]", "sources = [\"one\", \"each\"]\nrpki = \"payloads\"")).is_empty());
}
