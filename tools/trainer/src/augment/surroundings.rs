//! The lungs of one film in the surroundings of another, whatever the labels of the two: then neither the edges of a
//! film nor its marks tell what it shows.

use rand::Rng;

use super::between;
use crate::data::Film;

/// Largest margin around the lungs that comes along, as a share of their box's sides.
const MARGIN: f32 = 0.08;
/// Share of the box's sides over which one film passes into the other.
const SEAM: f32 = 0.06;

/// `film`'s `lungs` (left, top, right, bottom, as fractions) at the `place` of the lungs of `other`. Greys of both are
/// ranked first, so that the brighter film does not stand out.
pub(crate) fn exchanged(film: &Film, lungs: [f32; 4], other: &Film, place: [f32; 4], random: &mut impl Rng) -> Film {
    let margin = between(0.0, MARGIN, random);
    let (from, to) = (grown(lungs, margin), grown(place, margin));
    let (own, mut greys) = (ranked(&film.greys), ranked(&other.greys));
    let (width, height) = (other.width as f32, other.height as f32);
    for y in 0..other.height {
        for x in 0..other.width {
            // Where in the box, 0 to 1.
            let u = ((x as f32 + 0.5) / width - to[0]) / (to[2] - to[0]);
            let v = ((y as f32 + 0.5) / height - to[1]) / (to[3] - to[1]);
            let depth = u.min(v).min(1.0 - u).min(1.0 - v);
            if depth <= 0.0 {
                continue;
            }
            let column = (from[0] + u * (from[2] - from[0])) * film.width as f32;
            let row = (from[1] + v * (from[3] - from[1])) * film.height as f32;
            let inside = |at: f32, length: usize| (at.max(0.0) as usize).min(length - 1);
            let grey = own[inside(row, film.height) * film.width + inside(column, film.width)];
            let share = (depth / SEAM).min(1.0);
            let pixel = &mut greys[y * other.width + x];
            *pixel = (f32::from(*pixel) + share * (f32::from(grey) - f32::from(*pixel))).round() as u8;
        }
    }
    Film { width: other.width, height: other.height, greys }
}

fn grown([left, top, right, bottom]: [f32; 4], margin: f32) -> [f32; 4] {
    let (across, down) = ((right - left).max(0.05) * margin, (bottom - top).max(0.05) * margin);
    [left - across, top - down, right.max(left + 0.05) + across, bottom.max(top + 0.05) + down]
}

/// Each grey's rank among all, 0 to 255, ties in the middle.
fn ranked(greys: &[u8]) -> Vec<u8> {
    let mut counts = [0usize; 256];
    greys.iter().for_each(|g| counts[usize::from(*g)] += 1);
    let mut below = 0;
    let ranks = counts.map(|count| {
        let rank = (below as f32 + count as f32 / 2.0) / greys.len() as f32;
        below += count;
        (rank * 255.0).round() as u8
    });
    greys.iter().map(|g| ranks[usize::from(*g)]).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Dark with a bright box, or the other way round.
    fn film(side: usize, place: [f32; 4], inside: u8, outside: u8) -> Film {
        let greys = (0..side * side)
            .map(|i| {
                let (x, y) = ((i % side) as f32 / side as f32, (i / side) as f32 / side as f32);
                let within = x >= place[0] && y >= place[1] && x < place[2] && y < place[3];
                if within { inside } else { outside }
            })
            .collect();
        Film { width: side, height: side, greys }
    }

    #[test]
    fn the_lungs_are_of_one_film_and_all_else_of_the_other() {
        let (lungs, place) = ([0.1, 0.1, 0.5, 0.6], [0.3, 0.2, 0.9, 0.8]);
        let (own, other) = (film(100, lungs, 10, 200), film(80, place, 240, 50));
        let new = exchanged(&own, lungs, &other, place, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!((new.width, new.height), (80, 80));
        let at = |x: f32, y: f32| new.greys[(y * 80.0) as usize * 80 + (x * 80.0) as usize];
        // The lungs are the darker fifth of their film, the surroundings the darker two thirds of theirs.
        assert_eq!((at(0.6, 0.5), at(0.1, 0.5), at(0.95, 0.95)), (26, 82, 82));
    }

    #[test]
    fn boxes_beyond_the_edge_and_films_of_one_pixel_are_borne() {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let (one, many) = (film(1, [0.0; 4], 1, 1), film(30, [0.2, 0.2, 0.8, 0.8], 9, 90));
        for place in [[-0.2, -0.1, 1.3, 1.1], [0.5, 0.5, 0.5, 0.5], [0.9, 0.9, 0.1, 0.1]] {
            assert_eq!(exchanged(&one, place, &many, place, &mut random).greys.len(), 900);
            assert_eq!(exchanged(&many, place, &one, place, &mut random).greys.len(), 1);
        }
    }
}
