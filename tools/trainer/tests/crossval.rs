//! A comparison through the real program on generated films: cut, resumed, on a full disk, reported; and the five
//! networks in the device's engine.

#[path = "support/engine.rs"]
mod on_device;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor, TensorData};
use lightbox::domain::{Channels, Finding, Fit, GreyScale, InputSpec, ModelInput, Probabilities, Window};
use lightbox::ports::Classifier;
use trainer::crossval::fold::{FoldResult, read_result};
use trainer::crossval::study::{Changes, Study, name_of};
use trainer::crossval::{films, network_folder};
use trainer::network::weights::{Array, Weights};
use trainer::paper::networks::Architecture;

const SIDES: (usize, usize) = (80, 96);

fn trainer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.env_remove("RUST_LOG");
    command
}

fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into(), String::from_utf8_lossy(&output.stderr).into())
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

/// The first recipe of the paper, made small.
fn recipe(folder: &Path) -> PathBuf {
    let text = include_str!("../recipes/paper-dataset1.toml")
        .replace("dataset = \"paper_ds1\"", "dataset = \"\"")
        .replace("height = 200", &format!("height = {}", SIDES.0))
        .replace("width = 266", &format!("width = {}", SIDES.1))
        .replace("count = 10", "count = 3")
        .replace("epochs = 10", "epochs = 2")
        .replace("batch = 64", "batch = 8");
    let path = folder.join("small.toml");
    fs::write(&path, text).expect("written");
    path
}

struct Run {
    recipe: PathBuf,
    data: PathBuf,
    out: PathBuf,
    weights: Vec<String>,
}

impl Run {
    fn new(folder: &Path, name: &str, weights: &[&str]) -> Self {
        let weights = weights.iter().map(|w| w.to_string()).collect();
        Self { recipe: recipe(folder), data: folder.join("data"), out: folder.join(name), weights }
    }

    fn arguments(&self) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let mut list: Vec<String> = ["crossval".into(), "--recipe".into(), text(&self.recipe)].into();
        list.extend(["--data".into(), text(&self.data), "--out".into(), text(&self.out), "--weights".into()]);
        list.extend(self.weights.iter().cloned());
        list
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = trainer();
        command.args(self.arguments()).args(more);
        command
    }

    /// Kills the run as soon as `is_time`.
    fn kill_when(&self, more: &[&str], what: &str, is_time: impl Fn() -> bool) {
        let mut command = self.command(more);
        let mut child: Child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
        let start = Instant::now();
        while !is_time() {
            assert!(start.elapsed() < Duration::from_secs(240), "never: {what}");
            assert!(child.try_wait().expect("asked").is_none(), "ended before {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    fn results(&self, network: Architecture, folds: usize) -> Vec<FoldResult> {
        let folder = network_folder(&self.out, network);
        let result = |fold| read_result(&folder, fold).expect("readable").expect("done");
        // How long it took is the one thing that may differ.
        let timeless = |mut result: FoldResult| {
            result.epochs.iter_mut().for_each(|epoch| epoch.seconds = 0.0);
            result
        };
        (0..folds).map(result).map(timeless).collect()
    }
}

#[test]
fn a_run_that_was_killed_and_met_a_full_disk_comes_to_the_figures_of_one_that_did_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    support::data(folder);
    let weights = format!("mobilenet-v2={}", support::imagenet_like(folder).display());
    let whole = Run::new(folder, "whole", &[&weights]);
    let (_, log) = succeeds(&mut whole.command(&["--jobs", "2"]));
    assert!(log.contains("skipped broken.png: "), "{log}");
    assert!(log.contains("covid19: 16 films, by fold "), "{log}");
    assert!(log.contains("MiB of activations to write") && log.contains("left"), "{log}");
    assert!(!network_folder(&whole.out, Architecture::MobileNetV2).join("trunk.f32").exists(), "not tidied up");

    let cut = Run::new(folder, "cut", &[&weights]);
    let network = network_folder(&cut.out, Architecture::MobileNetV2);
    let length = |name: &str| fs::metadata(network.join(name)).map_or(0, |about| about.len());
    cut.kill_when(&[], "activations", || length("trunk.f32") > 0);
    fails(&mut cut.command(&[]), "holds a run already: pass --resume");
    fails(
        &mut cut.command(&["--resume", "--epochs", "3"]),
        "was begun with another recipe, size, scope or number of epochs",
    );
    cut.kill_when(&["--resume"], "a checkpoint", || length("fold-00/checkpoint/state.json") > 0);

    // Files may not grow beyond this: activations fit, a checkpoint does not.
    let mut full = Command::new("bash");
    full.args(["-c", "trap '' XFSZ; ulimit -f 9000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_trainer")]);
    full.args(cut.arguments()).arg("--resume");
    fails(&mut full, "File too large (os error 27) (the last checkpoint is kept: go on with --resume)");
    let state = fs::read_to_string(network.join("fold-00/checkpoint/state.json")).expect("a checkpoint");
    assert_eq!(state.matches("test_loss").count(), 1, "{state}");

    succeeds(&mut cut.command(&["--resume"]));
    let expected = whole.results(Architecture::MobileNetV2, 3);
    assert!(expected == cut.results(Architecture::MobileNetV2, 3), "the figures differ");
    assert_eq!(expected.iter().map(|result| result.predictions.len()).sum::<usize>(), 48);
    assert!(expected.iter().all(|result| result.epochs.len() == 2));

    let (_, log) = succeeds(&mut cut.command(&["--resume"]));
    assert!(log.contains("MobileNetV2: done"), "{log}");
    let other = Run { weights: vec!["mobilenet-v2=random".into()], ..cut };
    fails(&mut other.command(&["--resume"]), "was begun with other weights (imagenet.safetensors, sha256 ");

    reports(folder, &whole.out);
}

fn reports(folder: &Path, run: &Path) {
    let out = folder.join("report");
    let (paths, _) = succeeds(trainer().arg("report").arg("--runs").arg(run).arg("--out").arg(&out));
    assert_eq!(paths.lines().count(), 2, "{paths}");
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("report.json")).expect("written")).expect("json");
    let network = &json["runs"][0]["networks"][0];
    assert_eq!(network["network"], "mobilenet-v2");
    assert_eq!(network["figures"]["films"], 48);
    let sums: u64 = network["confusion"]
        .as_array()
        .expect("rows")
        .iter()
        .flat_map(|row| row.as_array())
        .flatten()
        .filter_map(serde_json::Value::as_u64)
        .sum();
    assert_eq!(sums, 48);
    assert_eq!(json["runs"][0]["reduced"][0], "80 × 96 pixels instead of 200 × 266");
    let html = fs::read_to_string(out.join("report.html")).expect("written");
    for part in
        ["<svg", "ROC", "Coverage and risk", "2 epochs instead of 10", "contradicts itself", "imagenet.safetensors"]
    {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("<script"), "not self-contained");
    assert!(!html.contains(&folder.display().to_string()), "a path of this machine");
    // A report whose runs are gone goes on in another one.
    let (earlier, more) = (out.join("report.json"), folder.join("more"));
    let mut both = trainer();
    both.arg("report").arg("--runs").arg(run).arg("--earlier").arg(&earlier).arg("--out").arg(&more);
    succeeds(&mut both);
    let more: serde_json::Value =
        serde_json::from_slice(&fs::read(more.join("report.json")).expect("written")).expect("json");
    for run in [0, 1] {
        let again = &more["runs"][run]["networks"][0];
        assert_eq!((&again["confusion"], &again["folds"]), (&network["confusion"], &network["folds"]));
    }
    let nothing = folder.join("nothing");
    fails(trainer().arg("report").arg("--runs").arg(&nothing).arg("--out").arg(&out), "nothing/run.json: No such file");
}

#[test]
fn all_five_networks_learn_a_fold_and_the_engine_answers_as_they_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    support::data(folder);
    let random: Vec<String> = Architecture::ALL.into_iter().map(|n| format!("{}=random", name_of(n))).collect();
    let run = Run::new(folder, "five", &random.iter().map(String::as_str).collect::<Vec<_>>());
    succeeds(&mut run.command(&["--only-fold", "1", "--epochs", "1", "--export", "--jobs", "1"]));

    let study = Study::read(&run.recipe, Changes::default()).expect("a study");
    let films = films::read(&run.data, &study, |_, _| ()).expect("films");
    let (height, width) = SIDES;
    let spec = InputSpec::new(
        height,
        width,
        Fit::Stretch,
        0.0,
        GreyScale::AsShown,
        Channels::Replicated,
        vec![0.0; 3],
        vec![1.0; 3],
    );
    let spec = spec.expect("an input");
    for network in Architecture::ALL {
        let place = network_folder(&run.out, network);
        let result = read_result(&place, 1).expect("readable").expect("done");
        assert!(result.predictions.len() >= 14, "{}", result.predictions.len());
        assert!(result.epochs[0].training_loss.is_finite());
        let model = folder.join(name_of(network));
        fs::create_dir(&model).expect("a folder");
        let mut engine =
            on_device::engine(&model, &fs::read(place.join("fold-01/model.onnx")).expect("exported"), &spec);
        for prediction in result.predictions.iter().take(3) {
            let grey = films.greys[prediction.film].clone();
            let grey = Tensor::<4>::from_data(TensorData::new(grey, [1, 1, height, width]), &Device::flex());
            let values: Vec<f32> = network.normalise(Tensor::cat(vec![grey; 3], 1)).into_data().iter::<f32>().collect();
            let input = ModelInput {
                shape: [1, 3, height, width],
                values,
                window: Window { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 },
            };
            let answer = engine.classify(&input).expect("an answer");
            let found = Probabilities::from_logits(answer.logits, 1.0).expect("numbers");
            for (finding, expected) in Finding::ALL.into_iter().zip(prediction.probabilities) {
                let difference = (found.of(finding).get() - expected).abs();
                assert!(difference <= 1e-4, "{network}: {finding:?} differs by {difference}");
            }
        }
    }
}

#[test]
fn what_cannot_be_compared_is_said_before_anything_is_learned() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let data = support::data(folder);
    let imagenet = support::imagenet_like(folder);
    let run = |weights: &str| Run::new(folder, "out", &[weights]);
    let good = run("mobilenet-v2=random");

    fails(&mut good.command(&["--network", "vgg19"]), "no weights for VGG19: pass --weights vgg19=FILE, or --weights");
    fails(&mut good.command(&["--only-fold", "3"]), "there is no fold 3: expected 0 to 2");
    let status = |weights: &str| run(weights).command(&[]).output().expect("starts").status.code();
    assert_eq!((status("lenet=random"), status("vgg19")), (Some(2), Some(2)));

    let out = |run: &Run| drop(fs::remove_dir_all(&run.out));
    let manifest = fs::read_to_string(data.join("manifest.csv")).expect("a manifest");
    let with = |keep: &dyn Fn(&str) -> bool| {
        let kept: String = manifest.lines().filter(|line| keep(line)).map(|line| format!("{line}\n")).collect();
        fs::write(data.join("manifest.csv"), kept).expect("written");
    };
    with(&|line| !line.contains(",covid19,train"));
    fails(&mut good.command(&[]), "no covid19 films: the networks learn covid19, pneumonia and normal");
    with(&|line| !line.contains(",covid19,train") || line.contains("Southcovid191"));
    fails(&mut good.command(&[]), "the 2 covid19 films belong to 1 group, and 3 folds need at least 3");
    let twice = format!("{manifest}twin.png,covid19,train,North,twin\n");
    fs::copy(data.join("North-covid19-0.png"), data.join("twin.png")).expect("copied");
    fs::write(data.join("manifest.csv"), twice).expect("written");
    fails(&mut good.command(&[]), "North-covid19-0.png and twin.png are the same picture, but their groups differ");
    with(&|_| true);

    let folds = folder.join("folds.csv");
    let text: String = manifest.lines().skip(1).enumerate().fold("file,fold\n".into(), |text, (number, line)| {
        format!("{text}{},{}\n", line.split(',').next().unwrap_or_default(), number % 3)
    });
    fs::write(&folds, text).expect("written");
    fails(&mut good.command(&["--folds", &folds.display().to_string()]), "a patient may be in one fold only");

    let at = |path: &Path| run(&format!("mobilenet-v2={}", path.display()));
    out(&good);
    fails(&mut at(&folder.join("none.safetensors")).command(&[]), "none.safetensors: No such file");
    out(&good);
    let (mut weights, metadata) = Weights::read(&imagenet).expect("weights");
    weights.0.insert("features.18.1.bias".into(), Array { shape: vec![7], values: vec![0.0; 7] });
    weights.0.remove("features.3.conv.1.0.weight");
    let bad = folder.join("bad.safetensors");
    weights.write(&bad, &metadata).expect("written");
    fails(&mut at(&bad).command(&[]), "1 missing (features.3.conv.1.0.weight)");
    out(&good);
    fails(&mut at(&bad).command(&[]), "features.18.1.bias is [7], expected [1280]");
    out(&good);
    fails(&mut run(&format!("xception={}", imagenet.display())).command(&[]), "Xception");
    out(&good);
    fails(&mut run("inception-v3=random").command(&["--size", "64x64"]), "needs an input of at least 75 × 75");
    out(&good);
    fs::write(data.join("manifest.csv"), "file,label,split,source,group_id\nbroken.png,normal,train,s,1\n")
        .expect("written");
    fails(&mut good.command(&[]), "none of 1 films could be read; the first: broken.png: ");
}
