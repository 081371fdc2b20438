//! Debian's kernels, found through the machine's own package index and unpacked. Nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command;
use crate::setup::debian::{self, Apt};

/// The kernels, by what they stand for: weir's oldest, those of Debian's releases since, the newest there is.
pub(super) const NAMES: &[&str] = &["5.10", "6.1", "6.12", "newest"];

/// The release that has it.
fn suite(name: &str) -> Result<&'static str> {
    Ok(match name {
        "5.10" => "bullseye",
        "6.1" => "bookworm",
        "6.12" => "trixie",
        "newest" => "sid",
        _ => bail!("there is no kernel \"{name}\" here; accepted: {}", NAMES.join(", ")),
    })
}

/// A kernel that was unpacked.
pub(super) struct Kernel {
    /// By what it was asked for.
    pub(super) name: String,
    /// As `uname -r` tells it.
    pub(super) version: String,
    /// The image that QEMU boots.
    pub(super) image: PathBuf,
    /// Its modules, in directories below.
    pub(super) modules: PathBuf,
}

/// Fetches a kernel into `directory`, unless it is there.
pub(super) fn fetch(name: &str, directory: &Path) -> Result<Kernel> {
    let suite = suite(name)?;
    let root = directory.join("kernels").join(name);
    if let Some(kernel) = unpacked(name, &root) {
        return Ok(kernel);
    }
    println!("vm: fetching kernel {name} from Debian {suite}");
    let staging = directory.join("kernels").join(format!("{name}.partial"));
    fs::remove_dir_all(&staging).ok();
    fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
    let apt = Apt::new(directory.join("apt"))?;
    let from = apt.suite(&apt.mirror(&debian::release()?)?, suite)?;
    // The package that is always the latest names that of the version, which may name those of its parts.
    let mut wanted = vec![String::from("linux-image-cloud-amd64")];
    while let Some(package) = wanted.pop() {
        let deb = from.download(&package)?;
        command::run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&staging))?;
        let depends = command::output(Command::new("dpkg-deb").arg("-f").arg(&deb).arg("Depends"))?;
        wanted.extend(parts(&depends));
    }
    fs::remove_dir_all(&root).ok();
    fs::rename(&staging, &root).with_context(|| format!("cannot move {}", staging.display()))?;
    unpacked(name, &root).with_context(|| format!("Debian's packages of kernel {name} hold no kernel"))
}

/// The kernel's packages among those that one depends on.
fn parts(depends: &str) -> Vec<String> {
    let names = depends.split(',').filter_map(|depend| depend.split(['(', '|']).next()).map(str::trim);
    let is_part = |name: &&str| ["linux-image-", "linux-binary-", "linux-modules-"].iter().any(|p| name.starts_with(p));
    names.filter(is_part).map(str::to_owned).collect()
}

fn unpacked(name: &str, root: &Path) -> Option<Kernel> {
    let modules =
        ["usr/lib/modules", "lib/modules"].map(|place| root.join(place)).into_iter().find(|dir| dir.is_dir())?;
    let modules = fs::read_dir(modules).ok()?.flatten().next()?.path();
    let version = modules.file_name()?.to_str()?.to_owned();
    let places = [root.join(format!("boot/vmlinuz-{version}")), modules.join("vmlinuz")];
    let image = places.into_iter().find(|place| place.is_file())?;
    Some(Kernel { name: name.into(), version, image, modules })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_kernel_are_told_from_what_else_it_depends_on() {
        let depends = "linux-image-6.12.1-cloud-amd64 (= 6.12.1-1), kmod, linux-base (>= 4.3~), initramfs-tools | linux-initramfs-tool";
        assert_eq!(parts(depends), ["linux-image-6.12.1-cloud-amd64"]);
        assert_eq!(
            parts("linux-binary-7.2-amd64 (= 1), linux-modules-7.2-amd64"),
            ["linux-binary-7.2-amd64", "linux-modules-7.2-amd64"]
        );
        assert!(parts("").is_empty());
    }
}
