//! A panel that is a Linux framebuffer (`/dev/fb0`): its form is read from sysfs, its rows are written like a file.
//!
//! A framebuffer tears; where there is a DRM driver, [`super::drm`] does not.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::backlight::Backlight;
use super::damage::Shown;
use crate::config::ChannelOrder;
use crate::domain::{Frame, Rotation};
use crate::ports::{DeviceError, Panel, PanelError};

/// Where the kernel describes its framebuffers.
const SYSFS: &str = "/sys/class/graphics";

/// How one pixel is stored, the lowest byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelFormat {
    /// How many bytes, and of which form.
    pub depth: Depth,
    /// Which colour has the highest bits.
    pub order: ChannelOrder,
}

/// How many bits a pixel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Five for red and blue, six for green.
    Sixteen,
    /// Eight for each colour.
    TwentyFour,
    /// Eight for each colour and eight that are set, for panels that take them as opacity.
    ThirtyTwo,
}

impl PixelFormat {
    /// Bytes of a pixel.
    pub fn bytes(self) -> usize {
        match self.depth {
            Depth::Sixteen => 2,
            Depth::TwentyFour => 3,
            Depth::ThirtyTwo => 4,
        }
    }

    /// Appends `pixels` as they are stored.
    pub fn encode(self, pixels: &[[u8; 3]], out: &mut Vec<u8>) {
        for [red, green, blue] in pixels.iter().copied() {
            let (high, low) = match self.order {
                ChannelOrder::Rgb => (red, blue),
                ChannelOrder::Bgr => (blue, red),
            };
            match self.depth {
                Depth::Sixteen => {
                    let word = (levels(high, 31) << 11) | (levels(green, 63) << 5) | levels(low, 31);
                    out.extend(word.to_le_bytes());
                }
                Depth::TwentyFour => out.extend([low, green, high]),
                Depth::ThirtyTwo => out.extend([low, green, high, 0xff]),
            }
        }
    }
}

/// A value of 0 to 255 as the nearest of 0 to `most`.
pub(super) fn levels(value: u8, most: u16) -> u16 {
    // 127 is half of 255: rounds to the nearest.
    ((u32::from(value) * u32::from(most) + 127) / 255) as u16
}

/// How a framebuffer's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Columns and rows that are seen.
    pub size: (u32, u32),
    /// Column and row of the memory that is seen in the upper left corner.
    pub origin: (u32, u32),
    /// Bytes from one row to the next.
    pub stride: u32,
    /// How a pixel is stored.
    pub format: PixelFormat,
}

impl Layout {
    /// Reads the form from `folder`, a framebuffer's in sysfs. `order` goes before what the device tree says.
    fn read(folder: &Path, order: Option<ChannelOrder>) -> Result<Self, LayoutError> {
        let text = |name: &str| {
            let path = folder.join(name);
            match fs::read_to_string(&path) {
                Ok(text) => Ok(text.trim().to_owned()),
                Err(source) => Err(LayoutError::Unreadable { path, source }),
            }
        };
        let pair = |name: &str| {
            let text = text(name)?;
            let numbers =
                text.split_once(',').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
            numbers.ok_or_else(|| LayoutError::Unexpected {
                path: folder.join(name),
                found: text,
                expected: "two numbers",
            })
        };
        let number = |name: &str| {
            let text = text(name)?;
            text.parse::<u32>().map_err(|_| LayoutError::Unexpected {
                path: folder.join(name),
                found: text,
                expected: "a number",
            })
        };
        let depth = match number("bits_per_pixel")? {
            16 => Depth::Sixteen,
            24 => Depth::TwentyFour,
            32 => Depth::ThirtyTwo,
            other => {
                return Err(LayoutError::Unexpected {
                    path: folder.join("bits_per_pixel"),
                    found: other.to_string(),
                    expected: "16, 24 or 32; set the depth with the kernel's parameter video= or in config.txt",
                });
            }
        };
        let memory: (u32, u32) = pair("virtual_size")?;
        let origin: (u32, u32) = pair("pan").unwrap_or((0, 0));
        // Only where the memory is larger than the panel do they differ; not every driver tells its mode.
        let seen = text("mode").or_else(|_| text("modes")).ok().and_then(|text| mode_size(&text));
        let size = seen.unwrap_or(memory);
        let order = order.or_else(|| tree_order(folder)).unwrap_or(ChannelOrder::Rgb);
        let layout = Self { size, origin, stride: number("stride")?, format: PixelFormat { depth, order } };
        let columns = u64::from(size.0) + u64::from(origin.0);
        let needed = columns * layout.format.bytes() as u64;
        let rows = u64::from(size.1) + u64::from(origin.1);
        if size.0 == 0 || size.1 == 0 || needed > layout.stride.into() || rows > memory.1.into() {
            return Err(LayoutError::Inconsistent { folder: folder.to_owned(), layout, memory });
        }
        Ok(layout)
    }

    /// Where the pixel at the start of a row that is seen lies.
    fn offset(&self, row: u32) -> u64 {
        let row = u64::from(self.origin.1) + u64::from(row);
        row * u64::from(self.stride) + u64::from(self.origin.0) * self.format.bytes() as u64
    }
}

/// Columns and rows of a mode such as `U:800x480p-60`, the first of several lines.
fn mode_size(text: &str) -> Option<(u32, u32)> {
    let (_, mode) = text.lines().next()?.split_once(':')?;
    let (width, rest) = mode.split_once('x')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((width.parse().ok()?, rest[..digits].parse().ok()?))
}

/// The order of colours that the device tree gives a simple framebuffer, such as `a8r8g8b8`.
fn tree_order(folder: &Path) -> Option<ChannelOrder> {
    let format = fs::read_to_string(folder.join("device/of_node/format")).ok()?;
    match (format.find('r')?, format.find('b')?) {
        (red, blue) if red < blue => Some(ChannelOrder::Rgb),
        _ => Some(ChannelOrder::Bgr),
    }
}

/// Why a framebuffer's form is not known.
#[derive(Debug, thiserror::Error)]
enum LayoutError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} says {found}, expected {expected}", path.display())]
    Unexpected { path: PathBuf, found: String, expected: &'static str },
    #[error(
        "{} says {} × {} pixels at ({}, {}) of {} × {} with {} bytes a row, which do not fit",
        folder.display(), layout.size.0, layout.size.1, layout.origin.0, layout.origin.1, memory.0, memory.1, layout.stride
    )]
    Inconsistent { folder: PathBuf, layout: Layout, memory: (u32, u32) },
}

/// Shows pictures on a framebuffer.
#[derive(Debug)]
pub struct FramebufferPanel {
    name: String,
    file: File,
    folder: PathBuf,
    layout: Layout,
    rotation: Rotation,
    shown: Shown,
    backlight: Option<Backlight>,
    row_bytes: Vec<u8>,
    /// Dropped last: the console comes back when nothing is drawn any more.
    _console: Console,
}

impl FramebufferPanel {
    /// Opens `device`, whose form is read from sysfs, and takes the text console off it.
    ///
    /// # Errors
    /// When it is not there, may not be written, or has a form that is not known.
    pub fn open(
        device: &Path,
        rotation: Rotation,
        order: Option<ChannelOrder>,
        backlight: Option<Backlight>,
    ) -> Result<Self, DeviceError> {
        let real = fs::canonicalize(device).map_err(|error| DeviceError::new("open", display(device), error))?;
        let folder = Path::new(SYSFS).join(real.file_name().unwrap_or_default());
        let console = Console::taken_off(Path::new("/sys/class/vtconsole"));
        let mut panel = Self::over(device, folder, rotation, order, backlight)?;
        panel._console = console;
        Ok(panel)
    }

    /// Opens `device`, whose form is read from `folder`; the text console stays.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn over(
        device: &Path,
        folder: PathBuf,
        rotation: Rotation,
        order: Option<ChannelOrder>,
        backlight: Option<Backlight>,
    ) -> Result<Self, DeviceError> {
        let name = display(device);
        let file = OpenOptions::new().write(true).open(device);
        let file = file.map_err(|error| DeviceError::new("open", &name, error))?;
        let layout = Layout::read(&folder, order).map_err(|error| DeviceError::new("draw on", &name, error))?;
        let mut panel = Self {
            name,
            file,
            folder,
            layout,
            rotation,
            shown: Shown::default(),
            backlight,
            row_bytes: Vec::new(),
            _console: Console::default(),
        };
        if let Some(backlight) = &mut panel.backlight {
            backlight.set_lit(true)?;
        }
        Ok(panel)
    }

    fn write(&mut self, native: &Frame) -> io::Result<()> {
        let width = native.width() as usize;
        let stride = self.layout.stride as usize;
        for run in self.shown.changed_rows(native) {
            let pixels = &native.pixels()[run.start as usize * width..run.end as usize * width];
            self.row_bytes.clear();
            self.layout.format.encode(pixels, &mut self.row_bytes);
            let row = width * self.layout.format.bytes();
            if row == stride {
                self.file.write_all_at(&self.row_bytes, self.layout.offset(run.start))?;
                continue;
            }
            // What lies between the rows is not ours.
            for (y, bytes) in run.zip(self.row_bytes.chunks_exact(row)) {
                self.file.write_all_at(bytes, self.layout.offset(y))?;
            }
        }
        Ok(())
    }
}

impl Panel for FramebufferPanel {
    fn show(&mut self, frame: &Frame) -> Result<(), PanelError> {
        fits(&self.name, self.size(), frame)?;
        let native = self.rotation.turn(frame);
        match self.write(&native) {
            Ok(()) => {
                self.shown.is(&native);
                Ok(())
            }
            Err(source) => {
                self.shown.forget();
                Err(PanelError::Write { target: self.name.clone(), source })
            }
        }
    }

    fn size(&self) -> (u32, u32) {
        self.rotation.turn_size(self.layout.size)
    }

    fn set_lit(&mut self, lit: bool) -> Result<(), PanelError> {
        if let Some(backlight) = &mut self.backlight {
            return Ok(backlight.set_lit(lit)?);
        }
        // FB_BLANK_UNBLANK and FB_BLANK_POWERDOWN of linux/fb.h.
        let path = self.folder.join("blank");
        match fs::write(&path, if lit { "0" } else { "4" }) {
            Ok(()) => Ok(()),
            // A driver that cannot blank, or sysfs that may not be written: the panel stays lit.
            Err(error) if !lit || error.kind() == io::ErrorKind::NotFound => {
                log::debug!("cannot blank {}: {error}", self.name);
                Ok(())
            }
            Err(error) => Err(DeviceError::new("light", &self.name, error).into()),
        }
    }
}

/// Refuses a frame of another size than `panel` has.
pub(super) fn fits(panel: &str, size: (u32, u32), frame: &Frame) -> Result<(), PanelError> {
    let found = (frame.width(), frame.height());
    if found == size { Ok(()) } else { Err(PanelError::Size { panel: panel.to_owned(), size, frame: found }) }
}

pub(super) fn display(path: &Path) -> String {
    path.display().to_string()
}

/// The kernel's text console, kept off the framebuffer while this lives: its cursor would blink in the picture and its
/// messages would scroll it away.
#[derive(Debug, Default)]
struct Console {
    /// Files that bind it again.
    unbound: Vec<PathBuf>,
}

impl Console {
    /// Unbinds every console of `folder` that is drawn on a framebuffer. Without the right to do so it stays.
    fn taken_off(folder: &Path) -> Self {
        let mut unbound = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let read = |name| fs::read_to_string(path.join(name)).unwrap_or_default();
            if !read("name").contains("frame buffer") || read("bind").trim() != "1" {
                continue;
            }
            match fs::write(path.join("bind"), "0") {
                Ok(()) => unbound.push(path.join("bind")),
                Err(error) => log::info!(
                    "the text console stays on the framebuffer ({}: {error}); its cursor may be seen",
                    path.file_name().unwrap_or(OsStr::new("console")).to_string_lossy()
                ),
            }
        }
        Self { unbound }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        for bind in &self.unbound {
            if let Err(error) = fs::write(bind, "1") {
                log::warn!("the text console does not come back: cannot write {}: {error}", bind.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::damage::tests::{Noise, damaged, noisy};
    use super::*;

    const ORDERS: [ChannelOrder; 2] = [ChannelOrder::Rgb, ChannelOrder::Bgr];
    const DEPTHS: [Depth; 3] = [Depth::Sixteen, Depth::TwentyFour, Depth::ThirtyTwo];

    fn bits(depth: Depth) -> u32 {
        match depth {
            Depth::Sixteen => 16,
            Depth::TwentyFour => 24,
            Depth::ThirtyTwo => 32,
        }
    }

    /// A file that stands for a framebuffer's memory, and a folder that stands for its sysfs.
    struct Memory {
        folder: tempfile::TempDir,
        layout: Layout,
        rows: u32,
    }

    /// What lies in memory that nobody drew on.
    const UNTOUCHED: u8 = 0xA5;

    impl Memory {
        fn new(layout: Layout, rows: u32) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let memory = Self { folder, layout, rows };
            let virtual_columns = layout.stride / layout.format.bytes() as u32;
            memory.say("virtual_size", &format!("{virtual_columns},{rows}"));
            memory.say("pan", &format!("{},{}", layout.origin.0, layout.origin.1));
            memory.say("mode", &format!("U:{}x{}p-60", layout.size.0, layout.size.1));
            memory.say("stride", &layout.stride.to_string());
            memory.say("bits_per_pixel", &bits(layout.format.depth).to_string());
            fs::write(memory.device(), vec![UNTOUCHED; layout.stride as usize * rows as usize]).unwrap();
            memory
        }

        fn say(&self, name: &str, text: &str) {
            fs::write(self.folder.path().join(name), format!("{text}\n")).unwrap();
        }

        fn device(&self) -> PathBuf {
            self.folder.path().join("fb0")
        }

        fn panel(&self, rotation: Rotation) -> Result<FramebufferPanel, DeviceError> {
            let (folder, order) = (self.folder.path().to_owned(), Some(self.layout.format.order));
            FramebufferPanel::over(&self.device(), folder, rotation, order, None)
        }

        /// Checks every byte: pixels of `frame` where it is seen, and nothing anywhere else.
        #[track_caller]
        fn shows(&self, frame: &Frame, rotation: Rotation) {
            let Layout { size, origin, stride, format } = self.layout;
            let bytes = fs::read(self.device()).unwrap();
            let mut expected = vec![UNTOUCHED; stride as usize * self.rows as usize];
            for (x, y) in (0..size.1).flat_map(|y| (0..size.0).map(move |x| (x, y))) {
                let at = rotation.to_frame((x, y), (frame.width(), frame.height()));
                let [red, green, blue] = frame.get(at.0, at.1).unwrap();
                let (high, low) = if format.order == ChannelOrder::Rgb { (red, blue) } else { (blue, red) };
                let place = ((y + origin.1) * stride) as usize + (x + origin.0) as usize * format.bytes();
                match format.depth {
                    Depth::Sixteen => {
                        let share = |value: u8, most: f64| (f64::from(value) / 255.0 * most).round() as u16;
                        let word = share(high, 31.0) * 2048 + share(green, 63.0) * 32 + share(low, 31.0);
                        expected[place..place + 2].copy_from_slice(&[word as u8, (word / 256) as u8]);
                    }
                    Depth::TwentyFour => expected[place..place + 3].copy_from_slice(&[low, green, high]),
                    Depth::ThirtyTwo => expected[place..place + 4].copy_from_slice(&[low, green, high, 255]),
                }
            }
            assert!(bytes == expected, "{:?} turned by {}°", self.layout, rotation.degrees());
        }
    }

    #[test]
    fn every_depth_order_stride_and_rotation_shows_the_frame() {
        let mut noise = Noise(3);
        for (depth, order) in DEPTHS.into_iter().flat_map(|depth| ORDERS.map(|order| (depth, order))) {
            let format = PixelFormat { depth, order };
            for (size, origin, spare) in
                [((7, 5), (0, 0), 0), ((7, 5), (0, 0), 1), ((5, 9), (3, 2), 13), ((1, 1), (0, 1), 2)]
            {
                let (width, height): (u32, u32) = size;
                let stride = (width + origin.0) * format.bytes() as u32 + spare;
                let layout = Layout { size, origin, stride, format };
                for rotation in Rotation::ALL {
                    let memory = Memory::new(layout, height + origin.1 + 1);
                    let mut panel = memory.panel(rotation).unwrap();
                    assert_eq!(panel.size(), rotation.turn_size(size));
                    let (columns, rows) = panel.size();
                    let mut frame = noisy(columns, rows, &mut noise);
                    for _ in 0..4 {
                        panel.show(&frame).unwrap();
                        memory.shows(&frame, rotation);
                        frame = damaged(&frame, &mut noise);
                    }
                }
            }
        }
    }

    fn plain(width: u32, height: u32) -> Layout {
        let format = PixelFormat { depth: Depth::ThirtyTwo, order: ChannelOrder::Rgb };
        Layout { size: (width, height), origin: (0, 0), stride: width * 4, format }
    }

    #[test]
    fn only_rows_that_changed_are_written() {
        let memory = Memory::new(plain(8, 6), 6);
        let mut panel = memory.panel(Rotation::Upright).unwrap();
        let mut frame = noisy(8, 6, &mut Noise(9));
        panel.show(&frame).unwrap();
        // What another program draws stays where nothing changes.
        fs::write(memory.device(), vec![UNTOUCHED; 8 * 6 * 4]).unwrap();
        frame.set(3, 4, [1, 2, 3]);
        panel.show(&frame).unwrap();
        let bytes = fs::read(memory.device()).unwrap();
        let written: Vec<usize> =
            (0..6).filter(|y| bytes[y * 32..][..32].iter().any(|byte| *byte != UNTOUCHED)).collect();
        assert_eq!(written, [4]);
    }

    #[test]
    fn sixteen_bits_keep_black_white_and_the_nearest_level() {
        assert_eq!((levels(0, 31), levels(255, 31), levels(255, 63)), (0, 31, 63));
        for value in 0..=255u8 {
            for most in [31, 63] {
                let exact = f64::from(value) / 255.0 * f64::from(most);
                assert!((f64::from(levels(value, most)) - exact).abs() <= 0.5, "{value} of {most}");
            }
        }
    }

    #[track_caller]
    fn refused(name: &str, text: &str, expected: &str) {
        let memory = Memory::new(plain(8, 6), 6);
        memory.say(name, text);
        let told = memory.panel(Rotation::Upright).unwrap_err().to_string();
        let device = memory.device();
        let folder = memory.folder.path().display();
        assert_eq!(
            told,
            format!("cannot draw on {}: {}", device.display(), expected.replace("DIR", &folder.to_string()))
        );
    }

    #[test]
    fn a_form_that_makes_no_sense_is_refused() {
        refused(
            "bits_per_pixel",
            "8",
            "DIR/bits_per_pixel says 8, expected 16, 24 or 32; set the depth with the kernel's parameter video= or in \
             config.txt",
        );
        refused("virtual_size", "8", "DIR/virtual_size says 8, expected two numbers");
        refused("stride", "", "DIR/stride says , expected a number");
        refused("stride", "31", "DIR says 8 × 6 pixels at (0, 0) of 8 × 6 with 31 bytes a row, which do not fit");
        refused("pan", "0,1", "DIR says 8 × 6 pixels at (0, 1) of 8 × 6 with 32 bytes a row, which do not fit");
        let memory = Memory::new(plain(8, 6), 6);
        fs::remove_file(memory.folder.path().join("stride")).unwrap();
        let told = memory.panel(Rotation::Upright).unwrap_err().to_string();
        assert!(told.contains("/stride: No such file"), "{told}");
    }

    #[test]
    fn a_driver_without_modes_shows_all_of_its_memory() {
        let memory = Memory::new(plain(8, 6), 6);
        memory.say("mode", "");
        assert_eq!(memory.panel(Rotation::Quarter).unwrap().size(), (6, 8));
        assert_eq!(mode_size("U:1280x800p-0\nU:800x600p-0"), Some((1280, 800)));
        assert_eq!(mode_size("800x600"), None);
    }

    #[test]
    fn the_device_tree_tells_the_order_of_colours() {
        let memory = Memory::new(plain(8, 6), 6);
        let tree = memory.folder.path().join("device/of_node");
        fs::create_dir_all(&tree).unwrap();
        for (text, order) in [("a8r8g8b8\0", ChannelOrder::Rgb), ("x8b8g8r8\0", ChannelOrder::Bgr)] {
            fs::write(tree.join("format"), text).unwrap();
            assert_eq!(Layout::read(memory.folder.path(), None).unwrap().format.order, order);
            let named = Layout::read(memory.folder.path(), Some(ChannelOrder::Rgb)).unwrap();
            assert_eq!(named.format.order, ChannelOrder::Rgb);
        }
    }

    #[test]
    fn a_frame_of_another_size_is_refused() {
        let memory = Memory::new(plain(8, 6), 6);
        let mut panel = memory.panel(Rotation::Quarter).unwrap();
        let told = panel.show(&Frame::new(8, 6)).unwrap_err().to_string();
        assert_eq!(told, format!("{} shows 6 × 8 pixels, the frame has 8 × 6", memory.device().display()));
    }

    #[test]
    fn a_device_that_is_gone_is_named() {
        let told = FramebufferPanel::open(Path::new("/dev/no-fb"), Rotation::Upright, None, None).unwrap_err();
        assert_eq!(told.to_string(), "cannot open /dev/no-fb: No such file or directory (os error 2)");
    }

    #[test]
    fn the_console_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        for (name, kind, bind) in [("vtcon0", "(S) dummy device", "0"), ("vtcon1", "(M) frame buffer device", "1")] {
            let console = folder.path().join(name);
            fs::create_dir(&console).unwrap();
            fs::write(console.join("name"), format!("{kind}\n")).unwrap();
            fs::write(console.join("bind"), format!("{bind}\n")).unwrap();
        }
        let bind = |name: &str| fs::read_to_string(folder.path().join(name).join("bind")).unwrap().trim().to_owned();
        let console = Console::taken_off(folder.path());
        assert_eq!((bind("vtcon0"), bind("vtcon1")), ("0".into(), "0".into()));
        drop(console);
        assert_eq!((bind("vtcon0"), bind("vtcon1")), ("0".into(), "1".into()));
    }
}
