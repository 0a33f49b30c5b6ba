//! Films that the kiosk photographs: the camera is a program, as `rpicam-still` is, that gives photographs made by code.

use lightbox::adapters::file::{Limits, read_film};
use lightbox::domain::GreyImage;

use super::support::photograph::{Fault, Shot, photograph};
use super::*;

/// The camera: gives `shot.jpg`, or `look.jpg` to aim by, or does what `mode` says. No two photographs are the same.
const CAMERA: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
case $(cat mode) in
hang) while [ "$(cat mode)" = hang ]; do sleep 0.1; done; exit 1 ;;
die) echo 'no cameras available' >&2; exit 1 ;;
garbage) head -c 3000 /dev/urandom; exit ;;
esac
[ "$1" = look ] && exec cat look.jpg
cat shot.jpg
number=$(($(cat number) + 1))
echo $number > number
printf %08d $number
"#;

/// A kiosk's place with a camera.
struct Studio {
    place: Place,
    film: GreyImage,
}

impl Studio {
    fn new(timeout_s: u32, more: &str) -> Self {
        let film = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chest-pa.dcm");
        let film = read_film(&film, &Limits::default()).expect("a fixture").image;
        let place = Place::new(&format!("[keyboard]\ndevice = 'terminal'\n{more}[camera]\ntimeout_s = {timeout_s}\n"));
        let studio = Self { place, film };
        let script = studio.place.path("camera");
        let board = fs::read_to_string(studio.place.path("board.toml")).expect("there");
        let words = format!("command = ['sh', {script:?}, 'shoot']\nlook = ['sh', {script:?}, 'look']\n");
        fs::write(studio.place.path("board.toml"), board + &words).expect("written");
        for (name, text) in [("camera", CAMERA), ("mode", "good"), ("number", "0")] {
            studio.set(name, text.as_bytes());
        }
        studio
    }

    /// In one step: the camera may be reading it.
    fn set(&self, name: &str, bytes: &[u8]) {
        let part = self.place.path("part");
        fs::write(&part, bytes).expect("written");
        fs::rename(part, self.place.path(name)).expect("renamed");
    }

    /// What the camera sees from now on, with care or spoilt.
    fn show(&self, fault: Option<Fault>) {
        let shot = fault.map_or_else(|| Shot::careful(3), |fault| Shot::spoilt(3, fault, &self.film));
        let film = (fault != Some(Fault::Missing)).then_some(&self.film);
        self.set("shot.jpg", &photograph(film, &shot, 3));
        let small = Shot { size: [800, 600], blur: shot.blur / 2.0, shake: shot.shake / 2, ..shot };
        self.set("look.jpg", &photograph(film, &small, 3));
    }
}

impl Place {
    /// Waits for the verdict on a film that was photographed here.
    #[track_caller]
    fn wait_for_photograph(&self, shown: &str) {
        let is_it = |line: &str| line.contains(shown) && line.contains("photographed: true");
        wait_until(shown, || InTerminal::log(self), || InTerminal::log(self).lines().any(is_it));
    }
}

#[test]
fn a_film_is_photographed_with_two_keys_and_read_like_any_other() {
    let studio = Studio::new(60, "");
    let place = &studio.place;
    studio.show(Some(Fault::Far));
    let Some(mut kiosk) = InTerminal::start(place) else { return };
    InTerminal::wait_for(place, "shows Ready");
    kiosk.press(place, SELECT, "shows Camera(Aiming)");
    // What is wrong is said before the shot, on the camera's own picture.
    InTerminal::wait_for(place, "the camera sees film-too-far");
    wait_until("the camera's picture", || InTerminal::log(place), || place.film_is_shown());
    studio.show(None);
    InTerminal::wait_for(place, "the camera sees a film that can be read");
    assert_eq!(place.rows().len(), 0, "nothing was taken yet");
    kiosk.press(place, SELECT, "shows Camera(Taking)");
    InTerminal::wait_for(place, "as reading 1: ");
    place.wait_for_photograph("shows Verdict(Viewed { case: 1,");
    let row = &place.rows()[0];
    assert_eq!((row.origin.as_str(), row.reason.as_deref() == Some("rejected")), ("camera", false));
    assert!(row.verdict != "rejected" && row.image_reference.as_ref().is_some_and(|name| name.ends_with(".photo")));
    assert!(row.remarks.iter().any(|remark| remark.starts_with("photographed film, set straight")), "{row:?}");
    kiosk.press(place, SELECT, "shows Ready");
    // Everything else is one key further than without a camera.
    kiosk.press(place, NEXT, "shows Menu { marked: Review }");
    kiosk.press(place, SELECT, "shows Review(List { at: 0, of: 1 })");
    kiosk.press(place, SELECT, "shows Review(Case { at: 0, of: 1, refused: false, page: Verdict })");
    kiosk.end();
}

#[test]
fn a_photograph_that_cannot_be_read_is_refused_with_its_hint_and_taken_again_by_one_key() {
    let studio = Studio::new(60, "");
    let place = &studio.place;
    let faults = [Fault::Glare, Fault::Missing, Fault::Blurred, Fault::Dark];
    studio.show(Some(faults[0]));
    let Some(mut kiosk) = InTerminal::start(place) else { return };
    InTerminal::wait_for(place, "shows Ready");
    kiosk.press(place, SELECT, "shows Camera(Aiming)");
    for (index, fault) in faults.into_iter().enumerate() {
        studio.show(Some(fault));
        // Nobody is kept from taking it all the same.
        let sees = format!("the camera sees {}", fault.reason());
        let last = || InTerminal::log(place).lines().rfind(|line| line.contains("the camera sees")).map(str::to_owned);
        wait_until(&sees, || InTerminal::log(place), || last().is_some_and(|line| line.ends_with(&sees)));
        kiosk.press(place, SELECT, "shows Camera(Taking)");
        place.wait_for_photograph(&format!("shows Refused(Viewed {{ case: {},", index + 1));
        let row = &place.rows()[index];
        assert_eq!((row.origin.as_str(), row.reason.as_deref()), ("camera", Some(fault.reason().code())), "{row:?}");
        kiosk.press(place, SELECT, "shows Camera(Aiming)");
    }
    let rejected = Verdict::Rejected(Rejection::new(Reason::FilmGlare, ""));
    assert!(place.shown(&rejected) && place.film_is_shown(), "the reason, and the photograph that was refused");
    studio.show(None);
    kiosk.press(place, SELECT, "as reading 5: ");
    assert_ne!(place.rows()[4].verdict, "rejected");
    kiosk.end();
}

#[test]
fn a_camera_that_hangs_dies_or_gives_garbage_is_a_fault_of_its_own_and_opened_again() {
    let model = bench::model_folder(1, &bundles::small_network(1));
    let small = format!("[reading]\nmodel = {:?}\n", model.path());
    let studio = Studio::new(60, &small);
    let place = &studio.place;
    studio.show(None);
    studio.set("mode", b"hang");
    let Some(mut kiosk) = InTerminal::start(place) else { return };
    InTerminal::wait_for(place, "shows Ready");
    kiosk.press(place, SELECT, "shows Camera(Aiming)");
    // Nobody waits for it: keys do what they say, and films from elsewhere are read.
    kiosk.press(place, NEXT, "shows Ready");
    place.put("small.png", &small_picture(1));
    InTerminal::wait_for(place, "as reading 1: rejected");
    assert!(!InTerminal::log(place).contains("gave no picture"), "{}", InTerminal::log(place));
    studio.set("mode", b"die");
    InTerminal::wait_for(place, "shows Refused(Viewed { case: 1,");
    kiosk.press(place, SELECT, "shows Ready");
    kiosk.press(place, SELECT, "shows Camera(Aiming)");
    InTerminal::wait_for(place, "no cameras available; it is opened again");
    // The fault screen, which says so, has another band than the camera's.
    let fault = theme::mix(theme::GROUND, theme::of_level(lightbox::ui::Level::Fault), 0.14);
    wait_until("a fault screen", || InTerminal::log(place), || place.has_band(fault));
    studio.set("mode", b"good");
    kiosk.press(place, SELECT, "camera: works again");
    // What is no picture is kept and answered like any other file that is none.
    studio.set("mode", b"garbage");
    kiosk.press(place, SELECT, "shows Camera(Taking)");
    InTerminal::wait_for(place, "as reading 2: rejected");
    let row = &place.rows()[1];
    assert_eq!((row.origin.as_str(), row.reason.as_deref()), ("camera", Some("unknown-format")));
    kiosk.end();
    // One that is given less time than it takes.
    let board = fs::read_to_string(place.path("board.toml")).expect("there");
    fs::write(place.path("board.toml"), board.replace("timeout_s = 60", "timeout_s = 1")).expect("written");
    studio.set("mode", b"hang");
    let Some(mut kiosk) = InTerminal::start(place) else { return };
    InTerminal::wait_for(place, "shows Ready");
    kiosk.press(place, SELECT, "shows Camera(Aiming)");
    InTerminal::wait_for(place, "look gave no picture within 1 s; it is opened again");
    studio.set("mode", b"good");
    InTerminal::wait_for(place, "camera: works again");
    kiosk.press(place, SELECT, "as reading 3: ");
    kiosk.end();
}

#[test]
fn a_photograph_that_was_taken_is_read_exactly_once_whenever_the_kiosk_is_killed() {
    let model = bench::model_folder(1, &bundles::small_network(1));
    let studio = Studio::new(60, &format!("[reading]\nmodel = {:?}\n", model.path()));
    let place = &studio.place;
    studio.show(None);
    let (mut taken, mut cut) = (Vec::new(), 0);
    for moment in ["shows Camera(Taking)", "took a photograph", "shows Reading", "as reading ", "shows "] {
        for pause_ms in [0, 40] {
            let Some(mut kiosk) = InTerminal::start(place) else { return };
            InTerminal::wait_for(place, "ready: ");
            // What an earlier kill left in the queue is read first, and its verdict stands in the way.
            wait_until("nothing waits", || InTerminal::log(place), || place.unread() == 0);
            InTerminal::wait_for(place, "shows ");
            kiosk.go_to_camera(place);
            kiosk.press(place, SELECT, moment);
            thread::sleep(Duration::from_millis(pause_ms));
            kiosk.kill(place);
            cut += usize::from(place.unread() > 0);
            let log = InTerminal::log(place);
            let names = log.lines().filter_map(|line| line.split_once("took a photograph, kept as "));
            taken.extend(names.map(|(_, name)| name.trim().to_owned()));
        }
    }
    let Some(kiosk) = InTerminal::start(place) else { return };
    InTerminal::wait_for(place, "ready: ");
    wait_until("all were read", || InTerminal::log(place), || place.unread() == 0);
    kiosk.end();
    let rows = place.rows();
    let mut read: Vec<String> = rows.iter().filter_map(|row| row.image_reference.clone()).collect();
    assert_eq!(read.len(), rows.len());
    read.sort();
    let before = read.len();
    read.dedup();
    assert_eq!(read.len(), before, "a photograph was read twice: {rows:?}");
    for name in &taken {
        assert!(read.contains(name), "{name} was taken and is lost: {read:?}");
    }
    let sound = Journal::open(&place.path("journal.db")).expect("there").verify().expect("it can be read");
    assert!(sound.is_ok(), "{sound:?}");
    assert!(taken.len() >= 6 && cut > 0, "too little was cut off to prove anything: {} taken, {cut} cut", taken.len());
}

#[test]
fn the_doctor_takes_a_photograph() {
    let studio = Studio::new(20, "");
    let board = studio.place.path("board.toml").display().to_string();
    let doctor = || {
        let output =
            Command::new(PROGRAM).args(["doctor", "--config", &board, "--json"]).output().expect("the program");
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = said["findings"].as_array().expect("a list").clone();
        findings.into_iter().find(|finding| finding["part"] == "camera").expect("it asks the camera")
    };
    studio.show(None);
    let found = doctor();
    let told = found["found"].as_str().expect("words");
    assert_eq!(found["severity"], "good", "{found}");
    assert!(
        told.starts_with("a photograph of 1600 × 1200 pixels, ") && told.ends_with(" ms: a film that can be read"),
        "{told}"
    );
    studio.set("mode", b"die");
    let found = doctor();
    assert_eq!(found["severity"], "fault");
    assert!(found["found"].as_str().is_some_and(|told| told.contains("no cameras available")), "{found}");
    assert!(found["advice"].as_str().is_some_and(|told| told.contains("stop the kiosk before the doctor")), "{found}");
    studio.set("mode", b"garbage");
    assert!(doctor()["found"].as_str().is_some_and(|told| told.contains("is no picture: unknown-format")));
}
