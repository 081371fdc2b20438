//! `xtask test`: every check and every test there is, in one run, with one line of totals at the end.

mod libtest;

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

use crate::setup::{self, Need};
use crate::workspace::{self, Executable};
use crate::{build, command, tidy};
use libtest::Totals;

/// Directory of the package whose tests run as root.
const ROOT: &str = "tests";

/// Its tests that wait for a daemon most of the time, and so need no CPU of their own.
const WAITING: [&str; 3] = ["evidence", "feeds", "metrics"];

/// Its tests that measure, and so need every CPU: one at a time.
const MEASURING: [&str; 3] = ["flood", "lookup", "verifier"];

/// Runs all steps, failed ones included; only a failed build ends it early.
pub(crate) fn test(filter: Option<&str>) -> Result<ExitCode> {
    setup::ensure(&[Need::Build, Need::Lab, Need::Test])?;
    let environment = Environment::new()?;
    let mut totals = Totals::default();

    if filter.is_none() {
        let cargo = |words: &[&str]| command::run(workspace::cargo().args(words));
        check(&mut totals, "tidy", tidy::verb);
        check(&mut totals, "fmt", || cargo(&["fmt", "--all", "--check"]));
        check(&mut totals, "clippy", || {
            cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
        });
    }
    let (mut binaries, weir) = timed("build tests and weir", compile)?;
    binaries.retain(|binary| binary.test);
    binaries.sort_by(|a, b| a.name.cmp(&b.name));
    let (root, host) = binaries.into_iter().partition(|binary| binary.package.ends_with(ROOT));
    host_tests(&mut totals, &environment, host, filter)?;
    root_tests(&mut totals, &environment, root, &weir, filter)?;

    totals.add_skipped(&fs::read_to_string(&environment.skipped).unwrap_or_default());
    fs::remove_file(&environment.skipped).ok();
    println!("\n{totals}");
    Ok(if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the tests, and the `weir` that they run. Both at once: whole minutes of the latter are the work of one thread.
fn compile() -> Result<(Vec<Executable>, PathBuf)> {
    std::thread::scope(|scope| {
        let weir = scope.spawn(build::compile);
        // All packages at once: built one by one they get other features of what they share, and it is built again.
        let tests = workspace::build(workspace::cargo().args(["test", "--quiet", "--no-run", "--workspace"]));
        let weir = weir.join().map_err(|_| anyhow!("the thread that builds weir panicked"))?;
        Ok((tests?, weir?))
    })
}

fn host_tests(
    totals: &mut Totals,
    environment: &Environment,
    binaries: Vec<Executable>,
    filter: Option<&str>,
) -> Result<()> {
    timed("host tests", || {
        for Executable { name, path, package, .. } in binaries {
            let mut tests = Command::new(path);
            tests.args(filter).current_dir(package).envs(environment.variables(None));
            run_tests(totals, &mut tests, &format!("host tests {name}"))?;
        }
        Ok(())
    })
}

fn root_tests(
    totals: &mut Totals,
    environment: &Environment,
    binaries: Vec<Executable>,
    weir: &Path,
    filter: Option<&str>,
) -> Result<()> {
    let variables = environment.variables(Some(weir));
    for Executable { name, path, package, .. } in binaries {
        let why = "the tests create network namespaces and load BPF programs";
        let mut tests = command::as_root(&path, &variables, why)?;
        tests.args(filter).current_dir(package);
        let among = |names: &[&str]| names.contains(&name.as_str());
        if among(&WAITING) {
            tests.arg("--test-threads=8");
        } else if among(&MEASURING) {
            tests.arg("--test-threads=1");
        }
        let step = format!("root tests {name}");
        timed(&step, || run_tests(totals, &mut tests, &step))?;
    }
    Ok(())
}

/// Shows a test program's output as it comes and adds it to the totals.
fn run_tests(totals: &mut Totals, tests: &mut Command, step: &str) -> Result<()> {
    let mut child = tests.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {step}"))?;
    let failed_before = totals.failed;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            println!("{line}");
            totals.add_line(&line);
        }
    }
    let status = child.wait()?;
    if !status.success() && totals.failed == failed_before {
        totals.fail(format!("{step} ({status}, no summary)"));
    }
    Ok(())
}

fn check(totals: &mut Totals, name: &str, run: impl FnOnce() -> Result<()>) {
    match timed(name, run) {
        Ok(()) => totals.passed += 1,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            totals.fail(name.to_owned());
        }
    }
}

fn timed<T>(step: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("\ntest: {step}");
    let start = Instant::now();
    let result = run();
    let verdict = if result.is_ok() { "done" } else { "FAILED" };
    println!("test: {step}: {verdict} in {:.1} s", start.elapsed().as_secs_f32());
    result
}

/// What the tests are told by environment variables.
struct Environment {
    data: PathBuf,
    /// Tests append "skipped: NAME: reason" to it: libtest hides the output of tests that end well.
    skipped: PathBuf,
}

impl Environment {
    fn new() -> Result<Self> {
        let data = workspace::data()?;
        let skipped = std::env::temp_dir().join(format!("weir-skipped-{}", std::process::id()));
        fs::write(&skipped, "").with_context(|| format!("cannot write {}", skipped.display()))?;
        Ok(Self { data, skipped })
    }

    fn variables(&self, weir: Option<&Path>) -> Vec<(&'static str, OsString)> {
        let mut variables =
            vec![("WEIR_DATA", self.data.clone().into()), ("WEIR_SKIPPED", self.skipped.clone().into())];
        variables.extend(weir.map(|weir| ("WEIR_BIN", weir.into())));
        variables
    }
}
