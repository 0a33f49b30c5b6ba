//! Runs the network. The only module that names tract.

use std::io::Cursor;
use std::sync::Arc;

use tract_core::prelude::*;
use tract_onnx::prelude::InferenceModelExt;

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

/// A verified network, loaded and ready.
pub struct TractClassifier {
    plan: Arc<TypedRunnableModel>,
    positions: [usize; 3],
    shape: [usize; 4],
}

impl TractClassifier {
    /// Parses, checks and optimises the network.
    ///
    /// # Errors
    /// When tract does not take the file, or an input or output named by the manifest is not there.
    pub fn load(model: &VerifiedModel) -> Result<Self, EngineError> {
        let manifest = model.manifest();
        let shape = manifest.input.shape();
        let plan = plan(model).map_err(|error| EngineError {
            model: manifest.name.clone(),
            // The alternate form has the whole chain of causes.
            reason: format!("{error:#}"),
        })?;
        Ok(Self { plan, positions: manifest.positions, shape })
    }

    fn run(&self, input: &ModelInput) -> Result<ModelOutput, String> {
        if input.shape != self.shape {
            return Err(format!("the input is {:?}, the network takes {:?}", input.shape, self.shape));
        }
        let tensor = Tensor::from_shape(&input.shape, &input.values).map_err(|e| format!("{e:#}"))?;
        let outputs = self.plan.run(tvec!(tensor.into_tvalue())).map_err(|e| format!("{e:#}"))?;
        let [logits, maps, features] = outputs.as_slice() else {
            return Err(format!("{} outputs, expected 3", outputs.len()));
        };
        let raw_logits: [f32; 3] =
            floats(logits)?.try_into().map_err(|found: Vec<f32>| format!("{} logits, expected 3", found.len()))?;
        let &[1, 3, height, width] = maps.shape() else {
            return Err(format!("maps of shape {:?}, expected [1, 3, height, width]", maps.shape()));
        };
        let all = floats(maps)?;
        let cells = height * width;
        let map = |position: usize| SaliencyMap {
            width,
            height,
            values: all[position * cells..(position + 1) * cells].to_vec(),
        };
        Ok(ModelOutput {
            logits: self.positions.map(|position| raw_logits[position]),
            maps: self.positions.map(map),
            features: floats(features)?,
        })
    }
}

impl Classifier for TractClassifier {
    fn classify(&mut self, input: &ModelInput) -> Result<ModelOutput, ClassifyError> {
        self.run(input).map_err(ClassifyError)
    }
}

fn plan(model: &VerifiedModel) -> TractResult<Arc<TypedRunnableModel>> {
    let manifest = model.manifest();
    let outputs = &manifest.outputs;
    tract_onnx::onnx()
        .model_for_read(&mut Cursor::new(model.network()))?
        .with_input_names([&manifest.input_name])?
        .with_outputs_by_name([&outputs.logits, &outputs.maps, &outputs.features])?
        .with_input_fact(0, f32::fact(manifest.input.shape()).into())?
        .into_optimized()?
        .into_runnable()
}

fn floats(tensor: &TValue) -> Result<Vec<f32>, String> {
    let view = tensor.try_as_plain_ram().map_err(|e| format!("{e:#}"))?;
    Ok(view.as_slice::<f32>().map_err(|e| format!("{e:#}"))?.to_vec())
}
