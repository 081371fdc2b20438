//! Two policies out of bytes: the change from one to the other, applied to the old one, gives the new one, and set ids keep
//! their meaning through both. Addresses are judged by a linear scan of the ranges as they were listed.
//!
//! Input: how many rules the old policy has (up to 4), each with name, action and direction, how many lists, and for each list
//! its name, its source and its ranges (`addresses`) with their ASes; then the same of the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use weir::prefix::{Address, AddressSet, Asn, Listed, Prefixes};
use weir::ruleset::delta::{Addresses, Fate, RuleDelta, deltas};
use weir::ruleset::resolve::{List, ResolvedRule};
use weir::ruleset::{Guard, Resolved, RuleIdentity, Scope, Sets, compile};
use weir::source::copy::Batch;

use crate::addresses::{listed, ranges_v4, ranges_v6};
use crate::bytes::Bytes;
use crate::decide::identity;

const RULES: [&str; 5] = ["apps", "ads", "work", "zone", "all"];
const LISTS: [&str; 3] = ["AS64500", "tiktok", "prefixes"];
const SOURCES: [&str; 3] = ["ripestat", "bgptools", "the configuration"];

/// See the file's first lines.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let (old, new) = (policy(&mut bytes), policy(&mut bytes));
    let found = deltas(&old, &new);
    let name = |rule: &ResolvedRule| rule.identity.name.clone();
    let gone = old.rules.iter().map(name).filter(|name| new.rules.iter().all(|rule| rule.identity.name != *name));
    let names: Vec<String> = new.rules.iter().map(name).chain(gone).collect();
    let told: Vec<String> = found.iter().filter_map(|delta| delta.new.or(delta.old).map(name)).collect();
    assert_eq!(told, names, "each rule once, in the order of the new policy, then those that go");
    for delta in &found {
        assert_applies(delta);
    }
    assert_sets_stay(&old, &new);
}

fn policy(bytes: &mut Bytes<'_>) -> Resolved {
    let mut rules: Vec<ResolvedRule> = Vec::new();
    for _ in 0..bytes.below(5) {
        let (name, choice) = (bytes.pick(&RULES), bytes.byte());
        let (action, direction) = identity(choice);
        let mut lists: BTreeMap<(&str, &str), List> = BTreeMap::new();
        for _ in 0..bytes.below(4) {
            let (list, source) = (bytes.pick(&LISTS), bytes.pick(&SOURCES));
            let (v4, v6) = (ranges_v4(bytes, 8), ranges_v6(bytes, 8));
            let prefixes = Prefixes { v4: listed(v4, bytes), v6: listed(v6, bytes) };
            let list = lists.entry((list, source)).or_insert_with(|| List {
                name: list.into(),
                source: source.into(),
                fetched: 0,
                batches: Vec::new(),
            });
            list.batches.push(Batch { since: 0, prefixes });
        }
        let vlans = if choice >> 7 == 1 { vec![u16::from(choice & 3)] } else { Vec::new() };
        if rules.iter().all(|rule| rule.identity.name != name) {
            rules.push(ResolvedRule {
                identity: RuleIdentity { name: name.into(), action, direction },
                lists: lists.into_values().collect(),
                written: Vec::new(),
                scope: Scope { vlans, ..Scope::default() },
            });
        }
    }
    Resolved { rules, ..Resolved::default() }
}

fn batches(rule: Option<&ResolvedRule>) -> impl Iterator<Item = &Batch> + Clone {
    rule.into_iter().flat_map(|rule| &rule.lists).flat_map(|list| &list.batches)
}

/// The oracle: every range is asked.
fn lists<'a>(mut batches: impl Iterator<Item = &'a Batch>, address: IpAddr) -> bool {
    batches.any(|batch| match address {
        IpAddr::V4(address) => holds(&batch.prefixes.v4, address.into()),
        IpAddr::V6(address) => holds(&batch.prefixes.v6, address.into()),
    })
}

fn holds<A: Address>(ranges: &[Listed<A>], address: A) -> bool {
    ranges.iter().any(|range| range.first <= address && address <= range.last)
}

/// Where any answer may change.
fn borders<'a>(batches: impl Iterator<Item = &'a Batch> + Clone) -> BTreeSet<IpAddr> {
    fn near<A: Address>(range: &Listed<A>) -> impl Iterator<Item = IpAddr> {
        let Listed { first, last, .. } = *range;
        [first.previous(), Some(first), Some(last), last.next()].into_iter().flatten().map(Address::to_ip)
    }
    let v4 = batches.clone().flat_map(|batch| batch.prefixes.v4.iter().flat_map(near));
    v4.chain(batches.flat_map(|batch| batch.prefixes.v6.iter().flat_map(near))).collect()
}

fn assert_applies(delta: &RuleDelta<'_>) {
    let (old, new) = (delta.old, delta.new);
    let mut changes = false;
    for address in borders(batches(old).chain(batches(new))) {
        let (before, after) = (lists(batches(old), address), lists(batches(new), address));
        assert_eq!(delta.added.contains(address), after && !before, "{address} in {delta:?}");
        assert_eq!(delta.removed.contains(address), before && !after, "{address} in {delta:?}");
        changes |= before != after;
    }
    let (was, is) = (addresses(old), addresses(new));
    let kept = was.without(&delta.removed);
    assert_eq!(union(&kept, &delta.added), is, "what is left and what comes are the new rule");
    assert_whole(&delta.added);
    assert_whole(&delta.removed);

    let says = |rule: &ResolvedRule| (rule.identity.clone(), rule.scope.clone(), rule.written.clone());
    let fate = match (old, new) {
        (None, _) => Fate::Added,
        (_, None) => Fate::Removed,
        (Some(old), Some(new)) if says(old) == says(new) && !changes => Fate::Same,
        _ => Fate::Changed,
    };
    assert_eq!(delta.fate, fate);
    let asns = |rule| -> BTreeSet<Asn> { batches(rule).flat_map(|batch| batch.prefixes.asns()).collect() };
    let lost: BTreeSet<Asn> = asns(old).into_iter().filter(|asn| *asn != 0 && !asns(new).contains(asn)).collect();
    assert_eq!(delta.lost, lost);
    assert_sources(delta);
}

/// The change of each list of each source, judged like that of the rule.
fn assert_sources(delta: &RuleDelta<'_>) {
    let of = |rule: Option<&ResolvedRule>, list: &str, source: &str| -> Vec<Batch> {
        let lists = rule.into_iter().flat_map(|rule| &rule.lists);
        lists.filter(|one| one.name == list && one.source == source).flat_map(|list| list.batches.clone()).collect()
    };
    for list in LISTS {
        for source in SOURCES {
            let (before, after) = (of(delta.old, list, source), of(delta.new, list, source));
            let told = delta.sources.iter().find(|one| one.list == list && one.source == source);
            for address in borders(before.iter().chain(&after)) {
                let (was, is) = (lists(before.iter(), address), lists(after.iter(), address));
                let (added, removed) =
                    told.map_or((false, false), |one| (one.added.contains(address), one.removed.contains(address)));
                assert_eq!((added, removed), (is && !was, was && !is), "{address} of {list} by {source}");
            }
        }
    }
}

fn addresses(rule: Option<&ResolvedRule>) -> Addresses {
    rule.map(Addresses::of_rule).unwrap_or_default()
}

fn union(a: &Addresses, b: &Addresses) -> Addresses {
    let v4 = a.v4.ranges().iter().chain(b.v4.ranges()).copied().collect();
    Addresses { v4, v6: a.v6.ranges().iter().chain(b.v6.ranges()).copied().collect() }
}

/// The prefixes of a set make up the set, and no two of them could be one; its numbers are those of the prefixes.
fn assert_whole(of: &Addresses) {
    let nets: Vec<IpNet> = of.prefixes().collect();
    let mut prefixes = Prefixes::default();
    for &net in &nets {
        prefixes.push_net(net, 0);
    }
    let v4: AddressSet<u32> = prefixes.v4.iter().map(|range| (range.first, range.last)).collect();
    let v6: AddressSet<u128> = prefixes.v6.iter().map(|range| (range.first, range.last)).collect();
    assert_eq!((&v4, &v6), (&of.v4, &of.v6));
    for pair in nets.windows(2) {
        let mergeable = pair[0] != pair[1] && pair[0].prefix_len() > 0 && pair[0].supernet() == pair[1].supernet();
        assert!(!mergeable || pair[0].prefix_len() != pair[1].prefix_len(), "{pair:?} are one");
    }
    let count = of.count();
    assert_eq!(count.ipv4_prefixes + count.ipv6_prefixes, nets.len());
    let sum = |bits: u8, is_v4: bool| {
        let own = nets.iter().filter(|net| net.addr().is_ipv4() == is_v4);
        own.map(|net| 1_u128.checked_shl(u32::from(bits - net.prefix_len())).unwrap_or(u128::MAX))
            .fold(0, u128::saturating_add)
    };
    assert_eq!((count.ipv4_addresses, count.ipv6_addresses), (sum(32, true), sum(128, false)));
}

/// A set id means the same rules before and after, and what is exported is restored.
fn assert_sets_stay(old: &Resolved, new: &Resolved) {
    let mut sets = Sets::default();
    let none = BTreeMap::new();
    compile(&old.rules(), &Guard::default(), &mut sets, &none).unwrap();
    let before = sets.export();
    let ruleset = compile(&new.rules(), &Guard::default(), &mut sets, &none).unwrap();
    let after = sets.export();
    assert_eq!(after[..before.len()], before);
    // Their order is that of the rules' numbers, which are given anew.
    let sorted = |mut sets: Vec<Vec<RuleIdentity>>| {
        for rules in &mut sets {
            rules.sort_unstable();
        }
        sets
    };
    let restored = Sets::restore(&after).map(|sets| sorted(sets.export()));
    assert_eq!(restored, Some(sorted(after)));
    let all: Vec<Batch> = new.rules.iter().flat_map(|rule| batches(Some(rule)).cloned()).collect();
    for address in borders(all.iter()) {
        let members: BTreeSet<&str> = sets.rules_of(ruleset.set_of(address)).map(|rule| rule.name.as_str()).collect();
        let listing = new.rules.iter().filter(|rule| lists(batches(Some(*rule)), address));
        assert_eq!(members, listing.map(|rule| rule.identity.name.as_str()).collect(), "{address}");
    }
}
