//! Files on disk: the only reader of configurations, lists and ASN tables. Understands none of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::config::Config;
use crate::ruleset::resolve::Files;

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

/// Reads one file.
pub fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ReadError> {
    fs::read(path).map_err(|source| ReadError { what, path: path.into(), source })
}

/// Reads the configuration file at `path` and checks it.
pub fn config(path: &Path) -> anyhow::Result<Config> {
    Ok(Config::parse(path, &read("configuration", path)?)?)
}

/// The embedded catalog, with the operator's entries at `path`.
pub fn catalog(path: Option<&Path>) -> anyhow::Result<Arc<Catalog>> {
    let embedded = Catalog::embedded();
    let Some(path) = path else { return Ok(embedded) };
    let own = Catalog::parse(path, &read("catalog", path)?)?;
    Ok(Arc::new(embedded.with(&own)))
}

/// Reads every file that `config` names.
pub fn files(config: &Config) -> Result<Files, ReadError> {
    let mut files = Files::default();
    for path in config.rules.iter().flat_map(|rule| &rule.files) {
        if !files.lists.contains_key(path) {
            files.lists.insert(path.clone(), read("list", path)?);
        }
    }
    for path in &config.asn_tables {
        files.asn_tables.push((path.clone(), read("ASN table", path)?));
    }
    Ok(files)
}
