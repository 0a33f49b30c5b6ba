//! Xception (Chollet 2017), without its classifier.

use super::Convention;
use super::plan::{Builder, Node, Operation, Padding, Plan, Window};

const SEPARABLE: Window = Window { kernel: [3, 3], stride: 1, padding: Padding::Same };

pub(super) fn plan(convention: Convention, cut_off: usize) -> Plan {
    let mut build = Builder::new(convention);
    let mut x = 0;
    for (number, output, stride) in [(1, 32, 2), (2, 64, 1)] {
        let name = format!("block1_conv{number}");
        x = build.convolution(Some(&name), x, output, Window { kernel: [3, 3], stride, padding: Padding::Valid });
        x = normalised(&mut build, Some(&format!("{name}_bn")), x);
        x = build.relu(Some(&format!("{name}_act")), x);
    }
    for (block, outputs) in [(2, [128, 128]), (3, [256, 256]), (4, [728, 728])] {
        x = shrinking(&mut build, block, x, outputs);
    }
    for block in 5..=12 {
        let entry = x;
        for number in 1..=3 {
            x = build.relu(Some(&format!("block{block}_sepconv{number}_act")), x);
            x = separable(&mut build, block, number, x, 728);
        }
        x = build.sum(None, x, entry, 1.0);
    }
    x = shrinking(&mut build, 13, x, [728, 1024]);
    for (number, output) in [(1, 1536), (2, 2048)] {
        x = separable(&mut build, 14, number, x, output);
        x = build.relu(Some(&format!("block14_sepconv{number}_act")), x);
    }
    build.finish(x, cut_off)
}

/// Two separable convolutions and a pooling layer beside a strided 1 × 1.
fn shrinking(build: &mut Builder, block: usize, entry: Node, outputs: [usize; 2]) -> Node {
    let shortcut = Window { kernel: [1, 1], stride: 2, padding: Padding::Same };
    let residual = build.convolution(None, entry, outputs[1], shortcut);
    let residual = normalised(build, None, residual);
    let mut x = entry;
    for (number, output) in (1..).zip(outputs) {
        // The clamp before the first one of block 2 is that of the stem.
        if (block, number) != (2, 1) {
            x = build.relu(Some(&format!("block{block}_sepconv{number}_act")), x);
        }
        x = separable(build, block, number, x, output);
    }
    let padding = match build.convention {
        Convention::Keras => Padding::Same,
        Convention::Torch => Padding::Around(1),
    };
    let pool = Operation::MaxPool(Window { kernel: [3, 3], stride: 2, padding });
    x = build.unary(Some(&format!("block{block}_pool")), pool, x);
    build.sum(None, x, residual, 1.0)
}

fn separable(build: &mut Builder, block: usize, number: usize, x: Node, output: usize) -> Node {
    let name = format!("block{block}_sepconv{number}");
    let x = build.add(Some(&name), Operation::Separable(SEPARABLE), vec![x], output);
    normalised(build, Some(&format!("{name}_bn")), x)
}

fn normalised(build: &mut Builder, name: Option<&str>, x: Node) -> Node {
    let epsilon = build.convention.epsilon();
    build.unary(name, Operation::Normalisation { epsilon, scale: true }, x)
}

/// The strided shortcuts, which Keras leaves without a name: block and number.
const SHORTCUTS: [(usize, usize); 4] = [(2, 1), (3, 2), (4, 3), (13, 4)];

/// A shortcut by its block, as converted files name it: `block2_res`, `block2_res_bn`.
pub(super) fn by_block(layer: &str) -> String {
    for (block, number) in SHORTCUTS {
        if layer == format!("conv2d_{number}") {
            return format!("block{block}_res");
        }
        if layer == format!("batch_normalization_{number}") {
            return format!("block{block}_res_bn");
        }
    }
    layer.to_string()
}

/// Where timm's `legacy_xception` holds a layer; a separable convolution is `conv1` and `pointwise` below it.
pub(super) fn timm_place(layer: &str) -> Option<String> {
    for (block, number) in SHORTCUTS {
        let place = if block == 13 { 12 } else { block - 1 };
        if layer == format!("conv2d_{number}") {
            return Some(format!("block{place}.skip"));
        }
        if layer == format!("batch_normalization_{number}") {
            return Some(format!("block{place}.skipbn"));
        }
    }
    let (block, rest) = layer.strip_prefix("block")?.split_once('_')?;
    let block: usize = block.parse().ok()?;
    let (number, norm) = match rest.strip_suffix("_bn") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let kind = if norm { "bn" } else { "conv" };
    if block == 1 {
        return Some(format!("{kind}{}", number.strip_prefix("conv")?));
    }
    let number: usize = number.strip_prefix("sepconv")?.parse().ok()?;
    if block == 14 {
        return Some(format!("{kind}{}", number + 2));
    }
    // In `rep`: clamp, convolution, normalisation; the first block begins without a clamp.
    let first = if block == 2 { 0 } else { 1 };
    let place = first + 3 * (number - 1) + usize::from(norm);
    Some(format!("block{}.rep.{place}", block - 1))
}
