//! Captures in every form that weir reads, made of a real one. editcap writes some; the others are written here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_tests::weir::Scratch;

/// How a capture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// pcap in the other byte order, microseconds.
    BigEndian,
    /// pcap in the other byte order, nanoseconds.
    BigEndianNano,
    /// pcapng in the other byte order.
    PcapngBigEndian,
    /// pcapng with Simple Packet Blocks.
    PcapngSimple,
    /// Linux cooked, link type 113.
    Cooked,
    /// Linux cooked version 2, link type 276.
    Cooked2,
    /// The IP packets alone, link type 101.
    RawIp,
}

impl Form {
    /// Those that keep the frames as they are.
    pub(crate) const CONTAINERS: [Self; 4] =
        [Self::BigEndian, Self::BigEndianNano, Self::PcapngBigEndian, Self::PcapngSimple];
}

/// One record of a capture.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) bytes: Vec<u8>,
    pub(crate) wire_len: u32,
}

impl Record {
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        let wire_len = u32::try_from(bytes.len()).unwrap();
        Self { bytes, wire_len }
    }
}

/// Runs editcap on a capture.
pub(crate) fn editcap(options: &[&str], capture: &Path, scratch: &Scratch) -> PathBuf {
    let path = scratch.path().join(options.concat());
    let output = Command::new("editcap").args(options).arg(capture).arg(&path).output().unwrap();
    assert!(output.status.success(), "editcap {options:?}: {}", String::from_utf8_lossy(&output.stderr));
    path
}

/// The records of a capture.
pub(crate) fn records(capture: &Path, scratch: &Scratch) -> Vec<Record> {
    let bytes = fs::read(editcap(&["-F", "pcap"], capture, scratch)).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 1), "Ethernet, microseconds");
    let (mut records, mut at) = (Vec::new(), 24);
    while at < bytes.len() {
        let held = word(at + 8) as usize;
        records.push(Record { bytes: bytes[at + 16..at + 16 + held].to_vec(), wire_len: word(at + 12) });
        at += 16 + held;
    }
    records
}

/// Writes a capture in another form.
pub(crate) fn convert(capture: &Path, form: Form, scratch: &Scratch) -> PathBuf {
    let records = records(capture, scratch);
    let bytes = match form {
        Form::BigEndian => pcap(0xa1b2_c3d4, 1, u32::to_be_bytes, &records),
        Form::BigEndianNano => pcap(0xa1b2_3c4d, 1, u32::to_be_bytes, &records),
        Form::PcapngBigEndian => pcapng(u32::to_be_bytes, false, &records),
        Form::PcapngSimple => pcapng(u32::to_le_bytes, true, &records),
        Form::Cooked => pcap(0xa1b2_c3d4, 113, u32::to_le_bytes, &replaced(&records, cooked)),
        Form::Cooked2 => pcap(0xa1b2_c3d4, 276, u32::to_le_bytes, &replaced(&records, cooked2)),
        Form::RawIp => {
            let plain = |record: &Record| [[8, 0], [0x86, 0xdd]].contains(&ethertype(&record.bytes));
            let plain: Vec<Record> = records.into_iter().filter(plain).collect();
            pcap(0xa1b2_c3d4, 101, u32::to_le_bytes, &replaced(&plain, |_| Vec::new()))
        }
    };
    scratch.file(&format!("{form:?}"), bytes)
}

fn ethertype(frame: &[u8]) -> [u8; 2] {
    [frame[12], frame[13]]
}

/// The records with another header in the Ethernet header's place.
fn replaced(records: &[Record], header: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Record> {
    let replace = |record: &Record| {
        let header = header(&record.bytes);
        let wire_len = record.wire_len - 14 + u32::try_from(header.len()).unwrap();
        Record { bytes: [&header, &record.bytes[14..]].concat(), wire_len }
    };
    records.iter().map(replace).collect()
}

/// `LINKTYPE_LINUX_SLL`: packet type, `ARPHRD_ETHER`, address length, source address, padding, protocol.
fn cooked(frame: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 1, 0, 6], &frame[6..12], &[0, 0], &ethertype(frame)[..]].concat()
}

/// `LINKTYPE_LINUX_SLL2`: protocol, reserved, interface, `ARPHRD_ETHER`, packet type, address length, source address,
/// padding.
fn cooked2(frame: &[u8]) -> Vec<u8> {
    [&ethertype(frame)[..], &[0, 0, 0, 0, 0, 2, 0, 1, 0, 6], &frame[6..12], &[0, 0]].concat()
}

/// A pcap file (draft-ietf-opsawg-pcap).
pub(crate) fn pcap(magic: u32, link: u32, word: fn(u32) -> [u8; 4], records: &[Record]) -> Vec<u8> {
    // Version 2.4 as two 16-bit fields.
    let version = if word(1)[0] == 0 { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
    let mut file = [word(magic), version, word(0), word(0), word(262_144), word(link)].concat();
    for Record { bytes, wire_len } in records {
        let held = u32::try_from(bytes.len()).unwrap();
        file.extend([word(1_700_000_000), word(999_999), word(held), word(*wire_len)].concat());
        file.extend(bytes);
    }
    file
}

/// A pcapng file of one section and one Ethernet interface (draft-ietf-opsawg-pcapng).
fn pcapng(word: fn(u32) -> [u8; 4], simple: bool, records: &[Record]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let padding = vec![0; body.len().wrapping_neg() % 4];
        let length = word(u32::try_from(12 + body.len() + padding.len()).unwrap());
        [&word(kind), &length, body, &padding, &length].concat()
    };
    let is_big = word(1)[0] == 0;
    let half = |value: u16| if is_big { value.to_be_bytes() } else { value.to_le_bytes() };
    let section = [&word(0x1a2b_3c4d)[..], &half(1), &half(0), &[0xff; 8]].concat();
    let interface = [&half(1)[..], &half(0), &word(0)].concat();
    let mut file = [block(0x0a0d_0d0a, &section), block(1, &interface)].concat();
    for Record { bytes, wire_len } in records {
        let held = u32::try_from(bytes.len()).unwrap();
        file.extend(if simple {
            block(3, &[&word(*wire_len), &bytes[..]].concat())
        } else {
            let fields = [word(0), word(0), word(0), word(held), word(*wire_len)].concat();
            block(6, &[&fields, &bytes[..]].concat())
        });
    }
    file
}
