//! The records of an MRT dump, one after the other, out of a compressed stream or none. Looks into no record.

use std::io::{BufReader, ErrorKind, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;

use super::{MAX_RECORD, MrtError};
use crate::source::{bzip, gzip};

/// MRT types (RFC 6396 section 4).
pub(super) const TABLE_DUMP: u16 = 12;
pub(super) const TABLE_DUMP_V2: u16 = 13;
pub(super) const BGP4MP: u16 = 16;
pub(super) const BGP4MP_ET: u16 = 17;

/// The records of a dump, one after the other.
pub(super) struct Records<'a> {
    source: BufReader<Box<dyn Read + 'a>>,
    /// The compressed form; `None` for a plain dump.
    form: Option<&'static str>,
    /// Whole records so far.
    number: u64,
    /// The bytes of the records so far.
    unpacked: u64,
    limit: u64,
    body: Vec<u8>,
}

/// The common header (RFC 6396 section 2) without its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: u16,
    pub(super) subtype: u16,
    length: u32,
}

/// How the records end where they do not just end.
#[derive(Debug)]
pub(super) enum End {
    Cut(String),
    Error(MrtError),
}

impl<'a> Records<'a> {
    /// The records of `bytes`, a file as it lies on disk, up to `limit` bytes of them.
    pub(super) fn new(bytes: &'a [u8], limit: u64) -> Self {
        let (source, form): (Box<dyn Read + 'a>, _) = if gzip::is_gzip(bytes) {
            (Box::new(MultiGzDecoder::new(bytes)), Some("gzip"))
        } else if bzip::is_bzip2(bytes) {
            (Box::new(MultiBzDecoder::new(bytes)), Some("bzip2"))
        } else {
            (Box::new(bytes), None)
        };
        let source = BufReader::with_capacity(1 << 16, source);
        Self { source, form, number: 0, unpacked: 0, limit, body: Vec::new() }
    }

    /// The number of the latest record, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The latest record without its header.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Reads the next record; `None` behind the last.
    pub(super) fn next(&mut self) -> Result<Option<Header>, End> {
        let Some(header) = self.header()? else { return Ok(None) };
        self.unpacked += 12 + u64::from(header.length);
        if self.unpacked > self.limit {
            return Err(End::Error(MrtError::TooLarge { limit: self.limit }));
        }
        // Gone before the next one is there: two of 16 MiB are one too many.
        self.body = Vec::new();
        let mut body = vec![0; header.length as usize];
        let read = self.fill(&mut body)?;
        if read < body.len() {
            return Err(self.ends_inside());
        }
        self.body = body;
        self.number += 1;
        Ok(Some(header))
    }

    /// Reads the next record's header only; `None` behind the last record.
    pub(super) fn header(&mut self) -> Result<Option<Header>, End> {
        let mut bytes = [0; 12];
        match self.fill(&mut bytes)? {
            0 => return Ok(None),
            12 => {}
            _ => return Err(self.ends_inside()),
        }
        let [_, _, _, _, kind @ .., s0, s1, l0, l1, l2, l3] = bytes;
        let kind = u16::from_be_bytes(kind);
        let header =
            Header { kind, subtype: u16::from_be_bytes([s0, s1]), length: u32::from_be_bytes([l0, l1, l2, l3]) };
        let record = self.number + 1;
        if !matches!(kind, TABLE_DUMP | TABLE_DUMP_V2 | BGP4MP | BGP4MP_ET) {
            return Err(End::Error(MrtError::Type { record, kind }));
        }
        if header.length > MAX_RECORD {
            return Err(End::Error(MrtError::Length { record, length: header.length }));
        }
        Ok(Some(header))
    }

    /// Fills `buffer` as far as the dump goes.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, End> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.stopped(&error)),
            }
        }
        Ok(filled)
    }

    fn ends_inside(&self) -> End {
        End::Cut(format!("the dump ends inside record {}", self.number + 1))
    }

    fn stopped(&self, error: &std::io::Error) -> End {
        let records = self.number;
        match self.form {
            Some(form) if error.kind() == ErrorKind::UnexpectedEof => {
                End::Cut(format!("the {form} stream is cut after record {records}"))
            }
            _ => End::Error(MrtError::Unpacking { records, reason: error.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::gzip::tests::compressed;

    fn record(kind: u8, length: u32, body: usize) -> Vec<u8> {
        [&[0, 0, 0, 0, 0, kind, 0, 4][..], &length.to_be_bytes(), &vec![7; body]].concat()
    }

    fn error(bytes: &[u8], limit: u64) -> String {
        let mut records = Records::new(bytes, limit);
        loop {
            match records.next() {
                Ok(header) => assert!(header.is_some(), "no error"),
                Err(End::Cut(why)) => return why,
                Err(End::Error(error)) => return error.to_string(),
            }
        }
    }

    #[test]
    fn the_limit_is_inclusive() {
        let bytes = [record(16, 8, 8), record(13, 0, 0)].concat();
        let message = "MRT dump unpacks to more than 31 bytes; check that it is the right file";
        assert_eq!(error(&compressed(&bytes), 31), message);
        let mut records = Records::new(&bytes, 32);
        assert_eq!(records.next().unwrap().map(|header| (header.kind, header.subtype)), Some((16, 4)));
        assert_eq!((records.body(), records.number()), (&[7; 8][..], 1));
        assert_eq!(records.next().unwrap().map(|header| (header.kind, header.length)), Some((13, 0)));
        assert!(records.next().unwrap().is_none());
        assert_eq!((records.body(), records.number()), (&[][..], 2));
    }

    #[test]
    fn a_length_beyond_any_record_is_refused_before_memory_is_taken() {
        for length in [MAX_RECORD + 1, u32::MAX] {
            let message = format!("MRT dump is damaged: record 2 says it is {length} bytes long; download it again");
            assert_eq!(error(&[record(13, 0, 0), record(13, length, 9)].concat(), u64::MAX), message);
        }
        assert_eq!(error(&record(13, MAX_RECORD, 9), u64::MAX), "the dump ends inside record 1");
    }

    #[test]
    fn types_that_are_no_bgp_table_are_refused() {
        for kind in (0..12).chain([14, 15]).chain(18..=255) {
            let message =
                format!("MRT dump is damaged: record 1 is of type {kind}, not of a BGP table; download it again");
            assert_eq!(error(&record(kind, 0, 0), u64::MAX), message);
        }
    }
}
