//! SIGHUP: what a reload changes, and what it refuses.

use std::net::IpAddr;

use weir_tests::echo::TcpProbe;
use weir_tests::lab::{CONTROL_V4, DEADLINE, LISTED, LISTED_V4, PROBE, Path};
use weir_tests::traffic::to;
use weir_tests::wait_until;

use crate::daemon::{PEER, Reloading, devices, rule};

#[test]
fn an_open_tcp_flow_is_cut_by_a_publish_and_others_and_the_next_publish_are_not_hurt() {
    let path = Path::new();
    let both = devices(&["lan0", "wan0"]);
    let others = rule("others", "block", "\"203.0.113.0/24\"");
    let daemon = Reloading::start(&path.router, &(both.clone() + &others));
    let open = |address| TcpProbe::connect(&path.lan, address, DEADLINE).unwrap();
    let mut peers: Vec<TcpProbe> = LISTED.into_iter().map(open).collect();
    let mut control = open(IpAddr::V4(CONTROL_V4));
    assert!(peers.iter_mut().chain([&mut control]).all(|flow| flow.echo(DEADLINE)), "before");
    daemon.reload(&(both.clone() + &others + &rule("peers", "block", PEER)));
    assert!(peers.iter_mut().all(|flow| !flow.echo(PROBE)), "flows to the peers are cut");
    assert!(control.echo(DEADLINE), "the other flow goes on");
    daemon.reload(&(both + &others));
    assert!(peers.iter_mut().all(|flow| flow.echo(DEADLINE)), "and TCP recovers once it may");
}

#[test]
fn a_bad_configuration_is_refused_with_its_place_and_the_live_ruleset_stays() {
    let path = Path::new();
    let good = devices(&["lan0"]) + &rule("peers", "block", PEER);
    let daemon = Reloading::start(&path.router, &good);
    let lan = path.lan_socket();
    let mut sent = 0;
    let file = daemon.scratch.path().join("weir.toml").display().to_string();
    let bad = [
        (good.clone() + "[[rule]\n", format!("{file}:7: "), "]"),
        (
            good.clone() + "[[rule]]\nname = \"x\"\naction = \"block\"\nservices = [\"tictoc\"]\n",
            format!("{file}:10: "),
            "tictoc",
        ),
        (
            good.clone() + "[[rule]]\nname = \"x\"\naction = \"block\"\nfiles = [\"gone.netset\"]\n",
            "gone.netset".into(),
            "no such file",
        ),
        (devices(&["wan9"]) + &good, "interface \"wan9\" does not exist; devices here: ".into(), "lan0"),
    ];
    for (config, place, why) in bad {
        let line = daemon.refused(&config);
        assert!(line.contains(&place) && line.contains(why), "{line}");
        sent += 3;
        lan.flood(&[to(LISTED_V4, b"still")], 3);
        daemon.weir.wait_for_rule("peers", "out", sent);
    }
    daemon.reload(&good);
    assert_eq!((daemon.weir.generation(), daemon.weir.rule("peers", "out").packets), (2, sent));
}

#[test]
fn a_reload_adds_and_removes_devices_rules_egress_and_changes_kinds() {
    let path = Path::new();
    let peers = |action| rule("peers", action, PEER);
    let daemon = Reloading::start(&path.router, &(devices(&["lan0"]) + &peers("block")));
    let weir = &daemon.weir;
    let (lan, wan) = (path.lan_socket(), path.wan_socket());
    let attached = || -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let status = weir.status();
        status["devices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|device| (text(&device["name"]), text(&device["attach"])))
            .collect()
    };
    let is =
        |kinds: &[(&str, &str)]| kinds.iter().map(|(name, kind)| ((*name).into(), (*kind).into())).collect::<Vec<_>>();
    lan.flood(&[to(LISTED_V4, b"1")], 3);
    weir.wait_for_rule("peers", "out", 3);
    daemon.reload(&(devices(&["lan0", "wan0"]) + &peers("block")));
    assert_eq!(attached(), is(&[("lan0", "xdp-native"), ("wan0", "xdp-native")]));
    wan.flood(&[to(LISTED_V4, b"2")], 2);
    weir.wait_for_rule("peers", "out", 5);
    daemon.reload(&(devices(&["wan0"]) + &peers("block")));
    assert_eq!(attached(), is(&[("wan0", "xdp-native")]));
    assert!(path.router.link("lan0")["xdp"].is_null(), "the device is free");
    assert_eq!(weir.rule("peers", "out").packets, 5, "what it counted stays");

    // Egress and another kind: weir's own program must not be in its own way.
    let device =
        |attach: &str, egress| format!("[[interface]]\nname = \"lan0\"\nattach = \"{attach}\"\negress = {egress}\n");
    for (attach, egress, kind) in [
        ("xdp-native", false, "xdp-native"),
        ("xdp-native", true, "xdp-native"),
        ("xdp-generic", true, "xdp-generic"),
        ("tc", true, "tcx"),
        ("auto", false, "tcx"),
        ("xdp-native", false, "xdp-native"),
    ] {
        daemon.reload(&(device(attach, egress) + &peers("block")));
        assert_eq!(attached(), is(&[("lan0", kind)]), "{attach}");
        assert_eq!(weir.status()["devices"][0]["egress"], egress, "{attach}");
        let counted = weir.dropped().packets;
        lan.flood(&[to(LISTED_V4, b"3")], 2);
        weir.wait_for_rule("peers", "out", counted + 2);
    }
    assert!(!weir.stderr().contains("refused"), "{}", weir.stderr());

    // A kind that the device does not take: what was there stays.
    let _tun = path.router.tun("tun0");
    let line = daemon.refused(
        &(device("xdp-generic", true)
            + "[[interface]]\nname = \"tun0\"\nattach = \"xdp-native\"\n"
            + &peers("monitor")),
    );
    assert!(line.contains("interface \"tun0\": xdp-native was refused"), "{line}");
    assert_eq!((attached(), &weir.status()["devices"][0]["egress"]), (is(&[("lan0", "xdp-native")]), &false.into()));
    let counted = weir.dropped();
    lan.flood(&[to(LISTED_V4, b"4")], 2);
    weir.wait_for_rule("peers", "out", counted.packets + 2);

    // From block to monitor, on every device: another rule of the same name, and the first one's counters stay.
    daemon.reload(&(devices(&["lan0", "wan0"]) + &peers("block")));
    let blocked = weir.dropped();
    daemon.reload(&(devices(&["lan0", "wan0"]) + &peers("monitor")));
    lan.flood(&[to(LISTED_V4, b"monitored")], 4);
    wan.flood(&[to(LISTED_V4, b"monitored")], 3);
    assert!(wan.receive_where(DEADLINE, |frame| frame.ends_with(b"monitored")).is_some(), "it passes now");
    let monitored = || weir.status()["rules"][0]["out"]["packets"].clone();
    wait_until(DEADLINE, "seven packets are monitored", || monitored() == 7);
    assert_eq!(weir.dropped(), blocked);
    let status = weir.status();
    let shown: Vec<_> = status["rules"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&shown[0]["action"], &shown[0]["out"]["packets"], &shown[0]["retired"]),
        (&"monitor".into(), &7.into(), &serde_json::Value::Null)
    );
    assert_eq!(
        (&shown[1]["action"], &shown[1]["out"]["packets"], &shown[1]["retired"]),
        (&"block".into(), &blocked.packets.into(), &true.into())
    );
}
