//! One reading as one line of JSON, the form that other programs rely on: keys are added, never renamed.

use serde::Serialize;

use crate::bundle::VerifiedModel;
use crate::domain::{Finding, OperatingPoint, Probabilities, Reading, Verdict};

/// How long each step took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct TimingMs {
    /// Reading and decoding the file.
    pub decode: f64,
    /// Bringing the film to the network's input.
    pub preprocess: f64,
    /// The network.
    pub infer: f64,
    /// From opening the file to the verdict.
    pub total: f64,
    /// From the last byte received to the verdict, where this program has received it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_received: Option<f64>,
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    verdict: &'static str,
    reason: Option<&'static str>,
    detail: Option<&'a str>,
    probabilities: Option<ProbabilitiesLine>,
    covid_positive: Option<bool>,
    threshold: f32,
    operating_point: OperatingPointLine,
    remarks: &'a [String],
    model: ModelLine<'a>,
    timing_ms: TimingMs,
}

#[derive(Serialize)]
struct ProbabilitiesLine {
    covid19: f32,
    pneumonia: f32,
    normal: f32,
}

#[derive(Serialize)]
struct OperatingPointLine {
    rule_out: f32,
    rule_in: f32,
    pneumonia_below: f32,
    normal_above: f32,
}

#[derive(Serialize)]
struct ModelLine<'a> {
    name: &'a str,
    version: &'a str,
    sha256: &'a str,
    manifest_sha256: &'a str,
}

impl From<&Probabilities> for ProbabilitiesLine {
    fn from(p: &Probabilities) -> Self {
        let of = |finding| p.of(finding).get();
        Self { covid19: of(Finding::Covid19), pneumonia: of(Finding::Pneumonia), normal: of(Finding::Normal) }
    }
}

impl From<&OperatingPoint> for OperatingPointLine {
    fn from(at: &OperatingPoint) -> Self {
        Self {
            rule_out: at.rule_out().get(),
            rule_in: at.rule_in().get(),
            pneumonia_below: at.pneumonia_below().get(),
            normal_above: at.normal_above().get(),
        }
    }
}

/// The line for one film, without its line feed.
///
/// `threshold` is the operating point's `rule_out`: above it a film is never called free of Covid-19. `sha256` is that
/// of the network, `manifest_sha256` vouches for network and operating point together.
///
/// # Errors
/// Only when serde does, which for these plain values it does not.
pub fn line(
    file: &str,
    reading: &Reading,
    remarks: &[String],
    model: &VerifiedModel,
    timing_ms: TimingMs,
) -> serde_json::Result<String> {
    let manifest = model.manifest();
    let at = &manifest.rule.operating_point;
    let detail = match &reading.verdict {
        Verdict::Rejected(rejection) => Some(rejection.detail.as_str()),
        Verdict::Found(_) | Verdict::Indeterminate(_) => None,
    };
    serde_json::to_string(&Line {
        file,
        verdict: reading.verdict.name(),
        reason: reading.verdict.reason().map(|reason| reason.code()),
        detail,
        probabilities: reading.probabilities.as_ref().map(Into::into),
        covid_positive: reading.covid_positive,
        threshold: at.rule_out().get(),
        operating_point: at.into(),
        remarks,
        model: ModelLine {
            name: &manifest.name,
            version: &manifest.version,
            sha256: model.network_sha256(),
            manifest_sha256: model.manifest_sha256(),
        },
        timing_ms,
    })
}
