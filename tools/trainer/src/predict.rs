//! What the exported model says of films, by the device's own steps: decoding, quality, preprocessing, network.

use std::collections::HashMap;
use std::path::Path;

use lightbox::adapters::file::{Limits, read_film};
use lightbox::app::Question;
use lightbox::bundle::{self, ModelError, VerifiedModel};
use lightbox::domain::{ModelInput, ModelOutput, Radiograph, Rejection, Window};
use lightbox::engine::{EngineError, TractClassifier};
use lightbox::pipeline::quality;
use lightbox::ports::ClassifyError;
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::data::split::Named;
use crate::training::Progress;

/// A model that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The model directory cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network cannot be loaded.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The network did not answer.
    #[error("{file}: {source}")]
    Classify {
        /// Which film.
        file: String,
        /// What the engine says.
        source: ClassifyError,
    },
}

/// One film and what came of it.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The film.
    pub film: Named,
    /// The network's answer, or why the film never came to it.
    pub answer: Result<ModelOutput, Rejection>,
}

/// The model in `folder`, all digests compared.
///
/// # Errors
/// When it is not a whole model.
pub fn open(folder: &Path) -> Result<VerifiedModel, PredictError> {
    Ok(bundle::open(folder)?)
}

/// Asks `model` about `films` of the folder `data`, in their order.
///
/// # Errors
/// When the network cannot be loaded or gives no answer. A film that cannot be read is no error but a rejection.
pub fn predict(
    model: &VerifiedModel,
    data: &Path,
    films: &[Named],
    what: &str,
) -> Result<Vec<Prediction>, PredictError> {
    let seen = predict_altered(model, data, films, what, |_, input| input)?;
    Ok(seen.into_iter().map(|(prediction, _)| prediction).collect())
}

/// Which parts of a film a network saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// When it looked for the lungs, where it did; its features are of this part.
    pub whole: Window,
    /// When it judged; its maps are of this part.
    pub judged: Window,
}

/// Asks `model` about what `alter` makes of the input that is judged of each film. With each prediction comes what the
/// network saw, where it came to that.
///
/// # Errors
/// As [`predict`].
pub fn predict_altered(
    model: &VerifiedModel,
    data: &Path,
    films: &[Named],
    what: &str,
    alter: impl Fn(&Named, ModelInput) -> ModelInput + Sync,
) -> Result<Vec<(Prediction, Option<Seen>)>, PredictError> {
    let manifest = model.manifest();
    ask_all(model, data, films, what, |film, named, classifier| {
        let mut question = Question::of(film, manifest, classifier)?;
        question.input = alter(named, question.input);
        Ok(question)
    })
}

/// Asks `model` about the parts of the films that are named by file, and leaves out the others.
///
/// # Errors
/// As [`predict`].
pub fn predict_parts(
    model: &VerifiedModel,
    data: &Path,
    films: &[Named],
    what: &str,
    parts: &HashMap<&str, Window>,
) -> Result<Vec<Prediction>, PredictError> {
    let films: Vec<Named> = films.iter().filter(|film| parts.contains_key(film.row.file.as_str())).cloned().collect();
    let manifest = model.manifest();
    let answered = ask_all(model, data, &films, what, |film, named, _| {
        Ok(Question::of_part(film, manifest, parts[named.row.file.as_str()]))
    })?;
    Ok(answered.into_iter().map(|(prediction, _)| prediction).collect())
}

fn ask_all(
    model: &VerifiedModel,
    data: &Path,
    films: &[Named],
    what: &str,
    question: impl Fn(&Radiograph, &Named, &mut TractClassifier) -> Result<Question, ClassifyError> + Sync,
) -> Result<Vec<(Prediction, Option<Seen>)>, PredictError> {
    let progress = Progress::start(what, films.len(), 0);
    let done = AtomicUsize::new(0);
    // A network for each thread, and enough films in a part that loading it does not count.
    let part = films.len().div_ceil(rayon::current_num_threads()).max(1);
    let parts: Vec<Vec<(Prediction, Option<Seen>)>> = films
        .par_chunks(part)
        .map(|films| {
            let mut classifier = TractClassifier::load(model)?;
            films
                .iter()
                .map(|film| {
                    let answer = read(&data.join(&film.row.file)).map(|radiograph| {
                        let question = question(&radiograph, film, &mut classifier)?;
                        let seen = Seen { whole: question.whole, judged: question.input.window };
                        Ok((question.put_to(&mut classifier)?, seen))
                    });
                    let answer = match answer {
                        Ok(answer) => answer.map(Ok),
                        Err(rejection) => Ok(Err(rejection)),
                    };
                    let answer =
                        answer.map_err(|source| PredictError::Classify { file: film.row.file.clone(), source })?;
                    progress.set(done.fetch_add(1, Ordering::Relaxed) + 1);
                    let seen = answer.as_ref().ok().map(|(_, seen)| *seen);
                    Ok((Prediction { film: film.clone(), answer: answer.map(|(output, _)| output) }, seen))
                })
                .collect::<Result<Vec<_>, PredictError>>()
        })
        .collect::<Result<_, _>>()?;
    progress.finish();
    Ok(parts.into_iter().flatten().collect())
}

fn read(path: &Path) -> Result<Radiograph, Rejection> {
    quality::accept(read_film(path, &Limits::default())?).map_err(|refused| refused.rejection)
}
