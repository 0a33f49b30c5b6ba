//! The journal: one row a reading, written and synced before the verdict is shown.
//!
//! It keeps what was said, of which image, by which model and operating point, and when the device believed it was.
//! Every row carries the digest of the row before, so that a row changed or taken out later is found. Identifiers of
//! patients lie apart from the rows, which hold only a salted digest of them: they can be erased when they have to be,
//! and the chain stays whole. It must not know of networks, panels or wires, and reads no clock.

mod chain;
mod entry;
mod export;
mod fhir;
mod journal;
mod map;
mod outgoing;
mod told;

pub use crate::domain::{Identity, What};
pub use chain::Digest;
pub use entry::{Entry, Image, Model, Moment, Origin};
pub use export::{ExportError, rfc3339, write_csv, write_json_lines};
pub use fhir::write_fhir;
pub use journal::{Broken, Fault, Journal, JournalError, Recorded, Sound};
pub use outgoing::{Erased, QueueFigures, QueueState, Queued, Tried};
pub use told::{INTENDED_USE, Uuid, conclusion, reading_of, series_uid_of, sop_uid_of, verdict_named, verdict_words};
