//! What the JSON sources share: which one a document is, the fields they have in common, and where one is wrong. Never
//! builds a tree of a whole document: those of RPKI validators and routing tables are tens of megabytes.

use std::borrow::Cow;
use std::fmt;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;

use super::field::{read_asn, read_net};
use super::{Format, quoted};
use crate::prefix::Asn;

/// Why a JSON document cannot be used, with the place at fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The document ends before it is complete.
    #[error("JSON ends too early, in line {line}; download it again")]
    EndsEarly {
        /// The line it ends in, from 1.
        line: usize,
    },
    /// What stands there is not JSON.
    #[error("line {line}, column {column} is no JSON ({reason}); download it again")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The byte in the line, from 1.
        column: usize,
        /// What the JSON reader says.
        reason: String,
    },
    /// A value is missing, of another type, or none that its member can have.
    #[error("line {line}, column {column}: {reason}; download it again, or take an earlier copy")]
    Value {
        /// The line, from 1.
        line: usize,
        /// The byte in the line, from 1, that the value ends with.
        column: usize,
        /// What is wrong.
        reason: String,
    },
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Eof => Self::EndsEarly { line },
            Category::Data => Self::Value { line, column, reason: reason(&error) },
            Category::Io | Category::Syntax => Self::Syntax { line, column, reason: reason(&error) },
        }
    }
}

/// What is wrong, without the place: serde repeats offending text in full, so it is shortened here.
pub(super) fn reason(error: &serde_json::Error) -> String {
    const SHOWN: usize = 160;
    let text = error.to_string();
    let place = text.rfind(" at line ").filter(|_| error.line() > 0);
    let text = text.get(..place.unwrap_or(text.len())).unwrap_or(&text);
    let shown: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let more = if shown.len() < text.len() { "..." } else { "" };
    shown + more
}

/// The members that tell the documents apart; the first line whose members an object all has is what the object is.
const FORMATS: [(&[&str], Format); 11] = [
    (&["roas"], Format::Vrps),
    (&["CIDR", "ASN"], Format::BgpTools),
    (&["cidr"], Format::Spamhaus),
    (&["type", "records"], Format::Spamhaus),
    (&["asn", "rir"], Format::Spamhaus),
    (&["asn", "asname"], Format::Spamhaus),
    (&["asn", "prefixes"], Format::Ipverse),
    (&["asn", "subnets"], Format::Ipverse),
    (&["data", "data_call_name"], Format::Ripestat),
    (&["data", "data_call_status"], Format::Ripestat),
    (&["data", "status", "status_code"], Format::Ripestat),
];

/// True for what can only be meant as JSON.
pub(super) fn is_json(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"{") || text.trim_ascii_start().starts_with(b"[")
}

/// What the first JSON value of `text` is. It is read no further than to the members that tell.
pub(super) fn format_of(text: &[u8]) -> Result<Format, JsonError> {
    let mut members = Members::default();
    let read = serde_json::Deserializer::from_slice(text).deserialize_map(&mut members);
    match (members.format, read) {
        (Some(format), _) => Ok(format),
        // An array, or a member's name that is no text.
        (None, Err(error)) if error.classify() != Category::Data => Err(error.into()),
        (None, _) => Ok(Format::OtherJson),
    }
}

/// The members seen so far, of those that matter.
#[derive(Default)]
struct Members {
    seen: Vec<&'static str>,
    format: Option<Format>,
}

impl<'de> Visitor<'de> for &mut Members {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            let mut telling = FORMATS.iter().flat_map(|(names, _)| names.iter());
            if let Some(&name) = telling.find(|&&telling| telling == name)
                && !self.seen.contains(&name)
            {
                self.seen.push(name);
                let all_seen = |names: &[&str]| names.iter().all(|name| self.seen.contains(name));
                self.format = FORMATS.iter().find(|(names, _)| all_seen(names)).map(|&(_, format)| format);
                if self.format.is_some() {
                    return Ok(());
                }
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// A text that is borrowed where the document has no escapes in it.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// An AS number: an integer, or a text with or without `AS`.
#[derive(Clone, Copy)]
pub(super) struct AsNumber(pub(super) Asn);

impl<'de> Deserialize<'de> for AsNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsNumberVisitor)
    }
}

struct AsNumberVisitor;

impl Visitor<'_> for AsNumberVisitor {
    type Value = AsNumber;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AS number from 0 to 4294967295")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<AsNumber, E> {
        let asn = number.try_into().map_err(|_| E::custom(format_args!("{number} is no AS number")))?;
        Ok(AsNumber(asn))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<AsNumber, E> {
        let asn = read_asn(text.as_bytes());
        asn.map(AsNumber).ok_or_else(|| E::custom(format_args!("{} is no AS number", quoted(text.as_bytes()))))
    }
}

/// A prefix written `address/length`; host bits are kept, for the format to judge.
#[derive(Clone, Copy)]
pub(super) struct Net(pub(super) IpNet);

impl<'de> Deserialize<'de> for Net {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NetVisitor)
    }
}

struct NetVisitor;

impl Visitor<'_> for NetVisitor {
    type Value = Net;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a prefix")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Net, E> {
        let net = read_net(text.as_bytes());
        net.map(Net).map_err(|error| E::custom(format_args!("{} {error}", quoted(text.as_bytes()))))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where `part` ends for the first time in `text`, in the words of an error.
    pub(in crate::source) fn end_of(part: &str, text: &str) -> String {
        let before = &text[..text.find(part).unwrap() + part.len()];
        let line = before.rsplit('\n').next().unwrap();
        format!("line {}, column {}", before.matches('\n').count() + 1, line.len())
    }

    fn format(text: &str) -> Format {
        format_of(text.as_bytes()).unwrap()
    }

    #[test]
    fn documents_are_told_apart_by_their_members_in_any_order() {
        for (text, expected) in [
            (r#"{"metadata":{"roas":3},"roas":[]}"#, Format::Vrps),
            (r#"{"CIDR":"10.0.0.0/8","ASN":1,"Hits":5}"#, Format::BgpTools),
            (r#"{"cidr":"10.0.0.0/8","sblid":"SBL1","rir":"x"}"#, Format::Spamhaus),
            (r#"{"type":"metadata","size":0,"records":0}"#, Format::Spamhaus),
            (r#"{"asn":245,"rir":"arin","domain":"d","cc":"US","asname":"N"}"#, Format::Spamhaus),
            (r#"{"asname":"N","asn":245}"#, Format::Spamhaus),
            (r#"{"asn":1,"metadata":{},"prefixes":{}}"#, Format::Ipverse),
            ("\n {\"subnets\" : {},\r\n\"asn\" : 1}", Format::Ipverse),
            (r#"{"messages":[],"data_call_name":"x","data":{}}"#, Format::Ripestat),
            (r#"{"status":"ok","status_code":200,"data":{}}"#, Format::Ripestat),
            // Amazon's and Google's lists have prefixes and no AS number.
            (r#"{"syncToken":"1","prefixes":[{"ip_prefix":"10.0.0.0/8"}]}"#, Format::OtherJson),
            (r#"{"data":{"prefixes":[]}}"#, Format::OtherJson),
            (r#"{"asn":1,"name":"x"}"#, Format::OtherJson),
            (r#"[{"roas":[]}]"#, Format::OtherJson),
            ("{}", Format::OtherJson),
            ("[]", Format::OtherJson),
            (r#"{"":{"roas":[]}}"#, Format::OtherJson),
        ] {
            assert_eq!(format(text), expected, "{text}");
        }
    }

    #[test]
    fn a_document_cut_after_the_members_that_tell_is_still_known() {
        assert_eq!(format(r#"{"roas": [{"asn"#), Format::Vrps);
        assert_eq!(format(r#"{"roas": nonsense"#), Format::Vrps);
        let error = |text: &str| format_of(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error("{\n\"metadata\": {"), "JSON ends too early, in line 2; download it again");
        assert_eq!(error("{"), "JSON ends too early, in line 1; download it again");
        assert_eq!(error("{nonsense"), "line 1, column 2 is no JSON (key must be a string); download it again");
        assert_eq!(
            error(&("{\"a\":".repeat(200) + "1")),
            "JSON ends too early, in line 1; download it again",
            "members without a meaning may be nested as deep as they like"
        );
    }

    #[test]
    fn as_numbers_are_integers_or_texts() {
        let read = |text: &str| serde_json::from_str::<AsNumber>(text).map(|asn| asn.0);
        for (text, expected) in [("0", 0), ("4294967295", u32::MAX), ("\"7\"", 7), ("\"AS7\"", 7), ("\"as\\u0037\"", 7)]
        {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
        for (text, expected) in [
            ("4294967296", "4294967296 is no AS number"),
            ("\"AS\"", "\"AS\" is no AS number"),
            ("\"AS4294967296\"", "\"AS4294967296\" is no AS number"),
            ("-1", "invalid type: integer `-1`, expected an AS number from 0 to 4294967295"),
            ("1.0", "invalid type: floating point `1.0`, expected an AS number from 0 to 4294967295"),
            ("null", "invalid type: null, expected an AS number from 0 to 4294967295"),
        ] {
            assert_eq!(reason(&read(text).unwrap_err()), expected, "{text}");
        }
    }

    #[test]
    fn a_prefix_may_have_its_slash_escaped() {
        let net: Net = serde_json::from_str(r#""10.0.0.0\/8""#).unwrap();
        assert_eq!(net.0.to_string(), "10.0.0.0/8");
    }

    #[test]
    fn reasons_are_short_and_hold_no_control_characters() {
        let error =
            |text: &str| JsonError::from(serde_json::from_str::<Net>(text).map(|_| ()).unwrap_err()).to_string();
        assert_eq!(
            error("\n\"10.0.0.0/33\""),
            "line 2, column 13: \"10.0.0.0/33\" has no IPv4 prefix length from 0 to 32; download it again, or take an \
             earlier copy"
        );
        let long = error(&format!("\"{} at line 9 column 9\"", "\\u001b".repeat(1000)));
        assert!(long.len() < 600 && !long.contains(char::is_control) && long.contains("..."), "{long}");
        let wrong_type = serde_json::from_str::<u8>(&format!("\"{}\"", "é at line 1 ".repeat(1000))).unwrap_err();
        assert_eq!(reason(&wrong_type).chars().count(), 163);
    }

    proptest! {
        #[test]
        fn any_text_is_of_some_format_or_gives_a_one_line_error(text in "[{\\[\":,a-z0-9}\\]\\\\ \n]{0,60}|.{0,40}") {
            if let Err(error) = format_of(text.as_bytes()) {
                prop_assert!(!error.to_string().contains(char::is_control));
            }
        }
    }
}
