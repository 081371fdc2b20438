//! `weir panic`: everything of weir's goes, and nothing else.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use aya::programs::XdpMode;
use weir_tests::lab::Path;
use weir_tests::programs;
use weir_tests::weir::{Scratch, Signal, Weir, weir};

use crate::{BOTH, config, passes, pins, written};

#[test]
fn panic_frees_the_devices_of_a_daemon_that_runs_that_hangs_and_that_is_gone() {
    let path = Path::new();
    let files = Scratch::new();
    let arguments = written(&files, &config(&BOTH, "auto"));
    let states = [("runs", None), ("hangs", Some(Signal::SIGSTOP)), ("is gone", Some(Signal::SIGKILL))];
    for (state, signal) in states {
        let mut daemon = Weir::start(&path.router, &arguments);
        if let Some(signal) = signal {
            daemon.signal(signal);
        }
        if state == "is gone" {
            daemon.wait();
        }
        assert!(!passes(&path), "it {state}");
        let output = daemon.verb(&["panic"]);
        assert_eq!((output.code, &*output.stderr), (0, ""), "it {state}: {output:?}");
        let killed = format!("killed weir, process {}\n", daemon.pid());
        let expected = if state == "is gone" { String::new() } else { killed } + "free: lan0, wan0\n";
        assert_eq!(output.stdout, expected, "it {state}");
        assert!(passes(&path), "it {state}");
        let by = if state == "is gone" { Signal::SIGKILL } else { Signal::SIGUSR2 };
        assert_eq!(daemon.wait().signal(), Some(by as i32), "it {state}");
        assert_eq!(pins(daemon.run_dir()), [""; 0]);
        for left in ["lock", "counters.json", "control.sock", "bpf"] {
            assert!(!daemon.run_dir().join(left).exists(), "{left} is left");
        }
        let output = daemon.verb(&["panic"]);
        assert_eq!((output.code, &*output.stdout), (0, "nothing was attached\n"), "{output:?}");
    }
}

#[test]
fn panic_ends_a_daemon_that_was_started_to_ignore_its_signal() {
    let path = Path::new();
    let files = Scratch::new();
    let starter = ["sh", "-c", "trap '' USR2; exec \"$0\" \"$@\""];
    let mut daemon =
        Weir::start_by(&starter, &path.router, Scratch::new(), written(&files, &config(&["lan0"], "auto")));
    let output = daemon.verb(&["panic"]);
    let expected = format!("killed weir, process {}\nfree: lan0\n", daemon.pid());
    assert_eq!((output.code, &*output.stdout), (0, &*expected), "{output:?}");
    assert_eq!(daemon.wait().signal(), Some(Signal::SIGKILL as i32));
    assert!(passes(&path));
}

#[test]
fn panic_leaves_alone_what_is_not_weirs() {
    let path = Path::new();
    let files = Scratch::new();
    let daemon = Weir::start(&path.router, written(&files, &config(&["wan0"], "auto")));
    let mut foreign = programs::load(&[], &["pass_all"]);
    let link =
        path.router.enter(|| programs::program(&mut foreign, "pass_all").attach("lan0", XdpMode::Driver).unwrap());
    let tc = |arguments: &str| path.router.run(Command::new("tc").args(arguments.split(' ')));
    assert!(tc("qdisc add dev wan0 clsact").status.success());
    let output = daemon.verb(&["panic"]);
    assert!(output.stdout.ends_with("free: wan0\n"), "{output:?}");
    assert!(!path.router.link("lan0")["xdp"].is_null(), "the other's program is there");
    let shown = tc("qdisc show dev wan0");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("qdisc clsact"), "{shown:?}");
    path.router.enter(|| programs::program(&mut foreign, "pass_all").detach(link).unwrap());
}

#[test]
fn panic_in_a_directory_that_is_none_says_so() {
    let output = weir(["panic", "--run-dir", "/proc/none"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("cannot use run directory /proc/none"), "{output:?}");
}
