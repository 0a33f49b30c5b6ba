//! Drives for the emulated board, and what is left of one when the power goes.
//!
//! A drive acknowledges a write before it is durable; durable is what was written before the last completed flush. QEMU
//! writes a log of all writes and flushes (driver `blklogwrites`, in the format of the kernel's dm-log-writes); after a
//! power cut the drive is made anew from its state at switch-on and that log: every write up to the last flush, and of the
//! later ones only some.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use thiserror::Error;

const SECTOR: u64 = 512;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FORCE_UNIT_ACCESS: u64 = 2;
const DISCARD: u64 = 4;

/// A drive that cannot be made, or a log that cannot be read.
#[derive(Debug, Error)]
pub enum DiskError {
    /// A file of the drive.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The file system cannot be made.
    #[error("mkfs cannot make a file system on {path}: {words}")]
    Format {
        /// The drive.
        path: PathBuf,
        /// What mkfs said.
        words: String,
    },
    /// The log is not one.
    #[error("{path} is no log of writes: it starts with {found:#x}, expected {MAGIC:#x}")]
    NoLog {
        /// The file.
        path: PathBuf,
        /// Its first eight bytes.
        found: u64,
    },
}

/// A drive: a file of this machine.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
    log: Option<PathBuf>,
}

impl Disk {
    /// An empty ext4 drive.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn ext4(path: &Path, mib: u64) -> Result<Self, DiskError> {
        Self::formatted(path, mib, "mkfs.ext4", &["-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"])
    }

    /// An empty FAT drive, as USB sticks are sold.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn fat(path: &Path, mib: u64) -> Result<Self, DiskError> {
        Self::formatted(path, mib, "mkfs.vfat", &["-F", "32"])
    }

    /// A drive that is there already.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), log: None }
    }

    /// Writes every write and flush down in a log. What is in the drive's file at switch-on has to be kept elsewhere.
    #[must_use]
    pub fn logged(mut self, log: &Path) -> Self {
        self.log = Some(log.to_owned());
        self
    }

    /// The drive's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// QEMU's description of the drive.
    pub(crate) fn block_device(&self, id: &str) -> String {
        let path = self.path.display();
        match &self.log {
            None => format!("driver=raw,node-name={id},file.driver=file,file.filename={path}"),
            Some(log) => format!(
                "driver=blklogwrites,node-name={id},file.driver=file,file.filename={path},log.driver=file,log.filename={}",
                log.display()
            ),
        }
    }

    fn formatted(path: &Path, mib: u64, program: &str, arguments: &[&str]) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Io { path: path.to_owned(), source };
        File::create(path).and_then(|file| file.set_len(mib << 20)).map_err(failed)?;
        let output = Command::new(program)
            .args(arguments)
            .arg(path)
            .output()
            .map_err(|source| DiskError::Io { path: program.into(), source })?;
        if !output.status.success() {
            return Err(DiskError::Format {
                path: path.to_owned(),
                words: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
        Ok(Self::at(path))
    }
}

/// One write or flush that the drive was asked for.
#[derive(Debug)]
struct Step {
    at: u64,
    flags: u64,
    data: Vec<u8>,
}

/// What a drive was asked to write since it was switched on.
#[derive(Debug)]
pub struct WriteLog {
    steps: Vec<Step>,
}

impl WriteLog {
    /// Reads a log, up to where the power went.
    ///
    /// # Errors
    /// The file cannot be read or is no log.
    pub fn read(path: &Path) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let mut sector = [0; SECTOR as usize];
        file.read_exact(&mut sector).map_err(failed)?;
        if word(&sector, 0) != MAGIC {
            return Err(DiskError::NoLog { path: path.to_owned(), found: word(&sector, 0) });
        }
        let mut steps = Vec::new();
        // An entry that the power cut short, and the empty rest of the file, end the log.
        while file.read_exact(&mut sector).is_ok() {
            let (at, sectors, flags) = (word(&sector, 0), word(&sector, 1), word(&sector, 2));
            if at == 0 && sectors == 0 && flags == 0 {
                break;
            }
            let mut data = Vec::new();
            if sectors > 0 && flags & DISCARD == 0 {
                let size = sectors * SECTOR;
                if (&mut file).take(size).read_to_end(&mut data).map_err(failed)? as u64 != size {
                    break;
                }
            }
            steps.push(Step { at: at * SECTOR, flags, data });
        }
        Ok(Self { steps })
    }

    /// How many writes and flushes there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Forgets all but the first `steps` writes and flushes, as if the power had gone then.
    pub fn cut_after(&mut self, steps: usize) {
        self.steps.truncate(steps);
    }

    /// Writes not known to be durable when the power went: those after the last flush.
    #[must_use]
    pub fn in_doubt(&self) -> usize {
        self.steps[self.durable()..].iter().filter(|step| !step.data.is_empty()).count()
    }

    /// Makes the drive anew: from its file at switch-on, all that is durable, and those writes in doubt that `keep` says
    /// (by their number, from 0).
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn replay(&self, from: &Path, to: &Path, mut keep: impl FnMut(usize) -> bool) -> Result<(), DiskError> {
        let failed = |source| DiskError::Io { path: to.to_owned(), source };
        fs::copy(from, to).map_err(failed)?;
        let mut drive = File::options().write(true).open(to).map_err(failed)?;
        let durable = self.durable();
        let mut number = 0;
        for (index, step) in self.steps.iter().enumerate().filter(|(_, step)| !step.data.is_empty()) {
            let kept = index < durable || step.flags & FORCE_UNIT_ACCESS != 0 || {
                number += 1;
                keep(number - 1)
            };
            if kept {
                drive.write_all_at(&step.data, step.at).map_err(failed)?;
            }
        }
        drive.flush().map_err(failed)
    }

    /// The number of steps up to the last flush.
    fn durable(&self) -> usize {
        self.steps.iter().rposition(|step| step.flags & FLUSH != 0).map_or(0, |last| last + 1)
    }
}

fn word(sector: &[u8], index: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&sector[index * 8..index * 8 + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(log: &mut Vec<u8>, sector: u64, flags: u64, data: &[u8]) {
        let start = log.len();
        for word in [sector, data.len() as u64 / SECTOR, flags, 0] {
            log.extend_from_slice(&word.to_le_bytes());
        }
        log.resize(start + SECTOR as usize, 0);
        log.extend_from_slice(data);
    }

    #[test]
    fn writes_before_a_flush_stay_and_later_ones_may_be_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let mut log = MAGIC.to_le_bytes().to_vec();
        log.resize(SECTOR as usize, 0);
        entry(&mut log, 1, 0, &[1; 512]);
        entry(&mut log, 0, FLUSH, &[]);
        entry(&mut log, 2, 0, &[2; 512]);
        entry(&mut log, 3, 0, &[3; 512]);
        log.resize(log.len() + 1024, 0);
        fs::write(path("log"), log).expect("a log");
        fs::write(path("before"), [9; 4 * 512]).expect("a drive");
        let log = WriteLog::read(&path("log")).expect("a log");
        assert_eq!((log.len(), log.in_doubt()), (4, 2));
        log.replay(&path("before"), &path("after"), |number| number == 1).expect("a drive");
        let after = fs::read(path("after")).expect("a drive");
        assert_eq!([after[0], after[512], after[1024], after[1536]], [9, 1, 9, 3]);
    }

    #[test]
    fn a_file_that_is_no_log_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        fs::write(&path, [7; 512]).expect("a file");
        let refused = WriteLog::read(&path).expect_err("no log").to_string();
        assert!(refused.contains("starts with 0x707070707070707"), "{refused}");
    }
}
