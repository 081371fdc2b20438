//! Totals over many test programs, read from what libtest prints.

use std::fmt;

/// Characters of a line of a panic's message that are kept: some hold whole documents.
const MESSAGE: usize = 300;

/// Passed, failed and skipped tests and checks.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) passed: usize,
    pub(super) failed: usize,
    failures: Vec<Failure>,
    skips: Vec<String>,
    /// What the lines belong to that come now.
    at: At,
}

/// A test or a check that failed, and where and why, if it told.
struct Failure {
    name: String,
    why: String,
}

/// Where in the output of failed tests a line is.
#[derive(Default)]
enum At {
    #[default]
    Elsewhere,
    /// In what this failure printed, before it panicked.
    Printed(usize),
    /// In the message of its panic.
    Message(usize),
}

impl Totals {
    /// Takes a line of a test program's output.
    pub(super) fn add_line(&mut self, line: &str) {
        self.add_why(line);
        if let Some(counts) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) {
            self.passed += count(counts.1, "passed");
            self.failed += count(counts.1, "failed");
        } else if let Some((name, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) {
            if outcome == "FAILED" {
                self.failures.push(Failure { name: name.to_owned(), why: String::new() });
            } else if let Some(reason) = outcome.strip_prefix("ignored") {
                let reason = reason.trim_start_matches(", ");
                self.skips.push(format!("{name}: {}", if reason.is_empty() { "ignored" } else { reason }));
            }
        }
    }

    /// Keeps the first panic of each test that failed: who reads the end of a long output wants no more.
    fn add_why(&mut self, line: &str) {
        let printed = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        if let Some(name) = printed {
            let failed = self.failures.iter().rposition(|failure| failure.name == name);
            self.at = failed.map_or(At::Elsewhere, At::Printed);
            return;
        }
        match self.at {
            At::Elsewhere => {}
            At::Printed(failure) => {
                if let Some((_, place)) = line.split_once(" panicked at ") {
                    self.failures[failure].why = format!(": {place}");
                    self.at = At::Message(failure);
                }
            }
            At::Message(_) if line.is_empty() || line == "stack backtrace:" || line.starts_with("note: ") => {
                self.at = At::Elsewhere;
            }
            At::Message(failure) => {
                let why = &mut self.failures[failure].why;
                why.push(' ');
                why.extend(line.trim().chars().take(MESSAGE));
            }
        }
    }

    /// Takes the lines "skipped: NAME: reason" of tests that ended well because they could not run.
    pub(super) fn add_skipped(&mut self, lines: &str) {
        for skip in lines.lines().filter_map(|line| line.strip_prefix("skipped: ")) {
            self.skips.push(skip.to_owned());
            // libtest counted it as passed.
            self.passed = self.passed.saturating_sub(1);
        }
    }

    pub(super) fn fail(&mut self, name: String) {
        self.failed += 1;
        self.failures.push(Failure { name, why: String::new() });
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Failure { name, why } in &self.failures {
            writeln!(f, "failed: {name}{why}")?;
        }
        for skip in &self.skips {
            writeln!(f, "skipped: {skip}")?;
        }
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skips.len())
    }
}

fn count(counts: &str, word: &str) -> usize {
    let count = counts.split(';').find_map(|part| part.trim().strip_suffix(word));
    count.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_summaries_and_names_failures() {
        let mut totals = Totals::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test module::b ... FAILED",
            "test c ... ignored, needs a VM",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.25s",
        ] {
            totals.add_line(line);
        }
        assert_eq!(totals.to_string(), "failed: module::b\nskipped: c: needs a VM\n13 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_failure_comes_with_its_first_panic() {
        let mut totals = Totals::default();
        for line in [
            "test module::b ... FAILED",
            "failures:",
            "---- module::b stdout ----",
            "rates: 1 and 2",
            "",
            "thread 'module::b' (16976) panicked at tests/tests/module.rs:85:5:",
            "assertion `left == right` failed: sums",
            "  left: 1",
            " right: 2",
            "stack backtrace:",
            "   0: rust_begin_unwind",
            "thread 'module::b' (16976) panicked at tests/src/weir.rs:1:1:",
            "while it was ended",
            "failures:",
            "    module::b",
        ] {
            totals.add_line(line);
        }
        let why = "tests/tests/module.rs:85:5: assertion `left == right` failed: sums left: 1 right: 2";
        assert_eq!(totals.to_string().lines().next(), Some(format!("failed: module::b: {why}").as_str()));
    }

    #[test]
    fn a_skipped_test_is_not_a_passed_one() {
        let mut totals = Totals { passed: 2, ..Totals::default() };
        totals.add_skipped("skipped: real_table: no WEIR_DATA\nnoise\n");
        assert_eq!(totals.to_string(), "skipped: real_table: no WEIR_DATA\n1 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn a_program_that_crashed_counts_as_one_failure() {
        let mut totals = Totals::default();
        totals.fail("root tests attach (signal: 11)".to_owned());
        assert!(totals.to_string().ends_with("0 passed, 1 failed, 0 skipped"));
    }
}
