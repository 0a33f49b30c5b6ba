//! Writes MobileNetV2 networks of any width, size and head as ONNX, with weights drawn from a seed.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part that it needs")]

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto, type_proto,
};

#[path = "draw.rs"]
pub mod draw;
pub use draw::Draw;

/// What network to write.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Width multiplier of MobileNetV2.
    pub multiplier: f64,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
    /// Outputs of the two hidden layers of the head.
    pub hidden: [usize; 2],
    /// Weights in half precision, each behind a cast.
    pub half: bool,
    /// Where the weights come from.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Self { multiplier: 1.0, height: 192, width: 192, channels: 1, hidden: [1000, 750], half: true, seed: 1 }
    }
}

impl Spec {
    /// `[1, channels, height, width]`.
    pub fn shape(&self) -> [usize; 4] {
        [1, self.channels, self.height, self.width]
    }

    /// An input of the network's shape, about as large as those of real films.
    pub fn input(&self, seed: u64) -> Vec<f32> {
        let mut draw = Draw(seed);
        (0..self.channels * self.height * self.width).map(|_| 2.0 * draw.signed()).collect()
    }
}

/// Collects nodes and constants.
pub struct Graph {
    /// What has been added.
    pub graph: GraphProto,
    draw: Draw,
    half: bool,
}

impl Graph {
    /// An empty graph whose random weights come from `seed`.
    pub fn new(seed: u64, half: bool) -> Self {
        let graph = GraphProto { name: "network".to_owned(), ..GraphProto::default() };
        Self { graph, draw: Draw(seed), half }
    }

    /// Adds an f32 input.
    pub fn input(&mut self, name: &str, shape: &[usize]) {
        self.graph.input.push(value(name, shape));
    }

    /// Adds an f32 output.
    pub fn output(&mut self, name: &str, shape: &[usize]) {
        self.graph.output.push(value(name, shape));
    }

    /// Adds an f32 constant.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        self.tensor(name, shape, DataType::Float, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// Adds a constant of whole numbers.
    pub fn integers(&mut self, name: &str, values: &[i64]) -> String {
        self.tensor(name, &[values.len()], DataType::Int64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// Adds random weights from `-scale` to `scale`, in half precision behind a cast where the graph wants that.
    pub fn weights(&mut self, name: &str, shape: &[usize], scale: f32) -> String {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| scale * self.draw.signed()).collect();
        if !self.half {
            return self.floats(name, shape, &values);
        }
        let bytes = values.iter().flat_map(|v| tract_core::prelude::f16::from_f32(*v).to_le_bytes()).collect();
        let half = self.tensor(&format!("{name}.half"), shape, DataType::Float16, bytes);
        self.node("Cast", name, &[&half], vec![integer("to", DataType::Float as i64)])
    }

    /// Adds a node whose only output has its name.
    pub fn node(&mut self, operator: &str, name: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![name.to_owned()],
            name: format!("{name}.node"),
            op_type: operator.to_owned(),
            attribute,
            ..NodeProto::default()
        });
        name.to_owned()
    }

    /// Adds a convolution with bias and `(kernel - 1) / 2` pixels of padding.
    pub fn convolution(
        &mut self,
        name: &str,
        input: &str,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        stride: usize,
        group: usize,
    ) -> String {
        // Keeps the variance through a layer whose inputs are halved by ReLU.
        let scale = (6.0 / (inputs / group * kernel * kernel) as f32).sqrt();
        let weights = self.weights(&format!("{name}.w"), &[outputs, inputs / group, kernel, kernel], scale);
        let bias = self.weights(&format!("{name}.b"), &[outputs], 0.2);
        let (kernel, stride) = (kernel as i64, stride as i64);
        let attributes = vec![
            integers("kernel_shape", &[kernel; 2]),
            integers("strides", &[stride; 2]),
            integers("pads", &[(kernel - 1) / 2; 4]),
            integers("dilations", &[1, 1]),
            integer("group", group as i64),
        ];
        self.node("Conv", name, &[input, &weights, &bias], attributes)
    }

    /// Adds a clamp from 0 to 6.
    pub fn relu6(&mut self, input: &str) -> String {
        for (name, bound) in [("zero", 0.0), ("six", 6.0)] {
            if self.graph.initializer.iter().all(|tensor| tensor.name != name) {
                self.floats(name, &[], &[bound]);
            }
        }
        self.node("Clip", &format!("{input}.relu6"), &[input, "zero", "six"], vec![])
    }

    /// Adds an inverted residual block; the residual is there where the shapes allow it.
    pub fn block(&mut self, name: &str, input: &str, [inputs, outputs]: [usize; 2], stride: usize, t: usize) -> String {
        let expanded = inputs * t;
        let mut x = input.to_owned();
        if t != 1 {
            let expand = self.convolution(&format!("{name}.expand"), &x, [inputs, expanded], 1, 1, 1);
            x = self.relu6(&expand);
        }
        let filtered = self.convolution(&format!("{name}.filter"), &x, [expanded, expanded], 3, stride, expanded);
        x = self.relu6(&filtered);
        x = self.convolution(&format!("{name}.project"), &x, [expanded, outputs], 1, 1, 1);
        if stride == 1 && inputs == outputs {
            x = self.node("Add", &format!("{name}.add"), &[&x, input], vec![]);
        }
        x
    }

    /// The file's outermost message.
    pub fn finish(self) -> ModelProto {
        ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
            graph: Some(self.graph),
            ..ModelProto::default()
        }
    }

    fn tensor(&mut self, name: &str, shape: &[usize], kind: DataType, bytes: Vec<u8>) -> String {
        self.graph.initializer.push(TensorProto {
            name: name.to_owned(),
            dims: shape.iter().map(|d| *d as i64).collect(),
            data_type: kind as i32,
            raw_data: bytes,
            ..TensorProto::default()
        });
        name.to_owned()
    }
}

/// A whole network: inverted residuals, a head of three dense layers, Grad-CAM of every class.
pub fn mobilenet_v2(spec: &Spec) -> ModelProto {
    let mut g = Graph::new(spec.seed, spec.half);
    g.input("image", &spec.shape());
    let scaled = |channels: usize| {
        let wanted = channels as f64 * spec.multiplier;
        let rounded = ((wanted + 4.0) / 8.0).floor() as usize * 8;
        let rounded = rounded.max(8);
        if (rounded as f64) < 0.9 * wanted { rounded + 8 } else { rounded }
    };
    let (mut rows, mut columns) = (spec.height.div_ceil(2), spec.width.div_ceil(2));
    let mut channels = scaled(32);
    let stem = g.convolution("stem", "image", [spec.channels, channels], 3, 2, 1);
    let mut x = g.relu6(&stem);
    let settings =
        [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
    let mut number = 0;
    for (t, outputs, repeats, stride) in settings {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            x = g.block(&format!("block{number}"), &x, [channels, scaled(outputs)], stride, t);
            (rows, columns) = (rows.div_ceil(stride), columns.div_ceil(stride));
            channels = scaled(outputs);
            number += 1;
        }
    }
    let last = if spec.multiplier > 1.0 { scaled(1280) } else { 1280 };
    let wide = g.convolution("last", &x, [channels, last], 1, 1, 1);
    let map = g.relu6(&wide);
    let pooled = g.node("GlobalAveragePool", "pooled", &[&map], vec![]);
    let features = g.node("Flatten", "features", &[&pooled], vec![integer("axis", 1)]);
    let [first, second] = spec.hidden;
    for (layer, [inputs, outputs]) in [[last, first], [first, second], [second, 3]].into_iter().enumerate() {
        g.weights(&format!("W{layer}"), &[inputs, outputs], (3.0 / inputs as f32).sqrt());
        g.weights(&format!("B{layer}"), &[outputs], 0.1);
    }
    g.node("Gemm", "z0", &[&features, "W0", "B0"], vec![]);
    g.node("Relu", "h0", &["z0"], vec![]);
    g.node("Gemm", "z1", &["h0", "W1", "B1"], vec![]);
    g.node("Relu", "h1", &["z1"], vec![]);
    g.node("Gemm", "logits", &["h1", "W2", "B2"], vec![]);
    for layer in ["0", "1"] {
        g.node("Greater", &format!("open{layer}"), &[&format!("z{layer}"), "zero"], vec![]);
        let attributes = vec![integer("to", DataType::Float as i64)];
        g.node("Cast", &format!("mask{layer}"), &[&format!("open{layer}")], attributes);
    }
    let transposed = vec![integer("transB", 1)];
    g.node("Transpose", "W2t", &["W2"], vec![integers("perm", &[1, 0])]);
    g.node("Mul", "g2", &["W2t", "mask1"], vec![]);
    g.node("Gemm", "g1raw", &["g2", "W1"], transposed.clone());
    g.node("Mul", "g1", &["g1raw", "mask0"], vec![]);
    g.node("Gemm", "g0", &["g1", "W0"], transposed);
    g.integers("flat", &[last as i64, (rows * columns) as i64]);
    g.integers("cells", &[1, 3, rows as i64, columns as i64]);
    g.floats("share", &[], &[1.0 / (rows * columns) as f32]);
    g.node("Reshape", "cellwise", &[&map, "flat"], vec![]);
    g.node("MatMul", "speaking", &["g0", "cellwise"], vec![]);
    g.node("Mul", "scaled", &["speaking", "share"], vec![]);
    g.node("Relu", "positive", &["scaled"], vec![]);
    g.node("Reshape", "maps", &["positive", "cells"], vec![]);
    g.output("logits", &[1, 3]);
    g.output("maps", &[1, 3, rows, columns]);
    g.output("features", &[1, last]);
    g.finish()
}

/// An attribute that is a whole number.
pub fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: attribute_proto::AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

/// An attribute that is a list of whole numbers.
pub fn integers(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: attribute_proto::AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

fn value(name: &str, shape: &[usize]) -> ValueInfoProto {
    let dim =
        shape.iter().map(|d| Dimension { value: Some(dimension::Value::DimValue(*d as i64)), ..Dimension::default() });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..ValueInfoProto::default() }
}
