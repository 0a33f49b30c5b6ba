//! Unique identifiers of DICOM objects.

use std::fmt;
use std::str::FromStr;

/// SOP Instance UID: names one DICOM object in all the world.
///
/// Whoever has one knows that it holds 1 to 64 digits and dots and no empty component (PS3.5 9.1). A leading zero of a
/// component is against the standard but found in the field, and is let pass.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SopInstanceUid(String);

/// A text that is no unique identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UidError {
    /// Nothing there.
    #[error("an empty unique identifier, expected 1 to 64 digits and dots")]
    Empty,
    /// More than 64 bytes.
    #[error("a unique identifier of {0} bytes, expected at most 64")]
    TooLong(usize),
    /// Something that is neither digit nor dot.
    #[error("{found:?} at byte {at} of a unique identifier, expected a digit or a dot")]
    Character {
        /// What stands there.
        found: char,
        /// Where.
        at: usize,
    },
    /// Two dots in a row, or one at an end.
    #[error("component {0} of a unique identifier is empty")]
    EmptyComponent(usize),
}

impl SopInstanceUid {
    /// The longest in bytes (PS3.5 9.1).
    pub const MAX_BYTES: usize = 64;

    /// As written, without padding.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SopInstanceUid {
    type Err = UidError;

    fn from_str(text: &str) -> Result<Self, UidError> {
        if text.is_empty() {
            return Err(UidError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(UidError::TooLong(text.len()));
        }
        if let Some((at, found)) = text.char_indices().find(|(_, c)| !matches!(c, '0'..='9' | '.')) {
            return Err(UidError::Character { found, at });
        }
        match text.split('.').position(str::is_empty) {
            Some(index) => Err(UidError::EmptyComponent(index + 1)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for SopInstanceUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(text.parse::<SopInstanceUid>().unwrap_err().to_string(), expected);
    }

    #[test]
    fn digits_and_dots_are_a_unique_identifier() {
        for text in ["1", "1.2.840.10008.5.1.4.1.1.1", "2.25.0", "1.02", &"1".repeat(64)] {
            assert_eq!(text.parse::<SopInstanceUid>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_no_unique_identifier_is_told_by_its_fault() {
        check("", "an empty unique identifier, expected 1 to 64 digits and dots");
        check(&"1".repeat(65), "a unique identifier of 65 bytes, expected at most 64");
        check("1.2/3", "'/' at byte 3 of a unique identifier, expected a digit or a dot");
        check("../../etc", "'/' at byte 2 of a unique identifier, expected a digit or a dot");
        check("1.2\0", "'\\0' at byte 3 of a unique identifier, expected a digit or a dot");
        check("1..2", "component 2 of a unique identifier is empty");
        check(".1", "component 1 of a unique identifier is empty");
        check("1.", "component 2 of a unique identifier is empty");
        check("..", "component 1 of a unique identifier is empty");
    }
}
