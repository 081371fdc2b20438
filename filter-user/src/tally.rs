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

/// A byte count in the largest unit that leaves at least one digit before the point.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("B");
    if unit == 0 { format!("{count} {name}") } else { format!("{value:.1} {name}") }
}

/// A part of a whole in per cent.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "0 %".into() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
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

/// A direction as `"out"` or `"in"`.
pub mod direction {
    use filter_common::decide::Direction;
    use serde::{Deserialize, Deserializer, Serializer};

    /// The word for it in output.
    #[must_use]
    pub fn word(direction: Direction) -> &'static str {
        match direction {
            Direction::Out => "out",
            Direction::In => "in",
        }
    }

    /// Writes the word.
    pub fn serialize<S: Serializer>(direction: &Direction, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(word(*direction))
    }

    /// Reads the word.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Direction, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "out" => Ok(Direction::Out),
            "in" => Ok(Direction::In),
            other => Err(serde::de::Error::custom(format!("direction \"{other}\" is neither out nor in"))),
        }
    }
}
