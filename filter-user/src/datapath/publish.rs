//! Makes rulesets live: loads a generation and swaps it under the devices, atomically for each. The only writer of the
//! kernel's state.
//!
//! A generation is a new program with its own frozen tables; the swap is one link update per device, so no packet
//! meets half a ruleset. The old generation is dropped when no device runs it. On any error the old one goes on.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use aya::maps::{MapError, PerCpuArray};
use filter_common::abi::{Event, Meter, Ports, Seen, map};

use super::adopt::hold_pins;
use super::attach::{AttachError, AttachKind, Attached};
use super::bpf::Pin;
use super::counters::{Counters, Met};
use super::details::Details;
use super::object::{COUNTERS, Capacity, DETAILS, Detail, LoadError, Object, Options, Pins};
use crate::ledger::Clients;
use crate::network::Device;
use crate::ruleset::Ruleset;

/// A device as the configuration wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The device.
    pub device: Device,
    /// The attach kinds to try, best first.
    pub kinds: Vec<AttachKind>,
    /// Filter egress, too.
    pub egress: bool,
}

/// Why a ruleset did not become live.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A device does not take it.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A pin of a map that counts cannot be removed, or opened.
    #[error("cannot use the pin {}", path.display())]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What is to be pinned is not.
    #[error("nothing can be pinned in {} (mount -t bpf bpf {})", path.display(), path.display())]
    Unpinned {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Ports of a device by name; port 0 counts devices that weir does not know.
#[derive(Debug, Default)]
pub(super) struct PortNumbers {
    pub(super) by_name: BTreeMap<String, Ports>,
}

impl PortNumbers {
    /// The ports of a device: the same ones whenever it comes back.
    fn of(&mut self, name: &str) -> Ports {
        let next = 1 + 2 * u32::try_from(self.by_name.len()).unwrap_or(u32::MAX / 4);
        *self.by_name.entry(name.into()).or_insert(Ports { ingress: next, egress: next + 1 })
    }

    fn count(&self) -> u32 {
        1 + 2 * u32::try_from(self.by_name.len()).unwrap_or(u32::MAX / 4)
    }
}

/// What a swap did so far beside replacing programs.
#[derive(Default)]
struct Change {
    fresh: Vec<Attached>,
    /// Devices whose egress was added.
    egress: Vec<String>,
    /// What was detached: the device, its kind, and whether egress was filtered.
    released: Vec<(Device, AttachKind, bool)>,
    refusals: Vec<AttachError>,
}

/// The datapath: the programs on the devices, and the counters.
pub struct Datapath {
    pub(super) pins: PathBuf,
    trace: bool,
    pub(super) attached: Vec<Attached>,
    object: Option<Object>,
    pub(super) ports: PortNumbers,
    /// The maps in use, and before them those that were outgrown; pinned by their places here.
    pub(super) counters: Vec<Counters>,
    pub(super) detail: Detail,
    pub(super) details: Option<Details>,
    /// The maps that count, as they are pinned.
    pub(super) pinned: Vec<Pin>,
}

/// A generation that is loaded, and not yet under any device.
pub struct Staged(Object);

/// Room for sets and ports to begin with; grown by doubling.
const FIRST_SETS: u32 = 64;
const FIRST_PORTS: u32 = 4;

impl Datapath {
    /// A datapath with nothing attached. `pins` is an empty directory on a bpffs; there is room for `clients` clients for
    /// as long as it is.
    #[must_use]
    pub fn new(pins: PathBuf, trace: bool, clients: u32) -> Self {
        let (ports, detail) = (PortNumbers::default(), Detail { clients, ..Detail::default() });
        Self {
            pins,
            trace,
            attached: vec![],
            object: None,
            ports,
            counters: vec![],
            detail,
            details: None,
            pinned: vec![],
        }
    }

    /// How many events each CPU may report from the next publish on.
    pub fn set_events(&mut self, a_second: u32, burst: u32) {
        self.detail = Detail { events: a_second, burst, ..self.detail };
    }

    /// Loads `ruleset` for the devices `wanted`, and verifies what is to be swapped under those that are attached: the
    /// verifier takes many times longer than the swaps, between which devices run different generations. What counts its
    /// packets is pinned and in [`Datapath::kept`] then.
    pub fn stage(&mut self, ruleset: &Ruleset, wanted: &[Wanted]) -> Result<Staged, PublishError> {
        // Maps that are not found by their pins would be made anew, and count where nobody reads.
        self.keep_pinned().map_err(|source| PublishError::Unpinned { path: self.pins.clone(), source })?;
        let mut object = self.load(ruleset, wanted)?;
        for attached in &self.attached {
            if wanted.iter().any(|wanted| keeps(attached, wanted)) {
                attached.verify(&mut object)?;
            }
        }
        Ok(Staged(object))
    }

    /// Makes a generation live on exactly the devices `wanted`, for which it was loaded. Returns what was refused on the
    /// way, for the log.
    ///
    /// Devices that are attached already are swapped first; on an error they are swapped back, and nothing has changed.
    pub fn publish(&mut self, staged: Staged, wanted: &[Wanted]) -> Result<Vec<AttachError>, PublishError> {
        let Staged(mut object) = staged;
        let mut change = Change::default();
        if let Err(error) = self.swap(&mut object, wanted, &mut change) {
            self.undo(change);
            return Err(error.into());
        }
        self.attached.iter_mut().for_each(Attached::settle);
        self.attached.retain_mut(|attached| {
            let Some(wanted) = wanted.iter().find(|wanted| keeps(attached, wanted)) else { return false };
            if !wanted.egress {
                attached.drop_egress();
            }
            true
        });
        self.attached.append(&mut change.fresh);
        self.object = Some(object);
        Ok(change.refusals)
    }

    fn swap(&mut self, object: &mut Object, wanted: &[Wanted], change: &mut Change) -> Result<(), AttachError> {
        for wanted in wanted {
            if let Some(attached) = self.attached.iter_mut().find(|attached| keeps(attached, wanted)) {
                match attached.replace(object) {
                    Ok(()) if wanted.egress && !attached.filters_egress() => {
                        attached.add_egress(object, &self.pins)?;
                        change.egress.push(wanted.device.name.clone());
                        continue;
                    }
                    Ok(()) => continue,
                    Err(_) if attached.is_severed() => {}
                    Err(error) => return Err(error),
                }
            }
            // The kernel takes no second XDP program, so weir's own must go before the next one comes.
            let in_the_way = |held: &Attached| {
                held.device == wanted.device && held.kind.is_xdp() && wanted.kinds.iter().any(|kind| kind.is_xdp())
            };
            if let Some(at) = self.attached.iter().position(in_the_way) {
                let mut held = self.attached.swap_remove(at);
                held.settle();
                change.released.push((held.device.clone(), held.kind, held.filters_egress()));
            }
            let (attached, refused) =
                Attached::attach(object, &wanted.device, &wanted.kinds, wanted.egress, &self.pins)?;
            change.fresh.push(attached);
            change.refusals.extend(refused);
        }
        Ok(())
    }

    /// Puts the generation that runs back. The kernel's state of what is held is intact: an update that failed changed
    /// nothing.
    fn undo(&mut self, change: Change) {
        drop(change.fresh);
        for attached in &mut self.attached {
            if change.egress.contains(&attached.device.name) {
                attached.drop_egress();
            }
            match &mut self.object {
                Some(old) => drop(attached.replace(old)),
                None => attached.restore(),
            }
        }
        let Some(old) = &mut self.object else { return };
        for (device, kind, egress) in change.released {
            // A device that does not take back what it held is missing among `attached`, and so in every status.
            self.attached
                .extend(Attached::attach(old, &device, &[kind], egress, &self.pins).ok().map(|(attached, _)| attached));
        }
    }

    fn load(&mut self, ruleset: &Ruleset, wanted: &[Wanted]) -> Result<Object, PublishError> {
        let ports: Vec<_> =
            wanted.iter().map(|wanted| (wanted.device.index, self.ports.of(&wanted.device.name))).collect();
        let sets = u32::try_from(ruleset.actions.len()).unwrap_or(u32::MAX);
        let current = self.counters.last().map(Counters::capacity);
        let fits = current.filter(|room| room.sets >= sets && room.ports >= self.ports.count());
        let capacity = fits.unwrap_or_else(|| Capacity {
            sets: sets.next_power_of_two().max(FIRST_SETS),
            ports: self.ports.count().next_power_of_two().max(FIRST_PORTS),
        });
        let outgrown = self.counters.len() - usize::from(fits.is_some());
        let pins = Pins { directory: &self.pins, outgrown };
        // What a load that failed left behind is nobody's to count in.
        if fits.is_none() {
            unpin(COUNTERS.map(|name| pins.of(name)))?;
        }
        if self.details.is_none() {
            unpin(DETAILS.map(|name| pins.of(name)))?;
        }
        let options = Options {
            ports: &ports,
            capacity,
            pins: Some(pins),
            detail: self.detail,
            trace: self.trace,
            record: false,
        };
        let mut object = Object::load(ruleset, &options)?;
        if fits.is_none() {
            let counters = take_counters(&mut object, capacity)?;
            self.pinned.append(&mut hold_pins(COUNTERS.map(|name| pins.of(name)))?);
            self.counters.push(counters);
        }
        if self.details.is_none() {
            let details = Details::take(&mut object)?;
            self.pinned.append(&mut hold_pins(DETAILS.map(|name| pins.of(name)))?);
            self.details = Some(details);
        }
        Ok(object)
    }

    /// The devices with their programs.
    #[must_use]
    pub fn attached(&self) -> &[Attached] {
        &self.attached
    }

    /// Sees to it that the programs stay when the process is killed, and what they count; an error where they would not.
    pub fn keep_pinned(&mut self) -> io::Result<()> {
        self.pinned.iter().try_for_each(Pin::keep)?;
        self.attached.iter_mut().try_for_each(Attached::keep_pinned)
    }

    /// Takes a device off, so that the next publish attaches it anew.
    pub fn detach(&mut self, device: &str) {
        self.attached.retain(|attached| attached.device.name != device);
    }

    /// Has the programs stay on their devices when this is dropped, and go on counting.
    pub fn leave(&mut self) {
        self.attached.iter_mut().for_each(Attached::leave);
    }

    /// Takes every device off; the counters can still be read.
    pub fn detach_all(&mut self) {
        self.attached.clear();
    }

    /// Places for clients, of all CPUs together. Where none are counted their map is there all the same.
    #[must_use]
    pub fn places(&self) -> u64 {
        self.details.as_ref().filter(|_| self.detail.clients != 0).map_or(0, Details::places)
    }

    /// The port of a device's ingress or egress, a fresh one at its first sight.
    pub fn port_of(&mut self, device: &str, egress: bool) -> u32 {
        let ports = self.ports.of(device);
        if egress { ports.egress } else { ports.ingress }
    }

    /// The ports of a device.
    #[must_use]
    pub fn ports(&self, device: &str) -> Option<Ports> {
        self.ports.by_name.get(device).copied()
    }

    /// The device and hook of a port.
    pub fn devices_by_port(&self) -> impl Iterator<Item = (u32, &str, bool)> {
        self.ports
            .by_name
            .iter()
            .flat_map(|(name, ports)| [(ports.ingress, name.as_str(), false), (ports.egress, name.as_str(), true)])
    }

    /// Everything counted so far for sets below `sets`.
    pub fn hits(&self, sets: u32) -> Result<Met, MapError> {
        let ports: Vec<u32> = self.devices_by_port().map(|(port, _, _)| port).collect();
        let mut met = Met::default();
        for counters in &self.counters {
            counters.add_hits(&ports, sets, &mut met)?;
        }
        Ok(met)
    }

    /// The clients that have a place in the kernel's tables.
    pub fn clients(&self) -> Result<Clients, MapError> {
        self.details.as_ref().map_or(Ok(Clients::new()), Details::clients)
    }

    /// Tells the programs the time; several times a second is enough.
    pub fn wind(&mut self) -> Result<(), LoadError> {
        self.object.as_mut().map_or(Ok(()), Object::wind)
    }

    /// What was reported of single packets and clients, and left out.
    pub fn meter(&self) -> Result<Meter, MapError> {
        self.details.as_ref().map_or(Ok(Meter::default()), Details::meter)
    }

    /// Events that were over the rate.
    pub fn suppressed(&self) -> Result<u64, MapError> {
        let ports = self.counters.iter().map(|counters| counters.capacity().ports).max().unwrap_or(0);
        (0..ports).try_fold(0, |sum, port| Ok(sum + self.seen(port)?.suppressed))
    }

    /// Takes the events that came since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.details.as_mut().map_or(Vec::new(), Details::take_events)
    }

    /// All packets that passed a port so far.
    pub fn seen(&self, port: u32) -> Result<Seen, MapError> {
        let mut total = Seen::default();
        for counters in &self.counters {
            counters.add_seen(port, &mut total)?;
        }
        Ok(total)
    }

    /// The object of the generation that runs, for its log.
    pub(super) fn object(&mut self) -> Option<&mut Object> {
        self.object.as_mut()
    }
}

/// Removes pins; the maps live on as long as someone holds them.
fn unpin<const N: usize>(pins: [PathBuf; N]) -> Result<(), PublishError> {
    for path in pins {
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(PublishError::Pin { path, source }),
            _ => {}
        }
    }
    Ok(())
}

/// Whether `attached` can stay under `wanted`: the same device, by one of the kinds allowed.
fn keeps(attached: &Attached, wanted: &Wanted) -> bool {
    wanted.device == attached.device && wanted.kinds.contains(&attached.kind) && !attached.is_severed()
}

fn take_counters(object: &mut Object, capacity: Capacity) -> Result<Counters, LoadError> {
    let fill = |name| move |source| LoadError::Fill { name, source };
    let hits = object.ebpf.take_map(map::HITS).ok_or(LoadError::Missing(map::HITS))?;
    let seen = object.ebpf.take_map(map::SEEN).ok_or(LoadError::Missing(map::SEEN))?;
    let hits = PerCpuArray::try_from(hits).map_err(fill(map::HITS))?;
    let seen = PerCpuArray::try_from(seen).map_err(fill(map::SEEN))?;
    Ok(Counters::new(hits, seen, capacity))
}
