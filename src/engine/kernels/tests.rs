//! Every kernel that this processor has, against plain loops in f64.

use super::super::draw::Draw;
use super::super::pool::Buffer;
use super::*;

/// Largest error relative to the sum of the magnitudes that went in.
const TOLERANCE: f64 = 1e-5;

fn all() -> Vec<&'static Kernels> {
    let tables = found();
    assert!(tables.iter().any(|table| table.name == "scalar"));
    tables
}

fn random(draw: &mut Draw, count: usize) -> Vec<f32> {
    (0..count).map(|_| draw.signed()).collect()
}

/// Numbers of every magnitude, denormals and zeros of both signs among them.
fn of_every_magnitude(draw: &mut Draw, count: usize) -> Vec<f32> {
    let special = [0.0, -0.0, f32::MIN_POSITIVE / 8.0, -f32::MIN_POSITIVE / 3.0, 1e-30, -1e-30, 1e6, -3e5];
    (0..count).map(|_| if draw.below(3) == 0 { special[draw.below(special.len())] } else { draw.signed() }).collect()
}

fn clamp(value: f64, clamp: Clamp) -> f64 {
    if value < f64::from(clamp.low) {
        f64::from(clamp.low)
    } else if value > f64::from(clamp.high) {
        f64::from(clamp.high)
    } else {
        value
    }
}

/// A half between 2^-5 and 1 of either sign.
fn half(draw: &mut Draw) -> u16 {
    (draw.below(2) << 15 | (10 + draw.below(5)) << 10 | draw.below(1 << 10)) as u16
}

#[track_caller]
fn same(found: f32, expected: f64, magnitude: f64, what: &str) {
    let found = f64::from(found);
    let near = (found - expected).abs() <= TOLERANCE * magnitude.max(f64::from(f32::MIN_POSITIVE));
    assert!(near || found == expected || found.is_nan() && expected.is_nan(), "{what}: {found}, expected {expected}");
}

/// One matrix product of random shape; `fill` draws the numbers.
#[track_caller]
fn check_gemm(kernels: &Kernels, draw: &mut Draw, fill: fn(&mut Draw, usize) -> Vec<f32>) {
    let depth = 1 + draw.below(70);
    let pixels = 1 + draw.below(40);
    let vectors = 1 + draw.below(kernels.widest);
    let width = vectors * kernels.lanes;
    let segment = if draw.below(2) == 0 { depth } else { 1 + draw.below(depth) };
    let stride = segment + draw.below(5);
    let segment_stride = pixels * stride + draw.below(7);
    let segments = depth.div_ceil(segment);
    let output_stride = width + draw.below(9);
    let input = fill(draw, segments * segment_stride);
    let panel = fill(draw, width * (depth + 1));
    let residual = (draw.below(2) == 0).then(|| fill(draw, pixels * output_stride));
    let limits = if draw.below(2) == 0 { Clamp::NONE } else { Clamp { low: 0.0, high: 6.0 } };
    let untouched = 77.0;
    let mut output = vec![untouched; pixels * output_stride];
    let source = Pixels { values: &input, stride, segment, segment_stride, depth, count: pixels };
    kernels.gemm(source, &panel, vectors, &mut output, output_stride, residual.as_deref(), limits);
    let what = format!("{} {pixels}×{depth}×{width}, segments of {segment}", kernels.name);
    for pixel in 0..pixels {
        for column in 0..output_stride {
            let found = output[pixel * output_stride + column];
            if column >= width {
                assert_eq!(found, untouched, "{what} wrote past its channels");
                continue;
            }
            let mut sum = f64::from(panel[column]);
            let mut magnitude = sum.abs();
            for k in 0..depth {
                let value = input[k / segment * segment_stride + pixel * stride + k % segment];
                let product = f64::from(value) * f64::from(panel[(k + 1) * width + column]);
                sum += product;
                magnitude += product.abs();
            }
            let added = residual.as_ref().map_or(0.0, |r| f64::from(r[pixel * output_stride + column]));
            same(found, clamp(sum, limits) + added, magnitude + added.abs(), &what);
        }
    }
}

#[test]
fn matrix_products_of_any_shape_are_right() {
    for kernels in all() {
        let mut draw = Draw(11);
        for _ in 0..300 {
            check_gemm(kernels, &mut draw, random);
        }
        for _ in 0..100 {
            check_gemm(kernels, &mut draw, of_every_magnitude);
        }
    }
}

#[test]
fn what_is_not_a_number_stays_so_and_infinity_is_clamped() {
    for kernels in all() {
        let width = kernels.lanes;
        let run = |inputs: &[f32], weights: &[f32]| {
            let mut panel = vec![0.0; width];
            panel.extend(weights.iter().flat_map(|w| vec![*w; width]));
            let mut output = vec![0.0; width];
            let depth = inputs.len();
            let source = Pixels { values: inputs, stride: depth, segment: depth, segment_stride: 0, depth, count: 1 };
            let limits = Clamp { low: 0.0, high: 6.0 };
            kernels.gemm(source, &panel, 1, &mut output, width, None, limits);
            assert!(output.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits()));
            output[0]
        };
        assert!(run(&[1.0, f32::NAN], &[1.0, 1.0]).is_nan(), "{}", kernels.name);
        assert!(run(&[f32::NAN, 1.0, 2.0, 3.0, 4.0], &[0.0; 5]).is_nan(), "{}", kernels.name);
        assert!(run(&[f32::INFINITY, f32::INFINITY], &[1.0, -1.0]).is_nan(), "{}", kernels.name);
        assert_eq!(run(&[f32::INFINITY], &[1.0]), 6.0, "{}", kernels.name);
        assert_eq!(run(&[f32::NEG_INFINITY], &[1.0]), 0.0, "{}", kernels.name);
    }
}

#[test]
fn a_pixel_comes_out_the_same_in_a_tile_of_any_height() {
    for kernels in all() {
        let mut draw = Draw(12);
        let (depth, pixels, width) = (37, 29, kernels.widest * kernels.lanes);
        let input = random(&mut draw, pixels * depth);
        let panel = random(&mut draw, width * (depth + 1));
        let run = |first: usize, count: usize| {
            let values = &input[first * depth..];
            let source = Pixels { values, stride: depth, segment: depth, segment_stride: 0, depth, count };
            let mut output = vec![0.0; count * width];
            kernels.gemm(source, &panel, kernels.widest, &mut output, width, None, Clamp::NONE);
            output
        };
        let whole = run(0, pixels);
        for count in 1..=10 {
            for first in 0..pixels - count {
                assert_eq!(run(first, count), whole[first * width..(first + count) * width], "{}", kernels.name);
            }
        }
    }
}

#[test]
fn depthwise_rows_of_any_width_are_right() {
    for kernels in all() {
        let mut draw = Draw(13);
        for round in 0..200 {
            let (step, columns) = (1 + draw.below(2), 1 + draw.below(23));
            let vectors = 1 + draw.below(kernels.widest);
            let width = kernels.widest * kernels.lanes;
            let fill = if round % 4 == 0 { of_every_magnitude } else { random };
            let size = ((columns - 1) * step + 3) * width;
            let height = 1 + draw.below(2);
            let rows: Vec<_> = (0..(height - 1) * step + 3).map(|_| fill(&mut draw, size)).collect();
            let weights = fill(&mut draw, 10 * width);
            let limits = if draw.below(2) == 0 { Clamp::NONE } else { Clamp { low: 0.0, high: 6.0 } };
            let mut output = vec![77.0; height * columns * width];
            let sources: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            kernels.depthwise(&sources, step, columns, &weights, vectors, &mut output, limits);
            for (y, x) in (0..height).flat_map(|y| (0..columns).map(move |x| (y, x))) {
                for channel in 0..width {
                    let found = output[(y * columns + x) * width + channel];
                    if channel >= vectors * kernels.lanes {
                        assert_eq!(found, 77.0, "{} wrote past its channels", kernels.name);
                        continue;
                    }
                    let mut sum = f64::from(weights[channel]);
                    let mut magnitude = sum.abs();
                    for tap in 0..9 {
                        let value = rows[y * step + tap / 3][(x * step + tap % 3) * width + channel];
                        let product = f64::from(value) * f64::from(weights[(tap + 1) * width + channel]);
                        sum += product;
                        magnitude += product.abs();
                    }
                    let what = format!("{} depthwise, step {step}, column {x} of {columns}", kernels.name);
                    same(found, clamp(sum, limits), magnitude, &what);
                }
            }
        }
    }
}

#[test]
fn dense_layers_are_right_both_ways_in_both_precisions() {
    for kernels in all() {
        let mut draw = Draw(14);
        for _ in 0..60 {
            let (rows, columns) = (1 + draw.below(60), 1 + draw.below(90));
            let stride = columns.next_multiple_of(ALIGN);
            let halves: Vec<u16> =
                (0..rows * stride).map(|i| if i % stride < columns { half(&mut draw) } else { 0 }).collect();
            let floats: Vec<f32> = halves.iter().map(|bits| half_to_float(*bits)).collect();
            let picked: Vec<u32> = (0..rows as u32).filter(|_| draw.below(4) > 0).collect();
            let inputs = random(&mut draw, rows);
            let first = draw.below(stride / ALIGN) * ALIGN;
            let backward_rows = 1 + draw.below(4);
            let mut gradients = random(&mut draw, backward_rows * stride);
            gradients.chunks_exact_mut(stride).for_each(|row| row[columns..].fill(0.0));
            for weights in [Rows::Full(floats.clone()), Rows::Half(halves.clone())] {
                let mut outputs = vec![0.5; stride - first];
                kernels.dense_forward(&weights, stride, &picked, first, &inputs, &mut outputs);
                for (column, found) in (first..).zip(&outputs) {
                    let products = picked
                        .iter()
                        .map(|k| f64::from(inputs[*k as usize]) * f64::from(floats[*k as usize * stride + column]));
                    let (sum, magnitude) = products.fold((0.5, 0.5), |(s, m), p| (s + p, m + p.abs()));
                    same(*found, sum, magnitude, kernels.name);
                }
                let mut outputs = vec![0.0; backward_rows * picked.len()];
                kernels.dense_backward(weights.view(), stride, &picked, backward_rows, &gradients, &mut outputs);
                for (r, outputs) in outputs.chunks(picked.len().max(1)).enumerate() {
                    for (k, found) in picked.iter().zip(outputs) {
                        let products = (0..stride).map(|n| {
                            f64::from(gradients[r * stride + n]) * f64::from(floats[*k as usize * stride + n])
                        });
                        let (sum, magnitude) = products.fold((0.0, 0.0), |(s, m), p| (s + p, m + p.abs()));
                        same(*found, sum, magnitude, kernels.name);
                    }
                }
            }
        }
    }
}

#[test]
fn a_slice_that_is_too_short_is_refused() {
    for kernels in all() {
        let width = kernels.lanes;
        let refused = |input: usize, panel: usize, output: usize| {
            std::panic::catch_unwind(|| {
                let input = vec![0.0; input];
                let source = Pixels { values: &input, stride: 3, segment: 3, segment_stride: 0, depth: 3, count: 2 };
                kernels.gemm(source, &vec![0.0; panel], 1, &mut vec![0.0; output], width, None, Clamp::NONE);
            })
            .is_err()
        };
        assert!(!refused(6, 4 * width, 2 * width), "{}", kernels.name);
        assert!(refused(5, 4 * width, 2 * width), "{}", kernels.name);
        assert!(refused(6, 4 * width - 1, 2 * width), "{}", kernels.name);
        assert!(refused(6, 4 * width, 2 * width - 1), "{}", kernels.name);
    }
}

#[test]
fn memory_is_aligned_to_the_widest_vector() {
    for length in [1, 15, 16, 1000] {
        assert!(Buffer::zeros(length).as_ptr().addr().is_multiple_of(4 * ALIGN));
    }
}

#[test]
fn halves_of_every_kind_become_the_same_number() {
    for (bits, value) in [
        (0x0000, 0.0),
        (0x0001, 2.0f32.powi(-24)),
        (0x03ff, 1023.0 * 2.0f32.powi(-24)),
        (0x0400, 2.0f32.powi(-14)),
        (0x3c00, 1.0),
        (0xc248, -3.140625),
        (0x7bff, 65504.0),
        (0xfc00, f32::NEG_INFINITY),
    ] {
        assert_eq!(half_to_float(bits).to_bits(), value.to_bits(), "{bits:#06x}");
    }
    assert!(half_to_float(0x8000).is_sign_negative() && half_to_float(0x7c01).is_nan());
}
