//! Storage in memory that fails or loses power at any operation, and forgets what was not synced.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part that it needs")]

use std::collections::BTreeMap;
use std::io;

use lightbox::ports::{Storage, StorageError};

/// What goes wrong at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accident {
    /// That operation fails, later ones do not.
    FailsOnce,
    /// That operation fails and all later ones.
    FailsFromThen,
    /// The power goes: nothing later happens.
    PowerCut,
}

/// What is left of bytes and names that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// As before.
    Old,
    /// All of it.
    New,
    /// The first half, cut short.
    Half,
    /// The first half, the rest as before.
    Torn,
    /// The length, but zeros.
    Zeros,
    /// The name, but nothing in it.
    Empty,
    /// Something else for each file.
    Mixed(u64),
}

impl Left {
    pub const ALL: [Self; 9] = [
        Self::Old,
        Self::New,
        Self::Half,
        Self::Torn,
        Self::Zeros,
        Self::Empty,
        Self::Mixed(1),
        Self::Mixed(2),
        Self::Mixed(3),
    ];
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// What a reader sees while there is power.
    now: Option<Vec<u8>>,
    /// What is there for certain after a power cut.
    durable: Option<Vec<u8>>,
    /// Whether the bytes, not the name, are durable.
    synced: bool,
}

/// Files in memory.
#[derive(Clone, Debug, Default)]
pub struct CuttingStorage {
    files: BTreeMap<String, Entry>,
    /// Operations so far.
    pub operations: usize,
    accident: Option<(usize, Accident)>,
    off: bool,
}

impl CuttingStorage {
    /// The same files, with an accident at operation `at`, counted from 0.
    pub fn with(&self, at: usize, accident: Accident) -> Self {
        Self { files: self.files.clone(), operations: 0, accident: Some((at, accident)), off: false }
    }

    /// Whether the accident has happened.
    pub fn struck(&self) -> bool {
        self.accident.is_some_and(|(at, _)| self.operations > at)
    }

    /// The device after its next start.
    pub fn restarted(&self, left: Left) -> Self {
        let mut files = BTreeMap::new();
        for (index, (name, entry)) in self.files.iter().enumerate() {
            let content = if entry.now == entry.durable { entry.durable.clone() } else { remains(entry, left, index) };
            if let Some(content) = content {
                files.insert(name.clone(), Entry { now: Some(content.clone()), durable: Some(content), synced: true });
            }
        }
        Self { files, ..Self::default() }
    }

    /// Names and bytes as a reader sees them.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.files.iter().filter_map(|(name, entry)| Some((name.clone(), entry.now.clone()?))).collect()
    }

    /// Puts bytes there as if by another hand.
    pub fn plant(&mut self, name: &str, bytes: &[u8]) {
        let content = Some(bytes.to_vec());
        self.files.insert(name.to_owned(), Entry { now: content.clone(), durable: content, synced: true });
    }

    fn step(&mut self, operation: &'static str, name: &str) -> Result<(), StorageError> {
        let number = self.operations;
        self.operations += 1;
        let strikes = match self.accident {
            None => false,
            Some((at, Accident::FailsOnce)) => number == at,
            Some((at, Accident::FailsFromThen | Accident::PowerCut)) => number >= at,
        };
        if !strikes {
            return Ok(());
        }
        let source = io::Error::other("the medium failed");
        Err(StorageError { operation, name: name.to_owned(), source })
    }

    /// Whether the power went before this operation, so that not even a part of it happens.
    fn is_off(&self) -> bool {
        matches!(self.accident, Some((at, Accident::PowerCut)) if self.operations > at)
    }
}

fn remains(entry: &Entry, left: Left, index: usize) -> Option<Vec<u8>> {
    let (new, old) = (entry.now.clone(), entry.durable.clone());
    let left = match left {
        Left::Mixed(seed) => {
            let plain = [Left::Old, Left::New, Left::Half, Left::Torn, Left::Zeros, Left::Empty];
            plain[(seed as usize * 7 + index * 5 + index * index * seed as usize) % plain.len()]
        }
        plain => plain,
    };
    // The bytes are durable, only the name may be lost.
    let tears = !entry.synced;
    let Some(bytes) = new else {
        // Removed: it is gone or it is still there.
        return if left == Left::Old { old } else { None };
    };
    let half = bytes.len() / 2;
    match left {
        Left::Old => old,
        Left::Half if tears => Some(bytes[..half].to_vec()),
        Left::Torn if tears => {
            let mut torn = bytes[..half].to_vec();
            torn.extend(old.unwrap_or_default().into_iter().skip(half));
            Some(torn)
        }
        Left::Zeros if tears => Some(vec![0; bytes.len()]),
        Left::Empty if tears => Some(Vec::new()),
        _ => Some(bytes),
    }
}

impl Storage for CuttingStorage {
    fn read(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, StorageError> {
        self.step("read", name)?;
        let found = self.files.get(name).and_then(|entry| entry.now.clone());
        assert!(found.as_ref().is_none_or(|bytes| bytes.len() as u64 <= limit), "{name} is longer than its limit");
        Ok(found)
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let off = self.is_off();
        let outcome = self.step("write", name);
        if off {
            return outcome;
        }
        let entry = self.files.entry(name.to_owned()).or_default();
        entry.synced = false;
        match &outcome {
            Ok(()) => entry.now = Some(bytes.to_vec()),
            // A write that fails has written a part.
            Err(_) => {
                let half = bytes.len() / 2;
                let mut torn = bytes[..half].to_vec();
                torn.extend(entry.now.take().unwrap_or_default().into_iter().skip(half));
                entry.now = Some(torn);
            }
        }
        outcome
    }

    fn sync(&mut self, name: &str) -> Result<(), StorageError> {
        self.step("sync", name)?;
        let entry = self.files.get_mut(name).expect("a file that was written");
        entry.synced = true;
        if entry.durable.is_some() {
            entry.durable = entry.now.clone();
        }
        Ok(())
    }

    fn sync_names(&mut self) -> Result<(), StorageError> {
        self.step("sync", "names")?;
        for entry in self.files.values_mut() {
            match (&entry.now, entry.synced) {
                (None, _) => entry.durable = None,
                (Some(bytes), true) => entry.durable = Some(bytes.clone()),
                (Some(_), false) => {
                    entry.durable.get_or_insert_default();
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), StorageError> {
        let off = self.is_off();
        self.step("remove", name)?;
        if !off && let Some(entry) = self.files.get_mut(name) {
            entry.now = None;
        }
        Ok(())
    }
}
