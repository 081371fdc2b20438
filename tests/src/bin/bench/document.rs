//! docs/BENCHMARKS.md and its plots, made of the figures alone. Must not measure, and must not leave out what was missed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::goal::{self, Outcome, number};
use crate::plot::{self, Curve};
use crate::results::{Absent, Group, Results, Run};
use crate::{SECTIONS, gauge, measure, stats};

/// The directory of the plots, beside the document.
const PLOTS: &str = "benchmarks";

const LIMITS: &str = "Read them with care. They are of a virtual machine on a shared host; devices are veth pairs, and no network \
card was seen. Sender, filter and receiver share a CPU. So no figure here says how many packets a second a router takes: the \
ratios of one table do, for its candidates were measured in turns, round by round, on the same CPU. A figure is the median of \
the rounds, with the 10th and 90th percentile behind it; a ratio is the median of the ratios of each round. Every candidate's \
answers were checked before its time was taken.\n";

const GOALS: &str = "One figure for each run. \"Tables alone\" is what the same run says of a program that looks up the destination \
in weir's tables, drops what it finds, and counts nothing: no filter with these tables can be better. \"And counters\" is the same \
program with a counter for each rule and one for each client: the least that tells whose packets were dropped. What is missed beyond \
it is what devices, families, actions and events cost.\n";

/// Writes the document and its plots.
pub(crate) fn write(results: &Results, directory: &Path) {
    let plots = directory.join(PLOTS);
    fs::create_dir_all(&plots).unwrap();
    for (name, svg) in pictures(results) {
        fs::write(plots.join(name), svg).unwrap();
    }
    fs::write(directory.join("BENCHMARKS.md"), text(results)).unwrap();
}

/// The document.
fn text(results: &Results) -> String {
    let mut text = String::from("# Benchmarks\n\nWritten by `cargo xtask bench`; edit that, not this.\n\n");
    if results.quick {
        text.push_str("**A quick run: few rounds and sizes. These figures are not to be quoted.**\n\n");
    }
    text.push_str(LIMITS);
    text.push_str(&goals(&goal::judge(results)));
    text.push_str(&machine(results));
    let Some(last) = results.runs.last() else { return text };
    if results.runs.len() > 1 {
        write!(text, "\nThe tables below are of run {}.\n", results.runs.len()).unwrap();
    }
    for section in SECTIONS.iter().filter(|section| last.groups.iter().any(|group| group.section == section.name)) {
        write!(text, "\n## {}\n\n{}", capital(section.name), section.preface).unwrap();
        for (workload, groups) in workloads(last, section.name) {
            write!(text, "\n### {}\n\n", capital(workload)).unwrap();
            text.push_str(&table(&groups));
            if has_picture(&groups) {
                write!(text, "\n![{workload}]({PLOTS}/{})\n", file_name(section.name, workload)).unwrap();
            }
        }
        text.push_str(&absent(last.absent.iter().filter(|absent| absent.section == section.name)));
    }
    text
}

fn goals(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "\n## Goals\n\n{GOALS}\n| goal | target | figures | tables alone | and counters | |\n|---|---|---|---|---|---|\n"
    );
    for outcome in outcomes {
        let Outcome { name, target, .. } = outcome;
        let (figures, [tables, told]) = (outcome.figures(), outcome.floors());
        writeln!(text, "| {name} | {} | {figures} | {tables} | {told} | {} |", target.words(), outcome.word()).unwrap();
    }
    text
}

fn machine(results: &Results) -> String {
    let mut text = String::from("\n## Machine\n\n| | |\n|---|---|\n");
    for (name, value) in &results.machine {
        writeln!(text, "| {name} | {} |", value.replace('|', "\\|")).unwrap();
    }
    let (steal, slowed) = (100.0 * measure::MOST_STEAL, 100.0 * (gauge::MOST_SLOWED - 1.0));
    for (number, run) in (1..).zip(&results.runs) {
        let Run { repeated, disturbed, .. } = run;
        writeln!(
            text,
            "| run {number} | {repeated} rounds were made again because the hypervisor took more than {steal:.0} % of the CPU, or a \
             fixed walk through memory took {slowed:.0} % longer than at best; {disturbed} more were kept although so it was |"
        )
        .unwrap();
    }
    text
}

/// The groups of a section by workload, sizes ascending, in the order in which they were measured.
fn workloads<'r>(run: &'r Run, section: &str) -> Vec<(&'r str, Vec<&'r Group>)> {
    let mut all: Vec<(&str, Vec<&Group>)> = Vec::new();
    for group in run.groups.iter().filter(|group| group.section == section) {
        match all.iter_mut().find(|(workload, _)| *workload == group.workload) {
            Some((_, groups)) => groups.push(group),
            None => all.push((&group.workload, vec![group])),
        }
    }
    all
}

/// Candidates in the order of the first group that has them.
fn candidates<'g>(groups: &[&'g Group]) -> Vec<&'g str> {
    let mut names: Vec<&str> = Vec::new();
    for series in groups.iter().flat_map(|group| &group.series) {
        if !names.contains(&&*series.name) {
            names.push(&series.name);
        }
    }
    names
}

/// Rows are candidates, columns sizes: median (10th-90th percentile), and how many times the null candidate's it is.
fn table(groups: &[&Group]) -> String {
    let mut text = format!("| {} |", groups.first().map_or("", |group| &group.unit));
    for group in groups {
        write!(text, " {} |", group.label).unwrap();
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(groups.len()));
    text.push('\n');
    for name in candidates(groups) {
        write!(text, "| {name} |").unwrap();
        for group in groups {
            write!(text, " {} |", cell(group, name)).unwrap();
        }
        text.push('\n');
    }
    for group in groups {
        let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for series in &group.series {
            for (kind, &figure) in &series.once {
                kinds.entry(kind).or_default().push(format!("{} {}", series.name, number(figure)));
            }
        }
        for (kind, figures) in kinds {
            write!(text, "\n{}, {kind}: {}.\n", group.label, figures.join(", ")).unwrap();
        }
    }
    text
}

fn cell(group: &Group, name: &str) -> String {
    let Some(summary) = group.summary(name) else { return "-".into() };
    let figures = format!("{} ({}-{})", number(summary.median), number(summary.p10), number(summary.p90));
    match group.ratio(name, &group.base).filter(|_| name != group.base) {
        Some(times) => format!("{figures}, {times:.2}x"),
        None => figures,
    }
}

fn absent<'r>(all: impl Iterator<Item = &'r Absent>) -> String {
    let lines = all.fold(String::new(), |lines, Absent { candidate, label, why, .. }| {
        format!("{lines}- {candidate}, {label}: {why}\n")
    });
    if lines.is_empty() { lines } else { format!("\nNot measured:\n\n{lines}") }
}

/// Whether a workload is of more than one size, and of costs: where all is well, counts of frames are 0.
fn has_picture(groups: &[&Group]) -> bool {
    groups.len() > 1 && groups.iter().all(|group| group.unit != "frames")
}

/// The plots, by file name: cost against size, where a workload has more than one size.
fn pictures(results: &Results) -> Vec<(String, String)> {
    let Some(last) = results.runs.last() else { return Vec::new() };
    let mut pictures = Vec::new();
    for section in &SECTIONS {
        for (workload, groups) in workloads(last, section.name) {
            if !has_picture(&groups) {
                continue;
            }
            let curves: Vec<Curve> = candidates(&groups)
                .into_iter()
                .map(|name| Curve {
                    name: name.into(),
                    points: groups
                        .iter()
                        .filter_map(|group| Some((group.size as f64, stats::median(group.samples(name)?)?)))
                        .collect(),
                })
                .collect();
            let unit = &groups[0].unit;
            pictures.push((
                file_name(section.name, workload),
                plot::svg(&capital(workload), "prefixes or addresses listed", unit, &curves),
            ));
        }
    }
    pictures
}

fn file_name(section: &str, workload: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let mut name: String = format!("{section}-{workload}").chars().map(plain).collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    format!("{}.svg", name.trim_end_matches('-'))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Series;

    fn results() -> Results {
        let series =
            |name: &str, samples: [f64; 3]| Series { name: name.into(), samples: samples.into(), ..Series::default() };
        let group = |size: usize, label: &str| Group {
            section: "path".into(),
            workload: "drop, all".into(),
            size,
            label: label.into(),
            unit: "ns".into(),
            base: "null".into(),
            series: vec![series("null", [100.0, 200.0, 100.0]), series("weir", [110.0, 220.0, 120.0])],
        };
        let absent =
            Absent { candidate: "nft".into(), section: "path".into(), label: "all".into(), why: "too slow".into() };
        let groups = vec![group(100, "100"), group(1000, "1k")];
        let run = Run { groups, absent: vec![absent], repeated: 2, disturbed: 0 };
        Results { machine: vec![("CPU".into(), "one | two".into())], quick: false, whole: true, runs: vec![run] }
    }

    #[test]
    fn a_row_has_median_percentiles_and_the_ratio_of_each_round() {
        let text = text(&results());
        assert!(text.contains("| ns | 100 | 1k |\n|---|---:|---:|\n"), "{text}");
        assert!(text.contains("| weir | 120 (112-200), 1.10x | 120 (112-200), 1.10x |"), "{text}");
        assert!(text.contains("| null | 100 (100-180) |"), "{text}");
    }

    #[test]
    fn what_was_not_measured_or_repeated_is_said() {
        let text = text(&results());
        assert!(text.contains("- nft, all: too slow\n"), "{text}");
        assert!(text.contains("2 rounds were made again"), "{text}");
        assert!(text.contains("| CPU | one \\| two |"), "{text}");
        assert!(text.contains("not measured |"), "{text}");
    }

    #[test]
    fn each_workload_of_more_than_one_size_has_a_plot_that_the_document_shows() {
        let pictures = pictures(&results());
        assert_eq!(pictures.len(), 1);
        assert!(text(&results()).contains(&format!("(benchmarks/{})", pictures[0].0)));
    }
}
