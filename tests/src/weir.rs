//! The real binary as a person starts it: a daemon in a namespace, and one-shot verbs. Reads only what weir prints.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal;
pub use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use crate::lab::{DEADLINE, wait_until};
use crate::netns::Netns;
use crate::sys;

/// The binary under test: `WEIR_BIN`, else the workspace's release build.
#[must_use]
pub fn binary() -> PathBuf {
    let path = env::var_os("WEIR_BIN").map_or_else(
        || {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
            let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
            target.join("release/weir")
        },
        PathBuf::from,
    );
    assert!(path.is_file(), "{} does not exist; run: cargo xtask test", path.display());
    path
}

/// What a one-shot verb did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// What it printed, read as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a verb to its end, outside of any namespace.
pub fn weir<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    output(Command::new(binary()).args(arguments))
}

fn output(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A directory of this test; deleted when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty directory.
    #[must_use]
    pub fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("weir-test-{}-{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        // Left by a killed process of the same number.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it and gives its path.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, contents).unwrap();
        path
    }

    /// Copies a program into it, for everybody to start, and gives the copy's path.
    ///
    /// Another process does it: the kernel starts no file that somebody has open to write (`ETXTBSY`), and what this one has open
    /// while it copies, a child has as well that another test starts meanwhile.
    #[must_use]
    pub fn program(&self, name: &str, original: &Path) -> PathBuf {
        let path = self.0.join(name);
        let status = Command::new("install").arg("--mode=0755").arg(original).arg(&path).status().unwrap();
        assert!(status.success(), "{} cannot be copied to {}: {status}", original.display(), path.display());
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The file system of pins, which a daemon that was killed left there.
        let _ = umount2(&self.0.join("bpf"), MntFlags::MNT_DETACH);
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running `weir run` in a namespace, with a run directory of its own; killed when dropped.
#[derive(Debug)]
pub struct Weir {
    child: Child,
    netns: PathBuf,
    scratch: Scratch,
}

impl Weir {
    /// Starts `weir run` with the arguments and waits until every device is attached.
    #[must_use]
    pub fn start<A: AsRef<OsStr>>(netns: &Netns, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::start_in(netns, Scratch::new(), arguments)
    }

    /// Likewise, in the directory of a daemon that ended: with what it left in its run and state directories.
    #[must_use]
    pub fn start_in<A: AsRef<OsStr>>(netns: &Netns, scratch: Scratch, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::start_by(&[], netns, scratch, arguments)
    }

    /// Likewise, by another program: one that takes a command behind its own arguments.
    #[must_use]
    pub fn start_by<A: AsRef<OsStr>>(
        starter: &[&str],
        netns: &Netns,
        scratch: Scratch,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let mut weir = Self::launch_by(starter, netns, scratch, arguments);
        let begun = Instant::now();
        while !weir.is_attached() {
            let exited = weir.child.try_wait().unwrap();
            let log = || format!("stdout:\n{}\nstderr:\n{}", weir.stdout(), weir.stderr());
            assert!(exited.is_none(), "weir ended before it was attached: {exited:?}\n{}", log());
            assert!(begun.elapsed() < DEADLINE, "weir is not attached after {DEADLINE:?}\n{}", log());
            thread::sleep(Duration::from_millis(20));
        }
        weir
    }

    /// Starts `weir run` and does not wait: for runs that must fail.
    #[must_use]
    pub fn launch<A: AsRef<OsStr>>(netns: &Netns, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::launch_in(netns, Scratch::new(), arguments)
    }

    /// Likewise, in the directory of a daemon that ended.
    #[must_use]
    pub fn launch_in<A: AsRef<OsStr>>(netns: &Netns, scratch: Scratch, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::launch_by(&[], netns, scratch, arguments)
    }

    fn launch_by<A: AsRef<OsStr>>(
        starter: &[&str],
        netns: &Netns,
        scratch: Scratch,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let arguments: Vec<OsString> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let log = |name: &str| File::create(scratch.path().join(name)).unwrap();
        let program = binary();
        let words = starter.iter().map(|word| OsStr::new(*word)).chain([program.as_os_str()]);
        let words: Vec<&OsStr> = words.collect();
        let mut command = netns.command(words[0]);
        command.args(&words[1..]).arg("run").args(&arguments).arg("--run-dir").arg(scratch.path());
        // Tests that restart a daemon bring a directory of their own.
        if !arguments.iter().any(|argument| argument == "--state-dir") {
            command.arg("--state-dir").arg(scratch.path().join("state"));
        }
        command.stdin(Stdio::null()).stdout(log("stdout")).stderr(log("stderr"));
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, netns: netns.path(), scratch }
    }

    /// The daemon's run directory; `stdout` and `stderr` are there too.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        self.scratch.path()
    }

    /// The daemon's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the daemon has printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.scratch.path().join("stdout")).unwrap_or_default()
    }

    /// What the daemon has complained about so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.scratch.path().join("stderr")).unwrap_or_default()
    }

    /// Runs a verb against this daemon, in its namespace.
    #[must_use]
    pub fn verb(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns.display())).arg("--").arg(binary());
        output(command.args(arguments).arg("--run-dir").arg(self.scratch.path()))
    }

    /// What `weir status --json` says.
    #[must_use]
    pub fn status(&self) -> Value {
        let output = self.verb(&["status", "--json"]);
        assert_eq!(output.code, 0, "weir status: {output:?}\nstderr of the daemon:\n{}", self.stderr());
        output.json()
    }

    /// The generation that is live.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.status()["generation"].as_u64().unwrap()
    }

    /// How a device is attached: `xdp-native`, `tcx`, `tc` or `xdp-generic`.
    #[must_use]
    pub fn attach(&self, device: &str) -> String {
        let status = self.status();
        find(&status["devices"], device)["attach"].as_str().unwrap_or_default().to_owned()
    }

    /// A device's seen packets and bytes.
    #[must_use]
    pub fn seen(&self, device: &str) -> Counter {
        Counter::read(&find(&self.status()["devices"], device)["seen"])
    }

    /// A rule's counter in one direction, `out` or `in`.
    #[must_use]
    pub fn rule(&self, rule: &str, direction: &str) -> Counter {
        Counter::read(&find(&self.status()["rules"], rule)[direction])
    }

    /// What was dropped in all.
    #[must_use]
    pub fn dropped(&self) -> Counter {
        Counter::read(&self.status()["dropped"])
    }

    /// Waits until a rule's counter has reached exactly this; says what it was instead.
    pub fn wait_for_rule(&self, rule: &str, direction: &str, packets: u64) {
        wait_until(DEADLINE, &format!("rule {rule:?} counts {packets} packets {direction}"), || {
            let counted = self.rule(rule, direction).packets;
            assert!(counted <= packets, "rule {rule:?} counts {counted} packets {direction}, not {packets}");
            counted == packets
        });
    }

    /// Detaches the daemon's BPF links on a device behind its back; gives how many there were.
    #[must_use]
    pub fn sever(&self, ifindex: u32) -> usize {
        let links = self.links(ifindex);
        for &id in &links {
            sys::detach_link(id).unwrap_or_else(|error| panic!("link {id}: {error}"));
        }
        links.len()
    }

    /// The kernel's numbers of the daemon's BPF links on a device.
    #[must_use]
    pub fn links(&self, ifindex: u32) -> BTreeSet<u32> {
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse::<u32>().ok())
        };
        let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", self.pid())).unwrap();
        let texts = descriptors.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
        texts
            .filter(|text| field(text, "ifindex") == Some(ifindex))
            .filter_map(|text| field(&text, "link_id"))
            .collect()
    }

    /// Sends a signal to the daemon.
    pub fn signal(&self, signal: Signal) {
        signal::kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Kills the daemon, as a crash would; gives its directory for the next one.
    #[must_use]
    pub fn kill(mut self) -> Scratch {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::take(&mut self.scratch)
    }

    /// Ends the daemon and has it leave its filter; gives its directory for the next one.
    #[must_use]
    pub fn leave(mut self) -> Scratch {
        let output = self.verb(&["stop", "--keep"]);
        assert_eq!(output.code, 0, "weir stop --keep: {output:?}");
        assert!(self.wait().success(), "{}", self.stderr());
        std::mem::take(&mut self.scratch)
    }

    /// Ends the daemon in order; gives its directory for the next one.
    #[must_use]
    pub fn end(mut self) -> Scratch {
        let status = self.stop();
        assert!(status.success(), "{status:?}\n{}", self.stderr());
        std::mem::take(&mut self.scratch)
    }

    /// Ends the daemon with `weir stop` and gives its exit status.
    pub fn stop(&mut self) -> ExitStatus {
        let output = self.verb(&["stop"]);
        assert_eq!(output.code, 0, "weir stop: {output:?}");
        self.wait()
    }

    /// How the daemon ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the daemon's end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(DEADLINE, "weir ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    fn is_attached(&self) -> bool {
        let output = self.verb(&["status", "--json"]);
        let Ok(status) = serde_json::from_str::<Value>(&output.stdout) else { return false };
        let devices = status["devices"].as_array();
        devices.is_some_and(|devices| !devices.is_empty() && devices.iter().all(|device| device["attach"].is_string()))
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("weir printed:\n{}\nand complained:\n{}", self.stdout(), self.stderr());
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = signal::kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
            let deadline = Instant::now() + Duration::from_secs(5);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Packets and bytes, as status gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Counter {
    fn read(value: &Value) -> Self {
        let field = |name: &str| value[name].as_u64().unwrap_or_else(|| panic!("no {name:?} in {value}"));
        Self { packets: field("packets"), bytes: field("bytes") }
    }
}

fn find(list: &Value, name: &str) -> Value {
    let entries = list.as_array().unwrap_or_else(|| panic!("not a list: {list}"));
    let entry = entries.iter().find(|entry| entry["name"] == name);
    entry.unwrap_or_else(|| panic!("no {name:?} in {list}")).clone()
}
