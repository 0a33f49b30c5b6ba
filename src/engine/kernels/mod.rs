//! The inner loops, one table of them for each instruction set, and the checks that make them safe to call.
#![expect(unsafe_code, reason = "calls the kernels after checking every bound")]

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod scalar;
#[cfg(test)]
mod tests;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Floats that every buffer and every row of channels is a multiple of: one vector of the widest instruction set.
pub(super) const ALIGN: usize = 16;

/// Chains of [`Kernels::peak`]: more than any processor needs to be busy, fewer than it has registers.
const PEAK_CHAINS: usize = 12;

/// The kernels of one instruction set.
pub(super) struct Kernels {
    /// What the instruction set is called.
    pub(super) name: &'static str,
    /// Floats in a vector.
    pub(super) lanes: usize,
    /// Vectors in the widest panel of weights.
    pub(super) widest: usize,
    /// Depthwise rows that are computed together: two where there are registers for it.
    pub(super) filter_rows: usize,
    /// Whether half-precision weights are converted by an instruction.
    pub(super) half_weights: bool,
    gemm: unsafe fn(&RawGemm),
    depthwise: unsafe fn(&RawDepthwise),
    dense_forward: unsafe fn(&RawDense),
    dense_backward: unsafe fn(&RawDense),
    dense_forward_half: unsafe fn(&RawDense),
    dense_backward_half: unsafe fn(&RawDense),
    peak: unsafe fn(usize) -> f32,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All tables that run on this processor, best first; the last is the portable one.
pub(super) fn found() -> Vec<&'static Kernels> {
    #[cfg(target_arch = "x86_64")]
    let mut tables = x86::found();
    #[cfg(target_arch = "aarch64")]
    let mut tables = vec![&aarch64::NEON];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let mut tables = Vec::new();
    tables.push(&scalar::SCALAR);
    tables
}

/// Limits of an activation function: `low..=high`, infinite where there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Clamp {
    /// Smallest value.
    pub(super) low: f32,
    /// Largest value.
    pub(super) high: f32,
}

impl Clamp {
    /// Every value passes.
    pub(super) const NONE: Self = Self { low: f32::NEG_INFINITY, high: f32::INFINITY };
}

/// Pixels as a matrix: pixel `p`, channel `c` is at
/// `(c / segment) · segment_stride + p · stride + c % segment`.
#[derive(Clone, Copy)]
pub(super) struct Pixels<'a> {
    /// All of them.
    pub(super) values: &'a [f32],
    /// From one pixel to the next.
    pub(super) stride: usize,
    /// Channels that lie side by side.
    pub(super) segment: usize,
    /// From one segment to the next.
    pub(super) segment_stride: usize,
    /// Channels; with none the product is the bias.
    pub(super) depth: usize,
    /// How many pixels.
    pub(super) count: usize,
}

/// What [`Kernels::gemm`] needs; `panel` is `width` biases and then `width` weights for each channel of depth.
pub(super) struct RawGemm {
    input: *const f32,
    input_stride: usize,
    segment: usize,
    segment_stride: usize,
    depth: usize,
    pixels: usize,
    panel: *const f32,
    vectors: usize,
    output: *mut f32,
    output_stride: usize,
    /// Added to the output after the clamp; laid out as the output is, or null.
    residual: *const f32,
    low: f32,
    high: f32,
}

/// What [`Kernels::depthwise`] needs: `(height - 1) · stride + 3` rows, the rest unused, of
/// `(columns - 1) · stride + 3` pixels, each as wide as the widest panel; that many biases and nine times as many taps;
/// room for `height` times `columns` pixels.
pub(super) struct RawDepthwise {
    rows: [*const f32; 5],
    stride: usize,
    height: usize,
    columns: usize,
    vectors: usize,
    weights: *const f32,
    output: *mut f32,
    low: f32,
    high: f32,
}

/// What the dense kernels need: rows of weights `row_stride` apart, of which `picked` take part, and the columns
/// `first_column..end_column`, multiples of `ALIGN`. Forward, there is an input a row and an output a column;
/// backward, `input_rows` times an input a column and an output a picked row, in rows of `input_stride` and
/// `output_stride`.
pub(super) struct RawDense<'a> {
    full: *const f32,
    half: *const u16,
    row_stride: usize,
    picked: &'a [u32],
    first_column: usize,
    end_column: usize,
    input_rows: usize,
    input_stride: usize,
    inputs: *const f32,
    output_stride: usize,
    outputs: *mut f32,
}

/// Rows of dense weights, each padded with zeros to a multiple of [`ALIGN`].
#[derive(Debug)]
pub(super) enum Rows {
    /// f32.
    Full(Vec<f32>),
    /// IEEE half precision, as it stood in the file.
    Half(Vec<u16>),
}

impl Rows {
    /// The same, borrowed.
    pub(super) fn view(&self) -> RowsView<'_> {
        match self {
            Self::Full(values) => RowsView::Full(values),
            Self::Half(values) => RowsView::Half(values),
        }
    }
}

/// Rows of weights that belong to somebody else.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowsView<'a> {
    /// As [`Rows::Full`].
    Full(&'a [f32]),
    /// As [`Rows::Half`].
    Half(&'a [u16]),
}

impl RowsView<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Full(values) => values.len(),
            Self::Half(values) => values.len(),
        }
    }

    fn pointers(&self) -> (*const f32, *const u16) {
        match self {
            Self::Full(values) => (values.as_ptr(), std::ptr::null()),
            Self::Half(values) => (std::ptr::null(), values.as_ptr()),
        }
    }
}

impl Kernels {
    /// Does nothing but multiply and add, `rounds` times in each of many independent chains, and gives the number of
    /// floating-point operations that were.
    pub(super) fn peak(&self, rounds: usize) -> f64 {
        // SAFETY: the table is only given out on a processor that has the instruction set.
        std::hint::black_box(unsafe { (self.peak)(rounds) });
        2.0 * (rounds * PEAK_CHAINS * self.lanes) as f64
    }

    /// `output = clamp(panel · input + bias) + residual` for the `vectors · lanes` channels of one panel.
    ///
    /// `output` and `residual` begin at the panel's first channel of the first pixel; `stride` is from pixel to pixel
    /// in both.
    ///
    /// # Panics
    /// When a slice is shorter than the shapes say.
    #[expect(clippy::too_many_arguments, reason = "one matrix product")]
    pub(super) fn gemm(
        &self,
        input: Pixels<'_>,
        panel: &[f32],
        vectors: usize,
        output: &mut [f32],
        stride: usize,
        residual: Option<&[f32]>,
        clamp: Clamp,
    ) {
        let width = vectors * self.lanes;
        if input.count == 0 {
            return;
        }
        assert!((1..=self.widest).contains(&vectors) && input.segment > 0);
        assert!(panel.len() >= width * (input.depth + 1));
        let segments = input.depth.div_ceil(input.segment);
        if let Some(before) = segments.checked_sub(1) {
            let mut reach = before * input.segment_stride + input.depth - before * input.segment;
            if before > 0 {
                reach = reach.max((before - 1) * input.segment_stride + input.segment);
            }
            assert!(input.values.len() >= (input.count - 1) * input.stride + reach);
        }
        let written = (input.count - 1) * stride + width;
        assert!(output.len() >= written && (input.count == 1 || stride >= width));
        assert!(residual.is_none_or(|r| r.len() >= written));
        let raw = RawGemm {
            input: input.values.as_ptr(),
            input_stride: input.stride,
            segment: input.segment,
            segment_stride: input.segment_stride,
            depth: input.depth,
            pixels: input.count,
            panel: panel.as_ptr(),
            vectors,
            output: output.as_mut_ptr(),
            output_stride: stride,
            residual: residual.map_or(std::ptr::null(), <[f32]>::as_ptr),
            low: clamp.low,
            high: clamp.high,
        };
        // SAFETY: the table is only given out on a processor that has the instruction set, and the checks above
        // cover the furthest float of each slice that the strides and counts reach.
        unsafe { (self.gemm)(&raw) }
    }

    /// One output row of a 3×3 depthwise convolution, or two, over `vectors · lanes` channels; from pixel to pixel it is
    /// as far as the widest panel. `rows` are the three, four or five input rows under them; they begin with the padding column.
    ///
    /// # Panics
    /// When a slice is shorter than the shapes say.
    #[expect(clippy::too_many_arguments, reason = "one row of one convolution")]
    pub(super) fn depthwise(
        &self,
        rows: &[&[f32]],
        step: usize,
        columns: usize,
        weights: &[f32],
        vectors: usize,
        output: &mut [f32],
        clamp: Clamp,
    ) {
        if columns == 0 {
            return;
        }
        let width = self.widest * self.lanes;
        assert!((step == 1 || step == 2) && vectors <= self.widest);
        let height = if rows.len() == 3 { 1 } else { 2 };
        assert!(rows.len() == (height - 1) * step + 3);
        let read = ((columns - 1) * step + 3) * width;
        assert!(rows.iter().all(|row| row.len() >= read));
        assert!(weights.len() >= 10 * width && output.len() >= height * columns * width);
        let mut starts = [rows[0].as_ptr(); 5];
        for (start, row) in starts.iter_mut().zip(rows) {
            *start = row.as_ptr();
        }
        let raw = RawDepthwise {
            rows: starts,
            stride: step,
            height,
            columns,
            vectors,
            weights: weights.as_ptr(),
            output: output.as_mut_ptr(),
            low: clamp.low,
            high: clamp.high,
        };
        // SAFETY: the table is only given out on a processor that has the instruction set; each row was checked to
        // reach the last tap of the last column, weights and output likewise.
        unsafe { (self.depthwise)(&raw) }
    }

    /// `outputs[n] += Σ inputs[k] · weights[k][n]` over the rows `picked`, for the columns from `first` on that
    /// `outputs` has.
    ///
    /// # Panics
    /// When a slice is shorter than the shapes say.
    pub(super) fn dense_forward(
        &self,
        weights: &Rows,
        stride: usize,
        picked: &[u32],
        first: usize,
        inputs: &[f32],
        outputs: &mut [f32],
    ) {
        let count = outputs.len();
        assert!(first.is_multiple_of(ALIGN) && count.is_multiple_of(ALIGN) && first + count <= stride);
        assert!(picked.iter().all(|k| (*k as usize) < inputs.len()));
        let weights = weights.view();
        assert!(weights.len() >= inputs.len() * stride);
        let (full, half) = weights.pointers();
        // The kernel counts columns from the first of the row.
        let raw = RawDense {
            full: full.wrapping_add(first),
            half: half.wrapping_add(first),
            row_stride: stride,
            picked,
            first_column: 0,
            end_column: count,
            input_rows: 1,
            input_stride: 0,
            inputs: inputs.as_ptr(),
            output_stride: 0,
            outputs: outputs.as_mut_ptr(),
        };
        let kernel = if full.is_null() { self.dense_forward_half } else { self.dense_forward };
        // SAFETY: the table is only given out on a processor that has the instruction set; `picked` are rows that
        // the weights and the inputs have, and the columns lie in each row.
        unsafe { kernel(&raw) }
    }

    /// `outputs[r][i] = Σ inputs[r][n] · weights[picked[i]][n]` for `rows` rows `r`, 1 to 4; an input has a whole row of
    /// weights, padding included, an output one value a picked row.
    ///
    /// # Panics
    /// When a slice is shorter than the shapes say.
    pub(super) fn dense_backward(
        &self,
        weights: RowsView<'_>,
        stride: usize,
        picked: &[u32],
        rows: usize,
        inputs: &[f32],
        outputs: &mut [f32],
    ) {
        assert!((1..=4).contains(&rows) && stride.is_multiple_of(ALIGN));
        assert!(inputs.len() >= rows * stride && outputs.len() >= rows * picked.len());
        assert!(picked.iter().all(|k| (*k as usize + 1) * stride <= weights.len()));
        let (full, half) = weights.pointers();
        let raw = RawDense {
            full,
            half,
            row_stride: stride,
            picked,
            first_column: 0,
            end_column: stride,
            input_rows: rows,
            input_stride: stride,
            inputs: inputs.as_ptr(),
            output_stride: picked.len(),
            outputs: outputs.as_mut_ptr(),
        };
        let kernel = if full.is_null() { self.dense_backward_half } else { self.dense_backward };
        // SAFETY: the table is only given out on a processor that has the instruction set; every picked row lies in
        // the weights, and inputs and outputs are long enough.
        unsafe { kernel(&raw) }
    }
}

/// The value of an IEEE half, exactly.
pub(super) fn half_to_float(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // Exponent and fraction stand where an f32 has them; what is left is the difference of the biases, 127 − 15.
    let scaled = (f32::from_bits(magnitude) * f32::from_bits((127 + 127 - 15) << 23)).to_bits();
    // The highest exponent of a half is infinity or not a number.
    let magnitude = if magnitude < 31 << 23 { scaled } else { magnitude | 255 << 23 };
    f32::from_bits(sign | magnitude)
}
