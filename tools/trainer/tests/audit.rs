//! An audit through the real program: a model of all sources and one that never saw the second.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use lightbox::adapters::file::{Limits, read_film};
use lightbox::pipeline::{preprocess::preprocess, quality};
use trainer::network::Network;
use trainer::network::weights::Weights;
use trainer::recipe::{Recipe, RecipeFile};

fn trainer(command: &str) -> Command {
    let mut trainer = Command::new(env!("CARGO_BIN_EXE_trainer"));
    trainer.env_remove("RUST_LOG").arg(command).args(["--threads", "1"]);
    trainer
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Boxes as `support::film` draws lungs, up to its small shifts; ages and views beside them.
fn describe(data: &Path) {
    let manifest = fs::read_to_string(data.join("manifest.csv")).expect("a manifest");
    let mut lungs = String::from("file,right_x0,right_y0,right_x1,right_y1,left_x0,left_y0,left_x1,left_y1\n");
    let mut described = String::new();
    for (number, line) in manifest.lines().enumerate() {
        match number {
            0 => writeln!(described, "{line},view,age"),
            _ => writeln!(described, "{line},{},{}", ["PA", "AP"][number % 2], ["7", "45", ""][number % 3]),
        }
        .expect("text");
        let file = line.split(',').next().unwrap_or_default();
        if number > 0 && line.contains(",train,") {
            writeln!(lungs, "{file},0.13,0.15,0.47,0.85,0.53,0.15,0.87,0.85").expect("text");
        }
    }
    fs::write(data.join("manifest.csv"), described).expect("written");
    fs::write(data.join("lungs.csv"), lungs).expect("written");
}

/// White bands over every film of `source`: what gives a hospital away.
fn mark(data: &Path, source: &str) {
    for entry in fs::read_dir(data).expect("a folder").flatten() {
        if entry.file_name().to_string_lossy().starts_with(source) {
            let mut film = image::open(entry.path()).expect("a film").to_luma8();
            for (x, _, pixel) in film.enumerate_pixels_mut().filter(|(x, ..)| x / 6 % 2 == 0) {
                pixel.0[0] = 240 + (x % 2) as u8;
            }
            film.save(entry.path()).expect("written");
        }
    }
}

/// Gives the batch normalisation of trained `weights` the statistics of films of `data`. Six steps from random weights
/// leave it so far behind that the network says the same of every film; now it sees what it is shown, and says so.
fn wake(weights: &Path, data: &Path) {
    let (read, metadata) = Weights::read(weights).expect("weights");
    let device = Device::flex().autodiff();
    let mut network = read.put_into(Network::new(0.0, &device)).expect("of this network");
    for block in &mut network.trunk.features {
        let layers = [block.expand.as_mut(), block.depthwise.as_mut(), Some(&mut block.project)];
        layers.into_iter().flatten().filter_map(|layer| layer.norm.as_mut()).for_each(|norm| norm.momentum = 1.0);
    }
    let recipe: RecipeFile = serde_json::from_str(&metadata["recipe"]).expect("a recipe");
    let spec = Recipe::try_from(recipe).expect("a recipe").input;
    let mut films: Vec<PathBuf> = fs::read_dir(data).expect("a folder").flatten().map(|entry| entry.path()).collect();
    films.sort();
    let inputs: Vec<Vec<f32>> = films
        .iter()
        .filter_map(|film| quality::accept(read_film(film, &Limits::default()).ok()?).ok())
        .map(|film| preprocess(&film, &spec).values)
        .take(40)
        .collect();
    let shape = [inputs.len(), 1, spec.height(), spec.width()];
    let _ = network.forward(Tensor::<4>::from_data(TensorData::new(inputs.concat(), shape), &device));
    // A last layer strong enough for films to differ, whatever temperature is fitted to it.
    network.head.last.weight = network.head.last.weight.clone().map(|weight| weight * 100.0);
    Weights::of(&network.valid()).write(weights, &metadata).expect("written");
}

fn model(folder: &Path, data: &Path, name: &str, leave_out: &[&str]) -> PathBuf {
    let leave_out: Vec<&str> = leave_out.iter().flat_map(|source| ["--leave-out", *source]).collect();
    model_with(folder, data, name, &leave_out)
}

fn model_with(folder: &Path, data: &Path, name: &str, options: &[&str]) -> PathBuf {
    let more_held_out = |text: String| text.replace("held_out = 0.3", "held_out = 0.6");
    let (weights, recipe) = (support::imagenet_like(folder), support::recipe(folder, more_held_out));
    let (run, model) = (folder.join(format!("{name}-run")), folder.join(name));
    let mut train = trainer("train");
    train.arg("--recipe").arg(recipe).arg("--data").arg(data).arg("--weights").arg(weights).arg("--out").arg(&run);
    succeeds(train.args(options));
    wake(&run.join("weights.safetensors"), data);
    let mut export = trainer("export");
    export.arg("--weights").arg(run.join("weights.safetensors")).arg("--data").arg(data).arg("--out").arg(&model);
    succeeds(&mut export);
    model
}

#[test]
fn an_audit_asks_everything_of_a_model_and_of_one_that_left_a_source_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let data = support::data(folder);
    describe(&data);
    mark(&data, "South");
    let whole = model(folder, &data, "whole", &[]);
    let without = model(folder, &data, "without", &["South"]);
    let out = folder.join("audit");
    let audit = |left_out: &Path| {
        let mut audit = trainer("audit");
        audit.arg("--model").arg(&whole).arg("--data").arg(&data).arg("--out").arg(&out);
        audit.arg("--left-out").arg(left_out).arg("--unlike").arg(&data);
        audit
    };
    succeeds(&mut audit(&without));
    let found: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("audit.json")).expect("an audit")).expect("json");

    assert_eq!(found["external"]["report"]["sources"]["East"]["films"]["covid19"], 3);
    let left_out = &found["left_out"][0];
    assert_eq!(left_out["sources"], serde_json::json!(["South"]));
    assert_eq!(left_out["part"]["report"]["all"]["films"]["covid19"], 8);
    assert_eq!(left_out["sensitivity_at_specificity"]["East"]["of"], 3);
    let altered = left_out["part"]["altered"].as_array().expect("a list");
    for how in ["none", "lungs-black", "lungs-only", "border-only"] {
        let row = altered.iter().find(|a| a["alteration"] == how && a["source"] == "South");
        assert!(row.is_some_and(|row| row["auc"]["auc"].is_number()), "{how}: {altered:?}");
    }
    // What is taken away is missed: the network says something else of what is left, of one source or another.
    let means = |how: &str| -> Vec<f64> {
        let rows = found["held_out"]["altered"].as_array().expect("a list").iter();
        let means = rows.filter(|row| row["alteration"] == how).map(|row| row["mean_covid19"].as_f64());
        means.map(|mean| mean.expect("a probability")).collect()
    };
    let untouched = means("none");
    for how in ["lungs-black", "lungs-only", "border-only"] {
        let left = means(how);
        assert_eq!(left.len(), untouched.len());
        let most = untouched.iter().zip(&left).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(most > 1e-4, "{how}: {left:?} and {untouched:?}");
    }
    for row in found["held_out"]["saliency"].as_array().expect("a list") {
        let area = row["area"].as_f64().expect("a share");
        // 2 × 0.34 × 0.7 of the film, of which the network sees nine tenths either way.
        assert!((area - 0.588).abs() < 0.06, "{row}");
    }
    let probe = &found["source_probe"];
    assert_eq!(probe["chance"], 0.5, "{probe}");
    assert!(probe["balanced_accuracy"].as_f64() > Some(0.65), "the bands give the source away: {probe}");
    let slices: Vec<&str> =
        found["slices"].as_array().expect("a list").iter().filter_map(|s| s["value"].as_str()).collect();
    assert_eq!(slices, ["40 to 59", "children", "unknown", "AP", "PA"]);
    assert!(found["unlike"]["refused"]["of"].as_u64() >= Some(65), "{}", found["unlike"]);

    let page = fs::read_to_string(out.join("audit.html")).expect("a page");
    assert!(page.contains("South left out of training"), "{page}");
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(
        !page.contains("http:") && !page.contains("https:") && !page.contains("src="),
        "the page fetches something"
    );
    assert!(!page.contains("NaN"), "{page}");

    let output = audit(&whole).output().expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("left no source out of training: train it with --leave-out SOURCE"), "{error}");
}

#[test]
fn a_network_of_the_lungs_alone_is_trained_exported_audited_and_fitted_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let data = support::data(folder);
    describe(&data);
    let whole = model(folder, &data, "whole", &[]);
    let lungs = folder.join("lungs-found.csv");
    succeeds(trainer("locate").arg("--model").arg(&whole).arg("--data").arg(&data).arg("--out").arg(&lungs));

    let recipe = support::recipe(folder, |text| text);
    let mut blind = trainer("train");
    blind.arg("--recipe").arg(recipe).arg("--data").arg(&data).arg("--weights").arg(support::imagenet_like(folder));
    blind.arg("--out").arg(folder.join("blind")).args(["--set", "input.lungs_margin=0.02"]);
    let output = blind.output().expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(!output.status.success() && error.contains("--lungs with a file of `trainer locate`"), "{error}");

    let lungs = lungs.to_str().expect("a path");
    let model = model_with(folder, &data, "lungs", &["--set", "input.lungs_margin=0.02", "--lungs", lungs]);
    let margin = |model: &Path| {
        let manifest = fs::read(model.join("manifest.json")).expect("a manifest");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("json");
        manifest["lungs"]["margin"].as_f64().map(|margin| (margin * 100.0).round())
    };
    assert_eq!((margin(&whole), margin(&model)), (None, Some(2.0)));

    let out = folder.join("audit");
    succeeds(trainer("audit").arg("--model").arg(&model).arg("--data").arg(&data).arg("--out").arg(&out));
    let found: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("audit.json")).expect("an audit")).expect("json");
    for row in found["held_out"]["saliency"].as_array().expect("a list") {
        // 2 × 0.34 × 0.7 of the film, of which the network judges 0.78 × 0.74 where the lungs are found well; of all it
        // would be 0.48.
        let area = row["area"].as_f64().expect("a share");
        assert!((0.65..0.98).contains(&area), "{row}");
    }
    assert!(found["source_probe"]["balanced_accuracy"].is_number(), "{}", found["source_probe"]);

    let again = folder.join("again");
    succeeds(trainer("refit").arg("--model").arg(&model).arg("--data").arg(&data).arg("--out").arg(&again));
    assert_eq!(margin(&again), Some(2.0));
}
