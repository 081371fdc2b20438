//! Bounded reads of a frame's bytes: the only way the decision sees a packet. Must not know any protocol.

/// The bytes of one frame, as the hook sees them.
pub trait Frame {
    /// The `N` bytes at `offset`, or `None` where the frame ends before them.
    ///
    /// Callers pass even offsets only: every header weir reads begins on an even byte, and CPUs without unaligned
    /// access (MIPS) let the kernel side load two bytes at a time because of it.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Frame for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}
