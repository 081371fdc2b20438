//! The least filters there are, and the plainest one: what a packet costs beside what weir does. Must count nothing.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use filter_common::abi::{ClientKey, Hit};
use filter_common::decide::Direction;
use filter_common::lookup::{UNLISTED, slot_of_v4};
use filter_common::packet::{Layer, Packet, Protocol};

use crate::frame::{Bounds as _, Linear};
use crate::lookup::{LPM4, STATE};
use crate::maps::{self, HITS, Maps};

/// Drops everything unread: no filter can be faster.
#[xdp]
pub(crate) fn drop_all(_: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Passes everything unread.
#[xdp]
pub(crate) fn pass_all(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Drops what the generator marked as listed: a filter that need not look anything up.
#[xdp]
pub(crate) fn drop_marked(context: XdpContext) -> u32 {
    /// The identification of an IPv4 header behind an Ethernet header.
    const MARK: usize = 14 + 4;
    match read::<[u8; 2]>(&context, MARK) {
        Some([0, 0]) | None => xdp_action::XDP_PASS,
        Some(_) => xdp_action::XDP_DROP,
    }
}

/// Parses as weir does, and reads both addresses; their sum is kept.
#[xdp]
pub(crate) fn parse_only(context: XdpContext) -> u32 {
    let frame = Linear::<_, true>(&context);
    let packet = Packet::parse(&frame, Layer::Ethernet);
    let sum = match packet.protocol {
        Protocol::Ipv4 => packet.addresses_v4(&frame).map(|(source, destination)| u64::from(source ^ destination)),
        Protocol::Ipv6 => packet
            .addresses_v6(&frame)
            .map(|(source, destination)| source[0] ^ source[1] ^ destination[0] ^ destination[1]),
        _ => None,
    };
    let (Some(sum), Some(state)) = (sum, STATE.get_ptr_mut(0)) else { return xdp_action::XDP_ABORTED };
    #[expect(unsafe_code, reason = "the sum is kept in place")]
    // SAFETY: the benchmark runs one program at a time, on one CPU.
    unsafe {
        (*state)[1] ^= sum;
    }
    xdp_action::XDP_PASS
}

/// weir's tables and nothing else: drops what they hold, IPv4 only.
#[xdp]
#[inline(always)]
pub(crate) fn drop_found(context: XdpContext) -> u32 {
    match found(&context) {
        Some(_) => xdp_action::XDP_DROP,
        None => xdp_action::XDP_PASS,
    }
}

/// The same, with one counter for each set: the least that tells how much was dropped.
#[xdp]
#[inline(always)]
pub(crate) fn drop_counted(context: XdpContext) -> u32 {
    let Some(Found { set, .. }) = found(&context) else { return xdp_action::XDP_PASS };
    if let Some(hits) = HITS.get_ptr_mut(set) {
        #[expect(unsafe_code, reason = "a counter is written in place")]
        // SAFETY: the benchmark runs one program at a time, on one CPU.
        let count = unsafe { &mut (*hits).counts[0] };
        count.packets += 1;
        count.bytes += context.linear() as u64;
    }
    xdp_action::XDP_DROP
}

/// The same, with one counter for each client too, in the table that weir has: the least that tells who sent what was dropped.
#[xdp]
#[inline(always)]
pub(crate) fn drop_told(context: XdpContext) -> u32 {
    let Some(Found { set, source }) = found(&context) else { return xdp_action::XDP_PASS };
    let key = ClientKey::new([0, source.into()], set, 0, Direction::Out as u32, false);
    let hit = Hit { key, reason: 0, protocol: 0, network: 0, length: context.linear() as u32 };
    maps::count_hit(&hit);
    maps::count_client(&hit);
    xdp_action::XDP_DROP
}

/// A packet of which an address is listed.
struct Found {
    /// The set of the destination, or else of the source.
    set: u32,
    /// Its source.
    source: u32,
}

#[inline(always)]
fn found(context: &XdpContext) -> Option<Found> {
    let frame = &Linear::<_, true>(context);
    let packet = Packet::parse(frame, Layer::Ethernet);
    let (Protocol::Ipv4, Some((source, destination))) = (packet.protocol, packet.addresses_v4(frame)) else {
        return None;
    };
    let set = match slot_of_v4(&Maps, destination).set() {
        UNLISTED => slot_of_v4(&Maps, source).set(),
        set => set,
    };
    (set != UNLISTED).then_some(Found { set, source })
}

/// The filter that everybody writes first: destinations in an `LPM_TRIE`, IPv4 without tags only.
#[xdp]
pub(crate) fn lpm_filter(context: XdpContext) -> u32 {
    const ETHERTYPE: usize = 12;
    const DESTINATION: usize = 14 + 16;
    if read::<[u8; 2]>(&context, ETHERTYPE) != Some([0x08, 0x00]) {
        return xdp_action::XDP_PASS;
    }
    let Some(destination) = read::<[u8; 4]>(&context, DESTINATION) else { return xdp_action::XDP_PASS };
    match LPM4.get(&Key::new(32, destination)) {
        Some(_) => xdp_action::XDP_DROP,
        None => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn read<T: Copy>(context: &XdpContext, offset: usize) -> Option<T> {
    let at = context.data() + offset;
    if at + size_of::<T>() > context.data_end() {
        return None;
    }
    #[expect(unsafe_code, reason = "packet memory is read through the context's pointers")]
    // SAFETY: the bytes are inside the frame, as was just checked; byte arrays may stand anywhere.
    Some(unsafe { *(at as *const T) })
}
