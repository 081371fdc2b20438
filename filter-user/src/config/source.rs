//! Where lists come from: the tables `[[source]]`, `[asn]` and `[fetch]`, and the sources weir knows by name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::place::Place;
use super::{ConfigError, RuleConfig, parse_duration};
use crate::source::gate::Limits;

/// Where the bytes of a source are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// An HTTP or HTTPS URL. `{asn}` in it stands for an AS number: one document for each AS.
    Url(String),
    /// A file, `{asn}` likewise: how an air-gapped site brings lists in.
    File(PathBuf),
    /// `host:port` of an IRRd server: which prefixes its registry holds for an AS. For cross-checks only.
    Irr(String),
}

impl Location {
    /// True when there is one document for each AS.
    #[must_use]
    pub fn is_per_asn(&self) -> bool {
        match self {
            Self::Url(url) => url.contains(ASN_MARK),
            Self::File(path) => path.to_string_lossy().contains(ASN_MARK),
            Self::Irr(_) => true,
        }
    }
}

/// What stands for the AS number in a location.
pub const ASN_MARK: &str = "{asn}";

/// A named source of lists or of ASN tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// Its name: lower case, digits and dashes.
    pub name: String,
    /// Where its bytes are.
    pub location: Location,
    /// How long a copy is good before the source is asked again.
    pub refresh: Duration,
    /// What a new copy must keep to.
    pub limits: Limits,
    /// The most bytes it may have, as they come over the wire.
    pub max_bytes: u64,
}

/// Which sources say what an AS originates, and how they are combined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsnConfig {
    /// Files with ASN tables.
    pub tables: Vec<PathBuf>,
    /// Names of sources.
    pub sources: Vec<String>,
    /// How many of the tables and sources must list an address for an AS; 1 is the union.
    pub quorum: usize,
    /// The source of RPKI payloads that origins are held against.
    pub rpki: Option<String>,
    /// The IRR source that results are compared with.
    pub irr: Option<String>,
}

impl AsnConfig {
    /// True where nothing is named: the embedded snapshot answers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.sources.is_empty()
    }
}

/// How documents are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchConfig {
    /// How publishers can reach the operator; sent as part of the User-Agent.
    pub contact: Option<String>,
    /// A PEM file of certificates that are trusted beside the web's.
    pub ca: Option<PathBuf>,
    /// The wait after a first failure; doubled by each further one.
    pub retry: Duration,
    /// The most time one document may take.
    pub timeout: Duration,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self { contact: None, ca: None, retry: Duration::from_mins(1), timeout: Duration::from_mins(5) }
    }
}

/// A source that is known without a `[[source]]`.
struct Known {
    name: &'static str,
    url: &'static str,
    hours: u64,
    max_bytes: u64,
}

const MIB: u64 = 1 << 20;

/// Terms, rhythm and limits of each: docs/sources.md.
const KNOWN: [Known; 7] = [
    Known { name: "bgptools", url: "https://bgp.tools/table.jsonl", hours: 24, max_bytes: 256 * MIB },
    Known {
        name: "ipverse",
        url: "https://raw.githubusercontent.com/ipverse/as-ip-blocks/master/as/{asn}/aggregated.json",
        hours: 24,
        max_bytes: 8 * MIB,
    },
    Known { name: "iptoasn", url: "https://iptoasn.com/data/ip2asn-combined.tsv.gz", hours: 24, max_bytes: 64 * MIB },
    Known {
        name: "ripestat",
        url: "https://stat.ripe.net/data/announced-prefixes/data.json?resource=AS{asn}&sourceapp=weir",
        hours: 8,
        max_bytes: 16 * MIB,
    },
    Known { name: "rpki", url: "https://console.rpki-client.org/vrps.json", hours: 6, max_bytes: 192 * MIB },
    Known { name: "spamhaus-drop", url: "https://www.spamhaus.org/drop/drop_v4.json", hours: 24, max_bytes: 8 * MIB },
    Known {
        name: "spamhaus-drop-v6",
        url: "https://www.spamhaus.org/drop/drop_v6.json",
        hours: 24,
        max_bytes: 8 * MIB,
    },
];

/// The one known registry; a comparison that is a day old serves.
const RADB: (&str, &str) = ("radb", "whois.radb.net:43");

/// The sources that need no `[[source]]`.
#[must_use]
pub fn known() -> BTreeMap<String, SourceConfig> {
    let source = |name: &str, location, hours, max_bytes| {
        let refresh = Duration::from_secs(hours * 3600);
        (name.to_owned(), SourceConfig { name: name.into(), location, refresh, limits: Limits::default(), max_bytes })
    };
    let urls =
        KNOWN.iter().map(|known| source(known.name, Location::Url(known.url.into()), known.hours, known.max_bytes));
    urls.chain([source(RADB.0, Location::Irr(RADB.1.into()), 24, 8 * MIB)]).collect()
}

/// The known source that must not be asked by strangers.
const NEEDS_CONTACT: &str = "bgptools";
/// What a source may have where the configuration does not say.
const MAX_BYTES: u64 = 64 * MIB;
const REFRESH: Duration = Duration::from_hours(24);
/// Publishers ban clients that ask more often; a server of one's own is asked as often as one likes.
const SHORTEST_REFRESH: Duration = Duration::from_mins(15);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    name: Spanned<String>,
    url: Option<Spanned<String>>,
    file: Option<Spanned<String>>,
    irr: Option<Spanned<String>>,
    refresh: Option<Spanned<String>>,
    shrink: Option<u32>,
    grow: Option<u32>,
    #[serde(default)]
    may_be_empty: bool,
    #[serde(default)]
    allow_wide: bool,
    max_bytes: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAsn {
    #[serde(default)]
    tables: Vec<Spanned<String>>,
    #[serde(default)]
    sources: Vec<Spanned<String>>,
    quorum: Option<Spanned<i64>>,
    rpki: Option<Spanned<String>>,
    irr: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFetch {
    contact: Option<String>,
    ca: Option<Spanned<String>>,
    retry: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
}

/// All sources by name: the known ones, and over them those of the configuration.
pub(super) fn sources(place: &Place<'_>, raw: &[RawSource]) -> Result<BTreeMap<String, SourceConfig>, ConfigError> {
    let mut sources = known();
    let mut seen = BTreeSet::new();
    for raw in raw {
        let name = raw.name.get_ref();
        let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 40 || !name.bytes().all(fine) {
            let problem = format!("source name \"{name}\" must be 1 to 40 lower-case letters, digits and dashes");
            return Err(place.error(&raw.name.span(), problem));
        }
        if !seen.insert(name) {
            return Err(place.error(&raw.name.span(), format!("source \"{name}\" is defined twice: keep one")));
        }
        sources.insert(name.clone(), source(place, raw, name)?);
    }
    Ok(sources)
}

fn source(place: &Place<'_>, raw: &RawSource, name: &str) -> Result<SourceConfig, ConfigError> {
    let owner = format!("source \"{name}\"");
    let location = match (&raw.url, &raw.file, &raw.irr) {
        (Some(url), None, None) => {
            if host_of(url.get_ref()).is_none() {
                let problem = format!("{owner}: url: \"{}\" is no http:// or https:// URL", url.get_ref());
                return Err(place.error(&url.span(), problem));
            }
            Location::Url(url.get_ref().clone())
        }
        (None, Some(file), None) => Location::File(place.path(file)),
        (None, None, Some(irr)) => {
            let port = irr.get_ref().rsplit_once(':').filter(|(host, _)| !host.is_empty());
            if port.is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                let problem = format!("{owner}: irr: \"{}\" is no host:port, such as whois.radb.net:43", irr.get_ref());
                return Err(place.error(&irr.span(), problem));
            }
            Location::Irr(irr.get_ref().clone())
        }
        _ => return Err(place.error(&raw.name.span(), format!("{owner} needs one of url, file and irr"))),
    };
    let refresh = duration(place, &format!("{owner}: refresh"), raw.refresh.as_ref(), REFRESH)?;
    if let (Location::Url(url), Some(span)) = (&location, raw.refresh.as_ref().map(Spanned::span))
        && refresh < SHORTEST_REFRESH
        && !host_of(url).is_some_and(is_own)
    {
        let problem = format!("{owner}: refresh: at least 15m, for publishers lock out who asks more often");
        return Err(place.error(&span, problem));
    }
    let default = Limits::default();
    Ok(SourceConfig {
        name: name.into(),
        location,
        refresh,
        limits: Limits {
            shrink: raw.shrink.unwrap_or(default.shrink),
            grow: raw.grow.unwrap_or(default.grow),
            may_be_empty: raw.may_be_empty,
            allow_wide: raw.allow_wide,
        },
        max_bytes: raw.max_bytes.unwrap_or(MAX_BYTES),
    })
}

/// The host of an HTTP URL, without user and port; IPv6 in its brackets.
#[must_use]
pub fn host_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    (!host.is_empty() && host.bytes().all(fine)).then_some(host)
}

/// Whether a host is this machine or in its own networks.
fn is_own(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost"
        || address.is_ok_and(|address| match address {
            std::net::IpAddr::V4(address) => address.is_loopback() || address.is_private(),
            std::net::IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
        })
}

/// A source that a rule or `[asn]` names.
pub(super) fn check_source(
    sources: &BTreeMap<String, SourceConfig>,
    fetch: &FetchConfig,
    name: &str,
) -> Result<String, String> {
    if !sources.contains_key(name) {
        let known: Vec<&str> = sources.keys().map(String::as_str).collect();
        return Err(format!("no source is called \"{name}\"; accepted: {}, or a [[source]]", known.join(", ")));
    }
    if name == NEEDS_CONTACT && fetch.contact.is_none() {
        return Err(format!("source \"{name}\" answers only to clients that say who they are: set [fetch] contact"));
    }
    Ok(name.into())
}

/// A source that a rule names as a list.
pub(super) fn check_list(
    sources: &BTreeMap<String, SourceConfig>,
    fetch: &FetchConfig,
    name: &str,
) -> Result<String, String> {
    let name = check_source(sources, fetch, name)?;
    if sources.get(&name).is_some_and(|source| source.location.is_per_asn()) {
        return Err(format!("source \"{name}\" answers for one AS at a time: write asns, and name it under [asn]"));
    }
    Ok(name)
}

pub(super) fn asn(
    place: &Place<'_>,
    raw: &RawAsn,
    sources: &BTreeMap<String, SourceConfig>,
    fetch: &FetchConfig,
    rules: &[RuleConfig],
) -> Result<AsnConfig, ConfigError> {
    // One document is read in one way, and counts once for the quorum.
    let mut used: BTreeSet<&str> = rules.iter().flat_map(|rule| &rule.lists).map(String::as_str).collect();
    for name in raw.sources.iter().chain(&raw.rpki).chain(&raw.irr) {
        if !used.insert(name.get_ref()) {
            let problem = format!(
                "asn: \"{}\" is named twice, here and before or in a rule's lists: keep one, or define another [[source]]",
                name.get_ref()
            );
            return Err(place.error(&name.span(), problem));
        }
    }
    let mut tables = BTreeSet::new();
    if let Some(twice) = raw.tables.iter().find(|path| !tables.insert(path.get_ref())) {
        let problem = format!("asn: tables: \"{}\" is listed twice: keep one", twice.get_ref());
        return Err(place.error(&twice.span(), problem));
    }
    let check = |name: &String| check_source(sources, fetch, name);
    let one = |key: &str, name: Option<&Spanned<String>>| {
        let names = place.each(&format!("asn: {key}"), name.map_or(&[][..], std::slice::from_ref), check)?;
        Ok(names.into_iter().next())
    };
    let names = place.each("asn: sources", &raw.sources, check)?;
    let config = AsnConfig {
        tables: raw.tables.iter().map(|path| place.path(path)).collect(),
        sources: names,
        quorum: 1,
        rpki: one("rpki", raw.rpki.as_ref())?,
        irr: one("irr", raw.irr.as_ref())?,
    };
    let is_irr = |name: &str| matches!(sources.get(name).map(|source| &source.location), Some(Location::Irr(_)));
    if let Some(wrong) = raw.sources.iter().find(|name| is_irr(name.get_ref())) {
        let problem = format!(
            "asn: sources: \"{}\" is a routing registry, where anyone can register anything: name it as irr, to compare",
            wrong.get_ref()
        );
        return Err(place.error(&wrong.span(), problem));
    }
    if let Some(irr) = raw.irr.as_ref().filter(|name| !is_irr(name.get_ref())) {
        let problem = format!("asn: irr: source \"{}\" has no irr = \"host:port\"", irr.get_ref());
        return Err(place.error(&irr.span(), problem));
    }
    let per_asn = |name: &str| sources.get(name).is_some_and(|source| source.location.is_per_asn());
    if let Some(rpki) = raw.rpki.as_ref().filter(|name| per_asn(name.get_ref())) {
        let problem =
            format!("asn: rpki: source \"{}\" answers for one AS at a time: name one document", rpki.get_ref());
        return Err(place.error(&rpki.span(), problem));
    }
    let Some(quorum) = &raw.quorum else { return Ok(config) };
    let most = (config.tables.len() + config.sources.len()).max(1);
    if let Some(quorum) = usize::try_from(*quorum.get_ref()).ok().filter(|&quorum| (1..=most).contains(&quorum)) {
        Ok(AsnConfig { quorum, ..config })
    } else {
        let problem = format!("asn: quorum: accepted: 1 to the {most} tables and sources that [asn] names");
        Err(place.error(&quorum.span(), problem))
    }
}

pub(super) fn fetch(place: &Place<'_>, raw: &RawFetch) -> Result<FetchConfig, ConfigError> {
    let default = FetchConfig::default();
    Ok(FetchConfig {
        contact: raw.contact.clone(),
        ca: raw.ca.as_ref().map(|path| place.path(path)),
        retry: duration(place, "fetch: retry", raw.retry.as_ref(), default.retry)?,
        timeout: duration(place, "fetch: timeout", raw.timeout.as_ref(), default.timeout)?,
    })
}

fn duration(
    place: &Place<'_>,
    key: &str,
    text: Option<&Spanned<String>>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let Some(text) = text else { return Ok(default) };
    parse_duration(text.get_ref()).map_err(|problem| place.error(&text.span(), format!("{key}: {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_from_urls() {
        for (url, host) in [
            ("https://bgp.tools/table.jsonl", Some("bgp.tools")),
            ("http://user:pass@[::1]:8080/x", Some("[::1]")),
            ("http://127.0.0.1:80?x", Some("127.0.0.1")),
            ("ftp://host/", None),
            ("https:///path", None),
            ("https://a b/", None),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
        assert!(is_own("127.0.0.1") && is_own("[::1]") && is_own("10.1.2.3") && is_own("localhost"));
        assert!(!is_own("192.0.2.1") && !is_own("bgp.tools") && !is_own("localhost.example"));
    }

    #[test]
    fn the_known_sources_are_sound() {
        for (name, source) in known() {
            assert_eq!(name, source.name);
            match &source.location {
                Location::Url(url) => assert!(url.starts_with("https://") && host_of(url).is_some(), "{url}"),
                Location::Irr(server) => assert!(server.ends_with(":43")),
                Location::File(path) => panic!("{}", path.display()),
            }
            assert!(source.refresh >= SHORTEST_REFRESH && source.max_bytes >= 8 * MIB);
        }
    }
}
