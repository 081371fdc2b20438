//! A report as text, JSON, CSV or HTML. Pure: adds nothing up but what a chart shows, and writes no file.

use std::str::FromStr;

use jiff::Timestamp;

use crate::history::query::{ListInForce, Report};

mod chart;
mod csv;
mod html;
mod text;

/// What a report is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a terminal of 80 columns.
    #[default]
    Text,
    /// For programs; docs/json.md.
    Json,
    /// One table, as RFC 4180 has it.
    Csv,
    /// One file for a browser or a printer, without scripts.
    Html,
}

/// What has rows of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Each rule and action.
    Rule,
    /// Each client.
    Client,
    /// Each device.
    Device,
    /// Each hour; each day where hours are no longer kept.
    Hour,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "html" => Ok(Self::Html),
            other => Err(format!("\"{other}\" is not known; accepted: text, json, csv, html")),
        }
    }
}

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rule" => Ok(Self::Rule),
            "client" => Ok(Self::Client),
            "device" => Ok(Self::Device),
            "hour" => Ok(Self::Hour),
            other => Err(format!("\"{other}\" is not known; accepted: rule, client, device, hour")),
        }
    }
}

/// Clients that people are shown, unless they ask for more.
const CLIENTS: usize = 20;

/// The report in this format. `by` chooses the table of CSV (rules, where it is `None`) and leaves only that table in text;
/// JSON and HTML have all of them. `limit` is the most rows of a table: the first ones, of hours the last ones.
#[must_use]
pub fn render(report: &Report, format: Format, by: Option<By>, limit: Option<usize>) -> String {
    match format {
        Format::Text => text::text(report, by, limit),
        Format::Json => {
            let mut report = report.clone();
            report.clients.truncate(limit.unwrap_or(usize::MAX));
            // Numbers and text always have a JSON form.
            serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
        }
        Format::Csv => csv::csv(report, by.unwrap_or(By::Rule), limit),
        Format::Html => html::html(report, limit),
    }
}

/// A moment in UTC, to the second.
fn moment(unix: i64) -> String {
    Timestamp::from_second(unix)
        .map_or_else(|_| unix.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// A length of time in its two largest units.
pub(crate) fn span(secs: i64) -> String {
    let (days, hours, minutes, seconds) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60, secs % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds == 0 => "under a second".into(),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// The last `limit` of them.
fn last<T>(rows: &[T], limit: Option<usize>) -> &[T] {
    let skipped = rows.len().saturating_sub(limit.unwrap_or(usize::MAX));
    rows.get(skipped..).unwrap_or_default()
}

/// A client's address, or what stands for the others.
fn client(address: Option<std::net::IpAddr>) -> String {
    address.map_or_else(|| "(not told apart)".into(), |address| address.to_string())
}

/// What a sealed report says about its place.
fn seal(report: &Report) -> Option<String> {
    let serial = report.serial?;
    let previous = report.previous.as_deref();
    Some(match previous {
        Some(previous) => format!("report {serial} of this host, after the one with SHA-256 {previous}"),
        None => format!("report {serial} of this host, with none before it"),
    })
}

/// In how much of the time everything was enforced.
fn uptime(report: &Report) -> String {
    let enforcement = &report.enforcement;
    let whole = (enforcement.covered_secs + enforcement.gap_secs).max(0);
    // Never 100 % with a gap.
    let share = if whole == 0 { 0.0 } else { enforcement.covered_secs as f64 * 100.0 / whole as f64 };
    let share = if enforcement.gap_secs > 0 { share.min(99.999) } else { share };
    format!("{share:.3} % of {}", span(whole))
}

/// The last `most` versions of each document, and how many more there are of it.
fn versions(lists: &[ListInForce], most: usize) -> Vec<(&[ListInForce], usize)> {
    let documents = lists.chunk_by(|one, next| (&one.source, one.asn) == (&next.source, next.asn));
    documents.map(|versions| (last(versions, Some(most)), versions.len().saturating_sub(most))).collect()
}

/// How each device was attached, each way once, in the order of time.
fn attached(report: &Report) -> Vec<(String, Vec<String>)> {
    let mut devices: std::collections::BTreeMap<&str, Vec<String>> = std::collections::BTreeMap::new();
    for period in &report.enforcement.periods {
        for (name, hooked) in &period.standing.devices {
            let egress = if hooked.egress { ", egress too" } else { "" };
            let way = format!("{} ({}{egress})", hooked.attach, hooked.state);
            let ways = devices.entry(name).or_default();
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
    }
    devices.into_iter().map(|(name, ways)| (name.to_owned(), ways)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::account::{Hooked, Standing};
    use crate::history::query::{Balance, ClientRow, Counted, DeviceRow, Enforcement, Gap, HourRow, Period, RuleRow};
    use crate::ruleset::RuleAction;
    use crate::tally::Tally;

    /// A report whose every name is hostile.
    pub(super) fn hostile() -> Report {
        let name = || String::from("<script>alert(\"1\")</script>&'\u{1b}[2J,\r\n=x");
        let tally = |packets, bytes| Tally { packets, bytes };
        let counted =
            Counted { dropped: tally(3, 300), monitored: tally(2, 20), allowed: tally(1, 10), seen: tally(9, 9000) };
        let hooked = Hooked { attach: name(), state: "live".into(), egress: true };
        Report {
            version: 1,
            host: name(),
            weir: name(),
            created: 1_763_946_000,
            since: 1_763_942_400,
            until: 1_763_946_000,
            totals: counted,
            rules: vec![RuleRow { name: name(), action: RuleAction::Block, out: tally(3, 300), in_: tally(0, 0) }],
            clients: vec![
                ClientRow {
                    client: Some("2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap()),
                    dropped: tally(3, 300),
                    monitored: tally(2, 20),
                    allowed: tally(0, 0),
                },
                ClientRow { client: None, dropped: tally(0, 0), monitored: tally(0, 0), allowed: tally(1, 10) },
            ],
            devices: vec![DeviceRow { name: name(), counted }],
            hours: vec![HourRow { begin: 1_763_942_400, secs: 3600, counted }],
            enforcement: Enforcement {
                covered_secs: 3500,
                gap_secs: 100,
                paused_secs: 7,
                gaps: vec![Gap { begin: 1_763_942_500, end: 1_763_942_600, device: Some(name()), why: name() }],
                periods: vec![Period {
                    begin: 1_763_942_400,
                    end: 1_763_946_000,
                    standing: Standing {
                        lists: vec![],
                        version: name(),
                        started: 1_763_942_000,
                        generation: 1,
                        paused: false,
                        config: Some(name()),
                        devices: BTreeMap::from([(name(), hooked)]),
                        degraded: vec![name()],
                    },
                }],
            },
            lists: vec![ListInForce {
                source: name(),
                asn: Some(64496),
                sha256: name(),
                ranges: 7,
                changed: None,
                from: 1_763_942_400,
                until: None,
            }],
            balance: Balance { equal: true, ..Balance::default() },
            notes: vec![name()],
            previous: Some("0".repeat(64)),
            serial: Some(2),
        }
    }

    #[test]
    fn no_name_breaks_out_of_the_page() {
        let page = render(&hostile(), Format::Html, None, None);
        assert!(!page.contains("<script") && !page.contains("alert(\"1"), "{page}");
        assert!(page.matches("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;").count() >= 8, "{page}");
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("url("), "nothing is loaded");
        assert!(page.chars().all(|c| c == '\n' || !c.is_control()), "no control characters");
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn text_fits_80_columns_and_carries_no_terminal_commands() {
        let mut report = hostile();
        let text = render(&report, Format::Text, None, None);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        // With names as they are in practice, and figures as large as they come.
        let large = Tally { packets: 99_999_999_999, bytes: 1 << 50 };
        for row in &mut report.rules {
            (row.name, row.out, row.in_) = ("social-media-of-children".into(), large, large);
        }
        (report.host, report.weir) = ("router.example.org".into(), "0.1.0".into());
        report.lists[0].source = "spamhaus-drop".into();
        report.lists[0].sha256 = "0".repeat(64);
        report.devices[0].name = "lan0".into();
        report.devices[0].counted.seen = large;
        report.totals.dropped = large;
        report.enforcement.gaps[0].device = Some("lan0".into());
        report.enforcement.gaps[0].why = "packets arrived and the program did not see them".into();
        let hooked = Hooked { attach: "xdp-generic".into(), state: "unproven".into(), egress: true };
        report.enforcement.periods[0].standing.devices = BTreeMap::from([("lan0".into(), hooked)]);
        report.enforcement.periods[0].standing.degraded = vec!["word ".repeat(40)];
        report.notes = vec!["word ".repeat(40)];
        for by in [None, Some(By::Rule), Some(By::Client), Some(By::Device), Some(By::Hour)] {
            let text = render(&report, Format::Text, by, None);
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", line.chars().count());
            }
            assert!(text.contains("report 2 of this host"), "{text}");
        }
    }

    #[test]
    fn csv_is_quoted_where_it_must_be() {
        let table = render(&hostile(), Format::Csv, None, None);
        let name = "\"<script>alert(\"\"1\"\")</script>&'\u{1b}[2J,\r\n=x\"";
        let previous = "0".repeat(64);
        assert_eq!(
            table,
            format!(
                "# weir report serial=2 previous={previous}\r\n\
                 rule,action,out_packets,out_bytes,in_packets,in_bytes\r\n{name},block,3,300,0,0\r\n"
            )
        );
        let clients = render(&Report { serial: None, ..hostile() }, Format::Csv, Some(By::Client), Some(1));
        assert_eq!(
            clients,
            "client,dropped_packets,dropped_bytes,monitored_packets,monitored_bytes,allowed_packets,allowed_bytes\r\n\
             2001:db8:1234:5678:9abc:def0:1234:5678,3,300,2,20,0,0\r\n"
        );
        let hours = render(&Report { serial: None, ..hostile() }, Format::Csv, Some(By::Hour), None);
        assert!(hours.ends_with("\r\n2025-11-24T00:00:00Z,3600,3,300,2,20,1,10,9,9000\r\n"), "{hours}");
    }

    #[test]
    fn a_list_that_changes_often_does_not_bury_the_rest() {
        let mut report = hostile();
        let list = report.lists[0].clone();
        report.lists = (0..500).map(|from| ListInForce { source: "drop".into(), from, ..list.clone() }).collect();
        report.lists.push(ListInForce { source: "other".into(), ..list });
        let text = render(&report, Format::Text, None, None);
        assert_eq!(text.matches("SHA-256").count(), 1 + 3 + 1, "the seal's, three versions, and the other list");
        assert!(text.contains("and 497 versions of drop AS64496 before (--format json has all)"), "{text}");
        assert!(render(&report, Format::Html, None, None).contains("and 480 versions before"));
        assert!(render(&report, Format::Json, None, None).matches("\"sha256\"").count() == 501);
    }

    #[test]
    fn enforcement_with_a_gap_is_never_whole() {
        let mut report = hostile();
        report.enforcement.covered_secs = 10_000_000;
        report.enforcement.gap_secs = 1;
        assert_eq!(uptime(&report), "99.999 % of 115 d 17 h");
        report.enforcement.gap_secs = 0;
        assert_eq!(uptime(&report), "100.000 % of 115 d 17 h");
        assert_eq!([span(59), span(3599), span(86_399)], ["59 s", "59 min 59 s", "23 h 59 min"]);
    }
}
