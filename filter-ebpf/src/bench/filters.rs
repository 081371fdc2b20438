//! The least filters there are, and the plainest one: what a packet costs beside what weir does. Must count nothing.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

use crate::lookup::LPM4;

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
