//! `weir replay` on real captures gives the packets and bytes that tshark sees, for every rule. The oracle is tshark's
//! dissection and a linear scan of the rules; nothing of weir is linked in.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod broken;
mod container;
mod oracle;
mod rules;

use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_tests::weir::{Output, Scratch, weir};
use weir_tests::{require_root, skipped};

use container::{Form, convert};
use oracle::{Frame, dissect, expected};
use rules::{Rule, rules_for, services};

/// Captures of `WEIR_DATA/pcap`, each with tshark's packet count.
const CAPTURES: [(&str, usize); 20] = [
    ("ndpi/roblox.pcapng", 78),
    ("ndpi/steam.pcapng", 48),
    ("ndpi/telegram.pcap", 1566),
    ("ndpi/telegram_videocall.pcapng", 889),
    ("ndpi/tls_with_huge_ch.pcapng", 428),
    ("ndpi/youtube_quic.pcap", 289),
    ("tcpdump/802.1ad_QinQ.pcap", 2),
    ("tcpdump/pppoe.pcap", 1),
    ("tcpdump/pppoes.pcap", 2),
    ("zeek/http-vlan-0.pcap", 14),
    ("zeek/ipv4_fragmented-1.pcap", 3),
    ("zeek/ipv4_fragmented-2.pcap", 3),
    ("zeek/ipv4_fragmented-3.pcap", 5),
    ("zeek/ipv4_fragmented-4.pcap", 6),
    ("zeek/ipv4_fragmented-syn.pcap", 2),
    ("zeek/ipv6-hbh-routing0.pcap", 1),
    ("zeek/pppoe-over-qinq.pcap", 86),
    ("zeek/pppoe.pcap", 65),
    ("zeek/tunnels_4in6.pcap", 1),
    ("zeek/tunnels_6in4.pcap", 1),
];

/// The data directory, or `None` once the test is noted as skipped.
fn data(test: &str) -> Option<PathBuf> {
    require_root();
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = std::env::var_os("WEIR_DATA").map_or_else(beside, PathBuf::from);
    if !path.is_dir() {
        skipped(test, "no WEIR_DATA");
        return None;
    }
    if !oracle::has_tshark() {
        skipped(test, "no tshark");
        return None;
    }
    Some(path)
}

/// Runs `weir replay --json` with these rules.
fn replay(rules: &[Rule], capture: &Path) -> Output {
    let scratch = Scratch::new();
    let config = scratch.file("weir.toml", rules::toml(rules));
    weir(["replay".as_ref(), "--json".as_ref(), "-c".as_ref(), config.as_os_str(), capture.as_os_str()])
}

/// The report of a replay that went well.
fn report(rules: &[Rule], capture: &Path) -> Value {
    let output = replay(rules, capture);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{}", capture.display());
    output.json()
}

/// Compares a replay with the oracle's reading of `frames`.
fn agrees(rules: &[Rule], capture: &Path, frames: &[Frame]) -> Value {
    let report = report(rules, capture);
    assert_eq!(report, expected(rules, frames), "{}", capture.display());
    let sum = |key| report["passed"][key].as_u64().unwrap() + report["dropped"][key].as_u64().unwrap();
    assert_eq!((sum("packets"), sum("bytes")), (report["frames"].as_u64().unwrap(), report["bytes"].as_u64().unwrap()));
    report
}

#[test]
fn services_are_measured_exactly_in_every_real_capture() {
    let Some(data) = data("services_are_measured_exactly_in_every_real_capture") else { return };
    let rules = services(&data);
    let mut hits = vec![0; rules.len()];
    for (name, count) in CAPTURES {
        let capture = data.join("pcap").join(name);
        let frames = dissect(&capture);
        assert_eq!(frames.len(), count, "{name}: tshark");
        let report = agrees(&rules, &capture, &frames);
        for (hits, rule) in hits.iter_mut().zip(report["rules"].as_array().unwrap()) {
            *hits += rule["out"]["packets"].as_u64().unwrap() + rule["in"]["packets"].as_u64().unwrap();
        }
        println!("{name}: {} frames, {} bytes, dropped {}", report["frames"], report["bytes"], report["dropped"]);
    }
    for (rule, hits) in rules.iter().zip(hits) {
        assert!(hits > 0, "rule {:?} is in no capture: it tests nothing", rule.name);
    }
}

#[test]
fn overlapping_block_monitor_and_allow_rules_on_every_address_are_counted_exactly() {
    let test = "overlapping_block_monitor_and_allow_rules_on_every_address_are_counted_exactly";
    let Some(data) = data(test) else { return };
    let mut hit = 0;
    for (name, _) in CAPTURES {
        let capture = data.join("pcap").join(name);
        let frames = dissect(&capture);
        let rules = rules_for(&frames);
        if !rules.is_empty() {
            let report = agrees(&rules, &capture, &frames);
            hit += u32::from(report["dropped"]["packets"] != 0);
            println!("{name}: {} rules, passed {}, dropped {}", rules.len(), report["passed"], report["dropped"]);
        }
    }
    assert!(hit >= 15, "packets were dropped in {hit} captures only");
}

#[test]
fn a_private_network_that_only_a_file_lists_is_not_counted() {
    let Some(data) = data("a_private_network_that_only_a_file_lists_is_not_counted") else { return };
    let capture = data.join("pcap/ndpi/telegram.pcap");
    let scratch = Scratch::new();
    let list = scratch.file("feed", "192.168.0.0/16\n91.108.0.0/16\n");
    let toml = format!("[[rule]]\nname = \"feed\"\naction = \"block\"\nfiles = [{:?}]\n", list.to_str().unwrap());
    let config = scratch.file("weir.toml", toml);
    let output = weir(["replay".as_ref(), "--json".as_ref(), "-c".as_ref(), config.as_os_str(), capture.as_os_str()]);
    let rules = [Rule::new("feed", "block", "both", &["91.108.0.0/16"])];
    assert_eq!(output.json(), expected(&rules, &dissect(&capture)));
    // Written in the rule itself, it is meant.
    let rules = [Rule::new("lan", "block", "out", &["192.168.0.0/16"])];
    let report = agrees(&rules, &capture, &dissect(&capture));
    assert!(report["rules"][0]["out"]["packets"].as_u64().unwrap() > 100, "{report}");
}

#[test]
fn every_container_gives_the_same_figures() {
    let Some(data) = data("every_container_gives_the_same_figures") else { return };
    let rules = services(&data);
    for name in ["ndpi/telegram.pcap", "ndpi/steam.pcapng", "zeek/pppoe-over-qinq.pcap"] {
        let original = data.join("pcap").join(name);
        let wanted = report(&rules, &original);
        let scratch = Scratch::new();
        for form in Form::CONTAINERS {
            let converted = convert(&original, form, &scratch);
            assert_eq!(report(&rules, &converted), wanted, "{name} as {form:?}");
        }
        for format in ["pcap", "nsecpcap", "modpcap", "pcapng"] {
            let converted = container::editcap(&["-F", format], &original, &scratch);
            assert_eq!(report(&rules, &converted), wanted, "{name} as editcap's {format}");
        }
    }
}

#[test]
fn cooked_and_raw_captures_give_the_same_packets_without_the_ethernet_header() {
    let Some(data) = data("cooked_and_raw_captures_give_the_same_packets_without_the_ethernet_header") else { return };
    let rules = services(&data);
    for name in
        ["ndpi/telegram.pcap", "zeek/pppoe-over-qinq.pcap", "zeek/http-vlan-0.pcap", "tcpdump/802.1ad_QinQ.pcap"]
    {
        let original = data.join("pcap").join(name);
        let frames = dissect(&original);
        // Behind a tag or a PPPoE header weir rebuilds the Ethernet header, so those frames keep their length.
        let stripped =
            |frame: &Frame| Frame { length: frame.length - if frame.is_plain_ip { 14 } else { 0 }, ..*frame };
        let scratch = Scratch::new();
        for form in [Form::Cooked, Form::Cooked2] {
            let converted = convert(&original, form, &scratch);
            assert_eq!(ends(&dissect(&converted)), ends(&frames), "{name} as {form:?}: the test's own writer");
            agrees(&rules, &converted, &frames.iter().map(stripped).collect::<Vec<_>>());
        }
        let plain: Vec<Frame> = frames.iter().filter(|frame| frame.is_plain_ip).map(stripped).collect();
        if !plain.is_empty() {
            let converted = convert(&original, Form::RawIp, &scratch);
            assert_eq!(ends(&dissect(&converted)), ends(&plain), "{name}: the test's own writer");
            agrees(&rules, &converted, &plain);
        }
    }
}

/// Source and destination of each frame.
fn ends(frames: &[Frame]) -> Vec<oracle::Ends> {
    frames.iter().map(|frame| frame.ends).collect()
}

#[test]
fn frames_that_the_capture_cut_count_their_wire_length() {
    let Some(data) = data("frames_that_the_capture_cut_count_their_wire_length") else { return };
    let rules = services(&data);
    let original = data.join("pcap/ndpi/telegram.pcap");
    let scratch = Scratch::new();
    // Both addresses of IPv6 end at byte 54.
    let headers = container::editcap(&["-F", "pcap", "-s", "54"], &original, &scratch);
    assert_eq!(report(&rules, &headers), report(&rules, &original));
    // Inside the IPv4 header nothing can be said but that it passes, with its whole length.
    let cut = container::editcap(&["-F", "pcapng", "-s", "33"], &original, &scratch);
    let report = report(&rules, &cut);
    let lengths: u64 = dissect(&original).iter().map(|frame| frame.length).sum();
    assert_eq!(report["parsed"], serde_json::json!({ "ipv4": 0, "ipv6": 0, "non_ip": 0, "truncated": 1566 }));
    assert_eq!(report["passed"], serde_json::json!({ "packets": 1566, "bytes": lengths }));
}
