//! Batch normalisation with the statistics of the batch, and the clipping to 0 to 6 behind it, as one operator.
//!
//! The stock operators go over memory once for each of a dozen steps, forwards and backwards. Here it is two passes
//! each way: one for the sums of a channel, one for its values.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::flex::{Vectors, made, plain};

/// Sums are kept in this many parts, so that vectors of any width can make them.
const LANES: usize = 16;
/// Where ReLU6 clips.
const SIX: f32 = 6.0;

/// `norm` in training, as [`BatchNorm::forward`], clipped to 0 to 6 where `clip` says so; the running statistics
/// of `norm` are brought up to date.
pub fn normalise(norm: &BatchNorm, x: Tensor<4>, clip: bool) -> Tensor<4> {
    let device = x.device();
    let how = How { epsilon: norm.epsilon, clip };
    let [x, gamma, beta] = [x.into_dispatch(), norm.gamma.val().into_dispatch(), norm.beta.val().into_dispatch()];
    let (y, mean, variance) = <Dispatch as Normalise>::normalise(x, gamma, beta, how);
    for (running, now) in [(&norm.running_mean, mean), (&norm.running_var, variance)] {
        let before = running.value_sync().to_device(&device);
        let now = Tensor::<1>::from_dispatch(now).detach();
        running.update((before * (1.0 - norm.momentum) + now * norm.momentum).detach());
    }
    Tensor::from_dispatch(y)
}

/// What the operator is told beside its tensors.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether values are clipped to 0 to 6.
    pub clip: bool,
}

/// The operator, on the backends that have it: output, mean and variance.
#[backend_extension(Flex, Autodiff)]
trait Normalise: Backend {
    fn normalise(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        how: How,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl Normalise for Flex {
    fn normalise(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, how: How) -> (FlexTensor, FlexTensor, FlexTensor) {
        let normalised = forward(&plain(&x), &gamma, &beta, how);
        (normalised.output, normalised.mean, normalised.variance)
    }
}

impl<C: CheckpointStrategy> Normalise for Autodiff<Flex, C> {
    fn normalise(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        how: How,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        #[derive(Debug)]
        struct NormaliseBackward;

        impl Backward<Flex, 3> for NormaliseBackward {
            type State = State;

            fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
                let slopes = gradients.consume::<Flex>(&ops.node);
                let found = backward(&ops.state, &slopes);
                for (node, gradient) in ops.parents.into_iter().zip(found) {
                    if let Some(node) = node {
                        gradients.register::<Flex>(node.id, gradient);
                    }
                }
            }
        }

        let prepared = NormaliseBackward.prepare::<C>([x.node(), gamma.node(), beta.node()]).compute_bound().stateful();
        let (x, gamma, beta) = (plain(x.primitive()), gamma.into_primitive(), beta.into_primitive());
        let done = forward(&x, &gamma, &beta, how);
        // No gradient flows through these.
        let constant = |values: FlexTensor| Self::float_from_data(values.into_data(), &Default::default());
        let [mean, variance] = [done.mean, done.variance].map(constant);
        let output = match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(State { x, channels: done.channels, how }, done.output),
            OpsKind::UnTracked(prepared) => prepared.finish(done.output),
        };
        (output, mean, variance)
    }
}

/// One channel: `y = x · scale + shift` before clipping.
#[derive(Clone, Copy, Debug, Default)]
struct Channel {
    mean: f32,
    /// One over the standard deviation, epsilon included.
    inverse: f32,
    gamma: f32,
    scale: f32,
    shift: f32,
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct State {
    x: FlexTensor,
    channels: Vec<Channel>,
    how: How,
}

struct Done {
    output: FlexTensor,
    mean: FlexTensor,
    variance: FlexTensor,
    channels: Vec<Channel>,
}

/// Count, mean and sum of squared deviations, which can be joined (Chan 1983).
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

/// The moments of a plane.
struct MomentsOf<'a>(&'a [f32]);

impl WithSimd for MomentsOf<'_> {
    type Output = Moments;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Moments {
        let count = self.0.len() as f64;
        let mean = sum(self.0, |x| x) / count;
        let around = mean as f32;
        let squares = sum(self.0, |x| (x - around) * (x - around));
        // The mean in single precision is off by a little: the squares are around that one.
        let off = mean - f64::from(around);
        Moments { count, mean, squares: squares - count * off * off }
    }
}

impl Moments {
    fn join(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let apart = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + apart * other.count / count,
            squares: self.squares + other.squares + apart * apart * self.count * other.count / count,
        }
    }
}

/// `Σ f(x)`.
#[inline(always)]
fn sum(plane: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    let (chunks, rest) = plane.as_chunks::<LANES>();
    let mut total = 0.0;
    // Parts short enough that single precision is enough within one.
    for part in chunks.chunks(256) {
        let mut lanes = [0.0f32; LANES];
        for chunk in part {
            for lane in 0..LANES {
                lanes[lane] += f(chunk[lane]);
            }
        }
        total += lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>();
    }
    total + rest.iter().map(|x| f64::from(f(*x))).sum::<f64>()
}

/// Writes the values of a plane.
struct Normalised<'a> {
    y: &'a mut [f32],
    x: &'a [f32],
    channel: Channel,
    clip: bool,
}

impl WithSimd for Normalised<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Channel { scale, shift, .. } = self.channel;
        if self.clip {
            for (y, x) in self.y.iter_mut().zip(self.x) {
                *y = (x * scale + shift).clamp(0.0, SIX);
            }
        } else {
            for (y, x) in self.y.iter_mut().zip(self.x) {
                *y = x * scale + shift;
            }
        }
    }
}

fn forward(x: &FlexTensor, gamma: &FlexTensor, beta: &FlexTensor, how: How) -> Done {
    let (gamma, beta) = (plain(gamma), plain(beta));
    let [films, width, height, columns] = x.layout().shape().dims();
    let plane = height * columns;
    let (pixels, vectors) = (x.storage::<f32>(), Vectors::new());
    // By film, then joined in their order: the same result with any number of threads.
    let by_film: Vec<Vec<Moments>> = pixels
        .par_chunks(width * plane)
        .map(|film| film.chunks(plane).map(|plane| vectors.run(MomentsOf(plane))).collect())
        .collect();
    let moments = by_film.into_iter().fold(vec![Moments::default(); width], |all, film| {
        all.into_iter().zip(film).map(|(all, one)| all.join(one)).collect()
    });
    let (mut mean, mut variance) = (Vec::with_capacity(width), Vec::with_capacity(width));
    let mut channels = Vec::with_capacity(width);
    for ((moments, gamma), beta) in moments.iter().zip(gamma.storage::<f32>()).zip(beta.storage::<f32>()) {
        let spread = moments.squares / moments.count;
        let inverse = 1.0 / (spread + how.epsilon).sqrt();
        let scale = f64::from(*gamma) * inverse;
        mean.push(moments.mean as f32);
        variance.push(spread as f32);
        channels.push(Channel {
            mean: moments.mean as f32,
            inverse: inverse as f32,
            gamma: *gamma,
            scale: scale as f32,
            shift: (f64::from(*beta) - moments.mean * scale) as f32,
        });
    }
    let mut y = vec![0.0; pixels.len()];
    y.par_chunks_mut(width * plane).zip(pixels.par_chunks(width * plane)).for_each(|(y, x)| {
        for ((y, x), channel) in y.chunks_mut(plane).zip(x.chunks(plane)).zip(&channels) {
            vectors.run(Normalised { y, x, channel: *channel, clip: how.clip });
        }
    });
    Done {
        output: made(y, [films, width, height, columns]),
        mean: made(mean, [width]),
        variance: made(variance, [width]),
        channels,
    }
}

impl Channel {
    /// The slope before the clipping: that behind it, where the value was not clipped.
    #[inline(always)]
    fn slope<const CLIP: bool>(&self, x: f32, slope: f32) -> f32 {
        let z = x * self.scale + self.shift;
        // No short cut: both comparisons are made, so that vectors can make them.
        if !CLIP | ((z > 0.0) & (z < SIX)) { slope } else { 0.0 }
    }
}

/// `Σ slope` and `Σ slope · (x − mean)` of a plane, of those that were not clipped.
struct SlopesOf<'a, const CLIP: bool> {
    x: &'a [f32],
    slopes: &'a [f32],
    channel: Channel,
}

impl<const CLIP: bool> WithSimd for SlopesOf<'_, CLIP> {
    type Output = [f64; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f64; 2] {
        let channel = self.channel;
        let ((xs, x_rest), (slopes, slope_rest)) = (self.x.as_chunks::<LANES>(), self.slopes.as_chunks::<LANES>());
        let mut totals = [0.0; 2];
        for (xs, slopes) in xs.chunks(256).zip(slopes.chunks(256)) {
            let (mut plain, mut product) = ([0.0f32; LANES], [0.0f32; LANES]);
            for (x, slope) in xs.iter().zip(slopes) {
                for lane in 0..LANES {
                    let slope = channel.slope::<CLIP>(x[lane], slope[lane]);
                    plain[lane] += slope;
                    product[lane] += slope * (x[lane] - channel.mean);
                }
            }
            totals[0] += plain.iter().map(|lane| f64::from(*lane)).sum::<f64>();
            totals[1] += product.iter().map(|lane| f64::from(*lane)).sum::<f64>();
        }
        for (x, slope) in x_rest.iter().zip(slope_rest) {
            let slope = channel.slope::<CLIP>(*x, *slope);
            totals[0] += f64::from(slope);
            totals[1] += f64::from(slope * (x - channel.mean));
        }
        totals
    }
}

/// Writes the gradient of a plane: `γ/σ · (slope − mean of the slopes − (x − μ)/σ² · mean of slope · (x − μ))`.
struct GradientOf<'a, const CLIP: bool> {
    to: &'a mut [f32],
    x: &'a [f32],
    slopes: &'a [f32],
    channel: Channel,
    /// Mean of the slopes.
    average: f32,
    /// Mean of slope · (x − μ), over the variance.
    tilt: f32,
}

impl<const CLIP: bool> WithSimd for GradientOf<'_, CLIP> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { to, x, slopes, channel, average, tilt } = self;
        let (factor, mean) = (channel.gamma * channel.inverse, channel.mean);
        for ((to, x), slope) in to.iter_mut().zip(x).zip(slopes) {
            *to = factor * (channel.slope::<CLIP>(*x, *slope) - average - (x - mean) * tilt);
        }
    }
}

/// Gradients of the input, gamma and beta.
fn backward(state: &State, slopes: &FlexTensor) -> [FlexTensor; 3] {
    if state.how.clip { gradients::<true>(state, slopes) } else { gradients::<false>(state, slopes) }
}

fn gradients<const CLIP: bool>(state: &State, slopes: &FlexTensor) -> [FlexTensor; 3] {
    let State { x, channels, .. } = state;
    let slopes = plain(slopes);
    let [films, width, height, columns] = x.layout().shape().dims();
    let (plane, vectors) = (height * columns, Vectors::new());
    let (pixels, slopes) = (x.storage::<f32>(), slopes.storage::<f32>());
    let by_film: Vec<Vec<[f64; 2]>> = pixels
        .par_chunks(width * plane)
        .zip(slopes.par_chunks(width * plane))
        .map(|(x, slopes)| {
            let planes = x.chunks(plane).zip(slopes.chunks(plane)).zip(channels);
            let sums =
                planes.map(|((x, slopes), channel)| vectors.run(SlopesOf::<CLIP> { x, slopes, channel: *channel }));
            sums.collect()
        })
        .collect();
    let sums = by_film.into_iter().fold(vec![[0.0; 2]; width], |all, film| {
        all.into_iter().zip(film).map(|(all, one)| [all[0] + one[0], all[1] + one[1]]).collect()
    });
    let count = (films * plane) as f64;
    let mut of_x = vec![0.0; pixels.len()];
    let chunks = of_x.par_chunks_mut(width * plane);
    chunks.zip(pixels.par_chunks(width * plane)).zip(slopes.par_chunks(width * plane)).for_each(|((to, x), slopes)| {
        let planes = to.chunks_mut(plane).zip(x.chunks(plane)).zip(slopes.chunks(plane));
        for (((to, x), slopes), (channel, sums)) in planes.zip(channels.iter().zip(&sums)) {
            let average = (sums[0] / count) as f32;
            let tilt = (sums[1] / count * f64::from(channel.inverse) * f64::from(channel.inverse)) as f32;
            vectors.run(GradientOf::<CLIP> { to, x, slopes, channel: *channel, average, tilt });
        }
    });
    let of_gamma = sums.iter().zip(channels).map(|(sums, channel)| (sums[1] * f64::from(channel.inverse)) as f32);
    let of_beta = sums.iter().map(|sums| sums[0] as f32);
    [made(of_x, [films, width, height, columns]), made(of_gamma.collect(), [width]), made(of_beta.collect(), [width])]
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::nn::BatchNormConfig;
    use burn::tensor::{Device, Distribution};

    use super::*;

    #[track_caller]
    fn close<const D: usize>(found: Tensor<D>, expected: Tensor<D>) {
        assert_eq!(found.dims(), expected.dims());
        let size = expected.clone().abs().max().into_scalar::<f32>().max(1.0);
        let apart: f32 = (found - expected).abs().max().into_scalar();
        assert!(apart <= 2e-5 * size, "{apart} apart at a size of {size}");
    }

    #[track_caller]
    fn check(shape: [usize; 4], clip: bool) {
        let device = Device::flex().autodiff();
        device.seed(11);
        let random = |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.5, 2.0), &device);
        let mut norm: BatchNorm = BatchNormConfig::new(shape[1]).init(&device);
        let parameter = || Param::from_tensor(Tensor::<1>::random([shape[1]], Distribution::Normal(1.0, 2.0), &device));
        (norm.gamma, norm.beta) = (parameter(), parameter());
        let x = random(shape).require_grad();
        let slopes = random(shape);
        let theirs_norm = norm.clone();
        let ours = normalise(&norm, x.clone(), clip);
        let theirs = theirs_norm.forward(x.clone());
        let theirs = if clip { theirs.clamp(0.0, 6.0) } else { theirs };
        close(ours.clone(), theirs.clone());
        let of_ours = (ours * slopes.clone()).sum().backward();
        let of_theirs = (theirs * slopes).sum().backward();
        close(x.grad(&of_ours).unwrap(), x.grad(&of_theirs).unwrap());
        for (ours, theirs) in [(&norm.gamma, &theirs_norm.gamma), (&norm.beta, &theirs_norm.beta)] {
            close(ours.val().grad(&of_ours).unwrap(), theirs.val().grad(&of_theirs).unwrap());
        }
        close(norm.running_mean.value_sync(), theirs_norm.running_mean.value_sync());
        close(norm.running_var.value_sync(), theirs_norm.running_var.value_sync());
    }

    #[test]
    fn without_clipping_it_agrees_with_the_stock_operator() {
        for shape in [[2, 3, 1, 1], [4, 5, 7, 9], [3, 2, 16, 16], [1, 1, 40, 33], [2, 8, 2, 3]] {
            check(shape, false);
        }
    }

    #[test]
    fn with_clipping_it_agrees_with_the_stock_operators() {
        for shape in [[4, 5, 7, 9], [3, 2, 16, 16], [1, 1, 40, 33]] {
            check(shape, true);
        }
    }

    #[test]
    fn a_large_mean_does_not_swallow_the_spread() {
        let device = Device::flex().autodiff();
        let norm: BatchNorm = BatchNormConfig::new(1).init(&device);
        let x = Tensor::<4>::from_data([[[[10000.0, 10001.0], [10002.0, 10003.0]]]], &device);
        let y: Vec<f32> = normalise(&norm, x, false).into_data().iter::<f32>().collect();
        for (found, expected) in y.iter().zip([-1.34163, -0.44721, 0.44721, 1.34163]) {
            assert!((found - expected).abs() < 2e-3, "{y:?}");
        }
    }
}
