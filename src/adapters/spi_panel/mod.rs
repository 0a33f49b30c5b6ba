//! Panels on an SPI bus, through mipidsi: the controller turns the picture, and only areas that changed are sent.

#[cfg(test)]
mod fake;

use std::fmt::Display as Told;

use embedded_graphics::pixelcolor::{Rgb565, Rgb666};
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiDevice;
use linux_embedded_hal::spidev::{SpiModeFlags, SpidevOptions};
use linux_embedded_hal::{CdevPin, Delay, SpidevDevice};
use mipidsi::interface::{Interface, InterfaceKind, InterfacePixelFormat};
use mipidsi::models::{ILI9341Rgb565, ILI9486Rgb666, Model, ST7789, ST7796};
use mipidsi::options::{ColorInversion, ColorOrder, Orientation};
use mipidsi::{Builder, Display, InitError};

use super::backlight::Backlight;
use super::damage::{Area, Shown, row_of};
use super::framebuffer::{display, fits, levels};
use super::gpio::output_handle;
use crate::config::{Controller, GpioLine, SpiPanelConfig};
use crate::domain::{Frame, Rotation};
use crate::ports::{DeviceError, Panel, PanelError};

/// Bytes of one transfer: spidev takes no more unless its module was told so (`bufsiz`).
pub const MOST_BYTES: usize = 4096;

/// Shows pictures on a panel.
pub struct SpiPanel {
    name: String,
    size: (u32, u32),
    glass: Box<dyn Glass + Send>,
    shown: Shown,
    backlight: Option<Backlight>,
    /// It is dark until it has a picture: the controller's memory is full of noise.
    blank: bool,
}

impl SpiPanel {
    /// Opens the bus and the lines that `config` names, and starts the controller.
    ///
    /// # Errors
    /// When one of them is not there, may not be opened or is used by somebody else.
    pub fn open(config: &SpiPanelConfig) -> Result<Self, DeviceError> {
        let name = display(&config.device);
        let mut spi = SpidevDevice::open(&config.device).map_err(|error| DeviceError::new("open", &name, error))?;
        let mode = match config.mode {
            1 => SpiModeFlags::SPI_MODE_1,
            2 => SpiModeFlags::SPI_MODE_2,
            3 => SpiModeFlags::SPI_MODE_3,
            _ => SpiModeFlags::SPI_MODE_0,
        };
        let options = SpidevOptions::new().bits_per_word(8).max_speed_hz(config.speed_hz).mode(mode).build();
        spi.configure(&options).map_err(|error| DeviceError::new("set the speed of", &name, error))?;
        let pin = |line: &GpioLine, high| {
            let handle = output_handle(line, false, high)?;
            CdevPin::new(handle).map_err(|error| DeviceError::new("drive", format!("GPIO line {line}"), error))
        };
        let dc = pin(&config.dc, true)?;
        let reset = config.reset.as_ref().map(|line| pin(line, true)).transpose()?;
        let backlight = config.backlight.as_ref().map(Backlight::open).transpose()?;
        Self::over(config, spi, dc, reset, Delay, backlight)
    }

    /// Starts the controller behind `spi`, which is told commands from data by `dc`.
    ///
    /// # Errors
    /// When the bus or a line fails.
    pub fn over<SPI, DC, RST, D>(
        config: &SpiPanelConfig,
        spi: SPI,
        dc: DC,
        reset: Option<RST>,
        delay: D,
        backlight: Option<Backlight>,
    ) -> Result<Self, DeviceError>
    where
        SPI: SpiDevice<Error: Told> + Send + 'static,
        DC: OutputPin<Error: Told> + Send + 'static,
        RST: OutputPin<Error: Told> + Send + 'static,
        D: DelayNs + Send + 'static,
    {
        let bus = Bus { spi, dc, buffer: Vec::with_capacity(MOST_BYTES) };
        let glass = match config.controller {
            Controller::St7789 => start(ST7789, config, bus, reset, delay),
            Controller::St7796 => start(ST7796, config, bus, reset, delay),
            Controller::Ili9341 => start(ILI9341Rgb565, config, bus, reset, delay),
            Controller::Ili9486 => start(ILI9486Rgb666, config, bus, reset, delay),
        };
        let name = format!("{} on {}", config.controller.name(), config.device.display());
        let glass = glass.map_err(|told| DeviceError::new("start", &name, told))?;
        let size = config.rotation.turn_size((config.size.0.into(), config.size.1.into()));
        Ok(Self { name, size, glass, shown: Shown::default(), backlight, blank: true })
    }
}

impl Panel for SpiPanel {
    fn show(&mut self, frame: &Frame) -> Result<(), PanelError> {
        fits(&self.name, self.size, frame)?;
        for area in self.shown.changed_areas(frame) {
            if let Err(told) = self.glass.push(&area, frame) {
                self.shown.forget();
                return Err(DeviceError::new("draw on", &self.name, told).into());
            }
        }
        self.shown.is(frame);
        if self.blank {
            self.set_lit(true)?;
        }
        Ok(())
    }

    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn set_lit(&mut self, lit: bool) -> Result<(), PanelError> {
        match &mut self.backlight {
            Some(backlight) => backlight.set_lit(lit)?,
            None if self.glass.sleeps() == lit => {
                let operation = if lit { "light" } else { "darken" };
                self.glass.sleep(!lit).map_err(|told| DeviceError::new(operation, &self.name, told))?;
            }
            None => {}
        }
        self.blank = false;
        Ok(())
    }
}

/// A controller with its memory, whatever its kind.
trait Glass {
    fn push(&mut self, area: &Area, frame: &Frame) -> Result<(), String>;
    fn sleep(&mut self, asleep: bool) -> Result<(), String>;
    fn sleeps(&self) -> bool;
}

struct Started<BUS: Interface, M: Model, RST: OutputPin, D>
where
    M::ColorFormat: InterfacePixelFormat<BUS::Word>,
{
    display: Display<BUS, M, RST>,
    delay: D,
}

/// A colour of a controller.
trait Colour {
    fn nearest(rgb: [u8; 3]) -> Self;
}

impl Colour for Rgb565 {
    fn nearest([red, green, blue]: [u8; 3]) -> Self {
        Self::new(levels(red, 31) as u8, levels(green, 63) as u8, levels(blue, 31) as u8)
    }
}

impl Colour for Rgb666 {
    fn nearest(rgb: [u8; 3]) -> Self {
        let [red, green, blue] = rgb.map(|value| levels(value, 63) as u8);
        Self::new(red, green, blue)
    }
}

impl<BUS, M, RST, D> Glass for Started<BUS, M, RST, D>
where
    BUS: Interface<Word = u8, Error = String>,
    M: Model<ColorFormat: InterfacePixelFormat<u8> + Colour>,
    RST: OutputPin,
    D: DelayNs,
{
    fn push(&mut self, area: &Area, frame: &Frame) -> Result<(), String> {
        let columns = area.x..area.x + area.width;
        let rows = area.y..area.y + area.height;
        let pixels = rows.clone().flat_map(|row| row_of(frame, row, &columns));
        let pixels = pixels.map(|rgb| M::ColorFormat::nearest(*rgb));
        // No controller has more than 480 rows or columns.
        let [left, top, right, bottom] = [columns.start, rows.start, columns.end - 1, rows.end - 1].map(|at| at as u16);
        self.display.set_pixels(left, top, right, bottom, pixels)
    }

    fn sleep(&mut self, asleep: bool) -> Result<(), String> {
        if asleep { self.display.sleep(&mut self.delay) } else { self.display.wake(&mut self.delay) }
    }

    fn sleeps(&self) -> bool {
        self.display.is_sleeping()
    }
}

/// Resets the controller, by its line where it has one, and sets it up.
fn start<M, SPI, DC, RST, D>(
    model: M,
    config: &SpiPanelConfig,
    bus: Bus<SPI, DC>,
    reset: Option<RST>,
    mut delay: D,
) -> Result<Box<dyn Glass + Send>, String>
where
    M: Model<ColorFormat: InterfacePixelFormat<u8> + Colour> + Send + 'static,
    SPI: SpiDevice<Error: Told> + Send + 'static,
    DC: OutputPin<Error: Told> + Send + 'static,
    RST: OutputPin<Error: Told> + Send + 'static,
    D: DelayNs + Send + 'static,
{
    let rotation = match config.rotation {
        Rotation::Upright => mipidsi::options::Rotation::Deg0,
        Rotation::Quarter => mipidsi::options::Rotation::Deg90,
        Rotation::Half => mipidsi::options::Rotation::Deg180,
        Rotation::ThreeQuarters => mipidsi::options::Rotation::Deg270,
    };
    let builder = Builder::new(model, bus)
        .display_size(config.size.0, config.size.1)
        .display_offset(config.offset.0, config.offset.1)
        .orientation(Orientation { rotation, mirrored: config.mirror })
        .invert_colors(if config.invert { ColorInversion::Inverted } else { ColorInversion::Normal })
        .color_order(if config.bgr { ColorOrder::Bgr } else { ColorOrder::Rgb });
    match reset {
        Some(pin) => {
            let display = builder.reset_pin(pin).init(&mut delay).map_err(told)?;
            Ok(Box::new(Started { display, delay }))
        }
        None => {
            let display = builder.init(&mut delay).map_err(told)?;
            Ok(Box::new(Started { display, delay }))
        }
    }
}

fn told<P: Told>(error: InitError<String, P>) -> String {
    match error {
        InitError::Interface(told) => told,
        InitError::ResetPin(pin) => format!("the reset line does not move: {pin}"),
        InitError::InvalidConfiguration(what) => format!("the controller cannot be set up so: {what:?}"),
    }
}

/// The bus, in transfers that spidev takes.
struct Bus<SPI, DC> {
    spi: SPI,
    dc: DC,
    buffer: Vec<u8>,
}

impl<SPI: SpiDevice<Error: Told>, DC: OutputPin<Error: Told>> Bus<SPI, DC> {
    fn write(spi: &mut SPI, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() { Ok(()) } else { spi.write(bytes).map_err(|error| format!("the bus fails: {error}")) }
    }

    fn data(&mut self, is_data: bool) -> Result<(), String> {
        let set = if is_data { self.dc.set_high() } else { self.dc.set_low() };
        set.map_err(|error| format!("the line dc does not move: {error}"))
    }
}

impl<SPI: SpiDevice<Error: Told>, DC: OutputPin<Error: Told>> Interface for Bus<SPI, DC> {
    type Word = u8;
    type Error = String;

    const KIND: InterfaceKind = InterfaceKind::Serial4Line;

    fn send_command(&mut self, command: u8, args: &[u8]) -> Result<(), String> {
        self.data(false)?;
        Self::write(&mut self.spi, &[command])?;
        self.data(true)?;
        Self::write(&mut self.spi, args)
    }

    fn send_pixels<const N: usize>(&mut self, pixels: impl IntoIterator<Item = [u8; N]>) -> Result<(), String> {
        self.buffer.clear();
        for pixel in pixels {
            if self.buffer.len() + N > MOST_BYTES {
                Self::write(&mut self.spi, &self.buffer)?;
                self.buffer.clear();
            }
            self.buffer.extend(pixel);
        }
        Self::write(&mut self.spi, &self.buffer)
    }

    fn send_repeated_pixel<const N: usize>(&mut self, pixel: [u8; N], count: u32) -> Result<(), String> {
        self.send_pixels((0..count).map(|_| pixel))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::damage::tests::{Noise, damaged, noisy};
    use super::fake::{FakeController, rgb};
    use super::*;
    use crate::config::{Board, PanelConfig};

    fn config(controller: Controller, size: (u16, u16), offset: (u16, u16), rotation: Rotation) -> SpiPanelConfig {
        SpiPanelConfig {
            controller,
            device: "/dev/spidev0.0".into(),
            dc: GpioLine::Named("DC".to_owned()),
            reset: None,
            size,
            offset,
            rotation,
            speed_hz: 32_000_000,
            mode: 0,
            invert: false,
            bgr: false,
            mirror: false,
            backlight: None,
        }
    }

    fn panel(config: &SpiPanelConfig, with_reset: bool) -> (SpiPanel, FakeController) {
        let fake = FakeController::new(config.controller.memory());
        let reset = with_reset.then(|| fake.reset_pin());
        let panel = SpiPanel::over(config, fake.bus(), fake.dc_pin(), reset, fake.delay(), None).unwrap();
        (panel, fake)
    }

    /// What a person sees of the glass: columns and rows as it was built.
    fn seen(fake: &FakeController, config: &SpiPanelConfig) -> Frame {
        let (width, height) = (u32::from(config.size.0), u32::from(config.size.1));
        let mut glass = Frame::new(width, height);
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            glass.set(x, y, fake.pixel(x + u32::from(config.offset.0), y + u32::from(config.offset.1)));
        }
        glass
    }

    /// The frame in the controller's colours, turned as the panel is built in.
    fn expected(frame: &Frame, config: &SpiPanelConfig) -> Frame {
        let (width, height) = (u32::from(config.size.0), u32::from(config.size.1));
        let mut glass = Frame::new(width, height);
        let size = (frame.width(), frame.height());
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            let at = config.rotation.to_frame((x, y), size);
            let [red, green, blue] = frame.get(at.0, at.1).unwrap();
            let colour = match config.controller {
                Controller::Ili9486 => [red, green, blue].map(|value| rgb(u32::from(levels(value, 63)), 63)),
                Controller::St7789 | Controller::St7796 | Controller::Ili9341 => [
                    rgb(u32::from(levels(red, 31)), 31),
                    rgb(u32::from(levels(green, 63)), 63),
                    rgb(u32::from(levels(blue, 31)), 31),
                ],
            };
            glass.set(x, y, colour);
        }
        glass
    }

    #[track_caller]
    fn check(frame: &Frame, fake: &FakeController, config: &SpiPanelConfig) {
        let (seen, expected) = (seen(fake, config), expected(frame, config));
        let wrong = seen.pixels().iter().zip(expected.pixels()).position(|(seen, expected)| seen != expected);
        if let Some(index) = wrong {
            let at = (index % expected.width() as usize, index / expected.width() as usize);
            panic!(
                "{:?} turned by {}°: {:?} at {at:?}, expected {:?}",
                config.controller,
                config.rotation.degrees(),
                seen.pixels()[index],
                expected.pixels()[index]
            );
        }
    }

    #[test]
    fn every_controller_shows_the_frame_in_every_rotation() {
        let mut noise = Noise(5);
        for controller in Controller::ALL {
            for rotation in Rotation::ALL {
                let config = config(controller, controller.memory(), (0, 0), rotation);
                let (mut panel, fake) = panel(&config, rotation != Rotation::Half);
                let (width, height) = panel.size();
                let frame = noisy(width, height, &mut noise);
                panel.show(&frame).unwrap();
                check(&frame, &fake, &config);
                assert!(fake.is_on());
            }
        }
    }

    #[test]
    fn partial_updates_come_to_the_same_as_a_full_redraw() {
        let mut noise = Noise(13);
        for controller in Controller::ALL {
            for rotation in Rotation::ALL {
                let config = config(controller, (96, 80), (8, 20), rotation);
                let (mut panel, fake) = panel(&config, true);
                let (width, height) = panel.size();
                let mut frame = noisy(width, height, &mut noise);
                for _ in 0..25 {
                    panel.show(&frame).unwrap();
                    check(&frame, &fake, &config);
                    frame = damaged(&frame, &mut noise);
                }
            }
        }
    }

    /// A golden picture of the kiosk's screens.
    fn golden(name: &str) -> Frame {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ui").join(name);
        let picture = image::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_rgb8();
        let mut frame = Frame::new(picture.width(), picture.height());
        for (x, y, pixel) in picture.enumerate_pixels() {
            frame.set(x, y, pixel.0);
        }
        frame
    }

    #[test]
    fn the_golden_screens_are_seen_on_the_panel_of_a_board_file() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("board/rpi-zero-2w.toml");
        let PanelConfig::Spi(config) = Board::read(&path).unwrap().devices.panel else { panic!("it has an SPI panel") };
        // Glass as the board file says that it is.
        let fake = FakeController::with_glass(config.controller.memory(), [config.bgr, config.invert, config.mirror]);
        let reset = Some(fake.reset_pin());
        let mut panel = SpiPanel::over(&config, fake.bus(), fake.dc_pin(), reset, fake.delay(), None).unwrap();
        for name in ["starting", "ready", "reading", "verdict-covid19", "map", "verdict-rejected", "review", "fault"] {
            let golden = golden(&format!("{name}-320x240-en.png"));
            panel.show(&golden).unwrap();
            check(&golden, &fake, &config);
            // Upright for whoever stands before it, and no further from the picture than the panel's 5 and 6 bits are.
            let glass = seen(&fake, &config);
            for (x, y) in [(0, 0), (319, 0), (0, 239), (319, 239), (160, 20), (40, 120), (250, 200)] {
                let shown = (0..glass.height())
                    .flat_map(|row| (0..glass.width()).map(move |column| (column, row)))
                    .find(|at| config.rotation.to_frame(*at, (320, 240)) == (x, y))
                    .and_then(|(column, row)| glass.get(column, row))
                    .unwrap();
                let wanted = golden.get(x, y).unwrap();
                let apart = shown.iter().zip(wanted).map(|(shown, wanted)| shown.abs_diff(wanted)).max();
                assert!(apart <= Some(5), "{name} at {x}, {y}: {shown:?}, expected {wanted:?}");
            }
        }
    }

    #[test]
    fn glass_that_is_smaller_than_the_memory_lies_where_it_is_said_to() {
        // 240 × 240 glass on an ST7789, at either end of its memory; 135 × 240 in its middle.
        for (size, offset) in [((240, 240), (0, 0)), ((240, 240), (0, 80)), ((135, 240), (52, 40))] {
            for rotation in Rotation::ALL {
                let config = config(Controller::St7789, size, offset, rotation);
                let (mut panel, fake) = panel(&config, true);
                let (width, height) = panel.size();
                let frame = noisy(width, height, &mut Noise(17));
                panel.show(&frame).unwrap();
                check(&frame, &fake, &config);
            }
        }
    }

    #[test]
    fn swapped_colours_negatives_and_mirrors_are_set_right() {
        for rotation in Rotation::ALL {
            let plain = config(Controller::Ili9341, (240, 320), (0, 0), rotation);
            let (bgr, invert) =
                (SpiPanelConfig { bgr: true, ..plain.clone() }, SpiPanelConfig { invert: true, ..plain.clone() });
            let mirror = SpiPanelConfig { mirror: true, ..plain.clone() };
            let size = rotation.turn_size((240, 320));
            let frame = noisy(size.0, size.1, &mut Noise(19));
            for (config, glass) in [
                (&plain, [false; 3]),
                (&bgr, [true, false, false]),
                (&invert, [false, true, false]),
                (&mirror, [false, false, true]),
            ] {
                let fake = FakeController::with_glass(config.controller.memory(), glass);
                let none = None::<fake::FakePin>;
                let mut panel = SpiPanel::over(config, fake.bus(), fake.dc_pin(), none, fake.delay(), None).unwrap();
                panel.show(&frame).unwrap();
                check(&frame, &fake, &plain);
            }
        }
    }

    #[test]
    fn only_what_changed_is_sent() {
        let config = config(Controller::St7789, (240, 320), (0, 0), Rotation::Quarter);
        let (mut panel, fake) = panel(&config, true);
        let mut frame = noisy(320, 240, &mut Noise(23));
        panel.show(&frame).unwrap();
        let full = fake.take_pixel_bytes();
        assert_eq!(full, 320 * 240 * 2);
        panel.show(&frame).unwrap();
        assert_eq!(fake.take_pixel_bytes(), 0);
        for (x, y) in (200..224).flat_map(|y| (10..90).map(move |x| (x, y))) {
            frame.set(x, y, [255, 0, 0]);
        }
        panel.show(&frame).unwrap();
        assert_eq!(fake.take_pixel_bytes(), 80 * 24 * 2);
        check(&frame, &fake, &config);
    }

    #[test]
    fn a_panel_without_backlight_sleeps_and_keeps_its_picture() {
        let config = config(Controller::St7789, (240, 320), (0, 0), Rotation::Upright);
        let (mut panel, fake) = panel(&config, true);
        let frame = noisy(240, 320, &mut Noise(29));
        panel.show(&frame).unwrap();
        panel.set_lit(false).unwrap();
        assert!(!fake.is_on());
        panel.set_lit(false).unwrap();
        panel.set_lit(true).unwrap();
        panel.set_lit(true).unwrap();
        assert!(fake.is_on());
        check(&frame, &fake, &config);
    }

    #[test]
    fn after_a_bus_error_everything_is_sent_again() {
        let config = config(Controller::Ili9486, (320, 480), (0, 0), Rotation::Upright);
        let (mut panel, fake) = panel(&config, true);
        let frame = noisy(320, 480, &mut Noise(31));
        panel.show(&frame).unwrap();
        fake.fail_after(3);
        let next = damaged(&noisy(320, 480, &mut Noise(37)), &mut Noise(41));
        let told = panel.show(&next).unwrap_err().to_string();
        assert_eq!(told, "cannot draw on ili9486 on /dev/spidev0.0: the bus fails: unplugged");
        fake.works_again();
        panel.show(&next).unwrap();
        check(&next, &fake, &config);
    }

    #[test]
    fn a_bus_that_fails_at_the_start_is_named() {
        let config = config(Controller::St7796, (320, 480), (0, 0), Rotation::Upright);
        let fake = FakeController::new(config.controller.memory());
        fake.fail_after(0);
        let reset = None::<fake::FakePin>;
        let Err(told) = SpiPanel::over(&config, fake.bus(), fake.dc_pin(), reset, fake.delay(), None) else {
            panic!("it started")
        };
        assert_eq!(told.to_string(), "cannot start st7796 on /dev/spidev0.0: the bus fails: unplugged");
        let Err(told) = SpiPanel::open(&SpiPanelConfig { device: "/dev/no-spi".into(), ..config }) else {
            panic!("there is such a bus")
        };
        assert_eq!(told.to_string(), "cannot open /dev/no-spi: No such file or directory (os error 2)");
    }
}
