//! `weir top`: what a running daemon counts just now, on a screen or as one page.

use std::env;
use std::io::{IsTerminal as _, stdin, stdout};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use clap::Args;

use super::{Outcome, Usage, print, print_json};
use crate::config::parse_duration;
use crate::control::{self, Answer, Request};
use crate::process::RUN_DIR;
use crate::report::Status;
use crate::top::{Look, Reading, page, terminal};

/// Watch live rates of the running daemon: what is dropped just now, by rule, client and device
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir top                                            a screen; ? shows the keys, q quits\n  \
    weir top --once                                     one page of text\n  \
    weir top --once --interval 10s --json | jq .rates   what was dropped each second, of ten\n\n\
    NO_COLOR=1 switches colours off. With --once, ends with exit code 3 where weir status does.")]
pub(super) struct ShowTop {
    /// Print one page, from two readings, and end
    #[arg(long)]
    once: bool,
    /// Print JSON (docs/json.md)
    #[arg(long, requires = "once")]
    json: bool,
    /// Time between two readings, such as 1s or 1m
    #[arg(long, value_name = "TIME", default_value = "1s")]
    interval: String,
    /// Run directory of the daemon
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

/// Shorter than this, the way to the daemon and back is a part of the time.
const SHORTEST: Duration = Duration::from_millis(100);

impl ShowTop {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let interval = parse_duration(&self.interval).map_err(|problem| Usage(format!("--interval {problem}")))?;
        if interval < SHORTEST {
            return Err(Usage(format!("--interval {} is too short: give 100ms or more", self.interval)).into());
        }
        if self.once {
            return self.show_once(interval);
        }
        let dumb = env::var("TERM").is_ok_and(|terminal| terminal == "dumb");
        if dumb || !stdin().is_terminal() || !stdout().is_terminal() {
            let problem = "weir top needs a terminal that can move its cursor; for one page of text: weir top --once";
            return Err(Usage(problem.into()).into());
        }
        terminal::watch(&self.run_dir, interval, look()).context("the terminal failed; try: weir top --once")?;
        Ok(Outcome::Done)
    }

    fn show_once(&self, interval: Duration) -> anyhow::Result<Outcome> {
        let before = self.status()?;
        let begun = Instant::now();
        sleep(interval);
        let status = self.status()?;
        let reading = Reading::new(&before, status, begun.elapsed());
        if self.json {
            print_json(&reading)?;
        } else {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
            print(&page(&reading, now.cast_signed()))?;
        }
        Ok(if reading.status.is_whole() { Outcome::Done } else { Outcome::Degraded })
    }

    fn status(&self) -> anyhow::Result<Status> {
        match control::ask(&self.run_dir, &Request::Status)? {
            Answer::Status(status) => Ok(*status),
            _ => anyhow::bail!("weir on {} answered something else: is it another version?", self.run_dir.display()),
        }
    }
}

/// What the person's terminal can show, by the variables that say so.
fn look() -> Look {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_lowercase();
    Look {
        // https://no-color.org
        colour: set("NO_COLOR").is_none(),
        blocks: locale.contains("utf-8") || locale.contains("utf8"),
    }
}
