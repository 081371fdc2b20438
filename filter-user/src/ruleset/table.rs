//! Builds the prefix tables that `filter_common::lookup` searches. Must not know rules: it sees ranges and set ids.
//!
//! Memory: a root of 256 KiB a family; a chunk takes for each range 6 bytes (IPv4), 8 (IPv6; half a byte more above eight ranges)
//! or 12 (IPv6 chunks of more than 64 ranges, or with rules longer than four bytes below their slot), a node 48 bytes and 4 for each
//! run of byte values that have the same slot, a wide node 16 KiB and the same. Where IPv4 rules
//! end at the borders of /24s, which is where nearly all of the Internet's do, a node answers without a search and so stands
//! for each /16 that is not all in one set; elsewhere a node takes many times what a short chunk does, and is not searched
//! faster.
//!
//! Whatever the list, a table takes at most 24 bytes a range and 64 for each /16 that is not all in one set (IPv4), or 68 a
//! range (IPv6; 76 below a /64), and what is unused at the ends of blocks (1-2 %): a node begins at a cache line, a chunk is
//! rounded up to 16 bytes and begins with a range cut at its slot's border, so a range alone in its slot costs 16 bytes
//! (IPv4) or 32 (IPv6), and nodes come on top. A /64 that holds longer rules adds one range to its low half and two to the
//! high one.

use std::fmt;

use filter_common::lookup::{
    BLOCK_BYTES, BLOCK_STARTS, BLOCK_WORDS, Block, GROUP, MAX_UNITS, NARROW_RANGES, NODE_GROUP, NODE_HEAD, NODE_LINE,
    NODE_SLOTS, NodeHead, ROOT_SLOTS, Root, SHIFT_HIGH, SHIFT_LOW, SHIFT_WIDE, Slot, Tables, UNIT_BYTES,
    UNITS_PER_BLOCK, WIDE_MARKS, narrow_shift,
};

/// Where a run of addresses with one set starts. A table is built from a list of them: sorted, the first at address 0.
pub type Boundary<A> = (A, u32);

/// The list needs more leaves than a slot can address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {family} table would need more than {} MiB: aggregate the lists or split them over several routers", (MAX_UNITS * UNIT_BYTES) >> 20)]
pub struct TableFull {
    /// The family whose list is too long.
    pub family: &'static str,
}

/// Ranges in a /16 above which a node stands in a chunk's stead wherever the ranges end.
const NODE_ABOVE_V4: usize = 32;
/// Ranges below an IPv6 slot above which a node stands in a chunk's stead: nodes branch little there and lie deep, so they pay
/// where chunks are long.
const NODE_ABOVE_V6: usize = 64;
/// Ranges below a slot of an IPv6 root above which a wide node stands there: it takes 16 KiB, so no more than 16 bytes for each.
const WIDE_NODE_ABOVE: usize = 1024;

/// The table of one family.
#[derive(Clone)]
pub struct Table {
    /// Slots by the top 16 bits.
    pub root: Box<Root>,
    /// The leaves.
    pub blocks: Vec<Box<Block>>,
}

impl fmt::Debug for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Table {{ {} bytes }}", self.bytes())
    }
}

impl Table {
    /// What it takes in the kernel, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // A map has one element at least.
        size_of::<Root>() + self.blocks.len().max(1) * BLOCK_BYTES
    }
}

const MAX_BLOCKS: usize = MAX_UNITS / UNITS_PER_BLOCK;
const UNIT_WORDS: usize = UNIT_BYTES / 4;

/// Leaves under construction.
struct Leaves<'a> {
    blocks: Vec<Box<Block>>,
    /// The first free word of the last block.
    free: usize,
    family: &'static str,
    /// The final slot of each set, by its id.
    slots: &'a [Slot],
}

/// A leaf under construction: its unit, and its words in its block, all zero when it is new.
#[derive(Clone, Copy)]
struct Leaf {
    unit: u32,
    block: usize,
    start: usize,
}

impl<'a> Leaves<'a> {
    const fn new(family: &'static str, slots: &'a [Slot]) -> Self {
        Self { blocks: Vec::new(), free: BLOCK_STARTS, family, slots }
    }

    /// The final slot of a set. One that is not known to be blocked is only looked at for longer.
    fn of_set(&self, set: u32) -> Slot {
        self.slots.get(set as usize).copied().unwrap_or(Slot::of_set(set, false))
    }

    /// Reserves `words` words in one block, from a multiple of `align` on and before `end`.
    fn reserve(&mut self, words: usize, align: usize, end: usize) -> Result<Leaf, TableFull> {
        let full = TableFull { family: self.family };
        let mut start = self.free.next_multiple_of(align);
        if start >= BLOCK_STARTS || start + words > end {
            if self.blocks.len() >= MAX_BLOCKS {
                return Err(full);
            }
            self.blocks.push(zeros(0, self.family)?);
            start = 0;
        }
        self.free = start + words;
        let block = self.blocks.len().saturating_sub(1);
        let unit = u32::try_from(block * UNITS_PER_BLOCK + start / UNIT_WORDS).map_err(|_| full)?;
        Ok(Leaf { unit, block, start })
    }

    /// A node of these slots, one for each value of a byte.
    fn node(&mut self, slots: &[Slot; NODE_SLOTS]) -> Result<Slot, TableFull> {
        let (mut head, mut runs) = (NodeHead::default(), Vec::with_capacity(NODE_SLOTS));
        let groups = head.starts.iter_mut().zip(&mut head.last);
        for ((starts, last), slots) in groups.zip(slots.chunks(NODE_GROUP)) {
            *starts = add_runs(&mut runs, slots);
            *last = (runs.len() - 1) as u8;
        }
        let node = self.reserve(NODE_HEAD + runs.len(), NODE_LINE, BLOCK_WORDS)?;
        self.write(node, 0, head.words().into_iter().take(NODE_HEAD).chain(runs));
        Ok(Slot::node(node.unit))
    }

    /// A wide node of these slots, one for each value of 16 bits.
    fn wide_node(&mut self, slots: &[Slot; ROOT_SLOTS]) -> Result<Slot, TableFull> {
        let (mut marks, mut runs) = (Vec::with_capacity(WIDE_MARKS), Vec::new());
        for slots in slots.chunks(NODE_GROUP) {
            let starts = add_runs(&mut runs, slots);
            marks.push(u32::from(starts) | (runs.len() as u32 - 1) << 16);
        }
        let mut leaf = self.reserve(1, UNIT_WORDS, BLOCK_STARTS)?;
        let node = Slot::wide_node(leaf.unit);
        for word in marks.into_iter().chain(runs) {
            if leaf.start == BLOCK_STARTS {
                leaf = self.reserve(1, UNIT_WORDS, BLOCK_STARTS)?;
            }
            self.write(leaf, 0, [word]);
            leaf.start += 1;
            self.free = leaf.start;
        }
        Ok(node)
    }

    /// The words of a leaf from `at` on.
    fn words(&mut self, leaf: Leaf, at: usize) -> &mut [u32] {
        self.blocks.get_mut(leaf.block).and_then(|block| block.get_mut(leaf.start + at..)).unwrap_or_default()
    }

    fn write(&mut self, leaf: Leaf, at: usize, values: impl IntoIterator<Item = u32>) {
        for (word, value) in self.words(leaf, at).iter_mut().zip(values) {
            *word = value;
        }
    }
}

/// Adds the runs of a group of slots to those of the groups before it, and gives the marks of those that start in it.
fn add_runs(runs: &mut Vec<u32>, slots: &[Slot]) -> u16 {
    let mut starts = 0;
    for (at, slot) in slots.iter().enumerate() {
        if runs.last() != Some(&slot.0) {
            // Nothing for the first value.
            starts |= 1 << at >> 1;
            runs.push(slot.0);
        }
    }
    starts
}

/// An array of zeros, made on the heap: a block would strain a small stack.
fn zeros<T: Clone, const N: usize>(zero: T, family: &'static str) -> Result<Box<[T; N]>, TableFull> {
    vec![zero; N].into_boxed_slice().try_into().map_err(|_| TableFull { family })
}

/// Ranges that cover all addresses from `start` on, up to where those of the next part start. The first of them may start
/// before.
#[derive(Clone, Copy)]
struct Part<'a, A, T> {
    ranges: &'a [(A, T)],
    start: A,
}

impl<'a, A: Copy + Ord, T: Copy> Part<'a, A, T> {
    /// Splits it at `end`; `None` for the end of the addresses.
    fn split(self, end: Option<A>) -> (Self, Self) {
        // From the front: most parts are of one or two ranges, and a binary search would go through all that follow.
        let length = end.and_then(|end| self.ranges.iter().position(|range| range.0 >= end));
        let length = length.unwrap_or(self.ranges.len());
        let next_starts_at_end = self.ranges.get(length).is_some_and(|range| Some(range.0) == end);
        let used = if next_starts_at_end { length } else { length.saturating_sub(1) };
        let part = |ranges: Option<&'a [(A, T)]>, start| Self { ranges: ranges.unwrap_or_default(), start };
        (part(self.ranges.get(..length), self.start), part(self.ranges.get(used..), end.unwrap_or(self.start)))
    }

    fn firsts(&self) -> impl Iterator<Item = A> + use<'a, A, T> {
        let start = self.start;
        self.ranges.iter().map(move |range| range.0.max(start))
    }

    fn values(&self) -> impl Iterator<Item = T> + use<'a, A, T> {
        self.ranges.iter().map(|range| range.1)
    }
}

fn build_v4(mut leaves: Leaves<'_>, ranges: &[Boundary<u32>]) -> Result<Table, TableFull> {
    let mut root: Box<Root> = zeros(0, leaves.family)?;
    let mut rest = Part { ranges, start: 0 };
    for (slot, high) in root.iter_mut().zip(1..) {
        let part;
        (part, rest) = rest.split(u32::checked_mul(high, 1 << 16));
        let at_24s = part.firsts().skip(1).all(|first| first.trailing_zeros() >= 8);
        let made = if at_24s || part.ranges.len() > NODE_ABOVE_V4 { node_v4 } else { chunk_v4 };
        *slot = made(&mut leaves, part)?.0;
    }
    Ok(Table { root, blocks: leaves.blocks })
}

fn node_v4(leaves: &mut Leaves<'_>, part: Part<'_, u32, u32>) -> Result<Slot, TableFull> {
    if let [(_, set)] = part.ranges {
        return Ok(leaves.of_set(*set));
    }
    let mut slots = [Slot(0); NODE_SLOTS];
    let mut rest = part;
    for slot in &mut slots {
        let part;
        (part, rest) = rest.split(rest.start.checked_add(1 << 8));
        *slot = chunk_v4(leaves, part)?;
    }
    leaves.node(&slots)
}

fn chunk_v4(leaves: &mut Leaves<'_>, part: Part<'_, u32, u32>) -> Result<Slot, TableFull> {
    if let [(_, set)] = part.ranges {
        return Ok(leaves.of_set(*set));
    }
    let length = part.ranges.len();
    let pairs = length.div_ceil(2);
    let chunk = leaves.reserve(pairs + length, UNIT_WORDS, BLOCK_STARTS)?;
    for (index, first) in part.firsts().enumerate() {
        if let Some(pair) = leaves.words(chunk, index / 2).first_mut() {
            *pair |= (first & 0xffff) << (16 * (index % 2));
        }
    }
    for (at, set) in (pairs..).zip(part.values()) {
        leaves.write(chunk, at, [leaves.of_set(set).0]);
    }
    Ok(Slot::chunk(chunk.unit, length, false))
}

fn build_v6(mut leaves: Leaves<'_>, ranges: &[Boundary<u128>]) -> Result<Table, TableFull> {
    let high = cut_at_64(&mut leaves, ranges)?;
    let mut root: Box<Root> = zeros(0, leaves.family)?;
    let mut rest = Part { ranges: &high, start: 0 };
    for (slot, prefix) in root.iter_mut().zip(1..) {
        let part;
        (part, rest) = rest.split(u64::checked_mul(prefix, 1 << 48));
        let made = if part.ranges.len() > WIDE_NODE_ABOVE {
            wide_node(&mut leaves, part)
        } else {
            below(&mut leaves, part, SHIFT_HIGH)
        };
        *slot = made?.0;
    }
    Ok(Table { root, blocks: leaves.blocks })
}

/// Ranges over the high 64 bits. A /64 that is not all in one set becomes a range of its own, whose slot leads to the
/// chunk or node over its low 64 bits.
fn cut_at_64(leaves: &mut Leaves<'_>, ranges: &[Boundary<u128>]) -> Result<Vec<(u64, Slot)>, TableFull> {
    let mut high: Vec<(u64, Slot)> = Vec::with_capacity(ranges.len());
    let mut before = 0;
    for group in ranges.chunk_by(|a, b| a.0 >> 64 == b.0 >> 64) {
        let Some(&(address, set)) = group.first() else { continue };
        let prefix = (address >> 64) as u64;
        let starts_inside = address as u64 != 0;
        // The /64 after one that was split continues its last set, unless a range starts just there.
        if group.len() == 1 && !starts_inside {
            high.push((prefix, leaves.of_set(set)));
        } else {
            let lead = starts_inside.then_some((0, leaves.of_set(before)));
            let low = lead.into_iter().chain(group.iter().map(|&(address, set)| (address as u64, leaves.of_set(set))));
            let low: Vec<_> = low.collect();
            high.push((prefix, below(leaves, Part { ranges: &low, start: 0 }, SHIFT_LOW)?));
            if let (Some(next), Some(&(_, last))) = (prefix.checked_add(1), group.last()) {
                high.push((next, leaves.of_set(last)));
            }
        }
        before = group.last().map_or(before, |&(_, set)| set);
    }
    // Where a range does start just after a split /64, it replaces the continuation.
    high.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            *earlier = *later;
        }
        same
    });
    Ok(high)
}

fn wide_node(leaves: &mut Leaves<'_>, part: Part<'_, u64, Slot>) -> Result<Slot, TableFull> {
    let mut slots: Box<[Slot; ROOT_SLOTS]> = zeros(Slot(0), leaves.family)?;
    let mut rest = part;
    for slot in slots.iter_mut() {
        let part;
        (part, rest) = rest.split(rest.start.checked_add(1 << (SHIFT_WIDE + 8)));
        *slot = below(leaves, part, SHIFT_WIDE)?;
    }
    leaves.wide_node(&slots)
}

/// The slot for a part that a node would split at the byte at `shift`.
fn below(leaves: &mut Leaves<'_>, part: Part<'_, u64, Slot>, shift: u32) -> Result<Slot, TableFull> {
    if let [(_, only)] = part.ranges {
        return Ok(*only);
    }
    let length = part.ranges.len();
    // The last byte is never a node's: its 256 values fit a chunk.
    if length > NODE_ABOVE_V6 && shift > 0 {
        let mut slots = [Slot(0); NODE_SLOTS];
        let mut rest = part;
        for slot in &mut slots {
            let part;
            (part, rest) = rest.split(rest.start.checked_add(1 << shift));
            *slot = below(leaves, part, shift - 8)?;
        }
        return leaves.node(&slots);
    }
    let dropped = narrow_shift(shift);
    let narrow = length <= NARROW_RANGES && part.firsts().skip(1).all(|first| first.trailing_zeros() >= dropped);
    let groups = if narrow && length > GROUP { length.div_ceil(GROUP) } else { 0 };
    let words = if narrow { 2 * length + groups } else { 3 * length };
    let chunk = leaves.reserve(words, UNIT_WORDS, BLOCK_STARTS)?;
    if narrow {
        let firsts: Vec<u32> = part.firsts().map(|first| (first >> dropped) as u32).collect();
        let values: Vec<u32> = part.values().map(|slot| slot.0).collect();
        let pairs = firsts.iter().zip(&values).rev();
        leaves.write(chunk, 0, pairs.flat_map(|(first, slot)| [*first, *slot]));
        let falling: Vec<u32> = firsts.into_iter().rev().collect();
        let lasts = falling.chunks(GROUP).filter_map(|group| group.last().copied());
        leaves.write(chunk, 2 * length, lasts.take(groups));
    } else {
        leaves.write(chunk, 0, part.firsts().flat_map(|first| [(first >> 32) as u32, first as u32]));
        leaves.write(chunk, 2 * length, part.values().map(|slot| slot.0));
    }
    Ok(Slot::chunk(chunk.unit, length, !narrow))
}

/// Both tables, searched on the host exactly as the kernel does.
#[derive(Clone, Debug)]
pub struct HostTables {
    /// The IPv4 table.
    pub v4: Table,
    /// The IPv6 table.
    pub v6: Table,
}

impl Tables for HostTables {
    fn root4(&self) -> &Root {
        &self.v4.root
    }

    fn root6(&self) -> &Root {
        &self.v6.root
    }

    fn block4(&self, block: u32) -> Option<&Block> {
        self.v4.blocks.get(block as usize).map(AsRef::as_ref)
    }

    fn block6(&self, block: u32) -> Option<&Block> {
        self.v6.blocks.get(block as usize).map(AsRef::as_ref)
    }
}

impl HostTables {
    /// Builds both tables from boundaries: each list is sorted, starts at address 0, and holds ids of sets. `slots`: the final slot
    /// of each set, by its id.
    pub fn build(v4: &[Boundary<u32>], v6: &[Boundary<u128>], slots: &[Slot]) -> Result<Self, TableFull> {
        Ok(Self { v4: build_v4(Leaves::new("IPv4", slots), v4)?, v6: build_v6(Leaves::new("IPv6", slots), v6)? })
    }

    /// What both tables take in the kernel, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes()
    }
}
