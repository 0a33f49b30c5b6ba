//! Kernels in plain Rust, for processors without vector kernels of their own.
#![expect(unsafe_code, reason = "implements the vector type of the kernels, whose functions take pointers")]

use super::vector::{self, Vector};
use super::{Kernels, RawDense, RawDepthwise, RawGemm};

/// Four floats that the compiler may or may not keep in a register.
#[derive(Clone, Copy)]
struct Quad([f32; 4]);

// SAFETY: plain Rust, so every processor has it; the pointers are the caller's promise.
unsafe impl Vector for Quad {
    const LANES: usize = 4;
    const GROUP: usize = 1;
    type Group = f32;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller lets four floats be read.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_half(from: *const u16) -> Self {
        // SAFETY: the caller lets four halves be read.
        Self(unsafe { from.cast::<[u16; 4]>().read_unaligned() }.map(super::half_to_float))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller lets four floats be written.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    unsafe fn group(from: *const f32) -> f32 {
        // SAFETY: the caller lets one float be read.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn add_scaled<const INDEX: i32>(self, weights: Self, group: f32) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + weights.0[i] * group))
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // Not `mul_add`: without the instruction that is a call into libm.
        Self(std::array::from_fn(|i| self.0[i] + a.0[i] * b.0[i]))
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        Self(std::array::from_fn(|i| {
            let value = self.0[i];
            // Comparisons with what is not a number are false.
            if value < low.0[i] {
                low.0[i]
            } else if value > high.0[i] {
                high.0[i]
            } else {
                value
            }
        }))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        (self.0[0] + self.0[1]) + (self.0[2] + self.0[3])
    }
}

unsafe fn gemm(raw: &RawGemm) {
    // SAFETY: passed on as it came.
    unsafe { vector::gemm::<Quad, 8, 4, 2>(raw) }
}

unsafe fn depthwise(raw: &RawDepthwise) {
    // SAFETY: passed on as it came.
    unsafe { vector::depthwise::<Quad, 2, 4>(raw) }
}

unsafe fn dense_forward(raw: &RawDense) {
    // SAFETY: passed on as it came.
    unsafe { vector::dense_forward::<Quad, false>(raw) }
}

unsafe fn dense_backward(raw: &RawDense) {
    // SAFETY: passed on as it came.
    unsafe { vector::dense_backward::<Quad, false>(raw) }
}

unsafe fn dense_forward_half(raw: &RawDense) {
    // SAFETY: passed on as it came.
    unsafe { vector::dense_forward::<Quad, true>(raw) }
}

unsafe fn dense_backward_half(raw: &RawDense) {
    // SAFETY: passed on as it came.
    unsafe { vector::dense_backward::<Quad, true>(raw) }
}

unsafe fn peak(rounds: usize) -> f32 {
    // SAFETY: passed on as it came.
    unsafe { vector::peak::<Quad>(rounds) }
}

/// Needs nothing of the processor.
pub(super) static SCALAR: Kernels = Kernels {
    name: "scalar",
    lanes: 4,
    widest: 2,
    filter_rows: 1,
    half_weights: false,
    gemm,
    depthwise,
    dense_forward,
    dense_backward,
    dense_forward_half,
    dense_backward_half,
    peak,
};
