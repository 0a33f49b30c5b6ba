//! The fused network against tract's own operators, through the front door: a verified model directory.

use lightbox::domain::{ModelInput, ModelOutput, Window};
use lightbox::engine::{EngineOptions, TractClassifier};
use lightbox::ports::Classifier;

#[path = "support/model.rs"]
mod model;
#[path = "support/network.rs"]
mod network;

use model::model;
use network::{Spec, mobilenet_v2};

/// Layers of a MobileNetV2 with this head: stem, 17 blocks, last convolution, its planes, pooling, 5 dense.
const LAYERS: usize = 1 + 17 + 1 + 1 + 1 + 5;

fn run(classifier: &mut TractClassifier, spec: &Spec, seed: u64) -> ModelOutput {
    let window = Window { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 };
    let input = ModelInput { shape: spec.shape(), values: spec.input(seed), window };
    classifier.classify(&input).expect("an answer")
}

/// Every number that a network gives, output by output.
fn values(output: &ModelOutput) -> [Vec<f32>; 3] {
    let maps = output.maps.iter().flat_map(|map| map.values.clone()).collect();
    [output.logits.to_vec(), maps, output.features.clone()]
}

#[track_caller]
fn check(spec: &Spec) {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path(), spec, &mobilenet_v2(spec));
    let load = |options| TractClassifier::load_with(&model, options).expect("a network");
    let mut stock = load(EngineOptions { fused: false, threads: 1 });
    assert_eq!(stock.fused_layers(), 0);
    let expected = values(&run(&mut stock, spec, 5));
    let mut fused = load(EngineOptions::default());
    assert_eq!(fused.fused_layers(), LAYERS, "{spec:?}");
    let found = values(&run(&mut fused, spec, 5));
    for (name, (found, expected)) in ["logits", "maps", "features"].iter().zip(found.iter().zip(&expected)) {
        assert_eq!(found.len(), expected.len(), "{name}");
        let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        assert!(largest > 1e-3, "{name} are nearly nothing: {largest}");
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        assert!(apart <= 1e-4 * largest.max(1.0), "{name} are {apart} apart of {largest}, {spec:?}");
    }
    for threads in 2..=4 {
        let mut shared = load(EngineOptions { threads, fused: true });
        let shared = values(&run(&mut shared, spec, 5));
        assert!(shared == found, "{threads} threads give another result, {spec:?}");
    }
}

/// What is asked for alone is the same, to the last bit, as when everything is asked for, in whatever order.
#[track_caller]
fn check_parts(classifier: &mut TractClassifier, spec: &Spec) {
    for seed in [5, 6] {
        let window = Window { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 };
        let input = ModelInput { shape: spec.shape(), values: spec.input(seed), window };
        let features = classifier.features(&input).expect("features");
        let logits = classifier.logits(&input).expect("logits");
        let whole = classifier.classify(&input).expect("an answer");
        assert!((&features, logits) == (&whole.features, whole.logits), "{spec:?}");
        assert!(classifier.features(&input).expect("features") == features);
        assert!(classifier.classify(&input).expect("an answer") == whole);
    }
}

#[test]
fn a_fused_network_gives_what_tract_gives() {
    check(&Spec::default());
}

#[test]
fn what_is_asked_for_alone_is_the_same_as_when_everything_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = Spec { multiplier: 0.35, height: 64, width: 96, hidden: [40, 33], ..Spec::default() };
    let model = model(folder.path(), &spec, &mobilenet_v2(&spec));
    for options in [
        EngineOptions::default(),
        EngineOptions { threads: 3, fused: true },
        EngineOptions { threads: 1, fused: false },
    ] {
        let mut classifier = TractClassifier::load_with(&model, options).expect("a network");
        assert_eq!(classifier.is_alone(), options.fused);
        check_parts(&mut classifier, &spec);
    }
}

#[test]
fn narrower_networks_are_fused_too() {
    check(&Spec { multiplier: 0.75, seed: 2, ..Spec::default() });
    check(&Spec { multiplier: 0.5, seed: 3, ..Spec::default() });
}

#[test]
fn inputs_of_other_sizes_and_three_channels_are_fused_too() {
    check(&Spec { height: 200, width: 266, channels: 3, half: false, ..Spec::default() });
    check(&Spec { height: 224, width: 224, multiplier: 0.5, ..Spec::default() });
    check(&Spec { height: 97, width: 131, multiplier: 0.35, hidden: [40, 33], ..Spec::default() });
    check(&Spec { height: 33, width: 32, channels: 3, hidden: [17, 5], ..Spec::default() });
}

#[test]
fn the_released_network_is_fused_and_gives_what_tract_gives() {
    let released = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/released");
    let model = lightbox::bundle::open(&released).expect("the released model");
    let shape = model.manifest().input.shape();
    let spec = Spec { channels: shape[1], height: shape[2], width: shape[3], ..Spec::default() };
    let load = |options| TractClassifier::load_with(&model, options).expect("a network");
    let mut stock = load(EngineOptions { fused: false, threads: 1 });
    let mut fused = load(EngineOptions { fused: true, threads: 2 });
    // Its novelty features may take layers of their own.
    assert!(fused.fused_layers() >= LAYERS, "{} layers", fused.fused_layers());
    assert!(fused.is_alone(), "tract has a part in the released network");
    check_parts(&mut fused, &spec);
    for seed in 0..8 {
        let (found, expected) = (values(&run(&mut fused, &spec, seed)), values(&run(&mut stock, &spec, seed)));
        for (found, expected) in found.iter().zip(&expected) {
            let largest = expected.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
            let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
            assert!(apart <= 1e-4 * largest, "{apart} apart of {largest}");
        }
    }
}
