//! Lengths and letter sizes that follow the screen's size.

use embedded_graphics::prelude::Size;

use super::text::Fitting;
use super::words::Words;

/// Lengths that follow the screen, 1 being a screen of 800 × 480 pixels, and the words that have to fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    pub(super) words: Words,
    length: f32,
    type_size: f32,
    pub(super) min_px: f32,
}

impl Measure {
    pub(super) fn of(size: Size, words: Words) -> Self {
        /// Below this many columns or rows only the verdict and the film have a place.
        const POSTAGE_STAMP: u32 = 160;
        let area = f64::from(size.width) * f64::from(size.height);
        let length = ((area / (800.0 * 480.0)).sqrt() as f32).clamp(0.05, 6.0);
        let min_px = if size.width.min(size.height) < POSTAGE_STAMP { 8.0 } else { 10.0 };
        // Small panels are held closer, so letters shrink less than the screen.
        Self { words, length, type_size: length.powf(0.75), min_px }
    }

    /// A length, at least 1 pixel.
    pub(super) fn gap(self, base: f32) -> u32 {
        (base * self.length).round().max(1.0) as u32
    }

    pub(super) fn fitting(self, base_px: f32, max_lines: usize) -> Fitting {
        // Whole steps: the same words have the same size everywhere.
        let max_px = ((base_px * self.type_size * 2.0).round() / 2.0).max(self.min_px);
        Fitting { max_px, min_px: self.min_px, max_lines }
    }
}
