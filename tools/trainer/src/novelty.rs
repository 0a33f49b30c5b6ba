//! How training films differ among themselves, so that the device can tell a film that differs otherwise.
//!
//! Features of a middle block, pooled over 3 × 3 fields, serve best: they still know where things lie, which tells a
//! lateral film or a hand from a frontal chest, and have not yet learned to see only what tells the classes apart.

use lightbox::bundle::manifest::NoveltyEntry;
use lightbox::domain::{Novelty, NoveltyError};

/// Directions kept, at most. More of them learn the training sources by heart: films of other hospitals are then lost.
const DIRECTIONS: usize = 8;
/// Fewest films that say how a source differs from the others.
const SOURCE_FILMS: usize = 10;
/// Turns of the subspace iteration; the leading directions of pooled features have converged long before.
const TURNS: usize = 40;

/// Fits the measure to the films of `sources`, and sets the limit so that of a source that was *not* fitted to a
/// share of about `loss` would be lost: each source in turn is left out of a fit and scored by it, all with the same
/// weight. A hospital where the device is used is never one that was fitted to.
///
/// `None` for too few films.
///
/// # Errors
/// When the fit cannot be used.
pub fn fit(sources: &[Vec<Vec<f32>>], loss: f64) -> Result<Option<NoveltyEntry>, NoveltyError> {
    let together = |left_out: Option<usize>| -> Vec<Vec<f32>> {
        sources.iter().enumerate().filter(|(i, _)| Some(*i) != left_out).flat_map(|(_, films)| films.clone()).collect()
    };
    let Some(mut entry) = directions(&together(None)) else { return Ok(None) };
    let mut scores = Vec::new();
    for (i, films) in sources.iter().enumerate().filter(|(_, films)| films.len() >= SOURCE_FILMS) {
        let Some(without) = directions(&together(Some(i))) else { continue };
        let measure = measure(&without)?;
        scores.extend(films.iter().filter_map(|f| measure.score(f)).map(|s| (s, 1.0 / films.len() as f64)));
    }
    if scores.is_empty() {
        // One source only: its own films are all there is.
        let measure = measure(&entry)?;
        scores.extend(together(None).iter().filter_map(|f| measure.score(f)).map(|s| (s, 1.0)));
    }
    entry.limit = upper_quantile(scores, loss).max(f32::MIN_POSITIVE);
    Ok(Some(entry))
}

/// Mean and principal directions of `features`, rounded to four digits, as they travel in text; no limit yet.
///
/// `None` for fewer than three films.
fn directions(features: &[Vec<f32>]) -> Option<NoveltyEntry> {
    let (count, width) = (features.len(), features.first()?.len());
    if count < 3 || features.iter().any(|f| f.len() != width) {
        return None;
    }
    let mut mean = vec![0.0f64; width];
    for film in features {
        mean.iter_mut().zip(film).for_each(|(m, f)| *m += f64::from(*f) / count as f64);
    }
    let mean: Vec<f32> = mean.into_iter().map(four_digits).collect();
    let centred: Vec<Vec<f64>> =
        features.iter().map(|f| f.iter().zip(&mean).map(|(f, m)| f64::from(*f) - f64::from(*m)).collect()).collect();
    let total: f64 = centred.iter().flatten().map(|c| c * c).sum::<f64>() / count as f64;

    let kept = DIRECTIONS.min(count / 3).min(width);
    let mut directions = start(kept, width);
    for _ in 0..TURNS {
        directions = orthonormal(turned(&centred, &directions));
    }
    let variances: Vec<f64> =
        directions.iter().map(|d| centred.iter().map(|c| dot(c, d).powi(2)).sum::<f64>() / count as f64).collect();
    let projection: Vec<Vec<f32>> = directions
        .iter()
        .zip(&variances)
        .filter(|(_, variance)| **variance > 1e-12 * total.max(f64::MIN_POSITIVE))
        .map(|(direction, variance)| direction.iter().map(|d| four_digits(d / variance.sqrt())).collect())
        .collect();
    let left_over = (total - variances.iter().sum::<f64>()).max(1e-6 * total).max(1e-12);
    let free = (width - projection.len()).max(1) as f64;
    Some(NoveltyEntry { mean, projection, residual_variance: (left_over / free) as f32, limit: f32::MAX })
}

/// The smallest of the weighted scores above which lies a share of at most `share`.
fn upper_quantile(mut scores: Vec<(f32, f64)>, share: f64) -> f32 {
    scores.sort_by(|a, b| b.0.total_cmp(&a.0));
    let total: f64 = scores.iter().map(|s| s.1).sum();
    let (mut above, mut limit) = (0.0, scores.first().map_or(f32::MAX, |s| s.0));
    for (score, weight) in scores {
        if above > share * total {
            break;
        }
        limit = score;
        above += weight;
    }
    limit
}

/// The measure that the device will use.
///
/// # Errors
/// When the fit cannot be used.
fn measure(entry: &NoveltyEntry) -> Result<Novelty, NoveltyError> {
    Novelty::new(entry.mean.clone(), entry.projection.clone(), entry.residual_variance, entry.limit)
}

fn four_digits(value: f64) -> f32 {
    format!("{value:.3e}").parse().unwrap_or(value as f32)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Directions that are the same in every run and unlike each other.
fn start(count: usize, width: usize) -> Vec<Vec<f64>> {
    let value =
        |i: usize, j: usize| (((i * 7919 + j * 104_729) % 1009) as f64 / 1009.0 - 0.5) * (1.0 + (j % (i + 2)) as f64);
    orthonormal((0..count).map(|i| (0..width).map(|j| value(i, j)).collect()).collect())
}

/// The covariance of `films` times each direction.
fn turned(films: &[Vec<f64>], directions: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let width = films.first().map_or(0, Vec::len);
    let mut out = vec![vec![0.0; width]; directions.len()];
    for film in films {
        for (direction, out) in directions.iter().zip(&mut out) {
            let along = dot(film, direction);
            out.iter_mut().zip(film).for_each(|(o, f)| *o += along * f);
        }
    }
    out
}

/// Gram and Schmidt, twice for the sake of rounding.
fn orthonormal(mut vectors: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for i in 0..vectors.len() {
        let (before, rest) = vectors.split_at_mut(i);
        let vector = &mut rest[0];
        for _ in 0..2 {
            for earlier in before.iter() {
                let along = dot(vector, earlier);
                vector.iter_mut().zip(earlier).for_each(|(v, e)| *v -= along * e);
            }
        }
        let length = dot(vector, vector).sqrt();
        if length > 0.0 {
            vector.iter_mut().for_each(|v| *v /= length);
        }
    }
    vectors
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Films that vary much in two directions of twenty and little in the others.
    fn films(count: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..count)
            .map(|_| {
                let (a, b) = (random.random_range(-10.0..10.0f32), random.random_range(-5.0..5.0f32));
                (0..20)
                    .map(|j| {
                        3.0 + random.random_range(-0.1..0.1) + if j % 2 == 0 { a } else { b * (j as f32 - 10.0) / 5.0 }
                    })
                    .collect()
            })
            .collect()
    }

    #[test]
    fn films_that_differ_otherwise_score_far_above_the_limit() {
        let entry = fit(&[films(200, 1), films(100, 2)], 0.03).expect("usable").expect("films");
        let measure = measure(&entry).expect("usable");
        let lost = films(300, 3).iter().filter(|f| measure.score(f).expect("finite") > entry.limit).count();
        assert!(lost <= 30, "{lost} of 300 lost");
        let mut strange = films(1, 4).remove(0);
        strange[3] += 4.0;
        assert!(measure.score(&strange).expect("finite") > 3.0 * entry.limit);
    }

    #[test]
    fn sources_that_differ_from_each_other_widen_the_limit() {
        let moved = |seed| -> Vec<Vec<f32>> {
            films(100, seed)
                .into_iter()
                .map(|mut f| {
                    f[5] += 1.5;
                    f
                })
                .collect()
        };
        let alike = fit(&[films(100, 1), films(100, 2)], 0.03).expect("usable").expect("films");
        let unlike = fit(&[films(100, 1), moved(2)], 0.03).expect("usable").expect("films");
        assert!(unlike.limit > 2.0 * alike.limit, "{} and {}", unlike.limit, alike.limit);
    }

    #[test]
    fn leading_directions_carry_their_variance() {
        let entry = directions(&films(400, 1)).expect("films");
        let measured: f64 = films(400, 1)
            .iter()
            .map(|f| {
                let along: f64 =
                    f.iter().zip(&entry.mean).zip(&entry.projection[0]).map(|((f, m), p)| f64::from((f - m) * p)).sum();
                along * along / 400.0
            })
            .sum();
        assert!((measured - 1.0).abs() < 0.01, "{measured}");
    }

    #[test]
    fn too_few_films_have_no_measure() {
        assert_eq!(fit(&[films(2, 1)], 0.03), Ok(None));
        assert_eq!(fit(&[], 0.03), Ok(None));
    }
}
