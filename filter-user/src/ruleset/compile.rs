//! Rules and lists in, tables out. Must not read files nor know list formats.
//!
//! Nested and overlapping lists are flattened: a sweep over all range ends gives, for every run of addresses, the
//! rules it is in; each distinct combination is a set. Addresses of the guard get the empty set whatever lists them.
//! Scopes do not change which set an address is in: `narrow` makes the tables that leave of it what speaks for a packet.

use std::collections::BTreeMap;

use filter_common::abi::SetActions;
use filter_common::lookup::{Block, Root, Slot, Tables, UNLISTED};
use filter_common::scope::{ClassTable, Dimension, Scopes, Words};
use filter_common::{decide, lookup};

use super::narrow::{ScopeError, ScopeTables, narrow};
use super::scope::Scope;
use super::sets::{RuleIdentity, Sets, TooManySets};
use super::table::{Boundary, HostTables, TableFull};
use crate::prefix::{Address, AddressSet};

/// One rule, its lists resolved to addresses. The rules of one ruleset have distinct identities.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Name, action and direction.
    pub identity: RuleIdentity,
    /// The IPv4 addresses it lists.
    pub v4: AddressSet<u32>,
    /// The IPv6 addresses it lists.
    pub v6: AddressSet<u128>,
    /// Which packets it speaks for, beside their listed address.
    pub scope: Scope,
}

/// The never-block set: addresses that no rule takes effect on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Its IPv4 addresses.
    pub v4: AddressSet<u32>,
    /// Its IPv6 addresses.
    pub v6: AddressSet<u128>,
}

/// Why rules do not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A table is full.
    #[error(transparent)]
    Table(#[from] TableFull),
    /// The set ids are used up.
    #[error(transparent)]
    Sets(#[from] TooManySets),
    /// The scopes are too many or too fine.
    #[error(transparent)]
    Scopes(#[from] ScopeError),
}

/// All rules of one generation as the kernel gets them.
#[derive(Clone, Debug)]
pub struct Ruleset {
    /// The prefix tables.
    pub tables: HostTables,
    /// The scopes' tables.
    pub scopes: ScopeTables,
    /// By set id: what to do, and the row by which it is narrowed.
    pub actions: Vec<SetActions>,
}

/// Compiles `rules`. Set ids come from `sets`, which grows by the combinations it has not seen. `devices`: the index of
/// each device that there is; a device that scopes name and that is not among them holds no packet.
pub fn compile(
    rules: &[Rule],
    guard: &Guard,
    sets: &mut Sets,
    devices: &BTreeMap<String, u32>,
) -> Result<Ruleset, CompileError> {
    let ids: Vec<u32> = rules.iter().map(|rule| sets.rule_id(&rule.identity)).collect();
    let v4 = flatten(ids.iter().zip(rules).map(|(&id, rule)| (id, &rule.v4)), &guard.v4, sets)?;
    let v6 = flatten(ids.iter().zip(rules).map(|(&id, rule)| (id, &rule.v6)), &guard.v6, sets)?;
    let listed = v4.iter().map(|range| range.1).chain(v6.iter().map(|range| range.1));
    let limits = ids.iter().zip(rules).map(|(&id, rule)| (id, &rule.scope));
    let (scopes, rows) = narrow(limits, devices, listed, sets)?;
    let mut actions = sets.actions().to_vec();
    for (set, row) in rows {
        actions.get_mut(set as usize).into_iter().for_each(|actions| actions.scoped = row + 1);
    }
    let slots: Vec<_> = (0..).zip(&actions).map(|(set, actions)| Slot::of_set(set, actions.blocks())).collect();
    let tables = HostTables::build(&v4, &v6, &slots)?;
    Ok(Ruleset { tables, scopes, actions })
}

/// The guard's place among rule numbers: it sorts last and is no rule.
const GUARD: u32 = u32::MAX;

/// Where a list begins or stops to hold: at `address`, rule `rule`.
struct Edge<A> {
    address: A,
    rule: u32,
    opens: bool,
}

fn flatten<'a, A: Address + Default>(
    lists: impl Iterator<Item = (u32, &'a AddressSet<A>)>,
    guard: &'a AddressSet<A>,
    sets: &mut Sets,
) -> Result<Vec<Boundary<A>>, TooManySets> {
    let mut edges = Vec::new();
    for (rule, list) in lists.chain([(GUARD, guard)]) {
        edges.reserve(2 * list.ranges().len());
        for &(first, last) in list.ranges() {
            edges.push(Edge { address: first, rule, opens: true });
            edges.extend(last.next().map(|after| Edge { address: after, rule, opens: false }));
        }
    }
    // Each list is sorted: the stable sort finds these runs and merges them.
    edges.sort_by_key(|edge| edge.address);

    let mut boundaries: Vec<Boundary<A>> = Vec::with_capacity(edges.len() + 1);
    boundaries.push((A::default(), UNLISTED));
    let mut holding = Holding::default();
    for group in edges.chunk_by(|a, b| a.address == b.address) {
        for edge in group {
            holding.turn(edge);
        }
        let set = holding.set(sets)?;
        match (group.first(), boundaries.last_mut()) {
            (Some(edge), Some(last)) if last.0 == edge.address => last.1 = set,
            (Some(edge), Some(last)) if last.1 != set => boundaries.push((edge.address, set)),
            _ => {}
        }
    }
    Ok(boundaries)
}

/// The rules that hold at one point of the sweep. Ranges of one list never touch, so a rule's edges alternate.
#[derive(Default)]
struct Holding {
    /// Sorted.
    rules: Vec<u32>,
    /// The rules whose set was asked for last, and its id: where few rules overlap, most often they are asked for again.
    latest: (Vec<u32>, u32),
}

impl Holding {
    fn turn<A>(&mut self, edge: &Edge<A>) {
        match self.rules.binary_search(&edge.rule) {
            Ok(at) if !edge.opens => {
                self.rules.remove(at);
            }
            Err(at) if edge.opens => self.rules.insert(at, edge.rule),
            _ => {}
        }
    }

    fn set(&mut self, sets: &mut Sets) -> Result<u32, TooManySets> {
        if self.rules.last().is_none_or(|&last| last == GUARD) {
            return Ok(UNLISTED);
        }
        if self.latest.0 != self.rules {
            self.latest.1 = sets.set_id(&self.rules)?;
            self.latest.0.clone_from(&self.rules);
        }
        Ok(self.latest.1)
    }
}

impl Tables for Ruleset {
    fn root4(&self) -> &Root {
        self.tables.root4()
    }

    fn root6(&self) -> &Root {
        self.tables.root6()
    }

    fn block4(&self, block: u32) -> Option<&Block> {
        self.tables.block4(block)
    }

    fn block6(&self, block: u32) -> Option<&Block> {
        self.tables.block6(block)
    }
}

impl Scopes for Ruleset {
    fn classes(&self, dimension: Dimension) -> Option<&ClassTable> {
        self.scopes.classes(dimension)
    }

    fn groups(&self, block: u32) -> Option<&Words> {
        self.scopes.groups(block)
    }

    fn narrowed(&self, block: u32) -> Option<&Words> {
        self.scopes.narrowed(block)
    }
}

impl decide::Ruleset for Ruleset {
    fn actions(&self, set: u32) -> Option<&SetActions> {
        self.actions.get(set as usize)
    }
}

impl Ruleset {
    /// What its tables take in the kernel, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tables.bytes() + self.scopes.bytes()
    }

    /// The set of an address.
    #[must_use]
    pub fn set_of(&self, address: std::net::IpAddr) -> u32 {
        match address {
            std::net::IpAddr::V4(address) => lookup::slot_of_v4(self, address.into()).set(),
            std::net::IpAddr::V6(address) => {
                let bits = u128::from(address);
                lookup::slot_of_v6(self, [(bits >> 64) as u64, bits as u64]).set()
            }
        }
    }
}
