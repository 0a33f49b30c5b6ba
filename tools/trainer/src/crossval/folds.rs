//! Which films are tested together: stratified by label, never by film but by group.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use super::films::Case;
use crate::data::Label;

/// The classes that the networks learn.
pub const CLASSES: [Label; 3] = [Label::Covid19, Label::Pneumonia, Label::Normal];

/// Films that cannot be divided.
#[derive(Debug, thiserror::Error)]
pub enum FoldsError {
    /// A class without films.
    #[error("no {label} films: the networks learn covid19, pneumonia and normal, and each needs films")]
    EmptyClass {
        /// Which one.
        label: Label,
    },
    /// A class with fewer groups than folds.
    #[error(
        "the {films} {label} films belong to {}, and {folds} folds need at least {folds}: \
         add patients, or lower folds.count",
        crate::words::count(*groups, "group", "groups")
    )]
    FewGroups {
        /// Which class.
        label: Label,
        /// How many films it has.
        films: usize,
        /// How many groups they belong to.
        groups: usize,
        /// How many folds are wanted.
        folds: usize,
    },
    /// One group in two folds.
    #[error(
        "group {group} is in fold {first} ({first_file}) and in fold {second} ({second_file}): \
             a patient may be in one fold only"
    )]
    Straddling {
        /// Which group.
        group: String,
        /// A fold it is in.
        first: usize,
        /// One of its films there.
        first_file: String,
        /// Another fold it is in.
        second: usize,
        /// One of its films there.
        second_file: String,
    },
    /// The file of folds cannot be read.
    #[error("{path}: {source}")]
    Csv {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        source: csv::Error,
    },
    /// A fold beyond the last.
    #[error("{path}: {file} is in fold {fold}, expected 0 to {}", folds - 1)]
    Beyond {
        /// Which file.
        path: PathBuf,
        /// Which film.
        file: String,
        /// Its fold.
        fold: usize,
        /// How many there are.
        folds: usize,
    },
    /// A film without a fold.
    #[error("{path}: no fold for {file}")]
    Missing {
        /// Which file.
        path: PathBuf,
        /// Which film.
        file: String,
    },
}

/// Refuses classes that cannot be in every fold.
///
/// # Errors
/// Which class, and what it has.
pub fn check_classes(cases: &[Case], folds: usize) -> Result<(), FoldsError> {
    for label in CLASSES {
        let of_label: Vec<&Case> = cases.iter().filter(|case| case.label == label).collect();
        let groups: BTreeSet<&str> = of_label.iter().map(|case| case.group.as_str()).collect();
        if of_label.is_empty() {
            return Err(FoldsError::EmptyClass { label });
        }
        if groups.len() < folds {
            return Err(FoldsError::FewGroups { label, films: of_label.len(), groups: groups.len(), folds });
        }
    }
    Ok(())
}

/// A fold from 0 to `folds` − 1 for each of `cases`, the same for the same `seed`.
///
/// Groups in random order, the largest first, go each to the fold that lacks most of its labels.
pub fn divide(cases: &[Case], folds: usize, seed: u64) -> Vec<usize> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (position, case) in cases.iter().enumerate() {
        groups.entry(&case.group).or_default().push(position);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));

    let class = |position: usize| CLASSES.iter().position(|label| *label == cases[position].label).unwrap_or(0);
    let mut of_class = [0usize; CLASSES.len()];
    (0..cases.len()).for_each(|position| of_class[class(position)] += 1);
    let mut filled = vec![[0usize; CLASSES.len()]; folds];
    let mut fold_of = vec![0; cases.len()];
    for group in groups {
        // Share of each class that the fold would hold, the classes of this group alone.
        let fullness = |fold: &[usize; CLASSES.len()]| -> f64 {
            group.iter().map(|p| fold[class(*p)] as f64 / of_class[class(*p)].max(1) as f64).sum()
        };
        let total = |fold: &[usize; CLASSES.len()]| fold.iter().sum::<usize>();
        let chosen = (0..folds)
            .min_by(|a, b| {
                fullness(&filled[*a])
                    .total_cmp(&fullness(&filled[*b]))
                    .then(total(&filled[*a]).cmp(&total(&filled[*b])))
            })
            .unwrap_or(0);
        for position in group {
            filled[chosen][class(position)] += 1;
            fold_of[position] = chosen;
        }
    }
    fold_of
}

/// Refuses folds that share a group.
///
/// # Errors
/// The first group that is in two folds.
pub fn refuse_straddling(cases: &[Case], fold_of: &[usize]) -> Result<(), FoldsError> {
    let mut first: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (case, fold) in cases.iter().zip(fold_of) {
        let (other, file) = *first.entry(&case.group).or_insert((*fold, &case.file));
        if other != *fold {
            return Err(FoldsError::Straddling {
                group: case.group.clone(),
                first: other,
                first_file: file.into(),
                second: *fold,
                second_file: case.file.clone(),
            });
        }
    }
    Ok(())
}

/// The folds that the CSV at `path` (columns `file` and `fold`) gives to `cases`.
///
/// # Errors
/// When it cannot be read, lacks a film or puts one group into two folds.
pub fn read(path: &Path, cases: &[Case], folds: usize) -> Result<Vec<usize>, FoldsError> {
    #[derive(Deserialize)]
    struct Record {
        file: String,
        fold: usize,
    }
    let failed = |source| FoldsError::Csv { path: path.into(), source };
    let mut fold_of: BTreeMap<String, usize> = BTreeMap::new();
    for record in csv::Reader::from_path(path).map_err(failed)?.deserialize::<Record>() {
        let Record { file, fold } = record.map_err(failed)?;
        if fold >= folds {
            return Err(FoldsError::Beyond { path: path.into(), file, fold, folds });
        }
        fold_of.insert(file, fold);
    }
    let given: Vec<usize> = cases
        .iter()
        .map(|case| {
            let missing = || FoldsError::Missing { path: path.into(), file: case.file.clone() };
            fold_of.get(&case.file).copied().ok_or_else(missing)
        })
        .collect::<Result<_, _>>()?;
    refuse_straddling(cases, &given)?;
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases() -> Vec<Case> {
        (0..900)
            .map(|i| Case {
                file: format!("{i}.png"),
                label: if i % 9 == 0 { Label::Covid19 } else { [Label::Pneumonia, Label::Normal][i % 2] },
                source: "S".into(),
                // Groups of one to a dozen films, some of several labels.
                group: format!("g{}", i * i % 331),
            })
            .collect()
    }

    #[test]
    fn every_label_is_spread_evenly_and_no_group_is_in_two_folds_whatever_the_seed() {
        let cases = cases();
        for seed in 0..20 {
            let fold_of = divide(&cases, 10, seed);
            refuse_straddling(&cases, &fold_of).expect("whole groups");
            for label in CLASSES {
                let all = cases.iter().filter(|c| c.label == label).count() as f64;
                for fold in 0..10 {
                    let here = cases.iter().zip(&fold_of).filter(|(c, f)| c.label == label && **f == fold).count();
                    assert!((here as f64 - all / 10.0).abs() <= 0.15 * all / 10.0 + 2.0, "{label} {here} of {all}");
                }
            }
        }
    }

    #[test]
    fn the_same_seed_divides_the_same_way() {
        let cases = cases();
        assert_eq!(divide(&cases, 10, 1), divide(&cases, 10, 1));
        assert_ne!(divide(&cases, 10, 1), divide(&cases, 10, 2));
    }

    #[test]
    fn classes_that_cannot_be_in_every_fold_are_refused() {
        let mut cases = cases();
        check_classes(&cases, 10).expect("many groups");
        for case in cases.iter_mut().filter(|c| c.label == Label::Covid19) {
            case.group = "one".into();
        }
        let message = check_classes(&cases, 10).expect_err("one group").to_string();
        assert!(message.starts_with("the 100 covid19 films belong to 1 group, and 10 folds need"), "{message}");
        cases.retain(|c| c.label != Label::Covid19);
        let message = check_classes(&cases, 10).expect_err("an empty class").to_string();
        assert!(message.starts_with("no covid19 films"), "{message}");
    }

    #[test]
    fn folds_of_others_are_taken_unless_they_share_a_group() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("folds.csv");
        let cases = &cases()[..4];
        let check = |text: &str| {
            std::fs::write(&path, format!("file,fold\n{text}")).expect("written");
            read(&path, cases, 2).map_err(|e| e.to_string())
        };
        assert_eq!(check("0.png,0\n1.png,1\n2.png,0\n3.png,1\n"), Ok(vec![0, 1, 0, 1]));
        assert!(check("0.png,0\n1.png,1\n2.png,0\n").expect_err("one lacks").ends_with("no fold for 3.png"));
        assert!(check("0.png,2\n").expect_err("beyond").ends_with("0.png is in fold 2, expected 0 to 1"));
        let mut together = cases.to_vec();
        together[3].group = together[0].group.clone();
        let message = refuse_straddling(&together, &[0, 1, 0, 1]).expect_err("shared").to_string();
        assert!(message.starts_with("group g0 is in fold 0 (0.png) and in fold 1 (3.png)"), "{message}");
    }
}
