//! Inception v3 (Szegedy 2016) as Keras builds it, without classifiers.

use super::Convention;
use super::plan::{Builder, Node, Operation, Padding, Plan, Window};

pub(super) fn plan(convention: Convention, cut_off: usize) -> Plan {
    let mut build = Builder::new(convention);
    let b = &mut build;
    let mut x = stem(b, 0);
    for (number, pooled) in [32, 64, 64].into_iter().enumerate() {
        let point = same(b, x, 64, [1, 1]);
        let five = same(b, x, 48, [1, 1]);
        let five = same(b, five, 64, [5, 5]);
        let double = chain(b, x, &[(64, [1, 1]), (96, [3, 3]), (96, [3, 3])]);
        let pool = pooled_branch(b, x, pooled);
        x = b.concatenate(Some(&format!("mixed{number}")), vec![point, five, double, pool]);
    }
    let three = strided(b, x, 384);
    let double = chain(b, x, &[(64, [1, 1]), (96, [3, 3])]);
    let double = strided(b, double, 96);
    let pool = max_pooled(b, x);
    x = b.concatenate(Some("mixed3"), vec![three, double, pool]);
    for (number, width) in (4..).zip([128, 160, 160, 192]) {
        let point = same(b, x, 192, [1, 1]);
        let seven = chain(b, x, &[(width, [1, 1]), (width, [1, 7]), (192, [7, 1])]);
        let double = chain(b, x, &[(width, [1, 1]), (width, [7, 1]), (width, [1, 7]), (width, [7, 1]), (192, [1, 7])]);
        let pool = pooled_branch(b, x, 192);
        x = b.concatenate(Some(&format!("mixed{number}")), vec![point, seven, double, pool]);
    }
    let three = same(b, x, 192, [1, 1]);
    let three = strided(b, three, 320);
    let seven = chain(b, x, &[(192, [1, 1]), (192, [1, 7]), (192, [7, 1])]);
    let seven = strided(b, seven, 192);
    let pool = max_pooled(b, x);
    x = b.concatenate(Some("mixed8"), vec![three, seven, pool]);
    for number in 0..2 {
        let point = same(b, x, 320, [1, 1]);
        let three = same(b, x, 384, [1, 1]);
        let three = split(b, three, Some(&format!("mixed9_{number}")));
        let double = chain(b, x, &[(448, [1, 1]), (384, [3, 3])]);
        let double = split(b, double, None);
        let pool = pooled_branch(b, x, 192);
        x = b.concatenate(Some(&format!("mixed{}", 9 + number)), vec![point, three, double, pool]);
    }
    build.finish(x, cut_off)
}

/// To 192 channels at an eighth of the size; Inception-ResNet v2 begins alike.
pub(super) fn stem(b: &mut Builder, x: Node) -> Node {
    let x = strided(b, x, 32);
    let x = convolution(b, x, 32, Window { kernel: [3, 3], stride: 1, padding: Padding::Valid });
    let x = same(b, x, 64, [3, 3]);
    let x = max_pooled(b, x);
    let x = convolution(b, x, 80, Window { kernel: [1, 1], stride: 1, padding: Padding::Valid });
    let x = convolution(b, x, 192, Window { kernel: [3, 3], stride: 1, padding: Padding::Valid });
    max_pooled(b, x)
}

/// Convolution, normalisation without a scale of its own, clamp.
pub(super) fn convolution(b: &mut Builder, x: Node, output: usize, window: Window) -> Node {
    let x = b.convolution(None, x, output, window);
    let x = b.unary(None, Operation::Normalisation { epsilon: 1e-3, scale: false }, x);
    b.relu(None, x)
}

pub(super) fn same(b: &mut Builder, x: Node, output: usize, kernel: [usize; 2]) -> Node {
    convolution(b, x, output, Window { kernel, stride: 1, padding: Padding::Same })
}

/// 3 × 3, stride 2, without padding.
pub(super) fn strided(b: &mut Builder, x: Node, output: usize) -> Node {
    convolution(b, x, output, Window { kernel: [3, 3], stride: 2, padding: Padding::Valid })
}

pub(super) fn chain(b: &mut Builder, x: Node, steps: &[(usize, [usize; 2])]) -> Node {
    steps.iter().fold(x, |x, (output, kernel)| same(b, x, *output, *kernel))
}

pub(super) fn max_pooled(b: &mut Builder, x: Node) -> Node {
    b.unary(None, Operation::MaxPool(Window { kernel: [3, 3], stride: 2, padding: Padding::Valid }), x)
}

/// Mean of 3 × 3, then 1 × 1.
pub(super) fn mean_pooled(b: &mut Builder, x: Node, output: usize, counts_padding: bool) -> Node {
    let window = Window { kernel: [3, 3], stride: 1, padding: Padding::Same };
    let x = b.unary(None, Operation::AveragePool { window, counts_padding }, x);
    same(b, x, output, [1, 1])
}

/// torchvision's means count the zeros around the input, Keras's do not.
fn pooled_branch(b: &mut Builder, x: Node, output: usize) -> Node {
    let counts_padding = b.convention == Convention::Torch;
    mean_pooled(b, x, output, counts_padding)
}

/// 1 × 3 beside 3 × 1.
fn split(b: &mut Builder, x: Node, name: Option<&str>) -> Node {
    let wide = same(b, x, 384, [1, 3]);
    let tall = same(b, x, 384, [3, 1]);
    b.concatenate(name, vec![wide, tall])
}

/// torchvision's (and timm's) modules in the order in which Keras numbers their convolutions.
pub(super) fn torchvision_modules() -> Vec<String> {
    const STEM: [&str; 5] = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"];
    const DOUBLE: [&str; 3] = ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"];
    const FIVE: [&str; 3] = ["branch1x1", "branch5x5_1", "branch5x5_2"];
    const SEVEN: [&str; 10] = [
        "branch1x1",
        "branch7x7_1",
        "branch7x7_2",
        "branch7x7_3",
        "branch7x7dbl_1",
        "branch7x7dbl_2",
        "branch7x7dbl_3",
        "branch7x7dbl_4",
        "branch7x7dbl_5",
        "branch_pool",
    ];
    const LAST: [&str; 9] = [
        "branch1x1",
        "branch3x3_1",
        "branch3x3_2a",
        "branch3x3_2b",
        "branch3x3dbl_1",
        "branch3x3dbl_2",
        "branch3x3dbl_3a",
        "branch3x3dbl_3b",
        "branch_pool",
    ];
    let mut modules: Vec<String> = STEM.iter().map(|s| s.to_string()).collect();
    let mut add = |block: &str, parts: &[&str]| modules.extend(parts.iter().map(|p| format!("{block}.{p}")));
    for block in ["Mixed_5b", "Mixed_5c", "Mixed_5d"] {
        add(block, &FIVE);
        add(block, &DOUBLE);
        add(block, &["branch_pool"]);
    }
    add("Mixed_6a", &["branch3x3"]);
    add("Mixed_6a", &DOUBLE);
    for block in ["Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"] {
        add(block, &SEVEN);
    }
    add("Mixed_7a", &["branch3x3_1", "branch3x3_2"]);
    add("Mixed_7a", &["branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"]);
    for block in ["Mixed_7b", "Mixed_7c"] {
        add(block, &LAST);
    }
    modules
}
