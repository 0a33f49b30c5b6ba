//! The kernels, written once over a vector type; each instruction set gives the type and a wrapper that enables it.
//!
//! Everything here is `#[inline(always)]`: it becomes machine code only inside the wrappers, where the instruction
//! set is enabled. Nothing here checks a bound; `super` does, before it calls.
#![expect(unsafe_code, reason = "vector loads and stores through pointers that the caller has checked")]

use super::{ALIGN, PEAK_CHAINS, RawDense, RawDepthwise, RawGemm};

/// One register of f32 lanes.
///
/// # Safety
/// An implementation's functions may only be called on a processor that has its instruction set; `load*` read and
/// `store` writes as many floats as their comments say.
pub(super) unsafe trait Vector: Copy {
    /// Floats in a register.
    const LANES: usize;
    /// Activations that [`Vector::group`] loads at once.
    const GROUP: usize;
    /// `GROUP` activations of one pixel, each ready to be multiplied with a register of weights.
    type Group: Copy;

    /// Reads `LANES` floats.
    unsafe fn load(from: *const f32) -> Self;
    /// Reads `LANES` half-precision floats.
    unsafe fn load_half(from: *const u16) -> Self;
    /// Writes `LANES` floats.
    unsafe fn store(self, to: *mut f32);
    /// The same number in every lane.
    unsafe fn splat(value: f32) -> Self;
    /// The same address, of which the compiler no longer knows how far it is from others: it would otherwise compute
    /// one from the other again and again where registers suffice for all.
    #[inline(always)]
    fn apart(address: *const f32) -> *const f32 {
        address
    }
    /// Reads `GROUP` floats.
    unsafe fn group(from: *const f32) -> Self::Group;
    /// `self + weights · group[INDEX]`.
    unsafe fn add_scaled<const INDEX: i32>(self, weights: Self, group: Self::Group) -> Self;
    /// Adds `channels` input channels of `MR` pixels, `stride` floats apart, to the sums where the instruction set has a
    /// loop of its own for a tile of this size, and says whether it has.
    #[inline(always)]
    unsafe fn accumulate<const MR: usize, const NV: usize>(
        _sums: &mut [[Self; NV]; MR],
        _input: *const f32,
        _stride: usize,
        _weights: *const f32,
        _channels: usize,
    ) -> bool {
        false
    }
    /// `self + a · b`.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    /// `self + other`.
    unsafe fn plus(self, other: Self) -> Self;
    /// Between `low` and `high`; what is not a number stays so.
    unsafe fn clamp(self, low: Self, high: Self) -> Self;
    /// Sum of the lanes.
    unsafe fn sum(self) -> f32;
}

/// `rounds` multiply-adds in each of `PEAK_CHAINS` chains that neither memory nor one another holds up.
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
pub(super) unsafe fn peak<V: Vector>(rounds: usize) -> f32 {
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        // Known to nobody, or the compiler would compute the sums itself.
        let (one, half) = (V::splat(std::hint::black_box(1.0)), V::splat(std::hint::black_box(0.5)));
        let mut chains = [one; PEAK_CHAINS];
        for _ in 0..rounds {
            for chain in &mut chains {
                *chain = one.add_product(*chain, half);
            }
        }
        let mut sum = V::splat(0.0);
        for chain in chains {
            sum = sum.plus(chain);
        }
        sum.sum()
    }
}

/// One panel of a matrix product, in tiles of even height: as many pixels as `SUMS` registers of sums allow, at most
/// `ROWS`.
///
/// # Safety
/// As [`RawGemm`] says; `ROWS` is at most 8 and `WIDEST`, the widest panel in vectors, at most 6.
#[inline(always)]
pub(super) unsafe fn gemm<V: Vector, const SUMS: usize, const ROWS: usize, const WIDEST: usize>(g: &RawGemm) {
    // SAFETY: passed on as it came. The guards drop the wide tiles that this instruction set does not use.
    unsafe {
        match g.vectors {
            1 => panel::<V, SUMS, ROWS, 1>(g),
            2 => panel::<V, SUMS, ROWS, 2>(g),
            3 if WIDEST >= 3 => panel::<V, SUMS, ROWS, 3>(g),
            4 if WIDEST >= 4 => panel::<V, SUMS, ROWS, 4>(g),
            5 if WIDEST >= 5 => panel::<V, SUMS, ROWS, 5>(g),
            6 if WIDEST >= 6 => panel::<V, SUMS, ROWS, 6>(g),
            _ => {}
        }
    }
}

#[inline(always)]
unsafe fn panel<V: Vector, const SUMS: usize, const ROWS: usize, const NV: usize>(g: &RawGemm) {
    let tallest = const { if SUMS / NV < ROWS { SUMS / NV } else { ROWS } };
    let tiles = g.pixels.div_ceil(tallest);
    let mut first = 0;
    for tile_index in 0..tiles {
        let end = g.pixels * (tile_index + 1) / tiles;
        // SAFETY: `first..end` lies in `0..g.pixels` and has at most `tallest` pixels.
        unsafe {
            match end - first {
                1 => tile::<V, 1, NV>(g, first),
                2 => tile::<V, 2, NV>(g, first),
                3 => tile::<V, 3, NV>(g, first),
                4 => tile::<V, 4, NV>(g, first),
                5 if tallest >= 5 => tile::<V, 5, NV>(g, first),
                6 if tallest >= 6 => tile::<V, 6, NV>(g, first),
                7 if tallest >= 7 => tile::<V, 7, NV>(g, first),
                8 if tallest >= 8 => tile::<V, 8, NV>(g, first),
                _ => {}
            }
        }
        first = end;
    }
}

/// Input channels that are worked through in one turn of the innermost loop.
pub(super) const DEPTH: usize = 4;

/// `MR` pixels by `NV` vectors of output channels, all in registers while `depth` input channels stream by.
#[inline(always)]
unsafe fn tile<V: Vector, const MR: usize, const NV: usize>(g: &RawGemm, first: usize) {
    // SAFETY: the caller vouches that `first..first + MR` are pixels of `g`, and `RawGemm` says what can be read.
    unsafe {
        let width = NV * V::LANES;
        let mut weights = g.panel;
        let mut bias = [V::splat(0.0); NV];
        for (j, b) in bias.iter_mut().enumerate() {
            *b = V::load(weights.add(j * V::LANES));
        }
        let mut sums = [bias; MR];
        weights = weights.add(width);
        let mut segment = g.input.add(first * g.input_stride);
        let mut left = g.depth;
        while left > 0 {
            let length = if left < g.segment { left } else { g.segment };
            if V::accumulate(&mut sums, segment, g.input_stride, weights, length) {
                weights = weights.add(length * width);
                left -= length;
                segment = segment.add(g.segment_stride);
                continue;
            }
            let mut at = [segment; MR];
            for (i, at) in at.iter_mut().enumerate() {
                *at = V::apart(at.add(i * g.input_stride));
            }
            for _ in 0..length / DEPTH {
                if V::GROUP == 1 {
                    // Weights stay in registers, one activation at a time: fits sixteen registers.
                    for k in 0..DEPTH {
                        let mut row_of_weights = bias;
                        for (j, w) in row_of_weights.iter_mut().enumerate() {
                            *w = V::load(weights.add((k * NV + j) * V::LANES));
                        }
                        for (row, at) in sums.iter_mut().zip(&at) {
                            let group = V::group(at.add(k));
                            for (sum, w) in row.iter_mut().zip(row_of_weights) {
                                *sum = sum.add_scaled::<0>(w, group);
                            }
                        }
                    }
                } else {
                    // Activations stay in registers, one register of weights at a time.
                    let groups = at.map(|at| V::group(at));
                    const { assert!(V::GROUP == 1 || V::GROUP == DEPTH) };
                    step::<V, MR, NV, 0>(&mut sums, &groups, weights);
                    step::<V, MR, NV, 1>(&mut sums, &groups, weights.add(width));
                    step::<V, MR, NV, 2>(&mut sums, &groups, weights.add(2 * width));
                    step::<V, MR, NV, 3>(&mut sums, &groups, weights.add(3 * width));
                }
                at = at.map(|at| at.add(DEPTH));
                weights = weights.add(DEPTH * width);
            }
            for _ in 0..length % DEPTH {
                for j in 0..NV {
                    let w = V::load(weights.add(j * V::LANES));
                    for (row, at) in sums.iter_mut().zip(at) {
                        row[j] = row[j].add_product(w, V::splat(*at));
                    }
                }
                weights = weights.add(width);
                at = at.map(|at| at.add(1));
            }
            left -= length;
            segment = segment.add(g.segment_stride);
        }
        let (low, high) = (V::splat(g.low), V::splat(g.high));
        let mut output = g.output.add(first * g.output_stride);
        if g.residual.is_null() {
            for row in sums {
                for (j, sum) in row.into_iter().enumerate() {
                    sum.clamp(low, high).store(output.add(j * V::LANES));
                }
                output = output.add(g.output_stride);
            }
        } else {
            let mut residual = g.residual.add(first * g.output_stride);
            for row in sums {
                for (j, sum) in row.into_iter().enumerate() {
                    let value = sum.clamp(low, high).plus(V::load(residual.add(j * V::LANES)));
                    value.store(output.add(j * V::LANES));
                }
                output = output.add(g.output_stride);
                residual = residual.add(g.output_stride);
            }
        }
    }
}

/// One input channel, the one at `INDEX` of each group, times its `NV` vectors of weights.
#[inline(always)]
unsafe fn step<V: Vector, const MR: usize, const NV: usize, const INDEX: i32>(
    sums: &mut [[V; NV]; MR],
    groups: &[V::Group; MR],
    weights: *const f32,
) {
    for j in 0..NV {
        // SAFETY: the caller lets `NV` vectors of weights be read.
        let w = unsafe { V::load(weights.add(j * V::LANES)) };
        for (row, group) in sums.iter_mut().zip(groups) {
            // SAFETY: the caller has the instruction set.
            row[j] = unsafe { row[j].add_scaled::<INDEX>(w, *group) };
        }
    }
}

/// One row of a 3×3 depthwise convolution over one panel of channels, or two rows.
///
/// # Safety
/// As [`RawDepthwise`] says.
#[inline(always)]
pub(super) unsafe fn depthwise<V: Vector, const WIDEST: usize, const TILE: usize>(d: &RawDepthwise) {
    // SAFETY: passed on as it came.
    unsafe {
        match (d.stride, d.height) {
            (1, 1) => depthwise_rows::<V, WIDEST, TILE, 1, 1, 3>(d),
            (1, _) => depthwise_rows::<V, WIDEST, TILE, 1, 2, 4>(d),
            (_, 1) => depthwise_rows::<V, WIDEST, TILE, 2, 1, 3>(d),
            (_, _) => depthwise_rows::<V, WIDEST, TILE, 2, 2, 5>(d),
        }
    }
}

/// `TILE` columns of the output are computed together, each input column loaded once for all of them; `REACH` are the
/// input rows under `HEIGHT` rows of the output.
#[inline(always)]
unsafe fn depthwise_rows<
    V: Vector,
    const WIDEST: usize,
    const TILE: usize,
    const STRIDE: usize,
    const HEIGHT: usize,
    const REACH: usize,
>(
    d: &RawDepthwise,
) {
    const { assert!(REACH == (HEIGHT - 1) * STRIDE + 3) };
    // SAFETY: output column `x` reads input columns `x · STRIDE .. x · STRIDE + 3` of `REACH` rows, which
    // `RawDepthwise` says can be read for all `x < d.columns`.
    unsafe {
        // Known when compiled, so that the loads need no arithmetic.
        let width = WIDEST * V::LANES;
        let (low, high) = (V::splat(d.low), V::splat(d.high));
        for v in 0..d.vectors {
            let channel = v * V::LANES;
            let bias = V::load(d.weights.add(channel));
            let mut taps = [bias; 9];
            for (t, tap) in taps.iter_mut().enumerate() {
                *tap = V::load(d.weights.add((t + 1) * width + channel));
            }
            let mut rows = [d.rows[0]; REACH];
            for (row, from) in rows.iter_mut().zip(d.rows) {
                *row = from.add(channel);
            }
            let mut output = d.output.add(channel);
            for _ in 0..d.columns / TILE {
                let mut sums = [[bias; TILE]; HEIGHT];
                for (y, row) in rows.iter_mut().enumerate() {
                    for (out_y, sums) in sums.iter_mut().enumerate() {
                        let top = out_y * STRIDE;
                        if y < top || y >= top + 3 {
                            continue;
                        }
                        // Loads of the same column are one.
                        for (out_x, sum) in sums.iter_mut().enumerate() {
                            for kx in 0..3 {
                                let value = V::load(row.add((out_x * STRIDE + kx) * width));
                                *sum = sum.add_product(value, taps[(y - top) * 3 + kx]);
                            }
                        }
                    }
                    *row = row.add(TILE * STRIDE * width);
                }
                for (out_y, sums) in sums.iter().enumerate() {
                    for (out_x, sum) in sums.iter().enumerate() {
                        sum.clamp(low, high).store(output.add((out_y * d.columns + out_x) * width));
                    }
                }
                output = output.add(TILE * width);
            }
            for _ in 0..d.columns % TILE {
                let mut sums = [bias; HEIGHT];
                for (y, row) in rows.iter_mut().enumerate() {
                    for column in 0..3 {
                        let value = V::load(row.add(column * width));
                        for (out_y, sum) in sums.iter_mut().enumerate() {
                            let top = out_y * STRIDE;
                            if y >= top && y < top + 3 {
                                *sum = sum.add_product(value, taps[(y - top) * 3 + column]);
                            }
                        }
                    }
                    *row = row.add(STRIDE * width);
                }
                for (out_y, sum) in sums.iter().enumerate() {
                    sum.clamp(low, high).store(output.add(out_y * d.columns * width));
                }
                output = output.add(width);
            }
        }
    }
}

#[inline(always)]
unsafe fn dense_weights<V: Vector, const HALF: bool>(d: &RawDense, offset: usize) -> V {
    // SAFETY: `RawDense` says that `LANES` weights can be read here, in the precision that `HALF` names.
    unsafe { if HALF { V::load_half(d.half.add(offset)) } else { V::load(d.full.add(offset)) } }
}

/// `outputs[n] += Σ inputs[k] · weights[k][n]`, rows of the weights in the order of `picked`.
///
/// # Safety
/// As [`RawDense`] says.
#[inline(always)]
pub(super) unsafe fn dense_forward<V: Vector, const HALF: bool>(d: &RawDense) {
    const TOGETHER: usize = 8;
    // SAFETY: `picked` are rows of the weights, the columns are those of `RawDense`, multiples of `LANES`.
    unsafe {
        let (whole, rest) = d.picked.as_chunks::<TOGETHER>();
        for rows in whole {
            let scales = rows.map(|k| V::splat(*d.inputs.add(k as usize)));
            let bases = rows.map(|k| k as usize * d.row_stride);
            // A whole multiple of `ALIGN` columns, so many at a time.
            let mut n = d.first_column;
            while n < d.end_column {
                let output = d.outputs.add(n);
                let mut sums = [V::splat(0.0); ALIGN];
                let sums = &mut sums[..ALIGN / V::LANES];
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(output.add(j * V::LANES));
                }
                for (base, scale) in bases.into_iter().zip(scales) {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = sum.add_product(dense_weights::<V, HALF>(d, base + n + j * V::LANES), scale);
                    }
                }
                for (j, sum) in sums.iter().enumerate() {
                    sum.store(output.add(j * V::LANES));
                }
                n += ALIGN;
            }
        }
        for &k in rest {
            let scale = V::splat(*d.inputs.add(k as usize));
            let mut n = d.first_column;
            while n < d.end_column {
                let output = d.outputs.add(n);
                let weights = dense_weights::<V, HALF>(d, k as usize * d.row_stride + n);
                V::load(output).add_product(weights, scale).store(output);
                n += V::LANES;
            }
        }
    }
}

/// `outputs[r][i] = Σ inputs[r][n] · weights[picked[i]][n]` for up to four rows `r`.
///
/// # Safety
/// As [`RawDense`] says.
#[inline(always)]
pub(super) unsafe fn dense_backward<V: Vector, const HALF: bool>(d: &RawDense) {
    // SAFETY: passed on as it came.
    unsafe {
        match d.input_rows {
            1 => dense_backward_rows::<V, HALF, 1>(d),
            2 => dense_backward_rows::<V, HALF, 2>(d),
            3 => dense_backward_rows::<V, HALF, 3>(d),
            _ => dense_backward_rows::<V, HALF, 4>(d),
        }
    }
}

#[inline(always)]
unsafe fn dense_backward_rows<V: Vector, const HALF: bool, const ROWS: usize>(d: &RawDense) {
    // SAFETY: `RawDense` has `ROWS` rows of inputs and of outputs, one output a picked row of the weights.
    unsafe {
        for (i, &k) in d.picked.iter().enumerate() {
            let base = k as usize * d.row_stride;
            // Two sums a row, so that one addition need not wait for the last.
            let mut sums = [[V::splat(0.0); 2]; ROWS];
            let mut n = d.first_column;
            while n + 2 * V::LANES <= d.end_column {
                for half in 0..2 {
                    let at = n + half * V::LANES;
                    let weights = dense_weights::<V, HALF>(d, base + at);
                    for (r, sum) in sums.iter_mut().enumerate() {
                        sum[half] = sum[half].add_product(weights, V::load(d.inputs.add(r * d.input_stride + at)));
                    }
                }
                n += 2 * V::LANES;
            }
            while n < d.end_column {
                let weights = dense_weights::<V, HALF>(d, base + n);
                for (r, sum) in sums.iter_mut().enumerate() {
                    sum[0] = sum[0].add_product(weights, V::load(d.inputs.add(r * d.input_stride + n)));
                }
                n += V::LANES;
            }
            for (r, [even, odd]) in sums.into_iter().enumerate() {
                *d.outputs.add(r * d.output_stride + i) = even.plus(odd).sum();
            }
        }
    }
}
