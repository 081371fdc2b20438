//! A report as one HTML file: no script, nothing loaded, light and dark, fit for print. Every name is escaped.

use std::fmt::Write as _;

use super::chart::{bar, over_time};
use super::{CLIENTS, attached, client, moment, seal, span, uptime, versions};
use crate::history::query::{Counted, Report};
use crate::tally::{Tally, bytes, share};

/// Versions of a list that are shown.
const VERSIONS: usize = 20;
const STYLE: &str = include_str!("style.css");

pub(super) fn html(report: &Report, limit: Option<usize>) -> String {
    let mut page = String::new();
    let host = escape(&report.host);
    // Writing to a string cannot fail. The policy holds a browser to what the file is: nothing but its own style.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>weir report of {host}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n\
         <h1>What weir blocked on {host}</h1>\n<p>{} to {} UTC</p>\n</header>\n<main>\n",
        moment(report.since),
        moment(report.until)
    );
    tiles(&mut page, report);
    let _ = write!(page, "<section>\n<h2>Over time</h2>\n{}</section>\n", over_time(report));
    rules(&mut page, report, limit);
    clients(&mut page, report, limit.unwrap_or(CLIENTS));
    devices(&mut page, report);
    enforcement(&mut page, report);
    lists(&mut page, report);
    let _ = write!(page, "</main>\n<footer>\n");
    if let Some(seal) = seal(report) {
        let _ = writeln!(page, "<p>This is {}. <code>weir report verify FILE</code> checks it.</p>", escape(&seal));
    }
    let (made, weir) = (moment(report.created), escape(&report.weir));
    let _ = write!(page, "<p>Made {made} UTC by weir {weir}.</p>\n</footer>\n</body>\n</html>\n");
    page
}

fn tiles(page: &mut String, report: &Report) {
    let Counted { dropped, monitored, allowed, seen } = report.totals;
    page.push_str("<dl class=\"tiles\">\n");
    let mut tile = |name: &str, value: &str, below: &str| {
        let _ = writeln!(page, "<div><dt>{name}</dt><dd><b>{value}</b><span>{below}</span></dd></div>");
    };
    let of_seen =
        |tally: Tally| format!("{} packets, {} of what was seen", tally.packets, share(tally.bytes, seen.bytes));
    tile("Dropped", &bytes(dropped.bytes), &of_seen(dropped));
    tile("Would be dropped", &bytes(monitored.bytes), &of_seen(monitored));
    tile("Allowed", &bytes(allowed.bytes), &of_seen(allowed));
    tile("Seen", &bytes(seen.bytes), &format!("{} packets", seen.packets));
    let gaps = match report.enforcement.gaps.len() {
        0 => "no gap".into(),
        1 => "one gap".into(),
        count => format!("{count} gaps"),
    };
    let uptime = uptime(report);
    let (part, whole) = uptime.split_once(" of ").unwrap_or((&uptime, ""));
    tile("Enforced", part, &format!("of {whole}, {gaps}"));
    page.push_str("</dl>\n<section class=\"notes\">\n");
    for note in &report.notes {
        let _ = writeln!(page, "<p>{}</p>", escape(note));
    }
    page.push_str("</section>\n");
}

fn figures(tally: Tally) -> String {
    format!("<td>{}</td><td>{}</td>", tally.packets, bytes(tally.bytes))
}

fn rules(page: &mut String, report: &Report, limit: Option<usize>) {
    head(
        page,
        "Rules",
        "<th>Rule</th><th class=\"word\">Action</th><th class=\"chart\">Bytes</th><th>To packets</th><th>To bytes</th>\
        <th>From packets</th><th>From bytes</th>",
    );
    let sum = |out: Tally, in_: Tally| out.bytes.saturating_add(in_.bytes);
    let most = report.rules.iter().map(|row| sum(row.out, row.in_)).max().unwrap_or(0);
    for row in report.rules.iter().take(limit.unwrap_or(usize::MAX)) {
        let action = row.action.as_str();
        let _ = writeln!(
            page,
            "<tr><th>{}</th><td class=\"word\">{action}</td><td class=\"chart\">{}</td>{}{}</tr>",
            escape(&row.name),
            bar(action, sum(row.out, row.in_), most),
            figures(row.out),
            figures(row.in_)
        );
    }
    foot(page, report.rules.len(), limit.unwrap_or(usize::MAX));
}

fn clients(page: &mut String, report: &Report, most: usize) {
    head(
        page,
        "Clients",
        "<th>Client</th><th class=\"chart\">Dropped</th><th>Packets</th><th>Bytes</th>\
        <th>Would be</th><th>Allowed</th>",
    );
    let largest = report.clients.iter().map(|row| row.dropped.bytes).max().unwrap_or(0);
    for row in report.clients.iter().take(most) {
        let _ = writeln!(
            page,
            "<tr><th>{}</th><td class=\"chart\">{}</td>{}<td>{}</td><td>{}</td></tr>",
            client(row.client),
            bar("block", row.dropped.bytes, largest),
            figures(row.dropped),
            bytes(row.monitored.bytes),
            bytes(row.allowed.bytes)
        );
    }
    foot(page, report.clients.len(), most);
}

fn devices(page: &mut String, report: &Report) {
    head(
        page,
        "Devices",
        "<th>Device</th><th>Dropped packets</th><th>Bytes</th><th>Would be</th><th>Allowed</th>\
        <th>Seen</th>",
    );
    for row in &report.devices {
        let Counted { dropped, monitored, allowed, seen } = row.counted;
        let _ = writeln!(
            page,
            "<tr><th>{}</th>{}<td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&row.name),
            figures(dropped),
            bytes(monitored.bytes),
            bytes(allowed.bytes),
            bytes(seen.bytes)
        );
    }
    foot(page, report.devices.len(), usize::MAX);
}

fn enforcement(page: &mut String, report: &Report) {
    let enforcement = &report.enforcement;
    let paused = match enforcement.paused_secs {
        0 => String::new(),
        secs => format!(" Paused for {}: block rules only counted.", span(secs)),
    };
    let _ = writeln!(page, "<section>\n<h2>Enforcement</h2>\n<p>Enforced {}.{paused}</p>", uptime(report));
    page.push_str("<ul>\n");
    for (device, ways) in attached(report) {
        let _ = writeln!(page, "<li><b>{}</b>: {}</li>", escape(&device), escape(&ways.join(", then ")));
    }
    let mut degraded: Vec<&String> = enforcement.periods.iter().flat_map(|period| &period.standing.degraded).collect();
    degraded.sort_unstable();
    degraded.dedup();
    for line in degraded {
        let _ = writeln!(page, "<li>For a time: {}</li>", escape(line));
    }
    page.push_str("</ul>\n");
    if enforcement.gaps.is_empty() {
        page.push_str("<p>There was no gap.</p>\n</section>\n");
        return;
    }
    page.push_str("<div class=\"table\"><table class=\"words\">\n<thead><tr><th>Gap from (UTC)</th><th>For</th><th>Device</th><th>Why</th></tr></thead>\n<tbody>\n");
    for gap in &enforcement.gaps {
        let device = gap.device.as_deref().map_or_else(|| "all".into(), escape);
        let _ = writeln!(
            page,
            "<tr><th>{}</th><td>{}</td><td>{device}</td><td>{}</td></tr>",
            moment(gap.begin),
            span(gap.end - gap.begin),
            escape(&gap.why)
        );
    }
    page.push_str("</tbody>\n</table></div>\n</section>\n");
}

fn lists(page: &mut String, report: &Report) {
    if report.lists.is_empty() {
        return;
    }
    page.push_str("<section>\n<h2>Lists in force</h2>\n<div class=\"table\"><table class=\"words\">\n<thead><tr><th>List</th><th>Ranges</th><th>From (UTC)</th><th>Until</th><th>SHA-256 of what it lists</th></tr></thead>\n<tbody>\n");
    for (shown, more) in versions(&report.lists, VERSIONS) {
        for list in shown {
            let asn = list.asn.map_or_else(String::new, |asn| format!(" AS{asn}"));
            let _ = writeln!(
                page,
                "<tr><th>{}{asn}</th><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
                escape(&list.source),
                list.ranges,
                moment(list.from.max(report.since)),
                list.until.map_or_else(|| "the end".into(), moment),
                escape(&list.sha256)
            );
        }
        if more > 0 {
            let _ = writeln!(
                page,
                "<tr><th></th><td colspan=\"4\">and {more} versions before; weir report --format json has all</td></tr>"
            );
        }
    }
    page.push_str("</tbody>\n</table></div>\n</section>\n");
}

fn head(page: &mut String, title: &str, columns: &str) {
    let _ = write!(
        page,
        "<section>\n<h2>{title}</h2>\n<div class=\"table\"><table>\n<thead><tr>{columns}</tr></thead>\n<tbody>\n"
    );
}

fn foot(page: &mut String, rows: usize, shown: usize) {
    page.push_str("</tbody>\n</table></div>\n");
    if rows == 0 {
        page.push_str("<p>None.</p>\n");
    }
    if rows > shown {
        let _ = writeln!(page, "<p>... and {} more.</p>", rows - shown);
    }
    page.push_str("</section>\n");
}

/// Text in which nothing is markup. Control characters are shown as what they are.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}
