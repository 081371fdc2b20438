//! The controller: what to do when a configuration, an answer of a source, an operator or the clock says something. Does no
//! I/O and reads no clock: events and time come in, commands go out, and `daemon` executes them.
//!
//! The ruleset in force is a [`Policy`]: a configuration, and the last good copy of each part. A change becomes a
//! *candidate*; the daemon publishes it and says how that went; only then is it in force. A publish that fails leaves
//! everything as it was.

mod confirm;
mod event;
mod part;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Location};
use crate::ruleset::parts::{Part, PartId, parts};
use crate::source::Need;
use crate::source::copy::Copy;

pub use confirm::{ConfigText, Saved, Start, Waiting};
pub use event::{Command, Event, Job, Level, Load, Moment, Outcome, Policy};
use part::{PartState, Verdict};
pub use status::{ListState, ListStatus, day};

/// Why a candidate was made.
#[derive(Debug, PartialEq, Eq)]
enum Cause {
    Load { confirm: Option<Duration> },
    Refresh(Vec<(PartId, Arc<Copy>)>),
    Schedule,
    RollBack,
}

/// The least time between two questions to one host.
const HOST_PAUSE: Duration = Duration::from_secs(1);
/// Copies that arrive one after the other are published together, but not later than this after the first: a category asks
/// for hundreds of documents, one a second.
const GATHER: Duration = Duration::from_secs(10);
/// The wait before a rollback or a scheduled change that failed is tried again.
const AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Host {
    busy: bool,
    free: Duration,
}

/// A question that is under way.
#[derive(Debug)]
struct Asked {
    host: String,
    location: Location,
    need: Need,
}

/// The controller.
#[derive(Debug)]
pub struct Controller {
    seed: u64,
    live: Option<Arc<Policy>>,
    candidate: Option<(Arc<Policy>, Cause)>,
    parts: BTreeMap<PartId, PartState>,
    hosts: BTreeMap<String, Host>,
    /// What each part is asked, and which host is busy with it.
    asked: BTreeMap<PartId, Asked>,
    /// Copies that are good and not published yet, and when the first of them came.
    fresh: BTreeMap<PartId, Arc<Copy>>,
    fresh_since: Duration,
    waiting: Option<Waiting>,
    rejected: Option<String>,
    /// When a schedule or a pause that switched rules, and could not be published, is tried again.
    switch_again: Duration,
    /// Until when block rules only count. Not kept over a restart: what is blocked is blocked again.
    paused_until: Duration,
}

impl Controller {
    /// A controller with nothing in force. `seed` spreads the questions of many routers over time.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            live: None,
            candidate: None,
            parts: BTreeMap::new(),
            hosts: BTreeMap::new(),
            asked: BTreeMap::new(),
            fresh: BTreeMap::new(),
            fresh_since: Duration::ZERO,
            waiting: None,
            rejected: None,
            switch_again: Duration::ZERO,
            paused_until: Duration::ZERO,
        }
    }

    /// Takes over from a daemon that ended while it waited for a confirmation, or after a rollback.
    pub fn resume(&mut self, waiting: Option<Waiting>, rejected: Option<String>) {
        self.waiting = waiting;
        self.rejected = rejected;
    }

    /// What is in force.
    #[must_use]
    pub fn live(&self) -> Option<&Arc<Policy>> {
        self.live.as_ref()
    }

    /// Reacts to an event.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Command> {
        let mut commands = Vec::new();
        match event {
            Event::Load(load) => self.load(*load, now, &mut commands),
            Event::Fetched(part, outcome) => self.fetched(&part, outcome, now, &mut commands),
            Event::Published(result) => self.published(result, now, &mut commands),
            Event::Update(accept) => self.update(&accept, now),
            Event::Confirm => self.confirm(&mut commands),
            Event::RollBack => self.roll_back("the operator asked for it", &mut commands),
            Event::Pause(span) => self.paused_until = now.up.saturating_add(span),
            Event::Resume => self.paused_until = Duration::ZERO,
            Event::Tick => {}
        }
        if self.candidate.is_none() {
            self.watch_the_clock(now, &mut commands);
        }
        if self.candidate.is_none() {
            self.ask(now, &mut commands);
        }
        commands
    }

    fn load(&mut self, load: Load, now: Moment, commands: &mut Vec<Command>) {
        let Load { config, text, files, stored, confirm } = load;
        let config = Arc::new(config);
        let mut copies = files;
        for id in parts(&config).into_keys().filter(|id| id.source().is_some()) {
            let known = self.parts.get(&id).and_then(|state| state.copy.clone());
            if let Some(copy) = known.or_else(|| stored.get(&id).cloned()) {
                copies.insert(id, copy);
            }
        }
        let resting = resting(&config, now.unix);
        let paused = self.paused(now).is_some();
        let policy = Policy { config, text: text.map(Arc::new), copies, resting, paused };
        self.propose(policy, Cause::Load { confirm }, commands);
    }

    fn propose(&mut self, policy: Policy, cause: Cause, commands: &mut Vec<Command>) {
        let policy = Arc::new(policy);
        self.candidate = Some((Arc::clone(&policy), cause));
        commands.push(Command::Publish(policy));
    }

    fn published(&mut self, result: Result<(), String>, now: Moment, commands: &mut Vec<Command>) {
        let Some((policy, cause)) = self.candidate.take() else { return };
        match result {
            Ok(()) => self.settled(&policy, cause, now, commands),
            Err(problem) => self.not_published(cause, &problem, now, commands),
        }
    }

    fn settled(&mut self, policy: &Arc<Policy>, cause: Cause, now: Moment, commands: &mut Vec<Command>) {
        let before = self.live.replace(Arc::clone(policy));
        match cause {
            Cause::Load { confirm } => {
                self.replan(now);
                self.loaded(before, confirm, now, commands);
            }
            Cause::Refresh(renewed) => commands.extend(renewed.into_iter().map(|(id, copy)| Command::Keep(id, copy))),
            Cause::Schedule => {}
            Cause::RollBack => {
                self.replan(now);
                self.rolled_back(commands);
            }
        }
    }

    fn not_published(&mut self, cause: Cause, problem: &str, now: Moment, commands: &mut Vec<Command>) {
        match cause {
            // Whoever asked is told by the daemon.
            Cause::Load { .. } => {}
            Cause::Refresh(renewed) => {
                let retry = self.retry();
                for (id, copy) in renewed {
                    let live = self.live.as_ref().and_then(|policy| policy.copies.get(&id)).cloned();
                    let Some(state) = self.parts.get_mut(&id) else { continue };
                    if state.copy.as_ref().is_some_and(|held| held.lists_the_same(&copy)) {
                        state.copy = live;
                    }
                    state.fail(&format!("cannot be published: {problem}"), None, now, retry, self.seed);
                    commands.push(Command::Say(Level::Error, format!("source {id}: cannot be published: {problem}")));
                }
            }
            Cause::Schedule => {
                self.switch_again = now.up + AGAIN;
                commands
                    .push(Command::Say(Level::Error, format!("a schedule or a pause cannot be published: {problem}")));
            }
            Cause::RollBack => {
                if let Some(waiting) = &mut self.waiting {
                    waiting.until = now.up + AGAIN;
                }
                commands.push(Command::Say(Level::Error, format!("cannot roll back, trying again: {problem}")));
            }
        }
    }

    /// Brings the parts in line with the configuration in force.
    fn replan(&mut self, now: Moment) {
        let Some(policy) = &self.live else { return };
        let mut needed = parts(&policy.config);
        needed.retain(|id, _| id.source().is_some());
        self.parts.retain(|id, _| needed.contains_key(id));
        self.fresh.retain(|id, _| needed.contains_key(id));
        for (id, part) in needed {
            if let Some(state) = self.parts.get_mut(&id) {
                state.replan(part, now);
            } else {
                let copy = policy.copies.get(&id).cloned();
                self.parts.insert(id, PartState::new(part, copy, now, self.seed));
            }
        }
    }

    fn fetched(&mut self, id: &PartId, outcome: Outcome, now: Moment, commands: &mut Vec<Command>) {
        let retry = self.retry();
        let asked = self.asked.remove(id);
        if let Some(host) = asked.as_ref().and_then(|asked| self.hosts.get_mut(&asked.host)) {
            *host = Host { busy: false, free: now.up + HOST_PAUSE };
        }
        // A configuration that came meanwhile may have no use for it, or need something else of the part.
        let Some(state) = self.parts.get_mut(id) else { return };
        if asked.is_some_and(|asked| (&asked.location, &asked.need) != (&state.part.location, &state.part.need)) {
            return state.outdated(now);
        }
        let failed_before = state.failures;
        match state.answered(outcome, now, retry, self.seed) {
            Verdict::Renewed(copy) => {
                if self.fresh.is_empty() {
                    self.fresh_since = now.up;
                }
                self.fresh.insert(id.clone(), copy);
            }
            Verdict::Same => {}
            Verdict::Refused(problem) => {
                let stays = match &state.copy {
                    Some(copy) => format!("the copy of {} stays", day(copy.provenance.fetched)),
                    None if state.only_compares() => "there is no copy yet, and nothing to compare with".into(),
                    None => "there is no copy yet: `weir status` says what is NOT enforced".into(),
                };
                let harmless = state.copy.is_some() || state.only_compares();
                let level = if harmless { Level::Warning } else { Level::Error };
                let source = id.source().unwrap_or_default();
                let way_out = if problem.starts_with("refused: ") {
                    format!("; `weir update --accept {source}` takes it over")
                } else {
                    String::new()
                };
                commands.push(Command::Say(level, format!("source {id}: {problem}; {stays}{way_out}")));
            }
        }
        if failed_before > 0 && state.failures == 0 {
            commands.push(Command::Say(Level::Info, format!("source {id}: answers again")));
        }
    }

    fn update(&mut self, accept: &BTreeSet<String>, now: Moment) {
        for (id, state) in &mut self.parts {
            state.due = now.up;
            state.waived = id.source().is_some_and(|source| accept.contains(source));
        }
    }

    /// Whatever only time brings: copies that gathered, schedules, the end of a wait for confirmation.
    fn watch_the_clock(&mut self, now: Moment, commands: &mut Vec<Command>) {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.until <= now.up) {
            return self.roll_back("it was not confirmed in time", commands);
        }
        let Some(live) = self.live.clone() else { return };
        // Compared each time, not waited for: a clock may jump, and a switch may fall into a publish.
        let resting = resting(&live.config, now.unix);
        let paused = self.paused(now).is_some();
        if (&resting, paused) != (&live.resting, live.paused) && self.switch_again <= now.up {
            return self.propose(Policy { resting, paused, ..(*live).clone() }, Cause::Schedule, commands);
        }
        self.publish_fresh(&live, now, commands);
    }

    fn publish_fresh(&mut self, live: &Policy, now: Moment, commands: &mut Vec<Command>) {
        let busy = self.parts.values().any(|state| state.asking || state.due <= now.up);
        if self.fresh.is_empty() || (busy && now.up < self.fresh_since + GATHER) {
            return;
        }
        // While a change waits for its confirmation, what the change before it lists must stay as it is.
        let held: BTreeSet<PartId> = match &self.waiting {
            Some(waiting) => parts(&waiting.before.config).into_keys().collect(),
            None => BTreeSet::new(),
        };
        let (held, ready): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.fresh).into_iter().partition(|(id, _)| held.contains(id));
        self.fresh = held;
        let ready: Vec<(PartId, Arc<Copy>)> = ready.into_iter().collect();
        if ready.is_empty() {
            return;
        }
        let mut copies = live.copies.clone();
        copies.extend(ready.iter().cloned());
        self.propose(Policy { copies, ..live.clone() }, Cause::Refresh(ready), commands);
    }

    /// Asks for what is due, one question at a time for each host.
    fn ask(&mut self, now: Moment, commands: &mut Vec<Command>) {
        let mut due: Vec<_> = self.parts.values_mut().filter(|state| !state.asking && state.due <= now.up).collect();
        // What was never fetched comes first.
        due.sort_by_key(|state| (state.copy.is_some(), state.due));
        for state in due {
            let name = state.host();
            let host = self.hosts.entry(name.clone()).or_default();
            if host.busy || host.free > now.up || self.asked.contains_key(&state.part.id) {
                continue;
            }
            host.busy = true;
            state.asking = true;
            let Part { id, location, need, .. } = &state.part;
            self.asked.insert(id.clone(), Asked { host: name, location: location.clone(), need: need.clone() });
            commands.push(Command::Fetch(Box::new(Job {
                part: state.part.id.clone(),
                location: state.part.location.clone(),
                need: state.part.need.clone(),
                validators: state.validators(),
                max_bytes: state.part.max_bytes,
            })));
        }
    }

    fn retry(&self) -> Duration {
        self.live.as_ref().map_or(Duration::from_mins(1), |policy| policy.config.fetch.retry)
    }
}

/// The rules that are off at `at`, Unix seconds.
fn resting(config: &Config, at: i64) -> BTreeSet<String> {
    let off = config.rules.iter().filter(|rule| rule.schedule.as_ref().is_some_and(|schedule| !schedule.active(at)));
    off.map(|rule| rule.identity.name.clone()).collect()
}
