//! How evidence is kept and shown: the tables `[counters]`, `[events]`, `[history]`, `[http]` and `[metrics]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;
use super::place::Place;

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidenceConfig {
    /// Counters in the kernel.
    pub counters: CountersConfig,
    /// Single drops.
    pub events: EventsConfig,
    /// What is kept over time.
    pub history: HistoryConfig,
    /// The page, the API and the metrics.
    pub http: HttpConfig,
    /// Metrics beside the page's.
    pub metrics: MetricsConfig,
}

/// `[counters]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountersConfig {
    /// Room for clients on each CPU: each takes a place for every set of rules, hook and direction. 0 counts none. Takes
    /// effect at the start.
    pub clients: u32,
}

impl Default for CountersConfig {
    fn default() -> Self {
        Self { clients: 1024 }
    }
}

/// `[events]`: drops and would-be drops, one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsConfig {
    /// Events a second that each CPU may report; the rest is counted as suppressed. 0 reports none.
    pub rate: u32,
    /// How many of them may come at once.
    pub burst: u32,
    /// Write them to standard output.
    pub stdout: bool,
    /// Write them to the system's log.
    pub syslog: bool,
    /// Write them to this file.
    pub file: Option<PathBuf>,
    /// Bytes after which the file is turned over.
    pub max_bytes: u64,
    /// How many full files are kept beside it.
    pub keep: u32,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self { rate: 10, burst: 50, stdout: false, syslog: false, file: None, max_bytes: 8 << 20, keep: 3 }
    }
}

/// Where the history is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// In memory on OpenWrt, else on disk.
    #[default]
    Auto,
    /// In the state directory.
    Disk,
    /// In the run directory, which a reboot empties.
    Ram,
    /// Nowhere: counters begin at 0 when weir starts.
    Off,
}

/// `[history]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryConfig {
    /// Where.
    pub keep: Keep,
    /// Days for which each minute, hour and day has figures of its own.
    pub days: Resolutions,
    /// Clients that have figures of their own in each interval; the others are added up.
    pub clients: u32,
    /// The most the history may take; the oldest goes first.
    pub max_bytes: u64,
}

/// Something for each resolution of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolutions {
    /// For minutes.
    pub minute: u32,
    /// For hours.
    pub hour: u32,
    /// For days.
    pub day: u32,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        let days = Resolutions { minute: 2, hour: 35, day: 730 };
        Self { keep: Keep::Auto, days, clients: 100, max_bytes: 64 << 20 }
    }
}

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where to listen; nowhere for `"off"`.
    pub listen: Option<SocketAddr>,
    /// Names by which the page is reached, beside IP addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The file that holds the token; else one is made in the state directory.
    pub token: Option<PathBuf>,
}

/// Where the page is, unless the configuration says otherwise: only for this host.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9846);

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: Some(LISTEN), hosts: Vec::new(), token: None }
    }
}

/// `[metrics]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsConfig {
    /// How many clients have series of their own, those with the most bytes first.
    pub clients: u32,
    /// The file that a node exporter's textfile collector reads.
    pub textfile: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCounters {
    clients: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEvents {
    rate: Option<Spanned<i64>>,
    burst: Option<Spanned<i64>>,
    stdout: Option<bool>,
    syslog: Option<bool>,
    file: Option<Spanned<String>>,
    max_bytes: Option<Spanned<i64>>,
    keep: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHistory {
    #[serde(default)]
    keep: Keep,
    minute_days: Option<Spanned<i64>>,
    hour_days: Option<Spanned<i64>>,
    day_days: Option<Spanned<i64>>,
    clients: Option<Spanned<i64>>,
    max_bytes: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttp {
    listen: Option<Spanned<String>>,
    #[serde(default)]
    hosts: Vec<Spanned<String>>,
    token: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetrics {
    clients: Option<Spanned<i64>>,
    textfile: Option<Spanned<String>>,
}

/// The tables as they stand in the file.
pub(super) struct Raw {
    pub(super) counters: RawCounters,
    pub(super) events: RawEvents,
    pub(super) history: RawHistory,
    pub(super) http: RawHttp,
    pub(super) metrics: RawMetrics,
}

/// Checks them.
pub(super) fn evidence(place: &Place<'_>, raw: &Raw) -> Result<EvidenceConfig, ConfigError> {
    let number = |key: &str, given: &Option<Spanned<i64>>, default: u64, least: u64, most: u64| {
        let Some(given) = given else { return Ok(default) };
        let value = u64::try_from(*given.get_ref()).ok().filter(|value| (least..=most).contains(value));
        value.ok_or_else(|| {
            place
                .error(&given.span(), format!("{key} {} is out of range; accepted: {least} to {most}", given.get_ref()))
        })
    };
    let small = |key: &str, given: &Option<Spanned<i64>>, default: u32, least: u32, most: u32| {
        let value = number(key, given, default.into(), least.into(), most.into())?;
        Ok::<u32, ConfigError>(u32::try_from(value).unwrap_or(most))
    };
    let path = |given: &Option<Spanned<String>>| given.as_ref().map(|given| place.path(given));
    let Raw { counters, events, history, http, metrics } = raw;
    let by_default = EvidenceConfig::default();
    Ok(EvidenceConfig {
        counters: CountersConfig {
            clients: small("counters: clients", &counters.clients, by_default.counters.clients, 0, 1 << 20)?,
        },
        events: EventsConfig {
            rate: small("events: rate", &events.rate, by_default.events.rate, 0, 10_000)?,
            burst: small("events: burst", &events.burst, by_default.events.burst, 1, 10_000)?,
            stdout: events.stdout.unwrap_or(by_default.events.stdout),
            syslog: events.syslog.unwrap_or(by_default.events.syslog),
            file: path(&events.file),
            max_bytes: number("events: max_bytes", &events.max_bytes, by_default.events.max_bytes, 4096, 1 << 40)?,
            keep: small("events: keep", &events.keep, by_default.events.keep, 0, 100)?,
        },
        history: HistoryConfig {
            keep: history.keep,
            days: Resolutions {
                minute: small("history: minute_days", &history.minute_days, by_default.history.days.minute, 1, 366)?,
                hour: small("history: hour_days", &history.hour_days, by_default.history.days.hour, 1, 3660)?,
                day: small("history: day_days", &history.day_days, by_default.history.days.day, 1, 36600)?,
            },
            clients: small("history: clients", &history.clients, by_default.history.clients, 0, 10_000)?,
            max_bytes: number(
                "history: max_bytes",
                &history.max_bytes,
                by_default.history.max_bytes,
                1 << 20,
                1 << 40,
            )?,
        },
        http: HttpConfig {
            listen: match &http.listen {
                None => by_default.http.listen,
                Some(given) => listen(given.get_ref()).map_err(|problem| place.error(&given.span(), problem))?,
            },
            hosts: place.each("http: hosts", &http.hosts, |name| host(name))?,
            token: path(&http.token),
        },
        metrics: MetricsConfig {
            clients: small("metrics: clients", &metrics.clients, by_default.metrics.clients, 0, 100)?,
            textfile: path(&metrics.textfile),
        },
    })
}

fn listen(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let refusal = || {
        format!(
            "http: listen \"{text}\" is no address; accepted: such as \"{LISTEN}\" or \"[::1]:{}\", or \"off\"",
            LISTEN.port()
        )
    };
    text.parse().map(Some).map_err(|_| refusal())
}

/// A host name as a browser sends it: without a port.
fn host(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.is_empty() || text.len() > 253 || !text.chars().all(good) {
        return Err(format!("\"{text}\" is no host name; accepted: such as \"router.lan\", without a port"));
    }
    Ok(text.to_ascii_lowercase())
}
