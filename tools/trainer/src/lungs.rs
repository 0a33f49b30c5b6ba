//! Where the lungs are: boxes drawn by radiologists, and a linear function of the network's features fitted to them.
//!
//! It learns places only and never sees a label.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use lightbox::bundle::manifest::LungsEntry;
use lightbox::domain::{Lungs, Region};
use serde::{Deserialize, Serialize};

use crate::data::DataError;
use crate::data::manifest::{self, Split};
use crate::data::split::Named;
use crate::predict::{self, PredictError};

/// Fewest boxes that a locator is fitted to.
const FEWEST: usize = 50;
/// Ridge penalty on weights of features of unit variance; from 10 to 1000 the boxes hardly change.
const PENALTY: f64 = 100.0;
/// Folds by patient in which the fit is judged.
const FOLDS: usize = 5;
/// Lungs may be so much smaller or larger than any seen, as a share of their size.
const SLACK: f32 = 0.05;

#[derive(Deserialize, Serialize)]
struct Record {
    file: String,
    right_x0: f32,
    right_y0: f32,
    right_x1: f32,
    right_y1: f32,
    left_x0: f32,
    left_y0: f32,
    left_x1: f32,
    left_y1: f32,
}

/// The boxes of `lungs.csv` of `folder` by file, in fractions of the film; none where there is no such file.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read(folder: &Path) -> Result<HashMap<String, Lungs>, DataError> {
    let path = folder.join("lungs.csv");
    if path.exists() { read_file(&path) } else { Ok(HashMap::new()) }
}

/// The boxes of the file at `path`, likewise.
///
/// # Errors
/// When it cannot be read.
pub fn read_file(path: &Path) -> Result<HashMap<String, Lungs>, DataError> {
    let csv_error = |source| DataError::Csv { path: path.into(), source };
    let mut boxes = HashMap::new();
    for record in csv::Reader::from_path(path).map_err(csv_error)?.deserialize::<Record>() {
        let r = record.map_err(csv_error)?;
        let edges = [r.right_x0, r.right_y0, r.right_x1, r.right_y1, r.left_x0, r.left_y0, r.left_x1, r.left_y1];
        boxes.insert(r.file, Lungs::from_edges(edges));
    }
    Ok(boxes)
}

/// Left, top, right and bottom of both lungs together.
pub fn around(lungs: &Lungs) -> [f32; 4] {
    let both = lungs.both();
    [both.left, both.top, both.right, both.bottom]
}

/// Writes where the locator of `model` finds lungs on the training films of `data`, as `lungs.csv` has it, and says on
/// how many of how many. Films that the device would refuse, or whose lungs it does not find, are left out.
///
/// # Errors
/// When the model or the data cannot be used, or the file cannot be written.
pub fn write_found(model: &Path, data: &Path, out: &Path) -> Result<(usize, usize), LocateError> {
    let model = predict::open(model)?;
    let locator = model.manifest().rule.lungs.clone().ok_or(LocateError::NoLocator)?;
    let films: Vec<Named> = manifest::read(data)?
        .into_iter()
        .filter(|row| row.split == Split::Train)
        .map(|row| Named { source: row.source.clone(), row })
        .collect();
    let seen = predict::predict_altered(&model, data, &films, "training films", |_, input| input)?;
    let written = |source| LocateError::Csv { path: out.into(), source };
    let mut writer = csv::Writer::from_path(out).map_err(written)?;
    let mut count = 0;
    for (prediction, seen) in &seen {
        let (Ok(output), Some(seen)) = (&prediction.answer, seen) else { continue };
        let found = locator.locate(&output.features).filter(|lungs| locator.objection(lungs).is_none());
        let Some(found) = found.map(|lungs| lungs.on_film(&seen.whole)) else { continue };
        let [x0, y0, x1, y1, u0, v0, u1, v1] = found.edges().map(four_digits_after);
        let file = prediction.film.row.file.clone();
        let record = Record {
            file,
            right_x0: x0,
            right_y0: y0,
            right_x1: x1,
            right_y1: y1,
            left_x0: u0,
            left_y0: v0,
            left_x1: u1,
            left_y1: v1,
        };
        writer.serialize(record).map_err(written)?;
        count += 1;
    }
    writer.flush().map_err(|error| written(error.into()))?;
    Ok((count, films.len()))
}

fn four_digits_after(edge: f32) -> f32 {
    (edge * 1e4).round() / 1e4
}

/// Lungs that cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// The model cannot be used.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model finds no lungs.
    #[error("the model has no lung locator: fit one with `trainer refit` on a folder that has lungs.csv")]
    NoLocator,
    /// The file cannot be written.
    #[error("{path}: {source}")]
    Csv {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: csv::Error,
    },
}

/// A film with known lungs.
#[derive(Clone, Debug)]
pub struct Example {
    /// What the network gives beside its answer.
    pub features: Vec<f32>,
    /// In fractions of what the network saw.
    pub lungs: Lungs,
    /// Patient.
    pub group: String,
}

/// How well boxes are found on patients that were not fitted to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LocatorQuality {
    /// Films, mirrored ones not counted.
    pub films: usize,
    /// Mean overlap (intersection over union) of the boxes around both lungs.
    pub mean_overlap: f64,
    /// The overlap that nine films in ten have.
    pub tenth_overlap: f64,
    /// Mean distance of an edge from where it should be, as a share of the picture's side.
    pub mean_edge_error: f64,
}

/// The picture's mirror image.
pub fn mirrored(lungs: &Lungs) -> Lungs {
    let [a, b, c, d, e, f, g, h] = lungs.edges();
    Lungs::from_edges([1.0 - g, f, 1.0 - e, h, 1.0 - c, b, 1.0 - a, d])
}

/// Fits a locator to `examples` (mirrored films among them); the sizes that lungs may have are those of the examples
/// and of the lungs that are found on `usual` films. `None` for too few examples.
pub fn fit(examples: &[Example], usual: &[Vec<f32>]) -> Option<(LungsEntry, LocatorQuality)> {
    if examples.len() < FEWEST {
        return None;
    }
    let all: Vec<&Example> = examples.iter().collect();
    let line = Line::fit(&all)?;
    let quality = judge(examples)?;
    let found = usual.iter().filter(|f| f.len() == line.mean.len()).map(|f| line.at(f));
    let (mut width, mut height) = ([f32::MAX, 0.0f32], [f32::MAX, 0.0f32]);
    for lungs in found.chain(examples.iter().map(|e| e.lungs)) {
        for lung in [lungs.right, lungs.left] {
            width = [width[0].min(lung.width()), width[1].max(lung.width())];
            height = [height[0].min(lung.height()), height[1].max(lung.height())];
        }
    }
    let slack = |[least, most]: [f32; 2]| {
        [
            four_digits(f64::from((least * (1.0 - SLACK)).max(0.0))),
            four_digits(f64::from((most * (1.0 + SLACK)).min(2.0))),
        ]
    };
    let (weights, offsets) = line.unscaled();
    Some((LungsEntry { weights, offsets, width: slack(width), height: slack(height), margin: None }, quality))
}

fn judge(examples: &[Example]) -> Option<LocatorQuality> {
    let mut fold_of: BTreeMap<&str, usize> = BTreeMap::new();
    for example in examples {
        let next = fold_of.len() % FOLDS;
        fold_of.entry(&example.group).or_insert(next);
    }
    let (mut overlaps, mut errors) = (Vec::new(), Vec::new());
    for fold in 0..FOLDS {
        let (test, training): (Vec<&Example>, Vec<&Example>) =
            examples.iter().partition(|e| fold_of[e.group.as_str()] == fold);
        if training.is_empty() || test.is_empty() {
            continue;
        }
        let line = Line::fit(&training)?;
        for example in test {
            let found = line.at(&example.features);
            overlaps.push(overlap(&found.both(), &example.lungs.both()));
            let wrong: f64 =
                found.edges().iter().zip(example.lungs.edges()).map(|(a, b)| f64::from((a - b).abs())).sum();
            errors.push(wrong / 8.0);
        }
    }
    overlaps.sort_by(f64::total_cmp);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    Some(LocatorQuality {
        films: examples.len() / 2,
        mean_overlap: mean(&overlaps),
        tenth_overlap: overlaps.get(overlaps.len() / 10).copied()?,
        mean_edge_error: mean(&errors),
    })
}

/// Intersection over union.
pub fn overlap(a: &Region, b: &Region) -> f64 {
    let width = (a.right.min(b.right) - a.left.max(b.left)).max(0.0);
    let height = (a.bottom.min(b.bottom) - a.top.max(b.top)).max(0.0);
    let common = f64::from(width * height);
    let area = |r: &Region| f64::from(r.width().max(0.0) * r.height().max(0.0));
    common / (area(a) + area(b) - common).max(f64::MIN_POSITIVE)
}

/// Ridge regression of the eight edges on standardised features.
struct Line {
    mean: Vec<f64>,
    scale: Vec<f64>,
    /// A row for each feature.
    weights: Vec<[f64; 8]>,
    centre: [f64; 8],
}

impl Line {
    /// `None` when the features are not of one length.
    fn fit(examples: &[&Example]) -> Option<Self> {
        let (count, width) = (examples.len() as f64, examples.first()?.features.len());
        if width == 0 || examples.iter().any(|e| e.features.len() != width) {
            return None;
        }
        let (mut mean, mut centre) = (vec![0.0; width], [0.0; 8]);
        for example in examples {
            mean.iter_mut().zip(&example.features).for_each(|(m, f)| *m += f64::from(*f) / count);
            centre.iter_mut().zip(example.lungs.edges()).for_each(|(c, e)| *c += f64::from(e) / count);
        }
        let mut scale = vec![0.0; width];
        for example in examples {
            for ((s, f), m) in scale.iter_mut().zip(&example.features).zip(&mean) {
                *s += (f64::from(*f) - m).powi(2) / count;
            }
        }
        // A feature that never changes says nothing.
        let scale: Vec<f64> = scale.into_iter().map(|v| if v > 1e-12 { v.sqrt() } else { f64::INFINITY }).collect();

        let mut square = vec![vec![0.0; width]; width];
        let mut sides = vec![[0.0; 8]; width];
        for example in examples {
            let x: Vec<f64> =
                example.features.iter().zip(&mean).zip(&scale).map(|((f, m), s)| (f64::from(*f) - m) / s).collect();
            let edges = example.lungs.edges();
            for (i, (row, side)) in square.iter_mut().zip(&mut sides).enumerate() {
                for (cell, other) in row[..=i].iter_mut().zip(&x) {
                    *cell += x[i] * other;
                }
                for (side, (edge, c)) in side.iter_mut().zip(edges.iter().zip(&centre)) {
                    *side += x[i] * (f64::from(*edge) - c);
                }
            }
        }
        for (i, row) in square.iter_mut().enumerate() {
            row[i] += PENALTY;
        }
        Some(Self { mean, scale, weights: solve(square, sides), centre })
    }

    fn at(&self, features: &[f32]) -> Lungs {
        let mut edges = self.centre;
        for (((f, m), s), weights) in features.iter().zip(&self.mean).zip(&self.scale).zip(&self.weights) {
            let x = (f64::from(*f) - m) / s;
            edges.iter_mut().zip(weights).for_each(|(e, w)| *e += x * w);
        }
        Lungs::from_edges(edges.map(|e| e as f32))
    }

    /// Weights of the features as they are, a row for each edge, and what is added.
    fn unscaled(&self) -> (Vec<Vec<f32>>, Vec<f32>) {
        let rows: Vec<Vec<f32>> = (0..8)
            .map(|edge| self.weights.iter().zip(&self.scale).map(|(w, s)| four_digits(w[edge] / s)).collect())
            .collect();
        let offsets = rows
            .iter()
            .zip(self.centre)
            .map(|(row, c)| four_digits(c - row.iter().zip(&self.mean).map(|(w, m)| f64::from(*w) * m).sum::<f64>()))
            .collect();
        (rows, offsets)
    }
}

/// Solves `square · x = sides` for a symmetric positive matrix of which the lower half is given (Cholesky).
fn solve(mut square: Vec<Vec<f64>>, mut sides: Vec<[f64; 8]>) -> Vec<[f64; 8]> {
    let size = square.len();
    for i in 0..size {
        for j in 0..=i {
            let (upper, lower) = square.split_at_mut(i);
            let row = &mut lower[0];
            if j < i {
                let sum: f64 = row[..j].iter().zip(&upper[j][..j]).map(|(a, b)| a * b).sum();
                row[j] = (row[j] - sum) / upper[j][j];
            } else {
                let sum: f64 = row[..i].iter().map(|a| a * a).sum();
                row[i] = (row[i] - sum).max(f64::MIN_POSITIVE).sqrt();
            }
        }
    }
    for (i, row) in square.iter().enumerate() {
        for (j, factor) in row[..i].iter().enumerate() {
            let earlier = sides[j];
            sides[i].iter_mut().zip(earlier).for_each(|(s, e)| *s -= factor * e);
        }
        sides[i].iter_mut().for_each(|s| *s /= row[i]);
    }
    for i in (0..size).rev() {
        for (j, row) in square.iter().enumerate().skip(i + 1) {
            let (factor, later) = (row[i], sides[j]);
            sides[i].iter_mut().zip(later).for_each(|(s, l)| *s -= factor * l);
        }
        let pivot = square[i][i];
        sides[i].iter_mut().for_each(|s| *s /= pivot);
    }
    sides
}

fn four_digits(value: f64) -> f32 {
    format!("{value:.3e}").parse().unwrap_or(value as f32)
}

#[cfg(test)]
mod tests {
    use lightbox::domain::LungLocator;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Films whose features say, with some noise, where the lungs are.
    fn examples(count: usize, noise: f32) -> Vec<Example> {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        (0..count)
            .map(|i| {
                let (x, y, size) = (
                    random.random_range(-0.05..0.05),
                    random.random_range(-0.1..0.1f32),
                    random.random_range(0.9..1.1),
                );
                let edges = [0.1, 0.15, 0.45, 0.8, 0.55, 0.15, 0.9, 0.8];
                let edges: [f32; 8] =
                    std::array::from_fn(|e| if e % 2 == 0 { edges[e] + x } else { edges[e] * size + y });
                let mut features: Vec<f32> = (0..12).map(|_| random.random()).collect();
                for (at, value) in [(3, x), (5, y), (7, size)] {
                    features[at] = 100.0 * (value + noise * (random.random::<f32>() - 0.5));
                }
                // One that never changes.
                features[0] = 7.0;
                Example { features, lungs: Lungs::from_edges(edges), group: format!("{}", i / 3) }
            })
            .collect()
    }

    #[test]
    fn lungs_are_found_where_the_features_say_that_they_are() {
        let examples = examples(900, 0.0);
        let usual: Vec<Vec<f32>> = examples.iter().map(|e| e.features.clone()).collect();
        let (entry, quality) = fit(&examples, &usual).expect("enough examples");
        assert!(quality.mean_overlap > 0.95 && quality.tenth_overlap > 0.9, "{quality:?}");
        let locator = LungLocator::new(entry.weights, &entry.offsets, entry.width, entry.height).expect("usable");
        for example in &examples {
            let found = locator.locate(&example.features).expect("features");
            assert!(overlap(&found.both(), &example.lungs.both()) > 0.9, "{found:?}");
            assert_eq!(locator.objection(&found), None);
        }
    }

    #[test]
    fn quality_is_that_on_other_patients() {
        // As many features as films: a fit that is judged on its own films would look perfect.
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let noise: Vec<Example> = examples(120, 0.0)
            .into_iter()
            .map(|e| Example { features: (0..120).map(|_| random.random::<f32>()).collect(), ..e })
            .collect();
        let (_, blind) = fit(&noise, &[]).expect("enough examples");
        let (_, seeing) = fit(&examples(120, 0.0), &[]).expect("enough examples");
        assert!(seeing.mean_edge_error < blind.mean_edge_error, "{seeing:?} {blind:?}");
    }

    #[test]
    fn few_boxes_make_no_locator() {
        assert!(fit(&examples(FEWEST - 1, 0.0), &[]).is_none());
    }

    #[test]
    fn mirrored_twice_is_as_before_and_lungs_change_sides() {
        let lungs = Lungs::from_edges([0.1, 0.15, 0.4, 0.8, 0.55, 0.2, 0.95, 0.7]);
        let back = mirrored(&mirrored(&lungs));
        assert!(lungs.edges().iter().zip(back.edges()).all(|(a, b)| (a - b).abs() < 1e-6));
        let turned = mirrored(&lungs);
        assert!((turned.right.left - 0.05).abs() < 1e-6 && (turned.right.bottom - 0.7).abs() < 1e-6, "{turned:?}");
    }

    #[test]
    fn boxes_are_read_lung_by_lung() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(read(folder.path()).expect("no file").is_empty());
        let header = "file,right_x0,right_y0,right_x1,right_y1,left_x0,left_y0,left_x1,left_y1\n";
        std::fs::write(folder.path().join("lungs.csv"), format!("{header}a.png,0.1,0.2,0.4,0.8,0.5,0.25,0.9,0.7\n"))
            .expect("written");
        let boxes = read(folder.path()).expect("boxes");
        assert_eq!(boxes["a.png"].left, Region { left: 0.5, top: 0.25, right: 0.9, bottom: 0.7 });
        std::fs::write(folder.path().join("lungs.csv"), format!("{header}a.png,left,0.2,0.4,0.8,0.5,0.25,0.9,0.7\n"))
            .expect("written");
        let error = read(folder.path()).expect_err("no number").to_string();
        assert!(error.contains("lungs.csv") && error.contains("invalid float literal"), "{error}");
    }
}
