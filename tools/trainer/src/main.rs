//! The command line: arguments as typed, then one function of the library, then an exit code.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use trainer::audit;
use trainer::crossval;
use trainer::crossval::fold::{self, FoldOrder};
use trainer::crossval::start::{self, Start};
use trainer::crossval::study::{self, Study};
use trainer::data::fold::Fold;
use trainer::evaluate::{Judged, refusals, report, table as figures, write_csv};
use trainer::export;
use trainer::paper::networks::{Architecture, table};
use trainer::recipe::Recipe;
use trainer::seal::{Directory, Seal};
use trainer::training::{self, Order};

/// Trains, judges and exports the networks that Lightbox runs.
///
/// Exit code 0: done; 1: failed, the reason is on standard error; 2: wrong usage.
#[derive(Parser)]
#[command(version, after_long_help = IN_ORDER)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const IN_ORDER: &str = "\
From films to a model that a device runs:
  trainer train --recipe tools/trainer/recipes/first.toml --data DATA --weights WEIGHTS --out RUN
  trainer export --weights RUN/weights.safetensors --data DATA --out MODEL
  trainer evaluate --model MODEL --data DATA
  trainer audit --model MODEL --data DATA --out AUDIT

The paper's five networks:
  trainer crossval --recipe tools/trainer/recipes/paper-dataset1.toml --data DATA --weights NAME=FILE --out RUN
  trainer report --runs RUN --out REPORT";

const DATA: &str = "\
DATA/manifest.csv has a line for each film and these columns; others are ignored:
  file      path of a DICOM, PNG, JPEG, TIFF or BMP file below DATA
  label     covid19, bacterial, viral, pneumonia, normal or other
  split     train, or external for films that only judge
  source    where the film comes from; the recipe says how often each source is drawn
  group_id  patient, or patients who belong together: never both learned from and judged by
DATA/lungs.csv, where there is one, has the boxes of both lungs of some of them.";

#[derive(Subcommand)]
enum Command {
    /// Train a network by a recipe. A run that was cut goes on with --resume.
    #[command(after_help = DATA)]
    Train(Train),
    /// Draw a sheet of augmented films as the network gets them.
    Preview(Preview),
    /// Write a model directory from trained weights: network, calibration, figures, card.
    Export(Export),
    /// Fit anew what is around a model's network: lines, temperature, novelty, lungs, figures, card.
    Refit(Refit),
    /// Find the lungs on all training films by a model's locator, for `train --lungs`.
    Locate(Locate),
    /// Judge a model directory by the device's own engine.
    Evaluate(Evaluate),
    /// Compare the paper's networks by cross-validation. A run that was cut goes on with --resume.
    Crossval(Crossval),
    /// Put runs of crossval beside the paper: report.json and one page, report.html.
    Report(Report),
    /// One fold of a comparison, run by it as a process of its own.
    #[command(name = crossval::CHILD, hide = true)]
    CrossvalFold(CrossvalFold),
    /// Ask of a model whether it reads lungs or hospitals: sources left out, lungs blacked out, source probe, saliency.
    Audit(Audit),
    /// List the paper's five networks: layers, cut-offs, parameters.
    ///
    /// docs/paper-networks.md says how pretrained weights are brought in; Keras's HDF5 files are first turned into
    /// safetensors by tools/trainer/weights/keras_to_safetensors.py.
    Networks(Networks),
}

#[derive(Args)]
struct Networks {
    /// As JSON.
    #[arg(long)]
    json: bool,
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
    /// Seed of the split, the head's first weights, the batches and the drop-out.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Hold this source out whole, in place of the recipe's choice (may be given more than once).
    #[arg(long, value_name = "SOURCE")]
    leave_out: Vec<String>,
    /// Hold fold K of N of the patients out, in place of a share of them: the same folds for the same seed. With
    /// `--set training.held_out=0` nothing is held out.
    #[arg(long, value_name = "K/N")]
    fold: Option<Fold>,
    /// Another value for a key of the recipe, as TOML has it: training.steps=80, source.NAME.weight=0.5 (may be given
    /// more than once).
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, toml::Value)>,
    /// Lungs of films that lungs.csv does not know (a file of `trainer locate`).
    #[arg(long, value_name = "FILE")]
    lungs: Option<PathBuf>,
    /// Go on with the run in --out.
    #[arg(long)]
    resume: bool,
}

#[derive(Args)]
struct Locate {
    /// The model directory, or a bundle.
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Folder with manifest.csv and the films.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The file to write, in the form of lungs.csv.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Threads [default: one a processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

#[derive(Args)]
struct Preview {
    /// How to train (TOML).
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// Folder with manifest.csv and the films.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Seed of the split and the draws.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Another value for a key of the recipe, as for `train`.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, toml::Value)>,
    /// Lungs of films that lungs.csv does not know (a file of `trainer locate`).
    #[arg(long, value_name = "FILE")]
    lungs: Option<PathBuf>,
    /// The picture to write (PNG).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
struct Export {
    /// Weights written by `trainer train` (weights.safetensors, or one of weights/ in its folder).
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// The folder that they were trained on.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The model directory to write; an older model in it is replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Draw the lines as [operating_point] of this recipe asks, in place of the one trained by.
    #[arg(long, value_name = "FILE")]
    lines_of: Option<PathBuf>,
    #[command(flatten)]
    folds: Folds,
    /// Also seal the model with this secret key, as the bundle OUT.lbx (see `lightbox bundle seal`).
    #[arg(long, value_name = "KEY", requires_all = ["golden", "golden_source"])]
    seal: Option<PathBuf>,
    /// Number of the bundle, higher than that of every one released before.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "seal")]
    bundle_version: u64,
    /// Golden film of the bundle (1 to 16 of them).
    #[arg(long, value_name = "FILM", requires = "seal")]
    golden: Vec<PathBuf>,
    /// Where the golden films come from and under which licence.
    #[arg(long, value_name = "TEXT", requires = "seal")]
    golden_source: Option<String>,
    /// Threads [default: one a processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

#[derive(Args)]
struct Refit {
    /// The model directory, or a bundle; its network stays as it is.
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// The folder that it was trained on.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The model directory to write [default: the same; needed for a bundle].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Draw the lines as [operating_point] of this recipe asks, in place of the one trained by.
    #[arg(long, value_name = "FILE")]
    lines_of: Option<PathBuf>,
    #[command(flatten)]
    folds: Folds,
    /// Threads [default: one a processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

#[derive(Args)]
struct Folds {
    /// Runs of `train --fold K/N` by the same recipe, one for each K: temperature and lines are drawn on what each of
    /// them says of its fold, in place of what the network says of the films that it did not learn from itself.
    #[arg(long, value_name = "RUN", num_args = 1..)]
    runs: Vec<PathBuf>,
}

/// Which films a model is judged by.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Films {
    /// Patients of the training sources whom the network did not learn from.
    HeldOut,
    /// Hospitals that it never saw.
    External,
}

#[derive(Args)]
struct Evaluate {
    /// The model directory, or a bundle.
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Folder with manifest.csv and the films.
    #[arg(long, value_name = "DIR", required_unless_present = "unlike")]
    data: Option<PathBuf>,
    /// Which films to judge it by.
    #[arg(long, value_enum, default_value = "external")]
    films: Films,
    /// Instead: a folder of pictures that are no frontal chest films. How many of them are refused?
    #[arg(long, value_name = "DIR", conflicts_with_all = ["data", "json"])]
    unlike: Option<PathBuf>,
    /// Also write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write every film's prediction as CSV.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Threads [default: one a processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

#[derive(Args)]
struct Crossval {
    /// What to compare on which films (TOML).
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// Folder with manifest.csv, or with a folder for each class (and perhaps groups.csv: file, group_id).
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// ImageNet weights of a network (safetensors or PyTorch), or `random` to begin without.
    #[arg(long, value_name = "NAME=FILE", num_args = 1.., value_parser = start::parse_pair, required = true)]
    weights: Vec<(Architecture, Start)>,
    /// Folder of the run: its record, activations, checkpoints and results.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Only these networks [default: those with --weights].
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = study::network_named)]
    network: Vec<Architecture>,
    /// Take the folds from this CSV (file, fold) instead of making them.
    #[arg(long, value_name = "FILE")]
    folds: Option<PathBuf>,
    /// Only these folds, from 0.
    #[arg(long, value_name = "N", num_args = 1..)]
    only_fold: Vec<usize>,
    /// Folds side by side, each a process of one thread.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Another input than the recipe's: rows × columns.
    #[arg(long, value_name = "HxW", value_parser = size)]
    size: Option<(usize, usize)>,
    /// Another number of epochs than the recipe's.
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Train the head alone, on pooled features: a hundredth of the work.
    #[arg(long)]
    head_only: bool,
    /// Keep each fold's network as ONNX.
    #[arg(long)]
    export: bool,
    /// Go on with the run in --out.
    #[arg(long)]
    resume: bool,
}

#[derive(Args)]
struct Report {
    /// Folders written by `trainer crossval`.
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    runs: Vec<PathBuf>,
    /// A report.json whose runs come first, for runs that are no longer there.
    #[arg(long, value_name = "FILE")]
    earlier: Option<PathBuf>,
    /// Folder for report.json and report.html.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Args)]
struct CrossvalFold {
    #[arg(long)]
    run: PathBuf,
    #[arg(long, value_parser = study::network_named)]
    network: Architecture,
    #[arg(long)]
    weights: String,
    #[arg(long)]
    fold: usize,
}

/// `training.steps=80`
fn setting(text: &str) -> Result<(String, toml::Value), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    let table: toml::Table = toml::from_str(&format!("value = {value}")).map_err(|e| e.message().to_string())?;
    let value = table.get("value").cloned().ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_string(), value))
}

/// `200x266`
fn size(text: &str) -> Result<(usize, usize), String> {
    let sides = text.split_once('x').and_then(|(height, width)| Some((height.parse().ok()?, width.parse().ok()?)));
    sides.ok_or_else(|| "expected rows x columns, for example 100x133".into())
}

#[derive(Args)]
struct Audit {
    /// The model directory, or a bundle.
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Folder with manifest.csv and the films, and with lungs.csv where lungs are known.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A model directory of the same recipe trained with --leave-out (may be given more than once).
    #[arg(long, value_name = "DIR")]
    left_out: Vec<PathBuf>,
    /// A folder of pictures that are no frontal chest films.
    #[arg(long, value_name = "DIR")]
    unlike: Option<PathBuf>,
    /// Folder for audit.json and audit.html.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Threads [default: one a processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
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
        Command::Preview(preview) => run_preview(preview),
        Command::Export(export) => run_export(export),
        Command::Refit(refit) => run_refit(refit),
        Command::Locate(locate) => run_locate(&locate),
        Command::Evaluate(evaluate) => run_evaluate(evaluate),
        Command::Crossval(crossval) => run_crossval(crossval),
        Command::Report(report) => run_report(report),
        Command::CrossvalFold(fold) => run_crossval_fold(fold),
        Command::Audit(audit) => run_audit(audit),
        Command::Networks(networks) => run_networks(&networks),
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
    let mut recipe = Recipe::read_with(&train.recipe, &train.set)?;
    if !train.leave_out.is_empty() {
        recipe.file.training.left_out_sources = train.leave_out;
        recipe = recipe.file.try_into()?;
    }
    recipe.file.training.fold = train.fold.or(recipe.file.training.fold);
    let order = Order {
        recipe,
        data: train.data,
        weights: train.weights,
        lungs: train.lungs,
        out: train.out,
        seed: train.seed,
        resume: train.resume,
    };
    let outcome = training::train(&order)?;
    println!("step {}, score {:.3}: {}", outcome.step, outcome.score, outcome.weights.display());
    Ok(())
}

fn run_export(export: Export) -> Result<(), Box<dyn std::error::Error>> {
    set_threads(export.threads)?;
    let recipe = export.lines_of.as_deref().map(Recipe::read).transpose()?;
    let operating_point = recipe.map(|recipe| recipe.file.operating_point);
    let Export { weights, data, out, folds: Folds { runs }, .. } = export;
    let order = export::Order { weights, data, out, operating_point, runs };
    let (held_out, external) = export::export(&order)?;
    let asked = if order.runs.is_empty() { "Held-out patients" } else { "Patients of the folds" };
    println!("{asked}:\n\n{}\nExternal films:\n\n{}", figures(&held_out), figures(&external));
    println!("{}", order.out.display());
    if let Some(key) = export.seal {
        let seal = Seal {
            key,
            bundle_version: export.bundle_version,
            golden: export.golden,
            golden_source: export.golden_source.unwrap_or_default(),
            audit: None,
        };
        println!("{}", seal.seal(&order.out)?.display());
    }
    Ok(())
}

fn run_refit(refit: Refit) -> Result<(), Box<dyn std::error::Error>> {
    set_threads(refit.threads)?;
    let recipe = refit.lines_of.as_deref().map(Recipe::read).transpose()?;
    let operating_point = recipe.map(|recipe| recipe.file.operating_point);
    let model = Directory::of(&refit.model)?;
    let out = match refit.out {
        Some(out) => out,
        None if model.path() == refit.model => refit.model,
        None => return Err("a bundle is never changed: name the model directory to write with --out".into()),
    };
    let order = export::Refit {
        model: model.path().to_owned(),
        data: refit.data,
        out,
        operating_point,
        runs: refit.folds.runs,
    };
    let (held_out, external) = export::refit(&order)?;
    let asked = if order.runs.is_empty() { "Held-out patients" } else { "Patients of the folds" };
    println!("{asked}:\n\n{}\nExternal films:\n\n{}", figures(&held_out), figures(&external));
    println!("{}", order.out.display());
    Ok(())
}

fn run_locate(locate: &Locate) -> Result<(), Box<dyn std::error::Error>> {
    set_threads(locate.threads)?;
    let model = Directory::of(&locate.model)?;
    let (found, films) = trainer::lungs::write_found(model.path(), &locate.data, &locate.out)?;
    println!("lungs found on {found} of {films} films: {}", locate.out.display());
    Ok(())
}

fn run_evaluate(evaluate: Evaluate) -> Result<(), Box<dyn std::error::Error>> {
    set_threads(evaluate.threads)?;
    let model = Directory::of(&evaluate.model)?;
    if let Some(folder) = &evaluate.unlike {
        let films = export::unlabelled(folder)?;
        let judged = export::judged(model.path(), folder, &films, "pictures")?;
        write_predictions(&evaluate.csv, &judged)?;
        print!("{}", refusals(&judged));
        return Ok(());
    }
    let data = evaluate.data.unwrap_or_default();
    let parts = export::parts_of(model.path(), &data)?;
    let (films, what) = match evaluate.films {
        Films::HeldOut => (parts.held_out, "held-out films"),
        Films::External => (parts.external, "external films"),
    };
    let judged = export::judged(model.path(), &data, &films, what)?;
    let report = report(&judged);
    if let Some(path) = &evaluate.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    write_predictions(&evaluate.csv, &judged)?;
    println!("{}", figures(&report));
    Ok(())
}

fn run_networks(networks: &Networks) -> Result<(), Box<dyn std::error::Error>> {
    if networks.json {
        println!("{}", serde_json::to_string_pretty(&table::rows())?);
    } else {
        print!("{}", table::table());
    }
    Ok(())
}

fn run_crossval(arguments: Crossval) -> Result<(), Box<dyn std::error::Error>> {
    set_threads(Some(arguments.jobs))?;
    let changes = study::Changes { size: arguments.size, epochs: arguments.epochs, head_only: arguments.head_only };
    let starts: BTreeMap<Architecture, Start> = arguments.weights.into_iter().collect();
    let networks = match arguments.network {
        none if none.is_empty() => starts.keys().copied().collect(),
        some => some,
    };
    let order = crossval::Order {
        study: Study::read(&arguments.recipe, changes)?,
        data: arguments.data,
        starts,
        networks,
        folds: arguments.folds,
        only: arguments.only_fold,
        jobs: arguments.jobs.into(),
        export: arguments.export,
        out: arguments.out,
        resume: arguments.resume,
    };
    crossval::run(&order)?;
    println!("{}", order.out.display());
    Ok(())
}

fn run_crossval_fold(arguments: CrossvalFold) -> Result<(), Box<dyn std::error::Error>> {
    let start = Start::parse(&arguments.weights);
    let order = FoldOrder { run: arguments.run, network: arguments.network, start, fold: arguments.fold };
    // A line a step, for the parent; once it is gone, writing fails and ends this process too.
    fold::learn(&order, |step| writeln!(std::io::stdout(), "{step}"))?;
    Ok(())
}

fn run_report(arguments: Report) -> Result<(), Box<dyn std::error::Error>> {
    let report = trainer::report::report(&arguments.runs, arguments.earlier.as_deref())?;
    for path in trainer::report::write(&report, &arguments.out)? {
        println!("{}", path.display());
    }
    Ok(())
}

fn run_audit(order: Audit) -> Result<(), Box<dyn std::error::Error>> {
    set_threads(order.threads)?;
    let model = Directory::of(&order.model)?;
    let left_out = order.left_out.iter().map(|path| Directory::of(path)).collect::<Result<Vec<_>, _>>()?;
    let audit = audit::audit(&audit::Order {
        model: model.path().to_owned(),
        data: order.data,
        left_out: left_out.iter().map(|model| model.path().to_owned()).collect(),
        unlike: order.unlike,
    })?;
    audit::write(&audit, &order.out)?;
    println!("{}", order.out.join("audit.html").display());
    Ok(())
}

fn write_predictions(path: &Option<PathBuf>, judged: &[Judged]) -> Result<(), String> {
    match path {
        Some(path) => write_csv(path, judged).map_err(|e| format!("{}: {e}", path.display())),
        None => Ok(()),
    }
}

fn run_preview(preview: Preview) -> Result<(), Box<dyn std::error::Error>> {
    let recipe = Recipe::read_with(&preview.recipe, &preview.set)?;
    let order = Order {
        recipe,
        data: preview.data,
        weights: PathBuf::new(),
        lungs: preview.lungs,
        out: PathBuf::new(),
        seed: preview.seed,
        resume: false,
    };
    let films = training::training_films(&order)?;
    trainer::preview::write_sheet(&films, &order.recipe, &preview.out)?;
    println!("{}", preview.out.display());
    Ok(())
}
