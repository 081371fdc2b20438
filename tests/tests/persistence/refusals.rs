//! What the kernel refuses the daemon while it runs: maps, programs, pins. What is live stays live, it is said, and it recovers.

use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use weir_tests::lab::{DEADLINE, Path};
use weir_tests::traffic::under_traffic;
use weir_tests::wait_until;
use weir_tests::weir::{Scratch, Signal, Weir};

use crate::{BOTH, config, descriptors, passes, pins, written};

/// Lets the daemon have so many descriptors, or as many as it likes: the kernel then makes no map, program or socket more.
fn limit(weir: &Weir, most: Option<usize>) {
    let most = most.map_or_else(|| "1024".into(), |most| most.to_string());
    let status = Command::new("prlimit").arg(format!("--nofile={most}:")).arg(format!("--pid={}", weir.pid())).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_publish_that_is_refused_a_map_or_a_program_at_any_point_leaves_what_is_live() {
    let path = Path::new();
    path.wan.route("blackhole ::/0");
    let files = Scratch::new();
    let weir = Weir::start(&path.router, written(&files, &config(&BOTH, "auto")));
    // Once with all that it needs, so that what it opens once is open.
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "it is published", || weir.generation() == 2);
    let before = descriptors(&weir);
    let mut refused = 0;
    let sent = under_traffic(&path, || {
        let mut generation = 2;
        for more in 0..40 {
            let tried = weir.stderr().matches("reload refused").count();
            limit(&weir, Some(before + more));
            weir.signal(Signal::SIGHUP);
            // The log tells: the daemon cannot take a client of its control socket now.
            let published = || weir.stderr().matches(" published").count() as u64;
            wait_until(DEADLINE, "it is published or refused", || {
                published() > generation || weir.stderr().matches("reload refused").count() > tried
            });
            limit(&weir, None);
            refused += usize::from(published() == generation);
            generation = published();
        }
    });
    println!("{refused} of 40 publishes were refused");
    assert!((3..40).contains(&refused), "{refused}: the limit must be met at several points, and in the end at none");
    assert_eq!(weir.dropped(), sent, "none leaked, none counted twice");
    wait_until(DEADLINE, "nothing stays open", || descriptors(&weir) <= before + 1);
    assert_eq!(weir.verb(&["status"]).code, 0, "{}", weir.stderr());
}

#[test]
fn where_the_file_system_of_pins_is_unmounted_the_filter_goes_on_and_is_pinned_when_there_is_another() {
    let path = Path::new();
    let files = Scratch::new();
    let arguments = written(&files, &config(&BOTH, "auto"));
    let weir = Weir::start(&path.router, &arguments);
    let directory = weir.run_dir().join("bpf");
    umount2(&directory, MntFlags::MNT_DETACH).unwrap();
    assert!(!passes(&path), "blocked without pins");
    wait_until(DEADLINE, "it is told", || weir.verb(&["status"]).code == 3);
    let told = weir.verb(&["status"]).stdout;
    let remedy = format!("mount -t bpf bpf {}", directory.display());
    assert!(told.contains("the filter ends when this daemon is killed") && told.contains(&remedy), "{told}");
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "a reload is refused", || weir.stderr().contains("reload refused"));
    assert!(
        weir.stderr().lines().any(|line| line.contains("reload refused") && line.contains(&remedy)),
        "{}",
        weir.stderr()
    );
    assert!(!passes(&path));
    // Status says that not all is well, and counts all the same.
    let before = weir.verb(&["status", "--json"]).json()["dropped"]["packets"].as_u64().unwrap();

    mount(Some("bpf"), &directory, Some("bpf"), MsFlags::empty(), Some("mode=0700")).unwrap();
    wait_until(DEADLINE, "everything is pinned again", || weir.verb(&["status"]).code == 0);
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "a reload is taken", || weir.stderr().contains("published generation=2 "));
    assert!(!passes(&path));
    assert_eq!(weir.dropped().packets, before + 1, "what counts is what was pinned before");
    let left = weir.kill();
    assert!(!passes(&path), "blocked by what was pinned again");
    let weir = Weir::start_in(&path.router, left, &arguments);
    assert!(!passes(&path));
    assert_eq!(weir.dropped().packets, before + 3, "and the next daemon counts on");
}

#[test]
fn where_the_file_system_of_pins_is_read_only_a_reload_is_refused_and_what_is_live_stays() {
    let path = Path::new();
    let files = Scratch::new();
    let weir = Weir::start(&path.router, written(&files, &config(&["lan0"], "auto")));
    let directory = weir.run_dir().join("bpf");
    let remount =
        |flags| mount(None::<&str>, &directory, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>).unwrap();
    remount(MsFlags::MS_RDONLY);
    files.file("weir.toml", config(&BOTH, "auto"));
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "it is refused", || weir.stderr().contains("reload refused"));
    assert!(!passes(&path));
    remount(MsFlags::empty());
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "the device is taken", || weir.generation() == 2);
    assert_eq!(weir.verb(&["status"]).code, 0, "{}", weir.stderr());
    let links = pins(weir.run_dir()).into_iter().filter(|name| name.starts_with("link_")).count();
    assert_eq!(links, 2);
    assert!(!passes(&path));
}
