//! From a model directory to a signed bundle: golden films are answered, audit figures gathered, everything checked as a
//! device would check it. The same input always gives the same bytes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::adapters::file::{Limits, read_film};
use crate::bundle::container::MAX_BUNDLE_BYTES;
use crate::bundle::contents::{Contents, ContentsError, FigureEntry, ProgramVersion, figures};
use crate::bundle::figures::{of_audit, of_metrics};
use crate::bundle::release::{read_limited, with_ending};
use crate::bundle::signing::{SigningError, SigningKey};
use crate::bundle::{self, BundleError, CARD, Draft, MANIFEST, ModelError, NETWORK};
use crate::domain::{GreyImage, Rejection};
use crate::engine::{EngineError, TractClassifier};
use crate::self_test::{SelfTestError, make_golden};

/// Longest side of a golden film.
const GOLDEN_SIDE: u32 = 512;
/// Longest audit that is read, in bytes.
const MAX_AUDIT_BYTES: u64 = 4 << 20;

/// What is sealed.
pub struct Order<'a> {
    /// Model directory.
    pub model: &'a Path,
    /// Higher than that of every bundle released before.
    pub bundle_version: u64,
    /// The oldest program for this model.
    pub minimum_program: ProgramVersion,
    /// `audit.json` of `trainer audit`, or a list of `{name, value, low, high, films}`.
    pub audit: Option<&'a Path>,
    /// Golden films, 1 to 16.
    pub golden: &'a [PathBuf],
    /// Where they come from and under which licence.
    pub golden_source: &'a str,
    /// Who signs.
    pub key: &'a SigningKey,
    /// The bundle; its signature is written beside it.
    pub out: &'a Path,
}

/// A model that cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The model directory cannot be used, or a file cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network cannot be loaded.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A golden film cannot be read.
    #[error("{}: {source}", path.display())]
    Film {
        /// Which film.
        path: PathBuf,
        /// Why.
        source: Rejection,
    },
    /// A golden film cannot be one.
    #[error(transparent)]
    Golden(#[from] SelfTestError),
    /// The audit cannot be used.
    #[error("{}: {source}", path.display())]
    Audit {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ContentsError,
    },
    /// Every device would refuse the bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The key cannot be used.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The bundle cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Seals a model and gives the length of the bundle in bytes.
///
/// The audit figures are those of the manifest's metrics, of the audit, or of both.
///
/// # Errors
/// When something is missing, does not fit together, or would be refused by every device.
pub fn seal_model(order: &Order) -> Result<u64, SealError> {
    let mut model = bundle::open(order.model)?;
    let mut classifier = TractClassifier::load(&model)?;
    let network = read_limited(&order.model.join(NETWORK), MAX_BUNDLE_BYTES)?;
    model.release_network();
    let mut films = Vec::new();
    for path in order.golden {
        let acquired = read_film(path, &Limits::default());
        films.push(shrink(&acquired.map_err(|source| SealError::Film { path: path.clone(), source })?.image));
    }
    let golden = make_golden(films, model.manifest(), &mut classifier)?;
    let manifest = read_limited(&order.model.join(MANIFEST), MAX_BUNDLE_BYTES)?;
    let contents = Contents {
        bundle_version: order.bundle_version,
        minimum_program: order.minimum_program,
        audit: figures(&gathered(order, &manifest, model.network_sha256())?)
            .map_err(|source| SealError::Audit { path: order.audit.unwrap_or(order.model).to_owned(), source })?,
    };
    let bytes = bundle::seal(&Draft {
        contents: &contents,
        manifest: &manifest,
        card: &read_limited(&order.model.join(CARD), MAX_BUNDLE_BYTES)?,
        network: &network,
        golden: &golden,
        golden_source: order.golden_source,
    })?;
    let manifest = model.manifest();
    let comment = format!("lightbox bundle {} {} {}", contents.bundle_version, manifest.name, manifest.version);
    let signature = order.key.sign(&bytes, &comment)?;
    for (path, bytes) in
        [(order.out.to_owned(), bytes.as_slice()), (with_ending(order.out, "minisig"), signature.as_bytes())]
    {
        fs::write(&path, bytes).map_err(|source| SealError::Write { path, source })?;
    }
    Ok(bytes.len() as u64)
}

/// The figures of the manifest, then those of the audit; of two with one name the later counts.
fn gathered(order: &Order, manifest: &[u8], network_sha256: &str) -> Result<Vec<FigureEntry>, SealError> {
    let manifest: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let mut gathered = of_metrics(&manifest["metrics"]);
    if let Some(path) = order.audit {
        let refused = |source| SealError::Audit { path: path.to_owned(), source };
        let json = |error: serde_json::Error| refused(ContentsError::Json(error.to_string()));
        let audit: Value = serde_json::from_slice(&read_limited(path, MAX_AUDIT_BYTES)?).map_err(json)?;
        let more = if audit.is_array() {
            serde_json::from_value::<Vec<FigureEntry>>(audit).map_err(json)?
        } else {
            of_audit(&audit, network_sha256).map_err(refused)?
        };
        gathered.retain(|figure| more.iter().all(|other| other.name != figure.name));
        gathered.extend(more);
    }
    Ok(gathered)
}

/// At most [`GOLDEN_SIDE`] pixels wide and high.
fn shrink(image: &GreyImage) -> GreyImage {
    let longest = image.width().max(image.height());
    if longest <= GOLDEN_SIDE {
        return image.clone();
    }
    let side = |side: u32| (u64::from(side) * u64::from(GOLDEN_SIDE) / u64::from(longest)).max(1) as u32;
    let buffer: Option<image::ImageBuffer<image::Luma<u16>, _>> =
        image::ImageBuffer::from_raw(image.width(), image.height(), image.greys().to_vec());
    let small = buffer.map(|buffer| {
        image::imageops::resize(&buffer, side(image.width()), side(image.height()), image::imageops::Triangle)
    });
    let small = small.and_then(|small| GreyImage::new(small.width(), small.height(), small.into_raw()).ok());
    // A grey image always has as many values as it has pixels.
    small.unwrap_or_else(|| image.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_golden_film_is_shrunk_with_its_shape() {
        let large = GreyImage::new(2000, 1000, vec![700; 2_000_000]).expect("sizes fit");
        let small = shrink(&large);
        assert_eq!((small.width(), small.height()), (512, 256));
        assert!(small.greys().iter().all(|grey| *grey == 700));
        let tiny = GreyImage::new(100, 90, vec![0; 9000]).expect("sizes fit");
        assert_eq!(shrink(&tiny), tiny);
    }
}
