//! Times training steps of the released network: one step for every line on standard input, its milliseconds on
//! standard output. `bench/training-step` runs it beside PyTorch.
//!
//! Arguments: HEIGHT WIDTH BATCH FROZEN_BLOCKS THREADS.

use std::io::{self, BufRead, Write};
use std::time::Instant;

use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Tensor};
use trainer::data::Label;
use trainer::network::Network;
use trainer::training::loss::loss;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let [height, width, batch, frozen, threads] = arguments[..] else {
        return Err("expected five numbers: height, width, batch, frozen blocks, threads".into());
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let device = Device::flex().autodiff();
    device.seed(1);
    let mut network = Network::new(0.5, &device).freeze_first(frozen);
    let mut optimiser = AdamWConfig::new().init();
    let labels: Vec<Label> =
        [Label::Covid19, Label::Pneumonia, Label::Normal].into_iter().cycle().take(batch).collect();
    println!("ready");
    for line in io::stdin().lock().lines() {
        line?;
        let films = Tensor::<4>::random([batch, 1, height, width], Distribution::Normal(0.0, 1.0), &device);
        let start = Instant::now();
        let loss = loss(network.forward(films), &labels, 0.1);
        let mut gradients = loss.backward();
        let gradients = GradientsParams::from_module(&mut gradients, &network);
        network = optimiser.step(1e-3, network, gradients);
        println!("{:.3}", start.elapsed().as_secs_f64() * 1e3);
        io::stdout().flush()?;
    }
    Ok(())
}
