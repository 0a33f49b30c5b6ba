//! Image files to grey pictures.

use std::path::Path;

use lightbox::domain::{Acquired, GreyImage};

/// Reads a film.
///
/// # Errors
/// What is wrong with the file, in words.
pub(crate) fn read_film(path: &Path) -> Result<Acquired, String> {
    let image = image::ImageReader::open(path)
        .and_then(image::ImageReader::with_guessed_format)
        .map_err(|e| e.to_string())?
        .decode()
        .map_err(|e| e.to_string())?
        .into_luma16();
    let (width, height) = image.dimensions();
    let image = GreyImage::new(width, height, image.into_raw()).map_err(|e| e.to_string())?;
    Ok(Acquired::from_image(image))
}
