//! Trains, judges and exports the networks that Lightbox runs.
//!
//! `recipe` says how; `data` and `augment` make batches; `network` and `training` learn; `export` writes what the
//! device reads. Films are brought to the network's shape by Lightbox's own `preprocess`, here as on the device.

pub mod audit;
pub mod augment;
pub mod calibrate;
pub mod crossval;
pub mod data;
pub mod evaluate;
pub mod export;
mod files;
mod html;
pub mod lungs;
pub mod metrics;
pub mod network;
pub mod novelty;
pub mod paper;
pub mod predict;
pub mod preview;
pub mod recipe;
pub mod report;
pub mod seal;
pub mod training;
mod words;
