//! What was received is read in order, each object once, whatever happens to the program in between.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::listening::{Listening, Place};
use crate::sender::{CR, Sender};
use crate::support::chest_phantom;

/// A place whose configuration has a `read` table.
struct Reading {
    place: Place,
    readings: PathBuf,
    screens: PathBuf,
}

impl Reading {
    fn new() -> Self {
        let place = Place::new("");
        let folder = place.config.parent().expect("a folder").to_owned();
        let (readings, screens) = (folder.join("readings.jsonl"), folder.join("screens"));
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/released");
        let table = format!("[read]\nreadings = {readings:?}\nscreens = {screens:?}\nmodel = {model:?}\n");
        let text = fs::read_to_string(&place.config).expect("a configuration");
        fs::write(&place.config, text + &table).expect("written");
        Self { place, readings, screens }
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.readings).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// Waits until nothing is unread.
    #[track_caller]
    fn wait_until_read(&self, listening: &Listening) {
        let start = Instant::now();
        while !self.place.unread().is_empty() {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "{} unread:\n{}",
                self.place.unread().len(),
                listening.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn read(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.place.spool.join("read"))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name of ours"))
            .collect();
        names.sort();
        names
    }
}

/// A chest film as an explicit little endian data set.
fn film(uid: &str) -> Vec<u8> {
    let phantom = chest_phantom(512, 480, 7);
    let mut bytes = Vec::new();
    let mut element = |group: u16, element: u16, vr: &[u8; 2], value: &[u8]| {
        bytes.extend(group.to_le_bytes());
        bytes.extend(element.to_le_bytes());
        bytes.extend(vr);
        let padded = value.len().next_multiple_of(2);
        if vr == b"OW" {
            bytes.extend([0, 0]);
            bytes.extend((padded as u32).to_le_bytes());
        } else {
            bytes.extend((padded as u16).to_le_bytes());
        }
        bytes.extend(value);
        bytes.resize(bytes.len() + padded - value.len(), if vr == b"UI" { 0 } else { b' ' });
    };
    element(0x0008, 0x0016, b"UI", CR.as_bytes());
    element(0x0008, 0x0018, b"UI", uid.as_bytes());
    element(0x0008, 0x0060, b"CS", b"CR");
    element(0x0018, 0x0015, b"CS", b"CHEST");
    element(0x0018, 0x5101, b"CS", b"PA");
    element(0x0028, 0x0002, b"US", &1_u16.to_le_bytes());
    element(0x0028, 0x0004, b"CS", b"MONOCHROME2");
    element(0x0028, 0x0010, b"US", &480_u16.to_le_bytes());
    element(0x0028, 0x0011, b"US", &512_u16.to_le_bytes());
    for (tag, value) in [(0x0100, 16_u16), (0x0101, 16), (0x0102, 15), (0x0103, 0)] {
        element(0x0028, tag, b"US", &value.to_le_bytes());
    }
    let pixels: Vec<u8> = phantom.greys().iter().flat_map(|grey| grey.to_le_bytes()).collect();
    element(0x7fe0, 0x0010, b"OW", &pixels);
    bytes
}

#[test]
fn what_arrives_is_read_in_order_and_marked() {
    let reading = Reading::new();
    let mut listening = reading.place.start();
    let mut sender = Sender::connect(listening.address).unwrap();
    assert_eq!(sender.store_as(CR, "1.2.3", &film("1.2.3")).unwrap(), 0);
    // A data set without rows and columns.
    assert_eq!(sender.store("1.2.4", 100).unwrap(), 0);
    sender.release();
    reading.wait_until_read(&listening);
    let lines = reading.lines();
    assert_eq!(lines.len(), 2);
    let names: Vec<&str> = lines.iter().map(|line| line["file"].as_str().unwrap()).collect();
    assert_eq!(names, reading.read());
    assert!(lines[0]["probabilities"].is_object() || lines[0]["reason"] == "out-of-distribution", "{}", lines[0]);
    assert_eq!((&lines[1]["verdict"], &lines[1]["reason"]), (&"rejected".into(), &"bad-dimensions".into()));
    for (line, number) in lines.iter().zip(1..) {
        assert!(line["timing_ms"]["since_received"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["model"]["manifest_sha256"].is_string());
        let screen = image::open(reading.screens.join(format!("{number:016}.png"))).unwrap();
        assert_eq!((screen.width(), screen.height()), (800, 480));
    }
    listening.wait_for("rejected (bad-dimensions) in ");
    assert!(listening.stop().success());

    // What came while nobody read is read at the next start, without a time since it came.
    let unread = reading.place.spool.join("unread").join(names[1].replace("0000000000000002", "0000000000000003"));
    fs::copy(reading.place.spool.join("read").join(names[1]), unread).unwrap();
    let listening = reading.place.start();
    reading.wait_until_read(&listening);
    assert_eq!(reading.lines().len(), 3);
    assert!(reading.lines()[2]["timing_ms"].get("since_received").is_none());
}

#[test]
fn every_object_gets_exactly_one_line_after_any_kill() {
    const OBJECTS: usize = 150;
    let reading = Reading::new();
    // Received without a reader first, so that there is much to read.
    let with_reader = fs::read_to_string(&reading.place.config).unwrap();
    fs::write(&reading.place.config, with_reader.split("[read]").next().unwrap()).unwrap();
    let mut listening = reading.place.start();
    let mut sender = Sender::connect(listening.address).unwrap();
    for number in 0..OBJECTS {
        assert_eq!(sender.store(&format!("1.2.{number}"), 100).unwrap(), 0);
    }
    sender.release();
    assert!(listening.stop().success());
    fs::write(&reading.place.config, with_reader).unwrap();
    let mut cut = 0;
    for kill in 0..12 {
        let before = reading.place.unread().len();
        let mut listening = reading.place.start();
        // In the middle of another object each time.
        loop {
            let unread = reading.place.unread().len();
            if unread == 0 || unread + kill % 3 < before {
                break;
            }
            thread::yield_now();
        }
        listening.kill();
        cut += usize::from(!reading.place.unread().is_empty());
    }
    let listening = reading.place.start();
    reading.wait_until_read(&listening);
    let lines = reading.lines();
    let files: BTreeSet<&str> = lines.iter().map(|line| line["file"].as_str().unwrap()).collect();
    assert_eq!((lines.len(), files.len(), reading.read().len()), (OBJECTS, OBJECTS, OBJECTS));
    assert!(cut > 3, "too little was cut off to prove anything: {cut}");
}

#[test]
fn a_reading_that_cannot_be_written_leaves_the_object_unread() {
    let reading = Reading::new();
    let listening = reading.place.start();
    // The folder of pictures is in the way of nothing but pictures.
    fs::remove_dir(&reading.screens).unwrap();
    let mut sender = Sender::connect(listening.address).unwrap();
    assert_eq!(sender.store("1.2.4", 100).unwrap(), 0);
    listening.wait_for("it stays unread and is tried again");
    assert_eq!((reading.place.unread().len(), reading.lines().len()), (1, 0));
    // Receiving goes on meanwhile.
    assert_eq!(sender.store("1.2.5", 100).unwrap(), 0);
    sender.release();
    fs::create_dir(&reading.screens).unwrap();
    reading.wait_until_read(&listening);
    assert_eq!(reading.lines().len(), 2);
}
