//! Goes on with the counters of a daemon that was killed: their maps are still pinned. Adopts no program and no link.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aya::maps::MapError;
use filter_common::abi::{ABI_VERSION, Ports, map};
use serde::{Deserialize, Serialize};

use super::counters::Counters;
use super::details::Details;
use super::object::Capacity;
use super::publish::{Datapath, retired};

/// What is needed to read the pinned maps, beside their set ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// [`ABI_VERSION`] of who wrote it.
    abi: u32,
    /// Ingress and egress port by device.
    ports: BTreeMap<String, (u32, u32)>,
    /// Room for ports and sets of each generation of counter maps.
    rooms: Vec<(u32, u32)>,
    /// The last of them is the one in use.
    current: bool,
    /// Places for clients.
    clients: u32,
}

/// Why the counters of an earlier daemon cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// They were made by another version of weir.
    #[error("they were made by another version of weir (layout {0}, this is layout {ABI_VERSION})")]
    Abi(u32),
    /// A pin is missing or of another shape.
    #[error("the pinned maps cannot be read")]
    Maps(#[from] MapError),
}

impl Datapath {
    /// What [`Datapath::adopt`] needs after a crash.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let rooms = self.counters.iter().map(Counters::capacity).map(|room| (room.ports, room.sets)).collect();
        let ports = self.ports.by_name.iter().map(|(name, ports)| (name.clone(), (ports.ingress, ports.egress)));
        Kept { abi: ABI_VERSION, ports: ports.collect(), rooms, current: self.pinned, clients: self.detail.clients }
    }

    /// Goes on with the maps pinned in `pins`. The room for clients stays as it was.
    pub fn adopt(pins: PathBuf, trace: bool, kept: &Kept) -> Result<Self, AdoptError> {
        if kept.abi != ABI_VERSION {
            return Err(AdoptError::Abi(kept.abi));
        }
        let mut datapath = Self::new(pins, trace, kept.clients);
        let last = kept.rooms.len().checked_sub(1).filter(|_| kept.current);
        for (index, &(ports, sets)) in kept.rooms.iter().enumerate() {
            let path = |name: &str| {
                datapath.pins.join(if last == Some(index) { name.to_owned() } else { retired(name, index) })
            };
            let counters = Counters::open(&path(map::HITS), &path(map::SEEN), Capacity { ports, sets })?;
            datapath.counters.push(counters);
        }
        datapath.pinned = last.is_some();
        datapath.details = Some(Details::open(&datapath.pins)?);
        let ports = |&(ingress, egress): &(u32, u32)| Ports { ingress, egress };
        datapath.ports.by_name = kept.ports.iter().map(|(name, numbers)| (name.clone(), ports(numbers))).collect();
        Ok(datapath)
    }
}
