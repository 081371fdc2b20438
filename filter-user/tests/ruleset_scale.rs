//! How large a ruleset may be: rules, prefixes, memory, and what is said where a table is full. Answers are compared with
//! arithmetic on the list's own pattern. Prints times; the limits on time stand in `tests/tests/lookup.rs`.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use filter_common::decide::Direction;
use filter_common::lookup::{BLOCK_BYTES, MAX_SET, Root, UNLISTED};
use weir::prefix::AddressSet;
use weir::ruleset::compile::CompileError;
use weir::ruleset::sets::TooManySets;
use weir::ruleset::table::{Table, TableFull};
use weir::ruleset::{Guard, Rule, RuleAction, RuleDirection, RuleIdentity, Ruleset, Scope, Sets, compile};

const PREFIXES: u32 = 1_000_000;
const RULES: u32 = 65_536;

fn rule(number: usize, v4: AddressSet<u32>, v6: AddressSet<u128>) -> Rule {
    let identity = RuleIdentity { name: number.to_string(), action: RuleAction::Block, direction: RuleDirection::Both };
    Rule { identity, v4, v6, scope: Scope::default() }
}

fn built(what: &str, rules: &[Rule]) -> Result<Ruleset, CompileError> {
    let start = Instant::now();
    let ruleset = compile(rules, &Guard::default(), &mut Sets::default(), &BTreeMap::new());
    let bytes = ruleset.as_ref().map(|ruleset| ruleset.tables.bytes());
    println!("{what}: {bytes:?} bytes, {:?}", start.elapsed());
    ruleset
}

fn v4(what: &str, ranges: impl Iterator<Item = (u32, u32)>) -> Result<Ruleset, CompileError> {
    built(what, &[rule(0, ranges.collect(), AddressSet::default())])
}

fn v6(what: &str, ranges: impl Iterator<Item = (u128, u128)>) -> Result<Ruleset, CompileError> {
    built(what, &[rule(0, AddressSet::default(), ranges.collect())])
}

/// Numbers below 2^32, each once, in no order: multiplication by an odd number is a permutation.
fn scattered(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|at| at.wrapping_mul(0x9e37_79b1) ^ 0x5555_aaaa)
}

/// A /64 of `2000::/32`.
fn net64(number: u32) -> u128 {
    (0x2000_0000 << 32 | u128::from(number)) << 64
}

fn listed_v4(ruleset: &Ruleset, address: u32) -> bool {
    ruleset.set_of(IpAddr::V4(address.into())) != UNLISTED
}

fn listed_v6(ruleset: &Ruleset, address: u128) -> bool {
    ruleset.set_of(IpAddr::V6(address.into())) != UNLISTED
}

#[test]
fn a_million_scattered_v4_addresses_compile_and_are_found() {
    let ruleset = v4("1,000,000 random /32", scattered(PREFIXES).map(|at| (at, at))).unwrap();
    assert!(scattered(PREFIXES).all(|address| listed_v4(&ruleset, address)));
    // The permutation's next values are the addresses that are not listed.
    assert!(!scattered(2 * PREFIXES).skip(PREFIXES as usize).any(|address| listed_v4(&ruleset, address)));
}

#[test]
fn a_million_scattered_v6_nets_compile_and_are_found() {
    let nets = scattered(PREFIXES).map(net64).map(|first| (first, first | u128::from(u64::MAX)));
    let ruleset = v6("1,000,000 random /64", nets).unwrap();
    assert!(scattered(PREFIXES).all(|at| listed_v6(&ruleset, net64(at)) && listed_v6(&ruleset, net64(at) | 77 << 40)));
    assert!(!scattered(2 * PREFIXES).skip(PREFIXES as usize).any(|at| listed_v6(&ruleset, net64(at) | 1)));
}

#[test]
fn a_million_v6_addresses_each_in_a_64_of_its_own_compile_and_are_found() {
    let ruleset = v6("1,000,000 random /128", scattered(PREFIXES).map(|at| (net64(at) | 5, net64(at) | 5))).unwrap();
    assert!(scattered(PREFIXES).all(|at| listed_v6(&ruleset, net64(at) | 5) && !listed_v6(&ruleset, net64(at) | 4)));
}

#[test]
fn as_many_rules_as_64k_compile_and_each_keeps_its_own_addresses() {
    let net = |at: u32| (u128::from(at) << 96, u128::from(at) << 96 | u128::from(u64::MAX));
    let rules: Vec<_> = (0..RULES)
        .map(|at| {
            rule(
                at as usize,
                [(at << 14, (at << 14).saturating_add(0x5fff))].into_iter().collect(),
                [net(at)].into_iter().collect(),
            )
        })
        .collect();
    let mut sets = Sets::default();
    let start = Instant::now();
    let ruleset = compile(&rules, &Guard::default(), &mut sets, &BTreeMap::new()).unwrap();
    println!("{RULES} rules, {} sets: {} bytes, {:?}", sets.len(), ruleset.tables.bytes(), start.elapsed());
    let names = |address: IpAddr| -> Vec<usize> {
        sets.credited(ruleset.set_of(address), Direction::Out).map(|rule| rule.name.parse().unwrap()).collect()
    };
    for at in 0..RULES {
        let number = at as usize;
        assert_eq!(names(IpAddr::V6(net(at).1.into())), [number]);
        // A rule's range reaches into the next one's first half.
        assert_eq!(names(IpAddr::V4((at << 14 | 0x3fff).into())), [number]);
        let both = if at == 0 { vec![0] } else { vec![number - 1, number] };
        assert_eq!(names(IpAddr::V4((at << 14).into())), both);
    }
}

/// The bytes that `ruleset/table.rs` promises at most. `low`: ranges inside /64s that hold longer rules, each /64 one more;
/// `high`: all others, and two for each such /64.
fn promised_v6(high: usize, low: usize) -> usize {
    size_of::<Root>() + (52 * high + 60 * low) * 62 / 61 + BLOCK_BYTES
}

/// Likewise, for `ranges` in `nets` /16s.
fn promised_v4(ranges: usize, nets: usize) -> usize {
    size_of::<Root>() + (24 * ranges + 64 * nets) * 62 / 61 + BLOCK_BYTES
}

/// Prints what a table takes, and demands that it is not more than was promised, and not much less: the list is as hostile as
/// it should be.
#[track_caller]
fn assert_hostile(table: &Table, promised: usize, least: f64) {
    let share = table.bytes() as f64 / promised as f64;
    println!("  {table:?}, {share:.2} of what is promised");
    assert!(share <= 1.0 && share >= least, "{table:?} of {promised}: {share}");
}

#[test]
fn v4_tables_of_hostile_lists_stay_within_the_documented_bound() {
    let singles = |at: u32| (at, at);
    let ruleset = v4("every other address of a /16", (0..0x8000).map(|at| singles(0x0a00_0000 | at << 1))).unwrap();
    assert!(ruleset.tables.v4.bytes() < 1 << 20, "{:?}", ruleset.tables.v4);
    let ruleset = v4("half of every /16", (0..1 << 16).map(|at| (at << 16, at << 16 | 0x7fff))).unwrap();
    assert_hostile(&ruleset.tables.v4, promised_v4(2 << 16, 1 << 16), 0.5);
    let ruleset = v4("33 ranges in every /16", (0..1 << 20).map(|at| singles(at << 12 | 1))).unwrap();
    assert_hostile(&ruleset.tables.v4, promised_v4(2 << 20, 1 << 16), 0.5);
    // One border in every /24: a node for each /16, and a chunk of two ranges for each /24.
    let sparse = (0..500_000_u32).map(|at| ((at << 9) + 128, (at << 9) + 383));
    let ruleset = v4("a border in every /24", sparse).unwrap();
    assert_hostile(&ruleset.tables.v4, promised_v4(1_000_001, 3907), 0.8);
}

/// `count` addresses in each of `nets` /64s, every other one from `::1` on: a node for each of seven bytes where the ranges
/// are 65 or more.
fn deep(nets: u32, count: u32) -> impl Iterator<Item = (u128, u128)> {
    let address = move |at: u32| net64(at / count) | u128::from(at % count) << 1 | 1;
    (0..nets * count).map(move |at| (address(at), address(at)))
}

/// From the middle of one /64 to the middle of the next.
fn across(count: u32) -> impl Iterator<Item = (u128, u128)> {
    (0..count).map(|at| (net64(at << 2) | 1 << 63, net64(at << 2 | 1) | 1 << 62))
}

#[test]
fn v6_tables_of_hostile_lists_stay_within_the_documented_bound() {
    let ruleset = v6("32 addresses in each of 10,000 /64s", deep(10_000, 32)).unwrap();
    assert_hostile(&ruleset.tables.v6, promised_v6(2 * 10_000, 65 * 10_000), 0.2);
    let ruleset =
        v6("a range in every other /28", (0..1_u128 << 20).map(|at| (at << 108 | 1 << 64, (at << 108 | 1 << 65) - 1)))
            .unwrap();
    assert_hostile(&ruleset.tables.v6, promised_v6(2 << 20, 0), 0.2);
}

#[test]
fn a_list_that_needs_more_than_64_mib_is_refused_with_the_remedy() {
    let error = v6("2,000,000 ranges across a border of two /64s", across(2_000_000)).unwrap_err();
    assert_eq!(error, CompileError::Table(TableFull { family: "IPv6" }));
    let message = "the IPv6 table would need more than 64 MiB: aggregate the lists or split them over several routers";
    assert_eq!(error.to_string(), message);
}

/// Four million sets take half a gigabyte to make, so the limit itself is not reached here.
#[test]
fn too_many_sets_are_refused_with_the_remedy() {
    assert_eq!(MAX_SET, (1 << 22) - 1, "what a slot has room for");
    let message = "the rules overlap in more than 4194303 combinations: merge rules that share lists";
    assert_eq!(CompileError::from(TooManySets).to_string(), message);
}
