//! Plain memory of the CPU backend's tensors, for operators of our own.

use burn::tensor::{DType, TensorData};
use burn_flex::FlexTensor;

/// Contiguous, single precision.
///
/// # Panics
/// For another type: networks are trained in single precision.
pub(super) fn plain(tensor: &FlexTensor) -> FlexTensor {
    assert!(tensor.dtype() == DType::F32, "operators of our own take F32, not {:?}", tensor.dtype());
    tensor.to_contiguous()
}

/// A tensor of `values`.
pub(super) fn made<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
