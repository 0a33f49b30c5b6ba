//! The five networks as ONNX graphs for the device's engine: batch normalisation folded, Grad-CAM in the graph.
//!
//! The graph has the outputs of the released model, so that the same engine reads it: logits, maps and a feature vector,
//! here the pooled features. Its input is what [`PaperNetwork::forward`] takes, already normalised.

use std::path::{Path, PathBuf};

use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;

use super::plan::{Activation, Operation, Window};
use super::{Kernel, PaperNetwork};
use crate::export::graph::{FEATURE_VECTOR, GraphError, Head, INPUT, LOGITS, values, write_head};
use crate::export::onnx::{Attribute, Graph};
use crate::network::fold::fold;

/// Probabilities `[1, classes]`: softmax of the logits, without a temperature.
pub const PROBABILITIES: &str = "probabilities";

/// A network that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// Not every layer has room.
    #[error("inputs of {height}x{width} are too small for {title}: expected {least}x{least} or larger")]
    Size {
        /// Rows asked for.
        height: usize,
        /// Columns asked for.
        width: usize,
        /// Which network.
        title: &'static str,
        /// The least of both.
        least: usize,
    },
    /// A layer cannot be written.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The file cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Writes `network` for inputs `[1, 3, height, width]`, in single precision; the file is there as a whole or not at all.
///
/// # Errors
/// When the size is too small or the file cannot be written.
pub fn write_onnx(network: &PaperNetwork, size: [usize; 2], path: &Path) -> Result<(), OnnxError> {
    let bytes = onnx(network, size)?;
    crate::files::replace(path, &bytes).map_err(|source| OnnxError::Io { path: path.into(), source })
}

/// The bytes of [`write_onnx`].
///
/// # Errors
/// When the size is too small.
pub fn onnx(network: &PaperNetwork, size: [usize; 2]) -> Result<Vec<u8>, OnnxError> {
    let architecture = network.architecture();
    let sizes = network.plan().sizes(size);
    let least = architecture.smallest_side();
    if size.iter().any(|side| *side < least) || sizes.iter().flatten().any(|side| *side == 0) {
        let [height, width] = size;
        return Err(OnnxError::Size { height, width, title: architecture.title(), least });
    }
    let mut graph = Graph::new(architecture.title());
    graph.input(INPUT, &[1, 3, size[0], size[1]]);
    graph.floats("zero", &[], &[0.0]);
    graph.floats("six", &[], &[6.0]);
    let last = Writer { network, sizes: &sizes, graph: &mut graph }.layers()?;
    let [rows, columns] = sizes[sizes.len() - 1];
    let layers: Vec<&Linear> = network.head.hidden.iter().chain([&network.head.last]).collect();
    let (pooled, size) = (FEATURE_VECTOR, [rows, columns]);
    write_head(&mut graph, &Head { layers: &layers, pooled, last: &last, size, keep: Graph::floats })?;
    graph.operator("Softmax", PROBABILITIES, &[LOGITS], vec![Attribute::int("axis", 1)]);
    graph.output(FEATURE_VECTOR, &[1, architecture.features()]);
    graph.output(PROBABILITIES, &[1, network.head.last.weight.dims()[1]]);
    Ok(graph.into_bytes())
}

/// A value in the graph, and the zeros that the next convolution is to add around it.
#[derive(Clone, Default)]
struct Value {
    name: String,
    pads: [(usize, usize); 2],
}

struct Writer<'a> {
    network: &'a PaperNetwork,
    sizes: &'a [[usize; 2]],
    graph: &'a mut Graph,
}

impl Writer<'_> {
    /// Writes all layers and returns the name of the last one's value.
    fn layers(&mut self) -> Result<String, GraphError> {
        let plan = self.network.plan();
        let mut written: Vec<Option<Value>> = vec![None; plan.layers.len()];
        written[0] = Some(Value { name: INPUT.into(), ..Value::default() });
        for number in 1..plan.layers.len() {
            if written[number].is_some() {
                continue;
            }
            let inputs: Vec<Value> =
                plan.layers[number].inputs.iter().map(|i| written[*i].clone().unwrap_or_default()).collect();
            let norm = plan.normalisation_after(number);
            let value = self.layer(number, norm, &inputs)?;
            written[norm.unwrap_or(number)] = Some(value);
        }
        Ok(written.pop().flatten().unwrap_or_default().name)
    }

    /// Writes one layer, together with the batch normalisation `norm` that alone reads it.
    fn layer(&mut self, number: usize, norm: Option<usize>, inputs: &[Value]) -> Result<Value, GraphError> {
        let layer = &self.network.plan().layers[number];
        let name = layer.name.as_str();
        let names: Vec<&str> = inputs.iter().map(|v| v.name.as_str()).collect();
        let from = layer.inputs.first().map_or([0, 0], |i| self.sizes[*i]);
        let mut done = name.to_string();
        match layer.operation {
            Operation::Input => {}
            Operation::Pad(window) => {
                return Ok(Value { name: names[0].into(), pads: window.sides(from) });
            }
            Operation::Convolution { window, relu, .. } => {
                self.convolutions(number, norm, &inputs[0], &window)?;
                if relu {
                    done = format!("{name}.relu");
                    self.graph.operator("Relu", &done, &[name], vec![]);
                }
            }
            Operation::Depthwise(window) | Operation::Separable(window) => {
                self.convolutions(number, norm, &inputs[0], &window)?;
            }
            Operation::Normalisation { .. } => return Err(GraphError::NotFolded { layer: name.into() }),
            Operation::Activation(Activation::Relu) => self.graph.operator("Relu", name, &names, vec![]),
            Operation::Activation(Activation::Relu6) => {
                self.graph.operator("Clip", name, &[names[0], "zero", "six"], vec![]);
            }
            Operation::MaxPool(window) => {
                let attributes = window_attributes(&window, window.sides(from));
                self.graph.operator("MaxPool", name, &names, attributes);
            }
            Operation::AveragePool { window, counts_padding } => {
                let mut attributes = window_attributes(&window, window.sides(from));
                attributes.push(Attribute::int("count_include_pad", i64::from(counts_padding)));
                self.graph.operator("AveragePool", name, &names, attributes);
            }
            Operation::Concatenate => {
                self.graph.operator("Concat", name, &names, vec![Attribute::int("axis", 1)]);
            }
            Operation::Add(factor) => {
                let (constant, scaled) = (format!("{name}.factor"), format!("{name}.scaled"));
                let mut second = names[1];
                if factor != 1.0 {
                    self.graph.floats(&constant, &[], &[factor as f32]);
                    self.graph.operator("Mul", &scaled, &[second, &constant], vec![]);
                    second = &scaled;
                }
                self.graph.operator("Add", name, &[names[0], second], vec![]);
            }
        }
        Ok(Value { name: done, pads: [(0, 0); 2] })
    }

    /// The value has the layer's name.
    fn convolutions(
        &mut self,
        number: usize,
        norm: Option<usize>,
        input: &Value,
        window: &Window,
    ) -> Result<(), GraphError> {
        let plan = self.network.plan();
        let layer = &plan.layers[number];
        let from = layer.inputs.first().map_or([0, 0], |i| self.sizes[*i]);
        let (mut pads, added) = (window.sides(from), input.pads);
        for (pad, added) in pads.iter_mut().zip(added) {
            *pad = (pad.0 + added.0, pad.1 + added.1);
        }
        let norm = match norm.map(|n| self.network.kernel(plan.layers[n].weights)) {
            Some(Kernel::Normalisation(norm)) => Some(norm),
            _ => None,
        };
        let folded = |conv: &Conv2d| match norm {
            Some(norm) => fold(conv.clone(), norm),
            None => conv.clone(),
        };
        match self.network.kernel(layer.weights) {
            Kernel::Convolution(conv) => self.convolution(&layer.name, &input.name, &folded(conv), window, pads),
            Kernel::Separable(kernel) => {
                let between = format!("{}.depthwise", layer.name);
                self.convolution(&between, &input.name, &kernel.depthwise, window, pads)?;
                let point = Window { kernel: [1, 1], stride: 1, ..*window };
                self.convolution(&layer.name, &between, &folded(&kernel.pointwise), &point, [(0, 0); 2])
            }
            Kernel::Normalisation(_) => Err(GraphError::NotFolded { layer: layer.name.clone() }),
        }
    }

    fn convolution(
        &mut self,
        name: &str,
        x: &str,
        conv: &Conv2d,
        window: &Window,
        pads: [(usize, usize); 2],
    ) -> Result<(), GraphError> {
        let weight = format!("{name}.weight");
        self.constant(&weight, conv.weight.val())?;
        let bias = format!("{name}.bias");
        let mut inputs = vec![x, weight.as_str()];
        if let Some(values) = &conv.bias {
            self.constant(&bias, values.val())?;
            inputs.push(&bias);
        }
        let mut attributes = window_attributes(window, pads);
        attributes.push(Attribute::ints("dilations", &[1, 1]));
        attributes.push(Attribute::int("group", conv.groups as i64));
        self.graph.operator("Conv", name, &inputs, attributes);
        Ok(())
    }

    fn constant<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<(), GraphError> {
        let shape = tensor.dims();
        self.graph.floats(name, &shape, &values(name, tensor)?);
        Ok(())
    }
}

fn window_attributes(window: &Window, [rows, columns]: [(usize, usize); 2]) -> Vec<Attribute> {
    vec![
        Attribute::ints("kernel_shape", &window.kernel.map(|k| k as i64)),
        Attribute::ints("strides", &[window.stride as i64; 2]),
        // Before rows, before columns, after rows, after columns.
        Attribute::ints("pads", &[rows.0, columns.0, rows.1, columns.1].map(|n| n as i64)),
    ]
}
