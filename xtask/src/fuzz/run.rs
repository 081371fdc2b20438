//! One run of libFuzzer on one target, and what its log says. Knows no target.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::shown;
use crate::workspace;

/// Where things of a target are.
pub(super) struct Places {
    target: String,
    /// What is committed. Nothing is written there.
    committed: PathBuf,
    /// What runs on this machine found interesting.
    corpus: PathBuf,
    /// What they found to be wrong.
    findings: PathBuf,
    log: PathBuf,
    dictionary: PathBuf,
}

impl Places {
    pub(super) fn of(target: &str) -> Self {
        let (fuzz, fuzzing) = (workspace::root().join("fuzz"), workspace::root().join("target/fuzzing"));
        Self {
            target: target.into(),
            committed: fuzz.join("corpus").join(target),
            corpus: fuzzing.join("corpus").join(target),
            findings: fuzzing.join("findings").join(target),
            log: fuzzing.join(format!("{target}.log")),
            dictionary: fuzz.join("dictionaries").join(target),
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Outcome {
    target: String,
    took: Duration,
    said: Said,
    good: bool,
    log: PathBuf,
}

/// What libFuzzer's log says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    executions: u64,
    /// Edges of the program that were taken.
    edges: u64,
    /// Edges, and how often, and what was compared.
    features: u64,
    /// Inputs that a run would start from now.
    inputs: u64,
    /// Those of them that came new.
    fresh: u64,
    peak_mib: u64,
    /// What the target panicked with, or what libFuzzer says of the end.
    fault: Option<String>,
    /// The input at fault.
    input: Option<String>,
}

/// An input may take so long, in seconds: all of them are answered within milliseconds, unless a loop runs away. It is the
/// clock on the wall that counts, and a busy machine may leave a fuzzer standing for a while.
const LONGEST_INPUT: u32 = 60;
/// And so much memory.
const MOST_MIB: u32 = 1024;
/// The longest input that is made: what is behind is more of the same.
const MOST_BYTES: u32 = 8192;

/// Runs a target for `time`.
pub(super) fn run(program: &Path, places: &Places, time: Duration) -> Result<Outcome> {
    for directory in [&places.corpus, &places.findings] {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let log = File::create(&places.log).with_context(|| format!("cannot write {}", places.log.display()))?;
    let mut fuzzer = Command::new(program);
    fuzzer
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(format!("-timeout={LONGEST_INPUT}"))
        .arg(format!("-rss_limit_mb={MOST_MIB}"))
        .arg(format!("-max_len={MOST_BYTES}"))
        .arg(format!("-artifact_prefix={}/", places.findings.display()))
        .arg("-print_final_stats=1");
    if places.dictionary.is_file() {
        fuzzer.arg(format!("-dict={}", places.dictionary.display()));
    }
    // New inputs go to the first directory.
    fuzzer.args([&places.corpus, &places.committed]);
    let begun = Instant::now();
    let status = fuzzer
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let text = fs::read(&places.log).with_context(|| format!("cannot read {}", places.log.display()))?;
    let said = read(&String::from_utf8_lossy(&text));
    let log = places.log.clone();
    Ok(Outcome { target: places.target.clone(), took: begun.elapsed(), said, good: status.success(), log })
}

/// Reads a log.
fn read(log: &str) -> Said {
    let mut said = Said::default();
    let mut panicked = false;
    for line in log.lines() {
        let number = |name: &str| {
            let (_, rest) = line.split_once(name)?;
            rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        // `#4096 NEW cov: 12 ft: 34 corp: 5/67b lim: ...`
        if line.starts_with('#') && line.contains(" cov: ") {
            said.edges = number(" cov: ").unwrap_or(said.edges);
            said.features = number(" ft: ").unwrap_or(said.features);
            said.inputs = number(" corp: ").unwrap_or(said.inputs);
        }
        said.executions = number("stat::number_of_executed_units:").unwrap_or(said.executions);
        said.fresh = number("stat::new_units_added:").unwrap_or(said.fresh);
        said.peak_mib = number("stat::peak_rss_mb:").unwrap_or(said.peak_mib);
        if let Some((_, input)) = line.split_once("Test unit written to ") {
            said.input = Some(input.trim().into());
        }
        // A panic says where in one line, and what in the next ones.
        if std::mem::take(&mut panicked) && said.fault.is_none() {
            said.fault = Some(line.into());
        }
        panicked = line.starts_with("thread ") && line.contains(" panicked at ");
        if said.fault.is_none()
            && let Some((_, fault)) = line.split_once("ERROR: libFuzzer: ")
        {
            said.fault = Some(fault.into());
        }
    }
    said
}

impl Outcome {
    pub(super) fn is_finding(&self) -> bool {
        !self.good
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Said { executions, edges, features, inputs, fresh, peak_mib, fault, input } = &self.said;
        let seconds = self.took.as_secs_f64().max(0.001);
        write!(
            out,
            "{:8} {executions} executions in {seconds:.0} s ({:.0}/s), {edges} edges, {features} features, {inputs} inputs \
             ({fresh} new), {peak_mib} MiB",
            self.target,
            *executions as f64 / seconds,
        )?;
        if !self.is_finding() {
            return out.write_str(": nothing found");
        }
        let fault = fault.as_deref().unwrap_or("it ended early");
        write!(out, ": FOUND: {fault}\n  log: {}", shown(&self.log))?;
        match input {
            Some(input) => {
                let input = shown(Path::new(input));
                write!(out, "\n  input: {input}\n  again: cargo xtask fuzz {} --input {input}", self.target)
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO: Running with entropic power schedule (0xFF, 100).\n\
        #2\tINITED cov: 31 ft: 32 corp: 1/1b exec/s: 0 rss: 40Mb\n\
        #5161\tREDUCE cov: 101 ft: 190 corp: 22/340b lim: 53 exec/s: 0 rss: 41Mb L: 11/45 MS: 1 EraseBytes-\n\
        #9000\tDONE   cov: 103 ft: 192 corp: 23/341b lim: 60 exec/s: 3000 rss: 44Mb\n\
        Done 9000 runs in 3 second(s)\n\
        stat::number_of_executed_units: 9000\n\
        stat::average_exec_per_sec:     3000\n\
        stat::new_units_added:          29\n\
        stat::slowest_unit_time_sec:    0\n\
        stat::peak_rss_mb:              44\n";

    #[test]
    fn figures_are_read_from_the_log() {
        let expected = Said {
            executions: 9000,
            edges: 103,
            features: 192,
            inputs: 23,
            fresh: 29,
            peak_mib: 44,
            fault: None,
            input: None,
        };
        assert_eq!(read(LOG), expected);
    }

    #[test]
    fn a_finding_names_the_panic_the_input_and_the_command_that_shows_it_again() {
        let log = format!(
            "{LOG}thread '<unnamed>' (7) panicked at fuzz/src/lists.rs:7:5:\nassertion failed: a == b\n\
             ==7== ERROR: libFuzzer: deadly signal\n\
             artifact_prefix='x/'; Test unit written to {}/target/fuzzing/findings/lists/crash-1\n",
            workspace::root().display()
        );
        let outcome = Outcome {
            target: "lists".into(),
            took: Duration::from_secs(3),
            said: read(&log),
            good: false,
            log: "lists.log".into(),
        };
        let shown = outcome.to_string();
        assert!(shown.contains("FOUND: assertion failed: a == b"), "{shown}");
        let again = "again: cargo xtask fuzz lists --input target/fuzzing/findings/lists/crash-1";
        assert!(shown.ends_with(again), "{shown}");
    }

    #[test]
    fn an_input_that_takes_too_long_is_a_finding_without_a_panic() {
        let said = read("==9== ERROR: libFuzzer: timeout after 10 seconds\n");
        assert_eq!(said.fault.as_deref(), Some("timeout after 10 seconds"));
    }
}
