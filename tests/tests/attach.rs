//! Every attach kind on real devices: that it filters, gives way, refuses with words, is proven to run, and leaves nothing.
//!
//! The daemon never takes clsact where tcx works, so that kind is attached through the library, in this process.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path as File;
use std::process::Command;
use std::thread;

use aya::maps::MapInfo;
use aya::programs::{ProgramInfo, loaded_programs};
use filter_common::abi::map;
use weir::catalog::Catalog;
use weir::config::Config;
use weir::datapath::attach::AttachKind;
use weir::datapath::publish::{Datapath, Wanted};
use weir::network;
use weir::process::RunDir;
use weir::ruleset::parts::Copies;
use weir::ruleset::{Guard, Ruleset, Sets, compile, resolve};
use weir_tests::echo::{tcp_echo, udp_echo};
use weir_tests::frame::{TPID_8021AD, frame};
use weir_tests::kernel::kind_of_tc;
use weir_tests::lab::{CONTROL, DEADLINE, LAN_V4, LISTED, LISTED_V4, MAC_LAN, MAC_ROUTER_LAN, PROBE, Path};
use weir_tests::netns::{Netns, veth};
use weir_tests::tagged::Encapsulation;
use weir_tests::wait_until;
use weir_tests::weir::{Output, Scratch, Signal, Weir, binary};

const TIKTOK: &str = "[[rule]]\nname = \"tiktok\"\naction = \"block\"\nservices = [\"tiktok\"]\n";

/// Starts the daemon with `attach` on the devices and the service blocked.
fn start(router: &Netns, devices: &[(&str, &str)]) -> Weir {
    let scratch = Scratch::new();
    Weir::start(router, ["-c", &config(&scratch, devices)])
}

fn config(scratch: &Scratch, devices: &[(&str, &str)]) -> String {
    let device = |(name, attach): &(&str, &str)| format!("[[interface]]\nname = \"{name}\"\nattach = \"{attach}\"\n");
    let text: String = devices.iter().map(device).collect();
    // Two of them run side by side: only one could have the page.
    scratch.file("weir.toml", text + TIKTOK + "[http]\nlisten = \"off\"\n").display().to_string()
}

/// The library with one kind on the devices, as the daemon uses it.
struct Library {
    datapath: Datapath,
    sets: Sets,
    wanted: Vec<Wanted>,
    // Behind the datapath: its pins are in it.
    run_dir: RunDir,
    _scratch: Scratch,
}

impl Library {
    fn start(router: &Netns, devices: &[&str], kind: AttachKind) -> Self {
        let scratch = Scratch::new();
        let run_dir = RunDir::take(&scratch.path().join("run")).unwrap();
        let all = router.enter(|| network::devices().unwrap());
        let wanted = |name: &&str| Wanted { device: all[*name].clone(), kinds: vec![kind], egress: false };
        let wanted = devices.iter().map(wanted).collect();
        let datapath = Datapath::new(run_dir.pins(), false, 64);
        let mut library = Self { datapath, sets: Sets::default(), wanted, run_dir, _scratch: scratch };
        library.publish(router, TIKTOK);
        library
    }

    fn compile(&mut self, rules: &str) -> Ruleset {
        let config = Config::parse(File::new("test.toml"), rules.as_bytes(), Catalog::embedded()).unwrap();
        let rules = resolve(&config, &Copies::new()).unwrap().rules();
        compile(&rules, &Guard::default(), &mut self.sets, &BTreeMap::new()).unwrap()
    }

    fn publish(&mut self, router: &Netns, rules: &str) {
        let ruleset = self.compile(rules);
        let refusals = router.enter(|| {
            let staged = self.datapath.stage(&ruleset, &self.wanted).unwrap();
            self.datapath.publish(staged, &self.wanted).unwrap()
        });
        assert!(refusals.is_empty(), "{refusals:?}");
    }

    /// Programs in the kernel, verified, that count in this datapath's counters.
    fn programs(&self) -> usize {
        let hits = MapInfo::from_pin(self.run_dir.pins().join(format!("{}_0", map::HITS))).unwrap().id();
        let counts_there = |program: ProgramInfo| program.map_ids().unwrap().unwrap().contains(&hits);
        // Those of other tests come and go.
        loaded_programs()
            .filter_map(Result::ok)
            .filter(|program| program.name_as_str() == Some("weir_xdp_l2"))
            .map(counts_there)
            .filter(|&here| here)
            .count()
    }

    fn stop(self, router: &Netns) {
        router.enter(|| drop(self));
    }
}

#[test]
fn programs_are_verified_before_the_first_device_is_swapped() {
    let path = Path::new();
    let mut library = Library::start(&path.router, &["lan0", "wan0"], AttachKind::XdpNative);
    assert_eq!(library.programs(), 1, "one for both devices");
    let ruleset = library.compile(TIKTOK);
    let staged = path.router.enter(|| library.datapath.stage(&ruleset, &library.wanted).unwrap());
    assert_eq!(library.programs(), 2, "the next one is in the kernel, and no device runs it");
    path.router.enter(|| library.datapath.publish(staged, &library.wanted).unwrap());
    wait_until(DEADLINE, "the one before is gone", || library.programs() == 1);
    library.stop(&path.router);
}

/// Which addresses answer the client, by TCP and by UDP. All are asked at once: silence takes its time.
fn answering(path: &Path) -> BTreeSet<(IpAddr, &'static str)> {
    thread::scope(|scope| {
        let ask = |address| {
            let tcp = scope.spawn(move || tcp_echo(&path.lan, address, PROBE).then_some((address, "tcp")));
            [tcp, scope.spawn(move || udp_echo(&path.lan, address, PROBE).then_some((address, "udp")))]
        };
        let asked: Vec<_> = LISTED.into_iter().chain(CONTROL).flat_map(ask).collect();
        asked.into_iter().filter_map(|asked| asked.join().unwrap()).collect()
    })
}

fn passes_everything(path: &Path, when: &str) {
    // A new device takes a moment for IPv6, and a lost SYN is sent again after a second only.
    wait_until(DEADLINE, &format!("{when}: everything answers by TCP and UDP"), || answering(path).len() == 8);
}

fn drops_the_listed(path: &Path, when: &str) {
    let control: BTreeSet<_> = CONTROL.into_iter().flat_map(|address| [(address, "tcp"), (address, "udp")]).collect();
    assert_eq!(answering(path), control, "{when}: the control addresses answer, and nobody else");
}

/// No XDP program and no tc filter is on the device. (tcx shows by what it drops.)
fn is_bare(netns: &Netns, device: &str) -> bool {
    let filters = |hook| netns.run(Command::new("tc").args(["filter", "show", "dev", device, hook])).stdout;
    netns.link(device)["xdp"].is_null() && filters("ingress").is_empty() && filters("egress").is_empty()
}

#[test]
fn each_choice_takes_its_kind_and_every_end_leaves_nothing_behind() {
    let path = Path::new();
    passes_everything(&path, "before");
    for (choice, kind, end) in [
        ("auto", "xdp-native", None),
        ("xdp-native", "xdp-native", Some(Signal::SIGINT)),
        ("tc", kind_of_tc(&path.router, "lan0"), Some(Signal::SIGTERM)),
        ("xdp-generic", "xdp-generic", Some(Signal::SIGTERM)),
    ] {
        let mut weir = start(&path.router, &[("lan0", choice), ("wan0", choice)]);
        assert_eq!(["lan0", "wan0"].map(|device| weir.attach(device)), [kind, kind]);
        assert_eq!(is_bare(&path.router, "lan0"), kind == "tcx");
        drops_the_listed(&path, kind);
        let run_dir = weir.run_dir().to_owned();
        assert!(fs::read_to_string("/proc/mounts").unwrap().contains(run_dir.to_str().unwrap()));
        let status = match end {
            None => weir.stop(),
            Some(signal) => {
                weir.signal(signal);
                weir.wait()
            }
        };
        assert_eq!(status.code(), Some(0), "{end:?}");
        let table = weir.stdout();
        let row = table.lines().find(|line| line.starts_with("tiktok")).unwrap_or_else(|| panic!("{table}"));
        let counted: u64 = row.split_whitespace().nth(2).unwrap().parse().unwrap();
        assert!(counted >= 4, "the counters are printed at the end: {table}");
        assert!(["lan0", "wan0"].iter().all(|device| is_bare(&path.router, device)), "{kind}");
        assert!(!fs::read_to_string("/proc/mounts").unwrap().contains(run_dir.to_str().unwrap()), "a mount is left");
        let left: BTreeSet<_> = fs::read_dir(&run_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        // The lab keeps the state directory there, too; a daemon without a configuration file stores nothing.
        assert_eq!(
            left,
            ["state".into(), "stderr".into(), "stdout".into()].into(),
            "the test's own files, and no others"
        );
        passes_everything(&path, &format!("after {end:?}"));
    }
}

#[test]
fn a_filter_on_clsact_drops_is_replaced_in_place_and_goes_with_its_datapath() {
    let path = Path::new();
    passes_everything(&path, "before");
    let mut library = Library::start(&path.router, &["lan0", "wan0"], AttachKind::Tc);
    let shown = |device| {
        let output = path.router.run(Command::new("tc").args(["filter", "show", "dev", device, "ingress"]));
        String::from_utf8(output.stdout).unwrap()
    };
    let filters = |text: &str| text.lines().filter(|line| line.contains("handle")).count();
    drops_the_listed(&path, "clsact");
    assert_eq!(filters(&shown("lan0")), 1, "{}", shown("lan0"));
    let others = "[[rule]]\nname = \"others\"\naction = \"block\"\n\
                  prefixes = [\"198.51.100.0/24\", \"2001:db8:100::/48\"]\n";
    library.publish(&path.router, others);
    let answers: BTreeSet<_> = answering(&path).into_iter().map(|(address, _)| address).collect();
    assert_eq!(answers, LISTED.into(), "the next ruleset lists the control addresses");
    assert_eq!([filters(&shown("lan0")), filters(&shown("wan0"))], [1, 1], "replaced, not added");
    library.publish(&path.router, TIKTOK);
    drops_the_listed(&path, "clsact, back again");
    let sets = u32::try_from(library.sets.len()).unwrap();
    assert!(library.datapath.hits(sets).unwrap().tallies.values().map(|tally| tally.packets).sum::<u64>() >= 12);
    library.stop(&path.router);
    assert!(is_bare(&path.router, "lan0") && is_bare(&path.router, "wan0"), "{}", shown("lan0"));
    passes_everything(&path, "after");
}

#[test]
fn tagged_traffic_is_dropped_on_every_kind() {
    let encapsulations = [
        Encapsulation::plain().vlan(7),
        Encapsulation::plain().qinq(TPID_8021AD, 100).vlan(7),
        Encapsulation::plain().pppoe(3),
        Encapsulation::plain().qinq(0x9100, 1).qinq(TPID_8021AD, 2).vlan(3).vlan(4).pppoe(0xffff),
    ];
    thread::scope(|scope| {
        for encapsulation in &encapsulations {
            scope.spawn(move || drops_on_every_kind(encapsulation));
        }
    });
}

fn drops_on_every_kind(encapsulation: &Encapsulation) {
    let path = Path::encapsulated(encapsulation);
    passes_everything(&path, "before");
    let kinds =
        [("xdp-native", "xdp-native"), ("tc", kind_of_tc(&path.router, "wan0")), ("xdp-generic", "xdp-generic")];
    for (choice, kind) in kinds {
        let mut weir = start(&path.router, &[("wan0", choice)]);
        assert_eq!(weir.attach("wan0"), kind);
        drops_the_listed(&path, &format!("{kind}, {encapsulation:?}"));
        assert!(weir.rule("tiktok", "in").packets >= 4);
        assert!(weir.stop().success());
    }
    let library = Library::start(&path.router, &["wan0"], AttachKind::Tc);
    drops_the_listed(&path, &format!("clsact, {encapsulation:?}"));
    library.stop(&path.router);
    passes_everything(&path, "after");
}

#[test]
fn a_device_without_ethernet_header_is_filtered_by_every_kind_that_it_takes() {
    let path = Path::encapsulated(&Encapsulation::plain().pppoe(3));
    passes_everything(&path, "before");
    // The tun driver takes native XDP on tap devices only, so `auto` goes on.
    let refused = refusal(&path.router, &[("uplink0", "xdp-native")]);
    assert!(
        refused.stderr.contains("interface \"uplink0\": xdp-native was refused: its driver has no XDP"),
        "{refused:?}"
    );
    let tc = kind_of_tc(&path.router, "uplink0");
    for (choice, kind) in [("auto", tc), ("tc", tc), ("xdp-generic", "xdp-generic")] {
        let mut weir = start(&path.router, &[("uplink0", choice)]);
        assert_eq!(weir.attach("uplink0"), kind);
        drops_the_listed(&path, kind);
        let seen = weir.status()["devices"][0]["parsed"].clone();
        assert_eq!((&seen["non_ip"], &seen["truncated"]), (&0.into(), &0.into()), "{kind}");
        assert!(weir.rule("tiktok", "in").packets >= 4);
        assert!(weir.stop().success());
    }
    let library = Library::start(&path.router, &["uplink0"], AttachKind::Tc);
    drops_the_listed(&path, "clsact");
    library.stop(&path.router);
    passes_everything(&path, "after");
}

#[test]
fn one_process_filters_several_devices_each_by_its_own_kind() {
    let path = Path::new();
    let other = Netns::new("other");
    veth((&other, "eth0", MAC_LAN), (&path.router, "opt0", [2, 0, 0, 0, 9, 9]));
    let mut weir = start(&path.router, &[("lan0", "auto"), ("wan0", "tc"), ("opt0", "xdp-generic")]);
    let kinds = ["lan0", "wan0", "opt0"].map(|device| weir.attach(device));
    assert_eq!(kinds, ["xdp-native", kind_of_tc(&path.router, "wan0"), "xdp-generic"]);
    let sockets = [path.lan_socket(), path.wan_socket(), weir_tests::socket::PacketSocket::open(&other, "eth0")];
    let listed = frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(LAN_V4, LISTED_V4).udp(9).build();
    for (packets, socket) in (3..).zip(&sockets) {
        socket.flood(&[&listed], packets);
    }
    weir.wait_for_rule("tiktok", "out", 3 + 4 + 5);
    let status = weir.status();
    let mut counted: Vec<_> = status["counters"].as_array().unwrap().iter().collect();
    counted.sort_by_key(|counter| counter["packets"].as_u64());
    let counted: Vec<_> =
        counted.iter().map(|counter| (counter["device"].as_str().unwrap(), &counter["packets"])).collect();
    assert_eq!(counted, [("lan0", &3.into()), ("wan0", &4.into()), ("opt0", &5.into())]);
    assert!(weir.stop().success());
}

/// What a daemon says that must not start.
fn refusal(router: &Netns, devices: &[(&str, &str)]) -> Output {
    let scratch = Scratch::new();
    refused(router, ["-c", &config(&scratch, devices), "--run-dir", scratch.path().join("run").to_str().unwrap()])
}

fn refused<'a>(router: &Netns, arguments: impl IntoIterator<Item = &'a str>) -> Output {
    let state = Scratch::new();
    let mut command = Command::new("timeout");
    command.arg("20").arg(binary()).arg("run").args(arguments).arg("--state-dir").arg(state.path());
    let output = router.run(&command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let output =
        Output { code: output.status.code().unwrap(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
    assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{output:?}");
    let lines: Vec<_> = output.stderr.lines().filter(|line| line.starts_with("weir: ")).collect();
    assert_eq!(lines.len(), 1, "one line: {output:?}");
    output
}

#[test]
fn a_program_of_another_is_never_replaced() {
    let path = Path::new();
    let mut first = start(&path.router, &[("lan0", "xdp-native")]);
    let program = path.router.link("lan0")["xdp"].clone();
    for choice in ["xdp-native", "xdp-generic"] {
        let output = refusal(&path.router, &[("lan0", choice)]);
        let wanted = format!(
            "interface \"lan0\": {choice} was refused: another XDP program is attached and weir does not replace it; \
             detach it (ip link set DEV xdp off)"
        );
        assert!(output.stderr.contains(&wanted), "{output:?}");
        assert_eq!(path.router.link("lan0")["xdp"], program, "{choice}");
    }
    let mut second = start(&path.router, &[("lan0", "auto")]);
    assert_eq!(second.attach("lan0"), kind_of_tc(&path.router, "lan0"));
    assert!(second.stderr().contains("interface \"lan0\": xdp-native was refused: another XDP"), "{}", second.stderr());
    assert_eq!(path.router.link("lan0")["xdp"], program);
    drops_the_listed(&path, "both");
    assert!(first.rule("tiktok", "out").packets >= 4, "the first still drops");
    assert_eq!(second.dropped().packets, 0, "nothing is left for the second");
    assert!(first.stop().success());
    drops_the_listed(&path, "the second");
    assert!(second.stop().success());
    passes_everything(&path, "after");
}

#[test]
fn refusals_name_the_device_or_directory_and_the_remedy() {
    let path = Path::new();
    let _odd = path.router.tun_of_hardware("odd0", 801);
    let output = refusal(&path.router, &[("lan0", "auto"), ("odd0", "auto")]);
    let wanted = "interface \"odd0\" has hardware type 801, which weir cannot read; \
                  attach to the Ethernet or IP device above it";
    assert!(output.stderr.contains(wanted), "{output:?}");
    assert!(is_bare(&path.router, "lan0"), "a refused start leaves no device attached");
    let mut weir = start(&path.router, &[("lan0", "auto")]);
    let run_dir = weir.run_dir().to_str().unwrap().to_owned();
    let output = refused(&path.router, ["--iface", "wan0", "--service", "tiktok", "--run-dir", &run_dir]);
    let wanted = format!("weir is already running on {run_dir}; stop it with `weir stop`, or choose another --run-dir");
    assert!(output.stderr.contains(&wanted), "{output:?}");
    assert_eq!((weir.attach("lan0"), weir.generation()), ("xdp-native".into(), 1), "the first goes on");
    assert!(weir.stop().success());
}

/// Sends listed packets from the client until the condition holds.
fn under_traffic(path: &Path, what: &str, mut condition: impl FnMut() -> bool) {
    let socket = path.lan_socket();
    let listed = frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(LAN_V4, LISTED_V4).udp(9).build();
    wait_until(DEADLINE, what, || {
        socket.flood(&[&listed], 8);
        condition()
    });
}

#[test]
fn a_program_that_does_not_run_gives_way_to_the_next_kind_with_loud_words() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let mut weir = Weir::start(&path.router, ["-c", &config(&scratch, &[("lan0", "auto")])]);
    let index = path.router.index("lan0");
    drops_the_listed(&path, "at first");
    // The kind that is told is the one that is tried first. A kernel without tcx refuses that, each time.
    let kinds: &[_] = match kind_of_tc(&path.router, "lan0") {
        "tcx" => &[("xdp-native", "tcx", "tcx"), ("tcx", "tc", "tc"), ("tc", "xdp-generic", "xdp-generic")],
        _ => &[("xdp-native", "tcx", "tc"), ("tc", "tcx", "xdp-generic")],
    };
    for &(kind, tried, next) in kinds {
        assert_eq!(weir.attach("lan0"), kind);
        if kind == "tc" {
            let _ = path.router.run(Command::new("tc").args(["filter", "del", "dev", "lan0", "ingress"]));
        } else {
            assert_eq!(weir.sever(index), 1, "{kind}");
        }
        let status = || weir.verb(&["status", "--json"]).json()["devices"][0].clone();
        under_traffic(&path, &format!("{next} follows {kind}"), || status()["attach"] == next);
        let log = weir.stderr();
        let told = |line: &&str| line.contains("NOT ENFORCING") && line.contains(&format!("kind={kind} next={tried}"));
        assert_eq!(log.lines().filter(told).count(), 1, "{log}");
        drops_the_listed(&path, next);
        under_traffic(&path, "the program is proven to run", || status()["state"] == "live");
    }
    assert_eq!(weir.sever(index), 1);
    // Without tcx it finds out only when it tries that once more.
    let tcx = kind_of_tc(&path.router, "lan0") == "tcx";
    let told = if tcx {
        "NOT ENFORCING: packets arrive and the program does not see them; no other"
    } else {
        "cannot attach again"
    };
    under_traffic(&path, "the last kind is dead", || {
        let dead = weir.stderr().contains(told);
        dead && weir.verb(&["status"]).code == 3
    });
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "a reload begins anew", || weir.verb(&["status"]).code == 0);
    assert_eq!(weir.attach("lan0"), "xdp-native");
    drops_the_listed(&path, "after the reload");
    assert!(weir.stop().success());
}

#[test]
fn a_device_that_goes_away_and_comes_back_is_filtered_again() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let plug = || veth((&path.lan, "opt0", MAC_LAN), (&path.router, "opt0", [2, 0, 0, 0, 9, 9]));
    plug();
    let mut weir = Weir::start(&path.router, ["-c", &config(&scratch, &[("lan0", "auto"), ("opt0", "auto")])]);
    path.router.ip("link delete opt0");
    wait_until(DEADLINE, "the loss is told", || weir.stderr().contains("NOT ENFORCING: the device is gone"));
    let status = || weir.verb(&["status", "--json"]);
    assert_eq!((status().code, &status().json()["devices"][1]["attach"]), (3, &"none".into()));
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "a reload goes on without the device", || status().json()["generation"] == 2);
    drops_the_listed(&path, "without the other device");
    plug();
    wait_until(DEADLINE, "the device is attached again", || status().code == 0);
    assert_eq!(weir.attach("opt0"), "xdp-native");
    let counted = weir.dropped().packets;
    let socket = weir_tests::socket::PacketSocket::open(&path.lan, "opt0");
    socket.flood(&[frame().ipv4(LAN_V4, LISTED_V4).udp(9).build()], 5);
    wait_until(DEADLINE, "it drops again", || weir.dropped().packets == counted + 5);
    assert!(weir.stop().success());
}
