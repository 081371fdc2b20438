//! What the kernel knows of single clients and packets: the table of clients, the events, and how much of both was left
//! out. Reads only, but for events: those it takes.

use std::collections::BTreeMap;
use std::path::Path;

use super::object::{LoadError, Object};
use crate::tally::Tally;
use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuHashMap, RingBuf};
use filter_common::abi::{Client, ClientKey, Event, Meter, map};

/// The maps.
pub(super) struct Details {
    clients: PerCpuHashMap<MapData, ClientKey, Client>,
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
        let maps = (Map::PerCpuLruHashMap(clients), Map::PerCpuArray(meters), Map::RingBuf(events));
        Self::new(maps.0, maps.1, maps.2).map_err(|(_, error)| error)
    }

    fn new(clients: Map, meters: Map, events: Map) -> Result<Self, (&'static str, MapError)> {
        Ok(Self {
            clients: PerCpuHashMap::try_from(clients).map_err(|error| (map::CLIENTS, error))?,
            meters: PerCpuArray::try_from(meters).map_err(|error| (map::METERS, error))?,
            events: RingBuf::try_from(events).map_err(|error| (map::EVENTS, error))?,
        })
    }

    /// All clients that have a place: how old it is, and packets out and in. Clients that come and go meanwhile may be
    /// missing.
    pub(super) fn clients(&self, room: u32) -> Result<BTreeMap<ClientKey, (u64, [Tally; 2])>, MapError> {
        let mut all = BTreeMap::new();
        // A key that is gone when the kernel is asked for the one after it starts the walk anew.
        for key in self.clients.keys().take(4 * room as usize) {
            let key = key?;
            if all.contains_key(&key) {
                continue;
            }
            match self.clients.get(&key, 0) {
                Ok(values) => {
                    let (mut since, mut tallies) = (0, [Tally::default(); 2]);
                    for value in values.iter() {
                        since = since.max(value.since);
                        tallies.iter_mut().zip(value.counts).for_each(|(tally, count)| *tally += count.into());
                    }
                    all.insert(key, (since, tallies));
                }
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// What all CPUs reported and left out.
    pub(super) fn meter(&self) -> Result<Meter, MapError> {
        let mut total = Meter::default();
        for meter in self.meters.get(&0, 0)?.iter() {
            total.reported += meter.reported;
            total.suppressed += meter.suppressed;
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
