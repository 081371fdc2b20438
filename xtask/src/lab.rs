//! Three network namespaces, lan - router - wan, with no way out. Removed on drop and on Ctrl-C, processes included.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command;

const FAMILY: &str = "weir-demo-";

/// What is inside each namespace.
#[derive(Clone, Copy)]
pub(crate) enum Host {
    Lan,
    Router,
    Wan,
}

/// The lab of this process.
pub(crate) struct Lab {
    prefix: String,
    /// Scratch directory, removed with the lab.
    pub(crate) directory: PathBuf,
}

impl Lab {
    /// Lays it out. `wan` are the addresses, with their length, that the server owns.
    pub(crate) fn create(wan: &[String]) -> Result<Self> {
        remove_orphans();
        let prefix = format!("{FAMILY}{}-", std::process::id());
        let directory = std::env::temp_dir().join(prefix.trim_end_matches('-'));
        // Made before anything else, so that a failure half-way is cleaned up too.
        let lab = Self { prefix, directory };
        let (prefix, directory) = (lab.prefix.clone(), lab.directory.clone());
        ctrlc::set_handler(move || {
            remove(&prefix, &directory);
            std::process::exit(130);
        })?;
        fs::create_dir(&lab.directory).with_context(|| format!("cannot create {}", lab.directory.display()))?;
        lab.lay_out(wan)?;
        Ok(lab)
    }

    /// A program that will run inside a namespace.
    pub(crate) fn command(&self, host: Host, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(host)]).arg(program);
        command
    }

    fn name(&self, host: Host) -> String {
        let host = match host {
            Host::Lan => "lan",
            Host::Router => "router",
            Host::Wan => "wan",
        };
        format!("{}{host}", self.prefix)
    }

    fn lay_out(&self, wan: &[String]) -> Result<()> {
        for host in [Host::Lan, Host::Router, Host::Wan] {
            ip(&format!("netns add {}", self.name(host)))?;
            self.set(host, "net/ipv6/conf/all/disable_ipv6", '0')?;
            // An address that is still being checked for duplicates cannot be used, and there are none here.
            self.set(host, "net/ipv6/conf/all/accept_dad", '0')?;
            self.set(host, "net/ipv6/conf/default/accept_dad", '0')?;
            self.ip(host, "link set lo up")?;
        }
        self.cable("lan0", Host::Lan)?;
        self.cable("wan0", Host::Wan)?;
        self.address(Host::Lan, "eth0", &["10.66.0.2/24", "fd66::2/64"])?;
        self.address(Host::Router, "lan0", &["10.66.0.1/24", "fd66::1/64"])?;
        self.address(Host::Router, "wan0", &["192.0.2.1/24", "2001:db8:1::1/64"])?;
        self.address(Host::Wan, "eth0", &["192.0.2.2/24", "2001:db8:1::2/64"])?;
        self.address(Host::Wan, "lo", &wan.iter().map(String::as_str).collect::<Vec<_>>())?;
        self.gateway(Host::Lan, "10.66.0.1", "fd66::1")?;
        self.gateway(Host::Router, "192.0.2.2", "2001:db8:1::2")?;
        self.gateway(Host::Wan, "192.0.2.1", "2001:db8:1::1")?;
        self.set(Host::Router, "net/ipv4/ip_forward", '1')?;
        self.set(Host::Router, "net/ipv6/conf/all/forwarding", '1')
    }

    fn cable(&self, device: &str, host: Host) -> Result<()> {
        let (router, host_name) = (self.name(Host::Router), self.name(host));
        ip(&format!("link add name {device} netns {router} type veth peer name eth0 netns {host_name}"))?;
        self.ip(Host::Router, &format!("link set {device} up"))?;
        self.ip(host, "link set eth0 up")
    }

    fn address(&self, host: Host, device: &str, addresses: &[&str]) -> Result<()> {
        addresses.iter().try_for_each(|address| self.ip(host, &format!("address add {address} dev {device}")))
    }

    fn gateway(&self, host: Host, v4: &str, v6: &str) -> Result<()> {
        self.ip(host, &format!("route add default via {v4}"))?;
        self.ip(host, &format!("-6 route add default via {v6}"))
    }

    fn ip(&self, host: Host, arguments: &str) -> Result<()> {
        ip(&format!("-n {} {arguments}", self.name(host)))
    }

    /// Written through a shell in the namespace: `sysctl` is not everywhere.
    fn set(&self, host: Host, key: &str, value: char) -> Result<()> {
        command::output(self.command(host, "sh").args(["-c", &format!("echo {value} > /proc/sys/{key}")])).map(drop)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove(&self.prefix, &self.directory);
    }
}

/// Removes the labs of demos that were killed before they could do it.
fn remove_orphans() {
    for namespace in namespaces(FAMILY) {
        let owner = namespace[FAMILY.len()..].split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(owner).exists() {
            let prefix = format!("{FAMILY}{owner}");
            remove(&format!("{prefix}-"), &std::env::temp_dir().join(prefix));
        }
    }
}

/// Best effort, and all of it: one failure must not keep the rest.
fn remove(prefix: &str, directory: &Path) {
    for namespace in namespaces(prefix) {
        // A namespace lives on as long as a process is in it.
        let processes = command::output(Command::new("ip").args(["netns", "pids", &namespace])).unwrap_or_default();
        for process in processes.lines().filter_map(|line| line.trim().parse().ok()) {
            kill(Pid::from_raw(process), Signal::SIGKILL).ok();
        }
        if let Err(error) = ip(&format!("netns delete {namespace}")) {
            eprintln!("demo: {error:#}; run: sudo ip netns delete {namespace}");
        }
    }
    fs::remove_dir_all(directory).ok();
}

fn namespaces(prefix: &str) -> Vec<String> {
    let listed = command::output(Command::new("ip").args(["netns", "list"])).unwrap_or_default();
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
}

fn ip(arguments: &str) -> Result<()> {
    command::output(Command::new("ip").args(arguments.split_whitespace())).map(drop)
}
