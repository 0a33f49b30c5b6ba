//! A panel that is a PNG file: each picture replaces the one before, and no reader ever sees half of one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageError};

use crate::domain::Frame;
use crate::ports::{Panel, PanelError};

/// Shows pictures by writing them to a file.
#[derive(Debug)]
pub struct PngPanel {
    path: PathBuf,
    size: (u32, u32),
}

impl PngPanel {
    /// `path` is the file that is written; its directory has to exist by the time a picture is shown. It asks for
    /// pictures of `size`, columns and rows, and writes any.
    pub fn new(path: impl Into<PathBuf>, size: (u32, u32)) -> Self {
        Self { path: path.into(), size }
    }

    /// The file that is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        }
    }

    fn write_error(&self, source: io::Error) -> PanelError {
        PanelError::Write { target: self.path.display().to_string(), source }
    }

    fn write(&self, partial: &Path, picture: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(partial)?;
        file.write_all(picture)?;
        // Before the rename, or a power cut may leave the new name on an empty file.
        file.sync_all()?;
        fs::rename(partial, &self.path)
    }

    fn encode_error(&self, frame: &Frame, source: ImageError) -> PanelError {
        let target = self.path.display().to_string();
        PanelError::Encode { target, width: frame.width(), height: frame.height(), source: source.into() }
    }
}

impl Panel for PngPanel {
    fn show(&mut self, frame: &Frame) -> Result<(), PanelError> {
        let mut picture = Vec::new();
        PngEncoder::new_with_quality(&mut picture, CompressionType::Default, FilterType::Adaptive)
            .write_image(frame.pixels().as_flattened(), frame.width(), frame.height(), ExtendedColorType::Rgb8)
            .map_err(|source| self.encode_error(frame, source))?;
        let directory = self.directory();
        if !directory.is_dir() {
            return Err(PanelError::DirectoryMissing { file: self.path.clone(), directory: directory.to_owned() });
        }
        let Some(name) = self.path.file_name() else {
            return Err(self.write_error(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file")));
        };
        let partial = directory.join(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
        // Left behind by a run that was killed and had the same process number.
        if let Err(source) = fs::remove_file(&partial)
            && source.kind() != io::ErrorKind::NotFound
        {
            return Err(self.write_error(source));
        }
        self.write(&partial, &picture).map_err(|source| {
            if let Err(error) = fs::remove_file(&partial)
                && error.kind() != io::ErrorKind::NotFound
            {
                log::warn!("cannot remove {}: {error}", partial.display());
            }
            self.write_error(source)
        })
    }

    fn size(&self) -> (u32, u32) {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Frame {
        let mut frame = Frame::new(3, 2);
        frame.set(2, 1, [10, 200, 30]);
        frame
    }

    #[test]
    fn the_picture_comes_back_as_it_was_shown() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("screen.png");
        let mut panel = PngPanel::new(&path, (3, 2));
        for _ in 0..2 {
            panel.show(&picture()).expect("written");
        }
        let back = image::open(&path).expect("a PNG").into_rgb8();
        assert_eq!(back.dimensions(), (3, 2));
        assert_eq!(back.get_pixel(2, 1).0, [10, 200, 30]);
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1, "nothing else is left");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("nowhere").join("screen.png");
        let error = PngPanel::new(&path, (3, 2)).show(&picture()).expect_err("no directory").to_string();
        let (file, parent) = (path.display(), path.parent().expect("a parent").display());
        assert_eq!(error, format!("cannot write {file}: the directory {parent} does not exist"));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named_and_left_clean() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("taken");
        fs::create_dir(&path).expect("a directory in the way");
        let error = PngPanel::new(&path, (3, 2)).show(&picture()).expect_err("a directory is no file").to_string();
        assert!(error.starts_with(&format!("cannot write the picture to {}: ", path.display())), "{error}");
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1, "no partial file is left");
    }

    #[test]
    fn a_picture_without_pixels_is_refused_and_the_old_one_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut panel = PngPanel::new(directory.path().join("screen.png"), (3, 2));
        panel.show(&picture()).expect("written");
        let error = panel.show(&Frame::new(0, 0)).expect_err("nothing to encode").to_string();
        assert!(error.starts_with("cannot encode a picture of 0 × 0 pixels for "), "{error}");
        assert!(image::open(panel.path()).is_ok());
    }
}
