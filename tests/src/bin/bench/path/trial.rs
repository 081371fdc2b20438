//! Candidates in their lanes: installed, proven to drop and forward what they should, and measured in turns.

use std::collections::BTreeMap;

use weir_tests::generator::Router as Generator;

use super::lane::{Bed, MAC_INGRESS, MAC_SENDER};
use super::{SECTION, Workload};
use crate::list::List;
use crate::measure::{self, Effort, Rounds};
use crate::peers::{Candidate, Does, Installed};
use crate::results::{Group, Run, Series};

/// Destinations in memory: more than any cache of the candidates' tables hides.
const DESTINATIONS: usize = 1 << 20;
/// Those of a quick run: to set a million takes longer than to measure a little.
const FEW_DESTINATIONS: usize = 1 << 16;
/// Frames that tell how long one takes.
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

/// Candidates that hold one list.
pub(super) struct Trial<'a> {
    effort: &'a Effort,
    list: &'a List,
    // Before the bed: what is installed goes before the namespaces it is in.
    runners: Vec<Runner>,
    bed: Bed,
}

impl<'a> Trial<'a> {
    /// Installs the candidates, and proves that each does what it should.
    pub(super) fn new(effort: &'a Effort, run: &mut Run, list: &'a List, candidates: &[Candidate]) -> Self {
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

    /// Measures the candidates of a workload, in bursts of so many nanoseconds.
    pub(super) fn measure(&mut self, workload: &Workload, burst_ns: f64) -> (Group, Rounds) {
        let Self { effort, list, runners, bed } = self;
        let count = if effort.quick { FEW_DESTINATIONS } else { DESTINATIONS };
        let mut generator = Generator::new(count, MAC_SENDER, MAC_INGRESS, workload.clients);
        generator.aim(&list.destinations(count, 50));
        let runners: Vec<&Runner> =
            runners.iter().filter(|runner| workload.does.contains(&runner.candidate.does)).collect();
        for runner in &runners {
            prove(bed, &mut generator, effort.cpu, runner);
        }
        if workload.share != 50 {
            generator.aim(&list.destinations(count, workload.share));
        }
        let mut shot =
            |runner: &Runner, from: u64, count: u32| burst(bed, &mut generator, effort.cpu, runner, from, count);
        let frames: Vec<u32> = runners
            .iter()
            .map(|runner| {
                let trial = shot(runner, 0, TRIAL);
                #[expect(clippy::cast_sign_loss, reason = "times are positive")]
                let frames = (burst_ns / trial) as u32;
                frames.next_multiple_of(64)
            })
            .collect();
        let mut rounds = measure::in_turns(effort, runners.len(), |round, turn| {
            shot(runners[turn], (round as u64) << 16, frames[turn])
        });
        let series = runners.iter().zip(std::mem::take(&mut rounds.samples)).map(|(runner, samples)| Series {
            name: runner.candidate.name.into(),
            samples,
            once: if workload.tells_load { runner.installed.once.clone() } else { BTreeMap::new() },
        });
        let group = Group {
            section: SECTION.name.into(),
            workload: workload.name.into(),
            size: list.prefixes.len(),
            label: list.label.clone(),
            unit: "ns".into(),
            base: workload.base.into(),
            series: series.collect(),
        };
        (group, rounds)
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
