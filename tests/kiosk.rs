//! `lightbox run`, run as its user runs it: films in a folder, pictures of the panel, keys in a terminal.
#![cfg(feature = "device")]

#[path = "support/bench.rs"]
mod bench;
#[path = "support/bundles.rs"]
mod bundles;
#[path = "kiosk/camera.rs"]
mod camera;
#[path = "support/running.rs"]
mod running;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bench::{Bench, status, works};
use lightbox::adapters::settings::Settings;
use lightbox::domain::{Language, Reason, Rejection, Verdict};
use lightbox::record::{Journal, Recorded};
use lightbox::ui::theme;
use running::{PATIENCE, PROGRAM, Running, lightbox, missing, put, small_picture, wait_until};
use tempfile::TempDir;

/// A board file and all that it names.
struct Place {
    folder: TempDir,
}

impl Place {
    /// `more` is appended to the board file.
    fn new(more: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let place = Self { folder };
        for name in ["films", "screens"] {
            fs::create_dir(place.path(name)).expect("a folder");
        }
        place.write(more);
        place
    }

    fn write(&self, more: &str) {
        let text = format!(
            "[journal]\nfile = 'journal.db'\n[spool]\nfolder = 'spool'\nkeep_free_mb = 0\nkeep_free_percent = 0\n\
             [[folders]]\npath = 'films'\nsettle_s = 0\npoll_s = 1\n\
             [panel]\nkind = 'png'\nfolder = 'screens'\nsize = [320, 240]\nkeep = 1000\n\
             [idle]\nhold_s = 1\n{more}"
        );
        fs::write(self.path("board.toml"), text).expect("written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        lightbox(&["run", "--config", &self.path("board.toml").display().to_string()])
    }

    fn start(&self) -> Running {
        Running::start(self.command())
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        put(&self.path("films"), name, bytes);
    }

    fn put_chest_film(&self) {
        let film = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chest-pa.dcm");
        self.put("chest.dcm", &fs::read(film).expect("a fixture"));
    }

    /// Every row of the journal, oldest first; none where there is no journal yet.
    fn rows(&self) -> Vec<Recorded> {
        let Ok(journal) = Journal::open(&self.path("journal.db")) else { return Vec::new() };
        let mut rows = journal.newest(10_000).expect("it can be read");
        rows.reverse();
        rows
    }

    /// The pictures of the panel, oldest first.
    fn pictures(&self) -> Vec<PathBuf> {
        let listed = fs::read_dir(self.path("screens")).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut pictures: Vec<PathBuf> =
            listed.filter(|path| path.extension().is_some_and(|end| end == "png")).collect();
        pictures.sort();
        pictures
    }

    /// Whether a picture has the band of such a verdict at its top.
    fn shown(&self, verdict: &Verdict) -> bool {
        self.has_band(theme::band(verdict))
    }

    /// Whether a picture has a band of that colour at its top.
    fn has_band(&self, band: embedded_graphics::pixelcolor::Rgb888) -> bool {
        use embedded_graphics::prelude::RgbColor;
        self.pictures().iter().any(|picture| {
            let picture = image::open(picture).expect("a whole picture").into_rgb8();
            picture.get_pixel(1, 1).0 == [band.r(), band.g(), band.b()]
        })
    }

    /// Whether a picture has a film in it: greys in all shades, which words and signs do not have.
    fn film_is_shown(&self) -> bool {
        self.pictures().iter().any(|picture| {
            let picture = image::open(picture).expect("a whole picture").into_rgb8();
            let greys: BTreeSet<u8> = picture
                .pixels()
                .filter(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2])
                .map(|pixel| pixel[0])
                .collect();
            greys.len() > 64
        })
    }

    fn unread(&self) -> usize {
        fs::read_dir(self.path("spool/unread")).map_or(0, Iterator::count)
    }
}

#[test]
fn a_film_in_the_folder_becomes_a_verdict_whose_row_is_there_first() {
    let place = Place::new("[metrics]\nfile = 'lightbox.prom'\nevery_s = 1\n");
    let mut kiosk = place.start();
    kiosk.wait_for("shows Ready");
    place.put_chest_film();
    // The row is looked for after the picture was found: it has to be there.
    wait_until("a verdict was shown", || kiosk.log(), || place.film_is_shown());
    let rows = place.rows();
    assert_eq!(rows.len(), 1, "{}", kiosk.log());
    assert_eq!((rows[0].origin.as_str(), &rows[0].identity), ("folder", &None), "nobody is kept unasked");
    assert!(rows[0].image_sha256.is_some() && rows[0].verdict != "rejected", "{:?}", rows[0]);
    kiosk.wait_for("shows Verdict(Viewed { case: 1, page: Verdict");
    let metrics = || fs::read_to_string(place.path("lightbox.prom")).unwrap_or_default();
    let line = format!("lightbox_readings_total{{verdict=\"{}\"", rows[0].verdict);
    // A file that was written between the row and the mark in the spool still counts the film as unread.
    let counted = |metrics: &str| metrics.contains(&line) && metrics.contains("lightbox_spool_unread 0");
    wait_until("counted", metrics, || counted(&metrics()));
    assert!(kiosk.stop().success());
    assert_eq!(place.unread(), 0);
}

#[test]
fn a_refused_film_says_why_on_the_panel_and_in_the_journal() {
    let stick = "[[folders]]\npath = 'stick'\nsettle_s = 0\npoll_s = 1\nmake = true\ndrives = true\n";
    let place = Place::new(&format!("[site]\nkeep_identity = true\n{stick}"));
    let mut kiosk = place.start();
    place.put("small.png", &small_picture(1));
    kiosk.wait_for("shows Refused(Viewed { case: 1, page: Verdict");
    let rejected = Verdict::Rejected(Rejection::new(Reason::TooSmall, ""));
    wait_until("shown", || kiosk.log(), || place.shown(&rejected));
    let rows = place.rows();
    assert_eq!((rows[0].verdict.as_str(), rows[0].reason.as_deref()), ("rejected", Some("too-small")));
    // Who is on a film is kept where the site wants it.
    place.put_chest_film();
    kiosk.wait_for("as reading 2: ");
    let identity = place.rows()[1].identity.clone().expect("kept");
    assert!(!identity.sop_uid.is_empty() && !identity.study_uid.is_empty());
    assert_eq!(identity.sop_class_uid, "1.2.840.10008.5.1.4.1.1.1");
    // By which way it came is written down.
    fs::write(place.path("stick/small.png"), small_picture(2)).expect("written");
    kiosk.wait_for("as reading 3: ");
    let origins: Vec<String> = place.rows().into_iter().map(|row| row.origin).collect();
    assert_eq!(origins, ["folder", "folder", "drive"]);
    assert!(kiosk.stop().success());
}

#[test]
fn a_burst_of_films_is_read_without_the_panel_being_drawn_for_each() {
    const FILMS: u32 = 150;
    let model = bench::model_folder(1, &bundles::small_network(1));
    let place = Place::new(&format!("[reading]\nmodel = {:?}\n", model.path()));
    let mut kiosk = place.start();
    kiosk.wait_for("shows Ready");
    let (start, before) = (Instant::now(), kiosk.log().matches("shows ").count());
    for number in 0..FILMS {
        place.put(&format!("{number}.png"), &small_picture(number));
    }
    kiosk.wait_for(&format!("as reading {FILMS}: "));
    // A verdict a second, and a few times a second what counts up; each film alone has four steps.
    let (seconds, drawn) = (start.elapsed().as_secs() as usize + 1, kiosk.log().matches("shows ").count() - before);
    assert!(drawn <= 8 + 5 * seconds, "drawn {drawn} times in {seconds} s:\n{}", kiosk.log());
    assert!(kiosk.stop().success());
}

#[test]
fn a_model_that_fails_its_self_test_shows_a_fault_and_gives_no_verdict() {
    let bench = Bench::new();
    let store = bench.device();
    bench.spoil(&store);
    let place = Place::new(&format!("[models]\nstore = {store:?}\n[metrics]\nfile = 'lightbox.prom'\nevery_s = 1\n"));
    let mut kiosk = place.start();
    place.put("film.png", &film_png());
    kiosk.wait_for("fails its self-test and is not used: golden film 00: the logit of normal is ");
    kiosk.wait_for("shows Fault { trouble: Part(Model) }");
    wait_until("taken in", || kiosk.log(), || place.unread() == 1);
    let metrics = || fs::read_to_string(place.path("lightbox.prom")).unwrap_or_default();
    wait_until("counted", metrics, || metrics().contains("lightbox_self_test_passed 0"));
    // It is tried again, and says the same.
    wait_until("tried again", || kiosk.log(), || kiosk.log().matches("fails its self-test").count() >= 2);
    assert_eq!((place.rows().len(), place.unread()), (0, 1), "{}", kiosk.log());
    let fault = theme::mix(theme::GROUND, theme::of_level(lightbox::ui::Level::Fault), 0.14);
    assert!(place.has_band(fault) && !place.film_is_shown());
    assert!(kiosk.stop().success());
}

#[test]
fn every_film_is_read_once_and_no_shown_verdict_is_lost_after_any_kill() {
    const FILMS: u32 = 120;
    let place = Place::new("");
    for number in 0..FILMS {
        place.put(&format!("{number}.png"), &small_picture(number));
    }
    let (mut cut, mut shown, mut state) = (0, BTreeMap::new(), 0x2545_f491_4f6c_dd1d_u64);
    let mut logs = Vec::new();
    for _ in 0..14 {
        let before = place.rows().len();
        let mut kiosk = place.start();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // In the middle of another film each time.
        let wanted = before + 2 + (state % 9) as usize;
        let start = Instant::now();
        while place.rows().len() < wanted.min(FILMS as usize) {
            assert!(start.elapsed() < PATIENCE, "{}", kiosk.log());
            thread::yield_now();
        }
        kiosk.kill();
        cut += usize::from(place.unread() > 0);
        logs.push(kiosk.log());
    }
    let mut kiosk = place.start();
    wait_until("all were read", || kiosk.log(), || place.rows().len() >= FILMS as usize && place.unread() == 0);
    assert!(kiosk.stop().success());
    logs.push(kiosk.log());
    for log in &logs {
        for line in log.lines().filter(|line| line.contains("page: Verdict")) {
            if let Some(case) = line.split("case: ").nth(1).and_then(|rest| rest.split(',').next()) {
                *shown.entry(case.parse::<i64>().expect("a number")).or_insert(0) += 1;
            }
        }
    }
    let rows = place.rows();
    let mut images: Vec<_> = rows.iter().filter_map(|row| row.image_reference.clone()).collect();
    assert_eq!((rows.len(), images.len()), (FILMS as usize, FILMS as usize));
    images.sort();
    images.dedup();
    assert_eq!(images.len(), FILMS as usize, "a film was read twice");
    for case in shown.keys() {
        assert!(rows.iter().any(|row| row.sequence == *case), "reading {case} was shown and is lost");
    }
    let sound = Journal::open(&place.path("journal.db")).expect("there").verify().expect("it can be read");
    assert!(sound.is_ok(), "{sound:?}");
    assert!(cut > 4 && !shown.is_empty(), "too little was cut off to prove anything: {cut}, {} shown", shown.len());
}

/// A small disk; only root may have one.
struct Disk(PathBuf);

impl Disk {
    fn new(at: PathBuf, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(&at).expect("a folder");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).status();
        if mounted.is_ok_and(|status| status.success()) {
            Some(Self(at))
        } else {
            missing("the right to mount a tmpfs (run as root)");
            None
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_nearly_full_disk_takes_no_film_says_so_and_takes_them_again_once_there_is_room() {
    let place = Place::new("");
    let Some(_disk) = Disk::new(place.path("spool"), 8) else { return };
    let board = fs::read_to_string(place.path("board.toml")).expect("there");
    fs::write(place.path("board.toml"), board.replace("keep_free_mb = 0", "keep_free_mb = 4")).expect("written");
    fs::write(place.path("spool/ballast"), vec![1; 5 << 20]).expect("written");
    let mut kiosk = place.start();
    kiosk.wait_for("shows Fault { trouble: Full }");
    place.put("small.png", &small_picture(1));
    kiosk.wait_for("small.png: not taken yet");
    assert_eq!((place.rows().len(), place.unread()), (0, 0));
    fs::remove_file(place.path("spool/ballast")).expect("there");
    kiosk.wait_for("as reading 1: rejected");
    kiosk.wait_for("shows Refused(Viewed { case: 1");
    assert!(kiosk.stop().success());
}

#[test]
fn a_panel_that_fails_is_opened_again_and_films_are_read_meanwhile() {
    let place = Place::new("");
    let mut kiosk = place.start();
    kiosk.wait_for("shows Ready");
    // In one step: the panel may be writing into it.
    fs::rename(place.path("screens"), place.path("gone")).expect("there");
    place.put("small.png", &small_picture(1));
    kiosk.wait_for("panel: ");
    kiosk.wait_for("as reading 1: rejected");
    assert_eq!(place.rows().len(), 1);
    fs::create_dir(place.path("screens")).expect("a folder");
    kiosk.wait_for("panel: works again");
    wait_until("a picture", || kiosk.log(), || !place.pictures().is_empty());
    assert!(kiosk.stop().success());
}

#[test]
fn a_model_that_cannot_be_used_gives_a_fault_screen_and_no_verdict_until_it_is_put_right() {
    let model = bench::model_folder(1, &bundles::small_network(1));
    let place = Place::new(&format!("[reading]\nmodel = {:?}\n", model.path()));
    let network = fs::read(model.path().join("model.onnx")).expect("there");
    fs::write(model.path().join("model.onnx"), &network[1..]).expect("written");
    let mut kiosk = place.start();
    place.put("film.png", &film_png());
    kiosk.wait_for("shows Fault { trouble: Part(Model) }");
    wait_until("taken in", || kiosk.log(), || place.unread() == 1);
    assert_eq!(place.rows().len(), 0);
    fs::write(model.path().join("model.onnx"), &network).expect("written");
    kiosk.wait_for("model: works again");
    kiosk.wait_for("as reading 1: ");
    assert_eq!(place.rows()[0].model_version, "1.0.1");
    assert!(kiosk.stop().success());
}

/// A chest film that a network for tests reads.
fn film_png() -> Vec<u8> {
    let film = support::chest_phantom(512, 480, 7);
    let picture: image::ImageBuffer<image::Luma<u16>, _> =
        image::ImageBuffer::from_raw(film.width(), film.height(), film.greys().to_vec()).expect("sizes fit");
    let mut bytes = Vec::new();
    picture.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).expect("a picture");
    bytes
}

#[test]
fn systemd_is_told_that_it_is_ready_and_alive() {
    let place = Place::new("");
    let socket = place.path("notify");
    let notices = UnixDatagram::bind(&socket).expect("a socket");
    notices.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut command = place.command();
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "1500000");
    let mut kiosk = Running::start(command);
    let mut told = String::new();
    let mut bytes = [0; 4096];
    while told.matches("WATCHDOG=1").count() < 3
        || !told.contains("READY=1")
        || !told.contains("STATUS=ready; 0 readings")
    {
        let count = notices.recv(&mut bytes).unwrap_or_else(|error| panic!("{error}: {told}\n{}", kiosk.log()));
        told += &String::from_utf8_lossy(&bytes[..count]);
        told.push('\n');
    }
    assert!(kiosk.stop().success());
    while !told.contains("STOPPING=1") {
        let count = notices.recv(&mut bytes).unwrap_or_else(|error| panic!("{error}: {told}"));
        told += &String::from_utf8_lossy(&bytes[..count]);
    }
}

/// A kiosk in a terminal of its own, whose keys are pressed by writing to it.
struct InTerminal {
    kiosk: Running,
    keys: std::process::ChildStdin,
}

impl InTerminal {
    /// `None` where there is no `script` to make terminals with.
    fn start(place: &Place) -> Option<Self> {
        if Command::new("script").arg("--version").output().is_err() {
            missing("script (util-linux, package bsdutils)");
            return None;
        }
        // What an earlier start said is no answer to what is asked of this one.
        let _ = fs::remove_file(place.path("log"));
        let inner = format!(
            "echo $$ > {}; exec {PROGRAM} run --config {} 2> {}",
            place.path("process").display(),
            place.path("board.toml").display(),
            place.path("log").display()
        );
        let mut command = Command::new("script");
        command.args(["-qfec", &inner, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::null());
        command.env("RUST_LOG", "lightbox=debug").env_remove("LIGHTBOX_STORE").env_remove("LIGHTBOX_MODEL");
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        let mut kiosk = Running::start(command);
        let keys = kiosk.child.stdin.take().expect("a pipe");
        Some(Self { kiosk, keys })
    }

    fn log(place: &Place) -> String {
        fs::read_to_string(place.path("log")).unwrap_or_default()
    }

    /// Presses a key and waits for what it leads to, behind what the log has said so far.
    #[track_caller]
    fn press(&mut self, place: &Place, key: &str, leads_to: &str) {
        let before = Self::log(place).len();
        self.keys.write_all(key.as_bytes()).expect("a terminal");
        let log = || Self::log(place);
        wait_until(leads_to, log, || log().get(before..).is_some_and(|new| new.contains(leads_to)));
    }

    #[track_caller]
    fn wait_for(place: &Place, text: &str) {
        wait_until(text, || Self::log(place), || Self::log(place).contains(text));
    }

    /// To the camera, past the verdicts that stand in the way.
    #[track_caller]
    fn go_to_camera(&mut self, place: &Place) {
        let start = Instant::now();
        let aims = || {
            Self::log(place).lines().rfind(|line| line.contains("shows ")).is_some_and(|line| line.contains("Aiming"))
        };
        while !aims() {
            assert!(start.elapsed() < PATIENCE, "{}", Self::log(place));
            let before = Self::log(place).len();
            self.keys.write_all(SELECT.as_bytes()).expect("a terminal");
            let answered = Instant::now();
            while answered.elapsed() < Duration::from_secs(2)
                && !Self::log(place).get(before..).is_some_and(|new| new.contains("shows "))
            {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// As a power cut ends it.
    fn kill(mut self, place: &Place) {
        let process = fs::read_to_string(place.path("process")).expect("its number");
        let killed = Command::new("kill").args(["-KILL", process.trim()]).status();
        assert!(killed.expect("kill").success());
        self.kiosk.child.wait().expect("it has ended");
    }

    /// Ctrl-C, as a person ends it.
    fn end(mut self) {
        self.keys.write_all(b"\x03").expect("a terminal");
        assert!(self.kiosk.child.wait().expect("it has ended").success());
    }
}

const NEXT: &str = "\x1b[C";
const SELECT: &str = "\r";

#[test]
fn cases_are_reviewed_and_a_language_is_chosen_with_two_keys() {
    let place = Place::new("[keyboard]\ndevice = 'terminal'\n");
    let Some(mut kiosk) = InTerminal::start(&place) else { return };
    InTerminal::wait_for(&place, "shows Ready");
    place.put("small.png", &small_picture(1));
    InTerminal::wait_for(&place, "shows Refused(Viewed { case: 1");
    kiosk.press(&place, SELECT, "shows Ready");
    place.put("chest.png", &film_png());
    InTerminal::wait_for(&place, "as reading 2: ");
    InTerminal::wait_for(&place, "case: 2");
    kiosk.press(&place, SELECT, "shows Ready");
    kiosk.press(&place, NEXT, "shows Review(List { at: 0, of: 2 })");
    kiosk.press(&place, NEXT, "shows Review(List { at: 1, of: 2 })");
    let pictures = place.pictures().len();
    kiosk.press(&place, SELECT, "shows Review(Case { at: 1, of: 2, refused: true, page: Verdict })");
    // It is shown as it was shown then.
    wait_until("a picture", || InTerminal::log(&place), || place.pictures().len() > pictures);
    kiosk.press(&place, NEXT, "page: Details");
    kiosk.press(&place, NEXT, "shows Review(List { at: 1, of: 2 })");
    kiosk.press(&place, NEXT, "shows Ready");
    kiosk.press(&place, SELECT, "shows Settings { marked: English }");
    kiosk.press(&place, NEXT, "shows Settings { marked: French }");
    kiosk.press(&place, SELECT, "shows Ready");
    assert_eq!(Settings::at(&place.path("settings.toml")).language(), Some(Language::French));
    kiosk.end();
    // It speaks so after a restart, whatever the board file says.
    let Some(mut kiosk) = InTerminal::start(&place) else { return };
    wait_until("started", || InTerminal::log(&place), || InTerminal::log(&place).contains("shows Ready"));
    kiosk.press(&place, SELECT, "shows Settings { marked: French }");
    kiosk.end();
}

#[test]
fn a_model_on_a_drive_is_offered_tried_kept_and_read_with() {
    let bench = Bench::new();
    let store = bench.device();
    let place = Place::new(&format!(
        "[keyboard]\ndevice = 'terminal'\n[models]\nstore = {store:?}\n[updates]\nfrom = 'drive'\n"
    ));
    fs::create_dir_all(place.path("drive/stick")).expect("a folder");
    let Some(mut kiosk) = InTerminal::start(&place) else { return };
    InTerminal::wait_for(&place, "shows Ready");
    place.put("film.png", &film_png());
    InTerminal::wait_for(&place, "as reading 1: ");
    InTerminal::wait_for(&place, "case: 1");
    assert_eq!(place.rows()[0].model_version, "1.0.1");
    kiosk.press(&place, SELECT, "shows Ready");
    let second = bench.bundle(2);
    fs::copy(format!("{second}.minisig"), place.path("drive/stick/2.lbx.minisig")).expect("copied");
    fs::copy(&second, place.path("drive/stick/2.lbx")).expect("copied");
    InTerminal::wait_for(&place, "example 1.0.2 can be installed");
    kiosk.press(&place, SELECT, "shows Update { page: Summary }");
    kiosk.press(&place, NEXT, "shows Update { page: Figures }");
    kiosk.press(&place, NEXT, "shows Update { page: Differences }");
    kiosk.press(&place, SELECT, "installing");
    InTerminal::wait_for(&place, "on trial");
    // Nothing is swapped before a person says so.
    place.put("other.png", &small_picture(3));
    InTerminal::wait_for(&place, "as reading 2: ");
    assert_eq!(place.rows()[1].model_version, "1.0.1");
    assert_eq!(status(&store)["slots"]["b"]["state"], "trial");
    kiosk.end();
    works(&["rollback", "--store", &store]);

    // Once more, and kept.
    let Some(mut kiosk) = InTerminal::start(&place) else { return };
    InTerminal::wait_for(&place, "example 1.0.2 can be installed");
    InTerminal::wait_for(&place, "shows Ready");
    kiosk.press(&place, SELECT, "shows Update { page: Summary }");
    kiosk.press(&place, NEXT, "shows Update { page: Figures }");
    kiosk.press(&place, NEXT, "shows Update { page: Differences }");
    kiosk.press(&place, SELECT, "on trial");
    kiosk.press(&place, SELECT, "reading with example 1.0.2");
    kiosk.press(&place, SELECT, "shows Ready");
    place.put("third.png", &small_picture(4));
    InTerminal::wait_for(&place, "as reading 3: ");
    assert_eq!(place.rows()[2].model_version, "1.0.2");
    assert_eq!(status(&store)["confirmed"], "b");
    kiosk.end();
}

#[test]
fn a_board_file_is_checked_and_a_board_examined() {
    let run = |arguments: &[&str]| Command::new(PROGRAM).args(arguments).output().expect("the program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let boards = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("board")).expect("a folder");
    let boards: Vec<_> =
        boards.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some("toml".as_ref())).collect();
    assert!(!boards.is_empty());
    for board in boards {
        let output = run(&["board", "check", &board.display().to_string()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let place = Place::new("[watchdog]\ndevice = '/no/such/watchdog'\n");
    let board = place.path("board.toml").display().to_string();
    let output = run(&["board", "check", &board]);
    assert!(text(&output.stdout).contains("warning: watchdog.device: /no/such/watchdog is not there: connect it"));
    let output = run(&["doctor", "--config", &board, "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), found["worst"].as_str()), (Some(1), Some("fault")), "{found}");
    place.write("");
    let output = run(&["doctor", "--config", &board]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}{}", text(&output.stderr));
    for part in
        ["panel: takes pictures of 320 × 240", "keys: none are configured", "storage speed: ", "model: ", "clock: "]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    place.write("[colour]\n");
    let output = run(&["board", "check", &board]);
    let told = text(&output.stderr);
    assert!(
        output.status.code() == Some(1) && told.contains("line 18") && told.contains("unknown field `colour`"),
        "{told}"
    );
}
