//! From the bytes of an ONNX file to a network that runs.

use std::io::Cursor;
use std::sync::Arc;

use tract_core::internal::*;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{Framework, InferenceModelExt};

use super::kernels::Kernels;
use super::lift::Lifted;
use super::op::FusedOp;
use super::pool::Pool;
use super::program::{Program, Wanted};
use super::recognise::{Recognised, recognise};

/// Names and shape that a network is loaded with.
pub(super) struct Interface<'a> {
    /// Name of the input.
    pub(super) input: &'a str,
    /// Shape of the input.
    pub(super) shape: &'a [usize],
    /// Names of the outputs, in the order in which they are wanted.
    pub(super) outputs: &'a [&'a str],
}

/// A network that runs, and how many of its layers are fused.
pub(super) struct Loaded {
    pub(super) network: Network,
    pub(super) fused: usize,
}

/// What runs a network.
pub(super) enum Network {
    /// We alone.
    Program(Program),
    /// tract, with our layers in it where there are any.
    Tract(Arc<TypedRunnableModel>),
}

impl Network {
    /// Shape and values of the outputs that are asked for, in the order of the interface; of the others nothing can be
    /// said.
    ///
    /// # Errors
    /// When an operator fails.
    pub(super) fn run(&mut self, shape: &[usize], input: &[f32], wanted: Wanted) -> TractResult<Vec<Output>> {
        match self {
            Self::Program(program) => {
                program.run(input, wanted)?;
                let given = |index: usize| {
                    if wanted >> index & 1 == 0 {
                        return Output::default();
                    }
                    let (shape, values) = program.output(index);
                    (shape.to_vec(), values.to_vec())
                };
                Ok((0..program.outputs()).map(given).collect())
            }
            Self::Tract(plan) => {
                let input = Tensor::from_shape(shape, input)?;
                let outputs = plan.run(tvec!(input.into_tvalue()))?;
                let given = |output: &TValue| {
                    Ok((output.shape().to_vec(), output.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()))
                };
                outputs.iter().map(given).collect()
            }
        }
    }
}

/// Shape and values.
pub(super) type Output = (Vec<usize>, Vec<f32>);

/// Parses a file.
pub(super) fn parse(file: &[u8]) -> TractResult<ModelProto> {
    tract_onnx::onnx().proto_model_for_read(&mut Cursor::new(file))
}

/// The network with tract's own operators only.
pub(super) fn stock(model: &ModelProto, interface: &Interface<'_>) -> TractResult<Loaded> {
    plan(model, interface, |_, _| Ok(())).map(|plan| Loaded { network: Network::Tract(plan), fused: 0 })
}

/// The network with every layer fused that is recognised; `lifted` has the larger constants of `model`. Where all of it
/// is, and `alone` is set, tract has no part in it.
pub(super) fn fused(
    mut model: ModelProto,
    lifted: &Lifted<'_>,
    interface: &Interface<'_>,
    kernels: &'static Kernels,
    pool: &Arc<Pool>,
    alone: bool,
) -> TractResult<Loaded> {
    let graph = model.graph.take().context("the file has no graph")?;
    let Recognised { graph, layers } = recognise(graph, lifted, kernels, pool);
    let fused = layers.len();
    if alone && let Some(program) = Program::of(&graph, &layers, interface, kernels, pool) {
        return Ok(Loaded { network: Network::Program(program), fused });
    }
    model.graph = Some(graph);
    let plan = plan(&model, interface, |name, op| {
        if let Some(layer) = layers.get(name) {
            *op = FusedOp::wrap(Arc::clone(layer), Arc::clone(pool));
        }
        Ok(())
    })?;
    Ok(Loaded { network: Network::Tract(plan), fused })
}

fn plan(
    model: &ModelProto,
    interface: &Interface<'_>,
    replace: impl Fn(&str, &mut Box<dyn tract_onnx::tract_hir::infer::InferenceOp>) -> TractResult<()>,
) -> TractResult<Arc<TypedRunnableModel>> {
    let graph = model.graph.as_ref().context("the file has no graph")?;
    for output in &graph.output {
        // tract takes for granted that it is there.
        let written = graph.node.iter().flat_map(|node| &node.output).any(|name| *name == output.name);
        let given = graph.input.iter().any(|input| input.name == output.name);
        let constant = graph.initializer.iter().any(|tensor| tensor.name == output.name);
        ensure!(written || given || constant, "no node writes the output {:?}", output.name);
    }
    let mut model = tract_onnx::onnx().model_for_proto_model(model)?;
    for node in &mut model.nodes {
        replace(&node.name, &mut node.op)?;
    }
    model
        .with_input_names([interface.input])?
        .with_outputs_by_name(interface.outputs)?
        .with_input_fact(0, f32::fact(interface.shape).into())?
        .into_optimized()?
        .into_runnable()
}
