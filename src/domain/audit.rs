//! How well a model did, as its audit says.
//!
//! What the trainer measures is a closed set, so that a screen can say it in any language; any other figure is shown as
//! it is named.

use std::fmt;

/// On which films something was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Films {
    /// Patients of the training sources whom the network did not learn from.
    HeldOut,
    /// Hospitals that it never saw.
    External,
}

impl Films {
    /// Both.
    pub const ALL: [Self; 2] = [Self::HeldOut, Self::External];

    fn words(self) -> &'static str {
        match self {
            Self::HeldOut => "held out",
            Self::External => "external",
        }
    }
}

/// What the trainer measures of every model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    /// Share of films with Covid-19 whose likeliest finding is Covid-19.
    Sensitivity(Films),
    /// Share of films without Covid-19 whose likeliest finding is another.
    Specificity(Films),
    /// Area under the ROC curve of p(Covid-19).
    Auc(Films),
    /// The same with the lungs blacked out: 0.5 where nothing but the lungs is read.
    AucLungsBlack(Films),
    /// The same on the border of the films alone: 0.5 where the hospital is not read from the edges.
    AucBorderOnly(Films),
    /// Share of pictures that are no frontal chest films and are refused.
    OthersRefused,
    /// Share of good films that are refused.
    FilmsRefused(Films),
}

impl Measure {
    /// Every measure, in the order in which they are shown.
    pub fn all() -> Vec<Self> {
        let kinds: [fn(Films) -> Self; 5] =
            [Self::Sensitivity, Self::Specificity, Self::Auc, Self::AucLungsBlack, Self::AucBorderOnly];
        let mut all: Vec<Self> = kinds.into_iter().flat_map(|kind| Films::ALL.map(kind)).collect();
        all.push(Self::OthersRefused);
        all.extend(Films::ALL.map(Self::FilmsRefused));
        all
    }

    /// The name in `bundle.json`; never changed.
    pub fn name(self) -> String {
        let (what, films) = match self {
            Self::Sensitivity(films) => ("sensitivity", films),
            Self::Specificity(films) => ("specificity", films),
            Self::Auc(films) => ("AUC", films),
            Self::AucLungsBlack(films) => ("AUC with the lungs blacked out", films),
            Self::AucBorderOnly(films) => ("AUC on the border alone", films),
            Self::OthersRefused => return "refused of pictures that are no chest films".to_owned(),
            Self::FilmsRefused(films) => ("refused of good films", films),
        };
        format!("{what}, {}", films.words())
    }

    /// Whether it is an area under a curve, 0.5 for chance, and not a share.
    pub fn is_area(self) -> bool {
        match self {
            Self::Auc(_) | Self::AucLungsBlack(_) | Self::AucBorderOnly(_) => true,
            Self::Sensitivity(_) | Self::Specificity(_) | Self::OthersRefused | Self::FilmsRefused(_) => false,
        }
    }

    /// Whether a higher value is the better one.
    pub fn more_is_better(self) -> bool {
        match self {
            Self::Sensitivity(_) | Self::Specificity(_) | Self::Auc(_) | Self::OthersRefused => true,
            Self::AucLungsBlack(_) | Self::AucBorderOnly(_) | Self::FilmsRefused(_) => false,
        }
    }
}

/// One figure of an audit, with its 95 % interval.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditFigure {
    /// What was measured and on which films.
    pub name: String,
    /// From 0 to 1.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// How many films it rests on.
    pub films: u64,
}

impl AuditFigure {
    /// What it measures, where it is one of the trainer's.
    pub fn measure(&self) -> Option<Measure> {
        Measure::all().into_iter().find(|measure| measure.name() == self.name)
    }
}

impl fmt::Display for AuditFigure {
    /// Shares in percent, areas under a curve as they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, low, high, films, .. } = self;
        if self.measure().is_some_and(Measure::is_area) {
            return write!(f, "{value:.3} ({low:.3} to {high:.3}) on {films} films");
        }
        let [value, low, high] = [value, low, high].map(|share| share * 100.0);
        write!(f, "{value:.1} % ({low:.1} to {high:.1}) on {films} films")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_has_a_name_of_its_own_and_is_found_by_it() {
        let all = Measure::all();
        assert_eq!(all.len(), 13);
        for measure in all {
            let figure = AuditFigure { name: measure.name(), value: 0.5, low: 0.4, high: 0.6, films: 9 };
            assert_eq!(figure.measure(), Some(measure));
        }
        let other = AuditFigure { name: "sensitivity".into(), value: 0.5, low: 0.4, high: 0.6, films: 9 };
        assert_eq!(other.measure(), None);
    }
}
