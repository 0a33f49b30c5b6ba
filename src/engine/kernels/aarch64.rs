//! Kernels for aarch64, all of which has NEON.
#![expect(unsafe_code, reason = "NEON intrinsics")]

use std::arch::aarch64::*;

use super::vector::{self, Vector};
use super::{Kernels, RawDense, RawDepthwise, RawGemm};

/// Four floats of NEON.
#[derive(Clone, Copy)]
struct Neon(float32x4_t);

// SAFETY: the functions use the NEON that every aarch64 processor has; the pointers are the caller's promise.
unsafe impl Vector for Neon {
    const LANES: usize = 4;
    const GROUP: usize = 4;
    type Group = float32x4_t;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller lets four floats be read.
        Self(unsafe { vld1q_f32(from) })
    }
    #[inline(always)]
    unsafe fn load_half(from: *const u16) -> Self {
        // SAFETY: the caller lets four halves be read; the instruction is part of NEON.
        unsafe {
            let wide: float32x4_t;
            std::arch::asm!(
                "fcvtl {wide:v}.4s, {narrow:v}.4h",
                wide = out(vreg) wide,
                narrow = in(vreg) vld1_u16(from),
                options(pure, nomem, nostack, preserves_flags),
            );
            Self(wide)
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller lets four floats be written.
        unsafe { vst1q_f32(to, self.0) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: NEON is there.
        Self(unsafe { vdupq_n_f32(value) })
    }
    #[inline(always)]
    fn apart(mut address: *const f32) -> *const f32 {
        // SAFETY: no instruction at all.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) address, options(pure, nomem, nostack, preserves_flags));
        }
        address
    }
    #[inline(always)]
    unsafe fn group(from: *const f32) -> float32x4_t {
        // SAFETY: the caller lets four floats be read.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn add_scaled<const INDEX: i32>(self, weights: Self, group: float32x4_t) -> Self {
        // SAFETY: NEON is there.
        Self(unsafe { vfmaq_laneq_f32::<INDEX>(self.0, weights.0, group) })
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: NEON is there.
        Self(unsafe { vfmaq_f32(self.0, a.0, b.0) })
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: NEON is there.
        Self(unsafe { vaddq_f32(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        // SAFETY: NEON is there. Both instructions give what is not a number where an operand is.
        Self(unsafe { vminq_f32(vmaxq_f32(self.0, low.0), high.0) })
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: NEON is there.
        unsafe { vaddvq_f32(self.0) }
    }
}

unsafe fn gemm(raw: &RawGemm) {
    // SAFETY: passed on as it came.
    unsafe { vector::gemm::<Neon, 24, 6, 4>(raw) }
}

unsafe fn depthwise(raw: &RawDepthwise) {
    // SAFETY: passed on as it came.
    unsafe { vector::depthwise::<Neon, 4>(raw) }
}

unsafe fn dense_forward(raw: &RawDense) {
    // SAFETY: passed on as it came.
    unsafe { vector::dense_forward::<Neon, false>(raw) }
}

unsafe fn dense_backward(raw: &RawDense) {
    // SAFETY: passed on as it came.
    unsafe { vector::dense_backward::<Neon, false>(raw) }
}

unsafe fn dense_forward_half(raw: &RawDense) {
    // SAFETY: passed on as it came.
    unsafe { vector::dense_forward::<Neon, true>(raw) }
}

unsafe fn dense_backward_half(raw: &RawDense) {
    // SAFETY: passed on as it came.
    unsafe { vector::dense_backward::<Neon, true>(raw) }
}

unsafe fn peak(rounds: usize) -> f32 {
    // SAFETY: passed on as it came.
    unsafe { vector::peak::<Neon>(rounds) }
}

/// Six pixels by four vectors: 24 sums, 6 groups of activations and 2 registers of weights make up all 32.
pub(super) static NEON: Kernels = Kernels {
    name: "neon",
    lanes: 4,
    widest: 4,
    filter_rows: 2,
    half_weights: true,
    gemm,
    depthwise,
    dense_forward,
    dense_backward,
    dense_forward_half,
    dense_backward_half,
    peak,
};
