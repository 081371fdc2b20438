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
