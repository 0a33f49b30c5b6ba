//! How far it is and how long it will take: a bar on a terminal, a line every few seconds elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress of one piece of work.
pub struct Progress {
    what: String,
    total: usize,
    first: usize,
    start: Instant,
    films: usize,
    bar: Option<ProgressBar>,
    last_line: Mutex<Instant>,
}

impl Progress {
    /// Of `total` units, of which `done` were done before.
    pub fn start(what: &str, total: usize, done: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total as u64).with_position(done as u64).with_prefix(what.to_string());
            if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} {eta} left") {
                bar.set_style(style);
            }
            bar.reset_eta();
            bar
        });
        let start = Instant::now();
        Self { what: what.into(), total, first: done, start, films: 0, bar, last_line: Mutex::new(start) }
    }

    /// `done` units are done.
    pub fn set(&self, done: usize) {
        self.show(done, "");
    }

    /// `done` units are done, the last of them of `films` films.
    pub fn step(&mut self, done: usize, films: usize, message: &str) {
        self.films += films;
        let rate = self.films as f64 / self.start.elapsed().as_secs_f64().max(1e-9);
        self.show(done, &format!("{message}, {rate:.1} films/s"));
    }

    fn show(&self, done: usize, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(message.to_string());
            bar.set_position(done as u64);
            return;
        }
        let Ok(mut last) = self.last_line.lock() else { return };
        if last.elapsed() < LINE_EVERY && done < self.total {
            return;
        }
        *last = Instant::now();
        let per_unit = self.start.elapsed().as_secs_f64() / (done - self.first.min(done)).max(1) as f64;
        let left = Duration::from_secs_f64(per_unit * self.total.saturating_sub(done) as f64);
        let message = if message.is_empty() { String::new() } else { format!(", {message}") };
        eprintln!("{}: {done}/{}{message}, {} left", self.what, self.total, indicatif::HumanDuration(left));
    }

    /// A line of its own.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
