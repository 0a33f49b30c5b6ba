//! The paper's Table 1 in our modules: what each cut-off freezes, in words, in numbers and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::plan::Counts;
use super::{Architecture, Convention};

/// One network of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which.
    pub network: Architecture,
    /// As a reader knows it.
    pub title: &'static str,
    /// Keras's layers without the classifier, the input among them.
    pub layers: usize,
    /// Layers before this one are frozen.
    pub cut_off: usize,
    /// The last frozen layer.
    pub last_frozen: String,
    /// The first trained one.
    pub first_trained: String,
    /// The frozen layers whose output is read behind the cut-off: what may be kept of a film.
    pub live: Vec<String>,
    /// Of the layers, without the head.
    pub parameters: Counts,
    /// Width of the pooled features.
    pub features: usize,
    /// Widths of the head's hidden layers.
    pub hidden: &'static [usize],
    /// Of the head, for three classes.
    pub head_parameters: usize,
}

/// A row for each network.
pub fn rows() -> Vec<Row> {
    Architecture::ALL.map(row).to_vec()
}

fn row(network: Architecture) -> Row {
    let plan = network.plan(Convention::Keras);
    let name = |number: usize| plan.layers[number].name.clone();
    let cut_off = network.cut_off();
    let widths: Vec<usize> = [network.features()].iter().chain(network.hidden()).chain([&3]).copied().collect();
    Row {
        network,
        title: network.title(),
        layers: plan.layers.len(),
        cut_off,
        last_frozen: name(cut_off - 1),
        first_trained: name(cut_off),
        live: plan.live_at(cut_off).into_iter().map(name).collect(),
        parameters: plan.counts(),
        features: network.features(),
        hidden: network.hidden(),
        head_parameters: widths.windows(2).map(|w| (w[0] + 1) * w[1]).sum(),
    }
}

/// The rows as a Markdown table.
pub fn table() -> String {
    let mut text = String::from(
        "| network | layers | cut-off | last frozen | first trained | read behind the cut-off | frozen parameters | \
         trained | head | hidden layers |\n|---|--:|--:|---|---|---|--:|--:|--:|---|\n",
    );
    for row in rows() {
        let code = |names: &[String]| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        let hidden: Vec<String> = row.hidden.iter().map(usize::to_string).collect();
        let hidden = if hidden.is_empty() { "none".to_string() } else { hidden.join(", ") };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | `{}` | `{}` | {} | {} | {} | {} | {hidden} |",
            row.title,
            row.layers,
            row.cut_off,
            row.last_frozen,
            row.first_trained,
            code(&row.live),
            thousands(row.parameters.frozen),
            thousands(row.parameters.trained),
            thousands(row.head_parameters),
        );
    }
    text
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_this_table() {
        let document = include_str!("../../../../../docs/paper-networks.md");
        let table = table();
        assert!(
            document.contains(&table),
            "docs/paper-networks.md should have, as `trainer networks` writes it:\n{table}"
        );
    }

    #[test]
    fn digits_are_in_groups_of_three() {
        assert_eq!([7, 1000, 20_024_384].map(thousands), ["7", "1,000", "20,024,384"]);
    }
}
