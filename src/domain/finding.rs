//! What a film can show, how probable that is, and where the line is drawn.

use std::fmt;

use super::{LungLocator, Novelty};

/// The classes of Apostolopoulos & Mpesiana 2020.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Finding {
    /// Covid-19 pneumonia.
    Covid19,
    /// Bacterial or viral pneumonia other than Covid-19.
    Pneumonia,
    /// Neither of the two.
    Normal,
}

impl Finding {
    /// Every finding, in the order in which probabilities are kept.
    pub const ALL: [Self; 3] = [Self::Covid19, Self::Pneumonia, Self::Normal];

    /// The name in manifests, JSON lines and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Covid19 => "covid19",
            Self::Pneumonia => "pneumonia",
            Self::Normal => "normal",
        }
    }

    /// The finding of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|finding| finding.name() == name)
    }

    /// Position in [`ALL`](Self::ALL).
    pub fn index(self) -> usize {
        match self {
            Self::Covid19 => 0,
            Self::Pneumonia => 1,
            Self::Normal => 2,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A probability in `[0, 1]`, never NaN.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Probability(f32);

/// A number that is not a probability.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{0} is not a probability: expected a number from 0 to 1")]
pub struct ProbabilityError(pub f32);

impl Probability {
    /// # Errors
    /// When `value` is NaN or outside `[0, 1]`.
    pub fn new(value: f32) -> Result<Self, ProbabilityError> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(ProbabilityError(value)) }
    }

    /// The number itself.
    pub fn get(self) -> f32 {
        self.0
    }
}

/// Calibrated probability of each finding; they sum to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probabilities([Probability; 3]);

impl Probabilities {
    /// Softmax of `logits / temperature`, in the order of [`Finding::ALL`].
    ///
    /// `None` when a logit is not finite or the temperature not a positive number: there is no honest
    /// probability then, and the caller has to say so.
    pub fn from_logits(logits: [f32; 3], temperature: f32) -> Option<Self> {
        if !(temperature.is_finite() && temperature > 0.0) || logits.iter().any(|l| !l.is_finite()) {
            return None;
        }
        let scaled = logits.map(|l| f64::from(l) / f64::from(temperature));
        let top = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers = scaled.map(|l| (l - top).exp());
        let sum: f64 = powers.iter().sum();
        Some(Self(powers.map(|p| Probability((p / sum) as f32))))
    }

    /// Probabilities that were kept, in the order of [`Finding::ALL`]; `None` when they are none or do not sum to 1.
    pub fn from_kept(kept: [f64; 3]) -> Option<Self> {
        let sum: f64 = kept.iter().sum();
        // What is not a number is in no range.
        let sound = (0.999..=1.001).contains(&sum) && kept.iter().all(|p| (0.0..=1.0).contains(p));
        sound.then(|| Self(kept.map(|p| Probability(p as f32))))
    }

    /// The probability of one finding.
    pub fn of(&self, finding: Finding) -> Probability {
        self.0[finding.index()]
    }
}

/// Where the lines are drawn, chosen with the weights and shipped with them.
///
/// ```text
///  p(covid19):  0 ──────── rule_out ──────── rule_in ──────── 1
///                not Covid-19 │  indeterminate  │  Covid-19
///
///  below rule_out, p(normal) ÷ (p(normal) + p(pneumonia)):
///               0 ─────── pneumonia_below ─────── normal_above ─────── 1
///                 pneumonia │       indeterminate       │ normal
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OperatingPoint {
    rule_out: Probability,
    rule_in: Probability,
    pneumonia_below: Probability,
    normal_above: Probability,
}

/// An operating point whose lines are out of order.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum OperatingPointError {
    /// A line is not a probability.
    #[error("{name}: {source}")]
    Range {
        /// Which line.
        name: &'static str,
        /// What is wrong with it.
        source: ProbabilityError,
    },
    /// The lower line lies above the upper one.
    #[error("{lower_name} is {lower}, above {upper_name}, which is {upper}: expected {lower_name} ≤ {upper_name}")]
    Order {
        /// Name of the line that should be lower.
        lower_name: &'static str,
        /// Its value.
        lower: f32,
        /// Name of the line that should be higher.
        upper_name: &'static str,
        /// Its value.
        upper: f32,
    },
}

impl OperatingPoint {
    /// # Errors
    /// When a line is no probability, `rule_out > rule_in` or `pneumonia_below > normal_above`.
    pub fn new(
        rule_out: f32,
        rule_in: f32,
        pneumonia_below: f32,
        normal_above: f32,
    ) -> Result<Self, OperatingPointError> {
        let line = |name, value| Probability::new(value).map_err(|source| OperatingPointError::Range { name, source });
        let ordered = |lower_name, lower, upper_name, upper| {
            if lower <= upper {
                Ok(())
            } else {
                Err(OperatingPointError::Order { lower_name, lower, upper_name, upper })
            }
        };
        let point = Self {
            rule_out: line("rule_out", rule_out)?,
            rule_in: line("rule_in", rule_in)?,
            pneumonia_below: line("pneumonia_below", pneumonia_below)?,
            normal_above: line("normal_above", normal_above)?,
        };
        ordered("rule_out", rule_out, "rule_in", rule_in)?;
        ordered("pneumonia_below", pneumonia_below, "normal_above", normal_above)?;
        Ok(point)
    }

    /// Above this probability of Covid-19 a film is never called free of it.
    pub fn rule_out(&self) -> Probability {
        self.rule_out
    }

    /// From this probability on a film is called Covid-19.
    pub fn rule_in(&self) -> Probability {
        self.rule_in
    }

    /// Up to this share of normal a film without Covid-19 is called pneumonia.
    pub fn pneumonia_below(&self) -> Probability {
        self.pneumonia_below
    }

    /// From this share of normal on a film without Covid-19 is called normal.
    pub fn normal_above(&self) -> Probability {
        self.normal_above
    }
}

/// From a network's answer to a verdict: chosen with the weights and shipped with them.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRule {
    /// Logits are divided by it before softmax (Guo 2017); above 0.
    pub temperature: f32,
    /// Where the lines are drawn.
    pub operating_point: OperatingPoint,
    /// How films unlike those learned from are told, where that was fitted.
    pub novelty: Option<Novelty>,
    /// How the lungs are found, where that was fitted.
    pub lungs: Option<LungLocator>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_even_for_extreme_logits() {
        for logits in [[0.0, 0.0, 0.0], [1e30, -1e30, 0.0], [88.0, 89.0, -200.0]] {
            let p = Probabilities::from_logits(logits, 1.5).expect("finite logits");
            let sum: f32 = Finding::ALL.iter().map(|f| p.of(*f).get()).sum();
            assert!((sum - 1.0).abs() < 1e-6, "{logits:?} gave {sum}");
        }
    }

    #[test]
    fn a_temperature_above_one_softens_and_keeps_the_order() {
        let sharp = Probabilities::from_logits([2.0, 1.0, 0.0], 1.0).expect("finite");
        let soft = Probabilities::from_logits([2.0, 1.0, 0.0], 3.0).expect("finite");
        assert!(soft.of(Finding::Covid19) < sharp.of(Finding::Covid19));
        assert!(soft.of(Finding::Covid19) > soft.of(Finding::Pneumonia));
    }

    #[test]
    fn logits_that_are_no_numbers_have_no_probabilities() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(Probabilities::from_logits([0.0, bad, 0.0], 1.0), None);
        }
        for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(Probabilities::from_logits([0.0; 3], temperature), None);
        }
    }

    #[test]
    fn lines_out_of_order_are_refused_by_name() {
        let error = OperatingPoint::new(0.6, 0.4, 0.3, 0.7).expect_err("out of order");
        assert_eq!(error.to_string(), "rule_out is 0.6, above rule_in, which is 0.4: expected rule_out ≤ rule_in");
        let error = OperatingPoint::new(0.1, 0.4, 0.3, 1.7).expect_err("out of range");
        assert_eq!(error.to_string(), "normal_above: 1.7 is not a probability: expected a number from 0 to 1");
        assert!(OperatingPoint::new(f32::NAN, 0.4, 0.3, 0.7).is_err());
    }

    #[test]
    fn names_lead_back_to_their_findings() {
        for finding in Finding::ALL {
            assert_eq!(Finding::from_name(finding.name()), Some(finding));
            assert_eq!(Finding::ALL[finding.index()], finding);
        }
        assert_eq!(Finding::from_name("Covid19"), None);
    }
}
