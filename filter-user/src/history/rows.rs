//! Counted packets to rows, and back. Knows nothing of how weir stood, and deletes nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use filter_common::decide::Direction;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::file;
use super::fold::add;
use super::span::{Floors, Resolution};
use crate::account::Account;
use crate::ruleset::RuleAction;
use crate::tally::{Tally, direction};

/// What a row is counted by: listed packets by their account, all packets by their device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Listed(Account),
    Seen { device: String },
}

/// The action of rows that count all packets of a device.
const SEEN: &str = "seen";
/// The most that one interval may add to a row: 1 PiB. Sums of what is more would not fit, and no device carries it.
const MOST: u64 = 1 << 50;

/// Where complete rows begin.
pub(super) fn floors(connection: &Connection) -> rusqlite::Result<Floors> {
    let Floors { minute, hour } = Floors::NONE;
    Ok(Floors {
        minute: file::get(connection, Resolution::Minute.table())?.unwrap_or(minute),
        hour: file::get(connection, Resolution::Hour.table())?.unwrap_or(hour),
    })
}

/// Keeps where complete rows begin.
pub(super) fn set_floors(connection: &Connection, floors: Floors) -> rusqlite::Result<()> {
    file::set(connection, Resolution::Minute.table(), &floors.minute)?;
    file::set(connection, Resolution::Hour.table(), &floors.hour)
}

/// Adds the tallies to the rows of the moment `at`, of each resolution that is complete there.
pub(super) fn insert<'a>(
    transaction: &Transaction<'_>,
    at: i64,
    counted: impl Iterator<Item = (&'a Subject, Tally)>,
) -> rusqlite::Result<()> {
    let floors = floors(transaction)?;
    let kept = |resolution: &Resolution| floors.keeps(*resolution, resolution.begin(at));
    let mut tables = Vec::new();
    for resolution in Resolution::ALL.into_iter().filter(kept) {
        let statement = transaction.prepare(&format!(
            "INSERT INTO {} VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE \
             SET packets = packets + excluded.packets, bytes = bytes + excluded.bytes",
            resolution.table()
        ))?;
        tables.push((resolution.begin(at), statement));
    }
    let mut ids = Ids::new(transaction, Resolution::Day.begin(at))?;
    for (subject, tally) in counted.filter(|(_, tally)| *tally != Tally::default()) {
        let id = ids.id(subject)?;
        let (packets, bytes) = (tally.packets.min(MOST).cast_signed(), tally.bytes.min(MOST).cast_signed());
        for (time, statement) in &mut tables {
            statement.execute([*time, id, packets, bytes])?;
        }
    }
    Ok(())
}

/// Finds the ids of subjects, and gives new ones.
struct Ids<'a> {
    day: i64,
    find: rusqlite::Statement<'a>,
    make: rusqlite::Statement<'a>,
    touch: rusqlite::Statement<'a>,
}

impl<'a> Ids<'a> {
    fn new(connection: &'a Connection, day: i64) -> rusqlite::Result<Self> {
        let find = "SELECT id, used FROM account \
                    WHERE device = ? AND client = ? AND action = ? AND direction = ? AND rules = ?";
        let make = "INSERT INTO account (device, client, action, direction, rules, used) VALUES (?, ?, ?, ?, ?, ?)";
        Ok(Self {
            day,
            find: connection.prepare(find)?,
            make: connection.prepare(make)?,
            touch: connection.prepare("UPDATE account SET used = ? WHERE id = ?")?,
        })
    }

    fn id(&mut self, subject: &Subject) -> rusqlite::Result<i64> {
        let [device, client, action, direction, rules] = columns(subject);
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let found = self.find.query_row([&device, &client, &action, &direction, &rules], row).optional()?;
        match found {
            Some((id, used)) => {
                // Once a day, so that most intervals leave these pages alone.
                if used < self.day {
                    self.touch.execute([self.day, id])?;
                }
                Ok(id)
            }
            None => self.make.insert(params![device, client, action, direction, rules, self.day]),
        }
    }
}

/// Whether the subject has been counted before.
pub(super) fn is_known(connection: &Connection, subject: &Subject) -> rusqlite::Result<bool> {
    Ids::new(connection, 0)?.find.exists(columns(subject))
}

fn columns(subject: &Subject) -> [String; 5] {
    match subject {
        Subject::Seen { device } => [device.clone(), String::new(), SEEN.into(), String::new(), String::new()],
        Subject::Listed(account) => [
            account.device.clone(),
            account.client.map(|client| client.to_string()).unwrap_or_default(),
            account.action.as_str().into(),
            direction::word(account.direction).into(),
            // Names may hold any character that could part them. A list of strings always has a JSON form.
            serde_json::to_string(&account.rules).unwrap_or_default(),
        ],
    }
}

/// The subjects by id; `None` where one of them cannot be read.
pub(super) fn subjects(connection: &Connection) -> rusqlite::Result<Option<BTreeMap<i64, Subject>>> {
    let mut statement = connection.prepare("SELECT id, device, client, action, direction, rules FROM account")?;
    let row = |row: &rusqlite::Row<'_>| {
        let columns = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
        let id = row.get(0)?;
        Ok(subject(columns).map(|subject| (id, subject)))
    };
    statement.query_map([], row)?.collect()
}

fn subject([device, client, action, direction, rules]: [String; 5]) -> Option<Subject> {
    let action = match action.as_str() {
        SEEN => return Some(Subject::Seen { device }),
        "block" => RuleAction::Block,
        "monitor" => RuleAction::Monitor,
        "allow" => RuleAction::Allow,
        _ => return None,
    };
    let direction = match direction.as_str() {
        "out" => Direction::Out,
        "in" => Direction::In,
        _ => return None,
    };
    let rules = serde_json::from_str(&rules).ok()?;
    let client = if client.is_empty() { None } else { Some(client.parse().ok()?) };
    Some(Subject::Listed(Account { action, rules, direction, device, client }))
}

/// Reads the rows of some spans of one resolution each.
pub(super) fn each(
    connection: &Connection,
    spans: &[(Resolution, Range<i64>)],
    mut take: impl FnMut(Resolution, i64, i64, Tally),
) -> rusqlite::Result<()> {
    for (resolution, span) in spans {
        let query =
            format!("SELECT time, account, packets, bytes FROM {} WHERE time >= ? AND time < ?", resolution.table());
        let mut statement = connection.prepare(&query)?;
        let mut rows = statement.query([span.start, span.end])?;
        while let Some(row) = rows.next()? {
            let (packets, bytes): (i64, i64) = (row.get(2)?, row.get(3)?);
            let tally = Tally { packets: packets.max(0).cast_unsigned(), bytes: bytes.max(0).cast_unsigned() };
            take(*resolution, row.get(0)?, row.get(1)?, tally);
        }
    }
    Ok(())
}

/// Sums by account over some spans.
pub(super) fn sums(
    connection: &Connection,
    spans: &[(Resolution, Range<i64>)],
) -> rusqlite::Result<BTreeMap<i64, Tally>> {
    let mut sums = BTreeMap::new();
    each(connection, spans, |_, _, account, tally| add(sums.entry(account).or_default(), tally))?;
    Ok(sums)
}
