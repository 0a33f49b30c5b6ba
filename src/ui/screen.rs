//! Every screen of the device, as one closed list.

use embedded_graphics::prelude::Size;

use super::sheet::{Kind, Part, Sheet};
use super::verdict::{of_source, of_verdict, of_who};
use super::words::{Phrase, Words};
use super::{
    AimView, Fault, FaultView, Look, MenuEntry, MenuView, ReadingStep, ReadingView, ReadyView, ReceivingView,
    ReviewView, Scene, SettingsView, Sign, StartStep, StartingView, UpdateView, VerdictScreen, When, aim, ready, theme,
    update,
};
use crate::domain::{Frame, Language};

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub enum Screen<'a> {
    /// Not ready yet.
    Starting(StartingView<'a>),
    /// Waits for a film.
    Ready(ReadyView<'a>),
    /// A film is being photographed.
    Aim(AimView<'a>),
    /// Where else one can go.
    Menu(MenuView<'a>),
    /// A film is on its way in.
    Receiving(ReceivingView<'a>),
    /// A film is being read.
    Reading(ReadingView<'a>),
    /// A film was read, or refused.
    Verdict(VerdictScreen<'a>),
    /// The past films.
    Review(ReviewView<'a>),
    /// A model is offered, installed or on trial.
    Update(UpdateView<'a>),
    /// The device cannot do its work.
    Fault(FaultView<'a>),
    /// The choice of a language.
    Settings(SettingsView),
}

impl Screen<'_> {
    /// What stands where on a screen of that size.
    pub fn scene(&self, size: Size, look: Look) -> Scene {
        let words = Words(look.language);
        let scene = match self {
            Self::Verdict(screen) => return screen.scene(size, look),
            Self::Starting(view) => starting(view, words).scene(size, look),
            Self::Ready(view) => ready::sheet(view, words).scene(size, look),
            Self::Aim(view) => aim::scene(view, size, look),
            Self::Menu(view) => menu(view, words).scene(size, look),
            Self::Receiving(view) => receiving(view, words).scene(size, look),
            Self::Reading(view) => reading(view, words).scene(size, look),
            Self::Review(view) => review(view, words).scene(size, look),
            Self::Update(view) => update::sheet(view, words).scene(size, look),
            Self::Fault(view) => fault(view, words).scene(size, look),
            Self::Settings(view) => settings(view, words).scene(size, look),
        };
        if look.language.right_to_left() { scene.mirrored() } else { scene }
    }

    /// Draws the screen on the whole of `frame`.
    pub fn draw(&self, frame: &mut Frame, look: Look) {
        let scene = self.scene(Size::new(frame.width(), frame.height()), look);
        // Drawing into memory cannot fail: the error type has no values.
        let Ok(()) = scene.draw(frame);
    }
}

fn starting(view: &StartingView<'_>, words: Words) -> Sheet<'static> {
    let step = words.say(match view.step {
        StartStep::Storage => Phrase::StartStorage,
        StartStep::Journal => Phrase::StartJournal,
        StartStep::Model => Phrase::StartModel,
        StartStep::SelfTest => Phrase::StartSelfTest,
        StartStep::Intake => Phrase::StartIntake,
    });
    let mut first = vec![Part::bold(0, step), progress(u64::from(view.done), u64::from(view.of))];
    first.push(Part::row(2, words.say(Phrase::Program), words.apart(view.software)));
    Sheet {
        lead: "Lightbox".to_owned(),
        first,
        foot: words.say(Phrase::IntendedUse).to_owned(),
        ..Sheet::new(Sign::Busy, theme::CALM, words.say(Phrase::Starting))
    }
}

/// A bar of `done` out of `of`.
pub(super) fn progress(done: u64, of: u64) -> Part {
    Part::new(0, Kind::Progress(done as f32 / of.max(1) as f32))
}

/// `done` out of `of`, in words.
pub(super) fn count_of(words: Words, done: u64, of: u64) -> String {
    words.fill(Phrase::CountOf, &[("count", &words.count(done)), ("all", &words.count(of))])
}

/// A moment, and whether to believe it.
pub(super) fn moment(words: Words, when: When) -> String {
    let said = words.moment(when);
    if when.verified { said } else { format!("{said} ({})", words.say(Phrase::TimeNotVerified)) }
}

fn receiving(view: &ReceivingView<'_>, words: Words) -> Sheet<'static> {
    let mut first = vec![Part::row(0, words.say(Phrase::CameBy), words.say(of_source(view.source)))];
    if !view.from.is_empty() {
        first.push(Part::row(0, words.say(Phrase::From), words.apart(view.from)));
    }
    if view.films > 0 {
        first.push(Part::row(1, words.say(Phrase::FilmsReceived), words.count(view.films)));
    }
    let received = words.bytes(view.bytes);
    let received = match view.of_bytes {
        Some(of) => words.fill(Phrase::CountOf, &[("count", &received), ("all", &words.bytes(of))]),
        None => received,
    };
    first.push(Part::row(0, words.say(Phrase::Received), received));
    if let Some(of) = view.of_bytes {
        first.push(Part::space(1));
        first.push(progress(view.bytes, of));
    }
    Sheet { first, ..Sheet::new(Sign::Busy, theme::CALM, words.say(Phrase::Receiving)) }
}

fn reading<'a>(view: &ReadingView<'a>, words: Words) -> Sheet<'a> {
    let mut first = Vec::new();
    for step in ReadingStep::ALL {
        let said = words.say(match step {
            ReadingStep::Decode => Phrase::StepDecode,
            ReadingStep::Check => Phrase::StepCheck,
            ReadingStep::Infer => Phrase::StepInfer,
            ReadingStep::Record => Phrase::StepRecord,
        });
        let mark = match step.index().cmp(&view.step.index()) {
            std::cmp::Ordering::Less => (Sign::Good, theme::of_level(super::Level::Good)),
            std::cmp::Ordering::Equal => (Sign::Busy, theme::TEXT),
            std::cmp::Ordering::Greater => (Sign::Ring, theme::MUTED),
        };
        let (name, value, chosen) = (String::new(), said.to_owned(), step == view.step);
        first.push(Part::new(0, Kind::Row { mark: Some(mark), name, value, chosen }));
    }
    first.push(Part::space(1));
    first.push(progress(view.step.index() as u64 + 1, ReadingStep::ALL.len() as u64 + 1));
    if let Some(who) = view.who {
        let (name, value) = of_who(words, who);
        first.push(Part::row(1, words.say(name), value));
    }
    if view.waiting > 0 {
        first.push(Part::row(2, words.say(Phrase::FilmsWaiting), words.count(view.waiting)));
    }
    Sheet { first, film: view.film, ..Sheet::new(Sign::Busy, theme::CALM, words.say(Phrase::Reading)) }
}

fn review(view: &ReviewView<'_>, words: Words) -> Sheet<'static> {
    let mut sheet = Sheet::new(Sign::List, theme::CALM, words.say(Phrase::Review));
    let Some(rows) = view.rows else { return sheet };
    if rows.is_empty() {
        sheet.first.push(Part::lines(0, words.say(Phrase::ReviewEmpty)));
        return sheet;
    }
    sheet.lead = count_of(words, view.chosen as u64 + 1, rows.len() as u64);
    sheet.scroll = Some(view.chosen);
    for (index, row) in rows.iter().enumerate() {
        let (_, who) = of_who(words, row.who);
        let verdict = of_verdict(words, row.verdict).to_owned();
        sheet.first.push(Part::new(
            0,
            Kind::Case {
                mark: (Sign::of(row.verdict), theme::of_verdict(row.verdict)),
                verdict,
                who: format!("{} · {who}", words.count(row.sequence)),
                when: moment(words, row.when),
                chosen: index == view.chosen,
            },
        ));
    }
    sheet
}

fn menu(view: &MenuView<'_>, words: Words) -> Sheet<'static> {
    let mut sheet = Sheet::new(Sign::List, theme::CALM, words.say(Phrase::Menu));
    for (index, entry) in view.entries.iter().enumerate() {
        let (sign, phrase) = match entry {
            MenuEntry::Update => (Sign::Install, Phrase::MenuUpdate),
            MenuEntry::Review => (Sign::List, Phrase::Review),
            MenuEntry::Language => (Sign::Globe, Phrase::ChooseLanguage),
        };
        let (mark, chosen) = (Some((sign, theme::TEXT)), index == view.chosen);
        let value = words.say(phrase).to_owned();
        sheet.first.push(Part::new(0, Kind::Row { mark, name: String::new(), value, chosen }));
    }
    sheet
}

fn fault(view: &FaultView<'_>, words: Words) -> Sheet<'static> {
    let (what, fix) = match view.fault {
        Fault::NoModel => (Phrase::FaultNoModel, Phrase::FixNoModel),
        Fault::SelfTest => (Phrase::FaultSelfTest, Phrase::FixSelfTest),
        Fault::StorageFull => (Phrase::FaultStorageFull, Phrase::FixStorageFull),
        Fault::Storage => (Phrase::FaultStorage, Phrase::FixStorage),
        Fault::Journal => (Phrase::FaultJournal, Phrase::FixJournal),
        Fault::JournalBroken => (Phrase::FaultJournalBroken, Phrase::FixJournalBroken),
        Fault::Listener => (Phrase::FaultListener, Phrase::FixListener),
        Fault::Folder => (Phrase::FaultFolder, Phrase::FixFolder),
        Fault::Camera => (Phrase::FaultCamera, Phrase::FixCamera),
        Fault::Panel => (Phrase::FaultPanel, Phrase::FixPanel),
        Fault::Buttons => (Phrase::FaultButtons, Phrase::FixButtons),
        Fault::Hot => (Phrase::FaultHot, Phrase::FixHot),
        Fault::Program => (Phrase::FaultProgram, Phrase::FixProgram),
    };
    let mut first = vec![Part::label(1, words.say(Phrase::WhatToDo)), Part::bold(0, words.say(fix))];
    if view.retrying {
        first.push(Part::lines(1, words.say(Phrase::FaultRetrying)));
    }
    let mut second = Vec::new();
    if let Some(since) = view.since {
        second.push(Part::row(0, words.say(Phrase::FaultSince), moment(words, since)));
    }
    if !view.detail.is_empty() {
        second.push(Part::label(2, words.say(Phrase::Details)));
        second.push(Part::new(2, Kind::Small(words.apart(view.detail))));
    }
    Sheet { first, second, ..Sheet::new(Sign::Fault, theme::of_level(super::Level::Fault), words.say(what)) }
}

fn settings(view: &SettingsView, words: Words) -> Sheet<'static> {
    let mut sheet = Sheet::new(Sign::Globe, theme::CALM, words.say(Phrase::ChooseLanguage));
    let half = Language::ALL.len() / 2;
    for (index, language) in Language::ALL.into_iter().enumerate() {
        let mark = if language == view.current {
            (Sign::Good, theme::of_level(super::Level::Good))
        } else {
            (Sign::Ring, theme::MUTED)
        };
        let chosen = language == view.chosen;
        let value = words.apart(language.own_name());
        let part = Part::new(0, Kind::Row { mark: Some(mark), name: String::new(), value, chosen });
        if index < half { sheet.first.push(part) } else { sheet.second.push(part) }
    }
    sheet
}
