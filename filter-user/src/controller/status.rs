//! How the lists are, as `status` shows it. Changes nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::part::{self, PartState};
use super::{Controller, Moment};
use crate::ruleset::parts::PartId;

impl Controller {
    /// What is known of each named source's parts.
    #[must_use]
    pub fn lists(&self, now: Moment) -> Vec<ListStatus> {
        let row = |(id, state): (&PartId, &PartState)| ListStatus {
            source: id.source().unwrap_or_default().into(),
            asn: match id {
                PartId::Source(_, asn) => *asn,
                PartId::List(_) | PartId::Table(_) => None,
            },
            location: part::shown(&state.part.location),
            state: match &state.copy {
                None => ListState::Missing,
                Some(_) if state.is_stale(now) => ListState::Stale,
                Some(_) if state.failures > 0 => ListState::Failing,
                Some(_) => ListState::Good,
            },
            asking: state.asking,
            ranges: state.copy.as_ref().map_or(0, |copy| copy.ranges()),
            fetched: state.copy.as_ref().map(|copy| copy.provenance.fetched),
            changed: state.copy.as_ref().map(|copy| copy.provenance.changed),
            answers: state.answers,
            failures: state.failures,
            failures_total: state.failures_total,
            problem: state.problem.clone(),
            next_secs: state.due.saturating_sub(now.up).as_secs(),
        };
        self.parts.iter().map(row).collect()
    }

    /// When a schedule next switches a rule, Unix seconds.
    #[must_use]
    pub fn next_switch(&self, now: Moment) -> Option<i64> {
        let rules = &self.live()?.config.rules;
        rules.iter().filter_map(|rule| rule.schedule.as_ref()?.next_change(now.unix)).min()
    }

    /// Whether a change waits for its confirmation: how many seconds are left.
    #[must_use]
    pub fn unconfirmed(&self, now: Moment) -> Option<u64> {
        self.waiting.as_ref().map(|waiting| waiting.until.saturating_sub(now.up).as_secs())
    }

    /// Whether block rules only count: for how long still.
    #[must_use]
    pub fn paused(&self, now: Moment) -> Option<Duration> {
        self.paused_until.checked_sub(now.up).filter(|left| !left.is_zero())
    }

    /// The checksum of the configuration that was rolled back, while it is not replaced.
    #[must_use]
    pub fn rejected(&self) -> Option<&str> {
        self.rejected.as_deref()
    }
}

/// A Unix time as a date people read, UTC.
#[must_use]
pub fn day(unix: i64) -> String {
    jiff::Timestamp::from_second(unix)
        .map_or_else(|_| unix.to_string(), |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// How a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListState {
    /// The copy is as young as it should be.
    Good,
    /// The last question failed; the copy is young enough.
    Failing,
    /// The copy is old.
    Stale,
    /// There is no copy: what it would list is not enforced.
    Missing,
}

impl ListState {
    /// The word for it in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Failing => "failing",
            Self::Stale => "stale",
            Self::Missing => "missing",
        }
    }
}

/// One part of a named source, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListStatus {
    /// The source's name.
    pub source: String,
    /// The AS, for a source with one document for each.
    pub asn: Option<u32>,
    /// The URL, file or server.
    pub location: String,
    /// How it is.
    pub state: ListState,
    /// It is being asked just now.
    pub asking: bool,
    /// Ranges in the copy.
    pub ranges: usize,
    /// When the source last answered, Unix seconds.
    pub fetched: Option<i64>,
    /// When its content last changed, Unix seconds.
    pub changed: Option<i64>,
    /// How often it was asked and answered, or failed to, since the daemon started.
    #[serde(default)]
    pub answers: u64,
    /// Failures in a row.
    pub failures: u32,
    /// Failures since the daemon started.
    #[serde(default)]
    pub failures_total: u64,
    /// The last failure.
    pub problem: Option<String>,
    /// Seconds until it is asked again.
    pub next_secs: u64,
}
