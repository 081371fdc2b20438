//! The prefix tables' layout and their search. Must not build tables (`ruleset/table.rs` does) nor know what a set means.
//!
//! One table per family answers "which set is this address in?" for ranges that cover the whole family:
//!
//! * A **root** has one [`Slot`] for each value of the address' top 16 bits.
//! * A slot is final (a set id), or points to a **chunk** (up to 256 ranges that cover the slot's addresses: their
//!   sorted first addresses, then one slot for each), or to a **node** (a slot for each run of values of the next 8 bits
//!   that have the same, and marks that tell which run a value is in). A node answers at once, a chunk is searched; both
//!   take memory in proportion to the ranges.
//! * An IPv6 root may also point to a **wide node**, which answers for the next 16 bits: most of what is registered is a /32.
//! * IPv6 ranges are cut at /64. A /64 that holds longer rules is a slot that is not final: the search goes on from it
//!   with the low 64 bits, by the same steps.
//!
//! Root and leaves (chunks and nodes) live in array maps. Leaves are cut into blocks of 64 KiB (elements above 1 MiB do
//! not load on kernel 5.10), and no chunk or node straddles two blocks, so that one lookup finds a whole chunk: on
//! 32-bit CPUs a map lookup is a call. Loops have constant bounds, and comparisons are arithmetic: a branch that depends
//! on a key is mispredicted half of the time, and doubles the verifier's paths in every round.
//!
//! Root and chunks are those of DXR (Zec, Rizzo, Mikuc: "DXR: towards a billion routing lookups per second in software",
//! CCR 2012), with ranges and set ids side by side so that a short chunk is one cache line. Nodes are those of Poptrie (Asai,
//! Ohara: "Poptrie: a compressed trie with population count for fast and scalable software IP routing table lookup", SIGCOMM
//! 2015), with marks in groups of 16 because BPF must count bits by hand. Narrow chunks are searched as k-ary trees are (Schlegel,
//! Gemulla, Lehner: "k-Ary Search on Modern Processors", `DaMoN` 2009), eight pairs a step.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes in a block of leaves.
pub const BLOCK_BYTES: usize = BLOCK_WORDS * 4;
/// Words of a block at which leaves may begin: the first ones. Chunks end among them; a node's slots may be among the others,
/// so that wherever one begins, any number of a byte finds its slot inside.
pub const BLOCK_STARTS: usize = 16 * 1024;
/// Ranges in a chunk, at most.
pub const CHUNK_RANGES: usize = 256;
/// Pairs of a narrow chunk that are searched in a step, as many as a cache line holds; and groups of them in a chunk, at most.
pub const GROUP: usize = 8;
/// Ranges in a narrow chunk, at most.
pub const NARROW_RANGES: usize = GROUP * GROUP;
/// Slots in a root: one for each value of an address' top 16 bits.
pub const ROOT_SLOTS: usize = 1 << 16;
/// Slots in a node: one for each value of the next 8 bits.
pub const NODE_SLOTS: usize = 1 << 8;

/// Values of a byte that a node keeps together.
pub const NODE_GROUP: usize = 16;
/// Groups of them.
pub const NODE_GROUPS: usize = NODE_SLOTS / NODE_GROUP;

/// How a node begins. Its slots follow, one for each run of byte values that have the same; where they are few, all is one
/// cache line.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NodeHead {
    /// For each group of byte values which of them start a run. The lowest bit is the second value's: whether the first one
    /// starts a run does not matter.
    pub starts: [u16; NODE_GROUPS],
    /// For each group the place of its last value's slot.
    pub last: [u8; NODE_GROUPS],
    /// Its first slots.
    pub first: [u32; 4],
}

impl NodeHead {
    /// As words of a block.
    #[must_use]
    pub fn words(self) -> [u32; NODE_LINE] {
        zerocopy::transmute!(self)
    }
}

/// Words of a node before its slots.
pub const NODE_HEAD: usize = core::mem::offset_of!(NodeHead, first) / 4;
/// Words in a [`NodeHead`]: a node begins at a multiple of so many.
pub const NODE_LINE: usize = size_of::<NodeHead>() / 4;

/// Words of marks that a wide node begins with, one for each group of values of the next 16 bits: in the low half which of them
/// start a run, as in [`NodeHead::starts`], in the high half the place of the last value's slot. The slots follow. Words go on
/// in the next block where a block's [`BLOCK_STARTS`] end, for each is read by itself.
pub const WIDE_MARKS: usize = ROOT_SLOTS / NODE_GROUP;

/// A root: slots by the address' top 16 bits.
pub type Root = [u32; ROOT_SLOTS];

/// A block of leaves. A node is a [`NodeHead`], and more slots. A chunk of `n` ranges is, in an IPv4 table, `n` first
/// addresses (their low 16 bits, two in a word, the even one in the low half), then `n` slots. In an IPv6 table a narrow one is
/// `n` pairs of a first address' 32 bits that matter ([`narrow_shift`]) and its slot, the highest address first; where these are
/// more than [`GROUP`], the last address of each group of so many follows, so that a search reads those and one group. A wide
/// one is `n` first addresses (64 bits, high half first), then `n` slots.
pub type Block = [u32; BLOCK_WORDS];
/// Words in a block of leaves.
pub const BLOCK_WORDS: usize = BLOCK_STARTS + NODE_SLOTS;

/// Leaves are addressed in units of this many bytes.
pub const UNIT_BYTES: usize = 16;
/// Units of a block in which leaves may begin.
pub const UNITS_PER_BLOCK: usize = BLOCK_STARTS / WORDS_PER_UNIT;
const WORDS_PER_UNIT: usize = UNIT_BYTES / 4;

/// The id of the empty set: the address is in no rule.
pub const UNLISTED: u32 = 0;
/// The highest set id a slot can hold.
pub const MAX_SET: u32 = u32::MAX >> Slot::VALUE;
/// Units of leaves that a slot can address: 64 MiB a family.
pub const MAX_UNITS: usize = MAX_SET as usize + 1;

/// Nodes below an IPv6 root, at most: five bytes of the high half follow the root's two; the last byte's 256 values
/// always fit a chunk.
const LEVELS_HIGH: u32 = 5;
/// Nodes over the low half of an IPv6 address, at most: likewise.
const LEVELS_LOW: u32 = 7;
/// Place of the first node's byte in the high half, behind the root's 16 bits.
pub const SHIFT_HIGH: u32 = 40;
/// Place of the byte behind those of a wide node.
pub const SHIFT_WIDE: u32 = SHIFT_HIGH - 16;
/// Place of the first node's byte in the low half.
pub const SHIFT_LOW: u32 = 56;

/// What stands for a range of addresses: a set id, or the place of a chunk or node that knows more.
///
/// Bits 10-31: set id, or place of the chunk or node in units from the first block's start; bit 9: a wide chunk or node, or,
/// where the slot is final, that packets to the set are dropped whatever their source is; bit 8: a node; bits 0-7: ranges in
/// the chunk minus one, 0 for no chunk. The place is on top, for then it takes one shift to know the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u32);

impl Slot {
    const VALUE: u32 = 10;
    const WIDE: u32 = 1 << 9;
    const BLOCKED: u32 = 1 << 9;
    const NODE: u32 = 1 << 8;
    const RANGES: u32 = (1 << 8) - 1;

    /// A final slot. `set` is at most [`MAX_SET`]; `blocked`: see [`Slot::is_blocked`].
    #[must_use]
    pub const fn of_set(set: u32, blocked: bool) -> Self {
        Self(set << Self::VALUE | if blocked { Self::BLOCKED } else { 0 })
    }

    /// The set of a final slot.
    #[must_use]
    #[inline(always)]
    pub const fn set(self) -> u32 {
        self.value()
    }

    /// Whether packets to addresses of a final slot are dropped, whatever their source is: then nothing more need be asked.
    #[must_use]
    #[inline(always)]
    pub const fn is_blocked(self) -> bool {
        self.0 & Self::BLOCKED != 0
    }

    /// A slot that points to a node at `unit`, below [`MAX_UNITS`].
    #[must_use]
    pub const fn node(unit: u32) -> Self {
        Self(unit << Self::VALUE | Self::NODE)
    }

    /// A slot of an IPv6 root that points to a wide node at `unit`, below [`MAX_UNITS`].
    #[must_use]
    pub const fn wide_node(unit: u32) -> Self {
        Self(unit << Self::VALUE | Self::WIDE | Self::NODE)
    }

    /// A slot that points to a chunk of `ranges` ranges, 2 to 256, at `unit`, below [`MAX_UNITS`]. `wide`: its first
    /// addresses are 64 bits long; of no meaning for IPv4.
    #[must_use]
    pub const fn chunk(unit: u32, ranges: usize, wide: bool) -> Self {
        let width = if wide { Self::WIDE } else { 0 };
        Self(unit << Self::VALUE | width | (ranges - 1) as u32)
    }

    #[inline(always)]
    const fn is_node(self) -> bool {
        self.0 & Self::NODE != 0
    }

    #[inline(always)]
    const fn is_wide_node(self) -> bool {
        self.0 & (Self::WIDE | Self::NODE) == Self::WIDE | Self::NODE
    }

    #[inline(always)]
    const fn is_wide(self) -> bool {
        self.0 & Self::WIDE != 0
    }

    #[inline(always)]
    const fn is_final(self) -> bool {
        self.0 & (Self::NODE | Self::RANGES) == 0
    }

    /// Ranges in the chunk; 1 where the slot is no chunk.
    #[inline(always)]
    const fn ranges(self) -> usize {
        (self.0 & Self::RANGES) as usize + 1
    }

    #[inline(always)]
    const fn value(self) -> u32 {
        self.0 >> Self::VALUE
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

/// The slot of an address that is in no rule.
const UNLISTED_SLOT: Slot = Slot(UNLISTED);

/// The final slot of an IPv4 address, in host order.
#[inline(always)]
pub fn slot_of_v4<T: Tables + ?Sized>(tables: &T, address: u32) -> Slot {
    let mut slot = Slot(tables.root4()[(address >> 16) as usize]);
    if slot.is_node() {
        let Some(block) = tables.block4(slot.block()) else { return UNLISTED_SLOT };
        slot = child(block, slot, u64::from(address >> 8 & 0xff));
    }
    if slot.is_final() {
        return slot;
    }
    let Some(block) = tables.block4(slot.block()) else { return UNLISTED_SLOT };
    let (start, ranges) = (slot.start(), slot.ranges());
    let key = u64::from(address & 0xffff);
    let at = position::<ROUNDS>(ranges, |index| {
        let pair = u64::from(word(block, start + index / 2));
        (key + (1 << 16) - (pair >> (16 * (index % 2)) & 0xffff)) >> 16
    });
    Slot(word(block, start + ranges.div_ceil(2) + at))
}

/// What a `node` in `block` has for `byte`, the next 8 bits of an address: the slot of the last run that starts at or before it.
#[inline(always)]
fn child(block: &Block, node: Slot, byte: u64) -> Slot {
    let heads: &[NodeHead; BLOCK_WORDS / NODE_LINE] = zerocopy::transmute_ref!(block);
    let line = node.start() / NODE_LINE % (BLOCK_STARTS / NODE_LINE);
    let head = &heads[line];
    let group = byte as usize / NODE_GROUP % NODE_GROUPS;
    let at = run(u64::from(head.starts[group]), u64::from(head.last[group]), byte) as usize % NODE_SLOTS;
    Slot(block[line * NODE_LINE + NODE_HEAD + at])
}

/// The place of a value's slot: the runs that start in its group behind it are those that its own is before the last.
#[inline(always)]
const fn run(starts: u64, last: u64, value: u64) -> u64 {
    last.wrapping_sub(ones(starts >> (value % NODE_GROUP as u64)))
}

/// How many bits of a number below 2^15 are 1; BPF has no instruction for it. Four copies of the number bring each bit to a
/// nibble of its own, and the second multiplication adds the nibbles up in the highest one, which had none (Anderson: "Bit
/// Twiddling Hacks", counting bits set in 14-bit words).
#[inline(always)]
const fn ones(number: u64) -> u64 {
    const NIBBLES: u64 = 0x1111_1111_1111_1111;
    let spread = number.wrapping_mul(1 | 1 << 15 | 1 << 30 | 1 << 45) & NIBBLES;
    spread.wrapping_mul(NIBBLES) >> 60
}

/// Word `at` of a block. The builder keeps wide and IPv4 chunks among the places where leaves may begin.
#[inline(always)]
const fn word(block: &Block, at: usize) -> u32 {
    block[at % BLOCK_STARTS]
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

/// The final slot of an IPv6 address, as its high and low 64 bits in host order.
#[inline(always)]
pub fn slot_of_v6<T: Tables + ?Sized>(tables: &T, address: [u64; 2]) -> Slot {
    let [high, low] = address;
    let (mut slot, mut shift) = (Slot(tables.root6()[(high >> 48) as usize]), SHIFT_HIGH);
    if slot.is_wide_node() {
        let (start, value) = (slot.value() as usize * WORDS_PER_UNIT, high >> 32 & 0xffff);
        let at = start + value as usize / NODE_GROUP;
        let Some(block) = tables.block6((at / BLOCK_STARTS) as u32) else { return UNLISTED_SLOT };
        let marks = u64::from(word(block, at));
        let at = start + WIDE_MARKS + run(marks & 0xffff, marks >> 16, value) as usize;
        let Some(block) = tables.block6((at / BLOCK_STARTS) as u32) else { return UNLISTED_SLOT };
        slot = Slot(word(block, at));
        shift = SHIFT_WIDE;
    }
    let slot = descend::<T, LEVELS_HIGH>(tables, slot, high, shift);
    if slot.is_final() {
        return slot;
    }
    descend::<T, LEVELS_LOW>(tables, slot, low, SHIFT_LOW)
}

/// Follows at most `LEVELS` nodes and one chunk from `slot`. `shift` is the place of the first node's byte in `key`.
#[inline(always)]
fn descend<T: Tables + ?Sized, const LEVELS: u32>(tables: &T, slot: Slot, key: u64, shift: u32) -> Slot {
    let (mut slot, mut shift, mut level) = (slot, u64::from(shift), 0_u64);
    while level < u64::from(LEVELS) {
        if !slot.is_node() {
            break;
        }
        let Some(block) = tables.block6(slot.block()) else { return UNLISTED_SLOT };
        slot = child(block, slot, key >> shift & 0xff);
        shift = shift.wrapping_sub(8) & 63;
        level += 1;
    }
    if slot.is_final() {
        return slot;
    }
    let Some(block) = tables.block6(slot.block()) else { return UNLISTED_SLOT };
    let (start, ranges) = (slot.start(), slot.ranges());
    if slot.is_wide() {
        let at = position::<ROUNDS>(ranges, |index| {
            reached(key, [word(block, start + 2 * index), word(block, start + 2 * index + 1)])
        });
        return Slot(word(block, start + 2 * ranges + at));
    }
    let below = above_is_carried(key >> narrow_shift(shift as u32) & 0xffff_ffff);
    let first = start % BLOCK_STARTS;
    let mut group = first;
    if ranges > GROUP {
        // No more than there are, and the verifier sees it.
        let lasts = first + 2 * ((ranges - 1) % NARROW_RANGES + 1);
        group += 2 * GROUP * leading(|index| u64::from(block[lasts + index]) + below);
    }
    let at = leading(|index| u64::from(block[group + 2 * index]) + below);
    Slot(block[group + 2 * at + 1])
}

/// What makes a sum with a number of 32 bits carry into bit 32 where that number is above `key`, which has 32 bits.
#[inline(always)]
const fn above_is_carried(key: u64) -> u64 {
    (1 << 32) - 1 - key
}

/// How many of a group's sums, from the first on, carry into bit 32 before one does not; the last one is not asked. What
/// stands behind the one that does not carry is of no matter, so a group may be shorter.
#[inline(always)]
fn leading(sum: impl Fn(usize) -> u64) -> usize {
    let (mut all, mut count, mut index) = (1, 0, 0);
    while index < GROUP - 1 {
        all &= sum(index) >> 32;
        count += all;
        index += 1;
    }
    count as usize % GROUP
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
