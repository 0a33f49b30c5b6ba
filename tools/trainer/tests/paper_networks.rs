//! The paper's networks answer as Keras's do on the same weights, and as the device's engine does on their ONNX files.
//!
//! What Keras said is in `fixtures/paper-*`; `tools/trainer/parity/keras_features.py` makes it again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Tensor, TensorData};
use lightbox::domain::{Channels, Fit, GreyScale, InputSpec, ModelInput, ModelOutput, Window};
use lightbox::engine::TractClassifier;
use lightbox::ports::Classifier;
use trainer::network::pool;
use trainer::network::weights::{Array, Weights};
use trainer::paper::networks::plan::Operation;
use trainer::paper::networks::{Architecture, Convention, Names, PaperNetwork, Scale, onnx};

#[path = "support/formula.rs"]
mod formula;
#[path = "support/engine.rs"]
mod on_device;

const SIZES: [[usize; 2]; 2] = [[96, 80], [75, 91]];

fn key(architecture: Architecture) -> String {
    let value = serde_json::to_value(architecture).expect("a word");
    value.as_str().expect("a word").to_string()
}

/// A network with the weights of the formula, by Keras's convention.
fn network(architecture: Architecture) -> PaperNetwork {
    let network = PaperNetwork::new(architecture, 3, 0.0, &Device::flex());
    let mut weights = network.weights();
    for (name, array) in &mut weights.0 {
        *array = formula::tensor(name, &array.shape);
    }
    // Keras has no scale in the Inceptions' normalisation.
    if matches!(architecture, Architecture::InceptionV3 | Architecture::InceptionResNetV2) {
        weights.0.retain(|name, array| array.shape.len() == 4 || !name.ends_with(".weight"));
    }
    let (network, imported) =
        network.import_named(weights, BTreeMap::new(), Path::new("the formula")).expect("all tensors fit");
    assert_eq!(imported.convention, Convention::Keras);
    network
}

fn film([height, width]: [usize; 2]) -> Tensor<4> {
    Tensor::from_data(TensorData::new(formula::film(height, width), [1, 3, height, width]), &Device::flex())
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Mean and standard deviation of each channel, one after another.
fn summary(value: Tensor<4>) -> Vec<f32> {
    let [_, channels, rows, columns] = value.dims();
    let places = rows * columns;
    let values = floats(value);
    let channels: Vec<&[f32]> = values.chunks_exact(places).take(channels).collect();
    let mean = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>() / places as f64;
    let deviation = |values: &[f32]| {
        let middle = mean(values);
        (values.iter().map(|v| (f64::from(*v) - middle).powi(2)).sum::<f64>() / places as f64).sqrt()
    };
    channels.iter().map(|c| mean(c) as f32).chain(channels.iter().map(|c| deviation(c) as f32)).collect()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[track_caller]
fn check_features(network: &PaperNetwork, size: [usize; 2], expected: &[f32]) {
    let off = worst(&floats(network.features(film(size))), expected);
    let top = expected.iter().copied().fold(0.0, f32::max);
    let title = network.architecture();
    assert!(off <= 1e-3 && off <= 1e-5 * top.max(1.0), "the features of {title} at {size:?} differ by {off} of {top}");
}

#[track_caller]
fn check_against_keras(architecture: Architecture) {
    let (golden, _) = Weights::read(&fixture("paper-features.safetensors")).expect("the fixture");
    let network = network(architecture);
    for size in SIZES {
        let at = format!("{}.{}x{}", key(architecture), size[0], size[1]);
        let live = network.trunk(film(size));
        let numbers = network.plan().live_at(architecture.cut_off());
        assert_eq!(live.len(), numbers.len());
        for (number, value) in numbers.iter().zip(&live) {
            let name = format!("{at}.live.{number}");
            let expected = golden.0.get(&name).unwrap_or_else(|| panic!("Keras has no {name}"));
            let off = worst(&summary(value.clone()), &expected.values);
            assert!(off <= 1e-3, "{name} differs by {off}");
        }
        check_features(&network, size, &golden.0[&format!("{at}.features")].values);
        // Two halves are the whole.
        let logits = floats(network.forward(film(size)));
        assert_eq!(floats(network.tail(live)), logits);
    }
}

#[test]
fn vgg19_has_the_features_that_keras_computes() {
    check_against_keras(Architecture::Vgg19);
}

#[test]
fn mobilenet_v2_has_the_features_that_keras_computes() {
    check_against_keras(Architecture::MobileNetV2);
}

#[test]
fn inception_v3_has_the_features_that_keras_computes() {
    check_against_keras(Architecture::InceptionV3);
}

#[test]
fn xception_has_the_features_that_keras_computes() {
    check_against_keras(Architecture::Xception);
}

#[test]
fn inception_resnet_v2_has_the_features_that_keras_computes() {
    check_against_keras(Architecture::InceptionResNetV2);
}

/// Weights by the names that torchvision and timm give, run as they run them.
#[test]
fn weights_of_torchvision_and_timm_give_the_features_that_these_compute() {
    let (golden, _) = Weights::read(&fixture("paper-features-torch.safetensors")).expect("the fixture");
    for architecture in Architecture::ALL {
        let network = PaperNetwork::new(architecture, 3, 0.0, &Device::flex());
        let (own, names) = (network.weights(), network.names(Names::Torchvision));
        assert_eq!(names.len(), own.0.len(), "{architecture}");
        let theirs = names.iter().map(|(own_name, name)| (name.clone(), formula::tensor(name, &own.0[own_name].shape)));
        let theirs = Weights(theirs.collect());
        assert_eq!(theirs.0.len(), own.0.len(), "{architecture}: two tensors of one name");
        let (network, imported) =
            network.import_named(theirs, BTreeMap::new(), Path::new("a file")).expect("all tensors fit");
        assert_eq!(imported.convention, Convention::Torch);
        assert_eq!(imported.tensors, own.0.len());
        for size in SIZES {
            let name = format!("{}.{}x{}.features", key(architecture), size[0], size[1]);
            check_features(&network, size, &golden.0[&name].values);
        }
    }
}

#[test]
fn pytorch_files_are_read() {
    let network = PaperNetwork::new(Architecture::MobileNetV2, 3, 0.0, &Device::flex());
    let error = network.import(&fixture("two-tensors.pt")).expect_err("two tensors only").to_string();
    assert!(error.contains("two-tensors.pt does not fit MobileNetV2: 258 missing (features.0.1.weight, "), "{error}");
    assert!(error.ends_with("; 1 of another shape (features.0.1.bias is [7], expected [32])"), "{error}");
}

#[test]
fn files_of_other_kinds_are_named_as_such() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |name: &str, bytes: &[u8], expected: &str| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        let network = PaperNetwork::new(Architecture::MobileNetV2, 3, 0.0, &Device::flex());
        let error = network.import(&path).expect_err("no weights").to_string();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    };
    let remedy = "an HDF5 file: turn it into safetensors first, with tools/trainer/weights/keras_to_safetensors.py";
    check("keras.h5", b"\x89HDF\r\n\x1a\nand so on", remedy);
    check("cut.pth", b"PK\x03\x04 and no more", "not a PyTorch file of tensors");
    check("words.safetensors", b"not weights at all", "not a safetensors file");
}

#[test]
fn layers_have_the_names_and_numbers_of_keras() {
    let expected = fs::read_to_string(fixture("paper-layers.txt")).expect("the fixture");
    let mut found = String::new();
    for architecture in Architecture::ALL {
        let plan = architecture.plan(Convention::Keras);
        let counts = plan.counts();
        let (layers, cut, live) = (plan.layers.len(), architecture.cut_off(), plan.live_at(architecture.cut_off()));
        let total = counts.total();
        found += &format!("# {}: {layers} layers, {total} parameters, cut-off {cut},\n", key(architecture));
        found += &format!("# {} before it, {} trainable behind it, live {live:?}\n", counts.frozen, counts.trained);
        for (number, layer) in plan.layers.iter().enumerate() {
            found += &format!("{number}\t{}\n", layer.name);
        }
    }
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {}", number + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count());
}

fn engine(folder: &Path, network: &[u8], [height, width]: [usize; 2]) -> TractClassifier {
    let (fit, greys, channels) = (Fit::Stretch, GreyScale::AsShown, Channels::Replicated);
    let spec = InputSpec::new(height, width, fit, 0.0, greys, channels, vec![0.0; 3], vec![1.0; 3]).expect("an input");
    on_device::engine(folder, network, &spec)
}

/// Grad-CAM by burn's automatic differentiation: the definition, not the formula in the graph.
fn maps(network: &PaperNetwork, last: Tensor<4>) -> Vec<f32> {
    let [_, channels, rows, columns] = last.dims();
    let head = network.head.clone().train();
    (0..3)
        .flat_map(|class| {
            let leaf = Tensor::<4>::from_inner(last.clone()).require_grad();
            let gradients = head.forward(pool(leaf.clone())).slice([0..1, class..class + 1]).sum().backward();
            let slope = leaf.grad(&gradients).expect("a gradient").reshape([channels, rows * columns]).mean_dim(1);
            floats(relu((slope * last.clone().reshape([channels, rows * columns])).sum_dim(0)))
        })
        .collect()
}

#[track_caller]
fn check_against_engine(architecture: Architecture) {
    let size = [96, 80];
    let folder = tempfile::tempdir().expect("a folder");
    let mut network = network(architecture);
    let features = network.features(film(size));
    let top: f32 = features.clone().abs().max().into_scalar();
    // Weights around zero that keep the size of activations; logits of the order of one.
    let last = network.head.hidden.len();
    for (number, layer) in network.head.hidden.iter_mut().chain([&mut network.head.last]).enumerate() {
        let [input, output] = layer.weight.dims();
        let around_zero = formula::tensor(&format!("head{number}.bias"), &[input, output]).values;
        let mut factor = 5.0 * (6.0 / input as f64).sqrt();
        if number == last {
            factor *= 4.0 / f64::from(top.max(1.0));
        }
        let weight = Tensor::<2>::from_data(TensorData::new(around_zero, [input, output]), &Device::flex()) * factor;
        layer.weight = layer.weight.clone().map(|_| weight);
    }
    let bytes = onnx(&network, size).expect("a graph");
    let mut engine = engine(folder.path(), &bytes, size);
    let shape = [1, 3, size[0], size[1]];
    let window = Window { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 };
    let values = formula::film(size[0], size[1]);
    let found: ModelOutput = engine.classify(&ModelInput { shape, values, window }).expect("an answer");

    let logits = network.forward(film(size));
    let probabilities = |logits: Tensor<2>| floats(softmax(logits, 1));
    let engine_logits = Tensor::<2>::from_data([found.logits], &Device::flex());
    let off = worst(&probabilities(engine_logits), &probabilities(logits.clone()));
    assert!(off <= 1e-4, "{architecture}: probabilities differ by {off}");
    assert!(probabilities(logits).iter().all(|p| *p < 0.99), "{architecture}: one class takes all");
    let off = worst(&found.features, &floats(features));
    assert!(off <= 1e-5 * top.max(1.0), "{architecture}: features differ by {off} of {top}");

    let expected = maps(&network, network.maps(film(size)));
    let found: Vec<f32> = found.maps.iter().flat_map(|m| m.values.clone()).collect();
    let top = expected.iter().copied().fold(0.0, f32::max);
    assert!(top > 0.0, "{architecture}: the maps are empty");
    let off = worst(&found, &expected);
    assert!(off <= 1e-4 * top.max(1.0), "{architecture}: a map differs by {off} of {top}");
}

#[test]
fn the_engine_answers_as_vgg19_does() {
    check_against_engine(Architecture::Vgg19);
}

#[test]
fn the_engine_answers_as_mobilenet_v2_does() {
    check_against_engine(Architecture::MobileNetV2);
}

#[test]
fn the_engine_answers_as_inception_v3_does() {
    check_against_engine(Architecture::InceptionV3);
}

#[test]
fn the_engine_answers_as_xception_does() {
    check_against_engine(Architecture::Xception);
}

#[test]
fn the_engine_answers_as_inception_resnet_v2_does() {
    check_against_engine(Architecture::InceptionResNetV2);
}

#[test]
fn a_size_without_room_for_every_layer_is_refused() {
    let network = PaperNetwork::new(Architecture::InceptionV3, 3, 0.0, &Device::flex());
    let error = onnx(&network, [64, 200]).expect_err("too small").to_string();
    assert_eq!(error, "inputs of 64x200 are too small for Inception v3: expected 75x75 or larger");
}

/// Weights of the formula as somebody else's file would have them.
fn renamed(architecture: Architecture, name: impl Fn(&str) -> Option<String>) -> Weights {
    let weights = PaperNetwork::new(architecture, 3, 0.0, &Device::flex()).weights();
    let array = |own: &str, array: &Array| formula::tensor(own, &array.shape);
    Weights(weights.0.iter().filter_map(|(own, a)| Some((name(own)?, array(own, a)))).collect())
}

fn import(architecture: Architecture, weights: Weights) -> Result<PaperNetwork, String> {
    let network = PaperNetwork::new(architecture, 3, 0.0, &Device::flex());
    let path = Path::new("a file");
    network.import_named(weights, BTreeMap::new(), path).map(|(n, _)| n).map_err(|e| e.to_string())
}

#[test]
fn vgg19_from_vgg16_is_the_same_function() {
    let architecture = Architecture::Vgg19;
    let own = |name: &str| !name.contains("conv4");
    let weights = renamed(architecture, |name| own(name).then(|| name.to_string()));
    let sixteen = weights.clone();
    let (network, imported) = PaperNetwork::new(architecture, 3, 0.0, &Device::flex())
        .import_named(weights, BTreeMap::new(), Path::new("vgg16"))
        .expect("VGG16 will do");
    assert_eq!(imported.tensors, 26);
    let said = "weights of VGG16; identity kernels for block3_conv4, block4_conv4, block5_conv4";
    assert_eq!(imported.substituted, [said]);

    let mut x = film([64, 64]);
    for (block, convolutions) in (1..).zip([2, 2, 3, 3, 3]) {
        for number in 1..=convolutions {
            let array = |variable| sixteen.0[&format!("block{block}_conv{number}.{variable}")].clone();
            let (weight, bias) = (array("weight"), array("bias"));
            let device = Device::flex();
            let weight = Tensor::<4>::from_data(TensorData::new(weight.values, weight.shape), &device);
            let bias = Tensor::<1>::from_data(TensorData::new(bias.values, bias.shape), &device);
            let options = burn::tensor::ops::ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
            x = relu(burn::tensor::module::conv2d(x, weight, Some(bias), options));
        }
        let [n, c, h, w] = x.dims();
        x = x.reshape([n, c, h / 2, 2, w / 2, 2]).max_dim(5).max_dim(3).reshape([n, c, h / 2, w / 2]);
    }
    let off = worst(&floats(network.features(film([64, 64]))), &floats(pool(x)));
    assert!(off <= 1e-5, "differs by {off}");
}

#[test]
fn missing_left_over_and_misshapen_tensors_are_all_listed() {
    let mut weights = renamed(Architecture::Xception, |name| Some(name.to_string()));
    weights.0.remove("block5_sepconv2.pointwise.weight");
    weights.0.insert("block5_sepconv9.wait".into(), Array { shape: vec![1], values: vec![0.0] });
    weights.0.insert("block14_sepconv2_bn.bias".into(), Array { shape: vec![7], values: vec![0.0; 7] });
    weights.0.insert("predictions.weight".into(), Array { shape: vec![1], values: vec![0.0] });
    let error = import(Architecture::Xception, weights).expect_err("a misfit");
    assert_eq!(
        error,
        "a file does not fit Xception: 1 missing (block5_sepconv2.pointwise.weight); \
         1 without a place (block5_sepconv9.wait); \
         1 of another shape (block14_sepconv2_bn.bias is [7], expected [2048])"
    );
}

#[test]
fn weights_of_another_network_are_named_as_such() {
    let weights = renamed(Architecture::Vgg19, |name| Some(name.to_string()));
    let error = import(Architecture::MobileNetV2, weights).expect_err("another network");
    assert_eq!(
        error,
        "a file: none of its 32 tensors (block1_conv1.bias, block1_conv1.weight, block1_conv2.bias, …) is one of \
         MobileNetV2: expected the names of Keras, torchvision or timm, such as Conv1.weight"
    );
}

/// `[out, in, h, w]` as Keras lays it out, `[h, w, in, out]`; a depthwise kernel as `[h, w, in, 1]`.
fn keras_layout(array: &Array, order: [usize; 4]) -> Array {
    let shape: [usize; 4] = array.shape.clone().try_into().expect("four dimensions");
    let tensor = Tensor::<4>::from_data(TensorData::new(array.values.clone(), shape), &Device::flex());
    let tensor = tensor.permute(order.map(|d| d as isize));
    Array { shape: tensor.dims().to_vec(), values: floats(tensor) }
}

#[track_caller]
fn check_keras_names(architecture: Architecture) {
    let own = renamed(architecture, |name| Some(name.to_string()));
    let mut keras = Weights::default();
    for (name, array) in &own.0 {
        let (layer, variable) = name.split_once('.').expect("a variable");
        // Such as a session that has made other networks before has them.
        let layer = match layer.split_once("2d_").or_else(|| layer.split_once("ization_")) {
            Some((_, number)) if !layer.contains("sepconv") => {
                let number: usize = number.parse().expect("a number");
                let kind = layer.trim_end_matches(char::is_numeric);
                format!("{kind}{}", number + 17)
            }
            _ => layer.to_string(),
        };
        let norm = ["_bn", "_BN", "bn_", "batch"].iter().any(|part| layer.contains(part));
        let (variable, array) = match variable {
            "weight" if norm => ("gamma", array.clone()),
            "bias" => ("beta", array.clone()),
            "running_mean" => ("moving_mean", array.clone()),
            "running_var" => ("moving_variance", array.clone()),
            "depthwise.weight" => ("depthwise_kernel", keras_layout(array, [2, 3, 0, 1])),
            "pointwise.weight" => ("pointwise_kernel", keras_layout(array, [2, 3, 1, 0])),
            _ if layer.contains("depthwise") => ("kernel", keras_layout(array, [2, 3, 0, 1])),
            _ => ("kernel", keras_layout(array, [2, 3, 1, 0])),
        };
        keras.0.insert(format!("{layer}/{layer}/{variable}:0"), array);
    }
    let network = import(architecture, keras).expect("Keras's names");
    assert_eq!(network.weights(), own);
}

#[test]
fn files_in_kerass_own_names_and_layout_are_read() {
    check_keras_names(Architecture::Xception);
    check_keras_names(Architecture::MobileNetV2);
}

#[test]
fn torchvisions_mobilenet_v2_pads_and_scales_as_torchvision_does() {
    let network = PaperNetwork::new(Architecture::MobileNetV2, 3, 0.0, &Device::flex());
    assert_eq!((network.convention(), network.scale()), (Convention::Torch, Scale::ImageNet));
    let keras = network.with_convention(Convention::Keras, Scale::PlusMinusOne);
    assert_eq!((keras.convention(), keras.scale()), (Convention::Keras, Scale::PlusMinusOne));
}

#[test]
fn only_layers_behind_the_cut_off_are_trained() {
    let device = Device::flex().autodiff();
    for architecture in [Architecture::MobileNetV2, Architecture::Xception] {
        let network = PaperNetwork::new(architecture, 3, 0.5, &device);
        let film = Tensor::<4>::from_inner(film([75, 75]));
        let live = network.trunk(film);
        let gradients = network.tail(live).sum().backward();
        let found = burn::optim::GradientsParams::from_grads(gradients, &network);
        let trained: usize = network.plan().layers[architecture.cut_off()..]
            .iter()
            .map(|l| match l.operation {
                Operation::Separable(_) | Operation::Normalisation { .. } => 2,
                _ => usize::from(l.weights.is_some()),
            })
            .sum();
        assert_eq!(found.len(), trained + 2 * (architecture.hidden().len() + 1), "{architecture}");
    }
}
