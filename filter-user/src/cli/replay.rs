//! `weir replay`: what the rules do to a packet capture, frame by frame through the shipped program, with no router.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use filter_common::decide::{Direction, Reason, Verdict};
use serde::Serialize;

use super::selection::Selection;
use super::{Outcome, complain, print, print_json, table};
use crate::capture::{self, Captured};
use crate::datapath::object::Hook;
use crate::datapath::testrun::Bench;
use crate::process;
use crate::report::{self, Parsed, RuleTotals};
use crate::ruleset::{self, Host, RuleIdentity, Sets};
use crate::store;
use crate::tally::{Key, Tally};

/// Run a pcap or pcapng capture through the rules and count what they drop (needs root; sends nothing)
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tcpdump -i eth0 -w lan.pcap -G 3600 -W 1              record an hour\n  \
    weir replay --service tiktok lan.pcap                 what would a block have dropped?\n  \
    weir replay -c /etc/weir.toml lan.pcap --json         the same for a program\n\n\
    Reads pcap and pcapng: Ethernet, raw IP and Linux cooked (-i any). A capture that is cut off ends with exit code 3\n\
    and the figures of what is whole.")]
pub(super) struct Replay {
    #[command(flatten)]
    selection: Selection,
    /// The capture
    capture: PathBuf,
    /// Print JSON (docs/json.md)
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    frames: u64,
    bytes: u64,
    parsed: Parsed,
    rules: Vec<RuleTotals>,
    passed: Tally,
    dropped: Tally,
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<String>,
}

impl Replay {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let config = self.selection.load()?;
        let resolved = ruleset::resolve(&config, &store::files(&config)?)?;
        // The capture comes from somewhere: this host's addresses say nothing about it.
        let written = resolved.rules.iter().flat_map(|rule| &rule.written);
        let guard = ruleset::guard(&config.never_block, &Host::default(), written);
        let rules = resolved.rules();
        let mut sets = Sets::default();
        let compiled = ruleset::compile(&rules, &guard, &mut sets, &BTreeMap::new())?;
        let shown = self.capture.display();
        let bytes = store::read("capture", &self.capture)?;
        let frames = capture::frames(&bytes).with_context(|| shown.to_string())?;
        process::lift_memlock();
        let mut bench = Bench::new(&compiled)?;
        let mut run = Run::default();
        let mut incomplete = None;
        for frame in frames {
            match frame {
                Ok(frame) => run.frame(&mut bench, &frame)?,
                Err(error) => incomplete = Some(format!("{shown}: {error}")),
            }
        }
        let identities: Vec<RuleIdentity> = rules.into_iter().map(|rule| rule.identity).collect();
        let report = run.report(&identities, &sets, incomplete);
        resolved.warnings.iter().for_each(|warning| complain(&format!("warning: {warning}")));
        if self.json {
            print_json(&report)?;
        } else {
            print(&text(&report))?;
        }
        match &report.incomplete {
            Some(problem) => {
                complain(&format!("{problem}; the figures are of the packets before it"));
                Ok(Outcome::Degraded)
            }
            None => Ok(Outcome::Done),
        }
    }
}

/// The counters of one replay.
#[derive(Default)]
struct Run {
    frames: u64,
    bytes: u64,
    parsed: [u64; 4],
    passed: Tally,
    dropped: Tally,
    hits: BTreeMap<Key, Tally>,
}

impl Run {
    fn frame(&mut self, bench: &mut Bench<'_>, frame: &Captured<'_>) -> anyhow::Result<()> {
        let (verdict, decision) = bench.run(Hook::Xdp, frame.layer, &frame.bytes)?;
        let tally = Tally { packets: 1, bytes: frame.wire_len.into() };
        self.frames += 1;
        self.bytes += tally.bytes;
        if let Some(parsed) = self.parsed.get_mut(decision.protocol as usize) {
            *parsed += 1;
        }
        match verdict {
            Verdict::Pass => self.passed += tally,
            Verdict::Drop => self.dropped += tally,
        }
        if decision.reason != Reason::Unlisted as u32 {
            let direction = if decision.direction == Direction::In as u32 { Direction::In } else { Direction::Out };
            let key = Key { port: 0, set: decision.set, direction, v6: decision.protocol == 1 };
            *self.hits.entry(key).or_default() += tally;
        }
        Ok(())
    }

    fn report(self, rules: &[RuleIdentity], sets: &Sets, incomplete: Option<String>) -> Report {
        let ports = BTreeMap::from([(0, ("capture", false))]);
        Report {
            frames: self.frames,
            bytes: self.bytes,
            parsed: self.parsed.into(),
            rules: report::totals(rules, sets, &ports, &self.hits).rules,
            passed: self.passed,
            dropped: self.dropped,
            incomplete,
        }
    }
}

fn text(report: &Report) -> String {
    let Report { frames, passed, dropped, .. } = report;
    let Parsed { ipv4, ipv6, non_ip, truncated } = report.parsed;
    format!(
        "{frames} frames, {}: {ipv4} IPv4, {ipv6} IPv6, {non_ip} not IP, {truncated} truncated\n\n{}\n\
         passed {} packets {}, dropped {} packets {}\n",
        table::bytes(report.bytes),
        table::rules(&report.rules),
        passed.packets,
        table::bytes(passed.bytes),
        dropped.packets,
        table::bytes(dropped.bytes)
    )
}
