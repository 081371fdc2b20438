//! The benchmark's BPF object (`filter-ebpf/src/bench/`), loaded. Knows no single program of it.

use std::io;
use std::os::fd::BorrowedFd;

use aya::maps::Array;
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, Pod, include_bytes_aligned};
use filter_common::abi::{BUCKETS, global, map};

use crate::sys;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-bench"));

/// Loads the object with its maps at the given sizes, and `names` of its programs. Maps that are not named have one element.
#[must_use]
pub fn load(sizes: &[(&'static str, usize)], names: &[&str]) -> Ebpf {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    // Programs that count clients know how many buckets there are.
    let clients = sizes.iter().find(|(map, _)| *map == map::CLIENTS).map_or(0, |&(_, elements)| elements * BUCKETS);
    let clients = u32::try_from(clients).unwrap();
    loader.override_global(global::CLIENT_BUCKETS, &clients, true);
    for &(map, elements) in sizes {
        loader.map_max_entries(map, u32::try_from(elements.max(1)).unwrap());
    }
    let mut ebpf = loader.load(OBJECT).unwrap();
    for name in names {
        program(&mut ebpf, name).load().unwrap();
    }
    ebpf
}

/// A program of the object.
pub fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> &'e mut Xdp {
    ebpf.program_mut(name).unwrap().try_into().unwrap()
}

/// Writes the first elements of an array.
pub fn fill<'v, V: Pod>(ebpf: &mut Ebpf, name: &str, values: impl IntoIterator<Item = &'v V>) {
    let mut array = Array::<_, V>::try_from(ebpf.map_mut(name).unwrap()).unwrap();
    for (index, value) in (0..).zip(values) {
        array.set(index, value, 0).unwrap();
    }
}

/// Reads the first element of an array.
#[must_use]
pub fn first<V: Pod>(ebpf: &Ebpf, name: &str) -> V {
    Array::<_, V>::try_from(ebpf.map(name).unwrap()).unwrap().get(&0, 0).unwrap()
}

/// Runs a program on a frame `repeat` times: what it returned last, and the mean time of one run in whole nanoseconds, the
/// kernel's own part included. Not by this process' clock: the call waits for other CPUs before it begins and when it ends.
pub fn run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<(u32, u32)> {
    sys::test_run(program, frame, repeat)
}
