//! What goes through a router's device in each link layer, and what comes out behind it, known again by a stamp. Knows no filter.

use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use weir_tests::frame::{Frame, TPID_8021AD, frame, packet};
use weir_tests::lab::{DEADLINE, MAC_LAN, MAC_ROUTER_LAN, MAC_ROUTER_WAN, MAC_WAN};
use weir_tests::netns::{Netns, veth};
use weir_tests::socket::PacketSocket;
use weir_tests::weir::Counter;

/// The device that weir is to filter.
pub(crate) const DEVICE: &str = "in0";

/// What stands around the IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Ethernet,
    Vlan,
    QinQ,
    Pppoe,
    /// Nothing: a device without Ethernet header.
    Ip,
}

impl Layer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ethernet => "ethernet",
            Self::Vlan => "vlan",
            Self::QinQ => "qinq",
            Self::Pppoe => "pppoe",
            Self::Ip => "ip",
        }
    }

    /// Bytes that the kernel takes out of a frame before a tc program sees it: those of the outermost tag.
    pub(crate) fn taken(self) -> u64 {
        if matches!(self, Self::Vlan | Self::QinQ) { 4 } else { 0 }
    }

    /// A frame of the client's to this address.
    fn to(self, remote: &str) -> Frame {
        let ethernet = || frame().macs(MAC_LAN, MAC_WAN);
        let outer = match self {
            Self::Ethernet => ethernet(),
            Self::Vlan => ethernet().vlan(7),
            Self::QinQ => ethernet().qinq(TPID_8021AD, 100).vlan(7),
            Self::Pppoe => ethernet().pppoe(3),
            Self::Ip => packet(),
        };
        let remote: IpAddr = remote.parse().unwrap();
        outer.ip(if remote.is_ipv4() { [10, 66, 0, 2].into() } else { "fd66::2".parse().unwrap() }, remote)
    }
}

/// What a rule is to list.
pub(crate) const LISTED: [&str; 2] = ["71.18.1.99", "2605:340::99"];
const UNLISTED: [&str; 2] = ["198.51.100.99", "2001:db8:100::99"];

/// What was sent, by whether it is listed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// IPv4 and IPv6.
    pub(crate) listed: [Counter; 2],
    pub(crate) unlisted: Counter,
    stamp: u32,
}

impl Sent {
    /// All frames.
    pub(crate) fn all(&self) -> Counter {
        sum(sum(self.listed[0], self.listed[1]), self.unlisted)
    }

    pub(crate) fn packets_listed(&self) -> u64 {
        self.listed[0].packets + self.listed[1].packets
    }
}

fn sum(a: Counter, b: Counter) -> Counter {
    Counter { packets: a.packets + b.packets, bytes: a.bytes + b.bytes }
}

/// A client, a router whose device `in0` it sends to, and a server that keeps what comes out of the router.
///
/// On Ethernet the router bridges, so that every link layer comes out as it came in; a device without Ethernet header is
/// routed. Nobody but the client sends anything.
pub(crate) struct Wire {
    pub(crate) router: Netns,
    pub(crate) layers: &'static [Layer],
    client: Client,
    server: PacketSocket,
    _namespaces: Vec<Netns>,
}

enum Client {
    Socket(PacketSocket),
    Tun(File),
}

impl Wire {
    pub(crate) fn ethernet() -> Self {
        let (client, router, server) = (Netns::new("client"), Netns::new("router"), Netns::new("server"));
        veth((&client, "eth0", MAC_LAN), (&router, DEVICE, MAC_ROUTER_LAN));
        veth((&router, "out0", MAC_ROUTER_WAN), (&server, "eth0", MAC_WAN));
        for (netns, device) in [(&client, "eth0"), (&router, DEVICE), (&router, "out0"), (&server, "eth0")] {
            netns.silence(device);
        }
        router.bridge("br0", &[DEVICE, "out0"]);
        Self {
            client: Client::Socket(PacketSocket::open(&client, "eth0")),
            server: PacketSocket::open(&server, "eth0"),
            router,
            layers: &[Layer::Ethernet, Layer::Vlan, Layer::QinQ, Layer::Pppoe],
            _namespaces: vec![client, server],
        }
    }

    pub(crate) fn ip() -> Self {
        let (router, server) = (Netns::new("router"), Netns::new("server"));
        let tun = router.tun(DEVICE);
        veth((&router, "out0", MAC_ROUTER_WAN), (&server, "eth0", MAC_WAN));
        server.silence("eth0");
        router.forward();
        router.address("out0", "192.0.2.1/24");
        router.address("out0", "fd67::1/64");
        router.neighbour("out0", "192.0.2.2", MAC_WAN);
        router.neighbour("out0", "fd67::2", MAC_WAN);
        for route in ["default via 192.0.2.2", "default via fd67::2 dev out0"] {
            router.route(route);
        }
        router.route(&format!("10.66.0.0/24 dev {DEVICE}"));
        router.route(&format!("fd66::/64 dev {DEVICE}"));
        Self {
            client: Client::Tun(tun),
            server: PacketSocket::open(&server, "eth0"),
            router,
            layers: &[Layer::Ip],
            _namespaces: vec![server],
        }
    }

    /// Sends frames to listed and unlisted addresses of both families by turns: a number and a length of its own for each, so
    /// that a counter that is mixed up with another shows.
    pub(crate) fn send(&self, layer: Layer) -> Sent {
        static STAMP: AtomicU32 = AtomicU32::new(0);
        let mut sent = Sent { stamp: STAMP.fetch_add(1, Ordering::Relaxed), ..Sent::default() };
        let kinds = [
            (LISTED[0], true, 3, 11),
            (UNLISTED[0], false, 4, 23),
            (LISTED[1], true, 5, 37),
            (UNLISTED[1], false, 2, 51),
        ];
        for (remote, listed, times, length) in kinds {
            let payload = [&vec![0x55; length][..], &mark(listed, sent.stamp)].concat();
            let frame = layer.to(remote).udp(9).payload(&payload).build();
            for _ in 0..times {
                match &self.client {
                    Client::Socket(socket) => socket.send(&frame),
                    Client::Tun(tun) => (&mut &*tun).write_all(&frame).unwrap(),
                }
            }
            let counter = Counter { packets: times, bytes: times * frame.len() as u64 };
            if listed {
                sent.listed[usize::from(remote.contains(':'))] = counter;
            } else {
                sent.unlisted = sum(sent.unlisted, counter);
            }
        }
        sent
    }

    /// How many of them came out, listed and unlisted. Waits for every unlisted one, and for `listed` of the others.
    pub(crate) fn arrived(&self, sent: &Sent, listed: u64) -> (u64, u64) {
        let mut arrived = (0, 0);
        let started = Instant::now();
        while (arrived.0 < listed || arrived.1 < sent.unlisted.packets) && started.elapsed() < DEADLINE {
            let Some(frame) = self.server.receive(Duration::from_millis(100)) else { continue };
            arrived.0 += u64::from(frame.ends_with(&mark(true, sent.stamp)));
            arrived.1 += u64::from(frame.ends_with(&mark(false, sent.stamp)));
        }
        arrived
    }

    /// How many of the listed ones have come out since.
    pub(crate) fn late(&self, sent: &Sent) -> u64 {
        self.server.drain(|frame| frame.ends_with(&mark(true, sent.stamp)))
    }
}

fn mark(listed: bool, stamp: u32) -> [u8; 9] {
    let [a, b, c, d] = stamp.to_be_bytes();
    [b'm', b'a', b'r', b'k', if listed { b'L' } else { b'U' }, a, b, c, d]
}
