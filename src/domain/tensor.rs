//! What goes into a network, what comes out, and which part of the film it saw.

use super::Finding;

/// How a film of any shape is brought to the network's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Whole film, undistorted, on black (the paper's form).
    Letterbox,
    /// Film stretched to the shape.
    Stretch,
}

/// What happens to the greys before they become numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GreyScale {
    /// 0 to 65535 becomes 0 to 1.
    AsShown,
    /// Histogram equalisation by rank: each pixel becomes the share of pixels darker than it, ties in the middle.
    /// Any monotone change of window or gamma leaves the result as it was.
    Equalised,
}

/// How one grey becomes the network's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One channel (the network's stem was folded).
    Grey,
    /// The same grey three times.
    Replicated,
}

impl Channels {
    /// 1 or 3.
    pub fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Replicated => 3,
        }
    }
}

/// Everything that `preprocess` needs to know of a network; it travels with the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSpec {
    height: usize,
    width: usize,
    fit: Fit,
    border: f32,
    grey_scale: GreyScale,
    channels: Channels,
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// An input that no network can have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InputSpecError {
    /// A side is too short or too long.
    #[error("{name} is {found}, expected {min} to {max}")]
    Side {
        /// `height` or `width`.
        name: &'static str,
        /// As given.
        found: usize,
        /// Smallest side.
        min: usize,
        /// Largest side.
        max: usize,
    },
    /// The border would eat the film.
    #[error("border is {0}, expected a fraction from 0 to 0.4")]
    Border(f32),
    /// Not one number for each channel, or a number that cannot be used.
    #[error("{name} is {found:?}, expected {channels} finite numbers{}", if *.positive { " above 0" } else { "" })]
    PerChannel {
        /// `mean` or `std`.
        name: &'static str,
        /// As given.
        found: Vec<f32>,
        /// How many are needed.
        channels: usize,
        /// Whether they must be above 0.
        positive: bool,
    },
}

impl InputSpec {
    /// Shortest side of an input, in pixels.
    pub const MIN_SIDE: usize = 32;
    /// Longest side of an input, in pixels.
    pub const MAX_SIDE: usize = 1024;

    /// `border` is the fraction of the film cut off at each edge; `mean` and `std` apply to values from 0 to 1.
    ///
    /// # Errors
    /// When a number is outside its range.
    #[expect(clippy::too_many_arguments, reason = "one argument a field, each of its own meaning")]
    pub fn new(
        height: usize,
        width: usize,
        fit: Fit,
        border: f32,
        grey_scale: GreyScale,
        channels: Channels,
        mean: Vec<f32>,
        std: Vec<f32>,
    ) -> Result<Self, InputSpecError> {
        for (name, found) in [("height", height), ("width", width)] {
            if !(Self::MIN_SIDE..=Self::MAX_SIDE).contains(&found) {
                return Err(InputSpecError::Side { name, found, min: Self::MIN_SIDE, max: Self::MAX_SIDE });
            }
        }
        if !(0.0..=0.4).contains(&border) {
            return Err(InputSpecError::Border(border));
        }
        let channel_count = channels.count();
        for (name, found, positive) in [("mean", &mean, false), ("std", &std, true)] {
            if found.len() != channel_count || found.iter().any(|v| !v.is_finite() || (positive && *v <= 0.0)) {
                let found = found.clone();
                return Err(InputSpecError::PerChannel { name, found, channels: channel_count, positive });
            }
        }
        Ok(Self { height, width, fit, border, grey_scale, channels, mean, std })
    }

    /// Rows of the input.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of the input.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How the film is brought to shape.
    pub fn fit(&self) -> Fit {
        self.fit
    }

    /// Fraction of the film cut off at each edge.
    pub fn border(&self) -> f32 {
        self.border
    }

    /// What happens to the greys first.
    pub fn grey_scale(&self) -> GreyScale {
        self.grey_scale
    }

    /// How many channels.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// Subtracted from values from 0 to 1, one a channel.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Divided by, one a channel.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// `[1, channels, height, width]`.
    pub fn shape(&self) -> [usize; 4] {
        [1, self.channels.count(), self.height, self.width]
    }
}

/// The part of a film that a network saw, in fractions of the film's width and height.
///
/// It reaches outside `[0, 1]` where the film was letterboxed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Left edge.
    pub left: f32,
    /// Upper edge.
    pub top: f32,
    /// Right edge.
    pub right: f32,
    /// Lower edge.
    pub bottom: f32,
}

/// A network's input.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInput {
    /// `[1, channels, height, width]`.
    pub shape: [usize; 4],
    /// f32, NCHW, as the [`InputSpec`] says.
    pub values: Vec<f32>,
    /// Which part of the film this is.
    pub window: Window,
}

/// How strongly each place speaks for one finding: Grad-CAM (Selvaraju 2017), before scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct SaliencyMap {
    /// Cells from left to right.
    pub width: usize,
    /// Cells from top to bottom.
    pub height: usize,
    /// Not negative, row by row.
    pub values: Vec<f32>,
}

/// A network's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelOutput {
    /// One a finding, in the order of [`Finding::ALL`], before temperature and softmax.
    pub logits: [f32; 3],
    /// One a finding, likewise.
    pub maps: [SaliencyMap; 3],
    /// What novelty is measured by: averages of feature maps, of as many places and channels as the model's maker chose.
    pub features: Vec<f32>,
}

impl ModelOutput {
    /// The map that speaks for `finding`.
    pub fn map(&self, finding: Finding) -> &SaliencyMap {
        &self.maps[finding.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spec: Result<InputSpec, InputSpecError>, message: &str) {
        assert_eq!(spec.expect_err("a refusal").to_string(), message);
    }

    #[test]
    fn an_impossible_input_is_refused_with_the_value_and_the_range() {
        let spec = |height, border, mean: &[f32], std: &[f32]| {
            InputSpec::new(
                height,
                192,
                Fit::Stretch,
                border,
                GreyScale::Equalised,
                Channels::Grey,
                mean.to_vec(),
                std.to_vec(),
            )
        };
        assert!(spec(192, 0.05, &[0.5], &[0.25]).is_ok());
        check(spec(0, 0.05, &[0.5], &[0.25]), "height is 0, expected 32 to 1024");
        check(spec(100_000, 0.05, &[0.5], &[0.25]), "height is 100000, expected 32 to 1024");
        check(spec(192, 0.5, &[0.5], &[0.25]), "border is 0.5, expected a fraction from 0 to 0.4");
        check(spec(192, f32::NAN, &[0.5], &[0.25]), "border is NaN, expected a fraction from 0 to 0.4");
        check(spec(192, 0.0, &[0.5, 0.5], &[0.25]), "mean is [0.5, 0.5], expected 1 finite numbers");
        check(spec(192, 0.0, &[0.5], &[0.0]), "std is [0.0], expected 1 finite numbers above 0");
    }
}
