//! Sums by account to the rows of a report and the lines of a series. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use filter_common::decide::Direction;

use super::fold::add;
use super::query::{
    Balance, ClientRow, Counted, DeviceRow, Enforcement, HourRow, Line, Report, RuleRow, Series, SeriesBy,
};
use super::rows::Subject;
use super::span::Resolution;
use crate::ruleset::RuleAction;
use crate::tally::{Tally, direction};

/// Version of a report's document.
const VERSION: u32 = 1;

const ATTEMPTED: &str = "Bytes of dropped packets are bytes that were attempted, not traffic that was saved: a blocked \
    sender gives up early or tries again.";
const UNTOLD: &str = "A client without an address stands for packets whose client was not told apart: more clients \
    were there than are counted one by one.";
const UNEQUAL: &str = "The sums differ: the history was changed by something else than weir.";

/// A time of the report's hours.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) end: i64,
    counted: Counted,
}

impl Bucket {
    /// Adds what was counted by this subject.
    pub(super) fn add(&mut self, subject: Option<&Subject>, tally: Tally) {
        match subject {
            Some(Subject::Listed(account)) => add(self.counted.of(account.action), tally),
            Some(Subject::Seen { .. }) => add(&mut self.counted.seen, tally),
            None => {}
        }
    }
}

impl Counted {
    fn of(&mut self, action: RuleAction) -> &mut Tally {
        match action {
            RuleAction::Block => &mut self.dropped,
            RuleAction::Monitor => &mut self.monitored,
            RuleAction::Allow => &mut self.allowed,
        }
    }

    /// All listed packets.
    fn listed(&self) -> Tally {
        let mut sum = self.dropped;
        add(&mut sum, self.monitored);
        add(&mut sum, self.allowed);
        sum
    }
}

fn total<'a>(rows: impl Iterator<Item = &'a Counted>) -> Tally {
    let mut sum = Tally::default();
    rows.for_each(|row| add(&mut sum, row.listed()));
    sum
}

/// The figures of a report; the caller adds what it is of.
pub(super) fn report(
    subjects: &BTreeMap<i64, Subject>,
    sums: &BTreeMap<i64, Tally>,
    hours: BTreeMap<i64, Bucket>,
) -> Report {
    let mut totals = Counted::default();
    let mut rules: BTreeMap<(RuleAction, &str), [Tally; 2]> = BTreeMap::new();
    let mut clients: BTreeMap<Option<IpAddr>, Counted> = BTreeMap::new();
    let mut devices: BTreeMap<&str, Counted> = BTreeMap::new();
    let mut shared = Tally::default();
    for (id, &tally) in sums {
        match subjects.get(id) {
            Some(Subject::Seen { device }) => {
                add(&mut totals.seen, tally);
                add(&mut devices.entry(device).or_default().seen, tally);
            }
            Some(Subject::Listed(account)) => {
                add(totals.of(account.action), tally);
                add(devices.entry(&account.device).or_default().of(account.action), tally);
                add(clients.entry(account.client).or_default().of(account.action), tally);
                for rule in &account.rules {
                    let [out, in_] = rules.entry((account.action, rule)).or_default();
                    add(if account.direction == Direction::Out { out } else { in_ }, tally);
                }
                if account.rules.len() > 1 {
                    add(&mut shared, tally);
                }
            }
            None => {}
        }
    }
    let balance = balance(
        totals.listed(),
        total(clients.values()),
        total(devices.values()),
        total(hours.values().map(|hour| &hour.counted)),
    );
    let mut notes = vec![ATTEMPTED.into()];
    if shared != Tally::default() {
        notes.push(format!(
            "{} packets ({} bytes) matched several rules: each of these rules counts them, the totals count them once.",
            shared.packets, shared.bytes
        ));
    }
    notes.extend(clients.contains_key(&None).then(|| UNTOLD.into()));
    notes.extend((!balance.equal).then(|| UNEQUAL.into()));
    Report {
        version: VERSION,
        host: String::new(),
        weir: env!("CARGO_PKG_VERSION").into(),
        created: 0,
        since: 0,
        until: 0,
        totals,
        rules: rule_rows(rules),
        clients: client_rows(clients),
        devices: devices.into_iter().map(|(name, counted)| DeviceRow { name: name.into(), counted }).collect(),
        hours: hours
            .into_iter()
            .map(|(begin, Bucket { end, counted })| HourRow { begin, secs: end - begin, counted })
            .collect(),
        enforcement: Enforcement::default(),
        lists: Vec::new(),
        balance,
        notes,
        previous: None,
        serial: None,
    }
}

fn balance(accounts: Tally, clients: Tally, devices: Tally, hours: Tally) -> Balance {
    let equal = [clients, devices, hours].iter().all(|sum| *sum == accounts);
    Balance { accounts, clients, devices, hours, equal }
}

fn rule_rows(rules: BTreeMap<(RuleAction, &str), [Tally; 2]>) -> Vec<RuleRow> {
    let row = |((action, name), [out, in_]): ((RuleAction, &str), [Tally; 2])| RuleRow {
        name: name.into(),
        action,
        out,
        in_,
    };
    let mut rows: Vec<RuleRow> = rules.into_iter().map(row).collect();
    rows.sort_by_key(|row| (row.action, Reverse(row.out.bytes.saturating_add(row.in_.bytes))));
    rows
}

fn client_rows(clients: BTreeMap<Option<IpAddr>, Counted>) -> Vec<ClientRow> {
    let row = |(client, counted): (Option<IpAddr>, Counted)| ClientRow {
        client,
        dropped: counted.dropped,
        monitored: counted.monitored,
        allowed: counted.allowed,
    };
    let mut rows: Vec<ClientRow> = clients.into_iter().map(row).collect();
    rows.sort_by_key(|row| Reverse((row.dropped.bytes, row.monitored.bytes, row.allowed.bytes)));
    rows
}

/// The lines of a series over `span`, which is in whole steps; without its gaps. `buckets` are by time and account.
pub(super) fn series(
    subjects: &BTreeMap<i64, Subject>,
    buckets: &BTreeMap<(i64, i64), Tally>,
    span: Range<i64>,
    step: Resolution,
    by: SeriesBy,
) -> Series {
    let seconds = step.seconds();
    let count = usize::try_from((span.end - span.start) / seconds).unwrap_or_default();
    let mut lines: BTreeMap<(RuleAction, &str), Vec<Tally>> = BTreeMap::new();
    let mut seen = vec![Tally::default(); count];
    for (&(time, account), &tally) in buckets {
        let at = usize::try_from((time - span.start) / seconds).unwrap_or(usize::MAX);
        let put = |line: &mut Vec<Tally>| {
            if let Some(place) = line.get_mut(at) {
                add(place, tally);
            }
        };
        match subjects.get(&account) {
            Some(Subject::Seen { .. }) => put(&mut seen),
            Some(Subject::Listed(account)) => {
                let names: Vec<&str> = match by {
                    SeriesBy::Rule => account.rules.iter().map(String::as_str).collect(),
                    SeriesBy::Direction => vec![direction::word(account.direction)],
                    SeriesBy::Device => vec![&account.device],
                };
                for name in names {
                    put(lines.entry((account.action, name)).or_insert_with(|| vec![Tally::default(); count]));
                }
            }
            None => {}
        }
    }
    let line = |((action, name), tallies): ((RuleAction, &str), Vec<Tally>)| Line {
        name: name.into(),
        action,
        packets: tallies.iter().map(|tally| tally.packets).collect(),
        bytes: tallies.iter().map(|tally| tally.bytes).collect(),
    };
    Series {
        step: u32::try_from(seconds).unwrap_or_default(),
        times: (0..).map(|index| span.start + index * seconds).take(count).collect(),
        lines: lines.into_iter().map(line).collect(),
        seen_bytes: seen.iter().map(|tally| tally.bytes).collect(),
        gaps: Vec::new(),
    }
}
