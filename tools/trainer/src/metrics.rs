//! Rates with their intervals, areas under curves, calibration.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A share of films with its 95 % interval (Wilson 1927).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Films counted.
    pub hits: usize,
    /// Of so many.
    pub of: usize,
    /// `hits / of`.
    pub rate: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Rate {
    /// `None` of no films.
    pub fn new(hits: usize, of: usize) -> Option<Self> {
        if of == 0 {
            return None;
        }
        let z = 1.959_963_984_540_054;
        let (n, p) = (of as f64, hits as f64 / of as f64);
        let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        Some(Self { hits, of, rate: p, low: (centre - half).max(0.0), high: (centre + half).min(1.0) })
    }
}

/// A share of films with a 95 % interval that takes films of one group together: 1000 bootstraps of whole groups, and
/// never narrower than Wilson's, which also knows what a sample without a single miss does not show. `None` of no
/// films.
pub fn rate_by_group(hits: &[bool], groups: &[&str]) -> Option<Rate> {
    let rate = Rate::new(hits.iter().filter(|hit| **hit).count(), hits.len())?;
    let mut by_group: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (hit, group) in hits.iter().zip(groups) {
        let entry = by_group.entry(group).or_default();
        *entry = (entry.0 + usize::from(*hit), entry.1 + 1);
    }
    let by_group: Vec<(usize, usize)> = by_group.into_values().collect();
    let mut random = ChaCha8Rng::seed_from_u64(1927);
    let mut rates: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let drawn = (0..by_group.len()).map(|_| by_group[random.random_range(0..by_group.len())]);
            let (hits, of) = drawn.fold((0, 0), |sum, group| (sum.0 + group.0, sum.1 + group.1));
            hits as f64 / of as f64
        })
        .collect();
    let (low, high) = middle(&mut rates, rate.rate);
    Some(Rate { low: low.min(rate.low), high: high.max(rate.high), ..rate })
}

/// Bootstraps of an interval.
const DRAWS: usize = 1000;

/// The 2.5th and the 97.5th percentile of `drawn`; `whole` where nothing was drawn.
fn middle(drawn: &mut [f64], whole: f64) -> (f64, f64) {
    drawn.sort_by(f64::total_cmp);
    let at = |share: f64| drawn.get((share * drawn.len() as f64) as usize).copied().unwrap_or(whole);
    (at(0.025), at(0.975))
}

/// Probability that a positive scores higher than a negative, ties half; `None` when one side is empty.
pub fn auc(scored: &[(f64, bool)]) -> Option<f64> {
    let mut order: Vec<&(f64, bool)> = scored.iter().collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = scored.iter().filter(|s| s.1).count();
    let negatives = scored.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    let (mut below, mut pairs, mut start) = (0usize, 0.0, 0);
    while start < order.len() {
        let end = start + order[start..].iter().take_while(|s| s.0 == order[start].0).count();
        let tied_positives = order[start..end].iter().filter(|s| s.1).count();
        let tied_negatives = end - start - tied_positives;
        pairs += tied_positives as f64 * (below as f64 + tied_negatives as f64 / 2.0);
        below += tied_negatives;
        start = end;
    }
    Some(pairs / (positives as f64 * negatives as f64))
}

/// An area under the ROC curve with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Area {
    /// The area.
    pub auc: f64,
    /// 2.5th percentile over resampled groups.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
    /// Films with Covid-19.
    pub positives: usize,
    /// Films without.
    pub negatives: usize,
}

/// The area of `scored` films, its interval from 1000 bootstraps of whole groups; `None` when one side is empty.
pub fn area(scored: &[(f64, bool)], groups: &[&str]) -> Option<Area> {
    let auc_all = auc(scored)?;
    let mut by_group: BTreeMap<&str, Vec<(f64, bool)>> = BTreeMap::new();
    for (film, group) in scored.iter().zip(groups) {
        by_group.entry(group).or_default().push(*film);
    }
    let by_group: Vec<Vec<(f64, bool)>> = by_group.into_values().collect();
    let mut random = ChaCha8Rng::seed_from_u64(1927);
    let mut areas: Vec<f64> = (0..DRAWS)
        .filter_map(|_| {
            let films: Vec<(f64, bool)> =
                (0..by_group.len()).flat_map(|_| &by_group[random.random_range(0..by_group.len())]).copied().collect();
            auc(&films)
        })
        .collect();
    let (low, high) = middle(&mut areas, auc_all);
    let positives = scored.iter().filter(|s| s.1).count();
    Some(Area { auc: auc_all, low, high, positives, negatives: scored.len() - positives })
}

/// Expected calibration error: mean distance, over ten bins of equal width weighted by their films, between the
/// mean probability and the share of positives. `None` of no films.
pub fn calibration_error(scored: &[(f64, bool)]) -> Option<f64> {
    const BINS: usize = 10;
    if scored.is_empty() {
        return None;
    }
    let mut bins = [(0usize, 0.0, 0usize); BINS];
    for (probability, positive) in scored {
        let bin = &mut bins[((probability * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += 1;
        bin.1 += probability;
        bin.2 += usize::from(*positive);
    }
    let distance: f64 = bins.iter().map(|(_, sum, positives)| (sum - *positives as f64).abs()).sum();
    Some(distance / scored.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_agree_with_counting_pairs() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let films: Vec<(f64, bool)> =
            (0..200).map(|_| (f64::from(random.random_range(0..20)), random.random_bool(0.3))).collect();
        let mut pairs = (0.0, 0.0);
        for (score, _) in films.iter().filter(|f| f.1) {
            for (other, _) in films.iter().filter(|f| !f.1) {
                pairs.0 += if score > other {
                    1.0
                } else if score == other {
                    0.5
                } else {
                    0.0
                };
                pairs.1 += 1.0;
            }
        }
        assert!((auc(&films).expect("both sides") - pairs.0 / pairs.1).abs() < 1e-12);
        assert_eq!(auc(&[(0.3, true)]), None);
    }

    #[test]
    fn wilsons_interval_is_as_published() {
        // Newcombe 1998, Table I: 81 of 263 and 0 of 20.
        let rate = Rate::new(81, 263).expect("films");
        assert!((rate.low - 0.2553).abs() < 1e-4 && (rate.high - 0.3662).abs() < 1e-4, "{rate:?}");
        let none = Rate::new(0, 20).expect("films");
        assert!(none.low == 0.0 && (none.high - 0.1611).abs() < 1e-4, "{none:?}");
        assert_eq!(Rate::new(0, 0), None);
    }

    #[test]
    fn an_interval_over_groups_is_wider_than_over_films() {
        let films: Vec<(f64, bool)> =
            (0..400).map(|i| (f64::from(i * 7919 % 400) + if i % 2 == 0 { 60.0 } else { 0.0 }, i % 2 == 0)).collect();
        let names: Vec<String> = (0..400).map(|i| i.to_string()).collect();
        let single: Vec<&str> = names.iter().map(String::as_str).collect();
        // The same films, each five times over, in one group.
        let many: Vec<(f64, bool)> = films.iter().flat_map(|f| [*f; 5]).collect();
        let shared: Vec<&str> = single.iter().flat_map(|g| [*g; 5]).collect();
        let (a, b) = (area(&films, &single).expect("area"), area(&many, &shared).expect("area"));
        assert!((a.auc - b.auc).abs() < 1e-9 && (a.low - b.low).abs() < 0.02, "{a:?} {b:?}");
        assert!(a.low < a.auc && a.auc < a.high);
    }

    #[test]
    fn films_of_one_patient_count_as_one_in_the_interval_of_a_rate() {
        let hits: Vec<bool> = (0..400).map(|i| i % 5 != 0).collect();
        let names: Vec<String> = (0..400).map(|i| i.to_string()).collect();
        let single = rate_by_group(&hits, &names.iter().map(String::as_str).collect::<Vec<_>>()).expect("films");
        let many: Vec<bool> = hits.iter().flat_map(|hit| [*hit; 9]).collect();
        let shared: Vec<&str> = names.iter().flat_map(|name| [name.as_str(); 9]).collect();
        let shared = rate_by_group(&many, &shared).expect("films");
        let wilson = Rate::new(320, 400).expect("films");
        assert!((single.low - wilson.low).abs() < 0.01 && (single.high - wilson.high).abs() < 0.01, "{single:?}");
        assert!((shared.low - wilson.low).abs() < 0.01 && (shared.high - wilson.high).abs() < 0.01, "{shared:?}");
        let none = rate_by_group(&[true; 20], &["a"; 20]).expect("films");
        assert!(none.low < 0.9, "twenty hits are no certainty: {none:?}");
        assert_eq!(rate_by_group(&[], &[]), None);
    }

    #[test]
    fn honest_probabilities_have_no_calibration_error() {
        let films: Vec<(f64, bool)> = (0..1000).map(|i| (0.25, i % 4 == 0)).collect();
        assert!(calibration_error(&films).expect("films") < 1e-9);
        let sure: Vec<(f64, bool)> = (0..1000).map(|i| (1.0, i % 4 == 0)).collect();
        assert!((calibration_error(&sure).expect("films") - 0.75).abs() < 1e-9);
    }
}
