//! `MODEL_CARD.md`: what the model is, in plain words, with every number taken from the manifest and the reports.

use std::fmt::Write as _;

use lightbox::bundle::manifest::ManifestFile;
use serde_json::Value;

use super::Precision;
use super::folds::{CrossValidation, Lines};
use crate::evaluate::{Report, table};
use crate::lungs::LocatorQuality;
use crate::metrics::Rate;

/// External sources that were also learned from.
fn known_sources(films: &Value) -> Vec<&str> {
    let learned = films["training"].as_object();
    let external = films["external"].as_object();
    external
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .filter(|n| learned.is_some_and(|l| l.contains_key(*n)))
        .collect()
}

/// How a model was judged.
pub(super) struct Judgement<'a> {
    /// Films of the training sources, each by a network that did not learn from it.
    pub(super) held_out: &'a Report,
    /// External films.
    pub(super) external: &'a Report,
    /// What half precision costs.
    pub(super) precision: &'a Precision,
    /// Where lungs are found.
    pub(super) locator: Option<&'a LocatorQuality>,
    /// Where the lines were drawn on cross-validated predictions.
    pub(super) cross_validation: Option<&'a CrossValidation>,
}

/// `98.7 % (95 % interval 97.9 to 99.3; 740 of 750)`
fn share(rate: &Option<Rate>) -> String {
    rate.map_or_else(
        || "not measured".to_string(),
        |r| {
            let (p, l, h) = (r.rate * 100.0, r.low * 100.0, r.high * 100.0);
            format!("{p:.1} % (95 % interval {l:.1} to {h:.1}; {} of {})", r.hits, r.of)
        },
    )
}

/// How the lines were drawn, and how good they are.
fn drawn(text: &mut String, found: &CrossValidation) {
    let _ = writeln!(
        text,
        "- Cross-validated: {} networks, each trained by this recipe without one fold of the patients, were asked about \
         the fold that they had not learned from, {} films of {} groups of patients in all. Temperature and lines were \
         drawn on these answers together and belong to the recipe: this network gives them to other patients, and may \
         differ from those. Intervals are bootstrapped by group, and never narrower than Wilson's.",
        found.folds, found.films, found.groups
    );
    let mut rates = |how: &str, lines: &Lines| {
        let _ = writeln!(
            text,
            "- {how}: for ruling out, sensitivity {} and specificity {}; for ruling in, sensitivity {} and specificity {}.",
            share(&lines.rule_out.sensitivity),
            share(&lines.rule_out.specificity),
            share(&lines.rule_in.sensitivity),
            share(&lines.rule_in.specificity)
        );
    };
    rates("At these lines, on the films that they were drawn on", &found.at_the_lines);
    rates(
        "Each fold at lines that were drawn on the other folds, as other patients of these hospitals would find it",
        &found.at_lines_of_other_folds,
    );
    let range = |of: &dyn Fn(&super::folds::Drawn) -> f32| {
        let (low, high) = found.without.iter().map(of).fold((f32::MAX, f32::MIN), |r, v| (r.0.min(v), r.1.max(v)));
        format!("{low:.3} to {high:.3}")
    };
    let _ = writeln!(
        text,
        "- Without one fold or another, the line for ruling out lies at {}, that for ruling in at {}, and the temperature \
         is {}.",
        range(&|d| d.rule_out),
        range(&|d| d.rule_in),
        range(&|d| d.temperature)
    );
}

/// The card of the model that `file` describes.
pub(super) fn card(file: &ManifestFile, judged: &Judgement<'_>) -> String {
    let Judgement { held_out, external, precision, locator, cross_validation } = *judged;
    let mut text = String::new();
    let _ = writeln!(text, "# {} {}\n", file.name, file.version);
    let _ = writeln!(
        text,
        "A MobileNetV2 that sorts frontal chest radiographs into Covid-19 pneumonia, other pneumonia and normal. It \
         started from ImageNet weights and was trained on public collections. **It is a research work, not a medical \
         device. No one may be treated, sent home or isolated on its word alone.** A film called normal does not mean \
         that the patient has no Covid-19: many infected people have normal films.\n"
    );
    let _ = writeln!(text, "## How good it is\n");
    let known = known_sources(&file.training["films"]);
    let _ = writeln!(
        text,
        "What counts is how it does in hospitals that it has never seen. No external film below was learned from, and \
         neither the temperature nor the lines through the probabilities were chosen by one.{}\n",
        if known.is_empty() {
            String::new()
        } else {
            format!(
                " But {} {} also among the training sources: those external films are of other patients, not of another \
                 hospital, and an AUC against them also rewards telling hospitals apart.",
                known.join(", "),
                if known.len() == 1 { "is" } else { "are" }
            )
        }
    );
    for (name, report) in [("External films", external), ("Held-out patients of the training sources", held_out)] {
        let auc = report.all.auc.map_or_else(
            || "not measured".to_string(),
            |a| format!("{:.3} (95 % interval {:.3} to {:.3})", a.auc, a.low, a.high),
        );
        let _ = writeln!(
            text,
            "- {name}: AUC {auc}; sensitivity for Covid-19 {}, specificity {} where the likeliest class is taken; {} of \
             the Covid-19 films were not called free of it.",
            share(&report.all.sensitivity),
            share(&report.all.specificity),
            share(&report.all.rule_out_sensitivity)
        );
    }
    let _ = writeln!(
        text,
        "\nHeld-out patients come from the hospitals that the network learned from{}. It can tell those hospitals apart \
         by things that have nothing to do with disease, and as most of them sent films of one class only, the figures \
         on held-out patients say little about Covid-19. The external ones say more, but as Covid-19 films and others mostly come \
         from different places there too, only the AUC within one source is free of that doubt.\n",
        if cross_validation.is_some() {
            "; each was asked of a network of this recipe that had not learned from its fold"
        } else {
            ""
        }
    );
    let _ = writeln!(
        text,
        "In the tables, sensitivity and specificity take the likeliest class; the rule-out columns ask who is called \
         free of Covid-19, the rule-in columns who is called to have it; between the two lines the device says that it \
         cannot say. Rates are of the films that were read, with 95 % intervals (Wilson); intervals of the AUC are \
         bootstrapped by patient.\n"
    );
    let _ = writeln!(text, "### External films, by source\n\n{}", table(external));
    let _ = writeln!(text, "### Held-out patients, by source\n\n{}", table(held_out));

    let _ = writeln!(text, "## What it was trained on\n");
    let films = &file.training["films"];
    let chosen_by = match cross_validation {
        Some(_) => ("cross_validated", "Chosen by, each film asked of a network that did not learn from its fold"),
        None => ("held_out", "Held out for choosing"),
    };
    for (key, name) in [("training", "Trained on"), chosen_by, ("external", "External")] {
        let _ = writeln!(
            text,
            "{name}:\n\n| source | Covid-19 | pneumonia | normal | other disease |\n|---|---|---|---|---|"
        );
        for (source, labels) in films[key].as_object().into_iter().flatten() {
            let count = |label: &str| labels[label].as_u64().unwrap_or(0);
            let (covid, pneumonia) = (count("covid19"), count("pneumonia"));
            let _ = writeln!(text, "| {source} | {covid} | {pneumonia} | {} | {} |", count("normal"), count("other"));
        }
        text.push('\n');
    }
    let number = |value: &Value| value.as_f64().map_or_else(|| "unknown".to_string(), |v| format!("{v}"));
    let _ = writeln!(
        text,
        "Patients, and patients linked by near-duplicate images, were never both learned from and judged by with one \
         network. {} steps of {} films, seed {}. \
         The recipe is in `manifest.json`.\n",
        number(&file.training["steps"]),
        number(&file.training["recipe"]["training"]["batch"]),
        number(&file.training["seed"])
    );

    let _ = writeln!(text, "## How it decides\n");
    let point = &file.operating_point;
    let _ = writeln!(
        text,
        "- Input: {} × {} pixels, one grey channel, {} % of the film cut off at each edge, {}, greys {}.",
        file.input.width,
        file.input.height,
        file.input.border * 100.0,
        if file.input.fit == "stretch" { "stretched to shape" } else { "on black bars" },
        if file.input.grey_scale == "equalised" { "equalised by rank" } else { "as shown" },
    );
    if let Some(margin) = file.lungs.as_ref().and_then(|lungs| lungs.margin) {
        let _ = writeln!(
            text,
            "- Twice: first the film, on which the lungs are found, then the lungs with {:.0} % of the film around them, \
             stretched to the same shape. The verdict and its map are of the second look.",
            margin * 100.0
        );
    }
    let _ = writeln!(text, "- Probabilities: softmax of the logits divided by {:.3}.", file.calibration.temperature);
    let _ = writeln!(
        text,
        "- Covid-19 from {:.3} on; free of Covid-19 up to {:.3}; between them, cannot say. Without Covid-19: pneumonia up \
         to a share of normal of {:.3}, normal from {:.3} on.",
        point.rule_in, point.rule_out, point.pneumonia_below, point.normal_above
    );
    let _ = writeln!(text, "- Chosen {}.", point.chosen_for);
    if let Some(found) = cross_validation {
        drawn(&mut text, found);
    }
    match &file.out_of_distribution {
        Some(novelty) => {
            let _ = writeln!(
                text,
                "- Films whose features differ from those of training films are refused ({} directions, limit {:.0}). How this is \
                 measured was settled with a look at how many external films and pictures of other things it refuses: \
                 expect a new hospital to lose more films than the tables show.",
                novelty.projection.len(),
                novelty.limit
            );
        }
        None => {
            let _ = writeln!(text, "- Films unlike the training films are not recognised as such.");
        }
    }
    if let Some(quality) = locator {
        let _ = writeln!(
            text,
            "- The lungs are found by a linear function of the features that tell films apart. On patients that it was \
             not fitted to (five folds of {} films) the box around both overlaps the radiologists' by {:.0} % on average \
             and by {:.0} % or more on nine films of ten. A film on which no box of a lung's size is found is refused.",
            quality.films,
            quality.mean_overlap * 100.0,
            quality.tenth_overlap * 100.0
        );
    }
    let _ = writeln!(
        text,
        "- Weights are stored in half precision: on {} films no probability moved by more than {:.1e}; the device's engine \
         and the trainer agree to {:.1e}.\n",
        precision.films, precision.to_single, precision.of_engine
    );

    let _ = writeln!(text, "## Limits\n");
    let _ = writeln!(
        text,
        "- Frontal chest films only. Children of the training data are all from one hospital and have no Covid-19 films.\n\
         - The labels of several sources were mined from reports by programs; those of published figures show severe and \
         textbook cases.\n\
         - The lines were chosen at the share of Covid-19 in the held-out films; where fewer patients are ill, more of \
         those called Covid-19 are not.\n\
         - The map shows where the network looked, not where the disease is.\n\
         - Licences differ from image to image; no image is part of this model."
    );
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_source_that_was_learned_from_is_not_passed_off_as_a_new_hospital() {
        let films = json!({"training": {"North": {}, "South": {}}, "external": {"East": {}, "North": {}}});
        assert_eq!(known_sources(&films), ["North"]);
        assert!(known_sources(&json!({"training": {"North": {}}, "external": {"East": {}}})).is_empty());
    }
}
