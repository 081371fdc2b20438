//! Fetches Debian's packages from the machine's own mirror: rust-src; kernels and programs of any CPU. The machine's apt state stays untouched; no root
//! needed, and nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command;

/// Releases in order; a newer compiler is found in those after the machine's own.
const RELEASES: [&str; 5] = ["bullseye", "bookworm", "trixie", "forky", "duke"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Puts `library/` of `rust-src` version `channel` into `target`.
pub(super) fn fetch_rust_src(channel: &str, cache: &Path, target: &Path) -> Result<()> {
    if command::find("apt-get").is_none() || command::find("dpkg-deb").is_none() {
        bail!("this machine has no apt");
    }
    let release = release()?;
    let apt = Apt::new(cache.join("apt"))?;
    let mirror = apt.mirror(&release)?;
    let suites = suites(&release);
    let package = suites.iter().find_map(|suite| {
        let suite = apt.suite(&mirror, suite, None).ok()?;
        suite.download(&format!("rust-src={channel}*")).ok()
    });
    let Some(package) = package else {
        bail!("rust-src {channel} is in none of {}", suites.join(", "));
    };
    unpack(&package, channel, target)
}

/// The Debian release of this machine.
pub(crate) fn release() -> Result<String> {
    let os = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    codename(&os).map(str::to_owned).context("/etc/os-release names no release")
}

fn codename(os_release: &str) -> Option<&str> {
    os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).map(|name| name.trim_matches('"'))
}

/// Where to look, likeliest first: the next release's backports carry new compilers.
fn suites(release: &str) -> Vec<String> {
    let own = RELEASES.iter().position(|name| *name == release);
    let later = &RELEASES[own.map_or(0, |index| index + 1)..];
    let backports = later.iter().map(|name| format!("{name}-backports"));
    backports.chain([release.to_owned()]).chain(later.iter().map(ToString::to_string)).collect()
}

/// apt with directories of its own, removed at the end.
pub(crate) struct Apt {
    directory: PathBuf,
}

impl Drop for Apt {
    fn drop(&mut self) {
        // Left-overs cost disk space only.
        fs::remove_dir_all(&self.directory).ok();
    }
}

impl Apt {
    pub(crate) fn new(directory: PathBuf) -> Result<Self> {
        for sub in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(sub))
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        Ok(Self { directory })
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.current_dir(&self.directory).arg("-oAPT::Sandbox::User=root");
        for (option, sub) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")] {
            command.arg(format!("-o{option}={}", self.directory.join(sub).display()));
        }
        command
    }

    /// The mirror that this machine's own apt sources use for its release.
    pub(crate) fn mirror(&self, release: &str) -> Result<String> {
        let format = ["indextargets", "--format", "$(ORIGIN) $(CODENAME) $(SITE)", "Created-By: Packages"];
        let known = command::output(Command::new("apt-get").args(format))?;
        if let Some(site) = site(&known, release) {
            return Ok(site.to_owned());
        }
        // Images often ship without package lists. A foreign source that fails to load does not matter here.
        command::output(self.get().args(["-q", "update"])).ok();
        let fresh = command::output(self.get().args(format))?;
        site(&fresh, release).map(str::to_owned).with_context(|| format!("apt knows no mirror for Debian {release}"))
    }

    /// The packages of one suite, for a CPU as Debian calls it; without, for this machine's.
    pub(crate) fn suite(&self, mirror: &str, suite: &str, cpu: Option<&str>) -> Result<Suite<'_>> {
        let sources = self.directory.join(format!("{suite}.list"));
        fs::write(&sources, format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))?;
        let suite = Suite { apt: self, sources, cpu: cpu.map(str::to_owned) };
        command::output(suite.get().args(["-q", "update"]))?;
        Ok(suite)
    }
}

/// A suite whose index was fetched.
pub(crate) struct Suite<'a> {
    apt: &'a Apt,
    sources: PathBuf,
    cpu: Option<String>,
}

impl Suite<'_> {
    fn get(&self) -> Command {
        let mut command = self.apt.get();
        command.arg(format!("-oDir::Etc::SourceList={}", self.sources.display())).arg("-oDir::Etc::SourceParts=-");
        if let Some(cpu) = &self.cpu {
            // What is installed here is another CPU's, and of no concern.
            command.arg(format!("-oAPT::Architecture={cpu}")).arg(format!("-oAPT::Architectures={cpu}"));
            command.arg("-oDir::State::status=/dev/null");
        }
        command
    }

    /// Downloads a package, which may be given with its version, and gives its file.
    pub(crate) fn download(&self, package: &str) -> Result<PathBuf> {
        let name = package.split('=').next().unwrap_or(package);
        command::output(self.get().args(["-q", "download", package]))?;
        let prefix = format!("{name}_");
        let files = fs::read_dir(&self.apt.directory)?.flatten();
        let found = files.into_iter().find(|file| file.file_name().to_string_lossy().starts_with(&prefix));
        Ok(found.with_context(|| format!("apt brought no {name}"))?.path())
    }
}

impl Suite<'_> {
    /// Names of packages that start and end so.
    pub(crate) fn names(&self, start: &str, end: &str) -> Result<Vec<String>> {
        let mut command = Command::new("apt-cache");
        let get = self.get();
        command.current_dir(&self.apt.directory).args(get.get_args()).args(["pkgnames", start]);
        let names = command::output(&mut command)?;
        Ok(names.lines().filter(|name| name.ends_with(end)).map(str::to_owned).collect())
    }
}

fn site<'a>(targets: &'a str, release: &str) -> Option<&'a str> {
    targets.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["Debian", codename, site] if codename == release => Some(site),
        _ => None,
    })
}

/// Takes the library only: the package holds the whole compiler, five times as much.
fn unpack(package: &Path, channel: &str, target: &Path) -> Result<()> {
    let staging = target.with_extension("partial");
    fs::remove_dir_all(&staging).ok();
    fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
    let mut archive = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn()?;
    let tar = archive.stdout.take().context("dpkg-deb has no output")?;
    let member = format!("./usr/src/rustc-{channel}/library");
    let depth = member.split('/').count() - 1;
    let mut extract = Command::new("tar");
    extract.arg("-x").arg(format!("--strip-components={depth}")).arg("-C").arg(&staging).arg(member).stdin(tar);
    command::run(&mut extract)?;
    if !archive.wait()?.success() {
        bail!("dpkg-deb cannot read {}", package.display());
    }
    fs::remove_dir_all(target).ok();
    fs::rename(&staging, target).with_context(|| format!("cannot move {} to {}", staging.display(), target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_in_the_next_backports_first_and_in_every_later_release() {
        assert_eq!(
            suites("trixie"),
            ["forky-backports", "duke-backports", "trixie", "forky", "duke"].map(str::to_owned)
        );
        assert_eq!(suites("bookworm")[0], "trixie-backports");
    }

    #[test]
    fn takes_the_mirror_of_the_release_itself() {
        let targets = "Debian bookworm-security http://b.example/s\nOther bookworm http://c.example\n\
                       Debian bookworm http://a.example/debian\n";
        assert_eq!(site(targets, "bookworm"), Some("http://a.example/debian"));
        assert_eq!(site(targets, "trixie"), None);
    }

    #[test]
    fn reads_the_codename_with_and_without_quotes() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n"), Some("bookworm"));
        assert_eq!(codename("VERSION_CODENAME=\"trixie\"\n"), Some("trixie"));
    }
}
