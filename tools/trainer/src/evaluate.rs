//! Judges an exported model: rates with intervals, areas, calibration, by source. It reads predictions and says what
//! they are worth; it chooses nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use lightbox::domain::{DecisionRule, Doubt, Finding, Probabilities, Verdict};
use lightbox::pipeline::decide::decide;
use serde::Serialize;

use crate::data::Label;
use crate::metrics::{Area, Rate, area, calibration_error};
use crate::predict::Prediction;

/// A film, what it shows, and what the device would say of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Relative to the data folder.
    pub file: String,
    /// As in reports.
    pub source: String,
    /// Patients who are judged together.
    pub group: String,
    /// What it shows.
    pub label: Label,
    /// Calibrated; `None` for a film that was rejected.
    pub probabilities: Option<Probabilities>,
    /// What the screen says.
    pub verdict: Verdict,
    /// How unlike the training films; `None` where that is not measured.
    pub novelty: Option<f32>,
}

impl Judged {
    /// Whether it is called free of Covid-19.
    pub fn called_free(&self) -> bool {
        let free = [
            Verdict::Found(Finding::Pneumonia),
            Verdict::Found(Finding::Normal),
            Verdict::Indeterminate(Doubt::PneumoniaOrNormal),
        ];
        free.contains(&self.verdict)
    }

    /// Whether it is called Covid-19.
    pub fn called_covid(&self) -> bool {
        self.verdict == Verdict::Found(Finding::Covid19)
    }
}

/// Applies the device's rule to predictions.
pub fn judge(predictions: &[Prediction], rule: &DecisionRule) -> Vec<Judged> {
    predictions
        .iter()
        .map(|prediction| {
            let row = &prediction.film.row;
            let (probabilities, verdict, novelty) = match &prediction.answer {
                Ok(output) => {
                    let reading = decide(output, rule);
                    let novelty = rule.novelty.as_ref().and_then(|n| n.score(&output.features));
                    (reading.probabilities, reading.verdict, novelty)
                }
                Err(rejection) => (None, Verdict::Rejected(rejection.clone()), None),
            };
            Judged {
                file: row.file.clone(),
                source: prediction.film.source.clone(),
                group: row.group.clone(),
                label: row.label,
                probabilities,
                verdict,
                novelty,
            }
        })
        .collect()
}

/// What some films say of a model.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Films by label.
    pub films: BTreeMap<&'static str, usize>,
    /// Films by verdict.
    pub verdicts: BTreeMap<String, usize>,
    /// Films without a reading, by reason.
    pub rejected: BTreeMap<String, usize>,
    /// The likeliest of three classes is the right one; films of the three classes that were read.
    pub accuracy_3: Option<Rate>,
    /// Covid-19 is likeliest exactly where it is there; films that were read.
    pub accuracy_2: Option<Rate>,
    /// Of the Covid-19 films read, those where it is the likeliest class.
    pub sensitivity: Option<Rate>,
    /// Of the other films read, those where it is not.
    pub specificity: Option<Rate>,
    /// Of the Covid-19 films read, those not called free of it.
    pub rule_out_sensitivity: Option<Rate>,
    /// Of the other films read, those called free of it.
    pub rule_out_specificity: Option<Rate>,
    /// Of the Covid-19 films read, those called Covid-19.
    pub rule_in_sensitivity: Option<Rate>,
    /// Of the other films read, those not called Covid-19.
    pub rule_in_specificity: Option<Rate>,
    /// Covid-19 against all other films.
    pub auc: Option<Area>,
    /// Expected calibration error of the probability of Covid-19, in ten bins.
    pub ece: Option<f64>,
}

/// A model's figures on one set of films.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// All films together.
    pub all: Figures,
    /// Each source by itself.
    pub sources: BTreeMap<String, Figures>,
    /// Covid-19 films of one source against the other films of another: what tells hospitals apart counts in full.
    pub auc_across: BTreeMap<String, Area>,
}

/// The figures of `films`.
pub fn figures(films: &[&Judged]) -> Figures {
    let mut counts = BTreeMap::new();
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    let mut rejected: BTreeMap<String, usize> = BTreeMap::new();
    for film in films {
        *counts.entry(film.label.name()).or_default() += 1;
        *verdicts.entry(film.verdict.name().to_string()).or_default() += 1;
        if let Verdict::Rejected(rejection) = &film.verdict {
            *rejected.entry(rejection.reason.code().to_string()).or_default() += 1;
        }
    }
    let read: Vec<(&Judged, Probabilities)> =
        films.iter().filter_map(|film| Some((*film, film.probabilities?))).collect();
    let likeliest = |p: &Probabilities| {
        Finding::ALL.into_iter().max_by(|a, b| p.of(*a).get().total_cmp(&p.of(*b).get())).unwrap_or(Finding::Covid19)
    };
    let is_covid = |film: &Judged| film.label == Label::Covid19;
    let rate = |of: &dyn Fn(&Judged) -> bool, hit: &dyn Fn(&Judged, &Probabilities) -> bool| {
        let counted: Vec<_> = read.iter().filter(|(film, _)| of(film)).collect();
        Rate::new(counted.iter().filter(|(film, p)| hit(film, p)).count(), counted.len())
    };
    let rest = |film: &Judged| !is_covid(film);
    let scored: Vec<(f64, bool)> =
        read.iter().map(|(film, p)| (f64::from(p.of(Finding::Covid19).get()), is_covid(film))).collect();
    let groups: Vec<&str> = read.iter().map(|(film, _)| film.group.as_str()).collect();
    Figures {
        films: counts,
        verdicts,
        rejected,
        accuracy_3: rate(&|f| f.label.finding().is_some(), &|f, p| f.label.finding() == Some(likeliest(p))),
        accuracy_2: rate(&|_| true, &|f, p| is_covid(f) == (likeliest(p) == Finding::Covid19)),
        sensitivity: rate(&is_covid, &|_, p| likeliest(p) == Finding::Covid19),
        specificity: rate(&rest, &|_, p| likeliest(p) != Finding::Covid19),
        rule_out_sensitivity: rate(&is_covid, &|f, _| !f.called_free()),
        rule_out_specificity: rate(&rest, &|f, _| f.called_free()),
        rule_in_sensitivity: rate(&is_covid, &|f, _| f.called_covid()),
        rule_in_specificity: rate(&rest, &|f, _| !f.called_covid()),
        auc: area(&scored, &groups),
        ece: calibration_error(&scored),
    }
}

/// Figures of all films, of each source, and across sources.
pub fn report(films: &[Judged]) -> Report {
    let mut by_source: BTreeMap<&str, Vec<&Judged>> = BTreeMap::new();
    for film in films {
        by_source.entry(&film.source).or_default().push(film);
    }
    let mut auc_across = BTreeMap::new();
    for (with, covid) in &by_source {
        for (without, others) in by_source.iter().filter(|(name, _)| *name != with) {
            let chosen = covid
                .iter()
                .filter(|f| f.label == Label::Covid19)
                .chain(others.iter().filter(|f| f.label != Label::Covid19));
            let (scored, groups): (Vec<(f64, bool)>, Vec<&str>) = chosen
                .filter_map(|f| {
                    let p = f64::from(f.probabilities?.of(Finding::Covid19).get());
                    Some(((p, f.label == Label::Covid19), f.group.as_str()))
                })
                .unzip();
            if let Some(area) = area(&scored, &groups) {
                auc_across.insert(format!("{with} against {without}"), area);
            }
        }
    }
    let all: Vec<&Judged> = films.iter().collect();
    let sources = by_source.into_iter().map(|(name, films)| (name.to_string(), figures(&films))).collect();
    Report { all: figures(&all), sources, auc_across }
}

/// The report as a table for people (and for the model card: it is Markdown).
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    let share = |rate: &Option<Rate>| match rate {
        Some(r) => format!("{:.1} % ({:.1}–{:.1})", r.rate * 100.0, r.low * 100.0, r.high * 100.0),
        None => "–".into(),
    };
    let curve = |area: &Option<Area>| match area {
        Some(a) => format!("{:.3} ({:.3}–{:.3})", a.auc, a.low, a.high),
        None => "–".into(),
    };
    let header = [
        "films",
        "Covid-19",
        "others",
        "rejected",
        "cannot say",
        "sensitivity",
        "specificity",
        "rule-out sensitivity",
        "rule-out specificity",
        "rule-in sensitivity",
        "rule-in specificity",
        "AUC",
        "accuracy of 3",
        "ECE",
    ];
    let _ = writeln!(text, "| {} |", header.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(header.len()));
    for (name, f) in report.sources.iter().map(|(n, f)| (n.as_str(), f)).chain([("all", &report.all)]) {
        let covid = f.films.get(Label::Covid19.name()).copied().unwrap_or(0);
        let total: usize = f.films.values().sum();
        let verdicts = |name: &str| f.verdicts.get(name).copied().unwrap_or(0);
        let cells = [
            name.to_string(),
            covid.to_string(),
            (total - covid).to_string(),
            verdicts("rejected").to_string(),
            verdicts("indeterminate").to_string(),
            share(&f.sensitivity),
            share(&f.specificity),
            share(&f.rule_out_sensitivity),
            share(&f.rule_out_specificity),
            share(&f.rule_in_sensitivity),
            share(&f.rule_in_specificity),
            curve(&f.auc),
            share(&f.accuracy_3),
            f.ece.map_or_else(|| "–".into(), |e| format!("{e:.3}")),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    if !report.auc_across.is_empty() {
        let _ = writeln!(text, "\nAUC of Covid-19 films of one source against other films of another:\n");
        let _ = writeln!(text, "| sources | AUC | films with | without |\n|---|---|---|---|");
        for (name, a) in &report.auc_across {
            let _ = writeln!(
                text,
                "| {name} | {:.3} ({:.3}–{:.3}) | {} | {} |",
                a.auc, a.low, a.high, a.positives, a.negatives
            );
        }
    }
    text
}

/// How many of `films`, which are no frontal chest films, are not read, and why; with their files by verdict.
pub fn refusals(films: &[Judged]) -> String {
    let mut text = String::new();
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for film in films {
        let why = film.verdict.reason().map_or(film.verdict.name(), |reason| reason.code());
        by_reason.entry(why).or_default().push(&film.file);
    }
    let refused = films.iter().filter(|f| matches!(f.verdict, Verdict::Rejected(_))).count();
    let _ = writeln!(text, "{refused} of {} files rejected", films.len());
    for (reason, files) in by_reason {
        let _ = writeln!(text, "{reason} ({}): {}", files.len(), files.join(", "));
    }
    text
}

/// Every film with its prediction, as CSV.
///
/// # Errors
/// When the file cannot be written.
pub fn write_csv(path: &Path, films: &[Judged]) -> io::Result<()> {
    let mut writer = csv::Writer::from_path(path)?;
    writer.write_record([
        "file",
        "source",
        "group_id",
        "label",
        "verdict",
        "reason",
        "covid19",
        "pneumonia",
        "normal",
        "novelty",
    ])?;
    for film in films {
        let number = |value: Option<f32>| value.map_or_else(String::new, |v| format!("{v:.5}"));
        let p = |finding| number(film.probabilities.map(|p| p.of(finding).get()));
        writer.write_record([
            film.file.as_str(),
            &film.source,
            &film.group,
            film.label.name(),
            film.verdict.name(),
            film.verdict.reason().map_or("", |r| r.code()),
            &p(Finding::Covid19),
            &p(Finding::Pneumonia),
            &p(Finding::Normal),
            &number(film.novelty),
        ])?;
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use lightbox::domain::{Reason, Rejection};

    use super::*;

    fn film(source: &str, label: Label, covid: f32, verdict: Verdict) -> Judged {
        let p = Probabilities::from_logits([(covid / (1.0 - covid)).ln(), -0.7, -0.69], 1.0);
        let rejected = matches!(verdict, Verdict::Rejected(_));
        Judged {
            file: "f".into(),
            source: source.into(),
            group: format!("{source}{covid}"),
            label,
            probabilities: if rejected { None } else { p },
            verdict,
            novelty: None,
        }
    }

    fn films() -> Vec<Judged> {
        let free = Verdict::Found(Finding::Normal);
        let doubt = Verdict::Indeterminate(Doubt::BetweenThresholds);
        let either = Verdict::Indeterminate(Doubt::PneumoniaOrNormal);
        let blank = Verdict::Rejected(Rejection::new(Reason::Blank, "nothing"));
        vec![
            film("A", Label::Covid19, 0.9, Verdict::Found(Finding::Covid19)),
            film("A", Label::Covid19, 0.4, doubt.clone()),
            film("A", Label::Covid19, 0.1, free.clone()),
            film("A", Label::Normal, 0.2, free),
            film("B", Label::Pneumonia, 0.5, doubt),
            film("B", Label::Other, 0.15, either),
            film("B", Label::Normal, 0.3, blank),
        ]
    }

    #[test]
    fn doubt_is_neither_a_miss_nor_a_clean_bill() {
        let report = report(&films());
        let rate = |r: &Option<Rate>| r.map(|r| (r.hits, r.of));
        assert_eq!(rate(&report.all.rule_out_sensitivity), Some((2, 3)));
        assert_eq!(rate(&report.all.rule_in_sensitivity), Some((1, 3)));
        // One called normal, one "pneumonia or normal", one open; the rejected film is not counted.
        assert_eq!(rate(&report.all.rule_out_specificity), Some((2, 3)));
        assert_eq!(rate(&report.all.rule_in_specificity), Some((3, 3)));
        assert_eq!(report.all.rejected, BTreeMap::from([("blank".to_string(), 1)]));
        assert_eq!(rate(&report.sources["B"].sensitivity), None);
    }

    #[test]
    fn other_diseases_count_as_films_without_covid_and_in_no_class() {
        let report = report(&films());
        assert_eq!(report.all.accuracy_3.map(|r| r.of), Some(5));
        assert_eq!(report.all.accuracy_2.map(|r| r.of), Some(6));
        assert_eq!(report.auc_across["A against B"].negatives, 2);
        assert!(!report.auc_across.contains_key("B against A"));
    }

    #[test]
    fn the_table_has_a_row_for_each_source_and_one_for_all() {
        let text = table(&report(&films()));
        let rows: Vec<&str> = text
            .lines()
            .filter(|l| l.starts_with("| A |") || l.starts_with("| B |") || l.starts_with("| all |"))
            .collect();
        assert_eq!(rows.len(), 3, "{text}");
        assert!(rows.iter().all(|r| r.matches('|').count() == 15), "{text}");
    }
}
