//! What reads a document dies: one refresh is lost, and nothing else.

use std::fs;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use weir_tests::feed::{Answer, Feed};
use weir_tests::lab::DEADLINE;
use weir_tests::weir::Signal;
use weir_tests::{require_root, wait_until};

use crate::watch::Router;

const LIST: &str = "71.18.0.0/16\n2605:340::/32\n";

/// A process that the daemon started: its id, the letter of its state (`proc_pid_stat(5)`), its command line.
struct Child {
    pid: i32,
    state: String,
    command: String,
}

/// All but the one that waits to unmount, which is there from the start to the end.
fn children(daemon: u32) -> Vec<Child> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let child = |pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let (state, parent) = (fields.next()?.to_owned(), fields.next()?);
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " ");
        (parent == daemon.to_string() && !command.contains(" unmount ")).then_some(Child { pid, state, command })
    };
    pids.filter_map(child).collect()
}

#[test]
fn a_parser_that_dies_costs_one_refresh_and_leaves_nothing_behind() {
    require_root();
    let mut router = Router::new();
    let feed = Feed::start(&router.path.router, 0);
    router.config(&format!(
        "[[rule]]\nname = \"list\"\naction = \"block\"\nlists = [\"list\"]\n\
         [[source]]\nname = \"list\"\nurl = \"{}\"\nrefresh = \"1s\"\n[fetch]\nretry = \"1s\"\ntimeout = \"30s\"\n",
        feed.url("/list")
    ));
    feed.set("/list", Answer::ok(LIST));
    let daemon = router.start().pid();
    router.wait_until_blocked("once the list is here");
    let generation = router.status()["generation"].clone();
    for (signal, name) in [(Signal::SIGKILL, "SIGKILL"), (Signal::SIGABRT, "SIGABRT")] {
        feed.set("/list", Answer::Drip { body: LIST.into(), bytes_per_second: 1 });
        let mut found = Vec::new();
        wait_until(DEADLINE, "the process that reads is held up", || {
            found = children(daemon);
            found.len() == 1 && feed.open_connections() == 1 && router.list("list")["asking"] == true
        });
        assert!(found[0].command.ends_with(" fetch "), "{}", found[0].command);
        let failures = router.list("list")["answers"].as_u64().unwrap();
        feed.set("/list", Answer::Timeout);
        kill(Pid::from_raw(found[0].pid), signal).unwrap();
        router.wait_for_problem("list", name);
        let list = router.list("list");
        println!("{}", list["problem"]);
        assert_eq!((list["failures"].as_u64(), list["answers"].as_u64()), (Some(1), Some(failures + 1)), "{list}");
        assert_eq!((&list["state"], list["ranges"].as_u64()), (&"failing".into(), Some(2)), "{list}");
        let problem = list["problem"].as_str().unwrap();
        assert!(problem.lines().count() == 1 && problem == problem.trim_end_matches([' ', ':']), "{problem:?}");
        let log = router.weir().stderr();
        let told = log.lines().filter(|line| line.contains("WARN") && line.contains(&format!("({name})"))).count();
        assert_eq!(told, 1, "one line for {name}:\n{log}");
        let left: Vec<_> = children(daemon).into_iter().filter(|child| child.state == "Z").collect();
        assert!(left.is_empty(), "{} zombies", left.len());
        router.assert_blocked(&format!("after {name}"));
        // What was asked since then hangs; the next answer makes it good again.
        feed.set("/list", Answer::ok(LIST));
        for child in children(daemon) {
            kill(Pid::from_raw(child.pid), Signal::SIGTERM).unwrap();
        }
        router.wait_for_state("list", "good");
    }
    assert_eq!((router.weir().pid(), &router.status()["generation"]), (daemon, &generation));
    router.assert_blocked("in the end");
    // Nothing of the kind is left, and nothing is when the daemon goes.
    feed.set("/list", Answer::Timeout);
    let mut last = Vec::new();
    wait_until(DEADLINE, "a last question", || {
        last = children(daemon);
        !last.is_empty() && feed.open_connections() == 1
    });
    assert_eq!(last.len(), 1);
    router.weir.take().unwrap().stop();
    wait_until(DEADLINE, "the process that reads ends with the daemon", || {
        !fs::exists(format!("/proc/{}", last[0].pid)).unwrap()
    });
}
