//! Opens a model directory and compares every digest before anything in it is parsed.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::manifest::{Manifest, ManifestError, ManifestFile};
use super::verified::BundleError;

/// Name of the manifest in a model directory.
pub const MANIFEST: &str = "manifest.json";
/// Name of the manifest's own digest, in the form of `sha256sum`.
pub const MANIFEST_DIGEST: &str = "manifest.sha256";
/// Name of the network in a model directory.
pub const NETWORK: &str = "model.onnx";
/// Name of the model card in a model directory.
pub const CARD: &str = "MODEL_CARD.md";

/// Longest manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// Longest file of a model that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// A model directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file is missing or cannot be read.
    #[error(
        "cannot read {path}: {source}; a model directory has manifest.json, manifest.sha256 and the files they name"
    )]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is longer than any model has.
    #[error("{path} has more than {limit} bytes")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file is not the one that was shipped.
    #[error("{path} has SHA-256 {found}, {by} says {expected}: the model is damaged or was changed, copy it again")]
    Digest {
        /// Which file.
        path: PathBuf,
        /// Digest of the file as it is.
        found: String,
        /// Digest that it should have.
        expected: String,
        /// Who says so.
        by: &'static str,
    },
    /// The digest's file is not in the form of `sha256sum`.
    #[error("{path} is not a line of 64 hexadecimal digits and the name manifest.json")]
    DigestForm {
        /// Which file.
        path: PathBuf,
    },
    /// The manifest names a file outside its directory.
    #[error("{path} names the file {name:?}, expected a plain file name")]
    FileName {
        /// The manifest.
        path: PathBuf,
        /// The name in it.
        name: String,
    },
    /// The manifest does not name the network.
    #[error("{path} does not list {NETWORK}")]
    NoNetwork {
        /// The manifest.
        path: PathBuf,
    },
    /// A bundle is missing, has no signatures beside it, or cannot be read.
    #[error("cannot read {path}: {source}; a bundle is one file NAME.lbx with NAME.lbx.minisig beside it")]
    ReadBundle {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A bundle is refused.
    #[error("{path}: {source}")]
    Bundle {
        /// The bundle.
        path: PathBuf,
        /// Why.
        source: BundleError,
    },
    /// A model cannot be unpacked there.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The manifest is not understood.
    #[error("{path}: {source}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: ManifestError,
    },
}

/// A model all of whose bytes are what its manifest says.
#[derive(Debug)]
pub struct VerifiedModel {
    manifest: Manifest,
    manifest_sha256: String,
    /// Bytes, and where in them the network lies.
    network: (Vec<u8>, Range<usize>),
    network_sha256: String,
}

impl VerifiedModel {
    /// Whoever calls this has compared the digests.
    pub(super) fn new(
        manifest: Manifest,
        manifest_sha256: String,
        network: (Vec<u8>, Range<usize>),
        network_sha256: String,
    ) -> Self {
        Self { manifest, manifest_sha256, network, network_sha256 }
    }

    /// What is known of the model.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of `manifest.json`, which vouches for every other file.
    pub fn manifest_sha256(&self) -> &str {
        &self.manifest_sha256
    }

    /// The ONNX file.
    pub fn network(&self) -> &[u8] {
        let (bytes, range) = &self.network;
        &bytes[range.clone()]
    }

    /// SHA-256 of the ONNX file.
    pub fn network_sha256(&self) -> &str {
        &self.network_sha256
    }

    /// Gives the network's bytes back once they are loaded.
    pub fn release_network(&mut self) {
        self.network = (Vec::new(), 0..0);
    }
}

/// Reads and verifies the model in `dir`.
///
/// # Errors
/// When a file is missing, too long, or has another digest than it should; or when the manifest, once verified, is
/// not one that this program understands.
pub(super) fn open_directory(dir: &Path) -> Result<VerifiedModel, ModelError> {
    let path = dir.join(MANIFEST);
    let bytes = read(&path, MAX_MANIFEST_BYTES)?;
    let manifest_sha256 = sha256_hex(&bytes);
    let digest_path = dir.join(MANIFEST_DIGEST);
    let expected = read(&digest_path, 1024)?;
    let Some(expected) = parse_digest_line(&expected) else {
        return Err(ModelError::DigestForm { path: digest_path });
    };
    compare(&path, &manifest_sha256, &expected, MANIFEST_DIGEST)?;

    let refused = |source| ModelError::Manifest { path: path.clone(), source };
    let file = ManifestFile::parse(&bytes).map_err(refused)?;
    let mut network = None;
    for (name, expected) in &file.files {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
            return Err(ModelError::FileName { path, name: name.clone() });
        }
        let path = dir.join(name);
        let bytes = read(&path, MAX_FILE_BYTES)?;
        let found = sha256_hex(&bytes);
        compare(&path, &found, &expected.sha256, MANIFEST)?;
        if name == NETWORK {
            network = Some((bytes, found));
        }
    }
    let Some((network, network_sha256)) = network else {
        return Err(ModelError::NoNetwork { path });
    };
    let manifest = Manifest::try_from(file).map_err(refused)?;
    let whole = 0..network.len();
    let network = (network, whole);
    Ok(VerifiedModel { manifest, manifest_sha256, network, network_sha256 })
}

/// Lower-case hexadecimal SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The contents of `manifest.sha256`: what `sha256sum manifest.json` prints.
pub fn digest_line(manifest: &[u8]) -> String {
    format!("{}  {MANIFEST}\n", sha256_hex(manifest))
}

fn parse_digest_line(line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (digest, name) = line.split_once("  ")?;
    let hexadecimal = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (hexadecimal && name == MANIFEST).then(|| digest.to_owned())
}

fn compare(path: &Path, found: &str, expected: &str, by: &'static str) -> Result<(), ModelError> {
    if found == expected {
        return Ok(());
    }
    Err(ModelError::Digest { path: path.to_owned(), found: found.to_owned(), expected: expected.to_owned(), by })
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ModelError> {
    let failed = |source| ModelError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::with_capacity(length.min(limit) as usize);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(ModelError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_fips_180() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_digest_line_is_read_back_and_nothing_else_is() {
        let line = digest_line(b"{}");
        assert_eq!(parse_digest_line(line.as_bytes()).as_deref(), Some(sha256_hex(b"{}").as_str()));
        for bad in [line.trim_end(), &line.replace("  ", " "), &line.to_uppercase(), &line[1..], ""] {
            assert_eq!(parse_digest_line(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
