//! What was blocked, proven: counters by client and over restarts, single drops, the history and its report, live rates.
//! Root: network namespaces, BPF programs, real frames.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod books;
mod events;
mod same;
mod selftest;
mod top;
