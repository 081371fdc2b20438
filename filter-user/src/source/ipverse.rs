//! ipverse's `aggregated.json` of one AS: what it announces, already aggregated. Takes no document for empty because
//! its members have other names: the schema changed before.
//!
//! <https://github.com/ipverse/as-ip-blocks>, `as/<ASN>/aggregated.json`. Since 2026 `{"asn", "metadata": {"handle",
//! "description", ..}, "prefixes": {"ipv4": [..], "ipv6": [..]}}`; before that `handle` and `description` stood beside
//! `asn`, and the prefixes under `subnets`.

use serde::Deserialize;

use super::field::{MASKED, Noted};
use super::json::{AsNumber, JsonError, Net};
use super::{AsnTable, Parsed, Wanted, organisation, without_bom};
use crate::prefix::Asn;

/// Why an `aggregated.json` cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpverseError {
    /// The document or a value in it cannot be read.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Neither schema's member is there, or both are.
    #[error("AS{0} has not one of `prefixes` and `subnets` with `ipv4` or `ipv6` in it; use ipverse's aggregated.json")]
    Networks(Asn),
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Document {
    asn: AsNumber,
    handle: Option<String>,
    description: Option<String>,
    metadata: Option<Metadata>,
    prefixes: Option<Networks>,
    subnets: Option<Networks>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Metadata {
    handle: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Networks {
    ipv4: Option<Vec<Net>>,
    ipv6: Option<Vec<Net>>,
}

impl Document {
    fn networks(&self) -> Result<impl Iterator<Item = Net>, IpverseError> {
        let ((Some(networks), None) | (None, Some(networks))) = (&self.prefixes, &self.subnets) else {
            return Err(IpverseError::Networks(self.asn.0));
        };
        if networks.ipv4.is_none() && networks.ipv6.is_none() {
            return Err(IpverseError::Networks(self.asn.0));
        }
        Ok([&networks.ipv4, &networks.ipv6].into_iter().flatten().flatten().copied())
    }

    /// The description, or the handle where there is none.
    fn name(&self) -> &str {
        let nested = self.metadata.as_ref();
        let description = nested.and_then(|nested| nested.description.as_deref()).or(self.description.as_deref());
        let handle = nested.and_then(|nested| nested.handle.as_deref()).or(self.handle.as_deref());
        description.filter(|text| !text.trim().is_empty()).or(handle).unwrap_or_default()
    }
}

/// Reads the document as an ASN table with one AS.
pub fn parse(bytes: &[u8], wanted: &Wanted) -> Result<AsnTable, IpverseError> {
    let document: Document = serde_json::from_slice(without_bom(bytes)).map_err(JsonError::from)?;
    let (asn, name) = (document.asn.0, document.name());
    let parsed = listed(&document)?;
    let mut table = AsnTable::default();
    if asn != 0 {
        table.rows = (parsed.prefixes.v4.len() + parsed.prefixes.v6.len()) as u64;
    }
    if wanted.takes(asn, name.as_bytes()) {
        table.parsed = parsed;
        if !name.trim().is_empty() {
            table.organisations.insert(asn, organisation(name.as_bytes()));
        }
    }
    Ok(table)
}

/// Reads the document as a list whose entries have an origin AS.
pub fn parse_list(bytes: &[u8]) -> Result<Parsed, IpverseError> {
    listed(&serde_json::from_slice(without_bom(bytes)).map_err(JsonError::from)?)
}

fn listed(document: &Document) -> Result<Parsed, IpverseError> {
    let (mut parsed, mut masked) = (Parsed::default(), Noted::default());
    for Net(net) in document.networks()? {
        masked.add_if_masked(0, net);
        parsed.prefixes.push_net(net, document.asn.0);
    }
    parsed.warnings.extend(masked.warning(MASKED));
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::{Listed, Prefixes};
    use crate::source::json::tests::end_of;
    use proptest::prelude::*;

    const NEW: &str = r#"{
      "asn": 64500,
      "metadata": { "handle": "EXAMPLE-AS", "description": "Example \u0007 Ltd.", "countryCode": "ZZ" },
      "prefixes": { "ipv4": [ "192.0.2.0/24", "198.51.100.0/25" ], "ipv6": [ "2001:db8::/32" ] }
    }"#;
    const OLD: &str = r#"{"asn":64500,"handle":"EXAMPLE-AS","description":"",
      "subnets":{"ipv4":["192.0.2.0/24","198.51.100.0/25"],"ipv6":["2001:db8::/32"]}}"#;

    fn expected() -> Prefixes {
        let base = 0x2001_0db8 << 96;
        Prefixes {
            v4: vec![
                Listed { first: 0xc000_0200, last: 0xc000_02ff, asn: 64500 },
                Listed { first: 0xc633_6400, last: 0xc633_647f, asn: 64500 },
            ],
            v6: vec![Listed { first: base, last: base + (u128::MAX >> 32), asn: 64500 }],
        }
    }

    fn message(text: &str) -> String {
        parse(text.as_bytes(), &Wanted::All).unwrap_err().to_string()
    }

    #[test]
    fn both_schemas_are_read() {
        for (text, name) in
            [(NEW, "Example   Ltd."), (OLD, "EXAMPLE-AS"), (&NEW.replace('\n', "\r\n"), "Example   Ltd.")]
        {
            let table = parse(text.as_bytes(), &Wanted::All).unwrap();
            assert_eq!((table.parsed.prefixes, table.rows), (expected(), 3));
            assert_eq!(table.parsed.warnings, []);
            assert_eq!(table.organisations, [(64500, name.to_owned())].into());
            assert_eq!(parse_list(text.as_bytes()).unwrap().prefixes, expected());
        }
    }

    #[test]
    fn an_as_that_is_not_wanted_is_counted_and_not_kept() {
        let table = parse(NEW.as_bytes(), &Wanted::Only([1].into())).unwrap();
        assert_eq!((table.rows, table.parsed, table.organisations.len()), (3, Parsed::default(), 0));
        let named = Wanted::Named([].into(), vec![crate::source::NamePattern::new("example").unwrap()]);
        assert_eq!(parse(NEW.as_bytes(), &named).unwrap().parsed.prefixes, expected());
        let as0 = parse(OLD.replace("64500", "0").as_bytes(), &Wanted::All).unwrap();
        assert_eq!((as0.rows, as0.parsed.prefixes), (0, Prefixes::default()));
    }

    #[test]
    fn an_as_without_prefixes_has_no_rows() {
        for text in [r#"{"asn":7,"prefixes":{"ipv4":[],"ipv6":[]}}"#, r#"{"asn":7,"subnets":{"ipv6":[]}}"#] {
            assert_eq!(parse(text.as_bytes(), &Wanted::All).unwrap(), AsnTable::default());
        }
    }

    #[test]
    fn host_bits_are_cleared_with_one_warning() {
        let parsed = parse_list(br#"{"asn":7,"prefixes":{"ipv4":["192.0.2.77/24","192.0.2.1/24"]}}"#).unwrap();
        assert_eq!(parsed.prefixes.v4, [Listed { first: 0xc000_0200, last: 0xc000_02ff, asn: 7 }; 2]);
        let text = "prefixes with host bits set, taken without them: 2, the first is \"192.0.2.77/24\"";
        assert_eq!(parsed.warnings.iter().map(|warning| warning.text.as_str()).collect::<Vec<_>>(), [text]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        const REMEDY: &str = "; download it again, or take an earlier copy";
        for (from, to, end, expected) in [
            (
                "198.51.100.0/25",
                "198.51.100.0/33",
                "0/33\"",
                "\"198.51.100.0/33\" has no IPv4 prefix length from 0 to 32",
            ),
            (
                "2001:db8::/32",
                "::ffff:0:0/96",
                "0/96\"",
                "\"::ffff:0:0/96\" has an IPv4-mapped IPv6 prefix, which no packet carries",
            ),
            ("\"192.0.2.0/24\"", "17", "17", "invalid type: integer `17`, expected a prefix"),
            ("64500", "\"ASX\"", "ASX\"", "\"ASX\" is no AS number"),
            ("\"asn\"", "\"as\"", "] }\n    }", "missing field `asn`"),
            ("\"prefixes\"", "\"asn\"", "},\n      \"asn\"", "duplicate field `asn`"),
        ] {
            let text = NEW.replace(from, to);
            assert_eq!(message(&text), format!("{}: {expected}{REMEDY}", end_of(end, &text)));
        }
        let networks = "AS64500 has not one of `prefixes` and `subnets` with `ipv4` or `ipv6` in it; use ipverse's aggregated.json";
        assert_eq!(message(&NEW.replace("prefixes", "blocks")), networks);
        assert_eq!(message(&NEW.replace("ipv", "v")), networks);
        assert_eq!(message(r#"{"asn":64500,"prefixes":{"ipv4":[]},"subnets":{"ipv4":[]}}"#), networks);
        let trailing = format!("{OLD}x");
        let place = end_of("}}x", &trailing);
        assert_eq!(message(&trailing), format!("{place} is no JSON (trailing characters); download it again"));
    }

    #[test]
    fn a_document_cut_anywhere_is_refused() {
        for length in 0..NEW.len() {
            let error = parse(&NEW.as_bytes()[..length], &Wanted::All).unwrap_err().to_string();
            assert!(error.starts_with("JSON ends too early, in line "), "{length}: {error}");
        }
    }

    proptest! {
        #[test]
        fn documents_survive_a_round_trip(
            v4 in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..8),
            v6 in prop::collection::vec((any::<u128>(), 0_u8..=128), 0..8),
            asn in 1_u32.., name in "[ -~]{1,12}", old: bool,
        ) {
            let net = |address: std::net::IpAddr, length| ipnet::IpNet::new(address, length).unwrap().trunc();
            let v4: Vec<_> = v4.into_iter().map(|(bits, length)| net(bits.to_be_bytes().into(), length)).collect();
            let v6: Vec<_> = v6.into_iter().map(|(bits, length)| net(bits.to_be_bytes().into(), length)).collect();
            let networks = serde_json::json!({ "ipv4": v4, "ipv6": v6 });
            let document = if old {
                serde_json::json!({ "asn": asn, "description": name, "subnets": networks })
            } else {
                serde_json::json!({ "prefixes": networks, "metadata": { "description": name }, "asn": format!("AS{asn}") })
            };
            let mut expected = Prefixes::default();
            v4.iter().chain(&v6).for_each(|&net| expected.push_net(net, asn));
            let table = parse(&serde_json::to_vec_pretty(&document).unwrap(), &Wanted::All).unwrap();
            prop_assert_eq!(table.parsed, Parsed { prefixes: expected, ..Parsed::default() });
            prop_assert_eq!(table.organisations.get(&asn).map_or("", String::as_str), name.trim());
        }

        #[test]
        fn any_bytes_give_a_table_or_a_one_line_error(
            bytes in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(NEW.len());
            let damaged = [&NEW.as_bytes()[..at], &bytes, &NEW.as_bytes()[at..]].concat();
            for bytes in [bytes, damaged] {
                if let Err(error) = parse(&bytes, &Wanted::All) {
                    prop_assert!(!error.to_string().contains(char::is_control));
                }
            }
        }
    }
}
