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
use serde::{Deserialize, Deserializer, Serialize};

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
    /// The rules of the set, sorted: their numbers differ from one daemon to the next.
    #[serde(deserialize_with = "sorted")]
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
    fn from(Seen { packets, bytes, .. }: Seen) -> Self {
        Self { packets, bytes }
    }
}

impl From<&Traffic> for Seen {
    fn from(traffic: &Traffic) -> Self {
        Self { packets: traffic.packets, bytes: traffic.bytes, ..Self::default() }
    }
}

/// The clients in the kernel's tables: by CPU and key, which of the clients that had the CPU's places it is, and its
/// packets.
pub type Clients = BTreeMap<(u32, ClientKey), (u64, Tally)>;

/// A client's place in one CPU's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Which of the clients that had the CPU's places it is.
    pub serial: u64,
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
    /// The clients.
    pub clients: Clients,
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
    /// What of the places in the tables of clients is in the books: by CPU.
    #[serde(with = "pairs")]
    pub claims: BTreeMap<(Cell, IpAddr, u32), Claim>,
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
        for (&(cpu, key), &(serial, tally)) in &reading.clients {
            let (v6, direction) = (key.v6(), if key.direction() == 0 { Direction::Out } else { Direction::In });
            let Some(cell) = names.cell(key.set(), key.port(), direction, v6) else { continue };
            let address = address(key.high, key.low, v6);
            let place = (cell, address, cpu);
            let held = self.claims.get(&place).filter(|held| held.serial == serial);
            let mut claim = held.copied().unwrap_or(Claim { serial, tally: Tally::default() });
            if let Some(rest) = fresh.get_mut(&place.0) {
                let asked = since(tally, claim.tally);
                let given = Tally { packets: asked.packets.min(rest.packets), bytes: asked.bytes.min(rest.bytes) };
                rest.packets -= given.packets;
                rest.bytes -= given.bytes;
                claim.tally += given;
                enter(into, &place.0, Some(address), given);
            }
            claims.insert(place, claim);
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
            reading.seen.insert(port(hook), traffic.into());
        }
        reading
    }
}

impl Names<'_> {
    fn cell(&self, set: u32, port: u32, direction: Direction, v6: bool) -> Option<Cell> {
        let mut members: Vec<RuleIdentity> = self.sets.rules_of(set).cloned().collect();
        members.sort_unstable();
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

/// Reads the members of a cell, which may have been written in another order.
fn sorted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RuleIdentity>, D::Error> {
    let mut members = Vec::deserialize(deserializer)?;
    members.sort_unstable();
    Ok(members)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ruleset::RuleDirection;

    fn rule(name: &str, action: RuleAction) -> RuleIdentity {
        RuleIdentity { name: name.into(), action, direction: RuleDirection::Both }
    }

    /// Sets 1 (block), 2 (monitor), 3 (block and monitor), 4 (block and allow).
    fn sets() -> Sets {
        let mut sets = Sets::default();
        let block = sets.rule_id(&rule("block", RuleAction::Block));
        let monitor = sets.rule_id(&rule("monitor", RuleAction::Monitor));
        let allow = sets.rule_id(&rule("allow", RuleAction::Allow));
        for members in [&[block][..], &[monitor], &[block, monitor], &[block, allow]] {
            sets.set_id(members).unwrap();
        }
        sets
    }

    fn ports() -> BTreeMap<u32, Hook> {
        let hook = |device: &str, egress| Hook { device: device.into(), egress };
        BTreeMap::from([(1, hook("lan0", false)), (2, hook("lan0", true)), (3, hook("wan0", false))])
    }

    fn tally(packets: u64) -> Tally {
        Tally { packets, bytes: packets * 100 }
    }

    fn key(set: u32, port: u32, direction: Direction) -> Key {
        Key { port, set, direction, v6: false }
    }

    fn client(cpu: u32, low: u64, set: u32, port: u32) -> (u32, ClientKey) {
        (cpu, ClientKey::new([0, low], set, port, 0, false))
    }

    #[test]
    fn packets_are_entered_under_what_happened_to_them_and_once() {
        let (sets, ports) = (sets(), ports());
        let names = Names { sets: &sets, ports: &ports };
        let mut reading = Reading::default();
        for set in 1..=4 {
            for port in 1..=3 {
                reading.hits.insert(key(set, port, Direction::Out), tally(10 * u64::from(set)));
            }
        }
        // A port that weir does not know of: probes of a self-test.
        reading.hits.insert(key(1, 0, Direction::Out), tally(1));
        let interval = Ledger::default().post(&reading, names, 5, 9);
        let shown: Vec<(RuleAction, String, &str, u64)> = interval
            .accounts
            .iter()
            .map(|(account, tally)| (account.action, account.rules.join("+"), account.device.as_str(), tally.packets))
            .collect();
        assert_eq!(
            shown,
            [
                (RuleAction::Block, "block".into(), "lan0", 20),
                (RuleAction::Block, "block".into(), "wan0", 10),
                (RuleAction::Block, "block+monitor".into(), "lan0", 60),
                (RuleAction::Block, "block+monitor".into(), "wan0", 30),
                (RuleAction::Monitor, "monitor".into(), "lan0", 20),
                (RuleAction::Monitor, "monitor".into(), "wan0", 20),
                (RuleAction::Allow, "allow".into(), "lan0", 40),
                (RuleAction::Allow, "allow".into(), "wan0", 40),
            ],
            "what passes counts at ingress only"
        );
        assert_eq!((interval.begin, interval.end), (5, 9));
    }

    #[test]
    fn books_that_are_written_down_and_reopened_go_on() {
        let (sets, ports) = (sets(), ports());
        let names = Names { sets: &sets, ports: &ports };
        let mut reading = Reading::default();
        reading.hits.insert(key(3, 1, Direction::In), tally(7));
        reading.seen.insert(1, Seen { packets: [5, 4, 3, 2], bytes: 99, ..Seen::default() });
        let mut ledger = Ledger::default();
        ledger.post(&reading, names, 0, 0);
        let text = serde_json::to_vec(&ledger).unwrap();
        let mut ledger: Ledger = serde_json::from_slice(&text).unwrap();
        let mut fresh = Sets::default();
        let base = ledger.reopen(&mut fresh, |hook| u32::from(hook.egress) + if hook.device == "lan0" { 7 } else { 9 });
        assert_eq!(base.hits, BTreeMap::from([(key(1, 7, Direction::In), tally(7))]), "ids are given anew");
        assert_eq!(base.seen[&7], Seen { packets: [5, 4, 3, 2], bytes: 99, ..Seen::default() });
        let ports = BTreeMap::from([(7, ports[&1].clone())]);
        let mut more = base.clone();
        *more.hits.get_mut(&key(1, 7, Direction::In)).unwrap() = tally(9);
        let interval = ledger.post(&more, Names { sets: &fresh, ports: &ports }, 0, 1);
        let sums: Vec<u64> = interval.accounts.values().map(|tally| tally.packets).collect();
        assert_eq!(sums, [2], "only what came since");
        assert!(interval.seen.is_empty());
    }

    #[test]
    fn a_restart_that_numbers_overlapping_rules_anew_counts_nothing_twice() {
        let ports = ports();
        let mut sets = Sets::default();
        // The configuration's order is not that of the names.
        let (zone, apps) =
            (sets.rule_id(&rule("zone", RuleAction::Block)), sets.rule_id(&rule("apps", RuleAction::Block)));
        for members in [&[zone][..], &[apps], &[zone, apps]] {
            sets.set_id(members).unwrap();
        }
        let hits = (1..=3).map(|set| (key(set, 1, Direction::Out), tally(7))).collect();
        let reading = Reading { hits, ..Reading::default() };
        let mut ledger = Ledger::default();
        ledger.post(&reading, Names { sets: &sets, ports: &ports }, 0, 0);

        let mut ledger: Ledger = serde_json::from_slice(&serde_json::to_vec(&ledger).unwrap()).unwrap();
        let mut anew = Sets::default();
        let base = ledger.reopen(&mut anew, |_| 1);
        let interval = ledger.post(&base, Names { sets: &anew, ports: &ports }, 0, 1);
        assert_eq!(interval.accounts, BTreeMap::new(), "all of it is in the books already");
    }

    #[test]
    fn books_written_with_their_rules_in_another_order_are_the_same_books() {
        let (zone, apps) = (rule("zone", RuleAction::Block), rule("apps", RuleAction::Block));
        let cell = |members: &[&RuleIdentity]| Cell {
            members: members.iter().map(|&rule| rule.clone()).collect(),
            hook: ports()[&1].clone(),
            direction: Direction::Out,
            v6: false,
        };
        let text = serde_json::to_string(&cell(&[&zone, &apps])).unwrap();
        assert_eq!(serde_json::from_str::<Cell>(&text).unwrap(), cell(&[&apps, &zone]));
    }

    #[test]
    fn a_client_that_lost_its_place_and_came_back_counts_from_there() {
        let (sets, ports) = (sets(), ports());
        let names = Names { sets: &sets, ports: &ports };
        let mut ledger = Ledger::default();
        let mut post = |hits: u64, place: Option<(u64, u64)>| {
            let mut reading = Reading::default();
            reading.hits.insert(key(1, 1, Direction::Out), tally(hits));
            if let Some((serial, packets)) = place {
                reading.clients.insert(client(0, 1, 1, 1), (serial, tally(packets)));
            }
            let interval = ledger.post(&reading, names, 0, 0);
            let of = |client: bool| {
                interval
                    .accounts
                    .iter()
                    .filter(|(account, _)| account.client.is_some() == client)
                    .map(|(_, t)| t.packets)
                    .sum()
            };
            (of(true), of(false))
        };
        assert_eq!(post(10, Some((1, 10))), (10_u64, 0_u64));
        assert_eq!(post(15, Some((1, 12))), (2, 3), "three packets came while it had no place");
        assert_eq!(post(35, Some((2, 20))), (20, 0), "another place: all of it is new");
        assert_eq!(post(36, None), (0, 1));
        assert_eq!(post(40, Some((2, 24))), (4, 0), "a key that was missing in one reading");
    }

    proptest! {
        /// Whatever is read when, the clients and the rest add up to the sets in every interval; and to each client what it
        /// sent, once nothing is under way.
        #[test]
        fn clients_add_up_to_their_sets_however_far_readings_are_apart(
            steps in prop::collection::vec((0..2_u32, 0..4_u64, 1..5_u32, 1..4_u32, 0..50_u64, 0..30_u64), 1..60),
        ) {
            let (sets, ports) = (sets(), ports());
            let names = Names { sets: &sets, ports: &ports };
            let (mut ledger, mut reading) = (Ledger::default(), Reading::default());
            let (mut booked, mut sent) = (BTreeMap::<Option<IpAddr>, u64>::new(), BTreeMap::<Option<IpAddr>, u64>::new());
            for (cpu, low, set, port, packets, late) in steps.iter().copied().chain([(0, 0, 1, 1, 0, 0)]) {
                let counted = packets + late;
                *reading.hits.entry(key(set, port, Direction::Out)).or_default() += tally(packets);
                let place = reading.clients.entry(client(cpu, low, set, port)).or_insert((1, Tally::default()));
                // The client's counter is read after its set's: it has `late` packets more.
                place.1 += tally(counted);
                let interval = ledger.post(&reading, names, 0, 0);
                let in_all: u64 = interval.accounts.values().map(|tally| tally.packets).sum();
                let is_final = port != 2 || matches!(set, 1 | 3);
                prop_assert!(in_all <= packets + 30 * 60);
                for (account, tally) in &interval.accounts {
                    *booked.entry(account.client).or_default() += tally.packets;
                    prop_assert_eq!(tally.bytes, tally.packets * 100);
                }
                *reading.hits.entry(key(set, port, Direction::Out)).or_default() += tally(late);
                if is_final {
                    *sent.entry(Some(address(0, low, false))).or_default() += counted;
                }
            }
            for (account, tally) in ledger.post(&reading, names, 0, 0).accounts {
                *booked.entry(account.client).or_default() += tally.packets;
            }
            booked.retain(|_, packets| *packets != 0);
            sent.retain(|_, packets| *packets != 0);
            prop_assert_eq!(booked, sent);
        }
    }
}
