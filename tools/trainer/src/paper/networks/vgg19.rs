//! VGG19 (Simonyan & Zisserman 2015, configuration E), without its classifier.

use super::Convention;
use super::plan::{Builder, Operation, Padding, Plan, Window};

/// Channels and convolutions of each block.
const BLOCKS: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 4), (512, 4), (512, 4)];

pub(super) fn plan(convention: Convention, cut_off: usize) -> Plan {
    let mut build = Builder::new(convention);
    let mut x = 0;
    for (block, (output, convolutions)) in BLOCKS.into_iter().enumerate() {
        let block = block + 1;
        for number in 1..=convolutions {
            let window = Window { kernel: [3, 3], stride: 1, padding: Padding::Same };
            let operation = Operation::Convolution { window, bias: true, relu: true };
            x = build.add(Some(&format!("block{block}_conv{number}")), operation, vec![x], output);
        }
        let window = Window { kernel: [2, 2], stride: 2, padding: Padding::Valid };
        x = build.unary(Some(&format!("block{block}_pool")), Operation::MaxPool(window), x);
    }
    build.finish(x, cut_off)
}

/// Where torchvision's `features` of VGG with `convolutions` a block holds `block{b}_conv{c}`.
///
/// `None` for a convolution that such a network lacks.
pub(super) fn torchvision_place(convolutions: [usize; 5], layer: &str) -> Option<String> {
    let (block, number) = layer.strip_prefix("block")?.split_once("_conv")?;
    let (block, number): (usize, usize) = (block.parse().ok()?, number.parse().ok()?);
    if number > *convolutions.get(block.checked_sub(1)?)? {
        return None;
    }
    // Each convolution is followed by a ReLU, each block by a pooling layer.
    let before: usize = convolutions[..block - 1].iter().map(|n| 2 * n + 1).sum();
    Some(format!("features.{}", before + 2 * (number - 1)))
}
