//! Packets and bytes: each counter equals the frames sent.

use std::collections::BTreeMap;

use weir_tests::frame::{Frame, frame};
use weir_tests::kernel::kind_of_tc;
use weir_tests::lab::{DEADLINE, MAC_LAN, MAC_ROUTER_LAN};
use weir_tests::netns::{Netns, veth};
use weir_tests::socket::PacketSocket;
use weir_tests::wait_until;
use weir_tests::weir::{Counter, Weir};

use crate::wires::{
    Place, SILENT_CONTROL, SILENT_LISTED, TWO_RULES, Wires, add, config, counters, inbound, outbound, place,
    silent_path, start, wait_for_drops,
};

#[test]
fn packets_and_bytes_are_exact_by_device_rule_direction_and_family_on_every_attach_kind() {
    let path = silent_path();
    let remotes = [
        ("tiktok", SILENT_LISTED[0]),
        ("tiktok", SILENT_LISTED[1]),
        ("lab", "203.0.113.5"),
        ("lab", "2001:db8:200::5"),
        ("", SILENT_CONTROL[0]),
        ("", SILENT_CONTROL[1]),
    ];
    let (lan, wan) = (path.lan_socket(), path.wan_socket());
    let tc = kind_of_tc(&path.router, "lan0");
    for (attach, kind) in [("xdp-native", "xdp-native"), ("tc", tc), ("xdp-generic", "xdp-generic")] {
        let devices = ["lan0", "wan0"].map(|name| format!("[[interface]]\nname = \"{name}\"\nattach = \"{attach}\"\n"));
        let mut weir = start(&path, &(devices.concat() + TWO_RULES));
        assert_eq!(weir.attach("lan0"), kind);
        let mut expected: BTreeMap<Place, Counter> = BTreeMap::new();
        let mut passed = 0;
        // A length and a count of its own for each: a counter that is mixed up with another shows.
        let mut length = 0;
        for (rule, remote) in remotes {
            for (socket, device, direction, frame) in
                [(&lan, "lan0", "out", outbound(remote)), (&wan, "wan0", "in", inbound(remote))]
            {
                for frame in [frame.clone().udp(9), frame.tcp(9)] {
                    length += 7;
                    let (frame, times) = (frame.payload(&vec![0x55; length]).build(), 2 + length as u64 % 9);
                    socket.flood(&[&frame], times);
                    if rule.is_empty() {
                        passed += times;
                    } else {
                        let place = place(device, "ingress", rule, direction, remote);
                        add(expected.entry(place).or_default(), &frame, times);
                    }
                }
            }
        }
        assert_eq!(expected.len(), 8);
        let sum = |wanted: &dyn Fn(&Place) -> bool| {
            let found = expected.iter().filter(|(place, _)| wanted(place)).map(|(_, counter)| counter);
            found.fold(Counter::default(), |a, b| Counter { packets: a.packets + b.packets, bytes: a.bytes + b.bytes })
        };
        wait_for_drops(&weir, sum(&|_| true).packets);
        assert_eq!(counters(&weir.status()), expected, "{kind}");
        assert_eq!(weir.dropped(), sum(&|_| true), "{kind}");
        for rule in ["tiktok", "lab"] {
            for direction in ["out", "in"] {
                let total = sum(&|place| place.2 == rule && place.3 == direction);
                assert_eq!(weir.rule(rule, direction), total, "{kind}: {rule} {direction}");
            }
        }
        let is_ours = |frame: &[u8]| frame.ends_with(&[0x55; 7]);
        let mut arrived = 0;
        wait_until(DEADLINE, &format!("{kind}: {passed} control frames come out"), || {
            arrived += lan.drain(is_ours) + wan.drain(is_ours);
            arrived >= passed
        });
        assert_eq!(arrived, passed, "{kind}: only control frames come out, each once");
        assert!(weir.stop().success());
    }
}

#[test]
fn everything_seen_on_a_device_is_counted_by_what_it_carries() {
    let (sender, receiver) = (Netns::new("sender"), Netns::new("receiver"));
    veth((&sender, "eth0", MAC_LAN), (&receiver, "eth0", MAC_ROUTER_LAN));
    sender.silence("eth0");
    receiver.silence("eth0");
    let socket = PacketSocket::open(&sender, "eth0");
    let [v4, v6] = ["198.51.100.99", SILENT_LISTED[1]];
    let frames = [
        (3, "ipv4", outbound(v4).udp(9).payload(&[1; 33]).build()),
        (5, "ipv4", outbound(v4).vlan(7).tcp(9).build()),
        (7, "ipv6", outbound(v6).udp(9).payload(&[1; 900]).build()),
        (2, "ipv6", outbound(v6).qinq(0x88a8, 3).vlan(7).pppoe(9).udp(9).build()),
        (11, "non_ip", frame().ethertype(0x0806).payload(&[0; 28]).build()),
        (4, "non_ip", frame().ethertype(0x88cc).payload(&[0; 46]).build()),
        (6, "truncated", outbound(v4).udp(9).build()[..30].to_vec()),
    ];
    let weir = Weir::start(&receiver, ["--iface", "eth0", "--service", "tiktok"]);
    let state = |weir: &Weir| weir.status()["devices"][0]["state"].as_str().unwrap().to_owned();
    assert_eq!((weir.seen("eth0"), state(&weir)), (Counter::default(), "unproven".into()));
    let mut seen = Counter::default();
    let mut parsed: BTreeMap<&str, u64> = BTreeMap::new();
    let mut listed = Counter::default();
    for (times, carries, frame) in &frames {
        socket.flood(&[frame], *times);
        add(&mut seen, frame, *times);
        *parsed.entry(carries).or_default() += times;
        if *carries == "ipv6" {
            add(&mut listed, frame, *times);
        }
    }
    wait_until(DEADLINE, "every frame is seen", || weir.seen("eth0").packets >= seen.packets);
    let status = weir.status();
    assert_eq!(weir.seen("eth0"), seen);
    assert_eq!(status["seen"]["bytes"].as_u64(), Some(seen.bytes));
    for (carries, packets) in parsed {
        assert_eq!(status["devices"][0]["parsed"][carries].as_u64(), Some(packets), "{carries}");
    }
    assert_eq!(weir.dropped(), listed);
    wait_until(DEADLINE, "the program is proven to run", || state(&weir) == "live");
}

#[test]
fn monitor_counts_once_what_passes_two_hooks_and_drops_nothing() {
    let path = silent_path();
    let devices = ["lan0", "wan0"].map(|name| format!("[[interface]]\nname = \"{name}\"\negress = true\n")).concat();
    let (_scratch, file) = config(&(devices + TWO_RULES));
    let weir = Weir::start(&path.router, ["-c", &file, "--monitor"]);
    let mut wires = Wires::new(&path);
    for (out, direction, from, to) in [(true, "out", "lan0", "wan0"), (false, "in", "wan0", "lan0")] {
        let make = if out { outbound } else { inbound };
        let frames: Vec<Frame> =
            SILENT_LISTED.iter().flat_map(|&remote| vec![make(remote).udp(9); if out { 5 } else { 3 }]).collect();
        let packets = frames.len() as u64;
        assert_eq!(wires.pass(out, &frames), vec![true; frames.len()], "{direction}");
        weir.wait_for_rule("tiktok", direction, packets);
        let status = weir.status();
        let all = counters(&status);
        for remote in SILENT_LISTED {
            let one = place(from, "ingress", "tiktok", direction, remote);
            let other = place(to, "egress", "tiktok", direction, remote);
            assert_eq!(all[&one].packets, packets / 2, "{status}");
            assert_eq!(all[&other], all[&one], "both hooks count the packet: {status}");
        }
    }
    let status = weir.status();
    assert_eq!((weir.dropped(), &status["monitored"]["packets"]), (Counter::default(), &16.into()));
    assert_eq!(status["rules"][0]["action"], "monitor", "{status}");
}
