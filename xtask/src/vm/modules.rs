//! The kernel's modules that the tests need, in the order in which they are loaded. Loads none.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// What tests need of a kernel that may have it as a module; one that has it built in has no such module.
const MODULES: &[&str] =
    &["veth", "tun", "dummy", "bridge", "8021q", "sch_ingress", "cls_bpf", "cls_matchall", "ppp_generic"];

/// A module.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// The modules, each behind those that it depends on.
pub(super) fn below(directory: &Path) -> Result<Vec<Module>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_those_that_it_depends_on() {
        assert_eq!(depends(b"x\0license=GPL\0depends=stp,llc-x\0name=bridge\0"), ["stp", "llc_x"]);
        assert!(depends(b"x\0depends=\0").is_empty() && depends(b"x").is_empty());
    }
}
