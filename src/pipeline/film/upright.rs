//! Which way up a film was photographed, and whether black and white are exchanged: it is compared with what chest films
//! look like on average.

use crate::domain::GreyImage;

/// Columns and rows of the average chest film.
pub const SIDE: usize = 12;
/// How much more alike another way has to be than the way in which it was photographed.
const CLEARLY: f32 = 0.1;
/// Less alike than this no way says anything.
const ALIKE: f32 = 0.25;

/// Quarters of a turn clockwise that set a film upright, and whether its greys are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pose {
    /// 0 to 3.
    pub quarters: u8,
    /// Black is white.
    pub inverted: bool,
}

/// Ranks of the greys of `image`, averaged over [`SIDE`] × [`SIDE`] cells, less their mean and of length 1.
pub fn thumbnail(image: &GreyImage) -> [f32; SIDE * SIDE] {
    let mut cells = [0.0f64; SIDE * SIDE];
    let mut counts = [0u32; SIDE * SIDE];
    let (width, height) = (image.width() as usize, image.height() as usize);
    let mut histogram = vec![0u32; 1 << 12];
    image.greys().iter().for_each(|grey| histogram[usize::from(grey >> 4)] += 1);
    let mut below = 0.0;
    let total = image.greys().len() as f64;
    let ranks: Vec<f64> = histogram
        .iter()
        .map(|count| {
            let rank = (below + f64::from(*count) / 2.0) / total;
            below += f64::from(*count);
            rank
        })
        .collect();
    for y in 0..height {
        for (x, grey) in image.row(y as u32).iter().enumerate() {
            let cell = y * SIDE / height * SIDE + x * SIDE / width;
            cells[cell] += ranks[usize::from(grey >> 4)];
            counts[cell] += 1;
        }
    }
    let means = std::array::from_fn(|cell| (cells[cell] / f64::from(counts[cell].max(1))) as f32);
    normal(means)
}

fn normal(mut cells: [f32; SIDE * SIDE]) -> [f32; SIDE * SIDE] {
    let mean = cells.iter().sum::<f32>() / cells.len() as f32;
    cells.iter_mut().for_each(|cell| *cell -= mean);
    let length = cells.iter().map(|cell| cell * cell).sum::<f32>().sqrt();
    if length > 0.0 {
        cells.iter_mut().for_each(|cell| *cell /= length);
    }
    cells
}

/// How `image` has to be turned, and whether its greys have to be exchanged, to look like a chest film.
pub fn pose(image: &GreyImage) -> Pose {
    let average = normal(AVERAGE.map(f32::from));
    let cells = thumbnail(image);
    let alike = |quarters: u8| -> f32 {
        let turned = |x: usize, y: usize| match quarters {
            0 => cells[y * SIDE + x],
            1 => cells[(SIDE - 1 - x) * SIDE + y],
            2 => cells[(SIDE - 1 - y) * SIDE + SIDE - 1 - x],
            _ => cells[x * SIDE + SIDE - 1 - y],
        };
        (0..SIDE * SIDE).map(|at| average[at] * turned(at % SIDE, at / SIDE)).sum()
    };
    let as_photographed = Pose { quarters: 0, inverted: false };
    let mut best = (alike(0) + CLEARLY, as_photographed);
    for quarters in 0..4 {
        for inverted in [false, true] {
            let alike = if inverted { -alike(quarters) } else { alike(quarters) };
            if alike > best.0 && alike > ALIKE {
                best = (alike, Pose { quarters, inverted });
            }
        }
    }
    best.1
}

/// Turns `image` clockwise.
pub(super) fn turned(image: GreyImage, quarters: u8) -> GreyImage {
    let (width, height) = (image.width(), image.height());
    if quarters.is_multiple_of(4) {
        return image;
    }
    let (across, down) = if quarters.is_multiple_of(2) { (width, height) } else { (height, width) };
    let greys = image.greys();
    let from = |x: u32, y: u32| match quarters % 4 {
        1 => (y, height - 1 - x),
        2 => (width - 1 - x, height - 1 - y),
        _ => (width - 1 - y, x),
    };
    let greys = (0..down).flat_map(|y| (0..across).map(move |x| (x, y))).map(|(x, y)| {
        let (x, y) = from(x, y);
        greys[(y * width + x) as usize]
    });
    // As many values as before.
    GreyImage::new(across, down, greys.collect()).unwrap_or(image)
}

/// The average chest film, −100 to 100; `cargo run --release --example film_suite -- average FOLDER` makes it.
#[rustfmt::skip]
const AVERAGE: [i8; SIDE * SIDE] = [
    -73, -62, -55, -40, -5, 27, 28, -5, -41, -55, -61, -73,
    -56, -35, -20, -13, -5, 22, 22, -5, -13, -21, -35, -56,
    -41, -15, 2, -13, -21, 20, 24, -21, -15, -1, -18, -42,
    -37, -9, 3, -34, -35, 24, 34, -32, -33, -1, -13, -40,
    -41, -6, -5, -46, -33, 35, 49, -17, -40, -8, -11, -44,
    -48, -5, -16, -49, -19, 51, 63, 9, -34, -15, -11, -51,
    -55, -8, -25, -43, -4, 63, 76, 34, -15, -19, -13, -57,
    -60, -12, -26, -30, 5, 71, 84, 51, 8, -18, -17, -61,
    -63, -15, -15, -6, 22, 78, 88, 57, 23, -12, -21, -65,
    -66, -11, 17, 41, 59, 89, 92, 65, 41, 4, -21, -68,
    -66, 1, 52, 78, 87, 99, 98, 81, 66, 34, -11, -69,
    -64, 11, 65, 88, 95, 100, 98, 85, 74, 51, 0, -67,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn average_film() -> GreyImage {
        let greys = (0..240 * 240).map(|i| {
            let (x, y) = (i % 240 / 20, i / 240 / 20);
            (32_768 + i32::from(AVERAGE[y * SIDE + x]) * 250) as u16
        });
        GreyImage::new(240, 240, greys.collect()).unwrap()
    }

    #[test]
    fn a_film_is_set_upright_from_every_side_and_in_both_polarities() {
        for quarters in 0..4 {
            for inverted in [false, true] {
                let film = turned(average_film(), (4 - quarters) % 4);
                let greys = film.greys().iter().map(|grey| if inverted { u16::MAX - grey } else { *grey });
                let film = GreyImage::new(240, 240, greys.collect()).unwrap();
                assert_eq!(pose(&film), Pose { quarters, inverted });
            }
        }
    }

    #[test]
    fn what_looks_like_no_chest_film_stays_as_it_is() {
        let stripes = (0..240 * 240).map(|i| if i / 30 % 2 == 0 { 20_000 } else { 40_000 }).collect();
        let pose = pose(&GreyImage::new(240, 240, stripes).unwrap());
        assert_eq!(pose, Pose { quarters: 0, inverted: false });
    }

    #[test]
    fn four_quarters_are_a_whole_turn() {
        let image = GreyImage::new(3, 2, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let quarter = turned(image.clone(), 1);
        assert_eq!((quarter.width(), quarter.greys()), (2, &[4, 1, 5, 2, 6, 3][..]));
        assert_eq!(turned(quarter.clone(), 3), image);
        assert_eq!(turned(turned(image.clone(), 2), 2), image);
        assert_eq!(turned(quarter, 1), turned(image, 2));
    }
}
