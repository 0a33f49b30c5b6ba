//! The configuration file: as typed (`ConfigFile`) and as usable ([`Config`]).
//!
//! Nothing is guessed: an unknown key, a value out of its range or a peer that is not described is an error that names
//! the key, what was found and what was expected.

mod archive;
#[cfg(feature = "device")]
mod board;
mod camera;
#[cfg(feature = "device")]
mod devices;
mod models;
mod tls;

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

pub use self::archive::{ArchiveAddress, ArchiveConfig, ArchiveTls};
#[cfg(feature = "device")]
pub use self::board::{Board, EXAMPLE as BOARD_EXAMPLE, Idle, JournalConfig, MetricsConfig, Site};
pub use self::camera::{CameraConfig, CameraKind};
#[cfg(feature = "device")]
pub use self::devices::{
    BacklightConfig, ButtonConfig, ChannelOrder, Controller, Devices, DisplayMode, EXAMPLE as DEVICES_EXAMPLE,
    GpioLine, KEY_NAMES, KeySource, KeyboardConfig, KeyboardPlace, LONG_PRESS, LampConfig, LampPlace, PanelConfig,
    SpiPanelConfig, TouchConfig, WatchdogConfig,
};
pub use self::models::ModelsConfig;
pub use self::tls::TlsConfig;
use crate::domain::AeTitle;
#[cfg(feature = "device")]
use crate::domain::Language;
use archive::{ArchiveTable, archive_example};
use camera::CameraTable;
use models::ModelsTable;

/// An example with every key; `lightbox listen --help` prints it.
pub const EXAMPLE: &str = concat!(
    r#"[listener]
address = "0.0.0.0:11112"     # where modalities connect
ae_title = "LIGHTBOX"         # what they call this device

[[listener.peers]]            # who may send; everybody else is refused
ae_title = "XRAY1"
addresses = ["192.168.1.20", "10.1.0.0/16"]
# report_to = "192.168.1.20:104"  # where it takes reports on storage commitment

# [listener.tls]              # then nobody is let in without TLS and a certificate; all files are PEM
# certificate = "/etc/lightbox/tls/device.crt"  # with those between it and its CA
# key = "/etc/lightbox/tls/device.key"
# client_ca = "/etc/lightbox/tls/peers-ca.crt"  # whose signature a peer's certificate needs

[spool]
folder = "/var/lib/lightbox/spool"
# keep_free_mb = 500          # what stays free on the disk: this,
# keep_free_percent = 10      # or this share, whichever is more

# delete_read = false         # read objects make room for new ones, the first ones first

# [[folders]]                 # films are also taken from here; nothing is written there
# path = "/media"             # a folder, or where removable drives are mounted
# settle_s = 2                # a file is taken once it has not changed for this long
# poll_s = 5                  # how often it is looked there at least
# make = false                # make the folder where there is none
# drives = true               # removable drives are mounted here; by default below /media, /run/media and /mnt alone

# [read]                      # reads what arrives; without this table it is only kept
# readings = "/var/lib/lightbox/readings.jsonl"  # a line of JSON for each object
# screens = "/var/lib/lightbox/screens"  # a folder; without it no screens are drawn
# model = "/usr/share/lightbox/models/released"  # in place of the device's own, see [models]
# journal = "/var/lib/lightbox/journal.db"  # every reading is also written down in a journal
# keep_identity = false       # who is on the film, in the journal

# [camera]                    # photographs films on a light box
# device = "/dev/video0"      # a document camera (Video4Linux); or a program that writes JPEG or PNG to its output:
# # command = ["rpicam-still", "--nopreview", "--immediate", "--output", "-"]
# # look = ["rpicam-still", "--nopreview", "--immediate", "--width", "640", "--height", "480", "--output", "-"]
# size = [1920, 1080]
# timeout_s = 20              # for one picture

# [models]                    # how models are installed and tried
# store = "/var/lib/lightbox/models"  # until one was installed, the model that came with the program is used
# allow_unaudited = false     # take bundles without audit figures
# allow_test_keys = false     # count signatures by test keys
# trial_starts = 3            # unless it was confirmed in so many starts, a model on trial is given up
# confirm_after_readings = 20  # so many readings without a fault confirm it; without this key only a person does
# replay_cases = 20           # so many of the last cases are read again before that

# [limits]
# associations = 25           # at the same time
# object_mb = 256             # of one image
# association_mb = 16384      # of all images of one association
# pdu_bytes = 131072
# association_timeout_s = 30  # for the request to arrive
# idle_timeout_s = 60         # between messages
# network_timeout_s = 30      # within a message
# object_timeout_s = 600      # for one image to arrive
# report_retry_s = 60         # until a report is tried again, then twice as long
"#,
    archive_example!()
);

/// Where systems mount removable drives.
const DRIVES: [&str; 3] = ["/media", "/run/media", "/mnt"];

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no TOML, a key is unknown or missing, or a value is of another kind.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
    /// A value that cannot be used.
    #[error("{}: {key} is {found}, expected {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key with the names of its tables.
        key: String,
        /// As typed.
        found: String,
        /// What can be used.
        expected: String,
    },
}

/// The file as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    listener: ListenerTable,
    spool: SpoolTable,
    read: Option<ReadTable>,
    #[serde(default)]
    folders: Vec<FolderTable>,
    #[serde(default)]
    models: ModelsTable,
    camera: Option<CameraTable>,
    pacs: Option<ArchiveTable>,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenerTable {
    address: String,
    ae_title: String,
    #[serde(default)]
    peers: Vec<PeerTable>,
    tls: Option<TlsConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerTable {
    ae_title: String,
    addresses: Vec<String>,
    report_to: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpoolTable {
    folder: PathBuf,
    keep_free_mb: Option<i64>,
    keep_free_percent: Option<i64>,
    delete_read: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FolderTable {
    path: PathBuf,
    settle_s: Option<i64>,
    poll_s: Option<i64>,
    make: Option<bool>,
    drives: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadTable {
    readings: PathBuf,
    screens: Option<PathBuf>,
    model: Option<PathBuf>,
    journal: Option<PathBuf>,
    keep_identity: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    associations: Option<i64>,
    object_mb: Option<i64>,
    association_mb: Option<i64>,
    pdu_bytes: Option<i64>,
    association_timeout_s: Option<i64>,
    idle_timeout_s: Option<i64>,
    network_timeout_s: Option<i64>,
    object_timeout_s: Option<i64>,
    report_retry_s: Option<i64>,
}

/// A configuration that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who is listened to, and how.
    pub listener: ListenerConfig,
    /// Where received objects are kept.
    pub spool: SpoolConfig,
    /// Whether and how they are read; `None` for a store alone.
    pub read: Option<ReadConfig>,
    /// Where else films are taken from.
    pub folders: Vec<FolderConfig>,
    /// Where the device's models are kept, and by which rules they are accepted and tried.
    pub models: ModelsConfig,
    /// What photographs films on a light box.
    pub camera: Option<CameraConfig>,
    /// Where readings are sent.
    pub archive: Option<ArchiveConfig>,
}

/// What the DICOM listener needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it is called.
    pub ae_title: AeTitle,
    /// Who may send; everybody else is refused.
    pub peers: Vec<Peer>,
    /// With it nobody is let in otherwise.
    pub tls: Option<TlsConfig>,
    /// How much is taken.
    pub limits: Limits,
}

/// Somebody who may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it calls itself.
    pub ae_title: AeTitle,
    /// Where it calls from, at least one.
    pub networks: Vec<IpNet>,
    /// Where it takes reports on storage commitment once it has gone.
    pub report_to: Option<SocketAddr>,
}

impl ListenerConfig {
    /// Where the peer of this AE title takes its reports.
    pub fn report_to(&self, ae_title: &str) -> Option<SocketAddr> {
        self.peers.iter().find(|peer| peer.ae_title.as_str() == ae_title).and_then(|peer| peer.report_to)
    }
}

impl Peer {
    /// Whether it may call from `address`.
    pub fn calls_from(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// How much one peer, and all of them, may take of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Associations at the same time.
    pub associations: usize,
    /// Bytes of one data set as sent.
    pub object_bytes: u64,
    /// Bytes of all that is sent in one association.
    pub association_bytes: u64,
    /// Bytes of a P-DATA-TF PDU without its header, told to the peer.
    pub pdu_bytes: u32,
    /// For the association request to arrive (ARTIM of PS3.8 9.1.5).
    pub association_timeout: Duration,
    /// Between messages.
    pub idle_timeout: Duration,
    /// Between the PDUs of a message, and for one PDU to arrive.
    pub network_timeout: Duration,
    /// For one message to arrive.
    pub object_timeout: Duration,
    /// Until a report that was not taken is tried again; doubled each time.
    pub report_retry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            associations: 25,
            object_bytes: 256_000_000,
            association_bytes: 16_384_000_000,
            pdu_bytes: 131_072,
            association_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            network_timeout: Duration::from_secs(30),
            object_timeout: Duration::from_secs(600),
            report_retry: Duration::from_secs(60),
        }
    }
}

/// Where received objects are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// A folder of its own.
    pub folder: PathBuf,
    /// Bytes of the disk that stay free.
    pub keep_free_bytes: u64,
    /// Share of the disk that stays free, 0 to 90.
    pub keep_free_percent: u8,
    /// Whether read objects are deleted when space is short.
    pub delete_read: bool,
}

/// A folder that films are taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderConfig {
    /// The folder, which need not be there.
    pub path: PathBuf,
    /// How long a file has not changed when it is taken.
    pub settle: Duration,
    /// How often it is looked there at least.
    pub poll: Duration,
    /// Whether it is made where there is none.
    pub make: bool,
    /// Whether removable drives are mounted there.
    pub drives: bool,
}

/// How received objects are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadConfig {
    /// The file that gets a line for each.
    pub readings: PathBuf,
    /// The folder that gets a picture for each.
    pub screens: Option<PathBuf>,
    /// The model to read with, in place of the device's: a model directory or a bundle.
    pub model: Option<PathBuf>,
    /// The journal that every reading is also written down in.
    pub journal: Option<PathBuf>,
    /// Whether the journal keeps who is on a film.
    pub keep_identity: bool,
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// With the key, what was found and what was expected.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Checks `text`, which was read from `path`.
    ///
    /// # Errors
    /// With the key, what was found and what was expected.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: ConfigFile = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let check = Check { path };
        if file.listener.peers.is_empty() {
            let expected = "at least one [[listener.peers]]: nobody else may send";
            return Err(check.refused("listener.peers", "empty", expected));
        }
        let listener = check.listener(&file.listener, &file.limits)?;
        let spool = check.spool(&file.spool)?;
        let folders = check.folders(&file.folders, &spool)?;
        if let Some(read) = &file.read {
            let paths = [
                ("readings", "file", Some(&read.readings)),
                ("screens", "folder", read.screens.as_ref()),
                ("model", "model", read.model.as_ref()),
                ("journal", "file", read.journal.as_ref()),
            ];
            for (name, kind, path) in paths {
                if path.is_some_and(|path| path.as_os_str().is_empty()) {
                    return Err(check.refused(&format!("read.{name}"), "empty", &format!("the path of a {kind}")));
                }
            }
        }
        let read = file.read.map(|ReadTable { readings, screens, model, journal, keep_identity }| {
            let keep_identity = keep_identity.unwrap_or(false);
            ReadConfig { readings, screens, model, journal, keep_identity }
        });
        let models = file.models.usable(&check)?;
        let camera = file.camera.map(|camera| check.camera(camera)).transpose()?;
        let archive = file.pacs.map(|pacs| {
            let Some(ReadConfig { journal: Some(_), keep_identity, .. }) = &read else {
                return Err(check.refused("read.journal", "missing", "it with [pacs]: what is sent is queued there"));
            };
            let keeps = ("read.keep_identity", *keep_identity);
            pacs.usable(&check, |path| path, Some(&listener.ae_title), keeps)
        });
        let archive = archive.transpose()?;
        Ok(Self { listener, spool, read, folders, models, camera, archive })
    }
}

/// What a configuration says of sending readings, be it a board file or one of `lightbox listen`.
#[cfg(feature = "device")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Where they are sent.
    pub archive: ArchiveConfig,
    /// The journal, with the queue.
    pub journal: PathBuf,
    /// The spool, with the films.
    pub spool: PathBuf,
    /// What the place's time is ahead of UTC, in seconds.
    pub utc_offset_s: i32,
    /// What captures speak: the site's language, whatever the panel speaks just now.
    pub language: Language,
}

#[cfg(feature = "device")]
impl Config {
    /// What is sent, where anything is; captures speak English, as nobody looks at a panel.
    pub fn sending(&self) -> Option<Sending> {
        let archive = self.archive.clone()?;
        let journal = self.read.as_ref()?.journal.clone()?;
        let (spool, language) = (self.spool.folder.clone(), Language::default());
        Some(Sending { archive, journal, spool, utc_offset_s: 0, language })
    }
}

#[cfg(feature = "device")]
impl Sending {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// With the key, what was found and what was expected.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        // Only a board has a panel. What is no TOML at all is told by whoever reads all of it.
        let is_board = text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("panel"));
        let sending = if is_board { Board::read(path)?.sending() } else { Config::parse(&text, path)?.sending() };
        sending.ok_or_else(|| Check { path }.refused("pacs", "missing", "the table [pacs]: where readings are sent"))
    }
}

struct Check<'a> {
    path: &'a Path,
}

impl Check<'_> {
    fn refused(&self, key: &str, found: &str, expected: &str) -> ConfigError {
        ConfigError::Value {
            path: self.path.to_owned(),
            key: key.to_owned(),
            found: found.to_owned(),
            expected: expected.to_owned(),
        }
    }

    /// A path that names something.
    fn path(&self, key: &str, typed: &Path, kind: &str) -> Result<PathBuf, ConfigError> {
        if typed.as_os_str().is_empty() {
            return Err(self.refused(key, "empty", &format!("the path of a {kind}")));
        }
        Ok(typed.to_owned())
    }

    fn listener(&self, typed: &ListenerTable, limits: &LimitsTable) -> Result<ListenerConfig, ConfigError> {
        let files = typed.tls.iter().flat_map(TlsConfig::files);
        if let Some((key, _)) = files.into_iter().find(|(_, file)| file.as_os_str().is_empty()) {
            return Err(self.refused(key, "empty", "the path of a PEM file"));
        }
        let peers = typed.peers.iter().enumerate().map(|(index, peer)| self.peer(index, peer));
        let address = typed.address.parse().map_err(|_| {
            let expected = "an IP address and a port such as 0.0.0.0:11112";
            self.refused("listener.address", &format!("{:?}", typed.address), expected)
        });
        Ok(ListenerConfig {
            peers: peers.collect::<Result<_, _>>()?,
            address: address?,
            ae_title: self.ae_title("listener.ae_title", &typed.ae_title)?,
            tls: typed.tls.clone(),
            limits: self.limits(limits)?,
        })
    }

    fn peer(&self, index: usize, typed: &PeerTable) -> Result<Peer, ConfigError> {
        let key = |name: &str| format!("listener.peers[{index}].{name}");
        let networks = typed.addresses.iter().map(|text| {
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            let expected = "an IP address or a network such as 10.1.0.0/16";
            network.map_err(|_| self.refused(&key("addresses"), &format!("{text:?}"), expected))
        });
        let networks = networks.collect::<Result<Vec<_>, _>>()?;
        if networks.is_empty() {
            return Err(self.refused(&key("addresses"), "empty", "at least one IP address or network"));
        }
        let report_to = typed.report_to.as_ref().map(|text| {
            let expected = "an IP address and a port such as 192.168.1.20:104";
            text.parse().map_err(|_| self.refused(&key("report_to"), &format!("{text:?}"), expected))
        });
        let ae_title = self.ae_title(&key("ae_title"), &typed.ae_title)?;
        Ok(Peer { ae_title, networks, report_to: report_to.transpose()? })
    }

    fn spool(&self, typed: &SpoolTable) -> Result<SpoolConfig, ConfigError> {
        let megabytes = self.number("spool.keep_free_mb", typed.keep_free_mb, 500, 0, 1_000_000_000)?;
        Ok(SpoolConfig {
            folder: self.path("spool.folder", &typed.folder, "folder")?,
            keep_free_bytes: megabytes * 1_000_000,
            keep_free_percent: self.number("spool.keep_free_percent", typed.keep_free_percent, 10, 0, 90)? as u8,
            delete_read: typed.delete_read.unwrap_or(false),
        })
    }

    fn folders(&self, typed: &[FolderTable], spool: &SpoolConfig) -> Result<Vec<FolderConfig>, ConfigError> {
        let folders = typed.iter().enumerate().map(|(index, typed)| {
            let key = |name: &str| format!("folders[{index}].{name}");
            let path = self.path(&key("path"), &typed.path, "folder")?;
            if spool.folder.starts_with(&path) || path.starts_with(&spool.folder) {
                let found = path.display().to_string();
                return Err(self.refused(&key("path"), &found, "a folder neither around nor in spool.folder"));
            }
            let seconds = |name, typed, default, least| {
                Ok::<_, ConfigError>(Duration::from_secs(self.number(&key(name), typed, default, least, 3600)?))
            };
            let (settle, poll) = (seconds("settle_s", typed.settle_s, 2, 0)?, seconds("poll_s", typed.poll_s, 5, 1)?);
            let drives = typed.drives.unwrap_or_else(|| DRIVES.iter().any(|mounts| path.starts_with(mounts)));
            Ok(FolderConfig { path, settle, poll, make: typed.make.unwrap_or(false), drives })
        });
        folders.collect()
    }

    fn ae_title(&self, key: &str, text: &str) -> Result<AeTitle, ConfigError> {
        let expected = "1 to 16 printable ASCII characters, no backslash, no space at either end";
        text.parse().map_err(|_| self.refused(key, &format!("{text:?}"), expected))
    }

    /// A number from `least` to `most`, both of which are at least 0.
    fn number(&self, key: &str, typed: Option<i64>, default: u64, least: u64, most: u64) -> Result<u64, ConfigError> {
        let Some(typed) = typed else { return Ok(default) };
        match u64::try_from(typed) {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(self.refused(key, &typed.to_string(), &format!("{least} to {most}"))),
        }
    }

    fn limits(&self, typed: &LimitsTable) -> Result<Limits, ConfigError> {
        let default = Limits::default();
        let megabytes = |key, typed, default: u64, most| {
            Ok::<_, ConfigError>(self.number(key, typed, default / 1_000_000, 1, most)? * 1_000_000)
        };
        let seconds = |key, typed, default: Duration| {
            Ok::<_, ConfigError>(Duration::from_secs(self.number(key, typed, default.as_secs(), 1, 86_400)?))
        };
        let associations =
            self.number("limits.associations", typed.associations, default.associations as u64, 1, 25)?;
        let pdu_bytes = self.number("limits.pdu_bytes", typed.pdu_bytes, default.pdu_bytes.into(), 4096, 1 << 20)?;
        Ok(Limits {
            associations: associations as usize,
            // The reader of files takes no more than 268 MB.
            object_bytes: megabytes("limits.object_mb", typed.object_mb, default.object_bytes, 268)?,
            association_bytes: megabytes(
                "limits.association_mb",
                typed.association_mb,
                default.association_bytes,
                1_000_000,
            )?,
            pdu_bytes: pdu_bytes as u32,
            association_timeout: seconds(
                "limits.association_timeout_s",
                typed.association_timeout_s,
                default.association_timeout,
            )?,
            idle_timeout: seconds("limits.idle_timeout_s", typed.idle_timeout_s, default.idle_timeout)?,
            network_timeout: seconds("limits.network_timeout_s", typed.network_timeout_s, default.network_timeout)?,
            object_timeout: seconds("limits.object_timeout_s", typed.object_timeout_s, default.object_timeout)?,
            report_retry: seconds("limits.report_retry_s", typed.report_retry_s, default.report_retry)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("l.toml"))
    }

    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        assert!(EXAMPLE.contains(from), "{from}");
        let told = parse(&EXAMPLE.replace(from, to)).unwrap_err().to_string();
        assert!(told.contains(expected), "{told}\nexpected: {expected}");
    }

    #[test]
    fn the_example_says_what_the_defaults_are() {
        let config = parse(EXAMPLE).unwrap();
        assert_eq!(config.listener.limits, Limits::default());
        assert_eq!((config.spool.keep_free_bytes, config.spool.keep_free_percent), (500_000_000, 10));
        // With every comment taken away nothing changes.
        let typed: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("# ").unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n")
            // An archive needs it.
            .replace("keep_identity = false", "keep_identity = true");
        let mut typed = parse(&typed).unwrap();
        assert_eq!(typed.listener.report_to("XRAY1"), Some("192.168.1.20:104".parse().unwrap()));
        typed.listener.peers[0].report_to = None;
        let camera = typed.camera.take().unwrap();
        let kind = CameraKind::Device { path: "/dev/video0".into(), size: (1920, 1080) };
        assert_eq!(camera, CameraConfig { kind, timeout: Duration::from_secs(20) });
        let tls = typed.listener.tls.take().unwrap();
        assert_eq!(tls.key, Path::new("/etc/lightbox/tls/device.key"));
        let read = typed.read.take().unwrap();
        let archive = typed.archive.take().unwrap();
        assert_eq!((archive.called.as_str(), archive.calling.as_str()), ("ARCHIVE", "LIGHTBOX"));
        let folder = typed.folders.pop().unwrap();
        assert_eq!(
            (folder.path.as_path(), folder.settle.as_secs(), folder.poll.as_secs()),
            (Path::new("/media"), 2, 5)
        );
        assert!(folder.drives);
        assert_eq!(read.readings, Path::new("/var/lib/lightbox/readings.jsonl"));
        assert!(read.screens.is_some() && read.model.is_some());
        let usual = ModelsConfig::default();
        let expected = ModelsConfig {
            store: Some("/var/lib/lightbox/models".into()),
            confirm_after_readings: Some(20),
            ..usual.clone()
        };
        assert_eq!(std::mem::replace(&mut typed.models, usual), expected);
        assert_eq!(typed, config);
        let peer = &config.listener.peers[0];
        assert_eq!(peer.ae_title.as_str(), "XRAY1");
        for (address, may) in [("192.168.1.20", true), ("10.1.255.1", true), ("10.2.0.1", false), ("::1", false)] {
            assert_eq!(peer.calls_from(address.parse().unwrap()), may, "{address}");
        }
    }

    #[test]
    fn every_rejection_names_key_value_and_range() {
        check("0.0.0.0:11112", "localhost", "l.toml: listener.address is \"localhost\", expected an IP address and");
        check("\"LIGHTBOX\"", "\"\"", "listener.ae_title is \"\", expected 1 to 16 printable");
        check("\"XRAY1\"", "\"A\\\\B\"", "listener.peers[0].ae_title is \"A\\\\B\", expected");
        check("10.1.0.0/16", "10.1.0.0/33", "listener.peers[0].addresses is \"10.1.0.0/33\", expected an IP");
        check("[\"192.168.1.20\", \"10.1.0.0/16\"]", "[]", "listener.peers[0].addresses is empty, expected at least");
        check("# report_to = \"192.168.1.20:104\"", "report_to = \"xray\"", "peers[0].report_to is \"xray\", expected");
        check("\"/var/lib/lightbox/spool\"", "\"\"", "spool.folder is empty, expected");
        let tls = "# [listener.tls]";
        assert!(EXAMPLE.contains(tls));
        let with = EXAMPLE.replace(tls, "[listener.tls]\ncertificate = 'c'\nkey = ''\nclient_ca = 'a'\n");
        let told = parse(&with).unwrap_err().to_string();
        assert_eq!(told, "l.toml: listener.tls.key is empty, expected the path of a PEM file");
        let camera = |lines: &str| {
            parse(&format!("{EXAMPLE}\n[camera]\n{lines}\n")).map(|config| config.camera).map_err(|e| e.to_string())
        };
        let program = CameraKind::Program { shoot: vec!["a".into(), "b".into()], look: None };
        let expected = CameraConfig { kind: program, timeout: Duration::from_secs(7) };
        assert_eq!(camera("command = ['a', 'b']\ntimeout_s = 7"), Ok(Some(expected)));
        for (lines, told) in [
            ("", "camera.device is missing, expected it or camera.command"),
            ("device = 'a'\ncommand = ['b']", "camera.command is given beside camera.device, expected one of the two"),
            ("command = []", "camera.command is empty, expected a program and its arguments"),
            ("command = ['a']\nlook = ['']", "camera.look is empty, expected a program and its arguments"),
            ("command = ['a']\nsize = [640, 480]", "camera.size is given, expected it only with camera.device"),
            ("device = 'a'\nlook = ['b']", "camera.look is given, expected it only with camera.command"),
            ("device = 'a'\nsize = [640, 10]", "camera.size is 10, expected 320 to 8192"),
            ("device = 'a'\ntimeout_s = 0", "camera.timeout_s is 0, expected 1 to 300"),
        ] {
            assert_eq!(camera(lines), Err(format!("l.toml: {told}")));
        }
        let folder = |lines: &str| parse(&format!("{EXAMPLE}\n[[folders]]\n{lines}\n")).unwrap_err().to_string();
        assert_eq!(folder("path = ''"), "l.toml: folders[0].path is empty, expected the path of a folder");
        let told = "l.toml: folders[0].path is /var/lib, expected a folder neither around nor in spool.folder";
        assert_eq!(folder("path = '/var/lib'"), told);
        let drives = |lines: &str| parse(&format!("{EXAMPLE}\n[[folders]]\n{lines}\n")).unwrap().folders[0].drives;
        assert!(drives("path = '/run/media/pi'") && drives("path = '/srv/sticks'\ndrives = true"));
        assert!(!drives("path = '/srv/films'") && !drives("path = '/media'\ndrives = false"));
        assert_eq!(folder("path = 'a'\npoll_s = 0"), "l.toml: folders[0].poll_s is 0, expected 1 to 3600");
        let read = |line: &str| parse(&format!("{EXAMPLE}\n[read]\n{line}\n")).unwrap_err().to_string();
        assert_eq!(read("readings = ''"), "l.toml: read.readings is empty, expected the path of a file");
        assert_eq!(
            read("readings = 'r'\nscreens = ''"),
            "l.toml: read.screens is empty, expected the path of a folder"
        );
        assert!(read("screens = 's'").contains("missing field `readings`"));
        assert_eq!(read("readings = 'r'\njournal = ''"), "l.toml: read.journal is empty, expected the path of a file");
        let pacs = "[pacs]\naddress = 'pacs:104'\ncalled_ae_title = 'A'";
        let told = "l.toml: read.journal is missing, expected it with [pacs]: what is sent is queued there";
        assert_eq!(read(&format!("readings = 'r'\n{pacs}")), told);
        let told = read(&format!("readings = 'r'\njournal = 'j'\n{pacs}"));
        assert!(told.starts_with("l.toml: read.keep_identity is false, expected true with [pacs]"), "{told}");
        check("# keep_free_mb = 500 ", "keep_free_mb = -1", "spool.keep_free_mb is -1, expected 0 to 1000000000");
        check("# keep_free_percent = 10 ", "keep_free_percent = 91", "spool.keep_free_percent is 91, expected 0 to 90");
        for (key, bad, range) in [
            ("associations = 25 ", "26", "1 to 25"),
            ("object_mb = 256 ", "269", "1 to 268"),
            ("association_mb = 16384 ", "0", "1 to 1000000"),
            ("pdu_bytes = 131072\n", "4095\n", "4096 to 1048576"),
            ("association_timeout_s = 30 ", "0", "1 to 86400"),
            ("idle_timeout_s = 60 ", "0", "1 to 86400"),
            ("network_timeout_s = 30 ", "86401", "1 to 86400"),
            ("object_timeout_s = 600 ", "0", "1 to 86400"),
            ("report_retry_s = 60 ", "0", "1 to 86400"),
        ] {
            let (name, _) = key.split_once(' ').unwrap();
            let text = EXAMPLE.replace("# [limits]", "[limits]");
            let text = text.replace(&format!("# {key}"), &format!("{name} = {bad} "));
            let told = parse(&text).unwrap_err().to_string();
            assert_eq!(told, format!("l.toml: limits.{name} is {}, expected {range}", bad.trim()));
        }
    }

    #[test]
    fn without_peers_nobody_could_send() {
        let text = "[listener]\naddress = '0.0.0.0:1'\nae_title = 'A'\n[spool]\nfolder = 's'\n";
        let told = parse(text).unwrap_err().to_string();
        assert_eq!(
            told,
            "l.toml: listener.peers is empty, expected at least one [[listener.peers]]: nobody else may send"
        );
    }

    #[test]
    fn unknown_and_missing_keys_are_named() {
        check("ae_title = \"LIGHTBOX\"", "aetitle = \"LIGHTBOX\"", "unknown field `aetitle`");
        check("ae_title = \"LIGHTBOX\"", "", "missing field `ae_title`");
        check("[spool]", "[spoool]", "unknown field `spoool`");
        check("\"LIGHTBOX\"", "7", "invalid type: integer `7`, expected a string");
        let told = Config::read(Path::new("/no/such.toml")).unwrap_err().to_string();
        assert!(told.starts_with("cannot read /no/such.toml: "), "{told}");
    }
}
