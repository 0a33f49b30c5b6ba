//! Image files to grey pictures.

use std::path::Path;

use lightbox::domain::{Acquired, GreyImage, Reason, Rejection};

/// Reads a film.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn read_film(path: &Path) -> Result<Acquired, Rejection> {
    let open = image::ImageReader::open(path).and_then(image::ImageReader::with_guessed_format);
    let reader = open.map_err(|e| Rejection::new(Reason::CannotOpen, e.to_string()))?;
    let image = reader.decode().map_err(|e| Rejection::new(Reason::Corrupt, e.to_string()))?.into_luma16();
    let (width, height) = image.dimensions();
    let image = GreyImage::new(width, height, image.into_raw())
        .map_err(|e| Rejection::new(Reason::BadDimensions, e.to_string()))?;
    Ok(Acquired::from_image(image))
}
