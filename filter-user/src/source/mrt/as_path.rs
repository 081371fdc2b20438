//! BGP path attributes to the AS that originates the route: the two attributes that say it, no other is looked into.
//!
//! The origin is the last AS of the last segment where that is an `AS_SEQUENCE` (RFC 6811 section 2). An `AS_SET` names
//! several and none of them; a path that is empty or ends in a confederation means the speaker's own AS, which the
//! attributes do not hold.

use crate::prefix::Asn;

const AS_PATH: u8 = 2;
const AS4_PATH: u8 = 17;

/// The flag "extended length" (RFC 4271 section 4.3): the length has two bytes.
const EXTENDED_LENGTH: u8 = 0x10;

/// Segment types (RFC 4271 section 4.3, RFC 5065 section 3).
const AS_SET: u8 = 1;
const AS_SEQUENCE: u8 = 2;
const AS_CONFED_SEQUENCE: u8 = 3;
const AS_CONFED_SET: u8 = 4;

/// How long an AS number is in an `AS_PATH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AsnSize {
    /// As before RFC 6793: longer numbers stand in `AS4_PATH`, and 23456 in their place.
    TwoBytes,
    /// As since then.
    FourBytes,
}

/// Who originates a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This AS; also one that no network has, such as AS0.
    As(Asn),
    /// One or more of a set of ASes.
    Set,
    /// The AS of the speaker whose table it is, or one of its confederation.
    Own,
}

/// Why path attributes cannot be read, as the end of a sentence about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributesError {
    /// The bytes end inside an attribute.
    #[error("an attribute reaches past the end of its route")]
    Cut,
    /// A segment of unknown type, without an AS, or longer than the attribute (RFC 7606 section 7.2).
    #[error("an AS_PATH is malformed")]
    AsPath,
}

/// The origin that the path attributes of a route give, read to their end.
pub(super) fn origin(attributes: &[u8], size: AsnSize) -> Result<Origin, AttributesError> {
    let (mut as_path, mut as4_path) = (None, None);
    let mut rest = attributes;
    while !rest.is_empty() {
        let (code, value) = attribute(&mut rest).ok_or(AttributesError::Cut)?;
        // Of an attribute that stands there twice, the first counts (RFC 7606 section 3 g).
        match code {
            AS_PATH => as_path = as_path.or(Some(value)),
            AS4_PATH => as4_path = as4_path.or(Some(value)),
            _ => {}
        }
    }
    let Some(as_path) = as_path else { return Ok(Origin::Own) };
    let path = path(as_path, size).ok_or(AttributesError::AsPath)?;
    // A speaker that knows long AS numbers ignores AS4_PATH from its like (RFC 6793 section 4.1), and a malformed one
    // always (section 6): others pass it on unread, so one bad network would spoil everyone's tables.
    let as4_path =
        as4_path.filter(|_| size == AsnSize::TwoBytes).and_then(|value| self::path(value, AsnSize::FourBytes));
    Ok(match as4_path {
        // The end of the path comes from AS4_PATH, unless that has more ASes than there are (section 4.2.3).
        Some(as4_path) if as4_path.origin != Origin::Own && as4_path.length <= path.length => as4_path.origin,
        _ => path.origin,
    })
}

/// The type and the value of the next attribute.
fn attribute<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (length, code, tail) = match **rest {
        [flags, code, high, low, ref tail @ ..] if flags & EXTENDED_LENGTH != 0 => {
            (u16::from_be_bytes([high, low]), code, tail)
        }
        [flags, code, length, ref tail @ ..] if flags & EXTENDED_LENGTH == 0 => (length.into(), code, tail),
        _ => return None,
    };
    let (value, tail) = tail.split_at_checked(length.into())?;
    *rest = tail;
    Some((code, value))
}

struct Path {
    origin: Origin,
    /// As RFC 4271 section 9.1.2.2 counts ASes: a set is one, a confederation is none.
    length: usize,
}

fn path(mut rest: &[u8], size: AsnSize) -> Option<Path> {
    let mut path = Path { origin: Origin::Own, length: 0 };
    while let [kind, count, tail @ ..] = rest {
        let count = usize::from(*count);
        let (segment, tail) = tail.split_at_checked(match size {
            AsnSize::TwoBytes => 2 * count,
            AsnSize::FourBytes => 4 * count,
        })?;
        // None where the segment is empty.
        let last = match size {
            AsnSize::TwoBytes => segment.last_chunk().map(|&last| u16::from_be_bytes(last).into()),
            AsnSize::FourBytes => segment.last_chunk().map(|&last| u32::from_be_bytes(last)),
        }?;
        let (origin, length) = match *kind {
            AS_SEQUENCE => (Origin::As(last), count),
            AS_SET => (Origin::Set, 1),
            AS_CONFED_SEQUENCE | AS_CONFED_SET => (Origin::Own, 0),
            _ => return None,
        };
        path = Path { origin, length: path.length + length };
        rest = tail;
    }
    rest.is_empty().then_some(path)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use bgpkit_parser::models::{AsPathSegment, AsnLength};
    use bgpkit_parser::parser::bgp::attributes::parse_attributes;
    use proptest::prelude::*;
    use std::ops::{Range, RangeInclusive};

    /// Type and ASes.
    pub(in crate::source::mrt) type Segment<'a> = (u8, &'a [Asn]);

    pub(in crate::source::mrt) fn segments(segments: &[Segment<'_>], size: AsnSize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, asns) in segments {
            bytes.extend([*kind, u8::try_from(asns.len()).unwrap()]);
            for asn in *asns {
                match size {
                    AsnSize::TwoBytes => bytes.extend(u16::try_from(*asn).unwrap().to_be_bytes()),
                    AsnSize::FourBytes => bytes.extend(asn.to_be_bytes()),
                }
            }
        }
        bytes
    }

    pub(in crate::source::mrt) fn attribute(code: u8, value: &[u8]) -> Vec<u8> {
        [&[0x40, code, u8::try_from(value.len()).unwrap()], value].concat()
    }

    const ORIGIN_IGP: &[u8] = &[0x40, 1, 1, 0];

    fn of_path(path: &[Segment<'_>]) -> Origin {
        let of = |size| {
            let attributes = [ORIGIN_IGP, &attribute(AS_PATH, &segments(path, size))].concat();
            origin(&attributes, size).unwrap()
        };
        assert_eq!(of(AsnSize::TwoBytes), of(AsnSize::FourBytes));
        of(AsnSize::TwoBytes)
    }

    fn of_two_paths(path: &[Segment<'_>], as4_path: &[u8], size: AsnSize) -> Origin {
        // In this order, the one that RFC 4271 section 5 forbids nobody.
        let attributes = [attribute(AS4_PATH, as4_path), attribute(AS_PATH, &segments(path, size))].concat();
        origin(&attributes, size).unwrap()
    }

    fn long(path: &[Segment<'_>]) -> Vec<u8> {
        segments(path, AsnSize::FourBytes)
    }

    #[test]
    fn the_origin_is_the_last_as_of_the_last_sequence() {
        assert_eq!(of_path(&[(2, &[3356, 1299, 13335])]), Origin::As(13335));
        assert_eq!(of_path(&[(2, &[3356]), (1, &[7, 8]), (2, &[9])]), Origin::As(9));
        assert_eq!(of_path(&[(3, &[65001]), (2, &[3356])]), Origin::As(3356));
        let path = attribute(AS_PATH, &long(&[(2, &[3356, 4_200_000_000])]));
        assert_eq!(origin(&path, AsnSize::FourBytes), Ok(Origin::As(4_200_000_000)));
    }

    #[test]
    fn sets_confederations_and_empty_paths_name_no_origin() {
        assert_eq!(of_path(&[(2, &[3356, 1299]), (1, &[7, 8])]), Origin::Set);
        assert_eq!(of_path(&[(2, &[3356, 1299]), (1, &[7])]), Origin::Set);
        assert_eq!(of_path(&[(2, &[3356]), (3, &[65001])]), Origin::Own);
        assert_eq!(of_path(&[(4, &[65001, 65002])]), Origin::Own);
        assert_eq!(of_path(&[]), Origin::Own);
        assert_eq!(origin(ORIGIN_IGP, AsnSize::FourBytes), Ok(Origin::Own));
        assert_eq!(origin(&[], AsnSize::TwoBytes), Ok(Origin::Own));
    }

    #[test]
    fn a_long_origin_is_taken_from_as4_path() {
        let path: &[Segment<'_>] = &[(2, &[3356, 23456, 23456])];
        let of = |as4_path: &[Segment<'_>]| of_two_paths(path, &long(as4_path), AsnSize::TwoBytes);
        assert_eq!(of(&[(2, &[70000, 80000])]), Origin::As(80000));
        assert_eq!(of(&[(2, &[1, 70000, 80000])]), Origin::As(80000));
        assert_eq!(of(&[(2, &[70000]), (1, &[80000, 90000])]), Origin::Set);
        // Longer than the path: someone without long AS numbers has shortened that since.
        assert_eq!(of(&[(2, &[1, 2, 70000, 80000])]), Origin::As(23456));
        // A set counts as one AS, so this one is not longer.
        assert_eq!(of(&[(1, &[1, 2, 3, 4]), (2, &[80000])]), Origin::As(80000));
        assert_eq!(of(&[]), Origin::As(23456));
    }

    #[test]
    fn as4_path_is_ignored_where_it_may_not_stand_or_is_malformed() {
        let good = long(&[(2, &[70000])]);
        assert_eq!(of_two_paths(&[(2, &[1])], &good, AsnSize::TwoBytes), Origin::As(70000));
        assert_eq!(of_two_paths(&[(2, &[1])], &good, AsnSize::FourBytes), Origin::As(1));
        assert_eq!(of_two_paths(&[(2, &[1])], &good[..5], AsnSize::TwoBytes), Origin::As(1));
        assert_eq!(of_two_paths(&[(2, &[1])], &long(&[(3, &[70000])]), AsnSize::TwoBytes), Origin::As(1));
    }

    #[test]
    fn of_an_attribute_that_stands_twice_the_first_counts() {
        let twice = [attribute(AS_PATH, &long(&[(2, &[1])])), attribute(AS_PATH, &long(&[(2, &[2])]))].concat();
        assert_eq!(origin(&twice, AsnSize::FourBytes), Ok(Origin::As(1)));
    }

    #[test]
    fn an_attribute_may_have_a_length_of_two_bytes() {
        let path = long(&[(2, &[7; 255]), (2, &[9])]);
        let length = u16::try_from(path.len()).unwrap().to_be_bytes();
        let attributes = [&[0x50, AS_PATH], &length[..], &path, ORIGIN_IGP].concat();
        assert_eq!(origin(&attributes, AsnSize::FourBytes), Ok(Origin::As(9)));
    }

    #[test]
    fn attributes_cut_anywhere_are_refused() {
        let attributes = [ORIGIN_IGP, &attribute(AS_PATH, &long(&[(2, &[1, 2])]))].concat();
        for length in (1..attributes.len()).filter(|&length| length != ORIGIN_IGP.len()) {
            assert_eq!(origin(&attributes[..length], AsnSize::FourBytes), Err(AttributesError::Cut), "{length} bytes");
        }
        assert_eq!(origin(&[0x50, AS_PATH, 0], AsnSize::FourBytes), Err(AttributesError::Cut));
    }

    #[test]
    fn a_malformed_as_path_is_refused() {
        let path = long(&[(2, &[1, 2])]);
        let cut = &path[..path.len() - 1];
        let long_asns = &long(&[(2, &[1])])[..];
        for value in [cut, &[2], &[2, 0], &[2, 1], &[0, 1, 0, 0, 0, 1], &[5, 1, 0, 0, 0, 1]] {
            let malformed = origin(&attribute(AS_PATH, value), AsnSize::FourBytes);
            assert_eq!(malformed, Err(AttributesError::AsPath), "{value:?}");
        }
        assert_eq!(origin(&attribute(AS_PATH, long_asns), AsnSize::TwoBytes), Err(AttributesError::AsPath));
    }

    /// By bgpkit-parser, which joins the two paths into one.
    fn oracle(attributes: &[u8], size: AsnSize) -> Origin {
        let size = if size == AsnSize::TwoBytes { AsnLength::Bits16 } else { AsnLength::Bits32 };
        let attributes = parse_attributes(attributes.to_vec().into(), &size, false, None, None, None).unwrap();
        match attributes.effective_as_path().unwrap().segments.last() {
            Some(AsPathSegment::AsSequence(asns)) => Origin::As(asns.last().unwrap().to_u32()),
            Some(AsPathSegment::AsSet(_)) => Origin::Set,
            _ => Origin::Own,
        }
    }

    fn any_path(kinds: RangeInclusive<u8>, segments: Range<usize>) -> impl Strategy<Value = Vec<(u8, Vec<Asn>)>> {
        prop::collection::vec((kinds, prop::collection::vec(0_u32..65536, 1..4)), segments)
    }

    fn borrowed(path: &[(u8, Vec<Asn>)]) -> Vec<Segment<'_>> {
        path.iter().map(|(kind, asns)| (*kind, asns.as_slice())).collect()
    }

    proptest! {
        #[test]
        fn the_origin_is_the_one_bgpkit_parser_finds(path in any_path(1..=4, 0..4), as4_path in any_path(1..=2, 1..4)) {
            let size = AsnSize::TwoBytes;
            let path = attribute(AS_PATH, &segments(&borrowed(&path), size));
            let both = [path.as_slice(), &attribute(AS4_PATH, &long(&borrowed(&as4_path)))].concat();
            for attributes in [path, both] {
                prop_assert_eq!(origin(&attributes, size).unwrap(), oracle(&attributes, size));
            }
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = origin(&bytes, AsnSize::TwoBytes);
            let _ = origin(&[&[0x40, AS_PATH, u8::try_from(bytes.len()).unwrap()], &bytes[..]].concat(), AsnSize::FourBytes);
        }
    }
}
