//! Packets that a ruleset must drop, and one that it must pass: what a self-test sends through the program. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::decide::{Direction, Reason, decide};
use filter_common::packet::{Layer, Meta};
use serde::{Deserialize, Serialize};

use super::{Rule, RuleAction, Ruleset};
use crate::prefix::{Address, AddressSet};
use crate::tally;

/// A packet to or from one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The rule that must drop it; `None` for the packet that must pass.
    pub rule: Option<String>,
    /// Whether the address is the destination or the source.
    #[serde(with = "tally::direction")]
    pub direction: Direction,
    /// The listed address, or one that no rule lists.
    pub address: IpAddr,
}

/// The other end: documentation addresses (RFC 5737, RFC 3849), which no client has.
const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// What must pass, unless a rule lists it.
const CONTROL: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x10))];
/// Where a test run meets a packet: at the loopback device, which counts for no device.
pub const MET_AT: u32 = 1;
/// What a probe carries, so that whoever meets it on a wire knows what it is.
pub const MARK: &[u8] = b"weir selftest";
/// Addresses of a rule that are tried before it counts as one that cannot be probed.
const TRIES: usize = 256;

/// For each block rule, direction and family a packet that `ruleset`, compiled from `rules`, drops; then packets that it
/// passes. The names of rules for which there is none come second: their scope, the never-block set or allow rules leave
/// nothing that a client without name could meet.
#[must_use]
pub fn probes(rules: &[Rule], ruleset: &Ruleset) -> (Vec<Probe>, Vec<String>) {
    let (mut probes, mut without) = (Vec::new(), Vec::new());
    for rule in rules.iter().filter(|rule| rule.identity.action == RuleAction::Block) {
        let before = probes.len();
        for direction in [Direction::Out, Direction::In] {
            if rule.identity.direction.covers(direction) {
                let drops = |address: &IpAddr| judge(ruleset, direction, *address) == Reason::Blocked;
                let found = [
                    candidates(&rule.v4).map(Address::to_ip).find(drops),
                    candidates(&rule.v6).map(Address::to_ip).find(drops),
                ];
                let probe = |address| Probe { rule: Some(rule.identity.name.clone()), direction, address };
                probes.extend(found.into_iter().flatten().map(probe));
            }
        }
        if probes.len() == before {
            without.push(rule.identity.name.clone());
        }
    }
    for address in CONTROL {
        if judge(ruleset, Direction::Out, address) == Reason::Unlisted {
            probes.push(Probe { rule: None, direction: Direction::Out, address });
        }
    }
    (probes, without)
}

/// First addresses of ranges, spread over all of them.
fn candidates<A: Address>(set: &AddressSet<A>) -> impl Iterator<Item = A> {
    let ranges = set.ranges();
    ranges.iter().step_by(ranges.len() / TRIES + 1).map(|&(first, _)| first)
}

fn judge(ruleset: &Ruleset, direction: Direction, address: IpAddr) -> Reason {
    let frame = frame(direction, address, Layer::Ethernet);
    decide(frame.as_slice(), &Meta { layer: Layer::Ethernet, device: MET_AT, vlan: 0 }, ruleset).reason
}

/// The probe to or from `address` as a frame: a UDP packet to the discard port.
#[must_use]
pub fn frame(direction: Direction, address: IpAddr, layer: Layer) -> Vec<u8> {
    let udp_length = (8 + MARK.len()) as u16;
    let mut frame = Vec::new();
    if layer == Layer::Ethernet {
        // To everybody and from a locally administered address: nobody's.
        frame.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 1]);
        frame.extend(if address.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
    }
    match address {
        IpAddr::V4(address) => {
            let (source, destination) = ends(direction, address, CLIENT_V4);
            let mut header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            header[2..4].copy_from_slice(&(20 + udp_length).to_be_bytes());
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            let checksum = checksum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            frame.extend(header);
        }
        IpAddr::V6(address) => {
            let (source, destination) = ends(direction, address, CLIENT_V6);
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(udp_length.to_be_bytes());
            frame.extend([17, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
    }
    // Source port, the discard port (RFC 863), length, no checksum.
    frame.extend([0x27, 0x0f, 0, 9]);
    frame.extend(udp_length.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(MARK);
    frame
}

fn ends<A>(direction: Direction, listed: A, client: A) -> (A, A) {
    match direction {
        Direction::Out => (client, listed),
        Direction::In => (listed, client),
    }
}

/// The Internet checksum (RFC 1071) of an IPv4 header whose checksum field is 0.
fn checksum(header: &[u8; 20]) -> u16 {
    let sum: u32 = header.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ruleset::{Guard, RuleDirection, RuleIdentity, Scope, Sets, compile};

    fn rule(name: &str, action: RuleAction, direction: RuleDirection, prefix: &str) -> Rule {
        let identity = RuleIdentity { name: name.into(), action, direction };
        let net: ipnet::Ipv4Net = prefix.parse().unwrap();
        let v4 = [(net.network().to_bits(), net.broadcast().to_bits())].into_iter().collect();
        Rule { identity, v4, v6: AddressSet::default(), scope: Scope::default() }
    }

    fn of(rules: &[Rule]) -> (Vec<Probe>, Vec<String>) {
        let ruleset = compile(rules, &Guard::default(), &mut Sets::default(), &BTreeMap::new()).unwrap();
        probes(rules, &ruleset)
    }

    #[test]
    fn each_block_rule_has_a_probe_for_its_directions_and_something_must_pass() {
        let (probes, without) = of(&[
            rule("a", RuleAction::Block, RuleDirection::Both, "71.18.0.0/16"),
            rule("b", RuleAction::Block, RuleDirection::In, "203.0.113.0/24"),
            rule("c", RuleAction::Monitor, RuleDirection::Both, "9.0.0.0/8"),
        ]);
        let shown: Vec<String> = probes
            .iter()
            .map(|probe| format!("{:?} {} {}", probe.rule, tally::direction::word(probe.direction), probe.address))
            .collect();
        assert_eq!(
            shown,
            [
                "Some(\"a\") out 71.18.0.0",
                "Some(\"a\") in 71.18.0.0",
                "Some(\"b\") in 203.0.113.0",
                "None out 198.51.100.10",
                "None out 2001:db8:100::10"
            ]
        );
        assert!(without.is_empty());
    }

    #[test]
    fn a_rule_that_no_packet_without_name_meets_is_told() {
        let mut scoped = rule("scoped", RuleAction::Block, RuleDirection::Both, "71.18.0.0/16");
        scoped.scope.vlans.push(7);
        let exempt = rule("exempt", RuleAction::Block, RuleDirection::Out, "203.0.113.0/24");
        let allow = rule("allow", RuleAction::Allow, RuleDirection::Out, "203.0.0.0/16");
        let (probes, without) = of(&[scoped, exempt, allow]);
        assert!(probes.iter().all(|probe| probe.rule.is_none()));
        assert_eq!(without, ["scoped", "exempt"]);
        let everything = rule("all", RuleAction::Block, RuleDirection::Both, "198.51.100.0/24");
        assert!(of(&[everything]).0.iter().all(|probe| probe.rule.is_some() || probe.address.is_ipv6()));
    }

    #[test]
    fn a_probe_has_a_right_checksum() {
        let frame = frame(Direction::Out, "71.18.1.1".parse().unwrap(), Layer::Ip);
        let sum: u32 = frame[..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!(usize::from(u16::from_be_bytes([frame[2], frame[3]])), frame.len());
    }
}
