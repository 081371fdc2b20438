//! Programs from `PyPI`, each in a directory of its own below target/tools. Nothing is installed for the user.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::programs;
use crate::{command, workspace};

/// A registry that does not answer must not hold up what waits for it.
const LIMIT: Duration = Duration::from_mins(5);

/// Where the directory `name` is.
pub(super) fn directory(name: &str) -> PathBuf {
    workspace::tools().join(name)
}

/// Installs packages, with their versions, into the directory `name`, anew.
pub(super) fn install(name: &str, packages: &[String]) -> Result<()> {
    let directory = directory(name);
    let venv = || command::run_within(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory), LIMIT);
    if venv().is_err() {
        programs::install_package("python3-venv")?;
        venv()?;
    }
    let mut pip = Command::new(directory.join("bin/pip"));
    command::run_within(pip.args(["install", "--quiet"]).args(packages), LIMIT)
}
