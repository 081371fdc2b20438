//! A report for a terminal of 80 columns.

use std::fmt::Write as _;

use super::{By, CLIENTS, attached, client, last, moment, seal, span, uptime, versions};
use crate::history::query::{Counted, ListInForce, Report};
use crate::tally::{Tally, bytes, share};

const COLUMNS: usize = 80;
/// What a name takes in a table; longer ones get a line of their own.
const NAME: usize = 24;
/// Versions of a list that are shown.
const VERSIONS: usize = 3;

pub(super) fn text(report: &Report, by: Option<By>, limit: Option<usize>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "weir report of {}", plain(&report.host));
    let _ = writeln!(text, "from {} to {} UTC", moment(report.since), moment(report.until));
    let _ = writeln!(text, "made {} UTC by weir {}", moment(report.created), plain(&report.weir));
    if let Some(seal) = seal(report) {
        wrap(&mut text, "", &seal);
    }
    text.push('\n');
    totals(&mut text, &report.totals);
    for table in by.map_or(vec![By::Rule, By::Client, By::Device], |by| vec![by]) {
        text.push('\n');
        match table {
            By::Rule => rules(&mut text, report, limit),
            By::Client => clients(&mut text, report, limit.unwrap_or(if by.is_some() { usize::MAX } else { CLIENTS })),
            By::Device => {
                let rows = report.devices.iter().take(limit.unwrap_or(usize::MAX));
                counted(&mut text, "device", rows.map(|row| (plain(&row.name), &row.counted)));
            }
            By::Hour => {
                let rows = last(&report.hours, limit).iter();
                counted(&mut text, "from (UTC)", rows.map(|row| (moment(row.begin), &row.counted)));
            }
        }
    }
    text.push('\n');
    enforcement(&mut text, report);
    lists(&mut text, report);
    text.push('\n');
    for note in &report.notes {
        wrap(&mut text, "note: ", note);
    }
    text
}

fn totals(text: &mut String, totals: &Counted) {
    let _ = writeln!(text, "{:<NAME$} {:>14} {:>12}  of what was seen", "", "packets", "bytes");
    let rows = [
        ("dropped", totals.dropped),
        ("would be dropped", totals.monitored),
        ("allowed", totals.allowed),
        ("seen", totals.seen),
    ];
    for (name, tally) in rows {
        let part =
            if name == "seen" { String::new() } else { format!("  {:>8}", share(tally.bytes, totals.seen.bytes)) };
        let _ = writeln!(text, "{name:<NAME$} {:>14} {:>12}{part}", tally.packets, bytes(tally.bytes));
    }
}

/// The name, on a line of its own where it is long.
fn name(text: &mut String, name: &str) {
    if name.chars().count() > NAME {
        wrap(text, "", name);
        let _ = write!(text, "{:<NAME$}", "");
    } else {
        let _ = write!(text, "{name:<NAME$}");
    }
}

fn rules(text: &mut String, report: &Report, limit: Option<usize>) {
    let _ = writeln!(
        text,
        "{:<NAME$} {:<7} {:>11} {:>10} {:>11} {:>10}",
        "rule", "action", "out packets", "bytes", "in packets", "bytes"
    );
    for row in report.rules.iter().take(limit.unwrap_or(usize::MAX)) {
        name(text, &plain(&row.name));
        let [out, in_] = [row.out, row.in_].map(pair);
        let _ = writeln!(text, " {:<7} {out} {in_}", row.action.as_str());
    }
}

fn pair(tally: Tally) -> String {
    format!("{:>11} {:>10}", tally.packets, bytes(tally.bytes))
}

fn clients(text: &mut String, report: &Report, most: usize) {
    let _ =
        writeln!(text, "{:<NAME$} {:>11} {:>10} {:>10} {:>10}", "client", "dropped", "bytes", "would be", "allowed");
    for row in report.clients.iter().take(most) {
        name(text, &client(row.client));
        let _ = writeln!(
            text,
            " {} {:>10} {:>10}",
            pair(row.dropped),
            bytes(row.monitored.bytes),
            bytes(row.allowed.bytes)
        );
    }
    if report.clients.len() > most {
        let _ = writeln!(text, "... and {} more (--limit {})", report.clients.len() - most, report.clients.len());
    }
}

fn counted<'a>(text: &mut String, what: &str, rows: impl Iterator<Item = (String, &'a Counted)>) {
    let _ = writeln!(
        text,
        "{what:<NAME$} {:>11} {:>10} {:>10} {:>10} {:>10}",
        "dropped", "bytes", "would be", "allowed", "seen"
    );
    for (row, counted) in rows {
        name(text, &row);
        let _ = writeln!(
            text,
            " {} {:>10} {:>10} {:>10}",
            pair(counted.dropped),
            bytes(counted.monitored.bytes),
            bytes(counted.allowed.bytes),
            bytes(counted.seen.bytes)
        );
    }
}

fn enforcement(text: &mut String, report: &Report) {
    let enforcement = &report.enforcement;
    let _ = writeln!(text, "enforced {}", uptime(report));
    if enforcement.paused_secs > 0 {
        let _ = writeln!(text, "paused for {}: block rules only counted", span(enforcement.paused_secs));
    }
    for gap in &enforcement.gaps {
        let device = gap.device.as_ref().map_or_else(String::new, |device| format!("{device}: "));
        let line = format!("{} for {}: {device}{}", moment(gap.begin), span(gap.end - gap.begin), gap.why);
        wrap(text, "GAP ", &line);
    }
    for (device, ways) in attached(report) {
        wrap(text, "device ", &format!("{device}: {}", ways.join(", then ")));
    }
    let mut degraded: Vec<&String> = enforcement.periods.iter().flat_map(|period| &period.standing.degraded).collect();
    degraded.sort_unstable();
    degraded.dedup();
    for line in degraded {
        wrap(text, "for a time ", line);
    }
}

fn lists(text: &mut String, report: &Report) {
    for (shown, more) in versions(&report.lists, VERSIONS) {
        for list in shown {
            let until = list.until.map_or_else(|| "the end".into(), moment);
            let from = moment(list.from.max(report.since));
            let line = format!("{}: {} ranges, in force from {from} to {until}", document(list), list.ranges);
            wrap(text, "list ", &line);
            wrap(text, "     ", &format!("SHA-256 {}", list.sha256));
        }
        if let (Some(list), true) = (shown.first(), more > 0) {
            let line = format!("and {more} versions of {} before (--format json has all)", document(list));
            wrap(text, "     ", &line);
        }
    }
}

fn document(list: &ListInForce) -> String {
    list.asn.map_or_else(|| list.source.clone(), |asn| format!("{} AS{asn}", list.source))
}

/// Writes words in lines of at most 80 columns, those after the first one indented.
fn wrap(text: &mut String, first: &str, words: &str) {
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in plain(words).split(' ').filter(|word| !word.is_empty()) {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            let _ = writeln!(text, "{line}");
            line = "    ".into();
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    let _ = writeln!(text, "{line}");
}

/// What a name holds must not reach the terminal as a command.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        if c.is_control() { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    plain
}
