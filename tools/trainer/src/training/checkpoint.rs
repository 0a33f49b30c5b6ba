//! The state of a run on disk: complete or not there, whenever the power goes.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::ModuleRecord;
use serde::{Deserialize, Serialize};

use super::{Optimisers, TrainingError, io_error};
use crate::network::Network;
use crate::network::weights::Weights;

const NETWORK: &str = "network.bpk";
const TRUNK_OPTIMISER: &str = "trunk-optimiser.bpk";
const HEAD_OPTIMISER: &str = "head-optimiser.bpk";

/// Where a run stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    /// As typed; a run goes on only with the same one.
    pub(super) recipe: serde_json::Value,
    pub(super) seed: u64,
    /// Steps done.
    pub(super) step: usize,
    /// Spent so far.
    pub(super) seconds: f64,
    /// Step and score of the best look.
    pub(super) best: Option<(usize, f64)>,
    pub(super) looks_since_best: usize,
    pub(super) last_score: f64,
}

impl State {
    pub(super) fn new(recipe: serde_json::Value, seed: u64) -> Self {
        Self { recipe, seed, step: 0, seconds: 0.0, best: None, looks_since_best: 0, last_score: 0.0 }
    }
}

/// The checkpoint of one run. A new one is written beside the old one and then takes its place; after a cut between
/// the two renames the old one is still there.
pub(super) struct Checkpoint {
    place: PathBuf,
    new: PathBuf,
    old: PathBuf,
}

impl Checkpoint {
    pub(super) fn of(run: &Path) -> Self {
        let in_run = |name| run.join(name);
        Self { place: in_run("checkpoint"), new: in_run("checkpoint.new"), old: in_run("checkpoint.old") }
    }

    /// The folder to read from.
    fn found(&self) -> Option<&Path> {
        [&self.place, &self.old].into_iter().find(|p| p.is_dir()).map(PathBuf::as_path)
    }

    pub(super) fn exists(&self) -> bool {
        self.found().is_some()
    }

    /// `None` when the run has not come to its first checkpoint.
    pub(super) fn read_state(&self) -> Result<Option<State>, TrainingError> {
        let Some(folder) = self.found() else { return Ok(None) };
        let path = folder.join("state.json");
        let text = fs::read_to_string(&path).map_err(io_error(&path))?;
        let state = serde_json::from_str(&text)
            .map_err(|e| TrainingError::Checkpoint { path: path.clone(), detail: format!("not a state: {e}") })?;
        Ok(Some(state))
    }

    /// Network, optimiser and averaged weights, put into the given ones.
    pub(super) fn read(
        &self,
        network: Network,
        optimisers: Optimisers,
    ) -> Result<(Network, Optimisers, Weights), TrainingError> {
        let folder = self.found().unwrap_or(&self.place);
        let bad = |path: &Path, error: &dyn std::fmt::Display| TrainingError::Checkpoint {
            path: path.into(),
            detail: format!("not a checkpoint of this network: {error}"),
        };
        let path = folder.join(NETWORK);
        let record = ModuleRecord::load(&path).map_err(|e| bad(&path, &e))?;
        let network = network.try_load_record(record).map_err(|e| bad(&path, &e))?;
        let load = |name, optimiser: ModuleOptimizer| {
            let path = folder.join(name);
            let record = OptimizerRecord::load(&path).map_err(|e| bad(&path, &e))?;
            Ok::<_, TrainingError>(optimiser.load_record(record))
        };
        let optimisers = Optimisers {
            trunk: load(TRUNK_OPTIMISER, optimisers.trunk)?,
            head: load(HEAD_OPTIMISER, optimisers.head)?,
        };
        let (average, _) = Weights::read(&folder.join("average.safetensors"))?;
        Ok((network, optimisers, average))
    }

    pub(super) fn write(
        &self,
        network: &Network,
        optimisers: &Optimisers,
        average: &Weights,
        state: &State,
    ) -> Result<(), TrainingError> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| TrainingError::Checkpoint {
            path: path.into(),
            detail: format!("cannot be written: {error} (the last checkpoint is kept: go on with --resume)"),
        };
        let _ = fs::remove_dir_all(&self.new);
        fs::create_dir_all(&self.new).map_err(io_error(&self.new))?;
        let path = self.new.join(NETWORK);
        network.clone().into_record().save(&path).map_err(|e| failed(&path, &e))?;
        for (name, optimiser) in [(TRUNK_OPTIMISER, &optimisers.trunk), (HEAD_OPTIMISER, &optimisers.head)] {
            let path = self.new.join(name);
            optimiser.to_record().save(&path).map_err(|e| failed(&path, &e))?;
        }
        average.write(&self.new.join("average.safetensors"), &Default::default())?;
        let path = self.new.join("state.json");
        let text = serde_json::to_vec_pretty(state).map_err(|e| failed(&path, &e))?;
        crate::files::replace(&path, &text).map_err(io_error(&path))?;
        for name in [NETWORK, TRUNK_OPTIMISER, HEAD_OPTIMISER] {
            let path = self.new.join(name);
            fs::File::open(&path).and_then(|file| file.sync_all()).map_err(io_error(&path))?;
        }
        let _ = fs::remove_dir_all(&self.old);
        if self.place.exists() {
            fs::rename(&self.place, &self.old).map_err(io_error(&self.place))?;
        }
        fs::rename(&self.new, &self.place).map_err(io_error(&self.new))?;
        let _ = fs::remove_dir_all(&self.old);
        Ok(())
    }
}
