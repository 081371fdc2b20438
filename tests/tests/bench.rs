//! The benchmark still measures: its path section, small, on real prefixes. What it finds is not judged here; it fails by
//! itself where a candidate drops or forwards what it should not. And the floor of its goals counts.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd as _;
use std::process::Command;

use aya::maps::PerCpuArray;
use filter_common::abi::{BUCKETS, Buckets, ClientKey, Count, Hits, map};
use filter_common::client;
use filter_common::lookup::{ROOT_SLOTS, Root, Slot};
use serde_json::Value;
use weir_tests::frame::frame;
use weir_tests::programs::{self, program};
use weir_tests::weir::{Scratch, binary};
use weir_tests::{internet, require_root};

/// What stands as a floor beside weir's goals must do what it says: one that counted nothing would be no floor.
#[test]
fn the_least_program_that_counts_tells_what_it_dropped_and_whose_it_was() {
    const XDP_DROP: u32 = 1;
    const XDP_PASS: u32 = 2;
    require_root();
    let sizes = [(map::HITS, 8), (map::CLIENTS, client::buckets(2048) as usize / BUCKETS)];
    let mut ebpf = programs::load(&sizes, &["drop_told"]);
    let mut root: Box<Root> = vec![0; ROOT_SLOTS].into_boxed_slice().try_into().unwrap();
    root[0x4712] = Slot::of_set(7, true).0;
    programs::fill(&mut ebpf, map::ROOT4, [root.as_ref()]);
    let mut run = |client: u8, destination: [u8; 4]| {
        let frame = frame().ipv4([10, 66, 1, client].into(), destination.into()).udp(443).build();
        let descriptor = program(&mut ebpf, "drop_told").fd().unwrap();
        (programs::run(descriptor.as_fd(), &frame, 1).unwrap().0, frame.len() as u64)
    };
    let (verdict, length) = run(1, [71, 18, 0, 1]);
    assert_eq!(verdict, XDP_DROP);
    assert_eq!(run(1, [71, 18, 9, 9]).0, XDP_DROP);
    assert_eq!(run(2, [71, 18, 0, 1]).0, XDP_DROP);
    assert_eq!(run(3, [71, 19, 0, 1]).0, XDP_PASS);

    let hits = PerCpuArray::<_, Hits>::try_from(ebpf.map(map::HITS).unwrap()).unwrap().get(&7, 0).unwrap();
    assert_eq!(hits.iter().map(|hits| hits.counts[0].packets).sum::<u64>(), 3);
    let table = PerCpuArray::<_, Buckets>::try_from(ebpf.map(map::CLIENTS).unwrap()).unwrap();
    let mut clients: BTreeMap<ClientKey, Count> = BTreeMap::new();
    for element in 0..table.len() {
        let buckets = table.get(&element, 0).unwrap();
        for place in buckets.iter().flatten().flat_map(|bucket| bucket.places).filter(|place| place.serial != 0) {
            let count = clients.entry(place.key).or_default();
            (count.packets, count.bytes) = (count.packets + place.count.packets, count.bytes + place.count.bytes);
        }
    }
    let key = |client: u64| ClientKey::new([0, 0x0a42_0100 + client], 7, 0, 0, false);
    let count = |packets: u64| Count { packets, bytes: packets * length };
    assert_eq!(clients, BTreeMap::from([(key(1), count(2)), (key(2), count(1))]));
}

#[test]
fn the_path_is_measured_with_every_peer_and_nothing_is_left_behind() {
    require_root();
    let test = "the_path_is_measured_with_every_peer_and_nothing_is_left_behind";
    if internet::read(test).is_none() {
        return;
    }
    let scratch = Scratch::new();
    let json = scratch.path().join("bench.json");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    bench.args(["measure", "--quick", "--rounds", "2", "path", "--json"]).arg(&json).env("WEIR_BIN", binary());
    let child = bench.spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let results: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    let run = &results["runs"][0];
    let groups = run["groups"].as_array().unwrap();
    assert!(groups.len() >= 4, "{groups:?}");
    for group in groups {
        for series in group["series"].as_array().unwrap() {
            let samples: Vec<f64> =
                series["samples"].as_array().unwrap().iter().map(|sample| sample.as_f64().unwrap()).collect();
            assert!(samples.len() >= 2, "{series}");
            // A frame takes longer than a cache miss and less than a system call to another machine.
            assert!(samples.iter().all(|sample| (20.0..100_000.0).contains(sample)), "{}: {series}", group["workload"]);
        }
    }
    let time = |workload: &str, candidate: &str| {
        let group = groups.iter().find(|group| group["workload"] == workload).unwrap();
        let series = group["series"].as_array().unwrap().iter().find(|series| series["name"] == candidate).unwrap();
        series["samples"][0].as_f64().unwrap()
    };
    let drop = time("all frames to listed destinations", "null XDP drop");
    let forward = time("no frame to a listed destination", "no filter");
    assert!(drop < forward, "to forward takes longer than to drop: {drop} and {forward}");
    for candidate in ["weir native", "weir tcx", "XDP with LPM_TRIE"] {
        assert!(time("all frames to listed destinations", candidate) > 0.0);
    }

    let left: Vec<String> = fs::read_dir("/run/netns")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(&format!("-{pid}-")))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
