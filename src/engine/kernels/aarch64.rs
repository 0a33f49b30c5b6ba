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
                (4, 6) => four_by_six(sums, input, stride, weights, channels),
                (3, 6) => three_by_six(sums, input, stride, weights, channels),
                (5, 4) => five_by_four(sums, input, stride, weights, channels),
                (4, 4) => four_by_four(sums, input, stride, weights, channels),
                _ => return false,
            }
        }
        true
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

// The innermost loops of the usual tiles. Weights come four registers at a time, which the compiler does not do, and
// channels by eight, by four and at last by one. `rows_*` are the pixels: their activations in `x`, their sums in `a`.
macro_rules! rows_three {
    (load) => {
        concat!("ldr {x0:q}, [{p0}], #16\n", "ldr {x1:q}, [{p1}], #16\n", "ldr {x2:q}, [{p2}], #16\n")
    };
    (load one) => {
        concat!(
            "ld1r {{{x0:v}.4s}}, [{p0}], #4\n",
            "ld1r {{{x1:v}.4s}}, [{p1}], #4\n",
            "ld1r {{{x2:v}.4s}}, [{p2}], #4\n"
        )
    };
    (add $column:literal $weights:literal $lane:literal) => {
        concat!(
            "fmla {a0",
            $column,
            ":v}.4s, ",
            $weights,
            ".4s, {x0:v}.s[",
            $lane,
            "]\n",
            "fmla {a1",
            $column,
            ":v}.4s, ",
            $weights,
            ".4s, {x1:v}.s[",
            $lane,
            "]\n",
            "fmla {a2",
            $column,
            ":v}.4s, ",
            $weights,
            ".4s, {x2:v}.s[",
            $lane,
            "]\n",
        )
    };
}
macro_rules! rows_four {
    (load) => {
        concat!(
            "ldr {x0:q}, [{p0}], #16\n",
            "ldr {x1:q}, [{p1}], #16\n",
            "ldr {x2:q}, [{p2}], #16\n",
            "ldr {x3:q}, [{p3}], #16\n"
        )
    };
    (load one) => {
        concat!(
            "ld1r {{{x0:v}.4s}}, [{p0}], #4\n",
            "ld1r {{{x1:v}.4s}}, [{p1}], #4\n",
            "ld1r {{{x2:v}.4s}}, [{p2}], #4\n",
            "ld1r {{{x3:v}.4s}}, [{p3}], #4\n"
        )
    };
    (add $column:literal $weights:literal $lane:literal) => {
        concat!(
            "fmla {a0",
            $column,
            ":v}.4s, ",
            $weights,
            ".4s, {x0:v}.s[",
            $lane,
            "]\n",
            "fmla {a1",
            $column,
            ":v}.4s, ",
            $weights,
            ".4s, {x1:v}.s[",
            $lane,
            "]\n",
            "fmla {a2",
            $column,
            ":v}.4s, ",
            $weights,
            ".4s, {x2:v}.s[",
            $lane,
            "]\n",
            "fmla {a3",
            $column,
            ":v}.4s, ",
            $weights,
            ".4s, {x3:v}.s[",
            $lane,
            "]\n",
        )
    };
}
macro_rules! rows_five {
    (load) => {
        concat!(
            "ldr {x0:q}, [{p0}], #16\n",
            "ldr {x1:q}, [{p1}], #16\n",
            "ldr {x2:q}, [{p2}], #16\n",
            "ldr {x3:q}, [{p3}], #16\n",
            "ldr {x4:q}, [{p4}], #16\n"
        )
    };
    (load one) => {
        concat!(
            "ld1r {{{x0:v}.4s}}, [{p0}], #4\n",
            "ld1r {{{x1:v}.4s}}, [{p1}], #4\n",
            "ld1r {{{x2:v}.4s}}, [{p2}], #4\n",
            "ld1r {{{x3:v}.4s}}, [{p3}], #4\n",
            "ld1r {{{x4:v}.4s}}, [{p4}], #4\n"
        )
    };
    (add $column:literal $weights:literal $lane:literal) => {
        concat!(
            "fmla {a0",
            $column,
            ":v}.4s, ",
            $weights,
            ".4s, {x0:v}.s[",
            $lane,
            "]\n",
            "fmla {a1",
            $column,
            ":v}.4s, ",
            $weights,
            ".4s, {x1:v}.s[",
            $lane,
            "]\n",
            "fmla {a2",
            $column,
            ":v}.4s, ",
            $weights,
            ".4s, {x2:v}.s[",
            $lane,
            "]\n",
            "fmla {a3",
            $column,
            ":v}.4s, ",
            $weights,
            ".4s, {x3:v}.s[",
            $lane,
            "]\n",
            "fmla {a4",
            $column,
            ":v}.4s, ",
            $weights,
            ".4s, {x4:v}.s[",
            $lane,
            "]\n",
        )
    };
}

/// The next four registers of weights.
macro_rules! weights {
    () => {
        "ld1 {{v4.4s, v5.4s, v6.4s, v7.4s}}, [{weights}], #64\n"
    };
}

/// Four channels of a panel of six vectors, or of four; with `one`, a single channel.
macro_rules! six {
    ($rows:ident) => {
        concat!(
            $rows!(load),
            weights!(), $rows!(add 0 "v4" 0), $rows!(add 1 "v5" 0), $rows!(add 2 "v6" 0), $rows!(add 3 "v7" 0),
            weights!(), $rows!(add 4 "v4" 0), $rows!(add 5 "v5" 0), $rows!(add 0 "v6" 1), $rows!(add 1 "v7" 1),
            weights!(), $rows!(add 2 "v4" 1), $rows!(add 3 "v5" 1), $rows!(add 4 "v6" 1), $rows!(add 5 "v7" 1),
            weights!(), $rows!(add 0 "v4" 2), $rows!(add 1 "v5" 2), $rows!(add 2 "v6" 2), $rows!(add 3 "v7" 2),
            weights!(), $rows!(add 4 "v4" 2), $rows!(add 5 "v5" 2), $rows!(add 0 "v6" 3), $rows!(add 1 "v7" 3),
            weights!(), $rows!(add 2 "v4" 3), $rows!(add 3 "v5" 3), $rows!(add 4 "v6" 3), $rows!(add 5 "v7" 3),
        )
    };
    (one $rows:ident) => {
        concat!(
            $rows!(load one),
            weights!(), $rows!(add 0 "v4" 0), $rows!(add 1 "v5" 0), $rows!(add 2 "v6" 0), $rows!(add 3 "v7" 0),
            "ld1 {{v4.4s, v5.4s}}, [{weights}], #32\n", $rows!(add 4 "v4" 0), $rows!(add 5 "v5" 0),
        )
    };
}
macro_rules! four {
    ($rows:ident) => {
        concat!(
            $rows!(load),
            weights!(), $rows!(add 0 "v4" 0), $rows!(add 1 "v5" 0), $rows!(add 2 "v6" 0), $rows!(add 3 "v7" 0),
            weights!(), $rows!(add 0 "v4" 1), $rows!(add 1 "v5" 1), $rows!(add 2 "v6" 1), $rows!(add 3 "v7" 1),
            weights!(), $rows!(add 0 "v4" 2), $rows!(add 1 "v5" 2), $rows!(add 2 "v6" 2), $rows!(add 3 "v7" 2),
            weights!(), $rows!(add 0 "v4" 3), $rows!(add 1 "v5" 3), $rows!(add 2 "v6" 3), $rows!(add 3 "v7" 3),
        )
    };
    (one $rows:ident) => {
        concat!(
            $rows!(load one),
            weights!(), $rows!(add 0 "v4" 0), $rows!(add 1 "v5" 0), $rows!(add 2 "v6" 0), $rows!(add 3 "v7" 0),
        )
    };
}

macro_rules! tile {
    ($rows:ident, $columns:ident) => {
        concat!(
            "subs {channels}, {channels}, #8\n",
            "b.lo 3f\n",
            "2:\n",
            $columns!($rows),
            $columns!($rows),
            "subs {channels}, {channels}, #8\n",
            "b.hs 2b\n",
            "3:\n",
            "tbz {channels}, #2, 4f\n",
            $columns!($rows),
            "4:\n",
            "ands {channels}, {channels}, #3\n",
            "b.eq 6f\n",
            "5:\n",
            $columns!(one $rows),
            "subs {channels}, {channels}, #1\n",
            "b.ne 5b\n",
            "6:\n",
        )
    };
}

#[inline(always)]
unsafe fn four_by_six(sums: *mut float32x4_t, input: *const f32, stride: usize, weights: *const f32, channels: usize) {
    // SAFETY: the caller lets the channels of four pixels, `stride` floats apart, and their weights be read; there are
    // 24 sums.
    unsafe {
        std::arch::asm!(
            tile!(rows_four, six),
            a00 = inout(vreg) *sums.add(0), a01 = inout(vreg) *sums.add(1), a02 = inout(vreg) *sums.add(2), a03 = inout(vreg) *sums.add(3), a04 = inout(vreg) *sums.add(4), a05 = inout(vreg) *sums.add(5),
            a10 = inout(vreg) *sums.add(6), a11 = inout(vreg) *sums.add(7), a12 = inout(vreg) *sums.add(8), a13 = inout(vreg) *sums.add(9), a14 = inout(vreg) *sums.add(10), a15 = inout(vreg) *sums.add(11),
            a20 = inout(vreg) *sums.add(12), a21 = inout(vreg) *sums.add(13), a22 = inout(vreg) *sums.add(14), a23 = inout(vreg) *sums.add(15), a24 = inout(vreg) *sums.add(16), a25 = inout(vreg) *sums.add(17),
            a30 = inout(vreg) *sums.add(18), a31 = inout(vreg) *sums.add(19), a32 = inout(vreg) *sums.add(20), a33 = inout(vreg) *sums.add(21), a34 = inout(vreg) *sums.add(22), a35 = inout(vreg) *sums.add(23),
            x0 = out(vreg) _, x1 = out(vreg) _, x2 = out(vreg) _, x3 = out(vreg) _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            p0 = inout(reg) input => _,
            p1 = inout(reg) input.add(stride) => _,
            p2 = inout(reg) input.add(2 * stride) => _,
            p3 = inout(reg) input.add(3 * stride) => _,
            weights = inout(reg) weights => _,
            channels = inout(reg) channels => _,
            options(nostack, readonly),
        );
    }
}

#[inline(always)]
unsafe fn three_by_six(sums: *mut float32x4_t, input: *const f32, stride: usize, weights: *const f32, channels: usize) {
    // SAFETY: the caller lets the channels of three pixels, `stride` floats apart, and their weights be read; there are
    // 18 sums.
    unsafe {
        std::arch::asm!(
            tile!(rows_three, six),
            a00 = inout(vreg) *sums.add(0), a01 = inout(vreg) *sums.add(1), a02 = inout(vreg) *sums.add(2), a03 = inout(vreg) *sums.add(3), a04 = inout(vreg) *sums.add(4), a05 = inout(vreg) *sums.add(5),
            a10 = inout(vreg) *sums.add(6), a11 = inout(vreg) *sums.add(7), a12 = inout(vreg) *sums.add(8), a13 = inout(vreg) *sums.add(9), a14 = inout(vreg) *sums.add(10), a15 = inout(vreg) *sums.add(11),
            a20 = inout(vreg) *sums.add(12), a21 = inout(vreg) *sums.add(13), a22 = inout(vreg) *sums.add(14), a23 = inout(vreg) *sums.add(15), a24 = inout(vreg) *sums.add(16), a25 = inout(vreg) *sums.add(17),
            x0 = out(vreg) _, x1 = out(vreg) _, x2 = out(vreg) _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            p0 = inout(reg) input => _,
            p1 = inout(reg) input.add(stride) => _,
            p2 = inout(reg) input.add(2 * stride) => _,
            weights = inout(reg) weights => _,
            channels = inout(reg) channels => _,
            options(nostack, readonly),
        );
    }
}

#[inline(always)]
unsafe fn five_by_four(sums: *mut float32x4_t, input: *const f32, stride: usize, weights: *const f32, channels: usize) {
    // SAFETY: the caller lets the channels of five pixels, `stride` floats apart, and their weights be read; there are
    // 20 sums.
    unsafe {
        std::arch::asm!(
            tile!(rows_five, four),
            a00 = inout(vreg) *sums.add(0), a01 = inout(vreg) *sums.add(1), a02 = inout(vreg) *sums.add(2), a03 = inout(vreg) *sums.add(3),
            a10 = inout(vreg) *sums.add(4), a11 = inout(vreg) *sums.add(5), a12 = inout(vreg) *sums.add(6), a13 = inout(vreg) *sums.add(7),
            a20 = inout(vreg) *sums.add(8), a21 = inout(vreg) *sums.add(9), a22 = inout(vreg) *sums.add(10), a23 = inout(vreg) *sums.add(11),
            a30 = inout(vreg) *sums.add(12), a31 = inout(vreg) *sums.add(13), a32 = inout(vreg) *sums.add(14), a33 = inout(vreg) *sums.add(15),
            a40 = inout(vreg) *sums.add(16), a41 = inout(vreg) *sums.add(17), a42 = inout(vreg) *sums.add(18), a43 = inout(vreg) *sums.add(19),
            x0 = out(vreg) _, x1 = out(vreg) _, x2 = out(vreg) _, x3 = out(vreg) _, x4 = out(vreg) _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            p0 = inout(reg) input => _,
            p1 = inout(reg) input.add(stride) => _,
            p2 = inout(reg) input.add(2 * stride) => _,
            p3 = inout(reg) input.add(3 * stride) => _,
            p4 = inout(reg) input.add(4 * stride) => _,
            weights = inout(reg) weights => _,
            channels = inout(reg) channels => _,
            options(nostack, readonly),
        );
    }
}

#[inline(always)]
unsafe fn four_by_four(sums: *mut float32x4_t, input: *const f32, stride: usize, weights: *const f32, channels: usize) {
    // SAFETY: the caller lets the channels of four pixels, `stride` floats apart, and their weights be read; there are
    // 16 sums.
    unsafe {
        std::arch::asm!(
            tile!(rows_four, four),
            a00 = inout(vreg) *sums.add(0), a01 = inout(vreg) *sums.add(1), a02 = inout(vreg) *sums.add(2), a03 = inout(vreg) *sums.add(3),
            a10 = inout(vreg) *sums.add(4), a11 = inout(vreg) *sums.add(5), a12 = inout(vreg) *sums.add(6), a13 = inout(vreg) *sums.add(7),
            a20 = inout(vreg) *sums.add(8), a21 = inout(vreg) *sums.add(9), a22 = inout(vreg) *sums.add(10), a23 = inout(vreg) *sums.add(11),
            a30 = inout(vreg) *sums.add(12), a31 = inout(vreg) *sums.add(13), a32 = inout(vreg) *sums.add(14), a33 = inout(vreg) *sums.add(15),
            x0 = out(vreg) _, x1 = out(vreg) _, x2 = out(vreg) _, x3 = out(vreg) _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            p0 = inout(reg) input => _,
            p1 = inout(reg) input.add(stride) => _,
            p2 = inout(reg) input.add(2 * stride) => _,
            p3 = inout(reg) input.add(3 * stride) => _,
            weights = inout(reg) weights => _,
            channels = inout(reg) channels => _,
            options(nostack, readonly),
        );
    }
}

unsafe fn gemm(raw: &RawGemm) {
    // SAFETY: passed on as it came.
    unsafe { vector::gemm::<Neon, 24, 5, 6>(raw) }
}

unsafe fn depthwise(raw: &RawDepthwise) {
    // SAFETY: passed on as it came.
    unsafe { vector::depthwise::<Neon, 6, 6>(raw) }
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

/// Four pixels by six vectors: 24 sums, 4 groups of activations and 4 registers of weights make up all 32.
pub(super) static NEON: Kernels = Kernels {
    name: "neon",
    lanes: 4,
    widest: 6,
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
