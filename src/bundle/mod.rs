//! The model as it is shipped and kept: a directory or a signed bundle, and the slots that bundles are installed in.
//!
//! Nothing of a model is parsed before its digest or its signatures have been checked: only [`open`] and
//! [`VerifiedBundle::into_parts`] make a [`VerifiedModel`], only [`verify`] and [`Store`] a [`VerifiedBundle`].
//! Reads no clock, runs no network.

pub mod container;
pub mod contents;
mod directory;
pub mod figures;
pub mod golden;
pub mod key_list;
pub mod manifest;
pub mod network;
pub mod release;
pub mod replay;
pub mod signature;
#[cfg(feature = "seal")]
pub mod signing;
pub mod slots;
pub mod state;
mod store;
pub mod summary;
mod verified;

pub use directory::{CARD, MANIFEST, MANIFEST_DIGEST, ModelError, NETWORK, VerifiedModel, digest_line, sha256_hex};
pub use manifest::{Manifest, ManifestError};
pub use release::open;
pub use store::{AfterSelfTest, Running, Stage, Store, StoreError};
pub use verified::{BundleError, BundleParts, Draft, Policy, VerifiedBundle, seal, verify};
