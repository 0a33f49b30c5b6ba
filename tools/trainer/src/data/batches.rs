//! Augmented batches, made ahead of time on a thread of their own.
//!
//! The batch of a step depends on the seed and the number of the step alone, so that training resumed after a
//! cut sees the batches that it would have seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use lightbox::domain::InputSpec;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::films::Film;
use super::manifest::Label;
use super::sampler::Sampler;
use super::split::Named;
use crate::augment::{augment, chance, exchanged};
use crate::network::Styles;
use crate::recipe::{Augment, Recipe};

/// Films of one step.
pub struct Batch {
    /// Which step, from 0.
    pub step: usize,
    /// `[n, 1, h, w]`.
    pub inputs: Vec<f32>,
    /// `n` labels.
    pub labels: Vec<Label>,
    /// Whose style each film takes on, and how much of its own it keeps; `None` for every film its own.
    pub styles: Option<Styles>,
}

/// Training films in memory and how they are drawn.
pub struct TrainingFilms {
    films: Vec<(Named, Film)>,
    /// Films with known lungs, by source.
    located: Vec<Vec<usize>>,
    sampler: Sampler,
    spec: InputSpec,
    augment: Augment,
    batch: usize,
    seed: u64,
}

impl TrainingFilms {
    /// `films` drawn as `recipe` says.
    pub fn new(films: Vec<(Named, Film)>, recipe: &Recipe, seed: u64) -> Self {
        let named: Vec<Named> = films.iter().map(|(named, _)| named.clone()).collect();
        let mut located: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (position, film) in named.iter().enumerate().filter(|(_, film)| film.row.lungs.is_some()) {
            located.entry(&film.source).or_default().push(position);
        }
        Self {
            located: located.into_values().collect(),
            sampler: Sampler::new(&named, recipe),
            films,
            spec: recipe.judged.clone(),
            augment: recipe.file.augment.clone(),
            batch: recipe.file.training.batch,
            seed,
        }
    }

    /// The batch of `step`.
    pub fn batch(&self, step: usize) -> Batch {
        let mut batch = Batch { step, inputs: Vec::new(), labels: Vec::with_capacity(self.batch), styles: None };
        for place in 0..self.batch {
            // Streams of one generator do not overlap.
            let mut random = ChaCha8Rng::seed_from_u64(self.seed);
            random.set_stream((step * self.batch + place) as u64 + 1);
            let Some(position) = self.sampler.draw(&mut random) else { continue };
            let (named, film) = &self.films[position];
            let elsewhere = self.elsewhere(position, &mut random);
            let (film, lungs) =
                elsewhere.as_ref().map_or((film, named.row.lungs), |(film, place)| (film, Some(*place)));
            // The rare picture that augmentation spoils is drawn again, and in the end taken as it is.
            let input = (0..4)
                .find_map(|_| augment(film, lungs, &self.augment, &mut random).input(&self.spec).ok())
                .or_else(|| film.input(&self.spec).ok());
            if let Some(input) = input {
                batch.inputs.extend(input);
                batch.labels.push(named.row.label);
            }
        }
        batch.styles = self.styles(step, batch.labels.len());
        batch
    }

    /// The film in the surroundings of one from any source and of any label, and where its lungs are there; `None`
    /// where it stays in its own.
    fn elsewhere(&self, position: usize, random: &mut impl Rng) -> Option<(Film, [f32; 4])> {
        // Without a draw where there is nothing to draw: older recipes see the batches that they always saw.
        if self.augment.surroundings == 0.0 || !chance(self.augment.surroundings, random) {
            return None;
        }
        let (own, film) = &self.films[position];
        let (other, around) = &self.films[*self.located.choose(random)?.choose(random)?];
        let place = other.row.lungs?;
        Some((exchanged(film, own.row.lungs?, around, place, random), place))
    }

    fn styles(&self, step: usize, films: usize) -> Option<Styles> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed ^ 0x57_71e5);
        random.set_stream(step as u64 + 1);
        (self.augment.style > 0.0 && chance(self.augment.style, &mut random)).then(|| {
            let mut of: Vec<usize> = (0..films).collect();
            of.shuffle(&mut random);
            Styles { of, kept: (0..films).map(|_| random.random()).collect() }
        })
    }
}

/// Batches of steps `from` to `to`, two ahead of their use.
pub struct Batches {
    receiver: Option<Receiver<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl Batches {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(films: Arc<TrainingFilms>, from: usize, to: usize) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(2);
        let work = move || {
            for step in from..to {
                if sender.send(films.batch(step)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("batches".into()).spawn(work)?;
        Ok(Self { receiver: Some(receiver), thread: Some(thread) })
    }
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        self.receiver.as_ref()?.recv().ok()
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // Closing the channel ends the thread after the batch in hand.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
