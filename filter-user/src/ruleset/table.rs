//! Builds the prefix tables that `filter_common::lookup` searches. Must not know rules: it sees ranges and set ids.
//!
//! Memory: a root of 256 KiB a family, and for each range 6 bytes (IPv4), 8 bytes (IPv6) or 12 (IPv6 chunks with rules
//! longer than four bytes below their slot), plus 1 KiB for each node. A table is first built with nodes wherever they
//! make it faster to search; where that takes more than its [`Budget`], with fewer, and at last with nodes only where a
//! chunk cannot hold the ranges, so that nodes add at most 4 bytes a range and level whatever the list.
//!
//! Whatever the list, such a frugal table takes at most 20 bytes a range (IPv4) or 52 (IPv6; 60 below a /64), and what
//! is unused at the ends of blocks (2-3 %): a chunk is rounded up to 16 bytes and begins with a range cut at its slot's
//! border, so a range alone in its slot costs 16 bytes (IPv4) or 32 (IPv6), and nodes come on top. A /64 that holds
//! longer rules adds one range to its low half and two to the high one.

use std::fmt;

use filter_common::lookup::{
    BLOCK_BYTES, BLOCK_WORDS, Block, CHUNK_RANGES, MAX_UNITS, NODE_SLOTS, Root, SHIFT_HIGH, SHIFT_LOW, Slot, Tables,
    UNIT_BYTES, narrow_shift,
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

/// What a family's table may take in the kernel, in bytes, before its builder saves memory at the cost of time. While a
/// ruleset is replaced, its tables and those of the next one are there at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub usize);

impl Default for Budget {
    fn default() -> Self {
        Self::MOST
    }
}

impl Budget {
    /// Room for the fastest table of every prefix on the Internet.
    pub const MOST: Self = Self(20_000_000);

    /// For a machine with `memory` bytes: a 64th of it, at most [`Budget::MOST`].
    #[must_use]
    pub fn of_machine(memory: u64) -> Self {
        let share = usize::try_from(memory / 64).unwrap_or(usize::MAX);
        Self(share.min(Self::MOST.0))
    }
}

/// The shapes of a table, the fastest first: the number of ranges in a chunk above which it gives way to a node. The last
/// takes no more nodes than it must.
const NODE_ABOVE_V4: [usize; 4] = [1, 8, 32, CHUNK_RANGES];
/// Likewise. Below an IPv6 root nodes branch little and lie deep: they pay only where chunks are long.
const NODE_ABOVE_V6: [usize; 2] = [32, CHUNK_RANGES];

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

    /// The fastest of `shapes` that `budget` has room for, or else the last.
    fn fit(
        shapes: &[usize],
        budget: Budget,
        family: &'static str,
        build: impl Fn(Leaves) -> Result<Self, TableFull>,
    ) -> Result<Self, TableFull> {
        let affordable = budget.0.saturating_sub(size_of::<Root>()) / BLOCK_BYTES;
        let leaves = |node_above, limit| Leaves { blocks: Vec::new(), free: BLOCK_WORDS, family, node_above, limit };
        let (last, others) = shapes.split_last().unwrap_or((&CHUNK_RANGES, &[]));
        let mut fast = others.iter().map(|&node_above| build(leaves(node_above, affordable)));
        fast.find_map(Result::ok).map_or_else(|| build(leaves(*last, MAX_BLOCKS)), Ok)
    }
}

const MAX_BLOCKS: usize = MAX_UNITS * UNIT_BYTES / BLOCK_BYTES;
const UNIT_WORDS: usize = UNIT_BYTES / 4;

/// Leaves under construction.
struct Leaves {
    blocks: Vec<Box<Block>>,
    /// The first free word of the last block.
    free: usize,
    family: &'static str,
    /// Ranges above which a chunk gives way to a node.
    node_above: usize,
    /// The most blocks.
    limit: usize,
}

/// A leaf under construction: its unit, and its words in its block, all zero when it is new.
#[derive(Clone, Copy)]
struct Leaf {
    unit: u32,
    block: usize,
    start: usize,
}

impl Leaves {
    /// Reserves `words` words in one block.
    fn reserve(&mut self, words: usize) -> Result<Leaf, TableFull> {
        let full = TableFull { family: self.family };
        let mut start = self.free.next_multiple_of(UNIT_WORDS);
        if start + words > BLOCK_WORDS {
            if self.blocks.len() >= self.limit {
                return Err(full);
            }
            self.blocks.push(zeros(self.family)?);
            start = 0;
        }
        self.free = start + words;
        let block = self.blocks.len().saturating_sub(1);
        let unit = u32::try_from(block * (BLOCK_BYTES / UNIT_BYTES) + start / UNIT_WORDS).map_err(|_| full)?;
        Ok(Leaf { unit, block, start })
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

/// An array of zeros, made on the heap: a block would strain a small stack.
fn zeros<const N: usize>(family: &'static str) -> Result<Box<[u32; N]>, TableFull> {
    vec![0; N].into_boxed_slice().try_into().map_err(|_| TableFull { family })
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

fn build_v4(mut leaves: Leaves, ranges: &[Boundary<u32>]) -> Result<Table, TableFull> {
    let mut root: Box<Root> = zeros(leaves.family)?;
    let mut rest = Part { ranges, start: 0 };
    for (slot, high) in root.iter_mut().zip(1..) {
        let part;
        (part, rest) = rest.split(u32::checked_mul(high, 1 << 16));
        let made = if part.ranges.len() > leaves.node_above { node_v4 } else { chunk_v4 };
        *slot = made(&mut leaves, part)?.0;
    }
    Ok(Table { root, blocks: leaves.blocks })
}

fn node_v4(leaves: &mut Leaves, part: Part<'_, u32, u32>) -> Result<Slot, TableFull> {
    let node = leaves.reserve(NODE_SLOTS)?;
    let mut rest = part;
    for byte in 0..NODE_SLOTS {
        let part;
        (part, rest) = rest.split(rest.start.checked_add(1 << 8));
        let slot = chunk_v4(leaves, part)?;
        leaves.write(node, byte, [slot.0]);
    }
    Ok(Slot::node(node.unit))
}

fn chunk_v4(leaves: &mut Leaves, part: Part<'_, u32, u32>) -> Result<Slot, TableFull> {
    if let [(_, set)] = part.ranges {
        return Ok(Slot::set(*set));
    }
    let length = part.ranges.len();
    let pairs = length.div_ceil(2);
    let chunk = leaves.reserve(pairs + length)?;
    for (index, first) in part.firsts().enumerate() {
        if let Some(pair) = leaves.words(chunk, index / 2).first_mut() {
            *pair |= (first & 0xffff) << (16 * (index % 2));
        }
    }
    leaves.write(chunk, pairs, part.values().map(|set| Slot::set(set).0));
    Ok(Slot::chunk(chunk.unit, length, false))
}

fn build_v6(mut leaves: Leaves, ranges: &[Boundary<u128>]) -> Result<Table, TableFull> {
    let high = cut_at_64(&mut leaves, ranges)?;
    let mut root: Box<Root> = zeros(leaves.family)?;
    let mut rest = Part { ranges: &high, start: 0 };
    for (slot, prefix) in root.iter_mut().zip(1..) {
        let part;
        (part, rest) = rest.split(u64::checked_mul(prefix, 1 << 48));
        *slot = below(&mut leaves, part, SHIFT_HIGH)?.0;
    }
    Ok(Table { root, blocks: leaves.blocks })
}

/// Ranges over the high 64 bits. A /64 that is not all in one set becomes a range of its own, whose slot leads to the
/// chunk or node over its low 64 bits.
fn cut_at_64(leaves: &mut Leaves, ranges: &[Boundary<u128>]) -> Result<Vec<(u64, Slot)>, TableFull> {
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
            let low: Vec<_> = low.collect();
            high.push((prefix, below(leaves, Part { ranges: &low, start: 0 }, SHIFT_LOW)?));
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

/// The slot for a part that a node would split at the byte at `shift`.
fn below(leaves: &mut Leaves, part: Part<'_, u64, Slot>, shift: u32) -> Result<Slot, TableFull> {
    if let [(_, only)] = part.ranges {
        return Ok(*only);
    }
    let length = part.ranges.len();
    // The last byte is never a node's: its 256 values fit a chunk.
    if length > leaves.node_above && shift > 0 {
        let node = leaves.reserve(NODE_SLOTS)?;
        let mut rest = part;
        for byte in 0..NODE_SLOTS {
            let part;
            (part, rest) = rest.split(rest.start.checked_add(1 << shift));
            let slot = below(leaves, part, shift - 8)?;
            leaves.write(node, byte, [slot.0]);
        }
        return Ok(Slot::node(node.unit));
    }
    let dropped = narrow_shift(shift);
    let narrow = part.firsts().skip(1).all(|first| first.trailing_zeros() >= dropped);
    let chunk = leaves.reserve(if narrow { 2 * length } else { 3 * length })?;
    if narrow {
        let pairs = part.firsts().zip(part.values());
        leaves.write(chunk, 0, pairs.flat_map(|(first, slot)| [(first >> dropped) as u32, slot.0]));
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
    /// Builds both tables from boundaries: each list is sorted, starts at address 0, and holds ids up to `MAX_SET`. Each
    /// has the shape that is fastest within `budget`; where none is within it, the smallest.
    pub fn build(v4: &[Boundary<u32>], v6: &[Boundary<u128>], budget: Budget) -> Result<Self, TableFull> {
        Ok(Self {
            v4: Table::fit(&NODE_ABOVE_V4, budget, "IPv4", |leaves| build_v4(leaves, v4))?,
            v6: Table::fit(&NODE_ABOVE_V6, budget, "IPv6", |leaves| build_v6(leaves, v6))?,
        })
    }

    /// What both tables take in the kernel, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn a_small_machine_gives_tables_little_and_a_large_one_no_more_than_they_can_use() {
        let megabytes = [64, 128, 512, 1024, 2048, 65_536].map(|memory| Budget::of_machine(memory << 20).0 >> 20);
        assert_eq!(megabytes, [1, 2, 8, 16, 19, 19]);
        assert_eq!(Budget::of_machine(u64::MAX), Budget::MOST);
    }
}
