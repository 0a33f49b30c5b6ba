//! The exported file, run by the device's engine, answers as the network does in burn.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Distribution, Tensor};
use lightbox::domain::{Channels, Finding, Fit, GreyScale, InputSpec, ModelInput, ModelOutput, Probabilities, Window};
use lightbox::engine::TractClassifier;
use lightbox::ports::Classifier;
use trainer::export::graph;
use trainer::network::{Network, pool};

#[path = "support/engine.rs"]
mod on_device;

/// A network whose batch normalisation does something in every layer.
fn network(device: &Device) -> Network {
    device.seed(11);
    let mut network = Network::new(0.5, device);
    let stir = |norm: &mut Option<BatchNorm>| {
        let Some(norm) = norm else { return };
        let [n] = norm.gamma.dims();
        let random = |low, high| Tensor::<1>::random([n], Distribution::Uniform(low, high), device);
        norm.gamma = norm.gamma.clone().map(|_| random(0.5, 1.5));
        norm.beta = norm.beta.clone().map(|_| random(-0.3, 0.6));
        norm.running_mean = burn::module::RunningState::new(random(-0.5, 0.5));
        norm.running_var = burn::module::RunningState::new(random(0.3, 1.5));
    };
    for block in &mut network.trunk.features {
        if let Some(layer) = &mut block.expand {
            stir(&mut layer.norm);
        }
        if let Some(layer) = &mut block.depthwise {
            stir(&mut layer.norm);
        }
        stir(&mut block.project.norm);
    }
    // A last layer strong enough for the classes to differ.
    network.head.last.weight = network.head.last.weight.clone().map(|w| w * 20.0);
    network
}

fn engine(folder: &Path, network: &[u8], height: usize, width: usize) -> TractClassifier {
    let (fit, greys, channels) = (Fit::Stretch, GreyScale::AsShown, Channels::Grey);
    let spec = InputSpec::new(height, width, fit, 0.0, greys, channels, vec![0.0], vec![1.0]).expect("an input");
    on_device::engine(folder, network, &spec)
}

/// Grad-CAM by burn's automatic differentiation: the definition, not the formula in the graph.
fn maps(network: &Network, input: Tensor<4>) -> Vec<f32> {
    let features = network.valid().features(input);
    let [_, channels, rows, columns] = features.dims();
    let head = network.head.clone().train();
    let mut maps = Vec::new();
    for class in 0..3 {
        let leaf = Tensor::<4>::from_inner(features.clone()).require_grad();
        // Dropout is off: its probability is that of the folded copy, see below.
        let logits = head.forward(pool(leaf.clone()));
        let gradients = logits.slice([0..1, class..class + 1]).sum().backward();
        let slope = leaf.grad(&gradients).expect("a gradient").reshape([channels, rows * columns]).mean_dim(1);
        let map = relu((slope * features.clone().reshape([channels, rows * columns])).sum_dim(0));
        maps.extend(map.into_data().iter::<f32>());
    }
    maps
}

/// Means over 3 × 3 fields, as counted by hand.
fn fields(middle: Tensor<4>) -> Vec<f32> {
    let [_, channels, rows, columns] = middle.dims();
    let (down, across) = (rows / 3, columns / 3);
    let mut means = Vec::new();
    for channel in 0..channels {
        for (y, x) in (0..3).flat_map(|y| (0..3).map(move |x| (y, x))) {
            let (y, x) = (y * down, x * across);
            let field =
                middle.clone().slice([0..1, channel..channel + 1, y..y + rows - 2 * down, x..x + columns - 2 * across]);
            means.push(field.mean().into_scalar::<f32>());
        }
    }
    means
}

/// The random numbers of a device are of the whole program: one test at a time, so that each sees the same.
static DEVICE: Mutex<()> = Mutex::new(());

#[track_caller]
fn check(height: usize, width: usize) {
    let _alone = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a folder");
    let device = Device::flex();
    let trained = network(&device);
    // Without dropout, so that the training-mode pass of `maps` is the same function.
    let plain = trainer::network::weights::Weights::of(&trained).put_into(Network::new(0.0, &device)).expect("fits");
    let single = plain.folded();
    let half = single.clone().rounded_to_f16();
    let bytes = graph::write(&half, height, width).expect("a graph");
    assert!(bytes.len() < 9_000_000, "{} bytes", bytes.len());
    let mut engine = engine(folder.path(), &bytes, height, width);

    for seed in 0..3 {
        device.seed(seed);
        let input = Tensor::<4>::random([1, 1, height, width], Distribution::Normal(0.0, 1.0), &device);
        let values: Vec<f32> = input.clone().into_data().iter::<f32>().collect();
        let window = Window { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 };
        let found: ModelOutput =
            engine.classify(&ModelInput { shape: [1, 1, height, width], values, window }).expect("an answer");

        let probabilities = |network: &Network| -> Vec<f32> {
            softmax(network.valid().forward(input.clone()), 1).into_data().iter::<f32>().collect()
        };
        let expected = probabilities(&half);
        let p = Probabilities::from_logits(found.logits, 1.0).expect("finite");
        for finding in Finding::ALL {
            let (found, expected) = (p.of(finding).get(), expected[finding.index()]);
            assert!((found - expected).abs() <= 1e-4, "p({finding}) is {found}, burn says {expected}");
        }
        // Folding and rounding change little; had folding gone wrong, this would be far off.
        let unfolded = probabilities(&plain);
        let worst = unfolded.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 0.02, "folding and rounding moved a probability by {worst}");

        let expected = maps(&half, input.clone());
        let found_maps: Vec<f32> = found.maps.iter().flat_map(|m| m.values.clone()).collect();
        assert_eq!(found_maps.len(), expected.len());
        let top = expected.iter().copied().fold(0.0, f32::max);
        assert!(top > 0.0, "the maps are empty");
        let worst = found_maps.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-4 * top.max(1.0), "a map differs by {worst} of {top}");
        assert_eq!(found.maps[0].width, width.div_ceil(32));

        let middle = half.trunk.features[..=graph::FEATURE_BLOCK].iter().fold(input, |x, block| block.forward(x));
        let expected = fields(middle);
        assert_eq!(found.features.len(), expected.len());
        let worst = found.features.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-4, "a feature differs by {worst}");
    }
}

#[test]
fn the_engine_answers_as_burn_does_on_a_square_input() {
    check(96, 96);
}

#[test]
fn the_engine_answers_as_burn_does_on_the_papers_input() {
    check(200, 266);
}

#[test]
fn a_network_that_was_not_folded_is_not_written() {
    let _alone = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let device = Device::flex();
    let error = graph::write(&Network::new(0.5, &device), 64, 64).expect_err("a refusal").to_string();
    assert_eq!(error, "block0.project has batch normalisation: fold the network before it is written");
}
