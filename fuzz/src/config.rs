//! Any text as a configuration, as an operator's catalog, and as a schedule.
//!
//! Input: a byte for what it is (`run`), then the text. A refusal names a line that is there; a comment in front moves that
//! line and nothing else; what is accepted keeps what the rest of weir takes for granted.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;

use weir::catalog::Catalog;
use weir::config::{Config, check_device_name};
use weir::ruleset::parts::{Copies, PartId, parts};
use weir::ruleset::resolve::ResolvedRule;
use weir::ruleset::{Schedule, Window, resolve};

use crate::bytes::Bytes;
use crate::judge;

const FILE: &str = "weir.toml";

/// See the file's first lines.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    match bytes.byte() % 4 {
        0 | 1 => configuration(bytes.rest()),
        2 => catalog(bytes.rest()),
        _ => schedule(&mut bytes),
    }
}

/// A refusal, as `file:line: problem`.
struct Refused {
    line: usize,
    problem: String,
}

/// Reads `text`, and reads it again behind a comment.
fn read<T: PartialEq + Debug>(text: &[u8], parse: impl Fn(&[u8]) -> Result<T, Refused>) -> Option<T> {
    let read = parse(text);
    if let Err(refused) = &read {
        assert_fit(refused, text);
    }
    // A byte order mark is one at the front only.
    if !text.starts_with(b"\xef\xbb\xbf") {
        match (&read, parse(&[b"# comment\n", text].concat())) {
            (Ok(read), Ok(again)) => assert_eq!(*read, again),
            (Err(refused), Err(again)) => {
                // What toml says of a file as a whole has no place of its own.
                let moved = again.line == refused.line + 1 || (refused.line, again.line) == (1, 1);
                assert!(moved, "line {} became {}: {}", refused.line, again.line, again.problem);
                assert_eq!(refused.problem, again.problem);
            }
            (Ok(_), Err(again)) => panic!("refused behind a comment: {}", again.problem),
            (Err(refused), Ok(_)) => panic!("accepted behind a comment, else {}", refused.problem),
        }
    }
    read.ok()
}

fn assert_fit(refused: &Refused, text: &[u8]) {
    let lines = judge::lines(text);
    assert!((1..=lines).contains(&refused.line), "line {} of {lines}: {}", refused.line, refused.problem);
    assert!(!refused.problem.is_empty() && !refused.problem.contains(char::is_control), "{:?}", refused.problem);
    assert!(refused.problem.len() <= 4000, "{:?}", refused.problem);
}

fn configuration(text: &[u8]) {
    let parse = |text: &[u8]| {
        Config::parse(Path::new(FILE), text, Catalog::embedded())
            .map_err(|error| Refused { line: error.line, problem: error.problem })
    };
    let Some(config) = read(text, parse) else { return };
    // What stands behind an accepted text is refused in its own line.
    let last = judge::lines(text) + 1;
    let refused = parse(&[text, b"\n[no_such_table]"].concat()).expect_err("there is no such table");
    assert_eq!(refused.line, last, "{}", refused.problem);
    let names: BTreeSet<&str> = config.rules.iter().map(|rule| rule.identity.name.as_str()).collect();
    assert_eq!(names.len(), config.rules.len(), "counters are kept by name");
    for name in names {
        assert!((1..=64).contains(&name.len()) && !name.contains(char::is_control), "{name:?}");
    }
    let mut devices = BTreeSet::new();
    for interface in &config.interfaces {
        assert!(devices.insert(&interface.name) && check_device_name(&interface.name).is_ok(), "{interface:?}");
    }
    let nets = config.rules.iter().flat_map(|rule| rule.prefixes.iter().chain(&rule.scope.clients));
    assert!(nets.chain(&config.never_block).all(|net| net.trunc() == *net), "host bits");
    for rule in &config.rules {
        assert!(!rule.asns.contains(&0) && rule.scope.vlans.iter().all(|&id| id <= 4094), "{rule:?}");
        assert!(rule.services.iter().all(|id| config.catalog.service(id).is_some()));
        assert!(rule.lists.iter().all(|name| config.sources.contains_key(name)));
        assert!(rule.scope.devices.iter().all(|name| devices.is_empty() || devices.contains(name)));
    }
    assert!((1..=(config.asn.tables.len() + config.asn.sources.len()).max(1)).contains(&config.asn.quorum));

    // Each part is kept in a file of its own.
    let needed = parts(&config);
    let files: BTreeSet<String> = needed.keys().map(PartId::file_name).collect();
    assert!(files.len() == needed.len() && files.iter().all(|name| !name.contains('/')), "{files:?}");
    match resolve(&config, &Copies::new()) {
        Ok(resolved) => {
            // What the operator wrote into a rule is in it, whatever is not at hand yet.
            let written = resolved.rules.iter().map(|ResolvedRule { written, .. }| written);
            assert!(written.eq(config.rules.iter().map(|rule| &rule.prefixes)));
            for (rule, resolved) in config.rules.iter().zip(resolved.rules()) {
                for net in &rule.prefixes {
                    let found = match net {
                        ipnet::IpNet::V4(net) => {
                            resolved.v4.contains(net.addr().into()) && resolved.v4.contains(net.broadcast().into())
                        }
                        ipnet::IpNet::V6(net) => {
                            resolved.v6.contains(net.addr().into()) && resolved.v6.contains(net.broadcast().into())
                        }
                    };
                    assert!(found, "{net} is missing");
                }
            }
        }
        Err(refused) => assert!(refused.to_string().starts_with("rule \""), "{refused}"),
    }
}

fn catalog(text: &[u8]) {
    let parse = |text: &[u8]| {
        Catalog::parse(Path::new("catalog.toml"), text)
            .map_err(|error| Refused { line: error.line, problem: error.problem })
    };
    let Some(own) = read(text, parse) else { return };
    let embedded = Catalog::embedded();
    let merged = embedded.with(&own);
    for service in own.services() {
        assert_eq!(merged.service(&service.id), Some(service), "the operator's entry is the one that counts");
    }
    for service in merged.services() {
        assert!(merged.category(&service.category).is_some() && merged.category(&service.id).is_none(), "{service:?}");
        assert!(service.networks.is_sorted_by(|a, b| a.asn < b.asn) && service.networks.iter().all(|net| net.asn != 0));
    }
    assert_eq!(merged.with(&own), merged, "taken over twice is taken over once");
}

/// Whoever shows it cuts it: a configuration's refusals are cut.
fn assert_plain(refused: &str) {
    assert!(!refused.is_empty() && !refused.contains(char::is_control), "{refused:?}");
}

/// Two lengths and texts for the days, times and zone, and an instant: the next change is the first one.
fn schedule(bytes: &mut Bytes<'_>) {
    let mut text = || String::from_utf8_lossy(bytes.short()).into_owned();
    let (days, from, to, zone) = (text(), text(), text(), text());
    let days: Vec<&str> = days.split(' ').filter(|day| !day.is_empty()).collect();
    let window = match Window::new(&days, &from, &to) {
        Ok(window) => window,
        Err(refused) => return assert_plain(&refused.to_string()),
    };
    let schedule = match Schedule::new(vec![window], &zone) {
        Ok(schedule) => schedule,
        Err(refused) => return assert_plain(&refused.to_string()),
    };
    // Instants of this century and around it, and any there are.
    let at = if bytes.flag() { bytes.u64().cast_signed() } else { i64::from(bytes.u32()) };
    let Some(next) = schedule.next_change(at) else { return };
    let active = schedule.active(at);
    assert!(next > at, "{next} is not after {at}");
    assert_eq!(schedule.active(next), !active, "at {next}, after {at}");
    assert_eq!(schedule.active(next - 1), active, "before {next}, after {at}");
    // Nowhere in between: a few hundred places are looked at.
    let step = ((next - at) / 200).max(1);
    let between = (0..200).map(|place| at.saturating_add(place * step)).take_while(|place| *place < next);
    assert!(between.into_iter().all(|place| schedule.active(place) == active), "between {at} and {next}");
}
