//! Weights in the order in which the kernels read them.

use super::kernels::{ALIGN, Clamp, Kernels, Pixels, half_to_float};
use super::pool::Buffer;

/// Numbers that become f32 when they are packed, not before: a network has megabytes of them.
#[derive(Clone, Debug)]
pub(super) enum Numbers<'a> {
    /// f32.
    Floats(Vec<f32>),
    /// f32 as they stand in the file, little-endian.
    FloatBytes(&'a [u8]),
    /// IEEE halves as they stand in the file, little-endian.
    HalfBytes(&'a [u8]),
}

impl Numbers<'_> {
    /// How many.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::FloatBytes(bytes) => bytes.len() / 4,
            Self::HalfBytes(bytes) => bytes.len() / 2,
        }
    }

    /// Writes those from `first` on.
    pub(super) fn copy_to(&self, first: usize, to: &mut [f32]) {
        match self {
            Self::Floats(values) => to.copy_from_slice(&values[first..first + to.len()]),
            Self::FloatBytes(bytes) => {
                for (to, bytes) in to.iter_mut().zip(&bytes.as_chunks().0[first..]) {
                    *to = f32::from_le_bytes(*bytes);
                }
            }
            Self::HalfBytes(bytes) => {
                for (to, bytes) in to.iter_mut().zip(&bytes.as_chunks().0[first..]) {
                    *to = half_to_float(u16::from_le_bytes(*bytes));
                }
            }
        }
    }

    /// All of them.
    pub(super) fn to_floats(&self) -> Vec<f32> {
        let mut floats = vec![0.0; self.len()];
        self.copy_to(0, &mut floats);
        floats
    }
}

/// A 1×1 convolution: `[out][in]` weights, one bias an output channel, a clamp.
#[derive(Clone, Debug)]
pub(super) struct Pointwise<'a> {
    /// Channels read.
    pub(super) inputs: usize,
    /// Channels written.
    pub(super) outputs: usize,
    /// `[outputs][inputs]`.
    pub(super) weights: Numbers<'a>,
    /// `[outputs]`.
    pub(super) bias: Vec<f32>,
    /// What follows.
    pub(super) clamp: Clamp,
}

/// Channels as they lie in memory: padded with zeros to whole vectors of any instruction set.
pub(super) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(ALIGN)
}

/// One panel: which channels, how wide, where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    /// First output channel.
    pub(super) first: usize,
    /// Vectors of output channels.
    pub(super) vectors: usize,
    /// Input channels that it reads: all, or none where it is padding.
    depth: usize,
    offset: usize,
    length: usize,
}

/// How the vectors of a matrix are cut into panels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    /// The widest panels, and no narrow one at the end: what is left over is shared with the panel before.
    Even,
    /// The widest panels as far as they go, to the end of the padding: as [`DepthwisePanels`] are cut.
    Fixed,
}

/// Widths of the panels that `vectors` vectors are cut into.
fn widths(vectors: usize, widest: usize, even: bool) -> impl Iterator<Item = usize> {
    let (whole, rest) = (vectors / widest, vectors % widest);
    // A panel that is less than half as wide as the others does half as much with the same loads.
    let shared = even && whole > 0 && rest > 0 && 2 * rest < widest;
    let kept = if shared { whole - 1 } else { whole };
    let last = if shared { [(widest + rest).div_ceil(2), (widest + rest) / 2] } else { [rest, 0] };
    std::iter::repeat_n(widest, kept).chain(last.into_iter().filter(|width| *width > 0))
}

/// Weights of a 1×1 convolution in panels: for each the biases, then the weights of each input channel in turn.
#[derive(Debug)]
pub(super) struct Panels {
    kernels: &'static Kernels,
    memory: Buffer,
    panels: Vec<Panel>,
    /// Channels read.
    pub(super) inputs: usize,
    /// Channels written.
    pub(super) outputs: usize,
    /// What follows.
    pub(super) clamp: Clamp,
}

impl Panels {
    pub(super) fn new(kernels: &'static Kernels, convolution: &Pointwise<'_>, cut: Cut) -> Self {
        let Pointwise { inputs, outputs, ref weights, ref bias, clamp } = *convolution;
        let lanes = kernels.lanes;
        let mut panels: Vec<Panel> = Vec::new();
        let (mut first, mut offset) = (0, 0);
        let mut push = |vectors: usize, depth: usize| {
            let length = vectors * lanes * (depth + 1);
            panels.push(Panel { first, vectors, depth, offset, length });
            first += vectors * lanes;
            offset += length.next_multiple_of(ALIGN);
        };
        match cut {
            Cut::Fixed => widths(padded(outputs) / lanes, kernels.widest, false).for_each(|w| push(w, inputs)),
            Cut::Even => {
                let vectors = outputs.div_ceil(lanes);
                widths(vectors, kernels.widest, true).for_each(|width| push(width, inputs));
                // The padding of memory: zeros, for which nothing needs to be read.
                widths(padded(outputs) / lanes - vectors, kernels.widest, true).for_each(|width| push(width, 0));
            }
        }
        const TOGETHER: usize = 4;
        let mut lines = vec![0.0f32; TOGETHER * inputs];
        let mut memory = Buffer::zeros(offset);
        for panel in &panels {
            let width = panel.vectors * lanes;
            let (biases, rows) = memory[panel.offset..panel.offset + panel.length].split_at_mut(width);
            let channels = outputs.min(panel.first)..outputs.min(panel.first + width);
            biases[..channels.len()].copy_from_slice(&bias[channels.clone()]);
            if panel.depth == 0 {
                continue;
            }
            // Four channels at a time, so that what is written together lies together.
            for (group, first) in channels.clone().step_by(TOGETHER).enumerate() {
                let count = TOGETHER.min(channels.end - first);
                for (channel, line) in lines.chunks_exact_mut(inputs).enumerate().take(count) {
                    weights.copy_to((first + channel) * inputs, line);
                }
                for (k, row) in rows.chunks_exact_mut(width).enumerate() {
                    let row = &mut row[group * TOGETHER..];
                    if count == TOGETHER {
                        row[..TOGETHER]
                            .copy_from_slice(&std::array::from_fn::<f32, TOGETHER, _>(|i| lines[i * inputs + k]));
                    } else {
                        (0..count).for_each(|i| row[i] = lines[i * inputs + k]);
                    }
                }
            }
        }
        Self { kernels, memory, panels, inputs, outputs, clamp }
    }

    pub(super) fn len(&self) -> usize {
        self.panels.len()
    }

    /// Runs panel `index`; `output` begins at the panel's first channel.
    pub(super) fn run(
        &self,
        index: usize,
        input: Pixels<'_>,
        output: &mut [f32],
        stride: usize,
        residual: Option<&[f32]>,
    ) {
        let panel = &self.panels[index];
        let memory = &self.memory[panel.offset..panel.offset + panel.length];
        let input = Pixels { depth: panel.depth, ..input };
        // What is not padding is clamped; the residual's padding is zero.
        self.kernels.gemm(input, memory, panel.vectors, output, stride, residual, self.clamp);
    }

    /// Runs every panel over channels-last pixels `stride` apart.
    pub(super) fn run_all(&self, input: Pixels<'_>, output: &mut [f32], stride: usize, residual: Option<&[f32]>) {
        for index in 0..self.len() {
            let first = self.panels[index].first;
            self.run(index, input, &mut output[first..], stride, residual.map(|r| &r[first..]));
        }
    }
}

/// A 3×3 depthwise convolution with a padding of one pixel on each side.
#[derive(Clone, Debug)]
pub(super) struct Depthwise {
    /// Channels.
    pub(super) channels: usize,
    /// 1 or 2.
    pub(super) stride: usize,
    /// `[channels][3][3]`.
    pub(super) weights: Vec<f32>,
    /// `[channels]`.
    pub(super) bias: Vec<f32>,
    /// What follows.
    pub(super) clamp: Clamp,
}

/// Its weights in panels of the widest width: for each the biases, then the nine taps.
#[derive(Debug)]
pub(super) struct DepthwisePanels {
    kernels: &'static Kernels,
    memory: Buffer,
    /// Channels, padded.
    channels: usize,
    /// Floats from panel to panel of the channels.
    pub(super) width: usize,
    /// 1 or 2.
    pub(super) stride: usize,
    clamp: Clamp,
}

impl DepthwisePanels {
    pub(super) fn new(kernels: &'static Kernels, convolution: &Depthwise) -> Self {
        let Depthwise { channels, stride, ref weights, ref bias, clamp } = *convolution;
        let width = kernels.widest * kernels.lanes;
        let mut memory = Buffer::zeros(padded(channels).div_ceil(width) * 10 * width);
        for channel in 0..channels {
            let at = channel / width * 10 * width + channel % width;
            memory[at] = bias[channel];
            for tap in 0..9 {
                memory[at + (tap + 1) * width] = weights[channel * 9 + tap];
            }
        }
        Self { kernels, memory, channels: padded(channels), width, stride, clamp }
    }

    /// How many panels.
    pub(super) fn len(&self) -> usize {
        self.channels.div_ceil(self.width)
    }

    /// Rows that are best computed together.
    pub(super) fn together(&self) -> usize {
        self.kernels.filter_rows
    }

    /// One row of panel `index` or two, [`DepthwisePanels::width`] floats from pixel to pixel.
    pub(super) fn run(&self, index: usize, rows: &[&[f32]], columns: usize, output: &mut [f32]) {
        let size = 10 * self.width;
        let weights = &self.memory[index * size..(index + 1) * size];
        let vectors = (self.channels - index * self.width).min(self.width) / self.kernels.lanes;
        self.kernels.depthwise(rows, self.stride, columns, weights, vectors, output, self.clamp);
    }
}
