//! Lists from a real web server that misbehaves in every way the field knows: what was blocked stays blocked, nothing else
//! is, the status says so, and weir recovers by itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod approval;
mod faults;
mod restart;
mod sources;
mod watch;
