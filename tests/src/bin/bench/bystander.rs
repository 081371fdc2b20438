//! Section *bystander*: what weir costs those whom it does not filter. Allowed TCP through a router, weir off, loaded and under
//! a flood. Must not measure what is dropped.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{panic, thread};

use aya::Ebpf;
use weir_tests::cpu;
use weir_tests::echo::ECHO_PORT;
use weir_tests::frame::frame;
use weir_tests::generator::Flood;
use weir_tests::lab::{CONTROL_V4, DEADLINE, LAN_V4, MAC_LAN, MAC_ROUTER_LAN, Path};
use weir_tests::netns::Netns;
use weir_tests::programs;
use weir_tests::wait_until;
use weir_tests::weir::{Scratch, Weir};

use crate::Section;
use crate::list::List;
use crate::measure::{self, Effort};
use crate::path::lane;
use crate::results::{Group, Run, Series};
use crate::stats;

pub(crate) const SECTION: Section = Section { name: "bystander", measure, preface: PREFACE };

/// Candidates: states of the router.
pub(crate) const OFF: &str = "weir off";
/// What any XDP program costs a veth, which copies each packet of a socket for it.
const NULL: &str = "null XDP pass";
const FEW: &str = "weir, 10k prefixes";
const ALL: &str = "weir, all prefixes";
pub(crate) const FLOODED: &str = "weir, all prefixes, under the flood";

/// Workloads.
pub(crate) const THROUGHPUT: &str = "throughput of TCP (more is better)";
pub(crate) const MEDIAN: &str = "one request and its answer";
const TAIL: &str = "one request and its answer, 99th percentile";

const PREFACE: &str = "A client, a router and a server in namespaces; weir, where it is loaded, is the daemon on the router's \
device towards the client. Throughput is what iperf3's receiver counts of one TCP stream from client to server in a second. \
Latency is that of a byte that the server sends back over a connection that stays open, thousands of times in a row; each \
sample is the median, or the 99th percentile, of a round. No list holds either end. Client and server send frames no longer \
than the wire's, in every state, for no network card takes longer ones. A veth copies what a socket sent before an XDP program \
sees it, which a card need not do: \"null XDP pass\" is what that costs without weir. The flood is a million frames a second \
from 256 clients to a listed destination, made beside the client and sent through the same device, in bursts of 2^16 at full \
speed; how much of it was dropped is told, the rest found no room in the device's queue, and takes the bystander's frames' room. \
Client, router, server and flood share two CPUs; on a router the flood is made elsewhere.\n";

/// Frames a second of the flood, and those that are made at a time.
const FLOOD: f64 = 1e6;
const PART: u32 = 1 << 16;
/// Questions of one round.
const QUESTIONS: usize = 20_000;

/// A router in one state, its client and its server.
struct Bystander {
    name: &'static str,
    // Before the path it is attached in.
    weir: Option<Weir>,
    _null: Option<Ebpf>,
    _iperf: Server,
    stream: TcpStream,
    path: Path,
    flood: Option<Flood>,
    /// Frames of the flood that were dropped a second, each time.
    paces: Vec<f64>,
    _scratch: Scratch,
}

/// iperf3's server.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bystander {
    fn new(name: &'static str, list: Option<&List>, flooded: bool) -> Self {
        let path = Path::new();
        // Of one segment each: what the wire carries.
        let segments =
            ["tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-generic-segmentation"].map(|name| (name, false));
        for end in [&path.lan, &path.wan] {
            end.features("eth0", &segments);
        }
        // Polled in every state, as a card is: a veth takes frames of the flood only then.
        path.router.features("lan0", &[("rx-gro", true)]);
        path.router.features("wan0", &[("rx-gro", true)]);
        let scratch = Scratch::new();
        let weir = list.map(|list| {
            scratch.file("listed.txt", list.text());
            let config = "[[interface]]\nname = \"lan0\"\nattach = \"xdp-native\"\n[[rule]]\nname = \"listed\"\n\
                          action = \"block\"\nfiles = [\"listed.txt\"]\nallow_wide = true\n";
            Weir::start(&path.router, ["-c", scratch.file("weir.toml", config).to_str().unwrap()])
        });
        let null = (name == NULL).then(|| {
            let mut ebpf = programs::load(&[], &["pass_all"]);
            lane::attach(&mut ebpf, "pass_all", &path.router, "lan0").unwrap();
            ebpf
        });
        let listed = list.map(|list| list.destinations(1, 100)).and_then(|listed| listed.first().copied());
        let flood = listed.filter(|_| flooded).map(|to| {
            let frame = frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(LAN_V4, to.address).udp(9).payload(&[0; 18]).build();
            Flood::new(&path.lan, "eth0", "flood", frame)
        });
        let mut server = path.wan.command("iperf3");
        server.arg("-s").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let iperf = Server(server.spawn().unwrap());
        let stream = connect(&path.lan);
        let bystander =
            Self { name, weir, _null: null, _iperf: iperf, stream, path, flood, paces: Vec::new(), _scratch: scratch };
        wait_until(DEADLINE, "iperf3 serves", || bystander.iperf("1").is_some());
        bystander
    }

    fn iperf(&self, seconds: &str) -> Option<f64> {
        let mut client: Command = self.path.lan.command("timeout");
        client.args(["10", "iperf3", "--json", "-t", seconds, "-c", &CONTROL_V4.to_string()]);
        let output = client.output().ok()?;
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        said["end"]["sum_received"]["bits_per_second"].as_f64()
    }

    /// Throughput in Mbit/s.
    fn throughput(&mut self, cpu: usize) -> f64 {
        self.under(cpu, |bystander| bystander.iperf("1").expect("iperf3 measures") / 1e6)
    }

    /// Median and 99th percentile of what a question takes, in microseconds.
    fn latency(&mut self, cpu: usize) -> [f64; 2] {
        let mut times = self.under(cpu, |bystander| {
            let (mut byte, mut stream) = ([0], &bystander.stream);
            let question = |_| {
                let begun = Instant::now();
                stream.write_all(&byte).unwrap();
                stream.read_exact(&mut byte).unwrap();
                begun.elapsed().as_secs_f64() * 1e6
            };
            (0..QUESTIONS).map(question).collect::<Vec<f64>>()
        });
        times.sort_unstable_by(f64::total_cmp);
        [times[QUESTIONS / 2], times[QUESTIONS * 99 / 100]]
    }

    /// Measures, under the flood where there is one: then it is told how much of it was dropped.
    fn under<T>(&mut self, cpu: usize, measured: impl FnOnce(&Self) -> T) -> T {
        let Some(mut flood) = self.flood.take() else { return measured(self) };
        let dropped = || self.weir.as_ref().map_or(0, |weir| weir.dropped().packets);
        let (before, done) = (dropped(), AtomicBool::new(false));
        let (result, (sent, seconds)) = thread::scope(|scope| {
            let lan = &self.path.lan;
            let flooding = scope.spawn(|| pour(&mut flood, lan, cpu, &done));
            let end = End(&done);
            thread::sleep(LEAD);
            let result = measured(self);
            drop(end);
            (result, flooding.join().unwrap_or_else(|payload| panic::resume_unwind(payload)))
        });
        self.flood = Some(flood);
        let dropped = dropped() - before;
        // What the device's queue has no room for beside the bystander's frames never came.
        assert!(dropped <= sent, "{dropped} frames were dropped, {sent} sent");
        self.paces.push(dropped as f64 / seconds);
        result
    }
}

/// The flood is there before anything is measured.
const LEAD: Duration = Duration::from_millis(200);

/// Ends the flood, also when what is measured panics: the scope would wait for it for ever.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends at the flood's pace until `done`: how many, in how many seconds.
fn pour(flood: &mut Flood, lan: &Netns, cpu: usize, done: &AtomicBool) -> (u64, f64) {
    let (begun, mut sent) = (Instant::now(), 0_u64);
    // The sender's thread is a child of this one, and stays where this one is.
    cpu::take(cpu);
    while !done.load(Ordering::Relaxed) {
        let due = begun.elapsed().as_secs_f64() * FLOOD - sent as f64;
        if due < f64::from(PART) {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        flood.send(lan, PART);
        sent += u64::from(PART);
    }
    (sent, begun.elapsed().as_secs_f64())
}

fn measure(effort: &Effort, run: &mut Run) {
    cpu::leave(effort.cpu);
    let (few, all) = (List::of_size(10_000), List::of_size(if effort.quick { 100_000 } else { usize::MAX }));
    let mut states = [
        Bystander::new(OFF, None, false),
        Bystander::new(NULL, None, false),
        Bystander::new(FEW, Some(&few), false),
        Bystander::new(ALL, Some(&all), false),
        Bystander::new(FLOODED, Some(&all), true),
    ];
    let names = states.each_ref().map(|state| state.name);
    let paces = |states: &mut [Bystander; 5]| states.each_mut().map(|state| std::mem::take(&mut state.paces));
    let rounds = measure::in_turns(effort, states.len(), |_, turn| states[turn].throughput(effort.cpu));
    let floods = paces(&mut states);
    add(run, THROUGHPUT, "Mbit/s", (&names, &floods), rounds.samples, (rounds.repeated, rounds.disturbed));
    let mut tails = vec![Vec::new(); states.len()];
    let rounds = measure::in_turns(effort, states.len(), |_, turn| {
        let [median, tail] = states[turn].latency(effort.cpu);
        tails[turn].push(tail);
        median
    });
    let floods = paces(&mut states);
    add(run, MEDIAN, "us", (&names, &floods), rounds.samples, (rounds.repeated, rounds.disturbed));
    add(run, TAIL, "us", (&names, &[]), tails, (0, 0));
}

/// Adds a group of states by name, with the paces of their floods.
fn add(
    run: &mut Run,
    workload: &str,
    unit: &str,
    (names, floods): (&[&str], &[Vec<f64>]),
    samples: Vec<Vec<f64>>,
    again: (usize, usize),
) {
    let pace = |at: usize| floods.get(at).and_then(|paces| stats::median(paces));
    let series = names.iter().zip(samples).enumerate().map(|(at, (name, samples))| Series {
        name: (*name).into(),
        samples,
        once: pace(at).map(|pace| ("frames of the flood dropped a second".to_owned(), pace)).into_iter().collect(),
    });
    let group = Group {
        section: SECTION.name.into(),
        workload: workload.into(),
        size: 0,
        label: "TCP".into(),
        unit: unit.into(),
        base: OFF.into(),
        series: series.collect(),
    };
    group.say();
    run.add(group, again.0, again.1);
}

fn connect(lan: &Netns) -> TcpStream {
    let server = SocketAddr::new(IpAddr::V4(CONTROL_V4), ECHO_PORT);
    let stream = lan.enter(|| TcpStream::connect_timeout(&server, DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}
