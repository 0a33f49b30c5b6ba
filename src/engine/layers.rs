//! The layers around the blocks: stem, single 1×1 convolutions, pooling, dense layers and the changes of layout.

use std::sync::Arc;

use super::kernels::{Clamp, Kernels, Pixels, Rows};
use super::layer::{Image, Layer, ShapeError, pixels_of, planes_of};
use super::pack::{Cut, Panels, Pointwise, padded};
use super::pool::{Pool, with_scratch};

/// First row, pixel or channel of part `part` of `parts` of `count`.
fn share(count: usize, part: usize, parts: usize) -> usize {
    count * part / parts
}

/// A 3×3 convolution of an image of few channels, padded by one pixel on each side.
#[derive(Clone, Debug)]
pub(super) struct StemWeights<'a> {
    /// Channels read, at most [`Stem::MAX_CHANNELS`].
    pub(super) inputs: usize,
    /// 1 or 2.
    pub(super) stride: usize,
    /// As a 1×1 convolution of the `9 · inputs` pixels under each output, `[outputs][inputs][3][3]`.
    pub(super) taps: Pointwise<'a>,
}

/// The first convolution: planes in, channels-last pixels out.
#[derive(Debug)]
pub(super) struct Stem {
    inputs: usize,
    stride: usize,
    panels: Panels,
}

impl Stem {
    /// Most channels of an image.
    pub(super) const MAX_CHANNELS: usize = 4;

    pub(super) fn new(kernels: &'static Kernels, weights: &StemWeights<'_>) -> Self {
        Self { inputs: weights.inputs, stride: weights.stride, panels: Panels::new(kernels, &weights.taps, Cut::Even) }
    }

    fn size(&self, image: Image) -> Image {
        Image { height: image.height.div_ceil(self.stride), width: image.width.div_ceil(self.stride) }
    }

    /// Floats from one pixel's taps to the next's: room for one more than there are, of any value.
    fn depth(&self) -> usize {
        (self.panels.inputs + 1).next_multiple_of(4)
    }

    /// The pixels under row `y` of the output: for each pixel nine of the first channel, nine of the next. `line` has
    /// room for a row with a column of zeros at its left and two at its right.
    fn gather(&self, input: &[f32], image: Image, y: usize, line: &mut [f32], taps: &mut [f32]) {
        let depth = self.depth();
        line[0] = 0.0;
        line[image.width + 1..].fill(0.0);
        for channel in 0..self.inputs {
            let plane = &input[channel * image.height * image.width..(channel + 1) * image.height * image.width];
            for ky in 0..3 {
                let at = channel * 9 + ky * 3;
                let row = (y * self.stride + ky).checked_sub(1).filter(|row| *row < image.height);
                match row {
                    Some(row) => {
                        let row = &plane[row * image.width..(row + 1) * image.width];
                        line[1..=image.width].copy_from_slice(row);
                    }
                    None => line.fill(0.0),
                }
                // Four at once: what is one too many is written over by the next three.
                for (taps, under) in taps.chunks_exact_mut(depth).zip(line.windows(4).step_by(self.stride)) {
                    taps[at..at + 4].copy_from_slice(under);
                }
            }
        }
    }
}

impl Layer for Stem {
    fn name(&self) -> &'static str {
        "Stem"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let Image { height, width } = self.size(planes_of(input, self.inputs)?);
        Ok(vec![1, height, width, padded(self.panels.outputs)])
    }

    fn run(&self, input: &[f32], shape: &[usize], output: &mut [f32], pool: &Pool) -> Result<(), ShapeError> {
        let image = planes_of(shape, self.inputs)?;
        let size = self.size(image);
        let stride = padded(self.panels.outputs);
        let row = size.width * stride;
        let depth = self.panels.inputs;
        let parts = pool.threads().min(size.height);
        pool.run_on_parts(output, parts, &|part| share(size.height, part, parts) * row, &|part, output| {
            let rows = share(size.height, part, parts)..share(size.height, part + 1, parts);
            with_scratch(size.width * self.depth() + image.width + 3, |memory| {
                let (taps, line) = memory.split_at_mut(size.width * self.depth());
                for (y, output) in rows.zip(output.chunks_exact_mut(row)) {
                    self.gather(input, image, y, line, taps);
                    let source = Pixels {
                        values: taps,
                        stride: self.depth(),
                        segment: depth,
                        segment_stride: 0,
                        depth,
                        count: size.width,
                    };
                    self.panels.run_all(source, output, stride, None);
                }
            });
        });
        Ok(())
    }
}

/// A 1×1 convolution of channels-last pixels.
#[derive(Debug)]
pub(super) struct Convolution {
    panels: Panels,
}

impl Convolution {
    pub(super) fn new(kernels: &'static Kernels, weights: &Pointwise<'_>) -> Self {
        Self { panels: Panels::new(kernels, weights, Cut::Even) }
    }
}

impl Layer for Convolution {
    fn name(&self) -> &'static str {
        "Pointwise"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let Image { height, width } = pixels_of(input, padded(self.panels.inputs))?;
        Ok(vec![1, height, width, padded(self.panels.outputs)])
    }

    fn run(&self, input: &[f32], shape: &[usize], output: &mut [f32], pool: &Pool) -> Result<(), ShapeError> {
        let (from, to) = (padded(self.panels.inputs), padded(self.panels.outputs));
        let image = pixels_of(shape, from)?;
        let count = image.height * image.width;
        let parts = pool.threads().min(count);
        pool.run_on_parts(output, parts, &|part| share(count, part, parts) * to, &|part, output| {
            let first = share(count, part, parts);
            let source = Pixels {
                values: &input[first * from..],
                stride: from,
                segment: self.panels.inputs,
                segment_stride: 0,
                depth: self.panels.inputs,
                count: share(count, part + 1, parts) - first,
            };
            self.panels.run_all(source, output, to, None);
        });
        Ok(())
    }
}

/// Mean over all pixels: channels-last pixels in, `[1, channels, 1, 1]` out.
#[derive(Debug)]
pub(super) struct GlobalPool {
    /// Channels.
    pub(super) channels: usize,
}

impl Layer for GlobalPool {
    fn name(&self) -> &'static str {
        "GlobalPool"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        pixels_of(input, padded(self.channels))?;
        Ok(vec![1, self.channels, 1, 1])
    }

    fn run(&self, input: &[f32], shape: &[usize], output: &mut [f32], _pool: &Pool) -> Result<(), ShapeError> {
        let Image { height, width } = pixels_of(shape, padded(self.channels))?;
        output.fill(0.0);
        for pixel in input.chunks_exact(padded(self.channels)) {
            for (sum, value) in output.iter_mut().zip(pixel) {
                *sum += value;
            }
        }
        let count = (height * width) as f32;
        output.iter_mut().for_each(|sum| *sum /= count);
        Ok(())
    }
}

/// Channels-last pixels to planes, for what is not fused.
#[derive(Debug)]
pub(super) struct ToPlanes {
    /// Channels.
    pub(super) channels: usize,
}

impl Layer for ToPlanes {
    fn name(&self) -> &'static str {
        "ToPlanes"
    }

    fn makes_planes(&self) -> bool {
        true
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let Image { height, width } = pixels_of(input, padded(self.channels))?;
        Ok(vec![1, self.channels, height, width])
    }

    fn run(&self, input: &[f32], shape: &[usize], output: &mut [f32], _pool: &Pool) -> Result<(), ShapeError> {
        let Image { height, width } = pixels_of(shape, padded(self.channels))?;
        let count = height * width;
        for (pixel, values) in input.chunks_exact(padded(self.channels)).enumerate() {
            for (to, from) in output[pixel..].iter_mut().step_by(count).zip(values) {
                *to = *from;
            }
        }
        Ok(())
    }
}

/// Planes to channels-last pixels, for what comes from layers that are not fused.
#[derive(Debug)]
pub(super) struct FromPlanes {
    /// Channels.
    pub(super) channels: usize,
}

impl Layer for FromPlanes {
    fn name(&self) -> &'static str {
        "FromPlanes"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let Image { height, width } = planes_of(input, self.channels)?;
        Ok(vec![1, height, width, padded(self.channels)])
    }

    fn run(&self, input: &[f32], shape: &[usize], output: &mut [f32], _pool: &Pool) -> Result<(), ShapeError> {
        let Image { height, width } = planes_of(shape, self.channels)?;
        let count = height * width;
        for (pixel, values) in output.chunks_exact_mut(padded(self.channels)).enumerate() {
            let (values, rest) = values.split_at_mut(self.channels);
            for (to, from) in values.iter_mut().zip(input[pixel..].iter().step_by(count)) {
                *to = *from;
            }
            rest.fill(0.0);
        }
        Ok(())
    }
}

/// Weights of a dense layer, `[rows][columns]`, used forwards and, for Grad-CAM, backwards.
#[derive(Debug)]
pub(super) struct DenseWeights {
    /// Inputs of the layer.
    pub(super) rows: usize,
    /// Outputs of the layer.
    pub(super) columns: usize,
    /// Rows padded to [`padded`] columns.
    pub(super) values: Rows,
    /// Whether every weight is finite, so that what is multiplied by zero can be left out.
    pub(super) finite: bool,
}

/// A dense layer: `[n, rows]` to `[n, columns]`, or backwards `[n, columns]` to `[n, rows]`.
#[derive(Debug)]
pub(super) struct Dense {
    pub(super) kernels: &'static Kernels,
    pub(super) weights: Arc<DenseWeights>,
    /// One an output, or none.
    pub(super) bias: Option<Vec<f32>>,
    /// Through the transposed weights.
    pub(super) backward: bool,
}

impl Dense {
    fn sizes(&self) -> (usize, usize) {
        let DenseWeights { rows, columns, .. } = *self.weights;
        if self.backward { (columns, rows) } else { (rows, columns) }
    }

    fn forward(&self, input: &[f32], output: &mut [f32], pool: &Pool) {
        let stride = padded(self.weights.columns);
        let finite = self.weights.finite;
        let picked: Vec<u32> =
            (0u32..).zip(input).filter(|(_, value)| !finite || **value != 0.0).map(|(row, _)| row).collect();
        with_scratch(stride, |sums| {
            match &self.bias {
                Some(bias) => {
                    sums[..bias.len()].copy_from_slice(bias);
                    sums[bias.len()..].fill(0.0);
                }
                None => sums.fill(0.0),
            }
            let vectors = stride / padded(1);
            let parts = pool.threads().min(vectors);
            let first = |part: usize| share(vectors, part, parts) * padded(1);
            pool.run_on_parts(sums, parts, &first, &|part, sums| {
                self.kernels.dense_forward(&self.weights.values, stride, &picked, first(part), input, sums);
            });
            output.copy_from_slice(&sums[..output.len()]);
        });
    }

    /// `count` rows at once, at most [`Dense::TOGETHER`]: each weight is read once for all of them.
    fn backward(&self, count: usize, input: &[f32], output: &mut [f32], pool: &Pool) {
        let DenseWeights { rows, columns, ref values, .. } = *self.weights;
        let stride = padded(columns);
        let picked: Vec<u32> = (0..rows as u32).collect();
        let parts = pool.threads().min(rows);
        let first = |part: usize| share(rows, part, parts);
        with_scratch(count * (stride + rows), |scratch| {
            let (inputs, outputs) = scratch.split_at_mut(count * stride);
            for (to, from) in inputs.chunks_exact_mut(stride).zip(input.chunks_exact(columns)) {
                to[..columns].copy_from_slice(from);
                to[columns..].fill(0.0);
            }
            let inputs = &*inputs;
            // Each part has its own `count` short rows, one after the other.
            pool.run_on_parts(outputs, parts, &|part| count * first(part), &|part, outputs| {
                let picked = &picked[first(part)..first(part + 1)];
                self.kernels.dense_backward(values.view(), stride, picked, count, inputs, outputs);
            });
            for part in 0..parts {
                let own = first(part)..first(part + 1);
                let source = &outputs[count * own.start..count * own.end];
                for (row, values) in source.chunks_exact(own.len()).enumerate() {
                    output[row * rows + own.start..row * rows + own.end].copy_from_slice(values);
                }
            }
        });
        if let Some(bias) = &self.bias {
            for row in output.chunks_exact_mut(rows) {
                for (value, bias) in row.iter_mut().zip(bias) {
                    *value += bias;
                }
            }
        }
    }

    /// Most rows that go backwards at once.
    pub(super) const TOGETHER: usize = 4;
}

impl Layer for Dense {
    fn name(&self) -> &'static str {
        "Dense"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let (inputs, outputs) = self.sizes();
        match *input {
            [rows, found] if found == inputs && rows > 0 => Ok(vec![rows, outputs]),
            _ => Err(ShapeError::new(input, format!("[rows, {inputs}]"))),
        }
    }

    fn run(&self, input: &[f32], _shape: &[usize], output: &mut [f32], pool: &Pool) -> Result<(), ShapeError> {
        let (inputs, outputs) = self.sizes();
        if self.backward {
            let together = (inputs * Self::TOGETHER, outputs * Self::TOGETHER);
            for (input, output) in input.chunks(together.0).zip(output.chunks_mut(together.1)) {
                self.backward(input.len() / inputs, input, output, pool);
            }
        } else {
            for (input, output) in input.chunks_exact(inputs).zip(output.chunks_exact_mut(outputs)) {
                self.forward(input, output, pool);
            }
        }
        Ok(())
    }
}

/// Rectified linear: no upper limit.
pub(super) const RELU: Clamp = Clamp { low: 0.0, high: f32::INFINITY };
