//! The two clocks as the controller wants them. The only place of the daemon that reads them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
