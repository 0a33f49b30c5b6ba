//! Depthwise 3 × 3 convolution with a backward pass of our own.
//!
//! The stock backward pass goes through the channels one at a time and takes most of a training step. Here every
//! plane is split into its phases: the pixels that a tap of the window can meet, by their remainders by the stride,
//! lie side by side. Each tap is then one shift of one phase, and the forward pass, the gradient of the input and the
//! gradient of the weights are sums over whole shifted runs as long as a plane, however narrow it is. Columns of a run
//! beyond the output are never copied out, and are zeros wherever they would count.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::flex::{Vectors, made, plain};

/// Side of the window.
const SIDE: usize = 3;
/// Weights of a channel.
const TAPS: usize = SIDE * SIDE;
/// Runs are rounded up to this many floats, the widest vector there is.
const ROUND: usize = 16;

/// How the window goes over a plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// 1 or 2.
    pub stride: usize,
    /// Zeros before the first row and column.
    pub before: usize,
    /// Zeros after the last row and column.
    pub after: usize,
}

impl Window {
    /// One zero on every side.
    pub fn centred(stride: usize) -> Self {
        Self { stride, before: 1, after: 1 }
    }
}

/// Each channel convolved with its own window: `[n, c, h, w]` and weights `[c, 1, 3, 3]` →
/// `[n, c, (h + before + after − 3) / stride + 1, …]`.
pub fn depthwise(x: Tensor<4>, weight: Tensor<4>, window: Window) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as Depthwise>::depthwise(x.into_dispatch(), weight.into_dispatch(), window))
}

/// The operator, on the backends that have it.
#[backend_extension(Flex, Autodiff)]
trait Depthwise: Backend {
    fn depthwise(x: FloatTensor<Self>, weight: FloatTensor<Self>, window: Window) -> FloatTensor<Self>;
}

impl Depthwise for Flex {
    fn depthwise(x: FlexTensor, weight: FlexTensor, window: Window) -> FlexTensor {
        forward(&x, &weight, window)
    }
}

impl<C: CheckpointStrategy> Depthwise for Autodiff<Flex, C> {
    fn depthwise(x: FloatTensor<Self>, weight: FloatTensor<Self>, window: Window) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct DepthwiseBackward;

        impl Backward<Flex, 2> for DepthwiseBackward {
            type State = (FlexTensor, FlexTensor, Window);

            fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
                let [to_x, to_weight] = ops.parents;
                let (x, weight, window) = ops.state;
                let gradient = gradients.consume::<Flex>(&ops.node);
                let wanted = Wanted { x: to_x.is_some(), weight: to_weight.is_some() };
                let found = backward(&x, &weight, &gradient, window, wanted);
                for (node, gradient) in [(to_x, found.x), (to_weight, found.weight)] {
                    if let (Some(node), Some(gradient)) = (node, gradient) {
                        gradients.register::<Flex>(node.id, gradient);
                    }
                }
            }
        }

        match DepthwiseBackward.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (x, weight) = (x.into_primitive(), weight.into_primitive());
                let y = forward(&x, &weight, window);
                prepared.finish((x, weight, window), y)
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(forward(&x.into_primitive(), &weight.into_primitive(), window))
            }
        }
    }
}

/// Sizes of planes, phases and runs.
#[derive(Clone, Copy, Debug)]
struct Plan {
    window: Window,
    films: usize,
    channels: usize,
    /// Height and width of an input plane.
    input: [usize; 2],
    /// Height and width of an output plane.
    output: [usize; 2],
    /// Columns of a phase, and from row to row of every run.
    pitch: usize,
    /// Rows of a phase.
    rows: usize,
    /// From the first output to the last, rounded up.
    run: usize,
    /// Length of a phase's buffer.
    phase: usize,
}

impl Plan {
    fn new(shape: [usize; 4], window: Window) -> Self {
        let [films, channels, height, width] = shape;
        let Window { stride, before, after } = window;
        assert!(stride == 1 || stride == 2, "the stride is {stride}, the operator knows 1 and 2");
        let side = |length: usize| (length + before + after - SIDE) / stride + 1;
        let output = [side(height), side(width)];
        let reach = (SIDE - 1) / stride;
        let (rows, pitch) = (output[0] + reach, output[1] + reach);
        let run = ((output[0] - 1) * pitch + output[1]).next_multiple_of(ROUND);
        let phase = (reach * pitch + reach + run).next_multiple_of(ROUND);
        Self { window, films, channels, input: [height, width], output, pitch, rows, run, phase }
    }

    /// The phase of each tap, and how far it is shifted there.
    fn taps(&self) -> [(usize, usize); TAPS] {
        let stride = self.window.stride;
        std::array::from_fn(|tap| {
            let (row, column) = (tap / SIDE, tap % SIDE);
            ((row % stride) * stride + column % stride, (row / stride) * self.pitch + column / stride)
        })
    }

    fn phases(&self) -> usize {
        self.window.stride * self.window.stride
    }

    fn input_len(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn output_len(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Calls `copy(place in the input plane, place in the phases, length)` for each row of each phase that holds
    /// pixels; pixels lie `stride` apart in the input, side by side in the phases.
    #[inline(always)]
    fn rows_of_phases(&self, mut copy: impl FnMut(usize, usize, usize)) {
        let Window { stride, before, .. } = self.window;
        let [height, width] = self.input;
        // The first of the phase's places that lies inside, and how many do.
        let inside = |remainder: usize, places: usize, length: usize| {
            let first = before.saturating_sub(remainder).div_ceil(stride);
            let last = (length + before).saturating_sub(remainder).div_ceil(stride).min(places);
            (first, last.saturating_sub(first))
        };
        for down in 0..stride {
            let (first_row, rows) = inside(down, self.rows, height);
            for across in 0..stride {
                let (first_column, columns) = inside(across, self.pitch, width);
                if columns == 0 {
                    continue;
                }
                let start = (down * stride + across) * self.phase;
                for row in first_row..first_row + rows {
                    let y = row * stride + down - before;
                    let x = first_column * stride + across - before;
                    copy(y * width + x, start + row * self.pitch + first_column, columns);
                }
            }
        }
    }
}

/// Sorts the pixels of a plane into its phases.
struct Split<'a> {
    plan: &'a Plan,
    plane: &'a [f32],
    phases: &'a mut [f32],
}

impl WithSimd for Split<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { plan, plane, phases } = self;
        plan.rows_of_phases(
            #[inline(always)]
            |from, to, count| {
                let to = &mut phases[to..to + count];
                if plan.window.stride == 1 {
                    to.copy_from_slice(&plane[from..from + count]);
                } else {
                    let (pairs, last) = plane[from..from + 2 * count - 1].as_chunks::<2>();
                    to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[0]);
                    to[count - 1] = last[0];
                }
            },
        );
    }
}

/// Puts the pixels of phases back into their plane.
struct Join<'a> {
    plan: &'a Plan,
    phases: &'a [f32],
    plane: &'a mut [f32],
}

impl WithSimd for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { plan, phases, plane } = self;
        plan.rows_of_phases(
            #[inline(always)]
            |to, from, count| {
                let from = &phases[from..from + count];
                if plan.window.stride == 1 {
                    plane[to..to + count].copy_from_slice(from);
                } else {
                    let (pairs, last) = plane[to..to + 2 * count - 1].as_chunks_mut::<2>();
                    // Both are written, as vectors write both.
                    pairs.iter_mut().zip(from).for_each(|(pair, from)| *pair = [*from, pair[1]]);
                    last[0] = from[count - 1];
                }
            },
        );
    }
}

/// `sum[i] = Σ weights[t] · runs[t][i]`.
struct WeightedSum<'a, const T: usize> {
    weights: [f32; T],
    runs: [&'a [f32]; T],
    sum: &'a mut [f32],
}

impl<const T: usize> WithSimd for WeightedSum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let weights = self.weights.map(|weight| simd.splat_f32s(weight));
        let (sum, _) = S::as_mut_simd_f32s(self.sum);
        let runs = self.runs.map(|run| &S::as_simd_f32s(run).0[..sum.len()]);
        for (i, sum) in sum.iter_mut().enumerate() {
            let mut total = simd.mul_f32s(weights[0], runs[0][i]);
            for tap in 1..T {
                total = simd.mul_add_e_f32s(weights[tap], runs[tap][i], total);
            }
            *sum = total;
        }
    }
}

/// Adds `Σ runs[t][i] · other[i]` to `sums[t]`.
struct Products<'a> {
    runs: [&'a [f32]; TAPS],
    other: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (other, _) = S::as_simd_f32s(self.other);
        let runs = self.runs.map(|run| &S::as_simd_f32s(run).0[..other.len()]);
        let mut totals = [simd.splat_f32s(0.0); TAPS];
        for (i, other) in other.iter().enumerate() {
            for (total, run) in totals.iter_mut().zip(&runs) {
                *total = simd.mul_add_e_f32s(run[i], *other, *total);
            }
        }
        for (sum, total) in self.sums.iter_mut().zip(totals) {
            *sum += simd.reduce_sum_f32s(total);
        }
    }
}

/// `sum = Σ weights · runs` over as many taps as a phase has: all nine, or 4, 2, 2 and 1.
fn weighted_sum(vectors: Vectors, taps: &[(f32, &[f32])], sum: &mut [f32]) {
    fn of<const T: usize>(vectors: Vectors, taps: &[(f32, &[f32])], sum: &mut [f32]) {
        let weights = std::array::from_fn(|tap| taps[tap].0);
        let runs = std::array::from_fn(|tap| taps[tap].1);
        vectors.run(WeightedSum::<T> { weights, runs, sum });
    }
    match taps.len() {
        1 => of::<1>(vectors, taps, sum),
        2 => of::<2>(vectors, taps, sum),
        4 => of::<4>(vectors, taps, sum),
        _ => of::<TAPS>(vectors, taps, sum),
    }
}

fn forward(x: &FlexTensor, weight: &FlexTensor, window: Window) -> FlexTensor {
    let (x, weight) = (plain(x), plain(weight));
    let plan = Plan::new(x.layout().shape().dims(), window);
    let [height, width] = plan.output;
    let mut y = vec![0.0; plan.films * plan.channels * plan.output_len()];
    let (pixels, weights) = (x.storage::<f32>(), weight.storage::<f32>());
    let (taps, vectors) = (plan.taps(), Vectors::new());
    let film = plan.channels * plan.output_len();
    y.par_chunks_mut(film.max(1)).zip(pixels.par_chunks(plan.channels * plan.input_len())).for_each(|(y, x)| {
        let mut phases = vec![0.0; plan.phases() * plan.phase];
        let mut sum = vec![0.0; plan.run];
        let planes = y.chunks_mut(plan.output_len()).zip(x.chunks(plan.input_len()));
        for ((y, x), weights) in planes.zip(weights.chunks(TAPS)) {
            vectors.run(Split { plan: &plan, plane: x, phases: &mut phases });
            let shifted: [(f32, &[f32]); TAPS] = std::array::from_fn(|tap| {
                let (phase, shift) = taps[tap];
                (weights[tap], &phases[phase * plan.phase + shift..][..plan.run])
            });
            weighted_sum(vectors, &shifted, &mut sum);
            for (row, run) in y.chunks_mut(width).zip(sum.chunks(plan.pitch)) {
                row.copy_from_slice(&run[..width]);
            }
        }
    });
    made(y, [plan.films, plan.channels, height, width])
}

/// Which gradients are asked for.
#[derive(Clone, Copy)]
struct Wanted {
    x: bool,
    weight: bool,
}

/// Those that were.
struct Found {
    x: Option<FlexTensor>,
    weight: Option<FlexTensor>,
}

fn backward(x: &FlexTensor, weight: &FlexTensor, gradient: &FlexTensor, window: Window, wanted: Wanted) -> Found {
    let (x, weight, gradient) = (plain(x), plain(weight), plain(gradient));
    let plan = Plan::new(x.layout().shape().dims(), window);
    let (pixels, weights, slopes) = (x.storage::<f32>(), weight.storage::<f32>(), gradient.storage::<f32>());
    let film = plan.channels * plan.input_len();
    let mut of_x = vec![0.0; if wanted.x { plan.films * film } else { 0 }];
    // One sum a film, added in their order: the same result with any number of threads.
    let mut of_weight = vec![0.0; plan.films * plan.channels * TAPS];
    let films = of_weight.par_chunks_mut(plan.channels * TAPS).enumerate();
    let one = |n: usize, of_x: &mut [f32], of_weight: &mut [f32]| {
        let x = &pixels[n * film..][..film];
        let slopes = &slopes[n * plan.channels * plan.output_len()..][..plan.channels * plan.output_len()];
        backward_film(&plan, x, weights, slopes, wanted, of_x, of_weight);
    };
    if wanted.x {
        of_x.par_chunks_mut(film).zip(films).for_each(|(of_x, (n, of_weight))| one(n, of_x, of_weight));
    } else {
        films.for_each(|(n, of_weight)| one(n, &mut [], of_weight));
    }
    let total = of_weight.chunks(plan.channels * TAPS).fold(vec![0.0; plan.channels * TAPS], |mut total, film| {
        total.iter_mut().zip(film).for_each(|(total, one)| *total += one);
        total
    });
    let [height, width] = plan.input;
    Found {
        x: wanted.x.then(|| made(of_x, [plan.films, plan.channels, height, width])),
        weight: wanted.weight.then(|| made(total, [plan.channels, 1, SIDE, SIDE])),
    }
}

fn backward_film(
    plan: &Plan,
    x: &[f32],
    weights: &[f32],
    slopes: &[f32],
    wanted: Wanted,
    of_x: &mut [f32],
    of_weight: &mut [f32],
) {
    let (taps, vectors) = (plan.taps(), Vectors::new());
    let mut phases = vec![0.0; plan.phases() * plan.phase];
    let mut of_phases = phases.clone();
    // The run of slopes with zeros before it, for taps shifted further than others, and after it.
    let lead = taps[TAPS - 1].1;
    let mut run = vec![0.0; lead + plan.phase.max(plan.run)];
    for (channel, weights) in weights.chunks(TAPS).enumerate() {
        let slopes = &slopes[channel * plan.output_len()..][..plan.output_len()];
        for (to, from) in run[lead..].chunks_mut(plan.pitch).zip(slopes.chunks(plan.output[1])) {
            to[..from.len()].copy_from_slice(from);
        }
        if wanted.weight {
            let plane = &x[channel * plan.input_len()..][..plan.input_len()];
            vectors.run(Split { plan, plane, phases: &mut phases });
            let runs = std::array::from_fn(|tap| &phases[taps[tap].0 * plan.phase + taps[tap].1..][..plan.run]);
            let sums = &mut of_weight[channel * TAPS..][..TAPS];
            vectors.run(Products { runs, other: &run[lead..][..plan.run], sums });
        }
        if wanted.x {
            for phase in 0..plan.phases() {
                let mut shifted = [(0.0, &run[..0]); TAPS];
                let mut count = 0;
                for (tap, (_, shift)) in taps.iter().enumerate().filter(|(_, (of, _))| *of == phase) {
                    shifted[count] = (weights[tap], &run[lead - shift..][..plan.phase]);
                    count += 1;
                }
                weighted_sum(vectors, &shifted[..count], &mut of_phases[phase * plan.phase..][..plan.phase]);
            }
            let plane = &mut of_x[channel * plan.input_len()..][..plan.input_len()];
            vectors.run(Join { plan, phases: &of_phases, plane });
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::module::conv2d;
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Device, Distribution};

    use super::*;

    fn stock(x: Tensor<4>, weight: Tensor<4>, window: Window) -> Tensor<4> {
        let channels = x.dims()[1];
        let padding = [(window.before, window.after); 2];
        conv2d(x, weight, None, ConvOptions::new_with_padding([window.stride; 2], padding, [1; 2], channels))
    }

    #[track_caller]
    fn close(found: Tensor<4>, expected: Tensor<4>) {
        assert_eq!(found.dims(), expected.dims());
        let size = expected.clone().abs().max().into_scalar::<f32>().max(1.0);
        let apart: f32 = (found - expected).abs().max().into_scalar();
        assert!(apart <= 1e-5 * size, "{apart} apart at a size of {size}");
    }

    #[track_caller]
    fn check(shape: [usize; 4], window: Window) {
        let device = Device::flex().autodiff();
        device.seed(7);
        let random = |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let x = random(shape).require_grad();
        let weight = random([shape[1], 1, 3, 3]).require_grad();
        let ours = depthwise(x.clone(), weight.clone(), window);
        let theirs = stock(x.clone(), weight.clone(), window);
        close(ours.clone(), theirs.clone());
        let slopes = random(ours.dims());
        let of_ours = (ours * slopes.clone()).sum().backward();
        let of_theirs = (theirs * slopes).sum().backward();
        for tensor in [x, weight] {
            close(tensor.grad(&of_ours).unwrap(), tensor.grad(&of_theirs).unwrap());
        }
    }

    #[test]
    fn stride_one_agrees_with_the_stock_operator() {
        for (height, width) in [(1, 1), (2, 5), (3, 3), (7, 9), (16, 16), (25, 34), (6, 1)] {
            check([2, 3, height, width], Window::centred(1));
        }
    }

    #[test]
    fn stride_two_agrees_with_the_stock_operator() {
        for (height, width) in [(1, 1), (2, 5), (3, 3), (7, 9), (16, 16), (25, 34), (6, 1)] {
            check([2, 3, height, width], Window::centred(2));
        }
    }

    #[test]
    fn zeros_on_one_side_alone_agree_with_the_stock_operator() {
        for (height, width) in [(2, 5), (8, 8), (7, 10)] {
            check([1, 4, height, width], Window { stride: 2, before: 0, after: 1 });
            check([1, 4, height, width], Window { stride: 1, before: 0, after: 2 });
        }
    }

    #[test]
    fn a_transposed_input_is_read_as_it_is_laid_out() {
        let device = Device::flex();
        let x = Tensor::<4>::random([1, 6, 5, 8], Distribution::Default, &device);
        let weight = Tensor::<4>::random([6, 1, 3, 3], Distribution::Default, &device);
        let turned = x.swap_dims(2, 3);
        let window = Window::centred(1);
        close(depthwise(turned.clone(), weight.clone(), window), stock(turned, weight, window));
    }

    #[test]
    fn a_weight_that_is_fixed_gets_no_gradient() {
        let device = Device::flex().autodiff();
        let x = Tensor::<4>::ones([1, 2, 4, 4], &device).require_grad();
        let weight = Tensor::<4>::ones([2, 1, 3, 3], &device);
        let gradients = depthwise(x.clone(), weight.clone(), Window::centred(1)).sum().backward();
        assert!(weight.grad(&gradients).is_none());
        // A pixel in a corner is met by four windows.
        assert_eq!(x.grad(&gradients).unwrap().into_data().iter::<f32>().next(), Some(4.0));
    }
}
