//! The lookup benchmark's programs: weir's tables and the kernel's LPM_TRIE asked the same keys in the same loop.
//! Beside them a generator of frames. Never part of the shipped object.
//!
//! Each run takes the next [`KEYS_PER_RUN`] keys, so that a series of runs goes through all keys and no run is answered
//! from the cache of the one before. The sum of the answers is kept: it is compared with an oracle, and nothing can be
//! optimised away. The `null` programs do all but the lookup; their time is subtracted.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[expect(dead_code, reason = "the benchmark uses the tables and not the counters")]
mod maps;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, xdp_action};
    use aya_ebpf::btf_maps::lpm_trie::Key;
    use aya_ebpf::btf_maps::{Array, LpmTrie};
    use aya_ebpf::macros::{btf_map, xdp};
    use aya_ebpf::programs::XdpContext;
    use filter_common::lookup::{set_of_v4, set_of_v6};

    use crate::maps::Maps;

    /// Keys that one run looks up.
    const KEYS_PER_RUN: usize = 64;
    const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

    #[btf_map]
    static KEYS4: Array<[u32; KEYS_PER_RUN], 1> = Array::new();
    /// High and low half of each key in turn: aya's BTF does not describe arrays of arrays.
    #[btf_map]
    static KEYS6: Array<[u64; 2 * KEYS_PER_RUN], 1> = Array::new();
    #[btf_map]
    static LPM4: LpmTrie<[u8; 4], u32, 1, NO_PREALLOC> = LpmTrie::new();
    #[btf_map]
    static LPM6: LpmTrie<[u8; 16], u32, 1, NO_PREALLOC> = LpmTrie::new();
    /// The number of the next run, and the sum of all answers.
    #[btf_map]
    static STATE: Array<[u64; 2], 1> = Array::new();

    /// The panic handler and the licence of this object.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[expect(unsafe_code, reason = "the kernel reads the licence from a section of this name")]
    // SAFETY: nothing else in the object is in this section.
    #[unsafe(link_section = "license")]
    #[used]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    #[inline(always)]
    fn run<K: 'static>(keys: impl Fn(u32) -> Option<&'static K>, find: impl Fn(&K, usize) -> u32) -> u32 {
        let Some(state) = STATE.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
        #[expect(unsafe_code, reason = "the state is updated in place")]
        // SAFETY: the benchmark runs one program at a time, on one CPU.
        let state = unsafe { &mut *state };
        let Some(keys) = keys(state[0] as u32) else { return xdp_action::XDP_ABORTED };
        let mut sum = 0_u64;
        let mut index = 0;
        while index < KEYS_PER_RUN {
            sum += u64::from(find(keys, index));
            index += 1;
        }
        state[0] += 1;
        state[1] += sum;
        xdp_action::XDP_PASS
    }

    /// Sends the frame back to where it came from, each time from another of 256 IPv4 clients. In a test run with live frames
    /// (`BPF_F_TEST_XDP_LIVE_FRAMES`) it is a generator of a million frames a second and more.
    #[xdp]
    pub(crate) fn flood(context: XdpContext) -> u32 {
        send_back(&context, |count, _| count as u8)
    }

    /// Likewise, from 65,536 clients: as whoever forges addresses.
    #[xdp]
    pub(crate) fn forge(context: XdpContext) -> u32 {
        send_back(&context, |count, place| (count >> (8 * (1 - place))) as u8)
    }

    /// Sends a frame back, the last two bytes of its source address changed: by the number of the frame, the place of the
    /// byte.
    #[inline(always)]
    fn send_back(context: &XdpContext, byte: impl Fn(u64, u32) -> u8) -> u32 {
        /// The last two bytes of the source address, behind an Ethernet header.
        const CLIENT: usize = 14 + 14;
        let (Some(state), at) = (STATE.get_ptr_mut(0), context.data() + CLIENT) else { return xdp_action::XDP_ABORTED };
        if at + 2 > context.data_end() {
            return xdp_action::XDP_ABORTED;
        }
        #[expect(unsafe_code, reason = "state and packet are updated in place")]
        // SAFETY: one generator runs at a time; both bytes are inside the frame, as was just checked.
        unsafe {
            let count = (*state)[0] + 1;
            (*state)[0] = count;
            *(at as *mut u8) = byte(count, 0);
            *((at + 1) as *mut u8) = byte(count, 1);
        }
        xdp_action::XDP_TX
    }

    /// The loop alone, IPv4.
    #[xdp]
    pub(crate) fn null4(_: XdpContext) -> u32 {
        run(|at| KEYS4.get(at), |keys, at| keys[at])
    }

    /// weir's IPv4 table.
    #[xdp]
    pub(crate) fn weir4(_: XdpContext) -> u32 {
        run(|at| KEYS4.get(at), |keys, at| set_of_v4(&Maps, keys[at]))
    }

    /// LPM_TRIE, IPv4.
    #[xdp]
    pub(crate) fn lpm4(_: XdpContext) -> u32 {
        run(|at| KEYS4.get(at), |keys, at| LPM4.get(&Key::new(32, keys[at].to_be_bytes())).copied().unwrap_or(0))
    }

    /// The loop alone, IPv6.
    #[xdp]
    pub(crate) fn null6(_: XdpContext) -> u32 {
        run(|at| KEYS6.get(at), |keys, at| (keys[2 * at] ^ keys[2 * at + 1]) as u32)
    }

    /// weir's IPv6 table.
    #[xdp]
    pub(crate) fn weir6(_: XdpContext) -> u32 {
        run(|at| KEYS6.get(at), |keys, at| set_of_v6(&Maps, [keys[2 * at], keys[2 * at + 1]]))
    }

    /// LPM_TRIE, IPv6.
    #[xdp]
    pub(crate) fn lpm6(_: XdpContext) -> u32 {
        run(
            |at| KEYS6.get(at),
            |keys, at| {
                let address = (u128::from(keys[2 * at]) << 64 | u128::from(keys[2 * at + 1])).to_be_bytes();
                LPM6.get(&Key::new(128, address)).copied().unwrap_or(0)
            },
        )
    }
}
