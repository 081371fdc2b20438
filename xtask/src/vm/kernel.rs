//! Debian's kernels, found through the machine's own package index and unpacked. Nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::machine::Choice;
use crate::command;
use crate::setup::debian::{self, Apt, Suite};

/// A kernel that was unpacked.
pub(super) struct Kernel {
    /// As `uname -r` tells it.
    pub(super) version: String,
    /// The image that QEMU boots.
    pub(super) image: PathBuf,
    /// Its modules, in directories below.
    pub(super) modules: PathBuf,
}

/// Fetches a kernel into `directory`, unless it is there.
pub(super) fn fetch(choice: &Choice, directory: &Path) -> Result<Kernel> {
    let Choice { name, cpu, suite, package } = choice;
    let root = directory.join("kernels").join(name);
    if let Some(kernel) = unpacked(&root) {
        return Ok(kernel);
    }
    println!("vm: fetching kernel {name} from Debian {suite}");
    let staging = directory.join("kernels").join(format!("{name}.partial"));
    fs::remove_dir_all(&staging).ok();
    fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
    let apt = Apt::new(directory.join("apt"))?;
    let from = apt.suite(&apt.mirror(&debian::release()?)?, suite, Some(cpu.debian))?;
    // The package that is always the latest names that of the version, which may name those of its parts.
    let mut wanted = vec![(*package).to_owned()];
    while let Some(package) = wanted.pop() {
        let deb = from.download(&package).or_else(|missing| earlier(&from, choice).ok_or(missing))?;
        command::run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&staging))?;
        let depends = command::output(Command::new("dpkg-deb").arg("-f").arg(&deb).arg("Depends"))?;
        wanted.extend(parts(&depends));
    }
    fs::remove_dir_all(&root).ok();
    fs::rename(&staging, &root).with_context(|| format!("cannot move {}", staging.display()))?;
    unpacked(&root).with_context(|| format!("Debian's packages of kernel {name} hold no kernel"))
}

/// The latest of the kernel's packages that can be had: a mirror may list a version that it has not got yet.
fn earlier(from: &Suite<'_>, choice: &Choice) -> Option<PathBuf> {
    let flavour = choice.package.trim_start_matches("linux-image");
    let mut names = from.names("linux-image-", flavour).ok()?;
    names.retain(|name| name != choice.package);
    names.sort_by_key(|name| numbers(name));
    names.iter().rev().find_map(|name| from.download(name).ok())
}

/// The numbers in a package's name, by which its version is older or newer than another's.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// The kernel's packages among those that one depends on.
fn parts(depends: &str) -> Vec<String> {
    let names = depends.split(',').filter_map(|depend| depend.split(['(', '|']).next()).map(str::trim);
    let is_part = |name: &&str| ["linux-image-", "linux-binary-", "linux-modules-"].iter().any(|p| name.starts_with(p));
    names.filter(is_part).map(str::to_owned).collect()
}

fn unpacked(root: &Path) -> Option<Kernel> {
    let modules =
        ["usr/lib/modules", "lib/modules"].map(|place| root.join(place)).into_iter().find(|dir| dir.is_dir())?;
    let modules = fs::read_dir(modules).ok()?.flatten().next()?.path();
    let version = modules.file_name()?.to_str()?.to_owned();
    let images = ["vmlinuz", "vmlinux"].map(|image| root.join(format!("boot/{image}-{version}")));
    let image = images.into_iter().chain([modules.join("vmlinuz")]).find(|place| place.is_file())?;
    Some(Kernel { version, image, modules })
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

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        assert!(numbers("linux-image-6.12.107+deb13-s390x") > numbers("linux-image-6.12.99+deb13-s390x"));
    }
}
