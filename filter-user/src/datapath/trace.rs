//! Prints the program's log of decisions, for `weir run --trace`. Costs nothing while it is off.

use aya_log::{EbpfLogger, Error};

use super::publish::Datapath;

/// Reads the log of one generation.
pub struct Trace(EbpfLogger<&'static dyn log::Log>);

impl Datapath {
    /// The log of the generation that runs. Each generation has its own.
    pub fn trace(&mut self) -> Option<Result<Trace, Error>> {
        Some(EbpfLogger::init(&mut self.object()?.ebpf).map(Trace))
    }
}

impl Trace {
    /// Passes on what was logged since the last call.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}
