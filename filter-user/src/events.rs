//! Single drops as people and programs read them: JSON in the shape of Suricata's `eve.json`. Pure: understands what the
//! kernel copied, and writes nothing.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::abi;
use filter_common::decide::{Direction, Reason};
use serde::{Deserialize, Serialize};

use crate::ledger::Hook;
use crate::ruleset::RuleAction;
use crate::tally;

/// One packet that was dropped, or would have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When: RFC 3339 with microseconds, UTC.
    pub timestamp: String,
    /// `drop`, or `would_drop` where only monitor rules list it.
    pub event_type: String,
    /// Its source.
    pub src_ip: IpAddr,
    /// The source's port, where the packet has ports and they could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// Its destination.
    pub dest_ip: IpAddr,
    /// The destination's port, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dest_port: Option<u16>,
    /// The transport protocol by name, else its number (IANA).
    pub proto: String,
    /// What dropped it.
    pub drop: Drop,
}

/// What dropped a packet, or would have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// `block`, or `monitor`.
    pub action: RuleAction,
    /// The first rule.
    pub rule: String,
    /// All rules that list the packet.
    pub rules: Vec<String>,
    /// Which address is listed.
    #[serde(with = "tally::direction")]
    pub direction: Direction,
    /// The device.
    pub device: String,
    /// `ingress` or `egress`.
    pub hook: String,
    /// Bytes of the frame.
    pub len: u32,
}

/// What was reported and left out since the last line of this kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tallied {
    /// Events reported.
    pub reported: u64,
    /// Events that were over the rate.
    pub suppressed: u64,
    /// Events that found no room.
    pub lost: u64,
}

/// The line that tells how many events are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    timestamp: String,
    event_type: &'static str,
    #[serde(rename = "stats")]
    tallied: Tallied,
}

impl Stats {
    /// The line at `unix_micros`.
    #[must_use]
    pub fn new(unix_micros: i64, tallied: Tallied) -> Self {
        Self { timestamp: timestamp(unix_micros), event_type: "stats", tallied }
    }
}

/// Reads an event of the kernel. `rules` are those of its set that are credited, `hook` is where it was met, and
/// `unix_micros` when. `None` where the kernel copied no whole IP header.
#[must_use]
pub fn read(event: &abi::Event, rules: Vec<String>, hook: &Hook, unix_micros: i64) -> Option<Event> {
    let Packet { source, destination, protocol, ports } = Packet::read(event.copied())?;
    let blocked = event.reason == Reason::Blocked as u32;
    Some(Event {
        timestamp: timestamp(unix_micros),
        event_type: if blocked { "drop" } else { "would_drop" }.into(),
        src_ip: source,
        src_port: ports.map(|(source, _)| source),
        dest_ip: destination,
        dest_port: ports.map(|(_, destination)| destination),
        proto: protocol_name(protocol),
        drop: Drop {
            action: if blocked { RuleAction::Block } else { RuleAction::Monitor },
            rule: rules.first().cloned().unwrap_or_default(),
            rules,
            direction: if event.direction == Direction::Out as u32 { Direction::Out } else { Direction::In },
            device: hook.device.clone(),
            hook: if hook.egress { "egress" } else { "ingress" }.into(),
            len: event.length,
        },
    })
}

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: Option<(u16, u16)>,
}

impl Packet {
    /// Reads a packet that begins with its IP header and may end anywhere.
    fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::read_v4(bytes),
            6 => Self::read_v6(bytes),
            _ => None,
        }
    }

    /// RFC 791, section 3.1.
    fn read_v4(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; 20] = bytes.first_chunk()?;
        let length = usize::from(header[0] & 0x0f) * 4;
        let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
        let address = |at: usize| Some(Ipv4Addr::from(*header.get(at..)?.first_chunk::<4>()?));
        let protocol = header[9];
        let ports = if fragment == 0 && length >= header.len() { ports(protocol, bytes.get(length..)) } else { None };
        Some(Self { source: address(12)?.into(), destination: address(16)?.into(), protocol, ports })
    }

    /// RFC 8200, sections 3 and 4.
    fn read_v6(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; 40] = bytes.first_chunk()?;
        let address = |at: usize| Some(Ipv6Addr::from(*header.get(at..)?.first_chunk::<16>()?));
        let (mut protocol, mut rest) = (header[6], bytes.get(40..));
        let mut first = true;
        while let Some(&[next, length, high, low]) = rest.and_then(<[u8]>::first_chunk) {
            let bytes = match protocol {
                // Hop-by-hop options, routing, destination options: 8 bytes and so many times 8 more.
                0 | 43 | 60 => usize::from(length) * 8 + 8,
                // Fragment.
                44 => {
                    first &= u16::from_be_bytes([high, low]) & 0xfff8 == 0;
                    8
                }
                // Authentication (RFC 4302): in units of 4 bytes, without the first two.
                51 => usize::from(length) * 4 + 8,
                _ => break,
            };
            protocol = next;
            rest = rest.and_then(|rest| rest.get(bytes..));
        }
        let ports = if first { ports(protocol, rest) } else { None };
        Some(Self { source: address(8)?.into(), destination: address(24)?.into(), protocol, ports })
    }
}

/// Source and destination port of the transport protocols that begin with them: TCP, UDP, DCCP, SCTP, UDP-Lite.
fn ports(protocol: u8, transport: Option<&[u8]>) -> Option<(u16, u16)> {
    let &[s0, s1, d0, d1] = transport?.first_chunk()?;
    matches!(protocol, 6 | 17 | 33 | 132 | 136).then_some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
}

/// The names that Suricata uses.
fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "ICMP",
        2 => "IGMP",
        6 => "TCP",
        17 => "UDP",
        33 => "DCCP",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        58 => "IPv6-ICMP",
        132 => "SCTP",
        136 => "UDPLite",
        other => return other.to_string(),
    }
    .into()
}

fn timestamp(unix_micros: i64) -> String {
    jiff::Timestamp::from_microsecond(unix_micros)
        .map_or_else(|_| unix_micros.to_string(), |time| time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

/// The latest events, for whoever asks.
#[derive(Clone, Debug, Default)]
pub struct Recent(VecDeque<Event>);

impl Recent {
    /// How many are kept.
    pub const MOST: usize = 200;

    /// Adds one; the oldest goes.
    pub fn push(&mut self, event: Event) {
        if self.0.len() == Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }

    /// The latest `limit`, the latest first.
    #[must_use]
    pub fn latest(&self, limit: usize) -> Vec<Event> {
        self.0.iter().rev().take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(packet: &[u8]) -> abi::Event {
        let mut event = abi::Event { reason: 3, length: 74, ..abi::Event::default() };
        // As the program copies it: whole pieces of 8 bytes.
        let copied = (packet.len() / 8 * 8).min(64);
        for (word, piece) in event.headers.iter_mut().zip(packet[..copied].chunks_exact(8)) {
            *word = u64::from_ne_bytes(piece.try_into().unwrap());
        }
        event.copied = u32::try_from(copied).unwrap();
        event
    }

    fn shown(packet: &[u8]) -> Option<String> {
        let hook = Hook { device: "lan0".into(), egress: false };
        read(&event(packet), vec!["tiktok".into()], &hook, 1_700_000_000_123_456)
            .map(|event| serde_json::to_string(&event).unwrap())
    }

    fn v4(protocol: u8, words: u8, fragment: u16) -> Vec<u8> {
        let mut packet = vec![0; (usize::from(words) * 4).max(20)];
        packet[0] = 0x40 | words;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet[12..20].copy_from_slice(&[10, 66, 0, 2, 71, 18, 1, 1]);
        packet.extend([0x04, 0xd2, 0x01, 0xbb]);
        packet.resize(packet.len() + 40, 0);
        packet
    }

    #[test]
    fn an_event_has_the_shape_of_eve() {
        assert_eq!(
            shown(&v4(6, 5, 0)).unwrap(),
            r#"{"timestamp":"2023-11-14T22:13:20.123456Z","event_type":"drop","src_ip":"10.66.0.2","src_port":1234,"dest_ip":"71.18.1.1","dest_port":443,"proto":"TCP","drop":{"action":"block","rule":"tiktok","rules":["tiktok"],"direction":"out","device":"lan0","hook":"ingress","len":74}}"#
        );
    }

    #[test]
    fn ports_are_read_behind_options_and_only_where_they_are() {
        let ports = |packet: &[u8]| {
            let text = shown(packet).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            (value["src_port"].as_u64(), value["dest_port"].as_u64())
        };
        let both = (Some(1234), Some(443));
        assert_eq!(ports(&v4(17, 5, 0)), both);
        assert_eq!(ports(&v4(17, 11, 0x2000)), both, "the first fragment, with 24 bytes of options");
        assert_eq!(ports(&v4(6, 15, 0x4000)), both, "the longest header");
        assert_eq!(ports(&v4(6, 5, 185)), (None, None), "a later fragment has data there");
        assert_eq!(ports(&v4(1, 5, 0)), (None, None), "ICMP has no ports");
        assert_eq!(ports(&v4(6, 3, 0)), (None, None), "a header length that is wrong");
    }

    #[test]
    fn extension_headers_of_ipv6_are_walked() {
        let packet = |protocols: &[(u8, usize)], last: u8, fragment: u16| {
            let mut packet = vec![0x60, 0, 0, 0, 0, 0, 0, 64];
            packet.extend(Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 2).octets());
            packet.extend(Ipv6Addr::new(0x2605, 0x340, 0, 0, 0, 0, 0, 1).octets());
            packet[6] = protocols.first().map_or(last, |&(protocol, _)| protocol);
            for (at, &(protocol, bytes)) in protocols.iter().enumerate() {
                let mut header = vec![0; bytes];
                header[0] = protocols.get(at + 1).map_or(last, |&(next, _)| next);
                header[1] = u8::try_from(if protocol == 51 { bytes / 4 - 2 } else { bytes / 8 - 1 }).unwrap();
                if protocol == 44 {
                    header[2..4].copy_from_slice(&fragment.to_be_bytes());
                }
                packet.extend(header);
            }
            packet.extend([0x04, 0xd2, 0x01, 0xbb]);
            packet.resize(packet.len() + 40, 0);
            let value: serde_json::Value = serde_json::from_str(&shown(&packet).unwrap()).unwrap();
            (value["proto"].as_str().unwrap().to_owned(), value["dest_port"].as_u64())
        };
        assert_eq!(packet(&[], 17, 0), ("UDP".into(), Some(443)));
        assert_eq!(packet(&[(0, 8), (60, 8)], 6, 0), ("TCP".into(), Some(443)));
        assert_eq!(packet(&[(44, 8)], 17, 1), ("UDP".into(), Some(443)), "the first fragment");
        assert_eq!(packet(&[(44, 8)], 17, 185 << 3), ("UDP".into(), None));
        assert_eq!(packet(&[(51, 16)], 6, 0), ("TCP".into(), Some(443)));
        assert_eq!(packet(&[(43, 40)], 6, 0), ("TCP".into(), None), "what was not copied is not known");
        assert_eq!(packet(&[], 58, 0), ("IPv6-ICMP".into(), None));
        assert_eq!(packet(&[], 253, 0), ("253".into(), None));
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        for first in 0..=255_u8 {
            for length in 0..=64 {
                let mut packet = vec![first; length];
                packet.fill(first);
                let event = shown(&packet);
                assert_eq!(event.is_some(), (first >> 4 == 4 && length >= 24) || (first >> 4 == 6 && length >= 40));
            }
        }
    }

    #[test]
    fn the_latest_events_are_kept() {
        let mut recent = Recent::default();
        for len in 0..300 {
            let hook = Hook { device: "lan0".into(), egress: true };
            let mut event = read(&event(&v4(6, 5, 0)), vec![], &hook, 0).unwrap();
            event.drop.len = len;
            recent.push(event);
        }
        let lengths: Vec<u32> = recent.latest(3).iter().map(|event| event.drop.len).collect();
        assert_eq!((lengths, recent.latest(1000).len()), (vec![299, 298, 297], 200));
    }
}
