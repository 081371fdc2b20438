//! Feeds the committed corpora to their targets, without any fuzzer. Reads `fuzz/corpus` and changes nothing.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::{TARGETS, Target};

/// Where the corpora are: a directory for each target.
#[must_use]
pub fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The committed inputs of a target, by name.
pub fn inputs(target: &Target) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(corpora().join(target.name))?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.sort();
    Ok(files)
}

/// Feeds a target all its inputs; names the one it panics on. Tells how many there were.
pub fn replay(target: &Target) -> io::Result<usize> {
    let files = inputs(target)?;
    for file in &files {
        let bytes = fs::read(file)?;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes))) {
            eprintln!("target {} does not hold for {}", target.name, file.display());
            resume_unwind(panic);
        }
    }
    Ok(files.len())
}

/// What is wrong with the corpora as a whole, one line each: directories of no target, and targets without an input.
pub fn faults() -> io::Result<Vec<String>> {
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    let mut faults = Vec::new();
    for entry in fs::read_dir(corpora())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !names.contains(name.as_str()) {
            faults.push(format!("fuzz/corpus/{name} belongs to no target"));
        }
    }
    for target in &TARGETS {
        if inputs(target).map_or(0, |files| files.len()) == 0 {
            faults.push(format!("fuzz/corpus/{} has no input: commit one", target.name));
        }
    }
    Ok(faults)
}
