//! Reads of a frame in kernel memory: the one unsafe read of a packet. Must not know any protocol.

use aya_ebpf::programs::{TcContext, XdpContext};
use filter_common::frame::Frame;

/// A hook's context: where the linear part of its frame is now.
pub(crate) trait Bounds {
    /// The address of its first byte.
    fn start(&self) -> usize;
    /// The address behind its last byte.
    fn end(&self) -> usize;
}

impl Bounds for XdpContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }
}

impl Bounds for TcContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }
}

/// The linear part of a frame.
///
/// Every read asks the context for the bounds. LLVM asks once as long as nothing is called in between; behind a call to
/// ask again is cheaper than to keep them, and the verifier need not tell apart what it knew of them before.
pub(crate) struct Linear<'a, C>(pub(crate) &'a C);

/// Bytes on an even address: LLVM loads them two at a time instead of one by one.
#[derive(Clone, Copy)]
#[repr(C, align(2))]
struct Even<const N: usize>([u8; N]);

impl<C: Bounds> Linear<'_, C> {
    /// Its length in bytes.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.0.end() - self.0.start()
    }
}

impl<C: Bounds> Frame for Linear<'_, C> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let at = self.0.start() + offset;
        if at + N > self.0.end() {
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
