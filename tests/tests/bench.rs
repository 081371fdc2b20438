//! The benchmark still measures: its path section, small, on real prefixes. What it finds is not judged here; it fails by
//! itself where a candidate drops or forwards what it should not.

use std::fs;
use std::process::Command;

use serde_json::Value;
use weir_tests::weir::{Scratch, binary};
use weir_tests::{internet, require_root};

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
