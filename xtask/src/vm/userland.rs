//! What runs in a guest beside the kernel: this machine's own programs with their libraries, or, for another CPU, Debian's and
//! those that were built for it. Nothing is installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::image::Files;
use super::machine::Cpu;
use crate::command;
use crate::setup::debian::{self, Apt};

/// Programs that tests start on this machine's kernels, beside those of busybox.
const PROGRAMS: &[&str] = &["ip", "tc", "nsenter", "ethtool", "unshare", "prlimit"];

/// Where other CPUs' programs come from: the last release that has them all.
const SUITE: &str = "bookworm";
/// `ip` and `nsenter`, their libraries and theirs. Not busybox' `nsenter`: it starts busybox' own `ip`.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "iproute2",
    "libbpf1",
    "libbsd0",
    "libc6",
    "libcap2",
    "libelf1",
    "libmd0",
    "libmnl0",
    "libpcre2-8-0",
    "libselinux1",
    "util-linux",
    "zlib1g",
];
/// Below them are those that programs load by name at run time, which these do not.
const LIBRARIES: [&str; 2] = ["lib", "usr/lib"];

/// This machine's programs, `weir` and `tests`.
pub(super) fn own(weir: &Path, tests: &[PathBuf]) -> Result<Files> {
    let mut files = Files::new();
    let busybox = command::find("busybox").context("busybox is missing")?;
    put(&mut files, "bin/busybox", &busybox)?;
    let found = |name: &&str| command::find(name).with_context(|| format!("{name} is missing"));
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS.iter().map(found).chain([Ok(weir.to_owned())]) {
        let program = program?;
        put(&mut files, &format!("usr/bin/{}", name_of(&program)), &program)?;
        libraries.extend(needs(&program)?);
    }
    for test in tests {
        put(&mut files, &format!("tests/{}", name_of(test)), test)?;
        libraries.extend(needs(test)?);
    }
    for library in libraries {
        put(&mut files, &library.strip_prefix("/").unwrap_or(&library).display().to_string(), &library)?;
    }
    Ok(files)
}

/// Debian's programs for another CPU, which were fetched into `directory`; `weir` and `tests` need no library.
pub(super) fn of(cpu: &Cpu, directory: &Path, weir: &Path, tests: &[PathBuf]) -> Result<Files> {
    let root = root(cpu, directory);
    let mut files = Files::new();
    put(&mut files, "bin/busybox", &root.join("bin/busybox"))?;
    put(&mut files, "usr/bin/ip", &root.join("bin/ip"))?;
    put(&mut files, "usr/bin/nsenter", &root.join("usr/bin/nsenter"))?;
    put(&mut files, "usr/bin/weir", weir)?;
    for test in tests {
        put(&mut files, &format!("tests/{}", name_of(test)), test)?;
    }
    for place in LIBRARIES {
        let here = list(&root.join(place))?;
        let below = here.iter().filter(|path| path.is_dir()).map(|path| list(path)).collect::<Result<Vec<_>>>()?;
        for path in here.iter().chain(below.iter().flatten()).filter(|path| is_library(path)) {
            put(&mut files, &path.strip_prefix(&root)?.display().to_string(), path)?;
        }
    }
    Ok(files)
}

fn root(cpu: &Cpu, directory: &Path) -> PathBuf {
    directory.join("userland").join(cpu.debian)
}

/// Fetches Debian's programs for another CPU into `directory`, unless they are there.
pub(super) fn fetch(cpu: &Cpu, directory: &Path) -> Result<()> {
    let root = root(cpu, directory);
    if root.is_dir() {
        return Ok(());
    }
    println!("vm: fetching programs for {} from Debian {SUITE}", cpu.name);
    let staging = root.with_extension("partial");
    fs::remove_dir_all(&staging).ok();
    fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
    let apt = Apt::new(directory.join("apt"))?;
    let suite = apt.suite(&apt.mirror(&debian::release()?)?, SUITE, Some(cpu.debian))?;
    for package in PACKAGES {
        command::run(Command::new("dpkg-deb").arg("-x").arg(suite.download(package)?).arg(&staging))?;
    }
    fs::rename(&staging, &root).with_context(|| format!("cannot move {}", staging.display()))
}

fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    Ok(entries.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?)
}

/// A shared library, or the loader of all of them.
fn is_library(path: &Path) -> bool {
    name_of(path).split('.').any(|part| part == "so") && path.is_file()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn put(files: &mut Files, place: &str, path: &Path) -> Result<()> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    files.insert(place.to_owned(), (0o755, bytes));
    Ok(())
}

/// The shared libraries of a program, its loader among them.
fn needs(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = command::output(Command::new("ldd").arg(program))?;
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(listed.lines().filter_map(path).collect())
}
