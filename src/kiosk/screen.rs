//! What the panel shows: the state of the kiosk and what is known beside it, put into the screens' views.

use super::camera::Sight;
use super::case::Case;
use super::state::{Camera, Entry, Part, Review, State, Step, Trouble, Update, Viewed};
use super::update::changed_cases;
use super::{Desk, UpdateAt};
use crate::adapters::{clock, hardware};
use crate::config::Board;
use crate::domain::{Frame, Language};
use crate::models;
use crate::record::Recorded;
use crate::ui::{
    self, Aim, AimView, Changed, Fault, FaultView, Film, Health, Hint, JournalHealth, Keys, LeftOut, Level, Look,
    MenuEntry, MenuView, ModelHealth, OfferPage, Page, PartHealth, ReadingView, ReadyView, ReceivingView, ReviewRow,
    ReviewView, Screen, SettingsView, Signer, Source, StartStep, StartingView, StorageHealth, UpdateStage, UpdateView,
    VerdictScreen, Way, When, Who,
};

/// From here on the board is too hot to be trusted with a closed case.
const HOT: i16 = 80;
/// From here on it does not do its work.
const TOO_HOT: i16 = 95;
/// Below this share of the disk the storage wants attention.
const NEARLY_FULL: u64 = 5;

impl Desk {
    /// The picture for the panel.
    pub(super) fn frame(&self, size: (u32, u32)) -> Frame {
        let mut frame = Frame::new(size.0, size.1);
        let look = Look { language: self.kiosk.language, keys: self.hints() };
        match &self.kiosk.state {
            State::Starting(step) => self.starting(*step).draw(&mut frame, look),
            State::Ready => self.draw_ready(&mut frame, look),
            State::Receiving => self.receiving().draw(&mut frame, look),
            State::Reading => self.reading().draw(&mut frame, look),
            State::Verdict(Viewed { case, page, .. }) | State::Refused(Viewed { case, page, .. }) => {
                if let Some(case) = self.cases.get(case) {
                    self.verdict(case, *page, None).draw(&mut frame, look);
                }
            }
            State::Review(Review::Case { at, of, page, .. }) => {
                if let Some(case) = &self.opened {
                    self.verdict(case, *page, Some((*at as u64 + 1, *of as u64))).draw(&mut frame, look);
                }
            }
            State::Review(Review::List { at, .. } | Review::Opening { at, .. }) => {
                let rows = self.listed.as_ref().map(|listed| listed.iter().map(|case| self.review_row(case)));
                let rows: Option<Vec<ReviewRow<'_>>> = rows.map(Iterator::collect);
                let chosen = (*at).min(rows.as_ref().map_or(0, Vec::len).saturating_sub(1));
                Screen::Review(ReviewView { rows: rows.as_deref(), chosen }).draw(&mut frame, look);
            }
            State::Camera(Camera::Aiming) if self.kiosk.broken.contains(&Part::Camera) => {
                self.fault(Trouble::Part(Part::Camera)).draw(&mut frame, look);
            }
            State::Camera(camera) => self.aim(*camera).draw(&mut frame, look),
            State::Menu { marked } => {
                let entries = self.kiosk.menu();
                let chosen = entries.iter().position(|entry| entry == marked).unwrap_or(0);
                let entries: Vec<MenuEntry> = entries.into_iter().map(menu_entry).collect();
                Screen::Menu(MenuView { entries: &entries, chosen }).draw(&mut frame, look);
            }
            State::Update { page } => self.draw_update(*page, &mut frame, look),
            State::Settings { marked } => {
                let view = SettingsView { chosen: *marked, current: self.kiosk.language };
                let language: Language = *marked;
                // In the language that is marked, so that it can be told by whoever reads it.
                Screen::Settings(view).draw(&mut frame, Look { language, ..look });
            }
            State::Fault { trouble } => self.fault(*trouble).draw(&mut frame, look),
        }
        frame
    }

    /// What the two keys do.
    fn hints(&self) -> Keys {
        let keys = |next, select| Keys { next, select };
        let offered = self.kiosk.update != Update::None;
        match &self.kiosk.state {
            State::Starting(_) => keys(None, None),
            State::Ready | State::Receiving | State::Reading if self.kiosk.has_camera => {
                keys(Some(if offered { Hint::Look } else { Hint::More }), Some(Hint::Photograph))
            }
            State::Ready | State::Receiving | State::Reading if offered => keys(Some(Hint::Review), Some(Hint::Look)),
            State::Ready | State::Receiving | State::Reading => keys(Some(Hint::Review), Some(Hint::Settings)),
            State::Fault { .. } if offered => keys(Some(Hint::Review), Some(Hint::Look)),
            State::Fault { .. } => keys(Some(Hint::Review), Some(Hint::Retry)),
            State::Verdict(viewed) => keys(Some(page_hint(viewed.page, false)), Some(Hint::Done)),
            State::Refused(viewed) => {
                let again = self.kiosk.can_be_taken_again(viewed);
                let select = if again { Hint::TakeAgain } else { Hint::Done };
                keys(Some(page_hint(viewed.page, true)), Some(select))
            }
            State::Camera(Camera::Aiming) if self.kiosk.broken.contains(&Part::Camera) => {
                keys(Some(Hint::Back), Some(Hint::Retry))
            }
            State::Camera(Camera::Aiming) => keys(Some(Hint::Back), Some(Hint::Shoot)),
            State::Camera(Camera::Taking) => keys(Some(Hint::Back), None),
            State::Menu { marked } if self.kiosk.menu().last() == Some(marked) => {
                keys(Some(Hint::Back), Some(Hint::Open))
            }
            State::Menu { .. } => keys(Some(Hint::NextLine), Some(Hint::Open)),
            State::Review(Review::List { at, of }) if at + 1 < *of => keys(Some(Hint::NextLine), Some(Hint::Open)),
            State::Review(Review::List { of: 0, .. }) => keys(Some(Hint::Back), Some(Hint::Back)),
            State::Review(Review::List { .. }) => keys(Some(Hint::Back), Some(Hint::Open)),
            State::Review(Review::Opening { .. }) => keys(Some(Hint::Back), Some(Hint::Back)),
            State::Review(Review::Case { page: Page::Details, at, of, .. }) => {
                let next = if at + 1 < *of { Hint::NextFilm } else { Hint::Back };
                keys(Some(next), Some(Hint::Back))
            }
            State::Review(Review::Case { page, refused, .. }) => {
                keys(Some(page_hint(*page, *refused)), Some(Hint::Back))
            }
            State::Settings { .. } => keys(Some(Hint::NextLine), Some(Hint::Choose)),
            State::Update { page } => match (self.kiosk.update, page) {
                (Update::Offered, OfferPage::Differences) => keys(Some(Hint::NextPage), Some(Hint::Install)),
                (Update::Offered, OfferPage::Summary | OfferPage::Figures) => {
                    keys(Some(Hint::NextPage), Some(Hint::Decline))
                }
                (Update::OnTrial, _) => keys(Some(Hint::RollBack), Some(Hint::Keep)),
                (Update::None | Update::Installing | Update::Settling | Update::Over, _) => {
                    keys(None, Some(Hint::Done))
                }
            },
        }
    }

    fn when(&self, unix_ms: i64, verified: bool) -> When {
        let utc_offset_s = self.shared.board.site.utc_offset_s;
        When { unix_s: unix_ms.div_euclid(1000), utc_offset_s, verified }
    }

    fn who<'a>(&self, case: &'a Case) -> Who<'a> {
        if !self.shared.board.site.show_identity {
            return Who::Hidden;
        }
        let Some(identity) = &case.identity else { return Who::Unknown };
        let named = [
            (identity.patient_id.as_str(), Who::Patient as fn(&'a str) -> Who<'a>),
            (identity.accession_number.as_str(), Who::Study),
            (identity.study_uid.as_str(), Who::Study),
        ];
        named.into_iter().find(|(text, _)| !text.is_empty()).map_or(Who::Unknown, |(text, who)| who(text))
    }

    fn starting(&self, step: Step) -> Screen<'static> {
        let (step, done) = match step {
            Step::Storage => (StartStep::Storage, 0),
            Step::Journal => (StartStep::Journal, 1),
            Step::Model => (StartStep::SelfTest, 2),
            Step::Decoder => (StartStep::Intake, 3),
        };
        Screen::Starting(StartingView { step, done, of: 4, software: env!("CARGO_PKG_VERSION") })
    }

    fn draw_ready(&self, frame: &mut Frame, look: Look) {
        let health = self.health();
        let addresses = address_of(&self.shared.board);
        let ways = ways(&self.shared.board, addresses.as_deref());
        let (unix_ms, verified) = clock::now();
        let left = self.last_left.as_ref().map(|(left, _)| (shortened(&left.name), left.reason));
        let left_out = left.as_ref().map(|(name, reason)| LeftOut { name, reason: *reason });
        let view = ReadyView {
            health: &health,
            ways: &ways,
            read: u64::try_from(self.rows).unwrap_or(0),
            waiting: self.waiting(),
            now: Some(self.when(unix_ms, verified)),
            left_out,
        };
        Screen::Ready(view).draw(frame, look);
    }

    fn waiting(&self) -> u64 {
        self.spool.as_ref().map_or(0, |spool| spool.unread_count() as u64)
    }

    fn health(&self) -> Vec<Health<'_>> {
        let part = |part: Part, configured: bool| {
            if !configured {
                PartHealth::Off
            } else if self.kiosk.broken.contains(&part) {
                PartHealth::Restarting
            } else {
                PartHealth::Works
            }
        };
        let board = &self.shared.board;
        let storage = match self.vitals.room {
            _ if self.kiosk.broken.contains(&Part::Storage) => StorageHealth::Failed,
            _ if self.kiosk.full => StorageHealth::Full,
            Some(room) if room.free < (room.all / 100 * NEARLY_FULL).max(2 * board.spool.keep_free_bytes) => {
                StorageHealth::NearlyFull { bytes: room.free }
            }
            Some(room) => StorageHealth::Free { bytes: room.free },
            None => StorageHealth::Failed,
        };
        let journal = match (self.kiosk.broken.contains(&Part::Journal), self.journal_sound) {
            (true, _) => JournalHealth::Failed,
            (false, false) => JournalHealth::Broken,
            (false, true) => JournalHealth::Sound,
        };
        let model = match &self.model {
            _ if self.kiosk.broken.contains(&Part::Model) && self.self_test_failed => ModelHealth::SelfTestFailed,
            _ if self.kiosk.broken.contains(&Part::Model) => ModelHealth::Missing,
            Some(model) if model.on_trial => ModelHealth::OnTrial { name: &model.name, version: &model.version },
            Some(model) => ModelHealth::Ready { name: &model.name, version: &model.version },
            None => ModelHealth::Missing,
        };
        let mut health = vec![Health::Storage(storage), Health::Journal(journal), Health::Model(model)];
        if board.listener.is_some() {
            health.push(Health::Listener(part(Part::Listener, true)));
        }
        if !board.folders.is_empty() {
            health.push(Health::Folders(part(Part::Folders, true)));
        }
        if board.camera.is_some() {
            health.push(Health::Camera(part(Part::Camera, true)));
        }
        if let Some((queue, trouble)) = &self.vitals.archive {
            let since = queue.oldest_unix_ms.map(|since| self.when(since, self.vitals.clock_verified));
            health.push(Health::Archive { waiting: queue.waiting, since, refused: queue.again, trouble: *trouble });
        }
        if let Some(celsius) = self.vitals.temperature {
            let slowed = self.vitals.throttling.is_some_and(|throttling| throttling.slowed);
            let level = match celsius {
                TOO_HOT.. => Level::Fault,
                HOT.. => Level::Attention,
                _ if slowed => Level::Attention,
                _ => Level::Good,
            };
            health.push(Health::Temperature { celsius, level });
        }
        if let Some(throttling) = self.vitals.throttling {
            health.push(Health::Power { low: throttling.low_voltage || throttling.low_voltage_before });
        }
        health.push(Health::Clock { verified: self.vitals.clock_verified });
        health
    }

    fn aim(&self, camera: Camera) -> Screen<'_> {
        let (sight, outline, aim) = match &self.sight {
            Sight::Opening => (None, None, Aim::Opening),
            Sight::Blind => (None, None, Aim::Blind),
            Sight::Seen(image, guidance) => {
                (Some(image.as_ref()), guidance.outline, guidance.hint.map_or(Aim::Good, Aim::Fix))
            }
        };
        let aim = if camera == Camera::Taking { Aim::Taking } else { aim };
        Screen::Aim(AimView { sight, outline, aim })
    }

    fn receiving(&self) -> Screen<'static> {
        let source = if self.coming_in.from_network > 0 { Source::Network } else { Source::Folder };
        let (films, bytes) = (self.coming_in.count(), self.coming_in.bytes);
        Screen::Receiving(ReceivingView { source, from: "", films, bytes, of_bytes: None })
    }

    fn reading(&self) -> Screen<'static> {
        let waiting = self.waiting().saturating_sub(1);
        Screen::Reading(ReadingView { film: None, step: self.step, who: None, waiting })
    }

    fn verdict<'a>(&self, case: &'a Case, page: Page, position: Option<(u64, u64)>) -> Screen<'a> {
        Screen::Verdict(VerdictScreen {
            film: case.picture.as_ref().map(|picture| Film {
                image: &picture.image,
                pixel_aspect: picture.pixel_aspect,
                saliency: picture.saliency.as_ref().map(|(map, window)| (map, *window)),
            }),
            reading: &case.reading,
            operating_point: &case.operating_point,
            model_name: &case.row.model_name,
            model_version: &case.row.model_version,
            page,
            case: Some(ui::Case {
                sequence: u64::try_from(case.row.sequence).unwrap_or(0),
                who: self.who(case),
                when: self.when(case.row.at_unix_ms, case.row.clock_verified),
                source: source_of(&case.row),
                position,
            }),
        })
    }

    fn review_row<'a>(&self, case: &'a Case) -> ReviewRow<'a> {
        ReviewRow {
            sequence: u64::try_from(case.row.sequence).unwrap_or(0),
            who: self.who(case),
            when: self.when(case.row.at_unix_ms, case.row.clock_verified),
            verdict: &case.reading.verdict,
        }
    }

    fn fault(&self, trouble: Trouble) -> Screen<'_> {
        let fault = match trouble {
            Trouble::Part(Part::Storage) => Fault::Storage,
            Trouble::Part(Part::Journal) => Fault::Journal,
            Trouble::Part(Part::Model) if self.self_test_failed => Fault::SelfTest,
            Trouble::Part(Part::Model) => Fault::NoModel,
            Trouble::Part(Part::Reader) => Fault::Program,
            Trouble::Part(Part::Panel) => Fault::Panel,
            Trouble::Part(Part::Keys) => Fault::Buttons,
            Trouble::Part(Part::Listener) => Fault::Listener,
            Trouble::Part(Part::Folders) => Fault::Folder,
            Trouble::Part(Part::Camera) => Fault::Camera,
            Trouble::Part(Part::Lamps | Part::Watchdog) => Fault::Program,
            Trouble::Full => Fault::StorageFull,
        };
        let part = match trouble {
            Trouble::Part(part) => Some(part),
            Trouble::Full => None,
        };
        let told = self.failing.iter().find(|((failing, _), _)| Some(*failing) == part);
        let (detail, since) = told.map_or(("", None), |(_, (why, since))| (why.as_str(), Some(*since)));
        let since = since.map(|since| self.when(since, self.vitals.clock_verified));
        Screen::Fault(FaultView { fault, since, detail, retrying: true })
    }

    fn draw_update(&self, page: OfferPage, frame: &mut Frame, look: Look) {
        let mut draw = |stage: UpdateStage<'_>| self.update(stage).draw(frame, look);
        match &self.update_at {
            UpdateAt::Offered => self.draw_offer(page, &mut draw),
            UpdateAt::Step(step) => draw(match step {
                models::Step::Verifying => UpdateStage::Installing { done: 0, of: 1 },
                models::Step::Writing => UpdateStage::Installing { done: 0, of: 1 },
                models::Step::SelfTest => UpdateStage::SelfTest { done: 0, of: 1 },
                models::Step::Replay => {
                    UpdateStage::Replay { done: 0, of: self.shared.board.models.replay_cases as u32 }
                }
            }),
            UpdateAt::Installed(installed) => {
                let cases = installed.replayed.as_ref().map_or(0, |replayed| replayed.films as u64);
                let changed = changed_cases(installed);
                let changed: Vec<Changed<'_>> = changed
                    .iter()
                    .map(|case| Changed { sequence: case.sequence, before: &case.before, after: &case.after })
                    .collect();
                draw(UpdateStage::Trial { cases, changed: &changed });
            }
            UpdateAt::None | UpdateAt::Found => draw(UpdateStage::Trial { cases: 0, changed: &[] }),
            UpdateAt::Kept => draw(UpdateStage::Confirmed),
            UpdateAt::WentBack => draw(UpdateStage::RolledBack(ui::UpdateFailure::Declined, "")),
            UpdateAt::Refused(refusal) => draw(UpdateStage::Failed(refusal.why, &refusal.detail)),
        }
    }

    fn update<'a>(&'a self, stage: UpdateStage<'a>) -> Screen<'a> {
        let (name, version) = &self.update_of;
        let running = self.model.as_ref().map(|model| model.version.as_str());
        Screen::Update(UpdateView { name, version, running, stage })
    }

    fn draw_offer(&self, page: OfferPage, draw: &mut dyn FnMut(UpdateStage<'_>)) {
        let Some((_, offer)) = &self.offer else { return };
        let signers = offer.facts.signers.iter().map(|signer| Signer { name: &signer.name, revoked: signer.revoked });
        let signers: Vec<Signer<'_>> = signers.collect();
        let view = ui::Offer { signers: &signers, figures: &offer.facts.figures, changes: &offer.changes, page };
        draw(UpdateStage::Offered(view));
    }
}

/// As much of a file's name as a small panel shows: its beginning, and its end.
fn shortened(name: &str) -> String {
    const MOST: usize = 24;
    let letters: Vec<char> = name.chars().filter(|letter| !letter.is_control()).collect();
    if letters.len() <= MOST {
        return letters.into_iter().collect();
    }
    let (first, last) = (&letters[..MOST / 2], &letters[letters.len() - MOST / 2 + 1..]);
    first.iter().chain(&['…']).chain(last).collect()
}

/// What the key for the next page leads to.
fn page_hint(page: Page, refused: bool) -> Hint {
    match super::state::page_after(page, refused) {
        Page::Map => Hint::Map,
        Page::Details => Hint::Details,
        Page::Whole | Page::Verdict => Hint::Verdict,
    }
}

fn menu_entry(entry: Entry) -> MenuEntry {
    match entry {
        Entry::Update => MenuEntry::Update,
        Entry::Review => MenuEntry::Review,
        Entry::Language => MenuEntry::Language,
    }
}

fn source_of(row: &Recorded) -> Source {
    match row.origin.as_str() {
        "network" => Source::Network,
        "drive" => Source::Drive,
        "camera" => Source::Camera,
        "file" => Source::File,
        _ => Source::Folder,
    }
}

/// Where modalities reach this device, as a technician types it.
fn address_of(board: &Board) -> Option<String> {
    let address = board.listener.as_ref()?.address;
    let shown = if address.ip().is_unspecified() { hardware::own_address() } else { Some(address.ip()) };
    Some(match shown {
        Some(ip) => format!("{ip}:{}", address.port()),
        None => format!("*:{}", address.port()),
    })
}

fn ways<'a>(board: &'a Board, address: Option<&'a str>) -> Vec<Way<'a>> {
    let mut ways = Vec::new();
    if board.camera.is_some() {
        ways.push(Way::Camera);
    }
    if let (Some(listener), Some(address)) = (&board.listener, address) {
        ways.push(Way::Network { ae_title: listener.ae_title.as_str(), address });
    }
    for folder in &board.folders {
        if folder.drives {
            ways.push(Way::Drive);
        } else if let Some(name) = folder.path.file_name().and_then(|name| name.to_str()) {
            ways.push(Way::Folder { name });
        }
    }
    ways
}
