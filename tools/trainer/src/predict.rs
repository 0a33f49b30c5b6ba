//! What the exported model says of films, by the device's own steps: decoding, quality, preprocessing, network.

use std::path::Path;

use lightbox::adapters::file::{Limits, read_film};
use lightbox::bundle::{self, ModelError, VerifiedModel};
use lightbox::domain::{ModelInput, ModelOutput, Rejection, Window};
use lightbox::engine::{EngineError, TractClassifier};
use lightbox::pipeline::{preprocess::preprocess, quality};
use lightbox::ports::{Classifier, ClassifyError};
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

/// Asks `model` about what `alter` makes of the input that each film becomes. With each prediction comes the part of
/// the film that the network saw, where it came to that.
///
/// # Errors
/// As [`predict`].
pub fn predict_altered(
    model: &VerifiedModel,
    data: &Path,
    films: &[Named],
    what: &str,
    alter: impl Fn(&Named, ModelInput) -> ModelInput + Sync,
) -> Result<Vec<(Prediction, Option<Window>)>, PredictError> {
    let progress = Progress::start(what, films.len(), 0);
    let done = AtomicUsize::new(0);
    // A network for each thread, and enough films in a part that loading it does not count.
    let part = films.len().div_ceil(rayon::current_num_threads()).max(1);
    let parts: Vec<Vec<(Prediction, Option<Window>)>> = films
        .par_chunks(part)
        .map(|films| {
            let mut classifier = TractClassifier::load(model)?;
            films
                .iter()
                .map(|film| {
                    let mut seen = None;
                    let alter = |input: ModelInput| {
                        seen = Some(input.window);
                        alter(film, input)
                    };
                    let answer = ask(&mut classifier, model, &data.join(&film.row.file), alter)
                        .map_err(|source| PredictError::Classify { file: film.row.file.clone(), source })?;
                    progress.set(done.fetch_add(1, Ordering::Relaxed) + 1);
                    Ok((Prediction { film: film.clone(), answer }, seen))
                })
                .collect::<Result<Vec<_>, PredictError>>()
        })
        .collect::<Result<_, _>>()?;
    progress.finish();
    Ok(parts.into_iter().flatten().collect())
}

fn ask(
    classifier: &mut TractClassifier,
    model: &VerifiedModel,
    path: &Path,
    alter: impl FnOnce(ModelInput) -> ModelInput,
) -> Result<Result<ModelOutput, Rejection>, ClassifyError> {
    let film = match read_film(path, &Limits::default()).map(quality::accept) {
        Ok(Ok(film)) => film,
        Ok(Err(refused)) => return Ok(Err(refused.rejection)),
        Err(rejection) => return Ok(Err(rejection)),
    };
    classifier.classify(&alter(preprocess(&film, &model.manifest().input))).map(Ok)
}
