//! Tables built out of bytes and then searched: every answer is that of a linear scan, at the borders of each range, too, and
//! what a table takes stays within what `ruleset/table.rs` promises.
//!
//! Input: a byte for the kind of table. Prefix tables: which sets are blocked (a bit each), then the ranges of each set for
//! both families, later ones over earlier ones, then addresses. Class tables: how many runs, their starts, then keys.

use std::collections::BTreeSet;

use filter_common::lookup::{BLOCK_BYTES, BLOCK_STARTS, MAX_SET, ROOT_SLOTS, Slot, slot_of_v4, slot_of_v6};
use filter_common::scope::{ClassTable, Key, MAX_RUNS};
use weir::prefix::Address;
use weir::ruleset::table::{Boundary, HostTables};

use crate::addresses::{ranges_v4, ranges_v6, v4, v6};
use crate::bytes::Bytes;

/// See the file's first lines.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    if bytes.byte() % 4 == 3 { classes(&mut bytes) } else { prefixes(&mut bytes) }
}

/// Sets that ranges are given to: the last is known to no list of slots, as one of the highest number.
const SETS: u32 = 6;

fn prefixes(bytes: &mut Bytes<'_>) {
    let blocked = bytes.byte();
    let slots: Vec<Slot> = (0..SETS).map(|set| Slot::of_set(set, set != 0 && blocked >> set & 1 == 1)).collect();
    let (mut lists_v4, mut lists_v6) = (Vec::new(), Vec::new());
    for list in 1..=SETS {
        let set = if list == SETS { MAX_SET } else { list };
        lists_v4.push((set, ranges_v4(bytes, 16)));
        lists_v6.push((set, ranges_v6(bytes, 16)));
    }
    let (boundaries_v4, boundaries_v6) = (boundaries(0, &lists_v4), boundaries(0, &lists_v6));
    let tables = HostTables::build(&boundaries_v4, &boundaries_v6, &slots).unwrap();

    let slot_of = |set: u32| slots.get(set as usize).copied().unwrap_or(Slot::of_set(set, false));
    let mut addresses_v4 = borders(&boundaries_v4);
    let mut addresses_v6 = borders(&boundaries_v6);
    for _ in 0..32 {
        addresses_v4.push(if bytes.flag() { bytes.u32() } else { v4(bytes) });
        addresses_v6.push(v6(bytes));
    }
    for address in addresses_v4 {
        assert_eq!(slot_of_v4(&tables, address), slot_of(scan(&lists_v4, address)), "{}", address.to_ip());
    }
    for address in addresses_v6 {
        let halves = [(address >> 64) as u64, address as u64];
        assert_eq!(slot_of_v6(&tables, halves), slot_of(scan(&lists_v6, address)), "{}", address.to_ip());
    }
    assert_small(&tables, &boundaries_v4, &boundaries_v6);
}

/// The set of the last list that holds an address; the oracle.
fn scan<A: Address>(lists: &[(u32, Vec<(A, A)>)], address: A) -> u32 {
    let holds = |ranges: &[(A, A)]| ranges.iter().any(|&(first, last)| first <= address && address <= last);
    lists.iter().rev().find(|(_, ranges)| holds(ranges)).map_or(0, |&(set, _)| set)
}

/// Where the answer changes, as the builder wants it: the first at address 0, no two neighbours alike.
fn boundaries<A: Address>(zero: A, lists: &[(u32, Vec<(A, A)>)]) -> Vec<Boundary<A>> {
    let ranges = || lists.iter().flat_map(|(_, ranges)| ranges);
    let starts: BTreeSet<A> =
        [zero].into_iter().chain(ranges().flat_map(|&(first, last)| [Some(first), last.next()]).flatten()).collect();
    let mut boundaries: Vec<Boundary<A>> = starts.into_iter().map(|start| (start, scan(lists, start))).collect();
    boundaries.dedup_by_key(|boundary| boundary.1);
    boundaries
}

/// Each boundary and its neighbours, and the ends of the family.
fn borders<A: Address>(boundaries: &[Boundary<A>]) -> Vec<A> {
    let near = |&(at, _): &Boundary<A>| [at.previous(), Some(at), at.next()];
    boundaries.iter().flat_map(near).flatten().chain([A::MAX]).collect()
}

/// The bounds of `ruleset/table.rs`, in bytes.
fn assert_small(tables: &HostTables, v4: &[Boundary<u32>], v6: &[Boundary<u128>]) {
    let mixed: BTreeSet<u32> = v4.iter().map(|&(at, _)| at >> 16).collect();
    let leaves_v4 = 24 * v4.len() + 64 * mixed.len();
    // A /64 that holds longer rules adds one range to its low half and two to the high one.
    let leaves_v6 = 2 * (68 + 76) * v6.len();
    let blocks = |leaves: usize| (leaves + leaves / 32).div_ceil(4 * BLOCK_STARTS).max(1) + 1;
    for (table, leaves) in [(&tables.v4, leaves_v4), (&tables.v6, leaves_v6)] {
        let most = 4 * ROOT_SLOTS + blocks(leaves) * BLOCK_BYTES;
        assert!(table.bytes() <= most, "{} bytes, promised are {most}", table.bytes());
    }
}

fn classes(bytes: &mut Bytes<'_>) {
    let count = usize::from(bytes.u16()) % MAX_RUNS;
    let starts: BTreeSet<u128> = (0..count).map(|_| v6(bytes)).chain([0]).collect();
    let starts: Vec<u128> = starts.into_iter().collect();
    let key = |bits: u128| Key { high: (bits >> 64) as u64, low: bits as u64 };
    // What lies behind the last run must not matter.
    let mut table = ClassTable { starts: [key(5); MAX_RUNS], classes: [9999; MAX_RUNS], runs: starts.len() as u64 };
    for (run, &start) in starts.iter().enumerate() {
        table.starts[run] = key(start);
        table.classes[run] = 3 * run as u16;
    }
    let near = starts.iter().flat_map(|&start| [start.wrapping_sub(1), start, start.wrapping_add(1)]);
    for bits in near.chain((0..32).map(|_| v6(bytes))).collect::<Vec<_>>() {
        let run = starts.iter().filter(|&&start| start <= bits).count() - 1;
        assert_eq!(table.class_of(key(bits)), 3 * run as u32, "{bits:#x} among {} runs", starts.len());
    }
}
