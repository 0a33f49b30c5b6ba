//! What is wrong with an answer.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};

use crate::data::Label;

/// Mean over the films of cross-entropy with smoothed targets.
///
/// A film with another disease has two answers only: Covid-19 or not. How its probability is shared between
/// pneumonia and normal costs nothing.
///
/// # Shapes
/// Logits `[n, 3]` in the order of the classes; `n` labels.
pub fn loss(logits: Tensor<2>, labels: &[Label], smoothing: f32) -> Tensor<1> {
    let (device, count) = (logits.device(), labels.len());
    let mut targets = Vec::with_capacity(count * 3);
    let mut not_covid = Vec::with_capacity(count);
    for label in labels {
        match label.finding() {
            Some(finding) => {
                targets
                    .extend((0..3).map(|c| smoothing / 3.0 + if c == finding.index() { 1.0 - smoothing } else { 0.0 }));
                not_covid.push(0.0);
            }
            None => {
                targets.extend([smoothing / 3.0, 0.0, 0.0]);
                not_covid.push(1.0 - smoothing / 3.0);
            }
        }
    }
    let targets = Tensor::<2>::from_data(TensorData::new(targets, [count, 3]), &device);
    let not_covid = Tensor::<2>::from_data(TensorData::new(not_covid, [count, 1]), &device);
    let logs = log_softmax(logits, 1);
    // ln(p₁ + p₂), with the larger taken out so that nothing underflows.
    let rest = logs.clone().slice([0..count, 1..3]);
    let top = rest.clone().max_dim(1).detach();
    let either = (rest - top.clone()).exp().sum_dim(1).log() + top;
    ((targets * logs).sum() + (not_covid * either).sum()) / -(count as f32)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[track_caller]
    fn check(logits: [f32; 3], label: Label, smoothing: f32, expected: f64) {
        let logits = Tensor::<2>::from_data(TensorData::new(logits.to_vec(), [1, 3]), &Device::flex());
        let found: f32 = loss(logits, &[label], smoothing).into_scalar();
        assert!((f64::from(found) - expected).abs() < 1e-5, "{found}, expected {expected}");
    }

    #[test]
    fn a_film_of_a_class_costs_its_cross_entropy() {
        let p = |l: [f64; 3], c: usize| (l[c].exp() / l.iter().map(|v| v.exp()).sum::<f64>()).ln();
        let l = [1.0, -0.5, 0.25];
        check([1.0, -0.5, 0.25], Label::Pneumonia, 0.0, -p(l, 1));
        let smooth = -(0.9 * p(l, 2) + 0.1 / 3.0 * (p(l, 0) + p(l, 1) + p(l, 2)));
        check([1.0, -0.5, 0.25], Label::Normal, 0.1, smooth);
    }

    #[test]
    fn another_disease_costs_only_its_probability_of_covid() {
        let not = -(1.0 - 1.0f64.exp() / (1.0f64.exp() + 2.0f64.exp() + 0.5f64.exp())).ln();
        check([1.0, 2.0, 0.5], Label::Other, 0.0, not);
        check([1.0, 0.5, 2.0], Label::Other, 0.0, not);
        check([0.0, -200.0, -200.0], Label::Other, 0.0, 200.0 - 2.0f64.ln());
    }
}
