//! How a network is trained: a TOML file as typed, and what it means.
//!
//! A recipe names no folder and no file: data and weights are arguments of the command line.

use std::path::{Path, PathBuf};

use lightbox::domain::{Channels, Fit, GreyScale, InputSpec, InputSpecError, LungLocator};
use serde::{Deserialize, Serialize};

use crate::data::Label;
use crate::data::fold::Fold;
use crate::network::mobilenet_v2::BLOCKS;

/// A recipe that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of another type.
    #[error("{path}: {source}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A value outside its range.
    #[error("{key} is {found}, expected {expected}")]
    Value {
        /// Which key.
        key: String,
        /// As typed.
        found: String,
        /// The range.
        expected: String,
    },
    /// An input that no network can have.
    #[error("input: {0}")]
    Input(#[from] InputSpecError),
}

/// The file as typed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeFile {
    /// What the recipe is called; becomes the model's name.
    pub name: String,
    /// The model's version.
    pub version: String,
    /// What the network sees of a film.
    pub input: InputFile,
    /// The network and what of it is trained.
    pub network: NetworkFile,
    /// Steps, learning rate, averaging.
    pub training: TrainingFile,
    /// What a batch is made of.
    pub batch: BatchFile,
    /// Sources, by the beginning of their name in the manifest; without any, each name is a source of weight 1.
    #[serde(default)]
    pub source: Vec<SourceFile>,
    /// What is done to films before the network sees them.
    pub augment: Augment,
    /// Which errors are accepted where the lines are drawn.
    pub operating_point: OperatingPointFile,
}

/// `[input]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `"stretch"` or `"letterbox"`.
    pub fit: FitName,
    /// Fraction cut off at each edge.
    pub border: f32,
    /// `"equalised"` or `"as-shown"`.
    pub grey_scale: GreyScaleName,
    /// Subtracted from greys of 0 to 1.
    pub mean: f32,
    /// Then divided by.
    pub std: f32,
    /// Where the network judges the lungs alone: how far beyond them it is shown, as a fraction of the film. Where the
    /// lungs are comes from `trainer locate` for training, and from the model itself on the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lungs_margin: Option<f32>,
}

/// How a film is brought to shape.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FitName {
    /// See [`Fit::Stretch`].
    Stretch,
    /// See [`Fit::Letterbox`].
    Letterbox,
}

/// What happens to the greys.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GreyScaleName {
    /// See [`GreyScale::Equalised`].
    Equalised,
    /// See [`GreyScale::AsShown`].
    AsShown,
}

/// Which network.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub enum Architecture {
    /// MobileNetV2, width 1.0.
    #[serde(rename = "mobilenet-v2")]
    MobileNetV2,
}

/// What batch normalisation does in the blocks that are trained.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Statistics {
    /// ImageNet's statistics stay; scale and shift are trained. Does not depend on what a batch is mixed of.
    Imported,
    /// Statistics of each batch, and a running average of them for use.
    Batch,
}

/// `[network]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkFile {
    /// `"mobilenet-v2"`.
    pub architecture: Architecture,
    /// Blocks of the trunk that stay as imported, from the stem on.
    pub frozen_blocks: usize,
    /// `"imported"` or `"batch"`.
    pub statistics: Statistics,
    /// Share of hidden values dropped in the head.
    pub dropout: f64,
}

/// What is learned from films that are neither Covid-19, pneumonia nor normal.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OtherFilms {
    /// They are left out.
    Ignored,
    /// That they are not Covid-19, and nothing else.
    NotCovid,
}

/// `[training]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingFile {
    /// Optimiser steps.
    pub steps: usize,
    /// Films a step.
    pub batch: usize,
    /// Highest learning rate of the one cycle.
    pub learning_rate: f64,
    /// Rate of the trunk as a share of the head's. With imported statistics nothing evens out large steps.
    pub trunk_rate: f64,
    /// Share of the steps over which the rate rises.
    pub warm_up: f64,
    /// Decoupled weight decay of AdamW.
    pub weight_decay: f32,
    /// Largest norm of the gradient of one tensor; 0 for no limit.
    pub gradient_norm: f32,
    /// Share of the target that is spread over all classes.
    pub label_smoothing: f32,
    /// Share of the averaged weights kept at each step; 0 for no averaging.
    pub average_decay: f32,
    /// `"ignored"` or `"not-covid"`.
    pub other_films: OtherFilms,
    /// Share of the groups of each source and label that is held out; 0 for none.
    pub held_out: f64,
    /// Holds this fold of the groups of each source and label out, in place of a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<Fold>,
    /// Sources that are held out whole.
    #[serde(default)]
    pub left_out_sources: Vec<String>,
    /// Steps between two looks at the held-out films.
    pub evaluate_every: usize,
    /// At most so many held-out films of each source and label are looked at during training.
    pub evaluate_films: usize,
    /// Steps between two checkpoints.
    pub checkpoint_every: usize,
    /// Looks without a better score after which training stops; 0 for never.
    pub patience: usize,
}

/// `[batch]`: how often each label is drawn, in any unit.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BatchFile {
    /// Covid-19.
    pub covid19: f64,
    /// Other pneumonia.
    pub pneumonia: f64,
    /// Normal.
    pub normal: f64,
    /// Other disease.
    pub other: f64,
}

/// `[[source]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// What it is called in reports.
    pub name: String,
    /// Beginnings of its names in the manifest.
    pub starts_with: Vec<String>,
    /// How often it is drawn among the sources of a label, in any unit; 0 for never.
    pub weight: f64,
}

/// `[augment]`: what is done to films before the shared preprocessing. Shares are of films.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Smallest share of width and of height that is kept.
    pub crop: f32,
    /// Largest rotation either way, in degrees.
    pub rotation_degrees: f32,
    /// Share mirrored.
    pub flip: f32,
    /// Fewest and most pixels a side of the film after the loss of resolution.
    pub resolution_px: [u32; 2],
    /// Strength of smooth fields of brightness and of local contrast, 0 to 1.
    pub unevenness: f32,
    /// Share sharpened or blurred.
    pub sharpness: f32,
    /// Largest standard deviation of noise, as a share of white.
    pub noise: f32,
    /// Lowest and highest JPEG quality.
    pub jpeg_quality: [u8; 2],
    /// Share with burned-in letters, arrows and boxes.
    pub marks: f32,
    /// Share with a frame.
    pub frame: f32,
    /// Share with pieces cut out outside the lungs.
    pub cut_out: f32,
    /// Side of an augmented film: a little more than the network's input needs once the border is cut off.
    #[serde(default = "usual_side_px")]
    pub side_px: u32,
    /// Share whose lungs are put into the surroundings of a film of any source and label, where both films' lungs are
    /// known.
    #[serde(default)]
    pub surroundings: f32,
    /// Share of the steps in which the films exchange means and deviations of early features.
    #[serde(default)]
    pub style: f32,
}

fn usual_side_px() -> u32 {
    224
}

/// `[operating_point]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPointFile {
    /// Share of Covid-19 films that must lie above `rule_out`.
    pub rule_out_sensitivity: f64,
    /// Share of other films that must lie below `rule_in`.
    pub rule_in_specificity: f64,
    /// Share of pneumonia films without Covid-19 that must not be called normal.
    pub pneumonia_sensitivity: f64,
    /// Share of normal films that must not be called pneumonia.
    pub normal_sensitivity: f64,
    /// Share of the films of a source not learned from that may be lost as unlike the training films.
    pub novelty_loss: f64,
}

/// A source as used.
#[derive(Clone, Debug)]
pub struct SourceRule {
    /// What it is called in reports.
    pub name: String,
    starts_with: Vec<String>,
    /// How often it is drawn among the sources of a label.
    pub weight: f64,
}

/// A recipe that can be followed.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// As typed; every value is in its range.
    pub file: RecipeFile,
    /// What the network sees of a whole film.
    pub input: InputSpec,
    /// What it sees of a film that was cut down to what it judges: the same, but for the border.
    pub judged: InputSpec,
    /// Sources; empty for "as the manifest has them".
    pub sources: Vec<SourceRule>,
}

impl Recipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// When the file cannot be read, has an unknown key or a value outside its range.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        Self::read_with(path, &[])
    }

    /// As [`Recipe::read`], with other values for some keys (`training.steps`, `source.NAME.weight`), as TOML has them.
    ///
    /// # Errors
    /// As [`Recipe::read`], and when a key leads nowhere.
    pub fn read_with(path: &Path, changes: &[(String, toml::Value)]) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path).map_err(|source| RecipeError::Io { path: path.into(), source })?;
        let syntax = |source| RecipeError::Syntax { path: path.into(), source: Box::new(source) };
        if changes.is_empty() {
            // Straight from the text: errors then say where in it.
            return toml::from_str::<RecipeFile>(&text).map_err(syntax)?.try_into();
        }
        let mut whole: toml::Value = toml::from_str(&text).map_err(syntax)?;
        for (key, new) in changes {
            change(&mut whole, key, new.clone())?;
        }
        whole.try_into::<RecipeFile>().map_err(syntax)?.try_into()
    }

    /// The source that the manifest calls `name`: its name in reports.
    ///
    /// `None` when the recipe lists sources and none of them fits.
    pub fn source_of<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if self.sources.is_empty() {
            return Some(name);
        }
        let fits = |rule: &&SourceRule| rule.starts_with.iter().any(|start| name.starts_with(start.as_str()));
        self.sources.iter().find(fits).map(|rule| rule.name.as_str())
    }

    /// How often a source is drawn among those of a label.
    pub fn source_weight(&self, name: &str) -> f64 {
        self.sources.iter().find(|rule| rule.name == name).map_or(1.0, |rule| rule.weight)
    }

    /// How often a label is drawn.
    pub fn label_weight(&self, label: Label) -> f64 {
        let batch = &self.file.batch;
        match label {
            Label::Covid19 => batch.covid19,
            Label::Pneumonia => batch.pneumonia,
            Label::Normal => batch.normal,
            Label::Other if self.file.training.other_films == OtherFilms::NotCovid => batch.other,
            Label::Other => 0.0,
        }
    }
}

/// Puts `new` in the place `key`, words with dots between them; entries of a list are known by their `name`.
fn change(whole: &mut toml::Value, key: &str, new: toml::Value) -> Result<(), RecipeError> {
    let nowhere = || value("--set", key, "a key of the recipe, such as training.steps or source.NAME.weight");
    let mut place = whole;
    let (path, last) = key.rsplit_once('.').ok_or_else(nowhere)?;
    for word in path.split('.') {
        place = match place {
            toml::Value::Table(table) => table.get_mut(word),
            toml::Value::Array(list) => {
                list.iter_mut().find(|entry| entry.get("name").and_then(toml::Value::as_str) == Some(word))
            }
            _ => None,
        }
        .ok_or_else(nowhere)?;
    }
    place.as_table_mut().ok_or_else(nowhere)?.insert(last.into(), new);
    Ok(())
}

pub(crate) fn value(key: &str, found: impl ToString, expected: &str) -> RecipeError {
    RecipeError::Value { key: key.into(), found: found.to_string(), expected: expected.into() }
}

pub(crate) fn within(key: &str, found: f64, low: f64, high: f64) -> Result<(), RecipeError> {
    if (low..=high).contains(&found) { Ok(()) } else { Err(value(key, found, &format!("{low} to {high}"))) }
}

pub(crate) fn counted(key: &str, found: usize, low: usize, high: usize) -> Result<(), RecipeError> {
    if (low..=high).contains(&found) { Ok(()) } else { Err(value(key, found, &format!("{low} to {high}"))) }
}

impl TryFrom<RecipeFile> for Recipe {
    type Error = RecipeError;

    fn try_from(file: RecipeFile) -> Result<Self, RecipeError> {
        let plain = |text: &str| {
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        for (key, text) in [("name", &file.name), ("version", &file.version)] {
            if !plain(text) {
                return Err(value(key, format!("{text:?}"), "1 to 64 letters, digits, '-', '_' or '.'"));
            }
        }
        counted("network.frozen_blocks", file.network.frozen_blocks, 0, BLOCKS)?;
        within("network.dropout", file.network.dropout, 0.0, 0.95)?;

        let t = &file.training;
        counted("training.steps", t.steps, 1, 1_000_000)?;
        counted("training.batch", t.batch, 1, 1024)?;
        within("training.learning_rate", t.learning_rate, 1e-8, 1.0)?;
        within("training.trunk_rate", t.trunk_rate, 0.0, 10.0)?;
        within("training.warm_up", t.warm_up, 0.0, 0.9)?;
        within("training.weight_decay", f64::from(t.weight_decay), 0.0, 1.0)?;
        within("training.gradient_norm", f64::from(t.gradient_norm), 0.0, 1e6)?;
        within("training.label_smoothing", f64::from(t.label_smoothing), 0.0, 0.5)?;
        within("training.average_decay", f64::from(t.average_decay), 0.0, 0.9999)?;
        within("training.held_out", t.held_out, 0.0, 0.9)?;
        if t.held_out == 0.0 && t.fold.is_none() && t.patience > 0 {
            return Err(value("training.patience", t.patience, "0 where nothing is held out to look at"));
        }
        counted("training.evaluate_every", t.evaluate_every, 1, 1_000_000)?;
        counted("training.evaluate_films", t.evaluate_films, 1, 1_000_000)?;
        counted("training.checkpoint_every", t.checkpoint_every, 1, 1_000_000)?;

        let b = &file.batch;
        for (key, share) in [
            ("batch.covid19", b.covid19),
            ("batch.pneumonia", b.pneumonia),
            ("batch.normal", b.normal),
            ("batch.other", b.other),
        ] {
            within(key, share, 0.0, 1e6)?;
        }
        for source in &file.source {
            within(&format!("source {}: weight", source.name), source.weight, 0.0, 1e6)?;
            if source.starts_with.is_empty() {
                return Err(value(&format!("source {}: starts_with", source.name), "[]", "at least one beginning"));
            }
        }
        for name in &t.left_out_sources {
            if !file.source.is_empty() && !file.source.iter().any(|s| s.name == *name) {
                let names: Vec<&str> = file.source.iter().map(|s| s.name.as_str()).collect();
                let expected = format!("one of {}", names.join(", "));
                return Err(value("training.left_out_sources", name, &expected));
            }
        }

        let a = &file.augment;
        within("augment.crop", f64::from(a.crop), 0.3, 1.0)?;
        within("augment.rotation_degrees", f64::from(a.rotation_degrees), 0.0, 45.0)?;
        within("augment.noise", f64::from(a.noise), 0.0, 0.5)?;
        for (key, share) in [
            ("augment.flip", a.flip),
            ("augment.unevenness", a.unevenness),
            ("augment.sharpness", a.sharpness),
            ("augment.marks", a.marks),
            ("augment.frame", a.frame),
            ("augment.cut_out", a.cut_out),
            ("augment.surroundings", a.surroundings),
            ("augment.style", a.style),
        ] {
            within(key, f64::from(share), 0.0, 1.0)?;
        }
        counted("augment.side_px", a.side_px as usize, 32, 1024)?;
        let [low, high] = a.resolution_px;
        if !(16 <= low && low <= high && high <= 1024) {
            return Err(value(
                "augment.resolution_px",
                format!("[{low}, {high}]"),
                "two numbers from 16 to 1024 in order",
            ));
        }
        let [low, high] = a.jpeg_quality;
        if !(1 <= low && low <= high && high <= 100) {
            return Err(value(
                "augment.jpeg_quality",
                format!("[{low}, {high}]"),
                "two numbers from 1 to 100 in order",
            ));
        }

        let o = &file.operating_point;
        for (key, rate) in [
            ("operating_point.rule_out_sensitivity", o.rule_out_sensitivity),
            ("operating_point.rule_in_specificity", o.rule_in_specificity),
            ("operating_point.pneumonia_sensitivity", o.pneumonia_sensitivity),
            ("operating_point.normal_sensitivity", o.normal_sensitivity),
        ] {
            within(key, rate, 0.5, 1.0)?;
        }
        within("operating_point.novelty_loss", o.novelty_loss, 0.0, 0.5)?;

        let i = &file.input;
        let fit = match i.fit {
            FitName::Stretch => Fit::Stretch,
            FitName::Letterbox => Fit::Letterbox,
        };
        let grey_scale = match i.grey_scale {
            GreyScaleName::Equalised => GreyScale::Equalised,
            GreyScaleName::AsShown => GreyScale::AsShown,
        };
        let spec = |border| {
            let (mean, std) = (vec![i.mean], vec![i.std]);
            InputSpec::new(i.height, i.width, fit, border, grey_scale, Channels::Grey, mean, std)
        };
        let input = spec(i.border)?;
        let judged = if i.lungs_margin.is_some() { spec(0.0)? } else { input.clone() };
        if let Some(margin) = i.lungs_margin {
            if a.surroundings > 0.0 {
                let expected = "0 with input.lungs_margin: what lies around the lungs is cut off";
                return Err(value("augment.surroundings", a.surroundings, expected));
            }
            within("input.lungs_margin", f64::from(margin), 0.0, f64::from(LungLocator::MAX_MARGIN))?;
            if fit != Fit::Stretch {
                let (key, found) = ("input.lungs_margin".into(), format!("{margin}"));
                return Err(RecipeError::Value { key, found, expected: "it only with input.fit = \"stretch\"".into() });
            }
        }
        let sources = file
            .source
            .iter()
            .map(|s| SourceRule { name: s.name.clone(), starts_with: s.starts_with.clone(), weight: s.weight })
            .collect();
        Ok(Self { file, input, judged, sources })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = include_str!("../recipes/first.toml");

    #[track_caller]
    fn check(old: &str, new: &str, message: &str) {
        assert!(FIRST.contains(old), "{old} is not in the recipe");
        let file: Result<RecipeFile, _> = toml::from_str(&FIRST.replacen(old, new, 1));
        let found = match file {
            Ok(file) => Recipe::try_from(file).expect_err("a refusal").to_string(),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(message), "{found}");
    }

    #[test]
    fn the_recipes_that_come_with_the_trainer_can_be_followed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
        for entry in std::fs::read_dir(folder).expect("the folder").flatten() {
            let path = entry.path();
            // The paper's are crossval's, and tested there.
            let papers = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("paper-"));
            if path.extension().is_some_and(|e| e == "toml") && !papers {
                Recipe::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
        }
    }

    #[test]
    fn a_value_outside_its_range_is_named_with_the_range() {
        check("batch = 32", "batch = 0", "training.batch is 0, expected 1 to 1024");
        check("dropout = 0.5", "dropout = 1.5", "network.dropout is 1.5, expected 0 to 0.95");
        check(
            "jpeg_quality = [25, 95]",
            "jpeg_quality = [95, 25]",
            "augment.jpeg_quality is [95, 25], expected two numbers",
        );
        check("held_out = 0.2", "fold = \"6/5\"\nheld_out = 0.2", "fold is \"6/5\", expected K/N");
        check("height = 192", "height = 3", "input: height is 3, expected 32 to 1024");
        check("std = 0.226", "std = 0.226\nlungs_margin = 0.5", "input.lungs_margin is 0.5, expected 0 to 0.3");
        let letterboxed = "fit = \"letterbox\"\nlungs_margin = 0.1";
        check(
            "fit = \"stretch\"",
            letterboxed,
            "input.lungs_margin is 0.1, expected it only with input.fit = \"stretch\"",
        );
    }

    #[test]
    fn values_can_be_changed_by_their_keys() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/first.toml");
        let with = |key: &str, new: toml::Value| Recipe::read_with(&path, &[(key.into(), new)]);
        assert_eq!(with("training.steps", 7.into()).expect("a recipe").file.training.steps, 7);
        assert_eq!(with("source.Kermany.weight", 0.5.into()).expect("a recipe").source_weight("Kermany"), 0.5);
        assert_eq!(with("augment.style", 0.25.into()).expect("a recipe").file.augment.style, 0.25);
        for (key, message) in [
            ("steps", "--set is steps, expected a key of the recipe"),
            ("source.Atlantis.weight", "--set is source.Atlantis.weight, expected a key"),
            ("training.stpes", "stpes"),
            ("training.batch", "training.batch is 0, expected 1 to 1024"),
        ] {
            let found = with(key, 0.into()).expect_err("a refusal").to_string();
            assert!(found.contains(message), "{found}");
        }
    }

    #[test]
    fn lungs_that_are_cut_out_have_no_surroundings_to_change() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/release.toml");
        let changed = [("augment.surroundings".into(), 0.5.into())];
        let error = Recipe::read_with(&path, &changed).expect_err("a refusal").to_string();
        assert!(error.contains("augment.surroundings is 0.5, expected 0 with input.lungs_margin"), "{error}");
    }

    #[test]
    fn without_held_out_films_nothing_can_say_when_to_stop() {
        let text = FIRST.replace("held_out = 0.2", "held_out = 0.0");
        let read = |text: &str| Recipe::try_from(toml::from_str::<RecipeFile>(text).expect("a recipe file"));
        read(&text).expect("a recipe");
        let error = read(&text.replace("patience = 0", "patience = 3")).expect_err("a refusal").to_string();
        assert_eq!(error, "training.patience is 3, expected 0 where nothing is held out to look at");
    }

    #[test]
    fn an_unknown_key_is_named() {
        check("dropout = 0.5", "dropuot = 0.5", "dropuot");
    }

    #[test]
    fn a_source_that_is_not_listed_cannot_be_left_out() {
        check(
            "left_out_sources = []",
            "left_out_sources = [\"Atlantis\"]",
            "training.left_out_sources is Atlantis, expected one of Cohen",
        );
    }
}
