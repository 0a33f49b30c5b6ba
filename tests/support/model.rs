//! A model directory around a network.

#![allow(unreachable_pub, reason = "compiled into several programs")]

use std::path::Path;

use lightbox::bundle::{CARD, MANIFEST, MANIFEST_DIGEST, NETWORK, VerifiedModel, digest_line, open, sha256_hex};
use prost::Message;
use tract_onnx::pb::ModelProto;

use super::network::Spec;

/// Writes a model directory with `network` in it and opens it.
pub fn model(dir: &Path, spec: &Spec, network: &ModelProto) -> VerifiedModel {
    let network = network.encode_to_vec();
    let card = b"A network with random weights.\n";
    let channels = if spec.channels == 1 { "grey" } else { "replicated" };
    let manifest = serde_json::json!({
        "schema": 1,
        "name": "random",
        "version": "0.0.1",
        "input": {
            "name": "image", "height": spec.height, "width": spec.width, "channels": channels, "fit": "stretch",
            "border": 0.0, "grey_scale": "as-shown", "mean": vec![0.5; spec.channels], "std": vec![0.25; spec.channels]
        },
        "outputs": {"logits": "logits", "maps": "maps", "features": "features"},
        "labels": ["covid19", "pneumonia", "normal"],
        "calibration": {"temperature": 1.0},
        "operating_point": {
            "rule_out": 0.1, "rule_in": 0.6, "pneumonia_below": 0.4, "normal_above": 0.6, "chosen_for": "nothing"
        },
        "training": {},
        "metrics": {},
        "files": {NETWORK: {"sha256": sha256_hex(&network)}, CARD: {"sha256": sha256_hex(card)}}
    });
    let manifest = manifest.to_string();
    for (name, bytes) in [
        (NETWORK, network.as_slice()),
        (CARD, card),
        (MANIFEST, manifest.as_bytes()),
        (MANIFEST_DIGEST, digest_line(manifest.as_bytes()).as_bytes()),
    ] {
        std::fs::write(dir.join(name), bytes).expect("the directory can be written");
    }
    open(dir).expect("what was just written is a model")
}
