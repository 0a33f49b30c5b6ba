//! Which of several equal parts of the patients is held out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Part `number` of `of`, written `2/5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fold {
    number: usize,
    of: usize,
}

/// Not a fold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fold is {found:?}, expected K/N with N from 2 to 100 and K from 1 to N, such as 2/5")]
pub struct FoldError {
    /// As typed.
    pub found: String,
}

impl Fold {
    /// From 1 to [`of`](Self::of).
    pub fn number(self) -> usize {
        self.number
    }

    /// How many folds there are, from 2 to 100.
    pub fn of(self) -> usize {
        self.of
    }

    /// Whether what is dealt out at `position`, counted from 0, belongs to this fold.
    pub(super) fn holds(self, position: usize) -> bool {
        position % self.of + 1 == self.number
    }
}

impl FromStr for Fold {
    type Err = FoldError;

    fn from_str(text: &str) -> Result<Self, FoldError> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (2..=100).contains(&of) && (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err(FoldError { found: text.into() }),
        }
    }
}

impl TryFrom<String> for Fold {
    type Error = FoldError;

    fn try_from(text: String) -> Result<Self, FoldError> {
        text.parse()
    }
}

impl From<Fold> for String {
    fn from(fold: Fold) -> Self {
        fold.to_string()
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_is_read_as_it_is_written_and_nothing_else_is_one() {
        let fold: Fold = "2/5".parse().expect("a fold");
        assert_eq!((fold.number(), fold.of(), fold.to_string().as_str()), (2, 5, "2/5"));
        for text in ["0/5", "6/5", "1/1", "1/101", "2", "a/b", "2/5/1", ""] {
            let error = text.parse::<Fold>().expect_err("no fold").to_string();
            assert!(error.contains(&format!("{text:?}, expected K/N")), "{error}");
        }
    }
}
