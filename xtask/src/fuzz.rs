//! `cargo xtask fuzz`: builds the fuzz targets with libFuzzer and runs them. What a target asserts stands in `fuzz/src`; nothing
//! is judged here but whether a run found something.

mod run;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::setup::{self, Need};
use crate::{command, turns, workspace};
use run::{Outcome, Places};

/// What to fuzz, and for how long.
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Fuzz {
    /// Targets; all of them where none is named
    targets: Vec<String>,
    /// How long each target runs, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = time)]
    time: Duration,
    /// How many targets run at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Feed one target this file alone, to see again what was found
    #[arg(long, value_name = "FILE", conflicts_with = "time")]
    input: Option<PathBuf>,
}

const HELP: &str = "\
A target is a function in fuzz/src that panics where something does not hold: decide against a linear scan of the rules,
a parser against a second one, a table against its ranges. libFuzzer changes inputs and keeps those that reach new code.

  cargo xtask fuzz                            all targets, half an hour each, one after the other
  cargo xtask fuzz decide tables --time 5m    two of them
  cargo xtask fuzz --jobs 4 --time 2h         all, four at once
  cargo xtask fuzz lists --input FILE         again what was found, with a backtrace

A run starts from fuzz/corpus/TARGET, which is committed and which `cargo test` replays without a fuzzer, and from what
earlier runs found interesting, in target/fuzzing/corpus. A finding ends its target's run; its input is in
target/fuzzing/findings. Then: fix it, name the input by what it means, and commit it to fuzz/corpus/TARGET.";

/// Coverage for libFuzzer (clang's `SanitizerCoverage`), by flags that stable compilers take.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

impl Fuzz {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let targets = self.chosen(&known()?)?;
        setup::ensure(&[Need::Build, Need::Fuzz])?;
        let programs = compile(&targets)?;
        if let Some(input) = &self.input {
            let [program] = &programs[..] else { bail!("--input goes to one target: name it") };
            let status = workspace::program(&program.to_string_lossy()).arg(std::path::absolute(input)?).status()?;
            return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let outcomes = self.run_all(&targets, &programs)?;
        println!();
        let mut found = 0;
        for outcome in &outcomes {
            println!("{outcome}");
            found += usize::from(outcome.is_finding());
        }
        println!("\nfuzz: {} targets, {} s each: {found} with a finding", outcomes.len(), self.time.as_secs());
        Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The targets named, each of which there is.
    fn chosen(&self, known: &[String]) -> Result<Vec<String>> {
        if self.targets.is_empty() {
            return Ok(known.to_vec());
        }
        if let Some(stranger) = self.targets.iter().find(|target| !known.contains(target)) {
            bail!("there is no fuzz target \"{stranger}\"; targets: {}", known.join(", "));
        }
        Ok(self.targets.clone())
    }

    /// Runs the targets, so many at once; in their order.
    fn run_all(&self, targets: &[String], programs: &[PathBuf]) -> Result<Vec<Outcome>> {
        turns::take(targets.iter().zip(programs), self.jobs, |_, (target, program)| {
            println!("fuzz: {target}: runs for {} s", self.time.as_secs());
            let outcome = run::run(program, &Places::of(target), self.time)?;
            println!("fuzz: {outcome}");
            Ok(outcome)
        })
    }
}

/// The targets there are: one file each, as `cargo fuzz` wants it, too.
fn known() -> Result<Vec<String>> {
    let directory = workspace::root().join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))? {
        targets.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

/// Builds the targets; gives their programs, in their order.
fn compile(targets: &[String]) -> Result<Vec<PathBuf>> {
    let version = command::output(workspace::program("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let mut cargo = workspace::cargo();
    // With --target the flags are those of the targets alone, and not of build scripts. What builds the BPF object has its own.
    cargo.args(["build", "--package", "weir-fuzz", "--features", "libfuzzer", "--profile", "fuzz", "--target", host]);
    for target in targets {
        cargo.args(["--bin", target]);
    }
    cargo.env("RUSTFLAGS", COVERAGE.join(" ")).env_remove("CARGO_ENCODED_RUSTFLAGS");
    let built = workspace::build(&mut cargo)?;
    let find = |target: &String| {
        let found = built.iter().find(|built| built.name == *target);
        found.map(|built| built.path.clone()).with_context(|| format!("cargo built no binary \"{target}\""))
    };
    targets.iter().map(find).collect()
}

/// A time span of one unit.
fn time(text: &str) -> Result<Duration, String> {
    let refused = || format!("\"{text}\" is no time; accepted: such as 90s, 30m or 2h");
    let unit = text.chars().last().ok_or_else(refused)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(refused()),
    };
    let number: u64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(refused)?;
    let span = number.checked_mul(seconds).filter(|span| *span > 0).ok_or_else(refused)?;
    Ok(Duration::from_secs(span))
}

/// A path as a person would type it from the workspace.
fn shown(path: &Path) -> String {
    path.strip_prefix(workspace::root()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_unit_and_are_not_nothing() {
        assert_eq!([time("90s"), time("30m"), time("2h")], [90, 1800, 7200].map(|secs| Ok(Duration::from_secs(secs))));
        for text in ["", "s", "0m", "30", "1.5h", "-1s", "1d", "99999999999999999999s", "9999999999999999999h"] {
            assert!(time(text).is_err_and(|refused| refused.contains("such as 90s")), "{text}");
        }
    }

    #[test]
    fn a_target_that_there_is_not_is_refused_by_name() {
        let fuzz = |targets: &[&str]| Fuzz {
            targets: targets.iter().map(ToString::to_string).collect(),
            time: Duration::from_secs(1),
            jobs: 1,
            input: None,
        };
        let known = ["a", "b"].map(String::from);
        assert_eq!(fuzz(&[]).chosen(&known).unwrap(), known);
        assert_eq!(fuzz(&["b"]).chosen(&known).unwrap(), ["b"]);
        let refused = fuzz(&["b", "c"]).chosen(&known).unwrap_err().to_string();
        assert_eq!(refused, "there is no fuzz target \"c\"; targets: a, b");
    }

    #[test]
    fn each_target_is_a_binary_and_has_a_corpus() {
        let manifest = fs::read_to_string(workspace::root().join("fuzz/Cargo.toml")).unwrap();
        for target in known().unwrap() {
            assert!(manifest.contains(&format!("name = \"{target}\"\n")), "{target} is no [[bin]] of fuzz/Cargo.toml");
            assert!(workspace::root().join("fuzz/corpus").join(&target).is_dir(), "{target} has no corpus");
        }
    }
}
