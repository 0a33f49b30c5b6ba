//! What a run is, on disk: its settings, its films with their folds, and what each network began with.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::films::Case;
use super::fold::Divided;
use super::study::{Study, StudyFile};
use crate::data::Label;
use crate::recipe::RecipeError;

const RUN: &str = "run.json";
const FILMS: &str = "films.csv";
const NETWORK: &str = "network.json";

/// A run that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: not written by `trainer crossval`: {detail}")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The settings in it cannot be followed.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RecordError + '_ {
    |source| RecordError::Io { path: path.into(), source }
}

fn foreign(path: &Path) -> impl Fn(&dyn std::fmt::Display) -> RecordError + '_ {
    |detail| RecordError::Foreign { path: path.into(), detail: detail.to_string() }
}

/// The settings of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The recipe with the changes of the command line.
    pub study: StudyFile,
    /// Digest of the films' pictures, labels, groups and folds.
    pub films: String,
    /// Films that were left out: file and reason.
    pub skipped: BTreeMap<String, String>,
    /// Whether each fold's network is kept as ONNX.
    pub export: bool,
}

impl Record {
    /// The record in `run`.
    ///
    /// # Errors
    /// When there is none that can be read.
    pub fn read(run: &Path) -> Result<Self, RecordError> {
        let path = run.join(RUN);
        let text = fs::read(&path).map_err(io_error(&path))?;
        serde_json::from_slice(&text).map_err(|e| foreign(&path)(&e))
    }

    /// Whether there is a run in `run`.
    pub fn exists(run: &Path) -> bool {
        run.join(RUN).exists()
    }

    pub(super) fn write(&self, run: &Path, films: &[Divided]) -> Result<(), RecordError> {
        let path = run.join(FILMS);
        let mut writer = csv::Writer::from_writer(Vec::new());
        let failed = |e: csv::Error| io_error(&path)(e.into());
        writer.write_record(["file", "label", "source", "group_id", "fold"]).map_err(failed)?;
        for Divided { case, fold } in films {
            let fold = fold.to_string();
            let failed = |e: csv::Error| io_error(&path)(e.into());
            writer.write_record([&case.file, case.label.name(), &case.source, &case.group, &fold]).map_err(failed)?;
        }
        let bytes = writer.into_inner().map_err(|e| io_error(&path)(e.into_error()))?;
        crate::files::replace(&path, &bytes).map_err(io_error(&path))?;
        let path = run.join(RUN);
        let text = serde_json::to_vec_pretty(self).map_err(|e| foreign(&path)(&e))?;
        crate::files::replace(&path, &text).map_err(io_error(&path))
    }

    /// The settings as usable.
    ///
    /// # Errors
    /// When a value is outside its range.
    pub fn study(&self) -> Result<Study, RecordError> {
        Ok(self.study.clone().try_into()?)
    }

    /// The films of the run in `run`, in their order.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn films(&self, run: &Path) -> Result<Vec<Divided>, RecordError> {
        #[derive(Deserialize)]
        struct Row {
            file: String,
            label: String,
            source: String,
            group_id: String,
            fold: usize,
        }
        let path = run.join(FILMS);
        let mut reader = csv::Reader::from_path(&path).map_err(|e| io_error(&path)(e.into()))?;
        let divided = reader.deserialize::<Row>().map(|row| {
            let row = row.map_err(|e| foreign(&path)(&e))?;
            let label = Label::ALL.into_iter().find(|label| label.name() == row.label);
            let label = label.ok_or_else(|| foreign(&path)(&format!("label {:?}", row.label)))?;
            let case = Case { file: row.file, label, source: row.source, group: row.group_id };
            Ok(Divided { case, fold: row.fold })
        });
        divided.collect()
    }
}

/// What a network began with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// The file's name, or `random`.
    pub weights: String,
    /// Digest of the file.
    pub sha256: String,
    /// Tensors taken from it.
    pub tensors: usize,
    /// What was put in the place of layers that it does not have.
    pub substituted: Vec<String>,
    /// What the file says of itself.
    pub metadata: BTreeMap<String, String>,
}

impl Beginning {
    /// That of the network in `folder`; `None` when it has not begun.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, RecordError> {
        let path = folder.join(NETWORK);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| foreign(&path)(&e)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&path)(error)),
        }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), RecordError> {
        fs::create_dir_all(folder).map_err(io_error(folder))?;
        let path = folder.join(NETWORK);
        let text = serde_json::to_vec_pretty(self).map_err(|e| foreign(&path)(&e))?;
        crate::files::replace(&path, &text).map_err(io_error(&path))
    }
}
