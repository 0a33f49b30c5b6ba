//! Lamps, each with a thread that makes it blink.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::framebuffer::display;
use super::gpio::Output;
use crate::config::LampPlace;
use crate::domain::Light;
use crate::ports::{DeviceError, Lamp};

/// Half of the time from one flash to the next.
const HALF_PERIOD: Duration = Duration::from_millis(500);

/// Where the kernel has its LEDs.
const SYSFS: &str = "/sys/class/leds";

/// Something that is on or off.
pub(super) trait Switch {
    fn switch(&mut self, on: bool) -> Result<(), DeviceError>;
}

/// An LED of the kernel's.
#[derive(Debug)]
struct Led {
    folder: PathBuf,
    brightest: String,
    /// What the kernel showed with it before, such as access to the SD card.
    trigger: Option<String>,
}

impl Led {
    fn open(folder: PathBuf) -> Result<Self, DeviceError> {
        let path = folder.join("max_brightness");
        let brightest = fs::read_to_string(&path).map_err(|error| DeviceError::new("read", display(&path), error))?;
        // The trigger in use stands in brackets.
        let triggers = fs::read_to_string(folder.join("trigger")).unwrap_or_default();
        let used = triggers.split('[').nth(1).and_then(|rest| rest.split(']').next());
        let trigger = used.filter(|trigger| *trigger != "none").map(str::to_owned);
        let led = Self { brightest: brightest.trim().to_owned(), trigger, folder };
        if led.trigger.is_some() {
            led.write("trigger", "none")?;
        }
        Ok(led)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DeviceError> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|error| DeviceError::new("write", display(&path), error))
    }
}

impl Switch for Led {
    fn switch(&mut self, on: bool) -> Result<(), DeviceError> {
        self.write("brightness", if on { &self.brightest } else { "0" })
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        if let Some(trigger) = &self.trigger
            && let Err(error) = self.write("trigger", trigger)
        {
            log::warn!("the LED does not get its old meaning back: {error}");
        }
    }
}

/// A lamp that can blink.
#[derive(Debug)]
pub struct SwitchedLamp {
    name: String,
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// How to shine from now on, and where to say whether it does.
#[derive(Debug)]
struct Order {
    light: Light,
    answer: SyncSender<Result<(), DeviceError>>,
}

impl SwitchedLamp {
    /// Takes the lamp, which is off then.
    ///
    /// # Errors
    /// When it is not there or somebody else has it.
    pub fn open(place: &LampPlace) -> Result<Self, DeviceError> {
        match place {
            LampPlace::Line { line, active_low } => {
                let output = Output::open(line, *active_low, false)?;
                Self::over(place.to_string(), output, HALF_PERIOD)
            }
            LampPlace::Led(name) => {
                let mut led = Led::open(Path::new(SYSFS).join(name))?;
                led.switch(false)?;
                Self::over(place.to_string(), led, HALF_PERIOD)
            }
        }
    }

    fn over(name: String, switch: impl Switch + Send + 'static, half_period: Duration) -> Result<Self, DeviceError> {
        let (orders, taken) = mpsc::sync_channel(0);
        let thread = thread::Builder::new().name("lamp".to_owned()).spawn(move || shine(switch, &taken, half_period));
        let thread = thread.map_err(|error| DeviceError::new("start a thread for", &name, error))?;
        Ok(Self { name, orders: Some(orders), thread: Some(thread) })
    }
}

/// Does what it is told until nobody can tell it anything, then leaves the lamp off.
fn shine(mut switch: impl Switch, orders: &Receiver<Order>, half_period: Duration) {
    let (mut blinking, mut on) = (false, false);
    let mut failed = None;
    loop {
        let order = if blinking { orders.recv_timeout(half_period) } else { orders.recv().map_err(Into::into) };
        match order {
            Ok(Order { light, answer }) => {
                (blinking, on) = match light {
                    Light::Off => (false, false),
                    Light::Steady => (false, true),
                    Light::Blinking => (true, true),
                };
                let switched = failed.take().map_or_else(|| switch.switch(on), Err);
                blinking &= switched.is_ok();
                // Whoever asked and does not wait for the answer misses nothing.
                drop(answer.send(switched));
            }
            Err(RecvTimeoutError::Timeout) => {
                on = !on;
                if let Err(error) = switch.switch(on) {
                    (failed, blinking) = (Some(error), false);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Err(error) = switch.switch(false) {
        log::warn!("a lamp may stay on: {error}");
    }
}

impl Lamp for SwitchedLamp {
    fn set(&mut self, light: Light) -> Result<(), DeviceError> {
        let stopped = || DeviceError::new("switch", &self.name, "its thread has stopped");
        let (answer, answered) = mpsc::sync_channel(1);
        let orders = self.orders.as_ref().ok_or_else(stopped)?;
        orders.send(Order { light, answer }).map_err(|_| stopped())?;
        answered.recv().map_err(|_| stopped())?
    }
}

impl Drop for SwitchedLamp {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::warn!("the thread of the {} panicked", self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells what it was switched to, and fails after so many times.
    struct Told(mpsc::Sender<bool>, usize);

    impl Switch for Told {
        fn switch(&mut self, on: bool) -> Result<(), DeviceError> {
            let left = self.1.checked_sub(1).ok_or_else(|| DeviceError::new("switch", "lamp", "unplugged"))?;
            self.1 = left;
            self.0.send(on).map_err(|_| DeviceError::new("switch", "lamp", "nobody looks"))
        }
    }

    fn lamp(half_period: Duration, times: usize) -> (SwitchedLamp, Receiver<bool>) {
        let (sender, seen) = mpsc::channel();
        (SwitchedLamp::over("lamp".to_owned(), Told(sender, times), half_period).unwrap(), seen)
    }

    #[test]
    fn a_lamp_does_what_it_is_told_and_goes_out_at_the_end() {
        let (mut lamp, seen) = lamp(Duration::from_secs(3600), 99);
        for light in [Light::Steady, Light::Off, Light::Blinking, Light::Steady] {
            lamp.set(light).unwrap();
        }
        drop(lamp);
        assert_eq!(seen.iter().collect::<Vec<_>>(), [true, false, true, true, false]);
    }

    #[test]
    fn a_blinking_lamp_goes_on_and_off_until_it_is_told_otherwise() {
        let (mut lamp, seen) = lamp(Duration::from_millis(1), usize::MAX);
        lamp.set(Light::Blinking).unwrap();
        assert_eq!(seen.iter().take(6).collect::<Vec<_>>(), [true, false, true, false, true, false]);
        lamp.set(Light::Steady).unwrap();
        drop(lamp);
        let rest: Vec<_> = seen.iter().collect();
        assert_eq!(rest[rest.len() - 2..], [true, false]);
    }

    #[test]
    fn a_lamp_that_fails_while_it_blinks_says_so_when_it_is_set_next() {
        let (mut lamp, seen) = lamp(Duration::from_millis(1), 3);
        lamp.set(Light::Blinking).unwrap();
        assert_eq!(seen.iter().take(3).count(), 3);
        // The fourth time fails, in the lamp's thread or here.
        assert_eq!(lamp.set(Light::Steady).unwrap_err().to_string(), "cannot switch lamp: unplugged");
    }

    #[test]
    fn an_led_of_the_kernel_gets_its_meaning_back() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        write("max_brightness", "255\n");
        write("brightness", "0\n");
        write("trigger", "none rc-feedback [mmc0] timer\n");
        let mut led = Led::open(folder.path().to_owned()).unwrap();
        assert_eq!(read("trigger"), "none");
        led.switch(true).unwrap();
        assert_eq!(read("brightness"), "255");
        led.switch(false).unwrap();
        assert_eq!(read("brightness"), "0");
        drop(led);
        assert_eq!(read("trigger"), "mmc0");
    }

    #[test]
    fn an_led_that_is_not_there_is_named() {
        let told = SwitchedLamp::open(&LampPlace::Led("no-such".to_owned())).unwrap_err().to_string();
        assert!(told.starts_with("cannot read /sys/class/leds/no-such/max_brightness: "), "{told}");
    }
}
