//! What a frame carries by etherparse, and by weir's parser. Must not share code with the parser; only the 8 bytes of PPPoE,
//! which etherparse does not know, are read here by hand.

use etherparse::{Ethernet2Slice, Ipv4Header, Ipv4HeaderSlice, Ipv6Header, Ipv6HeaderSlice, SingleVlanSlice};
use filter_common::frame::Frame;
use filter_common::packet::{Layer, Packet, Protocol};

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
pub(crate) const TPIDS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
pub(crate) const PPPOE_SESSION: u16 = 0x8864;

/// A frame that holds the parser to its contract: even offsets only.
pub(crate) struct Even<'a>(pub(crate) &'a [u8]);

impl Frame for Even<'_> {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        assert!(offset.is_multiple_of(2), "read of {N} bytes at odd offset {offset}");
        self.0.read(offset)
    }
}

/// What a frame carries and the addresses in it, as bytes; `None` where the frame ends before them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) protocol: Protocol,
    pub(crate) network: usize,
    pub(crate) addresses: Option<(Vec<u8>, Vec<u8>)>,
}

impl Found {
    const fn none(protocol: Protocol) -> Self {
        Self { protocol, network: 0, addresses: None }
    }
}

pub(crate) fn parsed(frame: &[u8], layer: Layer) -> Found {
    let frame = Even(frame);
    let packet = Packet::parse(&frame, layer);
    if matches!(packet.protocol, Protocol::Ipv4 | Protocol::Ipv6) {
        assert_eq!(
            Packet::within(packet.network, layer),
            packet.network,
            "what the program keeps of a packet finds it again"
        );
    }
    let bytes = |[high, low]: [u64; 2]| [high.to_be_bytes(), low.to_be_bytes()].concat();
    let addresses = match packet.protocol {
        Protocol::Ipv4 => packet.addresses_v4(&frame).map(|(a, b)| (a.to_be_bytes().into(), b.to_be_bytes().into())),
        Protocol::Ipv6 => packet.addresses_v6(&frame).map(|(a, b)| (bytes(a), bytes(b))),
        Protocol::NotIp | Protocol::Truncated => None,
    };
    Found { protocol: packet.protocol, network: packet.network, addresses }
}

/// What etherparse finds, header by header. Its own walk over a whole packet stops at three tags, and refuses packets
/// whose lengths lie, which weir does not look at.
pub(crate) fn expected(frame: &[u8], layer: Layer) -> Found {
    let (ethertype, rest) = match layer {
        Layer::Ip => (None, frame),
        Layer::Ethernet => match behind_link(frame) {
            Ok((ethertype, rest)) => (Some(ethertype), rest),
            Err(protocol) => return Found::none(protocol),
        },
    };
    if !matches!(ethertype, None | Some(IPV4 | IPV6)) {
        return Found::none(Protocol::NotIp);
    }
    let network = frame.len() - rest.len();
    // Where no EtherType says what it is, the version does; weir reads two bytes to see it.
    let version = match (ethertype, rest) {
        (Some(IPV4), _) => 4,
        (Some(IPV6), _) => 6,
        (_, [first, _, ..]) => first >> 4,
        _ => return Found::none(Protocol::Truncated),
    };
    let length = match version {
        4 => Ipv4Header::MIN_LEN,
        6 => Ipv6Header::LEN,
        _ => return Found::none(Protocol::NotIp),
    };
    let Some(header) = rest.get(..length) else { return Found::none(Protocol::Truncated) };
    if header[0] >> 4 != version {
        return Found::none(Protocol::NotIp);
    }
    if version == 6 {
        let header = Ipv6HeaderSlice::from_slice(header).unwrap();
        let addresses = Some((header.source().into(), header.destination().into()));
        return Found { protocol: Protocol::Ipv6, network, addresses };
    }
    // etherparse checks the header's length, weir does not need it: it is set to that of the fixed part.
    let mut fixed = header.to_vec();
    fixed[0] = 0x45;
    let header = Ipv4HeaderSlice::from_slice(&fixed).unwrap();
    let addresses = Some((header.source().into(), header.destination().into()));
    Found { protocol: Protocol::Ipv4, network, addresses }
}

/// The EtherType of the payload behind Ethernet, tags and PPPoE, and the payload.
fn behind_link(frame: &[u8]) -> Result<(u16, &[u8]), Protocol> {
    let ethernet = Ethernet2Slice::from_slice_without_fcs(frame).map_err(|_| Protocol::Truncated)?;
    let mut payload = ethernet.payload();
    for _ in 0..4 {
        if !TPIDS.contains(&payload.ether_type.0) {
            break;
        }
        payload = SingleVlanSlice::from_slice(payload.payload).map_err(|_| Protocol::Truncated)?.payload();
    }
    if payload.ether_type.0 != PPPOE_SESSION {
        return Ok((payload.ether_type.0, payload.payload));
    }
    match payload.payload {
        [0x11, 0, _, _, _, _, 0x00, 0x21, packet @ ..] => Ok((IPV4, packet)),
        [0x11, 0, _, _, _, _, 0x00, 0x57, packet @ ..] => Ok((IPV6, packet)),
        [_, _, _, _, _, _, _, _, ..] => Err(Protocol::NotIp),
        _ => Err(Protocol::Truncated),
    }
}
