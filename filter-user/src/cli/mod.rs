//! The command line: one file per verb. Prints, and maps outcomes to exit codes; decides nothing about packets.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ConfigError;

mod check;
mod explain;
mod replay;
mod run;
mod selection;
mod status;
mod stop;
mod table;

/// Drops traffic to and from the networks of organisations that policy forbids, and counts what it dropped.
#[derive(Debug, Parser)]
#[command(
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
    Replay(replay::Replay),
    Status(status::ShowStatus),
    Stop(stop::Stop),
}

/// How a verb that did not fail ended.
enum Outcome {
    Done,
    Degraded,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // A reader that goes away (`weir status | head`) ends the process quietly, as it does other tools.
    let outcome = match Arguments::parse().verb {
        Verb::Run(verb) => verb.execute(),
        Verb::Check(verb) => verb.execute(),
        Verb::Explain(verb) => verb.execute(),
        Verb::Replay(verb) => verb.execute(),
        Verb::Status(verb) => verb.execute(),
        Verb::Stop(verb) => verb.execute(),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Degraded) => ExitCode::from(3),
        Err(error) => {
            eprintln!("weir: {error:#}");
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
    error.is::<ConfigError>() || error.is::<ResolveError>() || error.is::<Usage>()
}

/// Writes a JSON document to standard output.
fn print_json(document: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(document)?);
    Ok(())
}
