//! The goals: what weir's figures must be, and how each is computed. The only place that judges.

use std::fmt::Write as _;

use crate::results::{Results, Run};
use crate::{lookup, packet, path, peers, update};

/// Which figures are good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// Computes a goal's figure; there is none where the run did not measure it.
type Figure = Box<dyn Fn(&Run) -> Option<f64>>;

/// What weir must reach.
pub(crate) struct Goal {
    /// What it says, with its unit.
    pub(crate) name: String,
    pub(crate) target: Target,
    /// Its figure in a run that measured it.
    figure: Figure,
    /// The same figure of each of [`FLOORS`], for goals of the path.
    floors: Vec<Figure>,
}

/// What weir cannot be better than, on the path: its tables alone; and, as it tells whose packets they were, with a counter for each set
/// and client.
const FLOORS: [peers::Candidate; 2] = [peers::WEIR_TABLES, peers::WEIR_TOLD];

/// A goal, and its figure in each run that measured it.
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) target: Target,
    pub(crate) figures: Vec<f64>,
    /// Likewise of each of [`FLOORS`]; nothing for goals that are none of the path.
    floors: [Vec<f64>; FLOORS.len()],
}

fn goal(name: &str, target: Target, figure: impl Fn(&Run) -> Option<f64> + 'static) -> Goal {
    Goal { name: name.into(), target, figure: Box::new(figure), floors: Vec::new() }
}

/// A goal of the path: how many times more `peer` takes than weir, under one workload at one size.
fn on_path(name: &str, target: Target, workload: &'static str, label: &'static str, peer: &'static str) -> Goal {
    let size = if label == "all" { "all prefixes".into() } else { format!("{label} prefixes") };
    let times =
        move |of: &'static str| move |run: &Run| run.group(path::SECTION.name, workload, label)?.ratio(peer, of);
    let floors = FLOORS.into_iter().map(|floor| -> Figure { Box::new(times(floor.name)) }).collect();
    Goal { floors, ..goal(&format!("{name}, {size}"), target, times(peers::WEIR_NATIVE.name)) }
}

/// All goals, in the order of the document.
fn goals() -> Vec<Goal> {
    [on_lookups(), on_packets(), on_paths(), on_updates()].into_iter().flatten().collect()
}

/// The median of a candidate's lookups.
fn lookup(run: &Run, workload: &str, label: &str) -> Option<f64> {
    Some(run.group(lookup::SECTION.name, workload, label)?.summary(lookup::WEIR)?.median)
}

/// How many times longer `LPM_TRIE` takes.
fn slower(run: &Run, workload: &str, label: &str) -> Option<f64> {
    run.group(lookup::SECTION.name, workload, label)?.ratio(lookup::LPM, lookup::WEIR)
}

/// The size of weir's table in MB.
fn megabytes(run: &Run, workload: &str, label: &str) -> Option<f64> {
    let group = run.group(lookup::SECTION.name, workload, label)?;
    group.once(lookup::WEIR, lookup::BYTES).map(|bytes| bytes / 1e6)
}

fn on_lookups() -> Vec<Goal> {
    use Target::{AtLeast, AtMost};
    use lookup::{HITS_V4, HITS_V6};
    let cost = "net ns for a lookup that hits";
    let times = "LPM_TRIE / weir, hits";
    vec![
        goal(&format!("IPv4, 1k prefixes: {cost}"), AtMost(6.0), |run| lookup(run, HITS_V4, "1k")),
        goal(&format!("IPv4, all prefixes: {cost}"), AtMost(25.0), |run| lookup(run, HITS_V4, "all")),
        // One table for large machines and small ones: what it takes is what a small one has.
        goal("IPv4, all prefixes: table in MB", AtMost(4.0), |run| megabytes(run, HITS_V4, "all")),
        goal(&format!("IPv4, 1k prefixes: {times}"), AtLeast(15.0), |run| slower(run, HITS_V4, "1k")),
        goal(&format!("IPv4, all prefixes: {times}"), AtLeast(30.0), |run| slower(run, HITS_V4, "all")),
        goal("IPv4: net ns at all prefixes / at 64, hits", AtMost(8.0), |run| {
            Some(lookup(run, HITS_V4, "all")? / lookup(run, HITS_V4, "64")?)
        }),
        goal(&format!("IPv6, all prefixes: {cost}"), AtMost(45.0), |run| lookup(run, HITS_V6, "all")),
        goal("IPv6, all prefixes: table in MB", AtMost(12.0), |run| megabytes(run, HITS_V6, "all")),
        goal(&format!("IPv6, all prefixes: {times}"), AtLeast(15.0), |run| slower(run, HITS_V6, "all")),
    ]
}

fn on_packets() -> Vec<Goal> {
    let over = |less: &'static str| {
        move |run: &Run| {
            let group = run.group(packet::SECTION.name, packet::PLAIN, packet::LABEL)?;
            group.excess(packet::WEIR_MISS, less)
        }
    };
    vec![
        goal("whole packet, IPv4, miss: ns over parse only", Target::AtMost(12.0), over(packet::PARSE)),
        goal("whole packet, IPv4, miss: ns over null drop", Target::AtMost(30.0), over(packet::NULL)),
    ]
}

/// Times are for one frame, so that the ratio of two rates is the inverse of that of their times.
fn on_paths() -> Vec<Goal> {
    use Target::AtLeast;
    let dropping = peers::NULL_DROP.name;
    let (ingress, prerouting) = (peers::NFT_INGRESS.name, peers::NFT_PREROUTING.name);
    let (iptables, forwarding) = (peers::IPTABLES.name, peers::NO_FILTER.name);
    let null = "drop rate, weir native / null XDP drop";
    let nft_ingress = "drop rate, weir native / nft netdev-ingress";
    let nft_prerouting = "drop rate, weir native / nft prerouting";
    let ipset = "drop rate, weir native / iptables + ipset";
    let forward = "forwarding rate, weir native / no filter";
    vec![
        on_path(null, AtLeast(0.90), path::DUEL_DROP, "10k", dropping),
        on_path(null, AtLeast(0.80), path::DUEL_DROP, "all", dropping),
        on_path(nft_ingress, AtLeast(6.0), path::AS_LISTED, "10k", ingress),
        on_path(nft_ingress, AtLeast(10.0), path::AS_LISTED, "all", ingress),
        on_path(nft_prerouting, AtLeast(6.0), path::AS_LISTED, "10k", prerouting),
        on_path(nft_prerouting, AtLeast(10.0), path::AS_LISTED, "all", prerouting),
        on_path(ipset, AtLeast(5.0), path::AS_LISTED, "10k", iptables),
        on_path(ipset, AtLeast(14.0), path::AS_LISTED, "all", iptables),
        on_path(forward, AtLeast(0.95), path::DUEL_FORWARD, "10k", forwarding),
        on_path(forward, AtLeast(0.95), path::DUEL_FORWARD, "all", forwarding),
    ]
}

fn on_updates() -> Vec<Goal> {
    use Target::{AtLeast, AtMost};
    let of = |workload: &'static str, candidate: &'static str| {
        move |run: &Run| Some(run.group(update::SECTION.name, workload, "all")?.summary(candidate)?.median)
    };
    let daemon = |what: &'static str| {
        move |run: &Run| Some(run.group(update::SECTION.name, update::MEMORY, update::DAEMON)?.summary(what)?.median)
    };
    vec![
        goal("update, all prefixes: ms from lists parsed to live", AtMost(150.0), of(update::LIVE, update::WEIR)),
        goal("update, all prefixes: nft -f / weir", AtLeast(50.0), |run| {
            run.group(update::SECTION.name, update::LIVE, "all")?.ratio(update::NFT, update::WEIR)
        }),
        // Beside it, not in its stead: what a router runs.
        goal(
            "update, all prefixes: the daemon's ms from lists parsed to live",
            AtMost(150.0),
            of(update::LIVE, update::PUBLISHED),
        ),
        goal("update, all prefixes: listed frames leaked", AtMost(0.0), of(update::LEAKED, update::WEIR)),
        goal("update, all prefixes: unlisted frames dropped", AtMost(0.0), of(update::LOST, update::WEIR)),
        goal("kernel memory of weir with tiktok, MB", AtMost(1.0), daemon(update::TIKTOK_KERNEL)),
        goal("daemon, resident with tiktok, MB", AtMost(15.0), daemon(update::TIKTOK_RESIDENT)),
        goal("daemon, peak of a publish of all prefixes, MB", AtMost(120.0), daemon(update::FULL_PEAK)),
    ]
}

/// Every goal's figures.
pub(crate) fn judge(results: &Results) -> Vec<Outcome> {
    let in_runs = |figure: &Figure| -> Vec<f64> { results.runs.iter().filter_map(figure).collect() };
    let outcome = |Goal { name, target, figure, floors }| Outcome {
        figures: in_runs(&figure),
        floors: std::array::from_fn(|at| floors.get(at).map(in_runs).unwrap_or_default()),
        name,
        target,
    };
    goals().into_iter().map(outcome).collect()
}

/// Whether a goal was missed. Of a whole benchmark each run must have measured each goal: a figure that is not there is none that
/// is good.
pub(crate) fn failed(results: &Results, outcomes: &[Outcome]) -> bool {
    let measured = |outcome: &Outcome| outcome.figures.len() == results.runs.len();
    outcomes.iter().any(|outcome| outcome.met() == Some(false) || results.whole && !measured(outcome))
}

impl Target {
    fn is_met_by(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }

    pub(crate) fn words(self) -> String {
        match self {
            Self::AtLeast(least) => format!("\u{2265} {least}"),
            Self::AtMost(most) => format!("\u{2264} {most}"),
        }
    }
}

impl Outcome {
    /// Whether every run met it; `None` where none measured it.
    pub(crate) fn met(&self) -> Option<bool> {
        (!self.figures.is_empty()).then(|| self.figures.iter().all(|&figure| self.target.is_met_by(figure)))
    }

    pub(crate) fn word(&self) -> &'static str {
        match self.met() {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not measured",
        }
    }

    /// The figures of all runs.
    pub(crate) fn figures(&self) -> String {
        numbers(&self.figures)
    }

    /// The floors of all runs: the tables alone, and with their counters.
    pub(crate) fn floors(&self) -> [String; FLOORS.len()] {
        self.floors.each_ref().map(|figures| numbers(figures))
    }
}

fn numbers(figures: &[f64]) -> String {
    figures.iter().map(|&figure| number(figure)).collect::<Vec<_>>().join(", ")
}

/// A figure with as many places as tell something.
pub(crate) fn number(figure: f64) -> String {
    match figure.abs() {
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// The goals as lines for a terminal.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let figures = outcome.figures();
        writeln!(text, "{:64} {:8} {:24} {}", outcome.name, outcome.target.words(), figures, outcome.word()).unwrap();
    }
    let count = |met| outcomes.iter().filter(|outcome| outcome.met() == met).count();
    let (met, missed, none) = (count(Some(true)), count(Some(false)), count(None));
    writeln!(text, "goals: {met} met, {missed} missed, {none} not measured").unwrap();
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Group, Series};

    fn run(null: f64, weir: f64) -> Run {
        let series = |name: &str, time: f64| Series { name: name.into(), samples: vec![time; 3], ..Series::default() };
        let group = Group {
            section: "path".into(),
            workload: path::DUEL_DROP.into(),
            label: "10k".into(),
            series: vec![
                series(peers::NULL_DROP.name, null),
                series(peers::WEIR_NATIVE.name, weir),
                series(peers::WEIR_TABLES.name, 100.0),
                series(peers::WEIR_TOLD.name, 125.0),
            ],
            ..Group::default()
        };
        Run { groups: vec![group], ..Run::default() }
    }

    fn on_path(runs: Vec<Run>) -> Outcome {
        let outcomes = judge(&Results { runs, ..Results::default() });
        outcomes
            .into_iter()
            .find(|outcome| outcome.name == "drop rate, weir native / null XDP drop, 10k prefixes")
            .unwrap()
    }

    #[test]
    fn a_goal_is_met_only_if_every_run_meets_it() {
        // 0.90 of the null program's rate: 100 ns of 111 are, 100 of 112 are not.
        assert_eq!(on_path(vec![run(100.0, 111.0), run(100.0, 105.0)]).met(), Some(true));
        assert_eq!(on_path(vec![run(100.0, 111.0), run(100.0, 112.0)]).met(), Some(false));
    }

    #[test]
    fn beside_a_goal_of_the_path_stands_what_the_tables_reach_alone_and_with_their_counters() {
        let outcome = on_path(vec![run(90.0, 120.0), run(80.0, 100.0)]);
        assert_eq!(outcome.figures(), "0.75, 0.80");
        assert_eq!(outcome.floors(), ["0.90, 0.80", "0.72, 0.64"]);
    }

    #[test]
    fn a_goal_that_no_run_measured_is_neither_met_nor_missed() {
        let outcome = on_path(vec![Run::default()]);
        assert_eq!((outcome.met(), outcome.word()), (None, "not measured"));
    }

    #[test]
    fn a_whole_benchmark_fails_where_a_run_did_not_measure_a_goal_and_a_part_of_it_does_not() {
        let good = || vec![run(100.0, 105.0), Run::default()];
        let part = Results { runs: good(), ..Results::default() };
        assert!(!failed(&part, &judge(&part)));
        let whole = Results { whole: true, runs: good(), ..Results::default() };
        let only = [on_path(good())];
        assert!(failed(&whole, &only), "one of two runs has a figure, and it is good");
        let both = || vec![run(100.0, 105.0), run(100.0, 104.0)];
        assert!(!failed(&Results { whole: true, runs: both(), ..Results::default() }, &[on_path(both())]));
        let missed = Results { runs: vec![run(100.0, 120.0)], ..Results::default() };
        assert!(failed(&missed, &judge(&missed)));
    }

    #[test]
    fn the_table_has_a_line_for_each_goal_and_one_of_totals() {
        let outcomes = judge(&Results { runs: vec![run(100.0, 105.0)], ..Results::default() });
        let text = table(&outcomes);
        assert_eq!(text.lines().count(), outcomes.len() + 1);
        assert!(text.contains("10k prefixes             \u{2265} 0.9    0.95                     met\n"), "{text}");
        let none = outcomes.len() - 1;
        assert!(text.ends_with(&format!("goals: 1 met, 0 missed, {none} not measured\n")), "{text}");
    }
}
