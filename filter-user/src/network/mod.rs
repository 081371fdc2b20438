//! The devices, addresses and gateways of this host: the only reader of the kernel's network state. Changes nothing.

mod features;
mod netlink;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;

use filter_common::packet::Layer;
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use tokio::net::UnixDatagram;

pub use self::features::{Features, features};
use crate::flows;
use crate::ruleset::Host;
use netlink::{Ask, attribute, attributes, text, word};

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its interface index.
    pub index: u32,
    /// Hardware type (`ARPHRD_*`, `include/uapi/linux/if_arp.h`).
    pub hardware: u16,
}

/// Hardware types whose frames start with an Ethernet header: Ethernet and loopback.
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
/// Hardware types whose frames start with the IP header: PPP; tunnels without one; tun and wireguard; mobile modems.
const ARPHRD_PPP: u16 = 512;
const ARPHRD_TUNNEL: u16 = 768;
const ARPHRD_TUNNEL6: u16 = 769;
const ARPHRD_SIT: u16 = 776;
const ARPHRD_RAWIP: u16 = 519;
const ARPHRD_NONE: u16 = 0xfffe;

impl Device {
    /// With which header this device's frames start; `None` where weir does not know.
    #[must_use]
    pub fn layer(&self) -> Option<Layer> {
        match self.hardware {
            ARPHRD_ETHER | ARPHRD_LOOPBACK => Some(Layer::Ethernet),
            ARPHRD_PPP | ARPHRD_TUNNEL | ARPHRD_TUNNEL6 | ARPHRD_SIT | ARPHRD_RAWIP | ARPHRD_NONE => Some(Layer::Ip),
            _ => None,
        }
    }
}

/// Every device, by name.
pub fn devices() -> io::Result<BTreeMap<String, Device>> {
    // Devices that come or go in between spoil the list, and the kernel says so.
    for _ in 0..MAX_DUMPS {
        match dump_links() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            listed => return listed,
        }
    }
    Err(io::Error::new(io::ErrorKind::Interrupted, "the devices change all the time"))
}

/// The index of every device, by name.
pub fn indices() -> io::Result<BTreeMap<String, u32>> {
    Ok(devices()?.into_iter().map(|(name, device)| (name, device.index)).collect())
}

const MAX_DUMPS: usize = 16;

/// Tells that devices changed: came, went, were renamed, set up or down. Not what changed: that is [`devices`]' question.
///
/// tokio has no netlink sockets, and its safe form for any descriptor is deprecated; a datagram socket waits and is read alike.
#[derive(Debug)]
pub struct Changes(UnixDatagram);

impl Changes {
    /// Listens from now on, in a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, RTMGRP_LINK))?;
        Ok(Self(UnixDatagram::from_std(socket.into())?))
    }

    /// Waits for the next change, or several at once.
    pub async fn next(&self) -> io::Result<()> {
        self.0.readable().await?;
        let mut buffer = [0; 1 << 13];
        // An overrun is a change, too. What is left is told of at once.
        for _ in 0..64 {
            if self.0.try_recv(&mut buffer).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                break;
            }
        }
        Ok(())
    }
}

/// The group of `include/uapi/linux/rtnetlink.h` that is told of links.
const RTMGRP_LINK: u32 = 1;

/// Asks the kernel for its links. Not `getifaddrs`: it leaves out those without an address of their own, such as ppp, tun
/// and wireguard devices.
fn dump_links() -> io::Result<BTreeMap<String, Device>> {
    let mut devices = BTreeMap::new();
    links(|link| devices.extend(read_link(link).map(|device| (device.name.clone(), device))))?;
    Ok(devices)
}

/// Hands each link to `take`: an `ifinfomsg` and its attributes.
fn links(mut take: impl FnMut(&[u8])) -> io::Result<()> {
    // An empty `ifinfomsg`.
    netlink::ask(SockProtocol::NetlinkRoute, RTM_GETLINK, Ask::Dump, &[0; IFINFOMSG], |kind, link| {
        if kind == RTM_NEWLINK {
            take(link);
        }
    })
}

/// Numbers of `include/uapi/linux/rtnetlink.h` and `if_link.h`; bytes of an `ifinfomsg`.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
const IFINFOMSG: usize = 16;

/// Reads one datagram of the kernel's answer to a question for its links; tells whether it was the last.
pub fn read_links(messages: &[u8], devices: &mut BTreeMap<String, Device>) -> io::Result<bool> {
    netlink::read_part(messages, &mut |kind, link| {
        if kind == RTM_NEWLINK {
            devices.extend(read_link(link).map(|device| (device.name.clone(), device)));
        }
    })
}

/// A device out of its `ifinfomsg` (family, padding, u16 hardware type, u32 index, ...) and attributes.
fn read_link(link: &[u8]) -> Option<Device> {
    let hardware = u16::from_ne_bytes(*link.get(2..)?.first_chunk()?);
    let index = word(link.get(4..)?)?;
    let name = text(attribute(link.get(IFINFOMSG..)?, IFLA_IFNAME)?);
    Some(Device { name, index, hardware })
}

/// Devices of flow tables with hardware offload: packets of their flows may pass no hook of the kernel. None where the
/// kernel has no nftables, or does not let us ask.
pub fn offloaded() -> io::Result<BTreeSet<String>> {
    let mut devices = BTreeSet::new();
    // An `nfgenmsg` of all families.
    let asked = netlink::ask(SockProtocol::NetlinkNetFilter, NFT_MSG_GETFLOWTABLE, Ask::Dump, &[0; 4], |_, table| {
        devices.extend(read_flow_table(table.get(4..).unwrap_or_default()));
    });
    match asked {
        // The kernel answers so where it has no nftables, or does not let us ask.
        Err(error) if error.raw_os_error().is_some() => Ok(BTreeSet::new()),
        asked => asked.map(|()| devices),
    }
}

/// Numbers of `include/uapi/linux/netfilter/nf_tables.h`; the message's subsystem is in its high byte (`nfnetlink.h`).
const NFT_MSG_GETFLOWTABLE: u16 = (10 << 8) + 23;
const NFTA_FLOWTABLE_HOOK: u16 = 3;
const NFTA_FLOWTABLE_FLAGS: u16 = 7;
const NFTA_FLOWTABLE_HOOK_DEVS: u16 = 3;
const NFT_FLOWTABLE_HW_OFFLOAD: u32 = 1;

/// The devices of a flow table, given its attributes; none where it has no hardware offload.
#[must_use]
pub fn read_flow_table(table: &[u8]) -> Vec<String> {
    let flags = attribute(table, NFTA_FLOWTABLE_FLAGS).and_then(<[u8]>::first_chunk);
    if flags.is_none_or(|flags| u32::from_be_bytes(*flags) & NFT_FLOWTABLE_HW_OFFLOAD == 0) {
        return Vec::new();
    }
    let hook = attribute(table, NFTA_FLOWTABLE_HOOK).unwrap_or_default();
    let devices = attribute(hook, NFTA_FLOWTABLE_HOOK_DEVS).unwrap_or_default();
    attributes(devices).map(|(_, name)| text(name)).collect()
}

/// This host's name, as the kernel has it (hostname(7)).
pub fn host_name() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim_end().to_owned())
}

/// What the never-block set must know of this host.
pub fn host() -> io::Result<Host> {
    let mut host = Host::default();
    for entry in getifaddrs()? {
        let (Some(address), Some(mask)) = (entry.address, entry.netmask) else { continue };
        let pair = match (address.as_sockaddr_in(), mask.as_sockaddr_in()) {
            (Some(address), Some(mask)) => Some((IpAddr::V4(address.ip()), IpAddr::V4(mask.ip()))),
            _ => match (address.as_sockaddr_in6(), mask.as_sockaddr_in6()) {
                (Some(address), Some(mask)) => Some((IpAddr::V6(address.ip()), IpAddr::V6(mask.ip()))),
                _ => None,
            },
        };
        if let Some(net) = pair.and_then(|(address, mask)| IpNet::with_netmask(address, mask).ok()) {
            host.prefixes.push(net);
        }
    }
    host.addresses.extend(gateways4(&fs::read_to_string("/proc/self/net/route").unwrap_or_default()));
    host.addresses.extend(gateways6(&fs::read_to_string("/proc/self/net/ipv6_route").unwrap_or_default()));
    host.addresses.extend(resolvers(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default()));
    Ok(host)
}

/// Packets that each device received, by name (`/proc/net/dev`).
pub fn received() -> io::Result<BTreeMap<String, u64>> {
    Ok(parse_received(&fs::read_to_string("/proc/self/net/dev")?))
}

/// Reads the text of `/proc/net/dev`.
#[must_use]
pub fn parse_received(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        Some((name.trim().to_owned(), counters.split_ascii_whitespace().nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// The text of the kernel's list of live flows (`nf_conntrack`), for [`flows::parse`]; one line more than that reads, so
/// that it sees that there are more. `None` where this kernel has no such list or does not let us read it.
pub fn flows() -> io::Result<Option<String>> {
    // Not /proc/net, which is that of the process: the calling thread may be in another namespace.
    let file = match File::open("/proc/thread-self/net/nf_conntrack") {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Ok(None);
        }
        opened => opened?,
    };
    let (mut file, mut text) = (BufReader::new(file), Vec::new());
    for _ in 0..=flows::MAX_LINES {
        if file.read_until(b'\n', &mut text)? == 0 {
            break;
        }
    }
    // A security context need not be text.
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// Gateways of IPv4 default routes (`/proc/net/route`: hexadecimal words in the CPU's byte order).
#[must_use]
pub fn gateways4(text: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let mask = fields.nth(4)?;
        let gateway = u32::from_str_radix(gateway, 16).ok().filter(|&gateway| gateway != 0)?;
        (destination == "00000000" && mask == "00000000").then(|| IpAddr::V4(Ipv4Addr::from(gateway.to_ne_bytes())))
    };
    text.lines().filter_map(gateway).collect()
}

/// Gateways of IPv6 default routes (`/proc/net/ipv6_route`: hexadecimal digits in the order of the address).
#[must_use]
pub fn gateways6(text: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, length, _, _, gateway, ..] = fields.as_slice() else { return None };
        let gateway = u128::from_str_radix(gateway, 16).ok().filter(|&gateway| gateway != 0)?;
        (*length == "00").then(|| IpAddr::V6(Ipv6Addr::from(gateway)))
    };
    text.lines().filter_map(gateway).collect()
}

/// The resolvers of `/etc/resolv.conf`.
#[must_use]
pub fn resolvers(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = (words.next()? == "nameserver").then(|| words.next())??;
        // A link-local resolver carries its device behind a percent sign.
        address.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::netlink::make;
    use super::*;

    #[test]
    fn gateways_and_resolvers_are_read_from_the_kernels_text() {
        let route = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let expected = if cfg!(target_endian = "little") { "10.0.0.1" } else { "1.0.0.10" };
        assert_eq!(gateways4(route), [expected.parse::<IpAddr>().unwrap()]);
        let route6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                      fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n\
                      20010db8000000000000000000000000 20 00000000000000000000000000000000 00 \
                      fe800000000000000000000000000002 00000400 00000001 00000000 00000003 eth0\n";
        assert_eq!(gateways6(route6), ["fe80::1".parse::<IpAddr>().unwrap()]);
        let resolv = "# c\nsearch lan\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\noptions edns0\n";
        assert_eq!(resolvers(resolv), ["192.0.2.53".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
    }

    #[test]
    fn devices_of_flow_tables_are_read_where_hardware_forwards() {
        let devices = [make(1, b"lan0\0"), make(1, b"wan0\0")].concat();
        let hook = [make(1, &[0, 0, 0, 0]), make(0x8003, &devices)].concat();
        let table = |flags: u32| {
            let name = make(2, b"ft\0");
            [name, make(0x8003, &hook), make(7, &flags.to_be_bytes())].concat()
        };
        assert_eq!(read_flow_table(&table(1)), ["lan0", "wan0"]);
        assert!(read_flow_table(&table(0)).is_empty());
        let whole = table(1);
        for length in 0..whole.len() {
            let _ = read_flow_table(&whole[..length]);
        }
        assert!(offloaded().unwrap_or_default().is_empty(), "this machine has no such hardware");
    }

    #[test]
    fn received_packets_are_read_by_device() {
        let text =
            "Inter-|   Receive        |  Transmit\n face |bytes    packets errs\n    lo:  88  7 0 0\nveth@x: 5 6 0\n";
        assert_eq!(parse_received(text), BTreeMap::from([("lo".into(), 7), ("veth@x".into(), 6)]));
    }

    #[test]
    fn the_loopback_device_is_found() {
        let devices = devices().unwrap();
        assert_eq!(devices["lo"].hardware, ARPHRD_LOOPBACK);
        assert_eq!(devices["lo"].layer(), Some(Layer::Ethernet));
        assert!(host().unwrap().prefixes.contains(&"127.0.0.1/8".parse().unwrap()));
    }
}
