//! The books balance: every frame that was sent is in the totals of its rule and of its client, whatever happened to the
//! daemon meanwhile.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use filter_common::abi::ABI_VERSION;
use serde_json::Value;
use weir_tests::frame::frame;
use weir_tests::lab::{CONTROL_V4, DEADLINE, LISTED_V4, MAC_LAN, MAC_ROUTER_LAN, Path, wait_until};
use weir_tests::weir::{Counter, Scratch, Signal, Weir};

const CLIENTS: u8 = 20;

/// Each client sends this many listed frames for each control frame.
const EACH: u64 = 3;

fn configuration(scratch: &Scratch, more: &str) -> String {
    let text = format!(
        "[[interface]]\nname = \"lan0\"\n[[interface]]\nname = \"wan0\"\negress = true\n\
         [[rule]]\nname = \"tiktok\"\naction = \"block\"\nservices = [\"tiktok\"]\n\
         [[rule]]\nname = \"seen\"\naction = \"monitor\"\nprefixes = [\"203.0.113.0/24\"]\n{more}"
    );
    scratch.file("weir.toml", text).display().to_string()
}

/// What was sent.
#[derive(Default)]
struct Sent {
    listed: Counter,
    monitored: Counter,
}

/// Sends `rounds` of frames from every client.
fn send(path: &Path, rounds: u64, sent: &mut Sent) {
    let socket = path.lan_socket();
    for client in 0..CLIENTS {
        let to = |to: Ipv4Addr| {
            let from = Ipv4Addr::new(10, 66, 0, 10 + client);
            frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(from, to).payload(&vec![0; usize::from(client)]).udp(443).build()
        };
        let (listed, monitored, control) = (to(LISTED_V4), to(Ipv4Addr::new(203, 0, 113, 9)), to(CONTROL_V4));
        sent.listed.packets += socket.flood(&[&listed], rounds * EACH);
        sent.listed.bytes += rounds * EACH * listed.len() as u64;
        sent.monitored.packets += socket.flood(&[&monitored], rounds);
        sent.monitored.bytes += rounds * monitored.len() as u64;
        socket.flood(&[&control], rounds);
    }
}

/// Waits until the daemon has counted everything, and checks that it is what was sent, in sum and by client.
fn check(weir: &Weir, sent: &Sent) {
    wait_until(DEADLINE, "everything is counted", || weir.dropped().packets >= sent.listed.packets);
    assert_eq!(weir.dropped(), sent.listed);
    assert_eq!(weir.rule("tiktok", "out"), sent.listed);
    assert_eq!(weir.rule("seen", "out"), sent.monitored);
}

/// Lets the second pass that the history dates things by.
fn rest(left: Scratch) -> Scratch {
    thread::sleep(Duration::from_millis(1100));
    left
}

fn tally(value: &Value) -> Counter {
    Counter { packets: value["packets"].as_u64().unwrap(), bytes: value["bytes"].as_u64().unwrap() }
}

fn sum<'a>(rows: &'a Value, field: &'a str) -> Counter {
    rows.as_array().unwrap().iter().map(|row| tally(&row[field])).fold(Counter::default(), |sum, one| Counter {
        packets: sum.packets + one.packets,
        bytes: sum.bytes + one.bytes,
    })
}

#[test]
fn counters_go_on_and_balance_over_publishes_reloads_kills_and_restarts() {
    let path = Path::new();
    path.wan.route("blackhole ::/0");
    let scratch = Scratch::new();
    let config = configuration(&scratch, "");
    let arguments = ["-c", config.as_str()];
    let mut sent = Sent::default();
    let weir = Weir::start(&path.router, arguments);
    send(&path, 20, &mut sent);
    check(&weir, &sent);

    for generation in 2..=101 {
        // Another set of rules each time; the counters' maps are outgrown on the way.
        let mut rules = String::new();
        for n in 0..generation {
            write!(rules, "[[rule]]\nname = \"x{n}\"\naction = \"block\"\nprefixes = [\"198.18.{n}.0/24\"]\n").unwrap();
        }
        let _ = configuration(&scratch, &rules);
        send(&path, 1, &mut sent);
        weir.signal(Signal::SIGHUP);
        let line = format!("published generation={generation} ");
        wait_until(DEADLINE, &line, || weir.stderr().contains(&line));
    }
    send(&path, 1, &mut sent);
    check(&weir, &sent);

    // What was counted since the books were last written down is only in the kernel.
    send(&path, 10, &mut sent);
    wait_until(DEADLINE, "everything is counted", || weir.dropped().packets >= sent.listed.packets);
    let weir = Weir::start_in(&path.router, rest(weir.kill()), arguments);
    assert!(weir.stderr().contains("its counters go on"), "{}", weir.stderr());
    check(&weir, &sent);
    send(&path, 10, &mut sent);
    check(&weir, &sent);
    let weir = Weir::start_in(&path.router, rest(weir.kill()), arguments);
    check(&weir, &sent);
    send(&path, 5, &mut sent);
    check(&weir, &sent);
    let weir = Weir::start_in(&path.router, rest(weir.end()), arguments);
    check(&weir, &sent);
    send(&path, 5, &mut sent);
    check(&weir, &sent);
    // Now some of the counts are older than the maps in the kernel.
    let weir = Weir::start_in(&path.router, rest(weir.kill()), arguments);
    check(&weir, &sent);
    send(&path, 5, &mut sent);
    check(&weir, &sent);

    // A report is of whole seconds: the last start must be in one that is over.
    thread::sleep(Duration::from_millis(1100));
    let state = weir.run_dir().join("state").display().to_string();
    let report = weir.verb(&["report", "--format", "json", "--state-dir", &state]).json();
    assert_eq!(tally(&report["totals"]["dropped"]), sent.listed, "{report:#}");
    assert_eq!(tally(&report["totals"]["monitored"]), sent.monitored);
    assert_eq!(sum(&report["clients"], "dropped"), sent.listed);
    assert_eq!(sum(&report["clients"], "monitored"), sent.monitored);
    assert_eq!(sum(&report["rules"], "out").packets, sent.listed.packets + sent.monitored.packets);
    assert_eq!(sum(&report["devices"], "dropped"), sent.listed);
    assert_eq!(sum(&report["hours"], "dropped"), sent.listed);
    let clients = report["clients"].as_array().unwrap();
    assert_eq!(clients.len(), usize::from(CLIENTS), "{clients:?}");
    for row in clients {
        let packets = tally(&row["dropped"]).packets;
        assert_eq!(packets * u64::from(CLIENTS), sent.listed.packets, "{row}");
    }
    let gaps = report["enforcement"]["gaps"].as_array().unwrap();
    assert_eq!(gaps.iter().filter(|gap| gap["device"].is_null()).count(), 4, "{gaps:?}");
}

#[test]
fn a_history_that_is_off_counts_anew_after_a_stop_and_on_after_a_kill() {
    let path = Path::new();
    let scratch = Scratch::new();
    let config = configuration(&scratch, "[history]\nkeep = \"off\"\n");
    let mut sent = Sent::default();
    let weir = Weir::start(&path.router, ["-c", config.as_str()]);
    send(&path, 5, &mut sent);
    check(&weir, &sent);
    let weir = Weir::start_in(&path.router, weir.kill(), ["-c", config.as_str()]);
    check(&weir, &sent);
    assert!(!weir.run_dir().join("state/history.db").exists());
    let weir = Weir::start_in(&path.router, weir.end(), ["-c", config.as_str()]);
    assert_eq!(weir.dropped(), Counter::default());
}

#[test]
fn what_an_earlier_daemon_left_that_makes_no_sense_is_told_and_replaced() {
    let path = Path::new();
    let scratch = Scratch::new();
    let config = configuration(&scratch, "");
    for (broken, why) in [
        ("{", "cannot be read"),
        (
            r#"{"datapath":{"abi":1,"ports":{},"rooms":[],"clients":0},"sets":[],"base":{"hits":[],"seen":[],"claims":[]}}"#,
            "another version",
        ),
        (
            r#"{"datapath":{"abi":ABI,"ports":{},"rooms":[[4,64]],"clients":9},"sets":[["x"]],"base":{}}"#,
            "cannot be read",
        ),
        (
            r#"{"datapath":{"abi":ABI,"ports":{},"rooms":[[4,64],[8,64]],"clients":9},"sets":[],"base":{"hits":[],"seen":[],"claims":[]}}"#,
            "pinned maps cannot be read",
        ),
    ] {
        let weir = Weir::start(&path.router, ["-c", config.as_str()]);
        let mut sent = Sent::default();
        send(&path, 2, &mut sent);
        check(&weir, &sent);
        let broken = broken.replace("ABI", &ABI_VERSION.to_string());
        let left = weir.kill();
        left.file("counters.json", &broken);
        let weir = Weir::start_in(&path.router, left, ["-c", config.as_str()]);
        let log = weir.stderr();
        assert!(log.contains("the counters of an earlier weir are lost") && log.contains(why), "{broken}: {log}");
        let mut sent = Sent::default();
        let before = weir.dropped();
        send(&path, 2, &mut sent);
        wait_until(DEADLINE, "it counts", || weir.dropped().packets == before.packets + sent.listed.packets);
    }
}
