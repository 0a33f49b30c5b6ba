//! Finds the layers of a MobileNetV2 in an ONNX graph and takes them out of it.
//!
//! Patterns are matched on the graph as parsed, before tract sees it: what is replaced is never optimised or packed by
//! anything else. Between two fused layers pixels lie channels-last and padded, under a name of their own; where a
//! layer that is not fused reads them, or the other way round, a change of layout is put in. A node that fits no
//! pattern stays as it is.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::block::{Block, BlockWeights};
use super::kernels::{Clamp, Kernels, Rows, half_to_float};
use super::layer::Layer;
use super::layers::{Convolution, Dense, DenseWeights, FromPlanes, GlobalPool, RELU, Stem, StemWeights, ToPlanes};
use super::lift::Lifted;
use super::pack::{Depthwise, Numbers, Pointwise, padded};
use super::pool::Pool;

/// What stands at the end of the name of a value that lies channels-last.
const PIXELS: &str = ".channels-last";
/// Operator of a node that [`recognise`] puts in.
pub(super) const FUSED: &str = "LightboxFused";

/// A graph whose fused layers are nodes of the operator [`FUSED`].
pub(super) struct Recognised {
    /// What is left, and the fused nodes.
    pub(super) graph: GraphProto,
    /// The layer of each fused node, by the node's name.
    pub(super) layers: HashMap<String, Arc<dyn Layer>>,
}

/// Takes the layers that it knows out of `graph`, whose larger constants `lifted` has. Threads share the packing.
pub(super) fn recognise(
    mut graph: GraphProto,
    lifted: &Lifted<'_>,
    kernels: &'static Kernels,
    pool: &Pool,
) -> Recognised {
    let Some(search) = Search::new(&graph, lifted, kernels) else {
        lifted.put_back(&mut graph);
        return Recognised { graph, layers: HashMap::new() };
    };
    let (taken, steps) = search.run();
    let steps = lay_out(&graph, &taken, packed(steps, pool));
    let mut number = 0;
    graph.node.retain(|_| {
        number += 1;
        !taken.contains(&(number - 1))
    });
    let mut layers = HashMap::new();
    for step in steps {
        let name = format!("{FUSED}.{}", step.output);
        graph.node.push(NodeProto {
            input: vec![step.input],
            output: vec![step.output],
            name: name.clone(),
            op_type: FUSED.to_owned(),
            ..NodeProto::default()
        });
        layers.insert(name, step.layer);
    }
    // Constants that only the layers had are not to be loaded a second time.
    loop {
        let read: HashSet<&str> = graph.node.iter().flat_map(|node| node.input.iter().map(String::as_str)).collect();
        let written: HashSet<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
        let needed = |name: &String| read.contains(name.as_str()) || written.contains(name.as_str());
        let keep: Vec<bool> = graph.node.iter().map(|node| node.output.iter().any(needed)).collect();
        let mut keep_initializer = graph.initializer.iter().map(|i| needed(&i.name)).collect::<Vec<_>>().into_iter();
        graph.initializer.retain(|_| keep_initializer.next().unwrap_or(true));
        if keep.iter().all(|keep| *keep) {
            break;
        }
        let mut keep = keep.into_iter();
        graph.node.retain(|_| keep.next().unwrap_or(true));
    }
    lifted.put_back(&mut graph);
    layers.retain(|name, _| graph.node.iter().any(|node| node.name == *name));
    Recognised { graph, layers }
}

/// A layer that is not made yet: packing its weights takes longer than all the search.
type Unpacked<'a> = Box<dyn FnOnce() -> Arc<dyn Layer> + Send + 'a>;

/// Makes the layers. Those at the end have the most weights and are begun first.
fn packed(steps: Vec<Step<Unpacked<'_>>>, pool: &Pool) -> Vec<Step> {
    let unpacked: Vec<_> = steps.into_iter().rev().map(|step| Mutex::new((Some(step), None))).collect();
    pool.run(unpacked.len(), &|part| {
        let mut place = unpacked[part].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Step { layer, input, output, pixels_in, pixels_out }) = place.0.take() {
            place.1 = Some(Step { layer: layer(), input, output, pixels_in, pixels_out });
        }
    });
    let layers = unpacked.into_iter().rev();
    layers.filter_map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner).1).collect()
}

/// One fused layer and the values that it reads and writes, by their names in the file.
struct Step<L = Arc<dyn Layer>> {
    layer: L,
    input: String,
    output: String,
    /// How many channels it reads, where it reads pixels and not planes or rows.
    pixels_in: Option<usize>,
    /// How many it writes, likewise.
    pixels_out: Option<usize>,
}

/// Renames what lies channels-last and puts changes of layout in.
fn lay_out(graph: &GraphProto, taken: &HashSet<usize>, steps: Vec<Step>) -> Vec<Step> {
    let pixels: HashMap<String, usize> =
        steps.iter().filter_map(|step| Some((step.output.clone(), step.pixels_out?))).collect();
    let left = graph.node.iter().enumerate().filter(|(index, _)| !taken.contains(index));
    let mut planes: HashSet<&str> = left.flat_map(|(_, node)| node.input.iter().map(String::as_str)).collect();
    planes.extend(graph.output.iter().map(|output| output.name.as_str()));
    let of_planes = steps.iter().filter(|step| step.pixels_in.is_none());
    planes.extend(of_planes.map(|step| step.input.as_str()).collect::<Vec<_>>());

    let mut changes: HashMap<String, Step> = HashMap::new();
    for step in &steps {
        if let Some(channels) = step.pixels_in
            && !pixels.contains_key(&step.input)
        {
            let change: Step = Step {
                layer: Arc::new(FromPlanes { channels }),
                input: step.input.clone(),
                output: format!("{}{PIXELS}", step.input),
                pixels_in: None,
                pixels_out: None,
            };
            changes.insert(change.output.clone(), change);
        }
        if let Some(channels) = step.pixels_out
            && planes.contains(step.output.as_str())
        {
            let change: Step = Step {
                layer: Arc::new(ToPlanes { channels }),
                input: format!("{}{PIXELS}", step.output),
                output: step.output.clone(),
                pixels_in: None,
                pixels_out: None,
            };
            changes.insert(change.output.clone(), change);
        }
    }
    let renamed = steps.into_iter().map(|mut step| {
        if step.pixels_in.is_some() {
            step.input += PIXELS;
        }
        if step.pixels_out.is_some() {
            step.output += PIXELS;
        }
        step
    });
    let mut all: Vec<Step> = renamed.collect();
    let mut changes: Vec<Step> = changes.into_values().collect();
    changes.sort_by(|a, b| a.output.cmp(&b.output));
    all.extend(changes);
    all
}

/// A convolution that a layer can be made of, with the clamp that follows it.
struct Found<T> {
    weights: T,
    input: String,
    output: String,
    nodes: Vec<usize>,
}

/// What kind a `Conv` node is.
enum Convolved<'a> {
    /// 1×1.
    Pointwise(Pointwise<'a>),
    /// 3×3, each channel by itself.
    Depthwise(Depthwise),
    /// 3×3 over all of few channels.
    Stem(StemWeights<'a>),
}

/// Weights of dense layers, by name.
type KnownDense<'a> = HashMap<String, Arc<UnpackedDense<'a>>>;

/// Weights of a dense layer, packed for the first of the layers that share them.
struct UnpackedDense<'a> {
    rows: usize,
    columns: usize,
    numbers: Numbers<'a>,
    packed: OnceLock<Arc<DenseWeights>>,
}

impl<'a> UnpackedDense<'a> {
    fn new((shape, numbers): (Vec<usize>, Numbers<'a>)) -> Option<Self> {
        let [rows, columns] = *shape.as_slice() else { return None };
        let usable = rows > 0 && columns > 0 && u32::try_from(rows).is_ok();
        usable.then_some(Self { rows, columns, numbers, packed: OnceLock::new() })
    }

    fn packed(&self, kernels: &Kernels) -> Arc<DenseWeights> {
        Arc::clone(self.packed.get_or_init(|| Arc::new(self.pack(kernels))))
    }

    fn pack(&self, kernels: &Kernels) -> DenseWeights {
        let Self { rows, columns, ref numbers, .. } = *self;
        let stride = padded(columns);
        let (values, finite) = match numbers {
            Numbers::HalfBytes(halves) if kernels.half_weights => {
                let mut values = vec![0u16; rows * stride];
                let mut not_finite = false;
                for (to, from) in values.chunks_exact_mut(stride).zip(halves.chunks_exact(2 * columns)) {
                    for (to, from) in to.iter_mut().zip(from.as_chunks::<2>().0) {
                        *to = u16::from_le_bytes(*from);
                        // The highest exponent.
                        not_finite |= *to & 0x7c00 == 0x7c00;
                    }
                }
                (Rows::Half(values), !not_finite)
            }
            numbers => {
                let mut values = vec![0.0; rows * stride];
                for (row, to) in values.chunks_exact_mut(stride).enumerate() {
                    numbers.copy_to(row * columns, &mut to[..columns]);
                }
                let finite = values.iter().all(|value| value.is_finite());
                (Rows::Full(values), finite)
            }
        };
        DenseWeights { rows, columns, values, finite }
    }
}

struct Search<'a> {
    graph: &'a GraphProto,
    lifted: &'a Lifted<'a>,
    kernels: &'static Kernels,
    constants: HashMap<&'a str, &'a TensorProto>,
    /// The node that writes a value.
    writer: HashMap<&'a str, usize>,
    /// The nodes that read a value, one entry a read.
    readers: HashMap<&'a str, Vec<usize>>,
    outputs: HashSet<&'a str>,
}

impl<'a> Search<'a> {
    /// None where the graph is of a kind that is left alone: with graphs inside, or a name written twice.
    fn new(graph: &'a GraphProto, lifted: &'a Lifted<'a>, kernels: &'static Kernels) -> Option<Self> {
        let mut search = Self {
            graph,
            lifted,
            kernels,
            constants: HashMap::new(),
            writer: HashMap::new(),
            readers: HashMap::new(),
            outputs: graph.output.iter().map(|output| output.name.as_str()).collect(),
        };
        let inputs: HashSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
        for tensor in &graph.initializer {
            // An initializer that is an input too is a default that the caller may replace.
            if inputs.contains(tensor.name.as_str()) || search.constants.insert(&tensor.name, tensor).is_some() {
                return None;
            }
        }
        for (index, node) in graph.node.iter().enumerate() {
            if node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty()) {
                return None;
            }
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                let known = search.constants.contains_key(name.as_str()) || inputs.contains(name.as_str());
                if known || name.ends_with(PIXELS) || search.writer.insert(name, index).is_some() {
                    return None;
                }
            }
            for name in node.input.iter().filter(|name| !name.is_empty()) {
                search.readers.entry(name).or_default().push(index);
            }
        }
        Some(search)
    }

    /// The nodes that layers take the place of, and the layers.
    fn run(&self) -> (HashSet<usize>, Vec<Step<Unpacked<'a>>>) {
        let mut taken = HashSet::new();
        let mut steps = Vec::new();
        for index in 0..self.graph.node.len() {
            if taken.contains(&index) {
                continue;
            }
            if let Some((nodes, step)) = self.block(index).or_else(|| self.single(index))
                && nodes.iter().all(|node| !taken.contains(node))
            {
                taken.extend(nodes);
                steps.push(step);
            }
        }
        let pixels: HashMap<String, usize> =
            steps.iter().filter_map(|step| Some((step.output.clone(), step.pixels_out?))).collect();
        let mut dense = HashMap::new();
        for (index, node) in self.graph.node.iter().enumerate() {
            if let Some(step) = self.pool(node, &pixels).or_else(|| self.dense(node, &mut dense)) {
                taken.insert(index);
                steps.push(step);
            }
        }
        (taken, steps)
    }

    /// An inverted residual block that begins with node `index`.
    fn block(&self, index: usize) -> Option<(Vec<usize>, Step<Unpacked<'a>>)> {
        let first = self.convolution(index)?;
        let (expand, depthwise) = match first.weights {
            Convolved::Pointwise(weights) => {
                let next = self.only_reader(&first.output)?;
                (Some((weights, first.nodes)), self.convolution(next)?)
            }
            Convolved::Depthwise(_) => (None, self.convolution(index)?),
            Convolved::Stem(_) => return None,
        };
        let Convolved::Depthwise(filter) = depthwise.weights else { return None };
        let project = self.convolution(self.only_reader(&depthwise.output)?)?;
        let Convolved::Pointwise(projection) = project.weights else { return None };
        let mut nodes = [depthwise.nodes, project.nodes].concat();
        let inputs = match &expand {
            Some((weights, _)) if weights.outputs != filter.channels => return None,
            Some((weights, _)) => weights.inputs,
            None => filter.channels,
        };
        if projection.inputs != filter.channels {
            return None;
        }
        let (expand, expand_nodes) = expand.unzip();
        nodes.extend(expand_nodes.unwrap_or_default());
        let outputs = projection.outputs;
        let mut output = project.output;
        let added = || {
            let next = self.only_reader(&output)?;
            let node = &self.graph.node[next];
            let [a, b] = node.input.as_slice() else { return None };
            let adds = is_onnx(node, "Add") && (*a == first.input && *b == output || *b == first.input && *a == output);
            (adds && node.output.len() == 1).then_some((next, node.output[0].clone()))
        };
        // With a clamp between projection and sum, or another shape, the sum stays tract's.
        let same = filter.stride == 1 && inputs == outputs && projection.clamp == Clamp::NONE;
        let added = if same { added() } else { None };
        let residual = added.is_some();
        if let Some((next, sum)) = added {
            nodes.push(next);
            output = sum;
        }
        let weights = BlockWeights { expand, depthwise: filter, project: projection, residual };
        let kernels = self.kernels;
        let step = Step {
            layer: Box::new(move || Arc::new(Block::new(kernels, &weights)) as Arc<dyn Layer>) as Unpacked<'a>,
            input: first.input,
            output,
            pixels_in: Some(inputs),
            pixels_out: Some(outputs),
        };
        Some((nodes, step))
    }

    /// A stem or a 1×1 convolution by itself.
    fn single(&self, index: usize) -> Option<(Vec<usize>, Step<Unpacked<'a>>)> {
        let (found, kernels) = (self.convolution(index)?, self.kernels);
        let (layer, pixels_in, outputs): (Unpacked<'a>, _, _) = match found.weights {
            Convolved::Stem(weights) => {
                let outputs = weights.taps.outputs;
                (Box::new(move || Arc::new(Stem::new(kernels, &weights))), None, outputs)
            }
            Convolved::Pointwise(weights) => {
                let (inputs, outputs) = (weights.inputs, weights.outputs);
                (Box::new(move || Arc::new(Convolution::new(kernels, &weights))), Some(inputs), outputs)
            }
            Convolved::Depthwise(_) => return None,
        };
        let step = Step { layer, input: found.input, output: found.output, pixels_in, pixels_out: Some(outputs) };
        Some((found.nodes, step))
    }

    fn pool(&self, node: &NodeProto, pixels: &HashMap<String, usize>) -> Option<Step<Unpacked<'a>>> {
        let ([input], [output]) = (node.input.as_slice(), node.output.as_slice()) else { return None };
        let channels = *pixels.get(input)?;
        is_onnx(node, "GlobalAveragePool").then(|| Step {
            layer: Box::new(move || Arc::new(GlobalPool { channels }) as Arc<dyn Layer>) as Unpacked<'a>,
            input: input.clone(),
            output: output.clone(),
            pixels_in: Some(channels),
            pixels_out: None,
        })
    }

    /// `Gemm` with constant weights, either way round. Weights that two nodes share are kept once.
    fn dense(&self, node: &NodeProto, known: &mut KnownDense<'a>) -> Option<Step<Unpacked<'a>>> {
        let scale = |name| attribute(node, name).is_none_or(|a| a.f == 1.0);
        if !is_onnx(node, "Gemm") || !scale("alpha") || !scale("beta") || integer(node, "transA", 0) != 0 {
            return None;
        }
        let (input, name, bias) = match node.input.as_slice() {
            [a, b] => (a, b, None),
            [a, b, c] => (a, b, Some(c).filter(|c| !c.is_empty())),
            _ => return None,
        };
        let [output] = node.output.as_slice() else { return None };
        if self.constant(input).is_some() {
            return None;
        }
        let weights = match known.get(name) {
            Some(weights) => Arc::clone(weights),
            None => {
                let weights = Arc::new(UnpackedDense::new(self.numbers(name)?)?);
                known.insert(name.clone(), Arc::clone(&weights));
                weights
            }
        };
        let backward = integer(node, "transB", 0) != 0;
        let outputs = if backward { weights.rows } else { weights.columns };
        let bias = match bias {
            None => None,
            Some(name) => {
                let (shape, bias) = self.floats(name)?;
                let fits = matches!(*shape.as_slice(), [n] | [1, n] if n == outputs);
                Some(fits.then_some(bias)?)
            }
        };
        let kernels = self.kernels;
        let layer =
            move || Arc::new(Dense { kernels, weights: weights.packed(kernels), bias, backward }) as Arc<dyn Layer>;
        Some(Step {
            layer: Box::new(layer),
            input: input.clone(),
            output: output.clone(),
            pixels_in: None,
            pixels_out: None,
        })
    }

    /// The node that alone reads `value`.
    fn only_reader(&self, value: &str) -> Option<usize> {
        match self.readers.get(value)?.as_slice() {
            [reader] if !self.outputs.contains(value) => Some(*reader),
            _ => None,
        }
    }

    /// The constant `name`, through a cast to f32 where there is one.
    fn constant(&self, name: &str) -> Option<&'a TensorProto> {
        if let Some(tensor) = self.constants.get(name) {
            return Some(tensor);
        }
        let node = &self.graph.node[*self.writer.get(name)?];
        match node.input.as_slice() {
            [] if is_onnx(node, "Constant") => attribute(node, "value")?.t.as_ref(),
            [input] if is_onnx(node, "Cast") && integer(node, "to", 0) == DataType::Float as i64 => {
                // Casts from what is not a float would change more than the width.
                self.constant(input).filter(|tensor| is_float(tensor))
            }
            [input] if is_onnx(node, "Identity") => self.constant(input),
            _ => None,
        }
    }

    /// Shape and values of a constant of f32 or f16.
    fn numbers(&self, name: &str) -> Option<(Vec<usize>, Numbers<'a>)> {
        let tensor = self.constant(name)?;
        numbers_of(tensor, self.lifted.bytes(tensor))
    }

    /// The same as f32.
    fn floats(&self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        self.numbers(name).map(|(shape, numbers)| (shape, numbers.to_floats()))
    }

    fn convolution(&self, index: usize) -> Option<Found<Convolved<'a>>> {
        let node = &self.graph.node[index];
        if !is_onnx(node, "Conv") {
            return None;
        }
        let (input, weights, bias) = match node.input.as_slice() {
            [x, w] => (x, w, None),
            [x, w, b] => (x, w, Some(b).filter(|b| !b.is_empty())),
            _ => return None,
        };
        let [value] = node.output.as_slice() else { return None };
        let (shape, weights) = self.numbers(weights)?;
        let [outputs, inputs, height, width] = *shape.as_slice() else { return None };
        let bias = match bias {
            Some(name) => self.floats(name)?.1,
            None => vec![0.0; outputs],
        };
        let auto_pad = attribute(node, "auto_pad").is_none_or(|a| a.s.is_empty() || a.s == b"NOTSET");
        let group = usize::try_from(integer(node, "group", 1)).ok()?;
        let kernel = integers(node, "kernel_shape").is_none_or(|k| usizes(k) == [height, width]);
        let dilated = integers(node, "dilations").is_some_and(|d| d.iter().any(|d| *d != 1));
        let strides = integers(node, "strides").map_or_else(|| vec![1, 1], usizes);
        let pads = integers(node, "pads").map_or_else(|| vec![0; 4], usizes);
        if !auto_pad || !kernel || dilated || bias.len() != outputs || outputs == 0 || inputs == 0 {
            return None;
        }
        let (clamp, output, nodes) = self.clamped(index, value);
        let size = (height, width, strides.as_slice(), pads.as_slice());
        let weights = match size {
            (1, 1, [1, 1], [0, 0, 0, 0]) if group == 1 => {
                Convolved::Pointwise(Pointwise { inputs, outputs, weights, bias, clamp })
            }
            (3, 3, [stride @ (1 | 2), other], [1, 1, 1, 1]) if stride == other && group == outputs && inputs == 1 => {
                let weights = weights.to_floats();
                Convolved::Depthwise(Depthwise { channels: outputs, stride: *stride, weights, bias, clamp })
            }
            (3, 3, [stride @ (1 | 2), other], [1, 1, 1, 1])
                if stride == other && group == 1 && inputs <= Stem::MAX_CHANNELS =>
            {
                let taps = Pointwise { inputs: 9 * inputs, outputs, weights, bias, clamp };
                Convolved::Stem(StemWeights { inputs, stride: *stride, taps })
            }
            _ => return None,
        };
        Some(Found { weights, input: input.clone(), output, nodes })
    }

    /// The clamp that alone reads `value`, what it writes, and the nodes from `index` on.
    fn clamped(&self, index: usize, value: &str) -> (Clamp, String, Vec<usize>) {
        let clamp = || {
            let next = self.only_reader(value)?;
            let node = &self.graph.node[next];
            let [output] = node.output.as_slice() else { return None };
            let bound = |position: usize, name: &str, none: f32| match node.input.get(position) {
                Some(input) if !input.is_empty() => match self.floats(input)?.1.as_slice() {
                    [bound] => Some(*bound),
                    _ => None,
                },
                _ => Some(attribute(node, name).map_or(none, |a| a.f)),
            };
            let clamp = if is_onnx(node, "Relu") && node.input.len() == 1 {
                RELU
            } else if is_onnx(node, "Clip") && node.input.first().is_some_and(|input| input == value) {
                let low = bound(1, "min", f32::NEG_INFINITY)?;
                let high = bound(2, "max", f32::INFINITY)?;
                Clamp { low, high }
            } else {
                return None;
            };
            (clamp.low <= clamp.high).then(|| (clamp, output.clone(), vec![index, next]))
        };
        clamp().unwrap_or_else(|| (Clamp::NONE, value.to_owned(), vec![index]))
    }
}

/// Shape and values of a constant of f32 or f16 that has as many as its shape says, inside the file; `bytes` are its raw
/// data, wherever they lie.
pub(super) fn numbers_of<'a>(tensor: &'a TensorProto, bytes: &'a [u8]) -> Option<(Vec<usize>, Numbers<'a>)> {
    if !is_float(tensor) {
        return None;
    }
    let shape: Vec<usize> = tensor.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<_>>()?;
    let count = shape.iter().try_fold(1usize, |count, d| count.checked_mul(*d))?;
    let half = tensor.data_type == DataType::Float16 as i32;
    let numbers = match (bytes.is_empty(), half) {
        (false, true) if bytes.len().is_multiple_of(2) => Numbers::HalfBytes(bytes),
        (false, false) if bytes.len().is_multiple_of(4) => Numbers::FloatBytes(bytes),
        (false, _) => return None,
        (true, true) => Numbers::Floats(tensor.int32_data.iter().map(|bits| half_to_float(*bits as u16)).collect()),
        (true, false) => Numbers::Floats(tensor.float_data.clone()),
    };
    let inside = tensor.data_location.is_none_or(|l| l == DataLocation::Default as i32);
    (inside && numbers.len() == count).then_some((shape, numbers))
}

pub(super) fn is_onnx(node: &NodeProto, operator: &str) -> bool {
    node.op_type == operator && (node.domain.is_empty() || node.domain == "ai.onnx")
}

pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

pub(super) fn integer(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |attribute| attribute.i)
}

pub(super) fn integers<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    attribute(node, name).map(|attribute| attribute.ints.as_slice())
}

/// What is negative becomes a number that no pattern has.
pub(super) fn usizes(numbers: &[i64]) -> Vec<usize> {
    numbers.iter().map(|n| usize::try_from(*n).unwrap_or(usize::MAX)).collect()
}

fn is_float(tensor: &TensorProto) -> bool {
    tensor.data_type == DataType::Float as i32 || tensor.data_type == DataType::Float16 as i32
}
