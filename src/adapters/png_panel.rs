//! Panels that are PNG files: each picture replaces the one before, or is one more of a numbered sequence. No reader ever
//! sees half of one.

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

/// Shows pictures by writing each to a file of its own: `screen-000001.png` and so on, of which the last ones are kept.
/// A picture like the one before is not written again.
#[derive(Debug)]
pub struct PngSequence {
    folder: PathBuf,
    size: (u32, u32),
    keep: u64,
    written: u64,
    shown: Option<Frame>,
}

impl PngSequence {
    /// Goes on after the highest number that is in `folder`, which has to exist. `keep` is at least 1.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(folder: &Path, size: (u32, u32), keep: usize) -> Result<Self, PanelError> {
        let target = folder.display().to_string();
        let failed = |source| PanelError::Write { target: target.clone(), source };
        if !folder.is_dir() {
            let (file, directory) = (folder.join("screen-000001.png"), folder.to_owned());
            return Err(PanelError::DirectoryMissing { file, directory });
        }
        let mut written = 0;
        for entry in fs::read_dir(folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number =
                name.to_str().and_then(|name| name.strip_prefix("screen-")?.strip_suffix(".png")?.parse().ok());
            written = written.max(number.unwrap_or(0));
        }
        Ok(Self { folder: folder.to_owned(), size, keep: keep.max(1) as u64, written, shown: None })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("screen-{number:06}.png"))
    }
}

impl Panel for PngSequence {
    fn show(&mut self, frame: &Frame) -> Result<(), PanelError> {
        if self.shown.as_ref() == Some(frame) {
            return Ok(());
        }
        PngPanel::new(self.path(self.written + 1), self.size).show(frame)?;
        self.written += 1;
        self.shown = Some(frame.clone());
        if let Some(old) = self.written.checked_sub(self.keep).filter(|old| *old > 0) {
            match fs::remove_file(self.path(old)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => log::warn!("cannot remove {}: {error}", self.path(old).display()),
            }
        }
        Ok(())
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
        assert_eq!(error, format!("cannot write {file}: the folder {parent} is not there, make it"));
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

    #[test]
    fn a_sequence_keeps_the_last_pictures_that_differ() {
        let directory = tempfile::tempdir().expect("a directory");
        let names = || {
            let entries = fs::read_dir(directory.path()).expect("readable").flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        let mut panel = PngSequence::open(directory.path(), (3, 2), 2).expect("a folder");
        let mut frame = picture();
        for level in 0..4 {
            frame.set(0, 0, [level; 3]);
            panel.show(&frame).expect("written");
            panel.show(&frame).expect("nothing to do");
        }
        assert_eq!(names(), ["screen-000003.png", "screen-000004.png"]);
        drop(panel);
        let mut panel = PngSequence::open(directory.path(), (3, 2), 2).expect("a folder");
        panel.show(&picture()).expect("written");
        assert_eq!(names(), ["screen-000004.png", "screen-000005.png"]);
        let back = image::open(directory.path().join("screen-000005.png")).expect("a PNG").into_rgb8();
        assert_eq!(back.get_pixel(2, 1).0, [10, 200, 30]);
        let told = PngSequence::open(Path::new("/no/such"), (3, 2), 2).expect_err("no folder").to_string();
        assert_eq!(told, "cannot write /no/such/screen-000001.png: the folder /no/such is not there, make it");
    }
}
