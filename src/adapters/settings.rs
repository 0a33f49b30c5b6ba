//! What a person has chosen on the device, kept over restarts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::durable::{Lasting, replace};
use crate::domain::Language;

/// The file as it lies there.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFile {
    language: Option<String>,
}

/// The choices that are kept in one file.
#[derive(Debug)]
pub struct Settings {
    path: PathBuf,
}

impl Settings {
    /// Those in the file at `path`, which need not be there.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The language that was chosen; `None` when none was, or the file cannot be read, which is told to the log.
    pub fn language(&self) -> Option<Language> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                log::warn!("{}: {error}; the board file's language is spoken", self.path.display());
                return None;
            }
            Ok(text) => text,
        };
        let told = |error: &dyn std::fmt::Display| {
            log::warn!("{}: {error}; the board file's language is spoken", self.path.display());
        };
        let file: SettingsFile = toml::from_str(&text).inspect_err(|error| told(error)).ok()?;
        file.language?.parse().inspect_err(|error| told(error)).ok()
    }

    /// Keeps the language; on return it is durable.
    ///
    /// # Errors
    /// When the disk does not take it; what was chosen before stays.
    pub fn keep_language(&self, language: Language) -> io::Result<()> {
        replace(&self.path, format!("language = \"{}\"\n", language.code()).as_bytes(), Lasting::Durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_kept_and_nonsense_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        let settings = Settings::at(&path);
        assert_eq!(settings.language(), None);
        for language in Language::ALL {
            settings.keep_language(language).unwrap();
            assert_eq!(Settings::at(&path).language(), Some(language));
        }
        for nonsense in ["", "language = 7", "language = 'xx'", "colour = 'red'", "\0"] {
            fs::write(&path, nonsense).unwrap();
            assert_eq!(settings.language(), None, "{nonsense:?}");
        }
    }
}
