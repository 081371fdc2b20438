//! Devices that are not there when weir starts, or change while it runs.

use std::time::Instant;

use weir_tests::kernel::kind_of_tc;
use weir_tests::lab::{DEADLINE, MAC_WAN, Path};
use weir_tests::wait_until;
use weir_tests::weir::{Scratch, Signal, Weir};

use crate::{BOTH, config, passes, written};

fn is_attached(weir: &Weir, device: &str) -> bool {
    let status = weir.verb(&["status", "--json"]).json();
    status["devices"].as_array().unwrap().iter().any(|each| each["name"] == device && each["attach"].is_string())
}

#[test]
fn a_device_that_is_not_there_yet_is_attached_when_it_appears_and_the_others_at_once() {
    let path = Path::new();
    path.router.ip("link delete lan0");
    let files = Scratch::new();
    let weir = Weir::launch_in(&path.router, Scratch::new(), written(&files, &config(&BOTH, "auto")));
    wait_until(DEADLINE, "wan0 is attached", || weir.verb(&["status"]).code == 3 && is_attached(&weir, "wan0"));
    let told = "NOT ENFORCING: there is no such device; it is attached when it appears device=\"lan0\"";
    assert!(weir.stderr().contains(told), "{}", weir.stderr());
    path.plug_lan();
    let plugged = Instant::now();
    wait_until(DEADLINE, "lan0 is attached", || is_attached(&weir, "lan0"));
    println!("attached {:?} after it was plugged in", plugged.elapsed());
    assert!(!passes(&path));
    assert_eq!(weir.verb(&["status"]).code, 0, "{:?}", weir.verb(&["status"]));
}

/// Renames a device of the router's. Kernels before 6.2 want it down for that, which takes its routes and neighbours along.
fn rename(path: &Path, from: &str, to: &str) {
    let Path { router, .. } = path;
    if router.try_ip(&format!("link set {from} name {to}")).is_ok() {
        return;
    }
    router.ip(&format!("link set {from} down"));
    router.ip(&format!("link set {from} name {to}"));
    router.up(to);
    if to.ends_with("wan0") {
        router.neighbour(to, "192.0.2.2", MAC_WAN);
        router.route(&format!("default via 192.0.2.2 dev {to}"));
    }
}

#[test]
fn weir_starts_with_no_device_at_all() {
    let path = Path::new();
    for device in BOTH {
        rename(&path, device, &format!("x{device}"));
    }
    let files = Scratch::new();
    let weir = Weir::launch_in(&path.router, Scratch::new(), written(&files, &config(&BOTH, "auto")));
    wait_until(DEADLINE, "it serves", || weir.verb(&["status"]).code == 3);
    for device in BOTH {
        rename(&path, &format!("x{device}"), device);
        wait_until(DEADLINE, device, || is_attached(&weir, device));
    }
    assert!(!passes(&path));
}

#[test]
fn a_device_that_took_anothers_name_and_index_unseen_is_attached_too() {
    let path = Path::new();
    let files = Scratch::new();
    let weir = Weir::start(&path.router, written(&files, &config(&BOTH, "auto")));
    let index = path.router.index("lan0");
    weir.signal(Signal::SIGSTOP);
    path.router.ip("link delete lan0");
    path.router.ip(&format!("link add lan0 index {index} type bridge"));
    weir.signal(Signal::SIGCONT);
    // A bridge has no XDP of its own. A filter on clsact has no link that could be asked for.
    let kind = kind_of_tc(&path.router, "lan0");
    let is_held = || kind == "tc" || !weir.links(index).is_empty();
    wait_until(DEADLINE, "lan0 is attached", || is_held() && is_attached(&weir, "lan0") && weir.attach("lan0") == kind);
    let log = weir.stderr();
    assert!(log.contains("NOT ENFORCING: the device is gone"), "{log}");
    assert!(!log.contains("the program does not see them"), "{log}");
}
