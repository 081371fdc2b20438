//! Goes on with what a daemon that was killed left in the kernel: its programs on their devices, which filter all the while,
//! and its counters. All of it is pinned. Publishes nothing: the next publish replaces the programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapError;
use filter_common::abi::{ABI_VERSION, Ports, map};
use serde::{Deserialize, Serialize};

use super::attach::Attached;
use super::bpf::Pin;
use super::counters::Counters;
use super::details::Details;
use super::hold;
use super::link::Link;
use super::object::{COUNTERS, Capacity, DETAILS, Pins, is_map};
use super::publish::{Datapath, PublishError};
use crate::network::Device;

/// What is needed to read the pinned maps, beside their set ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// [`ABI_VERSION`] of who wrote it.
    abi: u32,
    /// Ingress and egress port by device.
    ports: BTreeMap<String, (u32, u32)>,
    /// Room for ports and sets of each generation of counter maps; the last of them is the one in use.
    rooms: Vec<(u32, u32)>,
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
    /// A pin cannot be opened once more.
    #[error(transparent)]
    Pins(#[from] PublishError),
}

impl Datapath {
    /// What [`Datapath::adopt`] needs after a crash.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let rooms = self.counters.iter().map(Counters::capacity).map(|room| (room.ports, room.sets)).collect();
        let ports = self.ports.by_name.iter().map(|(name, ports)| (name.clone(), (ports.ingress, ports.egress)));
        Kept { abi: ABI_VERSION, ports: ports.collect(), rooms, clients: self.detail.clients }
    }

    /// Goes on with the maps pinned in `pins`. The room for clients stays as it was.
    pub fn adopt(pins: PathBuf, trace: bool, kept: &Kept) -> Result<Self, AdoptError> {
        if kept.abi != ABI_VERSION {
            return Err(AdoptError::Abi(kept.abi));
        }
        let mut datapath = Self::new(pins, trace, kept.clients);
        for (outgrown, &(ports, sets)) in kept.rooms.iter().enumerate() {
            let pins = Pins { directory: &datapath.pins, outgrown };
            let counters = Counters::open(&pins.of(map::HITS), &pins.of(map::SEEN), Capacity { ports, sets })?;
            datapath.pinned.append(&mut hold_pins(COUNTERS.map(|name| pins.of(name)))?);
            datapath.counters.push(counters);
        }
        datapath.details = Some(Details::open(&datapath.pins)?);
        datapath.pinned.append(&mut hold_pins(DETAILS.map(|name| datapath.pins.join(name)))?);
        let ports = |&(ingress, egress): &(u32, u32)| Ports { ingress, egress };
        datapath.ports.by_name = kept.ports.iter().map(|(name, numbers)| (name.clone(), ports(numbers))).collect();
        Ok(datapath)
    }

    /// Takes over the programs that an earlier daemon left on `devices`. Its filters on clsact qdiscs are not among them: they are
    /// taken over when their device is attached, and [`Datapath::sweep`] removes the others.
    pub fn adopt_links(&mut self, devices: &BTreeMap<String, Device>) -> io::Result<()> {
        self.attached = Attached::found(&self.pins, devices)?;
        Ok(())
    }

    /// Removes filters on clsact qdiscs that an earlier daemon left and nobody wants any more.
    pub fn sweep(&self, devices: &BTreeMap<String, Device>) -> io::Result<()> {
        hold::sweep(devices, &self.attached).map(drop)
    }
}

/// Opens pins that were just made.
pub(super) fn hold_pins<const N: usize>(pins: [PathBuf; N]) -> Result<Vec<Pin>, PublishError> {
    let open = |path: PathBuf| Pin::open(path.clone()).map_err(|source| PublishError::Pin { path, source });
    pins.into_iter().map(open).collect()
}

/// Removes the pins of an earlier daemon's counters, which cannot be read. Its links stay, and with them its programs, which count
/// on in maps that nobody reads.
pub fn forget(pins: &Path) -> io::Result<()> {
    for entry in fs::read_dir(pins)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_map) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether something filters by links that are pinned in `pins`; not known, and so not, to who may not look there.
#[must_use]
pub fn is_left(pins: &Path) -> bool {
    Link::found(pins).is_ok_and(|found| !found.is_empty())
}

/// Removes every program that was left on `devices`: those whose links are pinned in `pins`, and filters on clsact qdiscs. Gives
/// the devices that had one.
pub fn remove(pins: &Path, devices: &BTreeMap<String, Device>) -> io::Result<BTreeSet<String>> {
    let mut found = Attached::found(pins, devices)?;
    found.iter_mut().for_each(Attached::settle);
    let mut freed: BTreeSet<String> = found.iter().map(|attached| attached.device.name.clone()).collect();
    drop(found);
    freed.append(&mut hold::sweep(devices, &[])?);
    Ok(freed)
}
