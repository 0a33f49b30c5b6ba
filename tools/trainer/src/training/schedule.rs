//! The learning rate over the steps: one cycle (Smith 2018).

/// The rate of `step` (from 0) of `steps`: a cosine up from a 25th of `highest` over `warm_up` of the steps, then
/// a cosine down to a 10,000th.
pub(super) fn rate(step: usize, steps: usize, highest: f64, warm_up: f64) -> f64 {
    let (place, rise) = (step as f64 + 0.5, steps as f64 * warm_up);
    let half_wave =
        |from: f64, to: f64, share: f64| from + (to - from) * (1.0 - (std::f64::consts::PI * share).cos()) / 2.0;
    if place < rise {
        half_wave(highest / 25.0, highest, place / rise)
    } else {
        half_wave(highest, highest / 1e4, (place - rise) / (steps as f64 - rise))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_once_and_falls_once_within_its_bounds() {
        for steps in [1, 2, 7, 160] {
            let rates: Vec<f64> = (0..steps).map(|s| rate(s, steps, 0.01, 0.25)).collect();
            assert!(rates.iter().all(|r| (1e-6..=0.01).contains(r)), "{rates:?}");
            let turns = rates.windows(3).filter(|w| (w[1] - w[0]) * (w[2] - w[1]) < 0.0).count();
            assert!(turns <= 1, "{rates:?}");
        }
        assert!(rate(159, 160, 0.01, 0.25) < 2e-6);
        assert!(rate(40, 160, 0.01, 0.25) > 0.0099);
    }
}
