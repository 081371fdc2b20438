//! Where things are in the workspace, and cargo as xtask calls it. It decides nothing about what gets built.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The directory of the workspace's Cargo.toml.
pub(crate) fn root() -> PathBuf {
    // The variable first: a copied target directory must not lead back to the place it was built in.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where real lists and tables are: as `WEIR_DATA` says.
pub(crate) fn data() -> Result<PathBuf> {
    let data = std::env::var_os("WEIR_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    Ok(data.canonicalize().or_else(|_| std::path::absolute(data))?)
}

/// Root of the tools that xtask installs for itself.
pub(crate) fn tools() -> PathBuf {
    root().join("target/tools")
}

/// A toolchain program (cargo, rustc, rustup), with the workspace's own tools first on PATH. It is not told of xtask what cargo told
/// xtask: build scripts that look at it (ring's) would have everything built anew that was built by hand, and the other way round.
pub(crate) fn program(name: &str) -> Command {
    let mut path = OsString::from(tools().join("bin"));
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    let mut command = Command::new(name);
    command.current_dir(root()).env("PATH", path);
    for (name, _) in std::env::vars_os() {
        if ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|start| name.to_string_lossy().starts_with(start)) {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn cargo() -> Command {
    program("cargo")
}

/// A binary that cargo built.
pub(crate) struct Executable {
    /// Name of the target.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// Whether it is a test: a package's own programs are built beside its tests.
    pub(crate) test: bool,
    /// Directory of its package, where tests expect to run.
    pub(crate) package: PathBuf,
}

/// Runs a cargo build command and returns the binaries it made.
pub(crate) fn build(command: &mut Command) -> Result<Vec<Executable>> {
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo")?;
    let mut executables = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            executables.extend(executable(&line?));
        }
    }
    if !child.wait()?.success() {
        bail!("the build failed: {}", crate::command::line(command));
    }
    Ok(executables)
}

fn executable(message: &str) -> Option<Executable> {
    let message: Value = serde_json::from_str(message).ok()?;
    Some(Executable {
        path: message["executable"].as_str()?.into(),
        name: message["target"]["name"].as_str()?.into(),
        test: message["profile"]["test"].as_bool()?,
        package: Path::new(message["manifest_path"].as_str()?).parent()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_not_told_of_xtask_what_cargo_told_xtask() {
        let cargo = cargo();
        let removed = |name: &str| cargo.get_envs().any(|(set, value)| set == name && value.is_none());
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"] {
            assert!(std::env::var_os(name).is_some() && removed(name), "{name}");
        }
        assert!(!removed("PATH"));
    }
}
