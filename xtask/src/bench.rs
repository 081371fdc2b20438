//! `xtask bench`: builds weir and the benchmark, measures as root, and writes docs/BENCHMARKS.md. The benchmark itself is
//! `tests/src/bin/bench/`; nothing is measured or judged here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::setup::{self, Need};
use crate::{build, command, workspace};

/// What to measure, and what becomes of it.
#[derive(Args)]
pub(crate) struct Bench {
    /// Few rounds and sizes, and no document: to see whether it works
    #[arg(long)]
    quick: bool,
    /// Write the document of a quick run, or of one of some sections, too
    #[arg(long)]
    document: bool,
    /// Keep the figures, with every sample
    #[arg(long)]
    json: Option<PathBuf>,
    /// Fail where a goal is missed
    #[arg(long)]
    assert: bool,
    /// How often everything is measured
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Sections; without one, all
    sections: Vec<String>,
}

impl Bench {
    /// Runs it, as the caller but for the part that measures.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        setup::ensure(&[Need::Build, Need::Bench])?;
        let weir = build::compile()?;
        let bench = compile()?;
        let target = bench.parent().and_then(Path::parent).context("the benchmark was built nowhere")?;
        let json = self.json.clone().unwrap_or_else(|| target.join("bench.json"));
        let json = std::path::absolute(&json)?;

        let variables: [(&str, OsString); 2] = [("WEIR_BIN", weir.into()), ("WEIR_DATA", workspace::data()?.into())];
        let why = "the benchmark creates network namespaces and loads BPF programs";
        let mut measure = command::as_root(&bench, &variables, why)?;
        measure.args(["measure", "--runs", &self.runs.to_string(), "--commit", &commit(), "--json"]).arg(&json);
        measure.args(self.quick.then_some("--quick")).args(&self.sections);
        command::run(&mut measure)?;

        let mut document = Command::new(&bench);
        document.arg("document").arg("--json").arg(&json).args(self.assert.then_some("--assert"));
        let whole = !self.quick && self.sections.is_empty();
        if whole || self.document {
            document.arg("--into").arg(workspace::root().join("docs"));
        }
        let status = document.status().with_context(|| format!("cannot start {}", bench.display()))?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Builds the benchmark: not as a release, in which a panic would leave its namespaces behind; what is measured runs in the
/// kernel, and its BPF object is optimised in every profile.
fn compile() -> Result<PathBuf> {
    let built = workspace::build(workspace::cargo().args(["build", "-p", "weir-tests", "--bin", "bench"]))?;
    Ok(built.into_iter().find(|built| built.name == "bench").context("cargo built no binary \"bench\"")?.path)
}

/// What is being measured: the commit, and whether the work tree differs from it.
fn commit() -> String {
    let git = |arguments: &[&str]| command::output(Command::new("git").current_dir(workspace::root()).args(arguments));
    let Ok(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "no commit".into() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_ok_and(|changes| !changes.is_empty());
    format!("commit {}{}", commit.trim(), if changed { " and changes" } else { "" })
}
