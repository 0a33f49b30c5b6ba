//! Ground floor: what the house talks about. No I/O, no clock, no tract, no drawing.

mod ae_title;
mod audit;
mod change;
mod finding;
mod frame;
mod key;
mod language;
mod lungs;
mod novelty;
mod outgoing;
mod radiograph;
mod rotation;
mod tensor;
mod uid;
mod verdict;

pub use ae_title::{AeTitle, AeTitleError};
pub use audit::{AuditFigure, Films, Measure};
pub use change::{Change, Told, Topic};
pub use finding::{
    DecisionRule, Finding, OperatingPoint, OperatingPointError, Probabilities, Probability, ProbabilityError,
};
pub use frame::Frame;
pub use key::{Key, LampRole, Light};
pub use language::{Language, LanguageError};
pub use lungs::{LungLocator, LungLocatorError, Lungs, Region};
pub use novelty::{Novelty, NoveltyError};
pub use outgoing::{ArchiveTrouble, What};
pub use radiograph::{Acquired, GreyImage, GreyImageError, Identity, Modality, Radiograph, ViewPosition};
pub use rotation::Rotation;
pub use tensor::{Channels, Fit, GreyScale, InputSpec, InputSpecError, ModelInput, ModelOutput, SaliencyMap, Window};
pub use uid::{SopInstanceUid, UidError};
pub use verdict::{Doubt, Reading, Reason, Rejection, Verdict};
