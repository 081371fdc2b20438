//! What comes into the controller and what goes out of it. Holds no logic.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::confirm::{ConfigText, Saved};
use crate::config::{Config, Location};
use crate::ruleset::parts::{Copies, PartId};
use crate::ruleset::{Resolved, Rule, RuleAction};
use crate::source::copy::{Copy, Validators};
use crate::source::{Content, Need};

/// One time on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since some start; never jumps. Waits are counted on it.
    pub up: Duration,
    /// Unix seconds; may jump. What people and files are told.
    pub unix: i64,
}

/// How asking a part ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server says that nothing changed.
    Unchanged,
    /// There is content.
    Content {
        /// What it says.
        content: Content,
        /// What the next conditional request may send.
        validators: Validators,
    },
    /// There is none.
    Failed {
        /// Why, in one line.
        problem: String,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// One document to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The part.
    pub part: PartId,
    /// Where it is.
    pub location: Location,
    /// What is read from it.
    pub need: Need,
    /// What a conditional request sends.
    pub validators: Validators,
    /// The most bytes it may have on the wire.
    pub max_bytes: u64,
}

/// What is, or may become, in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The configuration.
    pub config: Arc<Config>,
    /// Its text, where it comes from a file.
    pub text: Option<Arc<ConfigText>>,
    /// The last good copies of its parts.
    pub copies: Copies,
    /// Names of the rules that their schedule switches off.
    pub resting: BTreeSet<String>,
    /// Block rules only count.
    pub paused: bool,
}

impl Policy {
    /// All its rules, with the actions that they have now: while weir is paused, block rules only count.
    #[must_use]
    pub fn rules(&self, resolved: &Resolved) -> Vec<Rule> {
        let mut rules = resolved.rules();
        if self.paused {
            let blocking = rules.iter_mut().filter(|rule| rule.identity.action == RuleAction::Block);
            blocking.for_each(|rule| rule.identity.action = RuleAction::Monitor);
        }
        rules
    }

    /// Whether a rule is not switched off by its schedule.
    #[must_use]
    pub fn is_awake(&self, rule: &Rule) -> bool {
        !self.resting.contains(&rule.identity.name)
    }
}

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A configuration is to take effect: at the start, at a reload, by `apply`.
    Load(Box<Load>),
    /// A part was asked.
    Fetched(PartId, Outcome),
    /// The last [`Command::Publish`] was executed.
    Published(Result<(), String>),
    /// The operator wants fresh copies now; those of the sources named are taken over whatever the gates say.
    Update(BTreeSet<String>),
    /// The operator keeps what was applied.
    Confirm,
    /// The operator wants back what was before.
    RollBack,
    /// The operator lets block rules only count, for this long.
    Pause(Duration),
    /// The operator ends a pause.
    Resume,
    /// Some time has passed.
    Tick,
}

/// A configuration with what was read for it.
#[derive(Debug)]
pub struct Load {
    /// The configuration.
    pub config: Config,
    /// Its text, where it comes from a file.
    pub text: Option<ConfigText>,
    /// Copies of the files that it names directly.
    pub files: Copies,
    /// Copies of named sources, as they were stored.
    pub stored: Copies,
    /// Roll back after this time, unless confirmed.
    pub confirm: Option<Duration>,
}

/// What the daemon does for the controller.
#[derive(Debug)]
pub enum Command {
    /// Ask for a document.
    Fetch(Box<Job>),
    /// Make a policy live, and say how it went.
    Publish(Arc<Policy>),
    /// Store a copy.
    Keep(PartId, Arc<Copy>),
    /// Store what must survive a restart.
    Save(Saved),
    /// Tell the operator.
    Say(Level, String),
}

/// How loud a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As intended.
    Info,
    /// A copy stays that should have been renewed.
    Warning,
    /// Something is not enforced.
    Error,
}
