//! The entry points: one for each hook and link layer. Must hold no branch that could live in `decide`.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use aya_log_ebpf::info;
use filter_common::abi::LastDecision;
use filter_common::decide::{Reason, Verdict, judge};
use filter_common::packet::{Layer, Meta, Packet, Protocol};

use crate::frame::{Bounds, Linear};
use crate::maps::{self, Maps};

/// The longest headers the decision reads: Ethernet, four VLAN tags, PPPoE, IPv6.
const HEADERS: u32 = 14 + 4 * 4 + 8 + 40;

/// XDP on a device whose frames start with an Ethernet header.
#[xdp]
#[inline(always)]
pub(crate) fn weir_xdp_l2(context: XdpContext) -> u32 {
    xdp::<true>(&context)
}

/// XDP on a device whose frames start with the IP header.
#[xdp]
#[inline(always)]
pub(crate) fn weir_xdp_l3(context: XdpContext) -> u32 {
    xdp::<false>(&context)
}

/// tc ingress on a device whose frames start with an Ethernet header.
#[classifier]
#[inline(always)]
pub(crate) fn weir_in_l2(context: TcContext) -> i32 {
    tc::<true, false>(&context)
}

/// tc ingress on a device whose frames start with the IP header.
#[classifier]
#[inline(always)]
pub(crate) fn weir_in_l3(context: TcContext) -> i32 {
    tc::<false, false>(&context)
}

/// tc egress on a device whose frames start with an Ethernet header.
#[classifier]
#[inline(always)]
pub(crate) fn weir_out_l2(context: TcContext) -> i32 {
    tc::<true, true>(&context)
}

/// tc egress on a device whose frames start with the IP header.
#[classifier]
#[inline(always)]
pub(crate) fn weir_out_l3(context: TcContext) -> i32 {
    tc::<false, true>(&context)
}

const fn layer(ethernet: bool) -> Layer {
    if ethernet { Layer::Ethernet } else { Layer::Ip }
}

/// Logs the decision where the object was loaded for it; elsewhere the verifier removes the code.
///
/// Numbers, which user space turns into words: a table of words would need relocations that the loader has not. A macro,
/// not a function: the code that aya-log expands to must have one caller, or LLVM makes it a BPF function of its own,
/// which 32-bit JITs cannot call.
macro_rules! trace {
    ($context:expr, $frame:expr, $layer:expr, $hit:expr) => {
        if maps::traces() {
            let LastDecision { reason, direction, set, protocol, .. } = $hit.record();
            let packet = Packet::parse($frame, $layer);
            if let (Protocol::Ipv4, Some((source, destination))) = (packet.protocol, packet.addresses_v4($frame)) {
                info!(
                    $context,
                    "{:i} > {:i} reason={} direction={} set={}", source, destination, reason, direction, set
                );
            } else if let (Protocol::Ipv6, Some((source, destination))) = (packet.protocol, packet.addresses_v6($frame))
            {
                info!(
                    $context,
                    "{:i} > {:i} reason={} direction={} set={}",
                    bytes(source),
                    bytes(destination),
                    reason,
                    direction,
                    set
                );
            } else {
                info!($context, "no IP packet protocol={}", protocol);
            }
        }
    };
}

/// An IPv6 address, given as two halves, as its bytes.
#[inline(always)]
fn bytes([high, low]: [u64; 2]) -> [u8; 16] {
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// What becomes of a frame of `length` bytes, of which the hook knows `meta`. Counted first: then nothing of a packet that is
/// in no list has to be remembered, and nearly all are in none.
#[inline(always)]
fn filter<C: EbpfContext + Bounds, const ETHERNET: bool, const EGRESS: bool>(
    context: &C,
    meta: &Meta,
    length: u64,
) -> Verdict {
    let frame = &Linear::<_, ETHERNET>(context);
    // Where it is counted is looked up first: of a frame that is parsed later, nothing has to be kept over the lookups.
    // Never none, either of them.
    let Some(ports) = maps::ports(meta.device) else { return Verdict::Pass };
    let port = if EGRESS { ports.egress } else { ports.ingress };
    let Some(seen) = maps::seen(port) else { return Verdict::Pass };
    let packet = maps::see(seen, Packet::parse(frame, meta.layer), meta.layer, length);
    let decision = judge(frame, packet, meta, &Maps);
    if decision.reason as u32 == Reason::Unlisted as u32 {
        if !maps::watched() {
            return Verdict::Pass;
        }
        maps::note(seen);
    } else {
        maps::count::<_, EGRESS>(seen, &decision, frame, meta.layer, port);
        if !maps::watched() {
            return maps::verdict(seen);
        }
    }
    maps::record(seen);
    trace!(context, frame, meta.layer, seen.hit);
    maps::verdict(seen)
}

#[inline(always)]
fn xdp<const ETHERNET: bool>(context: &XdpContext) -> u32 {
    // A tag that the device took out of the frame is out of an XDP program's reach before kernel 6.8.
    let meta = Meta { layer: layer(ETHERNET), device: context.ingress_ifindex() as u32, vlan: 0 };
    match filter::<_, ETHERNET, false>(context, &meta, context.linear() as u64) {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
    }
}

#[inline(always)]
fn tc<const ETHERNET: bool, const EGRESS: bool>(context: &TcContext) -> i32 {
    let (whole, linear) = (context.len(), context.linear() as u32);
    // Headers may sit in page fragments; a frame that is read short would pass unseen.
    if linear < HEADERS && whole > linear {
        let _ = context.pull_data(if whole < HEADERS { whole } else { HEADERS });
    }
    let meta = Meta { layer: layer(ETHERNET), device: ifindex(context), vlan: taken_tag(context) };
    match filter::<_, ETHERNET, EGRESS>(context, &meta, u64::from(whole)) {
        Verdict::Pass => TC_ACT_UNSPEC,
        Verdict::Drop => TC_ACT_SHOT,
    }
}

#[inline(always)]
fn ifindex(context: &TcContext) -> u32 {
    #[expect(unsafe_code, reason = "aya has no accessor for it")]
    // SAFETY: the kernel hands the program a valid `__sk_buff`.
    unsafe {
        (*context.skb.skb).ifindex
    }
}

/// The VLAN tag that the kernel took out of the frame: on tc hooks the outermost one.
#[inline(always)]
fn taken_tag(context: &TcContext) -> u32 {
    #[expect(unsafe_code, reason = "aya has no accessor for it")]
    // SAFETY: as above.
    let (present, control) = unsafe { ((*context.skb.skb).vlan_present, (*context.skb.skb).vlan_tci) };
    if present == 0 { 0 } else { Meta::tag(control as u16) }
}
