//! Generators of frames. In a test run with live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`) each sends a million frames a second
//! and more out of the device that the test run names. Must not depend on what a frame held before: the kernel uses its
//! memory again, as the receiver left it.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;

use crate::lookup::STATE;

/// What a frame is made of, and how far the generator is: see the constants.
#[btf_map]
static ROUTE: Array<[u64; 16], 1> = Array::new();
/// Destinations: the address in the lower half, as its bytes lie in memory; above it 1 where the address is listed.
#[btf_map]
static DESTINATIONS: Array<u64, 1> = Array::new();

/// Number of the next frame.
const NEXT: usize = 0;
/// When the first frame was made, and the last one whose number is a multiple of [`BATCH`]; and that number.
const FIRST: usize = 1;
const LATEST: usize = 2;
const LATEST_NUMBER: usize = 3;
/// How many frames went to listed addresses.
const LISTED: usize = 4;
/// Number of destinations, a power of two, less one.
const DESTINATION_MASK: usize = 5;
/// The first 24 bytes of each frame, identification 0.
const HEADER: usize = 6;
/// The sum of the IPv4 header's 16-bit words without identification, checksum and the last 6 bytes.
const SUM: usize = 9;
/// The first half of the source address; the second half: which of its bits are drawn, and the others.
const SOURCE: usize = 10;
const SOURCE_DRAWN: usize = 11;
const SOURCE_FIXED: usize = 12;
/// As many frames as the kernel makes before the receiver's turn comes.
const BATCH: u64 = 64;

/// Ethernet and IPv4.
const HEADERS: usize = 14 + 20;

/// Sends the next frame: from a random client to the next destination.
#[xdp]
pub(crate) fn route(context: XdpContext) -> u32 {
    let Some(route) = ROUTE.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    let at = context.data();
    if at + HEADERS > context.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    #[expect(unsafe_code, reason = "the state is updated in place")]
    // SAFETY: one generator runs at a time.
    let route = unsafe { &mut *route };
    let number = route[NEXT];
    let Some(&destination) = DESTINATIONS.get((number & route[DESTINATION_MASK]) as u32) else {
        return xdp_action::XDP_ABORTED;
    };
    if number & (BATCH - 1) == 0 {
        #[expect(unsafe_code, reason = "a helper of the kernel without arguments")]
        // SAFETY: it reads a clock.
        let now = unsafe { bpf_ktime_get_ns() };
        if route[FIRST] == 0 {
            route[FIRST] = now;
        }
        route[LATEST] = now;
        route[LATEST_NUMBER] = number;
    }
    let listed = destination >> 32;
    route[NEXT] = number + 1;
    route[LISTED] += listed;
    // Fibonacci hashing: sources look random, and cost two instructions.
    let drawn = u64::from((number as u32).wrapping_mul(0x9e37_79b1) >> 16);
    let source = drawn & route[SOURCE_DRAWN] | route[SOURCE_FIXED];
    let sum = route[SUM] + listed + source + (destination & 0xffff) + (destination >> 16 & 0xffff);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    #[expect(unsafe_code, reason = "the packet is written in place")]
    // SAFETY: all is inside the frame, as was just checked, and the generator runs on CPUs that write to any address.
    unsafe {
        *(at as *mut u64) = route[HEADER];
        *((at + 8) as *mut u64) = route[HEADER + 1];
        *((at + 16) as *mut u64) = route[HEADER + 2];
        *((at + 18) as *mut u16) = listed as u16;
        *((at + 24) as *mut u16) = !sum as u16;
        *((at + 26) as *mut u16) = route[SOURCE] as u16;
        *((at + 28) as *mut u16) = source as u16;
        *((at + 30) as *mut u16) = destination as u16;
        *((at + 32) as *mut u16) = (destination >> 16) as u16;
    }
    xdp_action::XDP_TX
}

/// Sends the frame back to where it came from, each time from another of 256 IPv4 clients. The rest of it stays.
#[xdp]
pub(crate) fn flood(context: XdpContext) -> u32 {
    send_back(&context, |count, _| count as u8)
}

/// Likewise, from 65,536 clients: as whoever forges addresses.
#[xdp]
pub(crate) fn forge(context: XdpContext) -> u32 {
    send_back(&context, |count, place| (count >> (8 * (1 - place))) as u8)
}

/// Sends a frame back, the last two bytes of its source address changed: by the number of the frame, the place of the
/// byte.
#[inline(always)]
fn send_back(context: &XdpContext, byte: impl Fn(u64, u32) -> u8) -> u32 {
    /// The last two bytes of the source address, behind an Ethernet header.
    const CLIENT: usize = 14 + 14;
    let (Some(state), at) = (STATE.get_ptr_mut(0), context.data() + CLIENT) else { return xdp_action::XDP_ABORTED };
    if at + 2 > context.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    #[expect(unsafe_code, reason = "state and packet are updated in place")]
    // SAFETY: one generator runs at a time; both bytes are inside the frame, as was just checked.
    unsafe {
        let count = (*state)[0] + 1;
        (*state)[0] = count;
        *(at as *mut u8) = byte(count, 0);
        *((at + 1) as *mut u8) = byte(count, 1);
    }
    xdp_action::XDP_TX
}
