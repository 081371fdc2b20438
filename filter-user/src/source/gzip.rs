//! gzip (RFC 1952), because feeds and tables are published that way. Never grows a file beyond the caller's limit.

use std::io::{ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

/// The most a source may unpack to, in bytes, because all of it is held in memory at once.
///
/// Enough for the whole Internet in every form that is read: 1.3 million routes are 33 MB as text and 72 MB as JSON
/// lines, 700,000 VRPs 72 MB, 520,000 ranges with names 33 MB. A table that goes down to single addresses can be larger;
/// its publisher has it as a `MaxMind` database, too, which needs no unpacking.
pub const LIMIT: usize = 256 << 20;

/// Why a gzip file cannot be unpacked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GzipError {
    /// The file ends inside a member.
    #[error("gzip file is truncated; download it again")]
    Truncated,
    /// The file unpacks to more than the limit.
    #[error("gzip file unpacks to more than {limit} bytes; check that it is the right file")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A header, a block or a checksum is wrong, or something else follows the last member.
    #[error("gzip file is damaged ({0}); download it again")]
    Damaged(String),
}

/// True when `bytes` start with the gzip magic.
#[must_use]
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x1f\x8b")
}

/// Unpacks all members of a gzip file, to `limit` bytes at most.
pub fn inflate(bytes: &[u8], limit: usize) -> Result<Vec<u8>, GzipError> {
    let mut content = Vec::new();
    // One byte more than allowed tells "exactly the limit" from "over it".
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(bytes).take(most).read_to_end(&mut content).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => GzipError::Truncated,
        _ => GzipError::Damaged(error.to_string()),
    })?;
    if content.len() > limit { Err(GzipError::TooLarge { limit }) } else { Ok(content) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    pub(in crate::source) fn compressed(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn several_members_are_one_file() {
        let bytes = [compressed(b"one\n"), compressed(b"two\n")].concat();
        assert!(is_gzip(&bytes));
        assert_eq!(inflate(&bytes, LIMIT).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn a_file_cut_anywhere_is_truncated() {
        let bytes = compressed(b"192.0.2.0/24\n198.51.100.0/24\n");
        for length in 2..bytes.len() {
            let error = inflate(&bytes[..length], LIMIT).unwrap_err();
            assert_eq!(error.to_string(), "gzip file is truncated; download it again", "{length} bytes");
        }
    }

    #[test]
    fn the_limit_is_inclusive() {
        let bytes = compressed(&[b'x'; 1000]);
        assert_eq!(inflate(&bytes, 1000).unwrap().len(), 1000);
        let error = inflate(&bytes, 999).unwrap_err();
        assert_eq!(error.to_string(), "gzip file unpacks to more than 999 bytes; check that it is the right file");
    }

    #[test]
    fn a_wrong_checksum_and_trailing_bytes_are_damage() {
        let mut bytes = compressed(b"192.0.2.0/24\n");
        let trailing = [bytes.as_slice(), b"<html>not gzip</html>"].concat();
        let checksum = bytes.len() - 8;
        bytes[checksum] ^= 1;
        for bytes in [bytes, trailing] {
            let message = inflate(&bytes, LIMIT).unwrap_err().to_string();
            assert!(
                message.starts_with("gzip file is damaged (") && message.ends_with("); download it again"),
                "{message}"
            );
        }
    }
}
