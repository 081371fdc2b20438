//! Which call a method and an address make, or why none. Pure: knows neither who asks nor how it is answered. What is here is
//! described in assets/openapi.json.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::Problem;
use super::query::Query;
use crate::control::{MAX_PAUSE, Request};
use crate::events::Recent;
use crate::history::SeriesBy;

/// A place that can be asked or told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A file of the page, or the API's description.
    Asset(&'static str),
    Status,
    History,
    Report,
    Explain,
    Events,
    Health,
    Metrics,
    Write(Write),
}

/// What changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Apply,
    Confirm,
    Rollback,
    Pause,
    Resume,
    Update,
}

/// All of them.
const ENDPOINTS: [(&str, Endpoint); 19] = [
    ("/", Endpoint::Asset("index.html")),
    ("/app.js", Endpoint::Asset("app.js")),
    ("/app.css", Endpoint::Asset("app.css")),
    ("/uplot.js", Endpoint::Asset("uplot.js")),
    ("/uplot.css", Endpoint::Asset("uplot.css")),
    ("/favicon.svg", Endpoint::Asset("favicon.svg")),
    ("/api/v1/openapi.json", Endpoint::Asset("openapi.json")),
    ("/api/v1/status", Endpoint::Status),
    ("/api/v1/history", Endpoint::History),
    ("/api/v1/report", Endpoint::Report),
    ("/api/v1/explain", Endpoint::Explain),
    ("/api/v1/events", Endpoint::Events),
    ("/api/v1/apply", Endpoint::Write(Write::Apply)),
    ("/api/v1/confirm", Endpoint::Write(Write::Confirm)),
    ("/api/v1/rollback", Endpoint::Write(Write::Rollback)),
    ("/api/v1/pause", Endpoint::Write(Write::Pause)),
    ("/api/v1/resume", Endpoint::Write(Write::Resume)),
    ("/api/v1/update", Endpoint::Write(Write::Update)),
    ("/healthz", Endpoint::Health),
];

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Everybody: it says nothing about this host.
    Nothing,
    /// Who may look.
    Read,
    /// Who may change.
    Write,
}

impl Endpoint {
    /// The endpoint at `path`, if it takes `method`.
    pub(super) fn at(method: &Method, path: &str) -> Result<Self, Problem> {
        let found = ENDPOINTS.iter().find(|(known, _)| *known == path).map(|&(_, endpoint)| endpoint);
        let metrics = (path == "/metrics").then_some(Self::Metrics);
        let Some(endpoint) = found.or(metrics) else {
            return Err(Problem::absent("there is no such page; the page is at /, the API at /api/v1/openapi.json"));
        };
        let writes = matches!(endpoint, Self::Write(_));
        match *method {
            Method::POST if writes => Ok(endpoint),
            Method::GET | Method::HEAD if !writes => Ok(endpoint),
            _ => Err(Problem::method(path, if writes { "POST" } else { "GET, HEAD" })),
        }
    }

    /// Who may call it.
    pub(super) fn need(self) -> Need {
        match self {
            Self::Asset(_) => Need::Nothing,
            Self::Write(_) => Need::Write,
            _ => Need::Read,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Send a file.
    Asset(&'static str),
    /// Ask the daemon.
    Ask(Request),
    /// The status, without single counters where they are not wanted.
    Status { counters: bool },
    /// Figures over time.
    History { span: Span, by: SeriesBy },
    /// The report.
    Report(Span),
    /// Whether all is well.
    Health,
    /// The metrics, in the format that the client takes.
    Metrics,
}

/// A part of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// The last of it.
    Last(Duration),
    /// From one Unix second to another; all there is where one is not given.
    Between { since: Option<i64>, until: Option<i64> },
}

/// The spans that have a name.
const RANGES: [(&str, Duration); 4] = [
    ("1h", Duration::from_hours(1)),
    ("24h", Duration::from_hours(24)),
    ("7d", Duration::from_hours(7 * 24)),
    ("30d", Duration::from_hours(30 * 24)),
];
/// How many events can be asked for: as many as are kept.
const MOST_EVENTS: i64 = 200;
/// The end of the year 9999, Unix seconds.
const LAST_SECOND: i64 = 253_402_300_799;
/// The longest wait for a confirmation.
const MAX_CONFIRM: u64 = 24 * 60 * 60;

impl Call {
    /// What a call of an endpoint that takes no body asks for.
    pub(super) fn read(endpoint: Endpoint, query: Option<&str>) -> Result<Self, Problem> {
        if let Endpoint::Asset(name) = endpoint {
            // Browsers and people add what they like to the address of a page.
            return Ok(Self::Asset(name));
        }
        let mut query = Query::parse(query.unwrap_or_default())?;
        let (call, known) = match endpoint {
            Endpoint::Status => {
                let counters = query.value("counters", "true or false")?.unwrap_or(true);
                (Self::Status { counters }, "counters")
            }
            Endpoint::History => {
                let by = query.value("by", "rule, direction or device")?.unwrap_or(SeriesBy::Rule);
                let span = span(&mut query)?;
                (Self::History { span, by }, "range, since, until, by")
            }
            Endpoint::Report => (Self::Report(span(&mut query)?), "range, since, until"),
            Endpoint::Explain => {
                let address: Option<IpAddr> = query.value("address", "an IPv4 or IPv6 address")?;
                let address = address.ok_or_else(|| Problem::bad("address is missing; give ?address=192.0.2.1"))?;
                (Self::Ask(Request::Explain { address }), "address")
            }
            Endpoint::Events => {
                let limit = query.number("limit", 1, MOST_EVENTS)?.unwrap_or(50);
                let limit = usize::try_from(limit).unwrap_or(Recent::MOST);
                (Self::Ask(Request::Recent { limit }), "limit")
            }
            Endpoint::Health => (Self::Health, "nothing"),
            Endpoint::Metrics => (Self::Metrics, "nothing"),
            Endpoint::Write(_) | Endpoint::Asset(_) => return Err(Problem::bad("this endpoint takes a body")),
        };
        query.end(known)?;
        Ok(call)
    }

    /// What a call that changes something asks for. `body` is a JSON object.
    pub(super) fn write(write: Write, query: Option<&str>, body: &[u8]) -> Result<Self, Problem> {
        Query::parse(query.unwrap_or_default())?.end("nothing; what a call needs stands in its body")?;
        Ok(Self::Ask(match write {
            Write::Apply => {
                let Apply { confirm } = object(body, "{} or {\"confirm\": SECONDS}")?;
                if let Some(secs) = confirm.filter(|secs| !(1..=MAX_CONFIRM).contains(secs)) {
                    return Err(Problem::bad(format!(
                        "confirm {secs} is not accepted; give 1 to {MAX_CONFIRM} seconds"
                    )));
                }
                Request::Apply { confirm }
            }
            Write::Pause => {
                let Pause { secs } = object(body, "{\"secs\": 300}")?;
                if !(1..=MAX_PAUSE.as_secs()).contains(&secs) {
                    let most = MAX_PAUSE.as_secs();
                    return Err(Problem::bad(format!("secs {secs} is not accepted; give 1 to {most} seconds")));
                }
                Request::Pause { secs }
            }
            Write::Update => {
                let Update { accept } = object(body, "{} or {\"accept\": [\"SOURCE\"]}")?;
                Request::Update { accept }
            }
            Write::Confirm => object(body, "{}").map(|Nothing {}| Request::Confirm)?,
            Write::Rollback => object(body, "{}").map(|Nothing {}| Request::Rollback)?,
            Write::Resume => object(body, "{}").map(|Nothing {}| Request::Resume)?,
        }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Apply {
    confirm: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pause {
    secs: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    #[serde(default)]
    accept: BTreeSet<String>,
}

/// Reads a JSON object. serde would take a list of the fields' values for one, too.
fn object<T: DeserializeOwned>(body: &[u8], accepted: &str) -> Result<T, Problem> {
    let refused = |problem: String| Problem::bad(format!("the body is not accepted: {problem}; send {accepted}"));
    let mut value: Value = serde_json::from_slice(body).map_err(|error| refused(error.to_string()))?;
    let Some(fields) = value.as_object_mut() else { return Err(refused("it is no JSON object".into())) };
    fields.values_mut().for_each(make_whole);
    serde_json::from_value(value).map_err(|error| refused(error.to_string()))
}

/// 300.0 is a whole number to JSON Schema, and to programs that know no others.
fn make_whole(value: &mut Value) {
    let whole = value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..=1e15).contains(number));
    if let Some(whole) = whole.and_then(|number| format!("{number:.0}").parse::<u64>().ok()) {
        *value = whole.into();
    }
}

/// since and until win over range. A span that ends before it begins holds nothing, and is no mistake.
fn span(query: &mut Query) -> Result<Span, Problem> {
    let since = query.number("since", 0, LAST_SECOND)?;
    let until = query.number("until", 0, LAST_SECOND)?;
    let Some(range) = query.text("range") else { return Ok(Span::Between { since, until }) };
    let found = RANGES.iter().find(|(name, _)| *name == range).map(|&(_, span)| Span::Last(span));
    let found =
        found.ok_or_else(|| Problem::bad(format!("range {range:?} is not accepted; give 1h, 24h, 7d or 30d")))?;
    Ok(if since.or(until).is_some() { Span::Between { since, until } } else { found })
}

#[cfg(test)]
mod tests;
