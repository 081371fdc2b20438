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
}

impl Frame for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}
