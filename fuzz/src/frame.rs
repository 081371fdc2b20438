//! Any bytes as a frame: what the parser, the scopes and the events make of it. The oracle is etherparse.
//!
//! Input: a byte whose lowest bit is 1 for a device without Ethernet header, and whose others shorten the frame; two bytes of
//! a tag that the kernel took out (0 for none); the frame.

use filter_common::abi::{ClientKey, Event, Hit};
use filter_common::event::{COPIED, PIECE};
use filter_common::packet::{Layer, Link, Meta, NO_MAC, Packet, Protocol};
use weir::events;
use weir::ledger::Hook;

use crate::bytes::Bytes;
use crate::wire::{Even, TPIDS, expected, parsed};

/// See the file's first lines.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let (choice, control) = (bytes.byte(), bytes.u16());
    let layer = if choice & 1 == 1 { Layer::Ip } else { Layer::Ethernet };
    let frame = bytes.rest();
    let found = parsed(frame, layer);
    assert_eq!(found, expected(frame, layer));

    // A frame that ends earlier is the same one, or one that ends inside a header.
    let cut = &frame[..frame.len().saturating_sub(usize::from(choice >> 1))];
    let shorter = parsed(cut, layer);
    assert!(shorter == found || shorter.protocol == Protocol::Truncated, "{shorter:?} of {found:?}");

    let meta = Meta { layer, device: 7, vlan: if control == 0 { 0 } else { Meta::tag(control) } };
    assert_link(frame, &meta, control);
    assert_event(frame, layer);
}

/// What scopes see of the Ethernet header, read by hand.
fn assert_link(frame: &[u8], meta: &Meta, taken_out: u16) {
    let link = Link::read(&Even(frame), meta);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    let has_header = meta.layer == Layer::Ethernet && frame.len() >= 16;
    let (destination, source) =
        if has_header { (number(&frame[..6]), number(&frame[6..12])) } else { (NO_MAC, NO_MAC) };
    assert_eq!((link.macs.destination, link.macs.source), (destination, source));
    let outermost = if taken_out != 0 {
        taken_out
    } else if has_header && TPIDS.contains(&u16::from_be_bytes([frame[12], frame[13]])) {
        u16::from_be_bytes([frame[14], frame[15]])
    } else {
        0
    };
    assert_eq!(link.vlan, outermost % 4096);
}

/// A drop of this packet as it is reported: copied in whole pieces, and its addresses those that were decided on.
fn assert_event(frame: &[u8], layer: Layer) {
    let packet = Packet::parse(frame, layer);
    if !matches!(packet.protocol, Protocol::Ipv4 | Protocol::Ipv6) {
        return;
    }
    let hit = Hit { key: ClientKey::new([0, 1], 1, 2, 0, false), reason: 3, length: 60, ..Hit::default() };
    let event = Event::new(frame, &hit, packet.network, 5);
    let behind = &frame[packet.network..];
    let whole = behind.len().min(COPIED) / PIECE * PIECE;
    assert_eq!(event.copied(), &behind[..whole]);

    let hook = Hook { device: "eth0".into(), egress: false };
    let Some(told) = events::read(&event, vec!["rule".into()], &hook, 0) else {
        // An IPv4 header of 20 bytes is not whole pieces: its last 4 may be missing.
        assert!(packet.protocol == Protocol::Ipv4 && behind.len() < 24, "{packet:?} in {} bytes", behind.len());
        return;
    };
    let ends = if packet.protocol == Protocol::Ipv4 { (12, 16, 4) } else { (8, 24, 16) };
    let octets = |at: usize| &behind[at..at + ends.2];
    let octets_of = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    };
    assert_eq!((octets_of(told.src_ip), octets_of(told.dest_ip)), (octets(ends.0).to_vec(), octets(ends.1).to_vec()));
    assert_eq!(told.src_port.is_some(), told.dest_port.is_some());
}
