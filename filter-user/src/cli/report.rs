//! `weir report`: what was counted over time, printed or sealed; and `weir report verify`: whether a sealed one still is
//! what it was.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::selection::now;
use super::{Outcome, Usage, print};
use crate::control::{self, Request};
use crate::history::{HISTORY, Reader, ReportQuery};
use crate::network;
use crate::process::RUN_DIR;
use crate::render::{By, Format, render};
use crate::seal::{self, Chain, Mark};
use crate::source::copy::checksum;
use crate::store::reports::{CHAIN, PUBLIC_KEY};
use crate::store::{self, STATE_DIR, Store};

/// Show what was blocked over time: by rule, client, device or hour, with every gap; signed with --output
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    override_usage = "weir report [OPTIONS] | weir report verify [OPTIONS] <FILE>",
    after_help = "Examples:\n  \
    weir report --since 7d                                     the last week, for people\n  \
    weir report --since 2026-11-01 --until 2026-12-01 --by client --format csv\n  \
    weir report --since 24h --format html --output day.html    a file to hand on, signed and chained\n  \
    weir report verify day.html                                is it what this host wrote?\n\n\
    TIME is RFC 3339 (2026-11-24T08:00:00+01:00), a day or a time in UTC (2026-11-24, \"2026-11-24 08:00\"), or a span back\n\
    from now (90m, 24h, 7d). What is printed is not signed. --output writes FILE and FILE.minisig, which minisign checks,\n\
    too, with report.pub; and adds the report to the chain reports.log. A gap is told in the report and is no failure.\n\n\
    Bytes of dropped packets are bytes that were attempted: a blocked sender gives up early or tries again."
)]
pub(super) struct ShowReport {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// From when; all there is, where it is not given
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// To when; now, where it is not given
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The table that is wanted: rule, client, device or hour
    #[arg(long, value_name = "WHAT", value_parser = clap::builder::ValueParser::new(by))]
    by: Option<By>,
    /// text, json (docs/json.md), csv or html
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = clap::builder::ValueParser::new(format))]
    format: Format,
    /// Write the report here, signed, instead of printing it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The most rows of a table; of hours the last ones
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Directory with the history, the key and the chain
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    state_dir: PathBuf,
    /// Run directory of the daemon, where the history is kept in memory
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Verify(Verify),
}

/// Check a report's signature and its place in the chain
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir report verify day.html                   on the host that made it\n  \
    weir report verify day.html --key report.pub  anywhere, with the host's public key: the signature alone\n  \
    weir report verify day.html --key report.pub --chain reports.log\n\n\
    The signature is read from FILE.minisig. The chain shows that no report before this one was taken away or replaced.\n\
    Ends with exit code 1 where anything is not as it was.")]
struct Verify {
    /// The report
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Public key of the host that made it; else that of the state directory
    #[arg(long, value_name = "PUBFILE")]
    key: Option<PathBuf>,
    /// Chain of that host; else that of the state directory, unless --key is given
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
    /// Directory with the key and the chain
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    state_dir: PathBuf,
}

fn by(text: &str) -> Result<By, String> {
    text.parse()
}

fn format(text: &str) -> Result<Format, String> {
    text.parse()
}

impl ShowReport {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        if let Some(Verb::Verify(verify)) = &self.verb {
            return verify.execute();
        }
        let now = now();
        let at = |name: &str, text: &Option<String>| {
            text.as_ref().map(|text| time(text, now).map_err(|problem| Usage(format!("{name} {problem}")))).transpose()
        };
        let query = ReportQuery { since: at("--since", &self.since)?, until: at("--until", &self.until)? };
        if let (Some(since), Some(until)) = (query.since, query.until)
            && since >= until
        {
            return Err(Usage("--since is not before --until: there is no time between them".into()).into());
        }
        let host = network::host_name().context("cannot read this host's name")?;
        let mut report = Reader::open(&self.history()?)?.report(&query, &host, now)?;
        let Some(path) = &self.output else {
            print(&render(&report, self.format, self.by, self.limit))?;
            return Ok(Outcome::Done);
        };
        let reports = Store::new(&self.state_dir).reports()?;
        let mark = reports.next(&host);
        (report.serial, report.previous) = (Some(mark.serial), mark.previous.clone());
        let document = render(&report, self.format, self.by, self.limit);
        let signature = reports.seal(path, document.as_bytes(), &mark, now)?;
        let state_dir = match self.state_dir.as_path() {
            path if path == Path::new(STATE_DIR) => String::new(),
            path => format!(" --state-dir {}", path.display()),
        };
        let (serial, path, signature) = (mark.serial, path.display(), signature.display());
        print(&format!(
            "report {serial} is in {path}, its signature in {signature}\n\
             check it with: weir report verify {path}{state_dir}\n"
        ))?;
        Ok(Outcome::Done)
    }

    /// The file: in memory where the daemon keeps it there, else on disk.
    fn history(&self) -> anyhow::Result<PathBuf> {
        // A daemon that runs has a few seconds in memory.
        let _ = control::ask(&self.run_dir, &Request::Flush);
        let places = [self.run_dir.join(HISTORY), self.state_dir.join(HISTORY)];
        let found = places.iter().find(|path| path.exists());
        found.cloned().with_context(|| {
            format!(
                "there is no history in {} nor in {}: weir run writes it unless [history] keep = \"off\"; name its \
                 --state-dir or --run-dir",
                self.run_dir.display(),
                self.state_dir.display()
            )
        })
    }
}

/// A moment in Unix seconds.
fn time(text: &str, now: i64) -> Result<i64, String> {
    let refusal = || {
        format!(
            "\"{text}\" is no time; accepted: such as 2026-11-24, \"2026-11-24 08:00\" (UTC), 2026-11-24T08:00:00+01:00, or \
             24h and 7d before now"
        )
    };
    let civil = |time: DateTime| TimeZone::UTC.to_timestamp(time).ok();
    let moment = if let Some(back) = back(text) {
        return now.checked_sub(back).ok_or_else(refusal);
    } else if let Ok(moment) = text.parse::<Timestamp>() {
        Some(moment)
    } else if text.contains([':', 'T']) {
        text.parse::<DateTime>().ok().and_then(civil)
    } else {
        text.parse::<Date>().ok().and_then(|date| civil(date.to_datetime(jiff::civil::Time::midnight())))
    };
    moment.map(Timestamp::as_second).ok_or_else(refusal)
}

/// Seconds of a span such as `24h` or `7d`.
fn back(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        _ => return None,
    };
    let count = text.strip_suffix(unit).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    count.parse::<i64>().ok()?.checked_mul(seconds)
}

impl Verify {
    fn execute(&self) -> anyhow::Result<Outcome> {
        let report = store::read("report", &self.file)?;
        let mut signature = self.file.clone().into_os_string();
        signature.push(".minisig");
        let signature = Path::new(&signature);
        let key = self.key.clone().unwrap_or_else(|| self.state_dir.join(PUBLIC_KEY));
        let text =
            |what, path: &Path| store::read(what, path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (signed, public) = (text("signature", signature)?, text("public key", &key)?);
        let mark = seal::verify(&report, &signed, &public).with_context(|| self.file.display().to_string())?;
        // A host checks its own reports against its own chain; that of another host may not be at hand.
        let chain = self.chain.clone().or_else(|| self.key.is_none().then(|| self.state_dir.join(CHAIN)));
        let Mark { serial, host, .. } = &mark;
        let name = self.file.display();
        let Some(path) = chain else {
            let unknown =
                "the chain was not checked: give --chain reports.log of that host to see that no report was taken away";
            print(&format!("{name} is report {serial} of {host}, and was not changed since\n{unknown}\n"))?;
            return Ok(Outcome::Done);
        };
        let chain = Chain::parse(&text("chain of reports", &path)?).with_context(|| path.display().to_string())?;
        chain.check(&mark, &checksum(&report)).with_context(|| path.display().to_string())?;
        print(&format!(
            "{name} is report {serial} of {host}, was not changed since, and is in its place in the chain\n"
        ))?;
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = 1_763_999_999;
        let read = |text: &str| time(text, now).ok();
        // 2026-11-24 00:00 UTC, by date(1).
        let day = 1_795_478_400;
        assert_eq!(read("2026-11-24"), Some(day));
        assert_eq!(read("2026-11-24 08:00"), Some(day + 8 * 3600));
        assert_eq!(read("2026-11-24T08:00:30"), Some(day + 8 * 3600 + 30));
        assert_eq!(read("2026-11-24T08:00:00Z"), Some(day + 8 * 3600));
        assert_eq!(read("2026-11-24T08:00:00+01:00"), Some(day + 7 * 3600));
        assert_eq!(read("24h"), Some(now - 86_400));
        assert_eq!(read("7d"), Some(now - 7 * 86_400));
        assert_eq!(read("2w"), Some(now - 14 * 86_400));
        assert_eq!(read("90m"), Some(now - 5400));
        for wrong in [
            "",
            "d",
            "7",
            "-7d",
            "yesterday",
            "2026-13-01",
            "2026-11-24 25:00",
            "99999999999999999999d",
            "9223372036854775807w",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
