//! A router between LAN and WAN, with the real binary: what is dropped, what passes, and that each counter is exact.
//!
//! Verdicts and sums come from the frames sent. Remote addresses that no host answers for keep replies out of the sums.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod counting;
mod malformed;
mod scopes;
mod verdicts;
mod wires;
