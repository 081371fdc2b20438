//! Reads of a frame in kernel memory: the one unsafe read of a packet. Must not know any protocol.

use aya_ebpf::programs::{TcContext, XdpContext};
use filter_common::frame::Frame;

/// A hook's context: where the linear part of its frame is now.
pub(crate) trait Bounds {
    /// The address of its first byte.
    fn start(&self) -> usize;
    /// The address behind its last byte.
    fn end(&self) -> usize;

    /// Its length in bytes.
    #[inline(always)]
    fn linear(&self) -> usize {
        self.end() - self.start()
    }
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
///
/// `ETHERNET`: it starts with an Ethernet header.
pub(crate) struct Linear<'a, C, const ETHERNET: bool>(pub(crate) &'a C);

/// Bytes on an even address: LLVM loads them two at a time instead of one by one.
#[derive(Clone, Copy)]
#[repr(C, align(2))]
struct Even<const N: usize>([u8; N]);

/// Likewise, four at a time.
#[derive(Clone, Copy)]
#[repr(C, align(4))]
struct Words<const N: usize>([u8; N]);

impl<C: Bounds, const ETHERNET: bool> Linear<'_, C, ETHERNET> {
    /// The address of `length` bytes at `offset`, if they are inside.
    #[inline(always)]
    fn at(&self, offset: usize, length: usize) -> Option<usize> {
        let at = self.0.start() + offset;
        if at + length > self.0.end() { None } else { Some(at) }
    }
}

impl<C: Bounds, const ETHERNET: bool> Frame for Linear<'_, C, ETHERNET> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let at = self.at(offset, N)?;
        #[expect(unsafe_code, reason = "packet memory is read through the context's pointers")]
        // SAFETY: the bytes were just found to be inside, and the verifier refuses the program if that does not imply that
        // the read is inside the packet. Packet data starts on an even address on every CPU that cares (NET_IP_ALIGN), and
        // offsets are even by `Frame`'s contract.
        let bytes = unsafe { *(at as *const Even<N>) };
        Some(bytes.0)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if !ETHERNET {
            return self.read(offset);
        }
        let at = self.at(offset, N)?;
        #[expect(unsafe_code, reason = "packet memory is read through the context's pointers")]
        // SAFETY: as above. Where the CPU cares, packet data starts two bytes before a word, and so do the IP header, which is
        // behind 14 bytes and whole words, and whatever is whole words behind that. The verifier there refuses anything else.
        let bytes = unsafe { *(at as *const Words<N>) };
        Some(bytes.0)
    }
    /// Each half on its own: of the 32 bytes as one value LLVM loads half one by one.
    #[inline(always)]
    fn halves(&self, offset: usize) -> Option<[u64; 4]> {
        let at = self.at(offset, 32)?;
        #[expect(unsafe_code, reason = "packet memory is read through the context's pointers")]
        // SAFETY: as above, of eight of the bytes each time; behind no Ethernet header they are on an even address.
        let half = |number: usize| unsafe {
            let at = at + 8 * number;
            if ETHERNET { (*(at as *const Words<8>)).0 } else { (*(at as *const Even<8>)).0 }
        };
        Some([half(0), half(1), half(2), half(3)].map(u64::from_be_bytes))
    }
}
