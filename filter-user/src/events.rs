//! Single drops as people and programs read them: JSON in the shape of Suricata's `eve.json`. Pure: understands what the
//! kernel copied, and writes nothing.

use std::collections::VecDeque;
use std::net::IpAddr;

use filter_common::decide::Direction;
use serde::{Deserialize, Serialize};

use crate::ruleset::RuleAction;
use crate::tally;

/// One packet that was dropped, or would have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When: RFC 3339 with microseconds, UTC.
    pub timestamp: String,
    /// `drop`, or `would_drop` where only monitor rules list it.
    pub event_type: String,
    /// Its source.
    pub src_ip: IpAddr,
    /// The source's port, where the packet has ports and they could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// Its destination.
    pub dest_ip: IpAddr,
    /// The destination's port, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dest_port: Option<u16>,
    /// The transport protocol by name, else its number (IANA).
    pub proto: String,
    /// What dropped it.
    pub drop: Drop,
}

/// What dropped a packet, or would have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// `block`, or `monitor`.
    pub action: RuleAction,
    /// The first rule.
    pub rule: String,
    /// All rules that list the packet.
    pub rules: Vec<String>,
    /// Which address is listed.
    #[serde(with = "tally::direction")]
    pub direction: Direction,
    /// The device.
    pub device: String,
    /// `ingress` or `egress`.
    pub hook: String,
    /// Bytes of the frame.
    pub len: u32,
}

/// The latest events, for whoever asks.
#[derive(Clone, Debug, Default)]
pub struct Recent(VecDeque<Event>);

impl Recent {
    /// How many are kept.
    pub const MOST: usize = 200;

    /// Adds one; the oldest goes.
    pub fn push(&mut self, event: Event) {
        if self.0.len() == Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }

    /// The latest `limit`, the latest first.
    #[must_use]
    pub fn latest(&self, limit: usize) -> Vec<Event> {
        self.0.iter().rev().take(limit).cloned().collect()
    }
}
