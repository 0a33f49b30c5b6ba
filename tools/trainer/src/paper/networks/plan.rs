//! What a network is made of, layer by layer as Keras counts them, without weights.
//!
//! Keras sorts the layers of a model by their distance from the output, and among equals by the order in which a walk
//! from the output meets them. A cut-off is a number in that order, so it may fall in the middle of branches.

use super::Convention;

/// A clamp after a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// At zero.
    Relu,
    /// At zero and at six.
    Relu6,
}

/// What is added around an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Nothing.
    Valid,
    /// TensorFlow's: as much as makes the output ⌈length / stride⌉ long; an odd one goes to the end.
    Same,
    /// So much on all sides.
    Around(usize),
}

/// A window that moves over an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns.
    pub kernel: [usize; 2],
    /// Steps down and across.
    pub stride: usize,
    /// Around the input.
    pub padding: Padding,
}

impl Window {
    /// Added before and after, for rows and columns of an input of `size`.
    pub fn sides(&self, size: [usize; 2]) -> [(usize, usize); 2] {
        let side = |length: usize, kernel: usize| match self.padding {
            Padding::Valid => (0, 0),
            Padding::Around(n) => (n, n),
            Padding::Same => {
                let total = ((length.div_ceil(self.stride) - 1) * self.stride + kernel).saturating_sub(length);
                (total / 2, total - total / 2)
            }
        };
        [side(size[0], self.kernel[0]), side(size[1], self.kernel[1])]
    }

    /// Rows and columns that the window moves to on an input of `size`; zero where it does not fit.
    pub fn places(&self, size: [usize; 2]) -> [usize; 2] {
        let sides = self.sides(size);
        let places = |length: usize, kernel: usize, (before, after): (usize, usize)| {
            (length + before + after).checked_sub(kernel).map_or(0, |room| room / self.stride + 1)
        };
        [places(size[0], self.kernel[0], sides[0]), places(size[1], self.kernel[1], sides[1])]
    }
}

/// What a layer does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// The films.
    Input,
    /// Zeros for the window of the convolution that follows.
    Pad(Window),
    /// A convolution; in VGG19 with bias and ReLU in the same layer.
    Convolution {
        /// Where it looks.
        window: Window,
        /// Whether a constant is added.
        bias: bool,
        /// Whether the output is clamped at zero.
        relu: bool,
    },
    /// A convolution of each channel by itself.
    Depthwise(Window),
    /// Depthwise, then 1 × 1.
    Separable(Window),
    /// Batch normalisation.
    Normalisation {
        /// Added to the variance.
        epsilon: f64,
        /// Whether the scale is learned; else it is held at what the weights bring, which is 1 in Keras.
        scale: bool,
    },
    /// A clamp.
    Activation(Activation),
    /// The largest of each window.
    MaxPool(Window),
    /// The mean of each window.
    AveragePool {
        /// Where it looks.
        window: Window,
        /// Whether zeros around the input are counted.
        counts_padding: bool,
    },
    /// Channels one after another.
    Concatenate,
    /// The sum of two inputs, the second times this factor.
    Add(f64),
}

impl Operation {
    /// Whether the layer has weights.
    pub fn has_weights(&self) -> bool {
        use Operation::{Convolution, Depthwise, Normalisation, Separable};
        matches!(self, Convolution { .. } | Depthwise(_) | Separable(_) | Normalisation { .. })
    }
}

/// One layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// As Keras names it; where Keras makes a name up (`conv2d_7`), as a fresh session does.
    pub name: String,
    /// What it does.
    pub operation: Operation,
    /// The layers that it reads.
    pub inputs: Vec<usize>,
    /// Of its output.
    pub channels: usize,
    /// Its place among the layers that have weights.
    pub weights: Option<usize>,
    /// The last layer that reads it; the number of layers for the output of the network.
    last_use: usize,
    /// The only layer that reads it.
    only_use: Option<usize>,
}

/// A network's layers in Keras's order; the last one is its output.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In Keras's order.
    pub layers: Vec<Layer>,
    /// Layers before this one are frozen.
    pub cut_off: usize,
}

/// Numbers that layers hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// In the layers before the cut-off.
    pub frozen: usize,
    /// In those behind it, and trained.
    pub trained: usize,
    /// In those behind it, and counted along: the running statistics of batch normalisation.
    pub statistics: usize,
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> usize {
        self.frozen + self.trained + self.statistics
    }
}

impl Plan {
    /// As Keras counts: a scale of batch normalisation that is not learned is none.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (number, layer) in self.layers.iter().enumerate() {
            let from = layer.inputs.first().map_or(0, |i| self.layers[*i].channels);
            let area = |window: Window| window.kernel[0] * window.kernel[1];
            let (learned, statistics) = match layer.operation {
                Operation::Convolution { window, bias, .. } => {
                    ((from * area(window) + usize::from(bias)) * layer.channels, 0)
                }
                Operation::Depthwise(window) => (from * area(window), 0),
                Operation::Separable(window) => (from * (area(window) + layer.channels), 0),
                Operation::Normalisation { scale, .. } => {
                    ((1 + usize::from(scale)) * layer.channels, 2 * layer.channels)
                }
                Operation::Input
                | Operation::Pad(_)
                | Operation::Activation(_)
                | Operation::MaxPool(_)
                | Operation::AveragePool { .. }
                | Operation::Concatenate
                | Operation::Add(_) => (0, 0),
            };
            if number < self.cut_off {
                counts.frozen += learned + statistics;
            } else {
                counts.trained += learned;
                counts.statistics += statistics;
            }
        }
        counts
    }

    /// The layers before `cut` whose output is read after it.
    pub fn live_at(&self, cut: usize) -> Vec<usize> {
        (0..cut).filter(|i| self.layers[*i].last_use >= cut).collect()
    }

    /// Whether nothing reads layer `i` once layer `now` is through.
    pub(super) fn is_spent(&self, i: usize, now: usize) -> bool {
        self.layers[i].last_use <= now
    }

    /// The batch normalisation that alone reads layer `i`, if that is so.
    pub(super) fn normalisation_after(&self, i: usize) -> Option<usize> {
        let next = self.layers[i].only_use?;
        matches!(self.layers[next].operation, Operation::Normalisation { .. }).then_some(next)
    }

    /// The clamp at zero and six that alone reads layer `i`, if that is so.
    pub(super) fn relu6_after(&self, i: usize) -> Option<usize> {
        let next = self.layers[i].only_use?;
        (self.layers[next].operation == Operation::Activation(Activation::Relu6)).then_some(next)
    }

    /// Layers with weights before the cut-off.
    pub fn frozen_weights(&self) -> usize {
        self.layers[..self.cut_off].iter().filter(|l| l.weights.is_some()).count()
    }

    /// Rows, columns of every layer's output for films of `size`; zero where a window does not fit.
    pub fn sizes(&self, size: [usize; 2]) -> Vec<[usize; 2]> {
        let mut sizes: Vec<[usize; 2]> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let from = layer.inputs.first().map_or(size, |i| sizes[*i]);
            sizes.push(match layer.operation {
                Operation::Pad(window) => {
                    let [rows, columns] = window.sides(from);
                    [from[0] + rows.0 + rows.1, from[1] + columns.0 + columns.1]
                }
                Operation::Convolution { window, .. }
                | Operation::Depthwise(window)
                | Operation::Separable(window)
                | Operation::MaxPool(window)
                | Operation::AveragePool { window, .. } => window.places(from),
                Operation::Input
                | Operation::Normalisation { .. }
                | Operation::Activation(_)
                | Operation::Concatenate
                | Operation::Add(_) => from,
            });
        }
        sizes
    }
}

/// A layer while a network is put together.
pub(super) type Node = usize;

/// Puts a network together in the order in which Keras's own code does.
pub(super) struct Builder {
    pub(super) convention: Convention,
    layers: Vec<(String, Operation, Vec<Node>, usize)>,
    /// Layers named so far by the kind alone.
    unnamed: std::collections::BTreeMap<&'static str, usize>,
}

impl Builder {
    /// With the input, three channels, as node 0.
    pub(super) fn new(convention: Convention) -> Self {
        let input = ("input_1".to_string(), Operation::Input, Vec::new(), 3);
        Self { convention, layers: vec![input], unnamed: std::collections::BTreeMap::new() }
    }

    pub(super) fn channels(&self, node: Node) -> usize {
        self.layers[node].3
    }

    /// Adds a layer; without a `name` it gets the kind's next number, as in Keras.
    pub(super) fn add(&mut self, name: Option<&str>, operation: Operation, inputs: Vec<Node>, channels: usize) -> Node {
        let name = name.map_or_else(|| self.next_name(&operation), str::to_string);
        self.layers.push((name, operation, inputs, channels));
        self.layers.len() - 1
    }

    fn next_name(&mut self, operation: &Operation) -> String {
        let kind = match operation {
            Operation::Input => "input",
            Operation::Pad(_) => "zero_padding2d",
            Operation::Convolution { .. } => "conv2d",
            Operation::Depthwise(_) => "depthwise_conv2d",
            Operation::Separable(_) => "separable_conv2d",
            Operation::Normalisation { .. } => "batch_normalization",
            Operation::Activation(_) => "activation",
            Operation::MaxPool(_) => "max_pooling2d",
            Operation::AveragePool { .. } => "average_pooling2d",
            Operation::Concatenate => "concatenate",
            Operation::Add(_) => "add",
        };
        let number = self.unnamed.entry(kind).or_default();
        *number += 1;
        format!("{kind}_{number}")
    }

    pub(super) fn convolution(&mut self, name: Option<&str>, x: Node, output: usize, window: Window) -> Node {
        self.add(name, Operation::Convolution { window, bias: false, relu: false }, vec![x], output)
    }

    pub(super) fn unary(&mut self, name: Option<&str>, operation: Operation, x: Node) -> Node {
        let channels = self.channels(x);
        self.add(name, operation, vec![x], channels)
    }

    pub(super) fn relu(&mut self, name: Option<&str>, x: Node) -> Node {
        self.unary(name, Operation::Activation(Activation::Relu), x)
    }

    pub(super) fn sum(&mut self, name: Option<&str>, x: Node, y: Node, factor: f64) -> Node {
        let channels = self.channels(x);
        self.add(name, Operation::Add(factor), vec![x, y], channels)
    }

    pub(super) fn concatenate(&mut self, name: Option<&str>, parts: Vec<Node>) -> Node {
        let channels = parts.iter().map(|p| self.channels(*p)).sum();
        self.add(name, Operation::Concatenate, parts, channels)
    }

    /// Sorts as Keras does; `output` is the last layer.
    pub(super) fn finish(self, output: Node, cut_off: usize) -> Plan {
        let depths = self.depths(output);
        let met = self.met_from(output);
        let mut order: Vec<Node> = (0..self.layers.len()).filter(|n| met[*n].is_some()).collect();
        order.sort_by_key(|n| (std::cmp::Reverse(depths[*n]), met[*n]));
        let mut place = vec![0; self.layers.len()];
        for (to, from) in order.iter().enumerate() {
            place[*from] = to;
        }
        let mut layers: Vec<Layer> = Vec::with_capacity(order.len());
        let mut weights = 0;
        for node in &order {
            let (name, operation, inputs, channels) = self.layers[*node].clone();
            let index = operation.has_weights().then_some(weights);
            weights += usize::from(index.is_some());
            let inputs = inputs.into_iter().map(|n| place[n]).collect();
            layers.push(Layer { name, operation, inputs, channels, weights: index, last_use: 0, only_use: None });
        }
        let mut uses: Vec<Vec<usize>> = vec![Vec::new(); layers.len()];
        for (reader, layer) in layers.iter().enumerate() {
            for input in &layer.inputs {
                uses[*input].push(reader);
            }
        }
        let count = layers.len();
        for (layer, uses) in layers.iter_mut().zip(uses) {
            layer.last_use = uses.last().copied().unwrap_or(count);
            layer.only_use = if let [only] = uses.as_slice() { Some(*only) } else { None };
        }
        Plan { layers, cut_off }
    }

    /// The longest way from each node to the output.
    fn depths(&self, output: Node) -> Vec<usize> {
        let mut depths = vec![0; self.layers.len()];
        // Every layer was added after those that it reads.
        for node in (0..=output).rev() {
            for input in &self.layers[node].2 {
                depths[*input] = depths[*input].max(depths[node] + 1);
            }
        }
        depths
    }

    /// When a walk from the output, first inputs first, meets each node.
    fn met_from(&self, output: Node) -> Vec<Option<usize>> {
        let mut met = vec![None; self.layers.len()];
        let (mut count, mut open) = (0, vec![output]);
        while let Some(node) = open.pop() {
            if met[node].is_none() {
                met[node] = Some(count);
                count += 1;
                open.extend(self.layers[node].2.iter().rev());
            }
        }
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_puts_the_odd_one_at_the_end() {
        let window = Window { kernel: [3, 3], stride: 2, padding: Padding::Same };
        assert_eq!(window.sides([200, 75]), [(0, 1), (1, 1)]);
        assert_eq!(window.places([200, 75]), [100, 38]);
        let wide = Window { kernel: [1, 7], stride: 1, padding: Padding::Same };
        assert_eq!(wide.sides([5, 5]), [(0, 0), (3, 3)]);
        // A window smaller than its stride takes nothing from the input.
        let point = Window { kernel: [1, 1], stride: 2, padding: Padding::Same };
        assert_eq!((point.sides([8, 7]), point.places([8, 7])), ([(0, 0), (0, 0)], [4, 4]));
    }

    #[test]
    fn a_window_that_does_not_fit_has_no_place() {
        let window = Window { kernel: [3, 3], stride: 2, padding: Padding::Valid };
        assert_eq!(window.places([2, 9]), [0, 4]);
    }
}
