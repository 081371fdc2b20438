//! `weir run`: the daemon, in the foreground.

use std::io::{IsTerminal as _, stdout};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;

use super::selection::{Selection, add_interfaces};
use super::{Outcome, Usage, print, table};
use crate::config::{Config, check_device_name};
use crate::daemon::{self, Settings};
use crate::network;
use crate::process::RUN_DIR;
use crate::report::Status;

/// Filter on the given interfaces until stopped; SIGHUP reads the configuration again
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir run --iface eth0 --service tiktok --monitor    drop nothing, count what a block would drop\n  \
    weir run -c /etc/weir.toml                          rules and interfaces of the file\n  \
    kill -HUP $(pidof weir)                             read the file again; a bad one is refused\n\n\
    Needs root. Ctrl-C, SIGTERM and `weir stop` detach from every interface and print the counters.")]
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
    #[arg(long = "run-dir", value_name = "DIR", default_value = RUN_DIR)]
    directory: PathBuf,
}

impl Run {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        // Complaints about a log that cannot be written would go to the same place, and end the filter by a panic.
        let log = tracing_subscriber::fmt().with_writer(std::io::stderr).log_internal_errors(false);
        log.with_target(false).init();
        self.check_interfaces()?;
        let with_interfaces = |mut config: Config| {
            add_interfaces(&mut config, &self.iface)?;
            if config.interfaces.is_empty() {
                return Err(no_interface()?.into());
            }
            Ok(config)
        };
        let load = || {
            let (config, text) = self.selection.load_text()?;
            Ok((with_interfaces(config)?, text))
        };
        let complete = |config: Config| with_interfaces(self.selection.complete(config)?);
        // A terminal that is gone must not end the filter.
        let line = |status: &Status| print(&(table::line(status) + "\n")).unwrap_or_default();
        // On a terminal somebody watches; elsewhere only changes are worth a line.
        let watch: Option<&dyn Fn(&Status)> = if stdout().is_terminal() { Some(&line) } else { None };
        let settings = Settings {
            load: &load,
            complete: &complete,
            run_dir: self.directory.clone(),
            state_dir: self.selection.state_dir.clone(),
            trace: self.trace,
            watch,
        };
        let status = daemon::run(&settings)?;
        print(&table::status(&status))?;
        Ok(if status.is_whole() { Outcome::Done } else { Outcome::Degraded })
    }
}

impl Run {
    /// Those of a file may come later, as devices of a router that boots; one that somebody types is there, or mistyped.
    fn check_interfaces(&self) -> anyhow::Result<()> {
        if self.iface.is_empty() {
            return Ok(());
        }
        for name in &self.iface {
            check_device_name(name).map_err(Usage)?;
        }
        let devices = network::devices().context("cannot list the network devices")?;
        if let Some(absent) = self.iface.iter().find(|name| !devices.contains_key(*name)) {
            let names: Vec<String> = devices.into_keys().collect();
            bail!("interface \"{absent}\" does not exist; devices here: {}", names.join(", "));
        }
        Ok(())
    }
}

fn no_interface() -> anyhow::Result<Usage> {
    let devices = network::devices().context("cannot list the network devices")?;
    let names: Vec<String> = devices.into_keys().collect();
    Ok(Usage(format!(
        "no interface to filter on: give --iface NAME or [[interface]]; devices here: {}",
        names.join(", ")
    )))
}
