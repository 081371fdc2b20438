//! Lookups alone: weir's tables and the kernel's `LPM_TRIE` asked the same keys in the same loop.
//!
//! Each run takes the next [`KEYS_PER_RUN`] keys, so that a series of runs goes through all keys and no run is answered
//! from the cache of the one before. The sum of the answers is kept: it is compared with an oracle, and nothing can be
//! optimised away. The `null` programs do all but the lookup; their time is subtracted.
//!
//! In the `_next` programs each key waits for the answer before it, as one packet's second lookup or a next table would: no
//! CPU can work on two lookups at a time. They ask for the same keys, and so have the same answers.

use core::hint::black_box;

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, xdp_action};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, LpmTrie};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use filter_common::lookup::{slot_of_v4, slot_of_v6};

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

/// Looks up a group's keys. `find` is given the group, the place of the key in it, and what the key must be changed by.
#[inline(always)]
fn run<K: 'static, const DEPENDENT: bool>(
    keys: impl Fn(u32) -> Option<&'static K>,
    find: impl Fn(&K, usize, u32) -> u32,
) -> u32 {
    let Some(state) = STATE.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    #[expect(unsafe_code, reason = "the state is updated in place")]
    // SAFETY: the benchmark runs one program at a time, on one CPU.
    let state = unsafe { &mut *state };
    let Some(keys) = keys(state[0] as u32) else { return xdp_action::XDP_ABORTED };
    let mut sum = 0_u64;
    let mut change = 0;
    let mut index = 0;
    while index < KEYS_PER_RUN {
        let answer = find(keys, index, change);
        sum += u64::from(answer);
        if DEPENDENT {
            // Always 0, for no set has an id of 31 bits; but neither LLVM nor the CPU knows before the answer is there.
            change = black_box(answer) >> 31;
        }
        index += 1;
    }
    state[0] += 1;
    state[1] += sum;
    xdp_action::XDP_PASS
}

/// The programs of one table: independent lookups, and such that wait for each other.
macro_rules! programs {
    ($($(#[$doc:meta])* $name:ident, $dependent:ident: $run:ident($find:expr);)*) => {
        $(
            $(#[$doc])*
            #[xdp]
            pub(crate) fn $name(_: XdpContext) -> u32 {
                $run::<false>($find)
            }

            /// The same, one after the other.
            #[xdp]
            pub(crate) fn $dependent(_: XdpContext) -> u32 {
                $run::<true>($find)
            }
        )*
    };
}

#[inline(always)]
fn run4<const DEPENDENT: bool>(find: impl Fn(u32) -> u32) -> u32 {
    run::<_, DEPENDENT>(|at| KEYS4.get(at), |keys: &[u32; KEYS_PER_RUN], at, change| find(keys[at] ^ change))
}

#[inline(always)]
fn run6<const DEPENDENT: bool>(find: impl Fn([u64; 2]) -> u32) -> u32 {
    run::<_, DEPENDENT>(
        |at| KEYS6.get(at),
        |keys: &[u64; 2 * KEYS_PER_RUN], at, change| find([keys[2 * at] ^ u64::from(change), keys[2 * at + 1]]),
    )
}

programs! {
    /// The loop alone, IPv4.
    null4, null4_next: run4(|key| key >> 1);
    /// weir's IPv4 table.
    weir4, weir4_next: run4(|key| slot_of_v4(&Maps, key).set());
    /// `LPM_TRIE`, IPv4.
    lpm4, lpm4_next: run4(|key| LPM4.get(&Key::new(32, key.to_be_bytes())).copied().unwrap_or(0));
    /// The loop alone, IPv6.
    null6, null6_next: run6(|[high, low]| (high ^ low) as u32 >> 1);
    /// weir's IPv6 table.
    weir6, weir6_next: run6(|key| slot_of_v6(&Maps, key).set());
    /// `LPM_TRIE`, IPv6.
    lpm6, lpm6_next: run6(|[high, low]| {
        let address = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        LPM6.get(&Key::new(128, address)).copied().unwrap_or(0)
    });
}
