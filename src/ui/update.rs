//! The screens of a model update: offered, written, tested, on trial, kept or given up.

use super::screen::{count_of, progress};
use super::sheet::{Kind, Part, Sheet};
use super::verdict::of_verdict;
use super::words::{Phrase, Words};
use super::{
    Changed, Difference, Figure, Level, Offer, OfferPage, Sign, UpdateFailure, UpdateStage, UpdateView, theme,
};

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
            let signers = offer.signers.iter().map(|name| words.apart(name)).collect::<Vec<_>>();
            sheet.first.push(Part::row(0, words.say(Phrase::SignedBy), signers.join(", ")));
            sheet.second.push(Part::label(1, words.say(Phrase::Audit)));
            push_figures(&mut sheet.second, offer.figures, words);
        }
        OfferPage::Figures => {
            sheet.first.push(Part::label(1, words.say(Phrase::Audit)));
            push_figures(&mut sheet.first, offer.figures, words);
        }
        OfferPage::Differences => {
            sheet.first.push(Part::label(1, words.say(Phrase::Differences)));
            if offer.differences.is_empty() {
                sheet.first.push(Part::bold(0, words.say(Phrase::NoDifferences)));
            }
            for (index, Difference { key, before, after }) in offer.differences.iter().enumerate() {
                let said = |value: &Option<&str>| value.map_or_else(|| "–".to_owned(), |value| words.apart(value));
                let value = words.fill(Phrase::BecameOf, &[("before", &said(before)), ("after", &said(after))]);
                sheet.first.push(Part::row(later(index), &words.apart(key), value));
            }
        }
    }
    sheet
}

/// The first of a list stays, those at its end go first where there is no room.
fn later(index: usize) -> u8 {
    (index + 1).min(usize::from(u8::MAX)) as u8
}

fn push_figures(parts: &mut Vec<Part>, figures: &[Figure<'_>], words: Words) {
    if figures.is_empty() {
        parts.push(Part::bold(0, words.say(Phrase::NoAudit)));
    }
    for (index, figure) in figures.iter().enumerate() {
        let [value, low, high] = [figure.value, figure.low, figure.high].map(|share| words.fine_percent(share));
        let films = words.count(figure.films);
        let value =
            words.fill(Phrase::Interval, &[("value", &value), ("low", &low), ("high", &high), ("films", &films)]);
        parts.push(Part::row(later(index), &words.apart(figure.name), value));
    }
}

fn trial(mut sheet: Sheet<'static>, cases: u64, changed: &[Changed<'_>], words: Words) -> Sheet<'static> {
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
