//! The screen of a device that waits for a film: how to hand one in, and how each part is.

use super::screen::moment;
use super::sheet::{Kind, Part, Sheet};
use super::words::{Phrase, Words};
use super::{
    Health, JournalHealth, LeftOut, Level, ModelHealth, PartHealth, ReadyView, Sign, StorageHealth, Way, theme,
};
use crate::domain::ArchiveTrouble;

pub(super) fn sheet(view: &ReadyView<'_>, words: Words) -> Sheet<'static> {
    let worst = view.health.iter().map(state_of_device).max().unwrap_or(Level::Good);
    let title = match worst {
        Level::Good => Phrase::Ready,
        Level::Attention => Phrase::ReadyAttention,
        Level::Fault => Phrase::NotReady,
    };
    let mut first = Vec::new();
    if let Some(LeftOut { name, reason }) = view.left_out {
        let value = reason.map_or(words.say(Phrase::ReadBefore), |reason| words.explain(reason).words);
        let mark = Some((Sign::Attention, theme::of_level(Level::Attention)));
        let (name, value) = (words.apart(name), value.to_owned());
        first.push(Part::new(0, Kind::Row { mark, name, value, chosen: false }));
        if let Some(reason) = reason {
            first.push(Part::lines(2, words.explain(reason).advice));
        }
        first.push(Part::space(4));
    }
    if view.health.contains(&Health::Journal(JournalHealth::Broken)) {
        first.push(Part::lines(2, words.say(Phrase::FixJournalBroken)));
        first.push(Part::space(4));
    }
    if !view.ways.is_empty() {
        first.push(Part::label(1, words.say(Phrase::HandIn)));
    }
    for (index, way) in view.ways.iter().enumerate() {
        first.push(Part::bold(if index == 0 { 1 } else { 3 }, &of_way(words, way)));
    }
    first.push(Part::space(6));
    first.push(Part::row(5, words.say(Phrase::FilmsRead), words.count(view.read)));
    if view.waiting > 0 {
        first.push(Part::row(2, words.say(Phrase::FilmsWaiting), words.count(view.waiting)));
    }
    if let Some(now) = view.now {
        first.push(Part::row(6, words.say(Phrase::Time), moment(words, now)));
    }
    let mut parts: Vec<_> = view.health.iter().collect();
    // The worst first; the sort keeps the order of those that are alike.
    parts.sort_by_key(|health| std::cmp::Reverse(health.level()));
    let second = parts.into_iter().flat_map(|health| {
        let level = health.level();
        let (name, value) = of_health(words, health);
        let mark = Some((Sign::of_level(level), theme::of_level(level)));
        // What is as it should be goes first where there is no room.
        let rank = if level == Level::Good { 4 } else { 0 };
        let row = Part::new(rank, Kind::Row { mark, name: words.say(name).to_owned(), value, chosen: false });
        let since = match health {
            Health::Archive { since: Some(since), trouble: Some(_), .. } => {
                Some(Part::row(3, words.say(Phrase::FaultSince), words.moment(*since)))
            }
            _ => None,
        };
        std::iter::once(row).chain(since)
    });
    let second = second.collect();
    Sheet {
        first,
        second,
        foot: words.say(Phrase::IntendedUse).to_owned(),
        ..Sheet::new(Sign::of_level(worst), theme::of_level(worst), words.say(title))
    }
}

/// What a part's state means for the device: without storage, record or model, or too hot, no film is read; without any
/// other part it goes on, and so it does with a record that was changed.
fn state_of_device(health: &Health<'_>) -> Level {
    match health {
        // What is written from now on can be proved again.
        Health::Journal(JournalHealth::Broken) => Level::Attention,
        Health::Storage(_) | Health::Journal(_) | Health::Model(_) | Health::Temperature { .. } => health.level(),
        Health::Listener(_)
        | Health::Folders(_)
        | Health::Camera(_)
        | Health::Archive { .. }
        | Health::Power { .. }
        | Health::Clock { .. } => health.level().min(Level::Attention),
    }
}

fn of_way(words: Words, way: &Way<'_>) -> String {
    match way {
        Way::Network { ae_title, address } => {
            words.fill(Phrase::WayNetwork, &[("title", ae_title), ("address", address)])
        }
        Way::Folder { name } => words.fill(Phrase::WayFolder, &[("name", name)]),
        Way::Drive => words.say(Phrase::WayDrive).to_owned(),
        Way::Camera => words.say(Phrase::WayCamera).to_owned(),
    }
}

fn of_health(words: Words, health: &Health<'_>) -> (Phrase, String) {
    let said = |phrase| words.say(phrase).to_owned();
    match *health {
        Health::Storage(storage) => {
            let value = match storage {
                StorageHealth::Free { bytes } => words.fill(Phrase::StorageFree, &[("size", &words.bytes(bytes))]),
                StorageHealth::NearlyFull { bytes } => {
                    words.fill(Phrase::StorageNearlyFull, &[("size", &words.bytes(bytes))])
                }
                StorageHealth::Full => said(Phrase::StorageFull),
                StorageHealth::Failed => said(Phrase::StorageFailed),
            };
            (Phrase::PartStorage, value)
        }
        Health::Journal(journal) => {
            let value = match journal {
                JournalHealth::Sound => Phrase::JournalSound,
                JournalHealth::Broken => Phrase::JournalBroken,
                JournalHealth::Failed => Phrase::JournalFailed,
            };
            (Phrase::PartJournal, said(value))
        }
        Health::Model(model) => {
            let value = match model {
                ModelHealth::Ready { name, version } => words.apart(&format!("{name} {version}")),
                ModelHealth::OnTrial { name, version } => {
                    words.fill(Phrase::ModelOnTrial, &[("model", &format!("{name} {version}"))])
                }
                ModelHealth::Missing => said(Phrase::ModelMissing),
                ModelHealth::SelfTestFailed => said(Phrase::ModelSelfTestFailed),
            };
            (Phrase::PartModel, value)
        }
        Health::Listener(part) => (Phrase::PartListener, said(of_part(part))),
        Health::Folders(part) => (Phrase::PartFolders, said(of_part(part))),
        Health::Camera(part) => (Phrase::PartCamera, said(of_part(part))),
        Health::Archive { waiting, refused, trouble, .. } => {
            (Phrase::PartArchive, of_archive(words, waiting, refused, trouble))
        }
        Health::Temperature { celsius, level } => {
            let phrase = match level {
                Level::Good => Phrase::Celsius,
                Level::Attention => Phrase::CelsiusWarm,
                Level::Fault => Phrase::CelsiusHot,
            };
            (Phrase::PartTemperature, words.fill(phrase, &[("celsius", &celsius.to_string())]))
        }
        Health::Power { low } => (Phrase::PartPower, said(if low { Phrase::PowerLow } else { Phrase::PowerSound })),
        Health::Clock { verified } => {
            (Phrase::PartClock, said(if verified { Phrase::ClockVerified } else { Phrase::ClockNotVerified }))
        }
    }
}

/// Why it does not take what waits, how much that is, and what it refused: whatever of it there is.
fn of_archive(words: Words, waiting: u64, refused: u64, trouble: Option<ArchiveTrouble>) -> String {
    let mut said = Vec::new();
    if let Some(trouble) = trouble {
        said.push(words.say(of_trouble(trouble)).to_owned());
    }
    if waiting > 0 {
        said.push(words.fill(Phrase::ArchiveWaiting, &[("count", &words.count(waiting))]));
    }
    if refused > 0 {
        said.push(words.fill(Phrase::ArchiveRefused, &[("count", &words.count(refused))]));
    }
    if said.is_empty() { words.say(Phrase::Works).to_owned() } else { words.list(&said) }
}

fn of_trouble(trouble: ArchiveTrouble) -> Phrase {
    match trouble {
        ArchiveTrouble::NoAddress => Phrase::ArchiveNoAddress,
        ArchiveTrouble::Unreachable => Phrase::ArchiveUnreachable,
        ArchiveTrouble::Certificate => Phrase::ArchiveCertificate,
        ArchiveTrouble::Rejected => Phrase::ArchiveRejected,
        ArchiveTrouble::NotAccepted => Phrase::ArchiveNotAccepted,
        ArchiveTrouble::NoRoom => Phrase::ArchiveNoRoom,
        ArchiveTrouble::WrongAnswer => Phrase::ArchiveWrongAnswer,
        ArchiveTrouble::Queue => Phrase::ArchiveQueue,
    }
}

fn of_part(part: PartHealth) -> Phrase {
    match part {
        PartHealth::Works => Phrase::Works,
        PartHealth::Off => Phrase::Off,
        PartHealth::Restarting => Phrase::Restarting,
        PartHealth::Broken => Phrase::Broken,
    }
}
