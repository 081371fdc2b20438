//! A ruleset: all rules of one generation, compiled. Immutable and complete; does no I/O and never reads the clock.

pub mod compile;
pub mod guard;
pub mod narrow;
pub mod resolve;
pub mod scope;
pub mod sets;
pub mod table;

pub use compile::{Guard, Rule, Ruleset, compile};
pub use guard::{Host, guard};
pub use resolve::{Resolved, resolve};
pub use scope::Scope;
pub use sets::{RuleAction, RuleDirection, RuleIdentity, Sets};
