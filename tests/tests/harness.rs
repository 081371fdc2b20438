//! Tests of the harness around the binary, with a stand-in for weir: what it waits for, what it reports, what it ends.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::env;
use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use weir_tests::lab::DEADLINE;
use weir_tests::netns::Netns;
use weir_tests::wait_until;
use weir_tests::weir::{Counter, Scratch, Signal, Weir, binary};

/// Attaches at the second look, dies where it is told to, and ends on SIGTERM or `stop`.
const STAND_IN: &str = r#"#!/bin/sh
verb=$1; shift
args="$*"
while [ "$1" != --run-dir ]; do shift; done
dir=$2
case $verb in
run)
    case $args in *--die*) echo 'interface "eth9" does not exist' >&2; exit 1;; esac
    echo "args: $args"
    trap 'echo reloaded' HUP
    trap 'rm -f "$dir/up"; echo ended; exit 0' TERM
    echo $$ >"$dir/up"
    while :; do sleep 0.02; done;;
status)
    [ -e "$dir/up" ] || { echo 'not running' >&2; exit 1; }
    attach=null; [ -e "$dir/looks" ] && attach='"xdp-native"'
    echo look >>"$dir/looks"
    printf '{"generation":3,"devices":[{"name":"eth0","attach":%s,"seen":{"packets":9,"bytes":900}}],' "$attach"
    printf '"rules":[{"name":"r","action":"block","out":{"packets":5,"bytes":500},"in":{"packets":0,"bytes":0}}],'
    printf '"dropped":{"packets":5,"bytes":500}}\n';;
stop) kill "$(cat "$dir/up")";;
esac
"#;

#[test]
fn the_daemon_is_waited_for_asked_signalled_and_ended() {
    if !is_stand_in() {
        return run_again_with_the_stand_in();
    }
    let netns = Netns::new("harness");
    let mut weir = Weir::start(&netns, ["--iface", "eth0"]);
    let looks = fs::read_to_string(weir.run_dir().join("looks")).unwrap();
    assert_eq!(looks.lines().count(), 2, "it is started once the status says so, not before");
    assert_eq!(weir.attach("eth0"), "xdp-native");
    assert_eq!(weir.generation(), 3);
    assert_eq!(weir.seen("eth0"), Counter { packets: 9, bytes: 900 });
    assert_eq!(weir.dropped(), Counter { packets: 5, bytes: 500 });
    weir.wait_for_rule("r", "out", 5);
    let inside = fs::read_link(format!("/proc/{}/ns/net", weir.pid())).unwrap();
    assert_eq!(inside, netns.enter(|| fs::read_link("/proc/thread-self/ns/net").unwrap()), "it runs in the namespace");
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "the signal reaches the daemon itself", || weir.stdout().contains("reloaded"));
    assert!(weir.stop().success());
    assert!(weir.stdout().starts_with("args: --iface eth0 --run-dir "), "{}", weir.stdout());
    assert!(weir.stdout().ends_with("ended\n"), "{}", weir.stdout());

    // A daemon that is not stopped ends with its test, and its directory goes too.
    let dropped = Weir::start(&netns, ["--iface", "eth0"]);
    let (pid, run_dir) = (dropped.pid(), dropped.run_dir().to_owned());
    drop(dropped);
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "process {pid} lives on");
    assert!(!run_dir.exists(), "{} is left", run_dir.display());

    // One that ends before it is attached is reported with what it said.
    let panicked = catch_unwind(|| Weir::start(&netns, ["--die"])).unwrap_err();
    let text = panicked.downcast_ref::<String>().unwrap();
    assert!(text.contains("weir ended before it was attached"), "{text}");
    assert!(text.contains("interface \"eth9\" does not exist"), "{text}");
}

#[test]
fn a_copied_program_starts_while_other_threads_start_theirs() {
    let (scratch, done) = (Scratch::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(Command::new("true").status().unwrap().success());
                }
            });
        }
        let refused = (0..100).find_map(|number| {
            let program = scratch.program(&format!("weir-{}", number % 4), &binary());
            Command::new(program).arg("--version").output().err()
        });
        done.store(true, Ordering::Relaxed);
        assert!(refused.is_none(), "{refused:?}");
    });
}

const MARK: &str = "WEIR_TESTS_STAND_IN";
const TEST: &str = "the_daemon_is_waited_for_asked_signalled_and_ended";

fn is_stand_in() -> bool {
    env::var_os(MARK).is_some()
}

/// Runs the calling test in a process whose `WEIR_BIN` is the stand-in: the environment of a process with threads must
/// not be changed.
fn run_again_with_the_stand_in() {
    let scratch = Scratch::new();
    let path = scratch.program("weir", &scratch.file("stand-in", STAND_IN));
    // A shell cannot trap a signal that was ignored when it began, as SIGHUP is under nohup.
    let mut again = Command::new("env");
    again.arg("--default-signal=HUP").arg(env::current_exe().unwrap());
    let output = again.args(["--exact", TEST, "--nocapture"]).env(MARK, "1").env("WEIR_BIN", &path).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
