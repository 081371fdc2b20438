//! The list formats against real files and what is known about them. Changes and fetches nothing: the files are in
//! the directory named by `WEIR_DATA`, or in `shared/data` beside the workspace; without them a test counts as skipped.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use ipnet::IpNet;
use weir::catalog;
use weir::prefix::{Address, AddressSet, Asn, Listed, Prefixes};
use weir::source::{AsnTable, Parsed, Wanted, read_asn_table, read_list};

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

fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}

/// How many CIDRs the rows are, each row expanded by itself.
fn cidrs<A: Address>(rows: &[Listed<A>]) -> usize {
    rows.iter().map(|row| A::cidrs(row.first, row.last).len()).sum()
}

fn set<'a, A: Address>(rows: impl IntoIterator<Item = &'a Listed<A>>) -> AddressSet<A> {
    rows.into_iter().map(|row| (row.first, row.last)).collect()
}

/// What each AS originates: the form in which two descriptions of the same table are equal.
fn by_asn<A: Address>(rows: &[Listed<A>]) -> BTreeMap<Asn, AddressSet<A>> {
    let asns: BTreeSet<_> = rows.iter().map(|row| row.asn).collect();
    asns.into_iter().map(|asn| (asn, set(rows.iter().filter(|row| row.asn == asn)))).collect()
}

/// The prefixes of a JSON array, with the AS they belong to.
fn push_nets(prefixes: &mut Prefixes, array: &serde_json::Value, asn: Asn) {
    for net in array.as_array().unwrap() {
        prefixes.push_net(net.as_str().unwrap().parse().unwrap(), asn);
    }
}

#[test]
fn the_whole_internets_tables_are_read_to_the_last_row() {
    let Some([v4, v6]) =
        files("the_whole_internets_tables_are_read_to_the_last_row", ["asn/asn-ipv4.csv.gz", "asn/asn-ipv6.csv.gz"])
    else {
        return;
    };
    let table = read_asn_table(&v4, &Wanted::All).unwrap();
    let prefixes = &table.parsed.prefixes;
    assert_eq!((table.rows, prefixes.v4.len(), prefixes.v6.len()), (411_961, 411_961, 0));
    assert_eq!(cidrs(&prefixes.v4), 564_580);
    assert_eq!(table.organisations.get(&13335).map(String::as_str), Some("Cloudflare, Inc."));
    let table = read_asn_table(&v6, &Wanted::All).unwrap();
    let prefixes = &table.parsed.prefixes;
    assert_eq!((table.rows, prefixes.v4.len(), prefixes.v6.len()), (103_197, 0, 103_197));
    assert_eq!(cidrs(&prefixes.v6), 167_903);
}

#[test]
fn the_rows_of_one_as_are_found_in_the_whole_table() {
    let Some([v4, small]) =
        files("the_rows_of_one_as_are_found_in_the_whole_table", ["asn/asn-ipv4.csv.gz", "asn/asn-small.csv"])
    else {
        return;
    };
    let wanted = Wanted::Only([11983, 138_699, 396_986].into());
    let (whole, small) = (read_asn_table(&v4, &wanted).unwrap(), read_asn_table(&small, &wanted).unwrap());
    assert_eq!((whole.rows, small.rows), (411_961, 246));
    assert_eq!(by_asn(&whole.parsed.prefixes.v4), by_asn(&small.parsed.prefixes.v4));
    assert_eq!(whole.organisations, small.organisations);
    assert_eq!(whole.organisations.len(), 3);
}

/// AS, IPv4 rows, CIDRs and addresses, IPv6 rows, CIDRs and addresses; computed with Python's ipaddress.
const SMALL: &[(Asn, usize, usize, u128, usize, usize, u128)] = &[
    (2906, 23, 44, 155_392, 37, 94, 84_112_222_825_507_439_459_356_901_376),
    (11983, 25, 27, 41_216, 19, 21, 333_663_526_213_637_652_218_904_576),
    (13414, 12, 13, 41_728, 3, 3, 14_855_280_471_424_563_298_789_490_688),
    (32590, 15, 21, 17_664, 6, 6, 623_805_722_921_148_654_148_386_816),
    (46489, 10, 10, 72_704, 6, 11, 143_291_559_547_282_766_819_573_628_928),
    (62041, 4, 6, 9_472, 1, 1, 1_208_925_819_614_629_174_706_176),
    (138_699, 7, 9, 5_888, 1, 1, 79_228_162_514_264_337_593_543_950_336),
    (396_986, 42, 93, 76_288, 35, 75, 4_956_595_860_419_979_616_295_321_600),
];

#[test]
fn each_as_of_the_small_table_has_its_rows_cidrs_and_addresses() {
    let Some([small]) = files("each_as_of_the_small_table_has_its_rows_cidrs_and_addresses", ["asn/asn-small.csv"])
    else {
        return;
    };
    for &(asn, rows_v4, cidrs_v4, addresses_v4, rows_v6, cidrs_v6, addresses_v6) in SMALL {
        let Prefixes { v4, v6 } = read_asn_table(&small, &Wanted::Only([asn].into())).unwrap().parsed.prefixes;
        assert_eq!((v4.len(), cidrs(&v4), set(&v4).addresses()), (rows_v4, cidrs_v4, addresses_v4), "AS{asn} v4");
        assert_eq!((v6.len(), cidrs(&v6), set(&v6).addresses()), (rows_v6, cidrs_v6, addresses_v6), "AS{asn} v6");
    }
    assert_eq!(read_asn_table(&small, &Wanted::All).unwrap().organisations.len(), SMALL.len());
}

#[test]
fn netsets_hold_what_their_header_counts() {
    let paths = [
        "lists/firehol/firehol_level1.netset",
        "lists/firehol/firehol_level1.2021-06.netset",
        "lists/firehol/firehol_webclient.netset",
        "lists/firehol/spamhaus_drop.netset",
        "lists/firehol/dshield_30d.netset",
        "lists/firehol/et_block.netset",
        "lists/firehol/feodo.ipset",
    ];
    let Some(contents) = files("netsets_hold_what_their_header_counts", paths) else { return };
    for (path, bytes) in paths.iter().zip(&contents) {
        // "# Entries         : 2744 subnets, 619265499 unique IPs"; a list of single addresses has no subnets.
        let text = std::str::from_utf8(bytes).unwrap();
        let header = text.lines().find(|line| line.starts_with("# Entries")).unwrap();
        let counts: Vec<u128> = header.split(' ').filter_map(|word| word.parse().ok()).collect();
        let Parsed { prefixes, warnings, .. } = read_list(bytes).unwrap();
        assert_eq!(set(&prefixes.v4).addresses(), *counts.last().unwrap(), "{path}: unique IPs");
        assert_eq!(prefixes.v4.len() as u128, *counts.first().unwrap(), "{path}: entries");
        assert_eq!((prefixes.v6.len(), warnings.len()), (0, 0), "{path}");
    }
}

#[test]
fn the_old_text_form_of_spamhaus_drop_is_read() {
    let Some([v6]) = files("the_old_text_form_of_spamhaus_drop_is_read", ["lists/spamhaus/dropv6.2018-11-01.txt"])
    else {
        return;
    };
    let parsed = read_list(&v6).unwrap();
    assert_eq!((parsed.prefixes.v4.len(), parsed.prefixes.v6.len(), parsed.warnings.len()), (0, 56, 0));
}

#[test]
fn lists_with_crlf_line_ends_are_read() {
    let Some([v4, v6, asns]) = files(
        "lists_with_crlf_line_ends_are_read",
        ["lists/m4jx-tiktok/ipv4s", "lists/m4jx-tiktok/ipv6s", "lists/m4jx-tiktok/asns"],
    ) else {
        return;
    };
    let entries = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).unwrap();
        text.split("\r\n").filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count()
    };
    let parsed = read_list(&v4).unwrap();
    assert_eq!((parsed.prefixes.v4.len(), parsed.warnings.len()), (entries(&v4), 0));
    assert!(set(&parsed.prefixes.v4).contains(0x4712_f800) && entries(&v4) > 30);
    let parsed = read_list(&v6).unwrap();
    assert_eq!((parsed.prefixes.v6.len(), parsed.warnings.len()), (entries(&v6), 0));
    let error = read_list(&asns).unwrap_err().to_string();
    assert_eq!(error, "line 7: \"AS138699\" is an AS number; write it in a rule's `asns`");
}

#[test]
fn lists_of_host_names_are_refused() {
    let paths = [
        ("lists/v2fly/tiktok", "line 1: \"bytedapm.com @!cn\" names a host"),
        ("lists/m4jx-tiktok/hosts", "line 8: \"0.0.0.0 abtest-sg-tiktok.byteoversea.com\" names a host"),
        ("lists/stevenblack/StevenBlack.hosts", "line 5: \"0.0.0.0 ck.getcookiestxt.com\" names a host"),
        ("lists/stevenblack/add.2o7Net.hosts", "\" names a host"),
        ("lists/v2fly/bytedance", "is not an entry"),
        ("lists/adguard/tiktok.yml", "is not an entry"),
    ];
    let Some(contents) = files("lists_of_host_names_are_refused", paths.map(|(path, _)| path)) else { return };
    for ((path, expected), bytes) in paths.iter().zip(&contents) {
        let error = read_list(bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
        assert!(read_asn_table(bytes, &Wanted::All).is_err(), "{path}");
    }
}

/// The prefixes of an ipverse `aggregated.json`.
fn ipverse(bytes: &[u8]) -> Prefixes {
    let document = json(bytes);
    let asn = document["asn"].as_u64().unwrap().try_into().unwrap();
    let mut prefixes = Prefixes::default();
    push_nets(&mut prefixes, &document["prefixes"]["ipv4"], asn);
    push_nets(&mut prefixes, &document["prefixes"]["ipv6"], asn);
    prefixes
}

#[test]
fn the_embedded_snapshot_equals_the_publishers_files() {
    let Some(contents) = files(
        "the_embedded_snapshot_equals_the_publishers_files",
        [
            "lists/ipverse/11983.aggregated.json",
            "lists/ipverse/138699.aggregated.json",
            "lists/ipverse/396986.aggregated.json",
        ],
    ) else {
        return;
    };
    let mut expected = Prefixes::default();
    for bytes in &contents {
        expected.append(ipverse(bytes));
    }
    let embedded = read_asn_table(catalog::embedded_table(), &Wanted::All).unwrap().parsed.prefixes;
    assert_eq!(by_asn(&embedded.v4), by_asn(&expected.v4));
    assert_eq!(by_asn(&embedded.v6), by_asn(&expected.v6));
}

#[test]
fn a_text_list_of_an_as_equals_its_json_form() {
    let Some([text, document]) = files(
        "a_text_list_of_an_as_equals_its_json_form",
        ["lists/ipverse/11983.ipv4-aggregated.txt", "lists/ipverse/11983.aggregated.json"],
    ) else {
        return;
    };
    let parsed = read_list(&text).unwrap();
    assert_eq!(parsed.prefixes.v4.len(), 31);
    assert_eq!(set(&parsed.prefixes.v4), set(&ipverse(&document).v4));
}

#[test]
fn a_maxmind_database_equals_the_json_it_was_made_from() {
    let Some([database, document]) = files(
        "a_maxmind_database_equals_the_json_it_was_made_from",
        ["mmdb/GeoLite2-ASN-Test.mmdb", "mmdb/GeoLite2-ASN-Test.json"],
    ) else {
        return;
    };
    let AsnTable { parsed, organisations, rows } = read_asn_table(&database, &Wanted::All).unwrap();
    assert_eq!((rows, parsed.prefixes.v4.len(), parsed.prefixes.v6.len()), (412, 182, 230));
    let (mut expected, mut names) = (Prefixes::default(), BTreeMap::<Asn, BTreeSet<String>>::new());
    let document = json(&document);
    for (net, record) in document.as_array().unwrap().iter().flat_map(|entry| entry.as_object().unwrap()) {
        let asn = record["autonomous_system_number"].as_u64().unwrap().try_into().unwrap();
        expected.push_net(net.parse::<IpNet>().unwrap(), asn);
        if let Some(name) = record.get("autonomous_system_organization") {
            names.entry(asn).or_default().insert(name.as_str().unwrap().to_owned());
        }
    }
    // The writer merged neighbours with equal records: compare after merging on both sides.
    assert_eq!((expected.v4.len(), expected.v6.len()), (490, 230));
    assert_eq!(by_asn(&parsed.prefixes.v4), by_asn(&expected.v4));
    assert_eq!(by_asn(&parsed.prefixes.v6), by_asn(&expected.v6));
    assert!(organisations.keys().eq(names.keys()));
    assert!(organisations.iter().all(|(asn, name)| names[asn].contains(name)));
    let error = read_list(&database).unwrap_err().to_string();
    assert_eq!(error, "is a MaxMind database, not a list; name it under [asn] tables and its AS numbers in a rule");
}

#[test]
fn databases_without_asns_are_refused_by_type() {
    let paths = [
        "mmdb/MaxMind-DB-test-ipv4-24.mmdb",
        "mmdb/MaxMind-DB-test-ipv6-32.mmdb",
        "mmdb/MaxMind-DB-test-mixed-28.mmdb",
    ];
    let Some(contents) = files("databases_without_asns_are_refused_by_type", paths) else { return };
    for (path, bytes) in paths.iter().zip(&contents) {
        let error = read_asn_table(bytes, &Wanted::All).unwrap_err().to_string();
        assert_eq!(
            error, "MaxMind database of type \"Test\" has no ASN field; use an ASN database such as GeoLite2-ASN",
            "{path}"
        );
    }
}

#[test]
fn a_table_or_database_cut_short_is_refused() {
    let Some([table, database]) =
        files("a_table_or_database_cut_short_is_refused", ["asn/asn-ipv6.csv.gz", "mmdb/GeoLite2-ASN-Test.mmdb"])
    else {
        return;
    };
    let error = read_asn_table(&table[..table.len() / 2], &Wanted::All).unwrap_err().to_string();
    assert_eq!(error, "gzip file is truncated; download it again");
    // The metadata stands at the end, so a database cut short is no database at all.
    let error = read_asn_table(&database[..database.len() / 2], &Wanted::All).unwrap_err().to_string();
    assert!(error.starts_with("line 1: "), "{error}");
    let hole = [&database[..4000], &database[8000..]].concat();
    let error = read_asn_table(&hole, &Wanted::All).unwrap_err().to_string();
    assert!(error.starts_with("MaxMind database "), "{error}");
}
