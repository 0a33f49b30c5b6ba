//! The few things that the house needs from outside, each a small trait of its own; the adapters provide them.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use crate::domain::{Frame, ModelInput, ModelOutput};

/// A network that reads prepared films.
pub trait Classifier {
    /// # Errors
    /// When the network cannot be run on `input` or answers in another shape than expected.
    fn classify(&mut self, input: &ModelInput) -> Result<ModelOutput, ClassifyError>;
}

/// A network that did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the network gave no answer: {0}")]
pub struct ClassifyError(pub String);

/// Something that shows pictures.
pub trait Panel {
    /// Shows `frame` in place of what was shown before.
    ///
    /// # Errors
    /// When the picture did not reach the panel; what the panel shows then is not known.
    fn show(&mut self, frame: &Frame) -> Result<(), PanelError>;
}

/// Why a picture did not reach a panel.
#[derive(Debug, thiserror::Error)]
pub enum PanelError {
    /// The directory that the picture belongs in is not there.
    #[error("cannot write {}: the directory {} does not exist", file.display(), directory.display())]
    DirectoryMissing {
        /// The picture.
        file: PathBuf,
        /// What is missing.
        directory: PathBuf,
    },
    /// The place that the picture goes to cannot be written.
    #[error("cannot write the picture to {target}: {source}")]
    Write {
        /// A path, or the name of a device.
        target: String,
        /// What the system said.
        source: io::Error,
    },
    /// The picture cannot be brought into the panel's form.
    #[error("cannot encode a picture of {width} × {height} pixels for {target}: {source}")]
    Encode {
        /// A path, or the name of a device.
        target: String,
        /// Columns of the picture.
        width: u32,
        /// Rows of the picture.
        height: u32,
        /// What the encoder said.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// A few named files that survive a power cut once they are synced.
///
/// Names are plain: letters, digits, hyphens and dots. Nothing is promised about a file between `write` and `sync`: after
/// a power cut it may be old, new, torn, zero or gone.
pub trait Storage {
    /// The whole file, as the medium has it and not as memory remembers it; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read or is longer than `limit` bytes.
    fn read(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, StorageError>;

    /// Makes the file or overwrites all of it.
    ///
    /// # Errors
    /// When not every byte was taken; the file may be torn then.
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), StorageError>;

    /// Returns once the file's bytes are durable.
    ///
    /// # Errors
    /// When the medium does not say so.
    fn sync(&mut self, name: &str) -> Result<(), StorageError>;

    /// Returns once it is durable which files there are.
    ///
    /// # Errors
    /// When the medium does not say so.
    fn sync_names(&mut self) -> Result<(), StorageError>;

    /// Removes the file; nothing happens when there is none.
    ///
    /// # Errors
    /// When it is still there.
    fn remove(&mut self, name: &str) -> Result<(), StorageError>;
}

/// Storage that did not do what it should.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {name}: {source}")]
pub struct StorageError {
    /// What was tried.
    pub operation: &'static str,
    /// On which file.
    pub name: String,
    /// What the system says.
    pub source: io::Error,
}
