//! The signs that tell verdicts, states and keys apart without colour.
//!
//! Each is described by distances in a unit square, so it is sharp at every size.

use std::f32::consts::PI;

use super::Level;
use crate::domain::{Finding, Verdict};

/// A drawn sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sign {
    /// Filled triangle with an exclamation mark: Covid-19.
    Alarm,
    /// Filled diamond in a diamond: other pneumonia.
    Notice,
    /// Ring with a check mark: no pneumonia seen.
    Clear,
    /// Filled square with a question mark: cannot say.
    Question,
    /// Ring with a slash: not read.
    Refused,
    /// Filled disc with a check mark cut out: a part works.
    Good,
    /// Outline of a triangle with an exclamation mark: a part needs attention.
    Attention,
    /// Filled square on its corner with a cross cut out: a part does not work.
    Fault,
    /// Thin ring: not yet, or not chosen.
    Ring,
    /// Three dots: busy.
    Busy,
    /// Three lines: a list.
    List,
    /// Arrow down into a tray: something to be installed.
    Install,
    /// Globe: the language.
    Globe,
    /// Filled disc: the key that goes on.
    Disc,
    /// Filled square: the key that chooses.
    Square,
}

impl Sign {
    /// The signs of the verdicts.
    pub const OF_VERDICTS: [Self; 5] = [Self::Alarm, Self::Notice, Self::Clear, Self::Question, Self::Refused];

    /// The other signs.
    pub const OTHERS: [Self; 10] = [
        Self::Good,
        Self::Attention,
        Self::Fault,
        Self::Ring,
        Self::Busy,
        Self::List,
        Self::Install,
        Self::Globe,
        Self::Disc,
        Self::Square,
    ];

    /// The sign of a part's state.
    pub fn of_level(level: Level) -> Self {
        match level {
            Level::Good => Self::Good,
            Level::Attention => Self::Attention,
            Level::Fault => Self::Fault,
        }
    }

    /// The sign of a verdict.
    pub fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Found(Finding::Covid19) => Self::Alarm,
            Verdict::Found(Finding::Pneumonia) => Self::Notice,
            Verdict::Found(Finding::Normal) => Self::Clear,
            Verdict::Indeterminate(_) => Self::Question,
            Verdict::Rejected(_) => Self::Refused,
        }
    }

    /// How much of each pixel of a `side` × `side` box the sign covers, 0 to 1, row by row.
    pub fn coverage(self, side: u32) -> Vec<f32> {
        let length = side as f32;
        let pixels = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
        let shape = Shape::of(self);
        pixels
            .map(|(x, y)| {
                let at = [(x as f32 + 0.5) / length, (y as f32 + 0.5) / length];
                (0.5 - shape.distance(at) * length).clamp(0.0, 1.0)
            })
            .collect()
    }
}

type Point = [f32; 2];

/// A sign's outline and what is cut out of it; built once, asked for every pixel.
struct Shape {
    sign: Sign,
    /// Strokes as chains of points, with half their width.
    strokes: Vec<(Vec<Point>, f32)>,
}

impl Shape {
    fn of(sign: Sign) -> Self {
        let dot = |x, y, radius| (vec![[x, y], [x, y]], radius);
        let strokes = match sign {
            Sign::Alarm => vec![(vec![[0.5, 0.40], [0.5, 0.61]], 0.055), dot(0.5, 0.77, 0.062)],
            Sign::Notice | Sign::Refused | Sign::Ring | Sign::Disc | Sign::Square => Vec::new(),
            Sign::Good => vec![(vec![[0.27, 0.52], [0.44, 0.68], [0.73, 0.34]], 0.065)],
            Sign::Attention => vec![(vec![[0.5, 0.42], [0.5, 0.6]], 0.05), dot(0.5, 0.74, 0.058)],
            Sign::Fault => {
                vec![(vec![[0.34, 0.34], [0.66, 0.66]], 0.06), (vec![[0.66, 0.34], [0.34, 0.66]], 0.06)]
            }
            Sign::Busy => vec![dot(0.16, 0.5, 0.135), dot(0.5, 0.5, 0.135), dot(0.84, 0.5, 0.135)],
            Sign::List => [0.22, 0.5, 0.78].map(|y| (vec![[0.12, y], [0.88, y]], 0.075)).into(),
            Sign::Install => vec![
                (vec![[0.5, 0.1], [0.5, 0.6]], 0.065),
                (vec![[0.28, 0.4], [0.5, 0.62], [0.72, 0.4]], 0.065),
                (vec![[0.1, 0.66], [0.1, 0.88], [0.9, 0.88], [0.9, 0.66]], 0.065),
            ],
            Sign::Globe => {
                let meridian = |width: f32| {
                    let points = (0..=32).map(|step| 2.0 * PI * step as f32 / 32.0);
                    (points.map(|angle| [0.5 + width * angle.cos(), 0.5 + 0.42 * angle.sin()]).collect(), 0.035)
                };
                vec![meridian(0.42), meridian(0.19), (vec![[0.08, 0.5], [0.92, 0.5]], 0.035)]
            }
            Sign::Clear => vec![(vec![[0.29, 0.53], [0.44, 0.67], [0.72, 0.36]], 0.062)],
            Sign::Question => {
                let mut hook: Vec<Point> = (0..=24)
                    .map(|step| PI * (1.0 + 1.38 * step as f32 / 24.0))
                    .map(|angle| [0.5 + 0.155 * angle.cos(), 0.36 + 0.155 * angle.sin()])
                    .collect();
                hook.push([0.5, 0.56]);
                hook.push([0.5, 0.62]);
                vec![(hook, 0.055), dot(0.5, 0.775, 0.065)]
            }
        };
        Self { sign, strokes }
    }

    /// Distance from the sign's edge, below 0 inside, in parts of the box.
    fn distance(&self, at: Point) -> f32 {
        let marks = self
            .strokes
            .iter()
            .map(|(points, half_width)| chain(at, points) - half_width)
            .fold(f32::INFINITY, f32::min);
        let [dx, dy] = [at[0] - 0.5, at[1] - 0.5];
        let radius = dx.hypot(dy);
        match self.sign {
            Sign::Alarm => {
                const CORNER: f32 = 0.06;
                let corners = [[0.5, 0.12], [0.93, 0.87], [0.07, 0.87]];
                (polygon(at, &corners) - CORNER).max(-marks)
            }
            Sign::Notice => {
                let from_centre = dx.abs() + dy.abs();
                let diamond = |half: f32| (from_centre - half) * std::f32::consts::FRAC_1_SQRT_2;
                diamond(0.49).max(-diamond(0.34)).min(diamond(0.21))
            }
            Sign::Clear => ((radius - 0.43).abs() - 0.05).min(marks),
            Sign::Question => {
                const CORNER: f32 = 0.12;
                let [ox, oy] = [(dx.abs() - 0.45 + CORNER).max(0.0), (dy.abs() - 0.45 + CORNER).max(0.0)];
                (ox.hypot(oy) - CORNER).max(-marks)
            }
            Sign::Refused => {
                let slash = chain(at, &[[0.22, 0.22], [0.78, 0.78]]) - 0.06;
                ((radius - 0.41).abs() - 0.07).min(slash)
            }
            Sign::Good => (radius - 0.47).max(-marks),
            Sign::Attention => {
                let edge = polygon(at, &[[0.5, 0.14], [0.91, 0.86], [0.09, 0.86]]);
                (edge.abs() - 0.055).min(marks)
            }
            Sign::Fault => ((dx.abs() + dy.abs() - 0.49) * std::f32::consts::FRAC_1_SQRT_2).max(-marks),
            Sign::Busy | Sign::List | Sign::Install | Sign::Globe => marks,
            Sign::Ring => (radius - 0.38).abs() - 0.055,
            Sign::Disc => radius - 0.42,
            Sign::Square => dx.abs().max(dy.abs()) - 0.38,
        }
    }
}

/// Distance from a chain of segments.
fn chain(at: Point, points: &[Point]) -> f32 {
    points.windows(2).map(|ends| segment(at, ends[0], ends[1])).fold(f32::INFINITY, f32::min)
}

fn segment(at: Point, from: Point, to: Point) -> f32 {
    let [px, py] = [at[0] - from[0], at[1] - from[1]];
    let [lx, ly] = [to[0] - from[0], to[1] - from[1]];
    let length_squared = lx * lx + ly * ly;
    let along = if length_squared > 0.0 { ((px * lx + py * ly) / length_squared).clamp(0.0, 1.0) } else { 0.0 };
    (px - along * lx).hypot(py - along * ly)
}

/// Distance from a convex polygon whose corners go clockwise on the screen, below 0 inside.
fn polygon(at: Point, corners: &[Point]) -> f32 {
    let mut nearest = f32::INFINITY;
    let mut inside = true;
    for (index, from) in corners.iter().enumerate() {
        let to = corners[(index + 1) % corners.len()];
        nearest = nearest.min(segment(at, *from, to));
        inside &= (to[0] - from[0]) * (at[1] - from[1]) - (to[1] - from[1]) * (at[0] - from[0]) >= 0.0;
    }
    if inside { -nearest } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_signs_look_alike_even_in_one_colour() {
        for side in [16, 24, 48, 72] {
            for (index, one) in Sign::OF_VERDICTS.iter().enumerate() {
                for other in &Sign::OF_VERDICTS[index + 1..] {
                    let (a, b) = (one.coverage(side), other.coverage(side));
                    let differing: f32 = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum();
                    let share = differing / (side * side) as f32;
                    assert!(share > 0.15, "{one:?} and {other:?} at {side} px differ in {share} of their box");
                }
            }
        }
    }

    #[test]
    fn the_signs_of_states_do_not_look_alike() {
        let levels = [Sign::Good, Sign::Attention, Sign::Fault];
        for side in [10, 16, 24] {
            for (one, other) in [(0, 1), (1, 2), (0, 2)].map(|(a, b)| (levels[a], levels[b])) {
                let (a, b) = (one.coverage(side), other.coverage(side));
                let differing: f32 = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum();
                let share = differing / (side * side) as f32;
                assert!(share > 0.15, "{one:?} and {other:?} at {side} px differ in {share} of their box");
            }
        }
    }

    #[test]
    fn signs_stay_inside_of_their_box_and_are_not_empty() {
        for sign in Sign::OF_VERDICTS.into_iter().chain(Sign::OTHERS) {
            let side = 64;
            let covered = sign.coverage(side);
            let edge = (0..side).flat_map(|i| [i, (side - 1) * side + i, i * side, i * side + side - 1]);
            for index in edge {
                assert!(covered[index as usize] < 0.8, "{sign:?} touches the edge");
            }
            let share = covered.iter().sum::<f32>() / covered.len() as f32;
            assert!((0.15..0.85).contains(&share), "{sign:?} covers {share}");
            assert!(sign.coverage(0).is_empty() && sign.coverage(1).len() == 1);
        }
    }
}
