//! Scoped rules on real frames: who is dropped, who is not, and that each rule counts its own packets. Uses the library, as
//! the daemon does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir::datapath::attach::AttachKind;
use weir::datapath::publish::{Datapath, Wanted};
use weir::network;
use weir::process::RunDir;
use weir::report;
use weir::ruleset::{Guard, Rule, RuleAction, RuleDirection, RuleIdentity, Scope, Sets, compile};
use weir_tests::frame::{Frame, frame};
use weir_tests::kernel;
use weir_tests::lab::{DEADLINE, MAC_LAN, MAC_ROUTER_LAN, MAC_ROUTER_WAN, MAC_WAN};
use weir_tests::netns::{Netns, veth};
use weir_tests::socket::PacketSocket;
use weir_tests::weir::{Counter, Scratch};

use crate::wires::{MARK, Place, add, number_of, numbered, place, silent_path};

/// weir's datapath in a namespace.
struct Filter<'n> {
    netns: &'n Netns,
    datapath: Option<Datapath>,
    sets: Sets,
    rules: Vec<Rule>,
    // Behind the datapath: its pins are in it.
    _run_dir: RunDir,
    _scratch: Scratch,
}

impl<'n> Filter<'n> {
    /// Filters by `rules` on `devices`: each with its attach kind, and whether egress is filtered, too.
    fn start(netns: &'n Netns, devices: &[(&str, AttachKind, bool)], rules: Vec<Rule>) -> Self {
        let scratch = Scratch::new();
        let run_dir = RunDir::take(&scratch.path().join("run")).unwrap();
        let (mut datapath, mut sets) = (Datapath::new(run_dir.pins(), false, 64), Sets::default());
        netns.enter(|| {
            let all = network::devices().unwrap();
            let wanted = |&(name, kind, egress): &(&str, AttachKind, bool)| Wanted {
                device: all[name].clone(),
                // As the daemon does where the kernel has no tcx.
                kinds: if kind == AttachKind::Tcx { vec![kind, AttachKind::Tc] } else { vec![kind] },
                egress,
            };
            let wanted: Vec<Wanted> = devices.iter().map(wanted).collect();
            let ruleset = compile(&rules, &Guard::default(), &mut sets, &network::indices().unwrap()).unwrap();
            let staged = datapath.stage(&ruleset, &wanted).unwrap();
            let refusals = datapath.publish(staged, &wanted).unwrap();
            let tcx = kernel::offers_tcx_here(wanted[0].device.index).is_ok();
            assert!(refusals.is_empty() || !tcx, "{refusals:?}");
        });
        Self { netns, datapath: Some(datapath), sets, rules, _run_dir: run_dir, _scratch: scratch }
    }

    fn counters(&self) -> BTreeMap<Place, Counter> {
        let datapath = self.datapath.as_ref().unwrap();
        let hits = datapath.hits(u32::try_from(self.sets.len()).unwrap()).unwrap();
        let ports = datapath.devices_by_port().map(|(port, name, egress)| (port, (name, egress))).collect();
        let identities: Vec<RuleIdentity> = self.rules.iter().map(|rule| rule.identity.clone()).collect();
        let counters = report::totals(&identities, &self.sets, &ports, &hits.tallies).counters;
        let mut sums = BTreeMap::<Place, Counter>::new();
        for counter in counters {
            let place = (counter.device, counter.hook, counter.rule, counter.direction, counter.family);
            let sum = sums.entry(place).or_default();
            sum.packets += counter.packets;
            sum.bytes += counter.bytes;
        }
        sums
    }
}

impl Drop for Filter<'_> {
    fn drop(&mut self) {
        let datapath = self.datapath.take();
        self.netns.enter(|| drop(datapath));
    }
}

fn rule(name: &str, action: RuleAction, nets: [&str; 2], scope: Scope) -> Rule {
    let [v4, v6] = nets.map(|net| {
        let (address, length) = net.split_once('/').unwrap();
        (address.parse::<IpAddr>().unwrap(), length.parse::<u32>().unwrap())
    });
    let ((IpAddr::V4(v4), length4), (IpAddr::V6(v6), length6)) = (v4, v6) else { panic!("{nets:?}: IPv4, then IPv6") };
    let (v4, v6) = (u32::from(v4), u128::from(v6));
    Rule {
        identity: RuleIdentity { name: name.into(), action, direction: RuleDirection::Both },
        v4: [(v4, v4 | u32::MAX >> length4)].into_iter().collect(),
        v6: [(v6, v6 | u128::MAX >> length6)].into_iter().collect(),
        scope,
    }
}

/// Sends each frame, and then `last`, which must come out. Gives by place whether the frame came out, too.
fn arrive(from: &PacketSocket, to: &PacketSocket, frames: &[Vec<u8>], last: &Frame) -> Vec<bool> {
    for frame in frames {
        from.send(frame);
    }
    from.send(&numbered(last, frames.len() as u64));
    let mut arrived = vec![false; frames.len()];
    let end = to.receive_where(DEADLINE, |frame| {
        let Some(number) = number_of(frame) else { return false };
        let place = usize::try_from(number).unwrap();
        arrived.get_mut(place).is_none_or(|arrived| {
            *arrived = true;
            false
        })
    });
    assert!(end.is_some(), "the frame that nothing lists does not come out");
    arrived
}

/// One client on the LAN, and another with a MAC address of its own.
const CLIENT: [&str; 2] = ["10.66.0.77", "fd66::77"];
const OTHER: [&str; 2] = ["10.66.0.78", "fd66::78"];
const MAC_OTHER: [u8; 6] = [2, 0, 0, 0, 1, 9];

/// Networks of remote hosts, and a host in each.
const BY_PREFIX: ([&str; 2], [&str; 2]) = (["203.0.113.0/24", "2001:db8:201::/48"], ["203.0.113.5", "2001:db8:201::5"]);
const BY_MAC: ([&str; 2], [&str; 2]) = (["198.18.2.0/24", "2001:db8:202::/48"], ["198.18.2.5", "2001:db8:202::5"]);
const BY_DEVICE: ([&str; 2], [&str; 2]) = (["198.18.3.0/24", "2001:db8:203::/48"], ["198.18.3.5", "2001:db8:203::5"]);
const BY_ALL: ([&str; 2], [&str; 2]) = (["198.18.4.0/24", "2001:db8:204::/48"], ["198.18.4.5", "2001:db8:204::5"]);

fn nets(texts: &[&str]) -> Scope {
    Scope { clients: texts.iter().map(|net| net.parse().unwrap()).collect(), ..Scope::default() }
}

#[test]
fn a_scoped_rule_drops_for_one_client_and_not_for_another_and_counts_exactly() {
    use RuleAction::{Allow, Block, Monitor};
    let rules = vec![
        rule("prefix", Block, BY_PREFIX.0, nets(&["10.66.0.77/32", "fd66::76/127"])),
        rule("mac", Block, BY_MAC.0, Scope { macs: vec![MAC_OTHER], ..Scope::default() }),
        rule("device", Block, BY_DEVICE.0, Scope { devices: vec!["wan0".into()], ..Scope::default() }),
        rule("lan", Block, BY_ALL.0, nets(&["10.66.0.0/24", "fd66::/64"])),
        rule("friend", Allow, BY_ALL.0, nets(&["10.66.0.78/32", "fd66::78/128"])),
        rule("watch", Monitor, BY_ALL.0, Scope { macs: vec![MAC_LAN, MAC_OTHER], ..Scope::default() }),
    ];
    // Client, its MAC address, remote; the rules that count the packet out at lan0, and in at wan0 and on egress of lan0.
    let first = (CLIENT, MAC_LAN);
    let second = (OTHER, MAC_OTHER);
    let cases = [
        (first, BY_PREFIX.1, &["prefix"][..], &["prefix"][..], &[][..]),
        (second, BY_PREFIX.1, &[], &[], &[]),
        (first, BY_MAC.1, &[], &[], &[]),
        (second, BY_MAC.1, &["mac"], &[], &["mac"]),
        (first, BY_DEVICE.1, &[], &["device"], &[]),
        (second, BY_DEVICE.1, &[], &["device"], &[]),
        // At the WAN the client's MAC address is not in the frame: the block rule speaks alone.
        (first, BY_ALL.1, &["lan", "watch"], &["lan"], &[]),
        (second, BY_ALL.1, &["friend"], &["friend"], &["friend"]),
    ];
    let path = silent_path();
    for address in OTHER {
        path.router.neighbour("lan0", address, MAC_OTHER);
    }
    let (lan, wan) = (path.lan_socket(), path.wan_socket());
    let last_out = frame().macs(MAC_LAN, MAC_ROUTER_LAN).ip(ip(CLIENT[0]), ip("198.51.100.99")).udp(9);
    let last_in = frame().macs(MAC_WAN, MAC_ROUTER_WAN).ip(ip("198.51.100.99"), ip(CLIENT[0])).udp(9);
    for kind in [AttachKind::XdpNative, AttachKind::Tcx, AttachKind::XdpGeneric] {
        let filter = Filter::start(&path.router, &[("lan0", kind, true), ("wan0", kind, false)], rules.clone());
        let mut expected = BTreeMap::<Place, Counter>::new();
        let (mut out, mut back, mut passes) = (Vec::new(), Vec::new(), Vec::new());
        for ((client, mac), remotes, of_lan, of_wan, of_egress) in cases {
            for (client, remote) in client.into_iter().zip(remotes) {
                let number = out.len() as u64;
                // Of a length of its own, so that bytes of one rule are not taken for another's.
                let padded =
                    |frame: Frame| frame.payload(&[&vec![0x55; out.len() * 3][..], &mark(number)].concat()).build();
                let to = padded(frame().macs(mac, MAC_ROUTER_LAN).ip(ip(client), ip(remote)).udp(9));
                let from = padded(frame().macs(MAC_WAN, MAC_ROUTER_WAN).ip(ip(remote), ip(client)).udp(9));
                let mut count = |device, hook, rules: &[&str], direction, frame: &[u8]| {
                    for rule in rules {
                        add(expected.entry(place(device, hook, rule, direction, remote)).or_default(), frame, 1);
                    }
                };
                count("lan0", "ingress", of_lan, "out", &to);
                count("wan0", "ingress", of_wan, "in", &from);
                count("lan0", "egress", of_egress, "in", &from);
                let drops = |rules: &[&str]| !rules.is_empty() && rules != ["friend"];
                passes.push((!drops(of_lan), !drops(of_wan) && !drops(of_egress)));
                out.push(to);
                back.push(from);
            }
        }
        let arrived: Vec<(bool, bool)> =
            arrive(&lan, &wan, &out, &last_out).into_iter().zip(arrive(&wan, &lan, &back, &last_in)).collect();
        assert_eq!(arrived, passes, "{kind}: out and in, by case and family");
        assert_eq!(filter.counters(), expected, "{kind}");
    }
}

/// What [`number_of`] finds at the end of a frame.
fn mark(number: u64) -> Vec<u8> {
    [MARK.as_slice(), &number.to_be_bytes()].concat()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_rule_for_a_vlan_finds_the_outermost_tag_in_the_frame_and_where_the_kernel_took_it_out() {
    let (client, bridge, server) = (Netns::new("client"), Netns::new("bridge"), Netns::new("server"));
    veth((&client, "eth0", MAC_LAN), (&bridge, "lan0", MAC_ROUTER_LAN));
    veth((&bridge, "wan0", MAC_ROUTER_WAN), (&server, "eth0", MAC_WAN));
    for (netns, device) in [(&client, "eth0"), (&bridge, "lan0"), (&bridge, "wan0"), (&server, "eth0")] {
        netns.silence(device);
    }
    bridge.bridge("br0", &["lan0", "wan0"]);
    let vlans = |vlans: &[u16]| Scope { vlans: vlans.to_vec(), ..Scope::default() };
    let rules = vec![
        rule("seven", RuleAction::Block, BY_ALL.0, vlans(&[7])),
        rule("untagged", RuleAction::Monitor, BY_ALL.0, vlans(&[0])),
    ];
    let bare = |remote| {
        let client = if remote == BY_ALL.1[0] { CLIENT[0] } else { CLIENT[1] };
        frame().macs(MAC_LAN, MAC_WAN).ip(ip(client), ip(remote)).udp(9)
    };
    // The tags, the outermost first, and the rule that counts the packet.
    let cases: [(&[(u16, u16)], &str); 10] = [
        (&[], "untagged"),
        (&[(0x8100, 7)], "seven"),
        (&[(0x8100, 8)], ""),
        (&[(0x8100, 0xe007)], "seven"),
        (&[(0x8100, 0x6000)], "untagged"),
        (&[(0x8100, 0), (0x8100, 7)], "untagged"),
        (&[(0x88a8, 7), (0x8100, 8)], "seven"),
        (&[(0x88a8, 8), (0x8100, 7)], ""),
        (&[(0x9100, 7)], "seven"),
        (&[(0x9100, 8), (0x8100, 7)], ""),
    ];
    let (from, to) = (PacketSocket::open(&client, "eth0"), PacketSocket::open(&server, "eth0"));
    // The egress of wan0 is met by what the bridge sends: tags are out of the frame there, too.
    for (kind, device, egress) in [
        (AttachKind::XdpNative, "lan0", false),
        (AttachKind::XdpGeneric, "lan0", false),
        (AttachKind::Tcx, "lan0", false),
        (AttachKind::Tc, "lan0", false),
        (AttachKind::Tcx, "wan0", true),
    ] {
        let filter = Filter::start(&bridge, &[(device, kind, egress)], rules.clone());
        let mut expected = BTreeMap::<Place, Counter>::new();
        let (mut frames, mut passes) = (Vec::new(), Vec::new());
        for (tags, rule) in cases {
            for remote in BY_ALL.1 {
                let tagged = tags.iter().fold(bare(remote), |frame, &(tpid, id)| frame.qinq(tpid, id));
                let sent = numbered(&tagged, frames.len() as u64);
                // Where the kernel took a tag out, the frame is four bytes shorter.
                let taken = !kind.is_xdp() && matches!(tags.first(), Some((0x8100 | 0x88a8, _)));
                let met = if taken { &sent[4..] } else { &sent };
                if !rule.is_empty() {
                    let hook = if egress { "egress" } else { "ingress" };
                    add(expected.entry(place(device, hook, rule, "out", remote)).or_default(), met, 1);
                }
                passes.push(rule != "seven");
                frames.push(sent);
            }
        }
        let last = frame().macs(MAC_LAN, MAC_WAN).ip(ip(CLIENT[0]), ip("198.51.100.99")).udp(9);
        assert_eq!(arrive(&from, &to, &frames, &last), passes, "{kind} on {device}");
        assert_eq!(filter.counters(), expected, "{kind} on {device}");
    }
}
