//! weir's daemon, the release binary: from a signal to a list that is live, by its log, and the memory it takes.

use std::fs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_tests::lab::DEADLINE;
use weir_tests::wait_until;
use weir_tests::weir::{Signal, Weir};

use super::lists::Lists;
use super::{
    DAEMON, FULL_PEAK, FULL_PEAK_AGAIN, FULL_RESIDENT, LIVE, MEMORY, PUBLISHED, SECTION, SIGNALLED, TIKTOK_KERNEL,
    TIKTOK_RESIDENT, figure, kernel,
};
use crate::measure::Effort;
use crate::path::lane::{Bed, INGRESS, Lane};
use crate::peers::text;
use crate::results::{Group, Run};

/// How long a daemon is left alone before its memory is read.
const REST: Duration = Duration::from_secs(1);

/// A daemon whose configuration is replaced.
pub(super) struct Reloading<'l> {
    pub(super) weir: Weir,
    lane: &'l Lane,
}

impl<'l> Reloading<'l> {
    pub(super) fn start(lane: &'l Lane, rule: &str) -> Self {
        let config = lane.scratch.file("weir.toml", config(rule));
        Self { weir: Weir::start(&lane.router, ["-c", text(&config)]), lane }
    }

    /// Publishes: milliseconds from the signal to where it is live, and those that the publish took of them.
    pub(super) fn publish(&self, rule: &str) -> (f64, f64) {
        self.lane.scratch.file("weir.toml", config(rule));
        let lines = || published(&self.weir.stderr());
        let before = lines().len();
        let begun = since_midnight();
        self.weir.signal(Signal::SIGHUP);
        wait_until(DEADLINE, "the daemon publishes", || lines().len() > before);
        let (live, took) = *lines().last().expect("there is one more");
        // A day is over at midnight.
        (((live - begun).rem_euclid(DAY)) * 1e3, took)
    }

    /// A field of its status in /proc, in MB.
    fn memory(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.weir.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kilobytes: f64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap();
        kilobytes * 1024.0 / 1e6
    }

    /// Has its peak counted from here on.
    fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.weir.pid()), "5").unwrap();
    }
}

/// A rule for a list that stands beside the configuration, and the daemon's own for a service.
pub(super) const LISTED: &str = "files = [\"listed.txt\"]\nallow_wide = true";
const TIKTOK: &str = "services = [\"tiktok\"]";

fn config(rule: &str) -> String {
    format!(
        "[[interface]]\nname = \"{INGRESS}\"\nattach = \"xdp-native\"\n[[rule]]\nname = \"listed\"\naction = \"block\"\n{rule}\n"
    )
}

const DAY: f64 = 86_400.0;

fn since_midnight() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() % DAY
}

/// When each publish was live, in seconds since midnight (UTC), and the milliseconds it took: as the log says.
fn published(log: &str) -> Vec<(f64, f64)> {
    let line = |line: &str| {
        let time: Vec<f64> = line.get(11..26)?.split(':').map_while(|part| part.parse().ok()).collect();
        let [hours, minutes, seconds] = time[..] else { return None };
        let took = line.split("took_ms=").nth(1)?.split_whitespace().next()?.parse().ok()?;
        Some((3600.0 * hours + 60.0 * minutes + seconds, took))
    };
    log.lines().filter(|line| line.contains(" published ")).filter_map(line).collect()
}

/// Publishes a list again and again.
pub(super) fn times(effort: &Effort, run: &mut Run, lane: &Lane, lists: &Lists) {
    lane.scratch.file("listed.txt", lists.text());
    let daemon = Reloading::start(lane, LISTED);
    let (live, took) = (0..effort.rounds).map(|_| daemon.publish(LISTED)).unzip();
    let series = [figure(SIGNALLED, live), figure(PUBLISHED, took)];
    let group = run
        .groups
        .iter_mut()
        .find(|group| group.section == SECTION.name && group.workload == LIVE && group.label == lists.label);
    group.expect("it was measured before").series.extend(series);
}

/// What the daemon and its filter take with the embedded service, and with all prefixes.
pub(super) fn memory(effort: &Effort, run: &mut Run) {
    let bed = Bed::new(1);
    let [lane] = &bed.lanes[..] else { unreachable!("one lane") };
    let lists = Lists::of_size(usize::MAX);
    lane.scratch.file("listed.txt", lists.text());
    let mut samples = [const { Vec::new() }; 5];
    for round in 0..=if effort.quick { 1 } else { 3 } {
        let before = kernel::taken();
        let daemon = Reloading::start(lane, TIKTOK);
        thread::sleep(REST);
        let resident = daemon.memory("VmRSS");
        let taken = (kernel::taken() - before) / 1e6;
        let peak = || {
            daemon.forget_peak();
            daemon.publish(LISTED);
            thread::sleep(REST);
            daemon.memory("VmHWM")
        };
        let peaks = [peak(), peak()];
        let figures = [taken, resident, peaks[0], peaks[1], daemon.memory("VmRSS")];
        // The first round fills the kernel's own caches.
        if round > 0 {
            samples.iter_mut().zip(figures).for_each(|(samples, figure)| samples.push(figure));
        }
    }
    println!("  {MEMORY}, MB:");
    let names = [TIKTOK_KERNEL, TIKTOK_RESIDENT, FULL_PEAK, FULL_PEAK_AGAIN, FULL_RESIDENT];
    let group = Group {
        section: SECTION.name.into(),
        workload: MEMORY.into(),
        size: lists.len(),
        label: DAEMON.into(),
        unit: "MB".into(),
        base: String::new(),
        series: names.into_iter().zip(samples).map(|(name, samples)| figure(name, samples)).collect(),
    };
    run.add(group, 0, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_is_live_when_the_log_says_so() {
        let log = "2026-11-24T14:04:01.073469Z  INFO published generation=1 rules=1 took_ms=82 devices=\"v0\"\n\
                   2026-11-24T14:04:01.091364Z  INFO serving the page\n";
        let [(at, took)] = published(log)[..] else { panic!("{:?}", published(log)) };
        assert!((at - 50_641.073_469).abs() < 1e-6 && (took - 82.0).abs() < 1e-9, "{at} {took}");
    }
}
