//! Two readings of the counters and the time between them become rates. Pure; the JSON shape stands in docs/json.md.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::report::{ClientTotals, RuleTotals, Status};
use crate::ruleset::RuleAction;
use crate::tally::Tally;

/// How fast something was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rate {
    /// Packets a second.
    pub packets: f64,
    /// Bits a second.
    pub bits: f64,
}

/// The rates of a rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleRate {
    /// The rule's name.
    pub name: String,
    /// Its action.
    pub action: RuleAction,
    /// Packets to the listed networks.
    pub out: Rate,
    /// Packets from the listed networks.
    #[serde(rename = "in")]
    pub in_: Rate,
}

/// The rates of a client.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClientRate {
    /// Its address.
    pub client: IpAddr,
    /// Packets dropped.
    pub dropped: Rate,
    /// Packets that only monitor rules matched.
    pub monitored: Rate,
    /// Listed packets that an allow rule passed.
    pub allowed: Rate,
}

/// The rate of a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceRate {
    /// Its name.
    pub name: String,
    /// All packets at its ingress hook.
    pub seen: Rate,
}

/// What was counted between two readings, by the second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rates {
    /// Packets dropped.
    pub dropped: Rate,
    /// Packets that only monitor rules matched.
    pub monitored: Rate,
    /// Listed packets that an allow rule passed.
    pub allowed: Rate,
    /// All packets at ingress hooks.
    pub seen: Rate,
    /// Dropped bytes over seen bytes; none where no byte was seen.
    pub share: Option<f64>,
    /// The rules, as in the status; of two rows of one name and action, the first has the rate of both.
    pub rules: Vec<RuleRate>,
    /// The clients of which both readings tell.
    pub clients: Vec<ClientRate>,
    /// The devices.
    pub devices: Vec<DeviceRate>,
}

impl Rates {
    /// The rates between two readings. None where another daemon answered, a total fell, or no time passed: then the
    /// difference says nothing.
    #[must_use]
    pub fn between(before: &Status, after: &Status, time: Duration) -> Option<Self> {
        let totals = |status: &Status| [status.dropped, status.monitored, status.allowed, status.seen];
        let fell = totals(before).into_iter().zip(totals(after)).any(|(old, new)| new.packets < old.packets);
        if fell || before.pid != after.pid || time.is_zero() {
            return None;
        }
        let rate = |old: Tally, new: Tally| rate(old, new, time);
        let seen = after.seen.bytes.saturating_sub(before.seen.bytes);
        let dropped = after.dropped.bytes.saturating_sub(before.dropped.bytes);
        Some(Self {
            dropped: rate(before.dropped, after.dropped),
            monitored: rate(before.monitored, after.monitored),
            allowed: rate(before.allowed, after.allowed),
            seen: rate(before.seen, after.seen),
            share: (seen > 0).then(|| dropped as f64 / seen as f64),
            rules: rules(&before.rules, &after.rules, time),
            clients: clients(&before.clients, &after.clients, time),
            devices: after
                .devices
                .iter()
                .map(|device| {
                    let old = before.devices.iter().find(|old| old.name == device.name);
                    DeviceRate {
                        name: device.name.clone(),
                        seen: rate(old.map(|old| old.seen).unwrap_or_default(), device.seen),
                    }
                })
                .collect(),
        })
    }

    /// The rate of a rule in both directions.
    pub(super) fn rule(&self, name: &str, action: RuleAction) -> Option<(Rate, Rate)> {
        let found = self.rules.iter().find(|rate| rate.name == name && rate.action == action)?;
        Some((found.out, found.in_))
    }

    /// The rates of a client.
    pub(super) fn client(&self, client: IpAddr) -> Option<&ClientRate> {
        self.clients.iter().find(|rate| rate.client == client)
    }

    /// The rate of a device.
    pub(super) fn device(&self, name: &str) -> Option<Rate> {
        self.devices.iter().find(|rate| rate.name == name).map(|rate| rate.seen)
    }
}

impl Rate {
    /// Both added up.
    pub(super) fn plus(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bits: self.bits + other.bits }
    }
}

fn rate(before: Tally, after: Tally, time: Duration) -> Rate {
    let each = |old: u64, new: u64| new.saturating_sub(old) as f64 / time.as_secs_f64();
    Rate { packets: each(before.packets, after.packets), bits: each(before.bytes, after.bytes) * 8.0 }
}

/// A rule whose direction changed has two rows of one name and action, the retired one last: only their sum goes on.
fn rules(before: &[RuleTotals], after: &[RuleTotals], time: Duration) -> Vec<RuleRate> {
    type Sums<'a> = BTreeMap<(&'a str, &'static str), (Tally, Tally)>;
    fn sums(rows: &[RuleTotals]) -> Sums<'_> {
        let mut sums = Sums::new();
        for row in rows {
            let sum = sums.entry((&row.name, row.action.as_str())).or_default();
            sum.0 += row.out;
            sum.1 += row.in_;
        }
        sums
    }
    let (old, mut new) = (sums(before), sums(after));
    after
        .iter()
        .map(|row| {
            let key = (row.name.as_str(), row.action.as_str());
            let was = old.get(&key).copied().unwrap_or_default();
            // Taken away: the second row of that name has none.
            let (out, in_) = new.remove(&key).unwrap_or_default();
            RuleRate {
                name: row.name.clone(),
                action: row.action,
                out: rate(was.0, out, time),
                in_: rate(was.1, in_, time),
            }
        })
        .collect()
}

/// A status names a limited number of clients: one that comes up may have been there, below the others.
fn clients(before: &[ClientTotals], after: &[ClientTotals], time: Duration) -> Vec<ClientRate> {
    let all = before.len() < crate::report::MOST_CLIENTS;
    let old: BTreeMap<IpAddr, &ClientTotals> = before.iter().map(|row| (row.client, row)).collect();
    after
        .iter()
        .filter_map(|row| {
            let was = old.get(&row.client);
            let rate = |tally: fn(&ClientTotals) -> Tally| {
                rate(was.map(|was| tally(was)).unwrap_or_default(), tally(row), time)
            };
            (all || was.is_some()).then(|| ClientRate {
                client: row.client,
                dropped: rate(|row| row.dropped),
                monitored: rate(|row| row.monitored),
                allowed: rate(|row| row.allowed),
            })
        })
        .collect()
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "quotients of small whole numbers are exact")]
mod tests {
    use super::super::sample::{client, rule, status};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tally(packets: u64, bytes: u64) -> Tally {
        Tally { packets, bytes }
    }

    #[test]
    fn rates_are_differences_by_the_second() {
        let (before, mut after) = (status(), status());
        after.dropped = tally(before.dropped.packets + 50, before.dropped.bytes + 5000);
        after.seen = tally(before.seen.packets + 100, before.seen.bytes + 20_000);
        after.rules[0].out = tally(before.rules[0].out.packets + 50, before.rules[0].out.bytes + 5000);
        after.devices[0].seen = tally(before.devices[0].seen.packets + 100, before.devices[0].seen.bytes + 20_000);
        let rates = Rates::between(&before, &after, Duration::from_millis(500)).unwrap();
        assert_eq!(rates.dropped, Rate { packets: 100.0, bits: 80_000.0 });
        assert_eq!(rates.seen, Rate { packets: 200.0, bits: 320_000.0 });
        assert_eq!(rates.share, Some(0.25));
        assert_eq!(rates.rules[0].out, rates.dropped);
        assert_eq!(rates.rules[0].in_, Rate::default());
        assert_eq!(rates.device("lan0"), Some(rates.seen));
        assert_eq!(rates.device("wan0"), Some(Rate::default()));
    }

    #[test]
    fn nothing_is_said_where_the_difference_says_nothing() {
        let (before, mut after) = (status(), status());
        assert_eq!(Rates::between(&before, &after, Duration::ZERO), None, "no time");
        after.pid += 1;
        assert_eq!(Rates::between(&before, &after, SECOND), None, "another daemon");
        after = status();
        after.seen.packets -= 1;
        assert_eq!(Rates::between(&before, &after, SECOND), None, "a total fell");
        after = status();
        let rates = Rates::between(&before, &after, SECOND).unwrap();
        assert_eq!((rates.share, rates.dropped), (None, Rate::default()), "no traffic");
    }

    #[test]
    fn a_rule_whose_direction_changed_makes_no_jump() {
        let (mut before, mut after) = (status(), status());
        before.rules = vec![rule("x", RuleAction::Block, 1000)];
        let mut retired = rule("x", RuleAction::Block, 1000);
        retired.retired = true;
        after.rules = vec![rule("x", RuleAction::Block, 7), retired];
        let rates = Rates::between(&before, &after, SECOND).unwrap();
        assert_eq!(rates.rules.iter().map(|rule| rule.out.packets).collect::<Vec<_>>(), [7.0, 0.0]);
    }

    #[test]
    fn a_client_that_comes_up_into_a_full_list_has_no_rate() {
        let (mut before, mut after) = (status(), status());
        before.clients = (1..=99).map(|n| client(n, 5)).collect();
        after.clients = vec![client(200, 9), client(1, 6)];
        let rates = Rates::between(&before, &after, SECOND).unwrap();
        assert_eq!(rates.client(client(200, 0).client).unwrap().dropped.packets, 9.0, "it is new");
        before.clients.push(client(100, 5));
        let rates = Rates::between(&before, &after, SECOND).unwrap();
        assert_eq!(rates.client(client(200, 0).client), None, "it may have been the 101st");
        assert_eq!(rates.client(client(1, 0).client).unwrap().dropped.packets, 1.0);
        after.clients = vec![client(1, 2)];
        let rates = Rates::between(&before, &after, SECOND).unwrap();
        assert_eq!(rates.client(client(1, 0).client).unwrap().dropped.packets, 0.0, "it lost its place and got one");
    }
}
