//! Layers of any shape against plain loops in f64, with every set of kernels and one to four threads.

use std::sync::Arc;

use crate::block::{Block, BlockWeights};
use crate::draw::Draw;
use crate::kernels::{self, Clamp, Rows};
use crate::layer::Layer;
use crate::layers::{Convolution, Dense, DenseWeights, GlobalPool, Stem, StemWeights};
use crate::pack::{Depthwise, Numbers, Pointwise, padded};
use crate::pool::Pool;

const RELU6: Clamp = Clamp { low: 0.0, high: 6.0 };

/// Planes `[channels][height][width]`.
#[derive(Clone)]
struct Planes {
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<f64>,
}

impl Planes {
    fn random(draw: &mut Draw, channels: usize, height: usize, width: usize) -> Self {
        let values = (0..channels * height * width).map(|_| f64::from(2.0 * draw.signed())).collect();
        Self { channels, height, width, values }
    }

    /// Zero outside.
    fn at(&self, channel: usize, y: isize, x: isize) -> f64 {
        let (Ok(y), Ok(x)) = (usize::try_from(y), usize::try_from(x)) else { return 0.0 };
        if y >= self.height || x >= self.width {
            return 0.0;
        }
        self.values[(channel * self.height + y) * self.width + x]
    }

    fn planar(&self) -> Vec<f32> {
        self.values.iter().map(|v| *v as f32).collect()
    }

    fn channels_last(&self) -> Vec<f32> {
        let (stride, count) = (padded(self.channels), self.height * self.width);
        let mut found = vec![0.0; stride * count];
        for (i, value) in self.values.iter().enumerate() {
            found[i % count * stride + i / count] = *value as f32;
        }
        found
    }

    /// A 3×3 convolution with a padding of one pixel: `group` tells which channels output `o` reads.
    fn filtered(&self, outputs: usize, stride: usize, own: bool, taps: &[f32], bias: &[f32], clamp: Clamp) -> Self {
        let (height, width) = (self.height.div_ceil(stride), self.width.div_ceil(stride));
        let depth = if own { 1 } else { self.channels };
        let mut values = Vec::new();
        for o in 0..outputs {
            for (y, x) in (0..height * width).map(|i| ((i / width * stride) as isize, (i % width * stride) as isize)) {
                let mut sum = f64::from(bias[o]);
                for c in 0..depth {
                    for tap in 0..9 {
                        let value = self.at(if own { o } else { c }, y + tap / 3 - 1, x + tap % 3 - 1);
                        sum += value * f64::from(taps[(o * depth + c) * 9 + tap as usize]);
                    }
                }
                values.push(sum.clamp(f64::from(clamp.low), f64::from(clamp.high)));
            }
        }
        Self { channels: outputs, height, width, values }
    }

    fn mixed(&self, weights: &Pointwise<'_>) -> Self {
        let matrix = weights.weights.to_floats();
        let count = self.height * self.width;
        let mut values = Vec::new();
        for o in 0..weights.outputs {
            for pixel in 0..count {
                let products = (0..self.channels)
                    .map(|c| self.values[c * count + pixel] * f64::from(matrix[o * self.channels + c]));
                let sum = f64::from(weights.bias[o]) + products.sum::<f64>();
                values.push(sum.clamp(f64::from(weights.clamp.low), f64::from(weights.clamp.high)));
            }
        }
        Self { channels: weights.outputs, values, ..*self }
    }
}

fn random(draw: &mut Draw, count: usize) -> Vec<f32> {
    (0..count).map(|_| draw.signed()).collect()
}

fn pointwise(draw: &mut Draw, inputs: usize, outputs: usize, clamp: Clamp) -> Pointwise<'static> {
    let weights = Numbers::Floats(random(draw, inputs * outputs));
    Pointwise { inputs, outputs, weights, bias: random(draw, outputs), clamp }
}

/// The layer's output with one thread, after two to four gave the same bits.
#[track_caller]
fn run(layer: &dyn Layer, shape: &[usize], input: &[f32]) -> Vec<f32> {
    let output = layer.output_shape(shape).expect("a shape that fits");
    let mut found: Option<Vec<u32>> = None;
    for threads in 1..=4 {
        let mut values = vec![f32::NAN; output.iter().product()];
        layer.run(input, shape, &mut values, &Pool::new(threads).expect("threads")).expect("an output");
        let bits: Vec<u32> = values.iter().map(|v| v.to_bits()).collect();
        assert!(*found.get_or_insert_with(|| bits.clone()) == bits, "{} with {threads} threads", layer.name());
    }
    found.unwrap_or_default().into_iter().map(f32::from_bits).collect()
}

#[track_caller]
fn near(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() <= 1e-5 * largest, "{what}: {found}, expected {expected}");
    }
}

/// Channels-last pixels: what lies in the padding is zero, or would be read as a channel.
#[track_caller]
fn near_pixels(found: &[f32], expected: &Planes, what: &str) {
    let (stride, count) = (padded(expected.channels), expected.height * expected.width);
    let mut planar = Vec::new();
    for channel in 0..stride {
        let plane = (0..count).map(|pixel| found[pixel * stride + channel]);
        if channel < expected.channels {
            planar.extend(plane);
        } else {
            assert!(plane.into_iter().all(|value| value == 0.0), "{what}: the padding is not zero");
        }
    }
    near(&planar, &expected.values, what);
}

#[test]
fn blocks_of_any_shape_are_right() {
    for kernels in kernels::found() {
        let mut draw = Draw(31);
        for round in 0..40 {
            let inputs = 1 + draw.below(50);
            let outputs = if draw.below(2) == 0 { inputs } else { 1 + draw.below(50) };
            let (stride, t) = (1 + draw.below(2), [1, 2, 3, 6][draw.below(4)]);
            let wide = inputs * t;
            // A few are too large for one band.
            let (height, width) = if round % 8 == 0 { (40, 61) } else { (1 + draw.below(20), 1 + draw.below(20)) };
            let image = Planes::random(&mut draw, inputs, height, width);
            let expand = (t > 1).then(|| pointwise(&mut draw, inputs, wide, RELU6));
            let weights = random(&mut draw, 9 * wide);
            let depthwise = Depthwise { channels: wide, stride, weights, bias: random(&mut draw, wide), clamp: RELU6 };
            let project = pointwise(&mut draw, wide, outputs, Clamp::NONE);
            let residual = stride == 1 && inputs == outputs && draw.below(2) == 0;
            let mut expected = image.clone();
            if let Some(expand) = &expand {
                expected = expected.mixed(expand);
            }
            expected =
                expected.filtered(wide, stride, true, &depthwise.weights, &depthwise.bias, RELU6).mixed(&project);
            if residual {
                expected.values.iter_mut().zip(&image.values).for_each(|(sum, value)| *sum += value);
            }
            let block = Block::new(kernels, &BlockWeights { expand, depthwise, project, residual });
            let found = run(&block, &[1, height, width, padded(inputs)], &image.channels_last());
            let what = format!("{} {inputs} to {wide} to {outputs}, {height} × {width}, step {stride}", kernels.name);
            near_pixels(&found, &expected, &what);
        }
    }
}

#[test]
fn stems_of_any_shape_are_right() {
    for kernels in kernels::found() {
        let mut draw = Draw(32);
        for _ in 0..30 {
            let (inputs, outputs, stride) = (1 + draw.below(4), 1 + draw.below(40), 1 + draw.below(2));
            let (height, width) = (1 + draw.below(30), 1 + draw.below(30));
            let image = Planes::random(&mut draw, inputs, height, width);
            let taps = pointwise(&mut draw, 9 * inputs, outputs, RELU6);
            let expected = image.filtered(outputs, stride, false, &taps.weights.to_floats(), &taps.bias, RELU6);
            let stem = Stem::new(kernels, &StemWeights { inputs, stride, taps });
            let found = run(&stem, &[1, inputs, height, width], &image.planar());
            near_pixels(&found, &expected, &format!("{} {inputs} to {outputs}, {height} × {width}", kernels.name));
        }
    }
}

#[test]
fn convolutions_and_the_mean_of_any_shape_are_right() {
    for kernels in kernels::found() {
        let mut draw = Draw(33);
        for _ in 0..30 {
            let (inputs, outputs) = (1 + draw.below(90), 1 + draw.below(150));
            let (height, width) = (1 + draw.below(12), 1 + draw.below(12));
            let image = Planes::random(&mut draw, inputs, height, width);
            let weights = pointwise(&mut draw, inputs, outputs, RELU6);
            let expected = image.mixed(&weights);
            let convolution = Convolution::new(kernels, &weights);
            let found = run(&convolution, &[1, height, width, padded(inputs)], &image.channels_last());
            near_pixels(&found, &expected, &format!("{} {inputs} to {outputs}", kernels.name));
            let count = height * width;
            let means: Vec<f64> = expected.values.chunks(count).map(|p| p.iter().sum::<f64>() / count as f64).collect();
            let found = run(&GlobalPool { channels: outputs }, &[1, height, width, padded(outputs)], &found);
            near(&found, &means, "mean");
        }
    }
}

#[test]
fn dense_layers_of_any_shape_are_right_both_ways() {
    for kernels in kernels::found() {
        let mut draw = Draw(34);
        for round in 0..30 {
            let (rows, columns) = (1 + draw.below(120), 1 + draw.below(90));
            let dense = random(&mut draw, rows * columns);
            let mut values = vec![0.0; rows * padded(columns)];
            for (to, from) in values.chunks_exact_mut(padded(columns)).zip(dense.chunks_exact(columns)) {
                to[..columns].copy_from_slice(from);
            }
            let weights = Arc::new(DenseWeights { rows, columns, values: Rows::Full(values), finite: round % 2 == 0 });
            let images = 1 + draw.below(6);
            for backward in [false, true] {
                let (inputs, outputs) = if backward { (columns, rows) } else { (rows, columns) };
                let input: Vec<f32> =
                    random(&mut draw, images * inputs).into_iter().map(|v| if v < -0.5 { 0.0 } else { v }).collect();
                let bias = (draw.below(2) == 0).then(|| random(&mut draw, outputs));
                let mut expected = Vec::new();
                for image in input.chunks(inputs) {
                    for o in 0..outputs {
                        let weight = |i: usize| if backward { dense[o * columns + i] } else { dense[i * columns + o] };
                        let products = image.iter().enumerate().map(|(i, v)| f64::from(*v) * f64::from(weight(i)));
                        expected.push(products.sum::<f64>() + bias.as_ref().map_or(0.0, |b| f64::from(b[o])));
                    }
                }
                let layer = Dense { kernels, weights: Arc::clone(&weights), bias, backward };
                let found = run(&layer, &[images, inputs], &input);
                near(&found, &expected, &format!("{} {rows} × {columns}, backward {backward}", kernels.name));
            }
        }
    }
}
