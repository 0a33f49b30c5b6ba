//! Where received objects lie until they are read, and after: what was kept here survives a power cut.
//!
//! # Layout
//! ```text
//! SPOOL/lock                       held by the one program that uses the spool
//! SPOOL/incoming/*.part            objects that are still coming in; removed at the next start
//! SPOOL/unread/NUMBER-UID-CONTENT[-differs].dcm     from the network
//! SPOOL/unread/NUMBER-CONTENT-CONTENT.film          from a folder, whatever its format
//! SPOOL/unread/NUMBER-CONTENT-CONTENT.drive         from a removable drive, likewise
//! SPOOL/unread/NUMBER-CONTENT-CONTENT.photo         from the camera: a photograph of a film
//! SPOOL/read/…                     the same names
//! SPOOL/forgotten                  contents of files from folders that were deleted to make room, 16 bytes each
//! SPOOL/commitments/…              what the listener owes to peers
//! ```
//! `NUMBER` is the order of arrival in 16 digits; `UID` and `CONTENT` are the first 128 bits of the SHA-256 of the SOP
//! Instance UID and of what was received. Nothing from outside is ever part of a name. The folder that a file lies in
//! is all the state there is: one rename both keeps an object and queues it, another one marks it as read.
//!
//! Where the configuration allows it, the read objects that came first are deleted when space is short, unread ones never.
//!
//! The same object again is kept once. Another content under a UID that is known is kept as well and marked `differs`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::domain::SopInstanceUid;

/// How often the space is asked for while an object comes in.
const BYTES_BETWEEN_SPACE_CHECKS: u64 = 4 << 20;

/// Name of the file of what was deleted.
const FORGOTTEN: &str = "forgotten";

/// Space on the disk that is never filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Bytes that stay free, whatever the disk's size.
    pub bytes: u64,
    /// Share of the disk that stays free, 0 to 90.
    pub percent: u8,
}

impl Default for Reserve {
    /// 500 MB and 10 %, whichever is more.
    fn default() -> Self {
        Self { bytes: 500_000_000, percent: 10 }
    }
}

/// Why something could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file or folder of the spool cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Two programs would overwrite each other's files.
    #[error("{} is in use by another program: only one may use a spool at a time", .0.display())]
    InUse(PathBuf),
    /// The reserve would be used up.
    #[error("{free} bytes free below {}, {wanted} stay free: make room on the disk", path.display())]
    NoSpace {
        /// The spool.
        path: PathBuf,
        /// What is left.
        free: u64,
        /// The reserve.
        wanted: u64,
    },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    let path = path.to_owned();
    move |source| SpoolError::Io { action, path, source }
}

/// The first 128 bits of a SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Fingerprint(u128);

impl Fingerprint {
    fn of(hash: Sha256) -> Self {
        let hash = hash.finalize();
        Self(hash.iter().take(16).fold(0, |high, &low| high << 8 | u128::from(low)))
    }

    fn of_uid(uid: &SopInstanceUid) -> Self {
        Self::of(Sha256::new_with_prefix(uid.as_str()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where an object came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A peer, under a SOP Instance UID.
    Network,
    /// A folder: it is told from others by its content alone.
    File,
    /// A removable drive, likewise.
    Drive,
    /// The camera, likewise.
    Camera,
}

impl Origin {
    fn ending(self) -> &'static str {
        match self {
            Self::Network => ".dcm",
            Self::File => ".film",
            Self::Drive => ".drive",
            Self::Camera => ".photo",
        }
    }
}

/// An object of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    number: u64,
    origin: Origin,
    uid: Fingerprint,
    content: Fingerprint,
    /// Another object with the same SOP Instance UID but other content came before.
    pub differs: bool,
}

impl Stored {
    fn name(&self) -> String {
        let differs = if self.differs { "-differs" } else { "" };
        format!("{:016}-{}-{}{differs}{}", self.number, self.uid, self.content, self.origin.ending())
    }

    /// `None` for a name that the spool does not give.
    fn parse(name: &str) -> Option<Self> {
        let of = |origin: Origin| Some((origin, name.strip_suffix(origin.ending())?));
        let origins = [Origin::Network, Origin::File, Origin::Drive, Origin::Camera];
        let (origin, stem) = origins.into_iter().find_map(of)?;
        let mut parts = stem.split('-');
        let number = parts.next().filter(|digits| digits.len() == 16)?.parse().ok()?;
        let mut fingerprint = || u128::from_str_radix(parts.next()?, 16).ok().map(Fingerprint);
        let (uid, content) = (fingerprint()?, fingerprint()?);
        let stored = Self { number, origin, uid, content, differs: parts.next().is_some() };
        (stored.name() == name).then_some(stored)
    }

    /// Whether it came over the network, and not from a folder or drive.
    pub fn from_network(&self) -> bool {
        self.origin == Origin::Network
    }

    /// Whether it came from a removable drive.
    pub fn from_drive(&self) -> bool {
        self.origin == Origin::Drive
    }

    /// The name of its file, which no other object has.
    pub fn file_name(&self) -> String {
        self.name()
    }

    /// Whether it is a photograph of a film, which has to be developed, and not the film itself.
    pub fn is_photograph(&self) -> bool {
        self.origin == Origin::Camera
    }

    /// The order of arrival; no two objects have the same.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// Where the object of that file name lies in the spool in `folder`, which another program may use; `None` where it was
/// removed or the name is none of a spool's.
pub fn find_in(folder: &Path, file_name: &str) -> Option<PathBuf> {
    let name = Stored::parse(file_name)?.name();
    ["read", "unread"].map(|place| folder.join(place).join(&name)).into_iter().find(|path| path.is_file())
}

/// Whether the file at `path`, which lies in a spool, is a photograph of a film.
pub fn is_photograph(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(Stored::parse).is_some_and(|stored| stored.is_photograph())
}

/// What became of an object that was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is new.
    New(Stored),
    /// It is new, and another content is known under its SOP Instance UID.
    Differing(Stored),
    /// The very same was kept before.
    Again,
}

/// What lies in the spool; some 150 bytes an object, as it holds every one that is kept.
#[derive(Debug, Default)]
struct Index {
    /// By number.
    objects: BTreeMap<u64, Stored>,
    /// Their numbers, by UID.
    by_uid: BTreeSet<(Fingerprint, u64)>,
    /// The numbers of those that wait to be read.
    unread: BTreeSet<u64>,
    /// Contents of files from folders that were deleted.
    forgotten: HashSet<Fingerprint>,
    /// When the last byte came, of unread objects that this program has received itself.
    arrivals: HashMap<u64, Instant>,
    next_number: u64,
}

impl Index {
    fn insert(&mut self, stored: Stored, is_unread: bool) {
        self.by_uid.insert((stored.uid, stored.number));
        if is_unread {
            self.unread.insert(stored.number);
        }
        self.objects.insert(stored.number, stored);
    }

    fn remove(&mut self, stored: &Stored) {
        self.by_uid.remove(&(stored.uid, stored.number));
        self.unread.remove(&stored.number);
        self.objects.remove(&stored.number);
    }

    /// All objects that are known under a UID, in the order in which they came.
    fn known(&self, uid: Fingerprint) -> impl Iterator<Item = &Stored> {
        let numbers = self.by_uid.range((uid, 0)..=(uid, u64::MAX));
        numbers.filter_map(|(_, number)| self.objects.get(number))
    }

    fn first_unread(&self) -> Option<&Stored> {
        self.unread.first().and_then(|number| self.objects.get(number))
    }

    fn first_read(&self) -> Option<&Stored> {
        self.objects.values().find(|stored| !self.unread.contains(&stored.number))
    }
}

/// What is coming in just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComingIn {
    /// Objects from the network.
    pub from_network: u64,
    /// Files from folders and drives, photographs.
    pub from_files: u64,
    /// Bytes of all of them so far.
    pub bytes: u64,
}

impl ComingIn {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.from_network + self.from_files
    }

    fn of(&mut self, origin: Origin) -> &mut u64 {
        match origin {
            Origin::Network => &mut self.from_network,
            Origin::File | Origin::Drive | Origin::Camera => &mut self.from_files,
        }
    }
}

/// A folder of received objects; see the module.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    incoming: PathBuf,
    unread: PathBuf,
    read: PathBuf,
    reserve: Reserve,
    /// Read objects make room for new ones.
    deletes_read: bool,
    index: Mutex<Index>,
    arrived: Condvar,
    next_part: AtomicU64,
    coming_in: Mutex<ComingIn>,
    /// Held, not used.
    _lock: File,
}

impl Spool {
    /// Opens the spool in `folder`, which is created when it is missing, and forgets what had not come in completely.
    ///
    /// # Errors
    /// When another program uses it, or a part of it cannot be read or written.
    pub fn open(folder: &Path, reserve: Reserve) -> Result<Self, SpoolError> {
        let [incoming, unread, read] = ["incoming", "unread", "read"].map(|name| folder.join(name));
        for path in [folder, &incoming, &unread, &read] {
            // What is received is about patients: nobody else reads it.
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(path).map_err(io_error("create the folder", path))?;
        }
        let lock_path = folder.join("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let lock = lock.map_err(io_error("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SpoolError::InUse(folder.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &lock_path)(source)),
        }
        for (path, _) in entries(&incoming)? {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
        let mut index = Index { next_number: 1, ..Index::default() };
        for (place, is_unread) in [(&unread, true), (&read, false)] {
            for (path, name) in entries(place)? {
                let Some(stored) = Stored::parse(&name) else {
                    log::warn!("{} is no file of the spool and was left alone", path.display());
                    continue;
                };
                index.next_number = index.next_number.max(stored.number.saturating_add(1));
                index.insert(stored, is_unread);
            }
        }
        index.forgotten = read_forgotten(&folder.join(FORGOTTEN))?;
        // A rename that the last run had no time to flush counts from now on, so it has to last.
        for path in [folder, &unread, &read] {
            sync_folder(path)?;
        }
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            incoming,
            unread,
            read,
            reserve,
            deletes_read: false,
            index: Mutex::new(index),
            arrived: Condvar::new(),
            next_part: AtomicU64::new(0),
            coming_in: Mutex::new(ComingIn::default()),
            _lock: lock,
        })
    }

    /// From now on the read objects that came first are deleted when space is short.
    #[must_use]
    pub fn deleting_read(mut self) -> Self {
        self.deletes_read = true;
        self
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Whoever panicked left it whole: every change is made in one step after the disk's.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder for requests of storage commitment, which the listener keeps.
    pub fn commitments(&self) -> PathBuf {
        self.folder.join("commitments")
    }

    /// Whether more may be taken in; makes room where that is allowed.
    ///
    /// # Errors
    /// [`SpoolError::NoSpace`] when the reserve is reached, or when the disk cannot be asked.
    pub fn check_space(&self) -> Result<(), SpoolError> {
        loop {
            match self.measure_space() {
                Err(SpoolError::NoSpace { .. }) if self.deletes_read && self.delete_first_read()? => {}
                measured => return measured,
            }
        }
    }

    /// Deletes the read object that came first; `false` when there is none.
    fn delete_first_read(&self) -> Result<bool, SpoolError> {
        let mut index = self.index();
        let Some(stored) = index.first_read().cloned() else { return Ok(false) };
        if matches!(stored.origin, Origin::File | Origin::Drive) && !index.forgotten.contains(&stored.content) {
            // First, or the file would be taken again from the folder that it came from.
            let path = self.folder.join(FORGOTTEN);
            let append = || {
                let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
                file.write_all(&stored.content.0.to_be_bytes())?;
                file.sync_all()
            };
            append().map_err(io_error("write to", &path))?;
            sync_folder(&self.folder)?;
            index.forgotten.insert(stored.content);
        }
        let path = self.read.join(stored.name());
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(io_error("remove", &path))?,
        }
        index.remove(&stored);
        // Some file systems count the space as free only then.
        sync_folder(&self.read)?;
        log::info!("deleted {}, which was read, to make room", path.display());
        Ok(true)
    }

    fn measure_space(&self) -> Result<(), SpoolError> {
        let disk = rustix::fs::statvfs(&self.folder)
            .map_err(|error| io_error("find out how full the disk is below", &self.folder)(io::Error::from(error)))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let all = disk.f_blocks.saturating_mul(disk.f_frsize);
        let share = u128::from(all) * u128::from(self.reserve.percent) / 100;
        let wanted = self.reserve.bytes.max(share as u64);
        if free < wanted {
            return Err(SpoolError::NoSpace { path: self.folder.clone(), free, wanted });
        }
        Ok(())
    }

    /// Makes room for an object that starts to come in.
    ///
    /// # Errors
    /// When the reserve is reached or the file cannot be created.
    pub fn receive(&self) -> Result<Incoming<'_>, SpoolError> {
        self.receive_from(Origin::Network)
    }

    /// As [`receive`](Self::receive), for a file from a folder.
    ///
    /// # Errors
    /// As there.
    pub fn receive_file(&self) -> Result<Incoming<'_>, SpoolError> {
        self.receive_from(Origin::File)
    }

    /// As [`receive`](Self::receive), for a file from a removable drive.
    ///
    /// # Errors
    /// As there.
    pub fn receive_from_drive(&self) -> Result<Incoming<'_>, SpoolError> {
        self.receive_from(Origin::Drive)
    }

    /// As [`receive`](Self::receive), for a photograph of a film.
    ///
    /// # Errors
    /// As there.
    pub fn receive_photograph(&self) -> Result<Incoming<'_>, SpoolError> {
        self.receive_from(Origin::Camera)
    }

    /// What is coming in just now.
    pub fn coming_in(&self) -> ComingIn {
        *self.counted()
    }

    fn counted(&self) -> MutexGuard<'_, ComingIn> {
        self.coming_in.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive_from(&self, origin: Origin) -> Result<Incoming<'_>, SpoolError> {
        self.check_space()?;
        let path = self.incoming.join(format!("{}.part", self.next_part.fetch_add(1, Ordering::Relaxed)));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(io_error("create", &path))?;
        *self.counted().of(origin) += 1;
        Ok(Incoming { spool: self, origin, file, path, content: Sha256::new(), bytes: 0, unchecked: 0, renamed: false })
    }

    /// The unread object that came first.
    pub fn first_unread(&self) -> Option<(Stored, PathBuf)> {
        let index = self.index();
        index.first_unread().map(|stored| (stored.clone(), self.unread.join(stored.name())))
    }

    /// The unread object that came first; waits for one, `longest` at most.
    pub fn wait_for_unread(&self, longest: Duration) -> Option<(Stored, PathBuf)> {
        let waited = self.arrived.wait_timeout_while(self.index(), longest, |index| index.unread.is_empty());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.first_unread()
    }

    /// When the last byte of an unread object came; `None` when that was before this program started.
    pub fn arrival(&self, stored: &Stored) -> Option<Instant> {
        self.index().arrivals.get(&stored.number).copied()
    }

    /// Where the object of that file name lies; `None` where it was removed or the name is none of the spool's.
    pub fn path_of(&self, file_name: &str) -> Option<PathBuf> {
        let stored = Stored::parse(file_name)?;
        let path = self.place_of(&self.index(), &stored);
        path.is_file().then_some(path)
    }

    /// Whether the object of that number waits to be read.
    pub fn is_unread(&self, number: u64) -> bool {
        self.index().unread.contains(&number)
    }

    /// How many objects are not yet read.
    pub fn unread_count(&self) -> usize {
        self.index().unread.len()
    }

    /// Takes `stored` out of the queue; it stays in the spool.
    ///
    /// # Errors
    /// When the file cannot be moved; it is then still unread.
    pub fn mark_read(&self, stored: &Stored) -> Result<(), SpoolError> {
        let mut index = self.index();
        if !index.unread.contains(&stored.number) {
            return Ok(());
        }
        let from = self.unread.join(stored.name());
        match fs::rename(&from, self.read.join(stored.name())) {
            // Removed by somebody else: there is nothing left to read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                log::warn!("{} has gone from the spool", from.display());
            }
            renamed => renamed.map_err(io_error("move to the read ones", &from))?,
        }
        index.unread.remove(&stored.number);
        index.arrivals.remove(&stored.number);
        // Arrival first: an object in neither folder would be lost, one in both would be read twice.
        sync_folder(&self.read)?;
        sync_folder(&self.unread)
    }

    /// Whether a file of this content was taken before, also if it was read and deleted since.
    pub fn has_file(&self, content: &Sha256) -> bool {
        self.is_known_file(&self.index(), Fingerprint::of(content.clone()))
    }

    fn is_known_file(&self, index: &Index, content: Fingerprint) -> bool {
        index.forgotten.contains(&content) || self.is_known(index, content, content)
    }

    /// The files of all objects with this UID that are in the spool, durably.
    pub fn find(&self, uid: &SopInstanceUid) -> Vec<PathBuf> {
        let index = self.index();
        let known = index.known(Fingerprint::of_uid(uid));
        known.map(|stored| self.place_of(&index, stored)).filter(|path| path.is_file()).collect()
    }

    fn place_of(&self, index: &Index, stored: &Stored) -> PathBuf {
        let folder = if index.unread.contains(&stored.number) { &self.unread } else { &self.read };
        folder.join(stored.name())
    }

    /// Whether the very object was kept before, and nobody has removed its file since.
    fn is_known(&self, index: &Index, uid: Fingerprint, content: Fingerprint) -> bool {
        let mut known = index.known(uid);
        known.any(|stored| stored.content == content && self.place_of(index, stored).is_file())
    }
}

/// An object that comes in; dropped without [`Incoming::keep`], it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming<'a> {
    spool: &'a Spool,
    origin: Origin,
    file: File,
    path: PathBuf,
    content: Sha256,
    bytes: u64,
    unchecked: u64,
    renamed: bool,
}

impl Incoming<'_> {
    /// Writes what stands around the content and does not tell one object from another.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write_envelope(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.file.write_all(bytes).map_err(io_error("write to", &self.path))
    }

    /// Counts `bytes`, which are not written, as content.
    pub fn identify_by(&mut self, bytes: &[u8]) {
        self.content.update(bytes);
    }

    /// Writes content.
    ///
    /// # Errors
    /// When the disk does not take it or its reserve is reached.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.unchecked += bytes.len() as u64;
        if self.unchecked >= BYTES_BETWEEN_SPACE_CHECKS {
            self.unchecked = 0;
            self.spool.check_space()?;
        }
        self.file.write_all(bytes).map_err(io_error("write to", &self.path))?;
        self.content.update(bytes);
        self.bytes += bytes.len() as u64;
        self.spool.counted().bytes += bytes.len() as u64;
        Ok(())
    }

    /// Keeps the object under `uid` and queues it for reading. On return both are durable.
    ///
    /// # Errors
    /// When the disk does not take it; the object is then not in the spool.
    pub fn keep(self, uid: &SopInstanceUid) -> Result<Kept, SpoolError> {
        self.keep_as(Origin::Network, Some(Fingerprint::of_uid(uid)))
    }

    /// Keeps a file from a folder or drive and queues it for reading. On return both are durable.
    ///
    /// # Errors
    /// When the disk does not take it; the file is then not in the spool.
    pub fn keep_file(self) -> Result<Kept, SpoolError> {
        let origin = self.origin;
        self.keep_as(origin, None)
    }

    /// Keeps a photograph of a film and queues it for reading. On return both are durable.
    ///
    /// # Errors
    /// When the disk does not take it; the photograph is then not in the spool.
    pub fn keep_photograph(self) -> Result<Kept, SpoolError> {
        self.keep_as(Origin::Camera, None)
    }

    /// `uid` tells it from others, or else its content does.
    fn keep_as(mut self, origin: Origin, uid: Option<Fingerprint>) -> Result<Kept, SpoolError> {
        let arrival = Instant::now();
        let spool = self.spool;
        let content = Fingerprint::of(std::mem::take(&mut self.content));
        let uid = uid.unwrap_or(content);
        let is_known = |index: &Index| match origin {
            Origin::Network | Origin::Camera => spool.is_known(index, uid, content),
            Origin::File | Origin::Drive => spool.is_known_file(index, content),
        };
        if is_known(&spool.index()) {
            return Ok(Kept::Again);
        }
        self.file.sync_all().map_err(io_error("flush", &self.path))?;
        let mut index = spool.index();
        // Another sender may have been faster.
        if is_known(&index) {
            return Ok(Kept::Again);
        }
        let differs = index.known(uid).any(|stored| stored.content != content);
        let stored = Stored { number: index.next_number, origin, uid, content, differs };
        let place = spool.unread.join(stored.name());
        fs::rename(&self.path, &place).map_err(io_error("move to the unread ones", &self.path))?;
        self.renamed = true;
        // The number is used up even if the rename is undone.
        index.next_number += 1;
        if let Err(error) = sync_folder(&spool.unread) {
            // It may or may not last; the sender will try again and must find it absent.
            if let Err(error) = fs::remove_file(&place) {
                log::error!("cannot remove {}, which may not last: {error}", place.display());
            }
            return Err(error);
        }
        index.insert(stored.clone(), true);
        index.arrivals.insert(stored.number, arrival);
        drop(index);
        spool.arrived.notify_all();
        Ok(if differs { Kept::Differing(stored) } else { Kept::New(stored) })
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        let mut counted = self.spool.counted();
        *counted.of(self.origin) -= 1;
        counted.bytes -= self.bytes;
        drop(counted);
        if !self.renamed
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// The contents of the file at `path`; a record that was cut short is dropped.
fn read_forgotten(path: &Path) -> Result<HashSet<Fingerprint>, SpoolError> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        opened => opened.map_err(io_error("open", path))?,
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io_error("read", path))?;
    let (records, rest) = bytes.as_chunks::<16>();
    if !rest.is_empty() {
        let whole = (bytes.len() - rest.len()) as u64;
        file.set_len(whole).and_then(|()| file.sync_all()).map_err(io_error("shorten", path))?;
    }
    Ok(records.iter().map(|record| Fingerprint(u128::from_be_bytes(*record))).collect())
}

/// Flushes the entries of a folder: a rename alone may be lost on a power cut.
fn sync_folder(path: &Path) -> Result<(), SpoolError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io_error("flush the folder", path))
}

/// The entries of a folder with their names; other than UTF-8 names come out changed and so are no names of ours.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, String)>, SpoolError> {
    let cannot_read = || io_error("read the folder", folder);
    fs::read_dir(folder)
        .map_err(cannot_read())?
        .map(|entry| {
            let entry = entry.map_err(cannot_read())?;
            Ok((entry.path(), entry.file_name().to_string_lossy().into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_RESERVE: Reserve = Reserve { bytes: 0, percent: 0 };

    fn uid(text: &str) -> SopInstanceUid {
        text.parse().unwrap()
    }

    fn keep(spool: &Spool, name: &str, envelope: &[u8], content: &[u8]) -> Kept {
        let mut incoming = spool.receive().unwrap();
        incoming.write_envelope(envelope).unwrap();
        for part in content.chunks(3) {
            incoming.write(part).unwrap();
        }
        incoming.keep(&uid(name)).unwrap()
    }

    fn files(folder: &Path, place: &str) -> Vec<(PathBuf, String)> {
        let mut found = entries(&folder.join(place)).unwrap();
        found.sort();
        found
    }

    #[test]
    fn what_was_kept_is_found_again_in_order_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        assert!(spool.first_unread().is_none());
        for (name, content) in [("1.9", "first"), ("1.10", "second"), ("1.8", "third")] {
            assert!(matches!(keep(&spool, name, b"head ", content.as_bytes()), Kept::New(_)));
        }
        let (first, path) = spool.first_unread().unwrap();
        assert_eq!(fs::read(path).unwrap(), b"head first");
        spool.mark_read(&first).unwrap();
        spool.mark_read(&first).unwrap();
        drop(spool);

        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        assert_eq!(spool.unread_count(), 2);
        let (second, path) = spool.wait_for_unread(Duration::ZERO).unwrap();
        assert_eq!((second.number(), fs::read(path).unwrap()), (2, b"head second".to_vec()));
        assert_eq!(keep(&spool, "1.9", b"", b"first"), Kept::Again, "a read object is known");
        let Kept::New(fourth) = keep(&spool, "1.11", b"", b"fourth") else { panic!("it is new") };
        assert_eq!(fourth.number(), 4, "numbers are never used twice");
        assert_eq!(spool.find(&uid("1.11")).len(), 1);
        assert_eq!(spool.find(&uid("1.9")), [folder.path().join("read").join(first.name())]);
        assert!(spool.find(&uid("1.12")).is_empty());
    }

    #[test]
    fn an_object_whose_file_was_removed_is_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        let Kept::New(first) = keep(&spool, "1.2", b"", b"pixels") else { panic!("it is new") };
        fs::remove_file(spool.first_unread().unwrap().1).unwrap();
        assert!(spool.find(&uid("1.2")).is_empty());
        let Kept::New(again) = keep(&spool, "1.2", b"", b"pixels") else { panic!("it is new again") };
        assert_eq!((spool.find(&uid("1.2")).len(), again.differs), (1, false));
        spool.mark_read(&first).unwrap();
        assert_eq!(spool.first_unread().unwrap().0, again);
    }

    #[test]
    fn the_same_object_is_kept_once_and_another_content_apart() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        assert!(matches!(keep(&spool, "1.2", b"from A ", b"pixels"), Kept::New(_)));
        assert_eq!(keep(&spool, "1.2", b"from B ", b"pixels"), Kept::Again);
        let Kept::Differing(other) = keep(&spool, "1.2", b"from A ", b"PIXELS") else { panic!("it differs") };
        assert!(other.differs);
        assert_eq!(keep(&spool, "1.2", b"", b"PIXELS"), Kept::Again);
        assert!(matches!(keep(&spool, "1.3", b"", b"pixels"), Kept::New(_)));
        let names = files(folder.path(), "unread");
        assert_eq!(names.len(), 3);
        assert!(names[1].1.ends_with("-differs.dcm"), "{names:?}");
        drop(spool);
        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        assert_eq!(keep(&spool, "1.2", b"", b"PIXELS"), Kept::Again);
        assert_eq!(spool.unread_count(), 3);
    }

    #[test]
    fn what_did_not_come_in_completely_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        let mut incoming = spool.receive().unwrap();
        incoming.write(b"half").unwrap();
        assert_eq!(files(folder.path(), "incoming").len(), 1);
        drop(incoming);
        assert_eq!(files(folder.path(), "incoming").len(), 0);
        // As after a power cut.
        fs::write(folder.path().join("incoming/7.part"), b"half").unwrap();
        drop(spool);
        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        assert_eq!(files(folder.path(), "incoming").len(), 0);
        assert_eq!(spool.unread_count(), 0);
    }

    #[test]
    fn senders_of_the_same_object_at_the_same_time_keep_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        let outcomes: Vec<Kept> = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..16).map(|_| scope.spawn(|| keep(&spool, "1.2", b"", b"pixels"))).collect();
            senders.into_iter().map(|sender| sender.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|kept| matches!(kept, Kept::New(_))).count(), 1);
        assert_eq!(outcomes.iter().filter(|kept| **kept == Kept::Again).count(), 15);
        assert_eq!(files(folder.path(), "unread").len(), 1);
        assert_eq!(files(folder.path(), "incoming").len(), 0);
    }

    fn keep_file(spool: &Spool, content: &[u8]) -> Kept {
        let mut incoming = spool.receive_file().unwrap();
        incoming.write(content).unwrap();
        incoming.keep_file().unwrap()
    }

    #[test]
    fn a_file_is_told_by_its_content_alone() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        assert!(matches!(keep_file(&spool, b"film"), Kept::New(_)));
        assert_eq!(keep_file(&spool, b"film"), Kept::Again);
        assert!(spool.has_file(&Sha256::new_with_prefix(b"film")));
        assert!(!spool.has_file(&Sha256::new_with_prefix(b"other")));
        // An object from the network is another thing.
        assert!(matches!(keep(&spool, "1.2", b"", b"film"), Kept::New(_)));
        let names = files(folder.path(), "unread");
        assert!(names[0].1.ends_with(".film") && names[1].1.ends_with(".dcm"), "{names:?}");
        drop(spool);
        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        assert_eq!((spool.unread_count(), keep_file(&spool, b"film")), (2, Kept::Again));
        // Nor is a drive's what was taken from a folder before.
        let from_drive = |content: &[u8]| {
            let mut incoming = spool.receive_from_drive().unwrap();
            incoming.write(content).unwrap();
            incoming.keep_file().unwrap()
        };
        assert_eq!(from_drive(b"film"), Kept::Again);
        assert!(matches!(from_drive(b"other"), Kept::New(_)));
        drop(spool);
        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        let origins: Vec<_> =
            spool.index().objects.values().map(|stored| (stored.from_network(), stored.from_drive())).collect();
        assert_eq!(origins, [(false, false), (true, false), (false, true)]);
    }

    #[test]
    fn only_read_objects_are_deleted_the_first_one_first() {
        let folder = tempfile::tempdir().unwrap();
        let full = Reserve { bytes: u64::MAX, percent: 0 };
        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        keep(&spool, "1.1", b"", b"first");
        keep_file(&spool, b"second");
        keep(&spool, "1.3", b"", b"third");
        for _ in 0..2 {
            spool.mark_read(&spool.first_unread().unwrap().0).unwrap();
        }
        drop(spool);
        // Without leave nothing is deleted.
        let spool = Spool::open(folder.path(), full).unwrap();
        assert!(spool.check_space().is_err());
        assert_eq!(files(folder.path(), "read").len(), 2);
        let spool = spool.deleting_read();
        assert!(spool.delete_first_read().unwrap());
        assert!(files(folder.path(), "read")[0].1.starts_with("0000000000000002-"));
        assert!(spool.find(&uid("1.1")).is_empty());
        // All that may go has gone, and it is still too little.
        assert!(spool.check_space().is_err());
        assert_eq!((files(folder.path(), "read").len(), spool.unread_count()), (0, 1));
        drop(spool);

        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        assert_eq!(keep_file(&spool, b"second"), Kept::Again, "it was taken once, for good");
        assert!(matches!(keep(&spool, "1.1", b"", b"first"), Kept::New(_)), "a peer that sends again wants it kept");
        drop(spool);
        // A power cut in the middle of a record.
        let path = folder.path().join(FORGOTTEN);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &[1, 2, 3]].concat()).unwrap();
        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        assert_eq!((keep_file(&spool, b"second"), fs::read(&path).unwrap()), (Kept::Again, whole));
    }

    #[test]
    fn a_second_program_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let first = Spool::open(folder.path(), NO_RESERVE).unwrap();
        let refused = Spool::open(folder.path(), NO_RESERVE).unwrap_err().to_string();
        assert!(refused.ends_with("is in use by another program: only one may use a spool at a time"), "{refused}");
        drop(first);
        Spool::open(folder.path(), NO_RESERVE).unwrap();
    }

    #[test]
    fn nothing_is_taken_when_the_reserve_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), Reserve { bytes: u64::MAX, percent: 0 }).unwrap();
        let refused = spool.receive().unwrap_err();
        assert!(matches!(refused, SpoolError::NoSpace { wanted: u64::MAX, .. }), "{refused}");
        assert!(refused.to_string().ends_with("stay free: make room on the disk"), "{refused}");
        assert_eq!(files(folder.path(), "incoming").len(), 0);
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        drop(Spool::open(folder.path(), NO_RESERVE).unwrap());
        for name in ["notes.txt", "1-2-3.dcm", "0000000000000001-zz-1.dcm"] {
            fs::write(folder.path().join("unread").join(name), b"").unwrap();
        }
        let spool = Spool::open(folder.path(), NO_RESERVE).unwrap();
        assert_eq!(spool.unread_count(), 0);
        assert_eq!(files(folder.path(), "unread").len(), 3);
    }

    #[test]
    fn only_the_owner_may_look_into_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("spool");
        let spool = Spool::open(&place, NO_RESERVE).unwrap();
        keep(&spool, "1.2", b"", b"pixels");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place), 0o700);
        assert_eq!(mode(&place.join("unread")), 0o700);
        assert_eq!(mode(&spool.first_unread().unwrap().1), 0o600);
    }
}
