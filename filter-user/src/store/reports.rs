//! The key that signs reports, their chain, and sealed reports themselves. Renders nothing and verifies nothing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::{Store, fresh, replace, settle, stage};
use crate::seal::{Chain, Mark, SealError, Signer};
use crate::source::copy::checksum;

/// The key that signs, in the state directory.
pub const KEY: &str = "report.key";
/// The key that verifies, beside it.
pub const PUBLIC_KEY: &str = "report.pub";
/// The chain, beside them.
pub const CHAIN: &str = "reports.log";

/// Why a report cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum ReportsError {
    /// A file of the state directory cannot be read or written.
    #[error("cannot use {}: {source}; run as a user who may write there, or name another --state-dir", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What is in it cannot be used.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SealError,
    },
    /// The chain is there, and the key it was made with is not.
    #[error(
        "{} is gone, and reports signed with it are in {CHAIN}; restore it, or move {CHAIN} away to begin a new chain",
        .0.display()
    )]
    KeyGone(PathBuf),
    /// The report cannot be written.
    #[error("cannot write report {}: {source}; name a file in a directory that is there and writable", path.display())]
    Output {
        /// The report's file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The reports of this host, while no other process may add one.
#[derive(Debug)]
pub struct Reports {
    directory: PathBuf,
    signer: Signer,
    chain: Chain,
    _lock: Flock<File>,
}

impl Store {
    /// Takes the chain to add a report. Its key is made at the first use.
    pub fn reports(&self) -> Result<Reports, ReportsError> {
        let directory = self.directory.clone();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ReportsError::File { path, source }
        };
        fs::create_dir_all(&directory).map_err(failed(&directory))?;
        let lock = Flock::lock(File::open(&directory).map_err(failed(&directory))?, FlockArg::LockExclusive)
            .map_err(|(_, error)| failed(&directory)(error.into()))?;
        let (key, log) = (directory.join(KEY), directory.join(CHAIN));
        let of = |path: &Path, source| ReportsError::Content { path: path.into(), source };
        let chain = Chain::parse(&text(&log).map_err(failed(&log))?.unwrap_or_default()).map_err(|e| of(&log, e))?;
        let signer = match text(&key).map_err(failed(&key))? {
            Some(text) => Signer::read(&text).map_err(|error| of(&key, error))?,
            None if !chain.is_empty() => return Err(ReportsError::KeyGone(key)),
            None => {
                let (signer, text) = Signer::generate().map_err(|error| of(&key, error))?;
                replace(&directory, KEY, text.as_bytes()).map_err(failed(&key))?;
                signer
            }
        };
        let (public, verifier) = (directory.join(PUBLIC_KEY), signer.public().map_err(|error| of(&key, error))?);
        if text(&public).map_err(failed(&public))?.as_ref() != Some(&verifier) {
            replace(&directory, PUBLIC_KEY, verifier.as_bytes()).map_err(failed(&public))?;
        }
        Ok(Reports { directory, signer, chain, _lock: lock })
    }
}

impl Reports {
    /// What the next report is.
    #[must_use]
    pub fn next(&self, host: &str) -> Mark {
        self.chain.next(host)
    }

    /// Writes a report, its signature beside it, and its link of the chain; gives the signature's file. Both files are
    /// complete on disk before the chain names them, and appear after it does: what can be seen is in the chain.
    pub fn seal(mut self, path: &Path, report: &[u8], mark: &Mark, created: i64) -> Result<PathBuf, ReportsError> {
        let failed = |source| ReportsError::Output { path: path.into(), source };
        let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::IsADirectory.into()))?.to_string_lossy();
        if path.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let signature_name = format!("{name}.minisig");
        let log = self.directory.join(CHAIN);
        let signature = self
            .signer
            .sign(report, mark)
            .map_err(|source| ReportsError::Content { path: self.directory.join(KEY), source })?;
        let staged = stage(directory, &name, report)
            .and_then(|()| stage(directory, &signature_name, signature.as_bytes()))
            .map_err(failed)
            .and_then(|()| {
                self.chain.push(mark, created, checksum(report));
                replace(&self.directory, CHAIN, self.chain.text().as_bytes())
                    .map_err(|source| ReportsError::File { path: log, source })
            });
        if staged.is_err() {
            for name in [&*name, &signature_name] {
                let _ = fs::remove_file(fresh(directory, name));
            }
        }
        staged?;
        settle(directory, &signature_name).map_err(failed)?;
        settle(directory, &name).map_err(failed)?;
        Ok(directory.join(signature_name))
    }
}

/// A small file's text; `None` where it is not there.
fn text(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::seal;

    #[test]
    fn reports_are_sealed_one_after_the_other() {
        let directory = std::env::temp_dir().join(format!("weir-reports-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let store = Store::new(&directory.join("state"));
        let path = directory.join("report.txt");
        let mut previous = None;
        for serial in 1..=3 {
            let reports = store.reports().unwrap();
            let mark = reports.next("router");
            assert_eq!((mark.serial, &mark.previous), (serial, &previous));
            let report = format!("report {serial}");
            let signature = reports.seal(&path, report.as_bytes(), &mark, 7).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), report);
            let public = fs::read_to_string(directory.join("state/report.pub")).unwrap();
            assert_eq!(seal::verify(report.as_bytes(), &fs::read_to_string(signature).unwrap(), &public), Ok(mark));
            previous = Some(checksum(report.as_bytes()));
        }
        let chain = Chain::parse(&fs::read_to_string(directory.join("state/reports.log")).unwrap()).unwrap();
        assert_eq!(chain.next("router").previous, previous);
        for file in ["report.txt", "report.txt.minisig", "state/report.key", "state/reports.log"] {
            assert_eq!(fs::metadata(directory.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        }
        // A report that cannot be written is not in the chain.
        let reports = store.reports().unwrap();
        let mark = reports.next("router");
        let refusal = reports.seal(&directory.join("none/report.txt"), b"x", &mark, 7).unwrap_err().to_string();
        assert!(refusal.contains("none/report.txt: No such file or directory"), "{refusal}");
        assert_eq!(store.reports().unwrap().next("router").serial, 4);
        let refusal = store.reports().unwrap().seal(&directory, b"x", &mark, 7).unwrap_err().to_string();
        assert!(refusal.contains("is a directory; name a file"), "{refusal}");
        // Without its key the chain is not gone on with under another one.
        fs::remove_file(directory.join("state/report.key")).unwrap();
        assert!(matches!(store.reports(), Err(ReportsError::KeyGone(_))));
        fs::remove_file(directory.join("state/reports.log")).unwrap();
        assert_eq!(store.reports().unwrap().next("router").serial, 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
