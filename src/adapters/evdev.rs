//! Keyboards and touch screens by the kernel's event devices (`/dev/input/event*`), which may come and go.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use evdev::{AbsoluteAxisCode, Device, EventSummary, InputEvent, KeyCode, PropType, SynchronizationCode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::framebuffer::display;
use crate::config::{KeyboardConfig, KeyboardPlace, TouchConfig};
use crate::domain::{Key, Rotation};
use crate::ports::{DeviceError, Keys};

const FOLDER: &str = "/dev/input";

/// How often it is looked for devices that were plugged in.
const SCAN: Duration = Duration::from_secs(2);

/// What events of one device mean.
trait Meaning {
    /// What is known of one device.
    type State;
    /// Whether `device` is one of these; its state to begin with.
    fn recognise(&self, device: &Device) -> Option<Self::State>;
    /// What came of one event.
    fn take(&self, state: &mut Self::State, event: InputEvent) -> Option<Key>;
}

/// One or all devices of a kind.
struct Inputs<M: Meaning> {
    meaning: M,
    /// The only one, which has to be there; else all that are found.
    only: Option<PathBuf>,
    open: Vec<Open<M::State>>,
    /// Devices that are none of these, or may not be opened: not tried at every scan.
    others: BTreeSet<PathBuf>,
    scanned: Option<Instant>,
    /// Keys that came with the same batch of events.
    waiting: std::collections::VecDeque<Key>,
}

struct Open<S> {
    path: PathBuf,
    device: Device,
    state: S,
}

impl<M: Meaning> Inputs<M> {
    fn new(meaning: M, only: Option<PathBuf>, what: &str) -> Result<Self, DeviceError> {
        let mut inputs = Self {
            meaning,
            only,
            open: Vec::new(),
            others: BTreeSet::new(),
            scanned: None,
            waiting: std::collections::VecDeque::new(),
        };
        match inputs.only.clone() {
            Some(path) => {
                let device = opened(&path).map_err(|error| DeviceError::new("open", display(&path), error))?;
                let Some(state) = inputs.meaning.recognise(&device) else {
                    let name = device.name().unwrap_or("a device without a name").to_owned();
                    return Err(DeviceError::new("use", display(&path), format!("{name} is no {what}")));
                };
                inputs.open.push(Open { path, device, state });
            }
            None => inputs.scan(),
        }
        Ok(inputs)
    }

    /// Opens what was plugged in since the last time.
    fn scan(&mut self) {
        self.scanned = Some(Instant::now());
        let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
        let found: BTreeSet<PathBuf> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("event"))
            .map(|entry| entry.path())
            .collect();
        self.others.retain(|path| found.contains(path));
        for path in found {
            if self.others.contains(&path) || self.open.iter().any(|open| open.path == path) {
                continue;
            }
            match opened(&path) {
                Ok(device) => match self.meaning.recognise(&device) {
                    Some(state) => {
                        log::info!("{}: {}", path.display(), device.name().unwrap_or("without a name"));
                        self.open.push(Open { path, device, state });
                    }
                    None => drop(self.others.insert(path)),
                },
                // udev gives the right a moment after the device is there.
                Err(error) => log::debug!("cannot open {}: {error}", path.display()),
            }
        }
    }

    fn wait_for_events(&self, timeout: Duration) -> Result<Vec<bool>, DeviceError> {
        let mut fds: Vec<_> =
            self.open.iter().map(|open| PollFd::from_borrowed_fd(open.device.as_fd(), PollFlags::IN)).collect();
        match poll(&mut fds, Timespec::try_from(timeout).ok().as_ref()) {
            Ok(_) => Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect()),
            Err(rustix::io::Errno::INTR) => Ok(vec![false; self.open.len()]),
            Err(error) => Err(DeviceError::new("wait for", FOLDER, io::Error::from(error))),
        }
    }
}

impl<M: Meaning> Keys for Inputs<M> {
    fn wait(&mut self, timeout: Duration) -> Result<Option<Key>, DeviceError> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(key) = self.waiting.pop_front() {
                return Ok(Some(key));
            }
            let mut until = end;
            if self.only.is_none() {
                if self.scanned.is_none_or(|scanned| scanned.elapsed() >= SCAN) {
                    self.scan();
                }
                until = until.min(self.scanned.unwrap_or(end) + SCAN);
            }
            let ready = self.wait_for_events(until.saturating_duration_since(Instant::now()))?;
            let mut gone = Vec::new();
            for (index, open) in self.open.iter_mut().enumerate().filter(|(index, _)| ready[*index]) {
                match open.device.fetch_events() {
                    Ok(events) => {
                        self.waiting.extend(events.filter_map(|event| self.meaning.take(&mut open.state, event)));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => gone.push((index, error)),
                }
            }
            for (index, error) in gone.into_iter().rev() {
                let open = self.open.remove(index);
                if self.only.is_some() {
                    return Err(DeviceError::new("read", display(&open.path), error));
                }
                log::info!("{} is gone: {error}", open.path.display());
            }
            if self.waiting.is_empty() && Instant::now() >= end {
                return Ok(None);
            }
        }
    }
}

fn opened(path: &Path) -> io::Result<Device> {
    let device = Device::open(path)?;
    device.set_nonblocking(true)?;
    Ok(device)
}

/// Opens the keyboard that `config` names, or all of them.
///
/// # Errors
/// When the one that is named is not there or is no keyboard.
pub fn keyboard(config: &KeyboardConfig) -> Result<Box<dyn Keys + Send>, DeviceError> {
    let only = match &config.place {
        KeyboardPlace::Device(path) => Some(path.clone()),
        KeyboardPlace::Auto | KeyboardPlace::Terminal => None,
    };
    let meaning = Keyboard { keys: codes(&config.keys) };
    Ok(Box::new(Inputs::new(meaning, only, "keyboard with one of the keys of the configuration")?))
}

/// Opens the touch screen that `config` names, or all of them.
///
/// # Errors
/// When the one that is named is not there or is no touch screen.
pub fn touch(config: &TouchConfig) -> Result<Box<dyn Keys + Send>, DeviceError> {
    let meaning = Touch { rotation: config.rotation };
    Ok(Box::new(Inputs::new(meaning, config.device.clone(), "touch screen")?))
}

/// Keys of a keyboard.
#[derive(Debug)]
struct Keyboard {
    keys: Vec<(KeyCode, Key)>,
}

/// The kernel's codes of keys that are named as in [`crate::config::KEY_NAMES`].
fn codes(keys: &[(String, Key)]) -> Vec<(KeyCode, Key)> {
    let mut codes = Vec::new();
    for (name, key) in keys {
        match KeyCode::from_str(&format!("KEY_{}", name.to_uppercase())) {
            Ok(code) => codes.push((code, *key)),
            Err(_) => log::warn!("the kernel has no key {name}"),
        }
        if name == "enter" {
            codes.push((KeyCode::KEY_KPENTER, *key));
        }
    }
    codes
}

impl Meaning for Keyboard {
    type State = ();

    fn recognise(&self, device: &Device) -> Option<()> {
        let has = device.supported_keys()?;
        self.keys.iter().any(|(code, _)| has.contains(*code)).then_some(())
    }

    fn take(&self, (): &mut (), event: InputEvent) -> Option<Key> {
        match event.destructure() {
            // 1 is a press, 0 its end, 2 its repetition.
            EventSummary::Key(_, code, 1) => self.keys.iter().find(|(own, _)| *own == code).map(|(_, key)| *key),
            _ => None,
        }
    }
}

/// Taps on a touch screen.
#[derive(Debug)]
struct Touch {
    rotation: Rotation,
}

/// One finger on one touch screen.
#[derive(Clone, Debug, Default, PartialEq)]
struct Finger {
    /// Least and most value of either axis.
    range: [(i32, i32); 2],
    at: [i32; 2],
    /// Where it came down, in shares of the panel.
    down: Option<(f64, f64)>,
    touching: bool,
    /// It was lifted or put down since the last complete report.
    changed: bool,
    /// It went too far to be a tap.
    dragged: bool,
}

/// How far a finger may slip, as a share of the panel.
const SLIP: f64 = 0.1;

impl Touch {
    /// The key of a place, in shares of what a person sees.
    fn key((x, y): (f64, f64)) -> Key {
        match (x, y) {
            (_, y) if y < 0.15 => Key::Back,
            (x, _) if x < 1.0 / 3.0 => Key::Previous,
            (x, _) if x > 2.0 / 3.0 => Key::Next,
            _ => Key::Select,
        }
    }

    /// A complete report has come.
    fn report(&self, finger: &mut Finger) -> Option<Key> {
        let share = |axis: usize| {
            let (least, most) = finger.range[axis];
            f64::from(finger.at[axis].saturating_sub(least)) / f64::from(most.saturating_sub(least).max(1))
        };
        let panel = (share(0), share(1));
        // As the pixels of the panel are turned.
        let at = match self.rotation {
            Rotation::Upright => panel,
            Rotation::Quarter => (panel.1, 1.0 - panel.0),
            Rotation::Half => (1.0 - panel.0, 1.0 - panel.1),
            Rotation::ThreeQuarters => (1.0 - panel.1, panel.0),
        };
        let changed = std::mem::take(&mut finger.changed);
        match (finger.down, finger.touching) {
            (None, true) if changed => {
                (finger.down, finger.dragged) = (Some(at), false);
                None
            }
            (Some(down), true) => {
                finger.dragged |= (at.0 - down.0).abs() > SLIP || (at.1 - down.1).abs() > SLIP;
                None
            }
            (Some(down), false) => {
                finger.down = None;
                (!finger.dragged).then(|| Self::key(down))
            }
            (None, _) => None,
        }
    }
}

impl Meaning for Touch {
    type State = Finger;

    fn recognise(&self, device: &Device) -> Option<Finger> {
        // Touch pads, too, have axes; screens alone are direct.
        let touches = device.supported_keys()?.contains(KeyCode::BTN_TOUCH);
        let pad = device.properties().contains(PropType::POINTER);
        if !touches || pad {
            return None;
        }
        let mut range = [None; 2];
        for (axis, info) in device.get_absinfo().ok()? {
            match axis {
                AbsoluteAxisCode::ABS_X => range[0] = Some((info.minimum(), info.maximum())),
                AbsoluteAxisCode::ABS_Y => range[1] = Some((info.minimum(), info.maximum())),
                _ => {}
            }
        }
        Some(Finger { range: [range[0]?, range[1]?], ..Finger::default() })
    }

    fn take(&self, finger: &mut Finger, event: InputEvent) -> Option<Key> {
        match event.destructure() {
            // Multi-touch drivers report their first finger by these, too (multi-touch-protocol.rst of the kernel).
            EventSummary::AbsoluteAxis(_, AbsoluteAxisCode::ABS_X, value) => finger.at[0] = value,
            EventSummary::AbsoluteAxis(_, AbsoluteAxisCode::ABS_Y, value) => finger.at[1] = value,
            EventSummary::Key(_, KeyCode::BTN_TOUCH, value) => {
                finger.touching = value != 0;
                finger.changed = true;
            }
            EventSummary::Synchronization(_, SynchronizationCode::SYN_REPORT, _) => return self.report(finger),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use evdev::EventType;

    use super::*;

    fn keys_of(meaning: &Keyboard, events: &[(KeyCode, i32)]) -> Vec<Key> {
        let event = |(code, value): &(KeyCode, i32)| InputEvent::new(EventType::KEY.0, code.0, *value);
        events.iter().filter_map(|pressed| meaning.take(&mut (), event(pressed))).collect()
    }

    #[test]
    fn presses_count_and_repetitions_do_not() {
        let keys = [("right", Key::Next), ("enter", Key::Select), ("q", Key::Back), ("7", Key::Previous)];
        let keyboard = Keyboard { keys: codes(&keys.map(|(name, key)| (name.to_owned(), key))) };
        let (right, enter) = (KeyCode::KEY_RIGHT, KeyCode::KEY_ENTER);
        let pressed = [(right, 1), (right, 2), (right, 2), (right, 0), (KeyCode::KEY_A, 1), (enter, 1), (enter, 0)];
        assert_eq!(keys_of(&keyboard, &pressed), [Key::Next, Key::Select]);
        let others = [(KeyCode::KEY_KPENTER, 1), (KeyCode::KEY_Q, 1), (KeyCode::KEY_7, 1)];
        assert_eq!(keys_of(&keyboard, &others), [Key::Select, Key::Back, Key::Previous]);
    }

    #[test]
    fn every_name_of_a_key_is_one_of_the_kernels() {
        let letters = ('a'..='z').chain('0'..='9').map(String::from);
        let names: Vec<_> = crate::config::KEY_NAMES.map(str::to_owned).into_iter().chain(letters).collect();
        for name in names {
            assert!(!codes(&[(name.clone(), Key::Next)]).is_empty(), "{name}");
        }
    }

    /// What taps on a panel of 1000 × 500 come to: where the finger comes down, and where it is lifted.
    fn taps(rotation: Rotation, taps: &[[(i32, i32); 2]]) -> Vec<Key> {
        let meaning = Touch { rotation };
        let mut finger = Finger { range: [(0, 1000), (0, 500)], ..Finger::default() };
        let mut keys = Vec::new();
        for [down, up] in taps {
            let at = |axis: AbsoluteAxisCode, value| InputEvent::new(EventType::ABSOLUTE.0, axis.0, value);
            let touch = |value| InputEvent::new(EventType::KEY.0, KeyCode::BTN_TOUCH.0, value);
            let report = InputEvent::new(EventType::SYNCHRONIZATION.0, SynchronizationCode::SYN_REPORT.0, 0);
            let (x, y) = (AbsoluteAxisCode::ABS_X, AbsoluteAxisCode::ABS_Y);
            // The position comes before or after the touch, but in the same report.
            let events =
                [touch(1), at(x, down.0), at(y, down.1), report, at(x, up.0), at(y, up.1), report, touch(0), report];
            keys.extend(events.into_iter().filter_map(|event| meaning.take(&mut finger, event)));
        }
        keys
    }

    #[test]
    fn a_tap_means_what_its_place_says() {
        let tap = |at| [at, at];
        let places =
            [tap((100, 250)), tap((500, 250)), tap((900, 400)), tap((500, 20)), tap((0, 500)), tap((1000, 76))];
        let keys = [Key::Previous, Key::Select, Key::Next, Key::Back, Key::Previous, Key::Next];
        assert_eq!(taps(Rotation::Upright, &places), keys);
    }

    #[test]
    fn zones_turn_with_the_panel() {
        // The pixel in the middle of the left edge as a person sees it.
        for (rotation, at) in [
            (Rotation::Upright, (10, 250)),
            (Rotation::Quarter, (500, 5)),
            (Rotation::Half, (990, 250)),
            (Rotation::ThreeQuarters, (500, 495)),
        ] {
            assert_eq!(taps(rotation, &[[at, at]]), [Key::Previous], "{rotation:?}");
            let (width, height) = rotation.turn_size((1000, 500));
            let seen = rotation.to_frame((at.0 as u32, at.1 as u32), (width, height));
            assert!(seen.0 < width / 3 && seen.1 > height * 15 / 100, "{rotation:?}: {seen:?}");
        }
    }

    #[test]
    fn a_finger_that_slips_a_little_taps_and_one_that_drags_does_not() {
        assert_eq!(taps(Rotation::Upright, &[[(100, 250), (180, 290)]]), [Key::Previous]);
        assert_eq!(taps(Rotation::Upright, &[[(100, 250), (300, 250)], [(900, 250), (900, 250)]]), [Key::Next]);
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let config = TouchConfig { device: Some("/dev/input/event-none".into()), rotation: Rotation::Upright };
        let Err(told) = touch(&config) else { panic!("there is such a device") };
        assert_eq!(told.to_string(), "cannot open /dev/input/event-none: No such file or directory (os error 2)");
    }

    #[test]
    fn without_any_keyboard_the_wait_ends_in_time() {
        let meaning = Keyboard { keys: vec![] };
        let mut inputs = Inputs::new(meaning, None, "keyboard").unwrap();
        assert_eq!(inputs.wait(Duration::from_millis(1)).unwrap(), None);
        assert!(inputs.open.is_empty());
    }
}
