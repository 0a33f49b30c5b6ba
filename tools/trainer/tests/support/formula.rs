//! Weights and films by a formula: what `tools/trainer/parity/weights.py` makes in Python, bit for bit.

use trainer::network::weights::Array;

/// FNV-1a, 64 bits.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |value, byte| (value ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Multiples of 2⁻²⁴ in [0, 1): the upper bits of SplitMix64, seeded with the name.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let seed = fnv1a(name);
    (1..=count as u64).map(move |i| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as f64 / f64::from(1_u32 << 24)
    })
}

/// The tensor of this name, as PyTorch shapes it.
pub(crate) fn tensor(name: &str, shape: &[usize]) -> Array {
    let variable = name.rsplit('.').next().unwrap_or_default();
    let of = |u: f64| match (shape, variable) {
        (&[_, input, height, width], _) => (2.0 * u - 1.0) * (6.0 / (input * height * width) as f64).sqrt(),
        (_, "running_var") => 0.75 + 0.5 * u,
        (_, "weight") => 0.5 + 0.5 * u,
        _ => 0.4 * u - 0.2,
    };
    let values = uniform(name, shape.iter().product()).map(|u| of(u) as f32).collect();
    Array { shape: shape.to_vec(), values }
}

/// `[1, 3, height, width]` in [-1, 1).
pub(crate) fn film(height: usize, width: usize) -> Vec<f32> {
    uniform(&format!("film.{height}x{width}"), 3 * height * width).map(|u| (2.0 * u - 1.0) as f32).collect()
}
