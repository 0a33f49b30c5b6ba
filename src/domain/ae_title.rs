//! Names of DICOM application entities.

use std::fmt;
use std::str::FromStr;

/// Application Entity title: 1 to 16 printable ASCII characters without backslash, no space at either end
/// (PS3.5 6.2, AE).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AeTitle(String);

/// A text that is no application entity title.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no AE title, expected 1 to 16 printable ASCII characters, no backslash, no space at either end")]
pub struct AeTitleError(String);

impl AeTitle {
    /// As written, without padding.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AeTitle {
    type Err = AeTitleError;

    fn from_str(text: &str) -> Result<Self, AeTitleError> {
        let printable = text.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b'\\');
        if printable && (1..=16).contains(&text.len()) && text.trim() == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(AeTitleError(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_short_and_printable() {
        for title in ["X", "LIGHTBOX", "XRAY ROOM 1", "ABCDEFGHIJKLMNOP"] {
            assert_eq!(title.parse::<AeTitle>().unwrap().as_str(), title);
        }
        for bad in ["", " ", "X ", " X", "A\\B", "A\nB", "ABCDEFGHIJKLMNOPQ", "RÖNTGEN"] {
            assert!(bad.parse::<AeTitle>().is_err(), "{bad:?}");
        }
        let told = "A\\B".parse::<AeTitle>().unwrap_err().to_string();
        assert!(told.starts_with("\"A\\\\B\" is no AE title, expected 1 to 16 printable"), "{told}");
    }
}
