//! What lights a panel: a backlight of the kernel's or a GPIO line.

use std::fs;
use std::path::{Path, PathBuf};

use super::framebuffer::display;
use super::gpio::Output;
use crate::config::BacklightConfig;
use crate::ports::DeviceError;

/// Where the kernel has its backlights.
const SYSFS: &str = "/sys/class/backlight";

/// Lights a panel.
#[derive(Debug)]
pub struct Backlight(Kind);

#[derive(Debug)]
enum Kind {
    /// The folder, and how bright "lit" is.
    Kernel {
        folder: PathBuf,
        lit: u32,
    },
    Line(Output),
}

impl Backlight {
    /// Finds what `config` names.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open(config: &BacklightConfig) -> Result<Self, DeviceError> {
        match config {
            BacklightConfig::Kernel { name, percent } => Self::in_folder(Path::new(SYSFS).join(name), *percent),
            BacklightConfig::Line { line, active_low } => Ok(Self(Kind::Line(Output::open(line, *active_low, false)?))),
        }
    }

    fn in_folder(folder: PathBuf, percent: u8) -> Result<Self, DeviceError> {
        let path = folder.join("max_brightness");
        let text = fs::read_to_string(&path).map_err(|error| DeviceError::new("read", display(&path), error))?;
        let most: u32 = text.trim().parse().map_err(|_| {
            DeviceError::new("read", display(&path), format!("it says {}, expected a number", text.trim()))
        })?;
        // Never dark: a panel that is lit at one percent of a coarse backlight is still lit.
        let lit = (u64::from(most) * u64::from(percent)).div_ceil(100).max(1) as u32;
        Ok(Self(Kind::Kernel { folder, lit }))
    }

    /// Lights the panel or makes it dark.
    ///
    /// # Errors
    /// When the device did not take it.
    pub fn set_lit(&mut self, lit: bool) -> Result<(), DeviceError> {
        match &mut self.0 {
            Kind::Line(output) => output.set(lit),
            Kind::Kernel { folder, lit: brightness } => {
                let path = folder.join("brightness");
                let value = if lit { *brightness } else { 0 };
                fs::write(&path, value.to_string()).map_err(|error| DeviceError::new("write", display(&path), error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(most: &str, percent: u8, lit: &str) {
        let folder = tempfile::tempdir().unwrap();
        let brightness = folder.path().join("brightness");
        fs::write(folder.path().join("max_brightness"), format!("{most}\n")).unwrap();
        fs::write(&brightness, "3\n").unwrap();
        let mut backlight = Backlight::in_folder(folder.path().to_owned(), percent).unwrap();
        backlight.set_lit(true).unwrap();
        assert_eq!(fs::read_to_string(&brightness).unwrap(), lit);
        backlight.set_lit(false).unwrap();
        assert_eq!(fs::read_to_string(&brightness).unwrap(), "0");
    }

    #[test]
    fn a_percentage_is_a_share_of_the_brightest_and_never_dark() {
        check("255", 100, "255");
        check("255", 40, "102");
        check("31", 1, "1");
        check("1", 50, "1");
        check("0", 100, "1");
    }

    #[test]
    fn a_backlight_that_is_not_there_is_named() {
        let config = BacklightConfig::Kernel { name: "no-such".to_owned(), percent: 100 };
        let told = Backlight::open(&config).unwrap_err().to_string();
        assert!(told.starts_with("cannot read /sys/class/backlight/no-such/max_brightness: "), "{told}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("max_brightness");
        fs::write(&path, "bright").unwrap();
        let told = Backlight::in_folder(folder.path().to_owned(), 1).unwrap_err().to_string();
        assert_eq!(told, format!("cannot read {}: it says bright, expected a number", path.display()));
    }
}
