//! Small files that are whole at any time: a new content takes the place of the old one in one step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How much of it has to outlast a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// On return the new content does.
    Durable,
    /// Old or new content or none, never half of one: for what is written again soon.
    Volatile,
}

/// Puts `bytes` in the place of the file at `path`.
///
/// # Errors
/// When the folder is not there or the disk does not take it; the file is then as it was.
pub fn replace(path: &Path, bytes: &[u8], lasting: Lasting) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let partial: PathBuf = folder.join(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&partial)?;
        file.write_all(bytes)?;
        if lasting == Lasting::Durable {
            // Before the rename, or a power cut may leave the new name on an empty file.
            file.sync_all()?;
        }
        fs::rename(&partial, path)?;
        if lasting == Lasting::Durable {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    write().inspect_err(|_: &io::Error| {
        // It may never have been made.
        let _ = fs::remove_file(&partial);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_content_takes_the_place_of_the_old_one_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings");
        for (content, lasting) in [("a longer one", Lasting::Durable), ("b", Lasting::Volatile)] {
            replace(&path, content.as_bytes(), lasting).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("taken")).unwrap();
        assert!(replace(&folder.path().join("taken"), b"x", Lasting::Durable).is_err());
        assert!(replace(&folder.path().join("no/settings"), b"x", Lasting::Durable).is_err());
        assert!(replace(Path::new("/"), b"x", Lasting::Volatile).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file is left");
    }
}
