//! A folder or drive with whatever is on it: the input is a list of files, each with a byte that chooses its name, two
//! for its length, and its content. Each film is taken once, as it is, and the folder stays as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lightbox::adapters::folders::FolderSource;
use lightbox::adapters::spool::{Reserve, Spool};
use lightbox::config::FolderConfig;
use tempfile::TempDir;

const NAMES: [&str; 12] = [
    "a.dcm",
    "DICOMDIR",
    "IM000001",
    "sub/IM000001",
    "sub/dicomdir",
    "sub/sub/thumb.jpg",
    ".hidden",
    ".sub/film.png",
    "film.png",
    "film.dcm.part",
    "e\u{301}\u{202e}gnp.mlif",
    "a folder/with; $(things) in its name",
];

/// In memory where that can be had, as the spool flushes all that it keeps.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// What lies where.
fn all(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            match entry.file_type().expect("a kind").is_dir() {
                true => folders.push(entry.path()),
                false => drop(files.insert(entry.path(), fs::read(entry.path()).expect("a file"))),
            }
        }
    }
    files
}

/// Whether anything was taken.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let (drive, place) = (folder(), folder());
    let mut rest = bytes;
    while let Some(([name, low, high], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        let path = drive.path().join(NAMES[usize::from(*name) % NAMES.len()]);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, &after[..length]).expect("written");
        rest = &after[length..];
    }
    let before = all(drive.path());
    let spool = Spool::open(place.path(), Reserve { bytes: 0, percent: 0 }).expect("a spool");
    let (settle, poll) = (Duration::ZERO, Duration::from_secs(5));
    let mut source =
        FolderSource::new(FolderConfig { path: drive.path().to_owned(), settle, poll, make: false, drives: false });
    // A file is taken when it is seen unchanged.
    for _ in 0..4 {
        source.look(&spool, &AtomicBool::new(false));
    }
    let mut taken: Vec<Vec<u8>> = Vec::new();
    while let Some((stored, path)) = spool.first_unread() {
        assert!(!stored.differs && path.starts_with(place.path()));
        taken.push(fs::read(&path).expect("what is queued is there"));
        spool.mark_read(&stored).expect("it is marked");
    }
    assert!(taken.iter().all(|content| before.values().any(|file| file == content)), "a content that is on no file");
    let count = taken.len();
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), count, "a content was taken twice");
    assert_eq!(all(drive.path()), before, "the folder was written to");
    count > 0
}
