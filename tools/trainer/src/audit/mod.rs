//! Asks of an exported model what figures on held-out patients do not tell: does it read lungs or hospitals?
//!
//! Everything is run by the device's own engine. The audit measures and chooses nothing.

pub mod curves;
pub mod mask;
mod page;
pub mod probe;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lightbox::bundle::{self, MANIFEST, MANIFEST_DIGEST, VerifiedModel};
use lightbox::domain::{Finding, Lungs, SaliencyMap, Verdict, Window};
use serde::{Deserialize, Serialize};

use crate::data::DataError;
use crate::data::Label;
use crate::data::split::Named;
use crate::evaluate::{self, Figures, Judged, Report};
use crate::export::{self, ExportError};
use crate::lungs;
use crate::metrics::{Area, Rate, area, calibration_error};
use crate::predict::{PredictError, Prediction, Seen, predict_altered, predict_parts};

use curves::{Bin, PredictiveValues, Risk};
use mask::Alteration;
use probe::{Probe, Probed};

pub use page::page;

/// The specificity on a source that was left out at which the sensitivity on external films is read.
pub const SPECIFICITY: f64 = 0.80;
/// The value in the graph that the head works on: features as far from pixels as they come.
const LAST_FEATURES: &str = "pooled";

/// What to audit.
#[derive(Clone, Debug)]
pub struct Order {
    /// The model directory.
    pub model: PathBuf,
    /// Folder with `manifest.csv`, and with `lungs.csv` where there is one.
    pub data: PathBuf,
    /// Models of the same recipe, each trained without some of the sources.
    pub left_out: Vec<PathBuf>,
    /// A folder of pictures that are no frontal chest films.
    pub unlike: Option<PathBuf>,
}

/// An audit that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The model or the data cannot be used.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The network gives no answer.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A model that saw every source.
    #[error("{path} left no source out of training: train it with --leave-out SOURCE")]
    NothingLeftOut {
        /// The model directory.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The manifest is no JSON.
    #[error("{path}: {source}")]
    Json {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> AuditError + '_ {
    |source| AuditError::Io { path: path.into(), source }
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// Name of the model.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digest of its network.
    pub network_sha256: String,
    /// Patients of the training sources whom the network did not learn from.
    pub held_out: Part,
    /// External films.
    pub external: Part,
    /// Each model that was trained without some of the sources, on these.
    pub left_out: Vec<LeftOut>,
    /// Whether features tell the source; `None` where the network has no such value or sources are too few.
    pub source_probe: Option<Probe>,
    /// Figures of external and held-out films together, by what is known of them.
    pub slices: Vec<Slice>,
    /// Calibration.
    pub calibration: Calibration,
    /// Pictures that are no frontal chest films.
    pub unlike: Option<Unlike>,
}

/// Films that are judged together.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// The figures of `trainer evaluate`.
    pub report: Report,
    /// What is left when parts of the films are taken away.
    pub altered: Vec<Altered>,
    /// Where the map of the likeliest finding lies.
    pub saliency: Vec<Saliency>,
    /// Points of the ROC curve.
    pub roc: Vec<(f64, f64)>,
    /// The surest films first.
    pub coverage_risk: Vec<Risk>,
    /// Reliability diagram of the probability of Covid-19.
    pub reliability: Vec<Bin>,
    /// What the lines are worth at a stated prevalence.
    pub predictive_values: Vec<PredictiveValues>,
}

/// A model that was trained without some of the sources.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    /// Which sources.
    pub sources: Vec<String>,
    /// All films of these.
    pub part: Part,
    /// The same model on external films.
    pub external: Report,
    /// Sensitivity on the Covid-19 films of each external source, at the line that leaves [`SPECIFICITY`] of the films
    /// without Covid-19 of the sources left out below it.
    pub sensitivity_at_specificity: BTreeMap<String, Rate>,
    /// The locator of this model never saw a box of these sources: overlap of its boxes with the radiologists'.
    pub lung_overlap: Option<f64>,
}

/// The area under the curve on altered films.
#[derive(Clone, Debug, Serialize)]
pub struct Altered {
    /// What was done to them.
    pub alteration: Alteration,
    /// A source, or `all`.
    pub source: String,
    /// Covid-19 against the others.
    pub auc: Option<Area>,
    /// Mean probability of Covid-19.
    pub mean_covid19: f64,
}

/// Where the map of the likeliest finding lies.
#[derive(Clone, Debug, Serialize)]
pub struct Saliency {
    /// A source, or `all`.
    pub source: String,
    /// Films with a map that is not empty.
    pub films: usize,
    /// Mean share of the map's sum inside of the boxes of the lungs.
    pub inside: f64,
    /// What a map that is the same everywhere would have.
    pub area: f64,
}

/// Figures of some of the films.
#[derive(Clone, Debug, Serialize)]
pub struct Slice {
    /// `view` or `age`.
    pub by: &'static str,
    /// Which.
    pub value: String,
    /// Their figures.
    pub figures: Figures,
}

/// Calibration error of the probability of Covid-19.
#[derive(Clone, Debug, Serialize)]
pub struct Calibration {
    /// Divides the logits.
    pub temperature: f32,
    /// Held-out films with a temperature of 1.
    pub held_out_before: Option<f64>,
    /// With the model's.
    pub held_out_after: Option<f64>,
    /// External films with a temperature of 1.
    pub external_before: Option<f64>,
    /// With the model's.
    pub external_after: Option<f64>,
}

/// Pictures that are no frontal chest films.
#[derive(Clone, Debug, Serialize)]
pub struct Unlike {
    /// Not read.
    pub refused: Rate,
    /// Why.
    pub reasons: BTreeMap<String, usize>,
    /// Read as if they were films.
    pub read: Vec<String>,
    /// Frontal chest films that are not read: held out.
    pub held_out_lost: Option<Rate>,
    /// Likewise, external.
    pub external_lost: Option<Rate>,
}

/// Audits as ordered.
///
/// # Errors
/// When a model, the data or the pictures cannot be used.
pub fn audit(order: &Order) -> Result<Audit, AuditError> {
    let boxes = lungs::read(&order.data)?;
    let model = crate::predict::open(&order.model)?;
    let parts = export::parts_of(&order.model, &order.data)?;
    let held_out = look(&model, &order.data, &parts.held_out, &boxes, "held-out films")?;
    let external = look(&model, &order.data, &parts.external, &boxes, "external films")?;
    let source_probe = probe_sources(order, &parts.held_out, &held_out.parts)?;
    let known = read_known(&order.data)?;
    let slices = slices(held_out.judged.iter().chain(&external.judged), &known);
    let left_out = order
        .left_out
        .iter()
        .map(|path| without_sources(path, &order.data, &boxes))
        .collect::<Result<Vec<_>, AuditError>>()?;
    let unlike = order.unlike.as_deref().map(|folder| refused(&model, folder, &held_out, &external)).transpose()?;
    let temperature = model.manifest().rule.temperature;
    Ok(Audit {
        name: model.manifest().name.clone(),
        version: model.manifest().version.clone(),
        network_sha256: bundle::sha256_hex(model.network()),
        calibration: Calibration {
            temperature,
            held_out_before: uncalibrated_error(&held_out),
            held_out_after: held_out.part.report.all.ece,
            external_before: uncalibrated_error(&external),
            external_after: external.part.report.all.ece,
        },
        held_out: held_out.part,
        external: external.part,
        left_out,
        source_probe,
        slices,
        unlike,
    })
}

struct Looked {
    part: Part,
    judged: Vec<Judged>,
    predictions: Vec<Prediction>,
    /// Which part of each film was judged.
    parts: HashMap<String, Window>,
}

/// Everything that is asked of one set of films.
fn look(
    model: &VerifiedModel,
    data: &Path,
    films: &[Named],
    boxes: &HashMap<String, Lungs>,
    what: &str,
) -> Result<Looked, AuditError> {
    let rule = &model.manifest().rule;
    let spec = &model.manifest().input;
    let plain = predict_altered(model, data, films, what, |_, input| input)?;
    // Boxes by radiologists where there are any, else by the model's own locator; in fractions of what it judged.
    let lungs: HashMap<&str, Lungs> = plain
        .iter()
        .filter_map(|(prediction, seen)| {
            let file = prediction.film.row.file.as_str();
            let (output, seen) = (prediction.answer.as_ref().ok()?, (*seen)?);
            let drawn = || boxes.get(file).copied();
            let found = || Some(rule.lungs.as_ref()?.locate(&output.features)?.on_film(&seen.whole));
            Some((file, drawn().or_else(found)?.in_window(&seen.judged)))
        })
        .collect();
    let judge = |predictions: &[Prediction]| evaluate::judge(predictions, rule);
    let predictions: Vec<Prediction> = plain.iter().map(|(prediction, _)| prediction.clone()).collect();
    let judged = judge(&predictions);

    let read: Vec<Named> = predictions
        .iter()
        .filter(|p| p.answer.is_ok() && lungs.contains_key(p.film.row.file.as_str()))
        .map(|p| p.film.clone())
        .collect();
    let mut altered = areas(Alteration::None, &predictions, rule.temperature);
    for how in Alteration::ALL.into_iter().filter(|how| *how != Alteration::None && !read.is_empty()) {
        let seen = predict_altered(model, data, &read, &format!("{what}, {}", how.words()), |film, input| {
            mask::altered(input, spec, &lungs[film.row.file.as_str()], how)
        })?;
        let predictions: Vec<Prediction> = seen.into_iter().map(|(prediction, _)| prediction).collect();
        altered.extend(areas(how, &predictions, rule.temperature));
    }

    let report = evaluate::report(&judged);
    let scored = curves::scored(&judged.iter().collect::<Vec<_>>());
    let part = Part {
        altered,
        saliency: saliency(&predictions, &lungs),
        roc: curves::roc(&scored),
        coverage_risk: curves::coverage_risk(&scored),
        reliability: curves::reliability(&scored),
        predictive_values: curves::predictive_values(&report.all),
        report,
    };
    let parts = plain.iter().filter_map(|(p, seen)| Some((p.film.row.file.clone(), (*seen)?.judged))).collect();
    Ok(Looked { part, judged, predictions, parts })
}

/// Probability of Covid-19 of every film that came to the network, refused or not.
fn covid(prediction: &Prediction, temperature: f32) -> Option<f64> {
    let output = prediction.answer.as_ref().ok()?;
    let p = lightbox::domain::Probabilities::from_logits(output.logits, temperature)?;
    Some(f64::from(p.of(Finding::Covid19).get()))
}

fn areas(alteration: Alteration, predictions: &[Prediction], temperature: f32) -> Vec<Altered> {
    let mut by_source: BTreeMap<&str, Vec<(f64, bool, &str)>> = BTreeMap::new();
    for prediction in predictions {
        if let Some(p) = covid(prediction, temperature) {
            let row = &prediction.film.row;
            let film = (p, row.label == Label::Covid19, row.group.as_str());
            by_source.entry(&prediction.film.source).or_default().push(film);
        }
    }
    let all: Vec<(f64, bool, &str)> = by_source.values().flatten().copied().collect();
    by_source
        .into_iter()
        .map(|(source, films)| (source.to_string(), films))
        .chain([("all".to_string(), all)])
        .filter(|(_, films)| !films.is_empty())
        .map(|(source, films)| {
            let scored: Vec<(f64, bool)> = films.iter().map(|f| (f.0, f.1)).collect();
            let groups: Vec<&str> = films.iter().map(|f| f.2).collect();
            let mean_covid19 = films.iter().map(|f| f.0).sum::<f64>() / films.len() as f64;
            Altered { alteration, source, auc: area(&scored, &groups), mean_covid19 }
        })
        .collect()
}

fn saliency(predictions: &[Prediction], lungs: &HashMap<&str, Lungs>) -> Vec<Saliency> {
    let mut by_source: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for prediction in predictions {
        let (Ok(output), Some(lungs)) = (&prediction.answer, lungs.get(prediction.film.row.file.as_str())) else {
            continue;
        };
        let likeliest = Finding::ALL
            .into_iter()
            .max_by(|a, b| output.logits[a.index()].total_cmp(&output.logits[b.index()]))
            .unwrap_or(Finding::Covid19);
        if let Some(shares) = shares_inside(output.map(likeliest), lungs) {
            by_source.entry(&prediction.film.source).or_default().push(shares);
        }
    }
    let all: Vec<(f64, f64)> = by_source.values().flatten().copied().collect();
    let rows = by_source.into_iter().map(|(s, films)| (s.to_string(), films));
    rows.chain([("all".to_string(), all)])
        .map(|(source, films)| {
            let count = films.len().max(1) as f64;
            let (inside, area) = films.iter().fold((0.0, 0.0), |sum, f| (sum.0 + f.0, sum.1 + f.1));
            Saliency { source, films: films.len(), inside: inside / count, area: area / count }
        })
        .collect()
}

/// Shares of the map's sum and of its area inside of the boxes; each cell is looked at in 64 places.
fn shares_inside(map: &SaliencyMap, lungs: &Lungs) -> Option<(f64, f64)> {
    const PLACES: usize = 8;
    let (mut inside, mut sum, mut area) = (0.0, 0.0, 0.0);
    for (cell, value) in map.values.iter().enumerate() {
        let (column, row) = (cell % map.width, cell / map.width);
        let within = (0..PLACES * PLACES)
            .filter(|place| {
                let part = |n: usize| (n as f32 + 0.5) / PLACES as f32;
                let x = (column as f32 + part(place % PLACES)) / map.width as f32;
                let y = (row as f32 + part(place / PLACES)) / map.height as f32;
                lungs.contains(x, y)
            })
            .count() as f64
            / (PLACES * PLACES) as f64;
        inside += within * f64::from(*value);
        sum += f64::from(*value);
        area += within / map.values.len() as f64;
    }
    (sum > 0.0).then(|| (inside / sum, area))
}

fn uncalibrated_error(looked: &Looked) -> Option<f64> {
    // Of the films that are read, as in the figures.
    let scored: Vec<(f64, bool)> = looked
        .predictions
        .iter()
        .zip(&looked.judged)
        .filter(|(_, judged)| judged.probabilities.is_some())
        .filter_map(|(p, judged)| Some((covid(p, 1.0)?, judged.label == Label::Covid19)))
        .collect();
    calibration_error(&scored)
}

fn without_sources(path: &Path, data: &Path, boxes: &HashMap<String, Lungs>) -> Result<LeftOut, AuditError> {
    let model = crate::predict::open(path)?;
    let sources = left_out_sources(path)?;
    let parts = export::parts_of(path, data)?;
    let films: Vec<Named> = parts.held_out.into_iter().filter(|n| sources.contains(&n.source)).collect();
    let what = format!("{} left out", sources.join(" and "));
    let looked = look(&model, data, &films, boxes, &what)?;
    let external = predict_altered(&model, data, &parts.external, "external films", |_, input| input)?;
    let external: Vec<Prediction> = external.into_iter().map(|(prediction, _)| prediction).collect();
    let rule = &model.manifest().rule;

    let scores = |predictions: &[Prediction], ill: bool, source: Option<&str>| -> Vec<f64> {
        predictions
            .iter()
            .filter(|p| (p.film.row.label == Label::Covid19) == ill)
            .filter(|p| source.is_none_or(|s| p.film.source == s))
            .filter_map(|p| covid(p, rule.temperature))
            .collect()
    };
    let well = scores(&looked.predictions, false, None);
    let names: std::collections::BTreeSet<&str> = external.iter().map(|p| p.film.source.as_str()).collect();
    let sensitivity_at_specificity = names
        .into_iter()
        .filter_map(|name| {
            let rate = curves::sensitivity_at(&scores(&external, true, Some(name)), &well, SPECIFICITY)?;
            Some((name.to_string(), rate))
        })
        .collect();
    Ok(LeftOut {
        lung_overlap: lung_overlap(&model, &looked.predictions, data, boxes)?,
        external: evaluate::report(&evaluate::judge(&external, rule)),
        sources,
        part: looked.part,
        sensitivity_at_specificity,
    })
}

fn lung_overlap(
    model: &VerifiedModel,
    predictions: &[Prediction],
    data: &Path,
    boxes: &HashMap<String, Lungs>,
) -> Result<Option<f64>, AuditError> {
    let Some(locator) = &model.manifest().rule.lungs else { return Ok(None) };
    let known: Vec<Named> =
        predictions.iter().filter(|p| boxes.contains_key(&p.film.row.file)).map(|p| p.film.clone()).collect();
    let seen = predict_altered(model, data, &known, "films with known lungs", |_, input| input)?;
    let overlaps: Vec<f64> = seen
        .iter()
        .filter_map(|(prediction, seen): &(Prediction, Option<Seen>)| {
            let found = locator.locate(&prediction.answer.as_ref().ok()?.features)?;
            let drawn = boxes.get(&prediction.film.row.file)?.in_window(&(*seen)?.whole);
            Some(lungs::overlap(&found.both(), &drawn.both()))
        })
        .collect();
    Ok((!overlaps.is_empty()).then(|| overlaps.iter().sum::<f64>() / overlaps.len() as f64))
}

fn read_manifest(model: &Path) -> Result<serde_json::Value, AuditError> {
    let path = model.join(MANIFEST);
    let bytes = fs::read(&path).map_err(io_error(&path))?;
    serde_json::from_slice(&bytes).map_err(|source| AuditError::Json { path, source })
}

fn left_out_sources(model: &Path) -> Result<Vec<String>, AuditError> {
    let manifest = read_manifest(model)?;
    let named = manifest["training"]["recipe"]["training"]["left_out_sources"].as_array();
    let sources: Vec<String> = named.into_iter().flatten().filter_map(|v| Some(v.as_str()?.to_string())).collect();
    if sources.is_empty() { Err(AuditError::NothingLeftOut { path: model.into() }) } else { Ok(sources) }
}

/// The same network with its last features in the place of those that novelty is measured by. `None` where it has no
/// value of that name.
fn probe_sources(order: &Order, films: &[Named], parts: &HashMap<String, Window>) -> Result<Option<Probe>, AuditError> {
    let folder = std::env::temp_dir().join(format!("lightbox-audit-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(io_error(&folder))?;
    let probed = probe_in(&folder, order, films, parts);
    let _ = fs::remove_dir_all(&folder);
    probed
}

fn probe_in(
    folder: &Path,
    order: &Order,
    films: &[Named],
    parts: &HashMap<String, Window>,
) -> Result<Option<Probe>, AuditError> {
    let mut manifest = read_manifest(&order.model)?;
    for name in manifest["files"].as_object().into_iter().flatten().map(|(name, _)| name) {
        let (from, to) = (order.model.join(name), folder.join(name));
        fs::copy(&from, &to).map_err(io_error(&from))?;
    }
    manifest["outputs"]["features"] = LAST_FEATURES.into();
    let text = manifest.to_string();
    for (name, bytes) in [(MANIFEST, text.clone()), (MANIFEST_DIGEST, bundle::digest_line(text.as_bytes()))] {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(io_error(&path))?;
    }
    let model = crate::predict::open(folder)?;
    let parts = parts.iter().map(|(file, part)| (file.as_str(), *part)).collect();
    let predictions = match predict_parts(&model, &order.data, films, "features of held-out films", &parts) {
        Ok(predictions) => predictions,
        Err(PredictError::Engine(error)) => {
            log::warn!("the source probe is left out: {error}");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let probed: Vec<Probed<'_>> = predictions
        .iter()
        .filter_map(|p| {
            let features = &p.answer.as_ref().ok()?.features;
            Some(Probed { features, source: &p.film.source, group: &p.film.row.group })
        })
        .collect();
    Ok(probe::probe(&probed))
}

/// What the manifest knows of a film beside its label.
#[derive(Deserialize)]
struct Known {
    file: String,
    #[serde(default)]
    view: String,
    #[serde(default)]
    age: String,
}

fn read_known(data: &Path) -> Result<HashMap<String, Known>, AuditError> {
    let path = data.join("manifest.csv");
    let csv_error = |source| DataError::Csv { path: path.clone(), source };
    let mut reader = csv::Reader::from_path(&path).map_err(csv_error)?;
    let rows: Result<Vec<Known>, csv::Error> = reader.deserialize().collect();
    Ok(rows.map_err(csv_error)?.into_iter().map(|known| (known.file.clone(), known)).collect())
}

fn age_group(age: &str) -> &'static str {
    // "62", "62.0", "062Y", "60+", "early 40s": the first number says the decade at least.
    let digits = age.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    let years: Option<f32> = digits[..end].parse().ok();
    match years {
        _ if age.contains("paediatric") => "children",
        Some(years) if years < 18.0 => "children",
        Some(years) if years < 40.0 => "18 to 39",
        Some(years) if years < 60.0 => "40 to 59",
        Some(_) => "60 and over",
        None => "unknown",
    }
}

fn slices<'a>(films: impl Iterator<Item = &'a Judged>, known: &HashMap<String, Known>) -> Vec<Slice> {
    let mut groups: BTreeMap<(&'static str, String), Vec<&Judged>> = BTreeMap::new();
    for film in films {
        let Some(known) = known.get(&film.file) else { continue };
        let view = if known.view.is_empty() { "unknown" } else { &known.view };
        groups.entry(("view", view.to_string())).or_default().push(film);
        groups.entry(("age", age_group(&known.age).to_string())).or_default().push(film);
    }
    groups.into_iter().map(|((by, value), films)| Slice { by, value, figures: evaluate::figures(&films) }).collect()
}

fn refused(model: &VerifiedModel, folder: &Path, held_out: &Looked, external: &Looked) -> Result<Unlike, AuditError> {
    let films = export::unlabelled(folder)?;
    let seen = predict_altered(model, folder, &films, "other pictures", |_, input| input)?;
    let predictions: Vec<Prediction> = seen.into_iter().map(|(prediction, _)| prediction).collect();
    let judged = evaluate::judge(&predictions, &model.manifest().rule);
    let lost = |films: &[Judged]| Rate::new(films.iter().filter(|f| rejected(f)).count(), films.len());
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for film in judged.iter().filter(|f| rejected(f)) {
        *reasons.entry(film.verdict.reason().map_or("", |r| r.code()).to_string()).or_default() += 1;
    }
    let Some(refused) = lost(&judged) else { return Err(DataError::Empty { path: folder.into() }.into()) };
    Ok(Unlike {
        refused,
        reasons,
        read: judged.iter().filter(|f| !rejected(f)).map(|f| f.file.clone()).collect(),
        held_out_lost: lost(&held_out.judged),
        external_lost: lost(&external.judged),
    })
}

fn rejected(film: &Judged) -> bool {
    matches!(film.verdict, Verdict::Rejected(_))
}

/// Writes `audit.json` and `audit.html` into `folder`.
///
/// # Errors
/// When a file cannot be written.
pub fn write(audit: &Audit, folder: &Path) -> Result<(), AuditError> {
    fs::create_dir_all(folder).map_err(io_error(folder))?;
    let path = folder.join("audit.json");
    let mut json =
        serde_json::to_vec_pretty(audit).map_err(|source| AuditError::Json { path: path.clone(), source })?;
    json.push(b'\n');
    crate::files::replace(&path, &json).map_err(io_error(&path))?;
    let path = folder.join("audit.html");
    crate::files::replace(&path, page(audit).as_bytes()).map_err(io_error(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_inside_of_the_lungs_is_told_from_one_outside() {
        let lungs = Lungs::from_edges([0.0, 0.0, 0.25, 0.5, 0.5, 0.0, 0.75, 0.5]);
        let map = |values: [f32; 16]| SaliencyMap { width: 4, height: 4, values: values.to_vec() };
        let mut inside = [0.0; 16];
        (inside[0], inside[6]) = (2.0, 1.0);
        assert_eq!(shares_inside(&map(inside), &lungs), Some((1.0, 0.25)));
        let mut below = [0.0; 16];
        below[13] = 3.0;
        assert_eq!(shares_inside(&map(below), &lungs), Some((0.0, 0.25)));
        assert_eq!(shares_inside(&map([1.0; 16]), &lungs), Some((0.25, 0.25)));
        assert_eq!(shares_inside(&map([0.0; 16]), &lungs), None);
    }

    #[test]
    fn ages_are_understood_as_the_manifest_writes_them() {
        for (age, group) in [
            ("paediatric 1-5y", "children"),
            ("7", "children"),
            ("33", "18 to 39"),
            ("059Y", "40 to 59"),
            ("81", "60 and over"),
            ("67+", "60 and over"),
            ("early 40s", "40 to 59"),
            ("", "unknown"),
            ("adult", "unknown"),
        ] {
            assert_eq!(age_group(age), group, "{age}");
        }
    }
}
