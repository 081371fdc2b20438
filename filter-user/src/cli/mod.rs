//! The command line: one file per verb. Prints, and maps outcomes to exit codes; decides nothing about packets.

use std::io::{self, Write as _, stderr, stdout};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::catalog::CatalogError;
use crate::config::ConfigError;
use crate::store::{ContentError, CutError, ReadError};

mod apply;
mod catalog;
mod check;
mod cut;
mod doctor;
mod explain;
mod generate;
mod panic;
mod plan;
mod replay;
mod report;
mod run;
mod selection;
mod selftest;
mod status;
mod stop;
mod table;
mod top;
mod unmount;

/// Drops traffic to and from the networks of organisations that policy forbids, and counts what it dropped.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    after_help = "Exit codes: 0 ok, 1 failure, 2 usage or configuration invalid, 3 ran but degraded.\n\n\
    Try:  weir run --iface eth0 --service tiktok --monitor    (counts what a block would drop; Ctrl-C ends it)"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Run),
    Check(check::Check),
    Explain(explain::Explain),
    Plan(plan::Plan),
    Apply(apply::Apply),
    Confirm(apply::Confirm),
    Rollback(apply::Rollback),
    Pause(apply::Pause),
    Resume(apply::Resume),
    Update(apply::Update),
    Fetch(apply::Fetch),
    Unmount(unmount::Unmount),
    Catalog(catalog::Catalog),
    Replay(replay::Replay),
    Report(report::ShowReport),
    Status(status::ShowStatus),
    Selftest(selftest::ShowSelfTest),
    Doctor(doctor::Doctor),
    Top(top::ShowTop),
    Stop(stop::Stop),
    Panic(panic::Panic),
    Completion(generate::Completion),
    Man(generate::Man),
}

/// How a verb that did not fail ended.
enum Outcome {
    Done,
    Degraded,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Run(verb) => verb.execute(),
        Verb::Check(verb) => verb.execute(),
        Verb::Explain(verb) => verb.execute(),
        Verb::Plan(verb) => verb.execute(),
        Verb::Apply(verb) => verb.execute(),
        Verb::Confirm(verb) => verb.execute(),
        Verb::Rollback(verb) => verb.execute(),
        Verb::Pause(verb) => verb.execute(),
        Verb::Resume(verb) => verb.execute(),
        Verb::Update(verb) => verb.execute(),
        Verb::Fetch(_) => apply::Fetch::execute(),
        Verb::Unmount(verb) => verb.execute(),
        Verb::Catalog(verb) => verb.execute(),
        Verb::Replay(verb) => verb.execute(),
        Verb::Report(verb) => verb.execute(),
        Verb::Selftest(verb) => verb.execute(),
        Verb::Doctor(verb) => verb.execute(),
        Verb::Status(verb) => verb.execute(),
        Verb::Top(verb) => verb.execute(),
        Verb::Stop(verb) => verb.execute(),
        Verb::Panic(verb) => verb.execute(),
        Verb::Completion(verb) => verb.execute(),
        Verb::Man(_) => generate::Man::execute(),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Degraded) => ExitCode::from(3),
        Err(error) => {
            complain(&message(&error));
            ExitCode::from(if is_invalid(&error) { 2 } else { 1 })
        }
    }
}

/// What the operator wrote is wrong, not what the system did.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn is_invalid(error: &anyhow::Error) -> bool {
    use crate::ruleset::resolve::ResolveError;
    error.is::<ConfigError>()
        || error.is::<CatalogError>()
        || error.is::<ResolveError>()
        || error.is::<ContentError>()
        || error.is::<CutError>()
        || error.is::<Usage>()
}

/// The error and its causes. A cause that the text before it quotes already is not told twice.
fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !message.contains(&text) {
            message = if message.is_empty() { text } else { format!("{message}: {text}") };
        }
        // It says in its own words what the system said.
        if cause.is::<ReadError>() {
            break;
        }
    }
    message
}

/// Writes one line to standard error. What a name or a file holds cannot make it two, nor reach the terminal as a command.
fn complain(message: &str) {
    let mut line = String::from("weir: ");
    for c in message.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line.push('\n');
    // Nobody is left to be told where standard error is closed.
    let _ = stderr().lock().write_all(line.as_bytes());
}

/// Writes to standard output. A reader that has seen enough (`weir check | head -1`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Writes a JSON document to standard output.
fn print_json(document: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(document)? + "\n"))
}
