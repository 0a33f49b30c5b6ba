//! The model as it is shipped: a directory whose every byte is vouched for by its manifest.
//!
//! Nothing of a model is parsed before its digest has been compared; only [`open`] makes a [`VerifiedModel`].

mod directory;
pub mod manifest;

pub use directory::{
    CARD, MANIFEST, MANIFEST_DIGEST, ModelError, NETWORK, VerifiedModel, digest_line, open, sha256_hex,
};
pub use manifest::{Manifest, ManifestError};
