//! The maps, and the ruleset as the decision reads it from them. Layouts are `filter_common`'s; sizes come at load.

use core::cell::UnsafeCell;
use core::hint::black_box;

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::btf_maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_map;
use filter_common::abi::{
    BUCKETS, Bucket, Buckets, ClientKey, Event, Hit, Hits, LastDecision, Meter, Ports, Seen, SetActions, global,
};
use filter_common::client::{Choices, Offer, PLACES};
use filter_common::decide::{Decision, Reason, Ruleset, Verdict};
use filter_common::frame::Frame;
use filter_common::lookup::{Block, Root, Tables};
use filter_common::meter;
use filter_common::packet::{Layer, Packet, Protocol};
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
pub(crate) static HITS: PerCpuArray<Hits, 1> = PerCpuArray::new();
#[btf_map]
static SEEN: PerCpuArray<Seen, 1> = PerCpuArray::new();
#[btf_map]
static CLIENTS: PerCpuArray<Buckets, 1> = PerCpuArray::new();
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
static WATCH: Global<u32> = Global::new(0);
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

/// The ports of the device with index `ifindex`; those of unknown devices when weir was not told of it. Never none.
///
/// Unknown devices' are read too, from the place of index 0, which no device has: the verifier walks all that follows once more for
/// a number that it knows.
#[inline(always)]
pub(crate) fn ports(ifindex: u32) -> Option<&'static Ports> {
    match PORTS.get(ifindex) {
        Some(ports) => Some(ports),
        None => PORTS.get(0),
    }
}

/// Where frames are counted that were met at `port`; where there is no such port, those of an unknown device. Never none. It is
/// this CPU's: counters are per CPU, so plain additions are exact and no cache line is shared.
#[inline(always)]
pub(crate) fn seen(port: u32) -> Option<&'static mut Seen> {
    let seen = match SEEN.get_ptr_mut(port) {
        Some(seen) => seen,
        None => SEEN.get_ptr_mut(0)?,
    };
    #[expect(unsafe_code, reason = "a counter is written in place")]
    // SAFETY: the element is this CPU's, no other program of weir runs on this CPU until this one returns, and this one
    // asks once.
    Some(unsafe { &mut *seen })
}

/// Counts a frame of `bytes` bytes that carries `packet`, and gives the packet back. Where it is was read back from memory, not
/// remembered: the verifier walks what follows once, and not once for each place in which an IP header can be.
#[inline(always)]
pub(crate) fn see(seen: &mut Seen, packet: Packet, layer: Layer, bytes: u64) -> Packet {
    let hit = &mut seen.hit;
    (hit.protocol, hit.network, hit.length) = (packet.protocol as u32, packet.network as u32, bytes as u32);
    // LLVM knows that there are no other protocols, and leaves the mask out; the verifier has forgotten, and wants it.
    seen.packets[(reread(&seen.hit.protocol) & 3) as usize] += 1;
    seen.bytes += bytes;
    Packet { network: network(&seen.hit, layer), ..packet }
}

/// Where the IP header of a packet is, as memory says.
#[inline(always)]
fn network(hit: &Hit, layer: Layer) -> usize {
    Packet::within(reread(&hit.network) as usize, layer)
}

/// What memory holds, whatever LLVM thinks that was written there.
#[inline(always)]
fn reread(word: &u32) -> u32 {
    #[expect(unsafe_code, reason = "no safe read is left alone by LLVM")]
    // SAFETY: it is a reference.
    unsafe {
        core::ptr::from_ref(word).read_volatile()
    }
}

/// Counts a listed packet, the one that was seen last: for its set, for its client, and as an event.
///
/// What is in memory is read there again where it is needed: to keep it over a lookup is a store and a load as well.
#[inline(always)]
pub(crate) fn count<F: Frame + ?Sized, const EGRESS: bool>(
    seen: &mut Seen,
    decision: &Decision,
    frame: &F,
    layer: Layer,
    port: u32,
) {
    let (client, v6) =
        ([decision.client.high, decision.client.low], reread(&seen.hit.protocol) == Protocol::Ipv6 as u32);
    seen.hit.key = ClientKey::new(client, decision.set, port, decision.direction as u32, v6);
    seen.hit.reason = decision.reason as u32;
    count_hit(&seen.hit);
    if CLIENT_BUCKETS.load() != 0 && seen.hit.is_final(EGRESS) {
        count_client(&seen.hit);
    }
    if seen.hit.is_reported(EGRESS) {
        report(seen, frame, layer);
    }
}

/// Notes that a packet is in no list, for whoever records or logs all decisions.
#[inline(always)]
pub(crate) fn note(seen: &mut Seen) {
    // LLVM must not know that it is zero: it would call `memset`, which 32-bit JITs cannot.
    let nothing = black_box(0);
    seen.hit.key = ClientKey { high: nothing, low: nothing, met: nothing };
    seen.hit.reason = Reason::Unlisted as u32;
}

/// Writes down what was decided, where the object was loaded for it.
#[inline(always)]
pub(crate) fn record(seen: &Seen) {
    if WATCH.load() & global::WATCH_RECORD == 0 {
        return;
    }
    if let Some(last) = LAST.get_ptr_mut(0) {
        #[expect(unsafe_code, reason = "the record is written in place")]
        // SAFETY: as in `seen`.
        unsafe {
            *last = seen.hit.record();
        }
    }
}

#[inline(always)]
pub(crate) fn count_hit(hit: &Hit) {
    let place = hit.key.set() * PORT_CAPACITY.load() + hit.key.port();
    let Some(hits) = HITS.get_ptr_mut(place) else { return };
    #[expect(unsafe_code, reason = "a counter is written in place")]
    // SAFETY: as in `seen`.
    let hits = unsafe { &mut *hits };
    let count = &mut hits.counts[Hits::index(hit.key.direction(), hit.key.v6())];
    count.packets += 1;
    count.bytes += u64::from(hit.length);
    hits.last = now();
}

/// What this CPU may still report. Not asked for where nothing is to be reported: most packets are of clients that have a place,
/// and over the rate of events.
#[inline(always)]
fn meter() -> Option<&'static mut Meter> {
    let meter = METERS.get_ptr_mut(0)?;
    #[expect(unsafe_code, reason = "a counter is written in place")]
    // SAFETY: as in `seen`; callers hold one at a time.
    Some(unsafe { &mut *meter })
}

/// Counts a packet for its client, which gets a place where it has none.
#[inline(always)]
pub(crate) fn count_client(hit: &Hit) {
    let key = &hit.key;
    let Choices { first, second, place } = key.choices(CLIENT_BUCKETS.load());
    for choice in [first, second] {
        if let Some(bucket) = bucket(choice)
            && bucket.count(key, place, hit.length, now())
        {
            return;
        }
    }
    let now = now();
    let (Some(one), Some(other)) = (offer(first, place), offer(second, place)) else { return };
    let (choice, offer) = if one.beats(&other) { (first, one) } else { (second, other) };
    let (Some(bucket), Some(meter)) = (bucket(choice), meter()) else { return };
    // A free place costs nobody anything.
    if offer.last == 0 || meter::admits(&mut meter.client_due, now, meter::CLIENT_INTERVAL, meter::CLIENT_BURST) {
        meter.placed += 1;
        bucket.places[offer.place % PLACES].give(key, meter.placed, hit.length, now);
    } else {
        meter.crowded += 1;
    }
}

/// The place that bucket `number` has for a newcomer. Not a closure: LLVM may make a BPF function of one that is called twice.
#[inline(always)]
fn offer(number: u32, from: usize) -> Option<Offer> {
    let bucket = bucket(number)?;
    Some(bucket.offer(from))
}

#[inline(always)]
fn bucket(number: u32) -> Option<&'static mut Bucket> {
    let buckets = CLIENTS.get_ptr_mut(number / BUCKETS as u32)?;
    #[expect(unsafe_code, reason = "a counter is written in place")]
    // SAFETY: as in `seen`; callers hold one bucket at a time.
    Some(unsafe { &mut (*buckets)[number as usize % BUCKETS] })
}

/// Reports a packet, unless too many are.
#[inline(always)]
fn report<F: Frame + ?Sized>(seen: &mut Seen, frame: &F, layer: Layer) {
    let now = now();
    if now < seen.quiet {
        seen.suppressed += 1;
        return;
    }
    if EVENT_INTERVAL.load() == 0 {
        return;
    }
    let Some(meter) = meter() else { return };
    if !meter::admits(&mut meter.event_due, now, EVENT_INTERVAL.load(), EVENT_BURST.load()) {
        seen.quiet = meter.event_due - EVENT_BURST.load();
        seen.suppressed += 1;
        return;
    }
    // Nobody is woken: user space looks several times a second.
    match EVENTS.output(Event::new(frame, &seen.hit, network(&seen.hit, layer), precise_now()), BPF_RB_NO_WAKEUP.into())
    {
        Ok(()) => meter.reported += 1,
        Err(_) => meter.lost += 1,
    }
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

/// What is to become of a listed packet, or a watched one. It is read back, so that the verifier walks the long way through the
/// log once and not for each verdict.
#[inline(always)]
pub(crate) fn verdict(seen: &Seen) -> Verdict {
    if reread(&seen.hit.reason) == Reason::Blocked as u32 { Verdict::Drop } else { Verdict::Pass }
}

/// True where every decision is to be told of; elsewhere the verifier removes what tells.
#[inline(always)]
pub(crate) fn watched() -> bool {
    WATCH.load() != 0
}

/// True where every decision is to be logged.
#[inline(always)]
pub(crate) fn traces() -> bool {
    WATCH.load() & global::WATCH_TRACE != 0
}
