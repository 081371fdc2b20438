//! `weir explain`: why an address is blocked, or why not.

use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::Context as _;
use clap::Args;
use filter_common::decide::Action;
use serde::Serialize;

use super::selection::{Known, Selection};
use super::{Outcome, complain, print, print_json};
use crate::controller::day;
use crate::network;
use crate::prefix::Asn;
use crate::ruleset::{RuleAction, RuleDirection};

/// Say what happens to packets to and from an address, and which rules and lists say so
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir explain -c /etc/weir.toml 71.18.1.1     is it blocked, and which list says so\n  \
    weir explain --service tiktok 2605:340::1    before there is a configuration")]
pub(super) struct Explain {
    #[command(flatten)]
    selection: Selection,
    /// The IPv4 or IPv6 address
    address: IpAddr,
    /// Print JSON (docs/json.md)
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    address: IpAddr,
    verdict_out: &'static str,
    verdict_in: &'static str,
    rules: Vec<RuleReport>,
    why: String,
}

#[derive(Serialize)]
struct RuleReport {
    name: String,
    action: RuleAction,
    direction: RuleDirection,
    prefix: String,
    asn: Option<Asn>,
    list: String,
    source: String,
    /// Unix seconds.
    fetched: Option<i64>,
    /// Unix seconds.
    since: Option<i64>,
    /// Which packets the rule speaks for; null where for all.
    scope: Option<String>,
}

impl Explain {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let config = self.selection.load()?;
        let host = network::host().context("cannot read this host's addresses")?;
        let Known { resolved, guard, compiled, .. } = Known::new(&config, &self.selection.state_dir, &host)?;
        // Programs log ::ffff:192.0.2.1 for what is 192.0.2.1 on the wire.
        let address = self.address.to_canonical();
        let set = compiled.set_of(address);
        let actions = compiled.actions.get(set as usize).copied().unwrap_or_default();
        let guarded = match address {
            IpAddr::V4(address) => guard.v4.contains(address.into()),
            IpAddr::V6(address) => guard.v6.contains(address.into()),
        };
        let rules: Vec<_> = resolved
            .matches(address)
            .into_iter()
            .map(|found| RuleReport {
                name: found.rule.identity.name.clone(),
                action: found.rule.identity.action,
                direction: found.rule.identity.direction,
                prefix: found.prefix.to_string(),
                asn: Some(found.asn).filter(|&asn| asn != 0),
                list: found.list.name.clone(),
                source: found.list.source.clone(),
                fetched: Some(found.list.fetched).filter(|&time| time != 0),
                since: Some(found.since).filter(|&time| time != 0),
                scope: Some(found.rule.scope.to_string()).filter(|scope| !scope.is_empty()),
            })
            .collect();
        let report = Report {
            address,
            verdict_out: verdict(actions.out),
            verdict_in: verdict(actions.in_),
            why: why(&rules, guarded, actions.out.max(actions.in_), actions.scoped != 0),
            rules,
        };
        resolved.warnings.iter().for_each(|warning| complain(&format!("warning: {warning}")));
        if self.json {
            print_json(&report)?;
        } else {
            print(&text(&report))?;
        }
        Ok(Outcome::Done)
    }
}

fn verdict(action: u32) -> &'static str {
    if action == Action::Block as u32 { "drop" } else { "pass" }
}

fn why(rules: &[RuleReport], guarded: bool, action: u32, scoped: bool) -> String {
    if rules.is_empty() {
        return "no rule lists this address".into();
    }
    if guarded {
        return "the address is in the never-block set (this host, its gateways and resolvers, private and special \
                networks, never_block): no rule takes effect on it"
            .into();
    }
    let why = match action {
        1 => "an allow rule names it, which beats every block",
        2 => "only monitor rules name it: it is counted and passes",
        3 => "a block rule names it",
        _ => "no rule speaks for it",
    };
    let limit =
        if scoped { "; so for packets in the scope of every rule, others pass or meet fewer rules" } else { "" };
    format!("{why}{limit}")
}

/// Which source says so, since when, and when it was asked last; nothing where the list's name says it all.
fn provenance(rule: &RuleReport) -> String {
    if rule.source == rule.list || rule.list == "prefixes" {
        return String::new();
    }
    let since = rule.since.map_or_else(String::new, |since| format!(" since {}", day(since)));
    let fetched = rule.fetched.map_or_else(String::new, |fetched| format!(", fetched {}", day(fetched)));
    format!("; {}{since}{fetched}", rule.source)
}

fn text(report: &Report) -> String {
    let Report { address, verdict_out, verdict_in, why, .. } = report;
    let mut text = format!("{address}\n  to it:   {verdict_out}\n  from it: {verdict_in}\n  why:     {why}\n");
    for rule in &report.rules {
        let origin = rule.asn.map_or_else(String::new, |asn| format!(" (AS{asn})"));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  rule \"{}\" ({}, {}{}): {}{origin} in list \"{}\"{}",
            rule.name,
            rule.action.as_str(),
            rule.direction.as_str(),
            rule.scope.as_ref().map_or_else(String::new, |scope| format!(", only {scope}")),
            rule.prefix,
            rule.list,
            provenance(rule)
        );
    }
    text
}
