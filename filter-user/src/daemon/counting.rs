//! What is enforced, in figures: reads the datapath's counters under the names of devices and rules. Changes nothing, but for
//! events, which it takes.

use std::collections::BTreeMap;

use anyhow::Context as _;
use filter_common::abi::{self, Meter};
use filter_common::decide::Direction;
use tracing::warn;

use super::clock::boot_micros;
use super::enforcement::Enforcement;

use crate::account::ListVersion;
use crate::config::EventsConfig;
use crate::datapath::attach::Attached;
use crate::datapath::counters::Met;
use crate::ledger::{Hook, Names, Reading};
use crate::liveness::{State, Watch};
use crate::report::{self, ClientTable, DeviceStatus, Enforced};
use crate::tally::Tally;

impl Enforcement {
    /// Serial of the ruleset that is live.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The lists and documents in force.
    pub(super) fn lists(&self) -> &[ListVersion] {
        &self.lists
    }

    /// Parts of rules that are not in force, one line each.
    pub(super) fn degraded(&self) -> &[String] {
        &self.degraded
    }

    /// Checksum of the configuration file, where there is one.
    pub(super) fn config_checksum(&self) -> Option<String> {
        self.policy.as_ref()?.text.as_ref().map(|text| text.checksum())
    }

    /// How events are passed on.
    pub(super) fn events_config(&self) -> Option<&EventsConfig> {
        self.policy.as_ref().map(|policy| &policy.config.evidence.events)
    }

    /// The hooks by port.
    pub(super) fn hooks(&self) -> BTreeMap<u32, Hook> {
        let hook = |(port, device, egress): (u32, &str, bool)| (port, Hook { device: device.into(), egress });
        self.datapath.devices_by_port().map(hook).collect()
    }

    /// The names that go with a reading.
    pub(super) fn names<'a>(&'a self, ports: &'a BTreeMap<u32, Hook>) -> Names<'a> {
        Names { sets: &self.sets, ports }
    }

    /// The rules that packets of a set and direction, as the kernel numbers them, are counted for.
    pub(super) fn credited(&self, set: u32, direction: u32) -> Vec<String> {
        let direction = if direction == Direction::Out as u32 { Direction::Out } else { Direction::In };
        self.sets.credited(set, direction).map(|rule| rule.name.clone()).collect()
    }

    /// Takes the events that came since the last call.
    pub(super) fn take_events(&mut self) -> Vec<abi::Event> {
        self.datapath.take_events()
    }

    /// Tells the programs the time.
    pub(super) fn wind(&mut self) {
        if let Err(problem) = self.datapath.wind() {
            warn!("{problem}: the times at which rules were last met stand still");
        }
    }

    /// What was reported of clients and packets, and left out; nothing where it cannot be read.
    pub(super) fn meter(&self) -> Meter {
        self.datapath.meter().unwrap_or_default()
    }

    /// Events that were over the rate; nothing where it cannot be read.
    pub(super) fn suppressed(&self) -> u64 {
        self.datapath.suppressed().unwrap_or_default()
    }

    /// Everything counted so far.
    pub(super) fn reading(&self) -> anyhow::Result<Reading> {
        Ok(self.read()?.0)
    }

    /// Everything counted so far, and when each set was last met.
    fn read(&self) -> anyhow::Result<(Reading, BTreeMap<u32, u64>)> {
        let sets = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        let Met { tallies, last } = self.datapath.hits(sets).context("cannot read the counters")?;
        let mut reading = Reading { hits: self.base.hits.clone(), ..Reading::default() };
        for (key, tally) in tallies {
            *reading.hits.entry(key).or_default() += tally;
        }
        for (port, ..) in self.datapath.devices_by_port() {
            reading.seen.insert(port, self.seen_at(port)?);
        }
        reading.clients = self.datapath.clients().context("cannot read the clients' counters")?;
        Ok((reading, last))
    }

    /// All packets that passed a port.
    fn seen_at(&self, port: u32) -> anyhow::Result<abi::Seen> {
        let mut seen = self.datapath.seen(port).context("cannot read the counters")?;
        if let Some(base) = self.base.seen.get(&port) {
            seen.packets.iter_mut().zip(base.packets).for_each(|(sum, before)| *sum += before);
            seen.bytes += base.bytes;
        }
        Ok(seen)
    }

    /// Packets and bytes that the program saw on a device's ingress.
    pub(super) fn seen(&self, device: &str) -> anyhow::Result<(u64, report::Parsed, u64)> {
        let seen = self.seen_at(self.datapath.ports(device).unwrap_or_default().ingress)?;
        Ok((seen.packets.iter().sum(), seen.packets.into(), seen.bytes))
    }

    /// The devices as they are filtered.
    pub(super) fn devices(&self) -> anyhow::Result<Vec<DeviceStatus>> {
        let interfaces = self.policy.as_ref().map_or(&[][..], |policy| &policy.config.interfaces);
        let mut devices = Vec::with_capacity(interfaces.len());
        for interface in interfaces {
            let attached = self.datapath.attached().iter().find(|attached| attached.device.name == interface.name);
            let (packets, parsed, bytes) = self.seen(&interface.name)?;
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
                seen: Tally { packets, bytes },
                parsed,
            });
        }
        Ok(devices)
    }

    /// What is enforced, and what was counted.
    pub(super) fn status(&self) -> anyhow::Result<Enforced> {
        let (reading, last) = self.read()?;
        let hooks = self.hooks();
        let ports = hooks.iter().map(|(&port, hook)| (port, (hook.device.as_str(), hook.egress))).collect();
        let mut totals = report::totals(&self.rules, &self.sets, &ports, &reading.hits);
        let boot = boot_micros() / 1_000_000;
        let last = last.into_iter().map(|(set, nanos)| (set, boot + i64::try_from(nanos / 1_000_000_000).unwrap_or(0)));
        report::add_last(&mut totals, &self.sets, &last.collect());
        let devices = self.devices()?;
        let mut seen = Tally::default();
        for device in &devices {
            seen += device.seen;
        }
        let meter = self.meter();
        let room = self.datapath.places();
        let held = reading.clients.len() as u64;
        Ok(Enforced {
            generation: self.generation,
            table_bytes: self.table_bytes,
            devices,
            seen,
            clients: report::clients(&self.sets, &ports, &reading.clients),
            client_table: ClientTable {
                room,
                held,
                evicted: meter.placed.saturating_sub(held),
                crowded: meter.crowded,
            },
            totals,
            degraded: self.degraded.clone(),
        })
    }
}
