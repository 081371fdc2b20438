//! Section *path*: frames a second through a router that drops or forwards them, counted where they arrive.

pub(crate) mod lane;

use weir_tests::cpu;
use weir_tests::generator::{Clients, Router as Generator};

use crate::Section;
use crate::list::List;
use crate::measure::{self, Effort};
use crate::peers::{self, Candidate, Does, Installed};
use crate::results::{Group, Run, Series};
use lane::{Bed, MAC_INGRESS, MAC_SENDER};

pub(crate) const SECTION: Section = Section { name: "path", measure, preface: PREFACE };

/// Workloads, by the share of frames to listed destinations.
pub(crate) const DROP: &str = "all frames to listed destinations";
pub(crate) const MIXED: &str = "half of the frames to listed destinations";
pub(crate) const FORWARD: &str = "no frame to a listed destination";
pub(crate) const FORGED: &str = "all frames to listed destinations, from 65,536 sources";
pub(crate) const EXACT: &str = "all frames to listed destinations, exact addresses";

const PREFACE: &str = "Nanoseconds for one 64-byte UDP frame, from its making to its end: the generator's, the veth's and, \
where it passes, the IP stack's share included. A generator (a BPF program in a test run with live frames) sends out of a \
veth; each frame has a random source among 256 clients of 10.66.1.0/24 (where it says so, among 65,536 of 10.66.0.0/16) and \
the next of 2^20 destinations in random order, drawn from the listed prefixes or from addresses outside of them. Each \
candidate has a router, a namespace of its own, between the same sender and receiver; all routers are alike, and how much \
they differ is the line \"another lane\". What arrives is counted at the router's device and at the receiver, which drops \
all; before it is measured, each candidate must have dropped exactly what is listed and forwarded exactly what is not. \
Sender and router share one CPU, so a figure says what all of it costs and not what a NIC could do: ratios count. weir asks \
for destination and source and counts what it drops; peers ask for the destination alone.\n";

/// Destinations in memory: more than any cache of the candidates' tables hides.
const DESTINATIONS: usize = 1 << 20;
/// Nanoseconds that a burst should take, and the frames that tell how long one takes.
const BURST: f64 = 60e6;
const TRIAL: u32 = 16_384;
/// Frames with which a candidate is tried before it is measured.
const PROOF: u32 = 20_000;
/// Less than this share of what was sent arrived: the burst is made again.
const LEAST_ARRIVED: f64 = 0.995;
const ATTEMPTS: usize = 5;

/// A candidate in its lane.
struct Runner {
    candidate: Candidate,
    lane: usize,
    installed: Installed,
}

fn measure(effort: &Effort, run: &mut Run) {
    cpu::leave(effort.cpu);
    let sizes: &[usize] = if effort.quick { &[100, 10_000] } else { &[100, 10_000, 100_000, usize::MAX] };
    for &size in sizes {
        let list = List::of_size(size);
        prefixes(effort, run, &list);
    }
    let addresses: &[usize] = if effort.quick { &[100] } else { &[100, 10_000, 100_000] };
    for &count in addresses {
        let list = List::of_addresses(count);
        let candidates = [peers::NULL_DROP, peers::WEIR_NATIVE, peers::XDP_FILTER];
        let mut bench = Bench::new(effort, run, &list, &candidates);
        bench.workload(run, EXACT, 100, Clients::Lan([10, 66, 1]), &[Does::DropAll, Does::DropListed]);
    }
}

fn prefixes(effort: &Effort, run: &mut Run, list: &List) {
    let mut candidates = vec![
        peers::NULL_DROP,
        peers::NULL_DROP_AGAIN,
        peers::NO_FILTER,
        peers::NULL_PASS,
        peers::DROP_MARKED,
        peers::WEIR_NATIVE,
        peers::WEIR_BARE,
        peers::WEIR_TCX,
        peers::LPM,
        peers::NFT_INGRESS,
        peers::NFT_PREROUTING,
        peers::IPTABLES,
    ];
    if !effort.quick {
        candidates.extend([peers::WEIR_TC, peers::WEIR_GENERIC]);
    }
    let mut bench = Bench::new(effort, run, list, &candidates);
    let lan = Clients::Lan([10, 66, 1]);
    bench.workload(run, DROP, 100, lan, &[Does::DropAll, Does::DropListed]);
    bench.workload(run, FORWARD, 0, lan, &[Does::PassAll, Does::DropListed]);
    if list.label == "10k" || list.label == "all" {
        bench.workload(run, MIXED, 50, lan, &[Does::DropListed]);
        bench.workload(run, FORGED, 100, Clients::Forged([10, 66]), &[Does::DropAll, Does::DropListed]);
    }
}

/// Candidates that hold one list.
struct Bench<'a> {
    effort: &'a Effort,
    list: &'a List,
    // Before the bed: what is installed goes before the namespaces it is in.
    runners: Vec<Runner>,
    bed: Bed,
}

impl<'a> Bench<'a> {
    /// Installs the candidates, and proves that each does what it should.
    fn new(effort: &'a Effort, run: &mut Run, list: &'a List, candidates: &[Candidate]) -> Self {
        let bed = Bed::new(candidates.len());
        let mut runners = Vec::new();
        for (number, candidate) in candidates.iter().enumerate() {
            measure::stop_if_asked();
            match (candidate.install)(&bed.lanes[number], list) {
                Ok(installed) => runners.push(Runner { candidate: *candidate, lane: number, installed }),
                Err(why) => run.absent(SECTION.name, candidate.name, &format!("{} prefixes", list.label), &why),
            }
        }
        Self { effort, list, runners, bed }
    }

    /// Measures those candidates that do one of `does`.
    fn workload(&mut self, run: &mut Run, workload: &str, share: usize, clients: Clients, does: &[Does]) {
        let Self { effort, list, runners, bed } = self;
        let mut generator = Generator::new(DESTINATIONS, MAC_SENDER, MAC_INGRESS, clients);
        generator.aim(&list.destinations(DESTINATIONS, 50));
        let runners: Vec<&Runner> = runners.iter().filter(|runner| does.contains(&runner.candidate.does)).collect();
        for runner in &runners {
            prove(bed, &mut generator, effort.cpu, runner);
        }
        if share != 50 {
            generator.aim(&list.destinations(DESTINATIONS, share));
        }
        let mut shot =
            |runner: &Runner, from: u64, count: u32| burst(bed, &mut generator, effort.cpu, runner, from, count);
        let frames: Vec<u32> = runners
            .iter()
            .map(|runner| {
                let trial = shot(runner, 0, TRIAL);
                #[expect(clippy::cast_sign_loss, reason = "times are positive")]
                let frames = (BURST / trial) as u32;
                frames.next_multiple_of(64)
            })
            .collect();
        let rounds = measure::in_turns(effort, runners.len(), |round, turn| {
            shot(runners[turn], (round as u64) << 16, frames[turn])
        });
        let series = runners.iter().zip(rounds.samples).map(|(runner, samples)| Series {
            name: runner.candidate.name.into(),
            samples,
            once: runner.installed.once.clone(),
        });
        let base = runners.first().map(|runner| runner.candidate.name).unwrap_or_default();
        let group = Group {
            section: SECTION.name.into(),
            workload: workload.into(),
            size: list.prefixes.len(),
            label: list.label.clone(),
            unit: "ns".into(),
            base: base.into(),
            series: series.collect(),
        };
        group.say();
        run.add(group, rounds.repeated, rounds.disturbed);
    }
}

/// Nanoseconds for each frame of a burst that arrived.
fn burst(bed: &Bed, generator: &mut Generator, cpu: usize, runner: &Runner, from: u64, count: u32) -> f64 {
    for _ in 0..ATTEMPTS {
        let (sent, counted) = bed.burst(&bed.lanes[runner.lane], generator, cpu, from, count);
        let (time, frames) = sent.timed;
        let arrived = counted.arrived as f64 / sent.frames as f64;
        let forwarded = forwarded(runner.candidate.does, sent.frames, sent.listed);
        let name = runner.candidate.name;
        assert!(counted.forwarded <= forwarded, "{name} forwarded {} of {forwarded}: it leaks", counted.forwarded);
        if arrived >= LEAST_ARRIVED && counted.forwarded as f64 >= LEAST_ARRIVED * forwarded as f64 {
            return time.as_nanos() as f64 / frames as f64 / arrived;
        }
    }
    panic!("{}: frames are lost before they arrive", runner.candidate.name);
}

/// Frames that a candidate must forward.
fn forwarded(does: Does, frames: u64, listed: u64) -> u64 {
    match does {
        Does::DropAll => 0,
        Does::DropListed => frames - listed,
        Does::PassAll => frames,
    }
}

/// Sends mixed frames, and demands that each was dropped or forwarded as it should.
fn prove(bed: &Bed, generator: &mut Generator, cpu: usize, runner: &Runner) {
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let (sent, counted) = bed.burst(&bed.lanes[runner.lane], generator, cpu, 0, PROOF);
        let wanted = forwarded(runner.candidate.does, sent.frames, sent.listed);
        // A frame that another process' turn made the sender lose proves nothing.
        if counted.arrived == sent.frames && counted.forwarded == wanted {
            return;
        }
        seen.push((sent, counted, wanted));
    }
    panic!("{} does not do what it should: {seen:?}", runner.candidate.name);
}
