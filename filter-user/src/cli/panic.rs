//! `weir panic`: takes everything off that weir put anywhere, whatever the daemon does and without any configuration.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::{Outcome, print};
use crate::datapath::adopt;
use crate::network;
use crate::process::{self, RUN_DIR, RunDir};

/// Take everything off that weir put anywhere, now
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir panic    kills a daemon that runs or hangs, and removes its programs, links, filters and pins\n\n\
    Needs no daemon and no configuration. What was counted since the last entry in the history is lost: where the daemon\n\
    still answers, use `weir stop`."
)]
pub(super) struct Panic {
    /// Run directory of the daemon
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

impl Panic {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        if let Some(pid) = process::end(&self.run_dir)? {
            print(&format!("killed weir, process {pid}\n"))?;
        }
        let devices = network::devices().context("cannot list the network devices")?;
        // Its end removes the pins, and with them the links.
        let mut run_dir = RunDir::take(&self.run_dir)?;
        run_dir.stay(false);
        let freed = adopt::remove(&run_dir.pins(), &devices).context("cannot remove what weir left")?;
        drop(run_dir);
        let freed: Vec<String> = freed.into_iter().collect();
        let what = if freed.is_empty() { "nothing was attached".into() } else { format!("free: {}", freed.join(", ")) };
        print(&(what + "\n"))?;
        Ok(Outcome::Done)
    }
}
