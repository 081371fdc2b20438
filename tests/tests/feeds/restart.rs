//! What is stored, and what a restart finds: power cuts, damaged copies, a full disk.

use std::fs;
use std::process::Command;

use weir_tests::feed::{Answer, Feed};
use weir_tests::lab::DEADLINE;
use weir_tests::{require_root, wait_until};

use crate::watch::Router;

const LIST: &str = "71.18.0.0/16\n2605:340::/32\n";

fn config(feed: &Feed) -> String {
    format!(
        "[[rule]]\nname = \"list\"\naction = \"block\"\nlists = [\"list\"]\n\
         [[source]]\nname = \"list\"\nurl = \"{}\"\nrefresh = \"1s\"\ngrow = 1000\n[fetch]\nretry = \"1s\"\ntimeout = \"2s\"\n",
        feed.url("/list")
    )
}

fn running() -> (Router, Feed) {
    require_root();
    let mut router = Router::new();
    let feed = Feed::start(&router.path.router, 0);
    router.config(&config(&feed));
    feed.set("/list", Answer::ok(LIST));
    router.start();
    router.wait_until_blocked("once the list is here");
    (router, feed)
}

#[test]
fn after_a_power_cut_the_stored_copy_blocks_before_any_server_answers() {
    let (mut router, feed) = running();
    feed.set("/list", Answer::Status(500));
    router.start();
    router.assert_blocked("from the stored copy");
    router.wait_for_problem("list", "answers 500");
    assert!(["failing", "stale"].contains(&router.state("list").as_str()));
    router.assert_blocked("while the server is down");
}

#[test]
fn a_damaged_copy_gives_way_to_the_one_before_it() {
    let (mut router, feed) = running();
    feed.set("/list", Answer::Status(500));
    let copy = router.state_dir().join("copies/list.copy");
    let mut bytes = fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(&copy, &bytes).unwrap();
    router.start();
    router.assert_blocked("from the copy before");
    let log = router.weir().stderr();
    assert!(log.contains("list.copy: the stored copy is damaged (its checksum does not match)"), "{log}");
    // With both gone, it says so and is whole again once the server is.
    for name in ["list.copy", "list.copy.before"] {
        fs::write(router.state_dir().join("copies").join(name), "weir copy 1\n\0\0\0\n").unwrap();
    }
    router.start();
    assert_eq!(router.state("list"), "missing");
    let output = router.weir().verb(&["status"]);
    assert_eq!(output.code, 3, "{output:?}");
    assert!(
        output.stdout.contains("rule \"list\": source list has no copy yet: what it lists is not enforced"),
        "{output:?}"
    );
    feed.set("/list", Answer::ok(LIST));
    router.wait_until_blocked("by itself");
    assert_eq!(router.weir().verb(&["status"]).code, 0);
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let (router, feed) = running();
    feed.set("/list", Answer::ChangingEtag { body: LIST.into() });
    let copy = router.state_dir().join("copies/list.copy");
    let written = |path: &std::path::Path| fs::metadata(path).unwrap().modified().unwrap();
    // What is fetched is enforced first.
    wait_until(DEADLINE, "the first copy is written", || copy.exists());
    let before = written(&copy);
    let asked = feed.requests().len();
    wait_until(DEADLINE, "it was asked three times more", || feed.requests().len() >= asked + 3);
    assert_eq!(written(&copy), before);
    feed.set("/list", Answer::ok(format!("{LIST}192.0.2.0/24\n")));
    wait_until(DEADLINE, "a change is written", || written(&copy) != before);
}

#[test]
fn a_full_disk_costs_the_copy_and_not_the_filter() {
    require_root();
    let mut router = Router::new();
    let feed = Feed::start(&router.path.router, 0);
    // A history does not fit into so little at any time, and no token is asked for.
    router.config(&(config(&feed) + "[history]\nkeep = \"off\"\n[http]\nlisten = \"off\"\n"));
    let state = router.state_dir();
    fs::create_dir_all(&state).unwrap();
    let mounted = Mounted::small(&state);
    let filler = state.join("filler");
    fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    feed.set("/list", Answer::ok(LIST));
    router.start();
    router.wait_until_blocked("without a place for the copy");
    wait_until(DEADLINE, "the status says so", || {
        router.status()["degraded"].to_string().contains("cannot be stored in")
    });
    let output = router.weir().verb(&["status"]);
    assert!(output.code == 3 && output.stdout.contains("the copy of source list cannot be stored in"), "{output:?}");
    fs::remove_file(&filler).unwrap();
    wait_until(DEADLINE, "it is stored once there is room", || {
        router.status()["degraded"].as_array().unwrap().is_empty()
    });
    feed.set("/list", Answer::Status(500));
    router.start();
    router.assert_blocked("from what was stored then");
    router.weir.take();
    drop(mounted);
}

/// A file system of 64 KiB.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn small(at: &std::path::Path) -> Self {
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "weir-test"]).arg(at).status().unwrap();
        assert!(mount.success());
        Self(at.into())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
