//! The golden self-test: the films of a bundle go the whole way of a film, and the answers are compared.

use std::time::{Duration, Instant};

use crate::app::Question;
use crate::bundle::Manifest;
use crate::bundle::golden::{AnswerEntry, Golden, GoldenFilm, GoldenMismatch, TOLERANCE};
use crate::domain::{Acquired, GreyImage, ModelOutput, Reading};
use crate::pipeline::{decide::decide, quality};
use crate::ports::{Classifier, ClassifyError};

/// A self-test that did not pass.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// The network gave no answer.
    #[error("golden film {film:02}: {source}")]
    Classify {
        /// Which film.
        film: usize,
        /// Why.
        source: ClassifyError,
    },
    /// The film would be refused before the network sees it.
    #[error("golden film {film:02} is refused: {reason}")]
    Unfit {
        /// Which film.
        film: usize,
        /// Why.
        reason: String,
    },
    /// The network answers something else than it should.
    #[error(transparent)]
    Mismatch(#[from] GoldenMismatch),
    /// The verdict would change within the tolerance.
    #[error(
        "golden film {film:02} lies too close to a line: within the tolerance its verdict may be {other}, not {verdict}"
    )]
    TooClose {
        /// Which film.
        film: usize,
        /// Its verdict.
        verdict: String,
        /// The other one.
        other: String,
    },
}

/// Runs every golden film through quality, preprocessing, network and decision.
///
/// # Errors
/// With the first film whose answer lies outside the tolerance.
pub fn self_test(golden: &Golden, manifest: &Manifest, classifier: &mut dyn Classifier) -> Result<(), SelfTestError> {
    self_test_within(Duration::MAX, golden, manifest, classifier).map(|_| ())
}

/// As [`self_test`], but asks no further film once `budget` is used up; how many were asked, at least one.
///
/// For every start: a board that is slow must not stand still because its bundle brings many films.
///
/// # Errors
/// With the first film whose answer lies outside the tolerance.
pub fn self_test_within(
    budget: Duration,
    golden: &Golden,
    manifest: &Manifest,
    classifier: &mut dyn Classifier,
) -> Result<usize, SelfTestError> {
    let start = Instant::now();
    let mut asked = 0;
    for (film, golden_film) in golden.films.iter().enumerate() {
        if film > 0 && start.elapsed() >= budget {
            break;
        }
        let (output, reading) = answer(film, &golden_film.image, manifest, classifier)?;
        golden_film.expected.compare(film, &AnswerEntry::of(&output, &reading), golden.tolerance)?;
        asked += 1;
    }
    Ok(asked)
}

/// Makes golden films of `images` by asking the network itself; for whoever seals a bundle.
///
/// # Errors
/// When a picture is refused, gets no answer, or lies so close to a line that another processor's rounding could
/// change its verdict.
pub fn make_golden(
    images: Vec<GreyImage>,
    manifest: &Manifest,
    classifier: &mut dyn Classifier,
) -> Result<Golden, SelfTestError> {
    let mut films = Vec::with_capacity(images.len());
    for (film, image) in images.into_iter().enumerate() {
        let (output, reading) = answer(film, &image, manifest, classifier)?;
        let expected = AnswerEntry::of(&output, &reading);
        for nudged in nudges(&output) {
            let other = AnswerEntry::of(&nudged, &decide(&nudged, &manifest.rule));
            if (&other.verdict, &other.reason) != (&expected.verdict, &expected.reason) {
                return Err(SelfTestError::TooClose { film, verdict: expected.verdict, other: other.verdict });
            }
        }
        films.push(GoldenFilm { image, expected });
    }
    Ok(Golden { films, tolerance: TOLERANCE })
}

/// The answer moved as far as the tolerance allows, in each direction.
fn nudges(output: &ModelOutput) -> Vec<ModelOutput> {
    let mut nudged = Vec::new();
    for sign in [-1.0, 1.0] {
        for index in 0..3 {
            let mut moved = output.clone();
            // The others move the other way, which moves the probabilities furthest.
            for (position, logit) in moved.logits.iter_mut().enumerate() {
                *logit += if position == index { sign } else { -sign } * TOLERANCE.logits;
            }
            nudged.push(moved);
        }
        let mut scaled = output.clone();
        scaled.features.iter_mut().for_each(|feature| *feature *= 1.0 + sign * TOLERANCE.share);
        nudged.push(scaled);
    }
    nudged
}

fn answer(
    film: usize,
    image: &GreyImage,
    manifest: &Manifest,
    classifier: &mut dyn Classifier,
) -> Result<(ModelOutput, Reading), SelfTestError> {
    let accepted = quality::accept(Acquired::from_image(image.clone()));
    let radiograph =
        accepted.map_err(|refused| SelfTestError::Unfit { film, reason: refused.rejection.to_string() })?;
    let output = Question::of(&radiograph, manifest, classifier)
        .and_then(|question| question.put_to(classifier))
        .map_err(|source| SelfTestError::Classify { film, source })?;
    let reading = decide(&output, &manifest.rule);
    Ok((output, reading))
}
