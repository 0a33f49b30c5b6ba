//! Films from folders and removable drives, taken by the real program: once each, whatever happens in between.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::listening::{Listening, Place};
use crate::peers::missing;

/// A place whose configuration names a folder.
struct Watched {
    place: Place,
    folder: PathBuf,
}

impl Watched {
    fn new(more: &str) -> Self {
        let place = Place::new("");
        let folder = place.config.parent().expect("a folder").join("films");
        fs::create_dir(&folder).expect("a folder");
        let text = fs::read_to_string(&place.config).expect("a configuration");
        let table = format!("{more}\n[[folders]]\npath = {folder:?}\nsettle_s = 0\npoll_s = 1\n");
        fs::write(&place.config, text + &table).expect("written");
        Self { place, folder }
    }

    /// The contents that were kept, each of which has to be there once.
    fn kept(&self) -> BTreeSet<Vec<u8>> {
        let paths = self.place.unread();
        let contents: BTreeSet<_> = paths.iter().map(|path| fs::read(path).expect("a kept file")).collect();
        assert_eq!(contents.len(), paths.len(), "a content was kept twice");
        contents
    }

    #[track_caller]
    fn wait_for(&self, count: usize, listening: &Listening) {
        let start = Instant::now();
        while self.place.unread().len() < count {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "{} of {count}:\n{}",
                self.kept().len(),
                listening.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What begins as a DICOM file does, of about `bytes`, different for each number.
fn film(number: usize, bytes: usize) -> Vec<u8> {
    let mut film = vec![0; 128];
    film.extend(b"DICM\x02\0\0\0UL\x04\0\0\0\0\0");
    film.extend(number.to_string().bytes().cycle().take(bytes));
    film.extend(format!("film {number}").bytes());
    film
}

/// Puts a file there at once, as a copy that is renamed when it is whole.
#[track_caller]
fn put(path: PathBuf, bytes: &[u8]) {
    let part = path.with_file_name(".part");
    fs::write(&part, bytes).expect("written");
    fs::rename(part, path).expect("renamed");
}

#[test]
fn films_that_are_put_into_a_folder_are_taken_once() {
    let watched = Watched::new("");
    put(watched.folder.join("before.dcm"), &film(1, 1000));
    let mut listening = watched.place.start();
    watched.wait_for(1, &listening);
    fs::create_dir_all(watched.folder.join("patient/study")).unwrap();
    put(watched.folder.join("patient/study/I0001"), &film(2, 3_000_000));
    put(watched.folder.join("copy-of-the-first"), &film(1, 1000));
    fs::write(watched.folder.join("report.pdf"), b"%PDF-1.7").unwrap();
    watched.wait_for(2, &listening);
    assert_eq!(watched.kept(), BTreeSet::from([film(1, 1000), film(2, 3_000_000)]));
    listening.wait_for("patient/study/I0001 (3001 kB)");
    assert!(listening.stop().success());
    // Nothing is written there and nothing taken away.
    assert_eq!(fs::read_dir(&watched.folder).unwrap().count(), 4);

    let listening = watched.place.start();
    put(watched.folder.join("after.dcm"), &film(3, 10));
    watched.wait_for(3, &listening);
    assert_eq!(watched.kept().len(), 3);
}

#[test]
fn a_program_that_is_killed_while_it_takes_films_takes_each_once() {
    const FILMS: usize = 60;
    let watched = Watched::new("");
    for number in 0..FILMS {
        fs::write(watched.folder.join(format!("{number}.dcm")), film(number, 200_000)).unwrap();
    }
    let mut cut = 0;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..25 {
        let mut listening = watched.place.start();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        thread::sleep(Duration::from_micros(state % 30_000));
        listening.kill();
        let kept = watched.kept().len();
        cut += usize::from(kept < FILMS);
    }
    let listening = watched.place.start();
    watched.wait_for(FILMS, &listening);
    let expected: BTreeSet<_> = (0..FILMS).map(|number| film(number, 200_000)).collect();
    assert_eq!(watched.kept(), expected);
    assert!(cut > 1, "too little was cut off to prove anything: {cut}");
}

/// A folder that is seen in another place, as a drive is; only root may do that.
struct Mounted(PathBuf);

impl Mounted {
    fn new(drive: &Path, at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").arg("--bind").args([drive, at]).status();
        if !mounted.is_ok_and(|status| status.success()) {
            missing("the right to mount a folder (run as root)");
            return None;
        }
        let mounted = Self(at.to_owned());
        let read_only = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(at).status();
        assert!(read_only.expect("mount").success());
        Some(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // As a drive that is pulled out: at once, whoever uses it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_drive_that_is_pulled_out_and_put_back_loses_nothing() {
    const FILMS: usize = 40;
    let watched = Watched::new("");
    let drive = tempfile::tempdir().unwrap();
    for number in 0..FILMS {
        fs::write(drive.path().join(format!("{number}.dcm")), film(number, 400_000)).unwrap();
    }
    fs::write(drive.path().join("DICOMDIR"), film(999, 10)).unwrap();
    let at = watched.folder.join("stick");
    fs::create_dir(&at).unwrap();
    let listening = watched.place.start();
    let mut pulled = 0;
    for count in [1, 7, 15, FILMS] {
        let Some(mounted) = Mounted::new(drive.path(), &at) else { return };
        watched.wait_for(count, &listening);
        drop(mounted);
        pulled += usize::from(watched.kept().len() < FILMS);
    }
    let expected: BTreeSet<_> = (0..FILMS).map(|number| film(number, 400_000)).collect();
    assert_eq!(watched.kept(), expected);
    assert_eq!(watched.place.incoming().len(), 0);
    assert!(pulled > 0, "it was never pulled out half way");
}
