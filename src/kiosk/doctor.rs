//! `lightbox doctor`: asks every part of a board whether it works, and says what to do where it does not.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::adapters::archive::Archive;
use crate::adapters::file::Limits;
use crate::adapters::wall::Wall;
use crate::adapters::{camera, clock, devices, hardware};
use crate::config::{BacklightConfig, Board, CameraConfig, CameraKind, LampPlace, PanelConfig};
use crate::engine::EngineOptions;
use crate::models::{self, Device};
use crate::pipeline::film;
use crate::record::Journal;

/// Written to try the disk.
const PROBE_BYTES: usize = 4 << 20;
/// Small writes that are flushed one by one, as the journal does.
const PROBE_WRITES: u32 = 8;
/// A row that takes longer to be durable is noticed by whoever waits for the verdict.
const SLOW_FLUSH: Duration = Duration::from_millis(250);
/// Milliseconds since 1970 of 2025-01-01: an earlier time is none.
const EARLIEST: i64 = 1_735_689_600_000;
/// In degrees Celsius.
const HOT: f32 = 80.0;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Good,
    /// Works, but someone should see to it.
    Attention,
    /// Does not work.
    Fault,
}

impl Severity {
    /// The name in JSON and in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Attention => "attention",
            Self::Fault => "fault",
        }
    }
}

/// What was found of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which part.
    pub part: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to do; empty where nothing is to be done.
    pub advice: String,
}

fn good(part: &str, found: impl Into<String>) -> Finding {
    Finding { part: part.to_owned(), severity: Severity::Good, found: found.into(), advice: String::new() }
}

fn bad(part: &str, severity: Severity, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { part: part.to_owned(), severity, found: found.into(), advice: advice.into() }
}

/// Devices that the board file names and that are not there, each with the key that names it.
pub fn missing_devices(board: &Board) -> Vec<Finding> {
    let mut named: Vec<(&str, PathBuf)> = Vec::new();
    let backlight = match &board.devices.panel {
        PanelConfig::Framebuffer { device, backlight, .. } | PanelConfig::Drm { device, backlight, .. } => {
            named.push(("panel.device", device.clone()));
            backlight.as_ref()
        }
        PanelConfig::Spi(spi) => {
            named.push(("panel.device", spi.device.clone()));
            spi.backlight.as_ref()
        }
        PanelConfig::Terminal | PanelConfig::Png { .. } => None,
    };
    if let Some(BacklightConfig::Kernel { name, .. }) = backlight {
        named.push(("panel.backlight", Path::new("/sys/class/backlight").join(name)));
    }
    for lamp in &board.devices.lamps {
        if let LampPlace::Led(name) = &lamp.place {
            named.push(("lamps.led", Path::new("/sys/class/leds").join(name)));
        }
    }
    if let Some(watchdog) = &board.devices.watchdog {
        named.push(("watchdog.device", watchdog.device.clone()));
    }
    if let Some(CameraKind::Device { path, .. }) = board.camera.as_ref().map(|camera| &camera.kind) {
        named.push(("camera.device", path.clone()));
    }
    let missing = named.into_iter().filter(|(_, path)| !path.exists());
    let advice = "connect it, switch its driver on (device tree overlay, kernel module), or name another";
    missing
        .map(|(key, path)| bad(key, Severity::Attention, format!("{} is not there", path.display()), advice))
        .collect()
}

/// Asks every part of the board; nothing that is kept is changed. `threads` share the network's work where the board
/// file does not say.
pub fn examine(board: &Board, threads: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(panel(board));
    findings.extend(keys(board));
    findings.extend(board.camera.as_ref().map(camera));
    findings.extend(lamps_and_watchdog(board));
    findings.extend(storage(board));
    findings.push(journal(board));
    findings.push(spool(board));
    findings.push(model(board, threads));
    findings.push(time());
    findings.extend(heat());
    findings.extend(metrics(board));
    findings.extend(archive(board));
    findings
}

/// Whether the archive takes what it is sent; nothing is sent.
fn archive(board: &Board) -> Vec<Finding> {
    let (Some(archive), Some(config)) = (board.sending().map(Archive::new), &board.archive) else { return Vec::new() };
    let called = format!("{} at {}", config.called, config.address);
    let reached = match archive.examine() {
        Ok(refused) if refused.is_empty() => good("archive", format!("{called} takes what it is sent")),
        Ok(refused) => {
            let advice = "let the archive accept these SOP classes, or leave them out of pacs.what";
            bad("archive", Severity::Attention, format!("{called}: {}", refused.join("; ")), advice)
        }
        Err(why) => {
            let advice = "check [pacs], the cable, and that the archive knows this device's AE title and address";
            bad("archive", Severity::Attention, format!("{called}: {why}"), advice)
        }
    };
    let queue = Journal::open(&board.journal.file).and_then(|journal| journal.queue_figures()).ok();
    let queue = queue.filter(|figures| figures.again > 0).map(|figures| {
        let advice = "see `lightbox journal queue`; once the archive was put right, `lightbox journal send --failed`";
        bad("archive", Severity::Attention, format!("it refused {} objects for good", figures.again), advice)
    });
    std::iter::once(reached).chain(queue).collect()
}

fn panel(board: &Board) -> Finding {
    match devices::open_panel(&board.devices.panel) {
        Ok(panel) => {
            let (columns, rows) = panel.size();
            good("panel", format!("takes pictures of {columns} × {rows} pixels"))
        }
        Err(error) => {
            let advice = "check cable and driver, and whether another program has it: stop the kiosk before the doctor";
            bad("panel", Severity::Fault, error.to_string(), advice)
        }
    }
}

fn keys(board: &Board) -> Vec<Finding> {
    let sources = board.devices.key_sources();
    if sources.is_empty() {
        let advice = "name [[buttons]], [keyboard] or [touch]: without keys nothing can be reviewed or installed";
        return vec![bad("keys", Severity::Attention, "none are configured", advice)];
    }
    let opened = sources.iter().map(|source| match devices::open_keys(source) {
        Ok(_) => good("keys", format!("{source}: can be read")),
        Err(error) => {
            let advice =
                "check the cable, the lines in the board file, and that the user is in the groups gpio and input";
            bad("keys", Severity::Fault, format!("{source}: {error}"), advice)
        }
    });
    opened.collect()
}

/// Takes a photograph, and says what of it can be told without a film.
fn camera(config: &CameraConfig) -> Finding {
    let advice = "check its cable and driver (`ls /dev/video*`, `rpicam-hello --list-cameras`), that the user is in the \
                  group video, and whether another program has it: stop the kiosk before the doctor";
    let failed = |why: String| bad("camera", Severity::Fault, why, advice);
    let start = Instant::now();
    let bytes = match camera::open(config).shoot() {
        Ok(bytes) => bytes,
        Err(error) => return failed(error.to_string()),
    };
    let took = start.elapsed().as_millis();
    let size = bytes.len().div_ceil(1000);
    match Wall::of_this_program().decode(&bytes, &Limits::default()) {
        Ok(Ok(photograph)) => {
            let (columns, rows) = (photograph.image.width(), photograph.image.height());
            let seen = match film::guide(&photograph.image).hint {
                None => "a film that can be read".to_owned(),
                Some(reason) => format!("{} ({reason})", reason.words().to_lowercase()),
            };
            good("camera", format!("a photograph of {columns} × {rows} pixels, {size} kB, in {took} ms: {seen}"))
        }
        Ok(Err(rejection)) => failed(format!("what it gave in {took} ms, {size} kB, is no picture: {rejection}")),
        Err(error) => failed(error.to_string()),
    }
}

fn lamps_and_watchdog(board: &Board) -> Vec<Finding> {
    let mut findings: Vec<Finding> = missing_devices(board)
        .into_iter()
        .filter(|finding| !finding.part.starts_with("panel") && !finding.part.starts_with("camera"))
        .map(|finding| Finding { severity: Severity::Fault, ..finding })
        .collect();
    // Neither is opened: a lamp would go out, and a watchdog starts to run.
    if findings.is_empty() && !board.devices.lamps.is_empty() {
        findings.push(good("lamps", format!("{} configured", board.devices.lamps.len())));
    }
    if board.devices.watchdog.is_none() {
        let advice = "add [watchdog] where the board has one: it restarts a board that hangs";
        findings.push(bad("watchdog", Severity::Attention, "none is configured", advice));
    }
    findings
}

fn storage(board: &Board) -> Vec<Finding> {
    let folder = folder_of(&board.journal.file);
    let mut findings = Vec::new();
    match hardware::room(&existing(&board.spool.folder)) {
        Ok(room) => {
            let share = room.all / 100 * u64::from(board.spool.keep_free_percent);
            let wanted = board.spool.keep_free_bytes.max(share);
            let found = format!("{} MB free, {} MB stay free", room.free / 1_000_000, wanted / 1_000_000);
            if room.free < wanted {
                let advice = "make room, or let read films be deleted (spool.delete_read): no film is taken now";
                findings.push(bad("storage", Severity::Fault, found, advice));
            } else {
                findings.push(good("storage", found));
            }
        }
        Err(error) => {
            let advice = "mount the data partition, or name another folder";
            findings.push(bad(
                "storage",
                Severity::Fault,
                format!("{}: {error}", board.spool.folder.display()),
                advice,
            ));
        }
    }
    findings.push(match try_disk(&existing(&folder)) {
        Ok((rate, flush)) => {
            let found = format!("{:.0} MB/s, {} ms until a small write is durable", rate, flush.as_millis());
            if flush > SLOW_FLUSH {
                let advice = "use a card of class A1 or better, or a solid-state drive";
                bad("storage speed", Severity::Attention, found, advice)
            } else {
                good("storage speed", found)
            }
        }
        Err(error) => {
            let advice =
                "check that the folder is there, writable and not full; a card that became read-only is worn out";
            bad("storage speed", Severity::Fault, format!("{}: {error}", folder.display()), advice)
        }
    });
    findings
}

fn folder_of(file: &Path) -> PathBuf {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// The folder, or the first above it that is there: the kiosk makes the rest.
fn existing(folder: &Path) -> PathBuf {
    folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new(".")).to_owned()
}

/// MB/s, and how long a small write takes to be durable.
fn try_disk(folder: &Path) -> std::io::Result<(f64, Duration)> {
    let path = folder.join(format!(".lightbox-doctor.{}", std::process::id()));
    let try_it = || {
        let mut file = File::create(&path)?;
        let start = Instant::now();
        file.write_all(&vec![0x5a; PROBE_BYTES])?;
        file.sync_all()?;
        let rate = PROBE_BYTES as f64 / 1e6 / start.elapsed().as_secs_f64().max(1e-6);
        let start = Instant::now();
        for _ in 0..PROBE_WRITES {
            file.write_all(&[0x5a; 4096])?;
            file.sync_all()?;
        }
        Ok((rate, start.elapsed() / PROBE_WRITES))
    };
    let tried = try_it();
    // It may never have been made.
    let _ = fs::remove_file(&path);
    tried
}

fn journal(board: &Board) -> Finding {
    let file = &board.journal.file;
    if !file.exists() {
        return good("journal", format!("{} will be made", file.display()));
    }
    match Journal::open(file).and_then(|journal| journal.verify()) {
        Ok(Ok(sound)) => good("journal", format!("{} readings, the chain is whole", sound.rows)),
        Ok(Err(broken)) => {
            let advice = "copy the journal away and find out who changed it; `lightbox journal verify` says the same";
            bad("journal", Severity::Fault, format!("the chain is broken at {broken}"), advice)
        }
        Err(error) => {
            bad("journal", Severity::Fault, error.to_string(), "restore it from a copy, or name another file")
        }
    }
}

fn spool(board: &Board) -> Finding {
    let folder = &board.spool.folder;
    if !folder.exists() {
        return good("spool", format!("{} will be made", folder.display()));
    }
    // Counted from outside: the kiosk may have it open.
    match fs::read_dir(folder.join("unread")) {
        Ok(unread) => good("spool", format!("{} films wait to be read", unread.count())),
        Err(error) => {
            let advice = "check who owns the folder: it belongs to the user that runs the kiosk";
            bad("spool", Severity::Fault, format!("{}: {error}", folder.join("unread").display()), advice)
        }
    }
}

fn model(board: &Board, threads: usize) -> Finding {
    let options = EngineOptions { threads: board.threads.unwrap_or(threads), ..EngineOptions::default() };
    let start = Instant::now();
    let chosen = models::choose(board.model.as_deref(), None, &Device::new(&board.models));
    match chosen.and_then(|chosen| models::ready(chosen, options)) {
        Ok(serving) => {
            let manifest = serving.model.manifest();
            let (name, version, took) = (&manifest.name, &manifest.version, start.elapsed().as_millis());
            match serving.golden_films {
                Some(films) => good("model", format!("{name} {version}: {films} golden films right, in {took} ms")),
                None => {
                    let found = format!("{name} {version}: loads in {took} ms, and has no golden films");
                    bad("model", Severity::Attention, found, "install a signed bundle: a directory cannot test itself")
                }
            }
        }
        Err(error) => {
            let advice = "install the model again (`lightbox bundle install`), or go back (`lightbox bundle rollback`)";
            bad("model", Severity::Fault, error.to_string(), advice)
        }
    }
}

fn time() -> Finding {
    let (unix_ms, verified) = clock::now();
    let said = crate::record::rfc3339(unix_ms);
    if unix_ms < EARLIEST {
        return bad(
            "clock",
            Severity::Attention,
            format!("{said} cannot be"),
            "set the clock, or connect a time server",
        );
    }
    if verified {
        good("clock", format!("{said}, set by a time server"))
    } else {
        let advice =
            "readings are marked \"time not verified\"; switch systemd-timesyncd on, or fit a clock with a battery";
        bad("clock", Severity::Attention, format!("{said}, set by nobody that is trusted"), advice)
    }
}

fn heat() -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(celsius) = hardware::temperature() {
        let found = format!("{celsius:.0} °C");
        findings.push(if celsius >= HOT {
            bad("temperature", Severity::Attention, found, "give the case air or the processor a heat sink")
        } else {
            good("temperature", found)
        });
    }
    if let Some(throttling) = hardware::throttling() {
        findings.push(if throttling.low_voltage || throttling.low_voltage_before {
            let advice = "use the power supply that belongs to the board, and a short cable";
            bad("power", Severity::Attention, "the voltage was too low since the start", advice)
        } else if throttling.slowed || throttling.slowed_before {
            let advice = "give the case air or the processor a heat sink";
            bad("power", Severity::Attention, "the processor was slowed down since the start", advice)
        } else {
            good("power", "no undervoltage, not slowed down")
        });
    }
    findings
}

fn metrics(board: &Board) -> Option<Finding> {
    let file = &board.metrics.as_ref()?.file;
    let folder = folder_of(file);
    Some(if folder.is_dir() {
        good("metrics", format!("written to {}", file.display()))
    } else {
        let found = format!("the folder {} is not there", folder.display());
        bad("metrics", Severity::Attention, found, "make it, or switch node_exporter's textfile collector on")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_tried_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (rate, flush) = try_disk(folder.path()).unwrap();
        assert!(rate > 0.0 && flush > Duration::ZERO);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(try_disk(&folder.path().join("none")).is_err());
        assert_eq!(existing(&folder.path().join("a/b/c")), folder.path());
    }

    #[test]
    fn whatever_is_not_good_says_what_to_do() {
        for finding in [time(), bad("x", Severity::Fault, "y", "z")].into_iter().chain(heat()) {
            assert_eq!(finding.advice.is_empty(), finding.severity == Severity::Good, "{finding:?}");
        }
    }
}
