//! Compiles the benchmark's BPF object (`filter-ebpf/src/bench/`) into `OUT_DIR`. Must not build the shipped one.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use aya_build::{Package, Toolchain, build_ebpf};

const BOOTSTRAP: &str = "RUSTC_BOOTSTRAP";

fn main() -> anyhow::Result<()> {
    if env::var_os("CARGO_FEATURE_PEERS").is_none() {
        return Ok(());
    }
    // aya-build reads the variable from its own environment, and changing that is unsafe; a child's is not.
    if env::var_os(BOOTSTRAP).is_none() {
        let mut again = Command::new(env::current_exe()?);
        again.env(BOOTSTRAP, "1").env("CARGO_TERM_QUIET", "true");
        // Where filter-user's build script has compiled `core` and the macros already, for the CPU that it names.
        let directory = PathBuf::from(env::var("OUT_DIR").context("cargo sets OUT_DIR")?);
        let named = env::var("TARGET").context("cargo sets TARGET")?;
        if let Some(target) = directory.ancestors().skip(4).find(|directory| !directory.ends_with(&named)) {
            again.env("CARGO_BUILD_BUILD_DIR", target.join("bpf")).env("CARGO_CFG_TARGET_ARCH", "x86_64");
        }
        let status = again.status()?;
        ensure!(status.success(), "the nested BPF build failed: {status}");
        return Ok(());
    }
    // aya-build watches the package it builds, not what that package depends on.
    println!("cargo:rerun-if-changed={}", concat!(env!("CARGO_MANIFEST_DIR"), "/../filter-common/src"));
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".into());
    let package = Package {
        name: "filter-ebpf",
        root_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/../filter-ebpf"),
        features: &["bench"],
        ..Package::default()
    };
    build_ebpf([package], Toolchain::Custom(&toolchain))
        .context("run `cargo xtask setup`: it installs bpf-linker and rust-src")
}
