//! What the kiosk shows and does next: one state machine, without I/O, clocks or threads.

use std::collections::{BTreeSet, VecDeque};

use crate::domain::{Key, LampRole, Language, Light};
use crate::ui::{OfferPage, Page};

/// Verdicts that wait to be seen at most; older ones are found in the review.
const MOST_UNSEEN: usize = 32;

/// What is on the panel.
///
/// ```text
///             Started                  Receiving            Reading
///  Starting ───────────► Ready ◄───────────────► Receiving ──────────► Reading
///     │                  ▲ ▲ │ │                      │                 │   │ Read
///     │ a part           │ │ │ │ Next       Next      │      Next       │   ▼
///     │ fails            │ │ │ └─────► Review ◄───────┴─────────────────┘  Verdict, or Refused
///     ▼      works again │ │ │           ▲  list ⇄ opening ─► case          │
///    Fault ──────────────┘ │ │ Select    │                                  │ Select, or in time
///     │ ▲                  │ ├─► Update  │ offer ─► installing ─► trial ─► over
///     │ └─ a part fails,   │ └─► Settings│                                  │
///     │    or the disk     │             │                                  │
///     │    is full         └──── home ◄──┴── each of them by Next or Select, or in time
///     ├─ Next ─► Review
///     └─ Select ─► Update where a model is offered, else the start is tried again
/// ```
///
/// Where there is a camera, Ready, Receiving and Reading lead elsewhere, as there are more ways than keys:
///
/// ```text
///  Ready ── Select ──► Camera: aiming ── Select ──► taking ── Taken ──► home: the photograph is read
///    │                   ▲       │ Next                │ Next, or no photograph was given
///    │                   │       └──► home             └──► home, or aiming
///    │                   └── Select ── Refused, where the film was photographed
///    └──── Next ───► Menu ── Select ──► Update (where one is offered), Review, or Settings
///                      └── Next past the last line ──► home
/// ```
///
/// *Home* is the oldest verdict that nobody has seen, else a fault screen while something stops the reading of films,
/// else what the reader is doing, else Ready. A verdict never takes the place of a screen that a person is using: it
/// waits, and is shown next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The parts are being started, one after the other.
    Starting(Step),
    /// Nothing to do: how the device is, and how a film comes in.
    Ready,
    /// A film is coming in.
    Receiving,
    /// A film is being read.
    Reading,
    /// What was said of a film.
    Verdict(Viewed),
    /// Why a film was not read.
    Refused(Viewed),
    /// The last cases.
    Review(Review),
    /// A model on a drive, and what becomes of it: see [`Kiosk::update`].
    Update {
        /// Which page of an offer.
        page: OfferPage,
    },
    /// A film is being photographed.
    Camera(Camera),
    /// Where else one can go, on a device with a camera.
    Menu {
        /// The line that is marked.
        marked: Entry,
    },
    /// The choice of a language.
    Settings {
        /// The one that is marked.
        marked: Language,
    },
    /// Films cannot be read, or no more of them be taken.
    Fault {
        /// The first thing to see to.
        trouble: Trouble,
    },
}

/// A step of the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The spool is opened.
    Storage,
    /// The journal is opened.
    Journal,
    /// The model is verified and loaded, and answers its golden films.
    Model,
    /// The decoder is started.
    Decoder,
}

/// How far a photograph has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Camera {
    /// The camera's picture is shown with what to put right, or why there is none.
    Aiming,
    /// The photograph is being taken and kept.
    Taking,
}

/// A line of the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A model that does not run yet.
    Update,
    /// The last cases.
    Review,
    /// The choice of a language.
    Language,
}

/// A verdict that nobody has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unseen {
    /// Its row in the journal.
    pub case: i64,
    /// Whether the film was not fit for reading.
    pub refused: bool,
    /// Whether the film was photographed here, so that it can be again.
    pub photographed: bool,
}

/// A verdict that is being looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Viewed {
    /// Its row in the journal.
    pub case: i64,
    /// Which page.
    pub page: Page,
    /// For how long it has been shown, in seconds; no longer counted than matters.
    pub shown_s: u32,
    /// Whether the film was photographed here, so that it can be again.
    pub photographed: bool,
}

/// The page after this one; a film that was not read has no map.
pub(super) fn page_after(page: Page, refused: bool) -> Page {
    match page {
        Page::Whole | Page::Verdict if refused => Page::Details,
        Page::Whole | Page::Verdict => Page::Map,
        Page::Map => Page::Details,
        Page::Details => Page::Verdict,
    }
}

/// The page before this one.
fn page_before(page: Page, refused: bool) -> Page {
    match page {
        Page::Whole | Page::Verdict => Page::Details,
        Page::Map => Page::Verdict,
        Page::Details if refused => Page::Verdict,
        Page::Details => Page::Map,
    }
}

/// Where in the last cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Review {
    /// The list; the key that goes past the last case leaves it.
    List {
        /// Which case is marked.
        at: usize,
        /// Cases in the list.
        of: usize,
    },
    /// A case is being fetched.
    Opening {
        /// Which one.
        at: usize,
        /// Cases in the list.
        of: usize,
    },
    /// A case as it was shown then.
    Case {
        /// Which one.
        at: usize,
        /// Cases in the list.
        of: usize,
        /// Whether it was not read.
        refused: bool,
        /// Which page.
        page: Page,
    },
}

/// What stops the reading of films, in the order in which it has to be seen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trouble {
    /// A part does not work.
    Part(Part),
    /// The disk is nearly full: nothing more is taken in.
    Full,
}

/// A part of the device that can fail and be started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The spool.
    Storage,
    /// The journal: what cannot be written down is not shown.
    Journal,
    /// The model: none can be used, or it does not answer its golden films as it should.
    Model,
    /// The thread that reads films, and the decoder.
    Reader,
    /// What shows pictures.
    Panel,
    /// What is pressed.
    Keys,
    /// DICOM over the network.
    Listener,
    /// Folders and drives.
    Folders,
    /// What photographs films.
    Camera,
    /// Lamps.
    Lamps,
    /// The hardware watchdog.
    Watchdog,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 11] = [
        Self::Storage,
        Self::Journal,
        Self::Model,
        Self::Reader,
        Self::Panel,
        Self::Keys,
        Self::Listener,
        Self::Folders,
        Self::Camera,
        Self::Lamps,
        Self::Watchdog,
    ];

    /// The name in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Journal => "journal",
            Self::Model => "model",
            Self::Reader => "reader",
            Self::Panel => "panel",
            Self::Keys => "keys",
            Self::Listener => "listener",
            Self::Folders => "folders",
            Self::Camera => "camera",
            Self::Lamps => "lamps",
            Self::Watchdog => "watchdog",
        }
    }

    /// Whether no verdict can be given without it.
    pub fn stops_reading(self) -> bool {
        match self {
            Self::Storage | Self::Journal | Self::Model | Self::Reader => true,
            Self::Panel | Self::Keys | Self::Listener | Self::Folders | Self::Camera | Self::Lamps | Self::Watchdog => {
                false
            }
        }
    }
}

/// What is known of a model that does not run yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Update {
    /// Nothing.
    None,
    /// A drive holds a bundle that this device accepts.
    Offered,
    /// It is being installed and tried, and reads the last local cases.
    Installing,
    /// It has passed its self-test and waits for a person's decision.
    OnTrial,
    /// The decision is being carried out.
    Settling,
    /// It was kept, given up or refused.
    Over,
}

/// What happens to the kiosk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Somebody pressed a key.
    Key(Key),
    /// So many seconds went by.
    Tick {
        /// At least 1.
        seconds: u32,
    },
    /// The start has come to this step.
    Starting(Step),
    /// Everything that is needed to read films is there.
    Started,
    /// Whether something is coming in.
    Receiving(bool),
    /// The reader has begun with a film.
    Reading,
    /// The reader left a film for later: nothing was said of it.
    Left,
    /// A film was read and its row is durable.
    Read {
        /// Its row in the journal.
        case: i64,
        /// Whether it was not fit for reading.
        refused: bool,
        /// Whether it was photographed here.
        photographed: bool,
    },
    /// A photograph is kept and waits for the reader.
    Taken,
    /// There is no photograph.
    NotTaken,
    /// The last photograph was read.
    Settled,
    /// A part works, or does not.
    Part {
        /// Which.
        part: Part,
        /// Whether it works.
        works: bool,
    },
    /// Whether the disk has too little room to take more.
    Full(bool),
    /// Somebody put a file into a folder that is none that could be taken.
    LeftOut,
    /// What is known of a model that does not run yet.
    Update(Update),
    /// The cases that were asked for.
    Listed {
        /// How many there are.
        of: usize,
    },
    /// The case that was asked for.
    Opened {
        /// Whether it was not read then.
        refused: bool,
    },
    /// The case that was asked for cannot be shown.
    NotOpened,
    /// The program is to end.
    Stop,
}

/// What the loop has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Light the panel, or blank it.
    Light(bool),
    /// Start the parts that do not work again, now.
    Restart,
    /// Take a photograph and keep it.
    Shoot,
    /// Open the camera again, now.
    Reopen,
    /// Fetch the last cases.
    List,
    /// Fetch one of them.
    Open {
        /// Which one.
        at: usize,
    },
    /// Install the bundle that is offered.
    Install,
    /// Offer this bundle no more while its drive stays.
    Decline,
    /// Confirm the model on trial and read films with it.
    Keep,
    /// Give up the model on trial.
    GoBack,
    /// Speak this language from now on.
    Speak(Language),
    /// End the program.
    Stop,
}

/// After how many seconds something happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// How long a verdict stands at least before the next one takes its place.
    pub hold_s: u32,
    /// Without a key, until a screen is left.
    pub return_s: u32,
    /// Without a key, until the panel is blanked; `None` for never.
    pub blank_s: Option<u32>,
}

impl Timing {
    /// Beyond this nothing changes any more.
    fn longest(&self) -> u32 {
        self.hold_s.max(self.return_s).max(self.blank_s.unwrap_or(0))
    }
}

/// Everything that decides what happens next: the state, and what goes on behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kiosk {
    /// What is on the panel.
    pub state: State,
    /// After how long something happens by itself.
    pub timing: Timing,
    /// How far the start has come; `None` once it is over.
    pub starting: Option<Step>,
    /// Something is coming in.
    pub receiving: bool,
    /// A film is being read.
    pub reading: bool,
    /// Whether there is a camera.
    pub has_camera: bool,
    /// A photograph waits for the reader.
    pub waiting: bool,
    /// Verdicts that were not shown yet, oldest first.
    pub unseen: VecDeque<Unseen>,
    /// Parts that do not work.
    pub broken: BTreeSet<Part>,
    /// The disk has too little room to take more.
    pub full: bool,
    /// What is known of a model that does not run yet.
    pub update: Update,
    /// What is spoken.
    pub language: Language,
    /// Whether the panel is lit.
    pub lit: bool,
    /// For how long no key was pressed, in seconds; no longer counted than matters.
    pub quiet_s: u32,
}

impl Kiosk {
    /// A kiosk that is about to start.
    pub fn new(timing: Timing, language: Language) -> Self {
        Self {
            state: State::Starting(Step::Storage),
            timing,
            starting: Some(Step::Storage),
            receiving: false,
            reading: false,
            has_camera: false,
            waiting: false,
            unseen: VecDeque::new(),
            broken: BTreeSet::new(),
            full: false,
            update: Update::None,
            language,
            lit: true,
            quiet_s: 0,
        }
    }

    /// One with a camera, or without.
    #[must_use]
    pub fn with_camera(self, has_camera: bool) -> Self {
        Self { has_camera, ..self }
    }

    /// What stops the reading of films; the first is shown.
    pub fn trouble(&self) -> Option<Trouble> {
        let part = self.broken.iter().find(|part| part.stops_reading());
        part.map(|part| Trouble::Part(*part)).or_else(|| self.full.then_some(Trouble::Full))
    }

    /// How the lamp of that role shines.
    pub fn light(&self, role: LampRole) -> Light {
        let trouble = self.trouble().is_some();
        let shooting = self.state == State::Camera(Camera::Taking);
        let busy = self.reading || self.receiving || self.waiting || shooting;
        match role {
            LampRole::Ready if self.starting.is_none() && !trouble && !busy => Light::Steady,
            LampRole::Busy if busy || self.starting.is_some() => Light::Blinking,
            LampRole::Attention if !self.unseen.is_empty() || !self.broken.is_empty() || self.full => Light::Steady,
            LampRole::Fault if trouble => Light::Steady,
            LampRole::Ready | LampRole::Busy | LampRole::Attention | LampRole::Fault => Light::Off,
        }
    }

    /// Whether both look the same: what only counts time, or goes on behind the screen, is left out.
    pub fn looks_like(&self, other: &Self) -> bool {
        let plain = |kiosk: &Self| {
            let mut kiosk = kiosk.clone();
            kiosk.quiet_s = 0;
            (kiosk.receiving, kiosk.reading, kiosk.waiting) = (false, false, false);
            kiosk.unseen.clear();
            if let State::Verdict(viewed) | State::Refused(viewed) = &mut kiosk.state {
                viewed.shown_s = 0;
            }
            kiosk
        };
        plain(self) == plain(other)
    }

    fn show(&mut self, unseen: Unseen) {
        let Unseen { case, refused, photographed } = unseen;
        let viewed = Viewed { case, photographed, page: Page::Verdict, shown_s: 0 };
        self.state = if refused { State::Refused(viewed) } else { State::Verdict(viewed) };
    }

    /// Whether the film of a verdict can be photographed again.
    pub(super) fn can_be_taken_again(&self, viewed: &Viewed) -> bool {
        viewed.photographed && self.has_camera
    }

    /// The lines of the menu.
    pub(super) fn menu(&self) -> Vec<Entry> {
        let offered = (self.update != Update::None).then_some(Entry::Update);
        offered.into_iter().chain([Entry::Review, Entry::Language]).collect()
    }

    /// Goes home, or to the oldest verdict that nobody has seen.
    fn go_home(&mut self) {
        if let Some(step) = self.starting {
            self.state = State::Starting(step);
        } else if let Some(unseen) = self.unseen.pop_front() {
            self.show(unseen);
        } else if let Some(trouble) = self.trouble() {
            self.state = State::Fault { trouble };
        } else if self.reading || self.waiting {
            self.state = State::Reading;
        } else if self.receiving {
            self.state = State::Receiving;
        } else {
            self.state = State::Ready;
        }
    }

    /// Follows what goes on behind a screen that nobody is using.
    fn follow(&mut self) {
        match &self.state {
            State::Starting(_) | State::Ready | State::Receiving | State::Reading => self.go_home(),
            State::Fault { trouble } => {
                if self.trouble() != Some(*trouble) {
                    self.go_home();
                }
            }
            // Nothing would come of a photograph that is taken now.
            State::Camera(Camera::Aiming) if self.trouble().is_some() => self.go_home(),
            State::Verdict(_)
            | State::Refused(_)
            | State::Review(_)
            | State::Camera(_)
            | State::Menu { .. }
            | State::Update { .. }
            | State::Settings { .. } => {}
        }
    }
}

/// What follows from `event`.
pub fn transition(mut kiosk: Kiosk, event: Event) -> (Kiosk, Vec<Action>) {
    let mut actions = Vec::new();
    let was_lit = kiosk.lit;
    match event {
        Event::Key(_) if !kiosk.lit => {
            // Whoever presses a key in the dark does not know what it would do.
            (kiosk.lit, kiosk.quiet_s) = (true, 0);
        }
        Event::Key(key) => {
            kiosk.quiet_s = 0;
            press(&mut kiosk, key, &mut actions);
        }
        Event::Tick { seconds } => pass(&mut kiosk, seconds),
        // A fault stays on the panel until it is over: what is tried in between fails again more often than not.
        Event::Starting(_) if matches!(kiosk.trouble(), Some(Trouble::Part(_))) => {}
        Event::Starting(step) => {
            kiosk.starting = Some(step);
            kiosk.follow();
        }
        Event::Started => {
            kiosk.starting = None;
            kiosk.follow();
        }
        Event::Receiving(receiving) => {
            kiosk.receiving = receiving;
            kiosk.follow();
        }
        Event::Reading => {
            kiosk.reading = true;
            kiosk.follow();
        }
        Event::Left => {
            kiosk.reading = false;
            kiosk.follow();
        }
        Event::Read { case, refused, photographed } => {
            (kiosk.reading, kiosk.lit) = (false, true);
            kiosk.unseen.push_back(Unseen { case, refused, photographed });
            if kiosk.unseen.len() > MOST_UNSEEN {
                kiosk.unseen.pop_front();
            }
            arrive(&mut kiosk);
        }
        Event::Taken => {
            kiosk.waiting = true;
            if kiosk.state == State::Camera(Camera::Taking) {
                kiosk.go_home();
            } else {
                kiosk.follow();
            }
        }
        Event::NotTaken => {
            if kiosk.state == State::Camera(Camera::Taking) {
                kiosk.state = State::Camera(Camera::Aiming);
                kiosk.follow();
            }
        }
        Event::Settled => {
            kiosk.waiting = false;
            kiosk.follow();
        }
        Event::Part { part, works } => {
            if works {
                kiosk.broken.remove(&part);
            } else {
                kiosk.broken.insert(part);
                if part.stops_reading() {
                    // What was begun will be begun again.
                    (kiosk.starting, kiosk.reading, kiosk.lit) = (None, false, true);
                }
            }
            kiosk.follow();
        }
        Event::Full(full) => {
            kiosk.lit |= full && !kiosk.full;
            kiosk.full = full;
            kiosk.follow();
        }
        // Whoever put it there looks at the panel.
        Event::LeftOut => (kiosk.lit, kiosk.quiet_s) = (true, 0),
        Event::Update(update) => {
            kiosk.update = update;
            if let (State::Update { .. }, Update::None) = (&kiosk.state, update) {
                kiosk.go_home();
            }
            if kiosk.state == (State::Menu { marked: Entry::Update }) && update == Update::None {
                kiosk.state = State::Menu { marked: Entry::Review };
            }
        }
        Event::Listed { of } => {
            if let State::Review(Review::List { at, of: listed }) = &mut kiosk.state {
                (*at, *listed) = ((*at).min(of), of);
            }
        }
        Event::Opened { refused } => {
            if let State::Review(Review::Opening { at, of }) = kiosk.state {
                kiosk.state = State::Review(Review::Case { at, of, refused, page: Page::Verdict });
            }
        }
        Event::NotOpened => {
            if let State::Review(Review::Opening { at, of }) = kiosk.state {
                kiosk.state = State::Review(Review::List { at, of });
            }
        }
        Event::Stop => actions.push(Action::Stop),
    }
    if kiosk.lit != was_lit {
        actions.push(Action::Light(kiosk.lit));
    }
    (kiosk, actions)
}

/// A verdict has been written down: it is shown, unless a person is using the screen.
fn arrive(kiosk: &mut Kiosk) {
    let hold_s = kiosk.timing.hold_s;
    match &kiosk.state {
        State::Starting(_) | State::Receiving | State::Reading | State::Ready | State::Fault { .. } => {
            kiosk.go_home();
        }
        State::Verdict(viewed) | State::Refused(viewed) => {
            if viewed.shown_s >= hold_s && kiosk.quiet_s >= hold_s {
                kiosk.go_home();
            }
        }
        State::Review(_) | State::Camera(_) | State::Menu { .. } | State::Update { .. } | State::Settings { .. } => {}
    }
}

/// Time passes.
fn pass(kiosk: &mut Kiosk, seconds: u32) {
    let timing = kiosk.timing;
    kiosk.quiet_s = kiosk.quiet_s.saturating_add(seconds).min(timing.longest());
    let quiet_s = kiosk.quiet_s;
    match &mut kiosk.state {
        State::Verdict(viewed) | State::Refused(viewed) => {
            viewed.shown_s = viewed.shown_s.saturating_add(seconds).min(timing.longest());
            let seen = viewed.shown_s >= timing.hold_s && quiet_s >= timing.hold_s;
            let over = viewed.shown_s >= timing.return_s && quiet_s >= timing.return_s;
            if over || (seen && !kiosk.unseen.is_empty()) {
                kiosk.go_home();
            }
        }
        State::Review(_) | State::Camera(_) | State::Menu { .. } | State::Settings { .. } | State::Update { .. } => {
            if quiet_s >= timing.return_s {
                kiosk.go_home();
            }
        }
        State::Starting(_) | State::Ready | State::Receiving | State::Reading | State::Fault { .. } => {
            kiosk.follow();
        }
    }
    // Only a screen that nobody needs to see goes dark.
    if matches!(kiosk.state, State::Ready) && timing.blank_s.is_some_and(|blank_s| quiet_s >= blank_s) {
        kiosk.lit = false;
    }
}

/// The entry after or before `at` of `count`, round and round.
fn moved(at: usize, count: usize, forwards: bool) -> usize {
    if forwards { (at + 1) % count } else { (at + count - 1) % count }
}

fn press(kiosk: &mut Kiosk, key: Key, actions: &mut Vec<Action>) {
    match (kiosk.state.clone(), key) {
        // It cannot be hurried.
        (State::Starting(_), Key::Next | Key::Previous | Key::Select | Key::Back) => {}
        (State::Ready | State::Receiving | State::Reading, Key::Next | Key::Previous) if kiosk.has_camera => {
            kiosk.state = State::Menu { marked: kiosk.menu()[0] };
        }
        (State::Ready | State::Receiving | State::Reading, Key::Select) if kiosk.has_camera => {
            kiosk.state = State::Camera(Camera::Aiming);
        }
        (State::Ready | State::Receiving | State::Reading | State::Fault { .. }, Key::Next | Key::Previous) => {
            kiosk.state = State::Review(Review::List { at: 0, of: 0 });
            actions.push(Action::List);
        }
        (State::Ready | State::Receiving | State::Reading, Key::Select) => {
            kiosk.state = match kiosk.update {
                Update::None => State::Settings { marked: kiosk.language },
                Update::Offered | Update::Installing | Update::OnTrial | Update::Settling | Update::Over => {
                    State::Update { page: OfferPage::Summary }
                }
            };
        }
        (State::Fault { .. }, Key::Select) => match kiosk.update {
            Update::None => actions.push(Action::Restart),
            // A new model may be what helps; the parts are started again without a key.
            Update::Offered | Update::Installing | Update::OnTrial | Update::Settling | Update::Over => {
                kiosk.state = State::Update { page: OfferPage::Summary };
            }
        },
        (State::Ready | State::Receiving | State::Reading | State::Fault { .. }, Key::Back) => {}
        (State::Verdict(viewed), Key::Next) => {
            kiosk.state = State::Verdict(Viewed { page: page_after(viewed.page, false), ..viewed });
        }
        (State::Verdict(viewed), Key::Previous) => {
            kiosk.state = State::Verdict(Viewed { page: page_before(viewed.page, false), ..viewed });
        }
        (State::Refused(viewed), Key::Next) => {
            kiosk.state = State::Refused(Viewed { page: page_after(viewed.page, true), ..viewed });
        }
        (State::Refused(viewed), Key::Previous) => {
            kiosk.state = State::Refused(Viewed { page: page_before(viewed.page, true), ..viewed });
        }
        (State::Refused(viewed), Key::Select) if kiosk.can_be_taken_again(&viewed) => {
            kiosk.state = State::Camera(Camera::Aiming);
        }
        (State::Verdict(_) | State::Refused(_), Key::Select | Key::Back) => kiosk.go_home(),
        (State::Camera(camera), key) => press_at_camera(kiosk, camera, key, actions),
        (State::Menu { marked }, key) => press_in_menu(kiosk, marked, key, actions),
        (State::Review(review), key) => press_in_review(kiosk, review, key, actions),
        (State::Update { page }, key) => press_in_update(kiosk, page, key, actions),
        (State::Settings { marked }, Key::Next | Key::Previous) => {
            let at = Language::ALL.iter().position(|language| *language == marked).unwrap_or(0);
            let at = moved(at, Language::ALL.len(), key == Key::Next);
            kiosk.state = State::Settings { marked: Language::ALL[at] };
        }
        (State::Settings { marked }, Key::Select) => {
            if marked != kiosk.language {
                kiosk.language = marked;
                actions.push(Action::Speak(marked));
            }
            kiosk.go_home();
        }
        (State::Settings { .. }, Key::Back) => kiosk.go_home(),
    }
}

/// Whoever leaves while the photograph is being taken finds its verdict when it comes.
fn press_at_camera(kiosk: &mut Kiosk, camera: Camera, key: Key, actions: &mut Vec<Action>) {
    match (camera, key) {
        (Camera::Aiming, Key::Select) if kiosk.broken.contains(&Part::Camera) => actions.push(Action::Reopen),
        (Camera::Aiming, Key::Select) => {
            kiosk.state = State::Camera(Camera::Taking);
            actions.push(Action::Shoot);
        }
        (Camera::Aiming | Camera::Taking, Key::Next | Key::Back) => kiosk.go_home(),
        (Camera::Aiming, Key::Previous) | (Camera::Taking, Key::Select | Key::Previous) => {}
    }
}

fn press_in_menu(kiosk: &mut Kiosk, marked: Entry, key: Key, actions: &mut Vec<Action>) {
    let entries = kiosk.menu();
    let at = entries.iter().position(|entry| *entry == marked).unwrap_or(0);
    match (key, marked) {
        (Key::Next, _) => match entries.get(at + 1) {
            Some(next) => kiosk.state = State::Menu { marked: *next },
            None => kiosk.go_home(),
        },
        (Key::Previous, _) => kiosk.state = State::Menu { marked: entries[at.saturating_sub(1)] },
        (Key::Select, Entry::Update) => kiosk.state = State::Update { page: OfferPage::Summary },
        (Key::Select, Entry::Review) => {
            kiosk.state = State::Review(Review::List { at: 0, of: 0 });
            actions.push(Action::List);
        }
        (Key::Select, Entry::Language) => kiosk.state = State::Settings { marked: kiosk.language },
        (Key::Back, _) => kiosk.go_home(),
    }
}

fn press_in_review(kiosk: &mut Kiosk, review: Review, key: Key, actions: &mut Vec<Action>) {
    let next = match (review, key) {
        (Review::List { at, of }, Key::Next) if at + 1 < of => Review::List { at: at + 1, of },
        (Review::List { at, of }, Key::Previous) if at > 0 => Review::List { at: at - 1, of },
        (Review::List { at, of }, Key::Select) if at < of => {
            actions.push(Action::Open { at });
            Review::Opening { at, of }
        }
        (Review::List { .. }, Key::Next | Key::Previous | Key::Select | Key::Back) => return kiosk.go_home(),
        // It may take a while, or never come.
        (Review::Opening { at, of }, Key::Next | Key::Previous | Key::Select | Key::Back) => Review::List { at, of },
        // Behind the last page lies the next film.
        (Review::Case { at, of, page: Page::Details, .. }, Key::Next) if at + 1 < of => {
            actions.push(Action::Open { at: at + 1 });
            Review::Opening { at: at + 1, of }
        }
        (Review::Case { at, of, page: Page::Details, .. }, Key::Next) => Review::List { at, of },
        (Review::Case { at, of, refused, page }, Key::Next) => {
            Review::Case { at, of, refused, page: page_after(page, refused) }
        }
        (Review::Case { at, of, refused, page }, Key::Previous) => {
            Review::Case { at, of, refused, page: page_before(page, refused) }
        }
        (Review::Case { at, of, .. }, Key::Select | Key::Back) => Review::List { at, of },
    };
    kiosk.state = State::Review(next);
}

/// A model is installed only from the last page of its offer, and kept only by a key of its own.
fn press_in_update(kiosk: &mut Kiosk, page: OfferPage, key: Key, actions: &mut Vec<Action>) {
    let turned = |page| State::Update { page };
    match (kiosk.update, page, key) {
        (Update::Offered, OfferPage::Summary, Key::Next) => kiosk.state = turned(OfferPage::Figures),
        (Update::Offered, OfferPage::Figures, Key::Next) => kiosk.state = turned(OfferPage::Differences),
        (Update::Offered, OfferPage::Differences, Key::Next) => kiosk.state = turned(OfferPage::Summary),
        (Update::Offered, OfferPage::Differences, Key::Previous) => kiosk.state = turned(OfferPage::Figures),
        (Update::Offered, OfferPage::Figures | OfferPage::Summary, Key::Previous) => {
            kiosk.state = turned(OfferPage::Summary);
        }
        (Update::Offered, OfferPage::Differences, Key::Select) => {
            (kiosk.update, kiosk.state) = (Update::Installing, turned(OfferPage::Summary));
            actions.push(Action::Install);
        }
        (Update::Offered, OfferPage::Summary | OfferPage::Figures, Key::Select) => {
            kiosk.update = Update::None;
            actions.push(Action::Decline);
            kiosk.go_home();
        }
        (Update::OnTrial, _, Key::Select) => {
            kiosk.update = Update::Settling;
            actions.push(Action::Keep);
        }
        (Update::OnTrial, _, Key::Next) => {
            kiosk.update = Update::Settling;
            actions.push(Action::GoBack);
        }
        (Update::OnTrial, _, Key::Previous) => {}
        (Update::Over, _, Key::Next | Key::Previous | Key::Select | Key::Back) => {
            kiosk.update = Update::None;
            kiosk.go_home();
        }
        // What goes on goes on.
        (
            Update::None | Update::Installing | Update::Settling,
            _,
            Key::Next | Key::Previous | Key::Select | Key::Back,
        )
        | (Update::Offered | Update::OnTrial, _, Key::Back) => kiosk.go_home(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::sync::LazyLock;

    use super::*;

    const TIMING: Timing = Timing { hold_s: 10, return_s: 300, blank_s: Some(600) };

    /// A kind of everything that can happen.
    fn events() -> Vec<Event> {
        // Two keys must do.
        let mut events: Vec<Event> = [Key::Next, Key::Select].map(Event::Key).into();
        events.extend([true, false].map(Event::Receiving));
        events.extend([true, false].map(Event::Full));
        // Whether a film that was read came from the camera makes no difference.
        let reads = [(false, false), (true, false), (true, true)];
        events.extend(reads.map(|(refused, photographed)| Event::Read { case: 7, refused, photographed }));
        events.extend([true, false].map(|works| Event::Part { part: Part::Camera, works }));
        events.extend([true, false].map(|refused| Event::Opened { refused }));
        events.extend([true, false].map(|works| Event::Part { part: Part::Model, works }));
        let updates = [Update::None, Update::Offered, Update::OnTrial, Update::Over];
        events.extend(updates.map(Event::Update));
        events.extend([
            Event::Tick { seconds: 1 },
            Event::Starting(Step::Model),
            Event::Started,
            Event::Reading,
            Event::Left,
            Event::Taken,
            Event::NotTaken,
            Event::Settled,
            Event::Listed { of: 0 },
            Event::Listed { of: 2 },
            Event::NotOpened,
            Event::LeftOut,
            Event::Stop,
        ]);
        events
    }

    fn kind(state: &State) -> &'static str {
        match state {
            State::Starting(_) => "starting",
            State::Ready => "ready",
            State::Receiving => "receiving",
            State::Reading => "reading",
            State::Verdict(_) => "verdict",
            State::Refused(_) => "refused",
            State::Review(Review::List { .. }) => "review list",
            State::Review(Review::Opening { .. }) => "review opening",
            State::Review(Review::Case { .. }) => "review case",
            State::Camera(Camera::Aiming) => "aiming",
            State::Camera(Camera::Taking) => "taking",
            State::Menu { .. } => "menu",
            State::Update { .. } => "update",
            State::Settings { .. } => "settings",
            State::Fault { .. } => "fault",
        }
    }

    /// Without a camera the last three are not reached.
    const KINDS: [&str; 15] = [
        "starting",
        "ready",
        "receiving",
        "reading",
        "verdict",
        "refused",
        "review list",
        "review opening",
        "review case",
        "update",
        "settings",
        "fault",
        "aiming",
        "taking",
        "menu",
    ];

    /// Every kiosk that the events lead to, at most one verdict waiting, whatever the language; without a camera, and with
    /// one.
    static REACHABLE: LazyLock<[HashSet<Kiosk>; 2]> = LazyLock::new(|| [false, true].map(search));

    fn search(has_camera: bool) -> HashSet<Kiosk> {
        let timing = Timing { hold_s: 1, return_s: 2, blank_s: Some(3) };
        let start = Kiosk::new(timing, Language::English).with_camera(has_camera);
        let mut found = HashSet::from([start.clone()]);
        let mut next = vec![start];
        let events = events();
        while let Some(kiosk) = next.pop() {
            for event in &events {
                let (mut after, _) = transition(kiosk.clone(), *event);
                after.language = Language::English;
                if after.unseen.len() <= 1 && !found.contains(&after) {
                    found.insert(after.clone());
                    next.push(after);
                }
            }
        }
        found
    }

    #[test]
    fn every_state_is_reached_with_two_keys_and_left_with_two_keys() {
        let [without, with] = &*REACHABLE;
        all_are_reached_and_left(without, &KINDS[..12]);
        all_are_reached_and_left(with, &KINDS);
    }

    #[track_caller]
    fn all_are_reached_and_left(found: &HashSet<Kiosk>, expected: &[&str]) {
        let kinds: HashSet<&str> = found.iter().map(|kiosk| kind(&kiosk.state)).collect();
        assert_eq!(kinds, expected.iter().copied().collect());
        // From everywhere but a start that goes on, two keys lead to another state, whatever waits or is broken.
        let mut farthest: HashMap<&str, usize> = HashMap::new();
        for kiosk in found {
            if matches!(kiosk.state, State::Starting(_)) {
                continue;
            }
            let here = kind(&kiosk.state);
            let mut seen = HashSet::from([kiosk.clone()]);
            let mut ring = vec![kiosk.clone()];
            let presses = (1..=20).find(|_| {
                let pressed = ring
                    .iter()
                    .flat_map(|kiosk| [Key::Next, Key::Select].map(|key| transition(kiosk.clone(), Event::Key(key)).0));
                ring = pressed.filter(|kiosk| seen.insert(kiosk.clone())).collect();
                ring.iter().any(|kiosk| kind(&kiosk.state) != here)
            });
            let presses = presses.unwrap_or_else(|| panic!("no way out of {kiosk:?}"));
            let most = farthest.entry(here).or_default();
            *most = presses.max(*most);
        }
        assert!(farthest.values().all(|presses| *presses <= 4), "{farthest:?}");
    }

    #[test]
    fn every_state_but_a_fault_is_left_in_time_and_a_fault_when_it_is_over() {
        for mut kiosk in REACHABLE.iter().flatten().cloned() {
            (kiosk.receiving, kiosk.reading, kiosk.waiting, kiosk.full) = (false, false, false, false);
            kiosk.broken.clear();
            kiosk.unseen.clear();
            if kiosk.starting.is_some() {
                (kiosk, _) = transition(kiosk, Event::Started);
            }
            for _ in 0..3 {
                (kiosk, _) = transition(kiosk, Event::Tick { seconds: 300 });
            }
            assert_eq!(kiosk.state, State::Ready);
            assert!(!kiosk.lit);
        }
    }

    fn ready() -> Kiosk {
        transition(Kiosk::new(TIMING, Language::English), Event::Started).0
    }

    #[track_caller]
    fn after(mut kiosk: Kiosk, events: &[Event]) -> (Kiosk, Vec<Action>) {
        let mut actions = Vec::new();
        for event in events {
            let (next, more) = transition(kiosk, *event);
            kiosk = next;
            actions.extend(more);
        }
        (kiosk, actions)
    }

    const NEXT: Event = Event::Key(Key::Next);
    const SELECT: Event = Event::Key(Key::Select);

    fn read(case: i64) -> Event {
        Event::Read { case, refused: false, photographed: false }
    }

    fn shown(kiosk: &Kiosk) -> Option<i64> {
        match kiosk.state {
            State::Verdict(viewed) | State::Refused(viewed) => Some(viewed.case),
            State::Starting(_)
            | State::Ready
            | State::Receiving
            | State::Reading
            | State::Review(_)
            | State::Camera(_)
            | State::Menu { .. }
            | State::Update { .. }
            | State::Settings { .. }
            | State::Fault { .. } => None,
        }
    }

    #[test]
    fn a_film_goes_from_the_door_to_its_verdict() {
        let (kiosk, _) = after(ready(), &[Event::Receiving(true)]);
        assert_eq!(kiosk.state, State::Receiving);
        let (kiosk, _) = after(kiosk, &[Event::Reading]);
        assert_eq!(kiosk.state, State::Reading);
        let (kiosk, _) = after(kiosk, &[Event::Receiving(false), read(3)]);
        assert_eq!(shown(&kiosk), Some(3));
        let (kiosk, actions) = after(kiosk, &[NEXT, NEXT, NEXT, NEXT, SELECT]);
        assert_eq!((kiosk.state, actions), (State::Ready, vec![]));
        let refused = Event::Read { case: 4, refused: true, photographed: false };
        let (kiosk, _) = after(ready(), &[Event::Reading, refused]);
        let viewed = Viewed { case: 4, photographed: false, page: Page::Verdict, shown_s: 0 };
        assert_eq!(kiosk.state, State::Refused(viewed));
    }

    const AIMING: State = State::Camera(Camera::Aiming);

    fn with_camera() -> Kiosk {
        ready().with_camera(true)
    }

    #[test]
    fn a_film_is_photographed_and_its_verdict_comes_without_a_further_key() {
        let (kiosk, actions) = after(with_camera(), &[SELECT]);
        assert_eq!((&kiosk.state, &actions[..]), (&AIMING, &[][..]));
        let (kiosk, actions) = after(kiosk, &[SELECT]);
        assert_eq!((&kiosk.state, &actions[..]), (&State::Camera(Camera::Taking), &[Action::Shoot][..]));
        let (kiosk, actions) = after(kiosk, &[SELECT]);
        assert_eq!(actions, [], "one photograph at a time");
        let (kiosk, _) = after(kiosk, &[Event::Taken]);
        assert_eq!(kiosk.state, State::Reading, "it waits for the reader");
        let (kiosk, _) = after(kiosk, &[Event::Reading, read(5), Event::Settled]);
        assert_eq!(shown(&kiosk), Some(5));
        let (kiosk, _) = after(kiosk, &[SELECT]);
        assert_eq!(kiosk.state, State::Ready);
        // Whoever goes away while it is taken finds the verdict all the same.
        let (kiosk, _) = after(with_camera(), &[SELECT, SELECT, NEXT, Event::Taken, Event::Reading, read(6)]);
        assert_eq!(shown(&kiosk), Some(6));
    }

    #[test]
    fn a_refused_photograph_is_taken_again_by_one_key() {
        let refused = |photographed| Event::Read { case: 1, refused: true, photographed };
        let (kiosk, _) = after(with_camera(), &[refused(true), NEXT, SELECT]);
        assert_eq!(kiosk.state, AIMING);
        let (kiosk, _) = after(kiosk, &[NEXT]);
        assert_eq!(kiosk.state, State::Ready);
        for (kiosk, photographed) in [(with_camera(), false), (ready(), true)] {
            let (kiosk, _) = after(kiosk, &[refused(photographed), SELECT]);
            assert_eq!(kiosk.state, State::Ready);
        }
    }

    #[test]
    fn a_camera_that_fails_is_opened_again_by_a_key_and_nobody_waits_for_its_picture() {
        let broken = Event::Part { part: Part::Camera, works: false };
        let (kiosk, _) = after(with_camera(), &[SELECT, SELECT, broken, Event::NotTaken]);
        assert_eq!(kiosk.state, AIMING);
        let (kiosk, actions) = after(kiosk, &[SELECT]);
        assert_eq!((&kiosk.state, &actions[..]), (&AIMING, &[Action::Reopen][..]));
        let (kiosk, _) = after(kiosk, &[NEXT]);
        assert_eq!((&kiosk.state, kiosk.light(LampRole::Attention)), (&State::Ready, Light::Steady));
        // Without room, or a model, a photograph would be of no use.
        let (kiosk, _) = after(with_camera(), &[SELECT, Event::Full(true)]);
        assert_eq!(kiosk.state, State::Fault { trouble: Trouble::Full });
        // A verdict of another film waits until the person is done.
        let (kiosk, _) = after(with_camera(), &[SELECT, read(1)]);
        assert_eq!(kiosk.state, AIMING);
        let (kiosk, _) = after(kiosk, &[NEXT]);
        assert_eq!(shown(&kiosk), Some(1));
    }

    #[test]
    fn beside_a_camera_everything_else_is_in_the_menu() {
        let (kiosk, actions) = after(with_camera(), &[NEXT, SELECT]);
        assert_eq!((kind(&kiosk.state), &actions[..]), ("review list", &[Action::List][..]));
        let (kiosk, _) = after(with_camera(), &[NEXT, NEXT, SELECT]);
        assert_eq!(kiosk.state, State::Settings { marked: Language::English });
        let (kiosk, _) = after(with_camera(), &[NEXT, NEXT, NEXT]);
        assert_eq!(kiosk.state, State::Ready);
        let (kiosk, _) = after(with_camera(), &[Event::Update(Update::Offered), NEXT]);
        assert_eq!(kiosk.state, State::Menu { marked: Entry::Update });
        let (left, _) = after(kiosk.clone(), &[Event::Update(Update::None)]);
        assert_eq!(left.state, State::Menu { marked: Entry::Review });
        let (kiosk, _) = after(kiosk, &[SELECT]);
        assert_eq!(kiosk.state, State::Update { page: OfferPage::Summary });
    }

    #[test]
    fn no_verdict_is_passed_over_and_none_pushes_another_one_away_too_soon() {
        let (kiosk, _) = after(ready(), &[read(1), read(2), Event::Tick { seconds: 9 }, read(3)]);
        assert_eq!(shown(&kiosk), Some(1), "it has stood for nine seconds");
        let (kiosk, _) = after(kiosk, &[Event::Tick { seconds: 1 }]);
        assert_eq!(shown(&kiosk), Some(2));
        let (kiosk, _) = after(kiosk, &[NEXT, Event::Tick { seconds: 9 }]);
        assert_eq!(shown(&kiosk), Some(2), "somebody looks at it");
        let (kiosk, _) = after(kiosk, &[SELECT]);
        assert_eq!(shown(&kiosk), Some(3));
        let (kiosk, _) = after(kiosk, &[Event::Tick { seconds: 300 }]);
        assert_eq!(kiosk.state, State::Ready);
        let (kiosk, _) = after(kiosk, &[NEXT, Event::Listed { of: 3 }, read(4), Event::Tick { seconds: 10 }]);
        assert_eq!(kind(&kiosk.state), "review list");
        assert_eq!(kiosk.light(LampRole::Attention), Light::Steady);
        let (kiosk, _) = after(kiosk, &[NEXT, NEXT, NEXT]);
        assert_eq!(shown(&kiosk), Some(4), "past the last case lies what waits");
    }

    #[test]
    fn a_fault_is_shown_at_once_where_no_verdict_is_and_goes_when_it_is_over() {
        let broken = Event::Part { part: Part::Model, works: false };
        let (kiosk, _) = after(ready(), &[Event::Reading, broken]);
        assert_eq!(kiosk.state, State::Fault { trouble: Trouble::Part(Part::Model) });
        assert_eq!((kiosk.light(LampRole::Fault), kiosk.light(LampRole::Ready)), (Light::Steady, Light::Off));
        let (kiosk, actions) = after(kiosk, &[SELECT]);
        assert_eq!(actions, [Action::Restart]);
        let (kiosk, _) = after(kiosk, &[Event::Part { part: Part::Model, works: true }]);
        assert_eq!(kiosk.state, State::Ready);
        let (kiosk, _) = after(kiosk, &[read(1), broken]);
        assert_eq!(shown(&kiosk), Some(1), "what was said stays said");
        let (kiosk, _) = after(kiosk, &[SELECT]);
        assert_eq!(kind(&kiosk.state), "fault");
        // A panel that is gone stops nobody from reading films.
        let (kiosk, _) = after(ready(), &[Event::Part { part: Part::Panel, works: false }]);
        assert_eq!((&kiosk.state, kiosk.light(LampRole::Attention)), (&State::Ready, Light::Steady));
        let (kiosk, _) = after(kiosk, &[Event::Full(true)]);
        assert_eq!(kiosk.state, State::Fault { trouble: Trouble::Full });
    }

    #[test]
    fn a_model_is_installed_after_every_page_and_kept_by_a_second_key() {
        let offered = Event::Update(Update::Offered);
        let (kiosk, actions) = after(ready(), &[offered, SELECT, SELECT]);
        assert_eq!((kiosk.state, actions), (State::Ready, vec![Action::Decline]));
        let (kiosk, actions) = after(ready(), &[offered, SELECT, NEXT, NEXT, SELECT]);
        assert_eq!((kiosk.update, &actions[..]), (Update::Installing, &[Action::Install][..]));
        // Films go on being read, and a person may leave.
        let (kiosk, _) = after(kiosk, &[Event::Reading, read(1), SELECT]);
        assert_eq!(shown(&kiosk), Some(1));
        let (kiosk, actions) = after(kiosk, &[SELECT, Event::Update(Update::OnTrial), SELECT, SELECT]);
        assert_eq!((kiosk.update, &actions[..]), (Update::Settling, &[Action::Keep][..]));
        let (kiosk, _) = after(kiosk, &[Event::Update(Update::Over), SELECT]);
        assert_eq!((kiosk.update, kiosk.state), (Update::None, State::Ready));
        let (kiosk, actions) = after(ready(), &[Event::Update(Update::OnTrial), SELECT, NEXT]);
        assert_eq!((kiosk.update, &actions[..]), (Update::Settling, &[Action::GoBack][..]));
    }

    #[test]
    fn the_last_cases_are_paged_through() {
        let (kiosk, actions) =
            after(ready(), &[NEXT, Event::Listed { of: 2 }, SELECT, Event::Opened { refused: false }]);
        assert_eq!(actions, [Action::List, Action::Open { at: 0 }]);
        let (kiosk, actions) = after(kiosk, &[NEXT, NEXT, NEXT, Event::Opened { refused: true }]);
        assert_eq!(actions, [Action::Open { at: 1 }]);
        let case = Review::Case { at: 1, of: 2, refused: true, page: Page::Verdict };
        assert_eq!(kiosk.state, State::Review(case));
        let (kiosk, _) = after(kiosk, &[NEXT, NEXT]);
        assert_eq!(kiosk.state, State::Review(Review::List { at: 1, of: 2 }));
        let (kiosk, _) = after(kiosk, &[SELECT, Event::NotOpened]);
        assert_eq!(kiosk.state, State::Review(Review::List { at: 1, of: 2 }));
        // What was asked for and comes when nobody waits any more is not shown.
        let (kiosk, _) = after(kiosk, &[SELECT, SELECT, Event::Opened { refused: false }]);
        assert_eq!(kiosk.state, State::Review(Review::List { at: 1, of: 2 }));
    }

    #[test]
    fn a_language_is_chosen_and_spoken_from_then_on() {
        let (kiosk, actions) = after(ready(), &[SELECT, NEXT, SELECT]);
        assert_eq!(actions, [Action::Speak(Language::French)]);
        assert_eq!((kiosk.language, kiosk.state), (Language::French, State::Ready));
        let (_, actions) = after(ready(), &[SELECT, SELECT]);
        assert_eq!(actions, []);
    }

    #[test]
    fn the_panel_goes_dark_when_nobody_needs_it_and_the_first_key_only_lights_it() {
        let (kiosk, actions) = after(ready(), &[Event::Tick { seconds: 600 }]);
        assert_eq!((kiosk.lit, &actions[..]), (false, &[Action::Light(false)][..]));
        let (lit, actions) = after(kiosk.clone(), &[SELECT]);
        assert_eq!((lit.state, &actions[..]), (State::Ready, &[Action::Light(true)][..]));
        let (_, actions) = after(kiosk, &[read(1)]);
        assert_eq!(actions, [Action::Light(true)]);
        let (kiosk, _) =
            after(ready(), &[Event::Part { part: Part::Model, works: false }, Event::Tick { seconds: 600 }]);
        assert!(kiosk.lit, "a fault is not hidden");
    }
}
