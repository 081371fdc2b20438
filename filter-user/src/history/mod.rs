//! What was counted, over time: interval totals and how weir stood, in one database file. The only user of `rusqlite`;
//! reads neither counters nor the clock, and decides nothing about packets.
//!
//! Each interval is added to the rows of its minute, its hour and its day in one transaction. So the sums of all three
//! are equal at any moment, a coarser row is always there before a finer one is deleted, and nothing is left to roll up
//! after a crash. [`span`] says which rows answer for a span of time.

use std::path::PathBuf;

use rusqlite::ErrorCode;

mod coverage;
mod file;
mod fold;
pub mod query;
mod read;
mod record;
mod retain;
mod rows;
mod span;
mod standing;
mod sum;

pub use query::{Report, ReportQuery, Series, SeriesBy, SeriesQuery};
pub use read::Reader;
pub use record::{History, Opened};

/// The history's file in the state directory, or in the run directory where it is kept in memory.
pub const HISTORY: &str = "history.db";

/// Why the history cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be made or opened.
    #[error("cannot open history {}: {source}; see that the directory is there and writable", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A later version of weir wrote it.
    #[error(
        "history {} is of version {found}, this weir reads up to {known}; run the weir that wrote it, or move the file away",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The last version that this weir knows.
        known: i64,
    },
    /// Not a history, or damaged.
    #[error("history {} {what}; weir moves it aside and begins a new one when it starts next", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// There is no room.
    #[error("cannot write history {}: the disk is full, or its max_bytes are; nothing is counted twice or lost, free some space", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The database says no.
    #[error("cannot use history {}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: rusqlite::Error,
    },
}

impl HistoryError {
    /// The error of a statement on the file at `path`.
    fn of(path: &std::path::Path, source: rusqlite::Error) -> Self {
        let path = path.into();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, what: "is damaged".into() },
            Some(ErrorCode::NotADatabase) => Self::Damaged { path, what: "is no database".into() },
            _ => Self::Database { path, source },
        }
    }

    /// Whether opening the history again moves this file aside and begins a new one.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}
