//! What the daemon does with what was counted: keeps the books, has the history written, and passes events on. Decides
//! nothing about packets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tracing::{error, warn};

use super::clock::boot_micros;
use super::enforcement::Enforcement;
use super::recorder::Recorder;
use super::sinks::Sinks;
use crate::account::{Hooked, Standing};
use crate::config::{EvidenceConfig, HistoryConfig, Keep};
use crate::controller::Moment;
use crate::events::{self, Recent, Stats, Tallied};
use crate::history::HISTORY;
use crate::ledger::Ledger;
use crate::report::DeviceStatus;
use crate::store;

/// The evidence of one daemon.
pub(super) struct Evidence {
    ledger: Ledger,
    recorder: Option<Recorder>,
    /// Why there is no history, though it is wanted.
    unavailable: Option<String>,
    /// The end of the last interval, Unix seconds.
    posted: i64,
    started: i64,
    sinks: Sinks,
    recent: Recent,
    told: Tallied,
}

/// Where the history is kept by `config`: nowhere, in the state directory, or in the run directory.
pub(super) fn history_path(config: &HistoryConfig, state_dir: &Path, run_dir: &Path) -> Option<PathBuf> {
    let directory = match config.keep {
        Keep::Off => return None,
        Keep::Ram => run_dir,
        Keep::Auto if store::is_flash_router() => run_dir,
        Keep::Auto | Keep::Disk => state_dir,
    };
    Some(directory.join(HISTORY))
}

impl Evidence {
    /// Opens the history and the books. Without them weir filters all the same.
    pub(super) fn open(config: &EvidenceConfig, state_dir: &Path, run_dir: &Path, now: Moment) -> Self {
        let mut evidence = Self {
            ledger: Ledger::default(),
            recorder: None,
            unavailable: None,
            posted: now.unix,
            started: now.unix,
            sinks: Sinks::default(),
            recent: Recent::default(),
            told: Tallied::default(),
        };
        let Some(path) = history_path(&config.history, state_dir, run_dir) else { return evidence };
        let opened = store::directory(path.parent().unwrap_or(Path::new("/")))
            .map_err(|error| error.to_string())
            .and_then(|()| Recorder::open(&path, &config.history).map_err(|error| error.to_string()));
        match opened {
            Ok((recorder, checkpoint)) => {
                evidence.recorder = Some(recorder);
                if let Some(bytes) = checkpoint {
                    evidence.ledger = serde_json::from_slice(&bytes).unwrap_or_else(|problem| {
                        error!("the counters of the daemon before are lost: {problem}");
                        Ledger::default()
                    });
                }
            }
            Err(problem) => {
                error!("no history is kept: {problem}");
                evidence.unavailable = Some(format!("no history is kept: {problem}; a restart tries again"));
            }
        }
        evidence
    }

    /// The books as they were when the last daemon wrote them down, or as they are.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Enters what was counted since the last call, and has it written.
    pub(super) fn post(&mut self, enforcement: &Enforcement, standing: Standing, now: Moment) {
        let reading = match enforcement.reading() {
            Ok(reading) => reading,
            Err(problem) => {
                warn!("counters cannot be read: {problem:#}");
                return;
            }
        };
        let hooks = enforcement.hooks();
        let interval = self.ledger.post(&reading, enforcement.names(&hooks), self.posted.min(now.unix), now.unix);
        self.posted = now.unix;
        let Some(recorder) = &self.recorder else { return };
        match serde_json::to_vec(&self.ledger) {
            Ok(checkpoint) => recorder.record(interval, standing, checkpoint),
            Err(problem) => error!("the books cannot be written down: {problem}"),
        }
    }

    /// Waits until everything posted is written.
    pub(super) fn settle(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.settle();
        }
    }

    /// How weir stands.
    pub(super) fn standing(&self, enforcement: &Enforcement, devices: &[DeviceStatus], paused: bool) -> Standing {
        let hooked = |device: &DeviceStatus| {
            let (attach, state) = (device.attach.clone(), device.state.clone());
            (device.name.clone(), Hooked { attach, state, egress: device.egress })
        };
        Standing {
            version: env!("CARGO_PKG_VERSION").into(),
            started: self.started,
            generation: enforcement.generation(),
            paused,
            config: enforcement.config_checksum(),
            devices: devices.iter().map(hooked).collect::<BTreeMap<_, _>>(),
            lists: enforcement.lists().to_vec(),
            degraded: enforcement.degraded().to_vec(),
        }
    }

    /// Passes on the events that came since the last call.
    pub(super) fn pass_events(&mut self, enforcement: &mut Enforcement) {
        if let Some(config) = enforcement.events_config() {
            self.sinks.configure(config);
        }
        let taken = enforcement.take_events();
        if taken.is_empty() {
            return;
        }
        let (hooks, boot) = (enforcement.hooks(), boot_micros());
        for event in taken {
            let rules = enforcement.credited(event.set, event.direction);
            let micros = boot.saturating_add(i64::try_from(event.time / 1000).unwrap_or(i64::MAX));
            let Some(hook) = hooks.get(&event.port) else { continue };
            let Some(event) = events::read(&event, rules, hook, micros) else { continue };
            if !self.sinks.is_empty()
                && let Ok(line) = serde_json::to_string(&event)
            {
                self.sinks.write(&line);
            }
            self.recent.push(event);
        }
    }

    /// Writes how many events are missing, where that changed.
    pub(super) fn pass_stats(&mut self, enforcement: &Enforcement, now: Moment) {
        let now_told = self.tallied(enforcement);
        let missing = (now_told.suppressed, now_told.lost) != (self.told.suppressed, self.told.lost);
        if missing && !self.sinks.is_empty() {
            let since = Tallied {
                reported: now_told.reported.saturating_sub(self.told.reported),
                suppressed: now_told.suppressed.saturating_sub(self.told.suppressed),
                lost: now_told.lost.saturating_sub(self.told.lost),
            };
            if let Ok(line) = serde_json::to_string(&Stats::new(now.unix.saturating_mul(1_000_000), since)) {
                self.sinks.write(&line);
            }
            self.told = now_told;
        }
    }

    /// Events reported and left out since the counters began.
    pub(super) fn tallied(&self, enforcement: &Enforcement) -> Tallied {
        let meter = enforcement.meter();
        Tallied {
            reported: meter.reported,
            suppressed: enforcement.suppressed(),
            lost: meter.lost.saturating_add(self.sinks.lost()),
        }
    }

    /// The latest events.
    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// What is wrong with the history, one line.
    pub(super) fn degraded(&self) -> Option<String> {
        let problem = self.recorder.as_ref().and_then(Recorder::problem);
        problem.map(|problem| format!("the history cannot be written: {problem}")).or_else(|| self.unavailable.clone())
    }
}
