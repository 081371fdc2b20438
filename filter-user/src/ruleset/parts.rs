//! Which documents a configuration needs: its *parts*. Each is fetched, judged and kept by itself, so that one that fails
//! never shortens the others. Reads none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{ASN_MARK, Config, Location, RuleConfig, SourceConfig};
use crate::prefix::Asn;
use crate::source::Need;
use crate::source::copy::{Copy, WantedAsns, checksum};
use crate::source::gate::Limits;

/// What makes a part the same part in two configurations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartId {
    /// A document of a named source, for one AS where the source has one for each.
    Source(String, Option<Asn>),
    /// A list file that rules name.
    List(PathBuf),
    /// A file of `[asn] tables`.
    Table(PathBuf),
}

impl PartId {
    /// A file name that no other part has.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self {
            Self::Source(name, None) => format!("{name}.copy"),
            Self::Source(name, Some(asn)) => format!("{name}.AS{asn}.copy"),
            Self::List(path) | Self::Table(path) => {
                let kind = if matches!(self, Self::List(_)) { "list" } else { "table" };
                let sum = checksum(path.as_os_str().as_encoded_bytes());
                format!("{kind}.{}.copy", sum.get(..16).unwrap_or_default())
            }
        }
    }

    /// The name of the source, where it has one.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::Source(name, _) => Some(name),
            Self::List(_) | Self::Table(_) => None,
        }
    }
}

impl fmt::Display for PartId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(name, None) => out.write_str(name),
            Self::Source(name, Some(asn)) => write!(out, "{name} (AS{asn})"),
            Self::List(path) | Self::Table(path) => write!(out, "{}", path.display()),
        }
    }
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its identity.
    pub id: PartId,
    /// Where it is, the AS number filled in.
    pub location: Location,
    /// What is read from it.
    pub need: Need,
    /// How long a copy is good.
    pub refresh: Duration,
    /// What a new copy must keep to.
    pub limits: Limits,
    /// The most bytes it may have on the wire.
    pub max_bytes: u64,
}

/// The last good copy of each part.
pub type Copies = BTreeMap<PartId, Arc<Copy>>;

/// The ASes that a rule's services and categories stand for, and its own, each with the name of its list.
pub fn asns_of<'c>(config: &'c Config, rule: &'c RuleConfig) -> impl Iterator<Item = (Asn, String)> + 'c {
    let catalog = &config.catalog;
    let named = rule.services.iter().filter_map(|id| catalog.service(id));
    let of_category = rule.categories.iter().flat_map(|id| catalog.services_of(id));
    named
        .chain(of_category.filter(|service| rule.allow_shared || !service.shared))
        .flat_map(|service| {
            let awake = service.networks.iter().filter(|network| !network.dormant);
            awake.map(|network| (network.asn, format!("service {}", service.id)))
        })
        .chain(rule.asns.iter().map(|&asn| (asn, format!("AS{asn}"))))
}

/// The list sources of a rule: those it names, and those of its services and categories.
pub fn lists_of<'c>(config: &'c Config, rule: &'c RuleConfig) -> BTreeSet<&'c str> {
    let catalog = &config.catalog;
    let named = rule.services.iter().filter_map(|id| catalog.service(id));
    let of_category = rule.categories.iter().flat_map(|id| catalog.services_of(id));
    let of_category = of_category.filter(|service| rule.allow_shared || !service.shared);
    let of_services = named.chain(of_category).flat_map(|service| &service.lists);
    rule.lists.iter().chain(of_services).map(String::as_str).collect()
}

/// The ASes that any rule names.
#[must_use]
pub fn wanted(config: &Config) -> WantedAsns {
    WantedAsns {
        asns: config.rules.iter().flat_map(|rule| asns_of(config, rule)).map(|(asn, _)| asn).collect(),
        organisations: config.rules.iter().flat_map(|rule| rule.organisations.iter().cloned()).collect(),
    }
}

/// Every part that `config` needs.
#[must_use]
pub fn parts(config: &Config) -> BTreeMap<PartId, Part> {
    let mut parts = BTreeMap::new();
    let mut add = |part: Part| {
        parts.entry(part.id.clone()).or_insert(part);
    };
    for rule in &config.rules {
        for path in &rule.files {
            // Whether a file may be empty or wide is the rule's to say, not the file's.
            let limits = Limits { may_be_empty: true, allow_wide: true, ..Limits::default() };
            add(file(PartId::List(path.clone()), path.clone(), Need::List, limits));
        }
        for source in lists_of(config, rule).into_iter().filter_map(|name| config.sources.get(name)) {
            add(document(source, None, Need::List));
        }
    }
    let wanted = wanted(config);
    if wanted == WantedAsns::default() {
        return parts;
    }
    for path in &config.asn.tables {
        let limits = Limits { may_be_empty: true, allow_wide: true, ..Limits::default() };
        add(file(PartId::Table(path.clone()), path.clone(), Need::Origins(wanted.clone()), limits));
    }
    for source in config.asn.sources.iter().filter_map(|name| config.sources.get(name)) {
        if source.location.is_per_asn() {
            for &asn in &wanted.asns {
                let one = WantedAsns { asns: [asn].into(), organisations: BTreeSet::new() };
                add(document(source, Some(asn), Need::Origins(one)));
            }
        } else {
            add(document(source, None, Need::Origins(wanted.clone())));
        }
    }
    let named = |name: &Option<String>| name.as_ref().and_then(|name| config.sources.get(name));
    if let Some(source) = named(&config.asn.rpki) {
        add(document(source, None, Need::Payloads));
    }
    if let Some(source) = named(&config.asn.irr) {
        for &asn in &wanted.asns {
            let part = document(source, Some(asn), Need::Registered(asn));
            // That nothing is registered is an answer, and the most to warn of.
            let limits = Limits { may_be_empty: true, ..part.limits };
            add(Part { limits, ..part });
        }
    }
    parts
}

/// A file that the configuration names directly: always at hand, so never refreshed by itself.
fn file(id: PartId, path: PathBuf, need: Need, limits: Limits) -> Part {
    Part { id, location: Location::File(path), need, refresh: Duration::MAX, limits, max_bytes: u64::MAX }
}

fn document(source: &SourceConfig, asn: Option<Asn>, need: Need) -> Part {
    let fill = |text: &str| asn.map_or_else(|| text.to_owned(), |asn| text.replace(ASN_MARK, &asn.to_string()));
    let location = match &source.location {
        Location::Url(url) => Location::Url(fill(url)),
        Location::File(path) => Location::File(fill(&path.to_string_lossy()).into()),
        Location::Irr(server) => Location::Irr(server.clone()),
    };
    Part {
        id: PartId::Source(source.name.clone(), asn),
        location,
        need,
        refresh: source.refresh,
        limits: source.limits,
        max_bytes: source.max_bytes,
    }
}
