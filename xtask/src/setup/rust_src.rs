//! The standard library's source, from which `core` is built for BPF: there is no prebuilt one for that target.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::{debian, say};
use crate::{command, workspace};

/// rust-src is 3 MB: a rustup that takes longer cannot reach its server.
const RUSTUP_LIMIT: Duration = Duration::from_mins(1);

pub(super) fn ensure(channel: &str) -> Result<()> {
    let step = format!("rust-src {channel}");
    let sysroot = command::output(workspace::program("rustc").args(["--print", "sysroot"]))?;
    let place = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
    if is_complete(&place) {
        say(&step, "present");
        return Ok(());
    }
    say(&step, "installing with rustup");
    let arguments = ["component", "add", "rust-src", "--toolchain", channel];
    let by_rustup = command::run_within(workspace::program("rustup").args(arguments), RUSTUP_LIMIT);
    if is_complete(&place) {
        return Ok(());
    }
    say(&step, "rustup did not deliver it; trying Debian's package of the same version (45 MB)");
    let by_debian = cache().and_then(|cache| from_debian(channel, &cache, &place));
    if is_complete(&place) {
        say(&step, &format!("linked at {}", place.display()));
        return Ok(());
    }
    let reason = |result: Result<()>| result.err().unwrap_or_else(|| anyhow!("it left no complete library"));
    Err(anyhow!("rustup: {:#}; Debian: {:#}", reason(by_rustup), reason(by_debian)))
        .with_context(|| format!("rust-src is missing; run: rustup {}", arguments.join(" ")))
}

/// `core` to compile, and the lock file that cargo demands with `-Zbuild-std`.
fn is_complete(place: &Path) -> bool {
    ["library/core/src/lib.rs", "library/Cargo.lock"].iter().all(|file| place.join(file).is_file())
}

fn from_debian(channel: &str, cache: &Path, place: &Path) -> Result<()> {
    let source = cache.join(format!("rust-src-{channel}"));
    if !is_complete(&source) {
        debian::fetch_rust_src(channel, cache, &source)?;
    }
    // A link whose target is gone would make the next step fail.
    if place.is_symlink() {
        std::fs::remove_file(place).with_context(|| format!("cannot replace {}", place.display()))?;
    }
    let by_hand = || format!("cannot link it; run: sudo ln -sfn {} {}", source.display(), place.display());
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent).with_context(by_hand)?;
    }
    std::os::unix::fs::symlink(&source, place).with_context(by_hand)
}

/// Outside target/: the toolchain that links here is shared by all checkouts and survives `cargo clean`.
fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    Ok(base.or(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("weir"))
}
