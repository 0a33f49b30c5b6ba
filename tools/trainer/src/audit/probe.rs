//! A linear probe: can the hospital be told from the features by which the network decides?

use std::collections::BTreeMap;

use serde::Serialize;

/// Fewest films of a source that can be told apart from others.
const FEWEST: usize = 10;
const FOLDS: usize = 5;
const STEPS: usize = 400;
const RATE: f64 = 0.5;
const DECAY: f64 = 1e-3;

/// What the probe can do on patients that it was not fitted to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Probe {
    /// Films.
    pub films: usize,
    /// Share of the films of each source that are given to it.
    pub recall: BTreeMap<String, f64>,
    /// Mean of these.
    pub balanced_accuracy: f64,
    /// What guessing reaches: one over the number of sources.
    pub chance: f64,
}

/// A film for the probe.
#[derive(Clone, Debug)]
pub struct Probed<'a> {
    /// Features.
    pub features: &'a [f32],
    /// Source.
    pub source: &'a str,
    /// Patient.
    pub group: &'a str,
}

/// Multinomial logistic regression on standardised features, every source of the same weight, in five folds by patient.
/// `None` for fewer than two sources with films enough.
pub fn probe(films: &[Probed<'_>]) -> Option<Probe> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    films.iter().for_each(|f| *counts.entry(f.source).or_default() += 1);
    counts.retain(|_, n| *n >= FEWEST);
    let names: Vec<&str> = counts.keys().copied().collect();
    let films: Vec<&Probed<'_>> = films.iter().filter(|f| counts.contains_key(f.source)).collect();
    let width = films.first()?.features.len();
    if names.len() < 2 || films.iter().any(|f| f.features.len() != width) {
        return None;
    }
    let class: Vec<usize> = films.iter().map(|f| names.iter().position(|n| *n == f.source).unwrap_or(0)).collect();
    let mut fold_of: BTreeMap<&str, usize> = BTreeMap::new();
    for film in &films {
        let next = fold_of.len() % FOLDS;
        fold_of.entry(film.group).or_insert(next);
    }
    let inputs = standardised(&films, width);
    let mut right: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for fold in 0..FOLDS {
        let (test, training): (Vec<usize>, Vec<usize>) =
            (0..films.len()).partition(|i| fold_of[films[*i].group] == fold);
        let weights = fit(&inputs, &class, &training, names.len(), width);
        for i in test {
            let scores = scores(&inputs[i], &weights);
            let best = (0..names.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or(0);
            let entry = right.entry(names[class[i]].to_string()).or_default();
            entry.0 += usize::from(best == class[i]);
            entry.1 += 1;
        }
    }
    let recall: BTreeMap<String, f64> =
        right.into_iter().map(|(name, (hits, of))| (name, hits as f64 / of as f64)).collect();
    let balanced_accuracy = recall.values().sum::<f64>() / recall.len() as f64;
    Some(Probe { films: films.len(), recall, balanced_accuracy, chance: 1.0 / names.len() as f64 })
}

fn standardised(films: &[&Probed<'_>], width: usize) -> Vec<Vec<f64>> {
    let count = films.len() as f64;
    let column = |i: usize| films.iter().map(move |f| f64::from(f.features[i]));
    let means: Vec<f64> = (0..width).map(|i| column(i).sum::<f64>() / count).collect();
    let scales: Vec<f64> =
        (0..width).map(|i| (column(i).map(|v| (v - means[i]).powi(2)).sum::<f64>() / count).sqrt().max(1e-9)).collect();
    films
        .iter()
        .map(|f| f.features.iter().zip(&means).zip(&scales).map(|((v, m), s)| (f64::from(*v) - m) / s).collect())
        .collect()
}

/// A row for each class: the weights, then what is added.
fn fit(inputs: &[Vec<f64>], class: &[usize], training: &[usize], classes: usize, width: usize) -> Vec<Vec<f64>> {
    let mut share = vec![0.0f64; classes];
    training.iter().for_each(|i| share[class[*i]] += 1.0);
    let mut weights = vec![vec![0.0; width + 1]; classes];
    let mut speed = weights.clone();
    // Long inputs need small steps: the curvature grows with their squared length.
    let rate = RATE / (1.0 + width as f64 / 8.0);
    for _ in 0..STEPS {
        let mut slope = vec![vec![0.0; width + 1]; classes];
        for &i in training {
            let scores = scores(&inputs[i], &weights);
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
            let weight = 1.0 / (share[class[i]] * classes as f64);
            for (c, slope) in slope.iter_mut().enumerate() {
                let wrong = ((scores[c] - top).exp() / sum - f64::from(u8::from(c == class[i]))) * weight;
                slope.iter_mut().zip(&inputs[i]).for_each(|(s, x)| *s += wrong * x);
                slope[width] += wrong;
            }
        }
        for ((weights, speed), slope) in weights.iter_mut().zip(&mut speed).zip(&slope) {
            for ((w, v), s) in weights.iter_mut().zip(speed).zip(slope) {
                *v = 0.9 * *v - rate * (s + DECAY * *w);
                *w += *v;
            }
        }
    }
    weights
}

fn scores(input: &[f64], weights: &[Vec<f64>]) -> Vec<f64> {
    weights.iter().map(|w| w.iter().zip(input).map(|(w, x)| w * x).sum::<f64>() + w[input.len()]).collect()
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn accuracy(hint: f32) -> Probe {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let films: Vec<(Vec<f32>, usize)> = (0..300)
            .map(|i| {
                let mut features: Vec<f32> = (0..20).map(|_| random.random()).collect();
                features[i % 3] += hint;
                (features, i % 3)
            })
            .collect();
        let groups: Vec<String> = (0..300).map(|i| i.to_string()).collect();
        let films: Vec<Probed<'_>> = films
            .iter()
            .zip(&groups)
            .map(|((features, source), group)| Probed { features, source: ["A", "B", "C"][*source], group })
            .collect();
        probe(&films).expect("films of three sources")
    }

    #[test]
    fn a_source_that_leaves_a_trace_is_told_and_one_that_leaves_none_is_guessed() {
        let told = accuracy(3.0);
        assert!(told.balanced_accuracy > 0.95, "{told:?}");
        let guessed = accuracy(0.0);
        assert!((guessed.balanced_accuracy - guessed.chance).abs() < 0.12, "{guessed:?}");
    }

    #[test]
    fn one_source_cannot_be_told_from_another() {
        let features = [1.0];
        let films: Vec<Probed<'_>> = (0..50).map(|_| Probed { features: &features, source: "A", group: "g" }).collect();
        assert_eq!(probe(&films), None);
    }
}
