//! Why an address is blocked, or why not, as `weir explain` and the page say it. Judges what is resolved and compiled; looks
//! nothing up itself. The JSON shape is documented in docs/json.md and stays stable.

use std::collections::BTreeSet;
use std::net::IpAddr;

use filter_common::decide::Action;
use serde::{Deserialize, Serialize};

use super::compile::{Guard, Ruleset};
use super::resolve::Resolved;
use super::sets::{RuleAction, RuleDirection};
use crate::prefix::Asn;

/// What happens to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// They are dropped.
    Drop,
    /// They pass.
    Pass,
}

impl Verdict {
    fn of(action: u32) -> Self {
        if action == Action::Block as u32 { Self::Drop } else { Self::Pass }
    }

    /// The word for it in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Pass => "pass",
        }
    }
}

/// What happens to packets to and from one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The address, IPv4-mapped ones as IPv4.
    pub address: IpAddr,
    /// Packets to it.
    pub verdict_out: Verdict,
    /// Packets from it.
    pub verdict_in: Verdict,
    /// Every place where a rule lists it.
    pub rules: Vec<Listing>,
    /// The reason for the verdicts, for people.
    pub why: String,
}

/// One place where a rule lists the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The rule's name.
    pub name: String,
    /// Its action, as it is configured.
    pub action: RuleAction,
    /// Its direction.
    pub direction: RuleDirection,
    /// The prefix that holds the address.
    pub prefix: String,
    /// The origin AS that the list gives.
    pub asn: Option<Asn>,
    /// The list.
    pub list: String,
    /// Who says so.
    pub source: String,
    /// When the source last answered, Unix seconds.
    pub fetched: Option<i64>,
    /// Since when the source lists the prefix, Unix seconds.
    pub since: Option<i64>,
    /// Which packets the rule speaks for; nothing where for all.
    pub scope: Option<String>,
    /// The rule's schedule switches it off just now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resting: bool,
}

/// What keeps rules from their work for a while.
#[derive(Clone, Copy, Debug, Default)]
pub struct Suspension<'a> {
    /// Names of the rules that their schedule switches off.
    pub resting: Option<&'a BTreeSet<String>>,
    /// Block rules only count.
    pub paused: bool,
}

/// Judges `address` by the rules as they are resolved, and by what they were compiled to.
#[must_use]
pub fn explain(
    address: IpAddr,
    resolved: &Resolved,
    guard: &Guard,
    compiled: &Ruleset,
    suspension: Suspension<'_>,
) -> Explained {
    // Programs log ::ffff:192.0.2.1 for what is 192.0.2.1 on the wire.
    let address = address.to_canonical();
    let set = compiled.set_of(address);
    let actions = compiled.actions.get(set as usize).copied().unwrap_or_default();
    let guarded = match address {
        IpAddr::V4(address) => guard.v4.contains(address.into()),
        IpAddr::V6(address) => guard.v6.contains(address.into()),
    };
    let rests = |name: &String| suspension.resting.is_some_and(|resting| resting.contains(name));
    let rules: Vec<Listing> = resolved
        .matches(address)
        .into_iter()
        .map(|found| Listing {
            name: found.rule.identity.name.clone(),
            action: found.rule.identity.action,
            direction: found.rule.identity.direction,
            prefix: found.prefix.to_string(),
            asn: Some(found.asn).filter(|&asn| asn != 0),
            list: found.list.name.clone(),
            source: found.list.source.clone(),
            fetched: Some(found.list.fetched).filter(|&time| time != 0),
            since: Some(found.since).filter(|&time| time != 0),
            scope: Some(found.rule.scope.to_string()).filter(|scope| !scope.is_empty()),
            resting: rests(&found.rule.identity.name),
        })
        .collect();
    let why = why(&rules, guarded, actions.out.max(actions.in_), actions.scoped != 0, suspension.paused);
    Explained { address, verdict_out: Verdict::of(actions.out), verdict_in: Verdict::of(actions.in_), rules, why }
}

fn why(rules: &[Listing], guarded: bool, action: u32, scoped: bool, paused: bool) -> String {
    if rules.is_empty() {
        return "no rule lists this address".into();
    }
    if guarded {
        return "the address is in the never-block set (this host, its gateways and resolvers, private and special \
                networks, never_block): no rule takes effect on it"
            .into();
    }
    let blocks = rules.iter().any(|rule| rule.action == RuleAction::Block && !rule.resting);
    let why = match action {
        1 => "an allow rule names it, which beats every block",
        2 if paused && blocks => "a block rule names it, and weir is paused: it is counted and passes",
        2 => "only monitor rules name it: it is counted and passes",
        3 => "a block rule names it",
        _ if rules.iter().all(|rule| rule.resting) => {
            "the rules that name it rest: their schedule switches them off now"
        }
        _ => "no rule speaks for it",
    };
    let limit =
        if scoped { "; so for packets in the scope of every rule, others pass or meet fewer rules" } else { "" };
    format!("{why}{limit}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Config, RuleConfig};
    use crate::ruleset::parts::Copies;
    use crate::ruleset::{Host, Rule, Sets, compile, guard, resolve};

    fn explained(address: &str, resting: &[&str], paused: bool) -> Explained {
        let mut config = Config::default();
        let rule = |name: &str, action: RuleAction, prefix: &str| {
            let mut rule = RuleConfig::block(name);
            rule.identity.action = action;
            rule.prefixes.push(prefix.parse().unwrap());
            rule
        };
        config.rules.push(rule("block", RuleAction::Block, "203.0.113.0/24"));
        config.rules.push(rule("watch", RuleAction::Monitor, "203.0.113.128/25"));
        config.rules.push(rule("office", RuleAction::Allow, "203.0.113.7/32"));
        let resolved = resolve(&config, &Copies::new()).unwrap();
        let guard = guard(&["203.0.113.99/32".parse().unwrap()], &Host::default(), [].into_iter());
        let resting: BTreeSet<String> = resting.iter().map(ToString::to_string).collect();
        let as_now = |mut rule: Rule| {
            if paused && rule.identity.action == RuleAction::Block {
                rule.identity.action = RuleAction::Monitor;
            }
            rule
        };
        let awake = |rule: &Rule| !resting.contains(&rule.identity.name);
        let rules: Vec<Rule> = resolved.rules().into_iter().filter(awake).map(as_now).collect();
        let compiled = compile(&rules, &guard, &mut Sets::default(), &BTreeMap::new()).unwrap();
        let suspension = Suspension { resting: Some(&resting), paused };
        explain(address.parse().unwrap(), &resolved, &guard, &compiled, suspension)
    }

    #[test]
    fn a_pause_and_a_schedule_are_reasons_to_pass() {
        let why = |address: &str, resting: &[&str], paused: bool| {
            let explained = explained(address, resting, paused);
            assert_eq!(explained.verdict_out, explained.verdict_in);
            (explained.verdict_out.as_str(), explained.why)
        };
        assert_eq!(why("203.0.113.1", &[], false), ("drop", "a block rule names it".into()));
        assert_eq!(why("::ffff:203.0.113.1", &[], false), ("drop", "a block rule names it".into()));
        let paused = "a block rule names it, and weir is paused: it is counted and passes";
        assert_eq!(why("203.0.113.1", &[], true), ("pass", paused.into()));
        let rest = "the rules that name it rest: their schedule switches them off now";
        assert_eq!(why("203.0.113.1", &["block"], false), ("pass", rest.into()));
        let counted = "only monitor rules name it: it is counted and passes";
        assert_eq!(why("203.0.113.200", &["block"], false), ("pass", counted.into()));
        assert_eq!(why("203.0.113.200", &["block"], true), ("pass", counted.into()), "what rests is not paused");
        assert_eq!(why("203.0.113.7", &[], true), ("pass", "an allow rule names it, which beats every block".into()));
        assert!(why("203.0.113.99", &[], false).1.starts_with("the address is in the never-block set"));
        assert_eq!(why("203.0.114.1", &[], false), ("pass", "no rule lists this address".into()));
    }

    #[test]
    fn a_rule_that_rests_is_told_apart_and_keeps_its_action() {
        let rules = explained("203.0.113.200", &["block"], true).rules;
        let told: Vec<_> = rules.iter().map(|rule| (rule.name.as_str(), rule.action, rule.resting)).collect();
        assert_eq!(told, [("block", RuleAction::Block, true), ("watch", RuleAction::Monitor, false)]);
    }
}
