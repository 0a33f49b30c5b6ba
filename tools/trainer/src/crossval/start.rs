//! What a network begins with: imported weights, or random ones where none could be had.

use std::fmt;
use std::path::PathBuf;

use burn::tensor::Device;
use sha2::{Digest, Sha256};

use super::folds::CLASSES;
use super::study::{Study, name_of, network_named};
use crate::paper::networks::{Architecture, ImportError, Imported, PaperNetwork};

/// A network that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The weights do not fit.
    #[error(transparent)]
    Import(#[from] Box<ImportError>),
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The network has no room for the input.
    #[error(
        "{network} needs an input of at least {least} × {least}, the recipe has {height} × {width}: \
             leave the network out or choose a larger --size"
    )]
    Small {
        /// Which network.
        network: &'static str,
        /// Shortest side that it takes.
        least: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
}

/// The weights that a network begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Of this file.
    File(PathBuf),
    /// None: random ones.
    Random,
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Random => f.write_str("random"),
        }
    }
}

impl Start {
    /// `FILE`, or the word `random`.
    pub fn parse(text: &str) -> Self {
        if text == "random" { Self::Random } else { Self::File(text.into()) }
    }

    /// `network` on `device`, and what was imported; `None` where nothing was.
    ///
    /// The random weights are the same wherever the seed is.
    ///
    /// # Errors
    /// When the weights cannot be used.
    pub fn network(
        &self,
        network: Architecture,
        study: &Study,
        device: &Device,
    ) -> Result<(PaperNetwork, Option<Imported>), StartError> {
        let (height, width, least) = (study.spec.height(), study.spec.width(), network.smallest_side());
        if height.min(width) < least {
            return Err(StartError::Small { network: network.title(), least, height, width });
        }
        device.seed(study.file.folds.seed);
        let fresh = PaperNetwork::new(network, CLASSES.len(), study.file.training.dropout, device);
        match self {
            Self::Random => Ok((fresh, None)),
            Self::File(path) => {
                let (network, imported) = fresh.import(path).map_err(Box::new)?;
                Ok((network, Some(imported)))
            }
        }
    }

    /// Of the file; the word `random` without one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn digest(&self) -> Result<String, StartError> {
        match self {
            Self::Random => Ok("random".into()),
            Self::File(path) => {
                let bytes = std::fs::read(path).map_err(|source| StartError::Io { path: path.clone(), source })?;
                Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
            }
        }
    }

    /// The file's name without its folder.
    pub fn file_name(&self) -> String {
        match self {
            Self::Random => "random".into(),
            Self::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }
}

/// `NAME=FILE` or `NAME=random`.
///
/// # Errors
/// What was expected.
pub fn parse_pair(text: &str) -> Result<(Architecture, Start), String> {
    let Some((name, start)) = text.split_once('=') else {
        let example = name_of(Architecture::Vgg19);
        return Err(format!("expected NAME=FILE or NAME=random, for example {example}=vgg19.safetensors"));
    };
    Ok((network_named(name)?, Start::parse(start)))
}
