//! `weir status`: what a running daemon counted.

use std::path::PathBuf;

use clap::Args;

use super::{Outcome, print, print_json, table};
use crate::control::{self, Answer, Request};
use crate::process::RUN_DIR;

/// Show the devices, rules and counters of the running daemon
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir status                        a table for people\n  \
    weir status --json | jq .dropped   one figure for a program\n\n\
    Ends with exit code 3 where something is not enforced: a device is dead (packets arrive and the program does not see\n\
    them), a source has no copy yet, or a list is old.")]
pub(super) struct ShowStatus {
    /// Print JSON (docs/json.md)
    #[arg(long)]
    json: bool,
    /// Run directory of the daemon
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

impl ShowStatus {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let Answer::Status(status) = control::ask(&self.run_dir, &Request::Status)? else {
            anyhow::bail!("weir on {} answered something else: is it another version?", self.run_dir.display());
        };
        if self.json {
            print_json(&status)?;
        } else {
            print(&table::status(&status))?;
        }
        Ok(if status.is_whole() { Outcome::Done } else { Outcome::Degraded })
    }
}
