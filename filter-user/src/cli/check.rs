//! `weir check`: what a configuration means, before it runs.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::selection::{Known, Selection};
use super::{Outcome, print, print_json, table};
use crate::network;
use crate::prefix::{Address, AddressSet};
use crate::ruleset::compare::{Comparison, compare};
use crate::ruleset::{Guard, Rule, RuleAction, RuleDirection};

/// Validate a configuration: prefixes and addresses per rule, table memory, warnings
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir check -c /etc/weir.toml           every rule of the file, and what to look at twice\n  \
    weir check -c /etc/weir.toml --sources    where the sources disagree\n  \
    weir check --service tiktok --json     the same for a service, for a program to read\n\n\
    An invalid configuration is named as file:line and ends with exit code 2.")]
pub(super) struct Check {
    #[command(flatten)]
    selection: Selection,
    /// Show for each AS what each of its sources lists and no other does
    #[arg(long)]
    sources: bool,
    /// Print JSON (docs/json.md)
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    rules: Vec<RuleReport>,
    sets: usize,
    table_bytes: usize,
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<Comparison>>,
}

#[derive(Serialize)]
struct RuleReport {
    name: String,
    action: RuleAction,
    direction: RuleDirection,
    prefixes: Families<usize>,
    addresses: Families<u128>,
}

/// One figure for each family.
#[derive(Serialize)]
struct Families<T> {
    ipv4: T,
    ipv6: T,
}

impl Check {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let config = self.selection.load()?;
        let host = network::host().context("cannot read this host's addresses")?;
        let Known { resolved, guard, rules, sets, compiled, copies } =
            Known::new(&config, &self.selection.state_dir, &host)?;
        let mut warnings = resolved.warnings;
        warnings.extend(rules.iter().filter_map(|rule| guarded(rule, &guard)));
        let report = Report {
            rules: rules.iter().map(rule_report).collect(),
            sets: sets.len(),
            table_bytes: compiled.bytes(),
            warnings,
            sources: self.sources.then(|| compare(&config, &copies)),
        };
        if self.json {
            print_json(&report)?;
        } else {
            print(&text(&report))?;
        }
        Ok(Outcome::Done)
    }
}

fn rule_report(rule: &Rule) -> RuleReport {
    RuleReport {
        name: rule.identity.name.clone(),
        action: rule.identity.action,
        direction: rule.identity.direction,
        prefixes: Families { ipv4: rule.v4.cidrs().count(), ipv6: rule.v6.cidrs().count() },
        addresses: Families { ipv4: rule.v4.addresses(), ipv6: rule.v6.addresses() },
    }
}

/// A warning where addresses of a rule are never blocked.
fn guarded(rule: &Rule, guard: &Guard) -> Option<String> {
    if rule.identity.action == RuleAction::Allow {
        return None;
    }
    let v4 = rule.v4.intersect(&guard.v4);
    let v6 = rule.v6.intersect(&guard.v6);
    let first = first_prefix(&v4).or_else(|| first_prefix(&v6))?;
    Some(format!(
        "rule \"{}\": {} IPv4 and {} IPv6 addresses are in the never-block set and stay reachable, {first} first",
        rule.identity.name,
        v4.addresses(),
        v6.addresses()
    ))
}

fn first_prefix<A: Address>(set: &AddressSet<A>) -> Option<ipnet::IpNet> {
    set.cidrs().next()
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:<16} {:<8} {:<5} {:>10} {:>14} {:>10} {:>28}",
        "rule", "action", "dir", "v4 pfx", "v4 addresses", "v6 pfx", "v6 addresses"
    );
    for rule in &report.rules {
        let _ = writeln!(
            text,
            "{:<16} {:<8} {:<5} {:>10} {:>14} {:>10} {:>28}",
            rule.name,
            rule.action.as_str(),
            rule.direction.as_str(),
            rule.prefixes.ipv4,
            rule.addresses.ipv4,
            rule.prefixes.ipv6,
            rule.addresses.ipv6
        );
    }
    let _ = writeln!(text, "\ntables: {} in the kernel", table::bytes(report.table_bytes as u64));
    if let Some(sources) = &report.sources {
        text.push_str(&disagreements(sources));
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// A row for each AS and source.
fn disagreements(sources: &[Comparison]) -> String {
    if sources.is_empty() {
        return "sources: no AS is listed by more than one\n".into();
    }
    let mut text = format!(
        "\n{:<12} {:>14} {:>14} {:>8} {:>8}  {:<22} source\n",
        "AS", "v4 addresses", "only here", "v6 pfx", "only here", "largest only here"
    );
    for row in sources {
        let largest = row.largest_alone.map_or_else(|| "-".into(), |prefix| prefix.to_string());
        let _ = writeln!(
            text,
            "{:<12} {:>14} {:>14} {:>8} {:>8}  {largest:<22} {}",
            format!("AS{}", row.asn),
            row.ipv4_addresses,
            row.ipv4_alone,
            row.ipv6_prefixes,
            row.ipv6_alone,
            row.source
        );
    }
    text
}
