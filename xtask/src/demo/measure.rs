//! Which flows get through the lab's router: all at once, each by an echo and by what the receiver saw.

use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{CLIENT, CONTROL, LISTED, SERVICE};
use crate::command::wait_until;
use crate::lab::{Host, Lab};
use crate::traffic::{Protocol, READY};

const PORT: u16 = 4433;
/// How long a flow may try: TCP sends two SYNs in this time, UDP ten datagrams.
const WINDOW_MS: u64 = 2_000;
/// Rounds that a fresh lab may take until all flows get through.
const ROUNDS: usize = 4;

/// Traffic between the LAN client and one server address.
pub(super) struct Flow {
    pub(super) listed: bool,
    /// The client asks; otherwise the server sends to the client.
    out: bool,
    protocol: Protocol,
    server: &'static str,
    client: &'static str,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.out { "out" } else { "in" };
        let name = if self.listed { SERVICE } else { "control" };
        write!(f, "{direction:3} {} {name:7} {}", self.protocol.name(), self.server)
    }
}

/// Every flow of the demo, in the order of the table.
pub(super) fn flows() -> Vec<Flow> {
    let mut flows = Vec::new();
    for (listed, servers) in [(true, LISTED), (false, CONTROL)] {
        for (server, client) in servers.into_iter().zip(CLIENT) {
            // Inbound by UDP only: std cannot choose the source address of a TCP connection.
            for (out, protocol) in [(true, Protocol::Tcp), (true, Protocol::Udp), (false, Protocol::Udp)] {
                flows.push(Flow { listed, out, protocol, server, client });
            }
        }
    }
    flows
}

/// How far a message came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It arrived and so did its echo.
    Both,
    /// It arrived; the echo did not.
    OneWay,
    /// It did not arrive.
    None,
}

impl Arrival {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Both => "reached",
            Self::OneWay => "one way only",
            Self::None => "dropped",
        }
    }
}

/// Tags of the messages that a receiver saw.
type Seen = Arc<Mutex<HashSet<String>>>;

/// Receivers at both ends of the lab.
pub(super) struct Traffic<'lab> {
    lab: &'lab Lab,
    xtask: PathBuf,
    seen: Seen,
    servers: Vec<Child>,
}

impl<'lab> Traffic<'lab> {
    pub(super) fn start(lab: &'lab Lab) -> Result<Self> {
        let xtask = std::env::current_exe().context("cannot find xtask's own binary")?;
        let mut traffic = Self { lab, xtask, seen: Seen::default(), servers: Vec::new() };
        traffic.serve(Host::Lan, &CLIENT)?;
        traffic.serve(Host::Wan, &[LISTED, CONTROL].concat())?;
        let limit = Duration::from_secs(10);
        let count = traffic.servers.len();
        let ready =
            || Ok((traffic.locked().iter().filter(|line| line.ends_with(READY)).count() == count).then_some(()));
        match wait_until(limit, ready)? {
            Some(()) => Ok(traffic),
            None => bail!("the echo servers did not start within {} s", limit.as_secs()),
        }
    }

    fn serve(&mut self, host: Host, addresses: &[&str]) -> Result<()> {
        let mut command = self.lab.command(host, &self.xtask);
        command.args(["lab-server", "--port", &PORT.to_string()]).args(addresses).stdout(Stdio::piped());
        let mut server = command.spawn().context("cannot start an echo server")?;
        let stdout = server.stdout.take().context("the echo server has no output")?;
        let (seen, name) = (Arc::clone(&self.seen), self.servers.len());
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // "ready" comes from each server: keep them apart.
                let line = if line == READY { format!("{name} {line}") } else { line };
                seen.lock().unwrap_or_else(PoisonError::into_inner).insert(line);
            }
        });
        self.servers.push(server);
        Ok(())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures until everything gets through: a fresh link takes a moment. Returns the last round, good or not.
    pub(super) fn settle(&self) -> Result<Vec<Arrival>> {
        for round in 1..ROUNDS {
            let arrivals = self.measure(&format!("before-{round}"))?;
            if arrivals.iter().all(|arrival| *arrival == Arrival::Both) {
                return Ok(arrivals);
            }
        }
        self.measure("before")
    }

    /// Tries every flow at the same time. `phase` keeps the messages of one round apart from the next.
    pub(super) fn measure(&self, phase: &str) -> Result<Vec<Arrival>> {
        let mut probes = Vec::new();
        for (number, flow) in flows().into_iter().enumerate() {
            let tag = format!("{phase}-{number}");
            probes.push((self.probe(&flow, &tag)?, tag));
        }
        probes
            .into_iter()
            .map(|(mut probe, tag)| {
                let echoed = probe.wait()?.success();
                let arrived = echoed || self.locked().contains(&tag);
                Ok(match (arrived, echoed) {
                    (_, true) => Arrival::Both,
                    (true, false) => Arrival::OneWay,
                    (false, false) => Arrival::None,
                })
            })
            .collect()
    }

    fn probe(&self, flow: &Flow, tag: &str) -> Result<Child> {
        let (host, to) = if flow.out { (Host::Lan, flow.server) } else { (Host::Wan, flow.client) };
        let to = SocketAddr::new(to.parse::<IpAddr>()?, PORT);
        let mut command = self.lab.command(host, &self.xtask);
        command.args(["lab-probe", "--protocol", flow.protocol.name(), "--tag", tag]);
        command.args(["--to", &to.to_string(), "--within-ms", &WINDOW_MS.to_string()]);
        if !flow.out {
            command.args(["--from", flow.server]);
        }
        command.spawn().context("cannot start a probe")
    }
}

impl Drop for Traffic<'_> {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // It may be gone already.
            server.kill().ok();
            server.wait().ok();
        }
    }
}
