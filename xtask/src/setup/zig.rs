//! zig, which compiles C and links for other CPUs, and the program that has cargo use it. Installed inside the workspace.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::{python, say};
use crate::{command, workspace};

const ZIG: &str = "0.17.1";
const ZIGBUILD: &str = "0.24.1";

pub(super) fn ensure() -> Result<()> {
    let step = format!("zig {ZIG}");
    let program = python::directory("zig").join("bin/cargo-zigbuild");
    let version = command::output(Command::new(&program).arg("--version"));
    let zig =
        command::output(Command::new(python::directory("zig").join("bin/python")).args(["-m", "ziglang", "version"]));
    if version.is_ok_and(|said| said.contains(ZIGBUILD)) && zig.is_ok_and(|said| said.trim() == ZIG) {
        say(&step, "present");
        return Ok(());
    }
    say(&step, "installing from PyPI (100 MB)");
    let packages = [format!("ziglang=={ZIG}"), format!("cargo-zigbuild=={ZIGBUILD}")];
    python::install("zig", &packages).with_context(|| {
        format!(
            "zig is missing, without which nothing can be built for other CPUs; run: pip install {}",
            packages.join(" ")
        )
    })
}

/// Cargo, with zig as compiler and linker.
pub(crate) fn cargo() -> Command {
    let directory = python::directory("zig").join("bin");
    let mut command = workspace::program(&directory.join("cargo-zigbuild").to_string_lossy());
    // It looks for zig by this directory's python.
    let mut path = directory.into_os_string();
    for rest in [workspace::tools().join("bin").into_os_string(), std::env::var_os("PATH").unwrap_or_default()] {
        path.push(":");
        path.push(rest);
    }
    command.arg("zigbuild").env("PATH", path);
    command
}
