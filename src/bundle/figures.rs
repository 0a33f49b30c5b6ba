//! Audit figures: which ones every bundle should have, and where they stand in what the trainer writes.
//!
//! A figure's name is its key in `bundle.json`.

use serde_json::Value;

use super::contents::{ContentsError, FigureEntry};
use crate::domain::{Films, Measure};

/// The figures in the `metrics` of a manifest; none where the trainer wrote none.
pub fn of_metrics(metrics: &Value) -> Vec<FigureEntry> {
    let mut figures = Vec::new();
    for films in Films::ALL {
        let all = &metrics[key_of(films)]["all"];
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
            let all = audit[key_of(films)]["altered"].as_array().into_iter().flatten();
            let mut fitting = all.filter(|row| row["alteration"] == alteration && row["source"] == "all");
            figures.extend(fitting.next().and_then(|row| auc(measure, &row["auc"])));
        }
    }
    let unlike = &audit["unlike"];
    figures.extend(share(Measure::OthersRefused, &unlike["refused"]));
    for films in Films::ALL {
        figures.extend(share(Measure::FilmsRefused(films), &unlike[format!("{}_lost", key_of(films))]));
    }
    Ok(figures)
}

/// The key of those films in the trainer's files.
fn key_of(films: Films) -> &'static str {
    match films {
        Films::HeldOut => "held_out",
        Films::External => "external",
    }
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
