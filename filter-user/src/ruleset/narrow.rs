//! Turns the scopes of rules into the tables by which `filter_common::scope` narrows a packet's set to the rules that
//! speak for it. Must not know what rules list nor what they do.
//!
//! Each distinct scope is a bit. In every dimension the scopes' values cut the keys into runs, and runs that the same
//! scopes hold are a class. A combination of classes is held by the scopes that hold each of them; combinations that the
//! same scopes hold are a group. A set with scoped rules gets a row: for each group, the set of those of its rules that
//! have no scope or one that holds the group.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use filter_common::scope::{
    BLOCK_WORDS, ClassTable, DIMENSIONS, Dimension, Key, MAX_COMBINATIONS, MAX_RUNS, Scopes, Words,
};
use ipnet::IpNet;

use super::scope::Scope;
use super::sets::{RuleId, Sets, TooManySets};
use crate::prefix::{Address as _, AddressSet};

/// Distinct scopes, at most: one bit each.
const MAX_SCOPES: usize = Mask::BITS as usize;
/// What the rows may take in the kernel, at most.
const MAX_ROW_BYTES: usize = 16 << 20;

/// A set of scopes.
type Mask = u64;

/// Why scopes do not compile. Every message says what to merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// More scopes than bits.
    #[error(
        "the rules have more than {MAX_SCOPES} different scopes: give rules that are meant for the same clients, VLANs \
         and devices one and the same scope"
    )]
    Scopes,
    /// One dimension is cut too finely.
    #[error(
        "the {key} of all scopes cut {what} into {runs} runs, more than {MAX_RUNS}: name fewer {key}, or scope the rules \
         by what holds many of them: a prefix, a VLAN, a device"
    )]
    Runs {
        /// The scopes' key.
        key: &'static str,
        /// What its values are.
        what: &'static str,
        /// How many runs there would be.
        runs: usize,
    },
    /// The dimensions together are cut too finely.
    #[error(
        "the scopes tell {devices} kinds of devices, {vlans} of VLANs, {clients} of clients and {macs} of MAC addresses \
         apart, {} combinations, more than {MAX_COMBINATIONS}: let rules share their {}",
        devices * vlans * clients * macs,
        finest(*devices, *vlans, *clients, *macs)
    )]
    Combinations {
        /// Classes of devices.
        devices: usize,
        /// Classes of VLANs.
        vlans: usize,
        /// Classes of clients.
        clients: usize,
        /// Classes of MAC addresses.
        macs: usize,
    },
    /// The rows are too many or too long.
    #[error(
        "scoped rules overlap in {sets} combinations, which {groups} groups of packets tell apart: a table of {} MiB, \
         more than {}: let rules share scopes, or merge rules that share lists",
        (sets * groups * size_of::<u32>()).div_ceil(1 << 20),
        MAX_ROW_BYTES >> 20
    )]
    Rows {
        /// Sets with a scoped rule.
        sets: usize,
        /// Groups.
        groups: usize,
    },
    /// The set ids are used up.
    #[error(transparent)]
    Sets(#[from] TooManySets),
}

/// The key with the most classes.
fn finest(devices: usize, vlans: usize, clients: usize, macs: usize) -> &'static str {
    let keys = [(devices, "devices"), (vlans, "vlans"), (clients, "clients"), (macs, "macs")];
    keys.into_iter().max().map_or("scopes", |(_, key)| key)
}

/// The scopes' tables of one generation, as the kernel gets them; empty where no rule that lists an address has a scope.
#[derive(Clone, Debug, Default)]
pub struct ScopeTables {
    /// By dimension.
    pub classes: Vec<ClassTable>,
    /// By combination of classes.
    pub groups: Vec<Words>,
    /// The rows, one behind the other.
    pub narrowed: Vec<Words>,
}

impl ScopeTables {
    /// What they take in the kernel, in bytes: a map has one element at least.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.classes.len().max(1) * size_of::<ClassTable>()
            + (self.groups.len().max(1) + self.narrowed.len().max(1)) * size_of::<Words>()
    }
}

impl Scopes for ScopeTables {
    fn classes(&self, dimension: Dimension) -> Option<&ClassTable> {
        self.classes.get(dimension as usize)
    }

    fn groups(&self, block: u32) -> Option<&Words> {
        self.groups.get(block as usize)
    }

    fn narrowed(&self, block: u32) -> Option<&Words> {
        self.narrowed.get(block as usize)
    }
}

/// By set id: where its row starts, in words.
pub(super) type Rows = BTreeMap<u32, u32>;

/// Builds the tables for the scopes of `rules`, with a row for each of the sets `listed` that holds a scoped rule. Narrowed
/// sets that are new get their ids from `sets`. `devices`: the index of each device that there is.
pub(super) fn narrow<'a>(
    rules: impl Iterator<Item = (RuleId, &'a Scope)>,
    devices: &BTreeMap<String, u32>,
    listed: impl Iterator<Item = u32>,
    sets: &mut Sets,
) -> Result<(ScopeTables, Rows), ScopeError> {
    let scoped = Scoped::new(rules, devices)?;
    if scoped.scopes.is_empty() {
        return Ok(Default::default());
    }
    let mut listed: BTreeSet<u32> = listed.collect();
    listed.retain(|&set| scoped.mask_of(sets.members(set)) != 0);
    if listed.is_empty() {
        return Ok(Default::default());
    }
    let axes = AXES.map(|axis| Axis::new(&scoped.scopes, axis));
    let combinations = check_combinations(&axes)?;
    let classes = class_tables(&axes)?;
    let mut groups = Groups::default();
    let by_combination: Vec<u32> = (0..combinations).map(|number| groups.of(held_by(&axes, number))).collect();
    let groups = groups.masks;
    let words = listed.len().saturating_mul(groups.len());
    if words.saturating_mul(size_of::<u32>()) > MAX_ROW_BYTES {
        return Err(ScopeError::Rows { sets: listed.len(), groups: groups.len() });
    }
    let (mut narrowed, mut rows) = (Vec::with_capacity(words), Rows::new());
    for set in listed {
        rows.insert(set, narrowed.len() as u32);
        scoped.push_row(&mut narrowed, set, &groups, sets)?;
    }
    Ok((ScopeTables { classes, groups: blocks(&by_combination), narrowed: blocks(&narrowed) }, rows))
}

/// The words in elements of a map.
fn blocks(words: &[u32]) -> Vec<Words> {
    let block = |chunk: &[u32]| {
        let mut block = [0; BLOCK_WORDS];
        block.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        block
    };
    words.chunks(BLOCK_WORDS).map(block).collect()
}

/// The keys that one scope holds, by dimension; `None` where it holds all. Equal for scopes that mean the same.
#[derive(PartialEq, Eq)]
struct Held([Option<AddressSet<u128>>; DIMENSIONS.len()]);

impl Held {
    fn new(scope: &Scope, devices: &BTreeMap<String, u32>) -> Self {
        let number = |key: u64| (u128::from(key), u128::from(key));
        let mac = |&[a, b, c, d, e, f]: &[u8; 6]| number(u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for client in &scope.clients {
            match client {
                IpNet::V4(net) => v4.push((u32::from(net.network()).into(), u32::from(net.broadcast()).into())),
                IpNet::V6(net) => v6.push((net.network().into(), net.broadcast().into())),
            }
        }
        let (clients, indices) = (scope.clients.is_empty(), scope.devices.iter().filter_map(|name| devices.get(name)));
        Self(DIMENSIONS.map(|dimension| match dimension {
            Dimension::Device => limit(scope.devices.is_empty(), indices.clone().map(|&index| number(index.into()))),
            Dimension::Vlan => limit(scope.vlans.is_empty(), scope.vlans.iter().map(|&id| number(id.into()))),
            Dimension::Client4 => limit(clients, v4.iter().copied()),
            Dimension::Client6 => limit(clients, v6.iter().copied()),
            Dimension::Mac => limit(scope.macs.is_empty(), scope.macs.iter().map(mac)),
        }))
    }

    fn in_dimension(&self, dimension: Dimension) -> Option<&AddressSet<u128>> {
        self.0.get(dimension as usize)?.as_ref()
    }
}

fn limit(everywhere: bool, keys: impl Iterator<Item = (u128, u128)>) -> Option<AddressSet<u128>> {
    (!everywhere).then(|| keys.collect())
}

/// The distinct scopes, and the bit of each scoped rule.
struct Scoped {
    scopes: Vec<Held>,
    bits: HashMap<RuleId, Mask>,
}

impl Scoped {
    fn new<'a>(
        rules: impl Iterator<Item = (RuleId, &'a Scope)>,
        devices: &BTreeMap<String, u32>,
    ) -> Result<Self, ScopeError> {
        let mut scoped = Self { scopes: Vec::new(), bits: HashMap::new() };
        for (rule, scope) in rules.filter(|(_, scope)| !scope.is_everywhere()) {
            let held = Held::new(scope, devices);
            let bit = scoped.scopes.iter().position(|known| *known == held).unwrap_or_else(|| {
                scoped.scopes.push(held);
                scoped.scopes.len() - 1
            });
            if bit >= MAX_SCOPES {
                return Err(ScopeError::Scopes);
            }
            scoped.bits.insert(rule, 1 << bit);
        }
        Ok(scoped)
    }

    /// The scopes of some rules.
    fn mask_of(&self, rules: &[RuleId]) -> Mask {
        rules.iter().filter_map(|rule| self.bits.get(rule)).fold(0, |mask, bit| mask | bit)
    }

    /// Appends the row of `set`: for each of `groups` the id of the rules that speak in it.
    fn push_row(&self, row: &mut Vec<u32>, set: u32, groups: &[Mask], sets: &mut Sets) -> Result<(), TooManySets> {
        let members = sets.members(set).to_vec();
        let mine = self.mask_of(&members);
        // Groups differ in scopes that this set has none of.
        let mut known: HashMap<Mask, u32> = HashMap::new();
        for held in groups.iter().map(|held| held & mine) {
            if let Some(&id) = known.get(&held) {
                row.push(id);
                continue;
            }
            let speaks = |rule: &&RuleId| self.bits.get(*rule).is_none_or(|bit| held & bit != 0);
            let id = sets.set_id(&members.iter().filter(speaks).copied().collect::<Vec<_>>())?;
            known.insert(held, id);
            row.push(id);
        }
        Ok(())
    }
}

/// Dimensions that share their classes: a packet is of one family.
type AxisDimensions = &'static [Dimension];

/// The axes of the combinations, the fastest first.
const AXES: [AxisDimensions; 4] =
    [&[Dimension::Device], &[Dimension::Vlan], &[Dimension::Client4, Dimension::Client6], &[Dimension::Mac]];

/// A run of keys: the first of them, and the scopes that hold them.
type Run = (u128, Mask);

struct Axis {
    runs: Vec<(Dimension, Vec<Run>)>,
    /// By class: the scopes that hold its keys.
    classes: Vec<Mask>,
}

impl Axis {
    fn new(scopes: &[Held], dimensions: AxisDimensions) -> Self {
        let runs: Vec<_> = dimensions.iter().map(|&dimension| (dimension, runs(scopes, dimension))).collect();
        let mut classes: Vec<Mask> = runs.iter().flat_map(|(_, runs)| runs.iter().map(|run| run.1)).collect();
        classes.sort_unstable();
        classes.dedup();
        Self { runs, classes }
    }
}

fn runs(scopes: &[Held], dimension: Dimension) -> Vec<Run> {
    let limits = scopes.iter().filter_map(|scope| scope.in_dimension(dimension));
    let borders = limits.flat_map(AddressSet::ranges).flat_map(|&(first, last)| [Some(first), last.next()]);
    let mut starts: Vec<u128> = borders.flatten().chain([0]).collect();
    starts.sort_unstable();
    starts.dedup();
    let holds = |scope: &Held, key| scope.in_dimension(dimension).is_none_or(|limit| limit.contains(key));
    let held_by = |key| {
        let bits = (0..).zip(scopes).filter(|(_, scope)| holds(scope, key));
        bits.fold(0, |mask: Mask, (bit, _)| mask | 1 << bit)
    };
    let mut runs: Vec<Run> = starts.into_iter().map(|start| (start, held_by(start))).collect();
    runs.dedup_by_key(|run| run.1);
    runs
}

/// How many combinations of classes there are.
fn check_combinations(axes: &[Axis; AXES.len()]) -> Result<usize, ScopeError> {
    let [devices, vlans, clients, macs] = axes.each_ref().map(|axis| axis.classes.len());
    let combinations = [devices, vlans, clients, macs].into_iter().fold(1, usize::saturating_mul);
    if combinations > MAX_COMBINATIONS {
        return Err(ScopeError::Combinations { devices, vlans, clients, macs });
    }
    Ok(combinations)
}

/// The scopes that hold combination number `number`.
fn held_by(axes: &[Axis; AXES.len()], number: usize) -> Mask {
    let (mut rest, mut held) = (number, Mask::MAX);
    for Axis { classes, .. } in axes {
        held &= classes.get(rest % classes.len()).copied().unwrap_or(0);
        rest /= classes.len();
    }
    held
}

/// The distinct masks of combinations: a group's number is its place.
#[derive(Default)]
struct Groups {
    masks: Vec<Mask>,
    numbers: HashMap<Mask, u32>,
}

impl Groups {
    fn of(&mut self, held: Mask) -> u32 {
        *self.numbers.entry(held).or_insert_with(|| {
            self.masks.push(held);
            self.masks.len() as u32 - 1
        })
    }
}

fn class_tables(axes: &[Axis; AXES.len()]) -> Result<Vec<ClassTable>, ScopeError> {
    let mut tables = Vec::with_capacity(DIMENSIONS.len());
    let mut stride = 1;
    for axis in axes {
        for (dimension, runs) in &axis.runs {
            tables.push(class_table(*dimension, runs, &axis.classes, stride)?);
        }
        stride *= axis.classes.len();
    }
    Ok(tables)
}

fn class_table(dimension: Dimension, runs: &[Run], classes: &[Mask], stride: usize) -> Result<ClassTable, ScopeError> {
    if runs.len() > MAX_RUNS {
        let (key, what) = words(dimension);
        return Err(ScopeError::Runs { key, what, runs: runs.len() });
    }
    let mut table = ClassTable { starts: [Key::default(); MAX_RUNS], classes: [0; MAX_RUNS], runs: runs.len() as u64 };
    for ((start, class), &(first, held)) in table.starts.iter_mut().zip(&mut table.classes).zip(runs) {
        *start = Key { high: (first >> 64) as u64, low: first as u64 };
        *class = (classes.binary_search(&held).unwrap_or(0) * stride) as u16;
    }
    Ok(table)
}

/// The scopes' key for a dimension, and what its values are.
fn words(dimension: Dimension) -> (&'static str, &'static str) {
    match dimension {
        Dimension::Device => ("devices", "the devices"),
        Dimension::Vlan => ("vlans", "the VLAN ids"),
        Dimension::Client4 => ("clients", "the IPv4 addresses"),
        Dimension::Client6 => ("clients", "the IPv6 addresses"),
        Dimension::Mac => ("macs", "the MAC addresses"),
    }
}
