//! A running `weir` in the lab's router: started, asked and stopped by its command line only.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{DEVICES, SERVICE};
use crate::command::{self, wait_until};
use crate::lab::{Host, Lab};
use crate::status::{self, Status};

const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Daemon {
    weir: PathBuf,
    run_dir: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Daemon {
    /// Returns once every device runs the program.
    pub(super) fn start(lab: &Lab, weir: &Path) -> Result<Self> {
        let (run_dir, log) = (lab.directory.join("run"), lab.directory.join("weir.log"));
        let output = File::create(&log)?;
        let mut command = lab.command(Host::Router, weir);
        command.arg("run").args(DEVICES.iter().flat_map(|device| ["--iface", device]));
        // Not the default state directory: counters of an earlier demo would go on.
        command
            .args(["--service", SERVICE, "--run-dir"])
            .arg(&run_dir)
            .arg("--state-dir")
            .arg(lab.directory.join("state"));
        let child = command.stdout(output.try_clone()?).stderr(output).spawn().context("cannot start weir")?;
        let mut daemon = Self { weir: weir.to_owned(), run_dir, log, child };
        let attached = wait_until(LIMIT, || {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("weir run ended ({status}): {}", daemon.said());
            }
            Ok(daemon.status().is_ok_and(|status| attached(&status)).then_some(()))
        })?;
        match attached {
            Some(()) => Ok(daemon),
            None => bail!("weir was not attached to {DEVICES:?} within {} s: {}", LIMIT.as_secs(), daemon.said()),
        }
    }

    pub(super) fn status(&self) -> Result<Status> {
        status::parse_status(&command::output(self.verb("status").arg("--json"))?)
    }

    /// The counters as a person sees them.
    pub(super) fn table(&self) -> Result<String> {
        command::output(&mut self.verb("status"))
    }

    pub(super) fn stop(mut self) -> Result<()> {
        command::output(&mut self.verb("stop"))?;
        match wait_until(LIMIT, || Ok(self.child.try_wait()?))? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("weir run ended badly ({status}): {}", self.said()),
            None => bail!("weir run did not end within {} s of `weir stop`", LIMIT.as_secs()),
        }
    }

    fn verb(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.weir);
        command.arg(verb).arg("--run-dir").arg(&self.run_dir);
        command
    }

    fn said(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        if log.trim().is_empty() { "it said nothing".to_owned() } else { log.trim().to_owned() }
    }
}

fn attached(status: &Status) -> bool {
    DEVICES.iter().all(|name| status.devices.iter().any(|(device, kind)| device == name && !kind.is_empty()))
}
