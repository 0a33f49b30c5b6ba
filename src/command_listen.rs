//! `lightbox listen`: receives from the network and from folders, and where it is configured reads what was received, in
//! the order of arrival.
//!
//! An object counts as read once its line is durable; whatever happens before that, it is read again.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lightbox::adapters::archive::{self, Archive};
use lightbox::adapters::file::Limits;
use lightbox::adapters::folders::FolderSource;
use lightbox::adapters::json_lines;
use lightbox::adapters::listener::{self, Listener, ListenerError};
use lightbox::adapters::png_panel::PngPanel;
use lightbox::adapters::readings::Readings;
use lightbox::adapters::signals;
use lightbox::adapters::spool::{Reserve, Spool, Stored};
use lightbox::adapters::wall::Wall;
use lightbox::app;
use lightbox::config::{self, Config, ModelsConfig, ReadConfig};
use lightbox::domain::{Doubt, Verdict};
use lightbox::engine::EngineOptions;
use lightbox::models::{self, Device, Next, Serving, entry_of};
use lightbox::ports::Panel;
use lightbox::record::Journal;

use super::{Failure, default_threads, draw, timing};

/// How often the reader looks whether the program is to end.
const LOOK: Duration = Duration::from_millis(200);
/// After a fault of the device's own, such as a full disk, until the same object is tried again.
const PAUSE: Duration = Duration::from_secs(5);
/// Of the pictures in `read.screens`.
const SCREEN_SIZE: (u32, u32) = (800, 480);

#[derive(clap::Args)]
pub(crate) struct ListenArguments {
    /// What to listen to, where to keep it, and whether to read it
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only say whether the configuration can be used
    #[arg(long)]
    check: bool,
}

pub(crate) fn help() -> String {
    format!("An example of a configuration; keys behind # have these values by default:\n\n{}", config::EXAMPLE)
}

pub(crate) fn run(arguments: &ListenArguments) -> Result<(), Failure> {
    let config = Config::read(&arguments.config)?;
    let sending = config.sending();
    let Config { listener: peers, spool, read, folders, models, camera, archive } = config;
    if arguments.check {
        listener::check_files(&peers).map_err(ListenerError::from)?;
        archive::check_files(archive.as_ref()).map_err(ListenerError::from)?;
        println!("{}: can be used", arguments.config.display());
        return Ok(());
    }
    if camera.is_some() {
        log::warn!("[camera] is not used here: nobody can press a key");
    }
    let stop = signals::stop_requests().map_err(Failure::Signals)?;
    let reserve = Reserve { bytes: spool.keep_free_bytes, percent: spool.keep_free_percent };
    let (folder, delete_read) = (spool.folder, spool.delete_read);
    let spool = Spool::open(&folder, reserve)?;
    let spool = if delete_read { spool.deleting_read() } else { spool };
    if let Err(short) = spool.check_space() {
        log::warn!("nothing will be taken: {short}");
    }
    let archive = sending.map(Archive::new);
    let reader = read.map(|read| Reader::open(read, &models)).transpose()?;
    let ae_title = peers.ae_title.clone();
    let secured = if peers.tls.is_some() { " through TLS" } else { "" };
    let listener = Listener::bind(peers)?;
    let unread = spool.unread_count();
    log::info!("listening on {} as {ae_title}{secured}, {unread} unread in {}", listener.address(), folder.display());
    let ending = AtomicBool::new(false);
    Ok(thread::scope(|scope| {
        if let Some(mut reader) = reader {
            let (spool, ending) = (&spool, &ending);
            let archive = archive.as_ref();
            scope.spawn(move || or_end("reader", || reader.read_until(spool, archive, ending)));
        }
        if let Some(archive) = &archive {
            scope.spawn(move || or_end("sender to the archive", || archive.run()));
        }
        for config in folders {
            let (spool, ending) = (&spool, &ending);
            let mut source = FolderSource::new(config);
            scope.spawn(move || or_end("source of films", || source.take_until(spool, ending)));
        }
        let ended = listener.run(&spool, &stop);
        ending.store(true, Ordering::Relaxed);
        if let Some(archive) = &archive {
            archive.close();
        }
        ended
    })?)
}

/// Ends the program when `work` does so by a fault: a store that no longer reads must not look as if it did. What was
/// received is durable, and whatever supervises the program starts it again.
fn or_end(name: &str, work: impl FnOnce()) {
    if panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
        log::error!("the {name} ended by a fault of this program");
        process::exit(1);
    }
}

/// Reads what lies in the spool.
struct Reader {
    serving: Serving,
    /// The model that the configuration names.
    named: Option<PathBuf>,
    device: Device,
    wall: Wall,
    readings: Readings,
    screens: Option<PathBuf>,
    journal: Option<Journal>,
    keep_identity: bool,
    /// The first unread film may have been written down already.
    doubtful: bool,
}

impl Reader {
    fn open(config: ReadConfig, models: &ModelsConfig) -> Result<Self, Failure> {
        let mut wall = Wall::of_this_program();
        wall.warm_up()?;
        let device = Device::new(models);
        let serving = serve(config.model.as_deref(), &device)?;
        if let Some(screens) = &config.screens {
            let mut folder = fs::DirBuilder::new();
            let made = folder.recursive(true).mode(0o700).create(screens);
            made.map_err(|source| Failure::Screens { path: screens.clone(), source })?;
        }
        let readings = Readings::open(&config.readings)?;
        let journal = config.journal.as_deref().map(Journal::open_or_create).transpose()?;
        if let Some(Err(broken)) = journal.as_ref().map(Journal::verify).transpose()? {
            log::error!("the journal is broken at {broken}");
        }
        let confinement = wall.confinement()?;
        if confinement.is_bare() {
            log::warn!("this kernel has neither seccomp nor landlock: files are decoded behind limits alone");
        }
        let (named, screens, keep_identity) = (config.model, config.screens, config.keep_identity);
        Ok(Self { serving, named, device, wall, readings, screens, journal, keep_identity, doubtful: true })
    }

    fn read_until(&mut self, spool: &Spool, archive: Option<&Archive>, ending: &AtomicBool) {
        while !ending.load(Ordering::Relaxed) {
            let Some((stored, path)) = spool.wait_for_unread(LOOK) else { continue };
            if let Err(failure) = self.read(spool, archive, &stored, &path) {
                self.doubtful = true;
                log::error!("{}: {failure}; it stays unread and is tried again", path.display());
                let pause = Instant::now();
                while pause.elapsed() < PAUSE && !ending.load(Ordering::Relaxed) {
                    thread::sleep(LOOK);
                }
            }
        }
    }

    /// Reads one object and takes it out of the queue.
    fn read(&mut self, spool: &Spool, archive: Option<&Archive>, stored: &Stored, path: &Path) -> Result<(), Failure> {
        let name = stored.file_name();
        if self.readings.ends_with(&name) {
            // The line was durable and the program ended before the object was marked.
            return Ok(spool.mark_read(stored)?);
        }
        self.take_confirmed();
        let start = Instant::now();
        let acquired = self.wall.read_object(path, &Limits::default())?.film;
        let decode = start.elapsed();
        let remarks = acquired.as_ref().map_or_else(|_| Vec::new(), |acquired| acquired.remarks.clone());
        let identity = acquired.as_ref().ok().and_then(|acquired| acquired.identity.clone());
        let screened = app::screen(acquired, self.serving.model.manifest(), &mut self.serving.classifier);
        if let Some(journal) = &mut self.journal
            // It may have been written down before the program ended, and not yet have got its line.
            && (!self.doubtful || journal.find_image(&name)?.is_none())
        {
            let kept = identity.filter(|_| self.keep_identity);
            let entry = entry_of(stored, path, &screened, remarks.clone(), kept, &self.serving.model);
            let wanted = archive.map_or(&[][..], |archive| archive.wanted(entry.identity.as_ref()));
            journal.append_to_send(&entry, wanted)?;
            if let Some(archive) = archive {
                archive.ring();
            }
        }
        let since_received = spool.arrival(stored).map(|arrival| arrival.elapsed());
        let timing = timing(decode, &screened, start.elapsed(), since_received);
        if let Some(screens) = &self.screens {
            let picture = screens.join(format!("{:016}.png", stored.number()));
            PngPanel::new(picture, SCREEN_SIZE).show(&draw(&screened, &self.serving.model, SCREEN_SIZE))?;
        }
        let line = json_lines::line(&name, &screened.reading, &remarks, &self.serving.model, timing)?;
        self.readings.append(&name, &line)?;
        spool.mark_read(stored)?;
        self.doubtful = false;
        let verdict = &screened.reading.verdict;
        let reason = verdict.reason().map_or_else(String::new, |reason| format!(" ({reason})"));
        let since =
            since_received.map_or_else(String::new, |since| format!(", {} ms after it came", since.as_millis()));
        log::info!("read {name}: {}{reason} in {:.0} ms{since}", verdict.name(), timing.total);
        let fault = (*verdict == Verdict::Indeterminate(Doubt::ModelFault)).then(|| format!("no answer to {name}"));
        self.count(fault.as_deref());
        Ok(())
    }

    /// Takes a model that was confirmed since the last film.
    fn take_confirmed(&mut self) {
        match self.serving.is_superseded(&self.device) {
            Ok(false) => {}
            Ok(true) => self.replace(),
            Err(error) => log::error!("whether another model was confirmed is not known: {error}"),
        }
    }

    /// Puts the model that is in force now in the place of this one.
    fn replace(&mut self) {
        match serve(self.named.as_deref(), &self.device) {
            Ok(serving) => self.serving = serving,
            // Whatever supervises the program starts it again, and it says the same until somebody comes.
            Err(failure) => {
                log::error!("no model can be used any more: {failure}");
                process::exit(1);
            }
        }
    }

    /// Tells the store what a durable reading says of a model on trial, and takes another where that was given up.
    fn count(&mut self, fault: Option<&str>) {
        match self.serving.reading_done(fault) {
            Ok(Next::Same) => {}
            Ok(Next::Confirmed) => log::info!("the model on trial is confirmed"),
            Ok(Next::Replace) => self.replace(),
            Err(error) => log::error!("this reading does not count for the model on trial: {error}"),
        }
    }
}

/// The model for this start, its self-test passed.
fn serve(named: Option<&Path>, device: &Device) -> Result<Serving, Failure> {
    let options = EngineOptions { threads: default_threads(), ..EngineOptions::default() };
    let serving = models::serve(named, device, options)?;
    serving.announce();
    Ok(serving)
}
