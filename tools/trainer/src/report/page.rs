//! The report as one HTML page that needs nothing beside it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::curves::mean_and_deviation;
use super::paper::{self, Confusion, Counts};
use super::{NetworkReport, Report, RunReport};
use crate::crossval::scope::Scope;
use crate::crossval::study::name_of;
use crate::html::{Mark, Panel, STYLE, escape, matrix};
use crate::metrics::{Area, Rate};

/// The page of `report`.
pub(super) fn page(report: &Report) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>The paper's networks, cross-validated</title>\
         <style>{STYLE}</style></head><body><h1>The paper's five networks, cross-validated</h1>\
         <p class=\"soft\">Apostolopoulos &amp; Mpesiana, <i>Covid-19: automatic detection from X-ray images utilizing transfer \
         learning with convolutional neural networks</i>, Phys Eng Sci Med 43 (2020) 635–640, beside the same experiment done \
         with Lightbox's trainer. “Paper” is what is printed, uncorrected.</p>"
    );
    html.push_str(
        "<p class=\"warn\"><b>What these figures do not show.</b> In these data sets, as in the paper's, the classes come from \
         different places: Covid-19 films from adults in published collections, the others from children of one hospital. \
         Width, sharpness and corners of a film already tell the classes apart, so high figures here are no evidence that \
         a network sees the disease. They show that the experiment was repeated, not that its conclusion holds.</p>",
    );
    for dataset in report.runs.iter().map(|run| run.study.dataset.as_str()).collect::<BTreeSet<_>>() {
        let runs: Vec<&RunReport> = report.runs.iter().filter(|run| run.study.dataset == dataset).collect();
        dataset_section(&mut html, dataset, &runs);
    }
    let _ = write!(
        html,
        "<h2>Where the paper contradicts itself</h2><p>Sums and shares recomputed from the printed tables:</p><ol>{}</ol>",
        report.contradictions.iter().map(|text| format!("<li>{}</li>", escape(text))).collect::<String>()
    );
    html.push_str(METHOD);
    html.push_str("</body></html>\n");
    html
}

const METHOD: &str = "<h2>How the figures are made</h2><ul>\
<li>Folds are drawn by patient (and near-duplicate), stratified by class; every film is tested once, by the network that did \
not learn from its fold. The weights after the last epoch are tested, no epoch is chosen.</li>\
<li>The three probabilities of a film give its class, the most probable one. As in the paper, a film is positive when that \
class is Covid-19: 2-class accuracy, sensitivity and specificity count Covid-19 against the rest.</li>\
<li>Intervals are 95 %: Wilson's for rates, the percentiles of 1000 bootstraps over patients for the AUC. Bands are the mean of \
the folds with one standard deviation to either side.</li>\
<li>Layers before Table 1's cut-off keep their imported weights and statistics; the others are trained with Adam, on films of \
equal weight, without augmentation. Where it says “only the head trained”, all layers before the pooling keep them: what the paper \
calls feature extraction.</li></ul>";

fn dataset_title(dataset: &str) -> (String, &str) {
    match dataset {
        "paper_ds1" => ("Dataset_1: Covid-19, bacterial pneumonia, normal".into(), "Table 2"),
        "paper_ds2" => ("Dataset_2: Covid-19, bacterial and viral pneumonia, normal".into(), "Table 5"),
        "" => ("All films to learn from".into(), ""),
        other => (format!("Data set {}", escape(other)), ""),
    }
}

fn dataset_section(html: &mut String, dataset: &str, runs: &[&RunReport]) {
    let (title, table) = dataset_title(dataset);
    let _ = write!(html, "<h2>{title}</h2>");
    let networks: Vec<(&RunReport, &NetworkReport)> =
        runs.iter().flat_map(|run| run.networks.iter().map(move |network| (*run, network))).collect();
    results_table(html, dataset, table, &networks);
    matrices(html, dataset, &networks);
    what_was_done(html, runs, &networks);
    pictures(html, &networks);
}

fn percent(value: f64) -> String {
    format!("{:.2}", 100.0 * value)
}

fn with_interval(rate: &Option<Rate>) -> String {
    rate.map_or_else(
        || "–".into(),
        |r| format!("{}<small>{}–{}</small>", percent(r.rate), percent(r.low), percent(r.high)),
    )
}

fn area_cell(area: &Option<Area>) -> String {
    area.map_or_else(|| "–".into(), |a| format!("{:.4}<small>{:.4}–{:.4}</small>", a.auc, a.low, a.high))
}

fn cell(text: &str) -> String {
    format!("<td class=\"n\">{text}</td>")
}

fn results_table(html: &mut String, dataset: &str, table: &str, networks: &[(&RunReport, &NetworkReport)]) {
    let beside = if table.is_empty() { String::new() } else { format!(", the paper's {table} beside ours") };
    let _ = write!(
        html,
        "<h3>Accuracy, sensitivity, specificity{beside}</h3><div class=\"scroll\"><table><tr><th>network</th><th></th>\
         <th class=\"n\">films</th><th class=\"n\">2-class accuracy %</th><th class=\"n\">3-class accuracy %</th>\
         <th class=\"n\">sensitivity %</th><th class=\"n\">specificity %</th><th class=\"n\">AUC</th><th class=\"n\">ECE</th>\
         <th>done with less than the paper</th></tr>"
    );
    for (run, network) in networks {
        if let Some(row) = printed(dataset, network) {
            let star = if row.starred { "*" } else { "" };
            let _ = write!(
                html,
                "<tr class=\"paper\"><td>{}</td><td>paper</td><td></td>{}{}{}{}<td></td><td></td><td></td></tr>",
                network.network.title(),
                cell(&format!("{:.2}", row.accuracy_2)),
                cell(&format!("{:.2}", row.accuracy_3)),
                cell(&format!("{:.2}", row.sensitivity)),
                cell(&format!("{:.2}{star}", row.specificity)),
            );
        }
        let f = &network.figures;
        let _ = write!(
            html,
            "<tr><td>{}</td><td><b>ours</b></td>{}{}{}{}{}{}{}<td>{}</td></tr>",
            network.network.title(),
            cell(&f.films.to_string()),
            cell(&with_interval(&f.accuracy_2)),
            cell(&with_interval(&f.accuracy_3)),
            cell(&with_interval(&f.sensitivity)),
            cell(&with_interval(&f.specificity)),
            cell(&area_cell(&f.auc)),
            cell(&f.calibration_error.map_or_else(|| "–".into(), |e| format!("{e:.3}"))),
            escape(&less(run, network)),
        );
    }
    html.push_str("</table></div>");
    if dataset == "paper_ds1" {
        html.push_str("<p class=\"soft\">* “not meaningful values” in the paper's words.</p>");
    }
}

fn printed(dataset: &str, network: &NetworkReport) -> Option<paper::Percentages> {
    let rows: &[paper::Percentages] = match dataset {
        "paper_ds1" => &paper::TABLE_2,
        "paper_ds2" => &[paper::TABLE_5],
        _ => &[],
    };
    rows.iter().find(|row| row.network == network.network).copied()
}

/// What was done less than in the paper, in words.
fn less(run: &RunReport, network: &NetworkReport) -> String {
    let mut list = run.reduced.clone();
    if network.folds.len() < run.study.folds.count {
        list.push(format!("{} of {} folds done", network.folds.len(), run.study.folds.count));
    }
    if network.beginning.sha256 == "random" {
        list.push("random weights instead of ImageNet's".into());
    }
    list.extend(network.beginning.substituted.iter().cloned());
    if list.is_empty() { "nothing".into() } else { list.join("; ") }
}

fn matrices(html: &mut String, dataset: &str, networks: &[(&RunReport, &NetworkReport)]) {
    let (tables, printed): (&str, Vec<(String, Confusion)>) = match dataset {
        "paper_ds1" => (
            ", the paper's Table 3 beside ours",
            paper::TABLE_3.iter().map(|(network, m)| (network.title().to_string(), *m)).collect(),
        ),
        "paper_ds2" => {
            (", the paper's Table 6 beside ours", vec![(paper::TABLE_6.0.title().to_string(), paper::TABLE_6.1)])
        }
        _ => ("", Vec::new()),
    };
    let _ = write!(html, "<h3>Confusion matrices{tables}</h3><figure><div class=\"panels\">");
    for (name, counts) in &printed {
        html.push_str(&matrix(&format!("Paper: {name}"), counts));
    }
    for (_, network) in networks {
        html.push_str(&matrix(&format!("Ours: {}", network.network.title()), &network.confusion));
    }
    html.push_str(
        "</div><figcaption>Percentages are shares of the actual class. The paper's column names are shown as printed, though \
         its pneumonia and normal columns are exchanged (see the last section).</figcaption></figure>",
    );
    let beside = if dataset == "paper_ds1" { ", the paper's Table 4 beside ours" } else { "" };
    let _ = write!(
        html,
        "<h3>Covid-19 against the rest{beside}</h3><table><tr><th>network</th><th></th><th class=\"n\">TP</th>\
         <th class=\"n\">FP</th><th class=\"n\">TN</th><th class=\"n\">FN</th></tr>"
    );
    let mut row = |who: &str, class: &str, c: Counts| {
        let _ = write!(
            html,
            "<tr class=\"{class}\"><td>{}</td><td>{who}</td>{}{}{}{}</tr>",
            c.network.title(),
            cell(&c.tp.to_string()),
            cell(&c.fp.to_string()),
            cell(&c.tn.to_string()),
            cell(&c.fn_.to_string())
        );
    };
    for (_, network) in networks {
        if let Some(printed) = paper::TABLE_4.iter().find(|c| dataset == "paper_ds1" && c.network == network.network) {
            row("paper", "paper", *printed);
        }
        row("<b>ours</b>", "", paper::counts(network.network, &network.confusion));
    }
    html.push_str("</table>");
}

fn what_was_done(html: &mut String, runs: &[&RunReport], networks: &[(&RunReport, &NetworkReport)]) {
    html.push_str("<h3>What was done</h3>");
    if let Some(run) = runs.first() {
        let total: usize = run.films.values().flat_map(|labels| labels.values()).sum();
        let labels: BTreeSet<&str> = run.films.values().flat_map(|labels| labels.keys().map(String::as_str)).collect();
        let _ = write!(html, "<p>{total} films of {} patients, by source:</p><table><tr><th>source</th>", run.groups);
        for label in &labels {
            let _ = write!(html, "<th class=\"n\">{label}</th>");
        }
        html.push_str("</tr>");
        for (source, of) in &run.films {
            let _ = write!(html, "<tr><td>{}</td>", escape(source));
            for label in &labels {
                html.push_str(&cell(&of.get(*label).map_or_else(|| "–".into(), usize::to_string)));
            }
            html.push_str("</tr>");
        }
        html.push_str("</table>");
        let skipped: Vec<String> =
            run.skipped.iter().map(|(file, why)| format!("{} ({})", escape(file), escape(why))).collect();
        if !skipped.is_empty() {
            let _ = write!(html, "<p>Left out: {}.</p>", skipped.join("; "));
        }
    }
    html.push_str(
        "<div class=\"scroll\"><table><tr><th>network</th><th class=\"n\">frozen layers</th><th>head</th><th>input</th>\
         <th class=\"n\">epochs</th><th class=\"n\">Adam's rate</th><th>began with</th><th class=\"n\">folds: accuracy of 3, \
         mean ± sd %</th><th class=\"n\">minutes of learning</th></tr>",
    );
    for (run, network) in networks {
        let (study, kind) = (&run.study, network.network);
        let head: Vec<String> = kind.hidden().iter().map(usize::to_string).collect();
        let rate = study.training.learning_rate_of.get(&name_of(kind)).unwrap_or(&study.training.learning_rate);
        let (mean, deviation) = network.over_folds.get("accuracy_3").copied().unwrap_or_default();
        let seconds: f64 = network.epochs.iter().flatten().map(|epoch| epoch.seconds).sum();
        let mut began = escape(&network.beginning.weights);
        for key in ["source", "licence", "license"] {
            if let Some(text) = network.beginning.metadata.get(key) {
                let _ = write!(began, "<small>{}</small>", escape(text));
            }
        }
        let _ = write!(
            html,
            "<tr><td>{}</td>{}<td>{}</td><td class=\"n\">{} × {}</td>{}{}<td>{began}</td>{}{}</tr>",
            kind.title(),
            cell(&if study.training.scope == Scope::Head { "all".into() } else { kind.cut_off().to_string() }),
            if head.is_empty() { "none".into() } else { head.join(", ") },
            study.input.height,
            study.input.width,
            cell(&study.training.epochs.to_string()),
            cell(&rate.to_string()),
            cell(&format!("{} ± {}", percent(mean), percent(deviation))),
            cell(&format!("{:.0}", seconds / 60.0)),
        );
    }
    html.push_str("</table></div><p>Commands, for whoever has the films and the weights:</p><pre>");
    for run in runs {
        html.push_str(&escape(&command(run)));
        html.push('\n');
    }
    html.push_str("</pre>");
}

/// The command that makes `run` again.
fn command(run: &RunReport) -> String {
    let study = &run.study;
    let mut text =
        format!("trainer crossval --recipe tools/trainer/recipes/{}.toml --data DATA --out RUN --weights", study.name);
    for network in &run.networks {
        let _ = write!(text, " {}={}", name_of(network.network), network.beginning.weights);
    }
    if (study.input.height, study.input.width) != (paper::HEIGHT, paper::WIDTH) {
        let _ = write!(text, " --size {}x{}", study.input.height, study.input.width);
    }
    if study.training.epochs != paper::EPOCHS {
        let _ = write!(text, " --epochs {}", study.training.epochs);
    }
    if study.training.scope == Scope::Head {
        text.push_str(" --head-only");
    }
    text
}

fn pictures(html: &mut String, networks: &[(&RunReport, &NetworkReport)]) {
    let mut row = |title: &str, caption: &str, draw: &dyn Fn(&RunReport, &NetworkReport) -> Vec<String>| {
        let panels: String = networks.iter().flat_map(|(run, network)| draw(run, network)).collect();
        let _ = write!(
            html,
            "<h3>{title}</h3><figure><div class=\"panels\">{panels}</div><figcaption>{caption}</figcaption></figure>"
        );
    };
    row(
        "Learning curves",
        "Share of films given their class after each epoch: <span class=\"key\" style=\"color:var(--ours)\"></span>films not \
         learned from, <span class=\"key\" style=\"color:var(--other)\"></span>training films while learning. Thick: mean of the \
         folds; thin: each fold.",
        &|_, network| vec![learning(network, "accuracy", |e| e.training_accuracy, |e| e.test_accuracy)],
    );
    row("Loss", "Cross-entropy over the same epochs, in the same colours.", &|_, network| {
        vec![learning(network, "loss", |e| e.training_loss, |e| e.test_loss)]
    });
    row("ROC", "Covid-19 against the rest, by p(Covid-19): all films, and the band of the folds.", &|_, network| {
        let note = network.figures.auc.map_or_else(String::new, |a| format!("AUC {:.3}", a.auc));
        let mut panel = curve(network, "1 − specificity", "sensitivity", &network.roc, note);
        panel.marks.insert(0, Mark::Line { points: vec![(0.0, 0.0), (1.0, 1.0)], class: "chance" });
        vec![panel.draw()]
    });
    row("Precision and recall", "Of Covid-19, by p(Covid-19); dashed: what guessing would give.", &|_, network| {
        let mut panel = curve(network, "recall", "precision", &network.precision_recall, String::new());
        let positives = network.figures.sensitivity.map_or(0, |rate| rate.of);
        let share = positives as f64 / network.figures.films.max(1) as f64;
        panel.marks.insert(0, Mark::Line { points: vec![(0.0, share), (1.0, share)], class: "chance" });
        vec![panel.draw()]
    });
    row(
        "Reliability",
        "Share of Covid-19 films among those of like p(Covid-19), with Wilson's interval; a calibrated network lies on the line.",
        &|_, network| {
            let points = network.reliability.iter();
            let points = points
                .map(|bin| (bin.probability, bin.positives.rate, bin.positives.low, bin.positives.high))
                .collect();
            let ece = network.figures.calibration_error.unwrap_or_default();
            let panel = Panel {
                title: network.network.title().into(),
                x: "p(Covid-19)",
                y: "share of Covid-19",
                x_range: (0.0, 1.0),
                y_range: (0.0, 1.0),
                marks: vec![
                    Mark::Line { points: vec![(0.0, 0.0), (1.0, 1.0)], class: "chance" },
                    Mark::Intervals { points, class: "ours" },
                ],
                note: format!("ECE {ece:.3}"),
            };
            vec![panel.draw()]
        },
    );
    row(
        "Coverage and risk",
        "Share of wrong answers (of three classes) when only the most confident films are answered.",
        &|_, network| {
            let mut panel = curve(network, "share answered", "share wrong", &network.coverage_risk, String::new());
            let band = network.coverage_risk.band.iter().map(|b| b.2);
            let highest = network.coverage_risk.pooled.iter().map(|p| p.1).chain(band).fold(0.05, f64::max);
            panel.y_range = (0.0, (highest * 1.1).min(1.0));
            vec![panel.draw()]
        },
    );
}

fn curve<'a>(
    network: &NetworkReport,
    x: &'a str,
    y: &'a str,
    banded: &super::curves::Banded,
    note: String,
) -> Panel<'a> {
    Panel {
        title: network.network.title().into(),
        x,
        y,
        x_range: (0.0, 1.0),
        y_range: (0.0, 1.0),
        marks: vec![
            Mark::Band { points: banded.band.clone(), class: "band" },
            Mark::Line { points: banded.pooled.clone(), class: "ours" },
        ],
        note,
    }
}

fn learning(
    network: &NetworkReport,
    what: &str,
    training: fn(&crate::crossval::fold::Epoch) -> f64,
    test: fn(&crate::crossval::fold::Epoch) -> f64,
) -> String {
    let epochs = network.epochs.iter().map(Vec::len).max().unwrap_or(0);
    let mut marks = Vec::new();
    let mut values = Vec::new();
    for (of, thick, thin) in [(training, "other", "foldother"), (test, "ours", "fold")] {
        for fold in &network.epochs {
            let points: Vec<(f64, f64)> = fold.iter().enumerate().map(|(n, e)| (n as f64 + 1.0, of(e))).collect();
            values.extend(points.iter().map(|p| p.1));
            marks.push(Mark::Line { points, class: thin });
        }
        let mean = (0..epochs).map(|n| {
            let here: Vec<f64> = network.epochs.iter().filter_map(|fold| fold.get(n)).map(of).collect();
            (n as f64 + 1.0, mean_and_deviation(&here).0)
        });
        marks.push(Mark::Line { points: mean.collect(), class: thick });
    }
    let accuracy = what == "accuracy";
    let lowest = values.iter().copied().fold(1.0, f64::min);
    let highest = values.iter().copied().fold(0.1, f64::max);
    let y_range = if accuracy { ((lowest * 10.0).floor() / 10.0, 1.0) } else { (0.0, (highest * 1.05).min(4.0)) };
    Panel {
        title: network.network.title().into(),
        x: "epoch",
        y: if accuracy { "accuracy" } else { "loss" },
        x_range: if epochs > 1 { (1.0, epochs as f64) } else { (0.0, 2.0) },
        y_range: if y_range.0 >= 1.0 { (0.9, 1.0) } else { y_range },
        marks,
        note: String::new(),
    }
    .draw()
}
