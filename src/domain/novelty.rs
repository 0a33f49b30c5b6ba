//! How unlike a film is to those that a network has learned from.

/// Tells films unlike those learned from, by averages of feature maps: Mahalanobis distance in the directions in which
/// training films differ, plus the squared length of the rest in units of its variance.
#[derive(Clone, Debug, PartialEq)]
pub struct Novelty {
    mean: Vec<f32>,
    projection: Vec<Vec<f32>>,
    residual_variance: f32,
    limit: f32,
}

/// A measure that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoveltyError {
    /// The mean is empty or no number.
    #[error("mean has {0} values, expected at least one, all finite")]
    Mean(usize),
    /// A row of the projection is not as long as the mean, all zero, or no number.
    #[error("projection row {row} has {found} values, expected {expected} finite ones, not all zero")]
    Projection {
        /// Which row, from 0.
        row: usize,
        /// Its length.
        found: usize,
        /// Length of the mean.
        expected: usize,
    },
    /// The variance or the limit is not above zero.
    #[error("{name} is {found}, expected a number above 0")]
    Positive {
        /// `residual_variance` or `limit`.
        name: &'static str,
        /// As given.
        found: f32,
    },
}

impl Novelty {
    /// `projection` has a row for each direction: the direction divided by the standard deviation along it. The rows
    /// are orthogonal.
    ///
    /// # Errors
    /// When lengths do not agree or a number cannot be used.
    pub fn new(
        mean: Vec<f32>,
        projection: Vec<Vec<f32>>,
        residual_variance: f32,
        limit: f32,
    ) -> Result<Self, NoveltyError> {
        let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        if mean.is_empty() || !finite(&mean) {
            return Err(NoveltyError::Mean(mean.len()));
        }
        for (row, direction) in projection.iter().enumerate() {
            if direction.len() != mean.len() || !finite(direction) || direction.iter().all(|v| *v == 0.0) {
                return Err(NoveltyError::Projection { row, found: direction.len(), expected: mean.len() });
            }
        }
        for (name, found) in [("residual_variance", residual_variance), ("limit", limit)] {
            if !(found.is_finite() && found > 0.0) {
                return Err(NoveltyError::Positive { name, found });
            }
        }
        Ok(Self { mean, projection, residual_variance, limit })
    }

    /// Score of `features`: 0 is the mean film. `None` when they are not as many as they should be or no numbers.
    pub fn score(&self, features: &[f32]) -> Option<f32> {
        if features.len() != self.mean.len() || features.iter().any(|f| !f.is_finite()) {
            return None;
        }
        let centred: Vec<f64> = features.iter().zip(&self.mean).map(|(f, m)| f64::from(*f) - f64::from(*m)).collect();
        let mut inside = 0.0;
        let mut left_over: f64 = centred.iter().map(|c| c * c).sum();
        for direction in &self.projection {
            let squared_length: f64 = direction.iter().map(|d| f64::from(*d).powi(2)).sum();
            let along: f64 = direction.iter().zip(&centred).map(|(d, c)| f64::from(*d) * c).sum();
            inside += along * along;
            left_over -= along * along / squared_length;
        }
        Some((inside + left_over.max(0.0) / f64::from(self.residual_variance)) as f32)
    }

    /// Films above this score are refused.
    pub fn limit(&self) -> f32 {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_directions_count_in_deviations_and_the_rest_in_variance() {
        let novelty = Novelty::new(vec![1.0, 0.0], vec![vec![0.5, 0.0]], 2.0, 9.0).expect("usable");
        assert_eq!(novelty.score(&[1.0, 0.0]), Some(0.0));
        // Two deviations (4 × 0.5) along the known direction, and 3² ÷ 2 across it.
        assert_eq!(novelty.score(&[5.0, 3.0]), Some(4.0 + 4.5));
    }

    #[test]
    fn features_that_cannot_be_compared_have_no_score() {
        let novelty = Novelty::new(vec![0.0, 0.0], vec![], 1.0, 1.0).expect("usable");
        assert_eq!(novelty.score(&[1.0]), None);
        assert_eq!(novelty.score(&[f32::NAN, 0.0]), None);
    }

    #[test]
    fn a_measure_that_cannot_be_used_is_refused() {
        let message = |mean: &[f32], row: &[f32], variance, limit| {
            Novelty::new(mean.to_vec(), vec![row.to_vec()], variance, limit).expect_err("a refusal").to_string()
        };
        assert_eq!(message(&[], &[], 1.0, 1.0), "mean has 0 values, expected at least one, all finite");
        let short = "projection row 0 has 1 values, expected 2 finite ones, not all zero";
        assert_eq!(message(&[0.0, 0.0], &[1.0], 1.0, 1.0), short);
        assert_eq!(message(&[0.0], &[1.0], 0.0, 1.0), "residual_variance is 0, expected a number above 0");
        assert_eq!(message(&[0.0], &[1.0], 1.0, -1.0), "limit is -1, expected a number above 0");
    }
}
