//! A daemon that ends without taking its filter off, and the next one, which takes it over.

use std::fs;

use weir_tests::lab::Path;
use weir_tests::traffic::under_traffic;
use weir_tests::weir::{Scratch, Weir};

use crate::clsact::filters;
use crate::{BOTH, config, passes, pins, written};

fn is_taken_over(attach: &str, end: impl Fn(Weir) -> Scratch) {
    let path = Path::new();
    path.wan.route("blackhole ::/0");
    let files = Scratch::new();
    let arguments = written(&files, &config(&BOTH, attach));
    let weir = Weir::start(&path.router, &arguments);
    let devices = ["lan0", "wan0"].map(|device| path.router.index(device));
    let links = devices.map(|device| weir.links(device));
    // A filter on clsact, which kernels without tcx have instead, is found again by its handle, and has no link.
    let linked = weir.attach("lan0") != "tc";
    assert!(links.iter().all(|links| links.len() == usize::from(linked)), "{links:?}");
    let mut weir = Some(weir);
    let sent = under_traffic(&path, || {
        let left = end(weir.take().unwrap());
        assert!(!passes(&path), "{attach}: blocked while no daemon runs");
        weir = Some(Weir::start_in(&path.router, left, &arguments));
    });
    let mut weir = weir.unwrap();
    assert_eq!(devices.map(|device| weir.links(device)), links, "{attach}: the same links");
    if !linked {
        assert_eq!(BOTH.map(|device| filters(&path.router, device, "ingress")), [1, 1], "replaced, not doubled");
    }
    let names = if linked { "lan0,wan0" } else { "" };
    let line = format!("an earlier weir left its filter: it goes on, and its counters go on devices=\"{names}\"");
    assert!(weir.stderr().contains(&line), "{}", weir.stderr());
    // The one that `passes` sent is the last.
    assert_eq!(weir.dropped().packets, sent.packets + 1, "{attach}: each is counted once");
    assert!(weir.stop().success());
    assert!(passes(&path), "{attach}: an end in order frees the devices");
    assert_eq!(pins(weir.run_dir()), [""; 0]);
}

#[test]
fn a_killed_daemons_filter_goes_on_and_the_next_daemon_takes_it_over() {
    is_taken_over("xdp-native", Weir::kill);
    is_taken_over("tc", Weir::kill);
    is_taken_over("xdp-generic", Weir::kill);
}

#[test]
fn a_daemon_that_is_told_to_keep_its_filter_leaves_it_to_the_next_one() {
    is_taken_over("auto", Weir::leave);
}

#[test]
fn a_start_that_fails_leaves_what_filters_as_it_was() {
    let path = Path::new();
    let files = Scratch::new();
    let good = written(&files, &config(&BOTH, "auto"));
    let _odd = path.router.tun_of_hardware("odd0", 801);
    let left = Weir::start(&path.router, &good).kill();
    // What it blocks is not what is asked for: were lan0 not given its old program back, the peer would pass.
    let odd = config(&["lan0", "odd0"], "auto").replace("71.18.1.0/24", "203.0.113.0/24");
    let no_file = config(&BOTH, "auto") + "[[rule]]\nname = \"x\"\naction = \"block\"\nfiles = [\"none.netset\"]\n";
    let bad = [
        ("[[interface]\n", "weir.toml:1"),
        (&odd, "interface \"odd0\" has hardware type 801"),
        (&no_file, "none.netset"),
    ];
    let mut left = Some(left);
    for (text, complaint) in bad {
        let arguments = written(&files, text);
        let mut failing = Weir::launch_in(&path.router, left.take().unwrap(), &arguments);
        assert!(!failing.wait().success(), "{}", failing.stderr());
        assert!(failing.stderr().contains(complaint), "{}", failing.stderr());
        assert!(!passes(&path), "{text}");
        left = Some(failing.kill());
    }
    let good = written(&files, &config(&BOTH, "auto"));
    let weir = Weir::start_in(&path.router, left.unwrap(), &good);
    assert_eq!(weir.dropped().packets, 3, "counters went on meanwhile");
}

#[test]
fn a_daemon_of_another_layout_is_replaced_without_a_gap() {
    let path = Path::new();
    path.wan.route("blackhole ::/0");
    let files = Scratch::new();
    let arguments = written(&files, &config(&BOTH, "auto"));
    let left = Weir::start(&path.router, &arguments).kill();
    let kept = left.path().join("counters.json");
    let text = fs::read_to_string(&kept).unwrap();
    let other = text.replace("\"abi\":", "\"abi\":9");
    assert_ne!(text, other);
    fs::write(&kept, other).unwrap();
    let mut weir = None;
    let sent = under_traffic(&path, || weir = Some(Weir::start_in(&path.router, left, &arguments)));
    let weir = weir.unwrap();
    assert!(
        weir.stderr().contains("the counters of an earlier weir are lost: they were made by another version of weir")
    );
    assert!(weir.dropped().packets <= sent.packets, "counted from the moment on that it took over");
    let sent = under_traffic(&path, || {});
    assert!(weir.dropped().packets >= sent.packets);
}

#[test]
fn a_device_that_the_next_daemon_does_not_filter_on_is_freed() {
    let path = Path::new();
    let files = Scratch::new();
    let left = Weir::start(&path.router, written(&files, &config(&BOTH, "auto"))).kill();
    let arguments = written(&files, &config(&["wan0"], "auto"));
    let weir = Weir::start_in(&path.router, left, &arguments);
    assert_eq!(weir.links(path.router.index("lan0")).len(), 0);
    assert!(path.router.link("lan0")["xdp"].is_null(), "{}", path.router.link("lan0"));
    let links = pins(weir.run_dir()).into_iter().filter(|pin| pin.starts_with("link_")).collect::<Vec<_>>();
    assert_eq!(links, [format!("link_xdp-native_{}", path.router.index("wan0"))]);
}

#[test]
fn a_device_is_attached_in_another_way_by_the_next_daemon() {
    let path = Path::new();
    let files = Scratch::new();
    let left = Weir::start(&path.router, written(&files, &config(&BOTH, "xdp-native"))).kill();
    let weir = Weir::start_in(&path.router, left, written(&files, &config(&BOTH, "xdp-generic")));
    assert_eq!(BOTH.map(|device| weir.attach(device)), ["xdp-generic"; 2]);
    assert!(!passes(&path));
}

#[test]
fn a_pin_that_is_no_link_is_in_nobodys_way() {
    let path = Path::new();
    let files = Scratch::new();
    let arguments = written(&files, &config(&BOTH, "auto"));
    let left = Weir::start(&path.router, &arguments).kill();
    // The counters are lost with it, and told so; the filter is not.
    fs::rename(left.path().join("bpf/EVENTS"), left.path().join("bpf/link_tcx-ingress_9999")).unwrap();
    let weir = Weir::start_in(&path.router, left, &arguments);
    assert!(weir.stderr().contains("the counters of an earlier weir are lost"), "{}", weir.stderr());
    assert!(!passes(&path));
    let output = weir.verb(&["panic"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(passes(&path));
}

#[test]
fn a_device_that_vanished_while_no_daemon_ran_is_attached_when_it_is_back() {
    let path = Path::new();
    let files = Scratch::new();
    let arguments = written(&files, &config(&BOTH, "auto"));
    let left = Weir::start(&path.router, &arguments).kill();
    path.router.ip("link delete lan0");
    path.plug_lan();
    let weir = Weir::start_in(&path.router, left, &arguments);
    assert!(!passes(&path));
    let links = pins(weir.run_dir()).into_iter().filter(|pin| pin.starts_with("link_")).count();
    assert_eq!(links, 2, "{:?}", pins(weir.run_dir()));
}
