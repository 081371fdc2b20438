//! One table of a report as RFC 4180 has it. Figures are exact, times are RFC 3339.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{By, last};
use crate::history::query::{Counted, Report};
use crate::tally::Tally;

const END: &str = "\r\n";

pub(super) fn csv(report: &Report, by: By, limit: Option<usize>) -> String {
    let mut table = String::new();
    if let Some(serial) = report.serial {
        let previous = report.previous.as_deref().unwrap_or("none");
        // Writing to a string cannot fail.
        let _ = write!(table, "# weir report serial={serial} previous={previous}{END}");
    }
    let most = limit.unwrap_or(usize::MAX);
    match by {
        By::Rule => {
            put(&mut table, ["rule", "action", "out_packets", "out_bytes", "in_packets", "in_bytes"]);
            for row in report.rules.iter().take(most) {
                let figures = figures(&[row.out, row.in_]);
                put(&mut table, [row.name.clone(), row.action.as_str().into()].into_iter().chain(figures));
            }
        }
        By::Client => {
            put(&mut table, ["client"].into_iter().chain(COUNTED.into_iter().take(6)));
            for row in report.clients.iter().take(most) {
                let client = row.client.map(|client| client.to_string()).unwrap_or_default();
                let figures = figures(&[row.dropped, row.monitored, row.allowed]);
                put(&mut table, [client].into_iter().chain(figures));
            }
        }
        By::Device => {
            put(&mut table, ["device"].into_iter().chain(COUNTED));
            for row in report.devices.iter().take(most) {
                put(&mut table, [row.name.clone()].into_iter().chain(counted(&row.counted)));
            }
        }
        By::Hour => {
            put(&mut table, ["begin", "seconds"].into_iter().chain(COUNTED));
            for row in last(&report.hours, limit) {
                let begin =
                    Timestamp::from_second(row.begin).map_or_else(|_| row.begin.to_string(), |at| at.to_string());
                put(&mut table, [begin, row.secs.to_string()].into_iter().chain(counted(&row.counted)));
            }
        }
    }
    table
}

const COUNTED: [&str; 8] = [
    "dropped_packets",
    "dropped_bytes",
    "monitored_packets",
    "monitored_bytes",
    "allowed_packets",
    "allowed_bytes",
    "seen_packets",
    "seen_bytes",
];

fn counted(counted: &Counted) -> Vec<String> {
    figures(&[counted.dropped, counted.monitored, counted.allowed, counted.seen])
}

fn figures(tallies: &[Tally]) -> Vec<String> {
    tallies.iter().flat_map(|tally| [tally.packets.to_string(), tally.bytes.to_string()]).collect()
}

fn put(table: &mut String, fields: impl IntoIterator<Item = impl AsRef<str>>) {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            table.push(',');
        }
        let field = field.as_ref();
        if field.contains(['"', ',', '\r', '\n']) {
            table.push('"');
            table.push_str(&field.replace('"', "\"\""));
            table.push('"');
        } else {
            table.push_str(field);
        }
    }
    table.push_str(END);
}
