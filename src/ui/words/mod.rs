//! Everything the screens say, in every language.
//!
//! Each language is one file that matches every [`Phrase`] and every [`Reason`], so a missing translation does not
//! compile. What changes stands in braces by name.

mod english;
mod numbers;

use crate::domain::{Language, Reason};

macro_rules! phrases {
    ($($phrase:ident,)*) => {
        /// Something the screens say.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum Phrase { $($phrase,)* }

        impl Phrase {
            /// Every phrase.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$phrase,)*];
        }
    };
}

phrases! {
    // Verdicts, what they must not be taken for, and what to do.
    Covid19Suspected, PneumoniaSuspected, NoPneumoniaSeen, CannotSay, NotRead,
    FilmAloneDoesNotProve, DoesNotRuleOutCovid,
    AdviceCovid19, AdvicePneumonia, AdviceNormal,
    LabelCovid19, LabelPneumonia, LabelNormal,
    WhatToDo, Details, MapCaption, NoPicture, IntendedUse, SuspectedFrom, SuspectedOrCannotSay,
    // A case.
    Patient, PatientHidden, PatientNotGiven, Study, ReadAt, TimeNotVerified, Model, RecordNumber, CameBy, Why,
    ByFile, ByNetwork, ByFolder, ByDrive, ByCamera, CountOf,
    // Keys.
    KeyMap, KeyDetails, KeyVerdict, KeyNextPage, KeyNextFilm, KeyNextLine, KeyReview, KeySettings, KeyOpen, KeyChoose,
    KeyDone, KeyBack, KeyInstall, KeyDecline, KeyKeep, KeyRollBack, KeyRetry, KeyLook,
    // Starting.
    Starting, StartStorage, StartJournal, StartModel, StartSelfTest, StartIntake, Program,
    // Ready.
    Ready, ReadyAttention, NotReady, HandIn, WayNetwork, WayFolder, WayDrive, WayCamera, FilmsRead, FilmsWaiting, Time,
    PartStorage, PartJournal, PartModel, PartListener, PartFolders, PartCamera, PartArchive, PartTemperature, PartPower,
    PartClock, StorageFree, StorageNearlyFull, StorageFull, StorageFailed, JournalSound, JournalBroken, JournalFailed,
    ModelOnTrial, ModelMissing, ModelSelfTestFailed, Works, Off, Restarting, Broken, ArchiveWaiting, Celsius,
    CelsiusWarm, CelsiusHot, PowerSound, PowerLow, ClockVerified, ClockNotVerified,
    // Numbers and dates.
    Percent, BelowOnePercent, Above99Percent, Megabytes, Gigabytes, Moment,
    // Receiving and reading.
    Receiving, From, Received, FilmsReceived, Reading, StepDecode, StepCheck, StepInfer, StepRecord,
    // Past films.
    Review, ReviewEmpty,
    // Updates.
    UpdateOffered, UpdateInstalling, UpdateSelfTest, UpdateReplay, UpdateTrial, UpdateConfirmed, UpdateRolledBack,
    UpdateFailed, SignedBy, Running, NoRunning, Offered, Audit, NoAudit, Interval, Differences, NoDifferences, BecameOf,
    KeepPowerOn, CasesReadAgain, CasesChanged, NoCaseChanged, KeepOrGoBack, InForce, OldModelRuns,
    FailedDamaged, FailedNotTrusted, FailedTooOld, FailedNeedsNewerProgram, FailedUnfinished, FailedStorageFull,
    FailedStorage, FailedSelfTest, FailedReplay, FailedBootsUsedUp, FailedModelFault, FailedDeclined,
    // Faults and what to do about them.
    FaultSince, FaultRetrying, FaultNoModel, FaultSelfTest, FaultStorageFull, FaultStorage, FaultJournal,
    FaultJournalBroken, FaultListener, FaultFolder, FaultCamera, FaultPanel, FaultButtons, FaultHot, FaultProgram,
    FixNoModel, FixSelfTest, FixStorageFull, FixStorage, FixJournal, FixJournalBroken, FixListener, FixFolder, FixCamera,
    FixPanel, FixButtons, FixHot, FixProgram,
    // Settings.
    ChooseLanguage,
}

/// A reason in plain words, and what to do about it.
pub(super) struct Explained {
    /// Why.
    pub(super) words: &'static str,
    /// What to do.
    pub(super) advice: &'static str,
}

/// The words of one language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words(pub(super) Language);

impl Words {
    /// The phrase as it stands.
    pub(super) fn say(self, phrase: Phrase) -> &'static str {
        match self.0 {
            _ => english::say(phrase),
        }
    }

    /// The phrase with its names in braces replaced.
    pub(super) fn fill(self, phrase: Phrase, values: &[(&str, &str)]) -> String {
        values.iter().fold(self.say(phrase).to_owned(), |said, (name, value)| {
            said.replace(&format!("{{{name}}}"), &self.apart(value))
        })
    }

    /// A value from outside, kept from disturbing the order of the words around it.
    pub(super) fn apart(self, value: &str) -> String {
        /// First strong isolate, pop directional isolate (Unicode Standard Annex 9).
        const ISOLATE: [char; 2] = ['\u{2068}', '\u{2069}'];
        if self.0.right_to_left() && !value.is_empty() {
            format!("{}{value}{}", ISOLATE[0], ISOLATE[1])
        } else {
            value.to_owned()
        }
    }

    /// Names of the months as they stand in a date, from January.
    fn months(self) -> [&'static str; 12] {
        match self.0 {
            _ => english::MONTHS,
        }
    }

    /// Why nothing more is said, and what to do.
    pub(super) fn explain(self, reason: Reason) -> Explained {
        match self.0 {
            _ => english::explain(reason),
        }
    }
}
