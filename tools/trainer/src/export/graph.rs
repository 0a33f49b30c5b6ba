//! A folded network as an ONNX graph, with the Grad-CAM maps of all classes computed in it.

use burn::nn::Linear;
use burn::tensor::Tensor;

use super::onnx::{Attribute, Graph};
use crate::network::Network;
use crate::network::mobilenet_v2::ConvNorm;

/// Names in the graph.
pub const INPUT: &str = "image";
/// `[1, 3]`, in the order of `Finding::ALL`.
pub const LOGITS: &str = "logits";
/// `[1, 3, h, w]`, not negative.
pub const MAPS: &str = "maps";
/// `[1, n]`: features of a middle block over 3 × 3 fields of the film, for telling films unlike those learned from.
pub const FEATURE_VECTOR: &str = "features";
/// The block whose output [`FEATURE_VECTOR`] is made of: 32 channels, an eighth of the film's size.
pub const FEATURE_BLOCK: usize = 6;
/// Fields a side.
const FIELDS: usize = 3;

/// A network that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// Batch normalisation is still there.
    #[error("{layer} has batch normalisation: fold the network before it is written")]
    NotFolded {
        /// Which layer.
        layer: String,
    },
    /// A tensor that is not f32.
    #[error("{name} cannot be read: {detail}")]
    Values {
        /// Which tensor.
        name: String,
        /// What burn says.
        detail: String,
    },
}

/// What is in a tensor.
pub(crate) fn values<const D: usize>(name: &str, tensor: Tensor<D>) -> Result<Vec<f32>, GraphError> {
    let read = tensor.into_data().try_to_vec::<f32>();
    read.map_err(|e| GraphError::Values { name: name.into(), detail: format!("{e:?}") })
}

/// The ONNX file of `network`, for inputs `[1, 1, height, width]`. Weights in half precision, biases in single.
///
/// # Errors
/// When the network was not folded.
pub fn write(network: &Network, height: usize, width: usize) -> Result<Vec<u8>, GraphError> {
    let mut graph = Graph::new("lightbox");
    graph.input(INPUT, &[1, 1, height, width]);
    graph.floats("zero", &[], &[0.0]);
    graph.floats("six", &[], &[6.0]);

    let (mut x, mut rows, mut columns) = (INPUT.to_string(), height, width);
    for (number, block) in network.trunk.features.iter().enumerate() {
        let entry = x.clone();
        let clipped = |graph: &mut Graph, y: String| {
            let name = format!("{y}.relu6");
            graph.operator("Clip", &name, &[&y, "zero", "six"], vec![]);
            name
        };
        for (name, layer) in [("expand", &block.expand), ("depthwise", &block.depthwise)] {
            if let Some(layer) = layer {
                let y = convolution(&mut graph, layer, &format!("block{number}.{name}"), &x)?;
                x = clipped(&mut graph, y);
            }
        }
        x = convolution(&mut graph, &block.project, &format!("block{number}.project"), &x)?;
        if block.activated {
            x = clipped(&mut graph, x);
        }
        if block.residual {
            let sum = format!("block{number}.sum");
            graph.operator("Add", &sum, &[&x, &entry], vec![]);
            x = sum;
        }
        (rows, columns) = (rows.div_ceil(block.stride), columns.div_ceil(block.stride));
        if number == FEATURE_BLOCK {
            let channels = block.project.conv.weight.dims()[0];
            fields(&mut graph, &x, rows, columns);
            graph.output(FEATURE_VECTOR, &[1, channels * FIELDS * FIELDS]);
        }
    }

    let Network { head, .. } = network;
    let layers = [&head.first, &head.second, &head.last];
    write_head(
        &mut graph,
        &Head { layers: &layers, pooled: "pooled", last: &x, size: [rows, columns], keep: Graph::halves },
    )?;
    Ok(graph.into_bytes())
}

/// What follows the last feature maps.
pub(crate) struct Head<'a> {
    /// Linear layers; ReLU follows all of them but the last.
    pub(crate) layers: &'a [&'a Linear],
    /// What the pooled features are called.
    pub(crate) pooled: &'a str,
    /// What the last feature maps are called.
    pub(crate) last: &'a str,
    /// Their rows and columns.
    pub(crate) size: [usize; 2],
    /// How weights are kept: [`Graph::halves`] or [`Graph::floats`]. Biases are in single precision.
    pub(crate) keep: fn(&mut Graph, &str, &[usize], &[f32]),
}

/// Pooling, linear layers, logits, and from these backwards the maps of Grad-CAM (Selvaraju 2017), exactly: pooling
/// followed by linear layers with ReLU has the derivative `∂logit/∂pooled = … · W₂ᵀ · m₁ · W₁ᵀ` with masks m of the hidden
/// values above zero, and each place has an equal part in the pooled value. Logits and maps become outputs.
///
/// # Errors
/// When a weight cannot be read.
pub(crate) fn write_head(graph: &mut Graph, head: &Head<'_>) -> Result<(), GraphError> {
    let Head { layers, pooled, last, size: [rows, columns], keep } = *head;
    graph.operator("GlobalAveragePool", "pooled.map", &[last], vec![]);
    graph.operator("Flatten", pooled, &["pooled.map"], vec![Attribute::int("axis", 1)]);
    let part = |number: usize, what: &str| format!("head{number}.{what}");
    let count = layers.len();
    let mut entry = pooled.to_string();
    for (number, layer) in layers.iter().enumerate() {
        let (weight, bias) = (part(number, "weight"), part(number, "bias"));
        let [input, output] = layer.weight.dims();
        keep(graph, &weight, &[input, output], &values(&weight, layer.weight.val())?);
        let shift = layer.bias.as_ref().map_or(Ok(vec![0.0; output]), |b| values(&bias, b.val()))?;
        graph.floats(&bias, &[output], &shift);
        let sum = if number + 1 == count { LOGITS.into() } else { part(number, "sum") };
        graph.operator("Gemm", &sum, &[&entry, &weight, &bias], vec![]);
        if number + 1 < count {
            let (above, mask) = (part(number, "above"), part(number, "mask"));
            entry = part(number, "relu");
            graph.operator("Relu", &entry, &[&sum], vec![]);
            graph.operator("Greater", &above, &[&sum, "zero"], vec![]);
            graph.operator("Cast", &mask, &[&above], vec![Attribute::int("to", 1)]);
        }
    }

    let mut slope = part(count - 1, "slope");
    let turned = vec![Attribute::ints("perm", &[1, 0])];
    graph.operator("Transpose", &slope, &[&part(count - 1, "weight")], turned);
    for number in (0..count - 1).rev() {
        let masked = part(number, "masked");
        graph.operator("Mul", &masked, &[&slope, &part(number, "mask")], vec![]);
        slope = part(number, "slope");
        graph.operator("Gemm", &slope, &[&masked, &part(number, "weight")], vec![Attribute::int("transB", 1)]);
    }
    let (width, classes) = (layers[0].weight.dims()[0], layers[count - 1].weight.dims()[1]);
    let places = rows * columns;
    graph.integers("shape.flat", &[width as i64, places as i64]);
    graph.integers("shape.maps", &[1, classes as i64, rows as i64, columns as i64]);
    graph.floats("part", &[], &[1.0 / places as f32]);
    graph.operator("Reshape", "last.flat", &[last, "shape.flat"], vec![]);
    graph.operator("MatMul", "maps.sum", &[&slope, "last.flat"], vec![]);
    graph.operator("Mul", "maps.mean", &["maps.sum", "part"], vec![]);
    graph.operator("Relu", "maps.flat", &["maps.mean"], vec![]);
    graph.operator("Reshape", MAPS, &["maps.flat", "shape.maps"], vec![]);
    graph.output(LOGITS, &[1, classes]);
    graph.output(MAPS, &[1, classes, rows, columns]);
    Ok(())
}

/// Mean over each of 3 × 3 fields, which overlap by a row or column where the size asks for it.
fn fields(graph: &mut Graph, x: &str, rows: usize, columns: usize) {
    let stride = [rows / FIELDS, columns / FIELDS];
    let kernel = [rows - (FIELDS - 1) * stride[0], columns - (FIELDS - 1) * stride[1]];
    let attributes = vec![
        Attribute::ints("kernel_shape", &kernel.map(|k| k as i64)),
        Attribute::ints("strides", &stride.map(|s| s as i64)),
    ];
    graph.operator("AveragePool", "fields", &[x], attributes);
    graph.operator("Flatten", FEATURE_VECTOR, &["fields"], vec![Attribute::int("axis", 1)]);
}

fn convolution(graph: &mut Graph, layer: &ConvNorm, name: &str, x: &str) -> Result<String, GraphError> {
    let conv = &layer.conv;
    let (None, Some(bias)) = (&layer.norm, &conv.bias) else {
        return Err(GraphError::NotFolded { layer: name.into() });
    };
    let [output, input, kernel, _] = conv.weight.dims();
    let (weight_name, bias_name) = (format!("{name}.weight"), format!("{name}.bias"));
    graph.halves(&weight_name, &[output, input, kernel, kernel], &values(&weight_name, conv.weight.val())?);
    graph.floats(&bias_name, &[output], &values(&bias_name, bias.val())?);
    let pad = (kernel as i64 - 1) / 2;
    let attributes = vec![
        Attribute::ints("kernel_shape", &[kernel as i64; 2]),
        Attribute::ints("strides", &conv.stride.map(|s| s as i64)),
        Attribute::ints("pads", &[pad; 4]),
        Attribute::ints("dilations", &[1, 1]),
        Attribute::int("group", conv.groups as i64),
    ];
    graph.operator("Conv", name, &[x, &weight_name, &bias_name], attributes);
    Ok(name.to_string())
}
