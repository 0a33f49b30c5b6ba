//! What spoils a photograph of a film, each measured as a number of its own.

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

use super::light::BURNT_OUT;
use super::outline::{Outline, Place, side_lengths};
use super::plane::{Plane, code};

/// Lines across a side of the film along which the edge is measured.
const EDGE_SCANS: usize = 24;
/// Pixels of a side of the tiles in which stripes are looked for, in a small picture of a film and in a large one.
const TILES_PX: [usize; 2] = [64, 128];
/// Shorter side of a large picture of a film, in pixels.
const LARGE_PX: f32 = 560.0;
/// Tiles across and down.
const TILES: usize = 4;

/// How wide the film's edges are blurred, as a share of its shorter side; `None` where no edge can be measured.
///
/// A film's edge is sharp whatever it shows, so its width is that of the blur: the way from 20 % to 80 % of the step. A
/// shake blurs only the edges across it, so the worse of the two directions counts.
pub(super) fn edge_width(plane: &Plane, outline: &Outline) -> Option<f32> {
    let lengths = side_lengths(&outline.film);
    let short = lengths.into_iter().fold(f32::INFINITY, f32::min);
    let width_of = |side: usize| {
        let (a, b) = (outline.film[side], outline.film[(side + 1) % 4]);
        let [dx, dy] = [(b[0] - a[0]) / lengths[side], (b[1] - a[1]) / lengths[side]];
        let [nx, ny] = [-dy, dx];
        let (reach, step) = (0.03 * short, plane.factor * 0.5);
        let count = (2.0 * reach / step) as usize + 1;
        let mut widths: Vec<f32> = (0..EDGE_SCANS)
            .filter_map(|scan| {
                let along = lengths[side] * (0.1 + 0.8 * (scan as f32 + 0.5) / EDGE_SCANS as f32);
                let values: Option<Vec<f32>> = (0..count)
                    .map(|index| {
                        let across = index as f32 * step - reach;
                        plane.at([a[0] + dx * along + nx * across, a[1] + dy * along + ny * across])
                    })
                    .collect();
                step_width(&values?).map(|width| width * step / short)
            })
            .collect();
        widths.sort_by(f32::total_cmp);
        (widths.len() >= EDGE_SCANS / 2).then(|| widths[widths.len() / 2])
    };
    // Of two parallel edges the sharper one: a shadow or a label may lie along the other.
    let of_two = |a: usize, b: usize| match (width_of(a), width_of(b)) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    match (of_two(0, 2), of_two(1, 3)) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

/// From 20 % to 80 % of the step in the middle of `values`; `None` where there is hardly any.
fn step_width(values: &[f32]) -> Option<f32> {
    let quarter = values.len() / 4;
    let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len().max(1) as f32;
    let (before, after) = (mean(&values[..quarter]), mean(&values[values.len() - quarter..]));
    if (before - after).abs() < 0.15 * before.max(after) || before.max(after) < 0.02 {
        return None;
    }
    let share = |value: &f32| (value - before) / (after - before);
    let crossing = |level: f32| {
        // From the middle outwards: noise at the ends crosses nothing.
        let above = values.iter().position(|value| share(value) >= level)?;
        let (low, high) = (share(values.get(above.checked_sub(1)?)?), share(&values[above]));
        Some(above as f32 - (high - level) / (high - low).max(1e-6))
    };
    let (low, high) = (crossing(0.2)?, crossing(0.8)?);
    (high >= low).then_some(high - low)
}

/// How strong the strongest regular stripes over the film are, as a share of the light around them.
///
/// Spectra of tiles are averaged; stripes stand out of the ring of all directions at their distance, which anatomy and
/// noise fill evenly.
pub(super) fn stripes(plane: &Plane, outline: &Outline) -> f32 {
    let short = side_lengths(&outline.film).into_iter().fold(f32::INFINITY, f32::min) / plane.factor;
    let size = TILES_PX[usize::from(short > LARGE_PX)];
    let mut power = vec![0.0f32; size * size];
    let mut planner = FftPlanner::<f32>::new();
    let fft = planner.plan_fft_forward(size);
    let window: Vec<f32> =
        (0..size).map(|i| (std::f32::consts::PI * (i as f32 + 0.5) / size as f32).sin().powi(2)).collect();
    let mut tiles = 0;
    for tile in 0..TILES * TILES {
        let share = |index: usize| 0.12 + 0.76 * (index as f32 + 0.5) / TILES as f32;
        let [x, y] = inside(&outline.film, share(tile % TILES), share(tile / TILES)).map(|at| at / plane.factor);
        let (left, top) = (x - size as f32 / 2.0, y - size as f32 / 2.0);
        let ends_inside = left + size as f32 <= plane.width as f32 && top + size as f32 <= plane.height as f32;
        if left < 0.0 || top < 0.0 || !ends_inside {
            continue;
        }
        let (left, top) = (left as usize, top as usize);
        let row = |y: usize| &plane.light[(top + y) * plane.width + left..][..size];
        let mean = (0..size).flat_map(row).sum::<f32>() / (size * size) as f32;
        // In the dark the camera's noise is all there is.
        if mean < 0.01 {
            continue;
        }
        let mut values: Vec<Complex<f32>> = (0..size)
            .flat_map(|y| row(y).iter().zip(&window).map(move |(light, weight)| (y, light, weight)))
            .map(|(y, light, weight)| Complex::new((light / mean - 1.0) * weight * window[y], 0.0))
            .collect();
        fft.process(&mut values);
        let mut columns: Vec<Complex<f32>> = (0..size * size).map(|i| values[(i % size) * size + i / size]).collect();
        fft.process(&mut columns);
        power.iter_mut().zip(&columns).for_each(|(sum, value)| *sum += value.norm_sqr());
        tiles += 1;
    }
    if tiles < 3 {
        return 0.0;
    }
    strongest(&power, size, tiles)
}

/// The amplitude of the strongest peak of the summed spectra of `tiles` tiles, 0 where none stands out.
fn strongest(power: &[f32], size: usize, tiles: usize) -> f32 {
    /// Stripes with fewer periods in a tile are shadows.
    const FIRST: usize = 4;
    /// A peak is this many times the middle of its ring.
    const STANDS_OUT: f32 = 14.0;
    let signed = |index: usize| if index > size / 2 { index as f32 - size as f32 } else { index as f32 };
    let radius = |index: usize| signed(index % size).hypot(signed(index / size)).round() as usize;
    let mut rings: Vec<Vec<f32>> = vec![Vec::new(); size];
    for (index, value) in power.iter().enumerate() {
        rings[radius(index)].push(*value);
    }
    let middles: Vec<f32> = rings
        .iter_mut()
        .map(|ring| {
            ring.sort_by(f32::total_cmp);
            ring.get(ring.len() / 2).copied().unwrap_or(f32::INFINITY)
        })
        .collect();
    // Edges and grids of the detector lie along the axes of the tile in every film.
    let on_axis = |index: usize| signed(index % size).abs() < 1.5 || signed(index / size).abs() < 1.5;
    let peak = (0..power.len())
        .filter(|index| (FIRST..size / 2).contains(&radius(*index)))
        .filter(|index| {
            let out = if on_axis(*index) { 4.0 * STANDS_OUT } else { STANDS_OUT };
            power[*index] > out * middles[radius(*index)]
        })
        .map(|index| power[index])
        .fold(0.0, f32::max);
    // A wave of amplitude a has the peak (a · Σ window² ÷ 2)², and the window's mean is ½ on either axis.
    let unit = (size * size) as f32 / 8.0;
    (peak / tiles as f32).sqrt() / unit
}

/// A place in the film, `across` and `down` from 0 to 1; exact enough without the perspective.
pub(super) fn inside(film: &[Place; 4], across: f32, down: f32) -> Place {
    [0, 1].map(|axis| {
        let upper = film[0][axis] + (film[1][axis] - film[0][axis]) * across;
        let lower = film[3][axis] + (film[2][axis] - film[3][axis]) * across;
        upper + (lower - upper) * down
    })
}

/// How a film is exposed: shares of it, and light.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exposure {
    /// Share that is burnt out.
    pub(super) burnt_out: f32,
    /// How much of the smallest square around it the burnt-out part fills: much where it is one round spot.
    pub(super) compact: f32,
    /// Share that is brighter than film can be before this lamp; 0 where the lamp is not known.
    pub(super) beyond_lamp: f32,
    /// Code of its bright parts, 0 to 1.
    pub(super) bright: f32,
}

/// Looks at light and transmission of the film, row by row of `width`; transmission 1 is the lamp itself.
pub(super) fn exposure(light: &[f32], transmission: Option<&[f32]>, width: usize) -> Exposure {
    /// What even base and fog of a film hold back.
    const CLEAREST: f32 = 0.9;
    let count = light.len().max(1) as f32;
    let burnt: Vec<usize> = (0..light.len()).filter(|at| light[*at] >= BURNT_OUT).collect();
    let compact = if burnt.is_empty() {
        0.0
    } else {
        // Without the outermost tenth, which a single far pixel would decide.
        let range = |axis: &dyn Fn(usize) -> usize| {
            let mut at: Vec<usize> = burnt.iter().map(|index| axis(*index)).collect();
            at.sort_unstable();
            (at[at.len() - 1 - at.len() / 20] - at[at.len() / 20] + 1) as f32
        };
        let (across, down) = (range(&|at| at % width), range(&|at| at / width));
        burnt.len() as f32 / across.max(down).powi(2)
    };
    let beyond = transmission.map_or(0, |values| values.iter().filter(|value| **value > CLEAREST).count());
    let mut sorted = light.to_vec();
    let at = sorted.len().saturating_sub(1) * 9 / 10;
    let bright = if sorted.is_empty() { 0.0 } else { *sorted.select_nth_unstable_by(at, f32::total_cmp).1 };
    Exposure {
        burnt_out: burnt.len() as f32 / count,
        compact,
        beyond_lamp: beyond as f32 / count,
        bright: code(bright),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_of_a_step_is_that_of_its_blur() {
        let ramp = |half: i32| -> Vec<f32> {
            (-20..=20).map(|x| 0.5 + 0.4 * (x as f32 / half as f32).clamp(-1.0, 1.0)).collect()
        };
        let (sharp, blurred) = (step_width(&ramp(1)).unwrap(), step_width(&ramp(8)).unwrap());
        assert!((sharp - 1.2).abs() < 0.2 && (blurred - 9.6).abs() < 0.3, "{sharp} {blurred}");
        assert_eq!(step_width(&[0.5; 41]), None);
    }

    fn plane(light: impl Fn(f32, f32) -> f32) -> (Plane, Outline) {
        let (width, height) = (400, 400);
        let light = (0..width * height).map(|i| light((i % width) as f32, (i / width) as f32)).collect();
        let film = [[20.0, 20.0], [380.0, 20.0], [380.0, 380.0], [20.0, 380.0]];
        let outline = Outline { film, lamp: film, rims: [false; 4], open: [false; 4] };
        (Plane { width, height, light, factor: 1.0 }, outline)
    }

    fn noise(x: f32, y: f32) -> f32 {
        let bits =
            ((x as u32).wrapping_mul(2_654_435_761) ^ (y as u32).wrapping_mul(40_503)).wrapping_mul(2_246_822_519);
        (bits >> 16) as f32 / 65_536.0 - 0.5
    }

    #[test]
    fn stripes_are_measured_and_noise_and_shadows_are_none() {
        let shadow = |x: f32, y: f32| 0.4 + 0.2 * (x / 60.0).sin() * (y / 90.0).cos();
        let (clean, outline) = plane(|x, y| shadow(x, y) + 0.05 * noise(x, y));
        assert_eq!(stripes(&clean, &outline), 0.0);
        let (striped, outline) =
            plane(|x, y| shadow(x, y) * (1.0 + 0.1 * (0.7 * x + 0.4 * y).sin()) + 0.05 * noise(x, y));
        let found = stripes(&striped, &outline);
        assert!((0.05..0.15).contains(&found), "{found}");
    }

    #[test]
    fn a_spot_is_compact_and_scattered_white_is_not() {
        let (width, height) = (100, 100);
        let with = |white: &dyn Fn(usize, usize) -> bool| -> Vec<f32> {
            (0..width * height).map(|i| if white(i % width, i / width) { 1.0 } else { 0.2 }).collect()
        };
        let spot = exposure(&with(&|x, y| (40..50).contains(&x) && (40..50).contains(&y)), None, width);
        assert!(spot.compact > 0.9 && (spot.burnt_out - 0.01).abs() < 1e-6, "{spot:?}");
        let scattered = exposure(&with(&|x, y| x % 10 == 0 && y % 10 == 0), None, width);
        assert!(scattered.compact < 0.05, "{scattered:?}");
    }
}
