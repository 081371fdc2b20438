//! The guest's root file system: an uncompressed cpio archive ("newc") of this machine's own programs with their libraries, and
//! of the modules that the tests need. Boots nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::kernel::Kernel;
use crate::command;

const INIT: &str = include_str!("init.sh");

/// Programs that tests start, beside those of busybox.
const PROGRAMS: &[&str] = &["ip", "tc", "nsenter", "ethtool", "unshare"];

/// What tests need of a kernel that may have it as a module; one that has it built in has no such module.
const MODULES: &[&str] =
    &["veth", "tun", "dummy", "bridge", "8021q", "sch_ingress", "cls_bpf", "cls_matchall", "ppp_generic"];

/// Writes the archive to `path`.
pub(super) fn write(path: &Path, kernel: &Kernel, weir: &Path, tests: &[PathBuf]) -> Result<()> {
    let mut files: BTreeMap<String, (u32, Vec<u8>)> = BTreeMap::new();
    let busybox = command::find("busybox").context("busybox is missing")?;
    files.insert("bin/busybox".into(), (0o755, fs::read(busybox)?));
    files.insert("init".into(), (0o755, INIT.as_bytes().to_vec()));
    let mut libraries = BTreeSet::new();
    let found = |name: &&str| command::find(name).with_context(|| format!("{name} is missing"));
    for program in PROGRAMS.iter().map(found).chain([Ok(weir.to_owned())]) {
        let program = program?;
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(format!("usr/bin/{name}"), (0o755, fs::read(&program)?));
        libraries.extend(needs(&program)?);
    }
    for test in tests {
        let name = test.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(format!("tests/{name}"), (0o755, fs::read(test)?));
        libraries.extend(needs(test)?);
    }
    for library in libraries {
        let place = library.strip_prefix("/").unwrap_or(&library).display().to_string();
        files.insert(place, (0o755, fs::read(&library)?));
    }
    let mut order = String::new();
    for module in modules(&kernel.modules)? {
        order.extend([&module.name, "\n"]);
        files.insert(format!("modules/{}.ko", module.name), (0o644, module.bytes));
    }
    files.insert("modules/order".into(), (0o644, order.into_bytes()));
    let mut out = BufWriter::new(fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?);
    archive(&mut out, &files).and_then(|()| out.flush()).with_context(|| format!("cannot write {}", path.display()))
}

/// The shared libraries of a program, its loader among them.
fn needs(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = command::output(Command::new("ldd").arg(program))?;
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(listed.lines().filter_map(path).collect())
}

struct Module {
    name: String,
    bytes: Vec<u8>,
}

/// The modules, each behind those that it depends on.
fn modules(directory: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    index(directory, &mut files)?;
    let mut loaded = Vec::new();
    for name in MODULES {
        add(name, &files, &mut loaded)?;
    }
    Ok(loaded)
}

/// All module files below a directory, by their modules' names.
fn index(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            index(&entry.path(), files)?;
        } else if let Some((name, "ko" | "ko.xz")) = entry.file_name().to_string_lossy().split_once('.') {
            files.insert(name.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, loaded: &mut Vec<Module>) -> Result<()> {
    let Some(path) = files.get(name) else { return Ok(()) };
    if loaded.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let bytes = if path.extension().is_some_and(|extension| extension == "xz") {
        let output = Command::new("xz").arg("-dc").arg(path).output().context("cannot start xz")?;
        if !output.status.success() {
            bail!("xz cannot read {}", path.display());
        }
        output.stdout
    } else {
        fs::read(path)?
    };
    for depends in depends(&bytes) {
        add(&depends, files, loaded)?;
    }
    loaded.push(Module { name: name.into(), bytes });
    Ok(())
}

/// What a module says that it depends on: "depends=a,b" among its strings.
fn depends(module: &[u8]) -> Vec<String> {
    const WORD: &[u8] = b"\0depends=";
    let Some(at) = module.windows(WORD.len()).position(|window| window == WORD) else { return Vec::new() };
    let rest = &module[at + WORD.len()..];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let names = String::from_utf8_lossy(&rest[..end]).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

/// Writes "newc" (`Documentation/driver-api/early-userspace/buffer-format.rst`), directories before what is in them.
fn archive(out: &mut impl Write, files: &BTreeMap<String, (u32, Vec<u8>)>) -> io::Result<()> {
    const DIRECTORY: u32 = 0o040_755;
    const FILE: u32 = 0o100_000;
    let parents = files.keys().flat_map(|name| Path::new(name).ancestors().skip(1));
    let parents: BTreeSet<&Path> = parents.filter(|parent| !parent.as_os_str().is_empty()).collect();
    let mut number = 0;
    for parent in parents {
        number += 1;
        entry(out, number, &parent.display().to_string(), DIRECTORY, &[])?;
    }
    for (name, (mode, bytes)) in files {
        number += 1;
        entry(out, number, name, FILE | mode, bytes)?;
    }
    entry(out, 0, "TRAILER!!!", 0, &[])
}

fn entry(out: &mut impl Write, number: u32, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let (size, name_size) = (bytes.len(), name.len() + 1);
    // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name's size, checksum.
    write!(
        out,
        "070701{number:08x}{mode:08x}{:016x}{:08x}{:08x}{size:08x}{:032x}{name_size:08x}{:08x}",
        0, 1, 0, 0, 0
    )?;
    out.write_all(name.as_bytes())?;
    pad(out, 110 + name_size, 1)?;
    out.write_all(bytes)?;
    pad(out, size, 0)
}

/// Zeros up to a multiple of four, behind `least` that are always there.
fn pad(out: &mut impl Write, length: usize, least: usize) -> io::Result<()> {
    let zeros = least + length.next_multiple_of(4) - length;
    out.write_all(&[0; 8][..zeros])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_tell_their_sizes() {
        let mut out = Vec::new();
        entry(&mut out, 7, "bin/sh", 0o100_755, b"#!x\n\n").unwrap();
        assert_eq!(out.len(), (110 + 7_usize).next_multiple_of(4) + 8);
        assert!(out.starts_with(b"07070100000007000081ed"));
        assert_eq!(&out[54..62], b"00000005");
        assert_eq!(&out[94..102], b"00000007");
        assert_eq!(&out[110..117], b"bin/sh\0");
    }

    #[test]
    fn a_module_names_those_that_it_depends_on() {
        assert_eq!(depends(b"x\0license=GPL\0depends=stp,llc-x\0name=bridge\0"), ["stp", "llc_x"]);
        assert!(depends(b"x\0depends=\0").is_empty() && depends(b"x").is_empty());
    }
}
