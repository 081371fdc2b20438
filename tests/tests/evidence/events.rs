//! Single drops, as the program saw them.

use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use weir_tests::cpu;
use weir_tests::frame::frame;
use weir_tests::lab::{DEADLINE, LAN_V4, LAN_V6, LISTED_V4, LISTED_V6, MAC_LAN, MAC_ROUTER_LAN, Path, wait_until};
use weir_tests::weir::{Scratch, Signal, Weir};

fn start(path: &Path, scratch: &Scratch, events: &str) -> Weir {
    let text = format!(
        "[[interface]]\nname = \"lan0\"\n[[interface]]\nname = \"wan0\"\negress = true\n\
         [[rule]]\nname = \"tiktok\"\naction = \"block\"\nservices = [\"tiktok\"]\n\
         [[rule]]\nname = \"all\"\naction = \"monitor\"\nprefixes = [\"71.18.0.0/16\", \"203.0.113.0/24\"]\n\
         [events]\nfile = \"events.json\"\n{events}"
    );
    let config = scratch.file("weir.toml", text).display().to_string();
    Weir::start(&path.router, ["-c", config.as_str()])
}

fn lines(scratch: &Scratch) -> Vec<Value> {
    let text = fs::read_to_string(scratch.path().join("events.json")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn drops_and_would_be_drops_are_reported_with_addresses_ports_rules_and_device() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let weir = start(&path, &scratch, "");
    let (lan, wan) = (path.lan_socket(), path.wan_socket());
    let from_lan = || frame().macs(MAC_LAN, MAC_ROUTER_LAN);
    let v4 = from_lan().ipv4(LAN_V4, LISTED_V4).tcp(443).build();
    let v6 = from_lan().ipv6(LAN_V6, LISTED_V6).udp(4433).build();
    let monitored = from_lan().ipv4(LAN_V4, "203.0.113.7".parse().unwrap()).udp(53).build();
    let back = frame().ipv4(LISTED_V4, LAN_V4).udp(5000).build();
    let begun = seconds();
    lan.send(&v4);
    lan.send(&v6);
    lan.send(&monitored);
    wan.send(&back);
    // The packet that is only monitored meets two hooks: it leaves by wan0. Events come in order, so that it has none of its
    // own there shows once the next one is there.
    let egress = || {
        let status = weir.status();
        status["counters"].as_array().unwrap().iter().any(|counter| counter["hook"] == "egress")
    };
    wait_until(DEADLINE, "it meets the second hook", egress);
    let last = from_lan().ipv4(LAN_V4, LISTED_V4).udp(5001).build();
    lan.send(&last);
    wait_until(DEADLINE, "the last event", || lines(&scratch).iter().any(|event| event["dest_port"] == 5001));
    let events = lines(&scratch);
    assert_eq!(events.len(), 5, "{events:?}");
    let find = |kind: &str, from: &str, to: &str| {
        let same = |event: &&Value| event["event_type"] == kind && event["src_ip"] == from && event["dest_ip"] == to;
        events.iter().find(same).unwrap_or_else(|| panic!("no {kind} {from} > {to} in {events:#?}"))
    };
    let drop = find("drop", "10.66.0.2", "71.18.1.1");
    assert_eq!((&drop["dest_port"], &drop["proto"]), (&443.into(), &"TCP".into()));
    let expected = serde_json::json!({
        "action": "block", "rule": "tiktok", "rules": ["tiktok", "all"], "direction": "out", "device": "lan0",
        "hook": "ingress", "len": v4.len(),
    });
    assert_eq!(drop["drop"], expected);
    let drop = find("drop", "fd66::2", "2605:340::1");
    assert_eq!((&drop["dest_port"], &drop["proto"]), (&4433.into(), &"UDP".into()));
    let drop = find("would_drop", "10.66.0.2", "203.0.113.7");
    assert_eq!((&drop["drop"]["action"], &drop["drop"]["rules"]), (&"monitor".into(), &serde_json::json!(["all"])));
    let drop = find("drop", "71.18.1.1", "10.66.0.2");
    assert_eq!((&drop["drop"]["direction"], &drop["drop"]["device"]), (&"in".into(), &"wan0".into()));
    for event in &events {
        let at = event["timestamp"].as_str().unwrap();
        assert!((begun.as_str()..=seconds().as_str()).contains(&&at[..19]), "{at} since {begun}");
    }
}

/// Now, to the second, comparable as text.
fn seconds() -> String {
    let output = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn what_is_over_the_rate_is_counted_as_suppressed_and_everything_is_accounted_for() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let weir = start(&path, &scratch, "rate = 10\nburst = 20\n");
    let listed = frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(LAN_V4, LISTED_V4).udp(443).build();
    let begun = Instant::now();
    let sent = path.lan_socket().flood(&[&listed], 200_000);
    wait_until(DEADLINE, "all are counted", || weir.dropped().packets == sent);
    let took = begun.elapsed();
    let events = &weir.status()["events"];
    let (reported, suppressed) = (events["reported"].as_u64().unwrap(), events["suppressed"].as_u64().unwrap());
    assert_eq!(reported + suppressed + events["lost"].as_u64().unwrap(), sent, "{events}");
    let cpus = thread::available_parallelism().unwrap().get() as f64;
    let most = cpus * (20.0 + 10.0 * (took.as_secs_f64() + 1.0));
    assert!((20.0..=most).contains(&(reported as f64)), "{reported} of at most {most}");
    wait_until(Duration::from_secs(25), "the file tells what is missing", || {
        lines(&scratch).last().is_some_and(|line| line["event_type"] == "stats")
    });
    let lines = lines(&scratch);
    let stats = lines.iter().filter(|line| line["event_type"] == "stats");
    let told: u64 = stats.map(|line| line["stats"]["suppressed"].as_u64().unwrap()).sum();
    assert_eq!(told, suppressed);
    let drops = lines.iter().filter(|line| line["event_type"] == "drop").count() as u64;
    assert_eq!(drops, reported);
    // Seconds have passed: there is room for more, on whichever CPU were too many.
    let (socket, cpus) = (path.lan_socket(), thread::available_parallelism().unwrap().get());
    thread::scope(|scope| {
        for cpu in 0..cpus {
            let (socket, listed) = (&socket, &listed);
            scope.spawn(move || {
                cpu::stay(&[cpu]);
                socket.send(listed);
            });
        }
    });
    let wanted = reported + cpus as u64;
    wait_until(DEADLINE, "one more of each CPU is reported", || weir.status()["events"]["reported"] == wanted);
}

#[test]
fn events_that_nobody_takes_are_lost_and_counted_and_no_packet_is() {
    let (path, scratch) = (Path::new(), Scratch::new());
    // The daemon tells the programs the time, so that while it hangs each CPU reports a burst: more than there is room for.
    let weir = start(&path, &scratch, "rate = 10000\nburst = 10000\n");
    let (lan, wan) = (path.lan_socket(), path.wan_socket());
    let listed = frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(LAN_V4, LISTED_V4).udp(443).build();
    weir.signal(Signal::SIGSTOP);
    let sent = lan.flood(&[&listed], 100_000);
    weir.signal(Signal::SIGCONT);
    wait_until(DEADLINE, "all are counted", || weir.dropped().packets == sent);
    assert_eq!(wan.drain(|frame| frame.ends_with(&listed[34..])), 0, "none leaked");
    let events = weir.status()["events"].clone();
    let count = |name: &str| events[name].as_u64().unwrap();
    assert_eq!(count("reported") + count("suppressed") + count("lost"), sent, "{events}");
    assert!(count("lost") > 0, "the buffer was full: {events}");
    assert_eq!(weir.verb(&["status"]).code, 0);
    wait_until(DEADLINE, "there is room for others", || {
        lan.send(&listed);
        weir.status()["events"]["reported"].as_u64().unwrap() > count("reported")
    });
}

#[test]
fn no_event_is_reported_at_rate_0_and_a_reload_changes_the_rate() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let weir = start(&path, &scratch, "rate = 0\n");
    let listed = frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(LAN_V4, LISTED_V4).udp(443).build();
    path.lan_socket().flood(&[&listed], 10);
    wait_until(DEADLINE, "all are counted", || weir.dropped().packets == 10);
    assert_eq!(weir.status()["events"], serde_json::json!({"reported": 0, "suppressed": 0, "lost": 0}));
    let config = scratch.path().join("weir.toml");
    let text = fs::read_to_string(&config).unwrap().replace("rate = 0", "rate = 100");
    fs::write(&config, text).unwrap();
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "published", || weir.generation() == 2);
    path.lan_socket().flood(&[&listed], 10);
    wait_until(DEADLINE, "ten events", || lines(&scratch).len() == 10);
}

#[test]
fn where_no_clients_are_counted_none_has_a_place_and_drops_are_counted_and_reported() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let weir = start(&path, &scratch, "[counters]\nclients = 0\n");
    let listed = frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(LAN_V4, LISTED_V4).udp(443).build();
    path.lan_socket().send(&listed);
    wait_until(DEADLINE, "it is counted", || weir.dropped().packets == 1);
    let nothing = serde_json::json!({"room": 0, "held": 0, "evicted": 0, "crowded": 0});
    assert_eq!(weir.status()["client_table"], nothing);
    wait_until(DEADLINE, "it is reported", || lines(&scratch).len() == 1);
}

#[test]
fn a_rule_was_last_met_when_it_was() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let weir = start(&path, &scratch, "");
    let listed = frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(LAN_V4, LISTED_V4).udp(443).build();
    for (sent, pause) in [(1, 0), (2, 4)] {
        thread::sleep(Duration::from_secs(pause));
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let begun = now();
        path.lan_socket().send(&listed);
        wait_until(DEADLINE, "it is counted", || weir.dropped().packets == sent);
        let status = weir.status();
        let rule = status["rules"].as_array().unwrap().iter().find(|rule| rule["name"] == "tiktok").unwrap();
        let last = rule["last"].as_u64().unwrap();
        // Seconds are cut off twice, and the kernel is told the time four times a second.
        assert!((begun - 2..=now()).contains(&last), "packet {sent}: {last} since {begun}");
    }
}
