//! From stored values to greys as they are meant to be seen: DICOM's modality and VOI transformations, polarity and
//! padding (PS3.3 C.7.6.3, C.11.1, C.11.2), and colour to grey.
//!
//! Every transformation of up to 16 stored bits is one table, so no second picture is ever held.

/// How a stored value is to be read; it lies in the low bits of its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBits {
    /// Bits Stored (0028,0101), 1 to 16.
    pub count: u8,
    /// Whether the values are two's complement, Pixel Representation (0028,0103).
    pub signed: bool,
}

impl StoredBits {
    /// Number of different values.
    fn patterns(self) -> usize {
        1 << self.count.clamp(1, 16)
    }

    /// The number that a bit pattern stands for; bits above `count` are ignored.
    pub fn value(self, pattern: u16) -> i32 {
        let count = self.count.clamp(1, 16);
        let value = i32::from(pattern) & ((1 << count) - 1);
        if self.signed && value >= 1 << (count - 1) { value - (1 << count) } else { value }
    }

    /// The patterns of the smallest and of the largest number among `samples`.
    fn outermost(self, samples: &[u16]) -> (u16, u16) {
        let unused = 16 - self.count.clamp(1, 16);
        // The highest bit of a signed number says that it is small.
        let flip = if self.signed { 0 } else { 1 << 15 };
        let (mut least, mut most) = (i16::MAX, i16::MIN);
        for sample in samples {
            let order = ((sample << unused) ^ flip) as i16;
            least = least.min(order);
            most = most.max(order);
        }
        let pattern = |order: i16| (order as u16 ^ flip) >> unused;
        (pattern(least), pattern(most))
    }
}

/// A LUT of a Modality LUT Sequence (0028,3000) or a VOI LUT Sequence (0028,3010).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupTable {
    /// Input value of the first entry.
    pub first: i32,
    /// Bits of an entry, 1 to 16.
    pub bits: u8,
    /// At least one entry.
    pub entries: Vec<u16>,
}

impl LookupTable {
    /// The entry for `input`; inputs beyond either end take the entry at that end (PS3.3 C.11.1.1.1, C.11.2.1.1).
    pub fn look_up(&self, input: f64) -> u16 {
        let last = self.entries.len().saturating_sub(1);
        let index = (input - f64::from(self.first)).round().clamp(0.0, last as f64) as usize;
        self.entries.get(index).copied().unwrap_or(0)
    }
}

/// From stored values to those of the imaging device (PS3.3 C.11.1).
#[derive(Clone, Debug, PartialEq)]
pub enum ModalityTransform {
    /// None given.
    Identity,
    /// Rescale Slope (0028,1053) and Rescale Intercept (0028,1052).
    Rescale {
        /// Output units per stored unit.
        slope: f64,
        /// Output of stored value 0.
        intercept: f64,
    },
    /// Modality LUT Sequence (0028,3000).
    Table(LookupTable),
}

impl ModalityTransform {
    fn apply(&self, stored: i32) -> f64 {
        match self {
            Self::Identity => f64::from(stored),
            Self::Rescale { slope, intercept } => f64::from(stored) * slope + intercept,
            Self::Table(table) => f64::from(table.look_up(f64::from(stored))),
        }
    }
}

/// The form of a window, VOI LUT Function (0028,1056).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowFunction {
    /// PS3.3 C.11.2.1.2.1; the width is at least 1.
    Linear,
    /// PS3.3 C.11.2.1.3.2; the width is above 0.
    LinearExact,
    /// PS3.3 C.11.2.1.3.1; the width is above 0.
    Sigmoid,
}

/// Which values of interest are shown, and how (PS3.3 C.11.2).
#[derive(Clone, Debug, PartialEq)]
pub enum VoiTransform {
    /// Nothing given: the smallest value that occurs outside the padding is black, the largest white.
    FullRange,
    /// Window Center (0028,1050) and Window Width (0028,1051).
    Window {
        /// Middle of the window.
        centre: f64,
        /// Its width, above 0.
        width: f64,
        /// Its form.
        function: WindowFunction,
    },
    /// VOI LUT Sequence (0028,3010).
    Table(LookupTable),
}

/// What a high output means, Photometric Interpretation (0028,0004).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// MONOCHROME2.
    HighIsWhite,
    /// MONOCHROME1.
    HighIsBlack,
}

/// Stored values that are no part of the picture: Pixel Padding Value (0028,0120) to Pixel Padding Range Limit
/// (0028,0121), both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Lowest stored value.
    pub low: i32,
    /// Highest stored value.
    pub high: i32,
}

/// All that stands between a stored value and the grey that is seen.
#[derive(Clone, Debug, PartialEq)]
pub struct GreyTransform {
    /// How the stored values are read.
    pub stored: StoredBits,
    /// First step.
    pub modality: ModalityTransform,
    /// Second step.
    pub voi: VoiTransform,
    /// Third step.
    pub polarity: Polarity,
    /// Black, whatever the three steps say.
    pub padding: Option<Padding>,
}

impl GreyTransform {
    /// Turns stored bit patterns into greys, 0 black to 65535 white, in place.
    pub fn apply(&self, samples: &mut [u16]) {
        let patterns = self.stored.patterns();
        let mask = (patterns - 1) as u16;
        let range = match self.voi {
            VoiTransform::FullRange => self.range_of(samples),
            VoiTransform::Window { .. } | VoiTransform::Table(_) => (0.0, 0.0),
        };
        let table: Vec<u16> = (0..patterns).map(|pattern| self.grey_of(pattern as u16, range)).collect();
        if mask == u16::MAX && table.iter().zip(0..=u16::MAX).all(|(grey, pattern)| *grey == pattern) {
            // They are what is seen already.
            return;
        }
        for sample in samples {
            *sample = table[usize::from(*sample & mask)];
        }
    }

    fn is_padding(&self, stored: i32) -> bool {
        self.padding.is_some_and(|padding| (padding.low..=padding.high).contains(&stored))
    }

    /// Smallest and largest output of the modality transformation that occur outside the padding.
    fn range_of(&self, samples: &[u16]) -> (f64, f64) {
        let mut range = (f64::INFINITY, f64::NEG_INFINITY);
        let mut widen = |pattern: u16| {
            let stored = self.stored.value(pattern);
            if !self.is_padding(stored) {
                let value = self.modality.apply(stored);
                range = (range.0.min(value), range.1.max(value));
            }
        };
        if self.padding.is_none() && !matches!(self.modality, ModalityTransform::Table(_)) && !samples.is_empty() {
            // The further out a stored value, the further out what becomes of it: the outermost two will do.
            let (least, most) = self.stored.outermost(samples);
            widen(least);
            widen(most);
            return range;
        }
        let mut occurs = vec![false; self.stored.patterns()];
        let mask = occurs.len() - 1;
        for &sample in samples {
            occurs[usize::from(sample) & mask] = true;
        }
        occurs.iter().zip(0..=u16::MAX).filter(|(occurs, _)| **occurs).for_each(|(_, pattern)| widen(pattern));
        range
    }

    fn grey_of(&self, pattern: u16, range: (f64, f64)) -> u16 {
        let stored = self.stored.value(pattern);
        if self.is_padding(stored) {
            return 0;
        }
        let value = self.modality.apply(stored);
        let shown = match &self.voi {
            VoiTransform::FullRange => full_range(value, range),
            VoiTransform::Window { centre, width, function } => windowed(value, *centre, *width, *function),
            VoiTransform::Table(table) => {
                let highest = (1_u32 << table.bits.clamp(1, 16)) - 1;
                f64::from(table.look_up(value)) / f64::from(highest)
            }
        };
        let shown = match self.polarity {
            Polarity::HighIsWhite => shown,
            Polarity::HighIsBlack => 1.0 - shown,
        };
        (shown.clamp(0.0, 1.0) * 65535.0).round() as u16
    }
}

fn full_range(value: f64, (low, high): (f64, f64)) -> f64 {
    if high > low { (value - low) / (high - low) } else { 0.0 }
}

/// `value` seen through a window, 0 to 1 (PS3.3 C.11.2.1.2 and C.11.2.1.3).
pub fn windowed(value: f64, centre: f64, width: f64, function: WindowFunction) -> f64 {
    match function {
        WindowFunction::Linear => {
            let middle = centre - 0.5;
            let reach = (width - 1.0) / 2.0;
            if value <= middle - reach {
                0.0
            } else if value > middle + reach {
                1.0
            } else {
                (value - middle) / (width - 1.0) + 0.5
            }
        }
        WindowFunction::LinearExact => {
            if value <= centre - width / 2.0 {
                0.0
            } else if value > centre + width / 2.0 {
                1.0
            } else {
                (value - centre) / width + 0.5
            }
        }
        WindowFunction::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - centre) / width).exp()),
    }
}

/// Grey of a colour with ITU-R BT.601 weights; equal channels keep their value exactly.
pub fn luminance(red: u16, green: u16, blue: u16) -> u16 {
    // Weights × 65536; they add up to 65536.
    let sum = u64::from(red) * 19_595 + u64::from(green) * 38_470 + u64::from(blue) * 7_471;
    ((sum + 32_768) >> 16) as u16
}

/// Gathers how far the colours of a picture are from grey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Colourfulness {
    spread: u64,
    pixels: u64,
}

impl Colourfulness {
    /// Takes one pixel in.
    pub fn add(&mut self, red: u16, green: u16, blue: u16) {
        self.spread += u64::from(red.max(green).max(blue) - red.min(green).min(blue));
        self.pixels += 1;
    }

    /// Mean over the pixels of (largest − smallest channel) ÷ 65535: 0 to 1; 0 without pixels.
    pub fn mean(self) -> f32 {
        if self.pixels == 0 { 0.0 } else { (self.spread as f64 / (self.pixels as f64 * 65535.0)) as f32 }
    }
}

/// A value of `bits` bits, 1 to 16, stretched so that the highest becomes 65535.
pub fn stretched(value: u16, bits: u8) -> u16 {
    let highest = (1_u32 << bits.clamp(1, 16)) - 1;
    let value = u32::from(value) & highest;
    ((value * 65535 + highest / 2) / highest) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsigned(count: u8) -> StoredBits {
        StoredBits { count, signed: false }
    }

    fn plain(stored: StoredBits) -> GreyTransform {
        GreyTransform {
            stored,
            modality: ModalityTransform::Identity,
            voi: VoiTransform::FullRange,
            polarity: Polarity::HighIsWhite,
            padding: None,
        }
    }

    #[track_caller]
    fn check(transform: &GreyTransform, stored: &[u16], greys: &[u16]) {
        let mut samples = stored.to_vec();
        transform.apply(&mut samples);
        assert_eq!(samples, greys);
    }

    #[test]
    fn a_signed_value_is_extended_from_its_highest_stored_bit() {
        let stored = StoredBits { count: 12, signed: true };
        assert_eq!([0x7ff, 0x800, 0xfff, 0xf000].map(|p| stored.value(p)), [2047, -2048, -1, 0]);
        assert_eq!(StoredBits { count: 16, signed: true }.value(0x8000), -32768);
    }

    #[test]
    fn without_a_window_the_values_that_occur_fill_the_range() {
        check(&plain(unsigned(10)), &[100, 300, 200], &[0, 65535, 32768]);
        check(&plain(unsigned(10)), &[7, 7], &[0, 0]);
        // Overlay bits above the stored bits are ignored.
        check(&plain(unsigned(10)), &[0xfc00 | 100, 300, 200], &[0, 65535, 32768]);
    }

    #[test]
    fn padding_is_black_in_either_polarity_and_outside_the_range() {
        let mut transform = plain(unsigned(12));
        transform.padding = Some(Padding { low: 4000, high: 4095 });
        check(&transform, &[100, 4000, 300, 4095], &[0, 0, 65535, 0]);
        transform.polarity = Polarity::HighIsBlack;
        check(&transform, &[100, 4000, 300, 4095], &[65535, 0, 0, 0]);
        transform.padding = Some(Padding { low: 0, high: 4095 });
        check(&transform, &[100, 4000], &[0, 0]);
    }

    #[test]
    fn the_linear_window_is_that_of_the_standard() {
        // PS3.3 C.11.2.1.2.1: "c=2048, w=4096 becomes: if (x <= 0) then y = ymin; else if (x > 4095) then y = ymax;
        // else y = ((x - 2047.5) / 4095 + 0.5) * (ymax - ymin) + ymin".
        let linear = |x| windowed(x, 2048.0, 4096.0, WindowFunction::Linear);
        assert_eq!((linear(0.0), linear(4095.0), linear(4096.0)), (0.0, 1.0, 1.0));
        assert_eq!(linear(2047.5), 0.5);
        assert!((linear(1000.0) - 1000.0 / 4095.0).abs() < 1e-12);
        // "c=2048, w=1 becomes: if (x <= 2047.5) then y = ymin; else if (x > 2047.5) then y = ymax".
        let step = |x| windowed(x, 2048.0, 1.0, WindowFunction::Linear);
        assert_eq!((step(2047.5), step(2047.6)), (0.0, 1.0));
        // "c=0, w=100": black up to -50, white above 49.
        let small = |x| windowed(x, 0.0, 100.0, WindowFunction::Linear);
        assert_eq!((small(-50.0), small(49.0), small(49.5)), (0.0, 1.0, 1.0));
    }

    #[test]
    fn the_exact_window_and_the_sigmoid_are_those_of_the_standard() {
        // PS3.3 C.11.2.1.3.2, "c=2048, w=4096": black up to 0, white above 4096.
        let exact = |x| windowed(x, 2048.0, 4096.0, WindowFunction::LinearExact);
        assert_eq!((exact(0.0), exact(2048.0), exact(4096.0), exact(5000.0)), (0.0, 0.5, 1.0, 1.0));
        assert_eq!(windowed(0.25, 0.5, 0.5, WindowFunction::LinearExact), 0.0);
        // PS3.3 C.11.2.1.3.1: 1 / (1 + exp(-4 (x - c) / w)).
        let sigmoid = |x| windowed(x, 100.0, 40.0, WindowFunction::Sigmoid);
        assert_eq!(sigmoid(100.0), 0.5);
        assert!((sigmoid(110.0) - 1.0 / (1.0 + (-1.0_f64).exp())).abs() < 1e-12);
        assert!(sigmoid(-1e9) == 0.0 && sigmoid(1e9) == 1.0);
    }

    #[test]
    fn rescale_comes_before_the_window_and_polarity_after() {
        let transform = GreyTransform {
            stored: StoredBits { count: 8, signed: true },
            modality: ModalityTransform::Rescale { slope: 2.0, intercept: -10.0 },
            voi: VoiTransform::Window { centre: 0.0, width: 100.0, function: WindowFunction::LinearExact },
            polarity: Polarity::HighIsBlack,
            padding: None,
        };
        // Stored -20, 5, 30 are -50, 0 and 50.
        check(&transform, &[0xec, 5, 30], &[65535, 32768, 0]);
    }

    #[test]
    fn the_full_range_is_that_of_all_values_whatever_they_mean() {
        let mut state = 1u32;
        let mut draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as u16
        };
        for count in 1..=16 {
            for signed in [false, true] {
                let samples: Vec<u16> = (0..50).map(|_| draw()).collect();
                for modality in [
                    ModalityTransform::Identity,
                    ModalityTransform::Rescale { slope: 0.5, intercept: -3.0 },
                    ModalityTransform::Rescale { slope: -2.0, intercept: 7.0 },
                    ModalityTransform::Rescale { slope: 0.0, intercept: 7.0 },
                ] {
                    let transform = GreyTransform { modality, ..plain(StoredBits { count, signed }) };
                    let values = samples.iter().map(|s| transform.modality.apply(transform.stored.value(*s)));
                    let expected = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
                    assert_eq!(transform.range_of(&samples), expected, "{transform:?}");
                }
            }
        }
    }

    #[test]
    fn values_that_are_greys_already_stay_as_they_are() {
        let transform = plain(StoredBits { count: 16, signed: false });
        check(&transform, &[0, 1, 40_000, 65_535], &[0, 1, 40_000, 65_535]);
        // Not quite the full range.
        check(&transform, &[1, 32_768, 65_535], &[0, 32_768, 65_535]);
    }

    #[test]
    fn inputs_beyond_a_table_take_its_end_entries() {
        let table = LookupTable { first: -1, bits: 8, entries: vec![10, 20, 30] };
        let transform = GreyTransform {
            modality: ModalityTransform::Table(table),
            voi: VoiTransform::Table(LookupTable { first: 10, bits: 8, entries: (0..=20).map(|v| v * 12).collect() }),
            ..plain(StoredBits { count: 8, signed: true })
        };
        let grey = |entry: u32| (f64::from(entry) / 255.0 * 65535.0).round() as u16;
        check(&transform, &[0x80, 0xff, 0, 1, 2], &[0, 0, grey(120), grey(240), grey(240)]);
    }

    #[test]
    fn equal_channels_keep_their_grey() {
        for grey in [0, 1, 255, 257, 40_000, 65_534, 65_535] {
            assert_eq!(luminance(grey, grey, grey), grey);
        }
        assert!(luminance(0, 65535, 0) > luminance(65535, 0, 0));
    }

    #[test]
    fn colourfulness_is_nought_for_grey_and_one_for_pure_colour() {
        let mut colours = Colourfulness::default();
        assert_eq!(colours.mean(), 0.0);
        colours.add(7, 7, 7);
        assert_eq!(colours.mean(), 0.0);
        colours.add(65535, 0, 0);
        assert_eq!(colours.mean(), 0.5);
    }

    #[test]
    fn the_highest_value_of_any_depth_is_white() {
        for bits in 1..=16_u8 {
            assert_eq!(stretched(u16::MAX, bits), 65535);
            assert_eq!(stretched(0, bits), 0);
        }
        assert_eq!(stretched(100, 8), 100 * 257);
    }
}
