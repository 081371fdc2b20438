//! Devices that are not there when weir starts, or change while it runs.

use std::time::Instant;

use weir_tests::lab::{DEADLINE, Path};
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

#[test]
fn weir_starts_with_no_device_at_all() {
    let path = Path::new();
    for device in BOTH {
        path.router.ip(&format!("link set {device} name x{device}"));
    }
    let files = Scratch::new();
    let weir = Weir::launch_in(&path.router, Scratch::new(), written(&files, &config(&BOTH, "auto")));
    wait_until(DEADLINE, "it serves", || weir.verb(&["status"]).code == 3);
    for device in BOTH {
        path.router.ip(&format!("link set x{device} name {device}"));
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
    wait_until(DEADLINE, "lan0 is attached", || !weir.links(index).is_empty() && is_attached(&weir, "lan0"));
    assert_eq!(weir.attach("lan0"), "tcx", "a bridge has no XDP of its own");
    let log = weir.stderr();
    assert!(log.contains("NOT ENFORCING: the device is gone"), "{log}");
    assert!(!log.contains("the program does not see them"), "{log}");
}
