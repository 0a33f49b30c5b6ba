//! A controller that takes what the driver sends to it and interprets it as the data sheets say (ST7789V, ST7796S,
//! ILI9341, ILI9486: the commands of the MIPI Display Command Set that they share), down to what a person would see.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{self, OutputPin};
use embedded_hal::spi::{self, Operation, SpiDevice};

use super::MOST_BYTES;

/// A level of 0 to `most` as the fake's glass shows it.
pub(super) fn rgb(level: u32, most: u32) -> u8 {
    (level * 255 / most) as u8
}

/// One controller, seen by its bus, its lines and the time that passes.
#[derive(Clone)]
pub(super) struct FakeController(Arc<Mutex<Chip>>);

struct Chip {
    memory: (u32, u32),
    /// Raw levels as they were sent, 18 bits a pixel.
    pixels: Vec<[u8; 3]>,
    /// The glass has blue and red swapped, is a negative, or is seen as in a mirror.
    glass: [bool; 3],

    data: bool,
    command: u8,
    arguments: Vec<u8>,
    columns: (u32, u32),
    rows: (u32, u32),
    cursor: (u32, u32),
    pixel: Vec<u8>,

    madctl: u8,
    colmod: u8,
    inverted: bool,
    asleep: bool,
    on: bool,

    now_ns: u64,
    /// No command may come before that.
    ready_ns: u64,
    pixel_bytes: usize,
    transfers_left: Option<usize>,
}

impl FakeController {
    pub(super) fn new(memory: (u16, u16)) -> Self {
        Self::with_glass(memory, [false; 3])
    }

    /// `glass`: swapped colours, a negative, a mirror.
    pub(super) fn with_glass(memory: (u16, u16), glass: [bool; 3]) -> Self {
        let memory = (u32::from(memory.0), u32::from(memory.1));
        let mut chip = Chip {
            memory,
            // Noise, as after power-on.
            pixels: (0..memory.0 * memory.1).map(|index| [(index * 7 % 64) as u8; 3]).collect(),
            glass,
            data: false,
            command: 0,
            arguments: vec![],
            columns: (0, 0),
            rows: (0, 0),
            cursor: (0, 0),
            pixel: vec![],
            madctl: 0,
            colmod: 0,
            inverted: false,
            asleep: true,
            on: false,
            now_ns: 0,
            ready_ns: 0,
            pixel_bytes: 0,
            transfers_left: None,
        };
        chip.reset();
        // It has had power for long.
        chip.ready_ns = 0;
        Self(Arc::new(Mutex::new(chip)))
    }

    fn chip<T>(&self, with: impl FnOnce(&mut Chip) -> T) -> T {
        with(&mut self.0.lock().expect("no test has panicked"))
    }

    pub(super) fn bus(&self) -> FakeBus {
        FakeBus(self.clone())
    }

    pub(super) fn dc_pin(&self) -> FakePin {
        FakePin(self.clone(), Line::Dc)
    }

    pub(super) fn reset_pin(&self) -> FakePin {
        FakePin(self.clone(), Line::Reset)
    }

    pub(super) fn delay(&self) -> FakeDelay {
        FakeDelay(self.clone())
    }

    /// The colour that a person sees at a place of the memory.
    pub(super) fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        self.chip(|chip| chip.seen(x, y))
    }

    /// The controller drives the glass.
    pub(super) fn is_on(&self) -> bool {
        self.chip(|chip| chip.on && !chip.asleep)
    }

    /// Bytes of pixels since the last time.
    pub(super) fn take_pixel_bytes(&self) -> usize {
        self.chip(|chip| std::mem::take(&mut chip.pixel_bytes))
    }

    /// After so many transfers the bus fails.
    pub(super) fn fail_after(&self, transfers: usize) {
        self.chip(|chip| chip.transfers_left = Some(transfers));
    }

    pub(super) fn works_again(&self) {
        self.chip(|chip| chip.transfers_left = None);
    }
}

impl Chip {
    /// Registers after a reset; the memory keeps what it has.
    fn reset(&mut self) {
        (self.madctl, self.colmod, self.inverted, self.asleep, self.on) = (0, 0x66, false, true, false);
        self.columns = (0, self.memory.0 - 1);
        self.rows = (0, self.memory.1 - 1);
        (self.command, self.arguments, self.pixel) = (0, vec![], vec![]);
        // 5 ms before the next command (ILI9341 8.2.2, ST7789V 9.1.2).
        self.ready_ns = self.now_ns + 5_000_000;
    }

    fn seen(&self, x: u32, y: u32) -> [u8; 3] {
        let [swapped, negative, mirrored] = self.glass;
        // A mirror stands across the memory's columns.
        let x = if mirrored { self.memory.0 - 1 - x } else { x };
        let [mut red, green, mut blue] = self.pixels[(y * self.memory.0 + x) as usize];
        // MADCTL's bit 3 drives the red line with blue, and so does the glass.
        if swapped != (self.madctl & 0x08 != 0) {
            (red, blue) = (blue, red);
        }
        let most = if self.colmod & 7 == 5 { [31, 63, 31] } else { [63; 3] };
        let mut levels = [red, green, blue];
        if negative != self.inverted {
            for (level, most) in levels.iter_mut().zip(most) {
                *level = most as u8 - *level;
            }
        }
        [0, 1, 2].map(|index| rgb(u32::from(levels[index]), most[index]))
    }

    fn take(&mut self, byte: u8) {
        if !self.data {
            assert!(self.now_ns >= self.ready_ns, "command {byte:#04x} {} ns early", self.ready_ns - self.now_ns);
            assert!(self.pixel.is_empty(), "command {byte:#04x} in the middle of a pixel");
            (self.command, self.arguments) = (byte, vec![]);
            match byte {
                0x01 => self.reset(),
                0x10 => self.asleep = true,
                0x11 => self.asleep = false,
                0x20 => self.inverted = false,
                0x21 => self.inverted = true,
                0x28 => self.on = false,
                0x29 => self.on = true,
                0x2C => self.cursor = (self.columns.0, self.rows.0),
                // NORON, CASET, RASET, MADCTL, COLMOD, and two of Ilitek's for inversion and scanning.
                0x13 | 0x2A | 0x2B | 0x36 | 0x3A | 0xB4 | 0xB6 => {}
                other => panic!("no such command: {other:#04x}"),
            }
            return;
        }
        if self.command == 0x2C {
            return self.take_pixel(byte);
        }
        self.arguments.push(byte);
        let pair = |at: usize| u32::from(u16::from_be_bytes([self.arguments[at], self.arguments[at + 1]]));
        match (self.command, self.arguments.len()) {
            (0x2A, 4) => self.columns = (pair(0), pair(2)),
            (0x2B, 4) => self.rows = (pair(0), pair(2)),
            (0x36, 1) => self.madctl = byte,
            (0x3A, 1) => self.colmod = byte,
            (0x2A | 0x2B, 1..=3) | (0xB4, 1) | (0xB6, 1..=3) => {}
            (command, count) => panic!("{count} arguments of command {command:#04x}"),
        }
    }

    /// Pixels of 16 bits (COLMOD 0x55) or of three bytes with six bits each (0x66), into the window, row by row.
    fn take_pixel(&mut self, byte: u8) {
        self.pixel_bytes += 1;
        self.pixel.push(byte);
        let levels = match (self.colmod & 7, self.pixel.as_slice()) {
            (5, [high, low]) => {
                let word = u16::from_be_bytes([*high, *low]);
                [(word >> 11) as u8, (word >> 5 & 63) as u8, (word & 31) as u8]
            }
            (6, [red, green, blue]) => [red >> 2, green >> 2, blue >> 2],
            (5, [_]) | (6, [_] | [_, _]) => return,
            (format, bytes) => panic!("{} bytes of a pixel of format {format}", bytes.len()),
        };
        self.pixel.clear();
        let (x, y) = self.cursor;
        // MY, MX and MV: rows and columns reversed, rows and columns exchanged (ST7789V 8.12).
        let (reversed_rows, reversed_columns, exchanged) =
            (self.madctl & 0x80 != 0, self.madctl & 0x40 != 0, self.madctl & 0x20 != 0);
        let (column, row) = if exchanged { (y, x) } else { (x, y) };
        let (width, height) = self.memory;
        assert!(column < width && row < height, "a pixel at column {column} and row {row}");
        let column = if reversed_columns { width - 1 - column } else { column };
        let row = if reversed_rows { height - 1 - row } else { row };
        self.pixels[(row * width + column) as usize] = levels;
        self.cursor = match (x == self.columns.1, y == self.rows.1) {
            (false, _) => (x + 1, y),
            (true, false) => (self.columns.0, y + 1),
            (true, true) => (self.columns.0, self.rows.0),
        };
    }
}

pub(super) struct FakeBus(FakeController);

#[derive(Debug)]
pub(super) struct Unplugged;

impl fmt::Display for Unplugged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unplugged")
    }
}

impl spi::Error for Unplugged {
    fn kind(&self) -> spi::ErrorKind {
        spi::ErrorKind::Other
    }
}

impl spi::ErrorType for FakeBus {
    type Error = Unplugged;
}

impl SpiDevice for FakeBus {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Unplugged> {
        self.0.chip(|chip| {
            if let Some(left) = &mut chip.transfers_left {
                *left = left.checked_sub(1).ok_or(Unplugged)?;
            }
            // spidev counts the bytes of all operations together.
            let mut bytes = 0;
            for operation in operations {
                let Operation::Write(written) = operation else { panic!("{operation:?} on a panel without MISO") };
                bytes += written.len();
                assert!(chip.data || written.len() == 1, "{} bytes of a command", written.len());
                written.iter().for_each(|byte| chip.take(*byte));
            }
            assert!((1..=MOST_BYTES).contains(&bytes), "a transfer of {bytes} bytes");
            Ok(())
        })
    }
}

#[derive(Clone, Copy)]
enum Line {
    Dc,
    Reset,
}

pub(super) struct FakePin(FakeController, Line);

impl digital::ErrorType for FakePin {
    type Error = Infallible;
}

impl OutputPin for FakePin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.chip(|chip| match self.1 {
            Line::Dc => chip.data = false,
            Line::Reset => chip.reset(),
        });
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.chip(|chip| match self.1 {
            Line::Dc => chip.data = true,
            // The time starts when the line is let go.
            Line::Reset => chip.reset(),
        });
        Ok(())
    }
}

pub(super) struct FakeDelay(FakeController);

impl DelayNs for FakeDelay {
    fn delay_ns(&mut self, ns: u32) {
        self.0.chip(|chip| chip.now_ns += u64::from(ns));
    }
}
