//! The only floor that touches the world: files, devices, the network.

#[cfg(feature = "device")]
pub mod png_panel;
#[cfg(feature = "device")]
pub mod terminal;
