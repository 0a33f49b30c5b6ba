//! Runs of `trainer crossval` as one report: figures as JSON, and a page for people with the paper's beside ours.

mod curves;
mod page;
mod paper;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::crossval::fold::{Epoch, FoldError, FoldResult, likeliest, read_result};
use crate::crossval::folds::CLASSES;
use crate::crossval::network_folder;
use crate::crossval::record::{Beginning, Record, RecordError};
use crate::crossval::scope::Scope;
use crate::crossval::study::{StudyFile, name_of};
use crate::data::Label;
use crate::metrics::{Area, Rate, area, calibration_error};
use crate::paper::networks::Architecture;
use curves::{Banded, Bin};
use paper::Confusion;

/// Runs that make no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A run cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A result cannot be read.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// A file cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing is done yet.
    #[error("{path} has no finished fold: go on with `trainer crossval --resume`")]
    Unfinished {
        /// Which run.
        path: PathBuf,
    },
    /// A result that does not belong to the run.
    #[error("{path}: fold {fold} of {network} is of other films: remove {network} from the run")]
    Foreign {
        /// Which run.
        path: PathBuf,
        /// Which network.
        network: String,
        /// Which fold.
        fold: usize,
    },
}

/// Everything that the page shows.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// One entry a run.
    runs: Vec<RunReport>,
    /// Where the paper does not agree with itself.
    contradictions: Vec<String>,
}

/// What came of one run.
#[derive(Debug, Serialize, Deserialize)]
struct RunReport {
    /// The recipe, with the changes of the command line.
    study: StudyFile,
    /// What was done less than in the paper, in words; empty where nothing was.
    reduced: Vec<String>,
    /// Films by source and label.
    films: BTreeMap<String, BTreeMap<String, usize>>,
    /// Patients.
    groups: usize,
    /// Films that could not be read: file and reason.
    skipped: BTreeMap<String, String>,
    /// In the order of the paper's Table 1.
    networks: Vec<NetworkReport>,
}

/// What one network came to.
#[derive(Debug, Serialize, Deserialize)]
struct NetworkReport {
    /// Which one.
    network: Architecture,
    /// What it began with.
    beginning: Beginning,
    /// Folds that are done.
    folds: Vec<usize>,
    /// All their films together.
    figures: Figures,
    /// Mean and standard deviation over the folds.
    over_folds: BTreeMap<String, (f64, f64)>,
    /// Films by predicted (rows) and actual class (columns).
    confusion: Confusion,
    /// Learning curves, an entry a fold.
    epochs: Vec<Vec<Epoch>>,
    /// Of Covid-19 against the rest.
    roc: Banded,
    /// Of Covid-19.
    precision_recall: Banded,
    /// Of p(Covid-19).
    reliability: Vec<Bin>,
    /// Of the three classes.
    coverage_risk: Banded,
}

/// Rates with Wilson's intervals, the area with a bootstrap's over groups.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Figures {
    /// Films tested.
    films: usize,
    /// Covid-19 or not.
    accuracy_2: Option<Rate>,
    /// Of the three classes.
    accuracy_3: Option<Rate>,
    /// Covid-19 films called Covid-19.
    sensitivity: Option<Rate>,
    /// Other films called something else.
    specificity: Option<Rate>,
    /// Of p(Covid-19).
    auc: Option<Area>,
    /// Of p(Covid-19).
    calibration_error: Option<f64>,
}

/// A tested film.
struct Tested<'a> {
    label: Label,
    group: &'a str,
    probabilities: [f32; 3],
}

impl Tested<'_> {
    fn covid(&self) -> (f64, bool) {
        (f64::from(self.probabilities[0]), self.label == Label::Covid19)
    }

    fn confidence(&self) -> (f64, bool) {
        let highest = self.probabilities.iter().copied().fold(0.0, f32::max);
        (f64::from(highest), likeliest(&self.probabilities) == self.label)
    }
}

/// The report of the runs in `folders`, behind those of the `earlier` report.
///
/// # Errors
/// When a run or the report cannot be read, or a run has no finished fold.
pub fn report(folders: &[PathBuf], earlier: Option<&Path>) -> Result<Report, ReportError> {
    let mut runs = earlier.map(read).transpose()?.map_or_else(Vec::new, |report| report.runs);
    for folder in folders {
        runs.push(run_report(folder)?);
    }
    Ok(Report { runs, contradictions: paper::contradictions() })
}

fn read(path: &Path) -> Result<Report, ReportError> {
    let failed = |source| ReportError::Io { path: path.into(), source };
    let bytes = fs::read(path).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|e| ReportError::Io { path: path.into(), source: e.into() })
}

/// Writes `report` into `folder` as `report.json` and `report.html`, and says where.
///
/// # Errors
/// When a file cannot be written.
pub fn write(report: &Report, folder: &Path) -> Result<[PathBuf; 2], ReportError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source: io::Error| ReportError::Io { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let (json, html) = (folder.join("report.json"), folder.join("report.html"));
    let text = serde_json::to_vec(report).map_err(|e| failed(&json)(e.into()))?;
    crate::files::replace(&json, &text).map_err(failed(&json))?;
    crate::files::replace(&html, page::page(report).as_bytes()).map_err(failed(&html))?;
    Ok([json, html])
}

fn run_report(folder: &Path) -> Result<RunReport, ReportError> {
    let record = Record::read(folder)?;
    let films = record.films(folder)?;
    let mut networks = Vec::new();
    for network in Architecture::ALL {
        let place = network_folder(folder, network);
        let Some(beginning) = Beginning::read(&place)? else { continue };
        let mut results = Vec::new();
        for fold in 0..record.study.folds.count {
            let Some(result) = read_result(&place, fold)? else { continue };
            let own = |film: usize| films.get(film).is_some_and(|film| film.fold == fold);
            if !result.predictions.iter().all(|p| own(p.film)) {
                return Err(ReportError::Foreign { path: folder.into(), network: name_of(network), fold });
            }
            results.push(result);
        }
        if results.is_empty() {
            continue;
        }
        let tested = |result: &FoldResult| -> Vec<Tested<'_>> {
            let film = |film: usize| &films[film].case;
            let predictions = result.predictions.iter();
            predictions
                .map(|p| Tested {
                    label: film(p.film).label,
                    group: &film(p.film).group,
                    probabilities: p.probabilities,
                })
                .collect()
        };
        let by_fold: Vec<Vec<Tested<'_>>> = results.iter().map(tested).collect();
        networks.push(network_report(network, beginning, results, &by_fold));
    }
    if networks.is_empty() {
        return Err(ReportError::Unfinished { path: folder.into() });
    }
    let mut by_source: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for film in &films {
        let labels = by_source.entry(film.case.source.clone()).or_default();
        *labels.entry(film.case.label.name().to_string()).or_default() += 1;
    }
    Ok(RunReport {
        reduced: reductions(&record.study),
        study: record.study,
        films: by_source,
        groups: films.iter().map(|film| film.case.group.as_str()).collect::<BTreeSet<_>>().len(),
        skipped: record.skipped,
        networks,
    })
}

/// What `study` does otherwise than the paper, in words.
fn reductions(study: &StudyFile) -> Vec<String> {
    let (input, training) = (&study.input, &study.training);
    let mut list = Vec::new();
    if (input.height, input.width) != (paper::HEIGHT, paper::WIDTH) {
        list.push(format!("{} × {} pixels instead of {} × {}", input.height, input.width, paper::HEIGHT, paper::WIDTH));
    }
    if training.scope == Scope::Head {
        list.push("only the head trained".into());
    }
    for (what, ours, theirs) in [
        ("epochs", training.epochs, paper::EPOCHS),
        ("films a step", training.batch, paper::BATCH),
        ("folds", study.folds.count, paper::FOLDS),
    ] {
        if ours != theirs {
            list.push(format!("{ours} {what} instead of {theirs}"));
        }
    }
    list
}

fn figures(films: &[&Tested<'_>]) -> Figures {
    let covid = |film: &&&Tested<'_>| film.label == Label::Covid19;
    let called = |film: &Tested<'_>| likeliest(&film.probabilities) == Label::Covid19;
    let (with, without): (Vec<&&Tested<'_>>, Vec<&&Tested<'_>>) = films.iter().partition(covid);
    let found = with.iter().filter(|film| called(film)).count();
    let free = without.iter().filter(|film| !called(film)).count();
    let scored: Vec<(f64, bool)> = films.iter().map(|film| film.covid()).collect();
    let groups: Vec<&str> = films.iter().map(|film| film.group).collect();
    Figures {
        films: films.len(),
        accuracy_2: Rate::new(found + free, films.len()),
        accuracy_3: Rate::new(films.iter().filter(|film| film.confidence().1).count(), films.len()),
        sensitivity: Rate::new(found, with.len()),
        specificity: Rate::new(free, without.len()),
        auc: area(&scored, &groups),
        calibration_error: calibration_error(&scored),
    }
}

fn network_report(
    network: Architecture,
    beginning: Beginning,
    results: Vec<FoldResult>,
    by_fold: &[Vec<Tested<'_>>],
) -> NetworkReport {
    let all: Vec<&Tested<'_>> = by_fold.iter().flatten().collect();
    let class = |label: Label| CLASSES.iter().position(|class| *class == label).unwrap_or(0);
    let mut confusion = Confusion::default();
    for film in &all {
        confusion[class(likeliest(&film.probabilities))][class(film.label)] += 1;
    }
    let of_folds: Vec<Figures> = by_fold.iter().map(|films| figures(&films.iter().collect::<Vec<_>>())).collect();
    let over = |value: &dyn Fn(&Figures) -> Option<f64>| {
        curves::mean_and_deviation(&of_folds.iter().filter_map(value).collect::<Vec<_>>())
    };
    let rate = |rate: Option<Rate>| rate.map(|rate| rate.rate);
    let over_folds = BTreeMap::from(
        [
            ("accuracy_2", over(&|f| rate(f.accuracy_2))),
            ("accuracy_3", over(&|f| rate(f.accuracy_3))),
            ("sensitivity", over(&|f| rate(f.sensitivity))),
            ("specificity", over(&|f| rate(f.specificity))),
            ("auc", over(&|f| f.auc.map(|area| area.auc))),
        ]
        .map(|(name, value)| (name.to_string(), value)),
    );
    let scores = |films: &[&Tested<'_>]| films.iter().map(|film| film.covid()).collect::<Vec<_>>();
    let sure = |films: &[&Tested<'_>]| films.iter().map(|film| film.confidence()).collect::<Vec<_>>();
    let folds: Vec<Vec<&Tested<'_>>> = by_fold.iter().map(|films| films.iter().collect()).collect();
    let fold_scores: Vec<_> = folds.iter().map(|films| scores(films)).collect();
    let fold_sure: Vec<_> = folds.iter().map(|films| sure(films)).collect();
    let scored = scores(&all);
    NetworkReport {
        network,
        beginning,
        folds: results.iter().map(|result| result.fold).collect(),
        figures: figures(&all),
        over_folds,
        confusion,
        roc: curves::banded_roc(&scored, &fold_scores),
        precision_recall: curves::banded_precision_recall(&scored, &fold_scores),
        reliability: curves::reliability(&scored),
        coverage_risk: curves::banded_coverage_risk(&sure(&all), &fold_sure),
        epochs: results.into_iter().map(|result| result.epochs).collect(),
    }
}
