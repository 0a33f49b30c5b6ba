//! `[listener.tls]`: with what the listener proves itself, and who vouches for its peers.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Files for TLS, all of them PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The device's certificate, followed by those between it and its CA.
    pub certificate: PathBuf,
    /// Its key, not encrypted.
    pub key: PathBuf,
    /// Whose signature a peer's certificate needs.
    pub client_ca: PathBuf,
}

impl TlsConfig {
    /// The files with their keys in the configuration.
    pub fn files(&self) -> [(&'static str, &Path); 3] {
        [
            ("listener.tls.certificate", &self.certificate),
            ("listener.tls.key", &self.key),
            ("listener.tls.client_ca", &self.client_ca),
        ]
    }
}
