//! Films from folders and removable drives, copied into the spool: each content once, for good.
//!
//! A folder is looked through when the kernel says that something happened there (inotify), when something was mounted
//! or unmounted, and at intervals in case neither is told. Nothing is ever written to it. A file is taken when it has
//! not changed for a while; one that goes on growing afterwards is another content and is taken again. Whatever goes
//! wrong while a file is read leaves it for the next look: a drive that is pulled out half way loses nothing.
//!
//! Where a folder holds a DICOMDIR (PS3.10 8.6), it is a DICOM medium: below it only DICOM files are taken, and neither
//! the viewers nor the previews that come with it. The files are found by looking, not by parsing the DICOMDIR.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, Timespec, inotify};
use sha2::{Digest, Sha256};

use super::spool::{Kept, Spool, SpoolError};
use super::{dicom, file, picture};
use crate::config::FolderConfig;
use crate::domain::Reason;

/// Folders within folders that are looked into.
const DEEPEST: usize = 16;
/// Files and folders that are looked at below one folder.
const MOST_ENTRIES: usize = 200_000;
/// Folders that the kernel is asked to watch; it allows 8192 to a user.
const MOST_WATCHES: usize = 4096;
/// How often it is looked whether the program is to end.
const LOOK: Duration = Duration::from_millis(200);
/// Events that come together are answered by one look.
const GATHER: Duration = Duration::from_millis(50);
/// Until a file that could not be read is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// Bytes of a file that say what it is.
const FIRST_BYTES: u64 = 1024;
const PIECE: usize = 256 << 10;

/// Says when mounts change (proc(5)).
const MOUNTS: &str = "/proc/self/mounts";
const DICOMDIR: &str = "DICOMDIR";

/// What tells whether a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(about: &Metadata) -> Self {
        let modified = (about.mtime(), about.mtime_nsec());
        Self { device: about.dev(), inode: about.ino(), bytes: about.len(), modified }
    }
}

/// A file that was left where it lay, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// Why it is none that can be read; `None` where the same content was taken before.
    pub reason: Option<Reason>,
}

/// What became of a file that was looked at.
#[derive(Debug)]
enum Took {
    /// It lies in the spool.
    Film,
    /// It stays where it is: for that reason, or because the same content was taken before.
    Nothing(Option<Reason>),
}

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Not to be taken before then.
    Waits(Instant),
    /// Taken, or nothing to take.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    stamp: Stamp,
    state: State,
    /// The look that it was last seen in.
    look: u64,
    /// Nobody has just put it there: it lay there when this source began to look.
    old: bool,
}

/// Why a file was left for later.
#[derive(Debug, thiserror::Error)]
enum Later {
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("{0}")]
    Spool(#[from] SpoolError),
    #[error("it changes while it is read")]
    Changing,
}

/// One folder that films are taken from.
#[derive(Debug)]
pub struct FolderSource {
    config: FolderConfig,
    seen: HashMap<PathBuf, Seen>,
    looks: u64,
    /// `None` where the kernel has no inotify.
    inotify: Option<OwnedFd>,
    watched: usize,
    /// The spool took nothing in this look: no more is tried.
    blocked: bool,
    /// Who wants to know what is left where it lies.
    told: Option<Sender<LeftOut>>,
}

impl FolderSource {
    /// A source that has not looked yet; the folder need not be there.
    pub fn new(config: FolderConfig) -> Self {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let inotify = inotify::init(flags).inspect_err(|error| {
            log::warn!("{}: changes are found by looking only: {error}", config.path.display());
        });
        Self { config, seen: HashMap::new(), looks: 0, inotify: inotify.ok(), watched: 0, blocked: false, told: None }
    }

    /// Tells of the files that somebody puts there and that are left where they lie; of a drive's other files nothing.
    #[must_use]
    pub fn telling(self, told: Sender<LeftOut>) -> Self {
        Self { told: Some(told), ..self }
    }

    fn tell(&self, path: &Path, reason: Option<Reason>) {
        if self.config.drives && reason == Some(Reason::UnknownFormat) {
            return;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(told) = &self.told {
            // Nobody listens any more when the program ends.
            let _ = told.send(LeftOut { name, reason });
        }
    }

    /// Copies films into `spool` until `ending`.
    pub fn take_until(&mut self, spool: &Spool, ending: &AtomicBool) {
        let path = self.config.path.display();
        if self.config.make
            && let Err(error) = fs::create_dir_all(&self.config.path)
        {
            log::error!("cannot make the folder {path}: {error}");
        }
        log::info!("films are also taken from {path}");
        // Where there is none, looking at intervals has to do.
        let mounts = File::open(MOUNTS).ok();
        while !ending.load(Ordering::Relaxed) {
            let settled = self.look(spool, ending);
            let next = settled.map_or(self.config.poll, |settled| settled.min(self.config.poll));
            self.wait(next, mounts.as_ref(), ending);
        }
    }

    /// Waits until something happens in the folder, at most for `longest`.
    fn wait(&self, longest: Duration, mounts: Option<&File>, ending: &AtomicBool) {
        let start = Instant::now();
        while start.elapsed() < longest && !ending.load(Ordering::Relaxed) {
            let mut events: Vec<PollFd<'_>> = Vec::new();
            events.extend(self.inotify.as_ref().map(|inotify| PollFd::new(inotify, PollFlags::IN)));
            events.extend(mounts.map(|mounts| PollFd::new(mounts, PollFlags::PRI)));
            let pause = longest.saturating_sub(start.elapsed()).min(LOOK);
            let pause = Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
            match poll(&mut events, Some(&pause)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => {
                    std::thread::sleep(GATHER);
                    break;
                }
                // Nothing can be waited for: the interval has to do.
                Err(_) => std::thread::sleep(LOOK),
            }
        }
        // What the events are does not matter: every file is looked at.
        if let Some(inotify) = &self.inotify {
            let mut bytes = [0; 4096];
            while rustix::io::read(inotify, &mut bytes).is_ok_and(|count| count > 0) {}
        }
    }

    /// Looks at every file once and takes those that are whole; gives when to look again at those that may not be, `None`
    /// where there are none or it was stopped by `ending`.
    pub fn look(&mut self, spool: &Spool, ending: &AtomicBool) -> Option<Duration> {
        self.looks += 1;
        (self.watched, self.blocked) = (0, false);
        let mut entries = 0;
        let mut earliest: Option<Duration> = None;
        let mut folders = vec![(self.config.path.clone(), 0, false)];
        while let Some((folder, depth, on_medium)) = folders.pop() {
            self.watch(&folder);
            // Not there, or no longer: a drive that is not plugged in.
            let Ok(listed) = fs::read_dir(&folder) else { continue };
            let listed: Vec<_> = listed.map_while(Result::ok).take(MOST_ENTRIES - entries).collect();
            entries += listed.len();
            let is_medium = on_medium || listed.iter().any(|entry| entry.file_name().eq_ignore_ascii_case(DICOMDIR));
            for entry in listed {
                if ending.load(Ordering::Relaxed) {
                    return None;
                }
                let name = entry.file_name();
                // Hidden files are the system's own; links may lead anywhere.
                if name.as_encoded_bytes().starts_with(b".") || name.eq_ignore_ascii_case(DICOMDIR) {
                    continue;
                }
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && depth < DEEPEST => folders.push((entry.path(), depth + 1, is_medium)),
                    Ok(kind) if kind.is_file() => {
                        if let Some(pause) = self.look_at(&entry.path(), is_medium, spool) {
                            earliest = Some(earliest.map_or(pause, |earliest| earliest.min(pause)));
                        }
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
        // Files that have gone are forgotten; their contents are not.
        let look = self.looks;
        self.seen.retain(|_, seen| seen.look == look);
        earliest
    }

    fn watch(&mut self, folder: &Path) {
        let Some(inotify) = self.inotify.as_ref().filter(|_| self.watched < MOST_WATCHES) else { return };
        let events = inotify::WatchFlags::CLOSE_WRITE | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        // It fails for a folder that has gone; looking at intervals covers the rest.
        if inotify::add_watch(inotify, folder, events | inotify::WatchFlags::ONLYDIR).is_ok() {
            self.watched += 1;
        }
    }

    /// Takes the file if it is whole; gives when to look at it again if it may not be.
    fn look_at(&mut self, path: &Path, on_medium: bool, spool: &Spool) -> Option<Duration> {
        let stamp = Stamp::of(&fs::symlink_metadata(path).ok()?);
        let (settle, look) = (self.config.settle, self.looks);
        let known = self.seen.get(path).filter(|seen| seen.stamp == stamp);
        let old = known.map_or(look == 1, |seen| seen.old);
        let state = match known.map(|seen| seen.state) {
            None => State::Waits(Instant::now() + settle),
            Some(State::Done) => State::Done,
            Some(State::Waits(until)) if Instant::now() < until => State::Waits(until),
            Some(State::Waits(_)) if self.blocked => State::Waits(Instant::now() + RETRY),
            Some(State::Waits(_)) => match take(path, stamp, on_medium, self.config.drives, spool) {
                Ok(Took::Film) => State::Done,
                Ok(Took::Nothing(reason)) => {
                    if !old {
                        self.tell(path, reason);
                    }
                    State::Done
                }
                Err(later) => {
                    log::warn!("{}: not taken yet: {later}", path.display());
                    self.blocked = matches!(later, Later::Spool(_));
                    State::Waits(Instant::now() + RETRY.max(settle))
                }
            },
        };
        self.seen.insert(path.to_owned(), Seen { stamp, state, look, old });
        match state {
            State::Done => None,
            State::Waits(until) => Some(until.saturating_duration_since(Instant::now())),
        }
    }
}

/// Opens a regular file for reading, without leaving a trace where that is allowed.
fn open(path: &Path) -> io::Result<File> {
    let plain = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let with = |flags: OFlags| OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path);
    // Only the owner of a file may leave its access time as it was.
    with(plain | OFlags::NOATIME).or_else(|_| with(plain))
}

/// Copies one file into the spool, where it is a film and new.
fn take(path: &Path, stamp: Stamp, on_medium: bool, from_drive: bool, spool: &Spool) -> Result<Took, Later> {
    let mut file = open(path)?;
    let about = file.metadata()?;
    if Stamp::of(&about) != stamp {
        return Err(Later::Changing);
    }
    let most = file::Limits::default().file_bytes;
    if !about.is_file() || stamp.bytes == 0 || stamp.bytes > most {
        log::warn!("{}: not taken: {} bytes, expected a file of 1 to {most}", path.display(), stamp.bytes);
        return Ok(Took::Nothing(Some(match stamp.bytes {
            _ if !about.is_file() => Reason::NotAFile,
            0 => Reason::EmptyFile,
            _ => Reason::FileTooLarge,
        })));
    }
    let mut first = Vec::new();
    (&mut file).take(FIRST_BYTES).read_to_end(&mut first)?;
    if dicom::starts_at(&first).is_none() && (on_medium || picture::format_of(&first).is_none()) {
        let level = if from_drive { log::Level::Debug } else { log::Level::Info };
        log::log!(level, "{}: not taken: no film by its first bytes", path.display());
        return Ok(Took::Nothing(Some(Reason::UnknownFormat)));
    }
    // Known contents are found without wearing out the spool's disk.
    if spool.has_file(&hash(open(path)?, stamp)?) {
        log::debug!("{}: not taken: its content was taken before", path.display());
        return Ok(Took::Nothing(None));
    }
    let mut incoming = if from_drive { spool.receive_from_drive()? } else { spool.receive_file()? };
    copy(open(path)?, stamp, |bytes| Ok(incoming.write(bytes)?))?;
    match incoming.keep_file()? {
        Kept::New(_) | Kept::Differing(_) => {
            log::info!("took {} ({} kB)", path.display(), stamp.bytes.div_ceil(1000));
            Ok(Took::Film)
        }
        Kept::Again => {
            log::debug!("{}: its content was taken before", path.display());
            Ok(Took::Nothing(None))
        }
    }
}

fn hash(file: File, stamp: Stamp) -> Result<Sha256, Later> {
    let mut content = Sha256::new();
    copy(file, stamp, |bytes| {
        content.update(bytes);
        Ok(())
    })?;
    Ok(content)
}

/// Hands on all bytes of a file that must stay as it was.
fn copy(mut file: File, stamp: Stamp, mut to: impl FnMut(&[u8]) -> Result<(), Later>) -> Result<(), Later> {
    let mut piece = vec![0; PIECE.min(stamp.bytes as usize)];
    let mut bytes = 0;
    loop {
        let count = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        bytes += count as u64;
        if bytes > stamp.bytes {
            return Err(Later::Changing);
        }
        to(&piece[..count])?;
    }
    if bytes != stamp.bytes || Stamp::of(&file.metadata()?) != stamp {
        return Err(Later::Changing);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::spool::Reserve;
    use super::*;

    const NO_RESERVE: Reserve = Reserve { bytes: 0, percent: 0 };

    struct Place {
        folder: tempfile::TempDir,
        spool: Spool,
        source: FolderSource,
    }

    fn source(path: &Path) -> FolderSource {
        let (settle, poll) = (Duration::ZERO, Duration::from_secs(5));
        let config = FolderConfig { path: path.to_owned(), settle, poll, make: false, drives: false };
        FolderSource::new(config)
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let spool = Spool::open(&folder.path().join("spool"), NO_RESERVE).unwrap();
            let films = folder.path().join("films");
            fs::create_dir(&films).unwrap();
            let source = source(&films);
            Self { folder, spool, source }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join("films").join(name)
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), bytes).unwrap();
        }

        fn look(&mut self) -> Option<Duration> {
            self.source.look(&self.spool, &AtomicBool::new(false))
        }

        /// The first look sees a file, the second one finds it unchanged.
        fn looked_twice(&mut self) -> usize {
            self.look();
            self.look();
            self.spool.unread_count()
        }
    }

    fn dicom(content: &str) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM\x02\0\0\0UL\x04\0\0\0\0\0");
        bytes.extend(content.as_bytes());
        bytes
    }

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and more";

    #[test]
    fn films_are_taken_wherever_they_lie_and_nothing_else_is() {
        let mut place = Place::new();
        place.write("a.dcm", &dicom("a"));
        place.write("deep/down/here", &dicom("b"));
        place.write("scan.png", PNG);
        place.write("letter.txt", b"Dear colleague");
        place.write("empty.dcm", b"");
        place.write(".hidden.dcm", &dicom("c"));
        fs::write(place.folder.path().join("elsewhere.dcm"), dicom("d")).unwrap();
        symlink(place.folder.path().join("elsewhere.dcm"), place.path("link.dcm")).unwrap();
        symlink(place.folder.path(), place.path("loop")).unwrap();
        assert_eq!(place.looked_twice(), 3);
        let mut contents = Vec::new();
        while let Some((stored, path)) = place.spool.first_unread() {
            contents.push(fs::read(path).unwrap());
            place.spool.mark_read(&stored).unwrap();
        }
        contents.sort();
        assert_eq!(contents, [dicom("a"), dicom("b"), PNG.to_vec()]);
        assert_eq!(place.looked_twice(), 0, "nothing is taken again");
    }

    #[test]
    fn what_somebody_puts_there_and_is_left_there_is_told_once() {
        let mut place = Place::new();
        place.write("old.txt", b"Dear colleague");
        place.write("film.dcm", &dicom("a"));
        let (told, heard) = std::sync::mpsc::channel();
        place.source = source(&place.path("")).telling(told);
        assert_eq!(place.looked_twice(), 1);
        assert_eq!(heard.try_iter().count(), 0, "of what lay there nobody wants to hear");
        place.write("again.dcm", &dicom("a"));
        place.write("empty.dcm", b"");
        place.write("old.txt", b"Dear colleague, I forgot the film");
        fs::File::create(place.path("large.dcm")).unwrap().set_len(file::Limits::default().file_bytes + 1).unwrap();
        place.write("other.dcm", &dicom("b"));
        assert_eq!((place.looked_twice(), place.looked_twice()), (2, 2));
        let mut left: Vec<_> = heard.try_iter().map(|left| (left.name, left.reason)).collect();
        left.sort_by(|(one, _), (other, _)| one.cmp(other));
        let expected = [
            ("again.dcm", None),
            ("empty.dcm", Some(Reason::EmptyFile)),
            ("large.dcm", Some(Reason::FileTooLarge)),
            ("old.txt", Some(Reason::UnknownFormat)),
        ];
        assert_eq!(left, expected.map(|(name, reason)| (name.to_owned(), reason)));
    }

    #[test]
    fn a_content_is_taken_once_whatever_its_name_and_after_a_restart() {
        let mut place = Place::new();
        place.write("a.dcm", &dicom("a"));
        assert_eq!(place.looked_twice(), 1);
        place.write("copy.dcm", &dicom("a"));
        place.write("stick/IMG001", &dicom("a"));
        assert_eq!(place.looked_twice(), 1);
        let films = place.path("");
        let Place { folder, spool, .. } = place;
        drop(spool);
        let spool = Spool::open(&folder.path().join("spool"), NO_RESERVE).unwrap();
        let mut place = Place { folder, spool, source: source(&films) };
        assert_eq!(place.looked_twice(), 1);
        place.write("b.dcm", &dicom("b"));
        assert_eq!(place.looked_twice(), 2);
    }

    #[test]
    fn a_file_that_grows_waits_until_it_is_whole() {
        let mut place = Place::new();
        place.source.config.settle = Duration::from_secs(3600);
        place.write("a.dcm", &dicom("half"));
        assert!(place.look().is_some_and(|pause| pause > Duration::from_secs(3000)));
        assert_eq!(place.looked_twice(), 0, "an hour has not passed");
        place.source.config.settle = Duration::ZERO;
        place.write("a.dcm", &dicom("half and whole"));
        assert_eq!(place.looked_twice(), 1);
        assert_eq!(fs::read(place.spool.first_unread().unwrap().1).unwrap(), dicom("half and whole"));
        // It was not whole after all.
        place.write("a.dcm", &dicom("half and whole and more"));
        assert_eq!(place.looked_twice(), 2);
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_left() {
        let place = Place::new();
        place.write("a.dcm", &dicom("first"));
        let stamp = Stamp::of(&fs::metadata(place.path("a.dcm")).unwrap());
        place.write("a.dcm", &dicom("first and second"));
        assert!(matches!(take(&place.path("a.dcm"), stamp, false, false, &place.spool), Err(Later::Changing)));
        for bytes in [stamp.bytes - 1, stamp.bytes + 1] {
            let stamp = Stamp { bytes, ..Stamp::of(&fs::metadata(place.path("a.dcm")).unwrap()) };
            let copied = copy(open(&place.path("a.dcm")).unwrap(), stamp, |_| Ok(()));
            assert!(matches!(copied, Err(Later::Changing)));
        }
        assert_eq!(place.spool.unread_count(), 0);
    }

    #[test]
    fn below_a_dicomdir_only_dicom_is_taken() {
        let mut place = Place::new();
        place.write("cd/dicomdir", &dicom("directory"));
        place.write("cd/VIEWER/logo.png", PNG);
        place.write("cd/IMAGES/I0001", &dicom("a"));
        place.write("beside.png", PNG);
        assert_eq!(place.looked_twice(), 2);
    }

    #[test]
    fn a_drive_that_comes_and_goes_confuses_nothing() {
        let mut place = Place::new();
        for name in ["a", "b", "c"] {
            place.write(&format!("stick/{name}.dcm"), &dicom(name));
        }
        // Seen, and pulled out before it was taken.
        place.look();
        let (stick, away) = (place.path("stick"), place.folder.path().join("away"));
        fs::rename(&stick, &away).unwrap();
        assert_eq!(place.looked_twice(), 0);
        fs::rename(&away, &stick).unwrap();
        assert_eq!(place.looked_twice(), 3);
        fs::rename(&stick, &away).unwrap();
        assert_eq!((place.looked_twice(), place.source.seen.len()), (3, 0));
        fs::rename(&away, &stick).unwrap();
        assert_eq!(place.looked_twice(), 3);
        fs::remove_dir_all(place.path("")).unwrap();
        assert_eq!(place.looked_twice(), 3, "the folder itself may be missing");
    }

    #[test]
    fn nothing_is_forgotten_while_the_spool_is_full() {
        let mut place = Place::new();
        place.write("a.dcm", &dicom("a"));
        let path = place.folder.path().join("full");
        let full = Spool::open(&path, Reserve { bytes: u64::MAX, percent: 0 }).unwrap();
        for _ in 0..3 {
            place.source.look(&full, &AtomicBool::new(false));
        }
        assert_eq!(full.unread_count(), 0);
        assert!(matches!(place.source.seen[&place.path("a.dcm")].state, State::Waits(_)));
    }

    #[test]
    fn what_is_taken_leaves_no_trace_on_the_medium() {
        let mut place = Place::new();
        place.write("a.dcm", &dicom("a"));
        let about = |place: &Place| {
            let about = fs::metadata(place.path("a.dcm")).unwrap();
            (about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec(), about.atime(), about.atime_nsec())
        };
        let before = about(&place);
        assert_eq!(place.looked_twice(), 1);
        assert_eq!(about(&place), before);
        assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 1);
    }

    #[test]
    fn the_kernel_wakes_it_for_a_new_file() {
        let mut place = Place::new();
        place.look();
        let path = place.path("a.dcm");
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || fs::write(path, dicom("a")).unwrap());
            // Far longer than the test may take: it returns because of the event.
            place.source.wait(Duration::from_secs(3600), None, &AtomicBool::new(false));
            writer.join().unwrap();
        });
        assert_eq!(place.looked_twice(), 1);
    }
}
