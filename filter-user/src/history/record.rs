//! The history's one writer: an interval, how weir stood and the caller's checkpoint, all of them or none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::retain::{self, Room};
use super::rows::{self, Subject};
use super::span::Resolution;
use super::{HistoryError, file, fold, standing};
use crate::account::{Account, Interval, Standing};
use crate::config::HistoryConfig;
use crate::tally::Tally;

/// A history that is written.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    connection: Connection,
    keep: HistoryConfig,
    /// The minute in which old rows were last deleted.
    tidied: i64,
    /// When the last interval ended, and since when the clock has not jumped.
    clock: Option<(i64, i64)>,
}

/// An opened history.
#[derive(Debug)]
pub struct Opened {
    /// It.
    pub history: History,
    /// What became of a file that was there and could not be used: one line for the operator.
    pub notice: Option<String>,
}

/// A clock that jumped this far may be wrong ...
const DAY: i64 = Resolution::Day.seconds();
/// ... and nothing is deleted by it before it has gone on for this long.
const HOUR: i64 = Resolution::Hour.seconds();

/// The last moment that people have a name for, in the year 9999. Times beyond are a clock that was never set.
const LAST: i64 = 253_402_207_200;

impl History {
    /// Opens the history at `path`, made where it is missing. A damaged file is moved aside, never overwritten.
    pub fn open(path: &Path, keep: &HistoryConfig) -> Result<Opened, HistoryError> {
        let (connection, notice) = file::open(path)?;
        retain::limit(&connection, keep).map_err(|source| HistoryError::of(path, source))?;
        let history = Self { path: path.into(), connection, keep: keep.clone(), tidied: i64::MIN, clock: None };
        Ok(Opened { history, notice })
    }

    /// What the caller stored with the last interval.
    pub fn checkpoint(&self) -> Result<Option<Vec<u8>>, HistoryError> {
        file::get(&self.connection, "checkpoint").map_err(|source| HistoryError::of(&self.path, source))
    }

    /// Adds what was counted in an interval, writes down how weir stands at its end, and stores the caller's checkpoint.
    /// After an error nothing of it is stored: hand a longer interval later.
    pub fn record(&mut self, interval: &Interval, standing: &Standing, checkpoint: &[u8]) -> Result<(), HistoryError> {
        self.write(interval, standing, checkpoint).map_err(|source| HistoryError::of(&self.path, source))
    }

    fn write(&mut self, interval: &Interval, standing: &Standing, checkpoint: &[u8]) -> rusqlite::Result<()> {
        let mut clients = self.keep.clients as usize;
        let mut accounts = fold::fold(&interval.accounts, clients);
        while clients > 0 && accounts.len() > retain::most_accounts(&self.keep) {
            clients /= 2;
            accounts = fold::fold(&interval.accounts, clients);
        }
        let end = interval.end.clamp(0, LAST);
        if retain::make_room(&mut self.connection, &self.keep, end, accounts.len())? == Room::Crowded {
            accounts = self.without_new_clients(accounts)?;
        }
        let counted: Vec<(Subject, Tally)> = accounts
            .into_iter()
            .map(|(account, tally)| (Subject::Listed(account), tally))
            .chain(interval.seen.iter().map(|(device, &tally)| (Subject::Seen { device: device.clone() }, tally)))
            .collect();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        rows::insert(&transaction, end, counted.iter().map(|(subject, tally)| (subject, *tally)))?;
        standing::stand(&transaction, &(interval.begin.clamp(0, LAST)..end), standing)?;
        file::set(&transaction, "checkpoint", &checkpoint)?;
        let clock =
            self.clock.filter(|(last, _)| (end - last).abs() < DAY).map_or((end, end), |(_, since)| (end, since));
        let minute = end.div_euclid(60);
        let is_due = minute != self.tidied && end - clock.1 >= HOUR;
        if is_due {
            retain::expire(&transaction, &self.keep, end)?;
        }
        transaction.commit()?;
        self.clock = Some(clock);
        if is_due {
            self.tidied = minute;
            retain::shrink(&self.connection)?;
        }
        Ok(())
    }

    /// Folds clients that were never counted before: they would need room that is not there.
    fn without_new_clients(&self, accounts: BTreeMap<Account, Tally>) -> rusqlite::Result<BTreeMap<Account, Tally>> {
        let mut folded = BTreeMap::new();
        for (account, tally) in accounts {
            let client = account.client;
            let subject = Subject::Listed(account);
            let client = if rows::is_known(&self.connection, &subject)? { client } else { None };
            let Subject::Listed(account) = subject else { continue };
            fold::add(folded.entry(Account { client, ..account }).or_default(), tally);
        }
        Ok(folded)
    }
}
