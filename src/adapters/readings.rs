//! The file that gets a line for every reading: each line is durable before its object counts as read, and an object
//! that was cut short between the two gets no second one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Of one line; the longest has about two thousand bytes.
const MOST_LINE: u64 = 64 << 10;

/// Why a line could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct ReadingsError {
    /// What was tried.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// A file of lines, to which only this program writes.
#[derive(Debug)]
pub struct Readings {
    file: File,
    path: PathBuf,
    /// Where the last whole line ends.
    end: u64,
    /// The object that the last line is about.
    last: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    file: String,
}

impl Readings {
    /// Opens the file, which is created when it is missing; half a line at its end is dropped.
    ///
    /// # Errors
    /// When it cannot be read, written or made durable.
    pub fn open(path: &Path) -> Result<Self, ReadingsError> {
        let failed = |action| {
            let path = path.to_owned();
            move |source| ReadingsError { action, path, source }
        };
        let mut options = OpenOptions::new();
        // What is said of patients is for the owner alone.
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = file.map_err(failed("open"))?;
        let length = file.metadata().map_err(failed("read"))?.len();
        let start = length.saturating_sub(2 * MOST_LINE);
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(start)).map_err(failed("read"))?;
        (&file).take(2 * MOST_LINE).read_to_end(&mut tail).map_err(failed("read"))?;
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = tail[..whole].strip_suffix(b"\n").unwrap_or_default();
        let line = line.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let last = serde_json::from_slice(line).ok().map(|Line { file }| file);
        let end = start + whole as u64;
        if end < length {
            log::warn!("{}: the last line was cut short and is dropped", path.display());
            file.set_len(end).map_err(failed("shorten"))?;
        }
        file.sync_all().map_err(failed("flush"))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed("flush the folder of"))?;
        Ok(Self { file, path: path.to_owned(), end, last })
    }

    /// Whether the last line is about the object `file`.
    pub fn ends_with(&self, file: &str) -> bool {
        self.last.as_deref() == Some(file)
    }

    /// Appends a line about the object `file`; on return it is durable.
    ///
    /// # Errors
    /// When the disk does not take it; the file then ends as before.
    pub fn append(&mut self, file: &str, line: &str) -> Result<(), ReadingsError> {
        let bytes = [line.as_bytes(), b"\n"].concat();
        let mut write = || {
            self.file.seek(SeekFrom::Start(self.end))?;
            self.file.write_all(&bytes)?;
            self.file.sync_data()
        };
        if let Err(source) = write() {
            // Half a line would spoil the next one.
            if let Err(error) = self.file.set_len(self.end) {
                log::error!("{} may end in half a line: {error}", self.path.display());
            }
            return Err(ReadingsError { action: "write to", path: self.path.clone(), source });
        }
        self.end += bytes.len() as u64;
        self.last = Some(file.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_are_appended_and_the_last_one_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("readings.jsonl");
        let mut readings = Readings::open(&path).unwrap();
        assert!(!readings.ends_with("a.dcm"));
        readings.append("a.dcm", "{\"file\":\"a.dcm\"}").unwrap();
        readings.append("b.dcm", "{\"file\":\"b.dcm\",\"verdict\":\"normal\"}").unwrap();
        assert!(readings.ends_with("b.dcm") && !readings.ends_with("a.dcm"));
        drop(readings);
        let mut readings = Readings::open(&path).unwrap();
        assert!(readings.ends_with("b.dcm"));
        readings.append("c.dcm", "{}").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"file\":\"a.dcm\"}\n{\"file\":\"b.dcm\",\"verdict\":\"normal\"}\n{}\n");
    }

    #[test]
    fn a_line_cut_short_at_any_byte_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("readings.jsonl");
        let (first, second) = ("{\"file\":\"a.dcm\"}\n", "{\"file\":\"b.dcm\"}\n");
        for cut in 0..second.len() {
            fs::write(&path, format!("{first}{}", &second[..cut])).unwrap();
            let mut readings = Readings::open(&path).unwrap();
            assert!(readings.ends_with("a.dcm"), "{cut}");
            readings.append("b.dcm", second.trim_end()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{first}{second}"), "{cut}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let told = Readings::open(Path::new("/no/such/readings.jsonl")).unwrap_err().to_string();
        assert!(told.starts_with("cannot open /no/such/readings.jsonl: "), "{told}");
    }
}
