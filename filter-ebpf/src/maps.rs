//! The maps, and the ruleset as the decision reads it from them. Layouts are `filter_common`'s; sizes come at load.

use core::cell::UnsafeCell;
use core::hint::black_box;

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::btf_maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_map;
use filter_common::abi::{Bucket, Count, Event, Hit, Hits, LastDecision, Meter, Ports, Seen, SetActions};
use filter_common::client::{Offer, PLACES};
use filter_common::decide::{Decision, Reason, Ruleset};
use filter_common::frame::Frame;
use filter_common::lookup::{Block, Root, Tables};
use filter_common::meter;
use filter_common::scope::{ClassTable, Dimension, Scopes, Words};

// Not BPF_F_RDONLY_PROG: on a frozen map with that flag and more than one element the verifier refuses every read at a
// constant offset (`bpf_map_direct_read` fails, kernel/bpf/verifier.c). User space freezes the maps; no code here writes.
#[btf_map]
static LEAVES4: Array<Block, 1> = Array::new();
#[btf_map]
static LEAVES6: Array<Block, 1> = Array::new();
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
static CLIENTS: PerCpuArray<Bucket, 1> = PerCpuArray::new();
#[btf_map]
static EVENTS: RingBuf<Event, 4096> = RingBuf::new();
#[btf_map]
static METERS: PerCpuArray<Meter, 1> = PerCpuArray::new();
#[btf_map]
static LAST: Array<LastDecision, 1> = Array::new();

/// A part of the object's zeroed memory, which is a map to the kernel: its address is in the program.
#[repr(transparent)]
struct Zeroed<T>(UnsafeCell<T>);

#[expect(unsafe_code, reason = "user space writes it")]
// SAFETY: no program writes it.
unsafe impl<T> Sync for Zeroed<T> {}

impl<T> Zeroed<T> {
    /// What user space wrote before a program ran, and froze.
    #[inline(always)]
    fn get(&self) -> &T {
        #[expect(unsafe_code, reason = "user space writes it, before a program runs")]
        // SAFETY: nothing here writes it, and user space has frozen it.
        unsafe {
            &*self.0.get()
        }
    }
}

macro_rules! zeroed {
    ($name:ident: $type:ty = $zero:expr, $section:literal) => {
        #[expect(
            unsafe_code,
            reason = "the section's name is the map's, and no other module may be thought to write it"
        )]
        // SAFETY: nothing else in the object is in this section or has this name.
        #[unsafe(link_section = $section)]
        #[unsafe(no_mangle)]
        static $name: Zeroed<$type> = Zeroed(UnsafeCell::new($zero));
    };
}

zeroed!(ROOT4: Root = [0; _], ".bss.root4");
zeroed!(ROOT6: Root = [0; _], ".bss.root6");
zeroed!(CLOCK: u64 = 0, ".bss.clock");

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
#[expect(unsafe_code, reason = "the loader finds constants by their symbol")]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static CLIENT_BUCKETS: Global<u32> = Global::new(0);
#[expect(unsafe_code, reason = "the loader finds constants by their symbol")]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static EVENT_INTERVAL: Global<u64> = Global::new(0);
#[expect(unsafe_code, reason = "the loader finds constants by their symbol")]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static EVENT_BURST: Global<u64> = Global::new(0);

/// The ruleset of this generation.
pub(crate) struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn root4(&self) -> &Root {
        ROOT4.get()
    }

    #[inline(always)]
    fn root6(&self) -> &Root {
        ROOT6.get()
    }

    #[inline(always)]
    fn block4(&self, block: u32) -> Option<&Block> {
        LEAVES4.get(block)
    }

    #[inline(always)]
    fn block6(&self, block: u32) -> Option<&Block> {
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

/// Counts a frame of `bytes` bytes that was met at `port`, and reports it where it is worth it. Counters are per CPU, so
/// plain additions are exact and no cache line is shared.
#[inline(always)]
pub(crate) fn count<F: Frame + ?Sized>(decision: &Decision, frame: &F, port: u32, egress: bool, bytes: u64) {
    if let Some(seen) = SEEN.get_ptr_mut(port) {
        #[expect(unsafe_code, reason = "a counter is written in place")]
        // SAFETY: the element is this CPU's, and no other program of weir runs on this CPU until this one returns.
        let seen = unsafe { &mut *seen };
        seen.packets[masked::<3>(decision.protocol as u32)] += 1;
        seen.bytes += bytes;
        if decision.reason as u32 != Reason::Unlisted as u32 {
            seen.hit = decision.hit(port, egress, bytes as u32);
            // What was written is read back, not remembered: the verifier walks what follows once, not once for each way by
            // which a decision is reached. Without this it walks seven times as many instructions.
            count_hit(black_box(&seen.hit), frame);
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

/// The lower bits of an index. LLVM knows from the enums' values that they are all there is, and leaves the mask out; the
/// verifier has forgotten by then, and wants it.
#[inline(always)]
fn masked<const MASK: u32>(index: u32) -> usize {
    (black_box(index) & MASK) as usize
}

/// Counts a listed packet: for its set, for its client, and as an event.
#[inline(always)]
fn count_hit<F: Frame + ?Sized>(hit: &Hit, frame: &F) {
    let now = now();
    let place = hit.set * PORT_CAPACITY.load() + hit.port;
    if let Some(hits) = HITS.get_ptr_mut(place) {
        #[expect(unsafe_code, reason = "a counter is written in place")]
        // SAFETY: as in `count`.
        let hits = unsafe { &mut *hits };
        add(&mut hits.counts[Hits::index(hit.direction, hit.v6)], hit);
        hits.last = now;
    }
    if let Some(meter) = METERS.get_ptr_mut(0) {
        #[expect(unsafe_code, reason = "a counter is written in place")]
        // SAFETY: as in `count`.
        let meter = unsafe { &mut *meter };
        if CLIENT_BUCKETS.load() != 0 && hit.is_final() {
            count_client(hit, meter, now);
        }
        if EVENT_INTERVAL.load() != 0 && hit.is_reported() {
            report(hit, frame, meter, now);
        }
    }
}

/// Counts a packet for its client, which gets a place where it has none.
#[inline(always)]
fn count_client(hit: &Hit, meter: &mut Meter, now: u64) {
    let key = hit.client_key();
    let [first, second] = key.choices(CLIENT_BUCKETS.load());
    for choice in [first, second] {
        if let Some(bucket) = bucket(choice)
            && bucket.count(&key, hit.length, now)
        {
            return;
        }
    }
    let (Some(one), Some(other)) = (offer(first), offer(second)) else { return };
    let (choice, offer) = if one.beats(&other) { (first, one) } else { (second, other) };
    let Some(bucket) = bucket(choice) else { return };
    // A free place costs nobody anything.
    if offer.last == 0 || meter::admits(&mut meter.client_due, now, meter::CLIENT_INTERVAL, meter::CLIENT_BURST) {
        meter.placed += 1;
        bucket.places[offer.place % PLACES].give(&key, meter.placed, hit.length, now);
    } else {
        meter.crowded += 1;
    }
}

/// The place that bucket `number` has for a newcomer. Not a closure: LLVM may make a BPF function of one that is called twice.
#[inline(always)]
fn offer(number: u32) -> Option<Offer> {
    let bucket = bucket(number)?;
    Some(bucket.offer())
}

#[inline(always)]
fn bucket(number: u32) -> Option<&'static mut Bucket> {
    let bucket = CLIENTS.get_ptr_mut(number)?;
    #[expect(unsafe_code, reason = "a counter is written in place")]
    // SAFETY: as in `count`; callers hold one bucket at a time.
    Some(unsafe { &mut *bucket })
}

/// Reports a packet, unless too many are.
#[inline(always)]
fn report<F: Frame + ?Sized>(hit: &Hit, frame: &F, meter: &mut Meter, now: u64) {
    if !meter::admits(&mut meter.event_due, now, EVENT_INTERVAL.load(), EVENT_BURST.load()) {
        meter.suppressed += 1;
        return;
    }
    // Nobody is woken: user space looks several times a second.
    match EVENTS.output(Event::new(frame, hit, precise_now()), BPF_RB_NO_WAKEUP.into()) {
        Ok(()) => meter.reported += 1,
        Err(_) => meter.lost += 1,
    }
}

#[inline(always)]
fn add(count: &mut Count, hit: &Hit) {
    count.packets += 1;
    count.bytes += u64::from(hit.length);
}

/// The time as user space last told it. To ask the kernel costs as much as to count a packet.
#[inline(always)]
fn now() -> u64 {
    #[expect(unsafe_code, reason = "user space changes it at any time")]
    // SAFETY: it is a word of memory that is always there.
    unsafe {
        CLOCK.0.get().read_volatile()
    }
}

#[inline(always)]
fn precise_now() -> u64 {
    #[expect(unsafe_code, reason = "a helper of the kernel without arguments")]
    // SAFETY: it reads a clock.
    unsafe {
        bpf_ktime_get_ns()
    }
}

/// True when every decision is to be logged.
#[inline(always)]
pub(crate) fn traces() -> bool {
    TRACE.load() != 0
}
