//! `bundle.json`: what a bundle is beyond its model, as typed ([`ContentsFile`]) and as usable ([`Contents`]).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::AuditFigure;

/// The form of `bundle.json`.
const SCHEMA: u32 = 1;
/// Most audit figures.
const MAX_FIGURES: usize = 64;

/// `bundle.json` as it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentsFile {
    /// 1.
    pub schema: u32,
    /// Raised with every release, whatever the model's own version; the device never goes back to a lower one.
    pub bundle_version: u64,
    /// The oldest program that reads films with this model as it was audited.
    pub minimum_program: String,
    /// How well the model did when it was audited; null where nobody has.
    pub audit: Option<Vec<FigureEntry>>,
    /// Every other member.
    pub members: BTreeMap<String, MemberEntry>,
}

/// One figure of an audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FigureEntry {
    /// What was measured and on which films.
    pub name: String,
    /// From 0 to 1.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// How many films it rests on.
    pub films: u64,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberEntry {
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
}

/// A `bundle.json` that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentsError {
    /// Not JSON of this form.
    #[error("not a description of a bundle: {0}")]
    Json(String),
    /// Another form.
    #[error("schema is {0}, this program reads {SCHEMA}")]
    Schema(u32),
    /// A value that cannot be.
    #[error("{key} is {found}, expected {expected}")]
    Value {
        /// The key, with its parents.
        key: String,
        /// As given.
        found: String,
        /// What can be.
        expected: &'static str,
    },
}

/// A program's version: three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProgramVersion([u32; 3]);

impl ProgramVersion {
    /// This program's.
    pub fn current() -> Self {
        // Cargo gives three numbers; a pre-release mark behind them would stand for the version itself.
        let parts = [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")];
        Self(parts.map(|part| part.parse().unwrap_or(0)))
    }

    /// From `1.2.3`.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<u32> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        Some(Self(parts.try_into().ok()?))
    }
}

impl fmt::Display for ProgramVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// What a bundle is beyond its model.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// The number that the ratchet goes by.
    pub bundle_version: u64,
    /// The oldest program for it.
    pub minimum_program: ProgramVersion,
    /// How well the model did; empty where nobody has audited it.
    pub audit: Vec<AuditFigure>,
}

impl ContentsFile {
    /// The file for such contents and members.
    pub(super) fn new(contents: &Contents, members: BTreeMap<String, MemberEntry>) -> Self {
        let figure = |figure: &AuditFigure| FigureEntry {
            name: figure.name.clone(),
            value: figure.value,
            low: figure.low,
            high: figure.high,
            films: figure.films,
        };
        let audit = (!contents.audit.is_empty()).then(|| contents.audit.iter().map(figure).collect());
        Self {
            schema: SCHEMA,
            bundle_version: contents.bundle_version,
            minimum_program: contents.minimum_program.to_string(),
            audit,
            members,
        }
    }

    /// # Errors
    /// When `bytes` are not JSON of this form.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ContentsError> {
        #[derive(Deserialize)]
        struct Form {
            schema: u32,
        }
        let json = |error: serde_json::Error| ContentsError::Json(error.to_string());
        let Form { schema } = serde_json::from_slice(bytes).map_err(json)?;
        if schema != SCHEMA {
            return Err(ContentsError::Schema(schema));
        }
        serde_json::from_slice(bytes).map_err(json)
    }

    /// # Errors
    /// When a value cannot be.
    pub(super) fn usable(&self) -> Result<Contents, ContentsError> {
        let refused = |key: String, found: String, expected| Err(ContentsError::Value { key, found, expected });
        if self.bundle_version == 0 || self.bundle_version > u64::from(u32::MAX) {
            return refused("bundle_version".into(), self.bundle_version.to_string(), "a number from 1 to 4294967295");
        }
        let Some(minimum_program) = ProgramVersion::parse(&self.minimum_program) else {
            let found = format!("{:?}", self.minimum_program);
            return refused("minimum_program".into(), found, "three numbers with dots, such as 1.0.2");
        };
        Ok(Contents {
            bundle_version: self.bundle_version,
            minimum_program,
            audit: figures(self.audit.as_deref().unwrap_or(&[]))?,
        })
    }
}

/// Figures as usable.
///
/// # Errors
/// When one is no share, lies outside its interval, or rests on no film.
pub fn figures(entries: &[FigureEntry]) -> Result<Vec<AuditFigure>, ContentsError> {
    let refused = |key: String, found: String, expected| Err(ContentsError::Value { key, found, expected });
    if entries.len() > MAX_FIGURES {
        return refused("audit".into(), format!("a list of {}", entries.len()), "at most 64 figures");
    }
    let mut figures = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let named = !entry.name.is_empty() && entry.name.len() <= 120 && !entry.name.contains(char::is_control);
        if !named {
            return refused(format!("audit[{index}].name"), format!("{:?}", entry.name), "1 to 120 bytes of text");
        }
        let [low, value, high] = [entry.low, entry.value, entry.high];
        // Written so that a NaN is refused.
        if !(0.0 <= low && low <= value && value <= high && high <= 1.0) {
            let found = format!("{value} in {low} to {high}");
            return refused(format!("audit[{index}]"), found, "0 ≤ low ≤ value ≤ high ≤ 1");
        }
        if entry.films == 0 {
            return refused(format!("audit[{index}].films"), "0".into(), "at least one film");
        }
        figures.push(AuditFigure { name: entry.name.clone(), value, low, high, films: entry.films });
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn example() -> Value {
        json!({
            "schema": 1, "bundle_version": 7, "minimum_program": "0.1.0",
            "audit": [{"name": "sensitivity, held out", "value": 0.9, "low": 0.85, "high": 0.94, "films": 200}],
            "members": {"model.onnx": {"sha256": "00", "bytes": 1}}
        })
    }

    fn read(value: &Value) -> Result<Contents, ContentsError> {
        ContentsFile::parse(value.to_string().as_bytes()).and_then(|file| file.usable())
    }

    #[track_caller]
    fn check(pointer: &str, value: Value, message: &str) {
        let mut contents = example();
        *contents.pointer_mut(pointer).expect("a key of the example") = value;
        assert_eq!(read(&contents).expect_err("a refusal").to_string(), message);
    }

    #[test]
    fn contents_are_written_as_they_were_read() {
        let file = ContentsFile::parse(example().to_string().as_bytes()).expect("readable");
        let usable = file.usable().expect("usable");
        assert_eq!(ContentsFile::new(&usable, file.members.clone()), file);
    }

    #[test]
    fn every_refusal_names_the_key_the_value_and_the_range() {
        check("/schema", json!(2), "schema is 2, this program reads 1");
        check("/bundle_version", json!(0), "bundle_version is 0, expected a number from 1 to 4294967295");
        check(
            "/minimum_program",
            json!("1"),
            "minimum_program is \"1\", expected three numbers with dots, such as 1.0.2",
        );
        check("/audit/0/name", json!(""), "audit[0].name is \"\", expected 1 to 120 bytes of text");
        check("/audit/0/value", json!(0.95), "audit[0] is 0.95 in 0.85 to 0.94, expected 0 ≤ low ≤ value ≤ high ≤ 1");
        check("/audit/0/films", json!(0), "audit[0].films is 0, expected at least one film");
        let many = vec![example()["audit"][0].clone(); 65];
        check("/audit", json!(many), "audit is a list of 65, expected at most 64 figures");
        let mut contents = example();
        contents["note"] = json!("x");
        assert!(read(&contents).expect_err("unknown key").to_string().contains("unknown field `note`"));
    }

    #[test]
    fn versions_compare_by_number_and_not_by_text() {
        let version = |text| ProgramVersion::parse(text).expect("a version");
        assert!(version("0.10.0") > version("0.9.9"));
        assert!(ProgramVersion::current() >= version("0.1.0"));
        for bad in ["", "1", "1.2", "1.2.3.4", "1.2.x", "-1.0.0"] {
            assert_eq!(ProgramVersion::parse(bad), None, "{bad:?}");
        }
    }
}
