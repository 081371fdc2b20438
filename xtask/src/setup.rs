//! `xtask setup`: makes a fresh machine ready. Every step looks first, says what it does, and may be run again.

pub(crate) mod debian;
mod linker;
mod programs;
mod python;
mod rust_src;
mod web;
pub(crate) mod zig;

use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::{command, workspace};

/// What a verb is about to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Compile the workspace, BPF object included.
    Build,
    /// Lay out network namespaces.
    Lab,
    /// Check the sources.
    Check,
    /// Run the root tests.
    Test,
    /// Measure weir beside its peers.
    Bench,
    /// Compile libFuzzer.
    Fuzz,
}

/// The verb: prepares the build and says what else the other verbs will install.
pub(crate) fn verb() -> Result<()> {
    ensure(&[Need::Build])?;
    programs::report();
    Ok(())
}

/// Prepares this machine for `needs`.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    if !needs.contains(&Need::Build) {
        return ensure_programs(needs);
    }
    let channel = channel()?;
    rustc_is(&channel)?;
    // The linker's compiler waits for the CPU, everything else for the network.
    thread::scope(|scope| {
        let linker = scope.spawn(linker::ensure);
        let others = rust_src::ensure(&channel).and_then(|()| ensure_programs(needs));
        linker.join().map_err(|_| anyhow!("the thread that installs bpf-linker panicked"))??;
        others
    })
}

fn ensure_programs(needs: &[Need]) -> Result<()> {
    if needs.contains(&Need::Check) {
        components()?;
    }
    if needs.contains(&Need::Test) {
        programs::ensure(programs::TEST)?;
        web::ensure();
    } else if needs.contains(&Need::Lab) {
        programs::ensure(programs::LAB)?;
    } else if needs.contains(&Need::Bench) {
        programs::ensure(programs::BENCH)?;
    } else if needs.contains(&Need::Fuzz) {
        programs::ensure(programs::FUZZ)?;
    }
    Ok(())
}

/// Prepares this machine to boot other kernels with these emulators, each with its package; `foreign` ones of other CPUs, too,
/// for which programs must be built.
pub(crate) fn ensure_vm(emulators: &[(&'static str, &'static str)], foreign: bool) -> Result<()> {
    ensure(&[Need::Build])?;
    programs::ensure_vm(emulators)?;
    if foreign { zig::ensure() } else { Ok(()) }
}

fn say(step: &str, state: &str) {
    println!("setup: {step}: {state}");
}

/// The toolchain that rust-toolchain.toml asks for.
fn channel() -> Result<String> {
    let file = workspace::root().join("rust-toolchain.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    parse_channel(&text).with_context(|| format!("{} names no channel", file.display()))
}

fn parse_channel(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix("channel")?.trim().strip_prefix('='))?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// A cargo that is not rustup's ignores rust-toolchain.toml, and the BPF linker fits one LLVM only.
fn rustc_is(channel: &str) -> Result<()> {
    let version = command::output(workspace::program("rustc").arg("--version"))?;
    if version.split_whitespace().nth(1) != Some(channel) {
        bail!("rustc is {:?}, weir needs {channel}; run: rustup toolchain install {channel}", version.trim());
    }
    say(&format!("rustc {channel}"), "present");
    Ok(())
}

fn components() -> Result<()> {
    for component in ["rustfmt", "clippy"] {
        let subcommand = if component == "rustfmt" { "fmt" } else { component };
        if command::output(workspace::cargo().args([subcommand, "--version"])).is_ok() {
            say(component, "present");
            continue;
        }
        say(component, "installing");
        command::output(workspace::program("rustup").args(["component", "add", component]))
            .with_context(|| format!("{component} is missing; run: rustup component add {component}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_channel_with_and_without_spaces() {
        assert_eq!(parse_channel("[toolchain]\nchannel = \"1.95.0\"\n").as_deref(), Some("1.95.0"));
        assert_eq!(parse_channel("channel=\"stable\"").as_deref(), Some("stable"));
        assert_eq!(parse_channel("[toolchain]\n"), None);
    }
}
