//! The board file: everything that `lightbox run` needs to know of the device that it runs on and of the site.
//!
//! Paths that are not absolute are seen from the folder that the file lies in.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::archive::ArchiveTable;
use super::camera::CameraTable;
use super::devices::{DeviceTables, Devices, PanelConfig};
use super::models::ModelsTable;
use super::{
    ArchiveConfig, CameraConfig, Check, ConfigError, FolderConfig, FolderTable, LimitsTable, ListenerConfig,
    ListenerTable, ModelsConfig, Sending, SpoolConfig, SpoolTable,
};
use crate::domain::Language;

/// An example with every key but those of the devices and of the listener; `lightbox run --help` prints it.
pub const EXAMPLE: &str = r#"[site]
# language = "en"             # en, fr, es, pt, sw, vi, hi or ar; a choice on the device comes first
# show_identity = false       # who is on the film, on the panel
# keep_identity = false       # who is on the film, in the journal
# utc_offset_min = 0          # what the place's time is ahead of UTC
# settings = "settings.toml"  # where a choice on the device is kept; else beside the journal

[journal]
file = "/var/lib/lightbox/journal.db"
# keep_readings = 100000      # older ones are taken out; without this key none is
# keep_identities = 1000      # who was on the films, of the last readings alone

# [reading]
# model = "models/example"    # in place of the device's own, see [models]
# threads = 4                 # that share the network's work

[spool]
folder = "/var/lib/lightbox/spool"

[[folders]]                   # films are taken from here
path = "/media"
# make = false                # make the folder where there is none
# drives = true               # removable drives are mounted here; by default below /media, /run/media and /mnt alone

# [camera]                    # films on a light box are photographed with it
# device = "/dev/video0"      # a document camera, or else a program that writes a picture to its output:
#                             # command = ["rpicam-still", "--nopreview", "--immediate", "--output", "-"]
# size = [1920, 1080]         # of the device's pictures, as near as it comes; not with command
#                             # look = ["rpicam-still", …]: small pictures to aim by, with command
# timeout_s = 20              # for one picture

# [updates]                   # models on drives
# from = "/media"             # where drives are mounted

# [idle]
# hold_s = 10                 # how long a verdict stands at least before the next one
# return_s = 300              # without a key, until a screen is left
# blank_s = 600               # without a key, until the panel is dark; 0 for never

# [metrics]
# file = "/var/lib/prometheus/node-exporter/lightbox.prom"
# every_s = 15
"#;

/// The file as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoardFile {
    #[serde(default)]
    site: SiteTable,
    journal: JournalTable,
    #[serde(default)]
    reading: ReadingTable,
    #[serde(default)]
    models: ModelsTable,
    updates: Option<UpdatesTable>,
    spool: SpoolTable,
    listener: Option<ListenerTable>,
    #[serde(default)]
    folders: Vec<FolderTable>,
    camera: Option<CameraTable>,
    limits: Option<LimitsTable>,
    #[serde(default)]
    idle: IdleTable,
    metrics: Option<MetricsTable>,
    pacs: Option<ArchiveTable>,
    // The devices' tables, each of them as it stands in `DeviceTables`.
    panel: super::devices::PanelTable,
    #[serde(default)]
    buttons: Vec<super::devices::ButtonTable>,
    keyboard: Option<super::devices::KeyboardTable>,
    touch: Option<super::devices::TouchTable>,
    #[serde(default)]
    lamps: Vec<super::devices::LampTable>,
    watchdog: Option<super::devices::WatchdogTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteTable {
    language: Option<String>,
    show_identity: Option<bool>,
    keep_identity: Option<bool>,
    utc_offset_min: Option<i64>,
    settings: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalTable {
    file: PathBuf,
    keep_readings: Option<i64>,
    keep_identities: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadingTable {
    model: Option<PathBuf>,
    threads: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdatesTable {
    from: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdleTable {
    hold_s: Option<i64>,
    return_s: Option<i64>,
    blank_s: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricsTable {
    file: PathBuf,
    every_s: Option<i64>,
}

/// A board file that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// What the site wants.
    pub site: Site,
    /// The record of readings.
    pub journal: JournalConfig,
    /// The model that was named in place of the device's own.
    pub model: Option<PathBuf>,
    /// Threads that share the network's work; `None` for as many as suit the processor.
    pub threads: Option<usize>,
    /// Where the device's models are kept, and by which rules they are accepted and tried.
    pub models: ModelsConfig,
    /// Where drives with models are looked for.
    pub updates: Option<PathBuf>,
    /// Where films lie until they are read, and after.
    pub spool: SpoolConfig,
    /// Who is listened to; `None` without a network.
    pub listener: Option<ListenerConfig>,
    /// Where films are taken from.
    pub folders: Vec<FolderConfig>,
    /// What photographs films; `None` without a camera.
    pub camera: Option<CameraConfig>,
    /// After how long something happens by itself.
    pub idle: Idle,
    /// Where figures for a monitoring system are written.
    pub metrics: Option<MetricsConfig>,
    /// Where readings are sent.
    pub archive: Option<ArchiveConfig>,
    /// What hangs on the board.
    pub devices: Devices,
}

/// What the site wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// What the screens speak until something else is chosen on the device.
    pub language: Language,
    /// Whether the panel shows who is on a film.
    pub show_identity: bool,
    /// Whether the journal keeps who is on a film.
    pub keep_identity: bool,
    /// What the place's time is ahead of UTC, in seconds.
    pub utc_offset_s: i32,
    /// Where a choice on the device is kept.
    pub settings: PathBuf,
}

/// The record of readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// The journal.
    pub file: PathBuf,
    /// How many readings are kept; `None` for all.
    pub keep_readings: Option<u64>,
    /// Of how many readings it is kept who was on the film; `None` for all.
    pub keep_identities: Option<u64>,
}

/// After how many seconds something happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// How long a verdict stands at least.
    pub hold_s: u32,
    /// Without a key, until a screen is left.
    pub return_s: u32,
    /// Without a key, until the panel is dark; `None` for never.
    pub blank_s: Option<u32>,
}

/// Figures for a monitoring system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// A file in the text form of Prometheus, in a folder that is there.
    pub file: PathBuf,
    /// How often it is written.
    pub every: Duration,
}

impl Board {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// With the key, what was found and what was expected.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// What is sent, where anything is.
    pub fn sending(&self) -> Option<Sending> {
        let (journal, spool) = (self.journal.file.clone(), self.spool.folder.clone());
        let Site { utc_offset_s, language, .. } = self.site;
        Some(Sending { archive: self.archive.clone()?, journal, spool, utc_offset_s, language })
    }

    /// Checks `text`, which was read from `path`.
    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: BoardFile = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        file.usable(&Check { path })
    }
}

impl BoardFile {
    fn usable(self, check: &Check<'_>) -> Result<Board, ConfigError> {
        let base = check.path.parent().unwrap_or(Path::new(""));
        let seen = |path: PathBuf| if path.as_os_str().is_empty() { path } else { base.join(path) };
        let spool = check.spool(&SpoolTable { folder: seen(self.spool.folder), ..self.spool })?;
        let folders: Vec<FolderTable> =
            self.folders.into_iter().map(|folder| FolderTable { path: seen(folder.path), ..folder }).collect();
        let folders = check.folders(&folders, &spool)?;
        let camera = self.camera.map(|typed| check.camera(typed)).transpose()?;
        if self.listener.is_none() {
            if folders.is_empty() && camera.is_none() {
                let expected = "a [listener], a [camera] or at least one [[folders]]: else no film ever comes";
                return Err(check.refused("folders", "empty", expected));
            }
            if self.limits.is_some() {
                return Err(check.refused("limits", "given", "nothing without a [listener]"));
            }
        }
        let limits = self.limits.unwrap_or_default();
        let listener = self.listener.map(|mut typed| {
            if let Some(tls) = &mut typed.tls {
                for path in [&mut tls.certificate, &mut tls.key, &mut tls.client_ca] {
                    *path = seen(std::mem::take(path));
                }
            }
            check.listener(&typed, &limits)
        });
        let listener = listener.transpose()?;
        let journal = check.journal(JournalTable { file: seen(self.journal.file), ..self.journal })?;
        let settings = self.site.settings.clone().map(seen);
        let site = check.site(&self.site, settings, &journal.file)?;
        let threads = self.reading.threads.map(|typed| check.number("reading.threads", Some(typed), 0, 1, 64));
        let named = self.reading.model.map(|model| check.path("reading.model", &seen(model), "model"));
        let updates = self.updates.map(|typed| check.path("updates.from", &seen(typed.from), "folder"));
        let metrics = self.metrics.map(|typed| {
            let every = check.number("metrics.every_s", typed.every_s, 15, 1, 3600)?;
            let file = check.path("metrics.file", &seen(typed.file), "file")?;
            Ok(MetricsConfig { file, every: Duration::from_secs(every) })
        });
        let called = listener.as_ref().map(|listener| &listener.ae_title);
        let keeps = ("site.keep_identity", site.keep_identity);
        let archive = self.pacs.map(|pacs| pacs.usable(check, seen, called, keeps)).transpose()?;
        let devices = DeviceTables {
            panel: self.panel,
            buttons: self.buttons,
            keyboard: self.keyboard,
            touch: self.touch,
            lamps: self.lamps,
            watchdog: self.watchdog,
        };
        let mut devices = devices.usable(check)?;
        if let PanelConfig::Png { folder, .. } = &mut devices.panel {
            *folder = base.join(&folder);
        }
        let mut models = self.models.usable(check)?;
        models.store = models.store.map(|store| base.join(store));
        Ok(Board {
            site,
            journal,
            model: named.transpose()?,
            threads: threads.transpose()?.map(|threads| threads as usize),
            models,
            updates: updates.transpose()?,
            spool,
            listener,
            folders,
            camera,
            idle: check.idle(&self.idle)?,
            metrics: metrics.transpose()?,
            archive,
            devices,
        })
    }
}

impl Check<'_> {
    fn site(&self, typed: &SiteTable, settings: Option<PathBuf>, journal: &Path) -> Result<Site, ConfigError> {
        let language = typed.language.as_deref().map_or(Ok(Language::default()), |code| {
            let expected = Language::ALL.map(Language::code).join(", ");
            code.parse().map_err(|_| self.refused("site.language", &format!("{code:?}"), &format!("one of {expected}")))
        });
        let minutes = typed.utc_offset_min.unwrap_or(0);
        if !(-720..=840).contains(&minutes) {
            return Err(self.refused("site.utc_offset_min", &minutes.to_string(), "-720 to 840"));
        }
        let settings = match settings {
            Some(settings) => self.path("site.settings", &settings, "file")?,
            None => journal.with_file_name("settings.toml"),
        };
        Ok(Site {
            language: language?,
            show_identity: typed.show_identity.unwrap_or(false),
            keep_identity: typed.keep_identity.unwrap_or(false),
            utc_offset_s: minutes as i32 * 60,
            settings,
        })
    }

    fn journal(&self, typed: JournalTable) -> Result<JournalConfig, ConfigError> {
        let kept =
            |key, typed: Option<i64>| typed.map(|typed| self.number(key, Some(typed), 0, 1, 1_000_000_000)).transpose();
        Ok(JournalConfig {
            file: self.path("journal.file", &typed.file, "file")?,
            keep_readings: kept("journal.keep_readings", typed.keep_readings)?,
            keep_identities: kept("journal.keep_identities", typed.keep_identities)?,
        })
    }

    fn idle(&self, typed: &IdleTable) -> Result<Idle, ConfigError> {
        let blank = self.number("idle.blank_s", typed.blank_s, 600, 0, 86_400)? as u32;
        Ok(Idle {
            hold_s: self.number("idle.hold_s", typed.hold_s, 10, 1, 3600)? as u32,
            return_s: self.number("idle.return_s", typed.return_s, 300, 5, 86_400)? as u32,
            blank_s: (blank > 0).then_some(blank),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::CameraKind;
    use super::*;

    const PANEL: &str = "[panel]\nkind = 'terminal'\n";

    fn parse(text: &str) -> Result<Board, ConfigError> {
        Board::parse(text, Path::new("/etc/lightbox/b.toml"))
    }

    #[track_caller]
    fn refused(from: &str, to: &str, expected: &str) {
        let text = format!("{EXAMPLE}{PANEL}");
        assert!(text.contains(from), "{from}");
        let told = parse(&text.replace(from, to)).unwrap_err().to_string();
        assert!(told.contains(expected), "{told}\nexpected: {expected}");
    }

    #[test]
    fn the_example_says_what_the_defaults_are() {
        let board = parse(&format!("{EXAMPLE}{PANEL}")).unwrap();
        // With every comment taken away only what has no default is there in addition.
        let typed = EXAMPLE.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
        let mut typed = parse(&format!("{typed}\n{PANEL}")).unwrap();
        assert_eq!(typed.site.settings, Path::new("/etc/lightbox/settings.toml"));
        assert_eq!(board.site.settings, Path::new("/var/lib/lightbox/settings.toml"));
        typed.site.settings = board.site.settings.clone();
        assert_eq!(
            (typed.journal.keep_readings.take(), typed.journal.keep_identities.take()),
            (Some(100_000), Some(1000))
        );
        assert_eq!(typed.model.take().as_deref(), Some(Path::new("/etc/lightbox/models/example")));
        assert_eq!((typed.threads.take(), typed.updates.take()), (Some(4), Some("/media".into())));
        assert_eq!(typed.metrics.take().unwrap().every, Duration::from_secs(15));
        let kind = CameraKind::Device { path: "/dev/video0".into(), size: (1920, 1080) };
        assert_eq!(typed.camera.take(), Some(CameraConfig { kind, timeout: Duration::from_secs(20) }));
        assert_eq!(typed, board);
        assert_eq!(
            (board.site.show_identity, board.site.keep_identity),
            (false, false),
            "nobody is shown or kept unasked"
        );
    }

    #[test]
    fn paths_are_seen_from_the_file() {
        let text = "[journal]\nfile = 'pc/journal.db'\n[spool]\nfolder = 'pc/spool'\n\
            [[folders]]\npath = 'pc/films'\nmake = true\n[panel]\nkind = 'png'\nfolder = 'pc/screens'\n";
        let board = parse(text).unwrap();
        assert_eq!(board.journal.file, Path::new("/etc/lightbox/pc/journal.db"));
        assert_eq!(board.spool.folder, Path::new("/etc/lightbox/pc/spool"));
        assert!(board.folders[0].make && board.folders[0].path == Path::new("/etc/lightbox/pc/films"));
        let PanelConfig::Png { folder, .. } = &board.devices.panel else { panic!("{:?}", board.devices.panel) };
        assert_eq!(folder, Path::new("/etc/lightbox/pc/screens"));
    }

    #[test]
    fn every_rejection_names_key_value_and_range() {
        refused("# language = \"en\"  ", "language = \"xx\"", "site.language is \"xx\", expected one of en, fr, es");
        refused("# utc_offset_min = 0 ", "utc_offset_min = 841 ", "site.utc_offset_min is 841, expected -720 to 840");
        refused(
            "# settings = \"settings.toml\"",
            "settings = ''",
            "site.settings is empty, expected the path of a file",
        );
        refused("\"/var/lib/lightbox/journal.db\"", "''", "journal.file is empty, expected the path of a file");
        refused(
            "# keep_readings = 100000",
            "keep_readings = 0",
            "journal.keep_readings is 0, expected 1 to 1000000000",
        );
        refused("# keep_identities = 1000", "keep_identities = -1", "journal.keep_identities is -1, expected 1 to");
        refused("# [reading]", "[reading]\nthreads = 65", "reading.threads is 65, expected 1 to 64");
        refused("# [reading]", "[reading]\nmodel = ''", "reading.model is empty, expected the path of a model");
        refused("# [updates]", "[updates]\nfrom = ''#", "updates.from is empty, expected the path of a folder");
        refused("# [idle]", "[idle]\nhold_s = 0", "idle.hold_s is 0, expected 1 to 3600");
        refused("# [idle]", "[idle]\nreturn_s = 4", "idle.return_s is 4, expected 5 to 86400");
        refused("# [idle]", "[idle]\nblank_s = 86401", "idle.blank_s is 86401, expected 0 to 86400");
        refused("# [camera]", "[camera]", "camera.device is missing, expected it or camera.command");
        refused(
            "# [camera]",
            "[camera]\ndevice = '/dev/video0'\ntimeout_s = 0#",
            "camera.timeout_s is 0, expected 1 to",
        );
        refused("# [metrics]", "[metrics]\nfile = ''#", "metrics.file is empty, expected the path of a file");
        refused("# [metrics]", "[metrics]\nfile = 'f'\nevery_s = 0#", "metrics.every_s is 0, expected 1 to 3600");
        refused("[[folders]]", "[limits]\n[[folders]]", "limits is given, expected nothing without a [listener]");
        let none = "[journal]\nfile = 'j'\n[spool]\nfolder = 's'\n";
        let told = parse(&format!("{none}{PANEL}")).unwrap_err().to_string();
        assert!(
            told.contains("folders is empty, expected a [listener], a [camera] or at least one [[folders]]"),
            "{told}"
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let told = parse(&format!("[site]\nlanguage = 'fr'\ncolour = 'red'\n{PANEL}")).unwrap_err().to_string();
        assert!(told.contains("line 3") && told.contains("unknown field `colour`"), "{told}");
        let told = parse(&format!("{EXAMPLE}{PANEL}[colour]\n")).unwrap_err().to_string();
        assert!(told.contains("unknown field `colour`"), "{told}");
        let alone = parse(&format!("[journal]\nfile = 'j'\n[spool]\nfolder = 's'\n[camera]\ncommand = ['c']\n{PANEL}"));
        assert!(alone.is_ok_and(|board| board.camera.is_some()), "a camera alone is a way in");
        let told = Board::read(Path::new("/no/such.toml")).unwrap_err().to_string();
        assert!(told.starts_with("cannot read /no/such.toml: "), "{told}");
    }
}
