//! What stands above the tables: how weir stands, what is wrong, how much is dropped just now. Pure text with a tone.

use super::rates::{Rate, Rates};
use super::text::{clean, short};
use crate::controller::{ListState, day};
use crate::render;
use crate::report::Status;
use crate::ruleset::RuleAction;

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Notice,
    Bad,
}

/// In a few words: does it block?
pub(super) fn standing(status: &Status) -> (Tone, &'static str) {
    let works = |device: &crate::report::DeviceStatus| device.attach != "none" && device.state != "dead";
    let blocks = |rule: &crate::report::RuleTotals| rule.action == RuleAction::Block && !rule.retired;
    if !status.devices.iter().any(works) || status.generation == 0 {
        (Tone::Bad, "NOT FILTERING")
    } else if status.paused_secs.is_some() {
        (Tone::Notice, "PAUSED")
    } else if !status.is_whole() || !status.devices.iter().all(works) {
        (Tone::Bad, "blocking, but not everything")
    } else if status.rules.iter().any(blocks) {
        (Tone::Good, "blocking")
    } else {
        (Tone::Notice, "only counting: no rule blocks")
    }
}

/// Version, uptime, generation.
pub(super) fn title(status: &Status) -> String {
    let up = render::span(status.uptime_secs.cast_signed());
    format!("up {up}, generation {}, weir {}", status.generation, clean(&status.version))
}

/// The devices in one line, those in trouble first.
pub(super) fn devices(status: &Status) -> String {
    if status.devices.is_empty() {
        return "no device".into();
    }
    let mut devices: Vec<_> = status.devices.iter().collect();
    devices.sort_by_key(|device| (device.state != "dead", device.attach != "none"));
    let one = |device: &&crate::report::DeviceStatus| {
        let egress = if device.egress { " both ways" } else { "" };
        let state = if device.state == "unproven" { "no traffic yet" } else { &device.state };
        clean(&format!("{} {}{egress} {state}", device.name, device.attach))
    };
    devices.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What a person should know, the worst first.
pub(super) fn alerts(status: &Status) -> Vec<(Tone, String)> {
    let mut alerts = Vec::new();
    for device in &status.devices {
        if device.attach == "none" {
            alerts.push((Tone::Bad, format!("NOT ENFORCED: nothing is attached to device {}", device.name)));
        } else if device.state == "dead" {
            let problem = format!("NOT ENFORCED: packets arrive at {} and weir does not see them", device.name);
            alerts.push((Tone::Bad, problem));
        }
    }
    alerts.extend(status.degraded.iter().map(|problem| (Tone::Bad, format!("NOT ENFORCED: {problem}"))));
    if let Some(secs) = status.paused_secs {
        let left = render::span(secs.cast_signed());
        alerts.push((Tone::Notice, format!("PAUSED: block rules only count for {left} more (r ends it)")));
    }
    if let Some(secs) = status.unconfirmed_secs {
        let left = render::span(secs.cast_signed());
        alerts.push((Tone::Notice, format!("the last change goes back in {left} unless confirmed (weir confirm)")));
    }
    if status.rejected.is_some() {
        alerts.push((Tone::Notice, "the last change was rolled back; what was before it is in force".into()));
    }
    for list in &status.lists {
        let asn = list.asn.map_or_else(String::new, |asn| format!(" AS{asn}"));
        let name = format!("{}{asn}", list.source);
        let copy = list.fetched.map_or_else(|| "there is no copy".into(), |at| format!("its copy is of {}", day(at)));
        let problem = list.problem.as_deref().map_or_else(String::new, |problem| format!(": {problem}"));
        match list.state {
            ListState::Good => {}
            ListState::Failing => alerts.push((Tone::Notice, format!("list {name} fails, {copy}{problem}"))),
            ListState::Stale => alerts.push((Tone::Bad, format!("list {name} is old, {copy}{problem}"))),
            ListState::Missing => alerts.push((Tone::Bad, format!("list {name}: {copy}{problem}"))),
        }
    }
    if !status.resting.is_empty() {
        let until = status.next_switch.map_or_else(String::new, |next| format!("; next switch {}", day(next)));
        alerts.push((Tone::Plain, format!("off by schedule: {}{until}", status.resting.join(", "))));
    }
    alerts.sort_by_key(|(tone, _)| *tone != Tone::Bad);
    alerts.into_iter().map(|(tone, text)| (tone, clean(&text))).collect()
}

/// What is counted just now; `answers` where weir answers.
pub(super) fn speed(rates: Option<&Rates>, answers: bool) -> Vec<String> {
    let Some(rates) = rates else {
        let why = if answers { "waiting for a second reading" } else { "not known" };
        return vec![format!("rates: {why}")];
    };
    let words = |rate: Rate| format!("{} packets/s  {}bit/s", short(rate.packets), unit(rate.bits));
    let share = rates.share.map_or_else(String::new, |share| format!("  {:.1} % of traffic", share * 100.0));
    let mut lines = vec![format!("dropped  {}{share}", words(rates.dropped))];
    if rates.monitored.packets > 0.0 {
        lines.push(format!("would be dropped  {}", words(rates.monitored)));
    }
    lines.push(format!("seen  {}", words(rates.seen)));
    lines
}

/// A figure before its unit: `98.1 M`, `120 `.
fn unit(value: f64) -> String {
    let text = short(value);
    if text.contains(' ') { text } else { text + " " }
}

#[cfg(test)]
mod tests {
    use super::super::sample::status;
    use super::*;

    #[test]
    fn the_standing_is_the_worst_that_holds() {
        let mut status = status();
        assert_eq!(standing(&status), (Tone::Good, "blocking"));
        status.rules.retain(|rule| rule.action == RuleAction::Monitor);
        assert_eq!(standing(&status), (Tone::Notice, "only counting: no rule blocks"));
        status.degraded.push("x".into());
        assert_eq!(standing(&status), (Tone::Bad, "blocking, but not everything"));
        status.paused_secs = Some(3);
        assert_eq!(standing(&status), (Tone::Notice, "PAUSED"));
        status.devices[0].state = "dead".into();
        assert_eq!(standing(&status).1, "PAUSED", "the other device works");
        status.devices[1].attach = "none".into();
        assert_eq!(standing(&status), (Tone::Bad, "NOT FILTERING"));
        status.devices.clear();
        assert_eq!(standing(&status), (Tone::Bad, "NOT FILTERING"));
    }

    #[test]
    fn a_device_without_a_program_is_not_everything() {
        let mut status = status();
        status.devices[1].attach = "none".into();
        assert_eq!(standing(&status), (Tone::Bad, "blocking, but not everything"));
        assert!(devices(&status).starts_with("wan0 none"), "{}", devices(&status));
        assert_eq!(alerts(&status), [(Tone::Bad, "NOT ENFORCED: nothing is attached to device wan0".into())]);
    }

    #[test]
    fn what_is_wrong_comes_first_and_cannot_command_the_terminal() {
        let mut status = status();
        status.paused_secs = Some(90);
        status.unconfirmed_secs = Some(30);
        status.resting = vec!["games".into()];
        status.degraded = vec!["rule \"x\x1b[2J\"".into()];
        let alerts = alerts(&status);
        assert_eq!(alerts[0], (Tone::Bad, "NOT ENFORCED: rule \"x\\u{1b}[2J\"".into()));
        assert_eq!(alerts[1].1, "PAUSED: block rules only count for 1 min 30 s more (r ends it)");
        assert!(alerts[2].1.contains("goes back in 30 s"), "{alerts:?}");
        assert_eq!(alerts[3], (Tone::Plain, "off by schedule: games".into()));
    }
}
