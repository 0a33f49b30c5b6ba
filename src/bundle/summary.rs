//! A bundle in words, line by line, and what changes from one to the next; and the same as data, for a screen.

use super::contents::AuditFigure;
use super::figures::Measure;
use super::key_list::Role;
use super::verified::VerifiedBundle;
use crate::domain::LungLocator;

/// What a technician has to know before installing a bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Name of the model.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The number that the ratchet goes by.
    pub bundle_version: u64,
    /// Digest of the whole file, lower-case hexadecimal.
    pub sha256: String,
    /// Who signed.
    pub signers: Vec<SignedBy>,
    /// How well the model did; empty where nobody has audited it.
    pub figures: Vec<AuditFigure>,
}

/// Somebody who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBy {
    /// Name of the key.
    pub name: String,
    /// What it may sign.
    pub role: Role,
    /// Whether it has been revoked since.
    pub revoked: bool,
}

impl Facts {
    /// Of a bundle that was verified.
    pub fn of(bundle: &VerifiedBundle) -> Self {
        let signed = |signer: &super::key_list::Signer| SignedBy {
            name: signer.name.clone(),
            role: signer.role,
            revoked: signer.revoked,
        };
        Self {
            name: bundle.manifest().name.clone(),
            version: bundle.manifest().version.clone(),
            bundle_version: bundle.contents().bundle_version,
            sha256: bundle.sha256().to_owned(),
            signers: bundle.signers().iter().map(signed).collect(),
            figures: bundle.contents().audit.clone(),
        }
    }

    /// One of the figures that the trainer measures.
    pub fn figure(&self, measure: Measure) -> Option<&AuditFigure> {
        self.figures.iter().find(|figure| figure.measure() == Some(measure))
    }
}

/// One line of a summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is about; the same in every summary.
    pub key: String,
    /// In words.
    pub value: String,
}

/// One thing that differs between two bundles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is about.
    pub key: String,
    /// `None` where it was not there.
    pub before: Option<String>,
    /// `None` where it is gone.
    pub after: Option<String>,
}

/// What a technician has to know before installing `bundle`.
pub fn summarise(bundle: &VerifiedBundle) -> Vec<Line> {
    let (contents, manifest) = (bundle.contents(), bundle.manifest());
    let (rule, input) = (&manifest.rule, &manifest.input);
    let point = &rule.operating_point;
    let mut lines = Vec::new();
    let mut line = |key: &str, value: String| lines.push(Line { key: key.to_owned(), value });
    line("model", format!("{} {}", manifest.name, manifest.version));
    line("bundle version", contents.bundle_version.to_string());
    line("bundle sha256", bundle.sha256().to_owned());
    line("minimum program", contents.minimum_program.to_string());
    for signer in bundle.signers() {
        let revoked = if signer.revoked { ", revoked since" } else { "" };
        line(&format!("signed by {}", signer.id), format!("{} ({} key{revoked})", signer.name, signer.role));
    }
    line("network sha256", bundle.network_sha256().to_owned());
    let shape = input.shape();
    line("input", format!("{shape:?}, {:?}, {:?}, border {}", input.fit(), input.grey_scale(), input.border()));
    line("temperature", rule.temperature.to_string());
    line("rule_out", point.rule_out().get().to_string());
    line("rule_in", point.rule_in().get().to_string());
    line("pneumonia_below", point.pneumonia_below().get().to_string());
    line("normal_above", point.normal_above().get().to_string());
    let limit = rule.novelty.as_ref().map_or_else(|| "none".to_owned(), |novelty| novelty.limit().to_string());
    line("novelty limit", limit);
    line("finds the lungs", if rule.lungs.is_some() { "yes" } else { "no" }.to_owned());
    let margin = rule.lungs.as_ref().and_then(LungLocator::margin);
    line("judges", margin.map_or_else(|| "the film".to_owned(), |margin| format!("the lungs, margin {margin}")));
    line("golden films", bundle.golden().films.len().to_string());
    if contents.audit.is_empty() {
        line("audit", "none".to_owned());
    }
    for figure in &contents.audit {
        line(&format!("audit: {}", figure.name), words(figure));
    }
    lines
}

/// Shares in percent, areas under a curve as they are.
fn words(figure: &AuditFigure) -> String {
    let AuditFigure { value, low, high, films, .. } = figure;
    if figure.measure().is_some_and(Measure::is_area) {
        return format!("{value:.3} ({low:.3} to {high:.3}) on {films} films");
    }
    let [value, low, high] = [value, low, high].map(|share| share * 100.0);
    format!("{value:.1} % ({low:.1} to {high:.1}) on {films} films")
}

/// What differs between two summaries, in the order of the second, then what is gone.
pub fn diff(before: &[Line], after: &[Line]) -> Vec<Change> {
    let value = |lines: &[Line], key: &str| lines.iter().find(|line| line.key == key).map(|line| line.value.clone());
    let mut changes = Vec::new();
    for line in after {
        let was = value(before, &line.key);
        if was.as_ref() != Some(&line.value) {
            changes.push(Change { key: line.key.clone(), before: was, after: Some(line.value.clone()) });
        }
    }
    for line in before.iter().filter(|line| value(after, &line.key).is_none()) {
        changes.push(Change { key: line.key.clone(), before: Some(line.value.clone()), after: None });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_has_what_changed_what_came_and_what_is_gone_and_nothing_else() {
        let line = |key: &str, value: &str| Line { key: key.to_owned(), value: value.to_owned() };
        let before = [line("a", "1"), line("b", "2"), line("c", "3")];
        let after = [line("a", "1"), line("b", "5"), line("d", "4")];
        let change = |key: &str, before: Option<&str>, after: Option<&str>| Change {
            key: key.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        let expected = [change("b", Some("2"), Some("5")), change("d", None, Some("4")), change("c", Some("3"), None)];
        assert_eq!(diff(&before, &after), expected);
        assert_eq!(diff(&after, &after), []);
    }
}
