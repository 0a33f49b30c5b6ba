//! Runs a network when told to, and says how long it took: what `tools/peer-bench` compares with other runtimes.
//!
//! `engine_worker --model DIRECTORY --input FILE [--threads N] [--stock] [--logits] [--runs N]`
//!
//! The input is a file of little-endian f32. With `--logits` nothing else is computed: neither the maps of Grad-CAM nor
//! the features that novelty is measured by. With `--runs` the network is run that often and the program ends; else
//! commands come in, a line each, and answers go out, one JSON object a line: `run N` (the time of each run in
//! nanoseconds), `outputs`, `peak` (the processor's best, in floating-point operations a second), `quit`.

use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lightbox::bundle::open;
use lightbox::domain::{ModelInput, Window};
use lightbox::engine::{EngineOptions, Peak, TractClassifier};
use lightbox::ports::{Classifier, ClassifyError};
use serde_json::{Value, json};

#[derive(Default)]
struct Arguments {
    model: PathBuf,
    input: PathBuf,
    options: EngineOptions,
    logits_only: bool,
    runs: Option<usize>,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut found = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--model" => found.model = value()?.into(),
            "--input" => found.input = value()?.into(),
            "--threads" => found.options.threads = value()?.parse()?,
            "--runs" => found.runs = Some(value()?.parse()?),
            "--stock" => found.options.fused = false,
            "--logits" => found.logits_only = true,
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(found)
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { model, input, options, logits_only, runs } = arguments()?;
    let before = memory_kb("VmRSS");
    let start = Instant::now();
    let mut model = open(&model)?;
    let mut classifier = TractClassifier::load_with(&model, options)?;
    model.release_network();
    let load = start.elapsed();
    let bytes = std::fs::read(input)?;
    let (numbers, _) = bytes.as_chunks();
    let input = ModelInput {
        shape: model.manifest().input.shape(),
        values: numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        window: Window { left: 0.0, top: 0.0, right: 1.0, bottom: 1.0 },
    };
    let ask = |classifier: &mut TractClassifier| -> Result<(), ClassifyError> {
        if logits_only {
            black_box(classifier.logits(black_box(&input))?);
        } else {
            black_box(classifier.classify(black_box(&input))?);
        }
        Ok(())
    };
    if let Some(runs) = runs {
        for _ in 0..runs {
            ask(&mut classifier)?;
        }
        return Ok(());
    }
    answer(&json!({
        "load_ms": load.as_secs_f64() * 1e3, "rss_before_kb": before, "fused_layers": classifier.fused_layers(),
    }))?;
    for line in stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("run", count) => {
                let mut times = Vec::new();
                for _ in 0..count.parse()? {
                    let start = Instant::now();
                    ask(&mut classifier)?;
                    times.push(start.elapsed().as_nanos());
                }
                answer(&json!({"ns": times}))?;
            }
            ("outputs", _) => {
                if logits_only {
                    answer(&json!({"logits": classifier.logits(&input)?}))?;
                    continue;
                }
                let output = classifier.classify(&input)?;
                let maps: Vec<f32> = output.maps.iter().flat_map(|map| map.values.clone()).collect();
                answer(&json!({"logits": output.logits, "maps": maps, "features": output.features}))?;
            }
            ("peak", _) => {
                let peak = Peak::measure(Duration::from_millis(300));
                answer(&json!({"kernels": peak.kernels, "flops": peak.flops}))?;
            }
            ("quit", _) => {
                answer(&json!({"peak_kb": memory_kb("VmHWM")}))?;
                break;
            }
            _ => return Err(format!("unknown command {line:?}").into()),
        }
    }
    Ok(())
}

fn answer(value: &Value) -> Result<(), Box<dyn Error>> {
    let mut out = stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

/// A line of this process's status, in KiB; nothing where the system has none.
fn memory_kb(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok())
}
