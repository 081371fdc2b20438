//! Rules as an operator states them, and what they mean by a linear scan. Must never look at anything compiled.

use std::collections::BTreeMap;
use std::net::IpAddr;

use filter_common::decide::{Direction, Reason, decide};
use filter_common::packet::{Layer, Meta};
use weir::prefix::Address;
use weir::ruleset::compile::CompileError;
use weir::ruleset::{Guard, Rule, RuleAction, RuleDirection, RuleIdentity, Ruleset, Scope, Sets, compile};

/// An inclusive range, as listed: it may overlap others of the same list.
pub(crate) type Range<A> = (A, A);

/// One rule as configured.
#[derive(Clone, Debug)]
pub(crate) struct Stated {
    pub(crate) action: RuleAction,
    pub(crate) direction: RuleDirection,
    pub(crate) v4: Vec<Range<u32>>,
    pub(crate) v6: Vec<Range<u128>>,
    pub(crate) scope: Scope,
}

/// All of a configuration that the decision depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stating {
    pub(crate) rules: Vec<Stated>,
    pub(crate) guard_v4: Vec<Range<u32>>,
    pub(crate) guard_v6: Vec<Range<u128>>,
}

/// The devices there are, and the indices the kernel gave them.
pub(crate) const DEVICES: [(&str, u32); 4] = [("lo", 1), ("lan0", 4), ("lan1", 5), ("wan0", 300)];

/// A packet and where it is met.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// By its place in [`DEVICES`].
    pub(crate) device: usize,
    /// MAC addresses of the source and the destination; none where the frame starts with the IP header.
    pub(crate) macs: Option<[[u8; 6]; 2]>,
    /// The tags' control information, the outermost first.
    pub(crate) tags: Vec<u16>,
    /// The kernel took the outermost tag out of the frame.
    pub(crate) untagged: bool,
}

impl Sighting {
    /// A bare packet.
    pub(crate) fn of(source: IpAddr, destination: IpAddr) -> Self {
        Self { source, destination, device: 0, macs: None, tags: Vec::new(), untagged: false }
    }

    /// What the operator calls it: the id of the outermost tag, 0 without one.
    fn vlan(&self) -> u16 {
        self.tags.first().map_or(0, |control| control % 4096)
    }

    /// The frame that the hook gets.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let (ethertype, packet) = match (self.source, self.destination) {
            (IpAddr::V4(a), IpAddr::V4(b)) => ([8, 0], [&[0x45; 12][..], &a.octets(), &b.octets()].concat()),
            (IpAddr::V6(a), IpAddr::V6(b)) => ([0x86, 0xdd], [&[0x60; 8][..], &a.octets(), &b.octets()].concat()),
            _ => panic!("{} and {} are of different families", self.source, self.destination),
        };
        let Some([source, destination]) = self.macs else { return packet };
        let mut frame = [destination, source].concat();
        for control in self.tags.iter().skip(usize::from(self.untagged)) {
            frame.extend([0x81, 0]);
            frame.extend(control.to_be_bytes());
        }
        frame.extend(ethertype);
        [frame, packet].concat()
    }

    /// What the hook says beside it.
    pub(crate) fn meta(&self) -> Meta {
        let vlan = self.tags.first().filter(|_| self.untagged).map_or(0, |&control| Meta::tag(control));
        let layer = if self.macs.is_some() { Layer::Ethernet } else { Layer::Ip };
        Meta { layer, device: DEVICES[self.device].1, vlan }
    }
}

/// A decision in the operator's words: why, which direction, and the numbers of the rules it is counted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) reason: Reason,
    pub(crate) direction: Direction,
    pub(crate) credited: Vec<usize>,
    /// The rules that list the address that decided, and whose scope holds the packet.
    pub(crate) speaking: Vec<usize>,
}

impl Stated {
    pub(crate) fn identity(&self, number: usize) -> RuleIdentity {
        RuleIdentity { name: number.to_string(), action: self.action, direction: self.direction }
    }

    fn lists(&self, address: IpAddr) -> bool {
        holds(&self.v4, &self.v6, address)
    }

    /// Whether the rule is meant for a packet whose other end, the client, is its source (out) or its destination (in).
    fn is_meant_for(&self, met: &Sighting, direction: Direction) -> bool {
        let Scope { clients, vlans, devices, macs } = &self.scope;
        let (client, mac) = match direction {
            Direction::Out => (met.source, met.macs.map(|[source, _]| source)),
            Direction::In => (met.destination, met.macs.map(|[_, destination]| destination)),
        };
        let device = DEVICES[met.device].0;
        (clients.is_empty() || clients.iter().any(|net| net.contains(&client)))
            && (vlans.is_empty() || vlans.contains(&met.vlan()))
            && (devices.is_empty() || devices.iter().any(|name| name == device))
            && (macs.is_empty() || mac.is_some_and(|mac| macs.contains(&mac)))
    }
}

fn holds(v4: &[Range<u32>], v6: &[Range<u128>], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => v4.iter().any(|range| range.0 <= address.into() && u32::from(address) <= range.1),
        IpAddr::V6(address) => v6.iter().any(|range| range.0 <= address.into() && u128::from(address) <= range.1),
    }
}

impl Stating {
    pub(crate) fn compile(&self, sets: &mut Sets) -> Ruleset {
        self.try_compile(sets).unwrap()
    }

    pub(crate) fn try_compile(&self, sets: &mut Sets) -> Result<Ruleset, CompileError> {
        let rule = |(number, stated): (usize, &Stated)| Rule {
            identity: stated.identity(number),
            v4: stated.v4.iter().copied().collect(),
            v6: stated.v6.iter().copied().collect(),
            scope: stated.scope.clone(),
        };
        let rules: Vec<_> = self.rules.iter().enumerate().map(rule).collect();
        let guard = Guard { v4: self.guard_v4.iter().copied().collect(), v6: self.guard_v6.iter().copied().collect() };
        let devices: BTreeMap<String, u32> = DEVICES.iter().map(|&(name, index)| (name.into(), index)).collect();
        compile(&rules, &guard, sets, &devices)
    }

    /// What one direction's address asks for, and the rules that say so, and all rules that speak.
    fn asked(&self, direction: Direction, address: IpAddr, met: &Sighting) -> (Reason, Vec<usize>, Vec<usize>) {
        if holds(&self.guard_v4, &self.guard_v6, address) {
            return (Reason::Unlisted, Vec::new(), Vec::new());
        }
        let numbered = self.rules.iter().enumerate();
        let speaking: Vec<usize> = numbered
            .filter(|(_, rule)| rule.lists(address) && rule.is_meant_for(met, direction))
            .map(|(number, _)| number)
            .collect();
        let saying = |wanted: &[RuleAction]| -> Vec<usize> {
            let covers = |rule: &Stated| match rule.direction {
                RuleDirection::Both => true,
                RuleDirection::Out => direction == Direction::Out,
                RuleDirection::In => direction == Direction::In,
            };
            let says = |&&number: &&usize| wanted.contains(&self.rules[number].action) && covers(&self.rules[number]);
            speaking.iter().filter(says).copied().collect()
        };
        let allowing = saying(&[RuleAction::Allow]);
        if !allowing.is_empty() {
            return (Reason::Allowed, allowing, speaking);
        }
        let counting = saying(&[RuleAction::Block, RuleAction::Monitor]);
        if !saying(&[RuleAction::Block]).is_empty() {
            return (Reason::Blocked, counting, speaking);
        }
        (if counting.is_empty() { Reason::Unlisted } else { Reason::Monitored }, counting, speaking)
    }

    /// What the rules say of a packet: a drop beats monitoring, that beats a mere allow, and between equals out wins.
    pub(crate) fn expected(&self, met: &Sighting) -> Outcome {
        let out = self.asked(Direction::Out, met.destination, met);
        let in_ = self.asked(Direction::In, met.source, met);
        for reason in [Reason::Blocked, Reason::Monitored, Reason::Allowed] {
            for (asked, direction) in [(&out, Direction::Out), (&in_, Direction::In)] {
                if asked.0 == reason {
                    let (credited, speaking) = (asked.1.clone(), asked.2.clone());
                    return Outcome { reason, direction, credited, speaking };
                }
            }
        }
        Outcome { reason: Reason::Unlisted, direction: Direction::Out, credited: Vec::new(), speaking: Vec::new() }
    }

    /// The first and last address of every range and their neighbours.
    fn borders<A: Address>(lists: &[&[Range<A>]]) -> Vec<IpAddr> {
        let ranges = lists.iter().flat_map(|list| list.iter());
        let near = |address: A| [address.previous(), Some(address), address.next()];
        ranges.flat_map(|&(first, last)| [near(first), near(last)].concat()).flatten().map(Address::to_ip).collect()
    }

    /// Addresses where one family's answer may change, sorted, each once; the family's ends included.
    pub(crate) fn borders_v4(&self) -> Vec<IpAddr> {
        let ends = [(0, u32::MAX)];
        let lists: Vec<_> = self.rules.iter().map(|rule| &rule.v4[..]).chain([&self.guard_v4[..], &ends]).collect();
        once(Self::borders(&lists))
    }

    /// As [`Stating::borders_v4`].
    pub(crate) fn borders_v6(&self) -> Vec<IpAddr> {
        let ends = [(0, u128::MAX)];
        let lists: Vec<_> = self.rules.iter().map(|rule| &rule.v6[..]).chain([&self.guard_v6[..], &ends]).collect();
        once(Self::borders(&lists))
    }
}

fn once(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// What the compiled ruleset decides on a packet, its set turned back into rules.
pub(crate) fn decided(ruleset: &Ruleset, sets: &Sets, met: &Sighting) -> Outcome {
    let decision = decide(&met.frame()[..], &met.meta(), ruleset);
    let numbers = |names: Vec<&str>| {
        let mut numbers: Vec<usize> = names.into_iter().map(|name| name.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    let credited = sets.credited(decision.set, decision.direction).map(|rule| rule.name.as_str()).collect();
    let members = sets.rules_of(decision.set).map(|rule| rule.name.as_str()).collect();
    Outcome {
        reason: decision.reason,
        direction: decision.direction,
        credited: numbers(credited),
        speaking: numbers(members),
    }
}
