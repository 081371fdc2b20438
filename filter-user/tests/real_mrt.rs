//! MRT dumps of real collectors and of four BGP daemons, against an independent walk over their records, bgpdump,
//! bgpkit-parser and the tables that pyasn made of them. Downloads nothing.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod dumps;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use bgpkit_parser::models::{AsPath, AsPathSegment};
use ipnet::IpNet;
use weir::prefix::Asn;
use weir::source::mrt::{self, Contents, MrtError};
use weir::source::{Wanted, read_asn_table};

use dumps::{SLICES, files, skip, unpacked};

type Routes = BTreeSet<(IpNet, Asn)>;

fn routes(bytes: &[u8]) -> Result<(Routes, Contents), MrtError> {
    let mut found = Routes::new();
    let contents = mrt::routes(bytes, |net, asn| {
        found.insert((net, asn));
    })?;
    Ok((found, contents))
}

/// A dump of the set, with what the README says of it.
struct Dump {
    file: String,
    bytes: Vec<u8>,
    /// How many records there are of each type and subtype.
    records: BTreeMap<(u16, u16), u64>,
    /// Whether the stream is cut.
    cut: bool,
}

/// Every dump that the README lists.
fn dumps(test: &str) -> Option<Vec<Dump>> {
    let [readme] = files(test, ["README.md"])?;
    let readme = String::from_utf8(readme).unwrap();
    let rows: Vec<_> = readme.lines().filter(|row| row.starts_with("| ") && row.contains(" records (")).collect();
    assert_eq!(rows.len(), 16);
    let dump = |row: &str| {
        let file = row.split('|').nth(1).unwrap().trim();
        let (kinds, rest) = row.split_once(" records (").unwrap().1.split_once(')').unwrap();
        let kinds = kinds.split(", ").map(|kind| {
            let (kind, count) = kind.split_once(": ").unwrap();
            let (name, subtype) = kind.split_once('/').unwrap();
            let kind = match name {
                "TABLE_DUMP" => 12,
                "TABLE_DUMP_V2" => 13,
                "BGP4MP" => 16,
                other => panic!("{other}"),
            };
            ((kind, subtype.parse().unwrap()), count.parse().unwrap())
        });
        let [bytes] = files(test, [file])?;
        let cut = rest.contains("compressed stream cut; last record cut");
        Some(Dump { file: file.to_owned(), bytes, records: kinds.collect(), cut })
    };
    rows.into_iter().map(dump).collect()
}

#[test]
fn every_real_dump_has_the_records_that_an_independent_walk_counted() {
    let Some(dumps) = dumps("every_real_dump_has_the_records_that_an_independent_walk_counted") else { return };
    for Dump { file, bytes, records, cut } in dumps {
        let (_, contents) = routes(&bytes).unwrap();
        assert_eq!(contents.records, records, "{file}");
        let records: u64 = records.values().sum();
        let stream = format!("the bzip2 stream is cut after record {records}");
        assert_eq!(contents.cut, cut.then_some(stream), "{file}");
        let (_, plain) = routes(&unpacked(&bytes)).unwrap();
        let inside = format!("the dump ends inside record {}", records + 1);
        assert_eq!(plain, Contents { cut: cut.then_some(inside), ..contents }, "{file}, unpacked");
    }
}

#[test]
fn tables_are_read_and_messages_refused_by_name() {
    let Some(dumps) = dumps("tables_are_read_and_messages_refused_by_name") else { return };
    for Dump { file, bytes, records, cut } in dumps {
        let table = read_asn_table(&bytes, &Wanted::All);
        if records.keys().all(|&(kind, _)| kind == 16) {
            let expected =
                format!("MRT dump holds {} BGP messages and no routing table; ", records.values().sum::<u64>());
            let message = table.unwrap_err().to_string();
            assert!(message.starts_with(&expected), "{file}: {message}");
            continue;
        }
        let table = table.unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(table.rows > 0 && !table.parsed.prefixes.is_empty(), "{file}");
        assert_eq!(table.parsed.cut.is_some(), cut, "{file}");
        let texts: Vec<_> = table.parsed.warnings.iter().map(|warning| warning.text.as_str()).collect();
        println!("{file}: {} rows, {texts:?}", table.rows);
    }
}

/// The routes in the lines of `bgpdump -m`, by the same rules: no default routes, sets, or ASes that no network has.
fn in_lines(lines: &str) -> Routes {
    let route = |line: &str| {
        let fields: Vec<_> = line.split('|').collect();
        // With additional paths, a path identifier stands between prefix and path.
        let path = fields[if fields[0].ends_with("_AP") { 7 } else { 6 }];
        let net: IpNet = fields[5].parse().unwrap();
        // Sets stand in braces and confederations in parentheses, so they are no numbers.
        let origin = path.split(' ').next_back()?.parse().ok()?;
        (net.prefix_len() > 0 && origin != 0 && origin != 23456).then_some((net, origin))
    };
    lines.lines().filter_map(route).collect()
}

/// What `bgpdump -m` says of an unpacked dump; `None` where the program is absent.
fn bgpdump(unpacked: &[u8]) -> Option<String> {
    let mut command = Command::new("bgpdump");
    let command = command.args(["-m", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => panic!("bgpdump: {error}"),
    };
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut lines = String::new();
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(unpacked).unwrap());
        stdout.read_to_string(&mut lines).unwrap();
    });
    child.wait().unwrap();
    Some(lines)
}

#[test]
fn bgpdump_finds_the_same_routes_in_every_real_table() {
    const TEST: &str = "bgpdump_finds_the_same_routes_in_every_real_table";
    let Some(dumps) = dumps(TEST) else { return };
    let mut compared = 0;
    for Dump { file, bytes, records, .. } in dumps {
        // bgpdump says nothing of a table without its list of peers.
        let whole = records.keys().any(|kind| matches!(kind, (12, _) | (13, 1)));
        if !whole {
            continue;
        }
        let Some(lines) = bgpdump(&unpacked(&bytes)) else { return skip(TEST, "no bgpdump") };
        let (found, contents) = routes(&bytes).unwrap();
        let expected = in_lines(&lines);
        let extra: Vec<_> = found.difference(&expected).take(5).collect();
        let missing: Vec<_> = expected.difference(&found).take(5).collect();
        assert!(extra.is_empty() && missing.is_empty(), "{file}: only weir {extra:?}, only bgpdump {missing:?}");
        println!("{file}: {} routes of {} lines, {} rows", found.len(), lines.lines().count(), contents.rows);
        compared += 1;
    }
    assert_eq!(compared, 8);
}

/// The `prefix<TAB>asn` rows of pyasn.
fn pyasn(bytes: &[u8]) -> BTreeMap<IpNet, Asn> {
    let text = String::from_utf8(unpacked(bytes)).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with(';')).map(|line| line.split_once('\t').unwrap());
    rows.map(|(net, asn)| (net.parse().unwrap(), asn.parse().unwrap())).collect()
}

/// How the routes of a dump and the rows of pyasn's table go together. pyasn takes the first route of each record only.
#[derive(Debug, Default, PartialEq, Eq)]
struct Comparison {
    same: u64,
    /// pyasn names one of several origins.
    one_of_several: u64,
    /// pyasn picks one AS of an `AS_SET`, where weir names no origin or that of other routes.
    of_a_set: u64,
    /// The origin is an AS for private use (RFC 6996), and pyasn names one before it on the path: its source strips such.
    before_private: u64,
    /// The same prefix from another AS.
    other: u64,
    /// The prefix is not in pyasn's table.
    absent: u64,
}

/// Also returns how often each pair of different origins occurs.
fn compare(bytes: &[u8], table: &[u8]) -> (Comparison, BTreeMap<(Asn, Vec<Asn>), u64>) {
    let table = pyasn(table);
    let mut origins: BTreeMap<IpNet, BTreeSet<Asn>> = BTreeMap::new();
    for (net, asn) in routes(bytes).unwrap().0 {
        origins.entry(net).or_default().insert(asn);
    }
    let mut paths: BTreeMap<IpNet, Vec<AsPath>> = BTreeMap::new();
    for (net, path) in dumps::records(&unpacked(bytes)).into_iter().flat_map(|record| dumps::routes(record).unwrap()) {
        paths.entry(net).or_default().extend(path);
    }
    let (mut comparison, mut others) = (Comparison::default(), BTreeMap::new());
    for (net, paths) in paths.iter().filter(|(net, _)| net.prefix_len() > 0) {
        let own = origins.remove(net).unwrap_or_default();
        let on_path =
            |asn: Asn| paths.iter().any(|path| path.to_u32_vec_opt(false).is_some_and(|path| path.contains(&asn)));
        let in_set = |asn: Asn| {
            let last = paths.iter().filter_map(|path| path.segments.last());
            last.into_iter().any(|last| matches!(last, AsPathSegment::AsSet(set) if set.iter().any(|&of| of == asn)))
        };
        let Some(&asn) = table.get(net) else {
            comparison.absent += u64::from(!own.is_empty());
            continue;
        };
        *match asn {
            asn if own.len() == 1 && own.contains(&asn) => &mut comparison.same,
            asn if own.contains(&asn) => &mut comparison.one_of_several,
            asn if in_set(asn) => &mut comparison.of_a_set,
            asn if own.iter().all(|own| (64512..=65534).contains(own)) && on_path(asn) => {
                &mut comparison.before_private
            }
            asn => {
                *others.entry((asn, own.into_iter().collect())).or_default() += 1;
                &mut comparison.other
            }
        } += 1;
    }
    assert!(origins.is_empty(), "prefixes that bgpkit-parser does not find: {origins:?}");
    (comparison, others)
}

#[test]
fn ten_days_later_routes_have_the_origins_that_pyasn_found_but_for_those_that_moved() {
    let test = "ten_days_later_routes_have_the_origins_that_pyasn_found_but_for_those_that_moved";
    let Some([dump, table]) = files(test, [SLICES[0], "pyasn/ipasn_20140513.dat.gz"]) else { return };
    let (comparison, others) = compare(&dump, &table);
    println!("{comparison:?}\nother origins (pyasn's, weir's): {others:?}");
    let expected =
        Comparison { same: 8837, one_of_several: 62, of_a_set: 3, before_private: 0, other: 17, absent: 152 };
    assert_eq!(comparison, expected);
    // Neighbours in address space moved together, as customers do; no pair explains most of the differences.
    assert_eq!(others.values().max(), Some(&4));
}

#[test]
fn the_routes_of_another_collector_at_the_same_time_have_the_origins_that_pyasn_found() {
    let test = "the_routes_of_another_collector_at_the_same_time_have_the_origins_that_pyasn_found";
    let Some([dump, table]) = files(test, [SLICES[1], "pyasn/ipasn6_20151101.dat.gz"]) else { return };
    // The table says what it was made from: a dump by another name, so of other peers.
    assert!(
        unpacked(&table).starts_with(b"; IP-ASN32-DAT file\n; Original file : Downloads/rib_v6v4.20151101.0600.bz2\n")
    );
    let (comparison, others) = compare(&dump, &table);
    println!("{comparison:?}\nother origins (pyasn's, weir's): {others:?}");
    let expected =
        Comparison { same: 6262, one_of_several: 67, of_a_set: 8, before_private: 8, other: 320, absent: 205 };
    assert_eq!(comparison, expected);
    // GTT's peer announces nLayer's links, which it had bought, as its own.
    assert_eq!(others.get(&(4436, vec![3257])), Some(&306));
    // The name servers of .com, announced from many ASes, each seen from other peers.
    let com = others.iter().filter(|((asn, own), _)| own.iter().chain([asn]).all(|asn| (36616..=36632).contains(asn)));
    assert_eq!(com.map(|(_, count)| count).sum::<u64>(), 10);
}

/// Small numbers that look random, the same in every run (xorshift64, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

#[test]
fn damaged_real_records_give_an_error_or_the_routes_that_bgpkit_parser_finds() {
    let test = "damaged_real_records_give_an_error_or_the_routes_that_bgpkit_parser_finds";
    let paths = [
        SLICES[0],
        SLICES[1],
        SLICES[2],
        "mrtparse/bird-mrtdump_rib.mrt",
        "mrtparse/bird6-mrtdump_rib.mrt",
        "mrtparse/openbgpd_rib_table.mrt",
        "mrtparse/openbgpd_rib_table-v2.mrt",
        "mrtparse/quagga_rib.mrt",
    ];
    let Some(files) = files(test, paths) else { return };
    // A few hundred of each format, so that one does not outweigh the others.
    let records: Vec<Vec<u8>> = files
        .iter()
        .flat_map(|file| {
            let mut records = dumps::records(&unpacked(file));
            // Not the lists of peers, which weir does not look into, nor other families, which bgpkit-parser refuses.
            records.retain(|record| match record.header_bytes[5..8] {
                [12, ..] => true,
                [_, _, subtype] => matches!(subtype, 2 | 4 | 8 | 10),
                _ => false,
            });
            let step = records.len().div_ceil(300);
            records.into_iter().step_by(step).map(|record| record.raw_bytes().to_vec()).collect::<Vec<_>>()
        })
        .collect();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (mut accepted, mut refused, mut lost) = (0, 0, 0);
    for _ in 0..200_000 {
        let mut bytes = records[dice.below(records.len())].clone();
        for _ in 0..=dice.below(3) {
            // Half of the damage to the heads, where the lengths are. The header itself is left alone: bgpkit-parser
            // would read another format.
            let end = if dice.below(2) == 0 { bytes.len().min(100) } else { bytes.len() };
            let at = 12 + dice.below(end - 12);
            bytes[at] = [0, 255, bytes[at] ^ 1 << dice.below(8), u8::try_from(dice.below(256)).unwrap()][dice.below(4)];
        }
        // None where its length does not fit: an old format had another, which bgpkit-parser goes by.
        let record = dumps::records(&bytes).pop();
        let oracle = record.and_then(|record| dumps::routes(record).ok()).map(|routes| {
            let routes = routes.iter().filter(|(net, _)| net.prefix_len() > 0);
            routes.filter_map(|(net, path)| Some((*net, dumps::origin(path.as_ref())?))).collect::<Routes>()
        });
        match (routes(&bytes), oracle) {
            (Ok((found, _)), Some(expected)) => {
                assert_eq!(found, expected, "{bytes:02x?}");
                accepted += 1;
            }
            (Ok(_), None) => panic!("bgpkit-parser refuses {bytes:02x?}"),
            (Err(_), Some(_)) => lost += 1,
            (Err(_), None) => refused += 1,
        }
    }
    println!("{accepted} accepted, {refused} refused by both, {lost} refused by weir only");
    assert!(accepted > 100_000 && refused > 5000 && lost > 50_000, "{accepted} {refused} {lost}");
}
