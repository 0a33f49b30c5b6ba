//! Which model films are read with: the one that was named, else the device's, else the one that came with the program.

use std::path::{Path, PathBuf};

use crate::adapters::disk::DiskStorage;
use crate::bundle::golden::Golden;
use crate::bundle::key_list::{KeyList, MAX_LIST_BYTES};
use crate::bundle::release::{self, Opened, bundle_at, read_limited};
use crate::bundle::slots::Slot;
use crate::bundle::{MANIFEST, Policy, Stage, Store, StoreError, VerifiedBundle, VerifiedModel};

use super::{Device, ModelsError};

/// Where a model lies that was released with the program, seen from a folder.
const RELEASED: &str = "models/released";

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// A person named it.
    Named(PathBuf),
    /// The device's store.
    Slot {
        /// Which slot.
        slot: Slot,
        /// How far it has come.
        stage: Stage,
    },
    /// It came with the program.
    Shipped(PathBuf),
}

/// A verified model and what a start has to know of it.
#[derive(Debug)]
pub struct Chosen {
    /// The model.
    pub model: VerifiedModel,
    /// What it has to answer; `None` for a model directory, which has no golden films.
    pub golden: Option<Golden>,
    /// Where it comes from.
    pub from: From,
    /// What a person should know.
    pub remarks: Vec<String>,
}

impl Chosen {
    pub(super) fn of(opened: Opened, from: From, remarks: Vec<String>) -> Self {
        match opened {
            Opened::Directory(model) => Self { model, golden: None, from, remarks },
            Opened::Bundle(bundle) => {
                let parts = bundle.into_parts();
                Self { model: parts.model, golden: Some(parts.golden), from, remarks }
            }
        }
    }
}

/// The key list to go by: `named`, else that of the device's store, else the one built into the program.
///
/// # Errors
/// When the named one cannot be read, or there is a store whose list cannot.
pub fn trusted(named: Option<&Path>, device: &Device) -> Result<KeyList, ModelsError> {
    let built_in = |path: PathBuf| move |source| ModelsError::Trust { path, source };
    if let Some(path) = named {
        return KeyList::anchor(&read_limited(path, MAX_LIST_BYTES)?).map_err(built_in(path.to_owned()));
    }
    if let Some(mut storage) = open_store(device)? {
        match Store::new(&mut storage).trusted() {
            Err(StoreError::NoStore) if !device.configured => {}
            other => return other.map_err(ModelsError::store(&device.store)),
        }
    }
    KeyList::built_in().map_err(built_in("the key list of this program".into()))
}

/// The model that a command reads films with: nothing is counted and nothing written.
///
/// `named` is a model directory, a bundle or a folder with one; else `LIGHTBOX_MODEL` may name one. `keys` is the key
/// list that a named bundle has to satisfy.
///
/// # Errors
/// When it cannot be used: no other model is taken in its place.
pub fn choose(named: Option<&Path>, keys: Option<&Path>, device: &Device) -> Result<Chosen, ModelsError> {
    if let Some(path) = named_or_set(named) {
        return open_named(&path, keys, device);
    }
    if let Some(mut storage) = open_store(device)? {
        match Store::new(&mut storage).current(&device.policy) {
            Ok(running) => {
                let from = From::Slot { slot: running.slot, stage: running.stage };
                return Ok(Chosen::of(Opened::Bundle(running.bundle), from, running.remarks));
            }
            // An empty folder is no store; a store without a confirmed model holds nothing that the shipped one takes back.
            Err(StoreError::NoStore | StoreError::Empty(_)) => {}
            Err(error) => return Err(ModelsError::store(&device.store)(error)),
        }
    }
    open_shipped(device)
}

pub(super) fn named_or_set(named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_owned).or_else(|| std::env::var_os("LIGHTBOX_MODEL").map(PathBuf::from))
}

pub(super) fn open_named(path: &Path, keys: Option<&Path>, device: &Device) -> Result<Chosen, ModelsError> {
    let from = From::Named(path.to_owned());
    // A model directory needs no key list: nobody signed it.
    let opened = match bundle_at(path) {
        Some(_) => release::open_with(path, &trusted(keys, device)?, &device.policy)?,
        None => Opened::Directory(release::open(path)?),
    };
    Ok(Chosen::of(opened, from, Vec::new()))
}

/// The store's folder, if there is one; `None` where nobody said where it is and there is nothing.
pub(super) fn open_store(device: &Device) -> Result<Option<DiskStorage>, ModelsError> {
    if !device.configured && !device.store.join("state-0").exists() && !device.store.join("state-1").exists() {
        return Ok(None);
    }
    DiskStorage::open(&device.store).map(Some).map_err(|source| ModelsError::Folder { source })
}

/// The model that came with the program, which the program's own key list vouches for.
pub(super) fn open_shipped(device: &Device) -> Result<Chosen, ModelsError> {
    let path = shipped()?;
    let failed = |source| ModelsError::Trust { path: "the key list of this program".into(), source };
    let opened = release::open_with(&path, &KeyList::built_in().map_err(failed)?, &device.policy)?;
    Ok(Chosen::of(opened, From::Shipped(path), Vec::new()))
}

/// The bundle that came with the program, if `trusted` vouches for it; `None` where a model directory did.
///
/// # Errors
/// When there is none or it is refused.
pub(super) fn shipped_bundle(trusted: &KeyList, policy: &Policy) -> Result<Option<VerifiedBundle>, ModelsError> {
    match bundle_at(&shipped()?) {
        Some(file) => Ok(Some(release::open_bundle(&file, trusted, policy)?)),
        None => Ok(None),
    }
}

/// Where the model lies that came with the program.
///
/// # Errors
/// When it is nowhere.
pub fn shipped() -> Result<PathBuf, ModelsError> {
    // Cargo sets the variable for `cargo run`, so that it works from any folder of the clone.
    let clone = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let prefix = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("share/lightbox")));
    let folders = [Some(PathBuf::from(".")), clone, prefix, Some("/usr/share/lightbox".into())];
    let candidates: Vec<PathBuf> = folders.into_iter().flatten().map(|folder| folder.join(RELEASED)).collect();
    let whole = |candidate: &&PathBuf| candidate.join(MANIFEST).is_file() || candidate.join(release::BUNDLE).is_file();
    match candidates.iter().find(whole) {
        Some(found) => Ok(found.clone()),
        None => Err(ModelsError::NoModel(candidates)),
    }
}
