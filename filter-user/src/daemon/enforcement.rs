//! What is enforced: the policy that is live on the devices, and whether it really is. Owns the datapath; decides neither
//! what is published nor when a source is asked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::account::ListVersion;
use crate::config::Config;
use crate::controller::Policy;
use crate::datapath::adopt;
use crate::datapath::attach::{AttachKind, Attached};
use crate::datapath::publish::{Datapath, Wanted};
use crate::datapath::trace::Trace;
use crate::ledger::{Ledger, Reading};
use crate::liveness::{State, Watch};
use crate::network;
use crate::process::RunDir;
use crate::report;
use crate::ruleset::probe::{Probe, probes};
use crate::ruleset::versions::versions;
use crate::ruleset::{self, RuleIdentity, Sets};

/// What is enforced. Once it [stays](Enforcement::stay), it does so when this is dropped, unless it was
/// [detached](Enforcement::detach): the filter must not end with the process.
pub(super) struct Enforcement {
    pub(super) datapath: Datapath,
    run_dir: RunDir,
    /// An earlier daemon may have left filters to which no link leads.
    sweeps: bool,
    pub(super) sets: Sets,
    /// What was counted before the datapath's maps were made.
    pub(super) base: Reading,
    pub(super) rules: Vec<RuleIdentity>,
    pub(super) policy: Option<Arc<Policy>>,
    pub(super) generation: u64,
    pub(super) table_bytes: u64,
    pub(super) watches: BTreeMap<String, Watch>,
    /// Attach kinds that were taken but did not run, by device.
    dead: BTreeMap<String, Vec<AttachKind>>,
    /// Devices that went away while attached, and the index at which they came back and were tried.
    lost: BTreeMap<String, Option<u32>>,
    /// What the live policy was warned of: each is told once.
    warned: Vec<String>,
    /// Parts of rules that are not in force, one line each.
    pub(super) degraded: Vec<String>,
    /// The lists and documents in force.
    pub(super) lists: Vec<ListVersion>,
    /// What the live ruleset must drop and pass, and the rules for which there is no such packet.
    pub(super) probes: (Vec<Probe>, Vec<String>),
    /// Why the filter would end with this process.
    pub(super) unpinned: Option<String>,
    traces: bool,
    trace: Option<Trace>,
}

/// The devices that a configuration names.
struct Devices {
    wanted: Vec<Wanted>,
    /// Those that are not there yet.
    missing: Vec<String>,
}

impl Enforcement {
    /// Enforces nothing yet. Goes on with the counters of a daemon that was killed; else with those in `books`. There is
    /// room for `clients` clients.
    pub(super) fn new(run_dir: RunDir, traces: bool, clients: u32, books: &Ledger) -> anyhow::Result<Self> {
        let left = run_dir.left();
        let adopted = left.as_ref().map(|kept| adopt(kept, run_dir.pins(), traces));
        let (mut datapath, sets, base) = match adopted {
            Some(Ok((datapath, sets, base))) => (datapath, sets, Some(base)),
            failed => {
                if let Some(Err(problem)) = &failed {
                    error!("the counters of an earlier weir are lost: {problem:#}");
                }
                adopt::forget(&run_dir.pins()).context("cannot remove what an earlier weir left")?;
                (Datapath::new(run_dir.pins(), traces, clients), Sets::default(), None)
            }
        };
        let devices = network::devices().context("cannot list the network devices")?;
        datapath.adopt_links(&devices).context("cannot look for what an earlier weir left")?;
        if base.is_some() {
            let devices: Vec<_> = datapath.attached().iter().map(|attached| attached.device.name.clone()).collect();
            warn!(devices = devices.join(","), "an earlier weir left its filter: it goes on, and its counters go on");
        }
        let mut enforcement = Self {
            datapath,
            run_dir,
            sweeps: left.is_some(),
            sets,
            base: Reading::default(),
            rules: Vec::new(),
            policy: None,
            generation: 0,
            table_bytes: 0,
            watches: BTreeMap::new(),
            dead: BTreeMap::new(),
            lost: BTreeMap::new(),
            warned: Vec::new(),
            degraded: Vec::new(),
            lists: Vec::new(),
            probes: Default::default(),
            unpinned: None,
            traces,
            trace: None,
        };
        enforcement.reopen(base.as_ref().unwrap_or(books));
        Ok(enforcement)
    }

    /// Counts on from `books`.
    fn reopen(&mut self, books: &Ledger) {
        let datapath = &mut self.datapath;
        self.base = books.reopen(&mut self.sets, |hook| datapath.port_of(&hook.device, hook.egress));
    }

    /// Writes down what the counters mean, before there is anything to count.
    fn keep_names(&self) -> anyhow::Result<()> {
        let names = self.hooks();
        let mut base = Ledger::default();
        base.post(&self.base, self.names(&names), 0, 0);
        let kept = Kept { datapath: self.datapath.kept(), sets: self.sets.export(), base };
        self.run_dir.keep(&serde_json::to_vec(&kept)?).context("cannot write to the run directory")
    }

    /// Makes `policy` live, or leaves everything as it is.
    pub(super) fn publish(&mut self, policy: &Arc<Policy>) -> anyhow::Result<()> {
        let begun = Instant::now();
        let config = &policy.config;
        let resolved = ruleset::resolve(config, &policy.copies)?;
        let host = network::host().context("cannot read this host's addresses")?;
        let written = resolved.rules.iter().flat_map(|rule| &rule.written);
        let guard = ruleset::guard(&config.never_block, &host, written);
        let rules = policy.rules(&resolved);
        let identities: Vec<RuleIdentity> = rules.iter().map(|rule| rule.identity.clone()).collect();
        let in_force: Vec<_> = rules.into_iter().filter(|rule| policy.is_awake(rule)).collect();
        let devices = network::indices().context("cannot list the network devices")?;
        let ruleset = ruleset::compile(&in_force, &guard, &mut self.sets, &devices)?;
        let Devices { wanted, missing } = self.wanted(config)?;
        let events = &config.evidence.events;
        self.datapath.set_events(events.rate, events.burst);
        let staged = self.datapath.stage(&ruleset, &wanted)?;
        self.keep_names()?;
        let refusals = self.datapath.publish(staged, &wanted)?;
        if std::mem::take(&mut self.sweeps)
            && let Err(problem) = network::devices().and_then(|devices| self.datapath.sweep(&devices))
        {
            error!("cannot remove filters that an earlier weir left: {problem}; `weir panic` does, or tc filter del");
        }
        for warning in resolved.warnings.iter().filter(|warning| !self.warned.contains(warning)) {
            warn!("{warning}");
        }
        for refusal in &refusals {
            warn!("{refusal}");
        }

        self.generation += 1;
        self.table_bytes = ruleset.bytes() as u64;
        self.rules = identities;
        self.policy = Some(Arc::clone(policy));
        self.warned = resolved.warnings;
        self.degraded = report::degraded(&resolved.gaps);
        self.lists = versions(&in_force, &policy.copies);
        self.probes = probes(&in_force, &ruleset);
        let attached = |name: &str| self.datapath.attached().iter().any(|attached| attached.device.name == name);
        let wanted = |name: &str| config.interfaces.iter().any(|interface| interface.name == name);
        self.lost.retain(|name, _| wanted(name) && !attached(name));
        for device in missing {
            error!(device, "NOT ENFORCING: there is no such device; it is attached when it appears");
            self.lost.insert(device, None);
        }
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
            resting = policy.resting.len(),
            paused = policy.paused,
            table_bytes = self.table_bytes,
            took_ms = begun.elapsed().as_millis() as u64,
            devices = devices.join(","),
            "published"
        );
        Ok(())
    }

    /// Publishes what is live once more: devices changed, not the policy.
    fn publish_again(&mut self) -> anyhow::Result<()> {
        match self.policy.clone() {
            Some(policy) => self.publish(&policy),
            None => Ok(()),
        }
    }

    /// What was dead may live under another driver setting: an operator who reloads asks for a new start. Gives back what
    /// was known, for the case that the reload fails.
    pub(super) fn forget_dead(&mut self) -> BTreeMap<String, Vec<AttachKind>> {
        std::mem::take(&mut self.dead)
    }

    /// Takes back what [`Self::forget_dead`] gave.
    pub(super) fn remember_dead(&mut self, dead: BTreeMap<String, Vec<AttachKind>>) {
        self.dead = dead;
    }

    /// The devices of `config`, as they are to be attached. When a weir starts some may be missing: a router boots in any order.
    fn wanted(&self, config: &Config) -> anyhow::Result<Devices> {
        let devices = network::devices().context("cannot list the network devices")?;
        let names = || devices.keys().cloned().collect::<Vec<_>>().join(", ");
        if config.interfaces.is_empty() {
            bail!("no interface to filter on: give --iface NAME or [[interface]]; devices here: {}", names());
        }
        let (mut wanted, mut missing) = (Vec::with_capacity(config.interfaces.len()), Vec::new());
        for interface in &config.interfaces {
            let device = match devices.get(&interface.name) {
                Some(device) => device.clone(),
                None if self.lost.contains_key(&interface.name) => continue,
                None if self.policy.is_none() => {
                    missing.push(interface.name.clone());
                    continue;
                }
                None => bail!("interface \"{}\" does not exist; devices here: {}", interface.name, names()),
            };
            let dead = self.dead.get(&interface.name).map_or(&[][..], Vec::as_slice);
            let allowed = AttachKind::allowed(interface.attach);
            let kinds = allowed.iter().copied().filter(|kind| !dead.contains(kind)).collect();
            wanted.push(Wanted { device, kinds, egress: interface.egress });
        }
        Ok(Devices { wanted, missing })
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

    /// Looks whether what is live is still what runs.
    pub(super) fn check(&mut self) {
        self.check_devices(false);
        self.check_life();
        self.check_pins();
    }

    /// A device that goes away takes its programs along; when it comes back, it is attached anew. Where devices `changed`, one may
    /// have come in another's place.
    pub(super) fn check_devices(&mut self, changed: bool) {
        let Ok(devices) = network::devices() else { return };
        let is_gone = |attached: &&Attached| {
            devices.get(&attached.device.name) != Some(&attached.device) || changed && attached.is_gone()
        };
        let gone: Vec<_> =
            self.datapath.attached().iter().filter(is_gone).map(|attached| attached.device.clone()).collect();
        for device in gone {
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
        if returned && let Err(problem) = self.publish_again() {
            error!("cannot attach a device that came back: {problem:#}");
        }
    }

    /// The file system that the programs are pinned in may go away, or take no more pins: the filter goes on, but not longer than
    /// this process, which cannot mount another one.
    fn check_pins(&mut self) {
        let pinned = self.datapath.keep_pinned();
        let pins = self.run_dir.pins();
        let problem = pinned.err().map(|problem| {
            let pins = pins.display();
            format!("the filter ends when this daemon is killed: it cannot be pinned in {pins} ({problem}); mount -t bpf bpf {pins}")
        });
        match (&problem, &self.unpinned) {
            (Some(problem), None) => error!("{problem}"),
            (None, Some(_)) => info!("the filter is pinned again"),
            _ => {}
        }
        self.unpinned = problem;
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
        let interfaces = self.policy.as_ref().map_or(&[][..], |policy| &policy.config.interfaces);
        let choice = interfaces.iter().find(|interface| interface.name == device).map(|found| found.attach);
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
        if let Err(problem) = self.publish_again() {
            error!(device, "cannot attach again: {problem:#}");
        }
    }

    pub(super) fn flush_trace(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.flush();
        }
    }

    /// Detaches from every device; the counters can still be read.
    pub(super) fn detach(&mut self) {
        self.datapath.detach_all();
        self.run_dir.stay(false);
    }

    /// From here on it stays, however this process ends.
    pub(super) fn stay(&mut self) {
        self.run_dir.stay(true);
    }

    /// Tells what is left of a start that failed.
    pub(super) fn tell_what_stays(&self) {
        if self.run_dir.stays() {
            error!("not started; the filter that an earlier weir left goes on: `weir panic` removes it");
        }
    }
}

impl Drop for Enforcement {
    fn drop(&mut self) {
        if self.run_dir.stays() {
            self.datapath.leave();
        }
    }
}

/// What is kept in the run directory for a daemon that comes after a crash.
#[derive(Serialize, Deserialize)]
struct Kept {
    datapath: adopt::Kept,
    /// The rules of each set.
    sets: Vec<Vec<RuleIdentity>>,
    /// What was counted before the maps were made.
    base: Ledger,
}

fn adopt(kept: &[u8], pins: PathBuf, traces: bool) -> anyhow::Result<(Datapath, Sets, Ledger)> {
    let kept: Kept = serde_json::from_slice(kept).context("what it wrote down cannot be read")?;
    let sets = Sets::restore(&kept.sets).context("its sets make no sense")?;
    Ok((Datapath::adopt(pins, traces, &kept.datapath)?, sets, kept.base))
}
