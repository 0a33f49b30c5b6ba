//! `manifest.csv` and `lungs.csv` of a data folder.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use lightbox::domain::Finding;
use serde::Deserialize;

use crate::lungs;

/// What a film shows, for learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// Covid-19 pneumonia.
    Covid19,
    /// Any other pneumonia.
    Pneumonia,
    /// Neither.
    Normal,
    /// Another disease: not Covid-19, and nothing more is said.
    Other,
}

impl Label {
    /// Every label; the first three in the order of [`Finding::ALL`].
    pub const ALL: [Self; 4] = [Self::Covid19, Self::Pneumonia, Self::Normal, Self::Other];

    /// As in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Covid19 => "covid19",
            Self::Pneumonia => "pneumonia",
            Self::Normal => "normal",
            Self::Other => "other",
        }
    }

    /// The class that the network learns; `None` for [`Other`](Self::Other).
    pub fn finding(self) -> Option<Finding> {
        match self {
            Self::Covid19 => Some(Finding::Covid19),
            Self::Pneumonia => Some(Finding::Pneumonia),
            Self::Normal => Some(Finding::Normal),
            Self::Other => None,
        }
    }

    fn from_manifest(text: &str) -> Option<Self> {
        match text {
            "covid19" => Some(Self::Covid19),
            "pneumonia" | "bacterial" | "viral" => Some(Self::Pneumonia),
            "normal" => Some(Self::Normal),
            "other" => Some(Self::Other),
            _ => None,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a film may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// Learning and choosing.
    Train,
    /// The last judgement: never learned from, never chosen by.
    External,
}

/// One film of the manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Relative to the data folder.
    pub file: String,
    /// What it shows.
    pub label: Label,
    /// What it may be used for.
    pub split: Split,
    /// Where it comes from, as the manifest calls it.
    pub source: String,
    /// Patient, or patients linked by near-duplicates: never on both sides of a split.
    pub group: String,
    /// Left, top, right and bottom of both lungs together, as fractions of width and height, where known.
    pub lungs: Option<[f32; 4]>,
}

/// Data that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file of the folder cannot be read.
    #[error("{path}: {source}")]
    Csv {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        source: csv::Error,
    },
    /// A word that has no meaning here.
    #[error("{path}: line {line}: {column} is {found:?}, expected {expected}")]
    Word {
        /// Which file.
        path: PathBuf,
        /// Which line, the header being 1.
        line: u64,
        /// Which column.
        column: &'static str,
        /// As written.
        found: String,
        /// What has a meaning.
        expected: &'static str,
    },
    /// No films.
    #[error("{path}: no films")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// The same file twice.
    #[error("{path}: {file} is listed more than once")]
    Duplicate {
        /// Which manifest.
        path: PathBuf,
        /// Which film.
        file: String,
    },
    /// One group on both sides.
    #[error("{path}: {} both in train and in external (first: {}): a patient may be on one side only",
        crate::words::count(groups.len(), "group is", "groups are"), groups.first().map_or("", String::as_str))]
    Straddling {
        /// Which manifest.
        path: PathBuf,
        /// Which groups.
        groups: Vec<String>,
    },
    /// A source that the recipe does not list.
    #[error("source {source_name:?} ({films} films) begins like no [[source]] of the recipe: add one")]
    UnknownSource {
        /// As in the manifest.
        source_name: String,
        /// How many films it has.
        films: usize,
    },
    /// Nothing to learn or to judge a class by.
    #[error("no {label} films {place}: {remedy}")]
    EmptyClass {
        /// Which label.
        label: Label,
        /// Where they are missing.
        place: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A class that cannot be split.
    #[error("all {films} {label} films belong to one group ({group}): at least 2 groups are needed to hold one out")]
    OneGroup {
        /// Which label.
        label: Label,
        /// How many films.
        films: usize,
        /// Which group.
        group: String,
    },
    /// Not one film could be read.
    #[error("none of {films} films could be read; the first: {first}")]
    Unreadable {
        /// How many were tried.
        films: usize,
        /// What was wrong with the first.
        first: String,
    },
}

#[derive(Deserialize)]
struct Record {
    file: String,
    label: String,
    split: String,
    source: String,
    #[serde(default)]
    group_id: String,
}

/// Reads `manifest.csv` and, if there is one, `lungs.csv` of `folder`.
///
/// A film without a group is a group of its own.
///
/// # Errors
/// When a file cannot be read, a word is unknown, a film is listed twice or a group straddles train and external.
pub fn read(folder: &Path) -> Result<Vec<Row>, DataError> {
    let path = folder.join("manifest.csv");
    let lungs = lungs::read(folder)?;
    let csv_error = |source| DataError::Csv { path: path.clone(), source };
    let mut reader = csv::Reader::from_path(&path).map_err(csv_error)?;
    let mut rows = Vec::new();
    for (number, record) in reader.deserialize::<Record>().enumerate() {
        let record = record.map_err(csv_error)?;
        let line = number as u64 + 2;
        let word = |column, found: &str, expected| DataError::Word {
            path: path.clone(),
            line,
            column,
            found: found.into(),
            expected,
        };
        let label = Label::from_manifest(&record.label)
            .ok_or_else(|| word("label", &record.label, "covid19, pneumonia, bacterial, viral, normal or other"))?;
        let split = match record.split.as_str() {
            "train" => Split::Train,
            "external" => Split::External,
            other => return Err(word("split", other, "train or external")),
        };
        let group = if record.group_id.is_empty() { record.file.clone() } else { record.group_id };
        let lungs = lungs.get(&record.file).map(lungs::around);
        rows.push(Row { file: record.file, label, split, source: record.source, group, lungs });
    }
    if rows.is_empty() {
        return Err(DataError::Empty { path });
    }
    refuse_duplicates(&path, &rows)?;
    refuse_straddling(&path, &rows)?;
    Ok(rows)
}

/// Every file below `folder` as a film of which nothing is known; `source` is what it is called in reports.
///
/// # Errors
/// When a folder cannot be listed or there are no files.
pub fn read_unlabelled(folder: &Path, source: &str) -> Result<Vec<Row>, DataError> {
    let mut rows = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(path) = open.pop() {
        let failed = |error: std::io::Error| DataError::Csv { path: path.clone(), source: error.into() };
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?.path();
            let text = entry.extension().is_some_and(|e| ["csv", "json", "md", "txt"].iter().any(|t| e == *t));
            if entry.is_dir() {
                open.push(entry);
            } else if !text {
                let file = entry.strip_prefix(folder).unwrap_or(&entry).display().to_string();
                let (group, source) = (file.clone(), source.to_string());
                rows.push(Row { file, label: Label::Other, split: Split::External, source, group, lungs: None });
            }
        }
    }
    rows.sort_by(|a, b| a.file.cmp(&b.file));
    if rows.is_empty() { Err(DataError::Empty { path: folder.into() }) } else { Ok(rows) }
}

fn refuse_duplicates(path: &Path, rows: &[Row]) -> Result<(), DataError> {
    let mut seen = HashSet::new();
    match rows.iter().find(|row| !seen.insert(&row.file)) {
        Some(row) => Err(DataError::Duplicate { path: path.into(), file: row.file.clone() }),
        None => Ok(()),
    }
}

fn refuse_straddling(path: &Path, rows: &[Row]) -> Result<(), DataError> {
    let mut side: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for row in rows {
        let entry = side.entry(&row.group).or_default();
        match row.split {
            Split::Train => entry.0 = true,
            Split::External => entry.1 = true,
        }
    }
    let groups: Vec<String> = side.iter().filter(|(_, s)| s.0 && s.1).map(|(g, _)| g.to_string()).collect();
    if groups.is_empty() { Ok(()) } else { Err(DataError::Straddling { path: path.into(), groups }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "file,label,split,source,group_id\n";

    fn read_text(text: &str) -> Result<Vec<Row>, DataError> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("manifest.csv"), text).expect("written");
        read(folder.path())
    }

    #[track_caller]
    fn check(lines: &str, message: &str) {
        let error = read_text(&format!("{HEADER}{lines}")).expect_err("a refusal").to_string();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn bacterial_and_viral_pneumonia_are_pneumonia() {
        let rows = read_text(&format!("{HEADER}a,bacterial,train,s,1\nb,viral,external,s,2\nc,other,train,s,\n"))
            .expect("rows");
        assert_eq!(
            rows.iter().map(|r| r.label).collect::<Vec<_>>(),
            [Label::Pneumonia, Label::Pneumonia, Label::Other]
        );
        assert_eq!((rows[1].split, rows[2].group.as_str()), (Split::External, "c"));
    }

    #[test]
    fn what_is_wrong_with_a_manifest_is_said_with_the_line() {
        check(
            "a,covid19,train,s,1\nb,covid20,train,s,2\n",
            "line 3: label is \"covid20\", expected covid19, pneumonia",
        );
        check("a,covid19,test,s,1\n", "line 2: split is \"test\", expected train or external");
        check("", "manifest.csv: no films");
        check("a,covid19,train,s,1\na,normal,train,s,2\n", "a is listed more than once");
        check("a,covid19,train,s,1\nb,covid19,external,s,1\n", "1 group is both in train and in external (first: 1)");
        let error = read(Path::new("/nowhere")).expect_err("no folder").to_string();
        assert!(error.starts_with("/nowhere/manifest.csv: "), "{error}");
    }

    #[test]
    fn a_manifest_without_a_needed_column_is_refused() {
        let error = read_text("file,label\na,covid19\n").expect_err("a refusal").to_string();
        assert!(error.contains("missing field `split`"), "{error}");
    }
}
