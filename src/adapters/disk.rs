//! [`Storage`] in a folder of a file system. Must not be handed a name that came from outside.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Advice, fadvise};

use crate::ports::{Storage, StorageError};

/// Name of the file that is locked while the folder is in use.
const LOCK: &str = "lock";
/// How often a lock is tried for before it counts as taken.
const LOCK_TRIES: u32 = 100;
/// Between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A folder that only this process uses as long as this lives.
#[derive(Debug)]
pub struct DiskStorage {
    folder: PathBuf,
    /// Released when it is dropped, also by a process that is killed.
    _lock: Option<File>,
}

impl DiskStorage {
    /// Takes the folder for this process.
    ///
    /// On a file system that cannot be written to there is no lock: then nobody else writes either.
    ///
    /// # Errors
    /// When there is no such folder or another process has it.
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        let failed = |operation, source| StorageError { operation, name: folder.display().to_string(), source };
        let metadata = fs::metadata(folder).map_err(|error| failed("open", error))?;
        if !metadata.is_dir() {
            return Err(failed("open", io::Error::from(io::ErrorKind::NotADirectory)));
        }
        let path = folder.join(LOCK);
        let file = match OpenOptions::new().create(true).append(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&path).ok(),
            // A full disk has no room for the lock's name; whoever reads must not be stopped by that.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => None,
            Err(error) => return Err(failed("lock", error)),
            Ok(file) => Some(file),
        };
        if let Some(file) = &file {
            lock(file).map_err(|error| failed("lock", error))?;
        }
        Ok(Self { folder: folder.to_owned(), _lock: file })
    }

    /// As [`open`](Self::open), and makes the folder where there is none.
    ///
    /// # Errors
    /// When it cannot be made, or another process has it.
    pub fn open_or_create(folder: &Path) -> Result<Self, StorageError> {
        let failed = |source| StorageError { operation: "make", name: folder.display().to_string(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        // The folder's own name has to survive a power cut, too.
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
        }
        Self::open(folder)
    }

    fn path(&self, name: &str) -> Result<PathBuf, StorageError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
        if name.is_empty() || name.starts_with('.') || name == LOCK || !name.bytes().all(plain) {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "expected letters, digits, hyphens and dots");
            return Err(StorageError { operation: "use the name", name: name.to_owned(), source });
        }
        Ok(self.folder.join(name))
    }

    fn failed(&self, operation: &'static str, name: &str) -> impl FnOnce(io::Error) -> StorageError {
        let name = self.folder.join(name).display().to_string();
        move |source| StorageError { operation, name, source }
    }
}

/// Waits a moment for whoever has it, such as a kiosk that writes down a reading.
fn lock(file: &File) -> io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "another lightbox is using it: try again"))
}

impl Storage for DiskStorage {
    fn read(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, StorageError> {
        let file = match File::open(self.path(name)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(self.failed("read", name))?,
        };
        let length = file.metadata().map_err(self.failed("read", name))?.len();
        // Clean pages are dropped, so that the bytes come from the medium; some file systems have no such pages.
        if let Err(error) = fadvise(&file, 0, None, Advice::DontNeed) {
            log::debug!("{}: {error}", self.folder.join(name).display());
        }
        let mut bytes = Vec::with_capacity(length.min(limit) as usize);
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(self.failed("read", name))?;
        if bytes.len() as u64 > limit {
            let long = io::Error::new(io::ErrorKind::FileTooLarge, format!("expected at most {limit} bytes"));
            return Err(self.failed("read", name)(long));
        }
        Ok(Some(bytes))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        // Not truncated first: on a full disk the blocks that are there can still be written over.
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.path(name)?);
        let mut file = file.map_err(self.failed("write", name))?;
        file.write_all(bytes).map_err(self.failed("write", name))?;
        file.set_len(bytes.len() as u64).map_err(self.failed("write", name))
    }

    fn sync(&mut self, name: &str) -> Result<(), StorageError> {
        let file = OpenOptions::new().write(true).open(self.path(name)?).map_err(self.failed("sync", name))?;
        file.sync_all().map_err(self.failed("sync", name))
    }

    fn sync_names(&mut self) -> Result<(), StorageError> {
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(self.failed("sync", ""))
    }

    fn remove(&mut self, name: &str) -> Result<(), StorageError> {
        match fs::remove_file(self.path(name)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(self.failed("remove", name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_also_when_it_became_shorter() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut disk = DiskStorage::open_or_create(&folder.path().join("models")).expect("opened");
        assert_eq!(disk.read("state-0", 10).expect("read"), None);
        for content in [&b"long content"[..], b"short"] {
            disk.write("state-0", content).expect("written");
            disk.sync("state-0").expect("synced");
            disk.sync_names().expect("synced");
            assert_eq!(disk.read("state-0", 12).expect("read").as_deref(), Some(content));
        }
        let long = disk.read("state-0", 4).expect_err("too long").to_string();
        assert!(long.ends_with("state-0: expected at most 4 bytes"), "{long}");
        disk.remove("state-0").expect("removed");
        disk.remove("state-0").expect("gone already");
        assert_eq!(disk.read("state-0", 10).expect("read"), None);
    }

    #[test]
    fn a_folder_belongs_to_one_at_a_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = DiskStorage::open(folder.path()).expect("opened");
        let second = DiskStorage::open(folder.path()).expect_err("taken").to_string();
        assert!(second.ends_with("another lightbox is using it: try again"), "{second}");
        drop(first);
        DiskStorage::open(folder.path()).expect("free again");
        let missing = DiskStorage::open(&folder.path().join("none")).expect_err("no folder").to_string();
        assert!(missing.starts_with("cannot open"), "{missing}");
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut disk = DiskStorage::open(folder.path()).expect("opened");
        for name in ["", "../x", "/etc/passwd", "a/b", ".hidden", "lock", "a\0b"] {
            assert!(disk.write(name, b"x").is_err(), "{name:?}");
            assert!(disk.read(name, 1).is_err(), "{name:?}");
            assert!(disk.remove(name).is_err(), "{name:?}");
        }
    }
}
