//! `xtask soak`: builds weir and the soak, and runs it as root. The soak itself is `tests/src/bin/soak/`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::setup::{self, Need};
use crate::{build, command, workspace};

/// How long, and what becomes of it.
#[derive(Args)]
pub(crate) struct Soak {
    /// How many minutes; docs/SOAK.md is written from 20 on
    #[arg(long, default_value_t = 20)]
    minutes: u64,
}

/// The least that the document is written of.
const WHOLE: u64 = 20;

impl Soak {
    /// Runs it.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        setup::ensure(&[Need::Build])?;
        let weir = build::compile()?;
        let built = workspace::build(workspace::cargo().args(["build", "-p", "weir-tests", "--bin", "soak"]))?;
        let soak = built.into_iter().find(|built| built.name == "soak").context("cargo built no binary \"soak\"")?.path;
        let variables: [(&str, OsString); 1] = [("WEIR_BIN", weir.into())];
        let why = "the soak creates network namespaces and loads BPF programs";
        let mut command = command::as_root(&soak, &variables, why)?;
        command.args(["--seconds", &(60 * self.minutes).to_string()]);
        if self.minutes >= WHOLE {
            command.arg("--into").arg(workspace::root().join("docs"));
        }
        let status = command.status().with_context(|| format!("cannot start {}", soak.display()))?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
