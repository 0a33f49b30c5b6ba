//! `lightbox listen`, run as its user runs it, and met by senders: good, clumsy, hostile, and cut off.
#![cfg(feature = "device")]

mod film;
mod folders;
mod hostile;
mod listening;
#[path = "../support/orthanc.rs"]
mod orthanc;
mod peers;
mod power;
mod reading;
#[path = "../support/running.rs"]
mod running;
mod sender;
mod storing;
#[path = "../support/mod.rs"]
mod support;
mod tls;
