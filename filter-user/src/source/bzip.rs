//! bzip2, because `RouteViews` publishes its dumps that way. Never grows a file beyond the caller's limit.

use std::io::{ErrorKind, Read};

use bzip2::bufread::MultiBzDecoder;

/// Why a bzip2 file cannot be unpacked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BzipError {
    /// The file ends inside a stream.
    #[error("bzip2 file is truncated; download it again")]
    Truncated,
    /// The file unpacks to more than the limit.
    #[error("bzip2 file unpacks to more than {limit} bytes; check that it is the right file")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A header, a block or a checksum is wrong, or something else follows the last stream.
    #[error("bzip2 file is damaged ({0}); download it again")]
    Damaged(String),
}

/// True when `bytes` start with the header of a bzip2 stream: `BZh` and the block size in units of 100,000 bytes.
#[must_use]
pub fn is_bzip2(bytes: &[u8]) -> bool {
    matches!(bytes, [b'B', b'Z', b'h', b'1'..=b'9', ..])
}

/// Unpacks all streams of a bzip2 file, to `limit` bytes at most.
pub fn inflate(bytes: &[u8], limit: usize) -> Result<Vec<u8>, BzipError> {
    let mut content = Vec::new();
    // One byte more than allowed tells "exactly the limit" from "over it".
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiBzDecoder::new(bytes).take(most).read_to_end(&mut content).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => BzipError::Truncated,
        _ => BzipError::Damaged(error.to_string()),
    })?;
    if content.len() > limit { Err(BzipError::TooLarge { limit }) } else { Ok(content) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use bzip2::{Compression, write::BzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    pub(in crate::source) fn compressed(content: &[u8]) -> Vec<u8> {
        let mut encoder = BzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// What `printf '192.0.2.0/24\n' | bzip2` writes (bzip2 1.0.8).
    const BY_BZIP2: &str = "425a683931415926535949a599a2000003d80000100001f420\
                            2000310c081a68c24818415d8ef8bb9229c284824d2ccd10";

    #[test]
    fn what_the_bzip2_program_writes_is_read() {
        let bytes: Vec<u8> =
            (0..BY_BZIP2.len() / 2).map(|at| u8::from_str_radix(&BY_BZIP2[2 * at..2 * at + 2], 16).unwrap()).collect();
        assert!(is_bzip2(&bytes));
        assert_eq!(inflate(&bytes, 100).unwrap(), b"192.0.2.0/24\n");
    }

    #[test]
    fn several_streams_are_one_file() {
        let bytes = [compressed(b"one\n"), compressed(b""), compressed(b"two\n")].concat();
        assert!(is_bzip2(&bytes) && !is_bzip2(b"BZh0rest") && !is_bzip2(b"BZh"));
        assert_eq!(inflate(&bytes, 8).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn a_file_cut_anywhere_is_truncated() {
        let bytes = compressed(b"192.0.2.0/24\n198.51.100.0/24\n");
        for length in 4..bytes.len() {
            let error = inflate(&bytes[..length], 100).unwrap_err();
            assert_eq!(error.to_string(), "bzip2 file is truncated; download it again", "{length} bytes");
        }
    }

    #[test]
    fn the_limit_is_inclusive() {
        let bytes = compressed(&[b'x'; 1000]);
        assert_eq!(inflate(&bytes, 1000).unwrap().len(), 1000);
        let error = inflate(&bytes, 999).unwrap_err();
        assert_eq!(error.to_string(), "bzip2 file unpacks to more than 999 bytes; check that it is the right file");
    }

    #[test]
    fn a_wrong_checksum_and_trailing_bytes_are_damage() {
        let mut bytes = compressed(b"192.0.2.0/24\n");
        let trailing = [bytes.as_slice(), b"<html>not bzip2</html>"].concat();
        // The block's checksum follows the stream's header and the block's magic.
        bytes[10] ^= 1;
        for bytes in [bytes, trailing] {
            let message = inflate(&bytes, 100).unwrap_err().to_string();
            assert!(
                message.starts_with("bzip2 file is damaged (") && message.ends_with("); download it again"),
                "{message}"
            );
        }
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = compressed(b"192.0.2.0/24\n198.51.100.0/24\n203.0.113.0/24\n");
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let _ = inflate(&bytes, 1000);
        }
    }
}
