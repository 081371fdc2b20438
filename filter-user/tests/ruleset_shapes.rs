//! Every shape that a prefix table can take, reached on purpose and compared with a linear scan of the lists. The shape
//! is read from the slots as `filter_common::lookup` documents them; the expected answers are not.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod oracle;

use filter_common::lookup::{NARROW_RANGES, NODE_HEAD, UNIT_BYTES, WIDE_MARKS};
use oracle::{Range, Sighting, Stated, Stating, decided};
use weir::ruleset::table::Table;
use weir::ruleset::{RuleAction, RuleDirection, Ruleset, Scope, Sets};

/// What a table is made of.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    /// Ranges of the longest chunk.
    longest: u32,
    /// Chunks with first addresses of 64 bits.
    wide: u32,
    /// /64s with a table of their own.
    split: u32,
    /// Wide nodes below the root.
    wide_nodes: u32,
    /// Other nodes by level: below the root, below those, and so on.
    nodes: Vec<u32>,
    /// Nodes by level below a /64.
    low_nodes: Vec<u32>,
}

const PLACE: u32 = 10;
const WIDE: u32 = 1 << 9;
const NODE: u32 = 1 << 8;
const RANGES: u32 = (1 << 8) - 1;
const UNITS: usize = 64 * 1024 / UNIT_BYTES;
const WORDS: usize = UNIT_BYTES / 4;

/// Block and place in it, in units.
fn place(slot: u32) -> (usize, usize) {
    let unit = (slot >> PLACE) as usize;
    (unit / UNITS, unit % UNITS)
}

const fn is_final(slot: u32) -> bool {
    slot & (NODE | RANGES) == 0
}

/// The slots of a node's runs: what follows its head. Its last byte tells where the last one is.
fn node(table: &Table, slot: u32) -> Vec<u32> {
    let (block, unit) = place(slot);
    let words = &table.blocks[block][unit * WORDS..];
    let bytes: Vec<u8> = words[..NODE_HEAD].iter().flat_map(|word| word.to_ne_bytes()).collect();
    words[NODE_HEAD..=NODE_HEAD + usize::from(bytes[47])].to_vec()
}

/// The slots of a wide node's runs, which go on in the next block. Its last mark tells where the last one is.
fn wide_node(table: &Table, slot: u32) -> Vec<u32> {
    let word = |at: usize| table.blocks[at / (UNITS * WORDS)][at % (UNITS * WORDS)];
    let start = (slot >> PLACE) as usize * WORDS;
    let last = word(start + WIDE_MARKS - 1) >> 16;
    (0..=last as usize).map(|at| word(start + WIDE_MARKS + at)).collect()
}

fn count(nodes: &mut Vec<u32>, level: usize) {
    nodes.resize(nodes.len().max(level + 1), 0);
    nodes[level] += 1;
}

impl Shape {
    fn of_v4(table: &Table) -> Self {
        let mut shape = Self::default();
        for &slot in table.root.iter() {
            if slot & NODE == 0 {
                shape.chunk(slot);
                continue;
            }
            count(&mut shape.nodes, 0);
            for slot in node(table, slot) {
                shape.chunk(slot);
            }
        }
        shape
    }

    fn of_v6(table: &Table) -> Self {
        let mut shape = Self::default();
        for &slot in table.root.iter() {
            shape.walk(table, slot, 0, false);
        }
        shape
    }

    fn chunk(&mut self, slot: u32) {
        if slot & RANGES != 0 {
            self.longest = self.longest.max((slot & RANGES) + 1);
        }
    }

    fn walk(&mut self, table: &Table, slot: u32, level: usize, low: bool) {
        if is_final(slot) {
            return;
        }
        if slot & NODE != 0 && slot & WIDE != 0 {
            assert_eq!((level, low), (0, false), "below the root only");
            self.wide_nodes += 1;
            for slot in wide_node(table, slot) {
                self.walk(table, slot, 2, low);
            }
            return;
        }
        if slot & NODE != 0 {
            count(if low { &mut self.low_nodes } else { &mut self.nodes }, level);
            for slot in node(table, slot) {
                self.walk(table, slot, level + 1, low);
            }
            return;
        }
        let (block, unit) = place(slot);
        let words = &table.blocks[block][unit * WORDS..];
        self.chunk(slot);
        self.wide += u32::from(slot & WIDE != 0);
        let ranges = (slot & RANGES) as usize + 1;
        if low {
            return;
        }
        // A narrow chunk holds each slot beside its range's first address, a wide one behind all of them.
        let (first, step) = if slot & WIDE != 0 { (2 * ranges, 1) } else { (1, 2) };
        for &slot in words[first..].iter().step_by(step).take(ranges) {
            self.split += u32::from(!is_final(slot));
            self.walk(table, slot, 0, true);
        }
    }
}

fn stating(v4: Vec<Range<u32>>, v6: Vec<Range<u128>>) -> Stating {
    let rule = Stated { action: RuleAction::Block, direction: RuleDirection::Both, v4, v6, scope: Scope::default() };
    Stating { rules: vec![rule], ..Stating::default() }
}

/// Compiles, and compares every border address with the linear scan, as source and as destination.
fn checked(stating: &Stating) -> Ruleset {
    let mut sets = Sets::default();
    let ruleset = stating.compile(&mut sets);
    for borders in [stating.borders_v4(), stating.borders_v6()] {
        for (at, &address) in borders.iter().enumerate() {
            // The packet's other address: far away, so that all pairings of sets come up.
            let other = borders[(at * 7 + 3) % borders.len()];
            let met = Sighting::of(address, other);
            assert_eq!(decided(&ruleset, &sets, &met), stating.expected(&met), "{address} -> {other}");
        }
    }
    ruleset
}

fn checked_v4(ranges: Vec<Range<u32>>) -> Shape {
    Shape::of_v4(&checked(&stating(ranges, Vec::new())).tables.v4)
}

fn checked_v6(ranges: Vec<Range<u128>>) -> Shape {
    Shape::of_v6(&checked(&stating(Vec::new(), ranges)).tables.v6)
}

/// Single addresses, `step` apart: each makes two ranges of the table, with the gap after it.
fn singles_v4(first: u32, step: u32, count: u32) -> Vec<Range<u32>> {
    (0..count).map(|at| first + at * step).map(|address| (address, address)).collect()
}

fn singles_v6(first: u128, step: u128, count: u128) -> Vec<Range<u128>> {
    (0..count).map(|at| first + at * step).map(|address| (address, address)).collect()
}

fn net64s(first: u128, step: u128, count: u128) -> Vec<Range<u128>> {
    (0..count).map(|at| (first + at * step) << 64).map(|first| (first, first | u128::from(u64::MAX))).collect()
}

const NET4: u32 = 0x0a01_0000;
const NET6: u128 = 0x2001_0db8_0001_0002 << 64;

#[test]
fn lists_of_nothing_and_of_everything_need_no_leaves() {
    for (v4, v6) in [(Vec::new(), Vec::new()), (vec![(0, u32::MAX)], vec![(0, u128::MAX)])] {
        let ruleset = checked(&stating(v4, v6));
        assert_eq!((ruleset.tables.v4.blocks.len(), ruleset.tables.v6.blocks.len()), (0, 0));
    }
    let halves = (vec![(0, u32::MAX / 2)], vec![(0, u128::MAX / 2)]);
    assert_eq!(checked(&stating(halves.0, halves.1)).tables.v4.blocks.len(), 0, "cut between two slots of the root");
}

#[test]
fn the_first_and_the_last_address_of_a_family_are_found() {
    let shape = checked_v4(vec![(0, 0), (u32::MAX, u32::MAX)]);
    assert_eq!(shape.longest, 2);
    let shape = checked_v6(vec![(0, 0), (u128::MAX, u128::MAX)]);
    assert_eq!((shape.longest, shape.split), (2, 2));
}

#[test]
fn touching_ranges_of_one_rule_are_one_and_of_two_rules_are_two() {
    let mut rules =
        stating(vec![(NET4, NET4 | 7), (NET4 | 8, NET4 | 15)], vec![(NET6, NET6 | 7), (NET6 | 8, NET6 | 9)]);
    let one = Shape::of_v4(&checked(&rules).tables.v4);
    assert_eq!(one.longest, 2);
    rules.rules.push(Stated { v4: vec![(NET4 | 16, NET4 | 31)], ..rules.rules[0].clone() });
    rules.rules[1].action = RuleAction::Monitor;
    assert_eq!(Shape::of_v4(&checked(&rules).tables.v4).longest, 3);
}

/// Nets of whole /24s in one /16, from the first number to the last.
fn net24s(nets: &[(u32, u32)]) -> Vec<Range<u32>> {
    nets.iter().map(|&(first, last)| (NET4 | first << 8, NET4 | last << 8 | 0xff)).collect()
}

#[test]
fn a_16_whose_ranges_end_at_borders_of_24s_is_a_node_however_few_they_are() {
    // Runs that start at the first number of a group of 16, at its last one, and beside them.
    let borders: &[&[(u32, u32)]] = &[
        &[(0, 0)],
        &[(255, 255)],
        &[(0, 14)],
        &[(0, 15)],
        &[(0, 16)],
        &[(15, 15), (17, 17)],
        &[(16, 16), (31, 32), (240, 254)],
        &[(1, 47), (49, 63), (65, 100), (102, 223), (225, 255)],
    ];
    for nets in borders {
        let shape = checked_v4(net24s(nets));
        assert_eq!((shape.nodes, shape.longest), (vec![1], 0), "{nets:?}");
    }
    let every_other: Vec<_> = (0..128).map(|at| (2 * at + 1, 2 * at + 1)).collect();
    assert_eq!(checked_v4(net24s(&every_other)).nodes, [1], "each of 256 numbers starts a run");
}

#[test]
fn a_16_with_ranges_inside_of_24s_is_a_chunk_up_to_32_and_then_a_node_over_short_ones() {
    // A range starts at the /16's first address, and each address makes two.
    let shape = |count| checked_v4(singles_v4(NET4, 0x400, count));
    assert_eq!((shape(16).nodes, shape(16).longest), (vec![], 32));
    assert_eq!((shape(17).nodes, shape(17).longest), (vec![1], 2));
}

#[test]
fn more_than_256_ranges_in_a_16_and_a_full_24_are_found() {
    let shape = checked_v4(singles_v4(NET4 + 1, 127, 500));
    assert_eq!(shape.nodes, [1]);
    // Every other address of a /24, and of the next one from its first address on: 256 ranges are the most there is.
    for first in [0, 1] {
        let shape = checked_v4(singles_v4(NET4 + 0x100 + first, 2, 256));
        assert_eq!((shape.longest, &shape.nodes[..]), (256, &[1][..]));
    }
}

#[test]
fn a_range_across_slots_nodes_and_chunks_is_found_in_each() {
    let mut ranges = singles_v4(NET4 + 1, 900, 60);
    ranges.extend([(NET4 | 0xfff0, NET4 + 0x3_0010), (NET4 + 0x3_0100, NET4 + 0x3_02ff)]);
    // The second is a node for its length; the last, where a range ends inside of a /24, a chunk.
    assert_eq!(checked_v4(ranges).nodes, [1]);
    let mut ranges = singles_v6(NET6 + 1, 1 << 90, 60);
    ranges.push((NET6 - 5, NET6 + (9 << 64)));
    ranges.push((NET6 | 0xf << 100, NET6 | 0xf << 112));
    assert!(checked_v6(ranges).split >= 60);
}

#[test]
fn v6_nets_up_to_48_make_narrow_chunks_and_longer_ones_wide_or_nodes() {
    let shape =
        checked_v6((0..7_u128).map(|at| NET6 >> 80 << 80 | at << 82).map(|at| (at, at | ((1 << 80) - 1))).collect());
    assert_eq!((shape.longest, shape.wide, shape.split), (15, 0, 0));
    // One bit longer than a narrow chunk holds.
    let halves = (0..7_u128).map(|at| (2 * at + 1) << 79 | NET6 >> 112 << 112);
    assert_eq!(checked_v6(halves.map(|at| (at, at | ((1 << 79) - 1))).collect()).wide, 1);
    let shape = checked_v6(net64s(NET6 >> 64, 2, 7));
    assert_eq!((shape.longest, shape.wide, shape.split), (15, 1, 0));
}

#[test]
fn v6_chunks_of_each_length_up_to_64_are_narrow_and_then_comes_a_node() {
    let net48s = |first: u128, count: u128| (0..count).map(move |at| (first + 2 * at) << 80);
    let whole = |first: u128| (first, first | (u128::MAX >> 48));
    for length in 2..=66 {
        // Each net and the gap behind it; where the first net is not the /16's first, the gap before it, too.
        let first = 0x2a00_0000_0000 + u128::from(length) % 2;
        let shape = checked_v6(net48s(first, u128::from(length) / 2).map(whole).collect());
        let chunk = length as usize <= NARROW_RANGES;
        assert_eq!((shape.longest == length, shape.wide, shape.nodes.is_empty()), (chunk, 0, chunk), "{length} ranges");
    }
}

#[test]
fn a_v6_16_of_more_than_1024_ranges_is_a_wide_node_whatever_is_below() {
    let net32s = |first: u128, step: u128, count: u128| (0..count).map(move |at| (first + at * step) << 96);
    let whole = |first: u128| (first, first | (u128::MAX >> 32));
    let shape = checked_v6(net32s(0x2a00_0000, 7, 512).map(whole).collect());
    assert_eq!((shape.wide_nodes, shape.nodes[0]), (0, 1), "1,024 ranges");
    let shape = checked_v6(net32s(0x2a00_0000, 7, 513).map(whole).collect());
    assert_eq!((shape.wide_nodes, shape.nodes, shape.longest), (1, vec![], 0));
    // The last value, and the first of the next /16, which is not part of it.
    let shape = checked_v6(net32s(0x2a00_ffff - 2 * 600, 2, 602).map(whole).collect());
    assert_eq!((shape.wide_nodes, shape.nodes, shape.longest), (1, vec![], 3), "the next /16 begins with a gap");
    // Below its slots: nothing more, chunks of all kinds, nodes, single addresses; and as many slots as cross blocks.
    let mut ranges: Vec<_> = (0..4).flat_map(|at| net32s(0x2a00_0000 + (at << 16) + at, 5, 1500).map(whole)).collect();
    for (at, below) in [1, 3, 8, 9, 20, 32, 33, 200].into_iter().enumerate() {
        let net = (0x2a01_8000_u128 + 2 * at as u128) << 96;
        ranges.extend((0..below).map(|at| net | at << 81).map(|first| (first, first | ((1 << 80) - 1))));
        ranges.extend(singles_v6(net | 0x1_0000 << 64, 3, below));
    }
    ranges.sort_unstable();
    let shape = checked_v6(ranges);
    assert_eq!(shape.wide_nodes, 4);
    assert!(shape.split >= 8 && shape.nodes.len() >= 3 && shape.wide > 0 && !shape.low_nodes.is_empty(), "{shape:?}");
}

#[test]
fn v6_nodes_go_down_to_the_last_byte_above_a_64() {
    let shape = checked_v6(net64s(NET6 >> 64, 2, 100));
    assert_eq!((shape.nodes, shape.split), (vec![1, 1, 1, 1, 1], 0), "five bytes follow the root's two");
    let shape = checked_v6(net64s(NET6 >> 64, 2, 128));
    assert_eq!(shape.longest, 255, "the last byte's nets are a chunk, however many");
}

#[test]
fn single_addresses_split_their_64_and_leave_the_rest_of_it_and_the_next_alone() {
    let shape = checked_v6(vec![(NET6 | 9, NET6 | 9)]);
    assert_eq!((shape.split, &shape.low_nodes[..]), (1, &[][..]));
    // Inside a listed net, and at both borders of a /64.
    let ranges =
        vec![(NET6, NET6 | 0xff), (NET6 | u128::from(u64::MAX), NET6 + (1 << 64) + 3), (NET6 << 1, NET6 << 1 | 1)];
    assert_eq!(checked_v6(ranges).split, 3);
    let mut two = stating(Vec::new(), net64s(NET6 >> 64, 1, 3));
    two.rules.push(Stated {
        action: RuleAction::Allow,
        v6: vec![(NET6 + (1 << 64), NET6 + (1 << 64))],
        ..two.rules[0].clone()
    });
    assert_eq!(Shape::of_v6(&checked(&two).tables.v6).split, 1);
}

#[test]
fn many_single_addresses_in_one_64_make_chunks_and_nodes_down_to_the_last_byte() {
    let shape = checked_v6(singles_v6(NET6 + 1, 7, 7));
    assert_eq!((shape.split, shape.low_nodes.len(), shape.wide), (1, 0, 2), "once above the /64 and once below");
    // First addresses whose upper 32 bits grow while the lower ones shrink: both halves of a comparison count.
    assert_eq!(checked_v6(singles_v6(NET6 + 1, 0x1_ffff_fff0, 7)).wide, 2);
    let shape = checked_v6(singles_v6(NET6 + 1, 2, 128));
    assert_eq!((shape.low_nodes, shape.longest), (vec![1; 7], 256));
    let shape = checked_v6(singles_v6(NET6 + 1, 0x1_0001_0001, 600));
    assert!(shape.low_nodes.len() >= 4 && shape.split == 1, "{shape:?}");
}

#[test]
fn single_addresses_at_the_upper_bits_of_a_64_make_narrow_chunks() {
    let shape =
        checked_v6(singles_v6(NET6, 1 << 60, 7).into_iter().map(|(at, _)| (at, at | ((1 << 59) - 1))).collect());
    assert_eq!((shape.split, shape.longest), (1, 14));
    assert_eq!(shape.wide, 1, "wide above the /64, narrow below");
}

#[test]
fn split_64s_side_by_side_and_nodes_above_them_are_found() {
    let ranges: Vec<_> = (0..300_u128).flat_map(|at| singles_v6(NET6 + (at << 64) + 5, 3, 4)).collect();
    let shape = checked_v6(ranges);
    assert_eq!((shape.split, shape.nodes.len()), (300, 5));
}

#[test]
fn leaves_fill_many_blocks_and_no_chunk_straddles_two() {
    let ranges: Vec<_> = (0..400_u32).flat_map(|at| singles_v4(0x0b00_0000 + at * 0x1_0000 + 7, 2311, 14)).collect();
    let ruleset = checked(&stating(ranges, Vec::new()));
    assert!(ruleset.tables.v4.blocks.len() > 1, "{:?}", ruleset.tables.v4);
    let ranges: Vec<_> = (0..400_u128).flat_map(|at| net64s(at << 48 | 1, 0x111, 10)).collect();
    let ruleset = checked(&stating(Vec::new(), ranges));
    assert!(ruleset.tables.v6.blocks.len() > 1, "{:?}", ruleset.tables.v6);
}
