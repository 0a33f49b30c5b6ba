//! TLS for associations, as the BCP 195 secure transport connection profile asks for it (PS3.15 B.12, RFC 9325):
//! versions 1.2 and 1.3, ephemeral key exchange, authenticated ciphers, and a certificate on both sides.
//!
//! Sessions are not resumed: every association shows its certificate anew.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion,
};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
const SUITES: [SupportedCipherSuite; 7] = [
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];
/// The names of the cipher suites, those that are preferred first.
pub const CIPHER_SUITES: [&str; 7] = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
];

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{key}: cannot read {}: {source}", path.display())]
    Read {
        /// In the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{key}: {} {found}, expected {expected}", path.display())]
    Content {
        /// In the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is in it.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// The files do not go together.
    #[error("{table}: the certificate and the key cannot be used: {source}")]
    Pair {
        /// In the configuration.
        table: &'static str,
        /// What the library said.
        source: rustls::Error,
    },
    /// The library cannot be set up.
    #[error("{table}: {told}")]
    Library {
        /// In the configuration.
        table: &'static str,
        /// What it said.
        told: String,
    },
}

/// What is needed for TLS in both directions.
#[derive(Clone, Debug)]
pub(in crate::adapters) struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Reads and compares certificate, key, and those who vouch for peers.
    pub(in crate::adapters) fn load(files: [Named<'_>; 3]) -> Result<Self, TlsError> {
        let [certificate, key, ca] = files;
        let table = certificate.0.rsplit_once('.').map_or("", |(table, _)| table);
        let chain = certificates(certificate)?;
        let private = private_key(key)?;
        let mut roots = RootCertStore::empty();
        for root in certificates(ca)? {
            roots.add(root).map_err(|error| content(ca, format!("holds {error}"), "a certificate of a CA"))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(CryptoProvider { cipher_suites: SUITES.to_vec(), ..default_provider() });
        let library = |error: &dyn std::error::Error| TlsError::Library { table, told: error.to_string() };

        let peers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let peers = peers.build().map_err(|error| library(&error))?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&VERSIONS);
        let server = server.map_err(|error| library(&error))?.with_client_cert_verifier(peers);
        let server = server.with_single_cert(chain.clone(), private.clone_key());
        let mut server = server.map_err(|source| TlsError::Pair { table, source })?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let servers = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let servers = servers.build().map_err(|error| library(&error))?;
        let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&VERSIONS);
        let client = client.map_err(|error| library(&error))?.with_webpki_verifier(servers);
        let mut client =
            client.with_client_auth_cert(chain, private).map_err(|source| TlsError::Pair { table, source })?;
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    /// For peers that call.
    pub(in crate::adapters) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For peers that are called.
    pub(in crate::adapters) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

/// A key of the configuration, and the file that it names.
pub(in crate::adapters) type Named<'a> = (&'static str, &'a Path);

fn content((key, path): Named<'_>, found: String, expected: &'static str) -> TlsError {
    TlsError::Content { key, path: path.to_owned(), found, expected }
}

fn bytes_of((key, path): Named<'_>) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { key, path: path.to_owned(), source })
}

fn certificates(file: Named<'_>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let expected = "certificates in PEM";
    let found = CertificateDer::pem_slice_iter(&bytes_of(file)?).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| content(file, format!("cannot be understood ({error})"), expected))?;
    if found.is_empty() { Err(content(file, "holds none".to_owned(), expected)) } else { Ok(found) }
}

fn private_key(file: Named<'_>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = bytes_of(file)?;
    if fs::metadata(file.1).is_ok_and(|about| about.mode() & 0o077 != 0) {
        log::warn!("{}: {} can be read by others than its owner: chmod 600", file.0, file.1.display());
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        content(file, format!("cannot be understood ({error})"), "one private key in PEM, unencrypted")
    })
}

/// What happened, for the log, and where that is not plain what to do.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library has dozens of kinds and adds more")]
pub(in crate::adapters) fn words_for(error: &rustls::Error) -> String {
    match error {
        rustls::Error::NoCertificatesPresented => "the peer shows no certificate".to_owned(),
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => "nobody in client_ca or ca vouches for the peer".to_owned(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the peer's certificate has expired, or this device's clock is wrong".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the peer's certificate is not valid yet, or this device's clock is wrong".to_owned()
            }
            why => format!("the peer's certificate is refused: {why}"),
        },
        rustls::Error::AlertReceived(
            why @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown),
        ) => format!("the peer does not trust this device's certificate ({why:?})"),
        rustls::Error::AlertReceived(why) => format!("the peer gives up: {why:?}"),
        rustls::Error::InvalidMessage(_) => "the peer does not speak TLS, or garbled".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsConfig;

    #[test]
    fn the_names_are_those_of_the_suites() {
        for (suite, name) in SUITES.iter().zip(CIPHER_SUITES) {
            let written = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
            assert_eq!(written, name);
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        fs::write(&empty, "").unwrap();
        let missing = folder.path().join("missing.pem");
        let told = |certificate: &Path| {
            let [certificate, key, client_ca] = [certificate, &empty, &empty].map(Path::to_owned);
            Tls::load(TlsConfig { certificate, key, client_ca }.files()).unwrap_err().to_string()
        };
        let found = told(&missing);
        assert!(
            found.starts_with(&format!("listener.tls.certificate: cannot read {}: ", missing.display())),
            "{found}"
        );
        let found = told(&empty);
        let expected =
            format!("listener.tls.certificate: {} holds none, expected certificates in PEM", empty.display());
        assert_eq!(found, expected);
        let named = ("listener.tls.key", empty.as_path());
        let found = private_key(named).unwrap_err().to_string();
        assert!(found.ends_with("expected one private key in PEM, unencrypted"), "{found}");
    }
}
