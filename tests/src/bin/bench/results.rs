//! What was measured, as JSON keeps it. Holds samples, and judges nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats::{self, Summary};

/// Everything, of all runs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Name and value of what a reader must know of the machine.
    pub(crate) machine: Vec<(String, String)>,
    /// Few rounds: figures are not to be quoted.
    pub(crate) quick: bool,
    /// All sections were measured, at all sizes.
    #[serde(default)]
    pub(crate) whole: bool,
    pub(crate) runs: Vec<Run>,
}

/// One run of the sections.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) groups: Vec<Group>,
    /// What was to be measured and was not, and why.
    pub(crate) absent: Vec<Absent>,
    /// Rounds that were made again because others disturbed the machine meanwhile.
    pub(crate) repeated: usize,
    /// Rounds that were kept although they did: the spare ones were used up.
    pub(crate) disturbed: usize,
}

/// Candidates that were measured in turns.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) section: String,
    /// What they had to do: "drop, all listed".
    pub(crate) workload: String,
    /// How many prefixes or addresses were listed, and as people write it.
    pub(crate) size: usize,
    pub(crate) label: String,
    /// The unit of all samples.
    pub(crate) unit: String,
    /// The candidate that the others are compared with.
    pub(crate) base: String,
    pub(crate) series: Vec<Series>,
}

/// One candidate's samples, one for each round.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) samples: Vec<f64>,
    /// Figures that were taken once: "bytes", "load ms".
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) once: BTreeMap<String, f64>,
}

/// What was not measured.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Absent {
    pub(crate) section: String,
    pub(crate) candidate: String,
    pub(crate) label: String,
    pub(crate) why: String,
}

impl Run {
    /// The group of a section, workload and size.
    pub(crate) fn group(&self, section: &str, workload: &str, label: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.section == section && group.workload == workload && group.label == label)
    }

    /// Says that something was not measured.
    pub(crate) fn absent(&mut self, section: &str, candidate: &str, label: &str, why: &str) {
        println!("  {label}, {candidate}: not measured: {why}");
        let [section, candidate, label, why] = [section, candidate, label, why].map(str::to_owned);
        self.absent.push(Absent { section, candidate, label, why });
    }

    /// Adds what was measured.
    pub(crate) fn add(&mut self, group: Group, repeated: usize, disturbed: usize) {
        self.groups.push(group);
        self.repeated += repeated;
        self.disturbed += disturbed;
    }
}

impl Group {
    /// Adds the rounds of a group that measured the same, in any order.
    pub(crate) fn append(&mut self, more: &Self) {
        for series in &mut self.series {
            let other = more.series.iter().find(|other| other.name == series.name);
            series.samples.extend(other.iter().flat_map(|other| &other.samples));
        }
    }

    pub(crate) fn samples(&self, candidate: &str) -> Option<&[f64]> {
        self.series.iter().find(|series| series.name == candidate).map(|series| series.samples.as_slice())
    }

    /// A figure that was taken once.
    pub(crate) fn once(&self, candidate: &str, kind: &str) -> Option<f64> {
        self.series.iter().find(|series| series.name == candidate)?.once.get(kind).copied()
    }

    pub(crate) fn summary(&self, candidate: &str) -> Option<Summary> {
        stats::summary(self.samples(candidate)?)
    }

    /// The median, over the rounds, of how many times more `over` took than `under`; of nothing there is none.
    pub(crate) fn ratio(&self, over: &str, under: &str) -> Option<f64> {
        stats::median(&stats::ratios(self.samples(over)?, self.samples(under)?)).filter(|ratio| ratio.is_finite())
    }

    /// The median, over the rounds, of how much more `from` took than `less`.
    pub(crate) fn excess(&self, from: &str, less: &str) -> Option<f64> {
        stats::median(&stats::differences(self.samples(from)?, self.samples(less)?))
    }

    /// Prints it for whoever waits for the run.
    pub(crate) fn say(&self) {
        println!("  {}, {}:", self.label, self.workload);
        for Series { name, .. } in &self.series {
            let Some(Summary { p10, median, p90 }) = self.summary(name) else { continue };
            let times = self.ratio(name, &self.base).unwrap_or(f64::NAN);
            let unit = &self.unit;
            println!("    {name:36}{median:8.1} {unit} ({p10:.1}-{p90:.1}), {times:.2} times {}", self.base);
        }
    }
}
