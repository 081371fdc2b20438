//! One part's life: when it is asked, what an answer does to its copy, how it waits after a failure. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use super::{Moment, Outcome};
use crate::config::{Location, host_of};
use crate::ruleset::parts::Part;
use crate::source::copy::{Copy, Provenance, Validators};
use crate::source::gate;
use crate::source::{Content, Need};

/// The longest wait after failures, however long a copy is good.
const LONGEST_WAIT: Duration = Duration::from_hours(6);
/// A server that never says anything but "not modified" is asked for the whole now and then.
const UNCHANGED_MOST: u32 = 8;
/// A copy that is older than this many refreshes is stale.
const STALE_AFTER: u32 = 3;

/// What is known of one part.
#[derive(Clone, Debug)]
pub(super) struct PartState {
    pub(super) part: Part,
    /// The last good copy, as it is in force or about to be.
    pub(super) copy: Option<Arc<Copy>>,
    /// When it is asked next, on the clock that never jumps.
    pub(super) due: Duration,
    pub(super) asking: bool,
    /// How often it was asked and answered, or failed to.
    pub(super) answers: u64,
    /// Failures in a row, and what the last one was.
    pub(super) failures: u32,
    /// Failures since the daemon started.
    pub(super) failures_total: u64,
    pub(super) problem: Option<String>,
    /// The operator takes over whatever comes next.
    pub(super) waived: bool,
    unchanged: u32,
}

/// What an answer came to.
#[derive(Debug)]
pub(super) enum Verdict {
    /// There is a new copy.
    Renewed(Arc<Copy>),
    /// The copy is confirmed.
    Same,
    /// The copy stays because of this.
    Refused(String),
}

impl PartState {
    /// A part that is first needed at `now`, with the copy that was stored of it.
    pub(super) fn new(part: Part, copy: Option<Arc<Copy>>, now: Moment, seed: u64) -> Self {
        let mut state = Self {
            part,
            copy,
            due: now.up,
            asking: false,
            answers: 0,
            failures: 0,
            failures_total: 0,
            problem: None,
            waived: false,
            unchanged: 0,
        };
        let usable = state.copy.as_ref().filter(|copy| state.covers(copy));
        let age =
            usable.map(|copy| Duration::from_secs(u64::try_from(now.unix - copy.provenance.fetched).unwrap_or(0)));
        if let Some(age) = age {
            state.due = now.up.saturating_add(state.jittered(state.part.refresh, seed).saturating_sub(age));
        }
        state
    }

    /// The same part under another configuration.
    pub(super) fn replan(&mut self, part: Part, now: Moment) {
        let covered = self.copy.as_ref().is_none_or(|copy| covers(&part.need, copy));
        if part.location != self.part.location || !covered {
            self.due = now.up;
        }
        self.due = self.due.min(now.up.saturating_add(part.refresh));
        self.part = part;
    }

    /// Whether a copy answers what the part is read for now.
    fn covers(&self, copy: &Copy) -> bool {
        covers(&self.part.need, copy)
    }

    /// Who must not be asked twice at once.
    pub(super) fn host(&self) -> String {
        match &self.part.location {
            Location::Url(url) => host_of(url).unwrap_or(url).to_ascii_lowercase(),
            Location::Irr(server) => server.clone(),
            Location::File(path) => path.display().to_string(),
        }
    }

    /// What a conditional request may send.
    pub(super) fn validators(&self) -> Validators {
        let copy = self.copy.as_ref().filter(|copy| self.covers(copy) && self.same_place(copy));
        match copy {
            Some(copy) if !self.waived && self.unchanged < UNCHANGED_MOST => copy.provenance.validators.clone(),
            _ => Validators::default(),
        }
    }

    fn same_place(&self, copy: &Copy) -> bool {
        copy.provenance.location == shown(&self.part.location)
    }

    /// What came answers a question that was put under another configuration: it is asked again.
    pub(super) fn outdated(&mut self, now: Moment) {
        self.asking = false;
        self.due = now.up;
    }

    /// Takes an answer in.
    pub(super) fn answered(&mut self, outcome: Outcome, now: Moment, retry: Duration, seed: u64) -> Verdict {
        self.asking = false;
        self.answers += 1;
        match outcome {
            Outcome::Unchanged if self.copy.is_some() => {
                self.unchanged += 1;
                // There is nothing to take over.
                self.waived = false;
                self.succeed(now, seed);
                if let Some(copy) = &mut self.copy {
                    Arc::make_mut(copy).provenance.fetched = now.unix;
                }
                Verdict::Same
            }
            Outcome::Unchanged => {
                self.fail("answered \"not modified\" to a question without condition", None, now, retry, seed)
            }
            Outcome::Failed { problem, retry_after } => self.fail(&problem, retry_after, now, retry, seed),
            Outcome::Content { content, validators } => self.judge(content, validators, now, retry, seed),
        }
    }

    fn judge(&mut self, content: Content, validators: Validators, now: Moment, retry: Duration, seed: u64) -> Verdict {
        // A copy that was read for other ASes says nothing about what came and went.
        let old = self.copy.clone().filter(|copy| self.covers(copy) && !self.waived);
        if !self.waived
            && let Err(refusal) = gate::admit(old.as_deref(), &content, &self.part.need, &self.part.limits)
        {
            return self.fail(&format!("refused: {refusal}"), None, now, retry, seed);
        }
        let wanted = match &self.part.need {
            Need::Origins(wanted) => Some(wanted.clone()),
            Need::List | Need::Payloads | Need::Registered(_) => None,
        };
        let provenance = Provenance {
            location: shown(&self.part.location),
            fetched: now.unix,
            changed: now.unix,
            validators,
            wanted,
            rows: content.rows,
        };
        let mut copy = Copy::renew(self.copy.as_deref(), content, provenance, now.unix);
        self.unchanged = 0;
        self.waived = false;
        self.succeed(now, seed);
        match &self.copy {
            Some(old) if old.lists_the_same(&copy) && old.provenance.wanted == copy.provenance.wanted => {
                // Written to disk only when it lists something else: flash wears out.
                copy.provenance.changed = old.provenance.changed;
                self.copy = Some(Arc::new(copy));
                Verdict::Same
            }
            _ => {
                let copy = Arc::new(copy);
                self.copy = Some(Arc::clone(&copy));
                Verdict::Renewed(copy)
            }
        }
    }

    fn succeed(&mut self, now: Moment, seed: u64) {
        self.failures = 0;
        self.problem = None;
        self.due = now.up.saturating_add(self.jittered(self.part.refresh, seed));
    }

    /// Notes a failure; the copy stays.
    pub(super) fn fail(
        &mut self,
        problem: &str,
        retry_after: Option<Duration>,
        now: Moment,
        retry: Duration,
        seed: u64,
    ) -> Verdict {
        self.failures = self.failures.saturating_add(1);
        self.failures_total += 1;
        self.problem = Some(problem.into());
        let doubled = retry.saturating_mul(1 << (self.failures - 1).min(16)).min(self.part.refresh.min(LONGEST_WAIT));
        let wait = self.jittered(doubled.max(retry), seed).max(retry_after.unwrap_or_default().min(LONGEST_WAIT * 4));
        self.due = now.up.saturating_add(wait);
        Verdict::Refused(problem.into())
    }

    /// `span` within a tenth, so that a fleet does not ask at once.
    fn jittered(&self, span: Duration, seed: u64) -> Duration {
        let mut hasher = DefaultHasher::new();
        (seed, &self.part.id, self.failures, self.copy.as_ref().map(|copy| copy.provenance.fetched)).hash(&mut hasher);
        // 900 to 1100 thousandths.
        let share = 900 + u32::try_from(hasher.finish() % 201).unwrap_or(100);
        span.checked_mul(share).map_or(span, |span| span / 1000)
    }

    /// True for a registry: it blocks nothing, whatever it says.
    pub(super) fn only_compares(&self) -> bool {
        matches!(self.part.need, Need::Registered(_))
    }

    /// True when the copy is older than a few refreshes, and something is enforced by it.
    pub(super) fn is_stale(&self, now: Moment) -> bool {
        let Some(copy) = self.copy.as_ref().filter(|_| !self.only_compares()) else { return false };
        let age = Duration::from_secs(u64::try_from(now.unix - copy.provenance.fetched).unwrap_or(0));
        age > self.part.refresh.saturating_mul(STALE_AFTER)
    }
}

fn covers(need: &Need, copy: &Copy) -> bool {
    match need {
        Need::Origins(wanted) => copy.provenance.wanted.as_ref().is_some_and(|had| had.covers(wanted)),
        Need::List | Need::Payloads | Need::Registered(_) => true,
    }
}

/// A location as people write it.
#[must_use]
pub(super) fn shown(location: &Location) -> String {
    match location {
        Location::Url(url) => url.clone(),
        Location::File(path) => path.display().to_string(),
        Location::Irr(server) => format!("irr://{server}"),
    }
}
