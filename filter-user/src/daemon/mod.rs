//! The loop of the running daemon: hands signals, clients, answers and time to the controller, and executes what it says.
//! Keeps the ruleset that is live when a new one is refused.

mod answer;
mod clock;
mod confine;
mod counting;
mod enforcement;
mod evidence;
mod explain;
mod inlet;
mod recorder;
mod selftest;
mod sinks;
mod supervisor;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tracing::{error, info, warn};

use crate::config::Config;
use crate::control::{Answer, Request};
use crate::controller::{Command, ConfigText, Controller, Event, Level, Load, Outcome, Policy, Saved, Start, Waiting};
use crate::fetch::{self, Question};
use crate::http::Server;
use crate::memory;
use crate::process::{self, RunDir};
use crate::report::Status;
use crate::ruleset::parts::PartId;
use crate::source::copy::Copy;
use crate::store::{self, Store};
use clock::Clock;
use confine::Places;
use enforcement::Enforcement;
use evidence::Evidence;
use inlet::Signals;

/// How a daemon runs.
pub struct Settings<'a> {
    /// Reads the configuration, at the start and at every reload; with its text, where it comes from a file.
    pub load: &'a dyn Fn() -> anyhow::Result<(Config, Option<ConfigText>)>,
    /// Completes a configuration that was stored by what the command line adds.
    pub complete: &'a dyn Fn(Config) -> anyhow::Result<Config>,
    /// The run directory.
    pub run_dir: PathBuf,
    /// Where copies and what must survive a restart are kept.
    pub state_dir: PathBuf,
    /// Log every decision.
    pub trace: bool,
    /// Called every second with the status, where someone watches.
    pub watch: Option<&'a dyn Fn(&Status)>,
}

/// Runs until it is told to stop. Returns the last status.
pub fn run(settings: &Settings<'_>) -> anyhow::Result<Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: &Settings<'_>) -> anyhow::Result<Status> {
    let given = (settings.load)()?;
    process::lift_memlock();
    let mut run_dir = RunDir::take(&settings.run_dir)?;
    confine::check_rights()?;
    // Before there is another thread, and before anything is read that comes from outside.
    let places = Places::confine(&mut run_dir, &settings.state_dir, &given.0.evidence);
    // Signals are caught before anything is attached, so that none can leave a program behind.
    let mut signals = Signals::new()?;
    let (answers, mut answered) = mpsc::channel(16);
    let (requests, mut inbox) = mpsc::channel::<Asked>(16);
    let clock = Clock::start();
    let config = &given.0.evidence;
    let evidence = Evidence::open(config, &settings.state_dir, &settings.run_dir, clock.now());
    let enforcement = Enforcement::new(run_dir, settings.trace, config.counters.clients, evidence.ledger())?;
    let mut daemon = Daemon {
        settings,
        clock,
        controller: Controller::new(u64::from(std::process::id())),
        enforcement,
        evidence,
        store: Store::new(&settings.state_dir),
        unsaved: BTreeMap::new(),
        answers,
        explaining: Arc::new(Semaphore::new(1)),
        textfile_problem: None,
        server: Server::start(requests.clone(), &settings.state_dir, &settings.run_dir),
        places,
    };
    daemon.start(given).inspect_err(|_| daemon.enforcement.tell_what_stays())?;
    // From here on it is enforced: what is written down must say so, however soon this process is killed.
    daemon.post();
    daemon.evidence.settle();
    daemon.write_metrics();

    let listener = inlet::listen(&settings.run_dir)?;
    let changes = inlet::changes();
    let mut clients = JoinSet::new();
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The controller's clock: hosts are asked again a second after they answered, so a second is too coarse.
    let mut beat = interval(Duration::from_millis(250));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut entry = interval_at(Instant::now() + ENTRY, ENTRY);
    entry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trace = interval(Duration::from_millis(100));
    trace.set_missed_tick_behavior(MissedTickBehavior::Delay);

    daemon.enforcement.stay();
    supervisor::ready();
    let (end, last) = loop {
        tokio::select! {
            _ = signals.interrupt.recv() => break (End::Detach, None),
            _ = signals.terminate.recv() => break (End::Detach, None),
            _ = signals.reload.recv() => daemon.reload(),
            Ok((stream, _)) = listener.accept() => {
                // A client that is slow to ask must not hold up the loop.
                clients.spawn(inlet::serve_client(stream, requests.clone()));
            }
            Some(_) = clients.join_next() => {}
            Some(()) = inlet::next(changes.as_ref()) => daemon.enforcement.check_devices(true),
            Some(asked) = inbox.recv() => {
                if let Some((end, reply)) = daemon.serve(asked) {
                    break (end, Some(reply));
                }
            }
            Some((part, outcome)) = answered.recv() => {
                daemon.happens(Event::Fetched(part, outcome)).unwrap_or_default();
            }
            _ = second.tick() => {
                daemon.enforcement.check();
                daemon.write_again();
                daemon.configure_server();
                supervisor::alive();
                if let Some(watch) = settings.watch
                    && let Ok(status) = daemon.status()
                {
                    watch(&status);
                }
            }
            _ = beat.tick() => {
                daemon.enforcement.wind();
                daemon.happens(Event::Tick).unwrap_or_default();
                daemon.evidence.pass_events(&mut daemon.enforcement);
            }
            _ = entry.tick() => {
                daemon.post();
                let now = daemon.clock.now();
                daemon.evidence.pass_stats(&daemon.enforcement, now);
                daemon.write_metrics();
            }
            _ = trace.tick(), if settings.trace => daemon.enforcement.flush_trace(),
        }
    };
    supervisor::stopping();
    let finished = daemon.finish(end);
    drop(daemon);
    let status = finished?;
    info!(generation = status.generation, "{}", end.words());
    // Whoever else asked gets no answer any more.
    drop(inbox);
    if let Some(reply) = last {
        drop(reply.send(Answer::Stopped));
        let _ = tokio::time::timeout(FAREWELL, async { while clients.join_next().await.is_some() {} }).await;
    }
    Ok(status)
}

/// A request, and where its answer goes.
pub type Asked = (Request, oneshot::Sender<Answer>);

/// What a daemon that was told to end does with its filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Take it off every device.
    Detach,
    /// Leave it as it is, for the next daemon.
    Leave,
}

impl End {
    fn words(self) -> &'static str {
        match self {
            Self::Detach => "detached from every device",
            Self::Leave => "ended; the filter goes on until the next weir takes it over",
        }
    }
}

/// How often the books are written to the history.
const ENTRY: Duration = Duration::from_secs(10);

/// How long the answer to whoever ended the daemon may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is to be written to the state directory.
#[derive(Clone)]
enum Unsaved {
    Copy(PartId, Arc<Copy>),
    State(Box<Saved>),
}

struct Daemon<'a> {
    settings: &'a Settings<'a>,
    clock: Clock,
    controller: Controller,
    enforcement: Enforcement,
    evidence: Evidence,
    store: Store,
    /// What the state directory should hold and does not, by what it is.
    unsaved: BTreeMap<String, Unsaved>,
    answers: mpsc::Sender<(PartId, Outcome)>,
    /// Lets one explanation be made after the other.
    explaining: Arc<Semaphore>,
    /// The page, the API and the metrics.
    server: Server,
    /// Why the metrics are not in their file.
    textfile_problem: Option<String>,
    places: Places,
}

impl Daemon<'_> {
    /// Starts with the configuration that is given, or with what an earlier daemon left unfinished.
    fn start(&mut self, given: (Config, Option<ConfigText>)) -> anyhow::Result<()> {
        let saved = self.store.saved().unwrap_or_else(|problem| {
            warn!("what was saved before is lost: {problem}");
            Saved::default()
        });
        match saved.start(given.1.as_ref(), self.clock.now().unix) {
            Start::Given => self.load(given, None),
            Start::Waiting { config, before, left } => {
                warn!(
                    left_secs = left.as_secs(),
                    "an applied change is not confirmed yet: it goes back unless confirmed"
                );
                let waiting = self
                    .policy_of(&before)
                    .map(|before| Waiting { before: Arc::new(before), until: self.clock.now().up + left });
                let waiting = waiting
                    .inspect_err(|problem| error!("cannot go back to the configuration before: {problem:#}"))
                    .ok();
                self.controller.resume(waiting, None);
                self.load_text(config)
            }
            Start::Confirmed { config, rejected } => {
                error!(
                    "the configuration file holds a change that was rolled back; running the one before. Correct the file, or confirm the change: weir apply --confirm 90s"
                );
                self.controller.resume(None, Some(rejected));
                self.load_text(config)
            }
        }
    }

    fn load_text(&mut self, text: ConfigText) -> anyhow::Result<()> {
        let config = (self.settings.complete)(store::parse(&text.path, text.text.as_bytes())?)?;
        self.load((config, Some(text)), None)
    }

    /// The policy that `text` stands for, with the copies that are stored.
    fn policy_of(&self, text: &ConfigText) -> anyhow::Result<Policy> {
        let config = (self.settings.complete)(store::parse(&text.path, text.text.as_bytes())?)?;
        let mut copies = store::files(&config)?;
        copies.extend(self.store.copies(&config).0);
        Ok(Policy {
            config: Arc::new(config),
            text: Some(Arc::new(text.clone())),
            copies,
            resting: BTreeSet::new(),
            paused: false,
        })
    }

    /// Makes a configuration take effect.
    fn load(&mut self, (config, text): (Config, Option<ConfigText>), confirm: Option<Duration>) -> anyhow::Result<()> {
        let files = store::files(&config)?;
        let (stored, problems) = self.store.copies(&config);
        for problem in problems {
            error!("{problem}");
        }
        self.happens(Event::Load(Box::new(Load { config, text, files, stored, confirm })))
    }

    fn reload(&mut self) {
        if let Err(problem) = self.try_reload(None) {
            error!("reload refused, the ruleset that is live stays: {problem:#}");
        }
    }

    fn try_reload(&mut self, confirm: Option<Duration>) -> anyhow::Result<()> {
        supervisor::reloading();
        let dead = self.enforcement.forget_dead();
        let result = (self.settings.load)().and_then(|given| {
            if confirm.is_some() && given.1.is_none() {
                return Err(anyhow!("this weir runs without a configuration file: there is nothing to go back to"));
            }
            self.load(given, confirm)
        });
        if result.is_err() {
            self.enforcement.remember_dead(dead);
        }
        supervisor::ready();
        result
    }

    /// Hands an event to the controller and executes what it says. The error is that of a publish.
    fn happens(&mut self, event: Event) -> anyhow::Result<()> {
        let mut result = Ok(());
        let mut commands = self.controller.handle(event, self.clock.now());
        while !commands.is_empty() {
            let mut next = Vec::new();
            for command in commands {
                let Command::Publish(policy) = command else {
                    self.execute(command);
                    continue;
                };
                let published = self.enforcement.publish(&policy);
                let told = published.as_ref().map(|&()| ()).map_err(|problem| format!("{problem:#}"));
                next.extend(self.controller.handle(Event::Published(told), self.clock.now()));
                result = published;
                memory::give_back();
            }
            commands = next;
        }
        result
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Fetch(job) => {
                let Some(policy) = self.controller.live() else { return };
                let question = Question::new(&job, &policy.config.fetch);
                let answers = self.answers.clone();
                tokio::spawn(async move {
                    let outcome = fetch::ask_apart(&question).await;
                    let _ = answers.send((job.part, outcome)).await;
                });
            }
            Command::Keep(id, copy) => self.write(&format!("the copy of source {id}"), Unsaved::Copy(id, copy)),
            Command::Save(saved) => self.write("the state", Unsaved::State(Box::new(saved))),
            Command::Say(Level::Info, text) => info!("{text}"),
            Command::Say(Level::Warning, text) => warn!("{text}"),
            Command::Say(Level::Error, text) => error!("{text}"),
            Command::Publish(_) => {}
        }
    }

    /// Writes to the state directory. Where that fails, it costs what a restart would find, not the filter; it is tried
    /// again every second.
    fn write(&mut self, what: &str, content: Unsaved) {
        let written = match &content {
            Unsaved::Copy(id, copy) => self.store.keep(id, copy),
            Unsaved::State(saved) => self.store.save(saved),
        };
        match written {
            Ok(()) => {
                if self.unsaved.remove(what).is_some() {
                    info!("{what} is stored now");
                }
            }
            Err(problem) => {
                if self.unsaved.insert(what.to_owned(), content).is_none() {
                    let directory = self.settings.state_dir.display();
                    error!("{what} cannot be stored in {directory}: {problem}; it is kept in memory");
                }
            }
        }
    }

    /// Tells the server what is configured now: a reload may have changed it, or gone back.
    fn configure_server(&self) {
        if let Some(policy) = self.controller.live() {
            self.server.configure(&policy.config.evidence.http);
        }
    }

    fn write_again(&mut self) {
        for (what, content) in self.unsaved.clone() {
            self.write(&what, content);
        }
    }
}
