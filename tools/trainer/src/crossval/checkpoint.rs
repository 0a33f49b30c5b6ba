//! The state of one fold on disk: complete or not there, whenever the power goes or the disk is full.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::fold::Epoch;
use crate::network::weights::{Weights, WeightsError};
use crate::paper::networks::PaperNetwork;

const LEARNED: &str = "learned.safetensors";
const OPTIMISER: &str = "optimiser.bpk";

/// A checkpoint that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The weights in it cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Something else is wrong with it.
    #[error("{path}: {detail}")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What.
        detail: String,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CheckpointError + '_ {
    |source| CheckpointError::Io { path: path.into(), source }
}

fn unusable(path: &Path, detail: impl std::fmt::Display) -> CheckpointError {
    CheckpointError::Unusable { path: path.into(), detail: detail.to_string() }
}

/// How far a fold has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) epochs: Vec<Epoch>,
    /// Of the tested films after the last epoch.
    pub(super) probabilities: Vec<[f32; 3]>,
}

/// Gives the parameters numbers in their order, so that an optimiser's record fits the network of another process.
pub(super) fn numbered(network: PaperNetwork) -> PaperNetwork {
    struct Number(u64);
    impl ModuleMapper for Number {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let (_, tensor, mapper) = param.consume();
            Param::from_mapped_value(ParamId::from(self.0), tensor, mapper)
        }
    }
    network.map(&mut Number(0))
}

/// The checkpoint of one fold: what was learned beyond `start`, the optimiser, the state. A new one is written beside
/// the old one and then takes its place.
pub(super) struct Checkpoint<'a> {
    place: PathBuf,
    new: PathBuf,
    old: PathBuf,
    start: &'a Weights,
}

impl<'a> Checkpoint<'a> {
    pub(super) fn of(fold: &Path, start: &'a Weights) -> Self {
        let in_fold = |name| fold.join(name);
        Self { place: in_fold("checkpoint"), new: in_fold("checkpoint.new"), old: in_fold("checkpoint.old"), start }
    }

    /// `None` when there is none yet.
    pub(super) fn read(
        &self,
        network: PaperNetwork,
        optimiser: ModuleOptimizer,
    ) -> Result<(PaperNetwork, ModuleOptimizer, State), CheckpointError> {
        let Some(folder) = [&self.place, &self.old].into_iter().find(|path| path.is_dir()) else {
            return Ok((network, optimiser, State::default()));
        };
        let path = folder.join("state.json");
        let text = fs::read(&path).map_err(io_error(&path))?;
        let state = serde_json::from_slice(&text).map_err(|e| unusable(&path, format!("not a state: {e}")))?;
        let (learned, _) = Weights::read(&folder.join(LEARNED))?;
        let mut weights = self.start.clone();
        weights.0.extend(learned.0);
        let path = folder.join(OPTIMISER);
        let record = OptimizerRecord::load(&path).map_err(|e| unusable(&path, format!("not an optimiser: {e}")))?;
        Ok((weights.put_into(network)?, optimiser.load_record(record), state))
    }

    pub(super) fn write(
        &self,
        network: &PaperNetwork,
        optimiser: &ModuleOptimizer,
        state: &State,
    ) -> Result<(), CheckpointError> {
        let _ = fs::remove_dir_all(&self.new);
        fs::create_dir_all(&self.new).map_err(io_error(&self.new))?;
        let mut learned = Weights::of(network);
        learned.0.retain(|name, array| self.start.0.get(name) != Some(&*array));
        learned.write(&self.new.join(LEARNED), &BTreeMap::new())?;
        let path = self.new.join(OPTIMISER);
        optimiser.to_record().save(&path).map_err(|e| unusable(&path, format!("cannot be written: {e}")))?;
        fs::File::open(&path).and_then(|file| file.sync_all()).map_err(io_error(&path))?;
        let path = self.new.join("state.json");
        let text = serde_json::to_vec(state).map_err(|e| unusable(&path, e))?;
        crate::files::replace(&path, &text).map_err(io_error(&path))?;
        let _ = fs::remove_dir_all(&self.old);
        if self.place.exists() {
            fs::rename(&self.place, &self.old).map_err(io_error(&self.place))?;
        }
        fs::rename(&self.new, &self.place).map_err(io_error(&self.new))?;
        let _ = fs::remove_dir_all(&self.old);
        Ok(())
    }

    /// Takes away what only a cut fold needs.
    pub(super) fn clear(&self) {
        for folder in [&self.place, &self.new, &self.old] {
            let _ = fs::remove_dir_all(folder);
        }
    }
}
