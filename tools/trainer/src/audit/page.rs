//! The audit as one HTML page that needs nothing beside itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::curves::PredictiveValues;
use super::mask::{Alteration, BORDER};
use super::svg::{Chart, Series};
use super::{Altered, Audit, LeftOut, Part, SPECIFICITY, Saliency};
use crate::evaluate::{Figures, Report};
use crate::metrics::{Area, Rate};

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}\
h1{font-size:1.6rem}h2{margin-top:2.2rem;border-bottom:1px solid #ccc}table{border-collapse:collapse;margin:.8rem 0}\
td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:right;font-variant-numeric:tabular-nums}\
td:first-child,th:first-child{text-align:left}.charts{display:flex;flex-wrap:wrap;gap:1.5rem}\
svg text{font:11px system-ui,sans-serif;fill:#333}svg .title{font-size:13px;font-weight:600}\
.grid{stroke:#e4e4e4}.diagonal{stroke:#999;stroke-dasharray:4 4}.note{color:#555}";

/// Text for HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

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
        let _ = write!(page, "<th>{}</th>", escaped(cell));
    });
    page.push_str("</tr>");
    for row in rows {
        page.push_str("<tr>");
        row.iter().for_each(|cell| {
            let _ = write!(page, "<td>{}</td>", escaped(cell));
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
    let chart = |title: &str, across, up, diagonal, dots, points: &dyn Fn(&Part) -> Vec<(f64, f64)>| {
        let series =
            parts.iter().map(|(name, part)| Series { name: name.to_string(), points: points(part), dots }).collect();
        Chart { title: title.into(), across, up, diagonal, series }.svg()
    };
    page.push_str("<div class=\"charts\">");
    page.push_str(&chart("ROC", "others called ill", "the ill called so", true, false, &|p| p.roc.clone()));
    page.push_str(&chart("Reliability", "mean p(Covid-19)", "share with Covid-19", true, true, &|p| {
        p.reliability.iter().map(|b| (b.mean_probability, b.share.rate)).collect()
    }));
    page.push_str(&chart("Coverage and risk", "films answered", "of these, wrong", false, false, &|p| {
        p.coverage_risk.iter().map(|r| (r.coverage, r.risk)).collect()
    }));
    page.push_str("</div>\n");
}

fn left_out(page: &mut String, left: &LeftOut) {
    let names = left.sources.join(" and ");
    let _ = writeln!(page, "<h3>{} left out of training</h3>", escaped(&names));
    report(page, &left.part.report);
    altered(page, &left.part.altered);
    saliency(page, &left.part.saliency);
    let rows = left.sensitivity_at_specificity.iter().map(|(name, r)| vec![name.clone(), rate(&Some(*r))]);
    let _ = writeln!(
        page,
        "<p>Sensitivity on external films, at the line that leaves {:.0} % of the films without Covid-19 of {} below \
         it:</p>",
        SPECIFICITY * 100.0,
        escaped(&names)
    );
    table(page, &["films", "sensitivity"], rows);
    if let Some(overlap) = left.lung_overlap {
        let _ = writeln!(
            page,
            "<p>The lung locator of this model saw no box of {}: there it overlaps the radiologists' by {:.0} % on \
             average.</p>",
            escaped(&names),
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
         <title>{0}</title><style>{STYLE}</style><h1>{0}</h1><p class=\"note\">Network {1}. Everything was run by the \
         device's own engine. Rates have 95 % intervals (Wilson), areas 95 % intervals bootstrapped by patient.</p>",
        escaped(&title),
        escaped(&audit.network_sha256)
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
            "<p class=\"note\">With the lungs blacked out, or with a border of {:.0} % alone, nothing of the disease is \
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

    page.push_str("<h2>By view and age</h2><p class=\"note\">Held-out and external films together.</p>");
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
