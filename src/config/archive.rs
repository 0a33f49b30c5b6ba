//! The table `[pacs]`: the archive that readings are sent to, and what of them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Check, ConfigError};
use crate::domain::{AeTitle, Identity, What};

/// An example of the table; `concat!` takes nothing but literals.
macro_rules! archive_example {
    () => {
        r#"
# [pacs]                      # readings are also sent to an archive (DICOM storage); needs keep_identity, see above
# address = "192.168.1.10:104"  # or a name and a port
# called_ae_title = "ARCHIVE"
# calling_ae_title = "LIGHTBOX"  # else that of the listener
# what = ["report", "capture"]  # a structured report, a picture of the verdict's screen
# without_study = false       # also of films that belong to no study; each becomes a study of its own
# retry_s = 30                # until it is tried again, then twice as long, an hour at most

# [pacs.tls]                  # the archive is only spoken to through TLS; all files are PEM
# certificate = "/etc/lightbox/tls/device.crt"  # with those between it and its CA
# key = "/etc/lightbox/tls/device.key"
# ca = "/etc/lightbox/tls/archive-ca.crt"  # whose signature the archive's certificate needs
"#
    };
}
pub(super) use archive_example;

/// The table as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ArchiveTable {
    address: String,
    called_ae_title: String,
    calling_ae_title: Option<String>,
    what: Option<Vec<String>>,
    without_study: Option<bool>,
    retry_s: Option<i64>,
    tls: Option<ArchiveTls>,
}

/// Files for TLS with the archive, all of them PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveTls {
    /// The device's certificate, followed by those between it and its CA.
    pub certificate: PathBuf,
    /// Its key, not encrypted.
    pub key: PathBuf,
    /// Whose signature the archive's certificate needs.
    pub ca: PathBuf,
}

impl ArchiveTls {
    /// The files with their keys in the configuration.
    pub fn files(&self) -> [(&'static str, &Path); 3] {
        [("pacs.tls.certificate", &self.certificate), ("pacs.tls.key", &self.key), ("pacs.tls.ca", &self.ca)]
    }
}

/// Where the archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveAddress {
    /// At an IP address and port.
    Ip(SocketAddr),
    /// At a name that is looked up each time, and a port.
    Name(String, u16),
}

impl fmt::Display for ArchiveAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl ArchiveAddress {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return (address.port() > 0).then_some(Self::Ip(address));
        }
        let (name, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        // Letters, digits, hyphens, dots (RFC 1123 2.1); an address with a part missing is no name.
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let named = name.chars().all(plain) && name.chars().any(|c| c.is_ascii_alphabetic());
        (named && name.len() <= 253 && name.parse::<IpAddr>().is_err()).then(|| Self::Name(name.to_owned(), port))
    }
}

/// The archive, and what it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveConfig {
    /// Where it is.
    pub address: ArchiveAddress,
    /// What it is called.
    pub called: AeTitle,
    /// What this device calls itself there.
    pub calling: AeTitle,
    /// What it is sent of each reading, at least one thing.
    pub what: Vec<What>,
    /// Whether readings of films that belong to no study are sent, too.
    pub without_study: bool,
    /// Until a first try after one that failed.
    pub retry: Duration,
    /// With it the archive is spoken to through TLS alone.
    pub tls: Option<ArchiveTls>,
}

impl ArchiveConfig {
    /// What is sent of the reading of a film of which this is known.
    pub fn wanted(&self, identity: Option<&Identity>) -> &[What] {
        let has_study = identity.is_some_and(|identity| !identity.study_uid.trim().is_empty());
        if has_study || self.without_study { &self.what } else { &[] }
    }
}

impl ArchiveTable {
    /// `seen` says where a path as typed leads, `listener` is what the device is called, `keeps` whether the journal
    /// keeps who is on a film, by the key named `keep`.
    pub(super) fn usable(
        self,
        check: &Check<'_>,
        seen: impl Fn(PathBuf) -> PathBuf,
        listener: Option<&AeTitle>,
        (keep, keeps): (&str, bool),
    ) -> Result<ArchiveConfig, ConfigError> {
        let expected = "an IP address or a name, and a port, such as 192.168.1.10:104";
        let address = ArchiveAddress::parse(&self.address);
        let address = address.ok_or_else(|| check.refused("pacs.address", &format!("{:?}", self.address), expected))?;
        let calling = match (&self.calling_ae_title, listener) {
            (Some(typed), _) => check.ae_title("pacs.calling_ae_title", typed)?,
            (None, Some(listener)) => listener.clone(),
            (None, None) => {
                return Err(check.refused("pacs.calling_ae_title", "missing", "it where there is no [listener]"));
            }
        };
        let what = match &self.what {
            None => What::ALL.to_vec(),
            Some(typed) => {
                let known = typed.iter().map(|name| {
                    let expected = What::ALL.map(What::name).join(", ");
                    What::of_name(name)
                        .ok_or_else(|| check.refused("pacs.what", &format!("{name:?}"), &format!("some of {expected}")))
                });
                let mut known = known.collect::<Result<Vec<_>, _>>()?;
                known.sort();
                known.dedup();
                known
            }
        };
        if what.is_empty() {
            return Err(check.refused("pacs.what", "empty", "at least one of report, capture"));
        }
        let without_study = self.without_study.unwrap_or(false);
        if !keeps && !without_study {
            let expected =
                "true with [pacs]: an archive has to be told whose film it was (or pacs.without_study = true)";
            return Err(check.refused(keep, "false", expected));
        }
        let tls =
            self.tls.map(|tls| ArchiveTls { certificate: seen(tls.certificate), key: seen(tls.key), ca: seen(tls.ca) });
        if let Some(tls) = &tls
            && let Some((key, _)) = tls.files().into_iter().find(|(_, path)| path.as_os_str().is_empty())
        {
            return Err(check.refused(key, "empty", "the path of a PEM file"));
        }
        Ok(ArchiveConfig {
            address,
            called: check.ae_title("pacs.called_ae_title", &self.called_ae_title)?,
            calling,
            what,
            without_study,
            retry: Duration::from_secs(check.number("pacs.retry_s", self.retry_s, 30, 1, 3600)?),
            tls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable(lines: &str, keeps: bool) -> Result<ArchiveConfig, String> {
        let table: ArchiveTable = toml::from_str(lines).map_err(|error| error.to_string())?;
        let check = Check { path: Path::new("b.toml") };
        let listener = "BOX".parse().ok();
        let usable = table.usable(&check, |path| path, listener.as_ref(), ("site.keep_identity", keeps));
        usable.map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_says_what_the_defaults_are() {
        let lines: String =
            archive_example!().lines().map(|line| line.strip_prefix("# ").unwrap_or(line).to_owned() + "\n").collect();
        let typed: toml::Table = lines.parse().unwrap();
        let table: ArchiveTable = typed["pacs"].clone().try_into().unwrap();
        let check = Check { path: Path::new("b.toml") };
        let typed = table.usable(&check, |path| path, None, ("site.keep_identity", true)).unwrap();
        let plain = usable("address = '192.168.1.10:104'\ncalled_ae_title = 'ARCHIVE'", true).unwrap();
        assert_eq!((plain.calling.as_str(), typed.calling.as_str()), ("BOX", "LIGHTBOX"));
        assert!(typed.tls.is_some());
        assert_eq!(ArchiveConfig { calling: plain.calling.clone(), tls: None, ..typed }, plain);
    }

    #[test]
    fn an_archive_is_at_an_address_or_a_name() {
        let at = |text: &str| ArchiveAddress::parse(text).map(|address| address.to_string());
        for good in ["192.168.1.10:104", "[fe80::1]:11112", "pacs.example:104", "pacs-1:11112"] {
            assert_eq!(at(good).as_deref(), Some(good));
        }
        for bad in
            ["", "pacs", "pacs:", "pacs:0", "pacs:65536", ":104", "192.168.1:104", "1.2.3.4:0", "p cs:1", "fe80::1"]
        {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_rejection_names_key_value_and_range() {
        let refused = |lines: &str| {
            let base = "address = 'pacs:104'\ncalled_ae_title = 'A'\n";
            let typed: Vec<&str> = base.lines().filter(|line| !lines.starts_with(&line[..7])).collect();
            usable(&format!("{}\n{lines}", typed.join("\n")), true).unwrap_err()
        };
        assert!(
            refused("address = 'x'").starts_with("b.toml: pacs.address is \"x\", expected an IP address or a name")
        );
        assert!(refused("called_ae_title = ''").starts_with("b.toml: pacs.called_ae_title is \"\", expected 1 to 16"));
        assert_eq!(refused("what = []"), "b.toml: pacs.what is empty, expected at least one of report, capture");
        let told = refused("what = ['report', 'film']");
        assert_eq!(told, "b.toml: pacs.what is \"film\", expected some of report, capture");
        assert_eq!(refused("retry_s = 0"), "b.toml: pacs.retry_s is 0, expected 1 to 3600");
        let told = refused("tls = { certificate = 'c', key = '', ca = 'a' }");
        assert_eq!(told, "b.toml: pacs.tls.key is empty, expected the path of a PEM file");
        assert!(refused("colour = 'red'").contains("unknown field `colour`"));
    }

    #[test]
    fn an_archive_is_not_sent_what_belongs_to_nobody_unless_that_is_wanted() {
        let base = "address = 'pacs:104'\ncalled_ae_title = 'A'\n";
        let told = usable(base, false).unwrap_err();
        assert!(told.starts_with("b.toml: site.keep_identity is false, expected true with [pacs]"), "{told}");
        let archive = usable(base, true).unwrap();
        let identity = |study: &str| Identity { study_uid: study.to_owned(), ..Identity::default() };
        assert_eq!(archive.wanted(Some(&identity("1.2"))), What::ALL);
        assert!(archive.wanted(Some(&identity(" "))).is_empty() && archive.wanted(None).is_empty());
        let archive = usable(&format!("{base}without_study = true\nwhat = ['capture']"), false).unwrap();
        assert_eq!(archive.wanted(None), [What::Capture]);
    }
}
