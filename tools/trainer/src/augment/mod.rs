//! What may happen to a film between hospitals: how it was framed, exposed, processed, marked, scaled and stored.
//!
//! Everything is done to the film itself, so that the device's own preprocessing is always the last step. Nothing here
//! may leave a trace that depends on the label.

mod degrade;
mod marks;
mod plane;
mod surroundings;
mod warp;

use rand::Rng;

use crate::data::Film;
use crate::recipe::Augment;

pub(crate) use surroundings::exchanged;

/// A new film from `film`, drawn with `random`.
///
/// `lungs` is the box of both lungs (left, top, right, bottom, as fractions), where it is known: pieces are cut out
/// only outside of it, or else only near the edge.
pub fn augment(film: &Film, lungs: Option<[f32; 4]>, how: &Augment, random: &mut impl Rng) -> Film {
    let side = how.side_px as usize;
    let mut plane = if chance(how.cut_out, random) {
        let mut cut = film.clone();
        marks::cut_out(&mut cut, lungs, random);
        warp::warp(&cut, how, side, random)
    } else {
        warp::warp(film, how, side, random)
    };
    plane.stretch_to_full_scale();
    degrade::uneven(&mut plane, how.unevenness, random);
    if chance(how.sharpness, random) {
        degrade::sharpen_or_blur(&mut plane, random);
    }
    if chance(how.marks, random) {
        marks::burn_in(&mut plane, random);
    }
    if chance(how.frame, random) {
        marks::frame(&mut plane, random);
    }
    let [low, high] = how.resolution_px;
    let mut plane = plane.resized(random.random_range(low..=high) as usize);
    degrade::noise(&mut plane, how.noise, random);
    let [low, high] = how.jpeg_quality;
    let plane = degrade::through_jpeg(plane, random.random_range(low..=high));
    plane.resized(side).into_film()
}

pub(crate) fn chance(share: f32, random: &mut impl Rng) -> bool {
    random.random::<f32>() < share
}

/// A number between `low` and `high`; `low` where they are equal.
fn between(low: f32, high: f32, random: &mut impl Rng) -> f32 {
    low + (high - low) * random.random::<f32>()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const SIDE: usize = 224;

    fn strong() -> Augment {
        let recipe: crate::recipe::RecipeFile =
            toml::from_str(include_str!("../../recipes/first.toml")).expect("the recipe");
        Augment { marks: 1.0, frame: 1.0, cut_out: 1.0, sharpness: 1.0, unevenness: 1.0, ..recipe.augment }
    }

    fn none() -> Augment {
        Augment {
            crop: 1.0,
            rotation_degrees: 0.0,
            flip: 0.0,
            resolution_px: [224, 224],
            unevenness: 0.0,
            sharpness: 0.0,
            noise: 0.0,
            jpeg_quality: [100, 100],
            marks: 0.0,
            frame: 0.0,
            cut_out: 0.0,
            side_px: SIDE as u32,
            surroundings: 0.0,
            style: 0.0,
        }
    }

    fn film(width: usize, height: usize) -> Film {
        let greys = (0..width * height).map(|i| ((i % width + i / width) * 255 / (width + height)) as u8).collect();
        Film { width, height, greys }
    }

    #[test]
    fn films_of_any_shape_survive_whatever_is_drawn() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        for (width, height) in [(1, 1), (3, 200), (416, 351), (224, 224)] {
            for _ in 0..20 {
                let lungs = random.random_bool(0.5).then_some([0.2, 0.1, 0.9, 0.8]);
                let new = augment(&film(width, height), lungs, &strong(), &mut random);
                assert_eq!((new.width, new.height, new.greys.len()), (SIDE, SIDE, SIDE * SIDE));
            }
        }
    }

    #[test]
    fn the_same_draw_gives_the_same_film_and_another_gives_another() {
        let draw = |seed| augment(&film(300, 280), None, &strong(), &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn with_everything_off_the_film_is_only_resized() {
        let new = augment(&film(448, 448), None, &none(), &mut ChaCha8Rng::seed_from_u64(1));
        for (x, y) in [(10, 10), (100, 30), (200, 200)] {
            let expected = (x + y) as f32 / (2.0 * SIDE as f32) * 255.0;
            let found = f32::from(new.greys[y * SIDE + x]);
            assert!((found - expected).abs() < 4.0, "{found} at {x}, {y}, expected {expected}");
        }
    }
}
