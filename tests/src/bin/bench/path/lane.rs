//! Lanes: for each candidate a router of its own between one sender and one receiver, all alike. A lane's counters say what
//! became of a burst.

use std::fs;

use aya::Ebpf;
use aya::programs::XdpMode;
use weir_tests::generator::{Router as Generator, Sent};
use weir_tests::netns::{Netns, veth};
use weir_tests::programs::{self, program};
use weir_tests::weir::Scratch;

/// The router's device towards the sender, and towards the receiver.
pub(crate) const INGRESS: &str = "lan0";
const EGRESS: &str = "wan0";

pub(crate) const MAC_SENDER: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub(crate) const MAC_INGRESS: [u8; 6] = [2, 0, 0, 0, 1, 2];
const MAC_EGRESS: [u8; 6] = [2, 0, 0, 0, 2, 1];
const MAC_RECEIVER: [u8; 6] = [2, 0, 0, 0, 2, 2];

/// A router, and the devices of sender and receiver that it is connected to.
pub(crate) struct Lane {
    pub(crate) router: Netns,
    pub(crate) scratch: Scratch,
    sender: u32,
    receiver: String,
}

/// The sender, the receiver, and the lanes between them.
pub(crate) struct Bed {
    pub(crate) lanes: Vec<Lane>,
    sender: Netns,
    receiver: Netns,
    /// Drops what arrives at the receiver: as cheaply as can be, and counted.
    _sink: Ebpf,
}

/// Frames that a lane's devices counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// At the router's ingress.
    pub(crate) arrived: u64,
    /// At the receiver.
    pub(crate) forwarded: u64,
}

impl Bed {
    /// Lays out so many lanes.
    pub(crate) fn new(lanes: usize) -> Self {
        let (sender, receiver) = (Netns::new("bench-sender"), Netns::new("bench-receiver"));
        let mut sink = programs::load(&[], &["drop_all"]);
        let lanes = (0..lanes).map(|number| Lane::new(number, &sender, &receiver, &mut sink)).collect();
        Self { lanes, sender, receiver, _sink: sink }
    }

    /// Sends a burst through a lane and waits for its last frame: what was sent, and what was counted of it.
    pub(crate) fn burst(
        &self,
        lane: &Lane,
        generator: &mut Generator,
        cpu: usize,
        from: u64,
        count: u32,
    ) -> (Sent, Counted) {
        let before = self.counted(lane);
        let sent = generator.send(&self.sender, lane.sender, cpu, from, count);
        let mut now = self.counted(lane);
        loop {
            std::thread::sleep(std::time::Duration::from_millis(1));
            let later = self.counted(lane);
            if later == now {
                break;
            }
            now = later;
        }
        let counted = Counted { arrived: now.arrived - before.arrived, forwarded: now.forwarded - before.forwarded };
        (sent, counted)
    }

    fn counted(&self, lane: &Lane) -> Counted {
        Counted { arrived: received(&lane.router, INGRESS), forwarded: received(&self.receiver, &lane.receiver) }
    }
}

impl Lane {
    fn new(number: usize, sender: &Netns, receiver: &Netns, sink: &mut Ebpf) -> Self {
        let router = Netns::new(&format!("bench-router{number}"));
        let (from, to) = (format!("out{number}"), format!("in{number}"));
        veth((sender, &from, MAC_SENDER), (&router, INGRESS, MAC_INGRESS));
        veth((&router, EGRESS, MAC_EGRESS), (receiver, &to, MAC_RECEIVER));
        for (netns, device) in [(sender, &*from), (&router, INGRESS), (&router, EGRESS), (receiver, &*to)] {
            netns.silence(device);
        }
        // A veth takes frames from XDP's sending side only if it polls, which it does for GRO or for a program of its own.
        router.features(INGRESS, &[("rx-gro", true)]);
        router.forward();
        router.sysctl("net/ipv4/conf/all/rp_filter", 0);
        router.sysctl(&format!("net/ipv4/conf/{INGRESS}/rp_filter"), 0);
        router.address(INGRESS, "10.66.0.1/16");
        router.address(EGRESS, "192.0.2.1/24");
        router.neighbour(EGRESS, "192.0.2.2", MAC_RECEIVER);
        router.route("default via 192.0.2.2");
        attach(sink, "drop_all", receiver, &to).unwrap();
        let sender = sender.index(&from);
        Self { router, scratch: Scratch::new(), sender, receiver: to }
    }

    /// Frames that the router sent and the receiver's queue had no room for.
    pub(crate) fn overrun(&self) -> u64 {
        figure(&self.router, EGRESS, SEND_DROPS)
    }
}

/// Attaches a program of the benchmark's object in a namespace, for as long as the object lives.
pub(crate) fn attach(ebpf: &mut Ebpf, name: &str, netns: &Netns, device: &str) -> Result<(), String> {
    // By its name, which the namespace that is entered finds.
    let attached = netns.enter(|| program(ebpf, name).attach(device, XdpMode::Driver));
    attached.map(drop).map_err(|error| format!("{name} on {device}: {error}"))
}

/// Frames that a device has received, dropped ones included.
fn received(netns: &Netns, device: &str) -> u64 {
    figure(netns, device, RECEIVED)
}

/// Places in a device's line (`dev_seq_printf_stats` in `net/core/net-procfs.c`).
const RECEIVED: usize = 1;
const SEND_DROPS: usize = 11;

fn figure(netns: &Netns, device: &str, place: usize) -> u64 {
    let table = netns.enter(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    counter(&table, device, place).unwrap_or_else(|| panic!("no {device:?} in {table}"))
}

fn counter(table: &str, device: &str, place: usize) -> Option<u64> {
    let line = table.lines().find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'))?;
    line.split_whitespace().nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_packets_are_the_second_figure_of_the_devices_own_line_and_lost_ones_the_twelfth() {
        let table = "Inter-| Receive\n face |bytes packets errs\n  lan0: 600 10 0 0 0 0 0 0 1 2 3 4\n lan01: 7 8 0\n";
        assert_eq!(counter(table, "lan0", RECEIVED), Some(10));
        assert_eq!(counter(table, "lan0", SEND_DROPS), Some(4));
        assert_eq!(counter(table, "lan01", RECEIVED), Some(8));
        assert_eq!(counter(table, "lan", RECEIVED), None);
    }
}
