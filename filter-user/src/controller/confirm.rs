//! Changes that must be confirmed, or they are rolled back: what is remembered of them, across restarts, too. Pure.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Cause, Command, Controller, Level, Moment, Policy};
use crate::source::copy::checksum;

/// The text of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigText {
    /// Where it was read; relative paths in it count from there.
    pub path: PathBuf,
    /// What it said.
    pub text: String,
}

impl ConfigText {
    /// What makes it the same text again.
    #[must_use]
    pub fn checksum(&self) -> String {
        checksum(self.text.as_bytes())
    }
}

/// A change that is in force until it is confirmed or time is up.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// What was in force before.
    pub before: Arc<Policy>,
    /// When it comes back, on the clock that never jumps.
    pub until: Duration,
}

/// What must survive a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The configuration in force.
    pub config: Option<ConfigText>,
    /// The one that comes back, while the other is not confirmed.
    pub before: Option<ConfigText>,
    /// When it does, Unix seconds.
    pub until: Option<i64>,
    /// How long the wait was when it began, in seconds: a clock that jumps must not make it longer.
    pub window: u64,
    /// Checksum of the configuration that was rolled back last.
    pub rejected: Option<String>,
}

/// What a daemon starts with.
#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    /// The configuration as it is given.
    Given,
    /// A change that is not confirmed yet goes on for a while.
    Waiting {
        /// The change.
        config: ConfigText,
        /// What comes back.
        before: ConfigText,
        /// How long it has left.
        left: Duration,
    },
    /// The last confirmed configuration, because the file holds one that was rolled back.
    Confirmed {
        /// It.
        config: ConfigText,
        /// Checksum of the one that is passed over.
        rejected: String,
    },
}

impl Saved {
    /// Decides what a daemon starts with whose configuration file says `file` now.
    #[must_use]
    pub fn start(&self, file: Option<&ConfigText>, now: i64) -> Start {
        let Some(file) = file else { return Start::Given };
        if let (Some(config), Some(before), Some(until)) = (&self.config, &self.before, self.until) {
            let left = u64::try_from(until.saturating_sub(now)).unwrap_or(0).min(self.window);
            if left > 0 {
                let (config, before) = (config.clone(), before.clone());
                return Start::Waiting { config, before, left: Duration::from_secs(left) };
            }
            return match config.checksum() {
                // The wait ended while nobody was there to end it.
                rejected if rejected == file.checksum() => Start::Confirmed { config: before.clone(), rejected },
                _ => Start::Given,
            };
        }
        match (&self.config, &self.rejected) {
            (Some(config), Some(rejected)) if *rejected == file.checksum() => {
                Start::Confirmed { config: config.clone(), rejected: rejected.clone() }
            }
            _ => Start::Given,
        }
    }
}

impl Controller {
    /// A configuration is in force now; `before` was until now.
    pub(super) fn loaded(
        &mut self,
        before: Option<Arc<Policy>>,
        confirm: Option<Duration>,
        now: Moment,
        commands: &mut Vec<Command>,
    ) {
        match (confirm, before) {
            (Some(window), Some(before)) => {
                // A second change before the first was confirmed goes back to what was confirmed last.
                let before = self.waiting.take().map_or(before, |waiting| waiting.before);
                // Clients may ask for any wait.
                self.waiting = Some(Waiting { before, until: now.up.saturating_add(window) });
                self.rejected = None;
                let text = format!("applied; goes back in {} s unless confirmed (`weir confirm`)", window.as_secs());
                commands.push(Command::Say(Level::Info, text));
                self.save(Some((now.unix, window)), commands);
            }
            (None, Some(_)) => {
                self.waiting = None;
                self.rejected = None;
                self.save(None, commands);
            }
            // The first of this process: what waits, or was rejected, was resumed before.
            (_, None) => {
                let left = self.waiting.as_ref().map(|waiting| (now.unix, waiting.until.saturating_sub(now.up)));
                self.save(left, commands);
            }
        }
    }

    pub(super) fn confirm(&mut self, commands: &mut Vec<Command>) {
        if self.waiting.take().is_some() {
            commands.push(Command::Say(Level::Info, "confirmed".into()));
            self.save(None, commands);
        }
    }

    pub(super) fn roll_back(&mut self, why: &str, commands: &mut Vec<Command>) {
        let Some(waiting) = &self.waiting else { return };
        let before = Policy::clone(&waiting.before);
        commands.push(Command::Say(Level::Warning, format!("rolling back: {why}")));
        let rejected = self.live.as_ref().and_then(|live| live.text.as_ref()).map(|text| text.checksum());
        self.rejected = rejected;
        self.propose(before, Cause::RollBack, commands);
    }

    pub(super) fn rolled_back(&mut self, commands: &mut Vec<Command>) {
        self.waiting = None;
        let text = "rolled back: what was in force before is in force again; the file still holds the change";
        commands.push(Command::Say(Level::Warning, text.into()));
        self.save(None, commands);
    }

    fn save(&self, wait: Option<(i64, Duration)>, commands: &mut Vec<Command>) {
        let text = |policy: &Arc<Policy>| policy.text.as_deref().cloned();
        let Some(config) = self.live.as_ref().and_then(text) else { return };
        let before = self.waiting.as_ref().and_then(|waiting| text(&waiting.before));
        let seconds = |window: Duration| i64::try_from(window.as_secs()).unwrap_or(i64::MAX);
        commands.push(Command::Save(Saved {
            config: Some(config),
            before,
            until: wait.map(|(now, window)| now.saturating_add(seconds(window))),
            window: wait.map_or(0, |(_, window)| window.as_secs()),
            rejected: self.rejected.clone(),
        }));
    }
}
