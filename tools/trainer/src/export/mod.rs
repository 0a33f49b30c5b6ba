//! From trained weights to the model directory that the device reads: network, calibration, figures, card, digests.
//!
//! What is judged is what ships: the ONNX file is run by the device's own engine, and only then is the manifest written.

mod card;
pub mod graph;
pub mod onnx;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use lightbox::bundle::manifest::{
    CalibrationEntry, FileEntry, InputEntry, ManifestFile, NoveltyEntry, OperatingPointEntry, OutputsEntry, SCHEMA,
};
use lightbox::bundle::{self, CARD, MANIFEST, MANIFEST_DIGEST, NETWORK, VerifiedModel};
use lightbox::domain::{Finding, InputSpec, NoveltyError};
use serde_json::json;

use crate::calibrate::{self, Calibration, CalibrationError, HeldOut};
use crate::data::split::{self, Named, Parts};
use crate::data::{DataError, films, manifest};
use crate::evaluate::{self, Judged, Report};
use crate::network::Network;
use crate::network::weights::{Weights, WeightsError};
use crate::novelty;
use crate::predict::{PredictError, Prediction, predict};
use crate::recipe::{OperatingPointFile, Recipe, RecipeError, RecipeFile};

use graph::GraphError;

/// At most so many training films of each source and label say what a usual film is.
const USUAL_FILMS: usize = 80;
/// Films on which half precision is compared with single.
const COMPARED_FILMS: usize = 64;

/// What to export, and where to.
#[derive(Clone, Debug)]
pub struct Order {
    /// Weights of a training run, with the recipe in their metadata.
    pub weights: PathBuf,
    /// The folder that the weights were trained on.
    pub data: PathBuf,
    /// The model directory; replaced if it is one already.
    pub out: PathBuf,
    /// Where to draw the lines, in place of what the recipe of the training says.
    pub operating_point: Option<OperatingPointFile>,
}

/// A model that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The weights cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The recipe in the weights cannot be followed.
    #[error("recipe in the weights: {0}")]
    Recipe(#[from] RecipeError),
    /// The graph cannot be written.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The engine does not take the model.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The held-out films do not suffice.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// The fit of usual films cannot be used.
    #[error("features of the training films: {0}")]
    Novelty(#[from] NoveltyError),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The weights are not of a training run.
    #[error("{path}: metadata has no {key}: expected weights written by `trainer train`")]
    NoMetadata {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
    },
    /// The folder holds something else.
    #[error("{path} exists and is no model directory: choose another folder")]
    Occupied {
        /// Which folder.
        path: PathBuf,
    },
    /// The manifest cannot be put into JSON.
    #[error("manifest: {0}")]
    Json(#[from] serde_json::Error),
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ExportError + '_ {
    |source| ExportError::Io { path: path.into(), source }
}

/// A trained network and how it came about.
pub struct Trained {
    /// Batch normalisation still in place.
    pub network: Network,
    /// How it was trained.
    pub recipe: Recipe,
    /// Of the split and the draws.
    pub seed: u64,
    /// Optimiser steps.
    pub step: usize,
}

/// Reads weights that `trainer train` wrote.
///
/// # Errors
/// When they are not such weights.
pub fn read_trained(path: &Path) -> Result<Trained, ExportError> {
    let (weights, metadata) = Weights::read(path)?;
    let entry = |key| metadata.get(key).ok_or(ExportError::NoMetadata { path: path.into(), key });
    let file: RecipeFile = serde_json::from_str(entry("recipe")?)?;
    let number = |key| -> Result<u64, ExportError> {
        entry(key)?.parse().map_err(|_| ExportError::NoMetadata { path: path.into(), key })
    };
    let (seed, step) = (number("seed")?, number("step")? as usize);
    let network = weights.put_into(Network::new(0.0, &Device::flex()))?;
    Ok(Trained { network, recipe: file.try_into()?, seed, step })
}

/// Exports as ordered and returns the figures on held-out and external films.
///
/// # Errors
/// When something of it cannot be read, run or written; the old model directory is then still there.
pub fn export(order: &Order) -> Result<(Report, Report), ExportError> {
    let mut trained = read_trained(&order.weights)?;
    if let Some(rates) = &order.operating_point {
        trained.recipe.file.operating_point = rates.clone();
    }
    refuse_other_folder(&order.out)?;
    let parts = split::split(manifest::read(&order.data)?, &trained.recipe, trained.seed)?;
    let folder = beside(&order.out, "new");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(io_error(&folder))?;

    let single = trained.network.folded();
    let half = single.clone().rounded_to_f16();
    let spec = &trained.recipe.input;
    let network = graph::write(&half, spec.height(), spec.width())?;
    crate::files::replace(&folder.join(NETWORK), &network).map_err(io_error(&folder))?;

    // A manifest that decides nothing yet, so that the engine takes the model.
    let mut file = manifest_file(&trained, &Calibration::undecided());
    write_manifest(&folder, &mut file)?;
    let model = crate::predict::open(&folder)?;
    let held_out = predict(&model, &order.data, &parts.held_out, "held-out films")?;
    let external = predict(&model, &order.data, &parts.external, "external films")?;
    let chosen = split::thinned(&parts.training, USUAL_FILMS, trained.seed);
    let usual: Vec<Named> = chosen.into_iter().map(|i| parts.training[i].clone()).collect();
    let usual = predict(&model, &order.data, &usual, "training films")?;

    let calibration = calibrate::calibrate(&answers(&held_out), &trained.recipe.file.operating_point)?;
    file = manifest_file(&trained, &calibration);
    file.out_of_distribution = fit_novelty(&usual, &trained.recipe)?;
    file.training = training_summary(&trained, &parts, &calibration);
    write_manifest(&folder, &mut file)?;

    let model = crate::predict::open(&folder)?;
    let held_out_judged = evaluate::judge(&held_out, &model.manifest().rule);
    let external_judged = evaluate::judge(&external, &model.manifest().rule);
    let (held_out_report, external_report) = (evaluate::report(&held_out_judged), evaluate::report(&external_judged));
    let precision = compare_precision(&single, &half, &model, &order.data, &parts.held_out)?;
    file.metrics = json!({
        "held_out": held_out_report,
        "external": external_report,
        "half_precision": {
            "films": precision.films,
            "max_probability_difference_to_single": precision.to_single,
            "max_probability_difference_of_engine": precision.of_engine,
        },
    });
    let text = card::card(&file, &held_out_report, &external_report, &precision);
    let path = folder.join(CARD);
    crate::files::replace(&path, text.as_bytes()).map_err(io_error(&path))?;
    write_manifest(&folder, &mut file)?;
    crate::predict::open(&folder)?;
    swap(&folder, &order.out)?;
    Ok((held_out_report, external_report))
}

/// Half precision against single, and the engine against burn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Precision {
    /// Films compared.
    pub(crate) films: usize,
    /// Largest difference of a probability between weights in half and in single precision.
    pub(crate) to_single: f64,
    /// Largest difference of a probability between the engine and burn on the same weights.
    pub(crate) of_engine: f64,
}

fn compare_precision(
    single: &Network,
    half: &Network,
    model: &VerifiedModel,
    data: &Path,
    held_out: &[Named],
) -> Result<Precision, ExportError> {
    let chosen = split::thinned(held_out, COMPARED_FILMS / 8, 1);
    let some: Vec<Named> = chosen.into_iter().take(COMPARED_FILMS).map(|i| held_out[i].clone()).collect();
    let spec = &model.manifest().input;
    let (mut precision, mut films) = (Precision { films: 0, to_single: 0.0, of_engine: 0.0 }, some);
    let predicted = predict(model, data, &films, "comparing precisions")?;
    films.clear();
    for prediction in &predicted {
        let (Ok(output), Ok(input)) = (&prediction.answer, device_input(data, &prediction.film, spec)) else {
            continue;
        };
        let (a, b) = (probabilities(single, &input, spec), probabilities(half, &input, spec));
        let engine = lightbox::domain::Probabilities::from_logits(output.logits, 1.0);
        for finding in Finding::ALL {
            let i = finding.index();
            precision.to_single = precision.to_single.max((a[i] - b[i]).abs());
            if let Some(p) = &engine {
                precision.of_engine = precision.of_engine.max((f64::from(p.of(finding).get()) - b[i]).abs());
            }
        }
        precision.films += 1;
    }
    Ok(precision)
}

fn device_input(data: &Path, film: &Named, spec: &InputSpec) -> Result<Vec<f32>, String> {
    films::device_input(&data.join(&film.row.file), spec)
}

fn probabilities(network: &Network, input: &[f32], spec: &InputSpec) -> [f64; 3] {
    let shape = [1, 1, spec.height(), spec.width()];
    let input = Tensor::<4>::from_data(TensorData::new(input.to_vec(), shape), &Device::flex());
    let values: Vec<f64> = softmax(network.valid().forward(input), 1).into_data().iter::<f64>().collect();
    [values[0], values[1], values[2]]
}

fn answers(predictions: &[Prediction]) -> Vec<HeldOut> {
    predictions
        .iter()
        .filter_map(|p| {
            let output = p.answer.as_ref().ok()?;
            Some(HeldOut { source: p.film.source.clone(), label: p.film.row.label, logits: output.logits })
        })
        .collect()
}

fn fit_novelty(usual: &[Prediction], recipe: &Recipe) -> Result<Option<NoveltyEntry>, ExportError> {
    let mut by_source: BTreeMap<&str, Vec<Vec<f32>>> = BTreeMap::new();
    for prediction in usual {
        if let Ok(output) = &prediction.answer {
            by_source.entry(&prediction.film.source).or_default().push(output.features.clone());
        }
    }
    let sources: Vec<Vec<Vec<f32>>> = by_source.into_values().collect();
    Ok(novelty::fit(&sources, recipe.file.operating_point.novelty_loss)?)
}

impl Calibration {
    fn undecided() -> Self {
        Self {
            temperature: 1.0,
            fitted_temperature: 1.0,
            rule_out: 0.0,
            rule_in: 1.0,
            pneumonia_below: 0.0,
            normal_above: 1.0,
            chosen_for: "nothing yet".into(),
        }
    }
}

fn manifest_file(trained: &Trained, calibration: &Calibration) -> ManifestFile {
    ManifestFile {
        schema: SCHEMA,
        name: trained.recipe.file.name.clone(),
        version: trained.recipe.file.version.clone(),
        input: InputEntry::from((graph::INPUT, &trained.recipe.input)),
        outputs: OutputsEntry {
            logits: graph::LOGITS.into(),
            maps: graph::MAPS.into(),
            features: graph::FEATURE_VECTOR.into(),
        },
        labels: Finding::ALL.map(|f| f.name().to_string()).to_vec(),
        calibration: CalibrationEntry { temperature: calibration.temperature },
        operating_point: OperatingPointEntry {
            rule_out: calibration.rule_out,
            rule_in: calibration.rule_in,
            pneumonia_below: calibration.pneumonia_below,
            normal_above: calibration.normal_above,
            chosen_for: calibration.chosen_for.clone(),
        },
        out_of_distribution: None,
        training: json!({}),
        metrics: json!({}),
        files: BTreeMap::new(),
    }
}

fn training_summary(trained: &Trained, parts: &Parts, calibration: &Calibration) -> serde_json::Value {
    json!({
        "films": {
            "training": split::counts(&parts.training),
            "held_out": split::counts(&parts.held_out),
            "external": split::counts(&parts.external),
        },
        "start": "ImageNet weights",
        "seed": trained.seed,
        "steps": trained.step,
        "fitted_temperature": calibration.fitted_temperature,
        "recipe": trained.recipe.file,
    })
}

/// Lists every file beside the manifest with its digest, then writes the manifest and its own digest.
fn write_manifest(folder: &Path, file: &mut ManifestFile) -> Result<(), ExportError> {
    file.files.clear();
    for name in [NETWORK, CARD] {
        let path = folder.join(name);
        if path.exists() {
            let bytes = fs::read(&path).map_err(io_error(&path))?;
            file.files.insert(name.into(), FileEntry { sha256: bundle::sha256_hex(&bytes) });
        }
    }
    let mut text = serde_json::to_string_pretty(&file)?;
    if let Some(novelty) = &file.out_of_distribution {
        // Thousands of numbers, one a line, would bury the rest.
        let mut open = file.clone();
        open.out_of_distribution = None;
        let mut value = serde_json::to_value(&open)?;
        value["out_of_distribution"] = json!("@");
        text = serde_json::to_string_pretty(&value)?.replacen("\"@\"", &serde_json::to_string(novelty)?, 1);
    }
    text.push('\n');
    let path = folder.join(MANIFEST);
    crate::files::replace(&path, text.as_bytes()).map_err(io_error(&path))?;
    let path = folder.join(MANIFEST_DIGEST);
    crate::files::replace(&path, bundle::digest_line(text.as_bytes()).as_bytes()).map_err(io_error(&path))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

fn refuse_other_folder(out: &Path) -> Result<(), ExportError> {
    let empty = || fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if out.exists() && !out.join(MANIFEST).is_file() && !empty() {
        return Err(ExportError::Occupied { path: out.into() });
    }
    Ok(())
}

/// Puts `new` in the place of `out`.
fn swap(new: &Path, out: &Path) -> Result<(), ExportError> {
    let old = beside(out, "old");
    let _ = fs::remove_dir_all(&old);
    if out.exists() {
        fs::rename(out, &old).map_err(io_error(out))?;
    }
    fs::rename(new, out).map_err(io_error(out))?;
    let _ = fs::remove_dir_all(&old);
    Ok(())
}

/// The films that the model in `model` was chosen by and is judged by, split as they were at its training.
///
/// # Errors
/// When the manifest has no recipe or the data do not fit it.
pub fn parts_of(model: &Path, data: &Path) -> Result<Parts, ExportError> {
    let path = model.join(MANIFEST);
    let bytes = fs::read(&path).map_err(io_error(&path))?;
    let value: serde_json::Value = serde_json::from_slice(&bytes)?;
    let missing = |key| ExportError::NoMetadata { path: path.clone(), key };
    let file: RecipeFile =
        serde_json::from_value(value["training"]["recipe"].clone()).map_err(|_| missing("recipe"))?;
    let seed = value["training"]["seed"].as_u64().ok_or_else(|| missing("seed"))?;
    Ok(split::split(manifest::read(data)?, &file.try_into()?, seed)?)
}

/// Every file below `folder`, of which nothing is known.
///
/// # Errors
/// When it cannot be listed.
pub fn unlabelled(folder: &Path) -> Result<Vec<Named>, ExportError> {
    let rows = manifest::read_unlabelled(folder, "unlike")?;
    Ok(rows.into_iter().map(|row| Named { source: row.source.clone(), row }).collect())
}

/// Predictions of the model in `model` under its own rule.
///
/// # Errors
/// When the model cannot be used.
pub fn judged(model: &Path, data: &Path, films: &[Named], what: &str) -> Result<Vec<Judged>, ExportError> {
    let model = crate::predict::open(model)?;
    let predictions = predict(&model, data, films, what)?;
    Ok(evaluate::judge(&predictions, &model.manifest().rule))
}
