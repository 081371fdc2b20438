//! `weir apply`, `confirm`, `rollback`, `pause`, `resume` and `update`: what an operator asks of a running daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, stderr};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;

use super::{Outcome, Usage, complain, print};
use crate::config::parse_duration;
use crate::control::{self, Answer, Request};
use crate::controller::{ListState, ListStatus, day};
use crate::process::RUN_DIR;
use crate::report::Status;

/// Where the daemon is.
#[derive(Debug, Args)]
pub(super) struct Daemon {
    /// Run directory of the daemon
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

/// Make the running weir read its configuration again and publish it, for good or on trial
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir plan -c /etc/weir.toml      what would change?\n  \
    weir apply --confirm 90s         change it; after 90 s the old rules come back by themselves ...\n  \
    weir confirm                     ... unless you can still reach the router and say so\n\n\
    A configuration that is refused changes nothing. The wait goes on when the daemon is restarted.")]
pub(super) struct Apply {
    /// Go back by itself after this time (such as 90s or 5m) unless `weir confirm` follows
    #[arg(long, value_name = "TIME")]
    confirm: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

impl Apply {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let confirm = self.confirm.as_ref().map(|text| window(text)).transpose()?;
        tell(&self.daemon.run_dir, &Request::Apply { confirm })
    }
}

/// Seconds until a change goes back.
fn window(text: &str) -> Result<u64, Usage> {
    let span = parse_duration(text).map_err(|problem| Usage(format!("--confirm {problem}")))?;
    match span.as_secs() {
        0 => Err(Usage("--confirm 0s would go back at once; give the time you need to check, such as 90s".into())),
        seconds => Ok(seconds),
    }
}

/// Keep what `weir apply --confirm` changed
#[derive(Debug, Args)]
pub(super) struct Confirm {
    #[command(flatten)]
    daemon: Daemon,
}

impl Confirm {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        tell(&self.daemon.run_dir, &Request::Confirm)
    }
}

/// Go back at once to what was in force before `weir apply --confirm`
#[derive(Debug, Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    daemon: Daemon,
}

impl Rollback {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        tell(&self.daemon.run_dir, &Request::Rollback)
    }
}

/// Let block rules only count for a while, and block again by itself afterwards
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir pause 15m     something is broken: is it weir? What would have been dropped is counted meanwhile\n  \
    weir resume        block again now\n\n\
    A restart of the daemon ends a pause, too.")]
pub(super) struct Pause {
    /// For how long, such as 90s or 15m; 24 h at most
    time: String,
    #[command(flatten)]
    daemon: Daemon,
}

impl Pause {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let span = parse_duration(&self.time).map_err(Usage)?;
        tell(&self.daemon.run_dir, &Request::Pause { secs: span.as_secs() })
    }
}

/// End a pause: block rules block again
#[derive(Debug, Args)]
pub(super) struct Resume {
    #[command(flatten)]
    daemon: Daemon,
}

impl Resume {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        tell(&self.daemon.run_dir, &Request::Resume)
    }
}

fn tell(run_dir: &Path, request: &Request) -> anyhow::Result<Outcome> {
    match control::ask(run_dir, request)? {
        Answer::Done(text) => {
            print(&format!("{text}\n"))?;
            Ok(Outcome::Done)
        }
        _ => anyhow::bail!("weir on {} answered something else: is it another version?", run_dir.display()),
    }
}

/// Ask every source for a fresh copy now
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir update                   ask now, and say what each source answered\n  \
    weir update --accept drop     take over what source \"drop\" says, although it was refused as too large a change\n\n\
    What was blocked stays blocked while a source fails: its last good copy stays. Ends with exit code 3 where one failed.")]
pub(super) struct Update {
    /// Take over what this source says whatever its limits; may be given several times
    #[arg(long, value_name = "SOURCE")]
    accept: Vec<String>,
    /// Do not wait for the answers
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Update {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let accept: BTreeSet<String> = self.accept.iter().cloned().collect();
        let run_dir = &self.daemon.run_dir;
        let key = |list: &ListStatus| (list.source.clone(), list.asn);
        let mut open: BTreeMap<_, u64> = status(run_dir)?.lists.iter().map(|list| (key(list), list.answers)).collect();
        let all = open.len();
        tell(run_dir, &Request::Update { accept })?;
        if self.no_wait {
            return Ok(Outcome::Done);
        }
        let (begun, mut failed) = (Instant::now(), false);
        while !open.is_empty() {
            sleep(POLL);
            let lists = status(run_dir)?.lists;
            for list in &lists {
                let answered = open.get(&key(list)).is_some_and(|&before| list.answers > before);
                if answered && open.remove(&key(list)).is_some() {
                    failed |= list.problem.is_some();
                    clear_progress();
                    print(&format!("{}\n", line(list)))?;
                }
            }
            // A configuration that came meanwhile may need other documents.
            open.retain(|wanted, _| lists.iter().any(|list| key(list) == *wanted));
            progress(all - open.len(), all, begun.elapsed());
        }
        clear_progress();
        Ok(if failed { Outcome::Degraded } else { Outcome::Done })
    }
}

/// How often the daemon is asked how far it is.
const POLL: Duration = Duration::from_millis(200);

fn status(run_dir: &Path) -> anyhow::Result<Status> {
    match control::ask(run_dir, &Request::Status)? {
        Answer::Status(status) => Ok(*status),
        _ => anyhow::bail!("weir on {} answered something else: is it another version?", run_dir.display()),
    }
}

/// One document, as it came out.
fn line(list: &ListStatus) -> String {
    let asn = list.asn.map_or_else(String::new, |asn| format!(" AS{asn}"));
    let copy = match (list.state, list.fetched) {
        (ListState::Missing, _) | (_, None) => "no copy yet".to_owned(),
        (_, Some(fetched)) => format!("{} ranges, copy of {}", list.ranges, day(fetched)),
    };
    match &list.problem {
        Some(problem) => format!("{}{asn}: FAILED: {problem}; {copy}", list.source),
        None => format!("{}{asn}: {copy}", list.source),
    }
}

/// A line that is written over, for people who watch.
fn progress(done: usize, all: usize, since: Duration) {
    if stderr().is_terminal() {
        eprint!("\r{done} of {all} documents, {} s", since.as_secs());
    }
}

fn clear_progress() {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

/// The hidden verb: fetches one document for the daemon.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Fetch {}

impl Fetch {
    pub(super) fn execute() -> anyhow::Result<Outcome> {
        if std::io::stdin().is_terminal() {
            complain("this verb is for the daemon; ask it to fetch with: weir update");
            return Ok(Outcome::Degraded);
        }
        crate::fetch::answer(std::io::stdin().lock(), std::io::stdout().lock())?;
        Ok(Outcome::Done)
    }
}
