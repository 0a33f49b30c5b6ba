//! Films in memory: decoded once, 8 bits a pixel, and made into network input by the device's own steps.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use lightbox::adapters::file::{Limits, read_film};
use lightbox::domain::{Acquired, GreyImage, InputSpec, Rejection, Window};
use lightbox::pipeline::preprocess::preprocess;
use lightbox::pipeline::quality;
use rayon::prelude::*;

use super::manifest::DataError;
use super::split::Named;

/// A film, 0 black to 255 white.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Film {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row by row from the top.
    pub greys: Vec<u8>,
}

impl Film {
    /// The nearest 8-bit greys of `image`.
    pub fn from_image(image: &GreyImage) -> Self {
        // 257 × 255 = 65535
        let greys = image.greys().iter().map(|g| ((u32::from(*g) + 128) / 257) as u8).collect();
        Self { width: image.width() as usize, height: image.height() as usize, greys }
    }

    /// A part of the film, to the nearest pixel; `None` where it has none.
    pub fn part(&self, part: &Window) -> Option<Self> {
        let at = |share: f32, length: usize| (share * length as f32).round() as usize;
        let (left, right) = (at(part.left, self.width), at(part.right, self.width).min(self.width));
        let (top, bottom) = (at(part.top, self.height), at(part.bottom, self.height).min(self.height));
        if left >= right || top >= bottom {
            return None;
        }
        let rows = self.greys.chunks(self.width).take(bottom).skip(top);
        let greys = rows.flat_map(|row| &row[left..right]).copied().collect();
        Some(Self { width: right - left, height: bottom - top, greys })
    }

    fn to_image(&self) -> GreyImage {
        let greys = self.greys.iter().map(|g| u16::from(*g) * 257).collect();
        GreyImage::new(self.width as u32, self.height as u32, greys).expect("a film has width × height greys")
    }

    /// Network input, by the steps that the device takes: quality, then preprocessing.
    ///
    /// # Errors
    /// When the device would reject the film.
    pub fn input(&self, spec: &InputSpec) -> Result<Vec<f32>, Rejection> {
        let radiograph = quality::accept(Acquired::from_image(self.to_image())).map_err(|refused| refused.rejection)?;
        Ok(preprocess(&radiograph, spec).values)
    }
}

/// A film that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Relative to the data folder.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads the film at `path` and asks whether the device would take it.
fn read_one(path: &Path) -> Result<Film, String> {
    let acquired = read_film(path, &Limits::default()).map_err(|rejection| rejection.to_string())?;
    let film = Film::from_image(&acquired.image);
    quality::accept(acquired).map_err(|refused| refused.rejection.to_string())?;
    Ok(film)
}

/// Films in memory, and those that were left out.
pub type Loaded = (Vec<(Named, Film)>, Vec<Skipped>);

/// Reads all films; those that cannot be read, or that the device would reject, are left out and named.
///
/// `progress` is called with the number of films done so far.
///
/// # Errors
/// When not one film could be read.
pub fn read_all(folder: &Path, films: Vec<Named>, progress: impl Fn(usize) + Sync) -> Result<Loaded, DataError> {
    let done = AtomicUsize::new(0);
    let total = films.len();
    let read: Vec<Result<(Named, Film), Skipped>> = films
        .into_par_iter()
        .map(|named| {
            let path: PathBuf = folder.join(&named.row.file);
            let film = read_one(&path).map_err(|reason| Skipped { file: named.row.file.clone(), reason });
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            film.map(|film| (named, film))
        })
        .collect();
    let (mut kept, mut skipped) = (Vec::with_capacity(total), Vec::new());
    for result in read {
        match result {
            Ok(film) => kept.push(film),
            Err(skip) => skipped.push(skip),
        }
    }
    match (kept.is_empty(), skipped.first()) {
        (true, Some(first)) => {
            Err(DataError::Unreadable { films: total, first: format!("{}: {}", first.file, first.reason) })
        }
        _ => Ok((kept, skipped)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_film_has_the_pixels_nearest_to_its_edges() {
        let film = Film { width: 4, height: 3, greys: (0..12).collect() };
        let part = |left, top, right, bottom| film.part(&Window { left, top, right, bottom });
        assert_eq!(part(0.0, 0.0, 1.0, 1.0), Some(film.clone()));
        assert_eq!(part(0.26, 0.3, 0.8, 1.0), Some(Film { width: 2, height: 2, greys: vec![5, 6, 9, 10] }));
        assert_eq!(part(0.5, 0.0, 0.55, 1.0), None);
    }
}
