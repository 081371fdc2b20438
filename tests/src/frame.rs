//! Frames from words: `frame().vlan(7).ipv6(src, dst).udp(53).build()` instead of hex, so a test says what it sends.
//!
//! Checksums, lengths and protocol numbers are right by construction (a kernel accepts these frames, `tests/lab.rs`
//! proves it); wrong ones come from [`random`], which mutates. Must not share code with weir's own parser: a mistake
//! there would be repeated here and never be seen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use crate::random::{Layer, Pool, RandomFrame, Xorshift, random};

/// The VLAN tag's `EtherType` of 802.1Q.
pub const TPID_8021Q: u16 = 0x8100;
/// The service tag's `EtherType` of 802.1ad.
pub const TPID_8021AD: u16 = 0x88a8;
/// The sender's MAC address where the test names none.
pub const MAC_SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
/// The receiver's MAC address where the test names none.
pub const MAC_DESTINATION: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
/// The source port where the test names none.
pub const SOURCE_PORT: u16 = 40000;

const ICMPV4: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const IPV6_FRAGMENT: u8 = 44;

/// Starts an Ethernet frame.
#[must_use]
pub fn frame() -> Frame {
    Frame {
        ethernet: true,
        destination: MAC_DESTINATION,
        source: MAC_SOURCE,
        tags: Vec::new(),
        pppoe: None,
        ethertype: 0x88b5,
        addresses: None,
        ttl: 64,
        extensions: Vec::new(),
        options: Vec::new(),
        fragment: None,
        transport: Transport::Protocol(253),
        payload: Vec::new(),
    }
}

/// Starts a packet without Ethernet header, as ppp, tun and wireguard devices carry it.
#[must_use]
pub fn packet() -> Frame {
    Frame { ethernet: false, ..frame() }
}

/// A frame under construction: see [`frame`] and [`packet`].
#[derive(Clone, Debug)]
pub struct Frame {
    ethernet: bool,
    destination: [u8; 6],
    source: [u8; 6],
    tags: Vec<(u16, u16)>,
    pppoe: Option<u16>,
    ethertype: u16,
    addresses: Option<(IpAddr, IpAddr)>,
    ttl: u8,
    extensions: Vec<u8>,
    options: Vec<u8>,
    fragment: Option<(u16, bool)>,
    transport: Transport,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Udp { source: u16, destination: u16 },
    Tcp { source: u16, destination: u16, flags: u8 },
    Echo,
    Protocol(u8),
}

impl Frame {
    /// Sets the MAC addresses.
    #[must_use]
    pub fn macs(self, source: [u8; 6], destination: [u8; 6]) -> Self {
        Self { destination, source, ..self }
    }

    /// Adds an 802.1Q tag inside those already there.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.qinq(TPID_8021Q, id)
    }

    /// Adds a tag with any `EtherType` inside those already there.
    #[must_use]
    pub fn qinq(mut self, tpid: u16, id: u16) -> Self {
        self.tags.push((tpid, id));
        self
    }

    /// Puts the packet into a PPPoE session, inside the tags.
    #[must_use]
    pub fn pppoe(self, session: u16) -> Self {
        Self { pppoe: Some(session), ..self }
    }

    /// Sets the `EtherType` of a frame that carries no IP packet; the payload follows it.
    #[must_use]
    pub fn ethertype(self, ethertype: u16) -> Self {
        Self { ethertype, ..self }
    }

    /// Makes it an IPv4 packet.
    #[must_use]
    pub fn ipv4(self, source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self { addresses: Some((source.into(), destination.into())), ..self }
    }

    /// Makes it an IPv6 packet.
    #[must_use]
    pub fn ipv6(self, source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self { addresses: Some((source.into(), destination.into())), ..self }
    }

    /// Makes it a packet of the addresses' family.
    ///
    /// # Panics
    /// If the families differ.
    #[must_use]
    pub fn ip(self, source: IpAddr, destination: IpAddr) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "{source} and {destination} are of different families");
        Self { addresses: Some((source, destination)), ..self }
    }

    /// Sets TTL or hop limit.
    #[must_use]
    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// Adds an empty IPv6 extension header of 8 bytes: 0 hop-by-hop, 60 destination options.
    #[must_use]
    pub fn extension(mut self, next_header: u8) -> Self {
        self.extensions.push(next_header);
        self
    }

    /// Adds IPv4 options; whole words of four bytes.
    #[must_use]
    pub fn options(self, options: &[u8]) -> Self {
        Self { options: options.to_vec(), ..self }
    }

    /// Makes it one fragment at a byte offset. Past offset 0 the payload follows the IP header with no transport header.
    #[must_use]
    pub fn fragment(self, offset: u16, more: bool) -> Self {
        Self { fragment: Some((offset, more)), ..self }
    }

    /// Adds a UDP header.
    #[must_use]
    pub fn udp(self, destination: u16) -> Self {
        self.udp_ports(SOURCE_PORT, destination)
    }

    /// Adds a UDP header with both ports.
    #[must_use]
    pub fn udp_ports(self, source: u16, destination: u16) -> Self {
        Self { transport: Transport::Udp { source, destination }, ..self }
    }

    /// Adds a TCP header with the SYN flag.
    #[must_use]
    pub fn tcp(self, destination: u16) -> Self {
        self.tcp_flags(SOURCE_PORT, destination, 0x02)
    }

    /// Adds a TCP header with both ports and its flags.
    #[must_use]
    pub fn tcp_flags(self, source: u16, destination: u16, flags: u8) -> Self {
        Self { transport: Transport::Tcp { source, destination, flags }, ..self }
    }

    /// Adds an ICMP or `ICMPv6` echo request.
    #[must_use]
    pub fn echo(self) -> Self {
        Self { transport: Transport::Echo, ..self }
    }

    /// States another transport protocol; the payload follows the IP header.
    #[must_use]
    pub fn protocol(self, protocol: u8) -> Self {
        Self { transport: Transport::Protocol(protocol), ..self }
    }

    /// Sets the payload.
    #[must_use]
    pub fn payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    /// The frame's bytes.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let body = match self.fragment {
            Some((offset, _)) if offset > 0 => self.payload.clone(),
            _ => self.segment(),
        };
        self.assemble(&body, self.fragment)
    }

    /// The packet cut into fragments that a receiver can put together, each with at most `size` bytes of the segment.
    ///
    /// # Panics
    /// If `size` is not a multiple of 8.
    #[must_use]
    pub fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        assert!(size > 0 && size.is_multiple_of(8), "fragments are cut at multiples of 8 bytes, not at {size}");
        let segment = self.segment();
        let offsets = (0..segment.len()).step_by(size);
        offsets
            .map(|offset| {
                let end = segment.len().min(offset + size);
                self.assemble(&segment[offset..end], Some((length(offset), end < segment.len())))
            })
            .collect()
    }

    fn assemble(&self, body: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
        let packet = match self.addresses {
            None => body.to_vec(),
            Some((IpAddr::V4(source), IpAddr::V4(destination))) => {
                self.ipv4_packet(source, destination, body, fragment)
            }
            Some((IpAddr::V6(source), IpAddr::V6(destination))) => {
                self.ipv6_packet(source, destination, body, fragment)
            }
            Some((source, destination)) => panic!("{source} and {destination} are of different families"),
        };
        if !self.ethernet {
            return packet;
        }
        let mut bytes = [self.destination, self.source].concat();
        for &(tpid, id) in &self.tags {
            bytes.extend(tpid.to_be_bytes());
            bytes.extend(id.to_be_bytes());
        }
        let v4 = self.addresses.map(|(source, _)| source.is_ipv4());
        if let Some(session) = self.pppoe {
            bytes.extend([0x88, 0x64, 0x11, 0]);
            bytes.extend(session.to_be_bytes());
            bytes.extend(length(packet.len() + 2).to_be_bytes());
            // LCP where the session carries no packet: what a real session sends to keep alive.
            bytes.extend(v4.map_or(0xc021_u16, |v4| if v4 { 0x0021 } else { 0x0057 }).to_be_bytes());
        } else {
            bytes.extend(v4.map_or(self.ethertype, |v4| if v4 { 0x0800 } else { 0x86dd }).to_be_bytes());
        }
        bytes.extend(packet);
        bytes
    }

    fn ipv4_packet(
        &self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        body: &[u8],
        fragment: Option<(u16, bool)>,
    ) -> Vec<u8> {
        let header = 20 + self.options.len();
        assert!(header.is_multiple_of(4) && header <= 60, "IPv4 options are whole words, at most 40 bytes");
        let mut bytes = vec![0x40 | u8::try_from(header / 4).unwrap(), 0];
        bytes.extend(length(header + body.len()).to_be_bytes());
        bytes.extend(0x1234_u16.to_be_bytes());
        let fragment = fragment.map_or(0, |(offset, more)| (offset / 8) | (u16::from(more) << 13));
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol_number(true), 0, 0]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(&self.options);
        let checksum = internet_checksum(&bytes);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn ipv6_packet(
        &self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        body: &[u8],
        fragment: Option<(u16, bool)>,
    ) -> Vec<u8> {
        let mut chain = self.extensions.clone();
        chain.extend(fragment.map(|_| IPV6_FRAGMENT));
        chain.push(self.protocol_number(false));
        let mut headers = Vec::new();
        for pair in chain.windows(2) {
            match (pair[0], fragment) {
                (IPV6_FRAGMENT, Some((offset, more))) => {
                    headers.extend([pair[1], 0]);
                    headers.extend(((offset & !7) | u16::from(more)).to_be_bytes());
                    headers.extend(0x0001_2345_u32.to_be_bytes());
                }
                // A PadN option fills the 8 bytes.
                _ => headers.extend([pair[1], 0, 1, 4, 0, 0, 0, 0]),
            }
        }
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(length(headers.len() + body.len()).to_be_bytes());
        bytes.extend([chain[0], self.ttl]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(headers);
        bytes.extend(body);
        bytes
    }

    fn protocol_number(&self, v4: bool) -> u8 {
        match self.transport {
            Transport::Udp { .. } => UDP,
            Transport::Tcp { .. } => TCP,
            Transport::Echo if v4 => ICMPV4,
            Transport::Echo => ICMPV6,
            Transport::Protocol(protocol) => protocol,
        }
    }

    /// Transport header and payload, with the checksum over the addresses.
    fn segment(&self) -> Vec<u8> {
        let Some((source, destination)) = self.addresses else { return self.payload.clone() };
        let v4 = source.is_ipv4();
        let (mut bytes, checksum_at) = match self.transport {
            Transport::Protocol(_) => return self.payload.clone(),
            Transport::Udp { source, destination } => {
                let mut header = [source.to_be_bytes(), destination.to_be_bytes()].concat();
                header.extend(length(8 + self.payload.len()).to_be_bytes());
                header.extend([0, 0]);
                (header, 6)
            }
            Transport::Tcp { source, destination, flags } => {
                let mut header = [source.to_be_bytes(), destination.to_be_bytes()].concat();
                header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
                (header, 16)
            }
            Transport::Echo => (vec![if v4 { 8 } else { 128 }, 0, 0, 0, 0x77, 0x77, 0, 1], 2),
        };
        bytes.extend(&self.payload);
        let mut covered = Vec::new();
        // ICMP over IPv4 is the one checksum without pseudo header.
        if !(v4 && matches!(self.transport, Transport::Echo)) {
            for address in [source, destination] {
                match address {
                    IpAddr::V4(address) => covered.extend(address.octets()),
                    IpAddr::V6(address) => covered.extend(address.octets()),
                }
            }
            covered.extend([0, self.protocol_number(v4)]);
            covered.extend(length(bytes.len()).to_be_bytes());
        }
        covered.extend(&bytes);
        let checksum = match internet_checksum(&covered) {
            // UDP writes a zero sum as ones: zero means "none".
            0 if matches!(self.transport, Transport::Udp { .. }) => 0xffff,
            checksum => checksum,
        };
        bytes[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

fn length(length: usize) -> u16 {
    u16::try_from(length).expect("a frame fits into 64 KiB")
}

/// The ones' complement sum of RFC 1071.
#[must_use]
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        assert_eq!(internet_checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn tags_and_session_stand_in_the_order_of_the_words() {
        let bytes = frame().qinq(TPID_8021AD, 100).vlan(7).pppoe(3).ipv4(A, B).udp(53).payload(b"x").build();
        assert_eq!(bytes[12..20], [0x88, 0xa8, 0, 100, 0x81, 0, 0, 7]);
        assert_eq!(bytes[20..30], [0x88, 0x64, 0x11, 0, 0, 3, 0, 31, 0, 0x21]);
        assert_eq!(bytes[30..34], [0x45, 0, 0, 29]);
        assert_eq!(internet_checksum(&bytes[30..50]), 0, "a header with its checksum sums up to zero");
    }

    #[test]
    fn a_packet_is_its_frame_without_the_ethernet_header() {
        assert_eq!(packet().ipv4(A, B).tcp(443).build(), frame().ipv4(A, B).tcp(443).build()[14..]);
    }

    #[test]
    fn fragments_cover_the_segment_once() {
        let whole = packet().ipv4(A, B).udp(9).payload(&[7; 100]);
        let pieces = whole.fragments(48);
        let bodies: Vec<u8> = pieces.iter().flat_map(|piece| piece[20..].to_vec()).collect();
        assert_eq!(bodies, whole.build()[20..]);
        let offsets: Vec<_> = pieces.iter().map(|piece| [piece[6], piece[7]]).collect();
        assert_eq!(offsets, [[0x20, 0], [0x20, 6], [0, 12]]);
    }
}
