//! The network: a convolutional trunk with ImageNet weights and a head that is trained from scratch.
//!
//! Nothing here reads films or knows of recipes.

pub mod depthwise;
mod flex;
pub(crate) mod fold;
pub mod mobilenet_v2;
pub mod norm;
pub mod weights;

use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::nn::{BatchNorm, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};

pub use mobilenet_v2::MobileNetV2;

/// Classes, in the order of `lightbox::domain::Finding::ALL`.
pub const CLASSES: usize = 3;
/// Width of the hidden layers of the head, as in Table 1 of the paper.
pub const HIDDEN: [usize; 2] = [1000, 750];
/// Blocks behind which styles are exchanged: those that still see texture.
const STYLED_BLOCKS: [usize; 2] = [1, 3];

/// Which films of a batch exchange the statistics of early features (Zhou 2021).
#[derive(Clone, Debug, PartialEq)]
pub struct Styles {
    /// For each film, the place in the batch of the one whose statistics it takes.
    pub of: Vec<usize>,
    /// For each film, how much of its own it keeps, 0 to 1.
    pub kept: Vec<f32>,
}

/// Two hidden layers with ReLU and dropout, then one logit a class.
#[derive(Module, Debug)]
pub struct Head {
    /// Pooled features to the first hidden layer; weights `[in, out]`.
    pub first: Linear,
    /// First to second hidden layer.
    pub second: Linear,
    /// Second hidden layer to logits.
    pub last: Linear,
    dropout: Dropout,
}

impl Head {
    fn new(width: usize, dropout: f64, device: &Device) -> Self {
        Self {
            first: LinearConfig::new(width, HIDDEN[0]).init(device),
            second: LinearConfig::new(HIDDEN[0], HIDDEN[1]).init(device),
            last: LinearConfig::new(HIDDEN[1], CLASSES).init(device),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    /// `[n, width]` → `[n, 3]`.
    pub fn forward(&self, pooled: Tensor<2>) -> Tensor<2> {
        let hidden = self.dropout.forward(relu(self.first.forward(pooled)));
        let hidden = self.dropout.forward(relu(self.second.forward(hidden)));
        self.last.forward(hidden)
    }
}

/// Trunk and head.
#[derive(Module, Debug)]
pub struct Network {
    /// Film to feature maps.
    pub trunk: MobileNetV2,
    /// Pooled features to logits.
    pub head: Head,
}

impl Network {
    /// Random weights; drop-out of `dropout` in the head.
    pub fn new(dropout: f64, device: &Device) -> Self {
        Self { trunk: MobileNetV2::new(device), head: Head::new(mobilenet_v2::FEATURES, dropout, device) }
    }

    /// `[n, 1, h, w]` → `[n, 1280, ⌈h/32⌉, ⌈w/32⌉]`.
    pub fn features(&self, films: Tensor<4>) -> Tensor<4> {
        self.trunk.forward(films)
    }

    /// `[n, 1, h, w]` → logits `[n, 3]`.
    pub fn forward(&self, films: Tensor<4>) -> Tensor<2> {
        self.head.forward(pool(self.features(films)))
    }

    /// As [`Network::forward`]; films of a batch exchange `styles` on their way.
    pub fn forward_styled(&self, films: Tensor<4>, styles: Option<&Styles>) -> Tensor<2> {
        let Some(styles) = styles else { return self.forward(films) };
        let features = self.trunk.features.iter().enumerate().fold(films, |x, (number, block)| {
            let x = block.forward(x);
            if STYLED_BLOCKS.contains(&number) { styled(x, styles) } else { x }
        });
        self.head.forward(pool(features))
    }

    /// Holds the first `blocks` blocks of the trunk fixed, their batch normalisation included.
    pub fn freeze_first(mut self, blocks: usize) -> Self {
        self.trunk = self.trunk.freeze_first(blocks);
        self
    }

    /// Batch normalisation keeps its imported statistics everywhere; scale and shift are still trained.
    pub fn keep_statistics(self) -> Self {
        struct Off;
        impl ModuleMapper for Off {
            fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
                flag.with_value(false)
            }
        }
        self.map(&mut Off)
    }
}

/// Each film with the means and deviations of its channels moved towards those of another film of the batch (Zhou 2021):
/// these carry contrast, sharpness and texture, by which hospitals differ. No gradient flows through them.
fn styled(x: Tensor<4>, styles: &Styles) -> Tensor<4> {
    let (device, count) = (x.device(), styles.of.len());
    let indices: Vec<i64> = styles.of.iter().map(|place| *place as i64).collect();
    let other = Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), &device);
    let kept = Tensor::<4>::from_data(TensorData::new(styles.kept.clone(), [count, 1, 1, 1]), &device);
    let plain = x.clone().detach();
    let [n, c, h, w] = plain.dims();
    let mean = plain.clone().reshape([n, c, h * w]).mean_dim(2).reshape([n, c, 1, 1]);
    let around = plain - mean.clone();
    let spread = (around.clone() * around).reshape([n, c, h * w]).mean_dim(2).reshape([n, c, 1, 1]);
    let deviation = (spread + 1e-6).sqrt();
    let mixed = |own: Tensor<4>| own.clone().select(0, other.clone()) * (-kept.clone() + 1.0) + own * kept.clone();
    let scale = mixed(deviation.clone()) / deviation;
    let shift = mixed(mean.clone()) - mean * scale.clone();
    x * scale + shift
}

/// Mean over all places: `[n, c, h, w]` → `[n, c]`.
pub fn pool(features: Tensor<4>) -> Tensor<2> {
    let [n, c, h, w] = features.dims();
    features.reshape([n, c, h * w]).mean_dim(2).reshape([n, c])
}

/// What batch normalisation by running statistics multiplies each channel by and then adds to it.
pub(crate) fn scale_and_shift(norm: &BatchNorm, device: &Device) -> (Tensor<1>, Tensor<1>) {
    let variance = norm.running_var.value().to_device(device);
    let mean = norm.running_mean.value().to_device(device);
    let scale = norm.gamma.val() / (variance + norm.epsilon).sqrt();
    let shift = norm.beta.val() - mean * scale.clone();
    (scale, shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_that_keeps_nothing_takes_the_statistics_of_the_other_and_one_that_keeps_all_stays() {
        let device = Device::flex();
        let x = Tensor::<4>::from_data([[[[0.0f32, 2.0]]], [[[10.0, 30.0]]]], &device);
        let styles = Styles { of: vec![1, 0], kept: vec![0.0, 1.0] };
        let y: Vec<f32> = styled(x, &styles).into_data().iter::<f32>().collect();
        for (found, expected) in y.iter().zip([10.0, 30.0, 10.0, 30.0]) {
            assert!((found - expected).abs() < 1e-3, "{y:?}");
        }
    }
}
