//! Runs the network. The only module that names tract.
//!
//! The layers of a MobileNetV2 are taken out of the ONNX graph ([`recognise`]) and run as fused operators of our own
//! ([`block`], [`layers`]) over kernels for the processor at hand ([`kernels`]). A graph whose other nodes are known too
//! runs by itself ([`program`]); else tract runs it, and what is not recognised is tract's.

mod block;
mod kernels;
mod layer;
mod layers;
mod lift;
mod load;
#[cfg(test)]
#[path = "../../tests/support/network.rs"]
mod network;
mod op;
mod pack;
mod pool;
mod program;
mod recognise;
#[cfg(test)]
mod tests;

#[cfg(test)]
use network::draw;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use pool::MAX_THREADS;
use program::Wanted;
use tract_core::prelude::TractResult;

use crate::bundle::VerifiedModel;
use crate::domain::{ModelInput, ModelOutput, SaliencyMap};
use crate::ports::{Classifier, ClassifyError};

/// A network that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("cannot load the network of model {model}: {reason}")]
pub struct EngineError {
    /// Name of the model.
    model: String,
    /// What tract says.
    reason: String,
}

/// How the network is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads that share the work, the caller's among them: 1 to 64. The result does not depend on it.
    pub threads: usize,
    /// Whether layers are fused. Without it everything is tract's own, slower: a reference to compare with.
    pub fused: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { threads: 1, fused: true }
    }
}

/// A verified network, loaded and ready.
pub struct TractClassifier {
    network: load::Network,
    positions: [usize; 3],
    shape: [usize; 4],
    fused: usize,
}

/// Outputs of the network, as [`load()`] names them: those that are asked for.
const LOGITS: Wanted = 1;
const MAPS: Wanted = 1 << 1;
const FEATURES: Wanted = 1 << 2;

impl TractClassifier {
    /// Parses, checks and packs the network for one thread.
    ///
    /// # Errors
    /// When tract does not take the file, or an input or output named by the manifest is not there.
    pub fn load(model: &VerifiedModel) -> Result<Self, EngineError> {
        Self::load_with(model, EngineOptions::default())
    }

    /// Parses, checks and packs the network.
    ///
    /// # Errors
    /// As [`TractClassifier::load`]; and when the system does not give the threads.
    pub fn load_with(model: &VerifiedModel, options: EngineOptions) -> Result<Self, EngineError> {
        let manifest = model.manifest();
        let shape = manifest.input.shape();
        let loaded = load(model, options).map_err(|error| EngineError {
            model: manifest.name.clone(),
            // The alternate form has the whole chain of causes.
            reason: format!("{error:#}"),
        })?;
        Ok(Self { network: loaded.network, positions: manifest.positions, shape, fused: loaded.fused })
    }

    /// How many layers run as fused operators; 0 where the network is tract's alone.
    pub fn fused_layers(&self) -> usize {
        self.fused
    }

    /// Whether the network runs without tract, so that what is not asked for is not computed.
    pub fn is_alone(&self) -> bool {
        matches!(self.network, load::Network::Program(_))
    }

    /// The logits alone, the same as those of [`Classifier::classify`]: what other runtimes are compared with.
    ///
    /// # Errors
    /// As [`Classifier::classify`].
    pub fn logits(&mut self, input: &ModelInput) -> Result<[f32; 3], ClassifyError> {
        let [logits, ..] = self.run(input, LOGITS).map_err(ClassifyError)?;
        self.in_order(&logits).map_err(ClassifyError)
    }

    /// Logits, maps and features, as far as they are asked for.
    fn run(&mut self, input: &ModelInput, wanted: Wanted) -> Result<[load::Output; 3], String> {
        if input.shape != self.shape {
            return Err(format!("the input is {:?}, the network takes {:?}", input.shape, self.shape));
        }
        let outputs = self.network.run(&self.shape, &input.values, wanted).map_err(|e| format!("{e:#}"))?;
        outputs.try_into().map_err(|found: Vec<load::Output>| format!("{} outputs, expected 3", found.len()))
    }

    fn in_order(&self, (_, logits): &load::Output) -> Result<[f32; 3], String> {
        match *logits.as_slice() {
            [a, b, c] => Ok(self.positions.map(|position| [a, b, c][position])),
            _ => Err(format!("{} logits, expected 3", logits.len())),
        }
    }

    fn answer(&mut self, input: &ModelInput) -> Result<ModelOutput, String> {
        let [logits, (shape, maps), (_, features)] = self.run(input, LOGITS | MAPS | FEATURES)?;
        let &[1, 3, height, width] = shape.as_slice() else {
            return Err(format!("maps of shape {shape:?}, expected [1, 3, height, width]"));
        };
        let cells = height * width;
        let map = |position: usize| SaliencyMap {
            width,
            height,
            values: maps[position * cells..(position + 1) * cells].to_vec(),
        };
        Ok(ModelOutput { logits: self.in_order(&logits)?, maps: self.positions.map(map), features })
    }
}

impl Classifier for TractClassifier {
    fn classify(&mut self, input: &ModelInput) -> Result<ModelOutput, ClassifyError> {
        self.answer(input).map_err(ClassifyError)
    }

    fn features(&mut self, input: &ModelInput) -> Result<Vec<f32>, ClassifyError> {
        self.run(input, FEATURES).map(|[_, _, (_, features)]| features).map_err(ClassifyError)
    }
}

/// What one core of this machine can compute at best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// The instruction set of the kernels.
    pub kernels: &'static str,
    /// Floating-point operations a second, the fastest of many short spells.
    pub flops: f64,
}

impl Peak {
    /// Multiplies and adds for `span`.
    pub fn measure(span: Duration) -> Self {
        const ROUNDS: usize = 20_000;
        let kernels = kernels::found()[0];
        let start = Instant::now();
        let mut flops = 0.0f64;
        while start.elapsed() < span {
            let spell = Instant::now();
            let operations = kernels.peak(ROUNDS);
            flops = flops.max(operations / spell.elapsed().as_secs_f64());
        }
        Self { kernels: kernels.name, flops }
    }
}

fn load(model: &VerifiedModel, options: EngineOptions) -> TractResult<load::Loaded> {
    let manifest = model.manifest();
    let outputs = &manifest.outputs;
    let interface = load::Interface {
        input: &manifest.input_name,
        shape: &manifest.input.shape(),
        outputs: &[&outputs.logits, &outputs.maps, &outputs.features],
    };
    if options.fused {
        let (rest, lifted) = lift::Lifted::out_of(model.network());
        let network = load::parse(&rest)?;
        let pool = Arc::new(pool::Pool::new(options.threads)?);
        let kernels = kernels::found()[0];
        match load::fused(network, &lifted, &interface, kernels, &pool, true) {
            Ok(loaded) => return Ok(loaded),
            Err(error) => log::warn!("{}: runs without fused layers, slower: {error:#}", manifest.name),
        }
    }
    load::stock(&load::parse(model.network())?, &interface)
}
