//! MRT dumps of BGP routing tables, as collectors publish them, to what each AS originates. Never unpacks a dump whole.
//!
//! Read are `TABLE_DUMP` and the IPv4 and IPv6 unicast records of `TABLE_DUMP_V2` (RFC 6396, with additional paths as in
//! RFC 8050), plain, gzip- or bzip2-compressed, one record at a time. A prefix that several ASes announce (MOAS) belongs
//! to each, whichever peer of the collector says so. A route's origin is the matter of `as_path`.
//!
//! Memory, whatever the bytes are: the file, one record (at most 16 MiB), 16 MiB to unpack and to count, and for each of
//! at most [`MAX_ROUTES`] routes 36 bytes (IPv4) or 96 (IPv6) while the list of them grows; then what is returned.
//!
//! The walk over the records is weir's own, and bgpkit-parser 0.23 the oracle of its tests, for two reasons. Of a record
//! that is damaged inside, bgpkit-parser returns what it understands and no error: of 193,583 damaged real records that it
//! took, 54,422 break the format (`tests/real_mrt.rs`). It never panicked; but to tell, this walk would have to come first.
//! And a dump of 1,000,000 prefixes and 29.8 million routes (1.7 GB, gzip) took it 10.2 s, or 6.5 s by its iterator of
//! routes, which passes over damage too; this walk takes 1.5 s, of which 1.3 s are to unpack.

use std::collections::BTreeMap;

use ipnet::IpNet;

use self::records::{End, Records, TABLE_DUMP, TABLE_DUMP_V2};
use self::rib::Routes;
use super::announced::Announced;
use super::{AsnTable, Parsed, Wanted, Warning};
use crate::prefix::Asn;

pub use self::as_path::AttributesError;
pub use self::rib::Damage;

mod as_path;
mod records;
mod rib;

/// The longest record, in bytes. A prefix with 65,535 routes of 256 bytes is as long.
pub const MAX_RECORD: u32 = 16 << 20;

/// The most a dump may unpack to, in bytes. A million prefixes with 200 routes each, of 80 bytes, are as much.
pub const MAX_UNPACKED: u64 = 16 << 30;

/// The most routes a dump may hold: six times the whole Internet's table.
pub const MAX_ROUTES: u64 = 8 << 20;

/// Why an MRT dump cannot be used. Records are counted from 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MrtError {
    /// The compressed form is damaged.
    #[error("MRT dump is damaged after record {records} ({reason}); download it again")]
    Unpacking {
        /// The last whole record before the damage.
        records: u64,
        /// What the decompressor says.
        reason: String,
    },
    /// A record of a type that has no place in a dump of BGP.
    #[error("MRT dump is damaged: record {record} is of type {kind}, not of a BGP table; download it again")]
    Type {
        /// Which record.
        record: u64,
        /// The MRT type.
        kind: u16,
    },
    /// A record longer than any can be.
    #[error("MRT dump is damaged: record {record} says it is {length} bytes long; download it again")]
    Length {
        /// Which record.
        record: u64,
        /// What it says.
        length: u32,
    },
    /// A record that breaks the format.
    #[error("MRT dump is damaged: in record {record} {reason}; download it again")]
    Record {
        /// Which record.
        record: u64,
        /// What is wrong with it.
        reason: Damage,
    },
    /// Updates, or a table in a form that RFC 6396 does not know (`BGP4MP_ENTRY`).
    #[error(
        "MRT dump holds {records} BGP messages and no routing table; \
         name a table (rib.* of RouteViews, bview.* of RIPE RIS, table-v2 of OpenBGPD)"
    )]
    Messages {
        /// How many.
        records: u64,
    },
    /// Nothing that names an origin.
    #[error("MRT dump has no route that names its origin AS; download it again")]
    NoRoutes,
    /// More than [`MAX_UNPACKED`].
    #[error("MRT dump unpacks to more than {limit} bytes; check that it is the right file")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// More than [`MAX_ROUTES`].
    #[error("MRT dump holds more than {MAX_ROUTES} routes; check that it is the right file")]
    TooManyRoutes,
}

/// What a dump holds besides the routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// How many records there are of each MRT type and subtype.
    pub records: BTreeMap<(u16, u16), u64>,
    /// Records that name an origin.
    pub rows: u64,
    /// Prefixes with an origin, those of several once with each.
    pub routes: u64,
    /// Routes skipped because their path ends in an `AS_SET`.
    pub sets: u64,
    /// Routes skipped because their path ends in the collector's own AS, which the dump does not name.
    pub own: u64,
    /// Routes skipped because their origin is AS0 (RFC 7607) or 23456 (RFC 6793), which stand for no network.
    pub reserved: u64,
    /// Routes skipped because they are for all addresses: who offers a default route originates nothing.
    pub defaults: u64,
    /// Records skipped because they hold other families, or no routes.
    pub others: u64,
    /// Why the dump is known to end early, as in [`Parsed`].
    pub cut: Option<String>,
}

/// True when `bytes`, unpacked, start with the header of a record that a dump of BGP can start with.
#[must_use]
pub fn is_mrt(bytes: &[u8]) -> bool {
    let mut first = Records::new(bytes, MAX_UNPACKED);
    let Ok(Some(header)) = first.header() else { return false };
    match header.kind {
        TABLE_DUMP => (1..=2).contains(&header.subtype),
        TABLE_DUMP_V2 => (1..=12).contains(&header.subtype),
        _ => header.subtype <= 11,
    }
}

/// Reads what the wanted ASes originate, by longest match over all routes of the dump. `rows` counts the records that
/// name an origin.
///
/// Of a dump that is cut, what came before the cut is returned.
pub fn parse(bytes: &[u8], wanted: &Wanted) -> Result<AsnTable, MrtError> {
    let mut announced = Announced::default();
    let contents = routes(bytes, |net, asn| announced.push(net, asn))?;
    let tables = contents.records.keys().any(|&(kind, _)| matches!(kind, TABLE_DUMP | TABLE_DUMP_V2));
    if !tables && contents.others > 0 {
        return Err(MrtError::Messages { records: contents.others });
    }
    if contents.rows == 0 {
        return Err(MrtError::NoRoutes);
    }
    let skipped = [
        (contents.sets, "routes whose path ends in an AS_SET name no single origin"),
        (contents.own, "routes whose path names no AS are the collector's own"),
        (contents.reserved, "routes from AS0 or AS23456 come from no network"),
        (contents.defaults, "default routes originate nothing"),
        (contents.others, "records without IPv4 or IPv6 unicast routes"),
    ];
    let warnings = skipped.into_iter().filter(|&(count, _)| count > 0);
    Ok(AsnTable {
        parsed: Parsed {
            prefixes: announced.origins(wanted),
            warnings: warnings.map(|(count, of)| Warning { line: 0, text: format!("skipped {count}: {of}") }).collect(),
            declared: None,
            cut: contents.cut,
        },
        organisations: BTreeMap::new(),
        rows: contents.rows,
    })
}

/// Gives each prefix with each of its origins to `each`, in the order of the dump. The records of one prefix follow each
/// other in every dump; what they repeat is given once.
pub fn routes(bytes: &[u8], each: impl FnMut(IpNet, Asn)) -> Result<Contents, MrtError> {
    let mut records = Records::new(bytes, MAX_UNPACKED);
    let mut routes = Routes::new(each);
    let cut = loop {
        match records.next() {
            Ok(Some(header)) => {
                let damaged = |reason| MrtError::Record { record: records.number(), reason };
                routes.record(header, records.body()).map_err(damaged)?;
            }
            Ok(None) => break None,
            Err(End::Cut(why)) => break Some(why),
            Err(End::Error(error)) => return Err(error),
        }
        if routes.found() > MAX_ROUTES {
            break None;
        }
    };
    let contents = routes.finish();
    if contents.routes > MAX_ROUTES { Err(MrtError::TooManyRoutes) } else { Ok(Contents { cut, ..contents }) }
}

#[cfg(test)]
mod tests {
    use super::as_path::AsnSize;
    use super::as_path::tests::{Segment, attribute, segments};
    use super::*;
    use crate::source::{bzip, gzip, read_asn_table, read_list};
    use proptest::prelude::*;

    const AS_PATH: u8 = 2;

    fn record(kind: u16, subtype: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap();
        [&[0x53, 0x7e, 0xf0, 0x60][..], &kind.to_be_bytes(), &subtype.to_be_bytes(), &length.to_be_bytes(), body]
            .concat()
    }

    fn peers() -> Vec<u8> {
        record(13, 1, &[192, 0, 2, 1, 0, 0, 0, 0])
    }

    /// The length of the attributes, and these.
    fn attributes(path: &[Segment<'_>], size: AsnSize) -> Vec<u8> {
        let attributes = [&[0x40, 1, 1, 0][..], &attribute(AS_PATH, &segments(path, size))].concat();
        [&u16::try_from(attributes.len()).unwrap().to_be_bytes()[..], &attributes].concat()
    }

    fn first_bytes(net: IpNet, count: usize) -> Vec<u8> {
        match net {
            IpNet::V4(net) => net.addr().octets()[..count].to_vec(),
            IpNet::V6(net) => net.addr().octets()[..count].to_vec(),
        }
    }

    fn v1(net: &str, path: &[Segment<'_>]) -> Vec<u8> {
        let net: IpNet = net.parse().unwrap();
        let (subtype, bytes) = if matches!(net, IpNet::V4(_)) { (1, 4) } else { (2, 16) };
        let head = [&[0, 0, 0, 9][..], &first_bytes(net, bytes), &[net.prefix_len(), 1, 0, 0, 0, 0]].concat();
        let body = [head, vec![7; bytes + 2], attributes(path, AsnSize::TwoBytes)].concat();
        record(12, subtype, &body)
    }

    fn v2_of(subtype: u16, net: &str, paths: &[&[Segment<'_>]]) -> Vec<u8> {
        let net: IpNet = net.parse().unwrap();
        let bytes = first_bytes(net, usize::from(net.prefix_len()).div_ceil(8));
        let count = u16::try_from(paths.len()).unwrap().to_be_bytes();
        let mut body = [&[0, 0, 0, 9, net.prefix_len()][..], &bytes, &count].concat();
        for path in paths {
            // Peer, time, and from subtype 8 on the path identifier.
            body.extend([0, 0, 0x53, 0x7e, 0xf0, 0x60]);
            body.extend(if subtype >= 8 { &[0, 0, 0, 5][..] } else { &[] });
            body.extend(attributes(path, AsnSize::FourBytes));
        }
        record(13, subtype, &body)
    }

    fn v2(net: &str, origins: &[Asn]) -> Vec<u8> {
        let paths: Vec<_> = origins.iter().map(|&origin| [3356, origin]).collect();
        let paths: Vec<_> = paths.iter().map(|path| [(2, &path[..])]).collect();
        let subtype = if net.contains(':') { 4 } else { 2 };
        v2_of(subtype, net, &paths.iter().map(|path| &path[..]).collect::<Vec<_>>())
    }

    fn all(bytes: &[u8]) -> (Vec<String>, Contents) {
        let mut found = Vec::new();
        let contents = routes(bytes, |net, asn| found.push(format!("{net} AS{asn}"))).unwrap();
        (found, contents)
    }

    /// Three records, the routes of the last two.
    fn dump() -> (Vec<u8>, [&'static str; 3]) {
        let bytes = [peers(), v2("192.0.2.0/24", &[64500]), v2("2001:db8::/32", &[70000, 64501])].concat();
        (bytes, ["192.0.2.0/24 AS64500", "2001:db8::/32 AS64501", "2001:db8::/32 AS70000"])
    }

    #[test]
    fn each_type_of_record_gives_prefix_and_origin() {
        let path: &[Segment<'_>] = &[(2, &[3356, 64500])];
        let bytes = [
            v1("192.0.2.0/24", path),
            v1("2001:db8::/32", path),
            v2_of(2, "198.51.100.128/25", &[path]),
            v2_of(8, "203.0.113.0/24", &[path, path]),
            v2_of(4, "2001:db8:1::/48", &[path]),
            v2_of(10, "2001:db8:2::1/128", &[path]),
        ];
        let (found, contents) = all(&bytes.concat());
        let nets = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.128/25", "203.0.113.0/24", "2001:db8:1::/48"];
        let nets = nets.into_iter().chain(["2001:db8:2::1/128"]);
        assert_eq!(found, nets.map(|net| format!("{net} AS64500")).collect::<Vec<_>>());
        let kinds = [(12, 1), (12, 2), (13, 2), (13, 4), (13, 8), (13, 10)];
        let expected =
            Contents { records: kinds.map(|kind| (kind, 1)).into(), rows: 6, routes: 6, ..Contents::default() };
        assert_eq!(contents, expected);
    }

    #[test]
    fn a_prefix_is_given_once_with_each_of_its_origins() {
        let bytes = [
            v2("192.0.2.0/24", &[2, 1, 2, 2, 3, 1]),
            v1("198.51.100.0/24", &[(2, &[9])]),
            v1("198.51.100.0/24", &[(2, &[8])]),
            v1("198.51.100.0/24", &[(2, &[9])]),
        ];
        let (found, contents) = all(&bytes.concat());
        let expected = ["192.0.2.0/24 AS1", "192.0.2.0/24 AS2", "192.0.2.0/24 AS3"].into_iter();
        assert_eq!(found, expected.chain(["198.51.100.0/24 AS8", "198.51.100.0/24 AS9"]).collect::<Vec<_>>());
        assert_eq!(contents.rows, 4);
    }

    #[test]
    fn bits_behind_the_prefix_are_ignored() {
        let mut bytes = v2("192.0.2.0/20", &[1]);
        bytes[12 + 5 + 2] = 0xff;
        assert_eq!(all(&bytes).0, ["192.0.240.0/20 AS1"]);
    }

    #[test]
    fn the_wanted_ases_get_what_longest_match_sends_them() {
        let bytes = [v2("10.0.0.0/8", &[1]), v2("10.1.0.0/16", &[2]), v2("10.2.0.0/16", &[3, 1])].concat();
        let table = read_asn_table(&gzip::tests::compressed(&bytes), &Wanted::Only([1].into())).unwrap();
        let ranges: Vec<_> = table.parsed.prefixes.v4.iter().map(|range| (range.first, range.last)).collect();
        assert_eq!(ranges, [(0x0a00_0000, 0x0a00_ffff), (0x0a02_0000, 0x0aff_ffff)]);
        assert_eq!((table.rows, table.parsed.warnings.len(), table.parsed.cut), (3, 0, None));
    }

    #[test]
    fn what_is_skipped_is_counted_in_a_warning_of_its_own() {
        let sets: &[Segment<'_>] = &[(2, &[3356]), (1, &[7, 8])];
        let bytes = [
            peers(),
            v2_of(2, "192.0.2.0/24", &[sets, sets, &[]]),
            v2("198.51.100.0/24", &[0, 23456, 5, 0]),
            v2("0.0.0.0/0", &[6]),
            record(13, 6, b"other family"),
            record(16, 4, b"update"),
            record(13, 7, b"places of peers"),
        ]
        .concat();
        let table = parse(&bytes, &Wanted::All).unwrap();
        let warnings: Vec<_> = table.parsed.warnings.iter().map(|warning| warning.text.as_str()).collect();
        assert_eq!(
            warnings,
            [
                "skipped 2: routes whose path ends in an AS_SET name no single origin",
                "skipped 1: routes whose path names no AS are the collector's own",
                "skipped 3: routes from AS0 or AS23456 come from no network",
                "skipped 1: default routes originate nothing",
                "skipped 2: records without IPv4 or IPv6 unicast routes",
            ]
        );
        assert!(table.parsed.warnings.iter().all(|warning| warning.line == 0));
        assert_eq!((table.rows, all(&bytes).0), (1, vec!["198.51.100.0/24 AS5".to_owned()]));
        let [net] = table.parsed.prefixes.v4[..] else { unreachable!("one route") };
        assert_eq!((net.first, net.asn), (0xc633_6400, 5));
    }

    #[test]
    fn a_dump_cut_anywhere_gives_the_records_before_the_cut() {
        let (bytes, expected) = dump();
        let ends: Vec<_> = (0..=bytes.len()).filter(|&end| all(&bytes[..end]).1.cut.is_none()).collect();
        assert_eq!(ends, [0, 20, 20 + 12 + 35, bytes.len()]);
        for length in 0..bytes.len() {
            let (found, contents) = all(&bytes[..length]);
            let whole = ends.iter().filter(|&&end| end <= length).count() - 1;
            let cut = Some(format!("the dump ends inside record {}", whole + 1));
            assert_eq!(contents.cut, cut.filter(|_| !ends.contains(&length)), "{length} bytes");
            assert_eq!(found, expected[..usize::from(whole >= 2)], "{length} bytes");
        }
        assert_eq!((all(&bytes).0, all(&bytes).1.cut), (expected.map(str::to_owned).to_vec(), None));
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_records_before_the_cut() {
        let (bytes, expected) = dump();
        // Streams that end with a record, so that a cut at their border is no cut of a stream.
        let gz = [gzip::tests::compressed(&bytes[..67]), gzip::tests::compressed(&bytes[67..])];
        let bz2 = [bzip::tests::compressed(&bytes[..67]), bzip::tests::compressed(&bytes[67..])];
        for (form, magic, streams) in [("gzip", 2, gz), ("bzip2", 4, bz2)] {
            let (border, whole) = (streams[0].len(), streams.concat());
            for length in (magic..whole.len()).filter(|&length| length != border) {
                let (found, contents) = all(&whole[..length]);
                let records = contents.records.values().sum::<u64>();
                assert_eq!(contents.cut, Some(format!("the {form} stream is cut after record {records}")), "{length}");
                assert!(length < border || records >= 2, "{form}, {length} bytes");
                // The tail of a stream is its checksum, so all records may be there already.
                assert_eq!(found, expected[..[0, 0, 1, 3][records as usize]], "{form}, {length} bytes");
            }
            assert_eq!((all(&whole).0, all(&whole).1.cut), (expected.map(str::to_owned).to_vec(), None));
            assert_eq!(all(&whole[..border]).1.cut, None);
        }
    }

    fn refused(bytes: &[u8]) -> String {
        parse(bytes, &Wanted::All).unwrap_err().to_string()
    }

    #[test]
    fn damage_is_named_with_the_number_of_the_record() {
        let (bytes, _) = dump();
        let with = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            refused(&bytes)
        };
        // The second record: header at 20, prefix length at 36, entries at 40, attributes at 50, their path at 54.
        let of_type = "MRT dump is damaged: record 2 is of type 1037, not of a BGP table; download it again";
        assert_eq!(with(24, 4), of_type);
        let length = "MRT dump is damaged: record 2 says it is 4278190115 bytes long; download it again";
        assert_eq!(with(28, 255), length);
        for (at, value, reason) in [
            (36, 33, "the prefix is longer than an address"),
            (41, 2, "a route reaches past the end"),
            (41, 0, "bytes follow the last route"),
            (49, 99, "a route reaches past the end"),
            (52, 99, "an attribute reaches past the end of its route"),
            (56, 99, "an attribute reaches past the end of its route"),
            (57, 5, "an AS_PATH is malformed"),
            (58, 3, "an AS_PATH is malformed"),
        ] {
            let expected = format!("MRT dump is damaged: in record 2 {reason}; download it again");
            assert_eq!(with(at, value), expected, "{at}");
        }
        for (record, reason) in [
            (v1("192.0.2.0/24", &[]), "bytes follow the last route"),
            (record(12, 2, &[0; 20]), "a route reaches past the end"),
            (record(13, 4, &[0; 4]), "a route reaches past the end"),
        ] {
            let mut record = record;
            if reason.starts_with("bytes") {
                record[11] += 1;
                record.push(0);
            }
            assert_eq!(refused(&record), format!("MRT dump is damaged: in record 1 {reason}; download it again"));
        }
    }

    #[test]
    fn a_damaged_stream_is_named_with_the_record_before() {
        let (bytes, _) = dump();
        let trailing = [gzip::tests::compressed(&bytes), b"<html>not gzip</html>".to_vec()].concat();
        let message = refused(&trailing);
        assert_eq!(message, "MRT dump is damaged after record 3 (invalid gzip header); download it again");
        let mut bz2 = bzip::tests::compressed(&bytes);
        bz2[10] ^= 1;
        assert_eq!(refused(&bz2), "MRT dump is damaged after record 0 (bzip2: invalid data); download it again");
    }

    #[test]
    fn dumps_of_messages_are_refused_by_name() {
        let bytes = [record(16, 5, b"state"), record(16, 4, b"update"), record(17, 4, b"update")].concat();
        let expected = "MRT dump holds 3 BGP messages and no routing table; \
                        name a table (rib.* of RouteViews, bview.* of RIPE RIS, table-v2 of OpenBGPD)";
        assert_eq!(read_asn_table(&bytes, &Wanted::All).unwrap_err().to_string(), expected);
        let nothing = "MRT dump has no route that names its origin AS; download it again";
        assert_eq!(refused(&[peers(), v2("0.0.0.0/0", &[1]), v2("10.0.0.0/8", &[])].concat()), nothing);
    }

    #[test]
    fn dumps_are_told_from_everything_else() {
        let (bytes, _) = dump();
        assert!(is_mrt(&bytes) && is_mrt(&gzip::tests::compressed(&bytes)) && is_mrt(&bzip::tests::compressed(&bytes)));
        let known = |kind, subtype| match kind {
            12 => matches!(subtype, 1 | 2),
            13 => (1..=12).contains(&subtype),
            16 | 17 => subtype <= 11,
            _ => false,
        };
        for (kind, subtype) in (0..20).flat_map(|kind| (0..20).map(move |subtype| (kind, subtype))) {
            assert_eq!(is_mrt(&record(kind, subtype, &[])), known(kind, subtype), "{kind}/{subtype}");
        }
        for length in 0..12 {
            assert!(!is_mrt(&bytes[..length]));
        }
        let mut long = bytes;
        long[8..12].copy_from_slice(&(MAX_RECORD + 1).to_be_bytes());
        assert!(!is_mrt(&long) && !is_mrt(b"1.0.0.0,1.0.0.255,13335,Cloudflare\n"));
        long[8..12].copy_from_slice(&MAX_RECORD.to_be_bytes());
        assert!(is_mrt(&long));
    }

    #[test]
    fn a_dump_is_no_list_and_text_may_be_compressed_either_way() {
        let error = read_list(&gzip::tests::compressed(&dump().0)).unwrap_err().to_string();
        assert_eq!(error, "is an MRT dump, not a list; name it under [asn] tables and its AS numbers in a rule");
        let text = bzip::tests::compressed(b"1.0.0.0,1.0.0.255,13335,Cloudflare\n");
        assert_eq!(read_asn_table(&text, &Wanted::All).unwrap().rows, 1);
        assert_eq!(read_list(&bzip::tests::compressed(b"192.0.2.0/24\n")).unwrap().prefixes.v4.len(), 1);
        let error = read_asn_table(&text[..20], &Wanted::All).unwrap_err().to_string();
        assert_eq!(error, "bzip2 file is truncated; download it again");
    }

    #[test]
    fn more_routes_than_the_limit_are_refused() {
        let origins: Vec<Asn> = (0..u16::MAX.into()).map(|at| 70_000 + at).collect();
        // Two prefixes in turn: the same prefix again would be the same routes.
        let full = ["10.0.0.0/24", "11.0.0.0/24"].map(|net| gzip::tests::compressed(&v2(net, &origins)));
        let records = MAX_ROUTES / u64::from(u16::MAX);
        let mut bytes = Vec::new();
        (0..records).for_each(|at| bytes.extend(&full[at as usize % 2]));
        assert_eq!(routes(&bytes, |_, _| ()).unwrap().routes, records * u64::from(u16::MAX));
        (records..records + 4).for_each(|at| bytes.extend(&full[at as usize % 2]));
        let mut given = 0;
        let message = routes(&bytes, |_, _| given += 1).unwrap_err().to_string();
        // Not all are given: those behind could fill the memory. A record's routes are known once the next one starts.
        assert_eq!(given, (records + 2) * u64::from(u16::MAX));
        assert_eq!(message, "MRT dump holds more than 8388608 routes; check that it is the right file");
    }

    proptest! {
        #[test]
        fn a_damaged_dump_never_panics(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            length in any::<prop::sample::Index>(),
        ) {
            let mut bytes = [dump().0, v1("192.0.2.0/24", &[(2, &[1, 2])]), v1("2001:db8::/32", &[(2, &[3])])].concat();
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(length.index(bytes.len()) + 1);
            let _ = parse(&bytes, &Wanted::All);
            let _ = parse(&gzip::tests::compressed(&bytes), &Wanted::All);
        }

        #[test]
        fn any_bytes_behind_a_header_never_panic(
            kind in 12_u16..18, subtype in 0_u16..13, body in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = parse(&record(kind, subtype, &body), &Wanted::All);
            let _ = parse(&body, &Wanted::All);
        }
    }
}
