//! `xtask build`: the release binary, as a router runs it.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::setup::{self, Need};
use crate::workspace;

/// Builds `weir` and returns the path of the binary.
pub(crate) fn build() -> Result<PathBuf> {
    setup::ensure(&[Need::Build])?;
    compile()
}

/// [`build`] on a machine that is known to be ready.
pub(crate) fn compile() -> Result<PathBuf> {
    let built =
        workspace::build(workspace::cargo().args(["build", "--release", "-p", "filter-user", "--bin", "weir"]))?;
    let weir = built.into_iter().find(|built| built.name == "weir").context("cargo built no binary \"weir\"")?.path;
    let kilobytes = weir.metadata()?.len().div_ceil(1024);
    println!("build: {} ({kilobytes} KiB)", weir.display());
    Ok(weir)
}
