//! Tells systemd how the service is (sd_notify(3)); where nobody listens nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("systemd was not told: {error}");
    }
}

/// The service is up.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// The service is alive: it is killed and started again when this is not said in time.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The service is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// How often [`alive`] has to be said at least; `None` where nobody waits for it.
pub fn interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
