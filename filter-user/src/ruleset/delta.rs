//! What changes from one resolved policy to the next, rule by rule and source by source. Pure; shows nothing.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::Serialize;

use super::resolve::{List, Resolved, ResolvedRule};
use crate::prefix::{AddressSet, Asn};
use crate::source::copy::Batch;

/// Addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4.
    pub v4: AddressSet<u32>,
    /// IPv6.
    pub v6: AddressSet<u128>,
}

impl Addresses {
    fn of<'b>(batches: impl Iterator<Item = &'b Batch> + Clone) -> Self {
        let v4 = batches.clone().flat_map(|batch| &batch.prefixes.v4).map(|range| (range.first, range.last));
        let v6 = batches.flat_map(|batch| &batch.prefixes.v6).map(|range| (range.first, range.last));
        Self { v4: v4.collect(), v6: v6.collect() }
    }

    /// All addresses of a rule.
    #[must_use]
    pub fn of_rule(rule: &ResolvedRule) -> Self {
        Self::of(rule.lists.iter().flat_map(|list| &list.batches))
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self { v4: self.v4.subtract(&other.v4), v6: self.v6.subtract(&other.v6) }
    }

    /// The fewest prefixes that make them up.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.v4.cidrs().chain(self.v6.cidrs())
    }

    /// Their numbers.
    #[must_use]
    pub fn count(&self) -> Count {
        Count {
            ipv4_prefixes: self.v4.cidrs().count(),
            ipv4_addresses: self.v4.addresses(),
            ipv6_prefixes: self.v6.cidrs().count(),
            ipv6_addresses: self.v6.addresses(),
        }
    }

    /// True where `address` is among them.
    #[must_use]
    pub fn contains(&self, address: std::net::IpAddr) -> bool {
        match address {
            std::net::IpAddr::V4(address) => self.v4.contains(address.into()),
            std::net::IpAddr::V6(address) => self.v6.contains(address.into()),
        }
    }
}

/// How many prefixes and addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The fewest IPv4 prefixes.
    pub ipv4_prefixes: usize,
    /// IPv4 addresses.
    pub ipv4_addresses: u128,
    /// The fewest IPv6 prefixes.
    pub ipv6_prefixes: usize,
    /// IPv6 addresses.
    pub ipv6_addresses: u128,
}

/// What happens to a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It comes new.
    Added,
    /// It goes.
    Removed,
    /// What it lists, does, or speaks for changes.
    Changed,
    /// Nothing.
    Same,
}

/// The change of one rule.
#[derive(Clone, Debug)]
pub struct RuleDelta<'r> {
    /// The rule as it was.
    pub old: Option<&'r ResolvedRule>,
    /// The rule as it will be.
    pub new: Option<&'r ResolvedRule>,
    /// What happens to it.
    pub fate: Fate,
    /// Addresses that it starts to list.
    pub added: Addresses,
    /// Addresses that it lists no longer.
    pub removed: Addresses,
    /// The same for each source of the rule: list and source, what it adds, what it removes.
    pub sources: Vec<SourceDelta>,
    /// ASes it listed something of, and lists nothing of any more.
    pub lost: BTreeSet<Asn>,
}

/// The change of one list of a rule, as one source gives it.
#[derive(Clone, Debug)]
pub struct SourceDelta {
    /// The list.
    pub list: String,
    /// The source.
    pub source: String,
    /// Addresses it starts to list.
    pub added: Addresses,
    /// Addresses it lists no longer.
    pub removed: Addresses,
}

/// The change of every rule of either policy, in the order of the new one, then those that go.
#[must_use]
pub fn deltas<'r>(old: &'r Resolved, new: &'r Resolved) -> Vec<RuleDelta<'r>> {
    let find = |rules: &'r [ResolvedRule], name: &str| rules.iter().find(|rule| rule.identity.name == name);
    let kept = new.rules.iter().map(|rule| delta(find(&old.rules, &rule.identity.name), Some(rule)));
    let gone = old.rules.iter().filter(|rule| find(&new.rules, &rule.identity.name).is_none());
    kept.chain(gone.map(|rule| delta(Some(rule), None))).collect()
}

fn delta<'r>(old: Option<&'r ResolvedRule>, new: Option<&'r ResolvedRule>) -> RuleDelta<'r> {
    let before = old.map(Addresses::of_rule).unwrap_or_default();
    let after = new.map(Addresses::of_rule).unwrap_or_default();
    let (added, removed) = (after.without(&before), before.without(&after));
    let same = |old: &ResolvedRule, new: &ResolvedRule| {
        (&old.identity, &old.scope, &old.written) == (&new.identity, &new.scope, &new.written)
    };
    let nothing = Addresses::default();
    let fate = match (old, new) {
        (None, _) => Fate::Added,
        (_, None) => Fate::Removed,
        (Some(old), Some(new)) if same(old, new) && (&added, &removed) == (&nothing, &nothing) => Fate::Same,
        _ => Fate::Changed,
    };
    let lost = asns(old).difference(&asns(new)).copied().filter(|&asn| asn != 0).collect();
    RuleDelta { old, new, fate, added, removed, sources: sources(old, new), lost }
}

fn asns(rule: Option<&ResolvedRule>) -> BTreeSet<Asn> {
    let batches = rule.into_iter().flat_map(|rule| &rule.lists).flat_map(|list| &list.batches);
    batches.flat_map(|batch| batch.prefixes.asns()).collect()
}

fn sources(old: Option<&ResolvedRule>, new: Option<&ResolvedRule>) -> Vec<SourceDelta> {
    let lists = |rule: Option<&ResolvedRule>| -> BTreeMap<(String, String), Addresses> {
        let one = |list: &List| ((list.name.clone(), list.source.clone()), Addresses::of(list.batches.iter()));
        rule.into_iter().flat_map(|rule| &rule.lists).map(one).collect()
    };
    let (old, new) = (lists(old), lists(new));
    let names: BTreeSet<_> = old.keys().chain(new.keys()).cloned().collect();
    let nothing = Addresses::default();
    names
        .into_iter()
        .map(|key| {
            let (before, after) = (old.get(&key).unwrap_or(&nothing), new.get(&key).unwrap_or(&nothing));
            let (added, removed) = (after.without(before), before.without(after));
            SourceDelta { list: key.0, source: key.1, added, removed }
        })
        .filter(|delta| (&delta.added, &delta.removed) != (&nothing, &nothing))
        .collect()
}
