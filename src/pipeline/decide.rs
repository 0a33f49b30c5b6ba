//! Scores to verdict. A film is never called normal because nothing else fitted.

use crate::domain::{
    DecisionRule, Doubt, Finding, ModelOutput, OperatingPoint, Probabilities, Reading, Reason, Rejection, Verdict,
};

/// Says what a network's answer means under the rule that was shipped with it.
///
/// A film without lungs, and one unlike those learned from, are rejected whatever the network says of them; an answer
/// that is no number is a doubt; else the operating point decides.
pub fn decide(output: &ModelOutput, rule: &DecisionRule) -> Reading {
    if let Some(locator) = &rule.lungs {
        match locator.locate(&output.features) {
            None => return draw_lines(None, &rule.operating_point),
            Some(lungs) => {
                if let Some(objection) = locator.objection(&lungs) {
                    return Reading::rejected(Rejection::new(Reason::LungsNotFound, objection));
                }
            }
        }
    }
    if let Some(novelty) = &rule.novelty {
        match novelty.score(&output.features) {
            None => return draw_lines(None, &rule.operating_point),
            Some(score) if score > novelty.limit() => {
                let detail = format!("novelty score {score:.0}, expected at most {:.0}", novelty.limit());
                return Reading::rejected(Rejection::new(Reason::OutOfDistribution, detail));
            }
            Some(_) => {}
        }
    }
    draw_lines(Probabilities::from_logits(output.logits, rule.temperature), &rule.operating_point)
}

/// Draws the operating point's lines through calibrated probabilities; `None` when there are none.
fn draw_lines(probabilities: Option<Probabilities>, at: &OperatingPoint) -> Reading {
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
    use crate::domain::{LungLocator, Novelty, SaliencyMap};

    fn point() -> OperatingPoint {
        OperatingPoint::new(0.2, 0.7, 0.4, 0.6).expect("in order")
    }

    fn probabilities(covid: f32, pneumonia: f32, normal: f32) -> Option<Probabilities> {
        Probabilities::from_logits([covid.ln(), pneumonia.ln(), normal.ln()].map(|l| l.max(-80.0)), 1.0)
    }

    #[track_caller]
    fn check(covid: f32, pneumonia: f32, normal: f32, verdict: Verdict, positive: Option<bool>) {
        let reading = draw_lines(probabilities(covid, pneumonia, normal), &point());
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
        let reading = draw_lines(None, &point());
        assert_eq!(reading.verdict, Verdict::Indeterminate(Doubt::ModelFault));
        assert_eq!((reading.covid_positive, reading.probabilities), (None, None));
    }

    #[test]
    fn a_certain_covid_is_called_even_when_the_lines_are_at_one() {
        let at = OperatingPoint::new(1.0, 1.0, 0.5, 0.5).expect("in order");
        let certain = Probabilities::from_logits([1e6, 0.0, 0.0], 1.0);
        assert_eq!(draw_lines(certain, &at).verdict, Verdict::Found(Finding::Covid19));
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
            let now = rank(draw_lines(probabilities(covid, rest * 0.3, rest * 0.7), &point()).covid_positive);
            assert!(now >= last, "at {covid}");
            last = now;
        }
    }

    fn answer(logits: [f32; 3], features: &[f32]) -> ModelOutput {
        let map = SaliencyMap { width: 1, height: 1, values: vec![0.0] };
        ModelOutput { logits, maps: [map.clone(), map.clone(), map], features: features.to_vec() }
    }

    fn rule(novelty: Option<Novelty>) -> DecisionRule {
        DecisionRule { temperature: 1.0, operating_point: point(), novelty, lungs: None }
    }

    #[test]
    fn a_film_without_lungs_is_rejected_as_such_before_anything_else_is_asked() {
        // The feature is the lower edge of both lungs.
        let mut weights = vec![vec![0.0]; 8];
        (weights[3], weights[7]) = (vec![1.0], vec![1.0]);
        let offsets = [0.1, 0.0, 0.4, 0.0, 0.6, 0.0, 0.9, 0.0];
        let lungs = LungLocator::new(weights, &offsets, [0.2, 0.5], [0.3, 1.0]).ok();
        let rule = DecisionRule { lungs, ..rule(Novelty::new(vec![0.0], vec![], 1.0, 0.9).ok()) };
        let found = decide(&answer([0.0, 0.0, 9.0], &[0.8]), &rule);
        assert_eq!(found.verdict, Verdict::Found(Finding::Normal));
        let flat = decide(&answer([0.0, 0.0, 9.0], &[0.1]), &rule);
        let detail = "height of the right lung 0.10 of the picture, expected 0.30 to 1.00";
        assert_eq!(flat.verdict, Verdict::Rejected(Rejection::new(Reason::LungsNotFound, detail)));
        let no_number = decide(&answer([0.0, 0.0, 9.0], &[f32::NAN]), &rule);
        assert_eq!(no_number.verdict, Verdict::Indeterminate(Doubt::ModelFault));
    }

    #[test]
    fn a_film_unlike_those_learned_from_is_rejected_however_sure_the_network_is() {
        let rule = rule(Novelty::new(vec![0.0], vec![], 1.0, 9.0).ok());
        let near = decide(&answer([0.0, 0.0, 9.0], &[3.0]), &rule);
        assert_eq!(near.verdict, Verdict::Found(Finding::Normal));
        let far = decide(&answer([0.0, 0.0, 9.0], &[4.0]), &rule);
        let expected = Rejection::new(Reason::OutOfDistribution, "novelty score 16, expected at most 9");
        assert_eq!((far.verdict, far.probabilities), (Verdict::Rejected(expected), None));
    }

    #[test]
    fn an_answer_that_is_no_number_is_a_model_fault() {
        let fault = Verdict::Indeterminate(Doubt::ModelFault);
        assert_eq!(decide(&answer([0.0, f32::NAN, 0.0], &[]), &rule(None)).verdict, fault);
        let with_novelty = rule(Novelty::new(vec![0.0], vec![], 1.0, 9.0).ok());
        assert_eq!(decide(&answer([0.0, 0.0, 9.0], &[f32::NAN]), &with_novelty).verdict, fault);
    }
}
