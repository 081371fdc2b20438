//! Frames that no sane sender makes: cut at every byte, with wrong lengths, versions and too many tags. Each is dropped or passed as
//! the decision on the host says, each is counted, and those that are well formed go on to pass between them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use filter_common::decide::{Reason, decide};
use filter_common::packet::{self, Meta, Protocol};
use weir::ruleset::{Guard, Rule, RuleAction, RuleDirection, RuleIdentity, Ruleset, Scope, Sets, compile};
use weir_tests::frame::frame;
use weir_tests::lab::{DEADLINE, MAC_LAN, MAC_ROUTER_LAN};
use weir_tests::netns::{Netns, veth};
use weir_tests::socket::PacketSocket;
use weir_tests::wait_until;
use weir_tests::weir::{Scratch, Weir};

const LISTED_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const OTHER_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const LISTED_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9);
const OTHER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 9);

/// The rules of the daemon under test, for the decision on the host.
fn ruleset() -> Ruleset {
    let rule = Rule {
        identity: RuleIdentity { name: "listed".into(), action: RuleAction::Block, direction: RuleDirection::Both },
        v4: [(0xcb00_7100, 0xcb00_71ff)].into_iter().collect(),
        v6: [(0x2001_0db8_0001_u128 << 80, (0x2001_0db8_0002_u128 << 80) - 1)].into_iter().collect(),
        scope: Scope::default(),
    };
    compile(&[rule], &Guard::default(), &mut Sets::default(), &BTreeMap::default()).unwrap()
}

/// A frame in each encapsulation, well formed, and where its IP header is.
fn well_formed() -> Vec<(Vec<u8>, usize)> {
    let mut frames = Vec::new();
    for payload in [18, 400, 1400] {
        for [source, destination] in [[OTHER_V4, LISTED_V4], [LISTED_V4, OTHER_V4], [OTHER_V4, OTHER_V4]] {
            let plain =
                frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(source, destination).udp(9).payload(&vec![1; payload]);
            frames.extend(encapsulations(&plain));
        }
        for [source, destination] in [[OTHER_V6, LISTED_V6], [LISTED_V6, OTHER_V6], [OTHER_V6, OTHER_V6]] {
            let plain =
                frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv6(source, destination).udp(9).payload(&vec![1; payload]);
            frames.extend(encapsulations(&plain));
        }
    }
    frames
}

fn encapsulations(plain: &weir_tests::frame::Frame) -> Vec<(Vec<u8>, usize)> {
    // Tags go behind those that are there; one more than weir reads hides what is in them.
    let tagged = |count: u16| (0..count).fold(plain.clone(), |frame, id| frame.qinq(0x88a8, id + 1));
    [0_u16, 1, 2, 4, 5]
        .into_iter()
        .flat_map(|tags| {
            let at = 14 + 4 * usize::from(tags);
            [(tagged(tags).build(), at), (tagged(tags).pppoe(7).build(), at + 8)]
        })
        .collect()
}

/// The frame with every fault.
fn faults(whole: &[u8], header: usize) -> Vec<Vec<u8>> {
    // Cut at every byte, up to behind the transport header.
    let mut frames: Vec<Vec<u8>> =
        (14..(header + 50).min(whole.len())).map(|length| whole[..length].to_vec()).collect();
    let mut set = |at: usize, bytes: &[u8]| {
        let mut frame = whole.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frames.push(frame);
    };
    // Versions, and header lengths that are too short or reach beyond the end.
    for first in [0x00, 0x05, 0x15, 0x35, 0x40, 0x44, 0x46, 0x4f, 0x55, 0x60, 0x65, 0x75, 0xf5, 0xff] {
        set(header, &[first]);
    }
    // Total length of IPv4; payload length of IPv6.
    for length in [0_u16, 1, 19, 20, 0xffff] {
        set(header + 2, &length.to_be_bytes());
        set(header + 4, &length.to_be_bytes());
    }
    // EtherTypes in front of it that say something else.
    for kind in [0_u16, 46, 1500, 0x0800, 0x86dd, 0x8100, 0x8864, 0x8847, 0xffff] {
        set(header - 2, &kind.to_be_bytes());
    }
    frames
}

#[test]
fn malformed_frames_of_every_kind_are_decided_as_on_the_host_and_each_is_counted() {
    let (sender, receiver) = (Netns::new("sender"), Netns::new("receiver"));
    veth((&sender, "eth0", MAC_LAN), (&receiver, "eth0", MAC_ROUTER_LAN));
    sender.silence("eth0");
    receiver.silence("eth0");
    let socket = PacketSocket::open(&sender, "eth0");
    let text = "[[interface]]\nname = \"eth0\"\nattach = \"xdp-native\"\n[http]\nlisten = \"off\"\n[[rule]]\nname = \"listed\"\n\
                action = \"block\"\nprefixes = [\"203.0.113.0/24\", \"2001:db8:1::/48\"]\n";
    let files = Scratch::new();
    let config = files.file("weir.toml", text).display().to_string();
    let weir = Weir::start(&receiver, ["-c", &config]);

    let rules = ruleset();
    let well_formed = well_formed();
    // By hand: three sizes, four pairs with a listed end, and every encapsulation but those of five tags.
    let meta = Meta { layer: packet::Layer::Ethernet, device: 1, vlan: 0 };
    let is_blocked = |frame: &[u8]| decide(frame, &meta, &rules).reason == Reason::Blocked;
    assert_eq!(well_formed.iter().filter(|(whole, _)| is_blocked(whole)).count(), 3 * 4 * 8);
    let malformed = well_formed.iter().flat_map(|(whole, header)| faults(whole, *header));
    let frames: Vec<Vec<u8>> = well_formed.iter().map(|(whole, _)| whole.clone()).chain(malformed).collect();
    assert!(frames.len() > 10_000, "{}", frames.len());
    let (mut dropped, mut bytes, mut carried) = (0_u64, 0_u64, [0_u64; 4]);
    for frame in &frames {
        let decision = decide(frame.as_slice(), &meta, &rules);
        carried[decision.protocol as usize] += 1;
        if decision.reason == Reason::Blocked {
            dropped += 1;
            bytes += frame.len() as u64;
        }
        socket.send(frame);
    }
    println!("{} frames, {dropped} to drop, by protocol {carried:?}", frames.len());
    assert!(dropped > 3000 && carried.iter().all(|&count| count > 200), "every kind is among them");
    wait_until(DEADLINE, "every frame is seen", || weir.seen("eth0").packets >= frames.len() as u64);
    assert_eq!(weir.seen("eth0").packets, frames.len() as u64);
    let parsed = &weir.status()["devices"][0]["parsed"];
    for (protocol, name) in [
        (Protocol::Ipv4, "ipv4"),
        (Protocol::Ipv6, "ipv6"),
        (Protocol::NotIp, "non_ip"),
        (Protocol::Truncated, "truncated"),
    ] {
        assert_eq!(parsed[name].as_u64(), Some(carried[protocol as usize]), "{name}");
    }
    assert_eq!((weir.dropped().packets, weir.dropped().bytes), (dropped, bytes));
    assert_eq!(weir.verb(&["status"]).code, 0, "{}", weir.stderr());
}
