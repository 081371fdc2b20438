//! The table `[[rule]]`: what a rule lists, for whom, and when. Resolves no name to addresses.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use super::place::Place;
use super::source::{FetchConfig, SourceConfig, check_list};
use super::{ConfigError, check_device_name, parse_prefix};
use crate::catalog::Catalog;
use crate::prefix::Asn;
use crate::ruleset::schedule::{Schedule, Window};
use crate::ruleset::{RuleAction, RuleDirection, RuleIdentity, Scope};
use crate::source::NamePattern;

/// A rule as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleConfig {
    /// Name, action and direction.
    pub identity: RuleIdentity,
    /// Ids of catalog services.
    pub services: Vec<String>,
    /// Ids of catalog categories: all their services.
    pub categories: Vec<String>,
    /// Origin ASes.
    pub asns: Vec<Asn>,
    /// Words of AS names: all ASes that tables name so.
    pub organisations: Vec<String>,
    /// Names of sources that are lists.
    pub lists: Vec<String>,
    /// Prefixes written in place.
    pub prefixes: Vec<IpNet>,
    /// List files.
    pub files: Vec<PathBuf>,
    /// Lists may hold prefixes shorter than /8 (IPv4) or /19 (IPv6).
    pub allow_wide: bool,
    /// ASes of clouds and CDNs may be named, which strangers' services use, too.
    pub allow_shared: bool,
    /// AS numbers that are reserved or private may be named.
    pub allow_bogon: bool,
    /// Whose packets the rule speaks for.
    pub scope: Scope,
    /// When it does; always, where there is none.
    pub schedule: Option<Schedule>,
}

impl RuleConfig {
    /// A rule with nothing listed, that blocks both directions.
    #[must_use]
    pub fn block(name: &str) -> Self {
        let identity =
            RuleIdentity { name: name.into(), action: RuleAction::Block, direction: RuleDirection::default() };
        Self {
            identity,
            services: vec![],
            categories: vec![],
            asns: vec![],
            organisations: vec![],
            lists: vec![],
            prefixes: vec![],
            files: vec![],
            allow_wide: false,
            allow_shared: false,
            allow_bogon: false,
            scope: Scope::default(),
            schedule: None,
        }
    }

    fn lists_nothing(&self) -> bool {
        let names = [&self.services, &self.categories, &self.organisations, &self.lists];
        names.iter().all(|names| names.is_empty())
            && self.asns.is_empty()
            && self.prefixes.is_empty()
            && self.files.is_empty()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    name: Spanned<String>,
    action: RuleAction,
    #[serde(default)]
    direction: RuleDirection,
    #[serde(default)]
    services: Vec<Spanned<String>>,
    #[serde(default)]
    categories: Vec<Spanned<String>>,
    #[serde(default)]
    asns: Vec<Spanned<toml::Value>>,
    #[serde(default)]
    organisations: Vec<Spanned<String>>,
    #[serde(default)]
    lists: Vec<Spanned<String>>,
    #[serde(default)]
    prefixes: Vec<Spanned<String>>,
    #[serde(default)]
    files: Vec<Spanned<String>>,
    #[serde(default)]
    allow_wide: bool,
    #[serde(default)]
    allow_shared: bool,
    #[serde(default)]
    allow_bogon: bool,
    #[serde(default)]
    clients: Vec<Spanned<String>>,
    #[serde(default)]
    vlans: Vec<Spanned<i64>>,
    #[serde(default)]
    devices: Vec<Spanned<String>>,
    #[serde(default)]
    macs: Vec<Spanned<String>>,
    schedule: Option<RawSchedule>,
}

/// `{ days = ["mon-fri"], from = "08:00", to = "16:00", zone = "Europe/Berlin" }`, or several windows in one zone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSchedule {
    zone: Spanned<String>,
    #[serde(default)]
    days: Vec<String>,
    from: Option<Spanned<String>>,
    to: Option<Spanned<String>>,
    #[serde(default)]
    windows: Vec<RawWindow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWindow {
    #[serde(default)]
    days: Vec<String>,
    from: Spanned<String>,
    to: Spanned<String>,
}

/// Bytes in a rule name, at most: it becomes a label of metrics and a line of a terminal.
const MAX_NAME: usize = 64;

/// What the names in a rule are held against.
pub(super) struct Names<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) sources: &'a BTreeMap<String, SourceConfig>,
    pub(super) fetch: &'a FetchConfig,
    pub(super) interfaces: &'a [super::Interface],
}

/// All rules, their names distinct.
pub(super) fn rules(place: &Place<'_>, raw: &[RawRule], names: &Names<'_>) -> Result<Vec<RuleConfig>, ConfigError> {
    let mut rules: Vec<RuleConfig> = Vec::with_capacity(raw.len());
    for raw in raw {
        let name = raw.name.get_ref();
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            let problem = format!("rule name must have 1 to {MAX_NAME} bytes and no control characters");
            return Err(place.error(&raw.name.span(), problem));
        }
        if rules.iter().any(|rule| rule.identity.name == *name) {
            let problem = format!("rule \"{name}\" is defined twice: counters are kept by name, choose another");
            return Err(place.error(&raw.name.span(), problem));
        }
        rules.push(rule(place, raw, name, names)?);
    }
    Ok(rules)
}

fn rule(place: &Place<'_>, raw: &RawRule, name: &str, names: &Names<'_>) -> Result<RuleConfig, ConfigError> {
    let owner = &format!("rule \"{name}\"");
    let key = |key: &str| format!("{owner}: {key}");
    let mut asns = Vec::with_capacity(raw.asns.len());
    for asn in &raw.asns {
        let number = asn.get_ref().as_integer().and_then(|number| Asn::try_from(number).ok());
        asns.push(number.filter(|&number| number != 0).ok_or_else(|| {
            let written = place.written(asn.span());
            let problem =
                format!("{owner}: asns: {written} is no AS number; accepted: 1 to 4294967295, without quotes");
            place.error(&asn.span(), problem)
        })?);
    }
    let rule = RuleConfig {
        identity: RuleIdentity { name: name.into(), action: raw.action, direction: raw.direction },
        services: place.each(owner, &raw.services, |id| check_service(names.catalog, id))?,
        categories: place.each(owner, &raw.categories, |id| check_category(names.catalog, id))?,
        asns,
        organisations: place.each(&key("organisations"), &raw.organisations, |text| check_organisation(text))?,
        lists: place.each(&key("lists"), &raw.lists, |name| check_list(names.sources, names.fetch, name))?,
        prefixes: place.each(&key("prefixes"), &raw.prefixes, |text| parse_prefix(text))?,
        files: raw.files.iter().map(|path| place.path(path)).collect(),
        allow_wide: raw.allow_wide,
        allow_shared: raw.allow_shared,
        allow_bogon: raw.allow_bogon,
        scope: Scope {
            clients: place.each(&key("clients"), &raw.clients, |text| parse_prefix(text))?,
            vlans: place.each(&key("vlans"), &raw.vlans, |&id| check_vlan(id))?,
            devices: place.each(&key("devices"), &raw.devices, |name| check_device(names.interfaces, name))?,
            macs: place.each(&key("macs"), &raw.macs, |text| parse_mac(text))?,
        },
        schedule: raw.schedule.as_ref().map(|raw| schedule(place, owner, raw)).transpose()?,
    };
    if rule.lists_nothing() {
        let problem =
            format!("{owner} lists nothing: give services, categories, asns, organisations, lists, prefixes or files");
        return Err(place.error(&raw.name.span(), problem));
    }
    Ok(rule)
}

/// The id of a service, or why there is none.
pub fn check_service(catalog: &Catalog, id: &str) -> Result<String, String> {
    if catalog.service(id).is_some() {
        return Ok(id.into());
    }
    if catalog.category(id).is_some() {
        return Err(format!(
            "\"{id}\" is a category, not a service; write categories = [\"{id}\"], or --category {id}"
        ));
    }
    Err(catalog.no_such_service(id))
}

/// The id of a category, or why there is none.
pub fn check_category(catalog: &Catalog, id: &str) -> Result<String, String> {
    if catalog.category(id).is_some() {
        return Ok(id.into());
    }
    let known: Vec<&str> = catalog.categories().iter().map(|category| category.id.as_str()).collect();
    Err(format!("category \"{id}\" is not in the catalog; accepted: {}", known.join(", ")))
}

/// One letter would match half the Internet.
const SHORTEST_ORGANISATION: usize = 3;

fn check_organisation(text: &str) -> Result<String, String> {
    match NamePattern::new(text) {
        Some(_) if text.trim().chars().count() >= SHORTEST_ORGANISATION => Ok(text.into()),
        _ => Err(format!(
            "\"{text}\" is no part of an AS name; accepted: one or more whole words, {SHORTEST_ORGANISATION} letters or more"
        )),
    }
}

fn check_vlan(id: i64) -> Result<u16, String> {
    u16::try_from(id)
        .ok()
        .filter(|id| *id <= 4094)
        .ok_or_else(|| format!("{id} is no VLAN id; accepted: 1 to 4094, and 0 for frames without a tag"))
}

fn check_device(interfaces: &[super::Interface], name: &str) -> Result<String, String> {
    check_device_name(name)?;
    // Rules on the command line come with --iface, which is not in the file.
    if interfaces.is_empty() || interfaces.iter().any(|interface| interface.name == name) {
        return Ok(name.into());
    }
    let known: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    Err(format!("weir does not filter on \"{name}\"; accepted: the [[interface]] names {}", known.join(", ")))
}

fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let refusal = || format!("\"{text}\" is no MAC address; accepted: six bytes such as 02:00:5e:10:00:01");
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'));
        let part = part.ok_or_else(refusal)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| refusal())?;
    }
    if parts.next().is_some() { Err(refusal()) } else { Ok(mac) }
}

fn schedule(place: &Place<'_>, owner: &str, raw: &RawSchedule) -> Result<Schedule, ConfigError> {
    let failed =
        |span: std::ops::Range<usize>, problem: String| place.error(&span, format!("{owner}: schedule: {problem}"));
    let window = |days: &[String], from: &Spanned<String>, to: &Spanned<String>| {
        let every = [String::from("mon-sun")];
        let days = if days.is_empty() { &every } else { days };
        Window::new(days, from.get_ref(), to.get_ref()).map_err(|problem| failed(from.span(), problem.to_string()))
    };
    let windows = match (&raw.from, &raw.to, raw.windows.as_slice()) {
        (Some(from), Some(to), []) => vec![window(&raw.days, from, to)?],
        (None, None, several @ [_, ..]) if raw.days.is_empty() => {
            several.iter().map(|one| window(&one.days, &one.from, &one.to)).collect::<Result<_, _>>()?
        }
        _ => {
            let problem = "give either days, from and to, or windows = [{ days, from, to }, ...]".into();
            return Err(failed(raw.zone.span(), problem));
        }
    };
    Schedule::new(windows, raw.zone.get_ref()).map_err(|problem| failed(raw.zone.span(), problem.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_are_read_in_both_forms() {
        assert_eq!(parse_mac("02:00:5E:10:00:ff"), Ok([2, 0, 0x5e, 0x10, 0, 0xff]));
        assert_eq!(parse_mac("02-00-5e-10-00-ff"), Ok([2, 0, 0x5e, 0x10, 0, 0xff]));
        for wrong in
            ["", "02:00:5e:10:00", "02:00:5e:10:00:01:02", "2:0:5e:10:0:1", "02:00:5e:10:00:0g", "+2:00:5e:10:00:01"]
        {
            let problem = parse_mac(wrong).unwrap_err();
            assert!(problem.ends_with("is no MAC address; accepted: six bytes such as 02:00:5e:10:00:01"), "{problem}");
        }
    }
}
