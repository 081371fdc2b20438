//! Verbs that need a daemon, root or a device: what they say where that is missing, and what `status` tells programs.

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::sys::signal;
use nix::unistd::Pid;
use weir_tests::frame::frame;
use weir_tests::lab::DEADLINE;
use weir_tests::netns::{Netns, veth};
use weir_tests::socket::PacketSocket;
use weir_tests::weir::{Output, Scratch, Signal, Weir, binary};
use weir_tests::{require_root, wait_until};

use crate::documents::keys;
use crate::{Case, finish, refused, rule, run};

#[test]
fn status_and_stop_without_a_daemon_say_how_to_start_one() {
    for verb in ["status", "stop"] {
        refused(&Case {
            what: verb,
            files: &[],
            arguments: &[verb, "--run-dir", "no-such-dir"],
            code: 1,
            says: "no weir is running on no-such-dir; start one with `weir run`, or name its --run-dir",
        });
    }
}

#[test]
fn a_socket_that_a_killed_daemon_left_is_no_daemon() {
    let scratch = Scratch::new();
    // Closed, but still there: what SIGKILL leaves.
    drop(std::os::unix::net::UnixListener::bind(scratch.path().join("control.sock")).unwrap());
    let output = finish(Command::new(binary()).args(["status", "--run-dir"]).arg(scratch.path()));
    let says = format!(
        "weir: no weir is running on {}; start one with `weir run`, or name its --run-dir\n",
        scratch.path().display()
    );
    assert_eq!((output.code, output.stderr), (1, says));
}

#[test]
fn a_daemon_without_rules_or_devices_does_not_start() {
    require_root();
    let netns = Netns::new("cli");
    let scratch = Scratch::new();
    let run_dir = scratch.path().join("run");
    let start = |arguments: &[&str]| {
        let output = finish(
            netns
                .command(binary())
                .arg("run")
                .args(arguments)
                .arg("--run-dir")
                .arg(&run_dir)
                .arg("--state-dir")
                .arg(scratch.path()),
        );
        assert_eq!((output.stdout.as_str(), output.stderr.lines().count()), ("", 1), "{output:?}");
        assert!(!run_dir.exists(), "{arguments:?} left its run directory");
        output
    };
    let no_rules = start(&["--iface", "lo"]);
    assert!(no_rules.stderr.starts_with("weir: nothing to filter: give -c FILE"), "{no_rules:?}");
    let no_interface = start(&["--service", "tiktok"]);
    let says = "weir: no interface to filter on: give --iface NAME or [[interface]]; devices here: ";
    assert!(no_interface.stderr.starts_with(says) && no_interface.stderr.contains("lo"), "{no_interface:?}");
    let absent = start(&["--service", "tiktok", "--iface", "lo", "--iface", "wan0"]);
    let says = "weir: interface \"wan0\" does not exist; devices here: ";
    assert!(absent.stderr.starts_with(says) && absent.stderr.contains("lo"), "{absent:?}");
    assert_eq!([no_rules.code, no_interface.code, absent.code], [2, 2, 1]);
}

#[test]
fn one_run_directory_has_one_daemon_and_its_end_is_clean() {
    require_root();
    let netns = Netns::new("cli");
    netns.up("lo");
    let mut first = Weir::start(&netns, ["--iface", "lo", "--service", "tiktok"]);
    let run_dir = first.run_dir().to_owned();
    let second = finish(
        netns
            .command(binary())
            .args(["run", "--iface", "lo", "--service", "tiktok", "--run-dir"])
            .arg(&run_dir)
            .arg("--state-dir")
            .arg(&run_dir),
    );
    let says = format!(
        "weir: weir is already running on {}; stop it with `weir stop`, or choose another --run-dir\n",
        run_dir.display()
    );
    assert_eq!((second.code, second.stdout.as_str(), second.stderr), (1, "", says));
    assert_eq!(first.generation(), 1, "the first one goes on");

    let stop = first.verb(&["stop"]);
    assert_eq!((stop.code, stop.stdout.as_str(), stop.stderr.as_str()), (0, "", ""));
    assert_eq!(first.wait().code(), Some(0));
    assert!(first.stdout().contains("tiktok           block"), "the counters are its last word:\n{}", first.stdout());
    let after = first.verb(&["status"]);
    assert!(after.stderr.starts_with("weir: no weir is running on "), "{after:?}");

    let mut third = Weir::start(&netns, ["--iface", "lo", "--service", "tiktok"]);
    third.signal(Signal::SIGTERM);
    assert_eq!(third.wait().code(), Some(0), "SIGTERM is how a service ends");
}

/// Runs a copy of the binary as the user nobody, who may read it wherever the checkout is.
fn as_nobody(weir: &Path, arguments: &[&str]) -> Output {
    finish(Command::new(weir).args(arguments).current_dir("/").uid(65534).gid(65534))
}

#[test]
fn without_root_reading_works_and_the_rest_says_run_as_root() {
    require_root();
    let scratch = Scratch::new();
    let weir = scratch.program("weir", &binary());
    for arguments in [&["check", "--service", "tiktok"][..], &["explain", "--service", "tiktok", "71.18.1.1"]] {
        let output = as_nobody(&weir, arguments);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{arguments:?}");
    }

    let secret = scratch.file("secret.toml", rule("asns = [396986]"));
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let secret = secret.to_str().unwrap();
    let output = as_nobody(&weir, &["check", "-c", secret]);
    let says = format!("weir: cannot read configuration {secret}: permission denied; run as a user who may read it\n");
    assert_eq!((output.code, output.stderr), (1, says));

    let run_dir = scratch.path().join("run");
    let directory = run_dir.to_str().unwrap();
    let start = ["run", "--iface", "lo", "--service", "tiktok", "--run-dir", directory, "--state-dir", directory];
    let output = as_nobody(&weir, &start);
    let says = format!(
        "weir: cannot use run directory {}: Permission denied (os error 13); run weir as root, or choose another \
         --run-dir\n",
        run_dir.display()
    );
    assert_eq!((output.code, output.stderr), (1, says));

    // A directory of its own does not help: attaching takes more.
    fs::create_dir(&run_dir).unwrap();
    std::os::unix::fs::chown(&run_dir, Some(65534), Some(65534)).unwrap();
    let output = as_nobody(&weir, &start);
    assert_eq!((output.code, output.stderr.lines().count()), (1, 1), "{output:?}");
    assert!(output.stderr.starts_with("weir: cannot mount a BPF file system on "), "{output:?}");
    assert!(output.stderr.ends_with("; run weir as root\n"), "{output:?}");

    // The header of a capture without packets.
    let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1].map(u32::to_le_bytes).concat();
    let capture = scratch.file("empty.pcap", header);
    let output = as_nobody(&weir, &["replay", "--service", "tiktok", capture.to_str().unwrap()]);
    assert_eq!((output.code, output.stderr.lines().count()), (1, 1), "{output:?}");
    let says = "weir: cannot load the BPF object: run weir as root, or with CAP_BPF and CAP_NET_ADMIN: ";
    assert!(output.stderr.starts_with(says), "{output:?}");
}

#[test]
fn a_stranger_cannot_ask_or_stop_the_daemon() {
    require_root();
    let netns = Netns::new("cli");
    netns.up("lo");
    let daemon = Weir::start(&netns, ["--iface", "lo", "--service", "tiktok"]);
    let scratch = Scratch::new();
    let weir = scratch.program("weir", &binary());
    for verb in ["status", "stop"] {
        let output = as_nobody(&weir, &[verb, "--run-dir", daemon.run_dir().to_str().unwrap()]);
        let says = format!(
            "weir: no permission for {}; run as root, as the user who runs weir, or as a member of that user's group\n",
            daemon.run_dir().display()
        );
        assert_eq!((output.code, output.stderr), (1, says), "{verb}");
    }
    assert_eq!(daemon.generation(), 1);
}

#[test]
fn status_gives_programs_exactly_the_documented_keys_and_people_a_table() {
    require_root();
    let (router, peer) = (Netns::new("cli"), Netns::new("cli"));
    veth((&router, "lan0", [2, 0, 0, 0, 0, 1]), (&peer, "peer0", [2, 0, 0, 0, 0, 2]));
    router.silence("lan0");
    peer.silence("peer0");
    let weir = Weir::start(&router, ["--iface", "lan0", "--service", "tiktok"]);
    let listed = frame().ipv4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(71, 18, 1, 1)).udp(443).build();
    PacketSocket::open(&peer, "peer0").send(&listed);
    wait_until(DEADLINE, "the packet is counted", || weir.dropped().packets == 1);

    let status = weir.status();
    let top = [
        "allowed",
        "client_table",
        "clients",
        "config",
        "counters",
        "degraded",
        "devices",
        "dropped",
        "events",
        "generation",
        "lists",
        "monitored",
        "next_switch",
        "paused_secs",
        "pid",
        "rejected",
        "resting",
        "rules",
        "seen",
        "system",
        "table_bytes",
        "unconfirmed_secs",
        "uptime_secs",
        "version",
    ];
    assert_eq!(keys(&status), top);
    assert_eq!(keys(&status["devices"][0]), ["attach", "egress", "name", "parsed", "seen", "state"]);
    assert_eq!(keys(&status["devices"][0]["parsed"]), ["ipv4", "ipv6", "non_ip", "truncated"]);
    assert_eq!(keys(&status["rules"][0]), ["action", "in", "last", "name", "out"]);
    let counter = ["action", "bytes", "device", "direction", "family", "hook", "packets", "rule", "total"];
    assert_eq!(keys(&status["counters"][0]), counter);
    assert_eq!(keys(&status["clients"][0]), ["allowed", "client", "dropped", "monitored"]);
    assert_eq!(keys(&status["client_table"]), ["crowded", "evicted", "held", "room"]);
    assert_eq!(keys(&status["events"]), ["lost", "reported", "suppressed"]);
    for tally in [&status["dropped"], &status["seen"], &status["rules"][0]["out"], &status["devices"][0]["seen"]] {
        assert_eq!(keys(tally), ["bytes", "packets"]);
    }
    assert_eq!(status["pid"].as_u64(), Some(weir.pid().into()));
    assert_eq!(status["dropped"]["bytes"].as_u64(), Some(listed.len() as u64));

    let text = weir.verb(&["status"]).stdout;
    let row =
        |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(row("lan0")[3], "1");
    assert_eq!(row("tiktok")[..3], ["tiktok", "block", "1"]);
    assert!(text.contains("generation 1: dropped 1 packets "), "{text}");
}

#[test]
fn an_unused_directory_needs_no_files() {
    // `stop` and `status` take no configuration: a broken one must not keep an operator from stopping weir.
    let output = run(&[("weir.toml", b"[[")], &["stop", "--run-dir", "."]);
    assert_eq!((output.code, output.stderr.lines().count()), (1, 1), "{output:?}");
}

#[test]
fn a_daemon_whose_log_cannot_be_written_goes_on() {
    require_root();
    let netns = Netns::new("cli");
    netns.up("lo");
    let scratch = Scratch::new();
    // As after the terminal that started it is gone, or on a full disk.
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = netns.command(binary());
    command.args(["run", "--iface", "lo", "--service", "tiktok", "--run-dir"]).arg(scratch.path());
    command.arg("--state-dir").arg(scratch.path().join("state"));
    let mut daemon = command.stdout(full()).stderr(full()).spawn().unwrap();
    let status = || finish(Command::new(binary()).args(["status", "--json", "--run-dir"]).arg(scratch.path()));
    wait_until(DEADLINE, "the daemon answers", || status().code == 0);
    // A hangup is what a closed terminal sends.
    signal::kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGHUP).unwrap();
    wait_until(DEADLINE, "the reload is live", || status().json()["generation"] == 2);
    let stop = finish(Command::new(binary()).args(["stop", "--run-dir"]).arg(scratch.path()));
    assert_eq!((stop.code, stop.stderr.as_str()), (0, ""));
    assert_eq!(daemon.wait().unwrap().code(), Some(1), "its last table could not be written");
}
