//! Folds as child processes, and how far the whole run is.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::fold::{Divided, folder, read_result};
use super::scope::Scope;
use super::start::Start;
use super::study::name_of;
use super::{CrossvalError, Order, io_error, network_folder};
use crate::paper::networks::Architecture;
use crate::training::Progress;

/// The hidden subcommand that a child runs.
pub const CHILD: &str = "crossval-fold";

/// Progress of all networks together, in units of work.
pub(super) struct Whole {
    progress: Progress,
    done: usize,
    /// Films of the frozen part that were counted, by network.
    trunk: BTreeMap<Architecture, usize>,
    batch: usize,
    scope: Scope,
}

/// What a film costs, in a common unit: once through the part that is not trained, once through learning.
///
/// About the milliseconds of one core at 100 × 133; only estimates of time are made of it.
fn costs(network: Architecture, scope: Scope) -> (usize, usize) {
    let (frozen, learned) = match network {
        Architecture::Vgg19 => (160, 60),
        Architecture::MobileNetV2 => (6, 60),
        Architecture::InceptionV3 => (60, 40),
        Architecture::Xception => (90, 30),
        Architecture::InceptionResNetV2 => (110, 30),
    };
    match scope {
        Scope::BehindCutOff => (frozen, learned),
        // Learning is about three times the way forwards.
        Scope::Head => (frozen + learned / 3, 1),
    }
}

impl Whole {
    /// Of what is left to do.
    pub(super) fn plan(order: &Order, films: &[Divided], wanted: &[usize]) -> Result<Self, CrossvalError> {
        let (mut total, scope, batch) = (0, order.study.file.training.scope, order.study.file.training.batch);
        for network in &order.networks {
            let (trunk, tail) = costs(*network, scope);
            let mut learned = 0;
            for fold in wanted {
                if read_result(&network_folder(&order.out, *network), *fold)?.is_none() {
                    // Counted by whole batches, as steps are; the last one of an epoch may hold fewer films.
                    learned += films.iter().filter(|film| film.fold != *fold).count().next_multiple_of(batch);
                }
            }
            if learned > 0 {
                total += trunk * films.len() + tail * learned * order.study.file.training.epochs;
            }
        }
        let progress = Progress::start("cross-validation", total, 0);
        Ok(Self { progress, done: 0, trunk: BTreeMap::new(), batch, scope })
    }

    /// `films` went through the frozen part of `network`.
    pub(super) fn trunk(&mut self, network: Architecture, films: usize) {
        let counted = self.trunk.insert(network, films).unwrap_or(0);
        self.done += costs(network, self.scope).0 * (films - counted);
        self.progress.step(self.done, films - counted, &format!("{}: frozen part, {films} films", network.title()));
    }

    fn step(&mut self, network: Architecture, running: &[usize]) {
        self.done += costs(network, self.scope).1 * self.batch;
        let folds: Vec<String> = running.iter().map(usize::to_string).collect();
        self.progress.step(self.done, self.batch, &format!("{}: folds {}", network.title(), folds.join(" ")));
    }

    fn say(&self, line: &str) {
        self.progress.say(line);
    }

    pub(super) fn finish(&self) {
        self.progress.finish();
    }
}

/// What a child's listeners report.
enum Message {
    Step,
    Ended { fold: usize, last_words: String },
}

/// Children that end with this process.
struct Running(Vec<(usize, Child)>);

impl Drop for Running {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Learns `folds` of `network`, as many at a time as ordered.
pub(super) fn learn_folds(
    order: &Order,
    network: Architecture,
    start: &Start,
    folds: &[usize],
    progress: &mut Whole,
) -> Result<(), CrossvalError> {
    let mut waiting: VecDeque<usize> = folds.iter().copied().collect();
    let mut running = Running(Vec::new());
    let (sender, receiver): (Sender<Message>, Receiver<Message>) = channel();
    loop {
        while running.0.len() < order.jobs {
            let Some(fold) = waiting.pop_front() else { break };
            running.0.push((fold, spawn(order, network, start, fold, sender.clone())?));
        }
        if running.0.is_empty() {
            return Ok(());
        }
        // This function holds a sender, so there is always an answer.
        let Ok(message) = receiver.recv() else { return Ok(()) };
        match message {
            Message::Step => {
                let folds: Vec<usize> = running.0.iter().map(|(fold, _)| *fold).collect();
                progress.step(network, &folds);
            }
            Message::Ended { fold, last_words } => {
                let Some(place) = running.0.iter().position(|(running, _)| *running == fold) else { continue };
                let (_, mut child) = running.0.swap_remove(place);
                let status = child.wait().map_err(io_error(&order.out))?;
                let result = read_result(&network_folder(&order.out, network), fold)?;
                let Some(result) = result.filter(|_| status.success()) else {
                    let message = if last_words.is_empty() { status.to_string() } else { last_words };
                    return Err(CrossvalError::Failed { network: network.title(), fold, message });
                };
                if let Some(last) = result.epochs.last() {
                    let (title, accuracy) = (network.title(), last.test_accuracy);
                    progress.say(&format!("{title}, fold {fold}: accuracy {accuracy:.3} on films not learned from"));
                }
            }
        }
    }
}

fn spawn(
    order: &Order,
    network: Architecture,
    start: &Start,
    fold: usize,
    sender: Sender<Message>,
) -> Result<Child, CrossvalError> {
    let program = std::env::current_exe().map_err(io_error(&order.out))?;
    let mut child = Command::new(&program)
        .arg(CHILD)
        .arg("--run")
        .arg(&order.out)
        .args(["--network", &name_of(network), "--fold", &fold.to_string(), "--weights"])
        .arg(match start {
            Start::File(path) => path.as_os_str(),
            Start::Random => "random".as_ref(),
        })
        // Folds side by side use the cores better than threads in one.
        .env("RAYON_NUM_THREADS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(io_error(&program))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let log = folder(&network_folder(&order.out, network), fold);
    let listen = move || {
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = err.map(|mut err| err.read_to_string(&mut text));
            text
        });
        for _line in out.into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(Result::ok) {
            let _ = sender.send(Message::Step);
        }
        let text = errors.join().unwrap_or_default();
        let last = text.lines().last().unwrap_or_default();
        let last_words = last.strip_prefix("trainer: ").unwrap_or(last).to_string();
        let _ = sender.send(Message::Ended { fold, last_words });
    };
    std::thread::Builder::new().name("fold".into()).spawn(listen).map_err(io_error(&log))?;
    Ok(child)
}
