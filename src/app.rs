//! One radiograph's way from a decoded picture to a reading, as steps.

use std::time::{Duration, Instant};

use crate::bundle::Manifest;
use crate::domain::{
    Acquired, Doubt, Finding, ModelInput, ModelOutput, Radiograph, Reading, Rejection, SaliencyMap, Verdict, Window,
};
use crate::pipeline::decide::decide;
use crate::pipeline::preprocess::{preprocess, preprocess_part};
use crate::pipeline::quality;
use crate::ports::{Classifier, ClassifyError};

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
    let mut classifier = Timed { classifier, spent: Duration::ZERO };
    let answer = Question::of(&film, manifest, &mut classifier).and_then(|question| {
        let window = question.input.window;
        Ok((question.put_to(&mut classifier)?, window))
    });
    let infer = classifier.spent;
    let preprocess = start.elapsed().saturating_sub(infer);
    let (output, window) = match answer {
        Ok(answer) => answer,
        Err(error) => {
            log::error!("{error}");
            let verdict = Verdict::Indeterminate(Doubt::ModelFault);
            return unread(Reading { verdict, probabilities: None, covid_positive: None }, Some(film.into_acquired()));
        }
    };
    let reading = decide(&output, &manifest.rule);
    let saliency = shown_finding(&reading).map(|finding| (output.map(finding).clone(), window));
    Screened { reading, picture: Some(film.into_acquired()), saliency, preprocess, infer }
}

/// What a network is asked about a film.
///
/// A model that judges the lungs alone looks twice, with the same network: at the film, which says where the lungs are and
/// whether it is like those learned from, and then at the lungs.
#[derive(Debug)]
pub struct Question {
    /// What is to be judged: the whole film, or its lungs.
    pub input: ModelInput,
    /// The part of the film that the first look was at.
    pub whole: Window,
    /// Of the first look, where there was one.
    features: Option<Vec<f32>>,
}

impl Question {
    /// Looks for the lungs where `manifest` asks for that. Where they are not found the question is about the film as it
    /// is, and [`decide`] refuses the answer.
    ///
    /// # Errors
    /// As [`Classifier::classify`].
    pub fn of(film: &Radiograph, manifest: &Manifest, classifier: &mut dyn Classifier) -> Result<Self, ClassifyError> {
        let input = preprocess(film, &manifest.input);
        let whole = input.window;
        let Some(locator) = manifest.rule.lungs.as_ref().filter(|locator| locator.margin().is_some()) else {
            return Ok(Self { input, whole, features: None });
        };
        let features = classifier.features(&input)?;
        let input = match locator.crop(&features, &whole) {
            Some(part) => preprocess_part(film, &manifest.input, part),
            None => input,
        };
        Ok(Self { input, whole, features: Some(features) })
    }

    /// A question about a part of the film that is known already.
    pub fn of_part(film: &Radiograph, manifest: &Manifest, part: Window) -> Self {
        Self { input: preprocess_part(film, &manifest.input, part), whole: part, features: None }
    }

    /// The answer: what the network says of the input, and the features of the film as a whole.
    ///
    /// # Errors
    /// As [`Classifier::classify`].
    pub fn put_to(self, classifier: &mut dyn Classifier) -> Result<ModelOutput, ClassifyError> {
        let mut output = classifier.classify(&self.input)?;
        if let Some(features) = self.features {
            output.features = features;
        }
        Ok(output)
    }
}

/// Measures how long a network takes.
struct Timed<'a> {
    classifier: &'a mut dyn Classifier,
    spent: Duration,
}

impl Timed<'_> {
    fn ask<T>(&mut self, question: impl FnOnce(&mut dyn Classifier) -> T) -> T {
        let start = Instant::now();
        let answer = question(self.classifier);
        self.spent += start.elapsed();
        answer
    }
}

impl Classifier for Timed<'_> {
    fn classify(&mut self, input: &ModelInput) -> Result<ModelOutput, ClassifyError> {
        self.ask(|classifier| classifier.classify(input))
    }

    fn features(&mut self, input: &ModelInput) -> Result<Vec<f32>, ClassifyError> {
        self.ask(|classifier| classifier.features(input))
    }
}

/// The finding whose map explains the reading: the one found, else the likeliest that was weighed.
fn shown_finding(reading: &Reading) -> Option<Finding> {
    if let Verdict::Found(finding) = reading.verdict {
        return Some(finding);
    }
    let probabilities = reading.probabilities?;
    Finding::ALL.into_iter().max_by(|a, b| probabilities.of(*a).get().total_cmp(&probabilities.of(*b).get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::manifest::OutputsEntry;
    use crate::domain::{
        Channels, DecisionRule, Fit, GreyImage, GreyScale, InputSpec, LungLocator, OperatingPoint, Reason,
    };

    /// Answers by how bright the first and the last pixel are, and says that the lungs end at `features`.
    struct Looks {
        features: f32,
        at: Vec<Window>,
        /// How often it was asked for the whole answer.
        answers: usize,
    }

    impl Classifier for Looks {
        fn classify(&mut self, input: &ModelInput) -> Result<ModelOutput, ClassifyError> {
            self.at.push(input.window);
            self.answers += 1;
            let (first, last) = (input.values[0], input.values[input.values.len() - 1]);
            let map = SaliencyMap { width: 1, height: 1, values: vec![1.0] };
            let features = vec![self.features + (self.at.len() - 1) as f32];
            Ok(ModelOutput { logits: [first, last, 0.0], maps: [map.clone(), map.clone(), map], features })
        }

        fn features(&mut self, input: &ModelInput) -> Result<Vec<f32>, ClassifyError> {
            self.at.push(input.window);
            Ok(vec![self.features + (self.at.len() - 1) as f32])
        }
    }

    fn manifest(margin: Option<f32>) -> Manifest {
        // The feature is the lower edge of both lungs.
        let mut weights = vec![vec![0.0]; 8];
        (weights[3], weights[7]) = (vec![1.0], vec![1.0]);
        let offsets = [0.25, 0.25, 0.45, 0.0, 0.55, 0.25, 0.75, 0.0];
        let lungs = LungLocator::new(weights, &offsets, [0.1, 0.5], [0.3, 0.9]).expect("usable");
        let lungs = match margin {
            Some(margin) => lungs.with_margin(margin).expect("usable"),
            None => lungs,
        };
        let (mean, std) = (vec![0.0], vec![1.0]);
        Manifest {
            name: "two-looks".into(),
            version: "1.0.0".into(),
            input: InputSpec::new(64, 64, Fit::Stretch, 0.0, GreyScale::AsShown, Channels::Grey, mean, std)
                .expect("usable"),
            input_name: "image".into(),
            outputs: OutputsEntry { logits: "l".into(), maps: "m".into(), features: "f".into() },
            positions: [0, 1, 2],
            rule: DecisionRule {
                temperature: 1.0,
                operating_point: OperatingPoint::new(0.2, 0.7, 0.4, 0.6).expect("in order"),
                novelty: None,
                lungs: Some(lungs),
            },
        }
    }

    /// Brighter from left to right and, less so, from top to bottom.
    fn film() -> Acquired {
        let greys = (0..256 * 256u32).map(|i| ((i % 256) * 200 + (i / 256) * 40) as u16).collect();
        Acquired::from_image(GreyImage::new(256, 256, greys).expect("sizes fit"))
    }

    const WHOLE: Window = Window { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 };

    #[test]
    fn a_model_of_the_lungs_looks_at_the_film_and_then_at_the_lungs_and_answers_of_both() {
        let mut looks = Looks { features: 0.75, at: Vec::new(), answers: 0 };
        let screened = screen(Ok(film()), &manifest(Some(0.0)), &mut looks);
        let lungs = Window { left: 0.25, top: 0.25, right: 0.75, bottom: 0.75 };
        assert_eq!((looks.at, looks.answers), (vec![WHOLE, lungs], 1));
        // The map is of the lungs; the answer is not that on the film's corners, of which the first is black.
        assert_eq!(screened.saliency.map(|(_, window)| window), Some(lungs));
        let expected = crate::domain::Probabilities::from_logits([0.235, 0.703, 0.0], 1.0).expect("numbers");
        let found = screened.reading.probabilities.expect("an answer");
        for finding in Finding::ALL {
            assert!((found.of(finding).get() - expected.of(finding).get()).abs() < 0.01, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn a_film_on_which_no_lungs_are_found_is_refused_and_never_judged_as_a_whole() {
        let mut looks = Looks { features: 0.3, at: Vec::new(), answers: 0 };
        let screened = screen(Ok(film()), &manifest(Some(0.1)), &mut looks);
        let Verdict::Rejected(rejection) = screened.reading.verdict else { panic!("{:?}", screened.reading) };
        assert_eq!(rejection.reason, Reason::LungsNotFound);
        assert_eq!(screened.reading.probabilities, None);
    }

    #[test]
    fn a_model_of_whole_films_looks_once() {
        let mut looks = Looks { features: 0.75, at: Vec::new(), answers: 0 };
        screen(Ok(film()), &manifest(None), &mut looks);
        assert_eq!((looks.at, looks.answers), (vec![WHOLE], 1));
    }
}
