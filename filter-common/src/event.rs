//! What the program copies of a packet that is reported. Must not understand it: user space reads the copy.

use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::abi::{Event, Hit};
use crate::frame::Frame;

/// Bytes of a packet that are copied, from its IP header on: an IPv4 header with all its options and the ports behind it,
/// or an IPv6 header with some extension headers.
pub const COPIED: usize = PIECES * PIECE;
/// They are copied in pieces of this length. The shortest frame carries two of them, the shortest IPv6 packet with ports
/// three.
pub const PIECE: usize = 16;
/// So many.
pub const PIECES: usize = 4;

/// The most that an IP header is behind a frame's start, as a mask: Ethernet, four tags and PPPoE are 38 bytes.
const NETWORK: usize = 63;

/// A piece as two words that hold its bytes in their order, and its length.
#[inline(always)]
fn words(piece: Option<[u8; PIECE]>) -> ([u64; 2], u32) {
    match piece {
        Some([a, b, c, d, e, f, g, h, rest @ ..]) => {
            ([u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)], PIECE as u32)
        }
        None => ([0; 2], 0),
    }
}

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
        // The verifier has forgotten where it is.
        let network = network as usize & NETWORK;
        // One by one: LLVM makes a loop, or zeros that are written over, a call of `memset`, which 32-bit JITs cannot make.
        let (first, a) = words(frame.read(network));
        let (second, b) = words(frame.read(network + PIECE));
        let (third, c) = words(frame.read(network + 2 * PIECE));
        let (fourth, d) = words(frame.read(network + 3 * PIECE));
        let headers = [first, second, third, fourth];
        Self { time, set, port, reason, direction, length, copied: a + b + c + d, headers }
    }

    /// The bytes that were copied.
    #[must_use]
    pub fn copied(&self) -> &[u8] {
        let bytes = self.headers.as_bytes();
        bytes.get(..self.copied as usize).unwrap_or(bytes)
    }
}
