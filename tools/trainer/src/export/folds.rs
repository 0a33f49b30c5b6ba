//! Cross-validated predictions: what networks of one recipe, each trained without one fold of the patients, say of the
//! films of that fold. Temperature and lines are drawn on all of them together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lightbox::domain::{DecisionRule, OperatingPoint};
use serde::Serialize;

use super::{ExportError, Origin, Place, Trained, Written, graph, read_trained, write_model};
use crate::calibrate::{self, Calibration, HeldOut};
use crate::data::Label;
use crate::data::fold::Fold;
use crate::data::split::{self, Named};
use crate::evaluate::{self, Judged};
use crate::metrics::{Rate, rate_by_group};
use crate::predict::Prediction;
use crate::recipe::{OperatingPointFile, RecipeFile};
use crate::words::count;

/// Runs that are not the folds of one recipe.
#[derive(Debug, thiserror::Error)]
pub enum FoldsError {
    /// A run that held out a share, or nothing.
    #[error("{run} was not trained on a fold: train it with --fold K/N")]
    NoFold {
        /// The run.
        run: PathBuf,
    },
    /// Runs of two divisions.
    #[error(
        "{run} is fold {fold} of seed {seed}, {other} is fold {other_fold} of seed {other_seed}: \
        expected folds of one division"
    )]
    OtherDivision {
        /// A run.
        run: PathBuf,
        /// Its fold.
        fold: Fold,
        /// Its seed.
        seed: u64,
        /// The first run.
        other: PathBuf,
        /// The first run's fold.
        other_fold: Fold,
        /// The first run's seed.
        other_seed: u64,
    },
    /// A fold twice.
    #[error("{run} and {other} are both fold {fold}: give each fold once")]
    Twice {
        /// A run.
        run: PathBuf,
        /// The one before.
        other: PathBuf,
        /// Their fold.
        fold: Fold,
    },
    /// Folds that nobody trained.
    #[error("of {of} folds these are missing: {}; give a run for each (train --fold K/{of})", list(missing))]
    Missing {
        /// Their numbers.
        missing: Vec<usize>,
        /// How many folds there are.
        of: usize,
    },
    /// Another recipe than that of the network that ships.
    #[error("{run} was trained by another recipe than the network: {key} is {found}, expected {expected}")]
    OtherRecipe {
        /// The run.
        run: PathBuf,
        /// The first key that differs.
        key: String,
        /// Its value there.
        found: String,
        /// Its value in the network's recipe.
        expected: String,
    },
    /// A film that two networks were not trained on.
    #[error("{file} is held out by {run} and by another run: folds are of all sources, train them without --leave-out")]
    HeldOutTwice {
        /// Which film.
        file: String,
        /// One of the runs.
        run: PathBuf,
    },
}

/// `2, 3`
fn list(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// One fold: the network that never saw it, and what that said of it.
struct OneFold {
    fold: Fold,
    /// Novelty and lungs as fitted to this network; the lines decide nothing.
    rule: DecisionRule,
    predictions: Vec<Prediction>,
}

/// The folds of one recipe.
pub(super) struct Folds {
    folds: Vec<OneFold>,
}

/// How good the lines are that were drawn on cross-validated predictions.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CrossValidation {
    /// Networks, each trained without one fold.
    pub(crate) folds: usize,
    /// Films of all folds that could be read.
    pub(crate) films: usize,
    /// Groups of patients that they belong to.
    pub(crate) groups: usize,
    /// At the lines that are used. They were drawn on these very films.
    pub(crate) at_the_lines: Lines,
    /// Each fold at the temperature and the lines that the other folds draw: what to expect of other patients.
    pub(crate) at_lines_of_other_folds: Lines,
    /// What the folds draw without each of them in turn.
    pub(crate) without: Vec<Drawn>,
}

/// Rates at both lines, of the films that were read.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Lines {
    /// Who is called free of Covid-19.
    pub(crate) rule_out: Ends,
    /// Who is called to have it.
    pub(crate) rule_in: Ends,
}

/// Rates at one line, with 95 % intervals by group.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ends {
    /// Of the Covid-19 films, those above it.
    pub(crate) sensitivity: Option<Rate>,
    /// Of the others, those below.
    pub(crate) specificity: Option<Rate>,
}

/// What is drawn without one fold.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Drawn {
    /// Which one.
    pub(crate) fold: usize,
    /// See [`Calibration`].
    pub(crate) temperature: f32,
    /// Likewise.
    pub(crate) rule_out: f32,
    /// Likewise.
    pub(crate) rule_in: f32,
}

impl Folds {
    /// Asks the network of each of `runs`, folders of `trainer train --fold K/N`, about its fold. `origin` is that of
    /// the network that ships.
    pub(super) fn ask(runs: &[PathBuf], origin: &Origin, data: &Path, beside: &Path) -> Result<Self, ExportError> {
        let mut trained = Vec::new();
        for run in runs {
            let found = read_trained(&run.join("weights.safetensors"))?;
            let fold = found.origin.recipe.file.training.fold.ok_or_else(|| FoldsError::NoFold { run: run.clone() })?;
            same_recipe(run, &found.origin.recipe.file, &origin.recipe.file)?;
            trained.push((run, fold, found));
        }
        check_division(
            &trained.iter().map(|(run, fold, t)| (run.as_path(), *fold, t.origin.seed)).collect::<Vec<_>>(),
        )?;
        let rows = crate::data::manifest::read(data)?;
        let mut seen = BTreeSet::new();
        let mut folds = Vec::new();
        for (run, fold, Trained { network, origin }) in trained {
            let parts = split::split(rows.clone(), &origin.recipe, origin.seed)?;
            if let Some(film) = parts.held_out.iter().find(|film| !seen.insert(film.row.file.clone())) {
                let file = film.row.file.clone();
                return Err(FoldsError::HeldOutTwice { file, run: run.clone() }.into());
            }
            log::info!("fold {fold}: {}", run.display());
            let spec = &origin.recipe.input;
            let network = graph::write(&network.folded().rounded_to_f16(), spec.height(), spec.width())?;
            let place = Place { data, out: beside };
            let Written { model, .. } = write_model(&place, &network, &origin, &parts)?;
            let predictions = super::predict(&model, data, &parts.held_out, "films of the fold")?;
            let rule = model.manifest().rule.clone();
            folds.push(OneFold { fold, rule, predictions });
        }
        std::fs::remove_dir_all(beside).map_err(super::io_error(beside))?;
        folds.sort_by_key(|fold| fold.fold);
        Ok(Self { folds })
    }

    /// Temperature and lines drawn on all folds together.
    pub(super) fn calibrate(&self, rates: &OperatingPointFile) -> Result<Calibration, ExportError> {
        let films = self.films().count();
        let place = format!(
            "on cross-validated predictions: {films} films of {} of patients in {} folds, each asked of a network \
             trained by this recipe without the fold",
            count(self.groups(), "group", "groups"),
            self.folds.len()
        );
        Ok(calibrate::calibrate(&self.answers(None), rates, &place)?)
    }

    /// Every film, as judged with `calibration` by the network that did not learn from it.
    pub(super) fn judged(&self, calibration: &Calibration) -> Result<Vec<Judged>, ExportError> {
        let judged = self.folds.iter().map(|fold| fold.judged(calibration)).collect::<Result<Vec<_>, ExportError>>()?;
        Ok(judged.concat())
    }

    /// How many films of each source and label the folds have, readable or not.
    pub(super) fn counts(&self) -> BTreeMap<String, BTreeMap<&'static str, usize>> {
        let predictions = self.folds.iter().flat_map(|fold| &fold.predictions);
        split::counts(&predictions.map(|prediction| prediction.film.clone()).collect::<Vec<Named>>())
    }

    /// How good the lines of `calibration`, drawn on all folds, are.
    pub(super) fn cross_validation(
        &self,
        calibration: &Calibration,
        rates: &OperatingPointFile,
    ) -> Result<CrossValidation, ExportError> {
        let (mut without, mut others) = (Vec::new(), Vec::new());
        for (position, fold) in self.folds.iter().enumerate() {
            let drawn = calibrate::calibrate(&self.answers(Some(position)), rates, "")?;
            others.extend(fold.judged(&drawn)?);
            let Calibration { temperature, rule_out, rule_in, .. } = drawn;
            without.push(Drawn { fold: fold.fold.number(), temperature, rule_out, rule_in });
        }
        Ok(CrossValidation {
            folds: self.folds.len(),
            films: self.films().count(),
            groups: self.groups(),
            at_the_lines: Lines::of(&self.judged(calibration)?),
            at_lines_of_other_folds: Lines::of(&others),
            without,
        })
    }

    /// Those that the networks answered to.
    fn films(&self) -> impl Iterator<Item = &Named> {
        let predictions = self.folds.iter().flat_map(|fold| &fold.predictions);
        predictions.filter(|prediction| prediction.answer.is_ok()).map(|prediction| &prediction.film)
    }

    fn groups(&self) -> usize {
        self.films().map(|film| film.row.group.as_str()).collect::<BTreeSet<_>>().len()
    }

    /// The answers to the films of all folds but the one at `without`.
    fn answers(&self, without: Option<usize>) -> Vec<HeldOut> {
        let chosen = self.folds.iter().enumerate().filter(|(position, _)| Some(*position) != without);
        chosen.flat_map(|(_, fold)| super::answers(&fold.predictions)).collect()
    }
}

impl OneFold {
    fn judged(&self, calibration: &Calibration) -> Result<Vec<Judged>, ExportError> {
        let Calibration { temperature, rule_out, rule_in, pneumonia_below, normal_above, .. } = *calibration;
        let operating_point = OperatingPoint::new(rule_out, rule_in, pneumonia_below, normal_above)?;
        Ok(evaluate::judge(&self.predictions, &DecisionRule { temperature, operating_point, ..self.rule.clone() }))
    }
}

impl Lines {
    fn of(films: &[Judged]) -> Self {
        let rate = |ill: bool, right: &dyn Fn(&Judged) -> bool| {
            let counted = films.iter().filter(|f| f.probabilities.is_some() && (f.label == Label::Covid19) == ill);
            let (hits, groups): (Vec<bool>, Vec<&str>) = counted.map(|f| (right(f), f.group.as_str())).unzip();
            rate_by_group(&hits, &groups)
        };
        let ends = |above: &dyn Fn(&Judged) -> bool| Ends {
            sensitivity: rate(true, above),
            specificity: rate(false, &|film| !above(film)),
        };
        Self { rule_out: ends(&|film| !film.called_free()), rule_in: ends(&|film| film.called_covid()) }
    }
}

/// Refuses folds that are not of one division, or not all of it.
fn check_division(runs: &[(&Path, Fold, u64)]) -> Result<(), FoldsError> {
    let Some((first, first_fold, first_seed)) = runs.first().copied() else { return Ok(()) };
    let mut taken: BTreeMap<usize, &Path> = BTreeMap::new();
    for (run, fold, seed) in runs.iter().copied() {
        if fold.of() != first_fold.of() || seed != first_seed {
            return Err(FoldsError::OtherDivision {
                run: run.into(),
                fold,
                seed,
                other: first.into(),
                other_fold: first_fold,
                other_seed: first_seed,
            });
        }
        if let Some(other) = taken.insert(fold.number(), run) {
            return Err(FoldsError::Twice { run: run.into(), other: other.into(), fold });
        }
    }
    let of = first_fold.of();
    let missing: Vec<usize> = (1..=of).filter(|number| !taken.contains_key(number)).collect();
    if missing.is_empty() { Ok(()) } else { Err(FoldsError::Missing { missing, of }) }
}

/// Refuses a run by another recipe. What is held out may differ, as may name, version and where the lines are wanted.
fn same_recipe(run: &Path, found: &RecipeFile, expected: &RecipeFile) -> Result<(), FoldsError> {
    let plain = |file: &RecipeFile| {
        let mut file = file.clone();
        (file.training.fold, file.training.held_out) = (None, 0.0);
        (file.name, file.version) = (String::new(), String::new());
        file.operating_point = expected.operating_point.clone();
        serde_json::to_value(file).unwrap_or_default()
    };
    match difference("", &plain(found), &plain(expected)) {
        None => Ok(()),
        Some((key, found, expected)) => Err(FoldsError::OtherRecipe { run: run.into(), key, found, expected }),
    }
}

/// The first key below `key` whose values differ, and both values.
fn difference(key: &str, found: &serde_json::Value, expected: &serde_json::Value) -> Option<(String, String, String)> {
    match (found.as_object(), expected.as_object()) {
        _ if found == expected => None,
        (Some(a), Some(b)) => {
            let null = serde_json::Value::Null;
            a.keys().chain(b.keys()).find_map(|name| {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                difference(&key, a.get(name).unwrap_or(&null), b.get(name).unwrap_or(&null))
            })
        }
        _ => Some((key.into(), found.to_string(), expected.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(runs: &[(&str, &str, u64)], message: &str) {
        let runs: Vec<(&Path, Fold, u64)> =
            runs.iter().map(|(run, fold, seed)| (Path::new(*run), fold.parse().expect("a fold"), *seed)).collect();
        let found = check_division(&runs).err().map_or_else(|| "fine".into(), |error| error.to_string());
        assert_eq!(found, message);
    }

    #[test]
    fn only_all_folds_of_one_division_are_pooled() {
        check(&[("b", "2/2", 1), ("a", "1/2", 1)], "fine");
        check(&[("a", "2/3", 1)], "of 3 folds these are missing: 1, 3; give a run for each (train --fold K/3)");
        check(&[("a", "1/2", 1), ("b", "1/2", 1)], "b and a are both fold 1/2: give each fold once");
        check(
            &[("a", "1/2", 1), ("b", "2/2", 2)],
            "b is fold 2/2 of seed 2, a is fold 1/2 of seed 1: expected folds of one division",
        );
        check(
            &[("a", "1/2", 1), ("b", "2/3", 1)],
            "b is fold 2/3 of seed 1, a is fold 1/2 of seed 1: expected folds of one division",
        );
    }

    #[test]
    fn a_run_by_another_recipe_is_told_from_one_of_another_fold() {
        let recipe: RecipeFile = toml::from_str(include_str!("../../recipes/first.toml")).expect("the recipe");
        let mut other = recipe.clone();
        other.training.fold = Some("1/3".parse().expect("a fold"));
        (other.training.held_out, other.version) = (0.0, "2".into());
        same_recipe(Path::new("run"), &other, &recipe).expect("the same recipe");
        other.training.steps = 7;
        let error = same_recipe(Path::new("run"), &other, &recipe).expect_err("another").to_string();
        let expected = "run was trained by another recipe than the network: training.steps is 7, expected 160";
        assert_eq!(error, expected);
    }
}
