//! Proof of life: does a program that was attached really see the device's packets? Pure: counts and time come in.
//!
//! Some drivers take a native XDP program and never call it (`mtk_eth_soc` version 1), and a program can be detached by
//! another hand. So the device's own packet count is held against the program's: when the one moves and the other does
//! not, the program is dead, whatever the kernel says.

use std::time::{Duration, Instant};

/// Received packets that prove, unseen, that the program does not run. A few may pass between two readings.
const ENOUGH_PACKETS: u64 = 16;
/// How long they may stay unseen: the readings are a second apart.
const WINDOW: Duration = Duration::from_secs(3);

/// What is known of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No traffic yet: nothing is known.
    Unproven,
    /// It has seen packets, and none since then passed it by.
    Live,
    /// Packets arrive and it does not see them.
    Dead,
}

/// Watches one program.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    state: State,
    /// Readings of the device and the program at the moment from which packets are held against it.
    received: u64,
    seen: u64,
    since: Instant,
}

impl Watch {
    /// Starts to watch a program that was just attached. `received` is the device's packet count, `seen` the program's.
    #[must_use]
    pub fn new(received: u64, seen: u64, now: Instant) -> Self {
        Self { state: State::Unproven, received, seen, since: now }
    }

    /// Takes new readings and tells what is known now.
    pub fn read(&mut self, received: u64, seen: u64, now: Instant) -> State {
        let quiet = received == self.received;
        if seen != self.seen {
            self.state = State::Live;
        } else if received.wrapping_sub(self.received) >= ENOUGH_PACKETS && now.duration_since(self.since) >= WINDOW {
            self.state = State::Dead;
        }
        if seen != self.seen || quiet {
            (self.received, self.seen, self.since) = (received, seen, now);
        }
        self.state
    }

    /// What is known.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_program_that_sees_packets_is_live() {
        let start = Instant::now();
        let mut watch = Watch::new(100, 0, start);
        assert_eq!(watch.read(100, 0, at(start, 1)), State::Unproven);
        assert_eq!(watch.read(101, 1, at(start, 2)), State::Live);
        assert_eq!(watch.read(101, 1, at(start, 900)), State::Live, "silence proves nothing");
    }

    #[test]
    fn a_program_that_misses_a_windows_packets_is_dead() {
        let start = Instant::now();
        let mut watch = Watch::new(100, 0, start);
        assert_eq!(watch.read(115, 0, at(start, 1)), State::Unproven, "too few packets");
        assert_eq!(watch.read(400, 0, at(start, 2)), State::Unproven, "too soon");
        assert_eq!(watch.read(401, 0, at(start, 3)), State::Dead);
    }

    #[test]
    fn a_program_that_stops_seeing_packets_dies_and_may_revive() {
        let start = Instant::now();
        let mut watch = Watch::new(0, 0, start);
        assert_eq!(watch.read(50, 50, at(start, 1)), State::Live);
        assert_eq!(watch.read(60, 50, at(start, 2)), State::Live);
        assert_eq!(watch.read(80, 50, at(start, 4)), State::Dead);
        assert_eq!(watch.read(81, 51, at(start, 5)), State::Live);
    }

    #[test]
    fn a_long_silence_before_a_burst_is_not_held_against_the_program() {
        let start = Instant::now();
        let mut watch = Watch::new(0, 0, start);
        assert_eq!(watch.read(0, 0, at(start, 600)), State::Unproven);
        assert_eq!(watch.read(500, 0, at(start, 601)), State::Unproven, "the burst has just begun");
    }
}
