//! `xtask demo`: shows on real packets that weir drops a service in both directions and nothing else, or fails.

mod daemon;
mod measure;

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::lab::Lab;
use crate::setup::{self, Need};
use crate::status::{self, Rule};
use crate::{build, command};
use daemon::Daemon;
use measure::{Arrival, Traffic};

/// In 71.18.0.0/21 and `2605:340::/47` of AS396986; `weir explain` is asked whether the snapshot still says so.
const LISTED: [&str; 2] = ["71.18.1.1", "2605:340::1"];
/// Documentation addresses: in nobody's list.
const CONTROL: [&str; 2] = ["198.51.100.10", "2001:db8:100::10"];
const CLIENT: [&str; 2] = ["10.66.0.2", "fd66::2"];
const DEVICES: [&str; 2] = ["lan0", "wan0"];
const SERVICE: &str = "tiktok";

/// Builds as the caller, then runs the lab as root.
pub(crate) fn demo() -> Result<()> {
    setup::ensure(&[Need::Lab])?;
    let weir = build::build()?;
    if command::is_root() {
        return demo_as_root(&weir);
    }
    let why = "the demo creates network namespaces and loads a BPF program";
    let mut demo = command::as_root(&std::env::current_exe()?, &[], why)?;
    command::run(demo.args(["lab-demo", "--weir"]).arg(weir))
}

/// The part that needs root.
pub(crate) fn demo_as_root(weir: &Path) -> Result<()> {
    let [listed, control] = [LISTED, CONTROL].map(|addresses| addresses.join(" "));
    println!("demo: lan ({}) -- router -- wan ({SERVICE} {listed}, control {control})", CLIENT.join(" "));
    explained(weir)?;

    let lab = Lab::create(&LISTED.iter().chain(&CONTROL).map(|address| with_length(address)).collect::<Vec<_>>())?;
    let traffic = Traffic::start(&lab)?;

    let before = traffic.settle()?;
    let daemon = Daemon::start(&lab, weir)?;
    for (device, kind) in &daemon.status()?.devices {
        println!("demo: weir runs on {device} ({kind})");
    }
    let with_weir = traffic.measure("with")?;
    let rules = daemon.status()?.rules;
    let table = daemon.table()?;
    daemon.stop()?;
    let after = traffic.measure("after")?;

    println!("\n{:39}{:14}{:14}after", "", "without weir", "with weir");
    for (((flow, before), with_weir), after) in measure::flows().iter().zip(&before).zip(&with_weir).zip(&after) {
        println!("{:39}{:14}{:14}{}", flow.to_string(), before.word(), with_weir.word(), after.word());
    }
    println!("\n$ weir status\n{}", table.trim_end());

    let mut wrong = Vec::new();
    for (((flow, before), with_weir), after) in measure::flows().iter().zip(before).zip(with_weir).zip(after) {
        let expected = if flow.listed { Arrival::None } else { Arrival::Both };
        for (phase, seen, expected) in [
            ("before weir", before, Arrival::Both),
            ("with weir", with_weir, expected),
            ("after", after, Arrival::Both),
        ] {
            if seen != expected {
                wrong.push(format!("{flow} was {} {phase}, not {}", seen.word(), expected.word()));
            }
        }
    }
    wrong.extend(uncounted(&rules));
    if !wrong.is_empty() {
        bail!("the demo did not go as it must: {}", wrong.join("; "));
    }
    println!(
        "\ndemo: {SERVICE} was dropped in both directions over IPv4 and IPv6, the control was not, all flows came back"
    );
    Ok(())
}

/// The embedded snapshot must say of each address what the traffic is going to show.
fn explained(weir: &Path) -> Result<()> {
    for (address, expected) in LISTED.map(|address| (address, "drop")).into_iter().chain(CONTROL.map(|a| (a, "pass"))) {
        let json = command::output(Command::new(weir).args(["explain", "--service", SERVICE, address, "--json"]))?;
        let (out, in_) = status::parse_verdicts(&json)?;
        if [&out, &in_] != [expected; 2] {
            bail!("`weir explain` says {out:?} out and {in_:?} in for {address}, not {expected:?}");
        }
    }
    Ok(())
}

/// Dropped is not enough: the counters must prove who did it.
fn uncounted(rules: &[Rule]) -> Option<String> {
    match rules.iter().find(|rule| rule.name == SERVICE) {
        None => Some(format!("weir status has no rule \"{SERVICE}\"")),
        Some(rule) if rule.out == 0 || rule.in_ == 0 => {
            Some(format!("rule \"{SERVICE}\" counted {} packets out and {} in", rule.out, rule.in_))
        }
        Some(_) => None,
    }
}

fn with_length(address: &str) -> String {
    let length = if address.parse().is_ok_and(|address: IpAddr| address.is_ipv4()) { 32 } else { 128 };
    format!("{address}/{length}")
}
