//! The thread that looks through the camera and photographs films, so that a camera that hangs holds up nobody.
//!
//! The camera is open only while somebody aims. A photograph is kept in the spool, durably and queued for reading,
//! before anybody looks at it; it is then a film like every other.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::case::shrunk;
use super::parts::{BackOff, words_of};
use super::state::Part;
use super::{News, Shared};
use crate::adapters::camera;
use crate::adapters::spool::{Kept, Spool};
use crate::config::CameraConfig;
use crate::domain::{GreyImage, Reason};
use crate::pipeline::film::{self, Guidance};
use crate::ports::Source;

/// From one look to the next at least: a few a second guide a hand, and leave the processor to the reader.
const EVERY: Duration = Duration::from_millis(250);
/// How often it is looked whether the program is to end.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is looked whether the camera is there while nobody aims.
const PRESENCE: Duration = Duration::from_secs(10);

/// What is wanted of the camera.
#[derive(Debug, Default)]
pub(super) struct Shutter {
    wish: Mutex<Wish>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    /// Somebody aims.
    aim: bool,
    /// A photograph is to be taken.
    shoot: bool,
    /// It is to be opened now, however short the last failure is ago.
    reopen: bool,
}

impl Shutter {
    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Wish)) {
        change(&mut self.wish());
        self.changed.notify_one();
    }

    /// Whether somebody aims from now on.
    pub(super) fn aim(&self, aim: bool) {
        if self.wish().aim != aim {
            self.change(|wish| wish.aim = aim);
        }
    }

    /// Takes a photograph as soon as the camera is free.
    pub(super) fn shoot(&self) {
        self.change(|wish| wish.shoot = true);
    }

    /// Opens the camera again without waiting.
    pub(super) fn reopen(&self) {
        self.change(|wish| wish.reopen = true);
    }

    /// What is wanted; waits for a change of it, `longest` at most. What was asked for once is handed out once.
    fn take(&self, longest: Duration) -> Wish {
        let before = self.wish().aim;
        let same = |wish: &mut Wish| wish.aim == before && !wish.shoot && !wish.reopen;
        let (mut wish, _) =
            self.changed.wait_timeout_while(self.wish(), longest, same).unwrap_or_else(PoisonError::into_inner);
        let taken = *wish;
        *wish = Wish { aim: taken.aim, ..Wish::default() };
        taken
    }
}

/// What the camera sees.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sight {
    /// It is being opened.
    Opening,
    /// It shows nothing before the photograph.
    Blind,
    /// A picture no larger than the panel, with what was found in it.
    Seen(Box<GreyImage>, Guidance),
}

/// A hint that stands until another one has come twice, so that it can be read.
#[derive(Clone, Copy, Debug, Default)]
struct Steady {
    shown: Option<Option<Reason>>,
    last: Option<Option<Reason>>,
}

impl Steady {
    fn next(&mut self, hint: Option<Reason>) -> Option<Reason> {
        let shown = match self.shown {
            Some(shown) if self.last != Some(hint) => shown,
            Some(_) | None => hint,
        };
        (self.shown, self.last) = (Some(shown), Some(hint));
        shown
    }
}

/// The camera, as far as it is open.
struct Eye<'a> {
    shared: &'a Shared,
    config: &'a CameraConfig,
    spool: &'a Spool,
    camera: Option<Box<dyn Source + Send>>,
    steady: Steady,
    /// It has no quick pictures.
    blind: bool,
    back_off: BackOff,
    /// Not before then is tried again what did not work.
    rests_until: Option<Instant>,
    /// When to look whether it is there.
    next_presence: Instant,
}

/// Looks and photographs as it is wanted, until the program is to end.
pub(super) fn run(shared: &Shared, config: &CameraConfig, spool: &Spool) {
    let mut eye = Eye {
        shared,
        config,
        spool,
        camera: None,
        steady: Steady::default(),
        blind: false,
        back_off: BackOff::default(),
        rests_until: None,
        next_presence: Instant::now(),
    };
    let mut pause = Duration::ZERO;
    while !shared.ending.load(Ordering::Relaxed) {
        let wish = shared.shutter.take(pause);
        let turned = panic::catch_unwind(AssertUnwindSafe(|| eye.turn(wish)));
        pause = turned.unwrap_or_else(|fault| {
            eye.failed(format!("a fault of this program: {}", words_of(fault.as_ref())));
            if wish.shoot {
                shared.tell(News::Taken(None));
            }
            LOOK
        });
    }
}

impl Eye<'_> {
    /// Does what is wanted now; gives when to turn again if nothing else is wanted before.
    fn turn(&mut self, wish: Wish) -> Duration {
        let start = Instant::now();
        if wish.reopen {
            self.rests_until = None;
        }
        if wish.shoot {
            self.shoot();
            return Duration::ZERO;
        }
        if !wish.aim {
            // Its light goes out, and others may use it.
            (self.camera, self.steady, self.blind) = (None, Steady::default(), false);
            self.ask_presence(start);
            return LOOK;
        }
        if self.rests_until.is_some_and(|until| start < until) || self.blind {
            return LOOK;
        }
        self.rests_until = None;
        self.look();
        EVERY.saturating_sub(start.elapsed())
    }

    fn camera(&mut self) -> &mut (dyn Source + Send) {
        let (shared, config) = (self.shared, self.config);
        let camera = self.camera.get_or_insert_with(|| {
            shared.tell(News::Sight(Sight::Opening));
            camera::open(config)
        });
        camera.as_mut()
    }

    fn look(&mut self) {
        let sight = match self.camera().look() {
            Ok(Some(image)) => {
                let guidance = film::guide(&image);
                let before = self.steady.shown;
                let guidance = Guidance { hint: self.steady.next(guidance.hint), ..guidance };
                if before != Some(guidance.hint) {
                    let sees = guidance.hint.map_or("a film that can be read", Reason::code);
                    log::debug!("the camera sees {sees}");
                }
                Sight::Seen(Box::new(shrunk(image, self.shared.longest_side())), guidance)
            }
            Ok(None) => {
                self.blind = true;
                Sight::Blind
            }
            Err(error) => return self.failed(error.to_string()),
        };
        if self.blind {
            // Nothing was asked of it: whether it is there is all that is known before its photograph.
            match camera::presence(self.config) {
                Ok(()) => self.shared.part(Part::Camera, 0, Ok(())),
                Err(why) => return self.failed(why),
            }
        } else {
            self.works();
        }
        self.shared.tell(News::Sight(sight));
    }

    fn shoot(&mut self) {
        let spool = self.spool;
        let taken = match camera::take(self.camera(), spool) {
            Ok(Kept::New(stored) | Kept::Differing(stored)) => {
                log::info!("took a photograph, kept as {}", stored.file_name());
                self.works();
                Some(stored.number())
            }
            Ok(Kept::Again) => {
                // Two photographs differ by the sensor's noise, if by nothing else.
                self.failed("it gave the very same picture as before: it hangs".to_owned());
                None
            }
            Err(error) => {
                self.failed(error.to_string());
                None
            }
        };
        self.shared.tell(News::Taken(taken));
    }

    fn works(&mut self) {
        self.back_off.reset();
        self.rests_until = None;
        self.shared.part(Part::Camera, 0, Ok(()));
    }

    /// It is opened anew at the next turn that may.
    fn failed(&mut self, why: String) {
        log::error!("camera: {why}; it is opened again");
        (self.camera, self.steady, self.blind) = (None, Steady::default(), false);
        self.rests_until = Some(Instant::now() + self.back_off.pause());
        self.shared.part(Part::Camera, 0, Err(why));
    }

    /// Whether it is there, without switching it on; one that has failed is asked for a picture.
    fn ask_presence(&mut self, now: Instant) {
        if now < self.next_presence {
            return;
        }
        self.next_presence = now + PRESENCE;
        match (camera::presence(self.config), self.rests_until) {
            (Err(why), _) => self.shared.part(Part::Camera, 0, Err(why)),
            (Ok(()), None) => self.shared.part(Part::Camera, 0, Ok(())),
            (Ok(()), Some(until)) if now < until => {}
            (Ok(()), Some(_)) => {
                self.rests_until = None;
                self.look();
                self.camera = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_stands_until_another_one_has_come_twice() {
        let (far, dark) = (Some(Reason::FilmTooFar), Some(Reason::FilmUnderexposed));
        let mut steady = Steady::default();
        let shown: Vec<_> = [far, None, far, None, None, dark, None, dark, dark].map(|hint| steady.next(hint)).into();
        assert_eq!(shown, [far, far, far, far, None, None, None, None, dark]);
    }

    #[test]
    fn what_is_asked_for_once_is_handed_out_once() {
        let shutter = Shutter::default();
        shutter.aim(true);
        shutter.shoot();
        shutter.reopen();
        let wish = shutter.take(Duration::ZERO);
        assert!(wish.aim && wish.shoot && wish.reopen);
        let wish = shutter.take(Duration::ZERO);
        assert!(wish.aim && !wish.shoot && !wish.reopen);
    }
}
