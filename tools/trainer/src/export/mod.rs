//! From trained weights to the model directory that the device reads: network, calibration, figures, card, digests.
//!
//! What is judged is what ships: the ONNX file is run by the device's own engine, and only then is the manifest written.

mod card;
pub mod folds;
pub mod graph;
pub mod onnx;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use lightbox::bundle::manifest::{
    CalibrationEntry, FileEntry, InputEntry, LungsEntry, ManifestFile, NoveltyEntry, OperatingPointEntry, OutputsEntry,
    SCHEMA,
};
use lightbox::bundle::{self, CARD, MANIFEST, MANIFEST_DIGEST, NETWORK, VerifiedModel};
use lightbox::domain::{Finding, InputSpec, ModelInput, NoveltyError, OperatingPointError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::calibrate::{self, Calibration, CalibrationError, HeldOut};
use crate::data::split::{self, Named, Parts};
use crate::data::{DataError, manifest};
use crate::evaluate::{self, Judged, Report};
use crate::lungs::{self, LocatorQuality};
use crate::network::Network;
use crate::network::weights::{Weights, WeightsError};
use crate::novelty;
use crate::predict::{PredictError, Prediction, predict, predict_altered};
use crate::recipe::{OperatingPointFile, Recipe, RecipeError, RecipeFile};

use folds::{Folds, FoldsError};
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
    /// Runs of the same recipe, one without each fold: the lines are drawn on what these say of their folds, and not
    /// on what the network says of the films that it did not learn from itself.
    pub runs: Vec<PathBuf>,
}

/// What to fit anew around a network.
#[derive(Clone, Debug)]
pub struct Refit {
    /// The model directory that the network is taken from.
    pub model: PathBuf,
    /// The folder that it was trained on.
    pub data: PathBuf,
    /// The model directory to write; replaced if it is one already, and may be the same.
    pub out: PathBuf,
    /// Where to draw the lines, in place of what the recipe of the training says.
    pub operating_point: Option<OperatingPointFile>,
    /// Runs of the same recipe, one without each fold: the lines are drawn on what these say of their folds, and not
    /// on what the network says of the films that it did not learn from itself.
    pub runs: Vec<PathBuf>,
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
    /// The runs are not the folds of one recipe.
    #[error(transparent)]
    Folds(#[from] FoldsError),
    /// Lines that no device takes.
    #[error(transparent)]
    Lines(#[from] OperatingPointError),
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
    /// The network judges the lungs alone, and nobody says where lungs are.
    #[error(
        "input.lungs_margin needs lungs to fit the locator to: put lungs.csv with the boxes of some training films into {path}"
    )]
    NoLungs {
        /// The data folder.
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
    pub origin: Origin,
}

/// How a network came about.
#[derive(Clone, Debug)]
pub struct Origin {
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
    Ok(Trained { network, origin: Origin { recipe: file.try_into()?, seed, step } })
}

/// Exports as ordered and returns the figures on held-out and external films.
///
/// # Errors
/// When something of it cannot be read, run or written; the old model directory is then still there.
pub fn export(order: &Order) -> Result<(Report, Report), ExportError> {
    let mut trained = read_trained(&order.weights)?;
    if let Some(rates) = &order.operating_point {
        trained.origin.recipe.file.operating_point = rates.clone();
    }
    let origin = &trained.origin;
    refuse_other_folder(&order.out)?;
    let parts = split::split(manifest::read(&order.data)?, &origin.recipe, origin.seed)?;

    let folds = ask_folds(&order.runs, origin, &order.data, &order.out)?;

    let single = trained.network.folded();
    let half = single.clone().rounded_to_f16();
    let spec = &origin.recipe.input;
    let network = graph::write(&half, spec.height(), spec.width())?;
    let place = Place { data: &order.data, out: &order.out };
    describe(&place, &network, origin, &parts, folds.as_ref(), |model| {
        let films = if parts.held_out.is_empty() { &parts.training } else { &parts.held_out };
        compare_precision(&single, &half, model, &order.data, films)
    })
}

/// Fits everything around the network of the model in `model` anew, and writes it with that to `order.out`: lines,
/// temperature, novelty, lungs, figures, card. The network stays as it is, byte for byte.
///
/// # Errors
/// As [`export`].
pub fn refit(order: &Refit) -> Result<(Report, Report), ExportError> {
    let path = order.model.join(MANIFEST);
    let missing = |key| ExportError::NoMetadata { path: path.clone(), key };
    let model = crate::predict::open(&order.model)?;
    let bytes = fs::read(&path).map_err(io_error(&path))?;
    let value: serde_json::Value = serde_json::from_slice(&bytes)?;
    let mut origin = origin_of(&order.model)?;
    if let Some(rates) = &order.operating_point {
        origin.recipe.file.operating_point = rates.clone();
    }
    refuse_other_folder(&order.out)?;
    let parts = split::split(manifest::read(&order.data)?, &origin.recipe, origin.seed)?;
    let precision: Precision = serde_json::from_value(value["metrics"]["half_precision"].clone())
        .map_err(|_| missing("metrics.half_precision"))?;
    let folds = ask_folds(&order.runs, &origin, &order.data, &order.out)?;
    let place = Place { data: &order.data, out: &order.out };
    describe(&place, model.network(), &origin, &parts, folds.as_ref(), |_| Ok(precision))
}

fn ask_folds(runs: &[PathBuf], origin: &Origin, data: &Path, out: &Path) -> Result<Option<Folds>, ExportError> {
    if runs.is_empty() { Ok(None) } else { Folds::ask(runs, origin, data, &beside(out, "fold")).map(Some) }
}

struct Place<'a> {
    data: &'a Path,
    out: &'a Path,
}

/// A model that decides nothing yet.
struct Written {
    /// As the engine takes it; it judges what it will judge on the device.
    model: VerifiedModel,
    /// With novelty and lungs, as fitted to training films.
    file: ManifestFile,
    /// Of the lung locator.
    quality: Option<LocatorQuality>,
}

/// Writes the network into `place.out`, with all around it but the lines and the temperature.
fn write_model(place: &Place<'_>, network: &[u8], origin: &Origin, parts: &Parts) -> Result<Written, ExportError> {
    let _ = fs::remove_dir_all(place.out);
    fs::create_dir_all(place.out).map_err(io_error(place.out))?;
    crate::files::replace(&place.out.join(NETWORK), network).map_err(io_error(place.out))?;
    let mut file = manifest_file(origin, &Calibration::undecided());
    write_manifest(place.out, &mut file)?;

    let model = crate::predict::open(place.out)?;
    let chosen = split::thinned(&parts.training, USUAL_FILMS, origin.seed);
    let usual: Vec<Named> = chosen.into_iter().map(|i| parts.training[i].clone()).collect();
    let usual = predict(&model, place.data, &usual, "training films")?;
    let found = fit_lungs(&model, place.data, &parts.training, &usual)?;
    let margin = origin.recipe.file.input.lungs_margin;
    if margin.is_some() && found.is_none() {
        return Err(ExportError::NoLungs { path: place.data.into() });
    }
    let quality = found.as_ref().map(|(_, quality)| *quality);
    file.lungs = found.map(|(entry, _)| LungsEntry { margin, ..entry });
    file.out_of_distribution = fit_novelty(&usual, &origin.recipe)?;
    write_manifest(place.out, &mut file)?;
    Ok(Written { model: crate::predict::open(place.out)?, file, quality })
}

/// Writes the model directory around `network`.
fn describe(
    place: &Place<'_>,
    network: &[u8],
    origin: &Origin,
    parts: &Parts,
    folds: Option<&Folds>,
    precision: impl FnOnce(&VerifiedModel) -> Result<Precision, ExportError>,
) -> Result<(Report, Report), ExportError> {
    let (data, folder) = (place.data, beside(place.out, "new"));
    let Written { model, file: undecided, quality } =
        write_model(&Place { data, out: &folder }, network, origin, parts)?;
    let rates = &origin.recipe.file.operating_point;
    let held_out = if folds.is_none() { predict(&model, data, &parts.held_out, "held-out films")? } else { Vec::new() };
    let external = predict(&model, data, &parts.external, "external films")?;
    let calibration = match folds {
        Some(folds) => folds.calibrate(rates)?,
        None => calibrate::calibrate(&answers(&held_out), rates, "on held-out patients of the training sources")?,
    };
    let mut file = manifest_file(origin, &calibration);
    (file.lungs, file.out_of_distribution) = (undecided.lungs, undecided.out_of_distribution);
    file.training = training_summary(origin, parts, folds, &calibration);
    write_manifest(&folder, &mut file)?;

    let model = crate::predict::open(&folder)?;
    let rule = &model.manifest().rule;
    let held_out = match folds {
        Some(folds) => folds.judged(&calibration)?,
        None => evaluate::judge(&held_out, rule),
    };
    let (held_out_report, external_report) =
        (evaluate::report(&held_out), evaluate::report(&evaluate::judge(&external, rule)));
    let precision = precision(&model)?;
    let cross_validation = folds.map(|folds| folds.cross_validation(&calibration, rates)).transpose()?;
    file.metrics = json!({
        "held_out": held_out_report,
        "external": external_report,
        "lung_locator": quality,
        "half_precision": precision,
    });
    if let Some(found) = &cross_validation {
        file.metrics["cross_validation"] = serde_json::to_value(found)?;
    }
    let judged = card::Judgement {
        held_out: &held_out_report,
        external: &external_report,
        precision: &precision,
        locator: quality.as_ref(),
        cross_validation: cross_validation.as_ref(),
    };
    let text = card::card(&file, &judged);
    let path = folder.join(CARD);
    crate::files::replace(&path, text.as_bytes()).map_err(io_error(&path))?;
    write_manifest(&folder, &mut file)?;
    crate::predict::open(&folder)?;
    swap(&folder, place.out)?;
    Ok((held_out_report, external_report))
}

/// Half precision against single, and the engine against burn. In single precision, as a number that is read from a
/// manifest and written again must stay the same to the last digit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Precision {
    /// Films compared.
    pub(crate) films: usize,
    /// Largest difference of a probability between weights in half and in single precision.
    #[serde(rename = "max_probability_difference_to_single")]
    pub(crate) to_single: f32,
    /// Largest difference of a probability between the engine and burn on the same weights.
    #[serde(rename = "max_probability_difference_of_engine")]
    pub(crate) of_engine: f32,
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
    let mut precision = Precision { films: 0, to_single: 0.0, of_engine: 0.0 };
    let inputs = Mutex::new(HashMap::new());
    let keep = |film: &Named, input: ModelInput| {
        let mut inputs = inputs.lock().unwrap_or_else(PoisonError::into_inner);
        inputs.insert(film.row.file.clone(), input.values.clone());
        input
    };
    let predicted = predict_altered(model, data, &some, "comparing precisions", keep)?;
    let inputs = inputs.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (prediction, _) in &predicted {
        let (Ok(output), Some(input)) = (&prediction.answer, inputs.get(&prediction.film.row.file)) else { continue };
        let (a, b) = (probabilities(single, input, spec), probabilities(half, input, spec));
        let engine = lightbox::domain::Probabilities::from_logits(output.logits, 1.0);
        for finding in Finding::ALL {
            let i = finding.index();
            precision.to_single = precision.to_single.max((a[i] - b[i]).abs() as f32);
            if let Some(p) = &engine {
                precision.of_engine = precision.of_engine.max((f64::from(p.of(finding).get()) - b[i]).abs() as f32);
            }
        }
        precision.films += 1;
    }
    Ok(precision)
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

/// Fits the lung locator to the training films whose lungs are known, and to their mirror images.
fn fit_lungs(
    model: &VerifiedModel,
    data: &Path,
    training: &[Named],
    usual: &[Prediction],
) -> Result<Option<(LungsEntry, LocatorQuality)>, ExportError> {
    let boxes = lungs::read(data)?;
    let known: Vec<Named> = training.iter().filter(|n| boxes.contains_key(&n.row.file)).cloned().collect();
    let mut examples = Vec::new();
    for mirrored in [false, true] {
        let what = if mirrored { "films with known lungs, mirrored" } else { "films with known lungs" };
        let alter = |_: &Named, input: ModelInput| if mirrored { mirror(input) } else { input };
        for (prediction, seen) in predict_altered(model, data, &known, what, alter)? {
            let (Ok(output), Some(seen)) = (prediction.answer, seen) else { continue };
            let lungs = boxes[&prediction.film.row.file].in_window(&seen.whole);
            examples.push(lungs::Example {
                features: output.features,
                lungs: if mirrored { lungs::mirrored(&lungs) } else { lungs },
                group: prediction.film.row.group,
            });
        }
    }
    let usual: Vec<Vec<f32>> = usual.iter().filter_map(|p| Some(p.answer.as_ref().ok()?.features.clone())).collect();
    Ok(lungs::fit(&examples, &usual))
}

fn mirror(mut input: ModelInput) -> ModelInput {
    let width = input.shape[3];
    input.values.chunks_exact_mut(width).for_each(<[f32]>::reverse);
    input
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

fn manifest_file(origin: &Origin, calibration: &Calibration) -> ManifestFile {
    ManifestFile {
        schema: SCHEMA,
        name: origin.recipe.file.name.clone(),
        version: origin.recipe.file.version.clone(),
        input: InputEntry::from((graph::INPUT, &origin.recipe.input)),
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
        lungs: None,
        training: json!({}),
        metrics: json!({}),
        files: BTreeMap::new(),
    }
}

fn training_summary(
    origin: &Origin,
    parts: &Parts,
    folds: Option<&Folds>,
    calibration: &Calibration,
) -> serde_json::Value {
    let mut summary = json!({
        "films": {
            "training": split::counts(&parts.training),
            "held_out": split::counts(&parts.held_out),
            "external": split::counts(&parts.external),
        },
        "start": "ImageNet weights",
        "seed": origin.seed,
        "steps": origin.step,
        "fitted_temperature": calibration.fitted_temperature,
        "recipe": origin.recipe.file,
    });
    if let Some(folds) = folds {
        summary["films"]["cross_validated"] = json!(folds.counts());
    }
    summary
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
    // Thousands of numbers, one a line, would bury the rest.
    let mut open = file.clone();
    let mut long = Vec::new();
    if let Some(novelty) = open.out_of_distribution.take() {
        long.push(("out_of_distribution", serde_json::to_string(&novelty)?));
    }
    if let Some(lungs) = open.lungs.take() {
        long.push(("lungs", serde_json::to_string(&lungs)?));
    }
    let mut value = serde_json::to_value(&open)?;
    for (key, _) in &long {
        value[key] = json!(format!("@{key}"));
    }
    let mut text = serde_json::to_string_pretty(&value)?;
    for (key, entry) in long {
        text = text.replacen(&format!("\"@{key}\""), &entry, 1);
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
    let origin = origin_of(model)?;
    Ok(split::split(manifest::read(data)?, &origin.recipe, origin.seed)?)
}

/// How the network in `model` came about, as its manifest says.
fn origin_of(model: &Path) -> Result<Origin, ExportError> {
    let path = model.join(MANIFEST);
    let bytes = fs::read(&path).map_err(io_error(&path))?;
    let value: serde_json::Value = serde_json::from_slice(&bytes)?;
    let training = &value["training"];
    let missing = |key| ExportError::NoMetadata { path: path.clone(), key };
    let file: RecipeFile = serde_json::from_value(training["recipe"].clone()).map_err(|_| missing("recipe"))?;
    let number = |key| training[key].as_u64().ok_or_else(|| missing(key));
    Ok(Origin { recipe: file.try_into()?, seed: number("seed")?, step: number("steps")? as usize })
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
