//! Programs of the system that the lab and the tests call. Installed with apt where that exists, else named.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, bail};

use super::say;
use crate::command;

/// A program and the Debian package it comes in.
pub(super) struct Program {
    name: &'static str,
    package: &'static str,
    /// Some tests or measurements need it; those are left out, by name, where it cannot be had.
    optional: bool,
}

const fn required(name: &'static str, package: &'static str) -> Program {
    Program { name, package, optional: false }
}

const fn optional(name: &'static str, package: &'static str) -> Program {
    Program { name, package, optional: true }
}

/// Tests start the program themselves; the package starts a service, too.
const PROMETHEUS: &str = "prometheus";

/// What network namespaces take.
pub(super) const LAB: &[Program] = &[required("ip", "iproute2")];

/// What `xtask test` takes.
pub(super) const TEST: &[Program] = &[
    required("ip", "iproute2"),
    required("tc", "iproute2"),
    required("ethtool", "ethtool"),
    required("tshark", "tshark"),
    optional("minisign", "minisign"),
    optional("nft", "nftables"),
    optional("bgpdump", "bgpdump"),
    optional("faketime", "faketime"),
    optional("pppd", "ppp"),
    optional("pppoe-server", "pppoe"),
    optional("chromium", "chromium"),
    optional("chromedriver", "chromium-driver"),
    optional("python3", "python3-venv"),
    optional("promtool", PROMETHEUS),
    optional("systemd-analyze", "systemd"),
];

/// What `xtask bench` takes: weir's peers, which it does without where they cannot be had, and says so.
pub(super) const BENCH: &[Program] = &[
    required("ip", "iproute2"),
    optional("nft", "nftables"),
    optional("iptables", "iptables"),
    optional("ipset", "ipset"),
    optional("xdp-filter", "xdp-tools"),
    optional("iperf3", "iperf3"),
];

/// What `xtask vm` takes, beside emulators.
const VM: &[Program] = &[
    required("ip", "iproute2"),
    required("tc", "iproute2"),
    required("ethtool", "ethtool"),
    required("busybox", "busybox-static"),
    required("strip", "binutils"),
    required("xz", "xz-utils"),
];

/// What `xtask fuzz` takes: libFuzzer is compiled.
pub(super) const FUZZ: &[Program] = &[required("c++", "g++")];

/// Says what `ensure` would find, and installs nothing.
pub(super) fn report() {
    for program in TEST.iter().chain(BENCH.iter().filter(|bench| TEST.iter().all(|test| test.name != bench.name))) {
        let takes = |programs: &[Program]| programs.iter().any(|other| other.name == program.name);
        let installer = match (takes(LAB), takes(TEST)) {
            (true, _) => "demo or test",
            (false, true) => "test",
            (false, false) => "bench",
        };
        let absent = format!("absent (cargo xtask {installer} installs it)");
        say(program.name, if command::find(program.name).is_some() { "present" } else { &absent });
    }
}

pub(super) fn ensure(programs: &[Program]) -> Result<()> {
    let (present, missing): (Vec<_>, Vec<_>) =
        programs.iter().partition(|program| command::find(program.name).is_some());
    for program in present {
        say(program.name, "present");
    }
    let (optional, required): (Vec<&Program>, Vec<&Program>) =
        missing.iter().copied().partition(|program| program.optional);
    // All at once is faster by far, but one package that cannot be had keeps all from being installed.
    if optional.is_empty() || install(&missing).is_err() {
        if !required.is_empty() {
            install(&required)?;
        }
        for program in &optional {
            if command::find(program.name).is_none() && install(&[program]).is_err() {
                say(program.name, "not available here: what needs it is left out, and that is said");
            }
        }
    }
    if optional.iter().any(|program| program.package == PROMETHEUS && command::find(program.name).is_some()) {
        stop_service(PROMETHEUS)?;
    }
    Ok(())
}

/// Prepares for `xtask vm` with these emulators, each with its package.
pub(super) fn ensure_vm(emulators: &[(&'static str, &'static str)]) -> Result<()> {
    ensure(VM)?;
    ensure(&emulators.iter().map(|&(name, package)| required(name, package)).collect::<Vec<_>>())
}

/// Installs a package that brings no program of its own.
pub(super) fn install_package(package: &'static str) -> Result<()> {
    install(&[&Program { name: "sh", package, optional: true }])
}

fn install(programs: &[&Program]) -> Result<()> {
    let packages: BTreeSet<&str> = programs.iter().map(|program| program.package).collect();
    let packages = Vec::from_iter(packages);
    let by_hand = format!("apt-get install {}", packages.join(" "));
    let Some(apt) = command::find("apt-get") else {
        bail!("this machine has no apt; install the equivalent of: {by_hand}");
    };
    for program in programs {
        say(program.name, &format!("installing package {}", program.package));
    }
    // The lists of a fresh image are empty or old: ask for new ones once it matters.
    if apt_install(&apt, &packages).is_err() {
        apt_get(&apt, &["update".as_ref()]).ok();
        if let Err(error) = apt_install(&apt, &packages) {
            bail!("{error:#}; run: sudo {by_hand}");
        }
    }
    match programs.iter().find(|program| command::find(program.name).is_none()) {
        Some(absent) => bail!("package {} brought no {}; install {0} by hand", absent.package, absent.name),
        None => Ok(()),
    }
}

/// Ends what a package started that was installed for its program. Without systemd it started nothing.
fn stop_service(name: &str) -> Result<()> {
    let Some(systemctl) = command::find("systemctl").filter(|_| Path::new("/run/systemd/system").exists()) else {
        return Ok(());
    };
    say(name, "its service is stopped and disabled: the tests start their own");
    let why = "stops the service of a package that was installed for tests";
    command::output(command::as_root(&systemctl, &[], why)?.args(["disable", "--now", "--quiet", name])).map(drop)
}

fn apt_install(apt: &Path, packages: &[&str]) -> Result<()> {
    let arguments = ["install", "--yes", "--no-install-recommends"].into_iter().chain(packages.iter().copied());
    apt_get(apt, &arguments.map(str::as_ref).collect::<Vec<_>>())
}

fn apt_get(apt: &Path, arguments: &[&std::ffi::OsStr]) -> Result<()> {
    let quiet = [("DEBIAN_FRONTEND", OsString::from("noninteractive"))];
    command::output(command::as_root(apt, &quiet, "installs system packages")?.args(arguments)).map(drop)
}
