//! The few things the house needs from outside; the adapters provide them.

use crate::domain::{ModelInput, ModelOutput};

/// A network that reads prepared films.
pub trait Classifier {
    /// # Errors
    /// When the network cannot be run on `input` or answers in another shape than expected.
    fn classify(&mut self, input: &ModelInput) -> Result<ModelOutput, ClassifyError>;
}

/// A network that did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the network gave no answer: {0}")]
pub struct ClassifyError(pub String);
