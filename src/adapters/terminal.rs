//! Panels that are a terminal: two pixels a character cell, one above the other, in 24-bit colour.

use std::env;
use std::io::{self, IsTerminal, Write};

use terminal_size::{Height, Width, terminal_size_of};

use crate::domain::Frame;
use crate::ports::{DeviceError, Panel, PanelError};

/// How a terminal is told what to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Upper half blocks in 24-bit colour.
    Colour,
    /// Letters of different weight, no escape sequences.
    Letters,
}

impl Ink {
    /// Letters when `NO_COLOR` holds anything or `TERM` is `dumb`, colour otherwise.
    pub fn from_environment() -> Self {
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        if no_color || dumb { Self::Letters } else { Self::Colour }
    }
}

/// Shows pictures as text, each below the one before.
#[derive(Debug)]
pub struct TerminalPanel<W> {
    out: W,
    columns: u32,
    rows: u32,
    ink: Ink,
}

impl TerminalPanel<io::Stdout> {
    /// Standard output: its size if it is a terminal, else 100 columns.
    pub fn stdout() -> Self {
        let out = io::stdout();
        let size = out.is_terminal().then(|| terminal_size_of(&out)).flatten();
        let (columns, rows) = match size {
            Some((Width(columns), Height(rows))) => picture_cells(u32::from(columns), u32::from(rows)),
            None => picture_cells(100, u32::MAX),
        };
        Self::new(out, columns, rows, Ink::from_environment())
    }
}

/// Columns and rows of a picture on a terminal of that size.
fn picture_cells(columns: u32, rows: u32) -> (u32, u32) {
    /// Fewer have no room for the film beside the verdict: on a lower terminal the picture scrolls.
    const FEWEST_ROWS: u32 = 34;
    // One row stays free for the prompt.
    let rows = rows.saturating_sub(1).min(columns.saturating_mul(2) / 5);
    (columns, rows.max(FEWEST_ROWS))
}

impl<W: Write> TerminalPanel<W> {
    /// Writes to `out`, which shows `columns` × `rows` characters.
    pub fn new(out: W, columns: u32, rows: u32, ink: Ink) -> Self {
        Self { out, columns: columns.max(1), rows: rows.max(1), ink }
    }

    fn text(&self, frame: &Frame) -> String {
        let picture = shrunk_to(frame, self.columns, self.rows * 2);
        match self.ink {
            Ink::Colour => half_blocks(&picture),
            Ink::Letters => letters(&picture),
        }
    }
}

impl<W: Write> Panel for TerminalPanel<W> {
    fn show(&mut self, frame: &Frame) -> Result<(), PanelError> {
        let text = self.text(frame);
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|source| PanelError::Write { target: "the terminal".to_owned(), source })
    }

    /// Draw at this size and words stay legible that would be lost in a larger picture made smaller.
    fn size(&self) -> (u32, u32) {
        (self.columns, self.rows * 2)
    }
}

/// Shows pictures in place, on the terminal's other screen, which is left when this is dropped.
#[derive(Debug)]
pub struct TerminalScreen<W: Write> {
    out: W,
    measure: fn() -> Option<(u32, u32)>,
    /// Columns and rows of characters.
    cells: (u32, u32),
    ink: Ink,
    /// Lines as they stand on the screen; none where that is not known.
    lines: Vec<String>,
    lit: bool,
}

impl TerminalScreen<io::Stdout> {
    /// Standard output.
    ///
    /// # Errors
    /// When it is no terminal.
    pub fn stdout() -> Result<Self, PanelError> {
        if !io::stdout().is_terminal() {
            let told = "standard output is no terminal; choose another kind of panel";
            return Err(DeviceError::new("draw on", "the terminal", told).into());
        }
        let measure = || {
            let (Width(columns), Height(rows)) = terminal_size_of(io::stdout())?;
            Some((u32::from(columns), u32::from(rows)))
        };
        Self::over(io::stdout(), measure, Ink::from_environment())
    }
}

impl<W: Write> TerminalScreen<W> {
    /// The other screen, no cursor, no automatic line break: nothing that is written can scroll.
    const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
    const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

    /// Writes to `out`, whose columns and rows of characters are asked for before every picture; unknown, it has 80 × 24.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn over(out: W, measure: fn() -> Option<(u32, u32)>, ink: Ink) -> Result<Self, PanelError> {
        let cells = measure().unwrap_or((80, 24));
        let mut screen = Self { out, measure, cells, ink, lines: Vec::new(), lit: true };
        screen.write(Self::ENTER)?;
        Ok(screen)
    }

    fn write(&mut self, text: &str) -> Result<(), PanelError> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|source| {
            self.lines.clear();
            PanelError::Write { target: "the terminal".to_owned(), source }
        })
    }
}

impl<W: Write> Panel for TerminalScreen<W> {
    fn show(&mut self, frame: &Frame) -> Result<(), PanelError> {
        let mut text = String::new();
        let cells = (self.measure)().unwrap_or(self.cells);
        if cells != self.cells {
            self.cells = cells;
            self.lines.clear();
            text.push_str("\x1b[0m\x1b[2J");
        }
        let picture = shrunk_to(frame, cells.0.max(1), cells.1.max(1) * 2);
        let drawn = match self.ink {
            Ink::Colour => half_blocks(&picture),
            Ink::Letters => letters(&picture),
        };
        let lines: Vec<String> = drawn.lines().map(str::to_owned).collect();
        let most = lines.len().max(self.lines.len());
        for index in 0..most {
            let line = lines.get(index).map_or("", String::as_str);
            if self.lines.get(index).map(String::as_str) != Some(line) {
                // Lines are counted from 1; what an older picture had to the right of it goes.
                text.push_str(&format!("\x1b[{};1H{line}\x1b[K", index + 1));
            }
        }
        self.lines = lines;
        if self.lit { self.write(&text) } else { Ok(()) }
    }

    /// At least what words can be read at: on a smaller terminal the picture is made smaller.
    fn size(&self) -> (u32, u32) {
        let (columns, rows) = (self.measure)().unwrap_or(self.cells);
        (columns.max(80), (rows * 2).max(68))
    }

    fn set_lit(&mut self, lit: bool) -> Result<(), PanelError> {
        if lit != self.lit {
            self.write("\x1b[0m\x1b[2J")?;
            self.lines.clear();
        }
        self.lit = lit;
        Ok(())
    }
}

impl<W: Write> Drop for TerminalScreen<W> {
    fn drop(&mut self) {
        if let Err(error) = self.write(Self::LEAVE) {
            log::debug!("{error}");
        }
    }
}

/// The picture, averaged down until it fits; a picture that fits stays as it is.
fn shrunk_to(frame: &Frame, max_width: u32, max_height: u32) -> Frame {
    let (width, height) = (frame.width(), frame.height());
    if width <= max_width && height <= max_height {
        return frame.clone();
    }
    let scale = (f64::from(max_width) / f64::from(width)).min(f64::from(max_height) / f64::from(height));
    let side = |length: u32, most: u32| ((f64::from(length) * scale).round() as u32).clamp(1, most);
    let mut small = Frame::new(side(width, max_width), side(height, max_height));
    for y in 0..small.height() {
        let rows = y * height / small.height()..((y + 1) * height).div_ceil(small.height());
        for x in 0..small.width() {
            let columns = x * width / small.width()..((x + 1) * width).div_ceil(small.width());
            small.set(x, y, mean(frame, columns, rows.clone()));
        }
    }
    small
}

fn mean(frame: &Frame, columns: std::ops::Range<u32>, rows: std::ops::Range<u32>) -> [u8; 3] {
    let mut sums = [0u64; 3];
    let mut count = 0;
    for y in rows {
        for pixel in columns.clone().filter_map(|x| frame.get(x, y)) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += u64::from(value);
            }
            count += 1;
        }
    }
    sums.map(|sum| (sum / count.max(1)) as u8)
}

/// Each cell is U+2580: its upper half in the text's colour, its lower half in the ground's.
fn half_blocks(picture: &Frame) -> String {
    let mut text = String::new();
    for y in (0..picture.height()).step_by(2) {
        let mut shown = None;
        for x in 0..picture.width() {
            let cell = (picture.get(x, y).unwrap_or_default(), picture.get(x, y + 1).unwrap_or_default());
            if shown != Some(cell) {
                let ([ur, ug, ub], [lr, lg, lb]) = cell;
                text.push_str(&format!("\x1b[38;2;{ur};{ug};{ub};48;2;{lr};{lg};{lb}m"));
                shown = Some(cell);
            }
            text.push('▀');
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

/// One letter for two pixels, the heavier the lighter; made for light letters on a dark ground.
fn letters(picture: &Frame) -> String {
    const LIGHTER: &[u8] = b" .:-=+*#%@";
    let mut text = String::new();
    for y in (0..picture.height()).step_by(2) {
        let mut line = String::new();
        for x in 0..picture.width() {
            let level = |y| {
                picture.get(x, y).map(|[r, g, b]| (54 * u32::from(r) + 183 * u32::from(g) + 19 * u32::from(b)) >> 8)
            };
            let upper = level(y).unwrap_or(0);
            let grey = (upper + level(y + 1).unwrap_or(upper)) / 2;
            line.push(char::from(LIGHTER[grey as usize * LIGHTER.len() / 256]));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(frame: &Frame, columns: u32, rows: u32, ink: Ink) -> String {
        let mut out = Vec::new();
        TerminalPanel::new(&mut out, columns, rows, ink).show(frame).expect("memory takes all");
        String::from_utf8(out).expect("UTF-8")
    }

    fn checkers(width: u32, height: u32) -> Frame {
        let mut frame = Frame::new(width, height);
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).filter(|(x, y)| (x + y) % 2 == 0) {
            frame.set(x, y, [255; 3]);
        }
        frame
    }

    #[test]
    fn a_cell_holds_the_upper_pixel_in_front_and_the_lower_behind() {
        let mut frame = Frame::new(1, 2);
        frame.set(0, 0, [1, 2, 3]);
        frame.set(0, 1, [4, 5, 6]);
        assert_eq!(shown(&frame, 10, 10, Ink::Colour), "\x1b[38;2;1;2;3;48;2;4;5;6m▀\x1b[0m\n");
    }

    #[test]
    fn every_picture_fits_the_terminal() {
        for (width, height) in [(800, 480), (480, 800), (1, 1), (3000, 1), (1, 3000), (101, 61), (0, 0), (0, 5)] {
            for (columns, rows) in [(80, 23), (100, 36), (1, 1), (0, 0)] {
                for ink in [Ink::Colour, Ink::Letters] {
                    let text = shown(&checkers(width, height), columns, rows, ink);
                    assert!(text.lines().count() <= rows.max(1) as usize, "{width} × {height} in {columns} × {rows}");
                    let cells = |line: &str| line.chars().filter(|c| *c == '▀').count();
                    assert!(text.lines().all(|line| cells(line) <= columns.max(1) as usize));
                }
            }
        }
    }

    #[test]
    fn a_smaller_picture_is_the_mean_of_the_larger() {
        let small = shrunk_to(&checkers(64, 32), 8, 8);
        assert_eq!((small.width(), small.height()), (8, 4));
        assert!(small.pixels().iter().all(|pixel| *pixel == [127; 3]), "{:?}", small.pixels());
    }

    #[test]
    fn without_colour_there_is_no_escape_sequence() {
        let mut frame = Frame::new(3, 2);
        for y in 0..2 {
            frame.set(1, y, [128; 3]);
            frame.set(2, y, [255; 3]);
        }
        assert_eq!(shown(&frame, 80, 20, Ink::Letters), " +@\n");
    }

    #[test]
    fn a_picture_leaves_a_row_for_the_prompt_where_there_is_room() {
        assert_eq!(picture_cells(100, u32::MAX), (100, 40));
        assert_eq!(picture_cells(200, 50), (200, 49));
        assert_eq!(picture_cells(80, 24), (80, 34));
        assert_eq!(picture_cells(0, 0), (0, 34));
    }

    /// What a terminal of 10 × 4 cells shows after `text`, its other screen alone; fails where it would scroll.
    fn on_screen(text: &str) -> Vec<String> {
        let mut cells = vec![vec![' '; 10]; 4];
        let (mut row, mut column) = (0, 0);
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '\x1b' {
                assert!(row < 4 && column < 10, "({column}, {row}) is outside");
                cells[row][column] = character;
                column += 1;
                continue;
            }
            assert_eq!(characters.next(), Some('['));
            let mut parameters = String::new();
            let last = loop {
                match characters.next().expect("a complete sequence") {
                    c if c.is_ascii_alphabetic() => break c,
                    c => parameters.push(c),
                }
            };
            match last {
                'H' => {
                    let (y, x) = parameters.split_once(';').expect("row and column");
                    (row, column) = (y.parse::<usize>().expect("a row") - 1, x.parse::<usize>().expect("a column") - 1);
                }
                'J' => cells = vec![vec![' '; 10]; 4],
                'K' => cells[row].iter_mut().skip(column).for_each(|cell| *cell = ' '),
                'm' | 'h' | 'l' => {}
                other => panic!("unknown sequence {other}"),
            }
        }
        cells.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned()).collect()
    }

    fn grey(width: u32, height: u32, level: u8) -> Frame {
        let mut frame = Frame::new(width, height);
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            frame.set(x, y, [level; 3]);
        }
        frame
    }

    #[test]
    fn pictures_stay_in_place_and_only_lines_that_changed_are_written() {
        let mut out = Vec::new();
        let mut screen = TerminalScreen::over(&mut out, || Some((10, 4)), Ink::Letters).expect("memory takes all");
        let mut frame = grey(10, 8, 255);
        screen.show(&frame).expect("shown");
        for x in 0..10 {
            frame.set(x, 4, [0; 3]);
            frame.set(x, 5, [0; 3]);
        }
        screen.show(&frame).expect("shown");
        screen.show(&frame).expect("shown");
        drop(screen);
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(text.matches('@').count(), 40, "{text:?}");
        assert_eq!(text.matches("\x1b[3;1H").count(), 2);
        assert_eq!(on_screen(&text), ["@@@@@@@@@@", "@@@@@@@@@@", "", "@@@@@@@@@@"]);
        let (enter, leave) = ("\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l");
        assert!(text.starts_with(enter) && text.ends_with(leave), "{text:?}");
    }

    #[test]
    fn a_larger_picture_is_made_smaller_and_never_scrolls() {
        for ink in [Ink::Letters, Ink::Colour] {
            let mut out = Vec::new();
            let mut screen = TerminalScreen::over(&mut out, || Some((10, 4)), ink).expect("memory takes all");
            let (width, height) = screen.size();
            assert_eq!((width, height), (80, 68));
            screen.show(&grey(width, height, 255)).expect("shown");
            screen.show(&checkers(400, 3)).expect("shown");
            drop(screen);
            let shown = on_screen(&String::from_utf8(out).expect("UTF-8"));
            assert!(!shown[0].is_empty() && shown[1..].iter().all(String::is_empty), "{shown:?}");
        }
    }

    #[test]
    fn a_dark_terminal_takes_the_picture_when_it_is_lit() {
        let mut out = Vec::new();
        let mut screen = TerminalScreen::over(&mut out, || Some((10, 4)), Ink::Letters).expect("memory takes all");
        screen.show(&grey(2, 2, 255)).expect("shown");
        screen.set_lit(false).expect("dark");
        screen.show(&grey(4, 2, 255)).expect("kept");
        screen.set_lit(true).expect("lit");
        screen.show(&grey(4, 2, 255)).expect("shown");
        drop(screen);
        assert_eq!(on_screen(&String::from_utf8(out).expect("UTF-8"))[0], "@@@@");
    }

    #[test]
    fn a_closed_terminal_is_an_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = TerminalPanel::new(Closed, 80, 20, Ink::Colour).show(&Frame::new(1, 1)).expect_err("closed");
        assert_eq!(error.to_string(), "cannot write the picture to the terminal: broken pipe");
    }
}
