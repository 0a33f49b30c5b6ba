//! A sheet of films as the network gets them in training: the only way to see whether augmentation is sensible.

use std::path::Path;

use image::{GrayImage, Luma};

use crate::data::batches::TrainingFilms;
use crate::recipe::Recipe;

/// Columns of the sheet.
const COLUMNS: usize = 8;

/// Writes the films of the first batch, as they reach the network, side by side.
///
/// # Errors
/// When the picture cannot be written.
pub fn write_sheet(films: &TrainingFilms, recipe: &Recipe, path: &Path) -> Result<(), image::ImageError> {
    let batch = films.batch(0);
    let (width, height) = (recipe.input.width(), recipe.input.height());
    let rows = batch.labels.len().div_ceil(COLUMNS);
    let mut sheet = GrayImage::new((COLUMNS * width) as u32, (rows * height) as u32);
    let (mean, std) = (recipe.input.mean()[0], recipe.input.std()[0]);
    for (number, film) in batch.inputs.chunks_exact(width * height).enumerate() {
        let (left, top) = (number % COLUMNS * width, number / COLUMNS * height);
        for (place, value) in film.iter().enumerate() {
            let grey = ((value * std + mean) * 255.0).round().clamp(0.0, 255.0) as u8;
            sheet.put_pixel((left + place % width) as u32, (top + place / width) as u32, Luma([grey]));
        }
    }
    sheet.save(path)
}
