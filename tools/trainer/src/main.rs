//! The command line: arguments as typed, then one function of the library, then an exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use trainer::recipe::Recipe;
use trainer::training::{self, Order};

/// Trains, judges and exports the networks that Lightbox runs.
///
/// Exit code 0: done; 1: failed, the reason is on standard error; 2: wrong usage.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a network by a recipe. A run that was cut goes on with --resume.
    Train(Train),
}

#[derive(Args)]
struct Train {
    /// How to train (TOML).
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// Folder with manifest.csv and the films.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// ImageNet weights (safetensors, torchvision's names).
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Folder for checkpoints, the learning curve and the trained weights.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Threads of the tensor library [default: one a processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Of the split, the head's first weights, the batches and the drop-out.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Hold this source out whole, in place of the recipe's choice (may be given more than once).
    #[arg(long, value_name = "SOURCE")]
    leave_out: Vec<String>,
    /// Go on with the run in --out.
    #[arg(long)]
    resume: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).format_timestamp(None).init();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trainer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Train(train) => run_train(train),
    }
}

fn set_threads(threads: Option<u16>) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(threads) = threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global()?;
    }
    Ok(())
}

fn run_train(train: Train) -> Result<(), Box<dyn std::error::Error>> {
    set_threads(train.threads)?;
    let mut recipe = Recipe::read(&train.recipe)?;
    if !train.leave_out.is_empty() {
        recipe.file.training.left_out_sources = train.leave_out;
        recipe = recipe.file.try_into()?;
    }
    let order = Order {
        recipe,
        data: train.data,
        weights: train.weights,
        out: train.out,
        seed: train.seed,
        resume: train.resume,
    };
    let outcome = training::train(&order)?;
    println!("step {}, score {:.3}: {}", outcome.step, outcome.score, outcome.weights.display());
    Ok(())
}
