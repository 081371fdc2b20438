//! Packets and bytes, and what they are counted by. Plain values: knows neither maps nor rules.

use std::ops::AddAssign;

use filter_common::abi::Count;
use filter_common::decide::Direction;
use serde::{Deserialize, Serialize};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl From<Count> for Tally {
    fn from(count: Count) -> Self {
        Self { packets: count.packets, bytes: count.bytes }
    }
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The port: a device's ingress or egress.
    pub port: u32,
    /// The set of the listed address.
    pub set: u32,
    /// Which address was listed.
    pub direction: Direction,
    /// IPv6, else IPv4.
    pub v6: bool,
}
