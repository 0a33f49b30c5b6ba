//! The models of this device: which one films are read with, and how another one gets there.
//!
//! What is signed and how slots change is [`bundle`](crate::bundle)'s business; here it meets the disk, the engine and
//! the last cases. The command line and the kiosk both go through this module.

mod choose;
mod entry;
mod install;
mod recent;
mod serve;

use std::path::{Path, PathBuf};

pub use self::entry::{entry, entry_of};
pub use choose::{Chosen, From, choose, shipped, trusted};
pub use install::{
    Installed, Limits, Offer, Replayed, ReplayedCase, SelfTested, Step, With, bundles_on, compare, confirm, init,
    install, offer, permit_beside, roll_back, self_test_of_the_installed,
};
pub use recent::{Case, Recent, ReplayFrom, recent_cases};
pub use serve::{Next, Serving, ready, serve};

use crate::bundle::key_list::TrustError;
use crate::bundle::{BundleError, ModelError, Policy, StoreError};
use crate::config::ModelsConfig;
use crate::engine::EngineError;
use crate::ports::StorageError;
use crate::record::JournalError;

/// The folder of the model store where nothing else is said.
const USUAL_STORE: &str = "/var/lib/lightbox/models";

/// Where the models of a device are kept, and what it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The folder of the store.
    pub store: PathBuf,
    /// Whether somebody said where the store is: then it has to be there.
    pub configured: bool,
    /// What is accepted, and how it is tried.
    pub policy: Policy,
}

impl Default for Device {
    /// The store that `LIGHTBOX_STORE` names, else the usual one, with the usual policy.
    fn default() -> Self {
        Self::new(&ModelsConfig::default())
    }
}

impl Device {
    /// As the configuration says.
    pub fn new(config: &ModelsConfig) -> Self {
        let named = config.store.clone().or_else(|| std::env::var_os("LIGHTBOX_STORE").map(PathBuf::from));
        Self {
            configured: named.is_some(),
            store: named.unwrap_or_else(|| USUAL_STORE.into()),
            policy: Policy {
                unaudited: config.allow_unaudited,
                test_keys: config.allow_test_keys,
                trial_boots: config.trial_starts,
                confirm_after_readings: config.confirm_after_readings,
            },
        }
    }

    /// The store in `folder`, which has to be there.
    pub fn at(folder: &Path, policy: Policy) -> Self {
        Self { store: folder.to_owned(), configured: true, policy }
    }
}

/// Why there is no model, or why another one was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// No model was found anywhere.
    #[error(
        "no model found: looked in {}; name one with --model PATH or LIGHTBOX_MODEL",
        .0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NoModel(Vec<PathBuf>),
    /// The named or shipped model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The store's folder cannot be used.
    #[error("{source}; this is the device's model store: repair it, or name a model with --model PATH")]
    Folder {
        /// Why.
        source: StorageError,
    },
    /// The store says no.
    #[error("model store {}: {source}", store.display())]
    Store {
        /// Its folder.
        store: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// A file is refused.
    #[error("{}: {source}", path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// A key list or permit is refused.
    #[error("{}: {source}", path.display())]
    Trust {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: TrustError,
    },
    /// The network cannot be loaded.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The only model there is does not answer as it should.
    #[error("the model {model} fails its self-test and is not used: {reason}")]
    SelfTest {
        /// Name and version.
        model: String,
        /// What it answered.
        reason: String,
    },
    /// The trial of an installed model ended badly; the model before it is used.
    #[error("the self-test did not pass: {0}")]
    Trial(String),
    /// The process of a trial or a replay cannot be run.
    #[error("cannot run the trial in a process of its own: {0}")]
    Process(std::io::Error),
    /// The last cases cannot be listed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Nothing is on trial, or there is no model before it.
    #[error("both a running model and one on trial are needed to compare them")]
    NothingToCompare,
    /// There is no decoder for films.
    #[error(transparent)]
    Wall(#[from] crate::adapters::wall::WallError),
}

impl ModelsError {
    fn store(store: &Path) -> impl FnOnce(StoreError) -> Self {
        let store = store.to_owned();
        move |source| Self::Store { store, source }
    }

    fn refused(path: &Path) -> impl FnOnce(StoreError) -> Self {
        let path = path.to_owned();
        move |source| Self::Refused { path, source }
    }
}

/// A named bundle that is refused is told like one of the store.
fn refusal(path: &Path, source: BundleError) -> ModelsError {
    ModelsError::Refused { path: path.to_owned(), source: source.into() }
}
