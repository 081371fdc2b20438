//! One generation in the kernel: the object loaded with its own exact-size, frozen tables. Attaches nothing.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::maps::{Array, Map, MapError};
use aya::programs::{ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader, Pod};
use filter_common::abi::{BUCKETS, Ports, global, map};
use filter_common::client;
use filter_common::packet::Layer;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::time::{ClockId, clock_gettime};

use crate::ruleset::Ruleset;

/// The BPF object, compiled from `filter-ebpf`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-filter.o"));

/// The hook that a program runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// XDP, native or generic.
    Xdp,
    /// tc ingress, by tcx or clsact.
    TcIngress,
    /// tc egress, by tcx or clsact.
    TcEgress,
}

/// Why a generation does not load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object or its maps.
    #[error("cannot load the BPF object{}", remedy(.0))]
    Object(#[source] EbpfError),
    /// A map lacks or refuses a value.
    #[error("cannot fill BPF map {name}")]
    Fill {
        /// The map.
        name: &'static str,
        /// What the kernel says.
        #[source]
        source: MapError,
    },
    /// A map cannot be frozen.
    #[error("cannot freeze BPF map {name}")]
    Freeze {
        /// The map.
        name: &'static str,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The object has no such program or map.
    #[error("the BPF object has no {0}: it was built from another version, rebuild weir")]
    Missing(&'static str),
    /// The verifier refuses a program.
    #[error("the kernel refuses BPF program {name}")]
    Program {
        /// The program.
        name: &'static str,
        /// What the verifier says.
        #[source]
        source: ProgramError,
    },
}

fn remedy(error: &EbpfError) -> &'static str {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return match io.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => ": run weir as root, or with CAP_BPF and CAP_NET_ADMIN",
                Some(libc::ENOMEM) => ": the kernel is out of memory for maps; use shorter lists",
                Some(libc::ENOSYS) => ": this kernel is built without BPF (CONFIG_BPF_SYSCALL)",
                _ => "",
            };
        }
        source = error.source();
    }
    ""
}

/// What a generation is loaded with, beside its ruleset.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// By interface index: where a device's packets are counted.
    pub ports: &'a [(u32, Ports)],
    /// How many ports and sets the counter maps have room for.
    pub capacity: Capacity,
    /// Where the counter maps are pinned, so that the next generation finds them.
    pub pins: Option<Pins<'a>>,
    /// What is counted and reported of single clients and packets.
    pub detail: Detail,
    /// Log every decision.
    pub trace: bool,
    /// Keep the latest decision in the map `LAST`.
    pub record: bool,
}

/// Where maps are pinned.
#[derive(Clone, Copy, Debug)]
pub struct Pins<'a> {
    /// A directory on a bpffs.
    pub directory: &'a Path,
    /// How many maps of counters were outgrown before these.
    pub outgrown: usize,
}

impl Pins<'_> {
    /// The pin of the map `name`.
    pub(super) fn of(&self, name: &str) -> PathBuf {
        let Self { directory, outgrown } = self;
        if COUNTERS.contains(&name) { directory.join(format!("{name}_{outgrown}")) } else { directory.join(name) }
    }
}

/// Whether the pin `name` is a map's of weir's. The kernel has files of its own on a BPF file system.
pub(super) fn is_map(name: &str) -> bool {
    DETAILS.contains(&name)
        || COUNTERS.iter().any(|map| name.strip_prefix(map).is_some_and(|rest| rest.starts_with('_')))
}

/// What is counted and reported of single clients and packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Places for clients; 0 counts none.
    pub clients: u32,
    /// Events a second that each CPU may report; 0 reports none.
    pub events: u32,
    /// How many of them may come at once.
    pub burst: u32,
}

impl Detail {
    /// Nanoseconds between two events, and those of a burst.
    fn pace(self) -> (u64, u64) {
        let interval = 1_000_000_000_u64.checked_div(self.events.into()).unwrap_or(0);
        (interval, interval * u64::from(self.burst.saturating_sub(1)))
    }
}

/// Room in the counter maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Ports, port 0 included.
    pub ports: u32,
    /// Sets, the empty set included.
    pub sets: u32,
}

/// One generation in the kernel.
#[derive(Debug)]
pub struct Object {
    pub(super) ebpf: Ebpf,
}

impl Object {
    /// Creates the maps, fills and freezes the tables. Programs are verified when they are first asked for.
    pub fn load(ruleset: &Ruleset, options: &Options<'_>) -> Result<Self, LoadError> {
        let Ruleset { tables, scopes, .. } = ruleset;
        let last_index = options.ports.iter().map(|&(index, _)| index).max().unwrap_or(0);
        let elements = |count: usize| u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let flag = |on: bool, value: u32| if on { value } else { 0 };
        let watch = flag(options.trace, global::WATCH_TRACE) | flag(options.record, global::WATCH_RECORD);
        let buckets = if options.detail.clients == 0 { 0 } else { client::buckets(options.detail.clients) };
        let (interval, burst) = options.detail.pace();
        let mut loader = EbpfLoader::new();
        loader
            // The object needs nothing from the kernel's BTF, which OpenWrt's kernels do not have.
            .btf(None)
            .map_max_entries(map::LEAVES4, elements(tables.v4.blocks.len()))
            .map_max_entries(map::LEAVES6, elements(tables.v6.blocks.len()))
            .map_max_entries(map::SETS, elements(ruleset.actions.len()))
            .map_max_entries(map::CLASSES, elements(scopes.classes.len()))
            .map_max_entries(map::GROUPS, elements(scopes.groups.len()))
            .map_max_entries(map::NARROWED, elements(scopes.narrowed.len()))
            .map_max_entries(map::PORTS, last_index.saturating_add(1))
            .map_max_entries(map::HITS, options.capacity.sets.saturating_mul(options.capacity.ports))
            .map_max_entries(map::SEEN, options.capacity.ports)
            .map_max_entries(map::CLIENTS, (buckets / BUCKETS as u32).max(1))
            .map_max_entries(map::EVENTS, if options.pins.is_none() { PAGE } else { EVENT_BUFFER })
            .map_max_entries("AYA_LOGS", if options.trace { TRACE_BUFFER } else { PAGE })
            .override_global(global::PORT_CAPACITY, &options.capacity.ports, true)
            .override_global(global::CLIENT_BUCKETS, &buckets, true)
            .override_global(global::EVENT_INTERVAL, &interval, true)
            .override_global(global::EVENT_BURST, &burst, true)
            .override_global(global::WATCH, &watch, true);
        if let Some(pins) = options.pins {
            for name in COUNTERS.into_iter().chain(DETAILS) {
                loader.map_pin_path(name, Cow::Owned(pins.of(name)));
            }
        }
        let ebpf = loader.load(OBJECT).map_err(LoadError::Object)?;
        let mut object = Self { ebpf };
        object.fill(map::ROOT4, [(0, tables.v4.root.as_ref())])?;
        object.fill(map::LEAVES4, (0..).zip(tables.v4.blocks.iter().map(AsRef::as_ref)))?;
        object.fill(map::ROOT6, [(0, tables.v6.root.as_ref())])?;
        object.fill(map::LEAVES6, (0..).zip(tables.v6.blocks.iter().map(AsRef::as_ref)))?;
        object.fill(map::SETS, (0..).zip(&ruleset.actions))?;
        object.fill(map::CLASSES, (0..).zip(&scopes.classes))?;
        object.fill(map::GROUPS, (0..).zip(&scopes.groups))?;
        object.fill(map::NARROWED, (0..).zip(&scopes.narrowed))?;
        object.wind()?;
        object.fill(map::PORTS, options.ports.iter().map(|(index, ports)| (*index, ports)))?;
        Ok(object)
    }

    /// Tells the programs the time.
    pub fn wind(&mut self) -> Result<(), LoadError> {
        let name = map::CLOCK;
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).max(1);
        let map = self.ebpf.map_mut(name).ok_or(LoadError::Missing(name))?;
        let mut clock = Array::<_, u64>::try_from(map).map_err(|source| LoadError::Fill { name, source })?;
        clock.set(0, now, 0).map_err(|source| LoadError::Fill { name, source })
    }

    /// Writes an array's elements and freezes it: from then on nobody can change the ruleset in place.
    fn fill<'v, V: Pod>(
        &mut self,
        name: &'static str,
        values: impl IntoIterator<Item = (u32, &'v V)>,
    ) -> Result<(), LoadError> {
        let map = self.ebpf.map_mut(name).ok_or(LoadError::Missing(name))?;
        let mut array = Array::<_, V>::try_from(&mut *map).map_err(|source| LoadError::Fill { name, source })?;
        for (index, value) in values {
            array.set(index, value, 0).map_err(|source| LoadError::Fill { name, source })?;
        }
        if let Map::Array(map) = map {
            freeze(map.fd().as_fd()).map_err(|source| LoadError::Freeze { name, source })?;
        }
        Ok(())
    }

    /// The program for `hook` and `layer`, verified.
    pub(super) fn program(&mut self, hook: Hook, layer: Layer) -> Result<io::Result<BorrowedFd<'_>>, LoadError> {
        let program = match hook {
            Hook::Xdp => self.xdp(layer)?.fd(),
            hook => self.classifier(hook, layer)?.fd(),
        };
        Ok(program.map(|program| program.as_fd()).map_err(io::Error::other))
    }

    /// The XDP program for devices whose frames start with `layer`, verified.
    pub fn xdp(&mut self, layer: Layer) -> Result<&mut Xdp, LoadError> {
        let name = entry(Hook::Xdp, layer);
        let program = self.ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
        let program: &mut Xdp = program.try_into().map_err(|source| LoadError::Program { name, source })?;
        verify(name, program.fd().is_ok(), || program.load())?;
        Ok(program)
    }

    /// The tc program for `hook` and `layer`, verified.
    pub fn classifier(&mut self, hook: Hook, layer: Layer) -> Result<&mut SchedClassifier, LoadError> {
        let name = entry(hook, layer);
        let program = self.ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
        let program: &mut SchedClassifier = program.try_into().map_err(|source| LoadError::Program { name, source })?;
        verify(name, program.fd().is_ok(), || program.load())?;
        Ok(program)
    }
}

/// How often the kernel is asked once more to verify a program.
const MOST_INTERRUPTIONS: usize = 10;

fn verify(
    name: &'static str,
    verified: bool,
    mut load: impl FnMut() -> Result<(), ProgramError>,
) -> Result<(), LoadError> {
    if verified {
        return Ok(());
    }
    // The verifier gives up where a signal comes (EAGAIN). Those that can wait do; others, as a debugger's, cost a new start.
    let _blocked = Blocked::all();
    let interrupted = |result: &Result<(), ProgramError>| matches!(result, Err(ProgramError::LoadError { io_error, .. }) if io_error.raw_os_error() == Some(libc::EAGAIN));
    let loaded = (0..MOST_INTERRUPTIONS).map(|_| load()).find(|result| !interrupted(result)).unwrap_or_else(&mut load);
    loaded.map_err(|source| LoadError::Program { name, source })
}

/// Signals wait for this thread until it is dropped.
struct Blocked(SigSet);

impl Blocked {
    fn all() -> Self {
        let mut before = SigSet::empty();
        // It has no way to fail but a wrong argument.
        let _ = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut before));
        Self(before)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.0), None);
    }
}

/// The name of the entry point for a hook and a layer.
pub(super) fn entry(hook: Hook, layer: Layer) -> &'static str {
    match (hook, layer) {
        (Hook::Xdp, Layer::Ethernet) => "weir_xdp_l2",
        (Hook::Xdp, Layer::Ip) => "weir_xdp_l3",
        (Hook::TcIngress, Layer::Ethernet) => "weir_in_l2",
        (Hook::TcIngress, Layer::Ip) => "weir_in_l3",
        (Hook::TcEgress, Layer::Ethernet) => "weir_out_l2",
        (Hook::TcEgress, Layer::Ip) => "weir_out_l3",
    }
}

/// The maps that outlive a generation: those of counters, which are outgrown, and those of details, which are not.
pub(super) const COUNTERS: [&str; 2] = [map::HITS, map::SEEN];
pub(super) const DETAILS: [&str; 3] = [map::CLIENTS, map::EVENTS, map::METERS];

/// Bytes for the events' ring buffer: 500 of them, far more than come between two looks.
const EVENT_BUFFER: u32 = 1 << 16;
/// Bytes for the trace's ring buffer while it is off: the least the kernel takes.
const PAGE: u32 = 4096;
/// Bytes for the trace's ring buffer while it is on.
const TRACE_BUFFER: u32 = 1 << 20;

/// Makes a map unchangeable for user space (`BPF_MAP_FREEZE`, kernel 5.2).
fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    /// `BPF_MAP_FREEZE` of `enum bpf_cmd`, include/uapi/linux/bpf.h.
    const BPF_MAP_FREEZE: libc::c_long = 22;
    // The kernel takes an attribute union cut after the last member a command uses; this command uses `map_fd` alone.
    let map_fd = map.as_raw_fd();
    #[expect(unsafe_code, reason = "aya 0.14 freezes only its own read-only data")]
    // SAFETY: the pointer and the size describe `map_fd`, which outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_FREEZE, &raw const map_fd, size_of_val(&map_fd)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
