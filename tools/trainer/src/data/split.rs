//! Which groups are learned from and which are held out. Never by film: a patient is on one side only.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::fold::Fold;
use super::manifest::{DataError, Label, Row, Split};
use crate::recipe::Recipe;

/// A film of the manifest with its source's name in reports.
#[derive(Clone, Debug)]
pub struct Named {
    /// As in the manifest.
    pub row: Row,
    /// As in reports.
    pub source: String,
}

/// The films of a data folder by use.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Learned from.
    pub training: Vec<Named>,
    /// Chosen by.
    pub held_out: Vec<Named>,
    /// Judged by, at the end.
    pub external: Vec<Named>,
}

/// Splits `rows` by group, stratified by source and label, the same way for the same `seed`.
///
/// The folds of one seed share no group, and together hold out every group that is not alone in its stratum.
///
/// Sources that the recipe leaves out are held out whole. Films with labels that the recipe never draws, or from
/// sources that it never draws, are in no part.
///
/// # Errors
/// When a source is not in the recipe, or a class is empty or of one group only.
pub fn split(rows: Vec<Row>, recipe: &Recipe, seed: u64) -> Result<Parts, DataError> {
    let mut parts = Parts::default();
    let mut rest = Vec::new();
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        let Some(source) = recipe.source_of(&row.source).map(str::to_string) else {
            *unknown.entry(row.source).or_default() += 1;
            continue;
        };
        let named = Named { row, source };
        match named.row.split {
            Split::External => parts.external.push(named),
            Split::Train => rest.push(named),
        }
    }
    if let Some((source_name, films)) = unknown.into_iter().next() {
        return Err(DataError::UnknownSource { source_name, films });
    }
    rest.retain(|n| recipe.source_weight(&n.source) > 0.0 && recipe.label_weight(n.row.label) > 0.0);

    let left_out = &recipe.file.training.left_out_sources;
    // A group that touches a source that is left out is left out with it.
    let touched: BTreeSet<String> =
        rest.iter().filter(|n| left_out.contains(&n.source)).map(|n| n.row.group.clone()).collect();
    let (gone, rest): (Vec<Named>, Vec<Named>) = rest.into_iter().partition(|n| touched.contains(&n.row.group));
    for label in [Label::Covid19, Label::Pneumonia, Label::Normal] {
        refuse_thin_class(&rest, label)?;
    }
    let strata = strata(&rest, seed);
    let held_out = match recipe.file.training.fold {
        Some(fold) => fold_of(&strata, fold),
        None => share_of(&strata, recipe.file.training.held_out),
    };
    let (chosen, training) = rest.into_iter().partition(|n| held_out.contains(&n.row.group));
    parts.training = training;
    parts.held_out = chosen;
    parts.held_out.extend(gone.into_iter().filter(|n| left_out.contains(&n.source)));
    Ok(parts)
}

fn refuse_thin_class(films: &[Named], label: Label) -> Result<(), DataError> {
    let of_label: Vec<&Named> = films.iter().filter(|n| n.row.label == label).collect();
    let Some(first) = of_label.first() else {
        let remedy = "the network learns three classes; add films or draw the label in [batch]";
        return Err(DataError::EmptyClass { label, place: "to learn from", remedy });
    };
    if of_label.iter().all(|n| n.row.group == first.row.group) {
        return Err(DataError::OneGroup { label, films: of_label.len(), group: first.row.group.clone() });
    }
    Ok(())
}

/// The groups of each source and label in random order.
fn strata(films: &[Named], seed: u64) -> Vec<Vec<String>> {
    // A group counts where most of its films are; the first in order where there are as many.
    let mut counts: BTreeMap<&str, BTreeMap<(&str, Label), usize>> = BTreeMap::new();
    for film in films {
        *counts.entry(&film.row.group).or_default().entry((&film.source, film.row.label)).or_default() += 1;
    }
    let mut strata: BTreeMap<(&str, Label), Vec<&str>> = BTreeMap::new();
    for (group, places) in counts {
        let most = places.values().copied().max().unwrap_or(0);
        if let Some((place, _)) = places.into_iter().find(|(_, n)| *n == most) {
            strata.entry(place).or_default().push(group);
        }
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed_0f59_1175_u64);
    let shuffled = strata.into_values().map(|mut groups| {
        groups.shuffle(&mut random);
        groups.into_iter().map(str::to_string).collect()
    });
    shuffled.collect()
}

/// A share of the groups of each stratum, at least one of each that has two; none where the share is 0.
fn share_of(strata: &[Vec<String>], share: f64) -> BTreeSet<String> {
    let chosen = strata.iter().filter(|groups| groups.len() > 1 && share > 0.0).flat_map(|groups| {
        let wanted = (groups.len() as f64 * share).round() as usize;
        &groups[..wanted.clamp(1, groups.len() - 1)]
    });
    chosen.cloned().collect()
}

/// The groups of each stratum are dealt out like cards, one stratum after the other; a group that is alone in its
/// stratum is learned from in every fold.
fn fold_of(strata: &[Vec<String>], fold: Fold) -> BTreeSet<String> {
    let cards = strata.iter().filter(|groups| groups.len() > 1).flatten();
    cards.enumerate().filter(|(position, _)| fold.holds(*position)).map(|(_, group)| group.clone()).collect()
}

/// How many films each source has of each label.
pub fn counts(films: &[Named]) -> BTreeMap<String, BTreeMap<&'static str, usize>> {
    let mut table: BTreeMap<String, BTreeMap<&'static str, usize>> = BTreeMap::new();
    for film in films {
        *table.entry(film.source.clone()).or_default().entry(film.row.label.name()).or_default() += 1;
    }
    table
}

/// Which films are looked at: at most `most` of each source and label, one a group before a second of any.
pub fn thinned(films: &[Named], most: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..films.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed ^ 0x7414));
    let mut of_group: HashMap<&str, usize> = HashMap::new();
    let mut ranked: Vec<(usize, usize)> = order
        .into_iter()
        .map(|i| {
            let rank = of_group.entry(&films[i].row.group).or_default();
            *rank += 1;
            (*rank, i)
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut taken: HashMap<(&str, Label), usize> = HashMap::new();
    let mut chosen: Vec<usize> = ranked
        .into_iter()
        .filter(|(_, i)| {
            let n = taken.entry((&films[*i].source, films[*i].row.label)).or_default();
            *n += 1;
            *n <= most
        })
        .map(|(_, i)| i)
        .collect();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(change: impl Fn(&mut crate::recipe::RecipeFile)) -> Recipe {
        let mut file: crate::recipe::RecipeFile =
            toml::from_str(include_str!("../../recipes/first.toml")).expect("the recipe");
        file.source.clear();
        change(&mut file);
        Recipe::try_from(file).expect("a recipe")
    }

    fn rows() -> Vec<Row> {
        let labels = [Label::Covid19, Label::Pneumonia, Label::Normal];
        (0..600)
            .map(|i| Row {
                file: format!("{i}.png"),
                label: labels[i % 3],
                split: if i % 50 == 7 { Split::External } else { Split::Train },
                source: ["A", "B"][i / 3 % 2].into(),
                // Groups of several films, some across labels and sources.
                group: if i % 50 == 7 { format!("e{i}") } else { format!("g{}", i * i % 97) },
                lungs: None,
            })
            .collect()
    }

    fn groups(films: &[Named]) -> BTreeSet<&str> {
        films.iter().map(|n| n.row.group.as_str()).collect()
    }

    #[test]
    fn no_group_is_on_both_sides_whatever_the_seed() {
        for seed in 0..50 {
            let parts = split(rows(), &recipe(|_| ()), seed).expect("parts");
            assert!(groups(&parts.training).is_disjoint(&groups(&parts.held_out)), "seed {seed}");
            assert!(groups(&parts.training).is_disjoint(&groups(&parts.external)), "seed {seed}");
            assert_eq!(parts.training.len() + parts.held_out.len() + parts.external.len(), 600);
            assert!(parts.held_out.len() > 60, "seed {seed}: {}", parts.held_out.len());
        }
    }

    #[test]
    fn folds_share_no_group_and_together_hold_out_all_of_them() {
        for of in [2, 3, 10] {
            let mut held_out: BTreeMap<String, usize> = BTreeMap::new();
            for number in 1..=of {
                let fold = format!("{number}/{of}").parse().expect("a fold");
                let recipe = recipe(|file| file.training.fold = Some(fold));
                let parts = split(rows(), &recipe, 4).expect("parts");
                assert!(groups(&parts.training).is_disjoint(&groups(&parts.held_out)), "fold {fold}");
                for label in [Label::Covid19, Label::Pneumonia, Label::Normal] {
                    let of_label = |films: &[Named]| films.iter().filter(|n| n.row.label == label).count();
                    assert!(of_label(&parts.training) > 0 && (of > 3 || of_label(&parts.held_out) > 0), "fold {fold}");
                }
                parts.held_out.into_iter().for_each(|n| *held_out.entry(n.row.file).or_default() += 1);
            }
            assert!(held_out.values().all(|times| *times == 1), "{of} folds: {held_out:?}");
            assert_eq!(held_out.len(), 588, "{of} folds");
        }
    }

    #[test]
    fn a_share_of_nothing_holds_nothing_out() {
        let parts = split(rows(), &recipe(|file| file.training.held_out = 0.0), 0).expect("parts");
        assert_eq!((parts.training.len(), parts.held_out.len()), (588, 0));
    }

    #[test]
    fn the_same_seed_splits_the_same_way() {
        let files = |seed| {
            let parts = split(rows(), &recipe(|_| ()), seed).expect("parts");
            parts.held_out.into_iter().map(|n| n.row.file).collect::<Vec<_>>()
        };
        assert_eq!(files(1), files(1));
        assert_ne!(files(1), files(2));
    }

    #[test]
    fn a_source_that_is_left_out_is_held_out_whole_and_so_are_its_patients() {
        let recipe = recipe(|file| file.training.left_out_sources = vec!["A".into()]);
        let mut rows = rows();
        for row in &mut rows {
            row.group = format!("{}-{}", row.source, row.group);
        }
        rows[3].group = "A-and-B".into();
        rows[0].group = "A-and-B".into();
        let parts = split(rows, &recipe, 3).expect("parts");
        assert!(parts.training.iter().all(|n| n.source == "B" && n.row.group != "A-and-B"));
        assert!(parts.held_out.iter().filter(|n| n.source == "A").count() > 280);
    }

    #[test]
    fn an_empty_class_and_a_class_of_one_group_are_refused() {
        let none: Vec<Row> = rows().into_iter().filter(|r| r.label != Label::Pneumonia).collect();
        let error = split(none, &recipe(|_| ()), 0).expect_err("an empty class").to_string();
        assert!(error.starts_with("no pneumonia films to learn from"), "{error}");
        let one: Vec<Row> =
            rows()
                .into_iter()
                .map(|r| {
                    if r.label == Label::Normal && r.split == Split::Train { Row { group: "x".into(), ..r } } else { r }
                })
                .collect();
        let error = split(one, &recipe(|_| ()), 0).expect_err("one group").to_string();
        assert!(error.contains("normal films belong to one group (x): at least 2 groups"), "{error}");
    }

    #[test]
    fn a_source_that_the_recipe_does_not_list_is_named() {
        let recipe: crate::recipe::RecipeFile =
            toml::from_str(include_str!("../../recipes/first.toml")).expect("the recipe");
        let error = split(rows(), &Recipe::try_from(recipe).expect("a recipe"), 0).expect_err("unknown").to_string();
        assert!(error.starts_with("source \"A\" ("), "{error}");
    }

    #[test]
    fn thinning_takes_a_second_film_of_a_group_only_when_groups_run_out() {
        let parts = split(rows(), &recipe(|_| ()), 0).expect("parts");
        let chosen = thinned(&parts.training, 5, 0);
        let mut per: HashMap<(&str, Label), usize> = HashMap::new();
        for i in &chosen {
            *per.entry((&parts.training[*i].source, parts.training[*i].row.label)).or_default() += 1;
        }
        assert!(per.values().all(|n| *n <= 5), "{per:?}");
        assert_eq!(per.len(), 6);
    }
}
