//! `weir explain`: why an address is blocked, or why not.

use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::Context as _;
use clap::Args;

use super::selection::{Known, Selection};
use super::{Outcome, complain, print, print_json};
use crate::controller::day;
use crate::network;
use crate::ruleset::explain::{Explained, Listing, Suspension, explain};

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

impl Explain {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let config = self.selection.load()?;
        let host = network::host().context("cannot read this host's addresses")?;
        let Known { resolved, guard, compiled, .. } = Known::new(&config, &self.selection.state_dir, &host)?;
        let report = explain(self.address, &resolved, &guard, &compiled, Suspension::default());
        resolved.warnings.iter().for_each(|warning| complain(&format!("warning: {warning}")));
        if self.json {
            print_json(&report)?;
        } else {
            print(&text(&report))?;
        }
        Ok(Outcome::Done)
    }
}

/// Which source says so, since when, and when it was asked last; nothing where the list's name says it all.
fn provenance(rule: &Listing) -> String {
    if rule.source == rule.list || rule.list == "prefixes" {
        return String::new();
    }
    let since = rule.since.map_or_else(String::new, |since| format!(" since {}", day(since)));
    let fetched = rule.fetched.map_or_else(String::new, |fetched| format!(", fetched {}", day(fetched)));
    format!("; {}{since}{fetched}", rule.source)
}

fn text(report: &Explained) -> String {
    let Explained { address, verdict_out, verdict_in, why, .. } = report;
    let mut text = format!(
        "{address}\n  to it:   {}\n  from it: {}\n  why:     {why}\n",
        verdict_out.as_str(),
        verdict_in.as_str()
    );
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
