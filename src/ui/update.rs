//! The screens of a model update: offered, written, tested, on trial, kept or given up.

use super::screen::{count_of, progress};
use super::sheet::{Kind, Part, Sheet};
use super::verdict::of_verdict;
use super::words::{Phrase, Words};
use super::{Changed, Level, Offer, OfferPage, Sign, UpdateFailure, UpdateStage, UpdateView, theme};
use crate::domain::{AuditFigure, Change, Films, Fit, GreyScale, Measure, Told, Topic};

pub(super) fn sheet(view: &UpdateView<'_>, words: Words) -> Sheet<'static> {
    let model = words.apart(&format!("{} {}", view.name, view.version));
    let titled = |sign, tone, title| Sheet { lead: model.clone(), ..Sheet::new(sign, tone, words.say(title)) };
    let calm = |title| titled(Sign::Install, theme::CALM, title);
    let working = |title, done, of| Sheet {
        first: vec![
            Part::bold(0, &count_of(words, done, of)),
            progress(done, of),
            Part::lines(0, words.say(Phrase::KeepPowerOn)),
        ],
        ..titled(Sign::Busy, theme::CALM, title)
    };
    match view.stage {
        UpdateStage::Offered(offer) => offered(calm(Phrase::UpdateOffered), view, offer, words),
        UpdateStage::Installing { done, of } => {
            let share = words.fill(Phrase::CountOf, &[("count", &words.bytes(done)), ("all", &words.bytes(of))]);
            let mut sheet = working(Phrase::UpdateInstalling, done, of);
            sheet.first[0] = Part::bold(0, &share);
            sheet
        }
        UpdateStage::SelfTest { done, of } => working(Phrase::UpdateSelfTest, done.into(), of.into()),
        UpdateStage::Replay { done, of } => working(Phrase::UpdateReplay, done.into(), of.into()),
        UpdateStage::Trial { cases, changed } => trial(calm(Phrase::UpdateTrial), cases, changed, words),
        UpdateStage::Confirmed => Sheet {
            first: vec![Part::bold(0, words.say(Phrase::InForce))],
            ..titled(Sign::Good, theme::of_level(Level::Good), Phrase::UpdateConfirmed)
        },
        UpdateStage::RolledBack(why, detail) => {
            let sheet = titled(Sign::Attention, theme::of_level(Level::Attention), Phrase::UpdateRolledBack);
            given_up(sheet, why, detail, true, words)
        }
        UpdateStage::Failed(why, detail) => {
            let sheet = titled(Sign::Fault, theme::of_level(Level::Fault), Phrase::UpdateFailed);
            given_up(sheet, why, detail, view.running.is_some(), words)
        }
    }
}

fn offered(mut sheet: Sheet<'static>, view: &UpdateView<'_>, offer: Offer<'_>, words: Words) -> Sheet<'static> {
    match offer.page {
        OfferPage::Summary => {
            let running =
                view.running.map_or_else(|| words.say(Phrase::NoRunning).to_owned(), |name| words.apart(name));
            sheet.first.push(Part::row(0, words.say(Phrase::Running), running));
            sheet.first.push(Part::row(0, words.say(Phrase::Offered), words.apart(view.version)));
            let signers = offer.signers.iter().map(|signer| signed_by(words, signer.name, signer.revoked));
            let signers = signers.collect::<Vec<_>>();
            sheet.first.push(Part::row(0, words.say(Phrase::SignedBy), words.list(&signers)));
            sheet.second.push(Part::label(1, words.say(Phrase::Audit)));
            push_figures(&mut sheet.second, offer.figures, words);
        }
        OfferPage::Figures => {
            sheet.counts_left_out = true;
            sheet.first.push(Part::label(1, words.say(Phrase::Audit)));
            push_figures(&mut sheet.first, offer.figures, words);
        }
        OfferPage::Differences => {
            sheet.counts_left_out = true;
            sheet.first.push(Part::label(1, words.say(Phrase::Differences)));
            if offer.changes.is_empty() {
                sheet.first.push(Part::bold(0, words.say(Phrase::NoDifferences)));
            }
            let mut changes: Vec<&Change> = offer.changes.iter().collect();
            // The sort keeps the order of those that weigh alike.
            changes.sort_by_key(|change| weight(&change.topic));
            for (index, Change { topic, before, after }) in changes.into_iter().enumerate() {
                let said = |told: &Option<Told>| match (topic, told) {
                    (_, None) => NONE.to_owned(),
                    (Topic::Audit, Some(Told::Nothing)) => words.say(Phrase::NoAudit).to_owned(),
                    (_, Some(told)) => of_told(words, told),
                };
                let value = words.fill(Phrase::BecameOf, &[("before", &said(before)), ("after", &said(after))]);
                sheet.first.push(Part::row(later(index), &of_topic(words, topic), value));
            }
        }
    }
    sheet
}

/// In place of what is not there.
const NONE: &str = "–";

/// The first of a list stays, those at its end go first where there is no room.
fn later(index: usize) -> u8 {
    (index + 1).min(usize::from(u8::MAX)) as u8
}

fn push_figures(parts: &mut Vec<Part>, figures: &[AuditFigure], words: Words) {
    if figures.is_empty() {
        parts.push(Part::bold(0, words.say(Phrase::NoAudit)));
    }
    for (index, figure) in figures.iter().enumerate() {
        let [value, low, high] = [figure.value, figure.low, figure.high].map(|value| of_value(words, figure, value));
        let films = words.count(figure.films);
        let value =
            words.fill(Phrase::Interval, &[("value", &value), ("low", &low), ("high", &high), ("films", &films)]);
        parts.push(Part::row(later(index), &of_measure(words, &figure.name), value));
    }
}

/// Areas under a curve as they are, shares in percent.
fn of_value(words: Words, figure: &AuditFigure, value: f64) -> String {
    if figure.measure().is_some_and(Measure::is_area) { words.decimal(value, 3) } else { words.fine_percent(value) }
}

/// A figure's name, as it came where the trainer does not measure it.
fn of_measure(words: Words, name: &str) -> String {
    let (what, films) = match Measure::all().into_iter().find(|measure| measure.name() == name) {
        None => return words.apart(name),
        Some(Measure::OthersRefused) => return words.say(Phrase::MeasureOthersRefused).to_owned(),
        Some(Measure::Sensitivity(films)) => (Phrase::MeasureSensitivity, films),
        Some(Measure::Specificity(films)) => (Phrase::MeasureSpecificity, films),
        Some(Measure::Auc(films)) => (Phrase::MeasureAuc, films),
        Some(Measure::AucLungsBlack(films)) => (Phrase::MeasureLungsBlack, films),
        Some(Measure::AucBorderOnly(films)) => (Phrase::MeasureBorderOnly, films),
        Some(Measure::FilmsRefused(films)) => (Phrase::MeasureFilmsRefused, films),
    };
    let films = match films {
        Films::HeldOut => Phrase::FilmsHeldOut,
        Films::External => Phrase::FilmsExternal,
    };
    words.list(&[what, films].map(|phrase| words.say(phrase).to_owned()))
}

fn signed_by(words: Words, name: &str, revoked: bool) -> String {
    if revoked { words.fill(Phrase::SignerRevoked, &[("name", name)]) } else { words.apart(name) }
}

/// What a person will notice of a change comes first, what only a computer compares last.
fn weight(topic: &Topic) -> u8 {
    match topic {
        Topic::RuleIn | Topic::RuleOut | Topic::PneumoniaBelow | Topic::NormalAbove => 0,
        Topic::Judges | Topic::FindsLungs | Topic::NoveltyLimit | Topic::Audit => 1,
        Topic::Figure(_) => 2,
        Topic::Signature(_) | Topic::MinimumProgram | Topic::GoldenFilms => 3,
        Topic::Input | Topic::Temperature | Topic::Model | Topic::BundleVersion => 4,
        Topic::BundleDigest | Topic::NetworkDigest => 5,
    }
}

fn of_topic(words: Words, topic: &Topic) -> String {
    let phrase = match topic {
        Topic::Figure(name) => return of_measure(words, name),
        Topic::Model => Phrase::Model,
        Topic::BundleVersion => Phrase::TopicRelease,
        Topic::BundleDigest => Phrase::TopicFile,
        Topic::MinimumProgram => Phrase::TopicProgram,
        Topic::Signature(_) => Phrase::SignedBy,
        Topic::NetworkDigest => Phrase::TopicNetwork,
        Topic::Input => Phrase::TopicInput,
        Topic::Temperature => Phrase::TopicCalibration,
        Topic::RuleOut => Phrase::TopicRuleOut,
        Topic::RuleIn => Phrase::TopicRuleIn,
        Topic::PneumoniaBelow => Phrase::TopicPneumonia,
        Topic::NormalAbove => Phrase::TopicNormal,
        Topic::NoveltyLimit => Phrase::TopicNovelty,
        Topic::FindsLungs => Phrase::TopicLungs,
        Topic::Judges => Phrase::TopicJudges,
        Topic::GoldenFilms => Phrase::TopicTestFilms,
        Topic::Audit => Phrase::Audit,
    };
    words.say(phrase).to_owned()
}

fn of_told(words: Words, told: &Told) -> String {
    /// Of a digest: as many as a person compares.
    const DIGITS: usize = 8;
    match told {
        Told::Text(text) => words.apart(text),
        Told::Digest(digest) => words.apart(&digest.chars().take(DIGITS).collect::<String>()),
        Told::Count(count) => words.count(*count),
        Told::Number(number) => words.decimal(f64::from(*number), 3),
        Told::Share(share) => words.fine_percent(f64::from(*share)),
        Told::Is(true) => words.say(Phrase::Yes).to_owned(),
        Told::Is(false) => words.say(Phrase::No).to_owned(),
        Told::Nothing => NONE.to_owned(),
        Told::Signer { name, revoked, .. } => signed_by(words, name, *revoked),
        Told::Input(input) => {
            let size = format!("{} × {}", input.width(), input.height());
            let fit = words.say(match input.fit() {
                Fit::Letterbox => Phrase::InputWhole,
                Fit::Stretch => Phrase::InputStretched,
            });
            let greys = words.say(match input.grey_scale() {
                GreyScale::AsShown => Phrase::InputAsShown,
                GreyScale::Equalised => Phrase::InputByRank,
            });
            words.list(&[words.apart(&size), fit.to_owned(), greys.to_owned()])
        }
        Told::Film => words.say(Phrase::JudgesFilm).to_owned(),
        Told::Lungs { margin } => {
            words.fill(Phrase::JudgesLungs, &[("margin", &words.fine_percent(f64::from(*margin)))])
        }
        Told::Figure(figure) => of_value(words, figure, figure.value),
    }
}

fn trial(mut sheet: Sheet<'static>, cases: u64, changed: &[Changed<'_>], words: Words) -> Sheet<'static> {
    sheet.counts_left_out = true;
    sheet.first.push(Part::row(0, words.say(Phrase::CasesReadAgain), words.count(cases)));
    sheet.first.push(Part::row(0, words.say(Phrase::CasesChanged), words.count(changed.len() as u64)));
    sheet.first.push(Part::space(3));
    sheet.first.push(Part::bold(0, words.say(Phrase::KeepOrGoBack)));
    if changed.is_empty() {
        sheet.second.push(Part::lines(0, words.say(Phrase::NoCaseChanged)));
    }
    for (index, case) in changed.iter().enumerate() {
        let [before, after] = [case.before, case.after].map(|verdict| of_verdict(words, verdict));
        sheet.second.push(Part::new(
            later(index),
            Kind::Row {
                mark: Some((Sign::of(case.after), theme::of_verdict(case.after))),
                name: words.count(case.sequence),
                value: words.fill(Phrase::BecameOf, &[("before", before), ("after", after)]),
                chosen: false,
            },
        ));
    }
    sheet
}

fn given_up(
    mut sheet: Sheet<'static>,
    why: UpdateFailure,
    detail: &str,
    old_model_runs: bool,
    words: Words,
) -> Sheet<'static> {
    let why = match why {
        UpdateFailure::Damaged => Phrase::FailedDamaged,
        UpdateFailure::NotTrusted => Phrase::FailedNotTrusted,
        UpdateFailure::TooOld => Phrase::FailedTooOld,
        UpdateFailure::NeedsNewerProgram => Phrase::FailedNeedsNewerProgram,
        UpdateFailure::Unfinished => Phrase::FailedUnfinished,
        UpdateFailure::StorageFull => Phrase::FailedStorageFull,
        UpdateFailure::StorageFailed => Phrase::FailedStorage,
        UpdateFailure::SelfTest => Phrase::FailedSelfTest,
        UpdateFailure::Replay => Phrase::FailedReplay,
        UpdateFailure::BootsUsedUp => Phrase::FailedBootsUsedUp,
        UpdateFailure::ModelFault => Phrase::FailedModelFault,
        UpdateFailure::Declined => Phrase::FailedDeclined,
    };
    sheet.first.push(Part::label(1, words.say(Phrase::Why)));
    sheet.first.push(Part::bold(0, words.say(why)));
    if old_model_runs {
        sheet.first.push(Part::lines(0, words.say(Phrase::OldModelRuns)));
    }
    if !detail.is_empty() {
        sheet.second.push(Part::label(2, words.say(Phrase::Details)));
        sheet.second.push(Part::new(2, Kind::Small(words.apart(detail))));
    }
    sheet
}
