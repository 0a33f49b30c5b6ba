//! Where the film lies in a photograph of a light box: four straight sides, each searched for from outside.
//!
//! ```text
//!        room (dark)
//!   ┌─────────────────────┐ ← lamp: the first step up, or the photograph's own edge
//!   │   rim (brightest)   │
//!   │  ┌───────────────┐  │ ← film: the first step down behind it; without a rim the lamp's side is the film's
//! ```
//! The brightest region's hull gives a first rectangle; along many lines across each of its sides both steps are looked
//! for, and straight lines are put through those that agree. Shadows in the film lie on no common line.

use image::{GrayImage, ImageBuffer};
use imageproc::contours::{BorderType, find_contours_with_threshold};
use imageproc::contrast::otsu_level;
use imageproc::geometry::{contour_area, convex_hull, min_area_rect};
use imageproc::point::Point;

use super::plane::{Plane, code};

/// Lines across one side.
const SCANS: usize = 48;
/// Share of a side's lines that have to agree on the lamp's edge.
const LAMP_SUPPORT: f32 = 0.45;
/// Share of a side's lines that have to agree on a step from rim to film.
const RIM_SUPPORT: f32 = 0.55;
/// A film takes at least this share of the lamp's light: base and fog alone are 0.17 of density.
const LEAST_DROP: f32 = 0.14;
/// Width of the widest rim, as a share of the lamp's shorter side.
const WIDEST_RIM: f32 = 0.3;
/// Bright regions smaller than this share of the photograph do not count.
const LEAST_REGION: f64 = 0.004;

/// In pixels of the photograph.
pub(super) type Place = [f32; 2];

/// A straight line: the places with `normal · place = offset`.
#[derive(Clone, Copy, Debug)]
struct Line {
    normal: Place,
    offset: f32,
}

impl Line {
    fn through(a: Place, b: Place) -> Option<Self> {
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let length = dx.hypot(dy);
        (length > 1e-3).then(|| {
            let normal = [-dy / length, dx / length];
            Self { normal, offset: normal[0] * a[0] + normal[1] * a[1] }
        })
    }

    fn distance(&self, place: Place) -> f32 {
        (self.normal[0] * place[0] + self.normal[1] * place[1] - self.offset).abs()
    }

    fn crossing(&self, other: &Self) -> Option<Place> {
        let ([a, b], [c, d]) = (self.normal, other.normal);
        let determinant = a * d - b * c;
        // Nearly parallel sides make no corner.
        (determinant.abs() > 0.2).then(|| {
            [(self.offset * d - b * other.offset) / determinant, (a * other.offset - self.offset * c) / determinant]
        })
    }

    /// The line of least squares.
    fn fitted(places: &[Place]) -> Option<Self> {
        let count = places.len() as f32;
        let mean = |axis: usize| places.iter().map(|place| place[axis]).sum::<f32>() / count;
        let (x, y) = (mean(0), mean(1));
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for place in places {
            let (dx, dy) = (place[0] - x, place[1] - y);
            (xx, xy, yy) = (xx + dx * dx, xy + dx * dy, yy + dy * dy);
        }
        let angle = 0.5 * (2.0 * xy).atan2(xx - yy);
        Self::through([x, y], [x + angle.cos(), y + angle.sin()])
    }

    /// The line that most of `found` agree on within `tolerance`, and which of them do.
    fn agreed(found: &[Place], tolerance: f32) -> Option<(Self, Vec<bool>)> {
        let mut best: Option<(usize, Self)> = None;
        for (index, a) in found.iter().enumerate() {
            // Near pairs give no direction.
            for b in found.iter().skip(index + SCANS / 6) {
                let Some(line) = Self::through(*a, *b) else { continue };
                let count = found.iter().filter(|place| line.distance(**place) <= tolerance).count();
                if best.is_none_or(|(most, _)| count > most) {
                    best = Some((count, line));
                }
            }
        }
        let (_, line) = best?;
        let near: Vec<Place> = found.iter().copied().filter(|place| line.distance(*place) <= tolerance).collect();
        let line = Self::fitted(&near)?;
        Some((line, found.iter().map(|place| line.distance(*place) <= tolerance).collect()))
    }
}

/// Where a film was found.
#[derive(Clone, Debug)]
pub(super) struct Outline {
    /// Corners of the film, clockwise from the one at the upper left.
    pub(super) film: [Place; 4],
    /// Corners of the lamp, in the same order.
    pub(super) lamp: [Place; 4],
    /// Sides with the lamp's rim beside the film: upper, right, lower, left.
    pub(super) rims: [bool; 4],
    /// Sides on which the lamp goes on beyond the photograph, and no side of the film was found.
    pub(super) open: [bool; 4],
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum NoOutline {
    /// Nothing is lit.
    Dark,
    /// What is lit has no four straight sides.
    Shapeless,
    /// What is lit has no four straight sides and goes on beyond the photograph.
    BeyondEdge,
}

/// What was found along the lines across one side.
struct Side {
    lamp: Line,
    open: bool,
    film: Option<Line>,
}

/// Finds the film.
pub(super) fn find(plane: &Plane) -> Result<Outline, NoOutline> {
    /// A film without a rim is darker at its edges than in its middle.
    const LOWER: [f32; 3] = [1.0, 0.6, 0.35];
    let codes = plane.light.iter().map(|light| (code(*light) * 255.0).round() as u8).collect();
    let (width, height) = (plane.width as u32, plane.height as u32);
    let codes: GrayImage = ImageBuffer::from_raw(width, height, codes).ok_or(NoOutline::Dark)?;
    let level = otsu_level(&codes);
    let levels = LOWER.map(|lower| (f32::from(level) * lower) as u8);
    if let Some(found) = levels.iter().find_map(|level| find_above(plane, &codes, *level).ok()) {
        return Ok(found);
    }
    if goes_on(&codes, level) {
        return Err(NoOutline::BeyondEdge);
    }
    find_above(plane, &codes, level)
}

/// Whether much of one edge of the photograph is brighter than `level`.
fn goes_on(codes: &GrayImage, level: u8) -> bool {
    const MUCH: f32 = 0.12;
    let (width, height) = codes.dimensions();
    let share = |lit: usize, of: u32| lit as f32 / of as f32 > MUCH;
    let row = |y: u32| share((0..width).filter(|x| codes.get_pixel(*x, y)[0] > level).count(), width);
    let column = |x: u32| share((0..height).filter(|y| codes.get_pixel(x, *y)[0] > level).count(), height);
    row(0) || row(height - 1) || column(0) || column(width - 1)
}

/// Finds the film as what is brighter than `level`.
fn find_above(plane: &Plane, codes: &GrayImage, level: u8) -> Result<Outline, NoOutline> {
    let rectangle = lit_rectangle(codes, level).ok_or(NoOutline::Dark)?;
    let corners = ordered(rectangle.map(|[x, y]| [x * plane.factor, y * plane.factor]));
    let threshold = light_of(level);
    let centre = middle(&corners);
    let short = side_lengths(&corners).into_iter().fold(f32::INFINITY, f32::min);
    if short < 8.0 * plane.factor {
        return Err(NoOutline::Shapeless);
    }
    let sides = [0, 1, 2, 3].map(|side| {
        scan(plane, corners[side], corners[(side + 1) % 4], centre, short, threshold).ok_or(NoOutline::Shapeless)
    });
    let [upper, right, lower, left] = sides;
    let sides = [upper?, right?, lower?, left?];
    let meet = |line: &dyn Fn(&Side) -> Line| -> Result<[Place; 4], NoOutline> {
        let corner = |a: usize, b: usize| line(&sides[a]).crossing(&line(&sides[b])).ok_or(NoOutline::Shapeless);
        Ok([corner(3, 0)?, corner(0, 1)?, corner(1, 2)?, corner(2, 3)?])
    };
    let lamp = meet(&|side| side.lamp)?;
    let film = meet(&|side| side.film.unwrap_or(side.lamp))?;
    if !is_convex(&film) || !is_convex(&lamp) {
        return Err(NoOutline::Shapeless);
    }
    let rims = [0, 1, 2, 3].map(|side| sides[side].film.is_some());
    let open = [0, 1, 2, 3].map(|side| sides[side].open && !rims[side]);
    Ok(Outline { film, lamp, rims, open })
}

/// The light of a code, 0 to 255.
fn light_of(level: u8) -> f32 {
    let share = (f32::from(level) + 0.5) / 255.0;
    if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
}

/// The smallest rectangle around everything that is brighter than `level`, in pixels of `codes`.
fn lit_rectangle(codes: &GrayImage, level: u8) -> Option<[Place; 4]> {
    let all = f64::from(codes.width()) * f64::from(codes.height());
    let contours = find_contours_with_threshold::<i32>(codes, level);
    let points: Vec<Point<i32>> = contours
        .into_iter()
        .filter(|contour| contour.border_type == BorderType::Outer && contour.points.len() > 3)
        .filter(|contour| contour_area(&convex_hull(&contour.points[..])) > LEAST_REGION * all)
        .flat_map(|contour| contour.points)
        .collect();
    if points.len() < 8 {
        return None;
    }
    let hull = convex_hull(points);
    (hull.len() >= 3).then(|| min_area_rect(&hull).map(|point| [point.x as f32 + 0.5, point.y as f32 + 0.5]))
}

/// Clockwise on the screen, from the corner nearest to the upper left.
fn ordered(mut corners: [Place; 4]) -> [Place; 4] {
    let [x, y] = middle(&corners);
    corners.sort_by(|a, b| (a[1] - y).atan2(a[0] - x).total_cmp(&(b[1] - y).atan2(b[0] - x)));
    let first = (0..4).min_by(|a, b| {
        let sum = |index: &usize| corners[*index][0] + corners[*index][1];
        sum(a).total_cmp(&sum(b))
    });
    corners.rotate_left(first.unwrap_or(0));
    corners
}

fn middle(corners: &[Place; 4]) -> Place {
    [0, 1].map(|axis| corners.iter().map(|corner| corner[axis]).sum::<f32>() / 4.0)
}

/// How a film with these corners hangs before a camera of this width and height: its width ÷ its height, and how far
/// it is turned away, in degrees.
///
/// The camera's focal length is taken as the longer side of its picture; from nearly straight before the film it does not
/// matter (Zhang & He, *Whiteboard scanning and image enhancement*, 2007).
pub(super) fn posture(corners: &[Place; 4], width: f32, height: f32) -> Option<(f32, f32)> {
    let focal = width.max(height);
    let [upper_left, upper_right, lower_right, lower_left] =
        corners.map(|[x, y]| [(x - width / 2.0) / focal, (y - height / 2.0) / focal, 1.0]);
    let volume = |a: [f32; 3], b: [f32; 3], c: [f32; 3]| -> f32 { cross(a, b).iter().zip(c).map(|(p, q)| p * q).sum() };
    let right = volume(upper_left, lower_right, lower_left) / volume(upper_right, lower_right, lower_left);
    let lower = volume(upper_left, lower_right, upper_right) / volume(lower_left, lower_right, upper_right);
    let across: [f32; 3] = std::array::from_fn(|i| right * upper_right[i] - upper_left[i]);
    let down: [f32; 3] = std::array::from_fn(|i| lower * lower_left[i] - upper_left[i]);
    let length = |v: [f32; 3]| v.iter().map(|part| part * part).sum::<f32>().sqrt();
    let normal = cross(across, down);
    let (aspect, degrees) = (length(across) / length(down), (normal[2].abs() / length(normal)).acos().to_degrees());
    (aspect.is_finite() && degrees.is_finite()).then_some((aspect, degrees))
}

fn cross(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Upper, right, lower, left.
pub(super) fn side_lengths(corners: &[Place; 4]) -> [f32; 4] {
    [0, 1, 2, 3].map(|side| {
        let ([ax, ay], [bx, by]) = (corners[side], corners[(side + 1) % 4]);
        (bx - ax).hypot(by - ay)
    })
}

fn is_convex(corners: &[Place; 4]) -> bool {
    (0..4).all(|at| {
        let [a, b, c] = [0, 1, 2].map(|next| corners[(at + next) % 4]);
        (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0]) > 0.0
    })
}

/// Looks along lines across the side from `a` to `b`, inwards.
fn scan(plane: &Plane, a: Place, b: Place, centre: Place, short: f32, threshold: f32) -> Option<Side> {
    let line = Line::through(a, b)?;
    let inwards = line.normal[0] * centre[0] + line.normal[1] * centre[1] > line.offset;
    let sign = if inwards { 1.0 } else { -1.0 };
    let [nx, ny] = line.normal.map(|part| part * sign);
    let step = plane.factor * 0.5;
    let outside = 0.14 * short;
    let count = ((outside + WIDEST_RIM * short + 0.1 * short) / step) as usize;
    let tolerance = (0.007 * short).max(plane.factor);
    let (mut lamp, mut opens, mut film) = (Vec::new(), Vec::new(), Vec::new());
    let mut values: Vec<f32> = Vec::with_capacity(count);
    for scan in 0..SCANS {
        let along = 0.06 + 0.88 * (scan as f32 + 0.5) / SCANS as f32;
        let start = [0, 1].map(|axis| a[axis] + (b[axis] - a[axis]) * along - [nx, ny][axis] * outside);
        let place = |index: f32| [start[0] + nx * step * index, start[1] + ny * step * index];
        values.clear();
        let Some(first) = (0..count).find(|index| plane.at(place(*index as f32)).is_some()) else { continue };
        values.extend((first..count).map_while(|index| plane.at(place(index as f32))));
        let Some(rise) = values.iter().position(|light| *light > threshold) else { continue };
        // Lit where the photograph begins: the lamp goes on beyond it.
        let open = rise == 0 && first > 0;
        let exact = if rise == 0 {
            0.0
        } else {
            let (below, above) = (values[rise - 1], values[rise]);
            rise as f32 - (above - threshold) / (above - below).max(1e-6)
        };
        lamp.push(place(first as f32 + exact));
        opens.push(open);
        let widest = rise + (WIDEST_RIM * short / step) as usize;
        if let Some(fall) = fall(&values, rise, widest, (0.02 * short / step) as usize)
            && (fall - exact) * step > 0.012 * short
        {
            film.push(place(first as f32 + fall));
        }
    }
    let (lamp_line, agree) = Line::agreed(&lamp, tolerance)?;
    let agreed = agree.iter().filter(|agrees| **agrees).count();
    if (agreed as f32) < LAMP_SUPPORT * SCANS as f32 {
        return None;
    }
    let open = agree.iter().zip(&opens).filter(|(agrees, open)| **agrees && **open).count() * 2 > agreed;
    let film_line = Line::agreed(&film, tolerance).and_then(|(line, agree)| {
        let agreed = agree.iter().filter(|agrees| **agrees).count();
        let along = (line.normal[0] * lamp_line.normal[0] + line.normal[1] * lamp_line.normal[1]).abs();
        // Turned by less than 20 degrees against the lamp.
        ((agreed as f32) >= RIM_SUPPORT * SCANS as f32 && along > 0.94).then_some(line)
    });
    Some(Side { lamp: lamp_line, open, film: film_line })
}

/// Where the light first falls for good behind the brightest place so far, between `rise` and `widest`.
fn fall(values: &[f32], rise: usize, widest: usize, hold: usize) -> Option<f32> {
    let hold = hold.max(2);
    let mut most = *values.get(rise)?;
    for at in rise + 1..widest.min(values.len()) {
        most = most.max(values[at]);
        let behind = values.get(at..at + hold)?;
        if behind.iter().all(|light| *light < (1.0 - LEAST_DROP) * most) {
            // Halfway down, where a blurred edge lies.
            let half = (most + behind.iter().copied().fold(f32::INFINITY, f32::min)) / 2.0;
            let end = (rise..at + hold).rev().find(|index| values[*index] >= half)?;
            let (above, below) = (values[end], values.get(end + 1).copied()?);
            return Some(end as f32 + (above - half) / (above - below).max(1e-6));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_most_places_agree_on() {
        let places: Vec<Place> =
            (0..SCANS).map(|i| [i as f32, if i % 4 == 0 { 40.0 - i as f32 } else { 3.0 + 0.1 * i as f32 }]).collect();
        let (line, agree) = Line::agreed(&places, 0.2).unwrap();
        assert!(agree.iter().filter(|agrees| **agrees).count() >= SCANS * 3 / 4);
        assert!(line.distance([0.0, 3.0]) < 0.05 && line.distance([40.0, 7.0]) < 0.05);
    }

    #[test]
    fn corners_are_ordered_clockwise_from_the_upper_left() {
        let corners = [[9.0, 1.0], [1.0, 8.0], [8.0, 9.0], [1.0, 1.0]];
        assert_eq!(ordered(corners), [[1.0, 1.0], [9.0, 1.0], [8.0, 9.0], [1.0, 8.0]]);
        assert!(is_convex(&ordered(corners)));
        assert!(!is_convex(&[[0.0, 0.0], [9.0, 0.0], [3.0, 3.0], [0.0, 9.0]]));
    }

    #[test]
    fn a_film_that_is_turned_away_is_measured_as_it_is() {
        // Three to four, turned about its upright middle axis, four units away.
        let (width, height) = (1600.0, 1200.0);
        for degrees in [0.0f32, 15.0, 40.0] {
            let (sine, cosine) = degrees.to_radians().sin_cos();
            let corner = |x: f32, y: f32| {
                let depth = 4.0 + x * sine;
                [width / 2.0 + 1600.0 * x * cosine / depth, height / 2.0 + 1600.0 * y / depth]
            };
            let corners = [corner(-0.75, -1.0), corner(0.75, -1.0), corner(0.75, 1.0), corner(-0.75, 1.0)];
            let (aspect, turned) = posture(&corners, width, height).unwrap();
            assert!((aspect - 0.75).abs() < 0.01 && (turned - degrees).abs() < 0.5, "{degrees}: {aspect} {turned}");
        }
    }

    #[test]
    fn a_fall_is_found_halfway_and_a_dip_is_none() {
        let values = [0.0, 0.5, 1.0, 1.0, 0.8, 0.4, 0.2, 0.2, 0.2, 0.2, 0.2];
        let fall_at = fall(&values, 1, 9, 3).unwrap();
        assert!((fall_at - 4.5).abs() < 0.1, "{fall_at}");
        assert_eq!(fall(&[0.5, 1.0, 0.7, 1.0, 1.0, 1.0, 1.0], 0, 6, 3), None);
    }
}
