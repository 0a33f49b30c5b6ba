//! The paper's comparison: every network by stratified cross-validation over groups of films, able to go on after a
//! cut at any moment.
//!
//! A run is a folder. The parent reads the films, divides them and computes what the frozen part of each network makes
//! of them; every fold is a child process that learns from that. What is done is in files, so nothing is done twice.

pub mod cache;
mod checkpoint;
pub mod films;
pub mod fold;
pub mod folds;
mod jobs;
pub mod record;
pub mod scope;
pub mod start;
pub mod study;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use sha2::{Digest, Sha256};

use crate::paper::networks::Architecture;
use crate::training::Progress;
use cache::{CacheError, Input, Place};
use films::{Films, FilmsError};
use fold::{Divided, FoldError};
use folds::FoldsError;
pub use jobs::CHILD;
use record::{Beginning, Record, RecordError};
use start::{Start, StartError};
use study::{Study, name_of};

/// What to compare on which films, and where to put it.
#[derive(Clone, Debug)]
pub struct Order {
    /// How.
    pub study: Study,
    /// A folder with `manifest.csv`, or with a folder for each class.
    pub data: PathBuf,
    /// What each network begins with.
    pub starts: BTreeMap<Architecture, Start>,
    /// Which networks, in this order.
    pub networks: Vec<Architecture>,
    /// A CSV of folds to take; else they are made.
    pub folds: Option<PathBuf>,
    /// Only these folds; all when empty.
    pub only: Vec<usize>,
    /// Folds at a time.
    pub jobs: usize,
    /// Whether each fold's network is kept as ONNX.
    pub export: bool,
    /// Folder of the run.
    pub out: PathBuf,
    /// Whether to go on with a run in `out`.
    pub resume: bool,
}

/// A comparison that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CrossvalError {
    /// The films cannot be used.
    #[error(transparent)]
    Films(#[from] FilmsError),
    /// They cannot be divided.
    #[error(transparent)]
    Folds(#[from] FoldsError),
    /// A network cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Activations cannot be kept.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The record of the run cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A result cannot be read.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// A fold failed.
    #[error("{network}, fold {fold}: {message}")]
    Failed {
        /// Of which network.
        network: &'static str,
        /// Which fold.
        fold: usize,
        /// What it said last.
        message: String,
    },
    /// A file or process cannot be had.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing to begin a network with.
    #[error("no weights for {title}: pass --weights {name}=FILE, or --weights {name}=random to start without ImageNet")]
    NoWeights {
        /// As a reader knows it.
        title: &'static str,
        /// On the command line.
        name: String,
    },
    /// A fold that does not exist.
    #[error("there is no fold {fold}: expected 0 to {last}")]
    NoFold {
        /// Which one was asked for.
        fold: usize,
        /// The last one.
        last: usize,
    },
    /// The folder is in use.
    #[error("{path} holds a run already: pass --resume to go on with it, or choose another folder")]
    Occupied {
        /// Which folder.
        path: PathBuf,
    },
    /// Another process works in the folder.
    #[error("{path} is being worked on by another process")]
    Busy {
        /// Which folder.
        path: PathBuf,
    },
    /// Not the same run.
    #[error("{path} was begun with {what}: go on with the same, or choose another folder")]
    Different {
        /// Which folder.
        path: PathBuf,
        /// `another recipe`, `other films or folds` …
        what: String,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CrossvalError + '_ {
    |source| CrossvalError::Io { path: path.into(), source }
}

/// The folder of a network in a run.
pub fn network_folder(run: &Path, network: Architecture) -> PathBuf {
    run.join(name_of(network))
}

/// Does what is not yet done of a comparison.
///
/// # Errors
/// When films, weights or files cannot be used, or a fold fails; what was done is kept.
pub fn run(order: &Order) -> Result<(), CrossvalError> {
    let folds = order.study.file.folds.count;
    if let Some(fold) = order.only.iter().find(|fold| **fold >= folds) {
        return Err(CrossvalError::NoFold { fold: *fold, last: folds - 1 });
    }
    for network in &order.networks {
        if !order.starts.contains_key(network) {
            return Err(CrossvalError::NoWeights { title: network.title(), name: name_of(*network) });
        }
    }
    fs::create_dir_all(&order.out).map_err(io_error(&order.out))?;
    let _lock = lock(&order.out)?;
    if !order.resume && Record::exists(&order.out) {
        return Err(CrossvalError::Occupied { path: order.out.clone() });
    }
    let (films, divided) = divided_films(order)?;
    keep_record(order, &films, &divided)?;

    // All weights are tried before the first hour is spent.
    let started: Vec<(Architecture, &Start)> =
        order.networks.iter().filter_map(|network| Some((*network, order.starts.get(network)?))).collect();
    for (network, start) in &started {
        begin(order, *network, start)?;
    }
    let wanted: Vec<usize> = if order.only.is_empty() { (0..folds).collect() } else { order.only.clone() };
    let mut progress = jobs::Whole::plan(order, &divided, &wanted)?;
    for (network, start) in started {
        let folder = network_folder(&order.out, network);
        let mut left = Vec::new();
        for fold in &wanted {
            if fold::read_result(&folder, *fold)?.is_none() {
                left.push(*fold);
            }
        }
        if left.is_empty() {
            log::info!("{}: done", network.title());
            continue;
        }
        fill_cache(order, network, start, &films, &mut progress)?;
        jobs::learn_folds(order, network, start, &left, &mut progress)?;
        if (0..folds).all(|fold| fold::read_result(&folder, fold).is_ok_and(|result| result.is_some())) {
            Place::of(&folder).clear();
        }
    }
    progress.finish();
    Ok(())
}

fn lock(folder: &Path) -> Result<File, CrossvalError> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CrossvalError::Busy { path: folder.into() }),
        Err(TryLockError::Error(source)) => Err(CrossvalError::Io { path, source }),
    }
}

fn divided_films(order: &Order) -> Result<(Films, Vec<Divided>), CrossvalError> {
    let progress = std::sync::OnceLock::new();
    let films = films::read(&order.data, &order.study, |done, total| {
        progress.get_or_init(|| Progress::start("reading films", total, 0)).set(done);
    })?;
    if let Some(progress) = progress.get() {
        progress.finish();
    }
    for film in &films.skipped {
        log::warn!("skipped {}: {}", film.file, film.reason);
    }
    let folds = &order.study.file.folds;
    folds::check_classes(&films.cases, folds.count)?;
    let fold_of = match &order.folds {
        Some(path) => folds::read(path, &films.cases, folds.count)?,
        None => folds::divide(&films.cases, folds.count, folds.seed),
    };
    folds::refuse_straddling(&films.cases, &fold_of)?;
    let divided: Vec<Divided> =
        films.cases.iter().cloned().zip(fold_of).map(|(case, fold)| Divided { case, fold }).collect();
    for label in folds::CLASSES {
        let per_fold: Vec<String> = (0..folds.count)
            .map(|fold| divided.iter().filter(|d| d.fold == fold && d.case.label == label).count().to_string())
            .collect();
        let total = divided.iter().filter(|d| d.case.label == label).count();
        log::info!("{label}: {total} films, by fold {}", per_fold.join(" "));
    }
    Ok((films, divided))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes what the run is, or compares it with what is there.
fn keep_record(order: &Order, films: &Films, divided: &[Divided]) -> Result<(), CrossvalError> {
    let mut hash = Sha256::new();
    for (Divided { case, fold }, digest) in divided.iter().zip(&films.digests) {
        hash.update(format!("{}\0{}\0{}\0{fold}\0", case.file, case.label, case.group));
        hash.update(digest);
    }
    let record = Record {
        study: order.study.file.clone(),
        films: hex(&hash.finalize()),
        skipped: films.skipped.iter().map(|s| (s.file.clone(), s.reason.clone())).collect(),
        export: order.export,
    };
    if !Record::exists(&order.out) {
        return Ok(record.write(&order.out, divided)?);
    }
    let old = Record::read(&order.out)?;
    let different = |what: &str| CrossvalError::Different { path: order.out.clone(), what: what.into() };
    if old.study != record.study {
        return Err(different("another recipe, size, scope or number of epochs"));
    }
    if old.films != record.films {
        return Err(different("other films or folds"));
    }
    if old.export != record.export {
        return Err(different(if old.export { "--export" } else { "no --export" }));
    }
    Ok(())
}

/// Tries the weights, and compares them with those that the network began with.
fn begin(order: &Order, network: Architecture, start: &Start) -> Result<(), CrossvalError> {
    let folder = network_folder(&order.out, network);
    let sha256 = start.digest()?;
    if let Some(old) = Beginning::read(&folder)? {
        if old.sha256 == sha256 {
            return Ok(());
        }
        let what = format!("other weights ({}, sha256 {})", old.weights, old.sha256);
        return Err(CrossvalError::Different { path: folder, what });
    }
    let (_, imported) = start.network(network, &order.study, &Device::flex())?;
    let (tensors, substituted, metadata) =
        imported.map_or_else(Default::default, |i| (i.tensors, i.substituted, i.metadata));
    for line in &substituted {
        log::info!("{}: {line}", network.title());
    }
    Ok(Beginning { weights: start.file_name(), sha256, tensors, substituted, metadata }.write(&folder)?)
}

/// Computes what the frozen part of `network` makes of the films, where it is not there.
fn fill_cache(
    order: &Order,
    network: Architecture,
    start: &Start,
    films: &Films,
    progress: &mut jobs::Whole,
) -> Result<(), CrossvalError> {
    let folder = network_folder(&order.out, network);
    let (height, width) = (order.study.spec.height(), order.study.spec.width());
    let files = films.cases.iter().map(|case| case.file.as_str()).collect();
    let scope = order.study.file.training.scope;
    let input = Input { greys: &films.greys, files, height, width, scope };
    // On the device of the folds, so that random weights are the same.
    let (network_to_train, _) = start.network(network, &order.study, &Device::flex().autodiff())?;
    let mut hash = Sha256::new();
    hash.update(format!("{}\0{}\0{height}\0{width}\0", name_of(network), start.digest()?));
    hash.update(format!("{}\0{}\0{scope:?}", order.study.file.input.canvas, order.study.file.folds.seed));
    films.digests.iter().for_each(|digest| hash.update(digest));
    let key = hex(&hash.finalize());
    let frozen = network_to_train.valid();
    let place = Place::of(&folder);
    let activations = cache::bytes_needed(&place, &key, &frozen, &input);
    // Weights, two moments of Adam, and a checkpoint beside the one that it replaces.
    let checkpoints = (frozen.num_params() * 4 * 3 * 2 * order.jobs) as u64;
    let (needed, free) = (activations + checkpoints, free_bytes(&order.out)?);
    log::info!(
        "{}: {} MiB of activations to write, at most {} MiB of checkpoints, {} MiB free",
        network.title(),
        activations >> 20,
        checkpoints >> 20,
        free >> 20
    );
    if needed > free {
        return Err(CacheError::Room { path: order.out.clone(), films: films.cases.len(), needed, free }.into());
    }
    cache::fill(&place, &key, &frozen, &input, |done| progress.trunk(network, done))?;
    Ok(())
}

fn free_bytes(path: &Path) -> Result<u64, CrossvalError> {
    let about = rustix::fs::statvfs(path).map_err(|error| io_error(path)(error.into()))?;
    Ok(about.f_bavail * about.f_frsize)
}
