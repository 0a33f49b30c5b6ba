//! A grey picture in f32, 0 black to 1 white.

use crate::data::Film;

/// Rows of greys.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) greys: Vec<f32>,
}

impl Plane {
    pub(super) fn new(width: usize, height: usize, greys: Vec<f32>) -> Self {
        debug_assert_eq!(width * height, greys.len());
        Self { width, height, greys }
    }

    /// Nearest 8-bit greys.
    pub(super) fn into_film(self) -> Film {
        let greys = self.greys.iter().map(|g| (g.clamp(0.0, 1.0) * 255.0).round() as u8).collect();
        Film { width: self.width, height: self.height, greys }
    }

    /// Darkest to 0, brightest to 1.
    pub(super) fn stretch_to_full_scale(&mut self) {
        let low = self.greys.iter().copied().fold(f32::INFINITY, f32::min);
        let high = self.greys.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let scale = if high > low { 1.0 / (high - low) } else { 1.0 };
        self.greys.iter_mut().for_each(|g| *g = (*g - low) * scale);
    }

    /// Square of `side` pixels, with a triangle filter as wide as the reduction.
    pub(super) fn resized(self, side: usize) -> Self {
        if self.width == side && self.height == side {
            return self;
        }
        let rows = resampled(&self.greys, self.width, self.height, side);
        let greys = resampled(&rows, self.height, side, side);
        Self::new(side, side, greys)
    }

    /// Mean over a square of `2 × radius + 1` pixels, `passes` times: near a Gaussian from three passes on.
    pub(super) fn blurred(&self, radius: usize, passes: usize) -> Self {
        let mut greys = self.greys.clone();
        for _ in 0..passes {
            greys = box_rows(&greys, self.width, radius);
            greys = transposed(&greys, self.width);
            greys = box_rows(&greys, self.height, radius);
            greys = transposed(&greys, self.height);
        }
        Self::new(self.width, self.height, greys)
    }

    /// Sets the pixel at column `x` and row `y`, if it is there, `share` of the way to `grey`.
    pub(super) fn blend(&mut self, x: i32, y: i32, grey: f32, share: f32) {
        if (0..self.width as i32).contains(&x) && (0..self.height as i32).contains(&y) {
            let pixel = &mut self.greys[y as usize * self.width + x as usize];
            *pixel += share * (grey - *pixel);
        }
    }
}

/// `height` rows of `width` greys, each row resampled to `count`, and the picture turned over its diagonal.
fn resampled(greys: &[f32], width: usize, height: usize, count: usize) -> Vec<f32> {
    let step = width as f32 / count as f32;
    let support = step.max(1.0);
    let taps: Vec<(usize, Vec<f32>)> = (0..count)
        .map(|i| {
            let centre = (i as f32 + 0.5) * step;
            let first = ((centre - support).floor().max(0.0) as usize).min(width - 1);
            let last = ((centre + support).ceil() as usize).clamp(first + 1, width);
            let mut weights: Vec<f32> =
                (first..last).map(|s| (1.0 - (s as f32 + 0.5 - centre).abs() / support).max(1e-6)).collect();
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= sum);
            (first, weights)
        })
        .collect();
    let mut out = vec![0.0; count * height];
    for (y, row) in greys.chunks_exact(width).enumerate() {
        for (x, (first, weights)) in taps.iter().enumerate() {
            let source = &row[*first..first + weights.len()];
            out[x * height + y] = source.iter().zip(weights).map(|(g, w)| g * w).sum();
        }
    }
    out
}

fn box_rows(greys: &[f32], width: usize, radius: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(greys.len());
    for row in greys.chunks_exact(width) {
        let at = |i: isize| row[i.clamp(0, width as isize - 1) as usize];
        let radius = radius as isize;
        let mut sum: f32 = (-radius..=radius).map(at).sum();
        for x in 0..width as isize {
            out.push(sum / (2 * radius + 1) as f32);
            sum += at(x + radius + 1) - at(x - radius);
        }
    }
    out
}

fn transposed(greys: &[f32], width: usize) -> Vec<f32> {
    let height = greys.len() / width;
    let mut out = vec![0.0; greys.len()];
    for (y, row) in greys.chunks_exact(width).enumerate() {
        for (x, grey) in row.iter().enumerate() {
            out[x * height + y] = *grey;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resizing_and_blurring_keep_a_slope_a_slope() {
        let plane = Plane::new(
            60,
            40,
            (0..2400).map(|i| (i % 60) as f32 / 59.0 * 0.5 + (i / 60) as f32 / 39.0 * 0.5).collect(),
        );
        let small = plane.clone().resized(20);
        assert!((small.greys[10 * 20 + 10] - 0.5).abs() < 0.05);
        assert!(small.greys[19 * 20 + 2] > small.greys[2 * 20 + 2]);
        assert!(small.greys[2 * 20 + 19] > small.greys[2 * 20 + 2]);
        let soft = plane.blurred(2, 3);
        assert!((soft.greys[20 * 60 + 30] - plane.greys[20 * 60 + 30]).abs() < 0.01);
    }
}
