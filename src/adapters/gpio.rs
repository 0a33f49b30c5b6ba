//! GPIO lines by the character device: outputs, buttons, lamps.

use std::os::fd::AsFd;
use std::time::Duration;

use linux_embedded_hal::gpio_cdev::{
    self, Chip, EventRequestFlags, EventType, Line, LineEventHandle, LineHandle, LineRequestFlags,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::lamp::Switch;
use crate::config::{ButtonConfig, GpioLine, LONG_PRESS};
use crate::domain::Key;
use crate::ports::{DeviceError, Keys};

/// What the kernel shows as the user of our lines.
const CONSUMER: &str = "lightbox";

/// Finds a line by its place or its name.
fn find(wanted: &GpioLine) -> Result<Line, DeviceError> {
    let failed = |error: gpio_cdev::Error| DeviceError::new("find", format!("GPIO line {wanted}"), error);
    let chips = gpio_cdev::chips().map_err(failed)?;
    let mut seen = Vec::new();
    for chip in chips {
        // One chip that may not be opened does not hide the others.
        let Ok(mut chip) = chip else { continue };
        match wanted {
            GpioLine::Numbered { chip: name, offset } => {
                if chip.name() == name || chip.label() == name {
                    return chip.get_line(*offset).map_err(|_| {
                        let lines = chip.num_lines();
                        let told = format!("{name} has {lines} lines, 0 to {}", lines.saturating_sub(1));
                        DeviceError::new("find", format!("GPIO line {wanted}"), told)
                    });
                }
            }
            GpioLine::Named(name) => {
                if let Some(line) = named(&chip, name) {
                    return Ok(line);
                }
            }
        }
        seen.push(format!("{} ({})", chip.name(), chip.label()));
    }
    let told = match (seen.as_slice(), wanted) {
        ([], _) => "there is no GPIO chip in /dev that may be opened (is the user in the group gpio?)".to_owned(),
        (_, GpioLine::Numbered { chip, .. }) => format!("there is no chip {chip}, only {}", seen.join(", ")),
        (_, GpioLine::Named(_)) => format!("no line of {} has this name; `gpioinfo` shows them", seen.join(", ")),
    };
    Err(DeviceError::new("find", format!("GPIO line {wanted}"), told))
}

fn named(chip: &Chip, name: &str) -> Option<Line> {
    chip.lines().find(|line| line.info().is_ok_and(|info| info.name() == Some(name)))
}

fn refused(operation: &'static str, wanted: &GpioLine, line: &Line, error: gpio_cdev::Error) -> DeviceError {
    // EBUSY alone does not say who has it.
    let user = line.info().ok().filter(|info| info.is_used()).and_then(|info| info.consumer().map(str::to_owned));
    let told = match user {
        Some(user) => format!("{error} (it is used by {user})"),
        None => error.to_string(),
    };
    DeviceError::new(operation, format!("GPIO line {wanted}"), told)
}

fn polarity(active_low: bool) -> LineRequestFlags {
    if active_low { LineRequestFlags::ACTIVE_LOW } else { LineRequestFlags::empty() }
}

/// A line that this program drives.
#[derive(Debug)]
pub struct Output {
    name: GpioLine,
    handle: LineHandle,
}

impl Output {
    /// Takes the line and drives it to `active`, which is low where `active_low`.
    ///
    /// # Errors
    /// When there is no such line or somebody else has it.
    pub fn open(name: &GpioLine, active_low: bool, active: bool) -> Result<Self, DeviceError> {
        Ok(Self { name: name.clone(), handle: output_handle(name, active_low, active)? })
    }

    /// Drives the line.
    ///
    /// # Errors
    /// When the device did not take it.
    pub fn set(&mut self, active: bool) -> Result<(), DeviceError> {
        let set = self.handle.set_value(active.into());
        set.map_err(|error| DeviceError::new("drive", format!("GPIO line {}", self.name), error))
    }
}

/// A line that is driven, for crates that want the kernel's handle.
pub(super) fn output_handle(name: &GpioLine, active_low: bool, active: bool) -> Result<LineHandle, DeviceError> {
    let line = find(name)?;
    let flags = LineRequestFlags::OUTPUT | polarity(active_low);
    line.request(flags, active.into(), CONSUMER).map_err(|error| refused("drive", name, &line, error))
}

impl Switch for Output {
    fn switch(&mut self, on: bool) -> Result<(), DeviceError> {
        self.set(on)
    }
}

/// What a button said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Press {
    Short,
    Long,
}

/// Makes presses of a button's edges.
///
/// ```text
///                 quiet for `settle`                    held for `long`
///  Released ──────────────────────────► Pressed ──────────────────────────► Told
///     ▲   (without `long`: a short press)  │          (a long press)          │
///     └────────────────────────────────────┴──────────────────────────────────┘
///       quiet for `settle` (from Pressed: a short press)
/// ```
///
/// Times are of one monotonic clock. It has no clock of its own: whoever feeds it says what time it is.
#[derive(Debug)]
struct Debounce {
    settle: Duration,
    long: Option<Duration>,
    state: State,
    /// Since when the line has been elsewhere than `state` says.
    moved: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Released,
    /// Since then, and nothing was told yet.
    Pressed(Duration),
    /// It was told; nothing more comes before it is released.
    Told,
}

impl Debounce {
    /// A button that was found pressed says nothing until it has been released.
    fn new(settle: Duration, long: Option<Duration>, pressed: bool) -> Self {
        let state = if pressed { State::Told } else { State::Released };
        Self { settle, long, state, moved: None }
    }

    /// The line went to `pressed` at that time; what came of the time before.
    fn edge(&mut self, pressed: bool, at: Duration) -> Option<Press> {
        let press = self.poll(at);
        let believed = self.state != State::Released;
        self.moved = (pressed != believed).then_some(at);
        press
    }

    /// What the time that passed until `now` made sure.
    fn poll(&mut self, now: Duration) -> Option<Press> {
        if let Some(moved) = self.moved
            && now >= moved + self.settle
        {
            self.moved = None;
            return match (self.state, self.long) {
                (State::Released, Some(_)) => {
                    self.state = State::Pressed(moved);
                    // Nobody asked for so long that it is a long press by now.
                    self.poll(now)
                }
                (State::Released, None) => {
                    self.state = State::Told;
                    Some(Press::Short)
                }
                (State::Pressed(since), long) => {
                    self.state = State::Released;
                    Some(if long.is_some_and(|long| moved >= since + long) { Press::Long } else { Press::Short })
                }
                (State::Told, _) => {
                    self.state = State::Released;
                    None
                }
            };
        }
        match (self.state, self.long) {
            (State::Pressed(since), Some(long)) if self.moved.is_none() && now >= since + long => {
                self.state = State::Told;
                Some(Press::Long)
            }
            _ => None,
        }
    }

    /// When [`Self::poll`] has something new at the latest.
    fn deadline(&self) -> Option<Duration> {
        match (self.moved, self.state, self.long) {
            (Some(moved), _, _) => Some(moved + self.settle),
            (None, State::Pressed(since), Some(long)) => Some(since + long),
            _ => None,
        }
    }
}

/// Buttons on GPIO lines.
#[derive(Debug)]
pub struct GpioKeys {
    buttons: Vec<Button>,
}

#[derive(Debug)]
struct Button {
    config: ButtonConfig,
    handle: LineEventHandle,
    debounce: Debounce,
}

impl GpioKeys {
    /// Takes the lines of all `buttons`.
    ///
    /// # Errors
    /// When there is no such line or somebody else has it.
    pub fn open(buttons: &[ButtonConfig]) -> Result<Self, DeviceError> {
        let buttons = buttons.iter().map(|config| {
            let line = find(&config.line)?;
            let flags = LineRequestFlags::INPUT | polarity(config.active_low);
            let handle = line.events(flags, EventRequestFlags::BOTH_EDGES, CONSUMER);
            let handle = handle.map_err(|error| refused("read", &config.line, &line, error))?;
            let pressed = handle.get_value().map_err(|error| refused("read", &config.line, &line, error))? != 0;
            let debounce = Debounce::new(config.debounce, config.long.map(|_| LONG_PRESS), pressed);
            Ok(Button { config: config.clone(), handle, debounce })
        });
        Ok(Self { buttons: buttons.collect::<Result<_, DeviceError>>()? })
    }

    /// Waits for an edge of any button until `until`; which ones have some.
    fn edges(&self, until: Duration) -> Result<Vec<bool>, DeviceError> {
        let mut fds: Vec<_> =
            self.buttons.iter().map(|button| PollFd::from_borrowed_fd(button.handle.as_fd(), PollFlags::IN)).collect();
        let timeout = Timespec::try_from(until.saturating_sub(now())).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect()),
            Err(rustix::io::Errno::INTR) => Ok(vec![false; self.buttons.len()]),
            Err(error) => Err(DeviceError::new("wait for", "the buttons", std::io::Error::from(error))),
        }
    }
}

impl Button {
    /// Takes one edge from the kernel.
    fn take_edge(&mut self) -> Result<Option<Press>, DeviceError> {
        let event = self.handle.get_event().map_err(|error| self.gone(error))?;
        let now = now();
        let at = Duration::from_nanos(event.timestamp());
        // Kernels before 5.7 give the time of day.
        let at = if at <= now && now - at < Duration::from_secs(60) { at } else { now };
        Ok(self.debounce.edge(event.event_type() == EventType::RisingEdge, at))
    }

    /// Looks at the line itself: the kernel's queue of edges may have run over.
    fn look(&mut self, now: Duration) -> Result<Option<Press>, DeviceError> {
        if let Some(press) = self.debounce.poll(now) {
            return Ok(Some(press));
        }
        let pressed = self.handle.get_value().map_err(|error| self.gone(error))? != 0;
        let believed = (self.debounce.state != State::Released) != self.debounce.moved.is_some();
        Ok(if pressed == believed { None } else { self.debounce.edge(pressed, now) })
    }

    fn gone(&self, error: gpio_cdev::Error) -> DeviceError {
        DeviceError::new("read", format!("GPIO line {}", self.config.line), error)
    }

    fn key(&self, press: Press) -> Key {
        match (press, self.config.long) {
            (Press::Long, Some(long)) => long,
            (Press::Short, _) | (Press::Long, None) => self.config.key,
        }
    }
}

/// The clock that the kernel's edges are timed by.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.max(0) as u32)
}

impl Keys for GpioKeys {
    fn wait(&mut self, timeout: Duration) -> Result<Option<Key>, DeviceError> {
        let end = now() + timeout;
        loop {
            for button in &mut self.buttons {
                if let Some(press) = button.debounce.poll(now()) {
                    return Ok(Some(button.key(press)));
                }
            }
            let deadlines = self.buttons.iter().filter_map(|button| button.debounce.deadline());
            let until = deadlines.fold(end, Duration::min);
            let edges = self.edges(until)?;
            for (button, edge) in self.buttons.iter_mut().zip(edges) {
                let press = if edge { button.take_edge()? } else { button.look(now())? };
                if let Some(press) = press {
                    return Ok(Some(button.key(press)));
                }
            }
            if now() >= end {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: u64 = 20;

    /// Feeds edges (`true` is pressed) in milliseconds and asks at every millisecond until `until`; what was told when.
    fn told(long: Option<u64>, edges: &[(u64, bool)], until: u64) -> Vec<(u64, Press)> {
        let ms = Duration::from_millis;
        let mut debounce = Debounce::new(ms(SETTLE), long.map(ms), false);
        let mut told = Vec::new();
        for now in 0..=until {
            let edge = edges.iter().filter(|(at, _)| *at == now);
            let press =
                edge.fold(debounce.poll(ms(now)), |press, (_, pressed)| press.or(debounce.edge(*pressed, ms(now))));
            told.extend(press.map(|press| (now, press)));
        }
        told
    }

    /// The same by deadlines alone, as the device does it: what was told, without the times.
    fn told_by_deadlines(long: Option<u64>, edges: &[(u64, bool)]) -> Vec<Press> {
        let ms = Duration::from_millis;
        let mut debounce = Debounce::new(ms(SETTLE), long.map(ms), false);
        let mut told = Vec::new();
        for (at, pressed) in edges {
            while let Some(deadline) = debounce.deadline().filter(|deadline| *deadline < ms(*at)) {
                told.extend(debounce.poll(deadline));
            }
            told.extend(debounce.edge(*pressed, ms(*at)));
        }
        while let Some(deadline) = debounce.deadline() {
            told.extend(debounce.poll(deadline));
        }
        told
    }

    #[track_caller]
    fn check(long: Option<u64>, edges: &[(u64, bool)], expected: &[(u64, Press)]) {
        assert_eq!(told(long, edges, 5000), expected, "asked every millisecond");
        let presses: Vec<Press> = expected.iter().map(|(_, press)| *press).collect();
        assert_eq!(told_by_deadlines(long, edges), presses, "asked at deadlines");
    }

    #[test]
    fn a_clean_press_is_told_once_it_has_settled() {
        check(None, &[(100, true), (250, false)], &[(120, Press::Short)]);
        check(
            None,
            &[(100, true), (250, false), (400, true), (500, false)],
            &[(120, Press::Short), (420, Press::Short)],
        );
    }

    #[test]
    fn bounces_at_both_ends_are_one_press() {
        let bouncing = [
            (100, true),
            (101, false),
            (103, true),
            (107, false),
            (109, true),
            (300, false),
            (302, true),
            (304, false),
        ];
        check(None, &bouncing, &[(129, Press::Short)]);
        check(Some(1000), &bouncing, &[(324, Press::Short)]);
    }

    #[test]
    fn a_spike_is_no_press() {
        check(None, &[(100, true), (119, false)], &[]);
        check(Some(1000), &[(100, true), (105, false), (110, true), (115, false)], &[]);
    }

    #[test]
    fn with_a_long_meaning_a_short_press_is_told_when_it_ends() {
        check(Some(1000), &[(100, true), (600, false)], &[(620, Press::Short)]);
    }

    #[test]
    fn a_long_press_is_told_while_it_is_held_and_only_once() {
        check(Some(1000), &[(100, true), (3000, false)], &[(1100, Press::Long)]);
        // A spike while it is held does not end it.
        check(Some(1000), &[(100, true), (500, false), (510, true), (3000, false)], &[(1100, Press::Long)]);
    }

    #[test]
    fn a_release_just_before_a_second_is_short_although_it_settles_after() {
        check(Some(1000), &[(100, true), (1095, false)], &[(1115, Press::Short)]);
        // It bounces back and is held: now it is long.
        check(Some(1000), &[(100, true), (1095, false), (1110, true), (2000, false)], &[(1111, Press::Long)]);
    }

    #[test]
    fn edges_that_come_all_at_once_after_a_pause_are_still_told_apart() {
        let ms = Duration::from_millis;
        let mut debounce = Debounce::new(ms(SETTLE), None, false);
        let edges = [(100, true), (250, false), (400, true), (500, false)];
        let told: Vec<_> = edges.iter().filter_map(|(at, pressed)| debounce.edge(*pressed, ms(*at))).collect();
        assert_eq!(told, [Press::Short, Press::Short]);
        let mut debounce = Debounce::new(ms(SETTLE), Some(ms(1000)), false);
        let edges = [(100, true), (3000, false)];
        let told: Vec<_> = edges.iter().filter_map(|(at, pressed)| debounce.edge(*pressed, ms(*at))).collect();
        assert_eq!((told, debounce.poll(ms(9000))), (vec![Press::Long], None));
    }

    #[test]
    fn a_button_that_is_held_at_the_start_says_nothing_until_it_is_pressed_anew() {
        let ms = Duration::from_millis;
        let mut debounce = Debounce::new(ms(SETTLE), Some(ms(1000)), true);
        assert_eq!((debounce.poll(ms(5000)), debounce.deadline()), (None, None));
        assert_eq!(debounce.edge(false, ms(6000)), None);
        assert_eq!(debounce.poll(ms(6020)), None);
        assert_eq!(debounce.edge(true, ms(7000)), None);
        assert_eq!(debounce.edge(false, ms(7100)), None);
        assert_eq!(debounce.poll(ms(7120)), Some(Press::Short));
    }

    #[test]
    fn any_noise_leaves_it_in_agreement_with_the_line() {
        let mut noise = super::super::damage::tests::Noise(11);
        let ms = Duration::from_millis;
        for _ in 0..500 {
            let long = (noise.below(2) == 0).then(|| ms(200));
            let mut debounce = Debounce::new(ms(SETTLE), long, false);
            let (mut at, mut pressed, mut presses, mut releases) = (0, false, 0, 0);
            for _ in 0..noise.below(30) {
                at += u64::from(noise.below(60));
                pressed = !pressed;
                releases += u32::from(!pressed);
                presses += u32::from(debounce.edge(pressed, ms(at)).is_some());
            }
            while let Some(deadline) = debounce.deadline() {
                presses += u32::from(debounce.poll(deadline).is_some());
            }
            assert_eq!(debounce.state != State::Released, pressed);
            assert!(presses <= releases + u32::from(pressed), "{presses} presses of {releases} releases");
        }
    }

    #[test]
    fn a_line_that_is_not_there_is_named() {
        let line = GpioLine::Numbered { chip: "gpiochip-none".to_owned(), offset: 1 };
        let told = Output::open(&line, false, false).unwrap_err().to_string();
        assert!(told.starts_with("cannot find GPIO line gpiochip-none:1: "), "{told}");
        let button = ButtonConfig {
            line: GpioLine::Named("NO_SUCH_LINE".to_owned()),
            key: Key::Next,
            long: None,
            active_low: true,
            debounce: Duration::from_millis(20),
        };
        let told = GpioKeys::open(&[button]).unwrap_err().to_string();
        assert!(told.starts_with("cannot find GPIO line NO_SUCH_LINE: "), "{told}");
    }
}
