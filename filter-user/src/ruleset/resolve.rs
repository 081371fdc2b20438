//! Turns a configuration and the bytes of its files into rules with addresses, remembering which list says what. Pure.
//!
//! Whatever is wrong refuses the whole: a rule never becomes shorter in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::compile::Rule;
use super::scope::Scope;
use super::sets::RuleIdentity;
use crate::catalog;
use crate::config::{Config, RuleConfig};
use crate::prefix::{Address, Asn, Listed, Prefixes};
use crate::source::{self, AsnTable, SourceError, Wanted};

/// The bytes of every file that a configuration names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// List files by path.
    pub lists: BTreeMap<PathBuf, Vec<u8>>,
    /// ASN tables in the order of the configuration.
    pub asn_tables: Vec<(PathBuf, Vec<u8>)>,
}

/// Why rules cannot be resolved. Every message names the rule or file, and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A file's content.
    #[error("{}: {source}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SourceError,
    },
    /// The embedded snapshot does not hold the AS.
    #[error(
        "rule \"{rule}\": AS{asn} is not in the embedded snapshot, which holds {}; name an ASN table in [asn] tables",
        AsnList(known)
    )]
    NotEmbedded {
        /// The rule.
        rule: String,
        /// The AS it names.
        asn: Asn,
        /// The ASes of the snapshot.
        known: Vec<Asn>,
    },
    /// Nothing is left of a rule.
    #[error("rule \"{rule}\" lists no address: {why}")]
    Empty {
        /// The rule.
        rule: String,
        /// What its lists said.
        why: String,
    },
    /// A list holds a prefix that blocks a large part of the Internet.
    #[error(
        "rule \"{rule}\": {list} holds {prefix}, shorter than /{limit}: remove it, or set allow_wide = true in the rule"
    )]
    Wide {
        /// The rule.
        rule: String,
        /// The list.
        list: String,
        /// The prefix.
        prefix: IpNet,
        /// The shortest length accepted.
        limit: u8,
    },
}

struct AsnList<'a>(&'a [Asn]);

impl fmt::Display for AsnList<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|asn| format!("AS{asn}")).collect();
        out.write_str(&names.join(", "))
    }
}

/// The shortest prefixes that a list may hold without `allow_wide`.
const WIDEST_V4: u8 = 8;
const WIDEST_V6: u8 = 19;

/// One list of a rule.
#[derive(Clone, Debug)]
pub struct List {
    /// What the rule calls it: `AS396986`, a service id, a file's path, `prefixes`.
    pub name: String,
    /// What it lists.
    pub prefixes: Prefixes,
}

/// A rule with the lists it was resolved to.
#[derive(Clone, Debug)]
pub struct ResolvedRule {
    /// Name, action and direction.
    pub identity: RuleIdentity,
    /// Its lists.
    pub lists: Vec<List>,
    /// Prefixes that the operator wrote in the rule itself: the only ones that may reach into private networks.
    pub written: Vec<IpNet>,
}

/// All rules, and what the reader should know about their lists.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// The rules in the order of the configuration.
    pub rules: Vec<ResolvedRule>,
    /// One line each.
    pub warnings: Vec<String>,
}

/// One place where a rule lists an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// The rule.
    pub rule: &'a RuleIdentity,
    /// The list.
    pub list: &'a str,
    /// The prefix of the list that holds the address; the part of a range around it.
    pub prefix: IpNet,
    /// The origin AS that the list gives; 0 where it gives none.
    pub asn: Asn,
}

/// Resolves every rule of `config` from the bytes of `files`.
pub fn resolve(config: &Config, files: &Files) -> Result<Resolved, ResolveError> {
    let mut warnings = Vec::new();
    let networks = Networks::read(config, files, &mut warnings)?;
    let lists = read_lists(files, &mut warnings)?;
    let rules = config
        .rules
        .iter()
        .map(|rule| resolve_rule(rule, &networks, &lists, &mut warnings))
        .collect::<Result<_, _>>()?;
    Ok(Resolved { rules, warnings })
}

fn read_lists<'f>(files: &'f Files, warnings: &mut Vec<String>) -> Result<BTreeMap<&'f Path, Prefixes>, ResolveError> {
    let mut lists = BTreeMap::new();
    for (path, bytes) in &files.lists {
        let parsed = source::read_list(bytes).map_err(|source| ResolveError::Source { path: path.clone(), source })?;
        let shown = path.display();
        warnings.extend(parsed.warnings.iter().map(|warning| format!("{shown}:{}: {}", warning.line, warning.text)));
        lists.insert(path.as_path(), parsed.prefixes);
    }
    Ok(lists)
}

/// What the ASN tables say of the ASes that rules name.
struct Networks {
    by_asn: BTreeMap<Asn, Prefixes>,
    /// The ASes of the embedded snapshot, where that is the table.
    embedded: Option<Vec<Asn>>,
}

impl Networks {
    fn read(config: &Config, files: &Files, warnings: &mut Vec<String>) -> Result<Self, ResolveError> {
        let asns: BTreeSet<Asn> = config.rules.iter().flat_map(asns_of).map(|(asn, _)| asn).collect();
        if asns.is_empty() {
            return Ok(Self { by_asn: BTreeMap::new(), embedded: None });
        }
        let embedded = files.asn_tables.is_empty();
        let snapshot = (PathBuf::from("embedded snapshot"), catalog::embedded_table().to_vec());
        let tables = if embedded { std::slice::from_ref(&snapshot) } else { &files.asn_tables };
        let wanted = if embedded { Wanted::All } else { Wanted::Only(asns) };
        let mut by_asn: BTreeMap<Asn, Prefixes> = BTreeMap::new();
        for (path, bytes) in tables {
            let table: AsnTable = source::read_asn_table(bytes, &wanted)
                .map_err(|source| ResolveError::Source { path: path.clone(), source })?;
            let shown = path.display();
            let lines = table.parsed.warnings.iter();
            warnings.extend(lines.map(|warning| format!("{shown}:{}: {}", warning.line, warning.text)));
            for row in table.parsed.prefixes.v4 {
                by_asn.entry(row.asn).or_default().v4.push(row);
            }
            for row in table.parsed.prefixes.v6 {
                by_asn.entry(row.asn).or_default().v6.push(row);
            }
        }
        let embedded = embedded.then(|| by_asn.keys().copied().collect());
        Ok(Self { by_asn, embedded })
    }
}

/// The ASes a rule names, each with the name of its list.
fn asns_of(rule: &RuleConfig) -> impl Iterator<Item = (Asn, String)> {
    let services = rule.services.iter().filter_map(|id| catalog::service(id));
    services
        .flat_map(|service| service.asns.iter().map(|&asn| (asn, format!("service {}", service.id))))
        .chain(rule.asns.iter().map(|&asn| (asn, format!("AS{asn}"))))
}

fn resolve_rule(
    rule: &RuleConfig,
    networks: &Networks,
    files: &BTreeMap<&Path, Prefixes>,
    warnings: &mut Vec<String>,
) -> Result<ResolvedRule, ResolveError> {
    let name = &rule.identity.name;
    let mut lists: Vec<List> = Vec::new();
    let mut add = |name: String, prefixes: Prefixes| match lists.iter_mut().find(|list| list.name == name) {
        Some(list) => list.prefixes.append(prefixes),
        None => lists.push(List { name, prefixes }),
    };
    let mut absent = Vec::new();
    for (asn, list) in asns_of(rule) {
        match (networks.by_asn.get(&asn), &networks.embedded) {
            (Some(prefixes), _) => add(list, prefixes.clone()),
            (None, Some(known)) => {
                return Err(ResolveError::NotEmbedded { rule: name.clone(), asn, known: known.clone() });
            }
            (None, None) => {
                warnings.push(format!("rule \"{name}\": no ASN table lists AS{asn}"));
                absent.push(asn);
            }
        }
    }
    for path in &rule.files {
        let prefixes = files.get(path.as_path()).cloned().unwrap_or_default();
        if prefixes.is_empty() {
            warnings.push(format!("rule \"{name}\": {} lists nothing", path.display()));
        }
        add(path.display().to_string(), prefixes);
    }
    let mut written = Prefixes::default();
    rule.prefixes.iter().for_each(|&net| written.push_net(net, 0));
    if !written.is_empty() {
        add("prefixes".into(), written);
    }
    if lists.iter().all(|list| list.prefixes.is_empty()) {
        let why = if absent.is_empty() {
            "its files are empty; remove the rule or give it a list".into()
        } else {
            format!("no ASN table lists {}; check the numbers and the tables", AsnList(&absent))
        };
        return Err(ResolveError::Empty { rule: name.clone(), why });
    }
    if !rule.allow_wide {
        lists.iter().try_for_each(|list| check_width(name, list))?;
    }
    Ok(ResolvedRule { identity: rule.identity.clone(), lists, written: rule.prefixes.clone() })
}

fn check_width(rule: &str, list: &List) -> Result<(), ResolveError> {
    let wide = |prefix: Option<IpNet>, limit| match prefix {
        Some(prefix) => {
            Err(ResolveError::Wide { rule: rule.into(), list: format!("list \"{}\"", list.name), prefix, limit })
        }
        None => Ok(()),
    };
    wide(first_shorter(&list.prefixes.v4, WIDEST_V4, u128::from(u32::MAX >> WIDEST_V4)), WIDEST_V4)?;
    wide(first_shorter(&list.prefixes.v6, WIDEST_V6, u128::MAX >> WIDEST_V6), WIDEST_V6)
}

/// The first prefix in `ranges` shorter than `limit`. A range that spans no more than `span` cannot hold one.
fn first_shorter<A: Address>(ranges: &[Listed<A>], limit: u8, span: u128) -> Option<IpNet> {
    ranges
        .iter()
        .filter(|range| range.last.into() - range.first.into() > span)
        .flat_map(|range| A::cidrs(range.first, range.last))
        .find(|prefix| prefix.prefix_len() < limit)
}

impl Resolved {
    /// The rules as the compiler takes them.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        self.rules.iter().map(ResolvedRule::rule).collect()
    }

    /// Every place where a rule lists `address`.
    #[must_use]
    pub fn matches(&self, address: IpAddr) -> Vec<Match<'_>> {
        let mut matches = Vec::new();
        for rule in &self.rules {
            for list in &rule.lists {
                let found = match address {
                    IpAddr::V4(address) => holding(&list.prefixes.v4, u32::from(address)),
                    IpAddr::V6(address) => holding(&list.prefixes.v6, u128::from(address)),
                };
                let list = list.name.as_str();
                let rule = &rule.identity;
                matches.extend(found.into_iter().map(|(prefix, asn)| Match { rule, list, prefix, asn }));
            }
        }
        matches
    }
}

fn holding<A: Address>(ranges: &[Listed<A>], address: A) -> Vec<(IpNet, Asn)> {
    let ip = address.to_ip();
    let around = ranges.iter().filter(|range| range.first <= address && address <= range.last);
    around
        .filter_map(|range| {
            A::cidrs(range.first, range.last).into_iter().find(|net| net.contains(&ip)).zip(Some(range.asn))
        })
        .collect()
}

impl ResolvedRule {
    /// The rule as the compiler takes it.
    #[must_use]
    pub fn rule(&self) -> Rule {
        let v4 = self.lists.iter().flat_map(|list| &list.prefixes.v4).map(|range| (range.first, range.last)).collect();
        let v6 = self.lists.iter().flat_map(|list| &list.prefixes.v6).map(|range| (range.first, range.last)).collect();
        Rule { identity: self.identity.clone(), v4, v6, scope: Scope::default() }
    }
}
