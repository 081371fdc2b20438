//! Generators of frames, faster than a socket: programs of the benchmark's object in a test run with live frames. They count
//! what they sent; who wants to know what arrived asks the receiver.

use std::net::Ipv4Addr;
use std::time::Duration;

use aya::Ebpf;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions};

use crate::cpu;
use crate::frame::frame;
use crate::netns::Netns;
use crate::programs::{self, fill, first, program};

/// Frames that the kernel makes before it is the receiver's turn.
const BATCH: u32 = 64;

/// Runs a program of the object on `count` live frames that are `device`'s.
fn send(ebpf: &mut Ebpf, name: &str, bytes: &[u8], device: u32, count: u32) {
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, u32::try_from(bytes.len()).unwrap(), 0, device, 0, 0].map(u32::to_ne_bytes);
    let options = TestRunOptions {
        data_in: Some(bytes),
        ctx_in: Some(context.as_flattened()),
        repeat: count,
        attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
        ..TestRunOptions::default()
    };
    program(ebpf, name).test_run(options).unwrap();
}

/// Sends one frame again and again, its client changed each time.
#[derive(Debug)]
pub struct Flood {
    ebpf: Ebpf,
    program: &'static str,
    device: u32,
    frame: Vec<u8>,
}

impl Flood {
    /// `program` is `flood` for 256 clients, `forge` for 65,536; `device` is the one that sends.
    #[must_use]
    pub fn new(netns: &Netns, device: &str, program: &'static str, frame: Vec<u8>) -> Self {
        Self { ebpf: programs::load(&[], &[program]), program, device: netns.index(device), frame }
    }

    /// Sends so many frames.
    pub fn send(&mut self, netns: &Netns, count: u32) {
        netns.enter(|| send(&mut self.ebpf, self.program, &self.frame, self.device, count));
    }
}

/// A destination, and whether it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Its address.
    pub address: Ipv4Addr,
    /// Whether the lists of the test hold it.
    pub listed: bool,
}

/// Where frames come from: addresses with these first three bytes, or these first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// 256 clients.
    Lan([u8; 3]),
    /// 65,536 clients, as whoever forges addresses.
    Forged([u8; 2]),
}

/// What became of a burst, as the sender sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Frames made.
    pub frames: u64,
    /// Those of them to listed destinations.
    pub listed: u64,
    /// The time that all but the last batch took, the receiver's part of it included, and the number of frames that were
    /// made in it. The set-up of the test run, which takes longer than many a burst, is not in it.
    pub timed: (Duration, u64),
}

/// Sends 64-byte frames (60 and the checksum that no veth has) from random clients to a long list of destinations in turn.
#[derive(Debug)]
pub struct Router {
    ebpf: Ebpf,
    destinations: usize,
    frame: Vec<u8>,
    words: [u64; 16],
}

/// Places in the map `ROUTE`, see `filter-ebpf/src/bench/generator.rs`.
mod place {
    pub(super) const NEXT: usize = 0;
    pub(super) const FIRST: usize = 1;
    pub(super) const LATEST: usize = 2;
    pub(super) const LATEST_NUMBER: usize = 3;
    pub(super) const LISTED: usize = 4;
    pub(super) const DESTINATION_MASK: usize = 5;
    pub(super) const HEADER: usize = 6;
    pub(super) const SUM: usize = 9;
    pub(super) const SOURCE: usize = 10;
    pub(super) const SOURCE_DRAWN: usize = 11;
    pub(super) const SOURCE_FIXED: usize = 12;
}

fn half(bytes: [u8; 2]) -> u64 {
    u16::from_ne_bytes(bytes).into()
}

impl Router {
    /// A generator with room for `destinations` destinations, a power of two, whose frames go from one MAC address to the
    /// other.
    #[must_use]
    pub fn new(destinations: usize, from: [u8; 6], to: [u8; 6], clients: Clients) -> Self {
        assert!(destinations.is_power_of_two(), "{destinations} destinations");
        let ebpf = programs::load(&[("DESTINATIONS", destinations)], &["route"]);
        let nobody = Ipv4Addr::UNSPECIFIED;
        let mut frame = frame().macs(from, to).ipv4(nobody, nobody).udp(443).payload(&[0; 18]).build();
        // No checksum of UDP (RFC 768): it would have to change with the addresses.
        frame[40..42].fill(0);
        // Nor an identification: the generator's mark goes there.
        frame[18..20].fill(0);
        let mut words = [0; 16];
        words[place::DESTINATION_MASK] = destinations as u64 - 1;
        for (word, bytes) in words[place::HEADER..].iter_mut().zip(frame[..24].as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        let (first, drawn, fixed) = match clients {
            Clients::Lan([a, b, c]) => ([a, b], [0, 0xff], [c, 0]),
            Clients::Forged(first) => (first, [0xff, 0xff], [0, 0]),
        };
        words[place::SOURCE] = half(first);
        words[place::SOURCE_DRAWN] = half(drawn);
        words[place::SOURCE_FIXED] = half(fixed);
        let summed = [14, 16, 20, 22].map(|at| half([frame[at], frame[at + 1]]));
        words[place::SUM] = summed.iter().sum::<u64>() + half(first);
        Self { ebpf, destinations, frame, words }
    }

    /// Sets the destinations: as many as there is room for.
    pub fn aim(&mut self, destinations: &[Destination]) {
        assert_eq!(destinations.len(), self.destinations);
        let values: Vec<u64> = destinations
            .iter()
            .map(|to| u64::from(to.listed) << 32 | u64::from(u32::from_ne_bytes(to.address.octets())))
            .collect();
        fill(&mut self.ebpf, "DESTINATIONS", &values);
    }

    /// Sends `count` frames, the first one to destination `from`, out of the device with this index, on one CPU.
    pub fn send(&mut self, netns: &Netns, device: u32, on: usize, from: u64, count: u32) -> Sent {
        self.words[place::NEXT] = from;
        fill(&mut self.ebpf, "ROUTE", [&self.words]);
        netns.enter(|| {
            cpu::take(on);
            send(&mut self.ebpf, "route", &self.frame, device, count);
        });
        let state: [u64; 16] = first(&self.ebpf, "ROUTE");
        let timed = state[place::LATEST] - state[place::FIRST];
        Sent {
            frames: state[place::NEXT] - from,
            listed: state[place::LISTED],
            timed: (Duration::from_nanos(timed), state[place::LATEST_NUMBER] - from),
        }
    }
}
