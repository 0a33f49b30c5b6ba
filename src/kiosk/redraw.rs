//! When the panel is drawn anew: at once where something else is to be seen, a few times a second where only numbers count
//! up, so that a burst of films is received and read, and not drawn.

use std::time::{Duration, Instant};

/// From one picture to the next where only numbers have changed.
const COUNTING: Duration = Duration::from_millis(400);

/// What has changed since the last picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redraw {
    now: bool,
    soon: bool,
    last: Instant,
}

impl Redraw {
    /// A panel on which nothing was drawn yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { now: true, soon: false, last: now }
    }

    /// Something else is to be seen.
    pub(super) fn now(&mut self) {
        self.now = true;
    }

    /// Numbers have changed.
    pub(super) fn soon(&mut self) {
        self.soon = true;
    }

    /// Whether to draw; what had changed then counts as drawn.
    pub(super) fn is_due(&mut self, at: Instant) -> bool {
        let due = self.now || self.soon && at.duration_since(self.last) >= COUNTING;
        if due {
            *self = Self { now: false, soon: false, last: at };
        }
        due
    }

    /// How long there is surely nothing to draw, unless something happens.
    pub(super) fn pause(&self) -> Duration {
        if self.soon { COUNTING.saturating_sub(self.last.elapsed()) } else { Duration::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_drawn_a_few_times_a_second_and_everything_else_at_once() {
        let start = Instant::now();
        let mut redraw = Redraw::new(start);
        assert!(redraw.is_due(start) && !redraw.is_due(start));
        let drawn = (0..1000u64).filter(|milliseconds| {
            redraw.soon();
            redraw.is_due(start + Duration::from_millis(*milliseconds))
        });
        assert_eq!(drawn.count(), 2);
        redraw.now();
        assert!(redraw.is_due(start + Duration::from_millis(1000)));
        redraw.soon();
        assert!(!redraw.is_due(start + Duration::from_millis(1001)) && redraw.pause() <= COUNTING);
        assert!(redraw.is_due(start + Duration::from_millis(1400)), "what was put off is drawn");
        assert!(!redraw.is_due(start + Duration::from_millis(9000)));
    }
}
