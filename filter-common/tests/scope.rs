//! The search of a class table against a linear scan, and what scopes see of a frame's Ethernet header against etherparse.

use etherparse::{Ethernet2Slice, SingleVlanSlice, VlanId};
use filter_common::packet::{Layer, Link, Meta, NO_MAC};
use filter_common::scope::{ClassTable, Key, MAX_RUNS};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn key(bits: u128) -> Key {
    Key { high: (bits >> 64) as u64, low: bits as u64 }
}

/// A table of runs that start at 0 and at `starts`, sorted; run `n` is of class `7 * n`.
fn table(starts: impl Iterator<Item = u128>) -> (ClassTable, Vec<u128>) {
    let starts: Vec<u128> = [0].into_iter().chain(starts.filter(|&start| start != 0)).take(MAX_RUNS).collect();
    // What lies behind the last run must not matter.
    let mut table = ClassTable { starts: [key(5); MAX_RUNS], classes: [9999; MAX_RUNS], runs: starts.len() as u64 };
    for (run, &start) in starts.iter().enumerate() {
        table.starts[run] = key(start);
        table.classes[run] = 7 * run as u16;
    }
    (table, starts)
}

fn assert_finds(table: &ClassTable, starts: &[u128], bits: u128) {
    let last = starts.iter().filter(|&&start| start <= bits).count() - 1;
    assert_eq!(table.class_of(key(bits)), 7 * last as u32, "{bits:#x} among {} runs", starts.len());
}

#[test]
fn every_number_of_runs_is_searched_to_its_ends() {
    for count in 1..=MAX_RUNS as u128 {
        // Starts that differ in the low half, in the high half, and in the sign of either.
        for step in [1, 1 << 62, 1 << 64, 1 << 118] {
            let (table, starts) = table((1..count).map(|at| at * step));
            for &start in &starts {
                for bits in [start.wrapping_sub(1), start, start + 1] {
                    assert_finds(&table, &starts, bits);
                }
            }
            assert_finds(&table, &starts, u128::MAX);
        }
    }
}

/// Numbers whose halves are at the borders of what a comparison could mistake.
fn bits() -> impl Strategy<Value = u128> {
    let half = || {
        prop_oneof![select(&[0, 1, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX][..]), any::<u64>()]
    };
    (half(), half()).prop_map(|(high, low)| u128::from(high) << 64 | u128::from(low))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_class_of_a_key_is_that_of_the_last_run_that_starts_at_or_below_it(
        starts in btree_set(bits(), 0..60),
        keys in vec(bits(), 50),
        near in vec((any::<Index>(), 0_u128..3), 50),
    ) {
        let (table, starts) = table(starts.into_iter());
        let near = near.iter().map(|(at, off)| at.get(&starts).wrapping_add(*off).wrapping_sub(1));
        for bits in keys.into_iter().chain(near) {
            assert_finds(&table, &starts, bits);
        }
    }

    #[test]
    fn the_link_of_a_frame_is_what_etherparse_reads(
        macs in any::<[u8; 12]>(),
        ethertype in prop_oneof![select(&[0x8100, 0x88a8, 0x9100, 0x0800, 0x86dd][..]), any::<u16>()],
        rest in any::<[u8; 40]>(),
        device in any::<u32>(),
    ) {
        let frame = [&macs[..], &u16::to_be_bytes(ethertype), &rest].concat();
        let meta = Meta { layer: Layer::Ethernet, device, vlan: 0 };
        let ethernet = Ethernet2Slice::from_slice_without_fcs(&frame).unwrap();
        let number = |mac: [u8; 6]| mac.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
        let tagged = [0x8100, 0x88a8, 0x9100].contains(&ethertype);
        let vlan = tagged.then(|| SingleVlanSlice::from_slice(ethernet.payload().payload).unwrap().vlan_identifier());
        let link = Link::read(&frame[..], &meta);
        prop_assert_eq!(link.macs.source, number(ethernet.source()));
        prop_assert_eq!(link.macs.destination, number(ethernet.destination()));
        prop_assert_eq!(link.vlan, vlan.map_or(0, VlanId::value));
        // A tag that the kernel took out stood before the one that is there.
        for control in [0, 0xf000, 0x2007, 0x0fff] {
            let link = Link::read(&frame[..], &Meta { vlan: Meta::tag(control), ..meta });
            prop_assert_eq!(link.vlan, control % 0x1000);
            prop_assert_eq!(link.macs.source, number(ethernet.source()));
        }
        // Where no Ethernet header is, none is read.
        let bare = Link::read(&frame[..], &Meta { layer: Layer::Ip, ..meta });
        prop_assert_eq!((bare.macs.source, bare.macs.destination, bare.vlan), (NO_MAC, NO_MAC, 0));
    }
}
