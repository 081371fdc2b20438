//! The benchmark's lookup programs: weir's tables and `LPM_TRIE`, asked the same keys by programs of the same shape. Must
//! not decide what is fast enough.

use std::time::Duration;

use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapData, MapError};
use aya::programs::{TestRun as _, TestRunOptions};
use filter_common::abi::map;
use weir::ruleset::table::HostTables;

use crate::internet::{Ids, Prefix, entries};
use crate::programs::{self, fill, first, program};

/// Programs for each table, and the null programs; `_next` are those whose lookups wait for each other.
const PROGRAMS: [&str; 12] = [
    "null4",
    "null4_next",
    "weir4",
    "weir4_next",
    "lpm4",
    "lpm4_next",
    "null6",
    "null6_next",
    "weir6",
    "weir6_next",
    "lpm6",
    "lpm6_next",
];

/// Keys that one run of a program looks up.
pub const GROUP: usize = 64;

/// The object, its tables and tries filled.
#[derive(Debug)]
pub struct Bench {
    ebpf: Ebpf,
    trie4: LpmTrie<MapData, [u8; 4], u32>,
    trie6: LpmTrie<MapData, [u8; 16], u32>,
}

impl Bench {
    /// Loads it with room for `groups` groups of keys.
    #[must_use]
    pub fn load(
        tables: &HostTables,
        prefixes: (&[Prefix<u32>], &[Prefix<u128>]),
        ids: &Ids,
        groups: (usize, usize),
    ) -> Self {
        let sizes = [
            (map::LEAVES4, tables.v4.blocks.len()),
            (map::LEAVES6, tables.v6.blocks.len()),
            ("KEYS4", groups.0),
            ("KEYS6", groups.1),
            ("LPM4", prefixes.0.len()),
            ("LPM6", prefixes.1.len()),
        ];
        let mut ebpf = programs::load(&sizes, &PROGRAMS);
        fill(&mut ebpf, map::ROOT4, [tables.v4.root.as_ref()]);
        fill(&mut ebpf, map::LEAVES4, tables.v4.blocks.iter().map(AsRef::as_ref));
        fill(&mut ebpf, map::ROOT6, [tables.v6.root.as_ref()]);
        fill(&mut ebpf, map::LEAVES6, tables.v6.blocks.iter().map(AsRef::as_ref));
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
    #[must_use]
    pub fn trie_v4(&self, address: u32) -> u32 {
        answer(self.trie4.get(&Key::new(32, address.to_be_bytes()), 0))
    }

    /// As [`Bench::trie_v4`].
    #[must_use]
    pub fn trie_v6(&self, address: u128) -> u32 {
        answer(self.trie6.get(&Key::new(128, address.to_be_bytes()), 0))
    }

    /// Sets the keys that the next runs look up: whole groups, as many as there is room for.
    pub fn keys_v4(&mut self, keys: &[u32]) {
        let (groups, rest) = keys.as_chunks::<GROUP>();
        assert!(rest.is_empty(), "{} keys are no whole groups", keys.len());
        fill(&mut self.ebpf, "KEYS4", groups);
    }

    /// As [`Bench::keys_v4`].
    pub fn keys_v6(&mut self, keys: &[u128]) {
        let (groups, rest) = keys.as_chunks::<GROUP>();
        assert!(rest.is_empty(), "{} keys are no whole groups", keys.len());
        let halves: Vec<[u64; 2 * GROUP]> = groups
            .iter()
            .map(|group| std::array::from_fn(|at| (group[at / 2] >> (64 * (1 - at % 2))) as u64))
            .collect();
        fill(&mut self.ebpf, "KEYS6", &halves);
    }

    /// Looks up `groups` groups of keys from group `from` on: the mean time of a group, and the sum of all answers.
    pub fn run(&mut self, name: &str, from: usize, groups: usize) -> (Duration, u64) {
        let mut state = Array::<_, [u64; 2]>::try_from(self.ebpf.map_mut("STATE").unwrap()).unwrap();
        state.set(0, [from as u64, 0], 0).unwrap();
        let options = TestRunOptions {
            data_in: Some(&[0; 64]),
            repeat: u32::try_from(groups).unwrap(),
            ..TestRunOptions::default()
        };
        let time = program(&mut self.ebpf, name).test_run(options).unwrap().duration;
        let state: [u64; 2] = first(&self.ebpf, "STATE");
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
