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
