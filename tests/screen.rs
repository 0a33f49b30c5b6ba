//! `lightbox screen`, run as its user runs it: on files, with the released model.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn lightbox() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightbox"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("LIGHTBOX_MODEL");
    command.env_remove("LIGHTBOX_STORE").env_remove("RUST_LOG");
    command
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn released() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/released")
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Screens `files` and gives the lines of JSON, one a file.
#[track_caller]
fn lines(files: &[PathBuf]) -> Vec<Value> {
    let output = run(lightbox().args(["screen", "--json"]).args(files));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(lines.len(), files.len());
    for (line, file) in lines.iter().zip(files) {
        assert_eq!(line["file"], file.display().to_string());
    }
    lines
}

/// Writes `bytes` to a file and screens it.
#[track_caller]
fn check(name: &str, bytes: &[u8], reason: &str) -> Value {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("written");
    let line = lines(&[path]).remove(0);
    assert_eq!((line["verdict"].as_str(), line["reason"].as_str()), (Some("rejected"), Some(reason)), "{line}");
    line
}

/// A phantom film as a 16-bit PNG.
fn phantom_png(folder: &Path, name: &str) -> PathBuf {
    let film = support::chest_phantom(512, 480, 7);
    let picture: image::ImageBuffer<image::Luma<u16>, _> =
        image::ImageBuffer::from_raw(film.width(), film.height(), film.greys().to_vec()).expect("sizes fit");
    let path = folder.join(name);
    picture.save(&path).expect("written");
    path
}

#[test]
fn a_real_radiograph_gets_a_line_with_every_key_that_was_promised() {
    let line = lines(&[fixture("chest-pa.dcm")]).remove(0);
    let verdict = line["verdict"].as_str().expect("a verdict");
    assert!(["covid19", "pneumonia", "normal", "indeterminate"].contains(&verdict), "{line}");
    let p = &line["probabilities"];
    let sum: f64 = ["covid19", "pneumonia", "normal"].iter().map(|k| p[k].as_f64().expect("a probability")).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{line}");
    for key in ["name", "version", "sha256", "manifest_sha256"] {
        assert!(line["model"][key].is_string(), "{line}");
    }
    for key in ["decode", "preprocess", "infer", "total"] {
        assert!(line["timing_ms"][key].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
    }
    assert!(line["threshold"].as_f64().is_some_and(|t| t > 0.0 && t < 1.0), "{line}");
    assert!(line["covid_positive"].is_boolean() || line["covid_positive"].is_null(), "{line}");
    assert_eq!(line["reason"].is_null(), ["covid19", "pneumonia", "normal"].contains(&verdict), "{line}");
}

#[test]
fn the_verdict_follows_from_the_probabilities_and_the_operating_point() {
    let line = lines(&[fixture("chest-pa.dcm")]).remove(0);
    let (p, at) = (&line["probabilities"], &line["operating_point"]);
    let number = |v: &Value| v.as_f64().expect("a number");
    let covid = number(&p["covid19"]);
    let expected = if covid >= number(&at["rule_in"]) {
        Value::Bool(true)
    } else if covid > number(&at["rule_out"]) {
        Value::Null
    } else {
        Value::Bool(false)
    };
    assert_eq!(line["covid_positive"], expected, "{line}");
    assert_eq!(line["threshold"], at["rule_out"], "{line}");
}

#[test]
fn the_same_film_gets_the_same_answer_twice_whatever_its_name() {
    let folder = TempDir::new().expect("a temporary folder");
    let renamed = folder.path().join("not-a-dicom.txt");
    fs::copy(fixture("chest-pa.dcm"), &renamed).expect("copied");
    let lines = lines(&[fixture("chest-pa.dcm"), renamed]);
    assert_eq!(lines[0]["probabilities"], lines[1]["probabilities"]);
}

#[test]
fn bad_files_are_answered_and_the_good_one_among_them_is_read() {
    let folder = TempDir::new().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("empty.dcm"), b"").expect("written");
    fs::write(at("letter.dcm"), b"Dear colleague, please find enclosed the film.\n").expect("written");
    let files =
        [at("missing.dcm"), at("empty.dcm"), folder.path().to_owned(), fixture("chest-pa.dcm"), at("letter.dcm")];
    let reasons: Vec<_> = lines(&files).iter().map(|line| line["reason"].as_str().map(str::to_owned)).collect();
    let expected = ["cannot-open", "empty-file", "not-a-file"].map(|r| Some(r.to_owned()));
    assert_eq!(reasons[..3], expected);
    assert!(reasons[3].as_deref().is_none_or(|r| ["between-thresholds", "pneumonia-or-normal"].contains(&r)));
    assert_eq!(reasons[4].as_deref(), Some("unknown-format"));
}

#[test]
fn a_film_cut_short_is_rejected_wherever_it_was_cut() {
    let film = fs::read(fixture("chest-pa.dcm")).expect("the fixture");
    let folder = TempDir::new().expect("a temporary folder");
    let mut cuts: Vec<usize> = (1..200).chain((200..film.len()).step_by(film.len() / 100)).collect();
    cuts.push(film.len() - 3);
    let files: Vec<PathBuf> = cuts
        .iter()
        .map(|cut| {
            let path = folder.path().join(format!("{cut}.dcm"));
            fs::write(&path, &film[..*cut]).expect("written");
            path
        })
        .collect();
    for line in lines(&files) {
        assert_eq!(line["verdict"], "rejected", "{line}");
        assert!(line["probabilities"].is_null() && line["covid_positive"].is_null(), "{line}");
    }
}

#[test]
fn a_colour_photograph_is_not_read_as_a_film() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("sunset.png");
    let photo = image::RgbImage::from_fn(400, 300, |x, y| {
        image::Rgb([(x % 256) as u8, (y % 256) as u8, ((x * y) % 200) as u8])
    });
    photo.save(&path).expect("written");
    let line = lines(&[path]).remove(0);
    assert_eq!((line["verdict"].as_str(), line["reason"].as_str()), (Some("rejected"), Some("colour-picture")));
}

#[test]
fn a_blank_and_a_tiny_picture_are_rejected_with_their_reasons() {
    let folder = TempDir::new().expect("a temporary folder");
    let blank = folder.path().join("blank.png");
    image::GrayImage::from_pixel(300, 300, image::Luma([90])).save(&blank).expect("written");
    let tiny = folder.path().join("tiny.png");
    image::GrayImage::from_fn(20, 20, |x, y| image::Luma([(x * y) as u8])).save(&tiny).expect("written");
    let reasons: Vec<_> = lines(&[blank, tiny]).iter().map(|line| line["reason"].clone()).collect();
    assert_eq!(reasons, ["blank", "too-small"]);
}

#[test]
fn garbage_of_every_first_byte_is_rejected() {
    let folder = TempDir::new().expect("a temporary folder");
    let files: Vec<PathBuf> = (0..=255u8)
        .map(|first| {
            let path = folder.path().join(first.to_string());
            let bytes: Vec<u8> = (0..64u8).map(|i| first.wrapping_mul(i.wrapping_add(1))).collect();
            fs::write(&path, bytes).expect("written");
            path
        })
        .collect();
    assert!(lines(&files).iter().all(|line| line["verdict"] == "rejected"));
    check("zeros.dcm", &[0; 4096], "unknown-format");
}

#[test]
fn words_and_a_picture_are_the_default() {
    let folder = TempDir::new().expect("a temporary folder");
    let output = run(lightbox()
        .current_dir(folder.path())
        .args(["screen", "--model"])
        .arg(released())
        .arg(fixture("chest-pa.dcm")));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let words = text(&output.stdout);
    assert!(words.contains("  scores:   covid19 ") && words.contains("  screen:   lightbox-verdict.png"), "{words}");
    let picture = image::open(folder.path().join("lightbox-verdict.png")).expect("a picture");
    assert_eq!((picture.width(), picture.height()), (800, 480));
}

#[test]
fn each_film_gets_a_picture_of_the_size_that_was_asked_for() {
    let folder = TempDir::new().expect("a temporary folder");
    let film = phantom_png(folder.path(), "phantom.png");
    let screen = folder.path().join("screen.png");
    let output = run(lightbox()
        .args(["screen", "--size", "320x240", "--panel"])
        .arg(format!("png:{}", screen.display()))
        .arg(fixture("chest-pa.dcm"))
        .arg(film));
    assert!(output.status.success(), "{}", text(&output.stderr));
    for name in ["screen.png", "screen-2.png"] {
        let picture = image::open(folder.path().join(name)).expect("a picture");
        assert_eq!((picture.width(), picture.height()), (320, 240));
    }
}

#[test]
fn a_panel_that_cannot_be_drawn_on_is_a_failure_of_the_program() {
    let output = run(lightbox().args(["screen", "--panel", "png:/no/such/folder/x.png"]).arg(fixture("chest-pa.dcm")));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/no/such/folder"), "{}", text(&output.stderr));
}

#[test]
fn wrong_usage_is_told_from_failure() {
    for arguments in [&["screen"][..], &["scren", "x"], &["screen", "--panel", "fax", "x"], &["screen", "--size", "9"]]
    {
        assert_eq!(run(lightbox().args(arguments)).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(run(lightbox().args(["screen", "--help"])).status.code(), Some(0));
}

#[test]
fn a_missing_model_is_named_with_what_to_do() {
    let folder = TempDir::new().expect("a temporary folder");
    let output = run(lightbox().args(["screen", "--model"]).arg(folder.path()).arg(fixture("chest-pa.dcm")));
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("manifest.json") && message.contains("a model directory has"), "{message}");
    assert!(output.stdout.is_empty());
}

#[test]
fn one_byte_changed_anywhere_in_the_model_is_found_before_any_verdict() {
    let unpacked = TempDir::new().expect("a temporary folder");
    let directory = unpacked.path().join("model");
    let bundle = released().join("model.lbx");
    let output = run(lightbox().args(["bundle", "unpack"]).arg(&bundle).arg("--out").arg(&directory));
    assert!(output.status.success(), "{}", text(&output.stderr));
    fs::remove_dir_all(directory.join("golden")).expect("not part of a model directory");
    for (whole, least) in [(directory, 4), (released(), 3)] {
        check_each_file(&whole, least);
    }
}

/// Changes one byte in the middle of each file of a model, one after the other.
#[track_caller]
fn check_each_file(whole: &Path, least: usize) {
    let names: Vec<_> = fs::read_dir(whole).expect("a model").flatten().map(|e| e.file_name()).collect();
    assert!(names.len() >= least, "{names:?}");
    // A bundle brings its card inside; the one beside it is for people.
    let bundle = names.iter().any(|name| name == "model.lbx");
    for name in names.iter().filter(|name| !bundle || *name != "MODEL_CARD.md") {
        let folder = TempDir::new().expect("a temporary folder");
        for other in &names {
            fs::copy(whole.join(other), folder.path().join(other)).expect("copied");
        }
        let path = folder.path().join(name);
        let mut bytes = fs::read(&path).expect("a file of the model");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("written");
        let output = run(lightbox().args(["screen", "--model"]).arg(folder.path()).arg(fixture("chest-pa.dcm")));
        assert_eq!(output.status.code(), Some(1), "{name:?}");
        let message = text(&output.stderr);
        let told = ["SHA-256", "hexadecimal", "does not fit the bundle", "format of minisign", "does not know"];
        assert!(told.iter().any(|told| message.contains(told)), "{name:?}: {message}");
        assert!(output.stdout.is_empty(), "{name:?}");
    }
}
