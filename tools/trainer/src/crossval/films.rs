//! The films of a study: from a manifest or from a folder for each class, read once, the same picture never twice
//! under two names of patients.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use lightbox::adapters::file::{Limits, read_film};
use lightbox::pipeline::preprocess::preprocess;
use lightbox::pipeline::quality;
use rayon::prelude::*;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::study::Study;
use crate::data::films::Skipped;
use crate::data::manifest::{self, Row, Split};
use crate::data::{DataError, Label};

/// A film of the study.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Relative to the data folder.
    pub file: String,
    /// What it shows.
    pub label: Label,
    /// Where it comes from.
    pub source: String,
    /// Patient, or patients linked by near-duplicates.
    pub group: String,
}

/// Films that were read.
#[derive(Debug, Default)]
pub struct Films {
    /// In the order of their files' names.
    pub cases: Vec<Case>,
    /// Greys from 0 to 1, rows × columns, of each case.
    pub greys: Vec<Vec<f32>>,
    /// Of each case's picture.
    pub digests: Vec<[u8; 32]>,
    /// Those that could not be read, and why.
    pub skipped: Vec<Skipped>,
}

/// Films that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilmsError {
    /// The manifest or a file beside it cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A folder cannot be listed.
    #[error("{path}: {source}")]
    Io {
        /// Which folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Neither a manifest nor folders.
    #[error(
        "{path} has neither manifest.csv nor a folder for each class: expected folders named covid19, pneumonia \
             (or bacterial, viral) and normal"
    )]
    Nothing {
        /// Which folder.
        path: PathBuf,
    },
    /// A folder whose name is no class.
    #[error("{path} is no class: expected folders named covid19, pneumonia (or bacterial, viral) and normal")]
    Folder {
        /// Which folder.
        path: PathBuf,
    },
    /// The manifest lacks the column of the data set.
    #[error("{path} has no column {column:?}, which the recipe's `dataset` names; it has {}", found.join(", "))]
    NoColumn {
        /// Which manifest.
        path: PathBuf,
        /// The column.
        column: String,
        /// The columns that it has.
        found: Vec<String>,
    },
    /// A film for the last judgement in a data set to learn from.
    #[error("{path}: {file} is in {column} and in the external films: expected only films of split train")]
    External {
        /// Which manifest.
        path: PathBuf,
        /// The column.
        column: String,
        /// Which film.
        file: String,
    },
    /// One picture under two names.
    #[error("{first} and {second} are the same picture, but {why} ({} such): {remedy}",
        crate::words::count(*pairs, "pair", "pairs"))]
    Duplicate {
        /// A film.
        first: String,
        /// The same film.
        second: String,
        /// What differs.
        why: &'static str,
        /// How many pairs there are.
        pairs: usize,
        /// What to do about it.
        remedy: &'static str,
    },
}

/// Whether groups were given or every picture is one.
#[derive(Clone, Copy, PartialEq)]
enum Groups {
    Given,
    Guessed,
}

/// Reads the films of `study` in `folder`. What cannot be read is left out and named.
///
/// `progress` is called with the number of films done and of all.
///
/// # Errors
/// When the folder cannot be used, no film could be read, or the same picture is in two groups or under two labels.
pub fn read(folder: &Path, study: &Study, progress: impl Fn(usize, usize) + Sync) -> Result<Films, FilmsError> {
    let (mut cases, groups) = list(folder, &study.file.dataset)?;
    cases.retain(|case| case.label != Label::Other);
    cases.sort_by(|a, b| a.file.cmp(&b.file));
    let (done, total) = (AtomicUsize::new(0), cases.len());
    let read: Vec<Result<(Case, Picture), Skipped>> = cases
        .into_par_iter()
        .map(|case| {
            let picture =
                read_one(&folder.join(&case.file), study).map_err(|reason| Skipped { file: case.file.clone(), reason });
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
            Ok((case, picture?))
        })
        .collect();
    let mut films = Films::default();
    for film in read {
        match film {
            Ok((case, picture)) => {
                films.cases.push(case);
                films.greys.push(picture.greys);
                films.digests.push(picture.digest);
            }
            Err(skipped) => films.skipped.push(skipped),
        }
    }
    if let (true, Some(first)) = (films.cases.is_empty(), films.skipped.first()) {
        let first = format!("{}: {}", first.file, first.reason);
        return Err(DataError::Unreadable { films: total, first }.into());
    }
    match groups {
        Groups::Given => refuse_duplicates(&films)?,
        Groups::Guessed => join_duplicates(&mut films)?,
    }
    Ok(films)
}

struct Picture {
    greys: Vec<f32>,
    digest: [u8; 32],
}

fn read_one(path: &Path, study: &Study) -> Result<Picture, String> {
    let mut acquired = read_film(path, &Limits::default()).map_err(|rejection| rejection.to_string())?;
    let mut hash = Sha256::new();
    hash.update(acquired.image.width().to_le_bytes());
    hash.update(acquired.image.height().to_le_bytes());
    let bytes: Vec<u8> = acquired.image.greys().iter().flat_map(|grey| grey.to_le_bytes()).collect();
    hash.update(&bytes);
    // A film letterboxed onto the canvas and then rescaled is the film with other pixels letterboxed onto the input.
    let shape = study.spec.width() as f32 / study.spec.height() as f32;
    acquired.pixel_aspect *= study.file.input.canvas / shape;
    let film = quality::accept(acquired).map_err(|refused| refused.rejection.to_string())?;
    Ok(Picture { greys: preprocess(&film, &study.spec).values, digest: hash.finalize().into() })
}

fn list(folder: &Path, dataset: &str) -> Result<(Vec<Case>, Groups), FilmsError> {
    let path = folder.join("manifest.csv");
    if path.exists() {
        let rows = manifest::read(folder)?;
        let chosen = if dataset.is_empty() { None } else { Some(column(&path, dataset)?) };
        let rows = rows.into_iter().filter(|row| match &chosen {
            Some(files) => files.get(&row.file).copied().unwrap_or(false),
            None => row.split == Split::Train,
        });
        let cases = rows
            .map(|row| match row.split {
                Split::Train => Ok(case(row)),
                Split::External => {
                    Err(FilmsError::External { path: path.clone(), column: dataset.into(), file: row.file })
                }
            })
            .collect::<Result<Vec<Case>, _>>()?;
        if cases.is_empty() {
            return Err(DataError::Empty { path }.into());
        }
        return Ok((cases, Groups::Given));
    }
    folders(folder)
}

fn case(row: Row) -> Case {
    Case { file: row.file, label: row.label, source: row.source, group: row.group }
}

/// Which files have a 1 in `column` of the manifest at `path`.
fn column(path: &Path, column: &str) -> Result<BTreeMap<String, bool>, FilmsError> {
    let failed = |source| DataError::Csv { path: path.into(), source };
    let mut reader = csv::Reader::from_path(path).map_err(failed)?;
    let header = reader.headers().map_err(failed)?.clone();
    let place = |name: &str| header.iter().position(|found| found == name);
    let (Some(file), Some(mark)) = (place("file"), place(column)) else {
        let found = header.iter().map(str::to_string).collect();
        return Err(FilmsError::NoColumn { path: path.into(), column: column.into(), found });
    };
    let mut chosen = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(failed)?;
        chosen.insert(record[file].to_string(), &record[mark] == "1");
    }
    Ok(chosen)
}

/// The class that a folder is named after, however it is spelt.
fn class_of(name: &str) -> Option<Label> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    match plain.as_str() {
        "covid" | "covid19" => Some(Label::Covid19),
        "pneumonia" | "bacterial" | "viral" | "bacterialpneumonia" | "viralpneumonia" | "pneumoniabacterial"
        | "pneumoniaviral" => Some(Label::Pneumonia),
        "normal" | "healthy" => Some(Label::Normal),
        _ => None,
    }
}

fn folders(folder: &Path) -> Result<(Vec<Case>, Groups), FilmsError> {
    let failed = |source| FilmsError::Io { path: folder.into(), source };
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let label = class_of(&name).ok_or_else(|| FilmsError::Folder { path: path.clone() })?;
        let rows = match manifest::read_unlabelled(&path, &name) {
            Err(DataError::Empty { .. }) => Vec::new(),
            rows => rows?,
        };
        cases.extend(rows.into_iter().map(|row| {
            let file = format!("{name}/{}", row.file);
            Case { group: file.clone(), file, label, source: row.source }
        }));
    }
    if cases.is_empty() {
        return Err(FilmsError::Nothing { path: folder.into() });
    }
    let path = folder.join("groups.csv");
    if !path.exists() {
        return Ok((cases, Groups::Guessed));
    }
    #[derive(Deserialize)]
    struct Record {
        file: String,
        group_id: String,
    }
    let failed = |source| DataError::Csv { path: path.clone(), source };
    let mut group_of = BTreeMap::new();
    for record in csv::Reader::from_path(&path).map_err(failed)?.deserialize::<Record>() {
        let record = record.map_err(failed)?;
        group_of.insert(record.file, record.group_id);
    }
    for case in &mut cases {
        if let Some(group) = group_of.get(&case.file).filter(|group| !group.is_empty()) {
            case.group.clone_from(group);
        }
    }
    Ok((cases, Groups::Given))
}

/// Pairs of positions with the same picture, each with the first of its kind.
fn pairs(films: &Films) -> Vec<(usize, usize)> {
    let mut first: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    let mut pairs = Vec::new();
    for (position, digest) in films.digests.iter().enumerate() {
        match first.entry(*digest) {
            Entry::Occupied(found) => pairs.push((*found.get(), position)),
            Entry::Vacant(place) => {
                place.insert(position);
            }
        }
    }
    pairs
}

fn refuse(films: &Films, why: &'static str, remedy: &'static str, bad: &[(usize, usize)]) -> Result<(), FilmsError> {
    let Some((first, second)) = bad.first() else { return Ok(()) };
    let file = |position: &usize| films.cases[*position].file.clone();
    Err(FilmsError::Duplicate { first: file(first), second: file(second), why, pairs: bad.len(), remedy })
}

fn refuse_two_labels(films: &Films) -> Result<(), FilmsError> {
    let label = |position: usize| films.cases[position].label;
    let bad: Vec<_> = pairs(films).into_iter().filter(|(a, b)| label(*a) != label(*b)).collect();
    refuse(films, "their labels differ", "remove the one that is wrong", &bad)
}

fn refuse_duplicates(films: &Films) -> Result<(), FilmsError> {
    refuse_two_labels(films)?;
    let group = |position: usize| &films.cases[position].group;
    let bad: Vec<_> = pairs(films).into_iter().filter(|(a, b)| group(*a) != group(*b)).collect();
    refuse(films, "their groups differ", "give both one group_id, or remove one", &bad)
}

/// Where nothing is known of patients, the same picture is the same patient.
fn join_duplicates(films: &mut Films) -> Result<(), FilmsError> {
    refuse_two_labels(films)?;
    for (first, second) in pairs(films) {
        films.cases[second].group = films.cases[first].group.clone();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma};

    use super::*;

    fn study(dataset: &str) -> Study {
        let mut file: crate::crossval::study::StudyFile =
            toml::from_str(include_str!("../../recipes/paper-dataset1.toml")).expect("the recipe");
        (file.input.height, file.input.width, file.dataset) = (40, 60, dataset.into());
        file.try_into().expect("a study")
    }

    fn draw(path: &Path, seed: u32) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let grey = |x: u32, y: u32| Luma([(40 + (x * (3 + seed) + y * (5 + seed) * (1 + seed % 3)) % 170) as u8]);
        GrayImage::from_fn(120, 120, grey).save(path).expect("a film");
    }

    fn folder_of(files: &[(&str, u32)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (file, seed) in files {
            draw(&folder.path().join(file), *seed);
        }
        folder
    }

    fn refused(folder: &Path, dataset: &str) -> String {
        read(folder, &study(dataset), |_, _| ()).expect_err("refused").to_string()
    }

    #[test]
    fn a_folder_for_each_class_is_read_as_kaggle_names_them_and_the_same_picture_is_one_patient() {
        let folder = folder_of(&[
            ("COVID-19/a.png", 1),
            ("Viral Pneumonia/b.png", 2),
            ("NORMAL/deeper/c.png", 3),
            ("NORMAL/d.png", 4),
            ("NORMAL/e.png", 3),
        ]);
        fs::write(folder.path().join("NORMAL/broken.png"), b"\x89PNG\r\n\x1a\nno").expect("written");
        let films = read(folder.path(), &study("paper_ds1"), |_, _| ()).expect("films");
        let found: Vec<(&str, Label)> = films.cases.iter().map(|c| (c.file.as_str(), c.label)).collect();
        let expected = [
            ("COVID-19/a.png", Label::Covid19),
            ("NORMAL/d.png", Label::Normal),
            ("NORMAL/deeper/c.png", Label::Normal),
            ("NORMAL/e.png", Label::Normal),
            ("Viral Pneumonia/b.png", Label::Pneumonia),
        ];
        assert_eq!(found, expected);
        assert_eq!(films.cases[2].group, films.cases[3].group);
        assert_ne!(films.cases[1].group, films.cases[2].group);
        assert_eq!(films.skipped.len(), 1);
        assert_eq!(films.skipped[0].file, "NORMAL/broken.png");
        // Groups that are given are not mended but refused.
        fs::write(folder.path().join("groups.csv"), "file,group_id\nNORMAL/e.png,eve\n").expect("written");
        let message = refused(folder.path(), "");
        assert!(
            message.starts_with("NORMAL/deeper/c.png and NORMAL/e.png are the same picture, but their groups differ"),
            "{message}"
        );
        draw(&folder.path().join("COVID-19/f.png"), 3);
        assert!(
            refused(folder.path(), "").contains("but their labels differ (2 pairs"),
            "{}",
            refused(folder.path(), "")
        );
        fs::create_dir(folder.path().join("lungs")).expect("made");
        assert!(refused(folder.path(), "").contains("lungs is no class: expected folders named covid19"));
    }

    #[test]
    fn a_column_of_the_manifest_chooses_the_films() {
        let folder = folder_of(&[("a.png", 1), ("b.png", 2), ("c.png", 3)]);
        let manifest = |lines: &str| {
            let text = format!("file,label,split,source,group_id,set\n{lines}");
            fs::write(folder.path().join("manifest.csv"), text).expect("written");
        };
        manifest("a.png,covid19,train,s,1,1\nb.png,normal,train,s,2,0\nc.png,viral,train,s,3,1\n");
        let films = read(folder.path(), &study("set"), |_, _| ()).expect("films");
        assert_eq!(films.cases.iter().map(|c| c.file.as_str()).collect::<Vec<_>>(), ["a.png", "c.png"]);
        assert_eq!(read(folder.path(), &study(""), |_, _| ()).expect("films").cases.len(), 3);
        assert!(refused(folder.path(), "sets").contains("has no column \"sets\", which the recipe's `dataset` names"));
        manifest("a.png,covid19,external,s,1,1\n");
        assert!(refused(folder.path(), "set").contains("a.png is in set and in the external films"));
        manifest("a.png,covid19,train,s,1,0\n");
        assert!(refused(folder.path(), "set").ends_with("no films"));
    }

    #[test]
    fn a_film_lies_on_a_black_canvas_of_the_papers_shape() {
        let folder = folder_of(&[("normal/a.png", 1)]);
        let films = read(folder.path(), &study(""), |_, _| ()).expect("films");
        // A square film on a canvas of 1:1.5 takes two thirds of the width.
        let row = &films.greys[0][20 * 60..21 * 60];
        let lit: Vec<usize> = (0..60).filter(|x| row[*x] > 0.0).collect();
        assert_eq!((lit[0], lit[lit.len() - 1]), (10, 49));
    }

    #[test]
    fn dicom_files_are_read_as_the_device_reads_them() {
        let folder = folder_of(&[("covid19/a.png", 1)]);
        let film = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/chest-pa.dcm");
        fs::create_dir(folder.path().join("normal")).expect("made");
        fs::copy(film, folder.path().join("normal/b")).expect("copied");
        let films = read(folder.path(), &study(""), |_, _| ()).expect("films");
        assert_eq!(films.cases.iter().map(|c| c.file.as_str()).collect::<Vec<_>>(), ["covid19/a.png", "normal/b"]);
        assert!(films.greys[1].iter().any(|grey| *grey > 0.3));
    }

    #[test]
    fn a_folder_of_nothing_says_what_was_expected() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(refused(folder.path(), "").contains("neither manifest.csv nor a folder for each class"));
        fs::create_dir(folder.path().join("normal")).expect("made");
        fs::write(folder.path().join("normal/a.png"), "nothing").expect("written");
        assert!(refused(folder.path(), "").starts_with("none of 1 films could be read; the first: normal/a.png"));
    }
}
