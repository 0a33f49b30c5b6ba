//! A configuration file. Whoever is let in has a name and an address, and no limit is beyond what the device bears.

use std::path::Path;

use lightbox::config::Config;

/// Whether it can be used.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match Config::parse(text, Path::new("fuzz.toml")) {
        Ok(config) => {
            let listener = &config.listener;
            assert!(!listener.peers.is_empty());
            assert!(listener.peers.iter().all(|peer| !peer.networks.is_empty() && !peer.ae_title.as_str().is_empty()));
            assert!((1..=25).contains(&listener.limits.associations));
            assert!((4096..=1 << 20).contains(&listener.limits.pdu_bytes));
            assert!(config.spool.keep_free_percent <= 90);
            true
        }
        Err(error) => {
            assert!(error.to_string().starts_with("fuzz.toml: "), "{error}");
            false
        }
    }
}
