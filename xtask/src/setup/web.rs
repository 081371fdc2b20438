//! What the tests of the page and the API take from `PyPI` and npm. Without them those tests are skipped, by name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{python, say};
use crate::{command, workspace};

/// Sends the API what its description allows, and what it does not.
const SCHEMATHESIS: &str = "4.32.5";
/// Finds faults of accessibility in a page.
const AXE: &str = "4.14.1";
/// What npm serves for it.
const AXE_SHA256: &str = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745";
/// A registry that does not answer must not hold up the tests.
const LIMIT: Duration = Duration::from_mins(5);

/// Installs what is missing and says what cannot be had.
pub(super) fn ensure() {
    step(&format!("schemathesis {SCHEMATHESIS}"), schemathesis);
    step(&format!("axe-core {AXE}"), axe);
}

fn step(name: &str, install: impl FnOnce(&str) -> Result<()>) {
    if let Err(problem) = install(name) {
        say(name, &format!("not available here: tests that need it are skipped ({problem:#})"));
    }
}

fn schemathesis(step: &str) -> Result<()> {
    let program = python::directory("schemathesis").join("bin/st");
    let version = || command::output(Command::new(&program).arg("--version"));
    if version().is_ok_and(|said| said.split_whitespace().any(|word| word == SCHEMATHESIS)) {
        say(step, "present");
        return Ok(());
    }
    say(step, "installing from PyPI");
    python::install("schemathesis", &[format!("schemathesis=={SCHEMATHESIS}")])
}

fn axe(step: &str) -> Result<()> {
    let script = workspace::tools().join("axe.min.js");
    if fs::read_to_string(&script).is_ok_and(|text| text.contains(&format!("axe v{AXE}"))) {
        say(step, "present");
        return Ok(());
    }
    say(step, "fetching from npm");
    let directory = workspace::tools().join("axe");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let archive = fetch(&directory)?;
    let sum = command::output(Command::new("sha256sum").arg(&archive))?;
    if !sum.starts_with(AXE_SHA256) {
        bail!("{} is not what it was: {sum}", archive.display());
    }
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archive).arg("-C").arg(&directory).arg("package/axe.min.js");
    command::run(&mut tar)?;
    fs::rename(directory.join("package/axe.min.js"), &script)?;
    // What is left is of no use.
    fs::remove_dir_all(&directory).ok();
    Ok(())
}

/// The package, from the registry that npm is set to; without npm, from the public one.
fn fetch(directory: &Path) -> Result<PathBuf> {
    let archive = directory.join(format!("axe-core-{AXE}.tgz"));
    let mut fetch = if command::find("npm").is_some() {
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", &format!("axe-core@{AXE}")]);
        npm
    } else {
        let mut curl = Command::new("curl");
        curl.args(["--fail", "--silent", "--show-error", "--location", "--output"]).arg(&archive);
        curl.arg(format!("https://registry.npmjs.org/axe-core/-/axe-core-{AXE}.tgz"));
        curl
    };
    command::run_within(fetch.current_dir(directory), LIMIT)?;
    Ok(archive)
}
