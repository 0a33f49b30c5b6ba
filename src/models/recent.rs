//! The last cases of this device: where their films lie, and what was said of them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::adapters::content;
use crate::adapters::file::Limits;
use crate::record::{Journal, JournalError};

/// How many readings are looked through for each case that is wanted: some films are gone, some were read twice.
const ROWS_A_CASE: usize = 4;

/// Where the last cases are to be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayFrom {
    /// The journal; without one what was said before is found by reading again.
    pub journal: Option<PathBuf>,
    /// The spool, where films lie that came over the network or from drives.
    pub spool: Option<PathBuf>,
    /// How many.
    pub cases: usize,
}

/// One of the last cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What the record calls it.
    pub name: String,
    /// Its film.
    pub film: PathBuf,
    /// What was said, and by the model with which manifest; `None` where that is not known.
    pub said: Option<SaidBy>,
}

/// What the journal says of a film.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SaidBy {
    /// Name of the verdict.
    pub verdict: String,
    /// Code of the reason.
    pub reason: Option<String>,
    /// SHA-256 of the model's manifest.
    pub manifest_sha256: String,
}

/// The last cases whose films are still there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recent {
    /// The newest first.
    pub cases: Vec<Case>,
    /// Readings whose film is gone or was changed since.
    pub skipped: usize,
}

/// The last cases, the newest first.
///
/// # Errors
/// When there is a journal that cannot be read.
pub fn recent_cases(from: &ReplayFrom) -> Result<Recent, JournalError> {
    match &from.journal {
        Some(journal) => of_journal(journal, from),
        None => Ok(from.spool.as_deref().map(|spool| of_spool(spool, from.cases)).unwrap_or_default()),
    }
}

fn of_journal(journal: &Path, from: &ReplayFrom) -> Result<Recent, JournalError> {
    let mut recent = Recent::default();
    let mut seen = Vec::new();
    for row in Journal::open(journal)?.newest(from.cases.saturating_mul(ROWS_A_CASE))? {
        let (Some(digest), Some(reference)) = (row.image_sha256, row.image_reference) else { continue };
        if recent.cases.len() == from.cases {
            break;
        }
        if seen.contains(&digest) {
            continue;
        }
        seen.push(digest);
        let film = lies_at(&reference, from.spool.as_deref()).filter(|film| {
            // Another film under the same name would be compared with what was said of this one.
            content::sha256(film, Limits::default().file_bytes).is_ok_and(|found| found == digest.0)
        });
        let Some(film) = film else {
            recent.skipped += 1;
            continue;
        };
        let said = SaidBy { verdict: row.verdict, reason: row.reason, manifest_sha256: row.manifest_sha256 };
        recent.cases.push(Case { name: format!("reading {}", row.sequence), film, said: Some(said) });
    }
    Ok(recent)
}

/// The reference is a name in the spool or a path that a person named.
fn lies_at(reference: &str, spool: Option<&Path>) -> Option<PathBuf> {
    let plain = !reference.is_empty() && !reference.contains('/') && !reference.starts_with('.');
    let inside = spool.filter(|_| plain).into_iter();
    let mut places = inside.flat_map(|spool| ["read", "unread"].map(|folder| spool.join(folder).join(reference)));
    places.find(|path| path.is_file()).or_else(|| Some(PathBuf::from(reference)).filter(|path| path.is_file()))
}

fn of_spool(spool: &Path, cases: usize) -> Recent {
    let entries = fs::read_dir(spool.join("read")).into_iter().flatten().flatten();
    let mut films: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    // Names begin with the number of arrival.
    films.sort();
    let newest = films.into_iter().rev().take(cases);
    let case = |film: PathBuf| {
        let name = film.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Case { name, film, said: None }
    };
    Recent { cases: newest.map(case).collect(), skipped: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{OperatingPoint, Reading, Reason, Rejection};
    use crate::record::{Digest, Entry, Image, Model, Moment, Origin};

    fn entry(content: &[u8], reference: &str) -> Entry {
        Entry {
            at: Moment { unix_ms: 0, verified: false },
            origin: Origin::Network,
            image: Some(Image { sha256: Digest::of(content), reference: reference.to_owned() }),
            identity: None,
            remarks: Vec::new(),
            model: Model {
                name: "m".into(),
                version: "1.0.0".into(),
                network_sha256: "n".into(),
                manifest_sha256: "f".into(),
            },
            operating_point: OperatingPoint::new(0.1, 0.6, 0.4, 0.6).expect("in order"),
            reading: Reading::rejected(Rejection::new(Reason::Blank, "x")),
            map: None,
            software: "0".into(),
            operator: None,
        }
    }

    #[test]
    fn the_newest_films_that_are_still_what_they_were_are_found_in_the_spool() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let spool = folder.path().join("spool");
        fs::create_dir_all(spool.join("read")).expect("made");
        for (name, content) in [("1.dcm", "one"), ("2.dcm", "changed"), ("3.dcm", "three"), ("4.dcm", "four")] {
            fs::write(spool.join("read").join(name), content).expect("written");
        }
        let named = folder.path().join("film.png");
        fs::write(&named, "named").expect("written");
        let path = folder.path().join("journal.db");
        let mut journal = Journal::open_or_create(&path).expect("made");
        for (content, reference) in [
            ("one", "1.dcm"),
            ("two", "2.dcm"),
            ("three", "3.dcm"),
            ("three", "3.dcm"),
            ("named", named.to_str().expect("UTF-8")),
            ("gone", "../read/4.dcm"),
        ] {
            journal.append(&entry(content.as_bytes(), reference)).expect("written");
        }
        drop(journal);
        let from = ReplayFrom { journal: Some(path.clone()), spool: Some(spool.clone()), cases: 3 };
        let recent = recent_cases(&from).expect("readable");
        let films: Vec<_> = recent.cases.iter().map(|case| case.film.clone()).collect();
        assert_eq!(films, [named, spool.join("read/3.dcm"), spool.join("read/1.dcm")]);
        // One has other content than was read, one leads out of the spool.
        assert_eq!((recent.skipped, recent.cases[0].name.as_str()), (2, "reading 5"));
        let said = recent.cases[0].said.as_ref().expect("recorded");
        assert_eq!((said.verdict.as_str(), said.reason.as_deref()), ("rejected", Some("blank")));

        let without = ReplayFrom { journal: None, spool: Some(spool), cases: 2 };
        let names: Vec<_> = recent_cases(&without).expect("readable").cases.into_iter().map(|case| case.name).collect();
        assert_eq!(names, ["4.dcm", "3.dcm"]);
        assert_eq!(recent_cases(&ReplayFrom::default()).expect("nothing"), Recent::default());
    }
}
