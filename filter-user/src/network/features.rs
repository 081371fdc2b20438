//! What the kernel tells of a device's driver and settings, as far as it matters to what is attached there. Changes nothing, and
//! judges nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use nix::sys::socket::SockProtocol;
use serde::{Deserialize, Serialize};

use super::netlink::{self, Ask, attribute, attributes, make, text, word};
use super::{IFINFOMSG, links, read_link};

/// A device's driver and settings. What the kernel does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Its interface index.
    pub index: u32,
    /// The driver, or the kind of a device that is none of hardware.
    pub driver: Option<String>,
    /// Largest payload of a frame, bytes.
    pub mtu: Option<u32>,
    /// Whether it is set up.
    pub up: bool,
    /// Whether its driver says that it runs XDP (told since kernel 6.3).
    pub xdp: Option<bool>,
    /// The XDP program on it, by its number.
    pub xdp_program: Option<u32>,
    /// Filters of `cls_bpf` on its clsact qdisc, by their names.
    pub filters: Vec<String>,
    /// Generic receive offload: the kernel joins segments before tc hooks (told since kernel 5.7, as are the next ones).
    pub gro: Option<bool>,
    /// Large receive offload: the device joins them, before any hook.
    pub lro: Option<bool>,
    /// The device takes VLAN tags out of frames.
    pub vlan_offload: Option<bool>,
    /// It is in a flow table with hardware offload: packets of such flows pass no hook.
    pub offloaded: bool,
}

/// Numbers of `include/uapi/linux/if_link.h`, `if.h` and `rtnetlink.h`.
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFF_UP: u32 = 1;

/// The features of the devices that are `wanted`, by their names. Each costs a few questions to the kernel.
pub fn features(wanted: impl Fn(&str) -> bool) -> io::Result<BTreeMap<String, Features>> {
    let mut devices = BTreeMap::new();
    links(|link| {
        if let (Some(device), Some(attributes)) = (read_link(link), link.get(IFINFOMSG..))
            && wanted(&device.name)
        {
            devices.insert(device.name, of_link(device.index, link, attributes));
        }
    })?;
    let offloaded = super::offloaded().unwrap_or_default();
    let (netdev, ethtool) = (netlink::family("netdev").ok(), netlink::family("ethtool").ok());
    for (name, device) in &mut devices {
        device.offloaded = offloaded.contains(name);
        device.driver = driver(name, device.index).or(device.driver.take());
        device.filters = filters(device.index).unwrap_or_default();
        // A kernel that does not tell leaves them unknown.
        device.xdp = netdev.and_then(|family| runs_xdp(family, device.index).ok().flatten());
        if let Some(set) = ethtool.and_then(|family| offloads(family, device.index).ok()) {
            let has = |name: &str| Some(set.iter().any(|feature| feature == name));
            (device.gro, device.lro) = (has("rx-gro"), has("rx-lro"));
            device.vlan_offload = has("rx-vlan-hw-parse");
        }
    }
    Ok(devices)
}

fn of_link(index: u32, link: &[u8], attributes: &[u8]) -> Features {
    let kind = attribute(attributes, IFLA_LINKINFO).and_then(|nested| attribute(nested, IFLA_INFO_KIND));
    let xdp = attribute(attributes, IFLA_XDP).and_then(|nested| attribute(nested, IFLA_XDP_PROG_ID));
    Features {
        index,
        driver: kind.map(text),
        mtu: attribute(attributes, IFLA_MTU).and_then(word),
        // `ifinfomsg`: family, padding, hardware type, index, flags, changed flags.
        up: link.get(8..).and_then(word).is_some_and(|flags| flags & IFF_UP != 0),
        xdp_program: xdp.and_then(word).filter(|&number| number != 0),
        ..Features::default()
    }
}

/// The driver of a device that is one of hardware. The names in `/sys` may be those of another network namespace.
fn driver(name: &str, index: u32) -> Option<String> {
    let directory = Path::new("/sys/class/net").join(name);
    let found = fs::read_to_string(directory.join("ifindex")).ok()?;
    let driver = fs::read_link(directory.join("device/driver")).ok()?;
    (found.trim() == index.to_string()).then(|| driver.file_name().map(|name| name.to_string_lossy().into_owned()))?
}

/// Names of the `cls_bpf` filters on the clsact qdisc of a device (`pkt_sched.h`, `pkt_cls.h`).
fn filters(index: u32) -> io::Result<Vec<String>> {
    const RTM_NEWTFILTER: u16 = 44;
    const RTM_GETTFILTER: u16 = 46;
    const TCA_KIND: u16 = 1;
    const TCA_OPTIONS: u16 = 2;
    const TCA_BPF_NAME: u16 = 7;
    /// Bytes of a `tcmsg`.
    const TCMSG: usize = 20;
    let mut names = Vec::new();
    // Of ingress and of egress.
    for parent in [0xffff_fff2_u32, 0xffff_fff3] {
        // `tcmsg`: family and padding, index, handle, parent, info.
        let request = [0, index, 0, parent, 0].map(u32::to_ne_bytes);
        netlink::ask(SockProtocol::NetlinkRoute, RTM_GETTFILTER, Ask::Dump, request.as_flattened(), |kind, filter| {
            let attributes = filter.get(TCMSG..).unwrap_or_default();
            let is_bpf = attribute(attributes, TCA_KIND).map(text).as_deref() == Some("bpf");
            let options = attribute(attributes, TCA_OPTIONS).filter(|_| kind == RTM_NEWTFILTER && is_bpf);
            names.extend(options.and_then(|options| attribute(options, TCA_BPF_NAME)).map(text));
        })?;
    }
    Ok(names)
}

/// Whether a device's driver runs XDP (`include/uapi/linux/netdev.h`); `None` where the kernel says nothing of it.
fn runs_xdp(family: u16, index: u32) -> io::Result<Option<bool>> {
    const NETDEV_CMD_DEV_GET: u8 = 1;
    const NETDEV_A_DEV_IFINDEX: u16 = 1;
    const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
    /// `NETDEV_XDP_ACT_BASIC`: it takes the verdicts abort, drop, pass and send back.
    const BASIC: u64 = 1;
    let mut runs = None;
    netlink::generic(family, NETDEV_CMD_DEV_GET, &make(NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes()), |answer| {
        let features = attribute(answer, NETDEV_A_DEV_XDP_FEATURES).and_then(<[u8]>::first_chunk);
        runs = features.map(|features| u64::from_ne_bytes(*features) & BASIC != 0).or(runs);
    })?;
    Ok(runs)
}

/// The offloads of a device that are on, by the names that ethtool prints (`include/uapi/linux/ethtool_netlink.h`).
fn offloads(family: u16, index: u32) -> io::Result<Vec<String>> {
    const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
    const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
    const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
    const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
    const ETHTOOL_A_BITSET_BITS: u16 = 3;
    const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
    let header = make(ETHTOOL_A_FEATURES_HEADER | NESTED, &make(ETHTOOL_A_HEADER_DEV_INDEX, &index.to_ne_bytes()));
    let mut names = Vec::new();
    netlink::generic(family, ETHTOOL_MSG_FEATURES_GET, &header, |answer| {
        let active = attribute(answer, ETHTOOL_A_FEATURES_ACTIVE).unwrap_or_default();
        let bits = attribute(active, ETHTOOL_A_BITSET_BITS).unwrap_or_default();
        // A set without a mask lists the bits that are in it.
        names.extend(attributes(bits).filter_map(|(_, bit)| attribute(bit, ETHTOOL_A_BITSET_BIT_NAME)).map(text));
    })?;
    Ok(names)
}

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_up_and_has_a_size() {
        let all = features(|name| name == "lo").unwrap();
        assert_eq!(all.len(), 1);
        let lo = &all["lo"];
        assert!(lo.mtu.is_some_and(|mtu| mtu >= 1500) && lo.xdp_program.is_none() && !lo.offloaded, "{lo:?}");
    }
}
