//! Kernels for x86-64 with AVX2 and FMA, and with AVX-512F.
#![expect(unsafe_code, reason = "intrinsics of instruction sets that are found at run time")]

use std::arch::x86_64::*;

use super::vector::{self, Vector};
use super::{Kernels, RawDense, RawDepthwise, RawGemm};

/// Eight floats of AVX.
#[derive(Clone, Copy)]
struct Avx(__m256);

// SAFETY: the functions use AVX, FMA and F16C only, which `AVX2` is offered with; the pointers are the caller's
// promise.
unsafe impl Vector for Avx {
    const LANES: usize = 8;
    const GROUP: usize = 1;
    type Group = __m256;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller lets eight floats be read.
        Self(unsafe { _mm256_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn load_half(from: *const u16) -> Self {
        // SAFETY: the caller lets eight halves be read.
        Self(unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller lets eight floats be written.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller vouches for AVX.
        Self(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn group(from: *const f32) -> __m256 {
        // SAFETY: the caller lets one float be read.
        unsafe { _mm256_set1_ps(*from) }
    }
    #[inline(always)]
    unsafe fn add_scaled<const INDEX: i32>(self, weights: Self, group: __m256) -> Self {
        // SAFETY: the caller vouches for FMA.
        Self(unsafe { _mm256_fmadd_ps(weights.0, group, self.0) })
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller vouches for FMA.
        Self(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: the caller vouches for AVX.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        // SAFETY: the caller vouches for AVX. The instruction gives its second operand where one is not a number.
        Self(unsafe { _mm256_min_ps(high.0, _mm256_max_ps(low.0, self.0)) })
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut lanes = [0.0f32; 8];
        // SAFETY: eight floats have room for eight.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), self.0) };
        let [a, b, c, d, e, f, g, h] = lanes;
        ((a + b) + (c + d)) + ((e + f) + (g + h))
    }
}

/// Sixteen floats of AVX-512.
#[derive(Clone, Copy)]
struct Avx512(__m512);

// SAFETY: the functions use AVX-512F only, which `AVX512` is offered with; the pointers are the caller's promise.
unsafe impl Vector for Avx512 {
    const LANES: usize = 16;
    const GROUP: usize = 1;
    type Group = __m512;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller lets sixteen floats be read.
        Self(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn load_half(from: *const u16) -> Self {
        // SAFETY: the caller lets sixteen halves be read.
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller lets sixteen floats be written.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller vouches for AVX-512.
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn group(from: *const f32) -> __m512 {
        // SAFETY: the caller lets one float be read.
        unsafe { _mm512_set1_ps(*from) }
    }
    #[inline(always)]
    unsafe fn add_scaled<const INDEX: i32>(self, weights: Self, group: __m512) -> Self {
        // SAFETY: the caller vouches for AVX-512.
        Self(unsafe { _mm512_fmadd_ps(weights.0, group, self.0) })
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller vouches for AVX-512.
        Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: the caller vouches for AVX-512.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        // SAFETY: the caller vouches for AVX-512. The instruction gives its second operand where one is not a number.
        Self(unsafe { _mm512_min_ps(high.0, _mm512_max_ps(low.0, self.0)) })
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the caller vouches for AVX-512.
        unsafe { _mm512_reduce_add_ps(self.0) }
    }
}

macro_rules! kernels {
    ($table:ident, $name:literal, $vector:ty, $rows:literal, $widest:literal, $together:literal, $module:ident, $features:literal) => {
        mod $module {
            use super::*;

            #[target_feature(enable = $features)]
            pub(super) unsafe fn gemm(raw: &RawGemm) {
                // SAFETY: passed on as it came.
                unsafe { vector::gemm::<$vector, $rows, $widest>(raw) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn depthwise(raw: &RawDepthwise) {
                // SAFETY: passed on as it came.
                unsafe { vector::depthwise::<$vector, $widest>(raw) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn dense_forward(raw: &RawDense) {
                // SAFETY: passed on as it came.
                unsafe { vector::dense_forward::<$vector, false>(raw) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn dense_backward(raw: &RawDense) {
                // SAFETY: passed on as it came.
                unsafe { vector::dense_backward::<$vector, false>(raw) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn dense_forward_half(raw: &RawDense) {
                // SAFETY: passed on as it came.
                unsafe { vector::dense_forward::<$vector, true>(raw) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn dense_backward_half(raw: &RawDense) {
                // SAFETY: passed on as it came.
                unsafe { vector::dense_backward::<$vector, true>(raw) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn peak(rounds: usize) -> f32 {
                // SAFETY: passed on as it came.
                unsafe { vector::peak::<$vector>(rounds) }
            }
        }

        static $table: Kernels = Kernels {
            name: $name,
            lanes: <$vector as Vector>::LANES,
            widest: $widest,
            filter_rows: $together,
            half_weights: true,
            gemm: $module::gemm,
            depthwise: $module::depthwise,
            dense_forward: $module::dense_forward,
            dense_backward: $module::dense_backward,
            dense_forward_half: $module::dense_forward_half,
            dense_backward_half: $module::dense_backward_half,
            peak: $module::peak,
        };
    };
}

kernels!(AVX2, "avx2", Avx, 6, 2, 1, avx2, "avx2,fma,f16c");
kernels!(AVX512, "avx512", Avx512, 8, 3, 2, avx512, "avx512f,avx2,fma,f16c");

/// What this processor has, best first.
pub(super) fn found() -> Vec<&'static Kernels> {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    let avx512 = avx2 && is_x86_feature_detected!("avx512f");
    [(avx512, &AVX512), (avx2, &AVX2)].into_iter().filter(|(has, _)| *has).map(|(_, kernels)| kernels).collect()
}
