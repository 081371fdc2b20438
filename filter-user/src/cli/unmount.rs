//! `weir unmount`, hidden: waits beside a daemon to unmount what that one may not. Not for people.

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use crate::process;

/// The hidden verb: waits to unmount for the daemon.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Unmount {
    /// Run directory of the daemon
    run_dir: PathBuf,
}

impl Unmount {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        process::wait_to_unmount(&self.run_dir, std::io::stdin().lock())?;
        Ok(Outcome::Done)
    }
}
