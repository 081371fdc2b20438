//! The daemon as an operator has it, by its configuration file and under real packets: what each key of a rule does, and
//! lists from servers that misbehave in every way the field knows. What was blocked stays blocked, nothing else is, the
//! status says so, and weir recovers by itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod approval;
mod documents;
mod faults;
mod flows;
mod isolation;
mod registry;
mod restart;
mod schedules;
mod scopes;
mod sources;
mod watch;
