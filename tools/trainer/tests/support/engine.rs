//! The device's engine around a network that has no model directory yet.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lightbox::bundle::manifest::{
    CalibrationEntry, FileEntry, InputEntry, ManifestFile, OperatingPointEntry, OutputsEntry, SCHEMA,
};
use lightbox::bundle::{self, MANIFEST, MANIFEST_DIGEST, NETWORK};
use lightbox::domain::{Finding, InputSpec};
use lightbox::engine::TractClassifier;
use trainer::export::graph;

/// The ONNX file `network`, for films as `spec` says, in the engine; its model directory is put into `folder`.
pub(crate) fn engine(folder: &Path, network: &[u8], spec: &InputSpec) -> TractClassifier {
    fs::write(folder.join(NETWORK), network).expect("written");
    let file = ManifestFile {
        schema: SCHEMA,
        name: "parity".into(),
        version: "0.0.1".into(),
        input: InputEntry::from((graph::INPUT, spec)),
        outputs: OutputsEntry {
            logits: graph::LOGITS.into(),
            maps: graph::MAPS.into(),
            features: graph::FEATURE_VECTOR.into(),
        },
        labels: Finding::ALL.map(|f| f.name().to_string()).to_vec(),
        calibration: CalibrationEntry { temperature: 1.0 },
        operating_point: OperatingPointEntry {
            rule_out: 0.1,
            rule_in: 0.9,
            pneumonia_below: 0.4,
            normal_above: 0.6,
            chosen_for: "a test".into(),
        },
        out_of_distribution: None,
        lungs: None,
        training: serde_json::json!({}),
        metrics: serde_json::json!({}),
        files: BTreeMap::from([(NETWORK.to_string(), FileEntry { sha256: bundle::sha256_hex(network) })]),
    };
    let text = serde_json::to_vec(&file).expect("json");
    fs::write(folder.join(MANIFEST), &text).expect("written");
    fs::write(folder.join(MANIFEST_DIGEST), bundle::digest_line(&text)).expect("written");
    TractClassifier::load(&bundle::open(folder).expect("a model")).expect("the engine takes it")
}
