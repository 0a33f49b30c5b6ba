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
    unsafe fn accumulate<const MR: usize, const NV: usize>(
        sums: &mut [[Self; NV]; MR],
        input: *const f32,
        stride: usize,
        weights: *const f32,
        channels: usize,
    ) -> bool {
        let sums = sums.as_mut_ptr().cast();
        // SAFETY: the caller lets `channels` of `MR` pixels and their weights be read; there are `MR` times `NV` sums.
        unsafe {
            match (MR, NV) {
                (4, 3) => four_by_three(sums, input, stride, weights, channels),
                (6, 2) => six_by_two(sums, input, stride, weights, channels),
                _ => return false,
            }
        }
        true
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

/// The innermost loop of a tile of four by three sums. Left to itself the compiler keeps some of them in memory.
#[inline]
#[target_feature(enable = "avx,fma")]
unsafe fn four_by_three(sums: *mut __m256, input: *const f32, stride: usize, weights: *const f32, channels: usize) {
    // SAFETY: the caller lets the channels of four pixels, `stride` floats apart, and their weights be read; there are
    // twelve sums.
    unsafe {
        std::arch::asm!(
            "sub {channels}, 4",
            "jb 3f",
            "2:",
            "vmovups {w0}, [{weights} + 0]",
            "vmovups {w1}, [{weights} + 32]",
            "vmovups {w2}, [{weights} + 64]",
            "vbroadcastss {value}, [{input} + 0]",
            "vfmadd231ps {a00}, {value}, {w0}",
            "vfmadd231ps {a01}, {value}, {w1}",
            "vfmadd231ps {a02}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride} + 0]",
            "vfmadd231ps {a10}, {value}, {w0}",
            "vfmadd231ps {a11}, {value}, {w1}",
            "vfmadd231ps {a12}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride} * 2 + 0]",
            "vfmadd231ps {a20}, {value}, {w0}",
            "vfmadd231ps {a21}, {value}, {w1}",
            "vfmadd231ps {a22}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride3} + 0]",
            "vfmadd231ps {a30}, {value}, {w0}",
            "vfmadd231ps {a31}, {value}, {w1}",
            "vfmadd231ps {a32}, {value}, {w2}",
            "vmovups {w0}, [{weights} + 96]",
            "vmovups {w1}, [{weights} + 128]",
            "vmovups {w2}, [{weights} + 160]",
            "vbroadcastss {value}, [{input} + 4]",
            "vfmadd231ps {a00}, {value}, {w0}",
            "vfmadd231ps {a01}, {value}, {w1}",
            "vfmadd231ps {a02}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride} + 4]",
            "vfmadd231ps {a10}, {value}, {w0}",
            "vfmadd231ps {a11}, {value}, {w1}",
            "vfmadd231ps {a12}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride} * 2 + 4]",
            "vfmadd231ps {a20}, {value}, {w0}",
            "vfmadd231ps {a21}, {value}, {w1}",
            "vfmadd231ps {a22}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride3} + 4]",
            "vfmadd231ps {a30}, {value}, {w0}",
            "vfmadd231ps {a31}, {value}, {w1}",
            "vfmadd231ps {a32}, {value}, {w2}",
            "vmovups {w0}, [{weights} + 192]",
            "vmovups {w1}, [{weights} + 224]",
            "vmovups {w2}, [{weights} + 256]",
            "vbroadcastss {value}, [{input} + 8]",
            "vfmadd231ps {a00}, {value}, {w0}",
            "vfmadd231ps {a01}, {value}, {w1}",
            "vfmadd231ps {a02}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride} + 8]",
            "vfmadd231ps {a10}, {value}, {w0}",
            "vfmadd231ps {a11}, {value}, {w1}",
            "vfmadd231ps {a12}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride} * 2 + 8]",
            "vfmadd231ps {a20}, {value}, {w0}",
            "vfmadd231ps {a21}, {value}, {w1}",
            "vfmadd231ps {a22}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride3} + 8]",
            "vfmadd231ps {a30}, {value}, {w0}",
            "vfmadd231ps {a31}, {value}, {w1}",
            "vfmadd231ps {a32}, {value}, {w2}",
            "vmovups {w0}, [{weights} + 288]",
            "vmovups {w1}, [{weights} + 320]",
            "vmovups {w2}, [{weights} + 352]",
            "vbroadcastss {value}, [{input} + 12]",
            "vfmadd231ps {a00}, {value}, {w0}",
            "vfmadd231ps {a01}, {value}, {w1}",
            "vfmadd231ps {a02}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride} + 12]",
            "vfmadd231ps {a10}, {value}, {w0}",
            "vfmadd231ps {a11}, {value}, {w1}",
            "vfmadd231ps {a12}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride} * 2 + 12]",
            "vfmadd231ps {a20}, {value}, {w0}",
            "vfmadd231ps {a21}, {value}, {w1}",
            "vfmadd231ps {a22}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride3} + 12]",
            "vfmadd231ps {a30}, {value}, {w0}",
            "vfmadd231ps {a31}, {value}, {w1}",
            "vfmadd231ps {a32}, {value}, {w2}",
            "add {weights}, 384",
            "add {input}, 16",
            "sub {channels}, 4",
            "jae 2b",
            "3:",
            "add {channels}, 4",
            "jz 5f",
            "4:",
            "vmovups {w0}, [{weights} + 0]",
            "vmovups {w1}, [{weights} + 32]",
            "vmovups {w2}, [{weights} + 64]",
            "vbroadcastss {value}, [{input} + 0]",
            "vfmadd231ps {a00}, {value}, {w0}",
            "vfmadd231ps {a01}, {value}, {w1}",
            "vfmadd231ps {a02}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride} + 0]",
            "vfmadd231ps {a10}, {value}, {w0}",
            "vfmadd231ps {a11}, {value}, {w1}",
            "vfmadd231ps {a12}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride} * 2 + 0]",
            "vfmadd231ps {a20}, {value}, {w0}",
            "vfmadd231ps {a21}, {value}, {w1}",
            "vfmadd231ps {a22}, {value}, {w2}",
            "vbroadcastss {value}, [{input} + {stride3} + 0]",
            "vfmadd231ps {a30}, {value}, {w0}",
            "vfmadd231ps {a31}, {value}, {w1}",
            "vfmadd231ps {a32}, {value}, {w2}",
            "add {weights}, 96",
            "add {input}, 4",
            "dec {channels}",
            "jnz 4b",
            "5:",
            a00 = inout(ymm_reg) *sums.add(0),
            a01 = inout(ymm_reg) *sums.add(1),
            a02 = inout(ymm_reg) *sums.add(2),
            a10 = inout(ymm_reg) *sums.add(3),
            a11 = inout(ymm_reg) *sums.add(4),
            a12 = inout(ymm_reg) *sums.add(5),
            a20 = inout(ymm_reg) *sums.add(6),
            a21 = inout(ymm_reg) *sums.add(7),
            a22 = inout(ymm_reg) *sums.add(8),
            a30 = inout(ymm_reg) *sums.add(9),
            a31 = inout(ymm_reg) *sums.add(10),
            a32 = inout(ymm_reg) *sums.add(11),
            w0 = out(ymm_reg) _,
            w1 = out(ymm_reg) _,
            w2 = out(ymm_reg) _,
            value = out(ymm_reg) _,
            weights = inout(reg) weights => _,
            input = inout(reg) input => _,
            channels = inout(reg) channels => _,
            stride = in(reg) 4 * stride,
            stride3 = in(reg) 12 * stride,
            options(nostack, readonly),
        );
    }
}

/// The innermost loop of a tile of six by two sums. Left to itself the compiler keeps some of them in memory.
#[inline]
#[target_feature(enable = "avx,fma")]
unsafe fn six_by_two(sums: *mut __m256, input: *const f32, stride: usize, weights: *const f32, channels: usize) {
    // SAFETY: the caller lets the channels of six pixels, `stride` floats apart, and their weights be read; there are
    // twelve sums.
    unsafe {
        std::arch::asm!(
            "sub {channels}, 4",
            "jb 3f",
            "2:",
            "vmovups {w0}, [{weights} + 0]",
            "vmovups {w1}, [{weights} + 32]",
            "vbroadcastss {value}, [{input} + 0]",
            "vfmadd231ps {a00}, {value}, {w0}",
            "vfmadd231ps {a01}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} + 0]",
            "vfmadd231ps {a10}, {value}, {w0}",
            "vfmadd231ps {a11}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} * 2 + 0]",
            "vfmadd231ps {a20}, {value}, {w0}",
            "vfmadd231ps {a21}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride3} + 0]",
            "vfmadd231ps {a30}, {value}, {w0}",
            "vfmadd231ps {a31}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} * 4 + 0]",
            "vfmadd231ps {a40}, {value}, {w0}",
            "vfmadd231ps {a41}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride5} + 0]",
            "vfmadd231ps {a50}, {value}, {w0}",
            "vfmadd231ps {a51}, {value}, {w1}",
            "vmovups {w0}, [{weights} + 64]",
            "vmovups {w1}, [{weights} + 96]",
            "vbroadcastss {value}, [{input} + 4]",
            "vfmadd231ps {a00}, {value}, {w0}",
            "vfmadd231ps {a01}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} + 4]",
            "vfmadd231ps {a10}, {value}, {w0}",
            "vfmadd231ps {a11}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} * 2 + 4]",
            "vfmadd231ps {a20}, {value}, {w0}",
            "vfmadd231ps {a21}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride3} + 4]",
            "vfmadd231ps {a30}, {value}, {w0}",
            "vfmadd231ps {a31}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} * 4 + 4]",
            "vfmadd231ps {a40}, {value}, {w0}",
            "vfmadd231ps {a41}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride5} + 4]",
            "vfmadd231ps {a50}, {value}, {w0}",
            "vfmadd231ps {a51}, {value}, {w1}",
            "vmovups {w0}, [{weights} + 128]",
            "vmovups {w1}, [{weights} + 160]",
            "vbroadcastss {value}, [{input} + 8]",
            "vfmadd231ps {a00}, {value}, {w0}",
            "vfmadd231ps {a01}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} + 8]",
            "vfmadd231ps {a10}, {value}, {w0}",
            "vfmadd231ps {a11}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} * 2 + 8]",
            "vfmadd231ps {a20}, {value}, {w0}",
            "vfmadd231ps {a21}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride3} + 8]",
            "vfmadd231ps {a30}, {value}, {w0}",
            "vfmadd231ps {a31}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} * 4 + 8]",
            "vfmadd231ps {a40}, {value}, {w0}",
            "vfmadd231ps {a41}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride5} + 8]",
            "vfmadd231ps {a50}, {value}, {w0}",
            "vfmadd231ps {a51}, {value}, {w1}",
            "vmovups {w0}, [{weights} + 192]",
            "vmovups {w1}, [{weights} + 224]",
            "vbroadcastss {value}, [{input} + 12]",
            "vfmadd231ps {a00}, {value}, {w0}",
            "vfmadd231ps {a01}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} + 12]",
            "vfmadd231ps {a10}, {value}, {w0}",
            "vfmadd231ps {a11}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} * 2 + 12]",
            "vfmadd231ps {a20}, {value}, {w0}",
            "vfmadd231ps {a21}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride3} + 12]",
            "vfmadd231ps {a30}, {value}, {w0}",
            "vfmadd231ps {a31}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} * 4 + 12]",
            "vfmadd231ps {a40}, {value}, {w0}",
            "vfmadd231ps {a41}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride5} + 12]",
            "vfmadd231ps {a50}, {value}, {w0}",
            "vfmadd231ps {a51}, {value}, {w1}",
            "add {weights}, 256",
            "add {input}, 16",
            "sub {channels}, 4",
            "jae 2b",
            "3:",
            "add {channels}, 4",
            "jz 5f",
            "4:",
            "vmovups {w0}, [{weights} + 0]",
            "vmovups {w1}, [{weights} + 32]",
            "vbroadcastss {value}, [{input} + 0]",
            "vfmadd231ps {a00}, {value}, {w0}",
            "vfmadd231ps {a01}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} + 0]",
            "vfmadd231ps {a10}, {value}, {w0}",
            "vfmadd231ps {a11}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} * 2 + 0]",
            "vfmadd231ps {a20}, {value}, {w0}",
            "vfmadd231ps {a21}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride3} + 0]",
            "vfmadd231ps {a30}, {value}, {w0}",
            "vfmadd231ps {a31}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride} * 4 + 0]",
            "vfmadd231ps {a40}, {value}, {w0}",
            "vfmadd231ps {a41}, {value}, {w1}",
            "vbroadcastss {value}, [{input} + {stride5} + 0]",
            "vfmadd231ps {a50}, {value}, {w0}",
            "vfmadd231ps {a51}, {value}, {w1}",
            "add {weights}, 64",
            "add {input}, 4",
            "dec {channels}",
            "jnz 4b",
            "5:",
            a00 = inout(ymm_reg) *sums.add(0),
            a01 = inout(ymm_reg) *sums.add(1),
            a10 = inout(ymm_reg) *sums.add(2),
            a11 = inout(ymm_reg) *sums.add(3),
            a20 = inout(ymm_reg) *sums.add(4),
            a21 = inout(ymm_reg) *sums.add(5),
            a30 = inout(ymm_reg) *sums.add(6),
            a31 = inout(ymm_reg) *sums.add(7),
            a40 = inout(ymm_reg) *sums.add(8),
            a41 = inout(ymm_reg) *sums.add(9),
            a50 = inout(ymm_reg) *sums.add(10),
            a51 = inout(ymm_reg) *sums.add(11),
            w0 = out(ymm_reg) _,
            w1 = out(ymm_reg) _,
            value = out(ymm_reg) _,
            weights = inout(reg) weights => _,
            input = inout(reg) input => _,
            channels = inout(reg) channels => _,
            stride = in(reg) 4 * stride,
            stride3 = in(reg) 12 * stride,
            stride5 = in(reg) 20 * stride,
            options(nostack, readonly),
        );
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
    ($table:ident, $name:literal, $vector:ty, $sums:literal, $rows:literal, $widest:literal, $together:literal, $module:ident, $features:literal) => {
        mod $module {
            use super::*;

            #[target_feature(enable = $features)]
            pub(super) unsafe fn gemm(raw: &RawGemm) {
                // SAFETY: passed on as it came.
                unsafe { vector::gemm::<$vector, $sums, $rows, $widest>(raw) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn depthwise(raw: &RawDepthwise) {
                // SAFETY: passed on as it came.
                unsafe { vector::depthwise::<$vector, $widest, 4>(raw) }
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

kernels!(AVX2, "avx2", Avx, 12, 8, 3, 1, avx2, "avx2,fma,f16c");
kernels!(AVX512, "avx512", Avx512, 24, 8, 3, 2, avx512, "avx512f,avx2,fma,f16c");

/// What this processor has, best first.
pub(super) fn found() -> Vec<&'static Kernels> {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    let avx512 = avx2 && is_x86_feature_detected!("avx512f");
    [(avx512, &AVX512), (avx2, &AVX2)].into_iter().filter(|(has, _)| *has).map(|(_, kernels)| kernels).collect()
}
