//! The lamp behind the film: how bright it is where, as far as its rim beside the film shows it.

use super::outline::{Outline, Place};
use super::plane::Plane;

/// Places that are looked at on one side of the rim.
const SAMPLES: usize = 40;
/// From here on the camera shows no differences any more.
pub(super) const BURNT_OUT: f32 = 0.97;
/// Share of the rim that may be burnt out: more, and what is left is no sample of it.
const MOST_BURNT_OUT: f32 = 0.05;
/// Terms of a surface that may bend.
const TERMS: usize = 6;

/// The brightness of the lamp behind a film, in logarithms of light, over −1 to 1 across and down the film.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lamp([f64; TERMS]);

/// What the rim shows of the lamp.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rim {
    /// How bright it is everywhere.
    Seen(Lamp),
    /// There is too little of it to tell.
    Missing,
    /// The camera shows it white throughout.
    BurntOut,
}

impl Lamp {
    fn terms(x: f64, y: f64) -> [f64; TERMS] {
        [1.0, x, y, x * x, x * y, y * y]
    }

    /// The light at a place in the film, both −1 to 1.
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let terms = Self::terms(x.into(), y.into());
        terms.iter().zip(self.0).map(|(term, weight)| term * weight).sum::<f64>().exp() as f32
    }
}

/// Measures the rim in the middle between the film's and the lamp's sides.
pub(super) fn rim(plane: &Plane, outline: &Outline) -> Rim {
    let mut samples: Vec<(f64, f64, f64)> = Vec::new();
    let (mut seen, mut burnt_out) = (0, 0);
    for side in (0..4).filter(|side| outline.rims[*side]) {
        for sample in 0..SAMPLES {
            let along = (sample as f32 + 0.5) / SAMPLES as f32;
            let on = |corners: &[Place; 4]| {
                let (a, b) = (corners[side], corners[(side + 1) % 4]);
                [a[0] + (b[0] - a[0]) * along, a[1] + (b[1] - a[1]) * along]
            };
            let (inner, outer) = (on(&outline.film), on(&outline.lamp));
            let Some(light) = plane.at([(inner[0] + outer[0]) / 2.0, (inner[1] + outer[1]) / 2.0]) else { continue };
            seen += 1;
            if light >= BURNT_OUT {
                burnt_out += 1;
            } else if light > 0.01 {
                let across = f64::from(along) * 2.0 - 1.0;
                let (x, y) = [(across, -1.05), (1.05, across), (-across, 1.05), (-1.05, -across)][side];
                samples.push((x, y, f64::from(light).ln()));
            }
        }
    }
    if burnt_out as f32 > MOST_BURNT_OUT * seen as f32 {
        return Rim::BurntOut;
    }
    // Two sides say how the lamp slopes, all of them how it bends.
    let sides = outline.rims.iter().filter(|rim| **rim).count();
    let terms = match sides {
        0 | 1 => return Rim::Missing,
        2 | 3 => 3,
        _ => TERMS,
    };
    // Twice: dust, hangers and labels on the rim are far from the first surface.
    let Some(first) = fitted(&samples, terms) else { return Rim::Missing };
    samples.retain(|(x, y, light)| {
        let surface: f64 = Lamp::terms(*x, *y).iter().zip(first).map(|(term, weight)| term * weight).sum();
        (light - surface).abs() < 0.2
    });
    fitted(&samples, terms).map_or(Rim::Missing, |weights| Rim::Seen(Lamp(weights)))
}

/// How far the light of a square picture is from that of an even or bent surface, in logarithms: next to nothing for a
/// lamp, much for a film.
pub(super) fn unevenness(light: &[f32], side: usize) -> f32 {
    const EVERY: usize = 5;
    let share = |at: usize| 2.0 * (at as f64 + 0.5) / side as f64 - 1.0;
    let samples: Vec<(f64, f64, f64)> = (0..side * side)
        .filter(|at| (at % side).is_multiple_of(EVERY) && (at / side).is_multiple_of(EVERY))
        .filter_map(|at| Some((share(at % side), share(at / side), f64::from(light.get(at)?.max(1e-3)).ln())))
        .collect();
    let Some(weights) = fitted(&samples, TERMS) else { return 0.0 };
    let squares = samples.iter().map(|(x, y, light)| {
        let surface: f64 = Lamp::terms(*x, *y).iter().zip(weights).map(|(term, weight)| term * weight).sum();
        (light - surface).powi(2)
    });
    (squares.sum::<f64>() / samples.len() as f64).sqrt() as f32
}

/// Least squares by the normal equations, of the first `terms` terms.
fn fitted(samples: &[(f64, f64, f64)], terms: usize) -> Option<[f64; TERMS]> {
    if samples.len() < 4 * TERMS {
        return None;
    }
    let mut rows = [[0.0; TERMS + 1]; TERMS];
    for (x, y, light) in samples {
        let values = Lamp::terms(*x, *y);
        for i in 0..terms {
            for j in 0..terms {
                rows[i][j] += values[i] * values[j];
            }
            rows[i][TERMS] += values[i] * light;
        }
    }
    for pivot in 0..terms {
        let largest = (pivot..terms).max_by(|a, b| rows[*a][pivot].abs().total_cmp(&rows[*b][pivot].abs()))?;
        rows.swap(pivot, largest);
        if rows[pivot][pivot].abs() < 1e-9 {
            return None;
        }
        let pivot_row = rows[pivot];
        for (_, row) in rows.iter_mut().enumerate().take(terms).filter(|(index, _)| *index != pivot) {
            let factor = row[pivot] / pivot_row[pivot];
            row.iter_mut().zip(pivot_row).for_each(|(value, above)| *value -= factor * above);
        }
    }
    let mut weights = [0.0; TERMS];
    (0..terms).for_each(|term| weights[term] = rows[term][TERMS] / rows[term][term]);
    Some(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surface_that_bends_is_found_from_the_border_of_a_square() {
        let truth = [-0.5, 0.2, -0.1, -0.15, 0.05, -0.2];
        let mut samples = Vec::new();
        for i in 0..40 {
            let a = f64::from(i) / 20.0 - 1.0;
            for (x, y) in [(a, -1.05), (1.05, a), (a, 1.05), (-1.05, a)] {
                samples.push((x, y, Lamp::terms(x, y).iter().zip(truth).map(|(t, w)| t * w).sum()));
            }
        }
        let found = fitted(&samples, TERMS).unwrap();
        for (found, expected) in found.iter().zip(truth) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        assert!((Lamp(found).at(0.0, 0.0) - (-0.5f32).exp()).abs() < 1e-5);
        assert!(fitted(&samples[..10], TERMS).is_none());
        let place = |at: usize| 2.0 * (at as f32 + 0.5) / 60.0 - 1.0;
        let lamp: Vec<f32> = (0..3600).map(|at| Lamp(found).at(place(at % 60), place(at / 60))).collect();
        assert!(unevenness(&lamp, 60) < 1e-3);
        let film: Vec<f32> = lamp.iter().enumerate().map(|(at, light)| light * [0.1, 1.0][at / 7 % 2]).collect();
        assert!(unevenness(&film, 60) > 0.5);
    }
}
