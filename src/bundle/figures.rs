//! Audit figures: which ones every bundle should have, and where they stand in what the trainer writes.
//!
//! A figure's name is its key in `bundle.json`; those that the trainer measures are a closed set, so that a screen can
//! show them in any language. Others are shown as they are named.

use serde_json::Value;

use super::contents::{AuditFigure, ContentsError, FigureEntry};

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

    /// The key in the trainer's files.
    fn key(self) -> &'static str {
        match self {
            Self::HeldOut => "held_out",
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

impl AuditFigure {
    /// What it measures, where it is one of the trainer's.
    pub fn measure(&self) -> Option<Measure> {
        Measure::all().into_iter().find(|measure| measure.name() == self.name)
    }
}

/// The figures in the `metrics` of a manifest; none where the trainer wrote none.
pub fn of_metrics(metrics: &Value) -> Vec<FigureEntry> {
    let mut figures = Vec::new();
    for films in Films::ALL {
        let all = &metrics[films.key()]["all"];
        figures.extend(share(Measure::Sensitivity(films), &all["sensitivity"]));
        figures.extend(share(Measure::Specificity(films), &all["specificity"]));
        figures.extend(auc(Measure::Auc(films), &all["auc"]));
    }
    figures
}

/// The figures in an `audit.json` of `trainer audit`, which has to be of the network with this digest.
///
/// # Errors
/// When it is of another network.
pub fn of_audit(audit: &Value, network_sha256: &str) -> Result<Vec<FigureEntry>, ContentsError> {
    let found = audit["network_sha256"].as_str().unwrap_or("missing");
    if found != network_sha256 {
        let (key, found) = ("network_sha256 of the audit".to_owned(), found.to_owned());
        return Err(ContentsError::Value { key, found, expected: "the digest of this model's network" });
    }
    let mut figures = Vec::new();
    for films in Films::ALL {
        for (alteration, measure) in
            [("lungs-black", Measure::AucLungsBlack(films)), ("border-only", Measure::AucBorderOnly(films))]
        {
            let all = audit[films.key()]["altered"].as_array().into_iter().flatten();
            let mut fitting = all.filter(|row| row["alteration"] == alteration && row["source"] == "all");
            figures.extend(fitting.next().and_then(|row| auc(measure, &row["auc"])));
        }
    }
    let unlike = &audit["unlike"];
    figures.extend(share(Measure::OthersRefused, &unlike["refused"]));
    for films in Films::ALL {
        figures.extend(share(Measure::FilmsRefused(films), &unlike[format!("{}_lost", films.key())]));
    }
    Ok(figures)
}

/// `{"rate", "low", "high", "of"}`
fn share(measure: Measure, value: &Value) -> Option<FigureEntry> {
    entry(measure, &value["rate"], value, value["of"].as_u64()?)
}

/// `{"auc", "low", "high", "positives", "negatives"}`
fn auc(measure: Measure, value: &Value) -> Option<FigureEntry> {
    entry(measure, &value["auc"], value, value["positives"].as_u64()? + value["negatives"].as_u64()?)
}

fn entry(measure: Measure, value: &Value, interval: &Value, films: u64) -> Option<FigureEntry> {
    let (low, high) = (interval["low"].as_f64()?, interval["high"].as_f64()?);
    Some(FigureEntry { name: measure.name(), value: value.as_f64()?, low, high, films })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::contents::figures;

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

    #[test]
    fn figures_of_a_manifest_and_of_an_audit_are_those_that_stand_there() {
        let share = json!({"hits": 9, "of": 10, "rate": 0.9, "low": 0.6, "high": 0.98});
        let auc = json!({"auc": 0.55, "low": 0.5, "high": 0.6, "positives": 230, "negatives": 733});
        let metrics = json!({"held_out": {"all": {"sensitivity": share, "specificity": null, "auc": auc}}});
        let found = of_metrics(&metrics);
        let names: Vec<&str> = found.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(names, ["sensitivity, held out", "AUC, held out"]);
        assert_eq!((found[0].value, found[0].films, found[1].films), (0.9, 10, 963));

        let row = |alteration: &str, source: &str| json!({"alteration": alteration, "source": source, "auc": auc});
        let audit = json!({
            "network_sha256": "ab",
            "external": {"altered": [row("none", "all"), row("lungs-black", "NIH"), row("lungs-black", "all")]},
            "unlike": {"refused": share, "held_out_lost": share},
        });
        let found = of_audit(&audit, "ab").expect("of this network");
        let names: Vec<&str> = found.iter().map(|figure| figure.name.as_str()).collect();
        let expected = [
            "AUC with the lungs blacked out, external",
            "refused of pictures that are no chest films",
            "refused of good films, held out",
        ];
        assert_eq!(names, expected);
        figures(&found).expect("each is a figure");
        let error = of_audit(&audit, "cd").expect_err("another network").to_string();
        assert_eq!(error, "network_sha256 of the audit is ab, expected the digest of this model's network");
        assert!(of_metrics(&json!({})).is_empty());
    }
}
