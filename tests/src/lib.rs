//! The lab: real frames, network namespaces and the real binary, for tests that need root.
//!
//! - [`frame`] says frames in words; `random` makes broken ones from a seed.
//! - [`netns`] makes namespaces, devices and addresses; [`lab`] makes a LAN client, a router and a WAN server of them.
//! - [`socket`] sends and receives raw frames, exactly counted; [`echo`] probes what gets through.
//! - [`feed`] is a web server of lists that misbehaves at will, and remembers who asked.
//! - [`irrd`] is a routing registry that does, too.
//! - [`tagged`] carries IP over VLAN tags and PPPoE sessions without the kernel's drivers.
//! - [`http`] speaks HTTP as it is told; [`browser`] drives a Chromium.
//! - [`pty`] is a terminal.
//! - [`weir`] runs the binary.
//! - [`kernel`] asks what the kernel offers; [`loads`] has it verify every program, [`differential`] decide random frames.
//! - [`programs`] is the benchmark's BPF object; [`generator`] sends frames with it, [`lookup`] asks tables; [`internet`] is
//!   the table of all prefixes, [`keys`] chooses addresses; [`cpu`] keeps a CPU for what is measured.
//!
//! Rules: a test makes its own namespaces and its own run directory, so tests run in parallel; it panics rather than
//! returns an error; it waits on a condition with a deadline, never on luck. Traffic stays inside namespaces made here.
//!
//! The guests of `cargo xtask vm` are built without the feature `peers`: what they run needs no more than the rest.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "the lab runs in tests only; a step that fails must stop the test where it stands"
)]

pub mod browser;
pub mod cpu;
pub mod differential;
pub mod echo;
#[cfg(feature = "peers")]
pub mod feed;
pub mod frame;
#[cfg(feature = "peers")]
pub mod generator;
pub mod http;
pub mod internet;
pub mod irrd;
pub mod kernel;
pub mod keys;
pub mod lab;
pub mod loads;
#[cfg(feature = "peers")]
pub mod lookup;
pub mod netns;
#[cfg(feature = "peers")]
pub mod programs;
pub mod pty;
mod random;
pub mod socket;
mod sys;
pub mod tagged;
pub mod traffic;
pub mod weir;

pub use lab::{require_root, skipped, wait_until};
