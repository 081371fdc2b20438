//! Rules as an operator states them, and what they mean by a linear scan. Must never look at anything compiled.

use std::net::IpAddr;

use filter_common::decide::{Direction, Reason, decide};
use filter_common::packet::Layer;
use weir::prefix::Address;
use weir::ruleset::{Guard, Rule, RuleAction, RuleDirection, RuleIdentity, Ruleset, Sets, compile};

/// An inclusive range, as listed: it may overlap others of the same list.
pub(crate) type Range<A> = (A, A);

/// One rule as configured.
#[derive(Clone, Debug)]
pub(crate) struct Stated {
    pub(crate) action: RuleAction,
    pub(crate) direction: RuleDirection,
    pub(crate) v4: Vec<Range<u32>>,
    pub(crate) v6: Vec<Range<u128>>,
}

/// All of a configuration that the decision depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stating {
    pub(crate) rules: Vec<Stated>,
    pub(crate) guard_v4: Vec<Range<u32>>,
    pub(crate) guard_v6: Vec<Range<u128>>,
}

/// A decision in the operator's words: why, which direction, and the numbers of the rules it is counted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) reason: Reason,
    pub(crate) direction: Direction,
    pub(crate) credited: Vec<usize>,
}

impl Stated {
    pub(crate) fn identity(&self, number: usize) -> RuleIdentity {
        RuleIdentity { name: number.to_string(), action: self.action, direction: self.direction }
    }

    fn lists(&self, address: IpAddr) -> bool {
        holds(&self.v4, &self.v6, address)
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
        let rule = |(number, stated): (usize, &Stated)| Rule {
            identity: stated.identity(number),
            v4: stated.v4.iter().copied().collect(),
            v6: stated.v6.iter().copied().collect(),
        };
        let rules: Vec<_> = self.rules.iter().enumerate().map(rule).collect();
        let guard = Guard { v4: self.guard_v4.iter().copied().collect(), v6: self.guard_v6.iter().copied().collect() };
        compile(&rules, &guard, sets).unwrap()
    }

    /// What one direction's address asks for, and the rules that say so.
    fn asked(&self, direction: Direction, address: IpAddr) -> (Reason, Vec<usize>) {
        if holds(&self.guard_v4, &self.guard_v6, address) {
            return (Reason::Unlisted, Vec::new());
        }
        let speaking = |wanted: &[RuleAction]| -> Vec<usize> {
            let covers = |rule: &Stated| match rule.direction {
                RuleDirection::Both => true,
                RuleDirection::Out => direction == Direction::Out,
                RuleDirection::In => direction == Direction::In,
            };
            let numbered = self.rules.iter().enumerate();
            let found =
                numbered.filter(|(_, rule)| wanted.contains(&rule.action) && covers(rule) && rule.lists(address));
            found.map(|(number, _)| number).collect()
        };
        let allowing = speaking(&[RuleAction::Allow]);
        if !allowing.is_empty() {
            return (Reason::Allowed, allowing);
        }
        let counting = speaking(&[RuleAction::Block, RuleAction::Monitor]);
        if !speaking(&[RuleAction::Block]).is_empty() {
            return (Reason::Blocked, counting);
        }
        (if counting.is_empty() { Reason::Unlisted } else { Reason::Monitored }, counting)
    }

    /// What the rules say of a packet: a drop beats monitoring, that beats a mere allow, and between equals out wins.
    pub(crate) fn expected(&self, source: IpAddr, destination: IpAddr) -> Outcome {
        let (out, of_destination) = self.asked(Direction::Out, destination);
        let (in_, of_source) = self.asked(Direction::In, source);
        for reason in [Reason::Blocked, Reason::Monitored, Reason::Allowed] {
            if out == reason {
                return Outcome { reason, direction: Direction::Out, credited: of_destination };
            }
            if in_ == reason {
                return Outcome { reason, direction: Direction::In, credited: of_source };
            }
        }
        Outcome { reason: Reason::Unlisted, direction: Direction::Out, credited: Vec::new() }
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
pub(crate) fn decided(ruleset: &Ruleset, sets: &Sets, source: IpAddr, destination: IpAddr) -> Outcome {
    let packet = match (source, destination) {
        (IpAddr::V4(a), IpAddr::V4(b)) => [&[0x45; 12][..], &a.octets(), &b.octets()].concat(),
        (IpAddr::V6(a), IpAddr::V6(b)) => [&[0x60; 8][..], &a.octets(), &b.octets()].concat(),
        _ => panic!("{source} and {destination} are of different families"),
    };
    let decision = decide(&packet[..], Layer::Ip, ruleset);
    let mut credited: Vec<usize> =
        sets.credited(decision.set, decision.direction).map(|rule| rule.name.parse().unwrap()).collect();
    credited.sort_unstable();
    // The set that a packet is counted under is that of the address which decided.
    let listed = if decision.direction == Direction::Out { destination } else { source };
    if decision.reason != Reason::Unlisted {
        assert_eq!(decision.set, ruleset.set_of(listed), "{source} -> {destination}");
    }
    Outcome { reason: decision.reason, direction: decision.direction, credited }
}
