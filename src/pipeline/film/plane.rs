//! A photograph in linear light, reduced to the size that a step needs.

use std::sync::LazyLock;

use crate::domain::GreyImage;

/// From codes of a camera (sRGB's curve, IEC 61966-2-1) to light, for every grey.
static LIGHT: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let light = |code: f32| if code <= 0.04045 { code / 12.92 } else { ((code + 0.055) / 1.055).powf(2.4) };
    (0..=u16::MAX).map(|grey| light(f32::from(grey) / f32::from(u16::MAX))).collect()
});

/// The code of a camera for `light`, both 0 to 1.
pub(super) fn code(light: f32) -> f32 {
    let light = light.clamp(0.0, 1.0);
    if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

/// Light, row by row, 0 to 1.
#[derive(Debug)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) light: Vec<f32>,
    /// Pixels of the photograph on a side of one of these.
    pub(super) factor: f32,
}

impl Plane {
    /// The mean light of blocks of `factor` × `factor` pixels; those at the far edges may be smaller.
    pub(super) fn reduced(photo: &GreyImage, factor: u32) -> Self {
        let factor = factor.max(1);
        let (width, height) = (photo.width().div_ceil(factor), photo.height().div_ceil(factor));
        let mut light = Vec::with_capacity((width * height) as usize);
        let mut sums = vec![0.0f32; width as usize];
        for block in 0..height {
            let rows = block * factor..((block + 1) * factor).min(photo.height());
            sums.fill(0.0);
            for y in rows.clone() {
                for (sum, greys) in sums.iter_mut().zip(photo.row(y).chunks(factor as usize)) {
                    *sum += greys.iter().map(|grey| LIGHT[usize::from(*grey)]).sum::<f32>();
                }
            }
            light.extend(sums.iter().enumerate().map(|(x, sum)| {
                let columns = factor.min(photo.width() - x as u32 * factor);
                sum / (columns * rows.len() as u32) as f32
            }));
        }
        Self { width: width as usize, height: height as usize, light, factor: factor as f32 }
    }

    /// The light at a place in pixels of the photograph; `None` outside.
    pub(super) fn at(&self, [x, y]: [f32; 2]) -> Option<f32> {
        let (x, y) = (x / self.factor, y / self.factor);
        if !(x >= 0.0 && y >= 0.0 && x < self.width as f32 && y < self.height as f32) {
            return None;
        }
        // Values stand for the centres of their pixels.
        let (x, y) = ((x - 0.5).max(0.0), (y - 0.5).max(0.0));
        let (left, top) = ((x as usize).min(self.width - 1), (y as usize).min(self.height - 1));
        let (right, bottom) = ((left + 1).min(self.width - 1), (top + 1).min(self.height - 1));
        let (across, down) = (x - left as f32, y - top as f32);
        let row = |y: usize| {
            let row = &self.light[y * self.width..(y + 1) * self.width];
            row[left] + (row[right] - row[left]) * across
        };
        let (upper, lower) = (row(top), row(bottom));
        Some(upper + (lower - upper) * down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_is_averaged_and_found_again_between_pixels() {
        let greys = (0..5 * 3).map(|i| if i % 5 < 2 { 0 } else { u16::MAX }).collect();
        let plane = Plane::reduced(&GreyImage::new(5, 3, greys).unwrap(), 2);
        assert_eq!((plane.width, plane.height), (3, 2));
        assert_eq!(plane.light, [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
        assert_eq!(plane.at([2.0, 1.0]), Some(0.5), "between the first two centres");
        assert_eq!((plane.at([-0.1, 1.0]), plane.at([6.1, 0.0])), (None, None));
    }

    #[test]
    fn codes_and_light_are_each_other_s_inverse() {
        for grey in (0..=u16::MAX).step_by(771) {
            let share = f32::from(grey) / f32::from(u16::MAX);
            assert!((code(LIGHT[usize::from(grey)]) - share).abs() < 1e-3, "{grey}");
        }
    }
}
