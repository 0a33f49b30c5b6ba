//! The weights of one layer, and what they do.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};

use super::MOMENTUM;
use super::plan::{Layer, Operation, Window};
use crate::network::depthwise::{self, depthwise};
use crate::network::mobilenet_v2::pointwise;
use crate::network::norm;
use crate::network::scale_and_shift;
use crate::network::weights::Array;

/// A convolution of each channel by itself, then one across channels.
#[derive(Module, Debug)]
pub struct Separable {
    /// `[in, 1, k, k]`.
    pub depthwise: Conv2d,
    /// `[out, in, 1, 1]`.
    pub pointwise: Conv2d,
}

/// The weights of one layer.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few hundred of them, each holding tensors of kilobytes and more")]
pub enum Kernel {
    /// `[out, in / groups, k, k]`, perhaps with a bias.
    Convolution(Conv2d),
    /// Two convolutions.
    Separable(Separable),
    /// Scale, shift and running statistics.
    Normalisation(BatchNorm),
}

impl Kernel {
    /// As Keras starts it; `None` for a layer without weights. `input` is the number of channels that it reads.
    pub(super) fn new(layer: &Layer, input: usize, device: &Device) -> Option<Self> {
        let output = layer.channels;
        Some(match layer.operation {
            Operation::Convolution { window, bias, .. } => {
                Self::Convolution(convolution(input, output, 1, &window, bias, device))
            }
            Operation::Depthwise(window) => {
                Self::Convolution(convolution(input, output, input, &window, false, device))
            }
            Operation::Separable(window) => {
                let point = Window { kernel: [1, 1], stride: 1, ..window };
                Self::Separable(Separable {
                    depthwise: convolution(input, input, input, &window, false, device),
                    pointwise: convolution(input, output, 1, &point, false, device),
                })
            }
            Operation::Normalisation { epsilon, scale } => {
                let config = BatchNormConfig::new(output).with_epsilon(epsilon).with_momentum(MOMENTUM);
                let mut norm = config.init(device);
                if !scale {
                    norm.gamma = norm.gamma.set_require_grad(false);
                }
                Self::Normalisation(norm)
            }
            Operation::Input
            | Operation::Pad(_)
            | Operation::Activation(_)
            | Operation::MaxPool(_)
            | Operation::AveragePool { .. }
            | Operation::Concatenate
            | Operation::Add(_) => return None,
        })
    }

    /// The layer's convolutions; the last of them followed by `norm` with its running statistics.
    pub(super) fn convolve(&self, x: Tensor<4>, window: &Window, norm: Option<&BatchNorm>) -> Tensor<4> {
        match self {
            Self::Convolution(conv) => convolve(conv, x, window, norm),
            Self::Separable(Separable { depthwise, pointwise }) => {
                let x = convolve(depthwise, x, window, None);
                convolve(pointwise, x, &Window { kernel: [1, 1], stride: 1, ..*window }, norm)
            }
            Self::Normalisation(_) => self.normalise(x),
        }
    }

    /// The layer's batch normalisation.
    pub(super) fn normalise(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Normalisation(norm) if by_batch(norm, &x) => norm::normalise(norm, x, false),
            Self::Normalisation(norm) => norm.forward(x),
            Self::Convolution(_) | Self::Separable(_) => x,
        }
    }

    /// Names, as PyTorch calls them, and shapes of what the layer has learned.
    pub(super) fn shapes(&self) -> Vec<(&'static str, Vec<usize>)> {
        match self {
            Self::Convolution(conv) => {
                let mut shapes = vec![("weight", conv.weight.dims().to_vec())];
                shapes.extend(conv.bias.as_ref().map(|bias| ("bias", bias.dims().to_vec())));
                shapes
            }
            Self::Separable(Separable { depthwise, pointwise }) => vec![
                ("depthwise.weight", depthwise.weight.dims().to_vec()),
                ("pointwise.weight", pointwise.weight.dims().to_vec()),
            ],
            Self::Normalisation(norm) => {
                let width = norm.gamma.dims().to_vec();
                ["weight", "bias", "running_mean", "running_var"].map(|name| (name, width.clone())).to_vec()
            }
        }
    }

    /// What the layer has learned, in the order of [`Kernel::shapes`].
    pub(super) fn arrays(&self) -> Vec<(&'static str, Array)> {
        let tensors = match self {
            Self::Convolution(conv) => {
                let mut arrays = vec![array(conv.weight.val())];
                arrays.extend(conv.bias.as_ref().map(|bias| array(bias.val())));
                arrays
            }
            Self::Separable(Separable { depthwise, pointwise }) => {
                vec![array(depthwise.weight.val()), array(pointwise.weight.val())]
            }
            Self::Normalisation(norm) => vec![
                array(norm.gamma.val()),
                array(norm.beta.val()),
                array(norm.running_mean.value_sync()),
                array(norm.running_var.value_sync()),
            ],
        };
        self.shapes().into_iter().map(|(name, _)| name).zip(tensors).collect()
    }

    /// Puts an array of the right shape into the place `name` of [`Kernel::shapes`]; other names are left alone.
    pub(super) fn put(&mut self, name: &str, array: Array) {
        match (self, name) {
            (Self::Convolution(conv), "weight") => set(&mut conv.weight, array),
            (Self::Convolution(Conv2d { bias: Some(bias), .. }), "bias") => set(bias, array),
            (Self::Separable(kernel), "depthwise.weight") => set(&mut kernel.depthwise.weight, array),
            (Self::Separable(kernel), "pointwise.weight") => set(&mut kernel.pointwise.weight, array),
            (Self::Normalisation(norm), "weight") => set(&mut norm.gamma, array),
            (Self::Normalisation(norm), "bias") => set(&mut norm.beta, array),
            (Self::Normalisation(norm), "running_mean") => {
                let device = norm.gamma.device();
                norm.running_mean = burn::module::RunningState::new(tensor(array, &device));
            }
            (Self::Normalisation(norm), "running_var") => {
                let device = norm.gamma.device();
                norm.running_var = burn::module::RunningState::new(tensor(array, &device));
            }
            _ => {}
        }
    }
}

fn convolution(input: usize, output: usize, groups: usize, window: &Window, bias: bool, device: &Device) -> Conv2d {
    let area = window.kernel[0] * window.kernel[1];
    let mut conv = Conv2dConfig::new([input, output], window.kernel)
        .with_stride([window.stride; 2])
        .with_groups(groups)
        .with_bias(false)
        .init(device);
    // Keras counts the channels of a depthwise kernel `[k, k, in, 1]` as fan-in.
    let (fan_in, fan_out) = if groups == 1 { (input * area, output * area) } else { (input * area, area) };
    let shape = [output, input / groups, window.kernel[0], window.kernel[1]];
    conv.weight = Initializer::XavierUniform { gain: 1.0 }.init_with(shape, Some(fan_in), Some(fan_out), device);
    conv.bias = bias.then(|| Initializer::Zeros.init([output], device));
    conv
}

/// Whether `norm` takes the statistics of the batch that `x` is.
pub(super) fn by_batch(norm: &BatchNorm, x: &Tensor<4>) -> bool {
    x.device().is_autodiff() && norm.training.is_enabled()
}

/// With a normalisation by running statistics the weights are scaled in place of the activations.
fn convolve(conv: &Conv2d, x: Tensor<4>, window: &Window, norm: Option<&BatchNorm>) -> Tensor<4> {
    let bias = conv.bias.as_ref().map(|bias| bias.val());
    let Some(norm) = norm else { return convolve_with(conv.weight.val(), bias, conv.groups, x, window) };
    let (scale, shift) = scale_and_shift(norm, &x.device());
    let shift = match bias {
        Some(bias) => shift + bias * scale.clone(),
        None => shift,
    };
    let weight = conv.weight.val();
    let weight = weight.clone() * scale.reshape([weight.dims()[0], 1, 1, 1]);
    convolve_with(weight, Some(shift), conv.groups, x, window)
}

/// By the operators that training is fast with, where they can do it.
fn convolve_with(
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    groups: usize,
    x: Tensor<4>,
    window: &Window,
) -> Tensor<4> {
    let [_, _, rows, columns] = x.dims();
    let sides = window.sides([rows, columns]);
    let [output, of_group, ..] = weight.dims();
    let each = groups > 1 && of_group == 1 && output == groups && window.kernel == [3, 3];
    if each && sides[0] == sides[1] && window.stride <= 2 {
        let (before, after) = sides[0];
        let y = depthwise(x, weight, depthwise::Window { stride: window.stride, before, after });
        let Some(bias) = bias else { return y };
        return y + bias.reshape([1, output, 1, 1]);
    }
    let alone = window.kernel == [1, 1] && window.stride == 1 && groups == 1 && sides == [(0, 0); 2];
    if alone && bias.is_none() && x.device().is_autodiff() {
        return pointwise(x, weight);
    }
    conv2d(x, weight, bias, ConvOptions::new_with_padding([window.stride; 2], sides, [1, 1], groups))
}

fn array<const D: usize>(tensor: Tensor<D>) -> Array {
    Array { shape: tensor.dims().to_vec(), values: tensor.into_data().iter::<f32>().collect() }
}

fn tensor<const D: usize>(array: Array, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(array.values, array.shape), device)
}

fn set<const D: usize>(param: &mut Param<Tensor<D>>, array: Array) {
    let wanted = param.is_require_grad();
    *param = param.clone().map(|old| tensor(array, &old.device()).set_require_grad(wanted));
}
