//! Totals over many test programs, read from what libtest prints.

use std::fmt;

/// Passed, failed and skipped tests and checks.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) passed: usize,
    pub(super) failed: usize,
    failures: Vec<String>,
    skips: Vec<String>,
}

impl Totals {
    /// Takes a line of a test program's output.
    pub(super) fn add_line(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) {
            self.passed += count(counts.1, "passed");
            self.failed += count(counts.1, "failed");
        } else if let Some((name, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) {
            if outcome == "FAILED" {
                self.failures.push(name.to_owned());
            } else if let Some(reason) = outcome.strip_prefix("ignored") {
                let reason = reason.trim_start_matches(", ");
                self.skips.push(format!("{name}: {}", if reason.is_empty() { "ignored" } else { reason }));
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
        self.failures.push(name);
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "failed: {failure}")?;
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
