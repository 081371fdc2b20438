//! IP over VLAN tags and PPPoE sessions without the kernel's drivers for them, which the test machine's kernel lacks.
//!
//! At each end a bridge joins the carrier with a tap device. A thread takes frames from the tap, takes the packet out and
//! gives it to a tun device, and the other way round. So both kernels' IP stacks talk over a carrier whose frames are real,
//! and XDP, tc ingress and tc egress on the carrier see each of them. (A packet socket instead of bridge and tap would read
//! frames before tc could drop them.)

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::netns::Netns;

/// Room for four tags and a PPPoE session inside a 1500 byte carrier.
const MTU: u16 = 1400;

/// The two ends' addresses. Not the carriers' own: a bridge keeps frames for those to itself.
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 3, 1], [2, 0, 0, 0, 3, 2]];

/// What stands between the MAC addresses and the IP packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encapsulation {
    tags: Vec<(u16, u16)>,
    session: Option<u16>,
}

impl Encapsulation {
    /// Nothing: plain Ethernet.
    #[must_use]
    pub fn plain() -> Self {
        Self::default()
    }

    /// One more 802.1Q tag inside those already there.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.qinq(crate::frame::TPID_8021Q, id)
    }

    /// One more tag with any `EtherType`.
    #[must_use]
    pub fn qinq(mut self, tpid: u16, id: u16) -> Self {
        self.tags.push((tpid, id));
        self
    }

    /// A PPPoE session inside the tags.
    #[must_use]
    pub fn pppoe(self, session: u16) -> Self {
        Self { session: Some(session), ..self }
    }

    /// The frame around an IP packet.
    #[must_use]
    pub fn wrap(&self, source: [u8; 6], destination: [u8; 6], packet: &[u8]) -> Vec<u8> {
        let v4 = packet[0] >> 4 == 4;
        let mut frame = [destination, source].concat();
        for &(tpid, id) in &self.tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend(id.to_be_bytes());
        }
        if let Some(session) = self.session {
            frame.extend([0x88, 0x64, 0x11, 0]);
            frame.extend(session.to_be_bytes());
            frame.extend(u16::try_from(packet.len() + 2).unwrap().to_be_bytes());
            frame.extend(if v4 { [0x00, 0x21] } else { [0x00, 0x57] });
        } else {
            frame.extend(if v4 { [0x08, 0x00] } else { [0x86, 0xdd] });
        }
        frame.extend(packet);
        frame
    }

    /// The IP packet inside a frame of exactly this encapsulation.
    #[must_use]
    pub fn unwrap<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = frame.get(12..)?;
        for &(tpid, id) in &self.tags {
            let (tag, inner) = rest.split_first_chunk::<4>()?;
            // Priority bits are not part of the VLAN's number.
            let number = u16::from_be_bytes([tag[2], tag[3]]) & 0x0fff;
            if tag[..2] != tpid.to_be_bytes() || number != id {
                return None;
            }
            rest = inner;
        }
        let Some(session) = self.session else {
            let (ethertype, packet) = rest.split_first_chunk::<2>()?;
            return matches!(ethertype, [0x08, 0x00] | [0x86, 0xdd]).then_some(packet);
        };
        let (header, packet) = rest.split_first_chunk::<10>()?;
        let [_, _, _, _, id_high, id_low, length_high, length_low, protocol @ ..] = *header;
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let is_session = header[..4] == [0x88, 0x64, 0x11, 0] && [id_high, id_low] == session.to_be_bytes();
        let is_ip = matches!(protocol, [0x00, 0x21 | 0x57]);
        if is_session && is_ip { packet.get(..length.checked_sub(2)?) } else { None }
    }
}

/// A link between two namespaces whose packets travel encapsulated over a carrier, until dropped.
#[derive(Debug)]
pub struct TaggedLink {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl TaggedLink {
    /// Makes the tun device `name` at both ends, over a carrier that already connects them. The carrier's ends become
    /// bridge ports and should have no address of their own.
    #[must_use]
    pub fn new(a: (&Netns, &str), b: (&Netns, &str), name: &str, encapsulation: &Encapsulation) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ends = [(a, MACS), (b, [MACS[1], MACS[0]])];
        let threads = ends.map(|((netns, carrier), [source, destination])| {
            let tap = netns.tap("tap0");
            netns.silence(carrier);
            netns.bridge("br0", &[carrier, "tap0"]);
            let tun = netns.tun(name);
            netns.ip(&format!("link set {name} mtu {MTU}"));
            let (stop, encapsulation) = (stop.clone(), encapsulation.clone());
            thread::spawn(move || relay(&tap, &tun, source, destination, &encapsulation, &stop))
        });
        Self { stop, threads: threads.into() }
    }
}

impl Drop for TaggedLink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn relay(
    mut tap: &File,
    mut tun: &File,
    source: [u8; 6],
    destination: [u8; 6],
    encapsulation: &Encapsulation,
    stop: &AtomicBool,
) {
    let mut buffer = vec![0; 65536];
    while !stop.load(Ordering::Relaxed) {
        let mut waiting = [PollFd::new(tap.as_fd(), PollFlags::POLLIN), PollFd::new(tun.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waiting, PollTimeout::from(50_u8)).is_err() {
            continue;
        }
        let [from_tap, from_tun] =
            waiting.map(|waiting| waiting.revents().is_some_and(|events| events.contains(PollFlags::POLLIN)));
        // A frame or packet that the device does not take is lost, as on a wire.
        if from_tap
            && let Ok(length) = tap.read(&mut buffer)
            && let Some(packet) = encapsulation.unwrap(&buffer[..length])
        {
            let _ = tun.write(packet);
        }
        if from_tun
            && let Ok(length) = tun.read(&mut buffer)
            && length > 0
        {
            let _ = tap.write(&encapsulation.wrap(source, destination, &buffer[..length]));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::frame::{MAC_DESTINATION, MAC_SOURCE, frame, packet};

    #[test]
    fn wraps_as_the_frame_builder_does_and_unwraps_its_own_only() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let inner = packet().ipv4(a, b).udp(53).payload(b"hello").build();
        let encapsulation = Encapsulation::plain().qinq(0x88a8, 100).vlan(7).pppoe(3);
        let wrapped = encapsulation.wrap(MAC_SOURCE, MAC_DESTINATION, &inner);
        let built = frame().qinq(0x88a8, 100).vlan(7).pppoe(3).ipv4(a, b).udp(53).payload(b"hello").build();
        assert_eq!(wrapped, built);
        assert_eq!(encapsulation.unwrap(&wrapped), Some(&inner[..]));
        for other in [Encapsulation::plain(), Encapsulation::plain().qinq(0x88a8, 100).vlan(8).pppoe(3)] {
            assert_eq!(other.unwrap(&wrapped), None);
        }
        assert!((0..wrapped.len()).all(|length| encapsulation.unwrap(&wrapped[..length]).is_none()));
    }
}
