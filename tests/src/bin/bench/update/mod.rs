//! Section *update*: how long a list takes from memory to where it drops, what it takes in the kernel and the daemon, and
//! what becomes of packets meanwhile.

mod daemon;
mod filters;
mod kernel;
mod lists;
mod traffic;

use std::collections::BTreeMap;

use weir_tests::cpu;

use crate::Section;
use crate::measure::{self, Effort};
use crate::path::lane::{Bed, Lane};
use crate::results::{Group, Run, Series};
use crate::stats;
use filters::{Boxed, KINDS, Kind, Took};
use lists::Lists;

pub(crate) const SECTION: Section = Section { name: "update", measure, preface: PREFACE };

/// Candidates.
pub(crate) const WEIR: &str = "weir";
pub(crate) const NFT: &str = "nft -f";
const IPSET: &str = "ipset restore and swap";
const LPM: &str = "XDP with LPM_TRIE";
/// Of the daemon: from the signal, its reading and parsing of the file included; and what it says that the publish took.
const SIGNALLED: &str = "weir's daemon, from SIGHUP to live";
pub(crate) const PUBLISHED: &str = "weir's daemon, its publish alone";

/// Workloads.
pub(crate) const LIVE: &str = "from lists in memory to live";
const SWAP: &str = "the swap alone";
const KERNEL: &str = "kernel memory of the filter";
pub(crate) const LEAKED: &str = "listed frames that came through while the list was replaced";
pub(crate) const LOST: &str = "unlisted frames that did not come through while the list was replaced";
pub(crate) const MEMORY: &str = "memory of the daemon";

/// What the daemon's memory is measured of.
pub(crate) const TIKTOK_KERNEL: &str = "kernel memory, embedded service tiktok";
pub(crate) const TIKTOK_RESIDENT: &str = "resident, embedded service tiktok";
pub(crate) const FULL_PEAK: &str = "peak of a publish of all prefixes";
pub(crate) const FULL_PEAK_AGAIN: &str = "peak of a publish of all prefixes in the place of all prefixes";
pub(crate) const FULL_RESIDENT: &str = "resident, all prefixes";
/// The label of what is of no size.
pub(crate) const DAEMON: &str = "daemon";

const PREFACE: &str = "A list takes the place of one that is in use, of the same length. Lists are of IPv4 and IPv6 prefixes, \
so many of each, and all hold both: weir one rule of all of them, nft two sets of intervals (each prefix that is inside of no \
other, for it takes no overlap) that are flushed and filled in one transaction, ipset two hashes of prefixes that are restored \
under another name and swapped, LPM_TRIE two maps and a program that is loaded for them. Time begins with the lists in memory \
as they were parsed (for nft and ipset, with their scripts on disk, written before) and ends when packets meet the new list: \
for weir that is rules, compilation, maps, verification of the program in use, and the link's update, in this process, which \
is not compiled as a release is. Before each, the kernel is given the time to free what the list before took, which is in no \
line: it does so later, in threads of its own, and behind LPM_TRIE has a CPU for 0.2 s. The daemon's lines are of its release, \
and are made after the others, not in turns with them. Kernel memory is what Slab, Percpu and VmallocUsed of /proc/meminfo \
grew by (after a drop of caches, per-CPU counters folded, when they stand still), and the pages of BPF ring buffers, which no \
line of it counts; it is not what maps say that they take. The daemon's memory is VmRSS and VmHWM of its \
status, files that are mapped included; its peak is counted from just before the publish. While lists are replaced, a \
generator sends without a pause but for reading counters, all frames to listed destinations, or none; frames that the \
receiver's queue lost are none of the filter's and left out.\n";

fn measure(effort: &Effort, run: &mut Run) {
    cpu::leave(effort.cpu);
    let sizes: &[usize] = if effort.quick { &[10_000] } else { &[10_000, usize::MAX] };
    for &size in sizes {
        let lists = Lists::of_size(size);
        let bed = Bed::new(KINDS.len());
        memory(effort, run, &bed, &lists);
        let mut filters = install(run, &bed, &lists);
        times(effort, run, &lists, &mut filters);
        drop(filters);
        kernel::rest();
        daemon::times(effort, run, &bed.lanes[0], &lists);
        traffic::measure(effort, run, &bed, &lists);
    }
    daemon::memory(effort, run);
}

fn install<'b>(run: &mut Run, bed: &'b Bed, lists: &'b Lists) -> Vec<(&'static str, Boxed<'b>)> {
    let mut filters = Vec::new();
    for (Kind { name, install }, lane) in KINDS.iter().zip(&bed.lanes) {
        match install(lane, lists) {
            Ok(filter) => filters.push((*name, filter)),
            Err(why) => run.absent(SECTION.name, name, &lists.label, &why),
        }
    }
    filters
}

/// Replaces each list again and again.
fn times(effort: &Effort, run: &mut Run, lists: &Lists, filters: &mut [(&'static str, Boxed<'_>)]) {
    // At all prefixes nft takes many seconds for one.
    let effort = Effort { rounds: if lists.is_whole() { 3 } else { effort.rounds }, ..*effort };
    let mut swaps: Vec<Vec<f64>> = vec![Vec::new(); filters.len()];
    let rounds = measure::in_turns(&effort, filters.len(), |_, turn| {
        let (name, filter) = &mut filters[turn];
        kernel::rest();
        let Took { live, swap } = filter.replace().unwrap_or_else(|why| panic!("{name}: {why}"));
        swaps[turn].extend(swap.map(|swap| swap.as_secs_f64() * 1e3));
        live.as_secs_f64() * 1e3
    });
    let series = |samples: Vec<Vec<f64>>| -> Vec<Series> {
        let of = |((name, filter), samples): (&(&'static str, Boxed<'_>), Vec<f64>)| {
            (!samples.is_empty()).then(|| Series { name: (*name).into(), samples, once: filter.once() })
        };
        filters.iter().zip(samples).filter_map(of).collect()
    };
    add(run, lists, LIVE, "ms", series(rounds.samples));
    let swaps = series(swaps).into_iter().map(|series| Series { once: BTreeMap::new(), ..series }).collect();
    add(run, lists, SWAP, "ms", swaps);
    (run.repeated, run.disturbed) = (run.repeated + rounds.repeated, run.disturbed + rounds.disturbed);
}

/// Installs each alone, and sees what the kernel has less for it.
fn memory(effort: &Effort, run: &mut Run, bed: &Bed, lists: &Lists) {
    let rounds = if effort.quick || lists.is_whole() { 1 } else { 5 };
    let mut all = Vec::new();
    for (Kind { name, install }, lane) in KINDS.iter().zip(&bed.lanes) {
        let sample = || -> Result<f64, String> {
            let before = kernel::taken();
            let filter = install(lane, lists)?;
            let taken = kernel::taken() - before;
            drop(filter);
            Ok(taken / 1e6)
        };
        // The first fills caches of the kernel, which are there for the others.
        let samples = (0..=rounds).map(|_| sample()).skip(1).collect();
        match samples {
            Ok(samples) => all.push(Series { name: (*name).into(), samples, ..Series::default() }),
            Err(why) => run.absent(SECTION.name, name, &lists.label, &why),
        }
    }
    add(run, lists, KERNEL, "MB", all);
}

/// Adds a group of weir and others.
fn add(run: &mut Run, lists: &Lists, workload: &str, unit: &str, series: Vec<Series>) {
    let group = Group {
        section: SECTION.name.into(),
        workload: workload.into(),
        size: lists.len(),
        label: lists.label.clone(),
        unit: unit.into(),
        base: WEIR.into(),
        series,
    };
    group.say();
    run.add(group, 0, 0);
}

/// The median of one sample of each round.
fn median(samples: &[f64]) -> f64 {
    stats::median(samples).unwrap_or(f64::NAN)
}

/// A series of one figure.
fn figure(name: &str, samples: Vec<f64>) -> Series {
    println!("    {name}: {:.2}", median(&samples));
    Series { name: name.into(), samples, ..Series::default() }
}

/// A filter's name with its lane.
fn lane_of<'b>(bed: &'b Bed, name: &str) -> Option<&'b Lane> {
    KINDS.iter().position(|kind| kind.name == name).and_then(|at| bed.lanes.get(at))
}
