//! The compiled ruleset against the rules as configured, for random overlapping lists. The expected decision comes from
//! a linear scan of the lists (`oracle`), never from anything compiled.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod oracle;

use std::net::IpAddr;

use filter_common::decide::{Direction, Reason};
use oracle::{Range, Sighting, Stated, Stating, decided};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use weir::ruleset::{RuleAction, RuleDirection, Scope, Sets};

use RuleAction::{Allow, Block, Monitor};
use RuleDirection::{Both, In, Out};

const ACTIONS: [RuleAction; 3] = [Block, Monitor, Allow];
const DIRECTIONS: [RuleDirection; 3] = [Out, In, Both];

/// Starts of clusters: both ends of the family, and neighbouring /16s and /24s.
const CLUSTERS_V4: [u32; 7] = [0, 0x0a00_0000, 0x0a00_ff00, 0x0a01_0000, 0x0a01_0100, 0xffff_0000, 0xffff_ff00];
/// Likewise: neighbouring /16s, /48s and /64s, and the last /64.
const CLUSTERS_V6: [u128; 8] = [
    0,
    0x2001_0db8 << 96,
    0x2001_0db8_0001 << 80,
    0x2001_0db8_0001_0001 << 64,
    0x2001_0db8_0001_0002 << 64,
    0x2002 << 112,
    0xffff << 112,
    0xffff_ffff_ffff_ffff << 64,
];

/// Ranges around a few starts: single addresses close together, aligned blocks, and spans across cluster borders.
fn ranges_v4(most: usize) -> impl Strategy<Value = Vec<Range<u32>>> {
    let offset = prop_oneof![0_u32..16, 0_u32..600, 0_u32..0x1_0000, any::<u32>()];
    let length = prop_oneof![4 => Just(0_u32), 2 => 0_u32..4, 1 => Just(0xff), 1 => Just(0xffff), 1 => 0_u32..0x2_0000,
        1 => select(&[u32::MAX, u32::MAX >> 1, 0x00ff_ffff][..])];
    let range = (select(&CLUSTERS_V4[..]), offset, length).prop_map(|(cluster, offset, length)| {
        let first = cluster.wrapping_add(offset);
        (first, first.saturating_add(length))
    });
    vec(range, 0..most)
}

fn ranges_v6(most: usize) -> impl Strategy<Value = Vec<Range<u128>>> {
    let offset = (0_u128..300, select(&[0_u32, 8, 32, 56, 64, 72, 80, 96, 112][..]), 0_u128..3);
    let length = prop_oneof![3 => Just(0_u32), 1 => Just(8), 3 => Just(64), 1 => Just(72), 1 => Just(96), 1 => Just(127),
        1 => Just(128)];
    let range = (select(&CLUSTERS_V6[..]), offset, length).prop_map(|(cluster, (steps, shift, more), bits)| {
        let first = cluster.wrapping_add(steps << shift).wrapping_add(more);
        let span = if bits == 128 { u128::MAX } else { (1 << bits) - 1 };
        (first, first.saturating_add(span))
    });
    vec(range, 0..most)
}

fn rules() -> impl Strategy<Value = Vec<Stated>> {
    // Now and then a list that is long enough for nodes.
    let most = prop_oneof![3 => Just(12_usize), 1 => Just(400)];
    let rule = most.prop_flat_map(|most| {
        (select(&ACTIONS[..]), select(&DIRECTIONS[..]), ranges_v4(most), ranges_v6(most))
            .prop_map(|(action, direction, v4, v6)| Stated { action, direction, v4, v6, scope: Scope::default() })
    });
    vec(rule, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decisions_and_credited_rules_are_those_of_a_linear_scan(
        rules in rules(),
        guard_v4 in ranges_v4(4),
        guard_v6 in ranges_v6(4),
        picks in vec((any::<Index>(), any::<Index>()), 300),
        anywhere in vec((any::<u32>(), any::<u128>()), 20),
    ) {
        let stating = Stating { rules, guard_v4, guard_v6 };
        let mut sets = Sets::default();
        let ruleset = stating.compile(&mut sets);
        let (mut v4, mut v6) = (stating.borders_v4(), stating.borders_v6());
        v4.extend(anywhere.iter().map(|at| IpAddr::V4(at.0.into())));
        v6.extend(anywhere.iter().map(|at| IpAddr::V6(at.1.into())));
        for addresses in [v4, v6] {
            for (source, destination) in &picks {
                let (source, destination) = (*source.get(&addresses), *destination.get(&addresses));
                let met = Sighting::of(source, destination);
                let found = decided(&ruleset, &sets, &met);
                prop_assert_eq!(found, stating.expected(&met), "{} -> {}", source, destination);
            }
        }
    }
}

fn rule(action: RuleAction, direction: RuleDirection, first: u32, last: u32) -> Stated {
    Stated { action, direction, v4: vec![(first, last)], v6: Vec::new(), scope: Scope::default() }
}

fn address(bits: u32) -> IpAddr {
    IpAddr::V4(bits.into())
}

/// Decides on a packet and holds the answer against the linear scan and against `expected`.
#[track_caller]
fn assert_decides(stating: &Stating, packet: (u32, u32), expected: (Reason, Direction, &[usize])) {
    let mut sets = Sets::default();
    let ruleset = stating.compile(&mut sets);
    let (source, destination) = (address(packet.0), address(packet.1));
    let met = Sighting::of(source, destination);
    let scan = stating.expected(&met);
    assert_eq!(
        (scan.reason, scan.direction, &scan.credited[..]),
        expected,
        "the linear scan, {source} -> {destination}"
    );
    assert_eq!(decided(&ruleset, &sets, &met), scan, "{source} -> {destination}");
}

const NET: u32 = 0x0a01_0000;
const FAR: u32 = 0x0b00_0000;

#[test]
fn an_allow_beats_a_block_whichever_list_is_longer() {
    let whole = (NET, NET | 0xffff);
    let one = (NET | 7, NET | 7);
    for (allowed, blocked) in [(whole, one), (one, whole), (one, one)] {
        let rules = vec![rule(Block, Both, blocked.0, blocked.1), rule(Allow, Both, allowed.0, allowed.1)];
        let stating = Stating { rules, ..Stating::default() };
        assert_decides(&stating, (FAR, NET | 7), (Reason::Allowed, Direction::Out, &[1]));
        assert_decides(&stating, (NET | 7, FAR), (Reason::Allowed, Direction::In, &[1]));
    }
}

#[test]
fn the_guard_beats_every_rule_and_leaves_the_other_address_to_its_rules() {
    let rules = vec![rule(Block, Both, NET, NET | 0xffff), rule(Allow, Both, NET | 8, NET | 8)];
    let stating = Stating { rules, guard_v4: vec![(NET | 8, NET | 15)], ..Stating::default() };
    assert_decides(&stating, (FAR, NET | 7), (Reason::Blocked, Direction::Out, &[0]));
    assert_decides(&stating, (FAR, NET | 8), (Reason::Unlisted, Direction::Out, &[]));
    assert_decides(&stating, (FAR, NET | 15), (Reason::Unlisted, Direction::Out, &[]));
    assert_decides(&stating, (FAR, NET | 16), (Reason::Blocked, Direction::Out, &[0]));
    assert_decides(&stating, (NET | 16, NET | 15), (Reason::Blocked, Direction::In, &[0]));
}

#[test]
fn a_drop_in_one_direction_beats_monitoring_and_allowing_in_the_other_and_out_wins_ties() {
    let (monitored, allowed, blocked) = (0x0100_0000, 0x0200_0000, 0x0300_0000);
    let rules = vec![
        rule(Monitor, Both, monitored, monitored),
        rule(Allow, Both, allowed, allowed),
        rule(Block, Both, blocked, blocked + 1),
    ];
    let stating = Stating { rules, ..Stating::default() };
    assert_decides(&stating, (blocked, monitored), (Reason::Blocked, Direction::In, &[2]));
    assert_decides(&stating, (monitored, blocked), (Reason::Blocked, Direction::Out, &[2]));
    assert_decides(&stating, (blocked, allowed), (Reason::Blocked, Direction::In, &[2]));
    assert_decides(&stating, (monitored, allowed), (Reason::Monitored, Direction::In, &[0]));
    assert_decides(&stating, (blocked, blocked + 1), (Reason::Blocked, Direction::Out, &[2]));
}

#[test]
fn a_rule_for_one_direction_leaves_the_other_alone_and_is_not_credited_for_it() {
    let rules =
        vec![rule(Block, Out, NET, NET | 9), rule(Monitor, In, NET, NET | 9), rule(Allow, In, NET | 5, NET | 5)];
    let stating = Stating { rules, ..Stating::default() };
    assert_decides(&stating, (FAR, NET), (Reason::Blocked, Direction::Out, &[0]));
    assert_decides(&stating, (NET, FAR), (Reason::Monitored, Direction::In, &[1]));
    assert_decides(&stating, (NET | 5, FAR), (Reason::Allowed, Direction::In, &[2]));
    assert_decides(&stating, (FAR, NET | 5), (Reason::Blocked, Direction::Out, &[0]));
}

#[test]
fn overlapping_block_and_monitor_rules_are_all_credited_for_a_drop() {
    let rules = vec![rule(Monitor, Both, NET, NET | 9), rule(Block, Both, NET, NET | 0xff), rule(Block, In, NET, NET)];
    let stating = Stating { rules, ..Stating::default() };
    assert_decides(&stating, (FAR, NET), (Reason::Blocked, Direction::Out, &[0, 1]));
    assert_decides(&stating, (NET, FAR), (Reason::Blocked, Direction::In, &[0, 1, 2]));
    assert_decides(&stating, (FAR, NET + 10), (Reason::Blocked, Direction::Out, &[1]));
}

#[test]
fn set_ids_stay_from_one_compilation_to_the_next_and_a_changed_rule_gets_new_ones() {
    let mut stating = Stating { rules: vec![rule(Block, Both, NET, NET | 9)], ..Stating::default() };
    stating.rules.push(rule(Monitor, Both, NET + 5, NET + 20));
    let mut sets = Sets::default();
    let ids = |stating: &Stating, sets: &mut Sets| {
        let ruleset = stating.compile(sets);
        [0, 5, 20, 21].map(|at| ruleset.set_of(address(NET | at)))
    };
    let before = ids(&stating, &mut sets);
    assert_eq!((before, sets.len()), ([1, 2, 3, 0], 4));
    assert_eq!(ids(&stating, &mut sets), before);
    // Other addresses in the same rules: the same sets elsewhere.
    stating.rules[0].v4 = vec![(NET + 5, NET + 30)];
    assert_eq!(ids(&stating, &mut sets), [0, 2, 2, 1]);
    // A rule with another action is another rule; the sets without it keep their ids.
    stating.rules[0].v4 = vec![(NET, NET | 9)];
    stating.rules[1].action = Block;
    assert_eq!((ids(&stating, &mut sets), sets.len()), ([1, 4, 5, 0], 6));
    stating.rules[1].action = Monitor;
    assert_eq!((ids(&stating, &mut sets), sets.len()), (before, 6), "back to the old action, back to the old ids");
    stating.rules[1].direction = Out;
    assert_eq!(ids(&stating, &mut sets), [1, 6, 7, 0]);
}
