//! Counters as text for people. JSON is for programs.

use std::fmt::Write as _;

use crate::controller::{ListStatus, day};
use crate::report::{RuleTotals, Status};
pub(super) use crate::tally::bytes;
use crate::tally::{Tally, share};

/// One line with the totals.
pub(super) fn line(status: &Status) -> String {
    let Status { generation, dropped, monitored, seen, .. } = status;
    let monitored = if *monitored == Tally::default() {
        String::new()
    } else {
        format!(", would drop {} packets {}", monitored.packets, bytes(monitored.bytes))
    };
    format!(
        "generation {generation}: dropped {} packets {}{monitored}, {} of {} seen",
        dropped.packets,
        bytes(dropped.bytes),
        share(dropped.bytes, seen.bytes),
        bytes(seen.bytes)
    )
}

/// Devices, rules and totals.
pub(super) fn status(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:<16} {:<12} {:<9} {:>12} {:>12}", "device", "attach", "state", "packets", "bytes");
    for device in &status.devices {
        let _ = writeln!(
            text,
            "{:<16} {:<12} {:<9} {:>12} {:>12}",
            device.name,
            device.attach,
            device.state,
            device.seen.packets,
            bytes(device.seen.bytes)
        );
    }
    text.push('\n');
    text.push_str(&rules(&status.rules, &status.resting));
    text.push('\n');
    if !status.lists.is_empty() {
        text.push_str(&lists(&status.lists));
        text.push('\n');
    }
    for problem in &status.degraded {
        let _ = writeln!(text, "NOT ENFORCED: {problem}");
    }
    if let Some(seconds) = status.paused_secs {
        let _ = writeln!(text, "PAUSED: block rules only count for {seconds} s more (weir resume ends it)");
    }
    if let Some(next) = status.next_switch {
        let _ = writeln!(text, "schedules switch next at {}", day(next));
    }
    if let Some(seconds) = status.unconfirmed_secs {
        let _ = writeln!(text, "the last change goes back in {seconds} s unless confirmed (weir confirm)");
    }
    if status.rejected.is_some() {
        let _ = writeln!(text, "the last change was rolled back; the configuration before it is in force");
    }
    text.push_str(&line(status));
    text.push('\n');
    text
}

/// A row for each document of a source, its problem below it.
fn lists(lists: &[ListStatus]) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{:<24} {:<8} {:>8} {:<21} {:<21}", "list", "state", "ranges", "fetched", "changed");
    let when = |time: Option<i64>| time.map_or_else(|| "never".into(), day);
    for list in lists {
        let name = list.asn.map_or_else(|| list.source.clone(), |asn| format!("{} AS{asn}", list.source));
        let _ = writeln!(
            text,
            "{name:<24} {:<8} {:>8} {:<21} {:<21}",
            list.state.as_str(),
            list.ranges,
            when(list.fetched),
            when(list.changed)
        );
        if let Some(problem) = &list.problem {
            let _ = writeln!(text, "  failed {} times: {problem}; asked again in {} s", list.failures, list.next_secs);
        }
    }
    text
}

/// A row for each rule. `resting` names those that their schedule switches off.
pub(super) fn rules(rules: &[RuleTotals], resting: &[String]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<16} {:<9} {:>12} {:>12} {:>12} {:>12}",
        "rule", "action", "out packets", "out bytes", "in packets", "in bytes"
    );
    for rule in rules {
        let _ = writeln!(
            text,
            "{:<16} {:<9} {:>12} {:>12} {:>12} {:>12}{}",
            rule.name,
            rule.action.as_str(),
            rule.out.packets,
            bytes(rule.out.bytes),
            rule.in_.packets,
            bytes(rule.in_.bytes),
            match rule {
                RuleTotals { retired: true, .. } => "  (no longer configured)",
                rule if resting.contains(&rule.name) => "  (off by schedule)",
                _ => "",
            }
        );
    }
    text
}
