//! `weir plan`: what a configuration, or fresh copies, would change, before anything does.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, stderr};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::cut::{Policy, cut_by};
use super::selection::{Known, Selection, now};
use super::{Outcome, print, print_json, table};
use crate::config::Config;
use crate::controller::{ConfigText, Job, Outcome as Fetched};
use crate::fetch::{self, Question};
use crate::flows::{self, Flow};
use crate::network;
use crate::prefix::Asn;
use crate::report;
use crate::ruleset::delta::{Addresses, Count, Fate, RuleDelta, deltas};
use crate::ruleset::parts::{Copies, parts};
use crate::ruleset::{self, Resolved, RuleAction};
use crate::source::copy::{Copy, Provenance, Validators};
use crate::source::gate;
use crate::store::{self, Store};

/// Show what would change: prefixes and addresses by rule and source, warnings, memory, live flows that would be cut
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir plan -c /etc/weir.toml              the file against what is in force\n  \
    weir plan -c /etc/weir.toml --refresh    and with what the sources say right now\n  \
    weir plan -c new.toml --full             every prefix that comes or goes\n\n\
    Changes nothing, needs no root (live flows are shown where they may be read). What is in force is read from the state\n\
    directory of the daemon; without one, everything is new. Sources that were never fetched are fetched, for the plan only.")]
pub(super) struct Plan {
    #[command(flatten)]
    selection: Selection,
    /// Ask every source now, for the plan only
    #[arg(long)]
    refresh: bool,
    /// List every prefix that comes or goes
    #[arg(long)]
    full: bool,
    /// Print JSON (docs/json.md)
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    changes: bool,
    rules: Vec<RuleReport>,
    problems: Vec<String>,
    warnings: Vec<String>,
    table_bytes: usize,
    flows: Option<FlowReport>,
}

#[derive(Serialize)]
struct RuleReport {
    name: String,
    fate: Fate,
    action: RuleAction,
    direction: &'static str,
    lists: Count,
    added: Change,
    removed: Change,
    sources: Vec<SourceReport>,
    asns_lost: Vec<Asn>,
}

#[derive(Serialize)]
struct SourceReport {
    list: String,
    source: String,
    added: Change,
    removed: Change,
}

/// Addresses that come or go.
#[derive(Serialize)]
struct Change {
    count: Count,
    /// All of them with --full, else a few.
    prefixes: Vec<String>,
}

#[derive(Serialize)]
struct FlowReport {
    live: usize,
    cut: usize,
    cut_bytes: Option<u64>,
    offloaded: usize,
    rows: Vec<FlowRow>,
}

#[derive(Serialize)]
struct FlowRow {
    client: String,
    server: String,
    protocol: String,
    bytes: Option<u64>,
    rule: String,
    offloaded: bool,
}

/// Prefixes and flows that are shown without --full.
const SHOWN: usize = 4;
const SHOWN_FLOWS: usize = 10;

impl Plan {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let config = self.selection.load()?;
        let store = Store::new(&self.selection.state_dir);
        let (stored, mut problems) = store.copies(&config);
        let old = in_force(&store, &mut problems);
        let copies = self.copies(&config, &stored, &mut problems)?;
        let mut resolved = ruleset::resolve(&config, &copies)?;
        resolved.warnings.extend(report::degraded(&resolved.gaps));
        let host = network::host().context("cannot read this host's addresses")?;
        let known = Known::of(resolved, &config, copies, &host)?;
        let deltas = deltas(&old, &known.resolved);
        let report = Report {
            changes: deltas.iter().any(|delta| delta.fate != Fate::Same),
            rules: deltas.iter().map(|delta| self.rule(delta)).collect(),
            problems,
            warnings: known.resolved.warnings.clone(),
            table_bytes: known.compiled.bytes(),
            flows: self.flows(&old, &known)?,
        };
        if self.json {
            print_json(&report)?;
        } else {
            print(&text(&report))?;
        }
        Ok(if report.problems.is_empty() { Outcome::Done } else { Outcome::Degraded })
    }

    /// The copies of every part: files read, sources as stored, and fetched where they are not or `--refresh` asks for it.
    fn copies(&self, config: &Config, stored: &Copies, problems: &mut Vec<String>) -> anyhow::Result<Copies> {
        let mut copies = store::files(config)?;
        for (id, part) in parts(config).into_iter().filter(|(id, _)| id.source().is_some()) {
            let old = stored.get(&id);
            if let (Some(copy), false) = (old, self.refresh) {
                copies.insert(id, Arc::clone(copy));
                continue;
            }
            if stderr().is_terminal() {
                eprintln!("asking {id}");
            }
            let job = Job {
                part: id.clone(),
                location: part.location,
                need: part.need,
                validators: Validators::default(),
                max_bytes: part.max_bytes,
            };
            match fetch::ask(&Question::new(&job, &config.fetch)) {
                Fetched::Content { content, .. } => {
                    if let Err(refusal) = gate::admit(old.map(AsRef::as_ref), &content, &job.need, &part.limits) {
                        problems.push(format!("source {id} would be refused: {refusal}"));
                    }
                    let provenance = Provenance { fetched: now(), rows: content.rows, ..Provenance::default() };
                    let wanted = match &job.need {
                        crate::source::Need::Origins(wanted) => Some(wanted.clone()),
                        _ => None,
                    };
                    let provenance = Provenance { wanted, ..provenance };
                    copies.insert(id, Arc::new(Copy::renew(old.map(AsRef::as_ref), content, provenance, now())));
                }
                Fetched::Failed { problem, .. } => {
                    problems.push(format!("source {id}: {problem}"));
                    copies.extend(old.map(|copy| (id, Arc::clone(copy))));
                }
                Fetched::Unchanged => {
                    problems.push(format!("source {id} says that nothing changed, unasked"));
                    copies.extend(old.map(|copy| (id, Arc::clone(copy))));
                }
            }
        }
        Ok(copies)
    }

    fn rule(&self, delta: &RuleDelta<'_>) -> RuleReport {
        let identity = delta.new.or(delta.old).map(|rule| rule.identity.clone());
        let (name, action, direction) = identity.map_or_else(
            || (String::new(), RuleAction::Block, "both"),
            |identity| (identity.name, identity.action, identity.direction.as_str()),
        );
        RuleReport {
            name,
            fate: delta.fate,
            action,
            direction,
            lists: delta.new.map(Addresses::of_rule).unwrap_or_default().count(),
            added: self.change(&delta.added),
            removed: self.change(&delta.removed),
            sources: delta
                .sources
                .iter()
                .map(|source| SourceReport {
                    list: source.list.clone(),
                    source: source.source.clone(),
                    added: self.change(&source.added),
                    removed: self.change(&source.removed),
                })
                .collect(),
            asns_lost: delta.lost.iter().copied().collect(),
        }
    }

    fn change(&self, addresses: &Addresses) -> Change {
        let most = if self.full { usize::MAX } else { SHOWN };
        let prefixes = addresses.prefixes().take(most).map(|prefix| prefix.to_string()).collect();
        Change { count: addresses.count(), prefixes }
    }

    /// Live flows that block rules would cut from now on, and did not before.
    fn flows(&self, old: &Resolved, known: &Known) -> anyhow::Result<Option<FlowReport>> {
        let Some(text) = network::flows().context("cannot read the live flows")? else { return Ok(None) };
        let live = flows::parse(&text).flows;
        let (old, new) = (Policy::new(old, &known.guard), Policy::new(&known.resolved, &known.guard));
        let mut cut: Vec<(&Flow, &str)> =
            live.iter().filter_map(|flow| Some((flow, cut_by(flow, &old, &new)?))).collect();
        cut.sort_by_key(|(flow, _)| std::cmp::Reverse(flow.bytes));
        let most = if self.full { usize::MAX } else { SHOWN_FLOWS };
        Ok(Some(FlowReport {
            live: live.len(),
            cut: cut.len(),
            cut_bytes: cut.iter().map(|(flow, _)| flow.bytes).sum(),
            offloaded: cut.iter().filter(|(flow, _)| flow.offloaded).count(),
            rows: cut
                .into_iter()
                .take(most)
                .map(|(flow, rule)| FlowRow {
                    client: flow.client.to_string(),
                    server: flow.server.to_string(),
                    protocol: protocol(flow.protocol),
                    bytes: flow.bytes,
                    rule: rule.into(),
                    offloaded: flow.offloaded,
                })
                .collect(),
        }))
    }
}

/// What the daemon enforces, by what it stored: nothing, where it never ran.
fn in_force(store: &Store, problems: &mut Vec<String>) -> Resolved {
    let saved = match store.saved() {
        Ok(saved) => saved,
        Err(problem) => {
            problems.push(format!("what is in force is not known, so everything is shown as new: {problem}"));
            return Resolved::default();
        }
    };
    let Some(ConfigText { path, text }) = saved.config else { return Resolved::default() };
    let read = || -> anyhow::Result<Resolved> {
        let config = store::parse(&path, text.as_bytes())?;
        let mut copies = store::files(&config)?;
        copies.extend(store.copies(&config).0);
        Ok(ruleset::resolve(&config, &copies)?)
    };
    read().unwrap_or_else(|problem| {
        problems.push(format!("what is in force is not known, so everything is shown as new: {problem:#}"));
        Resolved::default()
    })
}

fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "icmp6".into(),
        number => number.to_string(),
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for rule in &report.rules {
        let sign = match rule.fate {
            Fate::Added => "+",
            Fate::Removed => "-",
            Fate::Changed => "~",
            Fate::Same => "=",
        };
        let Count { ipv4_prefixes, ipv4_addresses, ipv6_prefixes, .. } = rule.lists;
        let _ = writeln!(
            text,
            "{sign} rule \"{}\" ({}, {}): {ipv4_prefixes} IPv4 prefixes ({ipv4_addresses} addresses), {ipv6_prefixes} IPv6 prefixes",
            rule.name,
            rule.action.as_str(),
            rule.direction
        );
        write_change(&mut text, "  ", &rule.added, &rule.removed);
        for source in rule.sources.iter().filter(|_| rule.fate == Fate::Changed) {
            let _ = writeln!(text, "    by {} from {}", source.list, source.source);
            write_change(&mut text, "      ", &source.added, &source.removed);
        }
        if !rule.asns_lost.is_empty() {
            let _ = writeln!(text, "  ! nothing is listed any more for {}", gate::asn_list(&rule.asns_lost));
        }
    }
    if !report.changes {
        let _ = writeln!(text, "no change");
    }
    let _ = writeln!(text, "\ntables: {} in the kernel", table::bytes(report.table_bytes as u64));
    match &report.flows {
        None => text.push_str("live flows: not readable here (no /proc/net/nf_conntrack, or no permission)\n"),
        Some(flows) => write_flows(&mut text, flows),
    }
    for problem in &report.problems {
        let _ = writeln!(text, "problem: {problem}");
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn write_change(text: &mut String, indent: &str, added: &Change, removed: &Change) {
    for (sign, change) in [("+", added), ("-", removed)] {
        let Count { ipv4_prefixes, ipv4_addresses, ipv6_prefixes, .. } = change.count;
        let all = ipv4_prefixes + ipv6_prefixes;
        if all == 0 {
            continue;
        }
        let more = if change.prefixes.len() < all { ", ..." } else { "" };
        let _ = writeln!(
            text,
            "{indent}{sign} {ipv4_prefixes} IPv4 prefixes ({ipv4_addresses} addresses), {ipv6_prefixes} IPv6 prefixes: {}{more}",
            change.prefixes.join(", ")
        );
    }
}

fn write_flows(text: &mut String, flows: &FlowReport) {
    let bytes = flows.cut_bytes.map_or_else(String::new, |bytes| format!(", {} so far", table::bytes(bytes)));
    let _ = writeln!(text, "live flows: {} of {} would be cut{bytes}", flows.cut, flows.live);
    for row in &flows.rows {
        let bytes = row.bytes.map_or_else(|| "-".into(), table::bytes);
        let offloaded = if row.offloaded { "  (offloaded: hardware may carry it past the filter)" } else { "" };
        let _ = writeln!(
            text,
            "  {:<24} {:<5} {:<24} {bytes:>10}  rule \"{}\"{offloaded}",
            row.client, row.protocol, row.server, row.rule
        );
    }
    if flows.rows.len() < flows.cut {
        let _ = writeln!(text, "  ... and {} more (--full shows all)", flows.cut - flows.rows.len());
    }
}
