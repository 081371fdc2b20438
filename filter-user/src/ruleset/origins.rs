//! What each AS originates, as the configured tables and sources say together: union or quorum, held against RPKI
//! payloads. Pure; knows no rule.

use std::collections::{BTreeMap, BTreeSet};

use super::parts::{Copies, PartId, wanted};
use crate::catalog;
use crate::config::Config;
use crate::prefix::{Address, AddressSet, Asn, Listed, Prefixes};
use crate::source::copy::{Batch, Copy};
use crate::source::{Wanted, read_asn_table};

/// What one source says of one AS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The table or source.
    pub source: String,
    /// When it was fetched, Unix seconds; 0 for what is compiled in.
    pub fetched: i64,
    /// The ranges, by when they were first seen.
    pub batches: Vec<Batch>,
}

/// What all sources say of one AS.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// One for each source that has an answer, an empty one included.
    pub answers: Vec<Answer>,
    /// Parts that have no copy yet.
    pub missing: Vec<PartId>,
    /// The embedded snapshot answered because nothing else could.
    pub snapshot: bool,
    /// Addresses that another AS holds by RPKI, left out.
    pub invalid: u128,
    /// The AS's name, where a source gives it.
    pub organisation: Option<String>,
}

/// A table that was read for many ASes.
struct Table<'c> {
    id: PartId,
    copy: &'c Copy,
    by_asn: BTreeMap<Asn, Vec<Batch>>,
}

/// RPKI payloads: all addresses that any of them covers, and those of the wanted ASes.
struct Payloads {
    v4: AddressSet<u32>,
    v6: AddressSet<u128>,
    by_asn: BTreeMap<Asn, (AddressSet<u32>, AddressSet<u128>)>,
}

/// All that is known of origins.
pub struct Origins<'c> {
    config: &'c Config,
    copies: &'c Copies,
    tables: Vec<Table<'c>>,
    payloads: Option<Payloads>,
    snapshot: BTreeMap<Asn, (Prefixes, Option<String>)>,
    /// The ASes that rules name by number or service: only of these are there documents of their own.
    numbered: BTreeSet<Asn>,
}

impl<'c> Origins<'c> {
    /// Indexes the copies that `config` asks for origins.
    #[must_use]
    pub fn new(config: &'c Config, copies: &'c Copies) -> Self {
        let files = config.asn.tables.iter().map(|path| PartId::Table(path.clone()));
        let sources = config.asn.sources.iter().map(|name| PartId::Source(name.clone(), None));
        let tables: Vec<Table<'_>> = files
            .chain(sources)
            .filter_map(|id| {
                let copy = copies.get(&id)?;
                Some(Table { id, copy, by_asn: by_asn(copy) })
            })
            .collect();
        let payloads = config.asn.rpki.as_ref().and_then(|name| copies.get(&PartId::Source(name.clone(), None)));
        let numbered = wanted(config).asns;
        // ASes that rules name by the organisation are in the tables alone.
        let of_tables = tables.iter().flat_map(|table| table.by_asn.keys().copied());
        let payloads = payloads.map(|copy| Payloads::new(copy, numbered.iter().copied().chain(of_tables)));
        Self { config, copies, tables, payloads, snapshot: snapshot(), numbered }
    }

    /// The ASes of the embedded snapshot.
    pub fn embedded(&self) -> impl Iterator<Item = Asn> {
        self.snapshot.keys().copied()
    }

    /// The ASes whose organisation a table names by `pattern`, with the names.
    #[must_use]
    pub fn named(&self, pattern: &crate::source::NamePattern) -> BTreeMap<Asn, String> {
        let names = self.tables.iter().flat_map(|table| &table.copy.organisations);
        let found = names.filter(|(_, name)| pattern.matches(name.as_bytes()));
        found.map(|(&asn, name)| (asn, name.clone())).collect()
    }

    /// The tables and sources that may name an AS by `organisation`, and have no copy that was read for it yet.
    pub fn unread(&self, organisation: &str) -> impl Iterator<Item = PartId> {
        let files = self.config.asn.tables.iter().map(|path| PartId::Table(path.clone()));
        let whole = |name: &&String| self.config.sources.get(*name).is_some_and(|source| !source.location.is_per_asn());
        let sources = self.config.asn.sources.iter().filter(whole).map(|name| PartId::Source(name.clone(), None));
        files.chain(sources).filter(move |id| {
            let read = |copy: &Copy| match &copy.provenance.wanted {
                Some(wanted) => wanted.organisations.contains(organisation),
                None => true,
            };
            !self.copies.get(id).is_some_and(|copy| read(copy))
        })
    }

    /// What the sources say of `asn`.
    #[must_use]
    pub fn of(&self, asn: Asn) -> Answers {
        let mut all = Answers::default();
        for path in &self.config.asn.tables {
            self.ask_table(PartId::Table(path.clone()), asn, &mut all);
        }
        for name in &self.config.asn.sources {
            let per_asn = self.config.sources.get(name).is_some_and(|source| source.location.is_per_asn());
            if per_asn {
                if self.numbered.contains(&asn) {
                    self.ask_document(PartId::Source(name.clone(), Some(asn)), asn, &mut all);
                }
            } else {
                self.ask_table(PartId::Source(name.clone(), None), asn, &mut all);
            }
        }
        if all.answers.is_empty()
            && let Some((prefixes, name)) = self.snapshot.get(&asn)
        {
            let date = catalog::snapshot().date;
            let batches = vec![Batch { since: 0, prefixes: prefixes.clone() }];
            all.answers.push(Answer { source: format!("embedded snapshot of {date}"), fetched: 0, batches });
            all.organisation.clone_from(name);
            all.snapshot = true;
        }
        self.agree(&mut all);
        self.validate(asn, &mut all);
        all
    }

    fn ask_table(&self, id: PartId, asn: Asn, all: &mut Answers) {
        let table = self.tables.iter().find(|table| table.id == id);
        let Some(table) = table.filter(|table| answers_for(table.copy, asn)) else {
            all.missing.push(id);
            return;
        };
        let batches = table.by_asn.get(&asn).cloned().unwrap_or_default();
        all.add(&id, table.copy, asn, batches);
    }

    fn ask_document(&self, id: PartId, asn: Asn, all: &mut Answers) {
        match self.copies.get(&id) {
            Some(copy) => all.add(&id, copy, asn, copy.batches.clone()),
            None => all.missing.push(id),
        }
    }

    /// Leaves what at least as many sources list as the quorum asks for, or all of them where fewer have an answer.
    fn agree(&self, all: &mut Answers) {
        let quorum = self.config.asn.quorum.min(all.answers.len());
        if quorum < 2 {
            return;
        }
        let v4: Vec<AddressSet<u32>> = all.answers.iter().map(|answer| set(&answer.batches, |rows| &rows.v4)).collect();
        let v6: Vec<AddressSet<u128>> =
            all.answers.iter().map(|answer| set(&answer.batches, |rows| &rows.v6)).collect();
        let (v4, v6) = (AddressSet::at_least(quorum, &v4), AddressSet::at_least(quorum, &v6));
        for answer in &mut all.answers {
            answer.keep(|own| own.intersect(&v4), |own| own.intersect(&v6));
        }
    }

    /// Leaves out addresses that RPKI gives to other ASes only (RFC 6811: invalid origin). The maximum length is not
    /// asked: a longer prefix of the holder's own space is the holder's still.
    fn validate(&self, asn: Asn, all: &mut Answers) {
        let Some(payloads) = &self.payloads else { return };
        let (own4, own6) = payloads.by_asn.get(&asn).cloned().unwrap_or_default();
        let (foreign4, foreign6) = (payloads.v4.subtract(&own4), payloads.v6.subtract(&own6));
        let before = all.addresses();
        for answer in &mut all.answers {
            answer.keep(|own| own.subtract(&foreign4), |own| own.subtract(&foreign6));
        }
        all.invalid = before.saturating_sub(all.addresses());
    }
}

/// Whether a copy knows of `asn`, be it that the AS originates nothing.
fn answers_for(copy: &Copy, asn: Asn) -> bool {
    copy.provenance.wanted.as_ref().is_none_or(|wanted| wanted.asns.contains(&asn))
        || copy.organisations.contains_key(&asn)
}

fn by_asn(copy: &Copy) -> BTreeMap<Asn, Vec<Batch>> {
    let mut by_asn: BTreeMap<Asn, Vec<Batch>> = BTreeMap::new();
    for batch in &copy.batches {
        for range in &batch.prefixes.v4 {
            batch_of(&mut by_asn, range.asn, batch.since).v4.push(*range);
        }
        for range in &batch.prefixes.v6 {
            batch_of(&mut by_asn, range.asn, batch.since).v6.push(*range);
        }
    }
    by_asn
}

/// The batch of `asn` that began at `since`; batches come in the order of their times.
fn batch_of(by_asn: &mut BTreeMap<Asn, Vec<Batch>>, asn: Asn, since: i64) -> &mut Prefixes {
    let batches = by_asn.entry(asn).or_default();
    let place = if let Some(place) = batches.iter().position(|batch| batch.since == since) {
        place
    } else {
        batches.push(Batch { since, prefixes: Prefixes::default() });
        batches.len() - 1
    };
    &mut batches[place].prefixes
}

fn set<A: Address>(batches: &[Batch], family: impl Fn(&Prefixes) -> &Vec<Listed<A>>) -> AddressSet<A> {
    batches.iter().flat_map(|batch| family(&batch.prefixes)).map(|range| (range.first, range.last)).collect()
}

fn snapshot() -> BTreeMap<Asn, (Prefixes, Option<String>)> {
    let mut by_asn: BTreeMap<Asn, (Prefixes, Option<String>)> = BTreeMap::new();
    // A test proves that the embedded table reads.
    let table = read_asn_table(catalog::embedded_table(), &Wanted::All).unwrap_or_default();
    for range in table.parsed.prefixes.v4 {
        by_asn.entry(range.asn).or_default().0.v4.push(range);
    }
    for range in table.parsed.prefixes.v6 {
        by_asn.entry(range.asn).or_default().0.v6.push(range);
    }
    for (asn, name) in table.organisations {
        by_asn.entry(asn).or_default().1 = Some(name);
    }
    by_asn
}

/// Ranges of both families.
type Ranges = (Vec<(u32, u32)>, Vec<(u128, u128)>);

impl Payloads {
    fn new(copy: &Copy, wanted: impl Iterator<Item = Asn>) -> Self {
        let (v4, v6) = copy.addresses();
        let mut own: BTreeMap<Asn, Ranges> = wanted.map(|asn| (asn, Default::default())).collect();
        for (_, range) in copy.v4() {
            own.entry(range.asn).and_modify(|own| own.0.push((range.first, range.last)));
        }
        for (_, range) in copy.v6() {
            own.entry(range.asn).and_modify(|own| own.1.push((range.first, range.last)));
        }
        let sets =
            |(asn, (v4, v6)): (Asn, (Vec<_>, Vec<_>))| (asn, (v4.into_iter().collect(), v6.into_iter().collect()));
        Self { v4, v6, by_asn: own.into_iter().map(sets).collect() }
    }
}

impl Answers {
    fn add(&mut self, id: &PartId, copy: &Copy, asn: Asn, batches: Vec<Batch>) {
        let source = id.source().map_or_else(|| id.to_string(), str::to_owned);
        self.answers.push(Answer { source, fetched: copy.provenance.fetched, batches });
        self.organisation = self.organisation.take().or_else(|| copy.organisations.get(&asn).cloned());
    }

    /// True where nobody lists anything for the AS.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.iter().all(|answer| answer.batches.iter().all(|batch| batch.prefixes.is_empty()))
    }

    fn addresses(&self) -> u128 {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (own4, own6) in self.answers.iter().map(Answer::addresses) {
            v4.extend_from_slice(own4.ranges());
            v6.extend_from_slice(own6.ranges());
        }
        let (v4, v6): (AddressSet<u32>, AddressSet<u128>) = (v4.into_iter().collect(), v6.into_iter().collect());
        v4.addresses().saturating_add(v6.addresses())
    }
}

impl Answer {
    /// The addresses it lists, by family.
    #[must_use]
    pub fn addresses(&self) -> (AddressSet<u32>, AddressSet<u128>) {
        (set(&self.batches, |rows| &rows.v4), set(&self.batches, |rows| &rows.v6))
    }

    /// Cuts the ranges down to what the functions leave of them.
    fn keep(
        &mut self,
        v4: impl Fn(&AddressSet<u32>) -> AddressSet<u32>,
        v6: impl Fn(&AddressSet<u128>) -> AddressSet<u128>,
    ) {
        for batch in &mut self.batches {
            cut(&mut batch.prefixes.v4, &v4);
            cut(&mut batch.prefixes.v6, &v6);
        }
    }
}

fn cut<A: Address>(ranges: &mut Vec<Listed<A>>, keep: impl Fn(&AddressSet<A>) -> AddressSet<A>) {
    let Some(&Listed { asn, .. }) = ranges.first() else { return };
    let own: AddressSet<A> = ranges.iter().map(|range| (range.first, range.last)).collect();
    let kept = keep(&own);
    // Untouched ranges stay as their source lists them.
    if kept != own {
        *ranges = kept.ranges().iter().map(|&(first, last)| Listed { first, last, asn }).collect();
    }
}
