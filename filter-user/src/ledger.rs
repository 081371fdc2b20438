//! The books: everything counted so far under names that outlive set ids, ports and the daemon, and what of it came since
//! the last reading. Pure.
//!
//! Counters are read while packets are counted, so a client's counter may be ahead of its set's. A client is therefore
//! given no more than its set has; what it is ahead is given to it at the next reading. So in every interval, and in all
//! of them together, the clients of a set add up to the set.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::abi::{ClientKey, Seen};
use filter_common::decide::Direction;
use serde::{Deserialize, Serialize};

use crate::account::{Account, Interval};
use crate::ruleset::{RuleAction, RuleIdentity, Sets, credit};
use crate::tally::{self, Key, Tally};

/// The hook at which a packet is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hook {
    /// The device.
    pub device: String,
    /// Its egress, else its ingress.
    pub egress: bool,
}

/// What listed packets are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// The rules of the set.
    pub members: Vec<RuleIdentity>,
    /// Where.
    pub hook: Hook,
    /// Which address was listed.
    #[serde(with = "tally::direction")]
    pub direction: Direction,
    /// IPv6, else IPv4.
    pub v6: bool,
}

impl Cell {
    /// What happened to the packets, and the rules that made it so.
    fn credit(&self) -> Option<(RuleAction, Vec<String>)> {
        let credited: Vec<&RuleIdentity> = credit(self.members.iter(), self.direction).collect();
        let mut names: Vec<String> = credited.iter().map(|rule| rule.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        // Block before monitor: rules that only count are not what dropped a packet, but they list it, too.
        let action = credited.iter().map(|rule| rule.action).min()?;
        Some((action, names))
    }

    fn is_final(&self, action: RuleAction) -> bool {
        action == RuleAction::Block || !self.hook.egress
    }
}

/// All packets of a hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// As in [`Seen::packets`].
    pub packets: [u64; 4],
    /// As in [`Seen::bytes`].
    pub bytes: u64,
}

impl From<Seen> for Traffic {
    fn from(Seen { packets, bytes }: Seen) -> Self {
        Self { packets, bytes }
    }
}

/// A client's place in the kernel's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// When the client got it; another number is another place.
    pub since: u64,
    /// Packets of it that were given to the client.
    pub tally: Tally,
}

/// The counters as they were read, all of them cumulative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// By set, port, direction and family. Read before `clients`.
    pub hits: BTreeMap<Key, Tally>,
    /// By port.
    pub seen: BTreeMap<u32, Seen>,
    /// By client, set and port: the place's age, and packets out and in.
    pub clients: BTreeMap<ClientKey, (u64, [Tally; 2])>,
}

/// The names that set ids and ports stand for.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The sets.
    pub sets: &'a Sets,
    /// The hooks by port.
    pub ports: &'a BTreeMap<u32, Hook>,
}

/// The books.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Listed packets.
    #[serde(with = "pairs")]
    pub hits: BTreeMap<Cell, Tally>,
    /// All packets.
    #[serde(with = "pairs")]
    pub seen: BTreeMap<Hook, Traffic>,
    /// What of the places in the table of clients is in the books.
    #[serde(with = "pairs")]
    pub claims: BTreeMap<(Cell, IpAddr), Claim>,
}

impl Ledger {
    /// Enters a reading, and gives what came since the one before. Counters that went back began anew.
    pub fn post(&mut self, reading: &Reading, names: Names<'_>, begin: i64, end: i64) -> Interval {
        let mut interval = Interval { begin, end, ..Interval::default() };
        let mut fresh: BTreeMap<Cell, Tally> = BTreeMap::new();
        for (key, &tally) in &reading.hits {
            let Some(cell) = names.cell(key.set, key.port, key.direction, key.v6) else { continue };
            let before = self.hits.insert(cell.clone(), tally).unwrap_or_default();
            *fresh.entry(cell).or_default() += since(tally, before);
        }
        self.claim(reading, names, &mut fresh, &mut interval);
        for (cell, tally) in fresh {
            enter(&mut interval, &cell, None, tally);
        }
        for (port, &seen) in &reading.seen {
            let Some(hook) = names.ports.get(port) else { continue };
            let now = Traffic::from(seen);
            let before = self.seen.insert(hook.clone(), now).unwrap_or_default();
            if !hook.egress {
                let total = |traffic: Traffic| Tally { packets: traffic.packets.iter().sum(), bytes: traffic.bytes };
                let fresh = since(total(now), total(before));
                if fresh != Tally::default() {
                    *interval.seen.entry(hook.device.clone()).or_default() += fresh;
                }
            }
        }
        interval
    }

    /// Gives the clients what is theirs of `fresh`.
    fn claim(&mut self, reading: &Reading, names: Names<'_>, fresh: &mut BTreeMap<Cell, Tally>, into: &mut Interval) {
        let mut claims = BTreeMap::new();
        for (key, &(age, ref tallies)) in &reading.clients {
            let v6 = key.hook % 2 == 1;
            let address = address(key.high, key.low, v6);
            for (direction, &tally) in [Direction::Out, Direction::In].into_iter().zip(tallies) {
                if tally == Tally::default() {
                    continue;
                }
                let Some(cell) = names.cell(key.set, key.hook / 2, direction, v6) else { continue };
                let held = self.claims.get(&(cell.clone(), address)).filter(|held| held.since == age);
                let mut claim = held.copied().unwrap_or(Claim { since: age, tally: Tally::default() });
                if let Some(rest) = fresh.get_mut(&cell) {
                    let asked = since(tally, claim.tally);
                    let given = Tally { packets: asked.packets.min(rest.packets), bytes: asked.bytes.min(rest.bytes) };
                    rest.packets -= given.packets;
                    rest.bytes -= given.bytes;
                    claim.tally += given;
                    enter(into, &cell, Some(address), given);
                }
                claims.insert((cell, address), claim);
            }
        }
        self.claims = claims;
    }

    /// The counters to go on from with maps that are empty, by the ids that `sets` gives and the ports that `port` does.
    /// Cells that counted nothing, and sets that are too many, are left out.
    pub fn reopen(&self, sets: &mut Sets, mut port: impl FnMut(&Hook) -> u32) -> Reading {
        let mut reading = Reading::default();
        for (cell, &tally) in self.hits.iter().filter(|(_, tally)| **tally != Tally::default()) {
            let mut members: Vec<_> = cell.members.iter().map(|rule| sets.rule_id(rule)).collect();
            members.sort_unstable();
            let Ok(set) = sets.set_id(&members) else { continue };
            let key = Key { port: port(&cell.hook), set, direction: cell.direction, v6: cell.v6 };
            *reading.hits.entry(key).or_default() += tally;
        }
        for (hook, traffic) in &self.seen {
            reading.seen.insert(port(hook), Seen { packets: traffic.packets, bytes: traffic.bytes });
        }
        reading
    }
}

impl Names<'_> {
    fn cell(&self, set: u32, port: u32, direction: Direction, v6: bool) -> Option<Cell> {
        let members: Vec<RuleIdentity> = self.sets.rules_of(set).cloned().collect();
        let hook = self.ports.get(&port)?.clone();
        (!members.is_empty()).then_some(Cell { members, hook, direction, v6 })
    }
}

/// Adds to an account of the interval; packets that do not belong in totals are left out.
fn enter(interval: &mut Interval, cell: &Cell, client: Option<IpAddr>, tally: Tally) {
    let Some((action, rules)) = cell.credit() else { return };
    if tally == Tally::default() || !cell.is_final(action) {
        return;
    }
    let account = Account { action, rules, direction: cell.direction, device: cell.hook.device.clone(), client };
    *interval.accounts.entry(account).or_default() += tally;
}

/// What came since `before`; all of it, where the counter began anew.
fn since(now: Tally, before: Tally) -> Tally {
    match (now.packets.checked_sub(before.packets), now.bytes.checked_sub(before.bytes)) {
        (Some(packets), Some(bytes)) => Tally { packets, bytes },
        _ => now,
    }
}

/// A client's address, as the kernel keeps it.
#[must_use]
pub fn address(high: u64, low: u64, v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into()
    } else {
        Ipv4Addr::from_bits(low as u32).into()
    }
}

/// Maps whose keys JSON takes for no keys, as lists of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        Vec::<(K, V)>::deserialize(deserializer).map(|pairs| pairs.into_iter().collect())
    }
}
