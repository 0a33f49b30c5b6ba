//! A file from outside, whatever it is: DICOM, PNG, JPEG, TIFF, BMP. It is answered, with a picture of the size that it
//! says or a reason.

use lightbox::adapters::file::{Limits, decode_film};

/// Whether it is a picture.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let limits = Limits { file_bytes: 1 << 20, inflated_bytes: 1 << 22, pixels: 1 << 20, decoded_bytes: 1 << 22 };
    match decode_film(bytes, &limits) {
        Ok(film) => {
            let (width, height) = (u64::from(film.image.width()), u64::from(film.image.height()));
            assert_eq!(film.image.greys().len() as u64, width * height);
            assert!(width * height <= limits.pixels);
            assert!(film.pixel_aspect > 0.0 && (0.0..=1.0).contains(&film.colourfulness));
            true
        }
        Err(rejection) => {
            assert!(!rejection.detail.is_empty(), "{}", rejection.reason);
            false
        }
    }
}
