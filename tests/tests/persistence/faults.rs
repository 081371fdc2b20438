//! What goes wrong around the daemon: it hangs, memory or disk run out, devices flap, reloads come by the hundred. Blocked stays
//! blocked, what is allowed passes, and it recovers by itself.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use weir_tests::lab::{DEADLINE, Path};
use weir_tests::traffic::under_traffic;
use weir_tests::weir::{Scratch, Signal, Weir};
use weir_tests::{skipped, wait_until};

use crate::{BOTH, config, descriptors, passes, written};

/// A list of many networks of 256 addresses each, one apart.
fn many(networks: u32) -> String {
    let mut text = String::new();
    for n in 0..networks {
        writeln!(text, "{}.{}.{}.0/24", 20 + (n >> 15), n >> 7 & 255, n << 1 & 255).unwrap();
    }
    text
}

#[test]
fn a_daemon_that_hangs_filters_and_goes_on_where_it_was() {
    let path = Path::new();
    path.wan.route("blackhole ::/0");
    let files = Scratch::new();
    let weir = Weir::start(&path.router, written(&files, &config(&BOTH, "auto")));
    let sent = under_traffic(&path, || {
        weir.signal(Signal::SIGSTOP);
        thread::sleep(Duration::from_secs(5));
        weir.signal(Signal::SIGCONT);
    });
    assert_eq!(weir.dropped(), sent);
    assert_eq!(weir.verb(&["status"]).code, 0);
}

#[test]
fn where_the_kernel_has_no_memory_for_a_ruleset_the_one_before_stays() {
    const TEST: &str = "where_the_kernel_has_no_memory_for_a_ruleset_the_one_before_stays";
    let Some(group) = Group::new() else { return skipped(TEST, "no cgroup with a memory controller can be made here") };
    let path = Path::new();
    let files = Scratch::new();
    let arguments = written(&files, &config(&BOTH, "auto"));
    let mut weir = Weir::start(&path.router, &arguments);
    group.take(weir.pid());
    group.limit(24 << 20);
    files.file("many.netset", many(400_000));
    let large = config(&BOTH, "auto") + "[[rule]]\nname = \"many\"\naction = \"block\"\nfiles = [\"many.netset\"]\n";
    files.file("weir.toml", &large);
    weir.signal(Signal::SIGHUP);
    let mut ended = None;
    wait_until(DEADLINE, "the reload is refused, or the daemon is killed for it", || {
        ended = weir.exited();
        ended.is_some() || weir.stderr().contains("reload refused")
    });
    println!("{ended:?}; {}", weir.stderr().lines().last().unwrap_or_default());
    assert!(!passes(&path), "blocked without memory");
    group.limit(1 << 30);
    files.file("weir.toml", config(&BOTH, "auto"));
    if ended.is_some() {
        weir = Weir::start_in(&path.router, weir.kill(), &arguments);
    }
    files.file("weir.toml", &large);
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "with memory it is taken", || weir.generation() == 2);
    assert!(!passes(&path));
    assert!(weir.stop().success());
}

/// A control group of this test's.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let name = format!("weir-test-{}", std::process::id());
        let places = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(PathBuf::from);
        let place = places.into_iter().find(|place| place.join("cgroup.procs").exists())?.join(name);
        fs::create_dir_all(&place).ok()?;
        let group = Self(place);
        group.limit_file().map(|_| group)
    }

    fn limit_file(&self) -> Option<PathBuf> {
        ["memory.limit_in_bytes", "memory.max"].map(|name| self.0.join(name)).into_iter().find(|file| file.exists())
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    fn limit(&self, bytes: u64) {
        fs::write(self.limit_file().unwrap(), bytes.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_full_run_directory_refuses_a_reload_and_nothing_else() {
    let path = Path::new();
    let (files, scratch) = (Scratch::new(), Scratch::new());
    // In place of the directory, so that its end finds it.
    let small = scratch.path().to_owned();
    mount(Some("tmpfs"), &small, Some("tmpfs"), MsFlags::empty(), Some("size=256k")).unwrap();
    let weir = Weir::start_in(&path.router, scratch, written(&files, &config(&BOTH, "auto")));
    let full = small.join("full");
    let _ = fs::write(&full, vec![0; 1 << 20]);
    weir.signal(Signal::SIGHUP);
    // The log is on the same disk.
    thread::sleep(Duration::from_secs(1));
    assert!(!passes(&path), "blocked on a full disk");
    assert_eq!(weir.generation(), 1, "refused");
    fs::remove_file(&full).unwrap();
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "with room it is taken", || weir.generation() == 2);
    assert!(!passes(&path));
    drop(weir);
    let _ = umount2(&small, MntFlags::MNT_DETACH);
}

#[test]
fn a_storm_of_reloads_under_traffic_leaks_and_loses_nothing() {
    let path = Path::new();
    path.wan.route("blackhole ::/0");
    let files = Scratch::new();
    let weir = Weir::start(&path.router, written(&files, &config(&BOTH, "auto")));
    // Once with all that it needs, so that what it opens once is open.
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "it is published", || weir.generation() == 2);
    let before = descriptors(&weir);
    let sent = under_traffic(&path, || {
        for _ in 0..500 {
            weir.signal(Signal::SIGHUP);
            thread::sleep(Duration::from_millis(10));
        }
        weir.signal(Signal::SIGHUP);
        let mut last = 0;
        wait_until(DEADLINE, "it comes to rest", || {
            let before = std::mem::replace(&mut last, weir.generation());
            thread::sleep(Duration::from_millis(300));
            before == weir.generation()
        });
    });
    println!("{} publishes", weir.generation());
    // Those that come while one is being read are one; an emulated CPU takes seconds for each.
    assert!(weir.generation() > 3, "{}", weir.generation());
    assert_eq!(weir.dropped(), sent);
    wait_until(DEADLINE, "nothing stays open", || descriptors(&weir) <= before + 1);
}

#[test]
fn a_device_that_flaps_is_filtered_whenever_it_is_up() {
    let path = Path::new();
    let files = Scratch::new();
    let weir = Weir::start(&path.router, written(&files, &config(&BOTH, "auto")));
    for _ in 0..50 {
        path.router.ip("link set lan0 down");
        path.router.ip("link set lan0 up");
    }
    path.router.neighbour("lan0", "10.66.0.2", weir_tests::lab::MAC_LAN);
    assert!(!passes(&path));
    assert_eq!(weir.attach("lan0"), "xdp-native");
    assert_eq!(weir.generation(), 1, "nothing had to be published");
}
