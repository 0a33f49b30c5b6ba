//! One radiograph's way from a decoded picture to a reading, as steps.

use std::time::{Duration, Instant};

use crate::bundle::Manifest;
use crate::domain::{Acquired, Doubt, Finding, Reading, Rejection, SaliencyMap, Verdict, Window};
use crate::pipeline::{decide::decide, preprocess::preprocess, quality};
use crate::ports::Classifier;

/// What became of one film.
#[derive(Debug)]
pub struct Screened {
    /// The verdict and what it rests on.
    pub reading: Reading,
    /// The picture, read or not; `None` when there never was one.
    pub picture: Option<Acquired>,
    /// Where the network looked, for the finding that the screen shows, and which part of the film it saw.
    pub saliency: Option<(SaliencyMap, Window)>,
    /// How long preprocessing took.
    pub preprocess: Duration,
    /// How long the network took.
    pub infer: Duration,
}

/// Reads one film: quality, preprocessing, network, decision.
///
/// A picture that could not be acquired or is not fit becomes a rejection; a network that gives no answer becomes an
/// indeterminate reading with [`Doubt::ModelFault`], and the error goes to the log.
pub fn screen(acquired: Result<Acquired, Rejection>, manifest: &Manifest, classifier: &mut dyn Classifier) -> Screened {
    let unread = |reading, picture| Screened {
        reading,
        picture,
        saliency: None,
        preprocess: Duration::ZERO,
        infer: Duration::ZERO,
    };
    let film = match acquired.map(quality::accept) {
        Ok(Ok(film)) => film,
        Ok(Err(refused)) => return unread(Reading::rejected(refused.rejection), Some(refused.acquired)),
        Err(rejection) => return unread(Reading::rejected(rejection), None),
    };
    let start = Instant::now();
    let input = preprocess(&film, &manifest.input);
    let preprocess = start.elapsed();
    let start = Instant::now();
    let output = match classifier.classify(&input) {
        Ok(output) => output,
        Err(error) => {
            log::error!("{error}");
            let verdict = Verdict::Indeterminate(Doubt::ModelFault);
            return unread(Reading { verdict, probabilities: None, covid_positive: None }, Some(film.into_acquired()));
        }
    };
    let infer = start.elapsed();
    let reading = decide(&output, &manifest.rule);
    let saliency = shown_finding(&reading).map(|finding| (output.map(finding).clone(), input.window));
    Screened { reading, picture: Some(film.into_acquired()), saliency, preprocess, infer }
}

/// The finding whose map explains the reading: the one found, else the likeliest that was weighed.
fn shown_finding(reading: &Reading) -> Option<Finding> {
    if let Verdict::Found(finding) = reading.verdict {
        return Some(finding);
    }
    let probabilities = reading.probabilities?;
    Finding::ALL.into_iter().max_by(|a, b| probabilities.of(*a).get().total_cmp(&probabilities.of(*b).get()))
}
