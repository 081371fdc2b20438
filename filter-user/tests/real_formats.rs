//! The published JSON, CSV and routing table formats against real files and independent readings of them. Changes and
//! fetches nothing: the files are in the directory named by `WEIR_DATA`, or in `shared/data` beside the workspace;
//! without them a test counts as skipped.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use ipnet::IpNet;
use weir::prefix::{Address, AddressSet, Asn, Listed, Prefixes};
use weir::source::{AsnTable, Parsed, Wanted, read_asn_table, read_list, read_vrps};

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
                std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
                return None;
            }
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    Some(contents)
}

fn all(bytes: &[u8]) -> AsnTable {
    read_asn_table(bytes, &Wanted::All).unwrap()
}

/// Whatever stands between quotes and is a prefix, in any JSON: knows no member's name.
fn quoted_nets(bytes: &[u8]) -> Vec<IpNet> {
    std::str::from_utf8(bytes).unwrap().split('"').filter_map(|text| text.parse().ok()).collect()
}

fn prefixes<'a>(nets: impl IntoIterator<Item = &'a IpNet>, asn: Asn) -> Prefixes {
    let mut prefixes = Prefixes::default();
    nets.into_iter().for_each(|&net| prefixes.push_net(net, asn));
    prefixes
}

/// What each AS originates: the form in which two descriptions of the same table are equal.
fn by_asn<A: Address>(rows: &[Listed<A>]) -> BTreeMap<Asn, AddressSet<A>> {
    let mut ranges: BTreeMap<Asn, Vec<(A, A)>> = BTreeMap::new();
    for row in rows {
        ranges.entry(row.asn).or_default().push((row.first, row.last));
    }
    ranges.into_iter().map(|(asn, ranges)| (asn, ranges.into_iter().collect())).collect()
}

#[track_caller]
fn assert_same_origins(table: &Prefixes, expected: &Prefixes) {
    assert_eq!(by_asn(&table.v4), by_asn(&expected.v4));
    assert_eq!(by_asn(&table.v6), by_asn(&expected.v6));
}

#[test]
fn an_ipverse_document_holds_what_its_text_form_lists() {
    let Some([document, text]) = files(
        "an_ipverse_document_holds_what_its_text_form_lists",
        ["lists/ipverse/11983.aggregated.json", "lists/ipverse/11983.ipv4-aggregated.txt"],
    ) else {
        return;
    };
    let (table, text) = (all(&document), read_list(&text).unwrap());
    let v4: Vec<_> = table.parsed.prefixes.v4.iter().map(|row| Listed { asn: 0, ..*row }).collect();
    assert_eq!(v4, text.prefixes.v4);
    assert_eq!((table.rows, v4.len(), table.parsed.prefixes.v6.len()), (48, 31, 17));
    assert_eq!(table.organisations, [(11983, "Tiktok U.S. Data Security Inc.".to_owned())].into());
    assert_eq!(read_list(&document).unwrap(), table.parsed);
}

#[test]
fn ipverse_documents_of_every_schema_are_read_whole() {
    let paths = [
        ("lists/ipverse/138699.aggregated.old-schema.json", 138_699, "TIKTOK PTE. LTD", 9, 4),
        ("lists/ipverse/138699.aggregated.json", 138_699, "TIKTOK PTE. LTD.", 9, 3),
        ("lists/ipverse/396986.aggregated.2026-01.json", 396_986, "Bytedance Inc.", 0, 0),
        ("lists/ipverse/396986.aggregated.json", 396_986, "Bytedance Inc.", 0, 0),
    ];
    let Some(contents) = files("ipverse_documents_of_every_schema_are_read_whole", paths.map(|path| path.0)) else {
        return;
    };
    for ((path, asn, name, v4, v6), bytes) in paths.into_iter().zip(&contents) {
        let AsnTable { parsed, organisations, rows } = all(bytes);
        let expected = prefixes(&quoted_nets(bytes), asn);
        assert_eq!(parsed, Parsed { prefixes: expected, ..Parsed::default() }, "{path}");
        assert_eq!(rows as usize, parsed.prefixes.v4.len() + parsed.prefixes.v6.len(), "{path}");
        assert_eq!(organisations, [(asn, name.to_owned())].into(), "{path}");
        assert!(rows > 10 && (v4 == 0 || (parsed.prefixes.v4.len(), parsed.prefixes.v6.len()) == (v4, v6)), "{path}");
        for cut in [bytes.len() / 3, bytes.len() - 3] {
            assert!(read_asn_table(&bytes[..cut], &Wanted::All).is_err(), "{path}");
        }
    }
}

#[test]
fn both_forms_of_spamhaus_drop_list_the_same_prefixes() {
    let Some([text, json, newer]) = files(
        "both_forms_of_spamhaus_drop_list_the_same_prefixes",
        [
            "lists/spamhaus/drop.2025-04-15.txt",
            "lists/spamhaus/drop_v4.2025-04-15.json",
            "lists/spamhaus/drop_v4.2026-07-24.json",
        ],
    ) else {
        return;
    };
    let (text, json) = (read_list(&text).unwrap(), read_list(&json).unwrap());
    let set = |parsed: &Parsed| parsed.prefixes.v4.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!((set(&text).len(), set(&text)), (1406, set(&json)));
    assert_eq!((json.declared, json.prefixes.v4.len(), json.cut.clone()), (Some(1406), 1406, None));
    assert_eq!((text.declared, text.cut), (None, None), "the text form says neither");
    // One prefix is in the newer list twice, and its records count lines.
    let parsed = read_list(&newer).unwrap();
    assert_eq!((parsed.declared, parsed.prefixes.v4.len(), set(&parsed).len()), (Some(1670), 1670, 1669));
    assert_eq!((parsed.prefixes, parsed.cut), (prefixes(&quoted_nets(&newer), 0), None));
    let last_line = newer[..newer.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap();
    for (cut, entries) in [(last_line + 1, 1670), (last_line + 40, 1670), (last_line - 5, 1669)] {
        let parsed = read_list(&newer[..cut]).unwrap();
        assert_eq!((parsed.prefixes.v4.len(), parsed.declared, parsed.cut.is_some()), (entries, None, true));
    }
    assert!(read_asn_table(&newer, &Wanted::All).is_err());
}

#[test]
fn the_spamhaus_list_of_as_numbers_is_refused() {
    let Some([bytes]) =
        files("the_spamhaus_list_of_as_numbers_is_refused", ["lists/spamhaus/asndrop.2026-10.cut.json"])
    else {
        return;
    };
    let error = read_list(&bytes).unwrap_err().to_string();
    assert_eq!(read_asn_table(&bytes, &Wanted::All).unwrap_err().to_string(), error);
    assert!(
        error.starts_with("line 1: \"{\\\"asn\\\":245,") && error.ends_with("write the numbers in a rule's `asns`")
    );
}

#[test]
fn netsets_declare_the_entries_they_have() {
    let paths = [
        ("lists/firehol/firehol_level1.netset", 2744),
        ("lists/firehol/firehol_level1.2021-06.netset", 2892),
        ("lists/firehol/firehol_webclient.netset", 2108),
        ("lists/firehol/spamhaus_drop.netset", 926),
        ("lists/firehol/dshield_30d.netset", 61),
        ("lists/firehol/et_block.netset", 1161),
        ("lists/firehol/feodo.ipset", 0),
    ];
    let Some(contents) = files("netsets_declare_the_entries_they_have", paths.map(|path| path.0)) else { return };
    for ((path, entries), bytes) in paths.into_iter().zip(&contents) {
        let parsed = read_list(bytes).unwrap();
        assert_eq!((parsed.declared, parsed.prefixes.v4.len() as u64), (Some(entries), entries), "{path}");
    }
}

/// The rows of a pyasn table by prefix, read in the plainest way there is.
fn routes(text: &str) -> HashMap<IpNet, Vec<Asn>> {
    let mut routes: HashMap<IpNet, Vec<Asn>> = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with(';')) {
        let (net, asn) = line.split_once('\t').unwrap();
        routes.entry(net.parse().unwrap()).or_default().push(asn.parse().unwrap());
    }
    routes
}

/// The ASes of every prefix around `address`, those of the longest first.
fn around(routes: &HashMap<IpNet, Vec<Asn>>, address: IpAddr) -> impl Iterator<Item = &[Asn]> {
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let nets = (0..=longest).rev().map(move |length| IpNet::new(address, length).unwrap().trunc());
    nets.filter_map(|net| routes.get(&net)).map(Vec::as_slice)
}

/// Those of `asns` that the table gives `address` to.
fn holders<A: Address>(table: &BTreeMap<Asn, AddressSet<A>>, asns: &BTreeSet<Asn>, address: A) -> BTreeSet<Asn> {
    asns.iter().copied().filter(|asn| table.get(asn).is_some_and(|set| set.contains(address))).collect()
}

#[test]
fn whole_routing_tables_are_read_to_the_last_row_and_longest_match_decides() {
    const TEST: &str = "whole_routing_tables_are_read_to_the_last_row_and_longest_match_decides";
    let Some(contents) = files(TEST, ["mrt/pyasn/ipasn_20140513.dat.gz", "mrt/pyasn/ipasn6_20151101.dat.gz"]) else {
        return;
    };
    // As `zcat FILE | grep -vc '^;'` counts.
    for (bytes, rows) in contents.iter().zip([512_621, 633_831]) {
        let mut text = String::new();
        GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
        let table = all(bytes);
        assert_eq!((table.rows, text.lines().filter(|line| !line.starts_with(';')).count()), (rows, rows as usize));
        assert_eq!(table.parsed.warnings, []);
        let routes = routes(&text);
        let (v4, v6) = (by_asn(&table.parsed.prefixes.v4), by_asn(&table.parsed.prefixes.v6));
        for row in text.lines().filter(|line| !line.starts_with(';')).step_by(30) {
            let net: IpNet = row.split('\t').next().unwrap().parse().unwrap();
            for address in [net.network(), net.broadcast()] {
                let longest: BTreeSet<Asn> = around(&routes, address).next().unwrap().iter().copied().collect();
                let asns = around(&routes, address).flatten().copied().collect();
                let found = match address {
                    IpAddr::V4(address) => holders(&v4, &asns, address.into()),
                    IpAddr::V6(address) => holders(&v6, &asns, address.into()),
                };
                assert_eq!(found, longest, "{address}");
            }
        }
    }
}

#[test]
fn one_as_of_a_routing_table_is_what_the_whole_table_gives_it() {
    let Some([bytes]) =
        files("one_as_of_a_routing_table_is_what_the_whole_table_gives_it", ["mrt/pyasn/ipasn6_20151101.dat.gz"])
    else {
        return;
    };
    let whole = all(&bytes).parsed.prefixes;
    let wanted: BTreeSet<Asn> = [15169, 32934, 2906, 3356].into();
    let some = read_asn_table(&bytes, &Wanted::Only(wanted.clone())).unwrap();
    assert_eq!(some.rows, 633_831);
    let kept = Prefixes {
        v4: whole.v4.into_iter().filter(|row| wanted.contains(&row.asn)).collect(),
        v6: whole.v6.into_iter().filter(|row| wanted.contains(&row.asn)).collect(),
    };
    assert!(kept.v4.len() > 100 && kept.v6.len() > 10);
    assert_eq!(some.parsed.prefixes, kept);
}

#[test]
fn one_table_in_every_form_is_one_table() {
    let Some([document, small]) =
        files("one_table_in_every_form_is_one_table", ["mmdb/GeoLite2-ASN-Test.json", "asn/asn-small.csv"])
    else {
        return;
    };
    let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    let mut geolite = "network,autonomous_system_number,autonomous_system_organization\n".to_owned();
    let mut ipinfo = "network,country,country_code,continent,continent_code,asn,as_name,as_domain\n".to_owned();
    let (mut expected, mut names) = (Prefixes::default(), BTreeMap::<Asn, String>::new());
    for (net, record) in document.as_array().unwrap().iter().flat_map(|entry| entry.as_object().unwrap()) {
        let asn = record["autonomous_system_number"].as_u64().unwrap().try_into().unwrap();
        let name = record.get("autonomous_system_organization").map_or("", |name| name.as_str().unwrap());
        expected.push_net(net.parse().unwrap(), asn);
        if !name.is_empty() {
            names.entry(asn).or_insert_with(|| name.to_owned());
        }
        let quoted =
            if name.contains([',', '"', ' ']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.into() };
        writeln!(geolite, "{net},{asn},{quoted}").unwrap();
        let network = if net.contains('.') { net.trim_end_matches("/32") } else { net };
        writeln!(ipinfo, "{network},\"Nowhere, Republic of\",ZZ,Europe,EU,AS{asn},{quoted},example.com").unwrap();
    }
    assert_eq!((expected.v4.len(), expected.v6.len()), (490, 230));
    assert!(geolite.contains("/32,") && !ipinfo.contains("/32,\"Nowhere"), "single addresses are among them");
    for text in [&geolite, &geolite.replace('\n', "\r\n"), &ipinfo] {
        let table = all(text.as_bytes());
        assert_eq!((table.parsed.prefixes, table.rows), (expected.clone(), 720));
        assert_eq!((&table.organisations, table.parsed.warnings.len()), (&names, 0));
    }

    // The rows of a table of ranges, written as networks.
    let ranges = all(&small);
    let mut text = geolite.lines().next().unwrap().to_owned() + "\n";
    let mut jsonl = String::new();
    let Prefixes { v4, v6 } = &ranges.parsed.prefixes;
    let v4 = v4.iter().flat_map(|row| u32::cidrs(row.first, row.last).into_iter().map(|net| (net, row.asn)));
    let v6 = v6.iter().flat_map(|row| u128::cidrs(row.first, row.last).into_iter().map(|net| (net, row.asn)));
    for (net, asn) in v4.chain(v6) {
        writeln!(text, "{net},{asn},\"{}\"", ranges.organisations[&asn]).unwrap();
        writeln!(jsonl, "{{\"CIDR\":\"{net}\",\"ASN\":{asn},\"Hits\":1000}}").unwrap();
    }
    let table = all(text.as_bytes());
    assert_same_origins(&table.parsed.prefixes, &ranges.parsed.prefixes);
    assert_eq!(table.organisations, ranges.organisations);
    // No two of these eight ASes share an address, so longest match changes nothing.
    assert_same_origins(&all(jsonl.as_bytes()).parsed.prefixes, &ranges.parsed.prefixes);
    // And as VRPs, where nothing is matched.
    let roas: Vec<_> = jsonl.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect();
    let roas: Vec<_> = roas.iter().map(|row| serde_json::json!({ "asn": row["ASN"], "prefix": row["CIDR"] })).collect();
    let vrps = read_vrps(serde_json::json!({ "roas": roas }).to_string().as_bytes()).unwrap();
    assert_same_origins(&vrps, &ranges.parsed.prefixes);
}
