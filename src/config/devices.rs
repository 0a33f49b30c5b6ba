//! The tables of a board file that name its devices: `[panel]`, `[[buttons]]`, `[keyboard]`, `[touch]`, `[[lamps]]` and
//! `[watchdog]`, as typed and as usable.
//!
//! Whether the devices are there is not asked here: that is for whoever opens them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Check, ConfigError};
use crate::domain::{Key, LampRole, Rotation};

/// An example with every key of the devices' tables, for a board with an SPI panel.
pub const EXAMPLE: &str = r#"[panel]
kind = "st7789"               # framebuffer, drm, st7789, st7796, ili9341, ili9486, terminal or png
rotation = 90                 # clockwise, until the picture stands upright: 0, 90, 180 or 270
# device = "/dev/spidev0.0"   # framebuffer: /dev/fb0, drm: /dev/dri/card0
# SPI panels:
dc = "GPIO25"                 # a line by its name (gpioinfo shows them) or as "gpiochip0:25"
reset = "GPIO27"
# size = [240, 320]           # of the glass as it is built, before it is turned
# offset = [0, 0]             # of the glass in the controller's memory
# speed_hz = 32000000
# mode = 0                    # 0 to 3
# invert = false              # IPS glass needs true
# bgr = false                 # where red and blue are swapped
# mirror = false              # where the picture is seen in a mirror
# framebuffer:
# channels = "rgb"            # or "bgr"; without it the device tree is asked
# drm:
# connector = "HDMI-A-1"      # else the first that something is plugged into
# display_mode = "800x480"    # or "800x480@60"; else the one that the display prefers
# png:
# folder = "/tmp/screens"     # numbered pictures; size as above
# keep = 100                  # the last ones
# Backlight of any of them, one of:
backlight_line = "GPIO24"
# backlight_active_low = false
# backlight = "10-0045"       # a folder of /sys/class/backlight, and how bright:
# brightness_percent = 100

[[buttons]]
line = "GPIO5"
key = "next"                  # previous, next, select or back
# active_low = true           # the button connects the line to ground
# debounce_ms = 20
# long = "none"               # what it means when it is held for a second; for select "back"

[[buttons]]
line = "GPIO6"
key = "select"

[keyboard]
# device = "auto"             # every keyboard, or "/dev/input/event0", or "terminal"
# next = ["right", "down", "pagedown", "tab"]
# previous = ["left", "up", "pageup"]
# select = ["enter", "space"]
# back = ["esc", "backspace"]

[touch]                       # left third: previous, right third: next, middle: select, top: back
# device = "auto"
# rotation = 90               # as the panel's

[[lamps]]
role = "ready"                # ready, busy, attention or fault
line = "GPIO17"
# active_low = false

[[lamps]]
role = "fault"
led = "ACT"                   # a folder of /sys/class/leds

[watchdog]
# device = "/dev/watchdog0"
# feed_s = 5
"#;

/// `[panel]` as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PanelTable {
    kind: String,
    device: Option<PathBuf>,
    rotation: Option<i64>,
    channels: Option<String>,
    connector: Option<String>,
    display_mode: Option<String>,
    dc: Option<String>,
    reset: Option<String>,
    size: Option<[i64; 2]>,
    offset: Option<[i64; 2]>,
    speed_hz: Option<i64>,
    mode: Option<i64>,
    invert: Option<bool>,
    bgr: Option<bool>,
    mirror: Option<bool>,
    folder: Option<PathBuf>,
    keep: Option<i64>,
    backlight: Option<String>,
    brightness_percent: Option<i64>,
    backlight_line: Option<String>,
    backlight_active_low: Option<bool>,
}

/// An entry of `[[buttons]]` as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ButtonTable {
    line: String,
    key: String,
    active_low: Option<bool>,
    debounce_ms: Option<i64>,
    long: Option<String>,
}

/// `[keyboard]` as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyboardTable {
    device: Option<String>,
    previous: Option<Vec<String>>,
    next: Option<Vec<String>>,
    select: Option<Vec<String>>,
    back: Option<Vec<String>>,
}

/// `[touch]` as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TouchTable {
    device: Option<String>,
    rotation: Option<i64>,
}

/// An entry of `[[lamps]]` as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LampTable {
    role: String,
    line: Option<String>,
    active_low: Option<bool>,
    led: Option<String>,
}

/// `[watchdog]` as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WatchdogTable {
    device: Option<PathBuf>,
    feed_s: Option<i64>,
}

/// The devices' tables of one file, as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceTables {
    pub(super) panel: PanelTable,
    #[serde(default)]
    pub(super) buttons: Vec<ButtonTable>,
    pub(super) keyboard: Option<KeyboardTable>,
    pub(super) touch: Option<TouchTable>,
    #[serde(default)]
    pub(super) lamps: Vec<LampTable>,
    pub(super) watchdog: Option<WatchdogTable>,
}

/// What hangs on the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    /// Where screens are shown.
    pub panel: PanelConfig,
    /// Buttons on GPIO lines.
    pub buttons: Vec<ButtonConfig>,
    /// A keyboard, on USB or in the terminal.
    pub keyboard: Option<KeyboardConfig>,
    /// A touch screen.
    pub touch: Option<TouchConfig>,
    /// Lamps on GPIO lines or of the kernel.
    pub lamps: Vec<LampConfig>,
    /// What restarts a board that hangs.
    pub watchdog: Option<WatchdogConfig>,
}

impl Devices {
    /// Checks `text`, which was read from `path` and holds the devices' tables alone.
    ///
    /// # Errors
    /// With the key, what was found and what was expected.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let tables: DeviceTables = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        tables.usable(&Check { path })
    }

    /// What keys are read from, each of which can be opened by itself: all buttons together, the keyboard, the touch
    /// screen.
    pub fn key_sources(&self) -> Vec<KeySource> {
        let buttons = (!self.buttons.is_empty()).then(|| KeySource::Buttons(self.buttons.clone()));
        let keyboard = self.keyboard.clone().map(KeySource::Keyboard);
        let touch = self.touch.clone().map(KeySource::Touch);
        [buttons, keyboard, touch].into_iter().flatten().collect()
    }
}

/// Something that keys are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// Buttons on GPIO lines, at least one.
    Buttons(Vec<ButtonConfig>),
    /// A keyboard.
    Keyboard(KeyboardConfig),
    /// A touch screen.
    Touch(TouchConfig),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Buttons(_) => "buttons",
            Self::Keyboard(_) => "keyboard",
            Self::Touch(_) => "touch screen",
        })
    }
}

/// A panel, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PanelConfig {
    /// The Linux framebuffer.
    Framebuffer {
        /// Such as `/dev/fb0`.
        device: PathBuf,
        /// How the panel was built in.
        rotation: Rotation,
        /// The order of colours, where the device tree does not tell it.
        channels: Option<ChannelOrder>,
        /// What lights it.
        backlight: Option<BacklightConfig>,
    },
    /// A display by DRM/KMS.
    Drm {
        /// Such as `/dev/dri/card0`.
        device: PathBuf,
        /// Such as `HDMI-A-1`; else the first that something is plugged into.
        connector: Option<String>,
        /// Else the one that the display prefers.
        mode: Option<DisplayMode>,
        /// How the panel was built in.
        rotation: Rotation,
        /// What lights it.
        backlight: Option<BacklightConfig>,
    },
    /// A panel on an SPI bus.
    Spi(SpiPanelConfig),
    /// The terminal that the program runs in.
    Terminal,
    /// A folder that gets a numbered PNG of every screen.
    Png {
        /// The folder, which has to exist.
        folder: PathBuf,
        /// Columns and rows.
        size: (u32, u32),
        /// How many of the last pictures are kept, at least one.
        keep: usize,
    },
}

/// A panel on an SPI bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiPanelConfig {
    /// What drives the glass.
    pub controller: Controller,
    /// Such as `/dev/spidev0.0`.
    pub device: PathBuf,
    /// The line that tells commands (low) from data.
    pub dc: GpioLine,
    /// The line that resets the controller; without one it is reset by command.
    pub reset: Option<GpioLine>,
    /// Columns and rows of the glass as it is built.
    pub size: (u16, u16),
    /// Where the glass starts in the controller's memory.
    pub offset: (u16, u16),
    /// How the panel was built in.
    pub rotation: Rotation,
    /// Of the bus.
    pub speed_hz: u32,
    /// Polarity and phase of the bus's clock, 0 to 3.
    pub mode: u8,
    /// The glass shows the negative of what it is told.
    pub invert: bool,
    /// The glass has blue where the controller has red.
    pub bgr: bool,
    /// The glass is seen as in a mirror.
    pub mirror: bool,
    /// What lights it.
    pub backlight: Option<BacklightConfig>,
}

/// Controllers of SPI panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Controller {
    /// Sitronix, up to 240 × 320, 16 bits a pixel.
    St7789,
    /// Sitronix, up to 320 × 480, 16 bits a pixel.
    St7796,
    /// Ilitek, up to 240 × 320, 16 bits a pixel.
    Ili9341,
    /// Ilitek, up to 320 × 480, 18 bits a pixel in three bytes.
    Ili9486,
}

impl Controller {
    /// Every controller.
    pub const ALL: [Self; 4] = [Self::St7789, Self::St7796, Self::Ili9341, Self::Ili9486];

    /// As the configuration spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::St7789 => "st7789",
            Self::St7796 => "st7796",
            Self::Ili9341 => "ili9341",
            Self::Ili9486 => "ili9486",
        }
    }

    /// Columns and rows of its memory.
    pub fn memory(self) -> (u16, u16) {
        match self {
            Self::St7789 | Self::Ili9341 => (240, 320),
            Self::St7796 | Self::Ili9486 => (320, 480),
        }
    }
}

/// Which colour has the highest bits of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelOrder {
    /// Red, as nearly everywhere: XRGB8888, RGB888, RGB565.
    Rgb,
    /// Blue.
    Bgr,
}

/// A mode of a display that is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DisplayMode {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// Pictures a second; `None` takes the first that fits.
    pub refresh_hz: Option<u32>,
}

impl fmt::Display for DisplayMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)?;
        self.refresh_hz.map_or(Ok(()), |refresh_hz| write!(f, "@{refresh_hz}"))
    }
}

/// What lights a panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BacklightConfig {
    /// A backlight that the kernel drives.
    Kernel {
        /// Its folder in `/sys/class/backlight`.
        name: String,
        /// How bright, 1 to 100.
        percent: u8,
    },
    /// A line that switches it.
    Line {
        /// The line.
        line: GpioLine,
        /// Low lights it.
        active_low: bool,
    },
}

/// A GPIO line, by its place or its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GpioLine {
    /// A number on a chip.
    Numbered {
        /// The chip's name (`gpiochip0`) or label (`pinctrl-bcm2711`).
        chip: String,
        /// Counted from 0.
        offset: u32,
    },
    /// A name that the device tree gives it, such as `GPIO17`.
    Named(String),
}

impl GpioLine {
    fn parse(text: &str) -> Option<Self> {
        let plain = |name: &str| !name.is_empty() && name.len() <= 31 && name.chars().all(|c| c.is_ascii_graphic());
        match text.rsplit_once(':') {
            Some((chip, offset)) => {
                let chip = chip.strip_prefix("/dev/").unwrap_or(chip);
                let digits = !offset.is_empty() && offset.bytes().all(|b| b.is_ascii_digit());
                let offset = offset.parse().ok().filter(|offset| digits && *offset <= 1023)?;
                plain(chip).then(|| Self::Numbered { chip: chip.to_owned(), offset })
            }
            None => plain(text).then(|| Self::Named(text.to_owned())),
        }
    }
}

impl fmt::Display for GpioLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbered { chip, offset } => write!(f, "{chip}:{offset}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// A button on a GPIO line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ButtonConfig {
    /// The line.
    pub line: GpioLine,
    /// What pressing it means.
    pub key: Key,
    /// What holding it for [`LONG_PRESS`] means, if anything else.
    pub long: Option<Key>,
    /// The line is low while it is pressed.
    pub active_low: bool,
    /// How long the line has to be quiet before it is believed.
    pub debounce: Duration,
}

/// How long a button is held for its other meaning.
pub const LONG_PRESS: Duration = Duration::from_secs(1);

/// A keyboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyboardConfig {
    /// Where it is.
    pub place: KeyboardPlace,
    /// Names of [`KEY_NAMES`] and what they mean; every name at most once.
    pub keys: Vec<(String, Key)>,
}

/// Where a keyboard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyboardPlace {
    /// The terminal that the program runs in.
    Terminal,
    /// Every keyboard that is or will be plugged in.
    Auto,
    /// A device such as `/dev/input/event0`.
    Device(PathBuf),
}

/// Names of a keyboard's keys, besides the letters a to z and the digits 0 to 9.
pub const KEY_NAMES: [&str; 13] =
    ["up", "down", "left", "right", "enter", "space", "esc", "tab", "backspace", "pageup", "pagedown", "home", "end"];

/// A touch screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchConfig {
    /// A device such as `/dev/input/event0`; `None` for every touch screen that is or will be plugged in.
    pub device: Option<PathBuf>,
    /// How the panel below it was built in.
    pub rotation: Rotation,
}

/// A lamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LampConfig {
    /// What it tells.
    pub role: LampRole,
    /// Where it is.
    pub place: LampPlace,
}

/// Where a lamp is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LampPlace {
    /// On a GPIO line.
    Line {
        /// The line.
        line: GpioLine,
        /// Low lights it.
        active_low: bool,
    },
    /// In this folder of `/sys/class/leds`.
    Led(String),
}

impl fmt::Display for LampPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line, .. } => write!(f, "lamp on {line}"),
            Self::Led(name) => write!(f, "LED {name}"),
        }
    }
}

/// The hardware watchdog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchdogConfig {
    /// Such as `/dev/watchdog`.
    pub device: PathBuf,
    /// How often it is fed.
    pub feed: Duration,
}

const LINE: &str = "a line's name such as \"GPIO17\", or chip and number such as \"gpiochip0:17\", 0 to 1023";

/// Which keys of `[panel]` belong to which kind.
const FRAMEBUFFER_KEYS: &[&str] = &["device", "rotation", "channels"];
const DRM_KEYS: &[&str] = &["device", "rotation", "connector", "display_mode"];
const SPI_KEYS: &[&str] =
    &["device", "rotation", "dc", "reset", "size", "offset", "speed_hz", "mode", "invert", "bgr", "mirror"];
const PNG_KEYS: &[&str] = &["folder", "size", "keep"];
const BACKLIGHT_KEYS: &[&str] = &["backlight", "brightness_percent", "backlight_line", "backlight_active_low"];

impl DeviceTables {
    /// The devices, if every value can be used and no line or LED is used twice.
    pub(super) fn usable(self, check: &Check<'_>) -> Result<Devices, ConfigError> {
        let panel = self.panel.usable(check)?;
        let buttons = self
            .buttons
            .into_iter()
            .enumerate()
            .map(|(index, typed)| typed.usable(check, &format!("buttons[{index}]")));
        let buttons: Vec<_> = buttons.collect::<Result<_, _>>()?;
        let keyboard = self.keyboard.map(|typed| typed.usable(check)).transpose()?;
        let rotation = match &panel {
            PanelConfig::Framebuffer { rotation, .. } | PanelConfig::Drm { rotation, .. } => *rotation,
            PanelConfig::Spi(spi) => spi.rotation,
            PanelConfig::Terminal | PanelConfig::Png { .. } => Rotation::Upright,
        };
        let touch = self.touch.map(|typed| typed.usable(check, rotation)).transpose()?;
        let lamps =
            self.lamps.into_iter().enumerate().map(|(index, typed)| typed.usable(check, &format!("lamps[{index}]")));
        let lamps: Vec<_> = lamps.collect::<Result<_, _>>()?;
        let watchdog = self.watchdog.map(|typed| typed.usable(check)).transpose()?;
        let devices = Devices { panel, buttons, keyboard, touch, lamps, watchdog };
        devices.nothing_used_twice(check)?;
        devices.every_state_can_be_left(check)?;
        Ok(devices)
    }
}

impl Devices {
    /// Every GPIO line with the key that names it.
    pub fn lines(&self) -> Vec<(String, &GpioLine)> {
        let mut lines = Vec::new();
        let backlight = match &self.panel {
            PanelConfig::Framebuffer { backlight, .. } | PanelConfig::Drm { backlight, .. } => backlight,
            PanelConfig::Spi(spi) => {
                lines.push(("panel.dc".to_owned(), &spi.dc));
                lines.extend(spi.reset.iter().map(|line| ("panel.reset".to_owned(), line)));
                &spi.backlight
            }
            PanelConfig::Terminal | PanelConfig::Png { .. } => &None,
        };
        if let Some(BacklightConfig::Line { line, .. }) = backlight {
            lines.push(("panel.backlight_line".to_owned(), line));
        }
        let buttons = self.buttons.iter().enumerate();
        lines.extend(buttons.map(|(index, button)| (format!("buttons[{index}].line"), &button.line)));
        for (index, lamp) in self.lamps.iter().enumerate() {
            if let LampPlace::Line { line, .. } = &lamp.place {
                lines.push((format!("lamps[{index}].line"), line));
            }
        }
        lines
    }

    fn nothing_used_twice(&self, check: &Check<'_>) -> Result<(), ConfigError> {
        let leds = self.lamps.iter().enumerate().filter_map(|(index, lamp)| match &lamp.place {
            LampPlace::Led(name) => Some((format!("lamps[{index}].led"), name.clone())),
            LampPlace::Line { .. } => None,
        });
        let lines = self.lines().into_iter().map(|(key, line)| (key, line.to_string()));
        for used in [lines.collect::<Vec<_>>(), leds.collect()] {
            for (index, (key, place)) in used.iter().enumerate() {
                if let Some((first, _)) = used[..index].iter().find(|(_, earlier)| earlier == place) {
                    let expected = format!("another one than {first}, which uses it already");
                    return Err(check.refused(key, &format!("{place:?}"), &expected));
                }
            }
        }
        Ok(())
    }

    /// With buttons alone, every screen can be reached and left only with these two keys.
    fn every_state_can_be_left(&self, check: &Check<'_>) -> Result<(), ConfigError> {
        if self.buttons.is_empty() || self.keyboard.is_some() || self.touch.is_some() {
            return Ok(());
        }
        for key in [Key::Next, Key::Select] {
            if !self.buttons.iter().any(|button| button.key == key) {
                let found = self.buttons.iter().map(|button| button.key.name()).collect::<Vec<_>>().join(", ");
                let expected =
                    format!("one for {} too: without it there are screens that nobody can leave", key.name());
                return Err(check.refused("buttons", &found, &expected));
            }
        }
        Ok(())
    }
}

impl PanelTable {
    fn usable(self, check: &Check<'_>) -> Result<PanelConfig, ConfigError> {
        let controller = Controller::ALL.into_iter().find(|controller| controller.name() == self.kind);
        let (own, backlight): (&[&str], bool) = match (self.kind.as_str(), controller) {
            (_, Some(_)) => (SPI_KEYS, true),
            ("framebuffer", _) => (FRAMEBUFFER_KEYS, true),
            ("drm", _) => (DRM_KEYS, true),
            ("terminal", _) => (&[], false),
            ("png", _) => (PNG_KEYS, false),
            _ => {
                let expected = "framebuffer, drm, st7789, st7796, ili9341, ili9486, terminal or png";
                return Err(check.refused("panel.kind", &format!("{:?}", self.kind), expected));
            }
        };
        for key in self.given() {
            let known = own.contains(&key) || backlight && BACKLIGHT_KEYS.contains(&key);
            if !known {
                let expected = format!("nothing: a {} panel has no such key", self.kind);
                return Err(check.refused(&format!("panel.{key}"), "given", &expected));
            }
        }
        let rotation = rotation(check, "panel.rotation", self.rotation)?;
        let backlight = self.backlight(check)?;
        let device = |default: &str| self.device.clone().unwrap_or_else(|| default.into());
        if self.device.as_ref().is_some_and(|device| device.as_os_str().is_empty()) {
            return Err(check.refused("panel.device", "empty", "the path of a device"));
        }
        if let Some(controller) = controller {
            return self.spi(check, controller, rotation, backlight);
        }
        match self.kind.as_str() {
            "framebuffer" => {
                let channels = match self.channels.as_deref() {
                    None => None,
                    Some("rgb") => Some(ChannelOrder::Rgb),
                    Some("bgr") => Some(ChannelOrder::Bgr),
                    Some(other) => return Err(check.refused("panel.channels", &format!("{other:?}"), "rgb or bgr")),
                };
                Ok(PanelConfig::Framebuffer { device: device("/dev/fb0"), rotation, channels, backlight })
            }
            "drm" => {
                let mode = self.display_mode.as_deref().map(|text| {
                    let expected = "columns and rows such as 800x480, with pictures a second such as 800x480@60";
                    display_mode(text)
                        .ok_or_else(|| check.refused("panel.display_mode", &format!("{text:?}"), expected))
                });
                let (device, connector, mode) = (device("/dev/dri/card0"), self.connector.clone(), mode.transpose()?);
                Ok(PanelConfig::Drm { device, connector, mode, rotation, backlight })
            }
            "terminal" => Ok(PanelConfig::Terminal),
            _ => {
                let Some(folder) = self.folder.filter(|folder| !folder.as_os_str().is_empty()) else {
                    return Err(check.refused("panel.folder", "empty", "the path of a folder"));
                };
                let size = sides(check, "panel.size", self.size, [800, 480], [64, 64], [4096, 4096])?;
                let keep = check.number("panel.keep", self.keep, 100, 1, 100_000)? as usize;
                Ok(PanelConfig::Png { folder, size: (size.0.into(), size.1.into()), keep })
            }
        }
    }

    /// The keys that are there, without `kind`.
    fn given(&self) -> Vec<&'static str> {
        let keys = [
            ("device", self.device.is_some()),
            ("rotation", self.rotation.is_some()),
            ("channels", self.channels.is_some()),
            ("connector", self.connector.is_some()),
            ("display_mode", self.display_mode.is_some()),
            ("dc", self.dc.is_some()),
            ("reset", self.reset.is_some()),
            ("size", self.size.is_some()),
            ("offset", self.offset.is_some()),
            ("speed_hz", self.speed_hz.is_some()),
            ("mode", self.mode.is_some()),
            ("invert", self.invert.is_some()),
            ("bgr", self.bgr.is_some()),
            ("mirror", self.mirror.is_some()),
            ("folder", self.folder.is_some()),
            ("keep", self.keep.is_some()),
            ("backlight", self.backlight.is_some()),
            ("brightness_percent", self.brightness_percent.is_some()),
            ("backlight_line", self.backlight_line.is_some()),
            ("backlight_active_low", self.backlight_active_low.is_some()),
        ];
        keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
    }

    fn spi(
        &self,
        check: &Check<'_>,
        controller: Controller,
        rotation: Rotation,
        backlight: Option<BacklightConfig>,
    ) -> Result<PanelConfig, ConfigError> {
        let Some(dc) = &self.dc else {
            return Err(check.refused("panel.dc", "missing", LINE));
        };
        let dc = line(check, "panel.dc", dc)?;
        let reset = self.reset.as_deref().map(|text| line(check, "panel.reset", text)).transpose()?;
        let (columns, rows) = controller.memory();
        let most = [i64::from(columns), i64::from(rows)];
        let size = sides(check, "panel.size", self.size, most, [1, 1], most)?;
        let room = [i64::from(columns - size.0), i64::from(rows - size.1)];
        let offset = sides(check, "panel.offset", self.offset, [0, 0], [0, 0], room)?;
        let device = self.device.clone().unwrap_or_else(|| "/dev/spidev0.0".into());
        Ok(PanelConfig::Spi(SpiPanelConfig {
            controller,
            device,
            dc,
            reset,
            size,
            offset,
            rotation,
            speed_hz: check.number("panel.speed_hz", self.speed_hz, 32_000_000, 100_000, 125_000_000)? as u32,
            mode: check.number("panel.mode", self.mode, 0, 0, 3)? as u8,
            invert: self.invert.unwrap_or(false),
            bgr: self.bgr.unwrap_or(false),
            mirror: self.mirror.unwrap_or(false),
            backlight,
        }))
    }

    fn backlight(&self, check: &Check<'_>) -> Result<Option<BacklightConfig>, ConfigError> {
        match (&self.backlight, &self.backlight_line) {
            (Some(_), Some(_)) => {
                let expected = "nothing where panel.backlight is given: one of them lights the panel";
                Err(check.refused("panel.backlight_line", "given", expected))
            }
            (None, _) if self.brightness_percent.is_some() => {
                Err(check.refused("panel.brightness_percent", "given", "nothing without panel.backlight"))
            }
            (_, None) if self.backlight_active_low.is_some() => {
                Err(check.refused("panel.backlight_active_low", "given", "nothing without panel.backlight_line"))
            }
            (Some(name), None) => {
                let name = folder_name(check, "panel.backlight", name, "/sys/class/backlight")?;
                let percent = check.number("panel.brightness_percent", self.brightness_percent, 100, 1, 100)? as u8;
                Ok(Some(BacklightConfig::Kernel { name, percent }))
            }
            (None, Some(text)) => {
                let line = line(check, "panel.backlight_line", text)?;
                let active_low = self.backlight_active_low.unwrap_or(false);
                Ok(Some(BacklightConfig::Line { line, active_low }))
            }
            (None, None) => Ok(None),
        }
    }
}

impl ButtonTable {
    fn usable(self, check: &Check<'_>, table: &str) -> Result<ButtonConfig, ConfigError> {
        let named = |name: &str, text: &str, others: &str| {
            let expected = format!("previous, next, select{others}");
            Key::named(text).ok_or_else(|| check.refused(&format!("{table}.{name}"), &format!("{text:?}"), &expected))
        };
        let key = named("key", &self.key, " or back")?;
        let long = match self.long.as_deref() {
            Some("none") => None,
            Some(text) => Some(named("long", text, ", back or none")?),
            None => (key == Key::Select).then_some(Key::Back),
        };
        let debounce_ms = check.number(&format!("{table}.debounce_ms"), self.debounce_ms, 20, 1, 500)?;
        Ok(ButtonConfig {
            line: line(check, &format!("{table}.line"), &self.line)?,
            key,
            long,
            active_low: self.active_low.unwrap_or(true),
            debounce: Duration::from_millis(debounce_ms),
        })
    }
}

impl KeyboardTable {
    fn usable(self, check: &Check<'_>) -> Result<KeyboardConfig, ConfigError> {
        let place = match self.device.as_deref() {
            None | Some("auto") => KeyboardPlace::Auto,
            Some("terminal") => KeyboardPlace::Terminal,
            Some(path) if path.starts_with('/') => KeyboardPlace::Device(path.into()),
            Some(other) => {
                let expected = "auto, terminal or the path of a device such as /dev/input/event0";
                return Err(check.refused("keyboard.device", &format!("{other:?}"), expected));
            }
        };
        let tables = [
            ("next", Key::Next, self.next, &["right", "down", "pagedown", "tab"][..]),
            ("previous", Key::Previous, self.previous, &["left", "up", "pageup"]),
            ("select", Key::Select, self.select, &["enter", "space"]),
            ("back", Key::Back, self.back, &["esc", "backspace"]),
        ];
        let mut keys: Vec<(String, Key)> = Vec::new();
        for (name, key, typed, default) in tables {
            let names = typed.unwrap_or_else(|| default.iter().map(ToString::to_string).collect());
            for text in names {
                let letter = text.len() == 1 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                let table = format!("keyboard.{name}");
                if !letter && !KEY_NAMES.contains(&text.as_str()) {
                    let expected = format!("{}, a to z or 0 to 9", KEY_NAMES.join(", "));
                    return Err(check.refused(&table, &format!("{text:?}"), &expected));
                }
                if let Some((_, taken)) = keys.iter().find(|(earlier, _)| *earlier == text) {
                    let expected = format!("another key than keyboard.{} has", taken.name());
                    return Err(check.refused(&table, &format!("{text:?}"), &expected));
                }
                keys.push((text, key));
            }
        }
        Ok(KeyboardConfig { place, keys })
    }
}

impl TouchTable {
    fn usable(self, check: &Check<'_>, panel: Rotation) -> Result<TouchConfig, ConfigError> {
        let device = match self.device.as_deref() {
            None | Some("auto") => None,
            Some(path) if path.starts_with('/') => Some(path.into()),
            Some(other) => {
                let expected = "auto or the path of a device such as /dev/input/event0";
                return Err(check.refused("touch.device", &format!("{other:?}"), expected));
            }
        };
        let rotation = match self.rotation {
            Some(_) => rotation(check, "touch.rotation", self.rotation)?,
            None => panel,
        };
        Ok(TouchConfig { device, rotation })
    }
}

impl LampTable {
    fn usable(self, check: &Check<'_>, table: &str) -> Result<LampConfig, ConfigError> {
        let role = LampRole::named(&self.role).ok_or_else(|| {
            let expected = "ready, busy, attention or fault";
            check.refused(&format!("{table}.role"), &format!("{:?}", self.role), expected)
        })?;
        let place = match (&self.line, &self.led) {
            (Some(text), None) => LampPlace::Line {
                line: line(check, &format!("{table}.line"), text)?,
                active_low: self.active_low.unwrap_or(false),
            },
            (None, Some(name)) if self.active_low.is_none() => {
                LampPlace::Led(folder_name(check, &format!("{table}.led"), name, "/sys/class/leds")?)
            }
            (None, Some(_)) => {
                return Err(check.refused(&format!("{table}.active_low"), "given", "nothing without a line"));
            }
            (Some(_), Some(_)) => return Err(check.refused(table, "line and led", "one of them")),
            (None, None) => return Err(check.refused(table, "without line or led", "one of them")),
        };
        Ok(LampConfig { role, place })
    }
}

impl WatchdogTable {
    fn usable(self, check: &Check<'_>) -> Result<WatchdogConfig, ConfigError> {
        // Not /dev/watchdog: that is the same one by a misc device, which the service's list of devices leaves out.
        let device = self.device.unwrap_or_else(|| "/dev/watchdog0".into());
        if device.as_os_str().is_empty() {
            return Err(check.refused("watchdog.device", "empty", "the path of a device"));
        }
        // The Raspberry Pi's bites after 15 s at the latest: one feeding may be missed.
        let feed = Duration::from_secs(check.number("watchdog.feed_s", self.feed_s, 5, 1, 7)?);
        Ok(WatchdogConfig { device, feed })
    }
}

fn rotation(check: &Check<'_>, key: &str, typed: Option<i64>) -> Result<Rotation, ConfigError> {
    let Some(degrees) = typed else { return Ok(Rotation::Upright) };
    Rotation::from_degrees(degrees).ok_or_else(|| check.refused(key, &degrees.to_string(), "0, 90, 180 or 270"))
}

fn line(check: &Check<'_>, key: &str, text: &str) -> Result<GpioLine, ConfigError> {
    GpioLine::parse(text).ok_or_else(|| check.refused(key, &format!("{text:?}"), LINE))
}

/// The name of a folder of the kernel's, which must not lead out of it.
fn folder_name(check: &Check<'_>, key: &str, name: &str, parent: &str) -> Result<String, ConfigError> {
    let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    let expected = format!("the name of a folder of {parent}");
    if plain { Ok(name.to_owned()) } else { Err(check.refused(key, &format!("{name:?}"), &expected)) }
}

fn sides(
    check: &Check<'_>,
    key: &str,
    typed: Option<[i64; 2]>,
    default: [i64; 2],
    least: [i64; 2],
    most: [i64; 2],
) -> Result<(u16, u16), ConfigError> {
    let typed = typed.unwrap_or(default);
    if typed.iter().zip(least.iter().zip(most)).any(|(side, (least, most))| side < least || *side > most) {
        return Err(check.refused(key, &format!("{typed:?}"), &format!("{least:?} to {most:?}")));
    }
    // Bounded by `most`.
    Ok((typed[0] as u16, typed[1] as u16))
}

fn display_mode(text: &str) -> Option<DisplayMode> {
    let (size, refresh) = match text.split_once('@') {
        Some((size, refresh)) => (size, Some(refresh.parse().ok().filter(|hz| (1..=480).contains(hz))?)),
        None => (text, None),
    };
    let (width, height) = size.split_once('x')?;
    let side = |text: &str| text.parse().ok().filter(|side| (64..=8192).contains(side));
    Some(DisplayMode { width: side(width)?, height: side(height)?, refresh_hz: refresh })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Devices, ConfigError> {
        Devices::parse(text, Path::new("b.toml"))
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let told = parse(text).unwrap_err().to_string();
        assert_eq!(told, format!("b.toml: {expected}"));
    }

    /// `line` in an SPI panel's table.
    #[track_caller]
    fn spi_refused(line: &str, expected: &str) {
        refused(&format!("[panel]\nkind = 'st7789'\ndc = 'D'\n{line}\n"), expected);
    }

    #[test]
    fn the_example_is_what_it_says() {
        let devices = parse(EXAMPLE).unwrap();
        let PanelConfig::Spi(spi) = &devices.panel else { panic!("{:?}", devices.panel) };
        assert_eq!((spi.size, spi.offset, spi.speed_hz, spi.mode), ((240, 320), (0, 0), 32_000_000, 0));
        assert_eq!((spi.rotation, spi.device.as_path()), (Rotation::Quarter, Path::new("/dev/spidev0.0")));
        let touch = devices.touch.as_ref().unwrap();
        assert_eq!((touch.rotation, &touch.device), (Rotation::Quarter, &None));
        let keys: Vec<_> = devices.buttons.iter().map(|button| (button.key, button.long, button.active_low)).collect();
        assert_eq!(keys, [(Key::Next, None, true), (Key::Select, Some(Key::Back), true)]);
        assert_eq!(devices.watchdog.as_ref().unwrap().feed, Duration::from_secs(5));
        assert_eq!(devices.key_sources().len(), 3);
        assert_eq!(devices.lines().len(), 6);

        // With the comments of the keys that belong to it taken away nothing changes.
        let others = ["channels", "connector", "display_mode", "folder", "keep", "backlight =", "brightness_percent"];
        let typed = EXAMPLE.lines().map(|line| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") && !others.iter().any(|other| key.starts_with(other)) => key,
            _ => line,
        });
        let typed = typed.collect::<Vec<_>>().join("\n");
        assert!(typed.contains("\nfeed_s = 5") && !typed.contains("\nkeep"), "{typed}");
        assert_eq!(parse(&typed).unwrap(), devices);
    }

    #[test]
    fn every_kind_of_panel_has_its_defaults() {
        let panel = |lines: &str| parse(&format!("[panel]\n{lines}\n")).unwrap().panel;
        let (rotation, backlight) = (Rotation::Upright, None);
        assert_eq!(
            panel("kind = 'framebuffer'"),
            PanelConfig::Framebuffer { device: "/dev/fb0".into(), rotation, channels: None, backlight }
        );
        let mode = Some(DisplayMode { width: 800, height: 480, refresh_hz: Some(60) });
        let kernel = BacklightConfig::Kernel { name: "10-0045".into(), percent: 40 };
        assert_eq!(
            panel("kind = 'drm'\ndisplay_mode = '800x480@60'\nbacklight = '10-0045'\nbrightness_percent = 40"),
            PanelConfig::Drm {
                device: "/dev/dri/card0".into(),
                connector: None,
                mode,
                rotation,
                backlight: Some(kernel)
            }
        );
        assert_eq!(panel("kind = 'terminal'"), PanelConfig::Terminal);
        let png = PanelConfig::Png { folder: "s".into(), size: (800, 480), keep: 100 };
        assert_eq!(panel("kind = 'png'\nfolder = 's'"), png);
        for controller in Controller::ALL {
            let PanelConfig::Spi(spi) = panel(&format!("kind = '{}'\ndc = 'D'", controller.name())) else {
                panic!("{controller:?}")
            };
            assert_eq!((spi.controller, spi.size), (controller, controller.memory()));
        }
    }

    #[test]
    fn a_line_that_is_used_twice_is_refused_with_both_keys() {
        spi_refused("reset = 'D'", "panel.reset is \"D\", expected another one than panel.dc, which uses it already");
        let lamp = "[[lamps]]\nrole = 'fault'\nline = '/dev/gpiochip0:7'\n";
        let button = |line, key| format!("[[buttons]]\nline = '{line}'\nkey = '{key}'\n");
        let text = format!(
            "[panel]\nkind = 'terminal'\n{}{}{lamp}",
            button("gpiochip0:6", "next"),
            button("gpiochip0:7", "select")
        );
        let told = "lamps[0].line is \"gpiochip0:7\", expected another one than buttons[1].line, which uses it already";
        refused(&text, told);
        let led = "[[lamps]]\nrole = 'fault'\nled = 'ACT'\n";
        let told = "lamps[1].led is \"ACT\", expected another one than lamps[0].led, which uses it already";
        refused(&format!("[panel]\nkind = 'terminal'\n{led}{led}"), told);
    }

    #[test]
    fn buttons_that_would_trap_a_person_are_refused() {
        let text = "[panel]\nkind = 'terminal'\n[[buttons]]\nline = 'A'\nkey = 'next'\n";
        let told = "buttons is next, expected one for select too: without it there are screens that nobody can leave";
        refused(text, told);
        assert!(parse(&format!("{text}[touch]\n")).is_ok());
    }

    #[test]
    fn every_rejection_names_key_value_and_range() {
        refused(
            "[panel]\nkind = 'lcd'",
            "panel.kind is \"lcd\", expected framebuffer, drm, st7789, st7796, ili9341, ili9486, terminal or png",
        );
        refused("[panel]\nkind = 'drm'\ndc = 'A'", "panel.dc is given, expected nothing: a drm panel has no such key");
        refused(
            "[panel]\nkind = 'terminal'\nbacklight = 'A'",
            "panel.backlight is given, expected nothing: a terminal panel has no such key",
        );
        refused("[panel]\nkind = 'st7789'", &format!("panel.dc is missing, expected {LINE}"));
        refused("[panel]\nkind = 'framebuffer'\nchannels = 'gbr'", "panel.channels is \"gbr\", expected rgb or bgr");
        for mode in ["", "800", "800x", "0x0", "800x480@", "800x480@0", "800 x 480"] {
            let told = format!(
                "panel.display_mode is {mode:?}, expected columns and rows such as 800x480, with pictures a second \
                 such as 800x480@60"
            );
            refused(&format!("[panel]\nkind = 'drm'\ndisplay_mode = '{mode}'"), &told);
        }
        refused("[panel]\nkind = 'png'", "panel.folder is empty, expected the path of a folder");
        refused(
            "[panel]\nkind = 'png'\nfolder = 'f'\nsize = [63, 480]",
            "panel.size is [63, 480], expected [64, 64] to [4096, 4096]",
        );
        refused("[panel]\nkind = 'png'\nfolder = 'f'\nkeep = 0", "panel.keep is 0, expected 1 to 100000");
        refused("[panel]\nkind = 'drm'\ndevice = ''", "panel.device is empty, expected the path of a device");

        spi_refused("rotation = 45", "panel.rotation is 45, expected 0, 90, 180 or 270");
        spi_refused("size = [240, 321]", "panel.size is [240, 321], expected [1, 1] to [240, 320]");
        spi_refused("size = [240, 240]\noffset = [0, 81]", "panel.offset is [0, 81], expected [0, 0] to [0, 80]");
        spi_refused("speed_hz = 99", "panel.speed_hz is 99, expected 100000 to 125000000");
        spi_refused("mode = 4", "panel.mode is 4, expected 0 to 3");
        spi_refused(
            "backlight = '../x'",
            "panel.backlight is \"../x\", expected the name of a folder of /sys/class/backlight",
        );
        spi_refused("backlight = 'b'\nbrightness_percent = 0", "panel.brightness_percent is 0, expected 1 to 100");
        spi_refused(
            "brightness_percent = 50",
            "panel.brightness_percent is given, expected nothing without panel.backlight",
        );
        spi_refused(
            "backlight_active_low = true",
            "panel.backlight_active_low is given, expected nothing without panel.backlight_line",
        );
        spi_refused(
            "backlight = 'b'\nbacklight_line = 'L'",
            "panel.backlight_line is given, expected nothing where panel.backlight is given: one of them lights the \
             panel",
        );
        for bad in ["", "gpiochip0:", "gpiochip0:x", "gpiochip0:+1", "gpiochip0:1024", ":1", "a b"] {
            spi_refused(&format!("reset = '{bad}'"), &format!("panel.reset is {bad:?}, expected {LINE}"));
        }

        let terminal = |tables: &str| format!("[panel]\nkind = 'terminal'\n{tables}");
        let button = |line: &str| terminal(&format!("[[buttons]]\nline = 'A'\n{line}\n"));
        refused(&button("key = 'up'"), "buttons[0].key is \"up\", expected previous, next, select or back");
        refused(
            &button("key = 'next'\nlong = 'up'"),
            "buttons[0].long is \"up\", expected previous, next, select, back or none",
        );
        refused(&button("key = 'next'\ndebounce_ms = 501"), "buttons[0].debounce_ms is 501, expected 1 to 500");
        refused(
            &terminal("[keyboard]\ndevice = 'usb'"),
            "keyboard.device is \"usb\", expected auto, terminal or the path of a device such as /dev/input/event0",
        );
        refused(
            &terminal("[keyboard]\nnext = ['N']"),
            "keyboard.next is \"N\", expected up, down, left, right, enter, space, esc, tab, backspace, pageup, \
             pagedown, home, end, a to z or 0 to 9",
        );
        refused(
            &terminal("[keyboard]\nback = ['tab']"),
            "keyboard.back is \"tab\", expected another key than keyboard.next has",
        );
        refused(
            &terminal("[touch]\ndevice = 'x'"),
            "touch.device is \"x\", expected auto or the path of a device such as /dev/input/event0",
        );
        refused(&terminal("[touch]\nrotation = 1"), "touch.rotation is 1, expected 0, 90, 180 or 270");
        let lamp = |lines: &str| terminal(&format!("[[lamps]]\n{lines}\n"));
        refused(&lamp("role = 'on'\nline = 'A'"), "lamps[0].role is \"on\", expected ready, busy, attention or fault");
        refused(&lamp("role = 'busy'"), "lamps[0] is without line or led, expected one of them");
        refused(&lamp("role = 'busy'\nline = 'A'\nled = 'B'"), "lamps[0] is line and led, expected one of them");
        refused(
            &lamp("role = 'busy'\nled = 'B'\nactive_low = true"),
            "lamps[0].active_low is given, expected nothing without a line",
        );
        refused(
            &lamp("role = 'busy'\nled = ''"),
            "lamps[0].led is \"\", expected the name of a folder of /sys/class/leds",
        );
        refused(&terminal("[watchdog]\nfeed_s = 8"), "watchdog.feed_s is 8, expected 1 to 7");
        refused(&terminal("[watchdog]\ndevice = ''"), "watchdog.device is empty, expected the path of a device");
    }

    #[test]
    fn unknown_and_missing_keys_are_named() {
        let told = |text: &str| parse(text).unwrap_err().to_string();
        assert!(told("[panel]\nkind = 'terminal'\ncolour = 1").contains("unknown field `colour`"));
        assert!(told("[panel]\n").contains("missing field `kind`"));
        assert!(told("[[buttons]]\nline = 'A'\nkey = 'next'").contains("missing field `panel`"));
    }
}
