//! `cargo xtask VERB`: what developers and CI run, one file per verb. It drives cargo and must not link the product.

mod bench;
mod build;
mod command;
mod demo;
mod fuzz;
mod lab;
mod setup;
mod soak;
mod status;
mod test;
mod tidy;
mod traffic;
mod turns;
mod vm;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, shows and tests weir.", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make this machine ready to build weir (the other verbs do it by themselves)
    Setup,
    /// Build the release binary
    Build,
    /// Block one service between three network namespaces and show the counters (asks for root)
    Demo,
    /// Run every check and every test (asks for root)
    Test {
        /// Run only the tests whose name contains this, and no source checks
        filter: Option<String>,
    },
    /// Measure weir beside its peers and write docs/BENCHMARKS.md (asks for root)
    Bench(bench::Bench),
    /// Publish each second under full load for 20 minutes, and write docs/SOAK.md of what that took (asks for root)
    Soak(soak::Soak),
    /// Boot other kernels under QEMU and run the root tests inside
    Vm(vm::Vm),
    /// Run the fuzz targets with libFuzzer
    Fuzz(fuzz::Fuzz),
    /// Check the source rules of CONTRIBUTING.md
    Tidy,
    /// The part of `demo` that needs root
    #[command(hide = true)]
    LabDemo {
        #[arg(long)]
        weir: PathBuf,
    },
    /// Echo server of the lab
    #[command(hide = true)]
    LabServer(traffic::Server),
    /// Echo client of the lab
    #[command(hide = true)]
    LabProbe(traffic::Probe),
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Setup => setup::verb()?,
        Verb::Build => drop(build::build()?),
        Verb::Demo => demo::demo()?,
        Verb::Test { filter } => return test::test(filter.as_deref()),
        Verb::Bench(bench) => return bench.run(),
        Verb::Soak(soak) => return soak.run(),
        Verb::Vm(vm) => return vm.run(),
        Verb::Fuzz(fuzz) => return fuzz.run(),
        Verb::Tidy => tidy::verb()?,
        Verb::LabDemo { weir } => demo::demo_as_root(&weir)?,
        Verb::LabServer(server) => server.run()?,
        Verb::LabProbe(probe) => return Ok(if probe.run()? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
    }
    Ok(ExitCode::SUCCESS)
}
