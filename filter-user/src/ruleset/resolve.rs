//! Turns a configuration and the copies of its parts into rules with addresses, remembering which list says what and since
//! when. Pure.
//!
//! Whatever is wrong refuses the whole, and what is not at hand yet is named: a rule never becomes shorter in silence.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::compile::Rule;
use super::origins::{Answers, Origins};
use super::parts::{Copies, PartId, asns_of, lists_of};
use super::scope::Scope;
use super::sets::RuleIdentity;
use crate::config::{Config, RuleConfig};
use crate::prefix::{Address, Asn, Listed, Prefixes, reserved};
use crate::source::NamePattern;
use crate::source::copy::Batch;
use crate::source::gate::{Refusal, asn_list, too_wide};

/// Why rules cannot be resolved. Every message names the rule, and the remedy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The embedded snapshot does not hold the AS.
    #[error(
        "rule \"{rule}\": AS{asn} is not in the embedded snapshot, which holds {}; name an ASN table in [asn] tables, or a \
         source: [asn] sources = [\"ipverse\"]",
        asn_list(known)
    )]
    NotEmbedded {
        /// The rule.
        rule: String,
        /// The AS it names.
        asn: Asn,
        /// The ASes of the snapshot.
        known: BTreeSet<Asn>,
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
        "rule \"{rule}\": list \"{list}\" holds {prefix}, shorter than /{limit}: remove it, or set allow_wide = true in the rule"
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
    /// A cloud or CDN.
    #[error(
        "rule \"{rule}\": {what} is a shared network ({operator}), which carries strangers' services, too: leave it out, or set \
         allow_shared = true in the rule"
    )]
    Shared {
        /// The rule.
        rule: String,
        /// The AS or service.
        what: String,
        /// Who runs it.
        operator: String,
    },
    /// An AS number that nobody on the Internet has.
    #[error("rule \"{rule}\": AS{asn} is {why}: correct it, or set allow_bogon = true in the rule")]
    Bogon {
        /// The rule.
        rule: String,
        /// The number.
        asn: Asn,
        /// What it is reserved for.
        why: &'static str,
    },
}

/// One list of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// What the rule calls it: `AS396986`, a service's id, a file's path, `prefixes`.
    pub name: String,
    /// Which table, source or file says so.
    pub source: String,
    /// When that was fetched, Unix seconds; 0 for what the operator wrote or is compiled in.
    pub fetched: i64,
    /// What it lists, by when it was first seen.
    pub batches: Vec<Batch>,
}

/// A rule with the lists it was resolved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRule {
    /// Name, action and direction.
    pub identity: RuleIdentity,
    /// Its lists.
    pub lists: Vec<List>,
    /// Prefixes that the operator wrote in the rule itself: the only ones that may reach into private networks.
    pub written: Vec<IpNet>,
    /// Whose packets it speaks for.
    pub scope: Scope,
}

/// A part of a rule that is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The rule.
    pub rule: String,
    /// The part that has no copy.
    pub part: PartId,
    /// The embedded snapshot stands in for it.
    pub snapshot: bool,
}

/// All rules, and what the reader should know about their lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The rules in the order of the configuration.
    pub rules: Vec<ResolvedRule>,
    /// What is missing.
    pub gaps: Vec<Gap>,
    /// One line each.
    pub warnings: Vec<String>,
}

/// One place where a rule lists an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// The rule.
    pub rule: &'a ResolvedRule,
    /// The list.
    pub list: &'a List,
    /// The prefix of the list that holds the address; the part of a range around it.
    pub prefix: IpNet,
    /// The origin AS that the list gives; 0 where it gives none.
    pub asn: Asn,
    /// Since when it is listed, Unix seconds; 0 where that is not known.
    pub since: i64,
}

/// Resolves every rule of `config` from the copies of its parts.
pub fn resolve(config: &Config, copies: &Copies) -> Result<Resolved, ResolveError> {
    let mut resolved = Resolved::default();
    for (id, copy) in copies {
        // A named source's warnings are known since it was taken over.
        if id.source().is_none() {
            resolved.warnings.extend(copy.warnings.iter().map(|warning| shown_warning(id, warning)));
        }
    }
    let origins = Origins::new(config, copies);
    for rule in &config.rules {
        let mut resolving = Resolving {
            config,
            copies,
            origins: &origins,
            rule,
            lists: Vec::new(),
            silent: Vec::new(),
            absent: BTreeSet::new(),
            into: &mut resolved,
        };
        let rule = resolving.run()?;
        resolved.rules.push(rule);
    }
    Ok(resolved)
}

/// `file:3: text` for `line 3: text`.
fn shown_warning(id: &PartId, warning: &str) -> String {
    match warning.strip_prefix("line ") {
        Some(rest) => format!("{id}:{rest}"),
        None => format!("{id}: {warning}"),
    }
}

/// One rule on its way.
pub(super) struct Resolving<'a> {
    pub(super) config: &'a Config,
    pub(super) copies: &'a Copies,
    pub(super) origins: &'a Origins<'a>,
    pub(super) rule: &'a RuleConfig,
    lists: Vec<List>,
    /// What was named and lists nothing.
    pub(super) silent: Vec<String>,
    /// ASes that no table lists.
    absent: BTreeSet<Asn>,
    into: &'a mut Resolved,
}

impl Resolving<'_> {
    fn run(&mut self) -> Result<ResolvedRule, ResolveError> {
        let (config, rule) = (self.config, self.rule);
        self.check_shared()?;
        for (asn, list) in asns_of(config, rule) {
            self.add_asn(asn, &list)?;
        }
        for organisation in &rule.organisations {
            self.add_organisation(organisation)?;
        }
        self.check_names();
        self.check_registry();
        for name in lists_of(config, rule) {
            self.add_part(&PartId::Source(name.into(), None), name);
        }
        for path in &rule.files {
            self.add_part(&PartId::List(path.clone()), &path.display().to_string());
        }
        if !rule.prefixes.is_empty() {
            let mut prefixes = Prefixes::default();
            rule.prefixes.iter().for_each(|&net| prefixes.push_net(net, 0));
            let batches = vec![Batch { since: 0, prefixes }];
            self.lists.push(List { name: "prefixes".into(), source: "the configuration".into(), fetched: 0, batches });
        }
        self.check_left()?;
        Ok(ResolvedRule {
            identity: rule.identity.clone(),
            lists: std::mem::take(&mut self.lists),
            written: rule.prefixes.clone(),
            scope: rule.scope.clone(),
        })
    }

    pub(super) fn name(&self) -> String {
        self.rule.identity.name.clone()
    }

    pub(super) fn warn(&mut self, text: &str) {
        self.into.warnings.push(format!("rule \"{}\": {text}", self.rule.identity.name));
    }

    fn add_asn(&mut self, asn: Asn, list: &str) -> Result<(), ResolveError> {
        let answers = self.origins.of(asn);
        if answers.answers.is_empty() && self.config.asn.is_empty() {
            let known = self.origins.embedded().collect();
            return Err(ResolveError::NotEmbedded { rule: self.name(), asn, known });
        }
        self.add_answers(asn, list, answers);
        Ok(())
    }

    fn add_answers(&mut self, asn: Asn, list: &str, answers: Answers) {
        let gaps = answers.missing.iter().map(|part| Gap {
            rule: self.rule.identity.name.clone(),
            part: part.clone(),
            snapshot: answers.snapshot,
        });
        self.into.gaps.extend(gaps);
        if answers.invalid > 0 {
            self.warn(&format!("AS{asn}: {} addresses are another AS's by RPKI and left out", answers.invalid));
        }
        if answers.is_empty() && answers.missing.is_empty() {
            self.warn(&format!("no ASN table lists AS{asn}"));
            self.absent.insert(asn);
        }
        for answer in answers.answers {
            self.add(list, &answer.source, answer.fetched, answer.batches);
        }
    }

    fn add_organisation(&mut self, text: &str) -> Result<(), ResolveError> {
        let Some(pattern) = NamePattern::new(text) else { return Ok(()) };
        let mut found = self.origins.named(&pattern);
        let catalog = &self.config.catalog;
        let allowed = self.rule.allow_shared;
        let shared: BTreeSet<Asn> =
            found.keys().copied().filter(|&asn| catalog.shared(asn).is_some() && !allowed).collect();
        if !shared.is_empty() {
            self.warn(&format!(
                "organisation \"{text}\": shared networks are left out ({}); allow_shared = true takes them in",
                asn_list(&shared)
            ));
        }
        found.retain(|asn, _| !shared.contains(asn) && reserved(*asn).is_none());
        let unread = self.origins.unread(text);
        let waits: Vec<Gap> = unread.map(|part| Gap { rule: self.name(), part, snapshot: false }).collect();
        if found.is_empty() && waits.is_empty() {
            let why = format!("no ASN table that is at hand names an AS \"{text}\"");
            self.warn(&why);
            self.silent.push(why);
        } else if !found.is_empty() {
            let names: Vec<String> = found.iter().map(|(asn, name)| format!("AS{asn} {name}")).collect();
            self.warn(&format!("organisation \"{text}\" is {}", names.join(", ")));
        }
        for (asn, _) in found {
            self.add_asn(asn, &format!("organisation {text}"))?;
        }
        for gap in waits {
            if !self.into.gaps.contains(&gap) {
                self.into.gaps.push(gap);
            }
        }
        Ok(())
    }

    fn add_part(&mut self, id: &PartId, list: &str) {
        match self.copies.get(id) {
            Some(copy) => {
                if copy.ranges() == 0 {
                    self.warn(&format!("{id} lists nothing"));
                    self.silent.push(format!("{id} lists nothing"));
                }
                let source = id.source().map_or_else(|| id.to_string(), str::to_owned);
                self.add(list, &source, copy.provenance.fetched, copy.batches.clone());
            }
            None => self.into.gaps.push(Gap { rule: self.name(), part: id.clone(), snapshot: false }),
        }
    }

    fn add(&mut self, name: &str, source: &str, fetched: i64, batches: Vec<Batch>) {
        match self.lists.iter_mut().find(|list| list.name == name && list.source == source) {
            Some(list) => {
                list.batches.extend(batches);
                list.fetched = list.fetched.min(fetched);
            }
            None => self.lists.push(List { name: name.into(), source: source.into(), fetched, batches }),
        }
    }

    fn check_left(&mut self) -> Result<(), ResolveError> {
        let mut all = self.lists.iter().flat_map(|list| &list.batches);
        let waits = self.into.gaps.iter().any(|gap| gap.rule == self.rule.identity.name);
        if all.all(|batch| batch.prefixes.is_empty()) && !waits {
            let mut why = self.silent.clone();
            if self.absent.is_empty() {
                why.extend(self.rule.services.is_empty().then(|| "remove the rule or give it a list".into()));
            } else {
                why.push(format!("no ASN table lists {}; check the numbers and the tables", asn_list(&self.absent)));
            }
            let why = why.join("; ");
            return Err(ResolveError::Empty { rule: self.name(), why });
        }
        if self.rule.allow_wide {
            return Ok(());
        }
        for list in &self.lists {
            for batch in &list.batches {
                if let Err(Refusal::Wide { prefix, limit }) = too_wide(&batch.prefixes) {
                    return Err(ResolveError::Wide { rule: self.name(), list: list.name.clone(), prefix, limit });
                }
            }
        }
        Ok(())
    }
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
                for Batch { since, prefixes } in &list.batches {
                    let found = match address {
                        IpAddr::V4(address) => holding(&prefixes.v4, u32::from(address)),
                        IpAddr::V6(address) => holding(&prefixes.v6, u128::from(address)),
                    };
                    let since = *since;
                    matches.extend(found.into_iter().map(|(prefix, asn)| Match { rule, list, prefix, asn, since }));
                }
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
        let batches = || self.lists.iter().flat_map(|list| &list.batches);
        let v4 = batches().flat_map(|batch| &batch.prefixes.v4).map(|range| (range.first, range.last)).collect();
        let v6 = batches().flat_map(|batch| &batch.prefixes.v6).map(|range| (range.first, range.last)).collect();
        Rule { identity: self.identity.clone(), v4, v6, scope: self.scope.clone() }
    }
}
