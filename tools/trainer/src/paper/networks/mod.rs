//! The paper's five networks: Keras's layers in Keras's numbering, frozen up to the cut-off of the paper's Table 1.
//!
//! `plan` says what a network is made of; here its weights are held and it is run. Films are three-channel, and the
//! networks know nothing of data, folds or recipes.
//!
//! Where the paper is silent: weights that are not imported start as Keras starts them (Glorot 2010); batch
//! normalisation follows the training with PyTorch's momentum ([`MOMENTUM`]); dropout follows each hidden layer.

mod import;
mod inception_resnet_v2;
mod inception_v3;
mod kernel;
mod mobilenet_v2;
mod onnx;
pub mod plan;
pub mod table;
mod vgg19;
mod xception;

use std::ops::Range;
use std::sync::Arc;

use burn::module::Module;
use burn::nn::{BatchNorm, Dropout, DropoutConfig, Initializer, Linear};
use burn::tensor::activation::relu;
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions, PadMode};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

pub use import::{ImportError, Imported, Names};
pub use kernel::{Kernel, Separable};
pub use onnx::{OnnxError, PROBABILITIES, onnx, write_onnx};
use plan::{Activation, Operation, Plan};

use crate::network::mobilenet_v2::relu6;
use crate::network::norm::normalise;
use crate::network::pool;

/// Share of each batch in the running statistics of batch normalisation. Keras's own is 0.01 (0.001 in MobileNetV2):
/// after the paper's two hundred steps these would still be those of ImageNet.
pub const MOMENTUM: f64 = 0.1;

/// A row of the paper's Table 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// Simonyan & Zisserman 2015.
    Vgg19,
    /// Sandler 2018.
    #[serde(rename = "mobilenet-v2")]
    MobileNetV2,
    /// Szegedy 2016.
    InceptionV3,
    /// Chollet 2017.
    Xception,
    /// Szegedy 2017.
    #[serde(rename = "inception-resnet-v2")]
    InceptionResNetV2,
}

impl Architecture {
    /// In the order of Table 1.
    pub const ALL: [Self; 5] =
        [Self::Vgg19, Self::MobileNetV2, Self::InceptionV3, Self::Xception, Self::InceptionResNetV2];

    /// As a reader knows it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Vgg19 => "VGG19",
            Self::MobileNetV2 => "MobileNetV2",
            Self::InceptionV3 => "Inception v3",
            Self::Xception => "Xception",
            Self::InceptionResNetV2 => "Inception-ResNet v2",
        }
    }

    /// Layers that are not trained, counted from the input layer as Keras counts them.
    pub fn cut_off(self) -> usize {
        match self {
            Self::Vgg19 => 18,
            Self::MobileNetV2 => 10,
            Self::InceptionV3 => 249,
            Self::Xception => 120,
            Self::InceptionResNetV2 => 730,
        }
    }

    /// Widths of the hidden layers between pooled features and logits.
    pub fn hidden(self) -> &'static [usize] {
        match self {
            Self::Vgg19 => &[1024],
            Self::InceptionV3 => &[1000],
            Self::MobileNetV2 | Self::Xception => &[1000, 750],
            Self::InceptionResNetV2 => &[],
        }
    }

    /// Width of the pooled features.
    pub fn features(self) -> usize {
        match self {
            Self::Vgg19 => 512,
            Self::MobileNetV2 => 1280,
            Self::InceptionV3 | Self::Xception => 2048,
            Self::InceptionResNetV2 => 1536,
        }
    }

    /// The smallest height and width that every layer has room for.
    pub fn smallest_side(self) -> usize {
        match self {
            Self::Vgg19 | Self::MobileNetV2 => 32,
            Self::InceptionV3 | Self::InceptionResNetV2 => 75,
            Self::Xception => 71,
        }
    }

    /// The convention of the ImageNet weights that are most easily had: torchvision's for MobileNetV2, else Keras's.
    pub fn usual_convention(self) -> Convention {
        if self == Self::MobileNetV2 { Convention::Torch } else { Convention::Keras }
    }

    /// The input that weights of this convention were trained with.
    pub fn scale(self, convention: Convention) -> Scale {
        match (self, convention) {
            (Self::Vgg19, Convention::Keras) => Scale::CaffeMeans,
            (Self::Vgg19 | Self::MobileNetV2, Convention::Torch) => Scale::ImageNet,
            // torchvision's Inception v3 and timm's two came from TensorFlow, and their input with them.
            (Self::MobileNetV2 | Self::InceptionV3 | Self::Xception | Self::InceptionResNetV2, _) => {
                Scale::PlusMinusOne
            }
        }
    }

    /// `[n, 3, h, w]` in 0 to 1 → what weights of the usual convention expect; see [`PaperNetwork::normalise`].
    pub fn normalise(self, rgb: Tensor<4>) -> Tensor<4> {
        self.scale(self.usual_convention()).normalise(rgb)
    }

    /// The layers, in Keras's order.
    pub fn plan(self, convention: Convention) -> Plan {
        let plan = match self {
            Self::Vgg19 => vgg19::plan,
            Self::MobileNetV2 => mobilenet_v2::plan,
            Self::InceptionV3 => inception_v3::plan,
            Self::Xception => xception::plan,
            Self::InceptionResNetV2 => inception_resnet_v2::plan,
        };
        plan(convention, self.cut_off())
    }
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.title())
    }
}

/// Whose weights a network runs: they differ in what is added around an input and to a variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Convention {
    /// Padding as TensorFlow's `same`, epsilon 1e-3, means of an average pool without the padding.
    Keras,
    /// torchvision's and timm's: padding alike on all sides, epsilon 1e-5 (1e-3 in the Inceptions), means of an average
    /// pool with the padding in Inception v3.
    Torch,
}

impl Convention {
    fn epsilon(self) -> f64 {
        match self {
            Self::Keras => 1e-3,
            Self::Torch => 1e-5,
        }
    }
}

/// How the input of a network is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Blue, green, red, 0 to 255, less the means of ImageNet.
    CaffeMeans,
    /// −1 to 1.
    PlusMinusOne,
    /// 0 to 1, less the means of ImageNet, by its standard deviations.
    ImageNet,
}

impl Scale {
    /// `[n, 3, h, w]` red, green, blue in 0 to 1 → as the weights expect it.
    pub fn normalise(self, rgb: Tensor<4>) -> Tensor<4> {
        let row = |values: [f32; 3], device: &Device| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), device)
        };
        let device = rgb.device();
        match self {
            Self::CaffeMeans => rgb.flip([1]) * 255.0 - row([103.939, 116.779, 123.68], &device),
            Self::PlusMinusOne => rgb * 2.0 - 1.0,
            Self::ImageNet => (rgb - row([0.485, 0.456, 0.406], &device)) / row([0.229, 0.224, 0.225], &device),
        }
    }
}

/// From pooled features to logits: hidden layers with ReLU, dropout where there are two of them.
#[derive(Module, Debug)]
pub struct Head {
    /// Weights `[in, out]`.
    pub hidden: Vec<Linear>,
    /// To one logit a class.
    pub last: Linear,
    dropout: Option<Dropout>,
}

impl Head {
    fn new(architecture: Architecture, classes: usize, dropout: f64, device: &Device) -> Self {
        let mut width = architecture.features();
        let mut hidden = Vec::new();
        for next in architecture.hidden() {
            hidden.push(linear(width, *next, device));
            width = *next;
        }
        let dropout = (hidden.len() == 2).then(|| DropoutConfig::new(dropout).init());
        Self { hidden, last: linear(width, classes, device), dropout }
    }

    /// `[n, features]` → `[n, classes]`.
    pub fn forward(&self, pooled: Tensor<2>) -> Tensor<2> {
        let mut x = pooled;
        for layer in &self.hidden {
            x = relu(layer.forward(x));
            if let Some(dropout) = &self.dropout {
                x = dropout.forward(x);
            }
        }
        self.last.forward(x)
    }
}

fn linear(input: usize, output: usize, device: &Device) -> Linear {
    let weight = Initializer::XavierUniform { gain: 1.0 }.init_with([input, output], Some(input), Some(output), device);
    Linear { weight, bias: Some(Initializer::Zeros.init([output], device)) }
}

/// One of the five, with its head.
///
/// A record holds the weights alone. To go on with a saved one, make the network anew, import the same file, then load
/// the record: the import also sets the convention and the scale of the input.
#[derive(Module, Debug)]
pub struct PaperNetwork {
    /// Weights of the layers before the cut-off, in Keras's order; never trained.
    pub frozen: Vec<Kernel>,
    /// Weights of the others.
    pub trained: Vec<Kernel>,
    /// Pooled features to logits.
    pub head: Head,
    #[module(skip)]
    outline: Outline,
}

/// What a network is, apart from its weights.
#[derive(Clone, Debug)]
struct Outline {
    architecture: Architecture,
    convention: Convention,
    scale: Scale,
    plan: Arc<Plan>,
}

impl Outline {
    fn new(architecture: Architecture, convention: Convention, scale: Scale) -> Self {
        Self { architecture, convention, scale, plan: Arc::new(architecture.plan(convention)) }
    }
}

impl PaperNetwork {
    /// Random weights, the layers before the cut-off frozen; `dropout` is used where the head has two hidden layers.
    pub fn new(architecture: Architecture, classes: usize, dropout: f64, device: &Device) -> Self {
        let convention = architecture.usual_convention();
        let outline = Outline::new(architecture, convention, architecture.scale(convention));
        let mut frozen = Vec::new();
        for layer in &outline.plan.layers {
            let from = layer.inputs.first().map_or(0, |i| outline.plan.layers[*i].channels);
            frozen.extend(Kernel::new(layer, from, device));
        }
        let trained = frozen.split_off(outline.plan.frozen_weights());
        Self { frozen: frozen.freeze(), trained, head: Head::new(architecture, classes, dropout, device), outline }
    }

    /// Which of the five.
    pub fn architecture(&self) -> Architecture {
        self.outline.architecture
    }

    /// Whose weights it runs.
    pub fn convention(&self) -> Convention {
        self.outline.convention
    }

    /// The input that it expects.
    pub fn scale(&self) -> Scale {
        self.outline.scale
    }

    /// Its layers, in Keras's order.
    pub fn plan(&self) -> &Plan {
        &self.outline.plan
    }

    /// `[n, 3, h, w]` in 0 to 1 → what the imported weights expect. The same as [`Architecture::normalise`] unless the
    /// weights were of another convention than the usual one.
    pub fn normalise(&self, rgb: Tensor<4>) -> Tensor<4> {
        self.outline.scale.normalise(rgb)
    }

    /// The same weights, run by another convention and with another scale of the input.
    pub fn with_convention(mut self, convention: Convention, scale: Scale) -> Self {
        self.outline = Outline::new(self.outline.architecture, convention, scale);
        let plan = Arc::clone(&self.outline.plan);
        let operations = plan.layers.iter().filter(|l| l.weights.is_some()).map(|l| l.operation);
        for (kernel, operation) in self.frozen.iter_mut().chain(&mut self.trained).zip(operations) {
            if let (Kernel::Normalisation(norm), Operation::Normalisation { epsilon, .. }) = (kernel, operation) {
                norm.epsilon = epsilon;
            }
        }
        self
    }

    /// Another share of each batch in the running statistics than [`MOMENTUM`].
    pub fn with_momentum(mut self, momentum: f64) -> Self {
        for kernel in &mut self.trained {
            if let Kernel::Normalisation(norm) = kernel {
                norm.momentum = momentum;
            }
        }
        self
    }

    /// The layers before the cut-off: `[n, 3, h, w]` → every tensor that is read behind it, in the order of
    /// [`Plan::live_at`]. The same for the same film whatever was trained, so it may be kept.
    pub fn trunk(&self, normalised: Tensor<4>) -> Vec<Tensor<4>> {
        let plan = self.plan();
        let mut values = vec![None; plan.layers.len()];
        values[0] = Some(normalised);
        self.run(1..plan.cut_off, &mut values);
        plan.live_at(plan.cut_off).into_iter().filter_map(|i| values[i].take()).collect()
    }

    /// The layers behind the cut-off, pooling and head: what [`PaperNetwork::trunk`] gave → logits `[n, classes]`.
    pub fn tail(&self, live: Vec<Tensor<4>>) -> Tensor<2> {
        self.head.forward(pool(self.last_maps(live)))
    }

    /// Logits `[n, classes]`.
    pub fn forward(&self, normalised: Tensor<4>) -> Tensor<2> {
        self.tail(self.trunk(normalised))
    }

    /// Pooled features `[n, features]`.
    pub fn features(&self, normalised: Tensor<4>) -> Tensor<2> {
        pool(self.maps(normalised))
    }

    /// What the last layer makes of the films: `[n, features, rows, columns]`.
    pub fn maps(&self, normalised: Tensor<4>) -> Tensor<4> {
        self.last_maps(self.trunk(normalised))
    }

    fn last_maps(&self, live: Vec<Tensor<4>>) -> Tensor<4> {
        let plan = self.plan();
        let count = plan.layers.len();
        let mut values = vec![None; count];
        for (i, tensor) in plan.live_at(plan.cut_off).into_iter().zip(live) {
            values[i] = Some(tensor);
        }
        self.run(plan.cut_off..count, &mut values);
        values[count - 1].take().expect("every layer up to the last was run")
    }

    fn kernel(&self, index: Option<usize>) -> &Kernel {
        let index = index.expect("the plan numbers every layer with weights");
        self.frozen.get(index).unwrap_or_else(|| &self.trained[index - self.frozen.len()])
    }

    fn run(&self, layers: Range<usize>, values: &mut [Option<Tensor<4>>]) {
        let plan = self.plan();
        for now in layers.clone() {
            // Done with the convolution before it.
            if values[now].is_some() {
                continue;
            }
            let inputs: Vec<Tensor<4>> = plan.layers[now]
                .inputs
                .iter()
                .map(|i| {
                    let spent = plan.is_spent(*i, now);
                    let value = if spent { values[*i].take() } else { values[*i].clone() };
                    value.expect("layers are in an order in which inputs come first")
                })
                .collect();
            if let Some(clip) = plan.relu6_after(now).filter(|clip| layers.contains(clip))
                && let Some(clipped) = self.normalised_and_clipped(now, &inputs[0])
            {
                values[clip] = Some(clipped);
                continue;
            }
            let next = plan.normalisation_after(now).filter(|next| layers.contains(next));
            let norm = next.and_then(|next| self.fusible(next, &inputs[0]));
            let output = self.layer(now, inputs, norm);
            match (next, norm) {
                (Some(next), Some(_)) => values[next] = Some(output),
                _ => values[now] = Some(output),
            }
        }
    }

    /// The batch normalisation of layer `next`, if it does the same thing to every batch.
    fn fusible(&self, next: usize, input: &Tensor<4>) -> Option<&BatchNorm> {
        let Kernel::Normalisation(norm) = self.kernel(self.plan().layers[next].weights) else { return None };
        (!kernel::by_batch(norm, input)).then_some(norm)
    }

    /// The batch normalisation of layer `now` and the ReLU6 behind it in one, if it takes the statistics of the batch.
    fn normalised_and_clipped(&self, now: usize, input: &Tensor<4>) -> Option<Tensor<4>> {
        let layer = &self.plan().layers[now];
        let Operation::Normalisation { .. } = layer.operation else { return None };
        let Kernel::Normalisation(norm) = self.kernel(layer.weights) else { return None };
        kernel::by_batch(norm, input).then(|| normalise(norm, input.clone(), true))
    }

    fn layer(&self, number: usize, mut inputs: Vec<Tensor<4>>, norm: Option<&BatchNorm>) -> Tensor<4> {
        let layer = &self.plan().layers[number];
        let kernel = || self.kernel(layer.weights);
        let two = |inputs: Vec<Tensor<4>>| -> [Tensor<4>; 2] { inputs.try_into().expect("a sum has two inputs") };
        match layer.operation {
            Operation::Concatenate => return Tensor::cat(inputs, 1),
            Operation::Add(factor) => {
                let [x, y] = two(inputs);
                return if factor == 1.0 { x + y } else { x + y * factor };
            }
            _ => {}
        }
        let x = inputs.swap_remove(0);
        let [_, _, rows, columns] = x.dims();
        let size = [rows, columns];
        match layer.operation {
            Operation::Input | Operation::Concatenate | Operation::Add(_) => x,
            Operation::Pad(window) => {
                let [rows, columns] = window.sides(size);
                x.pad([rows, columns], PadMode::Constant(0.0))
            }
            Operation::Convolution { window, relu: clamped, .. } => {
                let y = kernel().convolve(x, &window, norm);
                if clamped { relu(y) } else { y }
            }
            Operation::Depthwise(window) | Operation::Separable(window) => kernel().convolve(x, &window, norm),
            Operation::Normalisation { .. } => kernel().normalise(x),
            Operation::Activation(Activation::Relu) => relu(x),
            Operation::Activation(Activation::Relu6) => relu6(x),
            Operation::MaxPool(window) => {
                let options = MaxPoolOptions::new(window.kernel)
                    .with_stride([window.stride; 2])
                    .with_padding_pairs(window.sides(size));
                max_pool2d(x, options)
            }
            Operation::AveragePool { window, counts_padding } => {
                let options = AvgPoolOptions::new(window.kernel)
                    .with_stride([window.stride; 2])
                    .with_padding_pairs(window.sides(size))
                    .with_count_include_pad(counts_padding);
                avg_pool2d(x, options)
            }
        }
    }
}
