//! RPKI VRPs (RFC 6811: who may announce a prefix) as rpki-client and Routinator write them. Never builds a tree of the
//! document: there are 700,000 entries.
//!
//! `{"metadata": .., "roas": [{"asn": 64500, "prefix": "192.0.2.0/24", "maxLength": 24, "ta": ".."}, ..]}`; `asn` is
//! `"AS64500"` for Routinator, whose `jsonext` gives `source` in place of `ta`. Other members are ignored.

use std::fmt;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::json::{AsNumber, JsonError, Net};
use super::without_bom;
use crate::prefix::{Asn, Prefixes};

/// Why VRPs cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VrpError {
    /// The document or a value in it cannot be read.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// An entry contradicts itself.
    #[error("entry {number} of `roas` ({net} of AS{asn}) {reason}; download it again, or take an earlier copy")]
    Entry {
        /// The number of the entry, from 1.
        number: u64,
        /// The prefix as it stands there.
        net: IpNet,
        /// The AS.
        asn: Asn,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Reads the prefixes of all VRPs; `asn` is the AS that may announce them, AS0 where nobody may (RFC 6483 section 4).
pub fn parse(bytes: &[u8]) -> Result<Prefixes, VrpError> {
    let document: Document = serde_json::from_slice(without_bom(bytes)).map_err(JsonError::from)?;
    document.roas.0
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Document {
    roas: Vrps,
}

#[derive(Deserialize)]
#[serde(expecting = "an object", rename_all = "camelCase")]
struct Vrp {
    asn: AsNumber,
    prefix: Net,
    /// Absent means the prefix's own (RFC 9582 section 4.3.2).
    max_length: Option<u64>,
}

impl Vrp {
    /// What is wrong with the entry, where something is.
    fn fault(&self) -> Option<&'static str> {
        let Net(net) = self.prefix;
        let lengths = u64::from(net.prefix_len())..=u64::from(net.max_prefix_len());
        if net.addr() != net.network() {
            Some("has host bits set")
        } else if self.max_length.is_some_and(|max_length| !lengths.contains(&max_length)) {
            Some("has a maxLength that its prefix cannot have")
        } else {
            None
        }
    }
}

/// The entries of `roas`, turned into prefixes one by one; the error is not serde's, which would tell the place of what
/// follows.
struct Vrps(Result<Prefixes, VrpError>);

impl<'de> Deserialize<'de> for Vrps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(VrpsVisitor)
    }
}

struct VrpsVisitor;

impl<'de> Visitor<'de> for VrpsVisitor {
    type Value = Vrps;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of VRPs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vrps, A::Error> {
        let (mut prefixes, mut number) = (Prefixes::default(), 0);
        while let Some(vrp) = entries.next_element::<Vrp>()? {
            let (Net(net), AsNumber(asn)) = (vrp.prefix, vrp.asn);
            number += 1;
            if let Some(reason) = vrp.fault() {
                while entries.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Vrps(Err(VrpError::Entry { number, net, asn, reason })));
            }
            prefixes.push_net(net, asn);
        }
        Ok(Vrps(Ok(prefixes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::Listed;
    use crate::source::json::tests::end_of;
    use proptest::prelude::*;

    const RPKI_CLIENT: &str = r#"{
	"metadata": { "buildmachine": "x", "roas": 3, "vrps": 3 },
	"roas": [
		{ "asn": 64500, "prefix": "192.0.2.0/24", "maxLength": 24, "ta": "ripe", "expires": 1791544442 },
		{ "asn": 0, "prefix": "198.51.100.0/24", "maxLength": 32, "ta": "apnic", "expires": 1791544442 },
		{ "asn": 4294967295, "prefix": "2001:db8::/32", "maxLength": 128, "ta": "arin", "expires": 1791544442 }
	],
	"bgpsec_keys": [], "vaps": [ { "customer_asid": 1, "providers": [2] } ]
}"#;
    const ROUTINATOR: &str = r#"{
  "metadata": { "generated": 0, "generatedTime": "1970-01-01T00:00:00Z" },
  "roas": [
    { "asn": "AS64500", "prefix": "192.0.2.0/24", "maxLength": 24, "ta": "N/A" },
    { "asn": "AS0", "prefix": "198.51.100.0/24", "maxLength": 32, "source": [ { "type": "exception", "path": null }] },
    { "asn": "AS4294967295", "prefix": "2001:db8::/32", "maxLength": 128, "source": [] }
  ],
  "routerKeys": [], "aspas": []
}"#;

    fn expected() -> Prefixes {
        let base = 0x2001_0db8 << 96;
        Prefixes {
            v4: vec![
                Listed { first: 0xc000_0200, last: 0xc000_02ff, asn: 64500 },
                Listed { first: 0xc633_6400, last: 0xc633_64ff, asn: 0 },
            ],
            v6: vec![Listed { first: base, last: base + (u128::MAX >> 32), asn: u32::MAX }],
        }
    }

    fn message(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn both_validators_are_read_and_as0_kept() {
        for text in [RPKI_CLIENT, ROUTINATOR, &ROUTINATOR.replace('\n', "\r\n"), &format!("\u{feff}{RPKI_CLIENT}")] {
            assert_eq!(parse(text.as_bytes()).unwrap(), expected());
        }
        assert_eq!(parse(ROUTINATOR.replace(r#", "maxLength": 24"#, "").as_bytes()).unwrap(), expected());
        assert_eq!(parse(br#"{"roas":[]}"#).unwrap(), Prefixes::default());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        const REMEDY: &str = "; download it again, or take an earlier copy";
        const MAX_LENGTH: &str = "has a maxLength that its prefix cannot have";
        for (from, to, expected) in [
            ("\"maxLength\": 24", "\"maxLength\": 23", format!("1 of `roas` (192.0.2.0/24 of AS64500) {MAX_LENGTH}")),
            ("\"maxLength\": 32", "\"maxLength\": 33", format!("2 of `roas` (198.51.100.0/24 of AS0) {MAX_LENGTH}")),
            (
                "\"maxLength\": 128",
                "\"maxLength\": 129",
                format!("3 of `roas` (2001:db8::/32 of AS4294967295) {MAX_LENGTH}"),
            ),
            ("192.0.2.0/24", "192.0.2.1/24", "1 of `roas` (192.0.2.1/24 of AS64500) has host bits set".to_owned()),
        ] {
            assert_eq!(message(&ROUTINATOR.replacen(from, to, 1)), format!("entry {expected}{REMEDY}"));
        }
        for (from, to, end, expected) in [
            ("h\": 24", "h\": \"24\"", "h\": \"24\"", "invalid type: string \"24\", expected u64"),
            ("192.0.2.0/24", "192.0.2.0", "2.0\"", "\"192.0.2.0\" has no prefix such as 192.0.2.0/24 or 2001:db8::/32"),
            (
                "2001:db8::/32",
                "::ffff:0:0/96",
                "0/96\"",
                "\"::ffff:0:0/96\" has an IPv4-mapped IPv6 prefix, which no packet carries",
            ),
            ("\"AS0\"", "\"ASX\"", "\"ASX\"", "\"ASX\" is no AS number"),
            ("\"AS0\"", "4294967296", "4294967296", "4294967296 is no AS number"),
            ("\"prefix\"", "\"net\"", "N/A\" }", "missing field `prefix`"),
            ("\"roas\"", "\"vrps\"", "\"aspas\": []\n}", "missing field `roas`"),
            ("\"aspas\"", "\"roas\"", "[], \"roas\"", "duplicate field `roas`"),
        ] {
            let text = ROUTINATOR.replacen(from, to, 1);
            assert_eq!(message(&text), format!("{}: {expected}{REMEDY}", end_of(end, &text)));
        }
        let text = ROUTINATOR.replacen("[]", "[}", 1);
        assert_eq!(message(&text), format!("{} is no JSON (expected value); download it again", end_of("[}", &text)));
    }

    #[test]
    fn a_document_cut_anywhere_is_refused() {
        for length in 0..RPKI_CLIENT.len() {
            let error = parse(&RPKI_CLIENT.as_bytes()[..length]).unwrap_err().to_string();
            assert!(error.starts_with("JSON ends too early, in line "), "{length}: {error}");
        }
    }

    proptest! {
        #[test]
        fn vrps_survive_a_round_trip(
            vrps in prop::collection::vec((any::<u128>(), 0_u8..=128, 0_u8..128, any::<u32>(), any::<bool>(), any::<bool>()), 0..20),
        ) {
            let (mut roas, mut expected) = (Vec::new(), Prefixes::default());
            for (bits, length, more, asn, is_v4, as_text) in vrps {
                let net = if is_v4 {
                    IpNet::new(std::net::IpAddr::from((bits as u32).to_be_bytes()), length / 4)
                } else {
                    IpNet::new(bits.to_be_bytes().into(), length)
                };
                let net = net.unwrap().trunc();
                expected.push_net(net, asn);
                let max_length = net.prefix_len().saturating_add(more).min(net.max_prefix_len());
                let number = if as_text { format!("AS{asn}").into() } else { serde_json::json!(asn) };
                roas.push(serde_json::json!({ "prefix": net, "maxLength": max_length, "asn": number, "ta": "x" }));
            }
            let document = serde_json::json!({ "roas": roas, "metadata": { "x": [1, { "y": null }] } });
            prop_assert_eq!(parse(&serde_json::to_vec(&document).unwrap()).unwrap(), expected);
        }

        #[test]
        fn any_bytes_give_prefixes_or_a_one_line_error(
            bytes in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(ROUTINATOR.len());
            let damaged = [&ROUTINATOR.as_bytes()[..at], &bytes, &ROUTINATOR.as_bytes()[at..]].concat();
            for bytes in [bytes, damaged] {
                if let Err(error) = parse(&bytes) {
                    prop_assert!(!error.to_string().contains(char::is_control));
                }
            }
        }
    }
}
