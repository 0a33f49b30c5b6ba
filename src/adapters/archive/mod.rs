//! Sends reports and captures of readings to an archive: an SCU of Storage that works the journal's queue off in a
//! thread of its own (PS3.4 annex B).
//!
//! An object leaves the queue when the archive has answered for it, and that is written down durably; whatever stops the
//! program before that, it is sent again under the same SOP Instance UID. Nothing here keeps a verdict waiting: the
//! reader only queues, in the same step in which it writes the row, and rings.

mod association;

use std::collections::hash_map::RandomState;
use std::fmt::Write;
use std::hash::BuildHasher;
use std::net::{Shutdown, TcpStream};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::association::{ANSWER, ASSOCIATION, CONNECT, NETWORK, PDU_BYTES, transfer_syntaxes};
use self::association::{Association, CallError};
use super::dicom::derived::{Derived, Shown};
use super::file::Limits;
use super::listener::TlsError;
use super::listener::tls::Tls;
use super::spool;
use super::wall::Wall;
use super::{clock, content};
use crate::config::{ArchiveConfig, Sending};
use crate::domain::{Acquired, ArchiveTrouble, Identity, Language, What};
use crate::record::{Digest, Journal, JournalError, QueueFigures, QueueState, Queued, Recorded, Tried};

/// Objects that are made together and go over one association; a capture has more than a megabyte.
const MOST_A_ROUND: usize = 8;
/// Objects in a row that the archive has no resources for, until the others are left for later.
const MOST_REFUSED: u32 = 3;
/// How long nothing happens at most while nothing waits.
const IDLE: Duration = Duration::from_secs(600);
/// Between two tries, at most.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Nice value of the thread: whoever waits for a verdict comes first.
const NICE: i32 = 10;

/// Statuses of an answer: which, what becomes of the object, and what the archive means (PS3.4 B.2.3, PS3.7 annex C).
/// After any other the object waits.
pub const STATUSES: [(RangeInclusive<u16>, QueueState, &str); 13] = [
    (0x0000..=0x0000, QueueState::Sent, "success"),
    (0x0001..=0x0001, QueueState::Sent, "warning"),
    (0x0107..=0x0107, QueueState::Sent, "warning: attribute list error"),
    (0x0111..=0x0111, QueueState::Sent, "duplicate SOP instance: the archive has it"),
    (0x0116..=0x0116, QueueState::Sent, "warning: attribute value out of range"),
    (0xB000..=0xBFFF, QueueState::Sent, "warning: stored, perhaps with changes"),
    (0x0110..=0x0110, QueueState::Waits, "processing failure"),
    (0x0124..=0x0124, QueueState::Waits, "not authorised"),
    (0x0213..=0x0213, QueueState::Waits, "resource limitation"),
    (0xA700..=0xA7FF, QueueState::Waits, "out of resources"),
    (0x0117..=0x0122, QueueState::Failed, "invalid SOP instance, SOP class not supported"),
    (0xA900..=0xA9FF, QueueState::Failed, "the data set does not match the SOP class"),
    (0xC000..=0xCFFF, QueueState::Failed, "cannot understand"),
];

/// Statuses with which it says that it has no room: resource limitation, out of resources.
const NO_ROOM: [RangeInclusive<u16>; 2] = [0x0213..=0x0213, 0xA700..=0xA7FF];

fn state_after(status: u16) -> (QueueState, &'static str) {
    let known = STATUSES.iter().find(|(statuses, ..)| statuses.contains(&status));
    known.map_or((QueueState::Waits, "a status that is not known"), |(_, state, meaning)| (*state, meaning))
}

/// Why objects could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The queue cannot be read or written.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// A certificate or key cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsError),
}

impl ArchiveError {
    fn kind(&self) -> ArchiveTrouble {
        match self {
            Self::Journal(_) => ArchiveTrouble::Queue,
            Self::Tls(_) => ArchiveTrouble::Certificate,
        }
    }
}

/// Why objects wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// As the panel says it.
    pub kind: ArchiveTrouble,
    /// As the log says it.
    pub told: String,
}

impl From<&CallError> for Trouble {
    fn from(error: &CallError) -> Self {
        Self { kind: error.kind(), told: error.to_string() }
    }
}

impl From<&ArchiveError> for Trouble {
    fn from(error: &ArchiveError) -> Self {
        Self { kind: error.kind(), told: error.to_string() }
    }
}

/// What came of working the queue off once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Objects that the archive has taken.
    pub sent: u64,
    /// Objects that it refused for good.
    pub failed: u64,
    /// Objects that wait afterwards.
    pub left: u64,
    /// Why some of them do.
    pub trouble: Option<Trouble>,
}

#[derive(Debug, Default)]
struct Inner {
    closing: bool,
    /// Something was queued since it was looked last.
    rung: bool,
    /// Of the association.
    socket: Option<TcpStream>,
    figures: QueueFigures,
    /// Of the last round.
    trouble: Option<ArchiveTrouble>,
}

/// Whether the files that `config` names can be used.
///
/// # Errors
/// With the first that cannot.
pub fn check_files(config: Option<&ArchiveConfig>) -> Result<(), TlsError> {
    let tls = config.and_then(|config| config.tls.as_ref());
    tls.map_or(Ok(()), |tls| Tls::load(tls.files()).map(|_| ()))
}

/// What sends to the archive.
#[derive(Debug)]
pub struct Archive {
    config: ArchiveConfig,
    journal: PathBuf,
    spool: PathBuf,
    utc_offset_s: i32,
    language: Language,
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Archive {
    /// Sends what the journal has queued; films for captures are looked for in the spool's folder.
    pub fn new(sending: Sending) -> Self {
        let Sending { archive: config, journal, spool, utc_offset_s, language } = sending;
        Self { config, journal, spool, utc_offset_s, language, inner: Mutex::default(), changed: Condvar::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is sent of the reading of a film of which the journal keeps this.
    pub fn wanted(&self, identity: Option<&Identity>) -> &[What] {
        self.config.wanted(identity)
    }

    /// Something was queued.
    pub fn ring(&self) {
        self.inner().rung = true;
        self.changed.notify_all();
    }

    /// Ends [`Archive::run`], also where it waits for the archive.
    pub fn close(&self) {
        let mut inner = self.inner();
        inner.closing = true;
        if let Some(socket) = &inner.socket {
            // It fails only where the archive was faster.
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// How the queue was when it was looked last.
    pub fn figures(&self) -> QueueFigures {
        self.inner().figures.clone()
    }

    /// Why what waits was not taken the last time that it was tried; `None` where it was, or nothing waited.
    pub fn trouble(&self) -> Option<ArchiveTrouble> {
        self.inner().trouble
    }

    fn is_closing(&self) -> bool {
        self.inner().closing
    }

    /// Sends until [`Archive::close`].
    pub fn run(&self) {
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            log::debug!("{}: sends with the priority of everything else: {error}", self.config.called);
        }
        let (mut journal, mut back_off) = (None, BackOff::new(self.config.retry));
        loop {
            self.inner().rung = false;
            let (told, pause) = match self.round(&mut journal) {
                Ok(Round { trouble: None, left, .. }) => {
                    back_off.reset();
                    (None, if left > 0 { Duration::ZERO } else { IDLE })
                }
                Ok(Round { trouble: Some(trouble), .. }) => (Some(trouble), back_off.pause()),
                // It is made by whoever reads films, who rings then.
                Err(ArchiveError::Journal(JournalError::Missing(_))) => (None, IDLE),
                Err(error) => {
                    journal = None;
                    (Some(Trouble::from(&error)), back_off.pause())
                }
            };
            self.inner().trouble = told.as_ref().map(|trouble| trouble.kind);
            if let Some(Trouble { told, .. }) = &told
                && !self.is_closing()
            {
                let seconds = pause.as_secs_f64().ceil();
                log::warn!("archive {}: {told}; {}; again in {seconds} s", self.config.called, self.health());
            }
            if !self.wait(pause, told.is_none()) {
                return;
            }
        }
    }

    /// The queue in words.
    fn health(&self) -> String {
        let figures = self.figures();
        let mut words = match figures.waiting {
            0 => "nothing waits".to_owned(),
            1 => "1 object waits".to_owned(),
            waiting => format!("{waiting} objects wait"),
        };
        if let Some(seconds) = age_s(&figures) {
            // Writing into memory cannot fail.
            let _ = write!(words, ", the oldest for {seconds} s");
        }
        if figures.failed > 0 {
            let _ = write!(words, ", {} were refused for good", figures.failed);
        }
        words
    }

    /// Waits, unless somebody rings and that counts; `false` when the program ends.
    fn wait(&self, pause: Duration, ringing_counts: bool) -> bool {
        let until = Instant::now() + pause;
        let mut inner = self.inner();
        loop {
            if inner.closing {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || inner.rung && ringing_counts {
                return true;
            }
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Works the queue off until everything was tried once.
    ///
    /// # Errors
    /// When there is no journal, it cannot be read or written, or a file for TLS cannot be used.
    pub fn send_all(&self) -> Result<Round, ArchiveError> {
        let mut all = Round::default();
        let mut journal = None;
        loop {
            let round = self.round(&mut journal)?;
            all = Round { sent: all.sent + round.sent, failed: all.failed + round.failed, ..round };
            if all.left == 0 || all.trouble.is_some() {
                return Ok(all);
            }
        }
    }

    /// Whether the archive can be reached and what it takes: `Ok` with what it accepts nothing of, in words.
    ///
    /// # Errors
    /// With why it cannot be reached.
    pub fn examine(&self) -> Result<Vec<String>, String> {
        let association = self.open().map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let refused = self.config.what.iter().filter_map(|what| association.accepts(*what).err());
        let refused = refused.map(|refused| refused.to_string()).collect();
        association.release();
        Ok(refused)
    }

    fn open(&self) -> Result<Result<Association, CallError>, ArchiveError> {
        // Anew each time: certificates are renewed while the program runs.
        let tls = self.config.tls.as_ref().map(|tls| Tls::load(tls.files())).transpose()?;
        Ok(Association::open(&self.config, tls.as_ref(), |socket| {
            let mut inner = self.inner();
            inner.socket = socket.try_clone().ok();
            !inner.closing
        }))
    }

    /// Sends what waits over one association.
    fn round(&self, journal: &mut Option<Journal>) -> Result<Round, ArchiveError> {
        let journal = match journal {
            Some(journal) => journal,
            None => journal.insert(Journal::open(&self.journal)?),
        };
        self.look(journal)?;
        let mut round = Round::default();
        let waiting = journal.next_to_send(MOST_A_ROUND)?;
        if !waiting.is_empty() && !self.is_closing() {
            self.work_off(journal, waiting, &mut round)?;
            self.inner().socket = None;
            self.look(journal)?;
        }
        round.left = self.figures().waiting;
        if round.sent > 0 {
            log::info!("archive {}: has taken {}; {}", self.config.called, round.sent, self.health());
        }
        Ok(round)
    }

    fn look(&self, journal: &Journal) -> Result<(), JournalError> {
        let figures = journal.queue_figures()?;
        self.inner().figures = figures;
        Ok(())
    }

    /// Makes the objects, then calls the archive and sends them: while they are made, which takes a while on a busy
    /// device, no association waits for them.
    fn work_off(&self, journal: &mut Journal, waiting: Vec<Queued>, round: &mut Round) -> Result<(), ArchiveError> {
        // One that was away the last time is asked first whether there is any use in making them.
        if self.figures().tries > 0 {
            match self.call(journal, round)? {
                Some(association) => association.release(),
                None => return Ok(()),
            }
        }
        let mut films = Films::in_spool(&self.spool);
        let mut made = Vec::new();
        for object in waiting {
            if self.is_closing() {
                return Ok(());
            }
            match self.make(journal, &mut films, &object)? {
                Ok(derived) => made.push((object, derived)),
                Err(told) => {
                    let tried = Tried { state: QueueState::Failed, status: None, told: Some(told) };
                    self.note(journal, &object, tried, round)?;
                }
            }
        }
        drop(films);
        if made.is_empty() {
            return Ok(());
        }
        match self.call(journal, round)? {
            Some(association) => self.send(association, journal, &made, round),
            None => Ok(()),
        }
    }

    /// An association; `None`, and that written down, where there is none to be had.
    fn call(&self, journal: &mut Journal, round: &mut Round) -> Result<Option<Association>, ArchiveError> {
        let opened = self.open();
        let trouble = match &opened {
            Ok(Ok(_)) => None,
            Ok(Err(call)) => Some(Trouble::from(call)),
            Err(error) => Some(Trouble::from(error)),
        };
        // That this program ends says nothing of the archive.
        if !self.is_closing() {
            journal.reached(trouble.as_ref().map_or(Ok(()), |trouble| Err(&trouble.told)), clock::now().0)?;
        }
        match opened? {
            Ok(association) => Ok(Some(association)),
            Err(_) => {
                round.trouble = trouble;
                Ok(None)
            }
        }
    }

    /// The object; the inner `Err` where it can never be made.
    fn make(
        &self,
        journal: &Journal,
        films: &mut Films<'_>,
        object: &Queued,
    ) -> Result<Result<Derived, String>, ArchiveError> {
        let Some(row) = journal.find(object.sequence)? else {
            return Ok(Err("its reading is not in the journal any more".to_owned()));
        };
        let film = if object.what == What::Capture { films.of(&row) } else { None };
        let map = if film.is_some() { journal.map_of(row.sequence)? } else { None };
        let (utc_offset_s, language) = (self.utc_offset_s, self.language);
        let shown = Shown { film: film.as_ref(), map: map.as_ref(), utc_offset_s, language };
        Ok(Derived::of(&row, object.what, shown).map_err(|error| error.to_string()))
    }

    fn send(
        &self,
        mut association: Association,
        journal: &mut Journal,
        made: &[(Queued, Derived)],
        round: &mut Round,
    ) -> Result<(), ArchiveError> {
        let mut refused_in_a_row = 0;
        for (object, derived) in made {
            if self.is_closing() || refused_in_a_row == MOST_REFUSED {
                break;
            }
            match try_one(&mut association, object, derived) {
                Ok(tried) => {
                    refused_in_a_row = if tried.state == QueueState::Waits { refused_in_a_row + 1 } else { 0 };
                    self.note(journal, object, tried, round)?;
                }
                Err(call) => {
                    if !self.is_closing() {
                        let trouble = Trouble::from(&call);
                        let told = Some(trouble.told.clone());
                        journal.tried(
                            object,
                            &Tried { state: QueueState::Waits, status: None, told },
                            clock::now().0,
                        )?;
                        round.trouble = Some(trouble);
                    }
                    return Ok(());
                }
            }
        }
        association.release();
        Ok(())
    }

    /// Writes down how a try ended, counts it, and says what somebody may want to know.
    fn note(
        &self,
        journal: &mut Journal,
        object: &Queued,
        tried: Tried,
        round: &mut Round,
    ) -> Result<(), ArchiveError> {
        journal.tried(object, &tried, clock::now().0)?;
        let name = format!("the {} on reading {}", object.what.name(), object.sequence);
        let told = tried.told.unwrap_or_default();
        match tried.state {
            QueueState::Sent => {
                round.sent += 1;
                if !told.is_empty() {
                    log::info!("archive {}: has taken {name}: {told}", self.config.called);
                }
            }
            QueueState::Failed => {
                round.failed += 1;
                log::error!("archive {}: {name} will not be sent: {told}", self.config.called);
            }
            QueueState::Waits => {
                let kind = match tried.status {
                    None => ArchiveTrouble::NotAccepted,
                    Some(status) if NO_ROOM.iter().any(|statuses| statuses.contains(&status)) => ArchiveTrouble::NoRoom,
                    Some(_) => ArchiveTrouble::WrongAnswer,
                };
                round.trouble = Some(Trouble { kind, told: format!("does not take {name}: {told}") });
            }
        }
        Ok(())
    }
}

/// Sends one object; `Err` when the association is over.
fn try_one(association: &mut Association, object: &Queued, derived: &Derived) -> Result<Tried, CallError> {
    let syntax = match association.accepts(object.what) {
        Ok(syntax) => syntax,
        Err(refused) => {
            let state = if refused.for_good { QueueState::Failed } else { QueueState::Waits };
            return Ok(Tried { state, status: None, told: Some(refused.to_string()) });
        }
    };
    let data = match derived.data_set(syntax.uid) {
        Ok(data) => data,
        Err(error) => return Ok(Tried { state: QueueState::Failed, status: None, told: Some(error.to_string()) }),
    };
    let (status, comment) = association.store(object.what, &object.sop_uid, &data)?;
    let (state, meaning) = state_after(status);
    let comment = if comment.is_empty() { comment } else { format!(" ({comment})") };
    let told = (status != 0).then(|| format!("status {status:04X}, {meaning}{comment}"));
    Ok(Tried { state, status: Some(status), told })
}

/// For how many seconds the first object that waits has done so, by this device's clock.
pub fn age_s(figures: &QueueFigures) -> Option<i64> {
    figures.oldest_unix_ms.map(|since| (clock::now().0.saturating_sub(since) / 1000).max(0))
}

/// The films of readings, where they are still at hand.
#[derive(Debug)]
pub struct Films<'a> {
    spool: &'a Path,
    /// Started for the first film.
    wall: Option<Wall>,
}

impl<'a> Films<'a> {
    /// Films that lie in that spool.
    pub fn in_spool(spool: &'a Path) -> Self {
        Self { spool, wall: None }
    }

    /// The film of the reading; `None` where it is gone, is another one by now, or cannot be decoded.
    pub fn of(&mut self, row: &Recorded) -> Option<Acquired> {
        let path = spool::find_in(self.spool, row.image_reference.as_deref()?)?;
        let same = content::sha256(&path, Limits::default().file_bytes);
        // Another film than the one that was read would lend it a verdict.
        if !same.is_ok_and(|found| row.image_sha256 == Some(Digest(found))) {
            return None;
        }
        let wall = self.wall.get_or_insert_with(Wall::of_this_program);
        let read = wall.read_object(&path, &Limits::default());
        let read = read.inspect_err(|error| log::warn!("{}: drawn without its film: {error}", path.display())).ok()?;
        read.film.ok()
    }
}

/// How long to wait before the next try: about twice as long each time, an hour at most, and never quite the same, so
/// that the devices of a hospital do not call together when its archive comes back.
#[derive(Clone, Copy, Debug)]
struct BackOff {
    first: Duration,
    tries: u32,
}

impl BackOff {
    fn new(first: Duration) -> Self {
        Self { first, tries: 0 }
    }

    fn reset(&mut self) {
        self.tries = 0;
    }

    fn pause(&mut self) -> Duration {
        let whole = self.first.saturating_mul(1 << self.tries.min(12)).min(LONGEST_PAUSE);
        self.tries = self.tries.saturating_add(1);
        // The standard library draws a key for every table: that is random enough for a pause.
        jittered(whole, RandomState::new().hash_one(self.tries))
    }
}

/// Three quarters to five quarters of `whole`, an hour at most.
fn jittered(whole: Duration, random: u64) -> Duration {
    let share = random as f64 / u64::MAX as f64;
    whole.mul_f64(0.75 + share / 2.0).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_become_longer_are_never_quite_the_same_and_end_at_an_hour() {
        let mut back_off = BackOff::new(Duration::from_secs(30));
        for expected in [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0] {
            let pause = back_off.pause().as_secs_f64();
            assert!((0.75 * expected..=1.25 * expected).contains(&pause) && pause <= 3600.0, "{pause} {expected}");
        }
        back_off.reset();
        assert!(back_off.pause() <= Duration::from_millis(37_500));
        let whole = Duration::from_secs(100);
        assert_eq!(jittered(whole, 0), Duration::from_secs(75));
        assert_eq!(jittered(whole, u64::MAX), Duration::from_secs(125));
        assert_eq!(jittered(LONGEST_PAUSE, u64::MAX), LONGEST_PAUSE);
        let drawn: std::collections::BTreeSet<Duration> = (0..8).map(|_| BackOff::new(whole).pause()).collect();
        assert!(drawn.len() > 1, "{drawn:?}");
    }

    #[test]
    fn statuses_are_those_of_the_standard() {
        for status in [0x0000, 0x0111, 0xb000, 0xb006, 0xb007] {
            assert_eq!(state_after(status).0, QueueState::Sent, "{status:04x}");
        }
        for status in [0xa700, 0xa7ff, 0x0110, 0x0124, 0xfe00, 0x1234] {
            assert_eq!(state_after(status).0, QueueState::Waits, "{status:04x}");
        }
        for status in [0xa900, 0xa9ff, 0xc000, 0xcfff, 0x0122, 0x0117] {
            assert_eq!(state_after(status).0, QueueState::Failed, "{status:04x}");
        }
        for (index, (statuses, ..)) in STATUSES.iter().enumerate() {
            let (first, last) = (statuses.start(), statuses.end());
            let others = STATUSES.iter().enumerate().filter(|(other, _)| *other != index);
            assert!(
                others.into_iter().all(|(_, (other, ..))| other.end() < first || other.start() > last),
                "{first:04x}"
            );
        }
    }
}
