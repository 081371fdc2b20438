//! The clocks as the controller and the evidence want them. The only place of the daemon that reads them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::controller::Moment;

/// Counts from the daemon's start.
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(super) fn now(&self) -> Moment {
        Moment { up: self.started.elapsed(), unix: unix_now() }
    }
}

/// Unix seconds; 0 before 1970, where clocks of routers without a battery start.
fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Unix microseconds at which `CLOCK_MONOTONIC` was 0, as the clocks stand now.
pub(super) fn boot_micros() -> i64 {
    // Not by the clock's own seconds: on 32-bit CPUs those are too small for microseconds.
    let micros = |clock| {
        let time = clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
        i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
    };
    micros(ClockId::CLOCK_REALTIME).saturating_sub(micros(ClockId::CLOCK_MONOTONIC))
}
