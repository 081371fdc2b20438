//! `weir doctor`: what of this machine keeps weir from filtering, or from filtering fast, and what to do about it.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::{Outcome, Usage, print, print_json, table};
use crate::control::{self, Answer, ControlError, Request};
use crate::datapath::adopt;
use crate::doctor::{Finding, Level, judge, kinds};
use crate::network;
use crate::process::{self, RUN_DIR};
use crate::report::Status;
use crate::survey::{Survey, survey};

/// Look at the kernel, the devices and the daemon, and say what to do about what is wrong
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir doctor           every device but loopback\n  \
    weir doctor wan0      one device\n\n\
    Changes nothing, and needs no daemon. As root it also names the programs that others have on a device. Ends with exit\n\
    code 3 where there is a warning.")]
pub(super) struct Doctor {
    /// Devices to look at; all but loopback where none is named
    #[arg(value_name = "DEVICE")]
    devices: Vec<String>,
    /// Print JSON (docs/json.md)
    #[arg(long)]
    json: bool,
    /// Run directory of the daemon
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

#[derive(Serialize)]
struct Report<'a> {
    version: &'static str,
    daemon: Option<u32>,
    bpffs: bool,
    system: &'a Survey,
    findings: &'a [Finding],
}

impl Doctor {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let present = network::devices().context("cannot list the network devices")?;
        if let Some(absent) = self.devices.iter().find(|name| !present.contains_key(*name)) {
            let names: Vec<String> = present.into_keys().collect();
            return Err(Usage(format!("device \"{absent}\" does not exist; devices here: {}", names.join(", "))).into());
        }
        let system = survey(&self.devices).context("cannot ask the kernel for its devices")?;
        let running = match control::ask(&self.run_dir, &Request::Status) {
            Ok(Answer::Status(status)) => Some(status),
            Ok(_) => {
                anyhow::bail!("weir on {} answered something else: is it another version?", self.run_dir.display())
            }
            Err(ControlError::NotRunning(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let pins = process::pins(&self.run_dir);
        let bpffs = process::is_bpffs(&pins);
        let findings = judge(&system, running.as_deref(), bpffs && adopt::is_left(&pins));
        if self.json {
            let daemon = running.as_ref().map(|status| status.pid);
            print_json(&Report {
                version: env!("CARGO_PKG_VERSION"),
                daemon,
                bpffs,
                system: &system,
                findings: &findings,
            })?;
        } else {
            print(&text(&system, running.as_deref(), bpffs, &findings))?;
        }
        let warned = findings.iter().any(|finding| finding.level == Level::Warning);
        Ok(if warned { Outcome::Degraded } else { Outcome::Done })
    }
}

fn text(system: &Survey, running: Option<&Status>, bpffs: bool, findings: &[Finding]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut row = |name: &str, value: &str| _ = writeln!(text, "{name:<12} {value}");
    row("weir", env!("CARGO_PKG_VERSION"));
    row("kernel", &system.kernel);
    row("BPF JIT", told(system.jit));
    row("BTF", if system.btf { "there (weir does not need it)" } else { "none (weir does not need it)" });
    row("Landlock", if system.landlock { "there" } else { "none" });
    row("daemon", &running.map_or_else(|| "none answers".into(), |status| format!("process {}", status.pid)));
    let pins = if bpffs { "mounted in the run directory" } else { "not mounted; the daemon mounts one" };
    row("bpffs", pins);
    let tables = running.map_or_else(String::new, |status| {
        format!("; tables take {}, twice that while a ruleset is published", table::bytes(status.table_bytes))
    });
    let available = system.memory_available.map_or_else(|| "unknown".into(), table::bytes);
    row("memory", &format!("{available} available{tables}"));
    let _ = writeln!(
        text,
        "\n{:<16} {:<12} {:>6} {:<5} {:<12} {:<4} {:<4} {:<5} attach kinds it may take",
        "device", "driver", "MTU", "state", "attached", "GRO", "LRO", "VLAN"
    );
    for (name, device) in &system.devices {
        let features = &device.features;
        let attached = running.and_then(|status| status.devices.iter().find(|filtered| filtered.name == *name));
        let _ = writeln!(
            text,
            "{name:<16} {:<12} {:>6} {:<5} {:<12} {:<4} {:<4} {:<5} {}",
            features.driver.as_deref().unwrap_or("-"),
            features.mtu.map_or_else(|| "-".into(), |mtu| mtu.to_string()),
            if features.up { "up" } else { "down" },
            attached.map_or("-", |filtered| filtered.attach.as_str()),
            told(features.gro),
            told(features.lro),
            told(features.vlan_offload),
            kinds(system, device).join(", "),
        );
    }
    if !findings.is_empty() {
        text.push('\n');
    }
    for Finding { level, about, finding, remedy } in findings {
        let level = if *level == Level::Warning { "WARNING" } else { "note" };
        let _ = writeln!(text, "{level}: {about}: {finding}");
        if !remedy.is_empty() {
            let _ = writeln!(text, "  to do: {remedy}");
        }
    }
    text
}

/// On, off, or that the kernel does not tell.
fn told(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "on",
        Some(false) => "off",
        None => "-",
    }
}
