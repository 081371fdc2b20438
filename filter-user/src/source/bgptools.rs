//! bgp.tools' `table.jsonl`: every route it sees, one JSON object a line. Never reads a row for its prefix alone: who
//! gets an address is for the longest match over all rows to say.
//!
//! <https://bgp.tools/kb/api>: `{"CIDR":"1.1.1.0/24","ASN":13335,"Hits":1000}`. `Hits` grows with the number of places
//! that see the route.

use serde::Deserialize;

use super::announced::Announced;
use super::field::{MASKED, Noted};
use super::json::{AsNumber, Net, reason};
use super::{AsnTable, Place, Wanted, lines};

/// Routes with fewer hits are left out: what few places see is a leak, a hijack or somebody's own test, and such a more
/// specific prefix would take addresses away from the AS that the rest of the Internet reaches. Other programs that read
/// this table draw the line at the same number.
pub const MIN_HITS: u64 = 100;

/// Why the table cannot be used, with the row at fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BgpToolsError {
    /// A row is no JSON, or a member is missing or wrong.
    #[error("{0}: {1}; download it again, or take an earlier copy")]
    Row(Place, String),
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Row {
    #[serde(rename = "CIDR")]
    cidr: Net,
    #[serde(rename = "ASN")]
    asn: AsNumber,
    #[serde(rename = "Hits")]
    hits: u64,
}

/// Reads the whole table; keeps what the wanted ASes originate. `rows` does not count routes that are left out.
pub fn parse(bytes: &[u8], wanted: &Wanted) -> Result<AsnTable, BgpToolsError> {
    let (mut table, mut announced) = (AsnTable::default(), Announced::default());
    let (mut masked, mut hidden) = (Noted::default(), Noted::default());
    for (line, row) in lines(bytes) {
        let Row { cidr: Net(net), asn: AsNumber(asn), hits } =
            serde_json::from_slice(row).map_err(|error| BgpToolsError::Row(Place::new(line, row), reason(&error)))?;
        if hits < MIN_HITS {
            hidden.add(line, row);
            continue;
        }
        masked.add_if_masked(line, net);
        table.rows += u64::from(asn != 0);
        announced.push(net, asn);
    }
    table.parsed.prefixes = announced.origins(wanted);
    table.parsed.warnings.extend(masked.warning(MASKED));
    table.parsed.warnings.extend(hidden.warning(&format!("routes with fewer than {MIN_HITS} hits, left out")));
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::{Address, Prefixes};
    use crate::source::Warning;
    use proptest::prelude::*;
    use std::fmt::Write;

    const TABLE: &str = "{\"CIDR\":\"10.0.0.0/8\",\"ASN\":1,\"Hits\":1500}\n{\"CIDR\":\"10.1.0.0/16\",\"ASN\":2,\"Hits\":100}\n\
        {\"CIDR\":\"10.2.0.0/16\",\"ASN\":3,\"Hits\":99}\n{\"ASN\":2,\"Hits\":700,\"CIDR\":\"2001:db8::/32\",\"New\":[1]}\n";

    fn all(text: &str) -> AsnTable {
        parse(text.as_bytes(), &Wanted::All).unwrap()
    }

    fn shown(prefixes: &Prefixes) -> Vec<String> {
        let v4 = prefixes.v4.iter().map(|row| format!("{}-{} AS{}", row.first.to_ip(), row.last.to_ip(), row.asn));
        v4.chain(prefixes.v6.iter().map(|row| format!("{} AS{}", row.first.to_ip(), row.asn))).collect()
    }

    #[test]
    fn routes_are_read_and_those_that_few_see_left_out() {
        for text in [TABLE.to_owned(), TABLE.replace('\n', "\r\n\r\n"), format!("\u{feff}{}", TABLE.trim_end())] {
            let table = all(&text);
            assert_eq!(
                shown(&table.parsed.prefixes),
                [
                    "10.0.0.0-10.0.255.255 AS1",
                    "10.1.0.0-10.1.255.255 AS2",
                    "10.2.0.0-10.255.255.255 AS1",
                    "2001:db8:: AS2"
                ]
            );
            assert_eq!((table.rows, table.organisations.len(), table.parsed.warnings.len()), (3, 0, 1));
        }
        let text = "routes with fewer than 100 hits, left out: 1, the first is \
                    \"{\\\"CIDR\\\":\\\"10.2.0.0/16\\\",\\\"ASN\\\":3,\\\"Hits\\\":99}\"";
        assert_eq!(all(TABLE).parsed.warnings, [Warning { line: 3, text: text.to_owned() }]);
        let outer = parse(TABLE.as_bytes(), &Wanted::Only([1].into())).unwrap();
        assert_eq!(shown(&outer.parsed.prefixes), ["10.0.0.0-10.0.255.255 AS1", "10.2.0.0-10.255.255.255 AS1"]);
        let one = parse(TABLE.as_bytes(), &Wanted::Only([2].into())).unwrap();
        assert_eq!((shown(&one.parsed.prefixes).len(), one.rows), (2, 3));
    }

    #[test]
    fn a_table_of_hidden_routes_or_of_none_has_no_rows() {
        assert_eq!(all(""), AsnTable::default());
        assert_eq!(all(&TABLE.replace("00}", "}").replace("00,", ",")).rows, 0);
        assert_eq!(all("{\"CIDR\":\"10.0.0.0/8\",\"ASN\":0,\"Hits\":100}").rows, 0);
    }

    #[test]
    fn host_bits_are_cleared_with_one_warning() {
        let table = all(&TABLE.replace(".0/", ".7/"));
        assert_eq!(table.parsed.prefixes, all(TABLE).parsed.prefixes);
        let text = "prefixes with host bits set, taken without them: 2, the first is \"10.0.0.7/8\"".to_owned();
        assert_eq!(table.parsed.warnings[0], Warning { line: 1, text });
    }

    #[test]
    fn each_kind_of_bad_row_is_named() {
        for (row, expected) in [
            ("{\"CIDR\":\"10.0.0.0/8\",\"ASN\":1}", "missing field `Hits`"),
            ("{\"CIDR\":\"10.0.0.0/8\",\"Hits\":100}", "missing field `ASN`"),
            ("{\"ASN\":1,\"Hits\":1}", "missing field `CIDR`"),
            ("{\"ASN\":1,\"ASN\":2}", "duplicate field `ASN`"),
            (
                "{\"CIDR\":\"10.0.0.0/33\",\"ASN\":1,\"Hits\":1}",
                "\"10.0.0.0/33\" has no IPv4 prefix length from 0 to 32",
            ),
            (
                "{\"CIDR\":\"::ffff:0:0/96\",\"ASN\":1,\"Hits\":1}",
                "\"::ffff:0:0/96\" has an IPv4-mapped IPv6 prefix, which no packet carries",
            ),
            (
                "{\"CIDR\":\"10.0.0.0/8\",\"ASN\":-1,\"Hits\":1}",
                "invalid type: integer `-1`, expected an AS number from 0 to 4294967295",
            ),
            ("{\"CIDR\":\"10.0.0.0/8\",\"ASN\":1,\"Hits\":-1}", "invalid value: integer `-1`, expected u64"),
            ("{\"CIDR\":\"10.0.0.0/8\",", "EOF while parsing a value"),
            ("{} {}", "missing field `CIDR`"),
            ("10.0.0.0/8", "invalid type: floating point `10.0`, expected an object"),
            ("<html>", "expected value"),
            ("[[[[", "invalid type: sequence, expected a prefix"),
        ] {
            let text = format!("{TABLE}{row}\r\n{TABLE}");
            let message = parse(text.as_bytes(), &Wanted::Only([9].into())).unwrap_err().to_string();
            assert_eq!(
                message,
                format!(
                    "line 5: {}: {expected}; download it again, or take an earlier copy",
                    crate::source::quoted(row.as_bytes())
                )
            );
        }
    }

    #[test]
    fn a_table_cut_inside_a_row_is_refused() {
        for length in 1..TABLE.len() {
            let whole = [b"}".as_slice(), b"\n"].iter().any(|end| TABLE.as_bytes()[..length].ends_with(end));
            assert_eq!(parse(&TABLE.as_bytes()[..length], &Wanted::All).is_ok(), whole, "{}", &TABLE[..length]);
        }
    }

    proptest! {
        /// Disjoint prefixes, so that the table must come back as it was written.
        #[test]
        fn rows_survive_a_round_trip(
            rows in prop::collection::btree_map(any::<u16>(), (1_u32.., 0_u64..200), 1..20),
        ) {
            let (mut text, mut expected) = (String::new(), Vec::new());
            for (high, (asn, hits)) in &rows {
                let cidr = format!("{high:x}:1::/32");
                if *hits >= 100 {
                    expected.push(format!("{} AS{asn}", cidr.parse::<ipnet::IpNet>().unwrap().addr()));
                }
                let row = serde_json::json!({ "CIDR": cidr, "ASN": asn, "Hits": hits });
                writeln!(text, "{row}").unwrap();
            }
            let table = all(&text);
            prop_assert_eq!(table.rows, expected.len() as u64);
            prop_assert_eq!(shown(&table.parsed.prefixes), expected);
        }

        #[test]
        fn any_bytes_give_a_table_or_a_one_line_error(
            bytes in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(TABLE.len());
            let damaged = [&TABLE.as_bytes()[..at], &bytes, &TABLE.as_bytes()[at..]].concat();
            for bytes in [bytes, damaged] {
                if let Err(error) = parse(&bytes, &Wanted::All) {
                    prop_assert!(!error.to_string().contains(char::is_control));
                }
            }
        }
    }
}
