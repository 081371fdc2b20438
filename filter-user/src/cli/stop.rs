//! `weir stop`: ends a running daemon and waits until every device is free.

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use crate::control::{self, Answer, Request};
use crate::process::RUN_DIR;

/// Detach from every interface and end the running daemon
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir stop    returns when every device is free; the counters are printed by `weir run`"
)]
pub(super) struct Stop {
    /// Run directory of the daemon
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

impl Stop {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        match control::ask(&self.run_dir, &Request::Stop)? {
            Answer::Stopped => Ok(Outcome::Done),
            _ => anyhow::bail!("weir on {} answered something else: is it another version?", self.run_dir.display()),
        }
    }
}
