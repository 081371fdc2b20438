//! Which live flows a change of the rules would cut. Pure; says nothing of rules by the clock, which are taken as on.
//!
//! Connection tracking knows who talks to whom, and neither device nor VLAN nor MAC address: a rule that is limited to such
//! speaks for a flow perhaps.

use std::net::IpAddr;

use filter_common::decide::Direction;

use crate::flows::Flow;
use crate::ruleset::delta::Addresses;
use crate::ruleset::resolve::ResolvedRule;
use crate::ruleset::{Guard, Resolved, RuleAction};

/// How sure it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sure {
    No,
    Perhaps,
    Yes,
}

/// All rules of one policy.
pub(super) struct Policy<'r> {
    rules: Vec<(&'r ResolvedRule, Addresses)>,
    guard: &'r Guard,
}

impl<'r> Policy<'r> {
    pub(super) fn new(resolved: &'r Resolved, guard: &'r Guard) -> Self {
        let rules = resolved.rules.iter().map(|rule| (rule, Addresses::of_rule(rule))).collect();
        Self { rules, guard }
    }

    /// Whether `flow` is blocked, by its packets of either direction, and the rule that does it.
    fn blocks(&self, flow: &Flow) -> (Sure, Option<&'r str>) {
        let ends = [(flow.server, flow.client), (flow.client, flow.server)];
        let packets = ends.into_iter().flat_map(|ends| [(ends, Direction::Out), (ends, Direction::In)]);
        let mut most = (Sure::No, None);
        for ((listed, client), direction) in packets.filter(|((listed, _), _)| !self.spares(*listed)) {
            let allowed = self.speaks(RuleAction::Allow, listed, client, direction).0;
            let (blocked, rule) = self.speaks(RuleAction::Block, listed, client, direction);
            let sure = match allowed {
                Sure::No => blocked,
                Sure::Perhaps => blocked.min(Sure::Perhaps),
                Sure::Yes => Sure::No,
            };
            if sure > most.0 {
                most = (sure, rule);
            }
        }
        most
    }

    /// Whether a rule with `action` speaks for packets of `client` to or from `listed`; the first of the surest.
    fn speaks(
        &self,
        action: RuleAction,
        listed: IpAddr,
        client: IpAddr,
        direction: Direction,
    ) -> (Sure, Option<&'r str>) {
        let mut most = (Sure::No, None);
        for (rule, addresses) in &self.rules {
            let identity = &rule.identity;
            let fits = identity.action == action && identity.direction.covers(direction) && addresses.contains(listed);
            if fits && of_client(rule, client) > most.0 {
                most = (of_client(rule, client), Some(identity.name.as_str()));
            }
        }
        most
    }

    /// Whether `address` is in the never-block set.
    fn spares(&self, address: IpAddr) -> bool {
        let Guard { v4, v6 } = self.guard;
        match address {
            IpAddr::V4(address) => v4.contains(address.into()),
            IpAddr::V6(address) => v6.contains(address.into()),
        }
    }
}

fn of_client(rule: &ResolvedRule, client: IpAddr) -> Sure {
    let scope = &rule.scope;
    if !scope.clients.is_empty() && !scope.clients.iter().any(|net| net.contains(&client)) {
        Sure::No
    } else if scope.vlans.is_empty() && scope.devices.is_empty() && scope.macs.is_empty() {
        Sure::Yes
    } else {
        Sure::Perhaps
    }
}

/// The rule by which `new` would cut `flow`, where `old` did not block it as surely.
pub(super) fn cut_by<'r>(flow: &Flow, old: &Policy<'_>, new: &Policy<'r>) -> Option<&'r str> {
    let (sure, rule) = new.blocks(flow);
    rule.filter(|_| sure > old.blocks(flow).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::Prefixes;
    use crate::ruleset::resolve::List;
    use crate::ruleset::{RuleDirection, RuleIdentity, Scope};
    use crate::source::copy::Batch;

    fn rule(name: &str, action: RuleAction, prefix: &str, clients: &[&str], devices: &[&str]) -> ResolvedRule {
        let mut prefixes = Prefixes::default();
        prefixes.push_net(prefix.parse().unwrap(), 0);
        let batches = vec![Batch { since: 0, prefixes }];
        ResolvedRule {
            identity: RuleIdentity { name: name.into(), action, direction: RuleDirection::Both },
            lists: vec![List { name: "prefixes".into(), source: "x".into(), fetched: 0, batches }],
            written: vec![],
            scope: Scope {
                clients: clients.iter().map(|net| net.parse().unwrap()).collect(),
                devices: devices.iter().map(|&name| name.into()).collect(),
                ..Scope::default()
            },
        }
    }

    /// The rule that cuts the flow from 10.0.0.2 to 71.18.1.1.
    fn cut(old: &[ResolvedRule], new: &[ResolvedRule], guard: &Guard) -> Option<String> {
        let flow = Flow {
            protocol: 6,
            client: "10.0.0.2".parse().unwrap(),
            server: "71.18.1.1".parse().unwrap(),
            ports: None,
            bytes: None,
            offloaded: false,
        };
        let [old, new] = [old, new].map(|rules| Resolved { rules: rules.to_vec(), ..Resolved::default() });
        cut_by(&flow, &Policy::new(&old, guard), &Policy::new(&new, guard)).map(str::to_owned)
    }

    #[test]
    fn a_flow_is_cut_by_what_blocks_it_from_now_on() {
        use RuleAction::{Allow, Block, Monitor};
        let guard = Guard::default();
        let all = rule("all", Block, "71.18.0.0/16", &[], &[]);
        let mine = rule("mine", Block, "71.18.0.0/16", &["10.0.0.2/32"], &[]);
        let theirs = rule("theirs", Block, "71.18.0.0/16", &["10.0.0.3/32"], &[]);
        let device = rule("device", Block, "71.18.0.0/16", &[], &["lan0"]);
        let friend = rule("friend", Allow, "71.18.1.0/24", &[], &[]);
        let out = |rule: &ResolvedRule| {
            let identity = RuleIdentity { direction: RuleDirection::Out, ..rule.identity.clone() };
            ResolvedRule { identity, ..rule.clone() }
        };
        let cases: &[(&[ResolvedRule], &[ResolvedRule], Option<&str>)] = &[
            (&[], std::slice::from_ref(&all), Some("all")),
            (&[], &[rule("watch", Monitor, "71.18.0.0/16", &[], &[])], None),
            (&[], &[theirs.clone(), mine.clone()], Some("mine")),
            (&[], std::slice::from_ref(&theirs), None),
            (&[], std::slice::from_ref(&device), Some("device")),
            (std::slice::from_ref(&device), std::slice::from_ref(&device), None),
            // Another name, or a narrower scope that still holds it, cuts nothing.
            (std::slice::from_ref(&all), std::slice::from_ref(&mine), None),
            (std::slice::from_ref(&theirs), std::slice::from_ref(&all), Some("all")),
            (std::slice::from_ref(&device), std::slice::from_ref(&all), Some("all")),
            (&[], &[all.clone(), friend.clone()], None),
            (&[all.clone(), friend.clone()], std::slice::from_ref(&all), Some("all")),
            // Exempt on the way out, and not on the way back.
            (&[], &[all.clone(), out(&friend)], Some("all")),
            (&[], &[out(&all), out(&friend)], None),
            // The end that began the flow may be the listed one.
            (&[], &[rule("in", Block, "10.0.0.0/24", &["71.18.1.1/32"], &[])], Some("in")),
        ];
        for (number, (old, new, expected)) in cases.iter().enumerate() {
            assert_eq!(cut(old, new, &guard).as_deref(), *expected, "case {number}");
        }
        let guard = Guard { v4: [(0x4712_0101, 0x4712_0101)].into_iter().collect(), ..Guard::default() };
        assert_eq!(cut(&[], &[all], &guard), None);
    }
}
