//! The only floor that touches the world: files, devices, the network.

#[cfg(feature = "decode")]
pub mod dicom;
#[cfg(feature = "decode")]
pub mod file;
#[cfg(feature = "decode")]
mod guard;
#[cfg(feature = "decode")]
mod jpeg;
#[cfg(feature = "decode")]
mod picture;

#[cfg(feature = "kiosk")]
pub mod camera;
#[cfg(feature = "intake")]
mod deadlined;
#[cfg(feature = "intake")]
pub mod folders;
#[cfg(feature = "intake")]
pub mod listener;
#[cfg(feature = "intake")]
pub mod signals;
#[cfg(feature = "intake")]
pub mod spool;
#[cfg(feature = "intake")]
pub mod wall;

#[cfg(feature = "device")]
pub mod archive;
#[cfg(feature = "device")]
pub mod clock;
#[cfg(feature = "device")]
pub mod content;
#[cfg(feature = "device")]
pub mod disk;
#[cfg(feature = "device")]
pub mod durable;
#[cfg(feature = "device")]
pub mod hardware;
#[cfg(feature = "device")]
pub mod json_lines;
#[cfg(feature = "device")]
pub mod png_panel;
#[cfg(feature = "device")]
pub mod readings;
#[cfg(feature = "device")]
pub mod settings;
#[cfg(feature = "device")]
pub mod supervisor;
#[cfg(feature = "device")]
pub mod terminal;

#[cfg(feature = "device")]
pub mod backlight;
#[cfg(feature = "device")]
pub mod damage;
#[cfg(feature = "device")]
pub mod devices;
#[cfg(feature = "device")]
pub mod drm;
#[cfg(feature = "device")]
pub mod evdev;
#[cfg(feature = "device")]
pub mod framebuffer;
#[cfg(feature = "device")]
pub mod gpio;
#[cfg(feature = "device")]
pub mod lamp;
#[cfg(feature = "device")]
pub mod spi_panel;
#[cfg(feature = "device")]
pub mod terminal_keys;
#[cfg(feature = "device")]
pub mod watchdog;
