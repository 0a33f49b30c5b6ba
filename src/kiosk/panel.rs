//! The thread that shows pictures, so that a slow or broken panel holds up nobody.

use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::parts::{BackOff, keep_running};
use super::state::Part;
use super::{News, Shared};
use crate::adapters::devices;
use crate::domain::Frame;

/// How often it is looked whether the program is to end and the panel has changed its size.
const LOOK: Duration = Duration::from_millis(500);
/// For a picture to be shown before the panel counts as stuck.
const LONGEST: Duration = Duration::from_secs(30);

/// What the panel is to show; a picture that was not shown yet is replaced by a newer one.
#[derive(Debug)]
pub(super) struct Mailbox {
    slot: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Debug)]
struct Slot {
    frame: Option<Frame>,
    lit: bool,
    lit_changed: bool,
}

impl Mailbox {
    pub(super) fn new() -> Self {
        Self { slot: Mutex::new(Slot { frame: None, lit: true, lit_changed: false }), changed: Condvar::new() }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows `frame` as soon as the panel is free.
    pub(super) fn show(&self, frame: Frame) {
        self.slot().frame = Some(frame);
        self.changed.notify_one();
    }

    /// Lights the panel or makes it dark.
    pub(super) fn light(&self, lit: bool) {
        let mut slot = self.slot();
        (slot.lit, slot.lit_changed) = (lit, true);
        drop(slot);
        self.changed.notify_one();
    }

    /// What is new; waits for it, `longest` at most.
    fn take(&self, longest: Duration) -> (Option<Frame>, Option<bool>) {
        let idle = |slot: &mut Slot| slot.frame.is_none() && !slot.lit_changed;
        let waited = self.changed.wait_timeout_while(self.slot(), longest, idle);
        let (mut slot, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let lit = std::mem::take(&mut slot.lit_changed).then_some(slot.lit);
        (slot.frame.take(), lit)
    }
}

/// Shows what comes into the mailbox until the program is to end.
pub(super) fn run(shared: &Shared) {
    let failed = |why: String| {
        log::error!("panel: {why}; it is opened again");
        shared.part(Part::Panel, 0, Err(why));
    };
    keep_running(&shared.ending, BackOff::default(), failed, || {
        let mut panel = {
            let _busy = shared.pulse.panel.begin(LONGEST);
            devices::open_panel(&shared.board.devices.panel).map_err(|error| error.to_string())?
        };
        let mut size = panel.size();
        // Whatever was shown before is asked for again.
        shared.tell(News::PanelSize(size));
        let mut works = false;
        while !shared.ending.load(Ordering::Relaxed) {
            let (frame, lit) = shared.mailbox.take(LOOK);
            let _busy = shared.pulse.panel.begin(LONGEST);
            if let Some(lit) = lit {
                panel.set_lit(lit).map_err(|error| error.to_string())?;
            }
            if let Some(frame) = frame.filter(|frame| (frame.width(), frame.height()) == size) {
                panel.show(&frame).map_err(|error| error.to_string())?;
                if !std::mem::replace(&mut works, true) {
                    shared.part(Part::Panel, 0, Ok(()));
                }
            }
            if panel.size() != size {
                size = panel.size();
                shared.tell(News::PanelSize(size));
            }
        }
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_picture_waits() {
        let mailbox = Mailbox::new();
        mailbox.show(Frame::new(1, 1));
        mailbox.show(Frame::new(2, 1));
        mailbox.light(false);
        let (frame, lit) = mailbox.take(Duration::ZERO);
        assert_eq!((frame.map(|frame| frame.width()), lit), (Some(2), Some(false)));
        assert_eq!(mailbox.take(Duration::ZERO), (None, None));
        mailbox.light(true);
        mailbox.light(false);
        assert_eq!(mailbox.take(Duration::ZERO), (None, Some(false)));
    }
}
