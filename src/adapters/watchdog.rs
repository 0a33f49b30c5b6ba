//! The hardware watchdog (`/dev/watchdog`): restarts the board when nobody has fed it for some seconds.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::framebuffer::display;
use crate::config::WatchdogConfig;
use crate::ports::{DeviceError, Watchdog};

/// Where the kernel describes its watchdogs.
const SYSFS: &str = "/sys/class/watchdog";

/// A watchdog that runs from the moment it is opened.
#[derive(Debug)]
pub struct HardwareWatchdog {
    name: String,
    file: File,
}

impl HardwareWatchdog {
    /// Opens the device, which starts it.
    ///
    /// # Errors
    /// When it is not there, somebody else has it, or it bites before it would be fed the second time.
    pub fn open(config: &WatchdogConfig) -> Result<Self, DeviceError> {
        Self::described_in(config, Path::new(SYSFS))
    }

    fn described_in(config: &WatchdogConfig, sysfs: &Path) -> Result<Self, DeviceError> {
        let name = display(&config.device);
        if let Some(timeout) = timeout(&config.device, sysfs)
            && timeout < config.feed * 2
        {
            let (timeout, feed) = (timeout.as_secs(), config.feed.as_secs());
            let told = format!(
                "it restarts the board after {timeout} s, fed every {feed} s it could be missed; expected watchdog.feed_s \
                 of at most {}, or a driver that is told a longer time",
                timeout / 2
            );
            return Err(DeviceError::new("rely on", name, told));
        }
        let file = OpenOptions::new().write(true).open(&config.device);
        let file = file.map_err(|error| DeviceError::new("open", &name, error))?;
        Ok(Self { name, file })
    }

    fn write(&mut self, operation: &'static str, byte: &[u8]) -> Result<(), DeviceError> {
        self.file.write_all(byte).map_err(|error| DeviceError::new(operation, &self.name, error))
    }
}

/// After how long it bites, where the kernel tells it. `/dev/watchdog` is the first one.
fn timeout(device: &Path, sysfs: &Path) -> Option<Duration> {
    let name = device.file_name()?.to_str()?;
    let name = if name == "watchdog" { "watchdog0" } else { name };
    let text = fs::read_to_string(sysfs.join(name).join("timeout")).ok()?;
    Some(Duration::from_secs(text.trim().parse().ok()?))
}

impl Watchdog for HardwareWatchdog {
    fn feed(&mut self) -> Result<(), DeviceError> {
        // Any byte but V.
        self.write("feed", b".")
    }

    fn disarm(&mut self) -> Result<(), DeviceError> {
        // The magic character: closed without it, the watchdog goes on and bites (watchdog-api.rst of the kernel).
        self.write("disarm", b"V")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path, feed_s: u64) -> WatchdogConfig {
        let device = folder.join("watchdog0");
        fs::write(&device, "").unwrap();
        WatchdogConfig { device, feed: Duration::from_secs(feed_s) }
    }

    #[test]
    fn only_disarming_writes_the_magic_character() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), 5);
        let mut watchdog = HardwareWatchdog::described_in(&config, folder.path()).unwrap();
        watchdog.feed().unwrap();
        watchdog.feed().unwrap();
        assert_eq!(fs::read_to_string(&config.device).unwrap(), "..");
        watchdog.disarm().unwrap();
        drop(watchdog);
        assert_eq!(fs::read_to_string(&config.device).unwrap(), "..V");
    }

    #[test]
    fn one_that_bites_too_soon_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), 5);
        let sysfs = tempfile::tempdir().unwrap();
        fs::create_dir(sysfs.path().join("watchdog0")).unwrap();
        let says = |text: &str| fs::write(sysfs.path().join("watchdog0/timeout"), text).unwrap();
        says("15\n");
        HardwareWatchdog::described_in(&config, sysfs.path()).unwrap();
        says("9\n");
        let told = HardwareWatchdog::described_in(&config, sysfs.path()).unwrap_err().to_string();
        let device = config.device.display();
        assert_eq!(
            told,
            format!(
                "cannot rely on {device}: it restarts the board after 9 s, fed every 5 s it could be missed; expected \
                 watchdog.feed_s of at most 4, or a driver that is told a longer time"
            )
        );
        assert_eq!(timeout(Path::new("/dev/watchdog"), sysfs.path()), Some(Duration::from_secs(9)));
    }

    #[test]
    fn one_that_is_not_there_is_named() {
        let config = WatchdogConfig { device: "/dev/no-watchdog".into(), feed: Duration::from_secs(5) };
        let told = HardwareWatchdog::open(&config).unwrap_err().to_string();
        assert_eq!(told, "cannot open /dev/no-watchdog: No such file or directory (os error 2)");
    }
}
