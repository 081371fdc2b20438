//! Questions to the history, and its answers. Plain values; the JSON of a [`Report`] is documented in docs/json.md.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::account::Standing;
use crate::ruleset::RuleAction;
use crate::tally::Tally;

/// What was counted over time, in lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesQuery {
    /// From when, Unix seconds.
    pub since: i64,
    /// To when, Unix seconds; this second is not in it.
    pub until: i64,
    /// What has a line of its own.
    pub by: SeriesBy,
}

/// What has a line of its own in a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeriesBy {
    /// Each rule. A packet that several rules matched is in the line of each.
    Rule,
    /// To and from the listed networks.
    Direction,
    /// Each device.
    Device,
}

impl FromStr for SeriesBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rule" => Ok(Self::Rule),
            "direction" => Ok(Self::Direction),
            "device" => Ok(Self::Device),
            other => Err(format!("\"{other}\" is not known; accepted: rule, direction, device")),
        }
    }
}

/// The answer to a [`SeriesQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Series {
    /// Seconds from one time to the next: 60, 3600 or 86400, the finest that is kept and gives no more than 1000 times.
    pub step: u32,
    /// When each step begins, Unix seconds, without holes.
    pub times: Vec<i64>,
    /// What was counted, by name and action.
    pub lines: Vec<Line>,
    /// Bytes of all packets in each step, listed or not.
    pub seen_bytes: Vec<u64>,
    /// When something was not enforced.
    pub gaps: Vec<Gap>,
}

/// One line of a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The rule, the direction or the device.
    pub name: String,
    /// What happened to the packets.
    pub action: RuleAction,
    /// Packets in each step.
    pub packets: Vec<u64>,
    /// Bytes in each step.
    pub bytes: Vec<u64>,
}

/// A time in which something was not enforced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Gap {
    /// When it began, Unix seconds.
    pub begin: i64,
    /// When it ended, Unix seconds; its begin where less than a second is known to be missing.
    pub end: i64,
    /// The device that was not filtered; `None` where none was.
    pub device: Option<String>,
    /// Why, for people.
    pub why: String,
}

/// Everything that was counted in a span, and how weir stood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportQuery {
    /// From when, Unix seconds; `None` for all there is.
    pub since: Option<i64>,
    /// To when, Unix seconds, this second not in it; `None` for now.
    pub until: Option<i64>,
}

/// The answer to a [`ReportQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of this document; fields may be added to it.
    pub version: u32,
    /// The host's name.
    pub host: String,
    /// weir's version.
    pub weir: String,
    /// When the report was made, Unix seconds.
    pub created: i64,
    /// What the figures begin with, Unix seconds: what was asked for, or the begin of the minute, hour or day that it was
    /// in, whichever is the finest that is kept.
    pub since: i64,
    /// What they end with, in the same way.
    pub until: i64,
    /// Everything, each packet once.
    pub totals: Counted,
    /// By rule: block, monitor, allow; of each the largest first. A packet that several rules matched is in each.
    pub rules: Vec<RuleRow>,
    /// By client, the largest dropped bytes first.
    pub clients: Vec<ClientRow>,
    /// By device, in the order of their names.
    pub devices: Vec<DeviceRow>,
    /// By hour, and by day where hours are no longer kept; those in which something was seen.
    pub hours: Vec<HourRow>,
    /// Whether weir was there to count.
    pub enforcement: Enforcement,
    /// The documents that rules were resolved from.
    pub lists: Vec<ListInForce>,
    /// Sums of the same packets, added up in different ways.
    pub balance: Balance,
    /// What a reader must know, for people.
    pub notes: Vec<String>,
    /// SHA-256 of the report before this one; `None` for the first one, and for a report that is not sealed.
    pub previous: Option<String>,
    /// Its number in the chain of reports; `None` for a report that is not sealed.
    pub serial: Option<u64>,
}

/// What happened to packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Dropped.
    pub dropped: Tally,
    /// Passed, though a block rule would have dropped them.
    pub monitored: Tally,
    /// Passed by an allow rule.
    pub allowed: Tally,
    /// All packets at the ingress hooks, listed or not.
    pub seen: Tally,
}

/// What a rule counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleRow {
    /// Its name.
    pub name: String,
    /// What it did; a rule that was changed, or paused, has a row for each.
    pub action: RuleAction,
    /// Packets to the listed networks.
    pub out: Tally,
    /// Packets from them.
    #[serde(rename = "in")]
    pub in_: Tally,
}

/// What a client sent to listed networks and got from them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientRow {
    /// Its address; `None` for packets whose client was not told apart.
    pub client: Option<IpAddr>,
    /// Dropped.
    pub dropped: Tally,
    /// Passed, though a block rule would have dropped them.
    pub monitored: Tally,
    /// Passed by an allow rule.
    pub allowed: Tally,
}

/// What a device counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceRow {
    /// Its name.
    pub name: String,
    /// What happened at its hooks.
    #[serde(flatten)]
    pub counted: Counted,
}

/// What an hour, or a day, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HourRow {
    /// When it began, Unix seconds.
    pub begin: i64,
    /// How long it is: 3600, 86400 where only days are kept, or less at the ends of the report.
    pub secs: i64,
    /// What happened.
    #[serde(flatten)]
    pub counted: Counted,
}

/// Whether weir was there to count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Enforcement {
    /// Seconds in which every device was filtered.
    pub covered_secs: i64,
    /// Seconds in which one of them, or all, was not.
    pub gap_secs: i64,
    /// Seconds in which block rules only counted, by an operator's pause.
    pub paused_secs: i64,
    /// The latter, one by one.
    pub gaps: Vec<Gap>,
    /// How weir stood, from change to change.
    pub periods: Vec<Period>,
}

/// A time in which nothing changed about how weir stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Period {
    /// When it began, Unix seconds.
    pub begin: i64,
    /// When it was last seen so, Unix seconds.
    pub end: i64,
    /// How weir stood, without its lists.
    pub standing: Standing,
}

/// A document that rules were resolved from, and when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ListInForce {
    /// The source's name, or the file's path.
    pub source: String,
    /// The AS, for a source with one document for each.
    pub asn: Option<u32>,
    /// SHA-256 of what it listed.
    pub sha256: String,
    /// Ranges in it.
    pub ranges: u64,
    /// When its content last changed, Unix seconds; `None` for files.
    pub changed: Option<i64>,
    /// Since when it was in force, Unix seconds.
    pub from: i64,
    /// Until when; `None` where it was at the last record.
    pub until: Option<i64>,
}

/// The same packets, dropped, monitored and allowed, added up in different ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Over what was counted by rules, direction, device and client together.
    pub accounts: Tally,
    /// Over clients.
    pub clients: Tally,
    /// Over devices.
    pub devices: Tally,
    /// Over hours, from rows of their own.
    pub hours: Tally,
    /// All of them are equal.
    pub equal: bool,
}
