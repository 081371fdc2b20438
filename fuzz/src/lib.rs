//! Fuzz targets as plain functions: bytes in, a panic where something that must hold does not. Starts no fuzzer:
//! `fuzz_targets/` hands the targets to libFuzzer, [`replay`] feeds them what is committed.
//!
//! A target asserts what a reader may rely on, against an oracle that shares no code with what it judges: a linear scan of
//! what was stated, a plain second reader, or bytes that were made from the answer. Inputs that cannot be judged are let
//! pass. Whatever is needed of a target's input stands in its first lines, so that inputs can be written by hand.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a target panics where something does not hold: that is how a fuzzer is told"
)]

mod addresses;
mod bytes;
pub mod capture;
pub mod config;
pub mod control;
pub mod decide;
pub mod delta;
pub mod frame;
pub mod http;
mod judge;
pub mod kept;
pub mod kernel;
pub mod lists;
pub mod mrt;
pub mod origins;
pub mod replay;
pub mod tables;

/// What rules mean by a linear scan: the oracle of the ruleset's tests.
#[path = "../../filter-user/tests/oracle/mod.rs"]
#[expect(dead_code, reason = "the rules' own tests use all of it")]
mod rules;
/// What a frame carries by etherparse: the oracle of the parser's tests.
#[path = "../../filter-common/tests/oracle/mod.rs"]
mod wire;

/// Something that is fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its file, its binary and its corpus.
    pub name: &'static str,
    /// Panics where something does not hold.
    pub run: fn(&[u8]),
}

/// All of them, by name.
pub const TARGETS: [Target; 13] = [
    Target { name: "capture", run: capture::run },
    Target { name: "config", run: config::run },
    Target { name: "control", run: control::run },
    Target { name: "decide", run: decide::run },
    Target { name: "delta", run: delta::run },
    Target { name: "frame", run: frame::run },
    Target { name: "http", run: http::run },
    Target { name: "kept", run: kept::run },
    Target { name: "kernel", run: kernel::run },
    Target { name: "lists", run: lists::run },
    Target { name: "mrt", run: mrt::run },
    Target { name: "origins", run: origins::run },
    Target { name: "tables", run: tables::run },
];
