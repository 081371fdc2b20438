//! Netlink: questions to the kernel, and its answers as messages and attributes. Knows no attribute's meaning.
//!
//! Numbers are of `include/uapi/linux/netlink.h` and `genetlink.h`. Words are in the CPU's byte order.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;

/// What of a kernel's table is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Everything. The error is of kind `Interrupted` where it changed meanwhile.
    Dump,
    /// What the request names.
    One,
}

/// Asks `protocol`'s part of the kernel a question of kind `kind`, and hands each message of the answer to `take`, as its kind
/// and its body.
pub(super) fn ask(
    protocol: SockProtocol,
    kind: u16,
    ask: Ask,
    body: &[u8],
    mut take: impl FnMut(u16, &[u8]),
) -> io::Result<()> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    let flags = NLM_F_REQUEST | if ask == Ask::Dump { NLM_F_DUMP } else { NLM_F_ACK };
    let length = (HEADER + body.len()) as u32;
    // `nlmsghdr`: length, type, flags, sequence, port.
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([1_u32, 0].map(u32::to_ne_bytes).as_flattened());
    request.extend(body);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    read(&socket, &mut take)
}

/// Reads an answer to its end.
fn read(socket: &OwnedFd, take: &mut impl FnMut(u16, &[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if read_part(buffer.get(..length).unwrap_or_default(), take)? {
            return Ok(());
        }
    }
}

/// Reads one datagram of an answer; tells whether it was the last.
pub(super) fn read_part(mut messages: &[u8], take: &mut impl FnMut(u16, &[u8])) -> io::Result<bool> {
    while let Some(Message { kind, flags, body, rest }) = Message::split(messages) {
        if flags & NLM_F_DUMP_INTR != 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match kind {
            NLMSG_DONE => return Ok(true),
            // An acknowledgement is an error of number 0.
            NLMSG_ERROR => match body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code)) {
                0 => return Ok(true),
                code => return Err(io::Error::from_raw_os_error(code.saturating_neg())),
            },
            _ => take(kind, body),
        }
        messages = rest;
    }
    Ok(false)
}

/// Bytes of an `nlmsghdr`.
const HEADER: usize = 16;

/// A netlink message, and what follows it.
struct Message<'a> {
    kind: u16,
    flags: u16,
    body: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Message<'a> {
    /// The first of `messages`.
    fn split(messages: &'a [u8]) -> Option<Self> {
        let length = u32::from_ne_bytes(*messages.first_chunk()?) as usize;
        let body = messages.get(HEADER..length)?;
        let word = |at: usize| Some(u16::from_ne_bytes(*messages.get(at..)?.first_chunk()?));
        let rest = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Self { kind: word(4)?, flags: word(6)?, body, rest })
    }
}

/// The first attribute of a kind.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// Attributes: kind without its flags, and value.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const KIND: u16 = 0x3fff;
    std::iter::from_fn(move || {
        let [low, high, kind @ ..] = *bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes(kind) & KIND, value))
    })
}

/// An attribute, padded.
pub(super) fn make(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A word out of an attribute.
pub(super) fn word(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// Text out of an attribute: bytes up to a zero.
pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}

/// The number of a family of generic netlink, by its name; an error of kind `NotFound` where this kernel has none.
pub(super) fn family(name: &str) -> io::Result<u16> {
    const GENL_ID_CTRL: u16 = 0x10;
    const CTRL_CMD_GETFAMILY: u8 = 3;
    const CTRL_ATTR_FAMILY_ID: u16 = 1;
    const CTRL_ATTR_FAMILY_NAME: u16 = 2;
    let name = [name.as_bytes(), &[0]].concat();
    let mut found = None;
    generic(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &make(CTRL_ATTR_FAMILY_NAME, &name), |answer| {
        let id = attribute(answer, CTRL_ATTR_FAMILY_ID).and_then(<[u8]>::first_chunk);
        found = id.map(|id| u16::from_ne_bytes(*id)).or(found);
    })?;
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Asks a family of generic netlink, and hands the attributes of each answer to `take`.
pub(super) fn generic(family: u16, command: u8, attributes: &[u8], mut take: impl FnMut(&[u8])) -> io::Result<()> {
    // `genlmsghdr`: command, version, reserved.
    let body = [&[command, 1, 0, 0], attributes].concat();
    ask(SockProtocol::NetlinkGeneric, family, Ask::One, &body, |_, answer| {
        take(answer.get(4..).unwrap_or_default());
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_read_and_nothing_that_is_cut_short_is_trusted() {
        let bytes = [make(3, b"abc\0"), make(0x8004, &make(1, &[7, 0, 0, 0]))].concat();
        assert_eq!(attribute(&bytes, 3).map(text), Some("abc".into()));
        let inner = attribute(&bytes, 4).and_then(|nested| attribute(nested, 1)).and_then(word);
        assert_eq!(inner, Some(u32::from_ne_bytes([7, 0, 0, 0])));
        for length in 0..bytes.len() {
            assert!(attributes(&bytes[..length]).count() < 2, "{length}");
        }
    }

    #[test]
    fn an_error_of_the_kernel_is_an_error_and_an_acknowledgement_an_end() {
        let message = |kind: u16, body: &[u8]| {
            let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.resize(HEADER, 0);
            bytes.extend(body);
            bytes
        };
        let mut taken = Vec::new();
        let mut read = |bytes: &[u8]| read_part(bytes, &mut |kind, body| taken.push((kind, body.to_vec())));
        assert!(!read(&message(16, b"four")).unwrap());
        assert!(read(&message(NLMSG_ERROR, &0_i32.to_ne_bytes())).unwrap());
        assert!(read(&message(NLMSG_DONE, &[])).unwrap());
        let refused = read(&message(NLMSG_ERROR, &(-2_i32).to_ne_bytes())).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(2));
        // The lowest number there is has no opposite.
        assert!(read(&message(NLMSG_ERROR, &i32::MIN.to_ne_bytes())).is_err());
        assert_eq!(taken, [(16, b"four".to_vec())]);
    }

    #[test]
    fn the_kernel_knows_its_control_family_and_no_invented_one() {
        assert_eq!(family("nlctrl").unwrap(), 0x10);
        assert!(family("no-such-family").is_err());
    }
}
