//! `RIPEstat`'s announced-prefixes: what one AS announces now. Never takes a withdrawn prefix or an error for an answer.
//!
//! <https://stat.ripe.net/docs/02.data-api/announced-prefixes.html>. A reply covers a span of time, two weeks
//! where the request names none, and lists what was announced at any moment of it. A prefix is announced still where
//! one of its timelines ends with the span. `starttime` and `endtime` are compared as they are written: all times of a
//! reply have one form.

use serde::Deserialize;

use super::field::{MASKED, Noted};
use super::json::{AsNumber, JsonError, Net};
use super::{AsnTable, Parsed, Wanted, quoted, without_bom};
use crate::prefix::Asn;

/// Why a reply cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RipestatError {
    /// The reply or a value in it cannot be read.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The request failed.
    #[error("RIPEstat answers with status {status}{messages}; check the AS number and ask again")]
    Status {
        /// `status` of the reply, in quotes.
        status: String,
        /// What it says of the error, three messages at most, in quotes and after a colon each.
        messages: String,
    },
    /// The reply to another question.
    #[error("is RIPEstat's answer to {0}; ask for announced-prefixes")]
    OtherCall(String),
    /// The AS announces nothing, or is none: `RIPEstat` answers alike.
    #[error("RIPEstat lists no prefix that AS{0} announces now; check the AS number")]
    Nothing(Asn),
    /// The reply does not say when its span of time ends.
    #[error("RIPEstat's answer has neither query_endtime nor latest_time; download it again")]
    NoEnd,
}

/// What tells whether there is an answer: without one, `data` is anything.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Envelope {
    status: String,
    data_call_name: Option<String>,
}

/// Read only where the status says so; errors have not always been described in this form.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Messages {
    messages: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Reply {
    data: Announcements,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Announcements {
    resource: AsNumber,
    prefixes: Vec<Announcement>,
    query_endtime: Option<String>,
    latest_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Announcement {
    prefix: Net,
    timelines: Vec<Timeline>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Timeline {
    endtime: String,
}

/// Reads the reply as an ASN table with one AS. A reply without a prefix that is still announced has no rows.
pub fn parse(bytes: &[u8], wanted: &Wanted) -> Result<AsnTable, RipestatError> {
    let (asn, parsed) = read(bytes)?;
    let mut table = AsnTable::default();
    if asn != 0 {
        table.rows = (parsed.prefixes.v4.len() + parsed.prefixes.v6.len()) as u64;
    }
    if wanted.includes(asn) {
        table.parsed = parsed;
    }
    Ok(table)
}

/// Reads the reply as a list whose entries have an origin AS; never an empty one.
pub fn parse_list(bytes: &[u8]) -> Result<Parsed, RipestatError> {
    let (asn, parsed) = read(bytes)?;
    if parsed.prefixes.is_empty() { Err(RipestatError::Nothing(asn)) } else { Ok(parsed) }
}

fn read(bytes: &[u8]) -> Result<(Asn, Parsed), RipestatError> {
    let bytes = without_bom(bytes);
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(JsonError::from)?;
    if envelope.status != "ok" {
        let said = serde_json::from_slice(bytes).map_or_else(|_| Vec::new(), |said: Messages| said.messages);
        let messages = said.iter().take(3).flat_map(|(_, text)| [": ".to_owned(), quoted(text.as_bytes())]).collect();
        return Err(RipestatError::Status { status: quoted(envelope.status.as_bytes()), messages });
    }
    if let Some(call) = envelope.data_call_name.filter(|call| call != "announced-prefixes") {
        return Err(RipestatError::OtherCall(quoted(call.as_bytes())));
    }
    let Reply { data } = serde_json::from_slice(bytes).map_err(JsonError::from)?;
    let ends: Vec<String> = [data.query_endtime, data.latest_time].into_iter().flatten().collect();
    if ends.is_empty() {
        return Err(RipestatError::NoEnd);
    }
    let (mut parsed, mut masked, mut withdrawn) = (Parsed::default(), Noted::default(), Noted::default());
    for Announcement { prefix: Net(net), timelines } in data.prefixes {
        if timelines.iter().any(|timeline| ends.contains(&timeline.endtime)) {
            masked.add_if_masked(0, net);
            parsed.prefixes.push_net(net, data.resource.0);
        } else {
            withdrawn.add(0, net.to_string().as_bytes());
        }
    }
    parsed.warnings.extend(masked.warning(MASKED));
    parsed.warnings.extend(withdrawn.warning("prefixes withdrawn by the end of the reply's time, left out"));
    Ok((data.resource.0, parsed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::{Listed, Prefixes};
    use crate::source::json::tests::end_of;
    use proptest::prelude::*;

    /// In the form of a reply of 2026; the last prefix came back, the one before it did not.
    const REPLY: &str = r#"{
      "messages": [["info", "Results exclude routes with very low visibility."]],
      "see_also": [], "version": "1.2", "data_call_name": "announced-prefixes", "data_call_status": "supported",
      "cached": false,
      "data": {
        "prefixes": [
          {"prefix": "192.0.2.0/24", "timelines": [{"starttime": "2026-05-27T16:00:00", "endtime": "2026-06-10T16:00:00"}]},
          {"prefix": "2001:db8::/32", "timelines": [{"starttime": "2026-05-27T16:00:00", "endtime": "2026-06-10T16:00:00"}]},
          {"prefix": "203.0.113.0/24", "timelines": [{"starttime": "2026-05-27T16:00:00", "endtime": "2026-06-10T08:00:00"}]},
          {"prefix": "198.51.100.0/24", "timelines": [
            {"starttime": "2026-05-27T16:00:00", "endtime": "2026-05-28T00:00:00"},
            {"starttime": "2026-06-10T08:00:00", "endtime": "2026-06-10T16:00:00"}]}
        ],
        "query_starttime": "2026-05-27T16:00:00", "query_endtime": "2026-06-10T16:00:00",
        "resource": "64500", "latest_time": "2026-06-10T16:00:00", "earliest_time": "2000-08-01T00:00:00"
      },
      "query_id": "x", "process_time": 21, "status": "ok", "status_code": 200, "time": "2026-06-10T20:00:00.1"
    }"#;

    fn expected() -> Prefixes {
        let base = 0x2001_0db8 << 96;
        let v4 = |first: u32| Listed { first, last: first + 0xff, asn: 64500 };
        Prefixes {
            v4: vec![v4(0xc000_0200), v4(0xc633_6400)],
            v6: vec![Listed { first: base, last: base + (u128::MAX >> 32), asn: 64500 }],
        }
    }

    fn table(text: &str) -> AsnTable {
        parse(text.as_bytes(), &Wanted::All).unwrap()
    }

    fn message(text: &str) -> String {
        let error = parse(text.as_bytes(), &Wanted::All).unwrap_err().to_string();
        assert_eq!(parse_list(text.as_bytes()).unwrap_err().to_string(), error);
        error
    }

    #[test]
    fn prefixes_announced_at_the_end_of_the_reply_are_read_and_withdrawn_ones_left_out() {
        let warning = "prefixes withdrawn by the end of the reply's time, left out: 1, the first is \"203.0.113.0/24\"";
        for text in [
            REPLY,
            &REPLY.replace('\n', "\r\n"),
            &REPLY.replace("\"64500\"", "\"AS64500\""),
            &REPLY.replace("\"64500\"", "64500"),
            &REPLY.replace("\"query_endtime\": \"2026-06-10T16:00:00\",", ""),
            &REPLY.replace("\"latest_time\": \"2026-06-10T16:00:00\",", ""),
            &REPLY.replace("\"latest_time\": \"2026-06-10T16", "\"latest_time\": \"2026-07-01T16"),
        ] {
            let table = table(text);
            assert_eq!((table.parsed.prefixes, table.rows), (expected(), 3), "{text}");
            assert_eq!(table.parsed.warnings.len(), 1);
            assert_eq!(table.parsed.warnings[0].text, warning);
            assert_eq!(parse_list(text.as_bytes()).unwrap().prefixes, expected());
        }
    }

    #[test]
    fn a_reply_without_announced_prefixes_has_no_rows() {
        let a = REPLY.find("{\"prefix\"").unwrap();
        let b = REPLY.find("\"query_starttime\"").unwrap();
        let empty = format!("{}],{}", &REPLY[..a], &REPLY[b..]);
        assert_eq!(table(&empty), AsnTable::default());
        let all_withdrawn = REPLY.replace("2026-06-10T16:00:00\"}", "2026-06-10T08:00:00\"}");
        let table = table(&all_withdrawn);
        assert_eq!((table.rows, table.parsed.prefixes), (0, Prefixes::default()));
        for text in [empty, all_withdrawn] {
            assert_eq!(parse_list(text.as_bytes()), Err(RipestatError::Nothing(64500)));
        }
    }

    #[test]
    fn an_as_that_is_not_wanted_is_counted_and_not_kept() {
        let table = parse(REPLY.as_bytes(), &Wanted::Only([1].into())).unwrap();
        assert_eq!((table.rows, table.parsed), (3, Parsed::default()));
    }

    #[test]
    fn a_reply_that_is_no_answer_is_refused_with_what_it_says() {
        let failed = r#"{"messages":[["error","no such\nresource"]],"data_call_name":"announced-prefixes","data":[],
            "status":"error","status_code":400}"#;
        assert_eq!(
            message(failed),
            "RIPEstat answers with status \"error\": \"no such\\nresource\"; check the AS number and ask again"
        );
        assert_eq!(
            message(r#"{"data":null,"status":"maintenance","messages":"later"}"#),
            "RIPEstat answers with status \"maintenance\"; check the AS number and ask again"
        );
        assert_eq!(
            message(&REPLY.replace("\"announced-prefixes\"", "\"as-overview\"")),
            "is RIPEstat's answer to \"as-overview\"; ask for announced-prefixes"
        );
        let endless = REPLY.replace("query_endtime", "q").replace("latest_time", "l");
        assert_eq!(message(&endless), "RIPEstat's answer has neither query_endtime nor latest_time; download it again");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        const REMEDY: &str = "; download it again, or take an earlier copy";
        for (from, to, end, expected) in [
            ("192.0.2.0/24", "192.0.2.0/240", "/240\"", "\"192.0.2.0/240\" has no IPv4 prefix length from 0 to 32"),
            (
                "2001:db8::/32",
                "::ffff:0:0/96",
                "0/96\"",
                "\"::ffff:0:0/96\" has an IPv4-mapped IPv6 prefix, which no packet carries",
            ),
            ("\"timelines\"", "\"times\"", "\"}]}", "missing field `timelines`"),
            ("\"endtime\"", "\"end\"", "06-10T16:00:00\"}", "missing field `endtime`"),
            ("\"64500\"", "\"192.0.2.1\"", "2.1\"", "\"192.0.2.1\" is no AS number"),
            ("\"resource\"", "\"res\"", "01T00:00:00\"\n      }", "missing field `resource`"),
            ("\"status\"", "\"s\"", "00.1\"\n    }", "missing field `status`"),
            ("\"status\": \"ok\"", "\"status\": 1", "\"status\": 1", "invalid type: integer `1`, expected a string"),
        ] {
            let text = REPLY.replacen(from, to, 1);
            assert_eq!(message(&text), format!("{}: {expected}{REMEDY}", end_of(end, &text)));
        }
    }

    #[test]
    fn host_bits_are_cleared_with_one_warning() {
        let table = table(&REPLY.replace("192.0.2.0/24", "192.0.2.9/24").replace("198.51.100.0/24", "198.51.100.1/24"));
        assert_eq!(table.parsed.prefixes, expected());
        let text = "prefixes with host bits set, taken without them: 2, the first is \"192.0.2.9/24\"";
        assert_eq!((table.parsed.warnings[0].text.as_str(), table.parsed.warnings.len()), (text, 2));
    }

    #[test]
    fn a_reply_cut_anywhere_is_refused() {
        for length in 0..REPLY.len() {
            let error = parse(&REPLY.as_bytes()[..length], &Wanted::All).unwrap_err().to_string();
            assert!(error.starts_with("JSON ends too early, in line "), "{length}: {error}");
        }
    }

    proptest! {
        #[test]
        fn replies_survive_a_round_trip(
            rows in prop::collection::vec((any::<u32>(), 0_u8..=32, any::<bool>()), 0..8), asn in 1_u32..,
        ) {
            let (mut prefixes, mut expected) = (Vec::new(), Prefixes::default());
            for (bits, length, announced) in rows {
                let net = ipnet::IpNet::new(std::net::IpAddr::from(bits.to_be_bytes()), length).unwrap().trunc();
                let end = if announced { "2026-06-10T16:00:00" } else { "2026-06-10T08:00:00" };
                prefixes.push(serde_json::json!({ "timelines": [{ "endtime": end }], "prefix": net }));
                if announced {
                    expected.push_net(net, asn);
                }
            }
            let reply = serde_json::json!({
                "status": "ok", "data": { "latest_time": "2026-06-10T16:00:00", "prefixes": prefixes, "resource": asn },
            });
            let table = parse(&serde_json::to_vec(&reply).unwrap(), &Wanted::All).unwrap();
            prop_assert_eq!((table.parsed.prefixes, table.rows), (expected.clone(), expected.v4.len() as u64));
        }

        #[test]
        fn any_bytes_give_a_table_or_a_one_line_error(
            bytes in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(REPLY.len());
            let damaged = [&REPLY.as_bytes()[..at], &bytes, &REPLY.as_bytes()[at..]].concat();
            for bytes in [bytes, damaged] {
                if let Err(error) = parse(&bytes, &Wanted::All) {
                    prop_assert!(!error.to_string().contains(char::is_control));
                }
            }
        }
    }
}
