//! What is known of a model before it is installed, line by line, and what changes from one model to the next.
//!
//! Each line is about a closed set of things and says one of a closed set of things, so that a screen can say it in any
//! language. `Display` gives the English of the command line and the keys of its JSON.

use std::fmt;

use super::{AuditFigure, InputSpec};

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Name and version.
    Model,
    /// The number that the ratchet goes by.
    BundleVersion,
    /// Digest of the whole file.
    BundleDigest,
    /// The oldest program that reads with it as it was audited.
    MinimumProgram,
    /// A signature, by the identifier of its key.
    Signature(String),
    /// Digest of the network.
    NetworkDigest,
    /// What the network is shown of a film.
    Input,
    /// By what the network's answer is divided before it is a probability.
    Temperature,
    /// Covid-19 is not ruled out from here on.
    RuleOut,
    /// Covid-19 is suspected from here on.
    RuleIn,
    /// Another pneumonia is suspected where the share of normal lies below.
    PneumoniaBelow,
    /// No pneumonia is seen where the share of normal lies above.
    NormalAbove,
    /// How unlike those learned from a film may be.
    NoveltyLimit,
    /// Whether it looks for the lungs, and refuses films without.
    FindsLungs,
    /// What of the film is judged.
    Judges,
    /// How many films with known answers it brings.
    GoldenFilms,
    /// That nobody has audited it.
    Audit,
    /// A figure of its audit, by name.
    Figure(String),
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model => f.write_str("model"),
            Self::BundleVersion => f.write_str("bundle version"),
            Self::BundleDigest => f.write_str("bundle sha256"),
            Self::MinimumProgram => f.write_str("minimum program"),
            Self::Signature(key) => write!(f, "signed by {key}"),
            Self::NetworkDigest => f.write_str("network sha256"),
            Self::Input => f.write_str("input"),
            Self::Temperature => f.write_str("temperature"),
            Self::RuleOut => f.write_str("rule_out"),
            Self::RuleIn => f.write_str("rule_in"),
            Self::PneumoniaBelow => f.write_str("pneumonia_below"),
            Self::NormalAbove => f.write_str("normal_above"),
            Self::NoveltyLimit => f.write_str("novelty limit"),
            Self::FindsLungs => f.write_str("finds the lungs"),
            Self::Judges => f.write_str("judges"),
            Self::GoldenFilms => f.write_str("golden films"),
            Self::Audit => f.write_str("audit"),
            Self::Figure(name) => write!(f, "audit: {name}"),
        }
    }
}

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// A name or a version, the same in every language.
    Text(String),
    /// A SHA-256 in hexadecimal.
    Digest(String),
    /// How many.
    Count(u64),
    /// A number without a unit.
    Number(f32),
    /// A probability from 0 to 1.
    Share(f32),
    /// Yes or no.
    Is(bool),
    /// There is none.
    Nothing,
    /// Who signed.
    Signer {
        /// Name of the key.
        name: String,
        /// Name of what it may sign.
        role: &'static str,
        /// Whether it has been revoked since.
        revoked: bool,
    },
    /// What the network is shown.
    Input(InputSpec),
    /// The whole film.
    Film,
    /// The lungs, and so much of the film around them.
    Lungs {
        /// As a fraction of the film.
        margin: f32,
    },
    /// A figure of an audit.
    Figure(AuditFigure),
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Digest(text) => f.write_str(text),
            Self::Count(count) => count.fmt(f),
            Self::Number(number) | Self::Share(number) => number.fmt(f),
            Self::Is(true) => f.write_str("yes"),
            Self::Is(false) => f.write_str("no"),
            Self::Nothing => f.write_str("none"),
            Self::Signer { name, role, revoked } => {
                write!(f, "{name} ({role} key{})", if *revoked { ", revoked since" } else { "" })
            }
            Self::Input(input) => {
                let (shape, fit, scale) = (input.shape(), input.fit(), input.grey_scale());
                write!(f, "{shape:?}, {fit:?}, {scale:?}, border {}", input.border())
            }
            Self::Film => f.write_str("the film"),
            Self::Lungs { margin } => write!(f, "the lungs, margin {margin}"),
            Self::Figure(figure) => figure.fmt(f),
        }
    }
}

/// One thing that differs between two models.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What it is about.
    pub topic: Topic,
    /// `None` where it was not there.
    pub before: Option<Told>,
    /// `None` where it is gone.
    pub after: Option<Told>,
}
