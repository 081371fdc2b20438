//! The topology that most tests want: a LAN client, a router and a WAN server with known addresses.
//!
//! `10.66.0.2, fd66::2` (LAN) - router - `192.0.2.2, fd67::2` (WAN), and behind the WAN end the addresses that rules list and
//! those that no rule does. Neighbours are fixed, so no ARP or neighbour discovery disturbs a count.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use crate::echo::EchoServer;
use crate::netns::{Netns, veth};
use crate::socket::PacketSocket;
use crate::tagged::{Encapsulation, TaggedLink};

/// How long a test waits for what must happen; generous, because two cores are shared, and some CPUs emulated.
pub const DEADLINE: Duration = Duration::from_mins(1);
/// How long a probe waits before it calls an address blocked; a baseline in the same test must pass within it.
pub const PROBE: Duration = Duration::from_millis(800);

/// The LAN client.
pub const LAN_V4: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 2);
/// The LAN client.
pub const LAN_V6: Ipv6Addr = Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 2);
/// On the WAN server; within TikTok's networks in the embedded snapshot.
pub const LISTED_V4: Ipv4Addr = Ipv4Addr::new(71, 18, 1, 1);
/// On the WAN server; within TikTok's networks in the embedded snapshot.
pub const LISTED_V6: Ipv6Addr = Ipv6Addr::new(0x2605, 0x340, 0, 0, 0, 0, 0, 1);
/// On the WAN server; documentation addresses that no list holds.
pub const CONTROL_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// On the WAN server; documentation addresses that no list holds.
pub const CONTROL_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x10);
/// The listed addresses.
pub const LISTED: [IpAddr; 2] = [IpAddr::V4(LISTED_V4), IpAddr::V6(LISTED_V6)];
/// The control addresses.
pub const CONTROL: [IpAddr; 2] = [IpAddr::V4(CONTROL_V4), IpAddr::V6(CONTROL_V6)];

/// MAC of the client's `eth0`.
pub const MAC_LAN: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// MAC of the router's `lan0`.
pub const MAC_ROUTER_LAN: [u8; 6] = [2, 0, 0, 0, 1, 2];
/// MAC of the router's `wan0`.
pub const MAC_ROUTER_WAN: [u8; 6] = [2, 0, 0, 0, 2, 1];
/// MAC of the server's `eth0`.
pub const MAC_WAN: [u8; 6] = [2, 0, 0, 0, 2, 2];

/// LAN client - router - WAN server. The client's device is `eth0`, the router's `lan0` and `wan0`, the server's `eth0`.
#[derive(Debug)]
pub struct Path {
    // Fields are dropped in this order: servers and relays before the namespaces they live in.
    servers: Vec<EchoServer>,
    uplink: Option<TaggedLink>,
    /// The client.
    pub lan: Netns,
    /// The router, where weir runs.
    pub router: Netns,
    /// The server.
    pub wan: Netns,
}

impl Path {
    /// A path whose WAN link is plain Ethernet.
    #[must_use]
    pub fn new() -> Self {
        let path = Self::wired();
        path.router.address("wan0", "192.0.2.1/24");
        path.router.address("wan0", "fd67::1/64");
        path.wan.address("eth0", "192.0.2.2/24");
        path.wan.address("eth0", "fd67::2/64");
        path.router.neighbour("wan0", "192.0.2.2", MAC_WAN);
        path.router.neighbour("wan0", "fd67::2", MAC_WAN);
        path.wan.neighbour("eth0", "192.0.2.1", MAC_ROUTER_WAN);
        path.wan.neighbour("eth0", "fd67::1", MAC_ROUTER_WAN);
        path.router.route("default via 192.0.2.2");
        path.router.route("default via fd67::2 dev wan0");
        path.wan.route("10.66.0.0/24 via 192.0.2.1");
        path.wan.route("fd66::/64 via fd67::1");
        path.serve()
    }

    /// A path whose WAN link carries its packets in tags or a PPPoE session; `wan0` is the carrier and the router's IP
    /// device is the tun device `uplink0`.
    #[must_use]
    pub fn encapsulated(encapsulation: &Encapsulation) -> Self {
        let mut path = Self::wired();
        path.uplink = Some(TaggedLink::new((&path.router, "wan0"), (&path.wan, "eth0"), "uplink0", encapsulation));
        path.router.address("uplink0", "192.0.2.1/24");
        path.router.address("uplink0", "fd67::1/64");
        path.wan.address("uplink0", "192.0.2.2/24");
        path.wan.address("uplink0", "fd67::2/64");
        path.router.route("default dev uplink0");
        path.router.route("::/0 dev uplink0");
        path.wan.route("10.66.0.0/24 dev uplink0");
        path.wan.route("fd66::/64 dev uplink0");
        path.serve()
    }

    /// Namespaces, wires, the LAN side and the server's addresses; no WAN addresses yet.
    fn wired() -> Self {
        let (lan, router, wan) = (Netns::new("lan"), Netns::new("router"), Netns::new("wan"));
        veth((&router, "wan0", MAC_ROUTER_WAN), (&wan, "eth0", MAC_WAN));
        router.forward();
        for address in LISTED.iter().chain(&CONTROL) {
            wan.address("lo", &format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }));
        }
        let path = Self { servers: Vec::new(), uplink: None, lan, router, wan };
        path.plug_lan();
        path
    }

    /// Connects client and router; again, once one of the two devices was deleted.
    pub fn plug_lan(&self) {
        let Self { lan, router, .. } = self;
        veth((lan, "eth0", MAC_LAN), (router, "lan0", MAC_ROUTER_LAN));
        lan.address("eth0", "10.66.0.2/24");
        lan.address("eth0", "fd66::2/64");
        router.address("lan0", "10.66.0.1/24");
        router.address("lan0", "fd66::1/64");
        lan.neighbour("eth0", "10.66.0.1", MAC_ROUTER_LAN);
        lan.neighbour("eth0", "fd66::1", MAC_ROUTER_LAN);
        router.neighbour("lan0", "10.66.0.2", MAC_LAN);
        router.neighbour("lan0", "fd66::2", MAC_LAN);
        lan.route("default via 10.66.0.1");
        lan.route("default via fd66::1 dev eth0");
    }

    fn serve(mut self) -> Self {
        self.servers.push(EchoServer::start(&self.wan, &[LISTED, CONTROL].concat()));
        self.servers.push(EchoServer::start(&self.lan, &[LAN_V4.into(), LAN_V6.into()]));
        self
    }

    /// A socket that sends raw frames from the client to the router.
    #[must_use]
    pub fn lan_socket(&self) -> PacketSocket {
        PacketSocket::open(&self.lan, "eth0")
    }

    /// A socket that sends raw frames from the server to the router.
    #[must_use]
    pub fn wan_socket(&self) -> PacketSocket {
        PacketSocket::open(&self.wan, "eth0")
    }
}

impl Default for Path {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits until the condition holds; panics with `what` once the deadline has passed.
pub fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < deadline, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Stops the test where it cannot work.
pub fn require_root() {
    assert!(nix::unistd::geteuid().is_root(), "needs root; run: cargo xtask test");
}

/// Says by name that a test was not run, and why: to the person, and to the file that `cargo xtask test` counts.
pub fn skipped(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}\n");
    eprint!("{line}");
    if let Some(log) = env::var_os("WEIR_SKIPPED") {
        OpenOptions::new().create(true).append(true).open(log).unwrap().write_all(line.as_bytes()).unwrap();
    }
}
