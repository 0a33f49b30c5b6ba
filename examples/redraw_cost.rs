//! What a new screen costs: to draw it, and by kind of panel the bytes that are pushed and the processor's time, for the
//! first picture and for the change from one to another.
//!
//! No panel is needed: they are stood for by files, memory and a bus that leads nowhere, so that what the hardware itself
//! takes is not in the times, which are the processor's. The time on an SPI bus is reckoned from its clock. DRM/KMS, for
//! which nothing stands here, copies the rows of 32 bits that changed into memory, as the framebuffer does, and waits for
//! the display's next picture.
//!
//! ```sh
//! G=tests/golden/ui
//! for S in 320x240 800x480; do
//!     cargo run --release --example redraw_cost -- $G/verdict-normal-$S.png $G/verdict-covid19-$S.png
//! done
//! ```
//!
//! With board files behind the pictures, which are of their panels' size, the panels of these are measured and no others, on
//! the board that has them; `tools/board/measure` does so in the emulated one.

use std::cell::Cell;
use std::convert::Infallible;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{self, OutputPin};
use embedded_hal::spi::{self, Operation, SpiDevice};
use lightbox::adapters::damage::Shown;
use lightbox::adapters::devices;
use lightbox::adapters::framebuffer::FramebufferPanel;
use lightbox::adapters::png_panel::PngSequence;
use lightbox::adapters::spi_panel::SpiPanel;
use lightbox::adapters::terminal::{Ink, TerminalScreen};
use lightbox::config::{Board, Controller, Devices, PanelConfig};
use lightbox::domain::{Frame, Rotation};
use lightbox::ports::Panel;
use lightbox::ui::Look;
use rustix::time::{ClockId, clock_gettime};

#[path = "../tests/support/screens.rs"]
mod screens;
#[path = "../tests/support/mod.rs"]
mod support;

const ROUNDS: usize = 21;
type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, boards @ ..] = paths.as_slice() else {
        return Err("usage: redraw_cost FROM.png TO.png [BOARD.toml...]".into());
    };
    let (from, to) = (frame(from)?, frame(to)?);
    println!("median of {ROUNDS}            first picture            the change");
    println!("panel                    bytes      ms          bytes      ms");
    draw((from.width(), from.height()));
    for path in boards {
        let panel = Board::read(Path::new(path))?.devices.panel;
        report(path, &from, &to, || (0, 0), || Ok(devices::open_panel(&panel)? as Box<dyn Panel>))?;
    }
    if !boards.is_empty() {
        return Ok(());
    }
    for bits in [16, 32] {
        for rotation in [Rotation::Upright, Rotation::Quarter] {
            let folder = tempfile::tempdir()?;
            let size = rotation.turn_size((from.width(), from.height()));
            describe(folder.path(), size, bits)?;
            let name = format!("framebuffer {bits} bit, {}°", rotation.degrees());
            let rows = |native: &Frame, shown: &Shown| -> u64 {
                let rows: u32 = shown.changed_rows(native).into_iter().map(|run| run.end - run.start).sum();
                u64::from(rows) * u64::from(native.width()) * bits / 8
            };
            let mut shown = Shown::default();
            let full = rows(&rotation.turn(&from), &shown);
            shown.is(&rotation.turn(&from));
            let change = rows(&rotation.turn(&to), &shown);
            let open = || {
                let device = folder.path().join("fb0");
                Ok(Box::new(FramebufferPanel::over(&device, folder.path().to_owned(), rotation, None, None)?)
                    as Box<dyn Panel>)
            };
            report(&name, &from, &to, || (full, change), open)?;
        }
    }
    for controller in Controller::ALL {
        let config = format!(
            "[panel]\nkind = '{}'\nrotation = 90\ndc = 'D'\nsize = [{}, {}]",
            controller.name(),
            from.height(),
            from.width()
        );
        let Ok(Devices { panel: PanelConfig::Spi(config), .. }) = Devices::parse(&config, Path::new("redraw")) else {
            println!("{:<20} no glass of {} × {}", controller.name(), from.height(), from.width());
            continue;
        };
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = count(&bytes);
        let open = || {
            let bus = Nowhere(bytes.clone());
            let panel = SpiPanel::over(&config, bus, Line, None::<Line>, Line, None)?;
            bytes.store(0, Ordering::Relaxed);
            Ok(Box::new(panel) as Box<dyn Panel>)
        };
        let (full, change) = report(controller.name(), &from, &to, counted, open)?;
        let wire = |bytes: u64| bytes as f64 * 8e3 / f64::from(config.speed_hz);
        println!(
            "  on the bus at {} MHz   {:>9.1} ms        {:>9.1} ms",
            config.speed_hz / 1_000_000,
            wire(full),
            wire(change)
        );
    }
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = count(&bytes);
    let open = || {
        let panel = TerminalScreen::over(Nowhere(bytes.clone()), || Some((160, 50)), Ink::Colour)?;
        bytes.store(0, Ordering::Relaxed);
        Ok(Box::new(panel) as Box<dyn Panel>)
    };
    report("terminal of 160 × 50", &from, &to, counted, open)?;
    let folder = tempfile::tempdir()?;
    let sizes = Cell::new(0);
    let newest = || {
        let files = fs::read_dir(folder.path()).into_iter().flatten().flatten();
        let total = files.map(|file| file.metadata().map_or(0, |data| data.len())).sum::<u64>();
        total - sizes.replace(total)
    };
    let size = (from.width(), from.height());
    let open = || Ok(Box::new(PngSequence::open(folder.path(), size, 1000)?) as Box<dyn Panel>);
    report("png", &from, &to, || (newest(), 0), open)?;
    Ok(())
}

/// The kiosk draws every screen as a whole, with the film at the panel's size.
fn draw((width, height): (u32, u32)) {
    let film = screens::film();
    let mut times: [Vec<Duration>; 2] = Default::default();
    screens::each_screen(&film, |name, screen, keys| {
        let at = match name {
            "verdict-normal" => 0,
            "ready" => 1,
            _ => return,
        };
        for _ in 0..ROUNDS {
            let start = worked();
            screen.draw(&mut Frame::new(width, height), Look { keys, ..Look::default() });
            times[at].push(worked() - start);
        }
    });
    for (name, times) in ["drawing a verdict", "drawing the ready screen"].into_iter().zip(&mut times) {
        println!("{name:<24}        – {:>7.2}", median(times));
    }
}

/// The processor's time that this thread has taken: what else runs on the machine does not count.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// In milliseconds.
fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[ROUNDS / 2].as_secs_f64() * 1e3
}

fn frame(path: &str) -> Result<Frame, Failed> {
    let picture = image::open(path).map_err(|error| format!("{path}: {error}"))?.into_rgb8();
    let mut frame = Frame::new(picture.width(), picture.height());
    for (x, y, pixel) in picture.enumerate_pixels() {
        frame.set(x, y, pixel.0);
    }
    Ok(frame)
}

/// A folder that stands for a framebuffer and its description.
fn describe(folder: &Path, (width, height): (u32, u32), bits: u64) -> io::Result<()> {
    let stride = u64::from(width) * bits / 8;
    let size = format!("{width},{height}");
    for (name, text) in [("virtual_size", size), ("stride", stride.to_string()), ("bits_per_pixel", bits.to_string())] {
        fs::write(folder.join(name), text)?;
    }
    fs::write(folder.join("fb0"), vec![0; (stride * u64::from(height)) as usize])
}

/// Bytes since the last time, first for the first picture and then for the change.
fn count(bytes: &Arc<AtomicU64>) -> impl Fn() -> (u64, u64) {
    let bytes = bytes.clone();
    move || (bytes.swap(0, Ordering::Relaxed), 0)
}

fn report(
    name: &str,
    from: &Frame,
    to: &Frame,
    counted: impl Fn() -> (u64, u64),
    open: impl Fn() -> Result<Box<dyn Panel>, Failed>,
) -> Result<(u64, u64), Failed> {
    let (mut first, mut change, mut bytes) = (Vec::new(), Vec::new(), (0, 0));
    for _ in 0..ROUNDS {
        let mut panel = open()?;
        let timed = |panel: &mut Box<dyn Panel>, frame| -> Result<Duration, Failed> {
            let start = worked();
            panel.show(frame)?;
            Ok(worked() - start)
        };
        first.push(timed(&mut panel, from)?);
        let before = counted();
        change.push(timed(&mut panel, to)?);
        // Panels that count themselves say both at once, the others one after the other.
        bytes = if before.1 > 0 { before } else { (before.0, counted().0) };
    }
    let (first, change) = (median(&mut first), median(&mut change));
    println!("{name:<24} {:>8} {first:>7.2}       {:>8} {change:>7.2}", bytes.0, bytes.1);
    Ok(bytes)
}

/// A bus, or a terminal, that takes everything and counts it.
struct Nowhere(Arc<AtomicU64>);

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl spi::ErrorType for Nowhere {
    type Error = Infallible;
}

impl SpiDevice for Nowhere {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        for operation in operations {
            if let Operation::Write(bytes) = operation {
                self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// A line that nobody listens to, and a wait that takes no time.
struct Line;

impl digital::ErrorType for Line {
    type Error = Infallible;
}

impl OutputPin for Line {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl DelayNs for Line {
    fn delay_ns(&mut self, _: u32) {}
}
