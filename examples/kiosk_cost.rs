//! What the kiosk costs: `lightbox run` is started as a person starts it, with a folder for films and pictures for a panel.
//!
//! ```sh
//! cargo build --release
//! cargo run --release --example kiosk_cost -- memory          # 10,000 films, a small network; fails where memory grows
//! cargo run --release --example kiosk_cost -- memory 2000     # another number
//! cargo run --release --example kiosk_cost -- time FILM...    # from file to verdict screen, released model
//! cargo run --release --example kiosk_cost -- idle 60         # the processor's share over so many seconds of nothing to do
//! ```

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use embedded_graphics::prelude::RgbColor;
use lightbox::bundle::digest_line;
use lightbox::domain::{Doubt, Finding, Reason, Rejection, Verdict};
use lightbox::record::Journal;
use lightbox::ui::theme;
use tempfile::TempDir;

#[path = "../tests/support/bundles.rs"]
mod bundles;
#[path = "../tests/support/mod.rs"]
mod support;

const USAGE: &str = "usage: kiosk_cost memory [FILMS] | time FILM... | idle SECONDS";
/// How many films lie in the folder at once.
const BATCH: usize = 50;
/// Films between two lines.
const EVERY: usize = 500;
/// Of the films, until everything that is kept for long has been made.
const WARM_UP: f64 = 0.2;
/// Memory of kiosk and decoder together that may come on top after that, in kB: SQLite keeps 2000 kB of the journal.
const MAY_GROW_KB: u64 = 2048;
/// And for each film that is kept on the disk, in bytes: the spool knows all of them.
const MAY_GROW_A_FILM: u64 = 200;
/// Files that the reader and the folder's thread may be at.
const OPEN_FOR_A_MOMENT: usize = 4;
/// How often each film is timed.
const ROUNDS: usize = 7;
/// Of the processor while nothing happens.
const IDLE_PERCENT: f64 = 1.0;
/// For anything that has to happen.
const PATIENCE: Duration = Duration::from_secs(120);
/// Parts of a second that Linux counts the processor's time in (proc(5), USER_HZ).
const TICKS: f64 = 100.0;

type Failed = Box<dyn Error>;

fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["memory"] => memory(10_000),
        ["memory", films] => memory(films.parse()?),
        ["time", films @ ..] if !films.is_empty() => time(films),
        ["idle", seconds] => idle(Duration::from_secs(seconds.parse()?)),
        _ => Err(USAGE.into()),
    }
}

/// A board file, all that it names, and the program that runs with it.
struct Kiosk {
    folder: TempDir,
    child: Child,
}

impl Kiosk {
    /// `model` is a model's directory, else the device's own is used.
    fn start(model: Option<&Path>) -> Result<Self, Failed> {
        let folder = TempDir::new()?;
        for name in ["films", "screens"] {
            fs::create_dir(folder.path().join(name))?;
        }
        let model = model.map_or_else(String::new, |model| format!("[reading]\nmodel = {model:?}\n"));
        let board = format!(
            "[journal]\nfile = 'journal.db'\n[spool]\nfolder = 'spool'\nkeep_free_mb = 0\nkeep_free_percent = 0\n\
             [[folders]]\npath = 'films'\nsettle_s = 0\npoll_s = 1\n\
             [panel]\nkind = 'png'\nfolder = 'screens'\nsize = [800, 480]\nkeep = 20\n[idle]\nhold_s = 1\n{model}"
        );
        fs::write(folder.path().join("board.toml"), board)?;
        let here = std::env::current_exe()?;
        let program = here.parent().and_then(Path::parent).ok_or("no folder above this program")?.join("lightbox");
        if !program.is_file() {
            return Err(format!("{} is not there: run `cargo build --release` first", program.display()).into());
        }
        let log = fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(folder.path().join("board.toml"));
        command.env("RUST_LOG", "lightbox=info").env_remove("LIGHTBOX_STORE").env_remove("LIGHTBOX_MODEL");
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null()).stderr(log);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        let mut kiosk = Self { folder, child: command.spawn()? };
        kiosk.wait_until("ready", |kiosk| kiosk.log().contains("ready: "))?;
        Ok(kiosk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn wait_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Result<(), Failed> {
        let start = Instant::now();
        while !done(self) {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the kiosk ended with {status}:\n{}", self.log()).into());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("never {what}:\n{}", self.log()).into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// A copy that is there at once.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Failed> {
        let part = self.path("films").join(".part");
        fs::write(&part, bytes)?;
        Ok(fs::rename(part, self.path("films").join(name))?)
    }

    /// The kiosk's process and those that it has started.
    fn processes(&self) -> Vec<u32> {
        let kiosk = self.child.id();
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let children =
            numbers.filter(|process: &u32| fields(*process).get(1).is_some_and(|it| *it == kiosk.to_string()));
        std::iter::once(kiosk).chain(children).collect()
    }

    /// The processor's time that it and its children have taken.
    fn processor(&self) -> Duration {
        let ticks = |process| {
            fields(process).iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>()
        };
        Duration::from_secs_f64(self.processes().into_iter().map(ticks).sum::<u64>() as f64 / TICKS)
    }

    fn use_of(&self) -> Use {
        let processes = self.processes();
        let of = |process: &u32| {
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            line.and_then(|line| line.trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0)
        };
        let size = |name: &str| fs::metadata(self.path(name)).map_or(0, |about| about.len());
        Use {
            kiosk_kb: processes.first().map_or(0, of),
            decoder_kb: processes.iter().skip(1).map(of).sum(),
            files: fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count),
            journal: size("journal.db") + size("journal.db-wal"),
        }
    }

    fn stop(mut self) -> Result<(), Failed> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the kiosk ended with {status}:\n{}", self.log()).into()) }
    }
}

impl Drop for Kiosk {
    fn drop(&mut self) {
        // It has ended where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What stands behind the name in /proc/PID/stat: state, parent and so on (proc(5)).
fn fields(process: u32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().map(str::to_owned).collect())
}

#[derive(Clone, Copy)]
struct Use {
    kiosk_kb: u64,
    decoder_kb: u64,
    files: usize,
    journal: u64,
}

/// Films that a network for tests reads, and some that are refused.
fn films() -> Result<Vec<Vec<u8>>, Failed> {
    let mut films = Vec::new();
    for seed in 1..=7 {
        let film = support::chest_phantom(400, 380, seed);
        let picture: Option<image::ImageBuffer<image::Luma<u16>, _>> =
            image::ImageBuffer::from_raw(film.width(), film.height(), film.greys().to_vec());
        let mut bytes = Vec::new();
        picture.ok_or("sizes fit")?.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png)?;
        films.push(bytes);
    }
    let mut small = Vec::new();
    image::GrayImage::new(40, 40).write_to(&mut std::io::Cursor::new(&mut small), image::ImageFormat::Png)?;
    films.push(small);
    Ok(films)
}

fn memory(films: usize) -> Result<(), Failed> {
    let model = TempDir::new()?;
    let network = bundles::small_network(1);
    let manifest = bundles::manifest(1, &network);
    fs::write(model.path().join("manifest.sha256"), digest_line(&manifest))?;
    fs::write(model.path().join("manifest.json"), manifest)?;
    fs::write(model.path().join("MODEL_CARD.md"), bundles::CARD)?;
    fs::write(model.path().join("model.onnx"), network)?;
    let pictures = self::films()?;
    let mut kiosk = Kiosk::start(Some(model.path()))?;
    kiosk.wait_until("a journal", |kiosk| kiosk.path("journal.db").is_file())?;
    let journal = Journal::open(&kiosk.path("journal.db"))?;
    println!("readings  kiosk kB  decoder kB  open files  journal kB  ms a reading");
    let (mut done, mut samples, mut since) = (0, Vec::new(), Instant::now());
    while done < films {
        let batch = done..(done + BATCH).min(films);
        for number in batch.clone() {
            let mut bytes = pictures[number % pictures.len()].clone();
            bytes.extend((number as u64).to_le_bytes());
            kiosk.put(&format!("{number}.png"), &bytes)?;
        }
        done = batch.end;
        kiosk.wait_until("read all", |_| {
            thread::sleep(Duration::from_millis(20));
            journal.newest(1).is_ok_and(|rows| rows.first().is_some_and(|row| row.sequence == done as i64))
        })?;
        for number in batch {
            fs::remove_file(kiosk.path("films").join(format!("{number}.png")))?;
        }
        if done % EVERY == 0 || done == films {
            let now = kiosk.use_of();
            let each = since.elapsed().as_secs_f64() * 1e3 / EVERY as f64;
            let Use { kiosk_kb, decoder_kb, files, journal } = now;
            println!("{done:>8}  {kiosk_kb:>8}  {decoder_kb:>10}  {files:>10}  {:>10}  {each:>12.1}", journal / 1000);
            since = Instant::now();
            samples.push((done, now));
        }
    }
    drop(journal);
    kiosk.stop()?;
    let after: Vec<_> = samples.iter().filter(|(done, _)| *done as f64 >= films as f64 * WARM_UP).collect();
    let (Some((first, before)), Some((last, then))) = (after.first(), after.last()) else {
        return Err(format!("too few films to say anything: {films}, expected at least {}", 2 * EVERY).into());
    };
    let grown = |now: &Use| (now.kiosk_kb + now.decoder_kb).saturating_sub(before.kiosk_kb + before.decoder_kb);
    let most = after.iter().map(|(_, now)| grown(now)).max().unwrap_or(0);
    let allowed = MAY_GROW_KB + (last - first) as u64 * MAY_GROW_A_FILM / 1024;
    let end = grown(then);
    println!("from reading {first} to {last}: {end} kB more at the end, {most} kB at most, allowed {allowed} kB");
    if most > allowed {
        return Err(format!("memory grew by {most} kB").into());
    }
    if then.files > before.files + OPEN_FOR_A_MOMENT {
        return Err(format!("{} open files became {}", before.files, then.files).into());
    }
    Ok(())
}

/// Pictures of a verdict, or of a film that was not read, that are on the panel.
fn verdicts(screens: &Path) -> BTreeSet<PathBuf> {
    let mut bands: Vec<Verdict> = Finding::ALL.into_iter().map(Verdict::Found).collect();
    bands.push(Verdict::Indeterminate(Doubt::BetweenThresholds));
    bands.push(Verdict::Rejected(Rejection::new(Reason::Blank, "")));
    let bands: Vec<[u8; 3]> = bands.iter().map(theme::band).map(|band| [band.r(), band.g(), band.b()]).collect();
    let pictures = fs::read_dir(screens).into_iter().flatten().flatten().map(|entry| entry.path());
    let shows = |path: &PathBuf| {
        // A picture that is being written is looked at again.
        let picture = image::open(path).map(image::DynamicImage::into_rgb8);
        picture.is_ok_and(|picture| bands.contains(&picture.get_pixel(1, 1).0))
    };
    pictures.filter(|path| path.extension().is_some_and(|end| end == "png")).filter(shows).collect()
}

/// The same film as another file: none is read twice.
fn another(film: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = film.to_vec();
    if film.get(128..132) == Some(b"DICM") {
        // Data Set Trailing Padding with an explicit VR (PS3.10 7.2).
        bytes.extend([0xfc, 0xff, 0xfc, 0xff, b'O', b'B', 0, 0, 4, 0, 0, 0]);
    }
    bytes.extend(number.to_le_bytes());
    bytes
}

fn time(films: &[&str]) -> Result<(), Failed> {
    let mut kiosk = Kiosk::start(None)?;
    let screens = kiosk.path("screens");
    // Refused, so that the panel has something else to show each time: what is shown already is not drawn again.
    let other = self::films()?.pop().ok_or("a film that is refused")?;
    let mut number = 0;
    let mut shown_after = |film: &[u8]| -> Result<f64, Failed> {
        // The verdict before has been seen, and no key was pressed: the next one takes its place at once.
        thread::sleep(Duration::from_millis(2500));
        for picture in fs::read_dir(&screens)?.flatten() {
            fs::remove_file(picture.path())?;
        }
        number += 1;
        let film = another(film, number);
        let start = Instant::now();
        kiosk.put(&number.to_string(), &film)?;
        kiosk.wait_until("a verdict", |_| !verdicts(&screens).is_empty())?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    for film in films {
        let bytes = fs::read(film).map_err(|error| format!("{film}: {error}"))?;
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            shown_after(&other)?;
            times.push(shown_after(&bytes)?);
        }
        times.sort_by(f64::total_cmp);
        let [least, median, most] = [0, ROUNDS / 2, ROUNDS - 1].map(|at| times[at]);
        let size = bytes.len() / 1000;
        println!("from file to verdict screen: median {median:.0} ms, {least:.0} to {most:.0}, {size} kB, {film}");
    }
    for line in kiosk.log().lines().filter(|line| line.contains(" as reading ") && !line.contains("too-small")) {
        println!("  {}", line.split_once("as ").map_or(line, |(_, rest)| rest));
    }
    kiosk.stop()
}

fn idle(seconds: Duration) -> Result<(), Failed> {
    let kiosk = Kiosk::start(None)?;
    // Until the start's last screen is drawn.
    thread::sleep(Duration::from_secs(3));
    let before = kiosk.processor();
    thread::sleep(seconds);
    let percent = (kiosk.processor().saturating_sub(before)).as_secs_f64() / seconds.as_secs_f64() * 100.0;
    let Use { kiosk_kb, decoder_kb, .. } = kiosk.use_of();
    println!("idle: {percent:.2} % of one processor core, kiosk {kiosk_kb} kB, decoder {decoder_kb} kB");
    kiosk.stop()?;
    if percent > IDLE_PERCENT {
        Err(format!("{percent:.2} %, expected at most {IDLE_PERCENT} %").into())
    } else {
        Ok(())
    }
}
