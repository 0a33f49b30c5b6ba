//! A network whose every node is known, as a list of steps over memory that is laid out beforehand: nothing of tract.
//!
//! What [`recognise`](super::recognise) left of a graph between the fused layers is a handful of small operators: masks
//! and products of Grad-CAM, changes of shape. Where they are all known too, the graph becomes a [`Program`]; a graph with
//! any other node is none, and stays tract's. A program computes only what the outputs that are asked for need, each
//! number the same as when all are asked for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::kernels::{Kernels, RowsView};
use super::layer::{Image, Layer, ShapeError, pixels_of};
use super::layers::Dense;
use super::load::Interface;
use super::pack::padded;
use super::pool::{Buffer, Pool, with_scratch};
use super::recognise::{FUSED, attribute, integer, integers, is_onnx, numbers_of, usizes};

/// The outputs that are asked for, a bit for each in the order of the interface.
pub(super) type Wanted = u32;

/// A network that runs by itself.
pub(super) struct Program {
    steps: Vec<Step>,
    /// Memory that steps write; one serves several steps whose values do not live at the same time.
    slots: Vec<Buffer>,
    constants: Vec<Vec<f32>>,
    outputs: Vec<Value>,
    /// Length of the input.
    input: usize,
    kernels: &'static Kernels,
    pool: Arc<Pool>,
}

/// Where a value is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Input,
    Constant(usize),
    Step(usize),
}

/// A value as a node sees it: changes of shape make another one of the same source.
#[derive(Clone, Debug)]
struct Value {
    source: Source,
    shape: Vec<usize>,
}

impl Value {
    fn length(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What a step computes.
#[derive(Debug)]
enum Operation {
    /// A fused layer.
    Layer(Arc<dyn Layer>),
    /// Not below zero; what is not a number stays so.
    Rectify,
    /// 1 where a value is above the limit, else 0.
    Above(f32),
    /// Times a number.
    Scale(f32),
    /// The first value times the second, which is repeated.
    Multiply,
    /// Means of `window` × `window` places `stride` apart: from pixels to planes.
    Average { window: [usize; 2], stride: [usize; 2], channels: usize },
    /// The products of each row with each pixel: as many rows as the first value has, a column a pixel.
    RowsByPixels { channels: usize },
}

#[derive(Debug)]
struct Step {
    operation: Operation,
    inputs: Vec<Value>,
    shape: Vec<usize>,
    /// Outputs that need it.
    needed: Wanted,
    slot: usize,
}

impl Step {
    fn length(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Program {
    /// The program of a graph and its fused layers; `None` where a node is not known, or an output is missing.
    pub(super) fn of(
        graph: &GraphProto,
        layers: &HashMap<String, Arc<dyn Layer>>,
        interface: &Interface<'_>,
        kernels: &'static Kernels,
        pool: &Arc<Pool>,
    ) -> Option<Self> {
        let mut writing = Writing::new(graph, layers, interface);
        let mut left: Vec<&NodeProto> = graph.node.iter().collect();
        while !left.is_empty() {
            let before = left.len();
            let mut waiting = Vec::new();
            for node in left {
                if writing.ready(node) { writing.add(node)? } else { waiting.push(node) }
            }
            // A node that waits for what nobody writes.
            if waiting.len() == before {
                return None;
            }
            left = waiting;
        }
        let Writing { mut steps, constants, values, truths, .. } = writing;
        let outputs = interface.outputs.iter().map(|name| {
            let value = values.get(*name)?.clone();
            // Nothing here keeps an input that is handed through.
            (!truths.contains(*name) && value.source != Source::Input).then_some(value)
        });
        let outputs: Vec<Value> = outputs.collect::<Option<_>>()?;
        if outputs.len() > Wanted::BITS as usize {
            return None;
        }
        for (bit, output) in outputs.iter().enumerate() {
            need(&mut steps, output.source, 1 << bit);
        }
        let slots = lay_out(&mut steps, &outputs).into_iter().map(Buffer::zeros).collect();
        let input = interface.shape.iter().product();
        Some(Self { steps, slots, constants, outputs, input, kernels, pool: Arc::clone(pool) })
    }

    /// How many outputs there are.
    pub(super) fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Computes the outputs that are asked for, which [`Program::output`] then gives; the others are of any value.
    ///
    /// # Errors
    /// When `input` is of another length than the program was made for.
    pub(super) fn run(&mut self, input: &[f32], wanted: Wanted) -> Result<(), ShapeError> {
        let Self { steps, slots, constants, kernels, pool, .. } = self;
        if input.len() != self.input {
            return Err(ShapeError::new(&[input.len()], format!("{} values", self.input)));
        }
        for step in steps.iter().filter(|step| step.needed & wanted != 0) {
            // Taken out while it is written; no input of the step lies in it.
            let mut memory = std::mem::take(&mut slots[step.slot]);
            let values = |value: &Value| match value.source {
                Source::Input => input,
                Source::Constant(index) => constants[index].as_slice(),
                Source::Step(index) => &slots[steps[index].slot][..steps[index].length()],
            };
            let (first, rest) = (&step.inputs[0], &step.inputs[1..]);
            let second = rest.first().map_or(&[][..], values);
            let output = &mut memory[..step.length()];
            let ran = step.operation.run((first, values(first)), second, output, kernels, pool);
            slots[step.slot] = memory;
            ran?;
        }
        Ok(())
    }

    /// Shape and values of output `index`, as the last run left them.
    pub(super) fn output(&self, index: usize) -> (&[usize], &[f32]) {
        let output = &self.outputs[index];
        let values: &[f32] = match output.source {
            Source::Input => &[],
            Source::Constant(index) => &self.constants[index],
            Source::Step(index) => &self.slots[self.steps[index].slot][..output.length()],
        };
        (&output.shape, values)
    }
}

impl Operation {
    fn run(
        &self,
        (first, one): (&Value, &[f32]),
        two: &[f32],
        output: &mut [f32],
        kernels: &Kernels,
        pool: &Pool,
    ) -> Result<(), ShapeError> {
        let each = |output: &mut [f32], of: &dyn Fn(f32) -> f32| {
            output.iter_mut().zip(one).for_each(|(to, from)| *to = of(*from));
        };
        match *self {
            Self::Layer(ref layer) => return layer.run(one, &first.shape, output, pool),
            Self::Rectify => each(output, &|value| if value < 0.0 { 0.0 } else { value }),
            Self::Above(limit) => each(output, &|value| if value > limit { 1.0 } else { 0.0 }),
            Self::Scale(factor) => each(output, &|value| value * factor),
            Self::Multiply => {
                for (to, from) in output.chunks_exact_mut(two.len()).zip(one.chunks_exact(two.len())) {
                    to.iter_mut().zip(from).zip(two).for_each(|((to, a), b)| *to = a * b);
                }
            }
            Self::Average { window, stride, channels } => {
                let image = pixels_of(&first.shape, padded(channels))?;
                average(one, image, channels, window, stride, output);
            }
            Self::RowsByPixels { channels } => {
                let depth = padded(channels);
                let pixels: Vec<u32> = (0u32..).take(two.len() / depth).collect();
                let (rows, outputs) =
                    (one.chunks(Dense::TOGETHER * channels), output.chunks_mut(Dense::TOGETHER * pixels.len()));
                for (rows, outputs) in rows.zip(outputs) {
                    let count = rows.len() / channels;
                    with_scratch(count * depth, |whole| {
                        for (to, row) in whole.chunks_exact_mut(depth).zip(rows.chunks_exact(channels)) {
                            to[..channels].copy_from_slice(row);
                            to[channels..].fill(0.0);
                        }
                        kernels.dense_backward(RowsView::Full(two), depth, &pixels, count, whole, outputs);
                    });
                }
            }
        }
        Ok(())
    }
}

/// Means over windows of pixels, a plane a channel.
fn average(pixels: &[f32], image: Image, channels: usize, window: [usize; 2], stride: [usize; 2], output: &mut [f32]) {
    let depth = padded(channels);
    let (down, across) = (windows(image.height, window[0], stride[0]), windows(image.width, window[1], stride[1]));
    let share = 1.0 / (window[0] * window[1]) as f32;
    with_scratch(depth, |sums| {
        for (place, (y, x)) in (0..down).flat_map(|y| (0..across).map(move |x| (y, x))).enumerate() {
            sums.fill(0.0);
            for row in y * stride[0]..y * stride[0] + window[0] {
                let first = (row * image.width + x * stride[1]) * depth;
                for pixel in pixels[first..first + window[1] * depth].chunks_exact(depth) {
                    sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
                }
            }
            for (channel, sum) in sums[..channels].iter().enumerate() {
                output[channel * down * across + place] = sum * share;
            }
        }
    });
}

/// How many windows lie in `side` places without reaching over the end.
fn windows(side: usize, window: usize, stride: usize) -> usize {
    side.checked_sub(window).map_or(0, |rest| rest / stride + 1)
}

/// Marks all that `source` is computed from.
fn need(steps: &mut [Step], source: Source, wanted: Wanted) {
    let mut open = vec![source];
    while let Some(source) = open.pop() {
        if let Source::Step(index) = source
            && steps[index].needed & wanted == 0
        {
            steps[index].needed |= wanted;
            open.extend(steps[index].inputs.iter().map(|input| input.source));
        }
    }
}

/// Gives each step that is needed a slot that holds nothing which is read later; the lengths of the slots.
fn lay_out(steps: &mut [Step], outputs: &[Value]) -> Vec<usize> {
    let mut last_read = vec![0; steps.len()];
    for (reader, step) in steps.iter().enumerate().filter(|(_, step)| step.needed != 0) {
        for input in &step.inputs {
            if let Source::Step(index) = input.source {
                last_read[index] = reader;
            }
        }
    }
    for output in outputs {
        if let Source::Step(index) = output.source {
            last_read[index] = steps.len();
        }
    }
    let mut lengths: Vec<usize> = Vec::new();
    // Step after which each slot is free again.
    let mut taken: Vec<usize> = Vec::new();
    for index in 0..steps.len() {
        if steps[index].needed == 0 {
            continue;
        }
        let length = steps[index].length();
        let free = (0..taken.len()).filter(|slot| taken[*slot] < index);
        // The smallest that is large enough, else the largest, which grows.
        let best = free.min_by_key(|slot| (lengths[*slot] < length, lengths[*slot].abs_diff(length)));
        let slot = best.unwrap_or(lengths.len());
        if slot == lengths.len() {
            lengths.push(0);
            taken.push(0);
        }
        lengths[slot] = lengths[slot].max(length);
        taken[slot] = last_read[index].max(index);
        steps[index].slot = slot;
    }
    lengths
}

/// A program that is being written.
struct Writing<'a> {
    layers: &'a HashMap<String, Arc<dyn Layer>>,
    tensors: HashMap<&'a str, &'a TensorProto>,
    steps: Vec<Step>,
    constants: Vec<Vec<f32>>,
    values: HashMap<String, Value>,
    /// Values that are true or false: for nothing but to be cast.
    truths: HashSet<String>,
}

impl<'a> Writing<'a> {
    fn new(graph: &'a GraphProto, layers: &'a HashMap<String, Arc<dyn Layer>>, interface: &Interface<'_>) -> Self {
        let input = Value { source: Source::Input, shape: interface.shape.to_vec() };
        Self {
            layers,
            tensors: graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect(),
            steps: Vec::new(),
            constants: Vec::new(),
            values: HashMap::from([(interface.input.to_owned(), input)]),
            truths: HashSet::new(),
        }
    }

    /// Whether all that the node reads is there.
    fn ready(&self, node: &NodeProto) -> bool {
        let known = |name: &String| self.values.contains_key(name) || self.tensors.contains_key(name.as_str());
        node.input.iter().all(known)
    }

    /// Takes in a node that is ready; `None` where it is of an unknown kind.
    fn add(&mut self, node: &NodeProto) -> Option<()> {
        let [output] = node.output.as_slice() else { return None };
        if self.values.contains_key(output) {
            return None;
        }
        let cast = is_onnx(node, "Cast") && integer(node, "to", 0) == DataType::Float as i64;
        if node.input.iter().any(|input| self.truths.contains(input)) && !cast {
            return None;
        }
        // What had attributes in an old ONNX means something else there.
        if ["Greater", "MatMul", "Mul", "Relu"].contains(&node.op_type.as_str()) && !node.attribute.is_empty() {
            return None;
        }
        let value = match node.input.as_slice() {
            [input] => self.unary(node, input, cast)?,
            [one, two] => self.binary(node, one, two)?,
            _ => return None,
        };
        self.values.insert(output.clone(), value);
        Some(())
    }

    fn unary(&mut self, node: &NodeProto, input: &str, cast: bool) -> Option<Value> {
        let value = self.value(input)?;
        if node.op_type == FUSED {
            let layer = Arc::clone(self.layers.get(&node.name)?);
            let shape = layer.output_shape(&value.shape).ok()?;
            return Some(self.step(Operation::Layer(layer), vec![value], shape));
        }
        let shape = value.shape.clone();
        match node.op_type.as_str() {
            _ if !is_onnx(node, &node.op_type) => None,
            "Cast" if cast => Some(value),
            "Identity" => Some(value),
            "Relu" => Some(self.step(Operation::Rectify, vec![value], shape)),
            "Flatten" => {
                let axis = usize::try_from(integer(node, "axis", 1)).ok().filter(|axis| *axis <= shape.len())?;
                let (before, after) = shape.split_at(axis);
                Some(Value { shape: vec![before.iter().product(), after.iter().product()], ..value })
            }
            "Transpose" => {
                let (Source::Constant(index), &[rows, columns]) = (value.source, shape.as_slice()) else { return None };
                let turned = integers(node, "perm").is_none_or(|perm| *perm == [1, 0]);
                let values = &self.constants[index];
                let across = (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
                let values = turned.then(|| across.map(|at| values[at]).collect())?;
                Some(self.constant(values, vec![columns, rows]))
            }
            "AveragePool" => self.average(node, &value),
            _ => None,
        }
    }

    fn binary(&mut self, node: &NodeProto, one: &str, two: &str) -> Option<Value> {
        match node.op_type.as_str() {
            _ if !is_onnx(node, &node.op_type) => None,
            "Reshape" => {
                let value = self.value(one)?;
                let shape = reshaped(&value.shape, &whole_numbers(self.tensors.get(two)?)?)?;
                (integer(node, "allowzero", 0) == 0).then_some(Value { shape, ..value })
            }
            "Greater" => {
                let (value, limit) = (self.value(one)?, self.value(two)?);
                let limit = self.number(&limit)?;
                self.truths.insert(node.output[0].clone());
                let shape = value.shape.clone();
                Some(self.step(Operation::Above(limit), vec![value], shape))
            }
            "Mul" => {
                let (mut one, mut two) = (self.value(one)?, self.value(two)?);
                if one.length() < two.length() {
                    (one, two) = (two, one);
                }
                let shape = one.shape.clone();
                if let Some(factor) = self.number(&two).filter(|_| two.shape.len() <= shape.len()) {
                    return Some(self.step(Operation::Scale(factor), vec![one], shape));
                }
                let ones = two.shape.iter().take_while(|side| **side == 1).count();
                let repeats = shape.ends_with(&two.shape[ones..]) && two.shape.len() <= shape.len();
                (repeats && two.length() > 0).then(|| self.step(Operation::Multiply, vec![one, two], shape))
            }
            "MatMul" => {
                let (rows, planes) = (self.value(one)?, self.value(two)?);
                let [count, channels] = *rows.shape.as_slice() else { return None };
                let pixels = self.pixels_behind(&planes)?;
                let image = pixels_of(&pixels.shape, padded(channels)).ok()?;
                let places = image.height * image.width;
                let (before, matrix) = planes.shape.split_at(planes.shape.len().checked_sub(2)?);
                if *matrix != [channels, places] || before.iter().any(|side| *side != 1) {
                    return None;
                }
                let shape = [before, &[count, places]].concat();
                Some(self.step(Operation::RowsByPixels { channels }, vec![rows, pixels], shape))
            }
            _ => None,
        }
    }

    /// Of windows that lie inside the picture.
    fn average(&mut self, node: &NodeProto, planes: &Value) -> Option<Value> {
        let [1, channels, height, width] = *planes.shape.as_slice() else { return None };
        let plain = |name: &str| integers(node, name).is_none_or(|pads| pads.iter().all(|pad| *pad == 0));
        let auto = attribute(node, "auto_pad").is_none_or(|a| a.s.is_empty() || a.s == b"NOTSET" || a.s == b"VALID");
        let dilated = integers(node, "dilations").is_some_and(|d| d.iter().any(|d| *d != 1));
        if !plain("pads") || !auto || dilated || integer(node, "ceil_mode", 0) != 0 {
            return None;
        }
        let window: [usize; 2] = usizes(integers(node, "kernel_shape")?).try_into().ok()?;
        let stride: [usize; 2] = integers(node, "strides").map_or(Some([1, 1]), |s| usizes(s).try_into().ok())?;
        let within = window.iter().zip([height, width]).all(|(window, side)| (1..=side).contains(window));
        let pixels = self.pixels_behind(planes)?;
        pixels_of(&pixels.shape, padded(channels)).ok()?;
        let [down, across] =
            [windows(height, window[0], stride[0].max(1)), windows(width, window[1], stride[1].max(1))];
        (within && stride.iter().all(|stride| *stride > 0)).then(|| {
            let shape = vec![1, channels, down, across];
            self.step(Operation::Average { window, stride, channels }, vec![pixels], shape)
        })
    }

    /// The pixels that planes were made of, which are then never made if nobody else reads them.
    fn pixels_behind(&self, planes: &Value) -> Option<Value> {
        let Source::Step(index) = planes.source else { return None };
        match &self.steps[index].operation {
            Operation::Layer(layer) if layer.makes_planes() => self.steps[index].inputs.first().cloned(),
            _ => None,
        }
    }

    /// A value by its name; a constant is taken in when it is first read.
    fn value(&mut self, name: &str) -> Option<Value> {
        if let Some(value) = self.values.get(name) {
            return Some(value.clone());
        }
        let tensor = self.tensors.get(name)?;
        let (shape, numbers) = numbers_of(tensor, &tensor.raw_data)?;
        let value = self.constant(numbers.to_floats(), shape);
        self.values.insert(name.to_owned(), value.clone());
        Some(value)
    }

    /// The only number of a constant.
    fn number(&self, value: &Value) -> Option<f32> {
        match value.source {
            Source::Constant(index) => match self.constants[index].as_slice() {
                [number] => Some(*number),
                _ => None,
            },
            Source::Input | Source::Step(_) => None,
        }
    }

    fn constant(&mut self, values: Vec<f32>, shape: Vec<usize>) -> Value {
        self.constants.push(values);
        Value { source: Source::Constant(self.constants.len() - 1), shape }
    }

    fn step(&mut self, operation: Operation, inputs: Vec<Value>, shape: Vec<usize>) -> Value {
        let value = Value { source: Source::Step(self.steps.len()), shape: shape.clone() };
        self.steps.push(Step { operation, inputs, shape, needed: 0, slot: 0 });
        value
    }
}

/// The numbers of a constant of whole numbers.
fn whole_numbers(tensor: &TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type != DataType::Int64 as i32 || tensor.dims.len() != 1 {
        return None;
    }
    let (bytes, rest) = tensor.raw_data.as_chunks();
    let numbers = match bytes {
        [] => tensor.int64_data.clone(),
        bytes => bytes.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
    };
    (rest.is_empty() && tensor.dims == [numbers.len() as i64]).then_some(numbers)
}

/// ONNX's `Reshape`: 0 keeps a side, −1 is what is left over.
fn reshaped(shape: &[usize], to: &[i64]) -> Option<Vec<usize>> {
    let length: usize = shape.iter().product();
    let mut found = Vec::with_capacity(to.len());
    for (axis, side) in to.iter().enumerate() {
        found.push(match side {
            0 => Some(*shape.get(axis)?),
            -1 => None,
            side => Some(usize::try_from(*side).ok()?),
        });
    }
    let known = found.iter().flatten().try_fold(1usize, |product, side| product.checked_mul(*side))?;
    let left_over = match found.iter().filter(|side| side.is_none()).count() {
        0 => 1,
        1 if known > 0 => length / known,
        _ => return None,
    };
    let found: Vec<usize> = found.into_iter().map(|side| side.unwrap_or(left_over)).collect();
    (found.iter().try_fold(1usize, |product, side| product.checked_mul(*side)) == Some(length)).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_changed_as_onnx_says() {
        assert_eq!(reshaped(&[1, 6, 2, 2], &[6, -1]), Some(vec![6, 4]));
        assert_eq!(reshaped(&[1, 6, 2, 2], &[0, 0, 4]), Some(vec![1, 6, 4]));
        for bad in [&[5, -1][..], &[-1, -1], &[24, 2], &[0, 0, 0, 0, 0], &[-2, 12], &[i64::MAX, i64::MAX]] {
            assert_eq!(reshaped(&[1, 6, 2, 2], bad), None, "{bad:?}");
        }
    }

    #[test]
    fn windows_never_reach_over_the_end() {
        assert_eq!((windows(24, 8, 8), windows(25, 8, 8), windows(7, 8, 8), windows(9, 3, 2)), (3, 3, 0, 4));
    }

    #[test]
    fn no_step_writes_where_another_reads_later() {
        // A chain with a branch that is read at the end, and a step that nobody needs.
        let value = |index: usize| Value { source: Source::Step(index), shape: vec![index + 1] };
        let reads = [vec![], vec![0], vec![1], vec![2], vec![3], vec![4, 0], vec![2]];
        let step = |(index, inputs): (usize, &Vec<usize>)| Step {
            operation: Operation::Rectify,
            inputs: inputs.iter().map(|input| value(*input)).collect(),
            shape: vec![index + 1],
            needed: 0,
            slot: usize::MAX,
        };
        let mut steps: Vec<Step> = reads.iter().enumerate().map(step).collect();
        let outputs = [value(5), value(1)];
        outputs.iter().enumerate().for_each(|(bit, output)| need(&mut steps, output.source, 1 << bit));
        assert_eq!(steps.iter().map(|step| step.needed).collect::<Vec<_>>(), [3, 3, 1, 1, 1, 1, 0]);
        let lengths = lay_out(&mut steps, &outputs);
        for (index, step) in steps.iter().enumerate().filter(|(_, step)| step.needed != 0) {
            assert!(lengths[step.slot] >= step.length());
            let reads_it = |reader: &usize| steps[*reader].needed != 0 && reads[*reader].contains(&index);
            let end = (0..steps.len()).rev().find(reads_it).unwrap_or(index);
            let end = if [5, 1].contains(&index) { steps.len() } else { end };
            for later in steps.iter().take(end + 1).skip(index + 1).filter(|later| later.needed != 0) {
                assert_ne!(later.slot, step.slot, "step {index}");
            }
        }
        assert_eq!(lengths.len(), 4, "{lengths:?}");
    }
}
