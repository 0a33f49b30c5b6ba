//! MobileNetV2, width 1.0 (Sandler 2018), for three channels.

use super::Convention;
use super::plan::{Activation, Builder, Node, Operation, Padding, Plan, Window};
use crate::network::mobilenet_v2::{FEATURES, STAGES};

pub(super) fn plan(convention: Convention, cut_off: usize) -> Plan {
    let mut build = Builder::new(convention);
    let x = padded(&mut build, "Conv1_pad", 0);
    let x = build.convolution(Some("Conv1"), x, 32, Window { kernel: [3, 3], stride: 2, padding: Padding::Valid });
    let x = normalised(&mut build, "bn_Conv1", x);
    let mut x = relu6(&mut build, "Conv1_relu", x);
    let mut block = 0;
    for [expansion, output, repeats, stride] in STAGES {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            x = inverted_residual(&mut build, block, x, expansion, output, stride);
            block += 1;
        }
    }
    let x = point(&mut build, "Conv_1", x, FEATURES);
    let x = normalised(&mut build, "Conv_1_bn", x);
    let x = relu6(&mut build, "out_relu", x);
    build.finish(x, cut_off)
}

fn inverted_residual(
    build: &mut Builder,
    block: usize,
    entry: Node,
    expansion: usize,
    output: usize,
    stride: usize,
) -> Node {
    let name = |layer: &str| match block {
        0 => format!("expanded_conv_{layer}"),
        _ => format!("block_{block}_{layer}"),
    };
    let mut x = entry;
    let input = build.channels(entry);
    if expansion != 1 {
        x = point(build, &name("expand"), x, input * expansion);
        x = normalised(build, &name("expand_BN"), x);
        x = relu6(build, &name("expand_relu"), x);
    }
    let mut window = Window { kernel: [3, 3], stride, padding: Padding::Same };
    if stride == 2 {
        x = padded(build, &name("pad"), x);
        window.padding = Padding::Valid;
    }
    x = build.unary(Some(&name("depthwise")), Operation::Depthwise(window), x);
    x = normalised(build, &name("depthwise_BN"), x);
    x = relu6(build, &name("depthwise_relu"), x);
    x = point(build, &name("project"), x, output);
    x = normalised(build, &name("project_BN"), x);
    if stride == 1 && input == output { build.sum(Some(&name("add")), entry, x, 1.0) } else { x }
}

/// Keras pads as TensorFlow does, torchvision by one on all sides.
fn padded(build: &mut Builder, name: &str, x: Node) -> Node {
    let padding = match build.convention {
        Convention::Keras => Padding::Same,
        Convention::Torch => Padding::Around(1),
    };
    build.unary(Some(name), Operation::Pad(Window { kernel: [3, 3], stride: 2, padding }), x)
}

fn point(build: &mut Builder, name: &str, x: Node, output: usize) -> Node {
    build.convolution(Some(name), x, output, Window { kernel: [1, 1], stride: 1, padding: Padding::Same })
}

fn normalised(build: &mut Builder, name: &str, x: Node) -> Node {
    let epsilon = build.convention.epsilon();
    build.unary(Some(name), Operation::Normalisation { epsilon, scale: true }, x)
}

fn relu6(build: &mut Builder, name: &str, x: Node) -> Node {
    build.unary(Some(name), Operation::Activation(Activation::Relu6), x)
}

/// Where torchvision holds a layer.
pub(super) fn torchvision_place(layer: &str) -> Option<String> {
    match layer {
        "Conv1" => return Some("features.0.0".into()),
        "bn_Conv1" => return Some("features.0.1".into()),
        "Conv_1" => return Some("features.18.0".into()),
        "Conv_1_bn" => return Some("features.18.1".into()),
        _ => {}
    }
    let (number, part) = match layer.strip_prefix("expanded_conv_") {
        Some(part) => (0, part),
        None => {
            let (number, part) = layer.strip_prefix("block_")?.split_once('_')?;
            (number.parse::<usize>().ok()?, part)
        }
    };
    // The first block has no expansion, so its layers are one place further to the front.
    let place = match (part, number) {
        ("expand", 1..) => "0.0",
        ("expand_BN", 1..) => "0.1",
        ("depthwise", 0) => "0.0",
        ("depthwise_BN", 0) => "0.1",
        ("depthwise", _) => "1.0",
        ("depthwise_BN", _) => "1.1",
        ("project", 0) => "1",
        ("project_BN", 0) => "2",
        ("project", _) => "2",
        ("project_BN", _) => "3",
        _ => return None,
    };
    Some(format!("features.{}.conv.{place}", number + 1))
}
