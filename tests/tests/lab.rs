//! Tests of the lab itself: what the other tests lean on must hold without weir.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use weir_tests::echo::{TcpProbe, tcp_echo, udp_echo};
use weir_tests::frame::{Frame, TPID_8021AD, frame};
use weir_tests::lab::{
    CONTROL, CONTROL_V4, CONTROL_V6, DEADLINE, LAN_V4, LAN_V6, LISTED, MAC_LAN, MAC_ROUTER_LAN, MAC_ROUTER_WAN, PROBE,
    Path,
};
use weir_tests::netns::{Netns, veth};
use weir_tests::socket::PacketSocket;
use weir_tests::tagged::Encapsulation;
use weir_tests::{skipped, wait_until};

fn everything_gets_through(path: &Path) {
    for address in LISTED.into_iter().chain(CONTROL) {
        assert!(tcp_echo(&path.lan, address, DEADLINE), "TCP to {address}");
        assert!(udp_echo(&path.lan, address, DEADLINE), "UDP to {address}");
    }
    for address in [LAN_V4.into(), LAN_V6.into()] {
        assert!(tcp_echo(&path.wan, address, DEADLINE), "TCP from the WAN to {address}");
        assert!(udp_echo(&path.wan, address, DEADLINE), "UDP from the WAN to {address}");
    }
}

#[test]
fn tcp_and_udp_pass_the_router_in_both_directions_and_families() {
    everything_gets_through(&Path::new());
}

#[test]
fn a_route_to_nowhere_makes_the_probes_say_no() {
    let path = Path::new();
    for (address, prefix) in [(CONTROL[0], "198.51.100.10/32"), (CONTROL[1], "2001:db8:100::10/128")] {
        let mut open = TcpProbe::connect(&path.lan, address, DEADLINE).unwrap();
        assert!(open.echo(DEADLINE));
        path.router.route(&format!("blackhole {prefix}"));
        assert!(!open.echo(PROBE), "open TCP to {address}");
        assert!(!tcp_echo(&path.lan, address, PROBE), "TCP to {address}");
        assert!(!udp_echo(&path.lan, address, PROBE), "UDP to {address}");
    }
    assert!(udp_echo(&path.lan, LISTED[0], DEADLINE), "the other addresses still pass");
}

/// The encapsulations that real uplinks use.
fn encapsulations() -> Vec<Encapsulation> {
    vec![
        Encapsulation::plain().vlan(7),
        Encapsulation::plain().qinq(TPID_8021AD, 100).vlan(7),
        Encapsulation::plain().pppoe(3),
        Encapsulation::plain().vlan(3704).vlan(2474).pppoe(3),
        Encapsulation::plain().qinq(0x9100, 1).qinq(TPID_8021AD, 2).vlan(3).vlan(4).pppoe(0xffff),
    ]
}

#[test]
fn tcp_and_udp_pass_a_router_whose_uplink_is_tagged_or_in_a_pppoe_session() {
    for encapsulation in encapsulations() {
        let path = Path::encapsulated(&encapsulation);
        // Reads what comes from the router, on the wire: each packet must be inside the encapsulation.
        let wire = PacketSocket::open(&path.wan, "eth0");
        everything_gets_through(&path);
        let mut outside = 0;
        let inside = wire.drain(|frame| {
            let inside = encapsulation.unwrap(frame).is_some();
            outside += u64::from(!inside);
            inside
        });
        assert!(inside >= 20, "{encapsulation:?}: {inside} frames on the wire");
        assert_eq!(outside, 0, "{encapsulation:?}: frames on the wire in another form");
    }
}

#[test]
fn a_large_tcp_stream_passes_an_encapsulated_uplink_whole() {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    let path = Path::encapsulated(&Encapsulation::plain().vlan(7).pppoe(3));
    let mut stream = path.lan.enter(|| TcpStream::connect((CONTROL_V4, 7))).unwrap();
    let sent: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let expected = sent.clone();
    let writing = std::thread::spawn(move || writer.write_all(&sent));
    let mut echoed = vec![0; expected.len()];
    stream.read_exact(&mut echoed).unwrap();
    writing.join().unwrap().unwrap();
    assert!(echoed == expected, "the stream came back changed");
}

#[test]
fn the_kernels_own_vlan_devices_carry_traffic_one_and_two_tags_deep() {
    let (a, b) = (Netns::new("a"), Netns::new("b"));
    veth((&a, "eth0", MAC_LAN), (&b, "eth0", MAC_ROUTER_LAN));
    for (netns, host) in [(&a, 1), (&b, 2)] {
        if let Err(why) = netns.vlan("eth0", "outer", TPID_8021AD, 100) {
            let test = "the_kernels_own_vlan_devices_carry_traffic_one_and_two_tags_deep";
            return skipped(test, &format!("the kernel has no VLAN devices: {}", why.trim()));
        }
        netns.vlan("outer", "inner", 0x8100, 7).unwrap();
        netns.address("outer", &format!("10.1.0.{host}/24"));
        netns.address("inner", &format!("10.2.0.{host}/24"));
    }
    let addresses: [IpAddr; 2] = [[10, 1, 0, 2].into(), [10, 2, 0, 2].into()];
    let _server = weir_tests::echo::EchoServer::start(&b, &addresses);
    for address in addresses {
        assert!(tcp_echo(&a, address, DEADLINE), "{address}");
    }
}

#[test]
fn a_tun_device_hands_over_the_packets_that_the_kernel_routes_to_it() {
    use std::io::{Read, Write};

    let netns = Netns::new("tun");
    let mut tun = netns.tun("tun0");
    netns.address("tun0", "10.9.0.1/24");
    assert_eq!(netns.link("tun0")["link_type"], "none", "a device without Ethernet header");
    let socket = netns.enter(|| UdpSocket::bind("10.9.0.1:5000")).unwrap();
    socket.send_to(b"out", "10.9.0.2:6000").unwrap();
    let mut buffer = [0; 2048];
    let length = tun.read(&mut buffer).unwrap();
    assert_eq!(buffer[..length][28..], *b"out");
    let (here, there) = (Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2));
    let built = weir_tests::frame::packet().ipv4(there, here).udp_ports(6000, 5000).payload(b"in").build();
    tun.write_all(&built).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"in"[..], "10.9.0.2:6000".parse().unwrap()));
}

/// A frame from the client to the router's LAN device.
fn to_router(destination: IpAddr) -> Frame {
    let source = if destination.is_ipv4() { LAN_V4.into() } else { LAN_V6.into() };
    frame().macs(MAC_LAN, MAC_ROUTER_LAN).ip(source, destination)
}

#[test]
fn a_kernel_accepts_the_frame_builders_checksums_lengths_and_fragments() {
    let path = Path::new();
    let addresses: [IpAddr; 2] = [[10, 66, 0, 1].into(), "fd66::1".parse().unwrap()];
    for address in addresses {
        let socket = path.router.enter(|| UdpSocket::bind((address, 9)).unwrap());
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let lan = path.lan_socket();
        let mut buffer = vec![0; 65536];
        let mut arrives = |frames: &[Vec<u8>], payload: &[u8], what: &str| {
            for frame in frames {
                lan.send(frame);
            }
            let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{what} to {address}: {error}"));
            assert!(buffer[..length] == *payload, "{what} to {address}");
        };
        for length in [0, 1, 2, 63, 1000] {
            let payload = vec![0xa5; length];
            arrives(&[to_router(address).udp(9).payload(&payload).build()], &payload, "a datagram");
        }
        let payload: Vec<u8> = (0..3000_u16).map(|byte| byte.to_be_bytes()[1]).collect();
        arrives(&to_router(address).udp(9).payload(&payload).fragments(1024), &payload, "a fragmented datagram");
        if address.is_ipv6() {
            let extended = to_router(address).extension(0).extension(60).udp(9).payload(b"x");
            arrives(&[extended.build()], b"x", "a datagram behind extension headers");
            let pieces = to_router(address).extension(0).udp(9).payload(&payload).fragments(512);
            arrives(&pieces, &payload, "fragments behind an extension header");
        } else {
            let options = to_router(address).options(&[1, 1, 1, 0]).udp(9).payload(b"x");
            arrives(&[options.build()], b"x", "a datagram with options");
        }
        // The kernel must be able to say no, or the checks above prove nothing.
        let mut wrong = to_router(address).udp(9).payload(b"wrong").build();
        *wrong.last_mut().unwrap() ^= 1;
        lan.send(&wrong);
        arrives(&[to_router(address).udp(9).payload(b"right").build()], b"right", "after a wrong checksum, a datagram");
    }
}

#[test]
fn a_kernel_answers_the_frame_builders_syn_and_echo_request() {
    let path = Path::new();
    for destination in CONTROL {
        let lan = path.lan_socket();
        lan.send(&to_router(destination).echo().payload(b"ping").build());
        let header = if destination.is_ipv4() { 34 } else { 54 };
        let reply = if destination.is_ipv4() { 0 } else { 129 };
        let answer = lan.receive_where(DEADLINE, |frame| frame.get(header) == Some(&reply));
        assert_eq!(answer.unwrap()[header + 8..header + 12], *b"ping", "{destination}");
        lan.send(&to_router(destination).tcp(7).build());
        let answer = lan.receive_where(DEADLINE, |frame| frame.get(header + 13) == Some(&0x12));
        assert!(answer.is_some(), "no SYN-ACK from {destination}");
    }
}

#[test]
fn frames_arrive_with_all_their_tags() {
    let path = Path::new();
    let (wan, router) = (path.wan_socket(), PacketSocket::open(&path.router, "wan0"));
    let plain = frame().macs([2; 6], MAC_ROUTER_WAN).ipv4(CONTROL_V4, LAN_V4).udp(9).payload(b"tagged");
    for sent in [
        plain.clone().vlan(7).build(),
        plain.clone().qinq(TPID_8021AD, 100).vlan(7).build(),
        plain.clone().qinq(0x9100, 1).vlan(2).vlan(3).pppoe(4).build(),
        plain.build(),
    ] {
        wan.send(&sent);
        let received = router.receive_where(DEADLINE, |frame| frame.ends_with(b"tagged"));
        assert_eq!(received, Some(sent));
    }
}

#[test]
fn a_flood_is_counted_exactly_by_sender_device_and_receiver() {
    let (a, b) = (Netns::new("a"), Netns::new("b"));
    veth((&a, "eth0", MAC_LAN), (&b, "eth0", MAC_ROUTER_LAN));
    let (sender, receiver) = (PacketSocket::open(&a, "eth0"), PacketSocket::open(&b, "eth0"));
    let frames = [
        frame().ipv4(LAN_V4, CONTROL_V4).udp(9).payload(&[1; 40]).build(),
        frame().ipv6(LAN_V6, CONTROL_V6).udp(9).payload(&[2; 80]).build(),
    ];
    let (packets_before, bytes_before) = b.received("eth0");
    let sent = sender.flood(&frames, 30_000);
    assert_eq!(sent, 30_000);
    let bytes = u64::try_from(frames[0].len() + frames[1].len()).unwrap() * 15_000;
    wait_until(DEADLINE, "the device counts every frame", || b.received("eth0").0 - packets_before >= sent);
    assert_eq!(b.received("eth0"), (packets_before + sent, bytes_before + bytes));
    assert_eq!(receiver.drain(|frame| frame == frames[0]), 15_000);
}

#[test]
fn a_quiet_path_stays_quiet() {
    let path = Path::new();
    let router = PacketSocket::open(&path.router, "lan0");
    let lan = path.lan_socket();
    lan.send(&to_router(CONTROL[0]).udp(9).payload(b"only this").build());
    let unicast = |frame: &[u8]| frame[0] & 1 == 0;
    assert!(router.receive_where(DEADLINE, unicast).unwrap().ends_with(b"only this"));
    let answers = lan.receive_where(DEADLINE, unicast).unwrap();
    assert_eq!(answers[23], 1, "the router answers a closed port by ICMP, and asks for no MAC address first");
    assert_eq!(router.receive_where(Duration::from_millis(200), unicast), None);
}

#[test]
fn a_veth_switches_offloads_by_name_and_refuses_unknown_names() {
    let path = Path::new();
    path.router.features("lan0", &[("rx-gro", true), ("tx-checksum-ip-generic", false)]);
    let unknown = catch_unwind(AssertUnwindSafe(|| path.router.features("lan0", &[("no-such-offload", true)])));
    let text = *unknown.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("no feature \"no-such-offload\""), "{text}");
    assert!(tcp_echo(&path.lan, CONTROL[0], DEADLINE), "traffic passes without the checksum offload");
}

#[test]
fn a_namespace_is_gone_after_the_test_even_if_it_panicked() {
    let mut names = Vec::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let path = Path::encapsulated(&Encapsulation::plain().vlan(7));
        names = [&path.lan, &path.router, &path.wan].map(|netns| netns.name().to_owned()).to_vec();
        assert!(list().contains(&names[0]));
        panic!("on purpose");
    }));
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"on purpose"));
    assert_eq!(names.len(), 3);
    let left = list();
    assert!(names.iter().all(|name| !left.contains(name)), "{names:?} in {left}");
}

fn list() -> String {
    String::from_utf8(Command::new("ip").args(["netns", "list"]).output().unwrap().stdout).unwrap()
}

#[test]
fn a_command_runs_inside_and_a_failing_one_is_an_answer() {
    let netns = Netns::new("command");
    let output = netns.run(Command::new("ip").args(["-br", "link"]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "a new namespace has loopback alone: {text}");
    assert!(netns.try_ip("link set nothing0 up").unwrap_err().contains("nothing0"));
}

#[test]
fn what_a_closure_returns_and_how_it_panics_comes_out_of_the_namespace() {
    let netns = Netns::new("enter");
    let address: Ipv6Addr = "2001:db8::7".parse().unwrap();
    netns.address("lo", "2001:db8::7/128");
    let socket = netns.enter(|| UdpSocket::bind((address, 0)).unwrap());
    assert_eq!(socket.local_addr().unwrap().ip(), address, "the socket stays inside");
    assert!(UdpSocket::bind((address, 0)).is_err(), "the test's own thread stays outside");
    let panicked = catch_unwind(AssertUnwindSafe(|| netns.enter(|| panic!("inside"))));
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"inside"));
}

#[test]
fn a_condition_that_never_holds_ends_at_the_deadline_with_its_name() {
    let panicked = catch_unwind(|| wait_until(Duration::from_millis(30), "the moon is cheese", || false));
    let text = *panicked.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(text, "not within 30ms: the moon is cheese");
}
