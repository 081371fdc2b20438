//! The loop of the running daemon: executes what signals, clients and readings ask for. Keeps the ruleset that is live
//! when a new one is refused.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::config::Config;
use crate::control::{Answer, Client, Request};
use crate::datapath::attach::{AttachKind, Attached};
use crate::datapath::publish::{Datapath, Wanted};
use crate::datapath::trace::Trace;
use crate::liveness::{State, Watch};
use crate::network;
use crate::process::{self, RunDir};
use crate::report::{self, DeviceStatus, Status};
use crate::ruleset::{self, RuleIdentity, Sets};
use crate::store;
use crate::tally::Tally;

/// How a daemon runs.
pub struct Settings<'a> {
    /// Reads the configuration, at the start and at every reload.
    pub load: &'a dyn Fn() -> anyhow::Result<Config>,
    /// The run directory.
    pub run_dir: PathBuf,
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
    let config = (settings.load)()?;
    process::lift_memlock();
    let run_dir = RunDir::take(&settings.run_dir)?;
    // Signals are caught before anything is attached, so that none can leave a program behind.
    let mut signals = Signals::new()?;
    let mut daemon = Daemon::new(Datapath::new(run_dir.pins(), settings.trace), settings.trace);
    daemon.publish(config)?;

    let socket = process::socket(&settings.run_dir);
    let listener = UnixListener::bind(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot restrict {}", socket.display()))?;
    let (requests, mut inbox) = mpsc::channel(16);
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trace = interval(Duration::from_millis(100));
    trace.set_missed_tick_behavior(MissedTickBehavior::Delay);

    let client = loop {
        tokio::select! {
            _ = signals.interrupt.recv() => break None,
            _ = signals.terminate.recv() => break None,
            _ = signals.reload.recv() => daemon.reload(settings),
            Ok((stream, _)) = listener.accept() => {
                // A client that is slow to ask must not hold up the loop.
                let requests = requests.clone();
                tokio::spawn(async move {
                    if let Ok(Some(asked)) = tokio::time::timeout(CLIENT_TIMEOUT, Client::read(stream)).await {
                        let _ = requests.send(asked).await;
                    }
                });
            }
            Some((request, mut client)) = inbox.recv() => match request {
                Request::Stop => break Some(client),
                Request::Status => {
                    let answer = match daemon.status() {
                        Ok(status) => Answer::Status(Box::new(status)),
                        Err(error) => Answer::Error(format!("{error:#}")),
                    };
                    tokio::spawn(async move { tokio::time::timeout(CLIENT_TIMEOUT, client.answer(&answer)).await });
                }
            },
            _ = second.tick() => {
                daemon.check_devices();
                daemon.check_life();
                if let Some(watch) = settings.watch {
                    watch(&daemon.status()?);
                }
            }
            _ = trace.tick(), if settings.trace => daemon.flush_trace(),
        }
    };
    let status = daemon.status()?;
    daemon.flush_trace();
    daemon.datapath.close()?;
    drop(run_dir);
    info!(generation = status.generation, "detached from every device");
    if let Some(mut client) = client {
        client.answer(&Answer::Stopped).await;
    }
    Ok(status)
}

/// How long a client may take to ask, or to take its answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            reload: catch(SignalKind::hangup())?,
        })
    }
}

struct Daemon {
    datapath: Datapath,
    sets: Sets,
    rules: Vec<RuleIdentity>,
    config: Config,
    generation: u64,
    table_bytes: u64,
    started: Instant,
    watches: BTreeMap<String, Watch>,
    /// Attach kinds that were taken but did not run, by device.
    dead: BTreeMap<String, Vec<AttachKind>>,
    /// Devices that went away while attached, and the index at which they came back and were tried.
    lost: BTreeMap<String, Option<u32>>,
    traces: bool,
    trace: Option<Trace>,
}

impl Daemon {
    fn new(datapath: Datapath, traces: bool) -> Self {
        Self {
            datapath,
            sets: Sets::default(),
            rules: Vec::new(),
            config: Config::default(),
            generation: 0,
            table_bytes: 0,
            started: Instant::now(),
            watches: BTreeMap::new(),
            dead: BTreeMap::new(),
            lost: BTreeMap::new(),
            traces,
            trace: None,
        }
    }

    /// Makes `config` live, or leaves everything as it is.
    fn publish(&mut self, config: Config) -> anyhow::Result<()> {
        let begun = Instant::now();
        let files = store::files(&config)?;
        let resolved = ruleset::resolve(&config, &files)?;
        for warning in &resolved.warnings {
            warn!("{warning}");
        }
        let host = network::host().context("cannot read this host's addresses")?;
        let written = resolved.rules.iter().flat_map(|rule| &rule.written);
        let guard = ruleset::guard(&config.never_block, &host, written);
        let rules = resolved.rules();
        drop((files, resolved));
        let devices = network::indices().context("cannot list the network devices")?;
        let ruleset = ruleset::compile(&rules, &guard, &mut self.sets, &devices)?;
        let wanted = self.wanted(&config)?;
        let refusals = self.datapath.publish(&ruleset, &wanted)?;
        for refusal in &refusals {
            warn!("{refusal}");
        }

        self.generation += 1;
        self.table_bytes = ruleset.bytes() as u64;
        self.rules = rules.into_iter().map(|rule| rule.identity).collect();
        self.config = config;
        let attached = |name: &str| self.datapath.attached().iter().any(|attached| attached.device.name == name);
        let wanted = |name: &str| self.config.interfaces.iter().any(|interface| interface.name == name);
        self.lost.retain(|name, _| wanted(name) && !attached(name));
        self.watch_devices()?;
        if self.traces {
            self.trace = self.datapath.trace(self.sets.names()).transpose().context("cannot read the program's log")?;
        }
        let devices: Vec<_> = self
            .datapath
            .attached()
            .iter()
            .map(|attached| format!("{}={}", attached.device.name, attached.kind))
            .collect();
        info!(
            generation = self.generation,
            rules = self.rules.len(),
            table_bytes = self.table_bytes,
            took_ms = begun.elapsed().as_millis() as u64,
            devices = devices.join(","),
            "published"
        );
        Ok(())
    }

    fn wanted(&self, config: &Config) -> anyhow::Result<Vec<Wanted>> {
        let devices = network::devices().context("cannot list the network devices")?;
        let names = || devices.keys().cloned().collect::<Vec<_>>().join(", ");
        if config.interfaces.is_empty() {
            bail!("no interface to filter on: give --iface NAME or [[interface]]; devices here: {}", names());
        }
        let mut wanted = Vec::with_capacity(config.interfaces.len());
        for interface in &config.interfaces {
            let device = match devices.get(&interface.name) {
                Some(device) => device.clone(),
                None if self.lost.contains_key(&interface.name) => continue,
                None => bail!("interface \"{}\" does not exist; devices here: {}", interface.name, names()),
            };
            let dead = self.dead.get(&interface.name).map_or(&[][..], Vec::as_slice);
            let allowed = AttachKind::allowed(interface.attach);
            let kinds = allowed.iter().copied().filter(|kind| !dead.contains(kind)).collect();
            wanted.push(Wanted { device, kinds, egress: interface.egress });
        }
        Ok(wanted)
    }

    fn reload(&mut self, settings: &Settings<'_>) {
        // What was dead may live under another driver setting: the operator asks for a new start.
        let dead = std::mem::take(&mut self.dead);
        if let Err(problem) = (settings.load)().and_then(|config| self.publish(config)) {
            self.dead = dead;
            error!(generation = self.generation, "reload refused, the ruleset that is live stays: {problem:#}");
        }
    }

    /// Starts to watch devices that were attached just now, and forgets those that are gone.
    fn watch_devices(&mut self) -> anyhow::Result<()> {
        let received = network::received().context("cannot read packet counts")?;
        let now = Instant::now();
        let mut watches = BTreeMap::new();
        for attached in self.datapath.attached() {
            let name = &attached.device.name;
            let watch = match self.watches.get(name) {
                // What is known of a dead program says nothing of the one that was attached after it.
                Some(watch) if watch.state() != State::Dead => *watch,
                _ => Watch::new(received.get(name).copied().unwrap_or(0), self.seen(name)?.0, now),
            };
            watches.insert(name.clone(), watch);
        }
        self.watches = watches;
        Ok(())
    }

    /// Packets and bytes that the program saw on a device's ingress.
    fn seen(&self, device: &str) -> anyhow::Result<(u64, report::Parsed, u64)> {
        let port = self.datapath.ports(device).unwrap_or_default().ingress;
        let seen = self.datapath.seen(port).context("cannot read the counters")?;
        Ok((seen.packets.iter().sum(), seen.packets.into(), seen.bytes))
    }

    /// A device that goes away takes its programs along; when it comes back, it is attached anew.
    fn check_devices(&mut self) {
        let Ok(devices) = network::devices() else { return };
        let gone: Vec<_> = self.datapath.attached().iter().map(|attached| attached.device.clone()).collect();
        for device in gone.into_iter().filter(|device| devices.get(&device.name) != Some(device)) {
            error!(device = device.name, "NOT ENFORCING: the device is gone; it is attached again when it comes back");
            self.datapath.detach(&device.name);
            self.watches.remove(&device.name);
            self.lost.insert(device.name, None);
        }
        let mut returned = false;
        for (name, tried) in &mut self.lost {
            let index = devices.get(name).map(|device| device.index);
            returned |= index.is_some() && index != *tried;
            *tried = index;
        }
        if returned && let Err(problem) = self.publish(self.config.clone()) {
            error!("cannot attach a device that came back: {problem:#}");
        }
    }

    /// Holds each device's packets against those its program saw; one that does not run gives way to the next kind.
    fn check_life(&mut self) {
        let Ok(received) = network::received() else { return };
        let now = Instant::now();
        let mut died = Vec::new();
        for attached in self.datapath.attached() {
            let name = &attached.device.name;
            let (Some(&received), Ok((seen, ..))) = (received.get(name), self.seen(name)) else { continue };
            let Some(watch) = self.watches.get_mut(name) else { continue };
            let before = watch.state();
            if watch.read(received, seen, now) == State::Dead && before != State::Dead {
                died.push((name.clone(), attached.kind));
            }
        }
        for (device, kind) in died {
            self.bury(&device, kind);
        }
    }

    fn bury(&mut self, device: &str, kind: AttachKind) {
        let choice = self.config.interfaces.iter().find(|interface| interface.name == device).map(|found| found.attach);
        let dead = self.dead.entry(device.into()).or_default();
        dead.push(kind);
        let next = choice.and_then(|choice| AttachKind::allowed(choice).iter().find(|kind| !dead.contains(kind)));
        let Some(next) = next else {
            error!(device, %kind, "NOT ENFORCING: packets arrive and the program does not see them; no other attach kind is left");
            return;
        };
        error!(device, %kind, %next, "NOT ENFORCING: packets arrive and the program does not see them; trying the next attach kind");
        self.datapath.detach(device);
        self.watches.remove(device);
        if let Err(problem) = self.publish(self.config.clone()) {
            error!(device, "cannot attach again: {problem:#}");
        }
    }

    fn flush_trace(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.flush();
        }
    }

    fn status(&self) -> anyhow::Result<Status> {
        let sets = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        let hits = self.datapath.hits(sets).context("cannot read the counters")?;
        let ports = self.datapath.devices_by_port().map(|(port, name, egress)| (port, (name, egress))).collect();
        let totals = report::totals(&self.rules, &self.sets, &ports, &hits);
        let mut seen = Tally::default();
        let mut devices = Vec::with_capacity(self.config.interfaces.len());
        for interface in &self.config.interfaces {
            let attached = self.datapath.attached().iter().find(|attached| attached.device.name == interface.name);
            let (packets, parsed, bytes) = self.seen(&interface.name)?;
            let device_seen = Tally { packets, bytes };
            seen += device_seen;
            let state = match (attached, self.watches.get(&interface.name).map(Watch::state)) {
                (None, _) | (_, Some(State::Dead)) => "dead",
                (_, Some(State::Live)) => "live",
                _ => "unproven",
            };
            devices.push(DeviceStatus {
                name: interface.name.clone(),
                attach: attached.map_or_else(|| "none".into(), |attached| attached.kind.to_string()),
                state: state.into(),
                egress: attached.is_some_and(Attached::filters_egress),
                seen: device_seen,
                parsed,
            });
        }
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_secs: self.started.elapsed().as_secs(),
            generation: self.generation,
            table_bytes: self.table_bytes,
            devices,
            rules: totals.rules,
            dropped: totals.dropped,
            monitored: totals.monitored,
            allowed: totals.allowed,
            seen,
            counters: totals.counters,
        })
    }
}
