//! Any bytes as a packet capture; and captures made of frames, which must be found in them.
//!
//! Input: a byte. Even: the rest is a file, behind two bytes that say where it is cut. Odd: its other bits choose the container
//! and the byte order, the next byte the link type; then frames behind their lengths.

use std::borrow::Cow;

use weir::capture::{CaptureError, Captured, Layer, frames};

use crate::bytes::Bytes;
use crate::judge;

/// See the file's first lines.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let choice = bytes.byte();
    if choice & 1 == 1 { made(choice, &mut bytes) } else { any(&mut bytes) }
}

/// Every frame, and the error that the capture ends with.
fn read(file: &[u8]) -> (Vec<Captured<'_>>, Option<CaptureError>) {
    let mut found = Vec::new();
    let mut frames = match frames(file) {
        Ok(frames) => frames,
        Err(refused) => return (found, Some(refused)),
    };
    for frame in frames.by_ref() {
        match frame {
            Ok(frame) => found.push(frame),
            Err(refused) => {
                assert!(frames.next().is_none(), "it goes on behind an error");
                return (found, Some(refused));
            }
        }
    }
    (found, None)
}

fn any(bytes: &mut Bytes<'_>) {
    let cut = usize::from(bytes.u16());
    let file = bytes.take(usize::MAX);
    let (found, error) = read(file);
    let mut held = 0;
    for (number, frame) in (1..).zip(&found) {
        assert_eq!(frame.number, number);
        assert!(frame.wire_len as usize >= frame.bytes.len(), "{frame:?}");
        if let Cow::Borrowed(bytes) = frame.bytes {
            assert!(bytes.is_empty() || file.as_ptr_range().contains(&bytes.as_ptr()), "it is not out of the file");
        }
        held += frame.bytes.len();
    }
    // An Ethernet header that was rebuilt is shorter than the record's header it stands for.
    assert!(held <= file.len(), "{held} bytes of frames in a file of {}", file.len());
    if let Some(refused) = error {
        judge::line(refused);
    }
    let (before, _) = read(&file[..cut % (file.len() + 1)]);
    assert!(before.len() <= found.len() && before == found[..before.len()], "what a cut leaves is what came before it");
}

/// Where a container keeps its numbers.
#[derive(Clone, Copy)]
struct Order {
    is_big: bool,
}

impl Order {
    fn u32(self, value: u32) -> [u8; 4] {
        if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u16(self, value: u16) -> [u8; 2] {
        if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let length = self.u32(padded as u32 + 12);
        let padding = vec![0; padded - body.len()];
        [&self.u32(kind)[..], &length, body, &padding, &length].concat()
    }

    fn words(self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|&word| self.u32(word)).collect()
    }
}

fn made(choice: u8, bytes: &mut Bytes<'_>) {
    let order = Order { is_big: choice & 2 != 0 };
    let link = bytes.pick(&[1, 12, 101, 228, 229, 0, 108, 113, 276]);
    let container = choice >> 2 & 3;
    let mut file = match container {
        // pcap, with times in micro- or nanoseconds.
        0 | 1 => {
            let magic = if container == 0 { 0xa1b2_c3d4 } else { 0xa1b2_3c4d };
            [&order.u32(magic)[..], &order.u16(2), &order.u16(4), &order.words(&[0, 0, 65535, link])].concat()
        }
        // pcapng: a section and one interface without a snapshot length.
        _ => {
            let section = [&order.u32(0x1a2b_3c4d)[..], &order.u16(1), &order.u16(0), &[0xff; 8]].concat();
            let interface = [&order.u16(link as u16)[..], &[0, 0], &order.u32(0)].concat();
            [order.block(0x0a0d_0d0a, &section), order.block(1, &interface)].concat()
        }
    };
    let mut expected = Vec::new();
    while !bytes.is_empty() && expected.len() < 32 {
        let more = u32::from(bytes.byte() & 0xf);
        let frame = bytes.short();
        let (captured, wire) = (frame.len() as u32, frame.len() as u32 + more);
        match container {
            0 | 1 => {
                file.extend(order.words(&[7, 8, captured, wire]));
                file.extend(frame);
            }
            2 => file.extend(order.block(6, &[&order.words(&[0, 1, 2, captured, wire])[..], frame].concat())),
            // A block of another kind lies between; it is stepped over.
            _ => {
                file.extend(order.block(5, &[0; 12]));
                let wire = captured;
                file.extend(order.block(3, &[&order.u32(wire)[..], frame].concat()));
            }
        }
        let wire = if container == 3 { captured } else { wire };
        expected.push(uncovered(link, frame, wire, expected.len() as u64 + 1));
    }
    let (found, error) = read(&file);
    assert_eq!((found, error), (expected, None));
}

/// What a device would have seen of a frame that was captured with this link type.
fn uncovered(link: u32, frame: &[u8], wire: u32, number: u64) -> Captured<'static> {
    let (header, ethertype) = match link {
        1 => return captured(Layer::Ethernet, frame.to_vec(), wire, number),
        0 | 108 => (4, None),
        113 => (16, frame.get(14..16)),
        276 => (20, frame.get(..2)),
        _ => (0, None),
    };
    let wire = wire.saturating_sub(header);
    let Some(payload) = frame.get(header as usize..) else { return captured(Layer::Ip, Vec::new(), wire, number) };
    match ethertype {
        None | Some([8, 0] | [0x86, 0xdd]) => captured(Layer::Ip, payload.to_vec(), wire, number),
        Some(ethertype) => {
            let whole = [&[0; 12][..], ethertype, payload].concat();
            captured(Layer::Ethernet, whole, wire + 14, number)
        }
    }
}

fn captured(layer: Layer, bytes: Vec<u8>, wire: u32, number: u64) -> Captured<'static> {
    Captured { layer, wire_len: wire.max(bytes.len() as u32), bytes: bytes.into(), number }
}
