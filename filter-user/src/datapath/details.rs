//! What the kernel knows of single clients and packets: the table of clients, the events, and how much of both was left
//! out. Reads only, but for events: those it takes.

use std::path::Path;

use super::object::{LoadError, Object};
use crate::ledger::Clients;
use aya::maps::{Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::util::nr_cpus;
use filter_common::abi::{BUCKETS, Buckets, Event, Meter, map};
use filter_common::client::PLACES;

/// The maps.
pub(super) struct Details {
    clients: PerCpuArray<MapData, Buckets>,
    meters: PerCpuArray<MapData, Meter>,
    events: RingBuf<MapData>,
}

/// Events taken at once; the others wait for the next look.
const MOST_EVENTS: usize = 1024;

impl Details {
    /// Takes the maps out of an object that was just loaded.
    pub(super) fn take(object: &mut Object) -> Result<Self, LoadError> {
        let mut of = |name| object.ebpf.take_map(name).ok_or(LoadError::Missing(name));
        let (clients, meters, events) = (of(map::CLIENTS)?, of(map::METERS)?, of(map::EVENTS)?);
        Self::new(clients, meters, events).map_err(|(name, source)| LoadError::Fill { name, source })
    }

    /// Opens the maps that an earlier daemon pinned.
    pub(super) fn open(pins: &Path) -> Result<Self, MapError> {
        let of = |name| MapData::from_pin(pins.join(name));
        let (clients, meters, events) = (of(map::CLIENTS)?, of(map::METERS)?, of(map::EVENTS)?);
        let maps = (Map::PerCpuArray(clients), Map::PerCpuArray(meters), Map::RingBuf(events));
        Self::new(maps.0, maps.1, maps.2).map_err(|(_, error)| error)
    }

    fn new(clients: Map, meters: Map, events: Map) -> Result<Self, (&'static str, MapError)> {
        Ok(Self {
            clients: PerCpuArray::try_from(clients).map_err(|error| (map::CLIENTS, error))?,
            meters: PerCpuArray::try_from(meters).map_err(|error| (map::METERS, error))?,
            events: RingBuf::try_from(events).map_err(|error| (map::EVENTS, error))?,
        })
    }

    /// Places for clients, of all CPUs together.
    pub(super) fn places(&self) -> u64 {
        let cpus = nr_cpus().unwrap_or(1);
        u64::from(self.clients.len()) * (BUCKETS * PLACES * cpus) as u64
    }

    /// All clients that have a place, on each CPU: which of those that had it, and its packets. Clients whose place changes
    /// hands meanwhile may be missing.
    pub(super) fn clients(&self) -> Result<Clients, MapError> {
        let mut all = Clients::new();
        for number in 0..self.clients.len() {
            let first = self.clients.get(&number, 0)?;
            let places = |buckets: &Buckets| buckets.map(|bucket| bucket.places).into_iter().flatten();
            if first.iter().flat_map(places).all(|client| client.serial == 0) {
                continue;
            }
            let second = self.clients.get(&number, 0)?;
            for ((cpu, before), after) in (0..).zip(first.iter()).zip(second.iter()) {
                all.extend(places(before).zip(places(after)).filter_map(|(before, after)| {
                    let count = before.agreed(&after)?;
                    Some(((cpu, before.key), (before.serial, count.into())))
                }));
            }
        }
        Ok(all)
    }

    /// What all CPUs reported and left out.
    pub(super) fn meter(&self) -> Result<Meter, MapError> {
        let mut total = Meter::default();
        for meter in self.meters.get(&0, 0)?.iter() {
            total.reported += meter.reported;
            total.lost += meter.lost;
            total.placed += meter.placed;
            total.crowded += meter.crowded;
        }
        Ok(total)
    }

    /// Takes the events that came since the last call.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        let mut taken = Vec::new();
        while taken.len() < MOST_EVENTS
            && let Some(item) = self.events.next()
        {
            taken.extend(Event::from_bytes(&item));
        }
        taken
    }
}
