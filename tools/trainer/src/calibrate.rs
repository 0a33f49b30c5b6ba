//! Temperature and lines, chosen on films of the training sources that the network that answered did not learn from;
//! never on external ones.

use std::collections::BTreeMap;

use lightbox::domain::{Finding, Probabilities};

use crate::data::Label;
use crate::recipe::OperatingPointFile;

/// What is known of a held-out film.
#[derive(Clone, Debug)]
pub struct HeldOut {
    /// As in reports.
    pub source: String,
    /// What it shows.
    pub label: Label,
    /// The network's answer.
    pub logits: [f32; 3],
}

/// What was chosen, and what for.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Divides the logits.
    pub temperature: f32,
    /// Fitted to all held-out films; never above the one that is used.
    pub fitted_temperature: f32,
    /// See [`lightbox::domain::OperatingPoint`].
    pub rule_out: f32,
    /// Likewise.
    pub rule_in: f32,
    /// Likewise.
    pub pneumonia_below: f32,
    /// Likewise.
    pub normal_above: f32,
    /// In words.
    pub chosen_for: String,
}

/// Held-out films that do not suffice.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// A class is missing.
    #[error("no held-out {0} films were read: nothing to choose the lines by")]
    NoFilms(Label),
    /// A logit that is not finite.
    #[error("the network's answer to a held-out film is {0:?}: not a number")]
    NotANumber([f32; 3]),
}

/// Chooses temperature and lines.
///
/// Every source has the same weight within a label, so that large and easy sources do not drown the others; sources of
/// fewer than ten films of a label have none, unless all are so small. A line also has to hold within each source by itself, where it has films enough for the stated rate to be seen at all.
///
/// The temperature is the highest of those that are fitted with each source left out in turn: films of a hospital that
/// the network has not seen are harder than held-out films of those it has, and what makes the network surer must not
/// hang on one of them.
///
/// `place` says in words on which films, for [`Calibration::chosen_for`].
///
/// # Errors
/// When a class has no films or an answer is no number.
pub fn calibrate(films: &[HeldOut], rates: &OperatingPointFile, place: &str) -> Result<Calibration, CalibrationError> {
    for label in [Label::Covid19, Label::Pneumonia, Label::Normal] {
        if !films.iter().any(|f| f.label == label) {
            return Err(CalibrationError::NoFilms(label));
        }
    }
    if let Some(bad) = films.iter().find(|f| f.logits.iter().any(|l| !l.is_finite())) {
        return Err(CalibrationError::NotANumber(bad.logits));
    }
    let fitted_temperature = fit_temperature(films);
    let temperature = cautious_temperature(films, fitted_temperature);
    let probabilities: Vec<Probabilities> =
        films.iter().filter_map(|f| Probabilities::from_logits(f.logits, temperature)).collect();
    let covid = |i: usize| f64::from(probabilities[i].of(Finding::Covid19).get());
    let normal_share = |i: usize| {
        let (p, n) = (probabilities[i].of(Finding::Pneumonia).get(), probabilities[i].of(Finding::Normal).get());
        f64::from(n) / f64::from(n + p).max(f64::MIN_POSITIVE)
    };
    let scores = |labels: &[Label], score: &dyn Fn(usize) -> f64| -> BTreeMap<String, Vec<f64>> {
        let mut by_source: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (i, film) in films.iter().enumerate().filter(|(_, f)| labels.contains(&f.label)) {
            by_source.entry(film.source.clone()).or_default().push(score(i));
        }
        by_source
    };

    let rule_out = lower_line(&scores(&[Label::Covid19], &covid), rates.rule_out_sensitivity);
    let others = [Label::Pneumonia, Label::Normal, Label::Other];
    let rule_in = upper_line(&scores(&others, &covid), rates.rule_in_specificity).max(rule_out);
    let normal_above = upper_line(&scores(&[Label::Pneumonia], &normal_share), rates.pneumonia_sensitivity);
    let pneumonia_below = lower_line(&scores(&[Label::Normal], &normal_share), rates.normal_sensitivity);
    // Where the two classes lie apart the lines cross: one line between them does for both.
    let (pneumonia_below, normal_above) = if pneumonia_below <= normal_above {
        (pneumonia_below, normal_above)
    } else {
        let middle = (pneumonia_below + normal_above) / 2.0;
        (middle, middle)
    };
    let chosen_for = format!(
        "{place}, all together and each source that is large enough: sensitivity {:.2} % \
         above rule_out, specificity {:.0} % below rule_in, {:.0} % of pneumonia not called normal, {:.0} % of normal \
         not called pneumonia",
        rates.rule_out_sensitivity * 100.0,
        rates.rule_in_specificity * 100.0,
        rates.pneumonia_sensitivity * 100.0,
        rates.normal_sensitivity * 100.0
    );
    let [rule_out, rule_in, pneumonia_below, normal_above] =
        [rule_out, rule_in, pneumonia_below, normal_above].map(|line| line as f32);
    Ok(Calibration { temperature, fitted_temperature, rule_out, rule_in, pneumonia_below, normal_above, chosen_for })
}

/// The highest of `fitted` and of the temperatures without each source that is large enough, where every class is left.
fn cautious_temperature(films: &[HeldOut], fitted: f32) -> f32 {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    films.iter().for_each(|film| *sizes.entry(&film.source).or_default() += 1);
    sizes
        .into_iter()
        .filter(|(_, size)| *size >= SOURCE_FILMS)
        .filter_map(|(source, _)| {
            let rest: Vec<HeldOut> = films.iter().filter(|film| film.source != source).cloned().collect();
            let whole = Finding::ALL.iter().all(|f| rest.iter().any(|film| film.label.finding() == Some(*f)));
            whole.then(|| fit_temperature(&rest))
        })
        .fold(fitted, f32::max)
}

/// The temperature of least cross-entropy (Guo 2017), each source of each label of the same weight.
fn fit_temperature(films: &[HeldOut]) -> f32 {
    let mut by_finding: BTreeMap<Finding, BTreeMap<&str, Vec<[f32; 3]>>> = BTreeMap::new();
    for film in films {
        if let Some(finding) = film.label.finding() {
            by_finding.entry(finding).or_default().entry(&film.source).or_default().push(film.logits);
        }
    }
    let strata: Vec<(Finding, &Vec<[f32; 3]>)> = by_finding
        .iter()
        .flat_map(|(finding, sources)| large(sources).into_iter().map(|(_, films)| (*finding, films)))
        .collect();
    let cost = |log_temperature: f64| -> f64 {
        let temperature = log_temperature.exp();
        strata
            .iter()
            .map(|(finding, films)| {
                let sum: f64 = films
                    .iter()
                    .map(|logits| {
                        let scaled = logits.map(|l| f64::from(l) / temperature);
                        let top = scaled.into_iter().fold(f64::NEG_INFINITY, f64::max);
                        let log_sum = scaled.iter().map(|l| (l - top).exp()).sum::<f64>().ln() + top;
                        log_sum - scaled[finding.index()]
                    })
                    .sum();
                sum / films.len() as f64
            })
            .sum()
    };
    // The cost has one minimum in 1/T (Guo 2017): golden sections from a 20th to 20.
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (0.05f64.ln(), 20f64.ln());
    for _ in 0..60 {
        let (a, b) = (high - golden * (high - low), low + golden * (high - low));
        if cost(a) < cost(b) { high = b } else { low = a }
    }
    ((low + high) / 2.0).exp() as f32
}

/// Fewest films of a source that weigh as much as another source's hundreds.
const SOURCE_FILMS: usize = 10;

/// Sources with films enough; all of them where none has.
fn large<K: Ord + Clone, V>(by_source: &BTreeMap<K, Vec<V>>) -> Vec<(&K, &Vec<V>)> {
    let least = if by_source.values().any(|films| films.len() >= SOURCE_FILMS) { SOURCE_FILMS } else { 1 };
    by_source.iter().filter(|(_, films)| films.len() >= least).collect()
}

/// Fewest films of a source in which a rate can be seen: three may be on the wrong side. With fewer, one film with a
/// wrong label would draw the line.
fn enough(rate: f64) -> usize {
    if rate >= 1.0 { 1 } else { (3.0 / (1.0 - rate)).ceil() as usize }
}

/// The highest line above which lies at least a share `rate`: of every source with films enough, and of all with
/// each source of the same weight.
fn lower_line(by_source: &BTreeMap<String, Vec<f64>>, rate: f64) -> f64 {
    let mut line = weighted_quantile(large(by_source).into_iter().map(|(_, films)| films), 1.0 - rate);
    for films in by_source.values().filter(|films| films.len() >= enough(rate)) {
        line = line.min(weighted_quantile(std::iter::once(films), 1.0 - rate));
    }
    // Films on the line itself count as below: just under the film that must lie above.
    (line - 1e-6).max(0.0)
}

/// The lowest line below which lies at least a share `rate`, likewise.
fn upper_line(by_source: &BTreeMap<String, Vec<f64>>, rate: f64) -> f64 {
    let mirrored = by_source.iter().map(|(s, films)| (s.clone(), films.iter().map(|f| 1.0 - f).collect())).collect();
    1.0 - lower_line(&mirrored, rate)
}

/// The largest score with a share of at most `share` strictly below it; each group of scores weighs the same.
fn weighted_quantile<'a>(groups: impl Iterator<Item = &'a Vec<f64>>, share: f64) -> f64 {
    let groups: Vec<&Vec<f64>> = groups.filter(|g| !g.is_empty()).collect();
    let mut weighted: Vec<(f64, f64)> = groups
        .iter()
        .flat_map(|g| g.iter().map(|score| (*score, 1.0 / (g.len() as f64 * groups.len() as f64))))
        .collect();
    weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut below = 0.0;
    let mut chosen = weighted.first().map_or(0.0, |w| w.0);
    for (score, weight) in weighted {
        if below <= share + 1e-12 {
            chosen = score;
        }
        below += weight;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn rates() -> OperatingPointFile {
        let recipe: crate::recipe::RecipeFile =
            toml::from_str(include_str!("../recipes/first.toml")).expect("the recipe");
        recipe.operating_point
    }

    fn normal(random: &mut impl Rng) -> f32 {
        (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0
    }

    /// Films of logits that are `sharp` times what would be honest.
    fn films(count: usize, sharp: f32) -> Vec<HeldOut> {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        (0..count)
            .map(|i| {
                let logits = [normal(&mut random), normal(&mut random), normal(&mut random)].map(|l| l * 1.5);
                // The label is drawn from the probabilities that the logits mean.
                let p = Probabilities::from_logits(logits, 1.0).expect("finite");
                let mut draw: f32 = random.random();
                let label = [Label::Covid19, Label::Pneumonia, Label::Normal]
                    .into_iter()
                    .find(|l| {
                        draw -= l.finding().map_or(0.0, |f| p.of(f).get());
                        draw <= 0.0
                    })
                    .unwrap_or(Label::Normal);
                HeldOut { source: ["A", "B"][i % 2].into(), label, logits: logits.map(|l| l * sharp) }
            })
            .collect()
    }

    #[test]
    fn the_temperature_undoes_what_made_the_network_too_sure() {
        let found = calibrate(&films(6000, 3.0), &rates(), "on some films").expect("films of all classes");
        assert!((found.temperature - 3.0).abs() < 0.25, "{found:?}");
    }

    #[test]
    fn a_network_that_is_too_modest_is_made_surer() {
        let found = calibrate(&films(6000, 0.5), &rates(), "on some films").expect("films of all classes");
        assert!((found.temperature - 0.5).abs() < 0.05, "{found:?}");
        assert!(found.fitted_temperature <= found.temperature, "{found:?}");
    }

    #[test]
    fn one_source_alone_makes_the_network_no_surer() {
        let mut films = films(6000, 1.0);
        films.iter_mut().filter(|film| film.source == "A").for_each(|film| film.logits = film.logits.map(|l| l * 0.3));
        let found = calibrate(&films, &rates(), "on some films").expect("films of all classes");
        assert!((found.temperature - 1.0).abs() < 0.1 && found.fitted_temperature < 0.8, "{found:?}");
    }

    #[test]
    fn the_lines_hold_what_they_were_chosen_for_in_every_source() {
        let films = films(6000, 1.0);
        let rates = rates();
        let found = calibrate(&films, &rates, "on some films").expect("films of all classes");
        let covid = |f: &HeldOut| {
            Probabilities::from_logits(f.logits, found.temperature).expect("finite").of(Finding::Covid19).get()
        };
        for source in ["A", "B"] {
            let of = |keep: &dyn Fn(&HeldOut) -> bool, right: &dyn Fn(&HeldOut) -> bool| {
                let kept: Vec<&HeldOut> = films.iter().filter(|f| f.source == source && keep(f)).collect();
                kept.iter().filter(|f| right(f)).count() as f64 / kept.len() as f64
            };
            let sensitivity = of(&|f| f.label == Label::Covid19, &|f| covid(f) > found.rule_out);
            let specificity = of(&|f| f.label != Label::Covid19, &|f| covid(f) < found.rule_in);
            assert!(sensitivity >= rates.rule_out_sensitivity, "{source}: {sensitivity}");
            assert!(specificity >= rates.rule_in_specificity, "{source}: {specificity}");
        }
        assert!(found.rule_out < found.rule_in && found.pneumonia_below < found.normal_above, "{found:?}");
        assert!(found.chosen_for.starts_with("on some films, all together"), "{}", found.chosen_for);
    }

    #[test]
    fn two_films_of_a_small_source_do_not_draw_the_lines() {
        let mut films = films(2000, 1.0);
        let before = calibrate(&films, &rates(), "on some films").expect("films of all classes");
        for logits in [[9.0, 0.0, 0.0], [8.0, 0.0, 0.0]] {
            films.push(HeldOut { source: "tiny".into(), label: Label::Normal, logits });
        }
        assert_eq!(calibrate(&films, &rates(), "on some films").expect("films of all classes"), before);
    }

    #[test]
    fn classes_that_lie_apart_get_one_line_between_them() {
        let films: Vec<HeldOut> = (0..300)
            .map(|i| {
                let label = [Label::Covid19, Label::Pneumonia, Label::Normal][i % 3];
                let mut logits = [0.0; 3];
                logits[i % 3] = 6.0;
                HeldOut { source: "A".into(), label, logits }
            })
            .collect();
        let found = calibrate(&films, &rates(), "on some films").expect("films of all classes");
        assert_eq!(found.pneumonia_below, found.normal_above);
        assert!(found.rule_out <= found.rule_in, "{found:?}");
    }

    #[test]
    fn a_class_without_films_and_an_answer_that_is_no_number_are_refused() {
        let mut some = films(30, 1.0);
        some[3].logits[1] = f32::NAN;
        let error = calibrate(&some, &rates(), "on some films").expect_err("no number").to_string();
        assert!(error.contains("not a number"), "{error}");
        let none: Vec<HeldOut> = films(30, 1.0).into_iter().filter(|f| f.label != Label::Covid19).collect();
        let error = calibrate(&none, &rates(), "on some films").expect_err("no films").to_string();
        assert_eq!(error, "no held-out covid19 films were read: nothing to choose the lines by");
    }
}
