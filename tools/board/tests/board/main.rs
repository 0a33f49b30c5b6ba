//! The device program on the emulated board: built for ARM, on a real kernel, with the drivers of a board.
//!
//! `tests/run board` brings what these tests need; without it they fail and say so.

mod image;
mod kiosk;
mod power_cuts;
mod screen;
mod support;
mod usb;
