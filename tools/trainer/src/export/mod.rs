//! From trained weights to the model directory that the device reads.

pub mod graph;
pub mod onnx;
