//! Set ids: one for each distinct combination of rules that an address can be in. Must not know addresses.
//!
//! Ids are interned and never given twice, so a counter keeps its meaning from one generation to the next. A rule is
//! the same rule as long as its name, action and direction are; a rule that changes one of them counts anew.

use std::collections::HashMap;

use filter_common::abi::SetActions;
use filter_common::decide::{Action, Direction};
use filter_common::lookup::{MAX_SET, UNLISTED};
use serde::{Deserialize, Serialize};

/// What a rule does with the packets it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    /// Drop.
    Block,
    /// Pass, and count what a block would have dropped.
    Monitor,
    /// Pass, whatever other rules say.
    Allow,
}

impl RuleAction {
    /// The word for it in configuration and output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Monitor => "monitor",
            Self::Allow => "allow",
        }
    }

    fn action(self) -> Action {
        match self {
            Self::Block => Action::Block,
            Self::Monitor => Action::Monitor,
            Self::Allow => Action::Allow,
        }
    }
}

/// Which packets a rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleDirection {
    /// Those to the listed networks.
    Out,
    /// Those from the listed networks.
    In,
    /// Both.
    #[default]
    Both,
}

impl RuleDirection {
    /// The word for it in configuration and output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
            Self::Both => "both",
        }
    }

    /// True when the rule matches packets of `direction`.
    #[must_use]
    pub fn covers(self, direction: Direction) -> bool {
        match self {
            Self::Out => direction == Direction::Out,
            Self::In => direction == Direction::In,
            Self::Both => true,
        }
    }
}

/// What makes a rule the same rule in two generations.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleIdentity {
    /// The operator's name for it.
    pub name: String,
    /// What it does.
    pub action: RuleAction,
    /// Which packets it matches.
    pub direction: RuleDirection,
}

/// A rule's number in a [`Sets`]; never given twice.
pub type RuleId = u32;

/// No more set ids: tables have room for [`MAX_SET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rules overlap in more than {MAX_SET} combinations: merge rules that share lists")]
pub struct TooManySets;

/// Every rule and every combination of rules seen so far.
#[derive(Clone, Debug)]
pub struct Sets {
    rules: Vec<RuleIdentity>,
    rule_ids: HashMap<RuleIdentity, RuleId>,
    members: Vec<Box<[RuleId]>>,
    set_ids: HashMap<Box<[RuleId]>, u32>,
    actions: Vec<SetActions>,
}

impl Default for Sets {
    /// Only the empty set, [`UNLISTED`].
    fn default() -> Self {
        let none: Box<[RuleId]> = Box::default();
        Self {
            rules: Vec::new(),
            rule_ids: HashMap::new(),
            members: vec![none.clone()],
            set_ids: HashMap::from([(none, UNLISTED)]),
            actions: vec![SetActions::default()],
        }
    }
}

impl Sets {
    /// The number of a rule, a fresh one at its first sight.
    pub fn rule_id(&mut self, identity: &RuleIdentity) -> RuleId {
        if let Some(&id) = self.rule_ids.get(identity) {
            return id;
        }
        let id = self.rules.len() as RuleId;
        self.rules.push(identity.clone());
        self.rule_ids.insert(identity.clone(), id);
        id
    }

    /// The id of the set of exactly the rules `members`, which are sorted and distinct.
    pub fn set_id(&mut self, members: &[RuleId]) -> Result<u32, TooManySets> {
        if let Some(&id) = self.set_ids.get(members) {
            return Ok(id);
        }
        let id = u32::try_from(self.members.len()).ok().filter(|&id| id <= MAX_SET).ok_or(TooManySets)?;
        let action = |direction| strongest(self.named(members), direction) as u32;
        self.actions.push(SetActions { out: action(Direction::Out), in_: action(Direction::In), scoped: 0 });
        self.members.push(members.into());
        self.set_ids.insert(members.into(), id);
        Ok(id)
    }

    /// The rules of a set, sorted; none for an id that was never given.
    pub(super) fn members(&self, set: u32) -> &[RuleId] {
        self.members.get(set as usize).map_or(&[], AsRef::as_ref)
    }

    /// By set id: what to do with the set's packets. Knows no scopes: those are a generation's own.
    #[must_use]
    pub fn actions(&self) -> &[SetActions] {
        &self.actions
    }

    /// By set id: the names of its rules, separated by commas.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let name = |&id: &RuleId| self.rules.get(id as usize).map(|rule| rule.name.as_str());
        self.members.iter().map(|members| members.iter().filter_map(name).collect::<Vec<_>>().join(",")).collect()
    }

    /// How many set ids were given, the empty set's included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Never: the empty set is always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The rules of a set, in the order of their numbers; none for an id that was never given.
    pub fn rules_of(&self, set: u32) -> impl Iterator<Item = &RuleIdentity> + Clone {
        self.named(self.members(set))
    }

    fn named<'a>(&'a self, members: &'a [RuleId]) -> impl Iterator<Item = &'a RuleIdentity> + Clone {
        members.iter().filter_map(|&id| self.rules.get(id as usize))
    }

    /// By set id: the rules of each set, for whoever goes on with the same ids.
    #[must_use]
    pub fn export(&self) -> Vec<Vec<RuleIdentity>> {
        (0..self.members.len()).map(|set| self.rules_of(set as u32).cloned().collect()).collect()
    }

    /// The sets that were exported, with the same ids. `None` where the list was made by no export.
    #[must_use]
    pub fn restore(sets: &[Vec<RuleIdentity>]) -> Option<Self> {
        let mut restored = Self::default();
        for (set, rules) in sets.iter().enumerate() {
            let mut members: Vec<RuleId> = rules.iter().map(|rule| restored.rule_id(rule)).collect();
            members.sort_unstable();
            if restored.set_id(&members).ok()? as usize != set {
                return None;
            }
        }
        Some(restored)
    }

    /// The rules that a packet of set `set` and `direction` is counted for.
    pub fn credited(&self, set: u32, direction: Direction) -> impl Iterator<Item = &RuleIdentity> {
        credit(self.rules_of(set), direction)
    }
}

/// What the rules together ask for in one direction: allow beats block, block beats monitor.
fn strongest<'a>(rules: impl Iterator<Item = &'a RuleIdentity>, direction: Direction) -> Action {
    let asked = rules.filter(|rule| rule.direction.covers(direction)).map(|rule| rule.action.action());
    // An allow rule wins, though its number is the smallest.
    asked.max_by_key(|&action| if action == Action::Allow { u32::MAX } else { action as u32 }).unwrap_or(Action::None)
}

/// Of the rules of a set, those that a packet of `direction` is counted for: those that made its verdict. Where an allow
/// rule passed it, only the allow rules; else the block and monitor rules.
pub fn credit<'a>(
    rules: impl Iterator<Item = &'a RuleIdentity> + Clone,
    direction: Direction,
) -> impl Iterator<Item = &'a RuleIdentity> {
    let allowed = strongest(rules.clone(), direction) == Action::Allow;
    rules.filter(move |rule| rule.direction.covers(direction) && (rule.action == RuleAction::Allow) == allowed)
}
