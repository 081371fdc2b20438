//! One truth: `status`, `top`, the report, the API and the metrics give the same figures, and they are what was sent.

use std::net::Ipv4Addr;

use serde_json::Value;
use weir_tests::frame::frame;
use weir_tests::http;
use weir_tests::lab::{
    DEADLINE, LAN_V6, LISTED_V4, LISTED_V6, MAC_LAN, MAC_ROUTER_LAN, MAC_ROUTER_WAN, MAC_WAN, Path, wait_until,
};
use weir_tests::weir::{Scratch, Weir};

fn figures(value: &Value) -> (u64, u64) {
    (value["packets"].as_u64().unwrap(), value["bytes"].as_u64().unwrap())
}

/// The sum of a metric's samples.
fn sum(text: &str, name: &str) -> u64 {
    let samples = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn every_way_to_ask_gives_the_same_totals() {
    let (path, scratch) = (Path::new(), Scratch::new());
    path.wan.route("blackhole ::/0");
    let text = "[[interface]]\nname = \"lan0\"\n[[interface]]\nname = \"wan0\"\negress = true\n\
                [[rule]]\nname = \"tiktok\"\naction = \"block\"\nservices = [\"tiktok\"]\n\
                [[rule]]\nname = \"watch\"\naction = \"monitor\"\nprefixes = [\"203.0.113.0/24\"]\n\
                [metrics]\ntextfile = \"weir.prom\"\n";
    let config = scratch.file("weir.toml", text).display().to_string();
    let weir = Weir::start(&path.router, ["-c", config.as_str()]);
    let socket = path.lan_socket();
    let (mut dropped, mut monitored) = ((0, 0), (0, 0));
    let send = |packet: &[u8], count: u64, into: &mut (u64, u64)| {
        into.0 += socket.flood(&[packet], count);
        into.1 += count * packet.len() as u64;
    };
    for client in 0..7_u8 {
        let from = || frame().macs(MAC_LAN, MAC_ROUTER_LAN);
        let address = Ipv4Addr::new(10, 66, 0, 10 + client);
        let padding = vec![0; 10 * usize::from(client)];
        send(&from().ipv4(address, LISTED_V4).payload(&padding).udp(443).build(), 11, &mut dropped);
        send(&from().ipv4(address, Ipv4Addr::new(203, 0, 113, 1)).udp(53).build(), 5, &mut monitored);
    }
    send(&frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv6(LAN_V6, LISTED_V6).udp(443).build(), 13, &mut dropped);
    let back = frame().macs(MAC_WAN, MAC_ROUTER_WAN).ipv4(LISTED_V4, Ipv4Addr::new(10, 66, 0, 12)).udp(443).build();
    dropped.0 += path.wan_socket().flood(&[&back], 9);
    dropped.1 += 9 * back.len() as u64;
    wait_until(DEADLINE, "everything is counted", || weir.dropped().packets == dropped.0);
    // The last packets passed behind the last that was dropped, or before: they are counted by now, too.
    wait_until(DEADLINE, "everything is counted", || figures(&weir.status()["monitored"]).0 == monitored.0);

    let status = weir.status();
    assert_eq!(figures(&status["dropped"]), dropped);
    assert_eq!(figures(&status["monitored"]), monitored);
    let top = weir.verb(&["top", "--once", "--json", "--interval", "1s"]).json();
    assert_eq!(figures(&top["status"]["dropped"]), dropped, "{top:#}");
    let state = weir.run_dir().join("state").display().to_string();
    let report = weir.verb(&["report", "--format", "json", "--state-dir", &state]).json();
    let by_api = |target: &str| {
        let to = "127.0.0.1:9846".parse().unwrap();
        let answer = http::ask(&path.router, to, "GET", target, &[], b"");
        assert_eq!(answer.status, 200, "{target}");
        answer
    };
    let api = by_api("/api/v1/report").json();
    for report in [&report, &api] {
        assert_eq!(figures(&report["totals"]["dropped"]), dropped, "{report:#}");
        assert_eq!(figures(&report["totals"]["monitored"]), monitored);
        // Hosts say things of their own accord, and more of them by then.
        let (before, after) = (figures(&status["seen"]), figures(&weir.status()["seen"]));
        assert!((before..=after).contains(&figures(&report["totals"]["seen"])), "{before:?} to {after:?}: {report:#}");
        let clients = report["clients"].as_array().unwrap();
        assert_eq!(clients.len(), 8);
        for row in clients {
            let expected = match row["client"].as_str().unwrap() {
                "10.66.0.12" => 11 + 9,
                "fd66::2" => 13,
                _ => 11,
            };
            assert_eq!(figures(&row["dropped"]).0, expected, "{row}: the client is the end that is not listed");
        }
    }
    let shown = by_api("/api/v1/status").json();
    assert_eq!(figures(&shown["dropped"]), dropped);
    let metrics = String::from_utf8(by_api("/metrics").body).unwrap();
    for (name, expected) in [
        ("weir_dropped_packets_total", dropped.0),
        ("weir_dropped_bytes_total", dropped.1),
        ("weir_blocked_packets_total", dropped.0),
        ("weir_blocked_bytes_total", dropped.1),
        ("weir_would_block_packets_total", monitored.0),
        ("weir_would_block_bytes_total", monitored.1),
    ] {
        assert_eq!(sum(&metrics, name), expected, "{name}");
    }
}
