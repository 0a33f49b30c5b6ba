//! The few things that the house needs from outside, each a small trait of its own; the adapters provide them.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::{Frame, GreyImage, Key, Light, ModelInput, ModelOutput};

/// A network that reads prepared films.
pub trait Classifier {
    /// # Errors
    /// When the network cannot be run on `input` or answers in another shape than expected.
    fn classify(&mut self, input: &ModelInput) -> Result<ModelOutput, ClassifyError>;

    /// The features of [`classify`](Self::classify) alone, the same to the last bit: mostly much less work.
    ///
    /// # Errors
    /// As there.
    fn features(&mut self, input: &ModelInput) -> Result<Vec<f32>, ClassifyError> {
        self.classify(input).map(|output| output.features)
    }
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

    /// Columns and rows, as a person sees them, of the frames that it shows pixel by pixel.
    fn size(&self) -> (u32, u32);

    /// Lights the panel or makes it dark, by its backlight or by blanking; a panel that can do neither does nothing.
    ///
    /// # Errors
    /// When the device did not take it.
    fn set_lit(&mut self, _lit: bool) -> Result<(), PanelError> {
        Ok(())
    }
}

/// Why a picture did not reach a panel.
#[derive(Debug, thiserror::Error)]
pub enum PanelError {
    /// The directory that the picture belongs in is not there.
    #[error("cannot write {}: the folder {} is not there, make it", file.display(), directory.display())]
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
    /// A frame of another size than the panel has.
    #[error("{panel} shows {} × {} pixels, the frame has {} × {}", size.0, size.1, frame.0, frame.1)]
    Size {
        /// The panel.
        panel: String,
        /// Columns and rows of the panel.
        size: (u32, u32),
        /// Columns and rows of the frame.
        frame: (u32, u32),
    },
    /// The device that the panel hangs on.
    #[error("{0}")]
    Device(#[from] DeviceError),
}

/// Keys that a person presses.
pub trait Keys {
    /// Waits at most `timeout` for the next press.
    ///
    /// # Errors
    /// When the device is gone; it has to be opened anew.
    fn wait(&mut self, timeout: Duration) -> Result<Option<Key>, DeviceError>;
}

/// A lamp that tells one thing.
pub trait Lamp {
    /// Makes it shine so from now on.
    ///
    /// # Errors
    /// When the device did not take it.
    fn set(&mut self, light: Light) -> Result<(), DeviceError>;
}

/// Restarts the board unless it is fed in time.
pub trait Watchdog {
    /// Starts its time anew.
    ///
    /// # Errors
    /// When the device did not take it.
    fn feed(&mut self) -> Result<(), DeviceError>;

    /// Stops it, for an orderly end. One that is dropped without this restarts the board.
    ///
    /// # Errors
    /// When the device did not take it.
    fn disarm(&mut self) -> Result<(), DeviceError>;
}

/// A device that did not do what it should.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {device}: {source}")]
pub struct DeviceError {
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// On which device.
    pub device: String,
    /// What it said, or what it lacks and what helps.
    pub source: Box<dyn Error + Send + Sync>,
}

impl DeviceError {
    /// `operation` was tried on `device`, and came to `source`.
    pub fn new(
        operation: &'static str,
        device: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { operation, device: device.into(), source: source.into() }
    }
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

/// Something that takes photographs of films on a light box.
pub trait Source {
    /// A quick picture for guidance before the shot; `None` where there is none that is quicker than the shot.
    ///
    /// # Errors
    /// When there is no picture; the next call tries again from the start.
    fn look(&mut self) -> Result<Option<GreyImage>, SourceError>;

    /// The photograph, as the bytes of a file (JPEG or PNG) that nobody has looked at yet.
    ///
    /// # Errors
    /// When there is no picture; the next call tries again from the start.
    fn shoot(&mut self) -> Result<Vec<u8>, SourceError>;
}

/// Why there is no photograph.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The camera is not there, in use, or gave up.
    #[error("the camera {camera} cannot be used: {source}")]
    Device {
        /// Its path or program.
        camera: String,
        /// What the system said.
        source: io::Error,
    },
    /// It went silent.
    #[error("the camera {camera} gave no picture within {seconds} s")]
    TimedOut {
        /// Its path or program.
        camera: String,
        /// How long it was waited for.
        seconds: f32,
    },
    /// It gives something else than pictures.
    #[error("the camera {camera} gave no picture that can be used: {why}")]
    Unusable {
        /// Its path or program.
        camera: String,
        /// What it gave.
        why: String,
    },
}
