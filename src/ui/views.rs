//! What each screen is told: plain data, no words, no drawing.
//!
//! Free text is only what comes from outside (names, identifiers, an error's details); all else is said by an enum, so
//! that it can be said in every language.

use crate::domain::{ArchiveTrouble, AuditFigure, Change, GreyImage, Language, Reason, Verdict};

use super::Film;

/// In which language a screen speaks, and what the keys do on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The language.
    pub language: Language,
    /// What the keys do.
    pub keys: Keys,
}

/// What the two keys do; `None` where a key does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// The key marked with a disc.
    pub next: Option<Hint>,
    /// The key marked with a square.
    pub select: Option<Hint>,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hint {
    /// Shows the saliency map.
    Map,
    /// Shows the details.
    Details,
    /// Shows the verdict.
    Verdict,
    /// Shows the page that follows.
    NextPage,
    /// Goes to the next film of the review.
    NextFilm,
    /// Goes to the next line of a list.
    NextLine,
    /// Opens the list of past films.
    Review,
    /// Opens the settings.
    Settings,
    /// Opens what is chosen.
    Open,
    /// Takes what is chosen.
    Choose,
    /// Leaves the screen.
    Done,
    /// Goes back to where one came from.
    Back,
    /// Puts an offered model in place.
    Install,
    /// Refuses an offered model.
    Decline,
    /// Keeps the model on trial.
    Keep,
    /// Goes back to the model before.
    RollBack,
    /// Tries again.
    Retry,
    /// Shows what is offered.
    Look,
    /// Goes to the camera.
    Photograph,
    /// Takes the photograph.
    Shoot,
    /// Goes to the camera once more.
    TakeAgain,
    /// Shows where else one can go.
    More,
}

/// How far something is from how it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// As it should be.
    Good,
    /// Works, but someone should see to it.
    Attention,
    /// Does not work.
    Fault,
}

/// A point in time, as it is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub unix_s: i64,
    /// Seconds that the place's time is ahead of UTC.
    pub utc_offset_s: i32,
    /// Whether the clock had been set by something trusted.
    pub verified: bool,
}

/// Who is on a film.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who<'a> {
    /// The site shows nobody.
    Hidden,
    /// The film does not say.
    Unknown,
    /// Patient ID.
    Patient(&'a str),
    /// Accession number or study UID, where no patient is named.
    Study(&'a str),
}

/// Where films come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A file named by a person.
    File,
    /// DICOM storage over the network.
    Network,
    /// A watched folder.
    Folder,
    /// A removable drive.
    Drive,
    /// A film photographed by the device.
    Camera,
}

/// The device is not ready yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartingView<'a> {
    /// What is being done.
    pub step: StartStep,
    /// Steps done.
    pub done: u32,
    /// Steps in all; at least 1.
    pub of: u32,
    /// Version of the program.
    pub software: &'a str,
}

/// A step of the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StartStep {
    /// The data partition.
    Storage,
    /// The record is opened and its end checked.
    Journal,
    /// The model's signatures and digests.
    Model,
    /// The model reads its golden films.
    SelfTest,
    /// Sources and the listener.
    Intake,
}

/// The device waits for a film.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadyView<'a> {
    /// How each part is, in the order in which they are shown.
    pub health: &'a [Health<'a>],
    /// The ways in that are open.
    pub ways: &'a [Way<'a>],
    /// Films read since the record began.
    pub read: u64,
    /// Films that wait to be read.
    pub waiting: u64,
    /// The time now, as the device has it; `None` where it keeps no time.
    pub now: Option<When>,
    /// What was put into a folder just now and is no film that could be taken.
    pub left_out: Option<LeftOut<'a>>,
}

/// A file that was left where it lay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut<'a> {
    /// Its name; no longer than a line.
    pub name: &'a str,
    /// Why it is none that can be read; `None` where the same film was read before.
    pub reason: Option<Reason>,
}

/// How to hand in a film.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<'a> {
    /// Send it over the network.
    Network {
        /// The device's AE title.
        ae_title: &'a str,
        /// Its address and port, as a technician types them.
        address: &'a str,
    },
    /// Put the file into a folder.
    Folder {
        /// Its name as a person knows it.
        name: &'a str,
    },
    /// Put in a USB drive.
    Drive,
    /// Put the film on the lightbox.
    Camera,
}

/// How one part of the device is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Health<'a> {
    /// Where films and the record are kept.
    Storage(StorageHealth),
    /// The record of readings.
    Journal(JournalHealth),
    /// The model.
    Model(ModelHealth<'a>),
    /// DICOM over the network.
    Listener(PartHealth),
    /// Watched folders and drives.
    Folders(PartHealth),
    /// The camera.
    Camera(PartHealth),
    /// Sending to the archive (PACS).
    Archive {
        /// Objects that wait to be sent.
        waiting: u64,
        /// When the first of them was queued.
        since: Option<When>,
        /// Objects that the archive refused for good, and that could be sent once more.
        refused: u64,
        /// Why it has not taken what waits.
        trouble: Option<ArchiveTrouble>,
    },
    /// Temperature of the processor.
    Temperature {
        /// In degrees Celsius.
        celsius: i16,
        /// How good that is: too hot, or slowed down by it.
        level: Level,
    },
    /// Supply voltage.
    Power {
        /// Whether it has been too low.
        low: bool,
    },
    /// The clock.
    Clock {
        /// Whether it was set by something trusted.
        verified: bool,
    },
}

/// How a part is of which no more is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartHealth {
    /// Works.
    Works,
    /// Switched off in the board file.
    Off,
    /// Broke, and is being started again.
    Restarting,
    /// Broke and does not come back by itself.
    Broken,
}

/// How the storage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageHealth {
    /// Enough room.
    Free {
        /// Bytes that are free.
        bytes: u64,
    },
    /// Little room.
    NearlyFull {
        /// Bytes that are free.
        bytes: u64,
    },
    /// No room for another film.
    Full,
    /// Cannot be written.
    Failed,
}

/// How the record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JournalHealth {
    /// Whole.
    Sound,
    /// A row was changed or taken out.
    Broken,
    /// Cannot be written.
    Failed,
}

/// How the model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelHealth<'a> {
    /// Passed its self-test.
    Ready {
        /// Its name.
        name: &'a str,
        /// Its version.
        version: &'a str,
    },
    /// Reads films, but has not been confirmed yet.
    OnTrial {
        /// Its name.
        name: &'a str,
        /// Its version.
        version: &'a str,
    },
    /// There is none.
    Missing,
    /// Does not answer its golden films as it should.
    SelfTestFailed,
}

impl Health<'_> {
    /// How far the part is from how it should be.
    pub fn level(&self) -> Level {
        let of_part = |part: PartHealth| match part {
            PartHealth::Works | PartHealth::Off => Level::Good,
            PartHealth::Restarting => Level::Attention,
            PartHealth::Broken => Level::Fault,
        };
        match *self {
            Self::Storage(StorageHealth::Free { .. }) | Self::Journal(JournalHealth::Sound) => Level::Good,
            Self::Storage(StorageHealth::NearlyFull { .. }) => Level::Attention,
            Self::Storage(StorageHealth::Full | StorageHealth::Failed) => Level::Fault,
            Self::Journal(JournalHealth::Broken | JournalHealth::Failed) => Level::Fault,
            Self::Model(ModelHealth::Ready { .. }) => Level::Good,
            Self::Model(ModelHealth::OnTrial { .. }) => Level::Attention,
            Self::Model(ModelHealth::Missing | ModelHealth::SelfTestFailed) => Level::Fault,
            Self::Listener(part) | Self::Folders(part) | Self::Camera(part) => of_part(part),
            // What was read just now waits for a moment.
            Self::Archive { refused: 0, trouble: None, .. } => Level::Good,
            Self::Archive { .. } => Level::Attention,
            Self::Temperature { level, .. } => level,
            Self::Power { low: true } | Self::Clock { verified: false } => Level::Attention,
            Self::Power { low: false } | Self::Clock { verified: true } => Level::Good,
        }
    }
}

/// A film is being photographed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AimView<'a> {
    /// What the camera sees; `None` before its first picture, and where it has none that is quick enough.
    pub sight: Option<&'a GreyImage>,
    /// Corners of the film clockwise from the upper left, as shares of the picture's width and height.
    pub outline: Option<[[f32; 2]; 4]>,
    /// What to tell whoever holds film or camera.
    pub aim: Aim,
}

/// What to tell whoever aims the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aim {
    /// The camera is being opened.
    Opening,
    /// This camera shows nothing before the photograph.
    Blind,
    /// What has to be put right first.
    Fix(Reason),
    /// The photograph can be taken.
    Good,
    /// It is being taken.
    Taking,
}

/// Where one can go from here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MenuView<'a> {
    /// The ways, in the order in which they are shown.
    pub entries: &'a [MenuEntry],
    /// Index of the chosen one.
    pub chosen: usize,
}

/// A way from the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MenuEntry {
    /// A model that is offered, installed or on trial.
    Update,
    /// The past films.
    Review,
    /// The choice of a language.
    Language,
}

/// A film is on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivingView<'a> {
    /// By which way.
    pub source: Source,
    /// The sender's AE title, or the name of the file or drive; empty where it has none.
    pub from: &'a str,
    /// Films that have come in so far.
    pub films: u64,
    /// Bytes of the film that is coming in.
    pub bytes: u64,
    /// Bytes that it will have, where the sender says so.
    pub of_bytes: Option<u64>,
}

/// A film is being read.
#[derive(Clone, Copy, Debug)]
pub struct ReadingView<'a> {
    /// The film, once it has been decoded.
    pub film: Option<Film<'a>>,
    /// What is being done.
    pub step: ReadingStep,
    /// Who is on it; `None` where that is not known yet.
    pub who: Option<Who<'a>>,
    /// Films that wait after it.
    pub waiting: u64,
}

/// A step of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadingStep {
    /// The file is decoded.
    Decode,
    /// The picture is checked.
    Check,
    /// The network runs.
    Infer,
    /// The reading is written down.
    Record,
}

impl ReadingStep {
    /// Every step, in order.
    pub const ALL: [Self; 4] = [Self::Decode, Self::Check, Self::Infer, Self::Record];

    /// Position in [`ALL`](Self::ALL).
    pub fn index(self) -> usize {
        match self {
            Self::Decode => 0,
            Self::Check => 1,
            Self::Infer => 2,
            Self::Record => 3,
        }
    }
}

/// The page of a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Page {
    /// What is said and what to do, with the map on the film: a picture that is all there is.
    #[default]
    Whole,
    /// What is said and what to do, beside the plain film.
    Verdict,
    /// The film as large as it gets, with the saliency map.
    Map,
    /// What the verdict rests on: figures, who, when, which model, intended use.
    Details,
}

/// What is known of a case beside its reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case<'a> {
    /// Number in the record.
    pub sequence: u64,
    /// Who is on the film.
    pub who: Who<'a>,
    /// When it was read.
    pub when: When,
    /// By which way it came.
    pub source: Source,
    /// Which one of the cases being looked through, and of how many, from 1; `None` outside of a review.
    pub position: Option<(u64, u64)>,
}

/// The past cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReviewView<'a> {
    /// Cases, newest first; the screen shows those around the chosen one. `None` while they are being fetched.
    pub rows: Option<&'a [ReviewRow<'a>]>,
    /// Index of the chosen one in `rows`.
    pub chosen: usize,
}

/// A past case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReviewRow<'a> {
    /// Number in the record.
    pub sequence: u64,
    /// Who is on the film.
    pub who: Who<'a>,
    /// When it was read.
    pub when: When,
    /// What was said.
    pub verdict: &'a Verdict,
}

/// A model that is offered, installed or on trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Version of the model that runs now; `None` where there is none.
    pub running: Option<&'a str>,
    /// How far it has come.
    pub stage: UpdateStage<'a>,
}

/// How far an update has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpdateStage<'a> {
    /// Waits for a person to say yes.
    Offered(Offer<'a>),
    /// Is being written.
    Installing {
        /// Bytes written.
        done: u64,
        /// Bytes in all.
        of: u64,
    },
    /// Reads its golden films.
    SelfTest {
        /// Films read.
        done: u32,
        /// Films in all.
        of: u32,
    },
    /// Reads the last local cases again.
    Replay {
        /// Cases read.
        done: u32,
        /// Cases in all.
        of: u32,
    },
    /// Waits for a person to keep it or to go back.
    Trial {
        /// Cases that were read again.
        cases: u64,
        /// Those whose verdict is now another, those that lost Covid-19 first.
        changed: &'a [Changed<'a>],
    },
    /// Is the running model.
    Confirmed,
    /// The model before runs again.
    RolledBack(UpdateFailure, &'a str),
    /// Was not put in place.
    Failed(UpdateFailure, &'a str),
}

/// What a person is told before saying yes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer<'a> {
    /// Who signed it.
    pub signers: &'a [Signer<'a>],
    /// How well it did.
    pub figures: &'a [AuditFigure],
    /// What differs from the running model.
    pub changes: &'a [Change],
    /// Which page is shown.
    pub page: OfferPage,
}

/// Somebody who signed a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signer<'a> {
    /// Name of the key.
    pub name: &'a str,
    /// Whether the key has been revoked since.
    pub revoked: bool,
}

/// A page of an offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OfferPage {
    /// Name, version, signers, and the first figures.
    #[default]
    Summary,
    /// All figures.
    Figures,
    /// All differences.
    Differences,
}

/// A past case that is now read otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Changed<'a> {
    /// Number in the record.
    pub sequence: u64,
    /// By the model before.
    pub before: &'a Verdict,
    /// By the model on trial.
    pub after: &'a Verdict,
}

/// Why a model was not put in place, or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpdateFailure {
    /// Bytes that are not what they should be.
    Damaged,
    /// Not signed by those that are trusted here.
    NotTrusted,
    /// Older than what has been installed already.
    TooOld,
    /// Needs a newer program.
    NeedsNewerProgram,
    /// Writing was not finished.
    Unfinished,
    /// No room.
    StorageFull,
    /// The storage cannot be read or written.
    StorageFailed,
    /// Failed its self-test.
    SelfTest,
    /// Could not read the last cases again.
    Replay,
    /// Started as often as a trial may be, and never confirmed.
    BootsUsedUp,
    /// Gave no answer.
    ModelFault,
    /// A person went back.
    Declined,
}

/// The device cannot do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultView<'a> {
    /// What is wrong.
    pub fault: Fault,
    /// Since when, where the device keeps time.
    pub since: Option<When>,
    /// What was found, in English, for the technician; may be empty.
    pub detail: &'a str,
    /// Whether the device tries again by itself.
    pub retrying: bool,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No model that could be used.
    NoModel,
    /// The model does not answer its golden films as it should.
    SelfTest,
    /// No room for another film or row.
    StorageFull,
    /// The storage cannot be read or written.
    Storage,
    /// The record cannot be written.
    Journal,
    /// A row of the record was changed or taken out.
    JournalBroken,
    /// The listener does not come up.
    Listener,
    /// The watched folder is gone.
    Folder,
    /// The camera is gone.
    Camera,
    /// A panel is gone.
    Panel,
    /// Buttons or keyboard are gone.
    Buttons,
    /// Too hot to go on.
    Hot,
    /// Part of the program ended.
    Program,
}

/// The choice of a language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingsView {
    /// The language that is pointed at.
    pub chosen: Language,
    /// The language in force.
    pub current: Language,
}
