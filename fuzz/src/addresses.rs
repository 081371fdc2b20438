//! Addresses and ranges out of bytes, near each other and at the borders where tables change their shape. Knows no rule.

use weir::prefix::Listed;

use crate::bytes::Bytes;

/// Where lists are made: both ends of the family, and neighbouring /16s and /24s.
const CENTRES_V4: [u32; 8] =
    [0, 0x0a00_0000, 0x0a00_ff00, 0x0a01_0000, 0x0a01_0100, 0x7fff_ff00, 0xffff_0000, 0xffff_ff00];
/// Likewise: neighbouring /16s, /48s and /64s, and the last /64.
const CENTRES_V6: [u128; 8] = [
    0,
    0x2001_0db8 << 96,
    0x2001_0db8_0001 << 80,
    0x2001_0db8_0001_0001 << 64,
    0x2001_0db8_0001_0002 << 64,
    0x2002 << 112,
    0xffff << 112,
    0xffff_ffff_ffff_ffff << 64,
];
/// How many addresses a range has behind its first one.
const SPANS_V4: [u32; 16] = [0, 0, 0, 0, 1, 2, 3, 15, 254, 255, 256, 511, 0xffff, 0x1_0000, 0x00ff_ffff, u32::MAX];
/// The same, as a number of bits.
const SPANS_V6: [u32; 16] = [0, 0, 0, 0, 1, 8, 16, 32, 56, 63, 64, 65, 72, 80, 96, 128];
/// How far an offset is shifted.
const SHIFTS_V4: [u32; 4] = [0, 4, 8, 16];
const SHIFTS_V6: [u32; 16] = [0, 8, 16, 24, 32, 40, 48, 56, 60, 63, 64, 72, 80, 96, 104, 112];

/// Four bytes: centre, offset, and how that is shifted.
pub(crate) fn v4(bytes: &mut Bytes<'_>) -> u32 {
    let (centre, offset, shift) = (bytes.pick(&CENTRES_V4), bytes.u16(), bytes.byte());
    centre.wrapping_add(u32::from(offset) << SHIFTS_V4[usize::from(shift >> 6)])
}

/// As [`v4`].
pub(crate) fn v6(bytes: &mut Bytes<'_>) -> u128 {
    let (centre, offset, shift) = (bytes.pick(&CENTRES_V6), bytes.u16(), bytes.byte());
    centre.wrapping_add(u128::from(offset) << SHIFTS_V6[usize::from(shift >> 4)])
}

/// Four bytes: those of [`v4`], the last of which also says how long the range is.
pub(crate) fn range_v4(bytes: &mut Bytes<'_>) -> (u32, u32) {
    let array: [u8; 4] = bytes.array();
    let first = v4(&mut Bytes::new(&array));
    (first, first.saturating_add(SPANS_V4[usize::from(array[3] & 0xf)]))
}

/// As [`range_v4`].
pub(crate) fn range_v6(bytes: &mut Bytes<'_>) -> (u128, u128) {
    let array: [u8; 4] = bytes.array();
    let first = v6(&mut Bytes::new(&array));
    let span = match SPANS_V6[usize::from(array[3] & 0xf)] {
        128 => u128::MAX,
        bits => (1 << bits) - 1,
    };
    (first, first.saturating_add(span))
}

/// Some ranges, `most` at most and 16 by one byte; one list in eight is a row of up to 256 single addresses, as long as it
/// takes for the nodes of a table.
pub(crate) fn ranges_v4(bytes: &mut Bytes<'_>, most: usize) -> Vec<(u32, u32)> {
    let count = bytes.byte();
    if count >= 0xe0 {
        let (first, step) = (v4(bytes), u32::from(bytes.u16()) + 1);
        let row = (0..=u32::from(bytes.byte())).map(|at| first.wrapping_add(at * step));
        return row.map(|address| (address, address)).collect();
    }
    (0..usize::from(count % 16).min(most)).map(|_| range_v4(bytes)).collect()
}

/// As [`ranges_v4`].
pub(crate) fn ranges_v6(bytes: &mut Bytes<'_>, most: usize) -> Vec<(u128, u128)> {
    let count = bytes.byte();
    if count >= 0xe0 {
        let (first, step) = (v6(bytes), u128::from(bytes.u16()) + 1);
        let shift = SHIFTS_V6[bytes.below(SHIFTS_V6.len())];
        let row = (0..=u128::from(bytes.byte())).map(|at| first.wrapping_add((at * step) << shift));
        return row.map(|address| (address, address)).collect();
    }
    (0..usize::from(count % 16).min(most)).map(|_| range_v6(bytes)).collect()
}

/// Ranges as a source lists them, of few ASes.
pub(crate) fn listed<A>(ranges: Vec<(A, A)>, bytes: &mut Bytes<'_>) -> Vec<Listed<A>> {
    ranges.into_iter().map(|(first, last)| Listed { first, last, asn: bytes.byte().into() }).collect()
}
