//! Parts that run in threads of their own: whatever ends one, it is started again, later each time.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Until a part that ended is started again for the first time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// And later, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A part that ran for so long is as good as new.
const PROVEN: Duration = Duration::from_secs(60);
/// How often it is looked whether the program is to end.
const LOOK: Duration = Duration::from_millis(100);

/// How long to wait before the next try: twice as long each time.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackOff {
    first: Duration,
    next: Duration,
}

impl Default for BackOff {
    /// A second at first, a minute at most.
    fn default() -> Self {
        Self::from(FIRST_PAUSE)
    }
}

impl BackOff {
    fn from(first: Duration) -> Self {
        Self { first, next: first }
    }

    /// The next pause.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        pause
    }

    /// What failed has worked since.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Runs `work` again and again until `ending`; `failed` is told why it ended.
///
/// `work` returns `Ok` only because the program is to end.
pub(super) fn keep_running(
    ending: &AtomicBool,
    mut back_off: BackOff,
    mut failed: impl FnMut(String),
    mut work: impl FnMut() -> Result<(), String>,
) {
    while !ending.load(Ordering::Relaxed) {
        let start = Instant::now();
        let ended = panic::catch_unwind(AssertUnwindSafe(&mut work));
        let why = match ended {
            Ok(Ok(())) => continue,
            Ok(Err(why)) => why,
            Err(fault) => format!("a fault of this program: {}", words_of(fault.as_ref())),
        };
        if start.elapsed() >= PROVEN {
            back_off.reset();
        }
        failed(why);
        wait(back_off.pause(), ending);
    }
}

/// Waits, unless the program is to end.
pub(super) fn wait(pause: Duration, ending: &AtomicBool) {
    let start = Instant::now();
    while start.elapsed() < pause && !ending.load(Ordering::Relaxed) {
        thread::sleep(LOOK.min(pause));
    }
}

/// What a panic says.
pub(super) fn words_of(fault: &(dyn Any + Send)) -> String {
    let text = fault.downcast_ref::<String>().map(String::as_str).or_else(|| fault.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_fails_or_panics_is_started_again_and_the_reason_told() {
        let (ending, mut runs, mut told) = (AtomicBool::new(false), 0, Vec::new());
        let work = || {
            runs += 1;
            match runs {
                1 => Err("the cable is out".to_owned()),
                2 => panic!("index {} out of range", 7),
                _ => {
                    ending.store(true, Ordering::Relaxed);
                    Ok(())
                }
            }
        };
        keep_running(&ending, BackOff::from(Duration::ZERO), |why| told.push(why), work);
        assert_eq!((runs, told[0].as_str()), (3, "the cable is out"));
        assert_eq!(told[1..], ["a fault of this program: index 7 out of range"]);
    }

    #[test]
    fn pauses_become_longer_and_no_longer_than_a_minute() {
        let mut back_off = BackOff::default();
        let pauses: Vec<u64> = (0..8).map(|_| back_off.pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        back_off.reset();
        assert_eq!(back_off.pause().as_secs(), 1);
    }
}
