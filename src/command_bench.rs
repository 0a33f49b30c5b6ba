//! `lightbox bench`: how fast this device is, step by step, so that a slow or throttled one is noticed.

use std::env;
use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lightbox::adapters::dicom::synthetic;
use lightbox::adapters::file::{Limits, decode_film};
use lightbox::app::{self, Screened};
use lightbox::bundle::VerifiedModel;
use lightbox::domain::{Acquired, ModelInput, Rejection, Window};
use lightbox::engine::{EngineOptions, Peak, TractClassifier};
use lightbox::models::{self, Device};
use lightbox::ports::{Classifier, ClassifyError};
use serde::Serialize;

use super::{Failure, draw};

/// Pixels on a side of the film that is made up where none is given.
const FILM_SIDE: u16 = 2048;
/// Size of the screen that is drawn.
const SCREEN: (u32, u32) = (800, 480);
/// How long the processor's best is looked for, at the start and at the end.
const PEAK_SPAN: Duration = Duration::from_millis(400);
/// How often the program is started.
const STARTS: usize = 5;
/// Below this share of the speed at the start the device became slower while it worked.
const THROTTLED: f64 = 0.9;
/// 95th percentile ÷ median of the network's time above which something else was using the processor.
const DISTURBED: f64 = 1.5;

#[derive(clap::Args)]
pub(crate) struct BenchArguments {
    /// Threads that share the network's work [default: one a core, at most 4]
    #[arg(long, value_name = "N", value_parser = super::parse_threads)]
    threads: Option<usize>,
    /// One JSON object instead of words
    #[arg(long)]
    json: bool,
    /// Bundle or model directory [default: as for `lightbox screen`]
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// A film to read instead of a made-up one of 2048 × 2048 pixels and 16 bits
    #[arg(long, value_name = "FILE")]
    film: Option<PathBuf>,
    /// How often the film is read
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Only start: load and check the model, say so, read the film where one is given, say how much memory it took
    #[arg(long, hide = true)]
    start_only: bool,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The film given is none.
    #[error("{} is not read: {rejection}", path.display())]
    Film {
        /// The file.
        path: PathBuf,
        /// Why.
        rejection: Rejection,
    },
    /// The film cannot be read from or written to the disk.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The program could not be started a second time.
    #[error("cannot start {} to measure how long that takes: {source}", program.display())]
    Start {
        /// This program.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It was started and did not say that it was ready.
    #[error("{} --start-only was not ready: it said {found:?}", program.display())]
    NotReady {
        /// This program.
        program: PathBuf,
        /// Its first line.
        found: String,
    },
    /// The network does not answer.
    #[error(transparent)]
    Classify(#[from] ClassifyError),
    /// The network answers with what is not a number.
    #[error("the network's answer to a flat film is not a number: {0:?}")]
    NotANumber([f32; 3]),
}

/// Times of one step in milliseconds.
#[derive(Serialize)]
struct Times {
    median: f64,
    p95: f64,
    least: f64,
}

impl Times {
    fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        // To a microsecond: more digits would be noise.
        let at = |share: f64| (all[((all.len() as f64 * share) as usize).min(all.len() - 1)] * 1e3).round() / 1e3;
        Self { median: at(0.5), p95: at(0.95), least: at(0.0) }
    }
}

/// The processor while nothing but it is used.
#[derive(Serialize)]
struct Speed {
    gflops_at_start: f64,
    gflops_at_end: f64,
    clock_mhz: Option<u64>,
    highest_clock_mhz: Option<u64>,
    hottest_celsius: Option<f64>,
}

#[derive(Serialize)]
struct Report {
    program: &'static str,
    kernels: &'static str,
    threads: usize,
    fused_layers: usize,
    film: String,
    rounds: u32,
    start_ms: Times,
    load_ms: f64,
    decode_ms: Times,
    preprocess_ms: Times,
    infer_ms: Times,
    draw_ms: Times,
    film_ms: Times,
    peak_memory_mb: Option<f64>,
    speed: Speed,
    remarks: Vec<String>,
}

pub(crate) fn run(arguments: &BenchArguments) -> Result<(), Failure> {
    let model = arguments.model.as_deref();
    let threads = arguments.threads.unwrap_or_else(super::default_threads);
    if arguments.start_only {
        return start(model, threads, arguments.film.as_deref());
    }
    let report = measure(arguments, model, threads)?;
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        say(&mut out, &report)?;
    }
    Ok(())
}

/// What a start of the program takes: the model read, compared with its digests, loaded and asked once.
fn load(named: Option<&Path>, threads: usize) -> Result<(VerifiedModel, TractClassifier), Failure> {
    let mut model = models::choose(named, None, &Device::default())?.model;
    let mut classifier = TractClassifier::load_with(&model, EngineOptions { threads, ..EngineOptions::default() })?;
    model.release_network();
    let shape = model.manifest().input.shape();
    let window = Window { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 };
    let flat = ModelInput { shape, values: vec![0.0; shape.iter().product()], window };
    let logits = classifier.classify(&flat).map_err(BenchError::from)?.logits;
    if !logits.iter().all(|logit| logit.is_finite()) {
        return Err(BenchError::NotANumber(logits).into());
    }
    Ok((model, classifier))
}

fn start(model: Option<&Path>, threads: usize, film: Option<&Path>) -> Result<(), Failure> {
    let (model, mut classifier) = load(model, threads)?;
    println!("{READY}");
    if let Some(path) = film {
        let acquired = lightbox::adapters::file::read_film(path, &Limits::default());
        let screened = app::screen(acquired, model.manifest(), &mut classifier);
        black_box(draw(&screened, &model, SCREEN));
    }
    println!("{}", peak_memory_kb().unwrap_or(0));
    Ok(())
}

/// What the program says once it is ready.
const READY: &str = "ready";

fn measure(arguments: &BenchArguments, model_path: Option<&Path>, threads: usize) -> Result<Report, Failure> {
    let at_start = Peak::measure(PEAK_SPAN);
    let made_up;
    let (path, name) = match &arguments.film {
        Some(path) => (path.as_path(), path.display().to_string()),
        None => {
            made_up = Scratch::write(&synthetic::film_file(FILM_SIDE))?;
            (made_up.0.as_path(), format!("made up, {FILM_SIDE} × {FILM_SIDE}, 16 bits"))
        }
    };
    let (start_ms, peak_memory_mb) = starts(model_path, threads, path)?;

    let begun = Instant::now();
    let (model, mut classifier) = load(model_path, threads)?;
    let load_ms = milliseconds(begun.elapsed());
    let unreadable = |source| BenchError::File { path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(unreadable)?;
    let film = |bytes: &[u8]| -> Result<Acquired, BenchError> {
        decode_film(bytes, &Limits::default())
            .map_err(|rejection| BenchError::Film { path: path.to_owned(), rejection })
    };
    let (mut decode, mut preprocess, mut infer, mut drawing, mut whole) = (vec![], vec![], vec![], vec![], vec![]);
    for round in 0..=arguments.rounds {
        let begun = Instant::now();
        let acquired = film(&bytes)?;
        let decoded = begun.elapsed();
        let screened = app::screen(Ok(acquired), model.manifest(), &mut classifier);
        refuse_unread(&screened, path)?;
        let read = begun.elapsed();
        black_box(draw(&screened, &model, SCREEN));
        let drawn = begun.elapsed();
        // The first round fills caches and finds memory.
        if round > 0 {
            decode.push(milliseconds(decoded));
            preprocess.push(milliseconds(screened.preprocess));
            infer.push(milliseconds(screened.infer));
            drawing.push(milliseconds(drawn - read));
            whole.push(milliseconds(drawn));
        }
    }
    let speed = Speed {
        gflops_at_start: at_start.flops / 1e9,
        gflops_at_end: Peak::measure(PEAK_SPAN).flops / 1e9,
        clock_mhz: clock("scaling_cur_freq"),
        highest_clock_mhz: clock("cpuinfo_max_freq"),
        hottest_celsius: hottest(),
    };
    let infer_ms = Times::of(infer);
    let remarks = remarks(&speed, &infer_ms, classifier.fused_layers());
    Ok(Report {
        program: env!("CARGO_PKG_VERSION"),
        kernels: at_start.kernels,
        threads,
        fused_layers: classifier.fused_layers(),
        film: name,
        rounds: arguments.rounds,
        start_ms,
        load_ms,
        decode_ms: Times::of(decode),
        preprocess_ms: Times::of(preprocess),
        infer_ms,
        draw_ms: Times::of(drawing),
        film_ms: Times::of(whole),
        peak_memory_mb,
        speed,
        remarks,
    })
}

/// A film that the network never saw would be measured as a fast one.
fn refuse_unread(screened: &Screened, path: &Path) -> Result<(), BenchError> {
    match &screened.reading.verdict {
        lightbox::domain::Verdict::Rejected(rejection) if screened.infer.is_zero() => {
            Err(BenchError::Film { path: path.to_owned(), rejection: rejection.clone() })
        }
        _ => Ok(()),
    }
}

/// Starts this program a few times, to ready, and to the end of the film.
fn starts(model: Option<&Path>, threads: usize, film: &Path) -> Result<(Times, Option<f64>), BenchError> {
    let program = env::current_exe().map_err(|source| BenchError::Start { program: "lightbox".into(), source })?;
    let fault = |source| BenchError::Start { program: program.clone(), source };
    let (mut times, mut memory) = (Vec::new(), 0u64);
    for _ in 0..STARTS {
        let begun = Instant::now();
        let mut child: Child = Command::new(&program)
            .args(["bench", "--start-only", "--threads", &threads.to_string()])
            .args(model.into_iter().flat_map(|path| ["--model".as_ref(), path.as_os_str()]))
            .arg("--film")
            .arg(film)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(fault)?;
        let mut said = String::new();
        let mut rest = String::new();
        if let Some(out) = child.stdout.take() {
            let mut out = BufReader::new(out);
            out.read_line(&mut said).map_err(fault)?;
            times.push(milliseconds(begun.elapsed()));
            out.read_to_string(&mut rest).map_err(fault)?;
        }
        child.wait().map_err(fault)?;
        if said.trim_end() != READY {
            return Err(BenchError::NotReady { program, found: said.trim_end().to_owned() });
        }
        memory = memory.max(rest.trim().parse().unwrap_or(0));
    }
    Ok((Times::of(times), (memory > 0).then_some((memory as f64 / 102.4).round() / 10.0)))
}

/// What a technician should look into.
fn remarks(speed: &Speed, infer: &Times, fused: usize) -> Vec<String> {
    let mut found = Vec::new();
    let kept = speed.gflops_at_end / speed.gflops_at_start;
    if kept < THROTTLED {
        found.push(format!(
            "the processor fell to {:.0} % of its speed while it worked: look at its cooling and its power supply",
            kept * 100.0
        ));
    }
    if let (Some(clock), Some(highest)) = (speed.clock_mhz, speed.highest_clock_mhz)
        && (clock as f64) < THROTTLED * highest as f64
    {
        found.push(format!(
            "the processor runs at {clock} of {highest} MHz: look at its cooling, its power supply and its governor"
        ));
    }
    if infer.p95 > DISTURBED * infer.median {
        found.push("the times vary much: something else uses the processor".to_owned());
    }
    if fused == 0 {
        found.push(
            "the network runs without fused layers: this model is of another kind than Lightbox is fast with"
                .to_owned(),
        );
    }
    found
}

fn say(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let Report { kernels, threads, fused_layers, film, rounds, speed, .. } = report;
    writeln!(out, "lightbox {}, {kernels} kernels, {threads} threads, {fused_layers} fused layers", report.program)?;
    writeln!(out, "film: {film}; {rounds} rounds")?;
    writeln!(out, "{:24} {:>9} {:>9} {:>9}", "milliseconds", "median", "95 %", "least")?;
    let rows = [
        ("decode", &report.decode_ms),
        ("preprocess", &report.preprocess_ms),
        ("network", &report.infer_ms),
        ("draw", &report.draw_ms),
        ("whole film", &report.film_ms),
        ("program start to ready", &report.start_ms),
    ];
    for (name, times) in rows {
        writeln!(out, "{name:24} {:>9.2} {:>9.2} {:>9.2}", times.median, times.p95, times.least)?;
    }
    if let Some(memory) = report.peak_memory_mb {
        writeln!(out, "peak memory              {memory:>9.1} MB")?;
    }
    writeln!(
        out,
        "processor's best         {:>9.1} GFLOP/s a core at the start, {:.1} at the end",
        speed.gflops_at_start, speed.gflops_at_end
    )?;
    if let Some(clock) = speed.clock_mhz {
        let highest = speed.highest_clock_mhz.map_or(String::new(), |highest| format!(" of {highest}"));
        writeln!(out, "clock                    {clock:>9}{highest} MHz")?;
    }
    if let Some(hottest) = speed.hottest_celsius {
        writeln!(out, "hottest sensor           {hottest:>9.1} °C")?;
    }
    for remark in &report.remarks {
        writeln!(out, "remark: {remark}")?;
    }
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The slowest core's figure in MHz, where the kernel tells.
fn clock(name: &str) -> Option<u64> {
    let cores = fs::read_dir("/sys/devices/system/cpu").ok()?.flatten();
    cores.filter_map(|core| number(&core.path().join("cpufreq").join(name))).map(|khz| khz.unsigned_abs() / 1000).min()
}

/// Of all the sensors that the kernel knows.
fn hottest() -> Option<f64> {
    let zones = fs::read_dir("/sys/class/thermal").ok()?.flatten();
    zones.filter_map(|zone| number(&zone.path().join("temp"))).max().map(|thousandths| thousandths as f64 / 1e3)
}

fn number(path: &Path) -> Option<i64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The most memory that this process ever held, where the kernel tells.
fn peak_memory_kb() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
}

/// A file that goes when this does.
struct Scratch(PathBuf);

impl Scratch {
    fn write(bytes: &[u8]) -> Result<Self, BenchError> {
        let path = env::temp_dir().join(format!("lightbox-bench-{}.dcm", std::process::id()));
        let fault = |source| BenchError::File { path: path.clone(), source };
        // Never through a link that somebody else put there.
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(fault)?;
        let scratch = Self(path.clone());
        file.write_all(bytes).map_err(fault)?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody is left to tell if it cannot be removed.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(at_end: f64, clock_mhz: Option<u64>) -> Speed {
        Speed {
            gflops_at_start: 10.0,
            gflops_at_end: at_end,
            clock_mhz,
            highest_clock_mhz: Some(1800),
            hottest_celsius: None,
        }
    }

    #[test]
    fn a_throttled_or_disturbed_device_is_remarked_upon() {
        let quiet = Times::of(vec![5.0, 5.1, 5.2]);
        assert!(remarks(&speed(9.8, Some(1800)), &quiet, 30).is_empty());
        assert!(remarks(&speed(7.0, None), &quiet, 30)[0].contains("70 % of its speed"));
        assert!(remarks(&speed(9.8, Some(600)), &quiet, 30)[0].contains("600 of 1800 MHz"));
        assert!(remarks(&speed(9.8, None), &Times::of(vec![5.0, 5.1, 50.0]), 30)[0].contains("something else"));
        assert!(remarks(&speed(9.8, None), &quiet, 0)[0].contains("without fused layers"));
    }

    #[test]
    fn times_are_sorted_before_they_are_ranked() {
        let times = Times::of((1..=100).rev().map(f64::from).collect());
        assert_eq!((times.least, times.median, times.p95), (1.0, 51.0, 96.0));
    }
}
