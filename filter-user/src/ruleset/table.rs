//! Builds the prefix tables that `filter_common::lookup` searches. Must not know rules: it sees ranges and set ids.
//!
//! Memory: a root of 256 KiB a family, and for each range 6 bytes (IPv4), 8 bytes (IPv6) or 12 (IPv6 chunks with rules
//! longer than four bytes below their slot), plus 1 KiB for each node. A table is first built with nodes over short
//! chunks, which is fast to search; where that takes more than [`GENEROUS_BYTES`], it is built again with nodes only
//! where a chunk cannot hold the ranges, so that nodes add at most 4 bytes a range and level whatever the list.
//!
//! Whatever the list, such a frugal table takes at most 20 bytes a range (IPv4) or 52 (IPv6; 60 below a /64), and what
//! is unused at the ends of blocks (2-3 %): a chunk is rounded up to 16 bytes and begins with a range cut at its slot's
//! border, so a range alone in its slot costs 16 bytes (IPv4) or 32 (IPv6), and nodes come on top. A /64 that holds
//! longer rules adds one range to its low half and two to the high one.

use std::fmt;

use filter_common::lookup::{
    BLOCK_BYTES, Block4, Block6, CHUNK_RANGES, MAX_UNITS, NODE_SLOTS, Root, SHIFT_HIGH, SHIFT_LOW, Slot, Tables,
    UNIT_BYTES, narrow_shift,
};

/// What a table may take in the kernel before its builder saves on nodes.
pub const GENEROUS_BYTES: usize = 8 << 20;
/// Ranges above which a chunk gives way to a node, while memory is no concern. An IPv6 range takes more bytes, so fewer of
/// them fill a cache line.
const NODE_ABOVE_V4: usize = 32;
const NODE_ABOVE_V6: usize = 16;

/// Where a run of addresses with one set starts. A table is built from a list of them: sorted, the first at address 0.
pub type Boundary<A> = (A, u32);

/// The list needs more leaves than a slot can address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {family} table would need more than {} MiB: aggregate the lists or split them over several routers", (MAX_UNITS * UNIT_BYTES) >> 20)]
pub struct TableFull {
    /// The family whose list is too long.
    pub family: &'static str,
}

/// Leaves under construction: `W` is the word a block is made of.
struct Leaves<W, const WORDS: usize> {
    blocks: Vec<Box<[W; WORDS]>>,
    /// The first free word of the last block.
    free: usize,
    family: &'static str,
    node_above: usize,
}

impl<W: Copy + Default, const WORDS: usize> Leaves<W, WORDS> {
    const WORDS_PER_UNIT: usize = WORDS * UNIT_BYTES / BLOCK_BYTES;

    fn new(family: &'static str, node_above: usize) -> Self {
        Self { blocks: Vec::new(), free: WORDS, family, node_above }
    }

    /// Reserves `words` words in one block. Gives their unit and the words, all zero.
    fn reserve(&mut self, words: usize) -> Result<(u32, &mut [W]), TableFull> {
        let start = self.free.next_multiple_of(Self::WORDS_PER_UNIT);
        let start = if start + words > WORDS { 0 } else { start };
        if start == 0 {
            self.blocks.push(zeros(self.family)?);
        }
        self.free = start + words;
        let full = TableFull { family: self.family };
        let earlier_blocks = self.blocks.len().saturating_sub(1);
        let unit = earlier_blocks * (BLOCK_BYTES / UNIT_BYTES) + start / Self::WORDS_PER_UNIT;
        let unit = u32::try_from(unit).ok().filter(|&unit| (unit as usize) < MAX_UNITS).ok_or(full)?;
        let block = self.blocks.last_mut().ok_or(full)?;
        block.get_mut(start..start + words).map(|words| (unit, words)).ok_or(full)
    }
}

/// An array of zeros, made on the heap: a block would strain a small stack.
fn zeros<W: Clone + Default, const N: usize>(family: &'static str) -> Result<Box<[W; N]>, TableFull> {
    vec![W::default(); N].into_boxed_slice().try_into().map_err(|_| TableFull { family })
}

/// The IPv4 table.
#[derive(Clone)]
pub struct Table4 {
    /// Slots by the top 16 bits.
    pub root: Box<Root>,
    /// The leaves.
    pub blocks: Vec<Box<Block4>>,
}

/// The IPv6 table.
#[derive(Clone)]
pub struct Table6 {
    /// Slots by the top 16 bits.
    pub root: Box<Root>,
    /// The leaves.
    pub blocks: Vec<Box<Block6>>,
}

impl fmt::Debug for Table4 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Table4 {{ {} bytes }}", self.bytes())
    }
}

impl fmt::Debug for Table6 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Table6 {{ {} bytes }}", self.bytes())
    }
}

/// Cuts `ranges`, which cover at least all addresses from `first` on, to those that start before `end` (all, where
/// `end` is `None`). The first of them is moved up to `first`; `ranges` keeps those that reach `end` or start after it.
fn cut<'a, A: Copy + Ord, T: Copy>(
    ranges: &mut &'a [(A, T)],
    first: A,
    end: Option<A>,
) -> impl ExactSizeIterator<Item = (A, T)> + Clone + use<'a, A, T> {
    let here = *ranges;
    let length = end.map_or(here.len(), |end| here.partition_point(|range| range.0 < end));
    let next_starts_at_end = here.get(length).is_some_and(|range| Some(range.0) == end);
    let used = if next_starts_at_end { length } else { length.saturating_sub(1) };
    *ranges = here.get(used..).unwrap_or_default();
    here.iter().take(length).map(move |&(start, value)| (start.max(first), value))
}

impl Table4 {
    fn build(ranges: &[Boundary<u32>], node_above: usize) -> Result<Self, TableFull> {
        let mut leaves = Leaves::new("IPv4", node_above);
        let mut root: Box<Root> = zeros(leaves.family)?;
        let mut rest = ranges;
        for (slot, high) in root.iter_mut().zip(0_u32..) {
            let here = cut(&mut rest, high << 16, (high + 1).checked_shl(16).filter(|&end| end != 0));
            *slot = if here.len() > leaves.node_above {
                Self::node(&mut leaves, &here.collect::<Vec<_>>(), high << 16)?.0
            } else {
                Self::chunk(&mut leaves, here)?.0
            };
        }
        Ok(Self { root, blocks: leaves.blocks })
    }

    fn node<const WORDS: usize>(
        leaves: &mut Leaves<u16, WORDS>,
        ranges: &[Boundary<u32>],
        start: u32,
    ) -> Result<Slot, TableFull> {
        let mut rest = ranges;
        let mut slots = Vec::with_capacity(NODE_SLOTS);
        for byte in 0..NODE_SLOTS as u32 {
            let first = start | (byte << 8);
            slots.push(Self::chunk(leaves, cut(&mut rest, first, first.checked_add(0x100)))?);
        }
        let (unit, words) = leaves.reserve(2 * NODE_SLOTS)?;
        write_halves(words, &slots);
        Ok(Slot::node(unit))
    }

    fn chunk<const WORDS: usize>(
        leaves: &mut Leaves<u16, WORDS>,
        mut ranges: impl ExactSizeIterator<Item = Boundary<u32>> + Clone,
    ) -> Result<Slot, TableFull> {
        let length = ranges.len();
        if length == 1 {
            return Ok(Slot::set(ranges.next().map_or(0, |(_, set)| set)));
        }
        let (unit, words) = leaves.reserve(3 * length)?;
        let (starts, slots) = words.split_at_mut(length);
        for (word, (first, _)) in starts.iter_mut().zip(ranges.clone()) {
            *word = first as u16;
        }
        for (pair, (_, set)) in slots.chunks_exact_mut(2).zip(ranges) {
            write_halves(pair, &[Slot::set(set)]);
        }
        Ok(Slot::chunk(unit, length, false))
    }

    /// What the table takes in the kernel, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Root>() + self.blocks.len().max(1) * BLOCK_BYTES
    }
}

/// Writes slots as pairs of 16-bit words, low half first.
fn write_halves(words: &mut [u16], slots: &[Slot]) {
    for (pair, slot) in words.chunks_exact_mut(2).zip(slots) {
        pair.copy_from_slice(&[slot.0 as u16, (slot.0 >> 16) as u16]);
    }
}

/// Writes 32-bit items two in a word, the even one in the low half.
fn write_pairs(words: &mut [u64], items: impl Iterator<Item = u32>) {
    for (index, item) in items.enumerate() {
        if let Some(word) = words.get_mut(index / 2) {
            *word |= u64::from(item) << (32 * (index % 2));
        }
    }
}

impl Table6 {
    fn build(ranges: &[Boundary<u128>], node_above: usize) -> Result<Self, TableFull> {
        let mut leaves = Leaves::new("IPv6", node_above);
        let high = cut_at_64(&mut leaves, ranges)?;
        let mut root: Box<Root> = zeros(leaves.family)?;
        let mut rest = high.as_slice();
        for (slot, prefix) in root.iter_mut().zip(0_u64..) {
            let first = prefix << 48;
            let here = cut(&mut rest, first, first.checked_add(1 << 48));
            *slot = below(&mut leaves, &here.collect::<Vec<_>>(), first, SHIFT_HIGH)?.0;
        }
        Ok(Self { root, blocks: leaves.blocks })
    }

    /// What the table takes in the kernel, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Root>() + self.blocks.len().max(1) * BLOCK_BYTES
    }
}

type Leaves6 = Leaves<u64, { BLOCK_BYTES / 8 }>;

/// Ranges over the high 64 bits. A /64 that is not all in one set becomes a range of its own, whose slot leads to the
/// chunk or node over its low 64 bits.
fn cut_at_64(leaves: &mut Leaves6, ranges: &[Boundary<u128>]) -> Result<Vec<(u64, Slot)>, TableFull> {
    let mut high: Vec<(u64, Slot)> = Vec::with_capacity(ranges.len());
    let mut before = 0;
    for group in ranges.chunk_by(|a, b| a.0 >> 64 == b.0 >> 64) {
        let Some(&(address, set)) = group.first() else { continue };
        let prefix = (address >> 64) as u64;
        let starts_inside = address as u64 != 0;
        // The /64 after one that was split continues its last set, unless a range starts just there.
        if group.len() == 1 && !starts_inside {
            high.push((prefix, Slot::set(set)));
        } else {
            let lead = starts_inside.then_some((0, Slot::set(before)));
            let low = lead.into_iter().chain(group.iter().map(|&(address, set)| (address as u64, Slot::set(set))));
            high.push((prefix, below(leaves, &low.collect::<Vec<_>>(), 0, SHIFT_LOW)?));
            if let (Some(next), Some(&(_, last))) = (prefix.checked_add(1), group.last()) {
                high.push((next, Slot::set(last)));
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

/// The slot for `ranges`, which cover all addresses that share the bits of `start` above the byte at `shift`.
fn below(leaves: &mut Leaves6, ranges: &[(u64, Slot)], start: u64, shift: u32) -> Result<Slot, TableFull> {
    let length = ranges.len();
    if let [(_, only)] = ranges {
        return Ok(*only);
    }
    // The last byte is never a node's: its 256 values fit a chunk.
    if length > leaves.node_above && shift > 0 {
        let mut rest = ranges;
        let mut slots = Vec::with_capacity(NODE_SLOTS);
        for byte in 0..NODE_SLOTS as u64 {
            let first = start | (byte << shift);
            let here = cut(&mut rest, first, first.checked_add(1 << shift));
            slots.push(below(leaves, &here.collect::<Vec<_>>(), first, shift - 8)?);
        }
        let (unit, words) = leaves.reserve(NODE_SLOTS / 2)?;
        write_pairs(words, slots.into_iter().map(|slot| slot.0));
        return Ok(Slot::node(unit));
    }
    let dropped = narrow_shift(shift);
    let narrow = ranges.iter().skip(1).all(|&(first, _)| first.trailing_zeros() >= dropped);
    if narrow {
        let (unit, words) = leaves.reserve(length)?;
        for (word, &(first, slot)) in words.iter_mut().zip(ranges) {
            *word = ((first >> dropped) << 32) | u64::from(slot.0);
        }
        return Ok(Slot::chunk(unit, length, false));
    }
    let (unit, words) = leaves.reserve(length + length.div_ceil(2))?;
    let (starts, slots) = words.split_at_mut(length);
    for (word, (first, _)) in starts.iter_mut().zip(ranges) {
        *word = *first;
    }
    write_pairs(slots, ranges.iter().map(|&(_, slot)| slot.0));
    Ok(Slot::chunk(unit, length, true))
}

/// Both tables, searched on the host exactly as the kernel does.
#[derive(Clone, Debug)]
pub struct HostTables {
    /// The IPv4 table.
    pub v4: Table4,
    /// The IPv6 table.
    pub v6: Table6,
}

impl Tables for HostTables {
    fn root4(&self) -> Option<&Root> {
        Some(&self.v4.root)
    }

    fn root6(&self) -> Option<&Root> {
        Some(&self.v6.root)
    }

    fn block4(&self, block: u32) -> Option<&Block4> {
        self.v4.blocks.get(block as usize).map(AsRef::as_ref)
    }

    fn block6(&self, block: u32) -> Option<&Block6> {
        self.v6.blocks.get(block as usize).map(AsRef::as_ref)
    }
}

impl HostTables {
    /// Builds both tables from boundaries: each list is sorted, starts at address 0, and holds ids up to `MAX_SET`.
    pub fn build(v4: &[Boundary<u32>], v6: &[Boundary<u128>]) -> Result<Self, TableFull> {
        let v4 = match Table4::build(v4, NODE_ABOVE_V4) {
            Ok(table) if table.bytes() <= GENEROUS_BYTES => table,
            _ => Table4::build(v4, CHUNK_RANGES)?,
        };
        let v6 = match Table6::build(v6, NODE_ABOVE_V6) {
            Ok(table) if table.bytes() <= GENEROUS_BYTES => table,
            _ => Table6::build(v6, CHUNK_RANGES)?,
        };
        Ok(Self { v4, v6 })
    }

    /// What both tables take in the kernel, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes()
    }
}
