//! What a flood may not do: cost the filter its rate where drops are reported, or drive out a real client by forged ones. In a
//! program of its own, for it measures. Root: network namespaces, BPF programs, real frames.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_tests::cpu;
use weir_tests::frame::frame;
use weir_tests::generator::Flood;
use weir_tests::lab::{DEADLINE, LAN_V4, LISTED_V4, MAC_LAN, MAC_ROUTER_LAN, Path, wait_until};
use weir_tests::weir::{Scratch, Signal, Weir};

/// Frames a round, and rounds of each kind.
const FRAMES: u32 = 1_500_000;
const ROUNDS: usize = 5;

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
    let mut generator = Flood::new(&path.lan, "eth0", "flood", listed);
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
    let held = status["client_table"]["held"].as_u64().unwrap();
    assert!((256..=512).contains(&held), "{held}: each on one CPU or on both");
}

#[test]
fn forged_addresses_do_not_drive_out_a_real_client_and_every_packet_stays_in_the_books() {
    let (path, scratch) = (Path::new(), Scratch::new());
    path.wan.route("blackhole ::/0");
    let text = "[[interface]]\nname = \"lan0\"\nattach = \"xdp-native\"\n\
                [[rule]]\nname = \"tiktok\"\naction = \"block\"\nservices = [\"tiktok\"]\n";
    let config = scratch.file("weir.toml", text).display().to_string();
    let weir = Weir::start(&path.router, ["-c", config.as_str()]);
    let from = |client: Ipv4Addr| {
        frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(client, LISTED_V4).udp(443).payload(&[0; 18]).build()
    };
    let (socket, real) = (path.lan_socket(), from(LAN_V4));
    let mut generator = Flood::new(&path.lan, "eth0", "forge", from(Ipv4Addr::new(172, 16, 0, 0)));
    // Each CPU has a table of its own: a client that comes to another CPU is new there, and new ones are what is held off.
    cpu::take(0);
    let begun = Instant::now();
    let mut sent = 0;
    for _ in 0..5 {
        sent += socket.flood(&[&real], 100);
        generator.send(&path.lan, 300_000);
    }
    let took = begun.elapsed().as_secs_f64();
    let state = weir.run_dir().join("state").display().to_string();
    let report = weir.verb(&["report", "--format", "json", "--state-dir", &state]).json();
    let status = weir.status();
    println!("{} in {took:.1} s", status["client_table"]);
    let table = |field: &str| status["client_table"][field].as_u64().unwrap();
    let cpus = thread::available_parallelism().unwrap().get() as f64;
    let most = table("room") as f64 + cpus * (513.0 + 500.0 * (took + 1.0));
    let placed = table("held") + table("evicted");
    assert!(placed as f64 <= most, "{placed} places were given, {most:.0} may be");
    assert!(table("crowded") > 1_000_000, "most of 65,536 clients get no place");
    let packets = |value: &Value| value["packets"].as_u64().unwrap();
    let row = |client: &Value| {
        let rows = report["clients"].as_array().unwrap();
        rows.iter().find(|row| row["client"] == *client).map(|row| packets(&row["dropped"]))
    };
    assert_eq!(row(&"10.66.0.2".into()), Some(sent), "the real client has every packet");
    assert!(row(&Value::Null).unwrap() > 1_000_000, "those without a place are told as such");
    let clients: u64 = report["clients"].as_array().unwrap().iter().map(|row| packets(&row["dropped"])).sum();
    assert_eq!((clients, packets(&report["totals"]["dropped"])), (weir.dropped().packets, weir.dropped().packets));
}
