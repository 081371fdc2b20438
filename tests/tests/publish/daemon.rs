//! A daemon whose configuration changes, and the words of configurations. Judges nothing but that it answers.

use weir_tests::lab::DEADLINE;
use weir_tests::netns::Netns;
use weir_tests::wait_until;
use weir_tests::weir::{Scratch, Signal, Weir};

/// A daemon, and the configuration that it reads again when told to.
pub(crate) struct Reloading {
    pub(crate) weir: Weir,
    pub(crate) scratch: Scratch,
}

impl Reloading {
    pub(crate) fn start(netns: &Netns, config: &str) -> Self {
        let scratch = Scratch::new();
        let file = scratch.file("weir.toml", config);
        Self { weir: Weir::start(netns, ["-c", file.to_str().unwrap()]), scratch }
    }

    /// Reloads and waits for the next generation.
    pub(crate) fn reload(&self, config: &str) {
        let next = self.weir.generation() + 1;
        self.scratch.file("weir.toml", config);
        self.weir.signal(Signal::SIGHUP);
        wait_until(DEADLINE, &format!("generation {next}"), || self.weir.generation() == next);
    }

    /// Reloads what must be refused, and gives the log's line.
    pub(crate) fn refused(&self, config: &str) -> String {
        let generation = self.weir.generation();
        let lines = || -> Vec<String> {
            let log = self.weir.stderr();
            log.lines().filter(|line| line.contains("reload refused")).map(Into::into).collect()
        };
        let before = lines().len();
        self.scratch.file("weir.toml", config);
        self.weir.signal(Signal::SIGHUP);
        wait_until(DEADLINE, "the reload is refused", || lines().len() > before);
        assert_eq!(self.weir.generation(), generation);
        lines().pop().unwrap()
    }
}

pub(crate) fn devices(names: &[&str]) -> String {
    names.iter().map(|name| format!("[[interface]]\nname = \"{name}\"\n")).collect::<Vec<_>>().concat()
}

pub(crate) fn rule(name: &str, action: &str, prefixes: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\naction = \"{action}\"\nprefixes = [{prefixes}]\n")
}

pub(crate) const PEER: &str = "\"71.18.1.0/24\", \"2605:340::/64\"";
