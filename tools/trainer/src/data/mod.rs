//! Films and what is known of them: the manifest, the split, the pixels, the batches.

pub mod batches;
pub mod films;
pub mod fold;
pub mod manifest;
pub mod sampler;
pub mod split;

pub use films::Film;
pub use manifest::{DataError, Label, Row, Split};
