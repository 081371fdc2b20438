//! Reads of a frame in kernel memory: the one unsafe read of a packet. Must not know any protocol.

use filter_common::frame::Frame;

/// The linear part of a frame, as a hook's context gives it.
#[derive(Clone, Copy)]
pub(crate) struct Linear {
    start: usize,
    end: usize,
}

/// Bytes on an even address: LLVM loads them two at a time instead of one by one.
#[derive(Clone, Copy)]
#[repr(C, align(2))]
struct Even<const N: usize>([u8; N]);

impl Linear {
    /// The bytes from `start` up to `end`, the context's `data` and `data_end`.
    #[inline(always)]
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Its length in bytes.
    #[inline(always)]
    pub(crate) const fn len(self) -> usize {
        self.end - self.start
    }
}

impl Frame for Linear {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let at = self.start + offset;
        if at + N > self.end {
            return None;
        }
        #[expect(unsafe_code, reason = "packet memory is read through the context's pointers")]
        // SAFETY: `at + N <= end` was just checked, and the verifier refuses the program if it does not imply that the
        // read is inside the packet. Packet data starts on an even address on every CPU that cares (NET_IP_ALIGN), and
        // offsets are even by `Frame`'s contract.
        let bytes = unsafe { *(at as *const Even<N>) };
        Some(bytes.0)
    }
}
