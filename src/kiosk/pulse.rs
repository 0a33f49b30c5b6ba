//! Whether the kiosk is alive: only then are the watchdogs fed.
//!
//! The loop feeds them itself, so that one that no longer turns feeds nobody. The threads that may hang in a driver or
//! a network say when they begin with something and how long that may take.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What one thread is at.
#[derive(Debug, Default)]
pub(super) struct Work {
    until: Mutex<Option<Instant>>,
}

impl Work {
    /// The thread begins with something that takes `longest` at most. It ends when the result is dropped.
    pub(super) fn begin(&self, longest: Duration) -> Busy<'_> {
        self.set(Instant::now().checked_add(longest));
        Busy(self)
    }

    fn set(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn in_time(&self, now: Instant) -> bool {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|until| now <= until)
    }
}

/// A thread is at something.
#[derive(Debug)]
pub(super) struct Busy<'a>(&'a Work);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// The threads that may hang.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Reads films.
    pub(super) reader: Work,
    /// Shows pictures.
    pub(super) panel: Work,
}

impl Pulse {
    /// The thread that hangs, if one does.
    pub(super) fn stuck(&self, now: Instant) -> Option<&'static str> {
        if !self.reader.in_time(now) {
            Some("the reader")
        } else if !self.panel.in_time(now) {
            Some("the panel")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_takes_too_long_is_named_until_it_comes_back() {
        let (pulse, now) = (Pulse::default(), Instant::now());
        let later = now + Duration::from_secs(100);
        assert_eq!(pulse.stuck(later), None, "nobody is at anything");
        let reading = pulse.reader.begin(Duration::from_secs(90));
        assert_eq!((pulse.stuck(now), pulse.stuck(later)), (None, Some("the reader")));
        drop(reading);
        assert_eq!(pulse.stuck(later), None);
        let showing = pulse.panel.begin(Duration::from_secs(30));
        assert_eq!(pulse.stuck(later), Some("the panel"));
        drop(showing);
        let forever = pulse.reader.begin(Duration::MAX);
        assert_eq!(pulse.stuck(later), None);
        drop(forever);
    }
}
