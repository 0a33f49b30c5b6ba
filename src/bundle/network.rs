//! A look at an ONNX file before any engine parses it: only known operators, only weights whose bytes are there.
//!
//! A few hundred bytes can ask an engine for terabytes (`ConstantOfShape`), for a loop without end (`Loop`) or for
//! another file (external data). None of these is in the set of operators that the models here are made of. What the
//! set still allows, such as a product of two long vectors, is caught where the trial runs, by a limit on memory.

use std::ops::RangeInclusive;

/// Operators that a model may have, of ONNX's own domain.
const OPERATORS: &[&str] = &[
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Conv",
    "Div",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "Greater",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "MatMul",
    "MaxPool",
    "Mul",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Sub",
    "Transpose",
];
/// Most operators in a model.
const MAX_NODES: usize = 2000;
/// Numbers that attributes may have: sides, strides, paddings, groups, axes.
const ATTRIBUTES: RangeInclusive<i64> = -16..=4096;

/// A network that is not handed to an engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not ONNX, or cut short.
    #[error("not an ONNX model: field {field} at byte {at} {problem}")]
    Form {
        /// Field number, 0 where there is none.
        field: u64,
        /// Offset in its message.
        at: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// No graph, or more than one.
    #[error("{0} graphs, expected one")]
    Graphs(usize),
    /// An operator outside the set.
    #[error("operator {domain}{operator:?} is not one that a model may have")]
    Operator {
        /// Its name.
        operator: String,
        /// Its domain with a colon, empty for ONNX's own.
        domain: String,
    },
    /// A part of ONNX that no model here has.
    #[error("the network has {0}, which no model may have")]
    Part(&'static str),
    /// Too many operators.
    #[error("{0} operators, expected 1 to {MAX_NODES}")]
    Nodes(usize),
    /// Weights of which not all are there, or more.
    #[error("tensor {name:?} is said to have {said} bytes, {found} are there")]
    Weights {
        /// Its name.
        name: String,
        /// What its shape and type come to, as text: it may not fit a number.
        said: String,
        /// Bytes that are there.
        found: usize,
    },
    /// A type of weights that no model has.
    #[error("tensor {name:?} has data type {data_type}")]
    DataType {
        /// Its name.
        name: String,
        /// ONNX's number.
        data_type: u64,
    },
    /// A number in an attribute that no layer has.
    #[error("operator {operator} has attribute {name:?} with {found}, expected {} to {}", ATTRIBUTES.start(), ATTRIBUTES.end())]
    Attribute {
        /// The operator.
        operator: String,
        /// The attribute.
        name: String,
        /// The number.
        found: i64,
    },
}

/// Looks through an ONNX file without building anything from it.
///
/// # Errors
/// When it holds anything outside the set that models here are made of.
pub fn inspect(onnx: &[u8]) -> Result<(), NetworkError> {
    let mut graphs = Vec::new();
    for field in fields(onnx) {
        match field? {
            (7, Value::Bytes(bytes)) => graphs.push(bytes),
            (20, _) => return Err(NetworkError::Part("training information")),
            (25, _) => return Err(NetworkError::Part("functions of its own")),
            _ => {}
        }
    }
    let [graph] = graphs.as_slice() else { return Err(NetworkError::Graphs(graphs.len())) };
    let mut nodes = 0;
    for field in fields(graph) {
        match field? {
            (1, Value::Bytes(bytes)) => {
                node(bytes)?;
                nodes += 1;
            }
            (5, Value::Bytes(bytes)) => tensor(bytes)?,
            (15, _) => return Err(NetworkError::Part("sparse weights")),
            _ => {}
        }
    }
    if (1..=MAX_NODES).contains(&nodes) { Ok(()) } else { Err(NetworkError::Nodes(nodes)) }
}

fn node(bytes: &[u8]) -> Result<(), NetworkError> {
    let (mut operator, mut domain, mut attributes) = (String::new(), String::new(), Vec::new());
    for field in fields(bytes) {
        match field? {
            (4, Value::Bytes(bytes)) => operator = text(bytes),
            (5, Value::Bytes(bytes)) => attributes.push(bytes),
            (7, Value::Bytes(bytes)) => domain = text(bytes),
            _ => {}
        }
    }
    if !OPERATORS.contains(&operator.as_str()) || !matches!(domain.as_str(), "" | "ai.onnx") {
        let domain = if domain.is_empty() { domain } else { format!("{domain}:") };
        return Err(NetworkError::Operator { operator, domain });
    }
    attributes.into_iter().try_for_each(|bytes| attribute(&operator, bytes))
}

fn attribute(operator: &str, bytes: &[u8]) -> Result<(), NetworkError> {
    let (mut name, mut numbers) = (String::new(), Vec::new());
    for field in fields(bytes) {
        match field? {
            (1, Value::Bytes(bytes)) => name = text(bytes),
            (3 | 8, Value::Number(number)) => numbers.push(number),
            (8, Value::Bytes(bytes)) => numbers.extend(packed(bytes)?),
            (5 | 10, Value::Bytes(bytes)) => tensor(bytes)?,
            (6 | 11, _) => return Err(NetworkError::Part("a graph inside an operator")),
            (22 | 23, _) => return Err(NetworkError::Part("a sparse tensor inside an operator")),
            _ => {}
        }
    }
    // Protobuf keeps negative numbers as their two's complement.
    match numbers.into_iter().map(|number| number as i64).find(|number| !ATTRIBUTES.contains(number)) {
        Some(found) => Err(NetworkError::Attribute { operator: operator.to_owned(), name, found }),
        None => Ok(()),
    }
}

fn tensor(bytes: &[u8]) -> Result<(), NetworkError> {
    let (mut name, mut dims, mut data_type) = (String::new(), Vec::new(), 0);
    let (mut raw, mut typed) = (None, 0);
    for field in fields(bytes) {
        match field? {
            (1, Value::Number(side)) => dims.push(side),
            (1, Value::Bytes(bytes)) => dims.extend(packed(bytes)?),
            (2, Value::Number(number)) => data_type = number,
            (8, Value::Bytes(bytes)) => name = text(bytes),
            (9, Value::Bytes(bytes)) => raw = Some(bytes.len()),
            (4 | 5 | 7 | 10 | 11, Value::Bytes(bytes)) => typed += bytes.len(),
            (4 | 5 | 7 | 10 | 11, Value::Number(_)) => typed += 1,
            (3 | 6, _) => return Err(NetworkError::Part("a tensor in segments or of text")),
            (13 | 14, _) => return Err(NetworkError::Part("weights outside the file")),
            _ => {}
        }
    }
    // ONNX's numbers for f32, u8, i8, i32, i64, bool, f16, f64.
    let size = match data_type {
        2 | 3 | 9 => 1,
        10 => 2,
        1 | 6 => 4,
        7 | 11 => 8,
        _ => return Err(NetworkError::DataType { name, data_type }),
    };
    let elements = dims.iter().try_fold(1u64, |product, side| product.checked_mul(*side));
    let said = elements.and_then(|elements| elements.checked_mul(size));
    let fits = match raw {
        Some(found) => said == Some(found as u64),
        // Numbers of variable length take a byte or more each.
        None => elements.is_some_and(|elements| elements <= typed as u64),
    };
    if fits {
        return Ok(());
    }
    let said = said.map_or_else(|| format!("{dims:?} × {size}"), |said| said.to_string());
    Err(NetworkError::Weights { name, said, found: raw.unwrap_or(typed) })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(80).collect()
}

/// What a protobuf field holds.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// Fields of a protobuf message, in their order.
fn fields(message: &[u8]) -> impl Iterator<Item = Result<(u64, Value<'_>), NetworkError>> {
    let mut at = 0;
    let mut broken = false;
    std::iter::from_fn(move || {
        if broken || at >= message.len() {
            return None;
        }
        let field = field(message, &mut at);
        broken = field.is_err();
        Some(field)
    })
}

fn field<'a>(message: &'a [u8], at: &mut usize) -> Result<(u64, Value<'a>), NetworkError> {
    let start = *at;
    let refused = |field, problem| NetworkError::Form { field, at: start, problem };
    let key = varint(message, at).ok_or(refused(0, "has no number"))?;
    let field = key >> 3;
    let mut take = |length: usize| {
        let taken = message.get(*at..at.checked_add(length)?)?;
        *at += length;
        Some(taken)
    };
    let value = match key & 7 {
        0 => Value::Number(varint(message, at).ok_or(refused(field, "is cut short"))?),
        1 => take(8).map(|_| Value::Fixed).ok_or(refused(field, "is cut short"))?,
        5 => take(4).map(|_| Value::Fixed).ok_or(refused(field, "is cut short"))?,
        2 => {
            let length = varint(message, at).ok_or(refused(field, "has no length"))?;
            let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
            let bytes = end.and_then(|end| message.get(*at..end)).ok_or(refused(field, "is cut short"))?;
            *at += bytes.len();
            Value::Bytes(bytes)
        }
        _ => return Err(refused(field, "has a type that protobuf 3 does not have")),
    };
    Ok((field, value))
}

fn packed(bytes: &[u8]) -> Result<Vec<u64>, NetworkError> {
    let (mut at, mut numbers) = (0, Vec::new());
    while at < bytes.len() {
        let refused = NetworkError::Form { field: 0, at, problem: "is cut short" };
        numbers.push(varint(bytes, &mut at).ok_or(refused)?);
    }
    Ok(numbers)
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(field: u8, value: i64) -> Vec<u8> {
        let mut bytes = vec![field << 3];
        let mut value = value as u64;
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
        let mut key = number(field, content.len() as i64);
        key[0] |= 2;
        // Field numbers above 15 need a key of two bytes.
        if field > 15 {
            key.splice(0..1, [0x80 | (field << 3) | 2, field >> 4]);
        }
        [key, content.to_vec()].concat()
    }

    fn operator(name: &str, more: &[u8]) -> Vec<u8> {
        bytes(1, &[bytes(4, name.as_bytes()), more.to_vec()].concat())
    }

    fn weights(dims: &[i64], content: usize) -> Vec<u8> {
        let mut tensor: Vec<u8> = dims.iter().flat_map(|side| number(1, *side)).collect();
        tensor.extend(number(2, 1));
        tensor.extend(bytes(8, b"w"));
        tensor.extend(bytes(9, &vec![0; content]));
        bytes(5, &tensor)
    }

    fn model(graph: &[Vec<u8>]) -> Vec<u8> {
        bytes(7, &graph.concat())
    }

    #[track_caller]
    fn check(onnx: &[u8], message: &str) {
        assert_eq!(inspect(onnx).expect_err("a refusal").to_string(), message);
    }

    #[test]
    fn layers_and_their_weights_pass() {
        let pads = bytes(5, &[bytes(1, b"pads"), bytes(8, &[1, 1, 1, 1])].concat());
        assert_eq!(inspect(&model(&[operator("Conv", &pads), weights(&[2, 3], 24)])), Ok(()));
    }

    #[test]
    fn what_makes_much_from_little_is_refused() {
        let bomb = "operator \"ConstantOfShape\" is not one that a model may have";
        check(&model(&[operator("ConstantOfShape", &[])]), bomb);
        let foreign = "operator com.example:\"Conv\" is not one that a model may have";
        check(&model(&[operator("Conv", &bytes(7, b"com.example"))]), foreign);
        check(
            &model(&[operator("Conv", &[]), weights(&[1 << 40, 1 << 40], 4)]),
            "tensor \"w\" is said to have [1099511627776, 1099511627776] × 4 bytes, 4 are there",
        );
        check(
            &model(&[operator("Conv", &[]), weights(&[1000, 1000], 24)]),
            "tensor \"w\" is said to have 4000000 bytes, 24 are there",
        );
        let pads = bytes(5, &[bytes(1, b"pads"), number(3, 1 << 40)].concat());
        check(
            &model(&[operator("Conv", &pads)]),
            "operator Conv has attribute \"pads\" with 1099511627776, expected -16 to 4096",
        );
        check(&model(&vec![operator("Relu", &[]); 2001]), "2001 operators, expected 1 to 2000");
        check(&model(&[]), "0 operators, expected 1 to 2000");
    }

    #[test]
    fn other_files_and_graphs_within_graphs_are_refused() {
        let graph = bytes(5, &bytes(6, b""));
        let inside = "the network has a graph inside an operator, which no model may have";
        check(&model(&[operator("Relu", &graph)]), inside);
        let outside = bytes(5, &[number(2, 1), bytes(13, b"")].concat());
        check(&model(&[outside]), "the network has weights outside the file, which no model may have");
        check(
            &[bytes(7, b""), bytes(25, b"")].concat(),
            "the network has functions of its own, which no model may have",
        );
        check(&[bytes(7, b""), bytes(7, b"")].concat(), "2 graphs, expected one");
        check(b"", "0 graphs, expected one");
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_or_lacks_something() {
        let whole = model(&[operator("Conv", &[]), weights(&[2, 3], 24)]);
        for length in 0..whole.len() {
            assert!(inspect(&whole[..length]).is_err(), "{length} bytes");
        }
        check(&[7], "not an ONNX model: field 0 at byte 0 has a type that protobuf 3 does not have");
    }
}
