//! Everything the screens say, in every language.
//!
//! Each language is one file that matches every [`Phrase`] and every [`Reason`], so a missing translation does not
//! compile. What changes stands in braces by name.

mod arabic;
mod english;
mod french;
mod hindi;
mod numbers;
mod portuguese;
mod spanish;
mod swahili;
mod vietnamese;

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
    KeyDone, KeyBack, KeyInstall, KeyDecline, KeyKeep, KeyRollBack, KeyRetry, KeyLook, KeyPhotograph,
    KeyShoot, KeyTakeAgain, KeyMore,
    // Starting.
    Starting, StartStorage, StartJournal, StartModel, StartSelfTest, StartIntake, Program,
    // Ready.
    Ready, ReadyAttention, NotReady, HandIn, WayNetwork, WayFolder, WayDrive, WayCamera, FilmsRead, ReadBefore, FilmsWaiting, Time,
    PartStorage, PartJournal, PartModel, PartListener, PartFolders, PartCamera, PartArchive, PartTemperature, PartPower,
    PartClock, StorageFree, StorageNearlyFull, StorageFull, StorageFailed, JournalSound, JournalBroken, JournalFailed,
    ModelOnTrial, ModelMissing, ModelSelfTestFailed, Works, Off, Restarting, Broken, ArchiveWaiting,
    ArchiveRefused, ArchiveNoAddress, ArchiveUnreachable, ArchiveCertificate, ArchiveRejected,
    ArchiveNotAccepted, ArchiveNoRoom, ArchiveWrongAnswer, ArchiveQueue, Celsius,
    CelsiusWarm, CelsiusHot, PowerSound, PowerLow, ClockVerified, ClockNotVerified,
    // Numbers and dates.
    Percent, BelowOnePercent, Above99Percent, Megabytes, Gigabytes, Moment, Comma, AndMore, Yes, No,
    // Photographing, and where else to go.
    AimOpening, AimBlind, AimTaking, AimGood, AimNoFilm, AimCutOff, AimNearer, AimStraight, AimGlare, AimFocus, AimMoire,
    AimBright, AimDark, Menu, MenuUpdate,
    // Receiving and reading.
    Receiving, From, Received, FilmsReceived, Reading, StepDecode, StepCheck, StepInfer, StepRecord,
    // Past films.
    Review, ReviewEmpty,
    // Updates.
    UpdateOffered, UpdateInstalling, UpdateSelfTest, UpdateReplay, UpdateTrial, UpdateConfirmed, UpdateRolledBack,
    UpdateFailed, SignedBy, Running, NoRunning, Offered, Audit, NoAudit, Interval, Differences, NoDifferences, BecameOf,
    MeasureSensitivity, MeasureSpecificity, MeasureAuc, MeasureLungsBlack, MeasureBorderOnly, MeasureOthersRefused,
    MeasureFilmsRefused, FilmsHeldOut, FilmsExternal, SignerRevoked,
    TopicRelease, TopicFile, TopicProgram, TopicNetwork, TopicInput, TopicCalibration, TopicRuleOut, TopicRuleIn,
    TopicPneumonia, TopicNormal, TopicNovelty, TopicLungs, TopicJudges, TopicTestFilms,
    InputWhole, InputStretched, InputAsShown, InputByRank, JudgesFilm, JudgesLungs,
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
            Language::English => english::say(phrase),
            Language::French => french::say(phrase),
            Language::Spanish => spanish::say(phrase),
            Language::Portuguese => portuguese::say(phrase),
            Language::Swahili => swahili::say(phrase),
            Language::Vietnamese => vietnamese::say(phrase),
            Language::Hindi => hindi::say(phrase),
            Language::Arabic => arabic::say(phrase),
        }
    }

    /// The phrase with its names in braces replaced.
    pub(super) fn fill(self, phrase: Phrase, values: &[(&str, &str)]) -> String {
        values.iter().fold(self.say(phrase).to_owned(), |said, (name, value)| {
            said.replace(&format!("{{{name}}}"), &self.apart(value))
        })
    }

    /// One thing after the other.
    pub(super) fn list(self, said: &[String]) -> String {
        said.join(&format!("{} ", self.say(Phrase::Comma)))
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
            Language::English => english::MONTHS,
            Language::French => french::MONTHS,
            Language::Spanish => spanish::MONTHS,
            Language::Portuguese => portuguese::MONTHS,
            Language::Swahili => swahili::MONTHS,
            Language::Vietnamese => vietnamese::MONTHS,
            Language::Hindi => hindi::MONTHS,
            Language::Arabic => arabic::MONTHS,
        }
    }

    /// Why nothing more is said, and what to do.
    pub(super) fn explain(self, reason: Reason) -> Explained {
        match self.0 {
            Language::English => english::explain(reason),
            Language::French => french::explain(reason),
            Language::Spanish => spanish::explain(reason),
            Language::Portuguese => portuguese::explain(reason),
            Language::Swahili => swahili::explain(reason),
            Language::Vietnamese => vietnamese::explain(reason),
            Language::Hindi => hindi::explain(reason),
            Language::Arabic => arabic::explain(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(phrase: &str) -> BTreeSet<&str> {
        phrase.split('{').skip(1).filter_map(|after| after.split_once('}')).map(|(name, _)| name).collect()
    }

    fn all(words: Words) -> Vec<(String, &'static str)> {
        let phrases = Phrase::ALL.iter().map(|phrase| (format!("{phrase:?}"), words.say(*phrase)));
        let reasons = Reason::ALL.into_iter().flat_map(|reason| {
            let Explained { words, advice } = words.explain(reason);
            [(format!("{reason}"), words), (format!("{reason}, advice"), advice)]
        });
        phrases.chain(reasons).collect()
    }

    #[test]
    fn every_language_says_everything_in_its_own_words() {
        /// Words that are the same in English and in another language, and signs.
        const SHARED: [&str; 26] = [
            "LabelCovid19",
            "Patient",
            "KeyVerdict",
            "PartModel",
            "Celsius",
            "Percent",
            "BelowOnePercent",
            "Above99Percent",
            "Megabytes",
            "Gigabytes",
            "Moment",
            "BecameOf",
            "CountOf",
            "Details",
            "KeyDetails",
            "PartArchive",
            "Offered",
            "Model",
            "From",
            "PartTemperature",
            "Program",
            "Works",
            "Off",
            "Interval",
            "Comma",
            "No",
        ];
        let english = all(Words(Language::English));
        for language in Language::ALL {
            for ((name, said), (_, in_english)) in all(Words(language)).into_iter().zip(&english) {
                assert!(!said.trim().is_empty() && said.trim() == said, "{language}: {name} is {said:?}");
                assert_eq!(names(said), names(in_english), "{language}: {name}");
                let translated = language == Language::English || said != *in_english;
                assert!(translated || SHARED.contains(&name.as_str()), "{language}: {name} is English: {said:?}");
            }
        }
    }

    #[test]
    fn no_two_verdicts_sound_alike_and_none_promises_health() {
        let verdicts = [
            Phrase::Covid19Suspected,
            Phrase::PneumoniaSuspected,
            Phrase::NoPneumoniaSeen,
            Phrase::CannotSay,
            Phrase::NotRead,
        ];
        /// Healthy, normal, negative, clear, as each language would say it.
        const PROMISES: [&str; 20] = [
            "healthy",
            "normal",
            "negative",
            "sain",
            "négati",
            "san",
            "negativ",
            "saudável",
            "mzima",
            "kawaida",
            "hasi",
            "khỏe",
            "bình thường",
            "âm tính",
            "स्वस्थ",
            "सामान्य",
            "नेगेटिव",
            "سليم",
            "طبيعي",
            "سلبي",
        ];
        for language in Language::ALL {
            let said = verdicts.map(|phrase| Words(language).say(phrase));
            assert_eq!(said.into_iter().collect::<BTreeSet<_>>().len(), verdicts.len(), "{language}: {said:?}");
            let clear = Words(language).say(Phrase::NoPneumoniaSeen).to_lowercase();
            for word in clear.split_whitespace() {
                assert!(!PROMISES.contains(&word), "{language}: {clear}");
            }
            let caution = Words(language).say(Phrase::DoesNotRuleOutCovid);
            assert!(caution.contains("19"), "{language}: {caution}");
        }
    }

    #[test]
    fn values_from_outside_are_kept_apart_only_where_the_order_may_suffer() {
        let fill = |language| Words(language).fill(Phrase::WayFolder, &[("name", "films (1)")]);
        assert_eq!(fill(Language::English), "Put the file into the folder films (1)");
        assert_eq!(fill(Language::Arabic), "ضع الملف في المجلد \u{2068}films (1)\u{2069}");
    }

    #[test]
    fn the_fonts_have_every_letter_of_every_language() {
        use crate::ui::shape;
        use crate::ui::text::Weight;
        let missing = shape::latin_glyph(Weight::Regular, '\u{FFFD}');
        for language in Language::ALL {
            let words = Words(language);
            let months = words.months().map(|month| (month.to_owned(), month));
            for (name, said) in all(words).into_iter().chain(months).chain([("name".to_owned(), language.own_name())]) {
                for weight in [Weight::Regular, Weight::Bold] {
                    for glyph in shape::line(said, weight, language.right_to_left()) {
                        let lacks = glyph.id.0 == 0 || glyph.script == shape::Script::Latin && glyph.id == missing;
                        assert!(!lacks, "{language}: {name}: {said:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_mark_of_every_language_is_drawn() {
        use crate::ui::text::{DRAWN, Weight, ink};
        for language in Language::ALL {
            for (name, said) in all(Words(language)) {
                for weight in [Weight::Regular, Weight::Bold] {
                    let (above, below) = ink(said, weight, language.right_to_left());
                    assert!(above <= DRAWN.0, "{language}: {name} reaches {above} em above the line: {said}");
                    assert!(below <= DRAWN.1, "{language}: {name} reaches {below} em below the line: {said}");
                }
            }
        }
    }
}
