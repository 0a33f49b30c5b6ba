//! Calibration, coverage and risk, predictive values: what probabilities and lines are worth.

use lightbox::domain::{Finding, Probabilities};
use serde::Serialize;

use crate::data::Label;
use crate::evaluate::{Figures, Judged};
use crate::metrics::Rate;

/// Shares of patients who have Covid-19.
pub const PREVALENCES: [f64; 3] = [0.01, 0.05, 0.20];

/// One bin of a reliability diagram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Mean probability of Covid-19.
    pub mean_probability: f64,
    /// Share with Covid-19.
    pub share: Rate,
}

/// Ten bins of equal width, without the empty ones.
pub fn reliability(scored: &[(f64, bool)]) -> Vec<Bin> {
    (0..10)
        .filter_map(|bin| {
            let films: Vec<&(f64, bool)> = scored.iter().filter(|(p, _)| ((p * 10.0) as usize).min(9) == bin).collect();
            let mean_probability = films.iter().map(|f| f.0).sum::<f64>() / films.len().max(1) as f64;
            let share = Rate::new(films.iter().filter(|f| f.1).count(), films.len())?;
            Some(Bin { mean_probability, share })
        })
        .collect()
}

/// One point of a coverage–risk curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Risk {
    /// Share of the films that are answered, the surest first.
    pub coverage: f64,
    /// Share of the answered ones where Covid-19 is said or denied wrongly.
    pub risk: f64,
}

/// Twenty steps of coverage; sure is who is far from one half.
pub fn coverage_risk(scored: &[(f64, bool)]) -> Vec<Risk> {
    let mut films = scored.to_vec();
    films.sort_by(|a, b| (b.0 - 0.5).abs().total_cmp(&(a.0 - 0.5).abs()));
    (1..=20usize)
        .filter_map(|step| {
            let answered = &films[..films.len() * step / 20];
            let wrong = answered.iter().filter(|(p, ill)| (*p >= 0.5) != *ill).count();
            (!answered.is_empty())
                .then(|| Risk { coverage: step as f64 / 20.0, risk: wrong as f64 / answered.len() as f64 })
        })
        .collect()
}

/// Probability of Covid-19 and whether it is there, of the films that have one.
pub fn scored(films: &[&Judged]) -> Vec<(f64, bool)> {
    films.iter().filter_map(|f| Some((covid(&f.probabilities?), f.label == Label::Covid19))).collect()
}

fn covid(p: &Probabilities) -> f64 {
    f64::from(p.of(Finding::Covid19).get())
}

/// What a verdict is worth where a stated share of patients is ill. Ends of the intervals are those of sensitivity and
/// specificity (Wilson, 95 %) put in together: wider than a 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PredictiveValues {
    /// Share of patients who have Covid-19.
    pub prevalence: f64,
    /// Of those called Covid-19, the share that has it: value, lower end, upper end.
    pub positive: Option<[f64; 3]>,
    /// Of those called free of it, the share that is.
    pub negative: Option<[f64; 3]>,
}

/// Predictive values of the two lines.
pub fn predictive_values(figures: &Figures) -> Vec<PredictiveValues> {
    let ends = |r: &Rate| [r.rate, r.low, r.high];
    let share = |part: f64, rest: f64| if part + rest > 0.0 { part / (part + rest) } else { f64::NAN };
    PREVALENCES
        .iter()
        .map(|&prevalence| {
            let well = 1.0 - prevalence;
            let both = |a: &Option<Rate>, b: &Option<Rate>, value: &dyn Fn(f64, f64) -> f64| {
                let (a, b) = (ends(a.as_ref()?), ends(b.as_ref()?));
                let values = [value(a[0], b[0]), value(a[1], b[1]), value(a[2], b[2])];
                values.iter().all(|v| v.is_finite()).then_some(values)
            };
            PredictiveValues {
                prevalence,
                positive: both(&figures.rule_in_sensitivity, &figures.rule_in_specificity, &|ill, free| {
                    share(ill * prevalence, (1.0 - free) * well)
                }),
                negative: both(&figures.rule_out_sensitivity, &figures.rule_out_specificity, &|ill, free| {
                    share(free * well, (1.0 - ill) * prevalence)
                }),
            }
        })
        .collect()
}

/// Points of the ROC curve: share of others called ill, share of the ill called so.
pub fn roc(scored: &[(f64, bool)]) -> Vec<(f64, f64)> {
    let mut films = scored.to_vec();
    films.sort_by(|a, b| b.0.total_cmp(&a.0));
    let ill = films.iter().filter(|f| f.1).count().max(1) as f64;
    let well = films.iter().filter(|f| !f.1).count().max(1) as f64;
    let (mut points, mut at) = (vec![(0.0, 0.0)], (0.0, 0.0));
    for (number, film) in films.iter().enumerate() {
        if film.1 {
            at.1 += 1.0 / ill
        } else {
            at.0 += 1.0 / well
        }
        if films.get(number + 1).is_none_or(|next| next.0 != film.0) {
            points.push(at);
        }
    }
    points
}

/// The sensitivity on `ill` at the line that leaves at least a share `specificity` of `well` below it.
pub fn sensitivity_at(ill: &[f64], well: &[f64], specificity: f64) -> Option<Rate> {
    let mut well = well.to_vec();
    well.sort_by(f64::total_cmp);
    // Called ill is who is above the line, not on it.
    let line = *well.get(((well.len() as f64 * specificity).ceil() as usize).checked_sub(1)?)?;
    Rate::new(ill.iter().filter(|p| **p > line).count(), ill.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surest_films_are_answered_first() {
        let films: Vec<(f64, bool)> =
            (0..100).map(|i| (f64::from(i) / 100.0, (i >= 50) != (40..60).contains(&i))).collect();
        let curve = coverage_risk(&films);
        assert_eq!(curve.len(), 20);
        assert_eq!(curve[14].risk, 0.0);
        assert!((curve[19].risk - 0.2).abs() < 1e-9, "{curve:?}");
    }

    #[test]
    fn predictive_values_are_as_bayes_has_them() {
        let mut figures = crate::evaluate::figures(&[]);
        assert_eq!(predictive_values(&figures)[0].positive, None);
        figures.rule_in_sensitivity = Rate::new(90, 100);
        figures.rule_in_specificity = Rate::new(95, 100);
        let values = predictive_values(&figures);
        let [value, low, high] = values[1].positive.expect("both rates");
        assert!((value - 0.045 / (0.045 + 0.0475)).abs() < 1e-9, "{value}");
        assert!(low < value && value < high);
        assert_eq!(values[1].negative, None);
    }

    #[test]
    fn a_line_leaves_at_least_the_stated_share_below_it() {
        let well: Vec<f64> = (0..10).map(f64::from).collect();
        let rate = sensitivity_at(&[7.5, 8.0, 6.9, 20.0], &well, 0.8).expect("films");
        assert_eq!((rate.hits, rate.of), (3, 4));
        assert_eq!(sensitivity_at(&[1.0], &[], 0.8), None);
    }

    #[test]
    fn the_roc_curve_ends_in_the_corner_and_its_area_is_the_auc() {
        let films = [(0.9, true), (0.8, false), (0.8, true), (0.3, true), (0.1, false)];
        let points = roc(&films);
        assert!(points.last().is_some_and(|p| (p.0 - 1.0).abs() < 1e-9 && (p.1 - 1.0).abs() < 1e-9));
        let area: f64 = points.windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum();
        assert!((area - crate::metrics::auc(&films).expect("both sides")).abs() < 1e-9);
    }

    #[test]
    fn bins_have_the_share_of_ill_films_beside_the_mean_probability() {
        let bins = reliability(&[(0.05, false), (0.07, true), (1.0, true)]);
        assert_eq!(bins.len(), 2);
        assert!((bins[0].mean_probability - 0.06).abs() < 1e-9 && (bins[0].share.rate - 0.5).abs() < 1e-9);
    }
}
