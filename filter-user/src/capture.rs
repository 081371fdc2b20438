//! Packet captures: bytes of a pcap or pcapng file in, frames out.
//!
//! `weir replay` runs each frame through the shipped program, so a frame must look here as it looked to a device: the
//! headers that a capture tool invents (Linux cooked, BSD loopback) are taken off. Pure: no file is opened here, no
//! address is looked at, and no length that the file claims is trusted or allocated.

use std::borrow::Cow;

pub use filter_common::packet::Layer;

use pcap_parser::pcapng::{
    parse_enhancedpacketblock_be, parse_enhancedpacketblock_le, parse_interfacedescriptionblock_be,
    parse_interfacedescriptionblock_le, parse_sectionheaderblock, parse_simplepacketblock_be,
    parse_simplepacketblock_le, parse_unknownblock_be, parse_unknownblock_le,
};
use pcap_parser::{EPB_MAGIC, IDB_MAGIC, SHB_MAGIC, SPB_MAGIC};
use pcap_parser::{parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified, parse_pcap_header};

/// The Packet Block that the Enhanced Packet Block replaced; old files still hold it and `pcap-parser` does not read it.
const OBSOLETE_PACKET_BLOCK: u32 = 2;
/// Block type, both lengths: the least a pcapng block can be.
const BLOCK_MIN: usize = 12;
const RECORD_HEADER: usize = 16;
const RECORD_HEADER_MODIFIED: usize = 24;
const ETHERNET_HEADER: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// One frame of a capture, as weir would see it on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// With which header `bytes` starts.
    pub layer: Layer,
    /// What the capture kept of the frame; owned only where an Ethernet header was rebuilt.
    pub bytes: Cow<'a, [u8]>,
    /// How long the frame was on the wire, counted from the first byte of the layer that weir sees.
    ///
    /// Ethernet and raw IP: the original length in the capture. Cooked and loopback captures: the original length
    /// without the header that the capture tool put in front; plus 14 where an Ethernet header was rebuilt. Never less
    /// than `bytes.len()`, even where the capture claims so.
    pub wire_len: u32,
    /// The packet's number in the capture, from 1, as tshark counts.
    pub number: u64,
}

/// Why a capture, or the rest of it, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// The magic number is of neither format.
    #[error("not a pcap or pcapng capture; save it with tcpdump -w or Wireshark")]
    NotACapture,
    /// The file ends inside a packet; every packet before it was given.
    #[error("the capture is cut off inside packet {number}")]
    CutOffInPacket {
        /// The packet that is not whole.
        number: u64,
    },
    /// The file ends inside something else than a packet.
    #[error("the capture is cut off after packet {number}")]
    CutOffAfter {
        /// The last whole packet; 0 if there is none.
        number: u64,
    },
    /// Frames of this link type are not understood.
    #[error(
        "link type {link} is not supported; supported: null (0), ethernet (1), raw IP (12, 14, 101), loop (108), \
         linux cooked (113, 276), IPv4 (228), IPv6 (229)"
    )]
    UnsupportedLink {
        /// The number in the tcpdump registry of link types.
        link: u32,
    },
    /// A pcapng packet names an interface that its section did not describe.
    #[error("packet {number} names interface {interface}, but its section describes {known}")]
    UnknownInterface {
        /// The packet.
        number: u64,
        /// The interface it names, from 0.
        interface: u32,
        /// How many interfaces the section has described so far.
        known: usize,
    },
    /// The lengths inside a pcapng block contradict each other.
    #[error("the pcapng block (type {block:#x}) after packet {number} is malformed")]
    MalformedBlock {
        /// The block's type.
        block: u32,
        /// The last packet before the block; 0 if there is none.
        number: u64,
    },
}

/// Reads a capture, frame by frame.
///
/// The iterator ends after the first error. It borrows from `bytes` and copies a frame only to rebuild its header.
pub fn frames(bytes: &[u8]) -> Result<Frames<'_>, CaptureError> {
    if read_u32(bytes, 0, Order::Little) != Some(SHB_MAGIC) {
        return pcap_frames(bytes);
    }
    let order = section_order(bytes).ok_or(CaptureError::NotACapture)?;
    Ok(Frames { format: Format::Pcapng { order, interfaces: Vec::new() }, rest: bytes, number: 0, ended: false })
}

fn pcap_frames(bytes: &[u8]) -> Result<Frames<'_>, CaptureError> {
    let Ok((rest, header)) = parse_pcap_header(bytes) else {
        let known = [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34];
        let magic = |order| read_u32(bytes, 0, order).is_some_and(|magic| known.contains(&magic));
        let is_pcap = magic(Order::Little) || magic(Order::Big);
        return Err(if is_pcap { CaptureError::CutOffAfter { number: 0 } } else { CaptureError::NotACapture });
    };
    // The upper bits hold the frame check sequence's length, not the link type.
    let link = Link::from_number(header.network.0.cast_unsigned() & 0x03ff_ffff)?;
    let records = match (header.is_modified_format(), header.is_bigendian()) {
        (true, _) => Records::Modified,
        (false, true) => Records::BigEndian,
        (false, false) => Records::LittleEndian,
    };
    Ok(Frames { format: Format::Pcap { records, link }, rest, number: 0, ended: false })
}

/// The frames of a capture: see [`frames`].
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    format: Format,
    rest: &'a [u8],
    number: u64,
    ended: bool,
}

#[derive(Clone, Debug)]
enum Format {
    Pcap { records: Records, link: Link },
    Pcapng { order: Order, interfaces: Vec<Interface> },
}

/// How the records of a pcap file are laid out.
#[derive(Clone, Copy, Debug)]
enum Records {
    LittleEndian,
    BigEndian,
    /// Alexey Kuznetzov's format, with eight more bytes per record.
    Modified,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

/// What a pcapng section says about one interface. The link type is judged when a packet needs it: a file may describe
/// a USB bus beside the Ethernet device and hold packets of the latter alone.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u32,
    snaplen: u32,
}

/// A packet as the file holds it.
#[derive(Clone, Copy, Debug)]
struct Record<'a> {
    bytes: &'a [u8],
    wire_len: u32,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Captured<'a>, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = match self.format {
            Format::Pcap { records, link } => self.next_record(records, link).transpose(),
            Format::Pcapng { .. } => self.next_block_packet().transpose(),
        };
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

impl<'a> Frames<'a> {
    fn next_record(&mut self, records: Records, link: Link) -> Result<Option<Captured<'a>>, CaptureError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (parse, header): (fn(&'a [u8]) -> _, _) = match records {
            Records::LittleEndian => (parse_pcap_frame, RECORD_HEADER),
            Records::BigEndian => (parse_pcap_frame_be, RECORD_HEADER),
            Records::Modified => (parse_pcap_frame_modified, RECORD_HEADER_MODIFIED),
        };
        let number = self.number + 1;
        if self.rest.len() < header {
            return Err(CaptureError::CutOffInPacket { number });
        }
        let (rest, block) = parse(self.rest).map_err(|_| CaptureError::CutOffInPacket { number })?;
        self.rest = rest;
        self.number = number;
        Ok(Some(link.uncover(Record { bytes: block.data, wire_len: block.origlen }, number)))
    }

    /// Walks to the next block that holds a packet. Blocks that do not matter here are stepped over by their length, so
    /// an odd statistics or comment block costs no packet.
    fn next_block_packet(&mut self) -> Result<Option<Captured<'a>>, CaptureError> {
        while !self.rest.is_empty() {
            let (block, kind) = self.take_block()?;
            let malformed = CaptureError::MalformedBlock { block: kind, number: self.number };
            let Format::Pcapng { order, interfaces } = &mut self.format else { return Ok(None) };
            let (interface, record) = match kind {
                SHB_MAGIC => {
                    parse_sectionheaderblock(block).map_err(|_| malformed)?;
                    interfaces.clear();
                    continue;
                }
                IDB_MAGIC => {
                    interfaces.push(interface_of(block, *order).ok_or(malformed)?);
                    continue;
                }
                EPB_MAGIC => enhanced_packet(block, *order).ok_or(malformed)?,
                SPB_MAGIC => {
                    let snaplen = interfaces.first().map_or(0, |interface| interface.snaplen);
                    (0, simple_packet(block, *order, snaplen).ok_or(malformed)?)
                }
                OBSOLETE_PACKET_BLOCK => obsolete_packet(block, *order).ok_or(malformed)?,
                _ => continue,
            };
            let number = self.number + 1;
            let described = usize::try_from(interface).ok().and_then(|index| interfaces.get(index));
            let known = interfaces.len();
            let described = described.ok_or(CaptureError::UnknownInterface { number, interface, known })?;
            let link = Link::from_number(described.link)?;
            self.number = number;
            return Ok(Some(link.uncover(record, number)));
        }
        Ok(None)
    }

    /// Cuts one whole block off the rest; a section header sets the byte order first.
    fn take_block(&mut self) -> Result<(&'a [u8], u32), CaptureError> {
        let number = self.number;
        let Format::Pcapng { order, .. } = &mut self.format else { return Err(CaptureError::NotACapture) };
        if self.rest.len() < BLOCK_MIN {
            return Err(CaptureError::CutOffAfter { number });
        }
        if read_u32(self.rest, 0, Order::Little) == Some(SHB_MAGIC) {
            let malformed = CaptureError::MalformedBlock { block: SHB_MAGIC, number };
            *order = section_order(self.rest).ok_or(malformed)?;
        }
        let kind = read_u32(self.rest, 0, *order).unwrap_or(0);
        let length = read_u32(self.rest, 4, *order).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|&length| length >= BLOCK_MIN);
        let length = length.ok_or(CaptureError::MalformedBlock { block: kind, number })?;
        let Some((block, rest)) = self.rest.split_at_checked(length) else {
            let is_packet = [EPB_MAGIC, SPB_MAGIC, OBSOLETE_PACKET_BLOCK].contains(&kind);
            return Err(if is_packet {
                CaptureError::CutOffInPacket { number: number + 1 }
            } else {
                CaptureError::CutOffAfter { number }
            });
        };
        self.rest = rest;
        Ok((block, kind))
    }
}

/// The byte order that a section header's magic states.
fn section_order(block: &[u8]) -> Option<Order> {
    [Order::Little, Order::Big].into_iter().find(|&order| read_u32(block, 8, order) == Some(0x1a2b_3c4d))
}

fn interface_of(block: &[u8], order: Order) -> Option<Interface> {
    let parsed = match order {
        Order::Little => parse_interfacedescriptionblock_le(block),
        Order::Big => parse_interfacedescriptionblock_be(block),
    };
    let (_, description) = parsed.ok()?;
    Some(Interface { link: description.linktype.0.cast_unsigned(), snaplen: description.snaplen })
}

fn enhanced_packet(block: &[u8], order: Order) -> Option<(u32, Record<'_>)> {
    let parsed = match order {
        Order::Little => parse_enhancedpacketblock_le(block),
        Order::Big => parse_enhancedpacketblock_be(block),
    };
    let (_, packet) = parsed.ok()?;
    let bytes = packet.data.get(..usize::try_from(packet.caplen).ok()?)?;
    Some((packet.if_id, Record { bytes, wire_len: packet.origlen }))
}

/// A Simple Packet Block does not state how much was captured: the least of the original length, the interface's
/// snapshot length (0 is no limit) and what the block holds.
fn simple_packet(block: &[u8], order: Order, snaplen: u32) -> Option<Record<'_>> {
    let parsed = match order {
        Order::Little => parse_simplepacketblock_le(block),
        Order::Big => parse_simplepacketblock_be(block),
    };
    let (_, packet) = parsed.ok()?;
    let wire_len = packet.origlen;
    let limit = if snaplen == 0 { wire_len } else { wire_len.min(snaplen) };
    let held = usize::try_from(limit).ok()?.min(packet.data.len());
    Some(Record { bytes: packet.data.get(..held)?, wire_len })
}

fn obsolete_packet(block: &[u8], order: Order) -> Option<(u32, Record<'_>)> {
    let parsed = match order {
        Order::Little => parse_unknownblock_le(block),
        Order::Big => parse_unknownblock_be(block),
    };
    let (_, unknown) = parsed.ok()?;
    let interface = read_u16(unknown.data, 0, order)?;
    let captured = usize::try_from(read_u32(unknown.data, 12, order)?).ok()?;
    let bytes = unknown.data.get(20..)?.get(..captured)?;
    Some((interface.into(), Record { bytes, wire_len: read_u32(unknown.data, 16, order)? }))
}

/// The link types whose frames are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Ethernet,
    Ip,
    /// An address family in front of the IP header, in whatever byte order the machine had.
    Loopback,
    Cooked,
    Cooked2,
}

impl Link {
    fn from_number(link: u32) -> Result<Self, CaptureError> {
        match link {
            1 => Ok(Self::Ethernet),
            12 | 14 | 101 | 228 | 229 => Ok(Self::Ip),
            0 | 108 => Ok(Self::Loopback),
            113 => Ok(Self::Cooked),
            276 => Ok(Self::Cooked2),
            _ => Err(CaptureError::UnsupportedLink { link }),
        }
    }

    /// Takes off what the capture tool put in front of the frame.
    ///
    /// A frame cut off inside such a header becomes an empty IP frame: nothing of it is known but that it was there.
    fn uncover(self, record: Record<'_>, number: u64) -> Captured<'_> {
        let (header, ethertype): (u8, _) = match self {
            Self::Ethernet => return captured(Layer::Ethernet, record.bytes.into(), record.wire_len, number),
            Self::Ip => (0, None),
            Self::Loopback => (4, None),
            Self::Cooked => (16, read_u16(record.bytes, 14, Order::Big)),
            Self::Cooked2 => (20, read_u16(record.bytes, 0, Order::Big)),
        };
        let wire_len = record.wire_len.saturating_sub(u32::from(header));
        let Some(payload) = record.bytes.get(usize::from(header)..) else {
            return captured(Layer::Ip, Cow::Borrowed(&[]), wire_len, number);
        };
        match ethertype {
            None | Some(ETHERTYPE_IPV4 | ETHERTYPE_IPV6) => captured(Layer::Ip, payload.into(), wire_len, number),
            Some(ethertype) => {
                let mut frame = vec![0; ETHERNET_HEADER - 2];
                frame.extend(ethertype.to_be_bytes());
                frame.extend(payload);
                captured(Layer::Ethernet, frame.into(), wire_len.saturating_add(14), number)
            }
        }
    }
}

fn captured(layer: Layer, bytes: Cow<'_, [u8]>, wire_len: u32, number: u64) -> Captured<'_> {
    let held = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    Captured { layer, bytes, wire_len: wire_len.max(held), number }
}

fn read_u16(bytes: &[u8], offset: usize, order: Order) -> Option<u16> {
    let bytes = *bytes.get(offset..)?.first_chunk()?;
    Some(match order {
        Order::Little => u16::from_le_bytes(bytes),
        Order::Big => u16::from_be_bytes(bytes),
    })
}

fn read_u32(bytes: &[u8], offset: usize, order: Order) -> Option<u32> {
    let bytes = *bytes.get(offset..)?.first_chunk()?;
    Some(match order {
        Order::Little => u32::from_le_bytes(bytes),
        Order::Big => u32::from_be_bytes(bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETHERNET: &[u8] = b"\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x01\x08\x06payload";
    const IPV4: &[u8] = b"\x45\0\0\x14\0\0\0\0\x40\x11\0\0\x0a\0\0\x01\x0a\0\0\x02";

    fn u32_bytes(value: u32, order: Order) -> [u8; 4] {
        if order == Order::Big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u16_bytes(value: u16, order: Order) -> [u8; 2] {
        if order == Order::Big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn pcap(magic: u32, order: Order, link: u32, packets: &[(&[u8], u32)]) -> Vec<u8> {
        let mut file = u32_bytes(magic, order).to_vec();
        file.extend(u16_bytes(2, order));
        file.extend(u16_bytes(4, order));
        for field in [0, 0, 65535, link] {
            file.extend(u32_bytes(field, order));
        }
        for &(bytes, wire_len) in packets {
            for field in [1_700_000_000, 999_999_999, u32::try_from(bytes.len()).unwrap(), wire_len] {
                file.extend(u32_bytes(field, order));
            }
            file.extend(bytes);
        }
        file
    }

    fn pcap_le(link: u32, packets: &[(&[u8], u32)]) -> Vec<u8> {
        pcap(0xa1b2_c3d4, Order::Little, link, packets)
    }

    fn block(kind: u32, order: Order, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let length = u32_bytes(u32::try_from(padded + BLOCK_MIN).unwrap(), order);
        let mut block = [u32_bytes(kind, order), length].concat();
        block.extend(body);
        block.resize(8 + padded, 0);
        block.extend(length);
        block
    }

    fn section(order: Order) -> Vec<u8> {
        let mut body = u32_bytes(0x1a2b_3c4d, order).to_vec();
        body.extend(u16_bytes(1, order));
        body.extend(u16_bytes(0, order));
        body.extend([0xff; 8]);
        block(SHB_MAGIC, order, &body)
    }

    /// With an `if_tsresol` option where one is given.
    fn interface(order: Order, link: u16, snaplen: u32, resolution: Option<u8>) -> Vec<u8> {
        let mut body = [u16_bytes(link, order), [0; 2]].concat();
        body.extend(u32_bytes(snaplen, order));
        if let Some(resolution) = resolution {
            body.extend(u16_bytes(9, order));
            body.extend(u16_bytes(1, order));
            body.extend([resolution, 0, 0, 0, 0, 0, 0, 0]);
        }
        block(IDB_MAGIC, order, &body)
    }

    fn enhanced(order: Order, interface: u32, bytes: &[u8], wire_len: u32) -> Vec<u8> {
        let fields = [interface, 0x0005_1234, 77, u32::try_from(bytes.len()).unwrap(), wire_len];
        let mut body: Vec<u8> = fields.into_iter().flat_map(|field| u32_bytes(field, order)).collect();
        body.extend(bytes);
        block(EPB_MAGIC, order, &body)
    }

    fn read(file: &[u8]) -> Vec<Captured<'_>> {
        frames(file).unwrap().map(Result::unwrap).collect()
    }

    /// How many frames come before the error, and the error's text.
    fn error_after(file: &[u8]) -> (usize, String) {
        let mut iterator = frames(file).unwrap();
        let mut count = 0;
        loop {
            match iterator.next().unwrap() {
                Ok(_) => count += 1,
                Err(error) => {
                    assert!(iterator.next().is_none(), "an error ends the capture");
                    return (count, error.to_string());
                }
            }
        }
    }

    fn borrowed(layer: Layer, bytes: &[u8], wire_len: u32, number: u64) -> Captured<'_> {
        Captured { layer, bytes: bytes.into(), wire_len, number }
    }

    #[test]
    fn reads_pcap_in_both_byte_orders_and_both_time_resolutions() {
        for magic in [0xa1b2_c3d4, 0xa1b2_3c4d] {
            for order in [Order::Little, Order::Big] {
                let file = pcap(magic, order, 1, &[(ETHERNET, 1500), (ETHERNET, 21)]);
                let expected =
                    [borrowed(Layer::Ethernet, ETHERNET, 1500, 1), borrowed(Layer::Ethernet, ETHERNET, 21, 2)];
                assert_eq!(read(&file), expected, "magic {magic:#x}, {order:?}");
            }
        }
    }

    #[test]
    fn reads_pcap_with_the_longer_records_of_the_modified_format() {
        let mut file = pcap(0xa1b2_cd34, Order::Little, 1, &[]);
        for field in [1, 2, u32::try_from(ETHERNET.len()).unwrap(), 21, 0, 0] {
            file.extend(u32_bytes(field, Order::Little));
        }
        file.extend(ETHERNET);
        assert_eq!(read(&file), [borrowed(Layer::Ethernet, ETHERNET, 21, 1)]);
        assert_eq!(error_after(&file[..24 + 20]), (0, "the capture is cut off inside packet 1".to_owned()));
    }

    #[test]
    fn keeps_the_wire_length_of_a_packet_cut_by_the_snapshot_length() {
        let file = pcap_le(1, &[(&ETHERNET[..16], 9000)]);
        assert_eq!(read(&file), [borrowed(Layer::Ethernet, &ETHERNET[..16], 9000, 1)]);
    }

    #[test]
    fn a_wire_length_below_the_captured_length_is_corrected() {
        assert_eq!(read(&pcap_le(1, &[(ETHERNET, 3)]))[0].wire_len, 21);
    }

    #[test]
    fn frame_check_sequence_bits_are_not_part_of_the_link_type() {
        assert_eq!(read(&pcap_le(0x4400_0001, &[(ETHERNET, 21)]))[0].layer, Layer::Ethernet);
    }

    #[test]
    fn raw_ip_link_types_start_with_the_ip_header() {
        for link in [12, 14, 101, 228, 229] {
            assert_eq!(read(&pcap_le(link, &[(IPV4, 1400)])), [borrowed(Layer::Ip, IPV4, 1400, 1)], "link {link}");
        }
    }

    #[test]
    fn loopback_captures_lose_the_address_family() {
        for (link, family) in [(0, [2, 0, 0, 0]), (0, [0, 0, 0, 2]), (108, [0, 0, 0, 2])] {
            let frame = [&family, IPV4].concat();
            assert_eq!(read(&pcap_le(link, &[(&frame, 1404)])), [borrowed(Layer::Ip, IPV4, 1400, 1)]);
        }
    }

    fn cooked(ethertype: u16) -> Vec<u8> {
        let mut header = vec![0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
        header.extend(ethertype.to_be_bytes());
        header
    }

    fn cooked2(ethertype: u16) -> Vec<u8> {
        let mut header = ethertype.to_be_bytes().to_vec();
        header.extend([0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
        header
    }

    #[test]
    fn cooked_ip_packets_lose_the_cooked_header() {
        for ethertype in [ETHERTYPE_IPV4, ETHERTYPE_IPV6] {
            for (link, header) in [(113, cooked(ethertype)), (276, cooked2(ethertype))] {
                let wire_len = 1400 + u32::try_from(header.len()).unwrap();
                let file = pcap_le(link, &[(&[&header[..], IPV4].concat(), wire_len)]);
                assert_eq!(read(&file), [borrowed(Layer::Ip, IPV4, 1400, 1)], "link {link}");
            }
        }
    }

    #[test]
    fn cooked_packets_of_other_protocols_get_an_ethernet_header_back() {
        for ethertype in [0x8100, 0x8864, 0x0806] {
            for (link, header) in [(113, cooked(ethertype)), (276, cooked2(ethertype))] {
                let wire_len = 100 + u32::try_from(header.len()).unwrap();
                let file = pcap_le(link, &[(&[&header[..], b"rest"].concat(), wire_len)]);
                let expected = [&[0; 12][..], &ethertype.to_be_bytes(), b"rest"].concat();
                assert_eq!(read(&file), [borrowed(Layer::Ethernet, &expected, 114, 1)], "link {link}");
            }
        }
    }

    #[test]
    fn a_packet_cut_inside_an_invented_header_is_an_empty_ip_frame() {
        for (link, header) in [(113, 16), (276, 20), (108, 4)] {
            let file = pcap_le(link, &[(&[8, 0, 1], 1400 + header)]);
            assert_eq!(read(&file), [borrowed(Layer::Ip, &[], 1400, 1)], "link {link}");
        }
    }

    #[test]
    fn reads_pcapng_interfaces_of_different_link_types_and_resolutions_in_both_byte_orders() {
        for order in [Order::Little, Order::Big] {
            let file = [
                section(order),
                interface(order, 1, 0, Some(9)),
                interface(order, 101, 0, Some(0x8a)),
                interface(order, 220, 0, None),
                block(5, order, b"statistics that are no such thing"),
                enhanced(order, 1, IPV4, 1400),
                enhanced(order, 0, ETHERNET, 21),
            ]
            .concat();
            let expected = [borrowed(Layer::Ip, IPV4, 1400, 1), borrowed(Layer::Ethernet, ETHERNET, 21, 2)];
            assert_eq!(read(&file), expected, "{order:?}");
        }
    }

    #[test]
    fn a_new_pcapng_section_has_its_own_byte_order_and_interfaces() {
        let mut file = Vec::new();
        for (order, link, frame) in [(Order::Little, 1, ETHERNET), (Order::Big, 101, IPV4)] {
            file.extend([section(order), interface(order, link, 0, None), enhanced(order, 0, frame, 60)].concat());
        }
        assert_eq!(read(&file), [borrowed(Layer::Ethernet, ETHERNET, 60, 1), borrowed(Layer::Ip, IPV4, 60, 2)]);
        file.extend([section(Order::Little), enhanced(Order::Little, 0, ETHERNET, 60)].concat());
        assert_eq!(error_after(&file), (2, "packet 3 names interface 0, but its section describes 0".to_owned()));
    }

    #[test]
    fn simple_packet_blocks_are_cut_by_the_snapshot_length_and_lose_their_padding() {
        for order in [Order::Little, Order::Big] {
            let simple =
                |bytes: &[u8], wire_len| block(SPB_MAGIC, order, &[&u32_bytes(wire_len, order), bytes].concat());
            let cut = [section(order), interface(order, 1, 18, None), simple(&ETHERNET[..18], 9000)].concat();
            assert_eq!(read(&cut), [borrowed(Layer::Ethernet, &ETHERNET[..18], 9000, 1)]);
            let whole = [section(order), interface(order, 1, 0, None), simple(ETHERNET, 21)].concat();
            assert_eq!(read(&whole), [borrowed(Layer::Ethernet, ETHERNET, 21, 1)]);
        }
    }

    #[test]
    fn reads_the_obsolete_packet_block() {
        for order in [Order::Little, Order::Big] {
            let mut body = [u16_bytes(1, order), u16_bytes(0, order)].concat();
            for field in [0, 0, u32::try_from(ETHERNET.len()).unwrap(), 1500] {
                body.extend(u32_bytes(field, order));
            }
            body.extend(ETHERNET);
            let interfaces = [interface(order, 101, 0, None), interface(order, 1, 0, None)].concat();
            let file = [section(order), interfaces, block(OBSOLETE_PACKET_BLOCK, order, &body)].concat();
            assert_eq!(read(&file), [borrowed(Layer::Ethernet, ETHERNET, 1500, 1)]);
        }
    }

    #[test]
    fn a_pcap_cut_off_anywhere_gives_its_whole_packets_and_names_the_cut_one() {
        let file = pcap_le(1, &[(ETHERNET, 21), (ETHERNET, 21)]);
        let record = RECORD_HEADER + ETHERNET.len();
        for length in 4..24 {
            let error = frames(&file[..length]).unwrap_err();
            assert_eq!(error.to_string(), "the capture is cut off after packet 0", "length {length}");
        }
        for length in 24..file.len() {
            let whole = (length - 24) / record;
            if (length - 24) % record == 0 {
                assert_eq!(read(&file[..length]).len(), whole);
            } else {
                let text = format!("the capture is cut off inside packet {}", whole + 1);
                assert_eq!(error_after(&file[..length]), (whole, text), "length {length}");
            }
        }
    }

    #[test]
    fn a_pcapng_cut_off_anywhere_gives_its_whole_packets() {
        let head = [section(Order::Little), interface(Order::Little, 1, 0, None)].concat();
        let packet = enhanced(Order::Little, 0, ETHERNET, 21);
        let file = [&head[..], &packet, &packet].concat();
        for length in 12..file.len() {
            let whole = length.saturating_sub(head.len()) / packet.len();
            let text = match length {
                28 => continue,
                _ if length >= head.len() && (length - head.len()) % packet.len() == 0 => continue,
                _ if length >= head.len() && (length - head.len()) % packet.len() >= BLOCK_MIN => {
                    format!("the capture is cut off inside packet {}", whole + 1)
                }
                _ => format!("the capture is cut off after packet {whole}"),
            };
            assert_eq!(error_after(&file[..length]), (whole, text), "length {length}");
        }
        assert_eq!(read(&file).len(), 2);
    }

    #[test]
    fn bytes_that_are_no_capture_say_so() {
        let wrong_order_magic = [&SHB_MAGIC.to_le_bytes()[..], &[28, 0, 0, 0], b"WXYZ", &[0; 16]].concat();
        for bytes in [&b""[..], b"abc", b"GET / HTTP/1.1\r\n", &[0; 64], &SHB_MAGIC.to_le_bytes(), &wrong_order_magic] {
            assert_eq!(
                frames(bytes).unwrap_err().to_string(),
                "not a pcap or pcapng capture; save it with tcpdump -w or Wireshark",
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn an_unsupported_link_type_is_named_beside_the_supported_ones() {
        let text = "link type 105 is not supported; supported: null (0), ethernet (1), raw IP (12, 14, 101), loop (108), \
                    linux cooked (113, 276), IPv4 (228), IPv6 (229)";
        assert_eq!(frames(&pcap_le(105, &[])).unwrap_err().to_string(), text);
        let order = Order::Little;
        let head = [section(order), interface(order, 1, 0, None), interface(order, 105, 0, None)].concat();
        let file = [head, enhanced(order, 0, ETHERNET, 21), enhanced(order, 1, ETHERNET, 21)].concat();
        assert_eq!(error_after(&file), (1, text.to_owned()));
    }

    #[test]
    fn contradicting_block_lengths_are_malformed_not_cut_off() {
        let order = Order::Little;
        let head = [section(order), interface(order, 1, 0, None)].concat();
        let mut captured_too_long = enhanced(order, 0, ETHERNET, 21);
        captured_too_long[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut too_short = enhanced(order, 0, ETHERNET, 21);
        too_short[4..8].copy_from_slice(&8_u32.to_le_bytes());
        let mut lengths_differ = enhanced(order, 0, ETHERNET, 21);
        *lengths_differ.last_mut().unwrap() = 1;
        for bad in [captured_too_long, too_short, lengths_differ] {
            let file = [&head[..], &enhanced(order, 0, ETHERNET, 21), &bad].concat();
            assert_eq!(error_after(&file), (1, "the pcapng block (type 0x6) after packet 1 is malformed".to_owned()));
        }
        let file = [section(order), block(IDB_MAGIC, order, &[0; 4])].concat();
        assert_eq!(error_after(&file), (0, "the pcapng block (type 0x1) after packet 0 is malformed".to_owned()));
    }

    #[test]
    fn no_mutation_makes_it_panic_or_run_on() {
        let order = Order::Big;
        let pcapng = [
            section(order),
            interface(order, 1, 64, Some(9)),
            enhanced(order, 0, ETHERNET, 21),
            block(SPB_MAGIC, order, &[&u32_bytes(21, order), ETHERNET].concat()),
            block(OBSOLETE_PACKET_BLOCK, order, &[0; 40]),
        ]
        .concat();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % below
        };
        for original in [pcapng, pcap_le(113, &[(ETHERNET, 21), (IPV4, 20)])] {
            for _ in 0..50_000 {
                let mut file = original.clone();
                for _ in 0..=random(4) {
                    let at = random(file.len());
                    file[at] = [0, 1, 0x7f, 0x80, 0xff, u8::try_from(random(256)).unwrap()][random(6)];
                }
                file.truncate(random(file.len()) + 1);
                if let Ok(frames) = frames(&file) {
                    assert!(frames.count() <= file.len() / BLOCK_MIN + 1);
                }
            }
        }
    }
}
