//! What is said of a film, and why nothing more is said.

use std::fmt;

use super::{Finding, Probabilities};

/// Why a film was rejected or left undecided: one code, the same on the screen, in JSON and in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    // The file
    /// Nothing there, or not allowed to read it.
    CannotOpen,
    /// A directory, a device, a socket.
    NotAFile,
    /// Zero bytes.
    EmptyFile,
    /// More bytes than are ever read.
    FileTooLarge,
    /// No format that is known.
    UnknownFormat,
    /// Ends too early or contradicts itself.
    Corrupt,
    /// Coded in a way that cannot be decoded here.
    UnsupportedEncoding,
    /// A DICOM object without a picture.
    NoPixelData,
    /// Zero rows or columns, or lengths that do not fit them.
    BadDimensions,
    /// More pixels than are ever decoded.
    ImageTooLarge,
    /// The process that decodes it crashed or ran out of its memory.
    DecoderStopped,
    /// Decoding took longer than it may.
    DecoderTimeout,
    // What it shows, as the file says
    /// CT, MR, ultrasound …
    WrongModality,
    /// Another part of the body.
    WrongBodyPart,
    /// Taken from the side.
    LateralView,
    // What it shows, as the picture says
    /// Too few pixels to see anything.
    TooSmall,
    /// Far longer than wide or the reverse.
    BadShape,
    /// (Nearly) one grey.
    Blank,
    /// Most of the picture burnt out or black.
    Clipped,
    /// Colours: a photograph.
    ColourPicture,
    /// No lungs where a frontal chest film has them.
    LungsNotFound,
    /// Unlike the films that the network has learned from.
    OutOfDistribution,
    // A photograph of a film
    /// No bright quadrilateral that could be a film on a light box.
    FilmNotFound,
    /// The film leaves the photograph.
    FilmCutOff,
    /// The film fills too little of the photograph.
    FilmTooFar,
    /// Photographed from too far aside.
    FilmSkewed,
    /// A reflection lies on the film.
    FilmGlare,
    /// The photograph is blurred.
    FilmOutOfFocus,
    /// A fine pattern of the lamp, a screen or the sensor lies over the film.
    FilmMoire,
    /// The film's clear parts are burnt out.
    FilmOverexposed,
    /// Too dark to tell the film's greys from noise.
    FilmUnderexposed,
    // The reading
    /// Neither clearly Covid-19 nor clearly not.
    BetweenThresholds,
    /// Not Covid-19, but pneumonia and normal are too close.
    PneumoniaOrNormal,
    /// The network gave something that is no number.
    ModelFault,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 34] = [
        Self::CannotOpen,
        Self::NotAFile,
        Self::EmptyFile,
        Self::FileTooLarge,
        Self::UnknownFormat,
        Self::Corrupt,
        Self::UnsupportedEncoding,
        Self::NoPixelData,
        Self::BadDimensions,
        Self::ImageTooLarge,
        Self::DecoderStopped,
        Self::DecoderTimeout,
        Self::WrongModality,
        Self::WrongBodyPart,
        Self::LateralView,
        Self::TooSmall,
        Self::BadShape,
        Self::Blank,
        Self::Clipped,
        Self::ColourPicture,
        Self::LungsNotFound,
        Self::OutOfDistribution,
        Self::FilmNotFound,
        Self::FilmCutOff,
        Self::FilmTooFar,
        Self::FilmSkewed,
        Self::FilmGlare,
        Self::FilmOutOfFocus,
        Self::FilmMoire,
        Self::FilmOverexposed,
        Self::FilmUnderexposed,
        Self::BetweenThresholds,
        Self::PneumoniaOrNormal,
        Self::ModelFault,
    ];

    /// The reason that has this code.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// The code in JSON lines and records; never renamed.
    pub fn code(self) -> &'static str {
        match self {
            Self::CannotOpen => "cannot-open",
            Self::NotAFile => "not-a-file",
            Self::EmptyFile => "empty-file",
            Self::FileTooLarge => "file-too-large",
            Self::UnknownFormat => "unknown-format",
            Self::Corrupt => "corrupt",
            Self::UnsupportedEncoding => "unsupported-encoding",
            Self::NoPixelData => "no-pixel-data",
            Self::BadDimensions => "bad-dimensions",
            Self::ImageTooLarge => "image-too-large",
            Self::DecoderStopped => "decoder-stopped",
            Self::DecoderTimeout => "decoder-timeout",
            Self::WrongModality => "wrong-modality",
            Self::WrongBodyPart => "wrong-body-part",
            Self::LateralView => "lateral-view",
            Self::TooSmall => "too-small",
            Self::BadShape => "bad-shape",
            Self::Blank => "blank",
            Self::Clipped => "clipped",
            Self::ColourPicture => "colour-picture",
            Self::LungsNotFound => "lungs-not-found",
            Self::OutOfDistribution => "out-of-distribution",
            Self::FilmNotFound => "film-not-found",
            Self::FilmCutOff => "film-cut-off",
            Self::FilmTooFar => "film-too-far",
            Self::FilmSkewed => "film-skewed",
            Self::FilmGlare => "film-glare",
            Self::FilmOutOfFocus => "film-out-of-focus",
            Self::FilmMoire => "film-moire",
            Self::FilmOverexposed => "film-overexposed",
            Self::FilmUnderexposed => "film-underexposed",
            Self::BetweenThresholds => "between-thresholds",
            Self::PneumoniaOrNormal => "pneumonia-or-normal",
            Self::ModelFault => "model-fault",
        }
    }

    /// In plain words, for the person in front of the panel: at most 44 characters.
    pub fn words(self) -> &'static str {
        match self {
            Self::CannotOpen => "The file cannot be opened",
            Self::NotAFile => "This is not a file",
            Self::EmptyFile => "The file is empty",
            Self::FileTooLarge => "The file is too large",
            Self::UnknownFormat => "Not an image format known here",
            Self::Corrupt => "The file is damaged or cut short",
            Self::UnsupportedEncoding => "Encoding not supported",
            Self::NoPixelData => "The DICOM object has no picture",
            Self::BadDimensions => "Rows or columns make no sense",
            Self::ImageTooLarge => "The picture is too large",
            Self::DecoderStopped => "The file made the decoder fail",
            Self::DecoderTimeout => "Decoding the file took too long",
            Self::WrongModality => "Not a plain radiograph",
            Self::WrongBodyPart => "Not a radiograph of the chest",
            Self::LateralView => "Lateral view",
            Self::TooSmall => "The picture is too small",
            Self::BadShape => "The picture is too long or too narrow",
            Self::Blank => "The picture shows nothing",
            Self::Clipped => "Over- or underexposed",
            Self::ColourPicture => "A colour picture, not a film",
            Self::LungsNotFound => "No lungs where a chest film has them",
            Self::OutOfDistribution => "Unlike the chest films learned from",
            Self::FilmNotFound => "No film on a light box found",
            Self::FilmCutOff => "The film is cut off",
            Self::FilmTooFar => "The film is too far away",
            Self::FilmSkewed => "The film is seen from the side",
            Self::FilmGlare => "A reflection lies on the film",
            Self::FilmOutOfFocus => "The photograph is blurred",
            Self::FilmMoire => "Fine stripes lie over the film",
            Self::FilmOverexposed => "The photograph is too bright",
            Self::FilmUnderexposed => "The photograph is too dark",
            Self::BetweenThresholds => "Not clearly Covid-19, not clearly without",
            Self::PneumoniaOrNormal => "Pneumonia or normal: too close to call",
            Self::ModelFault => "The model gave no usable answer",
        }
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::CannotOpen | Self::NotAFile => "Check the path and the permissions",
            Self::EmptyFile | Self::Corrupt | Self::BadDimensions | Self::DecoderStopped => {
                "Export or send the film again"
            }
            Self::FileTooLarge | Self::ImageTooLarge | Self::DecoderTimeout => "Export the film at a smaller size",
            Self::UnknownFormat => "Use DICOM, PNG, JPEG, TIFF or BMP",
            Self::UnsupportedEncoding => "Export uncompressed or as JPEG",
            Self::NoPixelData => "Send the image, not the report",
            Self::WrongModality | Self::WrongBodyPart | Self::LungsNotFound | Self::OutOfDistribution => {
                "Use a frontal chest radiograph"
            }
            Self::LateralView => "Use the PA or AP view",
            Self::TooSmall => "Export the film at full size",
            Self::BadShape => "Use the whole film, uncropped",
            Self::Blank | Self::Clipped => "Check the exposure and take it again",
            Self::ColourPicture => "Photograph the film alone, without colour",
            Self::FilmNotFound => "Put the whole film on the light box",
            Self::FilmCutOff => "Move back until all four edges show",
            Self::FilmTooFar => "Move closer until the film fills the view",
            Self::FilmSkewed => "Hold the camera straight before the film",
            Self::FilmGlare => "Switch room lights off or move aside",
            Self::FilmOutOfFocus => "Hold still, focus, take it again",
            Self::FilmMoire => "Move a little closer or farther away",
            Self::FilmOverexposed => "Shorten the exposure, take it again",
            Self::FilmUnderexposed => "Lengthen the exposure, take it again",
            Self::BetweenThresholds | Self::PneumoniaOrNormal => "Refer to a clinician; consider a PCR test",
            Self::ModelFault => "Call the technician; do not use this result",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A film that is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// What was found and what was expected.
    pub detail: String,
}

impl Rejection {
    /// `detail` says what was found and what was expected.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// A film that was read without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// [`Reason::BetweenThresholds`].
    BetweenThresholds,
    /// [`Reason::PneumoniaOrNormal`].
    PneumoniaOrNormal,
    /// [`Reason::ModelFault`].
    ModelFault,
}

impl Doubt {
    /// As a code.
    pub fn reason(self) -> Reason {
        match self {
            Self::BetweenThresholds => Reason::BetweenThresholds,
            Self::PneumoniaOrNormal => Reason::PneumoniaOrNormal,
            Self::ModelFault => Reason::ModelFault,
        }
    }
}

/// What is said of a film.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One of the findings.
    Found(Finding),
    /// Cannot say.
    Indeterminate(Doubt),
    /// Was not read.
    Rejected(Rejection),
}

impl Verdict {
    /// The name in JSON lines and records.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Found(finding) => finding.name(),
            Self::Indeterminate(_) => "indeterminate",
            Self::Rejected(_) => "rejected",
        }
    }

    /// Why nothing more is said; `None` for a finding.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Found(_) => None,
            Self::Indeterminate(doubt) => Some(doubt.reason()),
            Self::Rejected(rejection) => Some(rejection.reason),
        }
    }

    /// In plain words, for a person.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Found(Finding::Covid19) => "Covid-19 suspected",
            Self::Found(Finding::Pneumonia) => "Other pneumonia suspected",
            Self::Found(Finding::Normal) => "No pneumonia seen",
            Self::Indeterminate(_) => "Cannot say",
            Self::Rejected(_) => "Not read",
        }
    }
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What is said.
    pub verdict: Verdict,
    /// Calibrated; `None` when the film was not read.
    pub probabilities: Option<Probabilities>,
    /// Whether Covid-19 was called; `None` when that is open.
    pub covid_positive: Option<bool>,
}

impl Reading {
    /// The reading of a film that was not read.
    pub fn rejected(rejection: Rejection) -> Self {
        Self { verdict: Verdict::Rejected(rejection), probabilities: None, covid_positive: None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_code_of_its_own_and_short_words() {
        let codes: HashSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(reason.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{reason}");
            assert!(reason.words().chars().count() <= 44, "{reason}: {}", reason.words());
            assert!(reason.advice().chars().count() <= 44, "{reason}: {}", reason.advice());
        }
    }

    #[test]
    fn only_a_finding_is_without_a_reason() {
        assert_eq!(Verdict::Found(Finding::Normal).reason(), None);
        let doubt = Verdict::Indeterminate(Doubt::BetweenThresholds);
        assert_eq!((doubt.name(), doubt.reason()), ("indeterminate", Some(Reason::BetweenThresholds)));
        let rejected = Reading::rejected(Rejection::new(Reason::EmptyFile, "0 bytes"));
        assert_eq!((rejected.verdict.name(), rejected.covid_positive), ("rejected", None));
    }
}
