//! The history's file: made, opened, checked, moved aside where it is damaged. Knows its tables, not what is in them.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, ToSql, TransactionBehavior};

use super::HistoryError;

/// "weir": tells a history from the database of another program.
const APPLICATION: i64 = 0x7765_6972;
/// The tables' version.
const VERSION: i64 = 1;
/// Bytes of a page.
pub(super) const PAGE: u64 = 4096;

/// An `account` is a row of `minute`, `hour` and `day` without its time: `action` "seen" is for all packets of a device.
/// Text is never null, because nulls are distinct to UNIQUE: "" stands for none.
const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
    CREATE TABLE account (
        id INTEGER PRIMARY KEY, device TEXT NOT NULL, client TEXT NOT NULL, action TEXT NOT NULL,
        direction TEXT NOT NULL, rules TEXT NOT NULL, used INTEGER NOT NULL,
        UNIQUE (device, client, action, direction, rules)
    ) STRICT;
    CREATE TABLE minute (
        time INTEGER NOT NULL, account INTEGER NOT NULL, packets INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (time, account)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE hour (
        time INTEGER NOT NULL, account INTEGER NOT NULL, packets INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (time, account)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE day (
        time INTEGER NOT NULL, account INTEGER NOT NULL, packets INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (time, account)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE period (
        id INTEGER PRIMARY KEY, begin INTEGER NOT NULL, end INTEGER NOT NULL, standing TEXT NOT NULL
    ) STRICT;
    CREATE TABLE list (
        id INTEGER PRIMARY KEY, source TEXT NOT NULL, asn INTEGER, sha256 TEXT NOT NULL, ranges INTEGER NOT NULL,
        changed INTEGER, begin INTEGER NOT NULL, end INTEGER
    ) STRICT;
";

/// Opens the file for its one writer, made where it is missing. The text says where a damaged one was moved to.
pub(super) fn open(path: &Path) -> Result<(Connection, Option<String>), HistoryError> {
    let failed = |source| HistoryError::Open { path: path.into(), source };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed)?;
    }
    match attempt(path) {
        Err(HistoryError::Damaged { what, .. }) => {
            let aside = move_aside(path).map_err(failed)?;
            let notice =
                format!("history {} {what}: it was moved to {}, and a new one begins", path.display(), aside.display());
            Ok((attempt(path)?, Some(notice)))
        }
        opened => Ok((opened?, None)),
    }
}

fn attempt(path: &Path) -> Result<Connection, HistoryError> {
    // SQLite would let others read it; its log gets the same mode.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| HistoryError::Open { path: path.into(), source })?;
    let of = |source| HistoryError::of(path, source);
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(of)?;
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    if tables.map_err(of)? == 0 {
        create(&mut connection).map_err(of)?;
    }
    check(path, &connection)?;
    let sound: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(of)?;
    if sound != "ok" {
        return Err(HistoryError::Damaged { path: path.into(), what: format!("is damaged ({})", one_line(&sound)) });
    }
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(of)?;
    // After a power cut the last transactions may be missing, and all before them are whole.
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(of)?;
    Ok(connection)
}

/// Opens the file to read, while its writer goes on.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, HistoryError> {
    fs::File::open(path).map_err(|source| HistoryError::Open { path: path.into(), source })?;
    let connection =
        connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|source| HistoryError::of(path, source))?;
    check(path, &connection)?;
    Ok(connection)
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    // A relative path that begins with "file:" would be a URI to SQLite.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // What a damaged file holds is not run as code.
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    // What has no tables may still be another program's, which `check` finds.
    if connection.pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0))? != 0 {
        return Ok(());
    }
    connection.pragma_update(None, "page_size", PAGE.cast_signed())?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Refuses what is not a history of this version.
fn check(path: &Path, connection: &Connection) -> Result<(), HistoryError> {
    let number = |pragma| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(|source| HistoryError::of(path, source))
    };
    if number("application_id")? != APPLICATION {
        return Err(HistoryError::Damaged { path: path.into(), what: "is the database of another program".into() });
    }
    match number("user_version")? {
        VERSION => {}
        found if found > VERSION => return Err(HistoryError::Newer { path: path.into(), found, known: VERSION }),
        found => {
            return Err(HistoryError::Damaged {
                path: path.into(),
                what: format!("is of version {found}, which never was"),
            });
        }
    }
    // The numbers may stand in a file whose tables are not what they say.
    let columns = connection
        .prepare("SELECT begin, end, standing FROM period LIMIT 1")
        .and(connection.prepare("SELECT device, client, action, direction, rules, used FROM account LIMIT 1"));
    match columns {
        Ok(_) => Ok(()),
        Err(_) => Err(HistoryError::Damaged { path: path.into(), what: "lacks tables".into() }),
    }
}

/// Moves the file and its log aside; replaces one that was moved there before.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = beside(path, ".damaged");
    fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        let old = beside(path, suffix);
        // The log belongs to the file: with it, more can be saved.
        match fs::rename(&old, beside(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(suffix);
    name.into()
}

fn one_line(text: &str) -> String {
    text.split(char::is_control).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// What is kept under this key.
pub(super) fn get<T: rusqlite::types::FromSql>(connection: &Connection, key: &str) -> rusqlite::Result<Option<T>> {
    connection.query_row("SELECT value FROM meta WHERE key = ?", [key], |row| row.get(0)).optional()
}

/// Keeps a value under this key.
pub(super) fn set(connection: &Connection, key: &str, value: &dyn ToSql) -> rusqlite::Result<()> {
    let statement = "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value";
    connection.execute(statement, rusqlite::params![key, value]).map(drop)
}
