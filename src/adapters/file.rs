//! A file from outside, whatever its name: what it is, is told by its first bytes.
//!
//! Every size is compared with [`Limits`] before memory is taken for it.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::{dicom, picture};
use crate::domain::{Acquired, Reason, Rejection};

/// What is read at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a file.
    pub file_bytes: u64,
    /// Bytes of a DICOM data set after it has been inflated.
    pub inflated_bytes: u64,
    /// Rows × columns of a picture.
    pub pixels: u64,
    /// Rows × columns × samples × bytes of a sample of one decoded frame.
    pub decoded_bytes: u64,
}

impl Default for Limits {
    /// 256 MiB of file, 256 MiB inflated, 64 Mi pixels, 128 MiB decoded.
    fn default() -> Self {
        Self { file_bytes: 256 << 20, inflated_bytes: 256 << 20, pixels: 64 << 20, decoded_bytes: 128 << 20 }
    }
}

impl Limits {
    /// Refuses a picture without pixels or beyond the limits; `pixel_bytes` is what a decoded pixel takes.
    pub(super) fn check_picture(&self, columns: u32, rows: u32, pixel_bytes: u64) -> Result<(), Rejection> {
        if columns == 0 || rows == 0 {
            let detail = format!("{columns} columns × {rows} rows, expected at least 1 × 1");
            return Err(Rejection::new(Reason::BadDimensions, detail));
        }
        let pixels = u64::from(columns) * u64::from(rows);
        if pixels > self.pixels {
            let detail = format!("{columns} × {rows} is {pixels} pixels, at most {} are read", self.pixels);
            return Err(Rejection::new(Reason::ImageTooLarge, detail));
        }
        let bytes = pixels.saturating_mul(pixel_bytes);
        if bytes > self.decoded_bytes {
            let detail =
                format!("{columns} × {rows} pixels take {bytes} bytes decoded, at most {} are", self.decoded_bytes);
            return Err(Rejection::new(Reason::ImageTooLarge, detail));
        }
        Ok(())
    }
}

/// Opens a regular file that is not too large; gives its length too.
///
/// # Errors
/// With the reason why it cannot be a radiograph.
pub(super) fn open_film(path: &Path, limits: &Limits) -> Result<(fs::File, u64), Rejection> {
    // Asked before opening: opening a pipe would wait for its other end.
    let about = fs::metadata(path).map_err(|error| cannot_open(&error))?;
    if !about.is_file() {
        let found = if about.is_dir() { "a directory" } else { "a device, pipe or socket" };
        return Err(Rejection::new(Reason::NotAFile, format!("{found}, expected a regular file")));
    }
    if about.len() > limits.file_bytes {
        return Err(too_large(about.len(), limits));
    }
    let file = fs::File::open(path).map_err(|error| cannot_open(&error))?;
    Ok((file, about.len()))
}

fn cannot_open(error: &std::io::Error) -> Rejection {
    Rejection::new(Reason::CannotOpen, error.to_string())
}

fn too_large(found: u64, limits: &Limits) -> Rejection {
    Rejection::new(Reason::FileTooLarge, format!("{found} bytes, at most {} are read", limits.file_bytes))
}

/// Reads a radiograph from a regular file, in this process: for files that are trusted.
///
/// # Errors
/// With the reason why it cannot be one.
pub fn read_film(path: &Path, limits: &Limits) -> Result<Acquired, Rejection> {
    let (file, length) = open_film(path, limits)?;
    let mut bytes = Vec::with_capacity(length as usize);
    // It may have grown since.
    file.take(limits.file_bytes + 1).read_to_end(&mut bytes).map_err(|error| cannot_open(&error))?;
    if bytes.len() as u64 > limits.file_bytes {
        return Err(too_large(bytes.len() as u64, limits));
    }
    decode_film(&bytes, limits)
}

/// Decodes a radiograph from the bytes of a file.
///
/// # Errors
/// With the reason why it cannot be one.
pub fn decode_film(bytes: &[u8], limits: &Limits) -> Result<Acquired, Rejection> {
    if bytes.is_empty() {
        return Err(Rejection::new(Reason::EmptyFile, "0 bytes"));
    }
    // First, because the preamble of a DICOM file may be the start of something else (PS3.10 7.1).
    if let Some(start) = dicom::starts_at(bytes) {
        return dicom::decode(bytes, start, limits);
    }
    if let Some(format) = picture::format_of(bytes) {
        return picture::decode(bytes, format, limits);
    }
    let found = known_otherwise(bytes).unwrap_or("unknown bytes");
    Err(Rejection::new(Reason::UnknownFormat, format!("found {found}, expected DICOM, PNG, JPEG, TIFF or BMP")))
}

/// Names common formats that are not read, for the message.
fn known_otherwise(bytes: &[u8]) -> Option<&'static str> {
    const SIGNATURES: [(&[u8], &str); 9] = [
        (b"%PDF", "a PDF"),
        (b"PK\x03\x04", "a ZIP archive or office document"),
        (b"GIF8", "a GIF"),
        (b"\x1f\x8b", "a gzip file"),
        (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 file outside DICOM"),
        (b"\xff\x4f\xff\x51", "a JPEG 2000 file outside DICOM"),
        (b"\x7fELF", "a program"),
        (b"MZ", "a program"),
        (b"<?xml", "XML"),
    ];
    let named = SIGNATURES.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, name)| *name);
    let container = match (bytes.get(..4), bytes.get(4..12)) {
        (Some(b"RIFF"), Some(kind)) if kind.ends_with(b"WEBP") => Some("a WebP picture"),
        (Some(_), Some(kind)) if kind.starts_with(b"ftyp") => Some("a HEIF or AVIF picture or a film clip"),
        _ => None,
    };
    let start = &bytes[..bytes.len().min(512)];
    let text = || start.iter().all(|&b| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e)).then_some("text");
    named.or(container).or_else(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], reason: Reason, detail: &str) {
        let refused = decode_film(bytes, &Limits::default()).unwrap_err();
        assert_eq!((refused.reason, refused.detail.as_str()), (reason, detail));
    }

    #[test]
    fn what_is_no_picture_is_named() {
        let expected = "expected DICOM, PNG, JPEG, TIFF or BMP";
        check(b"", Reason::EmptyFile, "0 bytes");
        check(b"Patient has a cough.\n", Reason::UnknownFormat, &format!("found text, {expected}"));
        check(b"%PDF-1.7\n\xff", Reason::UnknownFormat, &format!("found a PDF, {expected}"));
        check(b"RIFF\0\0\0\0WEBPVP8 ", Reason::UnknownFormat, &format!("found a WebP picture, {expected}"));
        check(&[0xa5; 300], Reason::UnknownFormat, &format!("found unknown bytes, {expected}"));
    }

    #[test]
    fn only_a_regular_file_of_bearable_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| read_film(path, &Limits { file_bytes: 10, ..Limits::default() }).unwrap_err();
        let directory = refused(folder.path());
        assert_eq!(directory.to_string(), "not-a-file: a directory, expected a regular file");
        let missing = refused(&folder.path().join("missing.dcm"));
        assert_eq!(missing.reason, Reason::CannotOpen);
        let large = folder.path().join("large.dcm");
        fs::write(&large, [0; 11]).unwrap();
        assert_eq!(refused(&large).to_string(), "file-too-large: 11 bytes, at most 10 are read");
        let empty = folder.path().join("empty.dcm");
        fs::write(&empty, []).unwrap();
        assert_eq!(refused(&empty).reason, Reason::EmptyFile);
    }

    #[test]
    fn a_picture_is_measured_before_it_is_decoded() {
        let limits = Limits { pixels: 100, decoded_bytes: 150, ..Limits::default() };
        assert_eq!(limits.check_picture(10, 10, 1), Ok(()));
        let refused = |columns, rows, bytes| limits.check_picture(columns, rows, bytes).unwrap_err().to_string();
        assert_eq!(refused(0, 10, 1), "bad-dimensions: 0 columns × 10 rows, expected at least 1 × 1");
        assert_eq!(refused(11, 10, 1), "image-too-large: 11 × 10 is 110 pixels, at most 100 are read");
        assert_eq!(refused(10, 10, 2), "image-too-large: 10 × 10 pixels take 200 bytes decoded, at most 150 are");
        let largest = limits.check_picture(u32::MAX, u32::MAX, u64::MAX).unwrap_err();
        assert_eq!(largest.reason, Reason::ImageTooLarge);
    }
}
