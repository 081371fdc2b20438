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

/// A block of leaves. A node is 256 slots. A chunk of `n` ranges is, in an IPv4 table, `n` first addresses (their low 16
/// bits, two in a word, the even one in the low half), then `n` slots. In an IPv6 table a narrow one is `n` pairs of a
/// first address' 32 bits that matter ([`narrow_shift`]) and its slot, so that the slot comes with the last probe; a wide
/// one is `n` first addresses (64 bits, high half first), then `n` slots.
pub type Block = [u32; BLOCK_WORDS];
/// Words in a block of leaves.
pub const BLOCK_WORDS: usize = BLOCK_BYTES / 4;

/// Leaves are addressed in units of this many bytes.
pub const UNIT_BYTES: usize = 16;
const UNITS_PER_BLOCK: usize = BLOCK_BYTES / UNIT_BYTES;
const WORDS_PER_UNIT: usize = UNIT_BYTES / 4;

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

    /// Its first word in the block.
    #[inline(always)]
    const fn start(self) -> usize {
        self.value() as usize % UNITS_PER_BLOCK * WORDS_PER_UNIT
    }
}

/// Reads of the tables. References, never values: an `Option<u32>` across a branch does not pass the verifier.
pub trait Tables {
    /// The IPv4 root.
    fn root4(&self) -> &Root;
    /// The IPv6 root.
    fn root6(&self) -> &Root;
    /// The IPv4 leaves' block number `block`.
    fn block4(&self, block: u32) -> Option<&Block>;
    /// The IPv6 leaves' block number `block`.
    fn block6(&self, block: u32) -> Option<&Block>;
}

/// The set that an IPv4 address, in host order, belongs to.
#[inline(always)]
pub fn set_of_v4<T: Tables + ?Sized>(tables: &T, address: u32) -> u32 {
    let mut slot = Slot(tables.root4()[(address >> 16) as usize]);
    if slot.is_node() {
        let Some(block) = tables.block4(slot.block()) else { return UNLISTED };
        slot = Slot(word(block, slot.start() + (address >> 8 & 0xff) as usize));
    }
    if slot.is_final() {
        return slot.value();
    }
    let Some(block) = tables.block4(slot.block()) else { return UNLISTED };
    let (start, ranges) = (slot.start(), slot.ranges());
    let key = u64::from(address & 0xffff);
    let at = position::<ROUNDS>(ranges, |index| {
        let pair = u64::from(word(block, start + index / 2));
        (key + (1 << 16) - (pair >> (16 * (index % 2)) & 0xffff)) >> 16
    });
    Slot(word(block, start + ranges.div_ceil(2) + at)).value()
}

/// Word `at` of a block. What is beyond its end is never asked for: the builder keeps a leaf inside one block.
#[inline(always)]
const fn word(block: &Block, at: usize) -> u32 {
    block[at % BLOCK_WORDS]
}

/// The last of `ranges` sorted ranges, 1 to 2^`ROUNDS`, that starts at or below the key. `reached(index)` is 1 where range
/// `index` does, else 0; for the first range it would be 1.
///
/// `reached` is a number because it is multiplied: LLVM turns a selection by a comparison back into a branch.
#[inline(always)]
pub(crate) fn position<const ROUNDS: u64>(ranges: usize, reached: impl Fn(usize) -> u64) -> usize {
    let (mut at, mut left, mut round) = (0, ranges, 0);
    // 64 bits, as everything here: BPF has no other registers, and clears the upper half of shorter numbers again and again.
    while left > 1 && round < ROUNDS {
        let half = left / 2;
        at += half * reached(at + half) as usize;
        left -= half;
        round += 1;
    }
    at
}

/// Rounds of a search in a chunk.
const ROUNDS: u64 = CHUNK_RANGES.ilog2() as u64;

/// The set that an IPv6 address, as its high and low 64 bits in host order, belongs to.
#[inline(always)]
pub fn set_of_v6<T: Tables + ?Sized>(tables: &T, address: [u64; 2]) -> u32 {
    let [high, low] = address;
    let slot = Slot(tables.root6()[(high >> 48) as usize]);
    let slot = descend::<T, LEVELS_HIGH>(tables, slot, high, SHIFT_HIGH);
    if slot.is_final() {
        return slot.value();
    }
    descend::<T, LEVELS_LOW>(tables, slot, low, SHIFT_LOW).value()
}

/// Follows at most `LEVELS` nodes and one chunk from `slot`. `shift` is the place of the first node's byte in `key`.
#[inline(always)]
fn descend<T: Tables + ?Sized, const LEVELS: u32>(tables: &T, slot: Slot, key: u64, shift: u32) -> Slot {
    let (mut slot, mut shift, mut level) = (slot, u64::from(shift), 0_u64);
    while level < u64::from(LEVELS) {
        if !slot.is_node() {
            break;
        }
        let Some(block) = tables.block6(slot.block()) else { return Slot::set(UNLISTED) };
        slot = Slot(word(block, slot.start() + (key >> shift & 0xff) as usize));
        shift = shift.wrapping_sub(8) & 63;
        level += 1;
    }
    if slot.is_final() {
        return slot;
    }
    let Some(block) = tables.block6(slot.block()) else { return Slot::set(UNLISTED) };
    let (start, ranges) = (slot.start(), slot.ranges());
    if slot.is_wide() {
        let at = position::<ROUNDS>(ranges, |index| {
            reached(key, [word(block, start + 2 * index), word(block, start + 2 * index + 1)])
        });
        return Slot(word(block, start + 2 * ranges + at));
    }
    let narrow = (key >> narrow_shift(shift as u32) & 0xffff_ffff) + (1 << 32);
    let at = position::<ROUNDS>(ranges, |index| (narrow - u64::from(word(block, start + 2 * index))) >> 32);
    Slot(word(block, start + 2 * at + 1))
}

/// How far right an address' half is shifted before a narrow chunk is searched. `shift` is the place of the byte that
/// a node in the chunk's stead would split: the chunk's ranges differ in that byte and those below it only, and the
/// upper four of these are kept.
#[must_use]
#[inline(always)]
pub const fn narrow_shift(shift: u32) -> u32 {
    shift.saturating_sub(24)
}

/// 1 where `key >= first`, which is given as its high and low half, else 0. As sums that cannot overflow.
#[inline(always)]
fn reached(key: u64, first: [u32; 2]) -> u64 {
    const ONE: u64 = 1 << 32;
    let (key_high, key_low) = (key >> 32, key & (ONE - 1));
    let [first_high, first_low] = first.map(u64::from);
    let high_reached = (key_high + ONE - first_high) >> 32;
    let high_passed = (first_high + ONE - key_high) >> 32 ^ 1;
    let low_reached = (key_low + ONE - first_low) >> 32;
    high_reached & (high_passed | low_reached)
}
