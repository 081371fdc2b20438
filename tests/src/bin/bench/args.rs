//! The command line of the benchmark's two parts. `xtask/src/bench.rs` writes it; a person calls `cargo xtask bench`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "bench", about = "Measures weir and its peers; run by `cargo xtask bench`.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Measure, and write the figures (root)
    Measure(Measure),
    /// Judge figures, and write the document of them
    Document(Document),
}

#[derive(Args)]
pub(crate) struct Measure {
    /// Where the figures go
    #[arg(long)]
    pub(crate) json: PathBuf,
    /// Few rounds and sizes: to see whether it works, not what it says
    #[arg(long)]
    pub(crate) quick: bool,
    /// Rounds of each group, where neither many nor few are wanted
    #[arg(long)]
    pub(crate) rounds: Option<usize>,
    /// How often everything is measured
    #[arg(long, default_value_t = 1)]
    pub(crate) runs: usize,
    /// What was built: commit and state of the work tree
    #[arg(long)]
    pub(crate) commit: Option<String>,
    /// Sections; without one, all
    pub(crate) sections: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Document {
    /// The figures
    #[arg(long)]
    pub(crate) json: PathBuf,
    /// The directory that the document and its plots are written to
    #[arg(long)]
    pub(crate) into: Option<PathBuf>,
    /// Fail where a goal is missed, or, of a whole run, was not measured
    #[arg(long)]
    pub(crate) assert: bool,
}
