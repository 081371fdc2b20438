//! Reads what the kernel counted. Writes nothing: counters only grow, across every publish.
//!
//! The counter maps outlive generations. When the rules or devices outgrow them, larger ones take over and the old
//! ones are kept and summed, so that no packet is counted twice or lost, whenever it was.

use std::collections::BTreeMap;
use std::path::Path;

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use filter_common::abi::{Hits, Seen};
use filter_common::decide::Direction;

use super::object::Capacity;
use crate::tally::{Key, Tally};

/// What was counted for sets.
#[derive(Clone, Debug, Default)]
pub struct Met {
    /// By set, port, direction and family.
    pub tallies: BTreeMap<Key, Tally>,
    /// When each set was last met, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last: BTreeMap<u32, u64>,
}

/// One generation of counter maps.
pub struct Counters {
    hits: PerCpuArray<MapData, Hits>,
    seen: PerCpuArray<MapData, Seen>,
    capacity: Capacity,
}

impl Counters {
    /// Takes over two maps made for `capacity`.
    #[must_use]
    pub fn new(hits: PerCpuArray<MapData, Hits>, seen: PerCpuArray<MapData, Seen>, capacity: Capacity) -> Self {
        Self { hits, seen, capacity }
    }

    /// The room in the maps.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Opens the maps that an earlier daemon made for `capacity` and pinned.
    pub(super) fn open(hits: &Path, seen: &Path, capacity: Capacity) -> Result<Self, MapError> {
        let array = |path| MapData::from_pin(path).map(Map::PerCpuArray);
        Ok(Self::new(PerCpuArray::try_from(array(hits)?)?, PerCpuArray::try_from(array(seen)?)?, capacity))
    }

    /// Adds everything counted for `ports` and sets below `sets`; zeros are left out.
    pub fn add_hits(&self, ports: &[u32], sets: u32, met: &mut Met) -> Result<(), MapError> {
        for set in 0..sets.min(self.capacity.sets) {
            for &port in ports.iter().filter(|&&port| port < self.capacity.ports) {
                let values = self.hits.get(&(set * self.capacity.ports + port), 0)?;
                if let Some(latest) = values.iter().map(|hits| hits.last).max().filter(|&latest| latest != 0) {
                    let last = met.last.entry(set).or_default();
                    *last = latest.max(*last);
                }
                for direction in [Direction::Out, Direction::In] {
                    for v6 in [false, true] {
                        let at = Hits::index(direction as u32, v6);
                        let mut tally = Tally::default();
                        for hits in values.iter() {
                            tally += hits.counts.get(at).copied().unwrap_or_default().into();
                        }
                        if tally != Tally::default() {
                            *met.tallies.entry(Key { port, set, direction, v6 }).or_default() += tally;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds everything that passed `port` to `total`.
    pub fn add_seen(&self, port: u32, total: &mut Seen) -> Result<(), MapError> {
        if port >= self.capacity.ports {
            return Ok(());
        }
        for seen in self.seen.get(&port, 0)?.iter() {
            for (sum, packets) in total.packets.iter_mut().zip(seen.packets) {
                *sum += packets;
            }
            total.bytes += seen.bytes;
            total.suppressed += seen.suppressed;
        }
        Ok(())
    }
}
