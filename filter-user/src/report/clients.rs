//! What clients met: the kernel's table of them, added up. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ledger::{self, Clients};
use crate::ruleset::Sets;
use crate::tally::Tally;

/// What one client met, over all devices, since it has its place in the kernel's table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientTotals {
    /// The end that is not listed.
    pub client: IpAddr,
    /// Packets dropped.
    pub dropped: Tally,
    /// Packets that only monitor rules matched.
    pub monitored: Tally,
    /// Listed packets that an allow rule passed.
    pub allowed: Tally,
}

/// The kernel's tables of clients, one for each CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientTable {
    /// Places; a client takes one for each set of rules, hook and direction that it meets, on each CPU that meets it.
    pub room: u64,
    /// Places taken.
    pub held: u64,
    /// Places that were taken away for others.
    pub evicted: u64,
    /// Packets whose client got no place.
    pub crowded: u64,
}

/// Clients that `status` shows, at most.
pub(crate) const MOST_CLIENTS: usize = 100;

/// Adds up the table of clients; the largest first, by bytes dropped, then monitored, then allowed.
#[must_use]
pub fn clients(sets: &Sets, ports: &BTreeMap<u32, (&str, bool)>, places: &Clients) -> Vec<ClientTotals> {
    let mut all: BTreeMap<IpAddr, ClientTotals> = BTreeMap::new();
    for ((_, key), &(_, tally)) in places {
        let Some(&(_, egress)) = ports.get(&key.port()) else { continue };
        let client = ledger::address(key.high, key.low, key.v6());
        let actions = sets.actions().get(key.set() as usize).copied().unwrap_or_default();
        let zero =
            ClientTotals { client, dropped: Tally::default(), monitored: Tally::default(), allowed: Tally::default() };
        let row = all.entry(client).or_insert(zero);
        match if key.direction() == 0 { actions.out } else { actions.in_ } {
            3 => row.dropped += tally,
            2 if !egress => row.monitored += tally,
            1 if !egress => row.allowed += tally,
            _ => {}
        }
    }
    let mut rows: Vec<ClientTotals> = all.into_values().collect();
    rows.sort_by_key(|row| Reverse((row.dropped.bytes, row.monitored.bytes, row.allowed.bytes)));
    rows.truncate(MOST_CLIENTS);
    rows
}
