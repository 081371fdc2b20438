//! Finds the IP header of a frame: Ethernet or raw IP, VLAN tags, PPPoE sessions. Must not judge what it finds.
//!
//! Both addresses sit in the fixed part of the IPv4 and IPv6 headers, so neither fragments nor options nor extension
//! headers need a walk. A new link layer is added here and nowhere else.

use crate::frame::{Frame, half};

/// Where a frame starts; the device's hardware type (`ARPHRD_*`, `if_arp.h`) decides it when weir attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// With an Ethernet header.
    Ethernet,
    /// With the IP header: ppp, tun and wireguard devices.
    Ip,
}

/// What the hook knows of a frame beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Where the frame starts.
    pub layer: Layer,
    /// Index of the device at whose hook the frame is.
    pub device: u32,
    /// The VLAN tag that was the outermost until the kernel took it out of the frame, as [`Meta::tag`] gives it; 0 where
    /// it took none.
    pub vlan: u32,
}

impl Meta {
    /// A tag that was taken out, as a number that is never 0. `control` is its control information: the id is in the
    /// lower 12 bits.
    #[must_use]
    #[inline(always)]
    pub const fn tag(control: u16) -> u32 {
        1 << 16 | control as u32
    }
}

/// Most VLAN tags that are looked behind; a frame with more is not taken for IP.
pub const MAX_VLAN_TAGS: usize = 4;

/// EtherTypes (IEEE 802 numbers) the parser knows, in host order.
pub mod ethertype {
    /// IPv4, RFC 894.
    pub const IPV4: u16 = 0x0800;
    /// IPv6, RFC 2464.
    pub const IPV6: u16 = 0x86dd;
    /// IEEE 802.1Q customer tag.
    pub const VLAN: u16 = 0x8100;
    /// IEEE 802.1ad service tag.
    pub const QINQ: u16 = 0x88a8;
    /// The service tag before 802.1ad, still sold.
    pub const QINQ_OLD: u16 = 0x9100;
    /// PPPoE session stage, RFC 2516.
    pub const PPPOE_SESSION: u16 = 0x8864;
}

/// Lengths and offsets in bytes, from the start of the header they belong to.
mod field {
    /// EtherType of an Ethernet header, behind two MAC addresses.
    pub(super) const ETHERNET_TYPE: usize = 12;
    pub(super) const ETHERNET_LEN: usize = 14;
    /// Both MAC addresses, the EtherType, and what would be a tag's control information.
    pub(super) const LINK_LEN: usize = 16;
    /// EtherType behind a VLAN tag's control information, counted from the end of the EtherType that named the tag.
    pub(super) const VLAN_TYPE: usize = 2;
    pub(super) const VLAN_LEN: usize = 4;
    /// PPPoE header (version and type, code, session id, length) and the PPP protocol number.
    pub(super) const PPPOE_LEN: usize = 8;
    /// The fixed part, options left out.
    pub(super) const IPV4_LEN: usize = 20;
    pub(super) const IPV4_ADDRESSES: usize = 12;
    pub(super) const IPV6_LEN: usize = 40;
    pub(super) const IPV6_ADDRESSES: usize = 8;
}

/// Whole words before an IP header, as a mask: Ethernet, four tags and PPPoE are 38 bytes.
const MOST_WORDS: usize = 0x3c;
/// In an IP header's first four bits.
const VERSION_4: u8 = 4;
const VERSION_6: u8 = 6;
/// Version 1, type 1, code 0: the only PPPoE header that carries a session's packets (RFC 2516 section 4).
const PPPOE_SESSION_DATA: [u8; 2] = [0x11, 0x00];
/// PPP protocol numbers (RFC 1332, RFC 5072).
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Protocol {
    /// An IPv4 packet (RFC 791), first fragment or not.
    Ipv4 = 0,
    /// An IPv6 packet (RFC 8200).
    Ipv6 = 1,
    /// Anything else: ARP, LLDP, PPPoE discovery, an unknown EtherType, too many tags, a wrong IP version.
    NotIp = 2,
    /// The frame ends inside a header that the parser needs, or before the end of the IP header's fixed part.
    Truncated = 3,
}

/// The place of a frame's IP header. Every field is always set, which keeps the BPF verifier content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What the frame carries.
    pub protocol: Protocol,
    /// Offset of the IP header in bytes from the frame's start; 0 when there is none.
    pub network: usize,
}

impl Packet {
    const fn none(protocol: Protocol) -> Self {
        Self { protocol, network: 0 }
    }

    /// The place of an IP header, after it was kept where the verifier forgets what it knows: it is whole words behind an Ethernet
    /// header (tags are one, PPPoE is two), and not far.
    #[must_use]
    #[inline(always)]
    pub const fn within(network: usize, layer: Layer) -> usize {
        match layer {
            Layer::Ethernet => network & MOST_WORDS | (field::ETHERNET_LEN % 4),
            Layer::Ip => 0,
        }
    }

    /// Finds the IP header of `frame`. It is there as a whole, options left out.
    #[inline(always)]
    pub fn parse<F: Frame + ?Sized>(frame: &F, layer: Layer) -> Self {
        match layer {
            Layer::Ethernet => Self::behind_ethernet(frame),
            Layer::Ip => {
                let Some([first, _]) = frame.read(0) else { return Self::none(Protocol::Truncated) };
                match first >> 4 {
                    VERSION_4 => Self::ipv4(frame, 0),
                    VERSION_6 => Self::ipv6(frame, 0),
                    _ => Self::none(Protocol::NotIp),
                }
            }
        }
    }

    #[inline(always)]
    fn behind_ethernet<F: Frame + ?Sized>(frame: &F) -> Self {
        let Some(outer) = frame.read(field::ETHERNET_TYPE) else { return Self::none(Protocol::Truncated) };
        let mut ethertype = u16::from_be_bytes(outer);
        let mut offset = field::ETHERNET_LEN;
        // Most frames have nothing between the Ethernet header and the IP header.
        if !matches!(ethertype, ethertype::IPV4 | ethertype::IPV6) {
            let mut tags = 0;
            while tags < MAX_VLAN_TAGS {
                if !is_tag(ethertype) {
                    break;
                }
                let Some(inner) = frame.read(offset + field::VLAN_TYPE) else {
                    return Self::none(Protocol::Truncated);
                };
                ethertype = u16::from_be_bytes(inner);
                offset += field::VLAN_LEN;
                tags += 1;
            }
            if ethertype == ethertype::PPPOE_SESSION {
                let Some([version, code, _, _, _, _, high, low]) = frame.read::<{ field::PPPOE_LEN }>(offset) else {
                    return Self::none(Protocol::Truncated);
                };
                ethertype = match u16::from_be_bytes([high, low]) {
                    PPP_IPV4 if [version, code] == PPPOE_SESSION_DATA => ethertype::IPV4,
                    PPP_IPV6 if [version, code] == PPPOE_SESSION_DATA => ethertype::IPV6,
                    _ => 0,
                };
                offset += field::PPPOE_LEN;
            }
        }
        match ethertype {
            ethertype::IPV4 => Self::ipv4(frame, offset),
            ethertype::IPV6 => Self::ipv6(frame, offset),
            _ => Self::none(Protocol::NotIp),
        }
    }

    /// The header of an IP `version` that should start at `network`, with a fixed part of `LENGTH` bytes.
    #[inline(always)]
    fn header<F: Frame + ?Sized, const LENGTH: usize>(
        frame: &F,
        network: usize,
        version: u8,
        protocol: Protocol,
    ) -> Self {
        match frame.read::<LENGTH>(network) {
            Some(header) if header[0] >> 4 == version => Self { protocol, network },
            Some(_) => Self::none(Protocol::NotIp),
            None => Self::none(Protocol::Truncated),
        }
    }

    #[inline(always)]
    fn ipv4<F: Frame + ?Sized>(frame: &F, network: usize) -> Self {
        Self::header::<F, { field::IPV4_LEN }>(frame, network, VERSION_4, Protocol::Ipv4)
    }

    #[inline(always)]
    fn ipv6<F: Frame + ?Sized>(frame: &F, network: usize) -> Self {
        Self::header::<F, { field::IPV6_LEN }>(frame, network, VERSION_6, Protocol::Ipv6)
    }

    /// Source and destination of an IPv4 packet in host order; `None` where the frame ends before them.
    #[inline(always)]
    pub fn addresses_v4<F: Frame + ?Sized>(&self, frame: &F) -> Option<(u32, u32)> {
        let [s0, s1, s2, s3, d0, d1, d2, d3] = frame.words(self.network + field::IPV4_ADDRESSES)?;
        Some((u32::from_be_bytes([s0, s1, s2, s3]), u32::from_be_bytes([d0, d1, d2, d3])))
    }

    /// Source and destination of an IPv6 packet, each as its high and low 64 bits in host order.
    #[inline(always)]
    pub fn addresses_v6<F: Frame + ?Sized>(&self, frame: &F) -> Option<([u64; 2], [u64; 2])> {
        let [s0, s1, d0, d1] = frame.halves(self.network + field::IPV6_ADDRESSES)?;
        Some(([s0, s1], [d0, d1]))
    }
}

/// Something of both ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends<T> {
    /// The source's.
    pub source: T,
    /// The destination's.
    pub destination: T,
}

impl<T> Ends<T> {
    /// What `f` makes of each.
    #[inline(always)]
    pub fn map<U>(self, f: impl Fn(T) -> U) -> Ends<U> {
        Ends { source: f(self.source), destination: f(self.destination) }
    }
}

/// What a packet's Ethernet header says beside its type. MAC addresses are numbers: the first byte is the highest of 48
/// bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who put the packet on this wire and who takes it off; [`NO_MAC`] where there is no Ethernet header.
    pub macs: Ends<u64>,
    /// Id of the outermost VLAN tag; 0 for none, and for one that gives a priority only (IEEE 802.1Q, section 6.9).
    pub vlan: u16,
}

/// What [`Link`] has where there is no MAC address: above all of them.
pub const NO_MAC: u64 = 1 << 48;
/// The id in a tag's control information.
const VLAN_ID: u16 = 0x0fff;

impl Link {
    /// Reads the header of a frame that carries an IP packet. Not part of the parser: few packets have to be asked.
    #[inline(always)]
    pub fn read<F: Frame + ?Sized>(frame: &F, meta: &Meta) -> Self {
        let mut macs = Ends { source: NO_MAC, destination: NO_MAC };
        let mut control = 0;
        if matches!(meta.layer, Layer::Ethernet)
            && let Some(bytes) = frame.read::<{ field::LINK_LEN }>(0)
        {
            macs = Ends { source: half(&bytes, 4) & (NO_MAC - 1), destination: half(&bytes, 0) >> 16 };
            if is_tag(u16::from_be_bytes([bytes[12], bytes[13]])) {
                control = u16::from_be_bytes([bytes[14], bytes[15]]);
            }
        }
        if meta.vlan != 0 {
            control = meta.vlan as u16;
        }
        Self { macs, vlan: control & VLAN_ID }
    }
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_OLD)
}
