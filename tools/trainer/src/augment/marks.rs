//! What is on films beside the patient: letters, arrows, boxes, frames; and pieces taken away outside the lungs.

use rand::Rng;

use super::plane::Plane;
use super::{between, chance};
use crate::data::Film;

/// Five columns by seven rows, a bit a pixel, the leftmost bit 16.
const LETTERS: [[u8; 7]; 16] = [
    [0x11, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11], // H
    [0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11], // R
    [0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f], // L
    [0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11], // A
    [0x1e, 0x11, 0x11, 0x1e, 0x10, 0x10, 0x10], // P
    [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f], // E
    [0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04], // T
    [0x1e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1e], // D
    [0x0f, 0x10, 0x10, 0x10, 0x10, 0x10, 0x0f], // C
    [0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e], // O
    [0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e], // S
    [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e], // 1
    [0x0e, 0x11, 0x01, 0x06, 0x08, 0x10, 0x1f], // 2
    [0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e], // 3
    [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e], // 5
    [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e], // 8
];

/// One to four letters, arrows or boxes.
pub(super) fn burn_in(plane: &mut Plane, random: &mut impl Rng) {
    for _ in 0..random.random_range(1..=4) {
        match random.random_range(0..10) {
            0..6 => text(plane, random),
            6..8 => arrow(plane, random),
            _ => patch(plane, random),
        }
    }
}

/// Mostly white, now and then black or grey.
fn ink(random: &mut impl Rng) -> f32 {
    match random.random_range(0..10) {
        0..6 => 1.0,
        6..8 => 0.0,
        _ => random.random::<f32>(),
    }
}

/// A place, mostly near an edge.
fn place(plane: &Plane, random: &mut impl Rng) -> (i32, i32) {
    let mut x: f32 = random.random();
    let mut y: f32 = random.random();
    if chance(0.8, random) {
        let near = if chance(0.5, random) { &mut x } else { &mut y };
        *near = if *near < 0.5 { *near * 0.3 } else { 1.0 - (1.0 - *near) * 0.3 };
    }
    ((x * plane.width as f32) as i32, (y * plane.height as f32) as i32)
}

fn text(plane: &mut Plane, random: &mut impl Rng) {
    let (left, top) = place(plane, random);
    let (scale, ink, share) = (random.random_range(1..=4), ink(random), between(0.6, 1.0, random));
    let count = if scale > 2 { random.random_range(1..=2) } else { random.random_range(1..=8) };
    for number in 0..count {
        let letter = LETTERS[random.random_range(0..LETTERS.len())];
        for (row, bits) in letter.iter().enumerate() {
            for column in (0..5).filter(|c| bits & (16 >> c) != 0) {
                for (dx, dy) in (0..scale).flat_map(|dx| (0..scale).map(move |dy| (dx, dy))) {
                    let x = left + (number * 6 + column) * scale + dx;
                    plane.blend(x, top + row as i32 * scale + dy, ink, share);
                }
            }
        }
    }
}

fn arrow(plane: &mut Plane, random: &mut impl Rng) {
    let (x, y) = ((random.random::<f32>() * plane.width as f32), (random.random::<f32>() * plane.height as f32));
    let (length, angle) = (between(8.0, 40.0, random), between(0.0, std::f32::consts::TAU, random));
    let (ink, thick) = (ink(random), random.random_range(1..=3));
    let (sin, cos) = angle.sin_cos();
    for step in 0..length as usize * 2 {
        let along = step as f32 / 2.0;
        // The head is a triangle over the first quarter.
        let half = if along < length / 4.0 { along * 0.6 } else { thick as f32 / 2.0 };
        let reach = (half * 2.0) as i32;
        for across in -reach..=reach {
            let across = across as f32 / 2.0;
            plane.blend((x + along * cos - across * sin) as i32, (y + along * sin + across * cos) as i32, ink, 1.0);
        }
    }
}

/// A filled or an empty box.
fn patch(plane: &mut Plane, random: &mut impl Rng) {
    let (left, top) = place(plane, random);
    let (width, height) = (random.random_range(6..60), random.random_range(4..30));
    let (ink, filled) = (ink(random), chance(0.6, random));
    for (x, y) in (0..width).flat_map(|x| (0..height).map(move |y| (x, y))) {
        let on_edge = x < 2 || y < 2 || x >= width - 2 || y >= height - 2;
        if filled || on_edge {
            plane.blend(left + x, top + y, ink, 1.0);
        }
    }
}

/// A bar of one grey along some of the edges.
pub(super) fn frame(plane: &mut Plane, random: &mut impl Rng) {
    let ink = if chance(0.7, random) { 0.0 } else { random.random::<f32>() };
    let mut bar = |side: usize| if chance(0.5, random) { random.random_range(0..=side * 14 / 100) } else { 0 };
    let (left, right) = (bar(plane.width), plane.width - bar(plane.width));
    let (top, bottom) = (bar(plane.height), plane.height - bar(plane.height));
    for (i, grey) in plane.greys.iter_mut().enumerate() {
        let (x, y) = (i % plane.width, i / plane.width);
        if x < left || x >= right || y < top || y >= bottom {
            *grey = ink;
        }
    }
}

/// Takes away up to three boxes outside the lungs; near the edge where the lungs are not known.
pub(super) fn cut_out(film: &mut Film, lungs: Option<[f32; 4]>, random: &mut impl Rng) {
    let keep = lungs.unwrap_or([0.18, 0.15, 0.82, 0.8]);
    for _ in 0..random.random_range(1..=3) {
        let (width, height) = (between(0.05, 0.5, random), between(0.05, 0.3, random));
        let (left, top) = (between(-0.1, 1.0, random), between(-0.1, 1.0, random));
        let piece = [left, top, left + width, top + height];
        let fill = match random.random_range(0..3) {
            0 => 0,
            1 => random.random(),
            _ => film.greys[random.random_range(0..film.greys.len())],
        };
        let noisy = chance(0.3, random);
        let column = |share: f32| (share.clamp(0.0, 1.0) * film.width as f32) as usize;
        let row = |share: f32| (share.clamp(0.0, 1.0) * film.height as f32) as usize;
        let (inner_x, inner_y) = (column(keep[0])..column(keep[2]), row(keep[1])..row(keep[3]));
        for y in row(piece[1])..row(piece[3]) {
            for x in column(piece[0])..column(piece[2]) {
                if !(inner_x.contains(&x) && inner_y.contains(&y)) {
                    film.greys[y * film.width + x] = if noisy { random.random() } else { fill };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn nothing_is_cut_out_of_the_lungs() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut touched = 0;
        for _ in 0..50 {
            let mut film = Film { width: 100, height: 100, greys: vec![77; 10_000] };
            cut_out(&mut film, Some([0.2, 0.3, 0.7, 0.8]), &mut random);
            for y in 30..80 {
                assert!(film.greys[y * 100 + 20..y * 100 + 70].iter().all(|g| *g == 77));
            }
            touched += usize::from(film.greys.iter().any(|g| *g != 77));
        }
        assert!(touched > 25, "{touched} of 50 films were cut");
    }
}
