//! Photographs of films on a light box, made from radiographs: a pinhole camera before a lamp that is not even, a film
//! that takes light as its density says, optics that blur, a sensor with noise, and JPEG.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use lightbox::domain::{GreyImage, Reason};

use super::Noise;

/// A reflection on the film.
#[derive(Clone, Copy, Debug)]
pub struct Glare {
    /// Centre on the film, −1 to 1 across and down.
    pub at: [f32; 2],
    /// In halves of the film's shorter side.
    pub radius: f32,
    /// Light that is added, 1 for that of the lamp.
    pub light: f32,
}

/// Waves over the photograph.
#[derive(Clone, Copy, Debug)]
pub struct Stripes {
    /// Pixels.
    pub period: f32,
    /// Radians.
    pub direction: f32,
    /// Share of the light.
    pub strength: f32,
}

/// How a photograph is taken.
#[derive(Clone, Debug)]
pub struct Shot {
    /// Columns and rows.
    pub size: [u32; 2],
    /// Turned about the vertical and the horizontal axis, and in the photograph's plane, in degrees.
    pub turned: [f32; 3],
    /// Quarters of a turn clockwise in which the film hangs.
    pub quarters: u8,
    /// Share of the photograph that the film fills in the direction in which it fills more.
    pub fill: f32,
    /// How far its middle is from the photograph's, in halves of the photograph.
    pub shift: [f32; 2],
    /// Width of the lamp beside the film, in halves of the film's shorter side.
    pub rim: f32,
    /// How the logarithm of the lamp's light changes to the right and down, and how much darker it is at the film's corners.
    pub lamp: [f32; 3],
    /// Light of the lamp at its brightest, 1 where the sensor is full.
    pub exposure: f32,
    /// Density of the film's blackest parts.
    pub density: f32,
    /// Black and white are exchanged.
    pub inverted: bool,
    /// Light of the room beside the lamp, and what of it the film reflects.
    pub room: [f32; 2],
    pub glare: Option<Glare>,
    pub stripes: Option<Stripes>,
    /// Of the optics, standard deviation in pixels.
    pub blur: f32,
    /// By a moving hand, pixels to the right.
    pub shake: usize,
    /// Noise in the dark, and at full light.
    pub noise: [f32; 2],
    /// Of the JPEG.
    pub quality: u8,
}

/// What spoils an unusable photograph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Missing,
    CutOff,
    Far,
    Skewed,
    Glare,
    Blurred,
    Striped,
    Bright,
    Dark,
}

impl Fault {
    pub const ALL: [Self; 9] = [
        Self::Missing,
        Self::CutOff,
        Self::Far,
        Self::Skewed,
        Self::Glare,
        Self::Blurred,
        Self::Striped,
        Self::Bright,
        Self::Dark,
    ];

    /// The hint that is right.
    pub fn reason(self) -> Reason {
        match self {
            Self::Missing => Reason::FilmNotFound,
            Self::CutOff => Reason::FilmCutOff,
            Self::Far => Reason::FilmTooFar,
            Self::Skewed => Reason::FilmSkewed,
            Self::Glare => Reason::FilmGlare,
            Self::Blurred => Reason::FilmOutOfFocus,
            Self::Striped => Reason::FilmMoire,
            Self::Bright => Reason::FilmOverexposed,
            Self::Dark => Reason::FilmUnderexposed,
        }
    }
}

impl Shot {
    /// One that a careful hand takes; each `seed` another one.
    pub fn careful(seed: u64) -> Self {
        let mut noise = Noise::seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut between = |low: f32, high: f32| low + (high - low) * noise.unit();
        Self {
            size: [1600, 1200],
            turned: [between(-9.0, 9.0), between(-9.0, 9.0), between(-7.0, 7.0)],
            quarters: if between(0.0, 1.0) < 0.15 { between(1.0, 3.99) as u8 } else { 0 },
            fill: between(0.6, 0.84),
            shift: [between(-0.06, 0.06), between(-0.04, 0.04)],
            rim: between(0.05, 0.2),
            lamp: [between(-0.2, 0.2), between(-0.2, 0.2), between(0.0, 0.25)],
            exposure: between(0.6, 0.95),
            density: between(1.4, 2.2),
            inverted: between(0.0, 1.0) < 0.1,
            room: [between(0.002, 0.03), between(0.0, 0.003)],
            glare: None,
            stripes: None,
            blur: between(0.6, 1.3),
            shake: 0,
            noise: [between(0.0005, 0.002), between(0.004, 0.01)],
            quality: between(82.0, 95.0) as u8,
        }
    }

    /// One with care before a light box whose shutters are closed to the film.
    pub fn without_rim(seed: u64) -> Self {
        Self { rim: 0.0, ..Self::careful(seed) }
    }

    /// One of `film` that is spoilt by `fault`.
    pub fn spoilt(seed: u64, fault: Fault, film: &GreyImage) -> Self {
        let mut shot = Self::careful(seed);
        let mut noise = Noise::seeded(seed.wrapping_mul(0xd134_2543_de82_ef95) | 1);
        let mut between = |low: f32, high: f32| low + (high - low) * noise.unit();
        let film_px = shot.fill * shot.size[1] as f32;
        match fault {
            // `photograph` is told so by giving it no film.
            Fault::Missing => {}
            Fault::CutOff => {
                let sign = |v: f32| if v < 0.0 { -1.0 } else { 1.0 };
                shot.shift = if between(0.0, 1.0) < 0.5 {
                    [shot.shift[0], sign(shot.shift[1]) * between(0.55, 0.9)]
                } else {
                    // The photograph is wider than the film.
                    [sign(shot.shift[0]) * between(0.75, 1.0), shot.shift[1]]
                };
            }
            Fault::Far => shot.fill = between(0.12, 0.28),
            Fault::Skewed => {
                let by = between(34.0, 48.0) * if between(0.0, 1.0) < 0.5 { -1.0 } else { 1.0 };
                let axis = usize::from(between(0.0, 1.0) < 0.5);
                shot.turned[axis] = by;
                shot.fill = between(0.55, 0.65);
            }
            Fault::Glare => {
                shot.glare = Some(Glare {
                    at: [between(-0.7, 0.7), between(-0.7, 0.7)],
                    radius: between(0.1, 0.35),
                    light: between(1.0, 3.0),
                });
            }
            Fault::Blurred => {
                if between(0.0, 1.0) < 0.6 {
                    shot.blur = film_px * between(0.012, 0.03);
                } else {
                    shot.shake = (film_px * between(0.035, 0.08)) as usize;
                }
            }
            Fault::Striped => {
                shot.stripes = Some(Stripes {
                    period: film_px * between(0.004, 0.02),
                    direction: between(0.2, 1.4),
                    strength: between(0.08, 0.25),
                });
            }
            Fault::Bright => {
                // A sixth of the film and more is burnt out.
                let mut greys: Vec<u16> = film.greys().to_vec();
                greys.sort_unstable();
                let share = f32::from(greys[greys.len() * if shot.inverted { 1 } else { 5 } / 6]) / 65_535.0;
                let share = if shot.inverted { 1.0 - share } else { share };
                shot.exposure = between(1.6, 4.0) * 10.0f32.powf(0.18 + (shot.density - 0.18) * (1.0 - share));
            }
            Fault::Dark => shot.exposure = between(0.015, 0.06),
        }
        shot
    }
}

/// Full light to a camera's code, 0 to 255 (IEC 61966-2-1).
fn code(light: f32) -> u8 {
    let light = light.clamp(0.0, 1.0);
    let code = if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
    (code * 255.0).round() as u8
}

type Matrix = [[f32; 3]; 3];

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

fn inverse(m: &Matrix) -> Matrix {
    let cofactor = |i: usize, j: usize| {
        let [a, b, c, d] = [(i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3];
        m[a][c] * m[b][d] - m[a][d] * m[b][c]
    };
    let determinant: f32 = (0..3).map(|j| m[0][j] * cofactor(0, j)).sum();
    std::array::from_fn(|i| std::array::from_fn(|j| cofactor(j, i) / determinant))
}

/// From pixels of the photograph to the film's plane, where the film is −half to half.
fn onto_film(shot: &Shot, half: [f32; 2]) -> Matrix {
    let [width, height] = shot.size.map(|side| side as f32);
    let [yaw, pitch, roll] = shot.turned.map(f32::to_radians);
    let about_y = [[yaw.cos(), 0.0, yaw.sin()], [0.0, 1.0, 0.0], [-yaw.sin(), 0.0, yaw.cos()]];
    let about_x = [[1.0, 0.0, 0.0], [0.0, pitch.cos(), -pitch.sin()], [0.0, pitch.sin(), pitch.cos()]];
    let about_z = [[roll.cos(), -roll.sin(), 0.0], [roll.sin(), roll.cos(), 0.0], [0.0, 0.0, 1.0]];
    let rotation = product(&product(&about_z, &about_x), &about_y);
    let focal = 1.1 * width;
    let pixels_a_unit = shot.fill * (width / (2.0 * half[0])).min(height / (2.0 * half[1]));
    let distance = focal / pixels_a_unit;
    let camera = [
        [focal, 0.0, width / 2.0 * (1.0 + shot.shift[0])],
        [0.0, focal, height / 2.0 * (1.0 + shot.shift[1])],
        [0.0, 0.0, 1.0],
    ];
    let pose: Matrix = std::array::from_fn(|i| [rotation[i][0], rotation[i][1], if i == 2 { distance } else { 0.0 }]);
    inverse(&product(&camera, &pose))
}

/// A photograph of `film`, or of the lamp alone, as a JPEG.
pub fn photograph(film: Option<&GreyImage>, shot: &Shot, seed: u64) -> Vec<u8> {
    let mut noise = Noise::seeded(seed | 1);
    let sideways = shot.quarters % 2 == 1;
    let aspect = film.map_or(0.85, |film| film.width() as f32 / film.height() as f32);
    let aspect = if sideways { 1.0 / aspect } else { aspect };
    let half = [aspect.max(0.2), 1.0];
    let short = half[0].min(1.0);
    let matrix = onto_film(shot, half);
    let [width, height] = shot.size.map(|side| side as usize);
    let phase = noise.unit() * 6.0;
    let lit = |x: f32, y: f32| -> f32 {
        let [u, v, w] = [0, 1, 2].map(|i| matrix[i][0] * x + matrix[i][1] * y + matrix[i][2]);
        let (u, v) = (u / w, v / w);
        if u.abs() > half[0] + shot.rim * short || v.abs() > half[1] + shot.rim * short || w < 0.0 {
            return shot.room[0];
        }
        let (across, down) = (u / half[0], v / half[1]);
        let [right, lower, corner] = shot.lamp;
        let mut light = (right * across + lower * down - corner * (across * across + down * down) / 2.0).exp();
        if across.abs() <= 1.0
            && down.abs() <= 1.0
            && let Some(film) = film
        {
            // As it hangs.
            let (a, d) = match shot.quarters % 4 {
                0 => (across, down),
                1 => (down, -across),
                2 => (-across, -down),
                _ => (-down, across),
            };
            let grey = sample(film, a, d);
            let grey = if shot.inverted { 1.0 - grey } else { grey };
            // Base and fog hold back a third even where nothing is black.
            light *= 10.0f32.powf(-0.18 - (shot.density - 0.18) * (1.0 - grey));
            light += shot.room[1];
            if let Some(glare) = shot.glare {
                let far = (u - glare.at[0] * half[0]).hypot(v - glare.at[1] * half[1]) / (glare.radius * short);
                light += glare.light * (1.0 - ((far - 0.6) / 0.4).clamp(0.0, 1.0)).powi(2);
            }
        }
        if let Some(stripes) = shot.stripes {
            let along = x * stripes.direction.cos() + y * stripes.direction.sin();
            light *= 1.0 + stripes.strength * (along / stripes.period * std::f32::consts::TAU + phase).sin();
        }
        light * shot.exposure
    };
    let mut light = Vec::with_capacity(width * height);
    for y in 0..height {
        light.extend((0..width).map(|x| {
            let (x, y) = (x as f32, y as f32);
            let four = [[0.125, 0.375], [0.375, 0.875], [0.625, 0.125], [0.875, 0.625]];
            four.iter().map(|[dx, dy]| lit(x + dx, y + dy)).sum::<f32>() / 4.0
        }));
    }
    let light = blurred(light, width, height, shot.blur, shot.shake);
    let codes: Vec<u8> = light
        .into_iter()
        .map(|light| code(light + (shot.noise[0].powi(2) + shot.noise[1].powi(2) * light).sqrt() * noise.bell()))
        .collect();
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, shot.quality);
    encoder.write_image(&codes, width as u32, height as u32, ExtendedColorType::L8).expect("written to memory");
    bytes
}

/// The grey at a place in the film, −1 to 1, from 0 to 1.
fn sample(film: &GreyImage, across: f32, down: f32) -> f32 {
    let place = |share: f32, side: u32| ((share + 1.0) / 2.0 * side as f32 - 0.5).clamp(0.0, side as f32 - 1.0);
    let (x, y) = (place(across, film.width()), place(down, film.height()));
    let (left, upper) = (x as u32, y as u32);
    let (right, lower) = ((left + 1).min(film.width() - 1), (upper + 1).min(film.height() - 1));
    let row = |y: u32| {
        let row = film.row(y);
        let (a, b) = (f32::from(row[left as usize]), f32::from(row[right as usize]));
        a + (b - a) * (x - left as f32)
    };
    let (above, below) = (row(upper), row(lower));
    (above + (below - above) * (y - upper as f32)) / 65_535.0
}

fn blurred(light: Vec<f32>, width: usize, height: usize, deviation: f32, shake: usize) -> Vec<f32> {
    let reach = (deviation * 3.0).ceil() as isize;
    let kernel: Vec<f32> = (-reach..=reach).map(|at| (-0.5 * (at as f32 / deviation).powi(2)).exp()).collect();
    let sum: f32 = kernel.iter().sum();
    let kernel: Vec<f32> = kernel.iter().map(|weight| weight / sum).collect();
    let along_rows = |light: &[f32], kernel: &[f32]| -> Vec<f32> {
        let half = kernel.len() / 2;
        let mut out = Vec::with_capacity(light.len());
        for row in light.chunks(width) {
            let mut padded = vec![row[0]; half];
            padded.extend(row);
            padded.extend(vec![row[width - 1]; kernel.len() - half]);
            out.extend((0..width).map(|x| kernel.iter().zip(&padded[x..]).map(|(k, v)| k * v).sum::<f32>()));
        }
        out
    };
    let mut light = along_rows(&light, &kernel);
    if shake > 1 {
        light = along_rows(&light, &vec![1.0 / shake as f32; shake]);
    }
    // Down the columns, row by row.
    let mut out = vec![0.0; light.len()];
    for y in 0..height {
        for (offset, weight) in kernel.iter().enumerate() {
            let from = (y as isize + offset as isize - reach).clamp(0, height as isize - 1) as usize;
            let source = &light[from * width..(from + 1) * width];
            out[y * width..(y + 1) * width].iter_mut().zip(source).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    out
}
