//! What the program copies of a packet that is reported. Must not understand it: user space reads the copy.

use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::abi::{Event, Hit};
use crate::frame::Frame;

/// Bytes of a packet that are copied, from its IP header on: an IPv4 header with all its options and the ports behind it,
/// or an IPv6 header with some extension headers.
pub const COPIED: usize = PIECES * PIECE;
/// They are copied in pieces of this length. A transport header with ports has 8 bytes or more, so both ports are in whole
/// pieces.
pub const PIECE: usize = 8;
/// So many.
pub const PIECES: usize = 8;

/// A piece as a word that holds its bytes in their order, and its length.
#[inline(always)]
fn word(piece: Option<[u8; PIECE]>) -> (u64, u32) {
    match piece {
        Some(bytes) => (u64::from_ne_bytes(bytes), PIECE as u32),
        None => (0, 0),
    }
}

impl Event {
    /// The event that the program wrote; `None` where these bytes are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::read_from_bytes(bytes).ok()
    }

    /// The event of `hit`, the packet in `frame` whose IP header is at `network`, at `time`.
    #[inline(always)]
    pub fn new<F: Frame + ?Sized>(frame: &F, hit: &Hit, network: usize, time: u64) -> Self {
        let Hit { key, reason, length, .. } = *hit;
        // One by one: LLVM makes a loop, or zeros that are written over, a call of `memset`, which 32-bit JITs cannot make.
        let pieces = [
            word(frame.words(network)),
            word(frame.words(network + PIECE)),
            word(frame.words(network + 2 * PIECE)),
            word(frame.words(network + 3 * PIECE)),
            word(frame.words(network + 4 * PIECE)),
            word(frame.words(network + 5 * PIECE)),
            word(frame.words(network + 6 * PIECE)),
            word(frame.words(network + 7 * PIECE)),
        ];
        let copied = pieces[0].1
            + pieces[1].1
            + pieces[2].1
            + pieces[3].1
            + pieces[4].1
            + pieces[5].1
            + pieces[6].1
            + pieces[7].1;
        let headers =
            [pieces[0].0, pieces[1].0, pieces[2].0, pieces[3].0, pieces[4].0, pieces[5].0, pieces[6].0, pieces[7].0];
        let (set, port, direction) = (key.set(), key.port(), key.direction());
        Self { time, set, port, reason, direction, length, copied, headers }
    }

    /// The bytes that were copied.
    #[must_use]
    pub fn copied(&self) -> &[u8] {
        let bytes = self.headers.as_bytes();
        bytes.get(..self.copied as usize).unwrap_or(bytes)
    }
}
