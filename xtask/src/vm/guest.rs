//! One boot under QEMU: the image, the emulator, the console that is kept. What the console means is `console`'s question.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::console::{Outcome, Report};
use super::image::{self, Files};
use super::kernel::Kernel;
use super::machine::{Choice, Variant};
use crate::{command, workspace};

/// How long a guest may take. Emulated, on a machine that others use, too.
const LIMIT: Duration = Duration::from_mins(40);

/// A guest to be.
pub(super) struct Guest<'a> {
    pub(super) choice: &'static Choice,
    pub(super) variant: Variant,
    pub(super) kernel: &'a Kernel,
    pub(super) programs: &'a Files,
    /// Whether the matrix is among what it runs.
    pub(super) matrix: bool,
}

/// How a guest fared.
pub(crate) struct Ran {
    pub(super) choice: &'static Choice,
    pub(super) variant: Variant,
    pub(super) version: String,
    pub(super) report: Report,
    took: Duration,
    matrix: bool,
}

impl Guest<'_> {
    /// One line for a person.
    pub(super) fn line(&self) -> String {
        let Self { choice, variant, kernel, .. } = self;
        format!("{} {} ({}, {})", choice.name, variant.name, choice.cpu.name, kernel.version)
    }

    /// Boots it and waits for its end.
    pub(super) fn boot(&self, directory: &Path) -> Result<Ran> {
        let Self { choice, variant, kernel, programs, matrix } = *self;
        let cpu = choice.cpu;
        let name = format!("{}-{}", choice.name, variant.name);
        let image = directory.join(format!("{name}.initramfs"));
        image::write(&image, kernel, programs)?;
        let mut qemu = workspace::program(cpu.qemu.0);
        // KVM is not asked for: where it is there it may not work, and TCG is the same everywhere.
        qemu.args(["-accel", "tcg"]).args(cpu.arguments);
        qemu.args(["-display", "none", "-serial", "stdio", "-monitor", "none", "-nic", "none", "-no-reboot"]);
        qemu.arg("-append").arg(format!("{} quiet panic=-1 {}", cpu.words, variant.words));
        qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&image);
        let log = directory.join(format!("{name}.log"));
        let begun = Instant::now();
        let mut child = qemu
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", cpu.qemu.0))?;
        if command::wait_until(LIMIT, || Ok(child.try_wait()?))?.is_none() {
            child.kill()?;
            child.wait()?;
        }
        println!("vm: {name}: its console is in {}", log.display());
        // Fifty megabytes for each guest; one that stays is written anew by the next run.
        fs::remove_file(&image).ok();
        // A kernel may write anything there.
        let report = Report::read(&String::from_utf8_lossy(&fs::read(&log)?));
        Ok(Ran { choice, variant, version: kernel.version.clone(), report, took: begun.elapsed(), matrix })
    }
}

impl Ran {
    /// A guest that said this.
    #[cfg(test)]
    pub(super) fn of(choice: &'static Choice, variant: Variant, report: Report) -> Self {
        Self { choice, variant, version: String::new(), report, took: Duration::ZERO, matrix: true }
    }

    /// Whether everything is as it should be.
    pub(crate) fn is_good(&self) -> bool {
        self.report.is_good(self.matrix)
    }

    /// One line for a person.
    pub(crate) fn line(&self) -> String {
        let Self { choice, variant, version, report, took, matrix } = self;
        let cells = if *matrix {
            let [passed, absent, failed] = report.counts();
            format!("; cells: {passed} passed, {absent} not offered, {failed} failed")
        } else {
            String::new()
        };
        let end = if report.ended { "" } else { "; it did not come to its end" };
        format!(
            "{:6} {:6} {version}: {} tests passed, {} failed{cells}; {:.0} s{end}",
            choice.name,
            variant.name,
            report.passed,
            report.failed.len(),
            took.as_secs_f32()
        )
    }

    /// What is not as it should be.
    pub(crate) fn complaints(&self) -> impl Iterator<Item = String> {
        let tests = self.report.failed.iter().map(|test| format!("failed: {test}"));
        let cells = self.report.cells.iter().filter(|cell| cell.outcome == Outcome::Failed);
        tests.chain(cells.map(|cell| format!("failed: {} {}: {}", cell.row, cell.column, cell.note)))
    }
}
