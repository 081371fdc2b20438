//! `weir explain`: why an address is blocked, or why not.

use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::Context as _;
use clap::Args;
use filter_common::decide::Action;
use serde::Serialize;

use super::selection::Selection;
use super::{Outcome, complain, print, print_json};
use crate::network;
use crate::prefix::Asn;
use crate::ruleset::{self, RuleAction, RuleDirection, Sets};
use crate::store;

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
}

impl Explain {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let config = self.selection.load()?;
        let resolved = ruleset::resolve(&config, &store::files(&config)?)?;
        let host = network::host().context("cannot read this host's addresses")?;
        let written = resolved.rules.iter().flat_map(|rule| &rule.written);
        let guard = ruleset::guard(&config.never_block, &host, written);
        let mut sets = Sets::default();
        let devices = network::indices().context("cannot list the network devices")?;
        let compiled = ruleset::compile(&resolved.rules(), &guard, &mut sets, &devices)?;
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
                name: found.rule.name.clone(),
                action: found.rule.action,
                direction: found.rule.direction,
                prefix: found.prefix.to_string(),
                asn: Some(found.asn).filter(|&asn| asn != 0),
                list: found.list.into(),
            })
            .collect();
        let report = Report {
            address,
            verdict_out: verdict(actions.out),
            verdict_in: verdict(actions.in_),
            why: why(&rules, guarded, actions.out.max(actions.in_)),
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

fn why(rules: &[RuleReport], guarded: bool, action: u32) -> String {
    if rules.is_empty() {
        return "no rule lists this address".into();
    }
    if guarded {
        return "the address is in the never-block set (this host, its gateways and resolvers, private and special \
                networks, never_block): no rule takes effect on it"
            .into();
    }
    match action {
        1 => "an allow rule names it, which beats every block".into(),
        2 => "only monitor rules name it: it is counted and passes".into(),
        3 => "a block rule names it".into(),
        _ => "no rule speaks for it".into(),
    }
}

fn text(report: &Report) -> String {
    let Report { address, verdict_out, verdict_in, why, .. } = report;
    let mut text = format!("{address}\n  to it:   {verdict_out}\n  from it: {verdict_in}\n  why:     {why}\n");
    for rule in &report.rules {
        let origin = rule.asn.map_or_else(String::new, |asn| format!(" (AS{asn})"));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  rule \"{}\" ({}, {}): {}{origin} in list \"{}\"",
            rule.name,
            rule.action.as_str(),
            rule.direction.as_str(),
            rule.prefix,
            rule.list
        );
    }
    text
}
