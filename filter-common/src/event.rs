//! What the program copies of a packet that is reported. Must not understand it: user space reads the copy.

use zerocopy::FromBytes as _;

use crate::abi::{Event, Hit};
use crate::frame::Frame;

/// Bytes of a packet that are copied, from its IP header on: an IPv4 header with all its options and the ports behind it,
/// or an IPv6 header with some extension headers.
pub const COPIED: usize = 64;
/// They are copied in pieces of this length. The shortest frame carries two of them, the shortest IPv6 packet with ports
/// three.
const PIECE: usize = 16;

/// The most that an IP header is behind a frame's start, as a mask: Ethernet, four tags and PPPoE are 38 bytes.
const NETWORK: usize = 63;

impl Event {
    /// The event that the program wrote; `None` where these bytes are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::read_from_bytes(bytes).ok()
    }

    /// The event of `hit`, the packet in `frame`, at `time`.
    #[inline(always)]
    pub fn new<F: Frame + ?Sized>(frame: &F, hit: &Hit, time: u64) -> Self {
        let Hit { set, port, reason, direction, length, network, .. } = *hit;
        let mut event = Self { time, set, port, reason, direction, length, copied: 0, headers: [0; COPIED] };
        // The verifier has forgotten where it is.
        let network = network as usize & NETWORK;
        let mut at = 0;
        while at < COPIED {
            let Some(piece) = frame.read::<PIECE>(network + at) else { break };
            event.headers[at..at + PIECE].copy_from_slice(&piece);
            at += PIECE;
        }
        event.copied = at as u32;
        event
    }
}
