//! The last local cases read again by another model: what would have been said differently.

use crate::domain::{Finding, Verdict};

/// What was said of a film, as far as two models can be compared by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Name of the verdict.
    pub verdict: String,
    /// Code of the reason, where there is one. Two rejections may differ in their words; the code is what is said.
    pub reason: Option<String>,
}

impl From<&Verdict> for Said {
    fn from(verdict: &Verdict) -> Self {
        Self { verdict: verdict.name().to_owned(), reason: verdict.reason().map(|reason| reason.code().to_owned()) }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{} ({reason})", self.verdict),
            None => f.write_str(&self.verdict),
        }
    }
}

/// A case and what two models say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// What the record calls it.
    pub case: String,
    /// By the model that was running.
    pub before: Said,
    /// By the model on trial.
    pub after: Said,
}

impl Replayed {
    /// Called Covid-19 before, and now normal or another pneumonia.
    pub fn is_lost_positive(&self) -> bool {
        let found = |finding: Finding, said: &Said| said.verdict == Verdict::Found(finding).name();
        found(Finding::Covid19, &self.before)
            && [Finding::Pneumonia, Finding::Normal].into_iter().any(|finding| found(finding, &self.after))
    }
}

/// What changes in the last local cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayDiff {
    /// How many cases were read again.
    pub cases: usize,
    /// Those of which something else is said.
    pub changed: Vec<Replayed>,
}

impl ReplayDiff {
    /// The ones to look at first.
    pub fn lost_positives(&self) -> impl Iterator<Item = &Replayed> {
        self.changed.iter().filter(|case| case.is_lost_positive())
    }
}

/// Reads `cases` again with `read`, which runs the model on trial.
///
/// # Errors
/// With the first error of `read`: a model that cannot read the last cases is not fit for the next.
pub fn replay<E>(
    cases: impl IntoIterator<Item = (String, Said)>,
    mut read: impl FnMut(&str) -> Result<Said, E>,
) -> Result<ReplayDiff, E> {
    let mut diff = ReplayDiff::default();
    for (case, before) in cases {
        let after = read(&case)?;
        diff.cases += 1;
        if before != after {
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
        let cases = cases.map(|(case, verdict)| (case.to_owned(), Said::from(verdict)));
        let diff = replay(cases, |case| {
            Ok::<_, ()>(match case {
                "1" | "3" => Said::from(&normal),
                "2" => Said::from(&unsure),
                "4" => Said::from(&covid),
                _ => Said::from(&rejected("b")),
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
        let cases = [("1".to_owned(), Said::from(&Verdict::Found(Finding::Normal)))];
        assert_eq!(replay(cases, |_| Err("no answer")), Err("no answer"));
    }
}
