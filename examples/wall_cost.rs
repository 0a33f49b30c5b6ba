//! What the wall costs: the same film decoded in this process, and behind the wall with a new and a warm decoder.
//!
//! ```sh
//! cargo build --release && cargo run --release --example wall_cost -- target/release/lightbox FILE...
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use lightbox::adapters::file::{Limits, read_film};
use lightbox::adapters::wall::{Allowance, Wall};

const ROUNDS: usize = 21;

/// The median of [`ROUNDS`], in milliseconds.
fn median(mut run: impl FnMut() -> Duration) -> f64 {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| run()).collect();
    times.sort();
    times[ROUNDS / 2].as_secs_f64() * 1e3
}

fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    std::hint::black_box(run());
    start.elapsed()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().ok_or("usage: wall_cost PROGRAM FILE...")?;
    let limits = Limits::default();
    println!("median of {ROUNDS}, ms        in this process   behind the wall, warm   with a new decoder");
    for path in arguments {
        let path = Path::new(&path);
        let here = median(|| timed(|| read_film(path, &limits)));
        let mut wall = Wall::new(&program, Allowance::default());
        println!("{}: {}", path.display(), wall.confinement()?);
        let warm = median(|| timed(|| wall.read_film(path, &limits)));
        let cold = median(|| {
            let mut wall = Wall::new(&program, Allowance::default());
            timed(|| wall.read_film(path, &limits))
        });
        println!("{:24}{here:15.2}{warm:24.2}{cold:21.2}", "");
    }
    Ok(())
}
