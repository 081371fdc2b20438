//! The guest's root file system: an uncompressed cpio archive ("newc") of programs and modules. Boots nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::kernel::Kernel;
use super::modules;

const INIT: &str = include_str!("init.sh");

/// What is in a guest, by path: its mode and its bytes.
pub(super) type Files = BTreeMap<String, (u32, Vec<u8>)>;

/// Writes the archive of `programs` and the kernel's modules to `path`.
pub(super) fn write(path: &Path, kernel: &Kernel, programs: &Files) -> Result<()> {
    let mut files = programs.clone();
    files.insert("init".into(), (0o755, INIT.as_bytes().to_vec()));
    let mut order = String::new();
    for module in modules::below(&kernel.modules)? {
        order.extend([&module.name, "\n"]);
        files.insert(format!("modules/{}.ko", module.name), (0o644, module.bytes));
    }
    files.insert("modules/order".into(), (0o644, order.into_bytes()));
    let mut out = BufWriter::new(fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?);
    archive(&mut out, &files).and_then(|()| out.flush()).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes "newc" (`Documentation/driver-api/early-userspace/buffer-format.rst`), directories before what is in them.
fn archive(out: &mut impl Write, files: &Files) -> io::Result<()> {
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
}
