//! Which films make a batch: labels by share, sources of a label by weight, then patients alike, then their films.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::IndexedRandom;

use super::manifest::Label;
use super::split::Named;
use crate::recipe::Recipe;

struct OfSource {
    weight: f64,
    /// Films of each group, as positions in the list given.
    groups: Vec<Vec<usize>>,
}

struct OfLabel {
    weight: f64,
    sources: Vec<OfSource>,
}

/// Draws films for training.
pub struct Sampler {
    labels: Vec<OfLabel>,
}

impl Sampler {
    /// A sampler of `films`, weighted as the recipe says.
    pub fn new(films: &[Named], recipe: &Recipe) -> Self {
        let mut tree: BTreeMap<Label, BTreeMap<&str, BTreeMap<&str, Vec<usize>>>> = BTreeMap::new();
        for (position, film) in films.iter().enumerate() {
            let sources = tree.entry(film.row.label).or_default();
            sources.entry(&film.source).or_default().entry(&film.row.group).or_default().push(position);
        }
        let labels = tree
            .into_iter()
            .map(|(label, sources)| OfLabel {
                weight: recipe.label_weight(label),
                sources: sources
                    .into_iter()
                    .map(|(source, groups)| OfSource {
                        weight: recipe.source_weight(source),
                        groups: groups.into_values().collect(),
                    })
                    .collect(),
            })
            .collect();
        Self { labels }
    }

    /// The position of a film in the list that the sampler was made of; `None` when nothing can be drawn.
    pub fn draw(&self, random: &mut impl Rng) -> Option<usize> {
        let label = self.labels.choose_weighted(random, |l| l.weight).ok()?;
        let source = label.sources.choose_weighted(random, |s| s.weight).ok()?;
        source.groups.choose(random)?.choose(random).copied()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::data::manifest::{Row, Split};

    #[test]
    fn labels_sources_and_patients_are_drawn_in_proportion_however_many_films_they_have() {
        let mut file: crate::recipe::RecipeFile =
            toml::from_str(include_str!("../../recipes/first.toml")).expect("the recipe");
        file.source.truncate(2);
        file.source[0].weight = 3.0;
        file.source[1].weight = 1.0;
        file.batch = crate::recipe::BatchFile { covid19: 1.0, pneumonia: 0.0, normal: 1.0, other: 0.0 };
        let recipe = Recipe::try_from(file).expect("a recipe");
        let films: Vec<Named> = (0..1000)
            .map(|i| {
                let source = if i < 10 { "Cohen" } else { "COVID-CXNet" };
                let label = if i % 10 == 0 { Label::Covid19 } else { Label::Normal };
                // Film 1 is the only one of its group, the others of Cohen's share one.
                let group = if i == 1 {
                    "single".into()
                } else if i < 10 {
                    "many".into()
                } else {
                    format!("{i}")
                };
                let row =
                    Row { file: i.to_string(), label, split: Split::Train, source: source.into(), group, lungs: None };
                Named { row, source: source.into() }
            })
            .collect();
        let sampler = Sampler::new(&films, &recipe);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let drawn: Vec<usize> = (0..20_000).filter_map(|_| sampler.draw(&mut random)).collect();
        let share =
            |what: &dyn Fn(usize) -> bool| drawn.iter().filter(|i| what(**i)).count() as f64 / drawn.len() as f64;
        assert!((share(&|i| i % 10 == 0) - 0.5).abs() < 0.02);
        assert!((share(&|i| i < 10) - 0.75).abs() < 0.02);
        assert!((share(&|i| i == 1) - 0.5 * 0.75 * 0.5).abs() < 0.02);
    }
}
