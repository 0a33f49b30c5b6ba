//! One fold: learn from the other folds' films, test on its own. Always in a process of its own, as random numbers are
//! one stream a process.
//!
//! Every number depends on the seed, the fold, the epoch and the step alone, so a fold that was cut comes to the same
//! end as one that was not.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::cache::{Activations, CacheError, Place};
use super::checkpoint::{Checkpoint, CheckpointError, State, numbered};
use super::films::Case;
use super::folds::CLASSES;
use super::record::{Record, RecordError};
use super::scope::Scope;
use super::start::{Start, StartError};
use crate::data::Label;
use crate::network::weights::{Weights, WeightsError};
use crate::paper::networks::{Architecture, OnnxError, PaperNetwork, write_onnx};
use crate::training::loss::loss;

/// Films that are tested together.
const TESTED_TOGETHER: usize = 32;

/// A fold that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// What the run is cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The network cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The activations cannot be read.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The checkpoint cannot be used.
    #[error("{0} (the last checkpoint is kept: go on with --resume)")]
    Checkpoint(#[from] CheckpointError),
    /// The learned weights cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The network cannot be kept as ONNX.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A file cannot be read or written.
    #[error("{path}: {source} (the last checkpoint is kept: go on with --resume)")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The loss is no number.
    #[error(
        "the loss of epoch {epoch}, step {step} is {loss}: lower training.learning_rate (the last checkpoint is kept)"
    )]
    Diverged {
        /// From 1.
        epoch: usize,
        /// From 1.
        step: usize,
        /// What it is.
        loss: f32,
    },
    /// Nobody listens any more.
    #[error("stopped: the run that this fold belongs to has ended")]
    Abandoned(#[source] io::Error),
}

/// Means over one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Over the steps, while learning.
    pub training_loss: f64,
    /// Share of training films given their class, while learning.
    pub training_accuracy: f64,
    /// Of the tested films after the epoch.
    pub test_loss: f64,
    /// Share of tested films given their class after the epoch.
    pub test_accuracy: f64,
    /// Spent on it.
    pub seconds: f64,
}

/// What came of a fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldResult {
    /// Which fold.
    pub fold: usize,
    /// One entry an epoch.
    pub epochs: Vec<Epoch>,
    /// One entry a tested film.
    pub predictions: Vec<Prediction>,
}

/// What a network says of a film that it did not learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Position among the run's films.
    pub film: usize,
    /// Of Covid-19, pneumonia and normal.
    pub probabilities: [f32; 3],
}

/// The folder of a fold.
pub(super) fn folder(network: &Path, fold: usize) -> PathBuf {
    network.join(format!("fold-{fold:02}"))
}

/// What came of `fold`; `None` while it is not done.
///
/// # Errors
/// When the file is there but cannot be read.
pub fn read_result(network: &Path, fold: usize) -> Result<Option<FoldResult>, FoldError> {
    let path = folder(network, fold).join("result.json");
    match fs::read(&path) {
        Ok(text) => {
            let broken = |e: serde_json::Error| FoldError::Io { path: path.clone(), source: e.into() };
            Ok(Some(serde_json::from_slice(&text).map_err(broken)?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FoldError::Io { path, source }),
    }
}

/// What to learn.
#[derive(Clone, Debug)]
pub struct FoldOrder {
    /// Folder of the run.
    pub run: PathBuf,
    /// Which network.
    pub network: Architecture,
    /// From which weights.
    pub start: Start,
    /// Which fold.
    pub fold: usize,
}

/// Learns one fold of a run, from its last checkpoint on, and writes what came of it.
///
/// `step` is called after each step with the number of steps done in this process.
///
/// # Errors
/// When something cannot be read or written, or `step` fails. The last checkpoint is kept.
pub fn learn(order: &FoldOrder, mut step: impl FnMut(usize) -> io::Result<()>) -> Result<(), FoldError> {
    let record = Record::read(&order.run)?;
    let study = record.study()?;
    let films = record.films(&order.run)?;
    let network_folder = super::network_folder(&order.run, order.network);
    let fold_folder = folder(&network_folder, order.fold);
    let io_error = |path: &Path| {
        let path = path.to_path_buf();
        move |source: io::Error| FoldError::Io { path, source }
    };
    fs::create_dir_all(&fold_folder).map_err(io_error(&fold_folder))?;
    // A fold of a run that was killed may still be at its last step.
    let lock = File::create(fold_folder.join("lock")).map_err(io_error(&fold_folder))?;
    lock.lock().map_err(io_error(&fold_folder))?;

    let activations = Activations::open(&Place::of(&network_folder), films.len())?;
    let device = Device::flex().autodiff();
    let (network, _) = order.start.network(order.network, &study, &device)?;
    let network = numbered(network);
    let start = Weights::of(&network);
    let checkpoint = Checkpoint::of(&fold_folder, &start);
    let optimiser = AdamConfig::new().with_epsilon(1e-7).init();
    let (network, optimiser, mut state) = checkpoint.read(network, optimiser)?;

    let of_fold = |tested: bool| {
        films.iter().enumerate().filter(move |(_, film)| (film.fold == order.fold) == tested).map(|(i, _)| i)
    };
    let mut learner = Learner {
        network,
        optimiser,
        activations: &activations,
        labels: films.iter().map(|film| film.case.label).collect(),
        rate: study.learning_rate(order.network),
        seed: study.file.folds.seed ^ ((order.fold as u64 + 1) << 32),
        scope: study.file.training.scope,
        device,
        done: 0,
    };
    let (training, tested): (Vec<usize>, Vec<usize>) = (of_fold(false).collect(), of_fold(true).collect());
    for epoch in state.epochs.len()..study.file.training.epochs {
        let begun = std::time::Instant::now();
        let learned = learner.epoch(epoch, &training, study.file.training.batch, &mut step)?;
        let (probabilities, test_loss) = learner.test(&tested)?;
        let right = tested.iter().zip(&probabilities).filter(|(film, p)| is_right(learner.labels[**film], p)).count();
        state.probabilities = probabilities;
        state.epochs.push(Epoch {
            training_loss: learned.loss,
            training_accuracy: learned.right as f64 / training.len().max(1) as f64,
            test_loss,
            test_accuracy: right as f64 / tested.len().max(1) as f64,
            seconds: begun.elapsed().as_secs_f64(),
        });
        checkpoint.write(&learner.network, &learner.optimiser, &state)?;
    }
    if record.export {
        let path = fold_folder.join("model.onnx");
        let size = [study.spec.height(), study.spec.width()];
        write_onnx(&learner.network.valid(), size, &path)?;
    }
    let State { epochs, probabilities } = state;
    let predictions = tested.into_iter().zip(probabilities);
    let predictions = predictions.map(|(film, probabilities)| Prediction { film, probabilities }).collect();
    let result = FoldResult { fold: order.fold, epochs, predictions };
    let path = fold_folder.join("result.json");
    let text = serde_json::to_vec(&result).map_err(|e| io_error(&path)(e.into()))?;
    crate::files::replace(&path, &text).map_err(io_error(&path))?;
    checkpoint.clear();
    Ok(())
}

/// The class with the highest probability, the first where there are several.
pub fn likeliest(probabilities: &[f32; 3]) -> Label {
    let best = (0..3).fold(0, |best, c| if probabilities[c] > probabilities[best] { c } else { best });
    CLASSES[best]
}

fn is_right(label: Label, probabilities: &[f32; 3]) -> bool {
    likeliest(probabilities) == label
}

struct Learned {
    loss: f64,
    right: usize,
}

struct Learner<'a> {
    network: PaperNetwork,
    optimiser: ModuleOptimizer,
    activations: &'a Activations,
    labels: Vec<Label>,
    rate: f64,
    seed: u64,
    scope: Scope,
    device: Device,
    /// Steps in this process.
    done: usize,
}

impl Learner<'_> {
    fn epoch(
        &mut self,
        epoch: usize,
        training: &[usize],
        batch: usize,
        say: &mut impl FnMut(usize) -> io::Result<()>,
    ) -> Result<Learned, FoldError> {
        let mut order = training.to_vec();
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        // Streams of one generator do not overlap.
        random.set_stream(epoch as u64 + 1);
        order.shuffle(&mut random);
        let (mut sum, mut right) = (0.0, 0);
        for (number, films) in order.chunks(batch).enumerate() {
            self.device.seed(self.seed ^ ((epoch as u64 + 1) << 16) ^ (number as u64 + 1));
            let (loss, probabilities) = self.step(films)?;
            if !loss.is_finite() {
                return Err(FoldError::Diverged { epoch: epoch + 1, step: number + 1, loss });
            }
            sum += f64::from(loss) * films.len() as f64;
            right += films.iter().zip(&probabilities).filter(|(film, p)| is_right(self.labels[**film], p)).count();
            self.done += 1;
            say(self.done).map_err(FoldError::Abandoned)?;
        }
        Ok(Learned { loss: sum / training.len().max(1) as f64, right })
    }

    fn step(&mut self, films: &[usize]) -> Result<(f32, Vec<[f32; 3]>), FoldError> {
        let logits = self.scope.trained(&self.network, self.activations.of(films, &self.device)?);
        let probabilities = rows(softmax(logits.clone(), 1));
        let loss = loss(logits, &self.labels_of(films), 0.0);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        self.network = self.optimiser.step(self.rate, self.network.clone(), gradients);
        // Running statistics wait in a queue until they are next needed; a copy for inference empties it. Without this,
        // checkpoints would lack the last step's.
        let _ = self.network.valid();
        Ok((loss.into_scalar(), probabilities))
    }

    /// Probabilities of `films` and their mean loss.
    fn test(&self, films: &[usize]) -> Result<(Vec<[f32; 3]>, f64), FoldError> {
        let (network, device) = (self.network.valid(), Device::flex());
        let (mut probabilities, mut sum) = (Vec::with_capacity(films.len()), 0.0);
        for films in films.chunks(TESTED_TOGETHER) {
            let logits = self.scope.trained(&network, self.activations.of(films, &device)?);
            let mean: f32 = loss(logits.clone(), &self.labels_of(films), 0.0).into_scalar();
            sum += f64::from(mean) * films.len() as f64;
            probabilities.extend(rows(softmax(logits, 1)));
        }
        Ok((probabilities, sum / films.len().max(1) as f64))
    }

    fn labels_of(&self, films: &[usize]) -> Vec<Label> {
        films.iter().map(|film| self.labels[*film]).collect()
    }
}

fn rows(probabilities: Tensor<2>) -> Vec<[f32; 3]> {
    let values: Vec<f32> = probabilities.into_data().iter::<f32>().collect();
    values.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect()
}

/// A film of a run and the fold that tests it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divided {
    /// The film.
    pub case: Case,
    /// Its fold.
    pub fold: usize,
}
