//! What a daemon takes of the machine at one time, and how that went. Must not change anything.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use weir_tests::weir::Weir;

/// One second's figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) second: u64,
    /// Memory of the process, bytes.
    pub(crate) resident: u64,
    /// Memory of the maps that it has open, bytes, as the kernel accounts it.
    pub(crate) maps: u64,
    pub(crate) descriptors: u64,
    pub(crate) generation: u64,
    pub(crate) seen: u64,
}

impl Sample {
    pub(crate) fn take(weir: &Weir, second: u64) -> Self {
        let process = format!("/proc/{}", weir.pid());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let descriptors = fs::read_dir(format!("{process}/fd")).unwrap().count() as u64;
        // A map that is open twice is one map.
        let mut maps = BTreeMap::new();
        for entry in fs::read_dir(format!("{process}/fdinfo")).unwrap().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            if let (Some(id), Some(bytes)) = (field(&text, "map_id"), field(&text, "memlock")) {
                maps.insert(id, bytes);
            }
        }
        let shown = weir.status();
        Self {
            second,
            resident: field(&status, "VmRSS").unwrap() * 1024,
            maps: maps.values().sum(),
            descriptors,
            generation: shown["generation"].as_u64().unwrap(),
            seen: shown["seen"]["packets"].as_u64().unwrap(),
        }
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, maps, descriptors, generation, seen, .. } = self;
        let (resident, maps) = (*resident as f64 / 1e6, *maps as f64 / 1e6);
        write!(
            out,
            "{resident:.1} MB resident, {maps:.1} MB in maps, {descriptors} descriptors, {generation} publishes, {seen} seen"
        )
    }
}

/// A figure over the time.
pub(crate) struct Trend {
    pub(crate) name: &'static str,
    /// The unit's name, and how much of the figure is one.
    pub(crate) unit: (&'static str, f64),
    pub(crate) figure: fn(&Sample) -> u64,
    /// What the last quarter may be above the second.
    allowed: u64,
    second: u64,
    last: u64,
    largest: u64,
}

impl Trend {
    /// Those that must be flat.
    pub(crate) fn all(samples: &[Sample]) -> Vec<Self> {
        let of = |name, unit, figure: fn(&Sample) -> u64, allowed| {
            let values: Vec<u64> = samples.iter().map(figure).collect();
            let quarter = values.len() / 4;
            Self {
                name,
                unit,
                figure,
                allowed,
                second: median(&values[quarter..2 * quarter]),
                last: median(&values[3 * quarter..]),
                largest: values.iter().copied().max().unwrap_or(0),
            }
        };
        vec![
            of("memory of the daemon", ("MB", 1e6), |sample| sample.resident, 1_000_000),
            of("memory of its maps", ("MB", 1e6), |sample| sample.maps, 0),
            of("file descriptors", ("", 1.0), |sample| sample.descriptors, 0),
        ]
    }

    pub(crate) fn is_flat(&self) -> bool {
        self.last <= self.second + self.allowed
    }
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

impl fmt::Display for Trend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = self.unit;
        let decimals = usize::from(size > 1.0);
        let [second, last, largest, allowed] = [self.second, self.last, self.largest, self.allowed]
            .map(|value| format!("{:.decimals$} {unit}", value as f64 / size));
        let verdict = if self.is_flat() { "flat" } else { "GROWS" };
        write!(out, "| {} | {second} | {last} | {largest} | {allowed} | {verdict} |", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_told_from_what_settles() {
        let sample = |second: u64, maps: u64| Sample {
            second,
            resident: 10_000_000 + if second < 20 { second * 100_000 } else { 2_000_000 },
            maps,
            descriptors: 30 + second % 2,
            generation: second,
            seen: second,
        };
        let flat: Vec<Sample> = (1..=100).map(|second| sample(second, 500)).collect();
        assert!(Trend::all(&flat).iter().all(Trend::is_flat));
        let grows: Vec<Sample> = (1..=100).map(|second| sample(second, 500 + second)).collect();
        let judged: Vec<bool> = Trend::all(&grows).iter().map(Trend::is_flat).collect();
        assert_eq!(judged, [true, false, true]);
    }

    #[test]
    fn fields_are_read_by_their_whole_name() {
        assert_eq!(field("VmRSSx:\t1 kB\nVmRSS:\t  12 kB\n", "VmRSS"), Some(12));
    }
}
