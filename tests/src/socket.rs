//! Raw frames to and from a device over `AF_PACKET`, exactly counted.
//!
//! Reads what the device received after XDP and before tc: a frame that XDP dropped is not seen, one that tc drops is.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, send, setsockopt, socket,
    sockopt,
};

use crate::netns::Netns;
use crate::sys;

const PACKET_AUXDATA: i32 = 8;
const PACKET_IGNORE_OUTGOING: i32 = 23;
/// `tp_status` bits of `tpacket_auxdata`: a tag was taken out of the frame, and its `EtherType` is known.
const VLAN_VALID: u32 = 1 << 4;
const VLAN_TPID_VALID: u32 = 1 << 6;

/// A socket that sends and receives whole frames on one device.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    device: String,
}

impl PacketSocket {
    /// Opens it on a device. Frames that arrive from now on are kept until read, as far as 64 MiB hold them.
    #[must_use]
    pub fn open(netns: &Netns, device: &str) -> Self {
        let index = netns.index(device);
        let socket = netns.enter(|| {
            // No protocol before the bind: otherwise frames of other devices come in between.
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None::<SockProtocol>);
            let socket = socket.unwrap();
            setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).unwrap();
            sys::enable_packet_option(socket.as_fd(), PACKET_AUXDATA).unwrap();
            sys::enable_packet_option(socket.as_fd(), PACKET_IGNORE_OUTGOING).unwrap();
            sys::bind_packet(socket.as_fd(), index).unwrap();
            socket
        });
        Self { socket, device: device.to_owned() }
    }

    /// Sends one frame, as it is.
    pub fn send(&self, frame: &[u8]) {
        self.try_send(frame).unwrap_or_else(|error| panic!("{}: {} bytes: {error}", self.device, frame.len()));
    }

    /// Sends one frame, or says why the device did not take it.
    pub fn try_send(&self, frame: &[u8]) -> Result<(), Errno> {
        loop {
            match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(sent) => {
                    assert_eq!(sent, frame.len(), "{}: a frame is sent whole", self.device);
                    return Ok(());
                }
                // The peer's queue is full: the frame was not taken, so it counts once.
                Err(Errno::ENOBUFS | Errno::EINTR) => std::thread::yield_now(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the frames in turn, `count` in all, as fast as the device takes them; gives how many it took.
    pub fn flood<F: AsRef<[u8]>>(&self, frames: &[F], count: u64) -> u64 {
        let mut sent = 0;
        for frame in frames.iter().cycle().take(usize::try_from(count).unwrap()) {
            self.send(frame.as_ref());
            sent += 1;
        }
        sent
    }

    /// Sends the frames in turn as long as `go_on` says so; gives how many the device took.
    pub fn flood_while<F: AsRef<[u8]>>(&self, frames: &[F], mut go_on: impl FnMut() -> bool) -> u64 {
        let mut sent = 0;
        for frame in frames.iter().cycle() {
            if !go_on() {
                break;
            }
            self.send(frame.as_ref());
            sent += 1;
        }
        sent
    }

    /// The next frame that arrived, with its VLAN tag in place; `None` once `timeout` has passed.
    #[must_use]
    pub fn receive(&self, timeout: Duration) -> Option<Vec<u8>> {
        let wait = PollTimeout::try_from(timeout).unwrap();
        let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waiting, wait).unwrap() == 0 {
            return None;
        }
        let mut buffer = vec![0; 65536];
        let mut control = [0; 128];
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let descriptor = self.socket.as_raw_fd();
        let message = recvmsg::<()>(descriptor, &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT).ok()?;
        let length = message.bytes;
        let tag = message.cmsgs().unwrap().find_map(|control| match control {
            ControlMessageOwned::Unknown(control) => vlan_tag(&control.data_bytes),
            _ => None,
        });
        buffer.truncate(length);
        if let Some(tag) = tag {
            // The kernel took the outer tag out before it gave us the frame.
            buffer.splice(12..12, tag);
        }
        Some(buffer)
    }

    /// The first frame that `wanted` accepts, others skipped; `None` once `timeout` has passed.
    pub fn receive_where(&self, timeout: Duration, mut wanted: impl FnMut(&[u8]) -> bool) -> Option<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        loop {
            let frame = self.receive(deadline.saturating_duration_since(Instant::now()))?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// How many frames that `wanted` accepts have arrived and not been read yet; does not wait.
    pub fn drain(&self, mut wanted: impl FnMut(&[u8]) -> bool) -> u64 {
        let mut count = 0;
        while let Some(frame) = self.receive(Duration::ZERO) {
            count += u64::from(wanted(&frame));
        }
        count
    }
}

/// The tag out of a `tpacket_auxdata`: status, len, snaplen (u32 each), mac, net, tci, tpid (u16 each).
fn vlan_tag(auxdata: &[u8]) -> Option<[u8; 4]> {
    let status = u32::from_ne_bytes(*auxdata.first_chunk()?);
    let u16_at = |offset: usize| Some(u16::from_ne_bytes(*auxdata.get(offset..)?.first_chunk()?));
    if status & VLAN_VALID == 0 {
        return None;
    }
    let tpid = if status & VLAN_TPID_VALID == 0 { crate::frame::TPID_8021Q } else { u16_at(18)? };
    let ([tpid_high, tpid_low], [tci_high, tci_low]) = (tpid.to_be_bytes(), u16_at(16)?.to_be_bytes());
    Some([tpid_high, tpid_low, tci_high, tci_low])
}
