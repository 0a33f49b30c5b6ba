//! Batch normalisation folded into the convolutions, and weights rounded to half precision: the network that ships.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, TensorData};
use half::f16;

use super::Network;
use super::mobilenet_v2::ConvNorm;

/// A convolution followed by a batch normalisation with its running statistics, as one with bias. Computed in f64.
pub(crate) fn fold(mut conv: Conv2d, norm: &BatchNorm) -> Conv2d {
    let values = |t: Tensor<1>| -> Vec<f64> { t.into_data().iter::<f64>().collect() };
    let (gamma, beta) = (values(norm.gamma.val()), values(norm.beta.val()));
    let (mean, variance) = (values(norm.running_mean.value()), values(norm.running_var.value()));
    let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + norm.epsilon).sqrt()).collect();
    let own = conv.bias.as_ref().map_or_else(|| vec![0.0; scale.len()], |bias| values(bias.val()));
    let bias: Vec<f32> = (0..scale.len()).map(|o| (beta[o] + (own[o] - mean[o]) * scale[o]) as f32).collect();

    let device = conv.weight.device();
    let shape = conv.weight.dims();
    let per_output = shape[1] * shape[2] * shape[3];
    let weight: Vec<f32> = conv
        .weight
        .val()
        .into_data()
        .iter::<f64>()
        .enumerate()
        .map(|(i, w)| (w * scale[i / per_output]) as f32)
        .collect();
    conv.weight = Param::from_data(TensorData::new(weight, shape), &device);
    conv.bias = Some(Param::from_data(TensorData::new(bias, [shape[0]]), &device));
    conv
}

impl ConvNorm {
    /// The same function as a convolution with bias.
    fn folded(self) -> Self {
        let Some(norm) = self.norm else { return self };
        Self { conv: fold(self.conv, &norm), norm: None }
    }
}

impl Network {
    /// The same function without batch normalisation, for inference.
    pub fn folded(&self) -> Self {
        let mut network = self.valid();
        for block in &mut network.trunk.features {
            block.expand = block.expand.take().map(ConvNorm::folded);
            block.depthwise = block.depthwise.take().map(ConvNorm::folded);
            block.project = block.project.clone().folded();
        }
        network
    }

    /// Every weight of more than one dimension rounded to the nearest half-precision number; biases are kept.
    pub fn rounded_to_f16(self) -> Self {
        struct Round;
        impl ModuleMapper for Round {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                if D < 2 {
                    return param;
                }
                param.map(|tensor| {
                    let (device, shape) = (tensor.device(), tensor.dims());
                    let rounded: Vec<f32> =
                        tensor.into_data().iter::<f32>().map(|v| f16::from_f32(v).to_f32()).collect();
                    Tensor::from_data(TensorData::new(rounded, shape), &device)
                })
            }
        }
        self.map(&mut Round)
    }
}
