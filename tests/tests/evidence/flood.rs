//! Events cost the filter nothing that counts: a flood of drops is dropped as fast with them as without.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use weir_tests::frame::frame;
use weir_tests::lab::{DEADLINE, LAN_V4, LISTED_V4, MAC_LAN, MAC_ROUTER_LAN, Path, wait_until};
use weir_tests::netns::Netns;
use weir_tests::weir::{Scratch, Signal, Weir};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-bench"));

/// Frames a round, and rounds of each kind.
const FRAMES: u32 = 1_500_000;
const ROUNDS: usize = 5;

/// A generator that sends frames out of a device faster than a socket can.
struct Generator {
    ebpf: Ebpf,
    context: [u32; 6],
    frame: Vec<u8>,
}

impl Generator {
    fn new(netns: &Netns, device: &str, frame: Vec<u8>) -> Self {
        let mut ebpf = EbpfLoader::new().btf(None).load(OBJECT).unwrap();
        let program: &mut Xdp = ebpf.program_mut("flood").unwrap().try_into().unwrap();
        program.load().unwrap();
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, u32::try_from(frame.len()).unwrap(), 0, netns.index(device), 0, 0];
        Self { ebpf, context, frame }
    }

    fn send(&mut self, netns: &Netns, count: u32) {
        let program: &mut Xdp = self.ebpf.program_mut("flood").unwrap().try_into().unwrap();
        let context = self.context.map(u32::to_ne_bytes);
        netns.enter(|| {
            let options = TestRunOptions {
                data_in: Some(&self.frame),
                ctx_in: Some(context.as_flattened()),
                repeat: count,
                attrs: TestRunAttrs::new().xdp_live_frames(64),
                ..TestRunOptions::default()
            };
            program.test_run(options).unwrap();
        });
    }
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_flood_is_dropped_as_fast_with_events_as_without_and_memory_stays_bounded() {
    let (path, scratch) = (Path::new(), Scratch::new());
    path.wan.route("blackhole ::/0");
    let configuration = |rate: u32| {
        let text = format!(
            "[[interface]]\nname = \"lan0\"\nattach = \"xdp-native\"\n\
             [[rule]]\nname = \"tiktok\"\naction = \"block\"\nservices = [\"tiktok\"]\n\
             [events]\nrate = {rate}\nfile = \"events.json\"\n"
        );
        scratch.file("weir.toml", text).display().to_string()
    };
    let config = configuration(10);
    let weir = Weir::start(&path.router, ["-c", config.as_str()]);
    let listed = frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(LAN_V4, LISTED_V4).udp(443).payload(&[0; 18]).build();
    let mut generator = Generator::new(&path.lan, "eth0", listed);
    // By turns without events and with them: as fast as it goes, and a million a second.
    let (mut flat_out, mut paced) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    generator.send(&path.lan, FRAMES / 5);
    let before = resident_kib(weir.pid());
    for (generation, round) in (2..).zip(0..2 * ROUNDS) {
        let events = round % 2;
        let _ = configuration(if events == 1 { 10 } else { 0 });
        weir.signal(Signal::SIGHUP);
        wait_until(DEADLINE, "published", || weir.generation() == generation);
        let rate = |send: &mut dyn FnMut()| {
            let (counted, begun) = (weir.dropped().packets, Instant::now());
            send();
            let took = begun.elapsed().as_secs_f64();
            (weir.dropped().packets - counted) as f64 / took
        };
        flat_out[events].push(rate(&mut || generator.send(&path.lan, FRAMES)));
        paced[events].push(rate(&mut || {
            let begun = Instant::now();
            // Each call takes tens of milliseconds to begin and to end.
            for step in 1..=8 {
                generator.send(&path.lan, 250_000);
                thread::sleep((Duration::from_millis(250) * step).saturating_sub(begun.elapsed()));
            }
        }));
    }
    let after = resident_kib(weir.pid());
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let [without, with] = flat_out.each_mut().map(median);
    let [paced_without, paced_with] = paced.each_mut().map(median);
    let status = weir.status();
    println!(
        "drops a second, flat out: {without:.0} without events, {with:.0} with, ratio {:.3}; of a million: \
         {paced_without:.0} and {paced_with:.0}, ratio {:.3}; memory {before} KiB, then {after} KiB; {}; {}",
        with / without,
        paced_with / paced_without,
        status["events"],
        status["client_table"]
    );
    assert!(without >= 1e6, "the generator is too slow for a flood: {without:.0}");
    assert!(paced_with / paced_without >= 0.95, "{paced_with:.0} of {paced_without:.0}");
    // Looser than what is measured: both cores are busy, and the daemon writes what is reported.
    assert!(with / without >= 0.85, "{with:.0} of {without:.0}");
    assert!(after < before + 4096, "{before} KiB, then {after} KiB");
    assert!(status["events"]["suppressed"].as_u64().unwrap() > 1_000_000);
    assert_eq!(status["clients"].as_array().unwrap().len(), 100, "of 256");
    assert_eq!(status["client_table"]["held"], 256);
}
