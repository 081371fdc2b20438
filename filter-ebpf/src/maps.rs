//! The maps, and the ruleset as the decision reads it from them. Layouts are `filter_common`'s; sizes come at load.

use aya_ebpf::Global;
use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::macros::btf_map;
use filter_common::abi::{Hits, LastDecision, Ports, Seen, SetActions};
use filter_common::decide::{Decision, Reason, Ruleset};
use filter_common::lookup::{Block4, Block6, Root, Tables};
use filter_common::scope::{ClassTable, Dimension, Scopes, Words};

// Not BPF_F_RDONLY_PROG: on a frozen map with that flag and more than one element the verifier refuses every read at a
// constant offset (`bpf_map_direct_read` fails, kernel/bpf/verifier.c). User space freezes the maps; no code here writes.
#[btf_map]
static ROOT4: Array<Root, 1> = Array::new();
#[btf_map]
static LEAVES4: Array<Block4, 1> = Array::new();
#[btf_map]
static ROOT6: Array<Root, 1> = Array::new();
#[btf_map]
static LEAVES6: Array<Block6, 1> = Array::new();
#[btf_map]
static SETS: Array<SetActions, 1> = Array::new();
#[btf_map]
static CLASSES: Array<ClassTable, 1> = Array::new();
#[btf_map]
static GROUPS: Array<Words, 1> = Array::new();
#[btf_map]
static NARROWED: Array<Words, 1> = Array::new();
#[btf_map]
static PORTS: Array<Ports, 1> = Array::new();
#[btf_map]
static HITS: PerCpuArray<Hits, 1> = PerCpuArray::new();
#[btf_map]
static SEEN: PerCpuArray<Seen, 1> = PerCpuArray::new();
#[btf_map]
static LAST: Array<LastDecision, 1> = Array::new();

// Constants of one load: the verifier knows their values and drops the branches they close.
#[expect(unsafe_code, reason = "the loader finds constants by their symbol")]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static PORT_CAPACITY: Global<u32> = Global::new(1);
#[expect(unsafe_code, reason = "the loader finds constants by their symbol")]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static TRACE: Global<u32> = Global::new(0);
#[expect(unsafe_code, reason = "the loader finds constants by their symbol")]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static RECORD: Global<u32> = Global::new(0);

/// The ruleset of this generation.
pub(crate) struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn root4(&self) -> Option<&Root> {
        ROOT4.get(0)
    }

    #[inline(always)]
    fn root6(&self) -> Option<&Root> {
        ROOT6.get(0)
    }

    #[inline(always)]
    fn block4(&self, block: u32) -> Option<&Block4> {
        LEAVES4.get(block)
    }

    #[inline(always)]
    fn block6(&self, block: u32) -> Option<&Block6> {
        LEAVES6.get(block)
    }
}

impl Scopes for Maps {
    #[inline(always)]
    fn classes(&self, dimension: Dimension) -> Option<&ClassTable> {
        CLASSES.get(dimension as u32)
    }

    #[inline(always)]
    fn groups(&self, block: u32) -> Option<&Words> {
        GROUPS.get(block)
    }

    #[inline(always)]
    fn narrowed(&self, block: u32) -> Option<&Words> {
        NARROWED.get(block)
    }
}

impl Ruleset for Maps {
    #[inline(always)]
    fn actions(&self, set: u32) -> Option<&SetActions> {
        SETS.get(set)
    }
}

/// The ports of the device with index `ifindex`; those of unknown devices when weir was not told of it.
#[inline(always)]
pub(crate) fn ports(ifindex: u32) -> Ports {
    PORTS.get(ifindex).copied().unwrap_or_default()
}

/// Counts a frame of `bytes` bytes. Counters are per CPU, so plain additions are exact and no cache line is shared.
#[inline(always)]
pub(crate) fn count(decision: &Decision, port: u32, bytes: u64) {
    if let Some(seen) = SEEN.get_ptr_mut(port) {
        #[expect(unsafe_code, reason = "a counter is written in place")]
        // SAFETY: the element is this CPU's, and no other program of weir runs on this CPU until this one returns.
        let seen = unsafe { &mut *seen };
        seen.packets[decision.protocol as usize & 3] += 1;
        seen.bytes += bytes;
    }
    if decision.reason as u32 != Reason::Unlisted as u32 {
        let place = decision.set * PORT_CAPACITY.load() + port;
        if let Some(hits) = HITS.get_ptr_mut(place) {
            #[expect(unsafe_code, reason = "a counter is written in place")]
            // SAFETY: as above.
            let hits = unsafe { &mut *hits };
            let count = &mut hits.counts[Hits::index(decision.direction as u32, decision.protocol as u32) & 3];
            count.packets += 1;
            count.bytes += bytes;
        }
    }
    if RECORD.load() != 0 {
        if let Some(last) = LAST.get_ptr_mut(0) {
            #[expect(unsafe_code, reason = "the record is written in place")]
            // SAFETY: as above.
            unsafe {
                *last = decision.record();
            }
        }
    }
}

/// True when every decision is to be logged.
#[inline(always)]
pub(crate) fn traces() -> bool {
    TRACE.load() != 0
}
