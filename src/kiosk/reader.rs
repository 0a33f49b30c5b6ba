//! The thread that reads films: it owns model, journal and decoder, so that nothing of them changes between a film and
//! its verdict.
//!
//! A film counts as read once its row is durable in the journal. Whatever stops the program before that, it is read
//! again; whatever stops it afterwards, the row is found and the film only taken out of the queue.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::case::{Case, Picture};
use super::parts::{BackOff, words_of};
use super::state::{Part, Step};
use super::{ModelInfo, News, Shared};
use crate::adapters::content;
use crate::adapters::file::Limits;
use crate::adapters::spool::{Reserve, Spool, Stored};
use crate::adapters::wall::{Allowance, Developed, Wall};
use crate::app::{self, Screened};
use crate::domain::{Doubt, Identity, Reading, Verdict};
use crate::engine::EngineOptions;
use crate::models::{self, Next, Serving, entry_of};
use crate::record::{Digest, Entry, Journal, Recorded};
use crate::ui::ReadingStep;

/// How often it is looked for orders and for the end of the program.
const LOOK: Duration = Duration::from_millis(200);
/// What decoding leaves to the network, the journal and the disk before the reader counts as stuck.
const BESIDE_DECODING: Duration = Duration::from_secs(60);
/// For a model to be verified, loaded and tested.
const LOADING: Duration = Duration::from_secs(300);
/// A film that ended the reader by a fault of the program so often is given up.
const MOST_FAULTS: u32 = 2;
/// Cases of the review.
const LAST_CASES: usize = 20;
/// How often old rows are looked for, in readings.
const RETAIN_EVERY: i64 = 64;

/// What the loop wants of the reader; it is done between two films.
#[derive(Debug)]
pub(super) enum Order {
    /// Try again now what did not work.
    Restart,
    /// Fetch the last cases.
    List,
    /// Fetch the case of that row, with its film.
    Open(i64),
    /// Take the model that the store has in force now.
    Reload,
}

/// A part that does not work, and why.
struct Broken {
    part: Part,
    why: String,
}

fn broken(part: Part) -> impl Fn(&dyn std::fmt::Display) -> Broken {
    move |why| Broken { part, why: why.to_string() }
}

/// See the module.
pub(super) struct Reader {
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    spool: Option<Arc<Spool>>,
    journal: Option<Journal>,
    wall: Option<Wall>,
    serving: Option<Serving>,
    started: bool,
    back_off: BackOff,
    /// Not before then is tried again what did not work.
    rests_until: Option<Instant>,
    /// The first unread film may have been written down already.
    doubtful: bool,
    /// The film that ended the reader by a fault of the program, and how often.
    faults: (u64, u32),
    /// The film that is being read.
    at: u64,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, orders: Receiver<Order>) -> Self {
        Self {
            shared,
            orders,
            spool: None,
            journal: None,
            wall: None,
            serving: None,
            started: false,
            back_off: BackOff::default(),
            rests_until: None,
            doubtful: true,
            faults: (0, 0),
            at: 0,
        }
    }

    /// Works until the program is to end.
    pub(super) fn run(mut self) {
        while !self.shared.ending.load(Ordering::Relaxed) {
            let turned = panic::catch_unwind(AssertUnwindSafe(|| self.turn()));
            let failed = match turned {
                Ok(Ok(())) => continue,
                Ok(Err(failed)) => failed,
                Err(fault) => {
                    let film = std::mem::take(&mut self.at);
                    let times = if self.faults.0 == film { self.faults.1 + 1 } else { 1 };
                    self.faults = (film, times);
                    // Whatever it was at may be half done.
                    (self.serving, self.wall, self.journal) = (None, None, None);
                    let why = format!("a fault of this program: {}", words_of(fault.as_ref()));
                    Broken { part: Part::Reader, why }
                }
            };
            self.doubtful = true;
            self.rests_until = Some(Instant::now() + self.back_off.pause());
            log::error!("{}: {}; it is tried again", failed.part.name(), failed.why);
            self.shared.tell(News::Left);
            self.shared.part(failed.part, 0, Err(failed.why));
        }
    }

    /// Does what is to be done next, or waits a moment for it.
    fn turn(&mut self) -> Result<(), Broken> {
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        let order = if rests {
            self.orders.recv_timeout(LOOK)
        } else {
            self.orders.try_recv().map_err(|_| RecvTimeoutError::Timeout)
        };
        if let Ok(order) = order {
            return self.obey(&order);
        }
        if rests {
            return Ok(());
        }
        self.prepare()?;
        let Some(spool) = self.spool.clone() else { return Ok(()) };
        let Some((stored, path)) = spool.wait_for_unread(LOOK) else { return Ok(()) };
        if let Some(serving) = &self.serving {
            match serving.is_superseded(&self.shared.device) {
                Ok(false) => {}
                Ok(true) => {
                    self.load_model()?;
                    self.shared.tell(News::Started);
                }
                Err(error) => log::error!("whether another model was confirmed is not known: {error}"),
            }
        }
        self.read(&spool, &stored, &path)
    }

    fn obey(&mut self, order: &Order) -> Result<(), Broken> {
        match order {
            Order::Restart => self.rests_until = None,
            Order::List => self.list()?,
            Order::Open(sequence) => {
                let case = self.fetch(*sequence)?;
                self.shared.tell(News::Opened(case.map(Box::new)));
            }
            Order::Reload => {
                self.rests_until = None;
                self.load_model()?;
                self.shared.tell(News::Started);
            }
        }
        Ok(())
    }

    /// Starts what is not there yet.
    fn prepare(&mut self) -> Result<(), Broken> {
        if self.spool.is_some() && self.journal.is_some() && self.serving.is_some() && self.wall.is_some() {
            return Ok(());
        }
        // It starts while the model is loaded.
        let mut wall = self.wall.take().unwrap_or_else(Wall::of_this_program);
        wall.warm_up().map_err(|error| broken(Part::Reader)(&error))?;
        if self.spool.is_none() {
            self.shared.tell(News::Starting(Step::Storage));
            let config = &self.shared.board.spool;
            let reserve = Reserve { bytes: config.keep_free_bytes, percent: config.keep_free_percent };
            let spool = Spool::open(&config.folder, reserve).map_err(|error| broken(Part::Storage)(&error))?;
            let spool = Arc::new(if config.delete_read { spool.deleting_read() } else { spool });
            self.spool = Some(Arc::clone(&spool));
            self.shared.tell(News::Spool(spool));
            self.shared.part(Part::Storage, 0, Ok(()));
        }
        if self.journal.is_none() {
            self.shared.tell(News::Starting(Step::Journal));
            self.open_journal()?;
        }
        if self.serving.is_none() {
            self.load_model()?;
        }
        self.shared.tell(News::Starting(Step::Decoder));
        let confinement = wall.confinement().map_err(|error| broken(Part::Reader)(&error))?;
        if confinement.is_bare() {
            log::warn!("this kernel has neither seccomp nor landlock: files are decoded behind limits alone");
        }
        self.wall = Some(wall);
        self.back_off.reset();
        self.shared.part(Part::Reader, 0, Ok(()));
        if !std::mem::replace(&mut self.started, true) {
            log::info!("ready: {} films wait to be read", self.spool.as_ref().map_or(0, |spool| spool.unread_count()));
        }
        self.shared.tell(News::Started);
        Ok(())
    }

    fn open_journal(&mut self) -> Result<(), Broken> {
        let failed = broken(Part::Journal);
        let config = self.shared.board.journal.clone();
        if let Some(folder) = config.file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(folder);
            made.map_err(|error| failed(&format!("cannot make the folder {}: {error}", folder.display())))?;
        }
        let mut journal = Journal::open_or_create(&config.file).map_err(|error| failed(&error))?;
        let sound = match journal.verify().map_err(|error| failed(&error))? {
            Ok(sound) => {
                if let Some(kept) = config.keep_readings {
                    journal.retain(kept).map_err(|error| failed(&error))?;
                }
                self.shared.tell(News::JournalIsSound(true));
                sound.newest
            }
            Err(broken) => {
                // It is told to whoever looks, and reading goes on: what is written from now on can be proved again.
                log::error!("the journal {} is broken at {broken}", config.file.display());
                self.shared.tell(News::JournalIsSound(false));
                journal.newest(1).map_err(|error| failed(&error))?.first().map_or(0, |row| row.sequence)
            }
        };
        log::info!("the journal {} has {sound} readings", config.file.display());
        self.shared.tell(News::Rows(sound));
        self.journal = Some(journal);
        self.shared.part(Part::Journal, 0, Ok(()));
        if let Some(archive) = &self.shared.archive {
            archive.ring();
        }
        Ok(())
    }

    /// Takes the model that is in force, tests it, and puts it in the place of the one before.
    fn load_model(&mut self) -> Result<(), Broken> {
        self.shared.tell(News::Starting(Step::Model));
        let _busy = self.shared.pulse.reader.begin(LOADING);
        // Two of them may be more than the memory holds.
        self.serving = None;
        let options = EngineOptions { threads: self.shared.threads, ..EngineOptions::default() };
        let served = models::serve(self.shared.board.model.as_deref(), &self.shared.device, options);
        let serving = served.map_err(|error| broken(Part::Model)(&error))?;
        serving.announce();
        let manifest = serving.model.manifest();
        self.shared.tell(News::Model(ModelInfo {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            manifest_sha256: serving.model.manifest_sha256().to_owned(),
            on_trial: serving.on_trial(),
            golden_films: serving.golden_films,
        }));
        self.serving = Some(serving);
        self.shared.part(Part::Model, 0, Ok(()));
        Ok(())
    }

    /// Reads one film, writes it down, shows it, and takes it out of the queue.
    fn read(&mut self, spool: &Spool, stored: &Stored, path: &Path) -> Result<(), Broken> {
        let name = stored.file_name();
        let (Some(journal), Some(wall), Some(serving)) = (&mut self.journal, &mut self.wall, &mut self.serving) else {
            return Ok(());
        };
        if self.doubtful
            && let Some(row) = journal.find_image(&name).map_err(|error| broken(Part::Journal)(&error))?
        {
            // It was written down, and the program ended before it was taken out of the queue, or shown.
            spool.mark_read(stored).map_err(|error| broken(Part::Storage)(&error))?;
            log::info!("{name} was read before, as reading {}", row.sequence);
            if let Some(case) = self.with_film(row)? {
                self.shared.tell(News::Read(Box::new(case), Duration::ZERO));
            }
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let _busy = shared.pulse.reader.begin(Allowance::default().deadline + BESIDE_DECODING);
        let start = Instant::now();
        self.shared.tell(News::Reading(ReadingStep::Decode));
        self.at = stored.number();
        let (screened, remarks, identity) = if self.faults == (self.at, MOST_FAULTS) {
            (given_up(), vec!["the program could not read it".to_owned()], None)
        } else {
            let read = wall.read_object(path, &Limits::default()).map_err(|error| broken(Part::Reader)(&error))?;
            let Developed { film: acquired, photograph } = read;
            let remarks = acquired.as_ref().map_or_else(|_| Vec::new(), |acquired| acquired.remarks.clone());
            let identity = acquired.as_ref().ok().and_then(|acquired| acquired.identity.clone());
            self.shared.tell(News::Reading(ReadingStep::Infer));
            let screened = app::screen(acquired, serving.model.manifest(), &mut serving.classifier);
            // Whoever took a photograph without a film sees what was wrong.
            let picture = screened.picture.or(photograph);
            (Screened { picture, ..screened }, remarks, identity)
        };
        self.shared.tell(News::Reading(ReadingStep::Record));
        let site = &self.shared.board.site;
        let kept = identity.clone().filter(|_| site.keep_identity);
        let entry = entry_of(stored, path, &screened, remarks, kept, &serving.model);
        let archive = self.shared.archive.as_ref();
        let wanted = archive.map_or(&[][..], |archive| archive.wanted(entry.identity.as_ref()));
        let row = journal.append_to_send(&entry, wanted).map_err(|error| broken(Part::Journal)(&error))?;
        if let Some(archive) = archive {
            archive.ring();
        }
        self.at = 0;
        self.shared.part(Part::Journal, 0, Ok(()));
        let case = shown(row, screened, identity.filter(|_| site.show_identity), &self.shared, &entry);
        let took = start.elapsed();
        let verdict = &case.reading.verdict;
        let reason = verdict.reason().map_or_else(String::new, |reason| format!(" ({reason})"));
        let since = spool
            .arrival(stored)
            .map_or_else(String::new, |arrival| format!(", {} ms after it came", arrival.elapsed().as_millis()));
        log::info!(
            "read {name} as reading {}: {}{reason} in {} ms{since}",
            case.row.sequence,
            verdict.name(),
            took.as_millis()
        );
        let fault = (*verdict == Verdict::Indeterminate(Doubt::ModelFault)).then(|| format!("no answer to {name}"));
        let sequence = case.row.sequence;
        self.shared.tell(News::Read(Box::new(case), took));
        spool.mark_read(stored).map_err(|error| broken(Part::Storage)(&error))?;
        self.shared.part(Part::Storage, 0, Ok(()));
        self.doubtful = false;
        self.forget_old(sequence)?;
        self.count(fault.as_deref())
    }

    /// Tells the store what a durable reading says of a model on trial, and takes another where that was given up.
    fn count(&mut self, fault: Option<&str>) -> Result<(), Broken> {
        let Some(serving) = &mut self.serving else { return Ok(()) };
        match serving.reading_done(fault) {
            Ok(Next::Same) => Ok(()),
            Ok(Next::Confirmed) => {
                log::info!("the model on trial is confirmed");
                self.shared.tell(News::Confirmed);
                Ok(())
            }
            Ok(Next::Replace) => {
                self.load_model()?;
                self.shared.tell(News::Started);
                Ok(())
            }
            Err(error) => {
                log::error!("this reading does not count for the model on trial: {error}");
                Ok(())
            }
        }
    }

    /// Retention: rows and identifiers that are no longer kept.
    fn forget_old(&mut self, newest: i64) -> Result<(), Broken> {
        let (Some(journal), config) = (&mut self.journal, &self.shared.board.journal) else { return Ok(()) };
        let failed = broken(Part::Journal);
        if let Some(kept) = config.keep_identities {
            let up_to = newest.saturating_sub_unsigned(kept);
            journal.erase_identities(up_to, false).map_err(|error| failed(&error))?;
        }
        if let Some(kept) = config.keep_readings.filter(|_| newest % RETAIN_EVERY == 0) {
            journal.retain(kept).map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    fn list(&mut self) -> Result<(), Broken> {
        let Some(journal) = &self.journal else {
            self.shared.tell(News::Listed(Vec::new()));
            return Ok(());
        };
        let rows = journal.newest(LAST_CASES).map_err(|error| broken(Part::Journal)(&error))?;
        let show = self.shared.board.site.show_identity;
        let mut cases: Vec<Case> = rows.into_iter().filter_map(Case::of).collect();
        for case in &mut cases {
            case.identity.take_if(|_| !show);
        }
        self.shared.tell(News::Listed(cases));
        Ok(())
    }

    fn fetch(&mut self, sequence: i64) -> Result<Option<Case>, Broken> {
        let Some(journal) = &self.journal else { return Ok(None) };
        let row = journal.find(sequence).map_err(|error| broken(Part::Journal)(&error))?;
        row.map_or(Ok(None), |row| self.with_film(row))
    }

    /// A row with its film, where that still lies in the spool, and the map that was shown with it.
    fn with_film(&mut self, row: Recorded) -> Result<Option<Case>, Broken> {
        let Some(mut case) = Case::of(row) else { return Ok(None) };
        case.identity.take_if(|_| !self.shared.board.site.show_identity);
        let found = self.spool.as_ref().and_then(|spool| spool.path_of(case.row.image_reference.as_deref()?));
        let Some(path) = found else { return Ok(Some(case)) };
        let same = content::sha256(&path, Limits::default().file_bytes);
        // Another film than the one that was read would lend it a verdict.
        if !same.is_ok_and(|found| case.row.image_sha256 == Some(Digest(found))) {
            return Ok(Some(case));
        }
        let (Some(journal), Some(wall)) = (&self.journal, &mut self.wall) else { return Ok(Some(case)) };
        let map = journal.map_of(case.row.sequence).map_err(|error| broken(Part::Journal)(&error))?;
        let _busy = self.shared.pulse.reader.begin(Allowance::default().deadline + BESIDE_DECODING);
        let read = wall.read_object(&path, &Limits::default()).map_err(|error| broken(Part::Reader)(&error))?;
        case.picture =
            read.film.ok().or(read.photograph).map(|film| Picture::of(film, map, self.shared.longest_side()));
        Ok(Some(case))
    }
}

/// What is said of a film that this program cannot read without falling.
fn given_up() -> Screened {
    let verdict = Verdict::Indeterminate(Doubt::ModelFault);
    Screened {
        reading: Reading { verdict, probabilities: None, covid_positive: None },
        picture: None,
        saliency: None,
        preprocess: Duration::ZERO,
        infer: Duration::ZERO,
    }
}

/// The case that goes to the panel.
fn shown(row: Recorded, screened: Screened, identity: Option<Identity>, shared: &Shared, entry: &Entry) -> Case {
    Case {
        row,
        reading: screened.reading.clone(),
        operating_point: entry.operating_point,
        identity,
        picture: screened.picture.map(|film| Picture::of(film, screened.saliency, shared.longest_side())),
    }
}
