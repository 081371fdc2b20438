//! bpf-linker, which turns the BPF crate's bitcode into one object. Installed inside the workspace, not for the user.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::say;
use crate::{command, workspace};

// Another version may want another LLVM than the toolchain's: raise it together with rust-toolchain.toml.
const VERSION: &str = "0.10.3";

pub(super) fn ensure() -> Result<()> {
    let step = format!("bpf-linker {VERSION}");
    let own = workspace::tools().join("bin/bpf-linker");
    if fits(&own) || command::find("bpf-linker").is_some_and(|found| fits(&found)) {
        say(&step, "present");
        return Ok(());
    }
    say(&step, "installing (1 to 3 minutes)");
    // This feature uses the LLVM inside rustc: no LLVM package is needed.
    let features = ["--no-default-features", "--features", "rust-llvm-22"];
    let mut install = workspace::cargo();
    install.args(["install", "bpf-linker", "--version", VERSION, "--locked", "--quiet", "--force"]).args(features);
    install.arg("--root").arg(workspace::tools());
    command::run(&mut install).with_context(|| {
        format!("bpf-linker is missing; run: cargo install bpf-linker --version {VERSION} {}", features.join(" "))
    })
}

fn fits(linker: &Path) -> bool {
    command::output(Command::new(linker).arg("--version"))
        .is_ok_and(|said| said.split_whitespace().any(|word| word == VERSION))
}
