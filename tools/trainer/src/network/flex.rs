//! Plain memory of the CPU backend's tensors and the processor's vectors, for operators of our own.

use burn::tensor::{DType, TensorData};
use burn_flex::FlexTensor;
#[cfg(target_arch = "x86_64")]
use pulp::x86::V3;
use pulp::{Arch, WithSimd};

/// The widest vectors of this processor. `pulp`'s own choice knows AVX-512 here and nothing between that and none, as
/// AVX2 is a feature of it that would be turned on for every crate that uses it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vectors {
    widest: Arch,
    #[cfg(target_arch = "x86_64")]
    avx2: Option<V3>,
}

impl Vectors {
    pub(super) fn new() -> Self {
        Self {
            widest: Arch::new(),
            #[cfg(target_arch = "x86_64")]
            avx2: V3::try_new(),
        }
    }

    /// Runs `work` with them. Only what is inlined into its `with_simd` is compiled for them: closures and functions
    /// that are not marked so may stay behind.
    pub(super) fn run<W: WithSimd>(self, work: W) -> W::Output {
        #[cfg(target_arch = "x86_64")]
        if let (Arch::Scalar, Some(avx2)) = (self.widest, self.avx2) {
            return pulp::Simd::vectorize(avx2, work);
        }
        self.widest.dispatch(work)
    }
}

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
