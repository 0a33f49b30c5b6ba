//! Keys, key lists, small networks and bundles for tests; nothing here is fit for reading a film.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part that it needs")]

use lightbox::bundle::contents::{Contents, ProgramVersion};
use lightbox::bundle::golden::{AnswerEntry, Golden, GoldenFilm, TOLERANCE};
use lightbox::bundle::key_list::KeyList;
use lightbox::bundle::signing::{self, Password, SigningKey};
use lightbox::bundle::{Draft, Policy, VerifiedBundle, seal, sha256_hex, verify};
use lightbox::domain::{AuditFigure, GreyImage};
use serde_json::{Value, json};

pub fn new_key() -> SigningKey {
    let files = signing::generate(Password::None).expect("randomness");
    SigningKey::open(&files.secret, Password::None).expect("a key")
}

/// A key's entry in a key list.
pub fn entry(name: &str, role: &str, key: &SigningKey) -> Value {
    json!({"name": name, "role": role, "public_key": key.public().as_base64()})
}

pub fn revoked(mut entry: Value) -> Value {
    entry["revoked"] = true.into();
    entry
}

/// A key list that needs `release` signatures for a bundle and one of root for everything else.
pub fn key_list(version: u64, keys: &[Value], release: usize) -> Vec<u8> {
    json!({
        "schema": 1, "version": version, "keys": keys,
        "accept": {
            "bundle": [{"role": "release", "signatures": release}],
            "key_list": [{"role": "root", "signatures": 1}],
            "permit": [{"role": "root", "signatures": 1}],
        }
    })
    .to_string()
    .into_bytes()
}

/// What a protobuf message is made of.
pub mod protobuf {
    pub fn number(field: u64, value: u64) -> Vec<u8> {
        [varint(field << 3), varint(value)].concat()
    }

    pub fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
        [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }
}

use protobuf::{bytes, number};

/// Builds small ONNX files.
#[derive(Default)]
pub struct Onnx {
    graph: Vec<u8>,
}

impl Onnx {
    pub fn operator(mut self, kind: &str, inputs: &[&str], output: &str, attributes: &[(&str, i64)]) -> Self {
        let mut node: Vec<u8> = inputs.iter().flat_map(|input| bytes(1, input.as_bytes())).collect();
        node.extend(bytes(2, output.as_bytes()));
        node.extend(bytes(3, output.as_bytes()));
        node.extend(bytes(4, kind.as_bytes()));
        for (name, value) in attributes {
            let attribute = [bytes(1, name.as_bytes()), number(3, *value as u64), number(20, 2)].concat();
            node.extend(bytes(5, &attribute));
        }
        self.graph.extend(bytes(1, &node));
        self
    }

    pub fn weights(mut self, name: &str, dims: &[u64], values: &[f32]) -> Self {
        let mut tensor: Vec<u8> = dims.iter().flat_map(|side| number(1, *side)).collect();
        tensor.extend(number(2, 1));
        tensor.extend(bytes(8, name.as_bytes()));
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensor.extend(bytes(9, &raw));
        self.graph.extend(bytes(5, &tensor));
        self
    }

    fn value(name: &str, dims: &[u64]) -> Vec<u8> {
        let shape: Vec<u8> = dims.iter().flat_map(|side| bytes(1, &number(1, *side))).collect();
        let tensor = [number(1, 1), bytes(2, &shape)].concat();
        [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat()
    }

    pub fn finish(mut self, input: (&str, &[u64]), outputs: &[(&str, &[u64])]) -> Vec<u8> {
        self.graph.extend(bytes(2, b"graph"));
        self.graph.extend(bytes(11, &Self::value(input.0, input.1)));
        for (name, dims) in outputs {
            self.graph.extend(bytes(12, &Self::value(name, dims)));
        }
        let opset = [bytes(1, b""), number(2, 13)].concat();
        [number(1, 8), bytes(7, &self.graph), bytes(8, &opset)].concat()
    }
}

/// Side of the small network's input.
pub const SIDE: u64 = 32;

/// A network that can be run: pooled grey, three logits from it, three maps. `mark` is in its weights.
pub fn small_network(mark: u64) -> Vec<u8> {
    network_with(Onnx::default(), "grey", mark)
}

/// As [`small_network`], with `megabytes` of weights that every answer goes through.
pub fn large_network(mark: u64, megabytes: usize) -> Vec<u8> {
    let side = 1024;
    let mut onnx = Onnx::default();
    let widen: Vec<f32> = (0..side).map(|i| 1.0 / (1.0 + i as f32)).collect();
    onnx = onnx.weights("widen", &[1, side], &widen).operator("MatMul", &["grey", "widen"], "wide0", &[]);
    let layers = megabytes / 4;
    for layer in 0..layers {
        let mut seed = layer as u32 + 1;
        let values: Vec<f32> = (0..side * side)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 8) as f32 / (1 << 24) as f32 * 2e-3
            })
            .collect();
        let (from, name, to) = (format!("wide{layer}"), format!("layer{layer}"), format!("wide{}", layer + 1));
        onnx = onnx.weights(&name, &[side, side], &values).operator("MatMul", &[&from, &name], &to, &[]);
    }
    let narrow = vec![1.0 / side as f32; side as usize];
    onnx = onnx.weights("narrow", &[side, 1], &narrow);
    let last = format!("wide{layers}");
    network_with(onnx.operator("MatMul", &[&last, "narrow"], "squeezed", &[]), "squeezed", mark)
}

fn network_with(onnx: Onnx, pooled: &str, mark: u64) -> Vec<u8> {
    onnx.operator("GlobalAveragePool", &["image"], "mean", &[])
        .operator("Flatten", &["mean"], "grey", &[("axis", 1)])
        .operator("Relu", &[pooled], "features", &[])
        .weights("slope", &[1, 3], &[0.1, 0.2, -0.1])
        .weights("offset", &[1, 3], &[-4.0, 0.0, 4.0 + mark as f32 / 1024.0])
        .operator("MatMul", &["features", "slope"], "scores", &[])
        .operator("Add", &["scores", "offset"], "logits", &[])
        .weights("kernel", &[3, 1, 1, 1], &[1.0, 2.0, 3.0])
        .operator("Conv", &["image", "kernel"], "places", &[])
        .operator("Relu", &["places"], "maps", &[])
        .finish(
            ("image", &[1, 1, SIDE, SIDE]),
            &[("logits", &[1, 3]), ("maps", &[1, 3, SIDE, SIDE]), ("features", &[1, 1])],
        )
}

/// The line below which a model of that bundle version rules Covid-19 out: tells whose threshold it is.
pub fn rule_out(mark: u64) -> f32 {
    0.1 + mark as f32 / 4096.0
}

/// The mark in the weights of [`small_network`].
pub fn mark_of(network: &[u8]) -> Option<u64> {
    (0..2000).find(|mark| {
        let offset: Vec<u8> =
            [-4.0, 0.0, 4.0 + *mark as f32 / 1024.0f32].iter().flat_map(|v: &f32| v.to_le_bytes()).collect();
        network.windows(offset.len()).any(|window| window == offset)
    })
}

pub const CARD: &str = "# Model card\n\nA network for tests.\n";

/// A manifest for `network`, with thresholds that belong to `mark`.
pub fn manifest(mark: u64, network: &[u8]) -> Vec<u8> {
    let manifest = json!({
        "schema": 1, "name": "example", "version": format!("1.0.{mark}"),
        "input": {
            "name": "image", "height": SIDE, "width": SIDE, "channels": "grey", "fit": "stretch",
            "border": 0.0, "grey_scale": "equalised", "mean": [0.5], "std": [0.25]
        },
        "outputs": {"logits": "logits", "maps": "maps", "features": "features"},
        "labels": ["covid19", "pneumonia", "normal"],
        "calibration": {"temperature": 1.0},
        "operating_point": {
            "rule_out": rule_out(mark), "rule_in": 0.7, "pneumonia_below": 0.4, "normal_above": 0.6,
            "chosen_for": "a test"
        },
        "training": {}, "metrics": {},
        "files": {
            "model.onnx": {"sha256": sha256_hex(network)},
            "MODEL_CARD.md": {"sha256": sha256_hex(CARD.as_bytes())},
        }
    });
    manifest.to_string().into_bytes()
}

/// One film and an answer that nobody asked a network for.
pub fn golden() -> Golden {
    let image = GreyImage::new(32, 32, (0..1024).map(|i| i * 60).collect()).expect("sizes fit");
    let expected = AnswerEntry {
        logits: [-4.0, 0.0, 4.0],
        features: 1,
        feature_length: 0.5,
        map_sums: [1.0, 2.0, 3.0],
        verdict: "normal".to_owned(),
        reason: None,
    };
    Golden { films: vec![GoldenFilm { image, expected }], tolerance: TOLERANCE }
}

pub fn contents(bundle_version: u64) -> Contents {
    let figure = AuditFigure { name: "sensitivity".to_owned(), value: 0.9, low: 0.8, high: 0.95, films: 100 };
    Contents { bundle_version, minimum_program: ProgramVersion::current(), audit: vec![figure] }
}

/// The bytes of a bundle whose version is also the mark of its weights and thresholds.
pub fn bundle(version: u64) -> Vec<u8> {
    bundle_of(&contents(version), &small_network(version), version)
}

pub fn bundle_of(contents: &Contents, network: &[u8], mark: u64) -> Vec<u8> {
    seal(&Draft {
        contents,
        manifest: &manifest(mark, network),
        card: CARD.as_bytes(),
        network,
        golden: &golden(),
        golden_source: "a ramp, made by code",
    })
    .expect("a bundle")
}

/// Signatures of `bytes` by `keys`, one after the other.
pub fn sign(bytes: &[u8], keys: &[&SigningKey]) -> Vec<u8> {
    keys.iter().map(|key| key.sign(bytes, "a test").expect("signed")).collect::<String>().into_bytes()
}

/// Everything needed to make bundles that a device takes.
pub struct Maker {
    pub root: SigningKey,
    pub release: SigningKey,
    pub spare: SigningKey,
}

impl Maker {
    pub fn new() -> Self {
        Self { root: new_key(), release: new_key(), spare: new_key() }
    }

    pub fn keys(&self) -> Vec<Value> {
        vec![
            entry("root", "root", &self.root),
            entry("release 1", "release", &self.release),
            entry("release 2", "release", &self.spare),
        ]
    }

    pub fn list(&self) -> Vec<u8> {
        key_list(1, &self.keys(), 1)
    }

    pub fn verified(&self, version: u64) -> VerifiedBundle {
        let trusted = KeyList::anchor(&self.list()).expect("a key list");
        let bytes = bundle(version);
        let signatures = sign(&bytes, &[&self.release]);
        verify(bytes, signatures, &trusted, &Policy::default()).expect("accepted")
    }
}
