//! The whole way through the real program on generated films: train, cut, resume, export, judge.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use lightbox::bundle::Policy;
use lightbox::bundle::key_list::KeyList;
use lightbox::bundle::release::open_bundle;
use lightbox::bundle::signing::{self, Password};
use lightbox::bundle::summary::Facts;
use lightbox::domain::{Films, Measure};
use trainer::network::weights::Weights;

fn trainer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.env_remove("RUST_LOG");
    command
}

fn train(recipe: &Path, data: &Path, weights: &Path, out: &Path) -> Command {
    let mut command = trainer();
    command.arg("train").arg("--recipe").arg(recipe).arg("--data").arg(data).arg("--weights").arg(weights);
    command.arg("--out").arg(out).args(["--threads", "1", "--seed", "5"]);
    command
}

#[track_caller]
fn succeeds(command: &mut Command) -> (String, String) {
    let output = command.output().expect("the program starts");
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{err}");
    (out, err)
}

#[track_caller]
fn fails(command: &mut Command, message: &str) {
    let output = command.output().expect("the program starts");
    let (_, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    let last = err.lines().last().unwrap_or_default();
    assert!(last.starts_with("trainer: ") && last.contains(message), "{err}");
    assert!(!err.contains("panicked"), "{err}");
}

fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into(), String::from_utf8_lossy(&output.stderr).into())
}

#[test]
fn a_run_that_is_killed_goes_on_to_the_very_weights_of_one_that_was_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (data, weights, recipe) =
        (support::data(folder), support::imagenet_like(folder), support::recipe(folder, |text| text));

    let whole = folder.join("whole");
    let (_, log) = succeeds(&mut train(&recipe, &data, &weights, &whole));
    assert!(log.contains("skipped broken.png: "), "{log}");
    assert!(log.contains("training: 6/6, loss "), "{log}");

    let cut = folder.join("cut");
    let mut child = train(&recipe, &data, &weights, &cut).stderr(Stdio::null()).spawn().expect("the program starts");
    let start = Instant::now();
    while !cut.join("checkpoint/state.json").exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(!cut.join("weights.safetensors").exists(), "the run ended before it was killed");

    fails(&mut train(&recipe, &data, &weights, &cut), "holds a run already: pass --resume");
    let other = support::recipe(folder, |text| text.replace("dropout = 0.5", "dropout = 0.4"));
    fails(train(&other, &data, &weights, &cut).arg("--resume"), "was begun with another recipe");
    let recipe = support::recipe(folder, |text| text);
    // Files may not grow beyond this, which is less than a checkpoint.
    let mut full = Command::new("bash");
    full.args(["-c", "trap '' XFSZ; ulimit -f 9000; exec \"$0\" \"$@\""]).arg(env!("CARGO_BIN_EXE_trainer"));
    full.args(train(&recipe, &data, &weights, &cut).get_args()).arg("--resume");
    fails(&mut full, "File too large (os error 27) (the last checkpoint is kept: go on with --resume)");
    let (_, log) = succeeds(train(&recipe, &data, &weights, &cut).arg("--resume"));
    assert!(log.contains("going on after step "), "{log}");

    let read = |run: &Path| Weights::read(&run.join("weights.safetensors")).expect("weights");
    // Not assert_eq: nobody reads four million numbers.
    assert!(read(&whole) == read(&cut), "the weights differ");
    let steps = |run: &Path| -> Vec<(u64, String)> {
        let text = fs::read_to_string(run.join("curve.jsonl")).expect("a curve");
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("json"))
            .filter(|v| v.get("loss").is_some())
            .map(|v| (v["step"].as_u64().expect("a step"), v["loss"].to_string()))
            .collect()
    };
    assert_eq!(steps(&whole), steps(&cut));
    assert_eq!(steps(&cut).len(), 6);

    exports_and_judges(folder, &data, &whole);
}

/// A key list that trusts one release key.
fn trusting(public: &str) -> KeyList {
    let key = public.lines().nth(1).expect("a key");
    let list = serde_json::json!({
        "schema": 1, "version": 1,
        "keys": [{"name": "release", "role": "release", "public_key": key}],
        "accept": {"bundle": [{"role": "release", "signatures": 1}], "key_list": [], "permit": []},
    });
    KeyList::anchor(list.to_string().as_bytes()).expect("a key list")
}

fn exports_and_judges(folder: &Path, data: &Path, run: &Path) {
    let model = folder.join("model");
    let export = || {
        let mut command = trainer();
        command.arg("export").arg("--weights").arg(run.join("weights.safetensors")).arg("--data").arg(data);
        command.arg("--out").arg(&model).args(["--threads", "1"]);
        command
    };
    succeeds(&mut export());
    let verified = lightbox::bundle::open(&model).expect("a whole model");
    assert_eq!(verified.manifest().name, "lightbox-mobilenetv2");
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(model.join("manifest.json")).expect("a manifest")).expect("json");
    assert_eq!(manifest["training"]["films"]["external"]["East"]["covid19"], 3);
    assert_eq!(manifest["metrics"]["external"]["sources"]["East"]["films"]["covid19"], 3);
    let engine = manifest["metrics"]["half_precision"]["max_probability_difference_of_engine"].as_f64();
    assert!(engine.is_some_and(|d| d <= 1e-4), "{engine:?}");
    let card = fs::read_to_string(model.join("MODEL_CARD.md")).expect("a card");
    assert!(card.contains("not a medical device") && card.contains("| East |"), "{card}");

    // Once more into the same place: the same model, byte for byte; and sealed.
    let first = fs::read(model.join("manifest.json")).expect("a manifest");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let keys = signing::generate(Password::None).expect("randomness");
    fs::write(folder.join("release.key"), &keys.secret).expect("written");
    let film = root.join("tests/fixtures/chest-pa.dcm");
    let mut sealed = export();
    sealed.arg("--seal").arg(folder.join("release.key")).args(["--bundle-version", "3"]).arg("--golden").arg(film);
    succeeds(sealed.args(["--golden-source", "a test"]));
    assert!(first == fs::read(model.join("manifest.json")).expect("a manifest"), "a second export differs");

    let bundle = open_bundle(&folder.join("model.lbx"), &trusting(&keys.public), &Policy::default());
    let bundle = bundle.expect("audited by the metrics of its manifest, and signed");
    assert_eq!((bundle.contents().bundle_version, bundle.network_sha256()), (3, verified.network_sha256()));
    let facts = Facts::of(&bundle);
    let held_out = facts.figure(Measure::Sensitivity(Films::HeldOut)).expect("a figure");
    assert_eq!(Some(held_out.value), manifest["metrics"]["held_out"]["all"]["sensitivity"]["rate"].as_f64());

    // A bundle is judged like a model directory; the one that ships is signed as the program demands.
    let pictures = folder.join("pictures");
    fs::create_dir_all(&pictures).expect("made");
    image::RgbImage::from_fn(200, 150, |x, y| image::Rgb([x as u8, y as u8, 9]))
        .save(pictures.join("a.png"))
        .expect("written");
    let mut refused = trainer();
    refused.arg("evaluate").arg("--model").arg(root.join("models/released")).arg("--unlike").arg(&pictures);
    let (said, _) = succeeds(&mut refused);
    assert!(said.contains("colour-picture"), "{said}");

    // And fitted anew around the same network.
    let again = folder.join("again");
    let mut refit = trainer();
    refit.arg("refit").arg("--model").arg(&model).arg("--data").arg(data).arg("--out").arg(&again);
    succeeds(refit.args(["--threads", "1"]));
    assert!(first == fs::read(again.join("manifest.json")).expect("a manifest"), "fitted anew it differs");

    let (json, csv) = (folder.join("report.json"), folder.join("films.csv"));
    let evaluate = || {
        let mut command = trainer();
        command.arg("evaluate").arg("--model").arg(&model).arg("--data").arg(data);
        command.arg("--json").arg(&json).arg("--csv").arg(&csv).args(["--threads", "1"]);
        command
    };
    let (table, _) = succeeds(&mut evaluate());
    assert!(table.contains("| East | 3 | 6 |"), "{table}");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(&json).expect("a report")).expect("json");
    assert_eq!(report, manifest["metrics"]["external"]);
    assert_eq!(fs::read_to_string(&csv).expect("films").lines().count(), 10);

    let mut unlike = trainer();
    unlike.arg("evaluate").arg("--model").arg(&model).arg("--unlike").arg(data).args(["--threads", "1"]);
    let (refused, _) = succeeds(&mut unlike);
    assert!(refused.contains("of 66 files rejected") && refused.contains("corrupt (1): broken.png"), "{refused}");

    let mut network = fs::read(model.join("model.onnx")).expect("a network");
    let middle = network.len() / 2;
    network[middle] ^= 1;
    fs::write(model.join("model.onnx"), network).expect("written");
    fails(&mut evaluate(), "the model is damaged or was changed");
}

#[test]
fn lines_are_drawn_on_films_of_all_folds_each_asked_of_a_network_that_did_not_learn_from_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (data, weights) = (support::data(folder), support::imagenet_like(folder));
    let recipe = support::recipe(folder, |text| text.replace("steps = 6", "steps = 2"));
    let run = |name: &str, arguments: &[&str]| {
        let out = folder.join(name);
        succeeds(train(&recipe, &data, &weights, &out).args(arguments));
        out
    };
    let folds: Vec<_> = (1..=2).map(|k| run(&format!("fold-{k}"), &["--fold", &format!("{k}/2")])).collect();
    let whole = run("whole", &["--set", "training.held_out=0"]);
    let export = |weights: &Path, runs: &[&Path]| {
        let mut command = trainer();
        command.arg("export").arg("--weights").arg(weights.join("weights.safetensors")).arg("--data").arg(&data);
        command.arg("--out").arg(folder.join("model")).args(["--threads", "1", "--runs"]).args(runs);
        command
    };
    let manifest = |model: &str| -> serde_json::Value {
        let bytes = fs::read(folder.join(model).join("manifest.json")).expect("a manifest");
        serde_json::from_slice(&bytes).expect("json")
    };

    let (said, _) = succeeds(&mut export(&whole, &[&folds[1], &folds[0]]));
    assert!(said.contains("Patients of the folds:"), "{said}");
    let of_whole = manifest("model");
    let found = &of_whole["metrics"]["cross_validation"];
    // Every film of training but the one that cannot be read.
    assert_eq!((&found["folds"], &found["films"]), (&2.into(), &56.into()), "{found}");
    assert_eq!(found["groups"], 28);
    assert_eq!(of_whole["training"]["films"]["held_out"], serde_json::json!({}));
    assert_eq!(of_whole["training"]["films"]["training"], of_whole["training"]["films"]["cross_validated"]);
    let rate = &found["at_the_lines"]["rule_out"]["sensitivity"];
    assert!(rate["of"].as_u64() <= Some(16) && rate["low"].as_f64() < rate["rate"].as_f64(), "{rate}");
    assert!(found["at_lines_of_other_folds"]["rule_in"]["specificity"]["of"].is_u64(), "{found}");
    let without: Vec<_> = found["without"].as_array().expect("a list").iter().map(|d| d["fold"].as_u64()).collect();
    assert_eq!(without, [Some(1), Some(2)]);
    let card = fs::read_to_string(folder.join("model/MODEL_CARD.md")).expect("a card");
    for words in ["56 films of 28 groups of patients in 2 folds", "At these lines, on the films", "Without one fold or"]
    {
        assert!(card.contains(words), "{words} is not in {card}");
    }
    assert!(!folder.join("model.fold").exists() && !folder.join("model.new").exists());

    // The network of a fold at the same lines, as they are the recipe's; and fitted anew the same again.
    succeeds(&mut export(&folds[0], &[&folds[0], &folds[1]]));
    let of_fold = manifest("model");
    for key in ["operating_point", "calibration"] {
        assert_eq!(of_fold[key], of_whole[key], "{key}");
    }
    assert_eq!(of_fold["metrics"]["cross_validation"], *found);
    let mut refit = trainer();
    refit.arg("refit").arg("--model").arg(folder.join("model")).arg("--data").arg(&data).args(["--threads", "1"]);
    succeeds(refit.arg("--out").arg(folder.join("again")).arg("--runs").args(&folds));
    assert!(of_fold == manifest("again"), "fitted anew it differs");

    // What is not the folds of one recipe is refused, and the model is still there.
    let other = run("other", &["--fold", "2/2", "--set", "training.average_decay=0.5"]);
    fails(&mut export(&whole, &[&folds[0]]), "of 2 folds these are missing: 2; give a run for each");
    fails(&mut export(&whole, &[&folds[0], &folds[0]]), "are both fold 1/2: give each fold once");
    fails(&mut export(&whole, &[&folds[0], &whole]), "whole was not trained on a fold: train it with --fold K/N");
    fails(&mut export(&whole, &[&folds[0], &other]), "training.average_decay is 0.5, expected 0.9");
    assert!(of_fold == manifest("model"), "the model was changed");
    let mut wrong = train(&recipe, &data, &weights, &folder.join("wrong"));
    let output = wrong.args(["--fold", "3/2"]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(texts(&output).1.contains("fold is \"3/2\", expected K/N"), "{}", texts(&output).1);

    // Nothing was held out from the network of all films: by itself it has no lines.
    let mut alone = trainer();
    alone.arg("export").arg("--weights").arg(whole.join("weights.safetensors")).arg("--data").arg(&data);
    fails(alone.arg("--out").arg(folder.join("alone")), "no held-out covid19 films were read: nothing to choose");
}

#[test]
fn a_folder_of_something_else_is_not_replaced_by_a_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("thesis.txt"), "years of work").expect("written");
    let weights = support::imagenet_like(folder);
    let mut command = trainer();
    command.arg("export").arg("--weights").arg(&weights).arg("--data").arg(folder).arg("--out").arg(folder);
    fails(&mut command, "metadata has no recipe: expected weights written by `trainer train`");
}

#[test]
fn what_cannot_be_trained_on_is_said_before_training() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (data, weights) = (support::data(folder), support::imagenet_like(folder));
    let recipe = support::recipe(folder, |text| text);
    let out = folder.join("out");
    let manifest = fs::read_to_string(data.join("manifest.csv")).expect("a manifest");
    let with = |change: &dyn Fn(&str) -> bool| {
        let kept: String = manifest.lines().filter(|line| change(line)).map(|line| format!("{line}\n")).collect();
        fs::write(data.join("manifest.csv"), kept).expect("written");
    };

    with(&|line| !line.contains(",covid19,train"));
    fails(&mut train(&recipe, &data, &weights, &out), "no covid19 films to learn from");
    with(&|line| !line.contains(",covid19,train") || line.contains("Southcovid191"));
    fails(&mut train(&recipe, &data, &weights, &out), "covid19 films belong to one group (Southcovid191)");
    with(&|line| line.starts_with("file") || line.contains("broken"));
    fails(&mut train(&recipe, &data, &weights, &out), "no covid19 films to learn from");

    // Films that are listed but cannot be read are no films to learn from.
    with(&|_| true);
    let good = data.join("South-covid19-0.png");
    let film = fs::read(&good).expect("a film");
    for (source, number) in ["North", "South"].iter().flat_map(|source| (0..8).map(move |number| (source, number))) {
        fs::write(data.join(format!("{source}-covid19-{number}.png")), &film[..film.len() / 2]).expect("written");
    }
    fails(&mut train(&recipe, &data, &weights, &out), "no covid19 films left to learn from: all of them were skipped");

    // Weights of another network, of which nothing is taken.
    let (mut other, _) = Weights::read(&weights).expect("weights");
    let first = other.0.get_mut("features.0.0.weight").expect("the first");
    first.shape = vec![16, 6, 3, 3];
    let lacking = other.0.remove("features.18.0.weight").expect("the last");
    other.0.insert("classifier.7.weight".into(), lacking);
    other.write(&weights, &Default::default()).expect("written");
    let mut misfit = train(&recipe, &data, &weights, &folder.join("misfit"));
    fails(&mut misfit, "features.0.0.weight is [16, 6, 3, 3], expected [32, 3, 3, 3]");
    fs::write(&weights, b"half a fi").expect("written");
    fails(&mut train(&recipe, &data, &weights, &out), "imagenet.safetensors: not a safetensors file");
    let bad = support::recipe(folder, |text| text.replace("batch = 6", "batch = 0"));
    fails(&mut train(&bad, &data, &weights, &out), "training.batch is 0, expected 1 to 1024");
    fails(&mut train(&folder.join("none.toml"), &data, &weights, &out), "none.toml: No such file");
    assert_eq!(trainer().arg("train").output().expect("starts").status.code(), Some(2));
}
