//! `cargo xtask vm`: boots Debian's kernels under QEMU and runs the root tests inside. Installs no kernel; knows no test but
//! by its program's name.

mod console;
mod cross;
mod guest;
mod image;
mod kernel;
mod machine;
mod modules;
mod page;
mod userland;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Result, anyhow, bail};
use clap::Args;

use crate::workspace::{self, Executable};
use crate::{build, command, setup, turns};
use guest::{Guest, Ran};
use image::Files;
use kernel::Kernel;
use machine::{CHOICES, Choice, Cpu, VARIANTS, Variant};

/// Which kernels, and what runs on them.
#[derive(Args)]
pub(crate) struct Vm {
    /// Kernels to boot: 5.10, 6.1, 6.12, newest (x86-64), arm64, armhf, mipsel, s390x; all of them where none is named
    pub(crate) kernels: Vec<String>,
    /// Ways in which each is booted: plain, no-jit, no-btf; all that it has where none is named
    #[arg(long, value_name = "VARIANT", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Test programs to run: `kernels` is the matrix, which other CPUs run alone; x86-64 runs others beside it where none is named
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) tests: Vec<String>,
    /// How many guests run at once; each takes a processor and up to 1.5 GB of memory
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: u16,
}

/// The test program of the matrix.
const MATRIX: &str = "kernels";
/// Those that run beside it on x86-64, once on each kernel: they need no data and no peer, and show what a kernel can differ in.
const BESIDE: [&str; 4] = ["attach", "forwarding", "persistence", "verifier"];

/// Everything that was asked for, in order.
struct Plan {
    choices: Vec<&'static Choice>,
    only: Vec<String>,
}

impl Plan {
    fn new(kernels: &[String], only: &[String]) -> Result<Self> {
        if let Some(unknown) = only.iter().find(|name| !VARIANTS.contains(&name.as_str())) {
            bail!("there is no variant \"{unknown}\"; accepted: {}", VARIANTS.join(", "));
        }
        let find = |name: &String| {
            let names: Vec<_> = CHOICES.iter().map(|choice| choice.name).collect();
            let found = CHOICES.iter().find(|choice| choice.name == name);
            found.ok_or_else(|| anyhow::anyhow!("there is no kernel \"{name}\" here; accepted: {}", names.join(", ")))
        };
        let named = kernels.iter().map(find).collect::<Result<Vec<_>>>()?;
        // In their own order and each once: guests of one name would write one another's files.
        let asked = |choice: &&Choice| named.is_empty() || named.iter().any(|named| named.name == choice.name);
        Ok(Self { choices: CHOICES.iter().filter(asked).collect(), only: only.to_vec() })
    }

    fn variants(&self, cpu: &'static Cpu) -> impl Iterator<Item = Variant> {
        let wanted = |variant: &&Variant| self.only.is_empty() || self.only.iter().any(|name| name == variant.name);
        cpu.variants.iter().filter(wanted).copied()
    }

    fn cpus(&self) -> Vec<&'static Cpu> {
        let mut cpus: Vec<&Cpu> = Vec::new();
        for choice in &self.choices {
            if !cpus.contains(&choice.cpu) {
                cpus.push(choice.cpu);
            }
        }
        cpus
    }

    fn guests(&self) -> usize {
        self.choices.iter().map(|choice| self.variants(choice.cpu).count()).sum()
    }
}

impl Vm {
    /// The verb.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let ran = self.boot_all()?;
        println!();
        for ran in &ran {
            println!("{}", ran.line());
            ran.complaints().for_each(|complaint| println!("  {complaint}"));
        }
        let good = ran.iter().all(Ran::is_good);
        if self.kernels.is_empty() && self.only.is_empty() && self.tests.is_empty() {
            let path = workspace::root().join(page::PATH);
            fs::write(&path, page::text(&ran))?;
            println!("vm: wrote {}", page::PATH);
        } else {
            println!("vm: {} is left as it is: only a run of everything writes it", page::PATH);
        }
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Builds everything, boots all guests, and says how each fared.
    fn boot_all(&self) -> Result<Vec<Ran>> {
        let plan = Plan::new(&self.kernels, &self.only)?;
        if plan.guests() == 0 {
            bail!("none of these kernels has variant {}", self.only.join(" or "));
        }
        let cpus = plan.cpus();
        let emulators: Vec<_> = cpus.iter().map(|cpu| cpu.qemu).collect();
        setup::ensure_vm(&emulators, cpus.iter().any(|cpu| cpu.target.is_some()))?;
        fs::create_dir_all(directory())?;
        // Kernels and programs come from the network while the CPUs compile.
        let (kernels, built) = thread::scope(|scope| {
            let kernels = scope.spawn(|| fetch(&plan));
            let built = cpus.iter().map(|cpu| Ok((*cpu, self.build(cpu)?))).collect::<Result<Vec<_>>>();
            let kernels = kernels.join().map_err(|_| anyhow!("the thread that fetches kernels panicked"))?;
            Ok::<_, anyhow::Error>((kernels?, built?))
        })?;
        let pack = |(cpu, built): &(&'static Cpu, Built)| Ok((*cpu, self.pack(cpu, built)?));
        let programs = built.iter().map(pack).collect::<Result<Vec<_>>>()?;
        let matrix = self.tests.is_empty() || self.tests.iter().any(|test| test == MATRIX);
        let mut guests = Vec::new();
        for (cpu, programs) in &programs {
            for (choice, kernel) in kernels.iter().filter(|(choice, _)| choice.cpu == *cpu) {
                for (place, variant) in plan.variants(cpu).enumerate() {
                    // What does not depend on how a kernel is booted is tried once.
                    let programs = if place == 0 { &programs.once } else { &programs.always };
                    guests.push(Guest { choice, variant, kernel, programs, matrix });
                }
            }
        }
        let all = guests.len();
        // Other CPUs take longest: begun last, one of them would run alone in the end.
        let mut guests: Vec<_> = guests.into_iter().enumerate().collect();
        guests.sort_by_key(|(_, guest)| guest.choice.cpu.target.is_none());
        let mut ran = turns::take(guests, self.jobs, |_, (place, guest)| {
            let number = format!("{} of {all}", place + 1);
            println!("vm: {number}: {} boots", guest.line());
            let ran = guest.boot(&directory())?;
            println!("vm: {number}: {}", ran.line());
            Ok((place, ran))
        })?;
        ran.sort_by_key(|(place, _)| *place);
        Ok(ran.into_iter().map(|(_, ran)| ran).collect())
    }

    /// Builds what guests with this CPU run.
    fn build(&self, cpu: &Cpu) -> Result<Built> {
        let place = directory().join("programs").join(cpu.name);
        fs::create_dir_all(&place)?;
        if let Some(target) = cpu.target {
            if self.tests.iter().any(|test| test != MATRIX) {
                bail!("only {MATRIX} is built for {}", cpu.name);
            }
            let (weir, built) = cross::build(cpu, target, MATRIX)?;
            // Cargo's name of it has a hash.
            let matrix = place.join(MATRIX);
            fs::copy(built, &matrix)?;
            return Ok(Built { weir, tests: vec![matrix] });
        }
        let weir = build::compile()?;
        // As `cargo xtask test` does it: a package that is built alone gets other features of what it shares, and all is built anew.
        let built = workspace::build(workspace::cargo().args(["test", "--quiet", "--no-run", "--workspace"]))?;
        // Without what debuggers want: a guest keeps them in memory.
        let strip = |name: &str| {
            let found = built.iter().find(|built| built.test && built.name == name);
            let Some(Executable { path, .. }) = found else { bail!("there is no root test program {name}") };
            let stripped = place.join(name);
            command::run(Command::new("strip").arg("-o").arg(&stripped).arg(path))?;
            Ok(stripped)
        };
        let all = BESIDE.into_iter().chain([MATRIX]);
        let named = self.tests.iter().map(String::as_str);
        let tests =
            if self.tests.is_empty() { all.map(strip).collect() } else { named.map(strip).collect::<Result<_>>() };
        Ok(Built { weir, tests: tests? })
    }

    /// Puts together what guests with this CPU run.
    fn pack(&self, cpu: &Cpu, built: &Built) -> Result<Programs> {
        let files = |tests: &[PathBuf]| match cpu.target {
            Some(_) => userland::of(cpu, &directory(), &built.weir, tests),
            None => userland::own(&built.weir, tests),
        };
        let (_, always) = built.tests.split_at(if self.tests.is_empty() { built.tests.len() - 1 } else { 0 });
        Ok(Programs { once: files(&built.tests)?, always: files(always)? })
    }
}

/// Fetches the kernels, and the programs of other CPUs.
fn fetch(plan: &Plan) -> Result<Vec<(&'static Choice, Kernel)>> {
    for cpu in plan.cpus().into_iter().filter(|cpu| cpu.target.is_some()) {
        userland::fetch(cpu, &directory())?;
    }
    plan.choices.iter().map(|&choice| Ok((choice, kernel::fetch(choice, &directory())?))).collect()
}

/// `weir` and test programs, by their names. The matrix is the last of those that run where none is named.
struct Built {
    weir: PathBuf,
    tests: Vec<PathBuf>,
}

/// What guests of one kernel run: the first of them, and the others.
struct Programs {
    once: Files,
    always: Files,
}

/// Where kernels, images and consoles are kept.
fn directory() -> PathBuf {
    workspace::root().join("target/vm")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(kernels: &[&str], only: &[&str]) -> Result<Plan> {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        Plan::new(&owned(kernels), &owned(only))
    }

    #[test]
    fn nothing_named_is_everything_and_what_is_named_must_be_known() {
        assert_eq!(plan(&[], &[]).unwrap().guests(), 21);
        assert_eq!(plan(&["5.10", "6.12", "arm64"], &["plain"]).unwrap().guests(), 3);
        assert_eq!(plan(&["arm64", "arm64"], &["plain", "plain"]).unwrap().guests(), 1, "each once");
        assert_eq!(plan(&["mipsel"], &["no-btf"]).unwrap().guests(), 0, "its kernel has none");
        let unknown = plan(&["5.4"], &[]).err().unwrap().to_string();
        assert!(unknown.contains("\"5.4\"") && unknown.contains("newest"), "{unknown}");
        assert!(plan(&[], &["fast"]).is_err());
    }
}
