//! Where the lungs are on a film.

use super::Window;

/// A rectangle, in fractions of the width and height of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Left edge.
    pub left: f32,
    /// Upper edge.
    pub top: f32,
    /// Right edge.
    pub right: f32,
    /// Lower edge.
    pub bottom: f32,
}

impl Region {
    /// From left to right.
    pub fn width(&self) -> f32 {
        self.right - self.left
    }

    /// From top to bottom.
    pub fn height(&self) -> f32 {
        self.bottom - self.top
    }

    /// Whether the point lies in it, edges included.
    pub fn contains(&self, x: f32, y: f32) -> bool {
        (self.left..=self.right).contains(&x) && (self.top..=self.bottom).contains(&y)
    }

    fn mapped(&self, across: impl Fn(f32) -> f32, down: impl Fn(f32) -> f32) -> Self {
        Self { left: across(self.left), top: down(self.top), right: across(self.right), bottom: down(self.bottom) }
    }
}

/// The boxes of both lungs. The patient's right lung is on the left of a film.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lungs {
    /// The patient's right lung.
    pub right: Region,
    /// The patient's left lung.
    pub left: Region,
}

impl Lungs {
    /// Left, top, right and bottom of the right lung, then of the left.
    pub fn from_edges(edges: [f32; 8]) -> Self {
        let region =
            |at: usize| Region { left: edges[at], top: edges[at + 1], right: edges[at + 2], bottom: edges[at + 3] };
        Self { right: region(0), left: region(4) }
    }

    /// As [`Lungs::from_edges`] takes them.
    pub fn edges(&self) -> [f32; 8] {
        let [r, l] = [self.right, self.left];
        [r.left, r.top, r.right, r.bottom, l.left, l.top, l.right, l.bottom]
    }

    /// Whether the point lies in the box of a lung.
    pub fn contains(&self, x: f32, y: f32) -> bool {
        self.right.contains(x, y) || self.left.contains(x, y)
    }

    /// The smallest rectangle around both.
    pub fn both(&self) -> Region {
        let [r, l] = [self.right, self.left];
        Region {
            left: r.left.min(l.left),
            top: r.top.min(l.top),
            right: r.right.max(l.right),
            bottom: r.bottom.max(l.bottom),
        }
    }

    /// The smallest part of the film around both with `margin` on every side. All in fractions of the film, which it
    /// does not leave.
    pub fn with_margin(&self, margin: f32) -> Window {
        let both = self.both();
        Window {
            left: (both.left - margin).clamp(0.0, 1.0),
            top: (both.top - margin).clamp(0.0, 1.0),
            right: (both.right + margin).clamp(0.0, 1.0),
            bottom: (both.bottom + margin).clamp(0.0, 1.0),
        }
    }

    /// From fractions of what a network saw to fractions of the film.
    pub fn on_film(&self, seen: &Window) -> Self {
        let across = |x| seen.left + x * (seen.right - seen.left);
        let down = |y| seen.top + y * (seen.bottom - seen.top);
        Self { right: self.right.mapped(across, down), left: self.left.mapped(across, down) }
    }

    /// From fractions of the film to fractions of what a network saw of it.
    pub fn in_window(&self, seen: &Window) -> Self {
        let across = |x| (x - seen.left) / (seen.right - seen.left);
        let down = |y| (y - seen.top) / (seen.bottom - seen.top);
        Self { right: self.right.mapped(across, down), left: self.left.mapped(across, down) }
    }
}

/// Finds the lungs by a linear function of the features that a network gives beside its answer: it costs the device a
/// few thousand multiplications.
#[derive(Clone, Debug, PartialEq)]
pub struct LungLocator {
    weights: Vec<Vec<f32>>,
    offsets: [f32; 8],
    width: [f32; 2],
    height: [f32; 2],
    margin: Option<f32>,
}

/// A locator that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LungLocatorError {
    /// Not one row for each edge.
    #[error("weights have {weights} rows and offsets {offsets} values, expected 8 of each: four edges of two lungs")]
    Edges {
        /// Rows of the weights.
        weights: usize,
        /// Number of the offsets.
        offsets: usize,
    },
    /// A row of another length than the first, empty, or with something that is no number.
    #[error("weights row {row} has {found} values, expected {expected} finite ones, at least one")]
    Row {
        /// Which row, from 0.
        row: usize,
        /// Its length.
        found: usize,
        /// Length of the first row.
        expected: usize,
    },
    /// An offset that is no number.
    #[error("offsets are {0:?}, expected finite numbers")]
    Offsets([f32; 8]),
    /// Limits out of order.
    #[error("{name} is {found:?}, expected the smallest and the largest size of a lung, from 0 to 2")]
    Size {
        /// `width` or `height`.
        name: &'static str,
        /// As given.
        found: [f32; 2],
    },
    /// A margin that leaves no lungs, or nothing but surroundings.
    #[error("margin is {0}, expected a fraction of the film from 0 to 0.3")]
    Margin(f32),
}

impl LungLocator {
    /// The widest margin, as a fraction of the film.
    pub const MAX_MARGIN: f32 = 0.3;

    /// `weights` has a row of feature weights for each edge, in the order of [`Lungs::from_edges`]; `width` and `height`
    /// are the smallest and the largest that a lung can have, all in fractions of what the network sees.
    ///
    /// # Errors
    /// When lengths do not agree or a number cannot be used.
    pub fn new(
        weights: Vec<Vec<f32>>,
        offsets: &[f32],
        width: [f32; 2],
        height: [f32; 2],
    ) -> Result<Self, LungLocatorError> {
        let edges = LungLocatorError::Edges { weights: weights.len(), offsets: offsets.len() };
        let Ok(offsets) = <[f32; 8]>::try_from(offsets) else { return Err(edges) };
        if weights.len() != offsets.len() {
            return Err(edges);
        }
        let expected = weights[0].len();
        for (row, values) in weights.iter().enumerate() {
            if values.len() != expected || values.is_empty() || values.iter().any(|v| !v.is_finite()) {
                return Err(LungLocatorError::Row { row, found: values.len(), expected });
            }
        }
        if offsets.iter().any(|v| !v.is_finite()) {
            return Err(LungLocatorError::Offsets(offsets));
        }
        for (name, found) in [("width", width), ("height", height)] {
            if !(0.0 <= found[0] && found[0] < found[1] && found[1] <= 2.0) {
                return Err(LungLocatorError::Size { name, found });
            }
        }
        Ok(Self { weights, offsets, width, height, margin: None })
    }

    /// For a network that judges the lungs alone: what it is shown reaches `margin` beyond them on every side, as a
    /// fraction of the film's width and height.
    ///
    /// # Errors
    /// When the margin is outside 0 to [`Self::MAX_MARGIN`].
    pub fn with_margin(self, margin: f32) -> Result<Self, LungLocatorError> {
        if !(0.0..=Self::MAX_MARGIN).contains(&margin) {
            return Err(LungLocatorError::Margin(margin));
        }
        Ok(Self { margin: Some(margin), ..self })
    }

    /// How far beyond the lungs the network is shown where it judges them alone, as a fraction of the film; `None` where
    /// it judges the whole film.
    pub fn margin(&self) -> Option<f32> {
        self.margin
    }

    /// The part of the film to judge, from the features of a look at the part `seen`. `None` where the network judges
    /// what it has seen, or no lungs were found there.
    pub fn crop(&self, features: &[f32], seen: &Window) -> Option<Window> {
        let margin = self.margin?;
        let lungs = self.locate(features).filter(|lungs| self.objection(lungs).is_none())?;
        Some(lungs.on_film(seen).with_margin(margin))
    }

    /// Where the lungs are, in fractions of what the network saw. `None` when the features are not as many as they
    /// should be or no numbers.
    pub fn locate(&self, features: &[f32]) -> Option<Lungs> {
        if features.len() != self.weights[0].len() || features.iter().any(|f| !f.is_finite()) {
            return None;
        }
        let mut edges = self.offsets;
        for (edge, weights) in edges.iter_mut().zip(&self.weights) {
            *edge += weights.iter().zip(features).map(|(w, f)| w * f).sum::<f32>();
        }
        Some(Lungs::from_edges(edges))
    }

    /// What speaks against `lungs` being lungs; `None` when nothing does.
    pub fn objection(&self, lungs: &Lungs) -> Option<String> {
        for (name, lung) in [("right", &lungs.right), ("left", &lungs.left)] {
            for (side, found, [least, most]) in
                [("width", lung.width(), self.width), ("height", lung.height(), self.height)]
            {
                // Not a number is no size either.
                if !(least..=most).contains(&found) || found <= 0.0 {
                    return Some(format!(
                        "{side} of the {name} lung {found:.2} of the picture, expected {least:.2} to {most:.2}"
                    ));
                }
            }
        }
        if lungs.right.left > lungs.left.left {
            return Some("the right lung right of the left one".into());
        }
        let both = lungs.both();
        let (x, y) = ((both.left + both.right) / 2.0, (both.top + both.bottom) / 2.0);
        let inside = (0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y);
        (!inside).then(|| format!("the middle between the lungs at {x:.2}, {y:.2} of the picture, expected inside"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locator() -> LungLocator {
        let mut weights = vec![vec![0.0, 0.0]; 8];
        // The first feature moves the lower edge of both lungs.
        weights[3][0] = 0.1;
        weights[7][0] = 0.1;
        LungLocator::new(weights, &[0.1, 0.1, 0.45, 0.5, 0.55, 0.1, 0.9, 0.5], [0.2, 0.6], [0.3, 1.0]).expect("usable")
    }

    #[test]
    fn lungs_move_with_the_features_and_are_refused_where_no_lung_has_such_a_size() {
        let lungs = locator().locate(&[2.0, 5.0]).expect("features");
        assert!((lungs.right.bottom - 0.7).abs() < 1e-6 && (lungs.left.bottom - 0.7).abs() < 1e-6, "{lungs:?}");
        assert_eq!(locator().objection(&lungs), None);
        let flat = locator().locate(&[-2.0, 0.0]).expect("features");
        let objection = locator().objection(&flat).expect("an objection");
        assert_eq!(objection, "height of the right lung 0.20 of the picture, expected 0.30 to 1.00");
        let swapped = Lungs { right: lungs.left, left: lungs.right };
        assert_eq!(locator().objection(&swapped).as_deref(), Some("the right lung right of the left one"));
        let edges = lungs.edges();
        let beside = Lungs::from_edges(std::array::from_fn(|i| edges[i] + if i % 2 == 0 { 1.0 } else { 0.0 }));
        let expected = "the middle between the lungs at 1.50, 0.40 of the picture, expected inside";
        assert_eq!(locator().objection(&beside).as_deref(), Some(expected));
        let nowhere = Lungs { right: Region { left: f32::NAN, ..lungs.right }, left: lungs.left };
        assert!(locator().objection(&nowhere).is_some());
    }

    #[test]
    fn the_part_to_judge_reaches_beyond_the_lungs_but_not_beyond_the_film() {
        let seen = Window { left: 0.05, top: 0.05, right: 0.95, bottom: 0.95 };
        assert_eq!(locator().crop(&[2.0, 5.0], &seen), None);
        let crops = locator().with_margin(0.2).expect("usable");
        let part = crops.crop(&[2.0, 5.0], &seen).expect("lungs");
        // 0.05 + 0.9 × 0.1 − 0.2 is outside; 0.05 + 0.9 × 0.7 + 0.2 is not.
        assert_eq!((part.left, part.top, part.right), (0.0, 0.0, 1.0));
        assert!((part.bottom - 0.88).abs() < 1e-6, "{part:?}");
        assert_eq!(crops.crop(&[-2.0, 0.0], &seen), None);
        assert_eq!(crops.crop(&[f32::NAN, 0.0], &seen), None);
        for margin in [-0.1, 0.31, f32::NAN] {
            let error = locator().with_margin(margin).expect_err("a refusal");
            assert_eq!(error.to_string(), format!("margin is {margin}, expected a fraction of the film from 0 to 0.3"));
        }
    }

    #[test]
    fn features_that_cannot_be_have_no_lungs() {
        assert_eq!(locator().locate(&[1.0]), None);
        assert_eq!(locator().locate(&[1.0, f32::NAN]), None);
    }

    #[test]
    fn film_and_window_lead_to_each_other() {
        let seen = Window { left: 0.1, top: -0.2, right: 0.9, bottom: 1.2 };
        let lungs = Lungs::from_edges([0.1, 0.2, 0.4, 0.8, 0.6, 0.25, 0.9, 0.75]);
        let back = lungs.on_film(&seen).in_window(&seen);
        for (a, b) in lungs.edges().iter().zip(back.edges()) {
            assert!((a - b).abs() < 1e-6);
        }
        assert!((lungs.on_film(&seen).right.left - 0.18).abs() < 1e-6);
        assert_eq!(lungs.both(), Region { left: 0.1, top: 0.2, right: 0.9, bottom: 0.8 });
        assert!(lungs.contains(0.2, 0.5) && lungs.contains(0.7, 0.5) && !lungs.contains(0.5, 0.5));
    }

    #[test]
    fn a_locator_that_cannot_be_used_is_refused() {
        let rows = vec![vec![0.0f32; 2]; 8];
        let check = |weights: Vec<Vec<f32>>, offsets: &[f32], width, message: &str| {
            let error = LungLocator::new(weights, offsets, width, [0.3, 1.0]).expect_err("a refusal");
            assert_eq!(error.to_string(), message);
        };
        check(
            rows[..7].to_vec(),
            &[0.0; 8],
            [0.2, 0.6],
            "weights have 7 rows and offsets 8 values, expected 8 of each: four edges of two lungs",
        );
        let mut short = rows.clone();
        short[5] = vec![0.0];
        check(short, &[0.0; 8], [0.2, 0.6], "weights row 5 has 1 values, expected 2 finite ones, at least one");
        check(
            rows,
            &[0.0; 8],
            [0.6, 0.2],
            "width is [0.6, 0.2], expected the smallest and the largest size of a lung, from 0 to 2",
        );
    }
}
