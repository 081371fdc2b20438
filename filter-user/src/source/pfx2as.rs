//! Text tables of BGP routes with their origin AS. Never reads a row for its prefix alone: who gets an address is for
//! the longest match over all rows to say.
//!
//! * CAIDA's pfx2as: `prefix<TAB>length<TAB>origin`.
//! * pyasn's `ipasn_*.dat`, APNIC's raw table: `prefix/length<TAB>origin`; comment lines start with `;`.
//!
//! An origin is one AS, several with `_` between them (each announces the prefix), or an AS set `{1,2}` or `1,2`: the
//! members of an aggregate, none of which can be told to be the origin (RFC 6811 section 2). A route of a set belongs to
//! nobody, but still takes its addresses away from the prefix around it.

use super::announced::Announced;
use super::field::{MASKED, NetError, Noted, net, read_asn, read_net};
use super::{AsnTable, Place, Wanted, lines};
use crate::prefix::Asn;

/// Why a table cannot be used, with the row at fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pfx2asError {
    /// Neither two nor three fields.
    #[error(
        "{0} has neither prefix, length, AS nor prefix/length, AS with tabs between; download it again, or take an earlier copy"
    )]
    Fields(Place),
    /// The last field is no origin.
    #[error("{0} has no AS number in its last field; download it again, or take an earlier copy")]
    Origin(Place),
    /// The prefix cannot be read.
    #[error("{0} {1}; download it again, or take an earlier copy")]
    Net(Place, NetError),
}

/// Numbered rows without space around them; blank lines and comments are none.
fn rows(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    lines(bytes)
        .map(|(line, row)| (line, row.trim_ascii()))
        .filter(|(_, row)| !row.starts_with(b";") && !row.starts_with(b"#"))
}

/// A row, its fields not yet read.
struct Row<'a> {
    prefix: &'a [u8],
    /// Where it stands by itself.
    length: Option<&'a [u8]>,
    origin: &'a [u8],
}

impl<'a> Row<'a> {
    fn split(row: &'a [u8]) -> Option<Self> {
        let mut fields = row.split(|&byte| byte == b'\t').map(<[u8]>::trim_ascii);
        match (fields.next()?, fields.next()?, fields.next(), fields.next()) {
            (prefix, origin, None, _) => Some(Self { prefix, length: None, origin }),
            (prefix, length, Some(origin), None) => Some(Self { prefix, length: Some(length), origin }),
            _ => None,
        }
    }
}

/// True when the first row has the shape of a route: tables of ranges have an address or a number second.
pub(super) fn is_pfx2as(bytes: &[u8]) -> bool {
    let first = rows(bytes).next().and_then(|(_, row)| Row::split(row));
    first.is_some_and(|Row { prefix, length, origin }| match length {
        Some(length) => {
            prefix.iter().any(|byte| b".:".contains(byte)) && length.len() <= 3 && length.iter().all(u8::is_ascii_digit)
        }
        None => {
            prefix.contains(&b'/')
                && (read_asn(origin).is_some() || origin.iter().all(|byte| b"0123456789_,{}".contains(byte)))
        }
    })
}

/// Reads the whole table; keeps what the wanted ASes originate.
pub fn parse(bytes: &[u8], wanted: &Wanted) -> Result<AsnTable, Pfx2asError> {
    let (mut table, mut announced) = (AsnTable::default(), Announced::default());
    let (mut masked, mut sets) = (Noted::default(), Noted::default());
    let mut origins = Vec::new();
    for (line, row) in rows(bytes) {
        let place = || Place::new(line, row);
        let Row { prefix, length, origin } = Row::split(row).ok_or_else(|| Pfx2asError::Fields(place()))?;
        let net = match length {
            Some(length) => net(prefix, length),
            None => read_net(prefix),
        };
        let net = net.map_err(|error| Pfx2asError::Net(place(), error))?;
        masked.add_if_masked(line, net);
        let has_set = read_origins(origin, &mut origins).ok_or_else(|| Pfx2asError::Origin(place()))?;
        if has_set {
            sets.add(line, row);
        }
        table.rows += u64::from(origins.iter().any(|&asn| asn != 0));
        for &asn in &origins {
            announced.push(net, asn);
        }
    }
    table.parsed.prefixes = announced.origins(wanted);
    table.parsed.warnings.extend(masked.warning(MASKED));
    table.parsed.warnings.extend(sets.warning("routes of an AS set, which names no single origin, given to no AS"));
    Ok(table)
}

/// Reads the distinct origins, AS0 for a set; returns whether there was one, `None` where a part is no AS number.
fn read_origins(field: &[u8], origins: &mut Vec<Asn>) -> Option<bool> {
    origins.clear();
    let mut has_set = false;
    for origin in field.split(|&byte| byte == b'_') {
        let braced = origin.strip_prefix(b"{").and_then(|members| members.strip_suffix(b"}"));
        if braced.is_some() || origin.contains(&b',') {
            let mut members = braced.unwrap_or(origin).split(|&byte| byte == b',');
            if members.any(|member| read_asn(member).is_none()) {
                return None;
            }
            has_set = true;
            origins.push(0);
        } else {
            origins.push(read_asn(origin)?);
        }
    }
    // A route takes 32 bytes, and `_1` two.
    if origins.len() > 1 {
        origins.sort_unstable();
        origins.dedup();
    }
    Some(has_set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::{Listed, Prefixes};
    use crate::source::Warning;
    use ipnet::IpNet;
    use proptest::prelude::*;
    use std::fmt::Write;

    fn all(text: &str) -> AsnTable {
        parse(text.as_bytes(), &Wanted::All).unwrap()
    }

    fn shown(prefixes: &Prefixes) -> Vec<String> {
        let v4 = prefixes
            .v4
            .iter()
            .map(|row| format!("{}-{} AS{}", row.first.to_be_bytes()[1], row.last.to_be_bytes()[1], row.asn));
        v4.chain(prefixes.v6.iter().map(|row| format!("v6 AS{}", row.asn))).collect()
    }

    #[test]
    fn both_layouts_are_read_and_longest_match_decides() {
        for text in [
            "10.0.0.0\t8\t1\n10.4.0.0\t14\t2\n10.5.0.0\t16\t1\n2001:db8::\t32\t7\n",
            "; IP-ASN32-DAT file\n; Prefixes-v4 : 3\n;\n10.0.0.0/8\t1\n10.4.0.0/14\t2\n10.5.0.0/16\t1\n2001:db8::/32\t7\n",
            "\u{feff}# x\r\n\r\n10.0.0.0/8\tAS1\r\n 10.4.0.0\t14 \t2\r\n10.5.0.0/16\t1\r\n2001:db8::/32\t7",
        ] {
            assert!(is_pfx2as(text.as_bytes()), "{text}");
            let table = all(text);
            assert_eq!(
                shown(&table.parsed.prefixes),
                ["0-3 AS1", "4-4 AS2", "5-5 AS1", "6-7 AS2", "8-255 AS1", "v6 AS7"]
            );
            assert_eq!((table.rows, table.organisations.len(), table.parsed.warnings.len()), (4, 0, 0));
            let one = parse(text.as_bytes(), &Wanted::Only([2].into())).unwrap();
            assert_eq!((shown(&one.parsed.prefixes), one.rows), (vec!["4-4 AS2".to_owned(), "6-7 AS2".to_owned()], 4));
        }
    }

    #[test]
    fn a_prefix_of_several_origins_belongs_to_each_and_one_of_a_set_to_none() {
        let table = all("10.0.0.0\t8\t1\n10.1.0.0\t16\t3_2_3\n10.2.0.0\t16\t{4,5}\n10.3.0.0\t16\t4,5\n\
             10.4.0.0\t16\t6_{4,5}\n10.5.0.0\t16\t0\n10.6.0.0\t16\t{4}\n");
        assert_eq!(shown(&table.parsed.prefixes), ["0-0 AS1", "1-1 AS2", "1-1 AS3", "4-4 AS6", "7-255 AS1"]);
        let text = "routes of an AS set, which names no single origin, given to no AS: 4, the first is \
                    \"10.2.0.0\\t16\\t{4,5}\"";
        assert_eq!((table.parsed.warnings, table.rows), (vec![Warning { line: 3, text: text.to_owned() }], 3));
    }

    #[test]
    fn host_bits_are_cleared_with_one_warning() {
        let table = all("10.0.0.0/8\t1\n11.0.0.1/8\t2\n12.0.0.1/8\t2\n");
        assert_eq!(table.parsed.prefixes.v4[1], Listed { first: 11 << 24, last: (13 << 24) - 1, asn: 2 });
        let text = "prefixes with host bits set, taken without them: 2, the first is \"11.0.0.1/8\"".to_owned();
        assert_eq!(table.parsed.warnings, [Warning { line: 2, text }]);
    }

    #[test]
    fn tables_of_ranges_and_lists_have_another_shape() {
        for text in [
            "1.0.0.0\t1.0.0.255\t13335\tUS\tCLOUDFLARENET\n",
            "16777216\t16777471\t13335\n",
            "1.0.0.0,1.0.0.255,13335\n",
            "10.0.0.0/8\n",
            "10.0.0.0/8\t; SBL1\n",
            "10.0.0.0/8\tprivate\n",
            "",
            "; nothing\n",
            "10.0.0.0 8 1\n",
            "1.0.0.0\t24\t1\tx\n",
            "1\t2\t3\n",
        ] {
            assert!(!is_pfx2as(text.as_bytes()), "{text}");
        }
        assert_eq!(all("; nothing\n"), AsnTable::default());
    }

    #[test]
    fn each_kind_of_bad_row_has_its_own_message() {
        const FIELDS: &str = "has neither prefix, length, AS nor prefix/length, AS with tabs between";
        const ORIGIN: &str = "has no AS number in its last field";
        const NET: &str = "has no prefix such as 192.0.2.0/24 or 2001:db8::/32";
        for (row, expected) in [
            ("10.0.0.0/8", FIELDS),
            ("10.0.0.0\t8\t1\tx", FIELDS),
            ("10.0.0.0 8 1", FIELDS),
            ("10.0.0.0\t8", NET),
            ("10.0.0.0/8\t", FIELDS),
            ("10.0.0.0/8\tx", ORIGIN),
            ("10.0.0.0/8\t1_", ORIGIN),
            ("10.0.0.0/8\t1__2", ORIGIN),
            ("10.0.0.0/8\t{}", ORIGIN),
            ("10.0.0.0/8\t{1,2", ORIGIN),
            ("10.0.0.0/8\t1,", ORIGIN),
            ("10.0.0.0/8\t4294967296", ORIGIN),
            ("10.0.0.0/8\t-1", ORIGIN),
            ("10.0.0/8\t1", NET),
            ("10.0.0.0\t8/8\t1", "has no IPv4 prefix length from 0 to 32"),
            ("10.0.0.0\t33\t1", "has no IPv4 prefix length from 0 to 32"),
            ("2001:db8::/129\t1", "has no IPv6 prefix length from 0 to 128"),
            ("::ffff:0:0/96\t1", "has an IPv4-mapped IPv6 prefix, which no packet carries"),
            ("<html>", FIELDS),
        ] {
            let text = format!("; head\n10.0.0.0/8\t1\n\n{row}\r\n11.0.0.0/8\t2\n");
            let message = parse(text.as_bytes(), &Wanted::Only([9].into())).unwrap_err().to_string();
            let row = row.trim();
            assert_eq!(message, format!("line 4: {row:?} {expected}; download it again, or take an earlier copy"));
        }
    }

    #[test]
    fn a_table_cut_inside_a_row_is_refused_unless_only_its_origin_is_shorter() {
        let text = "10.0.0.0\t8\t123\n2001:db8::/32\t456";
        for length in 0..text.len() {
            let whole = length == 0 || (12..=15).contains(&length) || length > text.len() - 3;
            assert_eq!(parse(&text.as_bytes()[..length], &Wanted::All).is_ok(), whole, "{:?}", &text[..length]);
        }
    }

    proptest! {
        /// Disjoint prefixes, so that the table must come back as it was written.
        #[test]
        fn rows_survive_a_round_trip(
            rows in prop::collection::btree_map(any::<u16>(), (16_u8..=32, 1_u32.., any::<bool>(), any::<bool>()), 1..20),
        ) {
            let (mut text, mut expected) = (String::new(), Prefixes::default());
            for (&high, &(length, asn, v6, three)) in &rows {
                let net: IpNet = if v6 {
                    format!("{high:x}:1::/{length}").parse().unwrap()
                } else {
                    format!("{}.{}.0.0/{length}", high >> 8, high & 0xff).parse().unwrap()
                };
                let net = net.trunc();
                let gap = if three { "\t" } else { "/" };
                writeln!(text, "{}{gap}{}\t{asn}", net.network(), net.prefix_len()).unwrap();
                expected.push_net(net, asn);
            }
            let table = all(&text);
            prop_assert_eq!(table.rows, rows.len() as u64);
            let joined = |prefixes: &Prefixes| {
                let of = |asn| prefixes.v4.iter().filter(move |row| row.asn == asn).map(|row| (row.first, row.last));
                let of6 = |asn| prefixes.v6.iter().filter(move |row| row.asn == asn).map(|row| (row.first, row.last));
                let asns = rows.values().map(|row| row.1);
                asns.map(|asn| (asn, of(asn).collect::<crate::prefix::AddressSet<u32>>(), of6(asn).collect())).collect::<Vec<(Asn, _, crate::prefix::AddressSet<u128>)>>()
            };
            prop_assert_eq!(joined(&table.parsed.prefixes), joined(&expected));
        }

        #[test]
        fn any_bytes_give_a_table_or_a_one_line_error(bytes in "[0-9./:\t\n{},_;\\PC]{0,100}|[0-9\t./]{0,30}") {
            if let Err(error) = parse(bytes.as_bytes(), &Wanted::All) {
                prop_assert!(!error.to_string().contains(char::is_control));
            }
        }
    }
}
