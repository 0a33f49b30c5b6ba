//! How a picture looks to somebody who does not tell all colours apart.

/// A name, and what it does to red, green and blue: Machado, Oliveira & Fernandes 2009, full severity, on linear values;
/// and luminance alone.
pub(super) const VIEWS: [(&str, [[f32; 3]; 3]); 5] = [
    ("full colour", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    (
        "protanopia",
        [[0.152_286, 1.052_583, -0.204_868], [0.114_503, 0.786_281, 0.099_216], [-0.003_882, -0.048_116, 1.051_998]],
    ),
    (
        "deuteranopia",
        [[0.367_322, 0.860_646, -0.227_968], [0.280_085, 0.672_501, 0.047_413], [-0.011_820, 0.042_940, 0.968_881]],
    ),
    (
        "tritanopia",
        [[1.255_528, -0.076_749, -0.178_779], [-0.078_411, 0.930_809, 0.147_602], [0.004_733, 0.691_367, 0.303_900]],
    ),
    ("grey", [[0.2126, 0.7152, 0.0722]; 3]),
];

/// The lightness of pixels, 0 to 255, as someone sees them.
pub(super) fn lightness(pixels: &[[u8; 3]], matrix: &[[f32; 3]; 3]) -> Vec<f32> {
    let linear = |v: u8| (f32::from(v) / 255.0).powf(2.2);
    let seen = pixels.iter().map(|rgb| {
        let rgb = rgb.map(linear);
        let [r, g, b] = matrix.map(|row| row.iter().zip(rgb).map(|(m, v)| m * v).sum::<f32>().clamp(0.0, 1.0));
        (0.2126 * r + 0.7152 * g + 0.0722 * b).powf(1.0 / 2.2) * 255.0
    });
    seen.collect()
}

/// The share of places in which two signs differ clearly.
pub(super) fn clear_share(a: &[f32], b: &[f32]) -> f32 {
    let clear = a.iter().zip(b).filter(|(a, b)| (*a - *b).abs() > 40.0).count();
    clear as f32 / a.len() as f32
}
