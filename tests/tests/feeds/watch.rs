//! What the tests of this program watch a daemon by: its status, and real packets. Judges nothing by itself.

use std::net::IpAddr;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use serde_json::Value;
use weir_tests::echo::{tcp_echo, udp_echo};
use weir_tests::lab::{CONTROL, DEADLINE, LISTED, PROBE, Path};
use weir_tests::netns::Netns;
use weir_tests::wait_until;
use weir_tests::weir::{Output, Scratch, Weir};

/// A daemon on the LAN device of a router, whose configuration and state outlive it.
pub(crate) struct Router {
    pub(crate) path: Path,
    pub(crate) scratch: Scratch,
    pub(crate) weir: Option<Weir>,
}

impl Router {
    /// A router that runs `config`; `{feed}` in it stands for the feed's address.
    pub(crate) fn new() -> Self {
        Self::over(Path::new())
    }

    /// The router of a path.
    pub(crate) fn over(path: Path) -> Self {
        Self { path, scratch: Scratch::new(), weir: None }
    }

    pub(crate) fn config(&self, text: &str) -> PathBuf {
        let text = format!("[[interface]]\nname = \"lan0\"\n{text}");
        self.scratch.file("weir.toml", text)
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// Starts the daemon; one that runs is killed first, as a power cut would.
    pub(crate) fn start(&mut self) -> &Weir {
        if let Some(weir) = self.weir.take() {
            weir.signal(weir_tests::weir::Signal::SIGKILL);
            drop(weir);
        }
        let config = self.scratch.path().join("weir.toml");
        let weir = Weir::start(
            &self.path.router,
            [FilePath::new("-c"), &config, FilePath::new("--state-dir"), &self.state_dir()],
        );
        self.weir.insert(weir)
    }

    pub(crate) fn weir(&self) -> &Weir {
        self.weir.as_ref().unwrap()
    }

    /// Runs a verb that does not speak to the daemon, in the router's namespace.
    pub(crate) fn offline(&self, arguments: &[&str]) -> Output {
        verb(&self.path.router, arguments)
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.weir().verb(&["status", "--json"]);
        assert!([0, 3].contains(&output.code), "{output:?}\n{}", self.weir().stderr());
        output.json()
    }

    /// The one document of a source in the status.
    pub(crate) fn list(&self, source: &str) -> Value {
        let status = self.status();
        let lists = status["lists"].as_array().unwrap();
        lists.iter().find(|list| list["source"] == source).unwrap_or_else(|| panic!("no {source} in {status}")).clone()
    }

    pub(crate) fn state(&self, source: &str) -> String {
        self.list(source)["state"].as_str().unwrap().to_owned()
    }

    pub(crate) fn wait_for_state(&self, source: &str, state: &str) {
        wait_until(DEADLINE, &format!("source {source} is {state}: {}", self.weir().stderr()), || {
            self.state(source) == state
        });
    }

    /// Waits until the source failed with a problem that holds `text`, after it was asked anew.
    pub(crate) fn wait_for_problem(&self, source: &str, text: &str) {
        let mut last = Value::Null;
        let found = |last: &mut Value| {
            *last = self.list(source);
            last["problem"].as_str().is_some_and(|problem| problem.contains(text))
        };
        let deadline = std::time::Instant::now() + DEADLINE;
        while !found(&mut last) {
            assert!(std::time::Instant::now() < deadline, "no {text:?} in {last}\n{}", self.weir().stderr());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn passes(&self, address: IpAddr) -> bool {
        udp_echo(&self.path.lan, address, PROBE)
    }

    /// The listed addresses are blocked, the others are not.
    pub(crate) fn assert_blocked(&self, when: &str) {
        for address in CONTROL {
            wait_until(DEADLINE, &format!("{address} passes {when}"), || self.passes(address));
        }
        for address in LISTED {
            assert!(!self.passes(address), "{address} passes {when}\n{}", self.weir().stderr());
        }
    }

    pub(crate) fn wait_until_blocked(&self, when: &str) {
        wait_until(DEADLINE, &format!("blocked {when}: {}", self.weir().stderr()), || {
            LISTED.iter().all(|&address| !self.passes(address))
        });
        self.assert_blocked(when);
    }

    /// Nothing is blocked: the probes themselves work.
    pub(crate) fn assert_open(&self, when: &str) {
        for address in LISTED.iter().chain(&CONTROL) {
            wait_until(DEADLINE, &format!("{address} passes {when}"), || tcp_echo(&self.path.lan, *address, PROBE));
        }
    }
}

/// Runs a verb in a namespace.
pub(crate) fn verb(netns: &Netns, arguments: &[&str]) -> Output {
    let mut command = netns.command(weir_tests::weir::binary());
    let output = command.args(arguments).stdin(std::process::Stdio::null()).output().unwrap();
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
