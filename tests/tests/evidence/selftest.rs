//! The self-test tells a filter that drops from one that only has nothing to drop.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use weir_tests::frame::frame;
use weir_tests::lab::{DEADLINE, LAN_V4, LISTED_V4, MAC_LAN, MAC_ROUTER_LAN, Path, wait_until};
use weir_tests::weir::{Counter, Scratch, Weir, binary};

fn start(path: &Path, scratch: &Scratch, more: &str) -> Weir {
    let text = format!(
        "[[interface]]\nname = \"lan0\"\n[[interface]]\nname = \"wan0\"\negress = true\n\
         [[rule]]\nname = \"tiktok\"\naction = \"block\"\nservices = [\"tiktok\"]\n{more}"
    );
    let config = scratch.file("weir.toml", text).display().to_string();
    Weir::start(&path.router, ["-c", config.as_str()])
}

#[test]
fn probes_are_dropped_at_every_hook_and_count_nowhere() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let weir = start(&path, &scratch, "");
    let output = weir.verb(&["selftest"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    assert!(output.stdout.ends_with("all is well: what must be dropped is dropped, what must pass passes\n"));
    let test = weir.verb(&["selftest", "--json"]).json();
    let probes = test["probes"].as_array().unwrap();
    // Three hooks, each with two directions, two families, and one packet of each family that must pass.
    assert_eq!(probes.len(), 3 * (4 + 2), "{test:#}");
    for probe in probes {
        assert_eq!(probe["dropped"].as_bool(), Some(probe["rule"] == "tiktok"), "{probe}");
    }
    let status = weir.status();
    assert_eq!(weir.dropped(), Counter::default(), "no probe is evidence");
    assert_eq!(status["clients"].as_array().unwrap().len(), 0, "{status:#}");

    let output = weir.verb(&["selftest", "--send"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("a real packet to ") && output.stdout.contains(" was dropped\n"), "{output:?}");
    assert!(weir.dropped().packets >= 1, "that one is real");
}

#[test]
fn a_filter_that_drops_nothing_is_told() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let weir = start(
        &path,
        &scratch,
        "[[rule]]\nname = \"vlan\"\naction = \"block\"\nprefixes = [\"203.0.113.0/24\"]\nvlans = [7]\n",
    );
    let output = weir.verb(&["selftest"]);
    assert!(output.code == 0 && output.stdout.contains("rule \"vlan\" has no probe: its scope, "), "{output:?}");
    assert_eq!(weir.verb(&["pause", "1m"]).code, 0);
    let output = weir.verb(&["selftest"]);
    assert_eq!(output.code, 3, "{output:?}");
    assert!(output.stdout.ends_with("FAULT: no rule blocks anything that could be probed\n"), "{output:?}");
    assert_eq!(weir.verb(&["resume"]).code, 0);
    assert_eq!(weir.verb(&["selftest"]).code, 0);
    let output = weir.verb(&["selftest", "--wait", "1s"]);
    assert_eq!(output.code, 3);
    assert!(output.stdout.ends_with("FAULT: no packet was dropped within 1 s\n"), "{output:?}");
}

#[test]
fn a_clients_real_packet_ends_the_wait() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let weir = start(&path, &scratch, "");
    let mut command = path.router.command(binary());
    command.args(["selftest", "--wait", "30s", "--run-dir"]).arg(weir.run_dir());
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let listed = frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(LAN_V4, LISTED_V4).udp(443).build();
    thread::sleep(Duration::from_millis(500));
    let socket = path.lan_socket();
    wait_until(DEADLINE, "a packet is counted", || {
        socket.send(&listed);
        weir.dropped().packets > 0
    });
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("dropped on lan0: 10.66.0.2 > 71.18.1.1, rule \"tiktok\"\n"), "{text}");
}
