//! Prints how fast this machine runs a network: fused and as stock tract, with one thread and two.
//!
//! `cargo run --release --example engine_speed -- [MODEL_DIRECTORY]`; without a model, a MobileNetV2 of random weights.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use lightbox::bundle::{VerifiedModel, open};
use lightbox::domain::{ModelInput, Window};
use lightbox::engine::{EngineOptions, TractClassifier};
use lightbox::ports::Classifier;

#[path = "../tests/support/model.rs"]
mod model;
#[path = "../tests/support/network.rs"]
mod network;

const ROUNDS: usize = 15;
const RUNS: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = tempfile::tempdir()?;
    let model = match argument {
        Some(dir) => open(&dir)?,
        None => {
            let spec = network::Spec::default();
            model::model(folder.path(), &spec, &network::mobilenet_v2(&spec))
        }
    };
    let shape = model.manifest().input.shape();
    let spec = network::Spec { channels: shape[1], height: shape[2], width: shape[3], ..Default::default() };
    let window = Window { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 };
    let input = ModelInput { shape, values: spec.input(7), window };

    let mut rows = Vec::new();
    for (name, fused, threads) in [("stock tract", false, 1), ("fused", true, 1), ("fused", true, 2)] {
        let options = EngineOptions { threads, fused };
        let loads: Vec<f64> =
            (0..5).map(|_| milliseconds(|| load(&model, options).map(drop))).collect::<Result<_, _>>()?;
        rows.push((name, threads, load(&model, options)?, Vec::new(), median(loads)));
    }
    // Turn and turn about, so that whatever else the machine does falls on all alike.
    for _ in 0..ROUNDS {
        for (_, _, classifier, times, _) in &mut rows {
            for _ in 0..RUNS {
                times.push(milliseconds(|| classifier.classify(&input).map(|output| drop(black_box(output))))?);
            }
        }
    }
    println!("{:12} {:>7} {:>6} {:>9} {:>9} {:>8}", "engine", "threads", "fused", "median ms", "least ms", "load ms");
    for (name, threads, classifier, times, load) in rows {
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        let fused = classifier.fused_layers();
        println!("{name:12} {threads:>7} {fused:>6} {:>9.2} {least:>9.2} {load:>8.1}", median(times));
    }
    Ok(())
}

fn load(model: &VerifiedModel, options: EngineOptions) -> Result<TractClassifier, lightbox::engine::EngineError> {
    TractClassifier::load_with(model, options)
}

fn milliseconds<E>(work: impl FnOnce() -> Result<(), E>) -> Result<f64, E> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
