//! Files on disk: the only reader of configurations, lists and ASN tables, and the only writer of the state directory.
//! Understands none of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::config::{Config, Location};
use crate::controller::{ConfigText, Saved};
use crate::ruleset::parts::{Copies, PartId, parts};
use crate::source::copy::Copy;
use crate::source::{self, Need, SourceError};

pub mod reports;

/// Where copies and what must survive a restart are kept, unless the daemon is told otherwise.
pub const STATE_DIR: &str = "/var/lib/weir";

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} {}: {}", path.display(), remedy(source))]
pub struct ReadError {
    /// What the file is for.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// A list or table that a configuration names, and that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct ContentError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub source: SourceError,
}

/// A list or table that ends early.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}; download it again", path.display())]
pub struct CutError {
    /// The file.
    pub path: PathBuf,
    /// How that shows.
    pub why: String,
}

fn remedy(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "no such file; check the path, relative ones count from the configuration file".into()
        }
        io::ErrorKind::PermissionDenied => "permission denied; run as a user who may read it".into(),
        io::ErrorKind::IsADirectory => "it is a directory; name a file in it".into(),
        _ => error.to_string(),
    }
}

/// Makes a directory for what is kept, where it is missing.
pub fn directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

/// Replaces a file that other programs read: they find the old content or the new one. It need not survive a power cut.
pub fn show(path: &Path, text: &str) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    // Not a name that a collector of `*.prom` takes.
    fresh.push(".new");
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&fresh, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// Removes what [`show`] wrote.
pub fn hide(path: &Path) {
    let _ = fs::remove_file(path);
}

/// True on OpenWrt, whose disk is a flash chip that every write wears out.
#[must_use]
pub fn is_flash_router() -> bool {
    Path::new("/etc/openwrt_release").exists()
}

/// Reads one file.
pub fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ReadError> {
    fs::read(path).map_err(|source| ReadError { what, path: path.into(), source })
}

/// Reads the configuration file at `path` and checks it, with the catalog that it names.
pub fn config(path: &Path) -> anyhow::Result<(Config, ConfigText)> {
    let bytes = read("configuration", path)?;
    let config = parse(path, &bytes)?;
    // It parsed, so it is UTF-8.
    let text = String::from_utf8(bytes).unwrap_or_default();
    // Whoever reads it again may do so from another directory.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    Ok((config, ConfigText { path, text }))
}

/// Checks a configuration that was read from `path` before.
pub fn parse(path: &Path, bytes: &[u8]) -> anyhow::Result<Config> {
    let catalog = catalog(Config::catalog_file(path, bytes)?.as_deref())?;
    Ok(Config::parse(path, bytes, catalog)?)
}

/// The embedded catalog, with the operator's entries at `path`.
pub fn catalog(path: Option<&Path>) -> anyhow::Result<Arc<Catalog>> {
    let embedded = Catalog::embedded();
    let Some(path) = path else { return Ok(embedded) };
    let own = Catalog::parse(path, &read("catalog", path)?)?;
    Ok(Arc::new(embedded.with(&own)))
}

/// Reads every list and table that `config` names as a file. They are always at hand, so their copies have no age.
pub fn files(config: &Config) -> anyhow::Result<Copies> {
    let mut copies = Copies::new();
    for (id, part) in parts(config) {
        let what = match id {
            PartId::List(_) => "list",
            PartId::Table(_) => "ASN table",
            PartId::Source(..) => continue,
        };
        let Location::File(path) = &part.location else { continue };
        copies.insert(id, Arc::new(file(what, path, &part.need)?));
    }
    Ok(copies)
}

fn file(what: &'static str, path: &Path, need: &Need) -> anyhow::Result<Copy> {
    let content =
        source::read(&read(what, path)?, need).map_err(|source| ContentError { path: path.into(), source })?;
    if let Some(why) = content.cut {
        return Err(CutError { path: path.into(), why }.into());
    }
    Ok(Copy::of(content, &path.display().to_string(), 0))
}

/// The state directory: what a daemon keeps over a restart.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// The store in `directory`, which is made when something is written.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.into() }
    }

    /// The stored copies of the named sources that `config` needs, and one line for each that is damaged. Each is there
    /// twice: where the last one cannot be read, the one before it serves.
    #[must_use]
    pub fn copies(&self, config: &Config) -> (Copies, Vec<String>) {
        let (mut copies, mut problems) = (Copies::new(), Vec::new());
        for id in parts(config).into_keys().filter(|id| id.source().is_some()) {
            let path = self.copies_directory().join(id.file_name());
            let copy =
                read_copy(&path).and_then(|copy| copy.map_or_else(|| read_copy(&before(&path)), |copy| Ok(Some(copy))));
            let copy = copy.unwrap_or_else(|problem| {
                let older = read_copy(&before(&path)).ok().flatten();
                let instead = if older.is_some() { "the one before it is used" } else { "there is no other" };
                problems.push(format!("source {id}: {problem}; {instead}"));
                older
            });
            copies.extend(copy.map(|copy| (id, Arc::new(copy))));
        }
        (copies, problems)
    }

    /// Stores a copy, and keeps the one that was there beside it. The first is stored twice: a damaged one then has another.
    pub fn keep(&self, id: &PartId, copy: &Copy) -> io::Result<()> {
        let (directory, name, text) = (self.copies_directory(), id.file_name(), copy.encode());
        let path = directory.join(&name);
        if !path.exists() {
            replace(&directory, &format!("{name}{BEFORE}"), text.as_bytes())?;
            return replace(&directory, &name, text.as_bytes());
        }
        // On disk before anything is given up for it.
        stage(&directory, &name, text.as_bytes())?;
        retire(&path)?;
        settle(&directory, &name)
    }

    /// What was saved for after a restart; nothing where it cannot be read, with the reason.
    pub fn saved(&self) -> Result<Saved, String> {
        let path = self.directory.join(SAVED);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Saved::default()),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        }
    }

    /// Saves it. Nothing is written where it is there already: flash wears out.
    pub fn save(&self, saved: &Saved) -> io::Result<()> {
        if self.saved().as_ref() == Ok(saved) {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(saved)?;
        replace(&self.directory, SAVED, &text)
    }

    /// Where the token for HTTP is.
    #[must_use]
    pub fn token_path(&self) -> PathBuf {
        self.directory.join(TOKEN)
    }

    /// The token for HTTP; where there is none, `fresh` is kept as one.
    pub fn token(&self, fresh: impl FnOnce() -> io::Result<String>) -> io::Result<Vec<u8>> {
        match fs::read(self.token_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = fresh()?;
                replace(&self.directory, TOKEN, text.as_bytes())?;
                Ok(text.into_bytes())
            }
            read => read,
        }
    }

    fn copies_directory(&self) -> PathBuf {
        self.directory.join("copies")
    }
}

/// Replaces a file as a whole: whoever reads it finds the old content or the new one, also after a power cut.
fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    stage(directory, name, bytes)?;
    settle(directory, name)
}

/// Writes what is to replace a file, to disk and beside it.
fn stage(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let fresh = fresh(directory, name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()
    })();
    if written.is_err() {
        // A full disk is not to be kept full by half a file.
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// Puts what was staged in the file's place.
fn settle(directory: &Path, name: &str) -> io::Result<()> {
    let fresh = fresh(directory, name);
    let settled = fs::rename(&fresh, directory.join(name)).and_then(|()| File::open(directory)?.sync_all());
    if settled.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    settled
}

fn fresh(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.new"))
}

/// What the name of the copy before the last one ends in.
const BEFORE: &str = ".before";

fn before(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(BEFORE);
    name.into()
}

/// Makes a copy the one before, and leaves it in its place; a file system without links (FAT) has none there until the next is.
fn retire(path: &Path) -> io::Result<()> {
    let before = before(path);
    let _ = fs::remove_file(&before);
    fs::hard_link(path, &before).or_else(|_| fs::rename(path, &before))
}

/// Reads a stored copy; `None` where there is none.
fn read_copy(path: &Path) -> Result<Option<Copy>, String> {
    match fs::read(path) {
        Ok(bytes) => Copy::decode(&bytes).map(Some).map_err(|problem| format!("{}: {problem}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

/// The file with the token for HTTP.
const TOKEN: &str = "token";

/// The file with what must survive a restart.
const SAVED: &str = "state.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_replaced_whole_and_found_again() {
        let directory = std::env::temp_dir().join(format!("weir-store-{}", std::process::id()));
        let store = Store::new(&directory);
        let mut config = Config::default();
        let mut rule = crate::config::RuleConfig::block("drop");
        rule.lists.push("spamhaus-drop".into());
        config.rules.push(rule);
        let id = PartId::Source("spamhaus-drop".into(), None);
        assert_eq!(store.copies(&config), (Copies::new(), vec![]));
        let content = source::read(b"192.0.2.0/24\n", &Need::List).unwrap();
        let copy = Copy::of(content, "here", 7);
        store.keep(&id, &copy).unwrap();
        let (copies, problems) = store.copies(&config);
        assert_eq!((copies[&id].as_ref(), problems), (&copy, vec![]));
        let newer = Copy::of(source::read(b"198.51.100.0/24\n", &Need::List).unwrap(), "here", 8);
        store.keep(&id, &newer).unwrap();
        assert_eq!(store.copies(&config).0[&id].as_ref(), &newer);
        let path = directory.join("copies/spamhaus-drop.copy");
        fs::write(&path, "weir copy 1\nnonsense").unwrap();
        let (copies, problems) = store.copies(&config);
        assert_eq!(copies[&id].as_ref(), &copy, "the one before");
        assert!(
            problems[0].contains("damaged (its checksum does not match)")
                && problems[0].ends_with("the one before it is used")
        );
        fs::remove_file(&path).unwrap();
        assert_eq!(
            (store.copies(&config).0[&id].as_ref(), store.copies(&config).1.len()),
            (&copy, 0),
            "a crash in between"
        );
        fs::write(&path, "x").unwrap();
        fs::write(before(&path), "y").unwrap();
        let (copies, problems) = store.copies(&config);
        assert!(copies.is_empty() && problems[0].ends_with("there is no other"), "{problems:?}");
        assert_eq!(fs::read_dir(directory.join("copies")).unwrap().count(), 2, "no left-over");
        for name in [path.clone(), before(&path)] {
            fs::remove_file(name).unwrap();
        }
        store.keep(&id, &copy).unwrap();
        std::thread::scope(|scope| {
            let keeping = scope.spawn(|| (0..50).for_each(|_| store.keep(&id, &newer).unwrap()));
            while !keeping.is_finished() {
                assert!(path.exists(), "there is a copy at any time");
            }
        });
        let saved = Saved { rejected: Some("x".into()), ..Saved::default() };
        store.save(&saved).unwrap();
        assert_eq!(store.saved(), Ok(saved));
        fs::remove_dir_all(&directory).unwrap();
    }
}
