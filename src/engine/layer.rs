//! What a fused layer is: plain slices in and out, nothing of tract.

use std::fmt;

use super::pool::Pool;

/// A tensor that a layer does not take.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("a tensor of shape {found:?}, expected {expected}")]
pub(super) struct ShapeError {
    found: Vec<usize>,
    expected: String,
}

impl ShapeError {
    pub(super) fn new(found: &[usize], expected: impl Into<String>) -> Self {
        Self { found: found.to_vec(), expected: expected.into() }
    }
}

/// Size of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// Rows.
    pub(super) height: usize,
    /// Columns.
    pub(super) width: usize,
}

/// Size of a channels-last image `[1, height, width, channels]`.
pub(super) fn pixels_of(shape: &[usize], channels: usize) -> Result<Image, ShapeError> {
    match *shape {
        [1, height, width, found] if found == channels && height > 0 && width > 0 => Ok(Image { height, width }),
        _ => Err(ShapeError::new(shape, format!("[1, height, width, {channels}]"))),
    }
}

/// Size of a planar image `[1, channels, height, width]`.
pub(super) fn planes_of(shape: &[usize], channels: usize) -> Result<Image, ShapeError> {
    match *shape {
        [1, found, height, width] if found == channels && height > 0 && width > 0 => Ok(Image { height, width }),
        _ => Err(ShapeError::new(shape, format!("[1, {channels}, height, width]"))),
    }
}

/// One fused layer: plain slices in and out.
pub(super) trait Layer: fmt::Debug + Send + Sync {
    /// What it is.
    fn name(&self) -> &'static str;

    /// Whether it does nothing but turn pixels into planes.
    fn makes_planes(&self) -> bool {
        false
    }

    /// Shape of the output for an input of shape `input`.
    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError>;

    /// Computes every element of `output`, which has the length of [`Layer::output_shape`].
    fn run(&self, input: &[f32], shape: &[usize], output: &mut [f32], pool: &Pool) -> Result<(), ShapeError>;
}
