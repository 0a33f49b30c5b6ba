//! The kiosk: one loop around one state machine ([`state`]), and the threads that tell it what happens.
//!
//! ```text
//!  keys ─────────┐                      ┌──► panel (newest picture first)
//!  reader ───────┤  News   ┌────────┐   ├──► lamps, watchdogs
//!  drives ───────┼────────►│  loop  ├───┤
//!  camera ───────┤         └───┬────┘   └──► settings, figures
//!  panel, parts ─┘             └── Order ──► reader (model, journal, decoder; between two films)
//!  listener, camera ──► spool ◄── folders    reader ──► spool, journal
//! ```
//! The loop decides nothing itself: it turns news into events, asks the state machine, does what that says, and draws.
//! Whatever can hang or break runs in a thread of its own and is started again when it ends.

mod camera;
mod case;
mod doctor;
mod metrics;
mod panel;
mod parts;
mod pulse;
mod reader;
mod redraw;
mod screen;
pub mod state;
mod update;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use self::camera::{Shutter, Sight};
use self::case::Case;
use self::metrics::Metrics;
use self::panel::Mailbox;
use self::parts::{BackOff, keep_running, words_of};
use self::pulse::Pulse;
use self::reader::{Order, Reader};
use self::redraw::Redraw;
use self::state::{Action, Event, Kiosk, Part, State, Step, Timing, Update, transition};
use self::update::{Refusal, UpdateNews};
use crate::adapters::archive::Archive;
use crate::adapters::durable::{Lasting, replace};
use crate::adapters::folders::{FolderSource, LeftOut};
use crate::adapters::hardware::{self, Room, Throttling};
use crate::adapters::listener::Listener;
use crate::adapters::settings::Settings;
use crate::adapters::spool::{ComingIn, Spool};
use crate::adapters::{clock, devices, signals, supervisor};
use crate::config::{Board, LampConfig};
use crate::domain::{ArchiveTrouble, Key, Light};
use crate::models::{Device, Installed, Offer};
use crate::ports::{Lamp, Watchdog};
use crate::record::QueueFigures;
use crate::ui::ReadingStep;

pub use self::doctor::{Finding, Severity, examine, missing_devices};

/// How often the loop turns when nothing happens.
const TURN: Duration = Duration::from_millis(500);
/// How often the board's health is asked.
const HEALTH: Duration = Duration::from_secs(5);
/// How long parts may take to end.
const GRACE: Duration = Duration::from_secs(15);
/// Until a lamp or watchdog that failed is opened again.
const REOPEN: Duration = Duration::from_secs(10);
/// A film is kept no larger than this before the panel has said its size.
const LONGEST_SIDE: u32 = 1280;
/// How long the ready screen speaks of a file that was left where it lay.
const LEFT_OUT: Duration = Duration::from_secs(120);
/// How often keys are asked before it is looked whether the program is to end.
const KEYS: Duration = Duration::from_millis(500);

/// Why the kiosk ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum KioskError {
    /// Nobody could end it.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The loop panicked.
    #[error("the kiosk ended by a fault of this program: {0}")]
    Fault(String),
}

/// The model that reads films.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelInfo {
    name: String,
    version: String,
    manifest_sha256: String,
    on_trial: bool,
    /// How many golden films it answered; `None` where it has none.
    golden_films: Option<usize>,
}

/// What the threads tell the loop, with what belongs to it.
#[derive(Debug)]
enum News {
    Key(Key),
    Part(Part, usize, Result<(), String>),
    Starting(Step),
    Started,
    Spool(Arc<Spool>),
    JournalIsSound(bool),
    /// Number of the newest row.
    Rows(i64),
    Model(ModelInfo),
    /// The model on trial was confirmed by its readings.
    Confirmed,
    Reading(ReadingStep),
    Left,
    Read(Box<Case>, Duration),
    Listed(Vec<Case>),
    Opened(Option<Box<Case>>),
    Sight(Sight),
    /// The number in the spool of the photograph that was taken; `None` when there is none.
    Taken(Option<u64>),
    Update(UpdateNews),
    PanelSize((u32, u32)),
}

/// What all threads know.
#[derive(Debug)]
struct Shared {
    board: Board,
    device: Device,
    archive: Option<Archive>,
    threads: usize,
    mailbox: Mailbox,
    shutter: Shutter,
    pulse: Pulse,
    ending: AtomicBool,
    longest_side: AtomicU32,
    news: Mutex<Sender<News>>,
}

impl Shared {
    fn tell(&self, news: News) {
        // Nobody listens any more when the program ends.
        let _ = self.news.lock().unwrap_or_else(PoisonError::into_inner).send(news);
    }

    /// Whether one of the parts of that kind works; `index` tells them apart.
    fn part(&self, part: Part, index: usize, outcome: Result<(), String>) {
        self.tell(News::Part(part, index, outcome));
    }

    fn longest_side(&self) -> u32 {
        self.longest_side.load(Ordering::Relaxed)
    }
}

/// Runs the kiosk until it is asked to end; `threads` share the network's work where the board file does not say.
///
/// # Errors
/// When it cannot start, or ends by a fault of the program: whatever supervises it starts it again.
pub fn run(board: Board, threads: usize) -> Result<(), KioskError> {
    let stop = signals::stop_requests().map_err(KioskError::Signals)?;
    let (news, heard) = mpsc::channel();
    let (orders, taken) = mpsc::channel();
    let shared = Arc::new(Shared {
        device: Device::new(&board.models),
        archive: board.sending().map(Archive::new),
        threads: board.threads.unwrap_or(threads),
        mailbox: Mailbox::new(),
        shutter: Shutter::default(),
        pulse: Pulse::default(),
        ending: AtomicBool::new(false),
        longest_side: AtomicU32::new(LONGEST_SIDE),
        news: Mutex::new(news),
        board,
    });
    let mut crew = Crew { shared: Arc::clone(&shared), threads: Vec::new() };
    crew.start("panel", panel::run)?;
    for (index, source) in shared.board.devices.key_sources().into_iter().enumerate() {
        crew.start(&source.to_string(), move |shared| {
            let failed = |why: String| {
                log::error!("{source}: {why}; opened again");
                shared.part(Part::Keys, index, Err(why));
            };
            keep_running(&shared.ending, BackOff::default(), failed, || {
                let mut keys = devices::open_keys(&source).map_err(|error| error.to_string())?;
                shared.part(Part::Keys, index, Ok(()));
                while !shared.ending.load(Ordering::Relaxed) {
                    if let Some(key) = keys.wait(KEYS).map_err(|error| error.to_string())? {
                        shared.tell(News::Key(key));
                    }
                }
                Ok(())
            });
        })?;
    }
    let reader = Reader::new(Arc::clone(&shared), taken);
    crew.start("reader", move |_| reader.run())?;
    if let Some(folder) = shared.board.updates.clone() {
        crew.start("drives", move |shared| update::watch(shared, &folder))?;
    }
    if shared.archive.is_some() {
        crew.start("archive", send_to_archive)?;
    }
    let mut desk = Desk::new(Arc::clone(&shared), orders, stop, crew);
    let ended = panic::catch_unwind(AssertUnwindSafe(|| desk.run(&heard)));
    shared.ending.store(true, Ordering::Relaxed);
    if let Some(archive) = &shared.archive {
        archive.close();
    }
    supervisor::stopping();
    desk.crew.dismiss();
    desk.lay_down();
    ended.map_err(|fault| KioskError::Fault(words_of(fault.as_ref())))
}

/// The thread that sends readings to the archive. It is no part that can fail: what waits is sent later, and the panel says so.
fn send_to_archive(shared: &Shared) {
    let Some(archive) = &shared.archive else { return };
    let failed = |why: String| log::error!("archive: {why}; started again");
    keep_running(&shared.ending, BackOff::default(), failed, || {
        archive.run();
        Ok(())
    });
}

/// The threads, and who ends them.
struct Crew {
    shared: Arc<Shared>,
    threads: Vec<(String, JoinHandle<()>)>,
}

impl Crew {
    fn start(&mut self, name: &str, work: impl FnOnce(&Shared) + Send + 'static) -> Result<(), KioskError> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&shared));
        self.threads.push((name.to_owned(), thread.map_err(KioskError::Thread)?));
        Ok(())
    }

    /// Lets every thread come to its end: panels and terminals are put back as they were.
    fn dismiss(&mut self) {
        let start = Instant::now();
        while start.elapsed() < GRACE && self.threads.iter().any(|(_, thread)| !thread.is_finished()) {
            thread::sleep(Duration::from_millis(10));
        }
        for (name, thread) in self.threads.drain(..) {
            if !thread.is_finished() {
                log::warn!("{name} did not end in time and is left behind");
            } else if thread.join().is_err() {
                log::error!("{name} ended by a fault of this program");
            }
        }
    }
}

/// A lamp, and what it was told last.
struct Lit {
    config: LampConfig,
    lamp: Option<Box<dyn Lamp + Send>>,
    told: Option<Light>,
    rests_until: Option<Instant>,
}

/// The hardware watchdog.
struct Guard {
    device: Option<Box<dyn Watchdog + Send>>,
    next: Instant,
}

/// How the board is.
#[derive(Clone, Debug, Default, PartialEq)]
struct Vitals {
    /// In whole degrees Celsius.
    temperature: Option<i16>,
    throttling: Option<Throttling>,
    room: Option<Room>,
    clock_verified: bool,
    /// What waits for the archive; `None` where there is none.
    archive: Option<(QueueFigures, Option<ArchiveTrouble>)>,
}

/// What the screen of an update is about.
#[derive(Debug)]
enum UpdateAt {
    None,
    Offered,
    Step(crate::models::Step),
    Installed(Box<Installed>),
    /// It was on trial when the program started.
    Found,
    Kept,
    WentBack,
    Refused(Refusal),
}

/// The loop and all that it needs to know.
struct Desk {
    shared: Arc<Shared>,
    orders: Sender<Order>,
    stop: UnixStream,
    crew: Crew,
    kiosk: Kiosk,
    redraw: Redraw,
    /// What the camera sees.
    sight: Sight,
    /// The photograph whose verdict is awaited, by its number in the spool.
    awaited: Option<u64>,
    size: Option<(u32, u32)>,
    spool: Option<Arc<Spool>>,
    coming_in: ComingIn,
    /// What the reader is at.
    step: ReadingStep,
    /// Cases that are shown or wait to be.
    cases: BTreeMap<i64, Case>,
    /// Those of the review; `None` until they are fetched.
    listed: Option<Vec<Case>>,
    opened: Option<Case>,
    model: Option<ModelInfo>,
    self_test_failed: bool,
    offer: Option<(PathBuf, Offer)>,
    declined: HashSet<PathBuf>,
    update_at: UpdateAt,
    /// Name and version of the model that the update is about.
    update_of: (String, String),
    failing: HashMap<(Part, usize), (String, i64)>,
    /// What folders leave where it lies.
    left_out: (Sender<LeftOut>, Receiver<LeftOut>),
    /// The last of it, and when that was.
    last_left: Option<(LeftOut, Instant)>,
    journal_sound: bool,
    rows: i64,
    vitals: Vitals,
    /// The minute that the clock shows.
    minute: i64,
    metrics: Metrics,
    settings: Settings,
    lamps: Vec<Lit>,
    guard: Option<Guard>,
    fed: Option<(Instant, Duration)>,
    status: String,
    last_second: Instant,
    next_health: Instant,
    next_metrics: Instant,
    stopped: bool,
}

impl Desk {
    fn new(shared: Arc<Shared>, orders: Sender<Order>, stop: UnixStream, crew: Crew) -> Self {
        let settings = Settings::at(&shared.board.site.settings);
        let language = settings.language().unwrap_or(shared.board.site.language);
        let idle = shared.board.idle;
        let timing = Timing { hold_s: idle.hold_s, return_s: idle.return_s, blank_s: idle.blank_s };
        let now = Instant::now();
        let lamps = shared.board.devices.lamps.iter();
        let lamps = lamps.map(|config| Lit { config: config.clone(), lamp: None, told: None, rests_until: None });
        Self {
            kiosk: Kiosk::new(timing, language).with_camera(shared.board.camera.is_some()),
            redraw: Redraw::new(now),
            sight: Sight::Opening,
            awaited: None,
            size: None,
            spool: None,
            coming_in: ComingIn::default(),
            step: ReadingStep::Decode,
            cases: BTreeMap::new(),
            listed: None,
            opened: None,
            model: None,
            self_test_failed: false,
            offer: None,
            declined: HashSet::new(),
            update_at: UpdateAt::None,
            update_of: (String::new(), String::new()),
            failing: HashMap::new(),
            left_out: mpsc::channel(),
            last_left: None,
            journal_sound: true,
            rows: 0,
            vitals: Vitals::default(),
            minute: 0,
            metrics: Metrics::default(),
            settings,
            lamps: lamps.collect(),
            guard: shared.board.devices.watchdog.as_ref().map(|_| Guard { device: None, next: now }),
            // A third of the time, so that one that is late is not the last.
            fed: supervisor::interval().map(|interval| (now, interval / 3)),
            status: String::new(),
            last_second: now,
            next_health: now,
            next_metrics: now,
            stopped: false,
            shared,
            orders,
            stop,
            crew,
        }
    }

    fn run(&mut self, heard: &Receiver<News>) {
        // Also a device that only shows a fault is up: nobody is to end it for that.
        supervisor::ready();
        while !self.stopped {
            match heard.recv_timeout(self.redraw.pause().min(TURN)) {
                Ok(news) => self.hear(news),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            while let Ok(news) = heard.try_recv() {
                self.hear(news);
            }
            self.pass_time();
            self.shine();
            self.draw();
            self.feed();
            if signals::requested(&self.stop) {
                self.happen(Event::Stop);
            }
        }
    }

    /// Asks the state machine and does what it says.
    fn happen(&mut self, event: Event) {
        let before = self.kiosk.clone();
        let (kiosk, actions) = transition(before.clone(), event);
        self.kiosk = kiosk;
        if !self.kiosk.looks_like(&before) {
            self.redraw.now();
        }
        let aims = matches!(self.kiosk.state, State::Camera(_));
        self.shared.shutter.aim(aims);
        if !aims {
            self.sight = Sight::Opening;
        }
        for action in actions {
            self.act(action);
        }
        self.drop_cases();
    }

    /// Cases that are neither shown nor wait are fetched again when they are needed.
    fn drop_cases(&mut self) {
        let shown = match self.kiosk.state {
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
        };
        let unseen = &self.kiosk.unseen;
        self.cases.retain(|case, _| shown == Some(*case) || unseen.iter().any(|waiting| waiting.case == *case));
        if !matches!(self.kiosk.state, State::Review(_)) {
            (self.listed, self.opened) = (None, None);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Light(lit) => self.shared.mailbox.light(lit),
            Action::Restart => self.order(Order::Restart),
            Action::Shoot => self.shared.shutter.shoot(),
            Action::Reopen => self.shared.shutter.reopen(),
            Action::List => self.order(Order::List),
            Action::Open { at } => match self.listed.as_ref().and_then(|listed| listed.get(at)) {
                Some(case) => self.order(Order::Open(case.row.sequence)),
                None => self.happen(Event::NotOpened),
            },
            Action::Install => {
                if let Some((path, offer)) = &self.offer {
                    self.update_of = (offer.facts.name.clone(), offer.facts.version.clone());
                    self.update_at = UpdateAt::Step(crate::models::Step::Verifying);
                    log::info!("installing {}", path.display());
                    update::install(&self.shared, path.clone());
                }
            }
            Action::Decline => {
                self.declined.extend(self.offer.take().map(|(path, _)| path));
                self.update_at = UpdateAt::None;
            }
            Action::Keep => update::settle(&self.shared, true),
            Action::GoBack => update::settle(&self.shared, false),
            Action::Speak(language) => {
                if let Err(error) = self.settings.keep_language(language) {
                    log::error!("the language is not kept: {}: {error}", self.shared.board.site.settings.display());
                }
            }
            Action::Stop => self.stopped = true,
        }
    }

    fn order(&self, order: Order) {
        // The reader is there as long as the program is.
        let _ = self.orders.send(order);
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Key(key) => self.happen(Event::Key(key)),
            News::Part(part, index, outcome) => self.hear_of_part(part, index, outcome),
            News::Starting(step) => self.happen(Event::Starting(step)),
            News::Started => self.happen(Event::Started),
            News::Spool(spool) => self.open_ways(spool),
            News::JournalIsSound(sound) => {
                self.journal_sound = sound;
                self.redraw.now();
            }
            News::Rows(rows) => {
                self.rows = rows;
                self.redraw_ready();
            }
            News::Model(model) => self.hear_of_model(model),
            News::Confirmed => {
                if let Some(model) = &mut self.model {
                    model.on_trial = false;
                }
                self.update_at = UpdateAt::None;
                self.redraw.now();
                self.happen(Event::Update(Update::None));
            }
            News::Reading(step) => {
                self.step = step;
                if self.kiosk.state == State::Reading {
                    self.redraw.soon();
                }
                if step == ReadingStep::Decode {
                    self.happen(Event::Reading);
                }
            }
            News::Left => self.happen(Event::Left),
            News::Read(case, took) => {
                let verdict = &case.reading.verdict;
                if !took.is_zero() {
                    self.metrics.count(verdict.name(), verdict.reason().map(|reason| reason.code()), took);
                }
                let photographed = case.row.origin == "camera";
                let event = Event::Read { case: case.row.sequence, refused: case.refused(), photographed };
                self.rows = self.rows.max(case.row.sequence);
                self.last_left = None;
                self.cases.insert(case.row.sequence, *case);
                self.happen(event);
            }
            News::Listed(cases) => {
                let of = cases.len();
                self.listed = Some(cases);
                self.redraw.now();
                self.happen(Event::Listed { of });
            }
            News::Opened(case) => {
                let event = match &case {
                    Some(case) => Event::Opened { refused: case.refused() },
                    None => Event::NotOpened,
                };
                self.opened = case.map(|case| *case);
                self.redraw.now();
                self.happen(event);
            }
            News::Sight(sight) => {
                if let State::Camera(_) = self.kiosk.state {
                    self.sight = sight;
                    self.redraw.now();
                }
            }
            News::Taken(Some(number)) => {
                (self.awaited, self.step) = (Some(number), ReadingStep::Decode);
                self.happen(Event::Taken);
            }
            News::Taken(None) => self.happen(Event::NotTaken),
            News::Update(news) => self.hear_of_update(news),
            News::PanelSize(size) => {
                self.size = Some(size);
                self.redraw.now();
                self.shared.longest_side.store(size.0.max(size.1).clamp(64, LONGEST_SIDE), Ordering::Relaxed);
            }
        }
    }

    fn hear_of_part(&mut self, part: Part, index: usize, outcome: Result<(), String>) {
        let was_broken = self.failing.keys().any(|(failing, _)| *failing == part);
        match outcome {
            Ok(()) => {
                self.failing.remove(&(part, index));
                if was_broken && !self.failing.keys().any(|(failing, _)| *failing == part) {
                    log::info!("{}: works again", part.name());
                    self.happen(Event::Part { part, works: true });
                }
            }
            Err(why) => {
                *self.metrics.failures.entry(part).or_default() += 1;
                if part == Part::Model {
                    self.self_test_failed = why.contains("self-test");
                    self.metrics.self_test = Some(false);
                }
                let known = self.failing.get(&(part, index));
                // The loop itself opens these, again and again; the others' threads tell their own.
                if matches!(part, Part::Lamps | Part::Watchdog) && known.is_none_or(|(before, _)| *before != why) {
                    log::error!("{}: {why}; opened again", part.name());
                }
                let since = known.map_or_else(|| clock::now().0, |(_, since)| *since);
                self.failing.insert((part, index), (why, since));
                self.redraw.now();
                self.happen(Event::Part { part, works: false });
            }
        }
    }

    /// The spool is open: what fills it is started.
    fn open_ways(&mut self, spool: Arc<Spool>) {
        self.spool = Some(Arc::clone(&spool));
        self.look_after();
        let mut started = Vec::new();
        if let Some(config) = self.shared.board.listener.clone() {
            let (spool, stop) = (Arc::clone(&spool), self.stop.try_clone());
            started.push(self.crew.start("listener", move |shared| {
                let failed = |why: String| {
                    log::error!("listener: {why}; started again");
                    shared.part(Part::Listener, 0, Err(why));
                };
                keep_running(&shared.ending, BackOff::default(), failed, || {
                    let stop = stop.as_ref().map_err(|error| error.to_string())?;
                    let listener = Listener::bind(config.clone()).map_err(|error| error.to_string())?;
                    log::info!("listening on {} as {}", listener.address(), config.ae_title);
                    shared.part(Part::Listener, 0, Ok(()));
                    listener.run(&spool, stop).map_err(|error| error.to_string())?;
                    // It ends only because the program does.
                    parts::wait(TURN, &shared.ending);
                    Ok(())
                });
            }));
        }
        for (index, config) in self.shared.board.folders.clone().into_iter().enumerate() {
            let (spool, told) = (Arc::clone(&spool), self.left_out.0.clone());
            started.push(self.crew.start("folder", move |shared| {
                let failed = |why: String| {
                    log::error!("{}: {why}; looked at again", config.path.display());
                    shared.part(Part::Folders, index, Err(why));
                };
                keep_running(&shared.ending, BackOff::default(), failed, || {
                    shared.part(Part::Folders, index, Ok(()));
                    FolderSource::new(config.clone()).telling(told.clone()).take_until(&spool, &shared.ending);
                    Ok(())
                });
            }));
        }
        if self.shared.board.camera.is_some() {
            let spool = Arc::clone(&spool);
            let camera = self.crew.start("camera", move |shared| {
                if let Some(config) = &shared.board.camera {
                    camera::run(shared, config, &spool);
                }
            });
            if let Err(error) = camera {
                self.hear_of_part(Part::Camera, usize::MAX, Err(error.to_string()));
            }
        }
        for error in started.into_iter().filter_map(Result::err) {
            self.hear_of_part(Part::Folders, usize::MAX, Err(error.to_string()));
        }
    }

    fn hear_of_model(&mut self, model: ModelInfo) {
        self.metrics.self_test = model.golden_films.map(|_| true);
        self.metrics.model = Some((model.name.clone(), model.version.clone(), model.manifest_sha256.clone()));
        self.self_test_failed = false;
        self.redraw.now();
        if model.on_trial && matches!(self.update_at, UpdateAt::None | UpdateAt::Offered) {
            // It was installed before the program was started, and nobody has decided yet.
            (self.update_of, self.update_at) = ((model.name.clone(), model.version.clone()), UpdateAt::Found);
            self.happen(Event::Update(Update::OnTrial));
        }
        self.model = Some(model);
    }

    fn hear_of_update(&mut self, news: UpdateNews) {
        self.redraw.now();
        match news {
            UpdateNews::Offered(path, offer) => {
                if matches!(self.update_at, UpdateAt::None | UpdateAt::Offered) && !self.declined.contains(&path) {
                    self.update_of = (offer.facts.name.clone(), offer.facts.version.clone());
                    (self.offer, self.update_at) = (Some((path, *offer)), UpdateAt::Offered);
                    self.happen(Event::Update(Update::Offered));
                }
            }
            UpdateNews::NotAccepted(path, refusal) => {
                if let UpdateAt::None = self.update_at {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    (self.update_of, self.update_at) = ((name, String::new()), UpdateAt::Refused(refusal));
                    self.happen(Event::Update(Update::Over));
                }
            }
            UpdateNews::Gone(path) => {
                self.declined.remove(&path);
                if self.offer.as_ref().is_some_and(|(offered, _)| *offered == path) {
                    self.offer = None;
                    if let UpdateAt::Offered = self.update_at {
                        self.update_at = UpdateAt::None;
                        self.happen(Event::Update(Update::None));
                    }
                }
            }
            UpdateNews::At(step) => self.update_at = UpdateAt::Step(step),
            UpdateNews::Installed(installed) => {
                let (name, version) = &self.update_of;
                let differ = installed.replayed.as_ref().map_or(0, |replayed| replayed.changed.len());
                log::info!(
                    "{name} {version} is on trial in slot {}; {differ} of the last cases differ",
                    installed.slot
                );
                self.update_at = UpdateAt::Installed(installed);
                self.happen(Event::Update(Update::OnTrial));
            }
            UpdateNews::Settled(kept) => {
                self.update_at = if kept { UpdateAt::Kept } else { UpdateAt::WentBack };
                self.declined.extend(self.offer.take().map(|(path, _)| path));
                // The reader puts it in place between two films.
                self.order(Order::Reload);
                self.happen(Event::Update(Update::Over));
            }
            UpdateNews::Failed(refusal) | UpdateNews::NotSettled(refusal) => {
                self.declined.extend(self.offer.take().map(|(path, _)| path));
                self.update_at = UpdateAt::Refused(refusal);
                self.happen(Event::Update(Update::Over));
            }
        }
    }

    fn pass_time(&mut self) {
        if self.kiosk.update == Update::None && !matches!(self.update_at, UpdateAt::None) {
            self.update_at = UpdateAt::None;
        }
        let now = Instant::now();
        let seconds = now.duration_since(self.last_second).as_secs();
        if seconds > 0 {
            self.last_second += Duration::from_secs(seconds);
            self.happen(Event::Tick { seconds: u32::try_from(seconds).unwrap_or(u32::MAX) });
        }
        if let Some(spool) = &self.spool {
            let coming_in = spool.coming_in();
            if coming_in != self.coming_in {
                let (before, after) = (self.coming_in.count() > 0, coming_in.count() > 0);
                self.coming_in = coming_in;
                if self.kiosk.state == State::Receiving {
                    self.redraw.soon();
                }
                if before != after {
                    self.happen(Event::Receiving(after));
                }
            }
        }
        // The row is durable and its verdict on its way once the photograph is out of the queue.
        if let (Some(spool), Some(number)) = (&self.spool, self.awaited)
            && !spool.is_unread(number)
        {
            self.awaited = None;
            self.happen(Event::Settled);
        }
        if let Some(left) = self.left_out.1.try_iter().last() {
            self.last_left = Some((left, now));
            self.redraw_ready();
            self.happen(Event::LeftOut);
        }
        if self.last_left.take_if(|(_, since)| now.duration_since(*since) >= LEFT_OUT).is_some() {
            self.redraw_ready();
        }
        if now >= self.next_health {
            self.next_health = now + HEALTH;
            self.look_after();
        }
        if let Some(config) = &self.shared.board.metrics
            && now >= self.next_metrics
        {
            self.next_metrics = now + config.every;
            self.metrics.unread = self.spool.as_ref().map_or(0, |spool| spool.unread_count() as u64);
            self.metrics.rows = self.rows;
            self.metrics.archive = self.shared.archive.as_ref().map(Archive::figures);
            self.metrics.broken = self.kiosk.broken.iter().copied().collect();
            if let Err(error) = replace(&config.file, self.metrics.text().as_bytes(), Lasting::Volatile) {
                log::warn!("cannot write figures to {}: {error}", config.file.display());
            }
        }
    }

    /// What the ready screen alone shows has changed.
    fn redraw_ready(&mut self) {
        if self.kiosk.state == State::Ready {
            self.redraw.now();
        }
    }

    /// Asks the board how it is.
    fn look_after(&mut self) {
        let (unix_ms, clock_verified) = clock::now();
        let temperature = hardware::temperature();
        let room = hardware::room(&self.shared.board.spool.folder).ok();
        let vitals = Vitals {
            temperature: temperature.map(|celsius| celsius.round() as i16),
            throttling: hardware::throttling(),
            // So that not every byte draws the screen anew.
            room: room.map(|room| Room { free: room.free / 100_000_000 * 100_000_000, ..room }),
            clock_verified,
            archive: self.shared.archive.as_ref().map(|archive| (archive.figures(), archive.trouble())),
        };
        (self.metrics.temperature, self.metrics.free) = (temperature, room.map(|room| room.free));
        self.metrics.clock_verified = clock_verified;
        let minute = unix_ms.div_euclid(60_000);
        if vitals != self.vitals || minute != self.minute {
            self.redraw_ready();
        }
        (self.vitals, self.minute) = (vitals, minute);
        if let Some(spool) = &self.spool {
            let full = match spool.check_space() {
                Ok(()) => false,
                Err(crate::adapters::spool::SpoolError::NoSpace { .. }) => true,
                Err(error) => {
                    log::warn!("{error}");
                    self.kiosk.full
                }
            };
            if full != self.kiosk.full {
                if full {
                    log::error!("the disk is nearly full: no more films are taken");
                }
                self.happen(Event::Full(full));
            }
        }
    }

    /// Tells the lamps.
    fn shine(&mut self) {
        let now = Instant::now();
        for index in 0..self.lamps.len() {
            let light = self.kiosk.light(self.lamps[index].config.role);
            let lit = &mut self.lamps[index];
            if lit.told == Some(light) || lit.rests_until.is_some_and(|until| now < until) {
                continue;
            }
            let open = || devices::open_lamp(&lit.config);
            let told = match &mut lit.lamp {
                Some(lamp) => lamp.set(light),
                None => open().and_then(|mut lamp| {
                    lamp.set(light)?;
                    lit.lamp = Some(lamp);
                    Ok(())
                }),
            };
            let outcome = match told {
                Ok(()) => {
                    (lit.told, lit.rests_until) = (Some(light), None);
                    Ok(())
                }
                Err(error) => {
                    (lit.lamp, lit.told, lit.rests_until) = (None, None, Some(now + REOPEN));
                    Err(error.to_string())
                }
            };
            self.hear_of_part(Part::Lamps, index, outcome);
        }
    }

    /// Feeds the watchdogs, if nothing hangs.
    fn feed(&mut self) {
        let now = Instant::now();
        if let Some(stuck) = self.shared.pulse.stuck(now) {
            if self.status != stuck {
                log::error!("{stuck} does not come back: the watchdogs are not fed");
                self.status = stuck.to_owned();
            }
            return;
        }
        if let Some((next, every)) = &mut self.fed
            && now >= *next
        {
            *next = now + *every;
            supervisor::alive();
        }
        self.say_status();
        let (Some(guard), Some(config)) = (&mut self.guard, &self.shared.board.devices.watchdog) else { return };
        if now < guard.next {
            return;
        }
        guard.next = now + config.feed;
        let fed = match &mut guard.device {
            Some(device) => device.feed(),
            None => devices::open_watchdog(config).and_then(|mut device| {
                device.feed()?;
                guard.device = Some(device);
                Ok(())
            }),
        };
        let outcome = fed.map_err(|error| {
            (guard.device, guard.next) = (None, now + REOPEN);
            error.to_string()
        });
        self.hear_of_part(Part::Watchdog, 0, outcome);
    }

    /// One line for `systemctl status`.
    fn say_status(&mut self) {
        let waiting = self.spool.as_ref().map_or(0, |spool| spool.unread_count());
        let trouble = self.kiosk.trouble().map(|trouble| match trouble {
            state::Trouble::Part(part) => format!("{} does not work", part.name()),
            state::Trouble::Full => "the disk is nearly full".to_owned(),
        });
        let how = match (trouble, self.kiosk.starting) {
            (Some(trouble), _) => trouble,
            (None, Some(_)) => "starting".to_owned(),
            (None, None) if self.kiosk.reading => "reading".to_owned(),
            (None, None) => "ready".to_owned(),
        };
        let status = format!("{how}; {} readings, {waiting} films wait", self.rows);
        if status != self.status {
            supervisor::status(&status);
            self.status = status;
        }
    }

    fn draw(&mut self) {
        let (true, Some(size)) = (self.kiosk.lit, self.size) else { return };
        if !self.redraw.is_due(Instant::now()) {
            return;
        }
        log::debug!("shows {:?}", self.kiosk.state);
        self.shared.mailbox.show(self.frame(size));
    }

    /// At the end: lamps off, the watchdog disarmed.
    fn lay_down(&mut self) {
        for lit in &mut self.lamps {
            if let Some(lamp) = &mut lit.lamp
                && let Err(error) = lamp.set(Light::Off)
            {
                log::warn!("{error}");
            }
        }
        if let Some(device) = self.guard.as_mut().and_then(|guard| guard.device.as_mut())
            && let Err(error) = device.disarm()
        {
            log::error!("{error}: the board will restart");
        }
    }
}
