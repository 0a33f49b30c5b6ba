//! MobileNetV2, width 1.0 (Sandler 2018), with a stem for one grey channel.
//!
//! Blocks are numbered as torchvision numbers `features`: 0 is the stem, 1 to 17 the inverted residuals, 18 the
//! last convolution. The paper's "layer cut-off 10" in Keras's numbering (`Conv1_pad` … `expanded_conv_project_BN`)
//! is the stem and the first block: two blocks here.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

use super::depthwise::{Window, depthwise};
use super::norm::normalise;

/// Channels of the last feature maps.
pub const FEATURES: usize = 1280;
/// Entries of torchvision's `features`.
pub const BLOCKS: usize = 19;

/// Expansion, output channels, repeats, stride of the first: Table 2 of Sandler 2018.
pub(crate) const STAGES: [[usize; 4]; 7] =
    [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]];

/// A convolution and its batch normalisation; after folding the convolution alone, with a bias.
#[derive(Module, Debug)]
pub struct ConvNorm {
    /// Weights `[out, in / groups, k, k]`.
    pub conv: Conv2d,
    /// `None` once folded into the convolution.
    pub norm: Option<BatchNorm>,
}

impl ConvNorm {
    fn new(input: usize, output: usize, kernel: usize, stride: usize, groups: usize, device: &Device) -> Self {
        let pad = (kernel - 1) / 2;
        Self {
            conv: Conv2dConfig::new([input, output], [kernel, kernel])
                .with_stride([stride, stride])
                .with_groups(groups)
                .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
                .with_bias(false)
                .init(device),
            norm: Some(BatchNormConfig::new(output).init(device)),
        }
    }

    /// With the statistics of the batch while these are being trained, else with the running ones.
    ///
    /// The second way scales the weights instead of the activations: the same function and the same gradients,
    /// at the cost of the convolution alone.
    ///
    /// `clip` puts ReLU6 behind it.
    pub fn forward(&self, x: Tensor<4>, clip: bool) -> Tensor<4> {
        match &self.norm {
            Some(norm) if x.device().is_autodiff() && norm.training.is_enabled() => {
                normalise(norm, self.convolve(x, self.conv.weight.val(), None), clip)
            }
            Some(norm) => clipped(self.with_running_statistics(norm, x), clip),
            None => clipped(self.conv.forward(x), clip),
        }
    }

    fn with_running_statistics(&self, norm: &BatchNorm, x: Tensor<4>) -> Tensor<4> {
        let (scale, shift) = super::scale_and_shift(norm, &x.device());
        let weight = self.conv.weight.val();
        let weight = weight.clone() * scale.reshape([weight.dims()[0], 1, 1, 1]);
        self.convolve(x, weight, Some(shift))
    }

    fn convolve(&self, x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
        let stride = self.conv.stride;
        if self.conv.groups > 1 {
            let y = depthwise(x, weight, Window::centred(stride[0]));
            let Some(bias) = bias else { return y };
            let channels = bias.dims()[0];
            return y + bias.reshape([1, channels, 1, 1]);
        }
        if self.conv.kernel_size == [1, 1] && bias.is_none() {
            return pointwise(x, weight);
        }
        let pad = (self.conv.kernel_size[0] - 1) / 2;
        conv2d(x, weight, bias, ConvOptions::new(stride, [pad, pad], [1, 1], 1))
    }
}

/// A 1 × 1 convolution as the matrix product that it is: its gradients are matrix products too, where those of the
/// stock convolution are convolutions with kernels as large as the film.
pub(crate) fn pointwise(x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    let ([n, input, h, w], [output, ..]) = (x.dims(), weight.dims());
    weight.reshape([1, output, input]).matmul(x.reshape([n, input, h * w])).reshape([n, output, h, w])
}

fn clipped(x: Tensor<4>, clip: bool) -> Tensor<4> {
    if clip { relu6(x) } else { x }
}

/// Clipped to 0 to 6.
pub fn relu6<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clamp(0.0, 6.0)
}

/// One entry of torchvision's `features`.
#[derive(Module, Debug)]
pub struct Block {
    /// 1 × 1 to more channels.
    pub expand: Option<ConvNorm>,
    /// 3 × 3, each channel by itself.
    pub depthwise: Option<ConvNorm>,
    /// To the block's output channels.
    pub project: ConvNorm,
    /// Whether the input is added to the output.
    pub residual: bool,
    /// Whether the output is clipped (stem and last convolution).
    pub activated: bool,
    /// Of the depthwise convolution, or of the only one.
    pub stride: usize,
}

impl Block {
    fn plain(project: ConvNorm, stride: usize) -> Self {
        Self { expand: None, depthwise: None, project, residual: false, activated: true, stride }
    }

    fn inverted_residual(input: usize, output: usize, stride: usize, expansion: usize, device: &Device) -> Self {
        let hidden = input * expansion;
        Self {
            expand: (expansion != 1).then(|| ConvNorm::new(input, hidden, 1, 1, 1, device)),
            depthwise: Some(ConvNorm::new(hidden, hidden, 3, stride, hidden, device)),
            project: ConvNorm::new(hidden, output, 1, 1, 1, device),
            residual: stride == 1 && input == output,
            activated: false,
            stride,
        }
    }

    /// `[n, in, h, w]` → `[n, out, ⌈h/stride⌉, ⌈w/stride⌉]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut y = x.clone();
        for layer in [&self.expand, &self.depthwise].into_iter().flatten() {
            y = layer.forward(y, true);
        }
        y = self.project.forward(y, self.activated);
        if self.residual { y + x } else { y }
    }
}

/// The trunk: a film to 1280 feature maps of a 32nd of its size.
#[derive(Module, Debug)]
pub struct MobileNetV2 {
    /// In torchvision's order.
    pub features: Vec<Block>,
}

impl MobileNetV2 {
    /// Random weights.
    pub fn new(device: &Device) -> Self {
        let mut features = vec![Block::plain(ConvNorm::new(1, 32, 3, 2, 1, device), 2)];
        let mut channels = 32;
        for [expansion, output, repeats, stride] in STAGES {
            for repeat in 0..repeats {
                let stride = if repeat == 0 { stride } else { 1 };
                features.push(Block::inverted_residual(channels, output, stride, expansion, device));
                channels = output;
            }
        }
        features.push(Block::plain(ConvNorm::new(channels, FEATURES, 1, 1, 1, device), 1));
        Self { features }
    }

    /// `[n, 1, h, w]` → `[n, 1280, ⌈h/32⌉, ⌈w/32⌉]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.features.iter().fold(x, |x, block| block.forward(x))
    }

    pub(super) fn freeze_first(mut self, blocks: usize) -> Self {
        let freeze = |(n, block): (usize, Block)| if n < blocks { block.freeze() } else { block };
        self.features = self.features.into_iter().enumerate().map(freeze).collect();
        self
    }
}

/// The name that torchvision gives to the tensor that is called `path` in this module.
///
/// `None` for a path that is not of the trunk.
pub fn torchvision_name(path: &str) -> Option<String> {
    let rest = path.strip_prefix("trunk.features.")?;
    let parts: Vec<&str> = rest.split('.').collect();
    let [block, layer, part, tensor] = parts.as_slice() else { return None };
    let number: usize = block.parse().ok()?;
    let plain = number == 0 || number == BLOCKS - 1;
    let first_residual = number == 1;
    // Where the layer sits in torchvision's `Sequential`, as (convolution, normalisation).
    let (conv, norm) = match (*layer, plain, first_residual) {
        ("project", true, _) => ("0", "1"),
        ("depthwise", false, true) => ("conv.0.0", "conv.0.1"),
        ("project", false, true) => ("conv.1", "conv.2"),
        ("expand", false, false) => ("conv.0.0", "conv.0.1"),
        ("depthwise", false, false) => ("conv.1.0", "conv.1.1"),
        ("project", false, false) => ("conv.2", "conv.3"),
        _ => return None,
    };
    let (place, tensor) = match (*part, *tensor) {
        ("conv", "weight") => (conv, "weight"),
        ("norm", "gamma") => (norm, "weight"),
        ("norm", "beta") => (norm, "bias"),
        ("norm", "running_mean") => (norm, "running_mean"),
        ("norm", "running_var") => (norm, "running_var"),
        _ => return None,
    };
    Some(format!("features.{number}.{place}.{tensor}"))
}
