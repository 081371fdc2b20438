//! When weir was there to count: gaps and paused time, from the periods that were written down. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use super::query::{Enforcement, Gap, Period};
use super::standing::SILENCE;

const NOT_RUNNING: &str = "weir was not running";
const NO_RECORD: &str = "nothing was recorded";
const NO_RULESET: &str = "no ruleset was live";
const NO_DEVICE: &str = "no device was filtered";
const NOT_ATTACHED: &str = "not attached";
const DEAD: &str = "packets arrived and the program did not see them";

/// What the periods say about the span: by their begin, and with the last one before the span.
pub(super) fn enforcement(mut periods: Vec<Period>, span: &Range<i64>) -> Enforcement {
    let gaps = gaps(&periods, span);
    periods.retain(|period| period.end >= span.start && period.begin < span.end);
    let gap_secs = measure(gaps.iter().map(|gap| gap.begin..gap.end).collect());
    let clip = |period: &Period| period.begin.max(span.start)..period.end.min(span.end);
    let paused = periods.iter().filter(|period| period.standing.paused).map(clip).collect();
    Enforcement {
        covered_secs: span.end.saturating_sub(span.start).max(0) - gap_secs,
        gap_secs,
        paused_secs: measure(paused),
        gaps,
        periods,
    }
}

/// Every time in which something was not enforced, as far as it lies in the span.
pub(super) fn gaps(periods: &[Period], span: &Range<i64>) -> Vec<Gap> {
    if span.start >= span.end {
        return Vec::new();
    }
    let mut gaps = unenforced(periods);
    let mut gap = |begin: i64, end: i64, why: &str| gaps.push(Gap { begin, end, device: None, why: why.into() });
    // Until when something is known, and which daemon said so.
    let mut known: Option<(i64, i64)> = None;
    for period in periods {
        match known {
            None if period.begin > span.start => gap(span.start, period.begin, NO_RECORD),
            Some((until, started)) if started != period.standing.started => {
                gap(until.min(period.begin), period.begin, NOT_RUNNING);
            }
            Some((until, _)) if period.begin.saturating_sub(until) > SILENCE => gap(until, period.begin, NO_RECORD),
            _ => {}
        }
        let until = known.map_or(period.end, |(until, _)| until.max(period.end));
        known = Some((until, period.standing.started));
    }
    let until = known.map_or(span.start, |(until, _)| until.max(span.start));
    if span.end.saturating_sub(until) > SILENCE {
        gap(until, span.end, NO_RECORD);
    }
    gaps.retain(|gap| gap.begin < span.end && (gap.end > span.start || gap.begin >= span.start));
    for gap in &mut gaps {
        gap.begin = gap.begin.clamp(span.start, span.end);
        gap.end = gap.end.clamp(span.start, span.end);
    }
    gaps.sort();
    gaps
}

/// Times in which weir was there, and a device, or all of them, was not filtered.
fn unenforced(periods: &[Period]) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    // Where the last gap of a device for a reason is.
    let mut last: BTreeMap<(Option<&str>, &str), usize> = BTreeMap::new();
    for period in periods {
        for (device, why) in faults(period) {
            let goes_on =
                last.get(&(device, why)).and_then(|&at| gaps.get_mut(at)).filter(|gap| gap.end == period.begin);
            if let Some(gap) = goes_on {
                gap.end = period.end;
                continue;
            }
            last.insert((device, why), gaps.len());
            let device = device.map(Into::into);
            gaps.push(Gap { begin: period.begin, end: period.end, device, why: why.into() });
        }
    }
    gaps
}

fn faults(period: &Period) -> Vec<(Option<&str>, &'static str)> {
    let standing = &period.standing;
    let mut faults = Vec::new();
    if standing.generation == 0 {
        faults.push((None, NO_RULESET));
    } else if standing.devices.is_empty() {
        faults.push((None, NO_DEVICE));
    }
    for (name, hooked) in &standing.devices {
        if hooked.attach == "none" {
            faults.push((Some(name.as_str()), NOT_ATTACHED));
        } else if hooked.state == "dead" {
            faults.push((Some(name.as_str()), DEAD));
        }
    }
    faults
}

/// Seconds in at least one of the ranges.
fn measure(mut ranges: Vec<Range<i64>>) -> i64 {
    ranges.sort_by_key(|range| range.start);
    let (mut sum, mut known) = (0, i64::MIN);
    for range in ranges {
        let begin = range.start.max(known);
        sum += (range.end - begin).max(0);
        known = known.max(range.end);
    }
    sum
}
