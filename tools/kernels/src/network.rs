//! A MobileNetV2 made of the fused layers, with made-up weights.

use std::sync::Arc;
use std::time::Instant;

use crate::block::{Block, BlockWeights};
use crate::kernels::{self, Clamp, Kernels, Rows};
use crate::layer::Layer;
use crate::layers::{Convolution, Dense, DenseWeights, GlobalPool, Stem, StemWeights};
use crate::pack::{Depthwise, Numbers, Pointwise, padded};
use crate::pool::Pool;

/// Expansion, output channels, how many, stride of the first: the network's table of blocks.
const BLOCKS: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
/// Outputs of the last convolution and of the dense layers after it.
const LAST: usize = 1280;
const HEAD: [usize; 3] = [1000, 750, 3];
const RELU6: Clamp = Clamp { low: 0.0, high: 6.0 };

/// Size of the input.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// 1 to 4.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// One layer, what it needs, and what it costs.
struct Step {
    layer: Box<dyn Layer>,
    name: String,
    input: Vec<usize>,
    values: Vec<f32>,
    multiply_adds: usize,
}

/// The layers, loaded for the kernels of one name.
pub struct Network {
    steps: Vec<Step>,
    pool: Pool,
    kernels: &'static Kernels,
}

/// Numbers that neither grow nor vanish through the layers, the same on every machine.
struct Weights(u32);

impl Weights {
    fn draw(&mut self, count: usize, scale: f32) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            scale * ((self.0 >> 8) as f32 / (1 << 23) as f32 - 1.0)
        };
        (0..count).map(|_| next()).collect()
    }

    fn pointwise(&mut self, inputs: usize, outputs: usize, clamp: Clamp) -> Pointwise<'static> {
        let weights = Numbers::Floats(self.draw(inputs * outputs, (6.0 / inputs as f32).sqrt()));
        Pointwise { inputs, outputs, weights, bias: self.draw(outputs, 0.2), clamp }
    }
}

impl Network {
    /// A network for the kernels called `name`, or the best ones; `None` where this processor does not have them.
    pub fn new(size: Size, name: Option<&str>, threads: usize) -> std::io::Result<Option<Self>> {
        let Some(kernels) = kernels::found().into_iter().find(|k| name.is_none_or(|name| name == k.name)) else {
            return Ok(None);
        };
        let pool = Pool::new(threads)?;
        Ok(Some(Self { steps: steps(size, kernels), pool, kernels }))
    }

    /// What the kernels are called.
    pub fn kernels(&self) -> &'static str {
        self.kernels.name
    }

    /// Floating-point operations a second that one core does at best, the fastest of many short spells.
    pub fn peak(&self) -> f64 {
        const SPELLS: usize = 200;
        const ROUNDS: usize = 20_000;
        let spell = |_| {
            let start = Instant::now();
            self.kernels.peak(ROUNDS) / start.elapsed().as_secs_f64()
        };
        (0..SPELLS).map(spell).fold(0.0, f64::max)
    }

    /// Multiplications that a film takes.
    pub fn multiply_adds(&self) -> usize {
        self.steps.iter().map(|step| step.multiply_adds).sum()
    }

    /// The layers' names and multiplications.
    pub fn layers(&self) -> impl Iterator<Item = (&str, usize)> {
        self.steps.iter().map(|step| (step.name.as_str(), step.multiply_adds))
    }

    /// Runs the layers in turn; `done` is told when each has ended. Gives the last one's output.
    pub fn run(&mut self, image: &[f32], mut done: impl FnMut(usize)) -> &[f32] {
        for index in 0..self.steps.len() {
            let (before, rest) = self.steps.split_at_mut(index);
            let input = before.last().map_or(image, |step| &step.values);
            let step = &mut rest[0];
            // The shapes are those that the layers themselves gave.
            let ran = step.layer.run(input, &step.input, &mut step.values, &self.pool);
            debug_assert!(ran.is_ok(), "{ran:?}");
            done(index);
        }
        self.steps.last().map_or(&[], |step| &step.values)
    }
}

fn steps(size: Size, kernels: &'static Kernels) -> Vec<Step> {
    let mut weights = Weights(1);
    let mut steps: Vec<Step> = Vec::new();
    let mut shape = vec![1, size.channels, size.height, size.width];
    let mut add = |layer: Box<dyn Layer>, name: String, shape: &mut Vec<usize>, cost: &dyn Fn(usize) -> usize| {
        let Ok(output) = layer.output_shape(shape) else { return };
        let pixels = output[1..output.len() - 1].iter().product();
        let input = std::mem::replace(shape, output.clone());
        let values = vec![0.0; output.iter().product()];
        steps.push(Step { layer, name, input, values, multiply_adds: cost(pixels) });
    };
    let taps = weights.pointwise(9 * size.channels, 32, RELU6);
    let stem = Stem::new(kernels, &StemWeights { inputs: size.channels, stride: 2, taps });
    add(Box::new(stem), "stem".into(), &mut shape, &|pixels| pixels * 9 * size.channels * 32);
    let mut channels = 32;
    for (t, outputs, count, first) in BLOCKS {
        for index in 0..count {
            let stride = if index == 0 { first } else { 1 };
            let wide = channels * t;
            let expand = (t > 1).then(|| weights.pointwise(channels, wide, RELU6));
            let taps = weights.draw(9 * wide, 0.8);
            let bias = weights.draw(wide, 0.2);
            let depthwise = Depthwise { channels: wide, stride, weights: taps, bias, clamp: RELU6 };
            let project = weights.pointwise(wide, outputs, Clamp::NONE);
            let residual = stride == 1 && channels == outputs;
            let block = Block::new(kernels, &BlockWeights { expand, depthwise, project, residual });
            let expanded = if t > 1 { channels * wide } else { 0 };
            let before: usize = shape[1..3].iter().product();
            let name = format!("{channels} to {wide} to {outputs}, stride {stride}");
            let cost = |pixels| before * expanded + pixels * wide * (9 + outputs);
            add(Box::new(block), name, &mut shape, &cost);
            channels = outputs;
        }
    }
    let last = Convolution::new(kernels, &weights.pointwise(channels, LAST, RELU6));
    add(Box::new(last), "last".into(), &mut shape, &|pixels| pixels * channels * LAST);
    add(Box::new(GlobalPool { channels: LAST }), "pool".into(), &mut shape, &|_| 0);
    shape = vec![1, LAST];
    let mut rows = LAST;
    for columns in HEAD {
        let mut values = vec![0.0; rows * padded(columns)];
        for row in values.chunks_exact_mut(padded(columns)) {
            row[..columns].copy_from_slice(&weights.draw(columns, (6.0 / rows as f32).sqrt()));
        }
        let weights = Arc::new(DenseWeights { rows, columns, values: Rows::Full(values), finite: true });
        let dense = Dense { kernels, weights, bias: None, backward: false };
        add(Box::new(dense), format!("dense {rows} to {columns}"), &mut shape, &|_| rows * columns);
        rows = columns;
    }
    steps
}
