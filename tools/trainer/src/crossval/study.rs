//! What a comparison of networks is made of: a TOML file as typed, and what it means.

use std::collections::BTreeMap;
use std::path::Path;

use lightbox::domain::{Channels, Fit, GreyScale, InputSpec};
use serde::{Deserialize, Serialize};

use super::scope::Scope;
use crate::paper::networks::Architecture;
use crate::recipe::{RecipeError, counted, value, within};

/// The file as typed.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct StudyFile {
    /// What it is called in reports.
    pub name: String,
    /// The column of `manifest.csv` that marks its films with 1; empty for all films to learn from.
    pub dataset: String,
    /// What the networks see of a film.
    pub input: StudyInput,
    /// How the films are divided.
    pub folds: StudyFolds,
    /// How each network learns.
    pub training: StudyTraining,
}

/// `[input]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct StudyInput {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Width ÷ height of the black canvas that a film is put on before it is rescaled to the input's shape.
    pub canvas: f32,
}

/// `[folds]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct StudyFolds {
    /// How many.
    pub count: usize,
    /// Of the division, the first weights, the batches and the drop-out.
    pub seed: u64,
}

/// `[training]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct StudyTraining {
    /// Times that every film is learned from.
    pub epochs: usize,
    /// Films a step.
    pub batch: usize,
    /// Of Adam.
    pub learning_rate: f64,
    /// Another rate for some networks, by their names on the command line.
    #[serde(default)]
    pub learning_rate_of: BTreeMap<String, f64>,
    /// `"behind-cut-off"`, or `"head"` alone.
    #[serde(default)]
    pub scope: Scope,
    /// Share of hidden values dropped where a head has two hidden layers.
    pub dropout: f64,
}

/// A study that can be done.
#[derive(Clone, Debug)]
pub struct Study {
    /// As typed; every value is in its range.
    pub file: StudyFile,
    /// Greys from 0 to 1 of the input's shape.
    pub spec: InputSpec,
}

/// What the command line asks for in place of the recipe.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// Rows and columns.
    pub size: Option<(usize, usize)>,
    /// Of training.
    pub epochs: Option<usize>,
    /// Train the head alone.
    pub head_only: bool,
}

impl Study {
    /// Reads and checks a recipe, with `changes` made to it.
    ///
    /// # Errors
    /// When the file cannot be read, has an unknown key or a value outside its range.
    pub fn read(path: &Path, changes: Changes) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path).map_err(|source| RecipeError::Io { path: path.into(), source })?;
        let mut file: StudyFile = toml::from_str(&text)
            .map_err(|source| RecipeError::Syntax { path: path.into(), source: Box::new(source) })?;
        if let Some((height, width)) = changes.size {
            (file.input.height, file.input.width) = (height, width);
        }
        if let Some(epochs) = changes.epochs {
            file.training.epochs = epochs;
        }
        if changes.head_only {
            file.training.scope = Scope::Head;
        }
        file.try_into()
    }

    /// The learning rate of `network`.
    pub fn learning_rate(&self, network: Architecture) -> f64 {
        let training = &self.file.training;
        training.learning_rate_of.get(&name_of(network)).copied().unwrap_or(training.learning_rate)
    }
}

/// A network's name on the command line and in files.
pub fn name_of(network: Architecture) -> String {
    match serde_json::to_value(network) {
        Ok(serde_json::Value::String(name)) => name,
        _ => network.title().to_lowercase(),
    }
}

/// The network of that name.
///
/// # Errors
/// What the names are.
pub fn network_named(name: &str) -> Result<Architecture, String> {
    let found = Architecture::ALL.into_iter().find(|network| name_of(*network) == name);
    found.ok_or_else(|| {
        let names: Vec<String> = Architecture::ALL.into_iter().map(name_of).collect();
        format!("expected one of {}", names.join(", "))
    })
}

impl TryFrom<StudyFile> for Study {
    type Error = RecipeError;

    fn try_from(file: StudyFile) -> Result<Self, RecipeError> {
        let plain =
            |text: &str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if file.name.is_empty() || !plain(&file.name) {
            return Err(value("name", format!("{:?}", file.name), "1 to 64 letters, digits, '-', '_' or '.'"));
        }
        if !plain(&file.dataset) {
            return Err(value("dataset", format!("{:?}", file.dataset), "the name of a column, or nothing"));
        }
        within("input.canvas", f64::from(file.input.canvas), 0.5, 2.0)?;
        counted("folds.count", file.folds.count, 2, 100)?;
        let t = &file.training;
        counted("training.epochs", t.epochs, 1, 10_000)?;
        counted("training.batch", t.batch, 2, 1024)?;
        within("training.learning_rate", t.learning_rate, 1e-8, 1.0)?;
        within("training.dropout", t.dropout, 0.0, 0.95)?;
        for (name, rate) in &t.learning_rate_of {
            let unknown = |text: String| value("training.learning_rate_of", name, text.trim_start_matches("expected "));
            network_named(name).map_err(unknown)?;
            within(&format!("training.learning_rate_of.{name}"), *rate, 1e-8, 1.0)?;
        }
        let input = &file.input;
        let (fit, greys) = (Fit::Letterbox, GreyScale::AsShown);
        let spec = InputSpec::new(input.height, input.width, fit, 0.0, greys, Channels::Grey, vec![0.0], vec![1.0])?;
        Ok(Self { file, spec })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study(change: impl Fn(&mut StudyFile)) -> Result<Study, RecipeError> {
        let mut file: StudyFile =
            toml::from_str(include_str!("../../recipes/paper-dataset1.toml")).expect("the recipe");
        change(&mut file);
        file.try_into()
    }

    #[test]
    fn both_recipes_are_the_papers_but_for_the_films() {
        let one = study(|_| ()).expect("a study").file;
        let mut two: StudyFile = toml::from_str(include_str!("../../recipes/paper-dataset2.toml")).expect("the recipe");
        assert_eq!((one.dataset.as_str(), two.dataset.as_str()), ("paper_ds1", "paper_ds2"));
        (two.name, two.dataset) = (one.name.clone(), one.dataset.clone());
        assert_eq!(one, two);
        assert_eq!((one.input.height, one.input.width, one.folds.count), (200, 266, 10));
        assert_eq!((one.training.epochs, one.training.batch), (10, 64));
    }

    #[test]
    fn a_value_outside_its_range_is_named_with_the_range() {
        let refused = |change: fn(&mut StudyFile)| study(change).expect_err("refused").to_string();
        assert_eq!(refused(|f| f.folds.count = 1), "folds.count is 1, expected 2 to 100");
        assert_eq!(refused(|f| f.training.epochs = 0), "training.epochs is 0, expected 1 to 10000");
        assert_eq!(
            refused(|f| f.dataset = "a b".into()),
            "dataset is \"a b\", expected the name of a column, or nothing"
        );
        assert!(refused(|f| f.input.height = 20).contains("height"));
        let rate = |f: &mut StudyFile| {
            f.training.learning_rate_of.insert("lenet".into(), 0.1);
        };
        assert!(refused(rate).starts_with("training.learning_rate_of is lenet, expected one of vgg19, "));
    }

    #[test]
    fn a_network_may_have_a_learning_rate_of_its_own() {
        let study = study(|f| {
            f.training.learning_rate_of.insert("vgg19".into(), 0.25);
        })
        .expect("a study");
        assert_eq!(study.learning_rate(Architecture::Vgg19), 0.25);
        assert_eq!(study.learning_rate(Architecture::Xception), study.file.training.learning_rate);
    }
}
