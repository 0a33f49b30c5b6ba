//! The inverted residual block as one layer: expand, depthwise, project, add.
//!
//! The expanded tensor never exists as a whole. Output rows are computed in bands; within a band one panel of
//! expanded channels after the other is brought into a ring of rows, filtered, and written to the band's filtered
//! pixels, which the projection then reads. Ring and filtered pixels fit the second-level cache, the rows of one
//! panel the first.
//!
//! ```text
//!            for each panel of 16 to 48 expanded channels                 for each panel of output channels
//!  input ──► expand: rows not yet in the ring ──► ring ──► depthwise ──► filtered ──► project + residual ──► output
//!  [h·w][c]  1×1, ReLU6                 [rows][w+2][48]   3×3, ReLU6   [panel][px][48]   1×1            [h'·w'][c']
//! ```

use std::ops::Range;

use super::kernels::{Kernels, Pixels};
use super::layer::{Image, Layer, ShapeError, pixels_of};
use super::pack::{Cut, Depthwise, DepthwisePanels, Panels, Pointwise, padded};
use super::pool::{Pool, with_scratch};

/// Filtered pixels of a whole image up to this many bytes are computed as one band, which threads share by channels;
/// above it, threads share the rows.
const WHOLE_BYTES: usize = 352 << 10;
/// Ring and filtered pixels of one band stay below this many bytes where they can.
const BAND_BYTES: usize = 256 << 10;

/// What the recogniser found.
#[derive(Clone, Debug)]
pub(super) struct BlockWeights<'a> {
    /// Absent in the first block.
    pub(super) expand: Option<Pointwise<'a>>,
    /// The filter.
    pub(super) depthwise: Depthwise,
    /// Back to few channels.
    pub(super) project: Pointwise<'a>,
    /// Whether the input is added to the output.
    pub(super) residual: bool,
}

/// An inverted residual block.
#[derive(Debug)]
pub(super) struct Block {
    inputs: usize,
    expand: Option<Panels>,
    depthwise: DepthwisePanels,
    project: Panels,
    residual: bool,
}

/// Sizes of one run.
struct Geometry {
    height: usize,
    width: usize,
    /// Channels of a pixel of the input, padded.
    input_stride: usize,
    out_height: usize,
    out_width: usize,
    output_stride: usize,
}

/// Input rows of one panel that are kept: row `y` in slot `y % slots`, with a column of zeros on each side.
struct Ring {
    slots: usize,
    /// Floats of a row.
    row: usize,
}

impl Ring {
    fn length(&self) -> usize {
        self.slots * self.row
    }

    fn at(&self, y: usize) -> Range<usize> {
        let start = y % self.slots * self.row;
        start..start + self.row
    }
}

impl Block {
    pub(super) fn new(kernels: &'static Kernels, weights: &BlockWeights<'_>) -> Self {
        Self {
            inputs: weights.expand.as_ref().map_or(weights.depthwise.channels, |e| e.inputs),
            expand: weights.expand.as_ref().map(|e| Panels::new(kernels, e, Cut::Fixed)),
            depthwise: DepthwisePanels::new(kernels, &weights.depthwise),
            project: Panels::new(kernels, &weights.project, Cut::Even),
            residual: weights.residual,
        }
    }

    fn geometry(&self, input: Image) -> Geometry {
        Geometry {
            height: input.height,
            width: input.width,
            input_stride: padded(self.inputs),
            out_height: input.height.div_ceil(self.depthwise.stride),
            out_width: input.width.div_ceil(self.depthwise.stride),
            output_stride: padded(self.project.outputs),
        }
    }

    /// Input rows under the output rows `rows`, those of the padding left out.
    fn under(&self, g: &Geometry, rows: &Range<usize>) -> Range<usize> {
        let stride = self.depthwise.stride;
        (rows.start * stride).saturating_sub(1)..((rows.end - 1) * stride + 2).min(g.height)
    }

    /// Brings the input rows `fresh` of one panel into its ring.
    fn fill(&self, g: &Geometry, panel: usize, input: &[f32], fresh: Range<usize>, ring: &Ring, memory: &mut [f32]) {
        let width = self.depthwise.width;
        for y in fresh {
            let row = &mut memory[ring.at(y)];
            let source = &input[y * g.width * g.input_stride..(y + 1) * g.width * g.input_stride];
            row[..width].fill(0.0);
            row[(g.width + 1) * width..].fill(0.0);
            let pixels = &mut row[width..(g.width + 1) * width];
            match &self.expand {
                Some(expand) => {
                    let source = Pixels {
                        values: source,
                        stride: g.input_stride,
                        segment: self.inputs,
                        segment_stride: 0,
                        depth: self.inputs,
                        count: g.width,
                    };
                    expand.run(panel, source, pixels, width, None);
                }
                None => {
                    let first = panel * width;
                    let count = width.min(g.input_stride - first);
                    for (to, from) in pixels.chunks_exact_mut(width).zip(source.chunks_exact(g.input_stride)) {
                        // Whole vectors, too few of them for a call.
                        let from = from[first..first + count].as_chunks::<4>().0;
                        for (to, from) in to.as_chunks_mut::<4>().0.iter_mut().zip(from) {
                            *to = *from;
                        }
                    }
                }
            }
        }
    }

    /// Filters the output rows `rows` of one panel; `zeros` is what lies above and below the image.
    #[expect(clippy::too_many_arguments, reason = "one step over the parts of the scratch memory")]
    fn filter(
        &self,
        g: &Geometry,
        panel: usize,
        rows: Range<usize>,
        ring: &Ring,
        memory: &[f32],
        zeros: &[f32],
        filtered: &mut [f32],
    ) {
        let (stride, size) = (self.depthwise.stride, g.out_width * self.depthwise.width);
        let together = self.depthwise.together();
        for (y, output) in rows.clone().step_by(together).zip(filtered.chunks_mut(together * size)) {
            let height = together.min(rows.end - y);
            let mut under = [zeros; 5];
            for (ky, row) in under.iter_mut().enumerate() {
                if let Some(row_above) = (y * stride + ky).checked_sub(1)
                    && row_above < g.height
                {
                    *row = &memory[ring.at(row_above)];
                }
            }
            let under = &under[..(height - 1) * stride + 3];
            self.depthwise.run(panel, under, g.out_width, output);
        }
    }

    /// Projects pixels `pixels` of `filtered`, which has `count` pixels a panel; `output` and `residual` begin at the
    /// first of them.
    fn project(
        &self,
        g: &Geometry,
        filtered: &[f32],
        count: usize,
        pixels: Range<usize>,
        output: &mut [f32],
        residual: Option<&[f32]>,
    ) {
        let width = self.depthwise.width;
        let source = Pixels {
            values: &filtered[pixels.start * width..],
            stride: width,
            segment: width,
            segment_stride: count * width,
            depth: self.project.inputs,
            count: pixels.len(),
        };
        self.project.run_all(source, output, g.output_stride, residual);
    }

    /// The whole image as one band: threads share the panels, then the pixels.
    fn run_whole(&self, g: &Geometry, input: &[f32], output: &mut [f32], pool: &Pool) {
        let panels = self.depthwise.len();
        let count = g.out_height * g.out_width;
        let size = count * self.depthwise.width;
        let ring = Ring { slots: g.height, row: (g.width + 2) * self.depthwise.width };
        with_scratch(panels * size, |filtered| {
            pool.run_on_parts(filtered, panels, &|panel| panel * size, &|panel, filtered| {
                with_scratch(ring.row + ring.length(), |memory| {
                    let (zeros, memory) = memory.split_at_mut(ring.row);
                    zeros.fill(0.0);
                    self.fill(g, panel, input, 0..g.height, &ring, memory);
                    self.filter(g, panel, 0..g.out_height, &ring, memory, zeros, filtered);
                });
            });
            let filtered = &*filtered;
            let parts = pool.threads().min(count);
            let first = |part: usize| count * part / parts;
            pool.run_on_parts(output, parts, &|part| first(part) * g.output_stride, &|part, output| {
                let pixels = first(part)..first(part + 1);
                let residual = self.residual.then(|| &input[pixels.start * g.input_stride..]);
                self.project(g, filtered, count, pixels, output, residual);
            });
        });
    }

    /// Output rows in a band: as many as keep ring and filtered pixels small.
    fn band(&self, g: &Geometry) -> usize {
        let stride = self.depthwise.stride;
        let pixel_bytes = 4 * self.depthwise.len() * self.depthwise.width;
        let bytes = |band: usize| (((band - 1) * stride + 3) * (g.width + 2) + band * g.out_width) * pixel_bytes;
        (1..=g.out_height).take_while(|band| *band == 1 || bytes(*band) <= BAND_BYTES).last().unwrap_or(1)
    }

    /// Output rows `rows` in bands.
    fn run_rows(&self, g: &Geometry, input: &[f32], rows: Range<usize>, output: &mut [f32]) {
        let panels = self.depthwise.len();
        let row_output = g.out_width * g.output_stride;
        let band = self.band(g).min(rows.len());
        let slots = (band - 1) * self.depthwise.stride + 3;
        let ring = Ring { slots, row: (g.width + 2) * self.depthwise.width };
        let count = band * g.out_width;
        let size = count * self.depthwise.width;
        with_scratch(ring.row + panels * (ring.length() + size), |memory| {
            let (zeros, memory) = memory.split_at_mut(ring.row);
            let (rings, filtered) = memory.split_at_mut(panels * ring.length());
            zeros.fill(0.0);
            let mut filled = 0;
            for start in rows.clone().step_by(band) {
                let band_rows = start..(start + band).min(rows.end);
                let under = self.under(g, &band_rows);
                let fresh = under.start.max(filled)..under.end;
                filled = under.end;
                let memories = rings.chunks_exact_mut(ring.length()).zip(filtered.chunks_exact_mut(size));
                for (panel, (memory, filtered)) in memories.enumerate() {
                    self.fill(g, panel, input, fresh.clone(), &ring, memory);
                    self.filter(g, panel, band_rows.clone(), &ring, memory, zeros, filtered);
                }
                let pixels = band_rows.len() * g.out_width;
                let output = &mut output[(start - rows.start) * row_output..];
                let residual = self.residual.then(|| &input[start * g.out_width * g.input_stride..]);
                self.project(g, filtered, count, 0..pixels, output, residual);
            }
        });
    }
}

impl Layer for Block {
    fn name(&self) -> &'static str {
        "InvertedResidual"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let g = self.geometry(pixels_of(input, padded(self.inputs))?);
        Ok(vec![1, g.out_height, g.out_width, g.output_stride])
    }

    fn run(&self, input: &[f32], shape: &[usize], output: &mut [f32], pool: &Pool) -> Result<(), ShapeError> {
        let g = self.geometry(pixels_of(shape, padded(self.inputs))?);
        let filtered_bytes = 4 * g.out_height * g.out_width * self.depthwise.len() * self.depthwise.width;
        // Few panels are hard to share evenly.
        let shared = pool.threads() == 1 || self.depthwise.len() >= 2 * pool.threads();
        if filtered_bytes <= WHOLE_BYTES && shared {
            self.run_whole(&g, input, output, pool);
            return Ok(());
        }
        let parts = pool.threads().min(g.out_height);
        let first = |part: usize| g.out_height * part / parts;
        let row = g.out_width * g.output_stride;
        pool.run_on_parts(output, parts, &|part| first(part) * row, &|part, output| {
            self.run_rows(&g, input, first(part)..first(part + 1), output);
        });
        Ok(())
    }
}
