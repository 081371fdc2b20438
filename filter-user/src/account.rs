//! What was counted in an interval, by names that outlive every set id and port. Plain values: knows neither maps nor rules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use filter_common::decide::Direction;
use serde::{Deserialize, Serialize};

use crate::ruleset::RuleAction;
use crate::tally::{self, Tally};

/// What packets are counted by. Each counted packet belongs to exactly one account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Account {
    /// What happened to them: dropped (`block`), or passed by a monitor or an allow rule.
    pub action: RuleAction,
    /// Names of the rules that made it so, sorted; at least one. Each of them counts the packets as its own.
    pub rules: Vec<String>,
    /// Which address was listed.
    #[serde(with = "tally::direction")]
    pub direction: Direction,
    /// The device whose hook counted them.
    pub device: String,
    /// The end that is not listed; `None` for packets whose client was not told apart: the table of clients was full,
    /// or the history keeps only the largest.
    pub client: Option<IpAddr>,
}

/// What was counted between two readings of the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// When it began, Unix seconds.
    pub begin: i64,
    /// When it ended, Unix seconds; not before its begin.
    pub end: i64,
    /// Listed packets. None is in two accounts: a packet that passes counts at its ingress hook only.
    pub accounts: BTreeMap<Account, Tally>,
    /// All packets that passed each device's ingress hook, listed or not.
    pub seen: BTreeMap<String, Tally>,
}

impl Interval {
    /// Adds the interval that came next.
    pub fn extend(&mut self, next: Self) {
        self.end = next.end;
        for (account, tally) in next.accounts {
            *self.accounts.entry(account).or_default() += tally;
        }
        for (device, tally) in next.seen {
            *self.seen.entry(device).or_default() += tally;
        }
    }
}

/// How weir stands: written down whenever it changes, so that a report can show what was in force, and every gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// weir's version.
    pub version: String,
    /// When the daemon started, Unix seconds.
    pub started: i64,
    /// Serial of the ruleset that is live; 0 where none is.
    pub generation: u64,
    /// Block rules only count, until an operator's pause ends.
    pub paused: bool,
    /// SHA-256 of the configuration file, where there is one.
    pub config: Option<String>,
    /// The devices, by name.
    pub devices: BTreeMap<String, Hooked>,
    /// The documents that rules were resolved from. The history keeps them beside it: they change at times of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<ListVersion>,
    /// What of the rules is not in force, one line each.
    pub degraded: Vec<String>,
}

/// How a device is filtered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooked {
    /// `xdp-native`, `tcx`, `tc`, `xdp-generic`, or `none`.
    pub attach: String,
    /// `unproven`, `live`, or `dead`: packets arrive and the program does not see them.
    pub state: String,
    /// Whether egress is filtered, too.
    pub egress: bool,
}

/// A document as it is in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListVersion {
    /// The source's name, or the file's path.
    pub source: String,
    /// The AS, for a source with one document for each.
    pub asn: Option<u32>,
    /// SHA-256 of what it lists.
    pub sha256: String,
    /// Ranges in it.
    pub ranges: u64,
    /// When its content last changed, Unix seconds; `None` for files.
    pub changed: Option<i64>,
}
