//! `weir run`: the daemon, in the foreground.

use std::io::{IsTerminal as _, stdout};
use std::path::PathBuf;

use clap::Args;

use super::selection::{Selection, add_interfaces};
use super::{Outcome, table};
use crate::daemon::{self, Settings};
use crate::process::RUN_DIR;
use crate::report::Status;

/// Filter on the given interfaces until stopped; SIGHUP reads the configuration again
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    selection: Selection,
    /// Interface to filter on; may be given several times
    #[arg(long, value_name = "NAME")]
    iface: Vec<String>,
    /// Log every decision (slow: for looking into a problem)
    #[arg(long)]
    trace: bool,
    /// Directory for the control socket and BPF pins
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

impl Run {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
        let load = || {
            let mut config = self.selection.load()?;
            add_interfaces(&mut config, &self.iface)?;
            Ok(config)
        };
        let line = |status: &Status| println!("{}", table::line(status));
        // On a terminal somebody watches; elsewhere only changes are worth a line.
        let watch: Option<&dyn Fn(&Status)> = if stdout().is_terminal() { Some(&line) } else { None };
        let settings = Settings { load: &load, run_dir: self.run_dir.clone(), trace: self.trace, watch };
        let status = daemon::run(&settings)?;
        print!("{}", table::status(&status));
        let enforced = status.devices.iter().all(|device| device.state != "dead");
        Ok(if enforced { Outcome::Done } else { Outcome::Degraded })
    }
}
