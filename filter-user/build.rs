//! Compiles `filter-ebpf` for the BPF target and leaves the object in `OUT_DIR`. Must build nothing else.

use std::env;

use anyhow::Context as _;
use aya_build::{Package, Toolchain, build_ebpf};

#[expect(unsafe_code, reason = "only the nested BPF build may use -Zbuild-std on a stable compiler")]
fn main() -> anyhow::Result<()> {
    // SAFETY: a build script has one thread until aya-build spawns cargo.
    unsafe {
        env::set_var("RUSTC_BOOTSTRAP", "1");
        env::set_var("CARGO_TERM_QUIET", "true");
    }
    // aya-build watches the package it builds, not what that package depends on.
    println!("cargo:rerun-if-changed={}", concat!(env!("CARGO_MANIFEST_DIR"), "/../filter-common/src"));
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".into());
    let package = Package {
        name: "filter-ebpf",
        root_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/../filter-ebpf"),
        ..Package::default()
    };
    build_ebpf([package], Toolchain::Custom(&toolchain))
        .context("run `cargo xtask setup`: it installs bpf-linker and rust-src")
}
