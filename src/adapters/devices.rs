//! Opens what a board file names, one part at a time: a part that broke is dropped and opened anew.

use super::backlight::Backlight;
use super::drm::DrmPanel;
use super::evdev;
use super::framebuffer::FramebufferPanel;
use super::gpio::GpioKeys;
use super::lamp::SwitchedLamp;
use super::png_panel::PngSequence;
use super::spi_panel::SpiPanel;
use super::terminal::TerminalScreen;
use super::terminal_keys::TerminalKeys;
use super::watchdog::HardwareWatchdog;
use crate::config::{BacklightConfig, KeySource, KeyboardPlace, LampConfig, PanelConfig, WatchdogConfig};
use crate::ports::{DeviceError, Keys, Lamp, Panel, PanelError, Watchdog};

/// Opens the panel. It has to be dropped before it is opened anew.
///
/// # Errors
/// When it is not there or cannot be used; the message names the device.
pub fn open_panel(config: &PanelConfig) -> Result<Box<dyn Panel + Send>, PanelError> {
    let lights = |config: &Option<BacklightConfig>| config.as_ref().map(Backlight::open).transpose();
    Ok(match config {
        PanelConfig::Framebuffer { device, rotation, channels, backlight } => {
            Box::new(FramebufferPanel::open(device, *rotation, *channels, lights(backlight)?)?)
        }
        PanelConfig::Drm { device, connector, mode, rotation, backlight } => {
            Box::new(DrmPanel::open(device, connector.as_deref(), *mode, *rotation, lights(backlight)?)?)
        }
        PanelConfig::Spi(spi) => Box::new(SpiPanel::open(spi)?),
        PanelConfig::Terminal => Box::new(TerminalScreen::stdout()?),
        PanelConfig::Png { folder, size, keep } => Box::new(PngSequence::open(folder, *size, *keep)?),
    })
}

/// Opens something that keys are read from. It has to be dropped before it is opened anew.
///
/// # Errors
/// When it is not there or cannot be used; the message names the device.
pub fn open_keys(source: &KeySource) -> Result<Box<dyn Keys + Send>, DeviceError> {
    match source {
        KeySource::Buttons(buttons) => Ok(Box::new(GpioKeys::open(buttons)?)),
        KeySource::Keyboard(keyboard) if keyboard.place == KeyboardPlace::Terminal => {
            Ok(Box::new(TerminalKeys::open(&keyboard.keys)?))
        }
        KeySource::Keyboard(keyboard) => evdev::keyboard(keyboard),
        KeySource::Touch(touch) => evdev::touch(touch),
    }
}

/// Opens a lamp, which is off then.
///
/// # Errors
/// When it is not there or cannot be used; the message names the device.
pub fn open_lamp(config: &LampConfig) -> Result<Box<dyn Lamp + Send>, DeviceError> {
    Ok(Box::new(SwitchedLamp::open(&config.place)?))
}

/// Opens the watchdog, which starts it: from now on it has to be fed, or disarmed.
///
/// # Errors
/// When it is not there or cannot be used; the message names the device.
pub fn open_watchdog(config: &WatchdogConfig) -> Result<Box<dyn Watchdog + Send>, DeviceError> {
    Ok(Box::new(HardwareWatchdog::open(config)?))
}
