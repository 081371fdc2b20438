//! `weir` and the test program of the matrix, built for other CPUs: static, against musl, by zig. The standard library is built
//! along, because rustup has none for some of them. Runs nothing.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::machine::Cpu;
use crate::setup::zig;
use crate::workspace;

/// Builds `weir` and `matrix` for `cpu`, whose name for rustc is `target`; gives their places.
pub(super) fn build(cpu: &Cpu, target: &str, matrix: &str) -> Result<(PathBuf, PathBuf)> {
    println!("vm: building weir and its tests for {}", cpu.name);
    let mut cargo = zig::cargo();
    cargo.args(["--quiet", "-Zbuild-std=std,panic_unwind,test", "--target", target, "--no-default-features"]);
    cargo.args(["-p", "filter-user", "--bin", "weir", "-p", "weir-tests", "--test", matrix]);
    // zig brings the C library's start files.
    cargo.env("RUSTFLAGS", format!("-Clink-self-contained=no -Cstrip=symbols {}", cpu.rustflags));
    // The profile is that of this machine's tests, so that what runs at build time is built once. But weir and its tests are not
    // optimised: arm64 took 140 s to build them anew and run, not 271 (beside other work). aya is: else guests run 110 s longer, and
    // 30 s less are spent on building. Debug information would fill their memory.
    for package in ["filter-user", "weir-tests"] {
        cargo.args(["--config", &format!("profile.dev.package.{package}.opt-level=0")]);
    }
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "false");
    cargo.env("RUSTC_BOOTSTRAP", "1");
    let built = workspace::build(&mut cargo)?;
    let find = |name: &str, test: bool| {
        let found = built.iter().find(|built| built.name == name && built.test == test);
        found.map(|built| built.path.clone()).with_context(|| format!("cargo built no {name} for {target}"))
    };
    Ok((find("weir", false)?, find(matrix, true)?))
}
