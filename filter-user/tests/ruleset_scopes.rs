//! Scoped rules, compiled, against the rules as configured: random scopes in every dimension, and each dimension by hand.
//! The expected decision comes from a linear scan (`oracle`), never from anything compiled.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod oracle;

use std::cell::Cell;
use std::net::IpAddr;

use filter_common::abi::SetActions;
use filter_common::decide::{self, Reason};
use filter_common::lookup::{self, Root, Tables};
use filter_common::scope::{ClassTable, Dimension, Scopes, Words};
use ipnet::IpNet;
use oracle::{DEVICES, Sighting, Stated, Stating, decided};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use weir::ruleset::{RuleAction, RuleDirection, Ruleset, Scope, Sets};

use RuleAction::{Allow, Block, Monitor};
use RuleDirection::{Both, In, Out};

/// Listed networks, inside one another and side by side.
const LISTED_V4: [(u32, u32); 4] =
    [(0x4712_0000, 0x4712_ffff), (0x4712_0100, 0x4712_01ff), (0x4712_0180, 0x4712_02ff), (0xffff_ff00, 0xffff_ffff)];
const NET6: u128 = 0x2605_0340 << 96;
const LISTED_V6: [(u128, u128); 3] =
    [(NET6, NET6 | ((1 << 96) - 1)), (NET6 | 1 << 64, NET6 | 2 << 64), (NET6 | 7, NET6 | 9)];

/// Clients' prefixes: inside one another, side by side, both ends of a family, and all of it. A listed network, too.
const CLIENTS: [&str; 15] = [
    "10.66.0.0/16",
    "10.66.1.0/24",
    "10.66.1.128/25",
    "10.66.1.7/32",
    "0.0.0.0/32",
    "255.255.255.255/32",
    "0.0.0.0/0",
    "71.18.1.0/24",
    "fd66::/48",
    "fd66:0:0:1::/64",
    "fd66::1:0:0:0:7/128",
    "::/0",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
    // Where IPv6 writes IPv4 addresses: no IPv4 client is in it.
    "::ffff:10.66.0.0/112",
    "2605:340::/64",
];

const VLANS: [u16; 7] = [0, 1, 2, 7, 8, 4094, 4095];
const MACS: [[u8; 6]; 5] = [[0; 6], [2, 0, 0, 0, 0, 7], [2, 0, 0, 0, 0, 8], [2, 0, 0, 0, 1, 0], [0xff; 6]];
/// With one that is not there.
const NAMES: [&str; 4] = ["lo", "lan0", "wan0", "gone0"];

fn some<T: Clone + std::fmt::Debug + 'static>(values: &'static [T]) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![2 => Just(Vec::new()), 1 => vec(select(values), 1..4)]
}

fn scopes() -> impl Strategy<Value = Scope> {
    let any =
        (some(&CLIENTS), some(&VLANS), some(&NAMES), some(&MACS)).prop_map(|(clients, vlans, names, macs)| Scope {
            clients: clients.iter().map(|net| net.parse().unwrap()).collect(),
            vlans,
            devices: names.into_iter().map(String::from).collect(),
            macs,
        });
    prop_oneof![1 => Just(Scope::default()), 3 => any]
}

fn rules() -> impl Strategy<Value = Vec<Stated>> {
    let action = select(&[Block, Monitor, Allow][..]);
    let direction = select(&[Out, In, Both][..]);
    let rule = (action, direction, vec(select(&LISTED_V4[..]), 0..3), vec(select(&LISTED_V6[..]), 0..3), scopes());
    vec(rule.prop_map(|(action, direction, v4, v6, scope)| Stated { action, direction, v4, v6, scope }), 1..9)
}

/// Where a packet is met, by whom and with which tags.
fn sightings() -> impl Strategy<Value = Sighting> {
    let nowhere = IpAddr::V4([0; 4].into());
    let id = prop_oneof![4 => select(&VLANS[..]), 1 => 0_u16..4096];
    let control = (id, 0_u16..16).prop_map(|(id, priority)| id | priority << 12);
    let ethernet = (vec(control, 0..4), any::<bool>(), select(&MACS[..]), select(&MACS[..]));
    (0..DEVICES.len(), prop::option::weighted(0.85, ethernet)).prop_map(move |(device, ethernet)| {
        let met = Sighting { device, ..Sighting::of(nowhere, nowhere) };
        match ethernet {
            None => met,
            Some((tags, untagged, source, destination)) => {
                Sighting { tags, untagged, macs: Some([source, destination]), ..met }
            }
        }
    })
}

/// The ends of the clients' prefixes and their neighbours.
fn clients() -> Vec<IpAddr> {
    let net = |text: &&str| text.parse::<IpNet>().unwrap();
    let near = |net: IpNet| match net {
        IpNet::V4(net) => {
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(|at| IpAddr::V4(at.into()))
        }
        IpNet::V6(net) => {
            let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(|at| IpAddr::V6(at.into()))
        }
    };
    CLIENTS.iter().map(net).flat_map(near).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decisions_of_scoped_rules_and_what_they_are_counted_for_are_those_of_a_linear_scan(
        rules in rules(),
        guard_v4 in vec(Just((0x4712_0100_u32, 0x4712_0107)), 0..2),
        met in vec((sightings(), any::<Index>(), any::<Index>()), 200),
    ) {
        let stating = Stating { rules, guard_v4, ..Stating::default() };
        let mut sets = Sets::default();
        let ruleset = stating.compile(&mut sets);
        let clients = clients();
        let addresses: Vec<_> = stating.borders_v4().into_iter().chain(stating.borders_v6()).chain(clients).collect();
        for (met, source, destination) in met {
            let source = *source.get(&addresses);
            let family: Vec<_> = addresses.iter().copied().filter(|at| at.is_ipv4() == source.is_ipv4()).collect();
            let met = Sighting { source, destination: *destination.get(&family), ..met };
            prop_assert_eq!(decided(&ruleset, &sets, &met), stating.expected(&met), "{:?}", met);
        }
    }
}

/// Behind the listed network.
const NEXT: u32 = 0x4713_0000;
const CLIENT: &str = "10.66.1.7";
const OTHER: &str = "10.66.2.7";
const REMOTE: &str = "71.18.9.9";
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 8];

/// A rule on the whole listed network of both families.
fn rule(action: RuleAction, direction: RuleDirection, scope: Scope) -> Stated {
    Stated { action, direction, v4: vec![LISTED_V4[0]], v6: vec![LISTED_V6[0]], scope }
}

fn block(scope: Scope) -> Stating {
    Stating { rules: vec![rule(Block, Both, scope)], ..Stating::default() }
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn untagged(source: &str, destination: &str) -> Sighting {
    let met = Sighting::of(source.parse().unwrap(), destination.parse().unwrap());
    Sighting { macs: Some([MAC, OTHER_MAC]), ..met }
}

/// The reason, and the rules that are counted; equal to the linear scan's.
#[track_caller]
fn decides(stating: &Stating, met: &Sighting) -> (Reason, Vec<usize>) {
    let mut sets = Sets::default();
    let ruleset = stating.compile(&mut sets);
    let found = decided(&ruleset, &sets, met);
    assert_eq!(found, stating.expected(met), "{met:?}");
    (found.reason, found.credited)
}

#[track_caller]
fn drops(stating: &Stating, met: &Sighting) -> bool {
    decides(stating, met).0 == Reason::Blocked
}

#[test]
fn a_rule_for_a_prefix_of_clients_speaks_for_the_end_that_is_not_listed() {
    let stating = block(Scope { clients: nets(&["10.66.1.0/24", "fd66::/64"]), ..Scope::default() });
    for (client, remote, inside) in [
        (CLIENT, REMOTE, true),
        ("10.66.1.255", REMOTE, true),
        ("10.66.2.0", REMOTE, false),
        (OTHER, REMOTE, false),
        ("fd66::ffff:ffff:ffff:ffff", "2605:340::1", true),
        ("fd66:0:0:1::", "2605:340::1", false),
    ] {
        assert_eq!(drops(&stating, &untagged(client, remote)), inside, "from {client}");
        assert_eq!(drops(&stating, &untagged(remote, client)), inside, "to {client}");
    }
    // Both ends listed: each is the other's client.
    let stating = block(Scope { clients: nets(&["71.18.0.0/24"]), ..Scope::default() });
    assert!(drops(&stating, &untagged("71.18.0.5", REMOTE)) && drops(&stating, &untagged(REMOTE, "71.18.0.5")));
    assert!(!drops(&stating, &untagged(REMOTE, REMOTE)));
}

#[test]
fn a_prefix_of_one_family_holds_no_client_of_the_other() {
    let stating = block(Scope { clients: nets(&["::/0"]), ..Scope::default() });
    assert!(drops(&stating, &untagged("::ffff:10.66.1.7", "2605:340::1")));
    assert!(!drops(&stating, &untagged(CLIENT, REMOTE)));
    let stating = block(Scope { clients: nets(&["0.0.0.0/0", "::ffff:10.66.2.0/120"]), ..Scope::default() });
    assert!(
        drops(&stating, &untagged(CLIENT, REMOTE)) && drops(&stating, &untagged("::ffff:10.66.2.7", "2605:340::1"))
    );
    assert!(!drops(&stating, &untagged("::ffff:10.66.1.7", "2605:340::1")));
    assert!(!drops(&stating, &untagged("::10.66.1.7", "2605:340::1")));
}

#[test]
fn a_rule_for_vlans_takes_the_outermost_tag_wherever_it_is_and_a_priority_tag_for_none() {
    let seven = block(Scope { vlans: vec![7], ..Scope::default() });
    let none = block(Scope { vlans: vec![0], ..Scope::default() });
    for (tags, of_seven, of_none) in [
        (&[][..], false, true),
        (&[7][..], true, false),
        (&[0xe007], true, false),
        (&[7, 8], true, false),
        (&[8, 7], false, false),
        (&[8], false, false),
        (&[0x107], false, false),
        (&[0xa000], false, true),
        (&[0, 7], false, true),
    ] {
        for untagged in [false, true] {
            let met = Sighting { tags: tags.to_vec(), untagged, ..self::untagged(CLIENT, REMOTE) };
            let found = (drops(&seven, &met), drops(&none, &met));
            assert_eq!(found, (of_seven, of_none), "{tags:x?}, taken out by the kernel: {untagged}");
        }
    }
    let bare = Sighting::of(CLIENT.parse().unwrap(), REMOTE.parse().unwrap());
    assert!(!drops(&seven, &bare) && drops(&none, &bare));
}

#[test]
fn a_rule_for_devices_takes_those_that_there_are_by_their_index() {
    let stating = block(Scope { devices: vec!["lan1".into(), "wan0".into()], ..Scope::default() });
    let dropped: Vec<&str> = (0..DEVICES.len())
        .filter(|&device| drops(&stating, &Sighting { device, ..untagged(CLIENT, REMOTE) }))
        .map(|device| DEVICES[device].0)
        .collect();
    assert_eq!(dropped, ["lan1", "wan0"]);
    let stating = block(Scope { devices: vec!["gone0".into()], ..Scope::default() });
    assert!((0..DEVICES.len()).all(|device| !drops(&stating, &Sighting { device, ..untagged(CLIENT, REMOTE) })));
}

#[test]
fn a_rule_for_mac_addresses_takes_the_clients_and_no_packet_without_ethernet_header() {
    let stating = block(Scope { macs: vec![MAC], ..Scope::default() });
    let met = untagged(CLIENT, REMOTE);
    assert!(drops(&stating, &met), "the source's MAC address is the client's");
    assert!(!drops(&stating, &Sighting { macs: Some([OTHER_MAC, MAC]), ..met.clone() }), "it is the remote's");
    let back = untagged(REMOTE, CLIENT);
    assert!(!drops(&stating, &back) && drops(&stating, &Sighting { macs: Some([OTHER_MAC, MAC]), ..back }));
    assert!(!drops(&stating, &Sighting { macs: None, ..met.clone() }));
    // All 48 bits count.
    for bit in 0..48 {
        let mut near = MAC;
        near[bit / 8] ^= 1 << (bit % 8);
        assert!(!drops(&stating, &Sighting { macs: Some([near, OTHER_MAC]), ..met.clone() }), "bit {bit}");
    }
    for mac in [[0; 6], [0xff; 6]] {
        let stating = block(Scope { macs: vec![mac], ..Scope::default() });
        assert!(drops(&stating, &Sighting { macs: Some([mac, OTHER_MAC]), ..met.clone() }));
        assert!(!drops(&stating, &Sighting { macs: None, ..met.clone() }));
    }
}

#[test]
fn every_limit_of_a_scope_must_hold_and_any_value_of_one_does() {
    let scope = Scope {
        clients: nets(&["10.66.1.0/24", "10.66.9.0/24"]),
        vlans: vec![7, 9],
        devices: vec!["lan0".into(), "lan1".into()],
        macs: vec![MAC, [9; 6]],
    };
    let stating = block(scope);
    let held = Sighting { tags: vec![7], device: 1, ..untagged(CLIENT, REMOTE) };
    let source = |text: &str| text.parse().unwrap();
    assert!(drops(&stating, &held));
    assert!(drops(&stating, &Sighting { source: source("10.66.9.9"), tags: vec![9], device: 2, ..held.clone() }));
    assert!(drops(&stating, &Sighting { macs: Some([[9; 6], MAC]), ..held.clone() }));
    assert!(!drops(&stating, &Sighting { source: source(OTHER), ..held.clone() }));
    assert!(!drops(&stating, &Sighting { tags: vec![8], ..held.clone() }));
    assert!(!drops(&stating, &Sighting { device: 0, ..held.clone() }));
    assert!(!drops(&stating, &Sighting { macs: Some([OTHER_MAC, MAC]), ..held }));
}

#[test]
fn rules_that_do_not_speak_leave_the_verdict_and_the_count_to_those_that_do() {
    let of = |net: &str| Scope { clients: nets(&[net]), ..Scope::default() };
    let rules = vec![
        rule(Monitor, Both, Scope::default()),
        rule(Block, Both, of("10.66.0.0/16")),
        rule(Allow, Both, of("10.66.1.7/32")),
        rule(Block, In, of("10.66.2.0/24")),
    ];
    let stating = Stating { rules, ..Stating::default() };
    assert_eq!(decides(&stating, &untagged("192.0.2.1", REMOTE)), (Reason::Monitored, vec![0]));
    assert_eq!(decides(&stating, &untagged("10.66.9.9", REMOTE)), (Reason::Blocked, vec![0, 1]));
    assert_eq!(decides(&stating, &untagged(CLIENT, REMOTE)), (Reason::Allowed, vec![2]));
    assert_eq!(decides(&stating, &untagged(OTHER, REMOTE)), (Reason::Blocked, vec![0, 1]));
    assert_eq!(decides(&stating, &untagged(REMOTE, OTHER)), (Reason::Blocked, vec![0, 1, 3]));
}

#[test]
fn a_narrowed_set_is_the_set_of_the_rules_left_and_its_id_stays_when_scopes_change() {
    let scoped = Scope { vlans: vec![7], ..Scope::default() };
    let mut stating = block(Scope::default());
    stating.rules.push(rule(Monitor, Both, scoped.clone()));
    // The rest of the network is in the first rule alone.
    stating.rules[1].v4 = vec![LISTED_V4[1]];
    let mut sets = Sets::default();
    let met = |tags: &[u16]| Sighting { tags: tags.to_vec(), ..untagged(CLIENT, "71.18.1.1") };
    let before = stating.compile(&mut sets);
    let [alone, both] = ["71.18.9.9", "71.18.1.1"].map(|at| before.set_of(at.parse().unwrap()));
    assert_eq!(sets.len(), 3, "nothing but none, one and both");
    assert_eq!(decided(&before, &sets, &met(&[])).speaking, [0]);
    assert_eq!(decided(&before, &sets, &met(&[7])).speaking, [0, 1]);
    let row = |set: u32| before.actions[set as usize].scoped;
    assert_eq!((row(0), row(alone)), (0, 0), "sets without a scoped rule are not narrowed");
    assert_ne!(row(both), 0);

    // The other rule is scoped now: its sets are the same, other packets are in them.
    let names = sets.names();
    stating.rules[0].scope = scoped;
    stating.rules[1].scope = Scope::default();
    let after = stating.compile(&mut sets);
    assert_eq!(decided(&after, &sets, &met(&[])).speaking, [1]);
    assert_eq!(sets.names()[..3], names, "ids keep their meaning");
    assert_eq!(after.set_of("71.18.1.1".parse().unwrap()), both);
}

#[test]
fn rules_without_scopes_make_no_tables_and_change_nothing() {
    let mut stating = block(Scope::default());
    stating.rules.push(rule(Monitor, Out, Scope::default()));
    let mut sets = Sets::default();
    let ruleset = stating.compile(&mut sets);
    let scopes = &ruleset.scopes;
    assert!(scopes.classes.is_empty() && scopes.groups.is_empty() && scopes.narrowed.is_empty());
    assert!(ruleset.actions.iter().all(|actions| actions.scoped == 0));
    // One element of each map.
    assert_eq!(ruleset.bytes() - ruleset.tables.bytes(), 9224 + 2 * 4096);
    // A scoped rule that lists nothing, or only what is guarded, needs no tables either.
    let scope = Scope { vlans: vec![7], ..Scope::default() };
    stating.rules.push(Stated { v4: Vec::new(), v6: Vec::new(), ..rule(Block, Both, scope.clone()) });
    stating.rules.push(Stated { v4: vec![(9, 9)], v6: Vec::new(), ..rule(Block, Both, scope) });
    stating.guard_v4 = vec![(0, 9)];
    assert!(stating.compile(&mut sets).scopes.classes.is_empty());
}

/// A ruleset that counts how often its scopes are asked.
struct Watched<'a>(&'a Ruleset, Cell<u32>);

impl Tables for Watched<'_> {
    fn root4(&self) -> &Root {
        self.0.root4()
    }

    fn root6(&self) -> &Root {
        self.0.root6()
    }

    fn block4(&self, block: u32) -> Option<&lookup::Block> {
        self.0.block4(block)
    }

    fn block6(&self, block: u32) -> Option<&lookup::Block> {
        self.0.block6(block)
    }
}

impl Scopes for Watched<'_> {
    fn classes(&self, dimension: Dimension) -> Option<&ClassTable> {
        self.1.update(|count| count + 1);
        self.0.classes(dimension)
    }

    fn groups(&self, block: u32) -> Option<&Words> {
        self.1.update(|count| count + 1);
        self.0.groups(block)
    }

    fn narrowed(&self, block: u32) -> Option<&Words> {
        self.1.update(|count| count + 1);
        self.0.narrowed(block)
    }
}

impl decide::Ruleset for Watched<'_> {
    fn actions(&self, set: u32) -> Option<&SetActions> {
        self.0.actions(set)
    }
}

#[test]
fn only_a_packet_whose_address_a_scoped_rule_lists_makes_the_decision_look_at_scopes() {
    let mut stating = block(Scope { vlans: vec![7], ..Scope::default() });
    stating.rules.push(Stated { v4: vec![(NEXT, NEXT | 0xff)], v6: Vec::new(), ..rule(Block, Both, Scope::default()) });
    let ruleset = stating.compile(&mut Sets::default());
    // Device, VLAN, client, MAC address, group, set; and those of the client's side again where both ends are listed.
    for (source, destination, lookups) in [
        (CLIENT, OTHER, 0),
        ("fd66::1", "fd66::2", 0),
        (CLIENT, "71.19.0.1", 0),
        ("71.19.0.1", CLIENT, 0),
        (CLIENT, REMOTE, 6),
        ("2605:340::1", "fd66::2", 6),
        ("71.19.0.1", REMOTE, 6),
        (REMOTE, REMOTE, 10),
    ] {
        let watched = Watched(&ruleset, Cell::new(0));
        let met = untagged(source, destination);
        decide::decide(&met.frame()[..], &met.meta(), &watched);
        assert_eq!(watched.1.get(), lookups, "{source} -> {destination}");
    }
}

#[test]
fn tables_of_scopes_grow_with_what_they_tell_apart() {
    // 16 VLANs x 16 MAC addresses x 16 clients: 17^3 combinations would be too many.
    let number = |at: u16| at as u8;
    let mut rules = Vec::new();
    for at in 1..16 {
        rules.push(rule(Block, Both, Scope { vlans: vec![at], ..Scope::default() }));
        rules.push(rule(Block, Both, Scope { macs: vec![[number(at); 6]], ..Scope::default() }));
        rules.push(rule(Block, Both, Scope { clients: nets(&[&format!("10.66.{at}.0/24")]), ..Scope::default() }));
    }
    let stating = Stating { rules, ..Stating::default() };
    let mut sets = Sets::default();
    let ruleset = stating.compile(&mut sets);
    assert_eq!((ruleset.scopes.classes.len(), ruleset.scopes.groups.len(), ruleset.scopes.narrowed.len()), (5, 4, 4));
    assert_eq!(ruleset.bytes() - ruleset.tables.bytes(), 5 * 9224 + 8 * 4096);
    // Each combination, met: the three rules that speak.
    for (vlan, mac, client) in (0..16).flat_map(|a| (0..16).flat_map(move |b| (0..16).map(move |c| (a, b, c)))) {
        let met = untagged(&format!("10.66.{client}.9"), REMOTE);
        let met = Sighting { tags: vec![vlan], macs: Some([[number(mac); 6], MAC]), ..met };
        assert_eq!(decided(&ruleset, &sets, &met), stating.expected(&met), "{met:?}");
    }
}

fn refusal(stating: &Stating) -> String {
    stating.try_compile(&mut Sets::default()).unwrap_err().to_string()
}

#[test]
fn more_than_64_scopes_are_refused_and_those_that_mean_the_same_are_one() {
    let scope = |at: usize| Scope { vlans: vec![at as u16 % 64, 100 + at as u16 % 64], ..Scope::default() };
    let rules = |count: usize| (0..count).map(|at| rule(Monitor, Both, scope(at))).collect();
    let mut stating = Stating { rules: rules(128), ..Stating::default() };
    for (at, rule) in stating.rules.iter_mut().enumerate().skip(64) {
        rule.scope =
            Scope { vlans: vec![100 + at as u16 % 64, at as u16 % 64, 100 + at as u16 % 64], ..Scope::default() };
    }
    let mut sets = Sets::default();
    let ruleset = stating.compile(&mut sets);
    let met = Sighting { tags: vec![163], ..untagged(CLIENT, REMOTE) };
    assert_eq!(decided(&ruleset, &sets, &met).credited, [63, 127]);
    stating.rules.push(rule(Monitor, Both, Scope { vlans: vec![99], ..Scope::default() }));
    let message = "the rules have more than 64 different scopes: give rules that are meant for the same clients, VLANs \
                   and devices one and the same scope";
    assert_eq!(refusal(&stating), message);
}

#[test]
fn more_than_512_runs_in_a_dimension_are_refused() {
    let macs = |count: u16| (0..count).map(|at| [2, 0, 0, 0, (at / 100) as u8, 2 * (at % 100) as u8 + 1]).collect();
    let stating = block(Scope { macs: macs(255), ..Scope::default() });
    let mac = |last: u8| Sighting { macs: Some([[2, 0, 0, 0, 2, last], MAC]), ..untagged(CLIENT, REMOTE) };
    assert!(drops(&stating, &mac(109)) && !drops(&stating, &mac(110)) && !drops(&stating, &mac(111)));
    let stating = block(Scope { macs: macs(256), ..Scope::default() });
    assert_eq!(
        refusal(&stating),
        "the macs of all scopes cut the MAC addresses into 513 runs, more than 512: name fewer macs, or scope the rules by \
         what holds many of them: a prefix, a VLAN, a device"
    );
    let clients: Vec<String> = (0..300).map(|at| format!("10.{}.{}.1/32", at / 100, at % 100)).collect();
    let clients: Vec<&str> = clients.iter().map(String::as_str).collect();
    let stating = block(Scope { clients: nets(&clients), ..Scope::default() });
    assert!(refusal(&stating).starts_with("the clients of all scopes cut the IPv4 addresses into 601 runs, "));
}

#[test]
fn more_than_4096_combinations_are_refused() {
    let mut rules: Vec<Stated> =
        (1..=17).map(|at| rule(Block, Both, Scope { vlans: vec![at], ..Scope::default() })).collect();
    rules.extend((1..=16).map(|at| rule(Block, Both, Scope { macs: vec![[at; 6]], ..Scope::default() })));
    rules.extend(
        (1..=15)
            .map(|at| rule(Block, Both, Scope { clients: nets(&[&format!("10.66.{at}.0/24")]), ..Scope::default() })),
    );
    let stating = Stating { rules, ..Stating::default() };
    assert_eq!(
        refusal(&stating),
        "the scopes tell 1 kinds of devices, 18 of VLANs, 16 of clients and 17 of MAC addresses apart, 4896 \
         combinations, more than 4096: let rules share their vlans"
    );
}

#[test]
fn rows_of_more_than_16_mib_are_refused() {
    let mut rules = Vec::new();
    for at in 1..16 {
        rules.push(rule(Block, Both, Scope { vlans: vec![at.into()], ..Scope::default() }));
        rules.push(rule(Block, Both, Scope { macs: vec![[at; 6]], ..Scope::default() }));
        rules.push(rule(Block, Both, Scope { clients: nets(&[&format!("10.66.{at}.0/24")]), ..Scope::default() }));
    }
    // Each is in another combination with the scoped rules.
    for at in 0..1025 {
        let list = vec![(LISTED_V4[0].0 + 2 * at, LISTED_V4[0].0 + 2 * at)];
        rules.push(Stated { v4: list, v6: Vec::new(), ..rule(Monitor, Both, Scope::default()) });
    }
    assert_eq!(
        refusal(&Stating { rules, ..Stating::default() }),
        "scoped rules overlap in 1026 combinations, which 4096 groups of packets tell apart: a table of 17 MiB, more \
         than 16: let rules share scopes, or merge rules that share lists"
    );
}
