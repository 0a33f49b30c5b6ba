//! Leaves the large constants of an ONNX file where they lie.
//!
//! A parser copies every tensor out of the file, twice; fetching and clearing that memory takes longer than all the rest
//! of loading. Here the file's outer messages are walked first (protobuf's wire format: a field is a number, a type and a
//! value; an inner message is a value with a length). What is parsed is a small copy without the bytes of large
//! initializers, which stay borrowed from the file.

use std::borrow::Cow;
use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, TensorProto};

/// Constants of fewer bytes are parsed with the rest.
const LARGE_BYTES: usize = 1024;
/// `ModelProto.graph`, `GraphProto.initializer`, `TensorProto.name` and `.raw_data`.
const GRAPH: u64 = 7;
const INITIALIZER: u64 = 5;
const NAME: u64 = 8;
const RAW_DATA: u64 = 9;
/// Type of a value with a length before it.
const LENGTH_DELIMITED: u64 = 2;

/// Bytes of large constants, by name, as they lie in the file.
#[derive(Debug, Default)]
pub(super) struct Lifted<'a>(HashMap<&'a str, &'a [u8]>);

impl<'a> Lifted<'a> {
    /// What is left of a file, and what was lifted out; the whole file where it is not built as expected: then the parser
    /// says what is wrong with it.
    pub(super) fn out_of(file: &'a [u8]) -> (Cow<'a, [u8]>, Self) {
        let mut lifted = Self::default();
        match lifted.model(file) {
            Some(rest) => (rest.into(), lifted),
            None => (file.into(), Self::default()),
        }
    }

    /// The bytes of a constant, wherever they are.
    pub(super) fn bytes(&'a self, tensor: &'a TensorProto) -> &'a [u8] {
        match self.0.get(tensor.name.as_str()) {
            Some(bytes) if tensor.raw_data.is_empty() => bytes,
            _ => &tensor.raw_data,
        }
    }

    /// Makes the constants of `graph` whole again.
    pub(super) fn put_back(&self, graph: &mut GraphProto) {
        for tensor in &mut graph.initializer {
            if let Some(bytes) = self.0.get(tensor.name.as_str()) {
                tensor.raw_data = bytes.to_vec();
            }
        }
    }

    fn model(&mut self, file: &'a [u8]) -> Option<Vec<u8>> {
        let mut rest = Vec::new();
        for field in Fields(file) {
            let field = field?;
            match field.message(GRAPH) {
                Some(graph) => write(&mut rest, GRAPH, &self.graph(graph)?),
                None => rest.extend_from_slice(field.whole),
            }
        }
        Some(rest)
    }

    fn graph(&mut self, graph: &'a [u8]) -> Option<Vec<u8>> {
        let mut rest = Vec::new();
        for field in Fields(graph) {
            let field = field?;
            match field.message(INITIALIZER) {
                Some(tensor) if tensor.len() >= LARGE_BYTES => write(&mut rest, INITIALIZER, &self.tensor(tensor)?),
                _ => rest.extend_from_slice(field.whole),
            }
        }
        Some(rest)
    }

    fn tensor(&mut self, tensor: &'a [u8]) -> Option<Vec<u8>> {
        let (mut name, mut bytes, mut rest) = ("", None, Vec::new());
        for field in Fields(tensor) {
            let field = field?;
            if let Some(raw) = field.message(RAW_DATA) {
                // The last of several counts: not a file that anybody writes.
                if bytes.replace(raw).is_some() {
                    return None;
                }
                continue;
            }
            if let Some(text) = field.message(NAME) {
                name = std::str::from_utf8(text).ok()?;
            }
            rest.extend_from_slice(field.whole);
        }
        match bytes {
            // A name that stands twice would be another's.
            Some(bytes) => self.0.insert(name, bytes).is_none().then_some(rest),
            None => Some(tensor.to_vec()),
        }
    }
}

/// One field of a message.
struct Field<'a> {
    number: u64,
    /// The value where it has a length, else nothing.
    value: Option<&'a [u8]>,
    /// Number, type and value.
    whole: &'a [u8],
}

impl<'a> Field<'a> {
    /// The value of the field `number`, where it has a length.
    fn message(&self, number: u64) -> Option<&'a [u8]> {
        self.value.filter(|_| self.number == number)
    }
}

/// The fields of a message; `None` where it is none.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| {
            let start = self.0;
            let field = self.field(start);
            if field.is_none() {
                // Nothing after it makes sense.
                self.0 = &[];
            }
            field
        })
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self, start: &'a [u8]) -> Option<Field<'a>> {
        let key = self.number()?;
        let length = match key & 7 {
            0 => {
                self.number()?;
                0
            }
            1 => 8,
            LENGTH_DELIMITED => usize::try_from(self.number()?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let whole = &start[..start.len() - rest.len()];
        Some(Field { number: key >> 3, value: (key & 7 == LENGTH_DELIMITED).then_some(value), whole })
    }

    /// Seven bits a byte, the lowest first; the highest bit says that another byte follows.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

/// Appends a field with a length.
fn write(to: &mut Vec<u8>, number: u64, value: &[u8]) {
    let mut append = |mut number: u64| {
        while number > 0x7f {
            to.push(number as u8 | 0x80);
            number >>= 7;
        }
        to.push(number as u8);
    };
    append(number << 3 | LENGTH_DELIMITED);
    append(value.len() as u64);
    to.extend_from_slice(value);
}
