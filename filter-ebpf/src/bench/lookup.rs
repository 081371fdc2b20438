//! Lookups alone: weir's tables and the kernel's `LPM_TRIE` asked the same keys in the same loop.
//!
//! Each run takes the next [`KEYS_PER_RUN`] keys, so that a series of runs goes through all keys and no run is answered
//! from the cache of the one before. The sum of the answers is kept: it is compared with an oracle, and nothing can be
//! optimised away. The `null` programs do all but the lookup; their time is subtracted.

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
pub(crate) static LPM4: LpmTrie<[u8; 4], u32, 1, NO_PREALLOC> = LpmTrie::new();
#[btf_map]
static LPM6: LpmTrie<[u8; 16], u32, 1, NO_PREALLOC> = LpmTrie::new();
/// The number of the next run, and the sum of all answers.
#[btf_map]
pub(crate) static STATE: Array<[u64; 2], 1> = Array::new();

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
