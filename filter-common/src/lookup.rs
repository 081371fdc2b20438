//! The prefix tables' layout and their search. Must not build tables (`ruleset/table.rs` does) nor know what a set means.
//!
//! One table per family answers "which set is this address in?" for ranges that cover the whole family:
//!
//! * A **root** has one [`Slot`] for each value of the address' top 16 bits.
//! * A slot is final (a set id), or points to a **chunk** (up to 256 ranges that cover the slot's addresses: their
//!   sorted first addresses, then one slot for each), or to a **node** (256 slots, one for each value of the next
//!   8 bits). Chunks keep memory in proportion to the number of ranges, nodes keep chunks short.
//! * IPv6 ranges are cut at /64. A /64 that holds longer rules is a slot that is not final: the search goes on from it
//!   with the low 64 bits, by the same steps.
//!
//! Root and leaves (chunks and nodes) live in array maps. Leaves are cut into blocks of 64 KiB (elements above 1 MiB do
//! not load on kernel 5.10), and no chunk or node straddles two blocks, so that one lookup finds a whole chunk: on
//! 32-bit CPUs a map lookup is a call. Loops have constant bounds, and comparisons are arithmetic: a branch that depends
//! on a key is mispredicted half of the time, and doubles the verifier's paths in every round.
//!
//! The shape is that of DXR (Zec, Rizzo, Mikuc: "DXR: towards a billion routing lookups per second in software",
//! CCR 2012), with ranges and set ids side by side so that a short chunk is one cache line.

/// Bytes in a block of leaves.
pub const BLOCK_BYTES: usize = 64 * 1024;
/// Ranges in a chunk, at most.
pub const CHUNK_RANGES: usize = 256;
/// Slots in a root: one for each value of an address' top 16 bits.
pub const ROOT_SLOTS: usize = 1 << 16;
/// Slots in a node: one for each value of the next 8 bits.
pub const NODE_SLOTS: usize = 1 << 8;

/// A root: slots by the address' top 16 bits.
pub type Root = [u32; ROOT_SLOTS];
/// A block of IPv4 leaves. Chunk of `n` ranges: `n` first addresses (low 16 bits), then `n` slots, low half first.
/// Node: 256 slots, low half first.
pub type Block4 = [u16; BLOCK_BYTES / 2];
/// A block of IPv6 leaves. Narrow chunk of `n` ranges: `n` words, each with a first address' 32 bits that matter (see
/// [`narrow_shift`]) in the high half and its slot in the low one, so that the slot comes with the last probe. Wide chunk:
/// `n` first addresses (64 bits), then `n` slots, two in a word, the even one in the low half. Node: 256 slots, likewise.
pub type Block6 = [u64; BLOCK_BYTES / 8];

/// Leaves are addressed in units of this many bytes.
pub const UNIT_BYTES: usize = 16;
const UNITS_PER_BLOCK: usize = BLOCK_BYTES / UNIT_BYTES;
const WORDS_PER_UNIT_V4: usize = UNIT_BYTES / 2;
const WORDS_PER_UNIT_V6: usize = UNIT_BYTES / 8;

/// The id of the empty set: the address is in no rule.
pub const UNLISTED: u32 = 0;
/// The highest set id a slot can hold.
pub const MAX_SET: u32 = Slot::VALUE;
/// Units of leaves that a slot can address: 64 MiB a family.
pub const MAX_UNITS: usize = Slot::VALUE as usize + 1;

/// Nodes below an IPv6 root, at most: five bytes of the high half follow the root's two; the last byte's 256 values
/// always fit a chunk.
const LEVELS_HIGH: u32 = 5;
/// Nodes over the low half of an IPv6 address, at most: likewise.
const LEVELS_LOW: u32 = 7;
/// Place of the first node's byte in the high half, behind the root's 16 bits.
pub const SHIFT_HIGH: u32 = 40;
/// Place of the first node's byte in the low half.
pub const SHIFT_LOW: u32 = 56;

/// What stands for a range of addresses: a set id, or the place of a chunk or node that knows more.
///
/// Bits 24-31: ranges in the chunk minus one, 0 for no chunk; bit 23: a node; bit 22: a wide chunk; bits 0-21: set id,
/// or place of the chunk or node in units from the first block's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u32);

impl Slot {
    const NODE: u32 = 1 << 23;
    const WIDE: u32 = 1 << 22;
    const VALUE: u32 = Self::WIDE - 1;

    /// A final slot. `set` is at most [`MAX_SET`].
    #[must_use]
    pub const fn set(set: u32) -> Self {
        Self(set & Self::VALUE)
    }

    /// A slot that points to a node at `unit`, below [`MAX_UNITS`].
    #[must_use]
    pub const fn node(unit: u32) -> Self {
        Self(Self::NODE | (unit & Self::VALUE))
    }

    /// A slot that points to a chunk of `ranges` ranges, 2 to 256, at `unit`, below [`MAX_UNITS`]. `wide`: its first
    /// addresses are 64 bits long; of no meaning for IPv4.
    #[must_use]
    pub const fn chunk(unit: u32, ranges: usize, wide: bool) -> Self {
        let width = if wide { Self::WIDE } else { 0 };
        Self((((ranges - 1) as u32) << 24) | width | (unit & Self::VALUE))
    }

    #[inline(always)]
    const fn is_node(self) -> bool {
        self.0 & Self::NODE != 0
    }

    #[inline(always)]
    const fn is_wide(self) -> bool {
        self.0 & Self::WIDE != 0
    }

    #[inline(always)]
    const fn is_final(self) -> bool {
        self.0 <= Self::VALUE
    }

    /// Ranges in the chunk; 1 where the slot is no chunk.
    #[inline(always)]
    const fn ranges(self) -> usize {
        (self.0 >> 24) as usize + 1
    }

    #[inline(always)]
    const fn value(self) -> u32 {
        self.0 & Self::VALUE
    }

    #[inline(always)]
    const fn block(self) -> u32 {
        self.value() / UNITS_PER_BLOCK as u32
    }

    /// Place in the block, in units.
    #[inline(always)]
    const fn unit(self) -> usize {
        self.value() as usize % UNITS_PER_BLOCK
    }
}

/// Reads of the tables. References, never values: an `Option<u32>` across a branch does not pass the verifier.
pub trait Tables {
    /// The IPv4 root.
    fn root4(&self) -> Option<&Root>;
    /// The IPv6 root.
    fn root6(&self) -> Option<&Root>;
    /// The IPv4 leaves' block number `block`.
    fn block4(&self, block: u32) -> Option<&Block4>;
    /// The IPv6 leaves' block number `block`.
    fn block6(&self, block: u32) -> Option<&Block6>;
}

/// The set that an IPv4 address, in host order, belongs to.
#[inline(always)]
pub fn set_of_v4<T: Tables + ?Sized>(tables: &T, address: u32) -> u32 {
    let Some(root) = tables.root4() else { return UNLISTED };
    let mut slot = Slot(root[(address >> 16) as usize]);
    if slot.is_node() {
        let Some(block) = tables.block4(slot.block()) else { return UNLISTED };
        slot = slot4(block, slot.unit() * WORDS_PER_UNIT_V4 + 2 * (address >> 8 & 0xff) as usize);
    }
    if slot.is_final() {
        return slot.value();
    }
    let Some(block) = tables.block4(slot.block()) else { return UNLISTED };
    let start = slot.unit() * WORDS_PER_UNIT_V4;
    let key = u64::from(address & 0xffff);
    let at = position::<{ CHUNK_RANGES.ilog2() }>(slot.ranges(), |index| {
        let first = u64::from(block[(start + index) % block.len()]);
        (key + (1 << 16) - first) >> 16
    });
    slot4(block, start + slot.ranges() + 2 * at).value()
}

#[inline(always)]
fn slot4(block: &Block4, at: usize) -> Slot {
    let low = block[at % block.len()];
    let high = block[(at + 1) % block.len()];
    Slot(u32::from(low) | (u32::from(high) << 16))
}

/// The last of `ranges` sorted ranges, 1 to 2^`ROUNDS`, that starts at or below the key. `reached(index)` is 1 where range
/// `index` does, else 0; for the first range it would be 1.
///
/// `reached` is a number because it is multiplied: LLVM turns a selection by a comparison back into a branch.
#[inline(always)]
pub(crate) fn position<const ROUNDS: u32>(ranges: usize, reached: impl Fn(usize) -> u64) -> usize {
    let (mut at, mut left) = (0, ranges);
    let mut round = 0;
    while round < ROUNDS {
        if left < 2 {
            break;
        }
        let half = left / 2;
        at += half * reached(at + half) as usize;
        left -= half;
        round += 1;
    }
    at
}

/// The set that an IPv6 address, as its high and low 64 bits in host order, belongs to.
#[inline(always)]
pub fn set_of_v6<T: Tables + ?Sized>(tables: &T, address: [u64; 2]) -> u32 {
    let [high, low] = address;
    let Some(root) = tables.root6() else { return UNLISTED };
    let slot = Slot(root[(high >> 48) as usize]);
    let slot = descend::<T, LEVELS_HIGH>(tables, slot, high, SHIFT_HIGH);
    if slot.is_final() {
        return slot.value();
    }
    descend::<T, LEVELS_LOW>(tables, slot, low, SHIFT_LOW).value()
}

/// Follows at most `LEVELS` nodes and one chunk from `slot`. `shift` is the place of the first node's byte in `key`.
#[inline(always)]
fn descend<T: Tables + ?Sized, const LEVELS: u32>(tables: &T, slot: Slot, key: u64, shift: u32) -> Slot {
    let (mut slot, mut shift, mut level) = (slot, shift, 0);
    while level < LEVELS {
        if !slot.is_node() {
            break;
        }
        let Some(block) = tables.block6(slot.block()) else { return Slot::set(UNLISTED) };
        slot = Slot(half6(block, slot.unit() * WORDS_PER_UNIT_V6, (key >> shift & 0xff) as usize));
        shift = shift.wrapping_sub(8) & 63;
        level += 1;
    }
    if slot.is_final() {
        return slot;
    }
    let Some(block) = tables.block6(slot.block()) else { return Slot::set(UNLISTED) };
    let start = slot.unit() * WORDS_PER_UNIT_V6;
    let ranges = slot.ranges();
    if slot.is_wide() {
        let at =
            position::<{ CHUNK_RANGES.ilog2() }>(ranges, |index| reached(key, block[(start + index) % block.len()]));
        return Slot(half6(block, start + ranges, at));
    }
    let narrow = key >> narrow_shift(shift) & 0xffff_ffff;
    let at = position::<{ CHUNK_RANGES.ilog2() }>(ranges, |index| {
        (narrow + (1 << 32) - (block[(start + index) % block.len()] >> 32)) >> 32
    });
    Slot(block[(start + at) % block.len()] as u32)
}

/// How far right an address' half is shifted before a narrow chunk is searched. `shift` is the place of the byte that
/// a node in the chunk's stead would split: the chunk's ranges differ in that byte and those below it only, and the
/// upper four of these are kept.
#[must_use]
#[inline(always)]
pub const fn narrow_shift(shift: u32) -> u32 {
    shift.saturating_sub(24)
}

/// 1 where `key >= first`, else 0. In two halves of 32 bits, as sums that cannot overflow.
#[inline(always)]
fn reached(key: u64, first: u64) -> u64 {
    const ONE: u64 = 1 << 32;
    let (key_high, key_low) = (key >> 32, key & (ONE - 1));
    let (first_high, first_low) = (first >> 32, first & (ONE - 1));
    let high_reached = (key_high + ONE - first_high) >> 32;
    let high_passed = (first_high + ONE - key_high) >> 32 ^ 1;
    let low_reached = (key_low + ONE - first_low) >> 32;
    high_reached & (high_passed | low_reached)
}

/// The 32-bit item `index` of those that start at word `start`.
#[inline(always)]
fn half6(block: &Block6, start: usize, index: usize) -> u32 {
    let word = block[(start + index / 2) % block.len()];
    (word >> (32 * (index % 2))) as u32
}
