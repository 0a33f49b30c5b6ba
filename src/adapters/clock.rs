//! The time of day, and whether it may be believed.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// systemd-timesyncd makes this file once the clock has been set from the network (systemd-timesyncd.service(8)), and
/// it is gone after a restart.
const SET_FROM_NETWORK: &str = "/run/systemd/timesync/synchronized";

/// Milliseconds since 1970-01-01 00:00 UTC, and whether the clock has been set since the device was switched on.
///
/// A board without a battery starts with the time of its last shutdown.
pub fn now() -> (i64, bool) {
    let unix_ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    };
    (unix_ms, Path::new(SET_FROM_NETWORK).exists())
}
