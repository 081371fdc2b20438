//! Captures that end early, that are none, and frames of lengths that no real capture here holds.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use weir_tests::frame::{frame, packet};
use weir_tests::require_root;
use weir_tests::weir::{Scratch, weir};

use crate::container::{Form, Record, convert, editcap, pcap};
use crate::oracle::{Frame, dissect, expected};
use crate::rules::{Rule, services};
use crate::{data, replay, report};

#[test]
fn a_capture_that_is_cut_off_gives_the_figures_of_what_is_whole_and_exit_code_3() {
    let test = "a_capture_that_is_cut_off_gives_the_figures_of_what_is_whole_and_exit_code_3";
    let Some(data) = data(test) else { return };
    let rules = services(&data);
    let original = data.join("pcap/ndpi/telegram.pcap");
    let frames = dissect(&original);
    let scratch = Scratch::new();
    let forms = [
        ("pcap", fs::read(&original).unwrap()),
        ("pcapng", fs::read(editcap(&["-F", "pcapng"], &original, &scratch)).unwrap()),
        ("the other byte order", fs::read(convert(&original, Form::BigEndian, &scratch)).unwrap()),
    ];
    for (form, bytes) in forms {
        for kept in [bytes.len() / 2, bytes.len() - 1] {
            let capture = scratch.file("cut", &bytes[..kept]);
            let output = replay(&rules, &capture);
            assert_eq!(output.code, 3, "{form}: {output:?}");
            let report = output.json();
            let whole = usize::try_from(report["frames"].as_u64().unwrap()).unwrap();
            assert!(whole > 700 && whole < frames.len(), "{form}: {whole} frames");
            let problem = format!("{}: the capture is cut off inside packet {}", capture.display(), whole + 1);
            let mut wanted = expected(&rules, &frames[..whole]);
            wanted["incomplete"] = json!(problem);
            assert_eq!(report, wanted, "{form}");
            let says = format!("weir: {problem}; the figures are of the packets before it\n");
            assert_eq!(output.stderr, says, "{form}");
        }
    }
    // Text for people says so, too.
    let cut = scratch.file("cut", &fs::read(&original).unwrap()[..5000]);
    let output = weir(["replay".as_ref(), "--service".as_ref(), "tiktok".as_ref(), cut.as_os_str()]);
    assert_eq!((output.code, output.stderr.lines().count()), (3, 1), "{output:?}");
    assert!(output.stdout.contains("tiktok           block"), "{output:?}");
}

#[test]
fn what_is_no_capture_is_refused_with_exit_code_1() {
    require_root();
    let scratch = Scratch::new();
    let rules = [Rule::new("r", "block", "both", &["192.0.2.0/24"])];
    let usb = pcap(0xa1b2_c3d4, 189, u32::to_le_bytes, &[]);
    let cases: &[(&str, &[u8], &str)] = &[
        ("an empty file", b"", "not a pcap or pcapng capture; save it with tcpdump -w or Wireshark"),
        ("text", b"192.0.2.0/24\n", "not a pcap or pcapng capture; save it with tcpdump -w or Wireshark"),
        ("half a header", &usb[..20], "the capture is cut off after packet 0"),
        (
            "a USB bus",
            &usb,
            "link type 189 is not supported; supported: null (0), ethernet (1), raw IP (12, 14, 101), loop (108), \
             linux cooked (113, 276), IPv4 (228), IPv6 (229)",
        ),
    ];
    for &(what, bytes, says) in cases {
        let capture = scratch.file("capture", bytes);
        let output = replay(&rules, &capture);
        let says = format!("weir: {}: {says}\n", capture.display());
        assert_eq!((output.code, output.stdout.as_str(), output.stderr), (1, "", says), "{what}");
    }
    let empty = scratch.file("capture", pcap(0xa1b2_c3d4, 1, u32::to_le_bytes, &[]));
    assert_eq!(report(&rules, &empty), expected(&rules, &[]), "a capture without packets is one");
}

#[test]
fn frames_of_every_length_count_what_was_on_the_wire() {
    require_root();
    let (client, listed) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(192, 0, 2, 1));
    let rules = [Rule::new("r", "block", "both", &["192.0.2.0/24"])];
    let jumbo = |length: usize| {
        let mut bytes = frame().ipv4(client, listed).udp(443).build();
        bytes.resize(length, 0);
        bytes
    };
    let ends = Some((IpAddr::V4(client), IpAddr::V4(listed)));
    // The kernel runs the program on 2048 bytes of a frame at most; a page holds no more; offloads make 64 KiB.
    for length in [34, 60, 1514, 2047, 2048, 2049, 3520, 4096, 9018, 65_549, 250_000] {
        let scratch = Scratch::new();
        let capture = scratch.file("capture", pcap(0xa1b2_c3d4, 1, u32::to_le_bytes, &[Record::whole(jumbo(length))]));
        let frames = [Frame { length: length as u64, ends, is_plain_ip: true }];
        assert_eq!(report(&rules, &capture), expected(&rules, &frames), "{length} bytes");
    }
    // A frame that is cut on top of being long.
    let cut = Record { bytes: jumbo(100), wire_len: 9018 };
    let scratch = Scratch::new();
    let capture = scratch.file("capture", pcap(0xa1b2_c3d4, 1, u32::to_le_bytes, &[cut]));
    let frames = [Frame { length: 9018, ends, is_plain_ip: true }];
    assert_eq!(report(&rules, &capture), expected(&rules, &frames));
}

#[test]
fn frames_too_short_for_the_kernel_are_counted_as_truncated() {
    require_root();
    let rules = [Rule::new("r", "block", "both", &["192.0.2.0/24"])];
    let scratch = Scratch::new();
    let ethernet = frame().ipv4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(192, 0, 2, 1)).udp(443).build();
    let raw = packet().ipv4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(192, 0, 2, 1)).udp(443).build();
    for (link, frame, shortest) in [(1, &ethernet, 34), (101, &raw, 20)] {
        let records: Vec<Record> = (0..shortest).map(|length| Record::whole(frame[..length].to_vec())).collect();
        let capture = scratch.file("capture", pcap(0xa1b2_c3d4, link, u32::to_le_bytes, &records));
        let report = report(&rules, &capture);
        assert_eq!(
            report["parsed"],
            json!({ "ipv4": 0, "ipv6": 0, "non_ip": 0, "truncated": shortest }),
            "link {link}"
        );
        assert_eq!(report["dropped"]["packets"], 0, "what cannot be read passes");
        let capture = scratch
            .file("capture", pcap(0xa1b2_c3d4, link, u32::to_le_bytes, &[Record::whole(frame[..shortest].to_vec())]));
        assert_eq!(
            crate::report(&rules, &capture)["dropped"],
            json!({ "packets": 1, "bytes": shortest }),
            "link {link}"
        );
    }
}

#[test]
fn people_get_a_table_with_totals() {
    require_root();
    let scratch = Scratch::new();
    let listed = frame().ipv4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(71, 18, 1, 1)).udp(443).build();
    let length = listed.len();
    let capture = scratch.file("capture", pcap(0xa1b2_c3d4, 1, u32::to_le_bytes, &[Record::whole(listed)]));
    let output = weir(["replay".as_ref(), "--service".as_ref(), "tiktok".as_ref(), capture.as_os_str()]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[0], format!("1 frames, {length} B: 1 IPv4, 0 IPv6, 0 not IP, 0 truncated"));
    let row: Vec<&str> = lines[3].split_whitespace().collect();
    assert_eq!(row, ["tiktok", "block", "1", &length.to_string(), "B", "0", "0", "B"]);
    assert_eq!(lines[5], format!("passed 0 packets 0 B, dropped 1 packets {length} B"));
}
