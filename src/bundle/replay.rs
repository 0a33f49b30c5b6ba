//! The last local cases read again by another model: what would have been said differently.

use crate::domain::{Finding, Verdict};

/// A case and what two models say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// What the record calls it.
    pub case: String,
    /// By the model that was running.
    pub before: Verdict,
    /// By the model on trial.
    pub after: Verdict,
}

/// What changes in the last local cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayDiff {
    /// How many cases were read again.
    pub cases: usize,
    /// Those whose verdict differs.
    pub changed: Vec<Replayed>,
}

impl ReplayDiff {
    /// Cases called Covid-19 before and now normal or another pneumonia: the ones to look at first.
    pub fn lost_positives(&self) -> impl Iterator<Item = &Replayed> {
        let covid = Verdict::Found(Finding::Covid19);
        self.changed.iter().filter(move |case| case.before == covid && matches!(case.after, Verdict::Found(_)))
    }
}

/// Reads `cases` again with `read`, which runs the model on trial.
///
/// # Errors
/// With the first error of `read`: a model that cannot read the last cases is not fit for the next.
pub fn replay<E>(
    cases: impl IntoIterator<Item = (String, Verdict)>,
    mut read: impl FnMut(&str) -> Result<Verdict, E>,
) -> Result<ReplayDiff, E> {
    let mut diff = ReplayDiff::default();
    for (case, before) in cases {
        let after = read(&case)?;
        diff.cases += 1;
        // Two rejections may differ in their words; the code is what is said.
        if (before.name(), before.reason()) != (after.name(), after.reason()) {
            diff.changed.push(Replayed { case, before, after });
        }
    }
    Ok(diff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Doubt, Reason, Rejection};

    #[test]
    fn only_what_is_said_differently_is_in_the_diff_and_lost_positives_stand_out() {
        let covid = Verdict::Found(Finding::Covid19);
        let normal = Verdict::Found(Finding::Normal);
        let unsure = Verdict::Indeterminate(Doubt::BetweenThresholds);
        let rejected = |words: &str| Verdict::Rejected(Rejection::new(Reason::Blank, words));
        let cases = [("1", &covid), ("2", &covid), ("3", &normal), ("4", &covid), ("5", &rejected("a"))];
        let cases = cases.map(|(case, verdict)| (case.to_owned(), verdict.clone()));
        let diff = replay(cases, |case| {
            Ok::<_, ()>(match case {
                "1" | "3" => normal.clone(),
                "2" => unsure.clone(),
                "4" => covid.clone(),
                _ => rejected("b"),
            })
        });
        let diff = diff.expect("every case was read");
        let changed: Vec<&str> = diff.changed.iter().map(|case| case.case.as_str()).collect();
        assert_eq!((diff.cases, changed), (5, vec!["1", "2"]));
        let lost: Vec<&str> = diff.lost_positives().map(|case| case.case.as_str()).collect();
        assert_eq!(lost, ["1"]);
    }

    #[test]
    fn a_model_that_cannot_read_a_case_ends_the_replay() {
        let cases = [("1".to_owned(), Verdict::Found(Finding::Normal))];
        assert_eq!(replay(cases, |_| Err("no answer")), Err("no answer"));
    }
}
