//! Scores to verdict. A film is never called normal because nothing else fitted.

use crate::domain::{Doubt, Finding, OperatingPoint, Probabilities, Reading, Verdict};

/// Draws the operating point's lines through calibrated probabilities.
///
/// `probabilities` is `None` when the network gave something that is no number
/// ([`Probabilities::from_logits`]); that is a doubt, not a finding.
pub fn decide(probabilities: Option<Probabilities>, at: &OperatingPoint) -> Reading {
    let Some(p) = probabilities else {
        let verdict = Verdict::Indeterminate(Doubt::ModelFault);
        return Reading { verdict, probabilities: None, covid_positive: None };
    };
    let covid = p.of(Finding::Covid19);
    let (verdict, covid_positive) = if covid >= at.rule_in() {
        (Verdict::Found(Finding::Covid19), Some(true))
    } else if covid > at.rule_out() {
        (Verdict::Indeterminate(Doubt::BetweenThresholds), None)
    } else {
        (without_covid(p, at), Some(false))
    };
    Reading { verdict, probabilities: Some(p), covid_positive }
}

/// Pneumonia, normal, or too close to call, from the share of normal among the two.
fn without_covid(p: Probabilities, at: &OperatingPoint) -> Verdict {
    let (pneumonia, normal) = (p.of(Finding::Pneumonia).get(), p.of(Finding::Normal).get());
    let share = normal / (normal + pneumonia);
    if share <= at.pneumonia_below().get() {
        Verdict::Found(Finding::Pneumonia)
    } else if share >= at.normal_above().get() {
        Verdict::Found(Finding::Normal)
    } else {
        // Also where both are zero and the share is no number.
        Verdict::Indeterminate(Doubt::PneumoniaOrNormal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point() -> OperatingPoint {
        OperatingPoint::new(0.2, 0.7, 0.4, 0.6).expect("in order")
    }

    fn probabilities(covid: f32, pneumonia: f32, normal: f32) -> Option<Probabilities> {
        Probabilities::from_logits([covid.ln(), pneumonia.ln(), normal.ln()].map(|l| l.max(-80.0)), 1.0)
    }

    #[track_caller]
    fn check(covid: f32, pneumonia: f32, normal: f32, verdict: Verdict, positive: Option<bool>) {
        let reading = decide(probabilities(covid, pneumonia, normal), &point());
        assert_eq!((reading.verdict, reading.covid_positive), (verdict, positive));
    }

    #[test]
    fn each_side_of_each_line_has_its_own_verdict() {
        check(0.71, 0.2, 0.09, Verdict::Found(Finding::Covid19), Some(true));
        check(0.69, 0.3, 0.01, Verdict::Indeterminate(Doubt::BetweenThresholds), None);
        check(0.21, 0.01, 0.78, Verdict::Indeterminate(Doubt::BetweenThresholds), None);
        check(0.10, 0.01, 0.89, Verdict::Found(Finding::Normal), Some(false));
        check(0.10, 0.80, 0.10, Verdict::Found(Finding::Pneumonia), Some(false));
        check(0.10, 0.45, 0.45, Verdict::Indeterminate(Doubt::PneumoniaOrNormal), Some(false));
    }

    #[test]
    fn normal_needs_more_than_being_the_largest() {
        check(0.25, 0.05, 0.70, Verdict::Indeterminate(Doubt::BetweenThresholds), None);
    }

    #[test]
    fn no_probabilities_is_a_doubt_and_never_normal() {
        let reading = decide(None, &point());
        assert_eq!(reading.verdict, Verdict::Indeterminate(Doubt::ModelFault));
        assert_eq!((reading.covid_positive, reading.probabilities), (None, None));
    }

    #[test]
    fn a_certain_covid_is_called_even_when_the_lines_are_at_one() {
        let at = OperatingPoint::new(1.0, 1.0, 0.5, 0.5).expect("in order");
        let certain = Probabilities::from_logits([1e6, 0.0, 0.0], 1.0);
        assert_eq!(decide(certain, &at).verdict, Verdict::Found(Finding::Covid19));
    }

    #[test]
    fn more_covid_never_turns_a_positive_into_a_negative() {
        let rank = |positive: Option<bool>| match positive {
            Some(false) => 0,
            None => 1,
            Some(true) => 2,
        };
        let mut last = 0;
        for step in 1..100 {
            let covid = step as f32 / 100.0;
            let rest = 1.0 - covid;
            let now = rank(decide(probabilities(covid, rest * 0.3, rest * 0.7), &point()).covid_positive);
            assert!(now >= last, "at {covid}");
            last = now;
        }
    }
}
