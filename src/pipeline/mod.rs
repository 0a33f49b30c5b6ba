//! Pure steps from a decoded film to a verdict, the same on the device and in the trainer. No I/O, no clock.

pub mod decide;
#[cfg(feature = "kiosk")]
pub mod film;
pub mod grayscale;
pub mod preprocess;
pub mod quality;
