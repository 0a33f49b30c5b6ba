//! The command line and the wiring: reads the arguments, builds the adapters, runs, and ends with an exit code.

mod command_bench;
mod command_bundle;
mod command_doctor;
mod command_journal;
mod command_listen;
mod command_run;

use std::io::{self, Write};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use lightbox::adapters::file::Limits;
use lightbox::adapters::json_lines::{self, TimingMs};
use lightbox::adapters::listener::ListenerError;
use lightbox::adapters::png_panel::PngPanel;
use lightbox::adapters::readings::ReadingsError;
use lightbox::adapters::spool::SpoolError;
use lightbox::adapters::terminal::TerminalPanel;
use lightbox::adapters::wall::{self, Wall, WallError};
use lightbox::app::{self, Screened};
use lightbox::bundle::VerifiedModel;
use lightbox::config;
use lightbox::domain::{Acquired, Finding, Frame, Reading, Rejection, Verdict};
use lightbox::engine::{EngineOptions, MAX_THREADS};
use lightbox::models::{self, Device, ModelsError, Serving};
use lightbox::pipeline::film;
use lightbox::ports::Panel;
use lightbox::record::{Digest, Image, Journal, JournalError, Origin};
use lightbox::ui::{Film, Look, Page, Screen, VerdictScreen};

/// Reads chest radiographs on a small board: Covid-19, other pneumonia, normal, or an honest "cannot say".
///
/// A research device, not a cleared medical product: a clinician decides.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reads image files (DICOM, PNG, JPEG, TIFF, BMP) and shows the verdict on each
    ///
    /// A file that cannot be read is answered with the verdict "rejected" and a reason, and the next file is read.
    /// Exit status: 0 when every file got an answer, 1 when the program itself failed (no usable model, a panel that
    /// cannot be drawn on), 2 for wrong usage.
    Screen(ScreenArguments),
    /// Makes, checks and installs model bundles
    #[command(subcommand)]
    Bundle(command_bundle::BundleCommand),
    /// Shows, checks and exports the record of readings
    #[command(subcommand)]
    Journal(command_journal::JournalCommand),
    /// Measures how fast this device is: decode, preprocess, network, drawing, start, memory
    ///
    /// Says so when the processor became slower while it worked, or runs below its clock.
    /// Exit status: 0 when it was measured, 1 when it could not be, 2 for wrong usage.
    Bench(command_bench::BenchArguments),
    /// Receives images from modalities (DICOM Storage and Verification SCP), keeps them in a spool and may read them
    ///
    /// Films are also taken from folders and removable drives where the configuration names them.
    /// Runs until it is asked to end (SIGTERM, Ctrl-C). A sender is answered "success" once its image is durable.
    /// Whoever the configuration does not name is refused; the log on standard error says who and why.
    /// Exit status: 0 when it was asked to end, 1 when it could not go on, 2 for wrong usage.
    #[command(after_long_help = command_listen::help())]
    Listen(command_listen::ListenArguments),
    /// Runs the kiosk: films in, verdicts on the panel, every reading written down
    ///
    /// Runs until it is asked to end (SIGTERM, Ctrl-C). Parts that break are started again; what is wrong is said on the
    /// panel, by the lamps and in the log on standard error, which is silent while the terminal is the panel.
    /// Exit status: 0 when it was asked to end, 1 when it could not go on, 2 for wrong usage.
    #[command(after_long_help = command_run::help())]
    Run(command_run::RunArguments),
    /// Asks every part of a board whether it works, and says what to do where it does not
    ///
    /// Exit status: 0 when nothing is broken, 1 when something is, 2 for wrong usage.
    Doctor(command_doctor::DoctorArguments),
    /// Checks board files
    #[command(subcommand)]
    Board(command_run::BoardCommand),
    /// Decodes what another process of this program sends it, confined; not for use by hand
    #[command(name = wall::SUBCOMMAND, hide = true)]
    Decode {
        /// Memory that may be mapped
        memory_bytes: u64,
        /// Processor time that may be used
        cpu_seconds: u64,
    },
}

#[derive(clap::Args)]
struct ScreenArguments {
    /// One JSON object a line instead of words
    #[arg(long)]
    json: bool,
    /// Where the verdict screen is drawn: terminal, png:PATH or none; may be given more than once
    /// [default: terminal and png:lightbox-verdict.png; none with --json]
    #[arg(long = "panel", value_name = "PANEL", value_parser = PanelChoice::parse)]
    panels: Vec<PanelChoice>,
    /// The files are photographs of films on a light box: each is found, set straight and evened out first
    #[arg(long)]
    film: bool,
    /// Size of the picture that a PNG panel writes
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "800x480", value_parser = parse_size)]
    size: (u32, u32),
    /// Write every reading down in this journal before its verdict is shown; made where there is none
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Bundle or model directory [default: $LIGHTBOX_MODEL, else the model of this device's store, else the one that
    /// came with the program]
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Key list that the bundle named with --model has to satisfy [default: that of the store, else of the program]
    #[arg(long, value_name = "FILE", requires = "model")]
    keys: Option<PathBuf>,
    /// Threads that share the network's work; the answer does not depend on it [default: one a core, at most 4]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    threads: Option<usize>,
    /// Image files, in the order in which they are read
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq)]
enum PanelChoice {
    Terminal,
    Png(PathBuf),
    None,
}

impl PanelChoice {
    fn parse(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("png:")) {
            ("terminal", _) => Ok(Self::Terminal),
            ("none", _) => Ok(Self::None),
            (_, Some(path)) if !path.is_empty() => Ok(Self::Png(path.into())),
            _ => Err("expected terminal, png:PATH or none".to_owned()),
        }
    }
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let expected = || "expected WIDTHxHEIGHT, each from 64 to 4096, such as 800x480".to_owned();
    let (width, height) = text.split_once('x').ok_or_else(expected)?;
    let side = |text: &str| text.parse().ok().filter(|side| (64..=4096).contains(side)).ok_or_else(expected);
    Ok((side(width)?, side(height)?))
}

fn parse_threads(text: &str) -> Result<usize, String> {
    let threads = text.parse().ok().filter(|threads| (1..=MAX_THREADS).contains(threads));
    threads.ok_or_else(|| format!("expected a number from 1 to {MAX_THREADS}"))
}

/// One a core; beyond four, one film has too little work to share.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4))
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let level = match command {
        Command::Screen(_)
        | Command::Doctor(_)
        | Command::Board(_)
        | Command::Bundle(_)
        | Command::Bench(_)
        | Command::Journal(_) => "warn",
        Command::Listen(_) => "info",
        Command::Run(ref arguments) => command_run::log_level(arguments),
        // Nobody reads it while it runs.
        Command::Decode { .. } => "off",
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level)).format_target(false).init();
    let ended = match command {
        Command::Screen(arguments) => screen(&arguments),
        Command::Bundle(command) => return command_bundle::run(&command),
        Command::Journal(command) => return command_journal::run(&command),
        Command::Bench(arguments) => command_bench::run(&arguments),
        Command::Listen(arguments) => command_listen::run(&arguments),
        Command::Run(arguments) => command_run::run(&arguments),
        Command::Board(command) => command_run::board(&command),
        Command::Doctor(arguments) => match command_doctor::run(&arguments) {
            Ok(status) => return status,
            Err(failure) => Err(failure),
        },
        Command::Decode { memory_bytes, cpu_seconds } => {
            wall::decode_for_parent(memory_bytes, cpu_seconds).map_err(Failure::Decoder)
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has gone: nothing failed here.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lightbox: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Why the program itself failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Models(#[from] ModelsError),
    #[error("{0}")]
    Engine(#[from] lightbox::engine::EngineError),
    #[error("{0}")]
    Panel(#[from] lightbox::ports::PanelError),
    #[error("{0}")]
    Config(#[from] config::ConfigError),
    #[error("{0}")]
    Spool(#[from] SpoolError),
    #[error("{0}")]
    Listener(#[from] ListenerError),
    #[error("{0}")]
    Bench(#[from] command_bench::BenchError),
    #[error("{0}")]
    Readings(#[from] ReadingsError),
    #[error("cannot create the folder {}: {source}", path.display())]
    Screens { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Wall(#[from] WallError),
    #[error("decoding for another process: {0}")]
    Decoder(io::Error),
    #[error("{0}")]
    Journal(#[from] JournalError),
    #[error("{0}")]
    Kiosk(#[from] lightbox::kiosk::KioskError),
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    #[error("cannot write a line of JSON: {0}")]
    Json(#[from] serde_json::Error),
}

fn screen(arguments: &ScreenArguments) -> Result<(), Failure> {
    let mut wall = Wall::of_this_program();
    wall.warm_up()?;
    let options =
        EngineOptions { threads: arguments.threads.unwrap_or_else(default_threads), ..EngineOptions::default() };
    // The first film is decoded while the model is loaded.
    let (first, serving) = thread::scope(|scope| {
        let first = scope.spawn(|| acquire(&mut wall, arguments, &arguments.files[0]));
        let chosen = models::choose(arguments.model.as_deref(), arguments.keys.as_deref(), &Device::default());
        let serving = chosen.and_then(|chosen| models::ready(chosen, options));
        (first.join().unwrap_or_else(|panic| resume_unwind(panic)), serving)
    });
    let Serving { model, mut classifier, remarks, .. } = serving?;
    let mut first = Some(first);
    for remark in remarks {
        log::warn!("{remark}");
    }

    let panels = match (arguments.panels.as_slice(), arguments.json) {
        ([], true) => vec![],
        ([], false) => vec![PanelChoice::Terminal, PanelChoice::Png("lightbox-verdict.png".into())],
        (chosen, _) => chosen.to_vec(),
    };
    let mut journal = arguments.journal.as_deref().map(Journal::open_or_create).transpose()?;
    let mut out = io::stdout().lock();
    for (index, path) in arguments.files.iter().enumerate() {
        let ReadFile { acquired, sha256, decode } = match first.take() {
            Some(read) => read?,
            None => acquire(&mut wall, arguments, path)?,
        };
        let start = Instant::now();
        let remarks = acquired.as_ref().map_or_else(|_| Vec::new(), |acquired| acquired.remarks.clone());
        let screened = app::screen(acquired, model.manifest(), &mut classifier);
        let total = decode + start.elapsed();
        if let Some(journal) = &mut journal {
            // Before the verdict is shown: what was seen can be proved later.
            let image = sha256.map(|sha256| Image { sha256: Digest(sha256), reference: path.display().to_string() });
            journal.append(&models::entry(Origin::File, image, &screened, remarks.clone(), &model))?;
        }

        let mut written = Vec::new();
        for panel in &panels {
            if let Some(path) = show(panel, arguments.size, index, &screened, &model)? {
                written.push(path);
            }
        }
        let file = path.display().to_string();
        if arguments.json {
            let timing = timing(decode, &screened, total, None);
            writeln!(out, "{}", json_lines::line(&file, &screened.reading, &remarks, &model, timing)?)?;
        } else {
            say(&mut out, &file, &screened.reading, &remarks, &model, &written)?;
        }
    }
    out.flush()?;
    Ok(())
}

/// A file that was read.
struct ReadFile {
    acquired: Result<Acquired, Rejection>,
    /// Where there is a journal.
    sha256: Option<[u8; 32]>,
    decode: Duration,
}

/// Reads a file as the arguments say.
fn acquire(wall: &mut Wall, arguments: &ScreenArguments, path: &Path) -> Result<ReadFile, WallError> {
    let start = Instant::now();
    let (acquired, sha256) = if arguments.journal.is_some() {
        wall.read_film_digested(path, &Limits::default())?
    } else {
        (wall.read_film(path, &Limits::default())?, None)
    };
    let acquired = if arguments.film { acquired.and_then(film::develop) } else { acquired };
    Ok(ReadFile { acquired, sha256, decode: start.elapsed() })
}

/// How long each step took, to a microsecond: more digits would be noise.
fn timing(decode: Duration, screened: &Screened, total: Duration, since_received: Option<Duration>) -> TimingMs {
    let ms = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
    TimingMs {
        decode: ms(decode),
        preprocess: ms(screened.preprocess),
        infer: ms(screened.infer),
        total: ms(total),
        since_received: since_received.map(ms),
    }
}

/// Draws the verdict on one panel; the path of the picture where it wrote one.
fn show(
    choice: &PanelChoice,
    size: (u32, u32),
    index: usize,
    screened: &Screened,
    model: &VerifiedModel,
) -> Result<Option<PathBuf>, Failure> {
    let (mut panel, path): (Box<dyn Panel>, _) = match choice {
        PanelChoice::None => return Ok(None),
        PanelChoice::Terminal => (Box::new(TerminalPanel::stdout()), None),
        PanelChoice::Png(path) => {
            let path = numbered(path, index);
            (Box::new(PngPanel::new(&path, size)), Some(path))
        }
    };
    let frame = draw(screened, model, panel.size());
    panel.show(&frame)?;
    Ok(path)
}

/// The verdict's screen.
fn draw(screened: &Screened, model: &VerifiedModel, size: (u32, u32)) -> Frame {
    let manifest = model.manifest();
    let screen = VerdictScreen {
        film: screened.picture.as_ref().map(|picture| Film {
            image: &picture.image,
            pixel_aspect: picture.pixel_aspect,
            saliency: screened.saliency.as_ref().map(|(map, window)| (map, *window)),
        }),
        reading: &screened.reading,
        operating_point: &manifest.rule.operating_point,
        model_name: &manifest.name,
        model_version: &manifest.version,
        page: Page::Whole,
        case: None,
    };
    let mut frame = Frame::new(size.0, size.1);
    Screen::Verdict(screen).draw(&mut frame, Look::default());
    frame
}

/// The first film's picture has the path as given, later ones a number before the extension.
fn numbered(path: &Path, index: usize) -> PathBuf {
    if index == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{}.{}", index + 1, extension.to_string_lossy()),
        None => format!("{stem}-{}", index + 1),
    };
    path.with_file_name(name)
}

/// The verdict in words, for a person at a terminal.
fn say(
    out: &mut impl Write,
    file: &str,
    reading: &Reading,
    remarks: &[String],
    model: &VerifiedModel,
    pictures: &[PathBuf],
) -> io::Result<()> {
    writeln!(out, "{file}: {}", reading.verdict.words())?;
    if let Some(reason) = reading.verdict.reason() {
        writeln!(out, "  why:      {} ({reason})", reason.words())?;
        if let Verdict::Rejected(rejection) = &reading.verdict {
            writeln!(out, "  found:    {}", rejection.detail)?;
        }
        writeln!(out, "  to do:    {}", reason.advice())?;
    }
    if reading.covid_positive == Some(false) {
        writeln!(out, "  caution:  this does not rule out Covid-19")?;
    }
    if let Some(probabilities) = &reading.probabilities {
        let share = |finding| format!("{finding} {:.1} %", probabilities.of(finding).get() * 100.0);
        writeln!(out, "  scores:   {}", Finding::ALL.map(share).join(", "))?;
    }
    for remark in remarks {
        writeln!(out, "  remark:   {remark}")?;
    }
    let manifest = model.manifest();
    writeln!(out, "  model:    {} {}", manifest.name, manifest.version)?;
    for picture in pictures {
        writeln!(out, "  screen:   {}", picture.display())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_are_named_as_documented() {
        assert_eq!(PanelChoice::parse("terminal"), Ok(PanelChoice::Terminal));
        assert_eq!(PanelChoice::parse("none"), Ok(PanelChoice::None));
        assert_eq!(PanelChoice::parse("png:a/b.png"), Ok(PanelChoice::Png("a/b.png".into())));
        for bad in ["", "png", "png:", "fb0"] {
            assert_eq!(PanelChoice::parse(bad), Err("expected terminal, png:PATH or none".to_owned()), "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_two_sensible_sides() {
        assert_eq!(parse_size("320x240"), Ok((320, 240)));
        for bad in ["", "320", "320x", "0x0", "800x-480", "99999x10", "800X480"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn threads_are_a_sensible_number() {
        assert_eq!(parse_threads("3"), Ok(3));
        for bad in ["", "0", "65", "-1", "two"] {
            assert_eq!(parse_threads(bad), Err("expected a number from 1 to 64".to_owned()), "{bad:?}");
        }
        assert!((1..=4).contains(&default_threads()));
    }

    #[test]
    fn pictures_of_later_films_are_numbered() {
        assert_eq!(numbered(Path::new("a/v.png"), 0), Path::new("a/v.png"));
        assert_eq!(numbered(Path::new("a/v.png"), 1), Path::new("a/v-2.png"));
        assert_eq!(numbered(Path::new("v"), 11), Path::new("v-12"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
