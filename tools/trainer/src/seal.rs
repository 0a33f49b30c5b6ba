//! Bundles: what is exported can be signed at once, and what was signed can be judged like any model directory.

use std::fs;
use std::path::{Path, PathBuf};

use lightbox::bundle::contents::ProgramVersion;
use lightbox::bundle::key_list::{KeyList, MAX_LIST_BYTES, TrustError};
use lightbox::bundle::release::{bundle_at, open_bundle, read_limited, unpack};
use lightbox::bundle::signing::{Password, SigningError, SigningKey};
use lightbox::bundle::{ModelError, Policy};
use lightbox::sealing::{Order, SealError, seal_model};

/// A bundle that cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file cannot be read, or is refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The key list of this program cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The key cannot be used.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The model cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// How an exported model is sealed.
#[derive(Clone, Debug)]
pub struct Seal {
    /// Secret key; its password, if it has one, is in `LIGHTBOX_KEY_PASSWORD` or asked for at the terminal.
    pub key: PathBuf,
    /// Higher than that of every bundle released before.
    pub bundle_version: u64,
    /// Golden films.
    pub golden: Vec<PathBuf>,
    /// Where they come from and under which licence.
    pub golden_source: String,
    /// `audit.json` of `trainer audit`, where there is one.
    pub audit: Option<PathBuf>,
}

impl Seal {
    /// Seals the model directory `model`; gives the path of the bundle beside it.
    ///
    /// The audit figures are those of the model's metrics, which every export has, and those of the audit.
    ///
    /// # Errors
    /// When a golden film, the key or the audit cannot be used.
    pub fn seal(&self, model: &Path) -> Result<PathBuf, BundleError> {
        let text = read_limited(&self.key, MAX_LIST_BYTES)?;
        let password = std::env::var("LIGHTBOX_KEY_PASSWORD").map_or(Password::Ask, Password::Given);
        let key = SigningKey::open(&String::from_utf8_lossy(&text), password)?;
        let out = model.with_extension("lbx");
        seal_model(&Order {
            model,
            bundle_version: self.bundle_version,
            minimum_program: ProgramVersion::current(),
            audit: self.audit.as_deref(),
            golden: &self.golden,
            golden_source: &self.golden_source,
            key: &key,
            out: &out,
        })?;
        Ok(out)
    }
}

/// A model directory: the one that was named, or one unpacked from the bundle that was named, gone with this.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    unpacked: bool,
}

impl Directory {
    /// Of a model directory, a bundle, or a folder with one; a bundle has to be signed as the program demands.
    ///
    /// # Errors
    /// When the bundle is refused or cannot be unpacked.
    pub fn of(named: &Path) -> Result<Self, BundleError> {
        let Some(file) = bundle_at(named) else { return Ok(Self { path: named.to_owned(), unpacked: false }) };
        let bundle = open_bundle(&file, &KeyList::built_in()?, &Policy::default())?;
        let name = format!("lightbox-{}-{}", std::process::id(), &bundle.sha256()[..16]);
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        unpack(&bundle, &path)?;
        Ok(Self { path, unpacked: true })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.unpacked {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
