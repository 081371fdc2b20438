//! `weir selftest`: does the running weir really drop what it should? "0 blocked" must differ from "not enforcing".

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use filter_common::decide::Direction;

use super::{Outcome, Usage, print, print_json};
use crate::config::parse_duration;
use crate::control::{self, Answer, Request};
use crate::events::Event;
use crate::process::RUN_DIR;
use crate::report::{Probed, SelfTest, Status};
use crate::ruleset::probe::MARK;
use crate::tally::direction;

/// Send probes through the running weir and show that it drops them
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir selftest                 each block rule's probe through the live program, at every hook; no packet leaves\n  \
    weir selftest --send          ... and real packets from this host, where a device filters egress\n  \
    weir selftest --wait 60s      ... and wait for a real packet of a client: it says which address to try\n\n\
    Probes carry the text \"weir selftest\" and are not counted; real packets are. Ends with exit code 3 where something\n\
    passes that a rule should drop, is dropped that no rule lists, or no packet came in time.")]
pub(super) struct ShowSelfTest {
    /// Send a real packet to each probe's address, too; it leaves this host unless a device filters egress
    #[arg(long)]
    send: bool,
    /// Wait so long (such as 60s) for a client's real packet to be dropped
    #[arg(long, value_name = "TIME")]
    wait: Option<String>,
    /// Print JSON (docs/json.md)
    #[arg(long)]
    json: bool,
    /// Run directory of the daemon
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

/// How long a packet of this host may take to be counted.
const OWN: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(100);

impl ShowSelfTest {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let wait = self.wait.as_ref().map(|text| parse_duration(text)).transpose();
        let wait = wait.map_err(|problem| Usage(format!("--wait {problem}")))?;
        let Answer::SelfTested(test) = control::ask(&self.run_dir, &Request::SelfTest)? else {
            anyhow::bail!("weir on {} answered something else: is it another version?", self.run_dir.display());
        };
        let mut test = *test;
        if !self.json {
            print(&table(&test))?;
        }
        if self.send {
            self.send(&mut test)?;
        }
        if let Some(wait) = wait {
            self.wait(&mut test, wait)?;
        }
        if self.json {
            print_json(&test)?;
        } else if test.faults.is_empty() {
            print("all is well: what must be dropped is dropped, what must pass passes\n")?;
        } else {
            print(&test.faults.iter().fold(String::new(), |text, fault| text + "FAULT: " + fault + "\n"))?;
        }
        Ok(if test.faults.is_empty() { Outcome::Done } else { Outcome::Degraded })
    }

    /// Real packets from this host: they meet egress hooks only.
    fn send(&self, test: &mut SelfTest) -> anyhow::Result<()> {
        let before = self.status()?;
        if !before.devices.iter().any(|device| device.egress) {
            let fault = "--send: no device filters egress, so this host's own packets meet no hook; set egress = true, or \
                         use --wait and a client";
            test.faults.push(fault.into());
            return Ok(());
        }
        for address in targets(test) {
            let local: IpAddr =
                if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let sent = UdpSocket::bind((local, 0)).and_then(|socket| socket.send_to(MARK, (address, 9)));
            self.say(&match sent {
                // A drop at the egress hook is told to the sender as an error.
                Ok(_) | Err(_) if self.moved(&before, OWN)? => format!("a real packet to {address} was dropped"),
                Ok(_) => {
                    test.faults.push(format!("a real packet to {address} was not dropped"));
                    continue;
                }
                Err(error) => {
                    test.faults.push(format!("no real packet could be sent to {address}: {error}"));
                    continue;
                }
            })?;
        }
        Ok(())
    }

    /// A client's real packet.
    fn wait(&self, test: &mut SelfTest, wait: Duration) -> anyhow::Result<()> {
        let before = self.status()?;
        let targets: Vec<String> = targets(test).iter().map(ToString::to_string).collect();
        self.say(&format!("now, on a client: ping {}   (waiting {} s)", targets.join(" or "), wait.as_secs()))?;
        let known = self.latest()?;
        if !self.moved(&before, wait)? {
            test.faults.push(format!("no packet was dropped within {} s", wait.as_secs()));
            return Ok(());
        }
        // Events come a little later than counters; with `[events] rate = 0` none comes.
        let begun = Instant::now();
        while begun.elapsed() < OWN {
            if let Some(event) = self.latest()?
                && Some(&event) != known.as_ref()
            {
                let (from, to, drop) = (event.src_ip, event.dest_ip, event.drop);
                return self.say(&format!("dropped on {}: {from} > {to}, rule \"{}\"", drop.device, drop.rule));
            }
            sleep(LOOK);
        }
        self.say("a packet was dropped")
    }

    /// The latest drop that was reported.
    fn latest(&self) -> anyhow::Result<Option<Event>> {
        match control::ask(&self.run_dir, &Request::Recent { limit: 1 })? {
            Answer::Recent(events) => Ok(events.into_iter().next()),
            _ => Ok(None),
        }
    }

    /// True once more packets were dropped than `before`; false where that does not happen in time.
    fn moved(&self, before: &Status, wait: Duration) -> anyhow::Result<bool> {
        let begun = Instant::now();
        while begun.elapsed() < wait {
            if self.status()?.dropped.packets > before.dropped.packets {
                return Ok(true);
            }
            sleep(LOOK);
        }
        Ok(false)
    }

    fn status(&self) -> anyhow::Result<Status> {
        match control::ask(&self.run_dir, &Request::Status)? {
            Answer::Status(status) => Ok(*status),
            _ => anyhow::bail!("weir on {} answered something else: is it another version?", self.run_dir.display()),
        }
    }

    fn say(&self, text: &str) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { print(&format!("{text}\n")) }
    }
}

/// Addresses to which a packet must be dropped: one of each family.
fn targets(test: &SelfTest) -> Vec<IpAddr> {
    let out = |probed: &&Probed| probed.probe.rule.is_some() && probed.probe.direction == Direction::Out;
    let mut found = [None, None];
    for probed in test.probes.iter().filter(out) {
        let address = probed.probe.address;
        let slot = if address.is_ipv4() { &mut found[0] } else { &mut found[1] };
        slot.get_or_insert(address);
    }
    found.into_iter().flatten().collect()
}

fn table(test: &SelfTest) -> String {
    let mut out = format!("generation {}\n", test.generation);
    let _ = writeln!(out, "{:<16} {:<8} {:<16} {:<4} {:<39} verdict", "device", "hook", "rule", "", "address");
    for Probed { device, hook, probe, dropped } in &test.probes {
        let rule = probe.rule.as_deref().unwrap_or("(none)");
        let verdict = match (dropped, probe.rule.is_some()) {
            (true, true) => "dropped",
            (false, false) => "passed",
            (true, false) => "DROPPED",
            (false, true) => "PASSED",
        };
        let (way, address) = (direction::word(probe.direction), probe.address.to_string());
        let _ = writeln!(out, "{device:<16} {hook:<8} {rule:<16} {way:<4} {address:<39} {verdict}");
    }
    for rule in &test.unprobed {
        let _ = writeln!(
            out,
            "rule \"{rule}\" has no probe: its scope, its schedule, the never-block set or allow rules leave nothing that any \
             client could meet"
        );
    }
    out
}
