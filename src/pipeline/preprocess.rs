//! A film to a network's input: the one function that the device and the trainer share.

use crate::domain::{Fit, GreyImage, GreyScale, InputSpec, ModelInput, Radiograph, Window};

/// Brings a film to the shape and values that the network was trained on.
///
/// Resampling is separable with a triangle filter as wide as the reduction (no aliasing), then rounded to 16 bits, so
/// that equal greys stay equal; greys are mapped as [`GreyScale`] says; last, `(value − mean) ÷ std` for each channel.
/// Where a letterboxed film ends the value is black. The result is the same on every processor up to f32 rounding.
///
/// # Shapes
/// `[1, channels, height, width]`, f32, NCHW, as `spec` says.
pub fn preprocess(film: &Radiograph, spec: &InputSpec) -> ModelInput {
    preprocess_part(film, spec, window(film.image(), film.pixel_aspect(), spec))
}

/// [`preprocess`] with `window` stretched over the input, in place of the part that `spec` would show.
pub fn preprocess_part(film: &Radiograph, spec: &InputSpec, window: Window) -> ModelInput {
    let image = film.image();
    let columns = taps(image.width(), window.left, window.right, spec.width());
    let rows = taps(image.height(), window.top, window.bottom, spec.height());
    let greys = resample(image, &columns, &rows);
    let shares = match spec.grey_scale() {
        GreyScale::AsShown => greys.iter().map(|g| g.map_or(0.0, |g| f32::from(g) / f32::from(u16::MAX))).collect(),
        GreyScale::Equalised => equalise(&greys),
    };
    let mut values = Vec::with_capacity(shares.len() * spec.channels().count());
    for (mean, std) in spec.mean().iter().zip(spec.std()) {
        values.extend(shares.iter().map(|share| (share - mean) / std));
    }
    ModelInput { shape: spec.shape(), values, window }
}

/// The part of the film that fills the input.
fn window(image: &GreyImage, pixel_aspect: f32, spec: &InputSpec) -> Window {
    let (near, far) = (spec.border(), 1.0 - spec.border());
    match spec.fit() {
        Fit::Stretch => Window { left: near, top: near, right: far, bottom: far },
        Fit::Letterbox => {
            let film = image.width() as f32 / (image.height() as f32 * pixel_aspect);
            let target = spec.width() as f32 / spec.height() as f32;
            // How much longer than the film the window is in the direction that gets the bars.
            let (across, down) = ((target / film).max(1.0), (film / target).max(1.0));
            let half = (far - near) / 2.0;
            Window {
                left: 0.5 - half * across,
                right: 0.5 + half * across,
                top: 0.5 - half * down,
                bottom: 0.5 + half * down,
            }
        }
    }
}

/// Where one output pixel takes its value from; no weights where it lies outside the film.
struct Tap {
    first: usize,
    weights: Vec<f32>,
}

/// The taps of `count` output pixels that cover the fractions `from` to `to` of `length` source pixels.
fn taps(length: u32, from: f32, to: f32, count: usize) -> Vec<Tap> {
    let length = f64::from(length);
    let (from, to) = (f64::from(from) * length, f64::from(to) * length);
    let step = (to - from) / count as f64;
    let support = step.max(1.0);
    (0..count)
        .map(|index| {
            let centre = from + (index as f64 + 0.5) * step;
            if !(0.0..length).contains(&centre) {
                return Tap { first: 0, weights: Vec::new() };
            }
            let first = (centre - support).floor().max(0.0) as usize;
            let last = (centre + support).ceil().min(length) as usize;
            let weight = |source: usize| (1.0 - ((source as f64 + 0.5 - centre) / support).abs()).max(0.0);
            let sum: f64 = (first..last).map(weight).sum();
            Tap { first, weights: (first..last).map(|source| (weight(source) / sum) as f32).collect() }
        })
        .collect()
}

/// Rows that are narrowed together.
const TOGETHER: usize = 8;

/// Appends the `lines`, each as wide as there are columns.
fn narrow<const ROWS: usize>(lines: &[&[u16]; ROWS], columns: &[Tap], narrowed: &mut Vec<f32>) {
    let start = narrowed.len();
    narrowed.resize(start + ROWS * columns.len(), 0.0);
    // The greys of a column beside each other, so that one instruction takes several rows.
    let mut turned = vec![[0u16; ROWS]; lines[0].len()];
    for (row, line) in lines.iter().enumerate() {
        for (greys, grey) in turned.iter_mut().zip(*line) {
            greys[row] = *grey;
        }
    }
    for (column, tap) in columns.iter().enumerate() {
        let mut sums = [0.0f32; ROWS];
        for (greys, weight) in turned[tap.first..tap.first + tap.weights.len()].iter().zip(&tap.weights) {
            for (sum, grey) in sums.iter_mut().zip(greys) {
                *sum += f32::from(*grey) * weight;
            }
        }
        for (row, sum) in sums.into_iter().enumerate() {
            narrowed[start + row * columns.len() + column] = sum;
        }
    }
}

/// Rows × columns of greys; `None` outside the film.
fn resample(image: &GreyImage, columns: &[Tap], rows: &[Tap]) -> Vec<Option<u16>> {
    let first = rows.iter().filter(|t| !t.weights.is_empty()).map(|t| t.first).min().unwrap_or(0);
    let last = rows.iter().map(|t| t.first + t.weights.len()).max().unwrap_or(0);
    let mut narrowed = Vec::with_capacity(last.saturating_sub(first) * columns.len());
    // Several rows at once, each with its own sum: one addition need not wait for another, and each sum stays what it is.
    let mut y = first;
    while y < last {
        if y + TOGETHER <= last {
            let lines: [&[u16]; TOGETHER] = std::array::from_fn(|row| image.row((y + row) as u32));
            narrow(&lines, columns, &mut narrowed);
            y += TOGETHER;
        } else {
            narrow(&[image.row(y as u32)], columns, &mut narrowed);
            y += 1;
        }
    }
    let mut greys = Vec::with_capacity(rows.len() * columns.len());
    let mut sums = vec![0.0f32; columns.len()];
    for row in rows {
        sums.fill(0.0);
        for (offset, weight) in row.weights.iter().enumerate() {
            let start = (row.first - first + offset) * columns.len();
            for (sum, value) in sums.iter_mut().zip(&narrowed[start..start + columns.len()]) {
                *sum += value * weight;
            }
        }
        greys.extend(sums.iter().zip(columns).map(|(sum, column)| {
            // `as` saturates, so rounding cannot leave the range of u16.
            (!row.weights.is_empty() && !column.weights.is_empty()).then(|| sum.round() as u16)
        }));
    }
    greys
}

/// Each grey's rank among the film's pixels, 0 to 1, ties in the middle; 0 outside the film.
fn equalise(greys: &[Option<u16>]) -> Vec<f32> {
    let mut counts = vec![0u32; usize::from(u16::MAX) + 1];
    for grey in greys.iter().flatten() {
        counts[usize::from(*grey)] += 1;
    }
    let total = greys.iter().flatten().count().max(1) as f64;
    let mut below = 0u32;
    let ranks: Vec<f32> = counts
        .iter()
        .map(|count| {
            let rank = (f64::from(below) + f64::from(*count) / 2.0) / total;
            below += count;
            rank as f32
        })
        .collect();
    greys.iter().map(|grey| grey.map_or(0.0, |grey| ranks[usize::from(grey)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Acquired, Channels};

    fn film(width: u32, height: u32, grey: impl Fn(u32, u32) -> u16) -> Radiograph {
        let greys = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| grey(x, y)).collect();
        Radiograph::found_fit(Acquired::from_image(GreyImage::new(width, height, greys).expect("sizes fit")))
    }

    fn spec(height: usize, width: usize, fit: Fit, border: f32, grey_scale: GreyScale) -> InputSpec {
        InputSpec::new(height, width, fit, border, grey_scale, Channels::Grey, vec![0.0], vec![1.0]).expect("usable")
    }

    #[test]
    fn a_flat_film_keeps_its_grey_at_any_size() {
        for (width, height) in [(1, 1), (33, 7), (192, 192), (1000, 900)] {
            let input =
                preprocess(&film(width, height, |_, _| 13107), &spec(64, 48, Fit::Stretch, 0.05, GreyScale::AsShown));
            assert_eq!(input.shape, [1, 1, 64, 48]);
            assert!(input.values.iter().all(|v| *v == 0.2), "{width} × {height}");
        }
    }

    #[test]
    fn a_flat_film_equalised_is_mid_grey_everywhere() {
        let input = preprocess(&film(300, 200, |_, _| 60000), &spec(64, 64, Fit::Stretch, 0.0, GreyScale::Equalised));
        assert!(input.values.iter().all(|v| *v == 0.5));
    }

    #[test]
    fn the_papers_form_puts_an_undistorted_film_on_black() {
        // A square film in 200 × 266: bars of (266 − 200) ÷ 2 = 33 columns on either side.
        let input =
            preprocess(&film(500, 500, |_, _| u16::MAX), &spec(200, 266, Fit::Letterbox, 0.0, GreyScale::AsShown));
        for row in input.values.chunks(266) {
            assert!(row[..33].iter().all(|v| *v == 0.0) && row[233..].iter().all(|v| *v == 0.0));
            assert!(row[33..233].iter().all(|v| *v == 1.0));
        }
        assert!((input.window.left + 0.165).abs() < 1e-4 && (input.window.right - 1.165).abs() < 1e-4);
        assert_eq!((input.window.top, input.window.bottom), (0.0, 1.0));
    }

    #[test]
    fn pixels_twice_as_high_as_wide_are_letterboxed_as_such() {
        let mut acquired = Acquired::from_image(GreyImage::new(200, 100, vec![u16::MAX; 20_000]).expect("sizes fit"));
        acquired.pixel_aspect = 2.0;
        let input =
            preprocess(&Radiograph::found_fit(acquired), &spec(64, 64, Fit::Letterbox, 0.0, GreyScale::AsShown));
        assert!(input.values.iter().all(|v| *v == 1.0), "a square film fills a square input");
    }

    #[test]
    fn equalised_values_do_not_change_with_gamma_or_window() {
        let pattern = |x: u32, y: u32| ((x * 37 + y * 91) % 251) as u16 * 200;
        let spec = spec(64, 64, Fit::Stretch, 0.0, GreyScale::Equalised);
        let plain = preprocess(&film(64, 64, pattern), &spec);
        let squared = preprocess(
            &film(64, 64, |x, y| {
                let v = f64::from(pattern(x, y)) / 65535.0;
                (v * v * 30000.0 + 20000.0) as u16
            }),
            &spec,
        );
        let differing = plain.values.iter().zip(&squared.values).filter(|(a, b)| (*a - *b).abs() > 0.01).count();
        assert!(differing * 100 < plain.values.len(), "{differing} values differ");
    }

    #[test]
    fn a_fine_grid_does_not_alias() {
        let grid = film(1024, 1024, |x, _| if x % 2 == 0 { 0 } else { u16::MAX });
        let input = preprocess(&grid, &spec(96, 96, Fit::Stretch, 0.0, GreyScale::AsShown));
        assert!(input.values.iter().all(|v| (v - 0.5).abs() < 0.02));
    }

    #[test]
    fn rows_that_are_narrowed_together_are_those_narrowed_alone() {
        let image = film(500, 7, |x, y| ((x * 7919 + y * 104_729) % 65_536) as u16);
        let columns = taps(500, 0.03, 0.97, 40);
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        narrow(&std::array::from_fn::<_, 7, _>(|y| image.image().row(y as u32)), &columns, &mut together);
        for y in 0..7 {
            narrow(&[image.image().row(y)], &columns, &mut alone);
            for (tap, found) in columns.iter().zip(&alone[40 * y as usize..]) {
                let greys = &image.image().row(y)[tap.first..];
                let sum: f32 = greys.iter().zip(&tap.weights).map(|(grey, weight)| f32::from(*grey) * weight).sum();
                assert_eq!(found.to_bits(), sum.to_bits());
            }
        }
        assert_eq!(together, alone);
    }

    #[test]
    fn the_border_is_cut_off_each_edge() {
        // White frame of 10 % around black: with a border of 15 % nothing white is left but a trace of the filter.
        let framed = film(400, 400, |x, y| if x < 40 || y < 40 || x >= 360 || y >= 360 { u16::MAX } else { 0 });
        let input = preprocess(&framed, &spec(64, 64, Fit::Stretch, 0.15, GreyScale::AsShown));
        assert!(input.values.iter().all(|v| *v == 0.0));
        assert_eq!((input.window.left, input.window.right), (0.15, 0.85));
    }

    #[test]
    fn each_channel_has_its_own_mean_and_std() {
        let spec = InputSpec::new(
            32,
            32,
            Fit::Stretch,
            0.0,
            GreyScale::AsShown,
            Channels::Replicated,
            vec![0.5, 0.25, 0.0],
            vec![1.0, 0.5, 2.0],
        )
        .expect("usable");
        let input = preprocess(&film(40, 40, |_, _| u16::MAX), &spec);
        let plane = 32 * 32;
        assert_eq!([input.values[0], input.values[plane], input.values[2 * plane]], [0.5, 1.5, 0.5]);
        assert_eq!(input.values.len(), 3 * plane);
    }
}
