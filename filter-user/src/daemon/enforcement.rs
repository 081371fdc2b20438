//! What is enforced: the policy that is live on the devices, and whether it really is. Owns the datapath; decides neither
//! what is published nor when a source is asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use tracing::{error, info, warn};

use crate::config::Config;
use crate::controller::Policy;
use crate::datapath::attach::{AttachKind, Attached};
use crate::datapath::publish::{Datapath, Wanted};
use crate::datapath::trace::Trace;
use crate::liveness::{State, Watch};
use crate::network;
use crate::report::{self, DeviceStatus, Enforced};
use crate::ruleset::{self, RuleIdentity, Sets};
use crate::tally::Tally;

/// What is enforced.
pub(super) struct Enforcement {
    datapath: Datapath,
    sets: Sets,
    rules: Vec<RuleIdentity>,
    policy: Option<Arc<Policy>>,
    generation: u64,
    table_bytes: u64,
    watches: BTreeMap<String, Watch>,
    /// Attach kinds that were taken but did not run, by device.
    dead: BTreeMap<String, Vec<AttachKind>>,
    /// Devices that went away while attached, and the index at which they came back and were tried.
    lost: BTreeMap<String, Option<u32>>,
    /// What the live policy was warned of: each is told once.
    warned: Vec<String>,
    /// Parts of rules that are not in force, one line each.
    degraded: Vec<String>,
    traces: bool,
    trace: Option<Trace>,
}

impl Enforcement {
    pub(super) fn new(datapath: Datapath, traces: bool) -> Self {
        Self {
            datapath,
            sets: Sets::default(),
            rules: Vec::new(),
            policy: None,
            generation: 0,
            table_bytes: 0,
            watches: BTreeMap::new(),
            dead: BTreeMap::new(),
            lost: BTreeMap::new(),
            warned: Vec::new(),
            degraded: Vec::new(),
            traces,
            trace: None,
        }
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
        let wanted = self.wanted(config)?;
        let refusals = self.datapath.publish(&ruleset, &wanted)?;
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
        let attached = |name: &str| self.datapath.attached().iter().any(|attached| attached.device.name == name);
        let wanted = |name: &str| config.interfaces.iter().any(|interface| interface.name == name);
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
    pub(super) fn check_devices(&mut self) {
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
        if returned && let Err(problem) = self.publish_again() {
            error!("cannot attach a device that came back: {problem:#}");
        }
    }

    /// Holds each device's packets against those its program saw; one that does not run gives way to the next kind.
    pub(super) fn check_life(&mut self) {
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

    /// Detaches from every device.
    pub(super) fn close(self) -> anyhow::Result<()> {
        Ok(self.datapath.close()?)
    }

    /// What is enforced, and what was counted.
    pub(super) fn status(&self) -> anyhow::Result<Enforced> {
        let sets = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        let hits = self.datapath.hits(sets).context("cannot read the counters")?;
        let ports = self.datapath.devices_by_port().map(|(port, name, egress)| (port, (name, egress))).collect();
        let totals = report::totals(&self.rules, &self.sets, &ports, &hits);
        let mut seen = Tally::default();
        let interfaces = self.policy.as_ref().map_or(&[][..], |policy| &policy.config.interfaces);
        let mut devices = Vec::with_capacity(interfaces.len());
        for interface in interfaces {
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
        Ok(Enforced {
            generation: self.generation,
            table_bytes: self.table_bytes,
            devices,
            seen,
            totals,
            degraded: self.degraded.clone(),
        })
    }
}
