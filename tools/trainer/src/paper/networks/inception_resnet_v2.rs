//! Inception-ResNet v2 (Szegedy 2017) as Keras builds it, without its classifier.

use super::Convention;
use super::inception_v3::{chain, max_pooled, mean_pooled, same, stem, strided};
use super::plan::{Builder, Node, Operation, Padding, Plan, Window};

/// Repeats of the three kinds of blocks.
const REPEATS: [usize; 3] = [10, 20, 10];

pub(super) fn plan(convention: Convention, cut_off: usize) -> Plan {
    let mut build = Builder::new(convention);
    let b = &mut build;
    let x = stem(b, 0);
    let point = same(b, x, 96, [1, 1]);
    let five = chain(b, x, &[(48, [1, 1]), (64, [5, 5])]);
    let double = chain(b, x, &[(64, [1, 1]), (96, [3, 3]), (96, [3, 3])]);
    let pool = mean_pooled(b, x, 64, false);
    let mut x = b.concatenate(Some("mixed_5b"), vec![point, five, double, pool]);
    for number in 1..=REPEATS[0] {
        let point = same(b, x, 32, [1, 1]);
        let three = chain(b, x, &[(32, [1, 1]), (32, [3, 3])]);
        let double = chain(b, x, &[(32, [1, 1]), (48, [3, 3]), (64, [3, 3])]);
        x = residual(b, &format!("block35_{number}"), x, vec![point, three, double], 0.17, true);
    }
    let three = strided(b, x, 384);
    let double = chain(b, x, &[(256, [1, 1]), (256, [3, 3])]);
    let double = strided(b, double, 384);
    let pool = max_pooled(b, x);
    x = b.concatenate(Some("mixed_6a"), vec![three, double, pool]);
    for number in 1..=REPEATS[1] {
        let point = same(b, x, 192, [1, 1]);
        let seven = chain(b, x, &[(128, [1, 1]), (160, [1, 7]), (192, [7, 1])]);
        x = residual(b, &format!("block17_{number}"), x, vec![point, seven], 0.1, true);
    }
    let first = same(b, x, 256, [1, 1]);
    let first = strided(b, first, 384);
    let second = same(b, x, 256, [1, 1]);
    let second = strided(b, second, 288);
    let third = chain(b, x, &[(256, [1, 1]), (288, [3, 3])]);
    let third = strided(b, third, 320);
    let pool = max_pooled(b, x);
    x = b.concatenate(Some("mixed_7a"), vec![first, second, third, pool]);
    for number in 1..=REPEATS[2] {
        let point = same(b, x, 192, [1, 1]);
        let three = chain(b, x, &[(192, [1, 1]), (224, [1, 3]), (256, [3, 1])]);
        // The last block is neither scaled nor clamped.
        let last = number == REPEATS[2];
        let factor = if last { 1.0 } else { 0.2 };
        x = residual(b, &format!("block8_{number}"), x, vec![point, three], factor, !last);
    }
    let window = Window { kernel: [1, 1], stride: 1, padding: Padding::Same };
    x = b.convolution(Some("conv_7b"), x, 1536, window);
    x = b.unary(Some("conv_7b_bn"), Operation::Normalisation { epsilon: 1e-3, scale: false }, x);
    x = b.relu(Some("conv_7b_ac"), x);
    build.finish(x, cut_off)
}

fn residual(b: &mut Builder, name: &str, entry: Node, branches: Vec<Node>, factor: f64, clamped: bool) -> Node {
    let mixed = b.concatenate(Some(&format!("{name}_mixed")), branches);
    let window = Window { kernel: [1, 1], stride: 1, padding: Padding::Same };
    let output = b.channels(entry);
    let convolution = Operation::Convolution { window, bias: true, relu: false };
    let up = b.add(Some(&format!("{name}_conv")), convolution, vec![mixed], output);
    let x = b.sum(Some(name), entry, up, factor);
    if clamped { b.relu(Some(&format!("{name}_ac")), x) } else { x }
}

/// timm's modules in the order in which Keras numbers its unnamed convolutions.
pub(super) fn timm_modules() -> Vec<String> {
    const STEM: [&str; 5] = ["conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a"];
    let mut modules: Vec<String> = STEM.iter().map(|s| s.to_string()).collect();
    let mut add = |block: &str, parts: &[&str]| modules.extend(parts.iter().map(|p| format!("{block}.{p}")));
    let double = ["branch2.0", "branch2.1", "branch2.2"];
    add("mixed_5b", &["branch0", "branch1.0", "branch1.1"]);
    add("mixed_5b", &double);
    add("mixed_5b", &["branch3.1"]);
    for number in 0..REPEATS[0] {
        add(&format!("repeat.{number}"), &["branch0", "branch1.0", "branch1.1"]);
        add(&format!("repeat.{number}"), &double);
    }
    add("mixed_6a", &["branch0", "branch1.0", "branch1.1", "branch1.2"]);
    for number in 0..REPEATS[1] {
        add(&format!("repeat_1.{number}"), &["branch0", "branch1.0", "branch1.1", "branch1.2"]);
    }
    add("mixed_7a", &["branch0.0", "branch0.1", "branch1.0", "branch1.1"]);
    add("mixed_7a", &double);
    for number in 0..REPEATS[2] {
        let block = if number + 1 == REPEATS[2] { "block8".to_string() } else { format!("repeat_2.{number}") };
        add(&block, &["branch0", "branch1.0", "branch1.1", "branch1.2"]);
    }
    modules
}

/// Where timm holds a layer that Keras gives a name.
pub(super) fn timm_place(layer: &str) -> Option<String> {
    match layer {
        "conv_7b" => return Some("conv2d_7b.conv".into()),
        "conv_7b_bn" => return Some("conv2d_7b.bn".into()),
        _ => {}
    }
    let (kind, number) = layer.strip_suffix("_conv")?.split_once('_')?;
    let number: usize = number.parse().ok()?;
    Some(match kind {
        "block35" => format!("repeat.{}.conv2d", number - 1),
        "block17" => format!("repeat_1.{}.conv2d", number - 1),
        "block8" if number == REPEATS[2] => "block8.conv2d".into(),
        "block8" => format!("repeat_2.{}.conv2d", number - 1),
        _ => return None,
    })
}
