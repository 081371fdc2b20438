//! Spamhaus DROP as JSON lines. Never takes a list without its last line for a whole one.
//!
//! <https://www.spamhaus.org/drop/drop_v4.json> and `drop_v6.json`: `{"cidr":"192.0.2.0/24","sblid":"SBL1","rir":"arin"}`
//! a line, and at the end `{"type":"metadata",..,"records":N}`.
//! `records` counts lines, also one that is there twice. Several files in one are added up. `asndrop.json` looks alike
//! and lists AS numbers.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::field::{MASKED, Noted};
use super::json::{Net, reason};
use super::{Parsed, Place, lines};

/// Why the list cannot be used, with the line at fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpamhausError {
    /// A line is no JSON, or a member is wrong.
    #[error("{0}: {1}; download it again, or take an earlier copy")]
    Row(Place, String),
    /// The list of AS numbers.
    #[error(
        "{0} is an AS number: this is Spamhaus ASN-DROP, which lists no prefix; write the numbers in a rule's `asns`"
    )]
    AsNumber(Place),
    /// Neither a prefix nor the last line.
    #[error("{0} has neither `cidr` nor, with type metadata, `records`; download it again, or take an earlier copy")]
    NotAnEntry(Place),
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Row {
    cidr: Option<Net>,
    asn: Option<IgnoredAny>,
    r#type: Option<String>,
    records: Option<u64>,
}

/// Reads a whole list. One that ends without its last line is `cut`.
pub fn parse(bytes: &[u8]) -> Result<Parsed, SpamhausError> {
    let (mut parsed, mut masked) = (Parsed::default(), Noted::default());
    let mut ended = false;
    let mut rows = lines(bytes).peekable();
    while let Some((line, row)) = rows.next() {
        let place = || Place::new(line, row);
        let Row { cidr, asn, r#type, records } = match serde_json::from_slice(row) {
            Ok(row) => row,
            Err(error) if error.is_eof() && rows.peek().is_none() && !bytes.ends_with(b"\n") => {
                ended = false;
                break;
            }
            Err(error) => return Err(SpamhausError::Row(place(), reason(&error))),
        };
        match (cidr, records) {
            (Some(Net(net)), _) => {
                masked.add_if_masked(line, net);
                parsed.prefixes.push_net(net, 0);
                ended = false;
            }
            (None, Some(records)) if r#type.as_deref() == Some("metadata") => {
                parsed.declared = Some(parsed.declared.unwrap_or(0).saturating_add(records));
                ended = true;
            }
            (None, _) if asn.is_some() => return Err(SpamhausError::AsNumber(place())),
            (None, _) => return Err(SpamhausError::NotAnEntry(place())),
        }
    }
    if !ended {
        parsed.cut = Some("the line at the end, which counts the records, is missing".to_owned());
    }
    parsed.warnings.extend(masked.warning(MASKED));
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::{Listed, Prefixes};
    use crate::source::{Warning, quoted};
    use proptest::prelude::*;
    use std::fmt::Write;

    const LIST: &str = "{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL1\",\"rir\":\"apnic\"}\n{\"cidr\":\"2001:db8::/32\",\"sblid\":\"SBL2\"}\n\
        {\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL3\",\"rir\":\"arin\"}\n";
    const LAST: &str =
        "{\"type\":\"metadata\",\"timestamp\":1791544442,\"size\":150,\"records\":3,\"copyright\":\"(c)\"}\n";
    const CUT: &str = "the line at the end, which counts the records, is missing";
    const V4: Listed<u32> = Listed { first: 0xc000_0200, last: 0xc000_02ff, asn: 0 };

    fn expected() -> Prefixes {
        let base = 0x2001_0db8 << 96;
        Prefixes { v4: vec![V4; 2], v6: vec![Listed { first: base, last: base + (u128::MAX >> 32), asn: 0 }] }
    }

    #[test]
    fn a_whole_list_says_how_many_records_it_has() {
        let whole = format!("{LIST}{LAST}");
        for text in [&whole, &whole.replace('\n', "\r\n\r\n"), &format!("\u{feff}{}", whole.trim_end())] {
            let parsed = parse(text.as_bytes()).unwrap();
            assert_eq!(parsed, Parsed { prefixes: expected(), declared: Some(3), ..Parsed::default() });
        }
        let twice = parse(format!("{whole}{whole}").as_bytes()).unwrap();
        assert_eq!((twice.prefixes.v4.len(), twice.declared, twice.cut), (4, Some(6), None));
        let empty = parse(LAST.replace(":3,", ":0,").as_bytes()).unwrap();
        assert_eq!(empty, Parsed { declared: Some(0), ..Parsed::default() });
    }

    #[test]
    fn a_list_cut_anywhere_holds_what_came_before_and_says_so() {
        let whole = format!("{LIST}{LAST}");
        for length in 0..whole.len() - 1 {
            let parsed = parse(&whole.as_bytes()[..length]).unwrap();
            assert_eq!((parsed.cut.as_deref(), parsed.declared), (Some(CUT), None), "{}", &whole[..length]);
            let complete = whole[..length].matches('}').count();
            assert_eq!(parsed.prefixes.v4.len() + parsed.prefixes.v6.len(), complete);
        }
        let second = parse(format!("{whole}{LIST}").as_bytes()).unwrap();
        assert_eq!((second.declared, second.cut.as_deref()), (Some(3), Some(CUT)));
        assert_eq!(parse(b"").unwrap().cut.as_deref(), Some(CUT));
    }

    #[test]
    fn the_list_of_as_numbers_is_refused_with_a_remedy() {
        let row = "{\"asn\":245,\"rir\":\"arin\",\"domain\":\"example.com\",\"cc\":\"US\",\"asname\":\"EXAMPLE\"}";
        let error = parse(format!("{row}\n{LAST}").as_bytes()).unwrap_err().to_string();
        let shown = quoted(row.as_bytes());
        assert_eq!(
            error,
            format!(
                "line 1: {shown} is an AS number: this is Spamhaus ASN-DROP, which lists no prefix; write the numbers \
                 in a rule's `asns`"
            )
        );
    }

    #[test]
    fn host_bits_are_cleared_with_one_warning() {
        let parsed = parse(format!("{LIST}{LAST}").replace(".0/24", ".9/24").as_bytes()).unwrap();
        assert_eq!(parsed.prefixes, expected());
        let text = "prefixes with host bits set, taken without them: 2, the first is \"192.0.2.9/24\"".to_owned();
        assert_eq!(parsed.warnings, [Warning { line: 1, text }]);
    }

    #[test]
    fn each_kind_of_bad_line_is_named() {
        const REMEDY: &str = "; download it again, or take an earlier copy";
        const NOT_AN_ENTRY: &str = " has neither `cidr` nor, with type metadata, `records`";
        for (row, expected) in [
            ("{\"cidr\":\"192.0.2.0\"}", ": \"192.0.2.0\" has no prefix such as 192.0.2.0/24 or 2001:db8::/32"),
            ("{\"cidr\":\"192.0.2.0/33\"}", ": \"192.0.2.0/33\" has no IPv4 prefix length from 0 to 32"),
            (
                "{\"cidr\":\"::ffff:0:0/96\"}",
                ": \"::ffff:0:0/96\" has an IPv4-mapped IPv6 prefix, which no packet carries",
            ),
            ("{\"cidr\":17}", ": invalid type: integer `17`, expected a prefix"),
            ("{\"cidr\":\"192.0.2.0/24\"", ": EOF while parsing an object"),
            ("192.0.2.0/24", ": invalid type: floating point `192.0`, expected an object"),
            ("<html>", ": expected value"),
            ("{}", NOT_AN_ENTRY),
            ("{\"cidr\":null}", NOT_AN_ENTRY),
            ("{\"type\":\"metadata\"}", NOT_AN_ENTRY),
            ("{\"type\":\"other\",\"records\":3}", NOT_AN_ENTRY),
        ] {
            let text = format!("{LIST}\n{row}\r\n{LAST}");
            let message = parse(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(message, format!("line 5: {}{expected}{REMEDY}", quoted(row.as_bytes())));
        }
    }

    proptest! {
        #[test]
        fn lists_survive_a_round_trip(nets in prop::collection::vec((any::<u128>(), 0_u8..=128, any::<bool>()), 0..20)) {
            let (mut text, mut expected) = (String::new(), Prefixes::default());
            for (bits, length, is_v4) in nets {
                let net = if is_v4 {
                    ipnet::IpNet::new(std::net::IpAddr::from((bits as u32).to_be_bytes()), length / 4)
                } else {
                    ipnet::IpNet::new(bits.to_be_bytes().into(), length)
                };
                let net = net.unwrap().trunc();
                expected.push_net(net, 0);
                writeln!(text, "{}", serde_json::json!({ "rir": "x", "cidr": net })).unwrap();
            }
            let records = expected.v4.len() + expected.v6.len();
            text += &serde_json::json!({ "records": records, "type": "metadata" }).to_string();
            let parsed = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(parsed, Parsed { prefixes: expected, declared: Some(records as u64), ..Parsed::default() });
        }

        #[test]
        fn any_bytes_give_a_list_or_a_one_line_error(
            bytes in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(),
        ) {
            let whole = format!("{LIST}{LAST}");
            let at = at.index(whole.len());
            let damaged = [&whole.as_bytes()[..at], &bytes, &whole.as_bytes()[at..]].concat();
            for bytes in [bytes, damaged] {
                if let Err(error) = parse(&bytes) {
                    prop_assert!(!error.to_string().contains(char::is_control));
                }
            }
        }
    }
}
