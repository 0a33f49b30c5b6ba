//! ONNX files: the few messages of onnx.proto that a model needs, and a graph under construction.
//!
//! Field numbers are those of onnx.proto3 (ONNX 1.8, IR version 7); operators those of opset 13.

use half::f16;
use prost::Message;

const OPSET: i64 = 13;
const IR_VERSION: i64 = 7;

/// TensorProto.DataType
const FLOAT: i32 = 1;
const INT64: i32 = 7;
const FLOAT16: i32 = 10;
/// AttributeProto.AttributeType
const ATTRIBUTE_INT: i32 = 2;
const ATTRIBUTE_INTS: i32 = 7;

#[derive(Clone, PartialEq, Message)]
struct OperatorSetId {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetId>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

/// An attribute of an operator.
#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<DimensionProto>,
}

#[derive(Clone, PartialEq, Message)]
struct DimensionProto {
    #[prost(int64, tag = "1")]
    dim_value: i64,
}

impl Attribute {
    /// A whole number.
    pub fn int(name: &str, value: i64) -> Self {
        Self { name: name.into(), i: value, kind: ATTRIBUTE_INT, ..Self::default() }
    }

    /// A list of whole numbers.
    pub fn ints(name: &str, values: &[i64]) -> Self {
        Self { name: name.into(), ints: values.to_vec(), kind: ATTRIBUTE_INTS, ..Self::default() }
    }
}

/// A graph under construction. Values are known by their names.
pub struct Graph {
    proto: GraphProto,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { proto: GraphProto { name: name.into(), ..GraphProto::default() } }
    }

    /// An input of f32.
    pub fn input(&mut self, name: &str, shape: &[usize]) {
        self.proto.input.push(value_info(name, shape));
    }

    /// Makes the value `name` an output of f32.
    pub fn output(&mut self, name: &str, shape: &[usize]) {
        self.proto.output.push(value_info(name, shape));
    }

    fn constant(&mut self, name: &str, shape: &[usize], data_type: i32, raw_data: Vec<u8>) {
        let dims = shape.iter().map(|d| *d as i64).collect();
        self.proto.initializer.push(TensorProto { dims, data_type, name: name.into(), raw_data });
    }

    /// Constants in single precision.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.constant(name, shape, FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    }

    /// Constants stored in half precision and cast to single before use.
    pub fn halves(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let stored = format!("{name}.f16");
        let bytes = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        self.constant(&stored, shape, FLOAT16, bytes);
        self.operator("Cast", name, &[&stored], vec![Attribute::int("to", FLOAT.into())]);
    }

    /// Whole constants.
    pub fn integers(&mut self, name: &str, values: &[i64]) {
        self.constant(name, &[values.len()], INT64, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    }

    /// An operator with one output.
    pub fn operator(&mut self, kind: &str, output: &str, inputs: &[&str], attributes: Vec<Attribute>) {
        self.proto.node.push(NodeProto {
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: vec![output.into()],
            name: format!("{output}.{kind}"),
            op_type: kind.into(),
            attribute: attributes,
        });
    }

    /// The file's bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "lightbox trainer".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.proto),
            opset_import: vec![OperatorSetId { domain: String::new(), version: OPSET }],
        };
        model.encode_to_vec()
    }
}

fn value_info(name: &str, shape: &[usize]) -> ValueInfoProto {
    let dim = shape.iter().map(|d| DimensionProto { dim_value: *d as i64 }).collect();
    let tensor_type = Some(TensorTypeProto { elem_type: FLOAT, shape: Some(TensorShapeProto { dim }) });
    ValueInfoProto { name: name.into(), kind: Some(TypeProto { tensor_type }) }
}
