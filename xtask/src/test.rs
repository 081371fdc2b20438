//! `xtask test`: every check and every test there is, in one run, with one line of totals at the end.

mod libtest;

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::setup::{self, Need};
use crate::workspace::{self, Executable};
use crate::{build, command, tidy, turns};
use libtest::Totals;

/// Directory of the package whose tests run as root.
const ROOT: &str = "tests";

/// Its tests that wait for a daemon most of the time, and so need no CPU of their own.
const WAITING: [&str; 3] = ["evidence", "feeds", "metrics"];

/// Its tests that have the machine for themselves, one at a time: what measures needs every CPU, and `kills` counts all maps and
/// programs of the kernel.
const ALONE: [&str; 4] = ["flood", "kills", "lookup", "verifier"];

/// Its tests that take longest, begun first: begun last, one of them would run alone in the end.
const LONG: [&str; 3] = ["feeds", "page", "publish"];

/// How many that need not be alone run at once: most of them wait most of the time.
const AT_ONCE: u16 = 2;

/// Runs all steps, failed ones included; only a failed build ends it early.
pub(crate) fn test(filter: Option<&str>) -> Result<ExitCode> {
    setup::ensure(&[Need::Build, Need::Check])?;
    let environment = Environment::new()?;
    let mut totals = Totals::default();

    // What the tests call comes from the network while the CPUs check and compile.
    let (mut binaries, weir) = thread::scope(|scope| {
        let programs = scope.spawn(|| setup::ensure(&[Need::Lab, Need::Test]));
        if filter.is_none() {
            checks(&mut totals);
        }
        let built = timed("build tests and weir", compile);
        programs.join().map_err(|_| anyhow!("the thread that installs programs panicked"))??;
        built
    })?;
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

fn checks(totals: &mut Totals) {
    let cargo = |words: &[&str]| command::run(workspace::cargo().args(words));
    check(totals, "tidy", tidy::verb);
    check(totals, "fmt", || cargo(&["fmt", "--all", "--check"]));
    check(totals, "clippy", || cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]));
}

/// Builds the tests, and the `weir` that they run. Both at once: whole minutes of the latter are the work of one thread.
fn compile() -> Result<(Vec<Executable>, PathBuf)> {
    thread::scope(|scope| {
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
            let ended = Ended::of(&mut tests, format!("host tests {name}"))?;
            ended.show();
            ended.add_to(totals);
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
    let ended = |Executable { name, path, package, .. }: Executable| {
        let why = "the tests create network namespaces and load BPF programs";
        let mut tests = command::as_root(&path, &variables, why)?;
        tests.args(filter).current_dir(package);
        let among = |names: &[&str]| names.contains(&name.as_str());
        if among(&WAITING) {
            tests.arg("--test-threads=8");
        } else if among(&ALONE) {
            tests.arg("--test-threads=1");
        }
        Ended::of(&mut tests, format!("root tests {name}"))
    };
    let (alone, mut others): (Vec<_>, Vec<_>) =
        binaries.into_iter().partition(|binary| ALONE.contains(&binary.name.as_str()));
    others.sort_by_key(|binary| !LONG.contains(&binary.name.as_str()));
    timed("root tests", || {
        for (binaries, jobs) in [(others, AT_ONCE), (alone, 1)] {
            let all = turns::take(binaries, jobs, |_, binary| {
                let ended = ended(binary)?;
                ended.show();
                Ok(ended)
            })?;
            for ended in &all {
                ended.add_to(totals);
            }
        }
        Ok(())
    })
}

/// A test program that ended.
struct Ended {
    step: String,
    took: Duration,
    lines: Vec<String>,
    status: ExitStatus,
}

impl Ended {
    /// Runs it.
    fn of(tests: &mut Command, step: String) -> Result<Self> {
        println!("test: {step}");
        let begun = Instant::now();
        let mut child = tests.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {step}"))?;
        let lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines().collect::<io::Result<_>>());
        let (lines, status) = (lines.transpose()?.unwrap_or_default(), child.wait()?);
        Ok(Self { step, took: begun.elapsed(), lines, status })
    }

    /// Shows what it printed, as a whole: others may have ended meanwhile.
    fn show(&self) {
        let mut out = io::stdout().lock();
        let Self { step, lines, status, .. } = self;
        let verdict = if status.success() { "done" } else { "FAILED" };
        // Standard output that is gone is no reason not to test.
        let _ = writeln!(out, "\n{}", lines.join("\n"));
        let _ = writeln!(out, "test: {step}: {verdict} in {:.1} s", self.took.as_secs_f32());
    }

    fn add_to(&self, totals: &mut Totals) {
        let failed_before = totals.failed;
        self.lines.iter().for_each(|line| totals.add_line(line));
        if !self.status.success() && totals.failed == failed_before {
            totals.fail(format!("{} ({}, no summary)", self.step, self.status));
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(script: &str) -> Totals {
        let ended = Ended::of(Command::new("sh").args(["-c", script]), "a program".into()).unwrap();
        let mut totals = Totals::default();
        ended.add_to(&mut totals);
        totals
    }

    #[test]
    fn what_a_program_printed_is_added_and_one_that_died_without_a_summary_is_a_failure() {
        let summary = "echo 'test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out'; exit";
        let counted = |script: &str| {
            let totals = totals(script);
            (totals.passed, totals.failed)
        };
        assert_eq!(counted(&format!("{summary} 101")), (4, 1));
        assert_eq!(counted("exit 0"), (0, 0));
        assert_eq!(counted("kill -9 $$"), (0, 1));
        assert!(totals("exit 3").to_string().contains("a program (exit status: 3, no summary)"));
    }
}
