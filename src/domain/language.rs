//! The languages that the screens speak.

use std::fmt;
use std::str::FromStr;

/// A language of the screens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// French.
    French,
    /// Spanish.
    Spanish,
    /// Portuguese.
    Portuguese,
    /// Swahili.
    Swahili,
    /// Vietnamese.
    Vietnamese,
    /// Hindi.
    Hindi,
    /// Arabic.
    Arabic,
}

/// A code that names none of the languages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no language of the screens: expected one of en, fr, es, pt, sw, vi, hi, ar")]
pub struct LanguageError(String);

impl Language {
    /// Every language, in the order in which they are offered.
    pub const ALL: [Self; 8] = [
        Self::English,
        Self::French,
        Self::Spanish,
        Self::Portuguese,
        Self::Swahili,
        Self::Vietnamese,
        Self::Hindi,
        Self::Arabic,
    ];

    /// The code of ISO 639-1, as it stands in the board file; never renamed.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Portuguese => "pt",
            Self::Swahili => "sw",
            Self::Vietnamese => "vi",
            Self::Hindi => "hi",
            Self::Arabic => "ar",
        }
    }

    /// What its speakers call it.
    pub fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::French => "Français",
            Self::Spanish => "Español",
            Self::Portuguese => "Português",
            Self::Swahili => "Kiswahili",
            Self::Vietnamese => "Tiếng Việt",
            Self::Hindi => "हिन्दी",
            Self::Arabic => "العربية",
        }
    }

    /// Whether it is written from right to left.
    pub fn right_to_left(self) -> bool {
        self == Self::Arabic
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Language {
    type Err = LanguageError;

    fn from_str(code: &str) -> Result<Self, LanguageError> {
        Self::ALL.into_iter().find(|language| language.code() == code).ok_or_else(|| LanguageError(code.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_is_found_by_its_code_and_by_no_other() {
        for language in Language::ALL {
            assert_eq!(language.to_string().parse(), Ok(language));
            assert_eq!(language.code().len(), 2);
            assert!(!language.own_name().is_empty());
        }
        let error = "EN".parse::<Language>().expect_err("codes are small letters");
        assert_eq!(
            error.to_string(),
            "\"EN\" is no language of the screens: expected one of en, fr, es, pt, sw, vi, hi, ar"
        );
        for language in Language::ALL {
            assert!(error.to_string().contains(language.code()), "{language}");
        }
    }
}
