//! A ruleset: all rules of one generation, compiled. Immutable and complete; does no I/O and never reads the clock.

mod caution;
pub mod compare;
pub mod compile;
pub mod delta;
pub mod explain;
pub mod guard;
pub mod narrow;
pub mod origins;
pub mod parts;
pub mod probe;
pub mod resolve;
pub mod schedule;
pub mod scope;
pub mod sets;
pub mod table;
pub mod versions;

pub use compile::{Guard, Rule, Ruleset, compile};
pub use explain::{Explained, explain};
pub use guard::{Host, guard};
pub use resolve::{Resolved, resolve};
pub use schedule::{Schedule, ScheduleError, Window};
pub use scope::Scope;
pub use sets::{RuleAction, RuleDirection, RuleIdentity, Sets, credit};
