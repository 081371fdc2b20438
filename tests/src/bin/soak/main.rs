//! `cargo xtask soak`: a daemon that publishes every second under as many packets as a CPU makes, for as long as is asked, and what
//! it takes of the machine meanwhile. Fails where something grows, or a packet is miscounted. Compares with nothing.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "runs the lab; a step that fails must stop it where it stands, and what it made is undone on the way out"
)]

mod picture;
mod sample;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use sample::{Sample, Trend};
use weir_tests::cpu;
use weir_tests::generator::{Clients, Destination, Router};
use weir_tests::lab::{MAC_LAN, MAC_ROUTER_LAN, Path};
use weir_tests::weir::{Scratch, Signal, Weir};

/// Keeps a daemon under load, and watches what it takes.
#[derive(Parser)]
struct Arguments {
    /// How long, in seconds
    #[arg(long, default_value_t = 1200)]
    seconds: u64,
    /// The directory that the document and its picture are written to
    #[arg(long)]
    into: Option<PathBuf>,
}

/// Frames that a generator sends at once: a fraction of a second's.
const BURST: u32 = 200_000;
/// Of this many destinations one is not listed: it passes, at a tenth of the rate.
const DESTINATIONS: usize = 1024;
const UNLISTED_EVERY: usize = 64;
/// Networks in the list, by turns: each publish is another one.
const NETWORKS: [u32; 2] = [60_000, 40_000];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    weir_tests::require_root();
    let samples = soak(arguments.seconds);
    let trends = Trend::all(&samples);
    let text = document(&samples, &trends);
    print!("{text}");
    if let Some(directory) = &arguments.into {
        fs::create_dir_all(directory.join("soak")).unwrap();
        fs::write(directory.join("SOAK.md"), &text).unwrap();
        fs::write(directory.join("soak/soak.svg"), picture::svg(&trends, &samples)).unwrap();
    }
    if trends.iter().all(Trend::is_flat) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A configuration: a rule of its own for the generator's destinations, and one whose list changes.
fn config(turn: usize) -> String {
    format!(
        "[[interface]]\nname = \"lan0\"\nattach = \"xdp-native\"\n[http]\nlisten = \"off\"\n\
         [[rule]]\nname = \"flood\"\naction = \"block\"\nprefixes = [\"203.0.113.0/24\"]\n\
         [[rule]]\nname = \"many-{turn}\"\naction = \"block\"\nfiles = [\"many-{turn}.netset\"]\n"
    )
}

/// Networks of 256 addresses, one apart.
fn many(networks: u32) -> String {
    let mut text = String::new();
    for n in 0..networks {
        writeln!(text, "{}.{}.{}.0/24", 20 + (n >> 15), n >> 7 & 255, n << 1 & 255).unwrap();
    }
    text
}

fn destinations() -> Vec<Destination> {
    let of = |at: usize| {
        let listed = !at.is_multiple_of(UNLISTED_EVERY);
        let last = u8::try_from(at % 254 + 1).unwrap();
        Destination { address: if listed { [203, 0, 113, last] } else { [198, 51, 100, last] }.into(), listed }
    };
    (0..DESTINATIONS).map(of).collect()
}

/// Runs it; a sample for each second.
fn soak(seconds: u64) -> Vec<Sample> {
    let path = Path::new();
    // Native XDP on one end of a veth pair, and a generator on the other.
    path.lan.silence("eth0");
    path.router.route("blackhole 198.51.100.0/24");
    let files = Scratch::new();
    for (turn, networks) in NETWORKS.into_iter().enumerate() {
        files.file(&format!("many-{turn}.netset"), many(networks));
    }
    let file = files.file("weir.toml", config(0)).display().to_string();
    let weir = Weir::start(&path.router, ["-c", &file]);
    let done = AtomicBool::new(false);
    let device = path.lan.index("eth0");
    let (samples, sent, listed) = thread::scope(|scope| {
        let generator = scope.spawn(|| {
            let mut router = Router::new(DESTINATIONS, MAC_LAN, MAC_ROUTER_LAN, Clients::Lan([10, 66, 0]));
            router.aim(&destinations());
            let (mut sent, mut listed) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let burst = router.send(&path.lan, device, 0, sent, BURST);
                sent += burst.frames;
                listed += burst.listed;
            }
            (sent, listed)
        });
        cpu::leave(0);
        let begun = Instant::now();
        let mut samples = Vec::new();
        for second in 1..=seconds {
            files.file("weir.toml", config(usize::try_from(second).unwrap() % 2));
            weir.signal(Signal::SIGHUP);
            thread::sleep(Duration::from_secs(second).saturating_sub(begun.elapsed()));
            samples.push(Sample::take(&weir, second));
            if second % 60 == 0 {
                println!("soak: {} of {} min: {}", second / 60, seconds.div_ceil(60), samples.last().unwrap());
            }
        }
        done.store(true, Ordering::Relaxed);
        let (sent, listed) = generator.join().unwrap();
        (samples, sent, listed)
    });
    thread::sleep(Duration::from_secs(1));
    let (seen, dropped) = (weir.seen("lan0").packets, weir.dropped().packets);
    println!("soak: {sent} frames sent, {seen} seen; {listed} of them listed, {dropped} dropped");
    assert!(!weir.stderr().contains("reload refused") && !weir.stderr().contains("ERROR"), "{}", weir.stderr());
    // The router's neighbours may speak, too.
    assert!(seen >= sent && seen < sent + 10_000, "each frame is seen once");
    assert_eq!(dropped, listed, "each listed frame is dropped and counted once, none else");
    samples
}

fn document(samples: &[Sample], trends: &[Trend]) -> String {
    let Some(last) = samples.last() else { panic!("no sample was taken") };
    let rate = last.seen as f64 / last.second as f64;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut text = format!(
        "# Soak\n\nWritten by `cargo xtask soak`; edit that, not this.\n\n\
         The release daemon on one end of a veth pair, native XDP, on kernel {}. For {} minutes it got {:.2} million packets a \
         second, all that a generator on the same CPU made ({} in all), and published another ruleset each second ({} publishes; {} and {} \
         networks by turns). Each listed packet was dropped and counted once, and no other; nothing was refused.\n\n\
         What it takes of the machine is flat where the last quarter's median is no more above that of the second quarter than is \
         allowed: the first quarter fills caches.\n\n\
         | | second quarter | last quarter | largest | may grow by | |\n|---|---:|---:|---:|---:|---|\n",
        kernel.trim(),
        last.second / 60,
        rate / 1e6,
        last.seen,
        last.generation,
        NETWORKS[0],
        NETWORKS[1],
    );
    for trend in trends {
        writeln!(text, "{trend}").unwrap();
    }
    text.push_str("\n![What the daemon took, second by second](soak/soak.svg)\n");
    text
}
