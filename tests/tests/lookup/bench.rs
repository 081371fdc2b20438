//! The benchmark's object (`filter-ebpf/src/bench.rs`) in the kernel: weir's tables and `LPM_TRIE`, asked the same keys by
//! programs of the same shape. Must not decide what is fast enough.

use std::time::Duration;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapData, MapError};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod, include_bytes_aligned};
use filter_common::abi::map;
use weir::ruleset::table::HostTables;

use crate::internet::{Ids, Prefix, entries};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-bench"));

/// Keys that one run of a program looks up.
pub(crate) const GROUP: usize = 64;

/// The object, its tables and tries filled.
pub(crate) struct Bench {
    ebpf: Ebpf,
    trie4: LpmTrie<MapData, [u8; 4], u32>,
    trie6: LpmTrie<MapData, [u8; 16], u32>,
}

impl Bench {
    /// Loads it with room for `groups` groups of keys.
    pub(crate) fn load(
        tables: &HostTables,
        prefixes: (&[Prefix<u32>], &[Prefix<u128>]),
        ids: &Ids,
        groups: (usize, usize),
    ) -> Self {
        let room = |count: usize| u32::try_from(count.max(1)).unwrap();
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .map_max_entries(map::LEAVES4, room(tables.v4.blocks.len()))
            .map_max_entries(map::LEAVES6, room(tables.v6.blocks.len()))
            .map_max_entries("KEYS4", room(groups.0))
            .map_max_entries("KEYS6", room(groups.1))
            .map_max_entries("LPM4", room(prefixes.0.len()))
            .map_max_entries("LPM6", room(prefixes.1.len()))
            .load(OBJECT)
            .unwrap();
        fill(&mut ebpf, map::ROOT4, [tables.v4.root.as_ref()]);
        fill(&mut ebpf, map::LEAVES4, tables.v4.blocks.iter().map(AsRef::as_ref));
        fill(&mut ebpf, map::ROOT6, [tables.v6.root.as_ref()]);
        fill(&mut ebpf, map::LEAVES6, tables.v6.blocks.iter().map(AsRef::as_ref));
        for name in ["null4", "weir4", "lpm4", "null6", "weir6", "lpm6"] {
            program(&mut ebpf, name).load().unwrap();
        }
        let mut trie4 = LpmTrie::<_, [u8; 4], u32>::try_from(ebpf.take_map("LPM4").unwrap()).unwrap();
        for (first, length, set) in entries(prefixes.0, ids) {
            trie4.insert(&Key::new(length.into(), first.to_be_bytes()), set, 0).unwrap();
        }
        let mut trie6 = LpmTrie::<_, [u8; 16], u32>::try_from(ebpf.take_map("LPM6").unwrap()).unwrap();
        for (first, length, set) in entries(prefixes.1, ids) {
            trie6.insert(&Key::new(length.into(), first.to_be_bytes()), set, 0).unwrap();
        }
        Self { ebpf, trie4, trie6 }
    }

    /// What `LPM_TRIE` says of an address, by system call.
    pub(crate) fn trie_v4(&self, address: u32) -> u32 {
        answer(self.trie4.get(&Key::new(32, address.to_be_bytes()), 0))
    }

    /// As [`Bench::trie_v4`].
    pub(crate) fn trie_v6(&self, address: u128) -> u32 {
        answer(self.trie6.get(&Key::new(128, address.to_be_bytes()), 0))
    }

    /// Sets the keys that the next runs look up: whole groups, as many as there is room for.
    pub(crate) fn keys_v4(&mut self, keys: &[u32]) {
        let (groups, rest) = keys.as_chunks::<GROUP>();
        assert!(rest.is_empty(), "{} keys are no whole groups", keys.len());
        fill(&mut self.ebpf, "KEYS4", groups);
    }

    /// As [`Bench::keys_v4`].
    pub(crate) fn keys_v6(&mut self, keys: &[u128]) {
        let (groups, rest) = keys.as_chunks::<GROUP>();
        assert!(rest.is_empty(), "{} keys are no whole groups", keys.len());
        let halves: Vec<[u64; 2 * GROUP]> = groups
            .iter()
            .map(|group| std::array::from_fn(|at| (group[at / 2] >> (64 * (1 - at % 2))) as u64))
            .collect();
        fill(&mut self.ebpf, "KEYS6", &halves);
    }

    /// Looks up `groups` groups of keys from group `from` on: the mean time of a group, and the sum of all answers.
    pub(crate) fn run(&mut self, name: &str, from: usize, groups: usize) -> (Duration, u64) {
        let mut state = Array::<_, [u64; 2]>::try_from(self.ebpf.map_mut("STATE").unwrap()).unwrap();
        state.set(0, [from as u64, 0], 0).unwrap();
        let options = TestRunOptions {
            data_in: Some(&[0; 64]),
            repeat: u32::try_from(groups).unwrap(),
            ..TestRunOptions::default()
        };
        let time = program(&mut self.ebpf, name).test_run(options).unwrap().duration;
        let state = Array::<_, [u64; 2]>::try_from(self.ebpf.map("STATE").unwrap()).unwrap().get(&0, 0).unwrap();
        assert_eq!(state[0], (from + groups) as u64, "{name} ran as often as asked");
        (time, state[1])
    }
}

fn answer(found: Result<u32, MapError>) -> u32 {
    match found {
        Ok(set) => set,
        Err(MapError::KeyNotFound) => 0,
        Err(error) => panic!("LPM_TRIE: {error}"),
    }
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> &'e mut Xdp {
    ebpf.program_mut(name).unwrap().try_into().unwrap()
}

fn fill<'v, V: Pod>(ebpf: &mut Ebpf, name: &str, values: impl IntoIterator<Item = &'v V>) {
    let mut array = Array::<_, V>::try_from(ebpf.map_mut(name).unwrap()).unwrap();
    for (index, value) in (0..).zip(values) {
        array.set(index, value, 0).unwrap();
    }
}
