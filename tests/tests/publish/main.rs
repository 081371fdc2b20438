//! Publishing: nothing leaks, nothing is lost, every counter goes on, and a bad configuration changes nothing.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod daemon;
mod reload;
mod traffic;
