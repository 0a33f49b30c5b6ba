//! The loop: batches in, averaged weights out, able to go on after a cut at any moment.

mod checkpoint;
pub mod loss;
mod progress;
mod schedule;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use burn::grad_clipping::GradientClippingConfig;
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use lightbox::domain::Lungs;
use serde_json::json;

use crate::data::batches::{Batch, Batches, TrainingFilms};
use crate::data::films::Film;
use crate::data::split::{self, Named, Parts};
use crate::data::{DataError, Label, films, manifest};
use crate::lungs;
use crate::metrics::{Area, area, auc};
use crate::network::Network;
use crate::network::weights::{Weights, WeightsError};
use crate::recipe::{Recipe, RecipeFile, Statistics};

use checkpoint::{Checkpoint, State};
pub use progress::Progress;

/// What to train on what, and where to put it.
#[derive(Clone, Debug)]
pub struct Order {
    /// How.
    pub recipe: Recipe,
    /// Folder with `manifest.csv`.
    pub data: PathBuf,
    /// ImageNet weights.
    pub weights: PathBuf,
    /// Lungs of films that `lungs.csv` does not know.
    pub lungs: Option<PathBuf>,
    /// Folder of the run.
    pub out: PathBuf,
    /// Of the split, the head, the batches and the drop-out.
    pub seed: u64,
    /// Whether to go on where a run in `out` was cut.
    pub resume: bool,
}

/// A training that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The weights cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A file of the run cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A checkpoint that cannot be understood.
    #[error("{path}: {detail}")]
    Checkpoint {
        /// Which file.
        path: PathBuf,
        /// What was found and expected.
        detail: String,
    },
    /// The folder is in use.
    #[error("{path} holds a run already: pass --resume to go on with it, or choose another folder")]
    Occupied {
        /// Which folder.
        path: PathBuf,
    },
    /// Another recipe or seed.
    #[error("{path} was begun with another {what}: go on with the same one, or choose another folder")]
    Different {
        /// Which folder.
        path: PathBuf,
        /// `recipe` or `seed`.
        what: &'static str,
    },
    /// The recipe asks for lungs of which nothing is known.
    #[error("input.lungs_margin needs the lungs of all training films: --lungs with a file of `trainer locate`")]
    LungsUnknown,
    /// The loss is no number.
    #[error("the loss of step {step} is {loss}: lower training.learning_rate (the last checkpoint is kept)")]
    Diverged {
        /// Which step.
        step: usize,
        /// What it is.
        loss: f32,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> TrainingError + '_ {
    |source| TrainingError::Io { path: path.into(), source }
}

/// What a finished training leaves behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The averaged weights, with the recipe and the seed in their metadata.
    pub weights: PathBuf,
    /// The step they are of.
    pub step: usize,
    /// Their score on the held-out films.
    pub score: f64,
}

/// One optimiser for each part, as the parts learn at different rates.
struct Optimisers {
    trunk: ModuleOptimizer,
    head: ModuleOptimizer,
}

/// Film inputs to look at during training.
struct Looked {
    films: Vec<Named>,
    inputs: Vec<Vec<f32>>,
}

/// What a look at the held-out films found.
struct Look {
    /// Mean of the areas within the sources that have films with and without Covid-19; over all films without any.
    score: f64,
    report: serde_json::Value,
    summary: String,
}

/// Trains as ordered.
///
/// # Errors
/// When data, weights or files cannot be used; what was done up to the last checkpoint is kept.
pub fn train(order: &Order) -> Result<Outcome, TrainingError> {
    let recipe = &order.recipe;
    let checkpoint = Checkpoint::of(&order.out);
    fs::create_dir_all(&order.out).map_err(io_error(&order.out))?;
    let resumed = if order.resume { checkpoint.read_state()? } else { None };
    if !order.resume && checkpoint.exists() {
        return Err(TrainingError::Occupied { path: order.out.clone() });
    }
    if let Some(state) = &resumed {
        let different = |what| TrainingError::Different { path: order.out.clone(), what };
        if state.recipe != recipe_json(&recipe.file) {
            return Err(different("recipe"));
        }
        if state.seed != order.seed {
            return Err(different("seed"));
        }
    }

    let parts = split::split(manifest::read(&order.data)?, recipe, order.seed)?;
    report_parts(&parts);
    let device = Device::flex();
    let training_device = device.clone().autodiff();
    training_device.seed(order.seed);
    let network = Network::new(recipe.file.network.dropout, &training_device);
    let (imagenet, _) = Weights::read(&order.weights)?;
    let mut network = imagenet.import_imagenet(network)?;
    if recipe.file.network.statistics == Statistics::Imported {
        network = network.keep_statistics();
    }
    let mut network = network.freeze_first(recipe.file.network.frozen_blocks);
    // After the weights: reading films takes minutes, and the weights may be of no use.
    let (films, looked) = load(order, parts)?;

    let training = &recipe.file.training;
    let mut optimiser = AdamWConfig::new().with_weight_decay(training.weight_decay).with_epsilon(1e-8);
    if training.gradient_norm > 0.0 {
        optimiser = optimiser.with_grad_clipping(Some(GradientClippingConfig::Norm(training.gradient_norm)));
    }
    let mut optimisers = Optimisers { trunk: optimiser.init(), head: optimiser.init() };
    let mut average = Weights::of(&network);
    let mut state = match resumed {
        Some(state) => {
            (network, optimisers, average) = checkpoint.read(network, optimisers)?;
            log::info!("going on after step {} of {}", state.step, training.steps);
            state
        }
        None => State::new(recipe_json(&recipe.file), order.seed),
    };
    let mut curve = open_curve(&order.out.join("curve.jsonl"), state.step)?;

    let start = Instant::now();
    let before = state.seconds;
    let films = Arc::new(films);
    let batches = Batches::start(films, state.step, training.steps).map_err(io_error(&order.out))?;
    let mut progress = Progress::start("training", training.steps, state.step);
    for batch in batches {
        training_device.seed(order.seed.wrapping_add(1 + batch.step as u64));
        let rate = schedule::rate(batch.step, training.steps, training.learning_rate, training.warm_up);
        let count = batch.labels.len();
        let loss;
        (network, loss) = step(network, &mut optimisers, &batch, rate, recipe, &training_device);
        if !loss.is_finite() {
            return Err(TrainingError::Diverged { step: batch.step + 1, loss });
        }
        state.step = batch.step + 1;
        let share = (1.0 - training.average_decay).max(1.0 / state.step as f32);
        average.approach(&Weights::of(&network), share);
        state.seconds = before + start.elapsed().as_secs_f64();
        curve.write(&json!({"step": state.step, "loss": loss, "rate": rate, "seconds": state.seconds}))?;
        progress.step(state.step, count, &format!("loss {loss:.3}"));

        let last = state.step == training.steps;
        if state.step % training.evaluate_every == 0 || last {
            let averaged = average.clone().put_into(Network::new(0.0, &device))?;
            let look = look(&averaged, &looked, recipe);
            curve.write(&json!({"step": state.step, "held_out": look.report}))?;
            progress.say(&format!("step {}: {}", state.step, look.summary));
            save(order, &average, state.step, look.score)?;
            if state.best.is_none_or(|(_, best)| look.score > best) {
                state.best = Some((state.step, look.score));
                state.looks_since_best = 0;
            } else {
                state.looks_since_best += 1;
            }
            state.last_score = look.score;
        }
        let stop = training.patience > 0 && state.looks_since_best >= training.patience;
        if state.step % training.checkpoint_every == 0 || last || stop {
            checkpoint.write(&network, &optimisers, &average, &state)?;
        }
        if stop {
            progress.say(&format!("no better for {} looks: stopped", training.patience));
            break;
        }
    }
    progress.finish();

    let chosen = match state.best {
        Some(best) if training.patience > 0 => best,
        _ => (state.step, state.last_score),
    };
    let from = weights_path(&order.out, chosen.0);
    let weights = order.out.join("weights.safetensors");
    let bytes = fs::read(&from).map_err(io_error(&from))?;
    crate::files::replace(&weights, &bytes).map_err(io_error(&weights))?;
    Ok(Outcome { weights, step: chosen.0, score: chosen.1 })
}

fn recipe_json(file: &RecipeFile) -> serde_json::Value {
    // Only numbers, words and lists of them: nothing that JSON lacks.
    serde_json::to_value(file).unwrap_or_default()
}

fn report_parts(parts: &Parts) {
    for (name, films) in [("training", &parts.training), ("held out", &parts.held_out)] {
        log::info!("{name}: {} films", films.len());
        for (source, labels) in split::counts(films) {
            let list: Vec<String> = labels.iter().map(|(label, n)| format!("{label} {n}")).collect();
            log::info!("  {source}: {}", list.join(", "));
        }
    }
}

/// The training films of `order`, as training would draw them.
///
/// # Errors
/// When the data cannot be used.
pub fn training_films(order: &Order) -> Result<TrainingFilms, TrainingError> {
    let mut parts = split::split(manifest::read(&order.data)?, &order.recipe, order.seed)?;
    parts.held_out.truncate(1);
    Ok(load(order, parts)?.0)
}

fn load(order: &Order, parts: Parts) -> Result<(TrainingFilms, Looked), TrainingError> {
    let recipe = &order.recipe;
    let chosen = split::thinned(&parts.held_out, recipe.file.training.evaluate_films, order.seed);
    let held_out: Vec<Named> = chosen.into_iter().map(|i| parts.held_out[i].clone()).collect();
    let read = |films: Vec<Named>, what: &str| {
        let progress = Progress::start(what, films.len(), 0);
        let result = films::read_all(&order.data, films, |done| progress.set(done));
        progress.finish();
        if let Ok((_, skipped)) = &result {
            for film in skipped {
                log::warn!("skipped {}: {}", film.file, film.reason);
            }
        }
        result
    };
    let found = order.lungs.as_deref().map(lungs::read_file).transpose()?;
    let crop = |films: Vec<(Named, Film)>| match (recipe.file.input.lungs_margin, &found) {
        (None, _) => Ok(films),
        (Some(margin), Some(found)) => Ok(cropped(films, found, margin)),
        (Some(_), None) => Err(TrainingError::LungsUnknown),
    };
    let (held_out, _) =
        if held_out.is_empty() { Default::default() } else { read(held_out, "reading held-out films")? };
    let held_out = crop(held_out)?;
    let mut looked = Looked { films: Vec::new(), inputs: Vec::new() };
    for (named, film) in held_out {
        // Films that the device would reject were left out by `read_all`.
        if let Ok(input) = film.input(&recipe.judged) {
            looked.films.push(named);
            looked.inputs.push(input);
        }
    }
    let mut training = parts.training;
    if let Some(found) = &found {
        for row in training.iter_mut().map(|named| &mut named.row) {
            row.lungs = row.lungs.or_else(|| found.get(&row.file).map(lungs::around));
        }
    }
    if recipe.file.augment.surroundings > 0.0 {
        let known = training.iter().filter(|named| named.row.lungs.is_some()).count();
        log::info!("lungs are known on {known} of {} training films", training.len());
    }
    let (films, _) = read(training, "reading training films")?;
    let films = crop(films)?;
    for label in [Label::Covid19, Label::Pneumonia, Label::Normal] {
        if !films.iter().any(|(named, _)| named.row.label == label) {
            let remedy = "all of them were skipped; see the warnings above";
            return Err(DataError::EmptyClass { label, place: "left to learn from", remedy }.into());
        }
    }
    Ok((TrainingFilms::new(films, recipe, order.seed), looked))
}

/// The lungs of each film with `margin` around them; films whose lungs were not found are left out, as the device
/// refuses them.
fn cropped(films: Vec<(Named, Film)>, found: &HashMap<String, Lungs>, margin: f32) -> Vec<(Named, Film)> {
    let total = films.len();
    let cropped: Vec<(Named, Film)> = films
        .into_iter()
        .filter_map(|(mut named, film)| {
            let lungs = found.get(&named.row.file)?;
            let part = lungs.with_margin(margin);
            named.row.lungs = Some(lungs::around(&lungs.in_window(&part)));
            let film = film.part(&part)?;
            Some((named, film))
        })
        .collect();
    if cropped.len() < total {
        log::warn!("left out {} of {total} films whose lungs were not found", total - cropped.len());
    }
    cropped
}

fn tensor(inputs: Vec<f32>, count: usize, recipe: &Recipe, device: &Device) -> Tensor<4> {
    let shape = [count, 1, recipe.input.height(), recipe.input.width()];
    Tensor::from_data(TensorData::new(inputs, shape), device)
}

fn step(
    network: Network,
    optimisers: &mut Optimisers,
    batch: &Batch,
    rate: f64,
    recipe: &Recipe,
    device: &Device,
) -> (Network, f32) {
    let inputs = tensor(batch.inputs.clone(), batch.labels.len(), recipe, device);
    let logits = network.forward_styled(inputs, batch.styles.as_ref());
    let loss = loss::loss(logits, &batch.labels, recipe.file.training.label_smoothing);
    let mut gradients = loss.backward();
    let for_trunk = GradientsParams::from_module(&mut gradients, &network.trunk);
    let for_head = GradientsParams::from_module(&mut gradients, &network.head);
    let Network { trunk, head } = network;
    let trunk = optimisers.trunk.step(rate * recipe.file.training.trunk_rate, trunk, for_trunk);
    let head = optimisers.head.step(rate, head, for_head);
    let network = Network { trunk, head };
    // Running statistics wait in a queue until they are next needed; a copy for inference empties it. Without this,
    // averages and checkpoints would lack the last step's.
    let _ = network.valid();
    (network, loss.into_scalar())
}

/// Probabilities of the looked-at films, by network `network`.
fn look(network: &Network, looked: &Looked, recipe: &Recipe) -> Look {
    let device = Device::flex();
    let mut probabilities: Vec<[f64; 3]> = Vec::new();
    for chunk in looked.inputs.chunks(16) {
        let logits = network.valid().forward(tensor(chunk.concat(), chunk.len(), recipe, &device));
        let values: Vec<f64> = burn::tensor::activation::softmax(logits, 1).into_data().iter::<f64>().collect();
        probabilities.extend(values.chunks_exact(3).map(|p| [p[0], p[1], p[2]]));
    }
    let mut by_source: BTreeMap<&str, Vec<(f64, bool)>> = BTreeMap::new();
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut all = Vec::new();
    let (mut right, mut judged) = (0, 0);
    for (film, p) in looked.films.iter().zip(&probabilities) {
        let scored = (p[0], film.row.label == Label::Covid19);
        by_source.entry(&film.source).or_default().push(scored);
        groups.entry(&film.source).or_default().push(&film.row.group);
        all.push(scored);
        if let Some(finding) = film.row.label.finding() {
            judged += 1;
            right += usize::from(p.iter().all(|other| *other <= p[finding.index()]));
        }
    }
    let areas: BTreeMap<&str, Area> =
        by_source.iter().filter_map(|(source, films)| Some((*source, area(films, &groups[source])?))).collect();
    let within: BTreeMap<&str, f64> = areas.iter().map(|(source, area)| (*source, area.auc)).collect();
    let overall = auc(&all).unwrap_or(0.5);
    let score = if within.is_empty() { overall } else { within.values().sum::<f64>() / within.len() as f64 };
    let means: BTreeMap<String, f64> = by_source
        .iter()
        .flat_map(|(source, films)| {
            [(true, "covid19"), (false, "rest")].map(|(positive, name)| {
                let scores: Vec<f64> = films.iter().filter(|f| f.1 == positive).map(|f| f.0).collect();
                (format!("{source} {name}"), scores)
            })
        })
        .filter(|(_, scores)| !scores.is_empty())
        .map(|(name, scores)| (name, scores.iter().sum::<f64>() / scores.len() as f64))
        .collect();
    let accuracy = f64::from(right as u32) / f64::from(judged.max(1) as u32);
    let listed = |map: Vec<(String, f64)>| {
        map.into_iter().map(|(name, v)| format!("{name} {v:.2}")).collect::<Vec<_>>().join(", ")
    };
    let summary = format!(
        "held-out accuracy {accuracy:.3}, AUC {overall:.3}; within {}; mean p(covid19): {}",
        listed(within.iter().map(|(k, v)| (k.to_string(), *v)).collect()),
        listed(means.iter().map(|(k, v)| (k.clone(), *v)).collect())
    );
    let report = json!({
        "score": score, "accuracy": accuracy, "auc": overall, "auc_within_source": areas,
        "mean_covid19_probability": means, "films": looked.films.len(),
    });
    let summary = if looked.films.is_empty() { "no film is held out".into() } else { summary };
    Look { score, report, summary }
}

fn weights_path(out: &Path, step: usize) -> PathBuf {
    out.join("weights").join(format!("step-{step:06}.safetensors"))
}

fn save(order: &Order, average: &Weights, step: usize, score: f64) -> Result<(), TrainingError> {
    let path = weights_path(&order.out, step);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io_error(folder))?;
    }
    let metadata = BTreeMap::from([
        ("recipe".to_string(), recipe_json(&order.recipe.file).to_string()),
        ("seed".to_string(), order.seed.to_string()),
        ("step".to_string(), step.to_string()),
        ("score".to_string(), score.to_string()),
    ]);
    Ok(average.write(&path, &metadata)?)
}

/// The learning curve, a JSON object a line.
struct Curve {
    path: PathBuf,
    file: File,
}

impl Curve {
    fn write(&mut self, line: &serde_json::Value) -> Result<(), TrainingError> {
        writeln!(self.file, "{line}").map_err(io_error(&self.path))
    }
}

/// Opens the curve and drops what was written after `step`.
fn open_curve(path: &Path, step: usize) -> Result<Curve, TrainingError> {
    let old = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(io_error(path)(error)),
    };
    let kept: String = old
        .lines()
        .filter(|line| {
            let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
            value.and_then(|v| v["step"].as_u64()).is_some_and(|s| s <= step as u64)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    crate::files::replace(path, kept.as_bytes()).map_err(io_error(path))?;
    let file = OpenOptions::new().append(true).open(path).map_err(io_error(path))?;
    Ok(Curve { path: path.into(), file })
}
