//! Exposure, processing and storage: uneven light, sharpening, noise, compression.

use image::codecs::jpeg::JpegEncoder;
use rand::Rng;

use super::between;
use super::plane::Plane;

/// A smooth field of about −1 to 1 over the picture: a few long waves.
struct Field {
    waves: [[f32; 4]; 3],
}

impl Field {
    fn draw(random: &mut impl Rng) -> Self {
        let mut wave = || {
            [
                between(-1.2, 1.2, random),
                between(-1.2, 1.2, random),
                between(0.0, 1.0, random),
                between(0.3, 1.0, random),
            ]
        };
        Self { waves: [wave(), wave(), wave()] }
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        let turn = std::f32::consts::TAU;
        self.waves.iter().map(|[u, v, phase, size]| size * (turn * (u * x + v * y + phase)).cos()).sum::<f32>() / 2.0
    }
}

/// Brightness and contrast that differ from place to place. The same curve everywhere would do nothing: ranks
/// of greys do not change with it.
pub(super) fn uneven(plane: &mut Plane, strength: f32, random: &mut impl Rng) {
    let (light, curve) = (Field::draw(random), Field::draw(random));
    let (much_light, much_curve) = (between(0.0, 0.35, random) * strength, between(0.0, 0.9, random) * strength);
    let (width, height) = (plane.width as f32, plane.height as f32);
    // Fields are smooth: one value for 8 × 8 pixels would show, one a row of 4 does not.
    for y in 0..plane.height {
        for x0 in (0..plane.width).step_by(4) {
            let (u, v) = ((x0 as f32 + 2.0) / width, y as f32 / height);
            let (add, power) = (much_light * light.at(u, v), (much_curve * curve.at(u, v)).exp());
            let end = (x0 + 4).min(plane.width);
            for grey in &mut plane.greys[y * plane.width + x0..y * plane.width + end] {
                // Not clipped: what is burnt out has no ranks left.
                *grey = grey.max(0.0).powf(power) + add;
            }
        }
    }
    plane.stretch_to_full_scale();
}

/// What a scanner, a viewer or the modality's own edge enhancement does.
pub(super) fn sharpen_or_blur(plane: &mut Plane, random: &mut impl Rng) {
    let radius = [1, 1, 2, 4, 8, 12][random.random_range(0..6)];
    let soft = plane.blurred(radius, 2);
    // Below 0 the picture moves towards its blurred self, above 0 away from it.
    let amount = if radius <= 2 { between(-1.0, 1.2, random) } else { between(-0.3, 1.0, random) };
    for (grey, soft) in plane.greys.iter_mut().zip(&soft.greys) {
        *grey += amount * (*grey - soft);
    }
    plane.stretch_to_full_scale();
}

/// Normal noise with a standard deviation of up to `largest`.
pub(super) fn noise(plane: &mut Plane, largest: f32, random: &mut impl Rng) {
    let deviation = between(0.0, largest, random);
    for grey in &mut plane.greys {
        // The sum of three uniform numbers is near enough to normal.
        let sum = random.random::<f32>() + random.random::<f32>() + random.random::<f32>() - 1.5;
        *grey = (*grey + 2.0 * deviation * sum).clamp(0.0, 1.0);
    }
}

/// Compressed and opened again; as it was if that fails.
pub(super) fn through_jpeg(plane: Plane, quality: u8) -> Plane {
    let (width, height) = (plane.width, plane.height);
    let film = plane.clone().into_film();
    let mut file = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut file, quality);
    let written = image::ImageEncoder::write_image(
        encoder,
        &film.greys,
        width as u32,
        height as u32,
        image::ExtendedColorType::L8,
    );
    match written.and_then(|()| image::load_from_memory_with_format(&file, image::ImageFormat::Jpeg)) {
        Ok(image) => {
            let greys = image.into_luma8().into_raw().into_iter().map(|g| f32::from(g) / 255.0).collect();
            Plane::new(width, height, greys)
        }
        Err(_) => plane,
    }
}
