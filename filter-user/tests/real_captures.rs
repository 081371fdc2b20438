//! Real captures read whole: the packet counts must be those of an independent walk, which the data set's README states.
//! Says nothing about what the packets are; the parser and `weir replay` have their own tests on the same files.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use weir::capture::{self, Layer};

/// The directory of the captures; `None`, told to the person and to `WEIR_SKIPPED`, where it is absent.
fn captures(test: &str) -> Option<PathBuf> {
    let data = env::var_os("WEIR_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let path = data.join("pcap");
    if path.is_dir() {
        return Some(path);
    }
    let line = format!("skipped: {test}: {} not found\n", path.display());
    eprint!("{line}");
    if let Some(log) = env::var_os("WEIR_SKIPPED") {
        OpenOptions::new().create(true).append(true).open(log).unwrap().write_all(line.as_bytes()).unwrap();
    }
    None
}

/// `(file, packets, largest frame)` for each capture that the README lists.
fn listed(readme: &str) -> Vec<(&str, usize, usize)> {
    let rows = readme.lines().filter(|line| line.starts_with("| ") && line.contains(" packets, "));
    rows.map(|row| {
        let file = row.split('|').nth(1).unwrap().trim();
        let (head, tail) = row.split_once(" packets, ").unwrap();
        let packets = head.rsplit_once('[').unwrap().1.parse().unwrap();
        let largest = tail.split_once("largest ").unwrap().1.split_once(" B").unwrap().0.parse().unwrap();
        (file, packets, largest)
    })
    .collect()
}

#[test]
fn every_real_capture_has_as_many_packets_as_an_independent_walk_counted() {
    let Some(path) = captures("every_real_capture_has_as_many_packets_as_an_independent_walk_counted") else { return };
    let readme = fs::read_to_string(path.join("README.md")).unwrap();
    let listed = listed(&readme);
    assert_eq!(listed.len(), 20, "captures in {}", path.display());
    for (file, packets, largest) in listed {
        let bytes = fs::read(path.join(file)).unwrap();
        let frames: Vec<_> = capture::frames(&bytes).unwrap().map(Result::unwrap).collect();
        assert_eq!(frames.len(), packets, "{file}");
        assert_eq!(frames.iter().map(|frame| frame.bytes.len()).max(), Some(largest), "{file}");
        assert!(frames.iter().all(|frame| frame.layer == Layer::Ethernet), "{file}");
        assert!(frames.iter().zip(1..).all(|(frame, number)| frame.number == number), "{file}");
    }
}

#[test]
fn every_real_capture_cut_by_one_byte_names_its_last_packet() {
    let Some(path) = captures("every_real_capture_cut_by_one_byte_names_its_last_packet") else { return };
    let readme = fs::read_to_string(path.join("README.md")).unwrap();
    for (file, packets, _) in listed(&readme).into_iter().filter(|(file, ..)| !file.ends_with("ng")) {
        let bytes = fs::read(path.join(file)).unwrap();
        let frames: Vec<_> = capture::frames(&bytes[..bytes.len() - 1]).unwrap().collect();
        assert_eq!(frames.len(), packets, "{file}");
        let error = frames.last().unwrap().as_ref().unwrap_err();
        assert_eq!(error.to_string(), format!("the capture is cut off inside packet {packets}"), "{file}");
    }
}
