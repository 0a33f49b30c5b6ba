//! What is to be known of a bundle, line by line, and what changes from one to the next.

use super::key_list::Role;
use super::verified::VerifiedBundle;
use crate::domain::{AuditFigure, Change, LungLocator, Measure, Told, Topic};

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
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it is about; no two lines of a summary are about the same.
    pub topic: Topic,
    /// What it says.
    pub told: Told,
}

/// What a technician has to know before installing `bundle`.
pub fn summarise(bundle: &VerifiedBundle) -> Vec<Line> {
    let (contents, manifest) = (bundle.contents(), bundle.manifest());
    let rule = &manifest.rule;
    let point = &rule.operating_point;
    let mut lines = Vec::new();
    let mut line = |topic, told| lines.push(Line { topic, told });
    line(Topic::Model, Told::Text(format!("{} {}", manifest.name, manifest.version)));
    line(Topic::BundleVersion, Told::Count(contents.bundle_version));
    line(Topic::BundleDigest, Told::Digest(bundle.sha256().to_owned()));
    line(Topic::MinimumProgram, Told::Text(contents.minimum_program.to_string()));
    for signer in bundle.signers() {
        let told = Told::Signer { name: signer.name.clone(), role: signer.role.name(), revoked: signer.revoked };
        line(Topic::Signature(signer.id.to_string()), told);
    }
    line(Topic::NetworkDigest, Told::Digest(bundle.network_sha256().to_owned()));
    line(Topic::Input, Told::Input(manifest.input.clone()));
    line(Topic::Temperature, Told::Number(rule.temperature));
    line(Topic::RuleOut, Told::Share(point.rule_out().get()));
    line(Topic::RuleIn, Told::Share(point.rule_in().get()));
    line(Topic::PneumoniaBelow, Told::Share(point.pneumonia_below().get()));
    line(Topic::NormalAbove, Told::Share(point.normal_above().get()));
    let limit = rule.novelty.as_ref().map_or(Told::Nothing, |novelty| Told::Number(novelty.limit()));
    line(Topic::NoveltyLimit, limit);
    line(Topic::FindsLungs, Told::Is(rule.lungs.is_some()));
    let margin = rule.lungs.as_ref().and_then(LungLocator::margin);
    line(Topic::Judges, margin.map_or(Told::Film, |margin| Told::Lungs { margin }));
    line(Topic::GoldenFilms, Told::Count(bundle.golden().films.len() as u64));
    if contents.audit.is_empty() {
        line(Topic::Audit, Told::Nothing);
    }
    for figure in &contents.audit {
        line(Topic::Figure(figure.name.clone()), Told::Figure(figure.clone()));
    }
    lines
}

/// What differs between two summaries, in the order of the second, then what is gone.
pub fn diff(before: &[Line], after: &[Line]) -> Vec<Change> {
    let told = |lines: &[Line], topic: &Topic| {
        let line = lines.iter().find(|line| line.topic == *topic);
        line.map(|line| line.told.clone())
    };
    let mut changes = Vec::new();
    for line in after {
        let was = told(before, &line.topic);
        if was.as_ref() != Some(&line.told) {
            changes.push(Change { topic: line.topic.clone(), before: was, after: Some(line.told.clone()) });
        }
    }
    for line in before.iter().filter(|line| told(after, &line.topic).is_none()) {
        changes.push(Change { topic: line.topic.clone(), before: Some(line.told.clone()), after: None });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_has_what_changed_what_came_and_what_is_gone_and_nothing_else() {
        let line = |topic, count| Line { topic, told: Told::Count(count) };
        let before = [line(Topic::Model, 1), line(Topic::Judges, 2), line(Topic::Audit, 3)];
        let after = [line(Topic::Model, 1), line(Topic::Judges, 5), line(Topic::GoldenFilms, 4)];
        let change = |topic, before: Option<u64>, after: Option<u64>| Change {
            topic,
            before: before.map(Told::Count),
            after: after.map(Told::Count),
        };
        let expected = [
            change(Topic::Judges, Some(2), Some(5)),
            change(Topic::GoldenFilms, None, Some(4)),
            change(Topic::Audit, Some(3), None),
        ];
        assert_eq!(diff(&before, &after), expected);
        assert_eq!(diff(&after, &after), []);
    }
}
