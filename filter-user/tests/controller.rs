//! The controller on a virtual clock: every wait of a day passes in a microsecond, and nothing is fetched or published.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weir::catalog::Catalog;
use weir::config::Config;
use weir::controller::{
    Command, ConfigText, Controller, Event, Job, Level, ListState, Load, Moment, Outcome, Policy, Saved, Start, Waiting,
};
use weir::ruleset::parts::{Copies, PartId};
use weir::source::copy::{Copy, Validators};
use weir::source::{Content, Need, read};

/// 2026-01-05 12:00:00 UTC, a Monday.
const NOON: i64 = 1_767_614_400;

/// A daemon that does nothing: it notes what the controller wants.
struct Sim {
    controller: Controller,
    now: Moment,
    published: Vec<Arc<Policy>>,
    asked: Vec<Job>,
    kept: Vec<PartId>,
    saved: Vec<Saved>,
    said: Vec<(Level, String)>,
    /// What the next publish fails with.
    broken: Option<String>,
}

impl Sim {
    fn new() -> Self {
        Self {
            controller: Controller::new(7),
            now: Moment { up: Duration::ZERO, unix: NOON },
            published: vec![],
            asked: vec![],
            kept: vec![],
            saved: vec![],
            said: vec![],
            broken: None,
        }
    }

    fn started(config: &str) -> Self {
        let mut sim = Self::new();
        sim.load(config, None);
        sim
    }

    fn load(&mut self, config: &str, confirm: Option<u64>) {
        self.load_with(config, confirm, Copies::new());
    }

    fn load_with(&mut self, config: &str, confirm: Option<u64>, stored: Copies) {
        let text = Some(ConfigText { path: "weir.toml".into(), text: config.into() });
        let confirm = confirm.map(Duration::from_secs);
        self.event(Event::Load(Box::new(Load { config: parse(config), text, files: Copies::new(), stored, confirm })));
    }

    fn event(&mut self, event: Event) {
        let mut commands = self.controller.handle(event, self.now);
        while !commands.is_empty() {
            let mut next = vec![];
            for command in commands {
                match command {
                    Command::Publish(policy) => {
                        let result = self.broken.take().map_or(Ok(()), Err);
                        if result.is_ok() {
                            self.published.push(policy);
                        }
                        next.extend(self.controller.handle(Event::Published(result), self.now));
                    }
                    Command::Fetch(job) => self.asked.push(*job),
                    Command::Keep(id, _) => self.kept.push(id),
                    Command::Save(saved) => self.saved.push(saved),
                    Command::Say(level, text) => self.said.push((level, text)),
                }
            }
            commands = next;
        }
    }

    /// Lets time pass, a second at a time.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now.up += Duration::from_secs(1);
            self.now.unix += 1;
            self.event(Event::Tick);
        }
    }

    /// Lets time pass until something is asked; how long that was.
    fn until_asked(&mut self) -> u64 {
        for second in 0..200_000 {
            if !self.asked.is_empty() {
                return second;
            }
            self.pass(1);
        }
        panic!("nothing was asked for")
    }

    /// Answers what was asked first.
    fn answer(&mut self, outcome: Outcome) -> Job {
        let job = self.asked.remove(0);
        self.event(Event::Fetched(job.part.clone(), outcome));
        job
    }

    fn said(&self) -> String {
        let mut all = String::new();
        for (level, text) in &self.said {
            writeln!(all, "{level:?}: {text}").unwrap();
        }
        all
    }

    fn state(&self, source: &str) -> ListState {
        self.controller.lists(self.now).into_iter().find(|list| list.source == source).unwrap().state
    }

    /// How many addresses are in force for a source.
    fn in_force(&self, id: &PartId) -> u128 {
        let live = self.controller.live().unwrap();
        live.copies.get(id).map_or(0, |copy| copy.addresses().0.addresses())
    }
}

fn parse(config: &str) -> Config {
    Config::parse(Path::new("weir.toml"), config.as_bytes(), Catalog::embedded()).unwrap()
}

fn list(text: &str) -> Outcome {
    tagged(text, None)
}

fn tagged(text: &str, etag: Option<&str>) -> Outcome {
    let validators = Validators { etag: etag.map(str::to_owned), last_modified: None };
    Outcome::Content { content: read(text.as_bytes(), &Need::List).unwrap(), validators }
}

fn failed(problem: &str) -> Outcome {
    Outcome::Failed { problem: problem.into(), retry_after: None }
}

fn source(name: &str) -> PartId {
    PartId::Source(name.into(), None)
}

/// One rule that takes one list.
const ONE: &str = r#"
[[rule]]
name = "campus"
action = "block"
lists = ["campus"]
[[source]]
name = "campus"
url = "http://127.0.0.1/campus"
refresh = "1h"
[fetch]
retry = "60s"
"#;

const TEN: &str = "10.0.0.0/24\n10.0.1.0/24\n10.0.2.0/24\n10.0.3.0/24\n10.0.4.0/24\n10.0.5.0/24\n10.0.6.0/24\n10.0.7.0/24\n\
                   10.0.8.0/24\n10.0.9.0/24\n";

fn without_last(lines: usize) -> String {
    TEN.lines().take(10 - lines).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_has_no_copy_is_asked_at_once_published_and_kept() {
    let mut sim = Sim::started(ONE);
    assert_eq!((sim.published.len(), sim.state("campus")), (1, ListState::Missing));
    let job = sim.answer(tagged(TEN, Some("\"1\"")));
    assert_eq!((job.part, job.validators), (source("campus"), Validators::default()));
    assert_eq!((sim.published.len(), sim.in_force(&source("campus"))), (2, 2560));
    assert_eq!((sim.kept.as_slice(), sim.state("campus")), ([source("campus")].as_slice(), ListState::Good));
    let wait = sim.until_asked();
    assert!((3240..=3960).contains(&wait), "an hour, within a tenth: {wait}");
    assert_eq!(sim.asked[0].validators.etag.as_deref(), Some("\"1\""));
}

#[test]
fn a_failing_source_keeps_its_copy_waits_longer_each_time_and_recovers() {
    let mut sim = Sim::started(ONE);
    sim.answer(list(TEN));
    sim.until_asked();
    let mut waits = vec![];
    for _ in 0..8 {
        sim.answer(failed("answers 500"));
        assert_eq!((sim.in_force(&source("campus")), sim.published.len()), (2560, 2));
        waits.push(sim.until_asked());
    }
    for (wait, expected) in waits.iter().zip([60, 120, 240, 480, 960, 1920, 3600, 3600]) {
        assert!((expected * 9 / 10..=expected * 11 / 10 + 1).contains(wait), "{waits:?}");
    }
    assert_eq!(sim.state("campus"), ListState::Stale);
    assert!(
        sim.said().contains("Warning: source campus: answers 500; the copy of 2026-01-05 12:00 UTC stays\n"),
        "{}",
        sim.said()
    );
    sim.answer(list(TEN));
    assert_eq!(sim.state("campus"), ListState::Good);
    assert!(sim.said().ends_with("Info: source campus: answers again\n"));
    assert_eq!(sim.published.len(), 2, "nothing changed");
}

#[test]
fn a_source_without_any_copy_says_that_it_is_not_enforced() {
    let mut sim = Sim::started(ONE);
    sim.answer(failed("no such host"));
    assert_eq!(
        sim.said(),
        "Error: source campus: no such host; there is no copy yet: `weir status` says what is NOT enforced\n"
    );
}

#[test]
fn retry_after_is_heeded() {
    let mut sim = Sim::started(ONE);
    sim.answer(Outcome::Failed { problem: "answers 503".into(), retry_after: Some(Duration::from_mins(30)) });
    assert_eq!(sim.until_asked(), 1800);
    sim.answer(Outcome::Failed { problem: "answers 503".into(), retry_after: Some(Duration::from_secs(999_999)) });
    assert_eq!(sim.until_asked(), 24 * 3600, "no server switches weir off for longer than a day");
}

#[test]
fn a_list_that_shrank_is_refused_until_the_operator_takes_it_over() {
    let mut sim = Sim::started(ONE);
    sim.answer(tagged(TEN, Some("\"1\"")));
    sim.until_asked();
    sim.answer(list(&without_last(4)));
    assert_eq!((sim.in_force(&source("campus")), sim.state("campus")), (2560, ListState::Failing));
    let refusal = "Warning: source campus: refused: 40 % of the IPv4 addresses that it listed are gone (limit: shrink = 30); \
                   the copy of 2026-01-05 12:00 UTC stays; `weir update --accept campus` takes it over\n";
    assert_eq!(sim.said(), refusal);
    sim.event(Event::Update([String::from("campus")].into()));
    assert!(sim.until_asked() <= 1, "now");
    let job = sim.answer(list(&without_last(4)));
    assert_eq!(job.validators, Validators::default(), "\"not modified\" would take nothing over");
    assert_eq!((sim.in_force(&source("campus")), sim.state("campus")), (1536, ListState::Good));
    sim.until_asked();
    sim.answer(list("10.0.0.0/24"));
    assert_eq!(sim.in_force(&source("campus")), 1536, "the waiver was for once");
}

#[test]
fn an_update_without_waiver_keeps_the_gates() {
    let mut sim = Sim::started(ONE);
    sim.answer(list(TEN));
    sim.event(Event::Update(BTreeSet::new()));
    sim.until_asked();
    sim.answer(list("# nothing\n"));
    assert_eq!(sim.in_force(&source("campus")), 2560);
}

#[test]
fn one_host_is_asked_one_thing_at_a_time_with_a_pause() {
    let config = r#"
        [[rule]]
        name = "x"
        action = "block"
        asns = [1, 2, 3]
        lists = ["other"]
        [asn]
        sources = ["each"]
        [[source]]
        name = "each"
        url = "http://127.0.0.1/as/{asn}"
        [[source]]
        name = "other"
        url = "http://127.0.0.2/list"
    "#;
    let mut sim = Sim::started(config);
    let hosts = |sim: &Sim| sim.asked.iter().map(|job| format!("{:?}", job.location)).collect::<Vec<_>>();
    assert_eq!(hosts(&sim), ["Url(\"http://127.0.0.1/as/1\")", "Url(\"http://127.0.0.2/list\")"]);
    sim.pass(30);
    assert_eq!(sim.asked.len(), 2);
    sim.answer(failed("answers 404"));
    assert_eq!(sim.asked.len(), 1, "not in the same second");
    sim.pass(1);
    assert_eq!(hosts(&sim)[1], "Url(\"http://127.0.0.1/as/2\")");
}

#[test]
fn a_copy_that_was_stored_is_in_force_at_once_and_asked_for_when_it_is_due() {
    let copy = |age: i64| {
        let content = read(TEN.as_bytes(), &Need::List).unwrap();
        let mut copy = Copy::of(content, "http://127.0.0.1/campus", NOON - age);
        copy.provenance.validators.etag = Some("\"old\"".into());
        Copies::from([(source("campus"), Arc::new(copy))])
    };
    let mut sim = Sim::new();
    sim.load_with(ONE, None, copy(1800));
    assert_eq!((sim.in_force(&source("campus")), sim.asked.len()), (2560, 0));
    let wait = sim.until_asked();
    assert!((1440..=2160).contains(&wait), "{wait}");
    assert_eq!(sim.asked[0].validators.etag.as_deref(), Some("\"old\""));
    let mut sim = Sim::new();
    sim.load_with(ONE, None, copy(86_400));
    assert_eq!(sim.until_asked(), 0);
    // A clock that was ahead when the copy was stored.
    let mut sim = Sim::new();
    sim.load_with(ONE, None, copy(-10_000_000));
    assert!(sim.until_asked() <= 3960);
}

#[test]
fn what_did_not_change_is_neither_published_nor_written_again() {
    let mut sim = Sim::started(ONE);
    sim.answer(tagged(TEN, Some("\"1\"")));
    for tag in ["\"2\"", "\"3\""] {
        sim.until_asked();
        sim.answer(tagged(TEN, Some(tag)));
    }
    assert_eq!((sim.published.len(), sim.kept.len()), (2, 1));
    sim.until_asked();
    assert_eq!(sim.asked[0].validators.etag.as_deref(), Some("\"3\""));
}

#[test]
fn not_modified_for_ever_is_not_believed() {
    let mut sim = Sim::started(ONE);
    sim.answer(Outcome::Unchanged);
    assert!(sim.said().contains("answered \"not modified\" to a question without condition"), "{}", sim.said());
    sim.until_asked();
    sim.answer(tagged(TEN, Some("\"1\"")));
    let mut conditional = 0;
    loop {
        sim.until_asked();
        if sim.answer(Outcome::Unchanged).validators == Validators::default() {
            break;
        }
        conditional += 1;
    }
    assert_eq!(conditional, 8);
    sim.until_asked();
    sim.answer(tagged(TEN, Some("\"2\"")));
    sim.until_asked();
    assert_eq!(sim.asked[0].validators.etag.as_deref(), Some("\"2\""), "counted anew");
}

#[test]
fn a_refresh_that_cannot_be_published_changes_nothing() {
    let mut sim = Sim::started(ONE);
    sim.answer(list(TEN));
    sim.until_asked();
    sim.broken = Some("the IPv4 table would need more".into());
    sim.answer(list(&without_last(1)));
    assert_eq!((sim.in_force(&source("campus")), sim.kept.len(), sim.published.len()), (2560, 1, 2));
    assert!(sim.said().contains("Error: source campus: cannot be published: the IPv4 table would need more"));
    sim.until_asked();
    sim.answer(list(&without_last(1)));
    assert_eq!((sim.in_force(&source("campus")), sim.kept.len()), (2304, 2));
}

#[test]
fn copies_that_come_one_after_the_other_are_published_together() {
    let config = r#"
        [[rule]]
        name = "x"
        action = "block"
        lists = ["a", "b", "c"]
        [[source]]
        name = "a"
        url = "http://127.0.0.1/a"
        [[source]]
        name = "b"
        url = "http://127.0.0.1/b"
        [[source]]
        name = "c"
        url = "http://127.0.0.2/c"
    "#;
    let mut sim = Sim::started(config);
    sim.answer(list(TEN));
    sim.pass(1);
    assert_eq!(sim.published.len(), 1, "others are on their way");
    sim.answer(list(TEN));
    sim.answer(list(TEN));
    assert_eq!(sim.published.len(), 2);
    // One that hangs does not hold up the others for long.
    let mut sim = Sim::started(config);
    sim.answer(list(TEN));
    sim.pass(10);
    assert_eq!(sim.published.len(), 2);
}

const OTHER: &str = r#"
[[rule]]
name = "campus"
action = "monitor"
lists = ["campus", "fresh"]
[[source]]
name = "campus"
url = "http://127.0.0.1/campus"
refresh = "1h"
[[source]]
name = "fresh"
url = "http://127.0.0.2/fresh"
"#;

fn action(policy: &Policy) -> &'static str {
    policy.config.rules[0].identity.action.as_str()
}

#[test]
fn a_change_that_is_not_confirmed_goes_back_by_itself() {
    let mut sim = Sim::started(ONE);
    sim.answer(list(TEN));
    sim.load(OTHER, Some(90));
    assert_eq!((action(sim.controller.live().unwrap()), sim.controller.unconfirmed(sim.now)), ("monitor", Some(90)));
    let saved = sim.saved.last().unwrap().clone();
    assert_eq!((saved.until, saved.window), (Some(sim.now.unix + 90), 90));
    assert_eq!((saved.config.unwrap().text.as_str(), saved.before.unwrap().text.as_str()), (OTHER, ONE));
    sim.pass(89);
    assert_eq!(action(sim.controller.live().unwrap()), "monitor");
    sim.pass(1);
    assert_eq!((action(sim.controller.live().unwrap()), sim.in_force(&source("campus"))), ("block", 2560));
    assert_eq!(sim.controller.unconfirmed(sim.now), None);
    let saved = sim.saved.last().unwrap();
    assert_eq!((saved.config.as_ref().unwrap().text.as_str(), &saved.before, saved.until), (ONE, &None, None));
    let rejected = ConfigText { path: "weir.toml".into(), text: OTHER.into() }.checksum();
    assert_eq!((saved.rejected.as_ref(), sim.controller.rejected()), (Some(&rejected), Some(rejected.as_str())));
}

#[test]
fn a_confirmed_change_stays() {
    let mut sim = Sim::started(ONE);
    sim.load(OTHER, Some(90));
    sim.pass(50);
    sim.event(Event::Confirm);
    sim.pass(1000);
    assert_eq!(action(sim.controller.live().unwrap()), "monitor");
    let saved = sim.saved.last().unwrap();
    assert_eq!((saved.config.as_ref().unwrap().text.as_str(), &saved.before, &saved.rejected), (OTHER, &None, &None));
}

#[test]
fn the_operator_can_go_back_before_time_is_up() {
    let mut sim = Sim::started(ONE);
    sim.load(OTHER, Some(90));
    sim.event(Event::RollBack);
    assert_eq!(action(sim.controller.live().unwrap()), "block");
    sim.event(Event::RollBack);
    assert_eq!(sim.published.len(), 3, "nothing to go back to");
}

#[test]
fn a_second_change_goes_back_to_what_was_confirmed_last() {
    let mut sim = Sim::started(ONE);
    sim.load(OTHER, Some(90));
    sim.load(&OTHER.replace("monitor", "allow"), Some(60));
    sim.pass(60);
    assert_eq!(action(sim.controller.live().unwrap()), "block");
}

#[test]
fn a_change_that_cannot_be_published_starts_no_wait() {
    let mut sim = Sim::started(ONE);
    sim.broken = Some("no".into());
    sim.load(OTHER, Some(90));
    assert_eq!((action(sim.controller.live().unwrap()), sim.controller.unconfirmed(sim.now)), ("block", None));
    sim.load(OTHER, Some(90));
    sim.broken = Some("not now".into());
    sim.pass(90);
    assert_eq!(action(sim.controller.live().unwrap()), "monitor", "the rollback failed");
    sim.pass(10);
    assert_eq!(action(sim.controller.live().unwrap()), "block", "and was tried again");
}

#[test]
fn what_the_change_before_lists_stays_as_it_is_while_a_change_waits() {
    let mut sim = Sim::started(ONE);
    sim.answer(list(TEN));
    sim.load(OTHER, Some(7200));
    let job = sim.answer(list("192.0.2.0/24"));
    assert_eq!((job.part, sim.in_force(&source("fresh"))), (source("fresh"), 256), "new lists come in at once");
    sim.until_asked();
    sim.answer(list(&without_last(1)));
    sim.pass(10);
    assert_eq!(sim.in_force(&source("campus")), 2560);
    sim.event(Event::Confirm);
    sim.pass(10);
    assert_eq!(sim.in_force(&source("campus")), 2304);
}

#[test]
fn a_restart_goes_on_waiting_and_a_wait_that_ended_meanwhile_goes_back() {
    let text = |text: &str| ConfigText { path: "weir.toml".into(), text: text.into() };
    let saved = Saved {
        config: Some(text(OTHER)),
        before: Some(text(ONE)),
        until: Some(NOON + 60),
        window: 90,
        rejected: None,
    };
    let left = |start: Start| match start {
        Start::Waiting { left, .. } => left.as_secs(),
        other => panic!("{other:?}"),
    };
    assert_eq!(left(saved.start(Some(&text(OTHER)), NOON)), 60);
    assert_eq!(left(saved.start(Some(&text(OTHER)), NOON + 59)), 1);
    assert_eq!(left(saved.start(Some(&text(OTHER)), NOON - 100_000)), 90, "a clock that jumped back");
    let Start::Confirmed { config, rejected } = saved.start(Some(&text(OTHER)), NOON + 60) else { panic!() };
    assert_eq!((config, rejected), (text(ONE), text(OTHER).checksum()));
    assert_eq!(saved.start(Some(&text("# edited since\n")), NOON + 60), Start::Given);
    assert_eq!(saved.start(None, NOON), Start::Given);
    assert_eq!(Saved::default().start(Some(&text(ONE)), NOON), Start::Given);

    // The daemon that goes on.
    let mut sim = Sim::new();
    let before = Policy {
        config: Arc::new(parse(ONE)),
        text: Some(Arc::new(text(ONE))),
        copies: Copies::new(),
        resting: BTreeSet::new(),
        paused: false,
    };
    sim.controller.resume(Some(Waiting { before: Arc::new(before), until: Duration::from_mins(1) }), None);
    sim.load(OTHER, None);
    assert_eq!((action(sim.controller.live().unwrap()), sim.controller.unconfirmed(sim.now)), ("monitor", Some(60)));
    assert_eq!(sim.saved.last().unwrap().until, Some(NOON + 60), "a second restart goes on, too");
    sim.pass(60);
    assert_eq!(action(sim.controller.live().unwrap()), "block");
    let saved = sim.saved.last().unwrap();
    let Start::Confirmed { config, .. } = saved.start(Some(&text(OTHER)), sim.now.unix) else { panic!("{saved:?}") };
    assert_eq!(config, text(ONE), "the file still holds the change");
    assert_eq!(saved.start(Some(&text("# mended\n")), sim.now.unix), Start::Given);
}

const SCHOOL: &str = r#"
[[rule]]
name = "school"
action = "block"
prefixes = ["192.0.2.0/24"]
schedule = { days = ["mon-fri"], from = "08:00", to = "16:00", zone = "UTC" }
[[rule]]
name = "always"
action = "block"
prefixes = ["198.51.100.0/24"]
"#;

#[test]
fn a_schedule_switches_its_rule_in_the_second() {
    let mut sim = Sim::started(SCHOOL);
    let resting = |sim: &Sim| sim.controller.live().unwrap().resting.iter().cloned().collect::<Vec<_>>();
    assert_eq!((resting(&sim), sim.published.len()), (vec![], 1));
    assert_eq!(sim.controller.next_switch(sim.now), Some(NOON + 4 * 3600));
    sim.pass(4 * 3600 - 1);
    assert_eq!((resting(&sim), sim.published.len()), (vec![], 1), "15:59:59");
    sim.pass(1);
    assert_eq!((resting(&sim), sim.published.len()), (vec!["school".into()], 2));
    sim.pass(16 * 3600 - 1);
    assert_eq!(sim.published.len(), 2, "Tuesday 07:59:59");
    sim.pass(1);
    assert_eq!((resting(&sim), sim.published.len()), (vec![], 3));
}

#[test]
fn a_wait_for_confirmation_longer_than_any_clock_runs_goes_on_until_it_is_confirmed() {
    let mut sim = Sim::started(ONE);
    sim.load(ONE, Some(u64::MAX));
    sim.pass(3);
    assert!(sim.controller.unconfirmed(sim.now).is_some());
    sim.event(Event::Confirm);
    assert_eq!(sim.controller.unconfirmed(sim.now), None);
    sim.event(Event::Pause(Duration::MAX));
    sim.pass(3);
    assert!(sim.controller.paused(sim.now).is_some());
}

#[test]
fn a_pause_lets_block_rules_only_count_and_ends_by_itself() {
    let mut sim = Sim::started(ONE);
    let paused = |sim: &Sim| (sim.controller.live().unwrap().paused, sim.controller.paused(sim.now));
    assert_eq!(paused(&sim), (false, None));
    sim.event(Event::Pause(Duration::from_mins(5)));
    assert_eq!((paused(&sim), sim.published.len()), ((true, Some(Duration::from_mins(5))), 2));
    sim.load(ONE, None);
    assert!(paused(&sim).0, "a reload does not end it");
    sim.pass(299);
    assert!(paused(&sim).0);
    sim.pass(1);
    assert_eq!(paused(&sim), (false, None));
    sim.event(Event::Pause(Duration::from_mins(5)));
    sim.event(Event::Resume);
    assert_eq!(paused(&sim), (false, None));
}

#[test]
fn a_clock_that_jumps_is_heeded_in_both_directions() {
    let mut sim = Sim::started(SCHOOL);
    let resting = |sim: &Sim| !sim.controller.live().unwrap().resting.is_empty();
    sim.now.unix += 6 * 3600;
    sim.pass(1);
    assert!(resting(&sim), "18:00");
    sim.now.unix -= 6 * 3600;
    sim.pass(1);
    assert!(!resting(&sim), "12:00 again");
    sim.pass(4 * 3600);
    assert!(resting(&sim));
}

#[test]
fn an_as_that_is_wanted_new_is_asked_for_without_condition() {
    let config = |asns: &str| {
        format!(
            "[[rule]]\nname = \"x\"\naction = \"block\"\nasns = [{asns}]\n[asn]\nsources = [\"table\"]\n\
             [[source]]\nname = \"table\"\nurl = \"http://127.0.0.1/table\"\n"
        )
    };
    let mut sim = Sim::started(&config("1"));
    let table = "10.0.0.0,10.0.0.255,1,One\n10.1.0.0,10.1.0.255,2,Two\n";
    let answer = |job: &Job| {
        let validators = Validators { etag: Some("\"t\"".into()), last_modified: None };
        Outcome::Content { content: read(table.as_bytes(), &job.need).unwrap(), validators }
    };
    let outcome = answer(&sim.asked[0]);
    sim.answer(outcome);
    assert_eq!(sim.in_force(&source("table")), 256);
    sim.pass(1);
    sim.load(&config("1, 2"), None);
    assert_eq!(sim.in_force(&source("table")), 256, "what is known stays in force");
    assert_eq!((sim.asked.len(), &sim.asked[0].validators), (1, &Validators::default()));
    let outcome = answer(&sim.asked[0]);
    sim.answer(outcome);
    assert_eq!((sim.in_force(&source("table")), sim.kept.len()), (512, 2));
}

#[test]
fn an_answer_that_comes_after_its_part_left_does_no_harm() {
    let mut sim = Sim::started(ONE);
    sim.load(SCHOOL, None);
    sim.answer(list(TEN));
    assert!(sim.controller.lists(sim.now).is_empty());
    sim.load(ONE, None);
    sim.pass(1);
    assert_eq!(sim.asked.len(), 1, "its host is free again");
}

/// A rule with `asns`, which a table tells apart.
fn asns(asns: &str) -> String {
    format!(
        "[[rule]]\nname = \"x\"\naction = \"block\"\nasns = [{asns}]\n[asn]\nsources = [\"table\"]\n\
         [[source]]\nname = \"table\"\nurl = \"http://127.0.0.1/table\"\n"
    )
}

/// What the server says to `job`, which reads it for the ASes it names.
fn table(job: &Job) -> Outcome {
    let table = "10.0.0.0,10.0.0.255,1,One\n10.1.0.0,10.1.3.255,2,Two\n";
    Outcome::Content { content: read(table.as_bytes(), &job.need).unwrap(), validators: Validators::default() }
}

#[test]
fn an_answer_to_a_question_of_the_configuration_before_is_not_taken_for_the_new_one() {
    let mut sim = Sim::started(&asns("1"));
    let late = table(&sim.asked[0]);
    sim.load(&asns("1, 2"), None);
    sim.answer(late);
    assert_eq!((sim.in_force(&source("table")), sim.asked.len()), (0, 0), "it knows nothing of AS2");
    sim.pass(1);
    let outcome = table(&sim.asked[0]);
    sim.answer(outcome);
    assert_eq!((sim.in_force(&source("table")), sim.state("table")), (1280, ListState::Good));
    // The same of a source that moved.
    let mut sim = Sim::started(ONE);
    sim.load(&ONE.replace("/campus", "/moved"), None);
    sim.answer(list(TEN));
    assert_eq!(sim.in_force(&source("campus")), 0);
    sim.pass(1);
    assert_eq!(sim.asked[0].location, weir::config::Location::Url("http://127.0.0.1/moved".into()));
}

#[test]
fn an_as_that_no_rule_names_any_more_does_not_hold_up_its_table() {
    let mut sim = Sim::started(&asns("1, 2"));
    let outcome = table(&sim.asked[0]);
    sim.answer(outcome);
    sim.load(&asns("1"), None);
    sim.until_asked();
    let outcome = table(&sim.asked[0]);
    sim.answer(outcome);
    assert_eq!((sim.said(), sim.in_force(&source("table"))), (String::new(), 256));
}

#[test]
fn a_switch_of_a_schedule_that_falls_into_a_publish_is_not_missed() {
    let mut sim = Sim::new();
    sim.now.unix += 4 * 3600 - 1;
    let load = |text: &str, confirm| {
        let text = Some(ConfigText { path: "weir.toml".into(), text: text.into() });
        let (files, stored) = (Copies::new(), Copies::new());
        Event::Load(Box::new(Load { config: parse(SCHOOL), text, files, stored, confirm }))
    };
    // 15:59:59 when it is proposed, 16:00:01 when it is live.
    assert!(matches!(sim.controller.handle(load(SCHOOL, None), sim.now)[..], [Command::Publish(_)]));
    sim.now.unix += 2;
    sim.event(Event::Published(Ok(())));
    let resting = |sim: &Sim| !sim.controller.live().unwrap().resting.is_empty();
    sim.pass(1);
    assert!(resting(&sim));
}

#[test]
fn what_comes_back_keeps_to_the_schedule_as_it_is_by_now() {
    let mut sim = Sim::new();
    sim.now.unix += 4 * 3600 - 30;
    sim.load(SCHOOL, None);
    sim.load(&SCHOOL.replace("198.51.100.0", "203.0.113.0"), Some(90));
    sim.pass(90);
    assert_eq!(sim.controller.unconfirmed(sim.now), None);
    assert_eq!(sim.controller.live().unwrap().resting, [String::from("school")].into(), "16:01");
}

#[test]
fn a_scheduled_change_that_fails_is_tried_again_after_ten_seconds() {
    let mut sim = Sim::started(SCHOOL);
    sim.pass(4 * 3600 - 1);
    sim.broken = Some("no".into());
    sim.pass(1);
    assert_eq!(sim.said(), "Error: a schedule or a pause cannot be published: no\n");
    sim.broken = Some("not again".into());
    sim.pass(9);
    assert_eq!((sim.published.len(), sim.said.len()), (1, 1));
    sim.pass(1);
    assert_eq!((sim.published.len(), sim.said.len()), (1, 2), "the second try");
    sim.pass(10);
    assert_eq!(sim.published.len(), 2);
}

#[test]
fn a_shorter_refresh_counts_from_the_reload() {
    let mut sim = Sim::started(&ONE.replace("1h", "24h"));
    sim.answer(list(TEN));
    sim.load(ONE, None);
    assert!(sim.until_asked() <= 3600);
}

#[test]
fn a_waiver_ends_with_the_answer_that_nothing_changed() {
    let mut sim = Sim::started(ONE);
    sim.answer(tagged(TEN, Some("\"1\"")));
    sim.until_asked();
    sim.event(Event::Update([String::from("campus")].into()));
    sim.answer(Outcome::Unchanged);
    sim.until_asked();
    sim.answer(list(&without_last(4)));
    assert_eq!(sim.in_force(&source("campus")), 2560);
}

#[test]
fn a_copy_is_stale_after_three_refreshes_and_not_before() {
    let mut sim = Sim::started(ONE);
    sim.answer(list(TEN));
    let mut passed = 0;
    while passed < 3 * 3600 {
        passed += 1;
        sim.pass(1);
        while !sim.asked.is_empty() {
            assert_ne!(sim.state("campus"), ListState::Stale, "after {passed} s");
            sim.answer(failed("no"));
        }
    }
    assert_eq!(sim.state("campus"), ListState::Failing);
    sim.pass(1);
    assert_eq!(sim.state("campus"), ListState::Stale);
}

#[test]
fn waits_differ_from_router_to_router_within_a_tenth() {
    let waits: BTreeSet<u64> = (0..50)
        .map(|seed| {
            let mut sim = Sim::new();
            sim.controller = Controller::new(seed);
            sim.load(ONE, None);
            sim.answer(list(TEN));
            sim.until_asked()
        })
        .collect();
    assert!(waits.iter().all(|wait| (3240..=3960).contains(wait)), "{waits:?}");
    assert!(waits.len() > 30 && *waits.last().unwrap() - *waits.first().unwrap() > 500, "{waits:?}");
}

#[test]
fn waits_after_failures_end_at_the_refresh_and_at_six_hours() {
    let longest = |refresh: &str| {
        let mut sim = Sim::started(&ONE.replace("1h", refresh));
        (0..20).map(|_| (sim.answer(failed("no")), sim.until_asked()).1).max().unwrap()
    };
    // A tenth more or less; of twenty waits, most are at the limit.
    assert!((3300..=3960).contains(&longest("1h")));
    assert!((19_440..=23_760).contains(&longest("48h")));
}

#[test]
fn a_clock_that_jumps_back_makes_no_wait_longer_and_none_of_them_negative() {
    let mut sim = Sim::started(ONE);
    sim.answer(list(TEN));
    sim.now.unix -= 10_000_000;
    assert_eq!(sim.state("campus"), ListState::Good);
    assert!(sim.until_asked() <= 3960);
}

#[test]
fn a_source_that_moved_is_asked_at_once_and_without_the_old_places_validators() {
    let mut sim = Sim::started(ONE);
    sim.answer(tagged(TEN, Some("\"1\"")));
    sim.pass(1);
    sim.load(&ONE.replace("/campus", "/moved"), None);
    assert_eq!((sim.asked.len(), &sim.asked[0].validators), (1, &Validators::default()));
    assert_eq!(sim.in_force(&source("campus")), 2560, "what is known stays in force");
}

#[test]
fn a_stored_copy_that_was_read_for_others_is_asked_for_at_once() {
    let mut sim = Sim::new();
    let job = Sim::started(&asns("1")).asked.remove(0);
    let Outcome::Content { content, .. } = table(&job) else { panic!() };
    let Need::Origins(wanted) = job.need else { panic!() };
    let mut copy = Copy::of(content, "http://127.0.0.1/table", NOON);
    copy.provenance.wanted = Some(wanted);
    let stored = Copies::from([(source("table"), Arc::new(copy))]);
    sim.load_with(&asns("1, 2"), None, stored.clone());
    assert_eq!((sim.asked.len(), sim.in_force(&source("table"))), (1, 256));
    let mut sim = Sim::new();
    sim.load_with(&asns("1"), None, stored);
    assert_eq!(sim.asked.len(), 0);
}

#[test]
fn a_table_that_says_nothing_of_a_new_as_is_taken_over_as_an_answer() {
    let mut sim = Sim::started(&asns("1"));
    let outcome = table(&sim.asked[0]);
    sim.answer(outcome);
    sim.pass(1);
    sim.load(&asns("1, 3"), None);
    let outcome = table(&sim.asked[0]);
    sim.answer(outcome);
    let live = sim.controller.live().unwrap();
    let known = live.copies[&source("table")].provenance.wanted.clone().unwrap();
    assert_eq!((known.asns, sim.kept.len()), ([1, 3].into(), 2));
}

#[test]
fn a_name_that_changed_is_published_and_stored() {
    let mut sim = Sim::started(&asns("1"));
    let outcome = table(&sim.asked[0]);
    sim.answer(outcome);
    sim.until_asked();
    let renamed = read(b"10.0.0.0,10.0.0.255,1,Other\n", &sim.asked[0].need).unwrap();
    sim.answer(Outcome::Content { content: renamed, validators: Validators::default() });
    assert_eq!((sim.published.len(), sim.kept.len()), (3, 2));
}

#[test]
fn status_tells_the_last_answer_from_the_last_change_and_addresses_keep_their_age() {
    let mut sim = Sim::started(ONE);
    sim.answer(list(TEN));
    let start = sim.now.unix;
    let times = |sim: &Sim| {
        let lists = sim.controller.lists(sim.now);
        (lists[0].fetched.unwrap(), lists[0].changed.unwrap())
    };
    assert_eq!(times(&sim), (start, start));
    for outcome in [list(TEN), Outcome::Unchanged] {
        sim.until_asked();
        sim.answer(outcome);
        assert_eq!(times(&sim), (sim.now.unix, start));
    }
    sim.until_asked();
    sim.answer(list(&without_last(1)));
    assert_eq!(times(&sim), (sim.now.unix, sim.now.unix));
    let live = sim.controller.live().unwrap();
    let since: Vec<i64> = live.copies[&source("campus")].batches.iter().map(|batch| batch.since).collect();
    assert_eq!(since, [start]);
}

#[test]
fn a_copy_that_came_for_a_part_that_left_is_not_published() {
    let config = OTHER.replace("http://127.0.0.2", "http://127.0.0.1");
    let mut sim = Sim::started(&config);
    sim.answer(list(TEN));
    // The other list is still on its way.
    sim.load(SCHOOL, None);
    sim.pass(10);
    assert_eq!((sim.kept.len(), sim.published.len()), (0, 2));
}

#[test]
fn what_was_never_fetched_is_asked_first() {
    let one = ONE.replace("campus\"", "zzz\"").replace("name = \"zzz\"\naction", "name = \"x\"\naction");
    let fresh = "[[source]]\nname = \"zzzz\"\nurl = \"http://127.0.0.1/new\"\n";
    let mut sim = Sim::new();
    let content = read(TEN.as_bytes(), &Need::List).unwrap();
    let copy = Arc::new(Copy::of(content, "http://127.0.0.1/campus", NOON - 1_000_000));
    let stored = Copies::from([(source("zzz"), copy)]);
    let both = one.replace("lists = [\"zzz\"]", "lists = [\"zzz\", \"zzzz\"]") + fresh;
    sim.load_with(&both, None, stored);
    assert_eq!(sim.asked[0].part, source("zzzz"), "though the other is as due and its name is first");
}

#[test]
fn a_reload_ends_the_wait_and_forgets_what_was_rejected() {
    let mut sim = Sim::started(ONE);
    sim.load(OTHER, Some(90));
    sim.load(SCHOOL, None);
    assert_eq!(sim.controller.unconfirmed(sim.now), None);
    sim.pass(100);
    assert_eq!(sim.controller.live().unwrap().config.rules.len(), 2, "nothing comes back");
    for confirm in [None, Some(90)] {
        let mut sim = Sim::started(ONE);
        sim.load(OTHER, Some(90));
        sim.event(Event::RollBack);
        assert!(sim.controller.rejected().is_some());
        sim.load(OTHER, confirm);
        assert_eq!((sim.controller.rejected(), &sim.saved.last().unwrap().rejected), (None, &None));
    }
}

#[test]
fn a_registry_that_fails_is_neither_stale_nor_told_as_a_hole_in_the_filter() {
    let config = r#"
        [[rule]]
        name = "x"
        action = "block"
        services = ["tiktok"]
        [asn]
        irr = "reg"
        [[source]]
        name = "reg"
        irr = "127.0.0.1:43"
        refresh = "1h"
    "#;
    let mut sim = Sim::started(config);
    sim.answer(failed("the connection failed"));
    let said = sim.said();
    assert!(
        said.starts_with("Warning: ") && said.contains("there is no copy yet, and nothing to compare with"),
        "{said}"
    );
    sim.until_asked();
    let registered = Outcome::Content { content: Content::default(), validators: Validators::default() };
    for _ in 0..3 {
        sim.until_asked();
        sim.answer(registered.clone());
    }
    sim.pass(5 * 3600);
    assert!(
        sim.controller.lists(sim.now).iter().all(|list| list.state != ListState::Stale),
        "{:?}",
        sim.controller.lists(sim.now)
    );
}
