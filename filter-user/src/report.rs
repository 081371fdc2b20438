//! What the counters mean: totals by rule, as `status` and `replay` show them. Pure; the JSON shapes are documented in
//! docs/json.md and stay stable.

mod clients;

use std::collections::{BTreeMap, BTreeSet};

use filter_common::decide::{Action, Direction};
use serde::{Deserialize, Serialize};

use crate::controller::{ListState, ListStatus};
use crate::events::Tallied;
use crate::ruleset::parts::PartId;
use crate::ruleset::probe::Probe;
use crate::ruleset::resolve::Gap;
use crate::ruleset::{RuleAction, RuleIdentity, Sets};
use crate::survey::Survey;
use crate::tally::{Key, Tally};

pub(crate) use clients::MOST_CLIENTS;
pub use clients::{ClientTable, ClientTotals, clients};

/// The counters of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTotals {
    /// The rule's name.
    pub name: String,
    /// `block`, `monitor` or `allow`.
    pub action: RuleAction,
    /// Packets to the listed networks.
    pub out: Tally,
    /// Packets from the listed networks.
    #[serde(rename = "in")]
    pub in_: Tally,
    /// When it was last met, Unix seconds, since the counters began in this kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<i64>,
    /// The rule is no longer in the configuration; its counters stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
}

impl RuleTotals {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(rule: &RuleIdentity, retired: bool) -> Self {
        Self {
            name: rule.name.clone(),
            action: rule.action,
            out: Tally::default(),
            in_: Tally::default(),
            last: None,
            retired,
        }
    }
}

/// One counter as the kernel keeps it, for those who add up themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// The device.
    pub device: String,
    /// `ingress` or `egress`.
    pub hook: String,
    /// The rule's name.
    pub rule: String,
    /// The rule's action.
    pub action: RuleAction,
    /// `out` or `in`.
    pub direction: String,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// Whether the packets are in the totals: not where they passed an egress hook, because an ingress hook may have
    /// counted them, too.
    #[serde(default)]
    pub total: bool,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Everything counted, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The rules of the configuration in its order, then retired ones that counted something.
    pub rules: Vec<RuleTotals>,
    /// Packets dropped.
    pub dropped: Tally,
    /// Packets that a monitor rule would have dropped, and nothing did.
    pub monitored: Tally,
    /// Listed packets that an allow rule passed.
    pub allowed: Tally,
    /// Every counter that is not zero.
    pub counters: Vec<Counter>,
}

/// Adds up `hits`. `ports` names each port's device and whether it is an egress hook.
///
/// A dropped packet ends at the hook that drops it. One that passes may meet an ingress and an egress hook, so totals of
/// what passed take ingress hooks only.
#[must_use]
pub fn totals(
    rules: &[RuleIdentity],
    sets: &Sets,
    ports: &BTreeMap<u32, (&str, bool)>,
    hits: &BTreeMap<Key, Tally>,
) -> Totals {
    let mut all = Totals::default();
    let mut by_rule: BTreeMap<&RuleIdentity, RuleTotals> = BTreeMap::new();
    for (key, &tally) in hits {
        let Some(&(device, egress)) = ports.get(&key.port) else { continue };
        let action = sets.actions().get(key.set as usize).map_or(0, |actions| match key.direction {
            Direction::Out => actions.out,
            Direction::In => actions.in_,
        });
        let dropped = action == Action::Block as u32;
        let counts = dropped || !egress;
        let total = match action {
            1 => &mut all.allowed,
            2 => &mut all.monitored,
            _ => &mut all.dropped,
        };
        if counts {
            *total += tally;
        }
        for rule in sets.credited(key.set, key.direction) {
            if counts {
                let row = by_rule.entry(rule).or_insert_with(|| RuleTotals::new(rule, true));
                *if key.direction == Direction::Out { &mut row.out } else { &mut row.in_ } += tally;
            }
            all.counters.push(Counter {
                device: device.into(),
                hook: if egress { "egress" } else { "ingress" }.into(),
                rule: rule.name.clone(),
                action: rule.action,
                direction: if key.direction == Direction::Out { "out" } else { "in" }.into(),
                family: if key.v6 { "ipv6" } else { "ipv4" }.into(),
                total: counts,
                packets: tally.packets,
                bytes: tally.bytes,
            });
        }
    }
    let current: BTreeSet<&RuleIdentity> = rules.iter().collect();
    all.rules = rules
        .iter()
        .map(|rule| RuleTotals { retired: false, ..by_rule.get(rule).cloned().unwrap_or(RuleTotals::new(rule, false)) })
        .collect();
    all.rules.extend(by_rule.iter().filter(|(rule, _)| !current.contains(*rule)).map(|(_, totals)| totals.clone()));
    all
}

/// Adds when each rule was last met; `last` has it by set, in Unix seconds.
pub fn add_last(totals: &mut Totals, sets: &Sets, last: &BTreeMap<u32, i64>) {
    for (&set, &at) in last {
        for member in sets.rules_of(set) {
            let same = |row: &&mut RuleTotals| row.name == member.name && row.action == member.action;
            if let Some(row) = totals.rules.iter_mut().find(same) {
                row.last = row.last.max(Some(at));
            }
        }
    }
}

/// One device as `status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Its name.
    pub name: String,
    /// `xdp-native`, `tcx`, `tc`, `xdp-generic`, or `none`.
    pub attach: String,
    /// `unproven` (no traffic yet), `live`, or `dead` (packets arrive and the program does not see them).
    pub state: String,
    /// Whether egress is filtered, too.
    pub egress: bool,
    /// All packets that passed the ingress hook.
    pub seen: Tally,
    /// Packets at the ingress hook by what they carried.
    pub parsed: Parsed,
}

/// Frames by what they carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parsed {
    /// IPv4 packets.
    pub ipv4: u64,
    /// IPv6 packets.
    pub ipv6: u64,
    /// Frames without an IP packet.
    pub non_ip: u64,
    /// Frames that end inside a header.
    pub truncated: u64,
}

impl From<[u64; 4]> for Parsed {
    /// By [`Protocol`](filter_common::packet::Protocol).
    fn from([ipv4, ipv6, non_ip, truncated]: [u64; 4]) -> Self {
        Self { ipv4, ipv6, non_ip, truncated }
    }
}

/// What the datapath enforces and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforced {
    /// Serial of the ruleset that is live.
    pub generation: u64,
    /// What its tables take in the kernel.
    pub table_bytes: u64,
    /// The devices.
    pub devices: Vec<DeviceStatus>,
    /// All packets that passed an ingress hook.
    pub seen: Tally,
    /// The counters.
    pub totals: Totals,
    /// The largest clients.
    pub clients: Vec<ClientTotals>,
    /// The table that they are in.
    pub client_table: ClientTable,
    /// What is not in force, one line each.
    pub degraded: Vec<String>,
}

/// What of the rules is not in force, one line for each rule and source.
#[must_use]
pub fn degraded(gaps: &[Gap]) -> Vec<String> {
    let mut by_source: BTreeMap<(&str, &str, bool), BTreeSet<String>> = BTreeMap::new();
    for gap in gaps {
        let source = gap.part.source().unwrap_or_default();
        let asn = match gap.part {
            PartId::Source(_, Some(asn)) => Some(format!("AS{asn}")),
            _ => None,
        };
        by_source.entry((&gap.rule, source, gap.snapshot)).or_default().extend(asn);
    }
    let line = |((rule, source, snapshot), asns): ((&str, &str, bool), BTreeSet<String>)| {
        let asns: Vec<String> = asns.into_iter().collect();
        let of = if asns.is_empty() { String::new() } else { format!(" for {}", asns.join(", ")) };
        let instead =
            if snapshot { "the embedded snapshot is enforced instead" } else { "what it lists is not enforced" };
        format!("rule \"{rule}\": source {source} has no copy yet{of}: {instead}")
    };
    by_source.into_iter().map(line).collect()
}

/// How probes fared that were sent through the live program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// Serial of the ruleset that is live.
    pub generation: u64,
    /// Each probe at each hook.
    pub probes: Vec<Probed>,
    /// Block rules for which there is no probe.
    pub unprobed: Vec<String>,
    /// What is wrong, one line each.
    pub faults: Vec<String>,
}

/// A probe at one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// The device.
    pub device: String,
    /// `xdp`, `ingress` (tc) or `egress` (tc).
    pub hook: String,
    /// What was sent.
    #[serde(flatten)]
    pub probe: Probe,
    /// Whether the program dropped it.
    pub dropped: bool,
}

/// What `weir status` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// weir's version.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Seconds since the daemon started.
    pub uptime_secs: u64,
    /// Serial of the ruleset that is live.
    pub generation: u64,
    /// What its tables take in the kernel.
    pub table_bytes: u64,
    /// The configuration file, where there is one.
    #[serde(default)]
    pub config: Option<String>,
    /// The devices.
    pub devices: Vec<DeviceStatus>,
    /// The rules.
    pub rules: Vec<RuleTotals>,
    /// Packets dropped.
    pub dropped: Tally,
    /// Packets that only monitor rules matched.
    pub monitored: Tally,
    /// Listed packets that an allow rule passed.
    pub allowed: Tally,
    /// All packets that passed an ingress hook.
    pub seen: Tally,
    /// Every counter that is not zero.
    pub counters: Vec<Counter>,
    /// The clients that met most, since each has its place in the kernel's table.
    #[serde(default)]
    pub clients: Vec<ClientTotals>,
    /// That table.
    #[serde(default)]
    pub client_table: ClientTable,
    /// Single drops reported and left out.
    #[serde(default)]
    pub events: Tallied,
    /// The documents of named sources.
    #[serde(default)]
    pub lists: Vec<ListStatus>,
    /// What is not in force, one line each.
    #[serde(default)]
    pub degraded: Vec<String>,
    /// Rules that their schedule switches off just now.
    #[serde(default)]
    pub resting: Vec<String>,
    /// When a schedule next switches a rule, Unix seconds.
    #[serde(default)]
    pub next_switch: Option<i64>,
    /// Seconds until block rules block again; until then they only count.
    #[serde(default)]
    pub paused_secs: Option<u64>,
    /// Seconds until an applied change goes back, unless it is confirmed.
    #[serde(default)]
    pub unconfirmed_secs: Option<u64>,
    /// The kernel and the devices, as far as the daemon can tell.
    #[serde(default)]
    pub system: Survey,
    /// Checksum of the configuration that was rolled back, while the file may still hold it.
    #[serde(default)]
    pub rejected: Option<String>,
}

impl Status {
    /// False where a device sees no packets, part of a rule is not in force, or a list is old.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.faults().is_empty()
    }

    /// What keeps it from being whole, one line each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let dead = self.devices.iter().filter(|device| device.state == "dead");
        let dead = dead.map(|device| format!("device \"{}\" is not filtered", device.name));
        let stale = self.lists.iter().filter(|list| list.state == ListState::Stale);
        let stale = stale.map(|list| {
            let of = list.asn.map_or_else(String::new, |asn| format!(" for AS{asn}"));
            format!("the copy of source {}{of} is old", list.source)
        });
        dead.chain(self.degraded.iter().cloned()).chain(stale).collect()
    }
}
