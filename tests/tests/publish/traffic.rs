//! Publishes under traffic: exact counts at both ends, whatever the attach kind.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path as File;
use std::time::Instant;

use weir::catalog::Catalog;
use weir::config::Config;
use weir::datapath::attach::AttachKind;
use weir::datapath::publish::{Datapath, Wanted};
use weir::network;
use weir::process::RunDir;
use weir::ruleset::parts::Copies;
use weir::ruleset::{Guard, Ruleset, Sets, compile, resolve};
use weir_tests::lab::{DEADLINE, LISTED_V4, MAC_LAN, Path};
use weir_tests::netns::{Netns, veth};
use weir_tests::socket::PacketSocket;
use weir_tests::traffic::{to, under_traffic};
use weir_tests::wait_until;
use weir_tests::weir::{Counter, Scratch, Signal};

use crate::daemon::{PEER, Reloading, rule};

/// The library as the daemon uses it.
struct Library {
    datapath: Datapath,
    sets: Sets,
    _run_dir: RunDir,
    _scratch: Scratch,
}

impl Library {
    fn new() -> Self {
        let scratch = Scratch::new();
        let run_dir = RunDir::take(&scratch.path().join("run")).unwrap();
        let datapath = Datapath::new(run_dir.pins(), false, 64);
        Self { datapath, sets: Sets::default(), _run_dir: run_dir, _scratch: scratch }
    }

    fn compile(&mut self, rules: &str) -> Ruleset {
        let config = Config::parse(File::new("test.toml"), rules.as_bytes(), Catalog::embedded()).unwrap();
        let rules = resolve(&config, &Copies::new()).unwrap().rules();
        compile(&rules, &Guard::default(), &mut self.sets, &BTreeMap::new()).unwrap()
    }

    fn publish(&mut self, ruleset: &Ruleset, wanted: &[Wanted]) {
        let staged = self.datapath.stage(ruleset, wanted).unwrap();
        let refusals = self.datapath.publish(staged, wanted).unwrap();
        assert!(refusals.is_empty(), "{refusals:?}");
    }

    /// Everything counted so far.
    fn counted(&self) -> Counter {
        let hits = self.datapath.hits(u32::try_from(self.sets.len()).unwrap()).unwrap();
        hits.tallies.values().fold(Counter::default(), |sum, tally| Counter {
            packets: sum.packets + tally.packets,
            bytes: sum.bytes + tally.bytes,
        })
    }
}

/// Rulesets that all list the peer, each in another set, with tables of other sizes.
fn variants() -> [String; 3] {
    let many: Vec<String> = (0..200).map(|n| format!("\"203.0.{n}.128/25\"")).collect();
    [
        rule("a", "block", PEER),
        rule("b", "block", PEER) + &rule("c", "monitor", "\"71.0.0.0/8\""),
        rule("d", "block", &format!("{PEER}, {}", many.join(", "))) + &rule("e", "block", "\"71.18.0.0/16\""),
    ]
}

fn reloads_leak_and_lose_nothing(attach: &str, kind: &str, reloads: usize) {
    let path = Path::new();
    path.wan.route("blackhole ::/0");
    let device = |name| format!("[[interface]]\nname = \"{name}\"\nattach = \"{attach}\"\n");
    let configs = variants().map(|rules| device("lan0") + &device("wan0") + &rules);
    let daemon = Reloading::start(&path.router, &configs[0]);
    let begun = Instant::now();
    let mut counted = Counter::default();
    let sent = under_traffic(&path, || {
        for (generation, config) in (2..).zip(configs.iter().cycle().skip(1).take(reloads)) {
            daemon.scratch.file("weir.toml", config);
            daemon.weir.signal(Signal::SIGHUP);
            let line = format!("published generation={generation} ");
            wait_until(DEADLINE, &line, || daemon.weir.stderr().contains(&line));
            if generation % 50 == 0 {
                let now = daemon.weir.dropped();
                assert!(now.packets >= counted.packets && now.bytes >= counted.bytes, "{now:?} after {counted:?}");
                counted = now;
            }
        }
    });
    println!("{kind}: {reloads} publishes in {:?}, {} frames of each sort", begun.elapsed(), sent.packets);
    assert!(sent.packets > reloads as u64, "{reloads} publishes met {sent:?}");
    assert_eq!(daemon.weir.dropped(), sent, "each listed frame is counted once, by {kind}");
    assert_eq!(["lan0", "wan0"].map(|device| daemon.weir.attach(device)), [kind, kind]);
}

#[test]
fn a_thousand_publishes_under_traffic_leak_no_listed_frame_and_drop_no_other() {
    reloads_leak_and_lose_nothing("xdp-native", "xdp-native", 1000);
}

#[test]
fn publishes_on_tcx_and_generic_xdp_leak_no_listed_frame_and_drop_no_other() {
    reloads_leak_and_lose_nothing("tc", "tcx", 60);
    reloads_leak_and_lose_nothing("xdp-generic", "xdp-generic", 60);
}

#[test]
fn publishes_on_clsact_leak_no_listed_frame_and_drop_no_other() {
    let path = Path::new();
    path.wan.route("blackhole ::/0");
    let mut library = Library::new();
    let rulesets = variants().map(|rules| library.compile(&rules));
    path.router.enter(|| {
        let all = network::devices().unwrap();
        let wanted = ["lan0", "wan0"].map(|name| Wanted {
            device: all[name].clone(),
            kinds: vec![AttachKind::Tc],
            egress: false,
        });
        library.publish(&rulesets[0], &wanted);
        let sent = under_traffic(&path, || {
            let rulesets = rulesets.iter().cycle().skip(1).take(30);
            rulesets.for_each(|ruleset| library.publish(ruleset, &wanted));
        });
        assert!(sent.packets > 30, "{sent:?}");
        assert_eq!(library.counted(), sent);
        drop(library);
    });
}

#[test]
fn counters_go_on_when_rules_and_devices_outgrow_them_and_after_a_publish_that_fails() {
    let path = Path::new();
    let names = ["lan0", "wan0", "opt0", "opt1"];
    let other = Netns::new("other");
    for name in ["opt0", "opt1"] {
        veth((&other, name, MAC_LAN), (&path.router, name, [2, 0, 0, 0, 9, 9]));
    }
    let peer = rule("peer", "block", PEER);
    // Rule n lists n + 1 neighbours of the peer: every address is in another combination of rules.
    let many: String = (0..100).map(|n| rule(&format!("r{n}"), "block", &format!("\"203.0.{n}.0/24\""))).collect();
    let mut library = Library::new();
    let [few, many] = [peer.clone(), peer + &many].map(|rules| library.compile(&rules));
    let wanted = path.router.enter(|| {
        let all = network::devices().unwrap();
        names.map(|name| Wanted { device: all[name].clone(), kinds: vec![AttachKind::XdpNative], egress: false })
    });
    let sockets =
        [path.lan_socket(), path.wan_socket(), PacketSocket::open(&other, "opt0"), PacketSocket::open(&other, "opt1")];
    let listed = to(LISTED_V4, &[7; 50]);
    let new = to(Ipv4Addr::new(203, 0, 99, 1), &[7; 90]);
    let mut expected = Counter::default();
    path.router.enter(|| {
        let mut send = |library: &Library, socket: usize, frame: &Vec<u8>, packets: u64| {
            sockets[socket].flood(&[frame], packets);
            expected.packets += packets;
            expected.bytes += packets * frame.len() as u64;
            wait_until(DEADLINE, "the frames are counted", || library.counted().packets >= expected.packets);
            assert_eq!(library.counted(), expected);
        };
        library.publish(&few, &wanted[..1]);
        send(&library, 0, &listed, 10);
        // A device of this index makes a map larger than any kernel takes. The old counters are pinned elsewhere by then.
        let mut impossible = wanted[0].clone();
        impossible.device.index = u32::MAX - 1;
        let error = library.datapath.stage(&many, &[impossible]).err().unwrap().to_string();
        assert!(error.starts_with("cannot load the BPF object"), "{error}");
        send(&library, 0, &listed, 11);
        library.publish(&few, &wanted[..1]);
        send(&library, 0, &listed, 12);
        library.publish(&many, &wanted);
        assert!(library.sets.len() > 64);
        for socket in 0..4 {
            send(&library, socket, &listed, 13 + socket as u64);
            send(&library, socket, &new, 20);
        }
        library.publish(&few, &wanted[1..]);
        send(&library, 1, &listed, 5);
    });
    let in_all: u64 = path.router.enter(|| {
        let ingress = |wanted: &Wanted| library.datapath.ports(&wanted.device.name).unwrap().ingress;
        wanted.iter().map(|wanted| library.datapath.seen(ingress(wanted)).unwrap().packets[0]).sum()
    });
    assert_eq!(in_all, expected.packets, "what is seen goes on, too");
    path.router.enter(|| drop(library));
}
