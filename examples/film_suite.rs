//! How well films are read from photographs: radiographs are photographed on a simulated light box, by careful hands and
//! in every way that spoils a photograph, and read by the model as the original is.
//!
//! ```sh
//! cargo run --release --example film_suite -- FOLDER...           # at most 300 films, --films N for another number
//! cargo run --release --example film_suite -- average FOLDER...   # the average chest film of pipeline/film/upright.rs
//! ```
//! `--keep DIR` keeps the photographs that came out wrong, and what was made of them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use lightbox::adapters::file::{Limits, decode_film, read_film};
use lightbox::app;
use lightbox::bundle::VerifiedModel;
use lightbox::domain::{Acquired, Finding, GreyImage, Reason, Rejection};
use lightbox::engine::{EngineOptions, TractClassifier};
use lightbox::models::{self, Device, Serving};
use lightbox::pipeline::film::{self, SIDE};

#[path = "../tests/support/mod.rs"]
mod support;

use support::photograph::{Fault, Shot, photograph};

const USAGE: &str = "usage: film_suite [average] [--films N] [--model DIR] [--keep DIR] FOLDER...";

struct Arguments {
    average: bool,
    films: usize,
    model: Option<PathBuf>,
    keep: Option<PathBuf>,
    folders: Vec<PathBuf>,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut found = Arguments { average: false, films: 300, model: None, keep: None, folders: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "average" => found.average = true,
            "--films" => found.films = words.next().ok_or(USAGE)?.parse()?,
            "--model" => found.model = Some(words.next().ok_or(USAGE)?.into()),
            "--keep" => found.keep = Some(words.next().ok_or(USAGE)?.into()),
            folder => found.folders.push(folder.into()),
        }
    }
    if found.folders.is_empty() { Err(USAGE.into()) } else { Ok(found) }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// `most` of the films, spread evenly.
fn films(arguments: &Arguments) -> Result<Vec<(PathBuf, Acquired)>, Box<dyn Error>> {
    let mut paths = Vec::new();
    arguments.folders.iter().try_for_each(|folder| files_below(folder, &mut paths))?;
    paths.sort();
    let readable: Vec<_> =
        paths.into_iter().filter(|path| path.extension().is_none_or(|ending| ending != "csv")).collect();
    let step = readable.len() as f64 / arguments.films.min(readable.len()).max(1) as f64;
    let chosen = (0..arguments.films.min(readable.len())).map(|index| &readable[(index as f64 * step) as usize]);
    Ok(chosen.filter_map(|path| Some((path.clone(), read_film(path, &Limits::default()).ok()?))).collect())
}

fn average(films: &[(PathBuf, Acquired)]) {
    let mut sums = [0.0f32; SIDE * SIDE];
    for (_, acquired) in films {
        sums.iter_mut().zip(film::thumbnail(&acquired.image)).for_each(|(sum, cell)| *sum += cell);
    }
    let most = sums.iter().map(|sum| sum.abs()).fold(0.0, f32::max);
    for row in sums.chunks(SIDE) {
        let row: Vec<String> = row.iter().map(|sum| format!("{:.0}", sum / most * 100.0)).collect();
        println!("    {},", row.join(", "));
    }
}

struct Reader {
    model: VerifiedModel,
    classifier: TractClassifier,
}

/// What the model says of a film: p(Covid-19) and the verdict's name, or why it says nothing.
type Said = Result<(f32, &'static str), Rejection>;

impl Reader {
    fn read(&mut self, acquired: Result<Acquired, Rejection>) -> Said {
        let acquired = acquired?;
        let reading = app::screen(Ok(acquired), self.model.manifest(), &mut self.classifier).reading;
        match reading.probabilities {
            Some(probabilities) => Ok((probabilities.of(Finding::Covid19).get(), reading.verdict.name())),
            None => Err(match reading.verdict {
                lightbox::domain::Verdict::Rejected(rejection) => rejection,
                other => Rejection::new(Reason::ModelFault, other.name()),
            }),
        }
    }
}

fn keep(folder: Option<&Path>, name: &str, jpeg: &[u8], developed: Option<&GreyImage>) -> std::io::Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    fs::create_dir_all(folder)?;
    fs::write(folder.join(format!("{name}.jpg")), jpeg)?;
    if let Some(image) = developed {
        let greys = image.greys().iter().map(|grey| (grey >> 8) as u8).collect();
        if let Some(picture) = image::GrayImage::from_raw(image.width(), image.height(), greys) {
            picture.save(folder.join(format!("{name}-developed.png"))).map_err(std::io::Error::other)?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let films = films(&arguments)?;
    if arguments.average {
        average(&films);
        return Ok(());
    }
    let options = EngineOptions { threads: 1, ..EngineOptions::default() };
    let Serving { model, classifier, .. } = models::serve(arguments.model.as_deref(), &Device::default(), options)?;
    let mut reader = Reader { model, classifier };
    let folder = arguments.keep.as_deref();
    let develop = |jpeg: &[u8]| decode_film(jpeg, &Limits::default()).and_then(film::develop);

    let (mut shifts, mut same, mut read) = (Vec::new(), 0, 0);
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rimless = Vec::new();
    let mut rimless_refused: BTreeMap<&str, usize> = BTreeMap::new();
    let mut hints: BTreeMap<usize, BTreeMap<&str, usize>> = BTreeMap::new();
    for (index, (path, original)) in films.iter().enumerate() {
        let seed = index as u64 + 1;
        let Ok((p, verdict)) = reader.read(Ok(original.clone())) else { continue };
        read += 1;
        if index % 5 == 0 {
            let jpeg = photograph(Some(&original.image), &Shot::without_rim(seed), seed);
            match reader.read(develop(&jpeg)) {
                Ok((photographed, _)) => rimless.push((photographed - p).abs()),
                Err(rejection) => *rimless_refused.entry(rejection.reason.code()).or_default() += 1,
            }
        }
        let shot = Shot::careful(seed);
        let jpeg = photograph(Some(&original.image), &shot, seed);
        let developed = develop(&jpeg);
        match reader.read(developed.clone()) {
            Ok((photographed, said)) => {
                let shift = (photographed - p).abs();
                same += usize::from(said == verdict);
                if shift > 0.15 {
                    let name = path.file_stem().unwrap_or_default().to_string_lossy();
                    eprintln!("{index} {name}: p {p:.3}, photographed {photographed:.3}: {shot:?}");
                    keep(folder, &format!("shift-{index}"), &jpeg, developed.ok().as_ref().map(|film| &film.image))?;
                }
                shifts.push(shift);
            }
            Err(rejection) => {
                *refused.entry(rejection.reason.code()).or_default() += 1;
                eprintln!("{index} careful, {rejection}: {shot:?}");
                keep(folder, &format!("refused-{index}"), &jpeg, developed.ok().as_ref().map(|film| &film.image))?;
            }
        }
        let fault = Fault::ALL[index % Fault::ALL.len()];
        let shot = Shot::spoilt(seed, fault, &original.image);
        let jpeg = photograph((fault != Fault::Missing).then_some(&original.image), &shot, seed);
        let developed = develop(&jpeg);
        let code = match reader.read(developed.clone()) {
            Ok(_) => "read",
            Err(rejection) => rejection.reason.code(),
        };
        *hints.entry(index % Fault::ALL.len()).or_default().entry(code).or_default() += 1;
        if code != fault.reason().code() {
            eprintln!("{index} {fault:?}: {code}: {shot:?}");
            keep(folder, &format!("{fault:?}-{index}-{code}"), &jpeg, developed.ok().as_ref().map(|f| &f.image))?;
        }
    }

    shifts.sort_by(f32::total_cmp);
    let at = |share: f64| shifts.get(((shifts.len() as f64 * share) as usize).min(shifts.len().saturating_sub(1)));
    let at = |share: f64| at(share).copied().unwrap_or(f32::NAN);
    println!("{read} films that are read as they are, each photographed once with care and once spoilt");
    println!(
        "with care: {} read; change of p(Covid-19): median {:.4}, 75 % {:.4}, 90 % {:.4}, 95 % {:.4}, most {:.4}",
        shifts.len(),
        at(0.5),
        at(0.75),
        at(0.9),
        at(0.95),
        at(1.0)
    );
    println!("           the same verdict {same}, refused {refused:?}");
    rimless.sort_by(f32::total_cmp);
    let middle = rimless.get(rimless.len() / 2).copied().unwrap_or(f32::NAN);
    println!("no rim:    {} read; median change {middle:.4}, refused {rimless_refused:?}", rimless.len());
    let (mut right, mut all, mut read_all) = (0, 0, 0);
    for (fault, found) in &hints {
        let fault = Fault::ALL[*fault];
        let count: usize = found.values().sum();
        let hit = found.get(fault.reason().code()).copied().unwrap_or(0);
        read_all += found.get("read").copied().unwrap_or(0);
        (right, all) = (right + hit, all + count);
        println!("{:8}: {hit} of {count} refused with {}, all: {found:?}", format!("{fault:?}"), fault.reason());
    }
    println!("spoilt:    {right} of {all} refused with the right hint, {read_all} read all the same");
    Ok(())
}
