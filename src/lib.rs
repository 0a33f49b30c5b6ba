//! Lightbox reads chest radiographs where there is no radiologist and no network.
//!
//! The modules in the order in which a film meets them; `ARCHITECTURE.md` has the map.

pub mod domain;
pub mod pipeline;
pub mod ports;

#[cfg(feature = "intake")]
pub mod config;

pub mod bundle;

#[cfg(feature = "record")]
pub mod record;

#[cfg(feature = "engine")]
pub mod engine;

pub mod app;
pub mod self_test;

#[cfg(all(feature = "seal", feature = "engine", feature = "decode"))]
pub mod sealing;

#[cfg(feature = "device")]
pub mod models;

#[cfg(feature = "device")]
pub mod ui;

#[cfg(feature = "device")]
pub mod kiosk;

pub mod adapters;
