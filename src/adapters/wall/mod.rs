//! Decoding behind a wall: files from outside are parsed in a process of their own, which can take no more memory and
//! time than it is given, open no file, reach no network, and hands back a picture and a few words.
//!
//! ```text
//! this process                         the decoder: the same program, `lightbox decode`
//!   opens the file, sends its bytes ──► parses and decodes
//!   reads picture or reason, checked ◄─ answers, waits for the next file
//! ```
//! One decoder is kept warm. When it crashes, takes too long or answers nonsense it is killed, the file is rejected with
//! `decoder-stopped` or `decoder-timeout`, and the next file gets a new one. Nothing that comes back is trusted further
//! than a picture may be.

mod confinement;
mod protocol;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use sha2::{Digest, Sha256};
use signal_hook::consts::{SIGABRT, SIGKILL, SIGSEGV};

pub use self::confinement::{Confinement, Landlock};
use self::protocol::ProtocolError;
use super::deadlined::Deadlined;
use super::file::{self, Limits};
#[cfg(feature = "kiosk")]
use super::spool;
use crate::domain::{Acquired, Reason, Rejection};
#[cfg(feature = "kiosk")]
use crate::pipeline::film::develop;

/// The name of the subcommand that [`decode_for_parent`] is behind.
pub const SUBCOMMAND: &str = "decode";
/// The same program also after its file was replaced by a newer one.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Pieces in which a file is sent.
const PIECE: usize = 256 << 10;
/// For a decoder to start, from when somebody waits for it: until then it may share the processor with a model that loads.
const START: Duration = Duration::from_secs(20);
/// The signal for too much processor time; the same number wherever Linux runs but on MIPS.
const SIGXCPU: i32 = 24;

/// What one file may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Memory of the decoder, all that it maps.
    pub memory_bytes: u64,
    /// From the first byte that it is sent to its answer.
    pub deadline: Duration,
    /// Of one decoder, counted by the time that its answers took; it is then replaced.
    pub lifetime: Duration,
}

impl Default for Allowance {
    /// 1 GiB, a minute for one file, three for one decoder.
    fn default() -> Self {
        Self { memory_bytes: 1 << 30, deadline: Duration::from_secs(60), lifetime: Duration::from_secs(180) }
    }
}

/// Why there is no decoder.
#[derive(Debug, thiserror::Error)]
pub enum WallError {
    /// It could not be started.
    #[error("cannot start the decoder {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended or went silent before it was ready.
    #[error("the decoder {} was not ready: {why}", program.display())]
    NotReady {
        /// The program.
        program: PathBuf,
        /// What it did.
        why: String,
    },
}

/// The side of the wall on which nothing is parsed.
#[derive(Debug)]
pub struct Wall {
    program: PathBuf,
    allowance: Allowance,
    decoder: Option<Decoder>,
    told: bool,
}

/// The process on the other side.
#[derive(Debug)]
struct Decoder {
    child: Child,
    stream: Deadlined<UnixStream>,
    /// `None` until it has said hello.
    confinement: Option<Confinement>,
    /// Time that its answers took: more than its processor time.
    spent: Duration,
}

/// A film, or why there is none.
type Film = Result<Acquired, Rejection>;

/// What lay in a spool.
#[cfg(feature = "kiosk")]
#[derive(Clone, Debug)]
pub struct Developed {
    /// The film, or why there is none.
    pub film: Result<Acquired, Rejection>,
    /// The photograph in which there is no film: whoever took it sees what was wrong.
    pub photograph: Option<Acquired>,
}

/// A file that is digested while it is read.
struct Digested {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Read for Digested {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// Why a decoder did not answer.
enum Fault {
    Decoder(ProtocolError),
    /// The file is not what it was when it was opened.
    File(io::Error),
}

impl From<ProtocolError> for Fault {
    fn from(error: ProtocolError) -> Self {
        Self::Decoder(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Decoder(error.into())
    }
}

impl Wall {
    /// A wall whose decoder is `program`; it is started when it is first needed.
    pub fn new(program: impl Into<PathBuf>, allowance: Allowance) -> Self {
        Self { program: program.into(), allowance, decoder: None, told: false }
    }

    /// A wall whose decoder is this very program.
    pub fn of_this_program() -> Self {
        Self::new(THIS_PROGRAM, Allowance::default())
    }

    /// Starts the decoder without waiting for it, where none runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn warm_up(&mut self) -> Result<(), WallError> {
        if let Some(decoder) = &mut self.decoder
            && !matches!(decoder.child.try_wait(), Ok(None))
        {
            log::warn!("the decoder ended by itself and is started again");
            self.decoder = None;
        }
        if self.decoder.is_none() {
            self.decoder = Some(Decoder::start(&self.program, &self.allowance)?);
        }
        Ok(())
    }

    /// What the decoder is confined by; it is started where none runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn confinement(&mut self) -> Result<Confinement, WallError> {
        let (decoder, confinement) = self.ready()?;
        self.decoder = Some(decoder);
        Ok(confinement)
    }

    /// The process number of the decoder, when one runs.
    pub fn decoder_id(&self) -> Option<u32> {
        self.decoder.as_ref().map(|decoder| decoder.child.id())
    }

    /// Reads a radiograph from a regular file.
    ///
    /// # Errors
    /// When there is no decoder: that says nothing of the file, which can be read later. What is wrong with the file
    /// itself, also that it brings the decoder down, is the inner rejection.
    pub fn read_film(&mut self, path: &Path, limits: &Limits) -> Result<Result<Acquired, Rejection>, WallError> {
        match file::open_film(path, limits) {
            Ok((file, bytes)) => self.decode_from(file, bytes, limits, path.display()),
            Err(rejection) => Ok(Err(rejection)),
        }
    }

    /// Reads the film of an object that lies in a spool; a photograph is developed.
    ///
    /// # Errors
    /// As [`read_film`](Self::read_film).
    #[cfg(feature = "kiosk")]
    pub fn read_object(&mut self, path: &Path, limits: &Limits) -> Result<Developed, WallError> {
        let read = self.read_film(path, limits)?;
        Ok(match read {
            Ok(photograph) if spool::is_photograph(path) => match develop(photograph.clone()) {
                Ok(film) => Developed { film: Ok(film), photograph: None },
                Err(rejection) => Developed { film: Err(rejection), photograph: Some(photograph) },
            },
            film => Developed { film, photograph: None },
        })
    }

    /// As [`read_film`](Self::read_film); gives the SHA-256 of the very bytes that were decoded too, where all of them
    /// could be read.
    ///
    /// # Errors
    /// As there.
    pub fn read_film_digested(&mut self, path: &Path, limits: &Limits) -> Result<(Film, Option<[u8; 32]>), WallError> {
        let (file, bytes) = match file::open_film(path, limits) {
            Ok(opened) => opened,
            Err(rejection) => return Ok((Err(rejection), None)),
        };
        let mut digested = Digested { file, hash: Sha256::new(), bytes: 0 };
        let film = self.decode_from(&mut digested, bytes, limits, path.display())?;
        // A decoder that fell left a rest unread; a file that is shorter than it was has no digest.
        let rest = bytes.saturating_sub(digested.bytes);
        let whole = io::copy(&mut (&mut digested).take(rest), &mut io::sink()).is_ok() && digested.bytes == bytes;
        Ok((film, whole.then(|| digested.hash.finalize().into())))
    }

    /// Decodes a radiograph, or a photograph of one, from the bytes of a file.
    ///
    /// # Errors
    /// As [`read_film`](Self::read_film).
    pub fn decode(&mut self, bytes: &[u8], limits: &Limits) -> Result<Film, WallError> {
        self.decode_from(bytes, bytes.len() as u64, limits, "a picture in memory")
    }

    fn decode_from(
        &mut self,
        file: impl Read,
        bytes: u64,
        limits: &Limits,
        name: impl fmt::Display,
    ) -> Result<Film, WallError> {
        let Allowance { deadline, lifetime, .. } = self.allowance;
        let (mut decoder, _) = self.ready()?;
        let start = Instant::now();
        decoder.stream.deadline = start + deadline;
        let fault = match decoder.ask(file, bytes, limits) {
            Ok(answer) => {
                decoder.spent += start.elapsed();
                // The next file must find a whole deadline of processor time.
                if decoder.spent < lifetime {
                    self.decoder = Some(decoder);
                }
                return Ok(answer);
            }
            Err(fault) => fault,
        };
        let rejection = decoder.end(fault, deadline);
        log::warn!("{name}: {rejection}");
        Ok(Err(rejection))
    }

    /// Takes the decoder once it is ready.
    fn ready(&mut self) -> Result<(Decoder, Confinement), WallError> {
        self.warm_up()?;
        let missing = |why: &str| WallError::NotReady { program: self.program.clone(), why: why.to_owned() };
        let mut decoder = self.decoder.take().ok_or_else(|| missing("it has gone"))?;
        let confinement = match decoder.greeted() {
            Ok(confinement) => confinement,
            Err(error) => {
                let rejection = decoder.end(Fault::Decoder(error), START);
                return Err(missing(&rejection.detail));
            }
        };
        if !std::mem::replace(&mut self.told, true) {
            let level = if confinement.is_bare() { log::Level::Warn } else { log::Level::Info };
            let Allowance { memory_bytes, deadline, .. } = &self.allowance;
            let (megabytes, seconds) = (memory_bytes >> 20, deadline.as_secs_f32());
            log::log!(
                level,
                "files are decoded in a process of its own ({megabytes} MiB, {seconds} s each): {confinement}"
            );
        }
        Ok((decoder, confinement))
    }
}

impl Decoder {
    fn start(program: &Path, allowance: &Allowance) -> Result<Self, WallError> {
        let start = || {
            let (ours, theirs) = UnixStream::pair()?;
            let cpu_seconds = (allowance.lifetime + allowance.deadline).as_secs() + 1;
            let mut command = Command::new(program);
            command.arg0("lightbox").arg(SUBCOMMAND);
            command.arg(allowance.memory_bytes.to_string()).arg(cpu_seconds.to_string());
            command.env_clear().current_dir("/");
            command.stdin(Stdio::from(OwnedFd::from(theirs.try_clone()?)));
            command.stdout(Stdio::from(OwnedFd::from(theirs)));
            let child = command.stderr(Stdio::piped()).spawn()?;
            let stream = Deadlined { socket: ours, deadline: Instant::now() + START };
            Ok(Self { child, stream, confinement: None, spent: Duration::ZERO })
        };
        start().map_err(|source| WallError::Start { program: program.to_owned(), source })
    }

    fn greeted(&mut self) -> Result<Confinement, ProtocolError> {
        if let Some(confinement) = self.confinement {
            return Ok(confinement);
        }
        self.stream.deadline = Instant::now() + START;
        let confinement = protocol::read_hello(&mut self.stream)?;
        self.confinement = Some(confinement);
        Ok(confinement)
    }

    fn ask(&mut self, mut file: impl Read, bytes: u64, limits: &Limits) -> Result<Result<Acquired, Rejection>, Fault> {
        self.stream.write_all(&protocol::request_head(bytes, limits))?;
        let mut left = bytes;
        let mut piece = vec![0; PIECE.min(bytes as usize)];
        while left > 0 {
            let count = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.read_exact(&mut piece[..count]).map_err(Fault::File)?;
            self.stream.write_all(&piece[..count])?;
            left -= count as u64;
        }
        Ok(protocol::read_answer(&mut self.stream, limits)?)
    }

    /// Kills it and says why it did not answer.
    fn end(mut self, fault: Fault, deadline: Duration) -> Rejection {
        let late = || {
            let detail = format!("the decoder had no answer after {} s", deadline.as_secs_f32());
            Rejection::new(Reason::DecoderTimeout, detail)
        };
        // A process that closes its end because it dies already has the status of its death.
        let status = self.kill();
        match fault {
            Fault::File(error) => Rejection::new(Reason::CannotOpen, format!("it changed while it was read: {error}")),
            Fault::Decoder(ProtocolError::Nonsense(what)) => {
                Rejection::new(Reason::DecoderStopped, format!("the decoder answered {what}"))
            }
            Fault::Decoder(ProtocolError::Io(error)) => match error.kind() {
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => late(),
                _ if status.and_then(|status| status.signal()) == Some(SIGXCPU) => late(),
                _ => Rejection::new(Reason::DecoderStopped, self.last_words(status)),
            },
        }
    }

    fn kill(&mut self) -> Option<ExitStatus> {
        // It fails only where it has ended already.
        let _ = self.child.kill();
        self.child.wait().ok()
    }

    /// How it ended, and what it said of that.
    fn last_words(&mut self, status: Option<ExitStatus>) -> String {
        let ended = match status.map(|status| (status.signal(), status.code())) {
            Some((Some(SIGKILL), _)) => "the decoder was killed".to_owned(),
            Some((Some(SIGABRT), _)) => "the decoder gave up".to_owned(),
            Some((Some(SIGSEGV), _)) => "the decoder crashed".to_owned(),
            Some((Some(signal), _)) => format!("the decoder was ended by signal {signal}"),
            Some((None, Some(code))) => format!("the decoder ended with status {code}"),
            Some((None, None)) | None => "the decoder has gone".to_owned(),
        };
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take()
            && fcntl_setfl(&stderr, OFlags::NONBLOCK).is_ok()
        {
            // What is there already; an error is the end of it.
            let _ = stderr.take(4096).read_to_end(&mut said);
        }
        // Without the advice for programmers that stands below an abort.
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.starts_with("note:")).collect();
        let said: String = lines.join(" ").trim().chars().filter(|c| !c.is_control()).take(200).collect();
        if said.is_empty() { ended } else { format!("{ended}: {said}") }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The other side of the wall: gives up all rights, then decodes what comes in on standard input until its end.
///
/// # Errors
/// When the limits cannot be set or the parent does not take an answer.
pub fn decode_for_parent(memory_bytes: u64, cpu_seconds: u64) -> io::Result<()> {
    let mut requests = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut answers = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    // The JPEG decoder gives its work to rayon, and behind the wall no thread can be started: this one does it.
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().map_err(io::Error::other)?;
    let confinement = confinement::enter(memory_bytes, cpu_seconds)?;
    protocol::write_hello(&mut answers, confinement)?;
    loop {
        let request = protocol::read_request(&mut requests).map_err(|error| match error {
            ProtocolError::Io(error) => error,
            ProtocolError::Nonsense(what) => io::Error::other(what),
        })?;
        let Some((bytes, limits)) = request else { return Ok(()) };
        let answer = file::decode_film(&bytes, &limits);
        drop(bytes);
        protocol::write_answer(&mut answers, &answer)?;
    }
}
