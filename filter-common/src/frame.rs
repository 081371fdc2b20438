//! Bounded reads of a frame's bytes: the only way the decision sees a packet. Must not know any protocol.

/// The bytes of one frame, as the hook sees them.
pub trait Frame {
    /// The `N` bytes at `offset`, or `None` where the frame ends before them.
    ///
    /// Callers pass even offsets only: every header weir reads begins on an even byte, and CPUs without unaligned
    /// access (MIPS) let the kernel side load two bytes at a time because of it.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// As [`Frame::read`], of bytes that begin so many whole words of four bytes behind an IP header's start: behind an Ethernet
    /// header such words are aligned in memory, where it matters (`NET_IP_ALIGN`, `include/linux/skbuff.h`).
    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.read(offset)
    }

    /// Thirty-two bytes that begin as those of [`Frame::words`] do, as four integers in host order.
    #[inline(always)]
    fn halves(&self, offset: usize) -> Option<[u64; 4]> {
        let bytes: [u8; 32] = self.words(offset)?;
        Some([half(&bytes, 0), half(&bytes, 8), half(&bytes, 16), half(&bytes, 24)])
    }
}

/// Eight bytes as an integer in host order. The callers' constants keep `at + 7` inside.
#[inline(always)]
pub(crate) fn half<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from_be_bytes([
        bytes[at],
        bytes[at + 1],
        bytes[at + 2],
        bytes[at + 3],
        bytes[at + 4],
        bytes[at + 5],
        bytes[at + 6],
        bytes[at + 7],
    ])
}

impl Frame for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}
