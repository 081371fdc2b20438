//! The same on a clsact qdisc, which kernels without tcx need. The daemon itself would take tcx here.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path as File;
use std::process::Command;

use weir::catalog::Catalog;
use weir::config::Config;
use weir::datapath::attach::AttachKind;
use weir::datapath::publish::{Datapath, Wanted};
use weir::network;
use weir::process::RunDir;
use weir::ruleset::parts::Copies;
use weir::ruleset::{Guard, Sets, compile, resolve};
use weir_tests::lab::Path;
use weir_tests::netns::Netns;
use weir_tests::traffic::under_traffic;
use weir_tests::weir::{Scratch, weir};

use crate::{BOTH, PEER, passes};

fn publish(datapath: &mut Datapath, wanted: &[Wanted]) {
    let config = Config::parse(File::new("test.toml"), PEER.as_bytes(), Catalog::embedded()).unwrap();
    let rules = resolve(&config, &Copies::new()).unwrap().rules();
    let ruleset = compile(&rules, &Guard::default(), &mut Sets::default(), &BTreeMap::new()).unwrap();
    let staged = datapath.stage(&ruleset, wanted).unwrap();
    let refusals = datapath.publish(staged, wanted).unwrap();
    assert!(refusals.is_empty(), "{refusals:?}");
}

/// How many filters stand on a hook of a device's clsact qdisc.
pub(crate) fn filters(router: &Netns, device: &str, hook: &str) -> usize {
    let shown = router.run(Command::new("tc").args(["filter", "show", "dev", device, hook]));
    String::from_utf8_lossy(&shown.stdout).lines().filter(|line| line.contains("handle")).count()
}

#[test]
fn filters_on_clsact_stay_and_are_replaced_without_a_gap_and_those_that_nobody_wants_are_removed() {
    let path = Path::new();
    path.wan.route("blackhole ::/0");
    let scratch = Scratch::new();
    let directory = scratch.path().join("run");
    let router = &path.router;
    let shown = || BOTH.map(|name| filters(router, name, "ingress"));
    router.enter(|| {
        let all = network::devices().unwrap();
        let wanted = BOTH.map(|name| Wanted { device: all[name].clone(), kinds: vec![AttachKind::Tc], egress: false });
        let start = |wanted: &[Wanted]| {
            let run_dir = RunDir::take(&directory).unwrap();
            let mut datapath = Datapath::new(run_dir.pins(), false, 64);
            publish(&mut datapath, wanted);
            (run_dir, datapath)
        };
        let leave = |(mut run_dir, mut datapath): (RunDir, Datapath)| {
            datapath.leave();
            run_dir.stay(true);
        };
        leave(start(&wanted));
        assert!(!passes(&path), "the filters stay");
        let mut second = None;
        let sent = under_traffic(&path, || second = Some(start(&wanted)));
        assert!(sent.packets > 0);
        assert_eq!(shown(), [1, 1], "replaced, not doubled");
        leave(second.unwrap());
        let (run_dir, datapath) = start(&wanted[..1]);
        assert_eq!(shown(), [1, 1]);
        datapath.sweep(&all).unwrap();
        assert_eq!(shown(), [1, 0]);
        drop((datapath, run_dir));
        assert_eq!(shown(), [0, 0]);
        leave(start(&wanted));
        let output = weir([OsStr::new("panic"), OsStr::new("--run-dir"), directory.as_os_str()]);
        assert_eq!((output.code, &*output.stdout), (0, "free: lan0, wan0\n"), "{output:?}");
        assert_eq!(shown(), [0, 0]);
        assert!(passes(&path));
    });
}
