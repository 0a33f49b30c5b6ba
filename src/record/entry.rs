//! What is written down of one reading.

use crate::domain::{Identity, OperatingPoint, Reading, SaliencyMap, Window};

use super::Digest;

/// A point in time as the device's clock had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970-01-01 00:00 UTC.
    pub unix_ms: i64,
    /// Whether the clock had been set by something trusted since the device was switched on.
    pub verified: bool,
}

/// Where an image came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file named by a person.
    File,
    /// DICOM storage over the network.
    Network,
    /// A watched folder.
    Folder,
    /// A removable drive.
    Drive,
    /// A film photographed by the device.
    Camera,
}

impl Origin {
    /// The name in the journal; never renamed.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Network => "network",
            Self::Folder => "folder",
            Self::Drive => "drive",
            Self::Camera => "camera",
        }
    }
}

/// Which image was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// SHA-256 of the file's bytes.
    pub sha256: Digest,
    /// Where it lay: a path, or the name in the spool.
    pub reference: String,
}

/// Which model read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the network, in hexadecimal.
    pub network_sha256: String,
    /// SHA-256 of the manifest, which vouches for network and operating point together.
    pub manifest_sha256: String,
}

/// One reading, as it is handed to the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When.
    pub at: Moment,
    /// Where the image came from.
    pub origin: Origin,
    /// Which image; `None` when there was nothing that could be read at all.
    pub image: Option<Image>,
    /// Who is on it; `None` where the site keeps no patient data or the image has none.
    pub identity: Option<Identity>,
    /// Findings about the image's quality.
    pub remarks: Vec<String>,
    /// By which model.
    pub model: Model,
    /// The lines in force.
    pub operating_point: OperatingPoint,
    /// What was said.
    pub reading: Reading,
    /// Where the network looked and which part of the film it saw, as it is shown with the verdict.
    pub map: Option<(SaliencyMap, Window)>,
    /// Version of the program.
    pub software: String,
    /// Who operated the device, if known.
    pub operator: Option<String>,
}
