//! The device program on the emulated board: built for ARM, on a real kernel, with the drivers of a board.
//!
//! `tests/run board` brings what these tests need; without it they fail and say so.

mod camera;
mod film;
mod image;
mod kiosk;
mod pi3;
mod power_cuts;
mod screen;
mod support;
mod technician;
mod usb;
