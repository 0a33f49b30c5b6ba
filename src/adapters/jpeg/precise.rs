//! The two JPEG processes of DICOM that the library does not decode rightly: the lossless one (T.81 Annex H, all
//! predictors, restart intervals and point transforms, 2 to 16 bits) and the 12-bit sequential one for grey
//! (T.81 Annex F, DICOM's "Extended, Process 4").
//!
//! Nothing is guessed: a stream that ends early or breaks the code is an error, never a half-grey picture.

/// What the stream has wrong, or what is not decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PreciseJpegError {
    /// Ends early.
    #[error("the JPEG stream ends at byte {0}, inside the picture")]
    Truncated(usize),
    /// Breaks the standard.
    #[error("found {found} at byte {at} of the JPEG stream, expected {expected}")]
    Invalid {
        /// What was found.
        found: String,
        /// Where.
        at: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// Allowed by the standard, not decoded here.
    #[error("{0} in JPEG is not supported")]
    Unsupported(&'static str),
}

use PreciseJpegError::{Invalid, Truncated, Unsupported};

/// Values of the picture, row by row, components together; `samples` of them are expected.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u16>, PreciseJpegError> {
    Stream { bytes, at: 0, ..Stream::default() }.decode()
}

/// One Huffman code as a table over the next 16 bits: length in the high byte, symbol in the low one; 0 is no code.
type CodeTable = Vec<u16>;

#[derive(Clone, Copy)]
struct Component {
    id: u8,
    quantisation: usize,
}

struct Frame {
    lossless: bool,
    precision: u8,
    height: usize,
    width: usize,
    components: Vec<Component>,
}

#[derive(Default)]
struct Stream<'a> {
    bytes: &'a [u8],
    at: usize,
    dc: [Option<CodeTable>; 4],
    ac: [Option<CodeTable>; 4],
    quantisation: [Option<[u16; 64]>; 4],
    restart_interval: usize,
    frame: Option<Frame>,
    samples: Vec<u16>,
    scanned: usize,
}

impl<'a> Stream<'a> {
    fn decode(mut self) -> Result<Vec<u16>, PreciseJpegError> {
        if self.bytes.get(..2) != Some(&[0xff, 0xd8]) {
            return Err(self.invalid("no start of image", "FFD8"));
        }
        self.at = 2;
        loop {
            match self.marker()? {
                0xd9 => break,
                0xc4 => self.huffman_tables()?,
                0xdb => self.quantisation_tables()?,
                0xdd => {
                    let segment = self.segment()?;
                    let interval = segment.first_chunk::<2>().ok_or(Truncated(self.at))?;
                    self.restart_interval = usize::from(u16::from_be_bytes(*interval));
                }
                0xda => {
                    self.scan()?;
                    if self.frame.as_ref().is_some_and(|frame| self.scanned >= frame.components.len()) {
                        break;
                    }
                }
                sof @ (0xc0 | 0xc1 | 0xc3) => self.frame_header(sof == 0xc3)?,
                0xc2 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Err(Unsupported("this coding process")),
                0xd0..=0xd8 => return Err(self.invalid("a marker without segment", "a segment")),
                _ => drop(self.segment()?),
            }
        }
        match &self.frame {
            Some(frame) if self.scanned == frame.components.len() => Ok(self.samples),
            _ => Err(self.invalid("the end of the image", "a scan of every component")),
        }
    }

    fn invalid(&self, found: impl Into<String>, expected: &'static str) -> PreciseJpegError {
        Invalid { found: found.into(), at: self.at, expected }
    }

    fn marker(&mut self) -> Result<u8, PreciseJpegError> {
        let next = |at: &mut usize| -> Result<u8, PreciseJpegError> {
            let byte = *self.bytes.get(*at).ok_or(Truncated(*at))?;
            *at += 1;
            Ok(byte)
        };
        if next(&mut self.at)? != 0xff {
            return Err(self.invalid("no marker", "a marker"));
        }
        loop {
            match next(&mut self.at)? {
                0xff => {}
                code => return Ok(code),
            }
        }
    }

    /// The segment after a marker, without its length.
    fn segment(&mut self) -> Result<&'a [u8], PreciseJpegError> {
        let bytes: &'a [u8] = self.bytes;
        let length = bytes.get(self.at..).and_then(|rest| rest.first_chunk::<2>()).ok_or(Truncated(bytes.len()))?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length < 2 {
            return Err(self.invalid(format!("a segment of {length} bytes"), "2 or more"));
        }
        let segment = bytes.get(self.at + 2..self.at + length).ok_or(Truncated(bytes.len()))?;
        self.at += length;
        Ok(segment)
    }

    fn huffman_tables(&mut self) -> Result<(), PreciseJpegError> {
        let mut segment = self.segment()?;
        while let Some((&place, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_at_checked(16).ok_or(Truncated(self.at))?;
            let total = counts.iter().map(|&c| usize::from(c)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or(Truncated(self.at))?;
            segment = rest;
            let table = code_table(counts, symbols).ok_or_else(|| self.invalid("too many codes", "a Huffman code"))?;
            let tables = if place >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            if place >> 4 > 1 || place & 15 > 3 {
                return Err(self.invalid(format!("Huffman table {place:#04x}"), "00 to 03 or 10 to 13"));
            }
            tables[usize::from(place & 3)] = Some(table);
        }
        Ok(())
    }

    fn quantisation_tables(&mut self) -> Result<(), PreciseJpegError> {
        let mut segment = self.segment()?;
        while let Some((&place, rest)) = segment.split_first() {
            let width = if place >> 4 == 0 { 1 } else { 2 };
            let (values, rest) = rest.split_at_checked(64 * width).ok_or(Truncated(self.at))?;
            segment = rest;
            if place >> 4 > 1 || place & 15 > 3 {
                return Err(self.invalid(format!("quantisation table {place:#04x}"), "00 to 03 or 10 to 13"));
            }
            let mut table = [0_u16; 64];
            for (step, value) in table.iter_mut().zip(values.chunks_exact(width)) {
                *step = value.iter().fold(0, |high, &low| high << 8 | u16::from(low));
            }
            self.quantisation[usize::from(place & 3)] = Some(table);
        }
        Ok(())
    }

    fn frame_header(&mut self, lossless: bool) -> Result<(), PreciseJpegError> {
        if self.frame.is_some() {
            return Err(self.invalid("a second frame header", "one"));
        }
        let segment = self.segment()?;
        let (&[precision, h0, h1, w0, w1, count], components) =
            segment.split_first_chunk::<6>().ok_or(Truncated(self.at))?;
        let height = usize::from(u16::from_be_bytes([h0, h1]));
        let width = usize::from(u16::from_be_bytes([w0, w1]));
        if height == 0 || width == 0 {
            return Err(Unsupported("a height or width of 0"));
        }
        if components.len() != usize::from(count) * 3 || !(1..=4).contains(&count) {
            return Err(self.invalid(format!("{count} components in {} bytes", components.len()), "1 to 4 of 3 bytes"));
        }
        if lossless && !(2..=16).contains(&precision) || !lossless && !matches!(precision, 8 | 12) {
            return Err(self.invalid(format!("{precision} bits"), "2 to 16 if lossless, else 8 or 12"));
        }
        if !lossless && count != 1 {
            return Err(Unsupported("12-bit colour"));
        }
        if components.chunks_exact(3).any(|c| c[1] != components[1]) || count > 1 && components[1] != 0x11 {
            return Err(Unsupported("subsampling of more than 8 bits"));
        }
        let components: Vec<Component> =
            components.chunks_exact(3).map(|c| Component { id: c[0], quantisation: usize::from(c[2] & 3) }).collect();
        self.samples = vec![0; height * width * components.len()];
        self.frame = Some(Frame { lossless, precision, height, width, components });
        Ok(())
    }

    fn scan(&mut self) -> Result<(), PreciseJpegError> {
        let segment = self.segment()?;
        let header_at = self.at;
        let invalid = |found: String, expected| Invalid { found, at: header_at, expected };
        let Some(frame) = self.frame.as_ref() else {
            return Err(invalid("a scan".into(), "a frame header first"));
        };
        let (&count, rest) = segment.split_first().ok_or(Truncated(header_at))?;
        let (selectors, parameters) = rest.split_at_checked(usize::from(count) * 2).ok_or(Truncated(header_at))?;
        let &[start, _, approximation] = parameters.first_chunk::<3>().ok_or(Truncated(header_at))?;
        let mut planes = Vec::new();
        for selector in selectors.chunks_exact(2) {
            let component = frame.components.iter().position(|c| c.id == selector[0]);
            let component =
                component.ok_or_else(|| invalid(format!("component {}", selector[0]), "one of the frame header"))?;
            let [dc, ac] = [usize::from(selector[1] >> 4 & 3), usize::from(selector[1] & 3)];
            planes.push((component, dc, ac));
        }
        if planes.is_empty() || planes.len() > frame.components.len() {
            return Err(invalid(format!("a scan of {count} components"), "as many as in the frame header"));
        }
        let bits = Bits { bytes: self.bytes, at: self.at, held: 0, count: 0, missing: 0 };
        self.scanned += planes.len();
        self.at = if frame.lossless {
            let (predictor, shift) = (start, approximation & 15);
            if !(1..=7).contains(&predictor) || shift >= frame.precision {
                let found = format!("predictor {predictor}, point transform {shift}");
                return Err(invalid(found, "1 to 7 and less than the precision"));
            }
            let tables = planes.iter().map(|&(_, dc, _)| self.dc[dc].as_ref()).collect::<Option<Vec<_>>>();
            let tables = tables.ok_or_else(|| invalid("no Huffman table".into(), "one for each component"))?;
            let places: Vec<usize> = planes.iter().map(|&(component, ..)| component).collect();
            lossless_scan(frame, bits, &places, &tables, predictor, shift, self.restart_interval, &mut self.samples)?
        } else {
            let (component, dc, ac) = planes[0];
            let steps = self.quantisation[frame.components[component].quantisation].as_ref();
            match (self.dc[dc].as_ref(), self.ac[ac].as_ref(), steps) {
                (Some(dc), Some(ac), Some(steps)) => {
                    sequential_scan(frame, bits, dc, ac, steps, self.restart_interval, &mut self.samples)?
                }
                _ => return Err(invalid("a missing table".into(), "Huffman and quantisation tables first")),
            }
        };
        Ok(())
    }
}

/// T.81 Annex C: codes of each length follow each other. `None` when there are more than fit.
fn code_table(counts: &[u8], symbols: &[u8]) -> Option<CodeTable> {
    let mut table = vec![0_u16; 1 << 16];
    let mut next = 0_usize;
    let mut symbols = symbols.iter();
    for (length, &count) in (1..=16_u16).zip(counts) {
        let run = 1 << (16 - length);
        for &symbol in symbols.by_ref().take(usize::from(count)) {
            table.get_mut(next..next + run)?.fill(length << 8 | u16::from(symbol));
            next += run;
        }
    }
    Some(table)
}

/// Entropy-coded bits, high first, with stuffing removed (T.81 F.2.2.5).
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
    /// Bits handed out after the data had ended; they are zeros.
    missing: u32,
}

impl Bits<'_> {
    fn fill(&mut self) {
        while self.count <= 48 {
            let byte = match self.bytes.get(self.at) {
                Some(0xff) if self.bytes.get(self.at + 1) == Some(&0) => {
                    self.at += 2;
                    0xff
                }
                Some(0xff) | None => {
                    self.missing += 8;
                    0
                }
                Some(&byte) => {
                    self.at += 1;
                    byte
                }
            };
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    fn peek16(&mut self) -> u16 {
        if self.count < 16 {
            self.fill();
        }
        (self.held >> (self.count - 16)) as u16
    }

    fn take(&mut self, count: u32) -> Result<u32, PreciseJpegError> {
        if self.count < count {
            self.fill();
        }
        self.count -= count;
        if self.missing > self.count {
            return Err(Truncated(self.at));
        }
        Ok((self.held >> self.count) as u32 & ((1_u32 << count) - 1))
    }

    fn symbol(&mut self, table: &CodeTable) -> Result<u8, PreciseJpegError> {
        let entry = table[usize::from(self.peek16())];
        if entry == 0 {
            let found = "bits outside the Huffman code".to_owned();
            return Err(Invalid { found, at: self.at, expected: "a code" });
        }
        self.take(u32::from(entry >> 8))?;
        Ok(entry as u8)
    }

    /// RECEIVE and EXTEND (T.81 F.2.2.1).
    fn signed(&mut self, size: u8) -> Result<i32, PreciseJpegError> {
        if size == 0 {
            return Ok(0);
        }
        let value = self.take(u32::from(size))? as i32;
        Ok(if value < 1 << (size - 1) { value - (1 << size) + 1 } else { value })
    }

    /// Steps over the restart marker `number` (0 to 7).
    fn restart(&mut self, number: u8) -> Result<(), PreciseJpegError> {
        let expected = [0xff, 0xd0 | number];
        // All bits of the interval are read; what is held is padding.
        while self.bytes.get(self.at) == Some(&0xff) && self.bytes.get(self.at + 1) == Some(&0xff) {
            self.at += 1;
        }
        if self.bytes.get(self.at..self.at + 2) != Some(&expected) {
            return Err(Invalid {
                found: "no restart marker".into(),
                at: self.at,
                expected: "the next of RST0 to RST7",
            });
        }
        (self.at, self.held, self.count, self.missing) = (self.at + 2, 0, 0, 0);
        Ok(())
    }
}

/// T.81 Annex H; returns where the scan ends.
#[expect(clippy::too_many_arguments, reason = "one call, and each is a field of the frame or scan header")]
fn lossless_scan(
    frame: &Frame,
    mut bits: Bits<'_>,
    places: &[usize],
    tables: &[&CodeTable],
    predictor: u8,
    shift: u8,
    restart_interval: usize,
    samples: &mut [u16],
) -> Result<usize, PreciseJpegError> {
    let depth = frame.components.len();
    let row = frame.width * depth;
    // H.1.1: "the restart interval shall be an integer multiple of the number of MCU in an MCU row".
    if !restart_interval.is_multiple_of(frame.width) {
        return Err(Unsupported("a restart interval that does not end with a line"));
    }
    let lines = restart_interval / frame.width;
    let initial = 1_i32 << (frame.precision - shift - 1);
    for y in 0..frame.height {
        let fresh = if lines == 0 { y == 0 } else { y % lines == 0 };
        if fresh && y > 0 {
            bits.restart(((y / lines - 1) % 8) as u8)?;
        }
        for x in 0..frame.width {
            for (&place, table) in places.iter().zip(tables) {
                let here = y * row + x * depth + place;
                // Values are kept after the point transform; prediction is before it.
                let before = |back: usize| i32::from(samples[here - back] >> shift);
                let prediction = match (x, fresh) {
                    (0, true) => initial,
                    (0, false) => before(row),
                    (_, true) => before(depth),
                    (_, false) => {
                        let (a, b, c) = (before(depth), before(row), before(row + depth));
                        match predictor {
                            1 => a,
                            2 => b,
                            3 => c,
                            4 => a + b - c,
                            5 => a + ((b - c) >> 1),
                            6 => b + ((a - c) >> 1),
                            _ => (a + b) >> 1,
                        }
                    }
                };
                let difference = match bits.symbol(table)? {
                    16 => 32768,
                    size @ 0..=15 => bits.signed(size)?,
                    size => {
                        let found = format!("a difference of {size} bits");
                        return Err(Invalid { found, at: bits.at, expected: "0 to 16" });
                    }
                };
                samples[here] = ((prediction + difference) as u16) << shift;
            }
        }
    }
    Ok(bits.at)
}

/// T.81 Annex F for one component; returns where the scan ends.
fn sequential_scan(
    frame: &Frame,
    mut bits: Bits<'_>,
    dc: &CodeTable,
    ac: &CodeTable,
    steps: &[u16; 64],
    restart_interval: usize,
    samples: &mut [u16],
) -> Result<usize, PreciseJpegError> {
    let cosines = cosines();
    let middle = f32::from(1_u16 << (frame.precision - 1));
    let highest = f32::from((1_u16 << frame.precision) - 1);
    let columns = frame.width.div_ceil(8);
    let mut last_dc = 0_i32;
    for block in 0..columns * frame.height.div_ceil(8) {
        if restart_interval > 0 && block > 0 && block % restart_interval == 0 {
            bits.restart(((block / restart_interval - 1) % 8) as u8)?;
            last_dc = 0;
        }
        let mut coefficients = [0.0_f32; 64];
        let size = bits.symbol(dc)?;
        if size > 15 {
            return Err(Invalid { found: format!("a difference of {size} bits"), at: bits.at, expected: "0 to 15" });
        }
        last_dc = last_dc.wrapping_add(bits.signed(size)?);
        coefficients[0] = last_dc as f32 * f32::from(steps[0]);
        let mut k = 1;
        while k < 64 {
            let symbol = bits.symbol(ac)?;
            let (run, size) = (usize::from(symbol >> 4), symbol & 15);
            if size == 0 {
                if run != 15 {
                    break;
                }
                k += 16;
                continue;
            }
            k += run;
            if k > 63 {
                return Err(Invalid { found: format!("coefficient {k}"), at: bits.at, expected: "at most 63" });
            }
            coefficients[ZIGZAG[k]] = bits.signed(size)? as f32 * f32::from(steps[k]);
            k += 1;
        }
        let values = inverse_cosine(&coefficients, &cosines);
        let (left, top) = (block % columns * 8, block / columns * 8);
        for (y, line) in (top..frame.height.min(top + 8)).zip(values.chunks_exact(8)) {
            for (x, value) in (left..frame.width.min(left + 8)).zip(line) {
                samples[y * frame.width + x] = (value + middle).round().clamp(0.0, highest) as u16;
            }
        }
    }
    Ok(bits.at)
}

/// Where the k-th coefficient of the zigzag order is, row by row (T.81 figure A.6).
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// `[x][u]` = C(u) / 2 · cos((2x + 1) u π / 16), T.81 A.3.3.
fn cosines() -> [[f32; 8]; 8] {
    std::array::from_fn(|x| {
        std::array::from_fn(|u| {
            let scale = if u == 0 { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
            let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0;
            (scale / 2.0 * angle.cos()) as f32
        })
    })
}

fn inverse_cosine(coefficients: &[f32; 64], cosines: &[[f32; 8]; 8]) -> [f32; 64] {
    let mut rows = [0.0_f32; 64];
    for (from, to) in coefficients.chunks_exact(8).zip(rows.chunks_exact_mut(8)) {
        for (value, wave) in to.iter_mut().zip(cosines) {
            *value = from.iter().zip(wave).map(|(f, w)| f * w).sum();
        }
    }
    let mut values = [0.0_f32; 64];
    for (y, wave) in cosines.iter().enumerate() {
        for x in 0..8 {
            values[y * 8 + x] = wave.iter().enumerate().map(|(v, w)| rows[v * 8 + x] * w).sum();
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_one_constant_is_flat() {
        let mut coefficients = [0.0; 64];
        coefficients[0] = 800.0;
        let values = inverse_cosine(&coefficients, &cosines());
        assert!(values.iter().all(|v| (v - 100.0).abs() < 1e-3), "{values:?}");
    }

    #[test]
    fn codes_of_each_length_follow_each_other() {
        let mut counts = [0; 16];
        (counts[0], counts[1], counts[2]) = (1, 1, 1);
        let table = code_table(&counts, &[7, 8, 9]).unwrap();
        assert_eq!((table[0], table[0x8000], table[0xc000], table[0xe000]), (0x107, 0x208, 0x309, 0));
        counts[0] = 3;
        assert_eq!(code_table(&counts, &[1, 2, 3, 4, 5]), None);
    }

    /// A lossless 8-bit picture of 2 columns in which every difference is coded as it is.
    fn lossless(restart_interval: u16, scan: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xc3, 0, 11, 8, 0, 2, 0, 2, 1, 1, 0x11, 0];
        // One code of 2 bits each for the sizes 0, 1, 2.
        bytes.extend([0xff, 0xc4, 0, 22, 0, 0, 3]);
        bytes.extend([0; 14]);
        bytes.extend([0, 1, 2]);
        bytes.extend([0xff, 0xdd, 0, 4]);
        bytes.extend(restart_interval.to_be_bytes());
        bytes.extend([0xff, 0xda, 0, 8, 1, 1, 0, 1, 0, 0]);
        bytes.extend(scan);
        bytes.extend([0xff, 0xd9]);
        bytes
    }

    #[test]
    fn prediction_starts_anew_after_a_restart() {
        // +1, 0 | +1, +2 : 01 1, 00 ; 01 1, 10 10.
        let joined = lossless(0, &[0b0110_0011, 0b1010_1111]);
        assert_eq!(decode(&joined), Ok(vec![129, 129, 130, 132]));
        let apart = lossless(2, &[0b0110_0111, 0xff, 0xd0, 0b0111_0101]);
        assert_eq!(decode(&apart), Ok(vec![129, 129, 129, 131]));
        let lost = lossless(2, &[0b0110_0111, 0b0111_0101]);
        assert!(decode(&lost).unwrap_err().to_string().starts_with("found no restart marker"));
    }

    #[test]
    fn a_stream_that_ends_early_is_an_error() {
        let whole = lossless(0, &[0b0110_0011, 0b1010_1111]);
        for length in 0..whole.len() - 3 {
            assert!(decode(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let mut bytes = lossless(0, &[0; 4]);
        bytes[3] = 0xc2;
        assert_eq!(decode(&bytes).unwrap_err().to_string(), "this coding process in JPEG is not supported");
        let bytes = lossless(3, &[0; 4]);
        let said = decode(&bytes).unwrap_err().to_string();
        assert_eq!(said, "a restart interval that does not end with a line in JPEG is not supported");
    }
}
