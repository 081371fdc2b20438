//! The metrics: a status and a few figures of this process as the text that Prometheus scrapes. Pure: what is counted is
//! read when it is asked for, nothing is kept in between.
//!
//! Names and units follow the conventions of Prometheus; series are bounded: by the rules and devices of the
//! configuration, and for clients by `[metrics] clients`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::controller::ListState;
use crate::report::{Counter, Status};
use crate::ruleset::RuleAction;
use crate::tally::Tally;

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, version 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that a client who sends this `Accept` wants.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let wanted = |kind: &str| accept.split(',').any(|one| one.trim().starts_with(kind));
        if wanted("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// What it is called in `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What is measured of the process itself. 0 where it cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// CPU time used.
    pub cpu_seconds: f64,
    /// Memory in use.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// How many there may be.
    pub max_fds: u64,
    /// When it started, Unix seconds.
    pub start_seconds: f64,
}

/// Everything that is shown.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What the daemon says.
    pub status: Status,
    /// The process; `None` for a textfile, whose collector has figures of these names for itself.
    pub process: Option<Process>,
    /// Devices that are in a flow table with hardware offload: packets of its flows pass no hook.
    pub offloaded: BTreeSet<String>,
    /// How many clients have series of their own.
    pub clients: u32,
}

/// The text for `figures`.
#[must_use]
pub fn render(figures: Figures, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition(Arc::new(figures))));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    match format {
        Format::OpenMetrics => text,
        Format::Text => as_text(&text),
    }
}

/// `OpenMetrics` as Prometheus' older format: there a counter is described under the name of its samples, units have no line,
/// and neither has the end.
fn as_text(open: &str) -> String {
    let kinds: BTreeMap<&str, &str> =
        open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let described = line.strip_prefix("# ").and_then(|line| line.split_once(' '));
        if let Some((what, (name, rest))) = described.and_then(|(what, line)| Some((what, line.split_once(' ')?))) {
            let suffix = if kinds.get(name) == Some(&"counter") { "_total" } else { "" };
            let _ = writeln!(text, "# {what} {name}{suffix} {rest}");
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

struct Exposition(Arc<Figures>);

impl fmt::Debug for Exposition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Exposition")
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(&mut encoder);
        let figures = &*self.0;
        packets(&mut out, &figures.status)?;
        clients(&mut out, figures)?;
        devices(&mut out, figures)?;
        lists(&mut out, &figures.status)?;
        state(&mut out, &figures.status)?;
        figures.process.map_or(Ok(()), |figures| process(&mut out, figures))
    }
}

/// One family after the other.
struct Out<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Out<'_, '_> {
    fn family<L: EncodeLabelSet, M: EncodeMetric>(
        &mut self,
        (name, help, unit): (&str, &str, Option<&Unit>),
        kind: MetricType,
        series: impl IntoIterator<Item = (L, M)>,
    ) -> fmt::Result {
        let mut metrics = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, metric) in series {
            metric.encode(metrics.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let series = series.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.family((name, help, None), MetricType::Counter, series)
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let series = series.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family((name, help, None), MetricType::Gauge, series)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [(NO_LABELS, value)])
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.gauges(name, help, [(NO_LABELS, value)])
    }
}

const NO_LABELS: [(&str, &str); 0] = [];

type RuleLabels = [(&'static str, String); 4];

/// By rule, device, direction and family; zeros for what may come, so that a first packet is a step and no appearance.
fn by_rule(status: &Status, action: RuleAction) -> BTreeMap<RuleLabels, Tally> {
    let labels = |rule: &str, device: &str, direction: &str, family: &str| {
        [
            ("rule", rule.to_owned()),
            ("device", device.to_owned()),
            ("direction", direction.to_owned()),
            ("family", family.to_owned()),
        ]
    };
    let mut series = BTreeMap::new();
    for rule in status.rules.iter().filter(|rule| rule.action == action && !rule.retired) {
        for device in &status.devices {
            for (direction, family) in [("out", "ipv4"), ("out", "ipv6"), ("in", "ipv4"), ("in", "ipv6")] {
                series.insert(labels(&rule.name, &device.name, direction, family), Tally::default());
            }
        }
    }
    for counter in status.counters.iter().filter(|counter| counter.action == action && counter.total) {
        let Counter { rule, device, direction, family, packets, bytes, .. } = counter;
        *series.entry(labels(rule, device, direction, family)).or_default() +=
            Tally { packets: *packets, bytes: *bytes };
    }
    series
}

fn packets(out: &mut Out<'_, '_>, status: &Status) -> fmt::Result {
    let kinds = [
        (RuleAction::Block, "blocked", "that block rules list and that were dropped"),
        (RuleAction::Monitor, "would_block", "that monitor rules list: a block rule would have dropped them"),
        (RuleAction::Allow, "allowed", "that an allow rule passed"),
    ];
    for (action, name, what) in kinds {
        let series = by_rule(status, action);
        let of = |pick: fn(Tally) -> u64| series.iter().map(move |(labels, &tally)| (labels.clone(), pick(tally)));
        out.counters(
            &format!("weir_{name}_packets"),
            &format!("Packets {what}; one in several rules counts for each"),
            of(|tally| tally.packets),
        )?;
        out.counters(
            &format!("weir_{name}_bytes"),
            &format!("Bytes of frames {what}; attempted, not saved"),
            of(|tally| tally.bytes),
        )?;
    }
    out.counter("weir_dropped_packets", "Packets dropped, each once", status.dropped.packets)?;
    out.counter("weir_dropped_bytes", "Bytes of frames dropped, each once", status.dropped.bytes)?;
    let rules = status.rules.iter().filter_map(|rule| {
        Some(([("rule", rule.name.clone()), ("action", rule.action.as_str().to_owned())], rule.last? as f64))
    });
    out.gauges("weir_rule_last_hit_timestamp_seconds", "When a rule was last met", rules)
}

fn clients(out: &mut Out<'_, '_>, figures: &Figures) -> fmt::Result {
    let Figures { status, clients, .. } = figures;
    let table = status.client_table;
    out.gauge("weir_clients_room", "Places in the kernel's table of clients", table.room as f64)?;
    out.gauge("weir_clients_held", "Places taken", table.held as f64)?;
    out.counter("weir_clients_evicted", "Places that were taken away for others", table.evicted)?;
    out.counter("weir_clients_crowded_packets", "Listed packets whose client got no place", table.crowded)?;
    let top = status.clients.iter().take(*clients as usize);
    out.counters(
        "weir_client_blocked_bytes",
        "Bytes of frames dropped by client, the largest clients only",
        top.map(|row| ([("client", row.client.to_string())], row.dropped.bytes)),
    )?;
    out.counter("weir_events_reported", "Single drops reported", status.events.reported)?;
    out.counter("weir_events_suppressed", "Single drops over the rate", status.events.suppressed)?;
    out.counter("weir_events_lost", "Single drops that found no room or no taker", status.events.lost)
}

fn devices(out: &mut Out<'_, '_>, figures: &Figures) -> fmt::Result {
    let devices = &figures.status.devices;
    let label = |name: &str| [("device", name.to_owned())];
    out.counters(
        "weir_seen_packets",
        "Packets at the ingress hook, listed or not",
        devices.iter().map(|device| (label(&device.name), device.seen.packets)),
    )?;
    out.counters(
        "weir_seen_bytes",
        "Bytes of frames at the ingress hook",
        devices.iter().map(|device| (label(&device.name), device.seen.bytes)),
    )?;
    out.counters(
        "weir_parse_packets",
        "Packets at the ingress hook by what they carried",
        devices.iter().flat_map(|device| {
            let parsed = device.parsed;
            let kinds = [
                ("ipv4", parsed.ipv4),
                ("ipv6", parsed.ipv6),
                ("non_ip", parsed.non_ip),
                ("truncated", parsed.truncated),
            ];
            kinds.map(|(reason, count)| ([("device", device.name.clone()), ("reason", reason.to_owned())], count))
        }),
    )?;
    out.gauges(
        "weir_attach_info",
        "How the program is attached",
        devices.iter().map(|device| ([("device", device.name.clone()), ("kind", device.attach.clone())], 1.0)),
    )?;
    out.gauges(
        "weir_attach_live",
        "1 unless the program is gone, or packets arrive that it does not see",
        devices.iter().map(|device| (label(&device.name), f64::from(u8::from(device.state != "dead")))),
    )?;
    out.gauges(
        "weir_hw_offload_active",
        "1 where flows of the device may be forwarded by hardware, past every hook",
        devices
            .iter()
            .map(|device| (label(&device.name), f64::from(u8::from(figures.offloaded.contains(&device.name))))),
    )
}

fn lists(out: &mut Out<'_, '_>, status: &Status) -> fmt::Result {
    let lists = || {
        status.lists.iter().map(|list| {
            let asn = list.asn.map_or_else(String::new, |asn| asn.to_string());
            ([("list", list.source.clone()), ("asn", asn)], list)
        })
    };
    out.gauges(
        "weir_list_prefixes",
        "Ranges in the copy of a list that is in force",
        lists().map(|(labels, list)| (labels, list.ranges as f64)),
    )?;
    out.gauges(
        "weir_list_last_success_timestamp_seconds",
        "When a list's source last answered; 0 for never",
        lists().map(|(labels, list)| (labels, list.fetched.unwrap_or(0) as f64)),
    )?;
    out.counters(
        "weir_list_refresh_failures",
        "Questions to a list's source that failed, or whose answer was refused",
        lists().map(|(labels, list)| (labels, list.failures_total)),
    )?;
    let every = [ListState::Good, ListState::Failing, ListState::Stale, ListState::Missing];
    out.gauges(
        "weir_list_state",
        "1 for the state that a list is in",
        lists().flat_map(|([list, asn], row)| {
            every.map(|state| {
                let labels = [list.clone(), asn.clone(), ("state", state.as_str().to_owned())];
                (labels, f64::from(u8::from(row.state == state)))
            })
        }),
    )
}

fn state(out: &mut Out<'_, '_>, status: &Status) -> fmt::Result {
    out.gauge("weir_generation", "Serial of the ruleset that is live", status.generation as f64)?;
    out.gauge("weir_table_bytes", "Memory of the prefix tables in the kernel", status.table_bytes as f64)?;
    out.gauge("weir_paused", "1 while block rules only count", f64::from(u8::from(status.paused_secs.is_some())))?;
    out.gauge("weir_degraded", "Things that are not in force or not kept", status.degraded.len() as f64)?;
    out.gauges("weir_build_info", "The version that runs", [([("version", status.version.clone())], 1.0)])
}

fn process(out: &mut Out<'_, '_>, process: Process) -> fmt::Result {
    let seconds = ConstCounter::new(process.cpu_seconds);
    let cpu = ("process_cpu_seconds", "CPU time used", None);
    out.family(cpu, MetricType::Counter, [(NO_LABELS, seconds)])?;
    out.gauge("process_resident_memory_bytes", "Memory in use", process.resident_bytes as f64)?;
    out.gauge("process_open_fds", "Open file descriptors", process.open_fds as f64)?;
    out.gauge("process_max_fds", "File descriptors that may be open", process.max_fds as f64)?;
    out.gauge("process_start_time_seconds", "When the process started", process.start_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{ClientTotals, DeviceStatus, Parsed, RuleTotals};
    use crate::ruleset::{RuleDirection, RuleIdentity};

    fn figures(clients: u32) -> Figures {
        let rule = |name: &str, action| {
            let identity = RuleIdentity { name: name.into(), action, direction: RuleDirection::Both };
            RuleTotals { last: Some(1_700_000_000), ..RuleTotals::new(&identity, false) }
        };
        let counter = |hook: &str, action, total| Counter {
            device: "lan0".into(),
            hook: hook.into(),
            rule: if action == RuleAction::Block { "tik\"tok\\\n" } else { "seen" }.into(),
            action,
            direction: "out".into(),
            family: "ipv4".into(),
            total,
            packets: 3,
            bytes: 300,
        };
        let device = DeviceStatus {
            name: "lan0".into(),
            attach: "xdp-native".into(),
            state: "live".into(),
            egress: true,
            seen: Tally { packets: 9, bytes: 900 },
            parsed: Parsed { ipv4: 8, ipv6: 0, non_ip: 1, truncated: 0 },
        };
        let client = |last: u8| ClientTotals {
            client: [10, 0, 0, last].into(),
            dropped: Tally { packets: 1, bytes: 100 },
            monitored: Tally::default(),
            allowed: Tally::default(),
        };
        let status = Status {
            version: "0.1.0".into(),
            generation: 7,
            devices: vec![device],
            rules: vec![rule("tik\"tok\\\n", RuleAction::Block), rule("seen", RuleAction::Monitor)],
            counters: vec![
                counter("ingress", RuleAction::Block, true),
                counter("egress", RuleAction::Block, true),
                counter("ingress", RuleAction::Monitor, true),
                counter("egress", RuleAction::Monitor, false),
            ],
            clients: vec![client(1), client(2)],
            ..Status::default()
        };
        Figures { status, process: Some(Process::default()), offloaded: BTreeSet::from(["lan0".into()]), clients }
    }

    #[test]
    fn packets_that_pass_two_hooks_count_once_and_names_are_escaped() {
        let text = render(figures(0), Format::Text);
        let sample = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
        assert_eq!(
            sample(r#"weir_blocked_packets_total{rule="tik\"tok\\\n",device="lan0",direction="out""#),
            r#"weir_blocked_packets_total{rule="tik\"tok\\\n",device="lan0",direction="out",family="ipv4"} 6"#,
            "{text}"
        );
        assert_eq!(
            sample(r#"weir_would_block_bytes_total{rule="seen",device="lan0",direction="out",family="ipv4"}"#),
            r#"weir_would_block_bytes_total{rule="seen",device="lan0",direction="out",family="ipv4"} 300"#
        );
        assert!(
            text.contains(
                r#"weir_would_block_packets_total{rule="seen",device="lan0",direction="in",family="ipv6"} 0"#
            )
        );
        assert!(text.contains(r#"weir_hw_offload_active{device="lan0"} 1"#));
        assert!(!text.contains("weir_client_blocked_bytes_total{"), "off by default");
    }

    #[test]
    fn clients_are_capped() {
        let text = render(figures(1), Format::Text);
        assert_eq!(text.matches("weir_client_blocked_bytes_total{").count(), 1);
    }

    #[test]
    fn both_formats_describe_each_family_once_and_in_their_way() {
        let (text, open) = (render(figures(1), Format::Text), render(figures(1), Format::OpenMetrics));
        assert!(open.ends_with("# EOF\n") && !text.contains("# EOF") && !text.contains("# UNIT"));
        assert!(open.contains("# TYPE weir_blocked_packets counter\n"), "{open}");
        assert!(text.contains("# TYPE weir_blocked_packets_total counter\n"), "{text}");
        let samples =
            |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(samples(&text), samples(&open));
        let mut described: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let all = described.len();
        described.dedup();
        assert_eq!(described.len(), all);
        for sample in samples(&text) {
            let name = sample.split(['{', ' ']).next().unwrap();
            assert!(described.iter().any(|family| family.split(' ').next() == Some(name)), "{name}");
        }
    }

    #[test]
    fn the_format_is_the_clients_choice() {
        let scraper = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(scraper), Format::OpenMetrics);
        assert_eq!(Format::accepted("text/html, */*"), Format::Text);
        assert_eq!(Format::accepted(""), Format::Text);
    }
}
