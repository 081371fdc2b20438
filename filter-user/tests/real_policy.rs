//! Policies made of real lists: where they disagree about one service, what the gates say of how they really change, and how
//! long the whole Internet takes. Fetches nothing: the files are in the directory named by `WEIR_DATA`, or in
//! `shared/data` beside the workspace; without them a test counts as skipped.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use weir::catalog::Catalog;
use weir::config::Config;
use weir::prefix::Asn;
use weir::ruleset::delta::Addresses;
use weir::ruleset::parts::{Copies, parts};
use weir::ruleset::resolve::ResolvedRule;
use weir::ruleset::{Guard, Resolved, Scope, Sets, compile, resolve};
use weir::source::copy::{Copy, Provenance, WantedAsns};
use weir::source::gate::{Limits, admit};
use weir::source::{Content, Need, Wanted, read, read_asn_table};

/// The files at `paths` below the data directory. Where one is missing, says so in the form the test runner counts.
fn files<const N: usize>(test: &str, paths: [&str; N]) -> Option<[Vec<u8>; N]> {
    let root = std::env::var_os("WEIR_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    let mut contents = [const { Vec::new() }; N];
    for (content, path) in contents.iter_mut().zip(paths) {
        let path = root.join(path);
        match std::fs::read(&path) {
            Ok(bytes) => *content = bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Not eprintln!, which the harness shows for failed tests only; one write, so that lines stay whole.
                let line = format!("skipped: {test}: {} not found\n", path.display());
                std::io::stderr().write_all(line.as_bytes()).unwrap();
                return None;
            }
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    Some(contents)
}

/// The policy of `text` with a document for each part, by its name.
fn policy(text: &str, documents: &[(&str, &[u8])]) -> Resolved {
    let config = Config::parse(Path::new("weir.toml"), text.as_bytes(), Catalog::embedded()).unwrap();
    let mut copies = Copies::new();
    for (id, part) in parts(&config) {
        let (_, bytes) = documents.iter().find(|(name, _)| *name == id.to_string()).unwrap();
        let mut copy = Copy::of(read(bytes, &part.need).unwrap(), "test", 0);
        if let Need::Origins(wanted) = &part.need {
            copy.provenance.wanted = Some(wanted.clone());
        }
        copies.insert(id, Arc::new(copy));
    }
    let resolved = resolve(&config, &copies).unwrap();
    assert_eq!(resolved.gaps, []);
    resolved
}

/// What a rule lists of one AS.
fn of_asn(rule: &ResolvedRule, asn: Asn) -> Addresses {
    let mut rule = rule.clone();
    for batch in rule.lists.iter_mut().flat_map(|list| &mut list.batches) {
        batch.prefixes.v4.retain(|range| range.asn == asn);
        batch.prefixes.v6.retain(|range| range.asn == asn);
    }
    Addresses::of_rule(&rule)
}

/// AS; IPv4 addresses that only the table lists, and in how many prefixes; that only ipverse lists; the same of IPv6.
/// Computed with Python's ipaddress.
const ONLY: [(Asn, [(u128, usize); 4]); 3] = [
    (11983, [(33_536, 4), (1_536, 5), (313_111_787_280_188_956_248_899_584, 4), (0, 0)]),
    (138_699, [(512, 2), (0, 0), (79_220_908_959_346_649_818_495_713_280, 15), (0, 0)]),
    (
        396_986,
        [
            (20_736, 57),
            (8_192, 27),
            (4_856_255_017_391_965_394_794_708_992, 81),
            (25_387_442_211_907_212_668_829_696, 21),
        ],
    ),
];

/// What the table and ipverse list of TikTok's ASes together, and what both list for the same AS. Computed likewise.
const UNION: [u128; 2] = [123_904, 84_520_839_752_537_184_120_407_588_864];
const BOTH: [u128; 2] = [68_608, 128_146_136_879_150_692_518_854_656];

const TIKTOK: &str = "[[rule]]\nname = \"tiktok\"\naction = \"block\"\nservices = [\"tiktok\"]\n";
const IPVERSE: &str = "[[source]]\nname = \"each\"\nfile = \"{asn}.json\"\n";

#[test]
fn three_sources_of_tiktok_disagree_and_are_combined_by_arithmetic() {
    let Some([table4, table6, a, b, c, m4jx4, m4jx6]) = files(
        "three_sources_of_tiktok_disagree_and_are_combined_by_arithmetic",
        [
            "asn/asn-ipv4.csv.gz",
            "asn/asn-ipv6.csv.gz",
            "lists/ipverse/11983.aggregated.json",
            "lists/ipverse/138699.aggregated.json",
            "lists/ipverse/396986.aggregated.json",
            "lists/m4jx-tiktok/ipv4s",
            "lists/m4jx-tiktok/ipv6s",
        ],
    ) else {
        return;
    };
    let documents: [(&str, &[u8]); 7] = [
        ("v4.csv.gz", &table4),
        ("v6.csv.gz", &table6),
        ("each (AS11983)", &a),
        ("each (AS138699)", &b),
        ("each (AS396986)", &c),
        ("ipv4s", &m4jx4),
        ("ipv6s", &m4jx6),
    ];
    let both = "[asn]\ntables = [\"v4.csv.gz\", \"v6.csv.gz\"]\n";
    let table = policy(&format!("{TIKTOK}{both}"), &documents);
    let ipverse = policy(&format!("{TIKTOK}[asn]\nsources = [\"each\"]\n{IPVERSE}"), &documents);
    let (table, ipverse) = (&table.rules[0], &ipverse.rules[0]);
    for (asn, expected) in ONLY {
        let (in_table, in_ipverse) = (of_asn(table, asn), of_asn(ipverse, asn));
        let (more, less) = (in_table.without(&in_ipverse).count(), in_ipverse.without(&in_table).count());
        println!("AS{asn}: only the table: {more:?}; only ipverse: {less:?}");
        let found = [
            (more.ipv4_addresses, more.ipv4_prefixes),
            (less.ipv4_addresses, less.ipv4_prefixes),
            (more.ipv6_addresses, more.ipv6_prefixes),
            (less.ipv6_addresses, less.ipv6_prefixes),
        ];
        assert_eq!(found, expected, "AS{asn}");
    }
    // Half of a /16 that the registry's delegation gives the AS, and BGP does not.
    let only_table = of_asn(table, 11983).without(&of_asn(ipverse, 11983));
    assert!(only_table.prefixes().any(|net| net.to_string() == "152.235.0.0/17"));

    let m4jx = policy("[[rule]]\nname = \"m4jx\"\naction = \"block\"\nfiles = [\"ipv4s\", \"ipv6s\"]\n", &documents);
    let (m4jx, table, ipverse) = (&m4jx.rules[0], Addresses::of_rule(table), Addresses::of_rule(ipverse));
    let strangers = Addresses::of_rule(m4jx).without(&table).without(&ipverse);
    println!("m4jx alone: {:?}", strangers.count());
    // 2 addresses of Akamai, 26 of Google, and three /24 that are TikTok's by name.
    assert_eq!((strangers.count().ipv4_addresses, strangers.count().ipv6_addresses), (2 + 26 + 3 * 256, 0));
    let wide: Vec<_> = strangers.prefixes().filter(|net| net.prefix_len() < 32).map(|net| net.to_string()).collect();
    assert_eq!(wide, ["71.18.227.0/24", "71.18.254.0/24", "118.26.132.0/24"]);
    for shared in ["23.201.31.148", "216.58.220.206", "34.102.147.19"] {
        let address = shared.parse().unwrap();
        assert!(strangers.contains(address) && !table.contains(address) && !ipverse.contains(address), "{shared}");
    }

    let all = |quorum: usize| {
        let asn = format!("{both}sources = [\"each\"]\nquorum = {quorum}\n");
        Addresses::of_rule(&policy(&format!("{TIKTOK}{asn}{IPVERSE}"), &documents).rules[0]).count()
    };
    println!("union: {:?}; quorum 2: {:?}", all(1), all(2));
    let figures = |quorum| [all(quorum).ipv4_addresses, all(quorum).ipv6_addresses];
    assert_eq!((figures(1), figures(2)), (UNION, BOTH));
}

/// What the gates say where `new` follows `old`.
fn verdict(old: &[u8], new: &Content, need: &Need, limits: &Limits) -> String {
    let old = Copy::renew(None, read(old, need).unwrap(), Provenance::default(), 0);
    admit(Some(&old), new, need, limits).map_or_else(|refusal| refusal.to_string(), |()| "taken".into())
}

#[test]
fn the_gates_let_real_changes_pass_and_say_how_large_they_are() {
    let Some([fire1, fire2, drop1, drop2, verse1, verse2]) = files(
        "the_gates_let_real_changes_pass_and_say_how_large_they_are",
        [
            "lists/firehol/firehol_level1.netset",
            "lists/firehol/firehol_level1.2021-06.netset",
            "lists/spamhaus/drop_v4.2025-04-15.json",
            "lists/spamhaus/drop_v4.2026-07-24.json",
            "lists/ipverse/396986.aggregated.2026-01.json",
            "lists/ipverse/396986.aggregated.json",
        ],
    ) else {
        return;
    };
    let origins = Need::Origins(WantedAsns { asns: [396_986].into(), organisations: BTreeSet::new() });
    // By Python's ipaddress: 0.078 % gone and 0.084 % new; 19.52 % and 15.48 %; 0.43 % and 8.23 % of IPv4, 0.99 % and
    // 3.96 % of IPv6.
    let cases = [
        (&fire1, &fire2, &Need::List, (30, 30), "taken"),
        (
            &fire1,
            &fire2,
            &Need::List,
            (0, 30),
            "0.1 % of the IPv4 addresses that it listed are gone (limit: shrink = 0)",
        ),
        (&fire1, &fire2, &Need::List, (1, 0), "it lists 0.1 % more IPv4 addresses than before (limit: grow = 0)"),
        (&drop1, &drop2, &Need::List, (30, 30), "taken"),
        (&drop1, &drop2, &Need::List, (20, 16), "taken"),
        (
            &drop1,
            &drop2,
            &Need::List,
            (19, 30),
            "20 % of the IPv4 addresses that it listed are gone (limit: shrink = 19)",
        ),
        (&drop1, &drop2, &Need::List, (30, 15), "it lists 15 % more IPv4 addresses than before (limit: grow = 15)"),
        (&verse1, &verse2, &origins, (30, 30), "taken"),
        (&verse1, &verse2, &origins, (1, 8), "it lists 8.2 % more IPv4 addresses than before (limit: grow = 8)"),
        (
            &verse1,
            &verse2,
            &origins,
            (0, 30),
            "0.4 % of the IPv4 addresses that it listed are gone (limit: shrink = 0)",
        ),
    ];
    for (old, new, need, (shrink, grow), expected) in cases {
        // FireHOL's level 1 holds 224.0.0.0/3.
        let limits = Limits { shrink, grow, allow_wide: true, ..Limits::default() };
        let found = verdict(old, &read(new, need).unwrap(), need, &limits);
        println!("{found}");
        assert_eq!(found, expected, "shrink {shrink}, grow {grow}");
    }
}

#[test]
fn the_gates_refuse_what_is_cut_or_empty() {
    let Some([drop, feodo, asndrop, fire]) = files(
        "the_gates_refuse_what_is_cut_or_empty",
        [
            "lists/spamhaus/drop_v4.2026-07-24.json",
            "lists/firehol/feodo.ipset",
            "lists/spamhaus/asndrop.2026-10.cut.json",
            "lists/firehol/firehol_level1.netset",
        ],
    ) else {
        return;
    };
    let first = |bytes: &[u8]| match read(bytes, &Need::List) {
        Ok(content) => admit(None, &content, &Need::List, &Limits::default())
            .map_or_else(|refusal| refusal.to_string(), |()| "taken".into()),
        Err(error) => error.to_string(),
    };
    let without = |bytes: &[u8], lines: usize| {
        let text = std::str::from_utf8(bytes).unwrap();
        text.lines().take(text.lines().count() - lines).collect::<Vec<_>>().join("\n")
    };
    println!("{}", first(without(&drop, 1).as_bytes()));
    println!("{}", first(&asndrop));
    assert_eq!(first(&drop), "taken");
    assert!(first(without(&drop, 1).as_bytes()).starts_with("it is cut: "));
    assert_eq!(first(&feodo), "it lists nothing (set may_be_empty = true where that is right)");
    assert_ne!(first(&asndrop), "taken");
    // The header counts 2,744 entries.
    assert_eq!(first(&fire), "it lists 224.0.0.0/3, shorter than /8 (set allow_wide = true where that is right)");
    assert_eq!(first(without(&fire, 10).as_bytes()), "it says it has 2744 entries and has 2734");
    // Every place where a transfer may end: never taken, for the last line says how many there are.
    for end in (0..drop.len() - 1).step_by(997) {
        assert_ne!(first(&drop[..end]), "taken", "cut at {end}");
    }
}

#[test]
fn the_whole_internet_is_read_and_compiled_in_less_than_a_second() {
    let test = "the_whole_internet_is_read_and_compiled_in_less_than_a_second";
    let Some([v4, v6]) = files(test, ["asn/asn-ipv4.csv.gz", "asn/asn-ipv6.csv.gz"]) else { return };
    let asns = |bytes| read_asn_table(bytes, &Wanted::All).unwrap().parsed.prefixes.asns();
    let asns: BTreeSet<Asn> = asns(&v4).into_iter().chain(asns(&v6)).collect();
    let need = Need::Origins(WantedAsns { asns, organisations: BTreeSet::new() });
    let rules = "[[rule]]\nname = \"all\"\naction = \"block\"\nprefixes = [\"192.0.2.0/24\"]\n";
    let identity = policy(rules, &[]).rules[0].identity.clone();
    let mut times = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let copies = [&v4, &v6].map(|bytes| Copy::of(read(bytes, &need).unwrap(), "test", 0));
        let (read, rows) = (start.elapsed(), copies.iter().map(Copy::ranges).sum::<usize>());
        let list = |copy: Copy| resolve::List {
            name: "all".into(),
            source: "table".into(),
            fetched: 0,
            batches: copy.batches,
        };
        let lists = copies.map(list).into();
        let rule = ResolvedRule { identity: identity.clone(), lists, written: vec![], scope: Scope::default() };
        let ruleset = compile(&[rule.rule()], &Guard::default(), &mut Sets::default(), &BTreeMap::new()).unwrap();
        times.push(start.elapsed());
        println!(
            "{rows} rows read in {read:?}, compiled to {} bytes in all {:?}",
            ruleset.tables.bytes(),
            times.last()
        );
        assert_eq!(rows, 411_961 + 103_197);
    }
    times.sort();
    println!("median of 3: {:?}", times[1]);
    assert!(times[1].as_secs_f64() < 1.0, "{times:?}");
}
