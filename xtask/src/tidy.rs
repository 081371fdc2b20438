//! `xtask tidy`: source rules that neither rustc nor clippy knows. Reads files and reports; changes nothing.

mod rules;
mod source;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace;
use source::Source;

/// Build products, corpora and git's own files are not ours to judge.
const IGNORED: [&str; 4] = ["target", ".git", "corpus", "artifacts"];
const EXTENSIONS: [&str; 6] = ["rs", "md", "toml", "sh", "yml", "yaml"];

/// A rule that a file breaks.
#[derive(Debug)]
struct Finding {
    line: usize,
    rule: String,
}

impl Finding {
    fn new(line: usize, rule: impl Into<String>) -> Self {
        Self { line, rule: rule.into() }
    }
}

/// The verb: checks every source file of the workspace.
pub(crate) fn verb() -> Result<()> {
    let root = workspace::root();
    let mut files = Vec::new();
    collect(&root, Path::new(""), &mut files)?;
    files.sort();
    let mut count = 0;
    for file in &files {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))?;
        for Finding { line, rule } in check(file, &text) {
            println!("{file}:{line}: {rule}");
            count += 1;
        }
    }
    if count > 0 {
        bail!("tidy: {count} findings in {} files; CONTRIBUTING.md gives the reason of each rule", files.len());
    }
    println!("tidy: {} files, no findings", files.len());
    Ok(())
}

fn check(path: &str, text: &str) -> Vec<Finding> {
    let source = Source::new(path, text);
    rules::ALL.iter().flat_map(|rule| rule(&source)).collect()
}

fn collect(root: &Path, below: &Path, files: &mut Vec<String>) -> Result<()> {
    let directory = root.join(below);
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        if IGNORED.iter().any(|ignored| name == *ignored) {
            continue;
        }
        let path = below.join(&name);
        let is_source = path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
        if entry.file_type()?.is_dir() {
            collect(root, &path, files)?;
        } else if is_source || below == Path::new(".ci") {
            files.push(path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}
