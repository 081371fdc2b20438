//! `weir stop`: ends a running daemon and waits until every device is free.

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use crate::control::{self, Answer, Request};
use crate::process::RUN_DIR;

/// Detach from every interface and end the running daemon
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir stop           returns when every device is free; the counters are printed by `weir run`\n  \
    weir stop --keep    ends the daemon only: what it blocks stays blocked and counted, and the next `weir run`\n  \
    \x20                   takes it over without a gap (to upgrade weir)\n\n\
    A weir that does not answer is ended by `weir panic`.")]
pub(super) struct Stop {
    /// Leave the filter in the kernel, for the next daemon
    #[arg(long)]
    keep: bool,
    /// Run directory of the daemon
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

impl Stop {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let request = if self.keep { Request::Leave } else { Request::Stop };
        match control::ask(&self.run_dir, &request)? {
            Answer::Stopped => Ok(Outcome::Done),
            _ => anyhow::bail!("weir on {} answered something else: is it another version?", self.run_dir.display()),
        }
    }
}
