//! What filters goes on filtering, whatever becomes of the daemon; and what must go, goes, all of it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod adopt;
mod boot;
mod clock;
mod clsact;
mod faults;
mod refusals;
mod remove;

use std::fs;
use std::path::Path as File;

use weir_tests::traffic::passes;
use weir_tests::weir::{Scratch, Weir};

/// A configuration that blocks the peer on the router's `devices`.
fn config(devices: &[&str], attach: &str) -> String {
    let device = |name| format!("[[interface]]\nname = \"{name}\"\nattach = \"{attach}\"\n");
    // Tests run side by side: only one daemon could have the page.
    devices.iter().map(device).collect::<String>() + PEER + "[http]\nlisten = \"off\"\n"
}

const BOTH: [&str; 2] = ["lan0", "wan0"];
const PEER: &str = "[[rule]]\nname = \"peer\"\naction = \"block\"\nprefixes = [\"71.18.1.0/24\", \"2605:340::/64\"]\n";

/// Writes the configuration, and gives the arguments that name it.
fn written(scratch: &Scratch, config: &str) -> [String; 2] {
    ["-c".into(), scratch.file("weir.toml", config).display().to_string()]
}

/// The pins in a run directory.
fn pins(run_dir: &File) -> Vec<String> {
    let Ok(entries) = fs::read_dir(run_dir.join("bpf")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Descriptors that the daemon has open: maps, programs and links among them.
fn descriptors(weir: &Weir) -> usize {
    fs::read_dir(format!("/proc/{}/fd", weir.pid())).unwrap().count()
}
