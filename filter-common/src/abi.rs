//! Map names and map values that the kernel and the user side share. Values hold integers and byte arrays only.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::client::PLACES;
#[cfg(feature = "user")]
use crate::scope::ClassTable;

/// Version of everything in this file and of the table layout; pinned state of another version is refused.
pub const ABI_VERSION: u32 = 8;

/// Names of the maps, as the object declares them. The kernel keeps 15 characters.
pub mod map {
    /// Array, 1 element: the IPv4 root. A section of the object: programs know its address, and need no lookup.
    pub const ROOT4: &str = ".bss.root4";
    /// Array of 64 KiB elements: the IPv4 leaves.
    pub const LEAVES4: &str = "LEAVES4";
    /// As [`ROOT4`], IPv6.
    pub const ROOT6: &str = ".bss.root6";
    /// Array of 64 KiB elements: the IPv6 leaves.
    pub const LEAVES6: &str = "LEAVES6";
    /// Array by set id: [`SetActions`](super::SetActions).
    pub const SETS: &str = "SETS";
    /// Array by dimension: [`ClassTable`](crate::scope::ClassTable).
    pub const CLASSES: &str = "CLASSES";
    /// Array of 4 KiB elements, by combination of classes: the group.
    pub const GROUPS: &str = "GROUPS";
    /// Array of 4 KiB elements, row by row: the narrowed set for each group.
    pub const NARROWED: &str = "NARROWED";
    /// Array by interface index: [`Ports`](super::Ports).
    pub const PORTS: &str = "PORTS";
    /// Per-CPU array by set id x port: [`Hits`](super::Hits).
    pub const HITS: &str = "HITS";
    /// Per-CPU array by port: [`Seen`](super::Seen).
    pub const SEEN: &str = "SEEN";
    /// Per-CPU array of [`Buckets`](super::Buckets), which are numbered as [`ClientKey::choices`](super::ClientKey::choices) says.
    pub const CLIENTS: &str = "CLIENTS";
    /// Ring buffer of [`Event`](super::Event)s.
    pub const EVENTS: &str = "EVENTS";
    /// Per-CPU array, 1 element: [`Meter`](super::Meter).
    pub const METERS: &str = "METERS";
    /// Array, 1 element, `u64`: the time, as in [`Hits::last`](super::Hits::last). User space winds it several times a second.
    /// A section of the object, as [`ROOT4`].
    pub const CLOCK: &str = ".bss.clock";
    /// Array, 1 element: [`LastDecision`](super::LastDecision), for test runs.
    pub const LAST: &str = "LAST";
}

/// Names of the object's constants, set when it is loaded and frozen from then on.
pub mod global {
    /// `u32`: ports that [`HITS`](super::map::HITS) has room for.
    pub const PORT_CAPACITY: &str = "PORT_CAPACITY";
    /// `u32`: buckets for clients; 0 counts none.
    pub const CLIENT_BUCKETS: &str = "CLIENT_BUCKETS";
    /// `u64`: nanoseconds between two events of one CPU, in the long run; 0 reports none.
    pub const EVENT_INTERVAL: &str = "EVENT_INTERVAL";
    /// `u64`: how many nanoseconds' worth of events may come at once.
    pub const EVENT_BURST: &str = "EVENT_BURST";
    /// `u32`: what is told of every decision: [`WATCH_TRACE`], [`WATCH_RECORD`], their sum, or 0 for nothing.
    pub const WATCH: &str = "WATCH";
    /// It is logged.
    pub const WATCH_TRACE: u32 = 1;
    /// It is written to [`LAST`](super::map::LAST).
    pub const WATCH_RECORD: u32 = 2;
}

/// Declares a map value: plain, without padding, valid for any bytes (the derives prove it), and accepted by aya.
macro_rules! map_value {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* }

        impl Default for $name {
            #[inline(always)]
            fn default() -> Self {
                FromZeros::new_zeroed()
            }
        }

        #[cfg(feature = "user")]
        #[expect(unsafe_code, reason = "aya cannot derive Pod")]
        // SAFETY: the derives above refuse padding, pointers and invalid bit patterns; the struct is Copy and 'static.
        unsafe impl aya::Pod for $name {}
    };
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya cannot derive Pod")]
// SAFETY: its derives refuse padding, pointers and invalid bit patterns; it is Copy and 'static.
unsafe impl aya::Pod for ClassTable {}

map_value! {
    /// What to do with a packet whose address is in a set, by direction: values of [`Action`](crate::decide::Action).
    pub struct SetActions {
        /// The destination is in the set.
        pub out: u32,
        /// The source is in the set.
        pub in_: u32,
        /// 0: every rule of the set speaks for every packet. Else 1 and the place of the set's row in
        /// [`NARROWED`](map::NARROWED): the set must be narrowed first ([`scope`](crate::scope)).
        pub scoped: u32,
    }
}

map_value! {
    /// Port numbers of a device: where its packets are counted. 0 is the port of devices that weir does not know.
    pub struct Ports {
        /// Port of the ingress hook.
        pub ingress: u32,
        /// Port of the egress hook.
        pub egress: u32,
    }
}

map_value! {
    /// A packet counter.
    pub struct Count {
        /// Packets; on tc hooks a GSO packet counts once.
        pub packets: u64,
        /// Bytes of the frames, from the Ethernet header, or from the IP header on devices that have none.
        pub bytes: u64,
    }
}

map_value! {
    /// Packets that met a set on a port.
    pub struct Hits {
        /// By direction (out, in), then by family (IPv4, IPv6): see [`Hits::index`].
        pub counts: [Count; 4],
        /// When the last of them came, in nanoseconds of `CLOCK_MONOTONIC` and as exact as [`CLOCK`](map::CLOCK) is; 0 for
        /// never.
        pub last: u64,
    }
}

impl Hits {
    /// Place of a counter in [`Hits::counts`].
    #[must_use]
    #[inline(always)]
    pub const fn index(direction: u32, v6: bool) -> usize {
        ((direction & 1) << 1 | v6 as u32) as usize
    }
}

map_value! {
    /// All packets that passed a port's hook, listed or not.
    pub struct Seen {
        /// By [`Protocol`](crate::packet::Protocol): IPv4, IPv6, not IP, truncated.
        pub packets: [u64; 4],
        /// Bytes, counted as in [`Count::bytes`].
        pub bytes: u64,
        /// The latest listed packet: the program's scratch memory.
        pub hit: Hit,
        /// Nothing is reported before this time: so long leaves [`Meter::event_due`] no room. Saves a look at it.
        pub quiet: u64,
        /// Events that were over the rate.
        pub suppressed: u64,
    }
}

map_value! {
    /// A listed packet, between its decision and its count. Where decisions are recorded or logged, any packet.
    pub struct Hit {
        /// Whose it is, and what it met.
        pub key: ClientKey,
        /// [`Reason`](crate::decide::Reason).
        pub reason: u32,
        /// [`Protocol`](crate::packet::Protocol).
        pub protocol: u32,
        /// Offset of the IP header in bytes from the frame's start.
        pub network: u32,
        /// Bytes of the frame, counted as in [`Count::bytes`].
        pub length: u32,
    }
}

map_value! {
    /// A client and what it met.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct ClientKey {
        /// High half of its address; 0 for IPv4.
        pub high: u64,
        /// Low half of its address, or the IPv4 address.
        pub low: u64,
        /// What it met, in one word that is compared at once. From the highest bit on: 32 bits of the set of the listed end,
        /// never 0; 30 of the port; one of [`Direction`](crate::decide::Direction); one that is 1 for IPv6.
        pub met: u64,
    }
}

impl ClientKey {
    /// The key of the client at `address`, given as its high and its low half.
    #[must_use]
    #[inline(always)]
    pub const fn new(address: [u64; 2], set: u32, port: u32, direction: u32, v6: bool) -> Self {
        let [high, low] = address;
        Self { high, low, met: (set as u64) << 32 | (port << 2 | direction << 1 | v6 as u32) as u64 }
    }

    /// The set of the listed end.
    #[must_use]
    #[inline(always)]
    pub const fn set(&self) -> u32 {
        (self.met >> 32) as u32
    }

    /// The port.
    #[must_use]
    #[inline(always)]
    pub const fn port(&self) -> u32 {
        self.met as u32 >> 2
    }

    /// [`Direction`](crate::decide::Direction).
    #[must_use]
    #[inline(always)]
    pub const fn direction(&self) -> u32 {
        self.met as u32 >> 1 & 1
    }

    /// True for IPv6.
    #[must_use]
    #[inline(always)]
    pub const fn v6(&self) -> bool {
        self.met & 1 != 0
    }
}

map_value! {
    /// Packets of a client that met a set on a port: 64 bytes, a cache line.
    pub struct Client {
        /// Who and what. All zero where the place is free.
        pub key: ClientKey,
        /// Which of the clients that had this CPU's places it is, counted from 1. One that lost its place and came back is told
        /// apart by it.
        pub serial: u64,
        /// When its last packet came, as in [`Hits::last`].
        pub last: u64,
        /// Its packets.
        pub count: Count,
        /// 0.
        pub rest: u64,
    }
}

map_value! {
    /// A few places in the table of clients ([`client`](crate::client)).
    pub struct Bucket {
        /// The places.
        pub places: [Client; PLACES],
    }
}

/// Buckets in an element of the table of clients: few elements, whose addresses are in the cache.
pub const BUCKETS: usize = 16;
/// An element of the table of clients.
pub type Buckets = [Bucket; BUCKETS];

map_value! {
    /// What one CPU may still report, and what it did not.
    pub struct Meter {
        /// When the next event is due, were events to come evenly ([`meter`](crate::meter)).
        pub event_due: u64,
        /// Likewise, the next client that gets a place.
        pub client_due: u64,
        /// Events reported.
        pub reported: u64,
        /// Events that found the ring buffer full.
        pub lost: u64,
        /// Clients that got a place.
        pub placed: u64,
        /// Packets whose client got none.
        pub crowded: u64,
    }
}

map_value! {
    /// One packet that was dropped, or would have been, as the program saw it.
    pub struct Event {
        /// When, in nanoseconds of `CLOCK_MONOTONIC`.
        pub time: u64,
        /// The set of the listed address.
        pub set: u32,
        /// The port.
        pub port: u32,
        /// [`Reason`](crate::decide::Reason): `Blocked` or `Monitored`.
        pub reason: u32,
        /// [`Direction`](crate::decide::Direction).
        pub direction: u32,
        /// Bytes of the frame, counted as in [`Count::bytes`].
        pub length: u32,
        /// Bytes in `headers` that are the packet's; the rest is 0.
        pub copied: u32,
        /// The packet from its IP header on: its bytes in their order, whatever the CPU's is.
        pub headers: [u64; crate::event::PIECES],
    }
}

map_value! {
    /// The decision on the latest frame, as integers.
    pub struct LastDecision {
        /// [`Reason`](crate::decide::Reason).
        pub reason: u32,
        /// [`Protocol`](crate::packet::Protocol).
        pub protocol: u32,
        /// [`Direction`](crate::decide::Direction).
        pub direction: u32,
        /// The set id.
        pub set: u32,
        /// Address of the client: its high and its low half.
        pub client: [u64; 2],
    }
}
