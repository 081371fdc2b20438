//! Which of a set's rules speak for a packet: the layout of the scopes' tables, and their search. Must not build tables
//! (`ruleset/narrow.rs` does) nor know what a rule does.
//!
//! A set is a combination of rules, and some of them may be limited to a *scope*: devices, VLANs, clients, MAC addresses.
//! For one packet the rules whose scope does not hold it do not speak; those that are left are a combination again, and
//! so a set. To *narrow* a set is to find that one:
//!
//! 1. In each [`Dimension`] a [`ClassTable`] gives the packet's class: all keys of a class are held by the same scopes.
//!    Classes come multiplied, so that the sum over the dimensions is the number of one combination of classes.
//! 2. [`GROUPS`](crate::abi::map::GROUPS) gives each combination its group: all combinations of a group are held by the
//!    same scopes. There are few groups where there are many combinations.
//! 3. [`NARROWED`](crate::abi::map::NARROWED) has a row for each set with a scoped rule, and in it the narrowed set for
//!    each group.
//!
//! Only sets that hold a scoped rule come here ([`SetActions::scoped`](crate::abi::SetActions::scoped)): a packet that
//! no rule lists meets none of this.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::frame::Frame;
use crate::lookup::{UNLISTED, position};
use crate::packet::{Ends, Link, Meta, Protocol};

/// Runs of keys in a [`ClassTable`], at most.
pub const MAX_RUNS: usize = 512;
/// Combinations of classes, at most: a class is a `u16`, and so is a sum of them.
pub const MAX_COMBINATIONS: usize = 4096;
/// Words in an element of the maps of groups and of narrowed sets.
pub const BLOCK_WORDS: usize = 1024;

/// An element of the maps of groups and of narrowed sets.
pub type Words = [u32; BLOCK_WORDS];

/// What a scope can look at. The number is the place of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Dimension {
    /// Index of the device at whose hook the packet is met.
    Device = 0,
    /// Id of the outermost VLAN tag; 0 for none, and for a priority tag (IEEE 802.1Q section 6.9).
    Vlan = 1,
    /// IPv4 address of the client.
    Client4 = 2,
    /// IPv6 address of the client. A table of its own: every 128-bit number is an IPv6 address. Classes are shared with
    /// [`Dimension::Client4`].
    Client6 = 3,
    /// MAC address of the client, as in [`Link`].
    Mac = 4,
}

/// All of them, by number.
pub const DIMENSIONS: [Dimension; 5] =
    [Dimension::Device, Dimension::Vlan, Dimension::Client4, Dimension::Client6, Dimension::Mac];

/// A key: its high and its low 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Key {
    /// The high half; 0 for all but IPv6 addresses.
    pub high: u64,
    /// The low half.
    pub low: u64,
}

impl Key {
    /// A key of at most 64 bits.
    #[must_use]
    #[inline(always)]
    pub const fn low(low: u64) -> Self {
        Self { high: 0, low }
    }
}

/// The classes of one dimension's keys: runs of keys that cover all of them, sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClassTable {
    /// The first key of each run; that of run 0 is 0.
    pub starts: [Key; MAX_RUNS],
    /// The class of each run, multiplied.
    pub classes: [u16; MAX_RUNS],
    /// How many runs there are, 1 to [`MAX_RUNS`].
    pub runs: u64,
}

impl ClassTable {
    /// The class of `key`.
    #[must_use]
    #[inline(always)]
    pub fn class_of(&self, key: Key) -> u32 {
        // Masked, because the verifier wants a bound and a 32-bit JIT no division.
        let runs = self.runs as usize % (2 * MAX_RUNS);
        let at = position::<{ MAX_RUNS.ilog2() as u64 }>(runs, |run| reached(key, self.starts[run % MAX_RUNS]));
        u32::from(self.classes[at % MAX_RUNS])
    }
}

/// 1 where `key >= first`, else 0: the carry out of a subtraction of 128 bits. Arithmetic, because a comparison becomes
/// a branch (see [`lookup`](crate::lookup)).
#[inline(always)]
const fn reached(key: Key, first: Key) -> u64 {
    let below = borrow(key.low, first.low, 0);
    borrow(key.high, first.high, below) ^ 1
}

/// The borrow of `a - b - borrowed` (Warren: "Hacker's Delight", section 2-13).
#[inline(always)]
const fn borrow(a: u64, b: u64, borrowed: u64) -> u64 {
    let difference = a.wrapping_sub(b).wrapping_sub(borrowed);
    ((!a & b) | (!(a ^ b) & difference)) >> 63
}

/// Reads of the scopes' tables.
pub trait Scopes {
    /// The table of a dimension.
    fn classes(&self, dimension: Dimension) -> Option<&ClassTable>;
    /// Groups by combination of classes: element number `block`.
    fn groups(&self, block: u32) -> Option<&Words>;
    /// Narrowed sets, row by row: element number `block`.
    fn narrowed(&self, block: u32) -> Option<&Words>;
}

/// A packet as scopes see it.
///
/// The client is the end that is not listed, so either end may be it.
pub struct Met {
    /// The sum of the classes of device and VLAN.
    place: u32,
    family: Dimension,
    clients: Ends<Key>,
    macs: Ends<u64>,
}

impl Met {
    /// Where and by whom a packet of `protocol` is met; `clients` are its addresses.
    #[inline(always)]
    pub fn read<F: Frame + ?Sized, S: Scopes + ?Sized>(
        frame: &F,
        meta: &Meta,
        protocol: Protocol,
        clients: Ends<Key>,
        scopes: &S,
    ) -> Self {
        let Link { macs, vlan } = Link::read(frame, meta);
        let place = class(scopes, Dimension::Device, Key::low(meta.device.into()))
            + class(scopes, Dimension::Vlan, Key::low(vlan.into()));
        let family = if matches!(protocol, Protocol::Ipv6) { Dimension::Client6 } else { Dimension::Client4 };
        Self { place, family, clients, macs }
    }

    /// Narrows the destination's set, whose row is `row`: the client is the source.
    #[inline(always)]
    pub fn narrow_out<S: Scopes + ?Sized>(&self, scopes: &S, row: u32) -> u32 {
        self.narrow(scopes, row, self.clients.source, self.macs.source)
    }

    /// Narrows the source's set, whose row is `row`: the client is the destination.
    #[inline(always)]
    pub fn narrow_in<S: Scopes + ?Sized>(&self, scopes: &S, row: u32) -> u32 {
        self.narrow(scopes, row, self.clients.destination, self.macs.destination)
    }

    /// `row` is [`SetActions::scoped`](crate::abi::SetActions::scoped), not 0.
    #[inline(always)]
    fn narrow<S: Scopes + ?Sized>(&self, scopes: &S, row: u32, client: Key, mac: u64) -> u32 {
        let combination =
            self.place + class(scopes, self.family, client) + class(scopes, Dimension::Mac, Key::low(mac));
        let group = word(scopes.groups(combination / BLOCK_WORDS as u32), combination);
        let place = row - 1 + group;
        word(scopes.narrowed(place / BLOCK_WORDS as u32), place)
    }
}

#[inline(always)]
fn class<S: Scopes + ?Sized>(scopes: &S, dimension: Dimension, key: Key) -> u32 {
    scopes.classes(dimension).map_or(0, |table| table.class_of(key))
}

#[inline(always)]
fn word(words: Option<&Words>, place: u32) -> u32 {
    words.map_or(UNLISTED, |words| words[place as usize % BLOCK_WORDS])
}
