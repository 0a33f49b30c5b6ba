//! Framing: which part of the film is seen, turned and mirrored how.

use rand::Rng;

use super::plane::Plane;
use super::{between, chance};
use crate::data::Film;
use crate::recipe::Augment;

/// A square of `side` pixels from a random part of `film`; what lies outside the film is black.
pub(super) fn warp(film: &Film, how: &Augment, side: usize, random: &mut impl Rng) -> Plane {
    let (width, height) = (film.width as f32, film.height as f32);
    // Each side by itself: the aspect changes with them, as no two sources agree on it.
    let (across, down) = (between(how.crop, 1.0, random), between(how.crop, 1.0, random));
    let centre_x = 0.5 + (random.random::<f32>() - 0.5) * (1.0 - across);
    let centre_y = 0.5 + (random.random::<f32>() - 0.5) * (1.0 - down);
    let angle = between(-how.rotation_degrees, how.rotation_degrees, random).to_radians();
    let (sin, cos) = angle.sin_cos();
    let mirror = if chance(how.flip, random) { -1.0 } else { 1.0 };
    let mut greys = Vec::with_capacity(side * side);
    for y in 0..side {
        for x in 0..side {
            let mut sum = 0.0;
            // Four samples a pixel: films are up to twice as fine as the target.
            for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
                let u = ((x as f32 + dx) / side as f32 - 0.5) * mirror;
                let v = (y as f32 + dy) / side as f32 - 0.5;
                let (u, v) = (cos * u - sin * v, sin * u + cos * v);
                sum += sample(film, (centre_x + u * across) * width - 0.5, (centre_y + v * down) * height - 0.5);
            }
            greys.push(sum / (4.0 * 255.0));
        }
    }
    Plane::new(side, side, greys)
}

/// Between the four nearest pixels.
fn sample(film: &Film, x: f32, y: f32) -> f32 {
    let (width, height) = (film.width as isize, film.height as isize);
    if x < -0.5 || y < -0.5 || x > width as f32 - 0.5 || y > height as f32 - 0.5 {
        return 0.0;
    }
    let (left, top) = (x.floor(), y.floor());
    let (right_share, lower_share) = (x - left, y - top);
    let (left, top) = (left as isize, top as isize);
    let at =
        |x: isize, y: isize| f32::from(film.greys[(y.clamp(0, height - 1) * width + x.clamp(0, width - 1)) as usize]);
    let upper = at(left, top) * (1.0 - right_share) + at(left + 1, top) * right_share;
    let lower = at(left, top + 1) * (1.0 - right_share) + at(left + 1, top + 1) * right_share;
    upper * (1.0 - lower_share) + lower * lower_share
}
