//! Gives up what the daemon does not need, once its run directory is there, and remembers where it may still write. Decides
//! nothing about packets.

use std::path::{Path, PathBuf};

use anyhow::bail;
use tracing::{info, warn};

use crate::config::EvidenceConfig;
use crate::process::RunDir;
use crate::sandbox;
use crate::store;

/// Refuses to start without the rights that a daemon needs.
pub(super) fn check_rights() -> anyhow::Result<()> {
    let lacks = sandbox::lacks();
    if !lacks.is_empty() {
        bail!("this process lacks {}; run weir as root, or with these capabilities", lacks.join(", "));
    }
    Ok(())
}

/// Where the daemon may write, from its start to its end.
pub(super) struct Places(Vec<PathBuf>);

impl Places {
    /// Confines this process, which must have no other thread yet, to what it needs by `config`. Where something cannot be given
    /// up, weir filters all the same.
    pub(super) fn confine(run_dir: &mut RunDir, state_dir: &Path, config: &EvidenceConfig) -> Self {
        if let Err(problem) = run_dir.keep_unmounter() {
            warn!("nobody will unmount the BPF file system of the run directory: {problem}");
        }
        // What cannot be made cannot be written to either, and whoever writes says so.
        let _ = store::directory(state_dir);
        let mut places = vec![run_dir.path().to_owned(), state_dir.to_owned()];
        places.extend(written(config).filter_map(Path::parent).map(Path::to_owned));
        let low_port = config.http.listen.iter().any(|address| (1..1024).contains(&address.port()));
        for line in sandbox::confine_daemon(&places, low_port).lines() {
            info!("not confined as it could be: {line}");
        }
        Self(places)
    }

    /// What `config` has written where it may not be, one line each.
    pub(super) fn lacks(&self, config: &EvidenceConfig) -> Vec<String> {
        let is_outside = |path: &&Path| !self.0.iter().any(|place| path.starts_with(place));
        let line = |path: &Path| format!("{} can be written to after a restart of weir only", path.display());
        written(config).filter(is_outside).map(line).collect()
    }
}

/// The files that a daemon writes, beside those of its own directories.
fn written(config: &EvidenceConfig) -> impl Iterator<Item = &Path> {
    config.events.file.iter().chain(&config.metrics.textfile).map(PathBuf::as_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_outside_of_what_was_foreseen_is_named() {
        let places = Places(vec!["/run/weir".into(), "/var/log".into()]);
        let mut config = EvidenceConfig::default();
        config.events.file = Some("/var/log/weir/drops.log".into());
        config.metrics.textfile = Some("/var/logs/weir.prom".into());
        assert_eq!(places.lacks(&config), ["/var/logs/weir.prom can be written to after a restart of weir only"]);
    }
}
