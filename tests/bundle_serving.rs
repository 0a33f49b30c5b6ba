//! Which model a program reads with, and what becomes of a model on trial: confirmed by good readings, given up after a
//! crash loop, compared on the last cases.

#[path = "support/bench.rs"]
mod bench;
#[path = "support/bundles.rs"]
mod bundles;
mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bench::{Bench, film, golden_of, said, sealed, status, works};
use bundles::{Onnx, SIDE, key_list, small_network};
use lightbox::domain::GreyImage;
use serde_json::Value;

fn lightbox() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightbox"));
    for name in ["LIGHTBOX_MODEL", "LIGHTBOX_STORE", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn put_film(path: &Path, film: &GreyImage) {
    let picture: image::ImageBuffer<image::Luma<u16>, _> =
        image::ImageBuffer::from_raw(film.width(), film.height(), film.greys().to_vec()).expect("sizes fit");
    picture.save(path).expect("written");
}

fn screened(store: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = lightbox();
    if let Some(store) = store {
        command.env("LIGHTBOX_STORE", store);
    }
    command.args(["screen", "--json"]).args(arguments).output().expect("the program starts")
}

/// Version of the model in the one line that `screen` prints.
#[track_caller]
fn version_read_with(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(&output.stderr));
    let line: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    line["model"]["version"].as_str().expect("a version").to_owned()
}

#[test]
fn a_named_bundle_is_read_with_only_if_its_key_is_trusted() {
    let bench = Bench::new();
    let (bundle, film_path) = (bench.bundle(7), bench.path("film.png"));
    put_film(&film_path, &film());
    let path = film_path.to_str().expect("UTF-8");
    let keys = bench.text("keys.json");
    assert_eq!(version_read_with(&screened(None, &["--model", &bundle, "--keys", &keys, path])), "1.0.7");
    // The program's own key list does not know whoever signed it.
    let refused = screened(None, &["--model", &bundle, path]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused.stderr).contains("which key list 1 does not know"), "{}", said(&refused.stderr));
    fs::remove_file(bench.path("7.lbx.minisig")).expect("removed");
    let unsigned = screened(None, &["--model", &bundle, "--keys", &keys, path]);
    let expected = "a bundle is one file NAME.lbx with NAME.lbx.minisig beside it";
    assert!(said(&unsigned.stderr).contains(expected), "{}", said(&unsigned.stderr));
}

#[test]
fn screen_reads_with_the_store_and_counts_no_start() {
    let bench = Bench::new();
    let store = bench.device();
    let film_path = bench.path("film.png");
    put_film(&film_path, &film());
    let path = film_path.to_str().expect("UTF-8");
    assert_eq!(version_read_with(&screened(Some(&store), &[path])), "1.0.1");
    works(&["install", "--store", &store, &bench.bundle(2)]);
    let before = status(&store);
    assert_eq!(version_read_with(&screened(Some(&store), &[path])), "1.0.2");
    assert_eq!(status(&store), before);
    works(&["rollback", "--store", &store]);
    assert_eq!(version_read_with(&screened(Some(&store), &[path])), "1.0.1");

    // A store that was named and is not there, or holds nothing that can be used, is no reason to read with another model.
    let missing = screened(Some(&bench.text("nowhere")), &[path]);
    assert_eq!(missing.status.code(), Some(1));
    let expected = "this is the device's model store: repair it, or name a model with --model PATH";
    assert!(said(&missing.stderr).contains(expected), "{}", said(&missing.stderr));
    fs::write(Path::new(&store).join("slot-a.lbx"), b"rotten").expect("written");
    let rotten = screened(Some(&store), &[path]);
    assert_eq!(rotten.status.code(), Some(1));
    assert!(said(&rotten.stderr).contains("no model can be used"), "{}", said(&rotten.stderr));
    // Named, another one may be read with.
    let named = screened(Some(&store), &["--model", &bench.bundle(3), "--keys", &bench.text("keys.json"), path]);
    assert_eq!(version_read_with(&named), "1.0.3");
}

/// `lightbox listen` that takes films from a folder and reads them with the models of a store.
struct Device {
    bench: Bench,
    store: String,
    config: PathBuf,
    films: PathBuf,
    readings: PathBuf,
}

impl Device {
    fn new(models: &str) -> Self {
        let bench = Bench::new();
        let store = bench.device();
        let [films, spool, readings, config] =
            ["films", "spool", "readings.jsonl", "listen.toml"].map(|name| bench.path(name));
        fs::create_dir(&films).expect("made");
        let text = format!(
            "[listener]\naddress = \"127.0.0.1:0\"\nae_title = \"LIGHTBOX\"\n\
             [[listener.peers]]\nae_title = \"XRAY1\"\naddresses = [\"127.0.0.1\"]\n\
             [spool]\nfolder = {spool:?}\nkeep_free_mb = 0\nkeep_free_percent = 0\n\
             [[folders]]\npath = {films:?}\nsettle_s = 0\npoll_s = 1\n\
             [read]\nreadings = {readings:?}\n[models]\nstore = {store:?}\n{models}"
        );
        fs::write(&config, text).expect("written");
        Self { bench, store, config, films, readings }
    }

    fn start(&self) -> Listening {
        let mut child = lightbox()
            .args(["listen", "--config"])
            .arg(&self.config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, kept) = (child.stderr.take().expect("a pipe"), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = kept.lock().expect("no panic");
                log.push_str(&line);
                log.push('\n');
            }
        });
        Listening { child, log }
    }

    fn put(&self, seed: u64) {
        let part = self.films.join(".part.png");
        put_film(&part, &support::chest_phantom(160, 150, seed));
        fs::rename(part, self.films.join(format!("{seed}.png"))).expect("renamed");
    }

    /// Version of the model in each line.
    fn versions(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.readings).unwrap_or_default();
        let version = |line: &str| -> String {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            line["model"]["version"].as_str().expect("a version").to_owned()
        };
        text.lines().map(version).collect()
    }
}

struct Listening {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Listening {
    fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < Duration::from_secs(60), "no {text:?} in:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// As a watchdog or a power cut ends it.
    fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    fn ended(mut self) -> String {
        let status = self.child.wait().expect("it has ended");
        assert_eq!(status.code(), Some(1), "{}", self.log());
        let start = Instant::now();
        while !self.log().contains("lightbox: ") && start.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(5));
        }
        self.log()
    }
}

#[test]
fn good_readings_confirm_the_model_on_trial() {
    let device = Device::new("confirm_after_readings = 2\n");
    works(&["install", "--store", &device.store, &device.bench.bundle(2)]);
    let mut listening = device.start();
    listening.wait_for("reading with example 1.0.2, on trial: 1 golden films right");
    device.put(1);
    listening.wait_for("read 0000");
    assert_eq!(status(&device.store)["slots"]["b"]["state"], "trial");
    device.put(2);
    listening.wait_for("the model on trial is confirmed");
    let state = status(&device.store);
    assert_eq!((&state["confirmed"], &state["lowest_bundle_version"]), (&"b".into(), &2.into()));
    assert_eq!(device.versions(), ["1.0.2", "1.0.2"]);
    listening.kill();
}

#[test]
fn a_crash_loop_ends_with_the_model_before_and_its_threshold() {
    let device = Device::new("trial_starts = 3\n");
    works(&["install", "--store", &device.store, "--trial-boots", "3", &device.bench.bundle(2)]);
    // One start was the trial's own; each further end without a word, as by a watchdog, takes one more.
    for left in ["1", "0"] {
        let mut listening = device.start();
        listening.wait_for("reading with example 1.0.2, on trial");
        listening.kill();
        assert_eq!(status(&device.store)["slots"]["b"]["boots_left"].to_string(), left);
    }
    let mut listening = device.start();
    listening.wait_for("reading with example 1.0.1: 1 golden films right");
    assert!(listening.log().contains("slot b was given up: started as often as a trial may be"), "{}", listening.log());
    device.put(1);
    listening.wait_for("read 0000");
    listening.kill();
    assert_eq!(device.versions(), ["1.0.1"]);
    assert_eq!(status(&device.store)["slots"]["b"]["state"], "failed");
}

#[test]
fn a_trial_given_up_by_hand_is_left_before_the_next_film() {
    let device = Device::new("");
    works(&["install", "--store", &device.store, &device.bench.bundle(2)]);
    let mut listening = device.start();
    listening.wait_for("reading with example 1.0.2, on trial");
    works(&["rollback", "--store", &device.store]);
    device.put(1);
    listening.wait_for("reading with example 1.0.1");
    device.put(2);
    listening.wait_for("read 0000000000000002");
    listening.kill();
    // The film that was read meanwhile keeps the model that read it.
    assert_eq!(device.versions(), ["1.0.2", "1.0.1"]);
}

#[test]
fn a_model_confirmed_by_hand_reads_the_next_film_without_a_restart() {
    let device = Device::new("");
    let mut listening = device.start();
    listening.wait_for("reading with example 1.0.1");
    device.put(1);
    listening.wait_for("read 0000000000000001");
    works(&["install", "--store", &device.store, &device.bench.bundle(2)]);
    device.put(2);
    listening.wait_for("read 0000000000000002");
    works(&["confirm", "--store", &device.store]);
    device.put(3);
    listening.wait_for("read 0000000000000003");
    device.put(4);
    listening.wait_for("read 0000000000000004");
    assert_eq!(listening.log().matches("reading with example").count(), 2, "taken once: {}", listening.log());
    listening.kill();
    // One that is only on trial is left to the next start.
    assert_eq!(device.versions(), ["1.0.1", "1.0.1", "1.0.2", "1.0.2"]);
}

#[test]
fn a_model_that_fails_its_self_test_gives_no_verdict() {
    let bench = Bench::new();
    let network = small_network(1);
    // Whole, signed and confirmed, but its answers are not those that were audited; nothing stands before it.
    let wrong = bench.put("wrong.lbx", &sealed(1, &network, &golden_of(50, &small_network(50))));
    let film_path = bench.path("film.png");
    put_film(&film_path, &film());
    let path = film_path.to_str().expect("UTF-8");
    // Where nothing was ever confirmed, the model that came with the program stays the one that is read with.
    let store = bench.text("new");
    works(&["init", "--store", &store, "--keys", &bench.text("keys.json")]);
    assert!(bench::refused(&["install", "--store", &store, &wrong]).contains("the self-test did not pass"));
    let shipped = version_read_with(&screened(Some(&store), &[path]));
    assert_eq!(shipped, version_read_with(&screened(None, &[path])));

    let output = screened(None, &["--model", &wrong, "--keys", &bench.text("keys.json"), path]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let expected =
        "the model example 1.0.1 fails its self-test and is not used: golden film 00: the logit of normal is ";
    assert!(said(&output.stderr).contains(expected), "{}", said(&output.stderr));

    let device = Device::new("");
    device.bench.spoil(&device.store);
    device.put(1);
    let log = device.start().ended();
    assert!(log.contains("fails its self-test and is not used"), "{log}");
    assert!(device.versions().is_empty());
}

/// Calls every film Covid-19.
fn alarmed_network() -> Vec<u8> {
    Onnx::default()
        .operator("GlobalAveragePool", &["image"], "mean", &[])
        .operator("Flatten", &["mean"], "grey", &[("axis", 1)])
        .operator("Relu", &["grey"], "features", &[])
        .weights("slope", &[1, 3], &[0.1, 0.2, -0.1])
        .weights("offset", &[1, 3], &[4.0, 0.0, -4.0])
        .operator("MatMul", &["features", "slope"], "scores", &[])
        .operator("Add", &["scores", "offset"], "logits", &[])
        .weights("kernel", &[3, 1, 1, 1], &[1.0, 2.0, 3.0])
        .operator("Conv", &["image", "kernel"], "places", &[])
        .operator("Relu", &["places"], "maps", &[])
        .finish(
            ("image", &[1, 1, SIDE, SIDE]),
            &[("logits", &[1, 3]), ("maps", &[1, 3, SIDE, SIDE]), ("features", &[1, 1])],
        )
}

#[test]
fn an_install_reads_the_last_cases_again_and_shows_what_differs() {
    let bench = Bench::new();
    let store = bench.text("store");
    works(&["init", "--store", &store, "--keys", &bench.text("keys.json")]);
    let network = alarmed_network();
    works(&["install", "--store", &store, &bench.put("1.lbx", &sealed(1, &network, &golden_of(1, &network)))]);
    works(&["confirm", "--store", &store]);
    let journal = bench.text("journal.db");
    let paths: Vec<String> = (1..=4)
        .map(|seed| {
            let path = bench.path(&format!("{seed}.png"));
            put_film(&path, &support::chest_phantom(160, 150, seed));
            path.to_str().expect("UTF-8").to_owned()
        })
        .collect();
    let mut arguments = vec!["--journal", &journal];
    arguments.extend(paths.iter().map(String::as_str));
    let output = screened(Some(&store), &arguments);
    let said_before: Vec<Value> =
        said(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(said_before.iter().all(|line| line["verdict"] == "covid19"), "{said_before:?}");
    // One film was changed since, one is gone.
    put_film(Path::new(&paths[0]), &support::chest_phantom(160, 150, 90));
    fs::remove_file(&paths[1]).expect("removed");

    let second = bench.bundle(2);
    let installed = works(&["install", "--store", &store, "--json", "--journal", &journal, &second]);
    let installed: Value = serde_json::from_str(&installed).expect("JSON");
    let replay = &installed["replay"];
    assert_eq!((&replay["films"], &replay["skipped"], &replay["lost_positives"]), (&2.into(), &2.into(), &2.into()));
    let changed = replay["changed"].as_array().expect("a list");
    assert_eq!((&changed[0]["film"], &changed[0]["before"]), (&"reading 4".into(), &"covid19".into()));
    assert_eq!(changed[0]["after"], "normal");

    // Without the journal, what the running model says is found by asking it.
    let again = works(&["replay", "--store", &store, "--json", &paths[2], &paths[3]]);
    let again: Value = serde_json::from_str(&again).expect("JSON");
    assert_eq!((&again["films"], &again["lost_positives"]), (&2.into(), &2.into()));
    works(&["rollback", "--store", &store]);
    let words = works(&["install", "--store", &store, "--journal", &journal, "--cases", "1", &second]);
    assert!(words.contains("read again: 1 films, 1 verdicts differ, 1 lost positives"), "{words}");
}

#[test]
fn a_key_list_of_its_own_makes_a_store_of_its_own() {
    let bench = Bench::new();
    let store = bench.text("store");
    // Without a list the store is the program's; a bundle of another maker is refused before anything is made.
    let output = bench::run(&["install", "--store", &store, &bench.bundle(1)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!Path::new(&store).exists());
    fs::write(bench.path("two.json"), key_list(1, &bench.maker.keys(), 2)).expect("written");
    works(&["init", "--store", &store, "--keys", &bench.text("two.json")]);
    let output = bench::run(&["install", "--store", &store, &bench.bundle(1)]);
    assert!(said(&output.stderr).contains("expected 2 by different release keys"), "{}", said(&output.stderr));
}
