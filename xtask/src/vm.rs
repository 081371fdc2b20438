//! `cargo xtask vm`: boots Debian's kernels under QEMU and runs the root tests inside. Installs no kernel; knows no test but
//! by its program's name.

mod image;
mod kernel;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::setup::{self, Need};
use crate::workspace::{self, Executable};
use crate::{build, command};
use kernel::Kernel;

/// Which kernels.
#[derive(Args)]
pub(crate) struct Vm {
    /// Kernels to boot: 5.10, 6.1, 6.12, newest; all of them where none is named
    kernels: Vec<String>,
    /// Root test programs to run inside
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = TESTS)]
    tests: Vec<String>,
    /// Hide the kernel's BTF, as OpenWrt's kernels have none
    #[arg(long)]
    no_btf: bool,
    /// Switch the BPF JIT off
    #[arg(long)]
    no_jit: bool,
}

/// Those that need no data and no peer, and show what a kernel can differ in.
const TESTS: &str = "verifier,attach,forwarding,persistence";

/// How long a guest may take. Emulated, on a machine that others use, too.
const LIMIT: Duration = Duration::from_mins(15);

/// How one guest fared.
#[derive(Default)]
struct Outcome {
    version: String,
    passed: usize,
    failed: Vec<String>,
    /// The guest came to its end by itself.
    ended: bool,
    took: Duration,
}

impl Vm {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        setup::ensure(&[Need::Build, Need::Vm])?;
        let names: Vec<&str> = match &self.kernels[..] {
            [] => kernel::NAMES.to_vec(),
            named => named.iter().map(String::as_str).collect(),
        };
        let weir = build::compile()?;
        let tests = self.programs()?;
        let mut outcomes = Vec::new();
        for name in names {
            let kernel = kernel::fetch(name, &directory())?;
            println!("vm: {name} ({}): boots", kernel.version);
            let outcome = self.boot(&kernel, &weir, &tests)?;
            println!("vm: {}", line(name, &outcome));
            outcomes.push((name, outcome));
        }
        println!();
        for (name, outcome) in &outcomes {
            println!("{}", line(name, outcome));
            outcome.failed.iter().for_each(|test| println!("  failed: {test}"));
        }
        let good = outcomes.iter().all(|(_, outcome)| outcome.is_good());
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The test programs, without what debuggers want: a guest keeps them in memory.
    fn programs(&self) -> Result<Vec<PathBuf>> {
        let built = workspace::build(workspace::cargo().args(["test", "--quiet", "--no-run", "-p", "weir-tests"]))?;
        let find = |name: &String| {
            let found = built.iter().find(|built| built.test && built.name == *name);
            let Some(Executable { path, .. }) = found else { bail!("there is no root test program {name}") };
            let stripped = directory().join(name);
            fs::create_dir_all(directory())?;
            command::run(Command::new("strip").arg("-o").arg(&stripped).arg(path))?;
            Ok(stripped)
        };
        self.tests.iter().map(find).collect()
    }

    fn boot(&self, kernel: &Kernel, weir: &Path, tests: &[PathBuf]) -> Result<Outcome> {
        let image = directory().join("initramfs");
        image::write(&image, kernel, weir, tests)?;
        let mut line = String::from("console=ttyS0 quiet panic=-1");
        if self.no_btf {
            line += " weir.nobtf";
        }
        if self.no_jit {
            line += " weir.nojit";
        }
        let mut qemu = workspace::program("qemu-system-x86_64");
        // KVM is not asked for: where it is there it may not work, and TCG is the same everywhere.
        qemu.args(["-accel", "tcg", "-cpu", "max", "-m", "1536", "-smp", "2", "-display", "none", "-serial", "stdio"]);
        qemu.args(["-monitor", "none", "-nic", "none", "-no-reboot", "-append", &line]);
        qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&image);
        let log = directory().join(format!("{}.log", kernel.name));
        let begun = Instant::now();
        let mut child =
            qemu.stdin(Stdio::null()).stdout(File::create(&log)?).spawn().context("cannot start qemu-system-x86_64")?;
        if command::wait_until(LIMIT, || Ok(child.try_wait()?))?.is_none() {
            child.kill()?;
            child.wait()?;
        }
        println!("vm: {}: its console is in {}", kernel.name, log.display());
        let outcome = read(BufReader::new(File::open(&log)?).lines().map_while(Result::ok));
        Ok(Outcome { version: kernel.version.clone(), took: begun.elapsed(), ..outcome })
    }
}

/// Where kernels and images are kept.
fn directory() -> PathBuf {
    workspace::root().join("target/vm")
}

/// Reads a guest's console.
fn read(lines: impl Iterator<Item = String>) -> Outcome {
    let mut outcome = Outcome::default();
    for line in lines {
        let line = line.trim();
        if let Some(test) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... ok")) {
            outcome.passed += usize::from(!test.is_empty());
        } else if let Some(test) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            outcome.failed.push(test.to_owned());
        } else if let Some(program) = line.strip_prefix("vm: failed: ") {
            outcome.failed.push(format!("{program} as a whole"));
        } else if line == "vm: end" {
            outcome.ended = true;
        }
    }
    outcome
}

fn line(name: &str, outcome: &Outcome) -> String {
    let Outcome { version, passed, failed, ended, took } = outcome;
    let end = if *ended { "" } else { ", and did not come to its end" };
    format!("{name:8} {version:32} {passed} passed, {} failed in {:.0} s{end}", failed.len(), took.as_secs_f32())
}

impl Outcome {
    /// Some tests ran, all of them passed, and the guest ended.
    fn is_good(&self) -> bool {
        self.ended && self.failed.is_empty() && self.passed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(console: &str) -> Outcome {
        read(console.lines().map(str::to_owned))
    }

    #[test]
    fn a_guest_is_good_that_ran_tests_passed_all_of_them_and_ended() {
        assert!(of("test a ... ok\r\nvm: end\r\n").is_good());
        assert!(!of("vm: end\n").is_good(), "no test ran");
        assert!(!of("test a ... ok\n").is_good(), "it did not end");
        assert!(!of("test a ... ok\ntest b ... FAILED\nvm: end\n").is_good());
        assert!(!of("test a ... ok\nvm: failed: verifier\nvm: end\n").is_good());
    }
}
