//! Every way the command line says yes or no, as a person meets it: the real binary, its exit code, its very words.
//! Must not look at packets: what the rules do to them is tested elsewhere.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod catalog;
mod configuration;
mod doctor;
mod documents;
mod explain;
mod help;
mod running;
mod sources;
mod usage;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use weir_tests::weir::{Output, Scratch, binary};
use weir_tests::{require_root, skipped};

/// A file that a case needs, by name.
type File<'a> = (&'a str, &'a [u8]);

/// One refusal.
struct Case<'a> {
    /// What a person did.
    what: &'a str,
    /// The files in the directory where weir is started.
    files: &'a [File<'a>],
    /// What follows `weir`.
    arguments: &'a [&'a str],
    /// The exit code.
    code: i32,
    /// The one line on standard error, without `weir: `.
    says: &'a str,
}

/// Runs the case, and expects this one line and nothing on standard output.
fn refused(case: &Case<'_>) {
    let output = run(case.files, case.arguments);
    let Case { what, code, says, .. } = case;
    assert_eq!(output.stderr, format!("weir: {says}\n"), "{what}");
    assert_eq!((output.code, output.stdout.as_str()), (*code, ""), "{what}");
}

/// Runs weir in a directory that holds just these files.
fn run(files: &[File<'_>], arguments: &[&str]) -> Output {
    let scratch = Scratch::new();
    for (name, contents) in files {
        scratch.file(name, contents);
    }
    run_in(scratch.path(), arguments)
}

/// Runs weir in a directory, on a host without addresses: those are in the never-block set.
fn run_in<A: AsRef<OsStr>>(directory: &Path, arguments: impl IntoIterator<Item = A>) -> Output {
    require_root();
    finish(Command::new("unshare").arg("--net").arg(binary()).args(arguments).current_dir(directory))
}

/// Runs a command to its end.
fn finish(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Expects exit code 0 and gives the output.
fn succeeds(output: Output) -> Output {
    assert_eq!(output.code, 0, "{output:?}");
    output
}

/// Real data, or `None` once the test is noted as skipped.
fn data(test: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = std::env::var_os("WEIR_DATA").map_or_else(beside, PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    skipped(test, "no WEIR_DATA");
    None
}

/// The bytes as gzip makes them.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

/// A configuration of one blocking rule `r`.
fn rule(keys: &str) -> Vec<u8> {
    format!("[[rule]]\nname = \"r\"\naction = \"block\"\n{keys}\n").into_bytes()
}
