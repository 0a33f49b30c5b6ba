//! Curves of scored films: over all of them, and how much the folds differ.

use serde::{Deserialize, Serialize};

use crate::metrics::Rate;

/// Places at which folds are compared.
const GRID: usize = 50;

/// A place and a value.
pub(super) type Point = (f64, f64);

/// A curve over all films, and the mean of the folds with one standard deviation to either side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Banded {
    /// Over all films together.
    pub(super) pooled: Vec<Point>,
    /// Place, low, high.
    pub(super) band: Vec<(f64, f64, f64)>,
}

/// Films in descending order of their score, as (score, count, positives) of equal scores.
fn descending(scored: &[(f64, bool)]) -> Vec<(f64, usize, usize)> {
    let mut order: Vec<(f64, bool)> = scored.to_vec();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut steps: Vec<(f64, usize, usize)> = Vec::new();
    for (score, positive) in order {
        match steps.last_mut() {
            Some(last) if last.0 == score => {
                last.1 += 1;
                last.2 += usize::from(positive);
            }
            _ => steps.push((score, 1, usize::from(positive))),
        }
    }
    steps
}

/// Sensitivity over 1 − specificity; empty when one side is.
pub(super) fn roc(scored: &[(f64, bool)]) -> Vec<Point> {
    let positives = scored.iter().filter(|s| s.1).count();
    let negatives = scored.len() - positives;
    if positives == 0 || negatives == 0 {
        return Vec::new();
    }
    let (mut points, mut true_, mut false_) = (vec![(0.0, 0.0)], 0, 0);
    for (_, films, hits) in descending(scored) {
        true_ += hits;
        false_ += films - hits;
        points.push((false_ as f64 / negatives as f64, true_ as f64 / positives as f64));
    }
    points
}

/// Precision over recall, in ascending recall; empty without positives.
pub(super) fn precision_recall(scored: &[(f64, bool)]) -> Vec<Point> {
    let positives = scored.iter().filter(|s| s.1).count();
    if positives == 0 {
        return Vec::new();
    }
    let (mut points, mut true_, mut seen) = (Vec::new(), 0, 0);
    for (_, films, hits) in descending(scored) {
        true_ += hits;
        seen += films;
        points.push((true_ as f64 / positives as f64, true_ as f64 / seen as f64));
    }
    let first = points.first().map_or(1.0, |p| p.1);
    points.insert(0, (0.0, first));
    points
}

/// Share of wrong answers among the share of films with the highest confidence.
pub(super) fn coverage_risk(answers: &[(f64, bool)]) -> Vec<Point> {
    let (mut points, mut wrong, mut seen) = (Vec::new(), 0, 0);
    for (_, films, right) in descending(answers) {
        wrong += films - right;
        seen += films;
        points.push((seen as f64 / answers.len() as f64, wrong as f64 / seen as f64));
    }
    points
}

/// The highest value of the curve at `x` or before it: how a ROC curve is read.
fn best_up_to(points: &[Point], x: f64) -> f64 {
    points.iter().filter(|p| p.0 <= x + 1e-12).map(|p| p.1).fold(0.0, f64::max)
}

/// The highest value of the curve at `x` or behind it: how precision is read.
fn best_from(points: &[Point], x: f64) -> f64 {
    points.iter().filter(|p| p.0 >= x - 1e-12).map(|p| p.1).fold(0.0, f64::max)
}

/// The value of the first point at `x` or behind it.
fn first_from(points: &[Point], x: f64) -> f64 {
    points.iter().find(|p| p.0 >= x - 1e-12).or(points.last()).map_or(0.0, |p| p.1)
}

fn banded(pooled: Vec<Point>, folds: &[Vec<Point>], read: fn(&[Point], f64) -> f64) -> Banded {
    let folds: Vec<&Vec<Point>> = folds.iter().filter(|points| !points.is_empty()).collect();
    let band = (0..=GRID).filter(|_| folds.len() > 1).map(|step| {
        let x = step as f64 / GRID as f64;
        let (mean, deviation) = mean_and_deviation(&folds.iter().map(|points| read(points, x)).collect::<Vec<_>>());
        (rounded(x), rounded((mean - deviation).max(0.0)), rounded((mean + deviation).min(1.0)))
    });
    Banded { pooled: thinned(&pooled), band: band.collect() }
}

/// Mean and standard deviation (n − 1); zeros of nothing.
pub(super) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Without points that cannot be seen.
fn thinned(points: &[Point]) -> Vec<Point> {
    let mut kept: Vec<Point> = Vec::new();
    for (number, (x, y)) in points.iter().enumerate() {
        let near = kept.last().is_some_and(|(a, b): &Point| (a - x).abs() + (b - y).abs() < 0.004);
        if !near || number + 1 == points.len() {
            kept.push((rounded(*x), rounded(*y)));
        }
    }
    kept
}

/// ROC of all films and of each fold's.
pub(super) fn banded_roc(all: &[(f64, bool)], folds: &[Vec<(f64, bool)>]) -> Banded {
    banded(roc(all), &folds.iter().map(|fold| roc(fold)).collect::<Vec<_>>(), best_up_to)
}

/// Precision and recall of all films and of each fold's.
pub(super) fn banded_precision_recall(all: &[(f64, bool)], folds: &[Vec<(f64, bool)>]) -> Banded {
    banded(precision_recall(all), &folds.iter().map(|fold| precision_recall(fold)).collect::<Vec<_>>(), best_from)
}

/// Coverage and risk of all films and of each fold's.
pub(super) fn banded_coverage_risk(all: &[(f64, bool)], folds: &[Vec<(f64, bool)>]) -> Banded {
    let mut banded =
        banded(coverage_risk(all), &folds.iter().map(|f| coverage_risk(f)).collect::<Vec<_>>(), first_from);
    // At no coverage there is no risk to compare.
    banded.band.retain(|(x, _, _)| *x >= 0.1);
    banded
}

/// A bin of a reliability diagram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Bin {
    /// Mean probability of its films.
    pub(super) probability: f64,
    /// Share of positives among them.
    pub(super) positives: Rate,
}

/// Ten bins of equal width, those without films left out.
pub(super) fn reliability(scored: &[(f64, bool)]) -> Vec<Bin> {
    (0..10)
        .filter_map(|bin| {
            let films: Vec<&(f64, bool)> = scored.iter().filter(|(p, _)| ((p * 10.0) as usize).min(9) == bin).collect();
            let positives = Rate::new(films.iter().filter(|f| f.1).count(), films.len())?;
            Some(Bin { probability: rounded(films.iter().map(|f| f.0).sum::<f64>() / films.len() as f64), positives })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::auc;

    fn films() -> Vec<(f64, bool)> {
        (0..500)
            .map(|i| (f64::from((i * 37) % 100) / 100.0 * 0.8 + if i % 3 == 0 { 0.15 } else { 0.0 }, i % 3 == 0))
            .collect()
    }

    #[test]
    fn the_area_under_the_roc_curve_is_the_auc() {
        let points = roc(&films());
        let area: f64 = points.windows(2).map(|w| (w[1].0 - w[0].0) * (w[1].1 + w[0].1) / 2.0).sum();
        assert!((area - auc(&films()).expect("both")).abs() < 1e-12);
        assert_eq!((points[0], points[points.len() - 1]), ((0.0, 0.0), (1.0, 1.0)));
        assert!(roc(&[(0.5, true)]).is_empty());
    }

    #[test]
    fn precision_ends_at_the_share_of_positives_and_risk_at_the_share_of_errors() {
        let last = *precision_recall(&films()).last().expect("points");
        assert!((last.0 - 1.0).abs() < 1e-12 && (last.1 - 167.0 / 500.0).abs() < 1e-12);
        let last = *coverage_risk(&[(0.9, true), (0.8, true), (0.5, false), (0.4, true)]).last().expect("points");
        assert_eq!(last, (1.0, 0.25));
        assert_eq!(coverage_risk(&[(0.9, true), (0.8, false)])[0], (0.5, 0.0));
    }

    #[test]
    fn folds_alike_make_a_band_without_width_and_one_fold_makes_none() {
        let banded = banded_roc(&films(), &[films(), films()]);
        assert!(banded.band.len() == GRID + 1 && banded.band.iter().all(|(_, low, high)| (low - high).abs() < 1e-3));
        assert!(banded_roc(&films(), &[films()]).band.is_empty());
    }

    #[test]
    fn a_bin_holds_its_films() {
        let bins = reliability(&[(0.05, false), (0.07, true), (1.0, true)]);
        assert_eq!(bins.len(), 2);
        assert!((bins[0].probability - 0.06).abs() < 1e-9 && bins[0].positives.hits == 1);
        assert_eq!(bins[1].positives.rate, 1.0);
    }
}
