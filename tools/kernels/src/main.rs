//! Runs a MobileNetV2 of made-up weights on the engine's layers, and nothing else: something to count and to time.
//!
//! `kernels RUNS [CHANNELS HEIGHT WIDTH [THREADS [KERNELS]]]` prints the multiplications of a film, its least time, that
//! of each layer, and a checksum of the answers.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use kernels::network::{Network, Size};

/// Fewer runs are to be counted, not timed.
const TIMED: usize = 20;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |position: usize, default: usize| match words.get(position) {
        Some(word) => word.parse().ok(),
        None => Some(default),
    };
    let (Some(runs), Some(channels), Some(height), Some(width), Some(threads)) =
        (number(0, 5), number(1, 1), number(2, 192), number(3, 192), number(4, 1))
    else {
        eprintln!("kernels: expected RUNS [CHANNELS HEIGHT WIDTH [THREADS [KERNELS]]], all but the last numbers");
        return ExitCode::from(2);
    };
    let mut network = match Network::new(Size { channels, height, width }, words.get(5).map(String::as_str), threads) {
        Ok(Some(network)) => network,
        Ok(None) => {
            eprintln!("kernels: this processor has no kernels called {}", words[5]);
            return ExitCode::from(2);
        }
        Err(error) => {
            eprintln!("kernels: cannot start {threads} threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let image: Vec<f32> = (0..channels * height * width).map(|i| (i % 97) as f32 / 48.0 - 1.0).collect();
    let mut least = vec![f64::INFINITY; network.layers().count()];
    let (mut whole, mut checksum) = (f64::INFINITY, 0u32);
    for _ in 0..runs {
        let start = Instant::now();
        let mut last = start;
        let answer = network.run(black_box(&image), |layer| {
            let now = Instant::now();
            least[layer] = least[layer].min((now - last).as_secs_f64() * 1e3);
            last = now;
        });
        whole = whole.min(start.elapsed().as_secs_f64() * 1e3);
        checksum = answer.iter().fold(checksum, |sum, value| sum.rotate_left(1) ^ value.to_bits());
    }
    let millions = network.multiply_adds() as f64 / 1e6;
    println!(
        "{}, {threads} threads: {millions:.1} M multiply-adds, least {whole:.3} ms, {checksum:08x}",
        network.kernels()
    );
    if runs >= TIMED {
        let peak = network.peak() / 1e9;
        println!("{:.0} % of {peak:.1} GFLOP/s a core", 200.0 * millions / whole / peak / threads as f64);
    }
    for ((name, cost), least) in network.layers().zip(least) {
        let cost = cost as f64 / 1e6;
        println!("  {name:30} {cost:8.2} M {least:8.3} ms {:6.1} GFLOP/s", 2.0 * cost / least);
    }
    ExitCode::SUCCESS
}
