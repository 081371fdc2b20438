//! What clients are answered, whatever way they came: the control socket and HTTP ask the same questions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::warn;

use super::{Asked, Daemon, End, explain};
use crate::control::{Answer, MAX_PAUSE, Request};
use crate::controller::Event;
use crate::metrics::{self, Figures, Format};
use crate::report::{DeviceStatus, Status};
use crate::survey::survey;
use crate::{network, process, store};

impl Daemon<'_> {
    /// Serves a client; gives its reply back where it asks for the end, and for which.
    pub(super) fn serve(&mut self, (request, reply): Asked) -> Option<(End, oneshot::Sender<Answer>)> {
        let done = |result: anyhow::Result<()>, text: String| match result {
            Ok(()) => Answer::Done(text),
            Err(problem) => Answer::Error(format!("{problem:#}")),
        };
        let answer = match request {
            Request::Stop => return Some((End::Detach, reply)),
            Request::Leave => return Some((End::Leave, reply)),
            Request::Explain { address } => {
                let live = self.controller.live().cloned();
                tokio::spawn(explain::answer(address, live, Arc::clone(&self.explaining), reply));
                return None;
            }
            Request::Status => match self.status() {
                Ok(status) => Answer::Status(Box::new(status)),
                Err(error) => Answer::Error(format!("{error:#}")),
            },
            Request::Apply { confirm } => {
                let result = self.try_reload(confirm.map(Duration::from_secs));
                let text = match confirm {
                    Some(seconds) => format!("applied; it goes back in {seconds} s unless you run: weir confirm"),
                    None => "applied".into(),
                };
                done(result, text)
            }
            Request::Confirm if self.controller.unconfirmed(self.clock.now()).is_none() => {
                Answer::Error("nothing waits for a confirmation".into())
            }
            Request::Confirm => done(self.happens(Event::Confirm), "confirmed".into()),
            Request::Rollback if self.controller.unconfirmed(self.clock.now()).is_none() => Answer::Error(
                "nothing waits for a confirmation: to go back further, change the file and apply it".into(),
            ),
            Request::Rollback => done(self.happens(Event::RollBack), "rolled back".into()),
            Request::Pause { secs } if (1..=MAX_PAUSE.as_secs()).contains(&secs) => {
                let text = format!("paused for {secs} s: block rules only count; weir resume ends it");
                done(self.happens(Event::Pause(Duration::from_secs(secs))), text)
            }
            Request::Pause { .. } => Answer::Error(format!("a pause takes 1 s to {} h", MAX_PAUSE.as_secs() / 3600)),
            Request::Resume => done(self.happens(Event::Resume), "resumed: block rules block".into()),
            Request::Flush => {
                self.post();
                self.evidence.settle();
                Answer::Done("written".into())
            }
            Request::SelfTest => match self.enforcement.self_test() {
                Ok(test) => Answer::SelfTested(Box::new(test)),
                Err(problem) => Answer::Error(format!("{problem:#}")),
            },
            Request::Metrics { open } => {
                let format = if open { Format::OpenMetrics } else { Format::Text };
                match self.metrics(format, Some(process::figures())) {
                    Ok(text) => Answer::Metrics(text),
                    Err(problem) => Answer::Error(format!("{problem:#}")),
                }
            }
            Request::Recent { limit } => Answer::Recent(self.evidence.recent().latest(limit)),
            Request::Update { accept } => self.update(accept),
        };
        // A client that went away gets none.
        drop(reply.send(answer));
        None
    }

    fn update(&mut self, accept: BTreeSet<String>) -> Answer {
        let lists = self.controller.lists(self.clock.now());
        if lists.is_empty() {
            return Answer::Error("the configuration names no source that could be asked".into());
        }
        let known: BTreeSet<&str> = lists.iter().map(|list| list.source.as_str()).collect();
        if let Some(stranger) = accept.iter().find(|name| !known.contains(name.as_str())) {
            let known: Vec<&str> = known.into_iter().collect();
            return Answer::Error(format!("no source \"{stranger}\" is in use; in use: {}", known.join(", ")));
        }
        let count = lists.len();
        match self.happens(Event::Update(accept)) {
            Ok(()) => Answer::Done(format!("asking for {count} documents")),
            Err(problem) => Answer::Error(format!("{problem:#}")),
        }
    }

    /// Has everything written that was counted until now.
    pub(super) fn post(&mut self) {
        match self.enforcement.devices() {
            Ok(devices) => self.post_as(&devices),
            Err(problem) => warn!("counters cannot be read: {problem:#}"),
        }
    }

    /// The metrics as text.
    fn metrics(&self, format: Format, process: Option<metrics::Process>) -> anyhow::Result<String> {
        let clients = self.controller.live().map_or(0, |policy| policy.config.evidence.metrics.clients);
        let offloaded = network::offloaded().unwrap_or_default();
        let figures = Figures { status: self.status()?, process, offloaded, clients };
        Ok(metrics::render(figures, format))
    }

    /// Writes the metrics to the file that the configuration asks for.
    pub(super) fn write_metrics(&mut self) {
        let Some(path) = self.controller.live().and_then(|policy| policy.config.evidence.metrics.textfile.clone())
        else {
            self.textfile_problem = None;
            return;
        };
        let written = self
            .metrics(Format::Text, None)
            .map_err(|problem| format!("{problem:#}"))
            .and_then(|text| store::show(&path, &text).map_err(|problem| problem.to_string()));
        let problem =
            written.err().map(|problem| format!("metrics cannot be written to {}: {problem}", path.display()));
        if let Some(problem) = problem.as_ref().filter(|_| self.textfile_problem.is_none()) {
            warn!("{problem}");
        }
        self.textfile_problem = problem;
    }

    fn post_as(&mut self, devices: &[DeviceStatus]) {
        let now = self.clock.now();
        let paused = self.controller.paused(now).is_some();
        let standing = self.evidence.standing(&self.enforcement, devices, paused);
        self.evidence.post(&self.enforcement, standing, now);
    }

    /// Detaches from every device, unless that is not the `end`, and has the last packet written. Gives the last status, with the
    /// devices as they were.
    pub(super) fn finish(&mut self, end: End) -> anyhow::Result<Status> {
        let devices = self.enforcement.devices();
        if end == End::Detach {
            self.enforcement.detach();
        }
        let devices = devices?;
        self.enforcement.flush_trace();
        self.evidence.pass_events(&mut self.enforcement);
        self.post_as(&devices);
        if let Some(path) = self.controller.live().and_then(|policy| policy.config.evidence.metrics.textfile.as_ref()) {
            // Old figures would look like a weir that runs.
            store::hide(path);
        }
        let mut status = self.status()?;
        for (now, before) in status.devices.iter_mut().zip(devices) {
            *now = DeviceStatus { seen: now.seen, parsed: now.parsed, ..before };
        }
        Ok(status)
    }

    pub(super) fn status(&self) -> anyhow::Result<Status> {
        let now = self.clock.now();
        let mut enforced = self.enforcement.status()?;
        let directory = self.settings.state_dir.display();
        let unsaved = self.unsaved.keys();
        enforced
            .degraded
            .extend(unsaved.map(|what| format!("{what} cannot be stored in {directory}: a restart would not find it")));
        enforced.degraded.extend(self.server.problem());
        enforced.degraded.extend(self.enforcement.unpinned.clone());
        enforced.degraded.extend(self.evidence.degraded());
        enforced.degraded.extend(self.textfile_problem.clone());
        let live = self.controller.live();
        let names: Vec<String> = enforced.devices.iter().map(|device| device.name.clone()).collect();
        enforced.degraded.extend(live.map_or(vec![], |policy| self.places.lacks(&policy.config.evidence)));
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_secs: now.up.as_secs(),
            generation: enforced.generation,
            table_bytes: enforced.table_bytes,
            config: live.and_then(|policy| policy.text.as_ref()).map(|text| text.path.display().to_string()),
            devices: enforced.devices,
            rules: enforced.totals.rules,
            dropped: enforced.totals.dropped,
            monitored: enforced.totals.monitored,
            allowed: enforced.totals.allowed,
            seen: enforced.seen,
            counters: enforced.totals.counters,
            clients: enforced.clients,
            client_table: enforced.client_table,
            events: self.evidence.tallied(&self.enforcement),
            lists: self.controller.lists(now),
            degraded: enforced.degraded,
            resting: live.map(|policy| policy.resting.iter().cloned().collect()).unwrap_or_default(),
            next_switch: self.controller.next_switch(now),
            paused_secs: self.controller.paused(now).map(|left| left.as_secs()),
            unconfirmed_secs: self.controller.unconfirmed(now),
            system: survey(&names).unwrap_or_default(),
            rejected: self.controller.rejected().map(str::to_owned),
        })
    }
}
