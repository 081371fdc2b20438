//! Tells the service manager that started the daemon how it is (`sd_notify(3)`): ready, alive, reloading, about to end. Says nothing
//! where none did, and asks for nothing.

use sd_notify::NotifyState;
use tracing::debug;

/// The filter is on the devices.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The loop turns.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// A configuration is about to be read; [`ready`] ends that.
pub(super) fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    tell(&[NotifyState::Reloading, now.unwrap_or(NotifyState::MonotonicUsec(0))]);
}

/// It is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(problem) = sd_notify::notify(state) {
        debug!("the service manager does not listen: {problem}");
    }
}
