//! What several tests need: films that no patient was exposed for.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part that it needs")]

pub mod photograph;

use lightbox::domain::GreyImage;

/// A frontal chest as a grey picture: trunk, lungs with vessels, ribs, clavicles, spine, heart and diaphragm, with the
/// noise of a detector. The same `seed` gives the same picture.
///
/// Anatomy is kept in parts of the picture's width and height, so every size shows the whole chest.
pub fn chest_phantom(width: u32, height: u32, seed: u64) -> GreyImage {
    let mut noise = Noise(seed);
    let person = Person::of(&mut noise);
    let mut greys = Vec::with_capacity(width as usize * height as usize);
    for y in 0..height {
        for x in 0..width {
            // -1 to 1 from the image's left to right, 0 to 1 from top to bottom.
            let across = (x as f32 + 0.5) / width as f32 * 2.0 - 1.0;
            let down = (y as f32 + 0.5) / height as f32;
            let light = person.light(across, down) + 0.012 * noise.bell();
            greys.push((light.clamp(0.0, 1.0) * 65_535.0) as u16);
        }
    }
    GreyImage::new(width, height, greys).expect("one value for each pixel")
}

/// How one phantom differs from the next.
struct Person {
    breadth: f32,
    heart: f32,
    tilt: f32,
    vessels: Vec<[f32; 4]>,
}

impl Person {
    fn of(noise: &mut Noise) -> Self {
        let vessels = (0..26).map(|_| {
            let side = if noise.unit() < 0.5 { -1.0 } else { 1.0 };
            let angle = noise.unit() * 2.4 - 1.2;
            let length = 0.12 + 0.22 * noise.unit();
            [side, angle, length, 0.006 + 0.008 * noise.unit()]
        });
        let vessels = vessels.collect();
        Self {
            breadth: 0.96 + 0.08 * noise.unit(),
            heart: 0.94 + 0.12 * noise.unit(),
            tilt: (noise.unit() - 0.5) * 0.04,
            vessels,
        }
    }

    /// How light the film is at a place: what stops X-rays is light.
    fn light(&self, across: f32, down: f32) -> f32 {
        let x = (across + self.tilt * (down - 0.5)) / self.breadth;
        let y = down;
        // Trunk: shoulders widen below the neck, arms leave at the sides.
        let half_trunk = 0.30 + 0.62 * smooth(0.02, 0.22, y);
        let trunk = 1.0 - smooth(half_trunk - 0.03, half_trunk + 0.03, x.abs());
        let mut light = 0.03 + trunk * (0.50 + 0.10 * x.abs());

        // Lungs: image left is the patient's right; its diaphragm stands higher, under the liver.
        let mut air: f32 = 0.0;
        for side in [-1.0f32, 1.0] {
            let base = if side < 0.0 { 0.765 } else { 0.80 };
            let dome = base + 0.32 * (side * x - 0.40).powi(2);
            let centre = 0.39 - 0.05 * (1.0 - y);
            let wide = 0.325 * (1.0 - ((0.50 - y).max(0.0) / 0.43).powi(3)).max(0.0).sqrt();
            let inside = 1.0 - smooth(wide - 0.035, wide + 0.02, (side * x - centre).abs());
            let tall = smooth(0.075, 0.12, y) * (1.0 - smooth(dome - 0.012, dome + 0.012, y));
            air = air.max(inside * tall);
        }
        light -= 0.40 * air;

        let mut vessels: f32 = 0.0;
        for [side, angle, length, half_width] in &self.vessels {
            let (hilum_x, hilum_y) = (0.17 * side, 0.44);
            let (dx, dy) = ((x - hilum_x) * side, y - hilum_y);
            let (sin, cos) = angle.sin_cos();
            let (along, beside) = (dx * cos + dy * sin, (dy * cos - dx * sin).abs());
            let thin = half_width * (1.0 - along / length).max(0.0);
            if along > 0.0 && thin > 0.0 {
                let near = smooth(0.0, 0.05, along);
                vessels = vessels
                    .max(0.12 * near * (1.0 - along / length) * (1.0 - smooth(thin * 0.3, thin + 0.010, beside)));
            }
            let hilum = (dx / 0.07).hypot(dy / 0.08);
            vessels = vessels.max(0.13 * (1.0 - smooth(0.1, 1.3, hilum)));
        }
        light += vessels * air;

        // Ribs: behind they fall outwards gently, in front steeply.
        let side = x.abs();
        let cage = smooth(0.05, 0.10, y) * (1.0 - smooth(0.80, 0.90, y)) * (1.0 - smooth(0.74, 0.80, side)) * trunk;
        for rib in 0..10 {
            let level = 0.085 + 0.076 * rib as f32;
            let behind = level - 0.045 + 0.10 * side + 0.26 * (side - 0.30).max(0.0).powi(2);
            light += 0.105 * cage * band(y, behind, 0.016) * smooth(0.07, 0.12, side);
            let front = level + 0.20 - 0.36 * (side - 0.62).abs();
            light += 0.05 * cage * band(y, front, 0.014) * smooth(0.24, 0.34, side) * (0.25 + 0.75 * air);
        }
        let clavicle = 0.135 - 0.075 * side + 0.03 * (side * 6.0).sin();
        light += 0.13 * trunk * band(y, clavicle, 0.017) * smooth(0.06, 0.09, side) * (1.0 - smooth(0.66, 0.74, side));

        // Spine, darker between the vertebrae; windpipe; heart to the image's right, with the aortic knob above it.
        let vertebra = 0.5 + 0.5 * (y * 15.5 * std::f32::consts::TAU).sin();
        light += trunk * (1.0 - smooth(0.065, 0.095, side)) * (0.05 + 0.035 * vertebra);
        light -= 0.13 * band(x, 0.005, 0.038) * (1.0 - smooth(0.33, 0.40, y));
        light += 0.20 * (1.0 - smooth(0.10, 0.17, side)) * smooth(0.12, 0.2, y) * (0.4 + 0.6 * air);
        let (hx, hy) = (x - 0.125, y - 0.635);
        let (long, broad) = (hx * 0.80 + hy * 0.60, hy * 0.80 - hx * 0.60);
        let heart = (long / (0.315 * self.heart)).hypot(broad / (0.17 * self.heart));
        let knob = ((x - 0.095) / 0.105).hypot((y - 0.315) / 0.062);
        let right_edge = ((x + 0.06) / 0.15).hypot((y - 0.62) / 0.17);
        let mediastinum =
            [heart, knob, right_edge].map(|edge| 1.0 - smooth(0.82, 1.08, edge)).into_iter().fold(0.0, f32::max);
        light += 0.30 * mediastinum * air;

        // Below the diaphragm: liver, and the stomach's bubble on the image's right.
        let bubble = ((x - 0.36) / 0.10).hypot((y - 0.885) / 0.035);
        light -= 0.16 * (1.0 - smooth(0.7, 1.1, bubble));
        light + 0.06 * trunk * smooth(0.74, 0.95, y)
    }
}

/// 0 below `from`, 1 above `to`, smooth between.
fn smooth(from: f32, to: f32, value: f32) -> f32 {
    let t = ((value - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// 1 on a line, 0 from `half_width` on.
fn band(value: f32, line: f32, half_width: f32) -> f32 {
    1.0 - smooth(half_width * 0.45, half_width, (value - line).abs())
}

/// SplitMix64 (Steele 2014): small, and the same everywhere.
struct Noise(u64);

impl Noise {
    fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// 0 to 1.
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Mean 0, variance about 1 (the sum of four).
    fn bell(&mut self) -> f32 {
        ((0..4).map(|_| self.unit()).sum::<f32>() - 2.0) * 1.732
    }
}
