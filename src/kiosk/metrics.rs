//! Figures for a monitoring system, in the text form of Prometheus (exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::state::Part;
use crate::adapters::archive::age_s;
use crate::record::QueueFigures;

/// What is counted since the program started, and how things are now.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    /// By verdict and reason.
    pub(super) readings: BTreeMap<(&'static str, &'static str), u64>,
    /// Seconds from opening a film's file to its durable row, of all readings together.
    pub(super) seconds: f64,
    /// Of the slowest one.
    pub(super) slowest: f64,
    /// Objects that wait to be read.
    pub(super) unread: u64,
    /// Bytes that may be written below the spool.
    pub(super) free: Option<u64>,
    /// In degrees Celsius.
    pub(super) temperature: Option<f32>,
    /// Number of the newest row of the journal.
    pub(super) rows: i64,
    /// Name, version and digest of the manifest.
    pub(super) model: Option<(String, String, String)>,
    /// Whether the last self-test passed; `None` before the first.
    pub(super) self_test: Option<bool>,
    /// How often each part failed.
    pub(super) failures: BTreeMap<Part, u64>,
    /// Parts that do not work now.
    pub(super) broken: Vec<Part>,
    /// Whether the clock was set by something trusted.
    pub(super) clock_verified: bool,
    /// What waits to be sent; `None` without an archive.
    pub(super) archive: Option<QueueFigures>,
}

impl Metrics {
    /// A reading took so long.
    pub(super) fn count(&mut self, verdict: &'static str, reason: Option<&'static str>, took: Duration) {
        *self.readings.entry((verdict, reason.unwrap_or(""))).or_default() += 1;
        self.seconds += took.as_secs_f64();
        self.slowest = self.slowest.max(took.as_secs_f64());
    }

    /// The file's content.
    pub(super) fn text(&self) -> String {
        let mut text = Text(String::new());
        text.head("lightbox_readings_total", "counter", "Readings since the program started.");
        for ((verdict, reason), count) in &self.readings {
            text.value("lightbox_readings_total", &[("verdict", verdict), ("reason", reason)], *count as f64);
        }
        text.head("lightbox_reading_seconds", "summary", "From opening a film to its durable row.");
        text.value("lightbox_reading_seconds_sum", &[], self.seconds);
        text.value("lightbox_reading_seconds_count", &[], self.readings.values().sum::<u64>() as f64);
        text.gauge("lightbox_reading_seconds_max", "The slowest reading.", self.slowest);
        text.gauge("lightbox_spool_unread", "Objects that wait to be read.", self.unread as f64);
        text.gauge("lightbox_journal_newest", "Number of the newest row of the journal.", self.rows as f64);
        text.gauge(
            "lightbox_clock_verified",
            "Whether the clock was set by something trusted.",
            truth(self.clock_verified),
        );
        if let Some(free) = self.free {
            text.gauge("lightbox_storage_free_bytes", "Bytes that may be written below the spool.", free as f64);
        }
        if let Some(celsius) = self.temperature {
            text.gauge("lightbox_temperature_celsius", "The hottest place that the board measures.", celsius.into());
        }
        if let Some((name, version, digest)) = &self.model {
            text.head("lightbox_model_info", "gauge", "The model that reads films.");
            text.value(
                "lightbox_model_info",
                &[("name", name), ("version", version), ("manifest_sha256", digest)],
                1.0,
            );
        }
        if let Some(passed) = self.self_test {
            text.gauge("lightbox_self_test_passed", "Whether the model answered its golden films.", truth(passed));
        }
        if let Some(archive) = &self.archive {
            let mut gauge = |name, help, value: f64| text.gauge(name, help, value);
            gauge("lightbox_archive_waiting", "Objects that wait to be sent to the archive.", archive.waiting as f64);
            let oldest = age_s(archive).unwrap_or(0) as f64;
            gauge("lightbox_archive_oldest_seconds", "For how long the first of them has waited.", oldest);
            gauge("lightbox_archive_failed", "Objects that the archive refused for good.", archive.failed as f64);
            let tries = f64::from(archive.tries);
            gauge("lightbox_archive_unreached", "Tries in a row that did not reach the archive.", tries);
        }
        text.head("lightbox_part_works", "gauge", "Whether a part of the device works.");
        for part in Part::ALL {
            text.value("lightbox_part_works", &[("part", part.name())], truth(!self.broken.contains(&part)));
        }
        text.head("lightbox_part_failures_total", "counter", "How often a part failed since the program started.");
        for (part, count) in &self.failures {
            text.value("lightbox_part_failures_total", &[("part", part.name())], *count as f64);
        }
        text.0
    }
}

fn truth(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into memory cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let before = if index == 0 { "{" } else { "," };
            let _ = write!(self.0, "{before}{label}=\"{escaped}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.value(name, &[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_figure_and_labels_are_escaped() {
        let mut metrics = Metrics {
            model: Some(("a \"b\"\\\n".into(), "1".into(), "ab".into())),
            self_test: Some(true),
            temperature: Some(48.5),
            free: Some(7),
            broken: vec![Part::Panel],
            archive: Some(QueueFigures { waiting: 4, failed: 1, tries: 2, ..QueueFigures::default() }),
            ..Metrics::default()
        };
        metrics.count("normal", None, Duration::from_millis(500));
        metrics.count("rejected", Some("blank"), Duration::from_millis(250));
        metrics.failures.insert(Part::Panel, 3);
        let text = metrics.text();
        for line in [
            "lightbox_readings_total{verdict=\"normal\",reason=\"\"} 1",
            "lightbox_readings_total{verdict=\"rejected\",reason=\"blank\"} 1",
            "lightbox_reading_seconds_sum 0.75",
            "lightbox_reading_seconds_count 2",
            "lightbox_reading_seconds_max 0.5",
            "lightbox_temperature_celsius 48.5",
            "lightbox_storage_free_bytes 7",
            "lightbox_model_info{name=\"a \\\"b\\\"\\\\\\n\",version=\"1\",manifest_sha256=\"ab\"} 1",
            "lightbox_self_test_passed 1",
            "lightbox_part_works{part=\"panel\"} 0",
            "lightbox_part_works{part=\"model\"} 1",
            "lightbox_part_failures_total{part=\"panel\"} 3",
            "lightbox_archive_waiting 4",
            "lightbox_archive_oldest_seconds 0",
            "lightbox_archive_failed 1",
            "lightbox_archive_unreached 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with("# ")) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with("lightbox_") && value.parse::<f64>().is_ok(), "{line}");
        }
        assert!(text.ends_with('\n'));
    }
}
