//! The Internet's origin table as tests and the benchmark use it: one rule for each origin AS, and the same prefixes for the
//! kernel's `LPM_TRIE`. Must take the trie's values from the rules, never from weir's tables.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::net::IpAddr;
use std::path::PathBuf;

use filter_common::decide::Direction;
use weir::prefix::{Address, Asn, Listed, Prefixes};
use weir::ruleset::{Guard, Rule, RuleAction, RuleDirection, RuleIdentity, Ruleset, Scope, Sets, compile};
use weir::source::{Wanted, read_asn_table};

use crate::frame::Xorshift;
use crate::skipped;

/// One prefix of the table and its origin; sorted so that a prefix stands before those it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix<A> {
    /// Its first address.
    pub first: A,
    /// Its length in bits.
    pub length: u8,
    /// Its last address.
    pub last: A,
    /// Who announces it.
    pub asn: Asn,
}

/// The set id of each combination of origins.
pub type Ids = BTreeMap<Vec<Asn>, u32>;

/// The whole table as a source parses it; `None`, and a word to the test runner, where `WEIR_DATA` has none.
#[must_use]
pub fn read(test: &str) -> Option<Prefixes> {
    let parsed = parse();
    if let Err(why) = &parsed {
        skipped(test, why);
    }
    parsed.ok()
}

/// The whole table as a source parses it, or why there is none.
pub fn parse() -> Result<Prefixes, String> {
    let root = env::var_os("WEIR_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    let mut all = Prefixes::default();
    for name in ["asn/asn-ipv4.csv.gz", "asn/asn-ipv6.csv.gz"] {
        let path = root.join(name);
        let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        all.append(read_asn_table(&bytes, &Wanted::All).unwrap().parsed.prefixes);
    }
    Ok(all)
}

/// The CIDR prefixes of rows, sorted.
fn prefixes<A: Address>(rows: &[Listed<A>], address: impl Fn(IpAddr) -> A) -> Vec<Prefix<A>> {
    let mut all = Vec::with_capacity(2 * rows.len());
    for row in rows {
        all.extend(A::cidrs(row.first, row.last).into_iter().map(|net| Prefix {
            first: address(net.network()),
            last: address(net.broadcast()),
            length: net.prefix_len(),
            asn: row.asn,
        }));
    }
    all.sort_unstable();
    all
}

/// The CIDR prefixes of IPv4 rows, sorted.
#[must_use]
pub fn prefixes_v4(rows: &[Listed<u32>]) -> Vec<Prefix<u32>> {
    prefixes(rows, |ip| match ip {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(_) => panic!("{ip} among IPv4 rows"),
    })
}

/// The CIDR prefixes of IPv6 rows, sorted.
#[must_use]
pub fn prefixes_v6(rows: &[Listed<u128>]) -> Vec<Prefix<u128>> {
    prefixes(rows, |ip| match ip {
        IpAddr::V6(ip) => ip.into(),
        IpAddr::V4(_) => panic!("{ip} among IPv6 rows"),
    })
}

/// What `LPM_TRIE` must hold, so that the longest match gives the set of all prefixes around an address: two origins may
/// announce one prefix, or one inside the other's.
#[must_use]
pub fn entries<A: Address>(prefixes: &[Prefix<A>], ids: &Ids) -> Vec<(A, u8, u32)> {
    let mut around: Vec<Prefix<A>> = Vec::new();
    let same = |a: &Prefix<A>, b: &Prefix<A>| (a.first, a.length) == (b.first, b.length);
    let entry = |group: &[Prefix<A>]| {
        around.retain(|outer| group[0].first <= outer.last);
        around.extend(group);
        let mut asns: Vec<_> = around.iter().map(|prefix| prefix.asn).collect();
        asns.sort_unstable();
        asns.dedup();
        (group[0].first, group[0].length, ids[&asns])
    };
    prefixes.chunk_by(same).map(entry).collect()
}

/// `count` of the prefixes, each as likely as any other.
#[must_use]
pub fn sample<A: Ord + Copy>(mut all: Vec<Prefix<A>>, count: usize, seed: u64) -> Vec<Prefix<A>> {
    let mut random = Xorshift::new(seed);
    let count = count.min(all.len());
    for at in 0..count {
        let other = at + random.below(all.len() - at);
        all.swap(at, other);
    }
    all.truncate(count);
    all.sort_unstable();
    all
}

/// Prefixes as a source gives them.
#[must_use]
pub fn rows<A: Copy>(prefixes: &[Prefix<A>]) -> Vec<Listed<A>> {
    prefixes.iter().map(|prefix| Listed { first: prefix.first, last: prefix.last, asn: prefix.asn }).collect()
}

/// A block rule for each origin AS.
#[must_use]
pub fn rule_for_each_as(prefixes: &Prefixes) -> Vec<Rule> {
    let mut by_asn = HashMap::<Asn, (Vec<(u32, u32)>, Vec<(u128, u128)>)>::new();
    for row in &prefixes.v4 {
        by_asn.entry(row.asn).or_default().0.push((row.first, row.last));
    }
    for row in &prefixes.v6 {
        by_asn.entry(row.asn).or_default().1.push((row.first, row.last));
    }
    by_asn.into_iter().map(|(asn, (v4, v6))| rule(&asn.to_string(), v4, v6)).collect()
}

/// One block rule for everything.
#[must_use]
pub fn one_rule(prefixes: &Prefixes) -> Vec<Rule> {
    let v4 = prefixes.v4.iter().map(|row| (row.first, row.last)).collect();
    let v6 = prefixes.v6.iter().map(|row| (row.first, row.last)).collect();
    vec![rule("all", v4, v6)]
}

fn rule(name: &str, v4: Vec<(u32, u32)>, v6: Vec<(u128, u128)>) -> Rule {
    let identity = RuleIdentity { name: name.into(), action: RuleAction::Block, direction: RuleDirection::Both };
    Rule { identity, v4: v4.into_iter().collect(), v6: v6.into_iter().collect(), scope: Scope::default() }
}

/// The table compiled, and the set ids of its combinations of ASes.
#[must_use]
pub fn compiled(prefixes: &Prefixes) -> (Ruleset, Ids) {
    let (rules, mut sets) = (rule_for_each_as(prefixes), Sets::default());
    let ruleset = compile(&rules, &Guard::default(), &mut sets, &BTreeMap::new()).unwrap();
    let members = |id| {
        let mut asns: Vec<_> = sets.credited(id, Direction::Out).map(|rule| rule.name.parse().unwrap()).collect();
        asns.sort_unstable();
        asns
    };
    let ids = (1..u32::try_from(sets.len()).unwrap()).map(|id| (members(id), id)).collect();
    (ruleset, ids)
}
