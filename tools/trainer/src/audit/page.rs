//! The audit as one HTML page that needs nothing beside itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::curves::PredictiveValues;
use super::mask::{Alteration, BORDER};
use super::{Altered, Audit, LeftOut, Part, SPECIFICITY, Saliency};
use crate::evaluate::{Figures, Report};
use crate::html::{Mark, Panel, STYLE, escape};
use crate::metrics::{Area, Rate};

/// Numbers to the right; lines that are told apart by colour and by dashes (Okabe and Ito 2008).
const LINES: &str = "td:not(:first-child),th:not(:first-child){text-align:right;font-variant-numeric:tabular-nums}\
svg .line0{stroke:#0072b2}svg .line1{stroke:#d55e00;stroke-dasharray:6 3}svg .line2{stroke:#009e73;stroke-dasharray:2 2}\
svg .line3{stroke:#cc79a7;stroke-dasharray:8 2 2 2}svg path[class^=line]{fill:none;stroke-width:2}\
svg .dot.line0{fill:#0072b2}svg .dot.line1{fill:#d55e00}svg .dot.line2{fill:#009e73}svg .dot.line3{fill:#cc79a7}\
.key.line0{color:#0072b2}.key.line1{color:#d55e00;border-top-style:dashed}.key.line2{color:#009e73;border-top-style:dotted}\
.key.line3{color:#cc79a7;border-top-style:double}";
/// So many.
const CLASSES: [&str; 4] = ["line0", "line1", "line2", "line3"];

fn rate(rate: &Option<Rate>) -> String {
    rate.map_or("–".into(), |r| {
        format!("{:.1} % ({:.1}–{:.1}; {} of {})", r.rate * 100.0, r.low * 100.0, r.high * 100.0, r.hits, r.of)
    })
}

fn curve(area: &Option<Area>) -> String {
    area.map_or("–".into(), |a| format!("{:.3} ({:.3}–{:.3})", a.auc, a.low, a.high))
}

fn number(value: Option<f64>) -> String {
    value.map_or("–".into(), |v| format!("{v:.3}"))
}

fn table(page: &mut String, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    page.push_str("<table><tr>");
    header.iter().for_each(|cell| {
        let _ = write!(page, "<th>{}</th>", escape(cell));
    });
    page.push_str("</tr>");
    for row in rows {
        page.push_str("<tr>");
        row.iter().for_each(|cell| {
            let _ = write!(page, "<td>{}</td>", escape(cell));
        });
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn figures_row(name: &str, f: &Figures) -> Vec<String> {
    let covid = f.films.get("covid19").copied().unwrap_or(0);
    let total: usize = f.films.values().sum();
    let verdicts = |name: &str| f.verdicts.get(name).copied().unwrap_or(0).to_string();
    vec![
        name.to_string(),
        covid.to_string(),
        (total - covid).to_string(),
        verdicts("rejected"),
        verdicts("indeterminate"),
        rate(&f.rule_out_sensitivity),
        rate(&f.rule_out_specificity),
        rate(&f.rule_in_sensitivity),
        rate(&f.rule_in_specificity),
        curve(&f.auc),
        number(f.ece),
    ]
}

const FIGURES: [&str; 11] = [
    "films",
    "Covid-19",
    "others",
    "rejected",
    "cannot say",
    "ill, not called free of it",
    "others called free of it",
    "ill, called Covid-19",
    "others not called Covid-19",
    "AUC",
    "ECE",
];

fn report(page: &mut String, report: &Report) {
    let rows = report.sources.iter().map(|(name, f)| figures_row(name, f));
    table(page, &FIGURES, rows.chain([figures_row("all", &report.all)]));
}

fn altered(page: &mut String, rows: &[Altered]) {
    let mut by_source: BTreeMap<&str, BTreeMap<Alteration, &Altered>> = BTreeMap::new();
    rows.iter().for_each(|row| {
        by_source.entry(&row.source).or_default().insert(row.alteration, row);
    });
    let header: Vec<&str> = ["source"]
        .into_iter()
        .chain(Alteration::ALL.iter().flat_map(|how| [how.words(), "mean p(Covid-19)"]))
        .collect();
    let rows = by_source.into_iter().map(|(source, found)| {
        let mut row = vec![source.to_string()];
        for how in Alteration::ALL {
            row.push(found.get(&how).map_or("–".into(), |a| curve(&a.auc)));
            row.push(found.get(&how).map_or("–".into(), |a| format!("{:.2}", a.mean_covid19)));
        }
        row
    });
    table(page, &header, rows);
}

fn saliency(page: &mut String, rows: &[Saliency]) {
    let rows = rows.iter().map(|s| {
        let (inside, area) = (s.inside * 100.0, s.area * 100.0);
        let ratio = if s.area > 0.0 { format!("{:.2}", s.inside / s.area) } else { "–".into() };
        vec![s.source.clone(), s.films.to_string(), format!("{inside:.0} %"), format!("{area:.0} %"), ratio]
    });
    table(page, &["source", "films", "of the map inside the lungs", "lungs' share of the picture", "ratio"], rows);
}

fn predictive_values(page: &mut String, rows: &[PredictiveValues]) {
    let share = |value: &Option<[f64; 3]>| {
        value.map_or("–".into(), |[v, low, high]| {
            format!("{:.1} % ({:.1}–{:.1})", v * 100.0, low * 100.0, high * 100.0)
        })
    };
    let rows =
        rows.iter().map(|v| vec![format!("{:.0} %", v.prevalence * 100.0), share(&v.positive), share(&v.negative)]);
    table(page, &["patients with Covid-19", "called Covid-19: have it", "called free of it: are"], rows);
}

fn charts(page: &mut String, parts: &[(&str, &Part)]) {
    let panel = |title: &str, x, y, diagonal: bool, mark: &dyn Fn(&Part, &'static str) -> Mark<'static>| {
        let chance = diagonal.then(|| Mark::Line { points: vec![(0.0, 0.0), (1.0, 1.0)], class: "chance" });
        let lines = parts.iter().zip(CLASSES.iter().cycle()).map(|((_, part), class)| mark(part, class));
        let marks = chance.into_iter().chain(lines).collect();
        let (whole, note) = ((0.0, 1.0), String::new());
        Panel { title: title.into(), x, y, x_range: whole, y_range: whole, marks, note }.draw()
    };
    page.push_str("<p>");
    for ((name, _), class) in parts.iter().zip(CLASSES.iter().cycle()) {
        let _ = write!(page, "<span class=\"key {class}\"></span>{}", escape(name));
    }
    page.push_str("</p><div class=\"panels\">");
    page.push_str(&panel("ROC", "others called ill", "the ill called so", true, &|part, class| Mark::Line {
        points: part.roc.clone(),
        class,
    }));
    page.push_str(&panel("Reliability", "mean p(Covid-19)", "share with Covid-19", true, &|part, class| {
        let bins = part.reliability.iter();
        let points = bins.map(|b| (b.mean_probability, b.share.rate, b.share.low, b.share.high)).collect();
        Mark::Intervals { points, class }
    }));
    page.push_str(&panel("Coverage and risk", "films answered", "of these, wrong", false, &|part, class| Mark::Line {
        points: part.coverage_risk.iter().map(|r| (r.coverage, r.risk)).collect(),
        class,
    }));
    page.push_str("</div>\n");
}

fn left_out(page: &mut String, left: &LeftOut) {
    let names = left.sources.join(" and ");
    let _ = writeln!(page, "<h3>{} left out of training</h3>", escape(&names));
    report(page, &left.part.report);
    altered(page, &left.part.altered);
    saliency(page, &left.part.saliency);
    let rows = left.sensitivity_at_specificity.iter().map(|(name, r)| vec![name.clone(), rate(&Some(*r))]);
    let _ = writeln!(
        page,
        "<p>Sensitivity on external films, at the line that leaves {:.0} % of the films without Covid-19 of {} below \
         it:</p>",
        SPECIFICITY * 100.0,
        escape(&names)
    );
    table(page, &["films", "sensitivity"], rows);
    if let Some(overlap) = left.lung_overlap {
        let _ = writeln!(
            page,
            "<p>The lung locator of this model saw no box of {}: there it overlaps the radiologists' by {:.0} % on \
             average.</p>",
            escape(&names),
            overlap * 100.0
        );
    }
}

/// The page.
pub fn page(audit: &Audit) -> String {
    let mut page = String::new();
    let title = format!("Audit of {} {}", audit.name, audit.version);
    let _ = writeln!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}{LINES}</style><h1>{0}</h1><p class=\"soft\">Network {1}. Everything was run by the \
         device's own engine. Rates have 95 % intervals (Wilson), areas 95 % intervals bootstrapped by patient.</p>",
        escape(&title),
        escape(&audit.network_sha256)
    );
    let mut parts: Vec<(&str, &Part)> =
        vec![("external films", &audit.external), ("held-out patients", &audit.held_out)];
    let names: Vec<String> = audit.left_out.iter().map(|l| format!("{} left out", l.sources.join(" and "))).collect();
    parts.extend(names.iter().zip(&audit.left_out).map(|(name, left)| (name.as_str(), &left.part)));
    charts(&mut page, &parts);

    page.push_str("<h2>Sources left out of training</h2>");
    if audit.left_out.is_empty() {
        page.push_str("<p>No model without a source was given: pass --left-out.</p>");
    }
    audit.left_out.iter().for_each(|left| left_out(&mut page, left));
    for (name, part) in [("External films", &audit.external), ("Held-out patients", &audit.held_out)] {
        let _ = writeln!(page, "<h2>{name}</h2>");
        report(&mut page, &part.report);
        page.push_str("<h3>AUC of altered films</h3>");
        let _ = writeln!(
            page,
            "<p class=\"soft\">With the lungs blacked out, or with a border of {:.0} % alone, nothing of the disease is \
             left to be seen: what is above 0.5 comes from elsewhere.</p>",
            BORDER * 100.0
        );
        altered(&mut page, &part.altered);
        page.push_str("<h3>Where the map lies</h3>");
        saliency(&mut page, &part.saliency);
        page.push_str("<h3>Predictive values</h3>");
        predictive_values(&mut page, &part.predictive_values);
    }

    page.push_str("<h2>Can the source be told from the features?</h2>");
    match &audit.source_probe {
        Some(probe) => {
            let _ = writeln!(
                page,
                "<p>A linear probe on the last features finds the source of {:.0} % of held-out films, mean over the \
                 sources; guessing finds {:.0} %.</p>",
                probe.balanced_accuracy * 100.0,
                probe.chance * 100.0
            );
            let rows = probe.recall.iter().map(|(name, r)| vec![name.clone(), format!("{:.0} %", r * 100.0)]);
            table(&mut page, &["source", "found"], rows);
        }
        None => page.push_str("<p>Not measured.</p>"),
    }

    page.push_str("<h2>By view and age</h2><p class=\"soft\">Held-out and external films together.</p>");
    let mut header = FIGURES;
    header[0] = "slice";
    let rows = audit.slices.iter().map(|s| figures_row(&format!("{} {}", s.by, s.value), &s.figures));
    table(&mut page, &header, rows);

    page.push_str("<h2>Calibration</h2>");
    let c = &audit.calibration;
    let before = vec!["1".into(), number(c.held_out_before), number(c.external_before)];
    let after = vec![format!("{:.3}", c.temperature), number(c.held_out_after), number(c.external_after)];
    table(&mut page, &["temperature", "ECE, held-out patients", "ECE, external films"], [before, after]);

    page.push_str("<h2>Pictures that are no frontal chest films</h2>");
    match &audit.unlike {
        Some(unlike) => {
            let mut rows = vec![
                vec!["refused".into(), rate(&Some(unlike.refused))],
                vec!["held-out films lost".into(), rate(&unlike.held_out_lost)],
                vec!["external films lost".into(), rate(&unlike.external_lost)],
            ];
            rows.extend(unlike.reasons.iter().map(|(reason, n)| vec![format!("for {reason}"), n.to_string()]));
            rows.extend(unlike.read.iter().map(|file| vec![format!("read: {file}"), String::new()]));
            table(&mut page, &["pictures", ""], rows);
        }
        None => page.push_str("<p>No folder of other pictures was given: pass --unlike.</p>"),
    }
    page.push_str("</html>\n");
    page
}
