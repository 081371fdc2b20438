//! What passes and what does not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, UdpSocket};
use std::thread;

use weir_tests::echo::{tcp_echo, udp_echo};
use weir_tests::frame::{Frame, frame};
use weir_tests::lab::{CONTROL, DEADLINE, LAN_V4, LAN_V6, LISTED, MAC_ROUTER_WAN, MAC_WAN, PROBE, Path};
use weir_tests::wait_until;
use weir_tests::weir::{Counter, Weir};

use crate::wires::{
    SILENT_CONTROL, SILENT_LISTED, TWO_RULES, Wires, add, counters, inbound, outbound, place, silent_path, start,
    wait_for_drops,
};

/// Which of the addresses answer the client, by TCP and by UDP. All are asked at once: silence takes its time.
fn answering(path: &Path, addresses: &[IpAddr]) -> BTreeSet<(IpAddr, &'static str)> {
    thread::scope(|scope| {
        let ask = |&address| {
            let tcp = scope.spawn(move || tcp_echo(&path.lan, address, PROBE).then_some((address, "tcp")));
            [tcp, scope.spawn(move || udp_echo(&path.lan, address, PROBE).then_some((address, "udp")))]
        };
        let asked: Vec<_> = addresses.iter().flat_map(ask).collect();
        asked.into_iter().filter_map(|asked| asked.join().unwrap()).collect()
    })
}

fn by_tcp_and_udp(addresses: &[IpAddr]) -> BTreeSet<(IpAddr, &'static str)> {
    addresses.iter().flat_map(|&address| [(address, "tcp"), (address, "udp")]).collect()
}

#[test]
fn a_service_is_dropped_in_both_directions_families_and_transports_until_weir_stops() {
    let path = silent_path();
    let all = [LISTED, CONTROL].concat();
    let from = |remote: IpAddr| {
        let client = if remote.is_ipv4() { LAN_V4.into() } else { LAN_V6.into() };
        let frame = frame().macs(MAC_WAN, MAC_ROUTER_WAN).ip(remote, client);
        [frame.clone().udp(9), frame.tcp(9)]
    };
    let arriving: Vec<Frame> = all.iter().copied().flat_map(from).collect();
    let mut wires = Wires::new(&path);
    // A new device takes a moment for IPv6, and a lost SYN is sent again after a second only.
    let everything = || answering(&path, &all) == by_tcp_and_udp(&all);
    wait_until(DEADLINE, "everything answers before", everything);
    assert_eq!(wires.pass(false, &arriving), [true; 8], "before");

    let mut weir = Weir::start(&path.router, ["--iface", "lan0", "--iface", "wan0", "--service", "tiktok"]);
    assert_eq!(answering(&path, &all), by_tcp_and_udp(&CONTROL), "while weir runs");
    let listed = [[false; 4], [true; 4]].concat();
    assert_eq!(wires.pass(false, &arriving), listed, "while weir runs");
    assert!(weir.rule("tiktok", "out").packets >= 4, "each probe sent at least one packet");
    assert_eq!(weir.rule("tiktok", "in").packets, 4, "{}", weir.status());

    assert!(weir.stop().success());
    wait_until(DEADLINE, "everything answers after", everything);
    assert_eq!(wires.pass(false, &arriving), [true; 8], "after");
}

#[test]
fn a_trace_tells_of_every_packet_and_changes_nothing() {
    let path = silent_path();
    let weir = Weir::start(&path.router, ["--iface", "lan0", "--service", "tiktok", "--trace"]);
    let mut wires = Wires::new(&path);
    // A packet in no list between listed ones: what is told of it is not what was decided before.
    let remotes = [SILENT_LISTED[0], SILENT_CONTROL[0], SILENT_LISTED[1], SILENT_CONTROL[1]];
    let frames = remotes.map(|remote| outbound(remote).udp(9));
    assert_eq!(wires.pass(true, &frames), [false, true, false, true]);
    wait_for_drops(&weir, 2);
    for (remote, outcome) in
        remotes.into_iter().zip(["DROPPED out rules=[tiktok]", "passed out rules=[]"].iter().cycle())
    {
        let client = if remote.contains(':') { "fd66::77" } else { "10.66.0.77" };
        let line = format!("{client} > {remote} {outcome}");
        wait_until(DEADLINE, &line, || weir.stderr().contains(&line));
    }
}

#[test]
fn allow_beats_block_directions_are_kept_apart_and_never_block_passes() {
    let path = silent_path();
    let weir = start(
        &path,
        r#"
        [[interface]]
        name = "lan0"
        [[interface]]
        name = "wan0"
        [[rule]]
        name = "net"
        action = "block"
        prefixes = ["203.0.113.0/24", "2001:db8:200::/48", "192.0.2.0/24"]
        [[rule]]
        name = "friend"
        action = "allow"
        prefixes = ["203.0.112.0/23", "2001:db8:200:7::/64"]
        direction = "out"
        [[rule]]
        name = "no uploads"
        action = "block"
        direction = "out"
        prefixes = ["198.18.1.0/24", "2001:db8:301::/48"]
        [[rule]]
        name = "no downloads"
        action = "block"
        direction = "in"
        prefixes = ["198.18.2.0/24", "2001:db8:302::/48"]
        [[rule]]
        name = "guarded"
        action = "block"
        prefixes = ["198.18.3.0/24", "2001:db8:303::/48"]
        [never_block]
        prefixes = ["198.18.3.64/26", "2001:db8:303:1::/64"]
        "#,
    );
    // The address, and whether packets to it and from it pass.
    let cases = [
        // The wider allow rule beats the block rule, in its direction only.
        ("203.0.113.5", true, false),
        ("203.0.112.5", true, true),
        ("2001:db8:200:7::5", true, false),
        ("2001:db8:200:8::5", false, false),
        ("198.18.1.5", false, true),
        ("2001:db8:301::5", false, true),
        ("198.18.2.5", true, false),
        ("2001:db8:302::5", true, false),
        ("198.18.3.63", false, false),
        ("198.18.3.64", true, true),
        ("198.18.3.127", true, true),
        ("198.18.3.128", false, false),
        ("2001:db8:303:1::5", true, true),
        ("2001:db8:303:2::5", false, false),
        // Not the operator's word: the router's own network and gateway.
        ("192.0.2.2", true, true),
    ];
    let mut wires = Wires::new(&path);
    let out: Vec<Frame> = cases.iter().map(|(remote, ..)| outbound(remote).udp(9)).collect();
    let back: Vec<Frame> = cases.iter().map(|(remote, ..)| inbound(remote).tcp(9)).collect();
    for ((remote, out, back), (to, from)) in
        cases.into_iter().zip(wires.pass(true, &out).into_iter().zip(wires.pass(false, &back)))
    {
        assert_eq!((to, from), (out, back), "packets to and from {remote}");
    }
    wait_for_drops(&weir, 14);
    let packets = ["net", "friend", "no uploads", "no downloads", "guarded"]
        .map(|rule| ["out", "in"].map(|direction| weir.rule(rule, direction).packets));
    assert_eq!(packets, [[1, 3], [3, 0], [2, 0], [0, 2], [3, 3]]);
    assert_eq!(weir.status()["allowed"]["packets"], 3);
}

#[test]
fn the_routers_own_traffic_is_dropped_with_egress_only() {
    for egress in [false, true] {
        let path = Path::new();
        let device = format!("[[interface]]\nname = \"wan0\"\negress = {egress}\n");
        let mut weir = start(&path, &(device + TWO_RULES));
        let wan = path.wan_socket();
        for (count, (listed, control)) in SILENT_LISTED.into_iter().zip(SILENT_CONTROL).enumerate() {
            let any = if listed.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = path.router.enter(|| UdpSocket::bind(any).unwrap());
            socket.send_to(b"listed", (listed, 9)).unwrap();
            socket.send_to(b"control", (control, 9)).unwrap();
            let mut escaped = false;
            let arrived = wan.receive_where(DEADLINE, |frame| {
                escaped |= frame.ends_with(b"listed");
                frame.ends_with(b"control")
            });
            assert!(arrived.is_some(), "{control}");
            assert_eq!(escaped, !egress, "{listed}");
            wait_for_drops(&weir, if egress { count as u64 + 1 } else { 0 });
        }
        let all = counters(&weir.status());
        let header = 14 + 8 + "listed".len() as u64;
        let wanted = |remote| place("wan0", "egress", "tiktok", "out", remote);
        let one = |bytes| Counter { packets: 1, bytes };
        let dropped = [(wanted("v4"), one(header + 20)), (wanted("v6:"), one(header + 40))];
        assert_eq!(all, if egress { dropped.into() } else { BTreeMap::new() });
        assert!(weir.stop().success());
    }
}

#[test]
fn first_and_later_fragments_of_listed_packets_are_dropped() {
    let path = silent_path();
    let weir = Weir::start(&path.router, ["--iface", "lan0", "--iface", "wan0", "--service", "tiktok"]);
    let (lan, wan) = (path.lan_socket(), path.wan_socket());
    let mut dropped = Counter::default();
    let mut passed = 0;
    for (listed, control) in SILENT_LISTED.into_iter().zip(SILENT_CONTROL) {
        for (socket, make) in [(&lan, outbound as fn(&str) -> Frame), (&wan, inbound)] {
            let cut = |remote: &str| make(remote).udp(9).payload(&[0x66; 3000]).fragments(1024);
            for piece in cut(listed) {
                socket.send(&piece);
                add(&mut dropped, &piece, 1);
            }
            for piece in cut(control) {
                socket.send(&piece);
                passed += 1;
            }
        }
    }
    wait_for_drops(&weir, 12);
    assert_eq!((passed, weir.dropped()), (12, dropped));
    let mut arrived = 0;
    let is_ours = |frame: &[u8]| frame.ends_with(&[0x66; 16]);
    wait_until(DEADLINE, "every control fragment comes out", || {
        arrived += lan.drain(is_ours) + wan.drain(is_ours);
        arrived >= passed
    });
    assert_eq!(arrived, passed, "only control fragments come out");
}
