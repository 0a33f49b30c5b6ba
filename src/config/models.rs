//! The table `[models]`: where the device's models are kept, and by which rules they are accepted and tried.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Check, ConfigError};

/// The table as typed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelsTable {
    store: Option<PathBuf>,
    allow_unaudited: Option<bool>,
    allow_test_keys: Option<bool>,
    trial_starts: Option<i64>,
    confirm_after_readings: Option<i64>,
    replay_cases: Option<i64>,
}

/// Where the device's models are kept, and by which rules they are accepted and tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelsConfig {
    /// The folder; `None` for the usual one.
    pub store: Option<PathBuf>,
    /// Whether bundles without audit figures are taken.
    pub allow_unaudited: bool,
    /// Whether signatures by test keys count.
    pub allow_test_keys: bool,
    /// How many starts a model on trial has to be confirmed in, 1 to 255.
    pub trial_starts: u8,
    /// After how many readings without a fault it is confirmed; `None` when only a person does that.
    pub confirm_after_readings: Option<u32>,
    /// How many of the last cases are read again before that.
    pub replay_cases: usize,
}

impl Default for ModelsConfig {
    fn default() -> Self {
        Self {
            store: None,
            allow_unaudited: false,
            allow_test_keys: false,
            trial_starts: 3,
            confirm_after_readings: None,
            replay_cases: 20,
        }
    }
}

impl ModelsTable {
    pub(super) fn usable(self, check: &Check) -> Result<ModelsConfig, ConfigError> {
        if self.store.as_ref().is_some_and(|store| store.as_os_str().is_empty()) {
            return Err(check.refused("models.store", "empty", "the path of a folder"));
        }
        let usual = ModelsConfig::default();
        let readings = self.confirm_after_readings.map(|typed| {
            check.number("models.confirm_after_readings", Some(typed), 1, 1, 100_000).map(|number| number as u32)
        });
        let (starts, cases) = (u64::from(usual.trial_starts), usual.replay_cases as u64);
        Ok(ModelsConfig {
            store: self.store,
            allow_unaudited: self.allow_unaudited.unwrap_or(usual.allow_unaudited),
            allow_test_keys: self.allow_test_keys.unwrap_or(usual.allow_test_keys),
            trial_starts: check.number("models.trial_starts", self.trial_starts, starts, 1, 255)? as u8,
            confirm_after_readings: readings.transpose()?,
            replay_cases: check.number("models.replay_cases", self.replay_cases, cases, 0, 1000)? as usize,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn usable(text: &str) -> Result<ModelsConfig, ConfigError> {
        let table: ModelsTable = toml::from_str(text).expect("TOML");
        table.usable(&Check { path: Path::new("l.toml") })
    }

    #[test]
    fn an_empty_table_is_the_usual_one() {
        assert_eq!(usable("").expect("usable"), ModelsConfig::default());
    }

    #[test]
    fn every_key_is_taken_over() {
        let text = "store = '/m'\nallow_unaudited = true\nallow_test_keys = true\ntrial_starts = 5\n\
                    confirm_after_readings = 20\nreplay_cases = 0\n";
        let expected = ModelsConfig {
            store: Some("/m".into()),
            allow_unaudited: true,
            allow_test_keys: true,
            trial_starts: 5,
            confirm_after_readings: Some(20),
            replay_cases: 0,
        };
        assert_eq!(usable(text).expect("usable"), expected);
    }

    #[test]
    fn what_cannot_be_is_named_with_its_range() {
        for (line, message) in [
            ("store = ''", "models.store is empty, expected the path of a folder"),
            ("trial_starts = 0", "models.trial_starts is 0, expected 1 to 255"),
            ("confirm_after_readings = 0", "models.confirm_after_readings is 0, expected 1 to 100000"),
            ("replay_cases = 1001", "models.replay_cases is 1001, expected 0 to 1000"),
        ] {
            assert_eq!(usable(line).expect_err("refused").to_string(), format!("l.toml: {message}"));
        }
    }
}
