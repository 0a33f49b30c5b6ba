//! `manifest.json`: as typed ([`ManifestFile`]) and as usable ([`Manifest`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{
    Channels, DecisionRule, Finding, Fit, GreyScale, InputSpec, InputSpecError, LungLocator, LungLocatorError, Novelty,
    NoveltyError, OperatingPoint, OperatingPointError,
};

/// The manifest's form; raised when a reader of the old form would misunderstand the new one.
pub const SCHEMA: u32 = 1;

/// A manifest that is not understood.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, a key too many or too few, a value of another kind.
    #[error("not a manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// Another form.
    #[error("schema is {0}, this program reads {SCHEMA}")]
    Schema(u32),
    /// A value that cannot be.
    #[error("{key} is {found}, expected {expected}")]
    Value {
        /// The key, with its parents.
        key: &'static str,
        /// As given.
        found: String,
        /// What can be.
        expected: &'static str,
    },
    /// The input cannot be.
    #[error("input: {0}")]
    Input(#[from] InputSpecError),
    /// The lines are out of order.
    #[error("operating_point: {0}")]
    OperatingPoint(#[from] OperatingPointError),
    /// The measure of novelty cannot be used.
    #[error("out_of_distribution: {0}")]
    Novelty(#[from] NoveltyError),
    /// The lung locator cannot be used.
    #[error("lungs: {0}")]
    Lungs(#[from] LungLocatorError),
}

/// The manifest as it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the model: lower-case letters, digits and hyphens.
    pub name: String,
    /// Version of the model, as semantic versioning has it.
    pub version: String,
    /// What the network takes.
    pub input: InputEntry,
    /// What it gives.
    pub outputs: OutputsEntry,
    /// Meaning of the logits and maps, in their order.
    pub labels: Vec<String>,
    /// From logits to probabilities.
    pub calibration: CalibrationEntry,
    /// From probabilities to verdicts.
    pub operating_point: OperatingPointEntry,
    /// How to tell a film unlike those learned from; absent where that was not fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_distribution: Option<NoveltyEntry>,
    /// How to find the lungs; absent where that was not fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lungs: Option<LungsEntry>,
    /// What the network was trained on and how: counts by source and class, recipe, seed.
    pub training: serde_json::Value,
    /// How well it does: held-out groups and external images, by source.
    pub metrics: serde_json::Value,
    /// Every other file of the model.
    pub files: BTreeMap<String, FileEntry>,
}

/// The network's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputEntry {
    /// Name of the input in the graph.
    pub name: String,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `grey` (one channel) or `replicated` (three).
    pub channels: String,
    /// `letterbox` or `stretch`.
    pub fit: String,
    /// Fraction of the film cut off at each edge.
    pub border: f32,
    /// `as-shown` or `equalised`.
    pub grey_scale: String,
    /// Subtracted from values from 0 to 1.
    pub mean: Vec<f32>,
    /// Then divided by.
    pub std: Vec<f32>,
}

/// Names of the network's outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputsEntry {
    /// `[1, 3]`.
    pub logits: String,
    /// `[1, 3, h, w]`, Grad-CAM of each class, not negative.
    pub maps: String,
    /// `[1, n]`, averages of feature maps, by which novelty is measured.
    pub features: String,
}

/// Calibration of the probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationEntry {
    /// Logits are divided by it before softmax (Guo 2017).
    pub temperature: f32,
}

/// The lines of [`OperatingPoint`] and what they were chosen for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPointEntry {
    /// Above this probability of Covid-19 a film is never called free of it.
    pub rule_out: f32,
    /// From this probability on a film is called Covid-19.
    pub rule_in: f32,
    /// Up to this share of normal a film without Covid-19 is called pneumonia.
    pub pneumonia_below: f32,
    /// From this share of normal on it is called normal.
    pub normal_above: f32,
    /// In words: which sensitivity and specificity, on which films.
    pub chosen_for: String,
}

/// Distance of the features from those of the training films.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoveltyEntry {
    /// Mean of the features.
    pub mean: Vec<f32>,
    /// Rows of the projection, each as long as `mean`: principal directions divided by their standard deviations.
    pub projection: Vec<Vec<f32>>,
    /// Divides the squared length of what the projection leaves over.
    pub residual_variance: f32,
    /// Films above this score are refused.
    pub limit: f32,
}

/// Where the lungs are, as a linear function of the features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LungsEntry {
    /// A row for each edge (left, top, right and bottom of the right lung, then of the left), as long as the features.
    pub weights: Vec<Vec<f32>>,
    /// Added, one an edge; the sum is a fraction of the width or height of what the network sees.
    pub offsets: Vec<f32>,
    /// Smallest and largest width that a lung can have, likewise; films on which one has another are refused.
    pub width: [f32; 2],
    /// Smallest and largest height.
    pub height: [f32; 2],
    /// Where the network judges the lungs alone: how far beyond them it is shown, as a fraction of the film's width and
    /// height. Absent where it judges the whole film.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f32>,
}

impl LungsEntry {
    fn locator(self) -> Result<LungLocator, LungLocatorError> {
        let locator = LungLocator::new(self.weights, &self.offsets, self.width, self.height)?;
        match self.margin {
            Some(margin) => locator.with_margin(margin),
            None => Ok(locator),
        }
    }
}

/// One file of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Lower-case hexadecimal.
    pub sha256: String,
}

impl ManifestFile {
    /// # Errors
    /// When `bytes` are not JSON of this form.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Form {
            schema: u32,
        }
        let Form { schema } = serde_json::from_slice(bytes)?;
        if schema != SCHEMA {
            return Err(ManifestError::Schema(schema));
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// A manifest whose every value can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Name of the model.
    pub name: String,
    /// Version of the model.
    pub version: String,
    /// What `preprocess` needs.
    pub input: InputSpec,
    /// Name of the input in the graph.
    pub input_name: String,
    /// Names of the outputs in the graph.
    pub outputs: OutputsEntry,
    /// Where each finding stands in the network's outputs, in the order of [`Finding::ALL`].
    pub positions: [usize; 3],
    /// From the network's answer to a verdict.
    pub rule: DecisionRule,
}

impl TryFrom<ManifestFile> for Manifest {
    type Error = ManifestError;

    fn try_from(file: ManifestFile) -> Result<Self, ManifestError> {
        let named = !file.name.is_empty()
            && file.name.len() <= 40
            && file.name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        expect(named, "name", &file.name, "1 to 40 lower-case letters, digits and hyphens")?;
        let parts: Vec<&str> = file.version.split('.').collect();
        let versioned = parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok());
        expect(versioned, "version", &file.version, "three numbers with dots, such as 1.0.2")?;
        let temperature = file.calibration.temperature;
        let warm = temperature.is_finite() && temperature > 0.0;
        expect(warm, "calibration.temperature", &temperature, "a number above 0")?;
        let point = file.operating_point;
        let operating_point =
            OperatingPoint::new(point.rule_out, point.rule_in, point.pneumonia_below, point.normal_above)?;
        let novelty = file
            .out_of_distribution
            .map(|entry| Novelty::new(entry.mean, entry.projection, entry.residual_variance, entry.limit))
            .transpose()?;
        let lungs = file.lungs.map(LungsEntry::locator).transpose()?;
        Ok(Self {
            input: input(&file.input)?,
            input_name: file.input.name,
            outputs: file.outputs,
            positions: positions(&file.labels)?,
            rule: DecisionRule { temperature, operating_point, novelty, lungs },
            name: file.name,
            version: file.version,
        })
    }
}

fn expect(
    holds: bool,
    key: &'static str,
    found: &impl std::fmt::Debug,
    expected: &'static str,
) -> Result<(), ManifestError> {
    if holds { Ok(()) } else { Err(ManifestError::Value { key, found: format!("{found:?}"), expected }) }
}

fn input(entry: &InputEntry) -> Result<InputSpec, ManifestError> {
    let unknown = |key, found: &str, expected| Err(ManifestError::Value { key, found: format!("{found:?}"), expected });
    let channels = match entry.channels.as_str() {
        "grey" => Channels::Grey,
        "replicated" => Channels::Replicated,
        other => return unknown("input.channels", other, "\"grey\" or \"replicated\""),
    };
    let fit = match entry.fit.as_str() {
        "letterbox" => Fit::Letterbox,
        "stretch" => Fit::Stretch,
        other => return unknown("input.fit", other, "\"letterbox\" or \"stretch\""),
    };
    let grey_scale = match entry.grey_scale.as_str() {
        "as-shown" => GreyScale::AsShown,
        "equalised" => GreyScale::Equalised,
        other => return unknown("input.grey_scale", other, "\"as-shown\" or \"equalised\""),
    };
    let (mean, std) = (entry.mean.clone(), entry.std.clone());
    Ok(InputSpec::new(entry.height, entry.width, fit, entry.border, grey_scale, channels, mean, std)?)
}

impl From<(&str, &InputSpec)> for InputEntry {
    fn from((name, spec): (&str, &InputSpec)) -> Self {
        let channels = match spec.channels() {
            Channels::Grey => "grey",
            Channels::Replicated => "replicated",
        };
        let fit = match spec.fit() {
            Fit::Letterbox => "letterbox",
            Fit::Stretch => "stretch",
        };
        let grey_scale = match spec.grey_scale() {
            GreyScale::AsShown => "as-shown",
            GreyScale::Equalised => "equalised",
        };
        Self {
            name: name.to_owned(),
            height: spec.height(),
            width: spec.width(),
            channels: channels.to_owned(),
            fit: fit.to_owned(),
            border: spec.border(),
            grey_scale: grey_scale.to_owned(),
            mean: spec.mean().to_vec(),
            std: spec.std().to_vec(),
        }
    }
}

fn positions(labels: &[String]) -> Result<[usize; 3], ManifestError> {
    let position = |finding: Finding| labels.iter().position(|label| label == finding.name());
    match Finding::ALL.map(position) {
        [Some(covid19), Some(pneumonia), Some(normal)] if labels.len() == 3 => Ok([covid19, pneumonia, normal]),
        _ => Err(ManifestError::Value {
            key: "labels",
            found: format!("{labels:?}"),
            expected: "covid19, pneumonia and normal, each once",
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn example() -> Value {
        json!({
            "schema": 1,
            "name": "example",
            "version": "1.2.3",
            "input": {
                "name": "image", "height": 192, "width": 192, "channels": "grey", "fit": "stretch",
                "border": 0.05, "grey_scale": "equalised", "mean": [0.449], "std": [0.226]
            },
            "outputs": {"logits": "logits", "maps": "maps", "features": "features"},
            "labels": ["normal", "covid19", "pneumonia"],
            "calibration": {"temperature": 1.5},
            "operating_point": {
                "rule_out": 0.1, "rule_in": 0.6, "pneumonia_below": 0.4, "normal_above": 0.6, "chosen_for": "a test"
            },
            "out_of_distribution": {
                "mean": [1.0, 0.0], "projection": [[0.5, 0.0]], "residual_variance": 2.0, "limit": 9.0
            },
            "lungs": {
                "weights": vec![[0.0, 0.5]; 8], "offsets": [0.1, 0.1, 0.4, 0.8, 0.6, 0.1, 0.9, 0.8],
                "width": [0.2, 0.6], "height": [0.3, 1.0], "margin": 0.1
            },
            "training": {},
            "metrics": {},
            "files": {"model.onnx": {"sha256": "00"}}
        })
    }

    fn read(value: &Value) -> Result<Manifest, ManifestError> {
        ManifestFile::parse(value.to_string().as_bytes()).and_then(Manifest::try_from)
    }

    #[track_caller]
    fn check(pointer: &str, value: Value, message: &str) {
        let mut manifest = example();
        *manifest.pointer_mut(pointer).expect("a key of the example") = value;
        assert_eq!(read(&manifest).expect_err("a refusal").to_string(), message);
    }

    #[test]
    fn labels_may_come_in_any_order() {
        let manifest = read(&example()).expect("usable");
        assert_eq!(manifest.positions, [1, 2, 0]);
        assert_eq!(manifest.input.shape(), [1, 1, 192, 192]);
    }

    #[test]
    fn an_input_is_written_as_it_was_read() {
        let entry: InputEntry = serde_json::from_value(example()["input"].clone()).expect("an input");
        let spec = input(&entry).expect("usable");
        assert_eq!(InputEntry::from(("image", &spec)), entry);
    }

    #[test]
    fn every_refusal_names_the_key_the_value_and_the_range() {
        check("/schema", json!(2), "schema is 2, this program reads 1");
        check(
            "/name",
            json!("No Name"),
            "name is \"No Name\", expected 1 to 40 lower-case letters, digits and hyphens",
        );
        check("/version", json!("1.2"), "version is \"1.2\", expected three numbers with dots, such as 1.0.2");
        check("/input/fit", json!("crop"), "input.fit is \"crop\", expected \"letterbox\" or \"stretch\"");
        check("/input/channels", json!("rgb"), "input.channels is \"rgb\", expected \"grey\" or \"replicated\"");
        check("/input/grey_scale", json!("x"), "input.grey_scale is \"x\", expected \"as-shown\" or \"equalised\"");
        check("/input/height", json!(7), "input: height is 7, expected 32 to 1024");
        check("/calibration/temperature", json!(0.0), "calibration.temperature is 0.0, expected a number above 0");
        check(
            "/labels",
            json!(["covid19", "covid19", "normal"]),
            "labels is [\"covid19\", \"covid19\", \"normal\"], expected covid19, pneumonia and normal, each once",
        );
        check(
            "/operating_point/rule_in",
            json!(0.05),
            "operating_point: rule_out is 0.1, above rule_in, which is 0.05: expected rule_out ≤ rule_in",
        );
        check(
            "/out_of_distribution/projection",
            json!([[1.0]]),
            "out_of_distribution: projection row 0 has 1 values, expected 2 finite ones, not all zero",
        );
        check("/lungs/margin", json!(0.5), "lungs: margin is 0.5, expected a fraction of the film from 0 to 0.3");
        check(
            "/lungs/weights",
            json!([[1.0, 1.0]]),
            "lungs: weights have 1 rows and offsets 8 values, expected 8 of each: four edges of two lungs",
        );
        check("/out_of_distribution/limit", json!(-1.0), "out_of_distribution: limit is -1, expected a number above 0");
        let mut manifest = example();
        manifest["treshold"] = json!(0.5);
        assert!(read(&manifest).expect_err("unknown key").to_string().contains("unknown field `treshold`"));
    }
}
